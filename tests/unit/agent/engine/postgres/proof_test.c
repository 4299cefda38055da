/* The proof over log made by hand: one that holds, and each reason why one does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/engine/postgres/checkpoint.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_reader.h"
#include "tests/unit/agent/engine/postgres/wal_build.h"

#define FROM (3 * (uint64_t)WAL_BUILD_SEGMENT)

/* Log with two starts, that of the second session in the middle of it. */
struct room {
    struct wal_build wal;
    struct pg_begin begin;
    struct pg_end end;
    struct pg_start further;
};

static uint64_t put_checkpoint(struct wal_build *wal, uint64_t redo, bool images, uint32_t level,
                               uint32_t before)
{
    uint8_t data[88] = {0};
    wal_put64(data, redo);
    wal_put32(data + 8, wal->timeline);
    wal_put32(data + 12, before);
    data[16] = images;
    if (wal->major >= 17)
        wal_put32(data + 20, level);
    wal_put64(data + 24, redo + 7); /* the next transaction: any number that can be told apart */
    return wal_data(wal, WAL_RM_XLOG, 0x10, 0, data, sizeof(data));
}

static uint64_t filler(struct wal_build *wal)
{
    static const uint8_t text[300] = {1};
    return wal_data(wal, 10, 0, 5, text, sizeof(text));
}

static void put_end(struct room *room, uint64_t start)
{
    uint8_t data[8];
    wal_put64(data, start);
    wal_data(&room->wal, WAL_RM_XLOG, 0x50, 0, data, sizeof(data));
    room->end.stop_lsn = (room->wal.at + 7) & ~UINT64_C(7);
}

/* Up to where the first session was lost. */
static void first_half(struct room *room, unsigned major)
{
    static char empty[] = "", label[] = "test";
    *room = (struct room){.further = {.us = 7}};
    wal_build_init(&room->wal, major, FROM);
    filler(&room->wal);
    const uint64_t start = filler(&room->wal);
    for (unsigned n = 0; n < 40; n++)
        filler(&room->wal);
    const uint64_t checkpoint = put_checkpoint(&room->wal, start, true, 1, 1);
    room->begin = (struct pg_begin){.system_id = room->wal.system_id,
                                    .start_lsn = start,
                                    .replay_from = FROM,
                                    .timeline = 1,
                                    .version_num = major * 10000,
                                    .block_bytes = 8192,
                                    .relation_segment_blocks = 131072,
                                    .wal_segment_bytes = WAL_BUILD_SEGMENT,
                                    .data_dir = empty,
                                    .label = label,
                                    .checkpoint_lsn = checkpoint,
                                    .settings = {.wal_level = 1},
                                    .further = &room->further,
                                    .further_count = 1};
    room->end.timeline = 1;
}

/* From the second start on. */
static void second_half(struct room *room)
{
    room->further.lsn = filler(&room->wal);
    put_checkpoint(&room->wal, room->further.lsn, true, 1, 1);
    put_end(room, room->further.lsn);
}

static int prove(struct room *room, size_t piece, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf end = BUF_INIT;
    struct engine_proof *proof = NULL;
    struct tm_err made = {0};
    assert_int_equal(pg_begin_encode(&room->begin, &begin, &made), 0);
    assert_int_equal(pg_end_encode(&room->end, &end, &made), 0);
    assert_true(pg_snapshot_resumed(buf_slice(&begin)) == (room->begin.further_count > 0));
    int r = pg_proof_open(buf_slice(&begin), &proof, err);
    assert_int_equal(r, 0);
    const uint64_t until = TM_MIN(room->end.stop_lsn, room->wal.at);
    for (uint64_t at = FROM; r == 0 && at < until; at += piece)
        r = pg_proof_push(
            proof, slice_of(wal_at(&room->wal, at), (size_t)TM_MIN((uint64_t)piece, until - at)),
            err);
    if (r == 0)
        r = pg_proof_end(proof, buf_slice(&end), err);
    pg_proof_close(proof);
    wal_build_release(&room->wal);
    return r;
}

static void holds(struct room *room, size_t piece)
{
    struct tm_err err = {0};
    if (prove(room, piece, &err) < 0)
        fail_msg("%s", err.msg);
}

