/* The concurrency limit and the waits between attempts: exact numbers. */
#include "common/http/pace.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/http/retry.h"

static void it_halves_once_a_second_and_grows_back(void **state)
{
    (void)state;
    struct pace p;
    pace_init(&p, 8);
    assert_int_equal(pace_limit(&p, 0), 8);
    pace_slow_down(&p, 5000000);
    pace_slow_down(&p, 5000001); /* the same burst */
    assert_int_equal(pace_limit(&p, 5000001), 4);
    pace_slow_down(&p, 6000000);
    assert_int_equal(pace_limit(&p, 6000000), 2);
    pace_slow_down(&p, 7000000);
    /* never below one; and from here the time stands still: what grows, grows by work */
    const int64_t now_us = 8000000;
    pace_slow_down(&p, now_us);
    assert_int_equal(pace_limit(&p, now_us), 1);
    assert_int_equal(p.slow_downs, 5);
    unsigned rounds[8] = {0};
    unsigned well = 0;
    while (pace_limit(&p, now_us) < 8) {
        while (pace_may_start(&p, now_us))
            pace_start(&p);
        pace_end(&p, now_us, true);
        well++;
        rounds[pace_limit(&p, now_us) - 1] = well;
    }
    assert_int_equal(rounds[1], 3); /* reached 2 with the first, and 3 with the fourth */
    assert_in_range(well, 28, 36);  /* 1 + 2 + … + 7 */
}

static void what_holds_nobody_back_does_not_grow_by_work(void **state)
{
    (void)state;
    struct pace p;
    pace_init(&p, 4);
    pace_slow_down(&p, 0);
    for (int n = 0; n < 100; n++) {
        pace_start(&p);
        pace_end(&p, 1, true);
    }
    assert_int_equal(pace_limit(&p, 1), 2);
    pace_start(&p);
    pace_start(&p);
    assert_false(pace_may_start(&p, 1));
    pace_end(&p, 1, false); /* a lost connection says nothing */
    assert_int_equal(pace_limit(&p, 1), 2);
    assert_int_equal(p.worked_milli, 2000);
}

/* One that sends little, or nothing: 4 of 8, then one more for each PACE_CALM_US, and all of them. */
static void time_alone_gives_back(void **state)
{
    (void)state;
    struct pace p;
    pace_init(&p, 8);
    assert_int_equal(pace_limit(&p, INT64_MAX),
                     8); /* nobody asked: there is nothing to give back */
    pace_slow_down(&p, 1000);
    assert_int_equal(pace_limit(&p, 0), 4); /* not even for a clock that went back */
    for (unsigned calm = 0; calm < 4; calm++) {
        int64_t now_us = 1000 + calm * PACE_CALM_US;
        assert_int_equal(pace_limit(&p, now_us), 4 + calm);
        assert_int_equal(pace_limit(&p, now_us + PACE_CALM_US - 1), 4 + calm);
        pace_start(&p); /* far from the limit */
        pace_end(&p, now_us, true);
    }
    assert_int_equal(pace_limit(&p, 1000 + 4 * PACE_CALM_US), 8);
    assert_int_equal(pace_limit(&p, INT64_MAX), 8);
    /* and what was given back is what the next one halves */
    pace_slow_down(&p, 1000 + 100 * PACE_CALM_US);
    assert_int_equal(pace_limit(&p, 1000 + 100 * PACE_CALM_US), 4);
}

/* It is the time without being asked that counts, and what it gave is not lost when it begins anew. */
static void being_asked_again_starts_the_time_anew(void **state)
{
    (void)state;
    struct pace p;
    pace_init(&p, 16);
    pace_slow_down(&p, 0);
    pace_slow_down(&p, PACE_CUT_US - 1); /* cuts nothing */
    assert_int_equal(pace_limit(&p, PACE_CUT_US - 2 + PACE_CALM_US), 8);
    assert_int_equal(pace_limit(&p, PACE_CUT_US - 1 + PACE_CALM_US), 9);
    int64_t again_us = PACE_CUT_US - 1 + 2 * PACE_CALM_US;
    pace_slow_down(&p, again_us); /* 10 are halved */
    assert_int_equal(pace_limit(&p, again_us + PACE_CALM_US - 1), 5);
    assert_int_equal(pace_limit(&p, again_us + PACE_CALM_US), 6);
    assert_int_equal(p.slow_downs, 3);
}

