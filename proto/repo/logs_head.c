/*
 * The end of a lineage, for who writes it: where its last unbroken run stands, and rolling up what
 * lies behind. Happy path of a roll-up: entries behind the last one are gathered until there are
 * LOGS_INDEX_CHUNKS or a gap comes, then stored as one index. Failure modes: an index that is there
 * already was stored by an earlier try of the same epoch, and is equal as far as it goes.
 */
#include "proto/format/pack.h"
#include "proto/format/stream.h"
#include "proto/repo/logs_internal.h"

#define LOGS_INDEX_SPARED                                                                          \
    16u /* newest chunks that are not rolled up: a new writer may fence them */

/* ---- head ---- */

static void head_add(struct log_head *h, const struct log_entry *e, bool stretch)
{
    struct epoch epoch = {e->term, e->counter};
    if (e->from > h->to) {
        h->from = e->from;
        h->last_record = 0;
    }
    h->to = e->to;
    if (e->last_record != 0)
        h->last_record = e->last_record;
    if (epoch_cmp(epoch, h->epoch) > 0)
        h->epoch = epoch;
    if (e->mark_at <= e->to)
        h->mark_us = TM_MAX(h->mark_us, e->mark_us);
    h->chunks = stretch ? 0 : h->chunks + 1;
}

/* The last digest boundary that the section tells of. */
static int boundary_last(struct slice section, struct log_head *h, struct tm_err *err)
{
    uint64_t count;
    int r = unpack_uint(&section, "digests", UINT32_MAX, &count, err);
    for (uint64_t i = 0; r == 0 && i < count; i++) {
        uint32_t members = 0;
        uint64_t at = 0;
        struct slice digest = SLICE_EMPTY;
        r = unpack_array(&section, "digest", &members, err);
        if (r == 0 && members != 2)
            r = tm_err_set(err, TM_E_CORRUPT, "digest: %u members", members);
        if (r == 0)
            r = unpack_uint(&section, "digest place", UINT64_MAX, &at, err);
        if (r == 0)
            r = unpack_bin(&section, "digest", 32, &digest, err);
        if (r == 0 && digest.len != 32)
            r = tm_err_set(err, TM_E_CORRUPT, "digest: %zu bytes", digest.len);
        if (r == 0 && at <= h->to && at >= h->boundary) {
            h->boundary = at;
            memcpy(h->at_boundary, digest.data, 32);
        }
    }
    return r;
}

/* Reads the chunk that covers the byte before `at`: its digests, and where it begins. */
static int boundary_in(struct object_scratch *scratches[2], struct storage *st,
                       const struct repo_scope *scope, const struct log_lineage *lineage,
                       uint64_t at, struct log_head *h, struct log_entry *ret, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct log_ref ref;
    struct slice section = SLICE_EMPTY;
    int r = log_chain_open(scratches, st, scope, lineage, at - 1, &chain, err);
    if (r == 0)
        r = log_chain_next(chain, ret, err);
    if (r <= 0 || ret->from >= at)
        return r < 0 ? r : 0;
    log_entry_ref(&lineage->record, ret, &ref);
    r = chunk_reader_open(&cr, scratches[1], st, names_full(scope, ref.object).s, &ref, err);
    if (r == 0)
        r = chunk_reader_section(&cr, OBJECT_SECTION_DIGESTS, &section, err);
    if (r > 0)
        r = boundary_last(section, h, err);
    h->digest_bytes = cr.root.segment_bytes;
    chunk_reader_release(&cr);
    return r < 0 ? tm_err_prefix(err, "object '%s'", ref.object) : 0;
}

