/*
 * Connections, identities, and what may pass.
 *
 * Happy path: opened → hello (claim checked, key of that node loaded) → challenge → proof → `up` →
 * the brain's welcome → every further message is handed on with the conn it came by. Nothing in a
 * message names its sender, so a node cannot speak for another.
 *
 * Failure modes: no decoding → error reply with serial 0 or the one that could be read; wrong order
 * → error reply; wrong proof → error reply, the connection starts over at hello; unknown node off
 * loopback → error reply that says which key file is missing. None of these closes the connection;
 * only time (GATE_HELLO_US), too many connections, and the brain do.
 */
#include "coordinator/rpc/gate.h"

#include <string.h>

#include "common/hash.h"
#include "common/idmap.h"
#include "common/secret.h"

#define GATE_SPARE_CONTEXTS 64
#define GATE_ASKED_AT_ONCE                                                                         \
    3 /* heartbeat, want_ranges, ranges_done; a lead has a plan, too, while there is nothing to want */
#define GATE_NOTES_A_SECOND 5

struct conn {
    uint64_t id;
    uint32_t pipe;
    struct rpc_peer peer;
    int64_t opened_us;
    int64_t close_at_us; /* 0 = not to be closed */
    struct hello hello;
    char who[2 * WIRE_NAME_MAX + 2]; /* "cluster/node" as last claimed, for the log only */
    struct secret key;
    bool announced;     /* `up` was called */
    uint64_t proof_ctx; /* to be answered by welcome or refuse; 0 = none */
    uint64_t proof_serial;
    uint8_t minor;
};

struct gate {
    struct rpc_server *server;
    struct gate_handlers handlers;
    void *arg;
    char *keys_dir;
    size_t max_conns;
    struct conn **conns; /* in order of opening */
    struct idmap pipes;  /* the same, by pipe */
    struct idmap ids;    /* and by id */
    size_t count;
    size_t cap;
    uint64_t last_id;
    unsigned notes_left;
    uint64_t noise; /* notes left out since the last tick */
};

/* ---- connections ---- */

static void conn_free(struct conn *c)
{
    hello_clear(&c->hello);
    secret_release(&c->key);
    free(c);
}

static struct conn *by_pipe(const struct gate *gate, uint32_t pipe)
{
    return idmap_get(&gate->pipes, pipe);
}

static struct conn *by_id(const struct gate *gate, uint64_t id)
{
    return idmap_get(&gate->ids, id);
}

static void note(struct gate *gate, enum gate_event event, const struct conn *c, const char *text)
{
    char line[TM_ERR_MSG_MAX + 256];

    if (gate->notes_left == 0) {
        gate->noise++;
        return;
    }
    gate->notes_left--;
    if (c && c->who[0])
        (void)snprintf(line, sizeof line, "%s (%s): %s", c->peer.address, c->who, text);
    else
        (void)snprintf(line, sizeof line, "%s: %s", c ? c->peer.address : "?", text);
    gate->handlers.note(gate->arg, event, line);
}

static void on_opened(void *arg, uint32_t pipe, const struct rpc_peer *peer)
{
    struct gate *gate = arg;
    struct conn *c = NULL;
    struct tm_err err = {0};

    if (gate->count < gate->max_conns && gate->count < gate->cap)
        c = calloc(1, sizeof *c);
    if (!c) {
        rpc_server_drop(gate->server, pipe);
        note(gate, GATE_REFUSED, NULL, "more connections than max_agents allows");
        return;
    }
    c->id = ++gate->last_id;
    c->pipe = pipe;
    if (idmap_put(&gate->pipes, c->pipe, c, &err) < 0 ||
        idmap_put(&gate->ids, c->id, c, &err) < 0) {
        (void)idmap_remove(&gate->pipes, c->pipe);
        free(c);
        rpc_server_drop(gate->server, pipe);
        note(gate, GATE_REFUSED, NULL, err.msg);
        return;
    }
    c->peer = *peer;
    c->opened_us = clock_mono_us();
    gate->conns[gate->count++] = c;
}

