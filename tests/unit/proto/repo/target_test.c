/* Targets: from what is asked to the record to stop behind, and the pieces that lead there. */
#include "tests/unit/proto/repo/target_fixture.h"

static void test_times(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    put_story(f, &p);
    assert_string_equal(plan_of(f, TIME("05"), NULL), "a 80<96 1 5.0: 1@0-96");
    assert_string_equal(plan_of(f, TIME("09.999999"), NULL), "a 80<96 1 5.0: 1@0-96");
    assert_string_equal(plan_of(f, TIME("10"), NULL), "a 144<160 1 10.0: 1@0-160");
    assert_string_equal(plan_of(f, TIME("10.5"), NULL), "a 144<160 1 10.0: 1@0-160");
    /* the commit of second 11 lies behind one of second 12: stopped before that */
    assert_string_equal(plan_of(f, TIME("11.5"), NULL), "a 144<160 1 10.0: 1@0-160");
    assert_string_equal(plan_of(f, TIME("12"), NULL), "a 272<288 1 12.0: 1@0-288");
    assert_string_equal(plan_of(f, TIME("12"), &(struct ask){.exclusive = true}),
                        "a 144<160 1 10.0: 1@0-160");
    assert_string_equal(plan_of(f, TIME("14"), NULL), "a 592<608 1 13.0: 1@0-512 1@512-608");
    /* nothing was committed since: the mark proves it */
    assert_string_equal(plan_of(f, TIME("19"), NULL), "a 1008<1024 1 15.0: 1@0-512 1@512-1024");
    assert_string_equal(plan_of(f, TIME("20"), NULL), "a 1008<1024 1 15.0: 1@0-512 1@512-1024");
    assert_string_equal(plan_of(f, TIME("20.000001"), NULL),
                        "1970-01-01T00:00:20.000001Z lies behind what is stored: the last moment "
                        "that can be had is 1970-01-01T00:00:20.000000Z (@1024)");
    assert_int_equal(f->err.code, TM_E_NOT_FOUND);
    assert_string_equal(plan_of(f, TIME("04.9"), NULL),
                        "1970-01-01T00:00:04.900000Z lies before the first moment that can be had: "
                        "1970-01-01T00:00:05.000000Z (@64)");
    assert_int_equal(f->err.code, TM_E_NOT_FOUND);
    assert_string_equal(plan_of(f, "immediate", NULL), "a immediate @64");
    assert_string_equal(plan_of(f, "latest", NULL), "a 1008<1024 1 15.0: 1@0-512 1@512-1024");
    branches_done();
}

static void test_positions_of(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct ask exclusive = {.exclusive = true};
    put_story(f, &p);
    assert_string_equal(plan_of(f, "@160", NULL), "a 160<512 1 12.0: 1@0-512");
    assert_string_equal(plan_of(f, "@160", &exclusive), "a 144<512 1 10.0: 1@0-512");
    assert_string_equal(plan_of(f, "position:@170", NULL), "a 160<512 1 12.0: 1@0-512");
    assert_string_equal(plan_of(f, "@170", &exclusive), "a 160<512 1 12.0: 1@0-512");
    assert_string_equal(plan_of(f, "@512", NULL), "a 512<1024 1 13.0: 1@0-512 1@512-1024");
    assert_string_equal(plan_of(f, "@512", &exclusive), "a 496<512 1 13.0: 1@0-512");
    /* a published end of the log is no record's start: the last record is meant */
    assert_string_equal(plan_of(f, "@1024", NULL), "a 1008<1024 1 15.0: 1@0-512 1@512-1024");
    assert_string_equal(plan_of(f, "@1025", NULL),
                        "position @1025 lies behind what is stored: the last moment that can be "
                        "had is 1970-01-01T00:00:20.000000Z (@1024)");
    assert_string_equal(plan_of(f, "@63", NULL),
                        "position @63 lies before the first moment that can be had: "
                        "1970-01-01T00:00:05.000000Z (@64)");
    /* never before the backup is consistent */
    assert_string_equal(plan_of(f, "@64", NULL), "a 64<512 1 5.0: 1@0-512");
    assert_string_equal(plan_of(f, "@64", &exclusive), "a immediate @64");
    assert_string_equal(plan_of(f, "0/64", NULL), "'0/64' is not a position");
    branches_done();
}

