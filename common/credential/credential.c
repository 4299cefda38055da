/*
 * The cache: one grant, renewed by whoever asks first when it is due.
 *
 * Happy path: get → the grant is fresh → copied. Due: the first thread fetches without the lock, the
 * others go on with the old grant, or wait when it is good no more. A fetch that failed is not tried
 * again for RETRY_US while the old grant is good; once it has ended every get tries.
 *
 * Errors are never "not found", "exists" or "corrupt": a storage driver hands them on, where these
 * words speak of objects.
 */
#include "common/credential/internal.h"

#include "common/clock.h"

#define RETRY_US  (15 * USEC_PER_SEC)
#define REJECT_US (5 * USEC_PER_SEC)

void s3_keys_release(struct s3_keys *keys)
{
    secret_release(&keys->access_key);
    secret_release(&keys->secret_key);
    secret_release(&keys->session_token);
    *keys = S3_KEYS_INIT;
}

void azure_token_release(struct azure_token *token)
{
    secret_release(&token->value);
    *token = AZURE_TOKEN_INIT;
}

void grant_release(struct grant *grant)
{
    s3_keys_release(&grant->s3);
    azure_token_release(&grant->azure);
    *grant = GRANT_INIT;
}

/* ---- making ---- */

int credential_copy(char **place, const char *text, struct tm_err *err)
{
    char *copy = NULL;
    if (text != NULL && (copy = strdup(text)) == NULL)
        return tm_err_oom(err);
    free(*place);
    *place = copy;
    return 0;
}

typedef int choose_fn(struct credential *, const struct secret_map *,
                      const struct credential_options *, struct tm_err *);

static int make(choose_fn *choose, const struct secret_map *secret,
                const struct credential_options *options, struct credential **ret,
                struct tm_err *err)
{
    TM_CLEANUP(credential_freep) struct credential *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return tm_err_oom(err);
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->renewed, NULL);
    c->tried_us = c->rejected_us = INT64_MIN;
    c->now_real_us = options->now_real_us != NULL ? options->now_real_us : clock_real_us;
    int r = credential_copy(&c->ca_file, options->ca_file, err);
    if (r == 0)
        r = credential_copy(&c->proxy, options->proxy, err);
    if (r == 0)
        r = choose(c, secret, options, err);
    if (r < 0)
        return r;
    *ret = TM_TAKE(c);
    return 0;
}

int credential_s3_new(const struct secret_map *secret, const struct credential_options *options,
                      struct credential **ret, struct tm_err *err)
{
    return make(s3_choose, secret, options, ret, err);
}

int credential_azure_new(const struct secret_map *secret, const struct credential_options *options,
                         struct credential **ret, struct tm_err *err)
{
    return make(azure_choose, secret, options, ret, err);
}

void credential_free(struct credential *c)
{
    if (c == NULL)
        return;
    http_free(c->http);
    grant_release(&c->grant);
    secret_release(&c->given);
    (void)pthread_cond_destroy(&c->renewed);
    (void)pthread_mutex_destroy(&c->lock);
    free(c->ca_file);
    free(c->proxy);
    free(c->url);
    free(c->file);
    free(c->subject);
    free(c->name);
    free(c);
}

const char *credential_azure_account(const struct credential *c)
{
    return c->account;
}

const char *credential_source(const struct credential *c)
{
    return c->describe;
}

/* ---- the cache; all with the lock held ---- */

static bool is_good(const struct credential *c, int64_t now_us)
{
    return c->have && !c->rejected && now_us < c->grant.ends_us;
}

/* A clock that was set back must not make a pause long. */
static bool pause_is_over(int64_t since_us, int64_t pause_us, int64_t now_us)
{
    return since_us == INT64_MIN || now_us < since_us || now_us - since_us >= pause_us;
}

static bool is_due(const struct credential *c, int64_t now_us)
{
    if (c->source->fetch == NULL)
        return false;
    if (!is_good(c, now_us))
        return true;
    return c->grant.ends_us != INT64_MAX && c->grant.ends_us - now_us <= CREDENTIAL_RENEW_US &&
           pause_is_over(c->tried_us, RETRY_US, now_us);
}

