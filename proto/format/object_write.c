/*
 * Writing an object. Happy path: the producer fills the frame buffer through room/advance; a full
 * frame is hashed and compressed while it is hot, hashed again as stored, and handed to storage; at
 * the end come footer and trailer, and the commit.
 *
 * Failure modes: storage's errors pass through with the object's name in front. A commit whose
 * answer is lost, or that finds the name taken, is settled by reading: an object with our nonce,
 * length and digest is ours. Whatever else fails, close leaves nothing visible.
 */
#include <assert.h>

#include "proto/format/object_internal.h"

static int options_check(struct object_options *o, struct tm_err *err)
{
    if (o->frame_bytes == 0)
        o->frame_bytes = OBJECT_FRAME_BYTES;
    if (o->block_bytes == 0)
        o->block_bytes = 1;
    if (o->frame_bytes > OBJECT_FRAME_BYTES_MAX || o->block_bytes > OBJECT_BLOCK_MAX ||
        o->frame_bytes % o->block_bytes != 0)
        return tm_err_set(err, TM_E_INVALID, "frames of %u bytes in blocks of %u are not possible",
                          o->frame_bytes, o->block_bytes);
    if (o->zstd_level < 0 || o->zstd_level > 19)
        return tm_err_set(err, TM_E_INVALID, "zstd level %d is not in 0 … 19", o->zstd_level);
    return 0;
}

static int buffers_prepare(struct object_scratch *s, const struct object_options *o,
                           struct tm_err *err)
{
    buf_reset(&s->frame);
    buf_reset(&s->packed);
    buf_reset(&s->table);
    buf_reset(&s->sections);
    buf_reset(&s->footer);
    int r = buf_reserve(&s->frame, o->frame_bytes, err);
    if (r == 0)
        r = buf_reserve(&s->packed, OBJECT_HEADER_BYTES + ZSTD_compressBound(o->frame_bytes), err);
    if (r == 0 && o->zstd_level > 0)
        r = object_scratch_cctx(s, o->zstd_level, o->kind == OBJECT_CHUNK, err);
    return r;
}

int object_writer_open(struct object_scratch *scratch, struct storage *st, const char *name,
                       const struct object_options *options, struct object_writer **ret,
                       struct tm_err *err)
{
    assert(!scratch->busy);
    struct object_writer *w = &scratch->writer;
    *w = (struct object_writer){.scratch = scratch, .st = st, .options = *options};
    int r = options_check(&w->options, err);
    if (r == 0)
        r = buffers_prepare(scratch, &w->options, err);
    if (r == 0)
        r = storage_create(st, name, &w->out, err);
    if (r < 0)
        return r;
    (void)snprintf(w->name, sizeof(w->name), "%s", name);
    struct object_header h = {.kind = options->kind,
                              .compressed = options->zstd_level > 0,
                              .frame_bytes = w->options.frame_bytes,
                              .block_bytes = w->options.block_bytes};
    memcpy(h.nonce, options->nonce, sizeof(h.nonce));
    object_header_encode(&h, w->header);
    object_hasher_reset(scratch);
    scratch->busy = true;
    *ret = w;
    return 0;
}

static int send(struct object_writer *w, const void *data, size_t len, struct tm_err *err)
{
    object_hasher_update(w->scratch, data, len);
    int r = storage_writer_write(w->out, data, len, err);
    if (r == 0)
        w->stored_bytes += len;
    return r;
}

/* One line of the frame table. */
static int table_add(struct object_writer *w, struct slice raw, struct slice stored, bool zstd,
                     struct tm_err *err)
{
    uint8_t entry[OBJECT_FRAME_ENTRY];
    be32_put(entry, (uint32_t)raw.len);
    be32_put(entry + 4, (uint32_t)stored.len);
    be32_put(entry + 8, zstd ? OBJECT_FRAME_ZSTD : 0);
    object_hash(raw.data, raw.len, entry + 12);
    object_hash(stored.data, stored.len, entry + 28);
    if (w->scratch->table.len + sizeof(entry) > OBJECT_FOOTER_MAX / 2)
        return tm_err_set(err, TM_E_LIMIT, "object '%s' has too many frames", w->name);
    return buf_append(&w->scratch->table, entry, sizeof(entry), err);
}

