/* Taking backups out of a repository: what goes, when, and what a crash leaves. */
#include "common/clock.h"
#include "proto/repo/sweep.h"
#include "tests/unit/proto/repo/fixture.h"

#define ID_A   "20261121T100000Z-0000000a"
#define ID_B   "20261121T110000Z-0000000b"
#define ID_C   "20261121T120000Z-0000000c"
#define PREFIX "demo1/main/42/backup/"
#define EPOCH  "0000000000000001.00000001"

#define NOW     INT64_C(1000000000)
#define GRACE_S 600u
#define GRACE   ((int64_t)GRACE_S * USEC_PER_SEC)

static const uint8_t nonce[16] = "nonce";

static const char *const contents[] = {
    "checkpoint/" EPOCH "-00000000",
    "data/00000000-" EPOCH,
    "log/0000000000000000-" EPOCH,
    "plan/" EPOCH "-00000000",
};
#define EACH (TM_ARRAY_LEN(contents) + 1) /* with its manifest */

static void put(struct fixture *f, const char *name)
{
    assert_int_equal(storage_put(f->st, name, slice_str("x"), &f->err), 0);
}

static void put_backup(struct fixture *f, const char *id, bool manifest)
{
    char name[STORAGE_NAME_MAX + 1];
    for (size_t n = 0; n < TM_ARRAY_LEN(contents); n++) {
        (void)snprintf(name, sizeof(name), PREFIX "%s/%s", id, contents[n]);
        put(f, name);
    }
    (void)snprintf(name, sizeof(name), PREFIX "%s/manifest.mpk", id);
    if (manifest)
        put(f, name);
}

static int try_mark(struct fixture *f, const char *id, int64_t at_us)
{
    struct tombstone t = {.deleted_us = at_us, .grace_s = GRACE_S, .reason = "test"};
    memcpy(t.backup_id, id, sizeof(t.backup_id));
    return backup_delete_mark(f->scratch[0], f->st, &f->scope, &t, nonce, &f->err);
}

static int try_sweep(struct fixture *f, const char *id, int64_t now_us, int64_t grace_us,
                     int64_t *ret_next_us, struct sweep_totals *ret)
{
    return backup_delete_sweep(f->scratch[0], f->st, &f->scope, id, now_us, grace_us, ret_next_us,
                               ret, &f->err);
}

/* How many objects go; with *ret_next_us as it is told. */
static uint64_t sweep(struct fixture *f, const char *id, int64_t now_us, int64_t grace_us,
                      int64_t *ret_next_us)
{
    struct sweep_totals totals = {.removed = 77};
    *ret_next_us = 77;
    assert_int_equal(try_sweep(f, id, now_us, grace_us, ret_next_us, &totals), 0);
    return totals.removed;
}

static uint64_t sweep_all(struct fixture *f, int64_t now_us, int64_t *ret_next_us)
{
    struct sweep_totals totals = {.removed = 77};
    *ret_next_us = 77;
    assert_int_equal(backup_deleted_sweep(f->scratch[0], f->st, &f->scope, now_us, ret_next_us,
                                          &totals, &f->err),
                     0);
    return totals.removed;
}

static void test_grace_end(void **state)
{
    (void)state;
    struct tombstone t = {.deleted_us = 1000};
    assert_int_equal(backup_grace_end(&t, 500, 1000), 1500);
    assert_int_equal(backup_grace_end(&t, 500, 1499), 1500);
    assert_int_equal(backup_grace_end(&t, 500, 1500), 0);
    assert_int_equal(backup_grace_end(&t, 500, 9000), 0);
    assert_int_equal(backup_grace_end(&t, 500, 900), 1500); /* a clock that is behind: no shorter */
    assert_int_equal(backup_grace_end(&t, 0, 900), 0);      /* none: whatever the clock says */
}

static void test_grace(void **state)
{
    struct fixture *f = *state;
    int64_t next_us;
    enum backup_state s;
    put_backup(f, ID_A, true);
    put_backup(f, ID_B, true);
    assert_int_equal(try_mark(f, ID_A, NOW), 0);
    /* from the tombstone on it is deleted for everybody, and all of it is there */
    assert_int_equal(catalog_backup_state(f->st, &f->scope, ID_A, &s, &f->err), 0);
    assert_int_equal(s, BACKUP_DELETED);
    assert_int_equal(sweep(f, ID_A, NOW, GRACE, &next_us), 0);
    assert_int_equal(next_us, NOW + GRACE);
    assert_int_equal(sweep(f, ID_A, NOW + GRACE - 1, GRACE, &next_us), 0);
    assert_int_equal(next_us, NOW + GRACE);
    assert_int_equal(ram_object_count(f->st), 2 * EACH + 1);
    /* who asks later for less is heard; marking anew begins nothing anew */
    assert_int_equal(try_mark(f, ID_A, NOW + GRACE / 2), 0);
    assert_int_equal(sweep(f, ID_A, NOW + GRACE / 2, GRACE / 2 + 1, &next_us), 0);
    assert_int_equal(next_us, NOW + GRACE / 2 + 1);
    assert_int_equal(sweep(f, ID_A, NOW + GRACE / 2, GRACE / 2, &next_us), EACH);
    assert_int_equal(next_us, 0);
    assert_int_equal(ram_object_count(f->st), EACH + 1); /* the other one, and the tombstone */
    assert_int_equal(sweep(f, ID_A, NOW + GRACE, GRACE, &next_us), 0);
    assert_int_equal(next_us, 0);
}

