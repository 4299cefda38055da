#ifndef TM_COORDINATOR_BRAIN_RECORD_H
#define TM_COORDINATOR_BRAIN_RECORD_H
/*
 * What is durable of a resource: one record each in the state store, msgpack with text keys. A key that a
 * later version adds is optional, and one that is gone is never used again.
 */
#include "proto/wire/messages.h"

#define RECORD_DOCUMENT_MAX (256 * 1024)

enum phase {
    PHASE_SCHEDULED = 1,
    PHASE_PREPARE,
    PHASE_RUNNING,
    PHASE_COMPLETE,
    PHASE_FAILED,
    PHASE_PAUSE,   /* logs */
    PHASE_STOPPED, /* logs: for good; stored log may still be truncated */
    PHASE_FAIL,    /* logs: until somebody resumes it, or by itself when that may help */
};

#define LOG_HOLDERS_MAX 64

/* What a log backup is beyond any job. */
#define LOG_RECORD_FIELDS(X, T)                                                                    \
    X(T, i64, phase_us, "pu", OPT, 0, 0)               /* in this phase since */                   \
    X(T, i64, running_us, "ru", OPT, 0, 0)             /* Running for the first time */            \
    X(T, i64, paused_us, "pa", OPT, 0, 0)              /* step PAUSE: since */                     \
    X(T, u32, truncate_gen, "tg", OPT, 0, UINT32_MAX)  /* of the newest wish… */                 \
    X(T, u32, truncated_gen, "td", OPT, 0, UINT32_MAX) /* …and the newest that was answered */   \
    X(T, txt, truncate_until, "tu", OPT, 0, 63)                                                    \
    X(T, flag, truncate_force, "tf", OPT, 0, 0)                                                    \
    X(T, i64, truncated_us, "tt", OPT, 0, 0)                                                       \
    X(T, str, truncated_position, "tp", OPT, 0, WIRE_POSITION_MAX)                                 \
    X(T, msg, truncate_error, "te", OPT, 0, msg_error)                                             \
    X(T, flag, removing, "rm", OPT, 0, 0) /* what was truncated is still stored, for its grace */  \
    /* last known, for when nobody reports */                                                      \
    X(T, str, lineage, "l", OPT, 0, WIRE_UID_MAX)                                                  \
    X(T, str, label, "b", OPT, 0, 63)                                                              \
    X(T, str, position, "p", OPT, 0, WIRE_POSITION_MAX)                                            \
    X(T, u64, durable, "d", OPT, 0, UINT64_MAX)                                                    \
    X(T, i64, checkpoint_us, "t", OPT, 0, 0)                                                       \
    X(T, u64, latency_us, "y", OPT, 0, UINT64_MAX)                                                 \
    X(T, i64, noted_us, "n", OPT, 0, 0) /* when the above was so */                                \
    /* nodes whose source may hold log for this task, until they said that they do not any more */ \
    X(T, strs, holders, "h", OPT, 0, WIRE_NAME_MAX, LOG_HOLDERS_MAX)
CODEC_DECLARE(log_record, LOG_RECORD_FIELDS);

#define SHARES_MAX 4096 /* as many as there may be nodes */
#define PARTS_MAX  64   /* BRAIN_TENANTS_MAX */

/* What one node read of a snapshot. */
#define NODE_SHARE_FIELDS(X, T)                                                                    \
    X(T, str, node, "n", REQ, 0, WIRE_NAME_MAX)                                                    \
    X(T, u32, ranges, "r", OPT, 0, UINT32_MAX)                                                     \
    X(T, u64, bytes, "b", OPT, 0, UINT64_MAX)
CODEC_DECLARE(node_share, NODE_SHARE_FIELDS);

