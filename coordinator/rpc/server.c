/*
 * The REP socket of the coordinator.
 *
 * Happy path: each slot is one nng context with one aio and goes RECEIVING → OPEN → SENDING →
 * RECEIVING. nng's threads only post the slot's own mail (one operation at a time, so one mail is
 * enough); the loop takes it from there. Pipe events come the same way, and ADD_PRE is posted
 * before nng can hand out any message of that pipe, so `opened` always comes first.
 *
 * Failure modes: a message above the bound never arrives (nng closes that pipe); a reply to a dead
 * pipe is dropped by nng; a peer that does not read its replies blocks only its slot, until
 * RPC_SEND_TIMEOUT_MS. No memory in a pipe event: the new pipe is closed at once.
 */
#include "coordinator/rpc/server.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/supplemental/tls/tls.h>
#include <string.h>

#include "common/endpoint.h"
#include "common/mailbox.h"

#define RPC_SEND_TIMEOUT_MS 10000
#define RPC_FRAMING_BYTES   64 /* what nng puts around a message */
#define RPC_SPARE_CONTEXTS  16 /* grown before the last one is taken */

enum slot_state { SLOT_IDLE, SLOT_RECEIVING, SLOT_OPEN, SLOT_SENDING };

/* One mailbox for both kinds, so that `opened` is handled before the pipe's first request. */
struct rpc_mail {
    struct mail mail;
    bool from_pipe; /* else from a slot */
};

struct rpc_slot {
    struct rpc_mail mail; /* posted by the aio's callback */
    struct rpc_server *server;
    uint32_t index;
    uint32_t generation; /* of the request in hand; part of its id */
    uint32_t pipe;       /* it came by */
    enum slot_state state;
    nng_ctx ctx;
    nng_aio *aio;
};

struct pipe_mail {
    struct rpc_mail mail;
    bool added;
    uint32_t pipe;
    struct rpc_peer peer;
};

struct rpc_server {
    struct rpc_server_config config; /* strings are copies */
    struct rpc_handlers handlers;
    void *arg;
    nng_socket socket;
    nng_listener listener;
    bool socket_open;
    bool stopped;
    uint16_t port;
    struct mailbox *box;
    struct rpc_slot **slots;
    size_t slot_count;
    size_t receiving;
    size_t open;
};

/* ---- nng's threads ---- */

static void on_slot_done(void *arg)
{
    struct rpc_slot *slot = arg;

    mailbox_post(slot->server->box, &slot->mail.mail);
}

static void discard_pipe_mail(struct mail *m)
{
    free(LIST_ENTRY(m, struct pipe_mail, mail.mail));
}

static void fill_peer(nng_pipe pipe, struct rpc_peer *peer)
{
    nng_sockaddr addr;
    bool verified = false;
    char host[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;

    if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &addr) == 0) {
        if (addr.s_family == NNG_AF_INET) {
            (void)inet_ntop(AF_INET, &addr.s_in.sa_addr, host, sizeof host);
            port = ntohs(addr.s_in.sa_port);
            peer->loopback = (ntohl(addr.s_in.sa_addr) >> 24) == 127;
        } else if (addr.s_family == NNG_AF_INET6) {
            struct in6_addr v6;
            memcpy(&v6, addr.s_in6.sa_addr, sizeof v6);
            (void)inet_ntop(AF_INET6, &v6, host, sizeof host);
            port = ntohs(addr.s_in6.sa_port);
            peer->loopback =
                IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
        }
    }
    (void)snprintf(peer->address, sizeof peer->address, "%s:%u", host, port);
    if (nng_pipe_get_bool(pipe, NNG_OPT_TLS_VERIFIED, &verified) == 0)
        peer->tls = verified;
}

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct rpc_server *server = arg;
    struct pipe_mail *m = calloc(1, sizeof *m);

    if (!m) {
        /* without memory for the news there must be no pipe to have news of */
        if (event == NNG_PIPE_EV_ADD_PRE)
            (void)nng_pipe_close(pipe);
        return;
    }
    m->mail = (struct rpc_mail){.mail.discard = discard_pipe_mail, .from_pipe = true};
    m->added = event == NNG_PIPE_EV_ADD_PRE;
    m->pipe = (uint32_t)nng_pipe_id(pipe);
    if (m->added)
        fill_peer(pipe, &m->peer);
    mailbox_post(server->box, &m->mail.mail);
}

