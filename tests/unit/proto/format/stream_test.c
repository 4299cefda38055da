/* Record streams, manifests and chunks: round trips, order, counts, and what does not fit together. */
#include "common/hash.h"
#include "proto/format/chunk.h"
#include "proto/format/pack.h"
#include "proto/format/stream.h"
#include "tests/unit/proto/format/fixture.h"

#define ID "20261121T100203Z-0badcafe"

static const uint8_t nonce[16] = "nonce";

/* ---- streams ---- */

static void test_segment_stream(void **state)
{
    struct fixture *f = *state;
    struct object_options options = {
        .kind = OBJECT_SEGMENT, .zstd_level = 3, .frame_bytes = STREAM_FRAME_BYTES};
    struct object_writer *w = NULL;
    struct buf buf = BUF_INIT;
    struct object_info info;
    enum { COUNT = 5000 };
    assert_int_equal(object_writer_open(f->scratch, f->st, "s", &options, &w, &f->err), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t key[8];
        struct position at = {.bytes = slice_of(key, 8), .text = "0/3000148"};
        be32_put(key, i);
        be32_put(key + 4, i + 1);
        struct segment_range range = {.index = i,
                                      .start = slice_of(key, i > 0 ? 4 : 0),
                                      .end = slice_of(key + 4, 4),
                                      .term = 5,
                                      .counter = i,
                                      .object = "backup/x/data/y",
                                      .files = i,
                                      .read_from = i % 2 ? &at : NULL};
        range.digest[31] = (uint8_t)i;
        assert_int_equal(stream_put(w, &buf, &segment_range_codec, &range, &f->err), 0);
    }
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
    buf_release(&buf);

    struct stream_reader sr = STREAM_READER_INIT;
    struct segment_range range;
    assert_int_equal(stream_open(&sr, f->scratch, f->st, "s", OBJECT_SEGMENT, NULL, &f->err), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(stream_next(&sr, &segment_range_codec, &range, &f->err), 1);
        assert_int_equal(range.index, i);
        assert_int_equal(range.digest[31], (uint8_t)i);
        assert_int_equal(be32_get(range.end.data), i + 1);
        assert_int_equal(range.read_from != NULL, i % 2);
    }
    assert_int_equal(stream_next(&sr, &segment_range_codec, &range, &f->err), 0);
    stream_release(&sr);
}

static void test_largest_segment_range_fits(void **state)
{
    struct fixture *f = *state;
    static uint8_t key[FORMAT_KEY_MAX];
    static uint8_t bytes[FORMAT_POSITION_MAX];
    struct buf buf = BUF_INIT;
    char text[1000];
    memset(text, 'x', sizeof(text));
    text[999] = '\0';
    struct position at = {.bytes = slice_of(bytes, sizeof(bytes))};
    memset(at.lineage, 1, sizeof(at.lineage));
    memcpy(at.text, text, sizeof(at.text) - 1);
    struct problem problems[2];
    for (int i = 0; i < 2; i++)
        problem_set(&problems[i], text, UINT64_MAX, text);
    struct segment_range range = {.index = UINT32_MAX,
                                  .start = slice_of(key, sizeof(key)),
                                  .end = slice_of(key, sizeof(key)),
                                  .term = UINT64_MAX,
                                  .counter = UINT32_MAX,
                                  .stored_bytes = UINT64_MAX,
                                  .raw_bytes = UINT64_MAX,
                                  .read_from = &at,
                                  .read_to = &at,
                                  .files = UINT64_MAX,
                                  .pages_checked = UINT64_MAX,
                                  .pages_unverified = UINT64_MAX,
                                  .pages_corrupt = UINT64_MAX,
                                  .problems = problems,
                                  .problems_count = 2};
    memset(range.digest, 1, sizeof(range.digest));
    memcpy(range.object, text, sizeof(range.object) - 1);
    assert_int_equal(codec_encode(&segment_range_codec, &range, CODEC_MINOR_ALL, &buf, &f->err), 0);
    assert_true(buf.len <= SEGMENT_RANGE_ENCODED_MAX);
    buf_release(&buf);
}

