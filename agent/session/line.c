/*
 * A connection is a struct conn: its own socket (struct dial), its own mailbox, its own requests.
 * Whatever ends it closes the socket at once and leaves the rest to the reaper, which runs from a
 * timer: so a handler may disconnect while a mail of that very connection is being handled.
 *
 * Happy path: line_connect opens and dials → dialed → hello ↔ challenge, proof ↔ welcome as ordinary
 * requests → connected.
 *
 * Failure modes: dial refused, timed out or not trusted; hello refused; the connection lost; in each
 * case `disconnected` is called once and the connection reaped. A request that cannot be sent or is
 * not answered in time fails alone. A reply that does not decode fails its request.
 */
#include "agent/session/line.h"

#include <nng/nng.h>
#include <string.h>

#include "agent/session/dial.h"
#include "common/clock.h"
#include "common/endpoint.h"
#include "common/hash.h"
#include "common/loop.h"
#include "common/mailbox.h"
#include "common/secret.h"
#include "proto/wire/hello.h"

enum request_state { REQUEST_FREE, REQUEST_SENDING, REQUEST_WAITING, REQUEST_FAILED };

enum line_news { NEWS_REQUEST, NEWS_DIALED, NEWS_GONE };

struct line_mail {
    struct mail mail;
    enum line_news what;
};

struct request {
    struct line_mail mail;
    struct conn *conn;
    enum request_state state;
    uint64_t serial;
    int64_t deadline_us;
    nng_ctx ctx;
    nng_aio *aio;
    struct tm_err err; /* REQUEST_FAILED */
};

struct conn {
    struct list_link link; /* among the reaper's */
    struct line *owner;
    struct mailbox *box;
    struct dial *dial; /* NULL once closed */
    bool closed;       /* ended; only the reaper touches it */
    bool welcomed;
    int dial_result;
    struct line_mail dialed;
    struct line_mail gone;
    struct hello hello;
    struct secret key;
    struct request *requests[LINE_REQUESTS_MAX];
    size_t request_count;
    char url[ENDPOINT_URL_MAX + 1];
};

struct line {
    struct line_config config;
    struct line_handlers handlers;
    void *arg;
    struct loop *loop;
    struct dial_count *dials;
    struct loop_timer *reaper;
    struct loop_timer *dial_timer;
    struct conn *conn; /* NULL = none */
    struct list dead;
    size_t next_url;
    char url[ENDPOINT_URL_MAX + 1];
    bool failed_early; /* line_connect failed on the spot: to be said from the timer */
    struct tm_err early;
};

/* ---- ending ---- */

static void request_free(struct request *q)
{
    if (q->aio) {
        nng_aio_stop(q->aio);
        if ((q->state == REQUEST_WAITING && nng_aio_result(q->aio) == 0) ||
            (q->state == REQUEST_SENDING && nng_aio_result(q->aio) != 0)) {
            nng_msg *left = nng_aio_get_msg(q->aio);
            if (left)
                nng_msg_free(left);
        }
        nng_aio_free(q->aio);
    }
    free(q);
}

static void conn_free(struct conn *c)
{
    dial_release(c->dial);
    for (size_t i = 0; i < c->request_count; i++)
        if (c->requests[i]->aio)
            nng_aio_stop(c->requests[i]->aio);
    mailbox_free(c->box); /* holds mails that live in the requests: before them */
    for (size_t i = 0; i < c->request_count; i++)
        request_free(c->requests[i]);
    hello_clear(&c->hello);
    secret_release(&c->key);
    free(c);
}

static void conn_end(struct line *line)
{
    struct conn *c = TM_TAKE(line->conn);

    if (!c)
        return;
    c->closed = true;
    dial_release(TM_TAKE(c->dial));
    loop_timer_clear(line->dial_timer);
    list_push_back(&line->dead, &c->link);
    loop_timer_set(line->reaper, 0);
}

static void conn_failed(struct conn *c, const struct tm_err *err)
{
    struct line *line = c->owner;
    struct tm_err why = *err;

    conn_end(line);
    line->handlers.disconnected(line->arg, &why);
}

static void on_reaper(void *arg)
{
    struct line *line = arg;
    struct conn *c, *next;

    LIST_FOREACH_SAFE (c, next, &line->dead, link) {
        list_remove(&line->dead, &c->link);
        conn_free(c);
    }
    if (line->failed_early && !line->conn) {
        line->failed_early = false;
        struct tm_err why = line->early;
        line->handlers.disconnected(line->arg, &why);
    }
}

