/*
 * Lineages and what lies beside their chunks: writers that fence, marks that tell the time.
 * Happy path: names are listed, the few records behind them read. Failure modes: a lineage without
 * its record does not exist yet, or, when log lies there, has lost it; what is there and cannot be read is
 * an error to writers, because a fence that is overlooked would let a stale one's log count. Readers are
 * told which lineage is damaged, and do without it.
 */
#include "proto/repo/logs.h"

#include "common/array.h"
#include "proto/repo/logs_internal.h"

/* ---- names ---- */

int log_places_add(struct log_places *places, const struct log_place *place, size_t max,
                   const char *what, struct tm_err *err)
{
    if (places->count == max)
        return tm_err_set(err, TM_E_LIMIT, "more than %zu %s", max, what);
    if (ARRAY_ROOM(places->items, places->count, places->cap, 64, err) < 0)
        return -(int)err->code;
    places->items[places->count++] = *place;
    return 0;
}

void log_places_release(struct log_places *places)
{
    free(places->items);
    *places = (struct log_places){.items = NULL};
}

int log_room_next(struct storage_iter *it, const struct repo_scope *scope, enum name_kind kind,
                  struct log_place *ret, struct tm_err *err)
{
    size_t base = strlen(names_full(scope, "").s);
    struct storage_object object;
    int r;
    while ((r = storage_iter_next(it, &object, err)) > 0) {
        struct name_parts parts = names_parse_rel(object.name + base);
        if (parts.kind != kind)
            continue;
        *ret = (struct log_place){.from = parts.from, .epoch = parts.epoch, .number = parts.number};
        return 1;
    }
    return r;
}

void log_entry_ref(const struct lineage *lineage, const struct log_entry *entry,
                   struct log_ref *ret)
{
    struct rel_name name =
        names_rel_chunk(lineage->id, entry->from, (struct epoch){entry->term, entry->counter});
    *ret = (struct log_ref){.stored_bytes = entry->stored_bytes,
                            .raw_bytes = entry->raw_bytes,
                            .from = entry->from,
                            .to = entry->to,
                            .task = true};
    memcpy(ret->object, name.s, sizeof(ret->object));
    memcpy(ret->digest, entry->digest, sizeof(ret->digest));
    memcpy(ret->lineage, lineage->id, sizeof(ret->lineage));
    memcpy(ret->label, lineage->label, sizeof(ret->label));
}

/* ---- writers ---- */

static int fence_names(struct storage *st, const struct repo_scope *scope,
                       const uint8_t lineage[16], struct log_places *ret, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct log_place place;
    int r = storage_list(st, names_log_prefix(scope, lineage, "writer").s, NULL, &it, err);
    while (r >= 0 && (r = log_room_next(it, scope, NAME_WRITER, &place, err)) > 0)
        r = log_places_add(ret, &place, LOGS_WRITERS_MAX, "writers of one lineage", err);
    return r;
}

int log_fence_read(struct object_scratch *scratch, struct storage *st,
                   const struct repo_scope *scope, const uint8_t lineage[16], struct log_fence *ret,
                   struct tm_err *err)
{
    TM_CLEANUP(log_places_release) struct log_places names = {.count = 0};
    TM_CLEANUP(log_fence_release) struct log_fence fence = LOG_FENCE_INIT;
    int r = fence_names(st, scope, lineage, &names, err);
    if (r < 0)
        return r;
    fence.epochs = calloc(names.count + 1, sizeof(*fence.epochs));
    fence.limits = calloc(names.count + 1, sizeof(*fence.limits));
    if (fence.epochs == NULL || fence.limits == NULL)
        return tm_err_oom(err);
    for (size_t i = 0; i < names.count; i++) {
        struct codec_arena arena = {0}; /* stays empty: the record has fixed fields only */
        struct log_writer writer;
        struct rel_name rel = names_rel_writer(lineage, names.items[i].epoch);
        r = record_get(scratch, st, names_full(scope, rel.s).s, OBJECT_WRITER, &log_writer_codec,
                       &arena, &writer, err);
        codec_arena_release(&arena);
        if (r < 0)
            return r;
        fence.epochs[i] = names.items[i].epoch;
        fence.limits[i] = writer.from;
    }
    fence.count = names.count;
    for (size_t i = fence.count; i-- > 1;)
        fence.limits[i - 1] = TM_MIN(fence.limits[i - 1], fence.limits[i]);
    *ret = fence;
    fence = LOG_FENCE_INIT;
    return 0;
}

