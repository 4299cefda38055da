/*
 * Happy path: a call is put down under the lock → the thread carries it out without the lock, into
 * memory of its own → the caller copies what came of it. Failure modes: the caller waits for so long and
 * leaves; the thread throws away what comes then. Iterators are closed by the thread, before its next
 * call or at its end: closing may hang, too.
 */
#include "common/storage/bounded.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/secret_map.h"

enum state {
    STATE_IDLE,
    STATE_WANTED,
    STATE_DONE,
    STATE_LEFT, /* the caller is gone, the call is not */
};

enum call { CALL_READ, CALL_STAT, CALL_LIST, CALL_NEXT, CALL_SKIP };

/* One that is open in the storage. */
struct open_iter {
    struct open_iter *next;
    struct storage_iter *it;
    bool closed; /* by the caller */
};

struct bounded_core {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned timeout_ms;
    bool freed; /* by the caller: the thread ends, and takes this with it */
    enum state state;
    struct open_iter *iters;

    /* the call; the thread's while it is wanted or left */
    enum call call;
    char name[STORAGE_NAME_MAX + 1];
    char after[STORAGE_NAME_MAX + 1];
    uint64_t offset;
    size_t len;
    uint8_t *bytes;
    size_t cap;
    struct open_iter *iter;
    struct storage_object object;
    int result;
    struct tm_err err;

    /* the thread's */
    char url[STORAGE_URL_MAX];
    struct storage_options options;
    struct secret_map secret;
    struct storage *st; /* NULL: not opened yet */
};

struct bounded {
    struct storage base;
    struct bounded_core *core;
    pthread_t thread;
};

struct bounded_iter {
    struct storage_iter base;
    struct bounded_core *core;
    struct open_iter *open;
};

/* ---- the thread ---- */

/* Takes the iterators out that were closed, or all. With the lock. */
static struct open_iter *take_closed(struct bounded_core *c, bool all)
{
    struct open_iter *taken = NULL;
    for (struct open_iter **at = &c->iters; *at != NULL;) {
        struct open_iter *one = *at;
        if (!all && !one->closed) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        one->next = taken;
        taken = one;
    }
    return taken;
}

static void close_all(struct open_iter *iters)
{
    while (iters != NULL) {
        struct open_iter *next = iters->next;
        storage_iter_free(iters->it);
        free(iters);
        iters = next;
    }
}

static int list(struct bounded_core *c)
{
    struct open_iter *open = calloc(1, sizeof(*open));
    if (open == NULL)
        return tm_err_oom(&c->err);
    int r = storage_list(c->st, c->name, c->after, &open->it, &c->err);
    if (r < 0)
        free(open);
    else
        c->iter = open;
    return r;
}

static int carry_out(struct bounded_core *c)
{
    int r = c->st != NULL ? 0 : storage_open(c->url, &c->options, &c->st, &c->err);
    if (r < 0)
        return r;
    switch (c->call) {
    case CALL_READ:
        return storage_read(c->st, c->name, c->offset, c->bytes, c->len, &c->err);
    case CALL_STAT:
        return storage_stat(c->st, c->name, &c->object, &c->err);
    case CALL_LIST:
        return list(c);
    case CALL_NEXT:
        return storage_iter_next(c->iter->it, &c->object, &c->err);
    case CALL_SKIP:
        return storage_iter_skip(c->iter->it, c->name, &c->err);
    }
    return tm_err_set(&c->err, TM_E_INTERNAL, "call %d is not known", (int)c->call);
}

static void core_free(struct bounded_core *c)
{
    close_all(take_closed(c, true));
    storage_free(c->st);
    secret_map_release(&c->secret);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c->bytes);
    free(c);
}

static void *bounded_main(void *arg)
{
    struct bounded_core *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->freed) {
        if (c->state != STATE_WANTED) {
            pthread_cond_wait(&c->changed, &c->lock);
            continue;
        }
        struct open_iter *closed = take_closed(c, false);
        pthread_mutex_unlock(&c->lock);
        close_all(closed);
        int r = carry_out(c);
        pthread_mutex_lock(&c->lock);
        c->result = r;
        if (c->call == CALL_LIST && r == 0) {
            c->iter->next = c->iters;
            c->iters = c->iter;
            c->iter->closed = c->state == STATE_LEFT;
        }
        c->state = c->state == STATE_LEFT ? STATE_IDLE : STATE_DONE;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
    core_free(c);
    return NULL;
}

/* ---- calls ---- */

