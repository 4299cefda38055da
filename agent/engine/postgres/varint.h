#ifndef TM_AGENT_ENGINE_POSTGRES_VARINT_H
#define TM_AGENT_ENGINE_POSTGRES_VARINT_H
/*
 * Numbers of 1 to 10 bytes: 7 bits a byte, lowest first, the top bit set in all but the last.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"

#define VARINT_MAX   10
#define VARINT32_MAX 5 /* of a number below 2^32 */

/* Writes at p, which has room; returns what lies behind. */
static inline uint8_t *varint_put(uint8_t *p, uint64_t value)
{
    while (value >= 0x80) {
        *p++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *p++ = (uint8_t)value;
    return p;
}

/* False when it is cut off or longer than 64 bits. */
static inline bool varint_get(struct slice *in, uint64_t *ret)
{
    uint64_t value = 0;
    for (size_t n = 0; n < in->len && n < VARINT_MAX; n++) {
        uint8_t byte = in->data[n];
        if (n == VARINT_MAX - 1 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7F) << (7 * n);
        if (!(byte & 0x80)) {
            *in = slice_of(in->data + n + 1, in->len - n - 1);
            *ret = value;
            return true;
        }
    }
    return false;
}

#endif
