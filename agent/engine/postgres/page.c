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
#define ROW_BYTES      (LANES * sizeof(uint32_t))
#define FNV_PRIME      16777619u
#define FNV_SHIFT      17
#define ROUNDS_OF_ZERO 2

/* Offsets in the page header. */
#define PAGE_LSN      0
#define PAGE_CHECKSUM 8
#define PAGE_UPPER    14

typedef uint32_t vector __attribute__((vector_size(LANES_VECTOR * sizeof(uint32_t))));

/* The same, where it lies in a page: loaded as it is (a copy through memory would stall). */
typedef uint32_t vector_unaligned
    __attribute__((vector_size(LANES_VECTOR * sizeof(uint32_t)), aligned(1), may_alias));

static const uint32_t lane_offsets[LANES] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

/* One row into four sums, written out so that compilers keep all of them in registers. A macro, as is
 * the function below: compiled into a caller with other features, a function would be lowered for the
 * wrong processor first. */
#define MIX(sum, value)                                                                            \
    do {                                                                                           \
        vector mixed_ = (sum) ^ (value);                                                           \
        (sum) = mixed_ * FNV_PRIME ^ mixed_ >> FNV_SHIFT;                                          \
    } while (0)
#define MIX_ROW(row)                                                                               \
    do {                                                                                           \
        const vector_unaligned *values_ = (const vector_unaligned *)(row);                         \
        MIX(a, values_[0]);                                                                        \
        MIX(b, values_[1]);                                                                        \
        MIX(c, values_[2]);                                                                        \
        MIX(d, values_[3]);                                                                        \
    } while (0)

/* The checksum does not cover itself: in the first row it counts as zero. */
#define DEFINE_HASH_PAGE(name)                                                                     \
    uint16_t name(const uint8_t *page, size_t block_bytes, uint32_t block)                         \
    {                                                                                              \
        uint8_t first[ROW_BYTES];                                                                  \
        const vector_unaligned *offsets = (const vector_unaligned *)lane_offsets;                  \
        vector a = offsets[0], b = offsets[1], c = offsets[2], d = offsets[3];                     \
        memcpy(first, page, sizeof(first));                                                        \
        memset(first + PAGE_CHECKSUM, 0, sizeof(uint16_t));                                        \
        MIX_ROW(first);                                                                            \
        for (size_t at = ROW_BYTES; at < block_bytes; at += ROW_BYTES)                             \
            MIX_ROW(page + at);                                                                    \
        memset(first, 0, sizeof(first));                                                           \
        for (unsigned n = 0; n < ROUNDS_OF_ZERO; n++)                                              \
            MIX_ROW(first);                                                                        \
        a ^= b ^ c ^ d;                                                                            \
        for (unsigned n = 0; n < LANES_VECTOR; n++)                                                \
            block ^= a[n];                                                                         \
        return (uint16_t)(block % 65535 + 1); /* never 0 */                                        \
    }

DEFINE_HASH_PAGE(page_checksum_portable)

#if defined(__x86_64__)
__attribute__((target("avx2"))) static DEFINE_HASH_PAGE(hash_page_avx2)
#endif

    uint16_t page_checksum(const uint8_t *page, size_t block_bytes, uint32_t block)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return hash_page_avx2(page, block_bytes, block);
#endif
    return page_checksum_portable(page, block_bytes, block);
}

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
