/*
 * Jobs of several tenants, made again from the words of their parts.
 *
 * Happy path: every part's words have the whole's record, too (intents.c) → the newest of them make the
 * whole, Failed when it was at its end → once that is durable, its parts → when all of them are Complete, so
 * is the whole (parts.c).
 *
 * A part without its whole must never be durable, and a whole never says more than its parts prove. So:
 *
 * The whole is known already: its parts that are missing are added, when it lists them.
 * Its name is another resource's, or its words are damaged: there is no part of it; a backup comes back as
 * one of its own, of its tenant, as any backup of which nothing was kept. A log backup is counted.
 * Nothing is found of a part: when the whole was at its end it comes back as Failed with such a part, that
 * says so, and may be resumed; a log backup that was Stopped, with one that is Stopped and never began. When
 * it was not, that tenant begins anew once the list was confirmed, as it had not begun, or as interrupted before
 * anything of it was stored.
 * A part is being deleted: so is the whole, as parts go for no other reason.
 */
#include "coordinator/brain/rebuild_internal.h"

#include <inttypes.h>

#include "common/array.h"
#include "proto/spec/spec.h"

static struct rebuild_whole *whole_noted(struct brain *b, struct rebuild_run *run, const char *uid)
{
    for (size_t at = 0; at < run->whole_count; at++) {
        if (strcmp(run->wholes[at].uid, uid) == 0)
            return &run->wholes[at];
    }
    if (ARRAY_ROOM(run->wholes, run->whole_count, run->whole_cap, 16, b->err) < 0) {
        brain_check(b, -1);
        return NULL;
    }
    struct rebuild_whole *whole = &run->wholes[run->whole_count++];
    *whole = (struct rebuild_whole){.made = false};
    COPY_TEXT(whole->uid, uid);
    return whole;
}

void rebuild_note_part(struct brain *b, struct rebuild_run *run, struct rebuild_item *item,
                       const struct rebuild_words *w)
{
    const struct msg_intent *intent = item->stored.intent;
    struct epoch epoch = {intent->term, intent->counter};
    struct record rec = w->rec;
    struct rebuild_item *backup = rebuild_backup_of(run, item, rec.backup_id);
    struct rebuild_whole *whole = whole_noted(b, run, w->whole.uid);
    if (whole == NULL)
        return;
    if (epoch_cmp(epoch, whole->newest) > 0) {
        whole->newest = epoch;
        whole->item = (size_t)(item - run->items);
    }
    if (rec.gone && !rebuild_known_uid(b, rec.uid))
        rebuild_retain(b, run, w, backup);
    if (rec.gone)
        return;
    if (!rebuild_known_uid(b, rec.uid) && rebuild_known_backup(b, &item->stored, rec.backup_id))
        return; /* as one of its own */
    if (rec.log == NULL && !rebuild_set_right(b, run, &rec, backup))
        return;
    item->is_part = true;
    item->whole = (size_t)(whole - run->wholes);
    whole->shown++;
    whole->complete += rec.log == NULL && rec.phase == PHASE_COMPLETE;
    whole->deleting = whole->deleting || rec.deleting;
    whole->ended_us = TM_MAX(whole->ended_us, rec.completed_us);
}

/* ---- the whole ---- */

static bool at_end(const struct record *rec)
{
    return rec->log == NULL && (rec->phase == PHASE_COMPLETE || rec->phase == PHASE_FAILED);
}

/* Nobody will make a part of it any more. */
static bool is_over(const struct record *rec)
{
    return at_end(rec) || (rec->log != NULL && rec->phase == PHASE_STOPPED);
}

static void make_whole(struct brain *b, struct rebuild_run *run, struct rebuild_whole *whole,
                       struct rebuild_words *w)
{
    struct record *rec = &w->whole;
    rec->rebuilt = true;
    rec->deleting = rec->deleting || whole->deleting;
    bool ended = at_end(rec) && !rec->deleting;
    bool complete = ended && whole->complete == rec->parts_count;
    if (complete && rec->phase == PHASE_FAILED)
        rec->completed_us = whole->ended_us;
    if (ended)
        rec->phase = complete ? PHASE_COMPLETE : PHASE_FAILED;
    rebuild_count_phase(run, rec);
    if (complete) /* it is not, before its parts are durable: then parts.c makes it so */
        rec->phase = PHASE_FAILED;
    rebuild_make(b, run, rec, true, &w->spec);
    whole->made = true;
    for (size_t at = 0; at < rec->parts_count; at++)
        tenants_note(b, w->rec.cluster, rec->parts[at]);
}

