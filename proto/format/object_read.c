/*
 * Reading an object. Happy path: size → tail with trailer and footer, and header → digest; then
 * frames on demand (object_window.c), each checked as stored, decompressed, and checked raw.
 *
 * Everything that is read is hostile until its hash was seen, and after that still only as honest
 * as its writer: every length is bounded before memory or arithmetic depends on it. Failure modes
 * name the object and the frame; TM_E_CORRUPT is never retryable, storage's own errors may be.
 */
#include <assert.h>

#include "proto/format/object_internal.h"

#define TAIL_BYTES (64u << 10) /* read at once from the end: most footers lie in it */

static int corrupt(const struct object_reader *r, struct tm_err *err, const char *what)
{
    return tm_err_set(err, TM_E_CORRUPT, "object '%s': %s", r->name, what);
}

/* ---- opening ---- */

static uint8_t *window_at(struct object_reader *r, size_t window, uint64_t offset)
{
    struct object_window *w = &r->scratch->windows[window];
    return w->data.data + (offset - w->offset);
}

/* The object's end, and its header, which may lie in it, into the windows. */
static int ends_read(struct object_reader *r, struct tm_err *err)
{
    struct object_window *windows = r->scratch->windows;
    uint64_t size = r->info.stored_bytes;
    size_t tail = (size_t)TM_MIN(size, (uint64_t)TAIL_BYTES);
    int code = object_window_begin(&windows[0], r->st, r->name, size - tail, tail, err);
    if (code == 0 && tail < size)
        code = object_window_begin(&windows[1], r->st, r->name, 0, OBJECT_HEADER_BYTES, err);
    if (code == 0)
        code = object_window_wait(&windows[0], err);
    if (code == 0 && tail < size)
        code = object_window_wait(&windows[1], err);
    return code;
}

/* Afterwards scratch->footer holds exactly the footer. */
static int footer_read(struct object_reader *r, struct object_trailer *ret, struct tm_err *err)
{
    uint64_t size = r->info.stored_bytes;
    struct buf *footer = &r->scratch->footer;
    size_t tail = r->scratch->windows[0].len;
    buf_reset(footer);
    struct object_trailer t;
    int code = object_trailer_decode(window_at(r, 0, size - OBJECT_TRAILER_BYTES), &t, err);
    if (code < 0)
        return tm_err_prefix(err, "object '%s'", r->name);
    if (t.footer_bytes < OBJECT_FOOTER_FIXED || t.footer_bytes > OBJECT_FOOTER_MAX ||
        t.footer_offset < OBJECT_HEADER_BYTES || t.footer_offset > size ||
        size - t.footer_offset != (uint64_t)t.footer_bytes + OBJECT_TRAILER_BYTES)
        return corrupt(r, err, "trailer does not fit the object's size");
    code = buf_reserve(footer, t.footer_bytes, err);
    if (code == 0 && t.footer_bytes + OBJECT_TRAILER_BYTES <= tail)
        memcpy(footer->data, window_at(r, 0, t.footer_offset), t.footer_bytes);
    else if (code == 0)
        code = storage_read(r->st, r->name, t.footer_offset, footer->data, t.footer_bytes, err);
    if (code < 0)
        return code;
    footer->len = t.footer_bytes;
    *ret = t;
    return 0;
}

/* Header against its hash, and header with footer against the trailer's digest. */
static int header_check(struct object_reader *r, enum object_kind kind,
                        const struct object_trailer *trailer, struct tm_err *err)
{
    const uint8_t *header = window_at(r, r->scratch->windows[0].offset == 0 ? 0 : 1, 0);
    int code = object_header_decode(header, &r->header, err);
    if (code < 0)
        return tm_err_prefix(err, "object '%s'", r->name);
    uint8_t digest[OBJECT_DIGEST_BYTES];
    code = object_digest(header, buf_slice(&r->scratch->footer), digest, err);
    if (code < 0)
        return code;
    if (memcmp(digest, trailer->digest, sizeof(digest)) != 0)
        return corrupt(r, err, "header and footer do not match their digest");
    if (r->header.kind != (uint32_t)kind)
        return tm_err_set(err, TM_E_CORRUPT, "object '%s' is of kind %s, not %s", r->name,
                          object_kind_text((enum object_kind)r->header.kind),
                          object_kind_text(kind));
    memcpy(r->info.digest, digest, sizeof(digest));
    return 0;
}

