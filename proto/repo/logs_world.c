/*
 * What storage holds of one incarnation, as pieces: each lineage's unbroken runs with the time that
 * is proven at their ends, each committed backup with the runs that go on from it, and the ways
 * between them. Happy path: chains are walked by whole roll-ups, cut only where a child forks.
 * Failure modes: a backup whose manifest is damaged leads nowhere and is left out; what cannot be
 * read is an error, but for another storage of backups, of which then counts what is known.
 *
 * The proven time of a run's end is that of its newest mark, or lies just before its newest commit:
 * with a commit of time T stored, every moment before T can be told from it.
 */
#include "proto/format/stream.h"

#include "common/array.h"
#include "proto/repo/logs_internal.h"

/* ---- runs ---- */

size_t log_branch_run(const struct log_branch *branch, uint64_t at)
{
    for (size_t i = 0; i < branch->run_count; i++) {
        if (branch->runs[i].from <= at && at <= branch->runs[i].to)
            return i;
    }
    return SIZE_MAX;
}

size_t log_world_current(const struct log_world *w)
{
    size_t current = SIZE_MAX;
    for (size_t i = 0; i < w->lineages.count; i++) {
        if (current == SIZE_MAX ||
            epoch_cmp(w->branches[i].writer, w->branches[current].writer) >= 0)
            current = i;
    }
    return current;
}

