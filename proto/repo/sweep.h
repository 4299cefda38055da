#ifndef TM_PROTO_REPO_SWEEP_H
#define TM_PROTO_REPO_SWEEP_H
/*
 * Taking backups out of a repository. A crash at any moment leaves either a whole backup or one
 * that readers treat as absent:
 *
 *   delete      tombstone → grace → manifest → checkpoints → plan → data and log → second look
 *   unfinished  no manifest: the same; refused when a manifest is there
 *
 * From the tombstone on nobody finds the backup; who read it before goes on for the grace time. Without
 * manifest nobody can, and the rest goes at once: an unfinished backup, or a sweep that was cut short.
 *
 * The tombstone itself stays, so that a late writer's objects are still recognised as leftovers.
 * Only names that Tidemark makes are removed, only below backup/<id>/; log objects of the log task
 * and of other backups lie elsewhere and are never touched. Both may be repeated until they
 * succeed.
 */
#include "proto/repo/catalog.h"

#define SWEEP_BATCH 100u /* names per storage_remove */

struct sweep_totals {
    uint64_t removed;
    uint64_t bytes;
    uint64_t left; /* objects that Tidemark does not know: left alone */
};

/* Whether the object of this name goes. */
typedef bool sweep_takes(void *arg, const struct name_parts *parts);

/* Removes what `takes` says of all that lies below backup/<id>/<below>, batch by batch; adds to totals what
 * is gone. May be repeated after an error. */
int sweep_below(struct storage *st, const struct repo_scope *scope, const char *backup_id,
                const char *below, sweep_takes *takes, void *arg, struct sweep_totals *totals,
                struct tm_err *err) TM_WUR;

/* Whether anything lies below backup/<id>/. */
int backup_anything(struct storage *st, const struct repo_scope *scope, const char *backup_id,
                    bool *ret, struct tm_err *err) TM_WUR;
/* Writes deleted.mpk, also where nothing of the backup is yet. Already deleted is success. */
int backup_delete_mark(struct object_scratch *scratch, struct storage *st,
                       const struct repo_scope *scope, const struct tombstone *tombstone,
                       const uint8_t nonce[OBJECT_NONCE_BYTES], struct tm_err *err) TM_WUR;
/* When the grace of a deletion is over: 0 = it is, else the time. A grace of 0 is over at once. */
int64_t backup_grace_end(const struct tombstone *tombstone, int64_t grace_us, int64_t now_us);
/* Removes what lies under a deleted backup when its grace is over: *ret_next_us is 0. Before that it
 * removes nothing, and *ret_next_us is when to come again. TM_E_REFUSED without tombstone. */
int backup_delete_sweep(struct object_scratch *scratch, struct storage *st,
                        const struct repo_scope *scope, const char *backup_id, int64_t now_us,
                        int64_t grace_us, int64_t *ret_next_us, struct sweep_totals *ret,
                        struct tm_err *err) TM_WUR;
/* The same for every deleted backup of the scope of which something is left, whoever was to remove it;
 * each has the grace that its tombstone names. *ret_next_us: when the next one's is over, 0 = there is
 * none. */
int backup_deleted_sweep(struct object_scratch *scratch, struct storage *st,
                         const struct repo_scope *scope, int64_t now_us, int64_t *ret_next_us,
                         struct sweep_totals *ret, struct tm_err *err) TM_WUR;
/* When there is no room for a tombstone: removes a backup without one, manifest first. Its readers have no
 * grace. The tombstone is to follow. */
int backup_delete_unmarked(struct storage *st, const struct repo_scope *scope,
                           const char *backup_id, struct sweep_totals *ret,
                           struct tm_err *err) TM_WUR;
/* Removes what an unfinished backup left, unfinished uploads too. TM_E_REFUSED when it is
 * committed. The caller guarantees that no writer of this backup lives any more. */
int backup_sweep_unfinished(struct storage *st, const struct repo_scope *scope,
                            const char *backup_id, struct sweep_totals *ret,
                            struct tm_err *err) TM_WUR;

#endif
