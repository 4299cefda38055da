/* A lineage whose own record, or a writer's, is damaged or gone: the others are told and restored, what may
 * lie in it is refused by name, and nothing is taken for the latest moment that is not. So it is with one
 * that lost its end. Truncating and searching go on beside it. */
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

static void delete_backup(struct fixture *f, const char *id)
{
    struct rel_name rel = names_rel_deleted(id);
    assert_int_equal(storage_put(f->st, names_full(&f->scope, rel.s).s, SLICE_EMPTY, &f->err), 0);
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

/* ---- truncating ---- */

static int cut_until(struct fixture *f, int64_t until_us, bool force,
                     struct log_truncate_result *result)
{
    const struct log_truncate wish = {
        .until_us = until_us, .force = force, .epoch = {1, 9}, .node = "n", .now_us = T(100)};
    return log_truncate_run(f->scratch, f->st, f->st, &f->scope, &test_positions, &wish, nonce,
                            result, &f->err);
}

/* The bytes at which chunks of the branch begin, "0 512 …". */
static const char *chunks_of(struct fixture *f, const struct test_branch *b)
{
    static char text[200];
    struct storage_iter *it = NULL;
    struct storage_object object;
    size_t used = 0;
    text[0] = '\0';
    struct full_name prefix = names_log_prefix(&f->scope, b->record.id, "chunk");
    assert_int_equal(storage_list(f->st, prefix.s, NULL, &it, &f->err), 0);
    while (storage_iter_next(it, &object, &f->err) > 0)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%llu", used > 0 ? " " : "",
                                 strtoull(object.name + strlen(prefix.s), NULL, 16));
    storage_iter_free(it);
    return text;
}

/* The child is damaged: its parent is truncated, and the child told and left alone. */
static void test_truncation_goes_on(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    struct log_truncate_result result;
    put_family(f, &p, &c);
    struct log_ref ref = put_log(f, &p, ID_B, SEG, 1200, 1, NULL);
    put_backup(f, f->st, ID_B, &p, 1040, T(21), &ref, 1);
    drop(f, record_of(f, &c));
    /* what was refused without damage still is */
    assert_int_equal(cut_until(f, T(22), false, &result), -TM_E_REFUSED);
    assert_string_equal(f->err.msg, "backup '" ID_A "', consistent at 1970-01-01T00:00:05.000000Z, "
                                    "needs the log from @0 on: delete it first, or force");
    assert_int_equal(cut_until(f, T(22), true, &result), 0);
    assert_string_equal(result.damage,
                        "lineage " LINEAGE_C " is damaged, and left alone: " MISSING);
    assert_int_equal(result.chunks, 1); /* the first one the older backup lists */
    assert_string_equal(chunks_of(f, &p), "0 1024 1200");
    assert_string_equal(chunks_of(f, &c), "1024 1240");
    /* repaired, it is as it was, and led to */
    put_lineage(f, &c);
    assert_string_equal(plan_of(f, TIME("25.5"), NULL),
                        "b 1232<1248 2 25.0: 1@1024-1200 2@1024-1240 2@1240-1248");
    branches_done();
}

