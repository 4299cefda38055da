#ifndef TM_PROTO_REPO_LOGS_INTERNAL_H
#define TM_PROTO_REPO_LOGS_INTERNAL_H
/*
 * What the files behind logs.h and target.h share. Not for others.
 */
#include "proto/repo/logs.h"

/* A chunk has at most this many raw bytes: a reader that starts somewhere looks no further back for
 * the chunk that covers the place. */
#define LOGS_CHUNK_MAX   (64u << 20)
#define LOGS_RUNS_MAX    100000u     /* of one lineage */
#define LOGS_INDEXES_MAX 100000u     /* of one lineage */
#define LOGS_NEAR_MAX    1000000u    /* chunks in LOGS_CHUNK_MAX bytes */
#define LOGS_JOIN_BYTES  (16u << 20) /* of a backup's own log, compared with a lineage's */
#define LOGS_EPOCHS_MAX  64u         /* of one place; more: the highest ones count */

/* Adds a lineage for a reason, NULL = its record is missing; not when nothing at all is stored there. */
int log_damages_add(struct log_damages *damages, struct storage *st, const struct repo_scope *scope,
                    const uint8_t lineage[16], const struct tm_err *why, struct tm_err *err) TM_WUR;

/* Adds a lineage that is whole up to `from`, of which a mark says that more was stored, up to `to`. */
int log_damages_lost(struct log_damages *damages, const uint8_t lineage[16], uint64_t from,
                     uint64_t to, struct epoch writer, struct tm_err *err) TM_WUR;
/* Says what was lost in an engine's words. */
void log_damages_say(struct log_damages *damages, const struct log_positions *positions);
/* Of this process: it says nothing of the storage that was read. */
static inline bool log_is_own_trouble(const struct tm_err *why)
{
    return why->code == TM_E_NO_MEMORY || why->code == TM_E_CANCELED;
}

/* A name's place and epoch. */
struct log_place {
    uint64_t from;
    struct epoch epoch;
    uint32_t number;
};
struct log_places {
    struct log_place *items;
    size_t count;
    size_t cap;
};
int log_places_add(struct log_places *places, const struct log_place *place, size_t max,
                   const char *what, struct tm_err *err) TM_WUR;
void log_places_release(struct log_places *places);

/* The next name of one room of a lineage ("chunk", "mark", …): 1 = *ret filled, 0 = end. What is not
 * ours is passed over. */
int log_room_next(struct storage_iter *it, const struct repo_scope *scope, enum name_kind kind,
                  struct log_place *ret, struct tm_err *err) TM_WUR;

/* A writer removes its mark before once a newer one is stored: a name that is gone when its turn comes
 * is reason to look again. */
#define LOGS_MARK_LOOKS 5
int log_mark_read(struct object_scratch *scratch, struct storage *st,
                  const struct repo_scope *scope, const uint8_t lineage[16],
                  const struct log_place *place, struct log_mark *ret, struct tm_err *err) TM_WUR;

/* Every truncation record, those of lineages that are not known, too. */
int log_truncations_each(struct object_scratch *scratch, struct storage *st,
                         const struct repo_scope *scope,
                         void (*fn)(void *arg, const struct truncation *record), void *arg,
                         struct tm_err *err) TM_WUR;

/* ---- who may have written what ---- */

/* A chunk of epoch e counts only up to the lowest `from` of all writers above e. */
struct log_fence {
    struct epoch *epochs; /* ascending */
    uint64_t *limits;     /* of epochs below epochs[n] and not below epochs[n - 1] */
    size_t count;
};
#define LOG_FENCE_INIT ((struct log_fence){.count = 0})
int log_fence_read(struct object_scratch *scratch, struct storage *st,
                   const struct repo_scope *scope, const uint8_t lineage[16], struct log_fence *ret,
                   struct tm_err *err) TM_WUR;
uint64_t log_fence_limit(const struct log_fence *fence, struct epoch epoch);
/* Where the epoch's writer began, or a later one before it; UINT64_MAX = no writer is known. */
uint64_t log_fence_from(const struct log_fence *fence, struct epoch epoch);
void log_fence_release(struct log_fence *fence);

/* ---- chains ---- */

/* Stretches are not taken over these bytes (ascending; must outlive the chain). */
void log_chain_cuts(struct log_chain *chain, const uint64_t *cuts, size_t count);
const struct log_fence *log_chain_fence(const struct log_chain *chain);
/* Whether the last entry given was a whole roll-up. */
bool log_chain_was_stretch(const struct log_chain *chain);

/* Stores one roll-up of adjacent entries, at least one. One of that name already is success. */
int log_index_store(struct object_scratch *scratch, struct storage *st,
                    const struct repo_scope *scope, const uint8_t lineage[16], struct epoch epoch,
                    const uint8_t nonce[OBJECT_NONCE_BYTES], const struct log_entry *entries,
                    size_t count, struct tm_err *err) TM_WUR;

/* ---- bytes ---- */

/* Fill in scratch, st, scope, and either refs with count or chain with lineage. A chain uses its
 * second scratch only inside its calls: `scratch` may be that one. */
