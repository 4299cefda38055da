/*
 * Taking log away. Happy path: the newest backup that is consistent at or before the wish is found →
 * what it and all later ones need of each lineage is added up → a truncation record is stored for
 * each lineage that loses log → what records took away whose grace is over is removed (logs_remove.c).
 * From the record on readers take that log for absent, so a crash at any step leaves what is promised
 * as it was; the next run, or a sweep, removes what is left.
 *
 * Failure modes: a wish that would take from an older kept backup what lies behind its
 * consistent_at is refused, and so is any while the backups of another storage cannot be read; a
 * running backup may yet list the log since it started, so the wish reaches no further than its start.
 * Objects that a manifest lists are passed over. A damaged lineage is left alone and told. It may lead on from
 * any other, so of each one the newest backup before the wish keeps what it needs; and a backup that joins
 * nothing may lie on it, and go on into what follows it.
 */
#include <time.h>

#include "common/array.h"
#include "common/clock.h"
#include "proto/repo/logs_remove.h"

#define RUNNING_MAX_US (7 * USEC_PER_DAY) /* an unfinished backup older than this was given up */
#define UNNEEDED       UINT64_MAX

struct truncater {
    struct object_scratch **scratches;
    struct storage *log_st;
    struct storage *backup_st;
    const struct repo_scope *scope;
    const struct log_positions *positions;
    const struct log_truncate *wish;
    const uint8_t *nonce;
    struct log_world world;
    int64_t until_us;               /* INT64_MAX = the wish is a position, and nothing runs */
    bool running;                   /* a backup does, and may list log from its start on */
    uint64_t until;                 /* UINT64_MAX = the wish is a time */
    const struct log_backup *keeps; /* the newest at or before the wish; NULL = none */
    uint64_t *cuts;                 /* of each branch: log before goes */
    struct log_remover remover;
    struct log_truncate_result result;
};

/* ---- what a wish means ---- */

/* "20261121T100203Z-…" */
static int64_t backup_start_us(const char *id)
{
    struct tm utc = {0};
    if (strptime(id, "%Y%m%dT%H%M%SZ", &utc) == NULL)
        return INT64_MAX;
    return (int64_t)timegm(&utc) * USEC_PER_SEC;
}

/* A running backup may yet list what was stored since it began. */
static int running_read(struct truncater *t, struct storage *st, struct tm_err *err)
{
    TM_CLEANUP(backup_list_release) struct backup_list backups = BACKUP_LIST_INIT;
    const struct log_truncate *wish = t->wish;
    int r = catalog_backups(st, t->scope, &backups, err);
    for (size_t i = 0; r == 0 && i < backups.count; i++) {
        int64_t start_us = backup_start_us(backups.items[i].id);
        if (backups.items[i].state != BACKUP_UNFINISHED ||
            start_us <= wish->now_us - RUNNING_MAX_US)
            continue;
        t->running = true;
        t->until_us = TM_MIN(t->until_us, start_us);
    }
    return r;
}

static int wish_read(struct truncater *t, struct tm_err *err)
{
    const struct log_truncate *wish = t->wish;
    t->until_us = wish->until_us != 0 ? wish->until_us : INT64_MAX;
    t->until = UINT64_MAX;
    if ((wish->until_us != 0) == (wish->until_position != NULL))
        return tm_err_set(err, TM_E_INVALID, "log is truncated until a time or a position");
    int r = wish->until_position != NULL ? t->positions->parse(wish->until_position, &t->until, err)
                                         : 0;
    return r < 0 ? r : running_read(t, t->backup_st, err);
}

/* Who wishes for the backup's own moment means this one. */
static bool is_behind_wish(const struct truncater *t, const struct log_backup *b)
{
    bool later = b->settled_us > t->until_us && b->point.from_us != t->until_us;
    return later || b->at > t->until;
}

