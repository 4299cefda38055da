/*
 * Other storages with backups of the tenant. They are opened for one look and closed again: what was
 * unmounted or moved in between is seen so. Happy path: each place that is wanted is opened with the
 * secret that came along, or with the host's own credentials, and has the instance's identity → repo reads
 * backups there.
 *
 * Failure modes: a place that cannot be opened is told by who reads it (log_source.why); so is one whose
 * secret did not come, with the coordinator's reason; so is an empty one, which is one that is not mounted:
 * backups are known to be there. What an earlier look found out is kept for as long as the place is wanted.
 * One that does not answer in time is given up for this look, and not asked again before it has answered: it
 * holds nobody up for longer, and takes no more than one thread.
 */
#include "agent/log/internal.h"

#include "common/storage/bounded.h"
#include "proto/wire/secret.h"

/* ---- what is wanted ---- */

static bool places_equal(const struct log_task *t, const struct msg_log_place *places, size_t count)
{
    if (count != t->place_count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!codec_equal(&msg_log_place_codec, &t->places[i], &places[i]))
            return false;
    }
    return true;
}

int log_places_want(struct log_task *t, const struct msg_log_place *places, size_t count,
                    struct tm_err *err)
{
    struct codec_arena arena = {.wipe = true};
    struct msg_log_place copies[WIRE_PLACES_MAX];
    int r = 0;
    count = TM_MIN(count, (size_t)WIRE_PLACES_MAX);
    if (places_equal(t, places, count))
        return 0;
    for (size_t i = 0; i < count && r == 0; i++)
        r = codec_copy(&msg_log_place_codec, &places[i], &arena, &copies[i], err);
    if (r < 0) {
        codec_arena_release(&arena);
        return r;
    }
    codec_arena_release(&t->places_arena);
    t->places_arena = arena;
    for (size_t i = 0; i < count; i++)
        t->places[i] = copies[i];
    t->place_count = count;
    t->recover_now = true;
    return 0;
}

/* ---- one look ---- */

/* How a place is opened. */
struct way {
    bool has_secret; /* else with the host's own credentials */
    struct secret_map secret;
    int r; /* negative: not at all, `why` says why */
    struct tm_err why;
};

static void way_of(const struct msg_secret *secret, struct way *ret)
{
    *ret = (struct way){.has_secret = secret != NULL, .secret = SECRET_MAP_INIT};
    if (secret == NULL)
        return;
    if (secret->error != NULL) {
        msg_error_to(secret->error, &ret->why);
        ret->r = -TM_E_UNAVAILABLE;
    } else {
        ret->r = msg_secret_to(secret, &ret->secret, &ret->why);
    }
}

/* Copies what is wanted. */
static void wanted(struct log_task *t, struct log_elsewhere *ret, struct way ways[WIRE_PLACES_MAX])
{
    pthread_mutex_lock(&t->lock);
    ret->count = t->place_count;
    for (size_t i = 0; i < ret->count; i++) {
        (void)snprintf(ret->urls[i], sizeof(ret->urls[i]), "%s", t->places[i].storage);
        way_of(t->places[i].secret, &ways[i]);
    }
    pthread_mutex_unlock(&t->lock);
}

/* Takes what is known of the place over from an earlier look. */
static void source_take(struct log_elsewhere *from, const char *url, struct log_source *ret,
                        struct storage **ret_hung)
{
    *ret_hung = NULL;
    for (size_t i = 0; i < from->count; i++) {
        if (strcmp(from->urls[i], url) != 0)
            continue;
        *ret = from->items[i];
        *ret_hung = TM_TAKE(from->hung[i]);
        from->items[i] = (struct log_source){.known = LOG_JOINS_INIT};
        return;
    }
    *ret = (struct log_source){.known = LOG_JOINS_INIT};
    (void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)strcspn(url, "?"), url);
}

/* Keeps a storage that hangs, frees any other. */
static void settle(struct storage *st, struct storage **hung)
{
    if (st != NULL && storage_bounded_hangs(st))
        *hung = st;
    else
        storage_free(st);
}

/* Whether it hangs still: it is not asked again. */
static bool hangs(struct storage **hung, struct log_source *source)
{
    if (*hung == NULL)
        return false;
    settle(TM_TAKE(*hung), hung);
    if (*hung != NULL)
        (void)tm_err_set(&source->why, TM_E_TIMEOUT, "it does not answer");
    return *hung != NULL;
}

static void source_open(const struct log_task *t, struct object_scratch *scratch, const char *url,
                        const struct way *way, struct log_source *source, struct storage **hung)
{
    struct storage *st = NULL;
    struct storage_options options = {.create_root = false,
                                      .secret = way->has_secret ? &way->secret : NULL};
    struct identity identity;
    int r = way->r;
    if (hangs(hung, source))
        return;
    if (r < 0)
        source->why = way->why;
    else
        r = storage_bounded_new(url, &options, t->place_ms, &st, &source->why);
    if (r == 0)
        r = identity_read(scratch, st, &t->options.scope, &identity, &source->why);
    if (r == 0)
        source->st = TM_TAKE(st);
    settle(st, hung);
}

void log_elsewhere_open(struct log_task *t, struct object_scratch *scratch,
                        struct log_elsewhere *elsewhere)
{
    struct log_elsewhere before = *elsewhere;
    struct way ways[WIRE_PLACES_MAX];
    wanted(t, elsewhere, ways);
    for (size_t i = 0; i < elsewhere->count; i++) {
        source_take(&before, elsewhere->urls[i], &elsewhere->items[i], &elsewhere->hung[i]);
        source_open(t, scratch, elsewhere->urls[i], &ways[i], &elsewhere->items[i],
                    &elsewhere->hung[i]);
        secret_map_release(&ways[i].secret);
    }
    log_elsewhere_release(&before);
}

void log_elsewhere_close(struct log_elsewhere *elsewhere)
{
    for (size_t i = 0; i < elsewhere->count; i++) {
        if (elsewhere->items[i].st != NULL)
            settle(TM_TAKE(elsewhere->items[i].st), &elsewhere->hung[i]);
    }
}

void log_elsewhere_release(struct log_elsewhere *elsewhere)
{
    log_elsewhere_close(elsewhere);
    for (size_t i = 0; i < elsewhere->count; i++) {
        log_joins_release(&elsewhere->items[i].known);
        storage_free(elsewhere->hung[i]);
        elsewhere->hung[i] = NULL;
    }
    elsewhere->count = 0;
}
