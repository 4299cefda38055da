/*
 * The chunks of one lineage that count, in log order, from roll-ups and from the list of chunks.
 *
 * Happy path: a roll-up that begins where the chain stands is taken; where there is none, the list
 * of chunks is looked at (from there on, so that what roll-ups cover is never listed), and of each
 * place the highest epoch that is whole and not fenced counts. Failure modes: a roll-up that is
 * gone, damaged or holds a fenced chunk is given up, and the list takes over from where it stood; a
 * chunk that is gone or damaged leaves a gap. A storage that does not answer is an error.
 */
#include "proto/format/stream.h"
#include "proto/repo/logs_internal.h"

struct log_chain {
    struct object_scratch *scratches[2];
    struct storage *st;
    struct repo_scope scope;
    uint8_t lineage[16];
    struct log_fence fence;
    uint64_t at;  /* log before is passed, or not wanted */
    bool started; /* `at` is where an entry ended */
    bool was_stretch;
    const uint64_t *cuts;
    size_t cut_count;

    struct log_places indexes;
    size_t next_index;
    struct object_reader *index; /* being read */
    struct log_index root;
    struct epoch index_epoch;
    uint64_t index_at;

    struct storage_iter *list;
    bool listed; /* to its end */
    bool have_next;
    struct log_place next;
};

static struct full_name chunk_name(const struct log_chain *c, const struct log_place *place)
{
    struct rel_name rel = names_rel_chunk(c->lineage, place->from, place->epoch);
    return names_full(&c->scope, rel.s);
}

/* Names of chunks are above this one from `from` on. */
static struct full_name chunk_name_before(const struct log_chain *c, uint64_t from)
{
    struct full_name name = chunk_name(c, &(struct log_place){.from = from});
    char *dash = strrchr(name.s, '-');
    *dash = '\0';
    return name;
}

/* Gone or damaged counts as not there; anything else is an error. */
static bool not_whole(const struct tm_err *err)
{
    return err->code == TM_E_NOT_FOUND || err->code == TM_E_CORRUPT;
}

/* ---- one chunk ---- */

/* 1 = it counts. */
static int chunk_try(struct log_chain *c, const struct log_place *place, struct log_entry *ret,
                     struct tm_err *err)
{
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct tm_err bad;
    int r = chunk_reader_open(&cr, c->scratches[1], c->st, chunk_name(c, place).s, NULL, &bad);
    if (r < 0) {
        chunk_reader_release(&cr);
        if (not_whole(&bad))
            return 0;
        *err = bad;
        return r;
    }
    const struct log_chunk *root = &cr.root;
    bool good = root->from == place->from && root->to > root->from &&
                root->term == place->epoch.term && root->counter == place->epoch.counter &&
                memcmp(root->lineage, c->lineage, sizeof(root->lineage)) == 0 &&
                root->to <= log_fence_limit(&c->fence, place->epoch);
    if (good)
        log_entry_of(root, object_reader_info(cr.object), ret);
    chunk_reader_release(&cr);
    return good;
}

/* ---- roll-ups ---- */

static void index_close(struct log_chain *c)
{
    object_reader_close(c->index);
    c->index = NULL;
}

static int index_root(struct object_reader *object, struct log_index *ret, struct tm_err *err)
{
    struct codec_arena arena = {0};
    struct slice bytes = SLICE_EMPTY;
    int r = object_reader_root(object, &bytes, err);
    if (r == 0)
        r = codec_decode(&log_index_codec, bytes, &arena, ret, err);
    codec_arena_release(&arena);
    if (r < 0 && err->code == TM_E_INVALID)
        return tm_err_set(err, TM_E_CORRUPT, "its root is not a log index's");
    return r;
}

/* 1 = the roll-up is open and leads on from where the chain stands. */
static int index_try(struct log_chain *c, const struct log_place *place, struct tm_err *err)
{
    struct rel_name rel = names_rel_log_index(c->lineage, place->from, place->epoch);
    struct tm_err bad;
    int r = object_reader_open(c->scratches[0], c->st, names_full(&c->scope, rel.s).s,
                               OBJECT_LOG_INDEX, NULL, &c->index, &bad);
    if (r == 0)
        r = index_root(c->index, &c->root, &bad);
    if (r < 0) {
        index_close(c);
        if (not_whole(&bad))
            return 0;
        *err = bad;
        return r;
    }
    bool good = c->root.from == place->from && c->root.to > c->at &&
                memcmp(c->root.lineage, c->lineage, sizeof(c->root.lineage)) == 0;
    if (!good)
        index_close(c);
    c->index_epoch = place->epoch;
    c->index_at = c->root.from;
    return good;
}