/* One who is held back has both: 2 of 8 and one by time, then two by work. */
static void time_and_work_add_up(void **state)
{
    (void)state;
    struct pace p;
    pace_init(&p, 8);
    pace_slow_down(&p, 0);
    pace_slow_down(&p, PACE_CUT_US);
    int64_t now_us = PACE_CUT_US + PACE_CALM_US;
    unsigned well = 0;
    assert_int_equal(pace_limit(&p, now_us), 3);
    while (pace_limit(&p, now_us) < 5) {
        while (pace_may_start(&p, now_us))
            pace_start(&p);
        assert_int_equal(p.in_flight, pace_limit(&p, now_us));
        pace_end(&p, now_us, true);
        well++;
    }
    assert_int_equal(well, 8); /* 4 for the fourth, 4 for the fifth */
    assert_int_equal(pace_limit(&p, now_us + PACE_CALM_US), 6);
    assert_int_equal(pace_limit(&p, now_us + 3 * PACE_CALM_US), 8);
    /* none who is held back any longer is told to go on above max */
    for (unsigned n = 0; n < 100; n++) {
        while (pace_may_start(&p, now_us + 100 * PACE_CALM_US))
            pace_start(&p);
        pace_end(&p, now_us + 100 * PACE_CALM_US, true);
    }
    assert_int_equal(p.in_flight, 7);
    assert_int_equal(pace_limit(&p, INT64_MAX), 8);
}

static void waits_double_with_jitter_up_to_the_cap(void **state)
{
    (void)state;
    struct retry r = {.attempts = 1, .attempts_max = 20, .deadline_us = INT64_MAX};
    assert_int_equal(retry_wait(&r, 0, 0, 0), RETRY_FIRST_US);
    assert_int_equal(retry_wait(&r, 0, RETRY_FIRST_US / 2, 0), RETRY_FIRST_US / 2);
    r.attempts = 4;
    assert_int_equal(retry_wait(&r, 0, 0, 0), 8 * RETRY_FIRST_US);
    r.attempts = 19;
    assert_int_equal(retry_wait(&r, 0, 0, 0), RETRY_CAP_US);
    assert_int_equal(retry_wait(&r, 3000000, RETRY_CAP_US / 2, 0), RETRY_CAP_US / 2);
    assert_int_equal(retry_wait(&r, 7000000, RETRY_CAP_US / 2, 0), 7000000);
    assert_int_equal(retry_wait(&r, 70000000, RETRY_CAP_US / 2, 0), RETRY_CAP_US);
    r.attempts = 20;
    assert_int_equal(retry_wait(&r, 0, 0, 0), -1);
}

static void the_deadline_ends_it(void **state)
{
    (void)state;
    struct retry r = {.attempts = 1, .deadline_us = 1000000};
    assert_int_equal(retry_wait(&r, 0, 0, 900000), RETRY_FIRST_US);
    assert_int_equal(retry_wait(&r, 0, 0, 900001), -1);
    r.attempts = RETRY_ATTEMPTS_MAX;
    assert_int_equal(retry_wait(&r, 0, 0, 0), -1);
}

static void only_what_may_pass_is_tried_again(void **state)
{
    (void)state;
    static const unsigned again[] = {408, 429, 500, 502, 503, 504};
    static const unsigned never[] = {200, 301, 400, 401, 403, 404, 409, 411, 412, 501, 505};
    for (size_t n = 0; n < sizeof(again) / sizeof(again[0]); n++)
        assert_true(retry_status(again[n]));
    for (size_t n = 0; n < sizeof(never) / sizeof(never[0]); n++)
        assert_false(retry_status(never[n]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_halves_once_a_second_and_grows_back),
        cmocka_unit_test(what_holds_nobody_back_does_not_grow_by_work),
        cmocka_unit_test(time_alone_gives_back),
        cmocka_unit_test(being_asked_again_starts_the_time_anew),
        cmocka_unit_test(time_and_work_add_up),
        cmocka_unit_test(waits_double_with_jitter_up_to_the_cap),
        cmocka_unit_test(the_deadline_ends_it),
        cmocka_unit_test(only_what_may_pass_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
