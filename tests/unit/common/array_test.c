/* Arrays that grow: what they hold stays, how much room there is, and what happens without memory. */
#include "common/array.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static void it_grows(void **state)
{
    (void)state;
    struct tm_err err = {0};
    uint32_t *items = NULL;
    size_t count = 0, cap = 0;
    static const size_t caps[] = {3, 3, 3, 6, 6, 6, 12, 12, 12, 12, 12, 12, 24};
    for (size_t n = 0; n < TM_ARRAY_LEN(caps); n++) {
        assert_int_equal(ARRAY_ROOM(items, count, cap, 3, &err), 0);
        assert_int_equal(cap, caps[n]);
        items[count++] = (uint32_t)n * 7;
    }
    for (size_t n = 0; n < count; n++)
        assert_int_equal(items[n], n * 7);
    free(items);
}

static void without_memory_it_stays(void **state)
{
    (void)state;
    struct tm_err err = {0};
    char *items = malloc(1);
    char *const before = items;
    size_t cap = SIZE_MAX / 4;
    assert_int_equal(array_room(&items, cap, &cap, 16, 16, &err), -TM_E_NO_MEMORY);
    assert_ptr_equal(items, before);
    assert_int_equal(cap, SIZE_MAX / 4);
    free(items);
}

static void places(void **state)
{
    (void)state;
    static const int items[] = {2, 4, 4, 7};
    static const size_t expected[] = {0, 0, 0, 1, 1, 3, 3, 3, 4}; /* of 0, 1, 2, … */
    size_t low = 99;
    for (int n = 0; n < 9; n++) {
        ARRAY_LOWER_BOUND(low, TM_ARRAY_LEN(items), at, items[at] < n);
        assert_int_equal(low, expected[n]);
        ARRAY_LOWER_BOUND(low, 0, at, items[at] < n);
        assert_int_equal(low, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_grows),
        cmocka_unit_test(without_memory_it_stays),
        cmocka_unit_test(places),
    };
    return cmocka_run_group_tests_name("common/array", tests, NULL, NULL);
}
