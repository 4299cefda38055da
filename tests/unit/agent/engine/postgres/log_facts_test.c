/* The facts blob, timelines' labels, and timeline histories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/engine/postgres/history.h"
#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/snapshot.h"

static const struct pg_log_facts facts = {
    .system_id = UINT64_C(7000000000000000001),
    .version_num = 150018,
    .timeline = 3,
    .wal_segment_bytes = 16777216,
    .block_bytes = 8192,
    .next_xid = UINT64_C(5000000000),
};

static void trip(void **state)
{
    struct buf blob = BUF_INIT;
    struct pg_log_facts got;
    struct tm_err err;
    (void)state;
    assert_int_equal(pg_log_facts_encode(&facts, &blob, &err), 0);
    assert_memory_equal(blob.data, "TMPGL\1\0\1\0\0\0\10", 12);
    assert_int_equal(pg_log_facts_decode(buf_slice(&blob), &got, &err), 0);
    assert_memory_equal(&got, &facts, sizeof(got));
    /* every length but the whole one (and that without the last field) is refused */
    for (size_t len = 0; len < blob.len; len++)
        if (len != blob.len - 14)
            assert_true(pg_log_facts_decode(slice_of(blob.data, len), &got, &err) < 0);
    assert_int_equal(pg_log_facts_decode(slice_of(blob.data, blob.len - 14), &got, &err), 0);
    assert_int_equal(got.next_xid, 0);
    blob.data[5] = 2;
    assert_int_equal(pg_log_facts_decode(buf_slice(&blob), &got, &err), -TM_E_UNSUPPORTED);
    assert_string_equal(err.msg, "the log's facts has version 2, not 1");
    blob.data[4] = 'E';
    assert_int_equal(pg_log_facts_decode(buf_slice(&blob), &got, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "the log's facts is not one of PostgreSQL");
    buf_release(&blob);
}

static void of_a_begin(void **state)
{
    char dir[] = "/d", label[] = "l";
    const struct pg_begin begin = {.system_id = facts.system_id,
                                   .timeline = 3,
                                   .version_num = 150018,
                                   .block_bytes = 8192,
                                   .relation_segment_blocks = 131072,
                                   .wal_segment_bytes = 16777216,
                                   .data_dir = dir,
                                   .label = label};
    struct buf blob = BUF_INIT;
    struct pg_log_facts got, want = facts;
    struct tm_err err;
    (void)state;
    want.next_xid = 0;
    assert_int_equal(pg_begin_encode(&begin, &blob, &err), 0);
    assert_int_equal(pg_log_facts_decode(buf_slice(&blob), &got, &err), 0);
    assert_memory_equal(&got, &want, sizeof(got));
    buf_release(&blob);
}

static void impossible(void **state)
{
    struct pg_log_facts bad[4] = {facts, facts, facts, facts}, got;
    static const char *const messages[] = {
        "the log's facts: field 3: impossible", "the log's facts: field 4: impossible",
        "the log's facts: field 5: impossible",
        "PostgreSQL 12.4 is not supported, only versions 13 to 18"};
    (void)state;
    bad[0].timeline = 0;
    bad[1].wal_segment_bytes = 3000000;
    bad[2].block_bytes = 100;
    bad[3].version_num = 120004;
    for (size_t n = 0; n < 4; n++) {
        struct buf blob = BUF_INIT;
        struct tm_err err;
        assert_int_equal(pg_log_facts_encode(&bad[n], &blob, &err), 0);
        assert_true(pg_log_facts_decode(buf_slice(&blob), &got, &err) < 0);
        assert_string_equal(err.msg, messages[n]);
        buf_release(&blob);
    }
}