/* Whether the backup leads to every moment from the wish on, and to the newest lineage. */
static int before_wish(struct truncater *t, const struct log_backup *b, bool *ret,
                       struct tm_err *err)
{
    struct log_path path = LOG_PATH_INIT;
    *ret = false;
    if (b->branch == SIZE_MAX || is_behind_wish(t, b))
        return 0;
    int r = log_path_find(&t->world, b, log_world_current(&t->world), &path, err);
    *ret = r == 0 && path.count > 0;
    log_path_release(&path);
    return r;
}

static int find_keeps(struct truncater *t, struct tm_err *err)
{
    for (size_t i = t->world.backup_count; i-- > 0 && t->keeps == NULL;) {
        bool before = false;
        int r = before_wish(t, &t->world.backups[i], &before, err);
        if (r < 0)
            return r;
        if (before)
            t->keeps = &t->world.backups[i];
    }
    return 0;
}

/* Whether the way from the backup leads into the branch at all, stored or not. */
static bool leads_into(const struct log_world *w, const struct log_backup *b, size_t branch)
{
    for (size_t i = branch; i != SIZE_MAX; i = w->branches[i].parent) {
        if (i == b->branch)
            return true;
        if (w->branches[i].parent == b->branch && w->branches[i].lineage->record.fork < b->at)
            return false;
    }
    return false;
}

/* ---- damaged lineages ---- */

/* Not one that lost its end: what is there of it is whole. */
static const struct log_damage *damage_first(const struct log_world *w)
{
    for (size_t i = 0; i < w->damages.count; i++) {
        if (w->damages.items[i].lost_to == 0)
            return &w->damages.items[i];
    }
    return NULL;
}

/* The damaged lineage that leads into the branch; NULL = none does. */
static const struct log_damage *damage_before(const struct log_world *w, size_t branch)
{
    for (size_t at = branch; at != SIZE_MAX; at = w->branches[at].parent) {
        for (size_t i = 0; i < w->damages.count; i++) {
            const struct log_damage *d = &w->damages.items[i];
            if (d->lost_to == 0 &&
                memcmp(d->lineage, w->branches[at].lineage->record.parent, 16) == 0)
                return d;
        }
    }
    return NULL;
}

/* Of its branch the newest before the wish: the damaged lineage may lead on from it. */
static bool may_lead_to_damage(const struct truncater *t, const struct log_backup *b)
{
    if (damage_first(&t->world) == NULL || is_behind_wish(t, b))
        return false;
    for (const struct log_backup *c = b + 1; c < t->world.backups + t->world.backup_count; c++) {
        if (c->branch == b->branch && !is_behind_wish(t, c))
            return false;
    }
    return true;
}

static void damage_tell(struct truncater *t)
{
    const struct log_damage *d = damage_first(&t->world);
    char text[33];
    if (d == NULL)
        return;
    names_lineage_text(d->lineage, text);
    (void)snprintf(t->result.damage, sizeof(t->result.damage),
                   "lineage %s is damaged, and left alone: %s", text, d->text);
}

/* ---- what is needed ---- */

/* The lowest byte of each branch that a kept backup needs. */
static void needs_add(struct truncater *t, const struct log_backup *b)
{
    if (b->branch == SIZE_MAX || (t->keeps != NULL && b->point.from_us < t->keeps->point.from_us &&
                                  !may_lead_to_damage(t, b)))
        return;
    t->cuts[b->branch] = TM_MIN(t->cuts[b->branch], b->log_from);
    for (size_t i = b->branch + 1; i < t->world.lineages.count; i++) {
        if (leads_into(&t->world, b, i))
            t->cuts[i] = 0;
    }
}

/* The newest chunk of the branch that is written to stays: a writer proves itself by it. */
static int spare_newest(struct truncater *t, size_t branch, uint64_t *cut, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_branch *b = &t->world.branches[branch];
    struct log_entry e = {.from = 0};
    if (b->run_count == 0)
        return 0;
    int r = log_chain_open(t->scratches, t->log_st, t->scope, b->lineage,
                           b->runs[b->run_count - 1].to - 1, &chain, err);
    if (r == 0)
        r = log_chain_next(chain, &e, err);
    if (r > 0)
        *cut = TM_MIN(*cut, e.from);
    return r < 0 ? r : 0;
}

