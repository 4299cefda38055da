/*
 * Whether this state is the one that agents have seen. A higher term alone does not tell: a copy that was
 * taken in the middle of a life, or a lost state whose coordinator was started often enough, has one, too.
 *
 * Happy path: each life (term, start, and the state's revision when it began) is written down before any
 * agent is welcomed; with each desired set agents are told the revision that is durable by then. An agent
 * that comes says which life it saw last, and the newest revision that life told. When the life is among
 * ours, and the next one began with no lower a revision, then all that was ever promised to this agent is here.
 *
 * Failure modes: it cannot be written down: agents wait, it is tried again. An agent was started anew since:
 * it knows the life, but no revision, so a copy of that very life is not noticed by this agent. It saw a life
 * that is older than all of ours (LIVES_MAX, the version before this one, or before a confirmation): it is
 * believed; but of a state that was empty when its first life began there are no older ones.
 */
#include "coordinator/brain/internal.h"

CODEC_DEFINE(life, "life", LIFE_FIELDS);
CODEC_DEFINE(lives_record, "lives", LIVES_FIELDS);

int lives_load(struct brain *b, struct slice value, struct tm_err *err)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct lives_record rec;
    int r = codec_decode(&lives_record_codec, value, &arena, &rec, err);
    if (r < 0)
        return tm_err_prefix(err, "stored record '%s'", BRAIN_LIVES_KEY);
    for (size_t at = 0; at < rec.lives_count; at++)
        b->lives.items[at] = rec.lives[at];
    b->lives.count = rec.lives_count;
    b->lives.all = rec.all;
    return 0;
}

static void save(struct brain *b)
{
    struct lives *l = &b->lives;
    struct lives_record rec = {.lives = l->items, .lives_count = l->count, .all = l->all};
    l->txn = persist_one(b, BRAIN_LIVES_KEY, &lives_record_codec, &rec);
    l->dirty = l->txn == 0;
}

void lives_begin(struct brain *b)
{
    struct lives *l = &b->lives;
    if (l->count == 0) /* a life that ended before it was written down has welcomed nobody */
        l->all = b->config.state_revision == 0;
    if (l->count == LIVES_MAX) {
        l->all = false;
        memmove(l->items, l->items + 1, --l->count * sizeof(l->items[0]));
    }
    l->items[l->count++] =
        (struct life){.term = b->term, .start = b->start, .revision = b->state_revision};
    l->dirty = true;
    if (l->txn == 0)
        save(b);
}

bool lives_durable(const struct brain *b)
{
    return !b->lives.dirty && b->lives.txn == 0;
}

bool lives_strange(const struct brain *b, uint64_t term, uint64_t start, uint64_t revision)
{
    const struct lives *l = &b->lives;
    if (term == 0 || (!l->all && (l->count == 0 || term < l->items[0].term)))
        return false;
    for (size_t at = 0; at < l->count; at++) {
        if (l->items[at].term != term)
            continue;
        return l->items[at].start != start ||
               (at + 1 < l->count && revision > l->items[at + 1].revision);
    }
    return true;
}

void lives_confirmed(struct brain *b)
{
    struct lives *l = &b->lives;
    if (l->count > 1)
        l->items[0] = l->items[l->count - 1];
    l->count = TM_MIN(l->count, (size_t)1);
    l->all = false;
    l->dirty = true;
}

void lives_persisted(struct brain *b, uint64_t txn, bool ok)
{
    struct lives *l = &b->lives;
    if (l->txn == 0 || l->txn != txn)
        return;
    l->txn = 0;
    l->dirty = l->dirty || !ok;
    l->retry_us = ok ? 0 : b->now.mono_us + PERSIST_RETRY_US;
}

void lives_tick(struct brain *b)
{
    const struct lives *l = &b->lives;
    if (l->dirty && l->txn == 0 && b->now.mono_us >= l->retry_us)
        save(b);
}
