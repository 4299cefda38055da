/* Positions, segment names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/engine/postgres/version.h"
#include "agent/engine/postgres/wal.h"

static void test_lsn(void **state)
{
    (void)state;
    char text[PG_LSN_TEXT_MAX];
    struct tm_err err = {0};
    uint64_t lsn = 7;
    assert_string_equal(pg_lsn_format(0, text), "0/0");
    assert_string_equal(pg_lsn_format(0x3000148, text), "0/3000148");
    assert_string_equal(pg_lsn_format(UINT64_MAX, text), "FFFFFFFF/FFFFFFFF");
    assert_int_equal(pg_lsn_parse("16/b374D848", &lsn, &err), 0);
    assert_int_equal(lsn, 0x16B374D848);
    static const char *const bad[] = {"",      "/",   "1/",  "/1",          "1/2 ",       "1/2/3",
                                      "0x1/2", "1-2", "g/1", "123456789/0", "0/123456789"};
    for (size_t n = 0; n < TM_ARRAY_LEN(bad); n++) {
        lsn = 7;
        assert_int_equal(pg_lsn_parse(bad[n], &lsn, &err), -TM_E_INVALID);
        assert_int_equal(lsn, 7);
    }
    assert_true(pg_lsn_parse("1-2", &lsn, &err) < 0);
    assert_string_equal(err.msg, "'1-2' is not a log position such as 0/3000148");
}

static void test_position(void **state)
{
    (void)state;
    struct engine_position low, high;
    uint64_t lsn = 0;
    pg_position_set(&low, 0xFFFFFFFF);
    pg_position_set(&high, 0x100000000);
    assert_true(memcmp(low.bytes, high.bytes, 8) < 0);
    assert_string_equal(high.text, "1/0");
    assert_int_equal(pg_position_get(&low, &lsn), 0);
    assert_int_equal(lsn, 0xFFFFFFFF);
    low.len = 4;
    assert_true(pg_position_get(&low, &lsn) < 0);
}

static void test_segments(void **state)
{
    (void)state;
    char name[PG_WAL_NAME_MAX];
    const uint32_t mib16 = 16u << 20, gib = 1u << 30;
    assert_string_equal(pg_wal_segment_name(1, 0x3000148, mib16, name), "000000010000000000000003");
    /* a boundary belongs to the segment that begins there */
    assert_string_equal(pg_wal_segment_name(1, 0x3000000, mib16, name), "000000010000000000000003");
    assert_string_equal(pg_wal_segment_name(10, 0x1FF000000, mib16, name),
                        "0000000A00000001000000FF");
    assert_string_equal(pg_wal_segment_name(1, 0x1C0000000, gib, name), "000000010000000100000003");
    assert_string_equal(pg_wal_history_name(2, name), "00000002.history");
    assert_int_equal(pg_wal_segment_start(0x3000148, mib16), 0x3000000);
    assert_true(pg_wal_segment_bytes_valid(mib16));
    assert_false(pg_wal_segment_bytes_valid(mib16 + 1));
    assert_false(pg_wal_segment_bytes_valid(0));
}

static void test_versions(void **state)
{
    (void)state;
    struct tm_err err = {0};
    const struct pg_version *version = NULL;
    char text[PG_VERSION_TEXT_MAX];
    assert_int_equal(pg_version_require(150018, &version, &err), 0);
    assert_int_equal(version->major, 15);
    assert_string_equal(version->start_function, "pg_backup_start(text, boolean)");
    assert_int_equal(pg_version_require(140002, &version, &err), 0);
    assert_string_equal(version->stop_function, "pg_stop_backup(boolean, boolean)");
    assert_int_equal(pg_version_require(120022, &version, &err), -TM_E_UNSUPPORTED);
    assert_string_equal(err.msg, "PostgreSQL 12.22 is not supported, only versions 13 to 18");
    assert_int_equal(pg_version_require(190000, &version, &err), -TM_E_UNSUPPORTED);
    assert_string_equal(pg_version_tablespace_dir(15, 202209061, text), "PG_15_202209061");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsn),
        cmocka_unit_test(test_position),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