/* Where the log of a branch passes the wished time: all before is older. */
static int timed_byte(struct truncater *t, size_t branch, uint64_t *ret, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_branch *b = &t->world.branches[branch];
    const uint64_t segment = b->lineage->record.segment_bytes;
    struct log_entry e = {.from = 0};
    uint64_t passed = 0;
    int r = log_chain_open(t->scratches, t->log_st, t->scope, b->lineage, 0, &chain, err);
    while (r >= 0 && (r = log_chain_next(chain, &e, err)) > 0) {
        int64_t us = TM_MAX(e.max_us, e.mark_us);
        if (us > t->until_us)
            break;
        if (us != 0)
            passed = e.to;
    }
    if (r < 0)
        return r;
    /* a running backup needs log from the segment on that was written when it began */
    if (t->running && segment != 0)
        passed -= passed % segment;
    /* a branch that was left, and is older as a whole */
    *ret = r == 0 && !b->current && passed != 0 ? UNNEEDED : passed;
    return 0;
}

static int wished_byte(struct truncater *t, size_t branch, uint64_t *ret, struct tm_err *err)
{
    const struct log_branch *b = &t->world.branches[branch];
    uint64_t wished = UNNEEDED, timed = UNNEEDED;
    int r = 0;
    if (t->until != UINT64_MAX)
        wished = b->current ? t->until : 0;
    if (t->until_us != INT64_MAX)
        r = timed_byte(t, branch, &timed, err);
    if (r < 0)
        return r;
    *ret = TM_MIN(wished, timed);
    return b->current ? spare_newest(t, branch, ret, err) : 0;
}

static int cuts_make(struct truncater *t, struct tm_err *err)
{
    size_t count = t->world.lineages.count;
    int r = 0;
    t->cuts = calloc(count + 1, sizeof(*t->cuts));
    if (t->cuts == NULL)
        return tm_err_oom(err);
    for (size_t i = 0; i < count; i++)
        t->cuts[i] = UNNEEDED;
    for (size_t i = 0; i < t->world.backup_count; i++)
        needs_add(t, &t->world.backups[i]);
    for (size_t i = 0; r == 0 && i < count; i++) {
        uint64_t wished = 0;
        if (t->world.branches[i].damaged) {
            t->cuts[i] = 0;
            continue;
        }
        bool ancestor = t->keeps != NULL && t->world.branches[i].current && t->cuts[i] == UNNEEDED;
        if (ancestor || (t->keeps != NULL && t->cuts[i] != UNNEEDED))
            continue; /* what lies before the backup's own branch leads nowhere any more */
        r = wished_byte(t, i, &wished, err);
        t->cuts[i] = TM_MIN(t->cuts[i], wished);
    }
    return r;
}

/* ---- backups elsewhere ---- */

static int away(const struct log_source *source, const struct tm_err *why, struct tm_err *err)
{
    if (log_is_own_trouble(why)) {
        *err = *why;
        return -(int)err->code;
    }
    return tm_err_set(
        err, TM_E_REFUSED,
        "backups in '%s' cannot be read now, and may need the log: try again later, or "
        "force: %s",
        source->name, why->msg);
}

/* What lies there is known as well as what lies beside the log; else only by force. A damaged manifest
 * hides what its backup needs. */
static int others_check(struct truncater *t, struct tm_err *err)
{
    for (size_t i = 0; !t->wish->force && i < t->wish->other_count; i++) {
        const struct log_source *source = &t->wish->others[i];
        struct log_remover look = {.scratches = t->scratches,
                                   .backup_st = source->st,
                                   .scope = t->scope,
                                   .now_us = t->wish->now_us};
        struct tm_err why = source->why;
        int r = source->away ? -(int)why.code : log_remover_listed(&look, &why);
        log_remover_release(&look);
        if (r < 0)
            return away(source, &why, err);
    }
    return 0;
}

