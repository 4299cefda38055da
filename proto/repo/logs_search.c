/*
 * Events in the stored log. Happy path: each lineage's chain is walked, chunks that may hold an
 * event that is looked for are opened and their event sections read. Failure modes: a chunk whose
 * bytes are not what the chain says is an error that names it. Whoever takes damages is told of such a lineage,
 * and of one that cannot be read at all, and searches the others.
 */
#include "proto/repo/logs_internal.h"

#define SEARCH_LIMIT 1000u
/* A chunk's times are those of its commits and aborts; named points and prepared transactions in
 * it are written in the same seconds, or days apart when the storage was away. */
#define SEARCH_SLACK_US (INT64_C(86400) * 1000000)

struct searcher {
    struct object_scratch **scratches;
    struct storage *st;
    const struct repo_scope *scope;
    const struct log_search *search;
    log_search_fn fn;
    void *arg;
    uint32_t left;
};

static bool entry_wanted(const struct log_search *s, const struct log_entry *e)
{
    if (e->events == 0)
        return false;
    if (e->max_us == 0) /* no commit: nothing says when */
        return true;
    return (s->from_us == 0 || e->max_us >= s->from_us - SEARCH_SLACK_US) &&
           (s->to_us == 0 || e->min_us <= s->to_us + SEARCH_SLACK_US);
}

static bool event_wanted(const struct log_search *s, const struct log_point *e)
{
    return (s->from_us == 0 || e->time_us >= s->from_us) &&
           (s->to_us == 0 || e->time_us <= s->to_us) && (s->xid == 0 || e->xid == s->xid) &&
           (s->name == NULL || strcmp(s->name, e->name) == 0) &&
           (!s->points_only || e->kind == EVENT_POINT);
}

/* 1 = the limit is reached. */
static int search_section(struct searcher *s, const struct lineage *lineage, uint64_t from,
                          struct slice section, struct tm_err *err)
{
    struct events_reader reader;
    struct log_point event;
    int r = events_reader_init(&reader, section, err);
    while (r >= 0 && (r = events_reader_next(&reader, &event, err)) > 0) {
        if (event.at < from || !event_wanted(s->search, &event))
            continue;
        if (s->left == 0)
            return 1;
        s->left--;
        r = s->fn(s->arg, lineage, &event, err);
    }
    return r;
}

static int search_chunk(struct searcher *s, const struct lineage *lineage, uint64_t from,
                        const struct log_entry *entry, struct tm_err *err)
{
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct slice section = SLICE_EMPTY;
    struct log_ref ref;
    log_entry_ref(lineage, entry, &ref);
    int r = chunk_reader_open(&cr, s->scratches[2], s->st, names_full(s->scope, ref.object).s, &ref,
                              err);
    if (r == 0)
        r = chunk_reader_section(&cr, OBJECT_SECTION_EVENTS, &section, err);
    if (r > 0)
        r = search_section(s, lineage, from, section, err);
    chunk_reader_release(&cr);
    return r;
}

/* A child stores the parent's bytes from the fork's segment on once more: they are not told twice. */
static int search_lineage(struct searcher *s, const struct log_lineages *all,
                          const struct log_lineage *lineage, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    struct log_entry entry = {.from = 0};
    uint64_t from = log_lineages_find(all, lineage->record.parent) ? lineage->record.fork : 0;
    int r = log_chain_open(s->scratches, s->st, s->scope, lineage, from, &chain, err);
    while (r >= 0 && (r = log_chain_next(chain, &entry, err)) > 0) {
        if (!entry_wanted(s->search, &entry))
            continue;
        if (s->search->go_on && (r = s->search->go_on(s->search->go_on_arg, err)) < 0)
            return r;
        r = search_chunk(s, &lineage->record, from, &entry, err);
        if (r > 0)
            return r;
    }
    return r;
}

/* The same; damage is told by name, where somebody listens. */
static int search_told(struct searcher *s, const struct log_lineages *all,
                       const struct log_lineage *lineage, struct tm_err *err)
{
    struct tm_err why;
    int r = search_lineage(s, all, lineage, &why);
    if (r >= 0)
        return r;
    if (why.code == TM_E_CORRUPT && s->search->damages != NULL)
        return log_damages_add(s->search->damages, s->st, s->scope, lineage->record.id, &why, err);
    *err = why;
    return r;
}

int log_search_run(struct object_scratch *scratches[3], struct storage *st,
                   const struct repo_scope *scope, const struct log_search *search,
                   log_search_fn fn, void *arg, struct tm_err *err)
{
    TM_CLEANUP(log_lineages_release) struct log_lineages lineages = LOG_LINEAGES_INIT;
    struct searcher s = {.scratches = scratches,
                         .st = st,
                         .scope = scope,
                         .search = search,
                         .fn = fn,
                         .arg = arg,
                         .left = search->limit != 0 ? search->limit : SEARCH_LIMIT};
    int r = log_lineages_look(scratches[0], st, scope, &lineages, search->damages, err);
    for (size_t i = 0; r == 0 && i < lineages.count; i++)
        r = search_told(&s, &lineages, &lineages.items[i], err);
    return r;
}
