/*
 * What to say when there is no plan. Happy path: the moments nearest to the target that can be had are
 * found among the intervals, and named; of log that does not lead on, the object that is in the way.
 * Failure modes: none but the storage's.
 */
#include <stdlib.h>

#include "common/clock.h"
#include "proto/repo/target_internal.h"
#include "proto/repo/verify.h"

#define INTERVALS_SHOWN 4
#define DAMAGE_LOOKS    256u /* objects that are read through to find the one to name */

/* ---- a moment ---- */

struct nearest {
    const struct recoverable *before; /* ends before the target, latest */
    const struct recoverable *after;  /* begins behind it, earliest */
};

static bool shown_to(const struct planner *p, const char *backup_id, const struct recoverable *r)
{
    if (p->target->has_lineage)
        return memcmp(r->lineage, p->target->lineage, 16) == 0;
    return backup_id != NULL || !r->abandoned;
}

/* -1 = the interval ends before the target, 1 = it begins behind it, 0 = neither is clear. */
static int interval_cmp(const struct planner *p, const struct recoverable *r, uint64_t at)
{
    uint64_t from = 0;
    uint64_t to = 0;
    struct tm_err ignored;
    if (p->target->kind == TARGET_TIME)
        return r->to_us < p->target->time_us ? -1 : r->from_us > p->target->time_us;
    if (p->engine->positions.parse(r->from_position, &from, &ignored) < 0 ||
        p->engine->positions.parse(r->to_position, &to, &ignored) < 0)
        return 0;
    return to < at ? -1 : from > at;
}

static struct nearest nearest_of(const struct planner *p, const char *backup_id,
                                 const struct recoverable_list *list, uint64_t at)
{
    struct nearest n = {.before = NULL};
    for (size_t i = 0; i < list->count; i++) {
        const struct recoverable *r = &list->items[i];
        int side = shown_to(p, backup_id, r) ? interval_cmp(p, r, at) : 0;
        if (side < 0 && (n.before == NULL || r->to_us > n.before->to_us))
            n.before = r;
        if (side > 0 && (n.after == NULL || r->from_us < n.after->from_us))
            n.after = r;
    }
    return n;
}

static int missing_place(struct planner *p, const char *source, const struct nearest *n,
                         struct tm_err *err)
{
    char what[FORMAT_POSITION_MAX + EVENT_NAME_MAX + 16];
    char end[CLOCK_TEXT_MAX] = "";
    char start[CLOCK_TEXT_MAX] = "";
    if (p->target->kind == TARGET_TIME)
        (void)clock_format(p->target->time_us, what);
    else
        (void)snprintf(what, sizeof(what), "position %s", p->target->text);
    if (n->before != NULL)
        (void)clock_format(n->before->to_us, end);
    if (n->after != NULL)
        (void)clock_format(n->after->from_us, start);
    if (n->before != NULL && n->after != NULL)
        return tm_err_set(err, TM_E_NOT_FOUND,
                          "%s lies in a gap: nothing can be had between %s (%s) and %s (%s)", what,
                          end, n->before->to_position, start, n->after->from_position);
    if (n->before != NULL)
        return tm_err_set(err, TM_E_NOT_FOUND,
                          "%s lies behind what is stored: the last moment that can be had%s is "
                          "%s (%s)",
                          what, source, end, n->before->to_position);
    if (n->after != NULL)
        return tm_err_set(err, TM_E_NOT_FOUND,
                          "%s lies before the first moment that can be had%s: %s (%s)", what,
                          source, start, n->after->from_position);
    return tm_err_set(err, TM_E_NOT_FOUND, "no backup and log lead to %s", what);
}

/* Whether log that is still to come may have the moment: it lies behind what is stored of the log that
 * is written. Before the first moment, and in front of log that is stored already, nothing is ever added. */
