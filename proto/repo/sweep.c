/*
 * Taking a backup away. Happy path: the state is looked at → names are listed and removed class by
 * class, manifest first, so that whatever is left after a crash is not taken for a backup → a
 * second look takes what appeared meanwhile. A deleted backup that still has its manifest waits for the
 * grace of its tombstone first. Failure modes: any error stops; the whole may be repeated. A tombstone
 * that cannot be read is a tombstone: what it does not say, its object's own time and the usual grace do.
 */
#include "proto/repo/sweep.h"

#include "common/clock.h"

#define SECOND_LOOKS  2
#define GRACE_S_USUAL 600u

struct batch {
    char names[SWEEP_BATCH][STORAGE_NAME_MAX + 1];
    uint64_t bytes;
    size_t count;
};

static int batch_flush(struct storage *st, struct batch *b, struct sweep_totals *totals,
                       struct tm_err *err)
{
    const char *names[SWEEP_BATCH];
    for (size_t i = 0; i < b->count; i++)
        names[i] = b->names[i];
    int r = storage_remove(st, names, b->count, err);
    if (r < 0)
        return r;
    totals->removed += b->count;
    totals->bytes += b->bytes;
    b->count = 0;
    b->bytes = 0;
    return 0;
}

int sweep_below(struct storage *st, const struct repo_scope *scope, const char *backup_id,
                const char *below, sweep_takes *takes, void *arg, struct sweep_totals *totals,
                struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    TM_CLEANUP(freep) struct batch *batch = calloc(1, sizeof(*batch));
    if (batch == NULL)
        return tm_err_oom(err);
    struct full_name prefix = names_backup_below(scope, backup_id, below);
    size_t base = strlen(names_full(scope, "").s);
    struct storage_object object;
    int r = storage_list(st, prefix.s, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) > 0) {
        struct name_parts parts = names_parse_rel(object.name + base);
        if (!takes(arg, &parts))
            continue;
        memcpy(batch->names[batch->count++], object.name, sizeof(object.name));
        batch->bytes += object.size_bytes;
        if (batch->count == SWEEP_BATCH)
            r = batch_flush(st, batch, totals, err);
    }
    return r < 0 ? r : batch_flush(st, batch, totals, err);
}

struct kinds {
    unsigned bits; /* 1 << kind */
    uint64_t unknown;
};

static bool takes_kinds(void *arg, const struct name_parts *parts)
{
    struct kinds *kinds = arg;
    kinds->unknown += parts->kind == NAME_OTHER;
    return parts->kind != NAME_OTHER && (kinds->bits & (1u << parts->kind)) != 0;
}

/* Removes everything of this backup whose kind has its bit in `bits`; counts what is not ours. */
static int remove_kinds(struct storage *st, const struct repo_scope *scope, const char *backup_id,
                        const char *below, unsigned bits, struct sweep_totals *totals,
                        struct tm_err *err)
{
    struct kinds kinds = {.bits = bits};
    int r = sweep_below(st, scope, backup_id, below, takes_kinds, &kinds, totals, err);
    totals->left = kinds.unknown;
    return r;
}

/* Everything but manifest and tombstone, in the order in which nothing dangles from committed
 * metadata; then once more, for what a late upload made visible. */
static int remove_contents(struct storage *st, const struct repo_scope *scope,
                           const char *backup_id, struct sweep_totals *totals, struct tm_err *err)
{
    static const struct {
        const char *below;
        enum name_kind kind;
    } order[] = {
        {"checkpoint/", NAME_CHECKPOINT},
        {"plan/", NAME_PLAN},
        {"data/", NAME_DATA},
        {"log/", NAME_BACKUP_LOG},
    };
    unsigned all = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < TM_ARRAY_LEN(order); i++) {
        all |= 1u << order[i].kind;
        r = remove_kinds(st, scope, backup_id, order[i].below, 1u << order[i].kind, totals, err);
    }
    for (int look = 0; r == 0 && look < SECOND_LOOKS; look++) {
        uint64_t before = totals->removed;
        r = remove_kinds(st, scope, backup_id, "", all, totals, err);
        if (totals->removed == before)
            break;
    }
    uint64_t parts = 0; /* unfinished uploads: not objects, not counted */
    if (r == 0)
        r = storage_sweep_leftovers(st, names_backup_prefix(scope, backup_id).s, INT64_MAX, &parts,
                                    err);
    return r;
}

