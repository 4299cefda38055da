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
 * be another one. Nor are words that name another storage, with their backup: a copy of a storage proves nothing of
 * the one that was copied. When it is said that the storage was moved, such a backup counts as one without words.
 *
 * Of several tenants: rebuild_parts.c.
 *
 * A change is staged for each resource, some in one step, and the next when all of those are durable. One
 * that cannot be stored is counted, and may be had by reading the storage again.
 */
#include "coordinator/brain/rebuild_internal.h"

#include <ctype.h>
#include <inttypes.h>

#include "common/array.h"
#include "proto/spec/spec.h"

#define AT_ONCE_MAX 32       /* resources, in one step… */
#define WORK_MAX    20000000 /* …and names that are compared: heartbeats wait for it */

void rebuild_count(struct rebuild_run *run, uint64_t *counter, enum rebuild_first which,
                   const char *what)
{
    if (*counter == 0)
        (void)snprintf(run->first[which], sizeof(run->first[which]), "%s", what);
    ++*counter;
}

/* Named as it lies in storage. */
static void count_object(struct rebuild_run *run, uint64_t *counter, enum rebuild_first which,
                         const struct rebuild_item *item)
{
    const struct msg_stored *s = &item->stored;
    struct rel_name rel;
    char what[sizeof(run->first[0])];
    if (s->intent != NULL)
        rel = names_rel_intent(s->intent->uid, (struct epoch){s->intent->term, s->intent->counter});
    else
        (void)snprintf(rel.s, sizeof(rel.s), "backup/%s", s->backup_id);
    (void)snprintf(what, sizeof(what), "%s/%s/%s/%s", s->cluster, s->tenant, s->incarnation, rel.s);
    rebuild_count(run, counter, which, what);
}

/* ---- finding ---- */

static bool same_instance(const struct msg_stored *a, const struct msg_stored *b)
{
    return strcmp(a->cluster, b->cluster) == 0 && strcmp(a->tenant, b->tenant) == 0 &&
           strcmp(a->incarnation, b->incarnation) == 0;
}

struct rebuild_item *rebuild_backup_of(struct rebuild_run *run, const struct rebuild_item *words,
                                       const char *backup_id)
{
    for (size_t at = 0; backup_id[0] != '\0' && at < run->item_count; at++) {
        struct rebuild_item *item = &run->items[at];
        if (item->stored.intent == NULL && strcmp(item->stored.backup_id, backup_id) == 0 &&
            same_instance(&item->stored, &words->stored))
            return item;
    }
    return NULL;
}

bool rebuild_known_uid(const struct brain *b, const char *uid)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        const struct res *res = b->resources[at];
        if (strcmp(res->exists ? res->now.rec.uid : res->next.rec.uid, uid) == 0)
            return true;
    }
    return false;
}

