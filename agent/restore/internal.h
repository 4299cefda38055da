#ifndef TM_AGENT_RESTORE_INTERNAL_H
#define TM_AGENT_RESTORE_INTERNAL_H
/*
 * What the files of agent/restore share. Not for others.
 *
 *   restore.c    the stages, one after the other
 *   files.c      worker threads and their queue
 *   file.c       one range: objects' frames into files; delta
 *   plan.c       what is asked, what it needs
 *   probe.c      how long it will take
 *   log.c        the log, looked through and written
 *   passes.c     the pass over file entries
 */
#include <pthread.h>

#include "agent/restore/restore.h"
#include "common/clock.h"
#include "common/throttle.h"
#include "proto/format/data.h"
#include "proto/repo/planner.h"
#include "proto/repo/target.h"

#define RESTORE_QUEUE_MAX 32u
#define RESTORE_TICK_MS   500

/* One range as the workers need it. */
struct restore_item {
    uint32_t index;
    struct object_ref object;
    uint32_t start_len;
    uint32_t end_len;
    uint8_t start[FORMAT_KEY_MAX];
    uint8_t end[FORMAT_KEY_MAX];
};

struct restore {
    const struct restore_job *job;
    struct storage *st;     /* where the snapshot lies */
    struct storage *log_st; /* where the log lies */
    struct repo_scope scope;
    const struct engine_ops *engine;
    struct engine_restore *target;
    struct buf begin; /* the engine's blobs */
    struct buf end;
    struct restore_outcome outcome;
    struct object_scratch *manifest_scratch;
    struct object_scratch *segment_scratch;
    struct object_scratch *object_scratch; /* footers */
    struct object_scratch *log_scratch;    /* log chunks */
    struct target_plan plan;               /* no pieces: the backup's own end */
    struct log_lineages lineages;          /* their histories */
    pthread_t log_thread;
    bool log_started;
    struct throttle throttle;
    bool throttled;
    uint64_t log_to;
    uint64_t log_from;

    _Atomic uint64_t bytes_done;
    _Atomic uint64_t log_done;
    _Atomic uint64_t bytes_kept;
    _Atomic uint64_t files;
    _Atomic uint32_t ranges_done;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    struct restore_item *queue; /* ring of RESTORE_QUEUE_MAX */
    unsigned queue_head;
    unsigned queue_count;
    bool queue_closed;
    bool failed;
    struct tm_err first_err;
    bool replay_done;
};

int restore_canceled(const struct restore *r, struct tm_err *err) TM_WUR;
/* Tells the caller's progress function, with the counters as they are now. */
void restore_report(struct restore *r);

/* files.c: all ranges, by threads. */
int restore_files(struct restore *r, struct tm_err *err) TM_WUR;

/* file.c: what one worker has. */
struct restore_worker;
int restore_worker_new(struct restore *r, struct restore_worker **ret, struct tm_err *err) TM_WUR;
void restore_worker_free(struct restore_worker *w);
TM_DEFINE_FREEP(struct restore_worker, restore_worker_free)
int restore_range(struct restore_worker *w, const struct restore_item *item,
                  struct tm_err *err) TM_WUR;
void restore_item_set(struct restore_item *item, const struct segment_range *range);

/* The first failure of any thread is the one that counts; everybody ends soon. */
void restore_fail(struct restore *r, const struct tm_err *err);
/* It, or 0. */
int restore_failed(struct restore *r, struct tm_err *err) TM_WUR;

/* plan.c: chooses backup and log, opens the engine's target. */
int restore_plan(struct restore *r, struct tm_err *err) TM_WUR;

/* probe.c: sets outcome.estimate_us; reads some data, writes nothing. */
int restore_probe(struct restore *r, struct tm_err *err) TM_WUR;

/* log.c */
enum restore_log_pass { RESTORE_LOG_CHECK, RESTORE_LOG_WRITE };
/* Proves the chain of ranges and adds it up; then all log goes to the engine, to be looked at. */
int restore_log_check(struct restore *r, struct tm_err *err) TM_WUR;
/* The backup's own log into its place; then a thread for the rest, which join waits for. */
int restore_log_write(struct restore *r, struct tm_err *err) TM_WUR;
void restore_log_join(struct restore *r);

/* passes.c */
/* All whole files, in key order, to the engine's own manifest. */
int restore_manifest(struct restore *r, struct tm_err *err) TM_WUR;

/* Histories of all branches that are stored, one for each label: two standbys of one primary, both
 * promoted, have one label and maybe different histories. Slices are the lineages'. */
struct restore_histories {
    struct slice *texts;
    const char **labels;
    size_t count;
};
int restore_histories(const struct target_plan *plan, const struct log_lineages *all,
                      struct restore_histories *ret, struct tm_err *err) TM_WUR;
void restore_histories_release(struct restore_histories *h);

#endif
