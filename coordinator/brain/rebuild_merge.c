/*
 * What a storage holds becomes resources: those that are missing are added, nothing else is changed.
 *
 * Happy path: words that were kept in storage of a resource (intents.c) make it again as it was, set right
 * by what is really there: a manifest makes it Complete, a tombstone Deleting, a checkpoint Failed and
 * resumable. One that was at work is awaited as after a restart: agents that still have it go on, or it
 * fails as any other. Then backups of which nothing was kept get a name made of their id, and the pattern's
 * storage; they are retained until somebody says otherwise.
 *
 * What is not shown: what is known already (by uid, or by backup id), what was deleted and swept, what an
 * operator retained without a resource, and unfinished leftovers that nobody knows: these are counted. Of
 * another cluster than those that have agents here nothing is taken, unless it is named: its coordinator may
 * be another one.
 *
 * A change is staged for each resource, some in one step, and the next when all of those are durable. One
 * that cannot be stored is counted, and may be had by reading the storage again.
 */
#include "coordinator/brain/rebuild_internal.h"

#include <ctype.h>
#include <inttypes.h>

#include "common/array.h"
#include "proto/spec/spec.h"

#define AT_ONCE_MAX 32 /* resources, in one step */

enum first { FIRST_LEFTOVER, FIRST_DAMAGED, FIRST_CONFLICT, FIRST_OTHER };

static void count(struct rebuild_run *run, uint64_t *counter, enum first which, const char *what)
{
    if (*counter == 0)
        (void)snprintf(run->first[which], sizeof(run->first[which]), "%s", what);
    ++*counter;
}

/* ---- finding ---- */

static bool same_instance(const struct msg_stored *a, const struct msg_stored *b)
{
    return strcmp(a->cluster, b->cluster) == 0 && strcmp(a->tenant, b->tenant) == 0 &&
           strcmp(a->incarnation, b->incarnation) == 0;
}

static struct rebuild_item *find_backup(struct rebuild_run *run, const struct rebuild_item *of,
                                        const char *backup_id)
{
    for (size_t at = 0; backup_id[0] != '\0' && at < run->item_count; at++) {
        struct rebuild_item *item = &run->items[at];
        if (item->stored.intent == NULL && strcmp(item->stored.backup_id, backup_id) == 0 &&
            same_instance(&item->stored, &of->stored))
            return item;
    }
    return NULL;
}

static bool known_uid(const struct brain *b, const char *uid)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        const struct res *res = b->resources[at];
        if (strcmp(res->exists ? res->now.rec.uid : res->next.rec.uid, uid) == 0)
            return true;
    }
    return false;
}

static bool known_backup(const struct brain *b, const struct msg_stored *s)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        const struct res *res = b->resources[at];
        const struct record *rec = res->exists ? &res->now.rec : &res->next.rec;
        if (strcmp(rec->backup_id, s->backup_id) == 0 && strcmp(rec->cluster, s->cluster) == 0 &&
            strcmp(rec->tenant, s->tenant) == 0 && strcmp(rec->identity, s->incarnation) == 0)
            return true;
    }
    return false;
}

static bool is_ours(const struct brain *b, const struct rebuild_run *run, const char *cluster)
{
    if (run->cluster[0] != '\0')
        return strcmp(run->cluster, cluster) == 0;
    for (size_t at = 0; at < b->node_count; at++) {
        if (strcmp(b->nodes[at]->cluster, cluster) == 0)
            return true;
    }
    return false;
}

/* ---- making ---- */

static void note_name(struct brain *b, struct rebuild_run *run, const struct record *rec)
{
    if (ARRAY_ROOM(run->names, run->name_count, run->name_cap, 64, b->err) < 0) {
        brain_check(b, -1);
        return;
    }
    struct rebuild_name *name = &run->names[run->name_count++];
    *name = (struct rebuild_name){.kind = ""};
    COPY_TEXT(name->kind, rec->kind);
    COPY_TEXT(name->namespace_, rec->namespace_);
    COPY_TEXT(name->name, rec->name);
}

