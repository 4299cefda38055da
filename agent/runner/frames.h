#ifndef TM_AGENT_RUNNER_FRAMES_H
#define TM_AGENT_RUNNER_FRAMES_H
/*
 * What agent and runner say to each other over their socketpair. A frame is a 4-byte big-endian
 * length, then a msgpack map {t: type, m: body}, same field tables as the wire. Both ends are the
 * same program, started from the same file; there are no versions here.
 *
 *     agent -> runner                            runner -> agent
 *     job      first, once: what and where       ready        storage is open and checked
 *     begin    session is up: log and plan       plan_batch   ranges, in key order
 *     (found, stored: see `resume`)
 *     ranges   leases to work                    need         wants n more leases
 *     cancel   leases that are void              range_done   one object stored
 *                                                range_failed this range cannot be stored
 *                                                log_durable  log before this byte is stored
 *                                                progress     bytes moved, about once a second
 *     accepted results for a checkpoint          want_accepted  more of them, please
 *     finish   session ended: final range, log   want_results page of results, please
 *     results  a page                            committed    manifest is stored
 *     sweep    remove what is not committed      swept        storage is clean, or was committed
 *     stop     end now, cleanly                  restored     (restore jobs do all after `job`)
 *     log_want what is wanted of a log task      log_status   what it does, on change and each second
 *                                                log_answer   to the query of log_want, once
 *                                                probed       how far a storage test is
 *                                                warning      what the operator should hear of
 *                                                failed       the job cannot go on; then exits
 *
 * Calling order, backup:  job, ready, begin, plan_batch…, ranges/need/range_done…, finish,
 *     want_results/results…, committed, stop.
 * Resumed (job.backup->resume): job, found, ready, begin, then stored… and plan_batch… in place of a plan
 *     of its own.
 * After a crash a new runner gets `job` with a higher generation and `begin` again; with
 * begin.plan_known it must not plan, and with `finish` sent again it commits again (a manifest that
 * is there already is success).
 * Log: job (kind LOG, roles LEAD or HOLD), ready, then log_want each time the assignment changes (a
 *     step RUN, PAUSE or STOP, and params) and log_status… until `stop` or the socket closes.
 *     The runner goes on by itself through every failure that may pass; `failed` is for the others.
 * Sweep: job (kind BACKUP or DELETE), ready, sweep, swept, stop. The agent sends it only after
 * every earlier runner of the job was reaped. Restore: job (kind RESTORE), ready, progress…,
 * restored | failed; the first progress with `writing` goes out before the first byte is written.
 * After a crash a new runner gets `job` again, with `resume` when an earlier one had said `writing`.
 * Probe: job (kind PROBE), probed… (the last one with `done`). It is told before each step, so that the
 * agent knows what a runner that never comes back hung in.
 */
#include "proto/wire/messages.h"

#define FRAME_MAX_BYTES ((size_t)1 << 20) /* without the length */
/* A runner of a log job may write under the counters generation … generation + 2^bits - 1 of its
 * term, one for each writer it opens; one that needs more fails with an error that may pass. */
#define FRAME_WRITER_BITS 10
#define FRAME_PLAN_MAX    WIRE_PLAN_MAX

/* ---- to the runner ---- */

