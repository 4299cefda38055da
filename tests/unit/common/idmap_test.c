/* Maps from numbers: what was put is found, and nothing else, whatever is put and removed in between. */
#include "common/idmap.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define IDS 500

static int things[IDS];

static void test_empty(void **state)
{
    (void)state;
    struct idmap map = {0};
    assert_null(idmap_get(&map, 1));
    assert_null(idmap_remove(&map, 1));
    idmap_release(&map);
}

static void test_replaced(void **state)
{
    (void)state;
    struct idmap map = {0};
    struct tm_err err;
    assert_int_equal(idmap_put(&map, 7, &things[0], &err), 0);
    assert_int_equal(idmap_put(&map, 7, &things[1], &err), 0);
    assert_int_equal(map.count, 1);
    assert_ptr_equal(idmap_get(&map, 7), &things[1]);
    assert_null(idmap_get(&map, 0));
    assert_null(idmap_get(&map, 8));
    assert_ptr_equal(idmap_remove(&map, 7), &things[1]);
    assert_null(idmap_get(&map, 7));
    assert_null(idmap_remove(&map, 7));
    assert_int_equal(map.count, 0);
    idmap_release(&map);
}

static void check_all(const struct idmap *map, const uint64_t *ids, const bool *there)
{
    size_t count = 0;
    for (size_t at = 0; at < IDS; at++) {
        assert_ptr_equal(idmap_get(map, ids[at]), there[at] ? &things[at] : NULL);
        count += there[at];
    }
    assert_int_equal(map->count, count);
}

/* Runs of every length, at the end of the table and around it. */
static void churn(const uint64_t *ids)
{
    struct idmap map = {0};
    struct tm_err err;
    bool there[IDS] = {false};
    uint64_t random = 1;
    for (size_t round = 0; round < 20 * IDS; round++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        size_t at = (size_t)(random >> 33) % IDS;
        if (there[at])
            assert_ptr_equal(idmap_remove(&map, ids[at]), &things[at]);
        else
            assert_int_equal(idmap_put(&map, ids[at], &things[at], &err), 0);
        there[at] = !there[at];
        if (round % 50 == 0)
            check_all(&map, ids, there);
    }
    check_all(&map, ids, there);
    idmap_release(&map);
}

static void test_counting_up(void **state)
{
    (void)state;
    uint64_t ids[IDS];
    for (size_t at = 0; at < IDS; at++)
        ids[at] = at + 1;
    churn(ids);
}

static void test_far_apart(void **state)
{
    (void)state;
    uint64_t ids[IDS];
    for (size_t at = 0; at < IDS; at++)
        ids[at] = (uint64_t)(at + 1) << 40;
    churn(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_counting_up),
        cmocka_unit_test(test_far_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
