#ifndef TM_AGENT_ENGINE_POSTGRES_READER_H
#define TM_AGENT_ENGINE_POSTGRES_READER_H
/*
 * The inside of a reader, shared by reader.c (opening, ranges), plan.c (cutting ranges), walk.c
 * (what exists, in key order) and part.c (reading one file, checking pages).
 *
 * Threads: everything but flush_* is immutable after reader_open; the listing cache and flush_*
 * have locks of their own. So plan and any number of read_range calls may run at once.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "agent/engine/engine.h"
#include "agent/engine/postgres/conn.h"
#include "agent/engine/postgres/files.h"
#include "agent/engine/postgres/listing.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/version.h"

struct engine_reader {
    const struct engine_instance *instance; /* borrowed */
    int root_fd;                            /* the data directory */
    struct pg_begin begin;
    char version_dir[PG_VERSION_TEXT_MAX];
    struct listing_cache *listings;
    char **inside; /* tablespaces that lie below the data directory: walked by their link only */
    size_t inside_count;
    pthread_mutex_t flush_lock;
    struct pg_conn *flush_conn; /* opened when first needed */
    bool flush_failed;          /* it cannot be asked: stop trying */
    _Atomic uint64_t flush_lsn; /* last answer */
};

/* ---- walk.c ---- */

#define WALK_DEPTH_MAX 64

/* A range, decoded once. */
struct walk_span {
    struct slice start;
    struct slice end; /* empty = top */
    struct files_key from;
    struct files_key to; /* meaningless when end is empty */
};
int walk_span_init(struct walk_span *span, struct engine_key_range range,
                   struct tm_err *err) TM_WUR;

/* One thing that exists in a span. from/to: which of its bytes are the span's. */
struct walk_item {
    uint8_t class_byte;
    enum listing_kind kind;
    const char *path;    /* valid during the call */
    uint32_t unit_bytes; /* parts begin at multiples of this */
    uint64_t from_bytes;
    uint64_t to_bytes; /* UINT64_MAX: all there is behind from_bytes, however much it grew */
    uint32_t tablespace, database; /* class relation */
    struct files_relation relation;
    uint32_t first_block; /* of the file within its relation */
};
typedef int (*walk_fn)(void *arg, const struct walk_item *item, struct tm_err *err);

/* Calls fn for all that is there now, in key order; stops at the first error. */
int walk(struct engine_reader *reader, const struct walk_span *span, walk_fn fn, void *arg,
         struct tm_err *err) TM_WUR;

/* The key of the item's byte at `offset_bytes`, a multiple of its unit. */
int walk_item_key(const struct walk_item *item, uint64_t offset_bytes, uint8_t *key,
                  size_t *ret_len, struct tm_err *err) TM_WUR;

/* ---- part.c ---- */

/* Reads what `item` says into the sink. Gone is fine. Counts into *stats. */
int part_read(struct engine_reader *reader, const struct walk_item *item, struct range_sink *sink,
              struct engine_range_stats *stats, struct tm_err *err) TM_WUR;

/* A small file made of bytes in memory. */
int part_write_bytes(const char *path, uint32_t mode, int64_t modified_us, struct slice bytes,
                     struct range_sink *sink, struct engine_range_stats *stats,
                     struct tm_err *err) TM_WUR;

#endif