/* The frames must fill the space between header and footer exactly. */
static int table_check(struct object_reader *r, struct tm_err *err)
{
    uint64_t raw = 0;
    uint64_t stored = OBJECT_HEADER_BYTES;
    for (uint32_t i = 0; i < r->info.frame_count; i++) {
        const uint8_t *entry = r->table + (size_t)i * OBJECT_FRAME_ENTRY;
        uint32_t flags = be32_get(entry + 8);
        uint64_t raw_len = object_entry_raw(entry);
        uint64_t stored_len = object_entry_stored(entry);
        bool zstd = flags == OBJECT_FRAME_ZSTD && r->header.compressed;
        if (raw_len == 0 || raw_len > r->header.frame_bytes || stored_len == 0 ||
            stored_len > raw_len || (flags != 0 && !zstd) || (!zstd && stored_len != raw_len))
            return tm_err_set(err, TM_E_CORRUPT, "object '%s': frame %u: impossible lengths",
                              r->name, i);
        raw += raw_len;
        stored += stored_len;
    }
    if (raw != r->info.raw_bytes || stored != r->info.footer_offset)
        return corrupt(r, err, "frame table does not fit the object's size");
    return 0;
}

static int sections_parse(struct object_reader *r, struct slice rest, struct tm_err *err)
{
    uint32_t last_id = 0;
    for (uint32_t i = 0; i < r->section_count; i++) {
        struct object_section_entry *s = &r->sections[i];
        if (rest.len < OBJECT_SECTION_HEADER)
            return corrupt(r, err, "footer is cut off");
        *s = (struct object_section_entry){.id = be16_get(rest.data),
                                           .flags = be16_get(rest.data + 2),
                                           .raw_bytes = be32_get(rest.data + 4)};
        uint32_t stored = be32_get(rest.data + 8);
        bool zstd = (s->flags & OBJECT_SECTION_ZSTD) != 0;
        if (s->id <= last_id || s->raw_bytes > OBJECT_SECTION_MAX || stored > s->raw_bytes ||
            (!zstd && stored != s->raw_bytes) || rest.len - OBJECT_SECTION_HEADER < stored ||
            (s->flags & ~(OBJECT_SECTION_ZSTD | OBJECT_SECTION_REQUIRED)) != 0)
            return corrupt(r, err, "footer: impossible section");
        s->stored = slice_of(rest.data + OBJECT_SECTION_HEADER, stored);
        last_id = s->id;
        rest = slice_of(rest.data + OBJECT_SECTION_HEADER + stored,
                        rest.len - OBJECT_SECTION_HEADER - stored);
    }
    return rest.len == 0 ? 0 : corrupt(r, err, "bytes behind the footer's last section");
}

static int footer_parse(struct object_reader *r, struct tm_err *err)
{
    struct slice footer = buf_slice(&r->scratch->footer);
    r->info.frame_count = be32_get(footer.data);
    r->section_count = be32_get(footer.data + 4);
    r->info.raw_bytes = be64_get(footer.data + 8);
    size_t name_len = be16_get(footer.data + 16);
    size_t left = footer.len - OBJECT_FOOTER_FIXED;
    if (name_len > left || r->section_count > OBJECT_SECTIONS_MAX ||
        r->info.frame_count > (left - name_len) / OBJECT_FRAME_ENTRY)
        return corrupt(r, err, "footer is cut off");
    const uint8_t *name = footer.data + OBJECT_FOOTER_FIXED;
    if (name_len != strlen(r->name) || memcmp(name, r->name, name_len) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "object '%s' was stored as '%.*s'", r->name,
                          (int)TM_MIN(name_len, (size_t)STORAGE_NAME_MAX), (const char *)name);
    r->table = name + name_len;
    size_t table_len = (size_t)r->info.frame_count * OBJECT_FRAME_ENTRY;
    int code = table_check(r, err);
    if (code < 0)
        return code;
    return sections_parse(r, slice_of(r->table + table_len, left - name_len - table_len), err);
}

