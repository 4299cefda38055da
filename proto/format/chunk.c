/*
 * Chunks of log. Happy path: bytes go into frames and through the running digest at once; at each
 * segment boundary the digest is noted; finish stores record, digests and marks in the footer.
 *
 *     digests  count, then [boundary, 32 bytes]
 *     marks    count, then [stream byte, time µs]
 *     events   format/events.h
 *
 * Failure modes: bytes that do not follow what came before are a programmer's error; a chunk whose
 * record does not agree with its bytes or with what metadata says is TM_E_CORRUPT.
 */
#include "proto/format/chunk.h"

#include <assert.h>

#include "common/hash.h"
#include "proto/format/pack.h"

/* ---- running digest ---- */

static int digest_restart(struct log_digest *d, struct tm_err *err)
{
    int r = hash_sha256_reset(d->hash, err);
    return r < 0 ? r : hash_sha256_update(d->hash, d->at_boundary, sizeof(d->at_boundary), err);
}

int log_digest_init(struct log_digest *d, uint32_t segment_bytes, uint64_t from,
                    const uint8_t seed[32], struct tm_err *err)
{
    *d = (struct log_digest){.segment_bytes = segment_bytes, .position = from};
    if (segment_bytes == 0)
        return 0;
    if (from % segment_bytes != 0)
        return tm_err_set(err, TM_E_INVALID, "log must start at a segment boundary, not at %llu",
                          (unsigned long long)from);
    if (seed != NULL)
        memcpy(d->at_boundary, seed, sizeof(d->at_boundary));
    int r = hash_sha256_new(&d->hash, err);
    return r < 0 ? r : digest_restart(d, err);
}

void log_digest_release(struct log_digest *d)
{
    hash_sha256_free(d->hash);
    *d = (struct log_digest){.segment_bytes = 0};
}

static int boundary_add(struct log_digest *d, struct buf *boundaries, struct tm_err *err)
{
    struct sha256 digest;
    int r = hash_sha256_final(d->hash, &digest, err);
    if (r < 0)
        return r;
    memcpy(d->at_boundary, digest.bytes, sizeof(d->at_boundary));
    r = digest_restart(d, err);
    if (r == 0)
        r = pack_array(boundaries, 2, err);
    if (r == 0)
        r = pack_uint(boundaries, d->position, err);
    return r < 0 ? r : pack_bin(boundaries, slice_of(digest.bytes, sizeof(digest.bytes)), err);
}

int log_digest_update(struct log_digest *d, struct slice bytes, struct buf *boundaries,
                      struct tm_err *err)
{
    if (d->segment_bytes == 0)
        d->position += bytes.len;
    while (d->segment_bytes != 0 && bytes.len > 0) {
        uint64_t left = d->segment_bytes - d->position % d->segment_bytes;
        size_t part = (size_t)TM_MIN(left, (uint64_t)bytes.len);
        int r = hash_sha256_update(d->hash, bytes.data, part, err);
        if (r < 0)
            return r;
        d->position += part;
        bytes = slice_of(bytes.data + part, bytes.len - part);
        if (part == left) {
            r = boundary_add(d, boundaries, err);
            if (r < 0)
                return r;
            d->boundaries++;
        }
    }
    return 0;
}

/* ---- writing ---- */

int chunk_writer_open(struct chunk_writer *cw, struct object_scratch *scratch, struct storage *st,
                      const char *name, const struct log_chunk *root, int zstd_level,
                      const uint8_t nonce[OBJECT_NONCE_BYTES], struct log_digest *digest,
                      struct tm_err *err)
{
    assert(digest == NULL || digest->position == root->from);
    struct object_options options = {.kind = OBJECT_CHUNK, .zstd_level = zstd_level};
    memcpy(options.nonce, nonce, OBJECT_NONCE_BYTES);
    *cw = CHUNK_WRITER_INIT;
    cw->digest = digest;
    cw->root = *root;
    cw->root.to = root->from;
    if (digest != NULL)
        cw->root.segment_bytes = digest->segment_bytes;
    return object_writer_open(scratch, st, name, &options, &cw->object, err);
}

int chunk_writer_data(struct chunk_writer *cw, struct slice bytes, struct tm_err *err)
{
    int r = object_writer_append(cw->object, bytes, err);
    if (r == 0 && cw->digest != NULL) {
        uint32_t before = cw->digest->boundaries;
        r = log_digest_update(cw->digest, bytes, &cw->digests, err);
        cw->digest_count += cw->digest->boundaries - before;
    }
    if (r < 0)
        return r;
    cw->root.to += bytes.len;
    return 0;
}

