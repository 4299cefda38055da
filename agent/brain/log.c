/*
 * Log jobs: a runner that streams (role LEAD) or keeps the log on a standby (role HOLD), for ever.
 *
 * Happy path: taken → a runner → ready → log_want → log_status kept and reported; log_want again
 * when step or params change; not desired any more → stop → the runner ends → the job goes.
 *
 * A runner that dies is spawned again, always, after pauses that grow while none lives for long;
 * until the next one speaks, the job's status says that it died and since when. `failed` with an
 * error that may pass is the same; with another it ends the job: stage FAILED, nothing runs. Only
 * the step STOP is then tried once more, because a hold may have to be released.
 *
 * Never two runners of one uid: a job waits for the runner of an earlier attempt to be gone, and a
 * job whose role, place or incarnation changed has its runner stopped before the next is spawned.
 *
 * A job that an earlier life of this agent kept goes on before any coordinator has confirmed it. It
 * may be out of date, so a lead waits until its instance is seen in a role that it may stream from;
 * writers in storage are told apart by their epochs whatever happens.
 */
#include "agent/brain/internal.h"

#include <stdio.h>

CODEC_DEFINE(agent_writer, "writer", AGENT_WRITER_FIELDS);

#define CHECKPOINT_PAUSE_US 1000000 /* between two log_want that only move a hold */

bool agent_logjob_is(const struct job *job)
{
    return job->want.kind == JOB_KIND_LOG;
}

void agent_logjob_release(struct job *job)
{
    codec_arena_release(&job->log.told_arena);
    codec_arena_release(&job->log.status_arena);
    codec_arena_release(&job->log.answer_arena);
}

/* ---- trouble ---- */

static void set_trouble(struct agent_brain *b, struct job *job, enum tm_err_code code,
                        const char *stage, const char *text)
{
    struct log_job *log = &job->log;
    int64_t since_us = log->trouble.code != TM_E_OK ? log->trouble.since_us : b->now.real_us;
    if (log->trouble.code == TM_E_OK)
        b->heartbeat_urgent = true;
    log->trouble = (struct msg_error){
        .code = (uint32_t)code, .text = log->trouble_text, .retryable = true, .since_us = since_us};
    (void)snprintf(log->trouble.stage, sizeof(log->trouble.stage), "%s", stage);
    (void)snprintf(log->trouble_text, sizeof(log->trouble_text), "%s", text);
}

static void fail(struct agent_brain *b, struct job *job, const struct tm_err *err,
                 const char *stage)
{
    job->log.failed_step = (enum job_step)job->want.step;
    job->log.trouble.code = TM_E_OK;
    agent_job_fail(b, job, err, stage);
    agent_runner_kill(b, job);
}

/* ---- the runner's end ---- */

/* Asks it to end, and kills it when it has not after a while. */
static void end_runner(struct agent_brain *b, struct job *job)
{
    struct log_job *log = &job->log;
    bool up = job->runner == RUNNER_STARTING || job->runner == RUNNER_READY;
    if (up && !log->stop_sent) {
        (void)agent_runner_send(b, job, FRAME_stop);
        log->stop_sent = true;
        log->stop_by_us = b->now.mono_us + (uint64_t)b->config.log_stop_ms * 1000;
    } else if (!up || b->now.mono_us >= log->stop_by_us) {
        agent_runner_kill(b, job);
    }
}

static bool lived_long(const struct agent_brain *b, const struct job *job)
{
    return b->now.mono_us - job->log.spawned_us >= (uint64_t)b->config.respawn_max_ms * 1000;
}

/* The next one is spawned after a pause; it is longer when this one did not live for long. */
static void count_crash(const struct agent_brain *b, struct job *job)
{
    if (lived_long(b, job))
        job->crashes = 0;
    job->crashes++;
    job->log.crashes++;
}

void agent_logjob_exited(struct agent_brain *b, struct job *job, int signal, int status)
{
    struct log_job *log = &job->log;
    bool expected = job->runner == RUNNER_KILLED || log->stop_sent;
    job->runner = RUNNER_NONE;
    log->stop_sent = false;
    log->told = false;
    b->heartbeat_urgent = true;
    if (expected || job->dropping || job->stage == JOB_STAGE_FAILED)
        return;
    char how[80];
    char text[WIRE_TEXT_MAX + 1];
    agent_runner_describe_death(signal, status, how, sizeof(how));
    count_crash(b, job);
    agent_log(b, job, 4, AGENT_LOG_RUNNER_DIED, "runner %u of job '%s' %s", job->generation,
              job->want.name, how);
    (void)snprintf(text, sizeof(text), "runner died: it %s", how);
    set_trouble(b, job, TM_E_INTERNAL, "runner", text);
}

