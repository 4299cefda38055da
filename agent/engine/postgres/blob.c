/*
 * Happy path: a header, then field after field until the last byte.
 *
 * Failure modes: bytes that end inside a field, a number of the wrong width, text with a NUL or too
 * long. These bytes were written by this program, so only damage can bring them there.
 */
#include "agent/engine/postgres/blob.h"

#include <stdlib.h>

#define BLOB_VERSION 1
#define BLOB_HEADER  6
#define FIELD_HEADER 6

/* ---- writing ---- */

int pg_blob_put_header(struct buf *out, char letter, struct tm_err *err)
{
    uint8_t header[BLOB_HEADER] = {'T', 'M', 'P', 'G', (uint8_t)letter, BLOB_VERSION};
    return buf_append(out, header, sizeof(header), err);
}

int pg_blob_put_field(struct buf *out, unsigned tag, const void *data, size_t len,
                      struct tm_err *err)
{
    uint8_t header[FIELD_HEADER];
    be16_put(header, (uint16_t)tag);
    be32_put(header + 2, (uint32_t)len);
    int r = buf_append(out, header, sizeof(header), err);
    return r < 0 || len == 0 ? r : buf_append(out, data, len, err);
}

int pg_blob_put_u32(struct buf *out, unsigned tag, uint32_t value, struct tm_err *err)
{
    uint8_t bytes[4];
    be32_put(bytes, value);
    return pg_blob_put_field(out, tag, bytes, sizeof(bytes), err);
}

int pg_blob_put_u64(struct buf *out, unsigned tag, uint64_t value, struct tm_err *err)
{
    uint8_t bytes[8];
    be64_put(bytes, value);
    return pg_blob_put_field(out, tag, bytes, sizeof(bytes), err);
}

int pg_blob_put_text(struct buf *out, unsigned tag, const char *text, struct tm_err *err)
{
    return pg_blob_put_field(out, tag, text, strlen(text), err);
}

/* ---- reading ---- */

int pg_blob_bad(const char *what, unsigned tag, const char *why, struct tm_err *err)
{
    return tm_err_set(err, TM_E_CORRUPT, "the %s: field %u: %s", what, tag, why);
}

char pg_blob_letter(struct slice blob)
{
    if (blob.len < BLOB_HEADER || memcmp(blob.data, "TMPG", 4) != 0)
        return 0;
    return (char)blob.data[4];
}

/* *blob becomes what lies behind the header. */
static int blob_open(const char *what, char letter, struct slice *blob, struct tm_err *err)
{
    if (pg_blob_letter(*blob) != letter)
        return tm_err_set(err, TM_E_CORRUPT, "the %s is not one of PostgreSQL", what);
    if (blob->data[5] != BLOB_VERSION)
        return tm_err_set(err, TM_E_UNSUPPORTED, "the %s has version %u, not %u", what,
                          blob->data[5], BLOB_VERSION);
    *blob = slice_of(blob->data + BLOB_HEADER, blob->len - BLOB_HEADER);
    return 0;
}

static int blob_next(const char *what, struct slice *rest, struct pg_blob_field *ret,
                     struct tm_err *err)
{
    if (rest->len < FIELD_HEADER)
        return tm_err_set(err, TM_E_CORRUPT, "the %s ends inside a field", what);
    unsigned tag = be16_get(rest->data);
    size_t len = be32_get(rest->data + 2);
    if (len > rest->len - FIELD_HEADER)
        return pg_blob_bad(what, tag, "longer than what is there", err);
    *ret = (struct pg_blob_field){tag, slice_of(rest->data + FIELD_HEADER, len)};
    *rest = slice_of(rest->data + FIELD_HEADER + len, rest->len - FIELD_HEADER - len);
    return 0;
}

int pg_blob_read(const char *what, char letter, struct slice blob, unsigned last_required,
                 pg_blob_take_fn take, void *arg, struct tm_err *err)
{
    uint32_t seen = 0; /* bit n is tag n */
    int r = blob_open(what, letter, &blob, err);
    while (r == 0 && blob.len > 0) {
        struct pg_blob_field field;
        r = blob_next(what, &blob, &field, err);
        if (r == 0)
            r = take(field, arg, err);
        if (r == 0 && field.tag < 32)
            seen |= 1u << field.tag;
    }
    for (unsigned tag = 1; r == 0 && tag <= last_required; tag++)
        if (!(seen & 1u << tag))
            r = pg_blob_bad(what, tag, "missing", err);
    return r;
}

int pg_blob_get_u32(const char *what, struct pg_blob_field field, uint32_t *ret, struct tm_err *err)
{
    if (field.value.len != 4)
        return pg_blob_bad(what, field.tag, "not a 4-byte number", err);
    *ret = be32_get(field.value.data);
    return 0;
}

int pg_blob_get_u64(const char *what, struct pg_blob_field field, uint64_t *ret, struct tm_err *err)
{
    if (field.value.len != 8)
        return pg_blob_bad(what, field.tag, "not an 8-byte number", err);
    *ret = be64_get(field.value.data);
    return 0;
}

int pg_blob_get_text(const char *what, struct pg_blob_field field, struct slice text, size_t max,
                     char **ret, struct tm_err *err)
{
    if (text.len >= max)
        return pg_blob_bad(what, field.tag, "text too long", err);
    if (memchr(text.data, '\0', text.len))
        return pg_blob_bad(what, field.tag, "text holds a NUL", err);
    char *copy = malloc(text.len + 1);
    if (!copy)
        return tm_err_oom(err);
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    free(*ret); /* a repeated field: the last one counts */
    *ret = copy;
    return 0;
}

int pg_blob_get_bytes(const char *what, struct pg_blob_field field, size_t max, struct buf *ret,
                      struct tm_err *err)
{
    if (field.value.len > max)
        return pg_blob_bad(what, field.tag, "too long", err);
    buf_reset(ret);
    return buf_append_slice(ret, field.value, err);
}