static int head_boundary(struct object_scratch *scratches[2], struct storage *st,
                         const struct repo_scope *scope, const struct log_lineage *lineage,
                         struct log_head *h, struct tm_err *err)
{
    struct log_entry last = {.from = 0};
    if (h->to == h->from)
        return 0;
    int r = boundary_in(scratches, st, scope, lineage, h->to, h, &last, err);
    if (r < 0 || h->boundary != 0 || h->digest_bytes == 0)
        return r;
    uint64_t boundary = h->to - h->to % h->digest_bytes;
    if (boundary <= h->from)
        return 0; /* the run began there: nothing was digested yet */
    return boundary_in(scratches, st, scope, lineage, boundary, h, &last, err);
}

int log_head_read(struct object_scratch *scratches[2], struct storage *st,
                  const struct repo_scope *scope, const struct log_lineage *lineage,
                  struct log_head *ret, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    struct log_entry e = {.from = 0};
    struct log_head h = {.from = lineage->record.from};
    if (lineage->truncated != LOG_TRUNCATED_ALL)
        h.from = TM_MAX(h.from, lineage->truncated);
    h.to = h.from;
    int r = log_chain_open(scratches, st, scope, lineage, 0, &chain, err);
    if (r < 0)
        return r;
    const struct log_fence *fence = log_chain_fence(chain);
    if (fence->count > 0)
        h.epoch = fence->epochs[fence->count - 1];
    bool first = true;
    while ((r = log_chain_next_stretch(chain, &e, err)) > 0) {
        if (first)
            h.from = e.from;
        first = false;
        head_add(&h, &e, log_chain_was_stretch(chain));
    }
    struct log_mark mark;
    bool found = false;
    if (r == 0)
        r = log_marks_newest(scratches[1], st, scope, lineage->record.id, h.to, &mark, &found, err);
    if (r == 0 && found && mark.at >= h.from)
        h.mark_us = TM_MAX(h.mark_us, mark.time_us);
    if (r == 0)
        r = head_boundary(scratches, st, scope, lineage, &h, err);
    if (r == 0)
        *ret = h;
    return r;
}

/* ---- rolling up ---- */

static struct log_index index_of(const uint8_t lineage[16], struct epoch epoch,
                                 const struct log_entry *entries, size_t count)
{
    struct log_index root = {.from = entries[0].from,
                             .to = entries[count - 1].to,
                             .chunks = (uint32_t)count,
                             .term = epoch.term,
                             .counter = epoch.counter};
    memcpy(root.lineage, lineage, sizeof(root.lineage));
    for (size_t i = 0; i < count; i++) {
        const struct log_entry *e = &entries[i];
        root.stored_bytes += e->stored_bytes;
        if (e->last_record != 0)
            root.last_record = e->last_record;
        if (e->max_us != 0) {
            root.min_us = root.max_us == 0 ? e->min_us : TM_MIN(root.min_us, e->min_us);
            root.max_us = root.max_us == 0 ? e->max_us : TM_MAX(root.max_us, e->max_us);
        }
        if (e->mark_us > root.mark_us && e->mark_at <= e->to) {
            root.mark_us = e->mark_us;
            root.mark_at = e->mark_at;
        }
    }
    return root;
}

