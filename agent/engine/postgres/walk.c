/*
 * Happy path: plain files by a sorted depth-first walk, then relation files database by database,
 * then configuration files outside the data directory; each class only where the span touches it,
 * each directory entered only where it can hold something of the span.
 *
 * Failure modes: a directory that cannot be read, a path longer than a key, a tree deeper than
 * WALK_DEPTH_MAX. What vanishes between listing and use is no failure.
 */
#include "agent/engine/postgres/reader.h"

#include <stdio.h>

#include "agent/engine/postgres/twophase.h"
#include "common/array.h"

#define DATABASES_MAX (1u << 20)

int walk_span_init(struct walk_span *span, struct engine_key_range range, struct tm_err *err)
{
    struct walk_span made = {.start = range.start, .end = range.end};
    int r = files_key_decode(range.start, &made.from, err);
    if (r == 0 && range.end.len > 0)
        r = files_key_decode(range.end, &made.to, err);
    if (r == 0)
        *span = made;
    return r;
}

static bool span_touches_class(const struct walk_span *span, uint8_t class_byte)
{
    if (span->start.len > 0 && span->start.data[0] > class_byte)
        return false;
    return span->end.len == 0 || span->end.data[0] > class_byte ||
           (span->end.data[0] == class_byte && span->end.len > 1);
}

int walk_item_key(const struct walk_item *item, uint64_t offset_bytes, uint8_t *key,
                  size_t *ret_len, struct tm_err *err)
{
    uint32_t unit = (uint32_t)(offset_bytes / item->unit_bytes);
    if (item->class_byte != FILES_CLASS_RELATION)
        return files_key_path(item->class_byte, item->path, unit, key, ret_len, err);
    *ret_len = files_key_relation(item->tablespace, item->database, item->relation.relfilenode,
                                  item->relation.fork, item->first_block + unit, key);
    return 0;
}

/* ---- plain files ---- */

struct walker {
    struct engine_reader *reader;
    const struct walk_span *span;
    walk_fn fn;
    void *arg;
    char path[ENGINE_PATH_MAX]; /* of the directory being walked, then of its entry */
    bool past_end;
};

/* Appends "/name" (or "name" at the root) behind dir_len. */
static int set_path(struct walker *w, size_t dir_len, const char *name, struct tm_err *err)
{
    int len =
        snprintf(w->path + dir_len, sizeof(w->path) - dir_len, "%s%s", dir_len ? "/" : "", name);
    if (len < 0 || (size_t)len >= sizeof(w->path) - dir_len)
        return tm_err_set(err, TM_E_LIMIT, "the path '%.200s/%.200s' is too long", w->path, name);
    return 0;
}

/* Is all of the subtree at w->path before the span? Its keys end below "path" 0x02. */
static int subtree_before(const struct walker *w, bool *ret, struct tm_err *err)
{
    uint8_t key[ENGINE_KEY_MAX];
    size_t len;
    int r = files_key_path(FILES_CLASS_PLAIN, w->path, 0, key, &len, err);
    if (r < 0)
        return r;
    len -= 5; /* the end mark and the chunk */
    key[len++] = 0x02;
    *ret = slice_cmp(slice_of(key, len), w->span->start) <= 0;
    return 0;
}

/* The first entry that is not wholly before the span. */
static int first_entry(struct walker *w, const struct listing *listing, size_t dir_len, size_t *ret,
                       struct tm_err *err)
{
    size_t low = 0, high = listing->name_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        bool before;
        int r = set_path(w, dir_len, listing_name(listing, middle), err);
        if (r < 0 || (r = subtree_before(w, &before, err)) < 0)
            return r;
        if (before)
            low = middle + 1;
        else
            high = middle;
    }
    *ret = low;
    return 0;
}

/* Fits a path item into the span. *ret_inside: anything of the thing itself (not of what is below
 * it) is in the span. Sets past_end when it starts at or behind the end. */
