#ifndef TM_PROTO_REPO_LOGS_H
#define TM_PROTO_REPO_LOGS_H
/*
 * The log in a repository: lineages, the chunks of each that count, and what they add up to. Reads
 * storage only; trusts only what is whole.
 *
 * What counts, of one lineage:
 *     writers   writer/<epoch> says from which byte on this epoch wrote: a chunk of an older epoch
 *               that reaches beyond a newer writer's `from` does not count
 *     chunks    of the same place the higher epoch; a chunk that begins inside one that counts
 *               already does not
 *     indexes   a roll-up is what its chunks are, without listing and opening them
 *     truncated chunks that end at or before the newest truncation's `from` are absent
 * Two chunks adjoin when one begins where the other ends; otherwise there is a gap between them.
 *
 * Memory is bounded: chains are streamed, a roll-up has at most LOGS_INDEX_CHUNKS entries.
 */
#include "proto/format/chunk.h"
#include "proto/repo/catalog.h"

#define LOGS_LINEAGES_MAX 1000u
#define LOGS_WRITERS_MAX  100000u /* of one lineage */
#define LOGS_INDEX_CHUNKS 4096u   /* in one roll-up */
#define LOGS_INDEX_AFTER  1024u   /* chunks behind the last roll-up that make a new one worth it */

/* ---- lineages ---- */

struct log_lineage {
    struct lineage record; /* slices live in the list's arena */
    uint64_t truncated;    /* log before this byte is absent; 0 = none */
    int64_t truncated_us;
    char truncated_position[FORMAT_POSITION_MAX];
};
/* Truncated as a whole: what is written later is absent, too. */
#define LOG_TRUNCATED_ALL UINT64_MAX
struct log_lineages {
    struct log_lineage *items; /* by time of creation, parents before children */
    size_t count;
    struct codec_arena arena;
};
#define LOG_LINEAGES_INIT ((struct log_lineages){.count = 0})
int log_lineages_read(struct object_scratch *scratch, struct storage *st,
                      const struct repo_scope *scope, struct log_lineages *ret,
                      struct tm_err *err) TM_WUR;
/* A lineage that cannot be told of: its record is damaged, or missing while log lies there, or what its
 * writers stored is. What it stores does not count. */
struct log_damage {
    uint8_t lineage[16];
    bool no_record; /* missing */
    uint64_t from;  /* nothing of its own lies before */
    uint64_t
        lost_to; /* not 0: it is whole up to `from`, and a mark says that more was stored, up to
                            here: what followed is gone */
    struct epoch writer; /* the highest that is there by name; zero = none */
    char text[320];      /* names the object */
};
struct log_damages {
    struct log_damage *items;
    size_t count;
    size_t cap;
};
#define LOG_DAMAGES_INIT ((struct log_damages){.items = NULL})
void log_damages_release(struct log_damages *damages);
/* The same for readers: a damaged lineage is told, and does not keep the others from being read. A writer
 * uses log_lineages_read: a fence that it overlooks would let a stale one's log count. */
int log_lineages_look(struct object_scratch *scratch, struct storage *st,
                      const struct repo_scope *scope, struct log_lineages *ret,
                      struct log_damages *damages, struct tm_err *err) TM_WUR;
void log_lineages_release(struct log_lineages *l);
const struct log_lineage *log_lineages_find(const struct log_lineages *l, const uint8_t id[16]);

/* ---- chains ---- */

struct log_chain;
/* All chunks of one lineage that count and end behind `from`, in log order. Two scratches. */
int log_chain_open(struct object_scratch *scratches[2], struct storage *st,
                   const struct repo_scope *scope, const struct log_lineage *lineage, uint64_t from,
                   struct log_chain **ret, struct tm_err *err) TM_WUR;
/* 1 = *ret filled, 0 = end. A gap shows as ret->from above the last one's `to`. */
int log_chain_next(struct log_chain *chain, struct log_entry *ret, struct tm_err *err) TM_WUR;
/* The same by whole roll-ups where they are whole and unfenced: `to`, times, last_record and marks
 * are those of many chunks. For intervals. */
int log_chain_next_stretch(struct log_chain *chain, struct log_entry *ret,
                           struct tm_err *err) TM_WUR;
void log_chain_free(struct log_chain *chain);
TM_DEFINE_FREEP(struct log_chain, log_chain_free)