struct log_bytes {
    struct object_scratch *scratch;
    struct storage *st;
    const struct repo_scope *scope;
    const struct log_ref *refs;
    size_t count;
    struct log_chain *chain;
    const struct lineage *lineage;
    struct chunk_reader cr;
    bool open;
    bool failed;        /* the last fill */
    struct slice piece; /* verified, valid until the next fill */
    uint64_t at;        /* of piece */
};
/* Leaves bytes from `at` on in piece: 1, or 0 when there are none. Never goes back. */
int log_bytes_fill(struct log_bytes *s, uint64_t at, struct tm_err *err) TM_WUR;
void log_bytes_take(struct log_bytes *s, size_t len);
void log_bytes_release(struct log_bytes *s);

/* ---- everything that can be restored, as pieces ---- */

struct log_run {
    uint64_t from;
    uint64_t to;
    int64_t end_us; /* every moment up to this is proven stored; 0 = none */
};

struct log_branch {
    const struct log_lineage *lineage;
    size_t parent; /* index; SIZE_MAX = none that is known */
    struct log_run *runs;
    size_t run_count;
    size_t run_cap;
    int64_t fork_us;     /* what is proven on the parent at this one's fork */
    struct epoch writer; /* the highest; zero = none */
    bool current;        /* the lineage that is written, or on the way to it */
    bool damaged;        /* it has no runs: see the world's damages */
};

/* A committed backup and one lineage that goes on where it is consistent. A backup that no log
 * joins, or that several lineages do, has one of these or several. */
struct log_backup {
    struct recoverable point; /* its own moment: all that was acknowledged before it is there */
    int64_t settled_us;       /* nothing in it is later: from here on log tells every moment */
    uint64_t at;              /* consistent from here on */
    uint64_t log_from;
    size_t branch; /* SIZE_MAX = none */
    size_t run;
};

struct log_world {
    struct log_lineages lineages;
    struct log_damages damages;  /* of lineages that are not among them, and of branches */
    struct log_branch *branches; /* one for each lineage */
    struct log_backup *backups;  /* by commit time */
    size_t backup_count;
    size_t backup_cap;
};
#define LOG_WORLD_INIT ((struct log_world){.branches = NULL})

/* log_st NULL: there is no log. joins NULL: nothing is known. */
int log_world_read(struct object_scratch *scratches[3], struct storage *log_st,
                   struct storage *backup_st, const struct repo_scope *scope,
                   struct log_joins *joins, struct log_world *ret, struct tm_err *err) TM_WUR;
/* The same with backups that lie in other storages, too. */
int log_world_read_all(struct object_scratch *scratches[3], struct storage *log_st,
                       struct storage *backup_st, const struct repo_scope *scope,
                       struct log_joins *joins, struct log_source *others, size_t other_count,
                       struct log_world *ret, struct tm_err *err) TM_WUR;
void log_world_release(struct log_world *w);
/* The branch that is written: its writer is newer than those of all others. A lineage may be newer and
 * not be it: that of a clone, say, which was stored until its source was back. SIZE_MAX = there is none. */
size_t log_world_current(const struct log_world *w);
/* The run of a branch that holds [at, at], SIZE_MAX = none does. */
size_t log_branch_run(const struct log_branch *branch, uint64_t at);

/* Adds to `ret` every branch that the backup's own log, or its reference, joins. *ret_log_failed, which may
 * be touched on failure: it was the log's storage that failed, and not the backup's. */
int log_join(struct object_scratch *scratches[3], struct storage *log_st, struct storage *backup_st,
             const struct repo_scope *scope, const char *backup_id, struct log_joins *joins,
             struct log_world *w, bool *ret_log_failed, struct tm_err *err) TM_WUR;
/* The same for every backup that is known, by what is known. */
int log_join_known(struct log_joins *joins, struct log_world *w, struct tm_err *err) TM_WUR;
/* Around the log_joins of all backups of a storage: those that were not seen in between are gone, when all
 * were looked at. */
void log_joins_begin(struct log_joins *joins);
void log_joins_end(struct log_joins *joins);
int log_world_add(struct log_world *w, const struct log_backup *backup, struct tm_err *err) TM_WUR;

/* The intervals of one backup (NULL = of all). */
int log_intervals(const struct log_world *w, const char *only_backup,
                  const struct log_positions *positions, struct recoverable_list *ret,
                  struct tm_err *err) TM_WUR;

/* One piece of the way from a backup to a branch. */
struct log_leg {
    size_t branch;
    uint64_t from;
    uint64_t to;
    int64_t end_us; /* proven on this leg */
};
struct log_path {
    struct log_leg *legs;
    size_t count;
    bool complete; /* it reaches the branch that was asked for */
};
#define LOG_PATH_INIT ((struct log_path){.legs = NULL})
/* *ret has no legs when the branch does not come from the backup. */
int log_path_find(const struct log_world *w, const struct log_backup *backup, size_t branch,
                  struct log_path *ret, struct tm_err *err) TM_WUR;
void log_path_release(struct log_path *path);

#endif
