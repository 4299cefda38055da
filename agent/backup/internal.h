#ifndef TM_AGENT_BACKUP_INTERNAL_H
#define TM_AGENT_BACKUP_INTERNAL_H
/*
 * What the files of agent/backup share. Not for others.
 */
#include "agent/backup/backup.h"
#include "common/throttle.h"
#include "proto/format/chunk.h"
#include "proto/format/data.h"
#include "proto/format/records.h"
#include "proto/format/stream.h"

struct backup {
    struct backup_options options; /* engine is NULL after open */
    struct backup_counters counters;
    struct throttle throttle;
    bool throttled;
};

struct backup_worker {
    struct backup *backup;
    struct object_scratch *scratch;
    struct data_index index;
    struct buf buf; /* encoded records */
};

/* The chunk as the manifest will name it, without what all chunks of a backup share. */
struct backup_chunk {
    uint64_t from;
    uint64_t to;
    struct epoch epoch;
    uint64_t stored_bytes;
    uint64_t raw_bytes;
    uint8_t digest[OBJECT_DIGEST_BYTES];
};

#define BACKUP_CHUNKS_MAX (1u << 18) /* 4 TiB of log */

struct backup_log {
    struct backup *backup;
    struct object_scratch *scratch;
    struct epoch epoch;
    char label[FORMAT_LABEL_MAX];
    uint8_t lineage[NAMES_LINEAGE_BYTES];
    uint64_t from;
    uint64_t next;    /* byte that append wants */
    uint64_t durable; /* end of the last chunk */
    struct log_digest digest;
    struct chunk_writer writer;
    bool writing;
    struct backup_chunk *chunks;
    size_t count;
    size_t cap;
    int (*pass)(void *arg, uint64_t from, struct slice bytes, struct tm_err *err); /* or NULL */
    void *pass_arg;
    uint64_t passed;        /* all log before this byte was shown to it */
    bool refused;           /* the error is the observer's, not the store's */
    struct log_ref *shared; /* the log task's chunks instead of own ones; then count is theirs */
    char damaged[TM_ERR_MSG_MAX]; /* the first chunk that could not be taken over; "" = none */
};

/* The nonce of a new object. */
int backup_nonce(struct backup *b, uint8_t ret[OBJECT_NONCE_BYTES], struct tm_err *err) TM_WUR;
int64_t backup_now_us(const struct backup *b);
int backup_canceled(const struct backup *b, struct tm_err *err) TM_WUR;
/* Chunk number `index` as metadata names it. */
void backup_log_ref(const struct backup_log *log, size_t index, struct log_ref *ret);

/* 1 = the backup is committed, by this very commit or (`earlier`) an earlier attempt's; *ret is filled.
 * 0 = not yet. `commit` NULL: whoever did it. *ret may be changed by a failure, too. */
int backup_find_commit(struct backup_worker *w, const struct backup_commit *commit,
                       struct backup_totals *ret, struct tm_err *err) TM_WUR;

/* One more problem, while there is room; what the manifest itself says. */
void backup_totals_problem(struct backup_totals *t, const struct problem *problem);
void backup_totals_manifest(const struct manifest *m, struct backup_totals *ret);

/* Whether a result may be a checkpoint's: of a range of the plan but not the final one, stored by this
 * backup under at most this term. Else TM_E_CORRUPT. Its keys against the plan are for others. */
int backup_checkpoint_check(const struct backup *b, const struct segment_range *range,
                            uint32_t ranges, uint64_t term, struct tm_err *err) TM_WUR;

#endif
