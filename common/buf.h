#ifndef TM_COMMON_BUF_H
#define TM_COMMON_BUF_H
/*
 * Bytes: a borrowed view (struct slice) and an owned, growing buffer (struct buf).
 *
 * A slice never owns; it is valid as long as what it points into. A buf owns `data`; after
 * BUF_INIT it may be appended to, reset (contents gone, memory kept) and released any number of
 * times. buf appends never fail halfway: on an error the buffer is as it was.
 * Not thread safe.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"

struct slice {
    const uint8_t *data;
    size_t len;
};

#define SLICE_EMPTY ((struct slice){NULL, 0})

static inline struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){(const uint8_t *)data, len};
}

static inline struct slice slice_str(const char *text)
{
    return (struct slice){(const uint8_t *)text, strlen(text)};
}

/* Order of plain byte strings: memcmp, shorter first. */
int slice_cmp(struct slice a, struct slice b);

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool wipe; /* holds secrets: memory is zeroed before it is given back */
};

#define BUF_INIT        ((struct buf){.wipe = false})
#define BUF_SECRET_INIT ((struct buf){.wipe = true})
#define BUF_MAX_LEN     ((size_t)1 << 31) /* nothing in this program needs a larger single buffer */

void buf_release(struct buf *b);
static inline void buf_reset(struct buf *b)
{
    if (b->wipe && b->len > 0)
        explicit_bzero(b->data, b->len);
    b->len = 0;
}
static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

/* Makes room for `more` bytes behind len. */
int buf_reserve(struct buf *b, size_t more, struct tm_err *err) TM_WUR;
int buf_append(struct buf *b, const void *data, size_t len, struct tm_err *err) TM_WUR;
int buf_append_slice(struct buf *b, struct slice s, struct tm_err *err) TM_WUR;
int buf_printf(struct buf *b, struct tm_err *err, const char *fmt, ...) TM_PRINTF(3, 4) TM_WUR;
/* Terminates with a NUL that is not counted, and returns the text; valid until the next append. */
int buf_cstr(struct buf *b, const char **ret_text, struct tm_err *err) TM_WUR;

/* Big-endian integers, as everywhere in Tidemark's formats. */
static inline void be16_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void be32_put(uint8_t *p, uint32_t v)
{
    be16_put(p, (uint16_t)(v >> 16));
    be16_put(p + 2, (uint16_t)v);
}
static inline void be64_put(uint8_t *p, uint64_t v)
{
    be32_put(p, (uint32_t)(v >> 32));
    be32_put(p + 4, (uint32_t)v);
}
static inline uint16_t be16_get(const uint8_t *p)
{
    return (uint16_t)((p[0] << 8) | p[1]);
}
static inline uint32_t be32_get(const uint8_t *p)
{
    return ((uint32_t)be16_get(p) << 16) | be16_get(p + 2);
}
static inline uint64_t be64_get(const uint8_t *p)
{
    return ((uint64_t)be32_get(p) << 32) | be32_get(p + 4);
}

#endif
