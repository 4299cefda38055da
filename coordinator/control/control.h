#ifndef TM_COORDINATOR_CONTROL_CONTROL_H
#define TM_COORDINATOR_CONTROL_CONTROL_H
/*
 * The control socket, server side: what the CLI asks, the brain answers.
 *
 *     control_new(loop, &config, &control, err)      listens; requests may come from now on
 *     config.feed(arg, &event)                       called for APPLY, DELETE, RETRY, QUERY, PROBE, …
 *     control_answer(control, &action.answer …)      for every BRAIN_ACT_ANSWER, but
 *     control_answer_log(control, &action.answer …)  for one that brings what was found, and
 *     control_answer_probe(control, …)               for one that brings how a test came out, and
 *     control_answer_rebuilt(control, …)             what became of what a storage holds
 *     control_free(control)                          closes every connection, removes the socket
 *
 * Reading (list, get, nodes, version) looks into the brain directly. Changing goes through `feed`
 * as BRAIN_EV_COMMAND events, from the loop's I/O callback, never from inside control_answer; an
 * answer may come during feed or at any time later. Each event.command.resource is handed over.
 *
 * Who may: the socket is mode 0660, so the kernel lets in root, the owner and the group. The peer's
 * uid and groups (SO_PEERCRED, SO_PEERGROUPS) are looked at again for every command: reading is for
 * whoever got in, changing for root, the daemon's own user and members of the socket's group.
 * Others get TM_E_PERMISSION.
 *
 * Bounds: CONTROL_CONNECTIONS_MAX connections, one request at a time on each, requests and replies
 * as proto/wire/control.h says; a peer that does not finish its request or take its reply within
 * CONTROL_STALL_MS is dropped, an idle one after CONTROL_IDLE_MS. Nothing blocks the loop.
 *
 * Threads: loop thread only.
 */
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/loop.h"
#include "coordinator/brain/brain.h"

#define CONTROL_CONNECTIONS_MAX 64
#define CONTROL_STALL_MS        30000
#define CONTROL_IDLE_MS         300000
#define CONTROL_GROUP           "tidemark"

struct control;
struct secrets; /* coordinator/secrets/secrets.h */

struct control_config {
    const char *path;    /* borrowed until control_free */
    const char *group;   /* the socket's group; NULL or unknown to the system: the process's own */
    const char *version; /* of the daemon, shown by `tidemark version` */
    const struct brain *(*brain)(void *arg);                  /* to look into */
    void (*feed)(void *arg, const struct brain_event *event); /* BRAIN_EV_COMMAND */
    void *arg;
    struct secrets *secrets; /* NULL = none are kept; its changes are told with control_answer */
};

/* A socket that is in use by a living process, or anything that is no socket, at `path` is
 * TM_E_EXISTS; a stale socket is replaced. */
int control_new(struct loop *loop, const struct control_config *config, struct control **ret,
                struct tm_err *err) TM_WUR;
void control_free(struct control *control);
TM_DEFINE_FREEP(struct control, control_free)

/* err NULL = done. Unknown cmd (the client has gone): ignored. */
void control_answer(struct control *control, uint64_t cmd, enum brain_outcome outcome,
                    const struct tm_err *err);
void control_answer_log(struct control *control, uint64_t cmd, const struct msg_log_answer *answer,
                        const char *cluster, const char *tenant);

void control_answer_probe(struct control *control, uint64_t cmd, const struct brain_probe *probe);
void control_answer_rebuilt(struct control *control, uint64_t cmd,
                            const struct brain_rebuilt *rebuilt);

/* ---- who may: pure, for tests ---- */

struct control_peer {
    uid_t uid;
    gid_t gid;
    const gid_t *groups; /* supplementary */
    size_t group_count;
};

/* Right to run `command` (enum control_command), where the daemon runs as own_uid and the socket
 * belongs to socket_gid. */
int control_authorise(const struct control_peer *peer, uint32_t command, uid_t own_uid,
                      gid_t socket_gid, struct tm_err *err) TM_WUR;

#endif
