/*
 * A log backup from phase to phase.
 *
 *   Scheduled   nobody is chosen yet; live->waiting says why
 *   Prepare     a lead is chosen; it has not said yet that it streams
 *   Running     the lead streams                               step RUN
 *   Pause       nothing streams, the source holds its log      step PAUSE
 *   Stopped     for good; holds are released                   step STOP
 *   Fail        the lead gave up; again when resumed, or by itself after a growing pause when the
 *               error may pass or it is to be stopped, or when another node has become primary
 *
 * It never ends by itself and is never failed for silence. One job uid serves its whole life; each
 * change of the lead, and each new try, is a higher attempt, so that nothing an earlier lead says is
 * taken for the present one's.
 */
#include "coordinator/brain/logs.h"

#include <inttypes.h>
#include <stdio.h>

bool log_is(const struct res *res)
{
    return res->spec != NULL && res->view.kind == JOB_KIND_LOG;
}

bool log_truncating(const struct res *res)
{
    const struct log_record *log = res->now.rec.log;
    return log->truncate_gen > log->truncated_gen;
}

bool log_works_on(const struct res *res)
{
    return log_truncating(res) || res->now.rec.log->removing || log_asked(res);
}

bool log_at_rest(const struct res *res)
{
    const struct record *rec = &res->now.rec;
    if (parts_is(res)) /* its parts are asked themselves */
        return log_is(res) && rec->phase == PHASE_STOPPED;
    return log_is(res) && rec->phase == PHASE_STOPPED && rec->log->holders_count == 0 &&
           !log_truncating(res) && !rec->log->removing;
}

/* ---- life ---- */

int log_live_new(struct brain *b, struct live *live)
{
    live->log = calloc(1, sizeof(*live->log));
    if (live->log == NULL)
        return tm_err_oom(b->err);
    live->log->heard_us = b->now.mono_us;
    live->log->heard_real_us = b->now.real_us;
    live->log->moved_us = b->now.mono_us;
    live->log->moved_real_us = b->now.real_us;
    live->log->noted_us = b->now.mono_us;
    live->log->retry_us = b->now.mono_us + LOG_RETRY_MIN_US;
    return 0;
}

void log_live_free(struct log_live *log)
{
    if (log == NULL)
        return;
    codec_arena_release(&log->arena);
    codec_arena_release(&log->asked.arena);
    free(log);
}

/* What the lead said belongs to an attempt that is over; how far the log is stays true. */
static void new_attempt(struct brain *b, struct log_live *log)
{
    log->stage = 0;
    log->has_failure = false;
    log->heard_us = b->now.mono_us;
    log->heard_real_us = b->now.real_us;
    log->moved_us = b->now.mono_us;
    log->moved_real_us = b->now.real_us;
    if (log->has_status) {
        log->status.error = NULL;
        log->status.truncate_gen = 0;
        log->status.truncate_error = NULL;
        log->status.removal = LOG_REMOVAL_UNKNOWN;
        log->status.removal_error = NULL;
    }
}

static enum job_step wish_of(const struct brain *b, const struct res *res)
{
    if (brain_plant(b, BRAIN_PLANT_STOP_FIRST) && !part_is_first(b, res))
        return JOB_STEP_RUN;
    return res->now.rec.deleting ? JOB_STEP_STOP : res->view.log_wish;
}

/* ---- changes ---- */

static void stage_error(struct brain *b, struct res *res, struct record *next)
{
    const struct log_live *log = res->live->log;
    next->error = codec_arena_alloc(&res->next.arena, sizeof(*next->error), b->err);
    if (next->error == NULL) {
        b->failed = true;
        return;
    }
    *next->error = msg_error_of(&log->failure, log->failure_stage);
    next->error->since_us = log->failure_since_us;
    persist_text(b, res, &next->error->text, log->failure.msg);
    COPY_TEXT(next->error_node, next->node);
}

