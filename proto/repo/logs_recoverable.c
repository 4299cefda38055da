/*
 * Intervals. Happy path: from every backup along the way to the lineage that is written as far as it is
 * unbroken; and what each lineage that can be reached stores beyond where the tenant left it, as
 * abandoned. Intervals that end alike are one, from the oldest backup on. Failure modes: none of its
 * own.
 */
#include "proto/repo/logs_internal.h"

#include "common/array.h"

struct interval {
    struct recoverable shown;
    size_t branch; /* it ends on; SIZE_MAX = of a backup without further log */
    uint64_t from;
    uint64_t to;
};

struct intervals {
    const struct log_world *w;
    const struct log_positions *positions;
    struct interval *items;
    size_t count;
    size_t cap;
};

static void intervals_release(struct intervals *all)
{
    free(all->items);
}

void recoverable_list_release(struct recoverable_list *list)
{
    free(list->items);
    log_damages_release(&list->damages);
    *list = RECOVERABLE_LIST_INIT;
}

static int interval_add(struct intervals *all, const struct interval *one, struct tm_err *err)
{
    for (size_t i = 0; one->branch != SIZE_MAX && i < all->count; i++) {
        struct interval *other = &all->items[i];
        if (other->branch != one->branch || other->to != one->to ||
            other->shown.abandoned != one->shown.abandoned)
            continue;
        if (one->from < other->from)
            *other = *one;
        return 0;
    }
    if (ARRAY_ROOM(all->items, all->count, all->cap, 16, err) < 0)
        return -(int)err->code;
    all->items[all->count++] = *one;
    return 0;
}

/* The backup's point, stretched to `to` on `branch`: from the first moment that log tells, if that is
 * proven; else it stays the backup's own. */
static struct interval interval_of(const struct intervals *all, const struct log_backup *backup,
                                   size_t branch, uint64_t to, int64_t to_us)
{
    const struct lineage *l = &all->w->branches[branch].lineage->record;
    struct interval one = {.shown = backup->point, .branch = branch, .from = backup->at, .to = to};
    memcpy(one.shown.lineage, l->id, sizeof(l->id));
    one.shown.settled_us = backup->settled_us;
    memcpy(one.shown.lineage_label, l->label, sizeof(l->label));
    if (to_us >= backup->settled_us) {
        one.shown.from_us = backup->settled_us;
        one.shown.to_us = to_us;
    }
    if (to > backup->at)
        all->positions->text(to, one.shown.to_position);
    return one;
}

/* Where the tenant left a branch: SIZE_MAX when it did not, `at` when it was never on it. */
static uint64_t left_at(const struct log_world *w, size_t branch, uint64_t at)
{
    if (!w->branches[branch].current)
        return at;
    for (size_t i = 0; i < w->lineages.count; i++) {
        if (w->branches[i].parent == branch && w->branches[i].current)
            return TM_MAX(at, w->branches[i].lineage->record.fork);
    }
    return UINT64_MAX;
}

/* What the branch stores behind where it was left. */
static int tail_add(struct intervals *all, const struct log_backup *backup, size_t branch,
                    struct tm_err *err)
{
    struct log_path path = LOG_PATH_INIT;
    int r = log_path_find(all->w, backup, branch, &path, err);
    if (r == 0 && path.count > 0 && path.complete) {
        const struct log_leg *leg = &path.legs[path.count - 1];
        uint64_t left = left_at(all->w, branch, leg->from);
        struct interval one = interval_of(all, backup, branch, leg->to, leg->end_us);
        one.shown.abandoned = true;
        one.from = left;
        if (left > backup->at && left < leg->to) {
            int64_t fork_us = all->w->branches[branch].fork_us;
            for (size_t i = 0; i < all->w->lineages.count; i++) {
                const struct log_branch *child = &all->w->branches[i];
                if (child->parent == branch && child->current)
                    fork_us = child->fork_us;
            }
            one.shown.from_us = TM_MAX(one.shown.from_us, fork_us);
            one.shown.to_us = TM_MAX(one.shown.from_us, one.shown.to_us);
            all->positions->text(left, one.shown.from_position);
        }
        if (left < leg->to)
            r = interval_add(all, &one, err);
    }
    log_path_release(&path);
    return r;
}

