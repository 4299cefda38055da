/*
 * Storage in memory. Objects lie in one array sorted by name; every operation takes the store's
 * lock, consults the faults first and then acts, so that an operation is atomic for other threads.
 *
 * Failure modes are the point of it: "fail" happens before the effect, "drop reply" after it, as on
 * a network. Which calls are hit depends on the seed and the number of the call alone. A "late"
 * object can be read by name at once, but lists show it only late_ops calls after its commit, as
 * eventually consistent stores do.
 */
#include "common/storage/ram.h"

#include <pthread.h>
#include <stdio.h>

#include "common/array.h"
#include "common/storage/driver.h"
#include "common/storage/ram_fault.h"

#define RAM_STORES_MAX  1024u
#define RAM_OBJECTS_MAX (1u << 22)

struct ram_object {
    char *name;
    uint8_t *data;
    size_t len;
    int64_t modified_us;
    uint64_t listed_from; /* shown in lists from this call number on */
};

struct ram_store {
    struct ram_store *next;
    char name[256];
    pthread_mutex_t lock;
    pthread_cond_t unhung;      /* the faults were set anew */
    struct ram_object *objects; /* sorted by name */
    size_t count;
    size_t cap;
    uint64_t used_bytes;
    int64_t now_us;
    struct ram_faults faults;
    uint64_t calls; /* of all kinds, since the faults were set */
    uint64_t op_calls[RAM_OPS];
};

struct ram_registry {
    pthread_mutex_t lock;
    struct ram_store *stores;
    size_t count;
};

struct ram_storage {
    struct storage base;
    struct ram_store *store;
};

struct ram_writer {
    struct storage_writer base;
    struct ram_store *store;
    struct buf data;
    char name[STORAGE_NAME_MAX + 1];
};

struct ram_iter {
    struct storage_iter base;
    struct ram_store *store;
    char prefix[STORAGE_NAME_MAX + 1];
    char last[STORAGE_NAME_MAX + 1];
};

static struct ram_store *store_of(const struct storage *st)
{
    return ((const struct ram_storage *)(const void *)st)->store;
}

/* ---- faults ---- */

static bool chance(const struct ram_store *s, uint32_t per_mille, uint64_t purpose)
{
    return ram_chance(s->faults.seed, s->calls, purpose, per_mille);
}

/* Counts the call; negative when it must fail before its effect. Holds the lock. */
static int enter(struct ram_store *s, enum ram_op op, const char *format, const char *name,
                 struct tm_err *err)
{
    while (s->faults.hang)
        (void)pthread_cond_wait(&s->unhung, &s->lock);
    s->calls++;
    s->op_calls[op]++;
    s->now_us += op == RAM_CREATE || op == RAM_COMMIT ? 1000000 : 0;
    if (s->faults.fail_op[op] != 0 && s->faults.fail_op[op] == s->op_calls[op])
        return ram_injected(s->faults.fail_code != 0 ? s->faults.fail_code : TM_E_IO, format, name,
                            err);
    if (chance(s, s->faults.fail_per_mille, 1))
        return ram_injected(TM_E_UNAVAILABLE, format, name, err);
    return 0;
}

/* ---- objects ---- */

/* Index of the first object whose name is >= `name`. */
static size_t lower_bound(const struct ram_store *s, const char *name)
{
    size_t low;
    ARRAY_LOWER_BOUND(low, s->count, at, strcmp(s->objects[at].name, name) < 0);
    return low;
}

static struct ram_object *find(const struct ram_store *s, const char *name)
{
    size_t at = lower_bound(s, name);
    if (at < s->count && strcmp(s->objects[at].name, name) == 0)
        return &s->objects[at];
    return NULL;
}

/* Takes over *data. */
static int insert(struct ram_store *s, const char *name, struct buf *data, struct tm_err *err)
{
    if (s->count == RAM_OBJECTS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "a ram store holds at most %u objects", RAM_OBJECTS_MAX);
    if (ARRAY_ROOM(s->objects, s->count, s->cap, 64, err) < 0)
        return -(int)err->code;
    char *copy = strdup(name);
    if (copy == NULL)
        return tm_err_oom(err);
    size_t at = lower_bound(s, name);
    memmove(&s->objects[at + 1], &s->objects[at], (s->count - at) * sizeof(s->objects[0]));
    struct ram_object object = {.name = copy, .len = data->len, .modified_us = s->now_us};
    object.data = data->data;
    s->objects[at] = object;
    if (chance(s, s->faults.late_per_mille, 2))
        s->objects[at].listed_from = s->calls + s->faults.late_ops;
    s->used_bytes += data->len;
    s->count++;
    *data = BUF_INIT;
    return 0;
}