/* The same behind the manifest, without which nobody takes the rest for a backup. */
static int remove_all(struct storage *st, const struct repo_scope *scope, const char *backup_id,
                      struct sweep_totals *totals, struct tm_err *err)
{
    int r = remove_kinds(st, scope, backup_id, "manifest.mpk", 1u << NAME_MANIFEST, totals, err);
    return r < 0 ? r : remove_contents(st, scope, backup_id, totals, err);
}

int backup_anything(struct storage *st, const struct repo_scope *scope, const char *backup_id,
                    bool *ret, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    int r = storage_list(st, names_backup_prefix(scope, backup_id).s, NULL, &it, err);
    if (r == 0)
        r = storage_iter_next(it, &object, err);
    if (r >= 0)
        *ret = r > 0;
    return r < 0 ? r : 0;
}

int backup_delete_mark(struct object_scratch *scratch, struct storage *st,
                       const struct repo_scope *scope, const struct tombstone *tombstone,
                       const uint8_t nonce[OBJECT_NONCE_BYTES], struct tm_err *err)
{
    enum backup_state state = BACKUP_UNFINISHED;
    int r = catalog_backup_state(st, scope, tombstone->backup_id, &state, err);
    if (r < 0 || state == BACKUP_DELETED)
        return r;
    struct object_info info;
    struct rel_name rel = names_rel_deleted(tombstone->backup_id);
    r = record_put(scratch, st, names_full(scope, rel.s).s, OBJECT_TOMBSTONE, nonce,
                   &tombstone_codec, tombstone, &info, err);
    return r < 0 && err->code == TM_E_EXISTS ? 0 : r;
}

int64_t backup_grace_end(const struct tombstone *tombstone, int64_t grace_us, int64_t now_us)
{
    int64_t end_us = tombstone->deleted_us + grace_us;
    return grace_us <= 0 || end_us <= now_us ? 0 : end_us;
}

static int tombstone_read(struct object_scratch *scratch, struct storage *st,
                          const struct repo_scope *scope, const char *backup_id,
                          struct tombstone *ret, struct tm_err *err)
{
    struct codec_arena arena = {0};
    struct storage_object object;
    struct rel_name rel = names_rel_deleted(backup_id);
    struct full_name name = names_full(scope, rel.s);
    int r = record_get(scratch, st, name.s, OBJECT_TOMBSTONE, &tombstone_codec, &arena, ret, err);
    codec_arena_release(&arena);
    if (r == 0 || err->code != TM_E_CORRUPT)
        return r;
    r = storage_stat(st, name.s, &object, err);
    if (r == 0)
        *ret = (struct tombstone){.deleted_us = object.modified_us, .grace_s = GRACE_S_USUAL};
    return r;
}

/* grace_us < 0: that of the tombstone. */
static int grace_left(struct object_scratch *scratch, struct storage *st,
                      const struct repo_scope *scope, const char *backup_id, int64_t now_us,
                      int64_t grace_us, int64_t *ret_end_us, struct tm_err *err)
{
    struct tombstone tombstone = {.deleted_us = 0};
    bool readable = false;
    *ret_end_us = 0;
    struct full_name manifest = names_full(scope, names_rel_manifest(backup_id).s);
    int r = grace_us == 0 ? 0 : catalog_there(st, manifest.s, &readable, err);
    if (r < 0 || !readable)
        return r;
    r = tombstone_read(scratch, st, scope, backup_id, &tombstone, err);
    if (r == 0 && grace_us < 0)
        grace_us = (int64_t)tombstone.grace_s * USEC_PER_SEC;
    if (r == 0)
        *ret_end_us = backup_grace_end(&tombstone, grace_us, now_us);
    return r;
}

static int delete_sweep(struct object_scratch *scratch, struct storage *st,
                        const struct repo_scope *scope, const char *backup_id, int64_t now_us,
                        int64_t grace_us, int64_t *ret_end_us, struct sweep_totals *totals,
                        struct tm_err *err)
{
    int r = grace_left(scratch, st, scope, backup_id, now_us, grace_us, ret_end_us, err);
    if (r < 0 || *ret_end_us != 0)
        return r;
    return remove_all(st, scope, backup_id, totals, err);
}