/* How far the log is, into the staged record: to be shown when nobody reports. */
static void put_progress(struct brain *b, const struct res *res, struct record *next)
{
    struct log_live *log = res->live->log;
    const struct msg_log_status *status = &log->status;
    if (!log->has_status || status->position[0] == '\0')
        return;
    log->noted_us = b->now.mono_us;
    COPY_TEXT(next->log->lineage, status->lineage);
    COPY_TEXT(next->log->label, status->label);
    COPY_TEXT(next->log->position, status->position);
    next->log->durable = status->durable;
    next->log->checkpoint_us = status->checkpoint_us;
    next->log->latency_us = status->latency_us;
    next->log->noted_us = log->status_real_us;
}

static void to_phase(struct brain *b, struct res *res, enum phase phase)
{
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    next->phase = phase;
    next->log->phase_us = b->now.real_us;
    put_progress(b, res, next);
    if (phase == PHASE_RUNNING && next->log->running_us == 0)
        next->log->running_us = b->now.real_us;
    if (phase == PHASE_STOPPED) {
        next->step = JOB_STEP_STOP;
        next->completed_us = b->now.real_us;
        log_holder_drop(next, next->node);
    }
    if (phase == PHASE_FAIL) {
        stage_error(b, res, next);
    } else {
        next->error = NULL;
        next->error_node[0] = '\0';
    }
    persist_submit(b, res);
}

static void set_step(struct brain *b, const struct res *res, struct record *next)
{
    next->step = wish_of(b, res);
    if (next->step != JOB_STEP_PAUSE)
        next->log->paused_us = 0;
    else if (next->log->paused_us == 0) /* another lead does not make it longer */
        next->log->paused_us = b->now.real_us;
}

/* Into the staged record: whoever leads begins anew. */
void log_restart(struct brain *b, struct res *res, struct record *next)
{
    next->phase = PHASE_PREPARE;
    next->log->phase_us = b->now.real_us;
    next->attempt++;
    set_step(b, res, next);
}

static void choose(struct brain *b, struct res *res, struct record *next, const struct node *node,
                   const struct msg_instance *instance)
{
    COPY_TEXT(next->cluster, node->cluster);
    COPY_TEXT(next->source_cluster, node->cluster);
    COPY_TEXT(next->tenant, instance->tenant);
    COPY_TEXT(next->identity, instance->identity);
    COPY_TEXT(next->node, node->name);
    COPY_TEXT(next->boot, node->boot);
    if (next->job[0] == '\0')
        (void)snprintf(next->job, sizeof(next->job), "%016" PRIx64, b->rng.next(b->rng.arg));
    if (next->storage == NULL || next->storage[0] == '\0')
        persist_text(b, res, &next->storage, res->view.storage);
}

static void begin(struct brain *b, struct res *res)
{
    const struct msg_instance *instance;
    const struct res *whole = part_whole(b, res);
    for (size_t at = 0; at < b->resource_count; at++) { /* two were applied in one moment */
        const struct res *other = b->resources[at];
        bool begins = other->staged && other->next.rec.phase == PHASE_PREPARE;
        if (other == res || other == whole ||
            (other->now.rec.phase == PHASE_SCHEDULED && !begins) ||
            !log_same_place(other, &res->view))
            continue;
        lead_waiting(b, res, "waiting for %s/%s, which stores the same log there, to be stopped",
                     other->now.rec.kind, other->now.rec.name);
        return;
    }
    if (parts_begin(b, res))
        return;
    const struct node *node = log_lead_pick(b, res, &instance);
    struct record *next = node != NULL ? persist_stage(b, res) : NULL;
    if (next == NULL)
        return;
    next->phase = PHASE_PREPARE;
    next->log->phase_us = b->now.real_us;
    next->started_us = b->now.real_us;
    set_step(b, res, next);
    choose(b, res, next, node, instance);
    next->attempt = log_attempt_next(b, next);
    log_holder_add(b, res, next, node->name);
    persist_submit(b, res);
}

