/* The file index of data objects: round trip, and every way in which a hostile one is refused. */
#include "proto/format/data.h"
#include "proto/format/pack.h"
#include "tests/unit/proto/format/fixture.h"

static const struct data_root test_root = {.backup_id = "20261121T100203Z-0badcafe",
                                           .range = 3,
                                           .term = 7,
                                           .counter = 9,
                                           .start = {(const uint8_t *)"a", 1},
                                           .end = {(const uint8_t *)"b", 1}};

static struct object_writer *open_writer(struct fixture *f, const char *name)
{
    struct object_options options = {.kind = OBJECT_DATA, .zstd_level = 1, .frame_bytes = 64};
    struct object_writer *w = NULL;
    assert_int_equal(object_writer_open(f->scratch, f->st, name, &options, &w, &f->err), 0);
    return w;
}

static void add(struct fixture *f, struct data_index *index, struct object_writer *w,
                const struct data_file *file, const char *text)
{
    assert_int_equal(data_index_file(index, file, object_writer_raw_bytes(w), &f->err), 0);
    assert_int_equal(object_writer_append(w, slice_str(text), &f->err), 0);
    assert_int_equal(data_index_file_end(index, object_writer_raw_bytes(w), 0x1234, &f->err), 0);
}

static void store_five(struct fixture *f, struct data_index *index, const char *name)
{
    struct object_info info;
    struct object_writer *w = open_writer(f, name);
    data_index_reset(index);
    add(f, index, w, &(struct data_file){.kind = DATA_DIRECTORY, .path = "base", .mode = 0700}, "");
    add(f, index, w,
        &(struct data_file){.kind = DATA_REGULAR,
                            .path = "base/1",
                            .mode = 0600,
                            .modified_us = -5,
                            .offset_bytes = 1 << 30,
                            .last_part = true},
        "some bytes that are longer than one frame of sixty-four bytes, so that it is split");
    add(f, index, w, &(struct data_file){.kind = DATA_REGULAR, .path = "empty"}, "");
    add(f, index, w,
        &(struct data_file){.kind = DATA_LINK, .path = "pg_tblspc/1", .link = "/srv/ts"}, "");
    add(f, index, w,
        &(struct data_file){.kind = DATA_REGULAR, .path = "/etc/x.conf", .modified_us = 77},
        "conf");
    struct problem problem;
    problem_set(&problem, "base/1", 5, "page checksum");
    assert_int_equal(data_index_problem(index, &problem, &f->err), 0);
    assert_int_equal(data_index_store(index, &test_root, w, &f->err), 0);
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    struct data_index index = DATA_INDEX_INIT;
    store_five(f, &index, "o0");
    store_five(f, &index, "o1"); /* the index is used again */
    data_index_release(&index);

    struct data_reader dr;
    struct data_root root;
    struct data_file file;
    struct data_extent extent;
    struct codec_arena arena = {0};
    struct object_reader *r = NULL;
    assert_int_equal(object_reader_open(f->scratch, f->st, "o1", OBJECT_DATA, NULL, &r, &f->err),
                     0);
    assert_int_equal(data_reader_init(&dr, r, &arena, &root, &f->err), 0);
    assert_string_equal(root.backup_id, test_root.backup_id);
    assert_int_equal(root.range, 3);
    assert_true(slice_eq(root.start, slice_str("a")));
    assert_int_equal(data_reader_file(&dr, &file, &f->err), 1);
    assert_int_equal(file.kind, DATA_DIRECTORY);
    assert_string_equal(file.path, "base");
    assert_int_equal(file.mode, 0700);
    assert_int_equal(data_reader_extent(&dr, &extent, &f->err), 0);
    assert_int_equal(data_reader_file(&dr, &file, &f->err), 1);
    assert_string_equal(file.path, "base/1");
    assert_int_equal(file.modified_us, -5);
    assert_int_equal(file.length_bytes, 82);
    assert_int_equal(file.crc32c, 0x1234);
    assert_true(file.last_part);
    assert_int_equal(data_reader_extent(&dr, &extent, &f->err), 1);
    assert_int_equal(extent.file, 1);
    assert_int_equal(extent.source, DATA_SOURCE_SELF);
    assert_int_equal(extent.file_offset, 1 << 30);
    assert_int_equal(extent.length, 82);
    assert_int_equal(extent.raw_offset, 0);
    assert_int_equal(data_reader_extent(&dr, &extent, &f->err), 0);
    assert_int_equal(data_reader_file(&dr, &file, &f->err), 1);
    assert_string_equal(file.path, "empty");
    assert_false(file.last_part);
    assert_int_equal(data_reader_extent(&dr, &extent, &f->err), 0);
    assert_int_equal(data_reader_file(&dr, &file, &f->err), 1);
    assert_string_equal(file.link, "/srv/ts");
    assert_int_equal(data_reader_extent(&dr, &extent, &f->err), 0);
    assert_int_equal(data_reader_file(&dr, &file, &f->err), 1);
    assert_string_equal(file.path, "/etc/x.conf");
    assert_int_equal(data_reader_extent(&dr, &extent, &f->err), 1);
    assert_int_equal(extent.raw_offset, 82);
    struct slice piece;
    assert_int_equal(object_reader_piece(r, extent.raw_offset, extent.length, &piece, &f->err), 0);
    assert_true(slice_eq(piece, slice_str("conf")));
    assert_int_equal(data_reader_extent(&dr, &extent, &f->err), 0);
    assert_int_equal(data_reader_file(&dr, &file, &f->err), 0);
    object_reader_close(r);
    codec_arena_release(&arena);
}

