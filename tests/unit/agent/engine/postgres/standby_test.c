/*
 * Which ranges a standby may read, when it may, and what it says when it may not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/reader.h"

/* ---- ranges ---- */

static bool anywhere(struct slice start, struct slice end)
{
    return pg_range_anywhere((struct engine_key_range){start, end});
}

#define KEY(text) slice_of(text, sizeof(text) - 1)

static void test_ranges(void **state)
{
    (void)state;
    uint8_t low[ENGINE_KEY_MAX], high[ENGINE_KEY_MAX], path[ENGINE_KEY_MAX];
    size_t path_len = 0;
    struct tm_err err = {0};
    const struct slice first = slice_of(low, files_key_relation(0, 0, 0, FORK_MAIN, 0, low));
    const struct slice last = slice_of(
        high, files_key_relation(UINT32_MAX, UINT32_MAX, UINT32_MAX, FORK_INIT, UINT32_MAX, high));
    assert_int_equal(files_key_path(FILES_CLASS_CONFIG, "/etc/a", 0, path, &path_len, &err), 0);

    assert_true(anywhere(first, last));
    assert_true(anywhere(KEY("\x20"), first));
    assert_true(anywhere(KEY("\x20"), KEY("\x21")));
    assert_true(anywhere(last, KEY("\x30")));
    /* what is before, behind, or across */
    assert_false(anywhere(SLICE_EMPTY, KEY("\x20")));
    assert_false(anywhere(SLICE_EMPTY, last));
    assert_false(anywhere(SLICE_EMPTY, SLICE_EMPTY));
    assert_false(anywhere(KEY("\x10"), KEY("\x20")));
    assert_false(anywhere(KEY("\x1F\xFF"), last));
    assert_false(anywhere(KEY("\x20"), SLICE_EMPTY));
    assert_false(anywhere(KEY("\x20"), KEY("\x30\x01")));
    assert_false(anywhere(first, slice_of(path, path_len)));
    assert_false(anywhere(first, KEY("\xF0")));
    assert_false(anywhere(KEY("\x30"), KEY("\xF0")));
    assert_false(anywhere(KEY("\x21"), KEY("\x30")));
    assert_false(anywhere(KEY("\xF0"), SLICE_EMPTY));
    /* nothing lies in these */
    assert_false(anywhere(KEY("\x20"), KEY("\x20")));
    assert_false(anywhere(last, first));
}

/* ---- the rule ---- */

#define SYSTEM_ID    UINT64_C(7123456789012345678)
#define START        UINT64_C(0x103000028)
#define START_US     INT64_C(1000000000)
#define SECOND_US    INT64_C(1500000000)
#define STARTED_US   INT64_C(900000000)
#define RESTARTED_US INT64_C(1200000000)

static struct pg_begin begin_of(void)
{
    return (struct pg_begin){
        .system_id = SYSTEM_ID, .timeline = 3, .start_lsn = START, .start_us = START_US};
}

/* A standby that is far enough. */
static struct standby_now far_enough(void)
{
    return (struct standby_now){.in_recovery = true,
                                .system_id = SYSTEM_ID,
                                .timeline = 3,
                                .redo_timeline = 3,
                                .redo = START,
                                .replayed = START + 4096,
                                .started_us = RESTARTED_US};
}

static void expect(int want, const char *why, const struct pg_begin *begin, bool was_standby,
                   struct standby_now now)
{
    struct tm_err err = {0};
    assert_int_equal(standby_judge(begin, was_standby, &now, &err), want);
    if (why)
        assert_string_equal(err.msg, why);
    if (want == 0)
        assert_true(err.retryable && err.code == TM_E_UNAVAILABLE);
    if (want < 0)
        assert_false(err.retryable);
}

static void test_standby(void **state)
{
    (void)state;
    const struct pg_begin begin = begin_of();
    struct standby_now now = far_enough();
    expect(1, NULL, &begin, true, now);
    expect(1, NULL, &begin, false, now);
    now.redo = START + 1;
    expect(1, NULL, &begin, true, now);
    /* that it is replayed does not say that it is on disk */
    now.redo = START - 1;
    expect(0,
           "the standby has replayed up to 1/3001028, its last restartpoint is at 1/3000027, the "
           "backup started at 1/3000028",
           &begin, true, now);
    now.replayed = 0;
    now.redo = UINT64_C(0x2000028);
    expect(0,
           "the standby has replayed up to 0/0, its last restartpoint is at 0/2000028, the backup "
           "started at 1/3000028",
           &begin, true, now);
}

static void test_timelines(void **state)
{
    (void)state;
    const struct pg_begin begin = begin_of();
    struct standby_now now = far_enough();
    /* it follows one that was promoted; its restartpoint need not know of that yet */
    now.timeline = 4;
    expect(-TM_E_CONFLICT, "the server is on timeline 4, the snapshot was begun on 3", &begin, true,
           now);
    now.timeline = 3;
    now.redo_timeline = 5;
    expect(-TM_E_CONFLICT, "the server is on timeline 5, the snapshot was begun on 3", &begin, true,
           now);
    /* it has not yet come to where the primary's timeline began, or it goes another way */
    now.timeline = now.redo_timeline = 2;
    now.redo = START - 4096;
    now.replayed = START - 2048;
    expect(0,
           "the standby has replayed up to 1/2FFF828, its last restartpoint is at 1/2FFF028, the "
           "backup started at 1/3000028",
           &begin, true, now);
    now.redo = START + 4096;
    expect(-TM_E_CONFLICT,
           "the standby is on timeline 2 at 1/3001028, but the snapshot was begun on timeline 3 at "
           "1/3000028",
           &begin, true, now);
    now = far_enough();
    now.timeline = 0; /* not noted yet */
    expect(1, NULL, &begin, true, now);
    now.system_id = 4711;
    expect(-TM_E_CONFLICT,
           "the server has system identifier 4711, the snapshot was begun on 7123456789012345678",
           &begin, true, now);
}

static void test_no_standby(void **state)
{
    (void)state;
    struct pg_begin begin = begin_of();
    struct pg_start further = {.lsn = START + 100, .us = SECOND_US};
    struct standby_now now = far_enough();
    now.in_recovery = false;
    now.started_us = STARTED_US;
    expect(1, NULL, &begin, false, now);
    expect(-TM_E_CONFLICT, "the standby was promoted", &begin, true, now);
    now.timeline = 4;
    expect(-TM_E_CONFLICT, "the standby was promoted", &begin, true, now);
    expect(-TM_E_CONFLICT, "the server is on timeline 4, the snapshot was begun on 3", &begin,
           false, now);
    /* what was taken out of recovery by hand stays on its timeline, but had to be restarted */
    now.timeline = 3;
    now.started_us = RESTARTED_US;
    expect(-TM_E_CONFLICT, "the server is no standby, nor the one that the snapshot was begun on",
           &begin, false, now);
    /* so had a primary, between two sessions */
    begin.further = &further;
    begin.further_count = 1;
    expect(1, NULL, &begin, false, now);
    now.timeline = 2;
    expect(-TM_E_CONFLICT, "the server is no standby, nor the one that the snapshot was begun on",
           &begin, false, now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_standby),
        cmocka_unit_test(test_timelines),
        cmocka_unit_test(test_no_standby),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
