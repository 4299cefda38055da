/*
 * Taking a backup away. What is removed, and in which order, is proto/repo's; here is only what an
 * attempt's end means: an abort never touches a committed backup, a deletion marks it first.
 */
#include "agent/backup/internal.h"

#include "proto/repo/sweep.h"

static int mark_deleted(struct backup *b, const char *reason, struct tm_err *err)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    uint8_t nonce[OBJECT_NONCE_BYTES];
    struct tombstone tombstone = {.deleted_us = backup_now_us(b),
                                  .term = b->options.epoch.term,
                                  .counter = b->options.epoch.counter};
    memcpy(tombstone.backup_id, b->options.backup_id, sizeof(tombstone.backup_id));
    (void)snprintf(tombstone.reason, sizeof(tombstone.reason), "%s", reason ? reason : "");
    int r = object_scratch_new(&scratch, err);
    if (r < 0 || (r = backup_nonce(b, nonce, err)) < 0)
        return r;
    r = backup_delete_mark(scratch, b->options.storage, &b->options.scope, &tombstone, nonce, err);
    /* of a backup that never stored anything there is nothing to mark */
    return r == -TM_E_NOT_FOUND ? 0 : r;
}

int backup_sweep(struct backup *b, enum backup_sweep_mode mode, const char *reason,
                 struct backup_sweep_result *ret, struct tm_err *err)
{
    const struct backup_options *o = &b->options;
    struct sweep_totals totals = {0};
    enum backup_state state;
    int r = mode == BACKUP_SWEEP_DELETE ? mark_deleted(b, reason, err) : 0;
    if (r == 0)
        r = catalog_backup_state(o->storage, &o->scope, o->backup_id, &state, err);
    if (r == 0)
        r = state == BACKUP_DELETED
                ? backup_delete_sweep(o->storage, &o->scope, o->backup_id, &totals, err)
                : backup_sweep_unfinished(o->storage, &o->scope, o->backup_id, &totals, err);
    if (r < 0)
        return tm_err_prefix(err, "sweep");
    *ret = (struct backup_sweep_result){.objects = totals.removed, .bytes = totals.bytes};
    return 0;
}
