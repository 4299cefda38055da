/* agent/backup: which results of earlier attempts count, of good stores and of bad ones. */
#include <malloc.h>

#include "tests/unit/agent/backup/checkpoint.h"

/* ---- what does not count any more ---- */

static void other_end(struct segment_range *range)
{
    range->end.len--;
}

static void test_other_keys(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    change_result(f, 1, other_end);
    store(f, 0, 3);
    load(f);
    assert_int_equal(f->got.calls, 2);
    assert_false(f->got.have[1]);
    assert_aside(f, 0, 1,
                 "range 1 of epoch 0000000000000001.00000002: its keys are not the plan's");
}

/* Somebody of a later term was here: this attempt could not commit what he stored. */
static void test_later_term(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    change_result(f, 1, later_term);
    f->ck.epoch.term = 2;
    store(f, 0, 3);
    load(f);
    assert_int_equal(f->got.calls, 2);
    assert_false(f->got.have[1]);
    assert_aside(f, 0, 1, "range 1: stored under a later term");
}

static void test_data_lost(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    store(f, 0, 4);
    struct rel_name missing = data_name(1, (struct epoch){1, 2});
    struct rel_name cut = data_name(3, (struct epoch){1, 4});
    remove_object(f, missing.s);
    OK(ram_replace(f->st, full(f, cut.s).s, slice_str("cut"), &w_err));
    load(f);
    assert_int_equal(f->got.calls, 2);
    assert_true(f->got.have[0] && f->got.have[2]);
    assert_aside(f, 0, 2, "range 1 of epoch 0000000000000001.00000002: its data object is missing");
    struct rel_name last = data_name(0, (struct epoch){1, 1});
    remove_object(f, last.s);
    struct rel_name other = data_name(2, (struct epoch){1, 3});
    OK(ram_replace(f->st, full(f, other.s).s, slice_str("cut"), &w_err));
    load(f);
    assert_true(f->found.found);
    assert_int_equal(f->got.calls, 0);
    assert_int_equal(f->found.aside_results, 4);
}

/* Where the newest of a range is gone, the one before is as good. */
static void test_next_best(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    struct epoch newer = {1, 500};
    store(f, 0, 2);
    struct backup_result better = {.raw_bytes = 0};
    struct backup_lease lease = whole_lease(&f->w, 0, newer);
    OK(backup_store_range(f->w.worker, f->w.engine, f->w.reader, &lease, &better, &w_err));
    struct slice blob = buf_slice(&better.blob);
    next_writer(f, second, "again");
    OK(backup_checkpoint_store(f->w.worker, &f->ck, &blob, 1, &f->seq, &w_err));
    load(f);
    assert_int_equal(f->got.calls, 2);
    assert_int_equal(f->got.epochs[0].counter, 500);
    remove_object(f, data_name(0, newer).s);
    load(f);
    assert_got(f, 0, 2);
    assert_aside(f, 0, 1, "range 0 of epoch 0000000000000001.000001f4: its data object is missing");
    backup_result_release(&better);
}

/* Bytes are looked at only when that is asked for; then, too, the next best is taken. */
static void test_checksum(void **state)
{
    struct fixture *f = *state;
    begin(f, true);
    store(f, 0, 3);
    struct backup_result better = {.raw_bytes = 0};
    struct backup_lease lease = whole_lease(&f->w, 2, (struct epoch){1, 500});
    OK(backup_store_range(f->w.worker, f->w.engine, f->w.reader, &lease, &better, &w_err));
    struct slice blob = buf_slice(&better.blob);
    OK(backup_checkpoint_store(f->w.worker, &f->ck, &blob, 1, &f->seq, &w_err));
    flip(f, data_name(0, (struct epoch){1, 1}).s, 50);
    flip(f, data_name(2, (struct epoch){1, 500}).s, 50);
    load(f);
    assert_int_equal(f->got.calls, 2);
    assert_int_equal(f->got.epochs[2].counter, 3);
    assert_true(f->got.have[1]);
    assert_aside(
        f, 0, 2,
        "range 0 of epoch 0000000000000001.00000001: object 'demo1/main/null1/backup/" WHOLE_ID
        "/data/00000000-0000000000000001.00000001': frame 0: stored bytes do not match their "
        "hash");
    /* a mere look reads no data */
    backup_checkpoint_found_release(&f->found);
    OK(backup_checkpoint_load(f->w.worker, NULL, NULL, &f->found, &w_err));
    assert_true(f->found.found);
    assert_int_equal(f->found.results, 0);
    assert_aside(f, 0, 0, "");
    f->w.options.checksum = false;
    reopen(f, true);
    load(f);
    assert_int_equal(f->got.calls, 3);
    assert_int_equal(f->got.epochs[2].counter, 500);
    assert_aside(f, 0, 0, "");
    backup_result_release(&better);
}

/* ---- stores that are not well ---- */