/* ---- the loop's side ---- */

static void slot_receive(struct rpc_slot *slot)
{
    slot->state = SLOT_RECEIVING;
    slot->server->receiving++;
    nng_aio_set_timeout(slot->aio,
                        NNG_DURATION_INFINITE); /* a listener waits for as long as it takes */
    nng_ctx_recv(slot->ctx, slot->aio);
}

static void slot_free(struct rpc_slot *slot)
{
    if (!slot)
        return;
    if (slot->aio)
        nng_aio_free(slot->aio);
    free(slot);
}

static int add_slot(struct rpc_server *server, struct tm_err *err)
{
    struct rpc_slot *slot = calloc(1, sizeof *slot);
    int rv;

    if (!slot)
        return tm_err_oom(err);
    struct rpc_slot **grown =
        realloc(server->slots, (server->slot_count + 1) * sizeof(struct rpc_slot *));
    if (!grown) {
        free(slot);
        return tm_err_oom(err);
    }
    server->slots = grown;
    slot->server = server;
    slot->index = (uint32_t)server->slot_count;
    if ((rv = nng_aio_alloc(&slot->aio, on_slot_done, slot)) != 0 ||
        (rv = nng_ctx_open(&slot->ctx, server->socket)) != 0) {
        slot_free(slot);
        return endpoint_nng_error(err, rv, "cannot open a request context");
    }
    server->slots[server->slot_count++] = slot;
    slot_receive(slot);
    return 0;
}

static void grow(struct rpc_server *server)
{
    struct tm_err ignored = {0};

    /* without memory the requests simply wait longer */
    while (server->receiving < RPC_SPARE_CONTEXTS &&
           server->slot_count < server->config.max_contexts)
        if (add_slot(server, &ignored) < 0)
            break;
}

static void slot_received(struct rpc_slot *slot)
{
    struct rpc_server *server = slot->server;

    server->receiving--;
    if (nng_aio_result(slot->aio) != 0) {
        slot_receive(slot);
        return;
    }
    nng_msg *msg = nng_aio_get_msg(slot->aio);
    uint64_t id = ((uint64_t)(slot->index + 1) << 32) | ++slot->generation;
    slot->pipe = (uint32_t)nng_pipe_id(nng_msg_get_pipe(msg));
    slot->state = SLOT_OPEN;
    server->open++;
    grow(server);
    server->handlers.request(server->arg, id, slot->pipe,
                             slice_of(nng_msg_body(msg), nng_msg_len(msg)));
    nng_msg_free(msg);
}

static void slot_done(struct rpc_slot *slot)
{
    if (slot->state == SLOT_RECEIVING) {
        slot_received(slot);
        return;
    }
    if (nng_aio_result(slot->aio) != 0)
        nng_msg_free(nng_aio_get_msg(slot->aio)); /* not sent: still ours */
    slot_receive(slot);
}

/* Receiving again makes nng forget the request that was not answered. */
static void give_up_requests(struct rpc_server *server, uint32_t pipe)
{
    for (size_t i = 0; i < server->slot_count; i++) {
        struct rpc_slot *slot = server->slots[i];
        if (slot->state != SLOT_OPEN || slot->pipe != pipe)
            continue;
        server->open--;
        slot_receive(slot);
    }
}

