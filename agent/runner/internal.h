#ifndef TM_AGENT_RUNNER_INTERNAL_H
#define TM_AGENT_RUNNER_INTERNAL_H
/*
 * What the files of agent/runner share. Not for others.
 *
 *   runner.c   the control thread: socket in, frames routed, progress out
 *   steps.c    the step thread: everything that happens once per job, in the order of the frames
 *   plan.c     a plan on its way to the agent
 *   resume.c   what earlier attempts left, and the proof that it is still good
 *   checkpoint.c  the thread that stores what is done
 *   ranges.c   lease queue and worker threads
 *   logs.c     the log thread of a backup
 *   share.c    the same where the log task's log is shared
 *   task.c     the log thread of a log backup
 *   probe.c    a storage test
 *   errand.c   what else is done in a storage for the coordinator
 *   watch.c    which call to storage hangs
 *
 * One mutex guards all that threads share (`lock`), one condition wakes all of them (`changed`):
 * there are about ten threads and a few events a second. Frames go out under `send_lock`, which is
 * taken last and never around another lock.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "agent/backup/backup.h"
#include "agent/engine/engine.h"
#include "agent/restore/restore.h"
#include "agent/runner/frames.h"
#include "agent/runner/runner.h"
#include "agent/runner/watch.h"
#include "common/list.h"

#define RUNNER_LEASES_MAX   (4u * WIRE_LEASES_MAX)
#define RUNNER_FRAMES_MAX   64u      /* waiting for the step thread */
#define RUNNER_LOG_RETRY_US 60000000 /* without a log connection for so long the job fails */
#define RUNNER_READY_US     1000000  /* between two questions whether the instance may be read */
#define RUNNER_UNREADY_US   10000000 /* after so long it is told why it may not */
#define RUNNER_HANG_US      60000000 /* a call to storage that takes longer is told */
#define RUNNER_WAIT_FILE_US 20000000 /* the same while it lasts: of a mounted path, … */
#define RUNNER_WAIT_LOG_US  10000000 /* … of a log task, whose checkpoint is late with it */

struct lease {
    struct list_link link;
    uint32_t index;
    uint64_t term;
    uint64_t counter;
    size_t start_len;
    size_t end_len;
    uint8_t keys[]; /* start, then end */
};

struct waiting_frame {
    struct list_link link;
    struct frame frame;
};

struct log_task;
struct checkpoints;
struct plan_batch;

enum log_state { LOG_NONE, LOG_RUNNING, LOG_FINISHED, LOG_FAILED };

struct runner {
    int fd;
    pthread_mutex_t send_lock;
    pthread_mutex_t lock;
    pthread_cond_t changed;

    /* set by the first frame, constant afterwards */
    struct frame job_frame;
    const struct frame_job *job; /* NULL before */
    const struct engine_ops *engine;
    struct engine_instance instance;
    struct epoch epoch; /* of this runner: (term, generation) */
    unsigned threads;
    struct storage *storage;
    struct storage_watch watch; /* of storage and full_storage */
    int64_t hang_told_us;       /* the control thread's: since when the hang lasts that was told */
    char trouble_told[WATCH_TROUBLE_MAX]; /* the control thread's; "" = none */

    /* made by the step thread before others look at it */
    struct backup *backup;
    struct frame begin_frame; /* owns the begin blob */
    const struct frame_begin *begin;
    struct engine_reader *reader;
    int64_t started_us;

    atomic_bool cancel; /* end soon */

    /* under lock */
    bool stopping;
    bool failed;          /* a failed frame was sent */
    struct list frames;   /* of waiting_frame, for the step thread */
    struct list results;  /* of waiting_frame: pages that came */
    struct list accepted; /* the same, for checkpoints */
    struct list leases;
    unsigned running;
    bool workers_up;
    bool ready;         /* the instance may be read; of the lead always */
    bool asking;        /* one worker asks for all */
    int64_t unready_us; /* since when it is not */
    bool unready_told;
    uint64_t log_until; /* 0 = not known */
    enum log_state log_state;
    struct tm_err log_err;
    struct frame_progress restore_progress;
    bool restoring;
    bool storage_up;              /* `storage` is set, and stays to the end */
    struct storage *full_storage; /* restore: where the backups lie, when not with the log */

    struct log_task *task; /* kind LOG */

    struct backup_log *log; /* the log thread's until log_state is FINISHED */
    _Atomic uint64_t log_bytes;

    bool resumed; /* a checkpoint was found: its plan is this one's */
    uint32_t
        aside_told; /* results of earlier attempts that it was said of that they do not count */
    bool proving;   /* the log must prove that earlier ranges are good */
    uint64_t proof_from;
    struct engine_proof *proof; /* the log thread's until log_state is FINISHED */
    atomic_bool refuted;
    struct checkpoints *checkpoints;
    uint8_t checkpointed[BACKUP_RANGES_MAX /
                         8]; /* by range: the step thread's, then the checkpoint thread's */

    pthread_t step_thread;
    pthread_t checkpoint_thread;
    pthread_t log_thread;
    pthread_t workers[RUNNER_THREADS_MAX];
    bool step_started;
    bool checkpoint_started;
    bool log_started;
    unsigned workers_started;
};

