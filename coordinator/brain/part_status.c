/*
 * What people see of a job of several tenants: sums, the least of what has no sum, and each tenant by itself.
 * Nothing of it is stored: the parts' records and what is live of them tell it.
 */
#include "coordinator/brain/logs.h"

#include "proto/spec/status.h"

#include <stdio.h>

static const char *error_of(const struct res *part)
{
    const struct record *rec = &part->now.rec;
    return rec->error != NULL && rec->error->text != NULL ? rec->error->text : "unknown";
}

const char *parts_why(struct res *const *parts, size_t count, char ret[TM_ERR_MSG_MAX])
{
    size_t used = 0;
    ret[0] = '\0';
    for (size_t at = 0; at < count && used < TM_ERR_MSG_MAX; at++) {
        const struct record *rec = &parts[at]->now.rec;
        if (rec->phase != PHASE_FAILED)
            continue;
        used += (size_t)snprintf(ret + used, TM_ERR_MSG_MAX - used, "%stenant '%s'%s%s%s: %s",
                                 used > 0 ? "; " : "", rec->part,
                                 rec->error_node[0] != '\0' ? " on node '" : "", rec->error_node,
                                 rec->error_node[0] != '\0' ? "'" : "", error_of(parts[at]));
    }
    return ret;
}

/* ---- phases ---- */

/* When the last of what is being removed goes: known once it is of all. */
static int64_t removal_of(struct res *const *parts, size_t count)
{
    int64_t last_us = 0;
    for (size_t at = 0; at < count; at++) {
        const struct record *rec = &parts[at]->now.rec;
        if (rec->removal_us == 0 && job_must_sweep(parts[at]))
            return 0;
        last_us = TM_MAX(last_us, rec->removal_us);
    }
    return last_us;
}

/* Failed parts that may go on. */
static bool resumable(struct res *const *parts, size_t count)
{
    bool any = false;
    for (size_t at = 0; at < count; at++)
        any = any || (parts[at]->now.rec.phase == PHASE_FAILED && parts[at]->now.rec.resumable);
    return any;
}

static void fill_phases(struct resource_status *s, const struct res *res, struct res *const *parts,
                        size_t count)
{
    const struct record *rec = &res->now.rec;
    char why[TM_ERR_MSG_MAX];
    resource_status_set_phase(s, RESOURCE_SCHEDULED, rec->created_us, "", "");
    resource_status_set_phase(s, RESOURCE_PREPARE, rec->started_us, "", "");
    resource_status_set_phase(s, RESOURCE_RUNNING, rec->started_us, "", "");
    if (rec->phase == PHASE_COMPLETE)
        resource_status_set_phase(s, RESOURCE_COMPLETE, rec->completed_us, "", "");
    if (rec->phase == PHASE_FAILED)
        resource_status_set_phase(s, RESOURCE_FAILED, rec->completed_us,
                                  resumable(parts, count) ? "Resumable" : "",
                                  parts_why(parts, count, why));
    if (rec->deleting)
        status_fill_deleting(s, removal_of(parts, count), rec->completed_us);
}

/* ---- sums ---- */

static void add_numbers(struct resource_status *s, const struct resource_status *one)
{
    s->backup_bytes += one->backup_bytes;
    s->data_bytes += one->data_bytes;
    s->log_bytes += one->log_bytes;
    s->file_count += one->file_count;
    s->ranges_total += one->ranges_total;
    s->ranges_done += one->ranges_done;
    s->bytes_total += one->bytes_total;
    s->bytes_done += one->bytes_done;
    s->ranges_resumed += one->ranges_resumed;
    s->bytes_resumed += one->bytes_resumed;
    s->pages_checked += one->pages_checked;
    s->pages_unverified += one->pages_unverified;
    s->pages_corrupt += one->pages_corrupt;
}

static void add_shares(struct resource_status *s, const struct resource_status *one)
{
    for (size_t at = 0; at < one->share_count; at++) {
        size_t to = 0;
        while (to < s->share_count && strcmp(s->shares[to].node, one->shares[at].node) != 0)
            to++;
        if (to == s->share_count) {
            resource_status_add_share(s, &one->shares[at]);
        } else {
            s->shares[to].ranges += one->shares[at].ranges;
            s->shares[to].bytes += one->shares[at].bytes;
        }
    }
}

static void add_words(struct resource_status *s, const struct resource_status *one)
{
    if (s->waiting[0] == '\0' && one->waiting[0] != '\0')
        (void)snprintf(s->waiting, sizeof(s->waiting), "tenant '%s': %.180s", one->tenant,
                       one->waiting);
    if (!s->has_error && one->has_error) {
        s->has_error = true;
        s->error = one->error;
        (void)snprintf(s->error.message, sizeof(s->error.message), "tenant '%s': %.430s",
                       one->tenant, one->error.message);
    }
    for (size_t at = 0; at < one->problem_count; at++) {
        const struct status_problem *p = &one->problems[at];
        char text[sizeof(p->message)];
        (void)snprintf(text, sizeof(text), "tenant '%s': %.430s", one->tenant, p->message);
        resource_status_add_problem(s, p->node, p->file, p->has_block ? (int64_t)p->block : -1,
                                    text);
    }
    s->problems_dropped += one->problems_dropped;
    for (size_t at = 0; at < one->warning_count; at++)
        status_warn(s, "tenant '%s': %.430s", one->tenant, one->warnings[at]);
    for (size_t at = 0; at < one->storage_count; at++)
        resource_status_add_storage(s, &one->storage[at]);
}

static void fill_left_out(const struct brain *b, struct resource_status *s, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    char names[TM_ERR_MSG_MAX];
    for (size_t at = 0; store_terminal(res) && at < rec->warnings_count; at++)
        resource_status_add_warning(s, rec->warnings[at]);
    if (!store_terminal(res) && tenants_left_out(b, res, names))
        status_warn(s, TENANTS_LEFT_OUT, names);
}

/* The folder that all tenants' backups lie below. */
static void fill_path(struct resource_status *s, const struct res *res)
{
    const char *query = strchrnul(res->view.storage, '?');
    (void)snprintf(s->backup_path, sizeof(s->backup_path), "%.*s/%s",
                   (int)(query - res->view.storage), res->view.storage, res->view.cluster);
}

void parts_fill(const struct brain *b, const struct res *res)
{
    struct resource_status *s = res->status;
    const struct record *rec = &res->now.rec;
    struct res *const *parts;
    size_t count = store_parts(b, res, &parts);
    s->started_us = rec->started_us;
    s->completed_us = rec->completed_us;
    s->removal_us = rec->deleting ? removal_of(parts, count) : 0;
    s->attempt = rec->attempt;
    if (res->live != NULL)
        COPY_TEXT(s->waiting, res->live->waiting);
    for (size_t at = 0; at < count; at++) {
        const struct resource_status *one = parts[at]->status;
        if (!parts[at]->exists)
            continue;
        status_fill(b, parts[at]);
        add_numbers(s, one);
        add_shares(s, one);
        add_words(s, one);
        /* of a whole that is not Complete there is no moment that all of it is of */
        if (rec->phase == PHASE_COMPLETE && (s->commit_us == 0 || one->commit_us < s->commit_us))
            s->commit_us = one->commit_us;
        resource_status_add_tenant(s, one);
    }
    if (log_is(res))
        log_parts_fill(b, res, parts, count);
    else
        fill_phases(s, res, parts, count);
    fill_path(s, res);
    fill_left_out(b, s, res);
}
