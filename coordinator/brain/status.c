/* What people see of a resource, made from its record and what is live of it when somebody looks. */
#include "coordinator/brain/logs.h"

#include "common/clock.h"
#include "proto/spec/status.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

int status_new(struct res *res, struct tm_err *err)
{
    res->status = resource_status_new();
    return res->status == NULL ? tm_err_oom(err) : 0;
}

void status_free(struct res *res)
{
    resource_status_free(res->status);
    res->status = NULL;
}

void status_changed(struct brain *b, struct res *res)
{
    res->version = ++b->version;
    struct res *whole =
        part_is(res) ? store_find(b, res->now.rec.kind, res->now.rec.namespace_, res->now.rec.name)
                     : NULL;
    if (whole != NULL)
        whole->version = b->version;
}

/* The tombstone is stored, and what it takes away waits: or there is no such time yet. */
void status_fill_deleting(struct resource_status *s, int64_t removal_us, int64_t completed_us)
{
    char message[128] = "";
    char text[CLOCK_TEXT_MAX];
    s->removal_us = removal_us;
    if (removal_us != 0)
        (void)snprintf(message, sizeof(message), "its objects are removed at %s",
                       clock_format(removal_us, text));
    resource_status_set_phase(s, RESOURCE_DELETING, completed_us, removal_us != 0 ? "Grace" : "",
                              message);
}

/* The phases it went through, each with the time it is known by. */
static void fill_phases(struct resource_status *s, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    const char *message = rec->phase == PHASE_FAILED && rec->error != NULL ? rec->error->text : "";
    resource_status_set_phase(s, RESOURCE_SCHEDULED, rec->created_us, "", "");
    if (rec->phase >= PHASE_PREPARE && res->view.kind == JOB_KIND_BACKUP)
        resource_status_set_phase(s, RESOURCE_PREPARE, rec->started_us, "", "");
    if (rec->phase >= PHASE_RUNNING)
        resource_status_set_phase(s, RESOURCE_RUNNING, rec->started_us,
                                  rec->step == JOB_STEP_ABORT ? "Aborting" : "", "");
    if (rec->phase == PHASE_COMPLETE)
        resource_status_set_phase(s, RESOURCE_COMPLETE, rec->completed_us, "", "");
    if (rec->phase == PHASE_FAILED)
        resource_status_set_phase(s, RESOURCE_FAILED, rec->completed_us,
                                  rec->resumable   ? "Resumable"
                                  : rec->leftovers ? "Leftovers"
                                                   : "",
                                  message);
    if (rec->deleting)
        status_fill_deleting(s, rec->removal_us, rec->completed_us);
}

static void fill_counters(struct resource_status *s, const struct msg_counters *c)
{
    s->backup_bytes = c->stored_bytes;
    s->data_bytes = c->bytes;
    s->file_count = c->files;
    s->pages_checked = c->pages_checked;
    s->pages_unverified = c->pages_unverified;
    s->pages_corrupt = c->pages_corrupt;
}

/* A runner that has no store open, as one that only holds log: what was said of the store before is
 * over, a limit that was low then above all. */
static void forget_storage(struct live *live, const struct node *node)
{
    for (size_t at = 0; at < live->storage_count; at++) {
        if (strcmp(live->storage[at].node, node->name) != 0)
            continue;
        live->storage[at] = live->storage[--live->storage_count];
        return;
    }
}

void status_note_storage(struct live *live, const struct node *node, const struct msg_job *report)
{
    const struct msg_storage_stats *stats = report->storage;
    size_t at = 0;
    if (stats == NULL && report->log != NULL)
        stats = report->log->storage;
    if (stats == NULL) {
        if (report->log != NULL)
            forget_storage(live, node);
        return;
    }
    while (at < live->storage_count && strcmp(live->storage[at].node, node->name) != 0)
        at++;
    if (at == STORAGE_SEEN_MAX)
        return;
    live->storage_count = TM_MAX(live->storage_count, at + 1);
    COPY_TEXT(live->storage[at].node, node->name);
    live->storage[at].stats = *stats;
}

const struct trouble *status_trouble(const struct brain *b, const struct res *res)
{
    const struct trouble *t = res->live != NULL ? &res->live->trouble : NULL;
    if (t == NULL || t->node[0] == '\0' ||
        b->now.mono_us - t->heard_us > brain_ms(b->config.lease_ms))
        return NULL;
    return t;
}

void status_note_trouble(struct brain *b, struct res *res, const struct node *node,
                         const struct msg_job *report)
{
    assert(res->live != NULL); /* of a job that is over nobody reports */
    struct trouble *t = &res->live->trouble;
    const struct msg_error *error = report->trouble;
    if (status_trouble(b, res) != NULL && strcmp(t->node, node->name) != 0)
        return;
    bool same = error != NULL ? strcmp(t->text, error->text) == 0 : t->node[0] == '\0';
    if (error == NULL) {
        t->node[0] = '\0';
    } else {
        COPY_TEXT(t->node, node->name);
        COPY_TEXT(t->stage, error->stage);
        COPY_TEXT(t->text, error->text);
        t->since_us = error->since_us;
        t->heard_us = b->now.mono_us;
    }
    if (!same)
        status_changed(b, res);
}

