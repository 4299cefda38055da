#ifndef TM_AGENT_BACKUP_BACKUP_H
#define TM_AGENT_BACKUP_BACKUP_H
/*
 * The pieces a snapshot backup is made of. Each call is synchronous, idempotent, and needs nothing
 * but a storage and an engine's data side, so that the runner's threads, the simulation and the
 * unit tests all use the same code.
 *
 *   lead      backup_open(lead) → backup_store_plan → backup_log_open → (append)* → finish | share
 *             → backup_store_final → backup_commit
 *   worker    backup_open → backup_store_range*
 *   resume    backup_open(lead, resumed) → backup_checkpoint_load → backup_plan_load → backup_log_open
 *             → (append | backup_checkpoint_store)* → finish → backup_store_final → backup_commit
 *   abort     backup_open(lead) → backup_sweep
 *
 * Order is the whole safety: data objects are durable before a result blob names them, results are
 * in segments before the manifest names those, and the manifest is the last object written. Nothing
 * that was stored is ever changed; a second attempt writes other names (they carry the epoch).
 *
 * Threads: struct backup may be used by any number of threads; a struct backup_worker and a struct
 * backup_log belong to one thread at a time. Memory: about 4 MiB a worker, 3 MiB a log.
 */
#include <stdatomic.h>
#include <stdint.h>

#include "agent/engine/engine.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/storage/storage.h"
#include "proto/format/names.h"
#include "proto/format/object.h"
#include "proto/format/records.h"
#include "proto/wire/messages.h"

#define BACKUP_RESULT_MAX      4096u /* encoded result of one range */
#define BACKUP_RANGES_MAX      (1u << 20)
#define BACKUP_LOG_CHUNK_BYTES (16u << 20)
#define BACKUP_TOTALS_PROBLEMS 16          /* told with the totals */
#define BACKUP_FREE_MIN_BYTES  (64u << 20) /* a path with less room than this is called full */

struct backup_options {
    struct storage *storage; /* borrowed for the life of the backup */
    struct repo_scope scope; /* incarnation is the instance's identity */
    const char *engine;      /* "postgres"; borrowed for the call */
    char backup_id[NAMES_BACKUP_ID_LEN + 1];
    struct epoch epoch;          /* the lead's or worker's attempt: names of plan and metadata */
    bool lead;                   /* may create the repository and identity objects */
    bool sweep;                  /* only backup_sweep will follow: nothing is tried or created */
    bool resumed;                /* goes on with what earlier attempts of this backup stored */
    bool accept_incarnation;     /* a new identity under a known tenant is meant (pg_upgrade) */
    int zstd_level;              /* 1 … 19, 0 = not compressed */
    uint64_t rate_limit_bytes_s; /* of bytes read from the source, all threads; 0 = none */
    bool checksum;               /* re-read and verify every object after it is stored */
    int64_t now_us;              /* for records; 0 = the clock */
    const atomic_bool *cancel;   /* set: calls return TM_E_CANCELED soon; NULL = never */
    /* Random bytes for writer nonces and the repository id; NULL = the kernel's. */
    int (*random)(void *arg, void *ret, size_t len, struct tm_err *err);
    void *random_arg;
};

/* What all threads of one backup have done so far; for progress. Never goes back. */
struct backup_counters {
    _Atomic uint64_t bytes_read;
    _Atomic uint64_t bytes_stored;
    _Atomic uint64_t files;
    _Atomic uint64_t pages_checked;
    _Atomic uint64_t pages_unverified;
    _Atomic uint64_t pages_corrupt;
};

struct backup;

/*
 * Looks at the repository before anything is read from the database: is the path there, writable,
 * not full; is the repository object of a known version; does cluster/tenant hold this database.
 * The lead creates repository and identity objects where absent; anybody else finds them missing
 * (TM_E_NOT_FOUND: "…: is the path mounted on this node?"). Another database's data under the same
 * cluster and tenant is TM_E_REFUSED.
 */
int backup_open(const struct backup_options *options, struct backup **ret,
                struct tm_err *err) TM_WUR;
void backup_free(struct backup *b);
TM_DEFINE_FREEP(struct backup, backup_free)
/* The lead's look alone: room, repository object, no other database under cluster and tenant,
 * identity. Of the options only storage, scope, engine, accept_incarnation, now_us and random
 * matter. The log task's beginning, too. */
