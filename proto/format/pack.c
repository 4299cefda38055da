/* msgpack in compact arrays. Every read checks what is left before it looks. */
#include "proto/format/pack.h"

/* ---- writing ---- */

/* A type byte and a big-endian number of 1, 2, 4 or 8 bytes. */
static int put(struct buf *out, uint8_t type, uint64_t value, size_t width, struct tm_err *err)
{
    uint8_t bytes[9] = {type};
    for (size_t i = 0; i < width; i++)
        bytes[1 + i] = (uint8_t)(value >> (8 * (width - 1 - i)));
    return buf_append(out, bytes, 1 + width, err);
}

int pack_array(struct buf *out, uint32_t count, struct tm_err *err)
{
    if (count < 16)
        return put(out, (uint8_t)(0x90 | count), 0, 0, err);
    return count <= UINT16_MAX ? put(out, 0xdc, count, 2, err) : put(out, 0xdd, count, 4, err);
}

int pack_uint(struct buf *out, uint64_t value, struct tm_err *err)
{
    if (value < 128)
        return put(out, (uint8_t)value, 0, 0, err);
    if (value <= UINT8_MAX)
        return put(out, 0xcc, value, 1, err);
    if (value <= UINT16_MAX)
        return put(out, 0xcd, value, 2, err);
    return value <= UINT32_MAX ? put(out, 0xce, value, 4, err) : put(out, 0xcf, value, 8, err);
}

int pack_int(struct buf *out, int64_t value, struct tm_err *err)
{
    if (value >= 0)
        return pack_uint(out, (uint64_t)value, err);
    if (value >= -32)
        return put(out, (uint8_t)value, 0, 0, err);
    return put(out, 0xd3, (uint64_t)value, 8, err);
}

int pack_bool(struct buf *out, bool value, struct tm_err *err)
{
    return put(out, value ? 0xc3 : 0xc2, 0, 0, err);
}

int pack_str(struct buf *out, const char *text, struct tm_err *err)
{
    size_t len = strlen(text);
    int r = len < 32           ? put(out, (uint8_t)(0xa0 | len), 0, 0, err)
            : len <= UINT8_MAX ? put(out, 0xd9, len, 1, err)
                               : put(out, 0xda, len, 2, err);
    if (len > UINT16_MAX)
        return tm_err_set(err, TM_E_LIMIT, "text of %zu bytes is too long", len);
    return r < 0 ? r : buf_append(out, text, len, err);
}

int pack_bin(struct buf *out, struct slice bytes, struct tm_err *err)
{
    int r = bytes.len <= UINT8_MAX    ? put(out, 0xc4, bytes.len, 1, err)
            : bytes.len <= UINT16_MAX ? put(out, 0xc5, bytes.len, 2, err)
                                      : put(out, 0xc6, bytes.len, 4, err);
    return r < 0 ? r : buf_append_slice(out, bytes, err);
}

/* ---- reading ---- */

static int bad(const char *what, const char *why, struct tm_err *err)
{
    return tm_err_set(err, TM_E_CORRUPT, "%s: %s", what, why);
}

static bool take(struct slice *in, size_t width, uint64_t *ret)
{
    if (in->len < width)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | in->data[i];
    *in = slice_of(in->data + width, in->len - width);
    *ret = value;
    return true;
}

static int take_type(struct slice *in, const char *what, uint8_t *ret, struct tm_err *err)
{
    uint64_t type = 0;
    if (!take(in, 1, &type))
        return bad(what, "cut off", err);
    *ret = (uint8_t)type;
    return 0;
}

int unpack_array(struct slice *in, const char *what, uint32_t *ret, struct tm_err *err)
{
    uint8_t type = 0;
    int r = take_type(in, what, &type, err);
    if (r < 0)
        return r;
    uint64_t count = type & 0x0f;
    if ((type & 0xf0) != 0x90) {
        if (type != 0xdc && type != 0xdd)
            return bad(what, "not an array", err);
        if (!take(in, type == 0xdc ? 2 : 4, &count))
            return bad(what, "cut off", err);
    }
    if (count > in->len) /* each item takes a byte at least */
        return bad(what, "more items than bytes", err);
    *ret = (uint32_t)count;
    return 0;
}

