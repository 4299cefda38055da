#ifndef TM_PROTO_WIRE_MESSAGE_PARTS_H
#define TM_PROTO_WIRE_MESSAGE_PARTS_H
/*
 * Bounds of what is on the wire, and the parts that several messages (messages.h) are made of.
 */
#include "proto/wire/codec.h"

#define WIRE_NAME_MAX     63 /* cluster, node, tenant, resource names */
#define WIRE_UID_MAX      32
#define WIRE_ID_MAX       32           /* backup id */
#define WIRE_KEY_MAX      1100         /* ENGINE_KEY_MAX */
#define WIRE_BLOB_MAX     (256 * 1024) /* ENGINE_BLOB_MAX */
#define WIRE_RESULT_MAX   4096
#define WIRE_URL_MAX      1023
#define WIRE_PATH_MAX     1023
#define WIRE_TEXT_MAX     511 /* error messages */
#define WIRE_POSITION_MAX 64
#define WIRE_ROOT_MAX     4096 /* plan root: what the runner needs to find its stored plan again */

#define WIRE_INSTANCES_MAX 16
#define WIRE_JOBS_MAX      16
#define WIRE_LEASES_MAX    64  /* in one message, and held by one agent for one job */
#define WIRE_PLAN_MAX      256 /* ranges in one plan_ranges */
#define WIRE_RESULTS_MAX   64  /* in one results page, in one ranges_done */
#define WIRE_PROBLEMS_MAX  16
#define WIRE_WARNINGS_MAX  8  /* of one job */
#define WIRE_OPTIONS_MAX   64 /* strings in a list of pairs */
#define WIRE_INTERVALS_MAX 32
#define WIRE_PAIRS_MAX     16           /* of one secret … */
#define WIRE_VALUE_MAX     4096         /* … each so long … */
#define WIRE_SECRET_MAX    16384        /* … and all of them together, by whoever makes it */
#define WIRE_PLACES_MAX    4            /* other storages with backups, of one log task */
#define WIRE_PROBES_MAX    4            /* storage tests at once on one node */
#define WIRE_HOLDS_MAX     64           /* of snapshots, on one node */
#define WIRE_PROBE_STEPS   16           /* of one test */
#define WIRE_PROBE_NODES   64           /* that one test tells of others */
#define WIRE_EVENTS_MAX    1000         /* in one answer … */
#define WIRE_EVENTS_BYTES  (256 * 1024) /* … which is about this long at most */

/* ---- parts ---- */

/* code: the number of enum tm_err_code */
#define MSG_ERROR_FIELDS(X, T)                                                                     \
    X(T, u32, code, "c", REQ, 0, 255)                                                              \
    X(T, txt, text, "m", REQ, 0, WIRE_TEXT_MAX)                                                    \
    X(T, flag, retryable, "r", OPT, 0, 0)                                                          \
    X(T, str, stage, "s", OPT, 0,                                                                  \
      31) /* what was being done: "begin", "plan", "range", "commit" */                            \
    X(T, i64, since_us, "t", OPT, 0, 0)
CODEC_DECLARE(msg_error, MSG_ERROR_FIELDS);

/* The same numbers as enum engine_role and enum engine_cap of agent/engine/engine.h. */
enum instance_role {
    INSTANCE_UNKNOWN,
    INSTANCE_PRIMARY,
    INSTANCE_STANDBY,
    INSTANCE_MEMBER,
};
#define INSTANCE_CAP_HOLD               (1u << 0) /* log is kept at the source by name */
#define INSTANCE_CAP_RANGE_OWN_POSITION (1u << 2) /* any member may read any range */

/* An instance as the agent sees it now. role: enum instance_role; caps: enum engine_cap. */
#define MSG_INSTANCE_FIELDS(X, T)                                                                  \
    X(T, str, tenant, "t", REQ, 0, WIRE_NAME_MAX)                                                  \
    X(T, str, engine, "e", REQ, 0, 15)                                                             \
    X(T, u32, caps, "c", OPT, 0, UINT32_MAX)                                                       \
    X(T, u32, role, "r", OPT, 0, 255)                                                              \
    X(T, str, identity, "i", OPT, 0, 63)                                                           \
    X(T, str, version, "v", OPT, 0, 31)                                                            \
    X(T, str, lineage_label, "l", OPT, 0, 63)                                                      \
    X(T, str, position, "p", OPT, 0, WIRE_POSITION_MAX) /* as people read it */                    \
    X(T, u64, lag_us, "g", OPT, 0, UINT64_MAX)                                                     \
    X(T, u64, data_bytes, "b", OPT, 0, UINT64_MAX)                                                 \
    X(T, msg, error, "x", OPT, 0, msg_error) /* why it cannot be described */
