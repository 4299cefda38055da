#ifndef TM_COORDINATOR_CONTROL_INTERNAL_H
#define TM_COORDINATOR_CONTROL_INTERNAL_H
/* Between the files of coordinator/control: connections (control.c) and requests (request.c). */
#include "common/buf.h"
#include "common/list.h"
#include "common/loop.h"
#include "coordinator/control/control.h"
#include "proto/spec/spec.h"
#include "proto/wire/control.h"

/* The request being answered. Reads are answered at once; changes wait for the brain, one resource
 * at a time, in the order of the document. */
struct request {
    struct control_request message;
    struct codec_arena arena;  /* of message and of what the reply points to */
    struct resource_list list; /* apply: what is still to be fed */
    size_t next;               /* apply: index into list */
    uint64_t cmd;              /* waited for; 0 = none */
    bool feed_due;             /* apply: answered, and the next one is to be fed from the loop */
    const char *word;          /* "backup", of the resource waited for */
    char name[WIRE_NAME_MAX + 1];
    struct control_result *results;
    size_t result_count;
};

struct connection {
    struct list_link link;
    struct control *control;
    int fd;
    struct loop_io *io;
    struct loop_timer *timer; /* idle or stalled */
    gid_t *groups;
    struct control_peer peer;
    struct buf in;
    struct buf out;
    size_t sent;
    bool busy;    /* a request is being worked on: no more is read */
    bool closing; /* as soon as out is sent */
    struct request request;
};

struct control {
    struct loop *loop;
    struct control_config config;
    int listen_fd;
    struct loop_io *io;
    struct list connections;
    uid_t own_uid;
    gid_t socket_gid;
    uint64_t last_cmd;
};

/* A whole frame came in: answers now (connection_reply) or when the brain has. */
void request_begin(struct connection *c, struct slice frame);
/* The brain's answer to c->request.cmd. */
void request_answer(struct connection *c, enum brain_outcome outcome, const struct tm_err *err);
void request_answer_log(struct connection *c, const struct msg_log_answer *answer,
                        const char *cluster, const char *tenant);
/* Feeds a command for r->cmd. Feeding may answer before it returns: what is asked is set before. */
void request_feed(struct connection *c, struct brain_event *event, const char *word,
                  const char *name);
/* The message's namespace when it has none. */
int request_namespace(struct connection *c, enum resource_kind kind, struct tm_err *err) TM_WUR;
/* Feeds what is due. Called from the loop, where feeding is allowed. */
void request_go_on(struct connection *c);
void request_release(struct request *r);

/* probe.c: storage tests. */
int probe_begin(struct connection *c, struct tm_err *err) TM_WUR;
void probe_go_on(struct connection *c); /* for request_go_on */
void probe_answer(struct connection *c, const struct brain_probe *probe);

/* rebuild.c: what a storage holds. */
int rebuild_begin(struct connection *c, struct tm_err *err) TM_WUR;
int rebuild_confirm_begin(struct connection *c, struct tm_err *err) TM_WUR;
void rebuild_answer(struct connection *c, const struct brain_rebuilt *rebuilt);
void rebuild_confirmed(struct connection *c);

/* Queues the reply; the request is over. */
void connection_reply(struct connection *c, const struct control_reply *reply);
/* An error as the reply; `hang_up` closes the connection behind it. */
void connection_error(struct connection *c, const struct tm_err *err, bool hang_up);

/* secret.c */
int secret_begin_put(struct connection *c, struct tm_err *err) TM_WUR;
int secret_begin_delete(struct connection *c, struct tm_err *err) TM_WUR;
int secret_begin_list(struct connection *c, struct tm_err *err) TM_WUR;
/* Whether the secrets that a spec names are there, and fit its stores. */
int secret_check_apply(const struct control *control, const struct resource *r,
                       struct tm_err *err) TM_WUR;

/* One node as JSON; appended. */
int render_node(const struct brain_node *node, struct buf *out, struct tm_err *err) TM_WUR;
/* How a storage test came out; appended. */
int render_probe(const struct brain_probe *probe, struct buf *out, struct tm_err *err) TM_WUR;
int render_rebuilt(const struct brain_rebuilt *rebuilt, struct buf *out, struct tm_err *err) TM_WUR;
/* The coordinator itself; appended. */
int render_version(const char *version, const struct brain *brain, struct buf *out,
                   struct tm_err *err) TM_WUR;
/* What a query of a log backup found, as `tidemark log` prints it with -o json; appended. */
int render_log_answer(const struct msg_log_answer *answer, const char *cluster, const char *tenant,
                      struct buf *out, struct tm_err *err) TM_WUR;

#endif