/* The next roll-up that begins at or before `limit`; of one place the highest epoch that is good. */
static int index_pick(struct log_chain *c, uint64_t limit, struct tm_err *err)
{
    while (c->next_index < c->indexes.count && c->indexes.items[c->next_index].from <= limit) {
        size_t last = c->next_index;
        while (last + 1 < c->indexes.count &&
               c->indexes.items[last + 1].from == c->indexes.items[c->next_index].from)
            last++;
        size_t first = c->next_index;
        c->next_index = last + 1;
        for (size_t i = last + 1; i-- > first;) {
            int r = index_try(c, &c->indexes.items[i], err);
            if (r != 0)
                return r;
        }
    }
    return 0;
}

/* 1 = the next entry of the open roll-up that leads on; 0 = it is used up, or given up. */
static int index_next(struct log_chain *c, struct log_entry *ret, struct tm_err *err)
{
    struct codec_arena arena = {0}; /* stays empty */
    struct tm_err bad;
    struct slice bytes;
    int r;
    while ((r = object_reader_record(c->index, &bytes, &bad)) > 0) {
        struct log_entry e;
        r = codec_decode(&log_entry_codec, bytes, &arena, &e, &bad);
        codec_arena_release(&arena);
        if (r < 0 || e.from != c->index_at || e.to <= e.from || e.to > c->root.to)
            return 0;
        if (e.to > log_fence_limit(&c->fence, (struct epoch){e.term, e.counter}))
            return 0;
        c->index_at = e.to;
        if (e.to > c->at && (e.from >= c->at || !c->started)) {
            *ret = e;
            return 1;
        }
    }
    if (r < 0 && bad.code != TM_E_INVALID && !not_whole(&bad)) {
        *err = bad;
        return r;
    }
    return 0;
}

/* Whether the open roll-up may stand for all its chunks. */
static bool stretch_good(const struct log_chain *c)
{
    if (c->index_at != c->root.from || (c->started && c->root.from < c->at) ||
        c->root.to > log_fence_limit(&c->fence, c->index_epoch))
        return false;
    for (size_t i = 0; i < c->cut_count; i++) {
        if (c->cuts[i] > c->root.from && c->cuts[i] < c->root.to)
            return false;
    }
    return true;
}

static void stretch_of(const struct log_chain *c, struct log_entry *ret)
{
    const struct log_index *i = &c->root;
    *ret = (struct log_entry){.from = i->from,
                              .to = i->to,
                              .term = i->term,
                              .counter = i->counter,
                              .stored_bytes = i->stored_bytes,
                              .raw_bytes = i->to - i->from,
                              .last_record = i->last_record,
                              .events = i->chunks,
                              .min_us = i->min_us,
                              .max_us = i->max_us,
                              .mark_at = i->mark_at,
                              .mark_us = i->mark_us};
}

/* ---- the list of chunks ---- */

/* Fills c->next with the next place at or behind where the chain stands. */
static int list_peek(struct log_chain *c, struct tm_err *err)
{
    while (!c->have_next && !c->listed) {
        int r = log_room_next(c->list, &c->scope, NAME_CHUNK, &c->next, err);
        if (r < 0)
            return r;
        c->listed = r == 0;
        c->have_next = r > 0 && c->next.from >= c->at;
        if (r > 0 && !c->have_next && c->started) {
            /* a roll-up led far beyond what is listed */
            r = storage_iter_skip(c->list, chunk_name_before(c, c->at).s, err);
            if (r < 0)
                return r;
        }
    }
    if (c->have_next && c->next.from < c->at) {
        c->have_next = false;
        return list_peek(c, err);
    }
    return 0;
}

