/* backup_label and tablespace_map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "agent/engine/postgres/label.h"

static const char good[] = "START WAL LOCATION: 2/A000028 (file 00000003000000020000000A)\n"
                           "CHECKPOINT LOCATION: 2/A000060\n"
                           "BACKUP METHOD: streamed\n"
                           "BACKUP FROM: standby\n"
                           "START TIME: 2026-11-21 10:00:00 UTC\n"
                           "LABEL: tidemark 20261121T100000Z-0123abcd\n"
                           "START TIMELINE: 3\n";

static void reads_a_label(void **state)
{
    struct label l;
    struct tm_err err;
    (void)state;
    assert_int_equal(label_parse(slice_str(good), &l, &err), 0);
    assert_int_equal(l.start_lsn, UINT64_C(0x20A000028));
    assert_int_equal(l.checkpoint_lsn, UINT64_C(0x20A000060));
    assert_int_equal(l.start_timeline, 3);
    assert_string_equal(l.start_segment, "00000003000000020000000A");
    assert_string_equal(l.text, "tidemark 20261121T100000Z-0123abcd");
    assert_true(l.streamed && l.from_standby && !l.incremental);
}

/* A label of our own, as pg_rewind's, which the server scans line by line. */
static void writes_a_label(void **state)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    struct label l = {.start_lsn = UINT64_C(0x20A000028),
                      .checkpoint_lsn = UINT64_C(0x20A000060),
                      .start_timeline = 3};
    struct tm_err err;
    (void)state;
    assert_int_equal(label_write(&l, 16u << 20, INT64_C(1795255200999999),
                                 "tidemark 20261121T100000Z-0123abcd\nSTART TIMELINE: 9", &text,
                                 &err),
                     0);
    assert_true(slice_eq(buf_slice(&text),
                         slice_str("START WAL LOCATION: 2/A000028 (file 00000003000000020000000A)\n"
                                   "CHECKPOINT LOCATION: 2/A000060\n"
                                   "BACKUP METHOD: pg_rewind\n"
                                   "BACKUP FROM: standby\n"
                                   "START TIME: 2026-11-21 10:00:00 UTC\n"
                                   "LABEL: tidemark 20261121T100000Z-0123abcd\n"
                                   "START TIMELINE: 3\n")));
    assert_int_equal(label_parse(buf_slice(&text), &l, &err), 0);
    assert_true(!l.streamed && l.from_standby && !l.incremental);
    assert_int_equal(l.start_timeline, 3);
}

static void label_fails(const char *text, const char *message)
{
    struct label l = {.start_lsn = 77};
    struct tm_err err;
    assert_int_equal(label_parse(slice_str(text), &l, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, message);
    assert_int_equal(l.start_lsn, 77);
}

static void refuses_a_label(void **state)
{
    char twice[2 * sizeof(good)];
    (void)state;
    label_fails("", "backup_label does not say where the log starts");
    label_fails("CHECKPOINT LOCATION: 0/60\n", "backup_label does not say where the log starts");
    label_fails("START WAL LOCATION: 0/28\n",
                "backup_label has a line that makes no sense: 'START WAL LOCATION: 0/28'");
    label_fails("START TIMELINE: 0\n",
                "backup_label has a line that makes no sense: 'START TIMELINE: 0'");
    label_fails("CHECKPOINT LOCATION: 0/60 x\n",
                "backup_label has a line that makes no sense: 'CHECKPOINT LOCATION: 0/60 x'");
    label_fails("START WAL LOCATION: 0/A000028 (file 00000001000000000000000A)\n"
                "CHECKPOINT LOCATION: 0/A000010\n",
                "backup_label has its checkpoint before its start");
    (void)snprintf(twice, sizeof(twice), "%s%s", good, good);
    label_fails(twice,
                "backup_label has a line that makes no sense: 'START WAL LOCATION: 2/A000028 "
                "(file 00000003000000020000000A)'");
}

static void sees_an_incremental(void **state)
{
    struct label l;
    struct tm_err err;
    char text[512];
    (void)state;
    (void)snprintf(text, sizeof(text), "%sINCREMENTAL FROM LSN: 0/1\n", good);
    assert_int_equal(label_parse(slice_str(text), &l, &err), 0);
    assert_true(l.incremental);
}

struct links {
    unsigned count;
    struct tablespace_link link[4];
};

static int add(void *arg, const struct tablespace_link *link, struct tm_err *err)
{
    struct links *l = arg;
    if (l->count == 4)
        return tm_err_set(err, TM_E_LIMIT, "full");
    l->link[l->count++] = *link;
    return 0;
}

static void reads_a_map(void **state)
{
    struct links l = {0};
    struct tm_err err;
    (void)state;
    assert_int_equal(tablespace_map_parse(slice_str("16384 /srv/a b\n"
                                                    "4294967295 /x\\\\y\\\nz\n"
                                                    "7 /last"),
                                          add, &l, &err),
                     0);
    assert_int_equal(l.count, 3);
    assert_int_equal(l.link[0].oid, 16384);
    assert_string_equal(l.link[0].path, "/srv/a b");
    assert_int_equal(l.link[1].oid, UINT32_MAX);
    assert_string_equal(l.link[1].path, "/x\\y\nz");
    assert_string_equal(l.link[2].path, "/last");
}

static void map_fails(const char *text, const char *message)
{
    struct links l = {0};
    struct tm_err err;
    assert_true(tablespace_map_parse(slice_str(text), add, &l, &err) < 0);
    assert_string_equal(err.msg, message);
}

static void refuses_a_map(void **state)
{
    (void)state;
    map_fails("/srv\n", "tablespace_map: entry 1 makes no sense");
    map_fails("1 /a\n99999999999 /b\n", "tablespace_map: entry 2 makes no sense");
    map_fails("1 \n", "tablespace_map: entry 1 makes no sense");
    map_fails("1 /a\\", "tablespace_map: entry 1 makes no sense");
    map_fails("1 a/b\n", "tablespace_map: 'a/b' is not an absolute path");
    map_fails("1 /a\n2 /a\n3 /a\n4 /a\n5 /a\n", "full");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_label),   cmocka_unit_test(writes_a_label),
        cmocka_unit_test(refuses_a_label), cmocka_unit_test(sees_an_incremental),
        cmocka_unit_test(reads_a_map),     cmocka_unit_test(refuses_a_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