/* One frame, out of wherever its bytes are. */
static int frame_send(struct object_writer *w, struct slice raw, struct tm_err *err)
{
    struct object_scratch *s = w->scratch;
    uint8_t *packed = s->packed.data + OBJECT_HEADER_BYTES;
    struct slice stored = raw;
    if (w->options.zstd_level > 0) {
        size_t n =
            ZSTD_compress2(s->cctx, packed, s->packed.cap - OBJECT_HEADER_BYTES, raw.data, raw.len);
        if (ZSTD_isError(n))
            return tm_err_set(err, TM_E_INTERNAL, "object '%s': zstd: %s", w->name,
                              ZSTD_getErrorName(n));
        if (n < raw.len - raw.len / 64) /* else not worth the reader's time */
            stored = slice_of(packed, n);
    }
    bool zstd = stored.data == packed;
    int r = table_add(w, raw, stored, zstd, err);
    if (r == 0 && !w->header_sent && zstd) { /* the header travels with the first frame */
        memcpy(s->packed.data, w->header, OBJECT_HEADER_BYTES);
        stored = slice_of(s->packed.data, stored.len + OBJECT_HEADER_BYTES);
    } else if (r == 0 && !w->header_sent) {
        r = send(w, w->header, OBJECT_HEADER_BYTES, err);
    }
    w->header_sent = true;
    if (r == 0)
        r = send(w, stored.data, stored.len, err);
    if (r < 0)
        return r;
    w->raw_bytes += raw.len;
    w->frame_count++;
    return 0;
}

static int frame_flush(struct object_writer *w, struct tm_err *err)
{
    if (w->used == 0)
        return 0;
    int r = frame_send(w, slice_of(w->scratch->frame.data, w->used), err);
    if (r == 0)
        w->used = 0;
    return r;
}

/* Room in whole blocks; 0 = the frame must go first. */
static size_t room_left(const struct object_writer *w)
{
    size_t left = w->options.frame_bytes - w->used;
    return left - left % w->options.block_bytes;
}

int object_writer_room(struct object_writer *w, uint8_t **ret, size_t *ret_bytes,
                       struct tm_err *err)
{
    assert(w->section_count == 0);
    if (room_left(w) == 0) {
        int r = frame_flush(w, err);
        if (r < 0)
            return r;
    }
    *ret = w->scratch->frame.data + w->used;
    *ret_bytes = room_left(w);
    return 0;
}

int object_writer_advance(struct object_writer *w, size_t bytes, struct tm_err *err)
{
    assert(bytes <= w->options.frame_bytes - w->used);
    w->used += bytes;
    return w->used == w->options.frame_bytes ? frame_flush(w, err) : 0;
}

uint64_t object_writer_raw_bytes(const struct object_writer *w)
{
    return w->raw_bytes + w->used;
}

uint64_t object_writer_stored_bytes(const struct object_writer *w)
{
    return w->stored_bytes;
}

int object_writer_append(struct object_writer *w, struct slice bytes, struct tm_err *err)
{
    assert(w->section_count == 0);
    const size_t frame = w->options.frame_bytes;
    while (bytes.len > 0) {
        if (w->used == 0 && bytes.len >= frame) { /* whole ones need not be copied together */
            int r = frame_send(w, slice_of(bytes.data, frame), err);
            if (r < 0)
                return r;
            bytes = slice_of(bytes.data + frame, bytes.len - frame);
            continue;
        }
        uint8_t *room = NULL;
        size_t room_bytes = 0;
        int r = object_writer_room(w, &room, &room_bytes, err);
        if (r < 0)
            return r;
        size_t part = TM_MIN(room_bytes, bytes.len);
        memcpy(room, bytes.data, part);
        r = object_writer_advance(w, part, err);
        if (r < 0)
            return r;
        bytes = slice_of(bytes.data + part, bytes.len - part);
    }
    return 0;
}

int object_writer_record(struct object_writer *w, struct slice record, struct tm_err *err)
{
    assert(w->section_count == 0 && w->options.block_bytes == 1);
    if (record.len > w->options.frame_bytes - 4)
        return tm_err_set(err, TM_E_LIMIT, "object '%s': a record of %zu bytes is too large",
                          w->name, record.len);
    if (w->options.frame_bytes - w->used < record.len + 4) {
        int r = frame_flush(w, err);
        if (r < 0)
            return r;
    }
    w->records = true;
    uint8_t *at = w->scratch->frame.data + w->used;
    be32_put(at, (uint32_t)record.len);
    if (record.len > 0)
        memcpy(at + 4, record.data, record.len);
    w->used += record.len + 4;
    return 0;
}

