/* A lineage whose own record, or a writer's, is damaged or gone: the others are told and restored, what may
 * lie in it is refused by name, and nothing is taken for the latest moment that is not. */
#include "tests/unit/proto/repo/target_fixture.h"

#define LINEAGE_C "63000000000000000000000000000000"
#define LOG_C     "object 'demo1/main/42/log/" LINEAGE_C
#define RECORD_C  LOG_C "/lineage.mpk'"
#define WRITER_C  LOG_C "/writer/0000000000000001.00000002'"
#define NO_DIGEST ": header and footer do not match their digest"
#define MISSING   RECORD_C " is missing, log lies there"

/* p up to its tail, and its child c, which is written now: forked at 1200. */
static void put_family(struct fixture *f, struct test_branch *p, struct test_branch *c)
{
    const struct log_point tail[] = {commit(1216, T(23))};
    const struct log_point copied[] = {commit(1040, T(21)), commit(1216, T(25)),
                                       commit(1248, T(26))};
    put_story(f, p);
    *c = (struct test_branch){.record = {.id = "c",
                                         .label = "2",
                                         .created_us = 2,
                                         .fork = 1200,
                                         .from = SEG,
                                         .facts = p->record.facts},
                              .parent = p};
    known[1] = c;
    put_chunk(f, p, 1024, 1200, 1, &(struct extra){copied, 1, T(22)});
    put_chunk(f, p, 1200, 1300, 1, &(struct extra){tail, 1, T(24)});
    put_lineage(f, c);
    put_writer(f, c, 2, SEG);
    put_chunk(f, c, SEG, 1240, 2, &(struct extra){copied, 2, 0});
    put_chunk(f, c, 1240, 1280, 2, &(struct extra){copied + 2, 1, T(30)});
}

static struct full_name record_of(struct fixture *f, const struct test_branch *b)
{
    return names_full(&f->scope, names_rel_lineage(b->record.id).s);
}

static void flip(struct fixture *f, struct full_name name)
{
    size_t len = 0;
    ram_bytes(f->st, name.s, &len)[len - 70] ^= 1;
}

static void drop(struct fixture *f, struct full_name name)
{
    const char *gone = name.s;
    assert_int_equal(storage_remove(f->st, &gone, 1, &f->err), 0);
}

/* "lineage from-to; …| lineage: text; …" */
static const char *told(struct fixture *f)
{
    static char text[1000];
    struct recoverable_list list = RECOVERABLE_LIST_INIT;
    size_t used = 0;
    assert_int_equal(
        log_recoverable(f->scratch, f->st, f->st, &f->scope, &test_positions, &list, &f->err), 0);
    for (size_t i = 0; i < list.count; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s %s-%s; ",
                                 (const char *)list.items[i].lineage, list.items[i].from_position,
                                 list.items[i].to_position);
    for (size_t i = 0; i < list.damages.count; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "| %s: %s",
                                 (const char *)list.damages.items[i].lineage,
                                 list.damages.items[i].text);
    recoverable_list_release(&list);
    return text;
}

static void expect_refused(struct fixture *f, const char *target, const struct ask *ask,
                           const char *why)
{
    assert_string_equal(plan_of(f, target, ask), why);
    assert_int_equal(f->err.code, TM_E_CORRUPT);
    assert_false(f->err.retryable);
}

/* The child is damaged: its parent serves up to where the child begins, and by its name. */
static void expect_parent_only(struct fixture *f, const char *latest)
{
    assert_string_equal(plan_of(f, TIME("14"), NULL), "a 592<608 1 13.0: 1@0-512 1@512-608");
    assert_string_equal(plan_of(f, "@600", NULL), "a 592<1024 1 13.0: 1@0-512 1@512-1024");
    assert_string_equal(plan_of(f, "immediate", NULL), "a immediate @64");
    expect_refused(f, "latest", NULL, latest);
    assert_string_equal(plan_of(f, TIME("24"), &(struct ask){.lineage = "p"}),
                        "a 1280<1300 1 23.0: 1@0-512 1@512-1024 1@1024-1200 1@1200-1300");
}

