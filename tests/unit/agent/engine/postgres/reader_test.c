/*
 * Plan and read on a made-up data directory: everything exactly once whatever the size of ranges,
 * and what happens when files grow, shrink, vanish and appear between plan and read.
 */
#include "tests/unit/agent/engine/postgres/reader_room.h"

/* ---- a plan and what is read ---- */

struct seen {
    char path[ENGINE_PATH_MAX];
    enum file_kind kind;
    uint64_t at; /* how far parts have come */
    bool last;
    uint32_t crc;
    unsigned parts;
};

struct run {
    struct range_sink base;
    size_t count;
    struct {
        size_t len;
        uint8_t bytes[ENGINE_KEY_MAX];
    } keys[RANGES_MAX];
    uint64_t planned[RANGES_MAX]; /* bytes of each range */
    size_t seen_count;
    struct seen seen[FILES_MAX];
    struct seen *open;
    struct buf order; /* paths in the order they came */
    struct buf problems;
    uint8_t room[3 * BLOCK]; /* a sink whose buffers are small */
};

static int take_range(void *arg, struct engine_key_range range, uint64_t bytes, struct tm_err *err)
{
    struct run *run = arg;
    (void)err;
    assert_true(run->count + 1 < RANGES_MAX);
    run->planned[run->count] = bytes;
    assert_true(
        slice_eq(range.start, slice_of(run->keys[run->count].bytes, run->keys[run->count].len)));
    run->count++;
    memcpy(run->keys[run->count].bytes, range.end.data, range.end.len);
    run->keys[run->count].len = range.end.len;
    return 0;
}

static int on_begin(struct range_sink *base, const struct file_entry *entry, struct tm_err *err)
{
    struct run *run = (struct run *)(void *)base;
    struct seen *seen = run->seen;
    assert_null(run->open);
    while (seen < run->seen + run->seen_count && strcmp(seen->path, entry->path) != 0)
        seen++;
    if (seen == run->seen + run->seen_count) {
        assert_true(run->seen_count < FILES_MAX);
        run->seen_count++;
        memcpy(seen->path, entry->path, sizeof(seen->path));
        seen->kind = entry->kind;
        assert_int_equal(buf_printf(&run->order, err, "%s ", entry->path), 0);
    }
    /* parts are adjacent, and nothing comes after the last */
    assert_int_equal(entry->offset_bytes, seen->at);
    assert_false(seen->last);
    seen->last = entry->last_part;
    seen->parts++;
    if (entry->kind == FILE_LINK)
        assert_true(entry->link[0] == '/');
    run->open = seen;
    return 0;
}

static int on_room(struct range_sink *base, size_t want, uint8_t **ret, size_t *ret_bytes,
                   struct tm_err *err)
{
    struct run *run = (struct run *)(void *)base;
    (void)err;
    (void)want;
    *ret = run->room;
    *ret_bytes = sizeof(run->room); /* may be more than wanted */
    return 0;
}

static int on_advance(struct range_sink *base, size_t bytes, struct tm_err *err)
{
    struct run *run = (struct run *)(void *)base;
    (void)err;
    assert_true(bytes <= sizeof(run->room));
    run->open->crc = crc32c(run->open->crc, run->room, bytes);
    run->open->at += bytes;
    return 0;
}

static int on_end(struct range_sink *base, uint32_t crc, struct tm_err *err)
{
    struct run *run = (struct run *)(void *)base;
    (void)err;
    if (run->open->parts == 1)
        assert_int_equal(crc, run->open->crc);
    run->open = NULL;
    return 0;
}

static int on_problem(struct range_sink *base, const char *path, uint64_t block, const char *what,
                      struct tm_err *err)
{
    struct run *run = (struct run *)(void *)base;
    assert_true(block == ENGINE_NO_BLOCK); /* no page is corrupt here */
    return buf_printf(&run->problems, err, "%s: %s\n",
                      strrchr(path, '/') ? strrchr(path, '/') : path, what);
}

