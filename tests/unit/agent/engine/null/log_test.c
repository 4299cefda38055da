/* The null engine's log side: what a log task's tests rest on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/engine/null/null.h"
#include "common/fs.h"
#include "proto/format/events.h"

#define S NULL_LOG_START

static struct tm_err err;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) < 0)                                                                            \
            fail_msg("%s: %s", #expr, err.msg);                                                    \
    } while (0)

static struct engine_instance instance_of(const char *conninfo)
{
    return (struct engine_instance){"main", "/", conninfo};
}

static void describe(const struct engine_instance *instance, struct engine_log_source *ret)
{
    *ret = (struct engine_log_source){.fork = 0};
    OK(null_engine.log_describe(instance, ret, &err));
}

static void source_release(struct engine_log_source *source)
{
    buf_release(&source->facts);
    buf_release(&source->history);
}

/* Streams from `from` until nothing comes; the bytes must be those of `like`. */
static uint64_t stream(const struct engine_instance *instance, struct slice facts, uint64_t from,
                       const char *like, enum engine_log_kind *ret_kind)
{
    struct engine_log *log = NULL;
    struct engine_log_event event;
    uint8_t *want = malloc(65536);
    assert_non_null(want);
    OK(null_engine.log_open(instance, facts, from, &log, &err));
    for (;;) {
        OK(null_engine.log_next(log, 0, &event, &err));
        if (event.kind != ENGINE_LOG_DATA)
            break;
        assert_int_equal(event.from, from);
        OK(null_log_fill(like, from, want, event.data.len, &err));
        assert_memory_equal(event.data.data, want, event.data.len);
        from += event.data.len;
    }
    *ret_kind = event.kind;
    free(want);
    null_engine.log_close(log);
    return from;
}

static void test_describe(void **state)
{
    (void)state;
    struct engine_instance instance =
        instance_of("log=100 branch=2 parent=1 fork=1048600 identity=x role=standby");
    struct engine_log_source source;
    describe(&instance, &source);
    assert_int_equal(source.role, ENGINE_ROLE_STANDBY);
    assert_string_equal(source.identity, "x");
    assert_string_equal(source.lineage_label, "2");
    assert_string_equal(source.parent_label, "1");
    assert_int_equal(source.fork, 1048600);
    assert_int_equal(source.flushed, S + 100);
    assert_int_equal(source.segment_bytes, 65536);
    assert_true(slice_eq(buf_slice(&source.history), slice_str("1 1048600\n")));
    struct buf history = BUF_INIT;
    OK(null_engine.log_history(&instance, "1", &history, &err));
    assert_int_equal(history.len, 0);
    assert_int_equal(null_engine.log_history(&instance, "3", &history, &err), -TM_E_NOT_FOUND);
    source_release(&source);
}

static void test_streams(void **state)
{
    (void)state;
    struct engine_log_source first, second;
    enum engine_log_kind kind;
    struct engine_instance before = instance_of("log=200000");
    struct engine_instance after = instance_of("log=300000 branch=2 parent=1 fork=1150000");
    describe(&before, &first);
    describe(&after, &second);
    assert_int_equal(stream(&before, buf_slice(&first.facts), S, "log=1", &kind), S + 200000);
    assert_int_equal(kind, ENGINE_LOG_IDLE);
    /* the old branch ends at the fork, the new one begins with its bytes */
    assert_int_equal(stream(&after, buf_slice(&first.facts), S, "log=1", &kind), 1150000);
    assert_int_equal(kind, ENGINE_LOG_END);
    assert_int_equal(stream(&after, buf_slice(&second.facts), S, after.conninfo, &kind),
                     S + 300000);
    uint8_t a[64], b[64];
    OK(null_log_fill("log=1", 1150000 - 32, a, 64, &err));
    OK(null_log_fill(after.conninfo, 1150000 - 32, b, 64, &err));
    assert_memory_equal(a, b, 32);
    assert_memory_not_equal(a + 32, b + 32, 32);
    /* a clone has the same label and other bytes */
    OK(null_log_fill("log=1 twist=1149984", 1150000 - 32, b, 64, &err));
    assert_memory_equal(a, b, 16);
    assert_memory_not_equal(a + 16, b + 16, 48);
    /* cut off */
    struct engine_instance cut = instance_of("log=200000 cut=1100000");
    struct engine_log *log = NULL;
    assert_int_equal(null_engine.log_open(&cut, buf_slice(&first.facts), S, &log, &err),
                     -TM_E_NOT_FOUND);
    assert_string_equal(err.msg, "log at 1048576 is gone or not written yet");
    source_release(&first);
    source_release(&second);
}