/* ---- requests ---- */

static void on_request_done(void *arg)
{
    struct request *q = arg;

    mailbox_post(q->conn->box, &q->mail.mail);
}

static struct request *request_get(struct conn *c, struct tm_err *err)
{
    int rv;

    for (size_t i = 0; i < c->request_count; i++)
        if (c->requests[i]->state == REQUEST_FREE)
            return c->requests[i];
    if (c->request_count == LINE_REQUESTS_MAX) {
        (void)tm_err_retry(err, TM_E_LIMIT, "more than %d requests in flight", LINE_REQUESTS_MAX);
        return NULL;
    }
    struct request *q = calloc(1, sizeof *q);
    if (!q) {
        (void)tm_err_oom(err);
        return NULL;
    }
    q->conn = c;
    if ((rv = nng_aio_alloc(&q->aio, on_request_done, q)) != 0 ||
        (rv = nng_ctx_open(&q->ctx, dial_socket(c->dial))) != 0) {
        if (q->aio)
            nng_aio_free(q->aio);
        free(q);
        (void)endpoint_nng_error(err, rv, "cannot open a request context");
        return NULL;
    }
    c->requests[c->request_count++] = q;
    return q;
}

static int request_start(struct conn *c, const struct message *m, uint32_t timeout_ms,
                         struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    nng_msg *msg = NULL;
    int r = message_encode(m, MESSAGE_MINOR, &bytes, err);

    if (r < 0)
        return r;
    struct request *q = request_get(c, err);
    if (!q)
        return -(int)err->code;
    if (nng_msg_alloc(&msg, 0) != 0)
        return tm_err_oom(err);
    if (nng_msg_append(msg, bytes.data, bytes.len) != 0) {
        nng_msg_free(msg);
        return tm_err_oom(err);
    }
    q->serial = m->serial;
    q->deadline_us = clock_mono_us() + (int64_t)timeout_ms * USEC_PER_MSEC;
    q->state = REQUEST_SENDING;
    nng_aio_set_timeout(q->aio, (nng_duration)timeout_ms);
    nng_aio_set_msg(q->aio, msg);
    nng_ctx_send(q->ctx, q->aio);
    return 0;
}

/* Says a failure later, from the mailbox: line_send never calls a handler. */
static void fail_later(struct conn *c, uint64_t serial, const struct tm_err *err)
{
    struct tm_err ignored = {0};
    struct request *q = request_get(c, &ignored);

    if (!q)
        return; /* as if the request had been lost: the brain's own deadline finds it */
    q->serial = serial;
    q->err = *err;
    q->state = REQUEST_FAILED;
    mailbox_post(c->box, &q->mail.mail);
}

static void say_hello(struct conn *c, const struct message *m)
{
    struct tm_err err = {0};

    if (request_start(c, m, LINE_HELLO_MS, &err) < 0) {
        (void)tm_err_prefix(&err, "cannot say hello to '%s'", c->url);
        conn_failed(c, &err);
    }
}

static void hello_reply(struct conn *c, const struct message *m)
{
    struct line *line = c->owner;
    struct message out = {0};
    uint8_t mac[HELLO_MAC_LEN];
    struct tm_err err = {0};

    if (c->hello.state == HELLO_CHALLENGE) {
        if (hello_client_challenge(&c->hello, secret_slice(&c->key), m, mac, &out, &err) == 0) {
            out.serial = 2;
            say_hello(c, &out);
            return;
        }
    } else if (hello_client_welcome(&c->hello, secret_slice(&c->key), m, &err) == 0) {
        c->welcomed = true;
        secret_release(&c->key);
        loop_timer_clear(line->dial_timer);
        line->handlers.connected(line->arg, m->welcome.term, m->welcome.start);
        return;
    }
    (void)tm_err_prefix(&err, "hello to '%s'", c->url);
    conn_failed(c, &err);
}

static void request_failed(struct conn *c, uint64_t serial, const struct tm_err *why)
{
    struct line *line = c->owner;
    struct tm_err err = *why;

    if (c->welcomed) {
        line->handlers.failed(line->arg, serial, &err);
        return;
    }
    (void)tm_err_prefix(&err, "hello to '%s'", c->url);
    conn_failed(c, &err);
}

