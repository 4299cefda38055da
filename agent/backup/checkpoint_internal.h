#ifndef TM_AGENT_BACKUP_CHECKPOINT_INTERNAL_H
#define TM_AGENT_BACKUP_CHECKPOINT_INTERNAL_H
/*
 * What checkpoint_read.c finds in the checkpoints of a backup, and checkpoint_load.c makes of it. Not
 * for others.
 */
#include "agent/backup/internal.h"
#include "common/hash.h"

enum checkpoint_line_state {
    LINE_READ,    /* in a checkpoint that counts */
    LINE_PLANNED, /* its keys are the plan's */
    LINE_THERE,   /* its data object is */
    LINE_WANTED,  /* the best of its range */
    LINE_TOLD,
    LINE_ASIDE,
    LINE_TWICE, /* the same result is in a later checkpoint */
};

struct checkpoint_line {
    uint64_t term;
    uint64_t stored_bytes;
    uint64_t keys;   /* hash of both */
    uint64_t digest; /* beginning of the data object's */
    uint32_t index;
    uint32_t counter;
    uint32_t object; /* which checkpoint has it */
    enum checkpoint_line_state state;
};

struct checkpoint_object {
    struct epoch epoch;
    uint32_t seq;
    uint32_t wanted; /* lines, in the pass under way */
};

struct checkpoint_loader {
    struct backup_worker *worker;
    backup_checkpoint_fn fn;
    void *arg;
    struct checkpoint_object *objects; /* in order of names */
    size_t object_count;
    size_t object_cap;
    size_t counting; /* how many of them count by now */
    struct checkpoint_line *lines;
    size_t count;
    size_t cap;
    size_t at; /* of a walk along the lines */
    uint8_t begin_digest[SHA256_LEN];
    struct object_scratch *scratch; /* for data, with checksums */
    struct backup_checkpoint_found found;
};

/* Reads every checkpoint: found and lines are of those that count; the rest is set aside. */
int checkpoint_read_all(struct checkpoint_loader *l, struct tm_err *err) TM_WUR;
/* One of them. Slices of *root live in `arena`. */
int checkpoint_open_object(struct checkpoint_loader *l, size_t object, struct stream_reader *sr,
                           struct codec_arena *arena, struct checkpoint *root,
                           struct tm_err *err) TM_WUR;
/* What is kept of a result that checkpoint number `object` has. */
struct checkpoint_line checkpoint_line_of(const struct segment_range *range, size_t object);
uint64_t checkpoint_hash_keys(struct slice start, struct slice end);
/* The first reason why something does not count is kept. */
void checkpoint_why(struct checkpoint_loader *l, const struct tm_err *err);
/* Whether an error is the fault of the object that was read: then it is as if it were not there. */
bool checkpoint_is_damage(const struct tm_err *err);

#endif
