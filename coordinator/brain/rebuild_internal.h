#ifndef TM_COORDINATOR_BRAIN_REBUILD_INTERNAL_H
#define TM_COORDINATOR_BRAIN_REBUILD_INTERNAL_H
/* Between rebuild_read.c, rebuild_words.c, rebuild_merge.c and rebuild_parts.c: one storage that is being
 * read, and merged. */
#include "coordinator/brain/logs.h"
#include "proto/format/names.h"

#define REBUILD_ITEMS_MAX 100000u
#define REBUILD_BYTES_MAX ((size_t)256 << 20)
#define REBUILD_NAMES_MAX BRAIN_RESOURCES_MAX

/* One item, and what has been found out of it. */
struct rebuild_item {
    struct msg_stored stored;
    struct codec_arena arena;
    bool settled; /* a backup: a resource tells of it, or it stays without one on purpose */
    bool is_part; /* words of a part that is to be shown… */
    size_t whole; /* …in run->wholes */
};

/* A job of several tenants, as the words of its parts tell of it. */
struct rebuild_whole {
    char uid[WIRE_UID_MAX + 1];
    size_t item;         /* whose words are the newest */
    struct epoch newest; /* of these words */
    uint32_t shown;      /* parts */
    uint32_t complete;   /* of these */
    bool deleting;       /* one of these is, which the whole alone can have begun */
    int64_t ended_us;    /* the last of these */
    bool made;           /* it is a resource now, or was one: parts that are missing may be added */
};

/* In this order; in each all items are looked at, or all wholes. */
enum rebuild_pass {
    REBUILD_WORDS,   /* resources of their own; parts are noted */
    REBUILD_WHOLES,  /* before their parts: a part without its whole may never be durable */
    REBUILD_PARTS,   /* … */
    REBUILD_LOST,    /* parts of which nothing was found */
    REBUILD_BACKUPS, /* of which nothing was kept */
    REBUILD_ABSENT,  /* resources whose backup is not among all that was read */
    REBUILD_OVER
};

struct rebuild_run {
    uint64_t cmd;
    struct resource *pattern;
    char storage[WIRE_URL_MAX + 1];
    char secret[WIRE_NAME_MAX + 1];
    char cluster[WIRE_NAME_MAX + 1]; /* "" = all that have agents */
    char after[WIRE_AFTER_MAX + 1];
    uint64_t term; /* the highest that the pages had */
    struct errand errand;
    uint32_t tried[16]; /* nodes that failed before the first page */
    size_t tried_count;
    struct tm_err err; /* of the last one that failed */
    char err_node[WIRE_NAME_MAX + 1];
    struct rebuild_item *items;
    size_t item_count;
    size_t item_cap;
    size_t bytes;
    int64_t since_us; /* real: what is stored later need not be among what was read */
    bool read;        /* all of it */
    bool begun;       /* the state was complete before */
    enum rebuild_pass pass;
    size_t next;                  /* item, or whole, of this pass */
    struct rebuild_whole *wholes; /* at most as many as items */
    size_t whole_count;
    size_t whole_cap;
    struct rebuild_name {
        char namespace_[WIRE_NAME_MAX + 1];
        char name[WIRE_NAME_MAX + 1];
        char part[WIRE_NAME_MAX + 1]; /* "" = it is none, and is told */
        char kind[32];
    } * names;
    size_t name_count;
    size_t name_cap;
    size_t batch;   /* names before it are durable, or were refused */
    size_t refused; /* of these: the state could not be written */
    struct brain_rebuilt result;
    bool moved;         /* words of another storage are none */
    char first[7][400]; /* enum rebuild_first */
};

/* ---- rebuild_words.c ---- */

/* What was kept of a resource, checked; everything lies in the arena, but the spec. */
struct rebuild_words {
    struct record rec;   /* without `whole` */
    struct record whole; /* of a part; else parts_count is 0 */
    struct resource *spec;
    struct codec_arena arena;
};

/* The words of an item, into a zeroed ret, which is to be released, also when this fails. */
int rebuild_words_read(const struct rebuild_item *item, struct rebuild_words *ret,
                       struct tm_err *err) TM_WUR;
void rebuild_words_release(struct rebuild_words *w);

/* ---- rebuild_merge.c ---- */

/* Goes on as far as it can in one step; true: all is merged and durable. */
bool rebuild_merge(struct brain *b, struct rebuild_run *run);

enum rebuild_first {
    FIRST_LEFTOVER,
    FIRST_DAMAGED,
    FIRST_CONFLICT,
    FIRST_OTHER,
    FIRST_ELSEWHERE,
    FIRST_UNREAD,
    FIRST_ABSENT
};
void rebuild_count(struct rebuild_run *run, uint64_t *counter, enum rebuild_first which,
                   const char *what);
/* The backup that these words are about, or NULL. */
struct rebuild_item *rebuild_backup_of(struct rebuild_run *run, const struct rebuild_item *words,
                                       const char *backup_id);
void rebuild_count_phase(struct rebuild_run *run, const struct record *rec);
bool rebuild_known_uid(const struct brain *b, const char *uid);
/* A resource is about this backup, which lies below the same instance as `place`. */
bool rebuild_known_backup(const struct brain *b, const struct msg_stored *place, const char *id);
/* What is there of a snapshot has the last word over its record. False: it is not to be shown. */
bool rebuild_set_right(struct brain *b, struct rebuild_run *run, struct record *rec,
                       const struct rebuild_item *backup);
/* Whether this log backup may be, beside those that there are; else it is counted. */
bool rebuild_log_fits(struct brain *b, struct rebuild_run *run, const struct record *rec,
                      const struct resource *spec);
/* Its backup stays without a resource, as it was. */
void rebuild_retain(struct brain *b, struct rebuild_run *run, const struct rebuild_words *w,
                    struct rebuild_item *backup);
/* A resource that is missing: the record is copied, the spec taken over. */
void rebuild_make(struct brain *b, struct rebuild_run *run, const struct record *rec, bool adopted,
                  struct resource **spec);

/* ---- rebuild_parts.c ---- */

void rebuild_note_part(struct brain *b, struct rebuild_run *run, struct rebuild_item *item,
                       const struct rebuild_words *w);
void rebuild_merge_whole(struct brain *b, struct rebuild_run *run, struct rebuild_whole *whole);
void rebuild_merge_part(struct brain *b, struct rebuild_run *run, struct rebuild_item *item);
/* What their parts make them has become durable, or was refused. */
bool rebuild_wholes_settled(const struct brain *b, const struct rebuild_run *run);
void rebuild_merge_lost(struct brain *b, struct rebuild_run *run, struct rebuild_whole *whole);

#endif