/* The same with what its writers stored. What was to go of it stays until it is repaired. */
static void test_truncation_beside_writer(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    struct log_truncate_result result;
    int64_t next_us = 0;
    struct object_info info;
    put_family(f, &p, &c);
    flip(f, names_full(&f->scope, names_rel_writer(c.record.id, (struct epoch){1, 2}).s));
    assert_int_equal(cut_until(f, T(24), true, &result), 0);
    assert_string_equal(result.damage,
                        "lineage " LINEAGE_C " is damaged, and left alone: " WRITER_C NO_DIGEST);
    assert_int_equal(result.chunks, 0);
    struct truncation record = {.from = 1240, .term = 1, .counter = 3, .created_us = T(90)};
    memcpy(record.lineage, c.record.id, 16);
    assert_int_equal(
        record_put(f->scratch[0], f->st,
                   names_full(&f->scope, names_rel_truncate((struct epoch){1, 3}, 0).s).s,
                   OBJECT_TRUNCATION, nonce, &truncation_codec, &record, &info, &f->err),
        0);
    record.from = 512;
    memcpy(record.lineage, p.record.id, 16);
    assert_int_equal(
        record_put(f->scratch[0], f->st,
                   names_full(&f->scope, names_rel_truncate((struct epoch){1, 3}, 1).s).s,
                   OBJECT_TRUNCATION, nonce, &truncation_codec, &record, &info, &f->err),
        0);
    delete_backup(f, ID_A);
    assert_int_equal(
        log_truncate_sweep(f->scratch, f->st, f->st, &f->scope, T(100), 0, &next_us, &f->err),
        -TM_E_CORRUPT);
    assert_string_equal(f->err.msg, "log of a damaged lineage is left: " WRITER_C NO_DIGEST);
    assert_string_equal(chunks_of(f, &p), "512 1024 1200");
    assert_string_equal(chunks_of(f, &c), "1024 1240");
    branches_done();
}

/* A third branch is damaged, nobody knows where it left from: the newest backup of each one keeps its log,
 * also where the tenant went on long ago. */
static void test_truncation_keeps_ways(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    struct test_branch d;
    struct log_truncate_result result;
    put_family(f, &p, &c);
    struct log_ref ref = put_log(f, &p, ID_B, SEG, 1200, 1, NULL);
    put_backup(f, f->st, ID_B, &p, 1040, T(21), &ref, 1);
    ref = put_log(f, &c, ID_C, SEG, 1240, 1, NULL);
    put_backup(f, f->st, ID_C, &c, 1232, T(25) + 5, &ref, 1);
    d = (struct test_branch){
        .record = {.id = "d", .label = "3", .created_us = 3, .fork = 1250, .from = SEG},
        .parent = &p};
    put_lineage(f, &d);
    put_chunk(f, &d, SEG, 1300, 1, NULL);
    flip(f, record_of(f, &d));
    assert_int_equal(cut_until(f, T(27), true, &result), 0);
    assert_int_equal(result.chunks, 1); /* the first one the older backup lists */
    assert_string_equal(chunks_of(f, &p), "0 1024 1200");
    assert_string_equal(chunks_of(f, &c), "1024 1240");
    assert_string_equal(chunks_of(f, &d), "1024");
    branch_done(&d);
    branches_done();
}

/* The parent is damaged: its backup may go on into the child, whose log is only taken by force. */
static void test_truncation_behind_damage(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    struct log_truncate_result result;
    put_family(f, &p, &c);
    put_chunk(f, &c, 1280, 2100, 2, &(struct extra){NULL, 0, T(40)});
    struct log_ref ref = put_log(f, &c, ID_B, 2048, 2100, 1, NULL);
    put_backup(f, f->st, ID_B, &c, 2060, T(31), &ref, 1);
    drop(f, record_of(f, &p));
    assert_int_equal(cut_until(f, T(32), false, &result), -TM_E_REFUSED);
    assert_string_equal(f->err.msg,
                        "backup '" ID_A "' may lie on lineage 70000000000000000000000000000000, "
                        "which is damaged, and need the log that follows it: delete it first, or "
                        "force");
    assert_int_equal(cut_until(f, T(32), true, &result), 0);
    assert_string_equal(chunks_of(f, &p), "0 512 1024 1200");
    assert_string_equal(chunks_of(f, &c), "1280");
    branches_done();
}

/* ---- searching ---- */

static int find(void *arg, const struct lineage *lineage, const struct log_point *point,
                struct tm_err *err)
{
    char *text = arg;
    (void)err;
    (void)snprintf(text + strlen(text), 100 - strlen(text), " %s%llu", (const char *)lineage->id,
                   (unsigned long long)point->at);
    return 0;
}

