/*
 * One job, from the step it should be in to what is to be done now. job_advance is called after
 * every event and does whatever is not done yet, so no order of events is special.
 *
 *   stage FAILED    runner killed, session closed; then, on ABORT, the lead's sweep
 *   PREPARE, RUN    lead: session and runner up, then begin; workers: runner up, ranges flow
 *   FINISH          lead: session ended, then finish; the runner asks for results and commits
 *   stage MARKED    a deletion whose grace lasts: nothing runs; it is taken up again when it is over
 */
#include "agent/brain/internal.h"

#include <stdio.h>

bool agent_job_is_lead(const struct job *job)
{
    return (job->want.roles & JOB_ROLE_LEAD) != 0;
}

bool agent_job_is_worker(const struct job *job)
{
    return (job->want.roles & JOB_ROLE_WORKER) != 0;
}

void agent_job_fail(struct agent_brain *b, struct job *job, const struct tm_err *err,
                    const char *stage)
{
    if (job->stage >= JOB_STAGE_COMMITTED && job->stage <= JOB_STAGE_SWEPT)
        return;
    /* what this life started and never let store has left nothing; of another life nobody knows */
    bool resumed = job->want.backup != NULL && job->want.backup->resume;
    job->unstored = !job->ever_begun && !resumed && job->want.step != JOB_STEP_ABORT &&
                    (job->generation > 0 || job->session != SESSION_NONE);
    job->stage = JOB_STAGE_FAILED;
    job->error = *err;
    job->error_since_us = b->now.real_us;
    (void)snprintf(job->error_stage, sizeof(job->error_stage), "%s", stage);
    if (b->config.plant == AGENT_PLANT_DROP_FAILED)
        agent_hold_release(b, job);
    job->crashes = 0; /* the sweep has its own count */
    b->heartbeat_urgent = true;
    agent_log(b, job, 3, AGENT_LOG_JOB_FAILED, "job '%s' failed (%s): %s", job->want.name, stage,
              err->msg);
}

void agent_job_warn(struct agent_brain *b, struct job *job, const char *text)
{
    for (size_t at = 0; at < job->warning_count; at++) {
        if (strcmp(job->warnings[at], text) == 0)
            return;
    }
    if (job->warning_count == WIRE_WARNINGS_MAX)
        return;
    const char *copy = codec_arena_text(&job->warning_arena, text, b->err);
    if (copy == NULL) {
        b->failed = true;
        return;
    }
    job->warnings[job->warning_count++] = copy;
    b->heartbeat_urgent = true;
    agent_log(b, job, 4, AGENT_LOG_PLAIN, "job '%s': %s", job->want.name, text);
}

/* ---- session ---- */

static void session_action(struct agent_brain *b, struct job *job, enum agent_action_kind kind)
{
    struct agent_action *action = agent_emit(b, kind);
    action->session.job = job->handle;
    action->session.instance = job->instance;
}

static void session_begin(struct agent_brain *b, struct job *job)
{
    char label[96];
    (void)snprintf(label, sizeof(label), "tidemark %s", job->want.backup->backup_id);
    const char *copy = agent_step_text(b, label);
    bool lasting = job->want.backup->checkpoint;
    const struct agent_hold *hold = lasting ? agent_hold_take(b, job) : NULL;
    if (job->stage == JOB_STAGE_FAILED)
        return;
    session_action(b, job, AGENT_ACT_SESSION_BEGIN);
    struct agent_action *action = &b->actions[b->action_count - 1];
    action->session.label = copy;
    action->session.fast = job->want.backup->fast_start;
    if (hold != NULL) {
        action->session.hold = hold->name;
        action->session.holds = agent_holds_list(b, &action->session.hold_count);
        if (b->config.plant == AGENT_PLANT_NO_RECORD)
            action->session.hold_count--;
    }
    action->session.resume = job->found;
    action->session.first = buf_slice(&job->first);
    action->session.log_from = job->first_log;
    job->session = SESSION_BEGINNING;
}

static void session_close(struct agent_brain *b, struct job *job)
{
    if (job->session == SESSION_NONE || job->session >= SESSION_CLOSING)
        return;
    session_action(b, job, AGENT_ACT_SESSION_CLOSE);
    job->session = SESSION_CLOSING;
}

static bool session_quiet(const struct job *job)
{
    return job->session == SESSION_NONE || job->session == SESSION_CLOSED;
}

static size_t copy_position(uint8_t *to, struct slice from)
{
    size_t len = TM_MIN(from.len, (size_t)WIRE_POSITION_MAX);
    if (len > 0)
        memcpy(to, from.data, len);
    return len;
}

