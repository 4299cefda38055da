/*
 * The state store in memory: a sorted array of entries. For tests and simulation; what it promises
 * is what sqlite.c promises, short of surviving the process.
 *
 * A transaction is checked first and then applied; the only failure while applying is memory, so
 * room for every put is reserved before the first change.
 */
#include <string.h>

#include "common/array.h"
#include "coordinator/state/driver.h"

struct ram_entry {
    uint8_t *key;
    size_t key_len;
    uint8_t *value;
    size_t value_len;
    uint64_t revision;
};

struct state_ram {
    struct state base;
    struct ram_entry *entries; /* ascending by key */
    size_t count;
    size_t cap;
    uint64_t term;
    uint64_t revision;
};

static struct state_ram *ram_of(struct state *st)
{
    return (struct state_ram *)st;
}

static struct slice entry_key(const struct ram_entry *e)
{
    return slice_of(e->key, e->key_len);
}

/* Index of the first entry whose key is >= key. */
static size_t lower_bound(const struct state_ram *ram, struct slice key)
{
    size_t low;
    ARRAY_LOWER_BOUND(low, ram->count, at, slice_cmp(entry_key(&ram->entries[at]), key) < 0);
    return low;
}

static struct ram_entry *find(const struct state_ram *ram, struct slice key)
{
    size_t at = lower_bound(ram, key);

    if (at < ram->count && slice_eq(entry_key(&ram->entries[at]), key))
        return &ram->entries[at];
    return NULL;
}

static void entry_release(struct ram_entry *e)
{
    free(e->key);
    free(e->value);
    *e = (struct ram_entry){0};
}

static uint8_t *copy_bytes(struct slice s)
{
    uint8_t *copy = malloc(s.len ? s.len : 1);

    if (copy && s.len)
        memcpy(copy, s.data, s.len);
    return copy;
}

static int ram_batch_begin(struct state *st, struct tm_err *err)
{
    (void)st;
    (void)err;
    return 0;
}

static int ram_batch_end(struct state *st, struct tm_err *err)
{
    (void)st;
    (void)err;
    return 0;
}

static int ram_check(struct state_ram *ram, const struct state_txn *txn, struct tm_err *err)
{
    if (txn->term != ram->term)
        return state_conflict_term(ram->term, txn->term, err);
    for (size_t i = 0; i < txn->compare_count; i++) {
        const struct state_compare *c = &txn->compares[i];
        const struct ram_entry *e = find(ram, c->key);
        uint64_t have = e ? e->revision : 0;
        if (have != c->revision)
            return state_conflict_revision(c->key, have, c->revision, err);
    }
    return 0;
}

/* Copies of all puts, so that nothing can fail once the first change is made. */
static int ram_prepare(struct state_ram *ram, const struct state_txn *txn, struct ram_entry *fresh,
                       struct tm_err *err)
{
    if (ram->count + txn->op_count > ram->cap) {
        size_t cap = (ram->count + txn->op_count) * 2;
        struct ram_entry *grown = realloc(ram->entries, cap * sizeof *grown);
        if (!grown)
            return tm_err_oom(err);
        ram->entries = grown;
        ram->cap = cap;
    }
    for (size_t i = 0; i < txn->op_count; i++) {
        const struct state_op *op = &txn->ops[i];
        if (op->kind != STATE_PUT)
            continue;
        fresh[i] = (struct ram_entry){.key = copy_bytes(op->key),
                                      .key_len = op->key.len,
                                      .value = copy_bytes(op->value),
                                      .value_len = op->value.len};
        if (!fresh[i].key || !fresh[i].value) {
            for (size_t k = 0; k <= i; k++)
                entry_release(&fresh[k]);
            return tm_err_oom(err);
        }
    }
    return 0;
}

