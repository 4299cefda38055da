/*
 * Leases in, objects out.
 *
 * Happy path: the agent hands leases, as many as `need` asked for; a worker takes the first, stores
 * its range, says range_done, and `need` is told anew, so that the queue never runs dry while the
 * agent waits for the coordinator.
 * Failure: a range that cannot be stored is said to be so (range_failed) and the worker takes the
 * next one: whether that ends the job is decided elsewhere. A canceled lease is dropped when it
 * still waits; when it is being stored, the object becomes one that no metadata will name.
 *
 * A worker that is not the lead reads an instance of which the snapshot was not begun. It asks for
 * leases, and starts ranges, only while the engine says that it is ready; when it is not for a while,
 * that is told once. After a range that could not be stored it is asked anew. A failure that does not
 * pass ends this runner, not the range: another node can read it.
 */
#include "agent/runner/internal.h"

#include "common/clock.h"
#include "common/utf8.h"

/* Leases that wait, beside the ones being stored. */
static unsigned window(const struct runner *r)
{
    return TM_MIN(r->threads * 2, WIRE_LEASES_MAX);
}

static void send_need(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    size_t have = r->leases.count;
    bool up = r->workers_up && !r->stopping;
    bool ready = r->ready;
    pthread_mutex_unlock(&r->lock);
    if (!up)
        return;
    unsigned want = window(r);
    struct frame f = {.type = FRAME_need,
                      .need = {.count = ready && have < want ? (uint32_t)(want - have) : 0}};
    runner_tell(r, &f);
}

int ranges_add(struct runner *r, const struct frame_ranges *frame, struct tm_err *err)
{
    for (size_t i = 0; i < frame->leases_count; i++) {
        const struct msg_lease *in = &frame->leases[i];
        struct lease *lease = malloc(sizeof(*lease) + in->start.len + in->end.len);
        if (!lease)
            return tm_err_oom(err);
        *lease = (struct lease){.index = in->range,
                                .term = in->term,
                                .counter = in->counter,
                                .start_len = in->start.len,
                                .end_len = in->end.len};
        if (in->start.len)
            memcpy(lease->keys, in->start.data, in->start.len);
        if (in->end.len)
            memcpy(lease->keys + in->start.len, in->end.data, in->end.len);
        pthread_mutex_lock(&r->lock);
        bool full = r->leases.count >= RUNNER_LEASES_MAX;
        if (!full)
            list_push_back(&r->leases, &lease->link);
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        if (full) {
            free(lease);
            return tm_err_set(err, TM_E_LIMIT, "more than %u leases at once", RUNNER_LEASES_MAX);
        }
    }
    return 0;
}

void ranges_cancel(struct runner *r, const struct frame_cancel *frame)
{
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < frame->leases_count; i++) {
        const struct msg_lease *in = &frame->leases[i];
        struct lease *lease, *next;
        LIST_FOREACH_SAFE (lease, next, &r->leases, link) {
            if (lease->index == in->range && lease->term == in->term &&
                lease->counter == in->counter) {
                list_remove(&r->leases, &lease->link);
                free(lease);
            }
        }
    }
    pthread_mutex_unlock(&r->lock);
    send_need(r);
}

void ranges_counters(const struct backup_result *result, struct msg_counters *ret, char *text,
                     size_t size)
{
    *ret = (struct msg_counters){.files = result->stats.files,
                                 .bytes = result->raw_bytes,
                                 .stored_bytes = result->stored_bytes,
                                 .pages_checked = result->stats.pages_checked,
                                 .pages_unverified = result->stats.pages_unverified,
                                 .pages_corrupt = result->stats.pages_corrupt};
    if (result->problem_count == 0)
        return;
    const struct backup_problem *p = &result->problems[0];
    if (p->block == ENGINE_NO_BLOCK)
        (void)snprintf(text, size, "%s: %s", p->path, p->what);
    else
        (void)snprintf(text, size, "%s, block %llu: %s", p->path, (unsigned long long)p->block,
                       p->what);
    utf8_clean(text); /* a path is any bytes */
    ret->problem = text;
}

static void send_done(struct runner *r, const struct lease *lease,
                      const struct backup_result *result)
{
    struct msg_counters counters;
    char text[WIRE_TEXT_MAX + 1];
    ranges_counters(result, &counters, text, sizeof(text));
    struct frame f = {.type = FRAME_range_done,
                      .range_done = {.range = lease->index,
                                     .term = lease->term,
                                     .counter = lease->counter,
                                     .blob = buf_slice(&result->blob),
                                     .counters = &counters}};
    runner_tell(r, &f);
}

static void send_failed(struct runner *r, const struct lease *lease, const struct tm_err *err)
{
    struct msg_error error = msg_error_of(err, "range");
    struct frame f = {.type = FRAME_range_failed,
                      .range_failed = {.range = lease->index,
                                       .term = lease->term,
                                       .counter = lease->counter,
                                       .error = &error}};
    runner_tell(r, &f);
}

/* ---- may the instance be read? ---- */

