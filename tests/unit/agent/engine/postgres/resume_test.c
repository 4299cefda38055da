/* What keeps a snapshot from being resumed, each guard alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/engine/postgres/resume.h"

#define HOLD     "tidemark_x"
#define LOG_FROM 0x5000000u

struct room {
    struct pg_version version;
    struct pg_tablespace before[2], after[3];
    struct pg_begin first;
    struct pg_resume_now now;
};

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant;
}

static void set_up(struct room *room)
{
    *room = (struct room){
        .version = *pg_version_find(15),
        .before = {{16400, text("/srv/a")}, {16402, text("/srv/b")}},
        .after = {{16400, text("/srv/a")}, {16402, text("/srv/b")}, {16403, text("/srv/c")}},
        .first = {.system_id = 4711,
                  .start_lsn = 0x3000028,
                  .timeline = 2,
                  .version_num = 150018,
                  .catalog_version = 202209061,
                  .checksum_version = 1,
                  .checkpoint_lsn = 0x3000060,
                  .next_xid = 700,
                  .tablespace_count = 2,
                  .history = {(uint8_t *)(uintptr_t) "1\t0/2", 5, 5}},
        .now = {.wal_level = "replica",
                .full_page_writes = true,
                .flushed = LOG_FROM,
                .slot = {.found = true, .physical = true, .from = LOG_FROM}}};
    room->first.tablespaces = room->before;
    room->now.version = &room->version;
    room->now.place = room->first;
    room->now.place.tablespaces = room->after;
    room->now.place.version_num = 0; /* not looked at */
}

static void refused(const struct room *room, const char *message)
{
    struct tm_err err = {0};
    assert_int_equal(pg_resume_judge(&room->first, &room->now, HOLD, LOG_FROM, &err),
                     -TM_E_CONFLICT);
    assert_string_equal(err.msg, message);
    assert_false(err.retryable);
}

static void test_allowed(void **state)
{
    struct room room;
    struct tm_err err = {0};
    (void)state;
    for (uint32_t major = PG_MAJOR_MIN; major <= PG_MAJOR_MAX; major++) {
        set_up(&room);
        room.now.version = pg_version_find(major);
        room.first.version_num = major * 10000 + 99; /* another minor version is no matter */
        if (pg_resume_judge(&room.first, &room.now, HOLD, LOG_FROM, &err) < 0)
            fail_msg("%s", err.msg);
    }
}

static void test_version(void **state)
{
    struct room room;
    (void)state;
    set_up(&room);
    room.now.version = pg_version_find(16);
    refused(&room, "the server is PostgreSQL 16 now, the earlier attempt was on 15");
    set_up(&room);
    room.version.resume_proven = false;
    refused(&room, "it is not proven for PostgreSQL 15");
    set_up(&room);
    room.now.place.catalog_version = 202209062;
    refused(&room, "the server has catalog version 202209062 now, the earlier attempt was on "
                   "202209061");
    set_up(&room);
    room.first.checkpoint_lsn = 0;
    refused(&room, "the earlier attempt does not say which checkpoint it began from");
    set_up(&room);
    room.first.next_xid = 0;
    refused(&room, "the earlier attempt does not say which transaction was next at its start");
    set_up(&room);
    room.first.further_count = PG_STARTS_MAX;
    refused(&room, "it was resumed 256 times");
}

static void test_lineage(void **state)
{
    struct room room;
    (void)state;
    set_up(&room);
    room.now.place.system_id = 4712;
    refused(&room, "the server has system identifier 4712, the earlier attempt was on 4711");
    set_up(&room);
    room.now.place.timeline = 3;
    refused(&room, "the server is on timeline 3 now, the earlier attempt was on 2");
    set_up(&room);
    room.now.place.history.len = 4;
    refused(&room, "timeline 2 has another history than at the earlier attempt");
}

static void test_settings(void **state)
{
    struct room room;
    (void)state;
    set_up(&room);
    room.now.place.checksum_version = 0;
    refused(&room, "page checksums have version 0 now, at the earlier attempt 1 (0 is none)");
    set_up(&room);
    snprintf(room.now.wal_level, sizeof(room.now.wal_level), "minimal");
    refused(&room, "wal_level is minimal");
    set_up(&room);
    room.now.full_page_writes = false;
    refused(&room, "full_page_writes is off");
}

static void test_tablespaces(void **state)
{
    struct room room;
    (void)state;
    set_up(&room);
    room.now.place.tablespace_count = 3;
    refused(&room, "tablespace 16403 at '/srv/c' was created since the earlier attempt");
    set_up(&room);
    room.now.place.tablespace_count = 1;
    refused(&room, "tablespace 16402 at '/srv/b' was dropped since the earlier attempt");
    set_up(&room);
    room.after[1].path = text("/srv/z");
    refused(&room, "tablespace 16402 is at '/srv/z' now, at the earlier attempt at '/srv/b'");
    set_up(&room);
    room.after[0].oid = 16399; /* one for another */
    refused(&room, "tablespace 16399 at '/srv/a' was created since the earlier attempt");
}

static void test_log(void **state)
{
    struct room room;
    (void)state;
    set_up(&room);
    room.now.slot.found = false;
    refused(&room, "replication slot 'tidemark_x', which held the log, is gone");
    set_up(&room);
    room.now.slot.physical = false;
    refused(&room, "replication slot 'tidemark_x' is a logical one");
    set_up(&room);
    room.now.slot.temporary = true;
    refused(&room, "replication slot 'tidemark_x' is a temporary one");
    set_up(&room);
    room.now.slot.lost = true;
    refused(&room, "the server gave up replication slot 'tidemark_x', which held the log");
    set_up(&room);
    room.now.slot.from = LOG_FROM + 1;
    refused(&room, "replication slot 'tidemark_x' holds log from 0/5000001 on, but it is stored "
                   "only up to 0/5000000");
    set_up(&room);
    room.now.flushed = LOG_FROM - 1;
    refused(&room, "the server's log ends at 0/4FFFFFF, but is stored up to 0/5000000: the server "
                   "was set back");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allowed),     cmocka_unit_test(test_version),
        cmocka_unit_test(test_lineage),     cmocka_unit_test(test_settings),
        cmocka_unit_test(test_tablespaces), cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
