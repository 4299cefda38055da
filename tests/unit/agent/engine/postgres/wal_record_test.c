/* What single records say: each kind, cut anywhere, and what changed between versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "agent/engine/postgres/wal_reader.h"
#include "tests/unit/agent/engine/postgres/wal_build.h"

static void tablespace_create(void **state)
{
    uint8_t data[64] = {0};
    struct wal_tablespace_create c;
    (void)state;
    wal_put32(data, 16384);
    memcpy(data + 4, "/srv/space", 11);
    struct wal_record r = {.rmid = WAL_RM_TBLSPC, .info = 0, .data = slice_of(data, 15)};
    assert_int_equal(wal_record_kind(&r, 15), WAL_TABLESPACE_CREATE);
    assert_true(wal_tablespace_create_of(&r, &c));
    assert_int_equal(c.oid, 16384);
    assert_string_equal(c.path, "/srv/space");
    r.data.len = 14; /* without its end */
    assert_false(wal_tablespace_create_of(&r, &c));
    r.data.len = 3;
    assert_false(wal_tablespace_create_of(&r, &c));
    r.info = 0x10; /* drop */
    uint32_t oid;
    assert_int_equal(wal_record_kind(&r, 15), WAL_TABLESPACE_DROP);
    assert_false(wal_tablespace_drop_of(&r, &oid));
    r.data.len = 4;
    assert_true(wal_tablespace_drop_of(&r, &oid) && oid == 16384);
}

static void database_drop(void **state)
{
    uint8_t data[16];
    uint32_t database, tablespace;
    (void)state;
    wal_put32(data, 5);
    wal_put32(data + 4, 2);
    wal_put32(data + 8, 1663);
    wal_put32(data + 12, 16400);
    struct wal_record r = {.rmid = WAL_RM_DBASE, .info = 0x20, .data = slice_of(data, 16)};
    assert_true(wal_database_drop_of(&r, 15, 1, &database, &tablespace));
    assert_true(database == 5 && tablespace == 16400);
    assert_false(wal_database_drop_of(&r, 15, 2, &database, &tablespace));
    assert_false(wal_database_drop_of(&r, 14, 0, &database, &tablespace)); /* nothing, before 15 */
    r.info = 0x10;
    assert_true(wal_database_drop_of(&r, 14, 0, &database, &tablespace) && tablespace == 1663);
    assert_false(wal_database_drop_of(&r, 15, 0, &database, &tablespace)); /* a creation */
    r.data.len = 12;
    assert_false(wal_database_drop_of(&r, 14, 1, &database, &tablespace));
}

static void forks(void **state)
{
    uint8_t data[20];
    struct wal_fork fork;
    struct wal_fork_truncate cut;
    (void)state;
    for (unsigned k = 0; k < 3; k++)
        wal_put32(data + (size_t)4 * k, 10 + k);
    wal_put32(data + 12, 2);
    struct wal_record r = {.rmid = WAL_RM_SMGR, .info = 0x10, .data = slice_of(data, 16)};
    assert_true(wal_fork_create_of(&r, &fork));
    assert_true(fork.tablespace == 10 && fork.database == 11 && fork.relation == 12 &&
                fork.fork == 2);
    assert_false(wal_fork_truncate_of(&r, &cut));
    wal_put32(data + 12, 4); /* no such fork */
    assert_false(wal_fork_create_of(&r, &fork));
    wal_put32(data, 77);
    for (unsigned k = 0; k < 3; k++)
        wal_put32(data + 4 + (size_t)4 * k, 10 + k);
    wal_put32(data + 16, 5);
    r.info = 0x20;
    assert_false(wal_fork_truncate_of(&r, &cut));
    r.data.len = 20;
    assert_true(wal_fork_truncate_of(&r, &cut));
    assert_true(cut.blocks == 77 && cut.relation.tablespace == 10 && cut.relation.relation == 12 &&
                cut.main && !cut.vm && cut.fsm);
}

