#ifndef TM_COMMON_HTTP_HTTP_H
#define TM_COMMON_HTTP_HTTP_H
/*
 * HTTP/1.1 client: one thread moves the bytes of many exchanges at once, over connections that are
 * kept and used again.
 *
 *     TM_CLEANUP(http_freep) struct http *http = NULL;
 *     http_new(&(struct http_options){…}, &http, err);
 *     struct http_exchange x = HTTP_EXCHANGE_INIT;
 *     x.method = "PUT"; x.url = url; x.body = bytes;
 *     http_header(&x, err, "x-amz-date", "%s", date);
 *     http_start(http, &x);                returns at once; the exchange must stay where it is
 *     …
 *     http_wait(http, &x, err);            0: an answer came, whatever its status
 *     x.status, x.answer, http_answer_header(&x, "etag")
 *     http_exchange_release(&x);           http_reset(&x) instead: the next attempt
 *
 * One call is one attempt: retries, and what a status means, are the caller's (common/http/retry.h).
 * How many exchanges are under way at once is held below a limit that follows the server
 * (common/http/pace.h): an answer 429 or 503 halves it, http_slow_down does the same for a server
 * that says so in other words. Exchanges above it wait, first come, first served.
 *
 * Errors of http_wait: TM_E_UNAVAILABLE (no such host, refused, connection lost; retryable),
 * TM_E_TIMEOUT (retryable), TM_E_PERMISSION (certificate not trusted, or for another host),
 * TM_E_LIMIT (an answer longer than it may be), TM_E_CANCELED. They name host and port, never
 * anything of the request. Redirects are answers, not followed.
 *
 * TLS 1.2 or later, certificate and name checked, unless options.insecure. Proxies: options.proxy,
 * else the environment's usual variables (https_proxy, no_proxy).
 *
 * Ownership: what the request points to is borrowed from http_start until http_wait or http_cancel
 * returned. Threads: a struct http may be used from any number of threads, an exchange from one at
 * a time. http_free needs all exchanges waited for or canceled. Do not fork without exec.
 */
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/list.h"

#define HTTP_TIMEOUT_MS         60000
#define HTTP_CONNECT_TIMEOUT_MS 10000
#define HTTP_STALL_MS           20000 /* an exchange that moves no byte for so long is given up */
#define HTTP_PARALLEL_MAX       64
#define HTTP_URL_MAX            8192
#define HTTP_HEADERS_MAX        64 /* of a request, and kept of an answer */
#define HTTP_HEADERS_BYTES_MAX  ((size_t)32 << 10)
#define HTTP_ANSWER_MAX         ((size_t)64 << 10) /* body of an answer that is not 2xx: rest is cut */

struct http;

struct http_options {
    const char *ca_file;         /* in place of the system's certificates; NULL = those */
    const char *proxy;           /* NULL = as the environment says; "" = none */
    bool insecure;               /* certificates are not checked */
    unsigned connect_timeout_ms; /* 0 = HTTP_CONNECT_TIMEOUT_MS */
    unsigned stall_ms;           /* 0 = HTTP_STALL_MS */
    unsigned parallel;           /* exchanges at once, at most; 0 = 16 */
};

int http_new(const struct http_options *options, struct http **ret, struct tm_err *err) TM_WUR;
void http_free(struct http *http);
TM_DEFINE_FREEP(struct http, http_free)

/* "name\0value\0…", names in lower case */
struct http_headers {
    struct buf text;
    size_t count;
};

struct http_exchange {
    /* the request */
    const char *method;
    const char *url;
    struct http_headers headers;
    struct slice body;   /* sent by PUT and POST, with its length */
    unsigned timeout_ms; /* from the moment it is under way; 0 = HTTP_TIMEOUT_MS */
    int64_t start_by_us; /* monotonic: not under way by then, it is given up (TM_E_TIMEOUT,
                            retryable); 0 = it waits as long as it takes */
    /* where the body of a 2xx answer goes: `into_len` bytes at `into` (fewer may come: into_got),
     * or, with into NULL, to `answer`, up to answer_max bytes (0 = HTTP_ANSWER_MAX) */
    void *into;
    size_t into_len;
    size_t answer_max;
    /* the answer */
    unsigned status; /* 0 = none came */
    struct http_headers answer_headers;
    struct buf answer;
    size_t into_got;
    bool reached; /* some of the request may have reached the server, even when no answer came */
    /* internal */
    struct list_link link;
    void *easy;
    void *header_list;
    size_t body_sent;
    int state;
    unsigned stall_ms; /* moving no byte for so long it is given up */
    bool canceled, too_long;
    int result;
    struct tm_err err;
};
#define HTTP_EXCHANGE_INIT ((struct http_exchange){.method = "GET"})

/* Wipes the headers (they hold signatures) and frees. Not while it is started. */
void http_exchange_release(struct http_exchange *x);
/* Headers and answer gone, memory kept: the same request may be built anew. */
void http_reset(struct http_exchange *x);
/* Adds a request header; `name` in lower case. A value with a control character is TM_E_INVALID. */
int http_header(struct http_exchange *x, struct tm_err *err, const char *name, const char *fmt, ...)
    TM_PRINTF(4, 5) TM_WUR;
/* NULL when there is none; valid until the exchange is reset. */
const char *http_request_header(const struct http_exchange *x, const char *name);
const char *http_answer_header(const struct http_exchange *x, const char *name);

void http_start(struct http *http, struct http_exchange *x);
bool http_is_done(struct http *http, struct http_exchange *x);
int http_wait(struct http *http, struct http_exchange *x, struct tm_err *err) TM_WUR;
/* Ends it, if it is started and not done; returns when nothing of it is under way any more. */
void http_cancel(struct http *http, struct http_exchange *x);
/* start and wait */
int http_run(struct http *http, struct http_exchange *x, struct tm_err *err) TM_WUR;

void http_slow_down(struct http *http);

struct http_stats {
    uint64_t exchanges;                  /* ended, with or without an answer */
    uint64_t connections;                /* made: far fewer than exchanges */
    uint64_t slow_downs;                 /* how often the server asked for fewer requests */
    uint64_t sent_bytes, received_bytes; /* bodies */
    unsigned limit;                      /* exchanges that may be under way at once now … */
    unsigned limit_max;                  /* … and when the server does not mind */
    unsigned in_flight, waiting;
};
void http_stats(struct http *http, struct http_stats *ret);

#endif