static int backup_add(struct intervals *all, const struct log_backup *backup, struct tm_err *err)
{
    const struct log_world *w = all->w;
    struct log_path path = LOG_PATH_INIT;
    struct interval point = {
        .shown = backup->point, .branch = SIZE_MAX, .from = backup->at, .to = backup->at};
    if (backup->branch == SIZE_MAX)
        return interval_add(all, &point, err);
    int r = log_path_find(w, backup, log_world_current(w), &path, err);
    if (r == 0 && path.count > 0) {
        const struct log_leg *last = &path.legs[path.count - 1];
        int64_t end_us = last->end_us;
        for (size_t i = 0; i < path.count; i++)
            end_us = TM_MAX(end_us, path.legs[i].end_us);
        struct interval one = interval_of(all, backup, last->branch, last->to, end_us);
        r = interval_add(all, &one, err);
    } else if (r == 0 && log_branch_run(&w->branches[backup->branch], backup->at) != SIZE_MAX &&
               w->branches[backup->branch].runs[backup->run].to == backup->at) {
        point.shown.abandoned = true; /* at the very end of a branch that was left */
        r = interval_add(all, &point, err);
    }
    log_path_release(&path);
    for (size_t i = backup->branch; r == 0 && i < w->lineages.count; i++)
        r = tail_add(all, backup, i, err);
    return r;
}

static int by_place(const void *a, const void *b)
{
    const struct interval *x = a;
    const struct interval *y = b;
    if (x->branch != y->branch)
        return x->branch + 1 < y->branch + 1 ? -1 : 1; /* points of their own first */
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return strcmp(x->shown.backup_id, y->shown.backup_id);
}

int log_intervals(const struct log_world *w, const char *only_backup,
                  const struct log_positions *positions, struct recoverable_list *ret,
                  struct tm_err *err)
{
    TM_CLEANUP(intervals_release) struct intervals all = {.w = w, .positions = positions};
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->backup_count; i++) {
        if (only_backup == NULL || strcmp(only_backup, w->backups[i].point.backup_id) == 0)
            r = backup_add(&all, &w->backups[i], err);
    }
    if (r < 0)
        return r;
    struct recoverable_list list = {.items = calloc(all.count + 1, sizeof(*list.items))};
    if (list.items == NULL)
        return tm_err_oom(err);
    if (all.count > 0)
        qsort(all.items, all.count, sizeof(all.items[0]), by_place);
    for (; list.count < all.count; list.count++)
        list.items[list.count] = all.items[list.count].shown;
    *ret = list;
    return 0;
}

int log_recoverable_known(struct object_scratch *scratches[3], struct storage *log_st,
                          struct storage *backup_st, const struct repo_scope *scope,
                          const struct log_positions *positions, struct log_joins *joins,
                          struct log_source *others, size_t other_count,
                          struct recoverable_list *ret, struct tm_err *err)
{
    TM_CLEANUP(log_world_release) struct log_world w = LOG_WORLD_INIT;
    int r = log_world_read_all(scratches, log_st, backup_st, scope, joins, others, other_count, &w,
                               err);
    if (r == 0)
        r = log_intervals(&w, NULL, positions, ret, err);
    if (r < 0)
        return r;
    ret->damages = w.damages;
    w.damages = LOG_DAMAGES_INIT;
    log_damages_say(&ret->damages, positions);
    return 0;
}

int log_recoverable(struct object_scratch *scratches[3], struct storage *log_st,
                    struct storage *backup_st, const struct repo_scope *scope,
                    const struct log_positions *positions, struct recoverable_list *ret,
                    struct tm_err *err)
{
    return log_recoverable_known(scratches, log_st, backup_st, scope, positions, NULL, NULL, 0, ret,
                                 err);
}
