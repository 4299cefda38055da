/* Settings, tablespaces and databases in a chunk's sections: round trips, limits, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/engine/postgres/wal_sections.h"

static const struct wal_setting settings[] = {
    {.kind = WAL_SETTING_FULL_PAGE_WRITES, .at = 0x1000028, .full_page_writes = true},
    {.kind = WAL_SETTING_PARAMETERS,
     .at = 0x1000100,
     .parameters = {100, 8, 10, 0, 64, 2, true, false}},
    {.kind = WAL_SETTING_CHECKPOINT,
     .at = 0x1000200,
     .checkpoint = {.redo_lsn = 0x1000100,
                    .next_xid = UINT64_C(5000000000),
                    .wal_level = -1,
                    .full_page_writes = true,
                    .shutdown = false,
                    .time_us = INT64_C(1700000000000000)}},
    {.kind = WAL_SETTING_CHECKPOINT,
     .at = 0x1000300,
     .checkpoint = {.redo_lsn = 0x1000300, .wal_level = 2, .shutdown = true}},
    {.kind = WAL_SETTING_FULL_PAGE_WRITES, .at = 0x1000400, .full_page_writes = false},
};

static void assert_same(const struct wal_setting *a, const struct wal_setting *b)
{
    const struct wal_parameters *p = &a->parameters, *q = &b->parameters;
    const struct wal_checkpoint *c = &a->checkpoint, *d = &b->checkpoint;
    assert_true(a->kind == b->kind && a->at == b->at && a->full_page_writes == b->full_page_writes);
    assert_true(p->max_connections == q->max_connections &&
                p->max_worker_processes == q->max_worker_processes &&
                p->max_wal_senders == q->max_wal_senders &&
                p->max_prepared_xacts == q->max_prepared_xacts &&
                p->max_locks_per_xact == q->max_locks_per_xact && p->wal_level == q->wal_level &&
                p->wal_log_hints == q->wal_log_hints &&
                p->track_commit_timestamp == q->track_commit_timestamp);
    assert_true(c->redo_lsn == d->redo_lsn && c->next_xid == d->next_xid &&
                c->wal_level == d->wal_level && c->full_page_writes == d->full_page_writes &&
                c->shutdown == d->shutdown && c->time_us == d->time_us);
}

static void setting_trip(void **state)
{
    struct wal_items items = WAL_ITEMS_INIT;
    struct buf out = BUF_INIT;
    struct wal_items_reader r;
    struct wal_setting got;
    struct tm_err err;
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(settings); n++)
        assert_int_equal(wal_items_setting(&items, &settings[n], &err), 0);
    assert_int_equal(wal_items_encode(&items, &out, &err), 0);
    assert_int_equal(wal_items_reader_init(&r, buf_slice(&out), &err), 0);
    assert_false(r.short_of);
    for (size_t n = 0; n < TM_ARRAY_LEN(settings); n++) {
        assert_int_equal(wal_items_next_setting(&r, &got, &err), 1);
        assert_same(&got, &settings[n]);
    }
    assert_int_equal(wal_items_next_setting(&r, &got, &err), 0);
    /* cut anywhere, it is damage */
    for (size_t len = 0; len < out.len; len++) {
        int rc = wal_items_reader_init(&r, slice_of(out.data, len), &err);
        while (rc >= 0 && (rc = wal_items_next_setting(&r, &got, &err)) == 1)
            ;
        assert_int_equal(rc, -TM_E_CORRUPT);
    }
    wal_items_clear(&items);
    buf_reset(&out);
    assert_int_equal(wal_items_encode(&items, &out, &err), 0);
    assert_int_equal(out.len, 2);
    assert_memory_equal(out.data, "\0\0", 2);
    wal_items_release(&items);
    buf_release(&out);
}

