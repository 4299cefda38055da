#ifndef TM_COORDINATOR_RPC_SERVER_H
#define TM_COORDINATOR_RPC_SERVER_H
/*
 * Where agents connect: an nng REP socket with as many contexts as requests may be waiting at once.
 * Bytes in, bytes out; who is speaking and what was said is the business of rpc/gate.h.
 *
 *     rpc_server_new(loop, &config, &handlers, arg, &server, err)
 *     rpc_server_start(server, err)         listens
 *     handlers.opened → request* → closed   loop thread, per pipe; bytes valid during the call
 *     rpc_server_reply(server, id, bytes)   exactly once a request, now or much later
 *     rpc_server_stop(server)               no further handler is called
 *     rpc_server_free(server)
 *
 * A request occupies a context until it is replied to; a parked poll is just a reply that comes
 * late. Contexts are added as they are needed, up to max_contexts; beyond that requests wait in
 * nng. When the pipe died meanwhile a reply goes nowhere, quietly.
 *
 * Security: a message above max_message_bytes closes the pipe unread. With TLS a client certificate
 * signed by the CA is required. Plain tcp on anything but loopback is refused unless `insecure`.
 *
 * Threads: everything is called from the loop thread; nng's threads only post to a mailbox.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

struct loop;
struct rpc_server;

#define RPC_CONTEXTS_MIN 16
#define RPC_CONTEXTS_MAX 32768

struct rpc_server_config {
    const char *url;           /* tcp://host:port or tls+tcp://host:port */
    bool insecure;             /* allow plain tcp off loopback */
    const char *ca_file;       /* PEM; TLS only */
    const char *cert_key_file; /* PEM, certificate and key in one; TLS only */
    unsigned max_contexts;
    size_t max_message_bytes;
};

struct rpc_peer {
    bool loopback;
    bool tls; /* the peer's certificate was verified */
    char address[64];
};

struct rpc_handlers {
    /* A connection; comes before its first request. */
    void (*opened)(void *arg, uint32_t pipe, const struct rpc_peer *peer);
    void (*request)(void *arg, uint64_t id, uint32_t pipe, struct slice message);
    /* The pipe is gone; its open requests are given up, replying to them does nothing. */
    void (*closed)(void *arg, uint32_t pipe);
};

/* "tcp://127.0.0.1:7711" and the like: whether an URL is well formed and allowed by these rules. */
int rpc_server_check(const struct rpc_server_config *config, struct tm_err *err) TM_WUR;

int rpc_server_new(struct loop *loop, const struct rpc_server_config *config,
                   const struct rpc_handlers *handlers, void *arg, struct rpc_server **ret,
                   struct tm_err *err) TM_WUR;
int rpc_server_start(struct rpc_server *server, struct tm_err *err) TM_WUR;
/* The port that was bound, for listeners on port 0. */
uint16_t rpc_server_port(const struct rpc_server *server);
/* Takes the bytes as they are; an id that is not open is ignored. */
void rpc_server_reply(struct rpc_server *server, uint64_t id, struct slice message);
/* Closes one connection: the peer broke the rules. */
void rpc_server_drop(struct rpc_server *server, uint32_t pipe);
void rpc_server_stop(struct rpc_server *server);
void rpc_server_free(struct rpc_server *server);
TM_DEFINE_FREEP(struct rpc_server, rpc_server_free)

#endif