int log_gap_read(struct object_scratch *scratch, struct storage *st, const struct repo_scope *scope,
                 const uint8_t lineage[16], uint64_t to, uint64_t *ret_from, struct tm_err *err)
{
    TM_CLEANUP(log_places_release) struct log_places names = {.count = 0};
    int r = fence_names(st, scope, lineage, &names, err);
    for (size_t i = names.count; r == 0 && i-- > 0;) {
        struct codec_arena arena = {0}; /* stays empty */
        struct log_writer writer;
        struct rel_name rel = names_rel_writer(lineage, names.items[i].epoch);
        r = record_get(scratch, st, names_full(scope, rel.s).s, OBJECT_WRITER, &log_writer_codec,
                       &arena, &writer, err);
        codec_arena_release(&arena);
        if (r == 0 && writer.gap && writer.from == to) {
            *ret_from = writer.gap_from;
            return 1;
        }
    }
    return r;
}

uint64_t log_fence_limit(const struct log_fence *fence, struct epoch epoch)
{
    size_t low;
    ARRAY_LOWER_BOUND(low, fence->count, at, epoch_cmp(fence->epochs[at], epoch) <= 0);
    return low == fence->count ? UINT64_MAX : fence->limits[low];
}

uint64_t log_fence_from(const struct log_fence *fence, struct epoch epoch)
{
    for (size_t i = 0; i < fence->count; i++) {
        if (epoch_cmp(fence->epochs[i], epoch) == 0)
            return fence->limits[i];
    }
    return UINT64_MAX;
}

void log_fence_release(struct log_fence *fence)
{
    free(fence->epochs);
    free(fence->limits);
    *fence = LOG_FENCE_INIT;
}

/* ---- lineages ---- */

void log_lineages_release(struct log_lineages *l)
{
    free(l->items);
    codec_arena_release(&l->arena);
    *l = LOG_LINEAGES_INIT;
}

const struct log_lineage *log_lineages_find(const struct log_lineages *l, const uint8_t id[16])
{
    for (size_t i = 0; i < l->count; i++) {
        if (memcmp(l->items[i].record.id, id, 16) == 0)
            return &l->items[i];
    }
    return NULL;
}

/* ---- lineages that are damaged ---- */

void log_damages_release(struct log_damages *damages)
{
    free(damages->items);
    *damages = LOG_DAMAGES_INIT;
}

/* The first chunk's place and the newest writer, by their names alone. */
static int damage_names(struct storage *st, const struct repo_scope *scope,
                        struct log_damage *damage, bool *ret_stored, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    TM_CLEANUP(storage_iter_freep) struct storage_iter *writers = NULL;
    struct log_place place = {.from = 0};
    int r = storage_list(st, names_log_prefix(scope, damage->lineage, "chunk").s, NULL, &it, err);
    if (r == 0)
        r = log_room_next(it, scope, NAME_CHUNK, &place, err);
    if (r < 0)
        return r;
    damage->from = r > 0 ? place.from : 0;
    *ret_stored = r > 0;
    r = storage_list(st, names_log_prefix(scope, damage->lineage, "writer").s, NULL, &writers, err);
    while (r >= 0 && (r = log_room_next(writers, scope, NAME_WRITER, &place, err)) > 0) {
        *ret_stored = true;
        if (epoch_cmp(place.epoch, damage->writer) > 0)
            damage->writer = place.epoch;
    }
    return r;
}

int log_damages_add(struct log_damages *damages, struct storage *st, const struct repo_scope *scope,
                    const uint8_t lineage[16], const struct tm_err *why, struct tm_err *err)
{
    struct log_damage damage = {.no_record = why == NULL};
    bool stored = false;
    memcpy(damage.lineage, lineage, sizeof(damage.lineage));
    (void)snprintf(damage.text, sizeof(damage.text), "%.*s", (int)sizeof(damage.text) - 1,
                   why != NULL ? why->msg : "");
    if (why == NULL)
        (void)snprintf(damage.text, sizeof(damage.text),
                       "object '%.250s' is missing, log lies there",
                       names_full(scope, names_rel_lineage(lineage).s).s);
    int r = damage_names(st, scope, &damage, &stored, err);
    if (r < 0 || (why == NULL && !stored)) /* of a lineage that is just made */
        return r;
    if (ARRAY_ROOM(damages->items, damages->count, damages->cap, 4, err) < 0)
        return -(int)err->code;
    damages->items[damages->count++] = damage;
    return 0;
}

