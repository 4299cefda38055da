/*
 * The part of the state store that is the same for every driver: bounds, the queue, completions.
 *
 * Happy path: state_submit copies the transaction into one allocation and appends it; state_run
 * takes the whole queue, lets the driver apply it as one batch, and calls each completion.
 * Completions may submit again: that goes into the next run. When the batch cannot be committed
 * every transaction in it gets that error, whatever apply said of it.
 */
#include <string.h>

#include "coordinator/state/driver.h"

struct state_queued {
    struct state_queued *next;
    struct state_txn txn;
    state_done_fn done;
    void *arg;
    int result;
    uint64_t revision;
    struct tm_err err;
};

void state_init(struct state *st, const struct state_ops *ops)
{
    *st = (struct state){.ops = ops};
    st->tail = &st->head;
}

void state_drop_pending(struct state *st)
{
    while (st->head) {
        struct state_queued *q = st->head;
        st->head = q->next;
        free(q);
    }
    st->tail = &st->head;
    st->pending = 0;
}

void state_free(struct state *st)
{
    if (!st)
        return;
    state_drop_pending(st);
    st->ops->free(st);
}

int state_conflict_term(uint64_t have, uint64_t want, struct tm_err *err)
{
    return tm_err_set(err, TM_E_CONFLICT,
                      "state belongs to term %llu, not %llu: another coordinator has taken over",
                      (unsigned long long)have, (unsigned long long)want);
}

int state_conflict_revision(struct slice key, uint64_t have, uint64_t want, struct tm_err *err)
{
    return tm_err_set(err, TM_E_CONFLICT, "state key '%.*s' has revision %llu, expected %llu",
                      (int)key.len, (const char *)key.data, (unsigned long long)have,
                      (unsigned long long)want);
}

static int check_key(struct slice key, struct tm_err *err)
{
    if (key.len == 0)
        return tm_err_set(err, TM_E_INVALID, "state key is empty");
    if (key.len > STATE_KEY_MAX)
        return tm_err_set(err, TM_E_LIMIT, "state key is longer than %d bytes", STATE_KEY_MAX);
    return 0;
}

/* Bytes of keys and values, or an error when a bound is broken. */
static int check_txn(const struct state_txn *txn, size_t *ret_bytes, struct tm_err *err)
{
    size_t bytes = 0;
    int r;

    if (txn->op_count > STATE_TXN_OPS_MAX || txn->compare_count > STATE_TXN_OPS_MAX ||
        txn->op_count + txn->compare_count > STATE_TXN_OPS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "state transaction has more than %d operations",
                          STATE_TXN_OPS_MAX);
    for (size_t i = 0; i < txn->compare_count; i++) {
        if ((r = check_key(txn->compares[i].key, err)) < 0)
            return r;
        bytes += txn->compares[i].key.len;
    }
    for (size_t i = 0; i < txn->op_count; i++) {
        const struct state_op *op = &txn->ops[i];
        if ((r = check_key(op->key, err)) < 0)
            return r;
        bytes += op->key.len;
        if (op->kind != STATE_PUT)
            continue;
        if (op->value.len > STATE_VALUE_MAX)
            return tm_err_set(err, TM_E_LIMIT, "state value of '%.*s' is larger than %zu bytes",
                              (int)op->key.len, (const char *)op->key.data, STATE_VALUE_MAX);
        bytes += op->value.len;
    }
    if (bytes > STATE_TXN_BYTES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "state transaction is larger than %zu bytes",
                          STATE_TXN_BYTES_MAX);
    *ret_bytes = bytes;
    return 0;
}

static struct slice copy_slice(uint8_t **at, struct slice s)
{
    struct slice copy = {*at, s.len};

    if (s.len > 0)
        memcpy(*at, s.data, s.len);
    *at += s.len;
    return copy;
}

/* One allocation: the struct, both arrays, then all bytes. */
static struct state_queued *queued_new(const struct state_txn *txn, size_t bytes)
{
    size_t compares_size = txn->compare_count * sizeof *txn->compares;
    size_t ops_size = txn->op_count * sizeof *txn->ops;
    struct state_queued *q = calloc(1, sizeof *q + compares_size + ops_size + bytes);

    if (!q)
        return NULL;
    struct state_compare *compares = (struct state_compare *)(q + 1);
    struct state_op *ops = (struct state_op *)(compares + txn->compare_count);
    uint8_t *at = (uint8_t *)(ops + txn->op_count);

    for (size_t i = 0; i < txn->compare_count; i++)
        compares[i] = (struct state_compare){.key = copy_slice(&at, txn->compares[i].key),
                                             .revision = txn->compares[i].revision};
    for (size_t i = 0; i < txn->op_count; i++) {
        ops[i] =
            (struct state_op){.kind = txn->ops[i].kind, .key = copy_slice(&at, txn->ops[i].key)};
        if (txn->ops[i].kind == STATE_PUT)
            ops[i].value = copy_slice(&at, txn->ops[i].value);
    }
    q->txn = (struct state_txn){.term = txn->term,
                                .compares = compares,
                                .compare_count = txn->compare_count,
                                .ops = ops,
                                .op_count = txn->op_count};
    return q;
}

int state_submit(struct state *st, const struct state_txn *txn, state_done_fn done, void *arg,
                 struct tm_err *err)
{
    size_t bytes = 0;
    int r = check_txn(txn, &bytes, err);

    if (r < 0)
        return r;
    if (st->pending >= STATE_PENDING_MAX)
        return tm_err_retry(err, TM_E_LIMIT, "more than %d state transactions are waiting",
                            STATE_PENDING_MAX);
    struct state_queued *q = queued_new(txn, bytes);
    if (!q)
        return tm_err_oom(err);
    q->done = done;
    q->arg = arg;
    *st->tail = q;
    st->tail = &q->next;
    st->pending++;
    return 0;
}

bool state_pending(const struct state *st)
{
    return st->head != NULL;
}

static void apply_batch(struct state *st, struct state_queued *batch)
{
    struct tm_err err = {0};
    int r = st->ops->batch_begin(st, &err);

    if (r == 0) {
        for (struct state_queued *q = batch; q; q = q->next)
            q->result = st->ops->apply(st, &q->txn, &q->revision, &q->err);
        r = st->ops->batch_end(st, &err);
    }
    if (r == 0)
        return;
    for (struct state_queued *q = batch; q; q = q->next) {
        q->result = r;
        q->err = err;
    }
}

void state_run(struct state *st)
{
    struct state_queued *batch = st->head;

    if (!batch)
        return;
    st->head = NULL;
    st->tail = &st->head;
    st->pending = 0;
    apply_batch(st, batch);
    while (batch) {
        struct state_queued *q = batch;
        batch = q->next;
        if (q->done)
            q->done(q->arg, q->result, q->revision, &q->err);
        free(q);
    }
}

int state_take_term(struct state *st, uint64_t at_least, uint64_t *ret_term, struct tm_err *err)
{
    return st->ops->take_term(st, at_least, ret_term, err);
}

int state_revision(struct state *st, uint64_t *ret_revision, struct tm_err *err)
{
    return st->ops->revision(st, ret_revision, err);
}

int state_get(struct state *st, struct slice key, struct buf *ret_value, uint64_t *ret_revision,
              struct tm_err *err)
{
    int r = check_key(key, err);

    return r < 0 ? r : st->ops->get(st, key, ret_value, ret_revision, err);
}

int state_each(struct state *st, const char *prefix, state_each_fn each, void *arg,
               struct tm_err *err)
{
    return st->ops->each(st, slice_str(prefix), each, arg, err);
}
