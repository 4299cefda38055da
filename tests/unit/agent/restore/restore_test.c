/* agent/restore: from memory into real directories, judged by the null engine's arithmetic. */
#include "tests/unit/agent/backup/whole.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "agent/engine/null/config.h"
#include "agent/restore/internal.h"
#include "common/fs.h"
#include "common/hash.h"

#define CONNINFO "files=300 bytes=9000 big=3000000 log=300000"

struct fixture {
    struct ram_registry *registry;
    struct storage *st;
    struct whole w;
    char dir[64];
    char data[80];
    struct restore_job job;
    struct restore_outcome outcome;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->registry = ram_registry_new();
    OK(ram_open(f->registry, "t", &f->st, &w_err));
    whole_begin(&f->w, f->st, &null_engine, CONNINFO);
    whole_run(&f->w);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/tidemark-restore-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->data, sizeof(f->data), "%s/data", f->dir);
    f->job = (struct restore_job){
        .storage = f->st, .cluster = "demo1", .data_dir = f->data, .threads = 3};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    whole_end(&f->w);
    storage_free(f->st);
    ram_registry_free(f->registry);
    OK(fs_remove_tree(f->dir, true, &w_err));
    free(f);
    return 0;
}

static void expect_file(const struct fixture *f, const char *path, uint64_t number, uint64_t offset,
                        uint64_t size)
{
    char full[256];
    TM_CLEANUP(buf_release) struct buf have = BUF_INIT;
    (void)snprintf(full, sizeof(full), "%s/%s", f->data, path);
    OK(fs_read_file(full, 16 << 20, &have, &w_err));
    uint8_t *want = malloc(size ? size : 1);
    null_fill(1, number, offset, want, size);
    assert_int_equal(have.len, size);
    if (memcmp(have.data, want, size) != 0)
        fail_msg("%s differs", path);
    free(want);
}

static bool exists(const struct fixture *f, const char *path)
{
    char full[256];
    struct stat st;
    (void)snprintf(full, sizeof(full), "%s/%s", f->data, path);
    return lstat(full, &st) == 0;
}

static void expect_restored(const struct fixture *f)
{
    struct null_config c;
    OK(null_config_parse("null", CONNINFO, &c, &w_err));
    for (uint64_t i = 0; i < null_entry_count(&c); i++) {
        struct null_entry entry;
        null_entry_at(&c, i, &entry);
        if (entry.kind == FILE_REGULAR)
            expect_file(f, entry.path, entry.file, 0, entry.size);
    }
    expect_file(f, "log", UINT64_MAX, NULL_LOG_START, 300000);
    assert_true(exists(f, "STARTABLE"));
}

static void test_whole(void **state)
{
    struct fixture *f = *state;
    f->job.start = true;
    OK(restore_run(&f->job, &f->outcome, &w_err));
    assert_string_equal(f->outcome.backup_id, WHOLE_ID);
    assert_true(f->outcome.started);
    assert_int_equal(f->outcome.totals.stage, RESTORE_DONE);
    assert_int_equal(f->outcome.totals.bytes_done, f->outcome.totals.bytes_total);
    assert_int_equal(f->outcome.totals.ranges_done, f->outcome.totals.ranges_total);
    assert_int_equal(f->outcome.commit_us, f->w.commit_us);
    expect_restored(f);
}

/* The engine's manifest names every file once, with the sum of its parts. */
static void test_manifest(void **state)
{
    struct fixture *f = *state;
    char path[128];
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    const char *lines;
    OK(restore_run(&f->job, &f->outcome, &w_err));
    (void)snprintf(path, sizeof(path), "%s/manifest", f->data);
    OK(fs_read_file(path, 1 << 20, &text, &w_err));
    OK(buf_cstr(&text, &lines, &w_err));
    size_t count = 0;
    for (const char *at = lines; (at = strchr(at, '\n')); at++)
        count++;
    assert_int_equal(count, 302); /* files, the big one, control */
    assert_non_null(strstr(lines, "zbig 3000000 "));
}

