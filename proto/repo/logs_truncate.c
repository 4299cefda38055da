/*
 * Taking log away. Happy path: the newest backup that is consistent at or before the wish is found →
 * what it and all later ones need of each lineage is added up → a truncation record is stored for
 * each lineage that loses log → chunks go, oldest first, then roll-ups and marks. From the record on
 * readers take that log for absent, so a crash at any step leaves what is promised as it was; the
 * next run removes what is left.
 *
 * Failure modes: a wish that would take from an older kept backup what lies behind its
 * consistent_at is refused; a running backup may yet list the log since it started, so the wish
 * reaches no further than its start. Objects that a manifest lists are passed over.
 */
#include <time.h>

#include "common/array.h"
#include "common/clock.h"
#include "proto/repo/logs_internal.h"
#include "proto/repo/sweep.h"

#define LISTED_MAX     8000000u
#define RUNNING_MAX_US (7 * USEC_PER_DAY) /* an unfinished backup older than this was given up */
#define UNNEEDED       UINT64_MAX

/* A chunk that a manifest lists. */
struct listed {
    uint8_t lineage[16];
    uint64_t from;
    struct epoch epoch;
};

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
    uint64_t *firsts;               /* of each branch: chunks that begin before go */
    struct listed *listed;          /* sorted */
    size_t listed_count;
    size_t listed_cap;
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

