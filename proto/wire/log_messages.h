#ifndef TM_PROTO_WIRE_LOG_MESSAGES_H
#define TM_PROTO_WIRE_LOG_MESSAGES_H
/*
 * Parts of heartbeat and desired that carry a log backup: what is wanted of it, what it does, what is
 * asked of its stored log.
 */
#include "proto/wire/message_parts.h"

/* A stretch of time that storage can restore, or a tail that was abandoned. */
#define MSG_INTERVAL_FIELDS(X, T)                                                                  \
    X(T, str, lineage, "l", REQ, 0, WIRE_UID_MAX) /* 32 hex digits */                              \
    X(T, str, label, "b", OPT, 0, 63)                                                              \
    X(T, str, from_position, "f", REQ, 0, WIRE_POSITION_MAX)                                       \
    X(T, str, to_position, "t", REQ, 0, WIRE_POSITION_MAX)                                         \
    X(T, i64, from_us, "a", OPT, 0, 0)                                                             \
    X(T, i64, to_us, "z", OPT, 0, 0)                                                               \
    X(T, str, backup_id, "i", OPT, 0, WIRE_ID_MAX) /* the backup it starts from */                 \
    X(T, flag, abandoned, "x", OPT, 0, 0)
CODEC_DECLARE(msg_interval, MSG_INTERVAL_FIELDS);

/* What truncations took away stays stored for a grace time; then it is removed. */
enum log_removal {
    LOG_REMOVAL_UNKNOWN = 0, /* not looked yet */
    LOG_REMOVAL_DONE = 1,
    LOG_REMOVAL_WAITS = 2,
};

/* What a log task is doing: from its runner to the agent, and on in heartbeats. Times of the source
 * are by the source's clock. A role HOLD reports hold_… and error only. */
#define MSG_LOG_STATUS_FIELDS(X, T)                                                                \
    X(T, str, lineage, "l", OPT, 0, WIRE_UID_MAX)                                                  \
    X(T, str, label, "b", OPT, 0, 63)                                                              \
    X(T, u64, durable, "d", OPT, 0, UINT64_MAX)         /* log before this byte is stored */       \
    X(T, str, position, "p", OPT, 0, WIRE_POSITION_MAX) /* the same, for people */                 \
    X(T, i64, checkpoint_us, "t", OPT, 0, 0) /* everything acknowledged before is stored */        \
    X(T, u64, received, "r", OPT, 0, UINT64_MAX)                                                   \
    X(T, u64, flushed, "f", OPT, 0, UINT64_MAX)    /* by the source */                             \
    X(T, i64, source_us, "s", OPT, 0, 0)           /* the source's clock, at the last look */      \
    X(T, u64, latency_us, "y", OPT, 0, UINT64_MAX) /* source_us - checkpoint_us */                 \
    X(T, i64, skew_us, "k", OPT, 0, 0)             /* the source's clock minus the agent's */      \
    X(T, u32, receive_ms, "ar", OPT, 0,                                                            \
      UINT32_MAX) /* age of what waits in each stage; 0 = none */                                  \
    X(T, u32, compress_ms, "ac", OPT, 0, UINT32_MAX)                                               \
    X(T, u32, upload_ms, "au", OPT, 0, UINT32_MAX)                                                 \
    X(T, u32, commit_ms, "am", OPT, 0, UINT32_MAX)                                                 \
    X(T, u64, hold_at, "ha", OPT, 0, UINT64_MAX) /* the source keeps log from this byte on */      \
    X(T, str, hold_position, "hp", OPT, 0, WIRE_POSITION_MAX) /* the same, for people */           \
    X(T, str, hold_name, "hn", OPT, 0, 63)                                                         \
    X(T, u64, hold_bytes, "hb", OPT, 0, UINT64_MAX)                                                \
    X(T, flag, hold_lost, "hl", OPT, 0, 0) /* released or recycled: the log has a gap */           \
    X(T, flag, at_risk, "hr", OPT, 0, 0)   /* HOLD: keeps less than a failover would need */       \
    X(T, u64, chunks, "n", OPT, 0, UINT64_MAX)                                                     \
    X(T, u64, raw_bytes, "w", OPT, 0, UINT64_MAX)                                                  \
    X(T, u64, stored_bytes, "z", OPT, 0, UINT64_MAX)                                               \
    X(T, flag, needs_full, "nf", OPT, 0, 0) /* no backup leads to what is stored now */            \
    X(T, txt, warning, "wn", OPT, 0, WIRE_TEXT_MAX)                                                \
    X(T, u32, truncate_gen, "tg", OPT, 0, UINT32_MAX) /* the newest that was carried out */        \
    X(T, i64, truncated_us, "tt", OPT, 0, 0)                                                       \
    X(T, str, truncated_position, "tp", OPT, 0, WIRE_POSITION_MAX)                                 \
    X(T, msg, truncate_error, "te", OPT, 0, msg_error)                                             \
    X(T, u32, removal, "rm", OPT, 0, 3) /* enum log_removal */                                     \
    X(T, msg, removal_error, "re", OPT, 0, msg_error)                                              \
    X(T, list, recoverable, "v", OPT, 0, msg_interval, WIRE_INTERVALS_MAX)                         \
    X(T, msg, storage, "st", OPT, 0, msg_storage_stats)                                            \
    X(T, strs, emptied, "em", OPT, 0, WIRE_URL_MAX, WIRE_PLACES_MAX)                               \
    X(T, msg, error, "x", OPT, 0, msg_error) /* what it is stuck on; gone when it moves again */