/* A record that lies across two chunks is told of in the second. */
static void test_across_chunks(void **state)
{
    struct fixture *f = *state;
    struct ask exclusive = {.exclusive = true};
    struct test_branch p = {
        .record = {.id = "p", .label = "1", .created_us = 1, .facts = slice_str("f")}};
    known[0] = &p;
    put_lineage(f, &p);
    put_writer(f, &p, 1, 0);
    const struct log_point across[] = {commit(512, T(7))};
    struct log_ref ref = put_chunk(f, &p, 0, 520, 1, NULL);
    put_chunk(f, &p, 520, 540, 1,
              &(struct extra){across, 1, 0}); /* of two records it has one's end and one's begin */
    put_chunk(f, &p, 540, 1000, 1, NULL);
    put_backup(f, f->st, ID_A, &p, 64, T(5), &ref, 1);
    assert_string_equal(plan_of(f, "@511", NULL), "a 496<520 1 5.0: 1@0-520");
    assert_string_equal(plan_of(f, "@512", NULL), "a 512<540 1 7.0: 1@0-520 1@520-540");
    assert_string_equal(plan_of(f, "@515", NULL), "a 512<540 1 7.0: 1@0-520 1@520-540");
    assert_string_equal(plan_of(f, "@512", &exclusive), "a 496<520 1 5.0: 1@0-520");
    assert_string_equal(plan_of(f, "@521", NULL), "a 512<540 1 7.0: 1@0-520 1@520-540");
    assert_string_equal(plan_of(f, "@528", NULL), "a 528<1000 1 7.0: 1@0-520 1@520-540 1@540-1000");
    assert_string_equal(plan_of(f, "@528", &exclusive), "a 512<540 1 7.0: 1@0-520 1@520-540");
    /* the last one is not whole */
    assert_string_equal(plan_of(f, "@995", NULL), "a 976<1000 1 7.0: 1@0-520 1@520-540 1@540-1000");
    assert_string_equal(plan_of(f, "@1000", NULL),
                        "a 976<1000 1 7.0: 1@0-520 1@520-540 1@540-1000");
    branches_done();
}

static void test_transactions_and_names(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct ask exclusive = {.exclusive = true};
    put_story(f, &p);
    assert_string_equal(plan_of(f, "xid:224", NULL), "a 224<240 1 12.0: 1@0-240");
    assert_string_equal(plan_of(f, "xid:224", &exclusive), "a 208<224 1 12.0: 1@0-224");
    assert_string_equal(plan_of(f, "xid:5", NULL),
                        "there is no transaction 5 in what can be had, from "
                        "1970-01-01T00:00:05.000000Z (@64) to 1970-01-01T00:00:20.000000Z (@1024)");
    assert_int_equal(f->err.code, TM_E_NOT_FOUND);
    assert_string_equal(plan_of(f, "name:n1", NULL), "a 544<560 1 13.0: 1@0-512 1@512-560");
    assert_string_equal(plan_of(f, "name:n1", &exclusive), "a 528<544 1 13.0: 1@0-512 1@512-544");
    assert_string_equal(plan_of(f, "name:n2", NULL),
                        "there is no point 'n2' in what can be had, from "
                        "1970-01-01T00:00:05.000000Z (@64) to 1970-01-01T00:00:20.000000Z (@1024)");
    const struct log_point again[] = {point(1040, T(21), "n1")};
    put_chunk(f, &p, 1024, 1100, 1, &(struct extra){again, 1, 0});
    struct log_ref ref = put_log(f, &p, ID_B, 1024, 1100, 1, NULL);
    put_backup(f, f->st, ID_B, &p, 1026, T(20), &ref, 1);
    assert_string_equal(plan_of(f, "name:n1", NULL),
                        "the name 'n1' is there 2 times: 1970-01-01T00:00:21.000000Z at @1040, "
                        "1970-01-01T00:00:14.000000Z at @544; give one's time or position");
    assert_int_equal(f->err.code, TM_E_REFUSED);
    /* of what one backup leads to, it is there once */
    assert_string_equal(plan_of(f, "name:n1", &(struct ask){.backup = ID_B}),
                        "b 1040<1056 1 20.0: 1@1024-1056");
    assert_string_equal(plan_of(f, "xid:224", NULL), "a 224<240 1 12.0: 1@0-240");
    branches_done();
}