/* Our own object under the very name, or another's: the next number is taken. */
static void test_name_taken(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    OK(storage_put(f->st, full(f, FIRST "00000000").s, slice_str("another's"), &w_err));
    store(f, 0, 2);
    assert_int_equal(f->seq, 2);
    f->seq = 0; /* as after an answer that was lost */
    store(f, 0, 3);
    assert_int_equal(f->seq, 3);
    load(f);
    assert_got(f, 0, 3);
    assert_int_equal(f->found.aside_objects, 1);
}

static void test_bad_store(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct epoch epoch = {1, 100 + (uint32_t)seed};
        struct ram_faults faults = {.seed = seed,
                                    .fail_per_mille = 150,
                                    .drop_reply_per_mille = 300,
                                    .no_conditional_create = true};
        next_writer(f, epoch, "begin of many");
        ram_set_faults(f->st, &faults);
        for (uint32_t i = 0; i < f->w.count; i++) {
            uint32_t before = f->seq;
            while (try_store(f, i, i + 1) < 0) {
                assert_true(w_err.retryable);
                assert_int_equal(f->seq, before);
            }
            assert_true(f->seq > before);
        }
        unsigned tries = 0;
        while (try_load(f) < 0) {
            assert_true(w_err.retryable);
            faults.seed += 1000;
            faults.fail_per_mille = 1;
            ram_set_faults(f->st, &faults);
            assert_true(++tries < 10000);
        }
        ram_set_faults(f->st, &(struct ram_faults){.seed = 0});
        assert_got(f, 0, f->w.count);
        assert_int_equal(epoch_cmp(f->found.epoch, epoch), 0);
        assert_aside(f, 0, 0, "");
    }
}

/* Objects that no list shows yet are as if they were not there. */
static void test_late_lists(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    store(f, 0, 2);
    ram_set_faults(f->st, &(struct ram_faults){.late_per_mille = 1000, .late_ops = 1000});
    store(f, 2, 4);
    load(f);
    assert_got(f, 0, 2);
    assert_aside(f, 0, 0, "");
    for (int i = 0; i < 1000; i++)
        (void)is_there(f, FIRST "00000001");
    load(f);
    assert_got(f, 0, 4);
}

static void test_full(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    size_t objects = ram_object_count(f->st);
    ram_set_faults(f->st, &(struct ram_faults){.capacity_bytes = 1});
    assert_int_equal(try_store(f, 0, 2), -TM_E_NO_SPACE);
    assert_int_equal(f->seq, 0);
    assert_int_equal(ram_object_count(f->st), objects);
    ram_set_faults(f->st, &(struct ram_faults){.seed = 0});
    store(f, 0, 3);
    assert_int_equal(f->seq, 1);
    load(f);
    assert_got(f, 0, 3);
}

/* Every call that may fail, one after the other: nothing is told for sure that is not. */
static void test_each_failure(void **state)
{
    struct fixture *f = *state;
    static const enum ram_op ops[] = {RAM_READ, RAM_STAT, RAM_LIST};
    begin(f, false);
    store(f, 0, 2);
    store(f, 2, 4);
    for (size_t n = 0; n < TM_ARRAY_LEN(ops); n++) {
        uint64_t calls = 0;
        ram_set_faults(f->st, &(struct ram_faults){.seed = 0});
        load(f);
        calls = ram_op_count(f->st, ops[n]);
        assert_true(calls > 0);
        for (uint64_t nth = 1; nth <= calls; nth++) {
            struct ram_faults faults = {.fail_code = TM_E_UNAVAILABLE};
            faults.fail_op[ops[n]] = nth;
            ram_set_faults(f->st, &faults);
            assert_int_equal(try_load(f), -TM_E_UNAVAILABLE);
        }
    }
    ram_set_faults(f->st, &(struct ram_faults){.seed = 0});
    load(f);
    assert_got(f, 0, 4);
}

static void test_caller_fails(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    store(f, 0, 2);
    f->got.answer = -TM_E_CORRUPT;
    assert_int_equal(backup_checkpoint_load(f->w.worker, take, &f->got, &f->found, &w_err),
                     -TM_E_CORRUPT);
    assert_string_equal(w_err.msg, "checkpoints: asked to fail");
}

static void test_canceled(void **state)
{
    struct fixture *f = *state;
    static atomic_bool cancel;
    struct slice blob;
    begin(f, false);
    store(f, 0, 2);
    f->w.options.cancel = &cancel;
    reopen(f, true);
    atomic_store(&cancel, true);
    assert_int_equal(try_load(f), -TM_E_CANCELED);
    blob = buf_slice(&f->w.ranges[2].result.blob);
    assert_int_equal(backup_checkpoint_store(f->w.worker, &f->ck, &blob, 1, &f->seq, &w_err),
                     -TM_E_CANCELED);
    atomic_store(&cancel, false);
    load(f);
    assert_got(f, 0, 2);
}