static void request_answered(struct conn *c, uint64_t serial, nng_msg *msg)
{
    struct message m = {0};
    struct tm_err err = {0};
    int r = message_decode(slice_of(nng_msg_body(msg), nng_msg_len(msg)), &m, NULL, &err);

    if (r == 0 && m.type == MESSAGE_desired) /* may bring credentials */
        explicit_bzero(nng_msg_body(msg), nng_msg_len(msg));
    nng_msg_free(msg);
    if (r == 0 && m.serial != serial && m.type != MESSAGE_error) {
        message_release(&m);
        r = tm_err_set(&err, TM_E_INVALID, "the answer belongs to another request");
    }
    if (r < 0) {
        (void)tm_err_prefix(&err, "cannot read the coordinator's answer");
        request_failed(c, serial, &err);
        return;
    }
    m.serial = serial; /* an error about something unreadable has no serial of its own */
    if (c->welcomed)
        c->owner->handlers.reply(c->owner->arg, &m);
    else
        hello_reply(c, &m);
    message_release(&m);
}

static void request_done(struct conn *c, struct request *q)
{
    enum request_state state = q->state;
    int rv = state == REQUEST_FAILED ? 0 : nng_aio_result(q->aio);
    struct tm_err err = {0};

    if (state == REQUEST_SENDING && rv == 0) {
        int64_t left_us = q->deadline_us - clock_mono_us();
        q->state = REQUEST_WAITING;
        nng_aio_set_timeout(q->aio, left_us > 1000 ? (nng_duration)(left_us / 1000) : 1);
        nng_ctx_recv(q->ctx, q->aio);
        return;
    }
    q->state = REQUEST_FREE;
    if (state == REQUEST_FAILED) {
        request_failed(c, q->serial, &q->err);
    } else if (rv == 0) {
        request_answered(c, q->serial, nng_aio_get_msg(q->aio));
    } else {
        if (state == REQUEST_SENDING)
            nng_msg_free(nng_aio_get_msg(q->aio)); /* not sent: still ours */
        (void)endpoint_nng_error(
            &err, rv, state == REQUEST_SENDING ? "cannot send to '%s'" : "no answer from '%s'",
            c->url);
        request_failed(c, q->serial, &err);
    }
}

/* ---- connecting ---- */

static void on_dialed(void *arg, int nng_code)
{
    struct conn *c = arg;

    c->dial_result = nng_code;
    mailbox_post(c->box, &c->dialed.mail);
}

static void on_gone(void *arg)
{
    struct conn *c = arg;

    /* one connection a socket: nng is told not to dial again, so this comes once */
    mailbox_post(c->box, &c->gone.mail);
}

static void dialed(struct conn *c)
{
    struct msg_hello claim = c->hello.claim;
    struct message m = {0};
    struct tm_err err = {0};

    loop_timer_clear(c->owner->dial_timer);
    if (c->dial_result != 0) {
        (void)endpoint_nng_error(&err, c->dial_result, "cannot connect to '%s'", c->url);
        conn_failed(c, &err);
        return;
    }
    hello_client_start(&c->hello, &claim, &m);
    m.serial = 1;
    say_hello(c, &m);
}

static void on_mail(struct mail *m, void *ctx)
{
    struct line_mail *mail = LIST_ENTRY(m, struct line_mail, mail);
    struct conn *c = ctx;
    struct tm_err err = {0};

    if (c->closed)
        return;
    switch (mail->what) {
    case NEWS_REQUEST:
        request_done(c, LIST_ENTRY(mail, struct request, mail));
        break;
    case NEWS_DIALED:
        dialed(c);
        break;
    case NEWS_GONE:
        (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "the connection to '%s' was closed", c->url);
        conn_failed(c, &err);
        break;
    }
}

static void on_dial_timer(void *arg)
{
    struct line *line = arg;
    struct tm_err err = {0};

    if (!line->conn)
        return;
    (void)tm_err_retry(&err, TM_E_TIMEOUT, "cannot connect to '%s' within %d s", line->conn->url,
                       LINE_DIAL_MS / 1000);
    conn_failed(line->conn, &err);
}

static int conn_open(struct conn *c, struct tm_err *err)
{
    static const struct dial_events events = {.dialed = on_dialed, .gone = on_gone};
    const struct line_config *config = &c->owner->config;
    const struct dial_spec spec = {
        .url = c->url,
        .ca_file = config->ca_file,
        .cert_key_file = config->cert_key_file,
        .server_name = config->server_name,
        .max_message_bytes = MESSAGE_MAX_BYTES,
        .count = c->owner->dials,
    };
    int r = dial_open(&spec, &events, c, &c->dial, err);

    return r < 0 ? r : dial_start(c->dial, err);
}

