/*
 * Looking along a path. Happy path: each leg's chain is walked by whole roll-ups; one that may hold
 * what is looked for is walked again chunk by chunk, and a chunk that may is opened. Failure modes:
 * a chunk that cannot be read where it matters is an error that names it.
 */
#include "proto/repo/target_internal.h"

/* ---- events ---- */

static int scan_section(struct planner *p, const struct path_scan *scan, size_t leg,
                        struct slice section, struct tm_err *err)
{
    const struct log_leg *l = &p->path.legs[leg];
    struct events_reader reader;
    struct log_point event;
    int r = events_reader_init(&reader, section, err);
    while (r >= 0 && (r = events_reader_next(&reader, &event, err)) > 0) {
        if (event.at < l->from || event.at >= l->to || event.at >= scan->until)
            continue;
        r = scan->event(scan->arg, leg, &event, err);
        if (r > 0)
            return 1;
    }
    return r;
}

static int scan_chunk(struct planner *p, const struct path_scan *scan, size_t leg,
                      const struct log_entry *entry, struct tm_err *err)
{
    const struct lineage *lineage = &p->world.branches[p->path.legs[leg].branch].lineage->record;
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct slice section = SLICE_EMPTY;
    struct log_ref ref;
    log_entry_ref(lineage, entry, &ref);
    int r = chunk_reader_open(&cr, p->scratches[2], p->log_st, names_full(p->scope, ref.object).s,
                              &ref, err);
    if (r == 0)
        r = chunk_reader_section(&cr, OBJECT_SECTION_EVENTS, &section, err);
    if (r == 0 && entry->events != 0) /* to pass over them would stop at another moment */
        r = tm_err_set(err, TM_E_CORRUPT, "its events are missing");
    if (r > 0)
        r = scan_section(p, scan, leg, section, err);
    chunk_reader_release(&cr);
    if (r < 0 && err->code == TM_E_NOT_FOUND)
        return path_chunk_lost(p, &ref, "is missing", err);
    return r < 0 && err->code == TM_E_CORRUPT ? path_chunk_lost(p, &ref, "is damaged", err) : r;
}

/* No event that begins before `until` is told of behind this entry: one that lies across two chunks is
 * told of in the second. */
static bool scan_over(const struct path_scan *scan, const struct log_entry *entry)
{
    return entry->last_record >= scan->until;
}

/* The chunks of the leg from `from` to `to`. */
static int scan_chunks(struct planner *p, const struct path_scan *scan, size_t leg, uint64_t from,
                       uint64_t to, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_branch *b = &p->world.branches[p->path.legs[leg].branch];
    struct log_entry entry = {.from = 0};
    int r = log_chain_open(p->scratches, p->log_st, p->scope, b->lineage, from, &chain, err);
    while (r >= 0 && (r = log_chain_next(chain, &entry, err)) > 0 && entry.from < to) {
        r = scan->wanted(scan->arg, &entry) ? scan_chunk(p, scan, leg, &entry, err) : 0;
        if (r > 0)
            return 1;
        if (r == 0 && scan_over(scan, &entry))
            break;
    }
    return r < 0 ? r : 0;
}

static int scan_leg(struct planner *p, const struct path_scan *scan, size_t leg, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_leg *l = &p->path.legs[leg];
    const struct log_branch *b = &p->world.branches[l->branch];
    struct log_entry entry = {.from = 0};
    int r = log_chain_open(p->scratches, p->log_st, p->scope, b->lineage, l->from, &chain, err);
    while (r >= 0 && (r = log_chain_next_stretch(chain, &entry, err)) > 0 && entry.from < l->to) {
        if (scan->wanted(scan->arg, &entry))
            r = log_chain_was_stretch(chain)
                    ? scan_chunks(p, scan, leg, TM_MAX(entry.from, l->from),
                                  TM_MIN(entry.to, l->to), err)
                    : scan_chunk(p, scan, leg, &entry, err);
        else
            r = 0;
        if (r > 0)
            return 1;
        if (r == 0 && scan_over(scan, &entry))
            break;
    }
    return r < 0 ? r : 0;
}

int path_scan(struct planner *p, const struct path_scan *scan, struct tm_err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->path.count && p->path.legs[i].from < scan->until; i++)
        r = scan_leg(p, scan, i, err);
    return r;
}

/* ---- records ---- */

/* The newest record before `limit` that an entry of the leg tells of. Exact when no later one is whole:
 * a record that begins at or before `limit` may end, and be told of, in an entry that begins behind. */
static int known_record(struct planner *p, size_t leg, uint64_t limit, struct log_entry *ret,
                        bool *ret_exact, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_leg *l = &p->path.legs[leg];
    const struct log_branch *b = &p->world.branches[l->branch];
    struct log_entry entry = {.from = 0};
    int r = log_chain_open(p->scratches, p->log_st, p->scope, b->lineage, l->from, &chain, err);
    if (r < 0)
        return r;
    log_chain_cuts(chain, &limit, 1);
    *ret_exact = true;
    while ((r = log_chain_next_stretch(chain, &entry, err)) > 0 && entry.from < l->to) {
        if (entry.last_record != 0 && entry.last_record < limit && entry.to <= l->to) {
            *ret = entry;
        } else if (entry.last_record >= limit || entry.to > l->to) {
            *ret_exact = false; /* the one that is wanted lies before the entry's last */
            break;
        }
    }
    return r < 0 ? r : 0;
}

