#ifndef TM_PROTO_WIRE_MESSAGES_H
#define TM_PROTO_WIRE_MESSAGES_H
/*
 * What agents and the coordinator say to each other. proto/README.md tells the whole story; this is
 * the list, with its bounds. A -> C asks, C -> A answers, one answer a request:
 *
 *     A -> C  hello          C -> A  challenge      wire/hello.h: who are you, prove it
 *     A -> C  proof          C -> A  welcome
 *     A -> C  heartbeat      C -> A  desired        every second: what I have / what you should have
 *     A -> C  poll           C -> A  desired        parked until the desired set changes
 *     A -> C  plan_ranges    C -> A  plan_ack       lead: the ranges there are, in batches
 *     A -> C  want_ranges    C -> A  ranges         worker: leases, please
 *     A -> C  ranges_done    C -> A  verdicts       worker: these are stored
 *     A -> C  want_results   C -> A  results        lead: what won, in key order
 *     any                    C -> A  error          refused; the connection is kept
 *
 * Level-triggered: losing, repeating or delaying any message changes when, never what. An agent
 * reports what it has; the coordinator replies with all it wants. (job uid, attempt, range, epoch)
 * identify work, so doing a message twice is doing it once.
 *
 * Envelope: a map {v: minor, t: type, r: request serial, e: term, m: body}. A reply carries the
 * serial of its request. The term in a request is the newest the agent knows, in a reply the
 * coordinator's.
 *
 * Ownership: a decoded struct message owns everything it points to until message_release. A message
 * built by hand points wherever its builder likes; only its arena is released.
 */
#include "proto/wire/codec.h"

#define MESSAGE_MINOR     0                 /* this program's minor version */
#define MESSAGE_MAX_BYTES ((size_t)1 << 20) /* a longer one is refused unread */

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
    X(T, msg, error, "x", OPT, 0, msg_error) /* set: the range failed, nothing is stored */
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
    X(T, msg, plan, "d", OPT, 0, msg_restore_plan)                    /* of a dry run */
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

/* ---- storage tests ---- */

/* In the order in which they are done. */
enum probe_step {
    PROBE_OPEN = 1,
    PROBE_PUT = 2,    /* small objects, written */
    PROBE_GET = 3,    /* and read back */
    PROBE_RANGE = 4,  /* a part of one */
    PROBE_LIST = 5,   /* they are there */
    PROBE_AGAIN = 6,  /* one is created a second time */
    PROBE_UPLOAD = 7, /* a big object, for the throughput */
    PROBE_DOWNLOAD = 8,
    PROBE_REMOVE = 9,
    PROBE_GONE = 10, /* none is listed any more */
};
#define PROBE_STEP_LAST PROBE_GONE

enum probe_outcome {
    PROBE_SKIPPED = 1, /* what it needs was not there */
    PROBE_OK = 2,
    PROBE_FAILED = 3,
    PROBE_RUNNING = 4, /* not over when this was told */
};

/* "write", "read", …; "ok", "failed", …: for people and JSON. */
const char *probe_step_text(unsigned step);
const char *probe_outcome_text(unsigned outcome);

/* What the store says to a second creation of a name. */
enum probe_create {
    PROBE_CREATE_UNKNOWN,
    PROBE_CREATE_FENCED, /* refuses it, atomically */
    PROBE_CREATE_LOOKED, /* takes it: names alone keep writers apart */
};

/* error: FAILED, in the storage's own words */
#define MSG_PROBE_STEP_FIELDS(X, T)                                                                \
    X(T, u32, step, "s", REQ, 0, 255)                                                              \
    X(T, u32, outcome, "o", REQ, 0, 255)                                                           \
    X(T, u64, took_us, "t", OPT, 0, UINT64_MAX)                                                    \
    X(T, msg, error, "x", OPT, 0, msg_error)
CODEC_DECLARE(msg_probe_step, MSG_PROBE_STEP_FIELDS);

/* A storage to be tested from this node: asked until it is answered, told apart by its id, which is
 * the same for all nodes that are asked. */
