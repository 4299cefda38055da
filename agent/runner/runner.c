/*
 * The control thread: reads frames, hands each to whom it concerns, and reports progress. It never
 * touches storage or database itself, so the agent always gets an answer.
 *
 * Ends: `stop`, end of file on the socket, a broken frame, or after a `failed` was sent. Then all
 * threads are told to end and joined; an object that was being written is dropped unseen.
 */
#include "agent/runner/internal.h"

#include <malloc.h>
#include <poll.h>
#include <signal.h>

#include "agent/log/log.h"
#include "common/clock.h"
#include "common/parse.h"
#include "common/spawn.h"
#include "common/storage/url.h"
#include "common/utf8.h"

#define STACK_BYTES (512u << 10)
#define READ_BYTES  (64u << 10)
#define NICE        10

/* ---- what threads call ---- */

void runner_tell(struct runner *r, const struct frame *f)
{
    struct tm_err err;
    pthread_mutex_lock(&r->send_lock);
    int rc = frame_send(r->fd, f, &err);
    pthread_mutex_unlock(&r->send_lock);
    if (rc == -TM_E_INVALID && f->type != FRAME_failed)
        runner_fail(r, "frame", &err); /* cannot be said: better told than an end without a word */
    else if (rc < 0)
        runner_wind_up(r); /* nobody listens: the agent is gone */
}

void runner_wind_up(struct runner *r)
{
    atomic_store(&r->cancel, true);
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void runner_fail(struct runner *r, const char *stage, const struct tm_err *err)
{
    pthread_mutex_lock(&r->lock);
    bool first = !r->failed && !r->stopping;
    r->failed = true;
    pthread_mutex_unlock(&r->lock);
    if (first) {
        struct msg_error error = msg_error_of(err, stage);
        struct frame f = {.type = FRAME_failed, .failed = {.error = &error}};
        runner_tell(r, &f);
    }
    runner_wind_up(r);
}

bool runner_stopping(struct runner *r)
{
    return atomic_load(&r->cancel);
}

int runner_thread(pthread_t *ret, void *(*main)(void *), void *arg, struct tm_err *err)
{
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) {
        rc = pthread_attr_setstacksize(&attr, STACK_BYTES);
        if (rc == 0)
            rc = pthread_create(ret, &attr, main, arg);
        (void)pthread_attr_destroy(&attr);
    }
    return rc == 0 ? 0 : tm_err_errno(err, rc, "cannot start a thread");
}

/* ---- frames in ---- */