static void on_mail(struct mail *m, void *ctx)
{
    struct rpc_mail *mail = LIST_ENTRY(m, struct rpc_mail, mail);
    struct rpc_server *server = ctx;

    if (!mail->from_pipe) {
        if (!server->stopped)
            slot_done(LIST_ENTRY(mail, struct rpc_slot, mail));
        return;
    }
    struct pipe_mail *pm = LIST_ENTRY(mail, struct pipe_mail, mail);
    if (!server->stopped) {
        if (pm->added) {
            server->handlers.opened(server->arg, pm->pipe, &pm->peer);
        } else {
            server->handlers.closed(server->arg, pm->pipe);
            give_up_requests(server, pm->pipe);
        }
    }
    free(pm);
}

static struct rpc_slot *find_open(struct rpc_server *server, uint64_t id)
{
    uint64_t index = (id >> 32) - 1;

    if (id >> 32 == 0 || index >= server->slot_count)
        return NULL;
    struct rpc_slot *slot = server->slots[index];
    if (slot->state != SLOT_OPEN || slot->generation != (uint32_t)id)
        return NULL;
    return slot;
}

void rpc_server_reply(struct rpc_server *server, uint64_t id, struct slice message)
{
    struct rpc_slot *slot = server->stopped ? NULL : find_open(server, id);
    nng_msg *msg = NULL;

    if (!slot)
        return;
    server->open--;
    if (nng_msg_alloc(&msg, 0) != 0 || nng_msg_append(msg, message.data, message.len) != 0) {
        /* receiving again gives the request up; the peer's own timeout tells it */
        if (msg)
            nng_msg_free(msg);
        slot_receive(slot);
        return;
    }
    slot->state = SLOT_SENDING;
    nng_aio_set_timeout(slot->aio, RPC_SEND_TIMEOUT_MS);
    nng_aio_set_msg(slot->aio, msg);
    nng_ctx_send(slot->ctx, slot->aio);
}

void rpc_server_drop(struct rpc_server *server, uint32_t pipe)
{
    if (!server->stopped)
        (void)nng_pipe_close((nng_pipe){.id = pipe});
}

uint16_t rpc_server_port(const struct rpc_server *server)
{
    return server->port;
}

/* ---- life ---- */

int rpc_server_check(const struct rpc_server_config *config, struct tm_err *err)
{
    struct endpoint e;
    int r = endpoint_parse(config->url, &e, err);

    if (r < 0)
        return r;
    if (e.tls && (!config->ca_file || !config->cert_key_file))
        return tm_err_set(err, TM_E_INVALID, "'%s' needs tls.ca and tls.cert", config->url);
    if (!e.tls && !e.loopback && !config->insecure)
        return tm_err_set(err, TM_E_REFUSED,
                          "plain '%s' is not loopback: use tls+tcp://, or say insecure: true",
                          config->url);
    return 0;
}

static char *copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

int rpc_server_new(struct loop *loop, const struct rpc_server_config *config,
                   const struct rpc_handlers *handlers, void *arg, struct rpc_server **ret,
                   struct tm_err *err)
{
    int r = rpc_server_check(config, err);

    if (r < 0)
        return r;
    TM_CLEANUP(rpc_server_freep) struct rpc_server *server = calloc(1, sizeof *server);
    if (!server)
        return tm_err_oom(err);
    server->config = *config;
    server->config.url = copy_text(config->url);
    server->config.ca_file = copy_text(config->ca_file);
    server->config.cert_key_file = copy_text(config->cert_key_file);
    if (!server->config.url || (config->ca_file && !server->config.ca_file) ||
        (config->cert_key_file && !server->config.cert_key_file))
        return tm_err_oom(err);
    if (server->config.max_contexts < RPC_CONTEXTS_MIN)
        server->config.max_contexts = RPC_CONTEXTS_MIN;
    if (server->config.max_contexts > RPC_CONTEXTS_MAX)
        server->config.max_contexts = RPC_CONTEXTS_MAX;
    server->handlers = *handlers;
    server->arg = arg;
    if ((r = mailbox_new(loop, on_mail, server, &server->box, err)) < 0)
        return r;
    *ret = TM_TAKE(server);
    return 0;
}

