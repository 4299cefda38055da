/*
 * CRC32C in three forms: byte tables (anywhere), the SSE4.2 instruction in three interleaved
 * streams, and the operator x^(8n) mod P that moves a CRC over n further bytes (combine).
 *
 * The crc32 instruction has a latency of three cycles and a throughput of one, so one stream
 * reaches a third of what the unit can do: three neighbouring blocks are summed at once, and their
 * CRCs joined by multiplying with constants x^(8·block) mod P (carry-less multiplication, done by
 * PCLMULQDQ).
 *
 * Everything is in the reflected ("bit 31 is x^0") representation.
 */
#include "common/hash.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_CRC_HARDWARE 1
#endif

#define POLY UINT32_C(0x82f63b78)

/* a·b mod P */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = UINT32_C(1) << 31; bit != 0; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = (b & 1) ? (b >> 1) ^ POLY : b >> 1;
    }
    return product;
}

/* x^(8·bytes) mod P, by squaring */
static uint32_t shift_operator(uint64_t bytes)
{
    uint32_t result = UINT32_C(1) << 31; /* x^0 */
    uint32_t power = UINT32_C(1) << 23;  /* x^8 */
    for (; bytes != 0; bytes >>= 1) {
        if (bytes & 1)
            result = multiply(power, result);
        power = multiply(power, power);
    }
    return result;
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b)
{
    return multiply(shift_operator(len_b), crc_a) ^ crc_b;
}

/* Nibble table: 64 bytes, const, no start-up work; only machines without SSE4.2 (or tests) come
 * here. */
static const uint32_t nibbles[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t n = 0; n < len; n++) {
        crc ^= p[n];
        crc = (crc >> 4) ^ nibbles[crc & 15];
        crc = (crc >> 4) ^ nibbles[crc & 15];
    }
    return ~crc;
}

#ifdef HAVE_CRC_HARDWARE

#define LONG_BLOCK  ((size_t)8192) /* per stream; three make a unit */
#define SHORT_BLOCK ((size_t)256)

/* x^(8·n - 33) mod P for n = 2 blocks and 1 block: the product of two reflected 32-bit polynomials
 * comes out multiplied by x, and the crc32 instruction that reduces it multiplies by x^32. Checked
 * by the unit test against shift_operator. */
struct fold {
    uint32_t two_blocks;
    uint32_t one_block;
};
static const struct fold long_fold = {0x1dc403cc, 0x54a86326};
static const struct fold short_fold = {0xdd7e3b0c, 0xb9e02b86};

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t load8(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

/* Three streams of `block` bytes each, joined. */
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t
three_streams(uint64_t crc0, const uint8_t *p, size_t block, const struct fold *fold)
{
    uint64_t crc1 = 0;
    uint64_t crc2 = 0;
    for (size_t n = 0; n < block; n += 8) {
        crc0 = _mm_crc32_u64(crc0, load8(p + n));
        crc1 = _mm_crc32_u64(crc1, load8(p + block + n));
        crc2 = _mm_crc32_u64(crc2, load8(p + 2 * block + n));
    }
    __m128i moved0 = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc0),
                                          _mm_cvtsi32_si128((int)fold->two_blocks), 0);
    __m128i moved1 = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc1),
                                          _mm_cvtsi32_si128((int)fold->one_block), 0);
    uint64_t joined = (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(moved0, moved1));
    return _mm_crc32_u64(0, joined) ^ crc2;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
crc32c_hardware(uint32_t start, const uint8_t *p, size_t len)
{
    uint64_t crc = (uint32_t)~start;
    for (; len >= 3 * LONG_BLOCK; p += 3 * LONG_BLOCK, len -= 3 * LONG_BLOCK)
        crc = three_streams(crc, p, LONG_BLOCK, &long_fold);
    for (; len >= 3 * SHORT_BLOCK; p += 3 * SHORT_BLOCK, len -= 3 * SHORT_BLOCK)
        crc = three_streams(crc, p, SHORT_BLOCK, &short_fold);
    for (; len >= 8; p += 8, len -= 8)
        crc = _mm_crc32_u64(crc, load8(p));
    uint32_t tail = (uint32_t)crc;
    for (; len > 0; p++, len--)
        tail = _mm_crc32_u8(tail, *p);
    return ~tail;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    /* reads a word that libgcc filled from CPUID at program start */
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return crc32c_hardware(crc, data, len);
    return crc32c_portable(crc, data, len);
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return crc32c_portable(crc, data, len);
}

#endif
