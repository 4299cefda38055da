/*
 * What people see of a log backup.
 *
 * The checkpoint and its latency are the lead's, by the source's clock on both sides; what passed since
 * its report is added by this process's own clock. A checkpoint that does not move always has a reason
 * in lastError: the lead is not heard, it says what it is stuck on, or the stage in which the oldest
 * bytes wait is named, with the call to storage that takes long.
 */
#include "coordinator/brain/logs.h"

#include "proto/spec/status.h"

#include <stdio.h>

#define FLUSH_MS_DEFAULT 5000

/* ---- phases ---- */

static const char *step_reason(const struct record *rec)
{
    bool running = rec->phase == PHASE_RUNNING || rec->phase == PHASE_PREPARE;
    if (rec->step == JOB_STEP_STOP && rec->phase != PHASE_STOPPED)
        return "Stopping";
    if (rec->step == JOB_STEP_PAUSE && running)
        return "Pausing";
    return rec->step == JOB_STEP_RUN && rec->phase == PHASE_PAUSE ? "Resuming" : "";
}

static void fill_phases(struct resource_status *s, const struct record *rec)
{
    static const enum resource_phase shown[] = {
        [PHASE_SCHEDULED] = RESOURCE_SCHEDULED, [PHASE_PREPARE] = RESOURCE_PREPARE,
        [PHASE_RUNNING] = RESOURCE_RUNNING,     [PHASE_PAUSE] = RESOURCE_PAUSE,
        [PHASE_STOPPED] = RESOURCE_STOPPED,     [PHASE_FAIL] = RESOURCE_FAIL,
    };
    const struct log_record *log = rec->log;
    const char *reason = step_reason(rec);
    const char *message = rec->phase == PHASE_FAIL && rec->error != NULL ? rec->error->text : "";
    if (s->log.needs_full && reason[0] == '\0') {
        reason = "NeedsFullBackup";
        message = "no backup leads to what is stored now; take a full backup";
    }
    resource_status_set_phase(s, RESOURCE_SCHEDULED, rec->created_us, "", "");
    if (rec->started_us != 0)
        resource_status_set_phase(s, RESOURCE_PREPARE, rec->started_us, "", "");
    if (log->running_us != 0)
        resource_status_set_phase(s, RESOURCE_RUNNING, log->running_us, "", "");
    if (rec->phase < TM_ARRAY_LEN(shown) && shown[rec->phase] != RESOURCE_PHASE_NONE)
        resource_status_set_phase(s, shown[rec->phase], log->phase_us, reason, message);
    if (rec->deleting)
        resource_status_set_phase(s, RESOURCE_DELETING, log->phase_us, "", "");
}

/* ---- progress ---- */

static void add_intervals(struct resource_status *s, const struct msg_log_status *status)
{
    for (size_t at = 0; at < status->recoverable_count; at++) {
        const struct msg_interval *from = &status->recoverable[at];
        struct status_interval one = {
            .from_us = from->from_us, .to_us = from->to_us, .abandoned = from->abandoned};
        COPY_TEXT(one.lineage, from->lineage);
        COPY_TEXT(one.label, from->label);
        COPY_TEXT(one.from_position, from->from_position);
        COPY_TEXT(one.to_position, from->to_position);
        COPY_TEXT(one.backup_id, from->backup_id);
        resource_status_add_interval(s, &one);
    }
}

static void fill_reported(const struct brain *b, struct resource_status *s, const struct res *res)
{
    const struct log_live *live = res->live->log;
    const struct msg_log_status *status = &live->status;
    COPY_TEXT(s->lineage, status->lineage);
    COPY_TEXT(s->log.position, status->position);
    s->log.checkpoint_us = status->checkpoint_us;
    s->log.has_latency = status->checkpoint_us != 0;
    s->log.latency_us = status->latency_us + (b->now.mono_us - live->status_us);
    s->log.has_skew = status->source_us != 0;
    s->log.skew_us = status->skew_us;
    s->log.needs_full = status->needs_full;
    s->backup_bytes = status->stored_bytes;
    s->log_bytes = status->raw_bytes;
    add_intervals(s, status);
}

