/*
 * Reading and looking at objects.
 *
 * Happy path: a GET with a range answers 206 and exactly the bytes asked for. Failures: fewer bytes
 * than asked for are asked for again, unless the object itself is shorter (416, or the total in
 * Content-Range). A HEAD that answers 404 says "no such object" only when the bucket is known to be
 * there; its answer has no words to tell. One that does not even carry a request's id may come from
 * a proxy: then a GET has to say the same in words.
 */
#include <curl/curl.h>

#include "common/clock.h"
#include "common/parse.h"
#include "common/storage/object_store.h"
#include "common/storage/s3/internal.h"

bool s3_decode(char *text)
{
    char *to = text;
    for (const char *at = text; *at != '\0'; at++) {
        unsigned value;
        if (*at == '%') {
            if (at[1] == '\0' || at[2] == '\0' || strspn(at + 1, "0123456789abcdefABCDEF") < 2)
                return false;
            (void)sscanf(at + 1, "%2x", &value);
            if (value == 0)
                return false;
            *to++ = (char)value;
            at += 2;
        } else {
            *to++ = *at == '+' ? ' ' : *at;
        }
    }
    *to = '\0';
    return true;
}

/* ---- HEAD ---- */

/* Asks the bucket, which answers in words, whether it is there. */
static int check_bucket(struct s3 *s3, struct tm_err *err)
{
    struct s3_call c;
    s3_call_init(&c, s3, "GET", "");
    int r = s3->config.provider->list_v1 ? 0 : s3_call_query(&c, "list-type", "2", err);
    if (r == 0)
        r = s3_call_query(&c, "max-keys", "1", err);
    if (r == 0)
        r = s3_call_query(&c, "prefix", s3->config.prefix, err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    s3_call_release(&c);
    return r;
}

static int read_head(const struct s3_call *c, struct s3_head *ret, struct tm_err *err)
{
    const struct http_exchange *x = &c->call.x;
    struct s3_head head = {.found = true};
    const char *length = http_answer_header(x, "content-length");
    struct tm_err ignored;
    if (length == NULL || parse_u64(length, &head.size_bytes, &ignored) < 0)
        return tm_err_retry(err, TM_E_UNAVAILABLE, "%s/%s: HEAD: the answer has no size",
                            c->s3->store.place, c->call.name);
    const char *modified = http_answer_header(x, "last-modified");
    time_t seconds = modified != NULL ? curl_getdate(modified, NULL) : -1;
    head.modified_us = seconds >= 0 ? (int64_t)seconds * USEC_PER_SEC : 0;
    char etag[80];
    if (s3_etag(x, etag, sizeof(etag)) && s3_etag_is_md5(x, etag))
        (void)snprintf(head.md5, sizeof(head.md5), "%.32s", etag);
    const char *nonce = http_answer_header(x, S3_NONCE_HEADER);
    if (nonce != NULL && strlen(nonce) < sizeof(head.nonce))
        (void)snprintf(head.nonce, sizeof(head.nonce), "%s", nonce);
    *ret = head;
    return 0;
}

/* Asks for a byte of the object, which is answered in words when there is none. */
static int ask_in_words(struct s3 *s3, const char *key, bool *ret_found, struct tm_err *err)
{
    struct s3_call c;
    uint8_t byte;
    s3_call_init(&c, s3, "GET", key);
    c.answer = S3_ANSWER_RANGE;
    c.call.x.into = &byte;
    c.call.x.into_len = 1;
    c.call.wanted[0] = 416; /* it is empty */
    int r = store_call_run(&c.call, err);
    if (r == 0 || err->code == TM_E_NOT_FOUND) {
        *ret_found = r == 0;
        r = 0;
    }
    s3_call_release(&c);
    return r;
}

/* After a 404: 0 = there is no such object. */
static int confirm_absent(struct s3 *s3, const struct s3_call *head, struct tm_err *err)
{
    if (s3_request_id(&head->call.x) != NULL)
        return s3->bucket_seen ? 0 : check_bucket(s3, err);
    bool found = false;
    int r = ask_in_words(s3, head->call.name, &found, err);
    if (r == 0 && found)
        return tm_err_retry(err, TM_E_UNAVAILABLE,
                            "%s/%s: HEAD: HTTP 404, but the object can be read", s3->store.place,
                            head->call.name);
    return r;
}

int s3_head(struct s3 *s3, const char *key, struct s3_head *ret, struct tm_err *err)
{
    struct s3_call c;
    s3_call_init(&c, s3, "HEAD", key);
    c.call.wanted[0] = 404;
    int r = store_call_run(&c.call, err);
    if (r == 0 && c.call.x.status == 404) {
        r = confirm_absent(s3, &c, err);
        if (r == 0)
            *ret = (struct s3_head){.found = false};
    } else if (r == 0) {
        r = read_head(&c, ret, err);
    } else if (c.call.x.status >= 300 && c.call.x.status < 500 && c.call.error.code[0] == '\0') {
        struct tm_err why; /* a refused HEAD does not tell, another request may */
        if (check_bucket(s3, &why) < 0)
            *err = why;
        r = -(int)err->code;
    }
    s3_call_release(&c);
    return r;
}

int s3_stat(struct storage *st, const char *name, struct storage_object *ret, struct tm_err *err)
{
    struct s3 *s3 = s3_of(st);
    char key[S3_KEY_MAX + 1];
    s3_key(s3, name, key, sizeof(key));
    struct s3_head head = {.found = false};
    int r = s3_head(s3, key, &head, err);
    if (r < 0)
        return tm_err_prefix(err, STORAGE_ERROR_STAT, name);
    if (!head.found)
        return tm_err_set(err, TM_E_NOT_FOUND, STORAGE_ERROR_STAT ": %s/%s: no such object", name,
                          s3->store.place, key);
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name);
    ret->size_bytes = head.size_bytes;
    ret->modified_us = head.modified_us;
    return 0;
}