static int left_behind(const struct bounded_core *c, struct tm_err *err)
{
    (void)tm_err_set(err, TM_E_TIMEOUT, "'%.*s' does not answer: a call has taken more than %u s",
                     (int)strcspn(c->url, "?"), c->url, (c->timeout_ms + 999) / 1000);
    err->retryable = true;
    return -TM_E_TIMEOUT;
}

/* Returns with the lock, whatever came of it: when 0, the call may be put down. */
static int begin(struct bounded_core *c, const struct timespec *until, struct tm_err *err)
{
    int late = 0;
    pthread_mutex_lock(&c->lock);
    while (c->state != STATE_IDLE && c->state != STATE_LEFT && late == 0)
        late = pthread_cond_timedwait(&c->changed, &c->lock, until); /* another thread's */
    return c->state == STATE_IDLE ? 0 : left_behind(c, err);
}

/* With the lock: carries the call out that was put down. When it was left behind nothing of it may be
 * touched any more. */
static int finish(struct bounded_core *c, const struct timespec *until, struct tm_err *err)
{
    int late = 0;
    c->state = STATE_WANTED;
    pthread_cond_broadcast(&c->changed);
    while (c->state != STATE_DONE && late == 0)
        late = pthread_cond_timedwait(&c->changed, &c->lock, until);
    if (c->state != STATE_DONE) {
        c->state = STATE_LEFT;
        return left_behind(c, err);
    }
    c->state = STATE_IDLE;
    pthread_cond_broadcast(&c->changed);
    if (c->result < 0)
        *err = c->err;
    return c->result;
}

static struct timespec deadline(const struct bounded_core *c)
{
    return clock_after(CLOCK_MONOTONIC, (int64_t)c->timeout_ms * USEC_PER_MSEC);
}

static struct bounded_core *core_of(struct storage *st)
{
    return ((struct bounded *)st)->core;
}

static int room_for(struct bounded_core *c, size_t len, struct tm_err *err)
{
    if (len <= c->cap)
        return 0;
    uint8_t *bytes = realloc(c->bytes, len);
    if (bytes == NULL)
        return tm_err_oom(err);
    c->bytes = bytes;
    c->cap = len;
    return 0;
}

static int bounded_read(struct storage *st, const char *name, uint64_t offset, void *dst,
                        size_t len, struct tm_err *err)
{
    struct bounded_core *c = core_of(st);
    struct timespec until = deadline(c);
    int r = begin(c, &until, err);
    if (r == 0)
        r = room_for(c, len, err);
    if (r == 0) {
        c->call = CALL_READ;
        (void)snprintf(c->name, sizeof(c->name), "%s", name);
        c->offset = offset;
        c->len = len;
        r = finish(c, &until, err);
    }
    if (r == 0)
        memcpy(dst, c->bytes, len);
    pthread_mutex_unlock(&c->lock);
    return r;
}

