#ifndef TM_PROTO_REPO_LOGS_REMOVE_H
#define TM_PROTO_REPO_LOGS_REMOVE_H
/*
 * What truncating and sweeping share. Not for others.
 */
#include "proto/repo/logs_internal.h"

struct log_remover {
    struct object_scratch **scratches; /* three */
    struct storage *log_st;
    struct storage *backup_st;
    const struct repo_scope *scope;
    const struct log_lineages *lineages;
    const uint64_t *cuts; /* of each lineage: log before goes; UINT64_MAX = all, 0 = none */
    int64_t now_us;       /* a backup that was deleted has its grace */
    bool dry_run;         /* only counts */
    uint64_t chunks;      /* removed, or to be removed */
    uint64_t bytes;
    bool left; /* a damaged lineage was left alone, `why` says which */
    struct tm_err why;
    /* its own */
    uint64_t first; /* of the lineage that is looked at: chunks that begin before go */
    struct listed *listed;
    size_t listed_count;
    size_t listed_cap;
    bool listed_read;
};
/* Reads what manifests list, which is done anyway before the first chunk goes. */
int log_remover_listed(struct log_remover *t, struct tm_err *err) TM_WUR;
/* Removes what lies before the cuts as a whole. */
int log_remover_run(struct log_remover *t, struct tm_err *err) TM_WUR;
/* The same, with cuts that are those of the records whose grace is over; *ret_next_us: when it is for the
 * next, 0 = there is none. */
int log_remover_due(struct log_remover *t, int64_t now_us, int64_t grace_us, int64_t *ret_next_us,
                    struct tm_err *err) TM_WUR;
void log_remover_release(struct log_remover *t);

#endif
