#ifndef TM_PROTO_REPO_TARGET_H
#define TM_PROTO_REPO_TARGET_H
/*
 * From what an operator asks to what a restore needs: which backup, which pieces of log over which
 * lineages, and the exact record to stop behind. Everything is proven before anything is written:
 * the chain is unbroken, every chunk is listed with its digest.
 *
 * The rules (PostgreSQL's, and sane elsewhere):
 *   time T     stop before the first commit or abort with a time above T. T must not lie behind what
 *              is proven stored: the lineage's newest time mark
 *   position P inclusive: behind the record that begins at P, or the last that begins before it;
 *              exclusive: behind the last record that begins before P. P must be stored
 *   xid, name  behind that commit (abort) or named point; exclusive: behind the record before. A name
 *              that is there more than once is refused, with times and positions of all
 *   latest     behind the last whole record that is stored; when that is behind a hole, and no backup
 *              was named, TM_E_NOT_FOUND
 *   immediate  the backup's own consistent_at
 * The stop is never before consistent_at. A target that cannot be had is TM_E_NOT_FOUND and names
 * the nearest moments that can; retryable when it is a time that log which is still to come may have: one
 * behind all that is stored, not one before the first moment or in front of log that is stored.
 */
#include "proto/repo/logs.h"

#define TARGET_PIECES_MAX 4000000u

enum target_kind {
    TARGET_IMMEDIATE,
    TARGET_LATEST,
    TARGET_TIME,
    TARGET_POSITION,
    TARGET_XID,
    TARGET_NAME,
};

struct target {
    enum target_kind kind;
    int64_t time_us;
    char text[FORMAT_POSITION_MAX + EVENT_NAME_MAX]; /* position or name, as given */
    uint64_t xid;
    bool exclusive;
    bool has_lineage;
    uint8_t lineage[16];
};

/* "immediate", "latest", "time:…", "position:…", "xid:…", "name:…"; and without a word before it:
 * a time, a TSO or a position. Positions are read by the engine, later. */
int target_parse(const char *text, struct target *ret, struct tm_err *err) TM_WUR;

/* Whole records in given log bytes: the start of the last record that begins at or before (or, with
 * `before`, strictly before) `limit`. The bytes come in order from a segment start of that branch.
 * Given by the caller, who knows the engine. */
struct target_engine {
    struct log_positions positions;
    int (*last_record)(void *arg, struct slice facts, const char *label, uint64_t from,
                       int (*read)(void *read_arg, uint64_t at, struct slice *ret,
                                   struct tm_err *err),
                       void *read_arg, uint64_t limit, bool before, uint64_t *ret_record,
                       struct tm_err *err);
    void *arg;
};

/* One chunk of the log task: small, because a plan may have many. */
struct target_piece {
    uint64_t from;
    uint64_t to;
    uint64_t until; /* its bytes behind this one are not of this history, or not wanted */
    uint64_t stored_bytes;
    uint64_t term;
    uint32_t counter;
    uint32_t branch; /* index of its label, history and lineage */
    uint8_t digest[32];
};

struct target_plan {
    char backup_id[NAMES_BACKUP_ID_LEN + 1];
    bool immediate;       /* nothing of the log task is needed */
    uint64_t stop_record; /* start of the last record that is wanted; 0 when immediate */
    uint64_t log_to;      /* log is needed up to here: behind that record */
    char stop_label[FORMAT_LABEL_MAX];
    char stop_position[FORMAT_POSITION_MAX];
    uint8_t lineage[16]; /* of the stop */
    int64_t stop_us;     /* newest time of a wanted commit; the backup's own when there is none */
    /* in the order of replay; the first one holds the start of the segment in which the backup is
     * consistent, a child's first one that of the fork's */
    struct target_piece *pieces;
    size_t piece_count;
    uint64_t log_bytes; /* raw, of the pieces */
    /* of every branch on the way, for the engine */
    char (*labels)[FORMAT_LABEL_MAX];
    struct slice *histories; /* in arena */
    uint8_t (*lineages)[16];
    size_t label_count;
    struct codec_arena arena;
};
#define TARGET_PLAN_INIT ((struct target_plan){.immediate = false})
void target_plan_release(struct target_plan *plan);
/* The piece as metadata names a log object. */
void target_plan_piece(const struct target_plan *plan, size_t index, struct log_ref *ret);

/* backup_id NULL = choose: the newest that is consistent at or before the target and leads to it. */
int target_plan_make(struct object_scratch *scratches[3], struct storage *log_st,
                     struct storage *backup_st, const struct repo_scope *scope,
                     const char *backup_id, const struct target *target,
                     const struct target_engine *engine, struct target_plan *ret,
                     struct tm_err *err) TM_WUR;

#endif