#define COPY_TEXT(to, from) (void)snprintf(to, sizeof(to), "%s", (from) != NULL ? (from) : "")

static void session_begun(struct agent_brain *b, struct job *job, const struct agent_event *event)
{
    buf_reset(&job->begin);
    agent_check(b, buf_append_slice(&job->begin, event->begun.begin, b->err));
    job->replay_from_len = copy_position(job->replay_from, event->begun.replay_from);
    COPY_TEXT(job->replay_from_text, event->begun.replay_from_text);
    COPY_TEXT(job->lineage_label, event->begun.lineage_label);
    COPY_TEXT(job->identity, event->begun.identity);
    COPY_TEXT(job->version, event->begun.version);
    job->session = SESSION_HELD;
    if (event->begun.warning != NULL && event->begun.warning[0] != '\0')
        agent_job_warn(b, job, event->begun.warning);
    if (job->want.identity[0] != '\0' && job->identity[0] != '\0' &&
        strcmp(job->want.identity, job->identity) != 0) {
        struct tm_err err;
        (void)tm_err_set(&err, TM_E_CONFLICT,
                         "the instance of tenant '%s' is another one now: identity '%s', was '%s'",
                         job->want.tenant, job->identity, job->want.identity);
        agent_job_fail(b, job, &err, job->want.backup->resume ? "resume" : "begin");
    }
}

static void session_ended(struct agent_brain *b, struct job *job, const struct agent_event *event)
{
    buf_reset(&job->end);
    agent_check(b, buf_append_slice(&job->end, event->ended.end, b->err));
    job->consistent_at_len = copy_position(job->consistent_at, event->ended.consistent_at);
    COPY_TEXT(job->consistent_at_text, event->ended.consistent_at_text);
    job->commit_us = event->ended.commit_us;
    job->session = SESSION_ENDED;
}

void agent_job_session_event(struct agent_brain *b, const struct agent_event *event)
{
    struct job *job = agent_job_find(b, event->session_closed.job); /* the first member of each */
    if (job == NULL)
        return;
    switch (event->kind) {
    case AGENT_EV_SESSION_BEGUN:
        if (job->session == SESSION_BEGINNING)
            session_begun(b, job, event);
        break;
    case AGENT_EV_SESSION_ENDED:
        if (job->session == SESSION_ENDING)
            session_ended(b, job, event);
        break;
    case AGENT_EV_SESSION_FAILED:
        if (job->session == SESSION_HELD)
            agent_log(b, job, 4, AGENT_LOG_SESSION_LOST, "job '%s' lost its database session: %s",
                      job->want.name, event->session_failed.err->msg);
        if (job->session >= SESSION_BEGINNING && job->session < SESSION_ENDED)
            agent_job_fail(b, job, event->session_failed.err, event->session_failed.stage);
        break;
    case AGENT_EV_SESSION_CLOSED:
        if (job->session == SESSION_CLOSING)
            job->session = SESSION_CLOSED;
        break;
    default:
        break;
    }
}

/* ---- advancing ---- */

static void stage_reached(struct agent_brain *b, struct job *job, enum job_stage stage)
{
    if (job->stage >= stage)
        return;
    job->stage = stage;
    b->heartbeat_urgent = true;
}

/* Stage FAILED, or a deletion: make things quiet, then sweep when that is wanted of us. */
static void advance_sweep(struct agent_brain *b, struct job *job)
{
    bool wanted = agent_job_is_lead(job) && job->want.step == JOB_STEP_ABORT &&
                  job->want.kind == JOB_KIND_BACKUP && !job->unstored;
    wanted = wanted || job->want.kind == JOB_KIND_DELETE;
    if (!wanted) {
        agent_runner_kill(b, job);
        session_close(b, job);
        bool nothing_to_sweep = job->want.step == JOB_STEP_ABORT && agent_runner_gone(job) &&
                                session_quiet(job) && agent_job_is_lead(job);
        if (nothing_to_sweep)
            agent_runner_reached(b, job, JOB_STAGE_SWEPT, NULL);
        return;
    }
    session_close(b, job);
    if (!job->sweep_sent && job->runner != RUNNER_NONE && job->begin_sent) {
        agent_runner_kill(b, job); /* one that may still be storing */
        return;
    }
    if (!session_quiet(job))
        return;
    agent_runner_want(b, job);
    if (job->runner == RUNNER_READY && !job->sweep_sent)
        agent_runner_send_sweep(b, job);
}

static void advance_restore(struct agent_brain *b, struct job *job)
{
    agent_runner_want(b, job);
    if (job->runner == RUNNER_READY)
        stage_reached(b, job, JOB_STAGE_WORKING);
}

