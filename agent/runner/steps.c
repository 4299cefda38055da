/*
 * The step thread: what happens once in a job, one after the other, in the order the frames came.
 *
 *   job      open the storage, look at the repository → ready
 *   begin    reader, workers; lead: log thread, plan → plan_batch…
 *   finish   final range, end of the log, results in pages → commit → committed
 *   log_want of a log task (task.c): what is wanted of it now
 *   sweep    → swept            (restore: right after ready → restored, restore_step.c)
 *
 * Any failure is told once (`failed`) with the name of the step, and ends the runner.
 */
#include "agent/runner/internal.h"

#include "common/clock.h"
#include "common/parse.h"
#include "common/utf8.h"
#include "proto/wire/secret.h"

#define ZSTD_LEVEL_DEFAULT 3

/* ---- frames for this thread ---- */

bool runner_next_frame(struct runner *r, struct list *from, struct frame *ret)
{
    pthread_mutex_lock(&r->lock);
    while (!r->stopping && list_empty(from))
        pthread_cond_wait(&r->changed, &r->lock);
    struct list_link *link = r->stopping ? NULL : list_pop_front(from);
    pthread_mutex_unlock(&r->lock);
    if (!link)
        return false;
    struct waiting_frame *w = LIST_ENTRY(link, struct waiting_frame, link);
    *ret = w->frame;
    free(w);
    return true;
}

/* ---- job ---- */

static int parse_compression(const char *text, int *ret_level, struct tm_err *err)
{
    uint64_t level = ZSTD_LEVEL_DEFAULT;
    if (strcmp(text, "none") == 0) {
        *ret_level = 0;
        return 0;
    }
    if (strncmp(text, "zstd:", 5) == 0) {
        if (parse_u64_in(text + 5, 1, 19, &level, err) < 0)
            return tm_err_prefix(err, "compression");
    } else if (text[0] != '\0' && strcmp(text, "zstd") != 0) {
        return tm_err_set(err, TM_E_INVALID, "compression '%s' is not zstd[:1-19] or none", text);
    }
    *ret_level = (int)level;
    return 0;
}

static int fill_scope(const struct runner *r, struct repo_scope *ret, struct tm_err *err)
{
    const char *tenant = r->job->tenant[0] ? r->job->tenant : "main";
    return names_scope_set(ret, r->job->cluster, tenant, r->job->identity, err);
}

static int open_backup(struct runner *r, struct tm_err *err)
{
    const struct msg_backup_params *params = r->job->backup;
    if (!params)
        return tm_err_set(err, TM_E_INVALID, "job: no backup parameters");
    struct backup_options options = {
        .storage = r->storage,
        .engine = r->job->engine,
        .epoch = r->epoch,
        .lead = (r->job->roles & JOB_ROLE_LEAD) != 0,
        .resumed = params->resume,
        .sweep = r->job->kind == JOB_KIND_DELETE || r->job->sweep,
        .rate_limit_bytes_s = params->rate_limit,
        .checksum = params->checksum,
        .accept_incarnation = params->accept_incarnation,
        .cancel = &r->cancel,
    };
    int rc = fill_scope(r, &options.scope, err);
    if (rc < 0 || (rc = parse_compression(params->compression, &options.zstd_level, err)) < 0)
        return rc;
    if (strlen(params->backup_id) >= sizeof(options.backup_id))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a backup id", params->backup_id);
    memcpy(options.backup_id, params->backup_id, strlen(params->backup_id) + 1);
    r->threads = params->concurrency ? params->concurrency : 2;
    r->threads = TM_MIN(r->threads, RUNNER_THREADS_MAX);
    return backup_open(&options, &r->backup, err);
}

int step_open_storage(struct runner *r, const char *url, const struct msg_secret *secret,
                      struct storage_options options, struct storage **ret, struct tm_err *err)
{
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    if (secret) {
        int rc = msg_secret_to(secret, &map, err);
        if (rc < 0)
            return rc;
        options.secret = &map;
    }
    options.trouble = watch_trouble;
    options.trouble_arg = &r->watch;
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    size_t call = watch_enter(&r->watch, "opening", url);
    int rc = storage_open(url, &options, &st, err);
    watch_leave(&r->watch, call);
    if (rc < 0 || (rc = watch_storage(&r->watch, st, ret, err)) < 0)
        return rc;
    st = NULL;
    return 0;
}