/* The message may name the place of one record. */
static void fails(struct room *room, const char *format, uint64_t lsn)
{
    struct tm_err err = {0};
    char want[400], at[PG_LSN_TEXT_MAX];
    const char *place = strstr(format, "%s");
    const int before = place ? (int)(place - format) : (int)strlen(format);
    snprintf(want, sizeof(want), "%.*s%s%s", before, format, place ? pg_lsn_format(lsn, at) : "",
             place ? place + 2 : "");
    assert_int_equal(prove(room, 4096, &err), -TM_E_CONFLICT);
    assert_string_equal(err.msg, want);
}

static void test_holds(void **state)
{
    (void)state;
    for (unsigned major = 13; major <= 18; major++) {
        static const size_t pieces[] = {97, 4096, (size_t)8 << 20};
        for (size_t n = 0; n < TM_ARRAY_LEN(pieces); n++) {
            struct room room;
            first_half(&room, major);
            second_half(&room);
            holds(&room, pieces[n]);
        }
    }
    /* one that was not resumed, too */
    struct room room;
    first_half(&room, 15);
    put_end(&room, room.begin.start_lsn);
    room.begin.further_count = 0;
    holds(&room, 4096);
}

static void test_images(void **state)
{
    static const uint8_t off = 0, on = 1;
    struct room room;
    (void)state;
    for (unsigned major = 13; major <= 18; major++) {
        first_half(&room, major);
        uint64_t at = wal_data(&room.wal, WAL_RM_XLOG, 0x80, 0, &off, 1);
        wal_data(&room.wal, WAL_RM_XLOG, 0x80, 0, &on, 1);
        second_half(&room);
        fails(&room, "full_page_writes was off at %s", at);

        first_half(&room, major);
        at = put_checkpoint(&room.wal, room.begin.checkpoint_lsn, false, 1, 1);
        second_half(&room);
        fails(&room, "full_page_writes was off at %s", at);
    }
    first_half(&room, 15);
    wal_data(&room.wal, WAL_RM_XLOG, 0x80, 0, &on, 1);
    second_half(&room);
    holds(&room, 4096);

    /* what lies before the start is no matter */
    first_half(&room, 15);
    wal_build_release(&room.wal);
    wal_build_init(&room.wal, 15, FROM);
    wal_data(&room.wal, WAL_RM_XLOG, 0x80, 0, &off, 1);
    room.begin.start_lsn = wal_data(&room.wal, WAL_RM_XLOG, 0x80, 0, &on, 1);
    room.begin.checkpoint_lsn = put_checkpoint(&room.wal, room.begin.start_lsn, true, 1, 1);
    second_half(&room);
    holds(&room, 4096);
}

static void test_level(void **state)
{
    uint8_t parameters[28] = {0};
    struct room room;
    (void)state;
    first_half(&room, 15);
    uint64_t at = wal_data(&room.wal, WAL_RM_XLOG, 0x60, 0, parameters, sizeof(parameters));
    second_half(&room);
    fails(&room, "wal_level was minimal at %s", at);

    first_half(&room, 15);
    wal_put32(parameters + 20, 2);
    wal_data(&room.wal, WAL_RM_XLOG, 0x60, 0, parameters, sizeof(parameters));
    second_half(&room);
    holds(&room, 4096);

    first_half(&room, 17);
    at = put_checkpoint(&room.wal, room.begin.checkpoint_lsn, true, 0, 1);
    second_half(&room);
    fails(&room, "wal_level was minimal at %s", at);
}

static void test_timeline(void **state)
{
    uint8_t recovered[16] = {0};
    struct room room;
    (void)state;
    first_half(&room, 15);
    uint64_t at = put_checkpoint(&room.wal, room.begin.checkpoint_lsn, true, 1, 4);
    second_half(&room);
    fails(&room, "the server went from timeline 4 to 1 at %s", at);

    first_half(&room, 15);
    at = wal_data(&room.wal, WAL_RM_XLOG, 0x90, 0, recovered, sizeof(recovered));
    second_half(&room);
    fails(&room, "the server went from timeline 1 to 1 at %s", at);

    /* the segment of the start began on the parent's timeline */
    first_half(&room, 15);
    wal_build_release(&room.wal);
    wal_build_init(&room.wal, 15, FROM);
    while (room.wal.at < FROM + 2 * WAL_BUILD_PAGE)
        filler(&room.wal);
    room.wal.timeline = room.begin.timeline = room.end.timeline = 2;
    while (room.wal.at < FROM + 3 * WAL_BUILD_PAGE)
        filler(&room.wal);
    filler(&room.wal);
    room.begin.start_lsn = filler(&room.wal);
    room.begin.checkpoint_lsn = put_checkpoint(&room.wal, room.begin.start_lsn, true, 1, 2);
    room.further.lsn = filler(&room.wal);
    put_checkpoint(&room.wal, room.further.lsn, true, 1, 2);
    put_end(&room, room.further.lsn);
    holds(&room, 4096);

    first_half(&room, 15);
    second_half(&room);
    room.end.timeline = 2;
    fails(&room, "the server went from timeline 1 to 2 at %s", room.end.stop_lsn);
}

