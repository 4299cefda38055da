/*
 * The ranges of a backup, spread over threads.
 *
 * Happy path: this thread streams the ranges out of the segments into a short queue; workers take
 * them; every half second the caller hears how far it is.
 * Failure: the first error is kept, the queue is closed, and everybody ends after the piece at
 * hand.
 */
#include "agent/restore/internal.h"

#define STACK_BYTES (256u << 10)

void restore_fail(struct restore *r, const struct tm_err *err)
{
    pthread_mutex_lock(&r->lock);
    if (!r->failed)
        r->first_err = *err;
    r->failed = true;
    r->queue_closed = true;
    r->queue_count = 0;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

int restore_failed(struct restore *r, struct tm_err *err)
{
    pthread_mutex_lock(&r->lock);
    bool failed = r->failed;
    if (failed)
        *err = r->first_err;
    pthread_mutex_unlock(&r->lock);
    return failed ? -(int)err->code : 0;
}

static bool take(struct restore *r, struct restore_item *ret)
{
    pthread_mutex_lock(&r->lock);
    while (r->queue_count == 0 && !r->queue_closed)
        pthread_cond_wait(&r->changed, &r->lock);
    bool got = r->queue_count > 0;
    if (got) {
        *ret = r->queue[r->queue_head];
        r->queue_head = (r->queue_head + 1) % RESTORE_QUEUE_MAX;
        r->queue_count--;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return got;
}

static void *worker_main(void *arg)
{
    struct restore *r = arg;
    struct tm_err err;
    TM_CLEANUP(restore_worker_freep) struct restore_worker *w = NULL;
    TM_CLEANUP(freep) struct restore_item *item = malloc(sizeof(*item));
    int rc = item ? restore_worker_new(r, &w, &err) : tm_err_oom(&err);
    while (rc == 0 && take(r, item)) {
        rc = restore_range(w, item, &err);
        if (rc == 0)
            atomic_fetch_add(&r->ranges_done, 1);
    }
    if (rc < 0)
        restore_fail(r, &err);
    return NULL;
}

/* Waits up to a tick for room in the queue. 1 = put, 0 = not yet, negative = a worker failed. */
static int try_put(struct restore *r, const struct restore_item *item, struct tm_err *err)
{
    struct timespec until = clock_after(CLOCK_MONOTONIC, RESTORE_TICK_MS * USEC_PER_MSEC);
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    while (!r->failed && r->queue_count >= RESTORE_QUEUE_MAX && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&r->changed, &r->lock, &until);
    if (r->failed) {
        *err = r->first_err;
        rc = -(int)err->code;
    } else if (r->queue_count < RESTORE_QUEUE_MAX) {
        r->queue[(r->queue_head + r->queue_count) % RESTORE_QUEUE_MAX] = *item;
        r->queue_count++;
        pthread_cond_broadcast(&r->changed);
        rc = 1;
    } else {
        rc = 0;
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static int feed(struct restore *r, struct tm_err *err)
{
    TM_CLEANUP(freep) struct restore_item *item = malloc(sizeof(*item));
    struct backup_ranges ranges = BACKUP_RANGES_INIT;
    struct segment_range range;
    if (!item)
        return tm_err_oom(err);
    int rc = backup_ranges_reopen(&ranges, r->manifest_scratch, r->segment_scratch, r->st,
                                  &r->scope, r->outcome.backup_id, err);
    while (rc >= 0 && (rc = backup_ranges_next(&ranges, &range, err)) == 1) {
        restore_item_set(item, &range);
        while ((rc = try_put(r, item, err)) == 0) {
            restore_report(r);
            if ((rc = restore_canceled(r, err)) < 0)
                break;
        }
    }
    backup_ranges_release(&ranges);
    return rc;
}

/* Waits until the workers ended, reporting meanwhile. */
static void join_all(struct restore *r, pthread_t *threads, unsigned count)
{
    struct tm_err err;
    for (unsigned i = 0; i < count; i++) {
        for (;;) {
            struct timespec until = clock_after(CLOCK_REALTIME, RESTORE_TICK_MS * USEC_PER_MSEC);
            if (pthread_timedjoin_np(threads[i], NULL, &until) != ETIMEDOUT)
                break;
            restore_report(r);
            if (restore_canceled(r, &err) < 0)
                restore_fail(r, &err);
        }
    }
}

static int start_thread(struct restore *r, pthread_t *ret, struct tm_err *err)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    int rc = pthread_create(ret, &attr, worker_main, r);
    pthread_attr_destroy(&attr);
    return rc == 0 ? 0 : tm_err_errno(err, rc, "cannot start a thread");
}

int restore_files(struct restore *r, struct tm_err *err)
{
    pthread_t threads[RESTORE_THREADS_MAX];
    unsigned want = restore_threads(r->job), started = 0;
    want = TM_MIN(want, RESTORE_THREADS_MAX);
    TM_CLEANUP(freep) struct restore_item *queue = calloc(RESTORE_QUEUE_MAX, sizeof(*queue));
    if (!queue)
        return tm_err_oom(err);
    r->queue = queue;
    int rc = 0;
    while (rc == 0 && started < want) {
        rc = start_thread(r, &threads[started], err);
        started += rc == 0;
    }
    if (rc == 0)
        rc = feed(r, err);
    if (rc < 0)
        restore_fail(r, err);
    pthread_mutex_lock(&r->lock);
    r->queue_closed = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    join_all(r, threads, started);
    r->queue = NULL;
    restore_report(r);
    return restore_failed(r, err);
}