static int expected_check(const struct object_reader *r, const struct object_ref *expect,
                          struct tm_err *err)
{
    if (expect == NULL)
        return 0;
    if (memcmp(expect->digest, r->info.digest, OBJECT_DIGEST_BYTES) != 0)
        return corrupt(r, err, "it is not the object that metadata names: another digest");
    if (expect->raw_bytes != r->info.raw_bytes)
        return corrupt(r, err, "it is not the object that metadata names: another length");
    return 0;
}

static int size_check(const struct object_reader *r, const struct object_ref *expect,
                      uint64_t size_bytes, struct tm_err *err)
{
    if (expect == NULL || size_bytes == expect->stored_bytes)
        return 0;
    return tm_err_set(err, TM_E_CORRUPT,
                      "object '%s' has %llu bytes, metadata says %llu: it is cut off or damaged",
                      r->name, (unsigned long long)size_bytes,
                      (unsigned long long)expect->stored_bytes);
}

static int size_ask(struct object_reader *r, const struct object_ref *expect, struct tm_err *err)
{
    struct storage_object stored;
    int code = storage_stat(r->st, r->name, &stored, err);
    if (code < 0)
        return code;
    r->info.stored_bytes = stored.size_bytes;
    return size_check(r, expect, stored.size_bytes, err);
}

/* Where a question costs a way to the store and back, the size that is expected is taken to be right
 * until the answer to the first read tells; only when it does not is the size asked for. */
static int ends_check(struct object_reader *r, const struct object_ref *expect, struct tm_err *err)
{
    bool guessed = expect != NULL && storage_can_fetch(r->st);
    if (guessed)
        r->info.stored_bytes = expect->stored_bytes;
    int code = guessed ? 0 : size_ask(r, expect, err);
    if (code < 0)
        return code;
    if (r->info.stored_bytes < OBJECT_HEADER_BYTES + OBJECT_FOOTER_FIXED + OBJECT_TRAILER_BYTES)
        return corrupt(r, err, "too short to be an object");
    code = ends_read(r, err);
    if (!guessed || (code < 0 && err->code != TM_E_CORRUPT))
        return code;
    uint64_t said = code == 0 ? r->scratch->windows[0].object_bytes : UINT64_MAX;
    struct tm_err size_err;
    int sized = said != UINT64_MAX ? size_check(r, expect, said, &size_err)
                                   : size_ask(r, expect, &size_err);
    if (sized < 0) {
        *err = size_err;
        return sized;
    }
    return code;
}

static int open_checked(struct object_reader *r, enum object_kind kind,
                        const struct object_ref *expect, struct tm_err *err)
{
    int code = ends_check(r, expect, err);
    struct object_trailer trailer;
    if (code == 0)
        code = footer_read(r, &trailer, err);
    if (code != 0)
        return code;
    r->info.footer_offset = trailer.footer_offset;
    code = header_check(r, kind, &trailer, err);
    if (code == 0)
        code = footer_parse(r, err);
    return code < 0 ? code : expected_check(r, expect, err);
}

static void windows_drop(struct object_scratch *s)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(s->windows); n++)
        object_window_drop(&s->windows[n]);
}

