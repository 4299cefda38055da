/*
 * What is known of backups and log backups is kept in their storage, too: so that a coordinator that has
 * lost its state can show the same list again (rebuild_merge.c).
 *
 * Happy path: a change of a resource that people would miss is made durable together with an entry here
 * → an agent of its cluster stores the record beside what it is about, under an epoch → the entry goes.
 * When a resource goes, what was kept of it goes, too; but of a backup that stays without its resource
 * something is kept that says so.
 *
 * Of several tenants each part is told like that, and what is kept of it has the record of the whole, too:
 * any part that is found is enough to make the whole again. A change of the whole alone is told with one of
 * its parts; among those of several parts the newest word counts.
 *
 * Failure modes: nobody gets into the storage: tried again after growing pauses, for as long as the
 * entry is there; nothing waits for it. The coordinator is restarted: the entry is durable, and the
 * agent finds the object under the same epoch. Another one is there: the state was put back, and an
 * earlier life of this term told something else; it is told under the next epoch. Only the newest
 * entry of a resource counts, and it is given out when none before it is under way, so that a
 * removal is never overtaken.
 */
#include "coordinator/brain/logs.h"

#include <inttypes.h>

#include "common/array.h"

#define TIMEOUT_MS    60000
#define PAUSE_MIN_US  UINT64_C(2000000)
#define PAUSE_MAX_US  UINT64_C(300000000)
#define AT_ONCE_MAX   2 /* on one node */
#define FAILURES_SAID 3 /* in a row, then it is told: storage may have been made a moment later */

CODEC_DEFINE(intent_out, "intent to be stored", INTENT_OUT_FIELDS);

static void out_free(struct brain *b, struct outgoing *o)
{
    if (b != NULL)
        errand_end(b, &o->errand);
    codec_arena_release(&o->arena);
    free(o);
}

void intents_free(struct brain *b)
{
    for (size_t at = 0; at < b->outgoing_count; at++)
        out_free(NULL, b->outgoing[at]);
    free(b->outgoing);
}

static struct outgoing *out_add(struct brain *b, struct tm_err *err)
{
    if (b->outgoing_count == OUTGOING_MAX) {
        (void)tm_err_set(err, TM_E_LIMIT, "more than %u resources wait to be kept in storage",
                         OUTGOING_MAX);
        return NULL;
    }
    struct outgoing *o = NULL;
    if (ARRAY_ROOM(b->outgoing, b->outgoing_count, b->outgoing_cap, 16, err) == 0 &&
        (o = calloc(1, sizeof(*o))) == NULL)
        (void)tm_err_oom(err);
    if (o != NULL)
        b->outgoing[b->outgoing_count++] = o;
    return o;
}

int intents_load(struct brain *b, struct slice key, struct slice value, struct tm_err *err)
{
    struct outgoing *o = out_add(b, err);
    if (o == NULL)
        return -(int)err->code;
    if (key.len >= sizeof(o->key))
        return tm_err_set(err, TM_E_CORRUPT, "a stored key of %zu bytes", key.len);
    memcpy(o->key, key.data, key.len);
    int r = codec_decode(&intent_out_codec, value, &o->arena, &o->out, err);
    return r < 0 ? tm_err_prefix(err, "stored record '%s'", o->key) : 0;
}

/* ---- what is kept ---- */

/* It lies in a storage, below an instance. */
static bool has_place(const struct res *res, const struct record *rec)
{
    return res->spec != NULL && res->view.kind != JOB_KIND_RESTORE && rec->storage != NULL &&
           rec->storage[0] != '\0' && rec->identity[0] != '\0' && rec->cluster[0] != '\0' &&
           rec->tenant[0] != '\0';
}

/* What is to be kept of one resource. */
struct subject {
    const struct record *rec;
    const struct record *whole; /* of a part; NULL = it is none */
    bool removing;
    bool stays; /* removing: something is kept that says so */
    const char *secret;
    struct record split; /* rec, of a log backup that becomes a part */
};

/* Without what changes all the time, and agents tell again. */
static struct record what_counts(const struct record *rec, struct log_record *log)
{
    struct record r = *rec;
    if (rec->log != NULL) {
        *log = *rec->log;
        log->lineage[0] = log->label[0] = log->position[0] = '\0';
        log->durable = log->latency_us = 0;
        log->checkpoint_us = log->noted_us = 0;
        r.log = log;
        return r;
    }
    if (rec->phase != PHASE_PREPARE && rec->phase != PHASE_RUNNING)
        return r;
    r.phase = PHASE_PREPARE;
    r.step = 0;
    r.ranges_total = r.ranges_done = r.ranges_resumed = 0;
    r.bytes_total = r.bytes_done = r.bytes_resumed = 0;
    r.shares_count = r.warnings_count = 0;
    r.error = NULL;
    r.error_node[0] = '\0';
    return r;
}