/* The reference by which metadata and readers name the chunk. */
void log_entry_ref(const struct lineage *lineage, const struct log_entry *entry,
                   struct log_ref *ret);

/* The newest time mark at or before stream byte `durable` that mark objects tell; 0 = none. */
int log_marks_newest(struct object_scratch *scratch, struct storage *st,
                     const struct repo_scope *scope, const uint8_t lineage[16], uint64_t durable,
                     struct log_mark *ret, bool *ret_found, struct tm_err *err) TM_WUR;

/* Where a lineage's unbroken run that ends last stands: what a writer continues. */
struct log_head {
    uint64_t from;           /* of that run */
    uint64_t to;             /* = from when nothing is stored */
    uint64_t last_record;    /* start of the newest record that the run tells of; 0 = of none */
    struct epoch epoch;      /* highest of any writer or chunk */
    int64_t mark_us;         /* newest proven checkpoint */
    uint64_t chunks;         /* behind the last roll-up */
    uint64_t boundary;       /* newest digest boundary stored at or before `to`, 0 = none … */
    uint8_t at_boundary[32]; /* … and the digest there */
    uint32_t digest_bytes;   /* their step */
};
int log_head_read(struct object_scratch *scratches[2], struct storage *st,
                  const struct repo_scope *scope, const struct log_lineage *lineage,
                  struct log_head *ret, struct tm_err *err) TM_WUR;

/* Why a run begins at stream byte `to`: a writer says that the source had no more of the log from
 * *ret_from on. 1 = so it is, 0 = no writer says so. */
int log_gap_read(struct object_scratch *scratch, struct storage *st, const struct repo_scope *scope,
                 const uint8_t lineage[16], uint64_t to, uint64_t *ret_from,
                 struct tm_err *err) TM_WUR;

/* Rolls up what lies behind the last roll-up when that are `at_least` chunks (0 =
 * LOGS_INDEX_AFTER), leaving the newest alone. *ret_rolled is the number of chunks. Crash-safe: an
 * index that is there twice is equal. */
int log_index_roll(struct object_scratch *scratches[2], struct storage *st,
                   const struct repo_scope *scope, const struct log_lineage *lineage,
                   struct epoch epoch, const uint8_t nonce[OBJECT_NONCE_BYTES], uint32_t at_least,
                   uint32_t *ret_rolled, struct tm_err *err) TM_WUR;

/* ---- intervals ---- */

struct recoverable_list {
    struct recoverable *items; /* by lineage, then position */
    size_t count;
    struct log_damages
        damages; /* lineages that lead nowhere, as they are damaged, or that lost their end */
};
#define RECOVERABLE_LIST_INIT ((struct recoverable_list){.items = NULL})
void recoverable_list_release(struct recoverable_list *list);

/* How an engine writes stream bytes; both may be called from any thread. */
struct log_positions {
    void (*text)(uint64_t byte, char ret[FORMAT_POSITION_MAX]);
    int (*parse)(const char *text, uint64_t *ret_byte, struct tm_err *err);
};

/* Which backups' own log is known to be, or not to be, a lineage's: what was compared once need not
 * be read again. For those who ask every minute. And which backups there were. */
struct log_join_known;
struct log_backup_known;
struct log_joins {
    struct log_join_known *items;
    size_t count;
    size_t cap;
    struct log_backup_known *backups; /* of the last call that read them all */
    size_t backup_count;
    size_t backup_cap;
};
#define LOG_JOINS_INIT ((struct log_joins){.items = NULL})
#define LOG_JOINS_MAX  100000u /* more are compared each time */
void log_joins_release(struct log_joins *joins);

/* Another storage with backups of the same scope. One that cannot be read is away, which is no error of
 * the whole: what earlier calls found there counts as it was then. */
struct log_source {
    char name[STORAGE_URL_MAX]; /* for messages */
    struct storage *st;         /* NULL: it cannot be opened, `why` says why */
    struct log_joins known;
    bool was_read; /* by this call or an earlier one */
    bool empty;    /* by the last call that read it: no backup is there, be it damaged */
    bool away;     /* told by each call, with `why` */
    struct tm_err why;
};

/* What storage can restore now: each committed backup's consistent_at, joined with the unbroken
 * log behind it, over lineage forks; and tails that a fork left behind, as abandoned. Backups may
 * lie in another storage than the log (same scope), or log be absent. Overlapping intervals of one
 * lineage are one. */