/* ---- the runner's start ---- */

/* The count of this uid, now the most recently used one. */
static struct agent_writer *use_writer(struct agent_brain *b, const char *uid)
{
    size_t at = 0;
    while (at < b->writer_count && strcmp(b->writers[at].uid, uid) != 0)
        at++;
    struct agent_writer found = {.runners = 0};
    (void)snprintf(found.uid, sizeof(found.uid), "%s", uid);
    if (at < b->writer_count)
        found = b->writers[at];
    else if (b->writer_count < AGENT_BRAIN_WRITERS_MAX)
        b->writer_count++;
    else
        at = 0; /* forgotten: it was not used for longest */
    memmove(&b->writers[at], &b->writers[at + 1],
            (b->writer_count - at - 1) * sizeof(b->writers[0]));
    b->writers[b->writer_count - 1] = found;
    return &b->writers[b->writer_count - 1];
}

static int count_runner(const struct job *job, struct agent_writer *writer, struct tm_err *err)
{
    uint32_t attempt = job->want.attempt;
    if (attempt > AGENT_BRAIN_ATTEMPTS_MAX)
        return tm_err_set(err, TM_E_LIMIT,
                          "more than %u attempts of one log job: its writers could not be told "
                          "apart any more, a new one is needed",
                          AGENT_BRAIN_ATTEMPTS_MAX);
    uint64_t term = TM_MAX(job->log.term, writer->term);
    if (term != writer->term || attempt != writer->attempt)
        writer->runners = 0;
    if (writer->runners == AGENT_BRAIN_RUNNERS_MAX)
        return tm_err_retry(err, TM_E_LIMIT, "%u runners of one attempt ended",
                            AGENT_BRAIN_RUNNERS_MAX);
    writer->term = term;
    writer->attempt = attempt;
    writer->runners++;
    return 0;
}

bool agent_logjob_take_writer(struct agent_brain *b, struct job *job, struct agent_writer *ret)
{
    struct tm_err err;
    struct agent_writer *writer = use_writer(b, job->want.uid);
    if (count_runner(job, writer, &err) < 0) {
        fail(b, job, &err, "writer");
        return false;
    }
    job->log.spawned_us = b->now.mono_us;
    job->log.runner_term = writer->term;
    *ret = *writer;
    return true;
}

uint32_t agent_logjob_generation(const struct agent_writer *writer)
{
    return (writer->attempt << AGENT_BRAIN_RUNNER_BITS | writer->runners) << FRAME_WRITER_BITS;
}

/* A job of this uid that was taken before this one: it is on its way out, perhaps still writing. */
static bool has_predecessor(const struct agent_brain *b, const struct job *job)
{
    for (size_t at = 0; at < b->job_count && b->config.plant != AGENT_PLANT_TWO_RUNNERS; at++) {
        const struct job *other = b->jobs[at];
        if (other->handle < job->handle && agent_logjob_is(other) &&
            strcmp(other->want.uid, job->want.uid) == 0)
            return true;
    }
    return false;
}

/* What must be there before a runner makes sense: credentials, what is known of the instance. False =
 * nothing is missing any more. */
static bool held_back(struct agent_brain *b, struct job *job)
{
    const struct msg_instance *seen = &b->instances[job->instance].seen;
    char text[WIRE_TEXT_MAX + 1];
    struct tm_err missing;
    if (agent_secret_missing(b, job, &missing)) {
        if (!missing.retryable) {
            fail(b, job, &missing, "credentials");
            return true;
        }
        if (job->log.trouble.code == TM_E_OK)
            agent_log(b, job, 4, AGENT_LOG_PLAIN, "job '%s' waits: %s", job->want.name,
                      missing.msg);
        set_trouble(b, job, missing.code, "credentials", missing.msg);
        return true;
    }
    if (job->want.identity[0] == '\0' && seen->identity[0] == '\0') {
        (void)snprintf(text, sizeof(text), "the instance of tenant '%s' is not known yet: %s",
                       job->want.tenant,
                       seen->error != NULL ? seen->error->text : "it was not looked at");
        set_trouble(b, job, TM_E_UNAVAILABLE, "describe", text);
        return true;
    }
    bool standby_will_do = job->want.log->from_standby || !(job->want.roles & JOB_ROLE_LEAD);
    if (job->log.restored &&
        (seen->role == INSTANCE_UNKNOWN || (seen->role == INSTANCE_STANDBY && !standby_will_do))) {
        (void)snprintf(text, sizeof(text),
                       "the instance of tenant '%s' is not seen as primary, and no coordinator has "
                       "confirmed the job since the agent's start",
                       job->want.tenant);
        set_trouble(b, job, TM_E_UNAVAILABLE, "describe", text);
        return true;
    }
    return false;
}

