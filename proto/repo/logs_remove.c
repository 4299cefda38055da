/*
 * Removing log that truncation records took away. Happy path: the highest record of each lineage whose
 * grace is over is found → chunks before it go, oldest first, then roll-ups and marks. Nothing but
 * records decides, so whoever comes next ends what another began.
 *
 * Failure modes: objects that a manifest lists are passed over, also of a backup that was deleted while
 * the grace of its readers lasts; a damaged manifest may list anything, and nothing goes; a lineage that
 * is damaged is left alone; any other error stops, and the whole may be repeated.
 */
#include <stdlib.h>

#include "common/array.h"
#include "common/clock.h"
#include "proto/repo/logs_remove.h"
#include "proto/repo/sweep.h"

#define LISTED_MAX 8000000u
#define UNNEEDED   UINT64_MAX

/* A chunk that a manifest lists. */
struct listed {
    uint8_t lineage[16];
    uint64_t from;
    struct epoch epoch;
};

/* ---- what manifests list ---- */

static int by_name(const void *a, const void *b)
{
    const struct listed *x = a;
    const struct listed *y = b;
    int order = memcmp(x->lineage, y->lineage, sizeof(x->lineage));
    if (order == 0)
        order = (x->from > y->from) - (x->from < y->from);
    return order != 0 ? order : epoch_cmp(x->epoch, y->epoch);
}

static int listed_add(struct log_remover *t, const struct log_ref *ref, struct tm_err *err)
{
    struct name_parts parts = names_parse_rel(ref->object);
    if (!ref->task || parts.kind != NAME_CHUNK)
        return 0;
    if (t->listed_count == LISTED_MAX)
        return tm_err_set(err, TM_E_LIMIT, "backups list more than %u chunks of log", LISTED_MAX);
    if (ARRAY_ROOM(t->listed, t->listed_count, t->listed_cap, 64, err) < 0)
        return -(int)err->code;
    struct listed *l = &t->listed[t->listed_count++];
    *l = (struct listed){.from = parts.from, .epoch = parts.epoch};
    memcpy(l->lineage, parts.lineage, sizeof(l->lineage));
    return 0;
}

static int listed_of(struct log_remover *t, const char *backup_id, struct tm_err *err)
{
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct manifest_item item;
    int r = manifest_reader_open(&mr, t->scratches[0], t->backup_st, t->scope, backup_id, err);
    while (r >= 0 && (r = manifest_reader_next(&mr, &item, err)) > 0) {
        if (item.kind == MANIFEST_LOG)
            r = listed_add(t, &item.log, err);
    }
    manifest_reader_release(&mr);
    return r;
}

/* Who reads the backup since before it was deleted needs what it lists as long as its own objects. A
 * backup that is gone keeps no truncation up: what cannot be read lists nothing. */
static int listed_of_deleted(struct log_remover *t, const char *backup_id, struct tm_err *err)
{
    struct codec_arena arena = {0};
    struct tombstone tombstone;
    struct rel_name rel = names_rel_deleted(backup_id);
    int r = record_get(t->scratches[0], t->backup_st, names_full(t->scope, rel.s).s,
                       OBJECT_TOMBSTONE, &tombstone_codec, &arena, &tombstone, err);
    codec_arena_release(&arena);
    if (r == 0 &&
        backup_grace_end(&tombstone, (int64_t)tombstone.grace_s * USEC_PER_SEC, t->now_us) != 0)
        r = listed_of(t, backup_id, err);
    return r < 0 && (err->code == TM_E_NOT_FOUND || err->code == TM_E_CORRUPT) ? 0 : r;
}

/* A damaged manifest may list anything: nothing is taken before it is repaired or deleted. */
int log_remover_listed(struct log_remover *t, struct tm_err *err)
{
    TM_CLEANUP(backup_list_release) struct backup_list backups = BACKUP_LIST_INIT;
    if (t->listed_read)
        return 0;
    int r = catalog_backups(t->backup_st, t->scope, &backups, err);
    for (size_t i = 0; r == 0 && i < backups.count; i++) {
        if (backups.items[i].state == BACKUP_COMMITTED)
            r = listed_of(t, backups.items[i].id, err);
        else if (backups.items[i].state == BACKUP_DELETED)
            r = listed_of_deleted(t, backups.items[i].id, err);
    }
    if (r == 0 && t->listed_count > 0)
        qsort(t->listed, t->listed_count, sizeof(t->listed[0]), by_name);
    t->listed_read = r == 0;
    return r;
}

static bool is_listed(const struct log_remover *t, const uint8_t lineage[16],
                      const struct log_place *place)
{
    struct listed key = {.from = place->from, .epoch = place->epoch};
    memcpy(key.lineage, lineage, sizeof(key.lineage));
    return t->listed_count > 0 &&
           bsearch(&key, t->listed, t->listed_count, sizeof(key), by_name) != NULL;
}