void rebuild_merge_whole(struct brain *b, struct rebuild_run *run, struct rebuild_whole *whole)
{
    TM_CLEANUP(rebuild_words_release) struct rebuild_words w = {.spec = NULL};
    struct tm_err err;
    if (rebuild_words_read(&run->items[whole->item], &w, &err) < 0)
        return; /* it was read before: memory is out */
    const struct record *rec = &w.whole;
    const struct res *there = store_find(b, rec->kind, rec->namespace_, rec->name);
    bool is_it = there != NULL && strcmp(there->now.rec.uid, rec->uid) == 0;
    if (is_it || rebuild_known_uid(b, rec->uid)) {
        run->result.known++;
        whole->made = is_it && parts_is(there);
    } else if (whole->shown == 0) {
        return;
    } else if (there != NULL) {
        if (rec->log != NULL) /* backups get other names */
            rebuild_count(run, &run->result.conflicts, FIRST_CONFLICT, rec->name);
    } else if (rec->log == NULL || rebuild_log_fits(b, run, rec, w.spec)) {
        make_whole(b, run, whole, &w);
    }
}

/* ---- its parts ---- */

static bool lists(const struct res *whole, const char *tenant)
{
    const struct record *rec = &whole->now.rec;
    for (size_t at = 0; at < rec->parts_count; at++) {
        if (strcmp(rec->parts[at], tenant) == 0)
            return true;
    }
    return false;
}

static const struct res *part_in(const struct brain *b, const struct record *rec,
                                 const char *tenant)
{
    return store_find_part(b, rec->kind, rec->namespace_, rec->name, tenant);
}

/* The spec is that of the whole as it is. */
static void make_part(struct brain *b, struct rebuild_run *run, const struct res *whole,
                      const struct record *rec)
{
    TM_CLEANUP(view_freep) struct resource *spec = NULL;
    int r = view_parse(whole->now.rec.document, &spec, b->err);
    brain_check(b, r);
    if (r == 0)
        rebuild_make(b, run, rec, true, &spec);
}

void rebuild_merge_part(struct brain *b, struct rebuild_run *run, struct rebuild_item *item)
{
    TM_CLEANUP(rebuild_words_release) struct rebuild_words w = {.spec = NULL};
    struct tm_err err;
    if (!item->is_part || !run->wholes[item->whole].made)
        return;
    if (rebuild_words_read(item, &w, &err) < 0)
        return; /* it was read before: memory is out */
    struct record *rec = &w.rec;
    struct rebuild_item *backup = rebuild_backup_of(run, item, rec->backup_id);
    const struct res *whole = store_find(b, rec->kind, rec->namespace_, rec->name);
    if (backup != NULL && whole == NULL) /* refused: once that is mended, it comes back as a part */
        backup->settled = true;
    if (whole == NULL || !lists(whole, rec->part) || part_in(b, rec, rec->part) != NULL)
        return;
    if (rec->log == NULL)
        (void)rebuild_set_right(b, run, rec, backup);
    if ((rec->log != NULL) != (whole->now.rec.log != NULL))
        return;
    make_part(b, run, whole, rec);
    if (backup != NULL)
        backup->settled = true;
}

static void make_lost(struct brain *b, struct rebuild_run *run, const struct res *whole,
                      const char *tenant)
{
    static const char why[] = "nothing of it was found in storage when the list was rebuilt";
    const struct record *rec = &whole->now.rec;
    bool is_log = rec->log != NULL;
    struct log_record log = {.phase_us = rec->completed_us};
    struct msg_error error = {.code = TM_E_NOT_FOUND, .text = why, .since_us = rec->completed_us};
    struct record part = {.generation = 1,
                          .created_us = rec->created_us,
                          .phase = is_log ? PHASE_STOPPED : PHASE_FAILED,
                          .step = is_log ? JOB_STEP_STOP : 0,
                          .attempt = 1,
                          .round = rec->attempt,
                          .completed_us = rec->completed_us,
                          .log = is_log ? &log : NULL,
                          .error = is_log ? NULL : &error};
    COPY_TEXT(part.kind, rec->kind);
    COPY_TEXT(part.namespace_, rec->namespace_);
    COPY_TEXT(part.name, rec->name);
    COPY_TEXT(part.part, tenant);
    (void)snprintf(part.uid, sizeof(part.uid), "%016" PRIx64, b->rng.next(b->rng.arg));
    make_part(b, run, whole, &part);
}

bool rebuild_wholes_settled(const struct brain *b, const struct rebuild_run *run)
{
    for (size_t at = 0; at < b->lists.busy_count && run->whole_count > 0; at++) {
        const struct res *res = b->lists.busy[at];
        if (res->now.rec.rebuilt && res->staged && res->txn != 0)
            return false;
    }
    return true;
}

void rebuild_merge_lost(struct brain *b, struct rebuild_run *run, struct rebuild_whole *whole)
{
    TM_CLEANUP(rebuild_words_release) struct rebuild_words w = {.spec = NULL};
    struct tm_err err;
    if (!whole->made || rebuild_words_read(&run->items[whole->item], &w, &err) < 0)
        return;
    const struct res *res = store_find(b, w.whole.kind, w.whole.namespace_, w.whole.name);
    const struct record *rec = res != NULL ? &res->now.rec : NULL;
    if (rec == NULL || !rec->rebuilt || rec->deleting || !is_over(rec))
        return;
    for (size_t at = 0; at < rec->parts_count && !b->failed; at++) {
        if (part_in(b, rec, rec->parts[at]) == NULL)
            make_lost(b, run, res, rec->parts[at]);
    }
}