/* ---- what is wanted ---- */

void agent_logjob_rewanted(struct job *job, const struct msg_assignment *want)
{
    const struct msg_assignment *is = &job->want;
    bool moved = is->roles != want->roles || strcmp(is->storage, want->storage) != 0 ||
                 strcmp(is->cluster, want->cluster) != 0 || strcmp(is->name, want->name) != 0 ||
                 strcmp(is->tenant, want->tenant) != 0 ||
                 (want->identity[0] != '\0' && strcmp(is->identity, want->identity) != 0);
    job->log.restored = false;
    if (!moved && !agent_secret_changed(is, want))
        return;
    job->log.replace = !agent_runner_gone(job);
    if (!moved)
        return;
    job->log.has_status = false; /* what another role did says nothing about this one */
    if (job->stage != JOB_STAGE_FAILED)
        job->stage = JOB_STAGE_STARTING;
}

static bool params_equal(const struct msg_log_params *a, const struct msg_log_params *b)
{
    struct msg_log_params x = *a;
    struct msg_log_params y = *b;
    x.checkpoint = 0;
    y.checkpoint = 0;
    return codec_equal(&msg_log_params_codec, &x, &y);
}

/* A hold follows the checkpoint; nobody else asks for it. 0 = not known: nothing to follow. */
static bool checkpoint_moved(const struct job *job)
{
    return (job->want.roles & JOB_ROLE_HOLD) != 0 && job->want.log->checkpoint != 0 &&
           job->want.log->checkpoint != job->log.told_params.checkpoint;
}

static bool want_changed(const struct agent_brain *b, const struct job *job,
                         const struct msg_log_params *params)
{
    const struct log_job *log = &job->log;
    if (!log->told)
        return true;
    if (b->config.plant == AGENT_PLANT_DEAF)
        return false;
    return log->told_step != (enum job_step)job->want.step ||
           !params_equal(&log->told_params, params);
}

static void tell_want(struct agent_brain *b, struct job *job)
{
    struct log_job *log = &job->log;
    bool due = b->now.mono_us >= log->told_us + CHECKPOINT_PAUSE_US;
    struct msg_log_params params = *job->want.log;
    agent_secret_places(b, &params);
    if (!want_changed(b, job, &params) && !(checkpoint_moved(job) && due))
        return;
    struct codec_arena arena = {.wipe = true};
    struct msg_log_params copy;
    if (codec_copy(&msg_log_params_codec, &params, &arena, &copy, b->err) < 0) {
        codec_arena_release(&arena);
        b->failed = true;
        return;
    }
    codec_arena_release(&log->told_arena);
    log->told_arena = arena;
    log->told_params = copy;
    log->told_step = (enum job_step)job->want.step;
    log->told_us = b->now.mono_us;
    log->told = true;
    struct frame *f = agent_runner_send(b, job, FRAME_log_want);
    if (f == NULL)
        return;
    f->log_want.step = job->want.step;
    f->log_want.log = &log->told_params;
}

/* ---- from the runner ---- */

static void frame_status(struct agent_brain *b, struct job *job, const struct frame_log_status *f)
{
    struct log_job *log = &job->log;
    struct codec_arena arena = {0};
    struct msg_log_status copy;
    enum job_stage stage = (enum job_stage)f->stage;
    if (stage != JOB_STAGE_STARTING && stage != JOB_STAGE_WORKING && stage != JOB_STAGE_PAUSED &&
        stage != JOB_STAGE_STOPPED)
        return;
    if (codec_copy(&msg_log_status_codec, f->log, &arena, &copy, b->err) < 0) {
        codec_arena_release(&arena);
        b->failed = true;
        return;
    }
    bool stuck = log->has_status && log->status.error != NULL;
    bool news = stage != job->stage || log->trouble.code != TM_E_OK || !log->has_status ||
                stuck != (copy.error != NULL) || log->status.truncate_gen != copy.truncate_gen ||
                log->status.removal != copy.removal;
    codec_arena_release(&log->status_arena);
    log->status_arena = arena;
    log->status = copy;
    log->has_status = true;
    log->trouble.code = TM_E_OK;
    job->stage = stage;
    b->heartbeat_urgent = b->heartbeat_urgent || news;
}

