/*
 * Happy path: opened without a request, fetches started and waited for, closed. Failures: no memory,
 * a CA file that cannot be read, and what a driver's call says; a fetch that is given up is cancelled.
 */
#include "common/storage/object_store.h"

#include <stdalign.h>
#include <stddef.h>

#define DEADLINE_DEFAULT_MS 60000

int object_store_open(struct store *store, const struct object_store_way *way,
                      const struct storage_options *options, struct tm_err *err)
{
    store->trouble = options->trouble;
    store->trouble_arg = options->trouble_arg;
    store->deadline_ms = options->io_timeout_ms != 0 ? options->io_timeout_ms : DEADLINE_DEFAULT_MS;
    return http_new(&(struct http_options){.ca_file = way->ca_file,
                                           .proxy = way->proxy,
                                           .insecure = way->insecure,
                                           .parallel = options->parallel},
                    &store->http, err);
}

void object_store_close(struct store *store)
{
    http_free(store->http);
    store->http = NULL;
}

void object_store_stats(struct store *store, struct storage_stats *ret)
{
    struct http_stats http;
    http_stats(store->http, &http);
    *ret = (struct storage_stats){.requests = http.exchanges,
                                  .retries = store->retries,
                                  .slow_downs = http.slow_downs,
                                  .limit = http.limit,
                                  .limit_max = http.limit_max,
                                  .skew_us = store->skew_us};
}

void object_store_display(struct storage *st, const char *scheme, const char *bucket,
                          const char *prefix, const char *endpoint)
{
    size_t prefix_len = strlen(prefix);
    int len =
        snprintf(st->display, sizeof(st->display), "%s://%s%s%.*s", scheme, bucket,
                 prefix_len > 0 ? "/" : "", (int)(prefix_len > 0 ? prefix_len - 1 : 0), prefix);
    if (endpoint[0] != '\0' && len > 0 && (size_t)len < sizeof(st->display))
        (void)snprintf(st->display + len, sizeof(st->display) - (size_t)len, "?endpoint=%s",
                       endpoint);
}

/* ---- fetches ---- */

struct object_fetch {
    struct storage_fetch base;
    const struct object_fetch_ops *ops;
    char name[STORAGE_NAME_MAX + 1];
    bool busy;                               /* the call is started */
    alignas(max_align_t) uint8_t call_mem[]; /* the driver's struct of a call */
};

static struct store_call *call_of(struct object_fetch *f)
{
    return (struct store_call *)(void *)f->call_mem;
}

static int fetch_wait(struct storage_fetch *base, uint64_t *ret_object_bytes, struct tm_err *err)
{
    struct object_fetch *f = (struct object_fetch *)base;
    f->busy = false;
    int r = store_call_wait_late(call_of(f), err);
    return f->ops->judge(call_of(f), f->name, r, ret_object_bytes, err);
}

static void fetch_free(struct storage_fetch *base)
{
    struct object_fetch *f = (struct object_fetch *)base;
    if (f->busy)
        store_call_cancel(call_of(f));
    f->ops->release(call_of(f));
    free(f);
}

static const struct storage_fetch_ops fetch_ops = {.wait = fetch_wait, .free = fetch_free};

int object_store_fetch(const struct object_fetch_ops *ops, struct storage *st, const char *name,
                       uint64_t offset, void *dst, size_t len, struct storage_fetch **ret,
                       struct tm_err *err)
{
    struct object_fetch *f = calloc(1, sizeof(*f) + ops->call_bytes);
    if (f == NULL)
        return tm_err_oom(err);
    f->base.ops = &fetch_ops;
    f->ops = ops;
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    ops->init(call_of(f), st, name, offset, dst, len);
    int r = store_call_start(call_of(f), err);
    if (r < 0) {
        fetch_free(&f->base);
        return tm_err_prefix(err, STORAGE_ERROR_READ, name);
    }
    f->busy = true;
    *ret = &f->base;
    return 0;
}
