/*
 * The desired set: jobs that are new are taken, jobs that are gone are dropped, the others learn
 * their new step. Older revisions are ignored, so replies may arrive in any order.
 *
 * A coordinator that may have forgotten jobs (its state was lost or put back) says so, and jobs that it does
 * not list are spared: they go on as they are until it lists them again, or says that they may go.
 *
 * The deletion of a backup has its uid and attempt: it is taken only when the backup's own job is
 * gone with its runner, so that nothing sweeps beside something that stores.
 *
 * A job binds its lead to one life of the agent: the database session lives in this process. One
 * that names another life, or that this life has dropped before, is not begun but reported failed,
 * unless it is only to be swept. Log jobs are bound to nothing: they were made to be taken up again.
 */
#include "agent/brain/internal.h"

#include <stdio.h>

void agent_desired_free_job(struct job *job)
{
    codec_arena_release(&job->want_arena);
    codec_arena_release(&job->totals_arena);
    codec_arena_release(&job->warning_arena);
    agent_logjob_release(job);
    buf_release(&job->begin);
    buf_release(&job->end);
    buf_release(&job->first);
    buf_release(&job->plan.keys);
    buf_release(&job->plan.root);
    free(job->plan.entries);
    for (size_t at = 0; at < job->result_count; at++)
        codec_arena_release(&job->results[at].arena);
    free(job->results);
    free(job->noted);
    free(job);
}

static bool same_job(const struct msg_assignment *a, const struct msg_assignment *b)
{
    return a->attempt == b->attempt && strcmp(a->uid, b->uid) == 0;
}

static struct job *find(struct agent_brain *b, const struct msg_assignment *want)
{
    for (size_t at = 0; at < b->job_count; at++) {
        if (same_job(&b->jobs[at]->want, want))
            return b->jobs[at];
    }
    return NULL;
}

static bool was_dropped(const struct agent_brain *b, const struct msg_assignment *want)
{
    size_t known = TM_MIN(b->dropped_count, (size_t)AGENT_BRAIN_DROPPED_MAX);
    for (size_t at = 0; at < known; at++) {
        if (b->dropped[at].attempt == want->attempt && strcmp(b->dropped[at].uid, want->uid) == 0)
            return true;
    }
    return false;
}

static void remember_dropped(struct agent_brain *b, const struct job *job)
{
    if (was_dropped(b, &job->want))
        return;
    struct dropped *slot = &b->dropped[b->dropped_count++ % AGENT_BRAIN_DROPPED_MAX];
    memcpy(slot->uid, job->want.uid, sizeof(slot->uid));
    slot->attempt = job->want.attempt;
}

static void set_want(struct agent_brain *b, struct job *job, const struct msg_assignment *want)
{
    struct codec_arena arena = {.wipe = true};
    struct msg_assignment copy;
    if (codec_copy(&msg_assignment_codec, want, &arena, &copy, b->err) < 0) {
        codec_arena_release(&arena);
        b->failed = true;
        return;
    }
    if (agent_logjob_is(job) && job->handle != 0)
        agent_logjob_rewanted(job, &copy);
    codec_arena_release(&job->want_arena);
    job->want_arena = arena;
    job->want = copy;
}

static size_t instance_of(const struct agent_brain *b, const char *tenant)
{
    for (size_t at = 0; at < b->config.instance_count; at++) {
        if (strcmp(b->instances[at].config.tenant, tenant) == 0)
            return at;
    }
    return SIZE_MAX;
}

/* What keeps a fresh job from being begun here; false = nothing. */
static bool cannot_start(const struct agent_brain *b, const struct job *job, struct tm_err *ret)
{
    const struct msg_assignment *want = &job->want;
    bool bound = want->kind == JOB_KIND_RESTORE ||
                 (want->kind == JOB_KIND_BACKUP && (want->roles & JOB_ROLE_LEAD));
    if (want->step == JOB_STEP_ABORT)
        return false;
    if ((want->kind == JOB_KIND_BACKUP || want->kind == JOB_KIND_LOG) &&
        job->instance == SIZE_MAX) {
        (void)tm_err_set(ret, TM_E_NOT_FOUND, "node '%s' has no instance of tenant '%s'",
                         b->config.node, want->tenant);
        return true;
    }
    if (!bound)
        return false;
    if (strcmp(want->boot, b->config.boot) != 0) {
        (void)tm_err_set(ret, TM_E_CANCELED, "agent on node '%s' was restarted: %s", b->config.node,
                         want->kind == JOB_KIND_BACKUP
                             ? "the database session that held the backup is lost"
                             : "the restore was interrupted");
        return true;
    }
    if (was_dropped(b, want)) {
        (void)tm_err_set(ret, TM_E_CANCELED,
                         "node '%s' was told to drop this job and cannot take it up again",
                         b->config.node);
        return true;
    }
    return false;
}

