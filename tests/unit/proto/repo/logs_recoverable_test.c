/* What a repository can restore: intervals, how backups and lineages join, forks, two storages. */
#include "tests/unit/proto/repo/log_fixture.h"

#define ID_A "20261121T100000Z-0000000a"
#define ID_B "20261121T110000Z-0000000b"
#define ID_C "20261121T120000Z-0000000c"

/* "backup lineage from-to from_us-to_us[ abandoned]; …" */
static const char *intervals_in(struct fixture *f, struct storage *log_st)
{
    static char text[1000];
    struct recoverable_list list = RECOVERABLE_LIST_INIT;
    size_t used = 0;
    text[0] = '\0';
    assert_int_equal(
        log_recoverable(f->scratch, log_st, f->st, &f->scope, &test_positions, &list, &f->err), 0);
    for (size_t i = 0; i < list.count; i++) {
        const struct recoverable *r = &list.items[i];
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %s %s-%s %lld-%lld%s",
                                 i > 0 ? "; " : "", r->backup_id + 24, (const char *)r->lineage,
                                 r->from_position, r->to_position, (long long)r->from_us,
                                 (long long)r->to_us, r->abandoned ? " abandoned" : "");
    }
    recoverable_list_release(&list);
    return text;
}

static const char *intervals(struct fixture *f)
{
    return intervals_in(f, f->st);
}

static const struct log_point *commit_at(uint64_t at, int64_t time_us)
{
    static struct log_point commit;
    commit = (struct log_point){.kind = EVENT_COMMIT,
                                .at = at,
                                .previous = at - RECORD,
                                .end = at + RECORD,
                                .time_us = time_us,
                                .xid = at};
    return &commit;
}

static void test_intervals(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1", .from = SEG}};
    struct log_ref refs[3];
    assert_string_equal(intervals(f), "");
    refs[0] = put_log(f, &b, ID_A, SEG, SEG + 200, 1, NULL);
    put_backup(f, f->st, ID_A, &b, SEG + 160, 1000, refs, 1);
    assert_string_equal(intervals_in(f, NULL), "a a @1184-@1184 1000-1000");
    put_lineage(f, &b);
    /* log that begins behind the backup, or ends before it, does not join */
    assert_string_equal(intervals(f), "a a @1184-@1184 1000-1000");
    put_chunk(f, &b, SEG, SEG + 100, 1, NULL);
    assert_string_equal(intervals(f), "a a @1184-@1184 1000-1000");
    put_chunk(f, &b, SEG + 100, SEG + 300, 1, &(struct extra){.mark_us = 1500});
    assert_string_equal(intervals(f), "a a @1184-@1324 1000-1500");
    put_chunk(f, &b, SEG + 300, SEG + 400, 1,
              &(struct extra){.events = commit_at(SEG + 320, 1800), .count = 1});
    assert_string_equal(intervals(f), "a a @1184-@1424 1000-1799");
    put_mark(f, &b, SEG + 400, 1, 0, 2500);
    assert_string_equal(intervals(f), "a a @1184-@1424 1000-2500");
    /* a backup that the log task's chunks serve; both lead on to the same end */
    refs[0] = put_chunk(f, &b, SEG + 400, SEG + 500, 1, NULL);
    put_backup(f, f->st, ID_B, &b, SEG + 480, 2600, refs, 1);
    assert_string_equal(intervals(f), "a a @1184-@1524 1000-2600");
    /* behind a gap only a newer backup leads on */
    put_chunk(f, &b, 3 * SEG, 3 * SEG + 100, 1, &(struct extra){.mark_us = 4000});
    assert_string_equal(intervals(f), "a a @1184-@1524 1000-2600");
    refs[0] = put_log(f, &b, ID_C, 3 * SEG, 3 * SEG + 64, 1, NULL);
    put_backup(f, f->st, ID_C, &b, 3 * SEG + 64, 3500, refs, 1);
    assert_string_equal(intervals(f), "a a @1184-@1524 1000-2600; c a @3136-@3172 3500-4000");
    branch_done(&b);
}