static void test_files(void **state)
{
    (void)state;
    struct engine_instance instance = instance_of("log=200000 cut=1048576");
    struct engine_log_source source;
    uint8_t got[256], want[256];
    describe(&instance, &source);
    struct slice facts = buf_slice(&source.facts);
    OK(null_engine.log_read_file(&instance, facts, "1", S + 131072 + 65280, got, 256, &err));
    OK(null_log_fill("log=1", S + 131072 + 65280, want, 256, &err));
    assert_memory_equal(got, want, 256);
    /* what is not a whole segment yet is not there, nor what was cut off */
    assert_int_equal(
        null_engine.log_read_file(&instance, facts, "1", S + 196608 - 128, got, 256, &err),
        -TM_E_NOT_FOUND);
    assert_int_equal(null_engine.log_read_file(&instance, facts, "1", S - 1, got, 256, &err),
                     -TM_E_NOT_FOUND);
    assert_int_equal(null_engine.log_read_file(&instance, facts, "2", S, got, 256, &err),
                     -TM_E_NOT_FOUND);
    source_release(&source);
}

static void test_holds(void **state)
{
    (void)state;
    char dir[] = "/tmp/tm_null_XXXXXX", path[64], conninfo[80];
    struct engine_hold *hold = NULL;
    struct engine_hold_state look;
    bool made;
    uint64_t from;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/source", dir);
    (void)snprintf(conninfo, sizeof(conninfo), "state=%s", path);
    OK(fs_write_atomic(path, slice_str("log=100000 ahead=7 now=1000"), 0600, &err));
    struct engine_instance instance = instance_of(conninfo);
    assert_int_equal(null_engine.hold_open(&instance, "h", false, &hold, &made, &err),
                     -TM_E_NOT_FOUND);
    OK(null_engine.hold_open(&instance, "h", true, &hold, &made, &err));
    assert_true(made);
    OK(fs_write_atomic(path, slice_str("log=200000 ahead=7 now=1000"), 0600, &err));
    OK(null_engine.hold_look(hold, &look, &err));
    assert_int_equal(look.from, S + 100000);
    assert_int_equal(look.flushed, S + 200000);
    assert_int_equal(look.bytes, 100000);
    assert_int_equal(look.source_us, 1007);
    assert_int_equal(look.skew_us, 7);
    assert_false(look.lost);
    OK(null_engine.hold_touch(hold, S + 150000, &from, &err));
    assert_int_equal(from, S + 150000);
    OK(null_engine.hold_touch(hold, S + 120000, &from, &err)); /* never back */
    assert_int_equal(from, S + 150000);
    OK(null_engine.hold_touch(hold, S + 900000, &from, &err)); /* nor beyond the end */
    assert_int_equal(from, S + 200000);
    null_engine.hold_close(hold);
    OK(null_engine.hold_open(&instance, "h", true, &hold, &made, &err)); /* it outlives us */
    assert_false(made);
    OK(fs_write_atomic(path, slice_str("log=200000 cut=1300000"), 0600, &err));
    OK(null_engine.hold_look(hold, &look, &err));
    assert_true(look.lost);
    OK(null_engine.hold_drop(hold, &err));
    OK(null_engine.hold_drop(hold, &err));
    OK(fs_write_atomic(path, slice_str("log=200000"), 0600, &err));
    OK(null_engine.hold_look(hold, &look, &err));
    assert_true(look.lost);
    null_engine.hold_close(hold);
    OK(fs_remove_tree(dir, true, &err));
}

static void test_index(void **state)
{
    (void)state;
    struct engine_log_index *index = NULL;
    struct engine_index_part part;
    uint8_t bytes[10000] = {0};
    assert_int_equal(null_engine.index_open(SLICE_EMPTY, S + 1, &index, &err), -TM_E_INVALID);
    OK(null_engine.index_open(SLICE_EMPTY, S, &index, &err));
    OK(null_engine.index_push(index, slice_of(bytes, 100), &err));
    OK(null_engine.index_take(index, &part, &err));
    assert_int_equal(part.event_count, 0);
    assert_int_equal(part.last_record, 0); /* none is whole */
    OK(null_engine.index_push(index, slice_of(bytes, 10000), &err));
    OK(null_engine.index_take(index, &part, &err));
    assert_int_equal(part.event_count, 3); /* records 0, 16 and 32 of 39 */
    assert_int_equal(part.events[0].kind, EVENT_POINT);
    assert_string_equal(part.events[0].name, "p4096");
    assert_int_equal(part.events[2].kind, EVENT_COMMIT);
    assert_int_equal(part.events[2].at, S + 8192);
    assert_int_equal(part.events[2].end, S + 8192 + 256);
    assert_int_equal(part.events[2].previous, S + 8192 - 256);
    assert_int_equal(part.events[2].time_us, NULL_LOG_TIME_US + (int64_t)S + 8192);
    assert_int_equal(part.last_record, S + 38 * 256);
    assert_int_equal(part.section_count, 1);
    assert_int_equal(be64_get(part.sections[0].bytes.data), 39);
    null_engine.index_close(index);
}

