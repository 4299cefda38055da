/* agent/backup: what lies under a committed backup and is not its own is removed. */
#include "tests/unit/agent/backup/checkpoint.h"

/* Range `i` once more, by somebody who loses. */
static struct rel_name store_loser(struct fixture *f, uint32_t i, struct epoch epoch)
{
    struct backup_result result = {.raw_bytes = 0};
    struct backup_lease lease = whole_lease(&f->w, i, epoch);
    OK(backup_store_range(f->w.worker, f->w.engine, f->w.reader, &lease, &result, &w_err));
    backup_result_release(&result);
    return data_name(i, epoch);
}

static uint32_t objects(struct fixture *f)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    uint32_t count = 0;
    OK(storage_list(f->st, "", NULL, &it, &w_err));
    while (storage_iter_next(it, &object, &w_err) == 1)
        count++;
    return count;
}

static void assert_whole(struct fixture *f)
{
    struct object_scratch *scratches[3];
    struct verify_totals totals;
    for (size_t i = 0; i < 3; i++)
        OK(object_scratch_new(&scratches[i], &w_err));
    OK(verify_backup(scratches, f->st, &f->w.options.scope, WHOLE_ID, NULL, NULL, &totals, &w_err));
    for (size_t i = 0; i < 3; i++)
        object_scratch_free(scratches[i]);
}

static void test_orphans(void **state)
{
    struct fixture *f = *state;
    struct backup_sweep_result swept;
    begin(f, false);
    whole_stop(&f->w);
    whole_log(&f->w);
    whole_final(&f->w);
    uint32_t before = objects(f);
    store(f, 0, 2);
    store(f, 2, 3);
    struct rel_name below = store_loser(f, 0, (struct epoch){0, 77});
    struct rel_name above = store_loser(f, 2, (struct epoch){9, 1});
    assert_int_equal(backup_tidy(f->w.worker, &swept, &w_err), -TM_E_REFUSED);
    assert_string_equal(w_err.msg, "orphans: backup '" WHOLE_ID "' is not committed");
    OK(whole_try_commit(&f->w));
    assert_int_equal(objects(f), before + 2 + 2 + 2); /* and segment and manifest */
    OK(backup_tidy(f->w.worker, &swept, &w_err));
    assert_int_equal(swept.objects, 4);
    assert_false(is_there(f, below.s));
    assert_false(is_there(f, above.s));
    assert_false(is_there(f, FIRST "00000000"));
    assert_int_equal(objects(f), before + 2);
    OK(backup_tidy(f->w.worker, &swept, &w_err));
    assert_int_equal(swept.objects, 0);
    assert_whole(f);
}

/* A chain that does not prove whole: nothing goes. */
static void test_damaged(void **state)
{
    struct fixture *f = *state;
    struct backup_sweep_result swept;
    begin(f, false);
    whole_stop(&f->w);
    whole_log(&f->w);
    whole_final(&f->w);
    store(f, 0, 2);
    (void)store_loser(f, 0, (struct epoch){0, 77});
    OK(whole_try_commit(&f->w));
    uint32_t before = objects(f);
    flip(f, DIR "manifest.mpk", 50);
    assert_int_equal(backup_tidy(f->w.worker, &swept, &w_err), -TM_E_CORRUPT);
    assert_int_equal(objects(f), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_orphans, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