static int fit_path_item(struct walker *w, struct walk_item *item, bool *ret_inside,
                         struct tm_err *err)
{
    uint8_t key[ENGINE_KEY_MAX];
    size_t len;
    int r = files_key_path(item->class_byte, item->path, 0, key, &len, err);
    if (r < 0)
        return r;
    struct slice start = w->span->start, end = w->span->end, own = slice_of(key, len);
    size_t prefix = len - 4; /* with the end mark: what all keys of this thing share */
    *ret_inside = true;
    item->from_bytes = 0;
    item->to_bytes = UINT64_MAX;
    if (end.len > 0 && slice_cmp(own, end) >= 0) {
        w->past_end = true;
        *ret_inside = false;
        return 0;
    }
    if (end.len >= prefix && memcmp(end.data, key, prefix) == 0)
        item->to_bytes = (uint64_t)w->span->to.chunk * FILES_CHUNK_BYTES;
    if (slice_cmp(start, own) > 0) {
        if (start.len >= prefix && memcmp(start.data, key, prefix) == 0)
            item->from_bytes = (uint64_t)w->span->from.chunk * FILES_CHUNK_BYTES;
        else
            *ret_inside = false; /* the span starts behind it, maybe below it */
    }
    /* only files have a middle */
    if (item->kind != LISTING_FILE && item->from_bytes > 0)
        *ret_inside = false;
    return 0;
}

static bool is_inside_tablespace(const struct engine_reader *reader, const char *path)
{
    for (size_t n = 0; n < reader->inside_count; n++)
        if (strcmp(reader->inside[n], path) == 0)
            return true;
    return false;
}

static int walk_dir(struct walker *w, unsigned depth, struct tm_err *err);

static int walk_entry(struct walker *w, const struct listing *listing, size_t n, unsigned depth,
                      struct tm_err *err)
{
    struct walk_item item = {.class_byte = FILES_CLASS_PLAIN,
                             .kind = listing_kind_of(listing, n),
                             .path = w->path,
                             .unit_bytes = FILES_CHUNK_BYTES};
    bool inside;
    if (item.kind == LISTING_DIR && is_inside_tablespace(w->reader, w->path))
        return 0;
    if (item.kind == LISTING_FILE && twophase_is_later(&w->reader->begin, w->path))
        return 0; /* replay makes it */
    int r = fit_path_item(w, &item, &inside, err);
    if (r == 0 && inside)
        r = w->fn(w->arg, &item, err);
    if (r < 0 || w->past_end || (item.kind != LISTING_DIR && item.kind != LISTING_LINK))
        return r;
    return walk_dir(w, depth + 1, err);
}

static int walk_dir(struct walker *w, unsigned depth, struct tm_err *err)
{
    if (depth > WALK_DEPTH_MAX)
        return tm_err_set(err, TM_E_LIMIT, "directories are nested deeper than %d at '%.300s'",
                          WALK_DEPTH_MAX, w->path);
    const struct listing *listing = NULL;
    size_t dir_len = strlen(w->path), n = 0;
    int r = listing_get(w->reader->listings, w->path, &listing, err);
    if (r < 0)
        return r;
    r = first_entry(w, listing, dir_len, &n, err);
    for (; r == 0 && !w->past_end && n < listing->name_count; n++) {
        r = set_path(w, dir_len, listing_name(listing, n), err);
        if (r == 0)
            r = walk_entry(w, listing, n, depth, err);
    }
    w->path[dir_len] = '\0';
    listing_put(w->reader->listings, listing);
    return r;
}

/* ---- relations ---- */

/* Tablespace and database of every directory that can hold relations, ascending. */
struct databases {
    uint64_t *packed;
    size_t count, cap;
};

static void databases_release(struct databases *d)
{
    free(d->packed);
}