int object_reader_open(struct object_scratch *scratch, struct storage *st, const char *name,
                       enum object_kind kind, const struct object_ref *expect,
                       struct object_reader **ret, struct tm_err *err)
{
    assert(!scratch->busy);
    struct object_reader *r = &scratch->reader;
    memset(r, 0, sizeof(*r));
    r->scratch = scratch;
    r->st = st;
    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    int code = open_checked(r, kind, expect, err);
    if (code < 0) {
        windows_drop(scratch);
        return code;
    }
    scratch->busy = true;
    *ret = r;
    return 0;
}

void object_reader_close(struct object_reader *r)
{
    if (r == NULL)
        return;
    windows_drop(r->scratch);
    r->scratch->busy = false;
}

const struct object_info *object_reader_info(const struct object_reader *r)
{
    return &r->info;
}

const uint8_t *object_reader_nonce(const struct object_reader *r)
{
    return r->header.nonce;
}

/* ---- frames ---- */

/* Decompresses exactly one zstd frame of exactly raw_len bytes. */
static int unpack(struct object_scratch *s, struct slice stored, uint8_t *dst, size_t raw_len,
                  bool *ret_good, struct tm_err *err)
{
    int r = object_scratch_dctx(s, err);
    if (r < 0)
        return r;
    *ret_good = ZSTD_getFrameContentSize(stored.data, stored.len) == raw_len &&
                ZSTD_findFrameCompressedSize(stored.data, stored.len) == stored.len &&
                ZSTD_decompressDCtx(s->dctx, dst, raw_len, stored.data, stored.len) == raw_len;
    return 0;
}

static int frame_corrupt(const struct object_reader *r, uint32_t index, const char *what,
                         struct tm_err *err)
{
    return tm_err_set(err, TM_E_CORRUPT, "object '%s': frame %u: %s", r->name, index, what);
}

/* The frame at the reader's position, as stored. */
static int frame_read(struct object_reader *r, uint8_t **ret, struct tm_err *err)
{
    const uint8_t *entry = r->table + (size_t)r->frame * OBJECT_FRAME_ENTRY;
    size_t stored_len = (size_t)object_entry_stored(entry);
    uint8_t hash[OBJECT_HASH_BYTES];
    r->have_frame = false;
    uint8_t *stored = NULL;
    int code = object_window_frame(r, stored_len, &stored, err);
    if (code < 0)
        return tm_err_prefix(err, "frame %u", r->frame);
    object_hash(stored, stored_len, hash);
    if (memcmp(hash, entry + 28, sizeof(hash)) != 0)
        return frame_corrupt(r, r->frame, "stored bytes do not match their hash", err);
    *ret = stored;
    return 0;
}

/* Reads the frame at the reader's position: its raw bytes are in scratch->frame, or where they came
 * when they are stored as they are. */
static int frame_load(struct object_reader *r, struct tm_err *err)
{
    struct object_scratch *s = r->scratch;
    const uint8_t *entry = r->table + (size_t)r->frame * OBJECT_FRAME_ENTRY;
    size_t raw_len = (size_t)object_entry_raw(entry);
    uint8_t *stored = NULL;
    uint8_t hash[OBJECT_HASH_BYTES];
    bool zstd = be32_get(entry + 8) == OBJECT_FRAME_ZSTD;
    bool good = true;
    int code = frame_read(r, &stored, err);
    if (code == 0 && zstd)
        code = buf_reserve(&s->frame, r->header.frame_bytes, err);
    if (code == 0 && zstd)
        code = unpack(s, slice_of(stored, (size_t)object_entry_stored(entry)), s->frame.data,
                      raw_len, &good, err);
    if (code < 0)
        return code;
    if (!good)
        return frame_corrupt(r, r->frame, "it does not decompress to its length", err);
    uint8_t *raw = zstd ? s->frame.data : stored;
    object_hash(raw, raw_len, hash);
    if (memcmp(hash, entry + 12, sizeof(hash)) != 0)
        return frame_corrupt(r, r->frame, "raw bytes do not match their hash", err);
    r->frame_raw = slice_of(raw, raw_len);
    r->have_frame = true;
    return 0;
}

