/*
 * Happy path: a page is hashed in 32 independent lanes, four vectors of eight, which the compiler
 * turns into the widest registers the function is compiled for. Which variant runs is chosen per
 * call by the processor's features (a predictable branch; no resolver has to run before main).
 */
#include "agent/engine/postgres/page.h"

#include <stdbool.h>
#include <string.h>

#define LANES          32
#define LANES_VECTOR   8
#define VECTORS        (LANES / LANES_VECTOR)
#define ROW_BYTES      (LANES * sizeof(uint32_t))
#define FNV_PRIME      16777619u
#define FNV_SHIFT      17
#define ROUNDS_OF_ZERO 2

/* Offsets in the page header. */
#define PAGE_LSN      0
#define PAGE_CHECKSUM 8
#define PAGE_UPPER    14

typedef uint32_t vector __attribute__((vector_size(LANES_VECTOR * sizeof(uint32_t))));

struct lanes {
    vector part[VECTORS];
};

static const uint32_t lane_offsets[LANES] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

static inline __attribute__((always_inline)) void mix_row(struct lanes *sums, const void *row)
{
    struct lanes values;
    memcpy(&values, row, sizeof(values));
    for (unsigned n = 0; n < VECTORS; n++) {
        vector mixed = sums->part[n] ^ values.part[n];
        sums->part[n] = mixed * FNV_PRIME ^ mixed >> FNV_SHIFT;
    }
}

static inline __attribute__((always_inline)) uint16_t hash_page(const uint8_t *page,
                                                                size_t block_bytes, uint32_t block)
{
    struct lanes sums;
    uint8_t row[ROW_BYTES];
    static const uint8_t zeros[ROW_BYTES];

    memcpy(&sums, lane_offsets, sizeof(sums));
    memcpy(row, page, sizeof(row));
    memset(row + PAGE_CHECKSUM, 0, sizeof(uint16_t)); /* the checksum does not cover itself */
    mix_row(&sums, row);
    for (size_t at = ROW_BYTES; at < block_bytes; at += ROW_BYTES)
        mix_row(&sums, page + at);
    for (unsigned n = 0; n < ROUNDS_OF_ZERO; n++)
        mix_row(&sums, zeros);

    vector folded = sums.part[0] ^ sums.part[1] ^ sums.part[2] ^ sums.part[3];
    uint32_t sum = block;
    for (unsigned n = 0; n < LANES_VECTOR; n++)
        sum ^= folded[n];
    return (uint16_t)(sum % 65535 + 1); /* never 0 */
}

uint16_t page_checksum_portable(const uint8_t *page, size_t block_bytes, uint32_t block)
{
    return hash_page(page, block_bytes, block);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint16_t hash_page_avx2(const uint8_t *page,
                                                               size_t block_bytes, uint32_t block)
{
    return hash_page(page, block_bytes, block);
}

uint16_t page_checksum(const uint8_t *page, size_t block_bytes, uint32_t block)
{
    if (__builtin_cpu_supports("avx2"))
        return hash_page_avx2(page, block_bytes, block);
    return hash_page(page, block_bytes, block);
}
#else
uint16_t page_checksum(const uint8_t *page, size_t block_bytes, uint32_t block)
{
    return hash_page(page, block_bytes, block);
}
#endif

static bool all_zeros(const uint8_t *page, size_t block_bytes)
{
    return page[0] == 0 && memcmp(page, page + 1, block_bytes - 1) == 0;
}

enum page_verdict page_check(const uint8_t *page, size_t block_bytes, uint32_t block,
                             struct page_result *ret)
{
    uint32_t high, low;
    uint16_t upper;
    struct page_result result = {0};
    memcpy(&high, page + PAGE_LSN, sizeof(high));
    memcpy(&low, page + PAGE_LSN + sizeof(high), sizeof(low));
    memcpy(&result.stored, page + PAGE_CHECKSUM, sizeof(result.stored));
    memcpy(&upper, page + PAGE_UPPER, sizeof(upper));
    result.lsn = (uint64_t)high << 32 | low;

    enum page_verdict verdict;
    if (upper == 0) { /* the server's sign of a new page: then nothing else may be set */
        verdict = all_zeros(page, block_bytes) ? PAGE_NEW : PAGE_WRONG;
    } else {
        result.computed = page_checksum(page, block_bytes, block);
        verdict = result.computed == result.stored ? PAGE_GOOD : PAGE_WRONG;
    }
    *ret = result;
    return verdict;
}
