/*
 * Happy path: sign → send → 2xx. Failures, attempt by attempt: what will pass is waited out and
 * tried again under the call's deadline; the rest is one error that names place, key, status, code,
 * the store's words and its request id.
 */
#include "common/storage/call.h"

#include <assert.h>
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/http/retry.h"

#define STORE_TROUBLE_MAX (TM_ERR_MSG_MAX + 40)

void store_call_init(struct store_call *c, struct store *store, const char *method,
                     const char *name)
{
    *c = (struct store_call){.x = HTTP_EXCHANGE_INIT, .store = store};
    c->x.method = method;
    (void)snprintf(c->name, sizeof(c->name), "%s", name);
}

void store_call_release(struct store_call *c)
{
    http_exchange_release(&c->x);
}

/* ---- the store's clock ---- */

static void note_clock(struct store_call *c)
{
    const char *date = http_answer_header(&c->x, "date");
    time_t seconds = date != NULL ? curl_getdate(date, NULL) : -1;
    if (seconds < 0)
        return;
    c->store->skew_us = (int64_t)seconds * USEC_PER_SEC - clock_real_us();
    c->store->clock_known = true;
}

int64_t store_now_us(struct store *store)
{
    return clock_real_us() + store->skew_us;
}

/* ---- what an answer means ---- */

static bool status_is_wanted(const struct store_call *c)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(c->wanted); n++)
        if (c->wanted[n] != 0 && c->wanted[n] == c->x.status)
            return true;
    return false;
}

static enum tm_err_code code_of(unsigned status)
{
    switch (status) {
    case 400:
        return TM_E_INVALID;
    case 401:
    case 403:
        return TM_E_PERMISSION;
    case 404:
        return TM_E_NOT_FOUND;
    case 409:
    case 412:
        return TM_E_EXISTS;
    case 501:
        return TM_E_UNSUPPORTED;
    case 507:
        return TM_E_NO_SPACE;
    default:
        return status >= 500 || status == 408 || status == 429 ? TM_E_UNAVAILABLE : TM_E_IO;
    }
}

int store_call_error(const struct store_call *c, struct tm_err *err)
{
    const struct store_error *e = &c->error;
    return tm_err_set(err, code_of(c->x.status), "%s/%s: %s: HTTP %u%s%s%s%s%s%s%s",
                      c->store->place, c->name, c->x.method, c->x.status,
                      e->code[0] != '\0' ? " " : "", e->code, e->message[0] != '\0' ? ": " : "",
                      e->message, e->request_id[0] != '\0' ? " (request " : "", e->request_id,
                      e->request_id[0] != '\0' ? ")" : "");
}

/* A 404 that anything on the way may have made up: whether the object is there is not known. */
static int not_the_stores(struct store_call *c, struct tm_err *err)
{
    if (c->error.message[0] == '\0')
        (void)snprintf(c->error.message, sizeof(c->error.message),
                       "this does not come from the store itself");
    c->maybe_done = true;
    (void)store_call_error(c, err);
    err->code = TM_E_UNAVAILABLE;
    err->retryable = true;
    return -TM_E_UNAVAILABLE;
}

/* 0 = good; else *err, whose `retryable` says whether the next attempt may do better. */
static int judge(struct store_call *c, int sent, struct tm_err *err)
{
    struct store *store = c->store;
    c->error = (struct store_error){.code = ""};
    if (sent < 0) {
        if (c->x.reached)
            c->maybe_done = true;
        return tm_err_prefix(err, "%s/%s: %s", store->place, c->name, c->x.method);
    }
    note_clock(c);
    bool good = c->x.status >= 200 && c->x.status < 300;
    bool bad_inside = store->ops->read_error(c, &c->error);
    if (c->x.status == 404 && !store->ops->says_absent(c))
        return not_the_stores(c, err);
    if ((good && !bad_inside) || status_is_wanted(c))
        return 0;
    c->spent = false;
    bool passes = store->ops->passes(c, &c->error);
    if (good || c->x.status >= 500)
        c->maybe_done = true;
    (void)store_call_error(c, err);
    if (good || c->spent)
        err->code = TM_E_UNAVAILABLE;
    err->retryable = passes || retry_status(c->x.status);
    return -(int)err->code;
}

/* ---- attempts ---- */

static int64_t asked_wait_us(const struct store_call *c)
{
    const char *after = http_answer_header(&c->x, "retry-after");
    if (after == NULL || !isdigit((unsigned char)after[0]))
        return 0;
    return (int64_t)strtoul(after, NULL, 10) * USEC_PER_SEC;
}

static int sign(struct store_call *c, struct tm_err *err)
{
    http_reset(&c->x);
    c->attempts++;
    return c->store->ops->sign(c, store_now_us(c->store), err);
}

static int attempt(struct store_call *c, struct tm_err *err)
{
    c->attempt_us = clock_mono_us();
    int64_t left_ms = (c->deadline_us - c->attempt_us) / USEC_PER_MSEC;
    c->x.timeout_ms = (unsigned)TM_MAX(left_ms, 1);
    if (c->attempt_ms != 0)
        c->x.timeout_ms = TM_MIN(c->x.timeout_ms, c->attempt_ms);
    c->x.start_by_us = c->deadline_us;
    int r = sign(c, err);
    if (r == 0)
        http_start(c->store->http, &c->x);
    return r;
}