static void test_problem_is_cut_at_a_character(void **state)
{
    (void)state;
    struct problem p;
    char text[600];
    memset(text, 'x', 398);
    memcpy(text + 398, "\xc3\xa4 tail", 8);
    problem_set(&p, text, 3, "short");
    assert_int_equal(strlen(p.path), 398);
    assert_string_equal(p.what, "short");
    assert_int_equal(p.block, 3);
}

/* ---- manifest ---- */

static struct manifest test_manifest(void)
{
    return (struct manifest){.backup_id = ID,
                             .cluster = "demo1",
                             .tenant = "main",
                             .incarnation = "42",
                             .engine = "mock",
                             .kind = BACKUP_FULL,
                             .commit_us = 5,
                             .started_us = 4,
                             .completed_us = 6,
                             .term = 2,
                             .counter = 3,
                             .begin = {(const uint8_t *)"begin", 5}};
}

static int write_manifest(struct fixture *f, struct manifest *root, uint32_t segments,
                          uint32_t logs, uint32_t problems)
{
    struct manifest_writer mw = MANIFEST_WRITER_INIT;
    struct object_info info;
    int r = manifest_writer_open(&mw, f->scratch, f->st, &f->scope, ID, nonce, &f->err);
    for (uint32_t i = 0; r == 0 && i < segments; i++) {
        struct segment_ref ref = {.object = "backup/x/checkpoint/y", .ranges = i + 1};
        r = manifest_writer_segment(&mw, &ref, &f->err);
    }
    for (uint32_t i = 0; r == 0 && i < logs; i++) {
        struct log_ref ref = {.object = "backup/x/log/y", .from = i, .to = i + 1};
        r = manifest_writer_log(&mw, &ref, &f->err);
    }
    for (uint32_t i = 0; r == 0 && i < problems; i++) {
        struct problem p;
        problem_set(&p, "file", i, "what");
        r = manifest_writer_problem(&mw, &p, &f->err);
    }
    if (r == 0)
        r = manifest_writer_commit(&mw, root, &info, &f->err);
    manifest_writer_release(&mw);
    return r;
}

static void test_manifest_round_trip(void **state)
{
    struct fixture *f = *state;
    struct manifest root = test_manifest();
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct manifest_item item;
    uint32_t seen[4] = {0};
    int r;
    assert_int_equal(write_manifest(f, &root, 3, 40, MANIFEST_PROBLEMS_MAX + 5), 0);
    assert_int_equal(root.ranges, 6);
    assert_int_equal(root.problems, MANIFEST_PROBLEMS_MAX);
    assert_int_equal(manifest_reader_open(&mr, f->scratch, f->st, &f->scope, ID, &f->err), 0);
    assert_string_equal(mr.root.engine, "mock");
    assert_true(slice_eq(mr.root.begin, slice_str("begin")));
    assert_null(mr.root.consistent_at);
    while ((r = manifest_reader_next(&mr, &item, &f->err)) > 0)
        seen[item.kind]++;
    assert_int_equal(r, 0);
    assert_int_equal(seen[MANIFEST_SEGMENT], 3);
    assert_int_equal(seen[MANIFEST_LOG], 40);
    assert_int_equal(seen[MANIFEST_PROBLEM], MANIFEST_PROBLEMS_MAX);
    assert_true(slice_eq(mr.root.begin, slice_str("begin"))); /* still */
    manifest_reader_release(&mr);
    /* the same writer again: success; another: not */
    assert_int_equal(write_manifest(f, &root, 3, 40, MANIFEST_PROBLEMS_MAX + 5), 0);
    assert_int_equal(write_manifest(f, &root, 3, 41, 0), -TM_E_EXISTS);
}

static void test_manifest_of_another(void **state)
{
    struct fixture *f = *state;
    struct manifest root = test_manifest();
    struct manifest_reader mr = MANIFEST_READER_INIT;
    memcpy(root.tenant, "else", 5);
    assert_int_equal(write_manifest(f, &root, 1, 0, 0), 0);
    assert_int_equal(manifest_reader_open(&mr, f->scratch, f->st, &f->scope, ID, &f->err),
                     -TM_E_CORRUPT);
    assert_string_equal(f->err.msg,
                        "manifest 'demo1/main/42/backup/" ID "/manifest.mpk': it is the "
                        "manifest of backup '" ID "' of demo1/else/42");
    manifest_reader_release(&mr);
}