static void test_bad_paths_are_not_stored(void **state)
{
    struct fixture *f = *state;
    struct data_index index = DATA_INDEX_INIT;
    const char *paths[] = {"", "..", "a/../b", "a//b", "a/", "./a", "a/."};
    for (size_t i = 0; i < TM_ARRAY_LEN(paths); i++) {
        struct data_file file = {.kind = DATA_REGULAR};
        (void)snprintf(file.path, sizeof(file.path), "%s", paths[i]);
        assert_int_equal(data_index_file(&index, &file, 0, &f->err), -TM_E_INVALID);
    }
    data_index_release(&index);
}

/* What a hostile index says about one file and its extents. */
struct hostile {
    const char *path;
    const char *link;
    uint64_t kind;
    uint64_t mode;
    uint64_t offset;
    uint64_t length;
    uint64_t file_count;
    uint64_t extent_count;
    struct data_extent extent[2];
    const char *tail; /* behind the last file */
    const char *text;
};

static void store_hostile(struct fixture *f, const char *name, const struct hostile *h)
{
    struct buf files = BUF_INIT;
    struct buf extents = BUF_INIT;
    struct buf root = BUF_INIT;
    struct object_info info;
    struct tm_err *e = &f->err;
    struct object_writer *w = open_writer(f, name);
    assert_int_equal(object_writer_append(w, slice_str("0123456789"), e), 0);
    assert_int_equal(codec_encode(&data_root_codec, &test_root, CODEC_MINOR_ALL, &root, e), 0);
    assert_int_equal(object_writer_section(w, 1, 1, buf_slice(&root), e), 0);
    assert_int_equal(pack_uint(&files, h->file_count, e) | pack_array(&files, 9, e) |
                         pack_uint(&files, h->kind, e) | pack_str(&files, h->path, e) |
                         pack_str(&files, h->link ? h->link : "", e) |
                         pack_uint(&files, h->mode, e) | pack_int(&files, 0, e) |
                         pack_uint(&files, h->offset, e) | pack_uint(&files, h->length, e) |
                         pack_bool(&files, true, e) | pack_uint(&files, 0, e),
                     0);
    if (h->tail != NULL)
        assert_int_equal(buf_append(&files, h->tail, strlen(h->tail), e), 0);
    assert_int_equal(object_writer_section(w, 2, 1, buf_slice(&files), e), 0);
    assert_int_equal(pack_uint(&extents, h->extent_count, e), 0);
    for (size_t i = 0; i < 2 && i < h->extent_count; i++)
        assert_int_equal(pack_array(&extents, 5, e) | pack_uint(&extents, h->extent[i].file, e) |
                             pack_uint(&extents, h->extent[i].source, e) |
                             pack_uint(&extents, h->extent[i].file_offset, e) |
                             pack_uint(&extents, h->extent[i].length, e) |
                             pack_uint(&extents, h->extent[i].raw_offset, e),
                         0);
    assert_int_equal(object_writer_section(w, 3, 1, buf_slice(&extents), e), 0);
    assert_int_equal(object_writer_finish(w, &info, e), 0);
    object_writer_close(w);
    buf_release(&files);
    buf_release(&extents);
    buf_release(&root);
}

static int read_whole(struct fixture *f, const char *name)
{
    struct object_reader *r = NULL;
    struct data_reader dr;
    struct data_file file;
    struct data_extent extent;
    struct codec_arena arena = {0};
    int code = object_reader_open(f->scratch, f->st, name, OBJECT_DATA, NULL, &r, &f->err);
    if (code == 0)
        code = data_reader_init(&dr, r, &arena, NULL, &f->err);
    while (code >= 0 && (code = data_reader_file(&dr, &file, &f->err)) > 0) {
        while ((code = data_reader_extent(&dr, &extent, &f->err)) > 0) {
        }
    }
    object_reader_close(r);
    codec_arena_release(&arena);
    return code;
}

