/*
 * Objects of the first version, kept in tests/corpus/object: every later version must read them, and
 * must still write the same bytes. With TIDEMARK_WRITE_CORPUS=1 they are written (a new kind of
 * object; never to make a failing test pass).
 */
#include <stdio.h>

#include "common/fs.h"
#include "common/hash.h"
#include "proto/format/chunk.h"
#include "proto/format/data.h"
#include "proto/format/pack.h"
#include "proto/format/stream.h"
#include "tests/unit/proto/format/fixture.h"

#define ID         "20261121T100203Z-0badcafe"
#define NAME       "c/t/i/backup/" ID "/manifest.mpk"
#define DIR        "tests/corpus/object/"
#define CHECKPOINT "backup/" ID "/checkpoint/0000000000000002.00000009-00000000"

static const uint8_t nonce[16] = "corpus nonce 123";

/* Compares with the kept file (mode byte first), or writes it. */
static void kept(struct fixture *f, const char *file, char mode, struct slice bytes)
{
    struct buf mine = BUF_INIT;
    struct buf theirs = BUF_INIT;
    char path[256];
    (void)snprintf(path, sizeof(path), DIR "%s", file);
    assert_int_equal(buf_append(&mine, &mode, 1, &f->err), 0);
    assert_int_equal(buf_append_slice(&mine, bytes, &f->err), 0);
    if (getenv("TIDEMARK_WRITE_CORPUS") != NULL) {
        assert_int_equal(fs_mkdir_p(DIR, 0755, &f->err), 0);
        assert_int_equal(fs_write_atomic(path, buf_slice(&mine), 0644, &f->err), 0);
    }
    if (fs_read_file(path, 1 << 20, &theirs, &f->err) < 0)
        fail_msg("%s", f->err.msg);
    if (!slice_eq(buf_slice(&mine), buf_slice(&theirs)))
        fail_msg("%s: other bytes than the first version wrote", file);
    buf_release(&mine);
    buf_release(&theirs);
}

/* The object just stored, kept plain and for the mutations behind the hashes. */
static void kept_object_of(struct fixture *f, const char *object, const char *file)
{
    size_t len = 0;
    char name[64];
    const uint8_t *bytes = ram_bytes(f->st, object, &len);
    (void)snprintf(name, sizeof(name), "object-%s", file);
    kept(f, name, 'o', slice_of(bytes, len));
    (void)snprintf(name, sizeof(name), "hashed-%s", file);
    kept(f, name, 'h', slice_of(bytes, len));
    assert_int_equal(storage_remove(f->st, &object, 1, &f->err), 0);
}

static void kept_object(struct fixture *f, const char *file)
{
    kept_object_of(f, NAME, file);
}

static void test_roots(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    struct repository repository = {.version = 1, .id = "repository id 1", .created_us = 1};
    struct identity identity = {.cluster = "c",
                                .tenant = "t",
                                .incarnation = "i",
                                .engine = "postgres",
                                .engine_version = "15.18",
                                .created_us = 2};
    struct tombstone tombstone = {
        .backup_id = ID, .deleted_us = 3, .grace_s = 60, .reason = "expired", .node = "db-a"};
    struct lineage lineage = {.id = "lineage",
                              .parent = "parent",
                              .fork = 4096,
                              .label = "2",
                              .history = slice_str("1\t0/3000148\tx\n"),
                              .created_us = 4};
    struct log_writer writer = {.lineage = "lineage", .term = 1, .counter = 2, .from = 4096};
    struct log_mark mark = {
        .lineage = "lineage", .at = 8192, .time_us = 5, .term = 1, .counter = 2};
    struct truncation truncation = {.lineage = "lineage",
                                    .from = 4096,
                                    .until_us = 6,
                                    .until_position = "0/1000",
                                    .term = 1,
                                    .counter = 2,
                                    .node = "db-a",
                                    .created_us = 7};
    struct log_index index = {.lineage = "lineage",
                              .from = 4096,
                              .to = 8192,
                              .chunks = 1,
                              .term = 1,
                              .counter = 2,
                              .stored_bytes = 9,
                              .last_record = 8000,
                              .min_us = 1,
                              .max_us = 2,
                              .mark_at = 8192,
                              .mark_us = 3};
    const struct {
        const char *file;
        enum object_kind kind;
        const struct codec_table *table;
        const void *record;
    } all[] = {
        {"repository", OBJECT_REPOSITORY, &repository_codec, &repository},
        {"identity", OBJECT_IDENTITY, &identity_codec, &identity},
        {"tombstone", OBJECT_TOMBSTONE, &tombstone_codec, &tombstone},
        {"lineage", OBJECT_LINEAGE, &lineage_codec, &lineage},
        {"writer", OBJECT_WRITER, &log_writer_codec, &writer},
        {"mark", OBJECT_MARK, &log_mark_codec, &mark},
        {"truncation", OBJECT_TRUNCATION, &truncation_codec, &truncation},
        {"log-index", OBJECT_LOG_INDEX, &log_index_codec, &index},
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(all); i++) {
        struct buf record = BUF_INIT;
        char name[64];
        assert_int_equal(record_put(f->scratch, f->st, NAME, all[i].kind, nonce, all[i].table,
                                    all[i].record, &info, &f->err),
                         0);
        kept_object(f, all[i].file);
        assert_int_equal(
            codec_encode(all[i].table, all[i].record, CODEC_MINOR_ALL, &record, &f->err), 0);
        (void)snprintf(name, sizeof(name), "record-%s", all[i].file);
        kept(f, name, 'r', buf_slice(&record));
        buf_release(&record);
    }
}

