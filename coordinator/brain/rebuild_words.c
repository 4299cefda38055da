/*
 * What was kept in storage of a resource (intents.c), read back: everything that decides is checked, as
 * storage may have been written to by anybody. What does not fit is TM_E_CORRUPT, and then nothing of it
 * is used.
 */
#include "coordinator/brain/rebuild_internal.h"

#include "proto/spec/spec.h"

void rebuild_words_release(struct rebuild_words *w)
{
    view_free(w->spec);
    codec_arena_release(&w->arena);
    *w = (struct rebuild_words){.spec = NULL};
}

static bool same_name(const struct record *a, const struct record *b)
{
    return strcmp(a->kind, b->kind) == 0 && strcmp(a->namespace_, b->namespace_) == 0 &&
           strcmp(a->name, b->name) == 0;
}

/* What a table cannot say. */
static bool makes_sense(const struct record *rec, const struct resource *spec)
{
    bool log = spec->kind == RESOURCE_BACKUP && spec->backup.mode == BACKUP_MODE_LOG;
    if (spec->kind != RESOURCE_BACKUP || log != (rec->log != NULL) || rec->step > JOB_STEP_STOP)
        return false;
    if (log)
        return rec->phase >= PHASE_SCHEDULED && rec->phase <= PHASE_FAIL &&
               rec->phase != PHASE_COMPLETE && rec->phase != PHASE_FAILED;
    return rec->phase >= PHASE_SCHEDULED && rec->phase <= PHASE_FAILED;
}

/* A whole is nobody's job and lies nowhere. */
static bool is_whole(const struct record *whole)
{
    bool phase =
        whole->phase == PHASE_RUNNING ||
        (whole->log != NULL ? whole->phase == PHASE_STOPPED
                            : whole->phase == PHASE_COMPLETE || whole->phase == PHASE_FAILED);
    bool place = whole->storage != NULL && whole->storage[0] != '\0';
    return phase && !place && whole->part[0] == '\0' && whole->job[0] == '\0' &&
           whole->backup_id[0] == '\0' && whole->cluster[0] == '\0' && whole->node[0] == '\0' &&
           whole->tenant[0] == '\0' && whole->identity[0] == '\0' && whole->uid[0] != '\0';
}

/* Each once, each a name that records may have. */
static bool tenants_fit(const struct record *whole, const char *cluster, const char *part)
{
    bool has_part = false;
    struct repo_scope scope;
    struct tm_err err;
    for (size_t at = 0; at < whole->parts_count; at++) {
        if (names_scope_set(&scope, cluster, whole->parts[at], "0", &err) < 0)
            return false;
        for (size_t before = 0; before < at; before++) {
            if (strcmp(whole->parts[before], whole->parts[at]) == 0)
                return false;
        }
        has_part = has_part || strcmp(whole->parts[at], part) == 0;
    }
    return has_part;
}

static int check_part(const struct rebuild_words *w, struct tm_err *err)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    const struct record *rec = &w->rec;
    struct view view;
    int r = view_of(w->spec, &arena, &view, err);
    if (r == 0 &&
        (strcmp(rec->part, rec->tenant) != 0 || rec->document.len != 0 ||
         !same_name(rec, &w->whole) || !is_whole(&w->whole) ||
         !tenants_fit(&w->whole, rec->cluster, rec->part) || !makes_sense(&w->whole, w->spec) ||
         view.tenant[0] != '\0' || strcmp(view.cluster, rec->cluster) != 0))
        r = tm_err_set(err, TM_E_CORRUPT, "tenant '%s' of resource %s is no part of it", rec->part,
                       w->whole.uid);
    return r;
}

/* A part's document is its whole's. */
static int read_spec(struct rebuild_words *w, struct tm_err *err)
{
    const struct record *named = &w->rec;
    int r = 0;
    if (w->rec.part[0] != '\0') {
        r = codec_decode(&record_codec, w->rec.whole, &w->arena, &w->whole, err);
        named = &w->whole;
    }
    w->rec.whole = SLICE_EMPTY;
    if (r == 0)
        r = view_parse(named->document, &w->spec, err);
    if (r == 0 && (strcmp(w->spec->name, named->name) != 0 ||
                   strcmp(w->spec->namespace_, named->namespace_) != 0))
        r = tm_err_set(err, TM_E_CORRUPT, "resource %s has two names", named->uid);
    return r;
}

int rebuild_words_read(const struct rebuild_item *item, struct rebuild_words *ret,
                       struct tm_err *err)
{
    const struct msg_intent *intent = item->stored.intent;
    const struct record *rec = &ret->rec;
    struct view_place place;
    int r = codec_decode(&record_codec, intent->resource, &ret->arena, &ret->rec, err);
    if (r < 0)
        return r;
    if (strcmp(rec->kind, "Backup") != 0 || strcmp(rec->uid, intent->uid) != 0 ||
        strcmp(rec->cluster, intent->cluster) != 0 || strcmp(rec->tenant, intent->tenant) != 0 ||
        strcmp(rec->identity, intent->incarnation) != 0 || rec->storage == NULL ||
        rec->parts_count != 0)
        return tm_err_set(err, TM_E_CORRUPT, "resource %s is not of the place it was found at",
                          intent->uid);
    r = read_spec(ret, err);
    if (r == 0)
        view_place_of(ret->spec, &place);
    if (r == 0 && !storage_place_equal(place.storage, rec->storage))
        r = tm_err_set(err, TM_E_CORRUPT, "resource %s lies in two storages", intent->uid);
    if (r == 0 && !makes_sense(rec, ret->spec))
        r = tm_err_set(err, TM_E_CORRUPT, "resource %s is in no phase that there is", intent->uid);
    if (r == 0 && rec->part[0] != '\0')
        r = check_part(ret, err);
    return r;
}