/* From the settled time on, once that is proven; until then the backup is its own moment. */
static void test_settled(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1", .from = SEG}};
    struct log_ref ref = put_log(f, &b, ID_A, SEG, SEG + 200, 1, NULL);
    settled_us = 1400;
    put_backup(f, f->st, ID_A, &b, SEG + 160, 1000, &ref, 1);
    put_lineage(f, &b);
    assert_string_equal(intervals(f), "a a @1184-@1184 1000-1000");
    put_chunk(f, &b, SEG, SEG + 300, 1, NULL);
    assert_string_equal(intervals(f), "a a @1184-@1324 1000-1000");
    put_mark(f, &b, SEG + 300, 1, 0, 1399);
    assert_string_equal(intervals(f), "a a @1184-@1324 1000-1000");
    put_mark(f, &b, SEG + 300, 1, 1, 1400);
    assert_string_equal(intervals(f), "a a @1184-@1324 1400-1400");
    /* a commit that is later proves what lies before it */
    put_chunk(f, &b, SEG + 300, SEG + 400, 1,
              &(struct extra){.events = commit_at(SEG + 320, 1800), .count = 1});
    assert_string_equal(intervals(f), "a a @1184-@1424 1400-1799");
    /* the newer backup's is behind the older one's interval, and inside it */
    settled_us = 1900;
    ref = put_log(f, &b, ID_B, SEG, SEG + 350, 1, NULL);
    put_backup(f, f->st, ID_B, &b, SEG + 336, 1850, &ref, 1);
    assert_string_equal(intervals(f), "a a @1184-@1424 1400-1850");
    settled_us = 0;
    branch_done(&b);
}

/* Bytes decide: a log of the same label and place that differs is not the backup's. */
static void test_join_compares(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1", .from = SEG, .created_us = 1}};
    struct test_branch clone = {.record = {.id = "x", .label = "1", .created_us = 2}};
    struct test_branch label = {.record = {.id = "a", .label = "2"}};
    struct log_ref ref;
    put_lineage(f, &b);
    put_lineage(f, &clone);
    put_chunk(f, &b, SEG, SEG + 300, 1, NULL);
    put_chunk(f, &clone, SEG, SEG + 400, 1, NULL);
    ref = put_log(f, &clone, ID_A, SEG, SEG + 160, 1, NULL);
    put_backup(f, f->st, ID_A, &clone, SEG + 160, 1000, &ref, 1);
    assert_string_equal(intervals(f), "a x @1184-@1424 1000-1000");
    ref = put_log(f, &label, ID_B, SEG, SEG + 160, 1, NULL);
    put_backup(f, f->st, ID_B, &label, SEG + 160, 1000, &ref, 1);
    assert_string_equal(intervals(f), "b a @1184-@1184 1000-1000; a x @1184-@1424 1000-1000");
    /* a newer lineage is the tenant's: the other is abandoned, and still there */
    ref = put_log(f, &b, ID_C, SEG, SEG + 160, 1, NULL);
    put_backup(f, f->st, ID_C, &b, SEG + 160, 1000, &ref, 1);
    assert_string_equal(intervals(f),
                        "b a @1184-@1184 1000-1000; c a @1184-@1324 1000-1000 abandoned; "
                        "a x @1184-@1424 1000-1000");
    /* a chunk that cannot be compared joins nothing */
    damage_chunk(f, &clone, SEG, 1);
    assert_string_equal(intervals(f), "a x @1184-@1184 1000-1000; b a @1184-@1184 1000-1000; "
                                      "c a @1184-@1324 1000-1000 abandoned");
    branch_done(&b);
    branch_done(&clone);
}