/* The lead is not what it was chosen for any more, and somebody else is. */
static bool move(struct brain *b, struct res *res)
{
    const struct msg_instance *instance;
    if (log_lead_stays(b, res)) {
        if (!res->now.rec.deleting)
            lead_waiting(b, res, "%s", "");
        return false;
    }
    const struct node *node = log_lead_pick(b, res, &instance);
    if (node == NULL || job_is_lead(res, node))
        return false;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    brain_log(b, res, node->name, 5, BRAIN_LOG_PLAIN,
              "%s/%s: its log is taken from node '%s' now, no longer from '%s'", next->kind,
              next->name, node->name, next->node);
    next->attempt += b->config.plant != BRAIN_PLANT_SAME_ATTEMPT;
    set_step(b, res, next);
    if (next->phase == PHASE_FAIL) {
        next->phase = PHASE_PREPARE;
        next->log->phase_us = b->now.real_us;
    }
    choose(b, res, next, node, instance);
    log_holder_add(b, res, next, node->name);
    persist_submit(b, res);
    return true;
}

/* The same node, another identity, and that is meant. */
static bool new_identity(struct brain *b, struct res *res)
{
    const struct node *lead = lead_of(b, res);
    const struct msg_instance *instance =
        lead != NULL && lead_usable(lead) ? node_instance(lead, res->now.rec.tenant) : NULL;
    if (!res->view.log->accept_incarnation || instance == NULL || instance->error != NULL ||
        instance->identity[0] == '\0' || strcmp(instance->identity, res->now.rec.identity) == 0)
        return false;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    log_restart(b, res, next);
    COPY_TEXT(next->identity, instance->identity);
    persist_submit(b, res);
    return true;
}

/* ---- ticking ---- */

static bool want_step(struct brain *b, struct res *res)
{
    if (res->now.rec.step == wish_of(b, res))
        return false;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    if (next->phase == PHASE_FAIL) /* asked for something else: tried at once */
        log_restart(b, res, next);
    else
        set_step(b, res, next);
    persist_submit(b, res);
    return true;
}

static bool follow_stage(struct brain *b, struct res *res)
{
    const struct record *rec = &res->now.rec;
    const struct log_live *log = res->live->log;
    enum phase phase = (enum phase)rec->phase;
    if (log->has_failure)
        phase = PHASE_FAIL;
    else if (rec->step == JOB_STEP_RUN && log->stage == JOB_STAGE_WORKING)
        phase = PHASE_RUNNING;
    else if (rec->step == JOB_STEP_PAUSE && log->stage == JOB_STAGE_PAUSED)
        phase = PHASE_PAUSE;
    else if (rec->step == JOB_STEP_STOP && log->stage == JOB_STAGE_STOPPED)
        phase = PHASE_STOPPED;
    if (phase == rec->phase)
        return false;
    to_phase(b, res, phase);
    return true;
}

static bool failing(struct brain *b, struct res *res)
{
    const struct record *rec = &res->now.rec;
    if (rec->phase != PHASE_FAIL)
        return false;
    /* to be stopped: it may have failed before it heard so, and its hold must go whatever is wrong */
    bool again = rec->error == NULL || rec->error->retryable || rec->step == JOB_STEP_STOP;
    if (!again || b->now.mono_us < res->live->log->retry_us)
        return false;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    log_restart(b, res, next);
    persist_submit(b, res);
    return true;
}

/* The lead's answer to the newest wish, done or not. */
static bool note_truncation(struct brain *b, struct res *res)
{
    const struct log_live *log = res->live->log;
    const struct msg_log_status *status = &log->status;
    if (!log_truncating(res) || !log->has_status ||
        status->truncate_gen != res->now.rec.log->truncate_gen)
        return false;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    next->log->truncated_gen = next->log->truncate_gen;
    if (status->truncate_error == NULL) {
        next->log->removing = status->removal == LOG_REMOVAL_WAITS;
        next->log->truncated_us = status->truncated_us;
        COPY_TEXT(next->log->truncated_position, status->truncated_position);
    } else {
        next->log->truncate_error =
            codec_arena_alloc(&res->next.arena, sizeof(*next->log->truncate_error), b->err);
        if (next->log->truncate_error == NULL ||
            codec_copy(&msg_error_codec, status->truncate_error, &res->next.arena,
                       next->log->truncate_error, b->err) < 0) {
            b->failed = true;
            return true;
        }
    }
    persist_submit(b, res);
    return true;
}