/* The chain starts inside a chunk, or right behind one: 1 = *ret covers the place. */
static int list_covering(struct log_chain *c, struct log_entry *ret, struct tm_err *err)
{
    TM_CLEANUP(log_places_release) struct log_places near = {.count = 0};
    int r = 0;
    while ((r = log_room_next(c->list, &c->scope, NAME_CHUNK, &c->next, err)) > 0 &&
           c->next.from < c->at) {
        r = log_places_add(&near, &c->next, LOGS_NEAR_MAX, "chunks in 64 MiB of log", err);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    c->have_next = r > 0;
    c->listed = r == 0;
    /* the nearest that counts either covers the place, or ends before it */
    for (size_t i = near.count; i-- > 0;) {
        r = chunk_try(c, &near.items[i], ret, err);
        if (r != 0)
            return r < 0 ? r : ret->to > c->at;
    }
    return 0;
}

/* Opens the list where the chain stands. */
static int list_open(struct log_chain *c, struct log_entry *ret, struct tm_err *err)
{
    bool inside = !c->started && c->at > 0;
    uint64_t from = inside ? c->at - TM_MIN(c->at, LOGS_CHUNK_MAX) : c->at;
    int r = storage_list(c->st, names_log_prefix(&c->scope, c->lineage, "chunk").s,
                         chunk_name_before(c, from).s, &c->list, err);
    return r < 0 || !inside ? r : list_covering(c, ret, err);
}

/* Takes the place c->next: 1 = one of its chunks counts. */
static int list_take(struct log_chain *c, struct log_entry *ret, struct tm_err *err)
{
    struct log_place epochs[LOGS_EPOCHS_MAX];
    size_t count = 0;
    uint64_t from = c->next.from;
    while (c->have_next && c->next.from == from) {
        if (count == LOGS_EPOCHS_MAX)
            memmove(epochs, epochs + 1, --count * sizeof(epochs[0]));
        epochs[count++] = c->next;
        c->have_next = false;
        int r = list_peek(c, err);
        if (r < 0)
            return r;
    }
    while (count-- > 0) {
        int r = chunk_try(c, &epochs[count], ret, err);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- the chain ---- */

static int indexes_read(struct log_chain *c, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct log_place place;
    int r = storage_list(c->st, names_log_prefix(&c->scope, c->lineage, "index").s, NULL, &it, err);
    while (r >= 0 && (r = log_room_next(it, &c->scope, NAME_LOG_INDEX, &place, err)) > 0)
        r = log_places_add(&c->indexes, &place, LOGS_INDEXES_MAX, "roll-ups of one lineage", err);
    if (r < 0)
        return r;
    /* those before the last place that begins at or before the start end there */
    for (size_t i = 0; i < c->indexes.count && c->indexes.items[i].from <= c->at; i++) {
        if (c->indexes.items[i].from != c->indexes.items[c->next_index].from)
            c->next_index = i;
    }
    return 0;
}

int log_chain_open(struct object_scratch *scratches[2], struct storage *st,
                   const struct repo_scope *scope, const struct log_lineage *lineage, uint64_t from,
                   struct log_chain **ret, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return tm_err_oom(err);
    c->scratches[0] = scratches[0];
    c->scratches[1] = scratches[1];
    c->st = st;
    c->scope = *scope;
    memcpy(c->lineage, lineage->record.id, sizeof(c->lineage));
    c->at = TM_MAX(from, lineage->truncated);
    int r = log_fence_read(scratches[1], st, scope, c->lineage, &c->fence, err);
    if (r == 0)
        r = indexes_read(c, err);
    if (r < 0)
        return r;
    *ret = TM_TAKE(c);
    return 0;
}

void log_chain_cuts(struct log_chain *chain, const uint64_t *cuts, size_t count)
{
    chain->cuts = cuts;
    chain->cut_count = count;
}

const struct log_fence *log_chain_fence(const struct log_chain *chain)
{
    return &chain->fence;
}

bool log_chain_was_stretch(const struct log_chain *chain)
{
    return chain->was_stretch;
}

/* One look: 1 = *ret filled, 0 = nothing yet, *ret_end says whether there is nothing more. */
static int chain_look(struct log_chain *c, bool stretches, struct log_entry *ret, bool *ret_end,
                      struct tm_err *err)
{
    int r;
    if (c->index != NULL) {
        if (stretches && stretch_good(c)) {
            stretch_of(c, ret);
            c->was_stretch = true;
            index_close(c);
            return 1;
        }
        r = index_next(c, ret, err);
        if (r <= 0)
            index_close(c);
        return r;
    }
    r = index_pick(c, c->at, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (c->list == NULL) {
        r = list_open(c, ret, err);
        if (r != 0)
            return r;
    }
    r = list_peek(c, err);
    if (r == 0)
        r = index_pick(c, c->have_next ? c->next.from : UINT64_MAX, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (c->have_next)
        return list_take(c, ret, err);
    *ret_end = true;
    return 0;
}

static int chain_next(struct log_chain *c, bool stretches, struct log_entry *ret,
                      struct tm_err *err)
{
    bool end = false;
    while (!end) {
        c->was_stretch = false;
        int r = chain_look(c, stretches, ret, &end, err);
        if (r < 0)
            return r;
        if (r > 0) {
            c->at = ret->to;
            c->started = true;
            return 1;
        }
    }
    return 0;
}

int log_chain_next(struct log_chain *chain, struct log_entry *ret, struct tm_err *err)
{
    return chain_next(chain, false, ret, err);
}

int log_chain_next_stretch(struct log_chain *chain, struct log_entry *ret, struct tm_err *err)
{
    return chain_next(chain, true, ret, err);
}

void log_chain_free(struct log_chain *chain)
{
    if (chain == NULL)
        return;
    object_reader_close(chain->index);
    storage_iter_free(chain->list);
    log_fence_release(&chain->fence);
    log_places_release(&chain->indexes);
    free(chain);
}
