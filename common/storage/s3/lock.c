/*
 * Removing from a bucket with object lock.
 *
 * There a plain DELETE is answered with success, always: it puts a mark over the object, which is kept
 * and paid for, and is not listed any more. So what is removed here is the version that is there, by its
 * id, and the store refuses as long as a retention or a legal hold keeps it.
 *
 * Happy path: the bucket is asked once whether it has object lock → a HEAD for each object, HEADS under
 * way, tells its version → one batch delete of versions → and again, as an older version may lie below
 * (of two writers, say, where the store refuses no second creation), until every HEAD says 404.
 * Failures: those of the requests; a refused version is TM_E_REFUSED when its HEAD told of a lock, and
 * names it; an object that keeps coming back.
 */
#include "common/storage/s3/internal.h"
#include "common/xml.h"

#define HEADS      16
#define ROUNDS_MAX 64 /* versions of one object that one call removes */

/* ---- whether there is a lock ---- */

/* Stores without object lock answer many things: an error, or a list of the bucket. */
int s3_has_locks(struct s3 *s3, bool *ret, struct tm_err *err)
{
    int known = s3->locks;
    if (known != S3_LOCKS_UNKNOWN) {
        *ret = known == S3_LOCKS_YES;
        return 0;
    }
    struct s3_call c;
    char enabled[16];
    s3_call_init(&c, s3, "GET", "");
    c.asks_feature = true;
    c.call.wanted[0] = 404;
    c.call.wanted[1] = 405;
    c.call.wanted[2] = 501;
    int r = s3_call_query(&c, "object-lock", "", err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    unsigned status = c.call.x.status;
    bool yes = r == 0 && status < 300 &&
               xml_text(buf_slice(&c.call.x.answer), "ObjectLockConfiguration/ObjectLockEnabled",
                        enabled, sizeof(enabled)) &&
               strcmp(enabled, "Enabled") == 0;
    /* any other refusal may be one of keys, and those may be replaced: it is no knowledge */
    if (r == 0)
        s3->locks = yes ? S3_LOCKS_YES : S3_LOCKS_NO;
    if (r < 0 && !err->retryable && status >= 300)
        r = 0;
    s3_call_release(&c);
    if (r == 0)
        *ret = yes;
    return r;
}

/* ---- versions ---- */

struct batch {
    struct s3 *s3;
    struct buf body;
    const char *names[S3_REMOVE_BATCH]; /* those not known to be gone */
    size_t count;                       /* of them; while they are asked for: found so far */
    char kept[256]; /* what the first object that is locked is kept by, "" = none is */
    struct s3_call heads[HEADS];
};

static int start_head(struct batch *b, const char *name, struct s3_call *c, struct tm_err *err)
{
    char key[S3_KEY_MAX + 1];
    s3_key(b->s3, name, key, sizeof(key));
    s3_call_init(c, b->s3, "HEAD", key);
    c->call.wanted[0] = 404;
    int r = store_call_start(&c->call, err);
    if (r < 0)
        s3_call_release(c);
    return r;
}

/* Dates are ISO 8601, the store's with digits behind the second. */
static void note_lock(struct batch *b, const struct s3_call *c)
{
    const struct http_exchange *x = &c->call.x;
    const char *mode = http_answer_header(x, "x-amz-object-lock-mode");
    const char *until = http_answer_header(x, "x-amz-object-lock-retain-until-date");
    const char *hold = http_answer_header(x, "x-amz-object-lock-legal-hold");
    int64_t until_us;
    struct tm_err ignored;
    if (b->kept[0] != '\0')
        return;
    if (hold != NULL && strcmp(hold, "ON") == 0)
        (void)snprintf(b->kept, sizeof(b->kept), "a legal hold keeps '%.150s'", c->call.name);
    else if (mode != NULL && until != NULL && strlen(until) >= 19 &&
             (clock_parse(until, &until_us, &ignored) < 0 ||
              until_us > store_now_us(&b->s3->store)))
        (void)snprintf(b->kept, sizeof(b->kept), "object lock (%.16s) keeps '%.150s' until %.19sZ",
                       mode, c->call.name, until);
}

static int take_head(struct batch *b, const char *name, struct s3_call *c, struct tm_err *err)
{
    char key[S3_KEY_MAX + 1]; /* whole, as the call's name need not be */
    s3_key(b->s3, name, key, sizeof(key));
    int r = store_call_wait_late(&c->call, err);
    const struct http_exchange *x = &c->call.x;
    if (r == 0 && x->status == 404 && s3_request_id(x) == NULL)
        r = tm_err_retry(err, TM_E_UNAVAILABLE,
                         "%s/%s: HEAD: HTTP 404: this does not come from the store itself",
                         b->s3->store.place, c->call.name);
    if (r == 0 && x->status != 404) {
        r = s3_batch_add(&b->body, key, http_answer_header(x, "x-amz-version-id"), err);
        b->names[b->count++] = name;
        note_lock(b, c);
    }
    s3_call_release(c);
    return r;
}

/* Leaves in `names` what was found, and fills the body. After an error no more are begun; those under
 * way are waited for. */
static int ask_versions(struct batch *b, struct tm_err *err)
{
    size_t count = b->count;
    size_t begun = 0;
    int result = 0;
    b->count = 0; /* always behind `taken`: nothing is overwritten before its turn */
    for (size_t taken = 0; taken < begun || (taken < count && result == 0);) {
        struct tm_err own;
        int r = 0;
        if (begun < count && begun - taken < HEADS && result == 0) {
            r = start_head(b, b->names[begun], &b->heads[begun % HEADS], &own);
            begun += r == 0;
        } else {
            r = take_head(b, b->names[taken], &b->heads[taken % HEADS], &own);
            taken++;
        }
        if (r < 0 && result == 0) {
            result = r;
            *err = own;
        }
    }
    return result;
}

static int send(struct batch *b, struct tm_err *err)
{
    char said[TM_ERR_MSG_MAX];
    int r = b->count > 0 ? s3_batch_send(b->s3, &b->body, NULL, err) : 0;
    if (r == 0 || err->code != TM_E_PERMISSION || b->kept[0] == '\0')
        return r;
    (void)snprintf(said, sizeof(said), "%s", err->msg);
    return tm_err_set(err, TM_E_REFUSED, "%s: %s", b->kept, said);
}

/* The versions on top. */
static int remove_round(struct batch *b, struct tm_err *err)
{
    b->body.len = 0;
    b->kept[0] = '\0';
    int r = s3_batch_begin(&b->body, err);
    if (r == 0)
        r = ask_versions(b, err);
    return r == 0 ? send(b, err) : r;
}

int s3_remove_versions(struct s3 *s3, const char *const *names, size_t count, struct tm_err *err)
{
    TM_CLEANUP(freep) struct batch *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return tm_err_oom(err);
    b->s3 = s3;
    b->body = BUF_INIT;
    memcpy(b->names, names, count * sizeof(names[0]));
    b->count = count;
    int r = 0;
    for (int round = 0; r == 0 && b->count > 0 && round < ROUNDS_MAX; round++)
        r = remove_round(b, err);
    if (r == 0 && b->count > 0)
        r = tm_err_retry(err, TM_E_CONFLICT, "'%s' has more than %d versions, or is still written",
                         b->names[0], ROUNDS_MAX);
    buf_release(&b->body);
    return r;
}