#define MSG_PROBE_FIELDS(X, T)                                                                     \
    X(T, u64, id, "i", REQ, 0, UINT64_MAX)                                                         \
    X(T, txt, storage, "r", REQ, 0, WIRE_URL_MAX)                                                  \
    X(T, u32, timeout_ms, "t", REQ, 0, 3600000)                                                    \
    X(T, u32, nodes, "n", OPT, 0, UINT32_MAX) /* that are asked */                                 \
    X(T, msg, secret, "v", OPT, 0, msg_secret)
CODEC_DECLARE(msg_probe, MSG_PROBE_FIELDS);

/*
 * What a node found. What concerns a mounted path is there with `mount` alone. seen: the nodes whose
 * token was found in the same directory, this one among them. error: the test as a whole could not be
 * done, or was not done in time; the step it hung in is RUNNING then.
 */
#define MSG_PROBE_ANSWER_FIELDS(X, T)                                                              \
    X(T, u64, id, "i", REQ, 0, UINT64_MAX)                                                         \
    X(T, list, steps, "s", OPT, 0, msg_probe_step, WIRE_PROBE_STEPS)                               \
    X(T, u64, put_us, "pu", OPT, 0, UINT64_MAX) /* medians */                                      \
    X(T, u64, get_us, "gu", OPT, 0, UINT64_MAX)                                                    \
    X(T, u64, upload_rate, "ur", OPT, 0, UINT64_MAX) /* bytes a second */                          \
    X(T, u64, download_rate, "dr", OPT, 0, UINT64_MAX)                                             \
    X(T, u32, create, "c", OPT, 0, 31) /* enum probe_create */                                     \
    X(T, flag, has_skew, "hk", OPT, 0, 0)                                                          \
    X(T, i64, skew_us, "k", OPT, 0, 0) /* the store's clock minus the node's */                    \
    X(T, txt, mount, "m", OPT, 0, WIRE_PATH_MAX)                                                   \
    X(T, txt, mount_source, "mo", OPT, 0, WIRE_PATH_MAX) /* "server:/export", a device */          \
    X(T, str, fs_type, "mf", OPT, 0, 63)                                                           \
    X(T, flag, network, "mn", OPT, 0, 0) /* a file system of the network */                        \
    X(T, flag, has_free, "hf", OPT, 0, 0)                                                          \
    X(T, u64, free_bytes, "f", OPT, 0, UINT64_MAX)                                                 \
    X(T, strs, seen, "n", OPT, 0, WIRE_NAME_MAX, WIRE_PROBE_NODES)                                 \
    X(T, strs, warnings, "w", OPT, 0, WIRE_TEXT_MAX, WIRE_WARNINGS_MAX)                            \
    X(T, msg, error, "x", OPT, 0, msg_error)
CODEC_DECLARE(msg_probe_answer, MSG_PROBE_ANSWER_FIELDS);

/* ---- log backup ---- */

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
    X(T, str, truncated_position, "tp", OPT, 0, WIRE_POSITION_MAX)
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
    X(T, u32, truncate_gen, "tg", OPT, 0, UINT32_MAX) /* grows with every wish to truncate */      \
    X(T, txt, truncate_until, "tu", OPT, 0, 63)       /* time, TSO or position */                  \
    X(T, flag, truncate_force, "tf", OPT, 0, 0)                                                    \
    X(T, u32, grace_ms, "gr", OPT, 0,                                                              \
      UINT32_MAX) /* what is truncated stays so long; 0 = 600000 */                                \
    X(T, list, places, "b", OPT, 0, msg_log_place,                                                 \
      WIRE_PLACES_MAX) /* LEAD: with backups that are kept, newest first */                        \
    X(T, msg, query, "q", OPT, 0, msg_log_query) /* LEAD */
CODEC_DECLARE(msg_log_params, MSG_LOG_PARAMS_FIELDS);

/* ---- heartbeat, poll -> desired ---- */