static int run_add(struct log_branch *b, const struct log_entry *e, struct tm_err *err)
{
    if (b->run_count > 0 && b->runs[b->run_count - 1].to == e->from) {
        b->runs[b->run_count - 1].to = e->to;
        return 0;
    }
    if (b->run_count == LOGS_RUNS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u gaps in one lineage", LOGS_RUNS_MAX);
    if (ARRAY_ROOM(b->runs, b->run_count, b->run_cap, 4, err) < 0)
        return -(int)err->code;
    b->runs[b->run_count++] = (struct log_run){.from = e->from, .to = e->to};
    return 0;
}

/* A moment that is proven up to byte `to`: for runs and for forks. */
struct proof {
    uint64_t from;
    uint64_t to;
    int64_t *us;
    bool marked;
    struct log_place mark;
};
struct proofs {
    struct proof *items;
    size_t count;
    uint64_t end; /* of all that is there */
    bool is_ahead;
    struct log_place ahead; /* the last mark behind the end, of a writer that began before it */
};

static void proofs_release(struct proofs *p)
{
    free(p->items);
}

/* What an entry proves to all that reach its end, or its mark. */
static int64_t entry_proves(const struct log_entry *e, uint64_t to)
{
    int64_t us = e->max_us != 0 && e->to <= to ? e->max_us - 1 : 0;
    return e->mark_at <= TM_MIN(e->to, to) ? TM_MAX(us, e->mark_us) : us;
}

static int forks_of(struct log_world *w, size_t parent, uint64_t **ret, size_t *ret_count,
                    struct tm_err *err)
{
    size_t count = 0;
    uint64_t *forks = calloc(w->lineages.count + 1, sizeof(*forks));
    if (forks == NULL)
        return tm_err_oom(err);
    for (size_t i = 0; i < w->lineages.count; i++) {
        if (w->branches[i].parent == parent)
            forks[count++] = w->branches[i].lineage->record.fork;
    }
    *ret = forks;
    *ret_count = count;
    return 0;
}

static int branch_walk(struct object_scratch *scratches[3], struct storage *st,
                       const struct repo_scope *scope, struct log_world *w, size_t at,
                       struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    TM_CLEANUP(freep) uint64_t *forks = NULL;
    struct log_branch *b = &w->branches[at];
    struct log_entry e = {.from = 0};
    size_t fork_count = 0;
    int r = forks_of(w, at, &forks, &fork_count, err);
    if (r == 0)
        r = log_chain_open(scratches, st, scope, b->lineage, 0, &chain, err);
    if (r < 0)
        return r;
    const struct log_fence *fence = log_chain_fence(chain);
    if (fence->count > 0)
        b->writer = fence->epochs[fence->count - 1];
    log_chain_cuts(chain, forks, fork_count);
    while ((r = log_chain_next_stretch(chain, &e, err)) > 0) {
        r = run_add(b, &e, err);
        if (r < 0)
            return r;
        struct log_run *run = &b->runs[b->run_count - 1];
        run->end_us = TM_MAX(run->end_us, entry_proves(&e, run->to));
        for (size_t i = 0; fork_count > 0 && i < w->lineages.count; i++) {
            struct log_branch *child = &w->branches[i];
            uint64_t fork = child->lineage->record.fork;
            if (child->parent == at && fork >= e.from)
                child->fork_us = TM_MAX(child->fork_us, entry_proves(&e, fork));
        }
    }
    return r;
}

/* ---- marks ---- */

static int proofs_of(struct log_world *w, size_t at, struct proofs *ret, struct tm_err *err)
{
    struct log_branch *b = &w->branches[at];
    ret->items = calloc(b->run_count + w->lineages.count + 1, sizeof(*ret->items));
    if (ret->items == NULL)
        return tm_err_oom(err);
    ret->end = TM_MAX(b->lineage->record.from, b->lineage->truncated);
    if (b->run_count > 0)
        ret->end = TM_MAX(ret->end, b->runs[b->run_count - 1].to);
    for (size_t i = 0; i < b->run_count; i++)
        ret->items[ret->count++] =
            (struct proof){.from = b->runs[i].from, .to = b->runs[i].to, .us = &b->runs[i].end_us};
    for (size_t i = 0; i < w->lineages.count; i++) {
        struct log_branch *child = &w->branches[i];
        uint64_t fork = child->lineage->record.fork;
        size_t run = child->parent == at ? log_branch_run(b, fork) : SIZE_MAX;
        if (run != SIZE_MAX)
            ret->items[ret->count++] =
                (struct proof){.from = b->runs[run].from, .to = fork, .us = &child->fork_us};
    }
    return 0;
}

static int marks_list(struct object_scratch *scratch, struct storage *st,
                      const struct repo_scope *scope, const uint8_t lineage[16], struct proofs *p,
                      struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    TM_CLEANUP(log_fence_release) struct log_fence fence = LOG_FENCE_INIT;
    struct log_place place;
    int r = log_fence_read(scratch, st, scope, lineage, &fence, err);
    for (size_t i = 0; i < p->count; i++)
        p->items[i].marked = false;
    p->is_ahead = false;
    if (r == 0)
        r = storage_list(st, names_log_prefix(scope, lineage, "mark").s, NULL, &it, err);
    while (r >= 0 && (r = log_room_next(it, scope, NAME_MARK, &place, err)) > 0) {
        if (place.from > log_fence_limit(&fence, place.epoch))
            continue;
        if (place.from > p->end && place.from > log_fence_from(&fence, place.epoch)) {
            p->ahead = place;
            p->is_ahead = true;
        }
        for (size_t i = 0; i < p->count; i++) {
            if (place.from >= p->items[i].from && place.from <= p->items[i].to) {
                p->items[i].mark = place;
                p->items[i].marked = true;
            }
        }
    }
    return r;
}

/* 1 = one was gone. */
static int marks_read(struct object_scratch *scratch, struct storage *st,
                      const struct repo_scope *scope, const uint8_t lineage[16], struct proofs *p,
                      struct tm_err *err)
{
    bool gone = false;
    for (size_t i = 0; i < p->count; i++) {
        struct log_mark mark = {.at = 0};
        if (!p->items[i].marked)
            continue;
        int r = log_mark_read(scratch, st, scope, lineage, &p->items[i].mark, &mark, err);
        if (r < 0 && err->code == TM_E_NOT_FOUND)
            gone = true;
        else if (r < 0 && err->code != TM_E_CORRUPT) /* a damaged one proves nothing */
            return r;
        else if (r == 0 && mark.at <= p->items[i].to)
            *p->items[i].us = TM_MAX(*p->items[i].us, mark.time_us);
    }
    return gone;
}

/* A mark tells of more than is there: unless that was stored meanwhile, the newest chunks are gone. No later
 * one names them, so nothing else shows it. */
static int end_check(struct object_scratch *scratches[3], struct storage *st,
                     const struct repo_scope *scope, struct log_world *w, size_t at,
                     const struct proofs *p, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_branch *b = &w->branches[at];
    const uint8_t *id = b->lineage->record.id;
    struct log_mark mark = {.at = 0};
    struct log_entry e = {.from = 0};
    struct tm_err why;
    int r = log_mark_read(scratches[0], st, scope, id, &p->ahead, &mark, &why);
    if (r < 0 && why.code != TM_E_NOT_FOUND && why.code != TM_E_CORRUPT) {
        *err = why;
        return r;
    }
    if (r < 0 || mark.at <= p->end)
        return 0;
    r = log_chain_open(scratches, st, scope, b->lineage, p->end, &chain, err);
    if (r == 0)
        r = log_chain_next(chain, &e, err);
    if (r != 0)
        return r < 0 ? r : 0;
    return log_damages_lost(&w->damages, id, p->end, mark.at, b->writer, err);
}

static int branch_marks(struct object_scratch *scratches[3], struct storage *st,
                        const struct repo_scope *scope, struct log_world *w, size_t at,
                        struct tm_err *err)
{
    TM_CLEANUP(proofs_release) struct proofs p = {.items = NULL};
    const uint8_t *id = w->branches[at].lineage->record.id;
    int r = proofs_of(w, at, &p, err);
    if (r < 0 || p.end == LOG_TRUNCATED_ALL)
        return r;
    for (int look = 0, gone = 1; gone > 0 && look < LOGS_MARK_LOOKS; look++) {
        r = marks_list(scratches[0], st, scope, id, &p, err);
        if (r < 0)
            return r;
        gone = marks_read(scratches[0], st, scope, id, &p, err);
        if (gone < 0)
            return gone;
    }
    return p.is_ahead ? end_check(scratches, st, scope, w, at, &p, err) : 0;
}

/* Without its fence nobody knows what counts of a lineage. */
static int branch_try(struct object_scratch *scratches[3], struct storage *st,
                      const struct repo_scope *scope, struct log_world *w, size_t at,
                      struct tm_err *err)
{
    struct log_branch *b = &w->branches[at];
    const struct lineage *l = &b->lineage->record;
    struct tm_err why;
    int r = branch_walk(scratches, st, scope, w, at, &why);
    if (r == 0)
        return 0;
    if (why.code != TM_E_CORRUPT) {
        *err = why;
        return r;
    }
    b->damaged = true;
    b->run_count = 0;
    r = log_damages_add(&w->damages, st, scope, l->id, &why, err);
    if (r == 0 && w->damages.count > 0) {
        struct log_damage *damage = &w->damages.items[w->damages.count - 1];
        damage->from = b->parent != SIZE_MAX ? l->fork : l->from;
        b->writer = damage->writer;
    }
    return r;
}

static int branches_read(struct object_scratch *scratches[3], struct storage *st,
                         const struct repo_scope *scope, struct log_world *w, struct tm_err *err)
{
    w->branches = calloc(w->lineages.count + 1, sizeof(*w->branches));
    if (w->branches == NULL)
        return tm_err_oom(err);
    for (size_t i = 0; i < w->lineages.count; i++) {
        const struct log_lineage *parent =
            log_lineages_find(&w->lineages, w->lineages.items[i].record.parent);
        w->branches[i].lineage = &w->lineages.items[i];
        w->branches[i].parent = parent != NULL ? (size_t)(parent - w->lineages.items) : SIZE_MAX;
        if (w->branches[i].parent >= i)
            w->branches[i].parent = SIZE_MAX; /* a circle is nobody's parent */
    }
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->lineages.count; i++)
        r = branch_try(scratches, st, scope, w, i, err);
    for (size_t i = log_world_current(w); r == 0 && i != SIZE_MAX; i = w->branches[i].parent)
        w->branches[i].current = true;
    for (size_t i = 0; r == 0 && i < w->lineages.count; i++)
        r = w->branches[i].damaged ? 0 : branch_marks(scratches, st, scope, w, i, err);
    return r;
}