/* A source whose big file is removed for the time of some reads: its first part, one in the middle. */
static int read_gone(struct engine_reader *reader, struct engine_key_range range,
                     struct range_sink *sink, struct engine_range_stats *ret, struct tm_err *err)
{
    const struct null_entry big = {.kind = FILE_REGULAR, .path = "zbig", .size = 3000000};
    uint64_t from, to;
    if (null_entry_part(&big, range, &from, &to) && to < big.size &&
        (from == 0 || from / (256 * 1024) == 4)) {
        *ret = (struct engine_range_stats){0};
        return 0;
    }
    return null_engine.read_range(reader, range, sink, ret, err);
}

static void expect_holes(const struct fixture *f, size_t *ret_holes)
{
    char full[256], line[64];
    TM_CLEANUP(buf_release) struct buf have = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf manifest = BUF_INIT;
    const char *lines;
    (void)snprintf(full, sizeof(full), "%s/zbig", f->data);
    OK(fs_read_file(full, 16 << 20, &have, &w_err));
    assert_int_equal(have.len, 3000000);
    uint8_t *want = malloc(have.len);
    null_fill(1, NULL_FILES_MAX, 0, want, have.len);
    *ret_holes = 0;
    for (size_t at = 0; at < have.len; at++) {
        *ret_holes += have.data[at] != want[at];
        assert_true(have.data[at] == want[at] || have.data[at] == 0);
    }
    free(want);
    (void)snprintf(full, sizeof(full), "%s/manifest", f->data);
    OK(fs_read_file(full, 1 << 20, &manifest, &w_err));
    OK(buf_cstr(&manifest, &lines, &w_err));
    (void)snprintf(line, sizeof(line), "zbig 3000000 %08x",
                   crc32c(CRC32C_INIT, have.data, have.len));
    if (!strstr(lines, line))
        fail_msg("the manifest has no '%s': %s", line, strstr(lines, "zbig"));
}

/* Parts of a file that were not there when they were to be read are holes, in delta, too. */
static void test_missing_parts(void **state)
{
    struct fixture *f = *state;
    struct engine_ops gone = null_engine;
    struct storage *st = NULL;
    struct whole w;
    size_t holes, again;
    OK(restore_run(&f->job, &f->outcome, &w_err)); /* what delta finds there: all of it */
    gone.read_range = read_gone;
    OK(ram_open(f->registry, "gone", &st, &w_err));
    whole_begin(&w, st, &gone, CONNINFO);
    whole_run(&w);
    whole_end(&w);
    f->job.storage = st;
    f->job.delta = true;
    OK(restore_run(&f->job, &f->outcome, &w_err));
    expect_holes(f, &holes);
    assert_true(holes > 256u * 1024);
    f->job.delta = false;
    OK(fs_remove_tree(f->data, true, &w_err));
    OK(restore_run(&f->job, &f->outcome, &w_err));
    expect_holes(f, &again);
    assert_int_equal(again, holes);
    storage_free(st);
}

static void test_not_empty(void **state)
{
    struct fixture *f = *state;
    char expected[256];
    OK(restore_run(&f->job, &f->outcome, &w_err));
    assert_int_equal(restore_run(&f->job, &f->outcome, &w_err), -TM_E_REFUSED);
    (void)snprintf(expected, sizeof(expected),
                   "'%s' is not empty: choose another directory, or ask for delta", f->data);
    assert_string_equal(w_err.msg, expected);
}