CODEC_DECLARE(msg_instance, MSG_INSTANCE_FIELDS);

enum hold_state {
    HOLD_IN_USE = 1,   /* its backup is being worked on here */
    HOLD_WAITING = 2,  /* for somebody who goes on, until `until_us` */
    HOLD_DROPPING = 3, /* it goes as soon as the source can be asked */
};

/* Log that a source keeps for a snapshot. Times are by the agent's clock. state: enum hold_state. */
#define MSG_HOLD_FIELDS(X, T)                                                                      \
    X(T, str, tenant, "t", REQ, 0, WIRE_NAME_MAX)                                                  \
    X(T, str, name, "n", REQ, 0, 63) /* at the source */                                           \
    X(T, str, backup_id, "i", OPT, 0,                                                              \
      WIRE_ID_MAX) /* empty: the agent found it, and knows no more */                              \
    X(T, u32, state, "s", REQ, 0, 31)                                                              \
    X(T, i64, since_us, "f", OPT, 0, 0)                                                            \
    X(T, i64, until_us, "u", OPT, 0, 0)                                                            \
    X(T, flag, seen, "k", OPT, 0, 0) /* the source was asked a moment ago, and said … */         \
    X(T, u64, bytes, "b", OPT, 0, UINT64_MAX) /* … that it keeps so much, … */                 \
    X(T, flag, lost, "l", OPT, 0, 0)          /* … or that it gave it up */
CODEC_DECLARE(msg_hold, MSG_HOLD_FIELDS);

/* An epoch orders leases of one range: first by term, then by counter. */
#define MSG_LEASE_FIELDS(X, T)                                                                     \
    X(T, u32, range, "r", REQ, 0, UINT32_MAX - 1)                                                  \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, u64, counter, "c", REQ, 0, UINT32_MAX)                                                    \
    X(T, bin, start, "s", OPT, 0, WIRE_KEY_MAX) /* absent in reports */                            \
    X(T, bin, end, "n", OPT, 0, WIRE_KEY_MAX)   /* empty = top */                                  \
    X(T, u64, bytes, "b", OPT, 0, UINT64_MAX)   /* as estimated by the plan */                     \
    X(T, flag, shared, "h", OPT, 0,                                                                \
      0) /* an older lease of it is still good: the first one done wins */
CODEC_DECLARE(msg_lease, MSG_LEASE_FIELDS);

/* Counters that travel beside the opaque result of a range, or sum up a job. */
#define MSG_COUNTERS_FIELDS(X, T)                                                                  \
    X(T, u64, files, "f", OPT, 0, UINT64_MAX)                                                      \
    X(T, u64, bytes, "b", OPT, 0, UINT64_MAX)                                                      \
    X(T, u64, stored_bytes, "s", OPT, 0, UINT64_MAX)                                               \
    X(T, u64, pages_checked, "k", OPT, 0, UINT64_MAX)                                              \
    X(T, u64, pages_unverified, "u", OPT, 0, UINT64_MAX)                                           \
    X(T, u64, pages_corrupt, "x", OPT, 0, UINT64_MAX)                                              \
    X(T, txt, problem, "p", OPT, 0, WIRE_TEXT_MAX) /* the first one, named by file and block */
CODEC_DECLARE(msg_counters, MSG_COUNTERS_FIELDS);

/* A stored range. blob: one encoded range entry for the manifest; opaque to the coordinator. */
#define MSG_RESULT_FIELDS(X, T)                                                                    \
    X(T, u32, range, "r", REQ, 0, UINT32_MAX - 1)                                                  \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, u64, counter, "c", REQ, 0, UINT32_MAX)                                                    \
    X(T, bin, blob, "d", OPT, 0, WIRE_RESULT_MAX)                                                  \
    X(T, msg, counters, "n", OPT, 0, msg_counters)                                                 \
    X(T, msg, error, "x", OPT, 0, msg_error) /* set: the range failed, nothing is stored */        \
    X(T, flag, stored, "k", OPT, 0,                                                                \
      0) /* by an earlier attempt, or for an earlier coordinator: the lead says so */
CODEC_DECLARE(msg_result, MSG_RESULT_FIELDS);