CODEC_DECLARE(msg_log_status, MSG_LOG_STATUS_FIELDS);

/* A question about the stored log, which takes nothing away: what is found, and what a truncation
 * would remove. Asked until it is answered, and told apart by its id. */
enum log_query_kind {
    LOG_QUERY_SEARCH = 1,
    LOG_QUERY_TRUNCATE = 2,
};
#define MSG_LOG_QUERY_FIELDS(X, T)                                                                 \
    X(T, u64, id, "i", REQ, 0, UINT64_MAX)                                                         \
    X(T, u32, kind, "k", REQ, 0, 31)                                                               \
    X(T, i64, from_us, "f", OPT, 0, 0) /* search: events of this time or later; 0 = all */         \
    X(T, i64, to_us, "t", OPT, 0, 0)   /* and of this or earlier; 0 = all */                       \
    X(T, u64, xid, "x", OPT, 0, UINT64_MAX)                                                        \
    X(T, txt, name, "n", OPT, 0, 63)                                                               \
    X(T, flag, points, "p", OPT, 0, 0)             /* only named points */                         \
    X(T, u32, limit, "l", OPT, 0, WIRE_EVENTS_MAX) /* 0 = as many as there can be */               \
    X(T, txt, until, "u", OPT, 0, 63)              /* truncate: time, TSO or position */           \
    X(T, flag, force, "o", OPT, 0, 0)
CODEC_DECLARE(msg_log_query, MSG_LOG_QUERY_FIELDS);

/* kind: enum event_kind */
#define MSG_LOG_EVENT_FIELDS(X, T)                                                                 \
    X(T, u32, kind, "k", REQ, 0, 31)                                                               \
    X(T, i64, time_us, "t", REQ, 0, 0)                                                             \
    X(T, str, position, "p", REQ, 0, WIRE_POSITION_MAX) /* where the record begins */              \
    X(T, u64, xid, "x", OPT, 0, UINT64_MAX)                                                        \
    X(T, str, lineage, "l", REQ, 0, WIRE_UID_MAX) /* 32 hex digits */                              \
    X(T, str, label, "b", OPT, 0, 63)                                                              \
    X(T, txt, name, "n", OPT, 0, 63)
