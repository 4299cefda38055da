/*
 * Reading and asking about one object: ranged GET straight to the caller's memory, and HEAD.
 *
 * Failures: no such object is told from everything else; a body that is shorter than asked is sent
 * again by the call unless the object really ends there, which is TM_E_CORRUPT.
 */
#include <curl/curl.h>

#include "common/clock.h"
#include "common/parse.h"
#include "common/storage/azblob/internal.h"
#include "common/storage/object_store.h"

#define RANGE_NOT_SATISFIABLE 416

/* "place/key" */
struct shown {
    char s[AZBLOB_KEY_MAX + 420];
};
static struct shown shown(const struct azblob *az, const char *key)
{
    struct shown text;
    (void)snprintf(text.s, sizeof(text.s), "%s/%s", az->store.place, key);
    return text;
}

static int too_short(const struct azblob *az, const char *key, uint64_t offset, size_t len,
                     struct tm_err *err)
{
    return tm_err_set(err, TM_E_CORRUPT, STORAGE_ERROR_SHORT, shown(az, key).s, len,
                      (unsigned long long)offset);
}

static void get_init(struct store_call *call, struct storage *st, const char *name, uint64_t offset,
                     void *dst, size_t len)
{
    struct azblob_call *c = (struct azblob_call *)call;
    char key[AZBLOB_KEY_MAX + 1];
    azblob_key(azblob_of(st), name, key);
    azblob_call_init(c, azblob_of(st), "GET", key);
    c->answer = AZBLOB_ANSWER_RANGE;
    c->offset = offset;
    call->x.into = dst;
    call->x.into_len = len;
    call->wanted[0] = RANGE_NOT_SATISFIABLE;
    call->wanted[1] = 404;
}

static int get_result(const struct store_call *call, const char *name, int r,
                      uint64_t *ret_object_bytes, struct tm_err *err)
{
    const struct azblob_call *c = call->arg;
    const struct http_exchange *x = &call->x;
    char key[AZBLOB_KEY_MAX + 1];
    azblob_key(c->az, name, key);
    if (r < 0)
        return tm_err_prefix(err, STORAGE_ERROR_READ, name);
    if (x->status == 404)
        return tm_err_set(err, TM_E_NOT_FOUND, STORAGE_ERROR_READ ": there is no such object",
                          shown(c->az, key).s);
    if (x->status == RANGE_NOT_SATISFIABLE || x->into_got < x->into_len)
        return too_short(c->az, key, c->offset, x->into_len, err);
    *ret_object_bytes = c->total;
    return 0;
}

static void get_release(struct store_call *call)
{
    azblob_call_release(call->arg);
}

int azblob_read(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                struct tm_err *err)
{
    struct azblob_call c;
    uint64_t object_bytes;
    get_init(&c.call, st, name, offset, dst, len);
    int r = get_result(&c.call, name, store_call_run(&c.call, err), &object_bytes, err);
    azblob_call_release(&c);
    return r;
}

int azblob_fetch(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                 struct storage_fetch **ret, struct tm_err *err)
{
    static const struct object_fetch_ops ops = {.call_bytes = sizeof(struct azblob_call),
                                                .init = get_init,
                                                .judge = get_result,
                                                .release = get_release};
    return object_store_fetch(&ops, st, name, offset, dst, len, ret, err);
}

/* ---- HEAD ---- */

static int take_head(const struct azblob_call *c, struct azblob_head *ret, struct tm_err *err)
{
    const struct http_exchange *x = &c->call.x;
    const char *size = http_answer_header(x, "content-length");
    const char *modified = http_answer_header(x, "last-modified");
    const char *md5 = http_answer_header(x, "content-md5");
    const char *nonce = http_answer_header(x, AZBLOB_META);
    struct tm_err ignored;
    time_t seconds = modified != NULL ? curl_getdate(modified, NULL) : -1;
    if (size == NULL || parse_u64(size, &ret->size_bytes, &ignored) < 0 || seconds < 0)
        return tm_err_retry(err, TM_E_UNAVAILABLE, "%s/%s: HEAD: the answer has no size or no time",
                            c->az->store.place, c->call.name);
    ret->found = true;
    ret->modified_us = (int64_t)seconds * USEC_PER_SEC;
    (void)snprintf(ret->md5, sizeof(ret->md5), "%s", md5 != NULL ? md5 : "");
    (void)snprintf(ret->nonce, sizeof(ret->nonce), "%s", nonce != NULL ? nonce : "");
    return 0;
}

int azblob_head(struct azblob *az, const char *key, struct azblob_head *ret, struct tm_err *err)
{
    struct azblob_call c;
    azblob_call_init(&c, az, "HEAD", key);
    c.call.wanted[0] = 404;
    struct azblob_head head = {.found = false};
    int r = store_call_run(&c.call, err);
    if (r == 0 && c.call.x.status != 404)
        r = take_head(&c, &head, err);
    azblob_call_release(&c);
    if (r == 0)
        *ret = head;
    return r;
}

int azblob_stat(struct storage *st, const char *name, struct storage_object *ret,
                struct tm_err *err)
{
    struct azblob *az = azblob_of(st);
    char key[AZBLOB_KEY_MAX + 1];
    azblob_key(az, name, key);
    struct azblob_head head = {.found = false};
    int r = azblob_head(az, key, &head, err);
    if (r < 0)
        return tm_err_prefix(err, STORAGE_ERROR_STAT, name);
    if (!head.found)
        return tm_err_set(err, TM_E_NOT_FOUND, STORAGE_ERROR_STAT ": there is no such object",
                          shown(az, key).s);
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name);
    ret->size_bytes = head.size_bytes;
    ret->modified_us = head.modified_us;
    return 0;
}
