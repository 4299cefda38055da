/* The begin and end blobs: round trips, and everything that damage can do to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/snapshot.h"

static struct pg_tablespace tablespaces[] = {{16400, (char *)(uintptr_t) "/srv/a"},
                                             {16401, (char *)(uintptr_t) "/srv/b"}};
static struct pg_config_file config_files[] = {
    {(char *)(uintptr_t) "/etc/postgresql/15/main/postgresql.conf",
     (char *)(uintptr_t) "config_file"}};

static struct pg_begin sample(void)
{
    return (struct pg_begin){
        .system_id = UINT64_C(7300000000000000001),
        .start_lsn = 0x3000028,
        .replay_from = 0x3000000,
        .timeline = 2,
        .version_num = 150018,
        .catalog_version = 202209061,
        .control_version = 1300,
        .block_bytes = 8192,
        .relation_segment_blocks = 131072,
        .wal_segment_bytes = 16u << 20,
        .checksum_version = 1,
        .start_us = INT64_C(1790000000000000),
        .data_dir = (char *)(uintptr_t) "/var/lib/postgresql/15/main",
        .label = (char *)(uintptr_t) "nightly",
        .tablespaces = tablespaces,
        .tablespace_count = 2,
        .config_files = config_files,
        .config_file_count = 1,
        .history = {(uint8_t *)(uintptr_t) "1\t0/2000000\tx\n", 14, 14},
    };
}

static void test_begin(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    TM_CLEANUP(pg_begin_release) struct pg_begin back = {0};
    struct tm_err err = {0};
    struct pg_begin begin = sample();
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    assert_memory_equal(blob.data, "TMPGB\x01", 6);
    assert_int_equal(pg_begin_decode(buf_slice(&blob), &back, &err), 0);
    assert_int_equal(back.system_id, begin.system_id);
    assert_int_equal(back.start_lsn, begin.start_lsn);
    assert_int_equal(back.replay_from, begin.replay_from);
    assert_int_equal(back.timeline, 2);
    assert_int_equal(back.version_num, 150018);
    assert_int_equal(back.block_bytes, 8192);
    assert_int_equal(back.start_us, begin.start_us);
    assert_string_equal(back.data_dir, begin.data_dir);
    assert_string_equal(back.label, "nightly");
    assert_int_equal(back.tablespace_count, 2);
    assert_int_equal(back.tablespaces[1].oid, 16401);
    assert_string_equal(back.tablespaces[1].path, "/srv/b");
    assert_int_equal(back.config_file_count, 1);
    assert_string_equal(back.config_files[0].role, "config_file");
    assert_string_equal(back.config_files[0].path, config_files[0].path);
    assert_int_equal(back.history.len, 14);
    assert_memory_equal(back.history.data, "1\t0/2000000\tx\n", 14);
}

/* Every cut, and every single flipped byte, is refused or decoded: never a crash, never a leak. */
static void test_begin_damage(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    struct tm_err err = {0};
    struct pg_begin begin = sample();
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    for (size_t len = 0; len < blob.len; len++) {
        TM_CLEANUP(pg_begin_release) struct pg_begin back = {0};
        if (pg_begin_decode(slice_of(blob.data, len), &back, &err) < 0)
            assert_null(back.label);
    }
    for (size_t n = 0; n < blob.len; n++)
        for (unsigned bit = 0; bit < 8; bit++) {
            TM_CLEANUP(pg_begin_release) struct pg_begin back = {0};
            blob.data[n] ^= (uint8_t)(1u << bit);
            if (pg_begin_decode(buf_slice(&blob), &back, &err) < 0)
                assert_null(back.label);
            blob.data[n] ^= (uint8_t)(1u << bit);
        }
}

static void expect_refused(struct slice blob, int code, const char *message)
{
    struct pg_begin back = {0};
    struct tm_err err = {0};
    assert_int_equal(pg_begin_decode(blob, &back, &err), -code);
    assert_string_equal(err.msg, message);
    assert_null(back.label);
}

static void test_begin_refusals(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    struct tm_err err = {0};
    struct pg_begin begin = sample();
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    expect_refused(SLICE_EMPTY, TM_E_CORRUPT, "the snapshot's begin is not one of PostgreSQL");
    expect_refused(slice_of(blob.data, blob.len - 1), TM_E_CORRUPT,
                   "the snapshot's begin: field 17: longer than what is there");
    expect_refused(slice_of(blob.data, 6), TM_E_CORRUPT, "the snapshot's begin: field 1: missing");
    assert_int_equal(buf_append(&blob, "x", 1, &err), 0);
    expect_refused(buf_slice(&blob), TM_E_CORRUPT, "the snapshot's begin ends inside a field");
    blob.len--;
    blob.data[5] = 2;
    expect_refused(buf_slice(&blob), TM_E_UNSUPPORTED, "the snapshot's begin has version 2, not 1");
    blob.data[5] = 1;

    /* a field of the future is skipped */
    static const uint8_t future[] = {0x7F, 0xFF, 0, 0, 0, 2, 'h', 'i'};
    TM_CLEANUP(pg_begin_release) struct pg_begin back = {0};
    assert_int_equal(buf_append(&blob, future, sizeof(future), &err), 0);
    assert_int_equal(pg_begin_decode(buf_slice(&blob), &back, &err), 0);

    begin.replay_from = 0x3000001;
    buf_reset(&blob);
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    expect_refused(buf_slice(&blob), TM_E_CORRUPT, "the snapshot's begin: field 3: impossible");
}