int log_recoverable(struct object_scratch *scratches[3], struct storage *log_st,
                    struct storage *backup_st, const struct repo_scope *scope,
                    const struct log_positions *positions, struct recoverable_list *ret,
                    struct tm_err *err) TM_WUR;
/* The same, with what earlier calls found out, and with backups that lie elsewhere; log_recoverable
 * knows nothing. */
int log_recoverable_known(struct object_scratch *scratches[3], struct storage *log_st,
                          struct storage *backup_st, const struct repo_scope *scope,
                          const struct log_positions *positions, struct log_joins *joins,
                          struct log_source *others, size_t other_count,
                          struct recoverable_list *ret, struct tm_err *err) TM_WUR;

/* ---- events ---- */

struct log_search {
    int64_t from_us;  /* of event times; 0 = from the first */
    int64_t to_us;    /* 0 = to the last */
    uint64_t xid;     /* 0 = any */
    const char *name; /* NULL = any */
    bool points_only;
    uint32_t limit; /* 0 = 1000 */
    /* Lineages that cannot be read, or not to their end, are told here and the others searched; NULL = that
     * is an error. */
    struct log_damages *damages;
    /* Asked before each chunk that is opened; an error ends the search. NULL = never. */
    int (*go_on)(void *arg, struct tm_err *err);
    void *go_on_arg;
};
typedef int (*log_search_fn)(void *arg, const struct lineage *lineage,
                             const struct log_point *point, struct tm_err *err);
/* Chunks whose times or counts rule them out are not opened. 1 = the limit was reached, and there is
 * more. A search in a child lineage begins at its fork: what lies before is told once. */
int log_search_run(struct object_scratch *scratches[3], struct storage *st,
                   const struct repo_scope *scope, const struct log_search *search,
                   log_search_fn fn, void *arg, struct tm_err *err) TM_WUR;

/* ---- truncating ---- */

struct log_truncate {
    int64_t until_us; /* or by position; 0 = none */
    const char *until_position;
    bool force; /* also log that kept backups need to go on behind their consistent_at */
    bool dry_run;
    struct epoch epoch;
    const char *node;
    int64_t now_us; /* when it began */
    /* What the record is stamped with, and from then on counts as now; NULL = now_us. Looking takes long. */
    int64_t (*clock_us)(void);
    int64_t grace_us; /* from the record on to the removal: who planned before it goes on reading */
    struct log_source *others; /* backups in them are minded like those beside the log */
    size_t other_count;
};
struct log_truncate_result {
    uint64_t chunks; /* removed; of a dry run: to be removed, what waits for its grace included */
    uint64_t bytes;
    int64_t next_us; /* when a sweep can remove more; 0 = nothing is left */
    int64_t truncated_us;
    char truncated_position[FORMAT_POSITION_MAX];
    char damage[400]; /* which lineage was left alone, as it is damaged, and how; "" = none */
};
/* Removes log that no promised moment at or behind the wish needs: the newest backup consistent at
 * or before the wish stays restorable to every later moment. Refuses (TM_E_REFUSED, naming the
 * backup) a wish behind the oldest kept backup's need unless forced, and any wish while one of `others`
 * is away; objects that a manifest lists are never taken. A damaged lineage is left alone, and so is, for each
 * other one, what the newest backup before the wish on it needs: nobody can tell where the damaged one leads on
 * from. Truncation record first, from which on readers take the log for absent and truncating
 * is done; grace_us later the objects go, by a sweep, or at once by this call when it is 0: chunks oldest
 * first, indexes, marks. Repeatable. */
int log_truncate_run(struct object_scratch *scratches[3], struct storage *log_st,
                     struct storage *backup_st, const struct repo_scope *scope,
                     const struct log_positions *positions, const struct log_truncate *wish,
                     const uint8_t nonce[OBJECT_NONCE_BYTES], struct log_truncate_result *ret,
                     struct tm_err *err) TM_WUR;
/* Removes what truncation records took away and whose grace is over, of every lineage; *ret_next_us as in
 * log_truncate_result. For those who come later, or after a crash: records alone decide. What was to go of a
 * damaged lineage stays: TM_E_CORRUPT, when all else is done. */
int log_truncate_sweep(struct object_scratch *scratches[3], struct storage *log_st,
                       struct storage *backup_st, const struct repo_scope *scope, int64_t now_us,
                       int64_t grace_us, int64_t *ret_next_us, struct tm_err *err) TM_WUR;

#endif
