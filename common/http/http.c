/*
 * The client: a queue, a pace, and one thread that drives curl's multi handle.
 *
 * Happy path: http_start queues → the thread takes it when the pace allows, gives it a curl handle
 * → curl says done → outcome into the exchange, handle back to the shelf → the waiter wakes.
 * Canceling: a queued exchange just leaves the queue; one under way is marked, and the thread takes
 * it out. Failures of one exchange are its own. The thread ends only in http_free.
 *
 * Lock order: there is one lock. Curl is never called with it held, but for curl_multi_wakeup.
 */
#include <assert.h>
#include <ctype.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>

#include "common/clock.h"
#include "common/http/internal.h"
#include "common/http/pace.h"

#define PARALLEL_DEFAULT 16
#define POLL_MS          1000

struct http {
    struct http_limits limits;
    CURLM *multi; /* the thread's, but for curl_multi_wakeup */
    pthread_t thread;
    bool running; /* there is a thread */
    /* the thread's own */
    CURL *shelf[HTTP_PARALLEL_MAX]; /* handles not in use */
    size_t shelf_count;
    struct list under_way;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* an exchange is done */
    struct list queue;
    bool stopping;
    bool cancels; /* some exchange under way is to be taken out */
    struct pace pace;
    struct http_stats stats;
};

/* ---- the thread ---- */

static void complete(struct http *h, struct http_exchange *x, bool answered)
{
    int64_t now_us = clock_mono_us();
    if (x->status == 429 || x->status == 503)
        pace_slow_down(&h->pace, now_us);
    pace_end(&h->pace, now_us, answered && x->status < 500 && x->status != 429);
    h->stats.exchanges++;
    h->stats.sent_bytes += x->body_sent;
    h->stats.received_bytes += x->into_got + x->answer.len;
    x->state = EXCHANGE_DONE;
    pthread_cond_broadcast(&h->changed);
}

static CURL *take_handle(struct http *h)
{
    return h->shelf_count > 0 ? h->shelf[--h->shelf_count] : transfer_handle_new(&h->limits);
}

static void put_handle(struct http *h, CURL *easy)
{
    if (h->shelf_count < TM_ARRAY_LEN(h->shelf))
        h->shelf[h->shelf_count++] = easy;
    else
        curl_easy_cleanup(easy);
}

/* Takes the exchange out of curl and tells its owner. */
static void finish(struct http *h, struct http_exchange *x, CURLcode code)
{
    CURL *easy = x->easy;
    long connects = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
    (void)curl_multi_remove_handle(h->multi, easy);
    transfer_finish(x, code);
    put_handle(h, easy);
    list_remove(&h->under_way, &x->link);
    pthread_mutex_lock(&h->lock);
    h->stats.connections += (uint64_t)TM_MAX(connects, 0L);
    complete(h, x, x->result == 0);
    pthread_mutex_unlock(&h->lock);
}

static void begin(struct http *h, struct http_exchange *x)
{
    CURL *easy = take_handle(h);
    x->stall_ms = h->limits.stall_ms;
    int r = easy != NULL ? transfer_prepare(x, easy, &x->err) : tm_err_oom(&x->err);
    if (r == 0 && curl_multi_add_handle(h->multi, easy) == CURLM_OK) {
        list_push_back(&h->under_way, &x->link);
        return;
    }
    if (r == 0) {
        transfer_finish(x, CURLE_FAILED_INIT);
        r = tm_err_set(&x->err, TM_E_INTERNAL, "cannot begin an HTTP exchange");
    }
    if (easy != NULL)
        put_handle(h, easy);
    x->result = r;
    pthread_mutex_lock(&h->lock);
    complete(h, x, false);
    pthread_mutex_unlock(&h->lock);
}

static struct http_exchange *next_to_begin(struct http *h)
{
    struct http_exchange *x = NULL;
    pthread_mutex_lock(&h->lock);
    if (!h->stopping && !list_empty(&h->queue) && pace_may_start(&h->pace, clock_mono_us())) {
        x = LIST_ENTRY(h->queue.head.next, struct http_exchange, link);
        list_remove(&h->queue, &x->link);
        x->state = EXCHANGE_UNDER_WAY;
        pace_start(&h->pace);
    }
    pthread_mutex_unlock(&h->lock);
    return x;
}

/* Those that have waited for their turn too long. */
static void give_up_overdue(struct http *h)
{
    struct http_exchange *x, *next;
    int64_t now_us = clock_mono_us();
    pthread_mutex_lock(&h->lock);
    LIST_FOREACH_SAFE (x, next, &h->queue, link) {
        if (x->start_by_us == 0 || now_us < x->start_by_us)
            continue;
        list_remove(&h->queue, &x->link);
        x->status = 0;
        x->result = tm_err_retry(&x->err, TM_E_TIMEOUT,
                                 "other requests to the store left no room for this one in time");
        x->state = EXCHANGE_DONE;
        pthread_cond_broadcast(&h->changed);
    }
    pthread_mutex_unlock(&h->lock);
}

