/* Truncating: what goes and when, what stays, what is refused; and a crash at every step. */
#include "tests/unit/proto/repo/truncate_fixture.h"

static void test_truncate(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_truncate_result result = {.chunks = 77};
    put_story(f, &b);
    put_mark(f, &b, 300, 1, 0, 2 * SECOND);
    put_mark(f, &b, 4096, 1, 0, 30 * SECOND);
    assert_string_equal(intervals(f), "a p @64-@4096");
    /* the older backup is kept: its log is, too */
    assert_int_equal(cut_log(f, &(struct log_truncate){.until_us = 10 * SECOND}, &result),
                     -TM_E_REFUSED);
    assert_string_equal(f->err.msg,
                        "backup '" ID_A "', consistent at 1970-01-01T00:00:00.500000Z, needs the "
                        "log from @0 on: delete it first, or force");
    assert_int_equal(result.chunks, 77);
    /* a wish before the newer backup takes nothing that the older one needs */
    assert_int_equal(cut_log(f, &(struct log_truncate){.until_us = 8 * SECOND}, &result), 0);
    assert_int_equal(result.chunks, 0);
    delete_backup(f, ID_A);
    assert_string_equal(intervals(f), "b p @2112-@4096");
    assert_int_equal(
        cut_log(f, &(struct log_truncate){.until_us = 10 * SECOND, .dry_run = true}, &result), 0);
    assert_int_equal(result.chunks, 8);
    assert_int_equal(room_count(f, &b, "chunk"), 16);
    uint64_t bytes = result.bytes;
    assert_int_equal(cut_log(f, &(struct log_truncate){.until_us = 10 * SECOND}, &result), 0);
    assert_int_equal(result.chunks, 8);
    assert_int_equal(result.bytes, bytes);
    assert_int_equal(result.truncated_us, 10 * SECOND);
    assert_string_equal(result.truncated_position, "@2048");
    assert_int_equal(room_count(f, &b, "chunk"), 8);
    assert_int_equal(room_count(f, &b, "mark"), 1);
    assert_string_equal(intervals(f), "b p @2112-@4096");
    struct log_lineages list;
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(list.items[0].truncated, 2048);
    assert_int_equal(list.items[0].truncated_us, 10 * SECOND);
    log_lineages_release(&list);
    /* again: nothing is left to do, and no second record is written */
    size_t objects = ram_object_count(f->st);
    assert_int_equal(cut_log(f, &(struct log_truncate){.until_us = 10 * SECOND}, &result), 0);
    assert_int_equal(result.chunks, 0);
    assert_int_equal(ram_object_count(f->st), objects);
    branch_done(&b);
}

/* The older backup lies in another storage: minded as if it lay beside the log. */
static void test_elsewhere(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_source other = {.name = "file:///fulls"};
    struct log_truncate_result result = {.chunks = 77};
    struct log_truncate wish = {
        .until_us = 10 * SECOND, .dry_run = true, .others = &other, .other_count = 1};
    struct storage *log_st = f->st, *st;
    assert_int_equal(ram_open(f->registry, "fulls", &st, &f->err), 0);
    put_story(f, &b);
    delete_backup(f, ID_A);
    assert_int_equal(cut_log(f, &wish, &result), -TM_E_REFUSED); /* it cannot be opened */
    (void)tm_err_set(&other.why, TM_E_NOT_FOUND, "no such directory");
    assert_int_equal(cut_log(f, &wish, &result), -TM_E_REFUSED);
    assert_string_equal(f->err.msg,
                        "backups in 'file:///fulls' cannot be read now, and may need the log: try "
                        "again later, or force: no such directory");
    wish.force = true;
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 8);
    wish.force = false;
    other.st = st;
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 8);
    /* with an older backup there, the log that it needs stays */
    f->st = st;
    struct log_ref ref = put_log(f, &b, ID_A, 0, 160, 1, NULL);
    put_backup(f, st, ID_A, &b, 64, SECOND / 2, &ref, 1);
    f->st = log_st;
    assert_int_equal(cut_log(f, &wish, &result), -TM_E_REFUSED);
    assert_string_equal(f->err.msg,
                        "backup '" ID_A "', consistent at 1970-01-01T00:00:00.500000Z, needs the "
                        "log from @0 on: delete it first, or force");
    wish.until_us = 8 * SECOND; /* before the newer one: nothing goes */
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 0);
    /* the only ones lie there */
    delete_backup(f, ID_B);
    f->st = st;
    ref = put_log(f, &b, ID_B, 2048, 2112, 1, NULL);
    put_backup(f, st, ID_B, &b, 2112, 9 * SECOND, &ref, 1);
    delete_backup(f, ID_A);
    f->st = log_st;
    wish.until_us = 10 * SECOND;
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 8);
    assert_string_equal(result.truncated_position, "@2048");
    /* a manifest that cannot be trusted hides what its backup needs; so does a store that is away */
    size_t len = 0;
    struct rel_name rel = names_rel_manifest(ID_B);
    ram_bytes(st, names_full(&f->scope, rel.s).s, &len)[40] ^= 1;
    assert_int_equal(cut_log(f, &wish, &result), -TM_E_REFUSED);
    assert_non_null(strstr(f->err.msg, "backups in 'file:///fulls' cannot be read now"));
    ram_set_faults(st, &(struct ram_faults){.fail_per_mille = 1000});
    assert_int_equal(cut_log(f, &wish, &result), -TM_E_REFUSED);
    log_joins_release(&other.known);
    storage_free(st);
    branch_done(&b);
}

