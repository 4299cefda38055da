/* The index on log made here: events and their places, 64-bit ids, limits, pieces, what is not understood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/engine/postgres/block_refs.h"
#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/wal_reader.h"
#include "agent/engine/postgres/wal_sections.h"
#include "proto/format/events.h"
#include "tests/unit/agent/engine/postgres/wal_build.h"

#define FROM     (UINT64_C(16) * WAL_BUILD_SEGMENT)
#define EPOCH_US INT64_C(946684800000000)

struct fixture {
    struct wal_build log;
    struct buf facts;
    struct engine_log_index *index;
    struct engine_index_part part;
    uint64_t pushed;
};

static void start(struct fixture *f, uint64_t from, uint64_t next_xid)
{
    const struct pg_log_facts facts = {.system_id = f->log.system_id,
                                       .version_num = f->log.major * 10000,
                                       .timeline = 1,
                                       .wal_segment_bytes = WAL_BUILD_SEGMENT,
                                       .block_bytes = 8192,
                                       .next_xid = next_xid};
    struct tm_err err;
    buf_reset(&f->facts);
    assert_int_equal(pg_log_facts_encode(&facts, &f->facts, &err), 0);
    assert_int_equal(pg_index_open(buf_slice(&f->facts), from, &f->index, &err), 0);
    f->pushed = from;
}

static void begin(struct fixture *f, unsigned major, uint64_t next_xid)
{
    *f = (struct fixture){.facts = BUF_INIT};
    wal_build_init(&f->log, major, FROM);
    start(f, FROM, next_xid);
}

static void end(struct fixture *f)
{
    pg_index_close(f->index);
    buf_release(&f->facts);
    wal_build_release(&f->log);
}

/* All that was built and not pushed yet. */
static void take(struct fixture *f)
{
    struct tm_err err;
    struct slice bytes = slice_of(wal_at(&f->log, f->pushed), (size_t)(f->log.at - f->pushed));
    if (pg_index_push(f->index, bytes, &err) < 0)
        fail_msg("%s", err.msg);
    f->pushed = f->log.at;
    assert_int_equal(pg_index_take(f->index, &f->part, &err), 0);
}

static struct slice section(const struct fixture *f, uint16_t id)
{
    for (size_t n = 0; n < f->part.section_count; n++)
        if (f->part.sections[n].id == id)
            return f->part.sections[n].bytes;
    return SLICE_EMPTY;
}

static uint8_t flags_of(const struct fixture *f)
{
    struct slice blocks = section(f, WAL_SECTION_BLOCKS);
    return blocks.len > 0 ? blocks.data[1] : 0;
}

static uint64_t commit(struct fixture *f, uint32_t xid, int64_t seconds)
{
    uint8_t data[8];
    wal_put64(data, (uint64_t)seconds * 1000000);
    return wal_data(&f->log, WAL_RM_XACT, 0x00, xid, data, 8);
}

static void checkpoint(struct fixture *f, uint64_t next_xid)
{
    uint8_t data[88] = {0};
    wal_put64(data, f->log.at);
    wal_put32(data + 8, 1);
    wal_put64(data + 24, next_xid);
    (void)wal_data(&f->log, WAL_RM_XLOG, 0x10, 0, data, sizeof(data));
}