void status_fill_storage(struct resource_status *s, const struct live *live)
{
    for (size_t n = 0; n < live->storage_count; n++) {
        const struct storage_seen *seen = &live->storage[n];
        struct status_storage one = {.requests = seen->stats.requests,
                                     .retries = seen->stats.retries,
                                     .slow_downs = seen->stats.slow_downs,
                                     .parallel = seen->stats.limit,
                                     .parallel_max = seen->stats.limit_max,
                                     .skew_us = seen->stats.skew_us};
        COPY_TEXT(one.node, seen->node);
        resource_status_add_storage(s, &one);
    }
}

static void fill_shares(struct resource_status *s, const struct node_share *shares, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        struct status_share one = {.ranges = shares[at].ranges, .bytes = shares[at].bytes};
        COPY_TEXT(one.node, shares[at].node);
        resource_status_add_share(s, &one);
    }
}

static void fill_live(struct resource_status *s, const struct res *res)
{
    const struct live *live = res->live;
    const struct table *t = &live->table;
    s->log_bytes = live->log_bytes;
    if (res->view.kind == JOB_KIND_BACKUP) {
        fill_counters(s, &t->done);
        if (t->complete) {
            s->ranges_total = t->count;
            s->bytes_total = t->bytes_total;
        }
        s->ranges_done = TM_MAX(s->ranges_done, t->done_count);
        s->ranges_resumed = TM_MAX(s->ranges_resumed, t->stored_count);
        s->bytes_resumed = TM_MAX(s->bytes_resumed, t->stored_bytes);
        s->bytes_done = TM_MAX(s->bytes_done, TM_MAX(t->done.bytes, live->bytes_done));
    } else {
        s->bytes_total = TM_MAX(s->bytes_total, live->bytes_total);
        s->bytes_done = TM_MAX(s->bytes_done, live->bytes_done);
    }
    if (s->bytes_total > 0)
        s->bytes_done = TM_MIN(s->bytes_done, s->bytes_total);
    COPY_TEXT(s->waiting, live->waiting);
    status_fill_storage(s, live);
    if (live->problem[0] != '\0')
        resource_status_add_problem(s, res->now.rec.node, "", -1, live->problem);
}

