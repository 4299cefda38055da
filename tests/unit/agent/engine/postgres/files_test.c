/* What is copied, and the order of keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/engine/postgres/files.h"

#define VERSION_DIR "PG_15_202209061"

static void test_relation_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct files_relation relation;
    } good[] = {
        {"1", {1, FORK_MAIN, 0}},
        {"16384", {16384, FORK_MAIN, 0}},
        {"16384.1", {16384, FORK_MAIN, 1}},
        {"16384_fsm", {16384, FORK_FSM, 0}},
        {"16384_vm.12", {16384, FORK_VM, 12}},
        {"4294967295_init", {4294967295u, FORK_INIT, 0}},
    };
    char name[FILES_NAME_MAX];
    for (size_t n = 0; n < TM_ARRAY_LEN(good); n++) {
        struct files_relation relation = {0};
        assert_true(files_relation_parse(good[n].name, &relation));
        assert_memory_equal(&relation, &good[n].relation, sizeof(relation));
        assert_string_equal(files_relation_name(&relation, name), good[n].name);
        struct files_relation again = files_relation_unpack(files_relation_pack(relation));
        assert_memory_equal(&again, &relation, sizeof(again));
    }
    static const char *const bad[] = {"",           "0",         "016384",       "16384.0",
                                      "16384.",     "16384.x",   "16384_",       "16384_xx",
                                      "4294967296", "16384_vmx", "t3_16384",     "PG_VERSION",
                                      "16384.01",   "-1",        "16384_fsm_vm", "16384.536870912"};
    for (size_t n = 0; n < TM_ARRAY_LEN(bad); n++) {
        struct files_relation relation;
        if (files_relation_parse(bad[n], &relation))
            fail_msg("'%s' was taken for a relation", bad[n]);
    }
    assert_true(files_is_temporary_relation("t3_16384"));
    assert_true(files_is_temporary_relation("t12_16384_fsm.1"));
    assert_false(files_is_temporary_relation("t3_"));
    assert_false(files_is_temporary_relation("t_16384"));
    assert_false(files_is_temporary_relation("t3_16384x"));
    assert_false(files_is_temporary_relation("table"));
}

static void test_places(void **state)
{
    (void)state;
    static const struct {
        const char *dir;
        enum files_place place;
    } places[] = {
        {"", FILES_PLACE_ROOT},
        {"global", FILES_PLACE_GLOBAL},
        {"base", FILES_PLACE_PLAIN},
        {"base/5", FILES_PLACE_DATABASE},
        {"base/pgsql_tmp", FILES_PLACE_PLAIN},
        {"base/5/x", FILES_PLACE_PLAIN},
        {"pg_wal", FILES_PLACE_WAL},
        {"pg_wal/archive_status", FILES_PLACE_PLAIN},
        {"pg_tblspc", FILES_PLACE_TABLESPACES},
        {"pg_tblspc/16400", FILES_PLACE_TABLESPACE},
        {"pg_tblspc/16400/" VERSION_DIR, FILES_PLACE_PLAIN},
        {"pg_tblspc/16400/" VERSION_DIR "/5", FILES_PLACE_DATABASE},
        {"pg_tblspc/16400/PG_14_202107181/5", FILES_PLACE_PLAIN},
        {"pg_tblspc/x/" VERSION_DIR "/5", FILES_PLACE_PLAIN},
        {"pg_xact", FILES_PLACE_PLAIN},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(places); n++)
        if (files_place_of(places[n].dir, VERSION_DIR) != places[n].place)
            fail_msg("place of '%s'", places[n].dir);
}

static void test_classes(void **state)
{
    (void)state;
    static const struct {
        enum files_place place;
        const char *name;
        bool is_dir;
        enum files_what what;
    } cases[] = {
        {FILES_PLACE_ROOT, "PG_VERSION", false, FILES_PLAIN},
        {FILES_PLACE_ROOT, "postgresql.auto.conf", false, FILES_PLAIN},
        {FILES_PLACE_ROOT, "postgresql.auto.conf.tmp", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "current_logfiles", false, FILES_PLAIN},
        {FILES_PLACE_ROOT, "current_logfiles.tmp", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "postmaster.pid", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "postmaster.opts", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "backup_label", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "backup_label.old", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "tablespace_map", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "backup_manifest", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "recovery.signal", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "standby.signal", false, FILES_SKIP},
        {FILES_PLACE_ROOT, "pg_wal", true, FILES_PLAIN},
        {FILES_PLACE_ROOT, "pg_xact", true, FILES_PLAIN},
        {FILES_PLACE_ROOT, "pg_stat", true, FILES_PLAIN},
        {FILES_PLACE_ROOT, "pg_stat_tmp", true, FILES_EMPTY_DIR},
        {FILES_PLACE_ROOT, "pg_replslot", true, FILES_EMPTY_DIR},
        {FILES_PLACE_ROOT, "pg_dynshmem", true, FILES_EMPTY_DIR},
        {FILES_PLACE_ROOT, "pg_notify", true, FILES_EMPTY_DIR},
        {FILES_PLACE_ROOT, "pg_serial", true, FILES_EMPTY_DIR},
        {FILES_PLACE_ROOT, "pg_snapshots", true, FILES_EMPTY_DIR},
        {FILES_PLACE_ROOT, "pg_subtrans", true, FILES_EMPTY_DIR},
        {FILES_PLACE_GLOBAL, "pg_control", false, FILES_SKIP},
        {FILES_PLACE_GLOBAL, "pg_filenode.map", false, FILES_PLAIN},
        {FILES_PLACE_GLOBAL, "pg_internal.init", false, FILES_SKIP},
        {FILES_PLACE_GLOBAL, "pg_internal.init.4711", false, FILES_SKIP},
        {FILES_PLACE_GLOBAL, "1262", false, FILES_RELATION},
        {FILES_PLACE_DATABASE, "1259_vm", false, FILES_RELATION},
        {FILES_PLACE_DATABASE, "PG_VERSION", false, FILES_PLAIN},
        {FILES_PLACE_DATABASE, "t4_16400", false, FILES_SKIP},
        {FILES_PLACE_DATABASE, "pgsql_tmp12.0", false, FILES_SKIP},
        {FILES_PLACE_DATABASE, "16400", true, FILES_PLAIN},
        {FILES_PLACE_PLAIN, "pgsql_tmp", true, FILES_SKIP},
        {FILES_PLACE_PLAIN, ".DS_Store", false, FILES_SKIP},
        {FILES_PLACE_PLAIN, "pg_control", false, FILES_PLAIN},
        {FILES_PLACE_PLAIN, "recovery.signal", false, FILES_PLAIN},
        {FILES_PLACE_TABLESPACES, "16400", true, FILES_LINK},
        {FILES_PLACE_TABLESPACES, "notes", false, FILES_SKIP},
        {FILES_PLACE_TABLESPACE, VERSION_DIR, true, FILES_PLAIN},
        {FILES_PLACE_TABLESPACE, "PG_14_202107181", true, FILES_SKIP},
        {FILES_PLACE_WAL, "archive_status", true, FILES_EMPTY_DIR},
        {FILES_PLACE_WAL, "summaries", true, FILES_EMPTY_DIR},
        {FILES_PLACE_WAL, "000000010000000000000003", false, FILES_SKIP},
        {FILES_PLACE_WAL, "00000002.history", false, FILES_SKIP},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++)
        if (files_classify(cases[n].place, cases[n].name, cases[n].is_dir, VERSION_DIR) !=
            cases[n].what)
            fail_msg("case %zu, '%s'", n, cases[n].name);
}

struct made {
    size_t len;
    uint8_t bytes[ENGINE_KEY_MAX];
};

static struct made path_key(const char *path, uint32_t chunk)
{
    struct made made = {0};
    struct tm_err err = {0};
    assert_int_equal(files_key_path(FILES_CLASS_PLAIN, path, chunk, made.bytes, &made.len, &err),
                     0);
    return made;
}

/* Key order is the order of a sorted walk: a directory, all below it, then its next sibling. */
static void test_path_order(void **state)
{
    (void)state;
    static const char *const ordered[] = {
        "a",     "a/\x01", "a/\x01/x", "a/\x02", "a/\x03", "a/b", "a/b/c", "a/b-",    "a/c",
        "a\x01", "a\x02",  "a\x03",    "a-x",    "a.x",    "ab",  "b",     "\xc3\xa4"};
    for (size_t n = 0; n + 1 < TM_ARRAY_LEN(ordered); n++) {
        struct made low = path_key(ordered[n], UINT32_MAX), high = path_key(ordered[n + 1], 0);
        if (slice_cmp(slice_of(low.bytes, low.len), slice_of(high.bytes, high.len)) >= 0)
            fail_msg("'%s' is not before '%s'", ordered[n], ordered[n + 1]);
    }
    for (size_t n = 0; n < TM_ARRAY_LEN(ordered); n++) {
        struct made made = path_key(ordered[n], 70000);
        struct files_key key;
        struct tm_err err = {0};
        assert_int_equal(files_key_decode(slice_of(made.bytes, made.len), &key, &err), 0);
        assert_int_equal(key.class_byte, FILES_CLASS_PLAIN);
        assert_string_equal(key.path, ordered[n]);
        assert_int_equal(key.chunk, 70000);
    }
}

