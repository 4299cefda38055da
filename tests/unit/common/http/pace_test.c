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
    assert_int_equal(pace_limit(&p), 8);
    pace_slow_down(&p, 5000000);
    pace_slow_down(&p, 5000001); /* the same burst */
    assert_int_equal(pace_limit(&p), 4);
    pace_slow_down(&p, 6000000);
    assert_int_equal(pace_limit(&p), 2);
    pace_slow_down(&p, 7000000);
    pace_slow_down(&p, 8000000); /* never below one */
    assert_int_equal(pace_limit(&p), 1);
    assert_int_equal(p.slow_downs, 5);
    unsigned rounds[8] = {0};
    unsigned well = 0;
    while (pace_limit(&p) < 8) {
        while (pace_may_start(&p))
            pace_start(&p);
        pace_end(&p, true);
        well++;
        rounds[pace_limit(&p) - 1] = well;
    }
    assert_int_equal(rounds[1], 3); /* reached 2 with the first, and 3 with the fourth */
    assert_in_range(well, 28, 36);  /* 1 + 2 + … + 7 */
}

static void what_holds_nobody_back_does_not_grow(void **state)
{
    (void)state;
    struct pace p;
    pace_init(&p, 4);
    pace_slow_down(&p, 0);
    for (int n = 0; n < 100; n++) {
        pace_start(&p);
        pace_end(&p, true);
    }
    assert_int_equal(pace_limit(&p), 2);
    pace_start(&p);
    pace_start(&p);
    assert_false(pace_may_start(&p));
    pace_end(&p, false); /* a lost connection says nothing */
    assert_int_equal(pace_limit(&p), 2);
    assert_int_equal(p.limit_milli, 2000);
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
        cmocka_unit_test(what_holds_nobody_back_does_not_grow),
        cmocka_unit_test(waits_double_with_jitter_up_to_the_cap),
        cmocka_unit_test(the_deadline_ends_it),
        cmocka_unit_test(only_what_may_pass_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
