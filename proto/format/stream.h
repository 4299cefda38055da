#ifndef TM_PROTO_FORMAT_STREAM_H
#define TM_PROTO_FORMAT_STREAM_H
/*
 * Objects that are streams of records: plan shards, segments, checkpoints, and the manifest with its
 * lists. All are written and read one record at a time, so memory is bounded whatever their number.
 *
 * Plan shard, segment: the stream holds plan_range, segment_range records; no root section.
 * Checkpoint: segment_range records, and a root section that says whose they are.
 * Manifest: the root section is the manifest itself (its counts say how many items follow); the
 * stream holds items, each one byte of type and the record: all segment_refs in key order, then all
 * log_refs in log order, then problems.
 *
 * A decoded record's slices live in the reader and are valid until its next call.
 */
#include "proto/format/records.h"

#define SEGMENT_RANGES     4096u        /* ranges per segment object, and per plan shard */
#define STREAM_FRAME_BYTES (256u << 10) /* frames of record streams: their records are small */

/* ---- records of one kind ---- */

/* Encodes and appends one record to an open writer. */
int stream_put(struct object_writer *w, struct buf *scratch, const struct codec_table *table,
               const void *record, struct tm_err *err) TM_WUR;

struct stream_reader {
    struct object_reader *object;
    struct codec_arena arena;
};
#define STREAM_READER_INIT ((struct stream_reader){.object = NULL})

/* `name` full. Plan shards and segments. */
int stream_open(struct stream_reader *sr, struct object_scratch *scratch, struct storage *st,
                const char *name, enum object_kind kind, const struct object_ref *expect,
                struct tm_err *err) TM_WUR;
/* 1 = *record filled, 0 = end. `record` is a struct of the table's type. */
int stream_next(struct stream_reader *sr, const struct codec_table *table, void *record,
                struct tm_err *err) TM_WUR;
/* The same, and the record as it was encoded. */
int stream_next_bytes(struct stream_reader *sr, const struct codec_table *table, void *record,
                      struct slice *ret_bytes, struct tm_err *err) TM_WUR;
/* Opens a checkpoint by its relative name `rel`; stream_next gives its segment_ranges. The root must name
 * the scope, the backup and the epoch that the name does; its `begin` is empty or has begin_digest.
 * Slices of *root live in `arena`. */
int checkpoint_open(struct stream_reader *sr, struct object_scratch *scratch, struct storage *st,
                    const struct repo_scope *scope, const char *rel, struct codec_arena *arena,
                    struct checkpoint *root, struct tm_err *err) TM_WUR;
void stream_release(struct stream_reader *sr);

/* ---- manifest ---- */

enum manifest_item_kind { MANIFEST_SEGMENT = 1, MANIFEST_LOG = 2, MANIFEST_PROBLEM = 3 };

/* Writing: manifest_writer_open → segment* → log* → problem* → commit → release. */
struct manifest_writer {
    struct object_writer *object;
    struct buf buf;
    enum manifest_item_kind last;
    uint32_t segments, log_objects, problems;
    uint64_t ranges;
};
#define MANIFEST_WRITER_INIT ((struct manifest_writer){.object = NULL})

int manifest_writer_open(struct manifest_writer *mw, struct object_scratch *scratch,
                         struct storage *st, const struct repo_scope *scope, const char *backup_id,
                         const uint8_t nonce[OBJECT_NONCE_BYTES], struct tm_err *err) TM_WUR;
int manifest_writer_segment(struct manifest_writer *mw, const struct segment_ref *ref,
                            struct tm_err *err) TM_WUR;
int manifest_writer_log(struct manifest_writer *mw, const struct log_ref *ref,
                        struct tm_err *err) TM_WUR;
/* Above MANIFEST_PROBLEMS_MAX: dropped; the counts in the root still tell. */
int manifest_writer_problem(struct manifest_writer *mw, const struct problem *problem,
                            struct tm_err *err) TM_WUR;
/* The commit of the whole backup. The counts segments, ranges, log_objects and problems of *root
 * are filled in here. TM_E_EXISTS when another writer committed this backup already. */
int manifest_writer_commit(struct manifest_writer *mw, struct manifest *root,
                           struct object_info *ret, struct tm_err *err) TM_WUR;
void manifest_writer_release(struct manifest_writer *mw); /* after commit, or instead of it */

/* Reading. */
struct manifest_item {
    enum manifest_item_kind kind;
    union {
        struct segment_ref segment;
        struct log_ref log;
        struct problem problem;
    };
};

struct manifest_reader {
    struct object_reader *object;
    struct codec_arena root_arena; /* the root's slices */
    struct codec_arena item_arena;
    struct manifest root;
    enum manifest_item_kind last;
    uint32_t segments, log_objects, problems;
};
#define MANIFEST_READER_INIT ((struct manifest_reader){.object = NULL})

/* TM_E_NOT_FOUND when the backup has no manifest. The root must name this backup and this scope. */
int manifest_reader_open(struct manifest_reader *mr, struct object_scratch *scratch,
                         struct storage *st, const struct repo_scope *scope, const char *backup_id,
                         struct tm_err *err) TM_WUR;
/* 1 = the next item, 0 = end; at the end the counts are checked against the root. */
int manifest_reader_next(struct manifest_reader *mr, struct manifest_item *ret,
                         struct tm_err *err) TM_WUR;
void manifest_reader_release(struct manifest_reader *mr);

#endif