/* Starts, the checkpoint, the settings: kept, in order, and refused when they cannot be. */
static void test_starts(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    TM_CLEANUP(pg_begin_release) struct pg_begin back = {0};
    struct pg_start further[] = {{0x5000028, 11}, {0x6000028, -12}};
    struct tm_err err = {0};
    struct pg_begin begin = sample();
    begin.checkpoint_lsn = 0x3000060;
    begin.next_xid = UINT64_C(0x100000002);
    begin.settings = (struct control_settings){1, 100, 8, 10, 5, 64, true, false};
    begin.further = further;
    begin.further_count = 2;
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    assert_true(pg_snapshot_resumed(buf_slice(&blob)));
    assert_int_equal(pg_begin_decode(buf_slice(&blob), &back, &err), 0);
    assert_int_equal(back.checkpoint_lsn, 0x3000060);
    assert_int_equal(back.next_xid, UINT64_C(0x100000002));
    assert_memory_equal(&back.settings, &begin.settings, sizeof(back.settings));
    assert_int_equal(back.further_count, 2);
    assert_memory_equal(back.further, further, sizeof(further));
    for (size_t len = 0; len < blob.len; len++) {
        TM_CLEANUP(pg_begin_release) struct pg_begin cut = {0};
        if (pg_begin_decode(slice_of(blob.data, len), &cut, &err) < 0)
            assert_null(cut.further);
    }

    further[1].lsn = further[0].lsn;
    buf_reset(&blob);
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    expect_refused(buf_slice(&blob), TM_E_CORRUPT, "the snapshot's begin: field 20: impossible");
    begin.settings.wal_level = 0;
    buf_reset(&blob);
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    expect_refused(buf_slice(&blob), TM_E_CORRUPT, "the snapshot's begin: field 19: impossible");
    begin.checkpoint_lsn = 0x3000020; /* before the start */
    buf_reset(&blob);
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    expect_refused(buf_slice(&blob), TM_E_CORRUPT, "the snapshot's begin: field 18: impossible");
    begin.checkpoint_lsn = 0; /* as older ones are: none of it is said */
    buf_reset(&blob);
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    assert_false(pg_snapshot_resumed(buf_slice(&blob)));

    struct pg_begin many = {0};
    for (unsigned n = 0; n < PG_STARTS_MAX; n++)
        assert_int_equal(pg_begin_add_start(&many, (struct pg_start){n, n}, &err), 0);
    assert_int_equal(pg_begin_add_start(&many, (struct pg_start){0}, &err), -TM_E_LIMIT);
    assert_int_equal(many.further[255].us, 255);
    pg_begin_release(&many);
}

static void test_end(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    TM_CLEANUP(pg_end_release)
    struct pg_end end = {.stop_lsn = 0x4000100, .timeline = 2, .commit_us = -5};
    TM_CLEANUP(pg_end_release) struct pg_end back = {0};
    struct tm_err err = {0};
    assert_int_equal(buf_append(&end.backup_label, "LABEL", 5, &err), 0);
    assert_int_equal(pg_end_encode(&end, &blob, &err), 0);
    assert_int_equal(pg_end_decode(buf_slice(&blob), &back, &err), 0);
    assert_int_equal(back.stop_lsn, 0x4000100);
    assert_int_equal(back.timeline, 2);
    assert_int_equal(back.commit_us, -5);
    assert_int_equal(back.backup_label.len, 5);
    assert_int_equal(back.tablespace_map.len, 0);
    for (size_t len = 0; len < blob.len; len++) {
        TM_CLEANUP(pg_end_release) struct pg_end cut = {0};
        assert_true(pg_end_decode(slice_of(blob.data, len), &cut, &err) < 0);
    }
}

/* Never before the commit time, which it is where it is not told. */
static void test_settled(void **state)
{
    static const struct {
        int64_t commit_us, settled_us, want;
    } cases[] = {{1000, 1007, 1007}, {1000, 0, 1000}, {1000, 900, 1000}};
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
        struct pg_end end = {.stop_lsn = 1,
                             .timeline = 1,
                             .commit_us = cases[n].commit_us,
                             .settled_us = cases[n].settled_us};
        struct tm_err err = {0};
        int64_t us = 0;
        assert_int_equal(pg_end_encode(&end, &blob, &err), 0);
        assert_int_equal(pg_snapshot_settled(buf_slice(&blob), &us, &err), 0);
        assert_int_equal(us, cases[n].want);
        us = 77;
        assert_int_equal(pg_snapshot_settled(slice_of(blob.data, blob.len - 1), &us, &err),
                         -TM_E_CORRUPT);
        assert_int_equal(us, 77);
    }
}

static void test_limits(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    TM_CLEANUP(pg_end_release) struct pg_end end = {0};
    struct tm_err err = {0};
    const size_t full = (size_t)ENGINE_BLOB_MAX;
    assert_int_equal(buf_reserve(&end.backup_label, full, &err), 0);
    memset(end.backup_label.data, 'x', full);
    end.backup_label.len = full;
    assert_int_equal(pg_end_encode(&end, &blob, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "the end of the snapshot does not fit: 262194 bytes of 262144");
    assert_int_equal(blob.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin),
        cmocka_unit_test(test_begin_damage),
        cmocka_unit_test(test_begin_refusals),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_settled),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