static bool has_changed(const struct res *res)
{
    struct log_record logs[2];
    struct record before = what_counts(&res->now.rec, &logs[0]);
    struct record after = what_counts(&res->next.rec, &logs[1]);
    return !codec_equal(&record_codec, &before, &after);
}

/* As it is, or will be: a change of what exists, that nobody asked for, is repeated until it is durable. */
static const struct record *record_to_be(const struct res *res)
{
    return res->staged && !res->removing ? &res->next.rec : &res->now.rec;
}

static bool is_told(const struct res *res)
{
    if (res->removing)
        return has_place(res, &res->now.rec);
    if (!has_place(res, &res->next.rec) || (res->adopted && !res->exists))
        return false;
    return !res->exists || !has_place(res, &res->now.rec) || has_changed(res);
}

/* The part by which a change of the whole is told: any one that is in a storage. */
static const struct res *carrier_of(const struct brain *b, const struct res *whole)
{
    struct res *const *parts;
    size_t count = store_parts(b, whole, &parts);
    for (size_t at = 0; at < count; at++) {
        const struct res *part = parts[at];
        if (part->exists && !part->removing && has_place(part, record_to_be(part)))
            return part;
    }
    return NULL;
}

static bool subject_of_whole(const struct brain *b, const struct res *whole, struct subject *ret)
{
    ret->whole = record_to_be(whole);
    if (log_splits(whole)) {
        log_split_part(whole, &ret->split);
        ret->rec = &ret->split;
        ret->secret = whole->view.secret;
        return has_place(whole, ret->rec);
    }
    const struct res *part = carrier_of(b, whole);
    if (part == NULL)
        return false;
    ret->rec = record_to_be(part);
    ret->secret = part->view.secret;
    return true;
}

/* False: nothing is to be told. */
static bool subject_of(const struct brain *b, struct res *res, struct subject *ret)
{
    *ret = (struct subject){.removing = res->removing};
    if (!res->removing && res->next.rec.parts_count > 0) {
        res->tell_again = false;
        return (!res->exists || has_changed(res)) && subject_of_whole(b, res, ret);
    }
    if (!is_told(res))
        return false;
    ret->rec = res->removing ? &res->now.rec : &res->next.rec;
    ret->stays = res->removing && kept_is(res);
    ret->secret = res->view.secret;
    struct res *whole = part_is(res) ? part_whole(b, res) : NULL;
    if (whole != NULL) {
        ret->whole = &whole->now.rec;
        whole->tell_again = whole->staged; /* the newer words tell of what it was before */
    }
    return true;
}

static int encode(struct brain *b, const struct res *res, const struct subject *s,
                  struct outgoing *o)
{
    TM_CLEANUP(buf_release) struct buf whole = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct record rec = *s->rec;
    int r = s->whole != NULL
                ? codec_encode(&record_codec, s->whole, CODEC_MINOR_ALL, &whole, b->err)
                : 0;
    rec.gone = s->removing;
    rec.whole = buf_slice(&whole);
    if (r == 0 && whole.len <= WIRE_INTENT_MAX)
        r = codec_encode(&record_codec, &rec, CODEC_MINOR_ALL, &bytes, b->err);
    if (r == 0 && (bytes.len > WIRE_INTENT_MAX || whole.len > WIRE_INTENT_MAX)) {
        brain_log(b, res, NULL, 4, BRAIN_LOG_PLAIN,
                  "%s/%s is not kept in its storage: it takes %zu bytes, more than %d; should this "
                  "coordinator's state be lost, it will not be known by its name",
                  rec.kind, rec.name, TM_MAX(bytes.len, whole.len), WIRE_INTENT_MAX);
        return 1;
    }
    return r < 0 ? r : codec_arena_bytes(&o->arena, buf_slice(&bytes), &o->want.resource, b->err);
}