static const struct range_sink_ops sink_ops = {on_begin, on_room, on_advance, on_end, on_problem};

static struct run *run_new(void)
{
    struct run *run = calloc(1, sizeof(*run));
    assert_non_null(run);
    run->base.ops = &sink_ops;
    return run;
}

static void run_free(struct run *run)
{
    buf_release(&run->order);
    buf_release(&run->problems);
    free(run);
}

static void plan(struct engine_reader *reader, struct run *run, uint64_t bytes, uint32_t files)
{
    struct tm_err err = {0};
    struct engine_plan_options options = {bytes, files};
    if (pg_plan(reader, &options, take_range, run, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(run->keys[run->count].len, 1);
    assert_int_equal(run->keys[run->count].bytes[0], FILES_CLASS_FINAL);
}

static void read_all(struct engine_reader *reader, struct run *run)
{
    struct tm_err err = {0};
    struct engine_range_stats stats;
    for (size_t n = 0; n < run->count; n++) {
        struct engine_key_range range = {slice_of(run->keys[n].bytes, run->keys[n].len),
                                         slice_of(run->keys[n + 1].bytes, run->keys[n + 1].len)};
        if (pg_read_range(reader, range, &run->base, &stats, &err) < 0)
            fail_msg("range %zu: %s", n, err.msg);
    }
}

static struct engine_reader *open_reader(const struct room *room)
{
    struct engine_reader *reader = NULL;
    struct tm_err err = {0};
    if (pg_reader_open(&room->instance, buf_slice(&room->begin), &reader, &err) < 0)
        fail_msg("%s", err.msg);
    return reader;
}

static const struct seen *find(const struct run *run, const char *path)
{
    for (size_t n = 0; n < run->seen_count; n++)
        if (strcmp(run->seen[n].path, path) == 0)
            return &run->seen[n];
    return NULL;
}

/* find, for what must be there */
static struct seen seen_of(const struct run *run, const char *path)
{
    const struct seen *seen = find(run, path);
    if (seen)
        return *seen;
    fail_msg("'%s' was not read", path);
    return (struct seen){0};
}

static void expect_file(const struct run *run, const char *path, uint64_t bytes)
{
    const struct seen *seen = find(run, path);
    if (!seen)
        fail_msg("'%s' was not read", path);
    else if (seen->at != bytes)
        fail_msg("'%s' has %llu bytes", path, (unsigned long long)seen->at);
    else if (!seen->last)
        fail_msg("'%s' has no last part", path);
}

/* ---- tests ---- */

/* a tablespace inside the data directory is walked by its link alone */
#define ORDER                                                                                      \
    "PG_VERSION base base/1 base/1/0400 base/1/PG_VERSION base/5 big.log empty global "            \
    "global/pg_filenode.map linked.conf pg_replslot pg_tblspc pg_tblspc/16500 "                    \
    "pg_tblspc/16500/" VERSION " pg_tblspc/16500/" VERSION "/5 pg_tblspc/16600 "                   \
    "pg_tblspc/16600/" VERSION " pg_tblspc/16600/" VERSION "/5 pg_twophase "                       \
    "pg_twophase/000002bb pg_twophase/FFFFFFF0 pg_wal pg_wal/archive_status "                      \
    "pg_xact pg_xact/0000 base/1/100 base/1/100_fsm base/1/101 base/1/101.1 base/1/101.2 "         \
    "base/1/102 base/1/200_init base/5/100 global/1262 global/1262_vm "                            \
    "pg_tblspc/16500/" VERSION "/5/600 pg_tblspc/16600/" VERSION "/5/700 "

static void expect_all(const struct room *room, struct run *run)
{
    char want[PATH_BYTES];
    const char *order = NULL, *problems = NULL;
    struct tm_err err = {0};
    assert_int_equal(buf_cstr(&run->order, &order, &err), 0);
    assert_int_equal(buf_cstr(&run->problems, &problems, &err), 0);
    snprintf(want, sizeof(want), "%s%s/etc.conf ", ORDER, room->top);
    assert_string_equal(order, want);
    assert_string_equal(problems,
                        "/400: a named pipe is not in the backup\n"
                        "dangling: symbolic link leads to no file or directory: it is not in the "
                        "backup\n"
                        "log: symbolic link to a directory is not followed: what is behind it is "
                        "not in the backup\n"
                        "null: symbolic link leads to no file or directory: it is not in the "
                        "backup\n"
                        "/16700: symbolic link leads to no file or directory: it is not "
                        "in the backup\n"
                        "/FFFFFFF0: the state file of a prepared transaction is damaged: its "
                        "checksum is wrong\n"
                        "socket: a socket is not in the backup\n"
                        "/gone.conf: configuration file cannot be read: No such file or "
                        "directory\n");
    expect_file(run, "PG_VERSION", 3);
    expect_file(run, "big.log", (3u << 20) + 77);
    expect_file(run, "linked.conf", 9);
    expect_file(run, "base/1/100", 3 * BLOCK);
    expect_file(run, "base/1/101", SEGMENT * BLOCK);
    expect_file(run, "base/1/101.1", SEGMENT * BLOCK);
    expect_file(run, "base/1/101.2", BLOCK + 100);
    expect_file(run, "base/1/102", 0);
    expect_file(run, "base/1/200_init", 0);
    assert_int_equal(seen_of(run, "pg_tblspc/" OTHER_OID).kind, FILE_LINK);
    assert_int_equal(seen_of(run, "pg_replslot").kind, FILE_DIRECTORY);
}

/* One range for each class, of which a standby may read the middle one. */
static void expect_classes(const struct run *run)
{
    assert_int_equal(run->count, 3);
    for (size_t n = 0; n < 3; n++) {
        const struct engine_key_range range = {
            slice_of(run->keys[n].bytes, run->keys[n].len),
            slice_of(run->keys[n + 1].bytes, run->keys[n + 1].len)};
        assert_int_equal(pg_range_anywhere(range), n == 1);
    }
}

static void test_exactly_once(void **state)
{
    const struct room *room = *state;
    static const struct {
        uint64_t bytes;
        uint32_t files;
    } sizes[] = {{0, 0},         {0, 1},
                 {0, 2},         {0, 3},
                 {1, 0},         {BLOCK, 0},
                 {1500, 0},      {2048, 3},
                 {3 * BLOCK, 5}, {1u << 20, 0},
                 {700000, 4},    {5000, 7},
                 {4096, 1},      {SEGMENT * BLOCK, 0}};
    uint32_t crc = 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(sizes); n++) {
        struct engine_reader *reader = open_reader(room);
        struct run *run = run_new();
        plan(reader, run, sizes[n].bytes, sizes[n].files);
        read_all(reader, run);
        expect_all(room, run);
        if (n == 0) {
            expect_classes(run);
            crc = seen_of(run, "base/1/101").crc;
        } else {
            assert_true(run->count > 3);
        }
        assert_int_equal(seen_of(run, "base/1/101").crc, crc);
        run_free(run);
        pg_reader_close(reader);
    }
}

/* Without a wish for a size, ranges start small and grow with what lies before them. */
static void test_growing_ranges(void **state)
{
    const struct room *room = *state;
    const uint64_t mib = 1u << 20, whole = 8192 * mib;
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/big", room->data);
    write_at(room, "big", 0);
    assert_int_equal(truncate(path, (off_t)whole), 0);
    struct engine_reader *reader = open_reader(room);
    struct run *run = run_new();
    plan(reader, run, 0, 0);
    uint64_t before = 0;
    for (size_t n = 0; n < run->count; n++) {
        uint64_t most = TM_MIN(TM_MAX(before / 16, 32 * mib), 128 * mib);
        assert_true(run->planned[n] <= most);
        if (n + 3 < run->count)                        /* behind is the end of a class */
            assert_true(run->planned[n] > most - mib); /* cut at a unit */
        before += run->planned[n];
    }
    assert_true(before >= whole && before < whole + 16 * mib);
    assert_int_equal(run->count, 90);
    run_free(run);
    pg_reader_close(reader);
    assert_int_equal(unlink(path), 0);
}

/* Ranges of one block each, read by a reader that has not seen the plan. */
static void test_changes_between(void **state)
{
    const struct room *room = *state;
    char full[PATH_BYTES];
    struct engine_reader *planner = open_reader(room);
    struct run *run = run_new();
    plan(planner, run, BLOCK, 0);
    pg_reader_close(planner);

    write_at(room, "base/1/100", 2 * BLOCK);       /* shrank in the middle of a segment */
    write_at(room, "base/1/101", BLOCK);           /* shrank, its other segments stay */
    write_at(room, "base/1/100_fsm", 3 * BLOCK);   /* grew */
    write_at(room, "base/5/100", SEGMENT * BLOCK); /* grew to a full segment */
    write_at(room, "base/5/100.1", 2 * BLOCK);     /* and one more */
    write_at(room, "base/5/99", BLOCK);            /* is new */
    write_at(room, "base/5/4000000000", BLOCK);    /* is new */
    write_at(room, "pg_xact/0001", 100);           /* is new */
    write_at(room, "big.log", (1u << 20) + 5);     /* shrank: parts of a MiB */
    snprintf(full, sizeof(full), "%s/base/1/102", room->data);
    assert_int_equal(unlink(full), 0);

    struct engine_reader *reader = open_reader(room);
    read_all(reader, run);
    /* middle parts keep their length: the rest is zeros */
    expect_file(run, "base/1/100", 2 * BLOCK);
    expect_file(run, "base/1/101", (SEGMENT - 1) * BLOCK);
    expect_file(run, "base/1/101.1", SEGMENT * BLOCK);
    expect_file(run, "base/1/100_fsm", 3 * BLOCK);
    expect_file(run, "base/5/100", SEGMENT * BLOCK);
    expect_file(run, "base/5/100.1", 2 * BLOCK);
    expect_file(run, "base/5/99", BLOCK);
    expect_file(run, "base/5/4000000000", BLOCK);
    expect_file(run, "pg_xact/0001", 100);
    expect_file(run, "big.log", 3u << 20);
    assert_null(find(run, "base/1/102"));
    run_free(run);
    pg_reader_close(reader);
}

/* Any byte string may cut a range, as long as the ends meet. */
static void test_odd_keys(void **state)
{
    const struct room *room = *state;
    struct engine_reader *reader = open_reader(room);
    struct run *run = run_new();
    static const char *const cuts[] = {"\x0F",
                                       "\x10",
                                       "\x10z",
                                       "\x10"
                                       "base",
                                       "\x10"
                                       "base\x01",
                                       "\x10"
                                       "base\x01"
                                       "1\x01PG",
                                       "\x10"
                                       "big.log",
                                       "\x10zzz",
                                       "\x11",
                                       "\x20",
                                       "\x20\x01",
                                       "\x21",
                                       "\x30",
                                       "\x31"};
    static const size_t order[] = {0, 1, 3, 4, 5, 6, 2, 7, 8, 9, 10, 11, 12, 13};
    for (size_t n = 0; n < TM_ARRAY_LEN(order); n++) {
        const char *cut = cuts[order[n]];
        run->count++;
        run->keys[run->count].len = strlen(cut);
        memcpy(run->keys[run->count].bytes, cut, strlen(cut));
    }
    run->count++;
    run->keys[run->count].len = 1;
    run->keys[run->count].bytes[0] = FILES_CLASS_FINAL;
    read_all(reader, run);
    expect_all(room, run);

    /* an end that is open reaches everything but the final range */
    struct engine_range_stats stats;
    struct tm_err err = {0};
    struct run *open = run_new();
    assert_int_equal(pg_read_range(reader, (struct engine_key_range){SLICE_EMPTY, SLICE_EMPTY},
                                   &open->base, &stats, &err),
                     0);
    expect_all(room, open);
    assert_int_equal(stats.pages_checked, 0);
    run_free(open);
    run_free(run);
    pg_reader_close(reader);
}

static void test_final(void **state)
{
    const struct room *room = *state;
    struct engine_reader *reader = open_reader(room);
    struct run *run = run_new();
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    TM_CLEANUP(pg_end_release) struct pg_end end = {.stop_lsn = 17u << 20, .timeline = 1};
    struct engine_range_stats stats;
    struct tm_err err = {0};
    const char *order = NULL;
    assert_int_equal(buf_append(&end.backup_label, "LABEL\n", 6, &err), 0);
    assert_int_equal(buf_append(&end.tablespace_map, "16500 /x\n", 9, &err), 0);
    assert_int_equal(pg_end_encode(&end, &blob, &err), 0);
    assert_int_equal(pg_read_final(reader, buf_slice(&blob), &run->base, &stats, &err), 0);
    assert_int_equal(buf_cstr(&run->order, &order, &err), 0);
    assert_string_equal(order, "backup_label tablespace_map global/pg_control ");
    expect_file(run, "backup_label", 6);
    expect_file(run, "global/pg_control", 8192);
    assert_int_equal(stats.files, 3);
    assert_int_equal(stats.bytes, 8192 + 6 + 9);
    run_free(run);
    pg_reader_close(reader);
}

static void test_refusals(void **state)
{
    const struct room *room = *state;
    struct engine_reader *reader = NULL;
    struct tm_err err = {0};
    char want[200];
    struct engine_instance elsewhere = {"main", "/nowhere", ""};
    assert_true(pg_reader_open(&elsewhere, buf_slice(&room->begin), &reader, &err) < 0);
    assert_string_equal(err.msg,
                        "data directory '/nowhere': cannot open: No such file or directory");
    assert_true(pg_reader_open(&room->instance, SLICE_EMPTY, &reader, &err) < 0);
    struct pg_begin begin = {0};
    TM_CLEANUP(buf_release) struct buf other = BUF_INIT;
    assert_int_equal(pg_begin_decode(buf_slice(&room->begin), &begin, &err), 0);
    begin.system_id = 4712;
    assert_int_equal(pg_begin_encode(&begin, &other, &err), 0);
    pg_begin_release(&begin);
    assert_int_equal(pg_reader_open(&room->instance, buf_slice(&other), &reader, &err),
                     -TM_E_CONFLICT);
    snprintf(want, sizeof(want),
             "data directory '%s': holds system identifier 4711, the snapshot was begun on 4712",
             room->data);
    assert_string_equal(err.msg, want);
    assert_null(reader);
}

static void test_sort(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static uint64_t values[COUNT];
    uint64_t seed = 1;
    for (size_t count = 0; count < COUNT; count = count * 2 + 1) {
        for (size_t n = 0; n < count; n++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            values[n] = seed >> (n % 3 ? 20 : 60);
        }
        listing_sort_u64(values, count);
        for (size_t n = 0; n + 1 < count; n++)
            assert_true(values[n] <= values[n + 1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_exactly_once, room_make, room_remove),
        cmocka_unit_test_setup_teardown(test_growing_ranges, room_make, room_remove),
        cmocka_unit_test_setup_teardown(test_changes_between, room_make, room_remove),
        cmocka_unit_test_setup_teardown(test_odd_keys, room_make, room_remove),
        cmocka_unit_test_setup_teardown(test_final, room_make, room_remove),
        cmocka_unit_test_setup_teardown(test_refusals, room_make, room_remove),
        cmocka_unit_test(test_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