/* How far an agent is with a job. Only ever grows inside one attempt, but for FAILED -> SWEPT. */
enum job_stage {
    JOB_STAGE_STARTING = 1, /* session and runner are coming up */
    JOB_STAGE_PLANNING = 2, /* lead: both are up, the plan is being made */
    JOB_STAGE_WORKING = 3,  /* plan complete (lead); takes ranges (worker); moves bytes (restore) */
    JOB_STAGE_FINISHING = 4, /* lead: session ended, manifest under way */
    JOB_STAGE_COMMITTED = 5, /* lead: manifest stored; totals set */
    JOB_STAGE_RESTORED = 6,  /* restore complete; totals set */
    JOB_STAGE_FAILED = 7,    /* error set; nothing runs any more */
    JOB_STAGE_SWEPT = 8,     /* after FAILED or for a deletion: storage is clean */
    JOB_STAGE_PAUSED = 9,    /* log: nothing streams, the hold is kept */
    JOB_STAGE_STOPPED = 10,  /* log: nothing streams, the hold is released */
};

#define MSG_JOB_FIELDS(X, T)                                                                         \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                        \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                      \
    X(T, u32, kind, "n", OPT, 0, 31) /* enum job_kind */                                             \
    X(T, u32, stage, "s", REQ, 0, 31)                                                                \
    X(T, flag, plan_complete, "p", OPT, 0, 0) /* lead: the whole plan is in this agent's memory */   \
    X(T, u32, plan_ranges, "q", OPT, 0, UINT32_MAX)                                                  \
    X(T, u32, runner_restarts, "k", OPT, 0, UINT32_MAX)                                              \
    X(T, u64, bytes_done, "b", OPT, 0, UINT64_MAX) /* moved so far, finished or not */               \
    X(T, u64, bytes_total, "z", OPT, 0, UINT64_MAX)                                                  \
    X(T, u64, log_bytes, "l", OPT, 0, UINT64_MAX)                                                    \
    /* held: waiting, being read, or done and not yet judged */                                      \
    X(T, list, leases, "h", OPT, 0, msg_lease, WIRE_LEASES_MAX)                                      \
    /* newest want_ranges whose answer was taken or given up: a lease granted by it or before, and \
     * not listed above, is free again */ \
    X(T, u64, want_serial, "w", OPT, 0, UINT64_MAX)                                                  \
    X(T, msg, totals, "t", OPT, 0, msg_totals)                                                       \
    X(T, msg, error, "x", OPT, 0, msg_error)                                                         \
    X(T, msg, log, "g", OPT, 0, msg_log_status)                                                      \
    X(T, msg, answer, "v", OPT, 0, msg_log_answer) /* to the query that is desired now */            \
    X(T, msg, storage, "st", OPT, 0,                                                                 \
      msg_storage_stats) /* of an object store, by the runner now */                                 \
    X(T, strs, warnings, "y", OPT, 0, WIRE_TEXT_MAX, WIRE_WARNINGS_MAX) /* all of this attempt */
CODEC_DECLARE(msg_job, MSG_JOB_FIELDS);

#define MSG_HEARTBEAT_FIELDS(X, T)                                                                 \
    X(T, u64, revision, "r", OPT, 0, UINT64_MAX) /* of the newest desired set applied */           \
    X(T, str, version, "v", OPT, 0, 31)                                                            \
    X(T, list, instances, "i", OPT, 0, msg_instance, WIRE_INSTANCES_MAX)                           \
    X(T, list, jobs, "j", OPT, 0, msg_job, WIRE_JOBS_MAX)                                          \
    X(T, list, probes, "p", OPT, 0, msg_probe_answer, WIRE_PROBES_MAX)
CODEC_DECLARE(msg_heartbeat, MSG_HEARTBEAT_FIELDS);

/* Parks until the agent's desired set is newer than `revision` of this term, or for a while. */
#define MSG_POLL_FIELDS(X, T)                                                                      \
    X(T, u64, term, "e", OPT, 0, UINT64_MAX)                                                       \
    X(T, u64, revision, "r", OPT, 0, UINT64_MAX)
CODEC_DECLARE(msg_poll, MSG_POLL_FIELDS);