static void ram_put(struct state_ram *ram, struct ram_entry *fresh)
{
    size_t at = lower_bound(ram, entry_key(fresh));

    if (at < ram->count && slice_eq(entry_key(&ram->entries[at]), entry_key(fresh))) {
        entry_release(&ram->entries[at]);
    } else {
        memmove(&ram->entries[at + 1], &ram->entries[at], (ram->count - at) * sizeof *ram->entries);
        ram->count++;
    }
    ram->entries[at] = *fresh;
}

static void ram_delete(struct state_ram *ram, struct slice key)
{
    struct ram_entry *e = find(ram, key);

    if (!e)
        return;
    size_t at = (size_t)(e - ram->entries);
    entry_release(e);
    memmove(e, e + 1, (ram->count - at - 1) * sizeof *e);
    ram->count--;
}

static int ram_apply(struct state *st, const struct state_txn *txn, uint64_t *ret_revision,
                     struct tm_err *err)
{
    struct state_ram *ram = ram_of(st);
    struct ram_entry fresh[STATE_TXN_OPS_MAX] = {0};
    int r;

    if ((r = ram_check(ram, txn, err)) < 0 || (r = ram_prepare(ram, txn, fresh, err)) < 0)
        return r;
    ram->revision++;
    for (size_t i = 0; i < txn->op_count; i++) {
        if (txn->ops[i].kind == STATE_PUT) {
            fresh[i].revision = ram->revision;
            ram_put(ram, &fresh[i]);
        } else {
            ram_delete(ram, txn->ops[i].key);
        }
    }
    *ret_revision = ram->revision;
    return 0;
}

static int ram_take_term(struct state *st, uint64_t at_least, uint64_t *ret_term,
                         struct tm_err *err)
{
    struct state_ram *ram = ram_of(st);

    (void)err;
    ram->term++;
    if (ram->term < at_least)
        ram->term = at_least;
    *ret_term = ram->term;
    return 0;
}

static int ram_revision(struct state *st, uint64_t *ret_revision, struct tm_err *err)
{
    (void)err;
    *ret_revision = ram_of(st)->revision;
    return 0;
}

static int ram_get(struct state *st, struct slice key, struct buf *ret_value,
                   uint64_t *ret_revision, struct tm_err *err)
{
    const struct ram_entry *e = find(ram_of(st), key);
    int r;

    if (!e)
        return tm_err_set(err, TM_E_NOT_FOUND, "state key '%.*s' does not exist", (int)key.len,
                          (const char *)key.data);
    buf_reset(ret_value);
    if ((r = buf_append(ret_value, e->value, e->value_len, err)) < 0)
        return r;
    if (ret_revision)
        *ret_revision = e->revision;
    return 0;
}

static int ram_each(struct state *st, struct slice prefix, state_each_fn each, void *arg,
                    struct tm_err *err)
{
    const struct state_ram *ram = ram_of(st);

    for (size_t i = lower_bound(ram, prefix); i < ram->count; i++) {
        const struct ram_entry *e = &ram->entries[i];
        if (e->key_len < prefix.len || (prefix.len && memcmp(e->key, prefix.data, prefix.len) != 0))
            break;
        int r = each(arg, entry_key(e), slice_of(e->value, e->value_len), e->revision, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static void ram_free(struct state *st)
{
    struct state_ram *ram = ram_of(st);

    for (size_t i = 0; i < ram->count; i++)
        entry_release(&ram->entries[i]);
    free(ram->entries);
    free(ram);
}

static const struct state_ops ram_ops = {
    .batch_begin = ram_batch_begin,
    .apply = ram_apply,
    .batch_end = ram_batch_end,
    .take_term = ram_take_term,
    .revision = ram_revision,
    .get = ram_get,
    .each = ram_each,
    .free = ram_free,
};

int state_open_ram(struct state **ret, struct tm_err *err)
{
    struct state_ram *ram = calloc(1, sizeof *ram);

    if (!ram)
        return tm_err_oom(err);
    state_init(&ram->base, &ram_ops);
    *ret = &ram->base;
    return 0;
}
