/* The grace of a truncation: its record comes at once, its objects stay until nobody reads them. */
#include "proto/repo/sweep.h"
#include "tests/unit/proto/repo/truncate_fixture.h"

#define GRACE (600 * SECOND)

/* When the next sweep is due, after NOW; -1 = nothing is left. */
static int64_t sweep_at(struct fixture *f, int64_t after_us)
{
    int64_t next_us = -7;
    assert_int_equal(log_truncate_sweep(f->scratch, f->st, f->st, &f->scope, NOW + after_us, GRACE,
                                        &next_us, &f->err),
                     0);
    return next_us == 0 ? -1 : next_us - NOW;
}

/* From the record on nobody counts on the log; its objects stay for who does already. */
static void test_grace(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_truncate_result result;
    struct log_truncate wish = {.until_us = 10 * SECOND, .grace_us = GRACE};
    put_story(f, &b);
    put_mark(f, &b, 300, 1, 0, 2 * SECOND);
    assert_int_equal(sweep_at(f, 0), -1); /* nothing was truncated yet */
    delete_backup(f, ID_A);
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 0);
    assert_int_equal(result.truncated_us, 10 * SECOND);
    assert_true(result.next_us == NOW + GRACE);
    assert_int_equal(room_count(f, &b, "chunk"), 16);
    struct log_lineages list;
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(list.items[0].truncated, 2048);
    log_lineages_release(&list);
    /* what waits is told by a dry run; the same wish again takes nothing before its time either */
    wish.dry_run = true;
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 8);
    wish.dry_run = false;
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 0);
    assert_true(sweep_at(f, GRACE - 1) == GRACE);
    assert_int_equal(room_count(f, &b, "chunk"), 16);
    assert_int_equal(room_count(f, &b, "mark"), 1);
    assert_int_equal(sweep_at(f, GRACE), -1);
    assert_int_equal(room_count(f, &b, "chunk"), 8);
    assert_int_equal(room_count(f, &b, "mark"), 0);
    assert_int_equal(sweep_at(f, GRACE), -1);
    assert_string_equal(intervals(f), "b p @2112-@4096");
    branch_done(&b);
}

/* Each record has its own: whoever planned between two still reads what the second took away. */
static void test_graces(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_truncate_result result;
    put_story(f, &b);
    delete_backup(f, ID_A);
    delete_backup(f, ID_B);
    struct log_truncate wish = {.until_position = "@1000", .force = true, .grace_us = GRACE};
    assert_int_equal(cut_log(f, &wish, &result), 0);
    wish.until_position = "@3000";
    wish.now_us = NOW + 100 * SECOND;
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 0);
    assert_true(sweep_at(f, GRACE) == GRACE + 100 * SECOND);
    assert_int_equal(room_count(f, &b, "chunk"), 13); /* the one that holds @1000 stays */
    assert_int_equal(sweep_at(f, GRACE + 100 * SECOND), -1);
    assert_int_equal(room_count(f, &b, "chunk"), 5);
    branch_done(&b);
}

static int64_t late_us(void)
{
    return NOW + 50 * SECOND;
}

static int64_t early_us(void)
{
    return NOW - 50 * SECOND;
}

/* Looking took long: the grace begins with the record. A clock that was set back makes it no shorter. */
static void test_grace_from_the_record_on(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_truncate_result result;
    put_story(f, &b);
    delete_backup(f, ID_A);
    struct log_truncate wish = {.until_us = 10 * SECOND, .grace_us = GRACE, .clock_us = late_us};
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.chunks, 0);
    assert_true(result.next_us == NOW + GRACE + 50 * SECOND);
    assert_true(sweep_at(f, GRACE) == GRACE + 50 * SECOND);
    assert_int_equal(room_count(f, &b, "chunk"), 16);
    assert_int_equal(sweep_at(f, GRACE + 50 * SECOND), -1);
    assert_int_equal(room_count(f, &b, "chunk"), 8);
    delete_backup(f, ID_B);
    wish = (struct log_truncate){
        .until_position = "@3000", .force = true, .grace_us = GRACE, .clock_us = early_us};
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_true(result.next_us == NOW + GRACE);
    /* no grace: at once */
    wish = (struct log_truncate){.until_position = "@3500", .force = true, .clock_us = late_us};
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(result.next_us, 0);
    assert_int_equal(room_count(f, &b, "chunk"), 3);
    branch_done(&b);
}