/* The newest backup that leads there is taken; one that no log joins leads only to itself. */
static void test_choice(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch alone = {.record = {.id = "z", .label = "9"}};
    put_story(f, &p);
    struct log_ref ref = put_log(f, &p, ID_B, 0, 400, 1, NULL);
    put_backup(f, f->st, ID_B, &p, 256, T(12), &ref, 1);
    assert_string_equal(plan_of(f, TIME("11.9"), NULL), "a 144<160 1 10.0: 1@0-160");
    assert_string_equal(plan_of(f, TIME("12"), NULL), "b 272<288 1 12.0: 1@0-288");
    assert_string_equal(plan_of(f, TIME("12"), &(struct ask){.backup = ID_A}),
                        "a 272<288 1 12.0: 1@0-288");
    assert_string_equal(plan_of(f, TIME("11"), &(struct ask){.backup = ID_B}),
                        "1970-01-01T00:00:11.000000Z lies before the first moment that can be had "
                        "from backup '" ID_B "': 1970-01-01T00:00:12.000000Z (@256)");
    assert_string_equal(plan_of(f, "@256", NULL), "b 256<512 1 12.0: 1@0-512");
    assert_string_equal(plan_of(f, "@255", NULL), "a 240<512 1 12.0: 1@0-512");
    assert_string_equal(plan_of(f, "xid:96", NULL), "a 96<112 1 10.0: 1@0-112");
    ref = put_log(f, &alone, ID_C, 0, 400, 1, NULL);
    put_backup(f, f->st, ID_C, &alone, 300, T(18), &ref, 1);
    assert_string_equal(plan_of(f, TIME("18"), NULL), "c immediate @300");
    assert_string_equal(plan_of(f, TIME("19"), NULL), "b 1008<1024 1 15.0: 1@0-512 1@512-1024");
    assert_string_equal(plan_of(f, "latest", NULL), "b 1008<1024 1 15.0: 1@0-512 1@512-1024");
    assert_string_equal(plan_of(f, "immediate", NULL), "c immediate @300");
    assert_string_equal(plan_of(f, "immediate", &(struct ask){.backup = ID_A}), "a immediate @64");
    assert_string_equal(plan_of(f, "latest", &(struct ask){.backup = ID_C}), "c immediate @300");
    assert_string_equal(plan_of(f, "latest", &(struct ask){.backup = "20261121T130000Z-0000000d"}),
                        "backup '20261121T130000Z-0000000d' of demo1/main has no manifest: it does "
                        "not exist or was never finished");
    branches_done();
}

/* A backup may hold commits that are later than its own moment. So that moment is told by an older backup
 * where one leads there, and else it is the backup itself; log tells from the settled time on. */