/* Log of 1000 bytes from S on, in pieces of 300. */
static int read_some(void *arg, uint64_t at, struct slice *ret, struct tm_err *e)
{
    static const uint8_t zero[300];
    (void)arg;
    (void)e;
    uint64_t end = S + 1000;
    *ret =
        at < end ? slice_of(zero, (size_t)TM_MIN((uint64_t)sizeof(zero), end - at)) : SLICE_EMPTY;
    return 0;
}

static int last_record(uint64_t limit, bool before, uint64_t *ret)
{
    return null_engine.log_last_record(SLICE_EMPTY, S, read_some, NULL, limit, before, ret, &err);
}

static void test_last_record(void **state)
{
    (void)state;
    uint64_t record = 0;
    OK(last_record(S + 300, false, &record));
    assert_int_equal(record, S + 256);
    OK(last_record(S + 256, false, &record));
    assert_int_equal(record, S + 256);
    OK(last_record(S + 256, true, &record));
    assert_int_equal(record, S);
    OK(last_record(S + 5000, false, &record)); /* three are whole */
    assert_int_equal(record, S + 512);
    assert_int_equal(last_record(S, true, &record), -TM_E_NOT_FOUND);
    assert_string_equal(err.msg, "no record begins at or before 1048576");
    uint64_t byte;
    char text[ENGINE_POSITION_MAX];
    null_engine.position_text(1234, text);
    OK(null_engine.position_parse(text, &byte, &err));
    assert_int_equal(byte, 1234);
}

static void test_list(void **state)
{
    (void)state;
    static const char *const names[] = {"b_2", "b_1", "b_3", "c_1"};
    char dir[] = "/tmp/tm_null_XXXXXX", path[64], conninfo[80];
    struct engine_hold_found found[8];
    struct engine_hold *hold = NULL;
    bool made;
    size_t count = 99;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/source", dir);
    (void)snprintf(conninfo, sizeof(conninfo), "state=%s", path);
    OK(fs_write_atomic(path, slice_str("log=100000 now=1000"), 0600, &err));
    struct engine_instance instance = instance_of(conninfo);
    OK(null_engine.hold_list(&instance, "b_", found, TM_ARRAY_LEN(found), &count, &err));
    assert_int_equal(count, 0);
    for (size_t at = 0; at < TM_ARRAY_LEN(names); at++) {
        OK(null_engine.hold_open(&instance, names[at], true, &hold, &made, &err));
        null_engine.hold_close(hold);
    }
    OK(fs_write_atomic(path, slice_str("log=150000 now=1000"), 0600, &err));
    OK(null_engine.hold_list(&instance, "b_", found, TM_ARRAY_LEN(found), &count, &err));
    assert_int_equal(count, 3);
    for (size_t at = 0; at < count; at++) {
        assert_int_equal(found[at].name[2], '1' + (int)at); /* in order */
        assert_int_equal(found[at].from, S + 100000);
        assert_int_equal(found[at].bytes, 50000);
        assert_false(found[at].lost);
    }
    OK(null_engine.hold_list(&instance, "b_", found, 2, &count, &err));
    assert_int_equal(count, 2);
    assert_string_equal(found[1].name, "b_2");
    OK(fs_write_atomic(path, slice_str("log=150000 lost=1"), 0600, &err));
    OK(null_engine.hold_list(&instance, "c_1", found, TM_ARRAY_LEN(found), &count, &err));
    assert_int_equal(count, 1);
    assert_true(found[0].lost);
    OK(fs_write_atomic(path, slice_str("fail=hold_list"), 0600, &err));
    assert_true(null_engine.hold_list(&instance, "", found, 8, &count, &err) < 0);
    assert_int_equal(count, 1);
    instance = instance_of("log=100000"); /* nothing that could outlive us */
    OK(null_engine.hold_list(&instance, "", found, 8, &count, &err));
    assert_int_equal(count, 0);
    OK(fs_remove_tree(dir, true, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_describe),    cmocka_unit_test(test_streams),
        cmocka_unit_test(test_files),       cmocka_unit_test(test_holds),
        cmocka_unit_test(test_list),        cmocka_unit_test(test_index),
        cmocka_unit_test(test_last_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