#define FRAME_JOB_FIELDS(X, T)                                                                       \
    X(T, u32, kind, "k", REQ, 0, 31) /* enum job_kind */                                             \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                        \
    X(T, u32, attempt, "a", REQ, 0, UINT32_MAX)                                                      \
    X(T, u32, roles, "o", REQ, 0, 255)                                                               \
    X(T, u32, generation, "g", REQ, 0, UINT32_MAX) /* 1, 2, … ; of a log: see FRAME_WRITER_BITS */ \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)       /* for names and metadata */                      \
    X(T, str, cluster, "c", REQ, 0, WIRE_NAME_MAX)                                                   \
    X(T, str, node, "n", REQ, 0, WIRE_NAME_MAX)                                                      \
    X(T, str, tenant, "t", OPT, 0, WIRE_NAME_MAX)                                                    \
    X(T, str, engine, "f", OPT, 0, 15)                                                               \
    X(T, str, identity, "i", OPT, 0, 63) /* of the instance: the incarnation to store under */       \
    X(T, str, version, "v", OPT, 0, 31)                                                              \
    X(T, txt, data_dir, "d", OPT, 0, WIRE_PATH_MAX)                                                  \
    X(T, txt, conninfo, "q", OPT, 0, WIRE_URL_MAX)                                                   \
    X(T, txt, storage, "s", REQ, 0, WIRE_URL_MAX)                                                    \
    X(T, strs, restore_roots, "r", OPT, 0, WIRE_PATH_MAX, WIRE_OPTIONS_MAX)                          \
    X(T, msg, backup, "b", OPT, 0, msg_backup_params)                                                \
    X(T, msg, restore, "x", OPT, 0, msg_restore_params)                                              \
    X(T, msg, log, "l", OPT, 0, msg_log_params)                                                      \
    X(T, msg, probe, "pr", OPT, 0, msg_probe)                                                        \
    X(T, str, name, "nm", OPT, 0, WIRE_NAME_MAX) /* of the resource: holds are named after it */     \
    X(T, flag, sweep, "w", OPT, 0, 0) /* nothing but `sweep` follows: a full place is no reason */   \
    X(T, flag, found, "fo", OPT, 0,                                                                  \
      0) /* backup.resume: what earlier attempts left is known here */                               \
    X(T, flag, resume, "m", OPT, 0, 0) /* restore: what lies in the target is this job's own */      \
    X(T, msg, secret, "vs", OPT, 0, msg_secret)      /* absent = the host's own credentials */       \
    X(T, msg, full_secret, "vf", OPT, 0, msg_secret) /* restore: for full_storage */
CODEC_DECLARE(frame_job, FRAME_JOB_FIELDS);

#define FRAME_BEGIN_FIELDS(X, T)                                                                   \
    X(T, bin, begin, "b", OPT, 0, WIRE_BLOB_MAX)           /* made by engine snapshot_begin */     \
    X(T, bin, replay_from, "p", OPT, 0, WIRE_POSITION_MAX) /* engine_position.bytes */             \
    X(T, str, replay_from_text, "t", OPT, 0, WIRE_POSITION_MAX)                                    \
    X(T, str, lineage_label, "l", OPT, 0, 63)                                                      \
    X(T, flag, plan_known, "k", OPT, 0, 0) /* do not plan */                                       \
    X(T, u32, plan_gen, "g", OPT, 0, UINT32_MAX)                                                   \
    X(T, u32, plan_ranges, "n", OPT, 0, UINT32_MAX)                                                \
    X(T, bin, plan_root, "r", OPT, 0, WIRE_ROOT_MAX) /* as an earlier runner gave it */            \
    X(T, u64, log_from, "f", OPT, 0,                                                               \
      UINT64_MAX) /* log before this byte is stored already; 0 = none */
CODEC_DECLARE(frame_begin, FRAME_BEGIN_FIELDS);

/* Leases in the order to work them. */
#define FRAME_RANGES_FIELDS(X, T) X(T, list, leases, "l", REQ, 0, msg_lease, WIRE_LEASES_MAX)
CODEC_DECLARE(frame_ranges, FRAME_RANGES_FIELDS);

/* Only range, term and counter are set. Not started yet: forget. Being read: may be finished or
 * not. */
#define FRAME_CANCEL_FIELDS(X, T) X(T, list, leases, "l", REQ, 0, msg_lease, WIRE_LEASES_MAX)
CODEC_DECLARE(frame_cancel, FRAME_CANCEL_FIELDS);

#define FRAME_FINISH_FIELDS(X, T)                                                                  \
    X(T, bin, end, "e", OPT, 0, WIRE_BLOB_MAX) /* made by engine snapshot_end */                   \
    X(T, bin, consistent_at, "p", OPT, 0, WIRE_POSITION_MAX)                                       \
    X(T, str, consistent_at_text, "t", OPT, 0, WIRE_POSITION_MAX)                                  \
    X(T, i64, commit_us, "c", OPT, 0, 0)                                                           \
    X(T, u32, plan_ranges, "n", REQ, 0, UINT32_MAX) /* results to expect: 0 … n-1 */             \
    X(T, u64, term, "m", REQ, 0, UINT64_MAX)
CODEC_DECLARE(frame_finish, FRAME_FINISH_FIELDS);