/* ---- backups ---- */

int log_world_add(struct log_world *w, const struct log_backup *backup, struct tm_err *err)
{
    if (ARRAY_ROOM(w->backups, w->backup_count, w->backup_cap, 16, err) < 0)
        return -(int)err->code;
    w->backups[w->backup_count++] = *backup;
    return 0;
}

/* What was acknowledged before its commit time lies before it: that is a mark, too. */
static void backup_proves(struct log_world *w, const struct log_backup *backup)
{
    if (backup->branch == SIZE_MAX || backup->run >= w->branches[backup->branch].run_count)
        return;
    struct log_run *run = &w->branches[backup->branch].runs[backup->run];
    run->end_us = TM_MAX(run->end_us, backup->point.from_us);
    for (size_t i = 0; i < w->lineages.count; i++) {
        struct log_branch *child = &w->branches[i];
        if (child->parent == backup->branch && backup->at <= child->lineage->record.fork &&
            child->lineage->record.fork <= run->to)
            child->fork_us = TM_MAX(child->fork_us, backup->point.from_us);
    }
}

static int by_commit(const void *a, const void *b)
{
    const struct log_backup *x = a;
    const struct log_backup *y = b;
    if (x->point.from_us != y->point.from_us)
        return x->point.from_us < y->point.from_us ? -1 : 1;
    int order = strcmp(x->point.backup_id, y->point.backup_id);
    return order != 0 ? order : (x->branch > y->branch) - (x->branch < y->branch);
}