static int add_database(struct databases *d, uint32_t tablespace, uint32_t database,
                        struct tm_err *err)
{
    if (d->count == DATABASES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u database directories", DATABASES_MAX);
    if (d->count == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 64;
        uint64_t *bigger = realloc(d->packed, cap * sizeof(*bigger));
        if (!bigger)
            return tm_err_oom(err);
        d->packed = bigger;
        d->cap = cap;
    }
    d->packed[d->count++] = (uint64_t)tablespace << 32 | database;
    return 0;
}

static bool parse_oid(const char *name, uint32_t *ret)
{
    struct files_relation relation; /* an OID looks like the first file of a relation's main fork */
    if (!files_relation_parse(name, &relation) || relation.fork != FORK_MAIN ||
        relation.segment != 0)
        return false;
    *ret = relation.relfilenode;
    return true;
}

/* Databases below one tablespace's directory. */
static int add_databases(struct engine_reader *reader, struct databases *d, uint32_t tablespace,
                         const char *dir, struct tm_err *err)
{
    const struct listing *listing = NULL;
    int r = listing_get(reader->listings, dir, &listing, err);
    if (r < 0)
        return r;
    for (size_t n = 0; r == 0 && n < listing->name_count; n++) {
        uint32_t database;
        if (listing_kind_of(listing, n) == LISTING_DIR &&
            parse_oid(listing_name(listing, n), &database))
            r = add_database(d, tablespace, database, err);
    }
    listing_put(reader->listings, listing);
    return r;
}

static int find_databases(struct engine_reader *reader, struct databases *d, struct tm_err *err)
{
    const struct listing *listing = NULL;
    char dir[ENGINE_PATH_MAX];
    int r = add_database(d, FILES_TABLESPACE_GLOBAL, 0, err);
    if (r == 0)
        r = add_databases(reader, d, FILES_TABLESPACE_DEFAULT, "base", err);
    if (r == 0)
        r = listing_get(reader->listings, "pg_tblspc", &listing, err);
    if (r < 0)
        return r;
    for (size_t n = 0; r == 0 && n < listing->name_count; n++) {
        uint32_t tablespace;
        if (!parse_oid(listing_name(listing, n), &tablespace))
            continue;
        snprintf(dir, sizeof(dir), "pg_tblspc/%u/%s", tablespace, reader->version_dir);
        r = add_databases(reader, d, tablespace, dir, err);
    }
    listing_put(reader->listings, listing);
    listing_sort_u64(d->packed, d->count);
    return r;
}

static size_t lower_bound(const uint64_t *values, size_t count, uint64_t value)
{
    size_t low;
    ARRAY_LOWER_BOUND(low, count, at, values[at] < value);
    return low;
}

/* Fits a segment file into the span; false when it starts at or behind the end. */
static bool fit_relation_item(const struct engine_reader *reader, const struct walk_span *span,
                              struct walk_item *item)
{
    const struct files_key *from = &span->from, *to = &span->to;
    const uint32_t segment_blocks = reader->begin.relation_segment_blocks;
    const uint64_t database = (uint64_t)item->tablespace << 32 | item->database;
    const uint64_t fork = files_relation_pack(
        (struct files_relation){item->relation.relfilenode, item->relation.fork, 0});

