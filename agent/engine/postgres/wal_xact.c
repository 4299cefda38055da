/*
 * Ends and preparations of transactions.
 *
 * Happy path: the time comes first; a word of flags says which lists follow, in a fixed order:
 * database, subtransactions, files that go with it, statistics (15 and later), invalidations (of a
 * commit), and the number of the prepared transaction that ends here. Each is stepped over or taken.
 *
 * Failure modes: what was cut, because the record is longer than what the reader keeps, is `cut`;
 * a record that is too short for what it announces is none.
 */
#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_body.h"
#include "agent/engine/postgres/wal_reader.h"

#define XACT_HAS_INFO 0x80u

#define HAS_DATABASE      (1u << 0)
#define HAS_SUBXACTS      (1u << 1)
#define HAS_RELATIONS     (1u << 2)
#define HAS_INVALIDATIONS (1u << 3)
#define HAS_TWOPHASE      (1u << 4)
#define HAS_DROPPED_STATS (1u << 8)

#define DATABASE_BYTES     8
#define SUBXACT_BYTES      4
#define RELATION_BYTES     12
#define INVALIDATION_BYTES 16

static uint32_t stats_bytes(unsigned major)
{
    return major >= 18 ? 16 : 12;
}

/* Where reading stands: `at` may pass what was kept. */
struct cursor {
    const struct wal_record *record;
    uint64_t at;
    bool cut; /* something lay behind what was kept */
};

/* Takes a number; false when the record has none there. */
static bool take32(struct cursor *c, uint32_t *ret)
{
    uint64_t at = c->at;
    c->at += 4;
    if (c->at > c->record->data_bytes)
        return false;
    if (!wal_get32(c->record->data, (size_t)at, ret)) {
        c->cut = true;
        *ret = 0;
    }
    return true;
}

/* Takes a count and so many items; of *ret_list only what was kept. */
static bool take_list(struct cursor *c, uint32_t item_bytes, uint32_t *ret_count,
                      struct slice *ret_list)
{
    uint32_t count;
    if (!take32(c, &count))
        return false;
    uint64_t from = c->at;
    c->at += (uint64_t)count * item_bytes;
    if (c->at > c->record->data_bytes)
        return false;
    uint64_t kept = c->record->data.len;
    if (c->at > kept)
        c->cut = true;
    uint64_t end = TM_MIN(c->at, kept);
    *ret_count = from >= end ? 0 : (uint32_t)((end - from) / item_bytes);
    *ret_list =
        from >= end ? SLICE_EMPTY : slice_of(c->record->data.data + from, (size_t)(end - from));
    return true;
}

static bool end_of(const struct wal_record *record, unsigned major, struct wal_xact *ret)
{
    struct cursor c = {.record = record, .at = 8};
    struct wal_xact out = {.xid = record->xid};
    const bool commit = wal_record_kind(record, major) == WAL_COMMIT;
    uint32_t flags = 0, count;
    struct slice list;
    if (!wal_time_of(record, major, &out.time_us))
        return false;
    if ((record->info & XACT_HAS_INFO) && !take32(&c, &flags))
        return false;
    if (flags & HAS_DATABASE)
        c.at += DATABASE_BYTES;
    if ((flags & HAS_SUBXACTS) && !take_list(&c, SUBXACT_BYTES, &out.subxact_count, &list))
        return false;
    if ((flags & HAS_RELATIONS) &&
        !take_list(&c, RELATION_BYTES, &out.relation_count, &out.relations))
        return false;
    if ((flags & HAS_DROPPED_STATS) && major >= 15 &&
        !take_list(&c, stats_bytes(major), &count, &list))
        return false;
    if ((flags & HAS_INVALIDATIONS) && commit && !take_list(&c, INVALIDATION_BYTES, &count, &list))
        return false;
    if ((flags & HAS_TWOPHASE) && !take32(&c, &out.xid))
        return false;
    out.cut = c.cut;
    *ret = out;
    return true;
}

/* The header of a two-phase state file: its identifier follows, aligned. */
static bool prepare_of(const struct wal_record *record, unsigned major, struct wal_xact *ret)
{
    const size_t stats = major >= 15 ? 8 : 0; /* 15 put two counts in between */
    const size_t head = 64 + stats;
    struct wal_xact out = {.xid = 0};
    uint64_t time;
    uint16_t len;
    if (!wal_get32(record->data, 8, &out.xid) || !wal_get64(record->data, 16, &time) ||
        !wal_get32(record->data, 28, &out.subxact_count) ||
        !wal_get16(record->data, 46 + stats, &len) ||
        __builtin_add_overflow((int64_t)time, PG_EPOCH_US, &out.time_us))
        return false;
    if (len == 0 || record->data.len < head || len > record->data.len - head)
        return false;
    out.name = slice_of(record->data.data + head, len - 1u);
    *ret = out;
    return true;
}

bool wal_xact_of(const struct wal_record *record, unsigned major, struct wal_xact *ret)
{
    switch (wal_record_kind(record, major)) {
    case WAL_COMMIT:
    case WAL_ABORT:
        return end_of(record, major, ret);
    case WAL_PREPARE:
        return prepare_of(record, major, ret);
    default:
        return false;
    }
}

struct wal_fork wal_xact_relation(const struct wal_xact *xact, uint32_t n)
{
    struct wal_fork relation = {0};
    size_t at = (size_t)n * RELATION_BYTES;
    (void)wal_get32(xact->relations, at, &relation.tablespace);
    (void)wal_get32(xact->relations, at + 4, &relation.database);
    (void)wal_get32(xact->relations, at + 8, &relation.relation);
    return relation;
}