static void places(void **state)
{
    struct fixture f;
    uint8_t point[72] = {0};
    (void)state;
    begin(&f, 16, 700);
    uint64_t first = wal_data(&f.log, 10, 0, 699, "abcdefgh", 8);
    uint64_t second = commit(&f, 699, 5);
    wal_put64(point, 9000000);
    memcpy(point + 8, "here \xC3\xA4 \xFF", 9);
    uint64_t third = wal_data(&f.log, WAL_RM_XLOG, 0x70, 0, point, sizeof(point));
    take(&f);
    assert_int_equal(f.part.event_count, 2);
    const struct log_point *e = f.part.events;
    assert_true(e[0].kind == EVENT_COMMIT && e[0].at == second && e[0].previous == first &&
                e[0].end == third && e[0].xid == 699 && e[0].time_us == EPOCH_US + 5000000);
    assert_string_equal(e[0].name, "");
    assert_true(e[1].kind == EVENT_POINT && e[1].at == third && e[1].previous == second &&
                e[1].end == ((f.log.at + 7) & ~UINT64_C(7)) && e[1].xid == 0 &&
                e[1].time_us == EPOCH_US + 9000000);
    assert_string_equal(e[1].name, "here \xC3\xA4 ?");
    assert_int_equal(f.part.last_record, third);
    assert_int_equal(f.part.section_count, 0);

    /* taken again, nothing new; the next piece has only what came since */
    struct tm_err err;
    assert_int_equal(pg_index_take(f.index, &f.part, &err), 0);
    assert_true(f.part.event_count == 0 && f.part.section_count == 0 &&
                f.part.last_record == third);
    uint64_t fourth = commit(&f, 700, 4);
    /* a record that is cut off belongs to the piece in which it ends */
    const size_t half = (size_t)(f.log.at - f.pushed) - 3;
    assert_int_equal(pg_index_push(f.index, slice_of(wal_at(&f.log, f.pushed), half), &err), 0);
    f.pushed += half;
    assert_int_equal(pg_index_take(f.index, &f.part, &err), 0);
    assert_true(f.part.event_count == 0 && f.part.last_record == third);
    take(&f);
    assert_true(f.part.event_count == 1 && f.part.events[0].at == fourth &&
                f.part.events[0].xid == 700 && f.part.last_record == fourth);
    end(&f);
}

static uint64_t last_xid(struct fixture *f, uint32_t xid)
{
    (void)commit(f, xid, 1);
    take(f);
    return f->part.events[f->part.event_count - 1].xid;
}

static void ids(void **state)
{
    const uint64_t epoch = UINT64_C(1) << 32;
    struct fixture f;
    (void)state;
    begin(&f, 13, 0); /* nothing is known: the lower half is all there is */
    assert_int_equal(last_xid(&f, 4000000000), 4000000000);
    /* … until ids wrap around, or a checkpoint says it */
    assert_int_equal(last_xid(&f, 5), epoch + 5);
    assert_int_equal(last_xid(&f, 4294967290), 4294967290);
    checkpoint(&f, 7 * epoch + 100);
    assert_int_equal(last_xid(&f, 99), 7 * epoch + 99);
    assert_int_equal(last_xid(&f, 4294967290), 6 * epoch + 4294967290);
    assert_int_equal(last_xid(&f, 2000000000), 7 * epoch + 2000000000);
    assert_int_equal(last_xid(&f, 4000000000), 7 * epoch + 4000000000);
    assert_int_equal(last_xid(&f, 3), 8 * epoch + 3);
    end(&f);
    begin(&f, 13, 3 * epoch + 10); /* known from the source */
    assert_int_equal(last_xid(&f, 4294967295), 2 * epoch + 4294967295);
    assert_int_equal(last_xid(&f, 12), 3 * epoch + 12);
    end(&f);
    begin(&f, 13, 10); /* there is nothing before the first */
    assert_int_equal(last_xid(&f, 4294967295), 4294967295);
    end(&f);
}