static void labels(void **state)
{
    static const char *const bad[] = {"", "0", "-1", "4294967296", "1x", "x"};
    struct tm_err err;
    uint32_t timeline;
    (void)state;
    assert_int_equal(pg_timeline_parse("4294967295", &timeline, &err), 0);
    assert_int_equal(timeline, UINT32_MAX);
    for (size_t n = 0; n < TM_ARRAY_LEN(bad); n++)
        assert_int_equal(pg_timeline_parse(bad[n], &timeline, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "'x' is not a timeline");
}

static void histories(void **state)
{
    const struct slice text = slice_str("# comment\n\n1\t0/3000148\tno recovery target specified\n"
                                        "  2 \t 1/A0000000\tbefore 2000-01-01\n");
    uint32_t timeline = 0;
    uint64_t at = 0;
    struct tm_err err;
    (void)state;
    assert_int_equal(pg_history_parent(text, &timeline, &at, &err), 1);
    assert_true(timeline == 2 && at == UINT64_C(0x1A0000000));
    assert_int_equal(pg_history_end_of(text, 1, &at, &err), 1);
    assert_int_equal(at, 0x3000148);
    assert_int_equal(pg_history_end_of(text, 3, &at, &err), 0);
    assert_int_equal(pg_history_end_of(text, 0, &at, &err), 0);
    assert_int_equal(pg_history_parent(SLICE_EMPTY, &timeline, &at, &err), 0);
    assert_int_equal(pg_history_parent(slice_str("1\t0/1\tx\nx\n"), &timeline, &at, &err),
                     -TM_E_CORRUPT);
    assert_string_equal(err.msg, "the timeline history's line 2 is malformed");
    assert_int_equal(pg_history_parent(slice_str("1 0.1"), &timeline, &at, &err), -TM_E_CORRUPT);
    assert_int_equal(pg_history_parent(slice_str("99999999999 0/1"), &timeline, &at, &err),
                     -TM_E_CORRUPT);
    assert_int_equal(pg_history_parent(slice_str("2 0/1\n2 0/2"), &timeline, &at, &err),
                     -TM_E_CORRUPT);
    assert_string_equal(err.msg, "the timeline history's line 2: timeline 2 follows 2");
}

static void ancestors(void **state)
{
    struct slice text = slice_str("1\t0/3000148\tx\n\n3\t1/A0000000\ty\n4\t2/0\tz");
    struct slice own;
    struct tm_err err;
    uint32_t timeline;
    (void)state;
    assert_int_equal(pg_history_ancestor(text, 0, &timeline, &own, &err), 1);
    assert_int_equal(timeline, 1);
    assert_int_equal(own.len, 0);
    assert_int_equal(pg_history_ancestor(text, 2, &timeline, &own, &err), 1);
    assert_int_equal(timeline, 4);
    assert_true(slice_eq(own, slice_str("1\t0/3000148\tx\n\n3\t1/A0000000\ty\n")));
    assert_int_equal(pg_history_ancestor(text, 3, &timeline, &own, &err), 0);
    assert_int_equal(pg_history_ancestor(SLICE_EMPTY, 0, &timeline, &own, &err), 0);
    assert_int_equal(pg_history_ancestor(slice_str("1\t0/1\tx\nx\n"), 1, &timeline, &own, &err),
                     -TM_E_CORRUPT);
}

static void positions(void **state)
{
    char text[ENGINE_POSITION_MAX];
    uint64_t byte;
    struct tm_err err;
    (void)state;
    pg_position_text(UINT64_C(0x16B374D848), text);
    assert_string_equal(text, "16/B374D848");
    assert_int_equal(pg_position_parse(text, &byte, &err), 0);
    assert_int_equal(byte, UINT64_C(0x16B374D848));
    assert_int_equal(pg_position_parse("16/", &byte, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "'16/' is not a log position such as 0/3000148");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trip),      cmocka_unit_test(of_a_begin), cmocka_unit_test(impossible),
        cmocka_unit_test(labels),    cmocka_unit_test(histories),  cmocka_unit_test(ancestors),
        cmocka_unit_test(positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
