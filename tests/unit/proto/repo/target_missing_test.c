/* Targets that cannot be had: what is said, and whether log that is still to come may have them. */
#include "tests/unit/proto/repo/target_fixture.h"

/* The plan is refused, and it may (not) be worth waiting. */
static void expect_none(struct fixture *f, const char *text, const struct ask *ask, bool may_come,
                        const char *why)
{
    assert_string_equal(plan_of(f, text, ask), why);
    assert_int_equal(f->err.code, TM_E_NOT_FOUND);
    assert_int_equal(f->err.retryable, may_come);
}

#define BEFORE_FIRST                                                                               \
    "1970-01-01T00:00:04.900000Z lies before the first moment that can be had: "                   \
    "1970-01-01T00:00:05.000000Z (@64)"
#define BEHIND_ALL                                                                                 \
    "1970-01-01T00:00:21.000000Z lies behind what is stored: the last moment that can be had is "  \
    "1970-01-01T00:00:20.000000Z (@1024)"
#define IN_GAP                                                                                     \
    "1970-01-01T00:00:30.000000Z lies in a gap: nothing can be had between "                       \
    "1970-01-01T00:00:20.000000Z (@1024) and 1970-01-01T00:00:35.000000Z (@3074)"

/* Behind all that is stored, more may come; before the first moment it cannot. */
static void test_before_and_behind(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    put_story(f, &p);
    expect_none(f, TIME("21"), NULL, true, BEHIND_ALL);
    expect_none(f, TIME("04.9"), NULL, false, BEFORE_FIRST);
    /* a place says nothing of when it was reached */
    expect_none(f, "@1025", NULL, false,
                "position @1025 lies behind what is stored: the last moment that can be had is "
                "1970-01-01T00:00:20.000000Z (@1024)");
    branches_done();
}

/* The log lags behind a second backup: what lies between is filled when it has caught up. */
static void test_gap_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    put_story(f, &p);
    struct log_ref ref = put_log(f, &p, ID_B, 3072, 3100, 1, NULL);
    put_backup(f, f->st, ID_B, &p, 3074, T(35), &ref, 1);
    expect_none(f, TIME("30"), NULL, true, IN_GAP);
    expect_none(f, TIME("04.9"), NULL, false, BEFORE_FIRST);
    /* log behind it is stored: a hole */
    put_chunk(f, &p, 3072, 3200, 1, &(struct extra){NULL, 0, T(45)});
    expect_none(f, TIME("30"), NULL, false, IN_GAP);
    expect_none(f, TIME("46"), NULL, true,
                "1970-01-01T00:00:46.000000Z lies behind what is stored: the last moment that can "
                "be had is 1970-01-01T00:00:45.000000Z (@3200)");
    branches_done();
}

/* The log goes on behind a hole, and no backup leads there. */
static void test_hole_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    put_story(f, &p);
    put_chunk(f, &p, 3072, 3200, 1, &(struct extra){NULL, 0, T(45)});
    expect_none(f, TIME("21"), NULL, false, BEHIND_ALL);
    branches_done();
}

/* A lineage that was left gets no more. */
static void test_left_lineage(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c = {.record = {.id = "c", .label = "2", .created_us = 2, .fork = 600}};
    put_story(f, &p);
    c.parent = &p;
    c.record.facts = p.record.facts;
    known[1] = &c;
    put_lineage(f, &c);
    put_writer(f, &c, 2, 0);
    put_chunk(f, &c, 0, 900, 2, &(struct extra){NULL, 0, T(18)});
    expect_none(f, TIME("21"), NULL, true,
                "1970-01-01T00:00:21.000000Z lies behind what is stored: the last moment that can "
                "be had is 1970-01-01T00:00:18.000000Z (@900)");
    expect_none(f, TIME("21"), &(struct ask){.lineage = "p"}, false, BEHIND_ALL);
    branches_done();
}