int backup_delete_sweep(struct object_scratch *scratch, struct storage *st,
                        const struct repo_scope *scope, const char *backup_id, int64_t now_us,
                        int64_t grace_us, int64_t *ret_next_us, struct sweep_totals *ret,
                        struct tm_err *err)
{
    enum backup_state state = BACKUP_UNFINISHED;
    struct sweep_totals totals = {0};
    int64_t end_us = 0;
    int r = catalog_backup_state(st, scope, backup_id, &state, err);
    if (r == 0 && state != BACKUP_DELETED)
        r = tm_err_set(err, TM_E_REFUSED, "backup '%s' has no tombstone: it is not deleted",
                       backup_id);
    if (r == 0)
        r = delete_sweep(scratch, st, scope, backup_id, now_us, TM_MAX(grace_us, INT64_C(0)),
                         &end_us, &totals, err);
    if (r < 0)
        return r;
    *ret = totals;
    *ret_next_us = end_us;
    return 0;
}

/* Whether anything but the tombstone lies below backup/<id>/. */
static int anything_left(struct storage *st, const struct repo_scope *scope, const char *backup_id,
                         bool *ret, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    struct rel_name rel = names_rel_deleted(backup_id);
    struct full_name tombstone = names_full(scope, rel.s);
    bool found = false;
    int r = storage_list(st, names_backup_prefix(scope, backup_id).s, NULL, &it, err);
    while (r >= 0 && !found && (r = storage_iter_next(it, &object, err)) > 0)
        found = strcmp(object.name, tombstone.s) != 0;
    if (r >= 0)
        *ret = found;
    return r < 0 ? r : 0;
}

int backup_deleted_sweep(struct object_scratch *scratch, struct storage *st,
                         const struct repo_scope *scope, int64_t now_us, int64_t *ret_next_us,
                         struct sweep_totals *ret, struct tm_err *err)
{
    TM_CLEANUP(backup_list_release) struct backup_list backups = BACKUP_LIST_INIT;
    struct sweep_totals totals = {0};
    int64_t next_us = 0;
    int r = catalog_backups(st, scope, &backups, err);
    for (size_t n = 0; r == 0 && n < backups.count; n++) {
        const struct backup_entry *one = &backups.items[n];
        bool left = false;
        int64_t end_us = 0;
        if (one->state == BACKUP_DELETED)
            r = anything_left(st, scope, one->id, &left, err);
        if (r == 0 && left)
            r = delete_sweep(scratch, st, scope, one->id, now_us, -1, &end_us, &totals, err);
        if (r == 0 && end_us != 0 && (next_us == 0 || end_us < next_us))
            next_us = end_us;
    }
    if (r < 0)
        return r;
    *ret = totals;
    *ret_next_us = next_us;
    return 0;
}

int backup_delete_unmarked(struct storage *st, const struct repo_scope *scope,
                           const char *backup_id, struct sweep_totals *ret, struct tm_err *err)
{
    struct sweep_totals totals = {0};
    int r = remove_all(st, scope, backup_id, &totals, err);
    if (r == 0)
        *ret = totals;
    return r;
}

int backup_sweep_unfinished(struct storage *st, const struct repo_scope *scope,
                            const char *backup_id, struct sweep_totals *ret, struct tm_err *err)
{
    enum backup_state state = BACKUP_UNFINISHED;
    struct sweep_totals totals = {0};
    int r = catalog_backup_state(st, scope, backup_id, &state, err);
    if (r == 0 && state == BACKUP_COMMITTED)
        r = tm_err_set(err, TM_E_REFUSED, "backup '%s' is committed: it is deleted, not swept",
                       backup_id);
    if (r == 0 && state == BACKUP_DELETED)
        r = remove_kinds(st, scope, backup_id, "manifest.mpk", 1u << NAME_MANIFEST, &totals, err);
    if (r == 0)
        r = remove_contents(st, scope, backup_id, &totals, err);
    if (r == 0)
        *ret = totals;
    return r;
}