static void test_manifest_unknown_kind(void **state)
{
    struct fixture *f = *state;
    struct manifest root = test_manifest();
    struct manifest_reader mr = MANIFEST_READER_INIT;
    root.kind = BACKUP_INCREMENTAL;
    assert_int_equal(write_manifest(f, &root, 1, 0, 0), 0);
    assert_int_equal(manifest_reader_open(&mr, f->scratch, f->st, &f->scope, ID, &f->err),
                     -TM_E_UNSUPPORTED);
    manifest_reader_release(&mr);
}

static void test_manifest_counts(void **state)
{
    struct fixture *f = *state;
    struct manifest root = test_manifest();
    struct object_options options = {.kind = OBJECT_MANIFEST};
    struct object_writer *w = NULL;
    struct object_info info;
    struct buf buf = BUF_INIT;
    root.segments = 1; /* and none is listed */
    assert_int_equal(codec_encode(&manifest_codec, &root, CODEC_MINOR_ALL, &buf, &f->err), 0);
    struct rel_name rel = names_rel_manifest(ID);
    assert_int_equal(object_writer_open(f->scratch, f->st, names_full(&f->scope, rel.s).s, &options,
                                        &w, &f->err),
                     0);
    assert_int_equal(object_writer_section(w, 1, 1, buf_slice(&buf), &f->err), 0);
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
    buf_release(&buf);
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct manifest_item item;
    assert_int_equal(manifest_reader_open(&mr, f->scratch, f->st, &f->scope, ID, &f->err), 0);
    assert_int_equal(manifest_reader_next(&mr, &item, &f->err), -TM_E_CORRUPT);
    assert_string_equal(f->err.msg,
                        "manifest of backup '" ID "' lists 0 segments, 0 log objects and "
                        "0 problems, its root says 1, 0 and 0");
    manifest_reader_release(&mr);
}

/* ---- chunks ---- */

#define SEGMENT UINT64_C(4096)

static uint8_t log_byte(uint64_t at)
{
    return (uint8_t)(at * 31 ^ at >> 8);
}

/* Writes [from, to) as one chunk, in pieces of 1000 bytes. */
static void write_chunk(struct fixture *f, struct log_digest *d, uint64_t from, uint64_t to,
                        struct log_ref *ret)
{
    struct chunk_writer cw = CHUNK_WRITER_INIT;
    struct object_info info;
    struct log_chunk root = {.from = from, .term = 1, .counter = 1, .previous_end = from};
    root.lineage[0] = 9;
    memcpy(root.label, "1", 2);
    struct rel_name rel = names_rel_backup_log(ID, from, (struct epoch){1, 1});
    assert_int_equal(chunk_writer_open(&cw, f->scratch, f->st, names_full(&f->scope, rel.s).s,
                                       &root, 3, nonce, d, &f->err),
                     0);
    for (uint64_t at = from; at < to;) {
        uint8_t piece[1000];
        size_t len = (size_t)TM_MIN(to - at, (uint64_t)sizeof(piece));
        for (size_t i = 0; i < len; i++)
            piece[i] = log_byte(at + i);
        assert_int_equal(chunk_writer_data(&cw, slice_of(piece, len), &f->err), 0);
        at += len;
    }
    assert_int_equal(chunk_writer_mark(&cw, to, 123456, &f->err), 0);
    assert_int_equal(chunk_writer_bytes(&cw), to - from);
    assert_int_equal(chunk_writer_finish(&cw, rel.s, ret, &info, &f->err), 0);
    chunk_writer_release(&cw);
    assert_string_equal(ret->object, rel.s);
    assert_int_equal(ret->from, from);
    assert_int_equal(ret->to, to);
}

