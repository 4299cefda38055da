/*
 * What people see of a log backup of several tenants: it is as safe as the one that is safe least, and as far
 * as the one that is least far in what is wished.
 */
#include "coordinator/brain/logs.h"

#include "proto/spec/status.h"

#include <stdio.h>

/* ---- phases ---- */

static enum resource_phase wished(const struct res *res)
{
    if (res->now.rec.deleting || res->view.log_wish == JOB_STEP_STOP)
        return RESOURCE_STOPPED;
    return res->view.log_wish == JOB_STEP_PAUSE ? RESOURCE_PAUSE : RESOURCE_RUNNING;
}

/* The part that says what the whole is: one that is Fail, else one that is not as wished; NULL: there is
 * none, some are to be made. */
static const struct res *decisive(const struct res *res, struct res *const *parts, size_t count)
{
    const struct res *found = NULL;
    enum resource_phase as_wished = wished(res);
    for (size_t at = 0; at < count; at++) {
        if (!parts[at]->exists)
            continue;
        if (parts[at]->now.rec.phase == PHASE_FAIL)
            return parts[at];
        if (found == NULL || found->status->phase == as_wished)
            found = parts[at];
    }
    return found;
}

static const struct status_condition *condition_now(const struct resource_status *s)
{
    for (size_t at = 0; at < s->condition_count; at++) {
        if (s->conditions[at].type == s->phase)
            return &s->conditions[at];
    }
    return NULL;
}

static void fill_phases(const struct res *res, struct res *const *parts, size_t count)
{
    struct resource_status *s = res->status;
    const struct record *rec = &res->now.rec;
    const struct res *one = decisive(res, parts, count);
    const struct status_condition *now = one != NULL ? condition_now(one->status) : NULL;
    char message[TM_ERR_MSG_MAX] = "";
    int64_t running_us = 0;
    bool all_ran = count == rec->parts_count;
    for (size_t at = 0; at < count; at++) {
        const struct log_record *log = parts[at]->now.rec.log;
        all_ran = all_ran && log != NULL && log->running_us != 0;
        running_us = all_ran ? TM_MAX(running_us, log->running_us) : 0;
    }
    resource_status_set_phase(s, RESOURCE_SCHEDULED, rec->created_us, "", "");
    resource_status_set_phase(s, RESOURCE_PREPARE, rec->started_us, "", "");
    if (all_ran)
        resource_status_set_phase(s, RESOURCE_RUNNING, running_us, "", "");
    if (now == NULL)
        return;
    if (now->message[0] != '\0')
        (void)snprintf(message, sizeof(message), "tenant '%s': %.400s", one->now.rec.part,
                       now->message);
    enum resource_phase phase = now->type == RESOURCE_SCHEDULED ? RESOURCE_PREPARE : now->type;
    resource_status_set_phase(s, phase, now->last_transition_us, now->reason, message);
    if (rec->deleting)
        resource_status_set_phase(s, RESOURCE_DELETING, now->last_transition_us, "", "");
}

/* ---- how far ---- */

static void add_far(const struct brain *b, struct status_log *to, const struct resource_status *one,
                    bool first)
{
    const struct status_log *log = &one->log;
    bool known = (first || to->checkpoint_us != 0) && log->checkpoint_us != 0;
    if (!known)
        to->checkpoint_us = 0;
    else if (first ||
             (log->checkpoint_us < to->checkpoint_us) != brain_plant(b, BRAIN_PLANT_FAR_PART))
        to->checkpoint_us = log->checkpoint_us;
    to->has_latency = (first || to->has_latency) && log->has_latency;
    to->latency_us = TM_MAX(to->latency_us, log->latency_us);
    to->needs_full = to->needs_full || log->needs_full;
    if (first)
        to->truncated_us = log->truncated_us;
    else
        to->truncated_us = TM_MIN(to->truncated_us, log->truncated_us);
}

static void add_lists(struct resource_status *s, const struct resource_status *one)
{
    for (size_t at = 0; at < one->log.recoverable_count; at++) {
        struct status_interval interval = one->log.recoverable[at];
        COPY_TEXT(interval.tenant, one->tenant);
        resource_status_add_interval(s, &interval);
    }
    for (size_t at = 0; at < one->log.hold_count; at++)
        resource_status_add_hold(s, &one->log.holds[at]);
}

/* ---- truncation ---- */

/* The part has not taken over yet what was wished, or is asked to try once more. */
static bool is_behind(const struct res *whole, const struct res *part)
{
    const struct log_record *wish = whole->now.rec.log;
    const struct log_record *log = part->now.rec.log;
    return strcmp(log_text(wish->truncate_until), log_text(log->truncate_until)) != 0 ||
           wish->truncate_force != log->truncate_force ||
           part->now.rec.round < whole->now.rec.attempt;
}

static void add_truncation(struct status_log *to, const struct res *whole, const struct res *part)
{
    const struct status_log *log = &part->status->log;
    bool behind = is_behind(whole, part);
    to->truncate_pending = to->truncate_pending || behind || log->truncate_pending;
    to->removing = to->removing || log->removing;
    if (!behind && to->truncate_error[0] == '\0' && log->truncate_error[0] != '\0')
        (void)snprintf(to->truncate_error, sizeof(to->truncate_error), "tenant '%s': %.400s",
                       part->now.rec.part, log->truncate_error);
    if (to->removal_error[0] == '\0' && log->removal_error[0] != '\0')
        (void)snprintf(to->removal_error, sizeof(to->removal_error), "tenant '%s': %.400s",
                       part->now.rec.part, log->removal_error);
}

/* ---- together ---- */

void log_parts_fill(const struct brain *b, const struct res *res, struct res *const *parts,
                    size_t count)
{
    struct resource_status *s = res->status;
    bool first = true;
    s->log.is_log = true;
    COPY_TEXT(s->log.truncate_until, log_text(res->now.rec.log->truncate_until));
    for (size_t at = 0; at < count; at++) {
        if (!parts[at]->exists)
            continue;
        add_far(b, &s->log, parts[at]->status, first);
        add_lists(s, parts[at]->status);
        add_truncation(&s->log, res, parts[at]);
        first = false;
    }
    if (count < res->now.rec.parts_count) { /* of one that is to be made nothing is known */
        s->log.checkpoint_us = 0;
        s->log.has_latency = false;
    }
    if (s->log.truncate_until[0] == '\0')
        s->log.truncate_pending = false;
    fill_phases(res, parts, count);
}