/* What was compared once is not read again. */
static void test_joins_known(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1", .from = SEG, .created_us = 2}};
    struct test_branch clone = {.record = {.id = "x", .label = "1", .created_us = 1}};
    struct recoverable_list list;
    struct log_joins joins = LOG_JOINS_INIT;
    put_lineage(f, &b);
    put_lineage(f, &clone);
    put_chunk(f, &b, SEG, SEG + 100, 1, NULL);
    put_chunk(f, &clone, SEG, SEG + 300, 1, NULL);
    struct log_ref ref = put_log(f, &b, ID_A, SEG, SEG + 160, 1, NULL);
    put_backup(f, f->st, ID_A, &b, SEG + 160, 1000, &ref, 1);
    const char *wanted[] = {"@1184", "@1324", "@1324"};
    for (int round = 0; round < 3; round++) {
        if (round == 1) /* only now the lineage reaches the backup */
            put_chunk(f, &b, SEG + 100, SEG + 300, 1, NULL);
        if (round == 2) { /* neither side's bytes can be read any more */
            struct rel_name rel = names_rel_backup_log(ID_A, SEG, (struct epoch){1, 1});
            const char *gone = rel.s;
            struct full_name name = names_full(&f->scope, gone);
            gone = name.s;
            assert_int_equal(storage_remove(f->st, &gone, 1, &f->err), 0);
        }
        assert_int_equal(log_recoverable_known(f->scratch, f->st, f->st, &f->scope, &test_positions,
                                               &joins, NULL, 0, &list, &f->err),
                         0);
        assert_int_equal(list.count, 1);
        assert_string_equal(list.items[0].to_position, wanted[round]);
        assert_int_equal(joins.count, round == 0 ? 1 : 2); /* the clone's differs from the start */
        recoverable_list_release(&list);
    }
    assert_string_equal(intervals(f), "a a @1184-@1184 1000-1000");
    log_joins_release(&joins);
    branch_done(&b);
    branch_done(&clone);
}

/* A failover without loss, one that loses a tail, and a backup on that tail. */
static void test_forks(void **state)
{
    struct fixture *f = *state;
    struct test_branch p = {.record = {.id = "p", .label = "1", .created_us = 1}};
    struct test_branch c = {
        .record = {.id = "c", .label = "2", .created_us = 2, .fork = 1200, .from = SEG}};
    struct test_branch d = {
        .record = {.id = "d", .label = "3", .created_us = 3, .fork = 2100, .from = 2 * SEG}};
    struct log_ref ref;
    c.parent = &p;
    d.parent = &c;
    put_lineage(f, &p);
    ref = put_chunk(f, &p, 0, 512, 1, &(struct extra){.events = commit_at(160, 1100), .count = 1});
    put_backup(f, f->st, ID_A, &p, 64, 1000, &ref, 1);
    put_chunk(f, &p, 512, 1200, 1, &(struct extra){.mark_us = 2000});
    assert_string_equal(intervals(f), "a p @64-@1200 1000-2000");
    put_lineage(f, &c);
    /* the child exists and stores nothing yet: what is proven ends at the fork */
    assert_string_equal(intervals(f), "a p @64-@1200 1000-2000");
    put_chunk(f, &c, SEG, 1300, 2, &(struct extra){.mark_us = 3000});
    assert_string_equal(intervals(f), "a c @64-@1300 1000-3000");
    /* a tail that the old primary stored behind the fork */
    ref = put_chunk(f, &p, 1200, 1280, 1, &(struct extra){.mark_us = 2500});
    assert_string_equal(intervals(f),
                        "a p @1200-@1280 2000-2500 abandoned; a c @64-@1300 1000-3000");
    put_backup(f, f->st, ID_B, &p, 1248, 2400, &ref, 1);
    assert_string_equal(intervals(f),
                        "a p @1200-@1280 2000-2500 abandoned; a c @64-@1300 1000-3000");
    put_chunk(f, &c, 1300, 2100, 2, &(struct extra){.mark_us = 4000});
    put_lineage(f, &d);
    put_chunk(f, &d, 2 * SEG, 2200, 3, &(struct extra){.mark_us = 5000});
    assert_string_equal(intervals(f),
                        "a p @1200-@1280 2000-2500 abandoned; a d @64-@2200 1000-5000");
    /* a hole where the child begins: the way ends at the fork */
    remove_chunk(f, &c, SEG, 2);
    assert_string_equal(intervals(f),
                        "a p @64-@1200 1000-2000; a p @1200-@1280 2000-2500 abandoned");
    branch_done(&p);
    branch_done(&c);
    branch_done(&d);
}