static void take_out_canceled(struct http *h)
{
    pthread_mutex_lock(&h->lock);
    bool any = h->cancels;
    h->cancels = false;
    pthread_mutex_unlock(&h->lock);
    if (!any)
        return;
    struct http_exchange *x, *next;
    LIST_FOREACH_SAFE (x, next, &h->under_way, link) {
        pthread_mutex_lock(&h->lock);
        bool canceled = x->canceled;
        pthread_mutex_unlock(&h->lock);
        if (canceled)
            finish(h, x, CURLE_ABORTED_BY_CALLBACK);
    }
}

static void *thread_main(void *arg)
{
    struct http *h = arg;
    bool stopping = false;
    while (!stopping) {
        struct http_exchange *x;
        while ((x = next_to_begin(h)) != NULL)
            begin(h, x);
        give_up_overdue(h);
        take_out_canceled(h);
        int active;
        (void)curl_multi_perform(h->multi, &active);
        CURLMsg *message;
        int left;
        bool ended = false;
        while ((message = curl_multi_info_read(h->multi, &left)) != NULL) {
            if (message->msg != CURLMSG_DONE)
                continue;
            CURLcode code = message->data.result;
            (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&x);
            finish(h, x, code);
            ended = true;
        }
        if (!ended) /* else there may be room for the next */
            (void)curl_multi_poll(h->multi, NULL, 0, POLL_MS, NULL);
        pthread_mutex_lock(&h->lock);
        stopping = h->stopping;
        pthread_mutex_unlock(&h->lock);
    }
    return NULL;
}

/* ---- making and ending ---- */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;
static void start_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int start_thread(struct http *h, struct tm_err *err)
{
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = pthread_create(&h->thread, NULL, thread_main, h);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (e != 0)
        return tm_err_errno(err, e, "cannot start the HTTP client's thread");
    (void)pthread_setname_np(h->thread, "http");
    h->running = true;
    return 0;
}

int http_new(const struct http_options *options, struct http **ret, struct tm_err *err)
{
    (void)pthread_once(&curl_once, start_curl);
    if (curl_ready != CURLE_OK)
        return tm_err_set(err, TM_E_INTERNAL, "libcurl: %s", curl_easy_strerror(curl_ready));
    TM_CLEANUP(http_freep) struct http *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return tm_err_oom(err);
    list_init(&h->queue);
    list_init(&h->under_way);
    (void)pthread_mutex_init(&h->lock, NULL);
    (void)pthread_cond_init(&h->changed, NULL);
    unsigned parallel = options->parallel != 0 ? options->parallel : PARALLEL_DEFAULT;
    pace_init(&h->pace, TM_MIN(parallel, (unsigned)HTTP_PARALLEL_MAX));
    h->limits.insecure = options->insecure;
    h->limits.connect_timeout_ms =
        options->connect_timeout_ms != 0 ? options->connect_timeout_ms : HTTP_CONNECT_TIMEOUT_MS;
    h->limits.stall_ms = options->stall_ms != 0 ? options->stall_ms : HTTP_STALL_MS;
    if (options->ca_file != NULL && (h->limits.ca_file = strdup(options->ca_file)) == NULL)
        return tm_err_oom(err);
    if (options->proxy != NULL && (h->limits.proxy = strdup(options->proxy)) == NULL)
        return tm_err_oom(err);
    h->multi = curl_multi_init();
    if (h->multi == NULL)
        return tm_err_oom(err);
    (void)curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)h->pace.max);
    int r = start_thread(h, err);
    if (r < 0)
        return r;
    *ret = TM_TAKE(h);
    return 0;
}

void http_free(struct http *h)
{
    if (h == NULL)
        return;
    if (h->running) {
        pthread_mutex_lock(&h->lock);
        h->stopping = true;
        pthread_mutex_unlock(&h->lock);
        (void)curl_multi_wakeup(h->multi);
        (void)pthread_join(h->thread, NULL);
    }
    assert(list_empty(&h->queue) && list_empty(&h->under_way));
    while (h->shelf_count > 0)
        curl_easy_cleanup(h->shelf[--h->shelf_count]);
    if (h->multi != NULL)
        (void)curl_multi_cleanup(h->multi);
    (void)pthread_cond_destroy(&h->changed);
    (void)pthread_mutex_destroy(&h->lock);
    free(h->limits.ca_file);
    free(h->limits.proxy);
    free(h);
}

/* ---- exchanges ---- */

