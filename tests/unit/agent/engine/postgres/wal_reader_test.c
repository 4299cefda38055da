/* The log reader: whole streams cut anywhere, records over pages and segments, and every way to be
 * wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "agent/engine/postgres/wal_reader.h"
#include "tests/unit/agent/engine/postgres/wal_build.h"

#define FROM (UINT64_C(16) * WAL_BUILD_SEGMENT)

struct seen {
    unsigned count;
    struct wal_record last;
    uint8_t data[256];
    struct wal_block blocks[WAL_BLOCKS_MAX];
    uint64_t lsns[4096];
    size_t full_len; /* of the data that was handed out */
    int fail_at;     /* 0 = never */
};

static int see(void *arg, const struct wal_record *record, struct tm_err *err)
{
    struct seen *s = arg;
    if (s->count < TM_ARRAY_LEN(s->lsns))
        s->lsns[s->count] = record->lsn;
    s->count++;
    s->last = *record;
    s->full_len = record->data.len;
    memcpy(s->data, record->data.data != NULL ? record->data.data : s->data,
           TM_MIN(record->data.len, sizeof(s->data)));
    s->last.data = slice_of(s->data, TM_MIN(record->data.len, sizeof(s->data)));
    memcpy(s->blocks, record->blocks, record->block_count * sizeof(*record->blocks));
    if (s->fail_at != 0 && s->count == (unsigned)s->fail_at)
        return tm_err_set(err, TM_E_REFUSED, "enough");
    return 0;
}

static struct wal_reader *reader_on(const struct wal_build *b, uint64_t from, struct seen *s)
{
    struct wal_reader *r = NULL;
    struct tm_err err;
    const struct wal_reader_config config = {
        .major = b->major,
        .from = from,
        .segment_bytes = WAL_BUILD_SEGMENT,
        .system_identifier = b->system_id,
        .record = see,
        .arg = s,
    };
    assert_int_equal(wal_reader_new(&config, &r, &err), 0);
    return r;
}

/* Everything from `from` in slices of `step`; returns push's result. */
static int push_all(struct wal_reader *r, const struct wal_build *b, uint64_t from, uint64_t to,
                    size_t step, struct tm_err *err)
{
    for (uint64_t at = from; at < to;) {
        size_t n = (size_t)TM_MIN((uint64_t)step, to - at);
        int rc = wal_reader_push(r, slice_of(b->bytes + (at - b->from), n), err);
        if (rc < 0)
            return rc;
        at += n;
    }
    return 0;
}

static void fill(uint8_t *p, size_t len)
{
    for (size_t k = 0; k < len; k++)
        p[k] = (uint8_t)(k * 31 + 7);
}

/* Short ones, long ones over many pages, one over a segment's end. */
static unsigned build_mixed(struct wal_build *b)
{
    static uint8_t data[300000];
    unsigned count = 0;
    fill(data, sizeof(data));
    for (uint32_t k = 0; k < 400; k++, count++)
        (void)wal_data(b, 10, 0x10, k, data, (k * 37) % 600);
    for (uint32_t k = 0; k < 12; k++, count++)
        (void)wal_data(b, 11, 0x20, k, data, 100000 + k * 11);
    for (uint32_t k = 0; k < 50; k++, count++)
        (void)wal_data(b, 1, 0x00, k, data, 8 + k);
    return count;
}

static void cut_anywhere(void **state)
{
    static const size_t steps[] = {1, 7, 24, 4096, 8192, 8191, 1 << 20, 3 << 20};
    struct wal_build b;
    struct seen whole = {0};
    (void)state;
    for (unsigned major = 13; major <= 18; major++) {
        wal_build_init(&b, major, FROM);
        unsigned count = build_mixed(&b);
        assert_true(b.at - FROM > WAL_BUILD_SEGMENT);
        for (size_t k = 0; k < TM_ARRAY_LEN(steps); k++) {
            struct seen s = {0};
            struct tm_err err = {0};
            struct wal_reader *r = reader_on(&b, FROM, &s);
            if (push_all(r, &b, FROM, b.at, steps[k], &err) < 0)
                fail_msg("step %zu: %s", steps[k], err.msg);
            assert_int_equal(s.count, count);
            assert_int_equal(wal_reader_record_count(r), count);
            assert_int_equal(wal_reader_valid_end(r), (b.at + 7) & ~UINT64_C(7));
            assert_int_equal(wal_reader_position(r), b.at);
            if (whole.count == 0)
                whole = s;
            assert_memory_equal(s.lsns, whole.lsns, sizeof(s.lsns));
            wal_reader_free(r);
        }
        wal_build_release(&b);
    }
}