int unpack_uint(struct slice *in, const char *what, uint64_t max, uint64_t *ret, struct tm_err *err)
{
    uint8_t type = 0;
    int r = take_type(in, what, &type, err);
    if (r < 0)
        return r;
    uint64_t value = type;
    if (type >= 128) {
        if (type < 0xcc || type > 0xcf)
            return bad(what, "not an unsigned integer", err);
        if (!take(in, (size_t)1 << (type - 0xcc), &value))
            return bad(what, "cut off", err);
    }
    if (value > max)
        return bad(what, "too large", err);
    *ret = value;
    return 0;
}

int unpack_int(struct slice *in, const char *what, int64_t *ret, struct tm_err *err)
{
    uint64_t value = 0;
    uint8_t type = in->len > 0 ? in->data[0] : 0;
    if (in->len > 0 && type >= 0xe0) {
        *ret = (int64_t)type - 256;
        *in = slice_of(in->data + 1, in->len - 1);
        return 0;
    }
    if (in->len == 0 || type < 0xd0 || type > 0xd3) {
        int r = unpack_uint(in, what, INT64_MAX, &value, err);
        if (r == 0)
            *ret = (int64_t)value;
        return r;
    }
    size_t width = (size_t)1 << (type - 0xd0);
    *in = slice_of(in->data + 1, in->len - 1);
    if (!take(in, width, &value))
        return bad(what, "cut off", err);
    unsigned shift = (unsigned)(64 - 8 * width);
    *ret = (int64_t)(value << shift) >> shift;
    return 0;
}

int unpack_bool(struct slice *in, const char *what, bool *ret, struct tm_err *err)
{
    uint8_t type = 0;
    int r = take_type(in, what, &type, err);
    if (r < 0)
        return r;
    if (type != 0xc2 && type != 0xc3)
        return bad(what, "not a boolean", err);
    *ret = type == 0xc3;
    return 0;
}

/* The bytes behind a length. */
static int take_bytes(struct slice *in, const char *what, uint64_t len, size_t max,
                      struct slice *ret, struct tm_err *err)
{
    if (len > in->len)
        return bad(what, "cut off", err);
    if (len > max)
        return bad(what, "too long", err);
    *ret = slice_of(in->data, (size_t)len);
    *in = slice_of(in->data + len, in->len - (size_t)len);
    return 0;
}

int unpack_str(struct slice *in, const char *what, char *ret, size_t size, struct tm_err *err)
{
    uint8_t type = 0;
    int r = take_type(in, what, &type, err);
    if (r < 0)
        return r;
    uint64_t len = type & 0x1f;
    if ((type & 0xe0) != 0xa0) {
        if (type < 0xd9 || type > 0xdb)
            return bad(what, "not text", err);
        if (!take(in, (size_t)1 << (type - 0xd9), &len))
            return bad(what, "cut off", err);
    }
    struct slice text;
    r = take_bytes(in, what, len, size - 1, &text, err);
    if (r < 0)
        return r;
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL)
        return bad(what, "NUL in text", err);
    memcpy(ret, text.data, text.len);
    ret[text.len] = '\0';
    return 0;
}

int unpack_bin(struct slice *in, const char *what, size_t max, struct slice *ret,
               struct tm_err *err)
{
    uint8_t type = 0;
    uint64_t len = 0;
    int r = take_type(in, what, &type, err);
    if (r < 0)
        return r;
    if (type < 0xc4 || type > 0xc6)
        return bad(what, "not bytes", err);
    if (!take(in, (size_t)1 << (type - 0xc4), &len))
        return bad(what, "cut off", err);
    return take_bytes(in, what, len, max, ret, err);
}