static int wish_read(struct truncater *t, struct tm_err *err)
{
    TM_CLEANUP(backup_list_release) struct backup_list backups = BACKUP_LIST_INIT;
    const struct log_truncate *wish = t->wish;
    t->until_us = wish->until_us != 0 ? wish->until_us : INT64_MAX;
    t->until = UINT64_MAX;
    if ((wish->until_us != 0) == (wish->until_position != NULL))
        return tm_err_set(err, TM_E_INVALID, "log is truncated until a time or a position");
    int r = wish->until_position != NULL ? t->positions->parse(wish->until_position, &t->until, err)
                                         : 0;
    if (r == 0)
        r = catalog_backups(t->backup_st, t->scope, &backups, err);
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

/* Whether the backup leads to every moment from the wish on, and to the newest lineage. Who wishes for
 * the backup's own moment means this one. */
static int before_wish(struct truncater *t, const struct log_backup *b, bool *ret,
                       struct tm_err *err)
{
    struct log_path path = LOG_PATH_INIT;
    *ret = false;
    bool later = b->settled_us > t->until_us && b->point.from_us != t->until_us;
    if (b->branch == SIZE_MAX || later || b->at > t->until)
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

/* The lowest byte of each branch that a kept backup needs. */
static void needs_add(struct truncater *t, const struct log_backup *b)
{
    if (b->branch == SIZE_MAX || (t->keeps != NULL && b->point.from_us < t->keeps->point.from_us))
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
    t->firsts = calloc(count + 1, sizeof(*t->firsts));
    if (t->cuts == NULL || t->firsts == NULL)
        return tm_err_oom(err);
    for (size_t i = 0; i < count; i++)
        t->cuts[i] = UNNEEDED;
    for (size_t i = 0; i < t->world.backup_count; i++)
        needs_add(t, &t->world.backups[i]);
    for (size_t i = 0; r == 0 && i < count; i++) {
        uint64_t wished = 0;
        bool ancestor = t->keeps != NULL && t->world.branches[i].current && t->cuts[i] == UNNEEDED;
        if (ancestor || (t->keeps != NULL && t->cuts[i] != UNNEEDED))
            continue; /* what lies before the backup's own branch leads nowhere any more */
        r = wished_byte(t, i, &wished, err);
        t->cuts[i] = TM_MIN(t->cuts[i], wished);
    }
    return r;
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

/* ---- what manifests list ---- */

static int by_name(const void *a, const void *b)
{
    const struct listed *x = a;
    const struct listed *y = b;
    int order = memcmp(x->lineage, y->lineage, sizeof(x->lineage));
    if (order == 0)
        order = (x->from > y->from) - (x->from < y->from);
    return order != 0 ? order : epoch_cmp(x->epoch, y->epoch);
}

static int listed_add(struct truncater *t, const struct log_ref *ref, struct tm_err *err)
{
    struct name_parts parts = names_parse_rel(ref->object);
    if (!ref->task || parts.kind != NAME_CHUNK)
        return 0;
    if (t->listed_count == LISTED_MAX)
        return tm_err_set(err, TM_E_LIMIT, "backups list more than %u chunks of log", LISTED_MAX);
    if (ARRAY_ROOM(t->listed, t->listed_count, t->listed_cap, 64, err) < 0)
        return -(int)err->code;
    struct listed *l = &t->listed[t->listed_count++];
    *l = (struct listed){.from = parts.from, .epoch = parts.epoch};
    memcpy(l->lineage, parts.lineage, sizeof(l->lineage));
    return 0;
}

static int listed_of(struct truncater *t, const char *backup_id, struct tm_err *err)
{
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct manifest_item item;
    int r = manifest_reader_open(&mr, t->scratches[0], t->backup_st, t->scope, backup_id, err);
    while (r >= 0 && (r = manifest_reader_next(&mr, &item, err)) > 0) {
        if (item.kind == MANIFEST_LOG)
            r = listed_add(t, &item.log, err);
    }
    manifest_reader_release(&mr);
    return r;
}

/* A damaged manifest may list anything: nothing is taken before it is repaired or deleted. */
static int listed_read(struct truncater *t, struct tm_err *err)
{
    TM_CLEANUP(backup_list_release) struct backup_list backups = BACKUP_LIST_INIT;
    int r = catalog_backups(t->backup_st, t->scope, &backups, err);
    for (size_t i = 0; r == 0 && i < backups.count; i++) {
        if (backups.items[i].state == BACKUP_COMMITTED)
            r = listed_of(t, backups.items[i].id, err);
    }
    if (r == 0 && t->listed_count > 0)
        qsort(t->listed, t->listed_count, sizeof(t->listed[0]), by_name);
    return r;
}

static bool is_listed(const struct truncater *t, const uint8_t lineage[16],
                      const struct log_place *place)
{
    struct listed key = {.from = place->from, .epoch = place->epoch};
    memcpy(key.lineage, lineage, sizeof(key.lineage));
    return t->listed_count > 0 &&
           bsearch(&key, t->listed, t->listed_count, sizeof(key), by_name) != NULL;
}

/* ---- removing ---- */

struct removal {
    struct truncater *t;
    char (*names)[STORAGE_NAME_MAX + 1];
    uint64_t sizes[SWEEP_BATCH];
    size_t count;
    bool counts; /* chunks are told, the rest is not */
};

static int removal_flush(struct removal *r, struct tm_err *err)
{
    const char *names[SWEEP_BATCH];
    for (size_t i = 0; i < r->count; i++)
        names[i] = r->names[i];
    int rc = r->t->wish->dry_run || r->count == 0
                 ? 0
                 : storage_remove(r->t->log_st, names, r->count, err);
    for (size_t i = 0; rc == 0 && r->counts && i < r->count; i++) {
        r->t->result.chunks++;
        r->t->result.bytes += r->sizes[i];
    }
    r->count = 0;
    return rc;
}

static int removal_add(struct removal *r, const struct storage_object *object, struct tm_err *err)
{
    memcpy(r->names[r->count], object->name, sizeof(object->name));
    r->sizes[r->count++] = object->size_bytes;
    return r->count == SWEEP_BATCH ? removal_flush(r, err) : 0;
}

/* Whether an object of the room lies before the cut as a whole: 1 = it does. */
typedef int (*removal_judge)(struct truncater *t, size_t branch, const struct log_place *place,
                             struct tm_err *err);

static int judge_mark(struct truncater *t, size_t branch, const struct log_place *place,
                      struct tm_err *err)
{
    (void)err;
    return t->cuts[branch] == UNNEEDED || place->from < t->cuts[branch];
}

static int judge_chunk(struct truncater *t, size_t branch, const struct log_place *place,
                       struct tm_err *err)
{
    (void)err;
    return place->from < t->firsts[branch] &&
           !is_listed(t, t->world.branches[branch].lineage->record.id, place);
}

/* Where the chunk begins that holds the cut: what counts and begins before it ends there. */
static int first_kept(struct truncater *t, size_t branch, uint64_t *ret, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct log_lineage *l = t->world.branches[branch].lineage;
    struct log_entry entry = {.from = 0};
    *ret = t->cuts[branch];
    if (*ret == UNNEEDED)
        return 0;
    int r = log_chain_open(t->scratches, t->log_st, t->scope, l, *ret, &chain, err);
    if (r == 0)
        r = log_chain_next(chain, &entry, err);
    if (r > 0)
        *ret = TM_MIN(*ret, entry.from);
    return r < 0 ? r : 0;
}

static int judge_index(struct truncater *t, size_t branch, const struct log_place *place,
                       struct tm_err *err)
{
    const struct lineage *l = &t->world.branches[branch].lineage->record;
    struct codec_arena arena = {0};
    struct log_index root;
    struct tm_err bad;
    if (t->cuts[branch] == UNNEEDED)
        return 1;
    struct rel_name rel = names_rel_log_index(l->id, place->from, place->epoch);
    int r = record_get(t->scratches[1], t->log_st, names_full(t->scope, rel.s).s, OBJECT_LOG_INDEX,
                       &log_index_codec, &arena, &root, &bad);
    codec_arena_release(&arena);
    if (r < 0 && bad.code != TM_E_NOT_FOUND && bad.code != TM_E_CORRUPT) {
        *err = bad;
        return r;
    }
    return r < 0 || root.to <= t->cuts[branch];
}

static int room_remove(struct truncater *t, size_t branch, const char *room, enum name_kind kind,
                       removal_judge judge, struct removal *removal, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    const struct lineage *l = &t->world.branches[branch].lineage->record;
    size_t base = strlen(names_full(t->scope, "").s);
    struct storage_object object;
    removal->count = 0;
    removal->counts = kind == NAME_CHUNK;
    int r = storage_list(t->log_st, names_log_prefix(t->scope, l->id, room).s, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) > 0) {
        struct name_parts parts = names_parse_rel(object.name + base);
        struct log_place place = {.from = parts.from, .epoch = parts.epoch};
        if (parts.kind != kind)
            continue;
        if (place.from >= t->cuts[branch])
            break;
        r = judge(t, branch, &place, err);
        if (r > 0)
            r = removal_add(removal, &object, err);
    }
    return r < 0 ? r : removal_flush(removal, err);
}

static int branch_remove(struct truncater *t, size_t branch, struct removal *removal,
                         struct tm_err *err)
{
    int r = first_kept(t, branch, &t->firsts[branch], err);
    if (r == 0)
        r = room_remove(t, branch, "chunk", NAME_CHUNK, judge_chunk, removal, err);
    if (r == 0)
        r = room_remove(t, branch, "index", NAME_LOG_INDEX, judge_index, removal, err);
    return r < 0 ? r : room_remove(t, branch, "mark", NAME_MARK, judge_mark, removal, err);
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
                                    .created_us = t->wish->now_us};
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
    if (branch != SIZE_MAX && t->cuts[branch] != UNNEEDED)
        t->positions->text(t->cuts[branch], t->result.truncated_position);
}

static int truncate_all(struct truncater *t, struct tm_err *err)
{
    TM_CLEANUP(freep)
    char(*names)[STORAGE_NAME_MAX + 1] = calloc(SWEEP_BATCH, sizeof(*names));
    struct removal removal = {.t = t, .names = names};
    if (names == NULL)
        return tm_err_oom(err);
    int r = find_keeps(t, err);
    if (r == 0)
        r = cuts_make(t, err);
    if (r == 0)
        r = older_check(t, err);
    if (r == 0)
        r = listed_read(t, err);
    if (r < 0)
        return r;
    result_of(t);
    if (!t->wish->dry_run)
        r = records_store(t, err);
    for (size_t i = 0; r == 0 && i < t->world.lineages.count; i++) {
        /* what an earlier run did not come to is absent as well */
        t->cuts[i] = TM_MAX(t->cuts[i], t->world.lineages.items[i].truncated);
        r = branch_remove(t, i, &removal, err);
    }
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
    int r = wish_read(&t, err);
    if (r == 0)
        r = log_world_read(scratches, log_st, backup_st, scope, NULL, &t.world, err);
    if (r == 0)
        r = truncate_all(&t, err);
    log_world_release(&t.world);
    free(t.cuts);
    free(t.firsts);
    free(t.listed);
    if (r == 0)
        *ret = t.result;
    return r;
}