static void count_phase(struct rebuild_run *run, const struct record *rec)
{
    if (rec->log != NULL)
        run->result.logs++;
    else if (rec->deleting)
        run->result.deleting++;
    else if (rec->phase == PHASE_COMPLETE)
        run->result.complete++;
    else if (rec->phase == PHASE_FAILED)
        run->result.failed++;
    else
        run->result.running++;
}

/* The record is copied, the spec taken over. */
static void make(struct brain *b, struct rebuild_run *run, const struct record *rec, bool adopted,
                 struct resource **spec)
{
    if (b->resource_count >= BRAIN_RESOURCES_MAX) {
        count(run, &run->result.conflicts, FIRST_CONFLICT, "there are too many resources");
        return;
    }
    struct res *res = store_add(b, rec->kind, rec->namespace_, rec->name, "");
    if (res == NULL)
        return;
    struct codec_arena arena = {0};
    struct record copy;
    int r = codec_copy(&record_codec, rec, &arena, &copy, b->err);
    if (r == 0)
        r = store_set_spec(res, TM_TAKE(*spec), b->err);
    if (r < 0 || persist_stage(b, res) == NULL) {
        codec_arena_release(&arena);
        store_remove(b, res);
        brain_check(b, -1);
        return;
    }
    res->next.arena = arena;
    res->next.rec = copy;
    res->adopted = adopted;
    note_name(b, run, rec);
    count_phase(run, rec);
    persist_submit(b, res);
}

/* ---- of a resource's own words ---- */

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

static int read_words(const struct rebuild_item *item, struct stored *ret,
                      struct resource **ret_spec, struct tm_err *err)
{
    const struct msg_intent *intent = item->stored.intent;
    int r = codec_decode(&record_codec, intent->resource, &ret->arena, &ret->rec, err);
    const struct record *rec = &ret->rec;
    if (r < 0)
        return r;
    if (strcmp(rec->kind, "Backup") != 0 || strcmp(rec->uid, intent->uid) != 0 ||
        strcmp(rec->cluster, intent->cluster) != 0 || strcmp(rec->tenant, intent->tenant) != 0 ||
        strcmp(rec->identity, intent->incarnation) != 0 || rec->storage == NULL)
        return tm_err_set(err, TM_E_CORRUPT, "resource %s is not of the place it was found at",
                          intent->uid);
    r = view_parse(rec->document, ret_spec, err);
    if (r == 0 && !makes_sense(rec, *ret_spec))
        r = tm_err_set(err, TM_E_CORRUPT, "resource %s is in no phase that there is", intent->uid);
    if (r == 0 && (strcmp((*ret_spec)->name, rec->name) != 0 ||
                   strcmp((*ret_spec)->namespace_, rec->namespace_) != 0))
        r = tm_err_set(err, TM_E_CORRUPT, "resource %s has two names", intent->uid);
    return r;
}

static void set_committed(struct record *rec, const struct msg_stored *backup)
{
    if (rec->phase != PHASE_COMPLETE) { /* its end was not told any more */
        rec->completed_us = TM_MAX(backup->completed_us, rec->started_us);
        rec->ranges_total = backup->ranges;
        rec->bytes_total = 0;
        rec->shares_count = 0;
    }
    rec->phase = PHASE_COMPLETE;
    rec->step = 0;
    rec->error = NULL;
    rec->error_node[0] = '\0';
    rec->resumable = false;
    rec->leftovers = false;
    rec->totals = backup->totals;
}