static bool is_wanted(const struct job *job, uint64_t query)
{
    const struct msg_log_params *params = job->want.log;
    return params->query != NULL && params->query->id == query;
}

static void frame_answer(struct agent_brain *b, struct job *job,
                         const struct msg_log_answer *answer)
{
    struct log_job *log = &job->log;
    struct codec_arena arena = {0};
    struct msg_log_answer copy;
    if (!is_wanted(job, answer->id))
        return;
    if (codec_copy(&msg_log_answer_codec, answer, &arena, &copy, b->err) < 0) {
        codec_arena_release(&arena);
        b->failed = true;
        return;
    }
    codec_arena_release(&log->answer_arena);
    log->answer_arena = arena;
    log->answer = copy;
    log->has_answer = true;
    b->heartbeat_urgent = true;
}

/* Told for as long as it is asked for, forgotten then. */
static void report_answer(struct job *job, struct msg_job *to)
{
    struct log_job *log = &job->log;
    if (log->has_answer && !is_wanted(job, log->answer.id)) {
        codec_arena_release(&log->answer_arena);
        log->has_answer = false;
    }
    to->answer = log->has_answer ? &log->answer : NULL;
}

/* Begun under the word of a coordinator that is gone; the present one wants it, and its epoch is higher. */
static bool is_outdated(const struct tm_err *err, const struct job *job, uint64_t term)
{
    return err->code == TM_E_CONFLICT && job->log.runner_term < term;
}

/* Its newer writer may be one that a coordinator has forgotten, whose state was put back. */
bool agent_logjob_outdated(const struct agent_brain *b, const struct job *job)
{
    return agent_logjob_is(job) && job->stage == JOB_STAGE_FAILED &&
           is_outdated(&job->error, job, b->term);
}

void agent_logjob_termed(struct agent_brain *b, struct job *job)
{
    if (agent_logjob_outdated(b, job)) {
        job->stage = JOB_STAGE_STARTING;
        job->error = (struct tm_err){0};
    }
    job->log.term = b->term;
}

static void frame_failed(struct agent_brain *b, struct job *job, const struct msg_error *error)
{
    struct tm_err err;
    msg_error_to(error, &err);
    const char *stage = error->stage[0] != '\0' ? error->stage : "runner";
    if (!error->retryable && !is_outdated(&err, job, job->log.term)) {
        fail(b, job, &err, stage);
        return;
    }
    count_crash(b, job);
    agent_log(b, job, 4, AGENT_LOG_RUNNER_DIED, "runner %u of job '%s' gave up (%s): %s",
              job->generation, job->want.name, stage, err.msg);
    set_trouble(b, job, err.code, stage, err.msg);
    agent_runner_kill(b, job);
}

void agent_logjob_frame(struct agent_brain *b, struct job *job, const struct frame *f)
{
    if ((job->runner != RUNNER_STARTING && job->runner != RUNNER_READY) || job->log.replace)
        return;
    switch (f->type) {
    case FRAME_ready:
        job->runner = RUNNER_READY;
        break;
    case FRAME_log_status:
        frame_status(b, job, &f->log_status);
        break;
    case FRAME_warning: /* it hangs, and may say nothing else */
        agent_log(b, job, 4, AGENT_LOG_PLAIN, "job '%s': %s", job->want.name, f->warning.text);
        set_trouble(b, job, TM_E_TIMEOUT, STAGE_STORAGE, f->warning.text);
        break;
    case FRAME_log_answer:
        frame_answer(b, job, f->log_answer.answer);
        break;
    case FRAME_failed:
        if (!job->log.stop_sent)
            frame_failed(b, job, f->failed.error);
        break;
    default:
        break;
    }
}

/* ---- advancing ---- */

/* A job that failed is left alone, unless it is only to stop: its hold may still be there. */
static bool retries_stop(struct job *job)
{
    if (job->want.step != JOB_STEP_STOP || job->log.failed_step == JOB_STEP_STOP ||
        job->instance == SIZE_MAX)
        return false;
    job->stage = JOB_STAGE_STARTING;
    job->error = (struct tm_err){0};
    return true;
}