static int say_failure(const struct credential *c, struct tm_err *err)
{
    *err = c->last_err;
    return c->last_result;
}

/* Fetches without the lock. */
static void renew(struct credential *c)
{
    c->renewing = true;
    bool was_rejected = c->rejected;
    pthread_mutex_unlock(&c->lock);
    TM_CLEANUP(grant_release) struct grant grant = GRANT_INIT;
    struct tm_err err = {.code = TM_E_OK};
    int r = c->source->fetch(c, &grant, &err);
    if (r == 0 && grant.ends_us <= c->now_real_us()) {
        char text[CLOCK_TEXT_MAX];
        r = CREDENTIAL_NONSENSE(&err, "the new ones ended at %s by this host's clock",
                                clock_format(grant.ends_us, text));
    }
    if (r < 0) {
        (void)tm_err_prefix(&err, "credentials from %s", c->describe);
        if (err.code == TM_E_NOT_FOUND || err.code == TM_E_EXISTS || err.code == TM_E_CORRUPT) {
            err.code = TM_E_PERMISSION;
            r = -TM_E_PERMISSION;
        }
    }
    pthread_mutex_lock(&c->lock);
    if (r == 0) {
        grant_release(&c->grant);
        c->grant = grant;
        grant = GRANT_INIT;
        c->have = true;
        if (was_rejected)
            c->rejected_us = c->now_real_us();
        c->rejected = false;
    }
    c->last_err = err;
    c->last_result = r;
    c->tried_us = c->now_real_us();
    c->renewals++;
    c->renewing = false;
    pthread_cond_broadcast(&c->renewed);
}

/* 0: c->grant is good. */
static int make_good(struct credential *c, struct tm_err *err)
{
    while (is_due(c, c->now_real_us())) {
        uint64_t before = c->renewals;
        if (!c->renewing) {
            renew(c);
        } else {
            if (is_good(c, c->now_real_us()))
                return 0;
            while (c->renewals == before)
                pthread_cond_wait(&c->renewed, &c->lock);
        }
        if (c->last_result < 0 && !is_good(c, c->now_real_us()))
            return say_failure(c, err);
    }
    return 0;
}

static int copy_keys(const struct s3_keys *from, struct s3_keys *ret, struct tm_err *err)
{
    TM_CLEANUP(s3_keys_release) struct s3_keys keys = S3_KEYS_INIT;
    int r = secret_set(&keys.access_key, from->access_key.data, from->access_key.len, err);
    if (r == 0)
        r = secret_set(&keys.secret_key, from->secret_key.data, from->secret_key.len, err);
    if (r == 0 && from->session_token.len > 0)
        r = secret_set(&keys.session_token, from->session_token.data, from->session_token.len, err);
    if (r < 0)
        return r;
    keys.ends_us = from->ends_us;
    s3_keys_release(ret);
    *ret = keys;
    keys = S3_KEYS_INIT;
    return 0;
}

int credential_s3_get(struct credential *c, struct s3_keys *ret, struct tm_err *err)
{
    pthread_mutex_lock(&c->lock);
    int r = make_good(c, err);
    if (r == 0)
        r = copy_keys(&c->grant.s3, ret, err);
    pthread_mutex_unlock(&c->lock);
    return r;
}

int credential_azure_get(struct credential *c, struct azure_token *ret, struct tm_err *err)
{
    struct secret value = SECRET_INIT;
    pthread_mutex_lock(&c->lock);
    int r = make_good(c, err);
    const struct azure_token *from = &c->grant.azure;
    if (r == 0)
        r = secret_set(&value, from->value.data, from->value.len, err);
    if (r == 0) {
        secret_release(&ret->value);
        *ret = (struct azure_token){.how = from->how, .value = value, .ends_us = from->ends_us};
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* Many requests signed with the same old keys fail one after the other; those that come in after
 * the new keys did must not reject these. */
void credential_reject(struct credential *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->source->fetch != NULL && !c->renewing &&
        pause_is_over(c->rejected_us, REJECT_US, c->now_real_us()))
        c->rejected = true;
    pthread_mutex_unlock(&c->lock);
}