enum job_kind {
    JOB_KIND_BACKUP = 1, /* full snapshot */
    JOB_KIND_RESTORE = 2,
    JOB_KIND_DELETE = 3, /* tombstone and sweep of a finished backup */
    JOB_KIND_LOG = 4,    /* log backup: never done by itself */
    JOB_KIND_PROBE = 31, /* between agent and runner alone: a storage test */
};

enum job_role {
    JOB_ROLE_LEAD = 1u << 0,
    JOB_ROLE_WORKER = 1u << 1,
    JOB_ROLE_HOLD = 1u << 2, /* log: keep the log on this standby from the checkpoint on */
};

enum job_step {
    JOB_STEP_PREPARE = 1, /* lead: begin the session, make the plan */
    JOB_STEP_RUN = 2,     /* workers: take ranges. restore, delete: do it */
    JOB_STEP_FINISH = 3,  /* lead: end the session, commit */
    JOB_STEP_ABORT = 4,   /* everybody stop; lead: sweep unless a manifest is there */
    JOB_STEP_PAUSE = 5,   /* log: stop streaming, keep the hold */
    JOB_STEP_STOP = 6,    /* log: stop streaming, release the hold; truncation is still done */
};

/* How to read and store. */
#define MSG_BACKUP_PARAMS_FIELDS(X, T)                                                             \
    X(T, str, backup_id, "i", REQ, 0, WIRE_ID_MAX)                                                 \
    X(T, str, compression, "z", OPT, 0, 31) /* "zstd:3", "none"; empty = default */                \
    X(T, u32, concurrency, "n", OPT, 0, 256)                                                       \
    X(T, u64, rate_limit, "l", OPT, 0, UINT64_MAX)  /* bytes a second on this node, 0 = none */    \
    X(T, u64, range_bytes, "b", OPT, 0, UINT64_MAX) /* 0 = default */                              \
    X(T, flag, checksum, "k", OPT, 0, 0)   /* verify all that was stored before the commit */      \
    X(T, flag, fast_start, "f", OPT, 0, 0) /* immediate checkpoint */                              \
    X(T, flag, accept_incarnation, "a", OPT, 0, 0) /* a new identity under this name is meant */   \
    X(T, flag, share_log, "s", OPT, 0, 0) /* a log task stores this tenant's log there, too */
CODEC_DECLARE(msg_backup_params, MSG_BACKUP_PARAMS_FIELDS);

/* tablespace_map: "old", "new", …; server_options: "name", "value", … */
#define MSG_RESTORE_PARAMS_FIELDS(X, T)                                                            \
    X(T, str, backup_id, "i", OPT, 0, WIRE_ID_MAX) /* empty = newest complete one */               \
    X(T, str, source_cluster, "c", REQ, 0, WIRE_NAME_MAX)                                          \
    X(T, str, source_tenant, "t", REQ, 0, WIRE_NAME_MAX)                                           \
    X(T, txt, data_dir, "d", REQ, 0, WIRE_PATH_MAX)                                                \
    X(T, txt, wal_dir, "w", OPT, 0, WIRE_PATH_MAX)                                                 \
    X(T, txt, target, "g", OPT, 0, 191)   /* "immediate" when absent; spec.h says its forms */     \
    X(T, flag, exclusive, "v", OPT, 0, 0) /* stop before the target, not behind it */              \
    X(T, str, lineage, "u", OPT, 0, WIRE_UID_MAX) /* 32 hex digits; empty = choose */              \
    X(T, txt, full_storage, "f", OPT, 0,                                                           \
      WIRE_URL_MAX) /* where backups lie when not with the log */                                  \
    X(T, strs, tablespace_map, "m", OPT, 0, WIRE_PATH_MAX, WIRE_OPTIONS_MAX)                       \
    X(T, strs, server_options, "o", OPT, 0, 1023, WIRE_OPTIONS_MAX)                                \
    X(T, u32, concurrency, "n", OPT, 0, 256)                                                       \
    X(T, u64, rate_limit, "l", OPT, 0, UINT64_MAX)                                                 \
    X(T, u32, port, "p", OPT, 0, 65535)                                                            \
    X(T, u32, start_timeout_ms, "q", OPT, 0, UINT32_MAX)                                           \
    X(T, flag, start, "s", OPT, 0, 0)                                                              \
    X(T, flag, delta, "x", OPT, 0, 0)                                                              \
    X(T, flag, dry_run, "y", OPT, 0, 0) /* plan and check only: nothing is written */