int backup_place_ensure(const struct backup_options *options, struct object_scratch *scratch,
                        struct tm_err *err) TM_WUR;
const struct backup_counters *backup_counters(const struct backup *b);

struct backup_worker;
int backup_worker_new(struct backup *b, struct backup_worker **ret, struct tm_err *err) TM_WUR;
void backup_worker_free(struct backup_worker *w);
TM_DEFINE_FREEP(struct backup_worker, backup_worker_free)

/* ---- plan (lead) ---- */

/* Called for each planned range in key order, with rising index from 0. Slices are valid for the
 * call. A negative answer stops planning. */
typedef int (*backup_range_fn)(void *arg, uint32_t index, struct engine_key_range range,
                               uint64_t bytes, struct tm_err *err);

struct backup_plan_totals {
    uint32_t ranges; /* without the final one, whose index is this number */
    uint64_t bytes;
};

/* Plans, stores the plan in shards, and hands each range to fn after its shard is durable. */
int backup_store_plan(struct backup_worker *w, const struct engine_ops *engine,
                      struct engine_reader *reader, const struct engine_plan_options *options,
                      backup_range_fn fn, void *arg, struct backup_plan_totals *ret,
                      struct tm_err *err) TM_WUR;
/*
 * Hands out a plan that an earlier attempt stored: the shards named with epoch `plan`, which hold
 * `ranges` ranges. It is checked on the way: numbers without a gap, the first range from the empty
 * key, each starting where the one before ended, and none behind the last. TM_E_NOT_FOUND (a shard
 * is missing) or TM_E_CORRUPT: there is no such plan, and what it named cannot be gone on with; fn
 * may have been called for ranges before the damage. Other errors are the store's: try again. fn must
 * not use the worker.
 */
int backup_plan_load(struct backup_worker *w, struct epoch plan, uint32_t ranges,
                     backup_range_fn fn, void *arg, struct backup_plan_totals *ret,
                     struct tm_err *err) TM_WUR;

/* ---- ranges ---- */

struct backup_lease {
    uint32_t index;
    struct epoch epoch;
    struct engine_key_range range; /* borrowed for the call */
};

struct backup_problem {
    char path[256]; /* cut in front when longer */
    uint64_t block;
    char what[128];
};
#define BACKUP_PROBLEMS_MAX 8 /* named per range; more are only counted */

/* What became of one range. `blob` is what the manifest keeps of it: opaque to everybody between
 * here and backup_commit, at most BACKUP_RESULT_MAX bytes. */
struct backup_result {
    struct buf blob;
    uint64_t raw_bytes;
    uint64_t stored_bytes;
    struct engine_range_stats stats;
    struct backup_problem problems[BACKUP_PROBLEMS_MAX];
    unsigned problem_count;
    uint64_t problems_total;
};
void backup_result_release(struct backup_result *r);

/* Reads the range into one data object. On success the object is durable. *ret must be zeroed or a
 * former result (it is reused). An error leaves nothing visible in the storage. */
int backup_store_range(struct backup_worker *w, const struct engine_ops *engine,
                       struct engine_reader *reader, const struct backup_lease *lease,
                       struct backup_result *ret, struct tm_err *err) TM_WUR;
/* What may only be read after the snapshot's end. lease->range.start is engine->final_key's. */
int backup_store_final(struct backup_worker *w, const struct engine_ops *engine,
                       struct engine_reader *reader, struct slice end,
                       const struct backup_lease *lease, struct backup_result *ret,
                       struct tm_err *err) TM_WUR;

/* ---- the backup's own log (lead) ---- */

struct backup_log_options {
    const char *lineage_label; /* the engine's branch name, stored with each chunk */
    uint64_t from;             /* stream byte where stored log must start */
    struct epoch epoch;        /* of this writer: higher than any earlier one of this backup */
    /*
     * Optional: sees all log bytes once, in order and without a gap, from `from` on. Those that
     * earlier writers stored come during backup_log_open, as they are read back; the rest come in
     * each append, before they are stored. When a stored chunk proves damaged halfway, reading begins
     * again without it: a call with from == options.from again makes void all that was told before.
     * A negative answer ends the call it came in with that error; the log is of no use then.
     * Shared log (backup_log_share) is not seen: a resumed backup has none.
     */
    int (*pass)(void *arg, uint64_t from, struct slice bytes, struct tm_err *err);
    void *pass_arg;
};