/* Backups in one storage, log in another. */
static void test_two_storages(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1"}};
    struct storage *log_st = f->st;
    struct storage *backup_st = NULL;
    struct log_ref ref;
    assert_int_equal(ram_open(f->registry, "backups", &backup_st, &f->err), 0);
    put_lineage(f, &b);
    put_chunk(f, &b, 0, 500, 1, &(struct extra){.mark_us = 2000});
    f->st = backup_st;
    ref = put_log(f, &b, ID_A, 0, 160, 1, NULL);
    put_backup(f, f->st, ID_A, &b, 160, 1000, &ref, 1);
    assert_string_equal(intervals_in(f, log_st), "a a @160-@500 1000-2000");
    assert_string_equal(intervals_in(f, backup_st), "a a @160-@160 1000-1000");
    f->st = log_st;
    storage_free(backup_st);
    branch_done(&b);
}

/* What a source of backups beside the log's own storage brings, as in intervals_in. */
static const char *intervals_over(struct fixture *f, struct log_source *others, size_t count)
{
    static char text[400];
    struct recoverable_list list = RECOVERABLE_LIST_INIT;
    size_t used = 0;
    text[0] = '\0';
    assert_int_equal(log_recoverable_known(f->scratch, f->st, f->st, &f->scope, &test_positions,
                                           NULL, others, count, &list, &f->err),
                     0);
    for (size_t i = 0; i < list.count; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %s-%s %lld-%lld",
                                 i > 0 ? "; " : "", list.items[i].backup_id + 24,
                                 list.items[i].from_position, list.items[i].to_position,
                                 (long long)list.items[i].from_us, (long long)list.items[i].to_us);
    recoverable_list_release(&list);
    return text;
}

/* Backups in several storages; one that is away counts as it was known, along log that goes on. */
static void test_sources(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1"}};
    struct log_source others[2] = {{.name = "one"}, {.name = "two"}};
    struct storage *st[2], *log_st = f->st;
    struct log_ref ref;
    assert_int_equal(ram_open(f->registry, "one", &st[0], &f->err), 0);
    assert_int_equal(ram_open(f->registry, "two", &st[1], &f->err), 0);
    put_lineage(f, &b);
    put_chunk(f, &b, 0, 500, 1, &(struct extra){.mark_us = 2000});
    f->st = st[0];
    ref = put_log(f, &b, ID_A, 0, 160, 1, NULL);
    put_backup(f, st[0], ID_A, &b, 160, 1000, &ref, 1);
    f->st = st[1];
    ref = put_log(f, &b, ID_C, SEG, SEG + 64, 1, NULL);
    put_backup(f, st[1], ID_C, &b, SEG + 64, 3500, &ref, 1);
    f->st = log_st;
    put_chunk(f, &b, SEG, SEG + 100, 1, &(struct extra){.mark_us = 4000});
    assert_string_equal(intervals_over(f, NULL, 0), "");
    /* one that never could be read brings nothing */
    (void)tm_err_set(&others[1].why, TM_E_UNAVAILABLE, "it is not there");
    others[0].st = st[0];
    assert_string_equal(intervals_over(f, others, 2), "a @160-@500 1000-2000");
    assert_false(others[0].away);
    assert_true(others[0].was_read);
    assert_true(others[1].away);
    assert_false(others[1].was_read);
    assert_string_equal(others[1].why.msg, "it is not there");
    others[1].st = st[1];
    assert_string_equal(intervals_over(f, others, 2),
                        "a @160-@500 1000-2000; c @1088-@1124 3500-4000");
    assert_false(others[1].away);
    /* away: what was found there stays, and goes on with the log */
    ram_set_faults(st[0], &(struct ram_faults){.fail_per_mille = 1000});
    others[1].st = NULL;
    put_chunk(f, &b, 500, 600, 1, &(struct extra){.mark_us = 2500});
    put_chunk(f, &b, SEG + 100, SEG + 200, 1, &(struct extra){.mark_us = 5000});
    assert_string_equal(intervals_over(f, others, 2),
                        "a @160-@600 1000-2500; c @1088-@1224 3500-5000");
    assert_true(others[0].away && others[0].was_read);
    assert_int_equal(others[0].why.code, TM_E_UNAVAILABLE);
    remove_chunk(f, &b, SEG, 1); /* nor is more told than the log has */
    assert_string_equal(intervals_over(f, others, 2),
                        "c @1088-@1088 3500-3500; a @160-@600 1000-2500");
    /* back, and its backup deleted meanwhile */
    ram_set_faults(st[0], &(struct ram_faults){.seed = 0});
    struct rel_name rel = names_rel_deleted(ID_A);
    assert_int_equal(storage_put(st[0], names_full(&f->scope, rel.s).s, SLICE_EMPTY, &f->err), 0);
    assert_string_equal(intervals_over(f, others, 1), "");
    others[0].st = NULL;
    assert_string_equal(intervals_over(f, others, 1), "");
    for (size_t i = 0; i < 2; i++) {
        log_joins_release(&others[i].known);
        storage_free(st[i]);
    }
    branch_done(&b);
}

