/*
 * Reading a lineage's log again. Happy path: every chunk that counts is read through, in log order; the
 * running digest is taken over the bytes from the first boundary on that a run's chunks tell of, and
 * compared at each one behind. Then the names of the chunks are gone through for those that lie there and
 * cannot be read, which is why they do not count.
 *
 * Failure modes: a broken chunk is reported and the next one taken; the digest begins anew behind it, and
 * behind a gap. A gap is told, and is no damage: it may be what the source lost. Index objects are not
 * looked at, chunks are what they are made of.
 */
#include "proto/format/pack.h"
#include "proto/format/stream.h"
#include "proto/repo/logs_internal.h"
#include "proto/repo/verify.h"

struct walk {
    struct object_scratch **scratches;
    struct storage *st;
    const struct repo_scope *scope;
    const struct log_lineage *lineage;
    const struct verify_lineage_calls *calls;
    struct verify_log_totals totals;
    struct log_digest digest;
    bool digesting;
};

static void digest_stop(struct walk *w)
{
    if (w->digesting)
        log_digest_release(&w->digest);
    w->digesting = false;
}

/* ---- boundaries ---- */

/* Takes the next [place, digest] off the list. */
static int boundary_next(struct slice *list, uint64_t *ret_at, struct slice *ret_digest,
                         struct tm_err *err)
{
    uint32_t members = 0;
    int r = unpack_array(list, "digest", &members, err);
    if (r == 0 && members != 2)
        r = tm_err_set(err, TM_E_CORRUPT, "digest: %u members", members);
    if (r == 0)
        r = unpack_uint(list, "digest place", UINT64_MAX, ret_at, err);
    if (r == 0)
        r = unpack_bin(list, "digest", 32, ret_digest, err);
    if (r == 0 && ret_digest->len != 32)
        r = tm_err_set(err, TM_E_CORRUPT, "digest: %zu bytes", ret_digest->len);
    return r;
}

/* What the chunk tells: *ret_list without its length. */
static int boundaries_of(struct chunk_reader *cr, struct slice *ret_list, uint64_t *ret_count,
                         struct tm_err *err)
{
    int r = chunk_reader_section(cr, OBJECT_SECTION_DIGESTS, ret_list, err);
    *ret_count = 0;
    return r <= 0 ? r : unpack_uint(ret_list, "digests", UINT32_MAX, ret_count, err);
}

/* Begins at the first boundary that is told of. */
static int digest_start(struct walk *w, const struct chunk_reader *cr, struct slice told,
                        uint64_t count, struct tm_err *err)
{
    uint64_t at = 0;
    struct slice seed = SLICE_EMPTY;
    if (w->digesting && w->digest.segment_bytes == cr->root.segment_bytes)
        return 0;
    digest_stop(w);
    if (count == 0)
        return 0;
    int r = boundary_next(&told, &at, &seed, err);
    if (r == 0)
        r = log_digest_init(&w->digest, cr->root.segment_bytes, at, seed.data, err);
    w->digesting = r == 0;
    return r;
}

/* What the chunk tells must be what was taken. A boundary that it does not tell of is not compared. */
static int boundaries_compare(struct walk *w, struct slice told, uint64_t told_count,
                              struct slice own, struct tm_err *err)
{
    uint64_t told_at = 0;
    uint64_t at = 0;
    struct slice digest = SLICE_EMPTY;
    struct slice taken = SLICE_EMPTY;
    int r = 0;
    while (r == 0 && own.len > 0) {
        r = boundary_next(&own, &at, &taken, err);
        while (r == 0 && told_at < at && told_count > 0) {
            r = boundary_next(&told, &told_at, &digest, err);
            told_count--;
        }
        if (r < 0 || told_at != at)
            continue;
        if (!slice_eq(digest, taken))
            return tm_err_set(err, TM_E_CORRUPT,
                              "its bytes, and those before, do not have the digest that it tells "
                              "at %llu",
                              (unsigned long long)at);
        w->totals.boundaries++;
    }
    return r;
}

/* ---- chunks ---- */

