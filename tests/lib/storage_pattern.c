/* Bytes by a seed. Running out of memory ends the test. */
#include "tests/lib/storage_pattern.h"

#define STEP ((size_t)1000003) /* what is written at once */

void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t at = offset + i;
        uint64_t word = (at / 8 + 1) * 0x9e3779b97f4a7c15u + seed * 0xbf58476d1ce4e5b9u;
        word ^= word >> 29;
        out[i] = (uint8_t)(word >> (at % 8 * 8));
    }
}

int pattern_write(struct storage_writer *w, uint64_t seed, size_t size, struct tm_err *err)
{
    uint8_t *bytes = malloc(STEP);
    int r = 0;
    for (size_t at = 0; r == 0 && at < size; at += STEP) {
        size_t len = size - at < STEP ? size - at : STEP;
        pattern_fill(seed, at, bytes, len);
        r = storage_writer_write(w, bytes, len, err);
    }
    free(bytes);
    return r;
}

int pattern_put(struct storage *st, const char *name, uint64_t seed, size_t size, bool seals,
                struct tm_err *err)
{
    TM_CLEANUP(storage_writer_freep) struct storage_writer *w = NULL;
    int r = storage_create(st, name, &w, err);
    if (r == 0)
        r = pattern_write(w, seed, size, err);
    if (r == 0 && seals)
        r = storage_writer_seal(w, err);
    return r == 0 ? storage_writer_commit(w, err) : r;
}

int pattern_differs(struct storage *st, const char *name, uint64_t seed, uint64_t offset,
                    size_t len, struct tm_err *err)
{
    uint8_t *got = malloc(len);
    uint8_t *want = malloc(len);
    pattern_fill(seed, offset, want, len);
    int r = storage_read(st, name, offset, got, len, err);
    if (r == 0)
        r = memcmp(got, want, len) != 0;
    free(got);
    free(want);
    return r;
}