/* Nobody reported to this coordinator yet: what an earlier one knew, and its own clock since. */
static void fill_recorded(const struct brain *b, struct resource_status *s,
                          const struct log_record *log)
{
    COPY_TEXT(s->lineage, log->lineage);
    COPY_TEXT(s->log.position, log->position);
    s->log.checkpoint_us = log->checkpoint_us;
    s->log.has_latency = log->checkpoint_us != 0;
    int64_t age_us = b->now.real_us - log->noted_us;
    s->log.latency_us = log->latency_us + (age_us > 0 ? (uint64_t)age_us : 0);
}

static void fill_truncation(const struct brain *b, struct resource_status *s, const struct res *res)
{
    const struct log_record *log = res->now.rec.log;
    const struct log_live *live = res->live != NULL ? res->live->log : NULL;
    const struct msg_error *error = log->truncate_error;
    s->log.truncated_us = log->truncated_us;
    COPY_TEXT(s->log.truncated_position, log->truncated_position);
    COPY_TEXT(s->log.truncate_until, log->truncate_until != NULL ? log->truncate_until : "");
    s->log.truncate_pending = log_truncating(res);
    if (s->log.truncate_pending && live != NULL && live->has_status) /* it is tried again */
        error = live->status.truncate_error;
    if (error != NULL)
        COPY_TEXT(s->log.truncate_error, error->text);
    else if (s->log.truncate_pending && rebuild_holds_back(b))
        COPY_TEXT(s->log.truncate_error, REBUILD_WAITS);
    s->log.removing = log->removing;
    if (log->removing && live != NULL && live->has_status && live->status.removal_error != NULL)
        COPY_TEXT(s->log.removal_error, live->status.removal_error->text);
}

/* ---- holds ---- */

static void fill_holds(struct resource_status *s, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    const struct log_live *live = res->live->log;
    const struct msg_log_status *lead = &live->status;
    if (live->has_status && lead->hold_at != 0 && log_holder_is(rec->log, rec->node)) {
        struct status_hold one = {.bytes = lead->hold_bytes, .lost = lead->hold_lost};
        COPY_TEXT(one.name, lead->hold_name);
        COPY_TEXT(one.at, lead->hold_position);
        COPY_TEXT(one.node, rec->node);
        resource_status_add_hold(s, &one);
    }
    for (size_t at = 0; at < live->hold_count; at++) {
        const struct log_hold *hold = &live->holds[at];
        if (strcmp(hold->node, rec->node) == 0 || !log_holder_is(rec->log, hold->node))
            continue;
        struct status_hold one = {
            .bytes = hold->bytes, .at_risk = hold->at_risk, .lost = hold->lost};
        COPY_TEXT(one.name, hold->name);
        COPY_TEXT(one.at, hold->at);
        COPY_TEXT(one.node, hold->node);
        resource_status_add_hold(s, &one);
        if (hold->at_risk)
            status_warn(
                s, "failover at risk: standby '%s' keeps less log than a failover to it would need",
                hold->node);
        if (hold->lost)
            status_warn(s, "failover at risk: the hold on standby '%s' is lost", hold->node);
        if (hold->error[0] != '\0')
            status_warn(s, "node '%s' cannot hold log: %s", hold->node, hold->error);
    }
}