/* ---- removing ---- */

struct removal {
    struct log_remover *t;
    char (*names)[STORAGE_NAME_MAX + 1];
    uint64_t sizes[SWEEP_BATCH];
    size_t count;
    bool counts; /* chunks are told, the rest is not */
};

static int removal_flush(struct removal *r, struct tm_err *err)
{
    const char *names[SWEEP_BATCH];
    for (size_t i = 0; i < r->count; i++)
        names[i] = r->names[i];
    int rc =
        r->t->dry_run || r->count == 0 ? 0 : storage_remove(r->t->log_st, names, r->count, err);
    for (size_t i = 0; rc == 0 && r->counts && i < r->count; i++) {
        r->t->chunks++;
        r->t->bytes += r->sizes[i];
    }
    r->count = 0;
    return rc;
}

static int removal_add(struct removal *r, const struct storage_object *object, struct tm_err *err)
{
    memcpy(r->names[r->count], object->name, sizeof(object->name));
    r->sizes[r->count++] = object->size_bytes;
    return r->count == SWEEP_BATCH ? removal_flush(r, err) : 0;
}

/* Whether an object of the room lies before the cut as a whole: 1 = it does. */
typedef int (*removal_judge)(struct log_remover *t, size_t branch, const struct log_place *place,
                             struct tm_err *err);

static int judge_mark(struct log_remover *t, size_t branch, const struct log_place *place,
                      struct tm_err *err)
{
    (void)err;
    return t->cuts[branch] == UNNEEDED || place->from < t->cuts[branch];
}

static int judge_chunk(struct log_remover *t, size_t branch, const struct log_place *place,
                       struct tm_err *err)
{
    if (place->from >= t->first)
        return 0;
    int r = log_remover_listed(t, err);
    return r < 0 ? r : !is_listed(t, t->lineages->items[branch].record.id, place);
}

/* Where the chunk begins that holds the cut: what counts and begins before it ends there. Later records
 * are left aside: who planned before they were stored still reads what lies behind the cut. */
static int first_kept(struct log_remover *t, size_t branch, uint64_t *ret, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    struct log_lineage l = t->lineages->items[branch];
    struct log_entry entry = {.from = 0};
    uint64_t cut = t->cuts[branch];
    if (cut == UNNEEDED) {
        *ret = cut;
        return 0;
    }
    l.truncated = 0;
    int r = log_chain_open(t->scratches, t->log_st, t->scope, &l, cut, &chain, err);
    if (r == 0)
        r = log_chain_next(chain, &entry, err);
    if (r < 0)
        return r;
    *ret = r > 0 ? TM_MIN(cut, entry.from) : cut;
    return 0;
}

static int judge_index(struct log_remover *t, size_t branch, const struct log_place *place,
                       struct tm_err *err)
{
    const struct lineage *l = &t->lineages->items[branch].record;
    struct codec_arena arena = {0};
    struct log_index root;
    struct tm_err bad;
    if (t->cuts[branch] == UNNEEDED)
        return 1;
    struct rel_name rel = names_rel_log_index(l->id, place->from, place->epoch);
    int r = record_get(t->scratches[1], t->log_st, names_full(t->scope, rel.s).s, OBJECT_LOG_INDEX,
                       &log_index_codec, &arena, &root, &bad);
    codec_arena_release(&arena);
    if (r < 0 && bad.code != TM_E_NOT_FOUND && bad.code != TM_E_CORRUPT) {
        *err = bad;
        return r;
    }
    return r < 0 || root.to <= t->cuts[branch];
}

static int room_remove(struct log_remover *t, size_t branch, const char *room, enum name_kind kind,
                       removal_judge judge, struct removal *removal, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    const struct lineage *l = &t->lineages->items[branch].record;
    size_t base = strlen(names_full(t->scope, "").s);
    struct storage_object object;
    removal->count = 0;
    removal->counts = kind == NAME_CHUNK;
    int r = storage_list(t->log_st, names_log_prefix(t->scope, l->id, room).s, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) > 0) {
        struct name_parts parts = names_parse_rel(object.name + base);
        struct log_place place = {.from = parts.from, .epoch = parts.epoch};
        if (parts.kind != kind)
            continue;
        if (place.from >= t->cuts[branch])
            break;
        r = judge(t, branch, &place, err);
        if (r > 0)
            r = removal_add(removal, &object, err);
    }
    return r < 0 ? r : removal_flush(removal, err);
}

static int branch_remove(struct log_remover *t, size_t branch, struct removal *removal,
                         struct tm_err *err)
{
    int r = room_remove(t, branch, "chunk", NAME_CHUNK, judge_chunk, removal, err);
    if (r == 0)
        r = room_remove(t, branch, "index", NAME_LOG_INDEX, judge_index, removal, err);
    return r < 0 ? r : room_remove(t, branch, "mark", NAME_MARK, judge_mark, removal, err);
}