static struct job *take_job(struct agent_brain *b, const struct msg_assignment *want)
{
    if (b->job_count == WIRE_JOBS_MAX || b->stopping)
        return NULL; /* the next desired set brings it again */
    struct job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        b->failed = true;
        (void)tm_err_oom(b->err);
        return NULL;
    }
    set_want(b, job, want);
    if (b->failed) {
        agent_desired_free_job(job);
        return NULL;
    }
    job->handle = ++b->next_handle;
    job->stage = JOB_STAGE_STARTING;
    job->instance = instance_of(b, want->tenant);
    job->log.term = b->term;
    job->results_from = UINT32_MAX;
    b->jobs[b->job_count++] = job;
    b->heartbeat_urgent = true;
    agent_log(b, job, 5, AGENT_LOG_JOB_START, "job '%s' begins", want->name);
    struct tm_err err;
    if (cannot_start(b, job, &err))
        agent_job_fail(b, job, &err, "begin");
    return job;
}

static void drop_job(struct agent_brain *b, struct job *job)
{
    if (job->dropping)
        return;
    job->dropping = true;
    bool bound = job->want.kind == JOB_KIND_BACKUP ? agent_job_is_lead(job) : !agent_logjob_is(job);
    if (bound)
        remember_dropped(b, job);
    agent_log(b, job, 6, AGENT_LOG_PLAIN, "job '%s' is not wanted any more", job->want.name);
}

/* What an assignment must hold beyond what its table says. */
static bool makes_sense(const struct msg_assignment *want)
{
    switch (want->kind) {
    case JOB_KIND_BACKUP:
    case JOB_KIND_DELETE:
        return want->backup != NULL;
    case JOB_KIND_RESTORE:
        return want->restore != NULL;
    case JOB_KIND_LOG:
        return want->log != NULL && (want->roles & (JOB_ROLE_LEAD | JOB_ROLE_HOLD)) != 0 &&
               (want->step == JOB_STEP_RUN || want->step == JOB_STEP_PAUSE ||
                want->step == JOB_STEP_STOP);
    default:
        return false;
    }
}

/* Whether a job that is not listed goes on: the coordinator may have forgotten it, and says so. A log of
 * the same tenant that is listed takes the place of one that is not: both would hold the same log. A backup
 * that is to be deleted is not forgotten. */
static bool spared(const struct msg_desired *desired, const struct job *job)
{
    if (desired->keep < (agent_logjob_is(job) ? DESIRED_KEEP_LOGS : DESIRED_KEEP_ALL))
        return false;
    for (size_t at = 0; at < desired->jobs_count; at++) {
        const struct msg_assignment *want = &desired->jobs[at];
        if (same_job(&job->want, want) || (agent_logjob_is(job) && want->kind == JOB_KIND_LOG &&
                                           strcmp(want->tenant, job->want.tenant) == 0))
            return false;
    }
    return true;
}

void agent_desired_apply(struct agent_brain *b, const struct message *m)
{
    const struct msg_desired *desired = &m->desired;
    bool logs_spared = false;
    b->told_revision = TM_MAX(b->told_revision, desired->state_revision);
    if (b->desired_known && desired->revision < b->revision)
        return;
    b->revision = desired->revision;
    b->desired_known = true;

    for (size_t at = 0; at < b->job_count; at++) {
        struct job *job = b->jobs[at];
        bool listed = false;
        for (size_t want = 0; want < desired->jobs_count && !listed; want++)
            listed = same_job(&job->want, &desired->jobs[want]) &&
                     job->want.kind == desired->jobs[want].kind;
        if (!listed && !spared(desired, job))
            drop_job(b, job);
        logs_spared = logs_spared || (!listed && !job->dropping && agent_logjob_is(job));
    }
    for (size_t at = 0; at < desired->jobs_count; at++) {
        const struct msg_assignment *want = &desired->jobs[at];
        if (!makes_sense(want))
            continue; /* of a newer minor version: not for us */
        struct job *job = find(b, want);
        if (job == NULL)
            (void)take_job(b, want);
        else if (!job->dropping)
            set_want(b, job, want);
        if (b->failed)
            return;
        if (job != NULL)
            agent_logjob_termed(b, job);
    }
    if (!logs_spared) /* what is kept for the next life has them, under the term of who named them */
        agent_logjob_keep(b, desired->jobs, desired->jobs_count);
    agent_probes_apply(b, desired);
}

/* A kept job had a runner, or was about to: without its count a new one could write under the epoch
 * of that one. */
static bool may_resume(struct agent_brain *b, const struct msg_assignment *want)
{
    for (size_t at = 0; at < b->writer_count; at++) {
        if (strcmp(b->writers[at].uid, want->uid) == 0)
            return true;
    }
    agent_log(b, NULL, 4, AGENT_LOG_PLAIN,
              "job '%s' of before waits for the coordinator: its runners were not counted",
              want->name);
    return false;
}

void agent_desired_resume(struct agent_brain *b)
{
    if (b->resumed)
        return;
    b->resumed = true;
    if (b->config.plant == AGENT_PLANT_FORGET_JOBS)
        return;
    for (size_t at = 0; at < b->log_kept_count && !b->failed; at++) {
        const struct msg_assignment *want = &b->log_kept[at];
        bool takes = makes_sense(want) && find(b, want) == NULL && may_resume(b, want);
        struct job *job = takes ? take_job(b, want) : NULL;
        if (job == NULL)
            continue;
        job->log.restored = true;
        job->log.term = b->log_kept_term;
    }
}
