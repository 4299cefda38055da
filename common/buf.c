/* Growing byte buffer. Grows by half again, refuses above BUF_MAX_LEN, never loses contents. */
#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>

int slice_cmp(struct slice a, struct slice b)
{
    size_t common = TM_MIN(a.len, b.len);
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

void buf_release(struct buf *b)
{
    if (b->wipe && b->data != NULL)
        explicit_bzero(b->data, b->cap);
    free(b->data);
    *b = (struct buf){.wipe = b->wipe};
}

/* realloc may leave a copy behind. */
static uint8_t *grow_wiping(struct buf *b, size_t cap)
{
    uint8_t *data = malloc(cap);
    if (data == NULL)
        return NULL;
    if (b->len > 0)
        memcpy(data, b->data, b->len);
    if (b->data != NULL)
        explicit_bzero(b->data, b->cap);
    free(b->data);
    return data;
}

int buf_reserve(struct buf *b, size_t more, struct tm_err *err)
{
    if (b->cap - b->len >= more)
        return 0;
    if (more > BUF_MAX_LEN || b->len > BUF_MAX_LEN - more)
        return tm_err_set(err, TM_E_LIMIT, "buffer would exceed %zu bytes", BUF_MAX_LEN);
    size_t cap = TM_MAX(b->len + more, b->cap + b->cap / 2);
    cap = TM_MAX(cap, (size_t)64);
    uint8_t *data = b->wipe ? grow_wiping(b, cap) : realloc(b->data, cap);
    if (data == NULL)
        return tm_err_oom(err);
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_append(struct buf *b, const void *data, size_t len, struct tm_err *err)
{
    if (len == 0)
        return 0;
    int r = buf_reserve(b, len, err);
    if (r < 0)
        return r;
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

int buf_append_slice(struct buf *b, struct slice s, struct tm_err *err)
{
    return buf_append(b, s.data, s.len, err);
}

int buf_printf(struct buf *b, struct tm_err *err, const char *fmt, ...)
{
    va_list ap;
    va_list again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    int r = need < 0 ? tm_err_set(err, TM_E_INTERNAL, "cannot format text")
                     : buf_reserve(b, (size_t)need + 1, err);
    if (r == 0) {
        (void)vsnprintf((char *)b->data + b->len, (size_t)need + 1, fmt, again);
        b->len += (size_t)need;
    }
    va_end(again);
    return r;
}

int buf_cstr(struct buf *b, const char **ret_text, struct tm_err *err)
{
    int r = buf_reserve(b, 1, err);
    if (r < 0)
        return r;
    b->data[b->len] = '\0';
    *ret_text = (const char *)b->data;
    return 0;
}