/* What is wrong with this process says nothing of another storage, forced or not. */
static void test_own_trouble(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_source other = {.name = "file:///fulls"};
    struct log_truncate_result result = {.chunks = 77};
    struct log_truncate wish = {
        .until_us = 10 * SECOND, .dry_run = true, .others = &other, .other_count = 1};
    put_story(f, &b);
    delete_backup(f, ID_A);
    (void)tm_err_set(&other.why, TM_E_CANCELED, "canceled");
    for (int forced = 0; forced < 2; forced++) {
        wish.force = forced > 0;
        assert_int_equal(cut_log(f, &wish, &result), -TM_E_CANCELED);
        assert_string_equal(f->err.msg, "canceled");
    }
    (void)tm_err_oom(&other.why);
    assert_int_equal(cut_log(f, &wish, &result), -TM_E_NO_MEMORY);
    assert_string_equal(f->err.msg, other.why.msg);
    wish.force = false;
    assert_int_equal(cut_log(f, &wish, &result), -TM_E_NO_MEMORY);
    assert_int_equal(result.chunks, 77);
    branch_done(&b);
}

/* Moments between a backup's own and its settled one are the older backup's; its own is meant to be it. */
static void test_settled(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_truncate_result result;
    b_settled_us = 9 * SECOND + 500;
    put_story(f, &b);
    b_settled_us = 0;
    put_mark(f, &b, 4096, 1, 0, 30 * SECOND);
    const int64_t taken[] = {9 * SECOND, 9 * SECOND + 500, 10 * SECOND};
    for (int64_t until_us = 9 * SECOND + 1; until_us <= 9 * SECOND + 499; until_us += 498) {
        assert_int_equal(
            cut_log(f, &(struct log_truncate){.until_us = until_us, .force = true}, &result), 0);
        assert_int_equal(result.chunks, 0);
    }
    for (size_t i = 0; i < TM_ARRAY_LEN(taken); i++) {
        assert_int_equal(
            cut_log(f, &(struct log_truncate){.until_us = taken[i], .force = true, .dry_run = true},
                    &result),
            0);
        assert_int_equal(result.chunks, 7);
    }
    branch_done(&b);
}

/* By force an older backup keeps its own moment: what its manifest lists is not taken. */
static void test_force(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_truncate_result result;
    put_story(f, &b);
    assert_int_equal(
        cut_log(f, &(struct log_truncate){.until_us = 10 * SECOND, .force = true}, &result), 0);
    assert_int_equal(result.chunks, 7);
    assert_int_equal(room_count(f, &b, "chunk"), 9);
    assert_string_equal(intervals(f), "a p @64-@64; b p @2112-@4096");
    /* when that backup is gone, the next run takes its chunk */
    delete_backup(f, ID_A);
    assert_int_equal(cut_log(f, &(struct log_truncate){.until_us = 10 * SECOND}, &result), 0);
    assert_int_equal(result.chunks, 1);
    assert_string_equal(intervals(f), "b p @2112-@4096");
    branch_done(&b);
}

