/*
 * Happy path: fields in, the same fields out; a begin blob is decoded whole and four of its fields
 * are taken.
 *
 * Failure modes: see blob.h; and a version that is not supported, a timeline 0, a segment or block
 * size that cannot be, because those are divided by.
 */
#include "agent/engine/postgres/log_facts.h"

#include "agent/engine/postgres/blob.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/version.h"
#include "agent/engine/postgres/wal.h"
#include "common/parse.h"

#define FACTS "log's facts"

enum facts_tag {
    L_SYSTEM_ID = 1,
    L_VERSION_NUM,
    L_TIMELINE,
    L_WAL_SEGMENT,
    L_BLOCK_BYTES,
    L_LAST_REQUIRED = L_BLOCK_BYTES,
    L_NEXT_XID,
};

int pg_log_facts_encode(const struct pg_log_facts *facts, struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    int r = pg_blob_put_header(&blob, 'L', err);
    if (r == 0)
        r = pg_blob_put_u64(&blob, L_SYSTEM_ID, facts->system_id, err);
    if (r == 0)
        r = pg_blob_put_u32(&blob, L_VERSION_NUM, facts->version_num, err);
    if (r == 0)
        r = pg_blob_put_u32(&blob, L_TIMELINE, facts->timeline, err);
    if (r == 0)
        r = pg_blob_put_u32(&blob, L_WAL_SEGMENT, facts->wal_segment_bytes, err);
    if (r == 0)
        r = pg_blob_put_u32(&blob, L_BLOCK_BYTES, facts->block_bytes, err);
    if (r == 0 && facts->next_xid != 0)
        r = pg_blob_put_u64(&blob, L_NEXT_XID, facts->next_xid, err);
    return r < 0 ? r : buf_append_slice(out, buf_slice(&blob), err);
}

static int take_field(struct pg_blob_field field, void *arg, struct tm_err *err)
{
    struct pg_log_facts *facts = arg;
    switch (field.tag) {
    case L_SYSTEM_ID:
        return pg_blob_get_u64(FACTS, field, &facts->system_id, err);
    case L_VERSION_NUM:
        return pg_blob_get_u32(FACTS, field, &facts->version_num, err);
    case L_TIMELINE:
        return pg_blob_get_u32(FACTS, field, &facts->timeline, err);
    case L_WAL_SEGMENT:
        return pg_blob_get_u32(FACTS, field, &facts->wal_segment_bytes, err);
    case L_BLOCK_BYTES:
        return pg_blob_get_u32(FACTS, field, &facts->block_bytes, err);
    case L_NEXT_XID:
        return pg_blob_get_u64(FACTS, field, &facts->next_xid, err);
    default:
        return 0;
    }
}

static int check(const struct pg_log_facts *facts, struct tm_err *err)
{
    const struct pg_version *version;
    uint32_t block = facts->block_bytes;
    if (facts->timeline == 0)
        return pg_blob_bad(FACTS, L_TIMELINE, "impossible", err);
    if (!pg_wal_segment_bytes_valid(facts->wal_segment_bytes))
        return pg_blob_bad(FACTS, L_WAL_SEGMENT, "impossible", err);
    if (block < 1024 || block > 32768 || (block & (block - 1)) != 0)
        return pg_blob_bad(FACTS, L_BLOCK_BYTES, "impossible", err);
    return pg_version_require(facts->version_num, &version, err);
}

static int of_begin(struct slice blob, struct pg_log_facts *ret, struct tm_err *err)
{
    TM_CLEANUP(pg_begin_release) struct pg_begin begin = {0};
    int r = pg_begin_decode(blob, &begin, err);
    if (r < 0)
        return r;
    *ret = (struct pg_log_facts){
        .system_id = begin.system_id,
        .version_num = begin.version_num,
        .timeline = begin.timeline,
        .wal_segment_bytes = begin.wal_segment_bytes,
        .block_bytes = begin.block_bytes,
    };
    return 0;
}

int pg_log_facts_decode(struct slice blob, struct pg_log_facts *ret, struct tm_err *err)
{
    struct pg_log_facts facts = {0};
    int r = pg_blob_letter(blob) == 'B'
                ? of_begin(blob, &facts, err)
                : pg_blob_read(FACTS, 'L', blob, L_LAST_REQUIRED, take_field, &facts, err);
    if (r == 0)
        r = check(&facts, err);
    if (r < 0)
        return r;
    *ret = facts;
    return 0;
}

int pg_timeline_parse(const char *label, uint32_t *ret, struct tm_err *err)
{
    uint64_t value;
    struct tm_err ignored;
    if (parse_u64(label, &value, &ignored) < 0 || value == 0 || value > UINT32_MAX)
        return tm_err_set(err, TM_E_INVALID, "'%.40s' is not a timeline", label);
    *ret = (uint32_t)value;
    return 0;
}
