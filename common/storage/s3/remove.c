/*
 * Removing objects, up to S3_REMOVE_BATCH with one request.
 *
 * Happy path: a batch delete whose answer names no error. Failures: an error of one object inside a
 * good answer; one that passes has the whole batch sent again, as removing what is gone is success;
 * any other ends it and is told with the object's key. A store that removes one by one and answers
 * behind the last may take longer than an answer is waited for: the same again would find it busier
 * still, so it is asked for a quarter, and for twice as many each time it was quick. In a bucket with
 * object lock: see lock.c.
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

#define ATTEMPTS_IN_TIME 3 /* a batch may take this part of the time a call has */
#define QUICK_PART       8 /* … and is quick within this part of that */
#define BATCH_MIN        2u

unsigned s3_remove_next(unsigned count, unsigned max, int64_t took_us, int64_t limit_us)
{
    unsigned next = count;
    if (took_us < 0)
        next = count / 4;
    else if (took_us < limit_us / QUICK_PART)
        next = count * 2;
    return TM_MIN(TM_MAX(next, BATCH_MIN), max);
}

static unsigned batch_ms(const struct s3 *s3)
{
    return TM_MAX(s3->store.deadline_ms / ATTEMPTS_IN_TIME, 1u);
}

int s3_batch_send(struct s3 *s3, struct buf *body, bool *ret_late, struct tm_err *err)
{
    int r = buf_printf(body, err, "</Delete>");
    if (r < 0)
        return r;
    struct s3_call c;
    s3_call_init(&c, s3, "POST", "");
    c.answer = S3_ANSWER_DELETE;
    if (ret_late != NULL)
        c.call.attempt_ms = batch_ms(s3);
    r = s3_call_query(&c, "delete", "", err);
    if (r == 0)
        r = s3_call_body(&c, buf_slice(body), false, err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    if (ret_late != NULL)
        *ret_late = r == -TM_E_TIMEOUT && c.call.x.reached;
    s3_call_release(&c);
    return r;
}

static int remove_batch(struct s3 *s3, const char *const *names, size_t count, bool *ret_late,
                        struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf body = BUF_INIT;
    int r = s3_batch_begin(&body, err);
    for (size_t n = 0; r == 0 && n < count; n++) {
        char key[S3_KEY_MAX + 1];
        s3_key(s3, names[n], key, sizeof(key));
        r = s3_batch_add(&body, key, NULL, err);
    }
    return r == 0 ? s3_batch_send(s3, &body, ret_late, err) : r;
}

/* A few names, up to a batch of them. *ret_late: the store may still be at it. */
static int remove_some(struct s3 *s3, bool locks, const char *const *names, size_t count,
                       bool *ret_late, struct tm_err *err)
{
    if (count == 1 && !locks)
        return remove_one(s3, names[0], err);
    int r = locks ? s3_remove_versions(s3, names, count, err)
                  : remove_batch(s3, names, count, ret_late, err);
    if (r == 0)
        return 0;
    return count == 1
               ? tm_err_prefix(err, STORAGE_ERROR_REMOVE, names[0])
               : tm_err_prefix(err, "cannot remove %zu objects from '%s' on", count, names[0]);
}

int s3_remove(struct storage *st, const char *const *names, size_t count, struct tm_err *err)
{
    struct s3 *s3 = s3_of(st);
    unsigned preset = s3->config.provider->delete_batch;
    unsigned max = preset != 0 ? preset : S3_REMOVE_BATCH;
    int64_t since_us = clock_mono_us(); /* the last time that some were removed */
    bool locks = false;
    if (count > 0 && preset != 1 && s3_has_locks(s3, &locks, err) < 0)
        return tm_err_prefix(err, STORAGE_ERROR_REMOVE, names[0]);
    for (size_t at = 0; at < count;) {
        unsigned most = s3->remove_most != 0 ? s3->remove_most : max;
        unsigned n = (unsigned)TM_MIN(count - at, (size_t)most);
        int64_t begun_us = clock_mono_us();
        bool late = false;
        int r = remove_some(s3, locks, names + at, n, &late, err);
        int64_t now_us = clock_mono_us();
        int64_t took_us = late ? -1 : now_us - begun_us;
        if (late || (r == 0 && n == most)) /* fewer than it may be prove nothing */
            s3->remove_most = s3_remove_next(n, max, took_us, batch_ms(s3) * USEC_PER_MSEC);
        if (late && now_us - since_us < s3->store.deadline_ms * USEC_PER_MSEC) {
            s3->store.retries++;
            continue;
        }
        if (r < 0)
            return r;
        at += n;
        since_us = now_us;
    }
    return 0;
}

/* By a plain DELETE, which a bucket with versions only hides it for. */
int s3_discard(struct storage *st, const char *name, struct tm_err *err)
{
    return remove_one(s3_of(st), name, err);
}
