#ifndef TM_PROTO_WIRE_INTENT_MESSAGES_H
#define TM_PROTO_WIRE_INTENT_MESSAGES_H
/*
 * Parts of probe and probe_answer with which the coordinator, which never opens storage, has an agent
 * keep there what it knows of a resource, and read back what a storage holds.
 */
#include "proto/wire/message_parts.h"

#define WIRE_INTENT_MAX (128 * 1024) /* what is kept of one resource */
#define WIRE_PAGE_ITEMS 64           /* of what a storage holds, in one answer … */
#define WIRE_PAGE_BYTES (256 * 1024) /* … which ends behind about so much */
#define WIRE_AFTER_MAX  255

/* A resource, to be kept below its instance: newest epoch counts. remove: nothing is kept of it any more. */
#define MSG_INTENT_FIELDS(X, T)                                                                    \
    X(T, str, cluster, "c", REQ, 0, WIRE_NAME_MAX)                                                 \
    X(T, str, tenant, "t", REQ, 0, WIRE_NAME_MAX)                                                  \
    X(T, str, incarnation, "i", REQ, 0, 63)                                                        \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, u32, counter, "n", REQ, 0, UINT32_MAX)                                                    \
    X(T, flag, remove, "r", OPT, 0, 0)                                                             \
    X(T, bin, resource, "d", OPT, 0, WIRE_INTENT_MAX) /* the coordinator's own record */
CODEC_DECLARE(msg_intent, MSG_INTENT_FIELDS);

/* What the storage holds behind `after`, of this cluster, or of any. */
#define MSG_READ_FIELDS(X, T)                                                                      \
    X(T, str, cluster, "c", OPT, 0, WIRE_NAME_MAX)                                                 \
    X(T, str, after, "a", OPT, 0, WIRE_AFTER_MAX)
CODEC_DECLARE(msg_read, MSG_READ_FIELDS);

enum stored_state {
    STORED_COMMITTED = 1,  /* totals, ranges, started, completed: as the manifest has them */
    STORED_DELETED = 2,    /* and not removed yet; until: its grace is over then */
    STORED_CHECKPOINT = 3, /* it can be gone on with; started */
    STORED_LEFTOVER = 4,   /* unfinished, and cannot */
    STORED_DAMAGED = 5,    /* a manifest that cannot be read */
};

/* A backup; or what was kept of a resource, when `intent` is there. */
#define MSG_STORED_FIELDS(X, T)                                                                    \
    X(T, str, cluster, "c", REQ, 0, WIRE_NAME_MAX)                                                 \
    X(T, str, tenant, "t", REQ, 0, WIRE_NAME_MAX)                                                  \
    X(T, str, incarnation, "i", REQ, 0, 63)                                                        \
    X(T, msg, intent, "w", OPT, 0, msg_intent)                                                     \
    X(T, str, backup_id, "b", OPT, 0, WIRE_ID_MAX)                                                 \
    X(T, u32, state, "s", OPT, 0, 31) /* enum stored_state */                                      \
    X(T, msg, totals, "o", OPT, 0, msg_totals)                                                     \
    X(T, u32, ranges, "r", OPT, 0, UINT32_MAX)                                                     \
    X(T, i64, started_us, "f", OPT, 0, 0)                                                          \
    X(T, i64, completed_us, "z", OPT, 0, 0)                                                        \
    X(T, i64, until_us, "l", OPT, 0, 0)                                                            \
    X(T, str, node, "n", OPT, 0, WIRE_NAME_MAX)
CODEC_DECLARE(msg_stored, MSG_STORED_FIELDS);

/* Of an instance what was kept comes first, then its backups. after: where the next page goes on; empty =
 * this was the last. term: the highest that this page's metadata, and the log's writers, carry. */
#define MSG_PAGE_FIELDS(X, T)                                                                      \
    X(T, list, items, "i", OPT, 0, msg_stored, WIRE_PAGE_ITEMS)                                    \
    X(T, str, after, "a", OPT, 0, WIRE_AFTER_MAX)                                                  \
    X(T, u64, term, "e", OPT, 0, UINT64_MAX)
CODEC_DECLARE(msg_page, MSG_PAGE_FIELDS);

#endif
