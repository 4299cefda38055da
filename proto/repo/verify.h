#ifndef TM_PROTO_REPO_VERIFY_H
#define TM_PROTO_REPO_VERIFY_H
/*
 * Reads every object of a committed backup again and checks all digests: manifest, segments, data
 * objects with their file index, log objects. One object at a time, memory bounded.
 */
#include "proto/repo/logs.h"
#include "proto/repo/ranges.h"

struct verify_totals {
    uint64_t objects;
    uint64_t stored_bytes;
    uint64_t raw_bytes;
    uint64_t ranges;
    uint64_t files;
    uint64_t bad; /* objects that failed */
};

/* Called after every object: `err` is NULL when it is good. Returning non-zero stops with that. */
typedef int (*verify_fn)(void *arg, const char *name, uint64_t stored_bytes,
                         const struct tm_err *err);

/* Three scratches: manifest, segment, and the object that is verified. A bad data or log object is
 * reported and the next one taken; at the end a bad one makes TM_E_CORRUPT ("2 of 340 objects …",
 * naming the first). *ret is filled in both cases. */
int verify_backup(struct object_scratch *scratches[3], struct storage *st,
                  const struct repo_scope *scope, const char *backup_id, verify_fn fn, void *arg,
                  struct verify_totals *ret, struct tm_err *err) TM_WUR;
/* One data object with its index: what a worker of a parallel verify calls. */
int verify_range(struct object_scratch *scratch, struct storage *st, const struct repo_scope *scope,
                 const struct segment_range *range, uint64_t *ret_files, struct tm_err *err) TM_WUR;
/* One log object: contiguous, of the extent that metadata names. */
int verify_log(struct object_scratch *scratch, struct storage *st, const struct repo_scope *scope,
               const struct log_ref *ref, struct tm_err *err) TM_WUR;

/* ---- a lineage's log ---- */

struct verify_log_totals {
    uint64_t objects;
    uint64_t stored_bytes;
    uint64_t boundaries; /* running digests that were compared */
    uint64_t gaps;
    uint64_t bad; /* objects that failed */
};
struct verify_lineage_calls {
    verify_fn object;
    void (*gap)(void *arg, uint64_t from, uint64_t to); /* no log between */
    void *arg;
};
/* Every chunk that counts, and the digests that run over them; and those that lie there and cannot be
 * read. A bad one is told and counted, the result is 0 all the same. */
int verify_lineage(struct object_scratch *scratches[3], struct storage *st,
                   const struct repo_scope *scope, const struct log_lineage *lineage,
                   const struct verify_lineage_calls *calls, struct verify_log_totals *ret,
                   struct tm_err *err) TM_WUR;

#endif
