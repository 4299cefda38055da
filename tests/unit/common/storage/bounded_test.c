/* common/storage/bounded: a storage to read from whose calls come back, whatever it does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/storage/bounded.h"
#include "common/storage/ram.h"

#define URL        "ram://bounded"
#define TIMEOUT_MS 300
#define HANGS      "'" URL "' does not answer: a call has taken more than 1 s"

static struct tm_err g_err;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) < 0)                                                                            \
            fail_msg("%s: %s", #expr, g_err.msg);                                                  \
    } while (0)

static struct storage *inner, *st;

static int setup(void **state)
{
    (void)state;
    OK(storage_open(URL, NULL, &inner, &g_err));
    OK(storage_bounded_new(URL, &(struct storage_options){.io_timeout_ms = 1}, TIMEOUT_MS, &st,
                           &g_err));
    OK(storage_put(inner, "a/1", slice_str("one"), &g_err));
    OK(storage_put(inner, "a/2", slice_str("second"), &g_err));
    OK(storage_put(inner, "b", slice_str("b"), &g_err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"a/1", "a/2", "b"};
    storage_free(st);
    OK(storage_remove(inner, names, TM_ARRAY_LEN(names), &g_err));
    storage_free(inner); /* the store stays: a thread that was left behind may still end there */
    return 0;
}

static void hang(bool on)
{
    ram_set_faults(inner, &(struct ram_faults){.hang = on});
}

/* Left behind before, it comes back now. */
static void come_back(void)
{
    hang(false);
    for (int64_t until_us = clock_mono_us() + 20 * USEC_PER_SEC;
         storage_bounded_hangs(st) && clock_mono_us() < until_us;)
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_false(storage_bounded_hangs(st));
}

static void test_reads(void **state)
{
    (void)state;
    struct storage_object object;
    struct storage_iter *it = NULL;
    char bytes[8] = "";
    assert_string_equal(st->display, URL);
    OK(storage_read(st, "a/2", 1, bytes, 4, &g_err));
    assert_string_equal(bytes, "econ");
    OK(storage_stat(st, "a/1", &object, &g_err));
    assert_string_equal(object.name, "a/1");
    assert_int_equal(object.size_bytes, 3);
    assert_int_equal(storage_stat(st, "c", &object, &g_err), -TM_E_NOT_FOUND);
    assert_string_equal(g_err.msg, "cannot stat 'c': No such file or directory");
    assert_int_equal(storage_read(st, "a/1", 0, bytes, 5, &g_err), -TM_E_CORRUPT);
    OK(storage_list(st, "a/", NULL, &it, &g_err));
    assert_int_equal(storage_iter_next(it, &object, &g_err), 1);
    assert_string_equal(object.name, "a/1");
    assert_int_equal(storage_iter_next(it, &object, &g_err), 1);
    assert_string_equal(object.name, "a/2");
    assert_int_equal(storage_iter_next(it, &object, &g_err), 0);
    storage_iter_free(it);
    OK(storage_list(st, "", "a/1", &it, &g_err));
    OK(storage_iter_skip(it, "a/2", &g_err));
    assert_int_equal(storage_iter_next(it, &object, &g_err), 1);
    assert_string_equal(object.name, "b");
    storage_iter_free(it);
    assert_false(storage_can_fetch(st));
    assert_false(storage_bounded_hangs(st));
}

static void test_writes_nothing(void **state)
{
    (void)state;
    const char *name = "b";
    int64_t now_us;
    struct storage_writer *w;
    assert_int_equal(storage_create(st, "c", &w, &g_err), -TM_E_UNSUPPORTED);
    assert_string_equal(g_err.msg, "'" URL "' is only read here");
    assert_int_equal(storage_remove(st, &name, 1, &g_err), -TM_E_UNSUPPORTED);
    assert_int_equal(storage_now(st, &now_us, &g_err), -TM_E_UNSUPPORTED);
    assert_int_equal(ram_object_count(inner), 3);
}

static void expect_hangs(int r)
{
    assert_int_equal(r, -TM_E_TIMEOUT);
    assert_true(g_err.retryable);
    assert_string_equal(g_err.msg, HANGS);
    assert_true(storage_bounded_hangs(st));
}

/* The first call waits for so long, the next ones do not; once it comes back all is as before. */
static void test_hangs(void **state)
{
    (void)state;
    struct storage_object object;
    struct storage_iter *it = NULL, *other = NULL;
    char bytes[4] = "";
    OK(storage_list(st, "a/", NULL, &it, &g_err));
    assert_int_equal(storage_iter_next(it, &object, &g_err), 1);
    hang(true);
    int64_t began_us = clock_mono_us();
    expect_hangs(storage_read(st, "a/1", 0, bytes, 3, &g_err));
    assert_true(clock_mono_us() - began_us >= TIMEOUT_MS * USEC_PER_MSEC);
    uint64_t reads = ram_op_count(inner, RAM_READ);
    for (int i = 0; i < 100; i++) /* each with a wait of its own were half a minute */
        expect_hangs(storage_stat(st, "a/1", &object, &g_err));
    expect_hangs(storage_list(st, "a/", NULL, &other, &g_err));
    expect_hangs(storage_iter_next(it, &object, &g_err));
    assert_true(clock_mono_us() - began_us < 20 * USEC_PER_SEC);
    assert_int_equal(ram_op_count(inner, RAM_READ), reads);
    come_back();
    assert_string_equal(bytes, ""); /* what came late went nowhere */
    assert_int_equal(storage_iter_next(it, &object, &g_err), 1);
    assert_string_equal(object.name, "a/2");
    storage_iter_free(it);
    OK(storage_read(st, "a/1", 0, bytes, 3, &g_err));
    assert_string_equal(bytes, "one");
}

/* A list that came late is closed, one that is open when all is freed as well. */
static void test_freed_while_it_hangs(void **state)
{
    (void)state;
    struct storage_iter *it = NULL, *late = NULL;
    OK(storage_list(st, "a/", NULL, &it, &g_err));
    hang(true);
    int r = storage_list(st, "b", NULL, &late, &g_err);
    if (r == 0) { /* it is begun without a call */
        struct storage_object object;
        expect_hangs(storage_iter_next(late, &object, &g_err));
        storage_iter_free(late);
    } else {
        expect_hangs(r);
    }
    storage_iter_free(it);
    int64_t began_us = clock_mono_us();
    storage_free(st);
    assert_true(clock_mono_us() - began_us < 20 * USEC_PER_SEC);
    st = NULL;
    hang(false);
}

/* Opening is a call like others. */
static void test_opens_late(void **state)
{
    (void)state;
    struct storage *other = NULL;
    struct storage_object object;
    OK(storage_bounded_new("file:///nowhere/at/all?x=1", &(struct storage_options){0}, TIMEOUT_MS,
                           &other, &g_err));
    assert_string_equal(other->display, "file:///nowhere/at/all");
    assert_int_equal(storage_stat(other, "a", &object, &g_err), -TM_E_INVALID);
    assert_string_equal(g_err.msg, "storage URL: file:// knows no parameter 'x'");
    storage_free(other);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_reads),      T(test_writes_nothing), T(test_hangs), T(test_freed_while_it_hangs),
        T(test_opens_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