/* Where the chunk begins that holds the cut nobody can say of a damaged lineage. */
static int branch_try(struct log_remover *t, size_t branch, struct removal *removal,
                      struct tm_err *err)
{
    struct tm_err why;
    int r = first_kept(t, branch, &t->first, &why);
    if (r == 0)
        return branch_remove(t, branch, removal, err);
    if (why.code != TM_E_CORRUPT) {
        *err = why;
        return r;
    }
    if (!t->left)
        t->why = why;
    t->left = true;
    return 0;
}

int log_remover_run(struct log_remover *t, struct tm_err *err)
{
    TM_CLEANUP(freep)
    char(*names)[STORAGE_NAME_MAX + 1] = calloc(SWEEP_BATCH, sizeof(*names));
    struct removal removal = {.t = t, .names = names};
    int r = 0;
    if (names == NULL)
        return tm_err_oom(err);
    for (size_t i = 0; r == 0 && i < t->lineages->count; i++)
        r = t->cuts[i] == 0 ? 0 : branch_try(t, i, &removal, err);
    return r;
}

void log_remover_release(struct log_remover *t)
{
    free(t->listed);
    t->listed = NULL;
    t->listed_count = t->listed_cap = 0;
    t->listed_read = false;
}

/* ---- what is due ---- */

struct due {
    const struct log_lineages *lineages;
    uint64_t *cuts;
    uint64_t *later; /* of records whose grace is not over */
    int64_t *later_us;
    int64_t before_us; /* stored at or before: over */
};

static void due_add(void *arg, const struct truncation *record)
{
    struct due *d = arg;
    const struct log_lineage *l = log_lineages_find(d->lineages, record->lineage);
    if (l == NULL)
        return;
    size_t at = (size_t)(l - d->lineages->items);
    if (record->created_us <= d->before_us) {
        d->cuts[at] = TM_MAX(d->cuts[at], record->from);
    } else if (record->from > d->later[at]) {
        d->later[at] = record->from;
        d->later_us[at] = record->created_us;
    }
}

/* When to come again: some record takes more than what is due. Of several of one lineage the last. */
static int64_t due_next(const struct due *d, int64_t grace_us)
{
    int64_t next_us = 0;
    for (size_t i = 0; i < d->lineages->count; i++) {
        int64_t us = d->later_us[i] + grace_us;
        if (d->later[i] > d->cuts[i] && (next_us == 0 || us < next_us))
            next_us = us;
    }
    return next_us;
}

int log_remover_due(struct log_remover *t, int64_t now_us, int64_t grace_us, int64_t *ret_next_us,
                    struct tm_err *err)
{
    size_t count = t->lineages->count + 1;
    TM_CLEANUP(freep) uint64_t *cuts = calloc(count, sizeof(*cuts));
    TM_CLEANUP(freep) uint64_t *later = calloc(count, sizeof(*later));
    TM_CLEANUP(freep) int64_t *later_us = calloc(count, sizeof(*later_us));
    struct due due = {.lineages = t->lineages,
                      .cuts = cuts,
                      .later = later,
                      .later_us = later_us,
                      .before_us = now_us - grace_us};
    if (cuts == NULL || later == NULL || later_us == NULL)
        return tm_err_oom(err);
    int r = log_truncations_each(t->scratches[0], t->log_st, t->scope, due_add, &due, err);
    if (r < 0)
        return r;
    t->cuts = cuts;
    r = log_remover_run(t, err);
    t->cuts = NULL;
    if (r == 0)
        *ret_next_us = due_next(&due, grace_us);
    return r;
}

int log_truncate_sweep(struct object_scratch *scratches[3], struct storage *log_st,
                       struct storage *backup_st, const struct repo_scope *scope, int64_t now_us,
                       int64_t grace_us, int64_t *ret_next_us, struct tm_err *err)
{
    TM_CLEANUP(log_lineages_release) struct log_lineages lineages = LOG_LINEAGES_INIT;
    struct log_remover remover = {.scratches = scratches,
                                  .log_st = log_st,
                                  .backup_st = backup_st,
                                  .scope = scope,
                                  .lineages = &lineages,
                                  .now_us = now_us};
    TM_CLEANUP(log_damages_release) struct log_damages ignored = LOG_DAMAGES_INIT;
    int r = log_lineages_look(scratches[0], log_st, scope, &lineages, &ignored, err);
    if (r == 0)
        r = log_remover_due(&remover, now_us, grace_us, ret_next_us, err);
    log_remover_release(&remover);
    if (r == 0 && remover.left)
        r = tm_err_set(err, TM_E_CORRUPT, "log of a damaged lineage is left: %s", remover.why.msg);
    return r;
}