static void files(void **state)
{
    uint8_t data[64] = {0};
    struct fixture f;
    struct block_refs_reader r;
    struct block_refs_fork fork;
    struct tm_err err;
    (void)state;
    begin(&f, 15, 0);
    /* a commit that removes two relations: flags, count, files */
    wal_put32(data + 8, 4);
    wal_put32(data + 12, 2);
    for (uint32_t k = 0; k < 6; k++)
        wal_put32(data + 16 + (size_t)4 * k, 100 + k);
    (void)wal_data(&f.log, WAL_RM_XACT, 0x80, 7, data, 40);
    /* a truncation to 12 blocks of all forks */
    wal_put32(data, 12);
    for (uint32_t k = 0; k < 3; k++)
        wal_put32(data + 4 + (size_t)4 * k, 50 + k);
    wal_put32(data + 16, 7);
    (void)wal_data(&f.log, WAL_RM_SMGR, 0x20, 7, data, 20);
    /* a database made by log */
    (void)wal_data(&f.log, WAL_RM_DBASE, 0x10, 7, "\x09\0\0\0\x08\0\0\0", 8);
    take(&f);
    static const struct block_refs_fork want[] = {
        {{8, 9, 0, 255}, true, 0, 0},       {{50, 51, 52, 0}, true, 12, 0},
        {{50, 51, 52, 1}, true, 0, 0},      {{50, 51, 52, 2}, true, 0, 0},
        {{100, 101, 102, 255}, true, 0, 0}, {{103, 104, 105, 255}, true, 0, 0},
    };
    assert_int_equal(f.part.section_count, 2);
    assert_true(f.part.sections[0].id == 256 && f.part.sections[1].id == 258);
    assert_int_equal(block_refs_reader_init(&r, section(&f, 256), &err), 0);
    assert_int_equal(r.flags, 0);
    for (size_t n = 0; n < TM_ARRAY_LEN(want); n++) {
        assert_int_equal(block_refs_reader_fork(&r, &fork, &err), 1);
        assert_true(fork.fork.tablespace == want[n].fork.tablespace &&
                    fork.fork.database == want[n].fork.database &&
                    fork.fork.relation == want[n].fork.relation &&
                    fork.fork.fork == want[n].fork.fork && fork.has_limit &&
                    fork.limit == want[n].limit && fork.blocks == 0);
    }
    assert_int_equal(block_refs_reader_fork(&r, &fork, &err), 0);
    end(&f);
}

/* What cannot be read marks its piece, only its piece, and the log goes on. */
static void not_understood(void **state)
{
    static const struct {
        uint8_t rmid;
        uint8_t info;
    } kinds[] = {
        {WAL_RM_XACT, 0x00},   {WAL_RM_XACT, 0x10},   {WAL_RM_XACT, 0x20},  {WAL_RM_XLOG, 0x10},
        {WAL_RM_XLOG, 0x60},   {WAL_RM_XLOG, 0x70},   {WAL_RM_XLOG, 0x80},  {WAL_RM_SMGR, 0x10},
        {WAL_RM_SMGR, 0x20},   {WAL_RM_DBASE, 0x00},  {WAL_RM_DBASE, 0x10}, {WAL_RM_DBASE, 0x20},
        {WAL_RM_TBLSPC, 0x00}, {WAL_RM_TBLSPC, 0x10},
    };
    struct fixture f;
    (void)state;
    begin(&f, 18, 0);
    for (size_t n = 0; n < TM_ARRAY_LEN(kinds); n++) {
        (void)wal_data(&f.log, kinds[n].rmid, kinds[n].info, 1, NULL, 0);
        take(&f);
        assert_int_equal(flags_of(&f), BLOCK_REFS_INCOMPLETE);
        assert_int_equal(f.part.event_count, 0);
        assert_int_equal(last_xid(&f, 9), 9);
        assert_int_equal(f.part.section_count, 0);
    }
    end(&f);
}

/* A record from before the first byte is told where it ends. */
static void headless(void **state)
{
    static uint8_t data[300000];
    struct fixture f;
    (void)state;
    begin(&f, 14, 0);
    pg_index_close(f.index);
    while (f.log.at < FROM + WAL_BUILD_SEGMENT)
        (void)wal_data(&f.log, 10, 0, 1, data, sizeof(data));
    start(&f, FROM + WAL_BUILD_SEGMENT, 0);
    uint64_t rest = f.log.at;
    f.log.at = FROM + WAL_BUILD_SEGMENT + 5000; /* not its end */
    take(&f);
    assert_int_equal(f.part.section_count, 0);
    assert_int_equal(f.part.last_record, 0);
    f.log.at = rest;
    take(&f);
    assert_int_equal(flags_of(&f), BLOCK_REFS_HEADLESS);
    assert_int_equal(f.part.last_record, 0);
    assert_int_equal(last_xid(&f, 9), 9);
    assert_int_equal(f.part.section_count, 0);
    end(&f);
}