void status_warn(struct resource_status *s, const char *fmt, ...)
{
    char text[TM_ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    resource_status_add_warning(s, text);
}

static void fill_warnings(const struct brain *b, struct resource_status *s, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    const struct live *live = store_terminal(res) ? NULL : res->live;
    char names[TM_ERR_MSG_MAX];
    if (!store_terminal(res) && tenants_left_out(b, res, names))
        status_warn(s, TENANTS_LEFT_OUT, names);
    for (size_t n = 0; live != NULL && n < live->warning_count; n++)
        resource_status_add_warning(s, live->warnings[n]);
    for (size_t n = 0; live == NULL && n < rec->warnings_count; n++)
        resource_status_add_warning(s, rec->warnings[n]);
    if (rec->resume_note != NULL && rec->resume_note[0] != '\0')
        resource_status_add_warning(s, rec->resume_note);
}

static void fill_plan(struct status_plan *to, const struct msg_totals *totals)
{
    const struct msg_restore_plan *plan = totals->plan;
    to->is_plan = true;
    to->by_log = plan->by_log;
    to->log_bytes = plan->log_bytes;
    to->commit_us = totals->commit_us;
    to->ranges = plan->ranges;
    to->bytes = plan->bytes;
    to->estimate_us = plan->estimate_us;
    to->threads = plan->threads;
    COPY_TEXT(to->backup_id, plan->backup_id);
    COPY_TEXT(to->label, plan->label);
    COPY_TEXT(to->position, totals->position);
}

static void fill_totals(struct resource_status *s, const struct record *rec)
{
    const struct msg_totals *totals = rec->totals;
    s->log_bytes = totals->log_bytes;
    s->commit_us = totals->commit_us;
    COPY_TEXT(s->position, totals->position);
    COPY_TEXT(s->lineage, totals->lineage);
    if (totals->path != NULL)
        COPY_TEXT(s->backup_path, totals->path);
    if (totals->plan != NULL)
        fill_plan(&s->plan, totals);
    if (totals->counters == NULL)
        return;
    fill_counters(s, totals->counters);
    for (size_t n = 0; n < totals->problems_count; n++) {
        const struct msg_problem *one = &totals->problems[n];
        /* 2^64-1 is no block: -1 says the same */
        resource_status_add_problem(s, rec->node, one->path, (int64_t)one->block, one->what);
    }
}

static void fill_error(const struct brain *b, struct resource_status *s, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    const struct live *live = res->live;
    const struct trouble *trouble = status_trouble(b, res);
    struct status_error *to = &s->error;
    if (live != NULL && live->has_failure) {
        COPY_TEXT(to->node, live->failure_node);
        COPY_TEXT(to->stage, live->failure_stage);
        to->since_us = live->failure_since_us;
        to->code = live->failure.code;
        COPY_TEXT(to->message, live->failure.msg);
        s->has_error = true;
    } else if (trouble != NULL) { /* now: it explains more than why an earlier attempt ended */
        COPY_TEXT(to->node, trouble->node);
        COPY_TEXT(to->stage, trouble->stage);
        to->since_us = trouble->since_us;
        to->code = TM_E_TIMEOUT;
        COPY_TEXT(to->message, trouble->text);
        s->has_error = true;
    } else if (rec->error != NULL) {
        COPY_TEXT(to->node, rec->error_node);
        COPY_TEXT(to->stage, rec->error->stage);
        to->since_us = rec->error->since_us;
        to->code = tm_err_code_from_wire(rec->error->code);
        COPY_TEXT(to->message, rec->error->text);
        s->has_error = true;
    }
}

static void fill_path(struct resource_status *s, const struct record *rec)
{
    if (s->backup_path[0] != '\0' || rec->storage == NULL)
        return;
    if (rec->backup_id[0] == '\0' || rec->identity[0] == '\0')
        return;
    const char *query = strchr(rec->storage, '?');
    int len = query != NULL ? (int)(query - rec->storage) : (int)strlen(rec->storage);
    (void)snprintf(s->backup_path, sizeof(s->backup_path), "%.*s/%s/%s/%s/backup/%s", len,
                   rec->storage, rec->cluster, rec->tenant, rec->identity, rec->backup_id);
}

void status_fill(const struct brain *b, const struct res *res)
{
    struct resource_status *s = res->status;
    const struct record *rec = &res->now.rec;
    bool under_way = res->live != NULL && !store_terminal(res) && res->view.kind == JOB_KIND_BACKUP;
    const struct live *live = under_way ? res->live : NULL;
    resource_status_clear(s);
    if (parts_is(res)) {
        parts_fill(b, res);
        return;
    }
    if (log_is(res)) {
        log_fill(b, res);
        return;
    }
    fill_phases(s, res);
    COPY_TEXT(s->backup_id, rec->backup_id[0] != '\0' ? rec->backup_id : rec->source_backup_id);
    COPY_TEXT(s->tenant, rec->tenant[0] != '\0' ? rec->tenant : tenant_of(b, res));
    COPY_TEXT(s->node, rec->node);
    s->started_us = rec->started_us;
    s->completed_us = rec->completed_us;
    s->attempt = rec->attempt;
    s->ranges_total = rec->ranges_total;
    s->bytes_total = rec->bytes_total;
    if (live != NULL && live->share_count > 0)
        fill_shares(s, live->shares, live->share_count);
    else
        fill_shares(s, rec->shares, rec->shares_count);
    s->ranges_resumed = rec->ranges_resumed;
    s->bytes_resumed = rec->bytes_resumed;
    if (rec->phase == PHASE_FAILED || rec->step == JOB_STEP_ABORT) {
        s->ranges_done = rec->ranges_done;
        s->bytes_done = rec->bytes_done;
    }
    if (res->live != NULL && !store_terminal(res))
        fill_live(s, res);
    else if (res->live != NULL)
        COPY_TEXT(s->waiting, res->live->waiting);
    if (rec->phase == PHASE_COMPLETE) {
        s->ranges_done = rec->ranges_total;
        if (rec->totals != NULL)
            fill_totals(s, rec);
        if (s->bytes_total == 0)
            s->bytes_total = s->data_bytes;
        s->bytes_done = s->bytes_total;
    }
    fill_path(s, rec);
    fill_warnings(b, s, res);
    fill_error(b, s, res);
}

/* ---- reading ---- */

static void look(const struct brain *b, const struct res *res, struct brain_resource *ret)
{
    status_fill(b, res);
    *ret = (struct brain_resource){
        .spec = res->spec,
        .status = res->status,
        .yaml = res->now.rec.document,
        .uid = res->now.rec.uid,
        .created_us = res->now.rec.created_us,
        .generation = res->now.rec.generation,
        .version = res->version,
        .deleting = res->now.rec.deleting,
    };
}

bool brain_resource_next(const struct brain *b, size_t *cursor, struct brain_resource *ret)
{
    while (*cursor < b->resource_count) {
        const struct res *res = b->resources[(*cursor)++];
        if (!res->exists || part_is(res)) /* a part is seen in the whole */
            continue;
        look(b, res, ret);
        return true;
    }
    return false;
}

bool brain_resource_find(const struct brain *b, const char *kind, const char *namespace_,
                         const char *name, struct brain_resource *ret)
{
    const char *where = namespace_ == NULL || namespace_[0] == '\0' ? "default" : namespace_;
    const struct res *res = store_find(b, kind, where, name);
    if (res == NULL || !res->exists)
        return false;
    look(b, res, ret);
    return true;
}