/* Whether there is still something to remove: a task that is Stopped needs a lead until there is not. */
static bool note_removal(struct brain *b, struct res *res)
{
    const struct log_live *log = res->live->log;
    bool left = log->status.removal == LOG_REMOVAL_WAITS;
    if (!log->has_status || log->status.removal == LOG_REMOVAL_UNKNOWN ||
        left == res->now.rec.log->removing)
        return false;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    next->log->removing = left;
    persist_submit(b, res);
    return true;
}

/* Now and then. */
static void note_progress(struct brain *b, struct res *res)
{
    struct log_live *log = res->live->log;
    const struct log_record *known = res->now.rec.log;
    bool due = known->noted_us == 0 || b->now.mono_us - log->noted_us >= LOG_NOTE_US;
    if (!due || !log->has_status || log->status.position[0] == '\0' ||
        (log->status.durable == known->durable &&
         log->status.checkpoint_us == known->checkpoint_us))
        return;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    log->quiet = true;
    put_progress(b, res, next);
    persist_submit(b, res);
}

static void watch_primaries(struct brain *b, struct res *res)
{
    const struct node *second = log_second_primary(b, res);
    bool before = res->live->log->two_primaries;
    res->live->log->two_primaries = second != NULL;
    if (second != NULL && !before)
        brain_log(b, res, second->name, 4, BRAIN_LOG_PLAIN,
                  "%s/%s: nodes '%s' and '%s' both say to be primary; the log is taken from '%s'",
                  res->now.rec.kind, res->now.rec.name, res->now.rec.node, second->name,
                  res->now.rec.node);
}

static bool given_up(struct brain *b, struct res *res)
{
    struct log_live *log = res->live->log;
    if (log->delete_us == 0)
        log->delete_us = b->now.mono_us;
    return b->now.mono_us - log->delete_us > brain_ms(b->config.abort_ms);
}

/* To be deleted: when every hold is gone, or those who have one cannot be reached. */
static void remove_when_free(struct brain *b, struct res *res)
{
    const struct record *rec = &res->now.rec;
    bool stopped = rec->phase == PHASE_STOPPED;
    if (stopped && rec->log->holders_count == 0) {
        persist_remove(b, res);
        return;
    }
    const char *name = rec->log->holders_count > 0 ? rec->log->holders[0] : rec->node;
    if (!given_up(b, res)) {
        const struct log_live *log = res->live->log;
        const struct msg_error *why = log->has_status ? log->status.error : NULL;
        bool lead = strcmp(name, rec->node) == 0;
        if (!stopped || lead)
            lead_waiting(b, res,
                         "waiting at most %u s for node '%s' to release what it holds%s%.120s",
                         b->config.abort_ms / 1000, name, why != NULL ? ": " : "",
                         why != NULL ? why->text : "");
        else
            lead_waiting(b, res, "waiting at most %u s for node '%s' to release what it holds",
                         b->config.abort_ms / 1000, name);
        return;
    }
    brain_log(b, res, name, 4, BRAIN_LOG_PLAIN,
              "%s/%s is removed although node '%s' did not release its hold: a replication slot "
              "may be left there, and keeps log",
              rec->kind, rec->name, name);
    persist_remove(b, res);
}

/* Stopped, and there is log to truncate, to remove, or to look into: any agent of the tenant can. */
static bool truncate_there(struct brain *b, struct res *res)
{
    const struct msg_instance *instance;
    if (!log_works_on(res))
        return false;
    const struct node *node = log_truncator_pick(b, res, &instance);
    if (node == NULL || job_is_lead(res, node))
        return false;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    next->attempt++;
    choose(b, res, next, node, instance);
    persist_submit(b, res);
    return true;
}

static void tick_stopped(struct brain *b, struct res *res)
{
    if (log_holders_released(b, res))
        return;
    if (res->now.rec.deleting)
        remove_when_free(b, res);
    else if (!truncate_there(b, res) && !note_truncation(b, res))
        (void)note_removal(b, res);
}