static int step_job(struct runner *r, struct tm_err *err)
{
    bool lead = (r->job->roles & JOB_ROLE_LEAD) != 0;
    struct storage_options options = {.create_root = lead && r->job->kind == JOB_KIND_BACKUP &&
                                                     !r->job->sweep};
    if (lead && r->job->kind == JOB_KIND_LOG) /* later it is there, or not mounted now */
        options.create_root = r->job->log->checkpoint == 0;
    /* a standby's hold needs no storage, and must be there all the more when that is away */
    bool stores = lead || r->job->kind != JOB_KIND_LOG;
    int rc = stores
                 ? step_open_storage(r, r->job->storage, r->job->secret, options, &r->storage, err)
                 : 0;
    if (rc < 0) {
        if (r->job->kind == JOB_KIND_LOG && r->job->log->checkpoint != 0 &&
            err->code != TM_E_INVALID && err->code != TM_E_UNSUPPORTED)
            err->retryable = true; /* it was there: a log backup waits for it */
        return rc;
    }
    pthread_mutex_lock(&r->lock);
    r->storage_up = stores;
    pthread_mutex_unlock(&r->lock);
    if (r->job->kind == JOB_KIND_BACKUP || r->job->kind == JOB_KIND_LOG) {
        r->engine = engine_find(r->job->engine);
        if (!r->engine)
            return tm_err_set(err, TM_E_UNSUPPORTED, "there is no engine '%s'", r->job->engine);
        r->instance = (struct engine_instance){
            .tenant = r->job->tenant, .data_dir = r->job->data_dir, .conninfo = r->job->conninfo};
    }
    return 0;
}

static void send_ready(struct runner *r)
{
    struct frame f = {.type = FRAME_ready, .ready = {.pid = (uint32_t)getpid()}};
    runner_tell(r, &f);
}

/* ---- begin ---- */

static int step_plan(struct runner *r, struct tm_err *err)
{
    TM_CLEANUP(backup_worker_freep) struct backup_worker *worker = NULL;
    struct plan_batch *batch = NULL;
    struct engine_plan_options options = {.range_bytes = r->job->backup->range_bytes};
    struct backup_plan_totals totals = {.ranges = 0};
    int rc = plan_batch_new(r, &batch, err);
    if (rc == 0)
        rc = backup_worker_new(r->backup, &worker, err);
    if (rc == 0)
        rc = backup_store_plan(worker, r->engine, r->reader, &options, plan_batch_add, batch,
                               &totals, err);
    if (rc == 0)
        plan_batch_last(batch, r->epoch, r->started_us);
    plan_batch_free(batch);
    return rc < 0 ? rc : checkpoints_start(r, r->epoch, totals.ranges, err);
}

/* The plan is in the agent's hands since an earlier runner of this attempt. */
static int step_known_plan(struct runner *r, struct tm_err *err)
{
    struct epoch plan;
    int rc = plan_root_parse(r->begin->plan_root, &plan, &r->started_us, err);
    return rc < 0 ? rc : checkpoints_start(r, plan, r->begin->plan_ranges, err);
}

/* Takes the frame over. The name of the part that failed comes back in *stage. */
static int step_begin(struct runner *r, struct frame *f, const char **stage, struct tm_err *err)
{
    bool lead = (r->job->roles & JOB_ROLE_LEAD) != 0;
    if (r->begin || r->job->kind != JOB_KIND_BACKUP)
        return tm_err_set(err, TM_E_INTERNAL, "'begin' does not belong here");
    r->begin_frame = *f;
    f->arena = (struct codec_arena){0};
    r->begin = &r->begin_frame.begin;
    r->started_us = clock_real_us();
    *stage = "log";
    int rc = lead ? logs_start(r, err) : 0;
    if (rc < 0)
        return rc;
    *stage = "read";
    rc = r->engine->reader_open(&r->instance, r->begin->begin, &r->reader, err);
    if (rc < 0 || (rc = ranges_start(r, err)) < 0)
        return rc;
    if (!lead)
        return 0;
    *stage = r->resumed && !r->begin->plan_known ? "resume" : "plan";
    if (r->begin->plan_known)
        return step_known_plan(r, err);
    return r->resumed ? resume_plan(r, err) : step_plan(r, err);
}