/* What is there of it has the last word. False: it is not to be shown. */
static bool set_right(struct brain *b, struct rebuild_run *run, struct record *rec,
                      const struct msg_stored *backup)
{
    uint32_t state = backup != NULL ? backup->state : 0;
    if (state == STORED_COMMITTED) {
        set_committed(rec, backup);
        return true;
    }
    if (rec->phase == PHASE_COMPLETE && state == STORED_DELETED) {
        rec->deleting = true;
        if (rec->removal_us == 0 && backup->until_us > b->now.real_us)
            rec->removal_us = backup->until_us;
        return true;
    }
    if (rec->phase == PHASE_COMPLETE) {
        run->result.missing += !rec->deleting && state != STORED_DAMAGED;
        return false;
    }
    if (rec->phase == PHASE_FAILED) {
        rec->resumable = rec->resumable && state == STORED_CHECKPOINT;
        rec->leftovers = backup != NULL && !rec->resumable;
        rec->step = rec->resumable ? rec->step : 0;
    }
    return true;
}

static bool log_fits(struct brain *b, struct rebuild_run *run, const struct record *rec,
                     const struct resource *spec)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct view view;
    struct tm_err err;
    if (rec->log != NULL && view_of(spec, &arena, &view, &err) == 0 && view.kind == JOB_KIND_LOG &&
        (rec->phase == PHASE_STOPPED || log_conflict(b, &view, NULL, &err) == 0))
        return true;
    count(run, &run->result.conflicts, FIRST_CONFLICT, rec->name);
    return false;
}

static void merge_words(struct brain *b, struct rebuild_run *run, struct rebuild_item *item)
{
    TM_CLEANUP(view_freep) struct resource *spec = NULL;
    struct stored stored = {0};
    struct record *rec = &stored.rec;
    struct view_place place;
    struct tm_err err;
    if (read_words(item, &stored, &spec, &err) < 0) {
        count(run, &run->result.damaged, FIRST_DAMAGED, item->stored.intent->uid);
        codec_arena_release(&stored.arena);
        return;
    }
    struct rebuild_item *backup = find_backup(run, item, rec->backup_id);
    bool log = spec->backup.mode == BACKUP_MODE_LOG;
    if (known_uid(b, rec->uid)) {
        run->result.known++;
    } else if (rec->gone) {
        if (backup != NULL && backup->stored.state == STORED_COMMITTED) {
            view_place_of(spec, &place);
            kept_remember(b, rec, place.own_credentials ? "" : place.secret);
            backup->settled = true;
            run->result.retained++;
        }
    } else if (store_find(b, rec->kind, rec->namespace_, rec->name) != NULL) {
        /* a backup that is there gets another name */
        if (log || backup == NULL)
            count(run, &run->result.conflicts, FIRST_CONFLICT, rec->name);
    } else if (log ? log_fits(b, run, rec, spec)
                   : set_right(b, run, rec, backup != NULL ? &backup->stored : NULL)) {
        make(b, run, rec, true, &spec);
        if (backup != NULL)
            backup->settled = true;
    }
    codec_arena_release(&stored.arena);
}

/* ---- of a backup without words ---- */

static int fill_record(struct brain *b, const struct rebuild_run *run, const struct msg_stored *s,
                       struct record *rec)
{
    static const char why[] = "it was interrupted, and the coordinator's state is lost; its "
                              "checkpoint may be gone on with";
    COPY_TEXT(rec->kind, "Backup");
    COPY_TEXT(rec->namespace_, RESOURCE_NAMESPACE);
    for (size_t at = 0; s->backup_id[at] != '\0'; at++)
        rec->name[at] = (char)tolower((unsigned char)s->backup_id[at]);
    (void)snprintf(rec->uid, sizeof(rec->uid), "%016" PRIx64, b->rng.next(b->rng.arg));
    (void)snprintf(rec->job, sizeof(rec->job), "%016" PRIx64, b->rng.next(b->rng.arg));
    rec->generation = 1;
    rec->attempt = 1;
    rec->created_us = s->started_us;
    rec->started_us = s->started_us;
    COPY_TEXT(rec->backup_id, s->backup_id);
    COPY_TEXT(rec->cluster, s->cluster);
    COPY_TEXT(rec->tenant, s->tenant);
    COPY_TEXT(rec->identity, s->incarnation);
    COPY_TEXT(rec->node, s->node);
    rec->storage = run->storage;
    if (s->state == STORED_COMMITTED) {
        set_committed(rec, s);
        return 0;
    }
    rec->phase = PHASE_FAILED;
    rec->resumable = true;
    rec->completed_us = b->now.real_us; /* it has its whole time to be resumed from now on */
    rec->error = brain_step_alloc(b, sizeof(*rec->error));
    if (rec->error == NULL)
        return -(int)TM_E_NO_MEMORY;
    *rec->error = (struct msg_error){
        .code = TM_E_CANCELED, .text = why, .retryable = true, .since_us = b->now.real_us};
    COPY_TEXT(rec->error_node, s->node);
    return 0;
}