static void headers_clear(struct http_headers *h)
{
    if (h->text.data != NULL)
        explicit_bzero(h->text.data, h->text.len);
    h->text.len = 0;
    h->count = 0;
}

void http_reset(struct http_exchange *x)
{
    assert(x->state == EXCHANGE_IDLE || x->state == EXCHANGE_DONE);
    headers_clear(&x->headers);
    headers_clear(&x->answer_headers);
    x->answer.len = 0;
    x->into_got = 0;
    x->status = 0;
    x->reached = false;
    x->canceled = false;
    x->state = EXCHANGE_IDLE;
}

void http_exchange_release(struct http_exchange *x)
{
    http_reset(x);
    buf_release(&x->headers.text);
    buf_release(&x->answer_headers.text);
    buf_release(&x->answer);
}

int http_header(struct http_exchange *x, struct tm_err *err, const char *name, const char *fmt, ...)
{
    char value[HTTP_HEADERS_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(value, sizeof(value), fmt, args);
    va_end(args);
    int r;
    if (len < 0 || (size_t)len >= sizeof(value)) {
        r = tm_err_set(err, TM_E_LIMIT, "HTTP header '%s' is too long", name);
    } else {
        r = 0;
        for (int at = 0; at < len; at++)
            if (iscntrl((unsigned char)value[at]))
                r = tm_err_set(err, TM_E_INVALID, "HTTP header '%s' has a control character", name);
        if (r == 0)
            r = http_headers_add(&x->headers, slice_str(name), slice_of(value, (size_t)len), err);
    }
    explicit_bzero(value, len > 0 ? TM_MIN((size_t)len, sizeof(value)) : 0);
    return r;
}

static const char *find(const struct http_headers *h, const char *name)
{
    const char *at = (const char *)h->text.data;
    for (size_t n = 0; n < h->count; n++) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

const char *http_request_header(const struct http_exchange *x, const char *name)
{
    return find(&x->headers, name);
}

const char *http_answer_header(const struct http_exchange *x, const char *name)
{
    return find(&x->answer_headers, name);
}

void http_start(struct http *h, struct http_exchange *x)
{
    assert(x->state == EXCHANGE_IDLE || x->state == EXCHANGE_DONE);
    x->canceled = false;
    pthread_mutex_lock(&h->lock);
    x->state = EXCHANGE_QUEUED;
    list_push_back(&h->queue, &x->link);
    pthread_mutex_unlock(&h->lock);
    (void)curl_multi_wakeup(h->multi);
}

bool http_is_done(struct http *h, struct http_exchange *x)
{
    pthread_mutex_lock(&h->lock);
    bool done = x->state == EXCHANGE_DONE;
    pthread_mutex_unlock(&h->lock);
    return done;
}

static void wait_done(struct http *h, struct http_exchange *x)
{
    while (x->state != EXCHANGE_DONE)
        pthread_cond_wait(&h->changed, &h->lock);
}

int http_wait(struct http *h, struct http_exchange *x, struct tm_err *err)
{
    pthread_mutex_lock(&h->lock);
    assert(x->state != EXCHANGE_IDLE);
    wait_done(h, x);
    pthread_mutex_unlock(&h->lock);
    if (x->result < 0)
        *err = x->err;
    return x->result;
}

void http_cancel(struct http *h, struct http_exchange *x)
{
    pthread_mutex_lock(&h->lock);
    if (x->state == EXCHANGE_QUEUED) {
        list_remove(&h->queue, &x->link);
        x->result = tm_err_set(&x->err, TM_E_CANCELED, "canceled");
        x->status = 0;
        x->state = EXCHANGE_DONE;
    } else if (x->state == EXCHANGE_UNDER_WAY) {
        x->canceled = true;
        h->cancels = true;
        (void)curl_multi_wakeup(h->multi);
        wait_done(h, x);
    }
    pthread_mutex_unlock(&h->lock);
}

int http_run(struct http *h, struct http_exchange *x, struct tm_err *err)
{
    http_start(h, x);
    return http_wait(h, x, err);
}

void http_slow_down(struct http *h)
{
    pthread_mutex_lock(&h->lock);
    pace_slow_down(&h->pace, clock_mono_us());
    pthread_mutex_unlock(&h->lock);
}

void http_stats(struct http *h, struct http_stats *ret)
{
    pthread_mutex_lock(&h->lock);
    *ret = h->stats;
    ret->slow_downs = h->pace.slow_downs;
    ret->limit = pace_limit(&h->pace, clock_mono_us());
    ret->limit_max = h->pace.max;
    ret->in_flight = h->pace.in_flight;
    ret->waiting = (unsigned)h->queue.count;
    pthread_mutex_unlock(&h->lock);
}
