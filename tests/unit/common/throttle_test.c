/* The token bucket: exact long-run rate, debt, changed rates, waiting and stopping. */
#include "common/throttle.h"

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>

#include "common/clock.h"

static void rate_is_exact_in_the_long_run(void **state)
{
    (void)state;
    struct tm_err err;
    struct throttle t;
    int64_t now = 1000;
    assert_int_equal(throttle_init(&t, 1000003, now, &err), 0);
    int64_t start = now;
    uint64_t total = 0;
    for (int n = 0; n < 10000; n++) {
        now += throttle_take(&t, 8192, now);
        total += 8192;
    }
    /* the burst comes on top once */
    int64_t expected = (int64_t)(((double)total - 100000.3) / 1000003.0 * 1e6);
    assert_in_range(now - start, expected - 10000, expected + 10000);
    throttle_release(&t);
}

static void large_requests_go_into_debt(void **state)
{
    (void)state;
    struct tm_err err;
    struct throttle t;
    assert_int_equal(throttle_init(&t, 1000, 0, &err), 0);
    assert_int_equal(throttle_take(&t, 100, 0), 0);
    assert_int_equal(throttle_take(&t, 2000, 0), 2 * USEC_PER_SEC);
    assert_int_equal(throttle_take(&t, 0, USEC_PER_SEC), USEC_PER_SEC);
    assert_int_equal(throttle_take(&t, 0, 2 * USEC_PER_SEC), 0);
    assert_int_equal(throttle_take(&t, 1, 2 * USEC_PER_SEC), 1000);
    throttle_release(&t);
}

static void rates_change(void **state)
{
    (void)state;
    struct tm_err err;
    struct throttle t;
    assert_int_equal(throttle_init(&t, 0, 0, &err), 0);
    assert_int_equal(throttle_take(&t, UINT64_MAX, 0), 0);
    throttle_set_rate(&t, 1000, 0);
    assert_int_equal(throttle_take(&t, 1100, 0), USEC_PER_SEC);
    throttle_set_rate(&t, 2000, 0);
    assert_int_equal(throttle_take(&t, 0, 0), USEC_PER_SEC / 2);
    throttle_set_rate(&t, THROTTLE_RATE_MAX, 0);
    assert_int_equal(throttle_take(&t, UINT64_MAX, 0), 0);
    throttle_set_rate(&t, 10, 0);
    assert_true(throttle_take(&t, UINT64_MAX, 0) > USEC_PER_DAY);
    throttle_release(&t);
}

struct waiter {
    struct throttle *throttle;
    int result;
    struct tm_err err;
};

static void *wait_long(void *arg)
{
    struct waiter *w = arg;
    w->result = throttle_wait(w->throttle, 100000, &w->err);
    return NULL;
}

static void waiting_ends_by_time_rate_and_stop(void **state)
{
    (void)state;
    struct tm_err err;
    struct throttle t;
    pthread_t thread;
    assert_int_equal(throttle_init(&t, 100000, clock_mono_us(), &err), 0);
    int64_t begin = clock_mono_us();
    assert_int_equal(throttle_wait(&t, 10000, &err), 0); /* the burst */
    assert_int_equal(throttle_wait(&t, 3000, &err), 0);
    assert_true(clock_mono_us() - begin >= 29000);

    struct waiter w = {.throttle = &t, .result = 1};
    throttle_set_rate(&t, 10, clock_mono_us()); /* 10,000 s from now */
    assert_int_equal(pthread_create(&thread, NULL, wait_long, &w), 0);
    (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    throttle_set_rate(&t, UINT64_C(1) << 30, clock_mono_us());
    (void)pthread_join(thread, NULL);
    assert_int_equal(w.result, 0);

    throttle_set_rate(&t, 10, clock_mono_us());
    assert_int_equal(pthread_create(&thread, NULL, wait_long, &w), 0);
    throttle_stop(&t);
    (void)pthread_join(thread, NULL);
    assert_int_equal(w.result, -TM_E_CANCELED);
    assert_string_equal(w.err.msg, "stopped while waiting for the rate limit");
    throttle_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rate_is_exact_in_the_long_run),
        cmocka_unit_test(large_requests_go_into_debt),
        cmocka_unit_test(rates_change),
        cmocka_unit_test(waiting_ends_by_time_rate_and_stop),
    };
    return cmocka_run_group_tests_name("common/throttle", tests, NULL, NULL);
}