/* What is not in any interval is told with all of them, not with what lies between. */
static void test_event_over_holes(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    char id[] = "20261121T110000Z-00000010";
    put_story(f, &p);
    struct log_ref ref = put_chunk(f, &p, 3072, 3200, 1, &(struct extra){NULL, 0, T(45)});
    put_backup(f, f->st, ID_B, &p, 3074, T(35), &ref, 1);
    expect_none(f, "xid:5", NULL, false,
                "there is no transaction 5 in what can be had, from "
                "1970-01-01T00:00:05.000000Z (@64) to 1970-01-01T00:00:20.000000Z (@1024); from "
                "1970-01-01T00:00:35.000000Z (@3074) to 1970-01-01T00:00:45.000000Z (@3200)");
    expect_none(f, "name:x", &(struct ask){.backup = ID_B}, false,
                "there is no point 'x' in what can be had from backup '" ID_B "', from "
                "1970-01-01T00:00:35.000000Z (@3074) to 1970-01-01T00:00:45.000000Z (@3200)");
    for (uint64_t i = 0; i < 4; i++) {
        id[24] = (char)('1' + i);
        uint64_t at = (4 + i) * SEG;
        ref = put_chunk(f, &p, at, at + 64, 1, &(struct extra){NULL, 0, T(51 + 2 * (int64_t)i)});
        put_backup(f, f->st, id, &p, at + 32, T(50 + 2 * (int64_t)i), &ref, 1);
    }
    expect_none(f, "xid:5", NULL, false,
                "there is no transaction 5 in what can be had, 2 earlier intervals; from "
                "1970-01-01T00:00:50.000000Z (@4128) to 1970-01-01T00:00:51.000000Z (@4160); from "
                "1970-01-01T00:00:52.000000Z (@5152) to 1970-01-01T00:00:53.000000Z (@5184); from "
                "1970-01-01T00:00:54.000000Z (@6176) to 1970-01-01T00:00:55.000000Z (@6208); from "
                "1970-01-01T00:00:56.000000Z (@7200) to 1970-01-01T00:00:57.000000Z (@7232)");
    branches_done();
}

#define LOG_OBJECT(name) "log/70000000000000000000000000000000/chunk/" name

/* The latest moment lies behind damage: the object is named, wherever it stands in the way. */
static void test_latest_names_damage(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    put_story(f, &p);
    put_chunk(f, &p, 1024, 1100, 1, &(struct extra){NULL, 0, T(25)});
    damage_chunk(f, &p, 512, 1);
    expect_none(
        f, "latest", NULL, false,
        "log is stored up to @1100, but no backup leads there, as log from @512 to @1024 is "
        "missing or damaged (log object '" LOG_OBJECT(
            "0000000000000200-0000000000000001.00000001") "'): the last moment that can be "
                                                          "had is 1970-01-01T00:00:12.999999Z "
                                                          "(@512)");
    remove_chunk(f, &p, 512, 1);
    expect_none(
        f, "latest", NULL, false,
        "log is stored up to @1100, but no backup leads there, as log from @512 to @1024 is "
        "missing or damaged: the last moment that can be had is "
        "1970-01-01T00:00:12.999999Z (@512)");
    /* the chunk that the backup shares: it joins nothing any more */
    damage_chunk(f, &p, 0, 1);
    expect_none(
        f, "latest", NULL, false,
        "log is stored up to @1100, but no backup leads there, as log from @64 to @1024 is "
        "missing or damaged (log object '" LOG_OBJECT(
            "0000000000000000-0000000000000001.00000001") "'): the last moment that can be "
                                                          "had is 1970-01-01T00:00:05.000000Z "
                                                          "(@64)");
    branches_done();
}

/* The bytes of an object are damaged, its footer is whole. */
static void damage_bytes(struct fixture *f, const char *rel)
{
    size_t len = 0;
    uint8_t *bytes = ram_bytes(f->st, names_full(&f->scope, rel).s, &len);
    bytes[200] ^= 1;
}

/* A backup's own log is compared with the task's where it joins: damage on either side. */
static void damaged_join(struct fixture *f, bool of_backup)
{
    struct test_branch p = {.record = {.id = "p", .label = "1", .created_us = 1}};
    char why[400];
    known[0] = &p;
    put_lineage(f, &p);
    put_writer(f, &p, 1, 0);
    put_chunk(f, &p, 0, 512, 1, NULL);
    put_chunk(f, &p, 512, 1024, 1, &(struct extra){NULL, 0, T(16)});
    struct log_ref ref = put_log(f, &p, ID_A, 0, 300, 1, NULL);
    put_backup(f, f->st, ID_A, &p, 300, T(5), &ref, 1);
    assert_string_equal(plan_of(f, "latest", NULL), "a 1008<1024 1 5.0: 1@0-512 1@512-1024");
    struct rel_name own = names_rel_backup_log(ID_A, 0, (struct epoch){1, 1});
    struct rel_name task = names_rel_chunk(p.record.id, 0, (struct epoch){1, 1});
    const char *rel = of_backup ? own.s : task.s;
    damage_bytes(f, rel);
    (void)snprintf(why, sizeof(why),
                   "log is stored up to @1024, but no backup leads there, as log from @300 on is "
                   "missing or damaged (log object '%s'): the last moment that can be had is "
                   "1970-01-01T00:00:05.000000Z (@300)",
                   rel);
    expect_none(f, "latest", NULL, false, why);
    branches_done();
}