struct source {
    const struct wal_build *log;
    uint64_t until;
    uint64_t lost; /* from here on, when not 0 */
    unsigned reads;
};

static int read_piece(void *arg, uint64_t at, struct slice *ret, struct tm_err *err)
{
    struct source *s = arg;
    uint64_t until = s->lost ? s->lost : s->until;
    s->reads++;
    if (s->lost && at >= s->lost)
        return tm_err_set(err, TM_E_CORRUPT, "lost");
    *ret = slice_of(s->log->bytes + (at - FROM), (size_t)TM_MIN(until - at, UINT64_C(1000)));
    return 0;
}

static void last_records(void **state)
{
    struct fixture f;
    struct tm_err err;
    uint64_t lsns[100], found = 0;
    (void)state;
    begin(&f, 17, 0);
    for (uint32_t n = 0; n < 100; n++)
        lsns[n] = wal_data(&f.log, 10, 0, 1, "0123456789", 10);
    struct source s = {.log = &f.log, .until = f.log.at};
    struct slice facts = buf_slice(&f.facts);
#define FIND(limit, before)                                                                        \
    pg_log_last_record(facts, FROM, read_piece, &s, limit, before, &found, &err)
    assert_int_equal(FIND(UINT64_MAX, false), 0);
    assert_int_equal(found, lsns[99]);
    assert_int_equal(FIND(lsns[50], false), 0);
    assert_int_equal(found, lsns[50]);
    assert_int_equal(FIND(lsns[50], true), 0);
    assert_int_equal(found, lsns[49]);
    assert_int_equal(FIND(lsns[50] - 1, false), 0);
    assert_int_equal(found, lsns[49]);
    s.reads = 0;
    assert_int_equal(FIND(lsns[1], false), 0);
    assert_int_equal(found, lsns[1]);
    assert_int_equal(s.reads, 1); /* not more than it must */
    assert_int_equal(FIND(lsns[0], true), -TM_E_NOT_FOUND);
    assert_string_equal(err.msg, "no record begins before 0/1000028 in the log from there on");
    /* one that is not whole is none */
    s.until = f.log.at - 1;
    assert_int_equal(FIND(UINT64_MAX, false), 0);
    assert_int_equal(found, lsns[98]);
    s.until = FROM;
    assert_int_equal(FIND(UINT64_MAX, false), -TM_E_NOT_FOUND);
    /* log behind a record that ends behind the limit is not asked for */
    s.until = f.log.at;
    s.lost = lsns[50];
    assert_int_equal(FIND(lsns[49], false), 0);
    assert_int_equal(found, lsns[49]);
    assert_int_equal(FIND(lsns[50] - 1, false), 0);
    assert_int_equal(found, lsns[49]);
    assert_int_equal(FIND(lsns[50], true), 0);
    assert_int_equal(found, lsns[49]);
    assert_int_equal(FIND(lsns[50], false), -TM_E_CORRUPT);
    s.lost = 0;
    /* behind the limit nothing is looked at, before it all */
    s.until = f.log.at;
    *wal_at(&f.log, lsns[60] + 30) ^= 1;
    assert_int_equal(FIND(lsns[10], false), 0);
    assert_int_equal(FIND(lsns[70], false), -TM_E_CORRUPT);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),   cmocka_unit_test(ids),
        cmocka_unit_test(files),    cmocka_unit_test(not_understood),
        cmocka_unit_test(headless), cmocka_unit_test(last_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