static bool is_lead(const struct runner *r)
{
    return (r->job->roles & JOB_ROLE_LEAD) != 0;
}

static void unready(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    if (!is_lead(r) && r->engine->reader_ready && r->ready) {
        r->ready = false;
        r->unready_us = clock_mono_us();
        r->unready_told = false;
    }
    bool none = !r->ready;
    pthread_mutex_unlock(&r->lock);
    if (none)
        send_need(r);
}

static void tell_unready(struct runner *r, const struct tm_err *why)
{
    if (r->unready_told || clock_mono_us() - r->unready_us < RUNNER_UNREADY_US)
        return;
    char text[WIRE_TEXT_MAX + 1];
    (void)snprintf(text, sizeof(text), "node '%s' waits to take part: %.400s", r->job->node,
                   why->msg);
    struct frame f = {.type = FRAME_warning, .warning = {.text = text}};
    r->unready_told = true;
    runner_tell(r, &f);
}

/* One worker's part; `asking` makes it the only one. */
static void ask_ready(struct runner *r)
{
    struct tm_err err = {0};
    int rc = r->engine->reader_ready(r->reader, &err);
    if (rc < 0) {
        if (!runner_stopping(r))
            runner_fail(r, "read", &err);
        return;
    }
    if (rc == 0) {
        tell_unready(r, &err);
        runner_pause(r, RUNNER_READY_US);
        return;
    }
    pthread_mutex_lock(&r->lock);
    r->ready = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    send_need(r);
}

/* False when the runner ends. */
static bool wait_ready(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->stopping && !r->ready) {
        if (r->asking) {
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        r->asking = true;
        pthread_mutex_unlock(&r->lock);
        ask_ready(r);
        pthread_mutex_lock(&r->lock);
        r->asking = false;
        pthread_cond_broadcast(&r->changed);
    }
    bool on = !r->stopping;
    pthread_mutex_unlock(&r->lock);
    return on;
}

/* ---- storing ---- */

static void work(struct runner *r, struct backup_worker *worker, const struct lease *lease,
                 struct backup_result *result)
{
    struct tm_err err;
    struct backup_lease in = {.index = lease->index,
                              .epoch = {lease->term, (uint32_t)lease->counter},
                              .range = {slice_of(lease->keys, lease->start_len),
                                        slice_of(lease->keys + lease->start_len, lease->end_len)}};
    int rc =
        lease->counter > UINT32_MAX
            ? tm_err_set(&err, TM_E_INVALID, "range %u: the epoch is out of bounds", lease->index)
            : backup_store_range(worker, r->engine, r->reader, &in, result, &err);
    if (rc == 0) {
        send_done(r, lease, result);
    } else if (!runner_stopping(r)) {
        if (is_lead(r) || (err.retryable && err.code != TM_E_CONFLICT)) {
            unready(r);
            send_failed(r, lease, &err);
        } else {
            runner_fail(r, "read", &err);
        }
    }
}

static struct lease *take(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->stopping && r->ready && list_empty(&r->leases))
        pthread_cond_wait(&r->changed, &r->lock);
    struct lease *lease = NULL;
    if (!r->stopping && r->ready) {
        struct list_link *link = list_pop_front(&r->leases);
        if (link) {
            lease = LIST_ENTRY(link, struct lease, link);
            r->running++;
        }
    }
    pthread_mutex_unlock(&r->lock);
    return lease;
}

static void *worker_main(void *arg)
{
    struct runner *r = arg;
    struct tm_err err;
    TM_CLEANUP(backup_worker_freep) struct backup_worker *worker = NULL;
    TM_CLEANUP(backup_result_release) struct backup_result result = {.raw_bytes = 0};
    if (backup_worker_new(r->backup, &worker, &err) < 0) {
        runner_fail(r, "range", &err);
        return NULL;
    }
    while (wait_ready(r)) {
        struct lease *lease = take(r);
        if (!lease)
            continue; /* not ready any more, or the end */
        send_need(r);
        work(r, worker, lease, &result);
        free(lease);
        pthread_mutex_lock(&r->lock);
        r->running--;
        pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

int ranges_start(struct runner *r, struct tm_err *err)
{
    if (!(r->job->roles & JOB_ROLE_WORKER))
        return 0;
    r->ready = is_lead(r) || !r->engine->reader_ready;
    r->unready_us = clock_mono_us();
    while (r->workers_started < r->threads) {
        int rc = runner_thread(&r->workers[r->workers_started], worker_main, r, err);
        if (rc < 0)
            return rc;
        r->workers_started++;
    }
    pthread_mutex_lock(&r->lock);
    r->workers_up = true;
    pthread_mutex_unlock(&r->lock);
    send_need(r);
    return 0;
}

void ranges_join(struct runner *r)
{
    while (r->workers_started > 0)
        pthread_join(r->workers[--r->workers_started], NULL);
    struct list_link *link;
    while ((link = list_pop_front(&r->leases)))
        free(LIST_ENTRY(link, struct lease, link));
}
