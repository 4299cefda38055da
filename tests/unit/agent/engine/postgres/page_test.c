/* Page checksums against a plain scalar version, and what a page's header says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "agent/engine/postgres/page.h"

#define BLOCK 8192

static void fill(uint8_t *page, size_t len, uint32_t seed)
{
    for (size_t n = 0; n < len; n++) {
        seed = seed * 1664525u + 1013904223u;
        page[n] = (uint8_t)(seed >> 24);
    }
}

static void put_checksum(uint8_t *page, uint16_t checksum)
{
    memcpy(page + 8, &checksum, sizeof(checksum));
}

static void test_variants_agree(void **state)
{
    (void)state;
    static uint8_t room[32768 + 1];
    for (size_t block = 1024; block <= 32768; block *= 2)
        for (uint32_t seed = 1; seed <= 20; seed++) {
            uint8_t *page = room + seed % 2; /* also when not aligned */
            fill(page, block, seed);
            assert_int_equal(page_checksum(page, block, seed * 1000),
                             page_checksum_portable(page, block, seed * 1000));
        }
}

/* A page of a PostgreSQL 15 cluster is checked by tests/integration/pg_engine_test.sh; here is one
 * small enough to be written down: only its header is set. */
static void test_known_page(void **state)
{
    (void)state;
    static uint8_t page[BLOCK];
    struct page_result result;
    page[12] = 24;               /* lower */
    page[15] = 0x20;             /* upper = 8192 */
    page[17] = 0x20;             /* special = 8192 */
    page[18] = 4, page[19] = 32; /* page size and layout version */
    uint16_t first = page_checksum(page, BLOCK, 0);
    put_checksum(page, first);
    assert_int_equal(page_checksum(page, BLOCK, 0), first); /* does not cover itself */
    assert_int_equal(page_check(page, BLOCK, 0, &result), PAGE_GOOD);
    assert_int_equal(page_check(page, BLOCK, 1, &result), PAGE_WRONG); /* in the wrong place */
    page[4000] ^= 1;
    assert_int_equal(page_check(page, BLOCK, 0, &result), PAGE_WRONG);
    assert_int_equal(result.stored, first);
    assert_int_not_equal(result.computed, first);
}

static void test_new_pages(void **state)
{
    (void)state;
    static uint8_t page[BLOCK];
    struct page_result result;
    memset(page, 0, sizeof(page));
    assert_int_equal(page_check(page, BLOCK, 0, &result), PAGE_NEW);
    page[BLOCK - 1] = 1;
    assert_int_equal(page_check(page, BLOCK, 0, &result), PAGE_WRONG);
    assert_int_equal(result.computed, 0);
    page[BLOCK - 1] = 0;
    page[0] = 1;
    assert_int_equal(page_check(page, BLOCK, 0, &result), PAGE_WRONG);
}

static void test_lsn(void **state)
{
    (void)state;
    static uint8_t page[BLOCK];
    struct page_result result;
    const uint32_t high = 0x16, low = 0xB374D848;
    fill(page, BLOCK, 5);
    memcpy(page, &high, 4);
    memcpy(page + 4, &low, 4);
    (void)page_check(page, BLOCK, 0, &result);
    assert_true(result.lsn == UINT64_C(0x16B374D848));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants_agree),
        cmocka_unit_test(test_known_page),
        cmocka_unit_test(test_new_pages),
        cmocka_unit_test(test_lsn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