static int fill(struct brain *b, const struct subject *s, struct outgoing *o)
{
    const struct record *rec = s->rec;
    COPY_TEXT(o->want.cluster, rec->cluster);
    COPY_TEXT(o->want.tenant, rec->tenant);
    COPY_TEXT(o->want.incarnation, rec->identity);
    COPY_TEXT(o->want.uid, rec->uid);
    COPY_TEXT(o->out.secret, s->secret);
    COPY_TEXT(o->out.node, rec->node);
    o->want.term = b->term;
    o->want.counter = ++b->intent;
    o->want.remove = s->removing && !s->stays;
    o->out.want = &o->want;
    o->out.storage = codec_arena_text(&o->arena, rec->storage, b->err);
    (void)snprintf(o->key, sizeof(o->key), BRAIN_INTENT_PREFIX "%016" PRIx64 ".%08" PRIx32,
                   o->want.term, o->want.counter);
    return o->out.storage == NULL ? -(int)b->err->code : 0;
}

static bool put(struct brain *b, const struct res *res, const struct subject *s, uint64_t txn,
                struct brain_put *ret)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct tm_err err;
    if (b->intent == UINT32_MAX)
        return false;
    struct outgoing *o = out_add(b, &err);
    if (o == NULL) {
        if (err.code != TM_E_LIMIT) {
            *b->err = err;
            brain_check(b, -(int)err.code);
        }
        return false;
    }
    o->txn = txn;
    int r = fill(b, s, o);
    if (r == 0 && !o->want.remove)
        r = encode(b, res, s, o);
    const char *key = brain_step_text(b, o->key);
    if (r == 0)
        r = codec_encode(&intent_out_codec, &o->out, CODEC_MINOR_ALL, &bytes, b->err);
    if (r == 0)
        r = codec_arena_bytes(&b->step, buf_slice(&bytes), &ret->value, b->err);
    brain_check(b, r);
    if (r != 0 || key == NULL) {
        b->outgoing_count--;
        out_free(NULL, o);
        return false;
    }
    ret->key = slice_str(key);
    return true;
}

bool intent_put(struct brain *b, struct res *res, uint64_t txn, struct brain_put *ret)
{
    struct subject s;
    return subject_of(b, res, &s) && put(b, res, &s, txn, ret);
}

void intents_durable(struct brain *b, struct res *whole)
{
    struct subject s = {.removing = false};
    struct brain_put *again = whole->tell_again ? brain_step_alloc(b, sizeof(*again)) : NULL;
    whole->tell_again = false;
    if (again == NULL || !subject_of_whole(b, whole, &s))
        return;
    uint64_t txn = ++b->next_txn;
    if (!put(b, whole, &s, txn, again))
        return;
    struct brain_action *action = brain_emit(b, BRAIN_ACT_PERSIST);
    action->persist.txn = txn;
    action->persist.puts = again;
    action->persist.put_count = 1;
}

/* ---- entries come and go ---- */

static void out_drop(struct brain *b, size_t at, bool stored)
{
    struct outgoing *o = b->outgoing[at];
    if (stored) {
        struct brain_put *put = brain_step_alloc(b, sizeof(*put));
        const char *key = brain_step_text(b, o->key);
        if (put == NULL || key == NULL)
            return;
        put->key = slice_str(key);
        struct brain_action *action = brain_emit(b, BRAIN_ACT_PERSIST);
        action->persist.txn = ++b->next_txn; /* when it fails, the next life does it again */
        action->persist.puts = put;
        action->persist.put_count = 1;
    }
    out_free(b, o);
    memmove(&b->outgoing[at], &b->outgoing[at + 1],
            (b->outgoing_count - at - 1) * sizeof(struct outgoing *));
    b->outgoing_count--;
}

void intents_persisted(struct brain *b, uint64_t txn, bool ok)
{
    for (size_t at = 0; at < b->outgoing_count; at++) {
        if (b->outgoing[at]->txn != txn)
            continue;
        b->outgoing[at]->txn = 0;
        if (!ok)
            out_drop(b, at, false);
        return;
    }
}

static bool newer(const struct outgoing *a, const struct outgoing *b)
{
    const struct msg_intent *x = a->out.want;
    const struct msg_intent *y = b->out.want;
    return x->term != y->term ? x->term > y->term : x->counter > y->counter;
}

enum turn { TURN_NOW, TURN_WAITS, TURN_OVER };

/* Among the entries of one resource. */
static enum turn turn_of(const struct brain *b, const struct outgoing *o)
{
    bool waits = o->txn != 0;
    for (size_t at = 0; at < b->outgoing_count; at++) {
        const struct outgoing *other = b->outgoing[at];
        if (other == o || strcmp(other->out.want->uid, o->out.want->uid) != 0)
            continue;
        if (other->txn == 0 && newer(other, o) && o->errand.id == 0)
            return TURN_OVER;
        waits = waits || other->errand.id != 0;
    }
    return waits ? TURN_WAITS : TURN_NOW;
}