int chunk_writer_digests(struct chunk_writer *cw, uint32_t count, struct slice boundaries,
                         struct tm_err *err)
{
    assert(cw->digest == NULL);
    cw->digest_count += count;
    return buf_append_slice(&cw->digests, boundaries, err);
}

int chunk_writer_events(struct chunk_writer *cw, const struct events_writer *events,
                        uint64_t last_record, struct tm_err *err)
{
    cw->task = true;
    cw->root.events = events->count;
    cw->root.min_us = events->min_us;
    cw->root.max_us = events->max_us;
    cw->root.last_record = last_record;
    buf_reset(&cw->events);
    return events->count == 0 ? 0 : events_writer_section(events, &cw->events, err);
}

int chunk_writer_section(struct chunk_writer *cw, uint16_t id, struct slice bytes,
                         struct tm_err *err)
{
    if (cw->section_count == CHUNK_SECTIONS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d sections in one chunk",
                          CHUNK_SECTIONS_MAX);
    assert(id >= 256 && (cw->section_count == 0 || id > cw->sections[cw->section_count - 1].id));
    cw->sections[cw->section_count].id = id;
    cw->sections[cw->section_count].bytes = bytes;
    cw->section_count++;
    return 0;
}

int chunk_writer_mark(struct chunk_writer *cw, uint64_t at, int64_t time_us, struct tm_err *err)
{
    if (cw->mark_count == CHUNK_MARKS_MAX) /* times between marks are only less precise */
        return 0;
    int r = pack_array(&cw->marks, 2, err);
    if (r == 0)
        r = pack_uint(&cw->marks, at, err);
    if (r == 0)
        r = pack_int(&cw->marks, time_us, err);
    if (r < 0)
        return r;
    cw->mark_count++;
    if (time_us > cw->root.mark_us) {
        cw->root.mark_at = at;
        cw->root.mark_us = time_us;
    }
    return 0;
}

uint64_t chunk_writer_bytes(const struct chunk_writer *cw)
{
    return cw->root.to - cw->root.from;
}

static int store_list(struct chunk_writer *cw, struct buf *out, uint16_t id, uint32_t count,
                      const struct buf *items, struct tm_err *err)
{
    if (count == 0)
        return 0;
    buf_reset(out);
    int r = pack_uint(out, count, err);
    if (r == 0)
        r = buf_append_slice(out, buf_slice(items), err);
    return r < 0 ? r : object_writer_section(cw->object, id, 0, buf_slice(out), err);
}

static int store_sections(struct chunk_writer *cw, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    if (!cw->task) { /* a backup's own log is written as it always was */
        cw->root.mark_at = 0;
        cw->root.mark_us = 0;
    }
    int r = codec_encode(&log_chunk_codec, &cw->root, CODEC_MINOR_ALL, &out, err);
    if (r == 0)
        r = object_writer_section(cw->object, OBJECT_SECTION_ROOT, OBJECT_SECTION_REQUIRED,
                                  buf_slice(&out), err);
    if (r == 0)
        r = store_list(cw, &out, OBJECT_SECTION_DIGESTS, cw->digest_count, &cw->digests, err);
    if (r == 0)
        r = store_list(cw, &out, OBJECT_SECTION_MARKS, cw->mark_count, &cw->marks, err);
    if (r == 0 && cw->events.len > 0)
        r = object_writer_section(cw->object, OBJECT_SECTION_EVENTS, 0, buf_slice(&cw->events),
                                  err);
    for (size_t n = 0; r == 0 && n < cw->section_count; n++)
        r = object_writer_section(cw->object, cw->sections[n].id, 0, cw->sections[n].bytes, err);
    return r;
}

int chunk_writer_seal(struct chunk_writer *cw, struct tm_err *err)
{
    int r = store_sections(cw, err);
    if (r == 0)
        r = object_writer_seal(cw->object, err);
    cw->sealed = r == 0;
    return r;
}

int chunk_writer_finish(struct chunk_writer *cw, const char *rel, struct log_ref *ret_ref,
                        struct object_info *ret_info, struct tm_err *err)
{
    struct object_info info;
    int r = cw->sealed ? 0 : store_sections(cw, err);
    if (r == 0)
        r = object_writer_finish(cw->object, &info, err);
    if (r < 0)
        return r;
    struct log_ref ref = {.stored_bytes = info.stored_bytes,
                          .raw_bytes = info.raw_bytes,
                          .from = cw->root.from,
                          .to = cw->root.to};
    (void)snprintf(ref.object, sizeof(ref.object), "%s", rel);
    memcpy(ref.digest, info.digest, sizeof(ref.digest));
    memcpy(ref.lineage, cw->root.lineage, sizeof(ref.lineage));
    memcpy(ref.label, cw->root.label, sizeof(ref.label));
    *ret_ref = ref;
    *ret_info = info;
    return 0;
}

