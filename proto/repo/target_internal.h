#ifndef TM_PROTO_REPO_TARGET_INTERNAL_H
#define TM_PROTO_REPO_TARGET_INTERNAL_H
/*
 * What the files behind target.h share. Not for others.
 */
#include "proto/repo/logs_internal.h"
#include "proto/repo/target.h"

struct planner {
    struct object_scratch **scratches;
    struct storage *log_st;
    struct storage *backup_st;
    const struct repo_scope *scope;
    const struct target *target;
    const struct target_engine *engine;
    struct log_world world;
    /* the candidate that is looked at */
    const struct log_backup *backup;
    struct log_path path;
    /* where it stops */
    bool immediate;
    size_t stop_leg;
    uint64_t stop_record;
    uint64_t log_to;
    int64_t stop_us;
};

/* ---- events on the way ---- */

/* What is looked for; chunks whose entry is not wanted are not opened. Returns 1 to stop. */
struct path_scan {
    bool (*wanted)(void *arg, const struct log_entry *entry);
    int (*event)(void *arg, size_t leg, const struct log_point *event, struct tm_err *err);
    void *arg;
    uint64_t until; /* events that begin here or behind are not looked at */
};
/* All events of the planner's path in log order: 1 = `event` stopped it, 0 = end. */
int path_scan(struct planner *p, const struct path_scan *scan, struct tm_err *err) TM_WUR;

/* Start of the last whole record of the leg that begins at or before (`before`: strictly before)
 * `limit`; *ret_end lies behind it. 0 = there is none in what is stored. */
int path_last_record(struct planner *p, size_t leg, uint64_t limit, bool before,
                     uint64_t *ret_record, uint64_t *ret_end, struct tm_err *err) TM_WUR;

/* The start of the segment that holds `at` on the leg, as far as it is stored. */
int path_segment(struct planner *p, size_t leg, uint64_t at, uint64_t *ret,
                 struct tm_err *err) TM_WUR;

/* The error for a chunk that is needed and cannot be had. */
int path_chunk_lost(struct planner *p, const struct log_ref *ref, const char *what,
                    struct tm_err *err);

/* ---- stops ---- */

/* The way that a backup leads: to the lineage that is wanted, else to the newest; a backup on a
 * branch that was left only when it was asked for by its id. 1 = p->path is that, maybe empty. */
int target_candidate(struct planner *p, const struct log_backup *b, bool named,
                     struct tm_err *err) TM_WUR;
/* Looks for the target on the candidate's path: 1 = the stop is filled in, 0 = it is not there. */
int target_resolve(struct planner *p, struct tm_err *err) TM_WUR;
/* 1 = the time is the candidate's own moment, to which it leads whatever log there is. It may hold a few
 * commits that are later. */
int target_own_moment(struct planner *p);
/* The same for a transaction or a name, over all candidates. */
int target_resolve_event(struct planner *p, const char *backup_id, struct tm_err *err) TM_WUR;
/* The newest wanted commit, for stop_us. */
int target_stop_time(struct planner *p, struct tm_err *err) TM_WUR;

/* The branch of the target's lineage. */
int target_lineage(const struct planner *p, size_t *ret, struct tm_err *err) TM_WUR;
/* Every moment of the candidate up to here is proven stored. */
int64_t target_end_us(const struct planner *p);

/* ---- the plan ---- */

int target_pieces(struct planner *p, struct target_plan *plan, struct tm_err *err) TM_WUR;
/* Nobody who asks for the latest moment means the one before a hole: 1 = the candidate reaches it, else
 * the error names what is in the way. */
int target_newest(struct planner *p, struct tm_err *err) TM_WUR;
/* The error for a target that no candidate has. */
int target_missing(struct planner *p, const char *backup_id, struct tm_err *err) TM_WUR;

#endif