static void test_settled(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    const struct ask named = {.backup = ID_B};
    const struct ask named_before = {.backup = ID_B, .exclusive = true};
    settled_us = T(6);
    put_story(f, &p);
    assert_string_equal(plan_of(f, TIME("05"), NULL), "a immediate @64");
    assert_string_equal(plan_of(f, TIME("05.000001"), NULL),
                        "1970-01-01T00:00:05.000001Z lies before the first moment that can be had: "
                        "1970-01-01T00:00:06.000000Z (@64)");
    assert_string_equal(plan_of(f, TIME("05.999999"), NULL),
                        "1970-01-01T00:00:05.999999Z lies before the first moment that can be had: "
                        "1970-01-01T00:00:06.000000Z (@64)");
    assert_int_equal(f->err.code, TM_E_NOT_FOUND);
    assert_string_equal(plan_of(f, TIME("06"), NULL), "a 80<96 1 5.0: 1@0-96");
    assert_string_equal(plan_of(f, TIME("06.000001"), NULL), "a 80<96 1 5.0: 1@0-96");
    settled_us = T(12) + 500000;
    struct log_ref ref = put_log(f, &p, ID_B, 0, 400, 1, NULL);
    put_backup(f, f->st, ID_B, &p, 256, T(11) + 900000, &ref, 1);
    /* the commit of second 12 is in B already */
    assert_string_equal(plan_of(f, TIME("11.9"), NULL), "a 144<160 1 10.0: 1@0-160");
    assert_string_equal(plan_of(f, TIME("11.9"), &named), "b immediate @256");
    assert_string_equal(plan_of(f, TIME("11.9"), &named_before), "b immediate @256");
    assert_string_equal(plan_of(f, TIME("12.499999"), NULL), "a 272<288 1 12.0: 1@0-288");
    assert_string_equal(plan_of(f, TIME("12.499999"), &named),
                        "1970-01-01T00:00:12.499999Z lies before the first moment that can be had "
                        "from backup '" ID_B "': 1970-01-01T00:00:12.500000Z (@256)");
    assert_string_equal(plan_of(f, TIME("12.5"), NULL), "b 272<288 1 11.9: 1@0-288");
    /* positions, transactions and names are not told by times */
    assert_string_equal(plan_of(f, "@256", NULL), "b 256<512 1 11.9: 1@0-512");
    assert_string_equal(plan_of(f, "immediate", NULL), "b immediate @256");
    settled_us = 0;
    branches_done();
}

static void test_gaps(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    put_story(f, &p);
    const struct log_point late[] = {commit(3088, T(40))};
    put_chunk(f, &p, 3072, 3200, 1, &(struct extra){late, 1, T(45)});
    struct log_ref ref = put_log(f, &p, ID_B, 3072, 3100, 1, NULL);
    put_backup(f, f->st, ID_B, &p, 3074, T(35), &ref, 1);
    assert_string_equal(plan_of(f, TIME("20"), NULL), "a 1008<1024 1 15.0: 1@0-512 1@512-1024");
    assert_string_equal(
        plan_of(f, TIME("30"), NULL),
        "1970-01-01T00:00:30.000000Z lies in a gap: nothing can be had between "
        "1970-01-01T00:00:20.000000Z (@1024) and 1970-01-01T00:00:35.000000Z (@3074)");
    assert_int_equal(f->err.code, TM_E_NOT_FOUND);
    assert_string_equal(
        plan_of(f, "@2000", NULL),
        "position @2000 lies in a gap: nothing can be had between "
        "1970-01-01T00:00:20.000000Z (@1024) and 1970-01-01T00:00:35.000000Z (@3074)");
    assert_string_equal(plan_of(f, TIME("35"), NULL), "b immediate @3074");
    assert_string_equal(plan_of(f, TIME("41"), NULL), "b 3184<3200 1 40.0: 1@3072-3200");
    /* a chunk that is gone: before it works, across it is refused with the interval */
    remove_chunk(f, &p, 512, 1);
    assert_string_equal(plan_of(f, TIME("12"), NULL), "a 272<288 1 12.0: 1@0-288");
    assert_string_equal(
        plan_of(f, TIME("14"), NULL),
        "1970-01-01T00:00:14.000000Z lies in a gap: nothing can be had between "
        "1970-01-01T00:00:12.999999Z (@512) and 1970-01-01T00:00:35.000000Z (@3074)");
    branches_done();
}

