#ifndef TM_AGENT_SESSION_DIAL_H
#define TM_AGENT_SESSION_DIAL_H
/*
 * One nng REQ socket with one connection, dialed in a thread of its own.
 *
 * Dialing blocks: it is the only way to learn why a dial failed. And nng may wait for ever when a
 * socket is closed under a dial that is just starting. So whoever loses interest lets go
 * (dial_release, which never blocks for long), and the thread closes the socket when the dial returns,
 * however late the kernel gives up.
 *
 *     dial_open(&spec, &events, arg, &d, err)     socket with all its settings
 *     dial_start(d, err)         → events.dialed(arg, nng code), from the thread
 *     dial_socket(d)             for contexts, once dialed with 0
 *                                → events.gone(arg), from an nng thread, when the connection is lost
 *     dial_release(d)            no event comes any more; what is left ends by itself
 *
 * Events are called with an inner lock held: they may post to a mailbox, nothing else. At most
 * DIAL_PENDING_MAX dials of a dial_count may hang at once.
 */
#include <nng/nng.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define DIAL_PENDING_MAX 32

struct dial;

/* Counts the threads that are still dialing, also abandoned ones. */
struct dial_count;
int dial_count_new(struct dial_count **ret, struct tm_err *err) TM_WUR;
/* While this is above 0 nng_fini must not be called. */
int dial_count_pending(const struct dial_count *count);
/* Threads that still dial keep what they need of it. */
void dial_count_free(struct dial_count *count);

struct dial_spec {
    const char *url;
    const char *ca_file; /* tls+tcp:// only */
    const char *cert_key_file;
    const char *server_name; /* NULL = the URL's host */
    size_t max_message_bytes;
    struct dial_count *count;
};

struct dial_events {
    void (*dialed)(void *arg, int nng_code);
    void (*gone)(void *arg);
};

int dial_open(const struct dial_spec *spec, const struct dial_events *events, void *arg,
              struct dial **ret, struct tm_err *err) TM_WUR;
int dial_start(struct dial *d, struct tm_err *err) TM_WUR;
nng_socket dial_socket(const struct dial *d);
void dial_release(struct dial *d);
TM_DEFINE_FREEP(struct dial, dial_release)

#endif
