#ifndef TM_COORDINATOR_CTL_CLIENT_H
#define TM_COORDINATOR_CTL_CLIENT_H
/*
 * The CLI's end of the control socket (proto/wire/control.h): one request, one reply, in order.
 *
 *     client_open → client_call … → client_free
 *
 * A daemon that is not there is TM_E_UNAVAILABLE and names the socket's path. An error in the reply
 * comes back as the call's error. Blocking, with a deadline of CLIENT_TIMEOUT_MS per call.
 */
#include <jansson.h>

#include "common/buf.h"
#include "common/err.h"
#include "proto/wire/control.h"

#define CLIENT_TIMEOUT_MS 60000
#define CLIENT_ITEMS_MAX  100000 /* of one listing */

struct ctl_client;

int client_open(const char *path, struct ctl_client **ret, struct tm_err *err) TM_WUR;
void client_free(struct ctl_client *c);
TM_DEFINE_FREEP(struct ctl_client, client_free)

struct client_reply {
    struct control_reply reply;
    struct codec_arena arena; /* owns what reply points to */
};
void client_reply_release(struct client_reply *r);

/* request->version is set here. */
int client_call(struct ctl_client *c, struct control_request *request, struct client_reply *ret,
                struct tm_err *err) TM_WUR;
/* All pages of LIST or NODES as one JSON array, handed over. After an error there may be an answer that nobody
 * took: the connection is of no further use. */
int client_list(struct ctl_client *c, enum control_command command, const char *kind, json_t **ret,
                struct tm_err *err) TM_WUR;
/* What a QUERY found, handed over. */
int client_query(struct ctl_client *c, const char *kind, const char *namespace_, const char *name,
                 const char *tenant, struct msg_log_query *query, json_t **ret,
                 struct tm_err *err) TM_WUR;
/* How the storages of a PROBE came out, an array that is handed over: of all documents of
 * request->yaml, or of the one resource. */
int client_probe(struct ctl_client *c, struct control_request *request, json_t **ret,
                 struct tm_err *err) TM_WUR;
/* Calls may take so long from now on. */
void client_patience(struct ctl_client *c, unsigned seconds);
/* The one item of the answer, handed over. */
int client_one(struct ctl_client *c, struct control_request *request, json_t **ret,
               struct tm_err *err) TM_WUR;
/* One object (GET, VERSION), handed over. */
int client_get(struct ctl_client *c, enum control_command command, const char *kind,
               const char *namespace_, const char *name, json_t **ret, struct tm_err *err) TM_WUR;

#endif