struct backup_log;
/*
 * Looks what earlier writers of this backup left, and continues behind the last chunk of the
 * unbroken run that starts at `from`; a damaged chunk ends that run and is stored again. *ret_next
 * is the stream byte to open the engine's log at.
 */
int backup_log_open(struct backup *b, const struct backup_log_options *options,
                    struct backup_log **ret, uint64_t *ret_next, struct tm_err *err) TM_WUR;
/* How far the unbroken run of stored chunks from `from` reaches, by their footers: what is in them shows
 * when the log is opened. */
int backup_log_stored(struct backup *b, uint64_t from, uint64_t *ret_end,
                      struct tm_err *err) TM_WUR;
/* What was wrong with a chunk of an earlier writer; "" = nothing. */
const char *backup_log_damaged(const struct backup_log *log);
/* Log bytes, contiguous with what came before. Chunks are cut and made durable on the way. */
int backup_log_append(struct backup_log *log, uint64_t from, struct slice data,
                      struct tm_err *err) TM_WUR;
/* Everything before this stream byte is durable. */
uint64_t backup_log_durable(const struct backup_log *log);
/* Next byte that append wants. */
uint64_t backup_log_next(const struct backup_log *log);
/* No more log: the open chunk is made durable. Repeating is success. */
int backup_log_finish(struct backup_log *log, struct tm_err *err) TM_WUR;
void backup_log_free(struct backup_log *log);
TM_DEFINE_FREEP(struct backup_log, backup_log_free)

/*
 * Log that the log task stores anyway need not be stored twice. One look: does one lineage of the
 * label hold all of [from, until) without a gap, and is it of this very source? The first and the
 * last BACKUP_SHARE_PROOF_BYTES of it are streamed once more and compared byte by byte.
 *
 * SHARED: the log is finished as it is, the manifest will list the task's chunks; nothing may be
 * appended. LATER: it may be asked again. NEVER: it is in vain. Then nothing has changed, and `why`
 * says what is in the way. Only before anything was appended; negative = canceled, or no memory.
 * A resumed backup (options.resumed) is always NEVER: what it read earlier is proven by log of its own.
 */
#define BACKUP_SHARE_PROOF_BYTES (1u << 20)
enum backup_share_result { BACKUP_SHARED = 1, BACKUP_SHARE_LATER, BACKUP_SHARE_NEVER };
struct backup_share {
    const struct engine_ops *engine;
    const struct engine_instance *instance;
    struct slice begin; /* the engine's blob */
    uint64_t until;
};
int backup_log_share(struct backup_log *log, const struct backup_share *share,
                     char why[TM_ERR_MSG_MAX], struct tm_err *err) TM_WUR;

/*
 * One step of streaming: waits at most timeout_ms for log and appends it, not beyond `until`
 * (0 = no bound). *ret_flushed is what the source has made durable.
 * 1 = there may be more, 0 = `until` is reached, negative = error.
 */
int backup_log_pump(struct backup_log *log, const struct engine_ops *engine,
                    struct engine_log *elog, uint64_t until, unsigned timeout_ms,
                    uint64_t *ret_flushed, struct tm_err *err) TM_WUR;

/* ---- commit (lead) ---- */

/* The result of range `index`: 1 = *ret (borrowed until the next call), 0 = there is none. Called
 * in rising order, once for each. */
typedef int (*backup_result_fn)(void *arg, uint32_t index, struct slice *ret, struct tm_err *err);

struct backup_commit {
    struct epoch epoch; /* of this commit: no range's may be above it */
    struct slice begin; /* the engine's blobs */
    struct slice end;
    struct engine_position replay_from;
    struct engine_position consistent_at;
    uint64_t log_from; /* the same two as stream bytes */
    uint64_t log_to;
    const struct backup_log *log; /* finished, reaching to log_to; NULL = the engine needs none */
    int64_t started_us;
    int64_t commit_us;
    int64_t settled_us;         /* what the engine says of `end` */
    const char *engine;         /* "postgres" */
    const char *engine_version; /* of the source: "15.18" */
    const char *lineage_label;
    const char *node;
    const char *name; /* the Backup resource, for people */
    uint32_t ranges;  /* with the final one */
};