/* A chunk that only a roll-up still tells of, and one whose footer is damaged. */
static void test_missing_and_damaged(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct log_lineages list = LOG_LINEAGES_INIT;
    uint32_t rolled = 0;
    put_story(f, &p);
    const struct log_point late[] = {commit(3088, T(40))};
    put_chunk(f, &p, 3072, 3200, 1, &(struct extra){late, 1, T(45)});
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(log_index_roll(f->scratch, f->st, &f->scope, &list.items[0],
                                    (struct epoch){1, 1}, nonce, 100, &rolled, &f->err),
                     0);
    log_lineages_release(&list);
    assert_int_equal(rolled, 2);
    assert_string_equal(plan_of(f, TIME("19"), NULL), "a 1008<1024 1 15.0: 1@0-512 1@512-1024");
    size_t len = 0;
    struct full_name name =
        names_full(&f->scope, names_rel_chunk(p.record.id, 512, (struct epoch){1, 1}).s);
    ram_bytes(f->st, name.s, &len)[len - 70] ^= 1;
    assert_string_equal(plan_of(f, TIME("12"), NULL), "a 272<288 1 12.0: 1@0-288");
    assert_string_equal(plan_of(f, TIME("14"), NULL),
                        "log object 'log/70000000000000000000000000000000/chunk/"
                        "0000000000000200-0000000000000001.00000001' is damaged: the log from @512 "
                        "to @1024 is lost");
    assert_int_equal(f->err.code, TM_E_CORRUPT);
    remove_chunk(f, &p, 512, 1);
    assert_string_equal(plan_of(f, TIME("19"), NULL),
                        "log object 'log/70000000000000000000000000000000/chunk/"
                        "0000000000000200-0000000000000001.00000001' is missing: the log from @512 "
                        "to @1024 is lost");
    assert_int_equal(f->err.code, TM_E_CORRUPT);
    branches_done();
}

/* Damage in the log task's own records: a backup's own moment is still had. */
static void test_damaged_records(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    size_t len = 0;
    put_story(f, &p);
    struct full_name name =
        names_full(&f->scope, names_rel_writer(p.record.id, (struct epoch){1, 1}).s);
    ram_bytes(f->st, name.s, &len)[len - 70] ^= 1;
    assert_string_equal(plan_of(f, "latest", NULL),
                        "object 'demo1/main/42/log/70000000000000000000000000000000/writer/"
                        "0000000000000001.00000001': header and footer do not match their digest");
    assert_string_equal(plan_of(f, "immediate", NULL), "a immediate @64");
    branches_done();
}