static void fill_warnings(const struct brain *b, struct resource_status *s, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    const struct log_live *live = res->live->log;
    const struct node *second = log_second_primary(b, res);
    const struct node *lead = lead_of(b, res);
    const struct msg_instance *instance = lead != NULL ? node_instance(lead, rec->tenant) : NULL;
    if (second != NULL)
        status_warn(s, "nodes '%s' and '%s' both say to be primary; the log is taken from '%s'",
                    rec->node, second->name, rec->node);
    if (res->view.log->from_standby && instance != NULL && instance->role == INSTANCE_PRIMARY)
        status_warn(
            s, "the log is taken from the primary '%s', as it was promoted or no standby is there",
            rec->node);
    if (live->has_status && live->status.hold_lost)
        status_warn(
            s,
            "the hold on node '%s' was released or lost: log that was not stored yet is missing, "
            "and a full backup is needed behind it",
            rec->node);
    if (s->log.needs_full)
        status_warn(s, "no backup leads to what is stored now; take a full backup");
    struct log_places places;
    log_places(b, res, &places);
    if (places.more)
        status_warn(
            s,
            "backups lie in more than %u other storages: what can be restored does not count those "
            "in the ones that were used longest ago",
            WIRE_PLACES_MAX);
    if (live->has_status && live->status.warning != NULL && live->status.warning[0] != '\0')
        status_warn(s, "%s", live->status.warning);
    for (size_t at = 0; at < res->live->warning_count; at++)
        status_warn(s, "%s", res->live->warnings[at]);
}

/* ---- what is wrong ---- */

static void set_error(struct resource_status *s, const char *node, const char *stage,
                      int64_t since_us, enum tm_err_code code, const char *text)
{
    if (s->has_error) /* the first one explains the others */
        return;
    s->has_error = true;
    COPY_TEXT(s->error.node, node);
    COPY_TEXT(s->error.stage, stage);
    s->error.since_us = since_us;
    s->error.code = code;
    COPY_TEXT(s->error.message, text);
}

static void error_of(struct resource_status *s, const char *node, const struct msg_error *error)
{
    set_error(s, node, error->stage, error->since_us, tm_err_code_from_wire(error->code),
              error->text);
}

static void silent(const struct brain *b, struct resource_status *s, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    const struct node *lead = lead_of(b, res);
    char text[TM_ERR_MSG_MAX];
    if (b->now.mono_us - res->live->log->heard_us <= brain_ms(b->config.lease_ms))
        return;
    if (lead != NULL && lead_usable(lead))
        (void)snprintf(text, sizeof(text), "agent on node '%s' does not take the log backup up",
                       rec->node);
    else
        (void)snprintf(text, sizeof(text),
                       "agent on node '%s' is not heard; it may go on by itself", rec->node);
    set_error(s, rec->node, "agent", res->live->log->heard_real_us, TM_E_UNAVAILABLE, text);
}

/* An idle primary's standby receives nothing, and its clock proves nothing. */
static bool from_standby_now(const struct brain *b, const struct res *res)
{
    const struct node *lead = lead_of(b, res);
    const struct msg_instance *instance =
        lead != NULL ? node_instance(lead, res->now.rec.tenant) : NULL;
    return instance != NULL && instance->role == INSTANCE_STANDBY;
}

static void troubled(struct resource_status *s, const struct trouble *t)
{
    if (t != NULL && strcmp(t->stage, STAGE_WAITING) != 0)
        set_error(s, t->node, t->stage, t->since_us, TM_E_TIMEOUT, t->text);
}

/* Log waits in a stage: the call to storage that takes long is why. */
static void waiting(struct resource_status *s, const char *node, const struct msg_error *error,
                    const struct trouble *trouble)
{
    char text[STATUS_MESSAGE_MAX];
    (void)snprintf(text, sizeof(text), "%.200s%s%.300s", error->text, trouble != NULL ? ": " : "",
                   trouble != NULL ? trouble->text : "");
    set_error(s, node, error->stage, error->since_us, TM_E_TIMEOUT, text);
}

