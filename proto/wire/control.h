#ifndef TM_PROTO_WIRE_CONTROL_H
#define TM_PROTO_WIRE_CONTROL_H
/*
 * What the CLI and the coordinator say to each other over the control socket.
 *
 * A UNIX stream socket. A frame is a big-endian u32 length and that many bytes: one record of the
 * field tables below. The client sends a request, the server answers with one reply; then the next
 * request may follow on the same connection. Nothing is sent unasked.
 *
 *     C -> S  apply     file name, YAML bytes         S -> C  warnings, one result a resource
 *     C -> S  list      kind ("" = all), after        S -> C  items (JSON), after ("" = the end)
 *     C -> S  get       kind, namespace, name         S -> C  one item
 *     C -> S  delete    kind, namespace, name         S -> C  one result
 *     C -> S  retry     kind, namespace, name         S -> C  one result
 *     C -> S  nodes     after                         S -> C  items (JSON), after
 *     C -> S  version                                 S -> C  one item (JSON)
 *     C -> S  query     kind, namespace, name, query  S -> C  one item (JSON): what an agent found
 *
 *     C -> S  probe     YAML bytes, or kind,          S -> C  one item (JSON): how agents get into the
 *                       namespace, name; after                storage; after (the next document)
 *
 *     C -> S  secret_put    name, pairs               S -> C  warnings, one result
 *     C -> S  secrets       name ("" = all)           S -> C  items (JSON): names and keys, no values
 *     C -> S  secret_delete name, force               S -> C  one result
 *
 *     C -> S  rebuild   YAML bytes, cluster, force    S -> C  one item (JSON): what became of what the
 *                                                             storage of the one Backup holds
 *     C -> S  confirm   force                         S -> C  nothing more: the list is complete
 *
 * Every reply may be an error instead. What is no frame, is too long or does not decode is answered
 * with an error, and the connection is closed. `version` is checked first: another major version is
 * refused by name. Items are one JSON object each; resources as proto/spec/status.h makes them.
 */
#include "proto/wire/codec.h"
#include "proto/wire/messages.h"

#define CONTROL_PROTOCOL          1
#define CONTROL_YAML_MAX          ((size_t)1 << 20)
#define CONTROL_REQUEST_MAX_BYTES (CONTROL_YAML_MAX + 8192)
#define CONTROL_REPLY_MAX_BYTES   ((size_t)4 << 20)
#define CONTROL_ITEM_MAX          ((size_t)1 << 20)
#define CONTROL_PAGE_ITEMS        256               /* in one reply */
#define CONTROL_PAGE_BYTES        ((size_t)1 << 20) /* a page ends behind the item that reaches it */
#define CONTROL_AFTER_MAX         255
#define CONTROL_RESULTS_MAX       256
#define CONTROL_WARNINGS_MAX      80

/*    name     number, changes something, and so needs the right to */
#define CONTROL_COMMAND_MAP(X)                                                                     \
    X(APPLY, 1, true)                                                                              \
    X(LIST, 2, false)                                                                              \
    X(GET, 3, false)                                                                               \
    X(DELETE, 4, true)                                                                             \
    X(RETRY, 5, true)                                                                              \
    X(NODES, 6, false)                                                                             \
    X(VERSION, 7, false)                                                                           \
    X(QUERY, 8, false)                                                                             \
    X(SECRET_PUT, 9, true)                                                                         \
    X(SECRETS, 10, false)                                                                          \
    X(SECRET_DELETE, 11, true)                                                                     \
    X(PROBE, 16, true)                                                                             \
    X(REBUILD, 17, true)                                                                           \
    X(CONFIRM, 18, true)

enum control_command {
#define CONTROL_COMMAND_ENUM(name, number, changes) CONTROL_##name = number,
    CONTROL_COMMAND_MAP(CONTROL_COMMAND_ENUM)
#undef CONTROL_COMMAND_ENUM
};

