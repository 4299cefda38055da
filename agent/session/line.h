#ifndef TM_AGENT_SESSION_LINE_H
#define TM_AGENT_SESSION_LINE_H
/*
 * The agent's line to the coordinator: dials, goes through hello, sends requests, brings replies.
 *
 *     line_new(loop, &config, &handlers, arg, &line, err)
 *     line_connect(line, seen_term, seen_start, seen_revision)   → handlers.connected | handlers.disconnected
 *     line_send(line, &message, timeout_ms)       → handlers.reply | handlers.failed, one each
 *     line_disconnect(line)                       requests in flight are forgotten, silently
 *     line_free(line)
 *
 * One connection at a time; each line_connect takes the next address of the list, on a fresh
 * socket. nng neither reconnects nor resends behind our back: when and how often is the agent
 * brain's business. After handlers.disconnected everything in flight is void and the next call is
 * line_connect. Every request has its own nng context, so a parked poll delays nobody.
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
struct line;

#define LINE_DIAL_MS      10000 /* for the connection itself */
#define LINE_HELLO_MS     10000 /* for each half of hello */
#define LINE_REQUESTS_MAX 96    /* in flight */

/* Strings are borrowed for the life of the line. */
struct line_config {
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

struct line_handlers {
    void (*connected)(void *arg, uint64_t term, uint64_t start);
    void (*disconnected)(void *arg, const struct tm_err *err);
    void (*reply)(void *arg, const struct message *message);
    void (*failed)(void *arg, uint64_t serial, const struct tm_err *err);
};

int line_new(struct loop *loop, const struct line_config *config,
             const struct line_handlers *handlers, void *arg, struct line **ret,
             struct tm_err *err) TM_WUR;
void line_connect(struct line *line, uint64_t seen_term, uint64_t seen_start,
                  uint64_t seen_revision);
void line_disconnect(struct line *line);
void line_send(struct line *line, const struct message *message, uint32_t timeout_ms);
/* The address of this or the last connection. */
const char *line_url(const struct line *line);
/* False while a dial still hangs in its thread, maybe of a connection given up long ago: then the
 * process must end without nng_fini. */
bool line_idle(const struct line *line);
void line_free(struct line *line);
TM_DEFINE_FREEP(struct line, line_free)

#endif