/* ---- many ---- */

static int plan_any(void *arg, uint32_t index, struct engine_key_range range, uint64_t bytes,
                    struct tm_err *err)
{
    (void)arg;
    (void)index;
    (void)range;
    (void)bytes;
    (void)err;
    return 0;
}

#define MANY 100000u

static void many_key(uint32_t i, uint8_t key[4])
{
    be32_put(key, i + 1);
}

static int many_plan(struct engine_reader *reader, const struct engine_plan_options *options,
                     engine_plan_fn fn, void *arg, struct tm_err *err)
{
    uint8_t start[4], end[4];
    int r = 0;
    (void)reader;
    (void)options;
    for (uint32_t i = 0; r == 0 && i < MANY; i++) {
        many_key(i, end);
        r = fn(arg, (struct engine_key_range){slice_of(start, i ? 4 : 0), slice_of(end, 4)}, 1,
               err);
        memcpy(start, end, sizeof(start));
    }
    return r;
}

static struct rel_name many_name(uint32_t i)
{
    return data_name(i, (struct epoch){1, MANY + i});
}

static void many_result(uint32_t i, struct buf *blob)
{
    uint8_t start[4], end[4];
    struct rel_name rel = many_name(i);
    struct segment_range range = {
        .index = i, .term = 1, .counter = MANY + i, .stored_bytes = 1, .raw_bytes = i};
    many_key(i, end);
    if (i > 0)
        many_key(i - 1, start);
    range.start = slice_of(start, i ? 4 : 0);
    range.end = slice_of(end, 4);
    memcpy(range.object, rel.s, sizeof(range.object));
    OK(codec_encode(&segment_range_codec, &range, CODEC_MINOR_ALL, blob, &w_err));
}

struct many_got {
    uint8_t *times;
    uint64_t raw_bytes;
    size_t most;
};

static int many_take(void *arg, const struct backup_checkpoint_result *result, struct tm_err *err)
{
    struct many_got *got = arg;
    (void)err;
    got->times[result->index]++;
    got->raw_bytes += result->raw_bytes;
    if (result->index % 1000 == 0) {
        struct mallinfo2 now = mallinfo2();
        got->most = TM_MAX(got->most, now.uordblks + now.hblkhd);
    }
    return 0;
}

/* A hundred thousand results, in one call and split into objects; and half of them once more. */
static void test_many(void **state)
{
    struct fixture *f = *state;
    struct engine_ops engine = {.name = "many", .plan = many_plan};
    struct backup_plan_totals totals;
    struct many_got got = {.times = calloc(MANY, 1)};
    struct buf *blobs = calloc(MANY, sizeof(*blobs));
    struct slice *results = calloc(MANY, sizeof(*results));
    begin(f, false);
    f->w.options.epoch.counter = 77;
    reopen(f, false);
    OK(backup_store_plan(f->w.worker, &engine, NULL, NULL, plan_any, NULL, &totals, &w_err));
    assert_int_equal(totals.ranges, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        many_result(i, &blobs[i]);
        results[i] = buf_slice(&blobs[i]);
        OK(storage_put(f->st, full(f, many_name(i).s).s, slice_str("x"), &w_err));
    }
    f->ck.plan.counter = 77;
    f->ck.ranges = MANY;
    OK(backup_checkpoint_store(f->w.worker, &f->ck, results, MANY, &f->seq, &w_err));
    assert_int_equal(f->seq, (MANY + SEGMENT_RANGES - 1) / SEGMENT_RANGES);
    OK(backup_checkpoint_store(f->w.worker, &f->ck, results, MANY / 2, &f->seq, &w_err));
    remove_object(f, many_name(MANY - 1).s);
    struct mallinfo2 before = mallinfo2();
    OK(backup_checkpoint_load(f->w.worker, many_take, &got, &f->found, &w_err));
    assert_int_equal(f->found.results, MANY - 1);
    assert_int_equal(f->found.raw_bytes, got.raw_bytes);
    assert_int_equal(got.raw_bytes, (uint64_t)(MANY - 2) * (MANY - 1) / 2);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(got.times[i], i != MANY - 1);
    assert_aside(f, 0, 1,
                 "range 99999 of epoch 0000000000000001.00030d3f: its data object is missing");
    /* 150,000 lines of 48 bytes, in an array that has doubled */
    assert_true(got.most < before.uordblks + before.hblkhd + (20u << 20));
    for (uint32_t i = 0; i < MANY; i++)
        buf_release(&blobs[i]);
    free(blobs);
    free(results);
    free(got.times);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_other_keys), T(test_later_term),   T(test_data_lost),    T(test_next_best),
        T(test_checksum),   T(test_name_taken),   T(test_bad_store),    T(test_late_lists),
        T(test_full),       T(test_each_failure), T(test_caller_fails), T(test_canceled),
        T(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
