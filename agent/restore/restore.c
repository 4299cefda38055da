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
    p->bytes_done = atomic_load(&r->bytes_done);
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

/* ---- plan ---- */

static int choose(struct restore *r, struct tm_err *err)
{
    const char *to = r->job->to ? r->job->to : "immediate";
    struct restore_request request = {.backup_id = r->job->backup_id};
    struct restore_choice choice = {.exact = false};
    struct tm_err ignored;
    if (strcmp(to, "immediate") == 0)
        request.immediate = true;
    else if (clock_parse(to, &request.target_us, &ignored) < 0)
        request.target_position = to;
    int rc = catalog_resolve(r->object_scratch, r->st, r->job->cluster, r->job->tenant,
                             r->job->incarnation, &r->scope, err);
    if (rc == 0)
        rc = restore_choose(r->object_scratch, r->st, &r->scope, &request, &choice, err);
    if (rc < 0)
        return rc;
    memcpy(r->outcome.backup_id, choice.backup_id, sizeof(r->outcome.backup_id));
    r->outcome.commit_us = choice.commit_us;
    return 0;
}

static int read_manifest(struct restore *r, struct tm_err *err)
{
    struct manifest_reader mr = MANIFEST_READER_INIT;
    int rc =
        manifest_reader_open(&mr, r->manifest_scratch, r->st, &r->scope, r->outcome.backup_id, err);
    if (rc == 0) {
        const struct manifest *m = &mr.root;
        r->engine = engine_find(m->engine);
        if (!r->engine)
            rc = tm_err_set(err, TM_E_UNSUPPORTED,
                            "backup '%s' is of engine '%s', which is not known", m->backup_id,
                            m->engine);
        r->log_from = m->log_from;
        r->log_to = m->log_to;
        r->outcome.totals.bytes_total = m->raw_bytes;
        r->outcome.totals.ranges_total = m->ranges;
        if (m->consistent_at)
            (void)snprintf(r->outcome.position, sizeof(r->outcome.position), "%s",
                           m->consistent_at->text);
        if (rc == 0 && (rc = buf_append_slice(&r->begin, m->begin, err)) == 0)
            rc = buf_append_slice(&r->end, m->end, err);
    }
    manifest_reader_release(&mr);
    return rc;
}

static int open_target(struct restore *r, struct tm_err *err)
{
    const struct restore_job *job = r->job;
    struct engine_restore_spec spec = {
        .data_dir = job->data_dir,
        .wal_dir = job->wal_dir,
        .live_data_dirs = job->live_data_dirs,
        .tablespace_map = job->tablespace_map,
        .restore_roots = job->restore_roots,
        .server_options = job->server_options,
        .begin = buf_slice(&r->begin),
        .end = buf_slice(&r->end),
        .delta = job->delta,
        .resume = job->resume,
        .target = "immediate",
        .port = job->port,
    };
    return r->engine->restore_open(&spec, &r->target, err);
}

/* ---- the stages ---- */

static int plan_and_check(struct restore *r, struct tm_err *err)
{
    enter(r, RESTORE_PLAN);
    int rc = choose(r, err);
    if (rc < 0 || (rc = read_manifest(r, err)) < 0 || (rc = open_target(r, err)) < 0)
        return rc;
    enter(r, RESTORE_CHECK);
    return restore_log_all(r, RESTORE_LOG_CHECK, err);
}

static int write_all(struct restore *r, struct tm_err *err)
{
    if (r->job->writing)
        r->job->writing(r->job->writing_arg);
    int rc = r->engine->restore_prepare(r->target, err);
    if (rc < 0)
        return rc;
    enter(r, RESTORE_FILES);
    rc = restore_files(r, err);
    if (rc < 0)
        return rc;
    enter(r, RESTORE_LOG);
    rc = restore_log_all(r, RESTORE_LOG_WRITE, err);
    if (rc < 0)
        return rc;
    enter(r, RESTORE_MANIFEST);
    rc = restore_manifest(r, err);
    if (rc < 0 || (rc = restore_canceled(r, err)) < 0)
        return rc;
    enter(r, RESTORE_FINISH);
    return r->engine->restore_finish(r->target, err);
}

static int start(struct restore *r, struct tm_err *err)
{
    if (!r->job->start)
        return 0;
    enter(r, RESTORE_START);
    unsigned timeout_ms = r->job->start_timeout_ms ? r->job->start_timeout_ms : 600000;
    int rc = r->engine->restore_start(r->target, timeout_ms, err);
    if (rc == 0)
        r->outcome.started = true;
    return rc;
}

static int init(struct restore *r, const struct restore_job *job, struct tm_err *err)
{
    pthread_condattr_t attr;
    *r = (struct restore){.job = job,
                          .st = job->full_storage ? job->full_storage : job->storage,
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
    buf_release(&r->begin);
    buf_release(&r->end);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
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
        rc = write_all(r, err);
    if (rc == 0)
        rc = start(r, err);
    if (rc == 0) {
        enter(r, RESTORE_DONE);
        *ret = r->outcome;
    }
    release(r);
    free(r);
    return rc;
}