static size_t busy_with(const struct brain *b, const struct node *node)
{
    size_t count = 0;
    for (size_t at = 0; at < b->outgoing_count; at++)
        count += b->outgoing[at]->errand.id != 0 && b->outgoing[at]->errand.node == node->id;
    return count;
}

/* The lead before others: it gets into the storage. After failures anybody. */
static struct node *pick(const struct brain *b, const struct outgoing *o)
{
    struct node *found = NULL;
    size_t skip = o->failures;
    for (size_t at = 0; at < b->node_count; at++) {
        struct node *node = b->nodes[at];
        if (strcmp(node->cluster, o->out.want->cluster) != 0 || !lead_usable(node) ||
            busy_with(b, node) >= AT_ONCE_MAX)
            continue;
        if (o->failures % 2 == 0 && strcmp(node->name, o->out.node) == 0)
            return node;
        if (found == NULL || skip-- > 0)
            found = node;
    }
    return found;
}

static void failed(struct brain *b, struct outgoing *o, const char *why)
{
    uint64_t pause_us = PAUSE_MIN_US << TM_MIN(o->failures, 8U);
    errand_end(b, &o->errand);
    o->not_before_us = b->now.mono_us + TM_MIN(pause_us, PAUSE_MAX_US);
    if (++o->failures == FAILURES_SAID)
        brain_log(b, NULL, NULL, 4, BRAIN_LOG_PLAIN,
                  "what is known of a backup cannot be kept in '%.200s': %.300s; it is tried again",
                  o->out.storage, why);
}

void intents_tick(struct brain *b)
{
    for (size_t at = 0; at < b->outgoing_count && !b->failed;) {
        struct outgoing *o = b->outgoing[at];
        if (o->errand.id != 0 && errand_is_lost(b, &o->errand))
            failed(b, o, "the agent that was asked does not answer");
        enum turn turn = turn_of(b, o);
        if (turn == TURN_OVER) {
            out_drop(b, at, true);
            continue;
        }
        at++;
        if (turn != TURN_NOW || o->errand.id != 0 || b->now.mono_us < o->not_before_us)
            continue;
        struct node *node = pick(b, o);
        if (node != NULL)
            errand_begin(b, &o->errand, node, TIMEOUT_MS);
    }
}

void intents_assign(struct brain *b, const struct node *node, struct msg_desired *to)
{
    for (size_t at = 0; at < b->outgoing_count; at++) {
        struct outgoing *o = b->outgoing[at];
        struct msg_probe *out =
            errand_assign(b, &o->errand, node, o->out.storage, o->out.secret, to);
        struct msg_intent *keep = out != NULL ? brain_step_alloc(b, sizeof(*keep)) : NULL;
        if (keep == NULL)
            continue;
        brain_check(b, codec_copy(&msg_intent_codec, o->out.want, &b->step, keep, b->err));
        out->keep = keep;
    }
}

/* Something is told of its resource already that replaces it, or is about to become durable. */
static bool is_replaced(const struct brain *b, const struct outgoing *o)
{
    for (size_t at = 0; at < b->outgoing_count; at++) {
        const struct outgoing *other = b->outgoing[at];
        if (other != o && strcmp(other->out.want->uid, o->out.want->uid) == 0 && newer(other, o))
            return true;
    }
    return false;
}

/* The entry stays as it is: whoever finds it tells less than what is in storage by then, which does no harm. One
 * of an earlier life must not be newer than what that told later. */
static bool takes_next_epoch(struct brain *b, struct outgoing *o, const struct msg_error *error)
{
    bool own = o->out.want == &o->want;
    if (tm_err_code_from_wire(error->code) != TM_E_CONFLICT || !own || b->intent == UINT32_MAX ||
        is_replaced(b, o))
        return false;
    o->want.term = b->term;
    o->want.counter = ++b->intent;
    errand_end(b, &o->errand);
    return true;
}

void intents_heard(struct brain *b, const struct node *node, const struct msg_heartbeat *heartbeat)
{
    for (size_t at = 0; at < b->outgoing_count;) {
        struct outgoing *o = b->outgoing[at];
        const struct msg_probe_answer *answer = errand_answer(&o->errand, node, heartbeat);
        if (answer != NULL)
            brain_look_all(b); /* the next one may be given out */
        if (answer != NULL && answer->kept && answer->error == NULL) {
            out_drop(b, at, true);
            continue;
        }
        at++;
        if (answer != NULL && answer->error != NULL && takes_next_epoch(b, o, answer->error))
            continue;
        if (answer != NULL)
            failed(b, o,
                   answer->error != NULL ? answer->error->text
                                         : "its agent is of an older version");
    }
}
