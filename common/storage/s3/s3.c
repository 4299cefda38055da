/*
 * The S3 driver: opening, time and statistics. What is done with objects is in read.c, write.c,
 * list.c and remove.c; how one request is made in request.c.
 *
 * Happy path: URL → config, credentials, HTTP client; nothing is sent. What is found out about a
 * bucket is remembered for all of the process, BUCKETS_MAX of them.
 */
#include "common/storage/s3/s3.h"

#include "common/clock.h"
#include "common/storage/driver.h"
#include "common/storage/object_store.h"
#include "common/storage/s3/internal.h"

#define BUCKETS_MAX 64

static struct {
    pthread_mutex_t lock;
    size_t count;
    struct s3_bucket buckets[BUCKETS_MAX];
} memory = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void remember_bucket(struct s3 *s3)
{
    struct s3_bucket fresh = {.put = (int)s3->config.provider->put};
    (void)snprintf(fresh.place, sizeof(fresh.place), "%s", s3->store.place);
    (void)snprintf(s3->own_bucket.place, sizeof(s3->own_bucket.place), "%s", fresh.place);
    s3->own_bucket.put = fresh.put;
    s3->bucket = &s3->own_bucket;
    (void)pthread_mutex_lock(&memory.lock);
    size_t at = 0;
    while (at < memory.count && strcmp(memory.buckets[at].place, fresh.place) != 0)
        at++;
    if (at == memory.count && at < BUCKETS_MAX) {
        (void)snprintf(memory.buckets[at].place, sizeof(fresh.place), "%s", fresh.place);
        memory.buckets[at].put = fresh.put;
        memory.count++;
    }
    if (at < memory.count)
        s3->bucket = &memory.buckets[at];
    (void)pthread_mutex_unlock(&memory.lock);
}

void s3_key(const struct s3 *s3, const char *name, char *ret_key, size_t size)
{
    (void)snprintf(ret_key, size, "%s%s", s3->config.prefix, name);
}

/* Any answer has the store's time in it, also one that refuses. */
static int s3_now(struct storage *st, int64_t *ret_us, struct tm_err *err)
{
    struct s3 *s3 = s3_of(st);
    if (!s3->store.clock_known) {
        struct s3_call c;
        s3_call_init(&c, s3, "HEAD", "");
        int r = store_call_run(&c.call, err);
        s3_call_release(&c);
        if (!s3->store.clock_known)
            return r < 0
                       ? r
                       : tm_err_set(err, TM_E_UNSUPPORTED,
                                    "%s: the store's answers have no Date header", s3->store.place);
    }
    *ret_us = store_now_us(&s3->store);
    return 0;
}

static void s3_stats(struct storage *st, struct storage_stats *ret)
{
    object_store_stats(&s3_of(st)->store, ret);
}

static void s3_free(struct storage *st)
{
    struct s3 *s3 = s3_of(st);
    object_store_close(&s3->store);
    credential_free(s3->credential);
    free(s3);
}

static void s3_closep(struct s3 **s3)
{
    if (*s3 != NULL)
        s3_free(&(*s3)->base);
}

static const struct storage_ops s3_ops = {
    .scheme = "s3",
    .create = s3_create,
    .read = s3_read,
    .fetch = s3_fetch,
    .stat = s3_stat,
    .list = s3_list,
    .remove = s3_remove,
    .discard = s3_discard,
    .now = s3_now,
    .sweep_leftovers = s3_sweep,
    .stats = s3_stats,
    .free = s3_free,
};

static const struct store_ops call_ops = {.sign = s3_sign,
                                          .read_error = s3_read_error,
                                          .passes = s3_passes,
                                          .says_absent = s3_says_absent,
                                          .prepare = s3_prepare,
                                          .explain = s3_result};

static int open_parts(struct s3 *s3, const struct storage_options *options, struct tm_err *err)
{
    const struct s3_config *config = &s3->config;
    int r = credential_s3_new(options->secret,
                              &(struct credential_options){.region = config->region,
                                                           .ca_file = config->ca_file,
                                                           .proxy = config->proxy},
                              &s3->credential, err);
    if (r < 0)
        return r;
    return object_store_open(&s3->store,
                             &(struct object_store_way){.ca_file = config->ca_file,
                                                        .proxy = config->proxy,
                                                        .insecure = config->insecure},
                             options, err);
}

static void display(struct s3 *s3)
{
    const struct s3_config *config = &s3->config;
    char endpoint[sizeof(config->scheme) + sizeof(config->host) + 3] = "";
    if (config->endpoint_given)
        (void)snprintf(endpoint, sizeof(endpoint), "%s://%s", config->scheme, config->host);
    object_store_display(&s3->base, "s3", config->bucket, config->prefix, endpoint);
}

int s3_open(const struct storage_url *url, const struct storage_options *options,
            struct storage **ret, struct tm_err *err)
{
    TM_CLEANUP(s3_closep) struct s3 *s3 = calloc(1, sizeof(*s3));
    if (s3 == NULL)
        return tm_err_oom(err);
    int r = s3_config_read(url, &s3->config, err);
    if (r < 0)
        return r;
    s3->base.ops = &s3_ops;
    s3->tls = strcmp(s3->config.scheme, "https") == 0;
    s3->store.ops = &call_ops;
    s3->store.owner = s3;
    (void)snprintf(s3->store.place, sizeof(s3->store.place), "%s://%.200s/%.180s",
                   s3->config.scheme, s3->config.host, s3->config.bucket);
    display(s3);
    remember_bucket(s3);
    /* where only some uploads are fenced, callers must not rely on it */
    if (s3->bucket->put == S3_CONDITIONAL_YES && s3->config.provider->complete)
        s3->base.features = STORAGE_CONDITIONAL_CREATE;
    r = open_parts(s3, options, err);
    if (r < 0)
        return r;
    *ret = &TM_TAKE(s3)->base;
    return 0;
}