static void on_closed(void *arg, uint32_t pipe)
{
    struct gate *gate = arg;
    struct conn *c = idmap_remove(&gate->pipes, pipe);

    if (!c)
        return;
    (void)idmap_remove(&gate->ids, c->id);
    for (size_t i = 0; i < gate->count; i++) {
        if (gate->conns[i] != c)
            continue;
        memmove(&gate->conns[i], &gate->conns[i + 1],
                (gate->count - i - 1) * sizeof(struct conn *));
        break;
    }
    gate->count--;
    if (c->announced)
        gate->handlers.gone(gate->arg, c->id);
    conn_free(c);
}

/* ---- answers ---- */

static void send_message(struct gate *gate, uint64_t ctx, uint8_t minor, const struct message *m)
{
    TM_CLEANUP(buf_release) struct buf out = {.wipe = m->type == MESSAGE_desired};
    struct tm_err err = {0};

    if (message_encode(m, minor, &out, &err) < 0) {
        struct message plain = {.type = MESSAGE_error, .serial = m->serial, .term = m->term};
        (void)tm_err_prefix(&err, "cannot answer");
        plain.error = msg_error_of(&err, NULL);
        buf_reset(&out);
        if (message_encode(&plain, minor, &out, &err) < 0)
            buf_reset(
                &out); /* out of memory: an empty answer, which the agent refuses and repeats */
    }
    rpc_server_reply(gate->server, ctx, buf_slice(&out));
}

static void send_error(struct gate *gate, const struct conn *c, uint64_t ctx, uint64_t serial,
                       const struct tm_err *why)
{
    struct message m = {.type = MESSAGE_error, .minor = MESSAGE_MINOR, .serial = serial};

    m.error = msg_error_of(why, NULL);
    send_message(gate, ctx, c->minor, &m);
}

void gate_reply(struct gate *gate, uint64_t conn, uint64_t ctx, const struct message *message)
{
    struct conn *c = by_id(gate, conn);

    if (c)
        send_message(gate, ctx, c->minor, message);
}

void gate_welcome(struct gate *gate, uint64_t conn, uint64_t ctx, uint64_t term, uint64_t start)
{
    struct conn *c = by_id(gate, conn);
    uint8_t mac[HELLO_MAC_LEN];
    struct message m = {0};
    struct tm_err err = {0};

    if (!c || c->proof_ctx != ctx)
        return;
    c->proof_ctx = 0;
    if (hello_server_welcome(&c->hello, secret_slice(&c->key), term, start, mac, &m, &err) < 0) {
        send_error(gate, c, ctx, c->proof_serial, &err);
        return;
    }
    m.serial = c->proof_serial;
    m.term = term;
    secret_release(&c->key);
    send_message(gate, ctx, c->minor, &m);
}

void gate_refuse(struct gate *gate, uint64_t conn, uint64_t ctx, const struct tm_err *why)
{
    struct conn *c = by_id(gate, conn);

    if (!c || c->proof_ctx != ctx)
        return;
    c->proof_ctx = 0;
    c->close_at_us = clock_mono_us() + GATE_REFUSE_US;
    note(gate, GATE_REFUSED, c, why->msg);
    send_error(gate, c, ctx, c->proof_serial, why);
}

bool gate_is_private(const struct gate *gate, uint64_t conn)
{
    const struct conn *c = by_id(gate, conn);

    return c && (c->peer.tls || c->peer.loopback);
}

void gate_close(struct gate *gate, uint64_t conn)
{
    const struct conn *c = by_id(gate, conn);

    if (c)
        rpc_server_drop(gate->server, c->pipe);
}

/* ---- hello ---- */