struct backup_totals {
    uint32_t ranges;
    uint64_t files;
    uint64_t raw_bytes;
    uint64_t stored_bytes; /* with log and metadata; not what is shared */
    uint64_t log_bytes;    /* own, or shared from log_from up to log_to */
    uint64_t pages_checked;
    uint64_t pages_unverified;
    uint64_t pages_corrupt;
    struct problem problems[BACKUP_TOTALS_PROBLEMS]; /* the first ones; the manifest has more */
    uint32_t problem_count;
    /* the manifest's own words, which are not this commit's when an earlier attempt wrote it */
    int64_t commit_us;
    int64_t completed_us;
    char position[ENGINE_POSITION_MAX]; /* consistent_at, for people */
    char lineage_label[ENGINE_LABEL_MAX];
    uint32_t earlier; /* 1: it was an earlier attempt that committed; nothing was written now */
};

struct manifest_reader; /* proto/format/stream.h */
/* Of a manifest that was opened; its items are read to the end when there are problems among them. */
int backup_totals_read(struct manifest_reader *mr, struct backup_totals *ret,
                       struct tm_err *err) TM_WUR;

/* The same as it goes over the wire; `text` holds what *ret points to, beside *totals. */
struct backup_totals_text {
    struct msg_counters counters;
    struct msg_problem problems[BACKUP_TOTALS_PROBLEMS];
    char path[STORAGE_URL_MAX + STORAGE_NAME_MAX + 2];
};
void backup_totals_message(const struct backup_totals *totals, const struct storage *st,
                           const struct repo_scope *scope, const char *backup_id,
                           struct backup_totals_text *text, struct msg_totals *ret);

/*
 * Takes the results in key order, checks that they cover the key space without gap or overlap and
 * belong to this backup, writes sorted segments, and last the manifest. Run again after a crash it
 * finds its manifest and succeeds. TM_E_CONFLICT when a manifest of another content is there, and
 * TM_E_CANCELED when a tombstone is.
 *
 * options.resumed: a manifest of another content is that of an earlier attempt whose answer was lost.
 * That is success with its totals (`earlier`), unless it was committed under a later term than this
 * commit's, which stays TM_E_CONFLICT. The results are not asked for then.
 */
int backup_commit(struct backup_worker *w, const struct backup_commit *commit,
                  backup_result_fn next, void *arg, struct backup_totals *ret,
                  struct tm_err *err) TM_WUR;

/* ---- checkpoint (lead) ---- */

/*
 * What an attempt must find to go on where another one stopped: which plan, what the engine said at
 * the start, and which ranges are stored. Checkpoint objects only add to each other; they lie where
 * the commit's segments lie, are named by nothing, and are swept with the rest of the backup.
 *
 * Nothing here says that a range is still good for the database as it is now: that is the engine's to
 * prove (by the log since replay_from).
 */
struct backup_checkpoint {
    struct epoch epoch; /* of this writer: above every earlier one's of this backup; in the names */
    struct epoch plan;  /* under which the plan was stored, maybe by an earlier attempt */
    uint32_t ranges;    /* of that plan, without the final one */
    struct slice begin; /* the engine's blob that ranges are read under now */
    struct engine_position replay_from; /* of the backup's first start */
    const char *engine;                 /* "postgres" */
    const char *lineage_label;
    const char *node;
    int64_t started_us; /* of the first start */
};

/*
 * Stores results (blobs of struct backup_result, all of ranges of the plan and durable already; never
 * the final one's) that no checkpoint has yet: one object, or several when they are many. With
 * count = 0 it keeps plan and begin alone. *seq is the writer's next free number: 0 before its first
 * call, afterwards as this returned it. The object of number 0 always has `begin` whole, later ones
 * when it is small, else they say by its digest whose it is: a writer whose begin changes takes a
 * higher epoch and begins at 0 again.
 *
 * A failure leaves *seq so that the call may be repeated with the same results or more; results that
 * were stored twice do no harm. A result that is not one of this backup and plan is TM_E_INTERNAL.
 */
int backup_checkpoint_store(struct backup_worker *w, const struct backup_checkpoint *ck,
                            const struct slice *results, size_t count, uint32_t *seq,
                            struct tm_err *err) TM_WUR;

