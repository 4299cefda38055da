/*
 * Stored objects as an enemy would write them. The first byte says what the rest is:
 *
 *   'o'  an object, as it lies in storage: opened as every kind, read whole
 *   'h'  the same, with all hashes set right first, so that what lies behind them is reached
 *   'r'  a record: decoded by every table
 *   'e'  the event section of a chunk
 *   'd'  u16 length, that many bytes of file section, the rest extents: behind a valid container
 *
 * Nothing may crash, leak, or allocate by a length that was not checked; verdicts do not matter.
 */
#include "common/storage/ram.h"
#include "proto/format/chunk.h"
#include "proto/format/data.h"
#include "proto/format/object_internal.h"
#include "proto/format/stream.h"

#define ID   "20261121T100203Z-0badcafe"
#define NAME "c/t/i/backup/" ID "/manifest.mpk"
/* the one kind whose name says more of its root than the backup */
#define CHECKPOINT "backup/" ID "/checkpoint/0000000000000002.00000009-00000000"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
    struct ram_registry *registry;
    struct storage *st;
    struct object_scratch *scratch;
    struct tm_err err;
};

/* ---- reading everything ---- */

static void read_data_index(struct target *t, struct object_reader *r)
{
    struct codec_arena arena = {0};
    struct data_reader dr;
    struct data_root root;
    struct data_file file;
    struct data_extent extent;
    struct slice piece;
    int code = data_reader_init(&dr, r, &arena, &root, &t->err);
    while (code >= 0 && (code = data_reader_file(&dr, &file, &t->err)) > 0) {
        while (data_reader_extent(&dr, &extent, &t->err) > 0) {
            if (object_reader_piece(r, extent.raw_offset, extent.length, &piece, &t->err) < 0)
                break;
        }
    }
    codec_arena_release(&arena);
}

static void read_object(struct target *t, enum object_kind kind)
{
    struct object_reader *r = NULL;
    struct slice bytes;
    if (object_reader_open(t->scratch, t->st, NAME, kind, NULL, &r, &t->err) < 0)
        return;
    (void)!object_reader_verify(r, &t->err);
    while (object_reader_record(r, &bytes, &t->err) > 0) {
    }
    if (kind == OBJECT_DATA)
        read_data_index(t, r);
    object_reader_close(r);
}

static void read_streams(struct target *t)
{
    struct stream_reader sr = STREAM_READER_INIT;
    struct segment_range range;
    struct plan_range plan;
    struct checkpoint checkpoint;
    struct codec_arena arena = {0};
    struct repo_scope scope = {.cluster = "c", .tenant = "t", .incarnation = "i"};
    if (checkpoint_open(&sr, t->scratch, t->st, &scope, CHECKPOINT, &arena, &checkpoint, &t->err) ==
        0) {
        while (stream_next(&sr, &segment_range_codec, &range, &t->err) > 0) {
        }
    }
    codec_arena_release(&arena);
    stream_release(&sr);
    if (stream_open(&sr, t->scratch, t->st, NAME, OBJECT_SEGMENT, NULL, &t->err) == 0) {
        while (stream_next(&sr, &segment_range_codec, &range, &t->err) > 0) {
        }
    }
    stream_release(&sr);
    if (stream_open(&sr, t->scratch, t->st, NAME, OBJECT_PLAN, NULL, &t->err) == 0) {
        while (stream_next(&sr, &plan_range_codec, &plan, &t->err) > 0) {
        }
    }
    stream_release(&sr);
}

static void read_manifest(struct target *t)
{
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct manifest_item item;
    struct repo_scope scope = {.cluster = "c", .tenant = "t", .incarnation = "i"};
    if (manifest_reader_open(&mr, t->scratch, t->st, &scope, ID, &t->err) == 0) {
        while (manifest_reader_next(&mr, &item, &t->err) > 0) {
        }
    }
    manifest_reader_release(&mr);
}

