#ifndef TM_AGENT_ENGINE_POSTGRES_READER_H
#define TM_AGENT_ENGINE_POSTGRES_READER_H
/*
 * The inside of a reader, shared by reader.c (opening, ranges), plan.c (cutting ranges), walk.c
 * (what exists, in key order), part.c (reading one file, checking pages) and standby.c (whether a standby
 * may be read).
 *
 * Threads: everything but flush_* and what standby.c keeps is immutable after reader_open; these
 * and the listing cache have locks of their own. So plan and any number of read_range calls may run at once.
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

/* A standby as it was when it could be asked. */
struct standby_now {
    bool in_recovery;
    uint64_t system_id;
    uint32_t timeline;      /* the highest of which anything may be on its disk */
    uint32_t redo_timeline; /* of its last restartpoint */
    uint64_t redo;          /* of its last restartpoint: what was changed before is on its disk */
    uint64_t replayed;
    int64_t started_us; /* its postmaster */
    bool may_checkpoint;
};

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
    _Atomic bool standby;       /* once one, always: then nothing else may become of it */
    /* standby.c, under standby_lock */
    pthread_mutex_t standby_lock;
    struct pg_conn *standby_conn; /* opened when first needed, of the very server of root_fd */
    int64_t ready_us;             /* start of the server that was found ready; 0 = none yet */
    struct pg_conn *restart_conn; /* a CHECKPOINT runs there */
    int64_t restart_again_us;     /* not before that a next one, by the monotonic clock */
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

/* ---- standby.c ---- */

/* By what pg_control says at the opening. */
void standby_init(struct engine_reader *reader, enum control_file_state state);
void standby_release(struct engine_reader *reader);

/* The rule of reader_ready, apart from asking: 1, 0 or TM_E_CONFLICT; 0 and below say why. */
int standby_judge(const struct pg_begin *begin, bool was_standby, const struct standby_now *now,
                  struct tm_err *err) TM_WUR;

/* Around each range. What was read counts only when the second succeeds, too; it gets what the first
 * gave: which start of the standby's server it was, 0 on a primary. */
int standby_before(struct engine_reader *reader, struct engine_key_range range,
                   int64_t *ret_server_us, struct tm_err *err) TM_WUR;
int standby_after(struct engine_reader *reader, int64_t server_us, struct tm_err *err) TM_WUR;

/* ---- part.c ---- */

/* Reads what `item` says into the sink. Gone is fine. Counts into *stats. */
int part_read(struct engine_reader *reader, const struct walk_item *item, struct range_sink *sink,
              struct engine_range_stats *stats, struct tm_err *err) TM_WUR;

/* A small file made of bytes in memory. */
int part_write_bytes(const char *path, uint32_t mode, int64_t modified_us, struct slice bytes,
                     struct range_sink *sink, struct engine_range_stats *stats,
                     struct tm_err *err) TM_WUR;

#endif
