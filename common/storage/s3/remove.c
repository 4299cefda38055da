/*
 * Removing objects, up to S3_REMOVE_BATCH with one request.
 *
 * Happy path: a batch delete whose answer names no error. Failures: an error of one object inside a
 * good answer; one that passes has the whole batch sent again, as removing what is gone is success;
 * any other ends it and is told with the object's key.
 */
#include "common/storage/s3/internal.h"
#include "common/xml.h"

int s3_remove_key(struct s3 *s3, const char *key, struct tm_err *err)
{
    struct s3_call c;
    s3_call_init(&c, s3, "DELETE", key);
    c.call.wanted[0] = 404;
    int r = store_call_run(&c.call, err);
    s3_call_release(&c);
    return r;
}

static int remove_one(struct s3 *s3, const char *name, struct tm_err *err)
{
    char key[S3_KEY_MAX + 1];
    s3_key(s3, name, key, sizeof(key));
    if (s3_remove_key(s3, key, err) < 0)
        return tm_err_prefix(err, STORAGE_ERROR_REMOVE, name);
    return 0;
}

static int batch_body(const struct s3 *s3, const char *const *names, size_t count, struct buf *body,
                      struct tm_err *err)
{
    int r = buf_printf(body, err,
                       "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                       "<Quiet>true</Quiet>");
    for (size_t n = 0; r == 0 && n < count; n++) {
        char key[S3_KEY_MAX + 1];
        s3_key(s3, names[n], key, sizeof(key));
        r = buf_printf(body, err, "<Object><Key>");
        if (r == 0)
            r = s3_escape(body, key, err);
        if (r == 0)
            r = buf_printf(body, err, "</Key></Object>");
    }
    return r == 0 ? buf_printf(body, err, "</Delete>") : r;
}

static int remove_batch(struct s3 *s3, const char *const *names, size_t count, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf body = BUF_INIT;
    struct s3_call c;
    s3_call_init(&c, s3, "POST", "");
    c.answer = S3_ANSWER_DELETE;
    int r = batch_body(s3, names, count, &body, err);
    if (r == 0)
        r = s3_call_query(&c, "delete", "", err);
    if (r == 0)
        r = s3_call_body(&c, buf_slice(&body), false, err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    s3_call_release(&c);
    if (r < 0)
        return tm_err_prefix(err, "cannot remove %zu objects from '%s' on", count, names[0]);
    return 0;
}

int s3_remove(struct storage *st, const char *const *names, size_t count, struct tm_err *err)
{
    struct s3 *s3 = s3_of(st);
    bool single = s3->config.provider->delete_single;
    for (size_t at = 0; at < count;) {
        size_t n = single ? 1 : TM_MIN(count - at, (size_t)S3_REMOVE_BATCH);
        int r = n == 1 ? remove_one(s3, names[at], err) : remove_batch(s3, names + at, n, err);
        if (r < 0)
            return r;
        at += n;
    }
    return 0;
}
