#ifndef TM_COMMON_HASH_H
#define TM_COMMON_HASH_H
/*
 * Checksums, digests, MACs, hex and random bytes.
 *
 * CRC32C (Castagnoli, as iSCSI and PostgreSQL use it) is for what was read from the source: it can
 * be combined across ranges. XXH3-128 detects damage to raw and stored bytes. SHA-256 chains
 * metadata; HMAC-SHA-256 proves identity. None of the first two resists an adversary.
 *
 * Threads: all functions are thread safe; a struct hash_* belongs to one thread at a time.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

/* CRC32C: start with CRC32C_INIT, feed in order, any split; the value is final at each step.
 * (crc32c(0, "123456789") is 0xE3069283.) */
#define CRC32C_INIT UINT32_C(0)
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* CRC of A‖B from crc(A), crc(B) and B's length, in O(log len_b). */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b);
/* As crc32c without hardware: for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

/* ---- XXH3-128, canonical (big-endian) bytes ---- */
#define XXH3_128_LEN 16
struct xxh3_128 {
    uint8_t bytes[XXH3_128_LEN];
};
struct xxh3_128 xxh3_128_of(const void *data, size_t len);
static inline bool xxh3_128_eq(const struct xxh3_128 *a, const struct xxh3_128 *b)
{
    return memcmp(a->bytes, b->bytes, XXH3_128_LEN) == 0;
}

/* ---- SHA-256 ---- */
#define SHA256_LEN 32
struct sha256 {
    uint8_t bytes[SHA256_LEN];
};
int sha256_of(const void *data, size_t len, struct sha256 *ret_digest, struct tm_err *err) TM_WUR;
static inline bool sha256_eq(const struct sha256 *a, const struct sha256 *b)
{
    return memcmp(a->bytes, b->bytes, SHA256_LEN) == 0;
}

/* Incremental: new → update … → final (once; afterwards reset or free). */
struct hash_sha256;
int hash_sha256_new(struct hash_sha256 **ret_hash, struct tm_err *err) TM_WUR;
void hash_sha256_free(struct hash_sha256 *h);
TM_DEFINE_FREEP(struct hash_sha256, hash_sha256_free)
int hash_sha256_reset(struct hash_sha256 *h, struct tm_err *err) TM_WUR;
int hash_sha256_update(struct hash_sha256 *h, const void *data, size_t len,
                       struct tm_err *err) TM_WUR;
int hash_sha256_final(struct hash_sha256 *h, struct sha256 *ret_digest, struct tm_err *err) TM_WUR;

/* ---- HMAC-SHA-256 over the concatenation of `parts` (put lengths or separators in yourself) ---- */
int hmac_sha256(struct slice key, const struct slice *parts, size_t part_count,
                struct sha256 *ret_mac, struct tm_err *err) TM_WUR;

/* Same time whatever the contents; for MACs and secrets. */
bool hash_equal_const_time(const void *a, const void *b, size_t len);

/* ---- hex ---- */
/* Writes 2*len lower-case digits and a NUL into `text`; returns it. */
char *hex_encode(const void *data, size_t len, char *text);
/* Value of one digit of either case, or -1. */
int hex_value(char digit);

/* Random bytes from the kernel; blocks only before the kernel's pool is first filled. */
int random_bytes(void *ret_data, size_t len, struct tm_err *err) TM_WUR;

#endif