static int keep_frame(struct runner *r, struct list *list, struct frame *f, struct tm_err *err)
{
    struct waiting_frame *w = calloc(1, sizeof(*w));
    if (!w)
        return tm_err_oom(err);
    pthread_mutex_lock(&r->lock);
    bool full = list->count >= RUNNER_FRAMES_MAX;
    if (!full) {
        w->frame = *f;
        f->arena = (struct codec_arena){0};
        list_push_back(list, &w->link);
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    if (full) {
        free(w);
        return tm_err_set(err, TM_E_LIMIT, "more than %u frames wait", RUNNER_FRAMES_MAX);
    }
    return 0;
}

static int take_job(struct runner *r, struct frame *f, struct tm_err *err)
{
    if (r->job)
        return tm_err_set(err, TM_E_INVALID, "a second job");
    r->job_frame = *f;
    f->arena = (struct codec_arena){0};
    r->job = &r->job_frame.job;
    r->epoch = (struct epoch){r->job->term, r->job->generation};
    if (r->job->kind ==
        JOB_KIND_BACKUP) /* attempts of one backup, and their runners, share its names */
        r->epoch.counter = r->job->attempt % 65536 * 65536 + r->job->generation % 256 * 256;
    if (r->job->kind == JOB_KIND_BACKUP) {
        /* the database comes first; threads inherit both */
        struct tm_err ignored;
        if (spawn_set_nice(NICE, &ignored) < 0 || spawn_set_idle_io(&ignored) < 0)
            ignored.code = TM_E_OK; /* a wish, not a condition */
    }
    int rc = runner_thread(&r->step_thread, step_thread_main, r, err);
    r->step_started = rc == 0;
    return rc;
}

/* 1 = go on, 0 = orderly end. May take the frame's arena over. */
static int take_frame(struct runner *r, struct frame *f, struct tm_err *err)
{
    if (!r->job && f->type != FRAME_job && f->type != FRAME_stop)
        return tm_err_set(err, TM_E_INVALID, "'%s' before 'job'", frame_name(f->type));
    int rc = 0;
    switch (f->type) {
    case FRAME_job:
        rc = take_job(r, f, err);
        break;
    case FRAME_ranges:
        rc = ranges_add(r, &f->ranges, err);
        break;
    case FRAME_cancel:
        ranges_cancel(r, &f->cancel);
        break;
    case FRAME_results:
        rc = keep_frame(r, &r->results, f, err);
        break;
    case FRAME_accepted:
        rc = keep_frame(r, &r->accepted, f, err);
        break;
    case FRAME_stop:
        return 0;
    default:
        rc = keep_frame(r, &r->frames, f, err);
    }
    return rc < 0 ? rc : 1;
}

/* ---- progress ---- */

static void add_stats(struct storage *st, struct msg_storage_stats *to)
{
    struct storage_stats stats;
    if (!st)
        return;
    storage_stats(st, &stats);
    if (stats.limit_max == 0)
        return;
    to->requests += stats.requests;
    to->retries += stats.retries;
    to->slow_downs += stats.slow_downs;
    if (to->limit_max != 0)
        return; /* of two stores, what is said of the first */
    to->limit = stats.limit;
    to->limit_max = stats.limit_max;
    to->skew_us = stats.skew_us;
}

bool runner_storage_stats(struct runner *r, struct msg_storage_stats *ret)
{
    *ret = (struct msg_storage_stats){.requests = 0};
    pthread_mutex_lock(&r->lock);
    struct storage *st = r->storage_up ? r->storage : NULL;
    add_stats(st, ret);
    add_stats(r->full_storage, ret);
    pthread_mutex_unlock(&r->lock);
    return ret->limit_max != 0;
}

bool runner_hangs(struct runner *r, int64_t *ret_since_us, struct tm_err *ret)
{
    char text[WATCH_TEXT_MAX];
    if (!watch_hangs(&r->watch, clock_mono_us(), RUNNER_HANG_US, ret_since_us, text))
        return false;
    (void)tm_err_retry(
        ret, TM_E_TIMEOUT, "node '%s': storage '%.200s' hangs: %s has taken longer than %lld s",
        r->job->node, r->job->storage, text, (long long)(RUNNER_HANG_US / USEC_PER_SEC));
    return true;
}

/* Once for each call that hangs. */
static void tell_hang(struct runner *r)
{
    struct tm_err err;
    int64_t since_us;
    if (r->job == NULL || !runner_hangs(r, &since_us, &err) || since_us == r->hang_told_us)
        return;
    r->hang_told_us = since_us;
    struct frame f = {.type = FRAME_warning, .warning = {.text = err.msg}};
    runner_tell(r, &f);
}

/* "s3://bucket/prefix at https://host:9000" */
static void place_text(const char *storage, char *text, size_t size)
{
    struct storage_url url;
    struct tm_err ignored;
    const char *endpoint = NULL;
    if (storage_url_parse(storage, &url, &ignored) == 0)
        endpoint = storage_url_param(&url, "endpoint");
    (void)snprintf(text, size, "%.*s%s%s", (int)TM_MIN(strcspn(storage, "?"), size / 2), storage,
                   endpoint != NULL ? " at " : "", endpoint != NULL ? endpoint : "");
}

/* A call that takes long, when no attempt of it has failed yet: a mounted path has no attempts. */
static bool waits_long(struct runner *r, int64_t *ret_since_us, char text[WATCH_TROUBLE_MAX])
{
    char call[WATCH_TEXT_MAX];
    bool file = strncmp(r->job->storage, "file:", 5) == 0;
    int64_t patience_us = r->job->kind == JOB_KIND_LOG ? RUNNER_WAIT_LOG_US
                          : file                       ? RUNNER_WAIT_FILE_US
                                                       : RUNNER_HANG_US;
    if (!watch_hangs(&r->watch, clock_mono_us(), patience_us, ret_since_us, call))
        return false;
    char place[220];
    place_text(r->job->storage, place, sizeof(place));
    (void)snprintf(text, WATCH_TROUBLE_MAX, "%s: %s: no answer for more than %lld s", place, call,
                   (long long)(patience_us / USEC_PER_SEC));
    return true;
}

/* What is wrong with storage now, though nothing has failed: level, told when it changes. */
static void tell_trouble(struct runner *r)
{
    char text[WATCH_TROUBLE_MAX] = "";
    int64_t since_us = 0;
    if (r->job == NULL)
        return;
    bool failed = watch_troubled(&r->watch, &since_us, text);
    bool any = failed || waits_long(r, &since_us, text);
    if (strcmp(text, r->trouble_told) == 0)
        return;
    memcpy(r->trouble_told, text, sizeof(text));
    utf8_clean(text);
    struct msg_error error = {.code = TM_E_TIMEOUT,
                              .text = text,
                              .retryable = true,
                              .since_us = clock_real_us() - (clock_mono_us() - since_us)};
    (void)snprintf(error.stage, sizeof(error.stage), "%s", failed ? STAGE_STORAGE : STAGE_WAITING);
    struct frame f = {.type = FRAME_trouble, .trouble = {.error = any ? &error : NULL}};
    runner_tell(r, &f);
}

static void send_progress(struct runner *r)
{
    struct frame f = {.type = FRAME_progress};
    struct msg_storage_stats stats;
    bool has_stats = runner_storage_stats(r, &stats);
    pthread_mutex_lock(&r->lock);
    bool restoring = r->restoring;
    f.progress = r->restore_progress;
    bool counting = r->workers_up || r->log_state != LOG_NONE;
    pthread_mutex_unlock(&r->lock);
    if (!restoring && counting) {
        f.progress.bytes_done = atomic_load(&backup_counters(r->backup)->bytes_read);
        f.progress.log_bytes = atomic_load(&r->log_bytes);
    }
    f.progress.storage = has_stats ? &stats : NULL;
    if (restoring || counting)
        runner_tell(r, &f);
}

/* ---- the loop ---- */

/* 1 = bytes came, 0 = time is up or woken, negative = end of file (TM_E_CANCELED) or error. */
static int wait_bytes(struct runner *r, struct buf *in, int64_t until_us, struct tm_err *err)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    int64_t left_ms = (until_us - clock_mono_us()) / USEC_PER_MSEC + 1;
    int n = poll(&p, 1, (int)TM_MAX(left_ms, INT64_C(0)));
    if (n < 0)
        return errno == EINTR ? 0 : tm_err_errno(err, errno, "cannot wait for the agent");
    if (n == 0)
        return 0;
    int rc = buf_reserve(in, READ_BYTES, err);
    if (rc < 0)
        return rc;
    ssize_t got = read(r->fd, in->data + in->len, READ_BYTES);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN
                   ? 0
                   : tm_err_errno(err, errno, "cannot read from the agent");
    if (got == 0)
        return tm_err_set(err, TM_E_CANCELED, "the agent is gone");
    in->len += (size_t)got;
    return 1;
}