/* Moves the reader's position to frame `index`, forward from where it is, else from the start. */
static void frame_seek(struct object_reader *r, uint32_t index)
{
    if (index < r->frame || r->frame_offset == 0) {
        r->frame = 0;
        r->frame_offset = OBJECT_HEADER_BYTES;
        r->frame_raw_start = 0;
        r->have_frame = false;
    }
    while (r->frame < index) {
        const uint8_t *entry = r->table + (size_t)r->frame * OBJECT_FRAME_ENTRY;
        r->frame_offset += object_entry_stored(entry);
        r->frame_raw_start += object_entry_raw(entry);
        r->frame++;
        r->have_frame = false;
    }
}

int object_reader_frame(struct object_reader *r, uint32_t index, struct slice *ret,
                        struct tm_err *err)
{
    if (index >= r->info.frame_count)
        return tm_err_set(err, TM_E_INVALID, "object '%s' has no frame %u", r->name, index);
    frame_seek(r, index);
    int code = r->have_frame ? 0 : frame_load(r, err);
    if (code == 0)
        *ret = r->frame_raw;
    return code;
}

/* To the frame that holds raw_offset, which is below raw_bytes. */
static void raw_seek(struct object_reader *r, uint64_t raw_offset)
{
    if (r->frame_offset == 0 || raw_offset < r->frame_raw_start)
        frame_seek(r, 0);
    while (raw_offset - r->frame_raw_start >=
           object_entry_raw(r->table + (size_t)r->frame * OBJECT_FRAME_ENTRY))
        frame_seek(r, r->frame + 1);
}

bool object_reader_frame_hash(struct object_reader *r, uint64_t raw_offset, uint64_t *ret_bytes,
                              uint8_t ret_hash[OBJECT_HASH_BYTES])
{
    if (raw_offset >= r->info.raw_bytes)
        return false;
    raw_seek(r, raw_offset);
    if (raw_offset != r->frame_raw_start)
        return false;
    const uint8_t *entry = r->table + (size_t)r->frame * OBJECT_FRAME_ENTRY;
    *ret_bytes = object_entry_raw(entry);
    memcpy(ret_hash, entry + 12, OBJECT_HASH_BYTES);
    return true;
}

int object_reader_piece(struct object_reader *r, uint64_t raw_offset, uint64_t max_bytes,
                        struct slice *ret, struct tm_err *err)
{
    if (raw_offset >= r->info.raw_bytes || max_bytes == 0)
        return tm_err_set(err, TM_E_INVALID, "object '%s' has no raw byte %llu", r->name,
                          (unsigned long long)raw_offset);
    raw_seek(r, raw_offset);
    struct slice frame = SLICE_EMPTY;
    int code = object_reader_frame(r, r->frame, &frame, err);
    if (code < 0)
        return code;
    size_t skip = (size_t)(raw_offset - r->frame_raw_start);
    *ret = slice_of(frame.data + skip, (size_t)TM_MIN(max_bytes, (uint64_t)(frame.len - skip)));
    return 0;
}

int object_reader_record(struct object_reader *r, struct slice *ret, struct tm_err *err)
{
    if (r->info.frame_count == 0)
        return 0;
    struct slice frame = SLICE_EMPTY;
    int code = object_reader_frame(r, r->frame_offset == 0 ? 0 : r->frame, &frame, err);
    if (code < 0)
        return code;
    if (r->record_at == frame.len) {
        if (r->frame + 1 == r->info.frame_count)
            return 0;
        r->record_at = 0;
        code = object_reader_frame(r, r->frame + 1, &frame, err);
        if (code < 0)
            return code;
    }
    assert(frame.data != NULL);
    size_t left = frame.len - r->record_at;
    uint32_t len = left >= 4 ? be32_get(frame.data + r->record_at) : 0;
    if (left < 4 || len > left - 4)
        return frame_corrupt(r, r->frame, "a record runs over its end", err);
    *ret = slice_of(frame.data + r->record_at + 4, len);
    r->record_at += 4 + (size_t)len;
    return 1;
}