/* A backup that was committed meanwhile lists what it shares; a manifest that cannot be read may. */
static void test_grace_and_backups(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_truncate_result result;
    size_t len = 0;
    put_story(f, &b);
    delete_backup(f, ID_A);
    struct log_truncate wish = {.until_us = 10 * SECOND, .grace_us = GRACE};
    assert_int_equal(cut_log(f, &wish, &result), 0);
    put_backup(f, f->st, ID_C, &b, 1100, 5 * SECOND, story_chunks + 4, 1);
    struct rel_name rel = names_rel_manifest(ID_C);
    uint8_t *bytes = ram_bytes(f->st, names_full(&f->scope, rel.s).s, &len);
    bytes[len - 70] ^= 1;
    int64_t next_us = 0;
    assert_int_equal(log_truncate_sweep(f->scratch, f->st, f->st, &f->scope, NOW + GRACE, GRACE,
                                        &next_us, &f->err),
                     -TM_E_CORRUPT);
    assert_int_equal(room_count(f, &b, "chunk"), 16);
    bytes[len - 70] ^= 1;
    assert_int_equal(sweep_at(f, GRACE), -1);
    assert_int_equal(room_count(f, &b, "chunk"), 9);
    delete_backup(f, ID_C);
    assert_int_equal(sweep_at(f, GRACE), -1);
    assert_int_equal(room_count(f, &b, "chunk"), 8);
    branch_done(&b);
}

/* Who reads a backup that was deleted meanwhile has what it lists as long as the backup itself; nothing of
 * it keeps a truncation up. */
static void test_grace_of_deleted_backups(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct log_truncate_result result;
    struct tombstone t = {
        .backup_id = ID_C, .deleted_us = NOW + GRACE / 2, .grace_s = GRACE / SECOND};
    size_t len = 0;
    put_story(f, &b);
    delete_backup(f, ID_A);
    put_backup(f, f->st, ID_C, &b, 1100, 5 * SECOND, story_chunks + 4, 1);
    assert_int_equal(backup_delete_mark(f->scratch[0], f->st, &f->scope, &t, nonce, &f->err), 0);
    assert_string_equal(intervals(f), "b p @2112-@4096");
    struct log_truncate wish = {.until_us = 10 * SECOND, .grace_us = GRACE};
    assert_int_equal(cut_log(f, &wish, &result), 0);
    assert_int_equal(sweep_at(f, GRACE), -1);
    assert_int_equal(room_count(f, &b, "chunk"), 9);
    assert_int_equal(sweep_at(f, GRACE + GRACE / 2 - 1), -1);
    assert_int_equal(room_count(f, &b, "chunk"), 9);
    struct rel_name rel = names_rel_manifest(ID_C);
    uint8_t *bytes = ram_bytes(f->st, names_full(&f->scope, rel.s).s, &len);
    bytes[len - 70] ^= 1;
    assert_int_equal(sweep_at(f, GRACE + GRACE / 2 - 1), -1);
    assert_int_equal(room_count(f, &b, "chunk"), 8);
    branch_done(&b);
}

/* A sweep that is cut short at any operation is ended by the next. */
static void test_sweep_crashes(void **state)
{
    (void)state;
    static const enum ram_op ops[] = {RAM_READ, RAM_STAT, RAM_LIST, RAM_REMOVE};
    unsigned hits = 0;
    for (size_t i = 0; i < TM_ARRAY_LEN(ops); i++) {
        bool hit = true;
        for (uint64_t nth = 1; hit; nth++) {
            void *inner = NULL;
            struct test_branch b;
            struct log_truncate_result result;
            struct ram_faults faults = {.fail_code = TM_E_UNAVAILABLE};
            int64_t next_us = 0;
            assert_int_equal(setup(&inner), 0);
            struct fixture *f = inner;
            put_story(f, &b);
            delete_backup(f, ID_A);
            struct log_truncate wish = {.until_us = 10 * SECOND, .grace_us = GRACE};
            assert_int_equal(cut_log(f, &wish, &result), 0);
            faults.fail_op[ops[i]] = nth;
            ram_set_faults(f->st, &faults);
            int r = log_truncate_sweep(f->scratch, f->st, f->st, &f->scope, NOW + GRACE, GRACE,
                                       &next_us, &f->err);
            ram_set_faults(f->st, &(struct ram_faults){0});
            hit = r < 0;
            hits += hit;
            assert_int_equal(r, hit ? -TM_E_UNAVAILABLE : 0);
            assert_string_equal(intervals(f), "b p @2112-@4096");
            assert_int_equal(sweep_at(f, GRACE), -1);
            assert_int_equal(room_count(f, &b, "chunk"), 8);
            branch_done(&b);
            assert_int_equal(teardown(&inner), 0);
        }
    }
    assert_in_range(hits, 10, 100000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_grace),
        T(test_graces),
        T(test_grace_from_the_record_on),
        T(test_grace_and_backups),
        T(test_grace_of_deleted_backups),
        cmocka_unit_test(test_sweep_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