/* All frames that are complete. 1 = go on, 0 = stop. */
static int take_frames(struct runner *r, struct buf *in, struct tm_err *err)
{
    struct frame f;
    int rc;
    while ((rc = frame_next(in, &f, err)) == 1) {
        if (f.type == FRAME_job) /* what it may have brought along lies behind what is left */
            explicit_bzero(in->data + in->len, in->cap - in->len);
        rc = take_frame(r, &f, err);
        frame_release(&f);
        if (rc <= 0)
            return rc;
    }
    return rc < 0 ? rc : 1;
}

static int control(struct runner *r, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf in = BUF_SECRET_INIT;
    int64_t report_us = clock_mono_us() + RUNNER_PROGRESS_MS * USEC_PER_MSEC;
    for (;;) {
        int rc = wait_bytes(r, &in, report_us, err);
        if (rc == -TM_E_CANCELED)
            return 0;
        if (rc < 0)
            return rc;
        if (rc > 0 && (rc = take_frames(r, &in, err)) <= 0)
            return rc;
        if (runner_stopping(r))
            return 0;
        if (clock_mono_us() >= report_us) {
            send_progress(r);
            tell_trouble(r);
            tell_hang(r);
            report_us = clock_mono_us() + RUNNER_PROGRESS_MS * USEC_PER_MSEC;
        }
    }
}

static void free_frames(struct list *list)
{
    struct list_link *link;
    while ((link = list_pop_front(list))) {
        struct waiting_frame *w = LIST_ENTRY(link, struct waiting_frame, link);
        frame_release(&w->frame);
        free(w);
    }
}

/* After all threads ended. */
static void runner_release(struct runner *r)
{
    backup_log_free(r->log);
    log_task_free(r->task);
    if (r->proof)
        r->engine->proof_close(r->proof);
    if (r->reader)
        r->engine->reader_close(r->reader);
    backup_free(r->backup);
    storage_free(r->full_storage);
    storage_free(r->storage);
    free_frames(&r->frames);
    free_frames(&r->results);
    free_frames(&r->accepted);
    if (r->begin)
        frame_release(&r->begin_frame);
    if (r->job)
        frame_release(&r->job_frame);
    watch_release(&r->watch);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->send_lock);
    closep(&r->fd);
}

static void runner_init(struct runner *r, int fd)
{
    pthread_condattr_t attr;
    *r = (struct runner){.fd = fd};
    pthread_mutex_init(&r->send_lock, NULL);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
    watch_init(&r->watch);
    list_init(&r->frames);
    list_init(&r->results);
    list_init(&r->accepted);
    list_init(&r->leases);
}

int runner_serve(int fd, struct tm_err *err)
{
    struct runner *r = malloc(sizeof(*r));
    if (!r) {
        (void)close(fd);
        return tm_err_oom(err);
    }
    runner_init(r, fd);
    int rc = control(r, err);
    runner_wind_up(r);
    if (r->step_started)
        pthread_join(r->step_thread, NULL);
    checkpoints_end(r);
    ranges_join(r);
    task_end(r);
    logs_join(r);
    runner_release(r);
    free(r);
    return rc;
}

int runner_main(int argc, char **argv)
{
    struct tm_err err;
    uint64_t parent = 0;
    /* two arenas, and memory given back: many small threads would otherwise hold one each */
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN); /* ^C is for the agent, which tells us */
    if (argc > 2 && parse_u64(argv[2], &parent, &err) < 0)
        parent = 0;
    if (spawn_child_setup((pid_t)parent, &err) < 0 || runner_serve(RUNNER_FD, &err) < 0) {
        (void)fprintf(stderr, "tidemark-agent: runner: %s\n", err.msg);
        return 1;
    }
    return 0;
}