/* ---- sections ---- */

int object_reader_section(struct object_reader *r, uint16_t id, struct slice *ret,
                          struct tm_err *err)
{
    uint32_t at = 0;
    while (at < r->section_count && r->sections[at].id != id)
        at++;
    if (at == r->section_count)
        return 0;
    struct object_section_entry *s = &r->sections[at];
    if ((s->flags & OBJECT_SECTION_ZSTD) == 0) {
        *ret = s->stored;
        return 1;
    }
    struct buf *raw = &r->scratch->section_raw[at];
    if (!s->loaded) {
        bool good = false;
        buf_reset(raw);
        int code = buf_reserve(raw, s->raw_bytes, err);
        if (code == 0)
            code = unpack(r->scratch, s->stored, raw->data, s->raw_bytes, &good, err);
        if (code < 0)
            return code;
        if (!good)
            return tm_err_set(err, TM_E_CORRUPT,
                              "object '%s': section %u does not decompress to its length", r->name,
                              id);
        raw->len = s->raw_bytes;
        s->loaded = true;
    }
    *ret = buf_slice(raw);
    return 1;
}

int object_reader_require_known(struct object_reader *r, const uint16_t *known, size_t count,
                                struct tm_err *err)
{
    for (uint32_t i = 0; i < r->section_count; i++) {
        size_t at = 0;
        while (at < count && known[at] != r->sections[i].id)
            at++;
        if (at == count && (r->sections[i].flags & OBJECT_SECTION_REQUIRED) != 0)
            return tm_err_set(err, TM_E_UNSUPPORTED,
                              "object '%s': required section %u is not known: a newer Tidemark "
                              "wrote it",
                              r->name, r->sections[i].id);
    }
    return 0;
}

int object_reader_verify_stored(struct object_reader *r, struct tm_err *err)
{
    for (uint32_t i = 0; i < r->info.frame_count; i++) {
        uint8_t *stored;
        frame_seek(r, i);
        int code = frame_read(r, &stored, err);
        if (code < 0)
            return code;
    }
    return 0;
}

int object_reader_verify(struct object_reader *r, struct tm_err *err)
{
    struct slice bytes = SLICE_EMPTY;
    for (uint32_t i = 0; i < r->info.frame_count; i++) {
        int code = object_reader_frame(r, i, &bytes, err);
        if (code < 0)
            return code;
    }
    for (uint32_t i = 0; i < r->section_count; i++) {
        int code = object_reader_section(r, r->sections[i].id, &bytes, err);
        if (code < 0)
            return code;
    }
    return 0;
}

int object_reader_root(struct object_reader *r, struct slice *ret, struct tm_err *err)
{
    static const uint16_t known[] = {OBJECT_SECTION_ROOT};
    int code = object_reader_require_known(r, known, TM_ARRAY_LEN(known), err);
    if (code == 0)
        code = object_reader_section(r, OBJECT_SECTION_ROOT, ret, err);
    if (code == 0)
        return corrupt(r, err, "no root section");
    return code < 0 ? code : 0;
}

int object_get_root(struct object_scratch *scratch, struct storage *st, const char *name,
                    enum object_kind kind, struct buf *ret, struct tm_err *err)
{
    TM_CLEANUP(object_reader_closep) struct object_reader *r = NULL;
    int code = object_reader_open(scratch, st, name, kind, NULL, &r, err);
    struct slice root = SLICE_EMPTY;
    if (code == 0)
        code = object_reader_root(r, &root, err);
    return code < 0 ? code : buf_append_slice(ret, root, err);
}