CODEC_DECLARE(msg_restore_params, MSG_RESTORE_PARAMS_FIELDS);

/*
 * A job this agent should have. plan_have and plan_done tell the lead what the coordinator already
 * knows of its plan; while that is less than the lead's own, it sends the rest again.
 */
#define MSG_ASSIGNMENT_FIELDS(X, T)                                                                \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, u32, kind, "k", REQ, 0, 31)                                                               \
    X(T, u32, roles, "o", REQ, 0, 255)                                                             \
    X(T, u32, step, "s", REQ, 0, 31)                                                               \
    X(T, str, boot, "x", REQ, 0, WIRE_UID_MAX) /* the life of the agent that may START this job */ \
    X(T, str, cluster, "c", REQ, 0, WIRE_NAME_MAX)                                                 \
    X(T, str, tenant, "t", OPT, 0, WIRE_NAME_MAX)                                                  \
    X(T, str, identity, "i", OPT, 0, 63) /* incarnation that the lead had when it was chosen */    \
    X(T, txt, name, "n", REQ, 0, WIRE_NAME_MAX) /* of the resource, for logs */                    \
    X(T, txt, storage, "r", REQ, 0, WIRE_URL_MAX)                                                  \
    X(T, u32, plan_gen, "g", OPT, 0, UINT32_MAX)                                                   \
    X(T, u32, plan_have, "h", OPT, 0, UINT32_MAX)                                                  \
    X(T, flag, plan_done, "d", OPT, 0, 0)                                                          \
    X(T, msg, backup, "b", OPT, 0, msg_backup_params)   /* BACKUP, DELETE */                       \
    X(T, msg, restore, "e", OPT, 0, msg_restore_params) /* RESTORE */                              \
    X(T, msg, log, "l", OPT, 0, msg_log_params)         /* LOG */                                  \
    /* for storage, and for restore.full_storage; absent = the agent's own credentials */          \
    X(T, msg, secret, "v", OPT, 0, msg_secret)                                                     \
    X(T, msg, full_secret, "w", OPT, 0, msg_secret)
CODEC_DECLARE(msg_assignment, MSG_ASSIGNMENT_FIELDS);

/*
 * Everything this agent should have. What is not listed is to be dropped: runner killed, session
 * closed. Revisions grow inside one term; an older one than applied is ignored.
 */
#define MSG_DESIRED_FIELDS(X, T)                                                                   \
    X(T, u64, revision, "r", REQ, 0, UINT64_MAX)                                                   \
    X(T, u32, lease_ms, "l", REQ, 0, 3600000) /* silence after which leases lapse */               \
    X(T, list, jobs, "j", OPT, 0, msg_assignment, WIRE_JOBS_MAX)                                   \
    X(T, list, probes, "p", OPT, 0, msg_probe, WIRE_PROBES_MAX)
CODEC_DECLARE(msg_desired, MSG_DESIRED_FIELDS);

/* ---- plan ---- */

/* Adjacent ranges in key order; each ends where the next one starts. */
#define MSG_PLAN_RANGE_FIELDS(X, T)                                                                \
    X(T, bin, start, "s", OPT, 0, WIRE_KEY_MAX)                                                    \
    X(T, bin, end, "n", OPT, 0, WIRE_KEY_MAX)                                                      \
    X(T, u64, bytes, "b", OPT, 0, UINT64_MAX)
CODEC_DECLARE(msg_plan_range, MSG_PLAN_RANGE_FIELDS);

/* gen grows when the lead plans anew (its runner died while planning): what was sent before is
 * void. */
#define MSG_PLAN_RANGES_FIELDS(X, T)                                                               \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, u32, gen, "g", REQ, 0, UINT32_MAX)                                                        \
    X(T, u32, first, "f", REQ, 0, UINT32_MAX) /* index of ranges[0] */                             \
    X(T, list, ranges, "r", OPT, 0, msg_plan_range, WIRE_PLAN_MAX)                                 \
    X(T, flag, last, "l", OPT, 0, 0)             /* the plan ends behind these */                  \
    X(T, bin, begin, "b", OPT, 0, WIRE_BLOB_MAX) /* with first = 0: what readers need */