int log_damages_lost(struct log_damages *damages, const uint8_t lineage[16], uint64_t from,
                     uint64_t to, struct epoch writer, struct tm_err *err)
{
    struct log_damage damage = {.from = from, .lost_to = to, .writer = writer};
    memcpy(damage.lineage, lineage, sizeof(damage.lineage));
    (void)snprintf(damage.text, sizeof(damage.text), "its newest log, which was stored, is gone");
    if (ARRAY_ROOM(damages->items, damages->count, damages->cap, 4, err) < 0)
        return -(int)err->code;
    damages->items[damages->count++] = damage;
    return 0;
}

void log_damages_say(struct log_damages *damages, const struct log_positions *positions)
{
    for (size_t i = 0; i < damages->count; i++) {
        struct log_damage *d = &damages->items[i];
        char from[FORMAT_POSITION_MAX], to[FORMAT_POSITION_MAX];
        if (d->lost_to == 0)
            continue;
        positions->text(d->from, from);
        positions->text(d->lost_to, to);
        (void)snprintf(d->text, sizeof(d->text),
                       "log from %s to %s, which was stored, is missing or damaged", from, to);
    }
}

/* Reads one lineage's record; one that is not there yet is passed over. `damages` NULL: damage is an
 * error. */
static int lineage_add(struct object_scratch *scratch, struct storage *st,
                       const struct repo_scope *scope, const char *text, struct log_lineages *list,
                       struct log_damages *damages, struct tm_err *err)
{
    uint8_t id[16];
    if (!names_lineage_parse(text, id))
        return 0; /* not ours */
    if (list->count == LOGS_LINEAGES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u lineages", LOGS_LINEAGES_MAX);
    struct rel_name rel = names_rel_lineage(id);
    struct full_name name = names_full(scope, rel.s);
    struct log_lineage *item = &list->items[list->count];
    struct tm_err why;
    *item = (struct log_lineage){.truncated = 0};
    int r = record_get(scratch, st, name.s, OBJECT_LINEAGE, &lineage_codec, &list->arena,
                       &item->record, &why);
    if (r == 0 && memcmp(item->record.id, id, sizeof(id)) != 0)
        r = tm_err_set(&why, TM_E_CORRUPT, "object '%s': it is another lineage's", name.s);
    if (r == 0) {
        list->count++;
        return 0;
    }
    if (why.code == TM_E_NOT_FOUND)
        return damages != NULL ? log_damages_add(damages, st, scope, id, NULL, err) : 0;
    if (why.code == TM_E_CORRUPT && damages != NULL)
        return log_damages_add(damages, st, scope, id, &why, err);
    *err = why;
    return r;
}

/* ---- truncations ---- */

int log_truncations_each(struct object_scratch *scratch, struct storage *st,
                         const struct repo_scope *scope,
                         void (*fn)(void *arg, const struct truncation *record), void *arg,
                         struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    size_t base = strlen(names_full(scope, "").s);
    int r = storage_list(st, names_full(scope, "truncate/").s, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) > 0) {
        struct codec_arena arena = {0};
        struct truncation record;
        if (names_parse_rel(object.name + base).kind != NAME_TRUNCATE)
            continue;
        r = record_get(scratch, st, object.name, OBJECT_TRUNCATION, &truncation_codec, &arena,
                       &record, err);
        if (r == 0)
            fn(arg, &record);
        codec_arena_release(&arena);
    }
    return r;
}

static void truncation_apply(void *arg, const struct truncation *t)
{
    struct log_lineages *list = arg;
    for (size_t i = 0; i < list->count; i++) {
        struct log_lineage *l = &list->items[i];
        if (memcmp(l->record.id, t->lineage, 16) != 0 || t->from < l->truncated)
            continue;
        l->truncated = t->from;
        l->truncated_us = t->until_us;
        memcpy(l->truncated_position, t->until_position, sizeof(t->until_position));
    }
}

static int by_creation(const void *a, const void *b)
{
    const struct lineage *x = &((const struct log_lineage *)a)->record;
    const struct lineage *y = &((const struct log_lineage *)b)->record;
    if (x->created_us != y->created_us)
        return x->created_us < y->created_us ? -1 : 1;
    return memcmp(x->id, y->id, sizeof(x->id));
}