static void test_data(void **state)
{
    struct fixture *f = *state;
    struct object_options options = {.kind = OBJECT_DATA, .frame_bytes = 64, .block_bytes = 8};
    struct data_index index = DATA_INDEX_INIT;
    struct object_writer *w = NULL;
    struct object_info info;
    struct tm_err *e = &f->err;
    memcpy(options.nonce, nonce, 16);
    for (options.zstd_level = 0; options.zstd_level <= 3; options.zstd_level += 3) {
        assert_int_equal(object_writer_open(f->scratch, f->st, NAME, &options, &w, e), 0);
        data_index_reset(&index);
        struct data_file dir = {.kind = DATA_DIRECTORY, .path = "base", .mode = 0700};
        struct data_file file = {.kind = DATA_REGULAR,
                                 .path = "base/1",
                                 .mode = 0600,
                                 .modified_us = 77,
                                 .offset_bytes = 8192,
                                 .last_part = true};
        struct data_file link = {.kind = DATA_LINK, .path = "pg_tblspc/1", .link = "/srv/ts"};
        assert_int_equal(data_index_file(&index, &dir, 0, e) | data_index_file_end(&index, 0, 0, e),
                         0);
        assert_int_equal(data_index_file(&index, &file, 0, e), 0);
        static const uint8_t zeros[200];
        assert_int_equal(object_writer_append(w, slice_of(zeros, 200), e), 0);
        assert_int_equal(data_index_file_end(&index, 200, 0x12345678, e), 0);
        assert_int_equal(
            data_index_file(&index, &link, 200, e) | data_index_file_end(&index, 200, 0, e), 0);
        struct problem problem;
        problem_set(&problem, "base/1", 1, "page checksum");
        assert_int_equal(data_index_problem(&index, &problem, e), 0);
        struct data_root root = {.backup_id = ID,
                                 .range = 1,
                                 .term = 2,
                                 .counter = 3,
                                 .start = slice_str("a"),
                                 .node = "db-a"};
        assert_int_equal(data_index_store(&index, &root, w, e), 0);
        assert_int_equal(object_writer_finish(w, &info, e), 0);
        object_writer_close(w);
        if (options.zstd_level == 0)
            kept_object(f, "data"); /* zstd's bytes differ between its versions */
    }
    /* sections alone, behind a container made anew by the fuzzer */
    uint8_t length[2];
    struct buf sections = BUF_INIT;
    struct buf files = BUF_INIT;
    assert_int_equal(pack_uint(&files, index.file_count, e), 0);
    assert_int_equal(buf_append_slice(&files, buf_slice(&index.files), e), 0);
    be16_put(length, (uint16_t)files.len);
    assert_int_equal(buf_append(&sections, length, 2, e), 0);
    assert_int_equal(buf_append_slice(&sections, buf_slice(&files), e), 0);
    assert_int_equal(pack_uint(&sections, index.extent_count, e), 0);
    assert_int_equal(buf_append_slice(&sections, buf_slice(&index.extents), e), 0);
    kept(f, "sections-data", 'd', buf_slice(&sections));
    buf_release(&sections);
    buf_release(&files);
    data_index_release(&index);
}