int object_writer_section(struct object_writer *w, uint16_t id, uint16_t flags, struct slice bytes,
                          struct tm_err *err)
{
    assert(id > w->last_section && (flags & ~OBJECT_SECTION_REQUIRED) == 0);
    int r = frame_flush(w, err); /* from here on the frame buffer is not needed */
    if (r < 0)
        return r;
    if (bytes.len > OBJECT_SECTION_MAX || w->section_count == OBJECT_SECTIONS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "object '%s': section %u is too large", w->name, id);
    struct buf *out = &w->scratch->sections;
    r = buf_reserve(out, OBJECT_SECTION_HEADER + ZSTD_compressBound(bytes.len), err);
    if (r < 0)
        return r;
    uint8_t *head = out->data + out->len;
    size_t stored = bytes.len;
    if (bytes.len > 64 && w->options.zstd_level > 0) {
        size_t n = ZSTD_compress2(w->scratch->cctx, head + OBJECT_SECTION_HEADER,
                                  ZSTD_compressBound(bytes.len), bytes.data, bytes.len);
        if (!ZSTD_isError(n) && n < bytes.len)
            stored = n;
    }
    if (stored < bytes.len)
        flags |= OBJECT_SECTION_ZSTD;
    else if (bytes.len > 0)
        memcpy(head + OBJECT_SECTION_HEADER, bytes.data, bytes.len);
    be16_put(head, id);
    be16_put(head + 2, flags);
    be32_put(head + 4, (uint32_t)bytes.len);
    be32_put(head + 8, (uint32_t)stored);
    out->len += OBJECT_SECTION_HEADER + stored;
    w->last_section = id;
    w->section_count++;
    return 0;
}

static int footer_build(struct object_writer *w, struct tm_err *err)
{
    struct object_scratch *s = w->scratch;
    uint8_t fixed[OBJECT_FOOTER_FIXED];
    size_t name_len = strlen(w->name);
    be32_put(fixed, w->frame_count);
    be32_put(fixed + 4, w->section_count);
    be64_put(fixed + 8, w->raw_bytes);
    be16_put(fixed + 16, (uint16_t)name_len);
    int r = buf_append(&s->footer, fixed, sizeof(fixed), err);
    if (r == 0)
        r = buf_append(&s->footer, w->name, name_len, err);
    if (r == 0)
        r = buf_append_slice(&s->footer, buf_slice(&s->table), err);
    if (r == 0)
        r = buf_append_slice(&s->footer, buf_slice(&s->sections), err);
    if (r == 0 && s->footer.len > OBJECT_FOOTER_MAX)
        r = tm_err_set(err, TM_E_LIMIT, "object '%s': its index is too large", w->name);
    return r;
}

/* Whether the stored object of our name is the one we wrote: 1 yes, 0 no. */
static int is_ours(struct object_writer *w, const uint8_t trailer[OBJECT_TRAILER_BYTES],
                   struct tm_err *err)
{
    struct object_window *windows = w->scratch->windows;
    struct storage_object stored = {.size_bytes = w->stored_bytes};
    int r = storage_can_fetch(w->st) ? 0 : storage_stat(w->st, w->name, &stored, err);
    if (r == 0 && stored.size_bytes != w->stored_bytes)
        return 0;
    if (r == 0)
        r = object_window_begin(&windows[0], w->st, w->name, 0, OBJECT_HEADER_BYTES, err);
    if (r == 0)
        r = object_window_begin(&windows[1], w->st, w->name, w->stored_bytes - OBJECT_TRAILER_BYTES,
                                OBJECT_TRAILER_BYTES, err);
    if (r == 0)
        r = object_window_wait(&windows[0], err);
    if (r == 0)
        r = object_window_wait(&windows[1], err);
    uint64_t said = windows[0].object_bytes;
    /* nonce and digest are in them */
    int ours = r == 0 && (said == UINT64_MAX || said == w->stored_bytes) &&
               memcmp(windows[0].data.data, w->header, OBJECT_HEADER_BYTES) == 0 &&
               memcmp(windows[1].data.data, trailer, OBJECT_TRAILER_BYTES) == 0;
    bool shorter = r < 0 && err->code == TM_E_CORRUPT; /* than ours: all we asked for is in ours */
    object_window_drop(&windows[0]);
    object_window_drop(&windows[1]);
    return r < 0 && !shorter ? r : ours;
}