static void test_wishes(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_truncate_result result;
    put_story(f, &b);
    assert_int_equal(cut_log(f, &(struct log_truncate){0}, &result), -TM_E_INVALID);
    assert_string_equal(f->err.msg, "log is truncated until a time or a position");
    assert_int_equal(cut_log(f, &(struct log_truncate){.until_position = "x"}, &result),
                     -TM_E_INVALID);
    delete_backup(f, ID_A);
    /* before the only backup: the log before the wish leads nowhere */
    assert_int_equal(
        cut_log(f, &(struct log_truncate){.until_us = 4 * SECOND, .dry_run = true}, &result), 0);
    assert_int_equal(result.chunks, 4);
    assert_int_equal(
        cut_log(f, &(struct log_truncate){.until_position = "@1000", .dry_run = true}, &result), 0);
    assert_int_equal(result.chunks, 3); /* the fourth reaches beyond */
    assert_int_equal(
        cut_log(f, &(struct log_truncate){.until_position = "@2111", .dry_run = true}, &result), 0);
    assert_int_equal(result.chunks, 8); /* but never what the backup needs */
    assert_int_equal(
        cut_log(f, &(struct log_truncate){.until_position = "@4000", .dry_run = true}, &result), 0);
    assert_int_equal(result.chunks, 8);
    assert_int_equal(result.truncated_us, 9 * SECOND);
    /* without any backup the wish alone counts, once it is forced: backups may lie elsewhere; and the
     * newest chunk stays for the writer */
    delete_backup(f, ID_B);
    struct log_truncate wish = {.until_us = 20 * SECOND, .dry_run = true};
    assert_int_equal(cut_log(f, &wish, &result), -TM_E_REFUSED);
    assert_non_null(strstr(f->err.msg, "holds no finished backup of "));
    wish.force = true;
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 15);
    wish.until_us = 0;
    wish.until_position = "@9999";
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 15);
    branch_done(&b);
}

/* A backup that runs may list any log since it started. */
static void test_running_backup(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "p", .label = "1", .created_us = 1}};
    struct log_truncate_result result;
    struct log_ref refs[8];
    put_lineage(f, &b);
    for (uint64_t i = 0; i < 8; i++)
        refs[i] = put_chunk(f, &b, i * SEG, i * SEG + SEG, 1,
                            &(struct extra){.mark_us = START_B + ((int64_t)i - 4) * 60 * SECOND});
    put_backup(f, f->st, ID_A, &b, SEG + 64, START_B - 150 * SECOND, refs + 1, 1);
    put_backup(f, f->st, ID_C, &b, 6 * SEG + 64, START_B + 150 * SECOND, refs + 6, 1);
    struct log_truncate wish = {.until_us = NOW, .force = true, .dry_run = true};
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 5); /* all before C but what A lists */
    struct rel_name rel = names_rel_plan(ID_B, (struct epoch){1, 1}, 0);
    assert_int_equal(storage_put(f->st, names_full(&f->scope, rel.s).s, SLICE_EMPTY, &f->err), 0);
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 1);
    assert_int_equal(result.truncated_us, START_B);
    /* without another one a position reaches no further either */
    delete_backup(f, ID_A);
    delete_backup(f, ID_C);
    wish = (struct log_truncate){.until_position = "@1000000", .force = true, .dry_run = true};
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 5);
    assert_int_equal(result.truncated_us, 0);
    branch_done(&b);
}

/* Its log starts at the segment that was written when it began, before the wish, too. */
static void test_running_first(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {
        .record = {.id = "p", .label = "1", .created_us = 1, .segment_bytes = SEG}};
    struct log_truncate_result result;
    put_lineage(f, &b);
    for (uint64_t i = 0; i < 16; i++)
        put_chunk(f, &b, i * SEG / 4, (i + 1) * SEG / 4, 1,
                  &(struct extra){.mark_us = START_B + ((int64_t)i - 10) * SECOND});
    struct log_truncate timed = {.until_us = NOW, .force = true, .dry_run = true};
    struct log_truncate placed = {.until_position = "@3900", .force = true, .dry_run = true};
    assert_int_equal(cut_log(f, &timed, &result), 0);
    assert_int_equal(result.chunks, 15);
    assert_int_equal(cut_log(f, &placed, &result), 0);
    assert_int_equal(result.chunks, 15);
    struct rel_name rel = names_rel_plan(ID_B, (struct epoch){1, 1}, 0);
    assert_int_equal(storage_put(f->st, names_full(&f->scope, rel.s).s, SLICE_EMPTY, &f->err), 0);
    assert_int_equal(cut_log(f, &timed, &result), 0);
    assert_int_equal(result.chunks, 8);
    assert_string_equal(result.truncated_position, "@2048");
    assert_int_equal(cut_log(f, &placed, &result), 0);
    assert_int_equal(result.chunks, 8);
    branch_done(&b);
}

