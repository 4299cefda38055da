#ifndef TM_AGENT_ENGINE_POSTGRES_LISTING_H
#define TM_AGENT_ENGINE_POSTGRES_LISTING_H
/*
 * What a backup takes from one directory, sorted in key order and packed: a relation file is 8
 * bytes, anything else its name. A database of a million files costs 8 MiB.
 *
 * The cache keeps listings across ranges, so that such a directory is read once, not once a range.
 * Keeping them is right, not just fast: every listing is taken after the snapshot's begin. A file
 * that was there at the begin is in it, or was removed since, and then replay removes it. A file
 * that came later is brought by replay, whether it is in the listing or not.
 *
 *     cache_new → ( listing_get → use → listing_put )* → cache_free
 *
 * Listings are immutable and shared; the cache may be used by many threads.
 */
#include <stddef.h>
#include <stdint.h>

#include "agent/engine/postgres/files.h"
#include "common/err.h"

#define LISTING_CACHE_BYTES (24u << 20) /* kept beyond what is in use */
#define LISTING_TEXT_MAX    (1u << 30)  /* names of one directory together */
#define LISTING_FILES_MAX   (64u << 20) /* relation files of one directory */

enum listing_kind {
    LISTING_FILE = 'f',
    LISTING_DIR = 'd',
    LISTING_EMPTY_DIR = 'e',   /* make it, do not look inside */
    LISTING_LINK = 'l',        /* a tablespace */
    LISTING_FOREIGN_DIR = 'x', /* a link to a directory that is no tablespace: told, not followed */
    LISTING_SPECIAL = 's' /* neither file nor directory, or a link to nowhere: told, not read */
};

struct listing {
    const uint64_t *relations; /* packed, ascending; unlogged relations only by their _init fork */
    size_t relation_count;
    const uint32_t *names; /* for listing_name and listing_kind_of */
    size_t name_count;
    const char *text;
};

static inline const char *listing_name(const struct listing *l, size_t n)
{
    return l->text + l->names[n] + 1;
}
static inline enum listing_kind listing_kind_of(const struct listing *l, size_t n)
{
    return (enum listing_kind)l->text[l->names[n]];
}

struct listing_cache;
/* Borrows root_fd and version_dir. segment_blocks: blocks of a relation's segment file. */
int listing_cache_new(int root_fd, const char *version_dir, uint32_t segment_blocks,
                      struct listing_cache **ret, struct tm_err *err) TM_WUR;
void listing_cache_free(struct listing_cache *cache);

/* `dir` is relative to the root, "" is the root. A directory that is gone is empty. */
int listing_get(struct listing_cache *cache, const char *dir, const struct listing **ret,
                struct tm_err *err) TM_WUR;
void listing_put(struct listing_cache *cache, const struct listing *listing); /* NULL is fine */

/* Ascending, in place, without extra memory. Exposed for tests. */
void listing_sort_u64(uint64_t *values, size_t count);

#endif