void agent_logjob_advance(struct agent_brain *b, struct job *job)
{
    struct log_job *log = &job->log;
    if (job->stage == JOB_STAGE_FAILED && !job->dropping && agent_runner_gone(job) &&
        !retries_stop(job))
        return;
    if (job->dropping || log->replace) {
        end_runner(b, job);
        log->replace = log->replace && !agent_runner_gone(job);
        if (job->dropping || log->replace)
            return;
    }
    if (job->runner == RUNNER_KILLED || job->stage == JOB_STAGE_FAILED)
        return;
    if (agent_runner_gone(job) && (has_predecessor(b, job) || held_back(b, job)))
        return;
    agent_runner_want(b, job);
    if (job->runner == RUNNER_READY)
        tell_want(b, job);
}

uint64_t agent_logjob_next_us(const struct agent_brain *b, const struct job *job)
{
    const struct log_job *log = &job->log;
    bool up = job->runner == RUNNER_STARTING || job->runner == RUNNER_READY;
    if (up && log->stop_sent)
        return log->stop_by_us;
    if (job->runner == RUNNER_WAITING && job->respawn_at_us > b->now.mono_us)
        return job
            ->respawn_at_us; /* when it is over and nothing was spawned, an event is awaited */
    if (job->runner == RUNNER_READY && log->told && checkpoint_moved(job))
        return log->told_us + CHECKPOINT_PAUSE_US;
    return UINT64_MAX;
}

/* ---- telling ---- */

void agent_logjob_report(struct agent_brain *b, struct job *job, struct msg_job *to)
{
    struct log_job *log = &job->log;
    to->runner_restarts = log->crashes;
    report_answer(job, to);
    if (log->trouble.code == TM_E_OK) {
        to->log = log->has_status ? &log->status : NULL;
        return;
    }
    struct msg_log_status *status = agent_step_alloc(b, sizeof(*status));
    if (status == NULL)
        return;
    if (log->has_status)
        *status = log->status;
    status->error = &log->trouble;
    to->log = status;
}

/* ---- kept for the next life ---- */

static bool kept_equal(const struct msg_assignment *a, const struct msg_assignment *b)
{
    struct msg_assignment x = *a;
    struct msg_assignment y = *b;
    /* that something is stored is kept, how far it goes is not */
    if (!params_equal(x.log, y.log) || (x.log->checkpoint != 0) != (y.log->checkpoint != 0))
        return false;
    x.log = NULL;
    y.log = NULL;
    return codec_equal(&msg_assignment_codec, &x, &y);
}

/* The log jobs among `jobs`, shallow. Not for the next life are a question, for whose answer nobody waits
 * then, and what secrets hold. */
static size_t pick(struct agent_brain *b, const struct msg_assignment *jobs, size_t count,
                   struct msg_assignment ret[WIRE_JOBS_MAX])
{
    struct msg_log_params *params = agent_step_alloc(b, WIRE_JOBS_MAX * sizeof(*params));
    size_t kept = 0;
    for (size_t at = 0; params != NULL && at < count && kept < WIRE_JOBS_MAX; at++) {
        if (jobs[at].kind != JOB_KIND_LOG || jobs[at].log == NULL)
            continue;
        params[kept] = *jobs[at].log;
        params[kept].query = NULL;
        ret[kept] = jobs[at];
        ret[kept].log = &params[kept];
        agent_secret_strip(b, &ret[kept]);
        kept++;
    }
    return kept;
}

void agent_logjob_keep(struct agent_brain *b, const struct msg_assignment *jobs, size_t count)
{
    struct msg_assignment *picked = agent_step_alloc(b, WIRE_JOBS_MAX * sizeof(*picked));
    if (picked == NULL)
        return;
    size_t kept = pick(b, jobs, count, picked);
    bool same = kept == b->log_kept_count && (kept == 0 || b->term == b->log_kept_term);
    for (size_t at = 0; at < kept && same; at++)
        same = kept_equal(&picked[at], &b->log_kept[at]);
    if (same)
        return;
    struct codec_arena arena = {0};
    int r = 0;
    for (size_t at = 0; at < kept && r == 0; at++)
        r = codec_copy(&msg_assignment_codec, &picked[at], &arena, &picked[at], b->err);
    if (r < 0) {
        codec_arena_release(&arena);
        b->failed = true;
        return;
    }
    codec_arena_release(&b->log_kept_arena);
    b->log_kept_arena = arena;
    memcpy(b->log_kept, picked, kept * sizeof(*picked));
    b->log_kept_count = kept;
    b->log_kept_term = b->term;
    struct agent_action *action = agent_emit(b, AGENT_ACT_STORE_LOG_JOBS);
    action->store_log_jobs.jobs = b->log_kept;
    action->store_log_jobs.count = kept;
    action->store_log_jobs.term = b->term;
}