static void erase(struct ram_store *s, const char *name)
{
    struct ram_object *object = find(s, name);
    if (object == NULL)
        return;
    s->used_bytes -= object->len;
    free(object->name);
    free(object->data);
    size_t at = (size_t)(object - s->objects);
    memmove(object, object + 1, (s->count - at - 1) * sizeof(*object));
    s->count--;
}

/* ---- operations ---- */

static bool too_full(const struct ram_store *s, uint64_t more)
{
    return s->faults.capacity_bytes != 0 && s->used_bytes + more > s->faults.capacity_bytes;
}

static int ram_write(struct storage_writer *base, const void *data, size_t len, struct tm_err *err)
{
    struct ram_writer *w = (struct ram_writer *)base;
    (void)pthread_mutex_lock(&w->store->lock);
    int r = enter(w->store, RAM_WRITE, STORAGE_ERROR_WRITE, w->name, err);
    if (r == 0 && too_full(w->store, w->data.len + len))
        r = tm_err_errno(err, ENOSPC, STORAGE_ERROR_WRITE, w->name);
    (void)pthread_mutex_unlock(&w->store->lock);
    return r < 0 ? r : buf_append(&w->data, data, len, err);
}

static int commit_locked(struct ram_writer *w, struct tm_err *err)
{
    struct ram_store *s = w->store;
    int r = enter(s, RAM_COMMIT, STORAGE_ERROR_COMMIT, w->name, err);
    if (r < 0)
        return r;
    if (too_full(s, w->data.len))
        return tm_err_errno(err, ENOSPC, STORAGE_ERROR_COMMIT, w->name);
    bool present = find(s, w->name) != NULL;
    if (present && !s->faults.no_conditional_create)
        return tm_err_set(err, TM_E_EXISTS, STORAGE_ERROR_COMMIT ": it already exists", w->name);
    if (present)
        return 0; /* the first object stays: what a racing writer may see of a store without fence
                   */
    r = insert(s, w->name, &w->data, err);
    if (r == 0 && chance(s, s->faults.drop_reply_per_mille, 3))
        return tm_err_retry(err, TM_E_UNAVAILABLE,
                            STORAGE_ERROR_COMMIT ": the store does not answer", w->name);
    return r;
}

static int ram_commit(struct storage_writer *base, struct tm_err *err)
{
    struct ram_writer *w = (struct ram_writer *)base;
    (void)pthread_mutex_lock(&w->store->lock);
    int r = commit_locked(w, err);
    (void)pthread_mutex_unlock(&w->store->lock);
    return r;
}

static void ram_writer_free(struct storage_writer *base)
{
    struct ram_writer *w = (struct ram_writer *)base;
    buf_release(&w->data);
    free(w);
}

static const struct storage_writer_ops ram_writer_ops = {
    .write = ram_write,
    .commit = ram_commit,
    .free = ram_writer_free,
};

static int ram_create(struct storage *st, const char *name, struct storage_writer **ret,
                      struct tm_err *err)
{
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    int r = enter(s, RAM_CREATE, STORAGE_ERROR_CREATE, name, err);
    (void)pthread_mutex_unlock(&s->lock);
    if (r < 0)
        return r;
    struct ram_writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return tm_err_oom(err);
    w->base.ops = &ram_writer_ops;
    w->store = s;
    (void)snprintf(w->name, sizeof(w->name), "%s", name);
    *ret = &w->base;
    return 0;
}

static int read_locked(struct ram_store *s, const char *name, uint64_t offset, void *dst,
                       size_t len, struct tm_err *err)
{
    int r = enter(s, RAM_READ, STORAGE_ERROR_READ, name, err);
    if (r < 0)
        return r;
    const struct ram_object *object = find(s, name);
    if (object == NULL)
        return tm_err_errno(err, ENOENT, STORAGE_ERROR_READ, name);
    if (offset > object->len || len > object->len - offset)
        return tm_err_set(err, TM_E_CORRUPT, STORAGE_ERROR_SHORT, name, len,
                          (unsigned long long)offset);
    memcpy(dst, object->data + offset, len);
    return 0;
}

static int ram_read(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                    struct tm_err *err)
{
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    int r = read_locked(s, name, offset, dst, len, err);
    (void)pthread_mutex_unlock(&s->lock);
    return r;
}

static void describe(const struct ram_object *object, struct storage_object *ret)
{
    (void)snprintf(ret->name, sizeof(ret->name), "%s", object->name);
    ret->size_bytes = object->len;
    ret->modified_us = object->modified_us;
}