CODEC_DECLARE(msg_plan_ranges, MSG_PLAN_RANGES_FIELDS);

#define MSG_PLAN_ACK_FIELDS(X, T)                                                                  \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, u32, gen, "g", REQ, 0, UINT32_MAX)                                                        \
    X(T, u32, next, "n", REQ, 0, UINT32_MAX) /* index wanted next */                               \
    X(T, flag, done, "d", OPT, 0, 0)
CODEC_DECLARE(msg_plan_ack, MSG_PLAN_ACK_FIELDS);

/* ---- ranges ---- */

#define MSG_WANT_RANGES_FIELDS(X, T)                                                               \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, u32, count, "n", REQ, 0, WIRE_LEASES_MAX) /* wanted beyond those held */                  \
    X(T, flag, want_begin, "b", OPT, 0, 0)         /* a worker that is not the lead lacks it */    \
    X(T, list, held, "h", OPT, 0, msg_lease, WIRE_LEASES_MAX)
CODEC_DECLARE(msg_want_ranges, MSG_WANT_RANGES_FIELDS);

#define MSG_RANGES_FIELDS(X, T)                                                                    \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, list, leases, "l", OPT, 0, msg_lease, WIRE_LEASES_MAX) /* may be none: ask again later */ \
    X(T, bin, begin, "b", OPT, 0, WIRE_BLOB_MAX)
CODEC_DECLARE(msg_ranges, MSG_RANGES_FIELDS);

#define MSG_RANGES_DONE_FIELDS(X, T)                                                               \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, list, results, "r", REQ, 0, msg_result, WIRE_RESULTS_MAX)
CODEC_DECLARE(msg_ranges_done, MSG_RANGES_DONE_FIELDS);

enum verdict {
    VERDICT_ACCEPTED =
        1, /* this (range, epoch) is in the backup; keep the result until the job goes */
    VERDICT_STALE = 2, /* another one won or will: forget it */
    VERDICT_LATER = 3, /* the coordinator lacks the plan yet: send it again */
};

#define MSG_VERDICT_FIELDS(X, T)                                                                   \
    X(T, u32, range, "r", REQ, 0, UINT32_MAX - 1)                                                  \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, u64, counter, "c", REQ, 0, UINT32_MAX)                                                    \
    X(T, u32, verdict, "v", REQ, 0, 31)
CODEC_DECLARE(msg_verdict, MSG_VERDICT_FIELDS);

#define MSG_VERDICTS_FIELDS(X, T)                                                                  \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, list, verdicts, "v", REQ, 0, msg_verdict, WIRE_RESULTS_MAX)
CODEC_DECLARE(msg_verdicts, MSG_VERDICTS_FIELDS);

/* ---- results ---- */

#define MSG_WANT_RESULTS_FIELDS(X, T)                                                              \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, u32, from, "f", REQ, 0, UINT32_MAX)
CODEC_DECLARE(msg_want_results, MSG_WANT_RESULTS_FIELDS);

/* Ranges from, from+1, …: no gap. not_ready: a new coordinator is still collecting; ask again. */
#define MSG_RESULTS_FIELDS(X, T)                                                                   \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, u32, from, "f", REQ, 0, UINT32_MAX)                                                       \
    X(T, flag, not_ready, "n", OPT, 0, 0)                                                          \
    X(T, flag, last, "l", OPT, 0, 0)                                                               \
    X(T, list, results, "r", OPT, 0, msg_result, WIRE_RESULTS_MAX)
CODEC_DECLARE(msg_results, MSG_RESULTS_FIELDS);

/* ---- hello (wire/hello.h says what the fields mean) ---- */

#define HELLO_NONCE_LEN 32
#define HELLO_MAC_LEN   32

