/*
 * A restore, or the plan of one, as the one step of its job: the job's parameters become those of
 * restore_run; `writing` and progress go out while it runs, `restored` when it is done. Any failure is
 * told by the step thread.
 */
#include "agent/runner/internal.h"

static void restore_progress(void *arg, const struct restore_progress *p)
{
    struct runner *r = arg;
    pthread_mutex_lock(&r->lock);
    r->restore_progress.bytes_done = p->bytes_done;
    r->restore_progress.bytes_total = p->bytes_total;
    pthread_mutex_unlock(&r->lock);
}

static void restore_writing(void *arg)
{
    struct runner *r = arg;
    struct frame f = {.type = FRAME_progress};
    pthread_mutex_lock(&r->lock);
    r->restore_progress.writing = true;
    f.progress = r->restore_progress;
    pthread_mutex_unlock(&r->lock);
    runner_tell(r, &f);
}

/* Lists of the wire are counted, those of a restore job end with NULL. */
static const char *const *with_null(struct codec_arena *arena, const char *const *list,
                                    size_t count, struct tm_err *err)
{
    const char **out = codec_arena_array(arena, count + 1, sizeof(*out), err);
    for (size_t i = 0; out && i < count; i++)
        out[i] = list[i];
    return out;
}

static struct msg_restore_plan plan_of(const struct restore_job *job,
                                       const struct restore_outcome *o)
{
    struct msg_restore_plan plan = {.by_log = o->by_log,
                                    .log_bytes = o->log_bytes,
                                    .ranges = o->totals.ranges_total,
                                    .bytes = o->totals.bytes_total,
                                    .estimate_us = (uint64_t)TM_MAX(o->estimate_us, INT64_C(0)),
                                    .threads = restore_threads(job)};
    (void)snprintf(plan.backup_id, sizeof(plan.backup_id), "%s", o->backup_id);
    (void)snprintf(plan.label, sizeof(plan.label), "%s", o->label);
    return plan;
}

static void tell_restored(struct runner *r, const struct restore_job *job,
                          const struct restore_outcome *outcome)
{
    struct msg_counters counters = {.files = outcome->totals.files,
                                    .bytes = outcome->totals.bytes_total};
    struct msg_totals totals = {
        .counters = &counters, .commit_us = outcome->commit_us, .path = r->job->restore->data_dir};
    (void)snprintf(totals.position, sizeof(totals.position), "%s", outcome->position);
    struct msg_restore_plan plan;
    if (job->dry_run) {
        plan = plan_of(job, outcome);
        totals.plan = &plan;
    }
    struct frame f = {.type = FRAME_restored, .restored = {.totals = &totals}};
    runner_tell(r, &f);
}

/* Where the backups lie, when not with the log. */
static int open_full(struct runner *r, struct tm_err *err)
{
    const char *url = r->job->restore->full_storage;
    struct storage *full = NULL;
    if (!url || !url[0])
        return 0;
    struct storage_options options = {.create_root = false};
    int rc = step_open_storage(r, url, r->job->full_secret, options, &full, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&r->lock);
    r->full_storage = full;
    pthread_mutex_unlock(&r->lock);
    return 0;
}

int step_restore(struct runner *r, struct tm_err *err)
{
    const struct msg_restore_params *in = r->job->restore;
    if (!in)
        return tm_err_set(err, TM_E_INVALID, "job: no restore parameters");
    struct codec_arena *arena = &r->job_frame.arena;
    const char *live[2] = {r->job->data_dir, NULL};
    int rc = open_full(r, err);
    if (rc < 0)
        return rc;
    struct restore_job job = {
        .storage = r->storage,
        .full_storage = r->full_storage,
        .cluster = in->source_cluster,
        .tenant = in->source_tenant,
        .backup_id = in->backup_id[0] ? in->backup_id : NULL,
        .to = in->target,
        .exclusive = in->exclusive,
        .lineage = in->lineage,
        .data_dir = in->data_dir,
        .wal_dir = in->wal_dir,
        .live_data_dirs = live,
        .tablespace_map = with_null(arena, in->tablespace_map, in->tablespace_map_count, err),
        .restore_roots = with_null(arena, r->job->restore_roots, r->job->restore_roots_count, err),
        .server_options = with_null(arena, in->server_options, in->server_options_count, err),
        .delta = in->delta,
        .dry_run = in->dry_run,
        .resume = r->job->resume,
        .start = in->start,
        .port = (uint16_t)in->port,
        .start_timeout_ms = in->start_timeout_ms,
        .threads = in->concurrency,
        .rate_limit_bytes_s = in->rate_limit,
        .cancel = &r->cancel,
        .progress = restore_progress,
        .progress_arg = r,
        .writing = restore_writing,
        .writing_arg = r,
    };
    struct restore_outcome outcome = {.by_log = false};
    if (!job.tablespace_map || !job.restore_roots || !job.server_options)
        return -TM_E_NO_MEMORY;
    pthread_mutex_lock(&r->lock);
    r->restoring = true;
    pthread_mutex_unlock(&r->lock);
    rc = restore_run(&job, &outcome, err);
    if (rc == 0)
        tell_restored(r, &job, &outcome);
    return rc;
}