/* ---- finish ---- */

struct pages {
    struct runner *runner;
    struct frame page;
    bool have;
    uint32_t planned;
    const struct backup_result *final;
};

static int next_page(struct pages *p, uint32_t index, struct tm_err *err)
{
    struct frame ask = {.type = FRAME_want_results, .want_results = {.from = index}};
    if (p->have)
        frame_release(&p->page);
    p->have = false;
    runner_tell(p->runner, &ask);
    if (!runner_next_frame(p->runner, &p->runner->results, &p->page))
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    p->have = true;
    const struct frame_results *got = &p->page.results;
    if (got->from != index || got->results_count == 0)
        return tm_err_set(err, TM_E_INTERNAL, "results from %u came where %u were asked for",
                          got->from, index);
    return 0;
}

static int next_result(void *arg, uint32_t index, struct slice *ret, struct tm_err *err)
{
    struct pages *p = arg;
    if (index == p->planned) {
        *ret = buf_slice(&p->final->blob);
        return 1;
    }
    const struct frame_results *page = &p->page.results;
    if (!p->have || index >= page->from + page->results_count) {
        int rc = next_page(p, index, err);
        if (rc < 0)
            return rc;
    }
    if (index < page->from)
        return tm_err_set(err, TM_E_INTERNAL, "results asked for out of order");
    *ret = page->results[index - page->from].blob;
    return 1;
}

static int end_position(struct runner *r, const struct frame_finish *finish,
                        struct engine_position *ret, uint64_t *ret_byte, struct tm_err *err)
{
    *ret = (struct engine_position){.len = 0};
    *ret_byte = 0;
    if (finish->consistent_at.len > sizeof(ret->bytes))
        return tm_err_set(err, TM_E_INVALID, "finish: the position is too long");
    ret->len = (uint8_t)finish->consistent_at.len;
    if (ret->len)
        memcpy(ret->bytes, finish->consistent_at.data, ret->len);
    (void)snprintf(ret->text, sizeof(ret->text), "%.*s", (int)sizeof(ret->text) - 1,
                   finish->consistent_at_text);
    if ((r->engine->caps & ENGINE_CAP_LOG) && r->engine->log_position(ret, ret_byte) < 0)
        return tm_err_set(err, TM_E_INVALID, "finish: '%s' is not a position of the log",
                          ret->text);
    return 0;
}

static int store_final(struct runner *r, struct backup_worker *worker,
                       const struct frame_finish *finish, struct backup_result *ret,
                       struct tm_err *err)
{
    uint8_t key[ENGINE_KEY_MAX];
    size_t len;
    if (r->engine->final_key(r->reader, key, &len) < 0)
        return tm_err_set(err, TM_E_INTERNAL, "the engine has no final key");
    struct backup_lease lease = {.index = finish->plan_ranges,
                                 .epoch = {finish->term, r->epoch.counter},
                                 .range = {slice_of(key, len), SLICE_EMPTY}};
    int rc = backup_store_final(worker, r->engine, r->reader, finish->end, &lease, ret, err);
    /* a second `finish` to the same runner: another counter will do */
    while (rc == -TM_E_EXISTS && lease.epoch.counter < r->epoch.counter + 100) {
        lease.epoch.counter++;
        rc = backup_store_final(worker, r->engine, r->reader, finish->end, &lease, ret, err);
    }
    return rc;
}

