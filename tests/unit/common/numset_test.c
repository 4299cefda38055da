/* Sets of numbers: the lowest is found, at the edges of words and levels too, and growing loses nothing. */
#include "common/numset.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_empty(void **state)
{
    (void)state;
    struct numset set = {0};
    struct tm_err err;
    assert_int_equal(numset_lowest(&set), SIZE_MAX);
    assert_false(numset_has(&set, 0));
    assert_int_equal(numset_reserve(&set, 1, &err), 0);
    assert_int_equal(numset_lowest(&set), SIZE_MAX);
    numset_release(&set);
}

static void test_edges(void **state)
{
    static const size_t edges[] = {0, 1, 63, 64, 4095, 4096, 8191, 262143, 262144, 1048575};
    (void)state;
    struct numset set = {0};
    struct tm_err err;
    for (size_t at = TM_ARRAY_LEN(edges); at > 0; at--) {
        assert_int_equal(numset_reserve(&set, 1048576, &err), 0);
        numset_add(&set, edges[at - 1]);
        numset_add(&set, edges[at - 1]);
        assert_int_equal(numset_lowest(&set), edges[at - 1]);
    }
    for (size_t at = 0; at < TM_ARRAY_LEN(edges); at++) {
        assert_int_equal(numset_lowest(&set), edges[at]);
        assert_true(numset_has(&set, edges[at]));
        numset_drop(&set, edges[at]);
        numset_drop(&set, edges[at]);
        assert_false(numset_has(&set, edges[at]));
    }
    assert_int_equal(numset_lowest(&set), SIZE_MAX);
    numset_release(&set);
}

static void test_growing(void **state)
{
    (void)state;
    struct numset set = {0};
    struct tm_err err;
    for (size_t n = 0; n < 20000; n++) {
        assert_int_equal(numset_reserve(&set, n + 1, &err), 0);
        if (n % 3 == 0)
            numset_add(&set, n);
    }
    for (size_t n = 0; n < 20000; n++) {
        assert_int_equal(numset_has(&set, n), n % 3 == 0);
        if (n % 3 != 0)
            continue;
        assert_int_equal(numset_lowest(&set), n);
        numset_drop(&set, n);
    }
    assert_int_equal(numset_lowest(&set), SIZE_MAX);
    numset_release(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_growing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
