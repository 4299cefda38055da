/*
 * Removing objects, up to S3_REMOVE_BATCH with one request.
 *
 * Happy path: a batch delete whose answer names no error. Failures: an error of one object inside a
 * good answer; one that passes has the whole batch sent again, as removing what is gone is success;
 * any other ends it and is told with the object's key. In a bucket with object lock: see lock.c.
 */
#include "common/storage/s3/internal.h"

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

int s3_batch_begin(struct buf *body, struct tm_err *err)
{
    return buf_printf(body, err,
                      "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                      "<Quiet>true</Quiet>");
}

int s3_batch_add(struct buf *body, const char *key, const char *version, struct tm_err *err)
{
    int r = buf_printf(body, err, "<Object><Key>");
    if (r == 0)
        r = s3_escape(body, key, err);
    if (r == 0)
        r = buf_printf(body, err, "</Key>");
    if (r == 0 && version != NULL)
        r = buf_printf(body, err, "<VersionId>");
    if (r == 0 && version != NULL)
        r = s3_escape(body, version, err);
    if (r == 0 && version != NULL)
        r = buf_printf(body, err, "</VersionId>");
    return r == 0 ? buf_printf(body, err, "</Object>") : r;
}

int s3_batch_send(struct s3 *s3, struct buf *body, struct tm_err *err)
{
    int r = buf_printf(body, err, "</Delete>");
    if (r < 0)
        return r;
    struct s3_call c;
    s3_call_init(&c, s3, "POST", "");
    c.answer = S3_ANSWER_DELETE;
    r = s3_call_query(&c, "delete", "", err);
    if (r == 0)
        r = s3_call_body(&c, buf_slice(body), false, err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    s3_call_release(&c);
    return r;
}

static int remove_batch(struct s3 *s3, const char *const *names, size_t count, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf body = BUF_INIT;
    int r = s3_batch_begin(&body, err);
    for (size_t n = 0; r == 0 && n < count; n++) {
        char key[S3_KEY_MAX + 1];
        s3_key(s3, names[n], key, sizeof(key));
        r = s3_batch_add(&body, key, NULL, err);
    }
    return r == 0 ? s3_batch_send(s3, &body, err) : r;
}

/* A few names, up to a batch of them. */
static int remove_some(struct s3 *s3, bool locks, const char *const *names, size_t count,
                       struct tm_err *err)
{
    if (count == 1 && !locks)
        return remove_one(s3, names[0], err);
    int r = locks ? s3_remove_versions(s3, names, count, err) : remove_batch(s3, names, count, err);
    if (r == 0)
        return 0;
    return count == 1
               ? tm_err_prefix(err, STORAGE_ERROR_REMOVE, names[0])
               : tm_err_prefix(err, "cannot remove %zu objects from '%s' on", count, names[0]);
}

int s3_remove(struct storage *st, const char *const *names, size_t count, struct tm_err *err)
{
    struct s3 *s3 = s3_of(st);
    bool single = s3->config.provider->delete_single;
    bool locks = false;
    if (count > 0 && !single && s3_has_locks(s3, &locks, err) < 0)
        return tm_err_prefix(err, STORAGE_ERROR_REMOVE, names[0]);
    for (size_t at = 0; at < count;) {
        size_t n = single ? 1 : TM_MIN(count - at, (size_t)S3_REMOVE_BATCH);
        int r = remove_some(s3, locks, names + at, n, err);
        if (r < 0)
            return r;
        at += n;
    }
    return 0;
}

/* By a plain DELETE, which a bucket with versions only hides it for. */
int s3_discard(struct storage *st, const char *name, struct tm_err *err)
{
    return remove_one(s3_of(st), name, err);
}
