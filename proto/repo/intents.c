/*
 * Intents in storage. Happy path: the object is put, then what it replaces is removed. Failure modes:
 * killed in between, an older object stays, which counts no more, and goes with the next one. A storage that
 * was told to keep everything (object lock) hides it.
 */
#include "proto/repo/intents.h"

#define OLDER_MAX 64 /* removed at once; more of one uid go the next time */

static int same_as_stored(struct object_scratch *scratch, struct storage *st, const char *name,
                          const struct intent *intent, struct tm_err *err)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct intent there;
    int r = record_get(scratch, st, name, OBJECT_INTENT, &intent_codec, &arena, &there, err);
    if (r == 0 && !codec_equal(&intent_codec, intent, &there))
        r = tm_err_set(err, TM_E_CONFLICT, "'%s' in '%s' is another resource's", name, st->display);
    return r;
}

/* Those of the uid with an epoch below; all of them without one. */
static int remove_older(struct storage *st, const struct repo_scope *scope, const char *uid,
                        const struct epoch *below, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct full_name names[OLDER_MAX];
    size_t base = strlen(names_full(scope, "").s);
    struct storage_object object;
    size_t count = 0;
    int r = storage_list(st, names_intents_prefix(scope, uid).s, NULL, &it, err);
    while (r >= 0 && count < OLDER_MAX && (r = storage_iter_next(it, &object, err)) > 0) {
        struct name_parts p = names_parse_rel(object.name + base);
        if (p.kind != NAME_INTENT || (below != NULL && epoch_cmp(p.epoch, *below) >= 0))
            continue;
        names[count++] = names_full(scope, object.name + base);
    }
    if (r < 0)
        return r;
    for (size_t at = 0; at < count; at++) {
        r = storage_discard(st, names[at].s, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int intents_put(struct object_scratch *scratch, struct storage *st, const struct repo_scope *scope,
                const struct intent *intent, const uint8_t nonce[OBJECT_NONCE_BYTES],
                struct tm_err *err)
{
    struct epoch epoch = {intent->term, intent->counter};
    struct object_info info;
    if (!names_uid_valid(intent->uid))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not the uid of a resource", intent->uid);
    struct full_name name = names_full(scope, names_rel_intent(intent->uid, epoch).s);
    int r =
        record_put(scratch, st, name.s, OBJECT_INTENT, nonce, &intent_codec, intent, &info, err);
    if (r < 0 && err->code == TM_E_EXISTS)
        r = same_as_stored(scratch, st, name.s, intent, err);
    return r < 0 ? r : remove_older(st, scope, intent->uid, &epoch, err);
}

int intents_remove(struct storage *st, const struct repo_scope *scope, const char *uid,
                   struct tm_err *err)
{
    if (!names_uid_valid(uid))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not the uid of a resource", uid);
    return remove_older(st, scope, uid, NULL, err);
}

/* ---- listing ---- */

int intents_newest(struct storage *st, const struct repo_scope *scope, const char *uid,
                   struct name_parts *ret, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    size_t base = strlen(names_full(scope, "").s);
    struct name_parts newest = {.kind = NAME_OTHER};
    struct storage_object object;
    int r = storage_list(st, names_intents_prefix(scope, uid).s, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) > 0) {
        struct name_parts p = names_parse_rel(object.name + base);
        if (p.kind == NAME_INTENT && strcmp(p.uid, uid) == 0)
            newest = p; /* names ascend as epochs do */
    }
    if (r < 0)
        return r;
    if (newest.kind != NAME_INTENT)
        return tm_err_set(err, TM_E_NOT_FOUND, "nothing is kept of resource %s in '%s'", uid,
                          st->display);
    *ret = newest;
    return 0;
}

int intents_open(struct storage *st, const struct repo_scope *scope, const char *after,
                 struct intents *ret, struct tm_err *err)
{
    struct intents list = {.base = strlen(names_full(scope, "").s)};
    struct full_name behind = names_intents_prefix(scope, after);
    if (after[0] != '\0') /* above every "<uid>-…", below the next uid's */
        behind.s[strlen(behind.s) - 1] = '-' + 1;
    int r = storage_list(st, names_intents_prefix(scope, "").s, after[0] != '\0' ? behind.s : NULL,
                         &list.it, err);
    if (r == 0)
        *ret = list;
    return r;
}

int intents_next(struct intents *list, struct name_parts *ret, struct tm_err *err)
{
    struct storage_object object;
    int r;
    while ((r = storage_iter_next(list->it, &object, err)) > 0) {
        struct name_parts p = names_parse_rel(object.name + list->base);
        if (p.kind != NAME_INTENT)
            continue;
        struct name_parts before = list->seen;
        bool next = list->has_seen && strcmp(before.uid, p.uid) != 0;
        list->seen = p; /* of one uid, names ascend as epochs do */
        list->has_seen = true;
        if (next) {
            *ret = before;
            return 1;
        }
    }
    if (r < 0 || !list->has_seen)
        return r;
    *ret = list->seen;
    list->has_seen = false;
    return 1;
}

void intents_close(struct intents *list)
{
    storage_iter_free(list->it);
    list->it = NULL;
}
