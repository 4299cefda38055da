/*
 * The stages of a restore.
 *
 * Happy path: as restore.h tells. Failure: the first error ends the stage, threads are joined, and
 * the engine's handle is closed without finish, so that what was written cannot start.
 */
#include "agent/restore/internal.h"

#include "common/clock.h"

static const char *const stage_texts[] = {
    [RESTORE_PLAN] = "plan",   [RESTORE_CHECK] = "check",       [RESTORE_FILES] = "files",
    [RESTORE_LOG] = "log",     [RESTORE_MANIFEST] = "manifest", [RESTORE_FINISH] = "finish",
    [RESTORE_START] = "start", [RESTORE_DONE] = "done",
};

const char *restore_stage_text(enum restore_stage stage)
{
    return (size_t)stage < TM_ARRAY_LEN(stage_texts) ? stage_texts[stage] : "unknown";
}

int restore_canceled(const struct restore *r, struct tm_err *err)
{
    if (r->job->cancel && atomic_load_explicit(r->job->cancel, memory_order_relaxed))
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    return 0;
}

void restore_report(struct restore *r)
{
    struct restore_progress *p = &r->outcome.totals;
    p->bytes_done = atomic_load(&r->bytes_done) + atomic_load(&r->log_done);
    p->bytes_kept = atomic_load(&r->bytes_kept);
    p->files = atomic_load(&r->files);
    p->ranges_done = atomic_load(&r->ranges_done);
    if (r->job->progress)
        r->job->progress(r->job->progress_arg, p);
}

static void enter(struct restore *r, enum restore_stage stage)
{
    r->outcome.totals.stage = stage;
    restore_report(r);
}

/* ---- the stages ---- */

static int plan_and_check(struct restore *r, struct tm_err *err)
{
    enter(r, RESTORE_PLAN);
    int rc = restore_plan(r, err);
    if (rc < 0)
        return rc;
    enter(r, RESTORE_CHECK);
    return restore_log_check(r, err);
}

static int write_all(struct restore *r, struct tm_err *err)
{
    if (r->job->writing)
        r->job->writing(r->job->writing_arg);
    int rc = r->engine->restore_prepare(r->target, err);
    if (rc < 0)
        return rc;
    enter(r, RESTORE_FILES);
    rc = restore_log_write(r, err);
    if (rc == 0)
        rc = restore_files(r, err);
    if (rc < 0)
        restore_fail(r, err);
    enter(r, RESTORE_LOG);
    restore_log_join(r);
    rc = restore_failed(r, err);
    if (rc < 0)
        return rc;
    enter(r, RESTORE_MANIFEST);
    rc = restore_manifest(r, err);
    if (rc < 0 || (rc = restore_canceled(r, err)) < 0)
        return rc;
    enter(r, RESTORE_FINISH);
    return r->engine->restore_finish(r->target, err);
}

/* Replay may take hours: tells how far the server is while restore_start waits for it. */
static void *watch_replay(void *arg)
{
    struct restore *r = arg;
    struct restore_progress *p = &r->outcome.totals;
    uint64_t from = r->log_from;
    pthread_mutex_lock(&r->lock);
    while (!r->replay_done) {
        struct timespec until = clock_after(CLOCK_MONOTONIC, RESTORE_TICK_MS * USEC_PER_MSEC);
        uint64_t at;
        (void)pthread_cond_timedwait(&r->changed, &r->lock, &until);
        if (r->replay_done || !r->engine->restore_replayed(r->target, &at) || at < from)
            continue;
        p->replay_done = TM_MIN(at - from, p->replay_total);
        restore_report(r);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static int start(struct restore *r, struct tm_err *err)
{
    pthread_t watcher;
    if (!r->job->start)
        return 0;
    r->outcome.totals.replay_total = TM_MAX(r->log_to, r->plan.log_to) - r->log_from;
    enter(r, RESTORE_START);
    unsigned timeout_ms = r->job->start_timeout_ms ? r->job->start_timeout_ms : 600000;
    bool watching =
        r->engine->restore_replayed != NULL && pthread_create(&watcher, NULL, watch_replay, r) == 0;
    int rc = r->engine->restore_start(r->target, timeout_ms, err);
    if (watching) {
        pthread_mutex_lock(&r->lock);
        r->replay_done = true;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        (void)pthread_join(watcher, NULL);
    }
    if (rc < 0)
        return rc;
    r->outcome.started = true;
    r->outcome.totals.replay_done = r->outcome.totals.replay_total;
    return 0;
}

static int init(struct restore *r, const struct restore_job *job, struct tm_err *err)
{
    pthread_condattr_t attr;
    *r = (struct restore){.job = job,
                          .st = job->full_storage ? job->full_storage : job->storage,
                          .log_st = job->storage,
                          .plan = TARGET_PLAN_INIT,
                          .lineages = LOG_LINEAGES_INIT,
                          .begin = BUF_INIT,
                          .end = BUF_INIT};
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
    int rc = object_scratch_new(&r->manifest_scratch, err);
    if (rc == 0)
        rc = object_scratch_new(&r->segment_scratch, err);
    if (rc == 0)
        rc = object_scratch_new(&r->object_scratch, err);
    if (rc == 0)
        rc = object_scratch_new(&r->log_scratch, err);
    if (rc == 0 && job->rate_limit_bytes_s > 0) {
        rc = throttle_init(&r->throttle, job->rate_limit_bytes_s, clock_mono_us(), err);
        r->throttled = rc == 0;
    }
    return rc;
}

static void release(struct restore *r)
{
    if (r->target)
        r->engine->restore_close(r->target);
    if (r->throttled)
        throttle_release(&r->throttle);
    object_scratch_free(r->manifest_scratch);
    object_scratch_free(r->segment_scratch);
    object_scratch_free(r->object_scratch);
    object_scratch_free(r->log_scratch);
    target_plan_release(&r->plan);
    log_lineages_release(&r->lineages);
    buf_release(&r->begin);
    buf_release(&r->end);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
}

unsigned restore_threads(const struct restore_job *job)
{
    return job->threads ? job->threads : RESTORE_THREADS_DEFAULT;
}

int restore_run(const struct restore_job *job, struct restore_outcome *ret, struct tm_err *err)
{
    struct restore *r = malloc(sizeof(*r));
    if (!r)
        return tm_err_oom(err);
    int rc = init(r, job, err);
    if (rc == 0)
        rc = plan_and_check(r, err);
    if (rc == 0)
        rc = job->dry_run ? restore_probe(r, err) : write_all(r, err);
    if (rc == 0 && !job->dry_run)
        rc = start(r, err);
    if (rc == 0) {
        enter(r, RESTORE_DONE);
        *ret = r->outcome;
    }
    release(r);
    free(r);
    return rc;
}