/* The way over a fork: what lies before the backup's branch goes, its children stay. */
static void test_forks(void **state)
{
    struct fixture *f = *state;
    struct test_branch p = {.record = {.id = "p", .label = "1", .created_us = 1}};
    struct test_branch c = {.record = {.id = "c", .label = "2", .created_us = 2, .fork = 1000}};
    struct test_branch d = {
        .record = {.id = "d", .label = "3", .created_us = 3, .fork = 3000, .from = 2 * SEG}};
    struct log_truncate_result result;
    struct log_ref ref;
    c.parent = &p;
    d.parent = &c;
    put_lineage(f, &p);
    put_lineage(f, &c);
    put_lineage(f, &d);
    put_chunk(f, &p, 0, 1000, 1, &(struct extra){.mark_us = 2 * SECOND});
    put_chunk(f, &p, 1000, 1200, 1, &(struct extra){.mark_us = 3 * SECOND});
    put_chunk(f, &c, 0, SEG, 2, &(struct extra){.mark_us = 4 * SECOND});
    ref = put_chunk(f, &c, SEG, 3100, 2, &(struct extra){.mark_us = 6 * SECOND});
    put_chunk(f, &d, 2 * SEG, 4000, 3, &(struct extra){.mark_us = 8 * SECOND});
    put_backup(f, f->st, ID_B, &c, SEG + 64, 5 * SECOND, &ref, 1);
    assert_string_equal(intervals(f), "b c @3000-@3100 abandoned; b d @1088-@4000");
    assert_int_equal(cut_log(f, &(struct log_truncate){.until_us = 7 * SECOND}, &result), 0);
    assert_int_equal(result.chunks, 3);
    assert_int_equal(room_count(f, &p, "chunk"), 0);
    assert_int_equal(room_count(f, &c, "chunk"), 1);
    assert_int_equal(room_count(f, &d, "chunk"), 1);
    assert_string_equal(intervals(f), "b c @3000-@3100 abandoned; b d @1088-@4000");
    branch_done(&p);
    branch_done(&c);
    branch_done(&d);
}

static uint32_t roll_all(struct fixture *f)
{
    struct log_lineages list;
    uint32_t rolled = 0;
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(log_index_roll(f->scratch, f->st, &f->scope, &list.items[0],
                                    (struct epoch){1, 1}, nonce, 20, &rolled, &f->err),
                     0);
    log_lineages_release(&list);
    return rolled;
}

/* Each operation in turn fails, before or after its effect; what is promised stays, and the next
 * run ends what was begun. */
static void crash_at(struct fixture *f, struct test_branch *b, enum ram_op op, uint64_t nth,
                     bool *ret_hit)
{
    struct log_truncate_result result;
    struct ram_faults faults = {.fail_code = TM_E_UNAVAILABLE};
    for (uint64_t i = 16; i < 40; i++)
        put_chunk(f, b, i * 256, i * 256 + 256, 1,
                  &(struct extra){.mark_us = (int64_t)(i + 1) * SECOND});
    assert_int_equal(roll_all(f), 24);
    faults.fail_op[op] = nth;
    delete_backup(f, ID_A);
    ram_set_faults(f->st, &faults);
    int r = cut_log(f, &(struct log_truncate){.until_us = 10 * SECOND}, &result);
    ram_set_faults(f->st, &(struct ram_faults){0});
    *ret_hit = r < 0;
    if (r < 0)
        assert_int_equal(r, -TM_E_UNAVAILABLE);
    assert_string_equal(intervals(f), "b p @2112-@10240");
    assert_int_equal(cut_log(f, &(struct log_truncate){.until_us = 10 * SECOND}, &result), 0);
    assert_int_equal(room_count(f, b, "chunk"), 32);
    assert_int_equal(room_count(f, b, "index"), 1); /* it reaches beyond the cut */
    assert_string_equal(intervals(f), "b p @2112-@10240");
}

static void test_crashes(void **state)
{
    (void)state;
    static const enum ram_op ops[] = {RAM_CREATE, RAM_WRITE, RAM_COMMIT, RAM_READ,
                                      RAM_STAT,   RAM_LIST,  RAM_REMOVE};
    unsigned hits = 0;
    for (size_t i = 0; i < TM_ARRAY_LEN(ops); i++) {
        bool hit = true;
        for (uint64_t nth = 1; hit; nth++) {
            void *inner = NULL;
            struct test_branch b;
            assert_int_equal(setup(&inner), 0);
            put_story(inner, &b);
            crash_at(inner, &b, ops[i], nth, &hit);
            branch_done(&b);
            assert_int_equal(teardown(&inner), 0);
            hits += hit;
        }
    }
    assert_in_range(hits, 50, 100000); /* every operation there is */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_truncate),       T(test_elsewhere),
        T(test_own_trouble),    T(test_force),
        T(test_settled),        T(test_wishes),
        T(test_running_backup), T(test_running_first),
        T(test_forks),          cmocka_unit_test(test_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