static void damage(const struct fixture *f, const char *path, off_t at, off_t length)
{
    char full[256];
    (void)snprintf(full, sizeof(full), "%s/%s", f->data, path);
    TM_CLEANUP(closep) int fd = open(full, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    if (at >= 0)
        assert_int_equal(pwrite(fd, "damage", 6, at), 6);
    if (length >= 0)
        assert_int_equal(ftruncate(fd, length), 0);
}

static void test_delta(void **state)
{
    struct fixture *f = *state;
    OK(restore_run(&f->job, &f->outcome, &w_err));
    damage(f, "zbig", 1234567, -1);
    damage(f, "d00000/f00000003", -1, 100);
    damage(f, "d00000/f00000004", -1, 100000);
    f->job.delta = true;
    OK(restore_run(&f->job, &f->outcome, &w_err));
    expect_restored(f);
    assert_true(f->outcome.totals.bytes_kept > f->outcome.totals.bytes_total / 2);
    assert_true(f->outcome.totals.bytes_kept < f->outcome.totals.bytes_total);
}

/* A flipped bit in any object of the backup stops the restore, and nothing can be started. */
static void test_bit_flips(void **state)
{
    struct fixture *f = *state;
    struct full_name prefix = names_backup_prefix(&f->w.options.scope, WHOLE_ID);
    struct storage_iter *it = NULL;
    struct storage_object object;
    OK(storage_list(f->st, prefix.s, NULL, &it, &w_err));
    while (storage_iter_next(it, &object, &w_err) == 1) {
        size_t len;
        uint8_t *bytes = ram_bytes(f->st, object.name, &len);
        if (strstr(object.name, "/plan/"))
            continue;
        bytes[len / 2] ^= 1;
        if (restore_run(&f->job, &f->outcome, &w_err) != -TM_E_CORRUPT)
            fail_msg("%s: the flipped bit is not found", object.name);
        if (strstr(object.name, "/data/") && !strstr(w_err.msg, "range "))
            fail_msg("'%s' names no range", w_err.msg);
        if (!strstr(w_err.msg, strrchr(object.name, '/') + 1))
            fail_msg("'%s' does not name %s", w_err.msg, object.name);
        assert_false(exists(f, "STARTABLE"));
        bytes[len / 2] ^= 1;
        OK(fs_remove_tree(f->data, true, &w_err));
    }
    storage_iter_free(it);
    OK(restore_run(&f->job, &f->outcome, &w_err));
    expect_restored(f);
}

/* Three lineages are called "2": the one on the way counts, else the one minted last. */
static void test_histories(void **state)
{
    (void)state;
    struct log_lineage items[] = {
        {.record = {.id = "a", .label = "1"}},
        {.record = {.id = "b", .label = "2", .history = slice_str("1 b")}},
        {.record = {.id = "c", .label = "2", .history = slice_str("1 c")}},
        {.record = {.id = "d", .label = "3", .history = slice_str("1 b 2 d")}},
        {.record = {.id = "e", .label = "2", .history = slice_str("1 e")}},
    };
    const struct log_lineages all = {.items = items, .count = TM_ARRAY_LEN(items)};
    char labels[2][FORMAT_LABEL_MAX] = {"1", "2"};
    uint8_t lineages[2][16] = {"a", "b"};
    struct target_plan plan = {.labels = labels, .lineages = lineages, .label_count = 2};
    struct restore_histories got;
    struct tm_err err;
    assert_int_equal(restore_histories(&plan, &all, &got, &err), 0);
    assert_int_equal(got.count, 2);
    assert_string_equal(got.labels[0], "2");
    assert_true(slice_eq(got.texts[0], slice_str("1 b")));
    assert_true(slice_eq(got.texts[1], slice_str("1 b 2 d")));
    restore_histories_release(&got);
    plan.label_count = 0;
    assert_int_equal(restore_histories(&plan, &all, &got, &err), 0);
    assert_int_equal(got.count, 2);
    assert_true(slice_eq(got.texts[0], slice_str("1 b 2 d")));
    assert_true(slice_eq(got.texts[1], slice_str("1 e")));
    restore_histories_release(&got);
}

static void test_canceled(void **state)
{
    struct fixture *f = *state;
    atomic_bool cancel = true;
    f->job.cancel = &cancel;
    assert_int_equal(restore_run(&f->job, &f->outcome, &w_err), -TM_E_CANCELED);
    assert_false(exists(f, "STARTABLE"));
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    f->job.cluster = "demo2";
    assert_int_equal(restore_run(&f->job, &f->outcome, &w_err), -TM_E_NOT_FOUND);
    f->job.cluster = "demo1";
    f->job.backup_id = "20261121T100000Z-0000ffff";
    assert_int_equal(restore_run(&f->job, &f->outcome, &w_err), -TM_E_NOT_FOUND);
    const char *const roots[] = {"/srv/restore", NULL};
    f->job.backup_id = NULL;
    f->job.restore_roots = roots;
    assert_int_equal(restore_run(&f->job, &f->outcome, &w_err), -TM_E_REFUSED);
    assert_false(exists(f, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_manifest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delta, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bit_flips, setup, teardown),
        cmocka_unit_test(test_histories),
        cmocka_unit_test_setup_teardown(test_canceled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