static void test_record_damaged(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    put_family(f, &p, &c);
    assert_string_equal(told(f), "p @1200-@1300; c @64-@1280; ");
    flip(f, record_of(f, &c));
    assert_string_equal(told(f), "p @64-@1300; | c: " RECORD_C NO_DIGEST);
    expect_parent_only(f, "log of lineage " LINEAGE_C " lies here and is damaged: give a time or "
                          "position, 'immediate', or another lineage: " RECORD_C NO_DIGEST);
    /* behind the child's beginning nobody knows on which of the two it was */
    expect_refused(f, TIME("22.5"), NULL,
                   "lineage " LINEAGE_C ", which may have left here what was asked for, is "
                   "damaged: " RECORD_C NO_DIGEST ": name the lineage that is meant");
    expect_refused(f, "xid:1216", NULL,
                   "lineage " LINEAGE_C ", which may have left here what was asked for, is "
                   "damaged: " RECORD_C NO_DIGEST ": name the lineage that is meant");
    branches_done();
}

static void test_record_missing(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    put_family(f, &p, &c);
    drop(f, record_of(f, &c));
    assert_string_equal(told(f), "p @64-@1300; | c: " MISSING);
    expect_parent_only(f,
                       "log of lineage " LINEAGE_C " lies here without its record: give a time or "
                       "position, 'immediate', or another lineage: " MISSING);
    branches_done();
}

static void test_writer_damaged(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    put_family(f, &p, &c);
    flip(f, names_full(&f->scope, names_rel_writer(c.record.id, (struct epoch){1, 2}).s));
    assert_string_equal(told(f), "p @64-@1200; p @1200-@1300; | c: " WRITER_C NO_DIGEST);
    expect_parent_only(f, "log of lineage " LINEAGE_C " lies here and is damaged: give a time or "
                          "position, 'immediate', or another lineage: " WRITER_C NO_DIGEST);
    /* the fork is known: up to it the parent serves */
    assert_string_equal(plan_of(f, "@1190", NULL),
                        "a 1184<1200 1 21.0: 1@0-512 1@512-1024 1@1024-1200");
    branches_done();
}

/* The parent is damaged and its child is not: a backup on the child restores as ever. */
static void test_parent_damaged(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    put_family(f, &p, &c);
    struct log_ref ref = put_log(f, &c, ID_B, SEG, 1240, 1, NULL);
    put_backup(f, f->st, ID_B, &c, 1232, T(25) + 5, &ref, 1);
    drop(f, record_of(f, &p));
    assert_string_equal(plan_of(f, TIME("25.5"), NULL),
                        "b 1232<1248 2 25.0: 2@1024-1240 2@1240-1248");
    assert_string_equal(plan_of(f, "latest", NULL), "b 1264<1280 2 26.0: 2@1024-1240 2@1240-1280");
    expect_refused(f, TIME("14"), NULL,
                   "1970-01-01T00:00:14.000000Z lies in a gap: nothing can be had between "
                   "1970-01-01T00:00:05.000000Z (@64) and 1970-01-01T00:00:25.000005Z (@1232); not "
                   "counted is lineage 70000000000000000000000000000000, which is damaged: object "
                   "'demo1/main/42/log/70000000000000000000000000000000/lineage.mpk' is missing, "
                   "log lies there");
    branches_done();
}

/* Nothing is truncated by what is known of the others alone. */
static void test_truncation_refused(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    struct log_truncate_result result;
    const struct log_truncate wish = {
        .until_us = T(14), .epoch = {1, 9}, .node = "n", .now_us = T(100)};
    put_family(f, &p, &c);
    drop(f, record_of(f, &c));
    assert_int_equal(log_truncate_run(f->scratch, f->st, f->st, &f->scope, &test_positions, &wish,
                                      nonce, &result, &f->err),
                     -TM_E_CORRUPT);
    assert_string_equal(f->err.msg,
                        "nothing is truncated: lineage " LINEAGE_C " is damaged: " MISSING);
    branches_done();
}

/* A name alone, or a claim, is no log yet. */
static void test_nothing_stored(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c = {.record = {.id = "c", .label = "2"}};
    put_story(f, &p);
    struct rel_name rel = names_rel_claim(c.record.id, (struct epoch){1, 2});
    assert_int_equal(storage_put(f->st, names_full(&f->scope, rel.s).s, SLICE_EMPTY, &f->err), 0);
    assert_string_equal(told(f), "p @64-@1024; ");
    branches_done();
}

int main(void)
{
#undef T
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_record_damaged), T(test_record_missing),     T(test_writer_damaged),
        T(test_parent_damaged), T(test_truncation_refused), T(test_nothing_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