static bool same_event(const struct log_point *a, const struct log_point *b)
{
    return a->kind == b->kind && a->at == b->at && a->previous == b->previous && a->end == b->end &&
           a->time_us == b->time_us && a->xid == b->xid && strcmp(a->name, b->name) == 0;
}

/* What was read is written again and must read the same. */
static void read_events(struct target *t, struct slice section)
{
    struct events_reader r;
    struct events_writer w = EVENTS_WRITER_INIT;
    struct log_point event;
    if (events_reader_init(&r, section, &t->err) == 0) {
        while (events_reader_next(&r, &event, &t->err) > 0) {
            if (events_writer_add(&w, &event, &t->err) < 0)
                break;
        }
    }
    struct buf again = BUF_INIT;
    uint32_t count = 0;
    if (events_writer_section(&w, &again, &t->err) == 0 &&
        events_reader_init(&r, buf_slice(&again), &t->err) == 0) {
        while (events_reader_next(&r, &event, &t->err) > 0)
            count++;
        if (count != w.count || (count > 0 && !same_event(&event, &w.last)))
            abort();
    }
    buf_release(&again);
    events_writer_release(&w);
}

static void read_chunk(struct target *t)
{
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct slice piece;
    uint64_t at;
    if (chunk_reader_open(&cr, t->scratch, t->st, NAME, NULL, &t->err) == 0) {
        while (chunk_reader_next(&cr, &at, &piece, &t->err) > 0) {
        }
        if (chunk_reader_section(&cr, OBJECT_SECTION_EVENTS, &piece, &t->err) > 0)
            read_events(t, piece);
    }
    chunk_reader_release(&cr);
}

static void read_as_everything(struct target *t)
{
    for (unsigned kind = OBJECT_REPOSITORY; kind <= OBJECT_INTENT; kind++)
        read_object(t, (enum object_kind)kind);
    read_streams(t);
    read_manifest(t);
    read_chunk(t);
}

/* ---- setting hashes right ---- */

static void fix_frames(uint8_t *bytes, size_t len, uint64_t footer_offset, uint32_t footer_bytes)
{
    uint8_t *footer = bytes + footer_offset;
    if (footer_bytes < OBJECT_FOOTER_FIXED)
        return;
    uint32_t frames = be32_get(footer);
    size_t name_len = be16_get(footer + 16);
    size_t left = footer_bytes - OBJECT_FOOTER_FIXED;
    uint64_t at = OBJECT_HEADER_BYTES;
    if (name_len > left || frames > (left - name_len) / OBJECT_FRAME_ENTRY)
        return;
    uint8_t *entry = footer + OBJECT_FOOTER_FIXED + name_len;
    for (uint32_t i = 0; i < frames; i++, entry += OBJECT_FRAME_ENTRY) {
        uint64_t stored = object_entry_stored(entry);
        if (at > len || stored > len - at)
            return;
        object_hash(bytes + at, (size_t)stored, entry + 28);
        if (be32_get(entry + 8) == 0)
            memcpy(entry + 12, entry + 28, OBJECT_HASH_BYTES);
        at += stored;
    }
}

static void fix_hashes(uint8_t *bytes, size_t len)
{
    if (len < OBJECT_HEADER_BYTES + OBJECT_TRAILER_BYTES)
        return;
    uint8_t *trailer = bytes + len - OBJECT_TRAILER_BYTES;
    struct object_trailer t = {.footer_offset = be64_get(trailer),
                               .footer_bytes = be32_get(trailer + 8)};
    struct tm_err err;
    object_header_rehash(bytes);
    if (t.footer_offset > len || t.footer_bytes > len - t.footer_offset)
        return;
    fix_frames(bytes, len, t.footer_offset, t.footer_bytes);
    if (object_digest(bytes, slice_of(bytes + t.footer_offset, t.footer_bytes), t.digest, &err) ==
        0)
        object_trailer_encode(&t, trailer);
}

/* ---- records and sections ---- */

