#ifndef TM_COMMON_STORAGE_CALL_H
#define TM_COMMON_STORAGE_CALL_H
/*
 * One call to an object store over HTTP: signed anew for each attempt, sent again while that may
 * help, and with an error text that names all a support engineer asks for. For the drivers of
 * object stores only (s3/, azblob/).
 *
 *     struct store_call c;
 *     store_call_init(&c, store, "PUT", key);       what the call is about
 *     c.x.url = …; c.x.body = …; c.arg = …;
 *     store_call_run(&c, err)                       0: 2xx, or a status the driver said it wants
 *     store_call_release(&c);
 * or, to have several under way:  store_call_start … store_call_wait | store_call_cancel
 *
 * An attempt that failed is repeated after a wait (common/http/retry.h) on 408, 429, 5xx, lost
 * connections, on an error inside a 200 that says as much, and on a 404 that is not the store's own
 * (a load balancer's, say), which is TM_E_UNAVAILABLE; never on other 4xx. Between
 * store_call_start and store_call_wait only the first attempt is made: the others happen in wait.
 * The deadline of a call counts from its start and covers all attempts; it is the store's and what
 * the bytes to be moved take on a slow line.
 *
 * An attempt that failed and is repeated is told at once to whom the storage's opener named
 * (storage_options.trouble): the call itself may go on for long.
 *
 * `maybe_done` tells after any result that an attempt whose outcome is not known may have taken
 * effect: a "no, it exists already" then may speak of our own object.
 *
 * Threads: a struct store may be used from any thread; a call belongs to one at a time.
 */
#include "common/http/http.h"
#include "common/storage/storage.h"

#define STORE_CODE_MAX       64
#define STORE_SLOWEST_PER_MS 64 /* bytes: a line this slow still gets its parts through */

/* What the store said went wrong, as the driver reads it out of an answer. */
struct store_error {
    char code[STORE_CODE_MAX]; /* "SlowDown", "AuthenticationFailed"; empty = none given */
    char message[160];         /* the store's words; never holds a secret */
    char request_id[96];
};

struct store_call;

/* How one store is spoken to. */
struct store_ops {
    /* Adds the headers of one attempt, the signature too. May block to renew credentials. */
    int (*sign)(struct store_call *c, int64_t now_real_us, struct tm_err *err);
    /* Fills *ret from the answer; a 2xx whose body is an error after all: true. */
    bool (*read_error)(const struct store_call *c, struct store_error *ret);
    /* Whether that error will pass: throttling, internal errors, expired token. On top of what the
     * status says; may act (drop cached credentials), and may set c->spent: that it passes, but not
     * for this call, which has tried it often enough. */
    bool (*passes)(struct store_call *c, const struct store_error *e);
    /* Whether a 404, with what read_error found in it, is the store's own word and not that of what
     * stands before it. A 404 that is not is an outage: nothing is absent because of it. */
    bool (*says_absent)(const struct store_call *c);
    /* Before the first attempt of each start: the URL, if it is known by then, and what a start before
     * left in the driver's struct is forgotten. */
    int (*prepare)(struct store_call *c, struct tm_err *err);
    /* With the result of the last attempt: that result, or what it is to the driver's callers. */
    int (*explain)(struct store_call *c, int result, struct tm_err *err);
};

struct store {
    const struct store_ops *ops;
    void *owner; /* the driver's struct */
    struct http *http;
    char place[400];          /* "https://host:port/bucket": what messages name */
    unsigned deadline_ms;     /* for a whole call */
    unsigned attempts_max;    /* 0 = RETRY_ATTEMPTS_MAX */
    _Atomic int64_t skew_us;  /* the store's clock minus ours, from its last Date header */
    _Atomic uint64_t retries; /* attempts beyond the first */
    _Atomic bool clock_known;
    storage_trouble_fn trouble; /* NULL = nobody is told */
    void *trouble_arg;
};

struct store_call {
    struct http_exchange x;
    struct store *store;
    char name[STORAGE_NAME_MAX + 1]; /* the key, or what else the call is about */
    void *arg;                       /* the driver's, for sign */
    unsigned wanted[3];              /* statuses beside 2xx that are answers, not errors; a 404 only
                                        when it is the store's own */
    struct store_error error;        /* of the last attempt that had one */
    unsigned attempts_max;           /* 0 = the store's */
    unsigned attempt_ms;             /* 0 = all there is; else an attempt that reached the store and
                                        has no answer by then ends the call (x.reached): the caller
                                        will ask for less */
    bool maybe_done;
    bool spent; /* by `passes`: no more attempts, the error is TM_E_UNAVAILABLE and retryable */
    unsigned attempts;
    int64_t start_us;
    int64_t attempt_us; /* mono: the last attempt began */
    bool troubled;      /* an attempt that failed was told */
    int64_t deadline_us;
    int start_result; /* of a first attempt that could not be sent */
    struct tm_err start_err;
};

void store_call_init(struct store_call *c, struct store *store, const char *method,
                     const char *name);
void store_call_release(struct store_call *c);

int store_call_start(struct store_call *c, struct tm_err *err) TM_WUR;
int store_call_wait(struct store_call *c, struct tm_err *err) TM_WUR;
/* The same for a call that others had to be done before. The deadline is there for the store, not for
 * us: what failed while nobody looked after it is tried as long as any other. */
int store_call_wait_late(struct store_call *c, struct tm_err *err) TM_WUR;
void store_call_cancel(struct store_call *c);
int store_call_run(struct store_call *c, struct tm_err *err) TM_WUR;

/* "200 with this status" → *err: code and text as the rules above say. Returns -code. */
int store_call_error(const struct store_call *c, struct tm_err *err);

/* Now by the store's clock: ours and the skew; asks nobody. */
int64_t store_now_us(struct store *store);

/* Percent-encodes for a path ('/' kept) or for a query (upper-case hex, only A-Za-z0-9-_.~ kept). */
int store_append_path(struct buf *out, const char *text, struct tm_err *err) TM_WUR;
int store_append_query(struct buf *out, const char *text, struct tm_err *err) TM_WUR;

#endif