static bool can_begin(const struct job *job)
{
    return agent_job_is_lead(job) ? job->session >= SESSION_HELD && job->session <= SESSION_ENDED
                                  : job->begin_known;
}

static void advance_backup(struct agent_brain *b, struct job *job)
{
    if (agent_job_is_lead(job) && job->session == SESSION_NONE && agent_checkpoint_ready(job) &&
        !agent_hold_is_leaving(b, job))
        session_begin(b, job);
    agent_runner_want(b, job);
    if (job->runner == RUNNER_READY && !job->begin_sent && can_begin(job)) {
        agent_runner_send_begin(b, job);
        stage_reached(b, job, JOB_STAGE_PLANNING);
    }
    if (job->begin_sent && (!agent_job_is_lead(job) || job->plan.complete))
        stage_reached(b, job, JOB_STAGE_WORKING);
    if (job->want.step != JOB_STEP_FINISH || !agent_job_is_lead(job) || !job->plan.complete)
        return;
    stage_reached(b, job, JOB_STAGE_FINISHING);
    if (job->session == SESSION_HELD) {
        session_action(b, job, AGENT_ACT_SESSION_END);
        job->session = SESSION_ENDING;
    }
    if (job->session == SESSION_ENDED && job->begin_sent && !job->finish_sent)
        agent_runner_send_finish(b, job);
}

/* A deletion's tombstone is stored. Storage decides what comes of it: it is asked again when the grace
 * should be over, or is another one. */
static bool mark_over(const struct agent_brain *b, const struct job *job)
{
    return b->now.mono_us >= job->marked_until_us ||
           job->want.backup->grace_ms != job->sweep_grace_ms;
}

/* The job's end is known and reported; what still runs may go. */
static void advance_done(struct agent_brain *b, struct job *job)
{
    agent_runner_kill(b, job);
    session_close(b, job);
}

void agent_job_advance(struct agent_brain *b, struct job *job)
{
    if (b->failed)
        return;
    if (agent_logjob_is(job)) {
        agent_logjob_advance(b, job);
        return;
    }
    if (!job->dropping && job->want.step == JOB_STEP_ABORT && job->stage < JOB_STAGE_COMMITTED) {
        struct tm_err err;
        (void)tm_err_set(&err, TM_E_CANCELED, "stopped by the coordinator");
        agent_job_fail(b, job, &err, "abort");
    }
    struct tm_err missing;
    if (!job->dropping && job->stage < JOB_STAGE_FINISHING && job->want.kind != JOB_KIND_DELETE &&
        agent_runner_gone(job) && agent_secret_missing(b, job, &missing)) {
        bool first = job->generation == 0;
        agent_job_fail(b, job, &missing, "credentials");
        job->unstored = job->unstored || first; /* nothing of this job ever ran */
    }
    if (job->stage == JOB_STAGE_MARKED && agent_runner_gone(job) && mark_over(b, job)) {
        job->stage = JOB_STAGE_STARTING;
        b->heartbeat_urgent = true;
    }
    bool done = job->stage == JOB_STAGE_COMMITTED || job->stage == JOB_STAGE_RESTORED ||
                job->stage == JOB_STAGE_SWEPT || job->stage == JOB_STAGE_MARKED;
    if (job->dropping || done)
        advance_done(b, job);
    else if (job->stage == JOB_STAGE_FAILED || job->want.kind == JOB_KIND_DELETE)
        advance_sweep(b, job);
    else if (job->want.kind == JOB_KIND_RESTORE)
        advance_restore(b, job);
    else
        advance_backup(b, job);
    if (!job->dropping)
        agent_work_send(b, job);
}

uint64_t agent_job_next_us(const struct agent_brain *b, const struct job *job)
{
    uint64_t next = UINT64_MAX;
    if (agent_logjob_is(job))
        return agent_logjob_next_us(b, job);
    if (job->runner == RUNNER_WAITING)
        next = job->respawn_at_us;
    if (job->stage == JOB_STAGE_MARKED && agent_runner_gone(job))
        next = TM_MIN(next, job->marked_until_us);
    if (!b->connected || job->stage >= JOB_STAGE_COMMITTED)
        return next;
    const uint64_t pauses[] = {job->want_again_us, job->done_again_us, job->plan_again_us,
                               job->results_again_us, job->accepted_again_us};
    for (size_t at = 0; at < TM_ARRAY_LEN(pauses); at++) {
        if (pauses[at] > b->now.mono_us)
            next = TM_MIN(next, pauses[at]);
    }
    return next;
}