static int conn_prepare(struct conn *c, struct tm_err *err)
{
    const struct line_config *config = &c->owner->config;
    struct msg_hello *claim = &c->hello.claim;
    int r;

    (void)snprintf(claim->cluster, sizeof claim->cluster, "%s", config->cluster);
    (void)snprintf(claim->node, sizeof claim->node, "%s", config->node);
    (void)snprintf(claim->boot, sizeof claim->boot, "%s", config->boot);
    if ((r = random_bytes(claim->nonce, sizeof claim->nonce, err)) < 0)
        return r;
    if (config->key_file) {
        if ((r = secret_load(config->key_file, &c->key, err)) < 0)
            return tm_err_prefix(err, "key_file");
        if (c->key.len < HELLO_KEY_MIN || c->key.len > HELLO_KEY_MAX)
            return tm_err_set(err, TM_E_INVALID, "key_file '%s' must hold %d to %d bytes",
                              config->key_file, HELLO_KEY_MIN, HELLO_KEY_MAX);
    }
    if ((r = mailbox_new(c->owner->loop, on_mail, c, &c->box, err)) < 0)
        return r;
    return conn_open(c, err);
}

void line_connect(struct line *line, uint64_t seen_term, uint64_t seen_start,
                  uint64_t seen_revision)
{
    struct tm_err err = {0};
    struct conn *c = calloc(1, sizeof *c);
    int r;

    conn_end(line);
    (void)snprintf(line->url, sizeof line->url, "%s", line->config.urls[line->next_url]);
    line->next_url = (line->next_url + 1) % line->config.url_count;
    if (!c) {
        r = tm_err_oom(&err);
    } else {
        c->owner = line;
        c->dialed.what = NEWS_DIALED;
        c->gone.what = NEWS_GONE;
        (void)snprintf(c->url, sizeof c->url, "%s", line->url);
        line->conn = c;
        c->hello.claim.seen_term = seen_term;
        c->hello.claim.seen_start = seen_start;
        c->hello.claim.seen_revision = seen_revision;
        r = conn_prepare(c, &err);
    }
    if (r == 0) {
        loop_timer_set(line->dial_timer, clock_mono_us() + LINE_DIAL_MS * USEC_PER_MSEC);
        return;
    }
    conn_end(line);
    line->failed_early = true;
    line->early = err;
    loop_timer_set(line->reaper, 0);
}

void line_disconnect(struct line *line)
{
    line->failed_early = false;
    conn_end(line);
}

void line_send(struct line *line, const struct message *message, uint32_t timeout_ms)
{
    struct conn *c = line->conn;
    struct tm_err err = {0};

    if (!c || !c->welcomed)
        return; /* `disconnected` is on its way and voids everything */
    if (request_start(c, message, timeout_ms, &err) < 0)
        fail_later(c, message->serial, &err);
}

bool line_idle(const struct line *line)
{
    return dial_count_pending(line->dials) == 0;
}

const char *line_url(const struct line *line)
{
    return line->url;
}

/* ---- life ---- */

int line_new(struct loop *loop, const struct line_config *config,
             const struct line_handlers *handlers, void *arg, struct line **ret, struct tm_err *err)
{
    TM_CLEANUP(line_freep) struct line *line = calloc(1, sizeof *line);
    int r;

    if (!line)
        return tm_err_oom(err);
    line->config = *config;
    line->handlers = *handlers;
    line->arg = arg;
    line->loop = loop;
    list_init(&line->dead);
    if ((r = dial_count_new(&line->dials, err)) < 0 ||
        (r = loop_timer_new(loop, on_reaper, line, &line->reaper, err)) < 0 ||
        (r = loop_timer_new(loop, on_dial_timer, line, &line->dial_timer, err)) < 0)
        return r;
    *ret = TM_TAKE(line);
    return 0;
}

void line_free(struct line *line)
{
    struct conn *c, *next;

    if (!line)
        return;
    if (line->reaper && line->dial_timer)
        conn_end(line);
    dial_count_free(line->dials);
    LIST_FOREACH_SAFE (c, next, &line->dead, link) {
        list_remove(&line->dead, &c->link);
        conn_free(c);
    }
    loop_timer_free(line->reaper);
    loop_timer_free(line->dial_timer);
    free(line);
}