static int set_tls(struct rpc_server *server, struct tm_err *err)
{
    nng_tls_config *tls = NULL;
    int rv, r = 0;

    if ((rv = nng_tls_config_alloc(&tls, NNG_TLS_MODE_SERVER)) != 0)
        return endpoint_nng_error(err, rv, "cannot set up TLS");
    if ((rv = nng_tls_config_ca_file(tls, server->config.ca_file)) != 0)
        r = endpoint_nng_error(err, rv, "cannot use tls.ca '%s'", server->config.ca_file);
    else if ((rv = nng_tls_config_cert_key_file(tls, server->config.cert_key_file, NULL)) != 0)
        r = endpoint_nng_error(err, rv,
                               "cannot use tls.cert '%s' (certificate and key, PEM, one file)",
                               server->config.cert_key_file);
    else if ((rv = nng_tls_config_auth_mode(tls, NNG_TLS_AUTH_MODE_REQUIRED)) != 0 ||
             (rv = nng_listener_set_ptr(server->listener, NNG_OPT_TLS_CONFIG, tls)) != 0)
        r = endpoint_nng_error(err, rv, "cannot set up TLS");
    /* the listener has its own reference; keeping ours would leave the settings changeable */
    nng_tls_config_free(tls);
    return r;
}

int rpc_server_start(struct rpc_server *server, struct tm_err *err)
{
    struct endpoint e;
    int rv, r, port = 0;

    if ((r = endpoint_parse(server->config.url, &e, err)) < 0)
        return r;
    if ((rv = nng_rep0_open(&server->socket)) != 0)
        return endpoint_nng_error(err, rv, "cannot open a socket");
    server->socket_open = true;
    if ((rv = nng_socket_set_size(server->socket, NNG_OPT_RECVMAXSZ,
                                  server->config.max_message_bytes + RPC_FRAMING_BYTES)) != 0 ||
        (rv = nng_pipe_notify(server->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, server)) != 0 ||
        (rv = nng_pipe_notify(server->socket, NNG_PIPE_EV_REM_POST, on_pipe, server)) != 0 ||
        (rv = nng_listener_create(&server->listener, server->socket, server->config.url)) != 0)
        return endpoint_nng_error(err, rv, "cannot listen on '%s'", server->config.url);
    if (e.tls && (r = set_tls(server, err)) < 0)
        return r;
    (void)nng_listener_set_bool(server->listener, NNG_OPT_TCP_KEEPALIVE, true);
    for (unsigned i = 0; i < RPC_CONTEXTS_MIN; i++)
        if ((r = add_slot(server, err)) < 0)
            return r;
    if ((rv = nng_listener_start(server->listener, 0)) != 0)
        return endpoint_nng_error(err, rv, "cannot listen on '%s'", server->config.url);
    if (nng_listener_get_int(server->listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0)
        server->port = (uint16_t)port;
    else
        server->port = e.port;
    return 0;
}

void rpc_server_stop(struct rpc_server *server)
{
    if (server->stopped)
        return;
    server->stopped = true;
    if (server->socket_open)
        (void)nng_close(server->socket);
    for (size_t i = 0; i < server->slot_count; i++)
        nng_aio_stop(server->slots[i]->aio);
    for (size_t i = 0; i < server->slot_count; i++) {
        /* what an operation that ended meanwhile left in its aio */
        struct rpc_slot *slot = server->slots[i];
        int result = nng_aio_result(slot->aio);
        if ((slot->state == SLOT_RECEIVING && result == 0) ||
            (slot->state == SLOT_SENDING && result != 0))
            nng_msg_free(nng_aio_get_msg(slot->aio));
    }
}

void rpc_server_free(struct rpc_server *server)
{
    if (!server)
        return;
    rpc_server_stop(server);
    mailbox_free(server->box); /* holds mails that live in the slots: before them */
    for (size_t i = 0; i < server->slot_count; i++)
        slot_free(server->slots[i]);
    free(server->slots);
    free((void *)(uintptr_t)server->config.url);
    free((void *)(uintptr_t)server->config.ca_file);
    free((void *)(uintptr_t)server->config.cert_key_file);
    free(server);
}