/* One range that is stored. */
struct backup_checkpoint_result {
    uint32_t index;
    struct epoch epoch;
    struct slice blob; /* for backup_commit; valid for the call */
    uint64_t raw_bytes;
    uint64_t stored_bytes;
    struct engine_range_stats stats; /* bytes = raw_bytes */
};
/* Each range at most once, in no order. A negative answer ends the load with that error. Must not use
 * the worker. */
typedef int (*backup_checkpoint_fn)(void *arg, const struct backup_checkpoint_result *result,
                                    struct tm_err *err);

struct backup_checkpoint_found {
    /* the backup is complete already: `totals` (earlier = 1) says what is in it, nothing else is set */
    bool committed;
    struct backup_totals totals;
    bool found;         /* there is something to go on with: */
    struct epoch epoch; /* the newest checkpoint's writer */
    struct epoch plan;
    uint32_t ranges;
    struct buf begin; /* the newest checkpoint's */
    struct engine_position replay_from;
    char engine[ENGINE_NAME_MAX];
    char lineage_label[ENGINE_LABEL_MAX];
    char node[64]; /* of the newest writer */
    int64_t started_us;
    uint32_t results; /* that fn was called for */
    uint64_t raw_bytes;
    uint64_t stored_bytes;
    /* what is there and does not count, found or not: checkpoint objects, and results in good ones */
    uint32_t aside_objects;
    uint32_t aside_results;
    char aside[TM_ERR_MSG_MAX]; /* why the first one does not; "" = nothing was set aside */
};
void backup_checkpoint_found_release(struct backup_checkpoint_found *found);

/*
 * Finds what earlier attempts of this backup left. *ret is filled also when that is nothing (found =
 * false). TM_E_CANCELED when the backup was deleted; other errors are the store's, to be tried again.
 *
 * The newest checkpoint that can be read says plan, begin and start; older ones of another plan or
 * start do not count. A checkpoint that is damaged, or not of this backup, or whose begin is lost, is
 * as if it were not there; nothing is found when the plan is damaged or missing. Of several results of
 * a range the one of the highest epoch counts. Each must be what a commit takes: object name, keys as
 * the plan has them, no later term than its writer's and options.epoch; and its data object must be
 * there with its size (data is listed, not read), with options.checksum also with the bytes it was
 * stored with. One that is not so does not count; its range is to be read again.
 *
 * fn may be NULL when only *ret is wanted: then neither data is read nor a checkpoint twice, and what only
 * their bytes would say is not known yet; `results` and the bytes are 0.
 *
 * Memory: about 100 bytes a result, and one frame. Every checkpoint object is read twice.
 */
int backup_checkpoint_load(struct backup_worker *w, backup_checkpoint_fn fn, void *arg,
                           struct backup_checkpoint_found *ret, struct tm_err *err) TM_WUR;

/* ---- sweep and delete ---- */

enum backup_sweep_mode {
    BACKUP_SWEEP_ABORT,  /* what attempts left; refuses (TM_E_REFUSED) a committed backup */
    BACKUP_SWEEP_DELETE, /* also a committed one */
};

struct backup_sweep_result {
    uint64_t objects;
    uint64_t bytes;
    int64_t next_us; /* a grace is not over: when it is; 0 = there is none */
};

/*
 * Removes everything below backup/<id>/: the tombstone is written, then manifest, metadata, data and log
 * go. The tombstone stays: an attempt that lives on can commit no more, and what somebody stores later is
 * known to be a leftover. Run again it removes what is left. Nothing there is success. A full storage that
 * has no room for the tombstone gives room first; for one with a grace it may be TM_E_NO_SPACE.
 *
 * What is deleted stays for grace_us after its tombstone: ret->next_us says until when, and nothing is
 * removed by this call. A call then, or with a shorter grace, removes it.
 */
int backup_sweep(struct backup *b, enum backup_sweep_mode mode, const char *reason,
                 int64_t grace_us, struct backup_sweep_result *ret, struct tm_err *err) TM_WUR;
/* Ends what earlier deletions of this tenant left, each when the grace that it was given is over. */
int backup_sweep_deleted(struct backup *b, struct backup_sweep_result *ret,
                         struct tm_err *err) TM_WUR;

/* After the commit: removes checkpoints, and what lost against another attempt or node. TM_E_REFUSED when
 * the backup is not committed. Nothing depends on it. */
int backup_tidy(struct backup_worker *w, struct backup_sweep_result *ret,
                struct tm_err *err) TM_WUR;

#endif