/* Something wrong in the source that a good backup carries along: a corrupt page. */
#define MSG_PROBLEM_FIELDS(X, T)                                                                   \
    X(T, txt, path, "p", REQ, 0, WIRE_PATH_MAX)                                                    \
    X(T, u64, block, "b", OPT, 0, UINT64_MAX)                                                      \
    X(T, txt, what, "w", REQ, 0, WIRE_TEXT_MAX)
CODEC_DECLARE(msg_problem, MSG_PROBLEM_FIELDS);

/* What a dry run found that a restore would do; the moment and the position stand in the totals. */
#define MSG_RESTORE_PLAN_FIELDS(X, T)                                                              \
    X(T, str, backup_id, "i", REQ, 0, WIRE_ID_MAX)                                                 \
    X(T, flag, by_log, "l", OPT, 0, 0)            /* log behind the backup is replayed … */      \
    X(T, str, label, "b", OPT, 0, 63)             /* … of this branch … */                     \
    X(T, u64, log_bytes, "w", OPT, 0, UINT64_MAX) /* … so much of it */                          \
    X(T, u32, ranges, "r", OPT, 0, UINT32_MAX)                                                     \
    X(T, u64, bytes, "z", OPT, 0, UINT64_MAX) /* to be fetched, unpacked */                        \
    X(T, u64, estimate_us, "e", OPT, 0, UINT64_MAX)                                                \
    X(T, u32, threads, "n", OPT, 0, 256)
CODEC_DECLARE(msg_restore_plan, MSG_RESTORE_PLAN_FIELDS);

/* What a finished backup is. */
#define MSG_TOTALS_FIELDS(X, T)                                                                    \
    X(T, msg, counters, "n", OPT, 0, msg_counters)                                                 \
    X(T, u64, log_bytes, "l", OPT, 0, UINT64_MAX)                                                  \
    X(T, i64, commit_us, "t", OPT, 0, 0) /* commit ts of consistent_at */                          \
    X(T, str, position, "p", OPT, 0, WIRE_POSITION_MAX)                                            \
    X(T, str, lineage, "g", OPT, 0, 63)                                                            \
    X(T, txt, path, "u", OPT, 0, WIRE_URL_MAX) /* where it lies, without secrets */                \
    X(T, list, problems, "q", OPT, 0, msg_problem, WIRE_PROBLEMS_MAX) /* the first ones */         \
    X(T, msg, plan, "d", OPT, 0, msg_restore_plan)                    /* of a dry run */           \
    X(T, i64, completed_us, "c", OPT, 0, 0)                           /* as the manifest has it */
CODEC_DECLARE(msg_totals, MSG_TOTALS_FIELDS);

/* How the requests to an object store have gone, from one runner. limit_max 0: no object store. */
#define MSG_STORAGE_STATS_FIELDS(X, T)                                                             \
    X(T, u64, requests, "r", OPT, 0, UINT64_MAX)                                                   \
    X(T, u64, retries, "t", OPT, 0, UINT64_MAX)                                                    \
    X(T, u64, slow_downs, "s", OPT, 0, UINT64_MAX)                                                 \
    X(T, u32, limit, "l", OPT, 0, UINT32_MAX)                                                      \
    X(T, u32, limit_max, "m", OPT, 0, UINT32_MAX)                                                  \
    X(T, i64, skew_us, "k", OPT, 0, 0) /* the store's clock minus the node's */
CODEC_DECLARE(msg_storage_stats, MSG_STORAGE_STATS_FIELDS);

/* ---- secrets ---- */

#define MSG_PAIR_FIELDS(X, T)                                                                      \
    X(T, str, name, "n", REQ, 0, 63)                                                               \
    X(T, bin, value, "v", OPT, 0, WIRE_VALUE_MAX)
CODEC_DECLARE(msg_pair, MSG_PAIR_FIELDS);

/* What an agent needs to get into a store: pairs, or the reason why there are none. Neither: kept by
 * the agent for its next life, which has to wait for the coordinator. Travels over TLS or loopback
 * alone, and is never stored. */
#define MSG_SECRET_FIELDS(X, T)                                                                    \
    X(T, str, name, "n", REQ, 0, WIRE_NAME_MAX)                                                    \
    X(T, list, pairs, "p", OPT, 0, msg_pair, WIRE_PAIRS_MAX)                                       \
    X(T, msg, error, "x", OPT, 0, msg_error)
CODEC_DECLARE(msg_secret, MSG_SECRET_FIELDS);

#endif
