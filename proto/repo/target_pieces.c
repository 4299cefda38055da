/*
 * The chunks of a plan. Happy path: each leg's chunks from the start of a segment on, adjacent up to
 * where the leg or the target ends; every chunk is there with the size it was stored with. Failure
 * modes: a hole where none may be, or a chunk that only a roll-up still tells of, is TM_E_CORRUPT and
 * named.
 */
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
