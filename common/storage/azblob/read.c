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

int azblob_read(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                struct tm_err *err)
{
    struct azblob *az = azblob_of(st);
    char key[AZBLOB_KEY_MAX + 1];
    azblob_key(az, name, key);
    if (offset > INT64_MAX - len) /* no object is so long */
        return too_short(az, key, offset, len, err);
    struct azblob_call c;
    azblob_call_init(&c, az, "GET", key);
    c.answer = AZBLOB_ANSWER_RANGE;
    c.offset = offset;
    c.call.x.into = dst;
    c.call.x.into_len = len;
    c.call.wanted[0] = RANGE_NOT_SATISFIABLE;
    c.call.wanted[1] = 404;
    int r = azblob_call_run(&c, err);
    if (r < 0)
        (void)tm_err_prefix(err, STORAGE_ERROR_READ, name);
    else if (c.call.x.status == 404)
        r = tm_err_set(err, TM_E_NOT_FOUND, STORAGE_ERROR_READ ": there is no such object",
                       shown(az, key).s);
    else if (c.call.x.status == RANGE_NOT_SATISFIABLE || c.call.x.into_got < len)
        r = too_short(az, key, offset, len, err);
    azblob_call_release(&c);
    return r;
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
    int r = azblob_call_run(&c, err);
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