/* Moves what comes before its parent behind it: clocks of two hosts need not agree. */
static void parents_first(struct log_lineages *list)
{
    for (size_t i = 0, moves = 0; i < list->count && moves < list->count * list->count;) {
        size_t parent = i + 1;
        while (parent < list->count &&
               memcmp(list->items[parent].record.id, list->items[i].record.parent, 16) != 0)
            parent++;
        if (parent >= list->count) {
            i++;
            continue;
        }
        struct log_lineage child = list->items[i];
        memmove(&list->items[i], &list->items[i + 1], (parent - i) * sizeof(child));
        list->items[parent] = child;
        moves++;
    }
}

int log_lineages_read(struct object_scratch *scratch, struct storage *st,
                      const struct repo_scope *scope, struct log_lineages *ret, struct tm_err *err)
{
    return log_lineages_look(scratch, st, scope, ret, NULL, err);
}

int log_lineages_look(struct object_scratch *scratch, struct storage *st,
                      const struct repo_scope *scope, struct log_lineages *ret,
                      struct log_damages *damages, struct tm_err *err)
{
    TM_CLEANUP(name_list_release) struct name_list names = NAME_LIST_INIT;
    TM_CLEANUP(log_lineages_release) struct log_lineages list = LOG_LINEAGES_INIT;
    int r = catalog_children(st, names_logs_prefix(scope).s, &names, err);
    if (r < 0)
        return r;
    list.items = calloc(TM_MIN(names.count, LOGS_LINEAGES_MAX) + 1, sizeof(*list.items));
    if (list.items == NULL)
        return tm_err_oom(err);
    for (size_t i = 0; r == 0 && i < names.count; i++)
        r = lineage_add(scratch, st, scope, names.items[i], &list, damages, err);
    if (r == 0)
        r = log_truncations_each(scratch, st, scope, truncation_apply, &list, err);
    if (r < 0)
        return r;
    if (list.count > 0)
        qsort(list.items, list.count, sizeof(list.items[0]), by_creation);
    parents_first(&list);
    *ret = list;
    list = LOG_LINEAGES_INIT;
    return 0;
}

/* ---- marks ---- */

int log_mark_read(struct object_scratch *scratch, struct storage *st,
                  const struct repo_scope *scope, const uint8_t lineage[16],
                  const struct log_place *place, struct log_mark *ret, struct tm_err *err)
{
    struct codec_arena arena = {0}; /* stays empty */
    struct rel_name rel = names_rel_mark(lineage, place->from, place->epoch, place->number);
    int r = record_get(scratch, st, names_full(scope, rel.s).s, OBJECT_MARK, &log_mark_codec,
                       &arena, ret, err);
    codec_arena_release(&arena);
    return r;
}

/* 1 = *ret is the last name at or before `durable` that counts. */
static int newest_name(struct storage *st, const struct repo_scope *scope,
                       const uint8_t lineage[16], const struct log_fence *fence, uint64_t durable,
                       struct log_place *ret, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct log_place place;
    bool found = false;
    int r = storage_list(st, names_log_prefix(scope, lineage, "mark").s, NULL, &it, err);
    while (r >= 0 && (r = log_room_next(it, scope, NAME_MARK, &place, err)) > 0) {
        if (place.from > durable)
            break;
        if (place.from > log_fence_limit(fence, place.epoch))
            continue;
        *ret = place;
        found = true;
    }
    return r < 0 ? r : found;
}

int log_marks_newest(struct object_scratch *scratch, struct storage *st,
                     const struct repo_scope *scope, const uint8_t lineage[16], uint64_t durable,
                     struct log_mark *ret, bool *ret_found, struct tm_err *err)
{
    TM_CLEANUP(log_fence_release) struct log_fence fence = LOG_FENCE_INIT;
    struct log_place newest = {.from = 0};
    struct log_mark mark = {.at = 0};
    int found = 0;
    int r = log_fence_read(scratch, st, scope, lineage, &fence, err);
    for (int look = 0; r == 0 && look < LOGS_MARK_LOOKS; look++) {
        found = newest_name(st, scope, lineage, &fence, durable, &newest, err);
        if (found <= 0)
            break;
        r = log_mark_read(scratch, st, scope, lineage, &newest, &mark, err);
        if (r == 0 || err->code != TM_E_NOT_FOUND)
            break;
        r = look + 1 < LOGS_MARK_LOOKS ? 0 : r;
    }
    if (r < 0 || found < 0)
        return r < 0 ? r : found;
    *ret = mark;
    *ret_found = found > 0;
    return 0;
}
