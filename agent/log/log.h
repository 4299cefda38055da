#ifndef TM_AGENT_LOG_LOG_H
#define TM_AGENT_LOG_LOG_H
/*
 * The log task: streams one tenant's log into storage, for ever.
 *
 *     log_task_new → log_task_run (its own thread; ends only when canceled or for good)
 *     log_task_want (any thread): run, pause or stop; truncate; where a standby's hold may go
 *     log_task_free
 *
 * Happy path of run: hold_open → the lineage is found and proven, or minted → writer/<epoch> is
 * stored with its start → the engine's stream is opened → bytes are received, indexed and digested
 * in order, cut into chunks at 16 MiB or when the oldest byte is older than flush_ms, compressed
 * and uploaded by threads, committed in order → the hold follows what is durable → marks.
 *
 * Proof: the hold stays one byte behind what is durable, so the source always has the segment of
 * the last stored byte. A writer streams from that segment's start and compares byte by byte with
 * what is stored; a difference means another branch: a new lineage, never a mixture.
 *
 * Forks: when the source's branch is another than the newest lineage's, that lineage is finished up
 * to the fork first (from the source's files or stream of the old branch), then a child lineage
 * begins at the fork's segment. What the parent stored behind the fork is an abandoned tail.
 *
 * Failure: everything that may pass is tried again with growing pauses, from the last durable byte;
 * meanwhile status.error says node, stage and since when. Log that the source has lost makes a gap:
 * a new writer object says from where to where and why, status.needs_full asks for a backup.
 * Refusals and conflicts end the run.
 *
 * Threads: one receiver, `threads` packers, one that looks at source and hold every second, one that
 * stores marks and looks for newer writers, one that truncates, rolls up and counts what can be
 * restored, one that answers queries, one that tells: none waits for another's trouble. Memory is bounded by
 * LOG_CHUNKS_IN_FLIGHT chunks. status is called by one of them, one call at a time; chunks and bytes
 * in it are this run's.
 */
#include <stdatomic.h>
#include <stdint.h>

#include "agent/engine/engine.h"
#include "common/err.h"
#include "common/storage/storage.h"
#include "proto/format/names.h"
#include "proto/wire/messages.h"

#define LOG_CHUNKS_IN_FLIGHT 4u
#define LOG_THREADS_MAX      8u
#define LOG_LOOK_MS          1000 /* how often hold and source's clock are looked at */
#define LOG_MARK_MS          5000 /* an idle log gets a stored mark this often */
#define LOG_RETRY_MIN_MS     200
#define LOG_RETRY_MAX_MS     15000
#define LOG_FLUSH_MS         5000
#define LOG_GCTTL_S          86400
#define LOG_GRACE_MS         600000 /* what is truncated stays so long for who reads it already */

struct log_task_options {
    struct storage *storage; /* borrowed; NULL with hold_only */
    struct repo_scope scope; /* incarnation is the instance's identity */
    const struct engine_ops *engine;
    const char *engine_name;
    struct engine_instance instance; /* strings borrowed */
    const char *node;
    const char *name;   /* of the task: the hold's name is made of it and the scope */
    struct epoch epoch; /* the first of this writer's: above every earlier writer's */
    uint32_t epochs;    /* so many counters from there on are its own, one for each opening of a
                           lineage; more end the run with an error that may pass. 0 = endless */
    int zstd_level;
    unsigned threads; /* 0 = 2 */
    bool hold_only;   /* a standby: nothing is streamed, the hold follows params.checkpoint */
    bool accept_incarnation;
    /* called on every change of consequence and at least once a second */
    void (*status)(void *arg, enum job_stage stage, const struct msg_log_status *status);
    /* called once for each query that is wanted, by a thread of its own; NULL = queries are ignored */
    void (*answer)(void *arg, const struct msg_log_answer *answer);
    void *arg; /* of both */
    /* random bytes for nonces and lineage ids; NULL = the kernel's */
    int (*random)(void *arg, void *ret, size_t len, struct tm_err *err);
    void *random_arg;
};

struct log_task;
int log_task_new(const struct log_task_options *options, struct log_task **ret,
                 struct tm_err *err) TM_WUR;
/* step: JOB_STEP_RUN, PAUSE or STOP. Copied. Before the first call the task waits. */
int log_task_want(struct log_task *t, enum job_step step, const struct msg_log_params *params,
                  struct tm_err *err) TM_WUR;
/* Returns TM_E_CANCELED after log_task_cancel, another error when the task cannot go on. */
int log_task_run(struct log_task *t, struct tm_err *err) TM_WUR;
void log_task_cancel(struct log_task *t); /* from any thread */
void log_task_free(struct log_task *t);
TM_DEFINE_FREEP(struct log_task, log_task_free)

/* The hold's name at the source: the same for the same task and scope, on every node. */
#define LOG_HOLD_NAME_MAX 63
void log_hold_name(const struct repo_scope *scope, const char *task,
                   char ret[LOG_HOLD_NAME_MAX + 1]);

#endif