struct record_source {
    const struct log_positions *positions;
    struct log_bytes bytes;
};

static int record_read(void *arg, uint64_t at, struct slice *ret, struct tm_err *err)
{
    struct record_source *s = arg;
    char from[FORMAT_POSITION_MAX];
    int r = log_bytes_fill(&s->bytes, at, err);
    if (r < 0 && err->code == TM_E_CORRUPT) {
        s->positions->text(at, from);
        return tm_err_prefix(err, "log from %s on is lost", from);
    }
    *ret = r > 0 ? s->bytes.piece : SLICE_EMPTY;
    return r < 0 ? r : 0;
}

static uint64_t segment_floor(const struct planner *p, uint64_t segment_bytes, size_t leg,
                              uint64_t at)
{
    const struct log_leg *l = &p->path.legs[leg];
    const struct log_branch *b = &p->world.branches[l->branch];
    uint64_t floor = segment_bytes != 0 ? at - at % segment_bytes : at;
    size_t run = log_branch_run(b, l->from);
    return run == SIZE_MAX ? floor : TM_MAX(floor, b->runs[run].from);
}

int path_segment(struct planner *p, size_t leg, uint64_t at, uint64_t *ret, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_branch *b = &p->world.branches[p->path.legs[leg].branch];
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct log_entry entry = {.from = 0};
    struct log_ref ref;
    if (b->lineage->record.segment_bytes != 0) {
        *ret = segment_floor(p, b->lineage->record.segment_bytes, leg, at);
        return 0;
    }
    /* where the log ends, the chunk before tells as well */
    int r = log_chain_open(p->scratches, p->log_st, p->scope, b->lineage, at > 0 ? at - 1 : 0,
                           &chain, err);
    if (r == 0)
        r = log_chain_next(chain, &entry, err);
    if (r == 0)
        return tm_err_set(err, TM_E_INTERNAL, "no log at %llu", (unsigned long long)at);
    if (r < 0)
        return r;
    log_entry_ref(&b->lineage->record, &entry, &ref);
    r = chunk_reader_open(&cr, p->scratches[2], p->log_st, names_full(p->scope, ref.object).s, &ref,
                          err);
    if (r == 0)
        *ret = segment_floor(p, cr.root.segment_bytes, leg, at);
    chunk_reader_release(&cr);
    return r;
}

/* Where the record that begins at `record` has surely ended. */
static int record_end(struct planner *p, size_t leg, uint64_t record, uint64_t *ret,
                      struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_leg *l = &p->path.legs[leg];
    struct log_entry entry = {.from = 0};
    int r = log_chain_open(p->scratches, p->log_st, p->scope, p->world.branches[l->branch].lineage,
                           record, &chain, err);
    *ret = l->to;
    while (r >= 0 && (r = log_chain_next(chain, &entry, err)) > 0 && entry.from < l->to) {
        if (entry.last_record < record)
            continue;
        *ret = TM_MIN(entry.to, l->to);
        break;
    }
    return r < 0 ? r : 0;
}

static int ask_engine(struct planner *p, size_t leg, uint64_t near, uint64_t limit, bool before,
                      uint64_t *ret, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_branch *b = &p->world.branches[p->path.legs[leg].branch];
    struct record_source source = {.bytes = {.scratch = p->scratches[2],
                                             .st = p->log_st,
                                             .scope = p->scope,
                                             .lineage = &b->lineage->record},
                                   .positions = &p->engine->positions};
    uint64_t from = 0;
    int r = path_segment(p, leg, near, &from, err);
    if (r == 0)
        r = log_chain_open(p->scratches, p->log_st, p->scope, b->lineage, from, &chain, err);
    source.bytes.chain = chain;
    if (r == 0)
        r = p->engine->last_record(p->engine->arg, b->lineage->record.facts,
                                   b->lineage->record.label, from, record_read, &source, limit,
                                   before, ret, err);
    log_bytes_release(&source.bytes);
    return r;
}

int path_last_record(struct planner *p, size_t leg, uint64_t limit, bool before,
                     uint64_t *ret_record, uint64_t *ret_end, struct tm_err *err)
{
    struct log_entry known = {.from = 0};
    bool exact = false;
    uint64_t end = 0;
    int r = known_record(p, leg, limit, &known, &exact, err);
    if (r < 0)
        return r;
    uint64_t record = known.last_record;
    if (!exact) {
        const struct log_leg *l = &p->path.legs[leg];
        r = ask_engine(p, leg, record != 0 ? record : l->from, limit, before, &record, err);
        if (r < 0 && err->code == TM_E_NOT_FOUND) {
            record = 0;
            r = 0;
        }
    }
    if (r == 0 && record != 0)
        r = record_end(p, leg, record, &end, err);
    if (r < 0)
        return r;
    *ret_record = record;
    *ret_end = end;
    return 0;
}