static int fill_commit(const struct runner *r, const struct frame_finish *finish,
                       struct backup_commit *ret, struct tm_err *err)
{
    struct engine_position from = {.len = (uint8_t)r->begin->replay_from.len};
    if (from.len)
        memcpy(from.bytes, r->begin->replay_from.data, from.len);
    (void)snprintf(from.text, sizeof(from.text), "%.*s", (int)sizeof(from.text) - 1,
                   r->begin->replay_from_text);
    if (r->engine->caps & ENGINE_CAP_LOG)
        (void)r->engine->log_position(&from, &ret->log_from);
    ret->epoch = (struct epoch){finish->term, r->epoch.counter + 100};
    ret->begin = r->begin->begin;
    ret->end = finish->end;
    ret->replay_from = from;
    ret->log = r->log;
    ret->started_us = r->started_us;
    ret->commit_us = ret->settled_us = finish->commit_us;
    ret->engine = r->job->engine;
    ret->engine_version = r->job->version;
    ret->lineage_label = r->begin->lineage_label;
    ret->node = r->job->node;
    ret->name = r->job->uid;
    ret->ranges = finish->plan_ranges + 1;
    return r->engine->snapshot_settled
               ? r->engine->snapshot_settled(finish->end, &ret->settled_us, err)
               : 0;
}

void runner_tell_committed(struct runner *r, const struct backup_totals *totals,
                           enum frame_type type)
{
    struct backup_totals_text text = {.path = ""};
    struct msg_totals out;
    struct repo_scope scope;
    struct tm_err ignored;
    (void)fill_scope(r, &scope, &ignored);
    backup_totals_message(totals, r->storage, &scope, r->job->backup->backup_id, &text, &out);
    struct frame f = {.type = type};
    if (type == FRAME_found)
        f.found = (struct frame_found){.committed = true, .totals = &out};
    else
        f.committed.totals = &out;
    runner_tell(r, &f);
}

static int step_finish(struct runner *r, const struct frame_finish *finish, const char **stage,
                       struct tm_err *err)
{
    TM_CLEANUP(backup_worker_freep) struct backup_worker *worker = NULL;
    TM_CLEANUP(backup_result_release) struct backup_result final = {.raw_bytes = 0};
    struct backup_commit commit = {.log_from = 0};
    struct backup_totals totals;
    if (!r->begin || !(r->job->roles & JOB_ROLE_LEAD))
        return tm_err_set(err, TM_E_INTERNAL, "'finish' does not belong here");
    *stage = "final";
    int rc = end_position(r, finish, &commit.consistent_at, &commit.log_to, err);
    if (rc < 0)
        return rc;
    logs_finish_at(r, commit.log_to);
    rc = backup_worker_new(r->backup, &worker, err);
    if (rc < 0 || (rc = store_final(r, worker, finish, &final, err)) < 0)
        return rc;
    *stage = "log";
    rc = logs_wait(r, err);
    if (rc < 0 || (rc = resume_proven(r, finish->end, err)) < 0)
        return rc;
    *stage = "commit";
    rc = fill_commit(r, finish, &commit, err);
    if (rc < 0)
        return rc;
    struct pages pages = {.runner = r, .planned = finish->plan_ranges, .final = &final};
    rc = backup_commit(worker, &commit, next_result, &pages, &totals, err);
    if (pages.have)
        frame_release(&pages.page);
    if (rc < 0)
        return rc;
    struct backup_sweep_result swept;
    struct tm_err ignored; /* what stays takes room, and goes with the backup */
    if (r->job->backup->checkpoint && backup_tidy(worker, &swept, &ignored) < 0)
        swept.objects = 0;
    runner_tell_committed(r, &totals, FRAME_committed);
    return 0;
}

/* ---- sweep ---- */

/* Leftovers of deletions that nobody ended, and of writers that were late, are no part of this one: what
 * keeps them is told. */
static void sweep_others(struct runner *r)
{
    struct backup_sweep_result swept;
    struct tm_err err;
    char text[WIRE_TEXT_MAX + 1];
    if (backup_sweep_deleted(r->backup, &swept, &err) == 0)
        return;
    (void)snprintf(text, sizeof(text), "%s", err.msg);
    utf8_clean(text);
    struct frame f = {.type = FRAME_warning, .warning = {.text = text}};
    runner_tell(r, &f);
}