/* What the log's own storage does not give is no fault of the place where the backup lies. */
static void test_log_fails_while_joining(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1"}};
    struct storage *st, *log_st = f->st;
    struct log_ref ref;
    int r = -1;
    uint64_t reads = 0;
    assert_int_equal(ram_open(f->registry, "one", &st, &f->err), 0);
    put_lineage(f, &b);
    put_chunk(f, &b, 0, 500, 1, &(struct extra){.mark_us = 2000});
    f->st = st;
    ref = put_log(f, &b, ID_A, 0, 160, 1, NULL);
    put_backup(f, st, ID_A, &b, 160, 1000, &ref, 1);
    f->st = log_st;
    for (uint64_t nth = 1; r < 0; nth++) {
        struct log_source other = {.name = "one", .st = st};
        struct recoverable_list list = RECOVERABLE_LIST_INIT;
        assert_true(nth < 100);
        ram_set_faults(f->st, &(struct ram_faults){.fail_op[RAM_READ] = nth});
        r = log_recoverable_known(f->scratch, f->st, f->st, &f->scope, &test_positions, NULL,
                                  &other, 1, &list, &f->err);
        assert_false(other.away);
        assert_int_equal(other.was_read, r == 0);
        if (r < 0)
            assert_int_equal(f->err.code, TM_E_IO);
        else
            assert_int_equal(list.count, 1);
        reads = nth;
        recoverable_list_release(&list);
        log_joins_release(&other.known);
    }
    assert_true(reads > 2);
    ram_set_faults(f->st, &(struct ram_faults){.seed = 0});
    /* the other place's own fault is */
    struct log_source other = {.name = "one", .st = st};
    ram_set_faults(st, &(struct ram_faults){.fail_op[RAM_READ] = 1});
    assert_string_equal(intervals_over(f, &other, 1), "");
    assert_true(other.away && !other.was_read);
    assert_int_equal(other.why.code, TM_E_IO);
    log_joins_release(&other.known);
    storage_free(st);
    branch_done(&b);
}

/* A clone was stored as a lineage of its own until its source was back. */
static void test_written_again(void **state)
{
    struct fixture *f = *state;
    struct test_branch p = {.record = {.id = "p", .label = "1", .created_us = 1}};
    struct test_branch c = {.record = {.id = "c", .label = "1", .created_us = 2}};
    struct log_ref ref;
    put_lineage(f, &p);
    put_writer(f, &p, 1, 0);
    ref = put_chunk(f, &p, 0, 512, 1, &(struct extra){.mark_us = 2000});
    put_backup(f, f->st, ID_A, &p, 64, 1000, &ref, 1);
    put_lineage(f, &c);
    assert_string_equal(intervals(f), "a p @64-@512 1000-2000"); /* nothing is written there yet */
    put_writer(f, &c, 2, 0);
    put_chunk(f, &c, 0, 700, 2, &(struct extra){.mark_us = 3000});
    assert_string_equal(intervals(f), "a p @64-@512 1000-2000 abandoned");
    put_writer(f, &p, 3, 512);
    put_chunk(f, &p, 512, 600, 3, &(struct extra){.mark_us = 4000});
    assert_string_equal(intervals(f), "a p @64-@600 1000-4000");
    branch_done(&p);
    branch_done(&c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_intervals),     T(test_settled),
        T(test_join_compares), T(test_joins_known),
        T(test_forks),         T(test_two_storages),
        T(test_sources),       T(test_log_fails_while_joining),
        T(test_written_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