/* All lists that may stand before the number of a prepared transaction. */
static uint32_t build_commit(uint8_t *data, unsigned major, bool commit)
{
    uint8_t *p = data;
    wal_put64(p, UINT64_C(86400) * 1000000), p += 8;
    wal_put32(p, 1u | 2u | 4u | 8u | 16u | (major >= 15 ? 256u : 0)), p += 4;
    p += 8;                          /* database */
    wal_put32(p, 3), p += 4 + 3 * 4; /* subtransactions */
    wal_put32(p, 2), p += 4;         /* files */
    for (uint32_t k = 0; k < 6; k++)
        wal_put32(p, 1000 + k), p += 4;
    if (major >= 15)
        wal_put32(p, 2), p += 4 + 2 * (major >= 18 ? 16 : 12); /* statistics */
    if (commit)
        wal_put32(p, 1), p += 4 + 16; /* invalidations */
    wal_put32(p, 4711), p += 4;
    return (uint32_t)(p - data);
}

static void transactions(void **state)
{
    (void)state;
    for (unsigned major = 13; major <= 18; major++) {
        for (unsigned commit = 0; commit < 2; commit++) {
            uint8_t data[200] = {0};
            struct wal_xact x;
            uint32_t len = build_commit(data, major, commit);
            struct wal_record r = {.rmid = WAL_RM_XACT,
                                   .info = commit ? 0xB0 : 0xC0,
                                   .xid = 5,
                                   .data = slice_of(data, len),
                                   .data_bytes = len};
            assert_true(wal_xact_of(&r, major, &x));
            assert_true(x.xid == 4711 && x.subxact_count == 3 && x.relation_count == 2 && !x.cut);
            assert_true(x.time_us == INT64_C(946684800000000) + INT64_C(86400) * 1000000);
            struct wal_fork f = wal_xact_relation(&x, 1);
            assert_true(f.tablespace == 1003 && f.database == 1004 && f.relation == 1005);
            /* of what is longer than what was kept, that much is known */
            r.data.len = 60;
            assert_true(wal_xact_of(&r, major, &x));
            assert_true(x.cut && x.xid == 0 && x.subxact_count == 3 && x.relation_count == 1);
            r.data.len = 30;
            assert_true(wal_xact_of(&r, major, &x));
            assert_true(x.cut && x.subxact_count == 1 && x.relation_count == 0);
            /* a record that is too short for what it says is none, wherever it ends */
            for (r.data_bytes = 0; r.data_bytes < len; r.data_bytes++) {
                r.data.len = r.data_bytes;
                assert_false(wal_xact_of(&r, major, &x));
            }
            /* without the flag nothing follows */
            r.info = commit ? 0x00 : 0x20;
            r.data.len = r.data_bytes = 8;
            assert_true(wal_xact_of(&r, major, &x) && x.xid == 5 && x.relation_count == 0);
        }
    }
}

static void prepared(void **state)
{
    (void)state;
    for (unsigned major = 13; major <= 18; major++) {
        uint8_t data[100] = {0};
        struct wal_xact x;
        size_t stats = major >= 15 ? 8 : 0;
        wal_put32(data + 8, 815);
        wal_put64(data + 16, 1000000);
        wal_put32(data + 28, 2);
        wal_put16(data + 46 + stats, 6);
        memcpy(data + 64 + stats, "ident", 6);
        struct wal_record r = {
            .rmid = WAL_RM_XACT, .info = 0x10, .data = slice_of(data, 70 + stats)};
        assert_int_equal(wal_record_kind(&r, major), WAL_PREPARE);
        assert_true(wal_xact_of(&r, major, &x));
        assert_true(x.xid == 815 && x.subxact_count == 2 && x.time_us == INT64_C(946684801000000) &&
                    x.name.len == 5);
        assert_memory_equal(x.name.data, "ident", 5);
        r.data.len--;
        assert_false(wal_xact_of(&r, major, &x));
    }
}

