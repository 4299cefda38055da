#ifndef TM_AGENT_ENGINE_POSTGRES_BLOCK_REFS_H
#define TM_AGENT_ENGINE_POSTGRES_BLOCK_REFS_H
/*
 * Which blocks a piece of log changes: section 256 of a chunk (proto/README.md has the encoding).
 *
 *     block_refs_new → (block_refs_add* block_refs_limit* → block_refs_encode → block_refs_clear)*
 *     block_refs_reader_init → (block_refs_reader_fork → block_refs_reader_block*)*
 *
 * A fork's blocks are all that records name. Its limit is the lowest length that it was cut to, 0
 * when its file was created or removed: of an older copy no block from there on counts any more.
 * Limits of BLOCK_REFS_ALL forks, and of relation 0 (all of a database in that tablespace), stand
 * for many. What happened first, a block or a limit, is not told apart: who merges pieces takes
 * blocks of all and the lowest limit, and gets at most some blocks too many.
 *
 * Memory is bounded: beyond BLOCK_REFS_MAX different blocks, or BLOCK_FORKS_MAX forks, the piece is
 * marked incomplete: then anything may have changed.
 */
#include <stdbool.h>
#include <stdint.h>

#include "agent/engine/postgres/wal_reader.h"
#include "common/buf.h"
#include "common/err.h"

#define BLOCK_REFS_MAX  (4u << 20) /* 16 MiB of log cannot hold so many */
#define BLOCK_FORKS_MAX (1u << 20)
#define BLOCK_REFS_ALL  255u

enum {
    BLOCK_REFS_INCOMPLETE = 1 << 0, /* anything may have changed */
    BLOCK_REFS_HEADLESS = 1 << 1,   /* ends a record that began before the log was looked at */
};

struct block_refs;
int block_refs_new(struct block_refs **ret, struct tm_err *err) TM_WUR;
void block_refs_free(struct block_refs *refs);
TM_DEFINE_FREEP(struct block_refs, block_refs_free)

int block_refs_add(struct block_refs *refs, const struct wal_block *block,
                   struct tm_err *err) TM_WUR;
int block_refs_limit(struct block_refs *refs, const struct wal_fork *fork, uint32_t limit,
                     struct tm_err *err) TM_WUR;
void block_refs_flag(struct block_refs *refs, uint8_t flags);
bool block_refs_empty(const struct block_refs *refs);
/* Sorts what there is. */
int block_refs_encode(struct block_refs *refs, struct buf *out, struct tm_err *err) TM_WUR;
void block_refs_clear(struct block_refs *refs);

struct block_refs_fork {
    struct wal_fork fork;
    bool has_limit;
    uint32_t limit;
    uint32_t blocks; /* that follow */
};

/* Malformed sections are TM_E_CORRUPT. `section` must outlive the reader. */
struct block_refs_reader {
    struct slice rest;
    uint8_t flags;
    uint32_t forks_left;
    uint32_t blocks_left;
    uint64_t next_block; /* lowest that may come */
    bool started;
    struct block_refs_fork last;
};
int block_refs_reader_init(struct block_refs_reader *r, struct slice section,
                           struct tm_err *err) TM_WUR;
/* 1 = the next fork, in order; 0 = end. Blocks of the one before that were not read are skipped. */
int block_refs_reader_fork(struct block_refs_reader *r, struct block_refs_fork *ret,
                           struct tm_err *err) TM_WUR;
/* 1 = the next block, ascending; 0 = no more of this fork. */
int block_refs_reader_block(struct block_refs_reader *r, uint32_t *ret, struct tm_err *err) TM_WUR;

#endif
