/*
 * Two halves of every change: staged and sent to the store, then true.
 *
 * Happy path: persist_stage gives a copy of the record to edit, persist_submit sends it, PERSISTED
 * with ok makes it the record that counts and lets the answer leave. Failure: a command is answered
 * with the error and its change forgotten; any other change is sent again after a pause, because
 * what made it necessary is still so.
 */
#include "coordinator/brain/logs.h"

#include <stdio.h>

struct record *persist_stage(struct brain *b, struct res *res)
{
    if (res->staged)
        return NULL;
    codec_arena_release(&res->next.arena);
    res->next.rec = res->now.rec;
    if (res->exists &&
        codec_copy(&record_codec, &res->now.rec, &res->next.arena, &res->next.rec, b->err) < 0) {
        b->failed = true;
        return NULL;
    }
    res->staged = true;
    res->removing = false;
    store_lists_old(b);
    return &res->next.rec;
}

void persist_text(struct brain *b, struct res *res, const char **member, const char *text)
{
    *member = codec_arena_text(&res->next.arena, text, b->err);
    if (*member == NULL)
        b->failed = true;
}

static struct slice record_key(struct brain *b, const struct record *rec)
{
    char key[BRAIN_KEY_MAX];
    if (rec->part[0] != '\0')
        (void)snprintf(key, sizeof(key), BRAIN_PART_PREFIX "%s/%s/%s/%s", rec->kind,
                       rec->namespace_, rec->name, rec->part);
    else
        (void)snprintf(key, sizeof(key), BRAIN_KEY_PREFIX "%s/%s/%s", rec->kind, rec->namespace_,
                       rec->name);
    const char *copy = brain_step_text(b, key);
    return copy != NULL ? slice_str(copy) : SLICE_EMPTY;
}

void persist_put(struct brain *b, const struct record *rec, struct brain_put *ret)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    ret->key = record_key(b, rec);
    int r = codec_encode(&record_codec, rec, CODEC_MINOR_ALL, &bytes, b->err);
    if (r == 0)
        r = codec_arena_bytes(&b->step, buf_slice(&bytes), &ret->value, b->err);
    brain_check(b, r);
}

static void send(struct brain *b, struct res *res)
{
    struct brain_put *put = brain_step_alloc(b, 3 * sizeof(*put));
    if (put == NULL)
        return;
    size_t count = 1;
    if (res->removing)
        put->key = record_key(b, &res->next.rec);
    else
        persist_put(b, &res->next.rec, put);
    if (res->removing && kept_is(res) && kept_put(b, &res->now.rec, res->view.secret, &put[count]))
        count++;
    if (log_splits(res))
        log_split_put(b, res, &put[count++]);
    if (b->failed)
        return;
    res->txn = ++b->next_txn;
    if (intent_put(b, res, res->txn, &put[count]))
        count++;
    struct brain_action *action = brain_emit(b, BRAIN_ACT_PERSIST);
    action->persist.txn = res->txn;
    action->persist.puts = put;
    action->persist.put_count = count;
}

void persist_submit(struct brain *b, struct res *res)
{
    send(b, res);
    if (brain_plant(b, BRAIN_PLANT_ANSWER_EARLY) && res->cmd != 0) {
        brain_answer(b, res->cmd, res->outcome, NULL);
        res->cmd = 0;
    }
}

void persist_remove(struct brain *b, struct res *res)
{
    if (res->staged)
        return;
    codec_arena_release(&res->next.arena);
    res->next.rec = res->now.rec; /* for its key; points into now.arena */
    res->staged = true;
    res->removing = true;
    store_lists_old(b);
    send(b, res);
}

static void answer(struct brain *b, struct res *res, const struct tm_err *err)
{
    if (res->cmd == 0)
        return;
    brain_answer(b, res->cmd, res->outcome, err);
    res->cmd = 0;
}

static void refused(struct brain *b, struct res *res, const struct tm_err *err)
{
    struct tm_err unknown;
    if (err == NULL) {
        (void)tm_err_set(&unknown, TM_E_IO, "the state store refused");
        err = &unknown;
    }
    res->txn = 0;
    brain_log(b, res, NULL, 3, BRAIN_LOG_PLAIN, "cannot make a change durable: %s", err->msg);
    if (res->cmd == 0 && res->exists) {
        if (res->live != NULL)
            lead_waiting(b, res, "waiting for the coordinator to store its state: %s", err->msg);
        res->retry_us = b->now.mono_us + PERSIST_RETRY_US;
        return;
    }
    answer(b, res, err);
    res->staged = false;
    view_free(res->next_spec);
    res->next_spec = NULL;
    if (!res->exists)
        store_remove(b, res);
}

static void take_spec(struct brain *b, struct res *res)
{
    struct resource *spec = TM_TAKE(res->next_spec);
    if (spec != NULL) /* it was read once when the command came; only memory can be short now */
        brain_check(b, store_set_spec(res, spec, b->err));
    if (spec != NULL && !b->failed && parts_is(res))
        parts_respec(b, res);
}

uint64_t persist_one(struct brain *b, const char *key, const struct codec_table *codec,
                     const void *value)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct brain_put *put = brain_step_alloc(b, sizeof(*put));
    const char *kept_key = brain_step_text(b, key);
    if (put == NULL || kept_key == NULL)
        return 0;
    put->key = slice_str(kept_key);
    int r = value != NULL ? codec_encode(codec, value, CODEC_MINOR_ALL, &bytes, b->err) : 0;
    if (r == 0 && value != NULL)
        r = codec_arena_bytes(&b->step, buf_slice(&bytes), &put->value, b->err);
    brain_check(b, r);
    if (r < 0)
        return 0;
    struct brain_action *action = brain_emit(b, BRAIN_ACT_PERSIST);
    action->persist.txn = ++b->next_txn;
    action->persist.puts = put;
    action->persist.put_count = 1;
    return b->next_txn;
}

void persist_done(struct brain *b, uint64_t txn, bool ok, const struct tm_err *err)
{
    struct res *res = NULL;
    intents_persisted(b, txn, ok);
    for (size_t at = 0; at < b->lists.busy_count && res == NULL; at++) {
        if (b->lists.busy[at]->staged && b->lists.busy[at]->txn == txn)
            res = b->lists.busy[at];
    }
    if (res == NULL) {
        rebuild_persisted(b, txn, ok, err);
        lives_persisted(b, txn, ok);
        tenants_persisted(b, txn, ok);
        return;
    }
    store_lists_old(b);
    if (!ok) {
        refused(b, res, err);
        return;
    }
    if (log_splits(res))
        log_split_done(b, res);
    res->staged = false;
    res->txn = 0;
    answer(b, res, NULL);
    if (res->removing) {
        desired_changed(b, res);
        store_remove(b, res);
        return;
    }
    codec_arena_release(&res->now.arena);
    res->now = res->next;
    res->next = (struct stored){0};
    res->exists = true;
    take_spec(b, res);
    if (!b->failed)
        job_durable(b, res);
    if (!b->failed)
        intents_durable(b, res);
}

void persist_tick(struct brain *b)
{
    for (size_t at = 0; at < b->lists.busy_count; at++) {
        struct res *res = b->lists.busy[at];
        if (res->staged && res->txn == 0 && b->now.mono_us >= res->retry_us)
            send(b, res);
    }
}