static void test_streams(void **state)
{
    struct fixture *f = *state;
    struct object_options options = {.kind = OBJECT_SEGMENT, .frame_bytes = 4096};
    struct object_writer *w = NULL;
    struct object_info info;
    struct buf buf = BUF_INIT;
    struct position at = {
        .lineage = "lineage", .bytes = slice_str("12345678"), .text = "0/3000148"};
    struct problem problem;
    problem_set(&problem, "base/1", 1, "page checksum");
    struct segment_range range = {.end = slice_str("b"),
                                  .term = 2,
                                  .counter = 3,
                                  .object = "backup/" ID "/data/00000000-0000000000000002.00000003",
                                  .stored_bytes = 4,
                                  .raw_bytes = 5,
                                  .digest = "digest",
                                  .read_from = &at,
                                  .read_to = &at,
                                  .files = 6,
                                  .pages_checked = 7,
                                  .pages_corrupt = 1,
                                  .problems = &problem,
                                  .problems_count = 1};
    struct plan_range plan = {.index = 1, .start = slice_str("b"), .bytes = 128};
    memcpy(options.nonce, nonce, 16);
    assert_int_equal(object_writer_open(f->scratch, f->st, NAME, &options, &w, &f->err), 0);
    assert_int_equal(stream_put(w, &buf, &segment_range_codec, &range, &f->err), 0);
    range.index = 1;
    assert_int_equal(stream_put(w, &buf, &segment_range_codec, &range, &f->err), 0);
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
    kept(f, "record-segment", 'r', buf_slice(&buf));
    kept_object(f, "segment");
    options.kind = OBJECT_PLAN;
    assert_int_equal(object_writer_open(f->scratch, f->st, NAME, &options, &w, &f->err), 0);
    assert_int_equal(stream_put(w, &buf, &plan_range_codec, &plan, &f->err), 0);
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
    kept(f, "record-plan", 'r', buf_slice(&buf));
    kept_object(f, "plan");
    buf_release(&buf);
}

static void test_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct repo_scope scope = {.cluster = "c", .tenant = "t", .incarnation = "i"};
    struct object_options options = {.kind = OBJECT_CHECKPOINT, .frame_bytes = 4096};
    struct object_writer *w = NULL;
    struct object_info info;
    struct stream_reader sr;
    struct codec_arena arena = {0};
    struct checkpoint back;
    struct sha256 digest;
    struct buf buf = BUF_INIT;
    struct position at = {.bytes = slice_str("12345678"), .text = "0/3000148"};
    struct checkpoint root = {.backup_id = ID,
                              .cluster = "c",
                              .tenant = "t",
                              .incarnation = "i",
                              .engine = "postgres",
                              .lineage_label = "1",
                              .replay_from = &at,
                              .term = 2,
                              .counter = 9,
                              .plan_term = 1,
                              .plan_counter = 4,
                              .plan_ranges = 2,
                              .begin = slice_str("begin"),
                              .results = 1,
                              .started_us = 5,
                              .written_us = 6,
                              .node = "db-a"};
    struct segment_range range = {.index = 1,
                                  .start = slice_str("a"),
                                  .end = slice_str("b"),
                                  .term = 2,
                                  .counter = 3,
                                  .object = "backup/" ID "/data/00000001-0000000000000002.00000003",
                                  .stored_bytes = 4,
                                  .raw_bytes = 5,
                                  .digest = "digest"};
    assert_int_equal(sha256_of("begin", 5, &digest, &f->err), 0);
    memcpy(root.begin_digest, digest.bytes, sizeof(digest.bytes));
    memcpy(options.nonce, nonce, 16);
    assert_int_equal(
        object_writer_open(f->scratch, f->st, "c/t/i/" CHECKPOINT, &options, &w, &f->err), 0);
    assert_int_equal(stream_put(w, &buf, &segment_range_codec, &range, &f->err), 0);
    buf_reset(&buf);
    assert_int_equal(codec_encode(&checkpoint_codec, &root, CODEC_MINOR_ALL, &buf, &f->err), 0);
    assert_int_equal(object_writer_section(w, 1, 1, buf_slice(&buf), &f->err), 0);
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
    kept(f, "record-checkpoint", 'r', buf_slice(&buf));
    assert_int_equal(
        checkpoint_open(&sr, f->scratch, f->st, &scope, CHECKPOINT, &arena, &back, &f->err), 0);
    assert_true(slice_eq(back.begin, root.begin));
    assert_string_equal(back.replay_from->text, "0/3000148");
    assert_int_equal(stream_next(&sr, &segment_range_codec, &range, &f->err), 1);
    assert_int_equal(stream_next(&sr, &segment_range_codec, &range, &f->err), 0);
    stream_release(&sr);
    codec_arena_release(&arena);
    kept_object_of(f, "c/t/i/" CHECKPOINT, "checkpoint");
    buf_release(&buf);
}