/* Like those of the log's own storage: before finished ones are looked at, so that none is missed. */
static int others_running(struct truncater *t, struct tm_err *err)
{
    for (size_t i = 0; i < t->wish->other_count; i++) {
        const struct log_source *source = &t->wish->others[i];
        struct tm_err why = source->why;
        bool read = source->st != NULL && running_read(t, source->st, &why) == 0;
        if (!read && (!t->wish->force || log_is_own_trouble(&why)))
            return away(source, &why, err);
    }
    return 0;
}

/* The backup joins nothing that can be read: what follows a damaged lineage may be its way on. */
static int unjoined_check(const struct truncater *t, const struct log_backup *b, struct tm_err *err)
{
    char text[33];
    for (size_t i = 0; i < t->world.lineages.count; i++) {
        const struct log_lineage *l = &t->world.lineages.items[i];
        bool loses = t->cuts[i] > TM_MAX(l->truncated, l->record.from);
        const struct log_damage *d = loses ? damage_before(&t->world, i) : NULL;
        if (d == NULL)
            continue;
        names_lineage_text(d->lineage, text);
        return tm_err_set(err, TM_E_REFUSED,
                          "backup '%s' may lie on lineage %s, which is damaged, and need the log "
                          "that follows it: delete it first, or force",
                          b->point.backup_id, text);
    }
    return 0;
}

/* Older backups lose the way on: only by force. */
static int older_check(const struct truncater *t, struct tm_err *err)
{
    if (!t->wish->force && t->world.backup_count == 0)
        return tm_err_set(
            err, TM_E_REFUSED,
            "'%s' holds no finished backup of %s/%s: what those that lie elsewhere need "
            "is not known; take one into it, or force",
            t->backup_st->display, t->scope->cluster, t->scope->tenant);
    for (size_t i = 0; !t->wish->force && i < t->world.backup_count; i++) {
        const struct log_backup *b = &t->world.backups[i];
        char time[CLOCK_TEXT_MAX];
        char position[FORMAT_POSITION_MAX];
        if (b->branch == SIZE_MAX) {
            int r = unjoined_check(t, b, err);
            if (r < 0)
                return r;
        }
        if (b->branch == SIZE_MAX || t->cuts[b->branch] <= b->log_from)
            continue;
        t->positions->text(b->log_from, position);
        return tm_err_set(err, TM_E_REFUSED,
                          "backup '%s', consistent at %s, needs the log from %s on: delete it "
                          "first, or force",
                          b->point.backup_id, clock_format(b->point.from_us, time), position);
    }
    return 0;
}

/* ---- records ---- */

static int next_seq(struct truncater *t, uint32_t *ret, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct log_place place;
    uint32_t seq = 0;
    int r = storage_list(t->log_st, names_full(t->scope, "truncate/").s, NULL, &it, err);
    while (r >= 0 && (r = log_room_next(it, t->scope, NAME_TRUNCATE, &place, err)) > 0) {
        if (epoch_cmp(place.epoch, t->wish->epoch) == 0)
            seq = place.number + 1;
    }
    if (r == 0)
        *ret = seq;
    return r;
}

/* The grace counts from when readers can see the record, and not from when the wish was read. */
static int64_t now_us(const struct truncater *t)
{
    const struct log_truncate *wish = t->wish;
    return wish->clock_us != NULL ? TM_MAX(wish->now_us, wish->clock_us()) : wish->now_us;
}

