/*
 * Other storages with backups of the tenant. They are opened for one look and closed again: what was
 * unmounted or moved in between is seen so. Happy path: each place that is wanted is opened, and has
 * the instance's identity → repo reads backups there.
 *
 * Failure modes: a place that cannot be opened is told by who reads it (log_source.why); so is an empty
 * one, which is one that is not mounted: backups are known to be there. What an earlier look found out
 * is kept for as long as the place is wanted.
 */
#include "agent/log/internal.h"

/* Copies what is wanted. */
static void wanted(struct log_task *t, struct log_elsewhere *ret)
{
    pthread_mutex_lock(&t->lock);
    ret->count = t->place_count;
    memcpy(ret->urls, t->places, sizeof(ret->urls));
    pthread_mutex_unlock(&t->lock);
}

/* Takes what is known of the place over from an earlier look. */
static void source_take(struct log_elsewhere *from, const char *url, struct log_source *ret)
{
    for (size_t i = 0; i < from->count; i++) {
        if (strcmp(from->urls[i], url) != 0)
            continue;
        *ret = from->items[i];
        from->items[i] = (struct log_source){.known = LOG_JOINS_INIT};
        return;
    }
    *ret = (struct log_source){.known = LOG_JOINS_INIT};
    (void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)strcspn(url, "?"), url);
}

static void source_open(const struct log_task *t, struct object_scratch *scratch, const char *url,
                        struct log_source *source)
{
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    struct storage_options options = {.create_root = false};
    struct identity identity;
    int r = storage_open(url, &options, &st, &source->why);
    if (r == 0)
        r = identity_read(scratch, st, &t->options.scope, &identity, &source->why);
    if (r == 0)
        source->st = TM_TAKE(st);
}

void log_elsewhere_open(struct log_task *t, struct object_scratch *scratch,
                        struct log_elsewhere *elsewhere)
{
    struct log_elsewhere before = *elsewhere;
    wanted(t, elsewhere);
    for (size_t i = 0; i < elsewhere->count; i++) {
        source_take(&before, elsewhere->urls[i], &elsewhere->items[i]);
        source_open(t, scratch, elsewhere->urls[i], &elsewhere->items[i]);
    }
    log_elsewhere_release(&before);
}

void log_elsewhere_close(struct log_elsewhere *elsewhere)
{
    for (size_t i = 0; i < elsewhere->count; i++) {
        storage_free(elsewhere->items[i].st);
        elsewhere->items[i].st = NULL;
    }
}

void log_elsewhere_release(struct log_elsewhere *elsewhere)
{
    log_elsewhere_close(elsewhere);
    for (size_t i = 0; i < elsewhere->count; i++)
        log_joins_release(&elsewhere->items[i].known);
    elsewhere->count = 0;
}