static bool may_come(const struct planner *p, const struct nearest *n)
{
    uint64_t end = 0;
    struct tm_err ignored;
    if (p->target->kind != TARGET_TIME || n->before == NULL || n->before->abandoned)
        return false;
    const struct log_lineage *l = log_lineages_find(&p->world.lineages, n->before->lineage);
    for (size_t i = 0; i < p->world.damages.count; i++) {
        if (memcmp(p->world.damages.items[i].lineage, n->before->lineage, 16) == 0)
            return false;
    }
    if (l == NULL)
        return true; /* a backup's own: a log task that began beside it has stored nothing yet */
    const struct log_branch *b = &p->world.branches[l - p->world.lineages.items];
    if (!b->current)
        return false;
    return b->run_count == 0 ||
           (p->engine->positions.parse(n->before->to_position, &end, &ignored) == 0 &&
            b->runs[b->run_count - 1].to <= end);
}

/* ---- a transaction or a name ---- */

static int by_time(const void *a, const void *b)
{
    const struct recoverable *x = a;
    const struct recoverable *y = b;
    return (x->from_us > y->from_us) - (x->from_us < y->from_us);
}

/* ", from … to …; from … to …": what is shown of the intervals, without what lies between them. */
static void intervals_text(struct planner *p, const char *backup_id, struct recoverable_list *list,
                           char *ret, size_t size)
{
    char from[CLOCK_TEXT_MAX];
    char to[CLOCK_TEXT_MAX];
    size_t count = 0;
    size_t used = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (shown_to(p, backup_id, &list->items[i]))
            list->items[count++] = list->items[i];
    }
    list->count = count;
    if (count > 0)
        qsort(list->items, count, sizeof(list->items[0]), by_time);
    size_t first = count > INTERVALS_SHOWN ? count - INTERVALS_SHOWN : 0;
    if (first > 0)
        used =
            (size_t)snprintf(ret, size, ", %zu earlier interval%s;", first, first == 1 ? "" : "s");
    for (size_t i = first; i < count && used < size; i++) {
        const struct recoverable *r = &list->items[i];
        used += (size_t)snprintf(ret + used, size - used, "%s from %s (%s) to %s (%s)",
                                 i == 0       ? ","
                                 : i == first ? ""
                                              : ";",
                                 clock_format(r->from_us, from), r->from_position,
                                 clock_format(r->to_us, to), r->to_position);
    }
}

static int missing_event(struct planner *p, const char *backup_id, const char *source,
                         struct recoverable_list *list, struct tm_err *err)
{
    char what[EVENT_NAME_MAX + 32];
    char intervals[INTERVALS_SHOWN * (2 * (CLOCK_TEXT_MAX + FORMAT_POSITION_MAX) + 16) + 64] = "";
    if (p->target->kind == TARGET_XID)
        (void)snprintf(what, sizeof(what), "transaction %llu", (unsigned long long)p->target->xid);
    else
        (void)snprintf(what, sizeof(what), "point '%.*s'", EVENT_NAME_MAX, p->target->text);
    intervals_text(p, backup_id, list, intervals, sizeof(intervals));
    if (list->count == 0)
        return tm_err_set(err, TM_E_NOT_FOUND, "no backup and log lead to %s", what);
    return tm_err_set(err, TM_E_NOT_FOUND, "there is no %s in what can be had%s%s", what, source,
                      intervals);
}

/* ---- the latest moment ---- */

/* Where the candidate's way ends; *ret_open: log of `branch` is stored that it does not lead to. */
static uint64_t way_end(const struct planner *p, size_t branch, bool *ret_open)
{
    const struct log_branch *b = &p->world.branches[branch];
    const struct log_run *last = &b->runs[b->run_count - 1];
    if (p->path.count == 0) { /* its place means nothing on another branch: the time does */
        *ret_open = last->end_us > p->backup->point.to_us;
        return p->backup->at;
    }
    const struct log_leg *leg = &p->path.legs[p->path.count - 1];
    *ret_open = leg->branch != branch || leg->to < last->to;
    return leg->to;
}

/* An object that is in the way. */
struct damage {
    char object[OBJECT_REF_NAME_MAX + 1]; /* "" = none that still lies there */
};

static bool not_whole(const struct tm_err *err)
{
    return err->code == TM_E_NOT_FOUND || err->code == TM_E_CORRUPT;
}

