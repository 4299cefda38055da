/*
 * What agents say of a log backup: the lead how far it is and what it is stuck on, the others what they
 * hold. Nothing is decided here; logs.c looks at it afterwards.
 */
#include "coordinator/brain/logs.h"

/* A lead that only begins knows less than was known before: what was proven stored stays so. */
static void carry_over(const struct brain *b, const struct res *res, struct msg_log_status *to)
{
    const struct log_live *log = res->live->log;
    const struct log_record *rec = res->now.rec.log;
    const struct msg_log_status *from = &log->status;
    if (to->durable == 0) {
        to->durable = log->has_status ? from->durable : rec->durable;
        COPY_TEXT(to->position, log->has_status ? from->position : rec->position);
        if (to->lineage[0] == '\0')
            COPY_TEXT(to->lineage, log->has_status ? from->lineage : rec->lineage);
    }
    if (to->checkpoint_us != 0)
        return;
    int64_t age_us = log->has_status ? (int64_t)(b->now.mono_us - log->status_us)
                                     : b->now.real_us - rec->noted_us;
    to->checkpoint_us = log->has_status ? from->checkpoint_us : rec->checkpoint_us;
    to->latency_us = (log->has_status ? from->latency_us : rec->latency_us) +
                     (uint64_t)TM_MAX(age_us, INT64_C(0));
}

/* The same of what can be restored: who has no lineage yet has not looked. Intervals point nowhere. */
static void carry_intervals(struct brain *b, const struct log_live *log, struct codec_arena *arena,
                            struct msg_log_status *to)
{
    const struct msg_log_status *from = &log->status;
    if (!log->has_status || to->lineage[0] != '\0' || to->recoverable_count > 0)
        return;
    to->needs_full = from->needs_full;
    if (from->recoverable_count == 0)
        return;
    to->recoverable =
        codec_arena_array(arena, from->recoverable_count, sizeof(*to->recoverable), b->err);
    if (to->recoverable == NULL) {
        b->failed = true;
        return;
    }
    memcpy(to->recoverable, from->recoverable, from->recoverable_count * sizeof(*to->recoverable));
    to->recoverable_count = from->recoverable_count;
}

static void keep_status(struct brain *b, struct res *res, const struct msg_log_status *status)
{
    struct log_live *log = res->live->log;
    struct codec_arena arena = {0};
    struct msg_log_status copy;
    if (codec_copy(&msg_log_status_codec, status, &arena, &copy, b->err) < 0) {
        codec_arena_release(&arena);
        b->failed = true;
        return;
    }
    if (status->durable != 0)
        COPY_TEXT(log->durable_of, res->now.rec.node);
    carry_intervals(b, log, &arena, &copy);
    carry_over(b, res, &copy);
    if (!log->has_status || copy.checkpoint_us != log->status.checkpoint_us) {
        log->moved_us = b->now.mono_us;
        log->moved_real_us = b->now.real_us;
    }
    codec_arena_release(&log->arena);
    log->arena = arena;
    log->status = copy;
    log->has_status = true;
    log->status_us = b->now.mono_us;
    log->status_real_us = b->now.real_us;
}

static void report_lead(struct brain *b, struct res *res, const struct msg_job *report)
{
    struct log_live *log = res->live->log;
    log->heard_us = b->now.mono_us;
    log->heard_real_us = b->now.real_us;
    if (report->log != NULL)
        keep_status(b, res, report->log);
    if (report->log != NULL)
        kept_emptied(b, res, report->log->emptied, report->log->emptied_count);
    if (report->answer != NULL)
        log_answered(b, res, report->answer);
    res->live->warning_count = report->warnings_count;
    for (size_t at = 0; at < report->warnings_count; at++)
        COPY_TEXT(res->live->warnings[at], report->warnings[at]);
    bool failed = report->stage == JOB_STAGE_FAILED && res->now.rec.phase != PHASE_FAIL;
    log->stage = (enum job_stage)report->stage;
    if (!failed || log->has_failure)
        return;
    const struct msg_error *error = report->error;
    if (error == NULL && report->log != NULL)
        error = report->log->error;
    if (error != NULL)
        msg_error_to(error, &log->failure);
    else
        (void)tm_err_set(&log->failure, TM_E_INTERNAL, "the agent gives no reason");
    COPY_TEXT(log->failure_stage, error != NULL ? error->stage : "");
    log->failure_since_us =
        error != NULL && error->since_us != 0 ? error->since_us : b->now.real_us;
    log->has_failure = true;
}

static struct log_hold *hold_of(struct log_live *log, const char *name)
{
    for (size_t at = 0; at < log->hold_count; at++) {
        if (strcmp(log->holds[at].node, name) == 0)
            return &log->holds[at];
    }
    if (log->hold_count == LOG_HOLDERS_MAX)
        return NULL;
    struct log_hold *hold = &log->holds[log->hold_count++];
    *hold = (struct log_hold){.stopped = false};
    COPY_TEXT(hold->node, name);
    return hold;
}

static void report_hold(struct res *res, const struct node *node, const struct msg_job *report)
{
    struct log_hold *hold = hold_of(res->live->log, node->name);
    if (hold == NULL)
        return;
    bool stopping = res->now.rec.step == JOB_STEP_STOP || res->now.rec.phase == PHASE_STOPPED;
    hold->stopped = stopping && report->stage == JOB_STAGE_STOPPED;
    const struct msg_error *error = report->error;
    if (report->log != NULL) {
        COPY_TEXT(hold->name, report->log->hold_name);
        COPY_TEXT(hold->at, report->log->hold_position);
        hold->bytes = report->log->hold_bytes;
        hold->lost = report->log->hold_lost;
        hold->at_risk = report->log->at_risk;
        error = report->log->error != NULL ? report->log->error : error;
    }
    (void)snprintf(hold->error, sizeof(hold->error), "%s", error != NULL ? error->text : "");
}

void log_report(struct brain *b, struct res *res, struct node *node, const struct msg_job *report)
{
    uint32_t phase = res->now.rec.phase;
    if (report->kind != JOB_KIND_LOG || phase == PHASE_SCHEDULED)
        return;
    if (job_is_lead(res, node))
        report_lead(b, res, report);
    else
        report_hold(res, node, report);
    if (job_is_lead(res, node) && phase == PHASE_STOPPED)
        report_hold(res, node, report);
    status_changed(b, res);
}