/* Sends a frame; thread safe. A broken socket cancels the runner. */
void runner_tell(struct runner *r, const struct frame *f);
/* The job cannot go on: tells the agent, once, and ends everything. */
void runner_fail(struct runner *r, const char *stage, const struct tm_err *err);
/* Wakes everybody up to end. */
void runner_wind_up(struct runner *r);
bool runner_stopping(struct runner *r);
/* Sleeps, unless the runner ends. */
void runner_pause(struct runner *r, int64_t us);
/* How requests to the object stores went; false: there is none. */
bool runner_storage_stats(struct runner *r, struct msg_storage_stats *ret);
/* A call to storage hangs: TM_E_TIMEOUT that names node, storage and call. False: none. */
bool runner_hangs(struct runner *r, int64_t *ret_since_us, struct tm_err *ret);
/* A thread with signals blocked and a small stack. */
int runner_thread(pthread_t *ret, void *(*main)(void *), void *arg, struct tm_err *err) TM_WUR;

/* steps.c */
void *step_thread_main(void *arg);
/* The next of those that wait; false when the runner ends. */
bool runner_next_frame(struct runner *r, struct list *from, struct frame *ret);
/* A manifest is stored: FRAME_committed, or FRAME_found of an earlier attempt's. */
void runner_tell_committed(struct runner *r, const struct backup_totals *totals,
                           enum frame_type type);

/* plan.c: ranges in, batches out; `last` has where the plan is stored. */
int plan_batch_new(struct runner *r, struct plan_batch **ret, struct tm_err *err) TM_WUR;
void plan_batch_free(struct plan_batch *b);
int plan_batch_add(void *batch, uint32_t index, struct engine_key_range range, uint64_t bytes,
                   struct tm_err *err) TM_WUR;
void plan_batch_last(struct plan_batch *b, struct epoch plan, int64_t started_us);
/* What `last` said, as it comes back with `begin`. */
int plan_root_parse(struct slice root, struct epoch *ret_plan, int64_t *ret_started_us,
                    struct tm_err *err) TM_WUR;

/* resume.c */
/* *ret_over: a manifest is there, and was told. */
int resume_look(struct runner *r, bool *ret_over, struct tm_err *err) TM_WUR;
/* In place of planning, when something was found. */
int resume_plan(struct runner *r, struct tm_err *err) TM_WUR;
/* A resumed snapshot's log is looked at as it passes. */
void resume_watch_log(struct runner *r, struct backup_log_options *options);
/* After all log passed: TM_E_CONFLICT when it refutes what was read before. */
int resume_proven(struct runner *r, struct slice end, struct tm_err *err) TM_WUR;
/* The stage to tell: "resume" when ranges must start over. May change err->code. */
const char *resume_stage(struct runner *r, const char *stage, struct tm_err *err);

/* checkpoint.c */
int checkpoints_start(struct runner *r, struct epoch plan, uint32_t ranges,
                      struct tm_err *err) TM_WUR;
/* This range's result is in a checkpoint. Before checkpoints_start. */
void checkpoints_note(struct runner *r, uint32_t range);
void checkpoints_end(struct runner *r); /* joins; the runner is stopping */

/* probe.c */
int step_errand(struct runner *r, struct tm_err *err) TM_WUR;
int step_probe(struct runner *r, struct tm_err *err) TM_WUR;
/* restore_step.c */
int step_restore(struct runner *r, struct tm_err *err) TM_WUR;
/* steps.c: opens with what the job brought along; without, with the host's own credentials. Calls are
 * watched. */
int step_open_storage(struct runner *r, const char *url, const struct msg_secret *secret,
                      struct storage_options options, struct storage **ret,
                      struct tm_err *err) TM_WUR;

/* ranges.c */
int ranges_start(struct runner *r, struct tm_err *err) TM_WUR;
int ranges_add(struct runner *r, const struct frame_ranges *frame, struct tm_err *err) TM_WUR;
void ranges_cancel(struct runner *r, const struct frame_cancel *frame);
void ranges_join(struct runner *r);
/* Fills the counters of a result; *text must outlive them. */
void ranges_counters(const struct backup_result *result, struct msg_counters *ret, char *text,
                     size_t size);

/* logs.c */
int logs_start(struct runner *r, struct tm_err *err) TM_WUR;
void logs_finish_at(struct runner *r, uint64_t until);
/* Waits for the end of the log, or of the runner. */
int logs_wait(struct runner *r, struct tm_err *err) TM_WUR;
void logs_join(struct runner *r);

/* share.c: 1 = the log is the log task's, and finished; 0 = it is to be streamed. */
int logs_share(struct runner *r, uint64_t from, struct tm_err *err) TM_WUR;

/* task.c */
int task_open(struct runner *r, const struct repo_scope *scope, int zstd_level,
              struct tm_err *err) TM_WUR;
int task_start(struct runner *r, struct tm_err *err) TM_WUR;
int task_want(struct runner *r, const struct frame_log_want *want, struct tm_err *err) TM_WUR;
void task_end(struct runner *r); /* the log thread will end; join it with logs_join */

#endif
