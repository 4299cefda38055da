/*
 * The chunks of a plan, and what to say when there is none. Happy path: each leg's chunks from the
 * start of a segment on, adjacent up to where the leg or the target ends; every chunk is there with
 * the size it was stored with. Failure modes: a hole where none may be, or a chunk that only a
 * roll-up still tells of, is TM_E_CORRUPT and named.
 */
#include "common/clock.h"
#include "proto/repo/target_internal.h"

/* ---- pieces ---- */

static int piece_add(struct target_plan *plan, size_t *cap, const struct target_piece *piece,
                     struct tm_err *err)
{
    if (plan->piece_count == TARGET_PIECES_MAX)
        return tm_err_set(err, TM_E_LIMIT,
                          "the target needs more than %u chunks of log: a newer "
                          "full backup makes it less",
                          TARGET_PIECES_MAX);
    if (plan->piece_count == *cap) {
        size_t more = *cap == 0 ? 64 : *cap + *cap / 2;
        struct target_piece *bigger = realloc(plan->pieces, more * sizeof(*bigger));
        if (bigger == NULL)
            return tm_err_oom(err);
        plan->pieces = bigger;
        *cap = more;
    }
    plan->pieces[plan->piece_count++] = *piece;
    plan->log_bytes += piece->to - piece->from;
    return 0;
}

int path_chunk_lost(struct planner *p, const struct log_ref *ref, const char *what,
                    struct tm_err *err)
{
    char from[FORMAT_POSITION_MAX];
    char to[FORMAT_POSITION_MAX];
    p->engine->positions.text(ref->from, from);
    p->engine->positions.text(ref->to, to);
    return tm_err_set(err, TM_E_CORRUPT, "log object '%s' %s: the log from %s to %s is lost",
                      ref->object, what, from, to);
}

static int piece_there(struct planner *p, const struct lineage *lineage,
                       const struct log_entry *entry, struct tm_err *err)
{
    struct storage_object object;
    struct log_ref ref;
    log_entry_ref(lineage, entry, &ref);
    int r = storage_stat(p->log_st, names_full(p->scope, ref.object).s, &object, err);
    if (r < 0)
        return err->code == TM_E_NOT_FOUND ? path_chunk_lost(p, &ref, "is missing", err) : r;
    return object.size_bytes == entry->stored_bytes
               ? 0
               : path_chunk_lost(p, &ref, "has another size than it was stored with", err);
}

static int leg_hole(struct planner *p, uint64_t from, uint64_t to, struct tm_err *err)
{
    char from_text[FORMAT_POSITION_MAX];
    char to_text[FORMAT_POSITION_MAX];
    p->engine->positions.text(from, from_text);
    p->engine->positions.text(to, to_text);
    return tm_err_set(err, TM_E_CORRUPT, "the log from %s to %s is missing", from_text, to_text);
}

static int leg_pieces(struct planner *p, size_t leg, struct target_plan *plan, size_t *cap,
                      struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_leg *l = &p->path.legs[leg];
    const struct log_lineage *lineage = p->world.branches[l->branch].lineage;
    uint64_t until = leg == p->stop_leg ? p->log_to : l->to;
    uint64_t at = 0;
    struct log_entry e = {.from = 0};
    int r = path_segment(p, leg, l->from, &at, err);
    if (r == 0)
        r = log_chain_open(p->scratches, p->log_st, p->scope, lineage, at, &chain, err);
    while (r >= 0 && at < until && (r = log_chain_next(chain, &e, err)) > 0) {
        struct target_piece piece = {.from = e.from,
                                     .to = e.to,
                                     .until = TM_MIN(e.to, until),
                                     .stored_bytes = e.stored_bytes,
                                     .term = e.term,
                                     .counter = e.counter,
                                     .branch = (uint32_t)leg};
        memcpy(piece.digest, e.digest, sizeof(piece.digest));
        if (e.from > at)
            return leg_hole(p, at, e.from, err);
        r = piece_there(p, &lineage->record, &e, err);
        if (r == 0)
            r = piece_add(plan, cap, &piece, err);
        at = e.to;
    }
    return r < 0 ? r : at < until ? leg_hole(p, at, until, err) : 0;
}

int target_pieces(struct planner *p, struct target_plan *plan, struct tm_err *err)
{
    size_t count = p->stop_leg + 1;
    size_t cap = 0;
    int r = 0;
    plan->labels = calloc(count, sizeof(*plan->labels));
    plan->histories = calloc(count, sizeof(*plan->histories));
    plan->lineages = calloc(count, sizeof(*plan->lineages));
    if (plan->labels == NULL || plan->histories == NULL || plan->lineages == NULL)
        return tm_err_oom(err);
    plan->label_count = count;
    for (size_t i = 0; r == 0 && i < count; i++) {
        const struct lineage *l = &p->world.branches[p->path.legs[i].branch].lineage->record;
        memcpy(plan->labels[i], l->label, sizeof(l->label));
        memcpy(plan->lineages[i], l->id, sizeof(l->id));
        r = codec_arena_bytes(&plan->arena, l->history, &plan->histories[i], err);
        if (r == 0)
            r = leg_pieces(p, i, plan, &cap, err);
    }
    return r;
}

/* ---- what to say ---- */

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

static int missing_event(struct planner *p, const char *backup_id, const char *source,
                         const struct recoverable_list *list, struct tm_err *err)
{
    char what[EVENT_NAME_MAX + 32];
    char from[CLOCK_TEXT_MAX];
    char to[CLOCK_TEXT_MAX];
    const struct recoverable *first = NULL;
    const struct recoverable *last = NULL;
    if (p->target->kind == TARGET_XID)
        (void)snprintf(what, sizeof(what), "transaction %llu", (unsigned long long)p->target->xid);
    else
        (void)snprintf(what, sizeof(what), "point '%.*s'", EVENT_NAME_MAX, p->target->text);
    for (size_t i = 0; i < list->count; i++) {
        const struct recoverable *r = &list->items[i];
        if (!shown_to(p, backup_id, r))
            continue;
        first = first == NULL || r->from_us < first->from_us ? r : first;
        last = last == NULL || r->to_us > last->to_us ? r : last;
    }
    if (first == NULL)
        return tm_err_set(err, TM_E_NOT_FOUND, "no backup and log lead to %s", what);
    return tm_err_set(err, TM_E_NOT_FOUND,
                      "there is no %s in what can be had%s, from %s (%s) to %s (%s)", what, source,
                      clock_format(first->from_us, from), first->from_position,
                      clock_format(last->to_us, to), last->to_position);
}

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
    return missing_place(p, source, &n, err);
}
