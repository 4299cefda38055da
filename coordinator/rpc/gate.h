#ifndef TM_COORDINATOR_RPC_GATE_H
#define TM_COORDINATOR_RPC_GATE_H
/*
 * The gate between the agents' connections and the brain: decodes what comes in, runs hello, binds
 * a proven identity to its connection, lets through nothing else.
 *
 *     gate_new(loop, &config, &handlers, arg, &gate, err)
 *     gate_start(gate, err)                       from here on handlers are called
 *     handlers.up(conn, ctx, claim)               proof was right; answer: gate_welcome | gate_refuse
 *     handlers.request(conn, ctx, message)        of a welcomed connection; answer: gate_reply
 *     handlers.gone(conn)                         after up, when the connection is closed
 *     gate_tick(gate, now)                        about once a second
 *     gate_free(gate)
 *
 * Rules. A connection speaks only for the (cluster, node) it proved. A node with a key file must
 * prove the key; a node without one is let in only over loopback. What does not decode, comes
 * before hello, or is not a request is answered with an error that says why, and the connection is
 * kept. A connection that has not been welcomed GATE_HELLO_US after it was opened is closed; so is
 * one refused by the brain, once its answer had time to leave. conn numbers are never used again.
 *
 * Keys: <keys_dir>/<cluster>/<node>.key, read at every hello, so that a new or changed key needs no
 * restart. Threads: the loop's only.
 */
#include "common/clock.h"
#include "coordinator/rpc/server.h"
#include "proto/wire/hello.h"
#include "proto/wire/messages.h"

#define GATE_HELLO_US  (15 * USEC_PER_SEC)
#define GATE_REFUSE_US (2 * USEC_PER_SEC)

struct gate;

struct gate_config {
    struct rpc_server_config server; /* max_contexts and max_message_bytes are set by the gate */
    const char *keys_dir;            /* NULL = no keys: only loopback gets in */
    unsigned max_agents;
};

enum gate_event { GATE_REFUSED, GATE_NOISE };

struct gate_handlers {
    void (*up)(void *arg, uint64_t conn, uint64_t ctx, const struct msg_hello *claim);
    void (*request)(void *arg, uint64_t conn, uint64_t ctx, const struct message *message);
    void (*gone)(void *arg, uint64_t conn);
    /* Something for the log; at most a few a second over all connections. */
    void (*note)(void *arg, enum gate_event event, const char *text);
};

int gate_new(struct loop *loop, const struct gate_config *config,
             const struct gate_handlers *handlers, void *arg, struct gate **ret,
             struct tm_err *err) TM_WUR;
int gate_start(struct gate *gate, struct tm_err *err) TM_WUR;
uint16_t gate_port(const struct gate *gate);
size_t gate_connection_count(const struct gate *gate);

/* Each answers ctx; one that is no more is ignored. */
void gate_reply(struct gate *gate, uint64_t conn, uint64_t ctx, const struct message *message);
void gate_welcome(struct gate *gate, uint64_t conn, uint64_t ctx, uint64_t term, uint64_t start);
void gate_refuse(struct gate *gate, uint64_t conn, uint64_t ctx, const struct tm_err *why);
/* Whether secrets may travel on it: TLS with both certificates checked, or loopback. */
bool gate_is_private(const struct gate *gate, uint64_t conn);
/* Closes a connection; `gone` follows. */
void gate_close(struct gate *gate, uint64_t conn);

void gate_tick(struct gate *gate, int64_t now_mono_us);
/* No more handlers are called; connections are closed. */
void gate_stop(struct gate *gate);
void gate_free(struct gate *gate);
TM_DEFINE_FREEP(struct gate, gate_free)

#endif