static void test_manifest(void **state)
{
    struct fixture *f = *state;
    struct repo_scope scope = {.cluster = "c", .tenant = "t", .incarnation = "i"};
    struct manifest_writer mw = MANIFEST_WRITER_INIT;
    struct object_info info;
    struct position at = {
        .lineage = "lineage", .bytes = slice_str("12345678"), .text = "0/3000148"};
    struct manifest root = {.backup_id = ID,
                            .cluster = "c",
                            .tenant = "t",
                            .incarnation = "i",
                            .engine = "postgres",
                            .kind = BACKUP_FULL,
                            .lineage = "lineage",
                            .lineage_label = "1",
                            .replay_from = &at,
                            .consistent_at = &at,
                            .log_to = 8192,
                            .commit_us = 5,
                            .term = 2,
                            .counter = 9,
                            .begin = slice_str("begin"),
                            .end = slice_str("end")};
    struct segment_ref segment = {.object =
                                      "backup/" ID "/checkpoint/0000000000000002.00000009-00000000",
                                  .stored_bytes = 6,
                                  .raw_bytes = 7,
                                  .digest = "digest",
                                  .ranges = 2};
    struct log_ref log = {.object = "backup/" ID "/log/0000000000000000-0000000000000002.00000009",
                          .digest = "digest",
                          .lineage = "lineage",
                          .to = 8192,
                          .label = "1"};
    struct problem problem;
    problem_set(&problem, "base/1", 1, "page checksum");
    assert_int_equal(manifest_writer_open(&mw, f->scratch, f->st, &scope, ID, nonce, &f->err), 0);
    assert_int_equal(manifest_writer_segment(&mw, &segment, &f->err), 0);
    assert_int_equal(manifest_writer_log(&mw, &log, &f->err), 0);
    assert_int_equal(manifest_writer_problem(&mw, &problem, &f->err), 0);
    assert_int_equal(manifest_writer_commit(&mw, &root, &info, &f->err), 0);
    manifest_writer_release(&mw);
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct manifest_item item;
    assert_int_equal(manifest_reader_open(&mr, f->scratch, f->st, &scope, ID, &f->err), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(manifest_reader_next(&mr, &item, &f->err), 1);
    assert_int_equal(manifest_reader_next(&mr, &item, &f->err), 0);
    manifest_reader_release(&mr);
    struct buf record = BUF_INIT;
    assert_int_equal(codec_encode(&manifest_codec, &root, CODEC_MINOR_ALL, &record, &f->err), 0);
    kept(f, "record-manifest", 'r', buf_slice(&record));
    buf_release(&record);
}

static void test_chunk(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeros[5000];
    struct chunk_writer cw = CHUNK_WRITER_INIT;
    struct log_digest d;
    struct log_ref ref;
    struct object_info info;
    struct log_chunk root = {
        .lineage = "lineage", .label = "1", .from = 4096, .term = 1, .counter = 2, .written_us = 9};
    assert_int_equal(log_digest_init(&d, 4096, 4096, NULL, &f->err), 0);
    assert_int_equal(chunk_writer_open(&cw, f->scratch, f->st, NAME, &root, 0, nonce, &d, &f->err),
                     0);
    assert_int_equal(chunk_writer_data(&cw, slice_of(zeros, sizeof(zeros)), &f->err), 0);
    assert_int_equal(chunk_writer_mark(&cw, 5000, 1234567, &f->err), 0);
    assert_int_equal(chunk_writer_finish(&cw, "log", &ref, &info, &f->err), 0);
    chunk_writer_release(&cw);
    log_digest_release(&d);
    kept_object(f, "chunk");
}

/* A chunk as the log task writes it: with events, and a section of an engine. */
static void test_task_chunk(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeros[1000];
    struct chunk_writer cw = CHUNK_WRITER_INIT;
    struct events_writer ew = EVENTS_WRITER_INIT;
    struct log_ref ref;
    struct object_info info;
    struct log_chunk root = {.lineage = "lineage", .label = "1", .from = 4096, .term = 1};
    struct log_point commit = {.kind = EVENT_COMMIT,
                               .at = 4200,
                               .previous = 4150,
                               .end = 4300,
                               .time_us = 1234567,
                               .xid = 77};
    struct log_point point = {
        .kind = EVENT_POINT, .at = 4300, .previous = 4200, .end = 4400, .name = "before"};
    assert_int_equal(events_writer_add(&ew, &commit, &f->err), 0);
    assert_int_equal(events_writer_add(&ew, &point, &f->err), 0);
    assert_int_equal(
        chunk_writer_open(&cw, f->scratch, f->st, NAME, &root, 0, nonce, NULL, &f->err), 0);
    assert_int_equal(chunk_writer_data(&cw, slice_of(zeros, sizeof(zeros)), &f->err), 0);
    assert_int_equal(chunk_writer_events(&cw, &ew, 4300, &f->err), 0);
    assert_int_equal(chunk_writer_section(&cw, 256, slice_str("blocks"), &f->err), 0);
    assert_int_equal(chunk_writer_finish(&cw, "log", &ref, &info, &f->err), 0);
    chunk_writer_release(&cw);
    kept_object(f, "task-chunk");
    struct buf section = BUF_INIT;
    assert_int_equal(events_writer_section(&ew, &section, &f->err), 0);
    kept(f, "events", 'e', buf_slice(&section));
    buf_release(&section);
    events_writer_release(&ew);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_roots), T(test_data),       T(test_streams),    T(test_manifest),
        T(test_chunk), T(test_task_chunk), T(test_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
