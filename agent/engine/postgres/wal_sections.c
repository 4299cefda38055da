/*
 * Happy path: [kind, distance to the item before, values…], one after the other.
 *
 * Failure modes: what is cut off, counts wrong, is out of bounds or of an unknown kind is
 * TM_E_CORRUPT.
 */
#include "agent/engine/postgres/wal_sections.h"

#include "proto/format/pack.h"

#define HEAD_MEMBERS   2 /* kind, place */
#define VALUES_MAX     8
#define NUMBERS(...)   ((const uint64_t[]){__VA_ARGS__})
#define COUNT_OF(list) (sizeof(list) / sizeof(uint64_t))

/* ---- writing ---- */

void wal_items_clear(struct wal_items *items)
{
    buf_reset(&items->bytes);
    items->last = 0;
    items->count = 0;
    items->seen = 0;
}

void wal_items_release(struct wal_items *items)
{
    buf_release(&items->bytes);
    *items = WAL_ITEMS_INIT;
}

int wal_items_encode(const struct wal_items *items, struct buf *out, struct tm_err *err)
{
    int r = pack_uint(out, items->seen, err);
    if (r == 0)
        r = pack_uint(out, items->count, err);
    return r < 0 ? r : buf_append_slice(out, buf_slice(&items->bytes), err);
}

/* A path, or NULL, follows the numbers. */
static int put_item(struct wal_items *items, unsigned kind, uint64_t at, const uint64_t *numbers,
                    uint32_t count, const char *path, struct tm_err *err)
{
    items->seen++;
    if (items->count == WAL_ITEMS_MAX)
        return 0;
    size_t before = items->bytes.len;
    int r = pack_array(&items->bytes, HEAD_MEMBERS + count + (path ? 1 : 0), err);
    if (r == 0)
        r = pack_uint(&items->bytes, kind, err);
    if (r == 0)
        r = pack_uint(&items->bytes, at - items->last, err);
    for (uint32_t n = 0; r == 0 && n < count; n++)
        r = pack_uint(&items->bytes, numbers[n], err);
    if (r == 0 && path)
        r = pack_bin(&items->bytes, slice_str(path), err);
    if (r < 0) {
        items->bytes.len = before;
        return r;
    }
    items->last = at;
    items->count++;
    return 0;
}

#define PUT(items, what, path, err, ...)                                                           \
    put_item(items, (what)->kind, (what)->at, NUMBERS(__VA_ARGS__),                                \
             COUNT_OF(NUMBERS(__VA_ARGS__)), path, err)

/* Counts of connections and the like are never negative. */
static uint64_t natural(int32_t value)
{
    return value < 0 ? 0 : (uint64_t)value;
}

int wal_items_setting(struct wal_items *items, const struct wal_setting *s, struct tm_err *err)
{
    const struct wal_parameters *p = &s->parameters;
    const struct wal_checkpoint *c = &s->checkpoint;
    if (s->kind == WAL_SETTING_FULL_PAGE_WRITES)
        return PUT(items, s, NULL, err, s->full_page_writes);
    if (s->kind == WAL_SETTING_PARAMETERS)
        return PUT(items, s, NULL, err, natural(p->max_connections),
                   natural(p->max_worker_processes), natural(p->max_wal_senders),
                   natural(p->max_prepared_xacts), natural(p->max_locks_per_xact),
                   natural(p->wal_level), p->wal_log_hints, p->track_commit_timestamp);
    return PUT(items, s, NULL, err, c->shutdown, s->at - TM_MIN(s->at, c->redo_lsn),
               c->full_page_writes, (uint64_t)(c->wal_level + 1), c->next_xid,
               (uint64_t)c->time_us);
}

int wal_items_space(struct wal_items *items, const struct wal_space *s, struct tm_err *err)
{
    switch (s->kind) {
    case WAL_SPACE_TABLESPACE_CREATE:
        return PUT(items, s, s->path, err, s->tablespace);
    case WAL_SPACE_TABLESPACE_DROP:
        return PUT(items, s, NULL, err, s->tablespace);
    case WAL_SPACE_DATABASE_COPY:
        return PUT(items, s, NULL, err, s->tablespace, s->database, s->source_tablespace,
                   s->source_database);
    case WAL_SPACE_DATABASE_CREATE:
    case WAL_SPACE_DATABASE_DROP:
        return PUT(items, s, NULL, err, s->tablespace, s->database);
    }
    return 0;
}

/* ---- reading ---- */

int wal_items_reader_init(struct wal_items_reader *r, struct slice section, struct tm_err *err)
{
    struct wal_items_reader reader = {.rest = section};
    uint64_t seen = 0, count = 0;
    int rc = unpack_uint(&reader.rest, "items", UINT64_MAX, &seen, err);
    if (rc == 0)
        rc = unpack_uint(&reader.rest, "items", TM_MIN(seen, (uint64_t)WAL_ITEMS_MAX), &count, err);
    if (rc < 0)
        return rc;
    reader.left = count;
    reader.short_of = seen > count;
    *r = reader;
    return 0;
}

