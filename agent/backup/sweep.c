/*
 * Taking a backup away. What is removed, and in which order, is proto/repo's; here is only what an
 * attempt's end means: an abort never touches a committed backup. Both mark it first: an attempt that was
 * thought dead might commit it while it is swept, and a worker that nobody reaches may store into it yet.
 *
 * Failure modes: any error ends it, and all of it may be repeated. A full disk has no room for a tombstone:
 * then the rest goes first, unless readers were promised a grace. An attempt that commits just then is
 * deleted a moment later.
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
    return backup_delete_mark(scratch, b->options.storage, &b->options.scope, &tombstone, nonce,
                              err);
}

/* The storage is full. */
static int give_room(const struct backup *b, enum backup_state state, int64_t grace_us,
                     struct sweep_totals *totals, struct tm_err *err)
{
    const struct backup_options *o = &b->options;
    if (state == BACKUP_UNFINISHED)
        return backup_sweep_unfinished(o->storage, &o->scope, o->backup_id, totals, err);
    if (grace_us > 0)
        return tm_err_retry(err, TM_E_NO_SPACE,
                            "the storage is full, and its readers' grace needs a tombstone: make a "
                            "little room, or delete it with a grace of 0");
    return backup_delete_unmarked(o->storage, &o->scope, o->backup_id, totals, err);
}

static int mark(struct backup *b, enum backup_state state, const char *reason, int64_t grace_us,
                struct object_scratch *scratch, struct sweep_totals *totals, struct tm_err *err)
{
    int r = mark_deleted(b, scratch, reason, grace_us, err);
    if (r != -TM_E_NO_SPACE)
        return r;
    r = give_room(b, state, grace_us, totals, err);
    return r < 0 ? r : mark_deleted(b, scratch, reason, grace_us, err);
}

static int sweep_it(struct backup *b, enum backup_sweep_mode mode, const char *reason,
                    int64_t grace_us, struct object_scratch *scratch, int64_t *ret_next_us,
                    struct sweep_totals *ret, struct tm_err *err)
{
    const struct backup_options *o = &b->options;
    struct sweep_totals before = {0};
    enum backup_state state;
    bool there = true;
    *ret_next_us = 0;
    int r = catalog_backup_state(o->storage, &o->scope, o->backup_id, &state, err);
    if (r == 0 && mode == BACKUP_SWEEP_DELETE &&
        state == BACKUP_UNFINISHED) /* of what never was there is nothing to mark */
        r = backup_anything(o->storage, &o->scope, o->backup_id, &there, err);
    if (r < 0 || !there)
        return r;
    if (state == BACKUP_COMMITTED && mode == BACKUP_SWEEP_ABORT)
        return tm_err_set(err, TM_E_REFUSED, "backup '%s' is committed: it is deleted, not swept",
                          o->backup_id);
    if (state != BACKUP_DELETED)
        r = mark(b, state, reason, grace_us, scratch, &before, err);
    if (r == 0)
        r = backup_delete_sweep(scratch, o->storage, &o->scope, o->backup_id, backup_now_us(b),
                                grace_us, ret_next_us, ret, err);
    ret->removed += r == 0 ? before.removed : 0;
    ret->bytes += r == 0 ? before.bytes : 0;
    return r;
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