static void stuck(const struct brain *b, struct resource_status *s, const struct res *res)
{
    const struct log_live *live = res->live->log;
    const struct msg_log_status *status = &live->status;
    const struct {
        const char *name;
        uint32_t ms;
    } stages[] = {{"receive", status->receive_ms},
                  {"compress", status->compress_ms},
                  {"upload", status->upload_ms},
                  {"commit", status->commit_ms}};
    uint32_t flush_ms = res->view.log->flush_ms;
    uint64_t patience_us = brain_ms(flush_ms != 0 ? flush_ms : FLUSH_MS_DEFAULT) + LOG_STUCK_US;
    uint64_t still_us = b->now.mono_us - live->moved_us;
    if (res->now.rec.phase != PHASE_RUNNING || res->now.rec.step != JOB_STEP_RUN ||
        still_us <= patience_us)
        return;
    size_t oldest = 0;
    for (size_t at = 1; at < TM_ARRAY_LEN(stages); at++)
        oldest = stages[at].ms > stages[oldest].ms ? at : oldest;
    const struct trouble *trouble = status_trouble(b, res);
    char text[STATUS_MESSAGE_MAX];
    if (stages[oldest].ms == 0 && from_standby_now(b, res)) {
        status_warn(
            s,
            "the log comes from standby '%s': it is safe to the last transaction that was received "
            "there, which does not move",
            res->now.rec.node);
        return;
    }
    if (stages[oldest].ms > 0)
        (void)snprintf(
            text, sizeof(text),
            "the checkpoint does not move: the oldest log waits for %s since %u s%s%.380s",
            stages[oldest].name, stages[oldest].ms / 1000, trouble != NULL ? ": " : "",
            trouble != NULL ? trouble->text : "");
    else
        (void)snprintf(text, sizeof(text),
                       "the checkpoint does not move: the source tells no new one");
    set_error(s, res->now.rec.node, stages[oldest].name, live->moved_real_us, TM_E_TIMEOUT, text);
}

static void fill_error(const struct brain *b, struct resource_status *s, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    bool at_work =
        rec->phase == PHASE_PREPARE || rec->phase == PHASE_RUNNING || rec->phase == PHASE_PAUSE;
    if (rec->error != NULL)
        error_of(s, rec->error_node, rec->error);
    if (at_work) {
        silent(b, s, res);
        const struct msg_error *error =
            res->live->log->has_status ? res->live->log->status.error : NULL;
        /* one of stage "storage" names the call that hangs itself */
        bool waits = error != NULL && tm_err_code_from_wire(error->code) == TM_E_TIMEOUT &&
                     strcmp(error->stage, STAGE_STORAGE) != 0;
        if (error != NULL && !waits)
            error_of(s, rec->node, error);
        troubled(s, status_trouble(b, res));
        if (waits)
            waiting(s, rec->node, error, status_trouble(b, res));
        stuck(b, s, res);
    }
    if (rec->log->truncate_error != NULL) {
        const struct msg_error *error = rec->log->truncate_error;
        set_error(s, rec->node, "truncate", error->since_us, tm_err_code_from_wire(error->code),
                  error->text);
    }
}

/* ---- together ---- */

static void fill_path(struct resource_status *s, const struct record *rec)
{
    if (rec->storage == NULL || rec->identity[0] == '\0')
        return;
    const char *query = strchrnul(rec->storage, '?');
    (void)snprintf(s->backup_path, sizeof(s->backup_path), "%.*s/%s/%s/%s/log",
                   (int)(query - rec->storage), rec->storage, rec->cluster, rec->tenant,
                   rec->identity);
}

void log_fill(const struct brain *b, const struct res *res)
{
    struct resource_status *s = res->status;
    const struct record *rec = &res->now.rec;
    bool over = rec->phase == PHASE_STOPPED || rec->phase == PHASE_SCHEDULED;
    s->log.is_log = true;
    COPY_TEXT(s->tenant, rec->tenant[0] != '\0' ? rec->tenant : tenant_of(b, res));
    COPY_TEXT(s->node, rec->node);
    s->started_us = rec->started_us;
    s->completed_us = rec->completed_us;
    s->attempt = rec->attempt;
    if (res->live != NULL) {
        COPY_TEXT(s->waiting, res->live->waiting);
        status_fill_storage(s, res->live);
        if (res->live->log->has_status)
            fill_reported(b, s, res);
        else
            fill_recorded(b, s, rec->log);
        if (!over) {
            fill_error(b, s, res);
            fill_warnings(b, s, res);
        } else if (rec->log->truncate_error != NULL) {
            fill_error(b, s, res);
        }
        fill_holds(s, res);
    }
    s->log.has_latency = s->log.has_latency && !over;
    fill_truncation(b, s, res);
    fill_phases(s, rec);
    fill_path(s, rec);
}