static void database_create(void **state)
{
    uint8_t data[16];
    struct wal_database_create c;
    (void)state;
    for (unsigned k = 0; k < 4; k++)
        wal_put32(data + (size_t)4 * k, 100 + k);
    struct wal_record r = {.rmid = WAL_RM_DBASE, .info = 0, .data = slice_of(data, 16)};
    assert_true(wal_database_create_of(&r, 13, &c));
    assert_true(c.by_file_copy && c.database == 100 && c.tablespace == 101 &&
                c.source_database == 102 && c.source_tablespace == 103);
    r.info = 0x10;
    r.data.len = 8;
    assert_false(wal_database_create_of(&r, 14, &c)); /* a drop, before 15 */
    assert_true(wal_database_create_of(&r, 15, &c));
    assert_false(c.by_file_copy);
}

static void times_and_points(void **state)
{
    uint8_t data[80] = {0};
    int64_t us;
    char name[WAL_RESTORE_POINT_MAX];
    (void)state;
    wal_put64(data, UINT64_C(86400) * 1000000);
    memcpy(data + 8, "before the change", 18);
    struct wal_record r = {.rmid = WAL_RM_XACT, .info = 0x80, .data = slice_of(data, 72)};
    assert_true(wal_time_of(&r, 15, &us));
    assert_int_equal(us, INT64_C(946771200000000));
    assert_int_equal(wal_record_kind(&r, 15), WAL_COMMIT);
    r.info = 0x20;
    assert_int_equal(wal_record_kind(&r, 15), WAL_ABORT);
    r.info = 0x10; /* prepare carries no such time */
    assert_false(wal_time_of(&r, 15, &us));
    r.rmid = WAL_RM_XLOG;
    r.info = 0x70;
    assert_true(wal_restore_point_of(&r, name));
    assert_string_equal(name, "before the change");
    r.data.len = 71;
    assert_false(wal_restore_point_of(&r, name));
}

static void xlog_records(void **state)
{
    uint8_t data[88] = {0};
    struct wal_checkpoint c;
    struct wal_parameters p;
    uint64_t start;
    bool on;
    (void)state;
    wal_put64(data, 0x1234);
    wal_put32(data + 8, 3);
    wal_put32(data + 12, 2);
    data[16] = 1;
    wal_put64(data + 64, 1700000000);
    struct wal_record r = {.rmid = WAL_RM_XLOG, .info = 0x10, .data = slice_of(data, 88)};
    wal_put64(data + 24, UINT64_C(5000000000));
    wal_put32(data + 20, 2);
    assert_true(wal_checkpoint_of(&r, 15, &c));
    assert_true(c.next_xid == UINT64_C(5000000000) && c.wal_level == -1);
    assert_true(wal_checkpoint_of(&r, 17, &c) && c.wal_level == 2);
    assert_true(c.redo_lsn == 0x1234 && c.timeline == 3 && c.prev_timeline == 2 &&
                c.full_page_writes && !c.shutdown && c.time_us == INT64_C(1700000000000000));
    r.info = 0x50;
    assert_true(wal_backup_end_of(&r, &start) && start == 0x1234);
    r.info = 0x80;
    assert_true(wal_fpw_change_of(&r, &on) && on);
    r.info = 0x60;
    data[24] = 0;
    data[25] = 1;
    assert_true(wal_parameters_of(&r, &p) && p.max_connections == 0x1234 &&
                p.max_worker_processes == 0 && p.max_wal_senders == 3 && !p.wal_log_hints &&
                p.track_commit_timestamp);
    r.data.len = 20;
    assert_false(wal_parameters_of(&r, &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tablespace_create),
        cmocka_unit_test(database_drop),
        cmocka_unit_test(forks),
        cmocka_unit_test(transactions),
        cmocka_unit_test(prepared),
        cmocka_unit_test(database_create),
        cmocka_unit_test(times_and_points),
        cmocka_unit_test(xlog_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