#define RECORD_FIELDS(X, T)                                                                           \
    X(T, str, kind, "k", REQ, 0, 31)                                                                  \
    X(T, str, namespace_, "s", REQ, 0, WIRE_NAME_MAX)                                                 \
    X(T, str, name, "n", REQ, 0, WIRE_NAME_MAX)                                                       \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                         \
    X(T, u64, generation, "g", REQ, 0, UINT64_MAX)                                                    \
    X(T, i64, created_us, "c", REQ, 0, 0)                                                             \
    X(T, bin, document, "y", REQ, 0, RECORD_DOCUMENT_MAX)                                             \
    X(T, u32, phase, "p", REQ, 0, 31)                                                                 \
    X(T, u32, step, "q", OPT, 0, 31)                                                                  \
    X(T, u32, attempt, "a", OPT, 0, UINT32_MAX)                                                       \
    /* what agents call it: new with each start, so that work of a start which a lost or rolled     \
     * back state has forgotten is never taken for this one's */ \
    X(T, str, job, "j", OPT, 0, WIRE_UID_MAX)                                                         \
    X(T, str, backup_id, "b", OPT, 0, WIRE_ID_MAX)                                                    \
    X(T, str, cluster, "cl", OPT, 0, WIRE_NAME_MAX) /* of the lead */                                 \
    X(T, str, node, "no", OPT, 0, WIRE_NAME_MAX)                                                      \
    X(T, str, boot, "bo", OPT, 0, WIRE_UID_MAX)                                                       \
    X(T, str, tenant, "te", OPT, 0, WIRE_NAME_MAX)                                                    \
    X(T, str, identity, "id", OPT, 0, 63)                                                             \
    X(T, str, source_cluster, "sc", OPT, 0, WIRE_NAME_MAX) /* restore: whose backup… */             \
    X(T, str, source_backup_id, "sb", OPT, 0, WIRE_ID_MAX) /* …and which */                         \
    X(T, txt, storage, "st", OPT, 0, WIRE_URL_MAX)                                                    \
    X(T, i64, started_us, "ts", OPT, 0, 0)                                                            \
    X(T, i64, completed_us, "tc", OPT, 0, 0)                                                          \
    X(T, u32, ranges_total, "rt", OPT, 0, UINT32_MAX)                                                 \
    X(T, u64, bytes_total, "bt", OPT, 0, UINT64_MAX)                                                  \
    X(T, u32, ranges_done, "rd", OPT, 0, UINT32_MAX) /* Failed: how far it came */                    \
    X(T, u64, bytes_done, "bd", OPT, 0, UINT64_MAX)                                                   \
    X(T, msg, error, "e", OPT, 0, msg_error)                                                          \
    X(T, str, error_node, "en", OPT, 0, WIRE_NAME_MAX)                                                \
    X(T, msg, totals, "to", OPT, 0, msg_totals)                                                       \
    X(T, flag, deleting, "d", OPT, 0, 0)                                                              \
    X(T, u32, grace_ms, "dg", OPT, 0, UINT32_MAX) /* deleting: what is stored stays so long… */     \
    X(T, i64, removal_us, "dr", OPT, 0,                                                               \
      0) /* …until then, once its tombstone is there; 0 = it is not */                              \
    X(T, flag, leftovers, "l", OPT, 0, 0) /* nobody has swept it yet */                               \
    /* earlier attempts left a checkpoint under backup_id: this or the next one goes on with it */    \
    X(T, flag, resumable, "rs", OPT, 0, 0)                                                            \
    X(T, txt, resume_note, "rn", OPT, 0, WIRE_TEXT_MAX) /* why ranges had to start over */            \
    X(T, u32, ranges_resumed, "rr", OPT, 0, UINT32_MAX) /* of those done, by earlier attempts */      \
    X(T, u64, bytes_resumed, "br", OPT, 0, UINT64_MAX)                                                \
    X(T, list, shares, "sh", OPT, 0, node_share, SHARES_MAX) /* of the last attempt */                \
    X(T, strs, warnings, "w", OPT, 0, WIRE_TEXT_MAX, WIRE_WARNINGS_MAX)                               \
    /* restore: of the backups, "" = storage */                                                       \
    X(T, txt, full_storage, "fs", OPT, 0, WIRE_URL_MAX)                                               \
    X(T, flag, share_log, "sl", OPT, 0, 0) /* backup: a log backup stores the same log there */       \
    X(T, str, secret, "se", OPT, 0, WIRE_NAME_MAX) /* restore: of storage, "" = none is sent… */    \
    X(T, str, full_secret, "sf", OPT, 0, WIRE_NAME_MAX) /* …and of full_storage */                  \
    X(T, msg, log, "lg", OPT, 0, log_record)                                                          \
    /* of several tenants: each has a record of its own, of this kind, namespace and name… */       \
    X(T, strs, parts, "pt", OPT, 0, WIRE_NAME_MAX, PARTS_MAX)                                         \
    X(T, str, part, "pp", OPT, 0, WIRE_NAME_MAX) /* …that is this tenant's, and has no document */  \
    X(T, u32, round, "pr", OPT, 0,                                                                    \
      UINT32_MAX) /* part: the whole's attempt that it takes part in */                               \
    /* whole: parts that are missing are not made before the list was confirmed */                    \
    X(T, flag, rebuilt, "rb", OPT, 0, 0)                                                              \
    /* kept in storage alone: the backup stays, its resource is gone; part: the whole's record */     \
    X(T, flag, gone, "gn", OPT, 0, 0)                                                                 \
    X(T, bin, whole, "wh", OPT, 0, WIRE_INTENT_MAX)
CODEC_DECLARE(record, RECORD_FIELDS);

/* A record with what it points to. */
struct stored {
    struct record rec;
    struct codec_arena arena;
};

#endif