    item->from_bytes = 0;
    item->to_bytes = UINT64_MAX;
    if (span->end.len > 0 && to->class_byte == FILES_CLASS_RELATION) {
        uint64_t to_database = (uint64_t)to->tablespace << 32 | to->database;
        uint64_t to_fork =
            files_relation_pack((struct files_relation){to->relfilenode, to->fork, 0});
        if (database > to_database)
            return false;
        if (database == to_database && fork > to_fork)
            return false;
        if (database == to_database && fork == to_fork) {
            if (item->first_block >= to->block)
                return false;
            if (to->block - item->first_block < segment_blocks)
                item->to_bytes = (uint64_t)(to->block - item->first_block) * item->unit_bytes;
        }
    }
    if (from->class_byte == FILES_CLASS_RELATION && from->tablespace == item->tablespace &&
        from->database == item->database && from->relfilenode == item->relation.relfilenode &&
        from->fork == item->relation.fork && from->block > item->first_block)
        item->from_bytes = (uint64_t)(from->block - item->first_block) * item->unit_bytes;
    return true;
}

static int walk_database(struct walker *w, uint64_t packed, struct tm_err *err)
{
    struct engine_reader *reader = w->reader;
    const struct files_key *from = &w->span->from;
    const uint32_t segment_blocks = reader->begin.relation_segment_blocks;
    const struct listing *listing = NULL;
    char dir[FILES_DATABASE_DIR_MAX], name[FILES_NAME_MAX];
    struct walk_item item = {.class_byte = FILES_CLASS_RELATION,
                             .kind = LISTING_FILE,
                             .path = w->path,
                             .unit_bytes = reader->begin.block_bytes,
                             .tablespace = (uint32_t)(packed >> 32),
                             .database = (uint32_t)packed};
    uint64_t lowest = 0;
    if (from->class_byte == FILES_CLASS_RELATION && from->tablespace == item.tablespace &&
        from->database == item.database)
        lowest = files_relation_pack(
            (struct files_relation){from->relfilenode, from->fork, from->block / segment_blocks});
    files_database_dir(item.tablespace, item.database, reader->version_dir, dir);
    int r = listing_get(reader->listings, dir, &listing, err);
    if (r < 0)
        return r;
    for (size_t n = lower_bound(listing->relations, listing->relation_count, lowest);
         r == 0 && n < listing->relation_count; n++) {
        item.relation = files_relation_unpack(listing->relations[n]);
        item.first_block = item.relation.segment * segment_blocks;
        if (!fit_relation_item(reader, w->span, &item)) {
            w->past_end = true;
            break;
        }
        snprintf(w->path, sizeof(w->path), "%s/%s", dir, files_relation_name(&item.relation, name));
        r = w->fn(w->arg, &item, err);
    }
    listing_put(reader->listings, listing);
    return r;
}

static int walk_relations(struct walker *w, struct tm_err *err)
{
    TM_CLEANUP(databases_release) struct databases databases = {0};
    const struct files_key *from = &w->span->from;
    int r = find_databases(w->reader, &databases, err);
    if (r < 0)
        return r;
    uint64_t lowest = 0;
    if (from->class_byte == FILES_CLASS_RELATION)
        lowest = (uint64_t)from->tablespace << 32 | from->database;
    for (size_t n = lower_bound(databases.packed, databases.count, lowest);
         r == 0 && !w->past_end && n < databases.count; n++)
        r = walk_database(w, databases.packed[n], err);
    return r;
}

/* ---- configuration outside the data directory, and all together ---- */

static int walk_config(struct walker *w, struct tm_err *err)
{
    const struct pg_begin *begin = &w->reader->begin;
    int r = 0;
    for (size_t n = 0; r == 0 && !w->past_end && n < begin->config_file_count; n++) {
        struct walk_item item = {.class_byte = FILES_CLASS_CONFIG,
                                 .kind = LISTING_FILE,
                                 .path = begin->config_files[n].path,
                                 .unit_bytes = FILES_CHUNK_BYTES};
        bool inside;
        r = fit_path_item(w, &item, &inside, err);
        if (r == 0 && inside)
            r = w->fn(w->arg, &item, err);
    }
    return r;
}

int walk(struct engine_reader *reader, const struct walk_span *span, walk_fn fn, void *arg,
         struct tm_err *err)
{
    struct walker w = {.reader = reader, .span = span, .fn = fn, .arg = arg};
    int r = 0;
    if (span_touches_class(span, FILES_CLASS_PLAIN))
        r = walk_dir(&w, 0, err);
    w.past_end = false;
    if (r == 0 && span_touches_class(span, FILES_CLASS_RELATION))
        r = walk_relations(&w, err);
    w.past_end = false;
    w.path[0] = '\0';
    if (r == 0 && span_touches_class(span, FILES_CLASS_CONFIG))
        r = walk_config(&w, err);
    return r;
}