static void test_chunks(void **state)
{
    struct fixture *f = *state;
    struct log_digest d;
    struct log_ref refs[3];
    const uint64_t bounds[] = {8 * SEGMENT, 9 * SEGMENT + 100, 9 * SEGMENT + 200, 12 * SEGMENT};
    assert_int_equal(log_digest_init(&d, SEGMENT, bounds[0], NULL, &f->err), 0);
    for (int i = 0; i < 3; i++)
        write_chunk(f, &d, bounds[i], bounds[i + 1], &refs[i]);
    assert_int_equal(d.boundaries, 4);

    /* D by its definition */
    uint8_t expected[32] = {0};
    for (uint64_t at = bounds[0]; at < bounds[3]; at += SEGMENT) {
        uint8_t bytes[32 + SEGMENT];
        struct sha256 digest;
        memcpy(bytes, expected, 32);
        for (size_t i = 0; i < SEGMENT; i++)
            bytes[32 + i] = log_byte(at + i);
        assert_int_equal(sha256_of(bytes, sizeof(bytes), &digest, &f->err), 0);
        memcpy(expected, digest.bytes, 32);
    }
    assert_memory_equal(d.at_boundary, expected, 32);
    log_digest_release(&d);

    struct log_digest again;
    struct buf boundaries = BUF_INIT;
    uint64_t next = bounds[0];
    assert_int_equal(log_digest_init(&again, SEGMENT, bounds[0], NULL, &f->err), 0);
    for (int i = 0; i < 3; i++) {
        struct chunk_reader cr = CHUNK_READER_INIT;
        struct slice piece;
        uint64_t at;
        int r;
        struct full_name name = names_full(&f->scope, refs[i].object);
        assert_int_equal(chunk_reader_open(&cr, f->scratch, f->st, name.s, &refs[i], &f->err), 0);
        assert_string_equal(cr.root.label, "1");
        while ((r = chunk_reader_next(&cr, &at, &piece, &f->err)) > 0) {
            assert_int_equal(at, next);
            for (size_t k = 0; k < piece.len; k++)
                assert_int_equal(piece.data[k], log_byte(at + k));
            assert_int_equal(log_digest_update(&again, piece, &boundaries, &f->err), 0);
            next += piece.len;
        }
        assert_int_equal(r, 0);
        chunk_reader_release(&cr);
    }
    assert_int_equal(next, bounds[3]);
    assert_memory_equal(again.at_boundary, expected, 32);
    log_digest_release(&again);
    buf_release(&boundaries);

    struct chunk_reader cr = CHUNK_READER_INIT;
    refs[1].from++;
    assert_int_equal(chunk_reader_open(&cr, f->scratch, f->st,
                                       names_full(&f->scope, refs[1].object).s, &refs[1], &f->err),
                     -TM_E_CORRUPT);
    assert_non_null(strstr(f->err.msg, "': it is not the piece of log that metadata names"));
    chunk_reader_release(&cr);
}

static void test_chunk_digest_start(void **state)
{
    struct fixture *f = *state;
    struct log_digest d;
    assert_int_equal(log_digest_init(&d, SEGMENT, 100, NULL, &f->err), -TM_E_INVALID);
    assert_string_equal(f->err.msg, "log must start at a segment boundary, not at 100");
}

/* ---- pack ---- */