static int step_sweep(struct runner *r, const struct frame_sweep *sweep, struct tm_err *err)
{
    struct backup_sweep_result swept = {0};
    enum backup_sweep_mode mode = sweep->remove ? BACKUP_SWEEP_DELETE : BACKUP_SWEEP_ABORT;
    int rc = backup_sweep(r->backup, mode, sweep->remove ? "deleted" : "aborted",
                          (int64_t)sweep->grace_ms * USEC_PER_MSEC, &swept, err);
    bool committed = rc == -TM_E_REFUSED && !sweep->remove;
    if (rc < 0 && !committed)
        return rc;
    struct frame f = {.type = FRAME_swept,
                      .swept = {.committed = committed, .objects = swept.objects}};
    if (swept.next_us != 0) /* at least 1: what is left is told from what is over */
        f.swept.grace_left_ms =
            (uint64_t)(TM_MAX(swept.next_us - clock_real_us(), INT64_C(0)) / USEC_PER_MSEC + 1);
    else if (!committed)
        sweep_others(r);
    runner_tell(r, &f);
    return 0;
}

/* ---- the thread ---- */

static int one_step(struct runner *r, struct frame *f, const char **stage, struct tm_err *err)
{
    switch (f->type) {
    case FRAME_begin:
        *stage = "begin";
        return step_begin(r, f, stage, err);
    case FRAME_finish:
        *stage = "finish";
        return step_finish(r, &f->finish, stage, err);
    case FRAME_log_want:
        *stage = "log";
        return task_want(r, &f->log_want, err);
    case FRAME_sweep:
        *stage = "sweep";
        return step_sweep(r, &f->sweep, err);
    default:
        return tm_err_set(err, TM_E_INTERNAL, "'%s' does not belong here", frame_name(f->type));
    }
}

static int start_log(struct runner *r, const char **stage, struct tm_err *err)
{
    struct repo_scope scope;
    int level;
    *stage = "log";
    if (!r->job->log)
        return tm_err_set(err, TM_E_INVALID, "job: no log parameters");
    int rc = fill_scope(r, &scope, err);
    if (rc < 0 || (rc = parse_compression(r->job->log->compression, &level, err)) < 0 ||
        (rc = task_open(r, &scope, level, err)) < 0)
        return rc;
    send_ready(r);
    return task_start(r, err);
}

static int start_job(struct runner *r, const char **stage, struct tm_err *err)
{
    if (r->job->kind == JOB_KIND_PROBE) {
        const struct msg_probe *want = r->job->probe;
        bool errand = want != NULL && (want->keep != NULL || want->read != NULL);
        *stage = errand ? "storage" : "probe";
        return errand ? step_errand(r, err) : step_probe(r, err);
    }
    *stage = STAGE_STORAGE;
    int rc = step_job(r, err);
    if (rc < 0)
        return rc;
    if (r->job->kind == JOB_KIND_RESTORE) {
        send_ready(r);
        *stage = "restore";
        return step_restore(r, err);
    }
    if (r->job->kind == JOB_KIND_LOG)
        return start_log(r, stage, err);
    bool over = false;
    rc = open_backup(r, err);
    if (rc == 0 && r->job->backup->resume && (r->job->roles & JOB_ROLE_LEAD) && !r->job->sweep &&
        !r->job->found) {
        *stage = "checkpoint";
        rc = resume_look(r, &over, err);
    }
    if (rc == 0 && !over)
        send_ready(r);
    return rc;
}

void *step_thread_main(void *arg)
{
    struct runner *r = arg;
    struct tm_err err;
    const char *stage = "job";
    struct frame f;
    int rc = start_job(r, &stage, &err);
    while (rc == 0 && runner_next_frame(r, &r->frames, &f)) {
        rc = one_step(r, &f, &stage, &err);
        frame_release(&f);
    }
    if (rc < 0)
        runner_fail(r, resume_stage(r, stage, &err), &err);
    return NULL;
}