static int backups_read(struct object_scratch *scratches[3], struct storage *log_st,
                        struct storage *backup_st, const struct repo_scope *scope,
                        struct log_joins *joins, struct log_world *w, bool *ret_log_failed,
                        bool *ret_empty, struct tm_err *err)
{
    TM_CLEANUP(backup_list_release) struct backup_list backups = BACKUP_LIST_INIT;
    log_joins_begin(joins);
    int r = catalog_backups(backup_st, scope, &backups, err);
    bool empty = true;
    for (size_t i = 0; r == 0 && i < backups.count; i++) {
        if (backups.items[i].state == BACKUP_COMMITTED)
            empty = false;
        if (backups.items[i].state == BACKUP_COMMITTED)
            r = log_join(scratches, log_st, backup_st, scope, backups.items[i].id, joins, w,
                         ret_log_failed, err);
    }
    if (r < 0)
        return r;
    log_joins_end(joins);
    *ret_empty = empty;
    return 0;
}

/* The log's own storage, or this process, could not: that says nothing of the other place. */
static bool is_of_whole(bool log_failed, const struct tm_err *why)
{
    return log_failed || log_is_own_trouble(why);
}

static int source_read(struct object_scratch *scratches[3], struct storage *log_st,
                       const struct repo_scope *scope, struct log_source *source,
                       struct log_world *w, struct tm_err *err)
{
    size_t before = w->backup_count;
    bool log_failed = false;
    int r = source->st == NULL ? -(int)source->why.code
                               : backups_read(scratches, log_st, source->st, scope, &source->known,
                                              w, &log_failed, &source->empty, &source->why);
    if (r < 0 && is_of_whole(log_failed, &source->why)) {
        *err = source->why;
        return r;
    }
    source->away = r < 0;
    source->was_read = source->was_read || r == 0;
    if (r == 0)
        return 0;
    w->backup_count = before;
    return log_join_known(&source->known, w, err);
}

int log_world_read(struct object_scratch *scratches[3], struct storage *log_st,
                   struct storage *backup_st, const struct repo_scope *scope,
                   struct log_joins *joins, struct log_world *ret, struct tm_err *err)
{
    return log_world_read_all(scratches, log_st, backup_st, scope, joins, NULL, 0, ret, err);
}