static int commit(struct object_writer *w, const uint8_t trailer[OBJECT_TRAILER_BYTES],
                  struct tm_err *err)
{
    struct tm_err commit_err;
    int r = storage_writer_commit(w->out, &commit_err);
    bool fenced = w->out->settled || (w->st->features & STORAGE_CONDITIONAL_CREATE) != 0;
    if (r == 0 && fenced)
        return 0;
    if (r < 0 && commit_err.code != TM_E_EXISTS && !commit_err.retryable) {
        *err = commit_err;
        return r;
    }
    struct tm_err look_err;
    int ours = is_ours(w, trailer, &look_err);
    if (ours == 1)
        return 0;
    if (r < 0 && (ours < 0 || commit_err.code != TM_E_EXISTS)) {
        *err = commit_err; /* still unknown: the caller may try again */
        err->retryable = err->retryable || (ours < 0 && look_err.retryable);
        return r;
    }
    if (ours < 0) {
        *err = look_err;
        return ours;
    }
    return tm_err_set(err, TM_E_EXISTS, "object '%s' already exists, written by somebody else",
                      w->name);
}

/* Footer and trailer: nothing more can be written. */
static int complete(struct object_writer *w, struct tm_err *err)
{
    int r = frame_flush(w, err);
    if (r == 0 && !w->header_sent)
        r = send(w, w->header, OBJECT_HEADER_BYTES, err);
    if (r == 0)
        r = footer_build(w, err);
    if (r < 0)
        return r;
    struct slice footer = buf_slice(&w->scratch->footer);
    w->trailer = (struct object_trailer){.footer_offset = w->stored_bytes,
                                         .footer_bytes = (uint32_t)footer.len};
    r = object_digest(w->header, footer, w->trailer.digest, err);
    if (r < 0)
        return r;
    uint8_t bytes[OBJECT_TRAILER_BYTES];
    object_trailer_encode(&w->trailer, bytes);
    r = buf_append(&w->scratch->footer, bytes, sizeof(bytes), err);
    if (r == 0)
        r = send(w, w->scratch->footer.data, w->scratch->footer.len, err);
    w->complete = r == 0;
    return r;
}

int object_writer_seal(struct object_writer *w, struct tm_err *err)
{
    assert(!w->complete);
    int r = complete(w, err);
    return r < 0 ? r : storage_writer_seal(w->out, err);
}

int object_writer_finish(struct object_writer *w, struct object_info *ret, struct tm_err *err)
{
    uint8_t trailer[OBJECT_TRAILER_BYTES];
    int r = w->complete ? 0 : complete(w, err);
    if (r < 0)
        return r;
    object_trailer_encode(&w->trailer, trailer);
    r = commit(w, trailer, err);
    if (r < 0)
        return r;
    struct object_info info = {.stored_bytes = w->stored_bytes,
                               .raw_bytes = w->raw_bytes,
                               .footer_offset = w->trailer.footer_offset,
                               .frame_count = w->frame_count};
    memcpy(info.digest, w->trailer.digest, sizeof(info.digest));
    object_hasher_final(w->scratch, info.hash);
    *ret = info;
    return 0;
}

void object_writer_close(struct object_writer *w)
{
    if (w == NULL)
        return;
    storage_writer_free(w->out);
    w->out = NULL;
    w->scratch->busy = false;
}

int object_put_root(struct object_scratch *scratch, struct storage *st, const char *name,
                    enum object_kind kind, const uint8_t nonce[OBJECT_NONCE_BYTES],
                    struct slice root, struct object_info *ret, struct tm_err *err)
{
    struct object_options options = {.kind = kind, .frame_bytes = 4096};
    memcpy(options.nonce, nonce, OBJECT_NONCE_BYTES);
    TM_CLEANUP(object_writer_closep) struct object_writer *w = NULL;
    int r = object_writer_open(scratch, st, name, &options, &w, err);
    if (r == 0)
        r = object_writer_section(w, OBJECT_SECTION_ROOT, OBJECT_SECTION_REQUIRED, root, err);
    return r < 0 ? r : object_writer_finish(w, ret, err);
}