/* Results from, from+1, …, without a gap; the blob is what range_done carried. */
#define FRAME_RESULTS_FIELDS(X, T)                                                                 \
    X(T, u32, from, "f", REQ, 0, UINT32_MAX)                                                       \
    X(T, flag, last, "l", OPT, 0, 0)                                                               \
    X(T, list, results, "r", OPT, 0, msg_result, WIRE_RESULTS_MAX)
CODEC_DECLARE(frame_results, FRAME_RESULTS_FIELDS);

/* remove: also a committed backup, tombstone first. Without it a committed one is left alone. grace_ms:
 * what is committed stays so long behind its tombstone. */
#define FRAME_SWEEP_FIELDS(X, T)                                                                   \
    X(T, flag, remove, "r", OPT, 0, 0)                                                             \
    X(T, u32, grace_ms, "g", OPT, 0, UINT32_MAX)
CODEC_DECLARE(frame_sweep, FRAME_SWEEP_FIELDS);

#define FRAME_STOP_FIELDS(X, T) X(T, flag, now, "n", OPT, 0, 0)
CODEC_DECLARE(frame_stop, FRAME_STOP_FIELDS);

/* ---- from the runner ---- */

#define FRAME_READY_FIELDS(X, T) X(T, u32, pid, "p", OPT, 0, UINT32_MAX)
CODEC_DECLARE(frame_ready, FRAME_READY_FIELDS);

/* Batches in order, first = 0, then where the last one stopped. A plan has at least one range. */
#define FRAME_PLAN_BATCH_FIELDS(X, T)                                                              \
    X(T, u32, first, "f", REQ, 0, UINT32_MAX)                                                      \
    X(T, list, ranges, "r", OPT, 0, msg_plan_range, FRAME_PLAN_MAX)                                \
    X(T, flag, last, "l", OPT, 0, 0)                                                               \
    X(T, bin, root, "o", OPT, 0, WIRE_ROOT_MAX) /* with last: to find the stored plan again */
CODEC_DECLARE(frame_plan_batch, FRAME_PLAN_BATCH_FIELDS);

#define FRAME_RANGE_DONE_FIELDS(X, T)                                                              \
    X(T, u32, range, "r", REQ, 0, UINT32_MAX - 1)                                                  \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, u64, counter, "c", REQ, 0, UINT32_MAX)                                                    \
    X(T, bin, blob, "d", OPT, 0, WIRE_RESULT_MAX)                                                  \
    X(T, msg, counters, "n", OPT, 0, msg_counters)
CODEC_DECLARE(frame_range_done, FRAME_RANGE_DONE_FIELDS);

/* The runner lives on. retryable: leased anew, here or elsewhere; otherwise the job fails. */
#define FRAME_RANGE_FAILED_FIELDS(X, T)                                                            \
    X(T, u32, range, "r", REQ, 0, UINT32_MAX - 1)                                                  \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, u64, counter, "c", REQ, 0, UINT32_MAX)                                                    \
    X(T, msg, error, "x", REQ, 0, msg_error)
CODEC_DECLARE(frame_range_failed, FRAME_RANGE_FAILED_FIELDS);

/* Level: how many leases the runner would like to have queued beyond those it was given. */
#define FRAME_NEED_FIELDS(X, T) X(T, u32, count, "n", REQ, 0, WIRE_LEASES_MAX)
CODEC_DECLARE(frame_need, FRAME_NEED_FIELDS);

#define FRAME_WANT_RESULTS_FIELDS(X, T) X(T, u32, from, "f", REQ, 0, UINT32_MAX)
CODEC_DECLARE(frame_want_results, FRAME_WANT_RESULTS_FIELDS);

#define FRAME_LOG_DURABLE_FIELDS(X, T) X(T, u64, byte, "b", REQ, 0, UINT64_MAX)
CODEC_DECLARE(frame_log_durable, FRAME_LOG_DURABLE_FIELDS);

#define FRAME_PROGRESS_FIELDS(X, T)                                                                \
    X(T, u64, bytes_done, "b", OPT, 0, UINT64_MAX)                                                 \
    X(T, u64, bytes_total, "z", OPT, 0, UINT64_MAX) /* restore; a backup's comes from its plan */  \
    X(T, u64, log_bytes, "l", OPT, 0, UINT64_MAX)                                                  \
    X(T, flag, writing, "w", OPT, 0, 0) /* restore: the target is no longer as it was */           \
    X(T, msg, storage, "s", OPT, 0, msg_storage_stats) /* of an object store */
