/*
 * Orphans of a committed backup. Happy path: all ranges are read, which proves the chain, and the epoch of
 * each is kept → data is listed in order of range and epoch, and what is not the winner goes →
 * checkpoints go that have not the segments' epoch. Failure modes: those of reading and listing; nothing
 * has been removed when the chain does not prove whole. Memory: 12 bytes a range, one batch of names.
 */
#include "proto/repo/orphans.h"

#include "common/array.h"
#include "proto/repo/ranges.h"

struct winners {
    struct epoch *epochs; /* by range */
    size_t count;
    size_t cap;
    struct epoch segments;
    bool has_segments;
};

static int read_winners(struct object_scratch *first, struct object_scratch *second,
                        struct storage *st, const struct repo_scope *scope, const char *backup_id,
                        struct winners *w, struct tm_err *err)
{
    struct backup_ranges br;
    struct segment_range range;
    int r = backup_ranges_open(&br, first, second, st, scope, backup_id, err);
    if (r < 0)
        return r;
    while ((r = backup_ranges_next(&br, &range, err)) == 1) {
        if (ARRAY_ROOM(w->epochs, w->count, w->cap, 1024, err) < 0) {
            r = -(int)err->code;
            break;
        }
        if (!w->has_segments) {
            w->segments = names_parse_rel(br.current.object).epoch;
            w->has_segments = true;
        }
        if (range.index != w->count) {
            r = tm_err_set(err, TM_E_CORRUPT, "backup '%s': range %u comes where %zu was due",
                           backup_id, range.index, w->count);
            break;
        }
        w->epochs[w->count++] = (struct epoch){range.term, range.counter};
    }
    backup_ranges_release(&br);
    return r;
}

static bool is_orphan(void *arg, const struct name_parts *parts)
{
    const struct winners *w = arg;
    if (parts->kind == NAME_CHECKPOINT)
        return w->has_segments && epoch_cmp(parts->epoch, w->segments) != 0;
    return parts->kind == NAME_DATA && parts->number < w->count &&
           epoch_cmp(parts->epoch, w->epochs[parts->number]) != 0;
}

int backup_sweep_orphans(struct object_scratch *first, struct object_scratch *second,
                         struct storage *st, const struct repo_scope *scope, const char *backup_id,
                         struct sweep_totals *ret, struct tm_err *err)
{
    enum backup_state state = BACKUP_UNFINISHED;
    struct sweep_totals totals = {.removed = 0};
    struct winners w = {.epochs = NULL};
    int r = catalog_backup_state(st, scope, backup_id, &state, err);
    if (r == 0 && state != BACKUP_COMMITTED)
        r = tm_err_set(err, TM_E_REFUSED, "backup '%s' is not committed", backup_id);
    if (r == 0)
        r = read_winners(first, second, st, scope, backup_id, &w, err);
    if (r == 0)
        r = sweep_below(st, scope, backup_id, "data/", is_orphan, &w, &totals, err);
    if (r == 0)
        r = sweep_below(st, scope, backup_id, "checkpoint/", is_orphan, &w, &totals, err);
    free(w.epochs);
    if (r < 0)
        return tm_err_prefix(err, "orphans");
    *ret = totals;
    return 0;
}