static uint64_t put_tablespace(struct wal_build *wal, bool drop)
{
    uint8_t data[20] = {0};
    wal_put32(data, 16400);
    memcpy(data + 4, "/srv/a", 7);
    return wal_data(wal, WAL_RM_TBLSPC, drop ? 0x10 : 0, 5, data, drop ? 4 : 11);
}

static void test_tablespaces(void **state)
{
    struct room room;
    (void)state;
    first_half(&room, 15);
    uint64_t at = put_tablespace(&room.wal, false);
    second_half(&room);
    fails(&room, "tablespace 16400 at '/srv/a' was created at %s, between the attempts", at);

    first_half(&room, 15);
    at = put_tablespace(&room.wal, true);
    second_half(&room);
    fails(&room, "tablespace 16400 was dropped at %s, between the attempts", at);

    /* behind the last start it is a backup like any other */
    first_half(&room, 15);
    room.further.lsn = filler(&room.wal);
    put_checkpoint(&room.wal, room.further.lsn, true, 1, 1);
    put_tablespace(&room.wal, false);
    put_end(&room, room.further.lsn);
    holds(&room, 4096);
}

static uint64_t put_database(struct wal_build *wal, uint32_t database, uint32_t source)
{
    uint8_t data[16];
    wal_put32(data, database);
    wal_put32(data + 4, 1663);
    wal_put32(data + 8, source);
    wal_put32(data + 12, 1663);
    return wal_data(wal, WAL_RM_DBASE, 0, 5, data, sizeof(data));
}

/* A record of one block without data. */
static uint64_t put_block(struct wal_build *wal, uint32_t database)
{
    uint8_t body[20] = {0};
    wal_put32(body + 4, 1663);
    wal_put32(body + 8, database);
    wal_put32(body + 12, 1259);
    return wal_body(wal, 10, 0, 5, body, sizeof(body));
}

static void test_templates(void **state)
{
    struct room room;
    char want[200], copied[PG_LSN_TEXT_MAX];
    (void)state;
    /* the template was changed before, the copy afterwards, and others */
    first_half(&room, 14);
    put_block(&room.wal, 5);
    put_database(&room.wal, 16500, 5);
    put_block(&room.wal, 16500);
    put_block(&room.wal, 0);
    second_half(&room);
    holds(&room, 4096);

    first_half(&room, 14);
    pg_lsn_format(put_database(&room.wal, 16500, 5), copied);
    put_database(&room.wal, 16501, 5);
    uint64_t at = put_block(&room.wal, 5);
    second_half(&room);
    snprintf(want, sizeof(want),
             "database 16500 was copied by files from database 5 at %s, which was changed at %%s",
             copied);
    fails(&room, want, at);

    for (unsigned major = 14; major <= 15; major++) {
        uint8_t dropped[12];
        wal_put32(dropped, 5);
        wal_put32(dropped + 4, 1);
        wal_put32(dropped + 8, 1663);
        first_half(&room, major);
        pg_lsn_format(put_database(&room.wal, 16500, 5), copied);
        at = wal_data(&room.wal, WAL_RM_DBASE, major < 15 ? 0x10 : 0x20, 5, dropped,
                      sizeof(dropped));
        second_half(&room);
        snprintf(want, sizeof(want),
                 "database 16500 was copied by files from database 5 at %s, which was dropped at "
                 "%%s",
                 copied);
        fails(&room, want, at);
    }

    /* by log, which says it all */
    first_half(&room, 15);
    uint8_t header[8];
    wal_put32(header, 16500);
    wal_put32(header + 4, 1663);
    wal_data(&room.wal, WAL_RM_DBASE, 0x10, 5, header, sizeof(header));
    put_block(&room.wal, 5);
    second_half(&room);
    holds(&room, 4096);
}