CODEC_DECLARE(frame_progress, FRAME_PROGRESS_FIELDS);

#define FRAME_COMMITTED_FIELDS(X, T) X(T, msg, totals, "t", REQ, 0, msg_totals)
CODEC_DECLARE(frame_committed, FRAME_COMMITTED_FIELDS);

/* committed: a manifest was found (and not to be removed); totals are then as in `committed`.
 * grace_left_ms: nothing was removed, its grace lasts so long yet. */
#define FRAME_SWEPT_FIELDS(X, T)                                                                   \
    X(T, flag, committed, "c", OPT, 0, 0)                                                          \
    X(T, u64, objects, "o", OPT, 0, UINT64_MAX)                                                    \
    X(T, msg, totals, "t", OPT, 0, msg_totals)                                                     \
    X(T, u64, grace_left_ms, "g", OPT, 0, UINT64_MAX)
CODEC_DECLARE(frame_swept, FRAME_SWEPT_FIELDS);

#define FRAME_RESTORED_FIELDS(X, T) X(T, msg, totals, "t", REQ, 0, msg_totals)
CODEC_DECLARE(frame_restored, FRAME_RESTORED_FIELDS);

#define FRAME_WARNING_FIELDS(X, T) X(T, txt, text, "t", REQ, 0, WIRE_TEXT_MAX)
CODEC_DECLARE(frame_warning, FRAME_WARNING_FIELDS);

/* What is wrong with storage now, and will be tried again: level; absent = nothing. error.stage: "storage",
 * an attempt failed, or STAGE_WAITING, none has yet. */
#define FRAME_TROUBLE_FIELDS(X, T) X(T, msg, error, "x", OPT, 0, msg_error)
CODEC_DECLARE(frame_trouble, FRAME_TROUBLE_FIELDS);

/* error.stage: "storage", "plan", "log", "range", "final", "commit", "sweep", "restore", … */
#define FRAME_FAILED_FIELDS(X, T) X(T, msg, error, "x", REQ, 0, msg_error)
CODEC_DECLARE(frame_failed, FRAME_FAILED_FIELDS);

/*
 * Before `ready`, when the job was to resume: what earlier attempts left in storage. committed: a manifest,
 * and nothing is left to be done; else, with a begin blob: a checkpoint. Neither: nothing that can be used,
 * and `why` says so where something was there.
 */
#define FRAME_FOUND_FIELDS(X, T)                                                                   \
    X(T, flag, committed, "c", OPT, 0, 0)                                                          \
    X(T, msg, totals, "t", OPT, 0, msg_totals)   /* committed */                                   \
    X(T, bin, begin, "b", OPT, 0, WIRE_BLOB_MAX) /* of the first start */                          \
    X(T, u64, log_from, "f", OPT, 0, UINT64_MAX) /* the first byte of log that is not stored */    \
    X(T, txt, why, "w", OPT, 0, WIRE_TEXT_MAX)
CODEC_DECLARE(frame_found, FRAME_FOUND_FIELDS);

/* Ranges that earlier attempts have done: all of them come before the plan. */
#define FRAME_STORED_FIELDS(X, T) X(T, list, results, "r", REQ, 0, msg_result, WIRE_RESULTS_MAX)
CODEC_DECLARE(frame_stored, FRAME_STORED_FIELDS);

/* For a checkpoint: the results that were accepted since the last time. stored: in checkpoints now. */
#define FRAME_WANT_ACCEPTED_FIELDS(X, T) X(T, u32, stored, "n", OPT, 0, UINT32_MAX)
CODEC_DECLARE(frame_want_accepted, FRAME_WANT_ACCEPTED_FIELDS);

/* Some may have been told before: after a restart of the coordinator all are. last: no more for now. */
#define FRAME_ACCEPTED_FIELDS(X, T)                                                                \
    X(T, flag, last, "l", OPT, 0, 0)                                                               \
    X(T, list, results, "r", OPT, 0, msg_result, WIRE_RESULTS_MAX)
CODEC_DECLARE(frame_accepted, FRAME_ACCEPTED_FIELDS);

