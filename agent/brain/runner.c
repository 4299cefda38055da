/*
 * Runners: spawned when a job wants one, told the job, then begin, then fed; buried when they die.
 * A death costs the leases the runner had (the next heartbeat no longer lists them) and, if the
 * plan was not complete, the plan. The next one is spawned after a pause that doubles. The next one
 * of a restore goes over what is there as a delta restore does, once an earlier one has begun to
 * write; before that, a target that is not empty is another's. Too many deaths fail the job and
 * name the signal; a sweep is tried until it is not wanted.
 */
#include "agent/brain/internal.h"

#include <signal.h>
#include <stdio.h>

/* ---- to the runner ---- */

struct frame *agent_runner_send(struct agent_brain *b, struct job *job, enum frame_type type)
{
    struct frame *f = agent_step_alloc(b, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->type = type;
    struct agent_action *action = agent_emit(b, AGENT_ACT_RUNNER_SEND);
    action->runner.job = job->handle;
    action->runner.generation = job->generation;
    action->runner.frame = f;
    return f;
}

#define COPY_TEXT(to, from) (void)snprintf(to, sizeof(to), "%s", from)

static bool sweeping(const struct job *job)
{
    return job->stage == JOB_STAGE_FAILED || job->want.kind == JOB_KIND_DELETE;
}

/* As wanted, but no faster than this node may be read. */
static struct msg_backup_params *backup_params(struct agent_brain *b, const struct job *job)
{
    struct msg_backup_params *params = job->want.backup;
    uint64_t limit = b->config.rate_limit_bytes_s;
    if (params == NULL || limit == 0 || (params->rate_limit != 0 && params->rate_limit <= limit))
        return params;
    struct msg_backup_params *slower = agent_step_alloc(b, sizeof(*slower));
    if (slower == NULL)
        return params; /* the step has failed: nothing of it is sent */
    *slower = *params;
    slower->rate_limit = limit;
    return slower;
}

static void send_job(struct agent_brain *b, struct job *job, uint32_t generation, uint64_t term)
{
    struct frame *f = agent_runner_send(b, job, FRAME_job);
    if (f == NULL)
        return;
    struct frame_job *to = &f->job;
    const struct msg_assignment *want = &job->want;
    to->kind = want->kind;
    COPY_TEXT(to->uid, want->uid);
    to->attempt = want->attempt;
    to->roles = want->roles;
    to->generation = generation;
    to->term = term;
    COPY_TEXT(to->cluster, want->cluster);
    COPY_TEXT(to->node, b->config.node);
    COPY_TEXT(to->tenant, want->tenant);
    COPY_TEXT(to->identity, want->identity);
    if (job->instance != SIZE_MAX) {
        const struct instance *instance = &b->instances[job->instance];
        COPY_TEXT(to->engine, instance->config.engine);
        COPY_TEXT(to->version, instance->seen.version);
        if (to->identity[0] == '\0')
            COPY_TEXT(to->identity, instance->seen.identity);
        to->data_dir = instance->config.data_dir;
        to->conninfo = instance->config.conninfo;
    }
    to->storage = want->storage;
    to->backup = backup_params(b, job);
    to->found = job->plan.complete; /* with all of what is done */
    to->restore = want->restore;
    to->log = want->log;
    to->secret = (struct msg_secret *)(uintptr_t)agent_secret_for(job, want->secret);
    to->full_secret = (struct msg_secret *)(uintptr_t)agent_secret_for(job, want->full_secret);
    COPY_TEXT(to->name, want->name);
    to->sweep = sweeping(job);
    to->resume = job->writing;
    if (b->config.restore_root_count > 0) {
        to->restore_roots_count = b->config.restore_root_count;
        to->restore_roots =
            agent_step_alloc(b, b->config.restore_root_count * sizeof(*to->restore_roots));
        for (size_t at = 0; to->restore_roots != NULL && at < to->restore_roots_count; at++)
            to->restore_roots[at] = b->config.restore_roots[at];
    }
}

void agent_runner_send_begin(struct agent_brain *b, struct job *job)
{
    struct frame *f = agent_runner_send(b, job, FRAME_begin);
    if (f == NULL)
        return;
    struct frame_begin *to = &f->begin;
    to->begin = buf_slice(&job->begin);
    to->replay_from = slice_of(job->replay_from, job->replay_from_len);
    COPY_TEXT(to->replay_from_text, job->replay_from_text);
    COPY_TEXT(to->lineage_label, job->lineage_label);
    to->plan_known = !agent_job_is_lead(job) || job->plan.complete;
    to->plan_gen = job->plan.gen;
    to->plan_ranges = (uint32_t)job->plan.count;
    to->plan_root = buf_slice(&job->plan.root);
    to->log_from = job->log_durable;
    job->begin_sent = true;
    job->ever_begun = true;
}

void agent_runner_send_finish(struct agent_brain *b, struct job *job)
{
    struct frame *f = agent_runner_send(b, job, FRAME_finish);
    if (f == NULL)
        return;
    f->finish.end = buf_slice(&job->end);
    f->finish.consistent_at = slice_of(job->consistent_at, job->consistent_at_len);
    COPY_TEXT(f->finish.consistent_at_text, job->consistent_at_text);
    f->finish.commit_us = job->commit_us;
    f->finish.plan_ranges = (uint32_t)job->plan.count;
    f->finish.term = b->term;
    job->finish_sent = true;
}

void agent_runner_send_sweep(struct agent_brain *b, struct job *job)
{
    struct frame *f = agent_runner_send(b, job, FRAME_sweep);
    if (f == NULL)
        return;
    f->sweep.remove = job->want.kind == JOB_KIND_DELETE;
    if (f->sweep.remove)
        f->sweep.grace_ms = job->want.backup->grace_ms;
    job->sweep_grace_ms = f->sweep.grace_ms;
    job->sweep_sent = true;
}

/* ---- life ---- */

/* No credentials: the job fails; what would only sweep counts as a try of a runner that failed, so
 * that it is given up some time. */
static void unable(struct agent_brain *b, struct job *job, const struct tm_err *err)
{
    bool fresh = job->stage != JOB_STAGE_FAILED;
    if (fresh)
        agent_job_fail(b, job, err, "credentials");
    if (job->want.kind == JOB_KIND_DELETE || !fresh) {
        job->generation++;
        job->crashes++;
    }
    job->runner = RUNNER_NONE;
}

static void spawn(struct agent_brain *b, struct job *job)
{
    struct tm_err missing;
    if (!agent_logjob_is(job) && agent_secret_missing(b, job, &missing)) {
        unable(b, job, &missing);
        return;
    }
    uint32_t generation = job->generation + 1;
    uint64_t term = b->term;
    bool writes = agent_logjob_is(job);
    if (writes) {
        struct agent_writer writer;
        if (!agent_logjob_take_writer(b, job, &writer))
            return;
        generation = agent_logjob_generation(&writer);
        term = writer.term;
    }
    job->generation++;
    job->runner = RUNNER_STARTING;
    const char *uid = agent_step_text(b, job->want.uid);
    struct agent_action *action = agent_emit(b, AGENT_ACT_RUNNER_SPAWN);
    action->runner.job = job->handle;
    action->runner.generation = job->generation;
    action->runner.uid = uid;
    if (writes) {
        action->runner.writers = b->writers;
        action->runner.writer_count = b->writer_count;
    }
    send_job(b, job, generation, term);
}

void agent_runner_want(struct agent_brain *b, struct job *job)
{
    if (job->runner == RUNNER_NONE && job->crashes > 0) {
        uint64_t pause_ms = b->config.respawn_min_ms;
        for (uint32_t at = 1; at < job->crashes && pause_ms < b->config.respawn_max_ms; at++)
            pause_ms *= 2;
        pause_ms = TM_MIN(pause_ms, (uint64_t)b->config.respawn_max_ms);
        job->respawn_at_us = b->now.mono_us + pause_ms * 1000;
        job->runner = RUNNER_WAITING;
    }
    if (job->runner == RUNNER_NONE ||
        (job->runner == RUNNER_WAITING && b->now.mono_us >= job->respawn_at_us))
        spawn(b, job);
}

void agent_runner_kill(struct agent_brain *b, struct job *job)
{
    if (job->runner == RUNNER_WAITING)
        job->runner = RUNNER_NONE;
    if (job->runner == RUNNER_NONE || job->runner == RUNNER_KILLED)
        return;
    struct agent_action *action = agent_emit(b, AGENT_ACT_RUNNER_KILL);
    action->runner.job = job->handle;
    action->runner.generation = job->generation;
    job->runner = RUNNER_KILLED;
}

bool agent_runner_gone(const struct job *job)
{
    return job->runner == RUNNER_NONE || job->runner == RUNNER_WAITING;
}

void agent_runner_describe_death(int signal, int status, char *text, size_t size)
{
    if (signal != 0)
        (void)snprintf(text, size, "was killed by signal %d%s", signal,
                       signal == SIGKILL ? " (out of memory?)" : "");
    else
        (void)snprintf(text, size, "ended by itself with status %d", status);
}

static void died(struct agent_brain *b, struct job *job, int signal, int status)
{
    char how[80];
    agent_runner_describe_death(signal, status, how, sizeof(how));
    job->crashes++;
    agent_log(b, job, 4, AGENT_LOG_RUNNER_DIED, "runner %u of job '%s' %s", job->generation,
              job->want.name, how);
    if (sweeping(job))
        return;
    struct tm_err err;
    if (job->crashes > b->config.runner_crashes_max) {
        (void)tm_err_set(&err, TM_E_INTERNAL, "%u runners died; the last one %s", job->crashes,
                         how);
        agent_job_fail(b, job, &err, "runner");
    }
}

static void set_trouble(struct agent_brain *b, struct job *job, const struct msg_error *error)
{
    COPY_TEXT(job->trouble, error != NULL ? error->text : "");
    COPY_TEXT(job->trouble_stage, error != NULL ? error->stage : "");
    job->trouble_since_us = error != NULL ? error->since_us : 0;
    b->heartbeat_urgent = true;
}

void agent_runner_exited(struct agent_brain *b, struct job *job, int signal, int status)
{
    job->trouble[0] = '\0';
    if (agent_logjob_is(job)) {
        agent_logjob_exited(b, job, signal, status);
        return;
    }
    bool expected = job->runner == RUNNER_KILLED;
    job->runner = RUNNER_NONE;
    job->begin_sent = false;
    job->finish_sent = false;
    job->sweep_sent = false;
    job->need = 0;
    if (job->want.kind != JOB_KIND_RESTORE) /* whose next runner goes over all of it again */
        job->bytes_before = job->bytes_done;
    agent_work_lost_runner(job);
    b->heartbeat_urgent = true;
    bool over =
        job->dropping || (job->stage >= JOB_STAGE_COMMITTED && job->stage != JOB_STAGE_FAILED);
    if (!expected && !over)
        died(b, job, signal, status);
}

/* ---- from the runner ---- */

static void keep_totals(struct agent_brain *b, struct job *job, const struct msg_totals *totals)
{
    codec_arena_release(&job->totals_arena);
    job->has_totals = totals != NULL && codec_copy(&msg_totals_codec, totals, &job->totals_arena,
                                                   &job->totals, b->err) == 0;
}

void agent_runner_reached(struct agent_brain *b, struct job *job, enum job_stage stage,
                          const struct msg_totals *totals)
{
    keep_totals(b, job, totals);
    job->stage = stage;
    b->heartbeat_urgent = true;
    agent_hold_release(b, job);
    if (stage == JOB_STAGE_COMMITTED)
        agent_log(b, job, 5, AGENT_LOG_JOB_COMPLETE, "job '%s' is committed", job->want.name);
    else if (stage == JOB_STAGE_RESTORED)
        agent_log(b, job, 5, AGENT_LOG_RESTORE_COMPLETE,
                  job->want.restore != NULL && job->want.restore->dry_run
                      ? "job '%s' has made its plan, and written nothing"
                      : "job '%s' has restored everything",
                  job->want.name);
}

static void frame_failed(struct agent_brain *b, struct job *job, const struct msg_error *error)
{
    struct tm_err err;
    msg_error_to(error, &err);
    const char *stage = error->stage[0] != '\0' ? error->stage : "runner";
    if (job->stage != JOB_STAGE_FAILED) {
        agent_job_fail(b, job, &err, stage);
    } else { /* the first error is the one to tell; what keeps the sweep from working is logged */
        agent_log(b, job, 4, AGENT_LOG_PLAIN, "job '%s': %s: %s", job->want.name, stage, err.msg);
        job->crashes++; /* the next try waits longer */
    }
    agent_runner_kill(b, job);
}

static void frame_swept(struct agent_brain *b, struct job *job, const struct frame_swept *swept)
{
    if (!job->sweep_sent)
        return;
    if (swept->committed && job->want.kind == JOB_KIND_BACKUP) {
        agent_runner_reached(b, job, JOB_STAGE_COMMITTED, swept->totals);
    } else if (swept->grace_left_ms > 0) {
        job->marked_until_us = b->now.mono_us + swept->grace_left_ms * 1000;
        job->crashes = 0;
        agent_runner_reached(b, job, JOB_STAGE_MARKED, swept->totals);
    } else {
        agent_runner_reached(b, job, JOB_STAGE_SWEPT, swept->totals);
    }
}

static void log_durable(struct agent_brain *b, struct job *job, uint64_t byte)
{
    if (byte <= job->log_durable || job->session != SESSION_HELD)
        return;
    job->log_durable = byte;
    struct agent_action *action = agent_emit(b, AGENT_ACT_SESSION_HOLD);
    action->session.job = job->handle;
    action->session.instance = job->instance;
    action->session.durable = byte;
}

void agent_runner_frame(struct agent_brain *b, struct job *job, const struct frame *f)
{
    if (f->type == FRAME_trouble) {
        if (job->runner == RUNNER_STARTING || job->runner == RUNNER_READY)
            set_trouble(b, job, f->trouble.error);
        return;
    }
    if (agent_logjob_is(job)) {
        agent_logjob_frame(b, job, f);
        return;
    }
    if (job->runner != RUNNER_STARTING && job->runner != RUNNER_READY)
        return; /* killed: what it still says does not count */
    switch (f->type) {
    case FRAME_ready:
        job->runner = RUNNER_READY;
        break;
    case FRAME_plan_batch:
        agent_work_plan_batch(b, job, &f->plan_batch);
        break;
    case FRAME_range_done:
        agent_work_range_done(b, job, &f->range_done);
        break;
    case FRAME_range_failed:
        agent_work_range_failed(b, job, &f->range_failed);
        break;
    case FRAME_need:
        job->need = f->need.count;
        break;
    case FRAME_want_results:
        job->results_from = f->want_results.from;
        break;
    case FRAME_found:
        agent_checkpoint_found(b, job, &f->found);
        break;
    case FRAME_stored:
        agent_checkpoint_stored(b, job, &f->stored);
        break;
    case FRAME_want_accepted:
        agent_checkpoint_wanted(job, &f->want_accepted);
        break;
    case FRAME_log_durable:
        log_durable(b, job, f->log_durable.byte);
        break;
    case FRAME_progress:
        job->bytes_done = job->bytes_before + f->progress.bytes_done;
        job->log_bytes = f->progress.log_bytes;
        job->writing |= f->progress.writing;
        if (f->progress.bytes_total > 0)
            job->bytes_total = f->progress.bytes_total;
        job->has_storage = f->progress.storage != NULL;
        if (job->has_storage)
            job->storage = *f->progress.storage;
        break;
    case FRAME_committed:
        if (job->stage == JOB_STAGE_FINISHING)
            agent_runner_reached(b, job, JOB_STAGE_COMMITTED, f->committed.totals);
        break;
    case FRAME_swept:
        frame_swept(b, job, &f->swept);
        break;
    case FRAME_restored:
        if (job->want.kind == JOB_KIND_RESTORE && job->stage < JOB_STAGE_COMMITTED)
            agent_runner_reached(b, job, JOB_STAGE_RESTORED, f->restored.totals);
        break;
    case FRAME_warning:
        agent_job_warn(b, job, f->warning.text);
        break;
    case FRAME_failed:
        frame_failed(b, job, f->failed.error);
        break;
    default: /* a frame for runners */
        break;
    }
}