/* Starting at the second segment, inside a record: that one is stepped over. */
static void starts_inside_a_record(void **state)
{
    struct wal_build b;
    struct seen all = {0};
    struct seen s = {0};
    struct tm_err err;
    uint64_t second = FROM + WAL_BUILD_SEGMENT;
    (void)state;
    wal_build_init(&b, 15, FROM);
    (void)build_mixed(&b);
    struct wal_reader *r = reader_on(&b, FROM, &all);
    assert_int_equal(push_all(r, &b, FROM, b.at, 5000, &err), 0);
    wal_reader_free(r);
    r = reader_on(&b, second, &s);
    assert_false(wal_reader_stepped_over(r));
    assert_int_equal(push_all(r, &b, second, b.at, 5000, &err), 0);
    assert_true(wal_reader_stepped_over(r));
    wal_reader_free(r);
    assert_true(s.count > 50 && s.count < all.count);
    unsigned skipped = all.count - s.count;
    assert_true(all.lsns[skipped] > second && all.lsns[skipped - 1] < second);
    assert_memory_equal(s.lsns, all.lsns + skipped, s.count * sizeof(s.lsns[0]));
    wal_build_release(&b);
}

static void padding_and_switch(void **state)
{
    struct wal_build b;
    struct seen s = {0};
    struct tm_err err;
    (void)state;
    wal_build_init(&b, 16, FROM);
    (void)wal_data(&b, 10, 0, 1, "abcdefgh", 8);
    (void)wal_switch(&b);
    /* what lies behind a switch is not looked at */
    b.bytes[b.at - FROM - 100] = 0x55;
    uint64_t last = wal_data(&b, 10, 0, 2, "ijklmnop", 8);
    struct wal_reader *r = reader_on(&b, FROM, &s);
    assert_int_equal(push_all(r, &b, FROM, FROM + UINT64_C(2) * WAL_BUILD_SEGMENT, 60000, &err), 0);
    assert_int_equal(s.count, 3);
    assert_int_equal(s.lsns[2], last);
    assert_int_equal(wal_reader_position(r), FROM + UINT64_C(2) * WAL_BUILD_SEGMENT);
    /* zeros may follow, nothing else */
    assert_int_equal(wal_reader_push(r, slice_of("\0\0\0\0\0\1", 6), &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "log at 0/1200005: bytes follow the end of the log");
    assert_int_equal(wal_reader_push(r, slice_of("\0", 1), &err), -TM_E_CORRUPT);
    wal_reader_free(r);
    wal_build_release(&b);
}

static void every_changed_byte_is_found(void **state)
{
    struct wal_build b;
    uint8_t data[500];
    struct tm_err err;
    (void)state;
    fill(data, sizeof(data));
    wal_build_init(&b, 14, FROM);
    for (uint32_t k = 0; k < 40; k++)
        (void)wal_data(&b, 10, 0, k, data, 100 + k * 10);
    unsigned unnoticed = 0;
    for (uint64_t at = FROM; at < b.at; at++) {
        struct seen s = {0};
        struct wal_reader *r = reader_on(&b, FROM, &s);
        uint8_t *p = wal_at(&b, at);
        *p ^= 0x40;
        unnoticed += push_all(r, &b, FROM, b.at, 1 << 20, &err) == 0;
        *p ^= 0x40;
        wal_reader_free(r);
    }
    /* what nobody covers: padding between records and in page headers, the unused part of a first
     * page header's rem_len */
    assert_true(unnoticed < 40 * 8 + 3 * 8);
    wal_build_release(&b);
}

static void says_what_is_wrong(void **state)
{
    static const struct {
        unsigned offset;
        uint8_t value;
        const char *message;
    } cases[] = {
        {0, 0x11, "log at 0/1000000: the page magic is wrong"},
        {2, 0x80, "log at 0/1000000: the page flags are wrong"},
        {8, 0x01, "log at 0/1000000: the page belongs to another place"},
        {4, 0x00, "log at 0/1000000: the timeline goes back"},
        {24, 0xEE, "log at 0/1000000: it belongs to another server (system identifier differs)"},
        {34, 0x77, "log at 0/1000000: segment size differs from the expected one"},
        {36, 0x03, "log at 0/1000000: page size is wrong"},
        {40, 0x05, "log at 0/1000028: the record's length is too small"},
        {43, 0x7F, "log at 0/1000028: the record's length is impossible"},
        {52, 0xFF, "log at 0/1000028: the record's link to the one before is wrong"},
        {70, 0xFF, "log at 0/1000028: the record's checksum is wrong"},
    };
    struct wal_build b;
    struct tm_err err;
    (void)state;
    for (size_t k = 0; k < TM_ARRAY_LEN(cases); k++) {
        struct seen s = {0};
        wal_build_init(&b, 17, FROM);
        (void)wal_data(&b, 10, 0, 1, "0123456789", 10);
        b.bytes[cases[k].offset] = cases[k].value;
        struct wal_reader *r = reader_on(&b, FROM, &s);
        assert_int_equal(push_all(r, &b, FROM, b.at, 64, &err), -TM_E_CORRUPT);
        assert_string_equal(err.msg, cases[k].message);
        assert_int_equal(s.count, 0);
        wal_reader_free(r);
        wal_build_release(&b);
    }
}

static void blocks_are_stepped_over(void **state)
{
    /* one block with a compressed image with a hole, one of the same relation with data */
    uint8_t body[128] = {0};
    uint8_t *p = body;
    struct wal_build b;
    struct seen s = {0};
    struct tm_err err;
    (void)state;
    p[0] = 0, p[1] = 0x12, p += 4;               /* id 0, fork 2, has image, no data */
    wal_put16(p, 9), p[4] = 0x01 | 0x04, p += 5; /* image of 9 bytes, hole, pglz (15+) */
    wal_put16(p, 100), p += 2;                   /* hole length */
    wal_put32(p, 1663), wal_put32(p + 4, 5), wal_put32(p + 8, 16384), wal_put32(p + 12, 7);
    p += 12 + 4; /* relation, block */
    p[0] = 1, p[1] = 0x80 | 0x40 | 1, wal_put16(p + 2, 5), wal_put32(p + 4, 0xFFFFFFFE), p += 4 + 4;
    p[0] = 0xFD, p += 3; /* origin */
    p[0] = 0xFC, p += 5; /* top-level transaction */
    p[0] = 0xFF, p[1] = 3, p += 2;
    p += 9 + 5;
    memcpy(p, "abc", 3), p += 3;
    wal_build_init(&b, 15, FROM);
    (void)wal_body(&b, 10, 0, 1, body, (uint32_t)(p - body));
    struct wal_reader *r = reader_on(&b, FROM, &s);
    if (push_all(r, &b, FROM, b.at, 100, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.last.data_bytes, 3);
    assert_memory_equal(s.data, "abc", 3);
    assert_int_equal(s.last.block_count, 2);
    assert_true(s.blocks[0].tablespace == 1663 && s.blocks[0].database == 5 &&
                s.blocks[0].relation == 16384 && s.blocks[0].fork == 2 && s.blocks[0].block == 7 &&
                s.blocks[0].flags == WAL_BLOCK_IMAGE);
    assert_true(s.blocks[1].tablespace == 1663 && s.blocks[1].database == 5 &&
                s.blocks[1].relation == 16384 && s.blocks[1].fork == 1 &&
                s.blocks[1].block == 0xFFFFFFFE && s.blocks[1].flags == WAL_BLOCK_INIT);
    wal_reader_free(r);

    /* a body whose parts do not add up */
    (void)wal_body(&b, 10, 0, 1, body, (uint32_t)(p - body) - 1);
    r = reader_on(&b, FROM, &s);
    assert_int_equal(push_all(r, &b, FROM, b.at, 100, &err), -TM_E_CORRUPT);
    assert_non_null(strstr(err.msg, "the record is malformed"));
    wal_reader_free(r);
    wal_build_release(&b);
}

/* Longer than what is kept: the checksum still covers all, the data is cut. */
static void long_record(void **state)
{
    uint32_t len = WAL_RECORD_KEEP + 300000;
    uint8_t *data = calloc(1, len);
    struct wal_build b;
    struct seen s = {0};
    struct tm_err err;
    (void)state;
    fill(data, len);
    wal_build_init(&b, 18, FROM);
    (void)wal_data(&b, 10, 0, 1, data, len);
    (void)wal_data(&b, WAL_RM_XACT, 0, 1, data, len);
    struct wal_reader *r = reader_on(&b, FROM, &s);
    assert_int_equal(push_all(r, &b, FROM, FROM + len + 30000, 70001, &err), 0);
    assert_int_equal(s.count, 1);
    assert_true(s.full_len < WAL_RECORD_KEEP);
    assert_int_equal(s.last.data_bytes, len);
    assert_int_equal(push_all(r, &b, FROM + len + 30000, b.at, 70001, &err), 0);
    /* ends of transactions are kept longer */
    assert_int_equal(s.count, 2);
    assert_int_equal(s.full_len, len);
    assert_memory_equal(s.data, data, sizeof(s.data));
    wal_reader_free(r);
    *wal_at(&b, b.at - 1) ^= 1;
    r = reader_on(&b, FROM, &s);
    assert_int_equal(push_all(r, &b, FROM, b.at, 70001, &err), -TM_E_CORRUPT);
    wal_reader_free(r);
    wal_build_release(&b);
    free(data);
}

/* The server crashed inside a record and went on with another one at the next page. */
static void overwritten_record(void **state)
{
    uint8_t data[9000];
    struct wal_build b;
    struct seen s = {0};
    struct tm_err err;
    (void)state;
    fill(data, sizeof(data));
    wal_build_init(&b, 15, FROM);
    (void)wal_data(&b, 10, 0, 1, "first", 5);
    (void)wal_data(&b, 10, 0, 1, data, sizeof(data));
    b.at = FROM + WAL_BUILD_PAGE;
    memset(wal_at(&b, b.at), 0, 4096);
    wal_page_begin(&b, 8, 0);
    uint64_t lsn = wal_data(&b, 10, 0, 1, "second", 6);
    struct wal_reader *r = reader_on(&b, FROM, &s);
    if (push_all(r, &b, FROM, b.at, 100, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.last.lsn, lsn);
    wal_reader_free(r);
    wal_build_release(&b);
}

static void callback_stops(void **state)
{
    struct wal_build b;
    struct seen s = {.fail_at = 3};
    struct tm_err err;
    (void)state;
    wal_build_init(&b, 13, FROM);
    (void)build_mixed(&b);
    struct wal_reader *r = reader_on(&b, FROM, &s);
    assert_int_equal(push_all(r, &b, FROM, b.at, 1000, &err), -TM_E_REFUSED);
    assert_string_equal(err.msg, "enough");
    assert_int_equal(s.count, 3);
    wal_reader_free(r);
    wal_build_release(&b);
}

static void refuses_configurations(void **state)
{
    struct wal_reader *r = NULL;
    struct tm_err err;
    struct wal_reader_config c = {.major = 12, .segment_bytes = 1 << 24};
    (void)state;
    assert_int_equal(wal_reader_new(&c, &r, &err), -TM_E_UNSUPPORTED);
    assert_string_equal(err.msg, "cannot read the log of PostgreSQL 12");
    c.major = 15;
    c.segment_bytes = 3 << 20;
    assert_int_equal(wal_reader_new(&c, &r, &err), -TM_E_INVALID);
    c.segment_bytes = 1 << 24;
    c.from = 0x1000028;
    assert_int_equal(wal_reader_new(&c, &r, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "log does not begin at a segment start: 0/1000028");
    assert_null(r);
}

/* ---- records ---- */

static void tablespace_create(void **state)
{
    uint8_t data[64] = {0};
    struct wal_tablespace_create c;
    (void)state;
    wal_put32(data, 16384);
    memcpy(data + 4, "/srv/space", 11);
    struct wal_record r = {.rmid = WAL_RM_TBLSPC, .info = 0, .data = slice_of(data, 15)};
    assert_int_equal(wal_record_kind(&r, 15), WAL_TABLESPACE_CREATE);
    assert_true(wal_tablespace_create_of(&r, &c));
    assert_int_equal(c.oid, 16384);
    assert_string_equal(c.path, "/srv/space");
    r.data.len = 14; /* without its end */
    assert_false(wal_tablespace_create_of(&r, &c));
    r.data.len = 3;
    assert_false(wal_tablespace_create_of(&r, &c));
    r.info = 0x10; /* drop */
    uint32_t oid;
    assert_int_equal(wal_record_kind(&r, 15), WAL_TABLESPACE_DROP);
    assert_false(wal_tablespace_drop_of(&r, &oid));
    r.data.len = 4;
    assert_true(wal_tablespace_drop_of(&r, &oid) && oid == 16384);
}

static void database_drop(void **state)
{
    uint8_t data[16];
    uint32_t database, tablespace;
    (void)state;
    wal_put32(data, 5);
    wal_put32(data + 4, 2);
    wal_put32(data + 8, 1663);
    wal_put32(data + 12, 16400);
    struct wal_record r = {.rmid = WAL_RM_DBASE, .info = 0x20, .data = slice_of(data, 16)};
    assert_true(wal_database_drop_of(&r, 15, 1, &database, &tablespace));
    assert_true(database == 5 && tablespace == 16400);
    assert_false(wal_database_drop_of(&r, 15, 2, &database, &tablespace));
    assert_false(wal_database_drop_of(&r, 14, 0, &database, &tablespace)); /* nothing, before 15 */
    r.info = 0x10;
    assert_true(wal_database_drop_of(&r, 14, 0, &database, &tablespace) && tablespace == 1663);
    assert_false(wal_database_drop_of(&r, 15, 0, &database, &tablespace)); /* a creation */
    r.data.len = 12;
    assert_false(wal_database_drop_of(&r, 14, 1, &database, &tablespace));
}

static void forks(void **state)
{
    uint8_t data[20];
    struct wal_fork fork;
    struct wal_fork_truncate cut;
    (void)state;
    for (unsigned k = 0; k < 3; k++)
        wal_put32(data + (size_t)4 * k, 10 + k);
    wal_put32(data + 12, 2);
    struct wal_record r = {.rmid = WAL_RM_SMGR, .info = 0x10, .data = slice_of(data, 16)};
    assert_true(wal_fork_create_of(&r, &fork));
    assert_true(fork.tablespace == 10 && fork.database == 11 && fork.relation == 12 &&
                fork.fork == 2);
    assert_false(wal_fork_truncate_of(&r, &cut));
    wal_put32(data + 12, 4); /* no such fork */
    assert_false(wal_fork_create_of(&r, &fork));
    wal_put32(data, 77);
    for (unsigned k = 0; k < 3; k++)
        wal_put32(data + 4 + (size_t)4 * k, 10 + k);
    wal_put32(data + 16, 5);
    r.info = 0x20;
    assert_false(wal_fork_truncate_of(&r, &cut));
    r.data.len = 20;
    assert_true(wal_fork_truncate_of(&r, &cut));
    assert_true(cut.blocks == 77 && cut.relation.tablespace == 10 && cut.relation.relation == 12 &&
                cut.main && !cut.vm && cut.fsm);
}

/* All lists that may stand before the number of a prepared transaction. */
static uint32_t build_commit(uint8_t *data, unsigned major, bool commit)
{
    uint8_t *p = data;
    wal_put64(p, UINT64_C(86400) * 1000000), p += 8;
    wal_put32(p, 1u | 2u | 4u | 8u | 16u | (major >= 15 ? 256u : 0)), p += 4;
    p += 8;                          /* database */
    wal_put32(p, 3), p += 4 + 3 * 4; /* subtransactions */
    wal_put32(p, 2), p += 4;         /* files */
    for (uint32_t k = 0; k < 6; k++)
        wal_put32(p, 1000 + k), p += 4;
    if (major >= 15)
        wal_put32(p, 2), p += 4 + 2 * (major >= 18 ? 16 : 12); /* statistics */
    if (commit)
        wal_put32(p, 1), p += 4 + 16; /* invalidations */
    wal_put32(p, 4711), p += 4;
    return (uint32_t)(p - data);
}

static void transactions(void **state)
{
    (void)state;
    for (unsigned major = 13; major <= 18; major++) {
        for (unsigned commit = 0; commit < 2; commit++) {
            uint8_t data[200] = {0};
            struct wal_xact x;
            uint32_t len = build_commit(data, major, commit);
            struct wal_record r = {.rmid = WAL_RM_XACT,
                                   .info = commit ? 0xB0 : 0xC0,
                                   .xid = 5,
                                   .data = slice_of(data, len),
                                   .data_bytes = len};
            assert_true(wal_xact_of(&r, major, &x));
            assert_true(x.xid == 4711 && x.subxact_count == 3 && x.relation_count == 2 && !x.cut);
            assert_true(x.time_us == INT64_C(946684800000000) + INT64_C(86400) * 1000000);
            struct wal_fork f = wal_xact_relation(&x, 1);
            assert_true(f.tablespace == 1003 && f.database == 1004 && f.relation == 1005);
            /* of what is longer than what was kept, that much is known */
            r.data.len = 60;
            assert_true(wal_xact_of(&r, major, &x));
            assert_true(x.cut && x.xid == 0 && x.subxact_count == 3 && x.relation_count == 1);
            r.data.len = 30;
            assert_true(wal_xact_of(&r, major, &x));
            assert_true(x.cut && x.subxact_count == 1 && x.relation_count == 0);
            /* a record that is too short for what it says is none, wherever it ends */
            for (r.data_bytes = 0; r.data_bytes < len; r.data_bytes++) {
                r.data.len = r.data_bytes;
                assert_false(wal_xact_of(&r, major, &x));
            }
            /* without the flag nothing follows */
            r.info = commit ? 0x00 : 0x20;
            r.data.len = r.data_bytes = 8;
            assert_true(wal_xact_of(&r, major, &x) && x.xid == 5 && x.relation_count == 0);
        }
    }
}

static void prepared(void **state)
{
    (void)state;
    for (unsigned major = 13; major <= 18; major++) {
        uint8_t data[100] = {0};
        struct wal_xact x;
        size_t stats = major >= 15 ? 8 : 0;
        wal_put32(data + 8, 815);
        wal_put64(data + 16, 1000000);
        wal_put32(data + 28, 2);
        wal_put16(data + 46 + stats, 6);
        memcpy(data + 64 + stats, "ident", 6);
        struct wal_record r = {
            .rmid = WAL_RM_XACT, .info = 0x10, .data = slice_of(data, 70 + stats)};
        assert_int_equal(wal_record_kind(&r, major), WAL_PREPARE);
        assert_true(wal_xact_of(&r, major, &x));
        assert_true(x.xid == 815 && x.subxact_count == 2 && x.time_us == INT64_C(946684801000000) &&
                    x.name.len == 5);
        assert_memory_equal(x.name.data, "ident", 5);
        r.data.len--;
        assert_false(wal_xact_of(&r, major, &x));
    }
}

static void database_create(void **state)
{
    uint8_t data[16];
    struct wal_database_create c;
    (void)state;
    for (unsigned k = 0; k < 4; k++)
        wal_put32(data + (size_t)4 * k, 100 + k);
    struct wal_record r = {.rmid = WAL_RM_DBASE, .info = 0, .data = slice_of(data, 16)};
    assert_true(wal_database_create_of(&r, 13, &c));
    assert_true(c.by_file_copy && c.database == 100 && c.tablespace == 101 &&
                c.source_database == 102 && c.source_tablespace == 103);
    r.info = 0x10;
    r.data.len = 8;
    assert_false(wal_database_create_of(&r, 14, &c)); /* a drop, before 15 */
    assert_true(wal_database_create_of(&r, 15, &c));
    assert_false(c.by_file_copy);
}

static void times_and_points(void **state)
{
    uint8_t data[80] = {0};
    int64_t us;
    char name[WAL_RESTORE_POINT_MAX];
    (void)state;
    wal_put64(data, UINT64_C(86400) * 1000000);
    memcpy(data + 8, "before the change", 18);
    struct wal_record r = {.rmid = WAL_RM_XACT, .info = 0x80, .data = slice_of(data, 72)};
    assert_true(wal_time_of(&r, 15, &us));
    assert_int_equal(us, INT64_C(946771200000000));
    assert_int_equal(wal_record_kind(&r, 15), WAL_COMMIT);
    r.info = 0x20;
    assert_int_equal(wal_record_kind(&r, 15), WAL_ABORT);
    r.info = 0x10; /* prepare carries no such time */
    assert_false(wal_time_of(&r, 15, &us));
    r.rmid = WAL_RM_XLOG;
    r.info = 0x70;
    assert_true(wal_restore_point_of(&r, name));
    assert_string_equal(name, "before the change");
    r.data.len = 71;
    assert_false(wal_restore_point_of(&r, name));
}

static void xlog_records(void **state)
{
    uint8_t data[88] = {0};
    struct wal_checkpoint c;
    struct wal_parameters p;
    uint64_t start;
    bool on;
    (void)state;
    wal_put64(data, 0x1234);
    wal_put32(data + 8, 3);
    wal_put32(data + 12, 2);
    data[16] = 1;
    wal_put64(data + 64, 1700000000);
    struct wal_record r = {.rmid = WAL_RM_XLOG, .info = 0x10, .data = slice_of(data, 88)};
    wal_put64(data + 24, UINT64_C(5000000000));
    wal_put32(data + 20, 2);
    assert_true(wal_checkpoint_of(&r, 15, &c));
    assert_true(c.next_xid == UINT64_C(5000000000) && c.wal_level == -1);
    assert_true(wal_checkpoint_of(&r, 17, &c) && c.wal_level == 2);
    assert_true(c.redo_lsn == 0x1234 && c.timeline == 3 && c.prev_timeline == 2 &&
                c.full_page_writes && !c.shutdown && c.time_us == INT64_C(1700000000000000));
    r.info = 0x50;
    assert_true(wal_backup_end_of(&r, &start) && start == 0x1234);
    r.info = 0x80;
    assert_true(wal_fpw_change_of(&r, &on) && on);
    r.info = 0x60;
    data[24] = 0;
    data[25] = 1;
    assert_true(wal_parameters_of(&r, &p) && p.max_connections == 0x1234 &&
                p.max_worker_processes == 0 && p.max_wal_senders == 3 && !p.wal_log_hints &&
                p.track_commit_timestamp);
    r.data.len = 20;
    assert_false(wal_parameters_of(&r, &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_anywhere),       cmocka_unit_test(starts_inside_a_record),
        cmocka_unit_test(padding_and_switch), cmocka_unit_test(every_changed_byte_is_found),
        cmocka_unit_test(says_what_is_wrong), cmocka_unit_test(blocks_are_stepped_over),
        cmocka_unit_test(long_record),        cmocka_unit_test(overwritten_record),
        cmocka_unit_test(database_drop),      cmocka_unit_test(forks),
        cmocka_unit_test(transactions),       cmocka_unit_test(prepared),
        cmocka_unit_test(callback_stops),     cmocka_unit_test(refuses_configurations),
        cmocka_unit_test(tablespace_create),  cmocka_unit_test(database_create),
        cmocka_unit_test(times_and_points),   cmocka_unit_test(xlog_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