/* step: enum job_step RUN, PAUSE or STOP */
#define FRAME_LOG_WANT_FIELDS(X, T)                                                                \
    X(T, u32, step, "s", REQ, 0, 31)                                                               \
    X(T, msg, log, "l", REQ, 0, msg_log_params)
CODEC_DECLARE(frame_log_want, FRAME_LOG_WANT_FIELDS);

/* stage: enum job_stage STARTING, WORKING, PAUSED or STOPPED */
#define FRAME_LOG_STATUS_FIELDS(X, T)                                                              \
    X(T, u32, stage, "s", REQ, 0, 31)                                                              \
    X(T, msg, log, "l", REQ, 0, msg_log_status)
CODEC_DECLARE(frame_log_status, FRAME_LOG_STATUS_FIELDS);

#define FRAME_LOG_ANSWER_FIELDS(X, T) X(T, msg, answer, "a", REQ, 0, msg_log_answer)
CODEC_DECLARE(frame_log_answer, FRAME_LOG_ANSWER_FIELDS);

/* Everything as it is now. */
#define FRAME_PROBED_FIELDS(X, T)                                                                  \
    X(T, flag, done, "d", OPT, 0, 0)                                                               \
    X(T, msg, answer, "a", REQ, 0, msg_probe_answer)
CODEC_DECLARE(frame_probed, FRAME_PROBED_FIELDS);

/* ---- the frame ---- */

#define FRAME_MAP(X)                                                                               \
    X(job, 1)                                                                                      \
    X(begin, 2)                                                                                    \
    X(ranges, 3)                                                                                   \
    X(cancel, 4)                                                                                   \
    X(finish, 5)                                                                                   \
    X(results, 6)                                                                                  \
    X(sweep, 7)                                                                                    \
    X(stop, 8)                                                                                     \
    X(log_want, 9)                                                                                 \
    X(accepted, 10)                                                                                \
    X(ready, 16)                                                                                   \
    X(plan_batch, 17)                                                                              \
    X(range_done, 18)                                                                              \
    X(range_failed, 19)                                                                            \
    X(need, 20)                                                                                    \
    X(want_results, 21)                                                                            \
    X(log_durable, 22)                                                                             \
    X(progress, 23)                                                                                \
    X(committed, 24)                                                                               \
    X(swept, 25)                                                                                   \
    X(restored, 26)                                                                                \
    X(failed, 27)                                                                                  \
    X(warning, 28)                                                                                 \
    X(log_status, 29)                                                                              \
    X(log_answer, 30)                                                                              \
    X(probed, 31)                                                                                  \
    X(trouble, 32)                                                                                 \
    X(found, 33)                                                                                   \
    X(stored, 34)                                                                                  \
    X(want_accepted, 35)

enum frame_type {
#define FRAME_ENUM(name, number) FRAME_##name = number,
    FRAME_MAP(FRAME_ENUM)
#undef FRAME_ENUM
};

struct frame {
    enum frame_type type;
    union {
#define FRAME_MEMBER(name, number) struct frame_##name name;
        FRAME_MAP(FRAME_MEMBER)
#undef FRAME_MEMBER
    };
    struct codec_arena arena; /* owns what a decoded body points to */
};

/* Appends length and frame. */
int frame_encode(const struct frame *f, struct buf *out, struct tm_err *err) TM_WUR;
/* One frame without its length. */
int frame_decode(struct slice in, struct frame *ret, struct tm_err *err) TM_WUR;
void frame_release(struct frame *f);
const char *frame_name(unsigned type);

/*
 * Cuts a byte stream into frames: append what was read to `in`, then call until 0.
 * 1 = *ret filled (release it), 0 = more bytes needed, negative = the stream is broken.
 * Consumed bytes are dropped from `in`.
 */
int frame_next(struct buf *in, struct frame *ret, struct tm_err *err) TM_WUR;

/* Blocking ends for the runner: whole frames on a stream socket, EINTR handled. The writer is not
 * thread safe; the runner holds its own lock. frame_recv: 1 = got one, 0 = orderly end, negative.
 */
int frame_send(int fd, const struct frame *f, struct tm_err *err) TM_WUR;
int frame_recv(int fd, struct buf *in, struct frame *ret, struct tm_err *err) TM_WUR;

#endif