/* How many attempts there will be when the others take as long as the one that just failed. */
static unsigned attempts_expected(const struct store_call *c, unsigned max, int64_t now_us)
{
    int64_t took_us = TM_MAX(now_us - c->attempt_us, INT64_C(1));
    int64_t left_us = TM_MAX(c->deadline_us - now_us, INT64_C(0));
    int64_t more = (left_us + took_us - 1) / took_us;
    return c->attempts + (unsigned)TM_MIN(more, (int64_t)(max - c->attempts));
}

static void tell_trouble(struct store_call *c, const struct retry *retry, const struct tm_err *why)
{
    char text[STORE_TROUBLE_MAX];
    unsigned max = retry->attempts_max != 0 ? retry->attempts_max : RETRY_ATTEMPTS_MAX;
    if (c->store->trouble == NULL)
        return;
    c->troubled = true;
    (void)snprintf(text, sizeof(text), "%s, attempt %u of %u", why->msg, c->attempts,
                   attempts_expected(c, max, clock_mono_us()));
    c->store->trouble(c->store->trouble_arg, c, c->start_us, text);
}

static void trouble_over(struct store_call *c)
{
    if (c->troubled)
        c->store->trouble(c->store->trouble_arg, c, c->start_us, NULL);
    c->troubled = false;
}

int store_call_start(struct store_call *c, struct tm_err *err)
{
    int r = c->store->ops->prepare(c, err);
    if (r < 0)
        return r;
    int64_t bulk_ms = (int64_t)((c->x.body.len + c->x.into_len) / STORE_SLOWEST_PER_MS);
    c->start_us = clock_mono_us();
    c->deadline_us = c->start_us + (c->store->deadline_ms + bulk_ms) * USEC_PER_MSEC;
    c->attempts = 0;
    c->maybe_done = false;
    c->spent = false;
    c->start_result = attempt(c, &c->start_err);
    return 0;
}

static int all_attempts(struct store_call *c, struct tm_err *err)
{
    int r = c->start_result;
    if (r < 0)
        *err = c->start_err;
    while (r == 0) {
        r = judge(c, http_wait(c->store->http, &c->x, err), err);
        if (r == 0 || !err->retryable || c->spent)
            break;
        if (c->attempt_ms != 0 && r == -TM_E_TIMEOUT && c->x.reached)
            break;
        uint64_t random = 0;
        struct tm_err ignored;
        (void)!random_bytes(&random, sizeof(random), &ignored);
        struct retry retry = {.attempts = c->attempts,
                              .attempts_max =
                                  c->attempts_max != 0 ? c->attempts_max : c->store->attempts_max,
                              .deadline_us = c->deadline_us};
        int64_t wait_us = retry_wait(&retry, asked_wait_us(c), random, clock_mono_us());
        if (wait_us < 0)
            return tm_err_prefix(err, "given up after %u attempts", c->attempts);
        tell_trouble(c, &retry, err);
        struct timespec until = clock_after(CLOCK_MONOTONIC, wait_us);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
            continue;
        c->store->retries++;
        r = attempt(c, err);
    }
    return r;
}

int store_call_wait(struct store_call *c, struct tm_err *err)
{
    int r = all_attempts(c, err);
    trouble_over(c);
    return c->store->ops->explain(c, r, err);
}

/* Whether much of its time has gone by. */
static bool is_late(const struct store_call *c)
{
    return clock_mono_us() > c->deadline_us - (int64_t)c->store->deadline_ms * USEC_PER_MSEC / 2;
}

int store_call_wait_late(struct store_call *c, struct tm_err *err)
{
    bool late = is_late(c);
    int r = store_call_wait(c, err);
    return r < 0 && err->retryable && late ? store_call_run(c, err) : r;
}

void store_call_cancel(struct store_call *c)
{
    if (c->start_result == 0)
        http_cancel(c->store->http, &c->x);
}

int store_call_run(struct store_call *c, struct tm_err *err)
{
    int r = store_call_start(c, err);
    return r == 0 ? store_call_wait(c, err) : r;
}

/* ---- percent-encoding ---- */

static int append_encoded(struct buf *out, const char *text, const char *kept, struct tm_err *err)
{
    int r = 0;
    for (const char *at = text; r == 0 && *at != '\0'; at++) {
        bool plain = isalnum((unsigned char)*at) || strchr(kept, *at) != NULL;
        r = plain ? buf_append(out, at, 1, err)
                  : buf_printf(out, err, "%%%02X", (unsigned)(unsigned char)*at);
    }
    return r;
}

int store_append_path(struct buf *out, const char *text, struct tm_err *err)
{
    return append_encoded(out, text, "-_.~/", err);
}

int store_append_query(struct buf *out, const char *text, struct tm_err *err)
{
    return append_encoded(out, text, "-_.~", err);
}