struct item {
    uint64_t kind;
    uint64_t at;
    uint64_t values[VALUES_MAX];
    uint32_t value_count;
    struct slice path;
};

static int unpack_values(struct wal_items_reader *r, uint32_t count, bool has_path,
                         struct item *item, struct tm_err *err)
{
    int rc = 0;
    item->value_count = count - (has_path ? 1 : 0);
    if (count < (has_path ? 1u : 0u) || item->value_count > VALUES_MAX)
        return tm_err_set(err, TM_E_CORRUPT, "item: %u members", count + HEAD_MEMBERS);
    for (uint32_t n = 0; rc == 0 && n < item->value_count; n++)
        rc = unpack_uint(&r->rest, "item value", UINT64_MAX, &item->values[n], err);
    if (rc == 0 && has_path)
        rc = unpack_bin(&r->rest, "item path", WAL_TABLESPACE_PATH_MAX - 1, &item->path, err);
    return rc;
}

/* wants[kind] is how many values a kind has at least, 0 for one that is not known; path_kind has a
 * path behind them. 1 = an item. */
static int next_item(struct wal_items_reader *r, const uint8_t *wants, size_t kinds,
                     uint64_t path_kind, struct item *ret, struct tm_err *err)
{
    if (r->left == 0) {
        if (r->rest.len > 0)
            return tm_err_set(err, TM_E_CORRUPT, "items: bytes behind the last one");
        return 0;
    }
    struct item item = {.kind = 0};
    uint32_t members = 0;
    uint64_t step = 0;
    int rc = unpack_array(&r->rest, "item", &members, err);
    if (rc == 0 && members < HEAD_MEMBERS)
        return tm_err_set(err, TM_E_CORRUPT, "item: %u members", members);
    if (rc == 0)
        rc = unpack_uint(&r->rest, "item kind", UINT8_MAX, &item.kind, err);
    if (rc == 0)
        rc = unpack_uint(&r->rest, "item place", UINT64_MAX - r->last, &step, err);
    if (rc == 0)
        rc = unpack_values(r, members - HEAD_MEMBERS, item.kind == path_kind, &item, err);
    if (rc < 0)
        return rc;
    if (item.kind == 0 || item.kind >= kinds || item.value_count < wants[item.kind])
        return tm_err_set(err, TM_E_CORRUPT, "item: kind %llu with %u members",
                          (unsigned long long)item.kind, members);
    r->last += step;
    r->left--;
    item.at = r->last;
    *ret = item;
    return 1;
}

int wal_items_next_setting(struct wal_items_reader *r, struct wal_setting *ret, struct tm_err *err)
{
    static const uint8_t wants[] = {0, 1, 8, 6};
    struct item i;
    int rc = next_item(r, wants, TM_ARRAY_LEN(wants), UINT64_MAX, &i, err);
    if (rc <= 0)
        return rc;
    const uint64_t *v = i.values;
    struct wal_setting out = {.kind = (enum wal_setting_kind)i.kind, .at = i.at};
    if (out.kind == WAL_SETTING_FULL_PAGE_WRITES)
        out.full_page_writes = v[0] != 0;
    else if (out.kind == WAL_SETTING_PARAMETERS)
        out.parameters = (struct wal_parameters){
            .max_connections = (int32_t)v[0],
            .max_worker_processes = (int32_t)v[1],
            .max_wal_senders = (int32_t)v[2],
            .max_prepared_xacts = (int32_t)v[3],
            .max_locks_per_xact = (int32_t)v[4],
            .wal_level = (int32_t)v[5],
            .wal_log_hints = v[6] != 0,
            .track_commit_timestamp = v[7] != 0,
        };
    else
        out.checkpoint = (struct wal_checkpoint){
            .shutdown = v[0] != 0,
            .redo_lsn = i.at - TM_MIN(i.at, v[1]),
            .full_page_writes = v[2] != 0,
            .wal_level = (int32_t)v[3] - 1,
            .next_xid = v[4],
            .time_us = (int64_t)v[5],
        };
    *ret = out;
    return 1;
}

int wal_items_next_space(struct wal_items_reader *r, struct wal_space *ret, struct tm_err *err)
{
    static const uint8_t wants[] = {0, 1, 1, 4, 2, 2};
    struct item i;
    int rc = next_item(r, wants, TM_ARRAY_LEN(wants), WAL_SPACE_TABLESPACE_CREATE, &i, err);
    if (rc <= 0)
        return rc;
    struct wal_space out = {.kind = (enum wal_space_kind)i.kind, .at = i.at};
    out.tablespace = (uint32_t)i.values[0];
    if (i.value_count > 1)
        out.database = (uint32_t)i.values[1];
    if (i.value_count > 3) {
        out.source_tablespace = (uint32_t)i.values[2];
        out.source_database = (uint32_t)i.values[3];
    }
    if (i.path.len > 0)
        memcpy(out.path, i.path.data, i.path.len);
    *ret = out;
    return 1;
}