/* ---- GET ---- */

static void get_init(struct store_call *call, struct storage *st, const char *name, uint64_t offset,
                     void *dst, size_t len)
{
    struct s3_call *c = (struct s3_call *)call;
    char key[S3_KEY_MAX + 1];
    s3_key(s3_of(st), name, key, sizeof(key));
    s3_call_init(c, s3_of(st), "GET", key);
    c->answer = S3_ANSWER_RANGE;
    c->offset = offset;
    call->x.into = dst;
    call->x.into_len = len;
    call->wanted[0] = 416;
}

static int get_result(const struct store_call *call, const char *name, int r,
                      uint64_t *ret_object_bytes, struct tm_err *err)
{
    const struct s3_call *c = call->arg;
    if (r < 0)
        return tm_err_prefix(err, STORAGE_ERROR_READ, name);
    if (call->x.status == 416 || call->x.into_got < call->x.into_len)
        return tm_err_set(err, TM_E_CORRUPT, STORAGE_ERROR_SHORT, name, call->x.into_len,
                          (unsigned long long)c->offset);
    *ret_object_bytes = c->total;
    return 0;
}

static void get_release(struct store_call *call)
{
    s3_call_release(call->arg);
}

int s3_read(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
            struct tm_err *err)
{
    struct s3_call c;
    uint64_t object_bytes;
    get_init(&c.call, st, name, offset, dst, len);
    int r = get_result(&c.call, name, store_call_run(&c.call, err), &object_bytes, err);
    s3_call_release(&c);
    return r;
}

int s3_fetch(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
             struct storage_fetch **ret, struct tm_err *err)
{
    static const struct object_fetch_ops ops = {.call_bytes = sizeof(struct s3_call),
                                                .init = get_init,
                                                .judge = get_result,
                                                .release = get_release};
    return object_store_fetch(&ops, st, name, offset, dst, len, ret, err);
}