static void test_other_log(void **state)
{
    struct room room;
    (void)state;
    /* a server that was set back: the record after the joint names another one before it */
    first_half(&room, 15);
    const uint64_t good = room.wal.prev;
    room.wal.prev -= 8;
    const uint64_t at = filler(&room.wal);
    second_half(&room);
    struct tm_err err = {0};
    assert_int_equal(prove(&room, 4096, &err), -TM_E_CONFLICT);
    char want[200], lsn[PG_LSN_TEXT_MAX];
    snprintf(want, sizeof(want), "the log since the first start is not of one piece: log at %s: ",
             pg_lsn_format(at, lsn));
    assert_true(good > 0 && strncmp(err.msg, want, strlen(want)) == 0);

    /* another server's */
    first_half(&room, 15);
    second_half(&room);
    room.begin.system_id++;
    fails(&room,
          "the log since the first start is not of one piece: log at %s: it belongs to "
          "another server (system identifier differs)",
          FROM);

    /* a start, or the end, that it does not hold */
    first_half(&room, 15);
    second_half(&room);
    room.further.lsn -= 8;
    fails(&room, "the log does not hold the checkpoint of the start at %s", room.further.lsn);
    first_half(&room, 15);
    second_half(&room);
    room.begin.checkpoint_lsn -= 8;
    fails(&room, "the log does not hold the checkpoint of the start at %s", room.begin.start_lsn);
    first_half(&room, 15);
    room.further.lsn = filler(&room.wal);
    put_checkpoint(&room.wal, room.further.lsn, true, 1, 1);
    put_end(&room, room.begin.start_lsn); /* that of an earlier session does not count */
    fails(&room, "the log does not hold the end of the backup that started at %s",
          room.further.lsn);

    /* it ends too early */
    first_half(&room, 15);
    second_half(&room);
    const uint64_t reached = room.end.stop_lsn;
    room.end.stop_lsn += 16;
    char format[200], stop[PG_LSN_TEXT_MAX];
    snprintf(format, sizeof(format), "the log ends at %%s, but the snapshot at %s",
             pg_lsn_format(room.end.stop_lsn, stop));
    fails(&room, format, reached);
}

/* ---- the checkpoint of a start ---- */

static void test_checkpoint_find(void **state)
{
    char dir[] = "/tmp/proof_test.XXXXXX", path[200], name[PG_WAL_NAME_MAX], command[80];
    struct tm_err err = {0};
    uint64_t found = 0, next_xid = 0;
    struct room room;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/pg_wal", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    first_half(&room, 15);
    /* one that overtook it, in the next segment */
    while (room.wal.at < FROM + WAL_BUILD_SEGMENT)
        filler(&room.wal);
    const uint64_t later = filler(&room.wal);
    const uint64_t record = put_checkpoint(&room.wal, later, true, 1, 1);
    for (uint64_t at = FROM; at < FROM + 2 * WAL_BUILD_SEGMENT; at += WAL_BUILD_SEGMENT) {
        snprintf(path, sizeof(path), "%s/pg_wal/%s", dir,
                 pg_wal_segment_name(1, at, WAL_BUILD_SEGMENT, name));
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, wal_at(&room.wal, at), WAL_BUILD_SEGMENT), WAL_BUILD_SEGMENT);
        close(fd);
    }
    assert_int_equal(pg_checkpoint_find(dir, &room.begin, &found, &next_xid, &err), 0);
    assert_int_equal(found, room.begin.checkpoint_lsn);
    assert_int_equal(next_xid, room.begin.start_lsn + 7);
    struct pg_begin other = room.begin;
    other.start_lsn = later;
    assert_int_equal(pg_checkpoint_find(dir, &other, &found, &next_xid, &err), 0);
    assert_int_equal(found, record);
    assert_int_equal(next_xid, later + 7);
    other.start_lsn = later + 8;
    assert_true(pg_checkpoint_find(dir, &other, &found, &next_xid, &err) < 0);
    assert_non_null(strstr(err.msg, "cannot find the checkpoint that the backup starts from, at "));
    assert_int_equal(found, record);
    assert_int_equal(truncate(path, 0), 0); /* no endless loop */
    assert_int_equal(pg_checkpoint_find(dir, &other, &found, &next_xid, &err), -TM_E_CORRUPT);
    assert_non_null(strstr(err.msg, "is no whole segment"));
    wal_build_release(&room.wal);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holds),       cmocka_unit_test(test_images),
        cmocka_unit_test(test_level),       cmocka_unit_test(test_timeline),
        cmocka_unit_test(test_tablespaces), cmocka_unit_test(test_templates),
        cmocka_unit_test(test_other_log),   cmocka_unit_test(test_checkpoint_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