static int records_store(struct truncater *t, struct tm_err *err)
{
    uint32_t seq = 0;
    int r = next_seq(t, &seq, err);
    for (size_t i = 0; r == 0 && i < t->world.lineages.count; i++) {
        const struct log_lineage *l = &t->world.lineages.items[i];
        struct object_info info;
        struct truncation record = {.from = t->cuts[i],
                                    .until_us = t->result.truncated_us,
                                    .term = t->wish->epoch.term,
                                    .counter = t->wish->epoch.counter,
                                    .created_us = now_us(t)};
        if (t->cuts[i] <= l->truncated)
            continue;
        memcpy(record.lineage, l->record.id, sizeof(record.lineage));
        memcpy(record.until_position, t->result.truncated_position, sizeof(record.until_position));
        (void)snprintf(record.node, sizeof(record.node), "%s",
                       t->wish->node != NULL ? t->wish->node : "");
        struct rel_name rel = names_rel_truncate(t->wish->epoch, seq++);
        r = record_put(t->scratches[0], t->log_st, names_full(t->scope, rel.s).s, OBJECT_TRUNCATION,
                       t->nonce, &truncation_codec, &record, &info, err);
    }
    return r;
}

/* ---- all of it ---- */

static void result_of(struct truncater *t)
{
    size_t branch = t->keeps != NULL ? t->keeps->branch : log_world_current(&t->world);
    t->result.truncated_us = t->until_us;
    if (t->wish->until_us == 0)
        t->result.truncated_us = t->keeps != NULL ? t->keeps->point.from_us : 0;
    if (branch != SIZE_MAX && t->cuts[branch] != UNNEEDED && !t->world.branches[branch].damaged)
        t->positions->text(t->cuts[branch], t->result.truncated_position);
}

/* What would go when every grace is over: what an earlier run did not come to as well. */
static int removal_try(struct truncater *t, struct tm_err *err)
{
    for (size_t i = 0; i < t->world.lineages.count; i++) {
        if (!t->world.branches[i].damaged)
            t->cuts[i] = TM_MAX(t->cuts[i], t->world.lineages.items[i].truncated);
    }
    t->remover.cuts = t->cuts;
    t->remover.dry_run = true;
    return log_remover_run(&t->remover, err);
}

static int truncate_all(struct truncater *t, struct tm_err *err)
{
    struct log_remover *remover = &t->remover;
    int r = others_check(t, err);
    if (r == 0)
        r = find_keeps(t, err);
    if (r == 0)
        r = cuts_make(t, err);
    if (r == 0)
        r = older_check(t, err);
    if (r == 0) /* a manifest that cannot be read refuses here, and not when it is too late */
        r = log_remover_listed(remover, err);
    if (r < 0)
        return r;
    result_of(t);
    damage_tell(t);
    if (t->wish->dry_run) {
        r = removal_try(t, err);
    } else {
        r = records_store(t, err);
        if (r == 0)
            r = log_remover_due(remover, now_us(t), t->wish->grace_us, &t->result.next_us, err);
    }
    t->result.chunks = remover->chunks;
    t->result.bytes = remover->bytes;
    return r;
}

int log_truncate_run(struct object_scratch *scratches[3], struct storage *log_st,
                     struct storage *backup_st, const struct repo_scope *scope,
                     const struct log_positions *positions, const struct log_truncate *wish,
                     const uint8_t nonce[OBJECT_NONCE_BYTES], struct log_truncate_result *ret,
                     struct tm_err *err)
{
    struct truncater t = {.scratches = scratches,
                          .log_st = log_st,
                          .backup_st = backup_st,
                          .scope = scope,
                          .positions = positions,
                          .wish = wish,
                          .nonce = nonce};
    t.remover = (struct log_remover){.scratches = scratches,
                                     .log_st = log_st,
                                     .backup_st = backup_st,
                                     .scope = scope,
                                     .lineages = &t.world.lineages,
                                     .now_us = wish->now_us};
    int r = wish_read(&t, err);
    if (r == 0)
        r = others_running(&t, err);
    if (r == 0)
        r = log_world_read_all(scratches, log_st, backup_st, scope, NULL, wish->others,
                               wish->other_count, &t.world, err);
    if (r == 0)
        r = truncate_all(&t, err);
    log_world_release(&t.world);
    free(t.cuts);
    log_remover_release(&t.remover);
    if (r == 0)
        *ret = t.result;
    return r;
}