static void merge_backup(struct brain *b, struct rebuild_run *run, struct rebuild_item *item)
{
    TM_CLEANUP(view_freep) struct resource *spec = NULL;
    const struct msg_stored *s = &item->stored;
    struct record rec = {.phase = PHASE_RUNNING};
    struct tm_err err;
    if (item->settled)
        return;
    if (known_backup(b, s))
        return; /* its words were counted, when there are some */
    if (s->state == STORED_LEFTOVER) {
        count(run, &run->result.leftovers, FIRST_LEFTOVER, s->backup_id);
        return;
    }
    if (s->state == STORED_DAMAGED) {
        count(run, &run->result.damaged, FIRST_DAMAGED, s->backup_id);
        return;
    }
    if (s->state != STORED_COMMITTED && s->state != STORED_CHECKPOINT)
        return; /* deleted: whoever deletes next below this instance removes the rest */
    if (fill_record(b, run, s, &rec) < 0) {
        brain_check(b, -1);
        return;
    }
    if (store_find(b, rec.kind, rec.namespace_, rec.name) != NULL) {
        count(run, &run->result.conflicts, FIRST_CONFLICT, rec.name);
        return;
    }
    if (resource_rename(run->pattern, rec.name, rec.cluster, rec.tenant, &spec, &err) < 0) {
        count(run, &run->result.damaged, FIRST_DAMAGED, s->backup_id);
        return;
    }
    rec.document = slice_of(spec->document, spec->document_len);
    make(b, run, &rec, false, &spec);
}

/* ---- all ---- */

/* What was made before is durable now, or was refused. */
static bool settled(struct brain *b, const struct rebuild_run *run)
{
    for (size_t at = run->name_count; at > 0 && at + AT_ONCE_MAX > run->name_count; at--) {
        const struct rebuild_name *name = &run->names[at - 1];
        const struct res *res = store_find(b, name->kind, name->namespace_, name->name);
        if (res != NULL && !res->exists)
            return false;
    }
    return true;
}

/* Those that could not be stored are not there. */
static void count_refused(const struct brain *b, struct rebuild_run *run)
{
    for (size_t at = 0; at < run->name_count; at++) {
        const struct rebuild_name *name = &run->names[at];
        run->refused += store_find(b, name->kind, name->namespace_, name->name) == NULL;
    }
}

bool rebuild_merge(struct brain *b, struct rebuild_run *run)
{
    size_t first = run->name_count;
    if (!settled(b, run))
        return false;
    while (run->next < 2 * run->item_count && run->name_count - first < AT_ONCE_MAX && !b->failed) {
        bool words = run->next < run->item_count;
        struct rebuild_item *item = &run->items[run->next++ % run->item_count];
        if ((item->stored.intent != NULL) != words)
            continue;
        if (!is_ours(b, run, item->stored.cluster)) {
            count(run, &run->result.others, FIRST_OTHER, item->stored.cluster);
            continue;
        }
        if (words)
            merge_words(b, run, item);
        else
            merge_backup(b, run, item);
    }
    if (run->name_count > first || run->next < 2 * run->item_count)
        return false;
    count_refused(b, run);
    return true;
}
