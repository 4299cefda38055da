#ifndef TM_PROTO_REPO_RANGES_H
#define TM_PROTO_REPO_RANGES_H
/*
 * All ranges of one committed backup, in key order, streamed: one segment in memory at a time.
 *
 * While streaming it proves that the manifest is whole: segments adjacent from the empty key to the
 * top, every segment of the size and digest the manifest names, its ranges adjacent and covering
 * what the segment claims, indexes unique by being strictly rising, no epoch or term above the
 * manifest's. A violation is TM_E_CORRUPT. Only when backup_ranges_next returned 0 is the chain
 * proven.
 *
 * Two scratches: one for the manifest, one for the segment in turn. Not thread safe.
 */
#include "proto/format/stream.h"

struct backup_ranges {
    struct storage *st;
    struct repo_scope scope;
    struct object_scratch *segment_scratch;
    struct manifest_reader manifest; /* manifest.root is the root, valid until release */
    struct stream_reader segment;
    struct segment_ref current; /* the open segment */
    uint8_t current_end[FORMAT_KEY_MAX];
    size_t current_end_len;
    uint8_t expected_start[FORMAT_KEY_MAX]; /* where the next range must start */
    size_t expected_start_len;
    bool at_top; /* the range before ended at the top */
    bool in_segment;
    bool items_done; /* all segments read: the manifest reader stands at log objects */
    uint32_t left_in_segment;
    uint64_t ranges;
    struct manifest_item item; /* first item behind the segments */
    bool have_item;
    bool manifest_done;
    uint64_t logs;
    uint64_t log_end;
    uint8_t log_lineage[16];
};
#define BACKUP_RANGES_INIT ((struct backup_ranges){.st = NULL})

/* Opens a committed backup; one with a tombstone is TM_E_NOT_FOUND "backup '…' is deleted". */
int backup_ranges_open(struct backup_ranges *br, struct object_scratch *manifest_scratch,
                       struct object_scratch *segment_scratch, struct storage *st,
                       const struct repo_scope *scope, const char *backup_id,
                       struct tm_err *err) TM_WUR;
/* The same of a backup that was chosen while it was there: one that was deleted since is read on while its
 * objects are, for the grace of its deletion. */
int backup_ranges_reopen(struct backup_ranges *br, struct object_scratch *manifest_scratch,
                         struct object_scratch *segment_scratch, struct storage *st,
                         const struct repo_scope *scope, const char *backup_id,
                         struct tm_err *err) TM_WUR;
/* 1 = the next range (its slices are valid until the next call), 0 = all were read and proven. */
int backup_ranges_next(struct backup_ranges *br, struct segment_range *ret,
                       struct tm_err *err) TM_WUR;
/* After the ranges: 1 = the next log object in log order, 0 = end. Adjacent within a lineage and
 * covering [log_from, log_to) of the root. */
int backup_ranges_log(struct backup_ranges *br, struct log_ref *ret, struct tm_err *err) TM_WUR;
/* After the log objects: 1 = the next problem, 0 = end. */
int backup_ranges_problem(struct backup_ranges *br, struct problem *ret, struct tm_err *err) TM_WUR;
void backup_ranges_release(struct backup_ranges *br);

#endif
