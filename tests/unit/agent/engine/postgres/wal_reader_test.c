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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_anywhere),       cmocka_unit_test(starts_inside_a_record),
        cmocka_unit_test(padding_and_switch), cmocka_unit_test(every_changed_byte_is_found),
        cmocka_unit_test(says_what_is_wrong), cmocka_unit_test(blocks_are_stepped_over),
        cmocka_unit_test(long_record),        cmocka_unit_test(overwritten_record),
        cmocka_unit_test(callback_stops),     cmocka_unit_test(refuses_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