static int ram_stat(struct storage *st, const char *name, struct storage_object *ret,
                    struct tm_err *err)
{
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    int r = enter(s, RAM_STAT, STORAGE_ERROR_STAT, name, err);
    const struct ram_object *object = r == 0 ? find(s, name) : NULL;
    if (object != NULL)
        describe(object, ret);
    else if (r == 0)
        r = tm_err_errno(err, ENOENT, STORAGE_ERROR_STAT, name);
    (void)pthread_mutex_unlock(&s->lock);
    return r;
}

/* Looks the next name up anew every time: what changed meanwhile is seen or not, as in real stores.
 */
static int ram_next(struct storage_iter *base, struct storage_object *ret, struct tm_err *err)
{
    struct ram_iter *it = (struct ram_iter *)base;
    struct ram_store *s = it->store;
    (void)err;
    size_t prefix_len = strlen(it->prefix);
    int r = 0;
    (void)pthread_mutex_lock(&s->lock);
    const char *from = strcmp(it->last, it->prefix) > 0 ? it->last : it->prefix;
    for (size_t at = lower_bound(s, from); at < s->count; at++) {
        const struct ram_object *object = &s->objects[at];
        if (strncmp(object->name, it->prefix, prefix_len) != 0)
            break;
        if (strcmp(object->name, it->last) <= 0 || object->listed_from > s->calls)
            continue;
        describe(object, ret);
        r = 1;
        break;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (r == 1)
        (void)snprintf(it->last, sizeof(it->last), "%s", ret->name);
    return r;
}

static int ram_skip(struct storage_iter *base, const char *name, struct tm_err *err)
{
    struct ram_iter *it = (struct ram_iter *)base;
    (void)err;
    if (strcmp(name, it->last) > 0)
        (void)snprintf(it->last, sizeof(it->last), "%s", name);
    return 0;
}

static void ram_iter_free(struct storage_iter *base)
{
    free((struct ram_iter *)base);
}

static const struct storage_iter_ops ram_iter_ops = {
    .next = ram_next,
    .skip = ram_skip,
    .free = ram_iter_free,
};

static int ram_list(struct storage *st, const char *prefix, const char *start_after,
                    struct storage_iter **ret, struct tm_err *err)
{
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    int r = enter(s, RAM_LIST, STORAGE_ERROR_LIST, prefix, err);
    (void)pthread_mutex_unlock(&s->lock);
    if (r < 0)
        return r;
    struct ram_iter *it = calloc(1, sizeof(*it));
    if (it == NULL)
        return tm_err_oom(err);
    it->base.ops = &ram_iter_ops;
    it->store = s;
    (void)snprintf(it->prefix, sizeof(it->prefix), "%s", prefix);
    (void)snprintf(it->last, sizeof(it->last), "%s", start_after);
    *ret = &it->base;
    return 0;
}

static int ram_remove(struct storage *st, const char *const *names, size_t count,
                      struct tm_err *err)
{
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    int r = enter(s, RAM_REMOVE, STORAGE_ERROR_REMOVE, names[0], err);
    for (size_t i = 0; r == 0 && i < count; i++)
        erase(s, names[i]);
    if (r == 0 && chance(s, s->faults.drop_reply_per_mille, 3))
        r = tm_err_retry(err, TM_E_UNAVAILABLE, STORAGE_ERROR_REMOVE ": the store does not answer",
                         names[0]);
    (void)pthread_mutex_unlock(&s->lock);
    return r;
}

static int ram_now(struct storage *st, int64_t *ret_us, struct tm_err *err)
{
    struct ram_store *s = store_of(st);
    (void)err;
    (void)pthread_mutex_lock(&s->lock);
    *ret_us = s->now_us;
    (void)pthread_mutex_unlock(&s->lock);
    return 0;
}

static int ram_free_space(struct storage *st, uint64_t *ret_bytes, struct tm_err *err)
{
    struct ram_store *s = store_of(st);
    (void)err;
    (void)pthread_mutex_lock(&s->lock);
    uint64_t capacity = s->faults.capacity_bytes;
    *ret_bytes = capacity == 0              ? UINT64_MAX
                 : capacity > s->used_bytes ? capacity - s->used_bytes
                                            : 0;
    (void)pthread_mutex_unlock(&s->lock);
    return 0;
}

static void ram_free(struct storage *st)
{
    free((struct ram_storage *)st);
}

static const struct storage_ops ram_ops = {
    .scheme = "ram",
    .create = ram_create,
    .read = ram_read,
    .stat = ram_stat,
    .list = ram_list,
    .remove = ram_remove,
    .now = ram_now,
    .free_space = ram_free_space,
    .free = ram_free,
};

/* ---- registries ---- */

struct ram_registry *ram_registry_new(void)
{
    struct ram_registry *registry = calloc(1, sizeof(*registry));
    if (registry != NULL)
        (void)pthread_mutex_init(&registry->lock, NULL);
    return registry;
}

static void store_free(struct ram_store *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->objects[i].name);
        free(s->objects[i].data);
    }
    free(s->objects);
    (void)pthread_cond_destroy(&s->unhung);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static void stores_free(struct ram_registry *registry)
{
    for (struct ram_store *next, *s = registry->stores; s != NULL; s = next) {
        next = s->next;
        store_free(s);
    }
    registry->stores = NULL;
    registry->count = 0;
}

