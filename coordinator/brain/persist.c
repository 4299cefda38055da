/*
 * Two halves of every change: staged and sent to the store, then true.
 *
 * Happy path: persist_stage gives a copy of the record to edit, persist_submit sends it, PERSISTED
 * with ok makes it the record that counts and lets the answer leave. Failure: a command is answered
 * with the error and its change forgotten; any other change is sent again after a pause, because
 * what made it necessary is still so.
 */
#include "coordinator/brain/internal.h"

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
    (void)snprintf(key, sizeof(key), BRAIN_KEY_PREFIX "%s/%s/%s", rec->kind, rec->namespace_,
                   rec->name);
    const char *copy = brain_step_text(b, key);
    return copy != NULL ? slice_str(copy) : SLICE_EMPTY;
}

static void send(struct brain *b, struct res *res)
{
    struct brain_put *put = brain_step_alloc(b, 3 * sizeof(*put));
    if (put == NULL)
        return;
    size_t count = 1;
    put->key = record_key(b, &res->next.rec);
    if (!res->removing) {
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        int r = codec_encode(&record_codec, &res->next.rec, CODEC_MINOR_ALL, &bytes, b->err);
        if (r == 0)
            r = codec_arena_bytes(&b->step, buf_slice(&bytes), &put->value, b->err);
        if (r < 0) {
            b->failed = true;
            return;
        }
    }
    if (res->removing && kept_is(res) && kept_put(b, &res->now.rec, res->view.secret, &put[1]))
        count++;
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
}

void persist_done(struct brain *b, uint64_t txn, bool ok, const struct tm_err *err)
{
    struct res *res = NULL;
    intents_persisted(b, txn, ok);
    rebuild_persisted(b, txn, ok, err);
    for (size_t at = 0; at < b->resource_count && res == NULL; at++) {
        if (b->resources[at]->staged && b->resources[at]->txn == txn)
            res = b->resources[at];
    }
    if (res == NULL)
        return;
    if (!ok) {
        refused(b, res, err);
        return;
    }
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
}

void persist_tick(struct brain *b)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        struct res *res = b->resources[at];
        if (res->staged && res->txn == 0 && b->now.mono_us >= res->retry_us)
            send(b, res);
    }
}