static void tick_scheduled(struct brain *b, struct res *res)
{
    if (res->now.rec.deleting)
        persist_remove(b, res);
    else if (wish_of(b, res) == JOB_STEP_STOP)
        to_phase(b, res, PHASE_STOPPED);
    else if (wish_of(b, res) == JOB_STEP_PAUSE)
        lead_waiting(b, res, "%s",
                     "paused before it began: it begins with logSubcommand log-start");
    else
        begin(b, res);
}

void log_tick(struct brain *b, struct res *res)
{
    log_query_tick(b, res);
    if (log_part_follow(b, res) || log_split(b, res))
        return;
    if (res->now.rec.phase == PHASE_SCHEDULED) {
        tick_scheduled(b, res);
        return;
    }
    if (res->now.rec.phase == PHASE_STOPPED) {
        tick_stopped(b, res);
        return;
    }
    watch_primaries(b, res);
    if (want_step(b, res) || move(b, res) || new_identity(b, res) || follow_stage(b, res))
        return;
    bool stopping = res->now.rec.step == JOB_STEP_STOP;
    if (stopping ? log_holders_released(b, res) : log_holders_take(b, res))
        return;
    if (failing(b, res) || note_truncation(b, res) || note_removal(b, res))
        return;
    if (res->now.rec.deleting)
        remove_when_free(b, res);
    else
        note_progress(b, res);
}

/* ---- durable ---- */

static void say_phase(struct brain *b, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    if (rec->phase == PHASE_RUNNING)
        brain_log(b, res, rec->node, 5, BRAIN_LOG_JOB_START, "%s/%s: log is backed up on node '%s'",
                  rec->kind, rec->name, rec->node);
    else if (rec->phase == PHASE_FAIL)
        brain_log(b, res, rec->error_node, 3, BRAIN_LOG_JOB_FAILED, "%s/%s is Fail: %s", rec->kind,
                  rec->name, rec->error != NULL ? rec->error->text : "unknown");
    else if (rec->phase == PHASE_PAUSE || rec->phase == PHASE_STOPPED)
        brain_log(b, res, rec->node, 5, BRAIN_LOG_PLAIN, "%s/%s is %s", rec->kind, rec->name,
                  rec->phase == PHASE_PAUSE ? "paused" : "Stopped");
}

/* Phase FAIL was reached: when it is tried again. */
static void schedule_retry(struct brain *b, struct res *res, int64_t calm_us)
{
    struct log_live *log = res->live->log;
    if (calm_us > LOG_CALM_US)
        log->failures = 0;
    uint64_t pause_us = LOG_RETRY_MIN_US;
    for (uint32_t at = 0; at < log->failures && pause_us < LOG_RETRY_MAX_US; at++)
        pause_us *= 2;
    log->failures++;
    log->retry_us = b->now.mono_us + TM_MIN(pause_us, LOG_RETRY_MAX_US);
    log->has_failure = false;
}

void log_durable(struct brain *b, struct res *res)
{
    const struct record *rec = &res->now.rec;
    if (res->live == NULL) {
        brain_check(b, job_live(b, res, false));
        if (b->failed)
            return;
    }
    struct live *live = res->live;
    struct log_live *log = live->log;
    if (live->log_attempt != rec->attempt || live->log_phase == PHASE_SCHEDULED)
        new_attempt(b, log);
    if (live->log_phase != rec->phase) {
        if (rec->phase == PHASE_FAIL)
            schedule_retry(b, res, b->now.real_us - live->log_phase_us);
        say_phase(b, res);
    }
    log_attempt_note(b, rec);
    live->waiting[0] = '\0'; /* whatever it still waits for is said again */
    live->log_attempt = rec->attempt;
    live->log_phase = (enum phase)rec->phase;
    live->log_phase_us = rec->log->phase_us;
    if (!log->quiet)
        desired_changed(b, res);
    log->quiet = false;
    status_changed(b, res);
}