/* Over a fork, onto the tail that was left, and back to a moment before it. */
static void test_forks(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c = {.record = {.id = "c",
                                       .label = "2",
                                       .created_us = 2,
                                       .fork = 1200,
                                       .from = SEG,
                                       .history = slice_str("1\t@1200\n")}};
    put_story(f, &p);
    c.parent = &p;
    known[1] = &c;
    const struct log_point tail[] = {commit(1216, T(23))};
    const struct log_point copied[] = {commit(1040, T(21)), commit(1216, T(25)),
                                       commit(1248, T(26))};
    put_chunk(f, &p, 1024, 1200, 1, &(struct extra){copied, 1, T(22)});
    put_chunk(f, &p, 1200, 1300, 1, &(struct extra){tail, 1, T(24)});
    put_lineage(f, &c);
    put_writer(f, &c, 2, SEG);
    put_chunk(f, &c, SEG, 1240, 2, &(struct extra){copied, 2, 0});
    put_chunk(f, &c, 1240, 1280, 2, &(struct extra){copied + 2, 1, T(30)});
    assert_string_equal(plan_of(f, TIME("20.5"), NULL),
                        "a 1024<1040 1 15.0: 1@0-512 1@512-1024 1@1024-1040");
    /* the last record before the child's first commit lies on the parent */
    assert_string_equal(plan_of(f, TIME("24"), NULL),
                        "a 1200<1216 2 21.0: 1@0-512 1@512-1024 1@1024-1200 2@1024-1216");
    assert_string_equal(
        plan_of(f, TIME("25"), NULL),
        "a 1232<1248 2 25.0: 1@0-512 1@512-1024 1@1024-1200 2@1024-1240 2@1240-1248");
    assert_string_equal(
        plan_of(f, "latest", NULL),
        "a 1264<1280 2 26.0: 1@0-512 1@512-1024 1@1024-1200 2@1024-1240 2@1240-1280");
    assert_string_equal(plan_of(f, "@1190", NULL),
                        "a 1184<1200 1 21.0: 1@0-512 1@512-1024 1@1024-1200");
    assert_string_equal(plan_of(f, "@1210", NULL),
                        "a 1200<1240 2 21.0: 1@0-512 1@512-1024 1@1024-1200 2@1024-1240");
    assert_string_equal(plan_of(f, "xid:1216", NULL),
                        "a 1216<1232 2 25.0: 1@0-512 1@512-1024 1@1024-1200 2@1024-1232");
    /* what the tenant left behind is had only by its name */
    struct ask left = {.lineage = "p"};
    assert_string_equal(plan_of(f, "latest", &left),
                        "a 1280<1300 1 23.0: 1@0-512 1@512-1024 1@1024-1200 1@1200-1300");
    assert_string_equal(plan_of(f, TIME("24"), &left),
                        "a 1280<1300 1 23.0: 1@0-512 1@512-1024 1@1024-1200 1@1200-1300");
    assert_string_equal(plan_of(f, "xid:1216", &left),
                        "a 1216<1232 1 23.0: 1@0-512 1@512-1024 1@1024-1200 1@1200-1232");
    assert_string_equal(
        plan_of(f, "latest", &(struct ask){.lineage = "q"}),
        "'ram://t' holds no lineage 71000000000000000000000000000000 of demo1/main");
    assert_string_equal(plan_of(f, "immediate", &(struct ask){.lineage = "c"}), "a immediate @64");
    /* a backup on that tail leads nowhere else */
    struct log_ref ref = put_log(f, &p, ID_B, 1024, 1280, 1, NULL);
    put_backup(f, f->st, ID_B, &p, 1264, T(23) + 5, &ref, 1);
    assert_string_equal(
        plan_of(f, TIME("26"), NULL),
        "a 1264<1280 2 26.0: 1@0-512 1@512-1024 1@1024-1200 2@1024-1240 2@1240-1280");
    assert_string_equal(plan_of(f, "latest", &(struct ask){.backup = ID_B}),
                        "b 1280<1300 1 23.0: 1@1024-1200 1@1200-1300");
    struct rel_name rel = names_rel_deleted(ID_A);
    assert_int_equal(storage_put(f->st, names_full(&f->scope, rel.s).s, SLICE_EMPTY, &f->err), 0);
    assert_string_equal(plan_of(f, "immediate", NULL),
                        "every backup lies on a lineage that the tenant left: name a backup, or a "
                        "lineage");
    assert_string_equal(plan_of(f, "latest", &(struct ask){.lineage = "c"}),
                        "no backup leads to that lineage");
    branches_done();
}