union any_record {
    struct position position;
    struct problem problem;
    struct repository repository;
    struct identity identity;
    struct data_root data_root;
    struct log_chunk log_chunk;
    struct plan_range plan_range;
    struct segment_range segment_range;
    struct checkpoint checkpoint;
    struct segment_ref segment_ref;
    struct log_ref log_ref;
    struct manifest manifest;
    struct tombstone tombstone;
    struct lineage lineage;
    struct log_writer log_writer;
    struct log_entry log_entry;
    struct log_index log_index;
    struct log_mark log_mark;
    struct truncation truncation;
};

static void decode_record(struct target *t, struct slice bytes)
{
    static const struct codec_table *const tables[] = {
        &position_codec,    &problem_codec,    &repository_codec, &identity_codec,
        &data_root_codec,   &log_chunk_codec,  &plan_range_codec, &segment_range_codec,
        &segment_ref_codec, &log_ref_codec,    &manifest_codec,   &tombstone_codec,
        &lineage_codec,     &log_writer_codec, &log_entry_codec,  &log_index_codec,
        &log_mark_codec,    &truncation_codec, &checkpoint_codec,
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(tables); i++) {
        union any_record record;
        struct codec_arena arena = {0};
        struct buf again = BUF_INIT;
        if (codec_decode(tables[i], bytes, &arena, &record, &t->err) == 0)
            (void)!codec_encode(tables[i], &record, CODEC_MINOR_ALL, &again, &t->err);
        buf_release(&again);
        codec_arena_release(&arena);
    }
}

static void read_sections(struct target *t, struct slice in)
{
    struct object_options options = {.kind = OBJECT_DATA, .frame_bytes = 4096};
    struct object_writer *w = NULL;
    struct object_info info;
    struct buf root = BUF_INIT;
    size_t files = in.len >= 2 ? be16_get(in.data) : 0;
    if (in.len < 2 || files > in.len - 2)
        return;
    struct data_root record = {.backup_id = ID};
    int r = codec_encode(&data_root_codec, &record, CODEC_MINOR_ALL, &root, &t->err);
    if (r == 0)
        r = object_writer_open(t->scratch, t->st, NAME, &options, &w, &t->err);
    if (r == 0)
        r = object_writer_append(w, slice_str("0123456789"), &t->err);
    if (r == 0)
        r = object_writer_section(w, 1, 1, buf_slice(&root), &t->err);
    if (r == 0)
        r = object_writer_section(w, 2, 1, slice_of(in.data + 2, files), &t->err);
    if (r == 0)
        r = object_writer_section(w, 3, 1, slice_of(in.data + 2 + files, in.len - 2 - files),
                                  &t->err);
    if (r == 0)
        r = object_writer_finish(w, &info, &t->err);
    object_writer_close(w);
    buf_release(&root);
    if (r == 0)
        read_object(t, OBJECT_DATA);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target t = {.registry = ram_registry_new()};
    if (size == 0 || t.registry == NULL || ram_open(t.registry, "t", &t.st, &t.err) < 0 ||
        object_scratch_new(&t.scratch, &t.err) < 0) {
        ram_registry_free(t.registry);
        return 0;
    }
    struct slice rest = slice_of(data + 1, size - 1);
    if (data[0] == 'r') {
        decode_record(&t, rest);
    } else if (data[0] == 'e') {
        read_events(&t, rest);
    } else if (data[0] == 'd') {
        read_sections(&t, rest);
    } else if (data[0] == 'o' || data[0] == 'h') {
        struct buf copy = BUF_INIT;
        if (buf_append_slice(&copy, rest, &t.err) == 0) {
            if (data[0] == 'h')
                fix_hashes(copy.data, copy.len);
            if (ram_replace(t.st, NAME, buf_slice(&copy), &t.err) == 0 &&
                ram_replace(t.st, "c/t/i/" CHECKPOINT, buf_slice(&copy), &t.err) == 0)
                read_as_everything(&t);
        }
        buf_release(&copy);
    }
    object_scratch_free(t.scratch);
    storage_free(t.st);
    ram_registry_free(t.registry);
    return 0;
}
