#ifndef TM_AGENT_SESSION_LINK_H
#define TM_AGENT_SESSION_LINK_H
/*
 * The agent's line to the coordinator: dials, goes through hello, sends requests, brings replies.
 *
 *     link_new(loop, &config, &handlers, arg, &link, err)
 *     link_connect(link, seen_term, seen_start)   → handlers.connected | handlers.disconnected
 *     link_send(link, &message, timeout_ms)       → handlers.reply | handlers.failed, one each
 *     link_disconnect(link)                       requests in flight are forgotten, nothing is
 * called link_free(link)
 *
 * One connection at a time; each link_connect takes the next address of the list, on a fresh
 * socket. nng neither reconnects nor resends behind our back: when and how often is the agent
 * brain's business. After handlers.disconnected everything in flight is void and the next call is
 * link_connect. Every request has its own nng context, so a parked poll delays nobody.
 *
 * handlers are called from the loop only, never from inside a link_* call.
 *
 * The node's key is read from its file at every connect and wiped after hello. With TLS the
 * coordinator's certificate must be signed by the CA and carry the server name (TLS library: names,
 * not addresses; for an address in the URL set server_name).
 *
 * Threads: the loop's; nng's threads and the dialing thread only post.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "proto/wire/messages.h"

struct loop;
struct link;

#define LINK_DIAL_MS      10000 /* for the connection itself */
#define LINK_HELLO_MS     10000 /* for each half of hello */
#define LINK_REQUESTS_MAX 96    /* in flight */

/* Strings are borrowed for the life of the link. */
struct link_config {
    const char *const *urls;
    size_t url_count;
    const char *ca_file; /* TLS */
    const char *cert_key_file;
    const char *server_name; /* NULL = the URL's host */
    const char *key_file;    /* NULL = none */
    const char *cluster;
    const char *node;
    const char *boot;
};

struct link_handlers {
    void (*connected)(void *arg, uint64_t term, uint64_t start);
    void (*disconnected)(void *arg, const struct tm_err *err);
    void (*reply)(void *arg, const struct message *message);
    void (*failed)(void *arg, uint64_t serial, const struct tm_err *err);
};

int link_new(struct loop *loop, const struct link_config *config,
             const struct link_handlers *handlers, void *arg, struct link **ret,
             struct tm_err *err) TM_WUR;
void link_connect(struct link *link, uint64_t seen_term, uint64_t seen_start);
void link_disconnect(struct link *link);
void link_send(struct link *link, const struct message *message, uint32_t timeout_ms);
/* The address of this or the last connection. */
const char *link_url(const struct link *link);
void link_free(struct link *link);
TM_DEFINE_FREEP(struct link, link_free)

#endif
