/*
 * Taking a backup away. What is removed, and in which order, is proto/repo's; here is only what an
 * attempt's end means: an abort never touches a committed backup, a deletion marks it first. A backup that
 * has had several attempts is marked, too, when the last of them is aborted: one that was thought dead
 * might commit it while it is swept.
 */
#include "agent/backup/internal.h"

#include "common/clock.h"
#include "proto/repo/sweep.h"

/* The grace counts from when readers can see the tombstone: the time is taken last. */
static int mark_deleted(struct backup *b, struct object_scratch *scratch, const char *reason,
                        int64_t grace_us, struct tm_err *err)
{
    uint8_t nonce[OBJECT_NONCE_BYTES];
    int64_t grace_s = (grace_us + USEC_PER_SEC - 1) / USEC_PER_SEC;
    struct tombstone tombstone = {.term = b->options.epoch.term,
                                  .counter = b->options.epoch.counter,
                                  .grace_s = (uint32_t)TM_MIN(grace_s, (int64_t)UINT32_MAX)};
    memcpy(tombstone.backup_id, b->options.backup_id, sizeof(tombstone.backup_id));
    (void)snprintf(tombstone.reason, sizeof(tombstone.reason), "%s", reason ? reason : "");
    int r = backup_nonce(b, nonce, err);
    if (r < 0)
        return r;
    tombstone.deleted_us = backup_now_us(b);
    r = backup_delete_mark(scratch, b->options.storage, &b->options.scope, &tombstone, nonce, err);
    /* of a backup that never stored anything there is nothing to mark */
    return r == -TM_E_NOT_FOUND ? 0 : r;
}

static int sweep_it(struct backup *b, enum backup_sweep_mode mode, const char *reason,
                    int64_t grace_us, struct object_scratch *scratch, int64_t *ret_next_us,
                    struct sweep_totals *ret, struct tm_err *err)
{
    const struct backup_options *o = &b->options;
    enum backup_state state;
    *ret_next_us = 0;
    int r = 0;
    if (mode == BACKUP_SWEEP_VOID) {
        r = catalog_backup_state(o->storage, &o->scope, o->backup_id, &state, err);
        if (r == 0 && state == BACKUP_UNFINISHED)
            mode = BACKUP_SWEEP_DELETE;
    }
    if (r == 0 && mode == BACKUP_SWEEP_DELETE)
        r = mark_deleted(b, scratch, reason, grace_us, err);
    if (r == 0)
        r = catalog_backup_state(o->storage, &o->scope, o->backup_id, &state, err);
    if (r != 0)
        return r;
    return state == BACKUP_DELETED
               ? backup_delete_sweep(scratch, o->storage, &o->scope, o->backup_id, backup_now_us(b),
                                     grace_us, ret_next_us, ret, err)
               : backup_sweep_unfinished(o->storage, &o->scope, o->backup_id, ret, err);
}

int backup_sweep(struct backup *b, enum backup_sweep_mode mode, const char *reason,
                 int64_t grace_us, struct backup_sweep_result *ret, struct tm_err *err)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct sweep_totals totals = {0};
    int64_t next_us;
    int r = object_scratch_new(&scratch, err);
    if (r == 0)
        r = sweep_it(b, mode, reason, grace_us, scratch, &next_us, &totals, err);
    if (r < 0)
        return tm_err_prefix(err, "sweep");
    *ret = (struct backup_sweep_result){
        .objects = totals.removed, .bytes = totals.bytes, .next_us = next_us};
    return 0;
}

int backup_sweep_deleted(struct backup *b, struct backup_sweep_result *ret, struct tm_err *err)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct sweep_totals totals = {0};
    int64_t next_us;
    int r = object_scratch_new(&scratch, err);
    if (r == 0)
        r = backup_deleted_sweep(scratch, b->options.storage, &b->options.scope, backup_now_us(b),
                                 &next_us, &totals, err);
    if (r < 0)
        return tm_err_prefix(err, "sweep of earlier deletions");
    *ret = (struct backup_sweep_result){
        .objects = totals.removed, .bytes = totals.bytes, .next_us = next_us};
    return 0;
}