static void test_pack_numbers(void **state)
{
    struct fixture *f = *state;
    const uint64_t values[] = {0,     127,        128,        255,       256,       65535,
                               65536, UINT32_MAX, 1ull << 32, INT64_MAX, UINT64_MAX};
    const int64_t signed_values[] = {0, -1, -32, -33, -128, -129, INT32_MIN, INT64_MIN, INT64_MAX};
    const size_t widths[] = {1, 1, 2, 2, 3, 3, 5, 5, 9, 9, 9};
    struct buf buf = BUF_INIT;
    struct tm_err *e = &f->err;
    for (size_t i = 0; i < TM_ARRAY_LEN(values); i++) {
        uint64_t back = 0;
        buf_reset(&buf);
        assert_int_equal(pack_uint(&buf, values[i], e), 0);
        assert_int_equal(buf.len, widths[i]);
        for (size_t cut = 0; cut < buf.len; cut++) {
            struct slice in = slice_of(buf.data, cut);
            assert_int_equal(unpack_uint(&in, "x", UINT64_MAX, &back, e), -TM_E_CORRUPT);
            assert_string_equal(e->msg, "x: cut off");
        }
        struct slice in = buf_slice(&buf);
        assert_int_equal(unpack_uint(&in, "x", UINT64_MAX, &back, e), 0);
        assert_true(back == values[i] && in.len == 0);
    }
    for (size_t i = 0; i < TM_ARRAY_LEN(signed_values); i++) {
        int64_t back = 0;
        buf_reset(&buf);
        assert_int_equal(pack_int(&buf, signed_values[i], e), 0);
        struct slice in = buf_slice(&buf);
        assert_int_equal(unpack_int(&in, "x", &back, e), 0);
        assert_true(back == signed_values[i] && in.len == 0);
    }
    buf_release(&buf);
}

static void test_pack_texts(void **state)
{
    struct fixture *f = *state;
    struct buf buf = BUF_INIT;
    struct tm_err *e = &f->err;
    for (size_t len = 0; len < 70000; len = len * 3 + 1) {
        char *text = calloc(1, len + 1);
        char *back = calloc(1, len + 1);
        memset(text, 't', len);
        buf_reset(&buf);
        int r = pack_str(&buf, text, e);
        assert_int_equal(r, len <= UINT16_MAX ? 0 : -TM_E_LIMIT);
        struct slice in = buf_slice(&buf);
        if (r == 0) {
            assert_int_equal(unpack_str(&in, "x", back, len + 1, e), 0);
            assert_string_equal(text, back);
        }
        struct slice bytes;
        buf_reset(&buf);
        assert_int_equal(pack_bin(&buf, slice_of(text, len), e), 0);
        in = buf_slice(&buf);
        assert_int_equal(unpack_bin(&in, "x", len, &bytes, e), 0);
        assert_int_equal(bytes.len, len);
        if (len > 0) {
            in = buf_slice(&buf);
            assert_int_equal(unpack_bin(&in, "x", len - 1, &bytes, e), -TM_E_CORRUPT);
            assert_string_equal(e->msg, "x: too long");
        }
        free(text);
        free(back);
    }
    buf_release(&buf);
}

static void test_unpack_refuses(void **state)
{
    struct fixture *f = *state;
    struct tm_err *e = &f->err;
    const struct {
        const char *bytes;
        size_t len;
        const char *text;
    } bad[] = {{"\xc0", 1, "x: not an array"},
               {"\xdd\xff\xff\xff\xff", 5, "x: more items than bytes"},
               {"\xdc\x00", 2, "x: cut off"},
               {"\x92\x00", 2, "x: more items than bytes"}};
    for (size_t i = 0; i < TM_ARRAY_LEN(bad); i++) {
        struct slice in = slice_of(bad[i].bytes, bad[i].len);
        uint32_t count;
        assert_int_equal(unpack_array(&in, "x", &count, e), -TM_E_CORRUPT);
        assert_string_equal(e->msg, bad[i].text);
    }
    struct slice in = slice_of("\xa2"
                               "a\0",
                               3);
    char text[8];
    assert_int_equal(unpack_str(&in, "x", text, sizeof(text), e), -TM_E_CORRUPT);
    assert_string_equal(e->msg, "x: NUL in text");
    in = slice_of("\xdb\xff\xff\xff\xff", 5);
    assert_int_equal(unpack_str(&in, "x", text, sizeof(text), e), -TM_E_CORRUPT);
    assert_string_equal(e->msg, "x: cut off");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_segment_stream),
        T(test_largest_segment_range_fits),
        T(test_problem_is_cut_at_a_character),
        T(test_manifest_round_trip),
        T(test_manifest_of_another),
        T(test_manifest_unknown_kind),
        T(test_manifest_counts),
        T(test_chunks),
        T(test_chunk_digest_start),
        T(test_pack_numbers),
        T(test_pack_texts),
        T(test_unpack_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