CODEC_DECLARE(msg_log_event, MSG_LOG_EVENT_FIELDS);

#define MSG_LOG_ANSWER_FIELDS(X, T)                                                                \
    X(T, u64, id, "i", REQ, 0, UINT64_MAX) /* of the question */                                   \
    X(T, msg, error, "x", OPT, 0, msg_error)                                                       \
    X(T, list, events, "e", OPT, 0, msg_log_event, WIRE_EVENTS_MAX)                                \
    X(T, flag, more, "m", OPT, 0, 0)           /* there are more events than these */              \
    X(T, u64, chunks, "c", OPT, 0, UINT64_MAX) /* to be removed */                                 \
    X(T, u64, bytes, "b", OPT, 0, UINT64_MAX)                                                      \
    X(T, i64, truncated_us, "tt", OPT, 0, 0)                                                       \
    X(T, str, truncated_position, "tp", OPT, 0, WIRE_POSITION_MAX)                                 \
    X(T, txt, warning, "w", OPT, 0, WIRE_TEXT_MAX) /* what the answer leaves out */
CODEC_DECLARE(msg_log_answer, MSG_LOG_ANSWER_FIELDS);

/* Another storage than the log's, where backups of the tenant lie. One whose secret did not come cannot be
 * read: the task goes on without. */
#define MSG_LOG_PLACE_FIELDS(X, T)                                                                 \
    X(T, txt, storage, "r", REQ, 0, WIRE_URL_MAX)                                                  \
    X(T, msg, secret, "v", OPT, 0, msg_secret) /* absent = the agent's own credentials */
CODEC_DECLARE(msg_log_place, MSG_LOG_PLACE_FIELDS);

/* How to stream, and what is wanted of the stored log. */
#define MSG_LOG_PARAMS_FIELDS(X, T)                                                                \
    X(T, str, compression, "z", OPT, 0, 31)                                                        \
    X(T, u32, flush_ms, "f", OPT, 0, 3600000) /* 0 = 5000 */                                       \
    X(T, u32, gcttl_s, "g", OPT, 0,                                                                \
      UINT32_MAX) /* a paused task's hold lives so long; 0 = a day */                              \
    X(T, u64, hold_limit, "h", OPT, 0, UINT64_MAX) /* bytes of log held at the source; 0 = none */ \
    X(T, flag, release, "r", OPT, 0, 0) /* beyond either the hold is released, else only told */   \
    X(T, flag, from_standby, "s", OPT, 0, 0)                                                       \
    X(T, flag, accept_incarnation, "a", OPT, 0, 0)                                                 \
    X(T, u64, checkpoint, "c", OPT, 0, UINT64_MAX) /* log before it is stored; a hold follows */   \
    X(T, i64, paused_us, "p", OPT, 0, 0)           /* PAUSE: since when */                         \
    X(T, flag, hold_gone, "hg", OPT, 0, 0)         /* STOP: it has none, whoever has the name */   \
    X(T, u32, truncate_gen, "tg", OPT, 0, UINT32_MAX) /* grows with every wish to truncate */      \
    X(T, txt, truncate_until, "tu", OPT, 0, 63)       /* time, TSO or position */                  \
    X(T, flag, truncate_force, "tf", OPT, 0, 0)                                                    \
    X(T, flag, truncate_blind, "tb", OPT, 0,                                                       \
      0) /* takes what an unseen backup needs: see places */                                       \
    X(T, u32, grace_ms, "gr", OPT, 0,                                                              \
      UINT32_MAX) /* what is truncated stays so long; 0 = 600000 */                                \
    X(T, list, places, "b", OPT, 0, msg_log_place,                                                 \
      WIRE_PLACES_MAX) /* LEAD: with backups that are kept, newest first */                        \
    X(T, msg, query, "q", OPT, 0, msg_log_query) /* LEAD */
CODEC_DECLARE(msg_log_params, MSG_LOG_PARAMS_FIELDS);

#endif