static void test_hostile(void **state)
{
    struct fixture *f = *state;
#define GOOD  .kind = 1, .path = "a", .mode = 0600, .length = 10, .file_count = 1, .extent_count = 1
#define WHOLE .extent = { {0, 0, 0, 10, 0} }
    const struct hostile cases[] = {
        {GOOD, WHOLE, .text = NULL},
        {.kind = 1,
         .path = "a",
         .length = 10,
         .file_count = 1,
         .extent_count = 2,
         .extent = {{0, 0, 0, 4, 6}, {0, 0, 4, 6, 0}},
         .text = NULL},
        {.kind = 1,
         .path = "../a",
         .length = 10,
         .file_count = 1,
         .extent_count = 1,
         WHOLE,
         .text = "file entry 0: file '../a': '.' or '..' in a path"},
        {.kind = 1, .path = "", .file_count = 1, .text = "file entry 0: file '': an empty path"},
        {.kind = 0, .path = "a", .file_count = 1, .text = "file entry 0: file 'a': no kind"},
        {.kind = 9, .path = "a", .file_count = 1, .text = "file entry 0: file kind: too large"},
        {.kind = 1,
         .path = "a",
         .mode = 010000,
         .file_count = 1,
         .text = "file entry 0: file mode: too large"},
        {.kind = 2,
         .path = "a",
         .length = 10,
         .file_count = 1,
         .extent_count = 1,
         WHOLE,
         .text = "file entry 0: file 'a': bytes in what is not a file"},
        {.kind = 3,
         .path = "a",
         .file_count = 1,
         .text = "file entry 0: file 'a': a link to nowhere"},
        {.kind = 1,
         .path = "a",
         .offset = INT64_MAX,
         .length = 10,
         .file_count = 1,
         .text = "file entry 0: file 'a': an impossible length"},
        {.kind = 1,
         .path = "a",
         .offset = UINT64_MAX,
         .file_count = 1,
         .text = "file entry 0: file offset: too large"},
        {.kind = 1,
         .path = "a",
         .length = 10,
         .file_count = 1,
         .text = "file entry 0: its extents do not cover it"},
        {GOOD, .extent = {{0, 0, 0, 9, 0}}, .text = "file entry 0: its extents do not cover it"},
        {GOOD, .extent = {{0, 0, 0, 11, 0}},
         .text = "file entry 0: an extent lies outside of it or of the object"},
        {GOOD, .extent = {{0, 0, 0, 10, 1}},
         .text = "file entry 0: an extent lies outside of it or of the object"},
        {GOOD, .extent = {{0, 0, 1, 9, 0}},
         .text = "file entry 0: an extent lies outside of it or of the object"},
        {GOOD, .extent = {{0, 0, 0, 10, INT64_MAX}},
         .text = "file entry 0: an extent lies outside of it or of the object"},
        {GOOD, .extent = {{0, 0, 0, 0, 0}},
         .text = "file entry 0: an extent lies outside of it or of the object"},
        {GOOD, .extent = {{0, 3, 0, 10, 0}}, .text = "extent source 3 is not known"},
        {GOOD, .extent = {{1, 0, 0, 10, 0}}, .text = "extents out of order"},
        {.kind = 1, .path = "a", .file_count = 2, .text = "file entry 1: file: cut off"},
        {.kind = 1, .path = "a", .file_count = 200, .text = "files: more items than bytes"},
        {.kind = 1, .path = "a", .file_count = UINT32_MAX, .text = "files: too large"},
        {.kind = 1, .path = "a", .file_count = 0, .text = "bytes behind the last file or extent"},
        {.kind = 1,
         .path = "a",
         .file_count = 1,
         .tail = "x",
         .text = "bytes behind the last file or extent"},
        {.kind = 1,
         .path = "a",
         .file_count = 1,
         .extent_count = 900000,
         .text = "extents: more items than bytes"},
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(cases); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "case%zu", i);
        store_hostile(f, name, &cases[i]);
        int code = read_whole(f, name);
        if (cases[i].text == NULL) {
            assert_int_equal(code, 0);
            continue;
        }
        assert_string_equal(f->err.msg, cases[i].text);
        assert_true(code == -TM_E_CORRUPT || code == -TM_E_UNSUPPORTED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_paths_are_not_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
