/*
 * Storages with backups that are kept although nobody has a resource of them any more (cleanPolicy
 * Retain): they can be restored as ever, so a log's lead counts them, and minds them when it truncates.
 *
 * One record for each storage and instance, made in the same change that takes the resource away. Known
 * from when that is sent: until it is durable the resource is there, and says the same. The lead says when
 * it has read such a storage and no backup is left in it; what it says may have been read a little earlier,
 * so a record that has just been made or changed stays.
 */
#include "coordinator/brain/internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/array.h"

CODEC_DEFINE(kept_place, "kept place", KEPT_PLACE_FIELDS);

void kept_free(struct brain *b)
{
    for (size_t at = 0; at < b->kept_count; at++)
        codec_arena_release(&b->kept[at].arena);
    free(b->kept);
}

int kept_load(struct brain *b, struct slice key, struct slice value, struct tm_err *err)
{
    struct kept one = {.arena = {0}};
    if (key.len >= sizeof(one.key) || ARRAY_ROOM(b->kept, b->kept_count, b->kept_cap, 16, err) < 0)
        return key.len >= sizeof(one.key) ? 0 : -(int)err->code;
    memcpy(one.key, key.data, key.len);
    int r = codec_decode(&kept_place_codec, value, &one.arena, &one.place, err);
    if (r < 0) {
        codec_arena_release(&one.arena);
        return tm_err_prefix(err, "stored record '%s'", one.key);
    }
    b->kept[b->kept_count++] = one;
    return 0;
}

bool kept_is(const struct res *res)
{
    return res->spec != NULL && res->view.kind == JOB_KIND_BACKUP &&
           res->now.rec.phase == PHASE_COMPLETE && res->now.rec.storage != NULL &&
           !job_must_sweep(res);
}

static bool is_of(const struct kept_place *place, const struct record *rec, const char *storage)
{
    return strcmp(place->cluster, rec->cluster) == 0 && strcmp(place->tenant, rec->tenant) == 0 &&
           strcmp(place->identity, rec->identity) == 0 && strcmp(place->storage, storage) == 0;
}

static struct kept *kept_find(struct brain *b, const struct record *rec, const char *storage)
{
    for (size_t at = 0; at < b->kept_count; at++) {
        if (is_of(&b->kept[at].place, rec, storage))
            return &b->kept[at];
    }
    return NULL;
}

/* The place of the record, made when there is none; NULL: it is not remembered. */
static struct kept *kept_at(struct brain *b, const struct record *rec)
{
    struct kept *found = kept_find(b, rec, rec->storage);
    if (found != NULL)
        return found;
    if (b->kept_count == KEPT_MAX) {
        brain_log(b, NULL, NULL, 4, BRAIN_LOG_PLAIN,
                  "%s/%s stays in '%s', and truncating log does not mind it: backups without a "
                  "resource lie in more than %u storages",
                  rec->kind, rec->name, rec->storage, KEPT_MAX);
        return NULL;
    }
    if (ARRAY_ROOM(b->kept, b->kept_count, b->kept_cap, 16, b->err) < 0) {
        brain_check(b, -(int)b->err->code);
        return NULL;
    }
    struct kept one = {.place = {.oldest_us = rec->started_us}};
    COPY_TEXT(one.place.cluster, rec->cluster);
    COPY_TEXT(one.place.tenant, rec->tenant);
    COPY_TEXT(one.place.identity, rec->identity);
    (void)snprintf(one.key, sizeof(one.key), BRAIN_KEPT_PREFIX "%016" PRIx64,
                   b->rng.next(b->rng.arg));
    one.place.storage = codec_arena_text(&one.arena, rec->storage, b->err);
    if (one.place.storage == NULL) {
        codec_arena_release(&one.arena);
        brain_check(b, -(int)b->err->code);
        return NULL;
    }
    b->kept[b->kept_count] = one;
    return &b->kept[b->kept_count++];
}

bool kept_put(struct brain *b, const struct record *rec, const char *secret, struct brain_put *ret)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct kept *k = kept_at(b, rec);
    if (k == NULL)
        return false;
    k->place.oldest_us = TM_MIN(k->place.oldest_us, rec->started_us);
    if (rec->started_us >= k->place.newest_us) { /* what gets into the newest gets into the place */
        k->place.newest_us = rec->started_us;
        COPY_TEXT(k->place.secret, secret);
    }
    k->place.changed_us = b->now.real_us;
    const char *key = brain_step_text(b, k->key);
    int r = codec_encode(&kept_place_codec, &k->place, CODEC_MINOR_ALL, &bytes, b->err);
    if (r == 0)
        r = codec_arena_bytes(&b->step, buf_slice(&bytes), &ret->value, b->err);
    brain_check(b, r);
    if (r < 0 || key == NULL)
        return false;
    ret->key = slice_str(key);
    return true;
}

void kept_remember(struct brain *b, const struct record *rec, const char *secret)
{
    struct brain_put *put = brain_step_alloc(b, sizeof(*put));
    if (put == NULL || kept_find(b, rec, rec->storage) != NULL || !kept_put(b, rec, secret, put))
        return;
    struct brain_action *action = brain_emit(b, BRAIN_ACT_PERSIST);
    action->persist.txn = ++b->next_txn;
    action->persist.puts = put;
    action->persist.put_count = 1;
}

static void kept_drop(struct brain *b, const struct res *log, struct kept *k)
{
    struct brain_put *put = brain_step_alloc(b, sizeof(*put));
    const char *key = brain_step_text(b, k->key);
    if (put == NULL || key == NULL)
        return;
    put->key = slice_str(key);
    brain_log(b, log, NULL, 5, BRAIN_LOG_PLAIN, "no backup is left in '%s'", k->place.storage);
    struct brain_action *action = brain_emit(b, BRAIN_ACT_PERSIST);
    action->persist.txn = ++b->next_txn; /* when it fails, the next life does it again */
    action->persist.puts = put;
    action->persist.put_count = 1;
    codec_arena_release(&k->arena);
    *k = b->kept[--b->kept_count];
    desired_changed(b, log);
}

void kept_emptied(struct brain *b, const struct res *log, const char *const *storages, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        struct kept *k = kept_find(b, &log->now.rec, storages[at]);
        if (k != NULL && b->now.real_us - k->place.changed_us > KEPT_SETTLES_US)
            kept_drop(b, log, k);
    }
}

void kept_secret(struct brain *b, const char *name)
{
    for (size_t at = 0; at < b->kept_count; at++) {
        if (strcmp(b->kept[at].place.secret, name) != 0)
            continue;
        for (size_t n = 0; n < b->node_count; n++) {
            if (strcmp(b->nodes[n]->cluster, b->kept[at].place.cluster) == 0)
                desired_node_changed(b, b->nodes[n]);
        }
    }
}