int log_world_read_all(struct object_scratch *scratches[3], struct storage *log_st,
                       struct storage *backup_st, const struct repo_scope *scope,
                       struct log_joins *joins, struct log_source *others, size_t other_count,
                       struct log_world *ret, struct tm_err *err)
{
    TM_CLEANUP(log_world_release) struct log_world w = LOG_WORLD_INIT;
    bool ignored = false; /* either is an error of the whole */
    int r = log_st != NULL
                ? log_lineages_look(scratches[0], log_st, scope, &w.lineages, &w.damages, err)
                : 0;
    if (r == 0)
        r = branches_read(scratches, log_st, scope, &w, err);
    if (r == 0)
        r = backups_read(scratches, log_st, backup_st, scope, joins, &w, &ignored, &ignored, err);
    for (size_t i = 0; r == 0 && i < other_count; i++)
        r = source_read(scratches, log_st, scope, &others[i], &w, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < w.backup_count; i++)
        backup_proves(&w, &w.backups[i]);
    if (w.backup_count > 0)
        qsort(w.backups, w.backup_count, sizeof(w.backups[0]), by_commit);
    *ret = w;
    w = LOG_WORLD_INIT;
    return 0;
}

void log_world_release(struct log_world *w)
{
    for (size_t i = 0; w->branches != NULL && i < w->lineages.count; i++)
        free(w->branches[i].runs);
    free(w->branches);
    free(w->backups);
    log_lineages_release(&w->lineages);
    log_damages_release(&w->damages);
    *w = LOG_WORLD_INIT;
}

/* ---- ways ---- */

void log_path_release(struct log_path *path)
{
    free(path->legs);
    *path = LOG_PATH_INIT;
}

/* The branches from the backup's to the one that is wanted, top first: their number, 0 = none. */
static size_t branches_between(const struct log_world *w, size_t top, size_t bottom, size_t *ret)
{
    size_t count = 0;
    for (size_t i = bottom; i != SIZE_MAX; i = w->branches[i].parent) {
        ret[count++] = i;
        if (i != top)
            continue;
        for (size_t k = 0; k < count / 2; k++) {
            size_t other = ret[k];
            ret[k] = ret[count - 1 - k];
            ret[count - 1 - k] = other;
        }
        return count;
    }
    return 0;
}

int log_path_find(const struct log_world *w, const struct log_backup *backup, size_t branch,
                  struct log_path *ret, struct tm_err *err)
{
    TM_CLEANUP(freep) size_t *way = calloc(w->lineages.count + 1, sizeof(*way));
    struct log_path path = {.legs = calloc(w->lineages.count + 1, sizeof(*path.legs))};
    if (way == NULL || path.legs == NULL) {
        log_path_release(&path);
        return tm_err_oom(err);
    }
    size_t count =
        backup->branch == SIZE_MAX ? 0 : branches_between(w, backup->branch, branch, way);
    uint64_t at = backup->at;
    for (size_t i = 0; i < count; i++) {
        const struct log_branch *b = &w->branches[way[i]];
        const struct log_branch *next = i + 1 < count ? &w->branches[way[i + 1]] : NULL;
        size_t run = log_branch_run(b, at);
        if (run == SIZE_MAX)
            break; /* what lies behind the fork is missing */
        struct log_leg *leg = &path.legs[path.count];
        *leg = (struct log_leg){
            .branch = way[i], .from = at, .to = b->runs[run].to, .end_us = b->runs[run].end_us};
        uint64_t fork = next != NULL ? next->lineage->record.fork : 0;
        if (next != NULL && fork < at) { /* the backup lies on a tail that was left behind */
            path.count = 0;
            break;
        }
        path.count++;
        path.complete = next == NULL;
        if (next != NULL && fork > leg->to)
            break;
        if (next != NULL) {
            leg->to = fork;
            leg->end_us = next->fork_us;
            at = fork;
        }
    }
    *ret = path;
    return 0;
}