/* Among the chunks that begin in [from, limit), where none counts. */
static int damage_between(struct planner *p, size_t branch, uint64_t from, uint64_t limit,
                          struct damage *ret, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    const uint8_t *id = p->world.branches[branch].lineage->record.id;
    struct log_place place;
    unsigned looks = 0;
    int r = storage_list(p->log_st, names_log_prefix(p->scope, id, "chunk").s, NULL, &it, err);
    if (r == 0 && from > 0)
        r = storage_iter_skip(
            it, names_full(p->scope, names_rel_chunk(id, from - 1, (struct epoch){0, 0}).s).s, err);
    while (r >= 0 && looks < DAMAGE_LOOKS &&
           (r = log_room_next(it, p->scope, NAME_CHUNK, &place, err)) > 0 && place.from < limit) {
        struct chunk_reader cr = CHUNK_READER_INIT;
        struct rel_name name = names_rel_chunk(id, place.from, place.epoch);
        struct tm_err bad;
        if (place.from < from)
            continue;
        looks++;
        r = chunk_reader_open(&cr, p->scratches[2], p->log_st, names_full(p->scope, name.s).s, NULL,
                              &bad);
        chunk_reader_release(&cr);
        if (r < 0 && bad.code == TM_E_CORRUPT) {
            (void)snprintf(ret->object, sizeof(ret->object), "%s", name.s);
            return 0;
        }
        if (r < 0 && !not_whole(&bad)) {
            *err = bad;
            return r;
        }
        r = 0;
    }
    return r < 0 ? r : 0;
}

/* Reads the object through: 1 = it is the one. */
static int damage_in(struct planner *p, struct storage *st, const struct log_ref *ref,
                     struct damage *ret, struct tm_err *err)
{
    struct tm_err bad;
    int r = verify_log(p->scratches[2], st, p->scope, ref, &bad);
    if (r == 0)
        return 0;
    if (!not_whole(&bad)) {
        *err = bad;
        return r;
    }
    (void)snprintf(ret->object, sizeof(ret->object), "%s", ref->object);
    return 1;
}

