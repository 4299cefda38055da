/*
 * What is told of one backup. Happy path: its manifest's root. Failure modes: a manifest that cannot be
 * read makes the backup damaged, never absent; storage that does not answer is an error of the page.
 */
#include "agent/backup/backup.h"
#include "agent/stored/internal.h"
#include "common/clock.h"
#include "proto/repo/sweep.h"

#define CHECKPOINTS_LOOKED_MAX 64 /* objects that are opened to find one that can be gone on with */

/* Whether it is the object that is damaged, and not the way to it. */
static bool is_damage(const struct tm_err *err)
{
    return err->code == TM_E_CORRUPT || err->code == TM_E_UNSUPPORTED || err->code == TM_E_INVALID;
}

static int tell_committed(struct page *p, const char *id, struct msg_stored *item,
                          struct tm_err *err)
{
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct backup_totals totals = {.problem_count = 0};
    struct backup_totals_text text = {.path = ""};
    struct msg_totals message;
    int r = manifest_reader_open(&mr, p->scratch, p->st, &p->scope, id, err);
    if (r == 0)
        r = backup_totals_read(&mr, &totals, err);
    if (r < 0) {
        manifest_reader_release(&mr);
        item->state = STORED_DAMAGED;
        return is_damage(err) ? 0 : r;
    }
    const struct manifest *m = &mr.root;
    item->state = STORED_COMMITTED;
    item->started_us = m->started_us;
    item->completed_us = m->completed_us;
    item->ranges = m->ranges > 0 ? m->ranges - 1 : 0; /* the final one was not planned */
    (void)snprintf(item->node, sizeof(item->node), "%s", m->node);
    page_term(p, m->term);
    manifest_reader_release(&mr);
    backup_totals_message(&totals, p->st, &p->scope, id, &text, &message);
    item->totals = codec_arena_alloc(p->arena, sizeof(*item->totals), err);
    if (item->totals == NULL)
        return -(int)err->code;
    p->bytes += 512 * (size_t)(1 + totals.problem_count);
    return codec_copy(&msg_totals_codec, &message, p->arena, item->totals, err);
}

/* 1 = there is an object beside the tombstone. */
static int something_left(struct page *p, const char *id, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    size_t base = strlen(names_full(&p->scope, "").s);
    struct storage_object object;
    int r = storage_list(p->st, names_backup_prefix(&p->scope, id).s, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) > 0) {
        enum name_kind kind = names_parse_rel(object.name + base).kind;
        if (kind != NAME_DELETED && kind != NAME_OTHER)
            return 1;
    }
    return r;
}

static int tell_deleted(struct page *p, const char *id, struct msg_stored *item, struct tm_err *err)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct tombstone tombstone = {.deleted_us = 0};
    struct rel_name rel = names_rel_deleted(id);
    item->state = STORED_DELETED;
    int r = record_get(p->scratch, p->st, names_full(&p->scope, rel.s).s, OBJECT_TOMBSTONE,
                       &tombstone_codec, &arena, &tombstone, err);
    if (r < 0)
        return is_damage(err) ? 0 : r; /* who sweeps it knows what to make of that */
    item->until_us = tombstone.deleted_us + (int64_t)tombstone.grace_s * USEC_PER_SEC;
    page_term(p, tombstone.term);
    return 0;
}

static int tell_unfinished(struct page *p, const char *id, struct msg_stored *item,
                           struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    size_t base = strlen(names_full(&p->scope, "").s);
    struct storage_object object;
    int looked = 0;
    item->state = STORED_LEFTOVER;
    int r = storage_list(p->st, names_backup_below(&p->scope, id, "checkpoint/").s, NULL, &it, err);
    while (r >= 0 && looked < CHECKPOINTS_LOOKED_MAX &&
           (r = storage_iter_next(it, &object, err)) > 0) {
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct checkpoint checkpoint;
        struct name_parts parts = names_parse_rel(object.name + base);
        if (parts.kind != NAME_CHECKPOINT)
            continue;
        page_term(p, parts.epoch.term);
        looked++;
        r = record_get(p->scratch, p->st, object.name, OBJECT_CHECKPOINT, &checkpoint_codec, &arena,
                       &checkpoint, err);
        if (r < 0 && !is_damage(err) && err->code != TM_E_NOT_FOUND)
            return r;
        if (r == 0) {
            item->state = STORED_CHECKPOINT;
            item->started_us = checkpoint.started_us;
            (void)snprintf(item->node, sizeof(item->node), "%s", checkpoint.node);
            return 0;
        }
        r = 0;
    }
    return r < 0 ? r : 0;
}

int page_backup(struct page *p, const char *backup_id, struct tm_err *err)
{
    enum backup_state state;
    int r = catalog_backup_state(p->st, &p->scope, backup_id, &state, err);
    if (r == 0 && state == BACKUP_DELETED) {
        r = something_left(p, backup_id, err);
        if (r == 0)
            return 0;
    }
    struct msg_stored *item = r >= 0 ? page_item(p, err) : NULL;
    if (item == NULL)
        return -(int)err->code;
    (void)snprintf(item->backup_id, sizeof(item->backup_id), "%s", backup_id);
    switch (state) {
    case BACKUP_COMMITTED:
        return tell_committed(p, backup_id, item, err);
    case BACKUP_DELETED:
        return tell_deleted(p, backup_id, item, err);
    case BACKUP_UNFINISHED:
        break;
    }
    return tell_unfinished(p, backup_id, item, err);
}