bool rebuild_known_backup(const struct brain *b, const struct msg_stored *place, const char *id)
{
    for (size_t at = 0; id[0] != '\0' && at < b->resource_count; at++) {
        const struct res *res = b->resources[at];
        const struct record *rec = res->exists ? &res->now.rec : &res->next.rec;
        if (strcmp(rec->backup_id, id) == 0 && strcmp(rec->cluster, place->cluster) == 0 &&
            strcmp(rec->tenant, place->tenant) == 0 &&
            strcmp(rec->identity, place->incarnation) == 0)
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
    COPY_TEXT(name->part, rec->part);
}

void rebuild_count_phase(struct rebuild_run *run, const struct record *rec)
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

void rebuild_make(struct brain *b, struct rebuild_run *run, const struct record *rec, bool adopted,
                  struct resource **spec)
{
    if (b->resource_count >= BRAIN_RESOURCES_MAX) {
        rebuild_count(run, &run->result.conflicts, FIRST_CONFLICT, "there are too many resources");
        return;
    }
    struct res *res = store_add(b, rec->kind, rec->namespace_, rec->name, rec->part);
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
    if (rec->part[0] == '\0' && rec->parts_count == 0)
        rebuild_count_phase(run, rec);
    persist_submit(b, res);
}

/* ---- of a resource's own words ---- */

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

bool rebuild_set_right(struct brain *b, struct rebuild_run *run, struct record *rec,
                       const struct rebuild_item *found)
{
    const struct msg_stored *backup = found != NULL ? &found->stored : NULL;
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

bool rebuild_log_fits(struct brain *b, struct rebuild_run *run, const struct record *rec,
                      const struct resource *spec)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct view view;
    struct tm_err err;
    if (rec->log != NULL && view_of(spec, &arena, &view, &err) == 0 && view.kind == JOB_KIND_LOG &&
        (rec->phase == PHASE_STOPPED || log_conflict(b, &view, NULL, &err) == 0))
        return true;
    rebuild_count(run, &run->result.conflicts, FIRST_CONFLICT, rec->name);
    return false;
}

void rebuild_retain(struct brain *b, struct rebuild_run *run, const struct rebuild_words *w,
                    struct rebuild_item *backup)
{
    struct view_place place;
    if (backup == NULL || backup->stored.state != STORED_COMMITTED)
        return;
    view_place_of(w->spec, &place);
    kept_remember(b, &w->rec, place.own_credentials ? "" : place.secret);
    backup->settled = true;
    run->result.retained++;
}

static void merge_single(struct brain *b, struct rebuild_run *run, struct rebuild_item *item,
                         struct rebuild_words *w)
{
    struct record *rec = &w->rec;
    struct rebuild_item *backup = rebuild_backup_of(run, item, rec->backup_id);
    bool log = rec->log != NULL;
    if (rebuild_known_uid(b, rec->uid) || rebuild_known_backup(b, &item->stored, rec->backup_id)) {
        run->result
            .known++; /* two resources of one backup: deleting one would take it from the other */
    } else if (rec->gone) {
        rebuild_retain(b, run, w, backup);
    } else if (store_find(b, rec->kind, rec->namespace_, rec->name) != NULL) {
        /* a backup that is there gets another name */
        if (log || backup == NULL)
            rebuild_count(run, &run->result.conflicts, FIRST_CONFLICT, rec->name);
    } else if (log ? rebuild_log_fits(b, run, rec, w->spec)
                   : rebuild_set_right(b, run, rec, backup)) {
        rebuild_make(b, run, rec, true, &w->spec);
        if (backup != NULL)
            backup->settled = true;
    }
}

/* What they say was proven by another storage than this one, and would be done there, with what gets into it. */
static void leave_elsewhere(struct rebuild_run *run, const struct rebuild_item *item,
                            const struct record *rec)
{
    struct rebuild_item *backup = rebuild_backup_of(run, item, rec->backup_id);
    if (!run->moved && backup != NULL)
        backup->settled = true;
    if (!run->moved || backup == NULL)
        rebuild_count(run, &run->result.elsewhere, FIRST_ELSEWHERE, rec->storage);
}

static void merge_words(struct brain *b, struct rebuild_run *run, struct rebuild_item *item)
{
    TM_CLEANUP(rebuild_words_release) struct rebuild_words w = {.spec = NULL};
    struct tm_err err;
    if (rebuild_words_read(item, &w, &err) < 0)
        count_object(run, &run->result.unread, FIRST_UNREAD, item);
    else if (!rebuild_known_uid(b, w.rec.uid) && !storage_place_equal(w.rec.storage, run->storage))
        leave_elsewhere(run, item, &w.rec);
    else if (w.rec.part[0] != '\0')
        rebuild_note_part(b, run, item, &w);
    else
        merge_single(b, run, item, &w);
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
    if (rebuild_known_backup(b, s, s->backup_id))
        return; /* its words were counted, when there are some */
    if (s->state == STORED_LEFTOVER) {
        count_object(run, &run->result.leftovers, FIRST_LEFTOVER, item);
        return;
    }
    if (s->state == STORED_DAMAGED) {
        count_object(run, &run->result.damaged, FIRST_DAMAGED, item);
        return;
    }
    if (s->state != STORED_COMMITTED && s->state != STORED_CHECKPOINT)
        return; /* deleted: whoever deletes next below this instance removes the rest */
    if (fill_record(b, run, s, &rec) < 0) {
        brain_check(b, -1);
        return;
    }
    if (store_find(b, rec.kind, rec.namespace_, rec.name) != NULL) {
        rebuild_count(run, &run->result.conflicts, FIRST_CONFLICT, rec.name);
        return;
    }
    if (resource_rename(run->pattern, rec.name, rec.cluster, rec.tenant, &spec, &err) < 0) {
        count_object(run, &run->result.damaged, FIRST_DAMAGED, item);
        return;
    }
    rec.document = slice_of(spec->document, spec->document_len);
    rebuild_make(b, run, &rec, false, &spec);
}

/* ---- of a resource without a backup ---- */

static bool is_there(const struct rebuild_run *run, const struct record *rec)
{
    for (size_t at = 0; at < run->item_count; at++) {
        const struct msg_stored *s = &run->items[at].stored;
        if (s->intent == NULL && s->state == STORED_COMMITTED &&
            strcmp(s->backup_id, rec->backup_id) == 0 && strcmp(s->cluster, rec->cluster) == 0 &&
            strcmp(s->tenant, rec->tenant) == 0 && strcmp(s->incarnation, rec->identity) == 0)
            return true;
    }
    return false;
}

/* An older copy of the state promises what was deleted since: that is said, and left to people. */
static void check_there(struct rebuild_run *run, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    bool promises = res->exists && rec->phase == PHASE_COMPLETE && !rec->deleting &&
                    rec->backup_id[0] != '\0' && rec->storage != NULL &&
                    rec->completed_us < run->since_us;
    bool in_reach = promises && storage_place_equal(rec->storage, run->storage) &&
                    (run->cluster[0] == '\0' || strcmp(run->cluster, rec->cluster) == 0);
    if (in_reach && !is_there(run, rec))
        rebuild_count(run, &run->result.absent, FIRST_ABSENT, rec->name);
}

/* ---- all ---- */

static const struct res *named(const struct brain *b, const struct rebuild_name *name)
{
    return store_find_part(b, name->kind, name->namespace_, name->name, name->part);
}

/* What was made before is durable now, or was refused. */
static bool settled(const struct brain *b, struct rebuild_run *run)
{
    for (size_t at = run->batch; at < run->name_count; at++) {
        const struct res *res = named(b, &run->names[at]);
        if (res != NULL && !res->exists)
            return false;
    }
    run->batch = run->name_count;
    return true;
}

/* Those that could not be stored are not there. */
static void count_refused(const struct brain *b, struct rebuild_run *run)
{
    for (size_t at = 0; at < run->name_count; at++)
        run->refused += named(b, &run->names[at]) == NULL;
}

static bool of_pass(const struct rebuild_run *run, const struct rebuild_item *item)
{
    return (item->stored.intent != NULL) == (run->pass != REBUILD_BACKUPS);
}

static void merge_item(struct brain *b, struct rebuild_run *run, struct rebuild_item *item)
{
    if (run->pass != REBUILD_PARTS && !is_ours(b, run, item->stored.cluster))
        rebuild_count(run, &run->result.others, FIRST_OTHER, item->stored.cluster);
    else if (run->pass == REBUILD_WORDS)
        merge_words(b, run, item);
    else if (run->pass == REBUILD_PARTS)
        rebuild_merge_part(b, run, item);
    else
        merge_backup(b, run, item);
}

/* What it cost: each is looked for among all that was read, and all that there is. */
static size_t merge_next(struct brain *b, struct rebuild_run *run)
{
    bool of_wholes = run->pass == REBUILD_WHOLES || run->pass == REBUILD_LOST;
    size_t end = of_wholes                     ? run->whole_count
                 : run->pass == REBUILD_ABSENT ? b->resource_count
                                               : run->item_count;
    if (run->next >= end) {
        run->pass++;
        run->next = 0;
        return 0;
    }
    size_t at = run->next++;
    if (run->pass == REBUILD_ABSENT) {
        check_there(run, b->resources[at]);
        return run->item_count;
    }
    if (!of_wholes && !of_pass(run, &run->items[at]))
        return 1;
    if (!of_wholes)
        merge_item(b, run, &run->items[at]);
    else if (run->pass == REBUILD_WHOLES)
        rebuild_merge_whole(b, run, &run->wholes[at]);
    else
        rebuild_merge_lost(b, run, &run->wholes[at]);
    return run->item_count + b->resource_count;
}

bool rebuild_merge(struct brain *b, struct rebuild_run *run)
{
    if (!settled(b, run))
        return false;
    enum rebuild_pass pass = run->pass;
    size_t work = 0;
    while (run->pass != REBUILD_OVER && run->name_count - run->batch < AT_ONCE_MAX && !b->failed) {
        if (run->pass != pass && run->name_count > run->batch)
            return false; /* the next pass builds upon what is durable */
        if (work > WORK_MAX)
            return false; /* the next step goes on */
        pass = run->pass;
        work += merge_next(b, run);
    }
    if (run->name_count > run->batch || run->pass != REBUILD_OVER ||
        !rebuild_wholes_settled(b, run))
        return false;
    count_refused(b, run);
    return true;
}