/* What nobody can be reading waits for nobody: it has no manifest. */
static void test_grace_needs_manifest(void **state)
{
    struct fixture *f = *state;
    int64_t next_us;
    put_backup(f, ID_A, false);
    assert_int_equal(try_mark(f, ID_A, NOW), 0);
    assert_int_equal(sweep(f, ID_A, NOW, GRACE, &next_us), EACH - 1);
    assert_int_equal(next_us, 0);
    assert_int_equal(ram_object_count(f->st), 1);
}

static void test_grace_of_damaged_tombstone(void **state)
{
    struct fixture *f = *state;
    struct storage_object object;
    int64_t next_us;
    put_backup(f, ID_A, true);
    put(f, PREFIX ID_A "/deleted.mpk");
    assert_int_equal(storage_stat(f->st, PREFIX ID_A "/deleted.mpk", &object, &f->err), 0);
    int64_t at_us = object.modified_us;
    assert_int_equal(sweep(f, ID_A, at_us, 5, &next_us), 0);
    assert_int_equal(next_us, at_us + 5);
    assert_int_equal(sweep_all(f, at_us, &next_us), 0);
    assert_int_equal(next_us, at_us + GRACE); /* it does not say: the usual */
    assert_int_equal(sweep_all(f, at_us + GRACE, &next_us), EACH);
    assert_int_equal(next_us, 0);
}

/* Whose coordinator is lost is ended by whoever comes next, each when its own grace is over. */
static void test_deleted_sweep(void **state)
{
    struct fixture *f = *state;
    int64_t next_us;
    assert_int_equal(sweep_all(f, NOW, &next_us), 0);
    assert_int_equal(next_us, 0);
    put_backup(f, ID_A, true);
    put_backup(f, ID_B, true);
    put_backup(f, ID_C, true);
    assert_int_equal(sweep_all(f, NOW, &next_us), 0); /* nothing is deleted */
    assert_int_equal(next_us, 0);
    assert_int_equal(try_mark(f, ID_B, NOW + 100), 0);
    assert_int_equal(try_mark(f, ID_A, NOW), 0);
    assert_int_equal(sweep_all(f, NOW + GRACE - 1, &next_us), 0);
    assert_int_equal(next_us, NOW + GRACE);
    assert_int_equal(sweep_all(f, NOW + GRACE, &next_us), EACH);
    assert_int_equal(next_us, NOW + GRACE + 100);
    put(f, PREFIX ID_A "/"
                       "data/00000007-" EPOCH); /* what a late writer stored */
    assert_int_equal(sweep_all(f, NOW + GRACE + 99, &next_us), 1);
    assert_int_equal(next_us, NOW + GRACE + 100);
    assert_int_equal(sweep_all(f, NOW + GRACE + 100, &next_us), EACH);
    assert_int_equal(next_us, 0);
    assert_int_equal(ram_object_count(f->st), EACH + 2);
    assert_int_equal(sweep_all(f, NOW + 2 * GRACE, &next_us), 0);
    assert_int_equal(next_us, 0);
}

/* Cut short at any operation: before the grace is over nothing is missing, afterwards the next sweep ends
 * it, and not by waiting once more. */
static void test_crashes(void **state)
{
    (void)state;
    static const enum ram_op ops[] = {RAM_READ, RAM_STAT, RAM_LIST, RAM_REMOVE};
    unsigned hits = 0;
    for (size_t i = 0; i < TM_ARRAY_LEN(ops); i++) {
        bool hit = true;
        for (uint64_t nth = 1; hit; nth++) {
            void *inner = NULL;
            struct ram_faults faults = {.fail_code = TM_E_UNAVAILABLE};
            struct sweep_totals totals;
            int64_t next_us = 0;
            assert_int_equal(setup(&inner), 0);
            struct fixture *f = inner;
            put_backup(f, ID_A, true);
            assert_int_equal(try_mark(f, ID_A, NOW), 0);
            faults.fail_op[ops[i]] = nth;
            ram_set_faults(f->st, &faults);
            int early = try_sweep(f, ID_A, NOW + 1, GRACE, &next_us, &totals);
            assert_int_equal(ram_object_count(f->st), EACH + 1);
            ram_set_faults(f->st, &faults);
            int r = try_sweep(f, ID_A, NOW + GRACE, GRACE, &next_us, &totals);
            ram_set_faults(f->st, &(struct ram_faults){0});
            hit = early < 0 || r < 0;
            hits += hit;
            assert_int_equal(r, r < 0 ? -TM_E_UNAVAILABLE : 0);
            /* with a clock that is behind now: a manifest that is gone has no grace */
            bool begun = ram_object_count(f->st) < EACH + 1;
            (void)sweep(f, ID_A, begun ? NOW : NOW + GRACE, GRACE, &next_us);
            assert_int_equal(next_us, 0);
            assert_int_equal(ram_object_count(f->st), 1);
            assert_int_equal(teardown(&inner), 0);
        }
    }
    assert_true(hits > 10);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grace_end),   T(test_grace),         T(test_grace_needs_manifest),
        T(test_grace_of_damaged_tombstone), T(test_deleted_sweep), cmocka_unit_test(test_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