void ram_registry_free(struct ram_registry *registry)
{
    if (registry == NULL)
        return;
    stores_free(registry);
    (void)pthread_mutex_destroy(&registry->lock);
    free(registry);
}

/* Finds or makes the store; holds the registry's lock. */
static int store_get(struct ram_registry *registry, const char *name, struct ram_store **ret,
                     struct tm_err *err)
{
    for (struct ram_store *s = registry->stores; s != NULL; s = s->next) {
        if (strcmp(s->name, name) == 0) {
            *ret = s;
            return 0;
        }
    }
    if (registry->count == RAM_STORES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u ram stores", RAM_STORES_MAX);
    struct ram_store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return tm_err_oom(err);
    (void)snprintf(s->name, sizeof(s->name), "%s", name);
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->unhung, NULL);
    s->next = registry->stores;
    registry->stores = s;
    registry->count++;
    *ret = s;
    return 0;
}

int ram_open(struct ram_registry *registry, const char *name, struct storage **ret,
             struct tm_err *err)
{
    TM_CLEANUP(freep) struct ram_storage *st = calloc(1, sizeof(*st));
    if (st == NULL)
        return tm_err_oom(err);
    (void)pthread_mutex_lock(&registry->lock);
    int r = store_get(registry, name, &st->store, err);
    (void)pthread_mutex_unlock(&registry->lock);
    if (r < 0)
        return r;
    st->base.ops = &ram_ops;
    st->base.features = STORAGE_CONDITIONAL_CREATE;
    (void)snprintf(st->base.display, sizeof(st->base.display), "ram://%.255s", name);
    *ret = &st->base;
    st = NULL;
    return 0;
}

/* The process's own registry: the one piece of process-wide state, because ram:// URLs must mean
 * the same store wherever in the process they are opened. */
static struct ram_registry process_registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

int ram_open_url(const struct storage_url *url, struct storage **ret, struct tm_err *err)
{
    if (url->host[0] == '\0')
        return tm_err_set(err, TM_E_INVALID, "storage URL has no name: write ram://name");
    return ram_open(&process_registry, url->host, ret, err);
}

void ram_process_registry_free(void)
{
    (void)pthread_mutex_lock(&process_registry.lock);
    stores_free(&process_registry);
    (void)pthread_mutex_unlock(&process_registry.lock);
}

/* ---- for tests ---- */

bool storage_is_ram(const struct storage *st)
{
    return st->ops == &ram_ops;
}

void ram_set_faults(struct storage *st, const struct ram_faults *faults)
{
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    s->faults = *faults;
    (void)pthread_cond_broadcast(&s->unhung);
    s->calls = 0;
    memset(s->op_calls, 0, sizeof(s->op_calls));
    for (size_t i = 0; i < s->count; i++)
        s->objects[i].listed_from = 0;
    (void)pthread_mutex_unlock(&s->lock);
    uint32_t features = faults->no_conditional_create ? 0 : STORAGE_CONDITIONAL_CREATE;
    if (st->features != features) /* else others may be using it meanwhile */
        st->features = features;
}

uint64_t ram_op_count(struct storage *st, enum ram_op op)
{
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    uint64_t count = s->op_calls[op];
    (void)pthread_mutex_unlock(&s->lock);
    return count;
}

uint8_t *ram_bytes(struct storage *st, const char *name, size_t *ret_len)
{
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    const struct ram_object *object = find(s, name);
    uint8_t *data = object != NULL ? object->data : NULL;
    if (object != NULL)
        *ret_len = object->len;
    (void)pthread_mutex_unlock(&s->lock);
    return data;
}

int ram_replace(struct storage *st, const char *name, struct slice bytes, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf data = BUF_INIT;
    int r = buf_append_slice(&data, bytes, err);
    if (r < 0)
        return r;
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    erase(s, name);
    r = insert(s, name, &data, err);
    (void)pthread_mutex_unlock(&s->lock);
    return r;
}

size_t ram_object_count(struct storage *st)
{
    struct ram_store *s = store_of(st);
    (void)pthread_mutex_lock(&s->lock);
    size_t count = s->count;
    (void)pthread_mutex_unlock(&s->lock);
    return count;
}