static void test_relation_keys(void **state)
{
    (void)state;
    uint8_t low[ENGINE_KEY_MAX], high[ENGINE_KEY_MAX];
    struct files_key key;
    struct tm_err err = {0};
    size_t len = files_key_relation(1663, 5, 16384, FORK_MAIN, UINT32_MAX, low);
    assert_int_equal(len, FILES_RELATION_KEY);
    (void)files_key_relation(1663, 5, 16384, FORK_FSM, 0, high);
    assert_true(memcmp(low, high, len) < 0);
    (void)files_key_relation(1663, 5, 65536, FORK_MAIN, 0, high);
    assert_true(memcmp(low, high, len) < 0);
    (void)files_key_relation(16400, 1, 1, FORK_MAIN, 0, high);
    assert_true(memcmp(low, high, len) < 0);
    assert_int_equal(files_key_decode(slice_of(low, len), &key, &err), 0);
    assert_int_equal(key.tablespace, 1663);
    assert_int_equal(key.database, 5);
    assert_int_equal(key.relfilenode, 16384);
    assert_int_equal(key.fork, FORK_MAIN);
    assert_int_equal(key.block, UINT32_MAX);
    /* cut short, it is the lowest key there */
    assert_int_equal(files_key_decode(slice_of(low, 9), &key, &err), 0);
    assert_int_equal(key.database, 5);
    assert_int_equal(key.relfilenode, 0);
}