void chunk_writer_release(struct chunk_writer *cw)
{
    object_writer_close(cw->object);
    buf_release(&cw->digests);
    buf_release(&cw->marks);
    buf_release(&cw->events);
    *cw = CHUNK_WRITER_INIT;
}

/* ---- reading ---- */

static int root_check(const struct chunk_reader *cr, const struct log_ref *ref, struct tm_err *err)
{
    const struct log_chunk *root = &cr->root;
    uint64_t raw_bytes = object_reader_info(cr->object)->raw_bytes;
    if (root->to < root->from || root->to - root->from != raw_bytes)
        return tm_err_set(err, TM_E_CORRUPT, "it says bytes %llu to %llu and holds %llu",
                          (unsigned long long)root->from, (unsigned long long)root->to,
                          (unsigned long long)raw_bytes);
    if (ref != NULL && (ref->from != root->from || ref->to != root->to ||
                        memcmp(ref->lineage, root->lineage, sizeof(root->lineage)) != 0))
        return tm_err_set(err, TM_E_CORRUPT, "it is not the piece of log that metadata names");
    return 0;
}

static int root_read(struct chunk_reader *cr, struct tm_err *err)
{
    /* DIGESTS and MARKS are not required, they may be skipped */
    struct slice bytes = SLICE_EMPTY;
    int r = object_reader_root(cr->object, &bytes, err);
    if (r < 0)
        return r;
    struct codec_arena arena = {0};
    r = codec_decode(&log_chunk_codec, bytes, &arena, &cr->root,
                     err); /* has nothing in the arena */
    codec_arena_release(&arena);
    if (r < 0 && err->code == TM_E_INVALID) {
        err->code = TM_E_CORRUPT;
        r = -TM_E_CORRUPT;
    }
    return r;
}

int chunk_reader_open(struct chunk_reader *cr, struct object_scratch *scratch, struct storage *st,
                      const char *name, const struct log_ref *ref, struct tm_err *err)
{
    struct object_ref expect;
    if (ref != NULL)
        expect = log_ref_object(ref);
    *cr = CHUNK_READER_INIT;
    int r = object_reader_open(scratch, st, name, OBJECT_CHUNK, ref != NULL ? &expect : NULL,
                               &cr->object, err);
    if (r < 0)
        return r;
    r = root_read(cr, err);
    if (r == 0)
        r = root_check(cr, ref, err);
    if (r < 0)
        return tm_err_prefix(err, "object '%s'", name);
    cr->next = cr->root.from;
    return 0;
}

int chunk_reader_next(struct chunk_reader *cr, uint64_t *ret_at, struct slice *ret,
                      struct tm_err *err)
{
    if (cr->next == cr->root.to)
        return 0;
    struct slice piece = SLICE_EMPTY;
    int r = object_reader_piece(cr->object, cr->next - cr->root.from, UINT64_MAX, &piece, err);
    if (r < 0)
        return r;
    *ret_at = cr->next;
    *ret = piece;
    cr->next += piece.len;
    return 1;
}

int chunk_reader_section(struct chunk_reader *cr, uint16_t id, struct slice *ret,
                         struct tm_err *err)
{
    return object_reader_section(cr->object, id, ret, err);
}

int chunk_reader_verify_stored(struct chunk_reader *cr, struct tm_err *err)
{
    return object_reader_verify_stored(cr->object, err);
}

void log_entry_of(const struct log_chunk *root, const struct object_info *info,
                  struct log_entry *ret)
{
    *ret = (struct log_entry){.from = root->from,
                              .to = root->to,
                              .term = root->term,
                              .counter = root->counter,
                              .stored_bytes = info->stored_bytes,
                              .raw_bytes = info->raw_bytes,
                              .last_record = root->last_record,
                              .events = root->events,
                              .min_us = root->min_us,
                              .max_us = root->max_us,
                              .mark_at = root->mark_at,
                              .mark_us = root->mark_us};
    memcpy(ret->digest, info->digest, sizeof(ret->digest));
}

void chunk_reader_release(struct chunk_reader *cr)
{
    object_reader_close(cr->object);
    *cr = CHUNK_READER_INIT;
}