static int chunk_bytes(struct walk *w, struct chunk_reader *cr, struct buf *own, struct tm_err *err)
{
    struct slice piece = SLICE_EMPTY;
    uint64_t at = 0;
    int r;
    while ((r = chunk_reader_next(cr, &at, &piece, err)) > 0) {
        if (!w->digesting || at + piece.len <= w->digest.position)
            continue;
        if (at < w->digest.position) {
            size_t skip = (size_t)(w->digest.position - at);
            piece = slice_of(piece.data + skip, piece.len - skip);
        }
        r = log_digest_update(&w->digest, piece, own, err);
        if (r < 0)
            return r;
    }
    return r;
}

static int chunk_verify(struct walk *w, const struct log_ref *ref, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf own = BUF_INIT;
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct slice told = SLICE_EMPTY;
    uint64_t count = 0;
    int r = chunk_reader_open(&cr, w->scratches[2], w->st, names_full(w->scope, ref->object).s, ref,
                              err);
    if (r == 0)
        r = boundaries_of(&cr, &told, &count, err);
    if (r == 0)
        r = digest_start(w, &cr, told, count, err);
    if (r == 0)
        r = chunk_bytes(w, &cr, &own, err);
    if (r == 0)
        r = boundaries_compare(w, told, count, buf_slice(&own), err);
    chunk_reader_release(&cr);
    return r < 0 ? tm_err_prefix(err, "log: '%s'", ref->object) : 0;
}

static bool is_verdict(const struct tm_err *err)
{
    return err->code == TM_E_CORRUPT || err->code == TM_E_NOT_FOUND ||
           err->code == TM_E_UNSUPPORTED;
}

static int judged(struct walk *w, const char *object, uint64_t stored_bytes, int result,
                  const struct tm_err *why, struct tm_err *err)
{
    if (result < 0 && !is_verdict(why)) {
        *err = *why;
        return result;
    }
    w->totals.objects++;
    w->totals.stored_bytes += stored_bytes;
    w->totals.bad += result < 0;
    if (result < 0)
        digest_stop(w);
    return w->calls->object(w->calls->arg, object, stored_bytes, result < 0 ? why : NULL) == 0
               ? 0
               : tm_err_set(err, TM_E_CANCELED, "verification stopped");
}

static int chain_verify(struct walk *w, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    struct log_entry e = {.from = 0};
    uint64_t end = 0;
    int r = log_chain_open(w->scratches, w->st, w->scope, w->lineage, 0, &chain, err);
    while (r >= 0 && (r = log_chain_next(chain, &e, err)) > 0) {
        struct log_ref ref;
        struct tm_err why;
        log_entry_ref(&w->lineage->record, &e, &ref);
        if (end != 0 && e.from != end) {
            w->totals.gaps++;
            digest_stop(w);
            w->calls->gap(w->calls->arg, end, e.from);
        }
        end = e.to;
        int good = chunk_verify(w, &ref, &why);
        r = judged(w, ref.object, ref.stored_bytes, good, &why, err);
    }
    return r < 0 ? r : 0;
}

/* ---- what does not count ---- */

static int names_verify(struct walk *w, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    const uint8_t *id = w->lineage->record.id;
    struct log_place place;
    int r = storage_list(w->st, names_log_prefix(w->scope, id, "chunk").s, NULL, &it, err);
    while (r >= 0 && (r = log_room_next(it, w->scope, NAME_CHUNK, &place, err)) > 0) {
        struct chunk_reader cr = CHUNK_READER_INIT;
        struct rel_name name = names_rel_chunk(id, place.from, place.epoch);
        struct tm_err why;
        if (place.from < w->lineage->truncated)
            continue;
        int good = chunk_reader_open(&cr, w->scratches[2], w->st, names_full(w->scope, name.s).s,
                                     NULL, &why);
        chunk_reader_release(&cr);
        if (good < 0 && why.code == TM_E_NOT_FOUND) /* removed meanwhile */
            continue;
        if (good < 0)
            r = judged(w, name.s, 0, good, &why, err);
    }
    return r < 0 ? r : 0;
}

int verify_lineage(struct object_scratch *scratches[3], struct storage *st,
                   const struct repo_scope *scope, const struct log_lineage *lineage,
                   const struct verify_lineage_calls *calls, struct verify_log_totals *ret,
                   struct tm_err *err)
{
    struct walk w = {
        .scratches = scratches, .st = st, .scope = scope, .lineage = lineage, .calls = calls};
    int r = chain_verify(&w, err);
    if (r == 0)
        r = names_verify(&w, err);
    digest_stop(&w);
    *ret = w.totals;
    return r;
}
