/*
 * A storage that notes its calls, around another one. Nothing is done but that: results and errors are
 * the inner storage's.
 */
#include "agent/runner/watch.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"

/* ---- the notes ---- */

void watch_init(struct storage_watch *w)
{
    memset(w, 0, sizeof(*w));
    (void)pthread_mutex_init(&w->lock, NULL);
}

void watch_release(struct storage_watch *w)
{
    (void)pthread_mutex_destroy(&w->lock);
}

size_t watch_enter(struct storage_watch *w, const char *what, const char *name)
{
    size_t at = 0;
    (void)pthread_mutex_lock(&w->lock);
    while (at < WATCH_CALLS_MAX && w->calls[at].since_us != 0)
        at++;
    if (at < WATCH_CALLS_MAX) {
        w->calls[at].since_us = TM_MAX(clock_mono_us(), INT64_C(1));
        w->calls[at].what = what;
        (void)snprintf(w->calls[at].name, sizeof(w->calls[at].name), "%s", name);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return at;
}

void watch_leave(struct storage_watch *w, size_t call)
{
    if (call >= WATCH_CALLS_MAX)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->calls[call].since_us = 0;
    (void)pthread_mutex_unlock(&w->lock);
}

bool watch_hangs(struct storage_watch *w, int64_t now_us, int64_t patience_us,
                 int64_t *ret_since_us, char ret_text[WATCH_TEXT_MAX])
{
    const struct watch_call *oldest = NULL;
    (void)pthread_mutex_lock(&w->lock);
    for (size_t at = 0; at < WATCH_CALLS_MAX; at++) {
        const struct watch_call *one = &w->calls[at];
        if (one->since_us != 0 && now_us - one->since_us > patience_us &&
            (oldest == NULL || one->since_us < oldest->since_us))
            oldest = one;
    }
    if (oldest != NULL) {
        *ret_since_us = oldest->since_us;
        (void)snprintf(ret_text, WATCH_TEXT_MAX, "%s '%s'", oldest->what, oldest->name);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return oldest != NULL;
}

void watch_trouble(void *arg, const void *call, int64_t since_us, const char *text)
{
    struct storage_watch *w = arg;
    struct watch_trouble *slot = NULL;
    (void)pthread_mutex_lock(&w->lock);
    for (size_t at = 0; at < WATCH_CALLS_MAX; at++) {
        struct watch_trouble *one = &w->troubles[at];
        if (one->call == call) {
            slot = one;
            break;
        }
        if (one->call == NULL && slot == NULL)
            slot = one;
    }
    if (slot != NULL && text == NULL) {
        slot->call = NULL;
    } else if (slot != NULL) {
        slot->call = call;
        slot->since_us = since_us;
        (void)snprintf(slot->text, sizeof(slot->text), "%s", text);
    }
    (void)pthread_mutex_unlock(&w->lock);
}

bool watch_troubled(struct storage_watch *w, int64_t *ret_since_us,
                    char ret_text[WATCH_TROUBLE_MAX])
{
    const struct watch_trouble *oldest = NULL;
    (void)pthread_mutex_lock(&w->lock);
    for (size_t at = 0; at < WATCH_CALLS_MAX; at++) {
        const struct watch_trouble *one = &w->troubles[at];
        if (one->call != NULL && (oldest == NULL || one->since_us < oldest->since_us))
            oldest = one;
    }
    if (oldest != NULL) {
        *ret_since_us = oldest->since_us;
        (void)snprintf(ret_text, WATCH_TROUBLE_MAX, "%s", oldest->text);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return oldest != NULL;
}

/* ---- the storage around another one ---- */

struct watched {
    struct storage base;
    struct storage *inner;
    struct storage_watch *watch;
};

struct watched_writer {
    struct storage_writer base;
    struct storage_writer *inner;
    struct watched *st;
    char name[STORAGE_NAME_MAX + 1];
};

struct watched_fetch {
    struct storage_fetch base;
    struct storage_fetch *inner;
    struct storage_watch *watch;
    char name[STORAGE_NAME_MAX + 1];
};

struct watched_iter {
    struct storage_iter base;
    struct storage_iter *inner;
    struct storage_watch *watch;
    char prefix[STORAGE_NAME_MAX + 1];
};

static struct watched *watched_of(struct storage *st)
{
    return (struct watched *)st;
}

#define NOTED(watch_, what_, name_, call_)                                                         \
    ({                                                                                             \
        size_t noted_ = watch_enter(watch_, what_, name_);                                         \
        int result_ = (call_);                                                                     \
        watch_leave(watch_, noted_);                                                               \
        result_;                                                                                   \
    })

static int writer_write(struct storage_writer *base, const void *data, size_t len,
                        struct tm_err *err)
{
    struct watched_writer *w = (struct watched_writer *)base;
    return NOTED(w->st->watch, "writing", w->name, storage_writer_write(w->inner, data, len, err));
}

static int writer_seal(struct storage_writer *base, struct tm_err *err)
{
    struct watched_writer *w = (struct watched_writer *)base;
    return NOTED(w->st->watch, "syncing", w->name, storage_writer_seal(w->inner, err));
}

static int writer_commit(struct storage_writer *base, struct tm_err *err)
{
    struct watched_writer *w = (struct watched_writer *)base;
    int r = NOTED(w->st->watch, "committing", w->name, storage_writer_commit(w->inner, err));
    if (w->st->base.features != w->st->inner->features) /* found out by a commit */
        w->st->base.features = w->st->inner->features;
    w->base.settled = w->inner->settled;
    return r;
}

static void writer_free(struct storage_writer *base)
{
    struct watched_writer *w = (struct watched_writer *)base;
    size_t call = watch_enter(w->st->watch, "dropping", w->name);
    storage_writer_free(w->inner);
    watch_leave(w->st->watch, call);
    free(w);
}

static const struct storage_writer_ops writer_ops = {
    .write = writer_write,
    .commit = writer_commit,
    .seal = writer_seal,
    .free = writer_free,
};

static int watched_create(struct storage *st, const char *name, struct storage_writer **ret,
                          struct tm_err *err)
{
    struct watched *s = watched_of(st);
    struct watched_writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return tm_err_oom(err);
    int r = NOTED(s->watch, "creating", name, storage_create(s->inner, name, &w->inner, err));
    if (r < 0) {
        free(w);
        return r;
    }
    w->base.ops = &writer_ops;
    w->st = s;
    (void)snprintf(w->name, sizeof(w->name), "%s", name);
    *ret = &w->base;
    return 0;
}

static int watched_read(struct storage *st, const char *name, uint64_t offset, void *dst,
                        size_t len, struct tm_err *err)
{
    struct watched *s = watched_of(st);
    return NOTED(s->watch, "reading", name, storage_read(s->inner, name, offset, dst, len, err));
}

/* Nobody waits for it yet: that is noted in wait. */
static int fetch_wait(struct storage_fetch *base, uint64_t *ret_object_bytes, struct tm_err *err)
{
    struct watched_fetch *f = (struct watched_fetch *)base;
    return NOTED(f->watch, "reading", f->name, storage_fetch_wait(f->inner, ret_object_bytes, err));
}

static void fetch_free(struct storage_fetch *base)
{
    struct watched_fetch *f = (struct watched_fetch *)base;
    storage_fetch_free(f->inner);
    free(f);
}

static const struct storage_fetch_ops fetch_ops = {.wait = fetch_wait, .free = fetch_free};

static int watched_fetch(struct storage *st, const char *name, uint64_t offset, void *dst,
                         size_t len, struct storage_fetch **ret, struct tm_err *err)
{
    struct watched *s = watched_of(st);
    struct watched_fetch *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return tm_err_oom(err);
    int r = NOTED(s->watch, "reading", name,
                  storage_fetch(s->inner, name, offset, dst, len, &f->inner, err));
    if (r < 0) {
        free(f);
        return r;
    }
    f->base.ops = &fetch_ops;
    f->watch = s->watch;
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    *ret = &f->base;
    return 0;
}

static int watched_stat(struct storage *st, const char *name, struct storage_object *ret,
                        struct tm_err *err)
{
    struct watched *s = watched_of(st);
    return NOTED(s->watch, "looking at", name, storage_stat(s->inner, name, ret, err));
}

static int iter_next(struct storage_iter *base, struct storage_object *ret, struct tm_err *err)
{
    struct watched_iter *it = (struct watched_iter *)base;
    return NOTED(it->watch, "listing", it->prefix, storage_iter_next(it->inner, ret, err));
}

static int iter_skip(struct storage_iter *base, const char *name, struct tm_err *err)
{
    struct watched_iter *it = (struct watched_iter *)base;
    return NOTED(it->watch, "listing", it->prefix, storage_iter_skip(it->inner, name, err));
}

static void iter_free(struct storage_iter *base)
{
    struct watched_iter *it = (struct watched_iter *)base;
    storage_iter_free(it->inner);
    free(it);
}

static const struct storage_iter_ops iter_ops = {
    .next = iter_next,
    .skip = iter_skip,
    .free = iter_free,
};

static int watched_list(struct storage *st, const char *prefix, const char *start_after,
                        struct storage_iter **ret, struct tm_err *err)
{
    struct watched *s = watched_of(st);
    struct watched_iter *it = calloc(1, sizeof(*it));
    if (it == NULL)
        return tm_err_oom(err);
    int r = NOTED(s->watch, "listing", prefix,
                  storage_list(s->inner, prefix, start_after, &it->inner, err));
    if (r < 0) {
        free(it);
        return r;
    }
    it->base.ops = &iter_ops;
    it->watch = s->watch;
    (void)snprintf(it->prefix, sizeof(it->prefix), "%s", prefix);
    *ret = &it->base;
    return 0;
}

static int watched_remove(struct storage *st, const char *const *names, size_t count,
                          struct tm_err *err)
{
    struct watched *s = watched_of(st);
    return NOTED(s->watch, "removing", names[0], storage_remove(s->inner, names, count, err));
}

static int watched_discard(struct storage *st, const char *name, struct tm_err *err)
{
    struct watched *s = watched_of(st);
    return NOTED(s->watch, "removing", name, storage_discard(s->inner, name, err));
}

static int watched_now(struct storage *st, int64_t *ret_us, struct tm_err *err)
{
    struct watched *s = watched_of(st);
    return NOTED(s->watch, "asking", "the time", storage_now(s->inner, ret_us, err));
}

static int watched_sweep(struct storage *st, const char *prefix, int64_t older_than_us,
                         uint64_t *ret_count, struct tm_err *err)
{
    struct watched *s = watched_of(st);
    return NOTED(s->watch, "sweeping", prefix,
                 storage_sweep_leftovers(s->inner, prefix, older_than_us, ret_count, err));
}

static int watched_free_space(struct storage *st, uint64_t *ret_bytes, struct tm_err *err)
{
    struct watched *s = watched_of(st);
    return NOTED(s->watch, "asking", "for room", storage_free_space(s->inner, ret_bytes, err));
}

static void watched_stats(struct storage *st, struct storage_stats *ret)
{
    storage_stats(watched_of(st)->inner, ret);
}

static void watched_free(struct storage *st)
{
    storage_free(watched_of(st)->inner);
    free(watched_of(st));
}

#define WATCHED_OPS                                                                                \
    .scheme = "watched", .create = watched_create, .read = watched_read, .stat = watched_stat,     \
    .list = watched_list, .remove = watched_remove, .discard = watched_discard,                    \
    .now = watched_now, .sweep_leftovers = watched_sweep, .free_space = watched_free_space,        \
    .stats = watched_stats, .free = watched_free

/* Reads that can be begun ahead are offered only where the store itself has them. */
static const struct storage_ops watched_ops = {WATCHED_OPS};
static const struct storage_ops watched_fetching_ops = {WATCHED_OPS, .fetch = watched_fetch};

int watch_storage(struct storage_watch *w, struct storage *inner, struct storage **ret,
                  struct tm_err *err)
{
    struct watched *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return tm_err_oom(err);
    s->base.ops = storage_can_fetch(inner) ? &watched_fetching_ops : &watched_ops;
    s->base.features = inner->features;
    (void)snprintf(s->base.display, sizeof(s->base.display), "%s", inner->display);
    s->inner = inner;
    s->watch = w;
    *ret = &s->base;
    return 0;
}