/* A backup's own log goes on to the end of its segment, behind where it is consistent: compared, and named. */
static void test_damage_behind_join(void **state)
{
    struct fixture *f = *state;
    struct test_branch p = {.record = {.id = "p", .label = "1", .created_us = 1}};
    char why[400];
    known[0] = &p;
    put_lineage(f, &p);
    put_writer(f, &p, 1, 0);
    put_chunk(f, &p, 0, 304, 1, NULL);
    put_chunk(f, &p, 304, 1024, 1, &(struct extra){NULL, 0, T(16)});
    struct log_ref ref = put_log(f, &p, ID_A, 0, 512, 1, NULL);
    put_backup(f, f->st, ID_A, &p, 300, T(5), &ref, 1);
    assert_string_equal(plan_of(f, "latest", NULL), "a 1008<1024 1 5.0: 1@0-304 1@304-1024");
    struct rel_name task = names_rel_chunk(p.record.id, 304, (struct epoch){1, 1});
    damage_bytes(f, task.s);
    (void)snprintf(why, sizeof(why),
                   "log is stored up to @1024, but no backup leads there, as log from @300 on is "
                   "missing or damaged (log object '%s'): the last moment that can be had is "
                   "1970-01-01T00:00:05.000000Z (@300)",
                   task.s);
    expect_none(f, "latest", NULL, false, why);
    branches_done();
}

static void test_damage_of_task(void **state)
{
    damaged_join(*state, false);
}

static void test_damage_of_backup(void **state)
{
    damaged_join(*state, true);
}

/* Log that was truncated is had by nobody who asks now, and read on by who asked before. */
static void test_truncated(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct log_truncate_result result;
    struct storage_object object;
    int64_t next_us = 0;
    put_story(f, &p);
    struct log_ref ref = put_chunk(f, &p, 1024, 2100, 1, &(struct extra){NULL, 0, T(30)});
    put_backup(f, f->st, ID_B, &p, 1026, T(25), &ref, 1);
    const char *planned = plan_of(f, TIME("14"), NULL);
    assert_string_equal(planned, "a 592<608 1 13.0: 1@0-512 1@512-608");
    struct full_name piece =
        names_full(&f->scope, names_rel_chunk(p.record.id, 512, (struct epoch){1, 1}).s);
    const struct log_truncate wish = {
        .until_us = T(26), .force = true, .epoch = {1, 7}, .now_us = T(1000), .grace_us = T(600)};
    assert_int_equal(log_truncate_run(f->scratch, f->st, f->st, &f->scope, &test_positions, &wish,
                                      nonce, &result, &f->err),
                     0);
    expect_none(f, TIME("14"), NULL, false,
                "1970-01-01T00:00:14.000000Z lies in a gap: nothing can be had between "
                "1970-01-01T00:00:05.000000Z (@64) and 1970-01-01T00:00:25.000000Z (@1026)");
    assert_int_equal(
        log_truncate_sweep(f->scratch, f->st, f->st, &f->scope, T(1599), T(600), &next_us, &f->err),
        0);
    assert_int_equal(storage_stat(f->st, piece.s, &object, &f->err), 0);
    assert_int_equal(
        log_truncate_sweep(f->scratch, f->st, f->st, &f->scope, T(1600), T(600), &next_us, &f->err),
        0);
    assert_int_equal(storage_stat(f->st, piece.s, &object, &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(plan_of(f, "immediate", &(struct ask){.backup = ID_A}), "a immediate @64");
    branches_done();
}

int main(void)
{
#undef T
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_before_and_behind),  T(test_gap_at_the_end),   T(test_hole_at_the_end),
        T(test_left_lineage),       T(test_event_over_holes), T(test_latest_names_damage),
        T(test_damage_of_task),     T(test_damage_of_backup), T(test_truncated),
        T(test_damage_behind_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