static int bounded_stat(struct storage *st, const char *name, struct storage_object *ret,
                        struct tm_err *err)
{
    struct bounded_core *c = core_of(st);
    struct timespec until = deadline(c);
    int r = begin(c, &until, err);
    if (r == 0) {
        c->call = CALL_STAT;
        (void)snprintf(c->name, sizeof(c->name), "%s", name);
        r = finish(c, &until, err);
    }
    if (r == 0)
        *ret = c->object;
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* ---- listing ---- */

static int bounded_next(struct storage_iter *it, struct storage_object *ret, struct tm_err *err)
{
    struct bounded_iter *self = (struct bounded_iter *)it;
    struct bounded_core *c = self->core;
    struct timespec until = deadline(c);
    int r = begin(c, &until, err);
    if (r == 0) {
        c->call = CALL_NEXT;
        c->iter = self->open;
        r = finish(c, &until, err);
    }
    if (r > 0)
        *ret = c->object;
    pthread_mutex_unlock(&c->lock);
    return r;
}

static int bounded_skip(struct storage_iter *it, const char *name, struct tm_err *err)
{
    struct bounded_iter *self = (struct bounded_iter *)it;
    struct bounded_core *c = self->core;
    struct timespec until = deadline(c);
    int r = begin(c, &until, err);
    if (r == 0) {
        c->call = CALL_SKIP;
        c->iter = self->open;
        (void)snprintf(c->name, sizeof(c->name), "%s", name);
        r = finish(c, &until, err);
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

static void bounded_iter_free(struct storage_iter *it)
{
    struct bounded_iter *self = (struct bounded_iter *)it;
    pthread_mutex_lock(&self->core->lock);
    self->open->closed = true;
    pthread_mutex_unlock(&self->core->lock);
    free(self);
}

static const struct storage_iter_ops iter_ops = {
    .next = bounded_next, .skip = bounded_skip, .free = bounded_iter_free};

static int bounded_list(struct storage *st, const char *prefix, const char *start_after,
                        struct storage_iter **ret, struct tm_err *err)
{
    struct bounded_core *c = core_of(st);
    struct timespec until = deadline(c);
    struct bounded_iter *self = calloc(1, sizeof(*self));
    if (self == NULL)
        return tm_err_oom(err);
    int r = begin(c, &until, err);
    if (r == 0) {
        c->call = CALL_LIST;
        (void)snprintf(c->name, sizeof(c->name), "%s", prefix);
        (void)snprintf(c->after, sizeof(c->after), "%s", start_after);
        r = finish(c, &until, err);
    }
    if (r == 0) {
        *self = (struct bounded_iter){.base.ops = &iter_ops, .core = c, .open = c->iter};
        *ret = &self->base;
        self = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    free(self);
    return r;
}

/* ---- what is not there ---- */

static int read_only(const struct storage *st, struct tm_err *err)
{
    return tm_err_set(err, TM_E_UNSUPPORTED, "'%s' is only read here", st->display);
}

static int bounded_create(struct storage *st, const char *name, struct storage_writer **ret,
                          struct tm_err *err)
{
    (void)name;
    (void)ret;
    return read_only(st, err);
}

static int bounded_remove(struct storage *st, const char *const *names, size_t count,
                          struct tm_err *err)
{
    (void)names;
    (void)count;
    return read_only(st, err);
}

static int bounded_now(struct storage *st, int64_t *ret_us, struct tm_err *err)
{
    (void)ret_us;
    return read_only(st, err);
}

/* ---- life ---- */

/* A thread that has nothing to do ends at once, unless closing hangs: for that, too, nobody waits longer. */
static void bounded_free(struct storage *st)
{
    struct bounded_core *c = core_of(st);
    pthread_t thread = ((struct bounded *)st)->thread;
    struct timespec until = clock_after(CLOCK_REALTIME, (int64_t)c->timeout_ms * USEC_PER_MSEC);
    pthread_mutex_lock(&c->lock);
    bool left = c->state == STATE_LEFT;
    c->freed = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock); /* from here on it is the thread's */
    if (left || pthread_timedjoin_np(thread, NULL, &until) != 0)
        (void)pthread_detach(thread);
    free(st);
}

static const struct storage_ops bounded_ops = {.scheme = "bounded",
                                               .create = bounded_create,
                                               .read = bounded_read,
                                               .stat = bounded_stat,
                                               .list = bounded_list,
                                               .remove = bounded_remove,
                                               .now = bounded_now,
                                               .free = bounded_free};

bool storage_bounded_hangs(struct storage *st)
{
    struct bounded_core *c = core_of(st);
    pthread_mutex_lock(&c->lock);
    bool hangs = c->state == STATE_LEFT;
    pthread_mutex_unlock(&c->lock);
    return hangs;
}

static int thread_start(struct bounded_core *c, pthread_t *ret, struct tm_err *err)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(ret, NULL, bounded_main, c);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        return tm_err_errno(err, r, "cannot start a thread");
    return 0;
}

int storage_bounded_new(const char *url, const struct storage_options *options, unsigned timeout_ms,
                        struct storage **ret, struct tm_err *err)
{
    struct bounded *st = calloc(1, sizeof(*st));
    struct bounded_core *c = calloc(1, sizeof(*c));
    pthread_condattr_t attr;
    if (st == NULL || c == NULL) {
        free(st);
        free(c);
        return tm_err_oom(err);
    }
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    c->timeout_ms = timeout_ms;
    c->options = *options;
    c->secret = SECRET_MAP_INIT;
    int r = 0;
    if (strlen(url) >= sizeof(c->url))
        r = tm_err_set(err, TM_E_INVALID, "storage URL is too long");
    if (r == 0 && options->secret != NULL)
        r = secret_map_copy(options->secret, &c->secret, err);
    c->options.secret = options->secret != NULL ? &c->secret : NULL;
    (void)snprintf(c->url, sizeof(c->url), "%s", url);
    if (r == 0)
        r = thread_start(c, &st->thread, err);
    if (r < 0) {
        core_free(c);
        free(st);
        return r;
    }
    st->base.ops = &bounded_ops;
    (void)snprintf(st->base.display, sizeof(st->base.display), "%.*s", (int)strcspn(url, "?"), url);
    st->core = c;
    *ret = &st->base;
    return 0;
}
