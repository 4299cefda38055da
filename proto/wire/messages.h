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
#include "proto/wire/log_messages.h"
#include "proto/wire/message_parts.h"
#include "proto/wire/probe_messages.h"

#define MESSAGE_MINOR     0                 /* this program's minor version */
#define MESSAGE_MAX_BYTES ((size_t)1 << 20) /* a longer one is refused unread */

/* ---- heartbeat, poll -> desired ---- */

/* How far an agent is with a job. Only ever grows inside one attempt, but for FAILED -> SWEPT, and
 * MARKED -> STARTING -> SWEPT when the grace is over. */
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
    JOB_STAGE_MARKED = 11,   /* deletion: the tombstone is stored, objects wait for its grace */
};

/* trouble.stage: no attempt has failed yet, only a call takes long. */
#define STAGE_WAITING "waiting"
/* An attempt failed, or a call hangs: the text says which. */
#define STAGE_STORAGE "storage"

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
    X(T, strs, warnings, "y", OPT, 0, WIRE_TEXT_MAX, WIRE_WARNINGS_MAX) /* all of this attempt */    \
    X(T, u64, grace_left_ms, "gl", OPT, 0, UINT64_MAX) /* MARKED: objects go in so long */           \
    X(T, msg, trouble, "tr", OPT, 0, msg_error) /* with storage, now; it is being tried again */
CODEC_DECLARE(msg_job, MSG_JOB_FIELDS);

#define MSG_HEARTBEAT_FIELDS(X, T)                                                                 \
    X(T, u64, revision, "r", OPT, 0, UINT64_MAX) /* of the newest desired set applied */           \
    X(T, str, version, "v", OPT, 0, 31)                                                            \
    X(T, list, instances, "i", OPT, 0, msg_instance, WIRE_INSTANCES_MAX)                           \
    X(T, list, jobs, "j", OPT, 0, msg_job, WIRE_JOBS_MAX)                                          \
    X(T, list, probes, "p", OPT, 0, msg_probe_answer, WIRE_PROBES_MAX)                             \
    X(T, list, holds, "h", OPT, 0, msg_hold, WIRE_HOLDS_MAX)
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
    X(T, flag, share_log, "s", OPT, 0, 0)  /* a log task stores this tenant's log there, too */    \
    X(T, flag, checkpoint, "c", OPT, 0, 0) /* what is done is stored every few seconds */          \
    X(T, flag, resume, "r", OPT, 0, 0) /* an earlier attempt of this id may have stored some */    \
    X(T, u32, gcttl_s, "gt", OPT, 0,                                                               \
      UINT32_MAX) /* how long a hold outlives its owner, 0 = default */                            \
    X(T, u32, grace_ms, "g", OPT, 0,                                                               \
      UINT32_MAX) /* DELETE: so long after the tombstone objects stay; 0 = they go at once */
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

enum desired_keep {
    DESIRED_KEEP_LOGS = 1, /* log jobs that are not listed go on as they are */
    DESIRED_KEEP_ALL = 2,  /* and so do all others */
};

/*
 * Everything this agent should have. What is not listed is to be dropped: runner killed, session
 * closed; but for what `keep` spares, while a coordinator knows that it may have forgotten jobs.
 * Revisions grow inside one term; an older one than applied is ignored.
 */
#define MSG_DESIRED_FIELDS(X, T)                                                                   \
    X(T, u64, revision, "r", REQ, 0, UINT64_MAX)                                                   \
    X(T, u32, lease_ms, "l", REQ, 0, 3600000) /* silence after which leases lapse */               \
    X(T, list, jobs, "j", OPT, 0, msg_assignment, WIRE_JOBS_MAX)                                   \
    X(T, list, probes, "p", OPT, 0, msg_probe, WIRE_PROBES_MAX)                                    \
    X(T, u32, keep, "k", OPT, 0, 31)                   /* enum desired_keep; 0 = nothing */        \
    X(T, u64, state_revision, "s", OPT, 0, UINT64_MAX) /* durable: for the next hello */
CODEC_DECLARE(msg_desired, MSG_DESIRED_FIELDS);

/* ---- plan ---- */

/* Adjacent ranges in key order; each ends where the next one starts. */
#define MSG_PLAN_RANGE_FIELDS(X, T)                                                                \
    X(T, bin, start, "s", OPT, 0, WIRE_KEY_MAX)                                                    \
    X(T, bin, end, "n", OPT, 0, WIRE_KEY_MAX)                                                      \
    X(T, u64, bytes, "b", OPT, 0, UINT64_MAX)                                                      \
    X(T, flag, anywhere, "a", OPT, 0, 0) /* any copy of the source may read it, once it is ready */
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
    X(T, u32, from, "f", REQ, 0, UINT32_MAX)                                                       \
    X(T, flag, accepted, "o", OPT, 0, 0) /* for a checkpoint */
CODEC_DECLARE(msg_want_results, MSG_WANT_RESULTS_FIELDS);

/*
 * Ranges from, from+1, …: no gap. not_ready: a new coordinator is still collecting; ask again.
 * accepted: the results that were accepted so far, in that order, without the first `from` of them. The
 * order is that of one life of the coordinator: in another term one begins at 0 again.
 */
#define MSG_RESULTS_FIELDS(X, T)                                                                   \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                    \
    X(T, u32, from, "f", REQ, 0, UINT32_MAX)                                                       \
    X(T, flag, not_ready, "n", OPT, 0, 0)                                                          \
    X(T, flag, last, "l", OPT, 0, 0)                                                               \
    X(T, flag, accepted, "o", OPT, 0, 0)                                                           \
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
    X(T, u64, seen_start, "s", OPT, 0, UINT64_MAX)    /* …and from which coordinator start… */ \
    X(T, u64, seen_revision, "r", OPT, 0, UINT64_MAX) /* …that told this of its state */
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