/* No key file is fine on loopback only; a key file that cannot be used is never fine. */
static int load_key(const struct gate *gate, struct conn *c, struct tm_err *err)
{
    const struct msg_hello *claim = &c->hello.claim;
    char path[4096];
    struct tm_err why = {0};

    secret_release(&c->key);
    if (gate->keys_dir) {
        int len = snprintf(path, sizeof path, "%s/%s/%s.key", gate->keys_dir, claim->cluster,
                           claim->node);
        if (len < 0 || len >= (int)sizeof path)
            return tm_err_set(err, TM_E_INVALID, "keys_dir is too long");
        if (secret_load(path, &c->key, &why) == 0) {
            if (c->key.len >= HELLO_KEY_MIN && c->key.len <= HELLO_KEY_MAX)
                return 0;
            secret_release(&c->key);
            return tm_err_set(err, TM_E_PERMISSION,
                              "the coordinator's key of node '%s' must have %d to %d bytes",
                              claim->node, HELLO_KEY_MIN, HELLO_KEY_MAX);
        }
        if (why.code != TM_E_NOT_FOUND)
            return tm_err_set(err, TM_E_PERMISSION,
                              "the coordinator cannot use the key of node '%s': %s", claim->node,
                              why.msg);
    }
    if (c->peer.loopback)
        return 0;
    return tm_err_set(err, TM_E_PERMISSION,
                      "the coordinator has no key for node '%s' of cluster '%s': put it into "
                      "keys_dir as %s/%s.key",
                      claim->node, claim->cluster, claim->cluster, claim->node);
}

static int handle_hello(struct gate *gate, struct conn *c, uint64_t ctx, const struct message *in,
                        struct tm_err *err)
{
    uint8_t nonce[HELLO_NONCE_LEN];
    struct message out = {0};
    int r;

    if (c->announced)
        return tm_err_set(err, TM_E_REFUSED, "hello was said already on this connection");
    if ((r = random_bytes(nonce, sizeof nonce, err)) < 0 ||
        (r = hello_server_hello(&c->hello, in, nonce, &out, err)) < 0)
        return r;
    (void)snprintf(c->who, sizeof c->who, "%s/%s", c->hello.claim.cluster, c->hello.claim.node);
    if ((r = load_key(gate, c, err)) < 0) {
        note(gate, GATE_REFUSED, c, err->msg);
        hello_clear(&c->hello);
        return r;
    }
    uint32_t ours = MESSAGE_MINOR;
    c->minor = (uint8_t)(in->minor < ours ? in->minor : ours);
    out.serial = in->serial;
    send_message(gate, ctx, c->minor, &out);
    return 0;
}

static int handle_proof(struct gate *gate, struct conn *c, uint64_t ctx, const struct message *in,
                        struct tm_err *err)
{
    int r;

    if (c->announced)
        return tm_err_set(err, TM_E_REFUSED, "hello was said already on this connection");
    r = hello_server_proof(&c->hello, secret_slice(&c->key), in, err);
    if (r < 0) {
        note(gate, GATE_REFUSED, c, err->msg);
        secret_release(&c->key);
        return r;
    }
    c->announced = true;
    c->proof_ctx = ctx;
    c->proof_serial = in->serial;
    gate->handlers.up(gate->arg, c->id, ctx, &c->hello.claim);
    return 0;
}

/* ---- requests ---- */

static bool is_request(enum message_type type)
{
    switch (type) {
    case MESSAGE_heartbeat:
    case MESSAGE_poll:
    case MESSAGE_want_ranges:
    case MESSAGE_ranges_done:
    case MESSAGE_plan_ranges:
    case MESSAGE_want_results:
        return true;
    default:
        return false;
    }
}

static int handle(struct gate *gate, struct conn *c, uint64_t ctx, const struct message *in,
                  struct tm_err *err)
{
    if (in->type == MESSAGE_hello)
        return handle_hello(gate, c, ctx, in, err);
    if (in->type == MESSAGE_proof)
        return handle_proof(gate, c, ctx, in, err);
    if (!is_request(in->type))
        return tm_err_set(err, TM_E_INVALID, "%s is not a request", message_name(in->type));
    if (c->hello.state != HELLO_DONE)
        return tm_err_set(err, TM_E_PERMISSION, "%s before hello", message_name(in->type));
    gate->handlers.request(gate->arg, c->id, ctx, in);
    return 0;
}