/* " lineage+byte …", "| lineage: text" of what is damaged. */
static const char *searched(struct fixture *f)
{
    static char text[700];
    struct log_damages damages = LOG_DAMAGES_INIT;
    const struct log_search search = {.from_us = T(20), .damages = &damages};
    text[0] = '\0';
    assert_int_equal(log_search_run(f->scratch, f->st, &f->scope, &search, find, text, &f->err), 0);
    for (size_t i = 0; i < damages.count; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), " | %s: %s",
                       (const char *)damages.items[i].lineage, damages.items[i].text);
    log_damages_release(&damages);
    return text;
}

static void test_search(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    struct test_branch c;
    const struct log_search plain = {.from_us = T(20)};
    char text[100] = "";
    put_family(f, &p, &c);
    assert_string_equal(searched(f), " p1040 p1216 c1216 c1248");
    flip(f, record_of(f, &p));
    assert_int_equal(log_search_run(f->scratch, f->st, &f->scope, &plain, find, text, &f->err),
                     -TM_E_CORRUPT);
    assert_string_equal(searched(f), " c1040 c1216 c1248 | p: object 'demo1/main/42/log/"
                                     "70000000000000000000000000000000/lineage.mpk'" NO_DIGEST);
    flip(f, record_of(f, &p));
    flip(f, names_full(&f->scope, names_rel_writer(c.record.id, (struct epoch){1, 2}).s));
    assert_string_equal(searched(f), " p1040 p1216 | c: " WRITER_C NO_DIGEST);
    branches_done();
}

/* ---- the end ---- */

/* The newest chunk is gone, no later one names it; a mark tells that it was there. */
static void test_end_lost(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    put_story(f, &p);
    assert_string_equal(told(f), "p @64-@1024; "); /* with a mark at its end */
    remove_chunk(f, &p, 512, 1);
    assert_string_equal(told(f), "p @64-@512; | p: log from @512 to @1024, which was stored, is "
                                 "missing or damaged");
    expect_refused(f, "latest", NULL,
                   "lineage 70000000000000000000000000000000 has lost its end: log from @512 to "
                   "@1024, which was stored, is missing or damaged: give a time or position, "
                   "'immediate', or name the lineage");
    assert_string_equal(plan_of(f, "latest", &(struct ask){.lineage = "p"}),
                        "a 496<512 1 13.0: 1@0-512");
    assert_string_equal(plan_of(f, "@480", NULL), "a 480<512 1 13.0: 1@0-512");
    expect_refused(f, TIME("16"), NULL,
                   "1970-01-01T00:00:16.000000Z lies behind what is stored: the last moment that "
                   "can be had is 1970-01-01T00:00:12.999999Z (@512); not counted is lineage "
                   "70000000000000000000000000000000, which is damaged: log from @512 to @1024, "
                   "which was stored, is missing or damaged");
    /* a writer that begins again where the log ends says what counts */
    put_writer(f, &p, 9, 512);
    assert_string_equal(told(f), "p @64-@512; ");
    branches_done();
}

/* A mark where its writer began says nothing of what is stored: behind a gap, say. */
static void test_end_of_nothing(void **state)
{
    struct fixture *f = *state;
    struct test_branch p;
    put_story(f, &p);
    put_writer(f, &p, 2, 1500);
    put_mark(f, &p, 1500, 2, 0, T(30));
    assert_string_equal(told(f), "p @64-@1024; ");
    put_mark(f, &p, 1501, 2, 0, T(31));
    assert_string_equal(told(f), "p @64-@1024; | p: log from @1024 to @1501, which was stored, is "
                                 "missing or damaged");
    /* nor does one that is damaged */
    flip(f, names_full(&f->scope, names_rel_mark(p.record.id, 1501, (struct epoch){1, 2}, 0).s));
    assert_string_equal(told(f), "p @64-@1024; ");
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
        T(test_record_damaged),
        T(test_record_missing),
        T(test_writer_damaged),
        T(test_parent_damaged),
        T(test_nothing_stored),
        T(test_truncation_goes_on),
        T(test_truncation_beside_writer),
        T(test_truncation_keeps_ways),
        T(test_truncation_behind_damage),
        T(test_search),
        T(test_end_lost),
        T(test_end_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