/* The whole plan: what the engine is told of every branch. */
static void test_branches_of_plan(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c = {.record = {.id = "c",
                                       .label = "2",
                                       .created_us = 2,
                                       .fork = 1000,
                                       .history = slice_str("1\t@1000\n")}};
    const struct target_engine engine = {
        .positions = test_positions, .last_record = last_record, .arg = engine_arg};
    struct target_plan plan;
    struct target target = {.kind = TARGET_LATEST};
    put_story(f, &p);
    c.parent = &p;
    known[1] = &c;
    put_lineage(f, &c);
    put_writer(f, &c, 2, 0);
    put_chunk(f, &c, 0, 1280, 2, &(struct extra){NULL, 0, T(30)});
    assert_int_equal(target_plan_make(f->scratch, f->st, f->st, &f->scope, NULL, &target, &engine,
                                      &plan, &f->err),
                     0);
    assert_int_equal(plan.label_count, 2);
    assert_string_equal(plan.labels[0], "1");
    assert_string_equal(plan.labels[1], "2");
    assert_int_equal(plan.histories[0].len, 0);
    assert_true(slice_eq(plan.histories[1], slice_str("1\t@1000\n")));
    assert_memory_equal(plan.lineage, c.record.id, 16);
    assert_memory_equal(plan.lineages[0], p.record.id, 16);
    assert_int_equal(plan.piece_count, 3);
    assert_int_equal(plan.pieces[1].until, 1000);
    assert_int_equal(plan.pieces[2].branch, 1);
    assert_int_equal(plan.log_bytes, 512 + 512 + 1280);
    target_plan_release(&plan);
    branches_done();
}

static void expect_parse(const char *text, enum target_kind kind, int64_t time_us, const char *rest)
{
    struct target t;
    struct tm_err err;
    assert_int_equal(target_parse(text, &t, &err), 0);
    assert_int_equal(t.kind, kind);
    assert_int_equal(t.time_us, time_us);
    assert_string_equal(t.text, rest);
}

static void expect_refused(const char *text, const char *why)
{
    struct target t = {.xid = 77};
    struct tm_err err;
    assert_int_equal(target_parse(text, &t, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, why);
    assert_int_equal(t.xid, 77);
}

static void test_parse(void **state)
{
    (void)state;
    struct target t;
    struct tm_err err;
    expect_parse("immediate", TARGET_IMMEDIATE, 0, "");
    expect_parse("latest", TARGET_LATEST, 0, "");
    expect_parse("time:1970-01-01T00:00:01Z", TARGET_TIME, SECOND, "");
    expect_parse("1970-01-01T00:00:01+00:00", TARGET_TIME, SECOND, "");
    expect_parse("467199361843200000", TARGET_TIME, INT64_C(1782224128125000), "");
    expect_parse("time:467199361843200000", TARGET_TIME, INT64_C(1782224128125000), "");
    expect_parse("0/3000148", TARGET_POSITION, 0, "0/3000148");
    expect_parse("123456", TARGET_POSITION, 0, "123456");
    expect_parse("position:0/3000148", TARGET_POSITION, 0, "0/3000148");
    expect_parse("name:time:x", TARGET_NAME, 0, "time:x");
    assert_int_equal(target_parse("xid:18446744073709551615", &t, &err), 0);
    assert_int_equal(t.kind, TARGET_XID);
    assert_true(t.xid == UINT64_MAX);
    expect_refused("time:123", "target 'time:123': '123' is neither a time nor a TSO");
    expect_refused("xid:0", "target 'xid:0': 0 is not in 1 to 18446744073709551615");
    expect_refused("xid:x", "target 'xid:x': 'x' is not a whole number");
    expect_refused("name:", "target 'name:': a name has 1 to 63 bytes");
    expect_refused("", "target '': a position has 1 to 63 bytes");
    assert_int_equal(target_parse("2026-13-01T00:00:00Z", &t, &err), -TM_E_INVALID);
}

int main(void)
{
#undef T
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_times),
        T(test_positions_of),
        T(test_across_chunks),
        T(test_transactions_and_names),
        T(test_choice),
        T(test_settled),
        T(test_gaps),
        T(test_missing_and_damaged),
        T(test_damaged_records),
        T(test_forks),
        T(test_branches_of_plan),
        T(test_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