static void on_request(void *arg, uint64_t ctx, uint32_t pipe, struct slice bytes)
{
    struct gate *gate = arg;
    struct conn *c = by_pipe(gate, pipe);
    struct message in = {0};
    struct tm_err err = {0};
    uint64_t serial = 0;

    if (!c) { /* refused when it was opened; nothing it says counts */
        rpc_server_reply(gate->server, ctx, SLICE_EMPTY);
        return;
    }
    if (message_decode(bytes, &in, &serial, &err) < 0) {
        note(gate, GATE_NOISE, c, err.msg);
        send_error(gate, c, ctx, serial, &err);
        return;
    }
    if (handle(gate, c, ctx, &in, &err) < 0)
        send_error(gate, c, ctx, in.serial, &err);
    message_release(&in);
}

/* ---- life ---- */

static const struct rpc_handlers server_handlers = {
    .opened = on_opened,
    .request = on_request,
    .closed = on_closed,
};

int gate_new(struct loop *loop, const struct gate_config *config,
             const struct gate_handlers *handlers, void *arg, struct gate **ret, struct tm_err *err)
{
    TM_CLEANUP(gate_freep) struct gate *gate = calloc(1, sizeof *gate);
    struct rpc_server_config server_config = config->server;
    int r;

    if (!gate)
        return tm_err_oom(err);
    gate->handlers = *handlers;
    gate->arg = arg;
    gate->notes_left = GATE_NOTES_A_SECOND;
    /* a reconnecting agent overlaps with its dead connection; strangers get the rest */
    gate->max_conns = 2 * (size_t)config->max_agents + GATE_SPARE_CONTEXTS;
    gate->cap = gate->max_conns;
    gate->conns = calloc(gate->cap, sizeof(struct conn *));
    if (!gate->conns || (config->keys_dir && !(gate->keys_dir = strdup(config->keys_dir))))
        return tm_err_oom(err);
    /* all that every agent may ask at once: a poll that parks, and GATE_ASKED_AT_ONCE more. With
     * fewer, requests wait in nng for a context to go through two of its threads, however little
     * there is to do. They are made as they are needed. */
    server_config.max_contexts =
        (1 + GATE_ASKED_AT_ONCE) * config->max_agents + GATE_SPARE_CONTEXTS;
    server_config.max_message_bytes = MESSAGE_MAX_BYTES;
    if ((r = rpc_server_new(loop, &server_config, &server_handlers, gate, &gate->server, err)) < 0)
        return r;
    *ret = TM_TAKE(gate);
    return 0;
}

int gate_start(struct gate *gate, struct tm_err *err)
{
    return rpc_server_start(gate->server, err);
}

uint16_t gate_port(const struct gate *gate)
{
    return rpc_server_port(gate->server);
}

size_t gate_connection_count(const struct gate *gate)
{
    return gate->count;
}

void gate_tick(struct gate *gate, int64_t now_mono_us)
{
    char line[96];

    for (size_t i = 0; i < gate->count; i++) {
        const struct conn *c = gate->conns[i];
        bool late = !c->announced && now_mono_us - c->opened_us > GATE_HELLO_US;
        if (late || (c->close_at_us && now_mono_us >= c->close_at_us))
            rpc_server_drop(gate->server, c->pipe); /* `closed` takes it off the list */
    }
    gate->notes_left = GATE_NOTES_A_SECOND;
    if (gate->noise > 0) {
        (void)snprintf(line, sizeof line, "%llu more refused messages or connections",
                       (unsigned long long)gate->noise);
        gate->noise = 0;
        gate->handlers.note(gate->arg, GATE_NOISE, line);
    }
}

void gate_stop(struct gate *gate)
{
    rpc_server_stop(gate->server);
}

void gate_free(struct gate *gate)
{
    if (!gate)
        return;
    rpc_server_free(gate->server);
    for (size_t i = 0; i < gate->count; i++)
        conn_free(gate->conns[i]);
    free(gate->conns);
    idmap_release(&gate->pipes);
    idmap_release(&gate->ids);
    free(gate->keys_dir);
    free(gate);
}