#define CONTROL_REQUEST_FIELDS(X, T)                                                               \
    X(T, u32, version, "v", REQ, 0, UINT32_MAX)                                                    \
    X(T, u32, command, "c", REQ, 0, UINT32_MAX)                                                    \
    X(T, txt, source, "f", OPT, 0, 1023) /* file name, for messages */                             \
    X(T, bin, yaml, "y", OPT, 0, CONTROL_YAML_MAX)                                                 \
    X(T, flag, dry_run, "d", OPT, 0, 0) /* apply: say what would happen to the YAML, no more */    \
    X(T, str, kind, "k", OPT, 0, 31)                                                               \
    X(T, str, namespace_, "s", OPT, 0, WIRE_NAME_MAX) /* "" = default */                           \
    X(T, str, name, "n", OPT, 0, WIRE_NAME_MAX)                                                    \
    X(T, str, after, "a", OPT, 0, CONTROL_AFTER_MAX)                                               \
    X(T, msg, query, "q", OPT, 0, msg_log_query) /* its id is the coordinator's to choose */       \
    X(T, list, pairs, "p", OPT, 0, msg_pair, WIRE_PAIRS_MAX) /* secret_put */                      \
    /* secret_delete: though resources name it; confirm; rebuild: it was moved */                  \
    X(T, flag, force, "o", OPT, 0, 0)                                                              \
    X(T, str, cluster, "cl", OPT, 0, WIRE_NAME_MAX) /* probe: whose nodes, "" = the spec's */      \
    X(T, u32, timeout_ms, "tm", OPT, 0, UINT32_MAX) /* probe: 0 = 30 s */                          \
    X(T, flag, new_logs, "nl", OPT, 0, 0)           /* probe: log backups that would be new */     \
    X(T, flag, has_grace, "hg", OPT, 0, 0)          /* delete: … */                              \
    X(T, u32, grace_ms, "gr", OPT, 0, UINT32_MAX)   /* … instead of the spec's cleanGrace */     \
    X(T, str, tenant, "te", OPT, 0, WIRE_NAME_MAX)  /* query: whose log, of several tenants' */
CODEC_DECLARE(control_request, CONTROL_REQUEST_FIELDS);

/* outcome: "created", "configured", "unchanged", "deleted", "deleting", "retried"; or error */
#define CONTROL_RESULT_FIELDS(X, T)                                                                \
    X(T, str, kind, "k", REQ, 0, 31) /* "backup" */                                                \
    X(T, str, name, "n", REQ, 0, WIRE_NAME_MAX)                                                    \
    X(T, str, outcome, "o", OPT, 0, 31)                                                            \
    X(T, msg, error, "x", OPT, 0, msg_error)
CODEC_DECLARE(control_result, CONTROL_RESULT_FIELDS);

#define CONTROL_ITEM_FIELDS(X, T) X(T, txt, json, "j", REQ, 0, CONTROL_ITEM_MAX)
CODEC_DECLARE(control_item, CONTROL_ITEM_FIELDS);

#define CONTROL_REPLY_FIELDS(X, T)                                                                 \
    X(T, u32, version, "v", REQ, 0, UINT32_MAX)                                                    \
    X(T, msg, error, "x", OPT, 0, msg_error)                                                       \
    X(T, strs, warnings, "w", OPT, 0, 1023, CONTROL_WARNINGS_MAX)                                  \
    X(T, list, results, "r", OPT, 0, control_result, CONTROL_RESULTS_MAX)                          \
    X(T, list, items, "i", OPT, 0, control_item, CONTROL_PAGE_ITEMS)                               \
    X(T, str, after, "a", OPT, 0, CONTROL_AFTER_MAX)
CODEC_DECLARE(control_reply, CONTROL_REPLY_FIELDS);

/* NULL for a number that is no command. */
const char *control_command_text(uint32_t command);
/* Unknown commands change something, to be safe. */
bool control_command_changes(uint32_t command);

/* Appends length and record. */
int control_request_encode(const struct control_request *request, struct buf *out,
                           struct tm_err *err) TM_WUR;
int control_reply_encode(const struct control_reply *reply, struct buf *out,
                         struct tm_err *err) TM_WUR;

#endif