static void test_foreign_keys(void **state)
{
    (void)state;
    struct files_key key = {.block = 7};
    struct tm_err err = {0};
    uint8_t bytes[ENGINE_KEY_MAX + 1] = {FILES_CLASS_RELATION};
    assert_int_equal(files_key_decode(slice_of(bytes, FILES_RELATION_KEY + 1), &key, &err),
                     -TM_E_INVALID);
    assert_string_equal(err.msg, "a range key is too long");
    bytes[13] = 4;
    assert_int_equal(files_key_decode(slice_of(bytes, FILES_RELATION_KEY), &key, &err),
                     -TM_E_INVALID);
    assert_string_equal(err.msg, "a range key names fork 4 of a relation");
    memset(bytes, 'x', sizeof(bytes));
    bytes[0] = FILES_CLASS_PLAIN;
    assert_int_equal(files_key_decode(slice_of(bytes, ENGINE_KEY_MAX), &key, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "a range key holds a path that is too long");
    assert_int_equal(files_key_decode(slice_of(bytes, sizeof(bytes)), &key, &err), -TM_E_INVALID);
    assert_int_equal(key.block, 7);
    assert_int_equal(files_key_decode(SLICE_EMPTY, &key, &err), 0);
    assert_int_equal(key.class_byte, 0);

    char path[ENGINE_PATH_MAX + 1];
    size_t len;
    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(files_key_path(FILES_CLASS_PLAIN, path, 0, bytes, &len, &err), -TM_E_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relation_names), cmocka_unit_test(test_places),
        cmocka_unit_test(test_classes),        cmocka_unit_test(test_path_order),
        cmocka_unit_test(test_relation_keys),  cmocka_unit_test(test_foreign_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