/* In what the candidate's own log, which ends at `to`, was compared with. */
static int damage_at_join(struct planner *p, size_t branch, uint64_t to, struct damage *ret,
                          struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_lineage *l = p->world.branches[branch].lineage;
    const uint64_t at = p->backup->at;
    const uint64_t from = TM_MAX(p->backup->log_from, at - TM_MIN(at, LOGS_JOIN_BYTES));
    struct log_entry e = {.from = 0};
    struct log_ref ref;
    unsigned looks = 0;
    int r = log_chain_open(p->scratches, p->log_st, p->scope, l, from, &chain, err);
    while (r >= 0 && looks++ < DAMAGE_LOOKS && (r = log_chain_next(chain, &e, err)) > 0 &&
           e.from < to) {
        log_entry_ref(&l->record, &e, &ref);
        r = damage_in(p, p->log_st, &ref, ret, err);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    return r < 0 ? r : 0;
}

/* The same in the backup's own log. *ret_to is where that ends: behind where the backup is consistent, in the
 * segment that is stored to its end. */
static int damage_of_backup(struct planner *p, struct damage *ret, uint64_t *ret_to,
                            struct tm_err *err)
{
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct manifest_item item;
    const uint64_t to = p->backup->at;
    unsigned looks = 0;
    *ret_to = to;
    int r = manifest_reader_open(&mr, p->scratches[0], p->backup_st, p->scope,
                                 p->backup->point.backup_id, err);
    while (r >= 0 && looks < DAMAGE_LOOKS && (r = manifest_reader_next(&mr, &item, err)) > 0) {
        if (item.kind != MANIFEST_LOG || item.log.task ||
            item.log.to + TM_MIN(LOGS_JOIN_BYTES, to) <= to)
            continue;
        looks++;
        *ret_to = TM_MAX(*ret_to, item.log.to);
        r = damage_in(p, p->backup_st, &item.log, ret, err);
        if (r > 0)
            break;
    }
    manifest_reader_release(&mr);
    return r < 0 ? r : 0;
}

/* Which object keeps the candidate's way from going on; `next`: the run of `branch` it does not reach. */
static int damage_find(struct planner *p, size_t branch, size_t next, bool hole, struct damage *ret,
                       struct tm_err *err)
{
    const struct log_branch *b = &p->world.branches[branch];
    if (p->path.count > 0) {
        const struct log_leg *leg = &p->path.legs[p->path.count - 1];
        return damage_between(p, leg->branch, leg->to,
                              leg->branch == branch ? b->runs[next].from : UINT64_MAX, ret, err);
    }
    if (hole)
        return damage_between(p, branch, next > 0 ? b->runs[next - 1].to : 0, b->runs[next].from,
                              ret, err);
    uint64_t to = 0;
    int r = damage_of_backup(p, ret, &to, err);
    return r < 0 || ret->object[0] != '\0' ? r : damage_at_join(p, branch, to, ret, err);
}

int target_newest(struct planner *p, struct tm_err *err)
{
    char end_text[FORMAT_POSITION_MAX], from_text[FORMAT_POSITION_MAX];
    char newest_text[FORMAT_POSITION_MAX], us_text[CLOCK_TEXT_MAX];
    size_t branch = log_world_current(&p->world);
    struct damage damage = {.object = ""};
    bool open = false;
    int r = p->target->has_lineage ? target_lineage(p, &branch, err) : 0;
    if (r < 0)
        return r;
    if (branch == SIZE_MAX || p->world.branches[branch].run_count == 0)
        return 1;
    const struct log_branch *b = &p->world.branches[branch];
    uint64_t end = way_end(p, branch, &open);
    if (!open)
        return 1;
    size_t next = 0;
    while (next + 1 < b->run_count && b->runs[next].from <= end)
        next++;
    p->engine->positions.text(end, end_text);
    p->engine->positions.text(b->runs[next].from, from_text);
    p->engine->positions.text(b->runs[b->run_count - 1].to, newest_text);
    bool hole = b->runs[next].from > end; /* else stored bytes are not the backup's own */
    r = damage_find(p, branch, next, hole, &damage, err);
    if (r < 0)
        return r;
    const char *name = damage.object;
    return tm_err_set(err, TM_E_NOT_FOUND,
                      "log is stored up to %s, but no backup leads there, as log from %s %s%s is "
                      "missing or damaged%s%s%s: the last moment that can be had is %s (%s)",
                      newest_text, end_text, hole ? "to " : "on", hole ? from_text : "",
                      name[0] != '\0' ? " (log object '" : "", name, name[0] != '\0' ? "')" : "",
                      clock_format(target_end_us(p), us_text), end_text);
}

/* ---- all of them ---- */

int target_missing(struct planner *p, const char *backup_id, struct tm_err *err)
{
    TM_CLEANUP(recoverable_list_release) struct recoverable_list list = RECOVERABLE_LIST_INIT;
    char source[NAMES_BACKUP_ID_LEN + 20] = "";
    uint64_t at = 0;
    if (backup_id != NULL)
        (void)snprintf(source, sizeof(source), " from backup '%.*s'", NAMES_BACKUP_ID_LEN,
                       backup_id);
    int r = log_intervals(&p->world, backup_id, &p->engine->positions, &list, err);
    if (r == 0 && p->target->kind == TARGET_POSITION)
        r = p->engine->positions.parse(p->target->text, &at, err);
    if (r < 0)
        return r;
    if (p->target->kind == TARGET_XID || p->target->kind == TARGET_NAME)
        return missing_event(p, backup_id, source, &list, err);
    if (p->target->kind == TARGET_IMMEDIATE || p->target->kind == TARGET_LATEST)
        return tm_err_set(err, TM_E_NOT_FOUND,
                          p->target->has_lineage
                              ? "no backup leads to that lineage"
                              : "every backup lies on a lineage that the tenant left: name a "
                                "backup, or a lineage");
    struct nearest n = nearest_of(p, backup_id, &list, at);
    r = missing_place(p, source, &n, err);
    err->retryable = may_come(p, &n);
    return r;
}