int log_index_store(struct object_scratch *scratch, struct storage *st,
                    const struct repo_scope *scope, const uint8_t lineage[16], struct epoch epoch,
                    const uint8_t nonce[OBJECT_NONCE_BYTES], const struct log_entry *entries,
                    size_t count, struct tm_err *err)
{
    TM_CLEANUP(object_writer_closep) struct object_writer *w = NULL;
    TM_CLEANUP(buf_release) struct buf buf = BUF_INIT;
    struct object_options options = {
        .kind = OBJECT_LOG_INDEX, .zstd_level = 3, .frame_bytes = STREAM_FRAME_BYTES};
    struct log_index root = index_of(lineage, epoch, entries, count);
    struct rel_name rel = names_rel_log_index(lineage, entries[0].from, epoch);
    struct object_info info;
    memcpy(options.nonce, nonce, OBJECT_NONCE_BYTES);
    int r = object_writer_open(scratch, st, names_full(scope, rel.s).s, &options, &w, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = stream_put(w, &buf, &log_entry_codec, &entries[i], err);
    buf_reset(&buf);
    if (r == 0)
        r = codec_encode(&log_index_codec, &root, CODEC_MINOR_ALL, &buf, err);
    if (r == 0)
        r = object_writer_section(w, OBJECT_SECTION_ROOT, OBJECT_SECTION_REQUIRED, buf_slice(&buf),
                                  err);
    if (r == 0)
        r = object_writer_finish(w, &info, err);
    return r < 0 && err->code == TM_E_EXISTS ? 0 : r;
}

struct roller {
    struct object_scratch *scratch;
    struct storage *st;
    const struct repo_scope *scope;
    const struct log_lineage *lineage;
    struct epoch epoch;
    const uint8_t *nonce;
    uint32_t at_least;
    uint32_t rolled;
    struct log_entry *entries; /* adjacent */
    size_t count;
};

/* Stores the first `count` entries as one index and forgets them. */
static int roller_store(struct roller *ro, size_t count, struct tm_err *err)
{
    int r = log_index_store(ro->scratch, ro->st, ro->scope, ro->lineage->record.id, ro->epoch,
                            ro->nonce, ro->entries, count, err);
    if (r < 0)
        return r;
    ro->rolled += (uint32_t)count;
    ro->count -= count;
    memmove(ro->entries, ro->entries + count, ro->count * sizeof(ro->entries[0]));
    return 0;
}

static int roller_add(struct roller *ro, const struct log_entry *e, struct tm_err *err)
{
    int r = 0;
    if (ro->count > 1 && ro->entries[ro->count - 1].to != e->from)
        r = roller_store(ro, ro->count, err); /* nothing is ever added before a gap */
    else if (ro->count == 1 && ro->entries[0].to != e->from)
        ro->count = 0; /* a roll-up of one chunk is no gain */
    else if (ro->count == LOGS_INDEX_CHUNKS + LOGS_INDEX_SPARED)
        r = roller_store(ro, LOGS_INDEX_CHUNKS, err);
    if (r < 0)
        return r;
    ro->entries[ro->count++] = *e;
    return 0;
}

static int roller_run(struct roller *ro, struct log_chain *chain, struct tm_err *err)
{
    struct log_entry e = {.from = 0};
    int r;
    while ((r = log_chain_next_stretch(chain, &e, err)) > 0) {
        if (log_chain_was_stretch(chain)) {
            /* few chunks between two roll-ups: a roll-up that was given up once */
            r = ro->count > 1 ? roller_store(ro, ro->count, err) : 0;
            ro->count = 0;
        } else {
            r = roller_add(ro, &e, err);
        }
        if (r < 0)
            return r;
    }
    if (r == 0 && ro->count >= ro->at_least && ro->count > LOGS_INDEX_SPARED)
        r = roller_store(ro, ro->count - LOGS_INDEX_SPARED, err);
    return r;
}

int log_index_roll(struct object_scratch *scratches[2], struct storage *st,
                   const struct repo_scope *scope, const struct log_lineage *lineage,
                   struct epoch epoch, const uint8_t nonce[OBJECT_NONCE_BYTES], uint32_t at_least,
                   uint32_t *ret_rolled, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    TM_CLEANUP(freep)
    struct log_entry *entries = calloc(LOGS_INDEX_CHUNKS + LOGS_INDEX_SPARED + 1, sizeof(*entries));
    struct roller ro = {.scratch = scratches[1], /* the chain uses it only inside its calls */
                        .st = st,
                        .scope = scope,
                        .lineage = lineage,
                        .epoch = epoch,
                        .nonce = nonce,
                        .at_least = at_least != 0 ? at_least : LOGS_INDEX_AFTER,
                        .entries = entries};
    if (entries == NULL)
        return tm_err_oom(err);
    int r = log_chain_open(scratches, st, scope, lineage, 0, &chain, err);
    if (r == 0)
        r = roller_run(&ro, chain, err);
    if (r == 0)
        *ret_rolled = ro.rolled;
    return r;
}