#define MSG_HELLO_FIELDS(X, T)                                                                     \
    X(T, u32, major, "j", REQ, 0, 255)                                                             \
    X(T, str, cluster, "c", REQ, 0, WIRE_NAME_MAX)                                                 \
    X(T, str, node, "n", REQ, 0, WIRE_NAME_MAX)                                                    \
    X(T, str, boot, "b", REQ, 0, WIRE_UID_MAX) /* random, one a start of the agent */              \
    X(T, raw, nonce, "o", REQ, 0, HELLO_NONCE_LEN)                                                 \
    X(T, u64, seen_term, "e", OPT, 0, UINT64_MAX) /* the newest term this node ever accepted… */ \
    X(T, u64, seen_start, "s", OPT, 0, UINT64_MAX) /* …and from which coordinator start */
CODEC_DECLARE(msg_hello, MSG_HELLO_FIELDS);

#define MSG_CHALLENGE_FIELDS(X, T) X(T, raw, nonce, "o", REQ, 0, HELLO_NONCE_LEN)
CODEC_DECLARE(msg_challenge, MSG_CHALLENGE_FIELDS);

#define MSG_PROOF_FIELDS(X, T) X(T, bin, mac, "m", OPT, 0, HELLO_MAC_LEN) /* empty: no key */
CODEC_DECLARE(msg_proof, MSG_PROOF_FIELDS);

#define MSG_WELCOME_FIELDS(X, T)                                                                   \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, u64, start, "s", REQ, 0, UINT64_MAX) /* random, one a start of the coordinator */         \
    X(T, bin, mac, "m", OPT, 0, HELLO_MAC_LEN)
CODEC_DECLARE(msg_welcome, MSG_WELCOME_FIELDS);

/* ---- the message ---- */

/*    name          number on the wire */
#define MESSAGE_MAP(X)                                                                             \
    X(hello, 1)                                                                                    \
    X(challenge, 2)                                                                                \
    X(proof, 3)                                                                                    \
    X(welcome, 4)                                                                                  \
    X(heartbeat, 5)                                                                                \
    X(poll, 6)                                                                                     \
    X(desired, 7)                                                                                  \
    X(want_ranges, 8)                                                                              \
    X(ranges, 9)                                                                                   \
    X(ranges_done, 10)                                                                             \
    X(verdicts, 11)                                                                                \
    X(plan_ranges, 12)                                                                             \
    X(plan_ack, 13)                                                                                \
    X(want_results, 14)                                                                            \
    X(results, 15)                                                                                 \
    X(error, 16)

enum message_type {
#define MESSAGE_ENUM(name, number) MESSAGE_##name = number,
    MESSAGE_MAP(MESSAGE_ENUM)
#undef MESSAGE_ENUM
};

struct message {
    enum message_type type;
    uint32_t minor;  /* the sender's */
    uint64_t serial; /* chosen by who asks; the answer repeats it */
    uint64_t term;
    union {
#define MESSAGE_MEMBER(name, number) struct msg_##name name;
        MESSAGE_MAP(MESSAGE_MEMBER)
#undef MESSAGE_MEMBER
    };
    struct codec_arena arena; /* owns what the body points to */
};

/* Appends the message, in the words of minor version `minor`. TM_E_LIMIT above MESSAGE_MAX_BYTES.
 */
int message_encode(const struct message *m, uint8_t minor, struct buf *out,
                   struct tm_err *err) TM_WUR;
/*
 * Decodes exactly one message. On failure *ret is untouched but for nothing to release, and, when
 * the envelope was readable, *ret_serial (may be NULL) is the serial to answer with an error.
 */
int message_decode(struct slice in, struct message *ret, uint64_t *ret_serial,
                   struct tm_err *err) TM_WUR;
void message_release(struct message *m);
/* "heartbeat"; "unknown" for a number that is none. */
const char *message_name(unsigned type);
/* Deep copy into a fresh message. */
int message_copy(const struct message *m, struct message *ret, struct tm_err *err) TM_WUR;

/* An error body from a tm_err, text borrowed from *from; and back. */
struct msg_error msg_error_of(const struct tm_err *from, const char *stage);
void msg_error_to(const struct msg_error *from, struct tm_err *ret);

#endif