static void space_trip(void **state)
{
    static const struct wal_space spaces[] = {
        {.kind = WAL_SPACE_TABLESPACE_CREATE, .at = 100, .tablespace = 16384, .path = "/srv/\xE4"},
        {.kind = WAL_SPACE_DATABASE_COPY,
         .at = 100,
         .tablespace = 16384,
         .database = 16400,
         .source_tablespace = 1663,
         .source_database = 1},
        {.kind = WAL_SPACE_DATABASE_CREATE, .at = 5000, .tablespace = 1663, .database = 16401},
        {.kind = WAL_SPACE_DATABASE_DROP, .at = 6000, .tablespace = 1663, .database = 16401},
        {.kind = WAL_SPACE_TABLESPACE_DROP, .at = 7000, .tablespace = 16384},
        {.kind = WAL_SPACE_TABLESPACE_CREATE, .at = 7001, .tablespace = 16384, .path = ""},
    };
    static const uint8_t first[] = {6, 6, 0x94, 1, 100, 0xCD, 0x40, 0x00, 0xC4, 6};
    struct wal_items items = WAL_ITEMS_INIT;
    struct buf out = BUF_INIT;
    struct wal_items_reader r;
    struct wal_space got;
    struct tm_err err;
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(spaces); n++)
        assert_int_equal(wal_items_space(&items, &spaces[n], &err), 0);
    assert_int_equal(wal_items_encode(&items, &out, &err), 0);
    assert_memory_equal(out.data, first, sizeof(first));
    assert_int_equal(wal_items_reader_init(&r, buf_slice(&out), &err), 0);
    for (size_t n = 0; n < TM_ARRAY_LEN(spaces); n++) {
        assert_int_equal(wal_items_next_space(&r, &got, &err), 1);
        assert_memory_equal(&got, &spaces[n], sizeof(got));
    }
    assert_int_equal(wal_items_next_space(&r, &got, &err), 0);
    assert_int_equal(buf_append(&out, "\0", 1, &err), 0);
    assert_int_equal(wal_items_reader_init(&r, buf_slice(&out), &err), 0);
    while (wal_items_next_space(&r, &got, &err) == 1)
        ;
    assert_string_equal(err.msg, "items: bytes behind the last one");
    wal_items_release(&items);
    buf_release(&out);
}

/* What found no room is counted. */
static void too_many(void **state)
{
    struct wal_items items = WAL_ITEMS_INIT;
    struct buf out = BUF_INIT;
    struct wal_items_reader r;
    struct wal_space got;
    struct tm_err err;
    uint32_t count = 0;
    (void)state;
    for (uint32_t n = 0; n < WAL_ITEMS_MAX + 5; n++) {
        const struct wal_space space = {
            .kind = WAL_SPACE_TABLESPACE_DROP, .at = n, .tablespace = n};
        assert_int_equal(wal_items_space(&items, &space, &err), 0);
    }
    assert_int_equal(wal_items_encode(&items, &out, &err), 0);
    assert_int_equal(wal_items_reader_init(&r, buf_slice(&out), &err), 0);
    assert_true(r.short_of);
    while (wal_items_next_space(&r, &got, &err) == 1)
        assert_int_equal(got.tablespace, count++);
    assert_int_equal(count, WAL_ITEMS_MAX);
    wal_items_release(&items);
    buf_release(&out);
}

static void refuses(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *message;
    } cases[] = {
        {"\1\2", 2, "items: out of bounds"},
        {"\1\1\x91\1", 4, "item: 1 members"},
        {"\1\1\x92\1\0", 5, "item: kind 1 with 2 members"},
        {"\1\1\x93\7\0\1", 6, "item: kind 7 with 3 members"},
        {"\1\1\x93\0\0\1", 6, "item: kind 0 with 3 members"},
        {"\1\1\x9F\1\0\1\0\0\0\0\0\0\0\0\0\0\0\0", 18, "item: 15 members"},
    };
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        struct wal_items_reader r;
        struct wal_setting got;
        struct tm_err err = {0};
        int rc = wal_items_reader_init(&r, slice_of(cases[n].bytes, cases[n].len), &err);
        if (rc == 0)
            rc = wal_items_next_setting(&r, &got, &err);
        assert_int_equal(rc, -TM_E_CORRUPT);
        if (n > 0)
            assert_string_equal(err.msg, cases[n].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_trip),
        cmocka_unit_test(space_trip),
        cmocka_unit_test(too_many),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
