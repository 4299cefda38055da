/* agent/backup: what an attempt stores for the next one, and which of it that one can read. */
#include "tests/unit/agent/backup/checkpoint.h"

#include "agent/engine/null/config.h"
#include "proto/repo/verify.h"

/* ---- there and back ---- */

static void test_nothing(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    load(f);
    assert_false(f->found.found);
    assert_false(f->found.committed);
    assert_got(f, 0, 0);
    assert_aside(f, 0, 0, "");
}

static void test_exact_object(void **state)
{
    struct fixture *f = *state;
    struct stream_reader sr;
    struct codec_arena arena = {0};
    struct checkpoint root;
    struct segment_range range;
    struct object_scratch *scratch = NULL;
    struct slice blob;
    struct sha256 digest;
    begin(f, true);
    store(f, 1, 3);
    assert_int_equal(f->seq, 1);
    OK(object_scratch_new(&scratch, &w_err));
    OK(checkpoint_open(&sr, scratch, f->st, &f->w.options.scope, FIRST "00000000", &arena, &root,
                       &w_err));
    assert_string_equal(root.backup_id, WHOLE_ID);
    assert_string_equal(root.cluster, "demo1");
    assert_string_equal(root.tenant, "main");
    assert_string_equal(root.incarnation, "null1");
    assert_string_equal(root.engine, "null");
    assert_string_equal(root.lineage_label, "1");
    assert_string_equal(root.node, "db-a");
    assert_int_equal(root.term, 1);
    assert_int_equal(root.counter, 7);
    assert_int_equal(root.plan_term, 1);
    assert_int_equal(root.plan_counter, 1);
    assert_int_equal(root.plan_ranges, f->w.count);
    assert_int_equal(root.results, 2);
    assert_int_equal(root.started_us, 1234);
    assert_true(slice_eq(root.begin, buf_slice(&f->w.begin)));
    OK(sha256_of(f->w.begin.data, f->w.begin.len, &digest, &w_err));
    assert_memory_equal(root.begin_digest, digest.bytes, 32);
    assert_true(
        slice_eq(root.replay_from->bytes, slice_of(f->w.replay_from.bytes, f->w.replay_from.len)));
    assert_string_equal(root.replay_from->text, f->w.replay_from.text);
    for (uint32_t i = 1; i < 3; i++) {
        assert_int_equal(stream_next_bytes(&sr, &segment_range_codec, &range, &blob, &w_err), 1);
        assert_int_equal(range.index, i);
        assert_true(slice_eq(blob, buf_slice(&f->w.ranges[i].result.blob)));
    }
    assert_int_equal(stream_next(&sr, &segment_range_codec, &range, &w_err), 0);
    stream_release(&sr);
    codec_arena_release(&arena);
    object_scratch_free(scratch);
}

static void test_found(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    store(f, 0, 0); /* plan and begin alone */
    load(f);
    assert_true(f->found.found);
    assert_got(f, 0, 0);
    store(f, 0, 2);
    store(f, 2, f->w.count);
    assert_int_equal(f->seq, 3);
    load(f);
    assert_true(f->found.found);
    assert_false(f->found.committed);
    assert_got(f, 0, f->w.count);
    assert_aside(f, 0, 0, "");
    assert_int_equal(epoch_cmp(f->found.epoch, first), 0);
    assert_int_equal(epoch_cmp(f->found.plan, (struct epoch){1, 1}), 0);
    assert_int_equal(f->found.ranges, f->w.count);
    assert_int_equal(f->found.started_us, 1234);
    assert_string_equal(f->found.engine, "null");
    assert_string_equal(f->found.lineage_label, "1");
    assert_string_equal(f->found.node, "db-a");
    assert_true(slice_eq(buf_slice(&f->found.begin), buf_slice(&f->w.begin)));
    assert_int_equal(f->found.replay_from.len, f->w.replay_from.len);
    assert_memory_equal(f->found.replay_from.bytes, f->w.replay_from.bytes, f->w.replay_from.len);
    assert_string_equal(f->found.replay_from.text, f->w.replay_from.text);
    uint64_t raw = 0, stored = 0;
    for (uint32_t i = 0; i < f->w.count; i++) {
        raw += f->w.ranges[i].result.raw_bytes;
        stored += f->w.ranges[i].result.stored_bytes;
    }
    assert_int_equal(f->found.raw_bytes, raw);
    assert_int_equal(f->found.stored_bytes, stored);
}

/* What two attempts stored is committed by a third. */
static void test_several_writers(void **state)
{
    struct fixture *f = *state;
    struct verify_totals totals;
    begin(f, false);
    uint32_t half = f->w.count / 2;
    store(f, 0, half);
    next_writer(f, second, "the second begin");
    struct backup_lease lease = whole_lease(&f->w, 0, (struct epoch){1, 3999999999});
    OK(backup_store_range(f->w.worker, f->w.engine, f->w.reader, &lease, &f->w.ranges[0].result,
                          &w_err));
    store(f, 0, 1);
    store(f, half, f->w.count);
    assert_true(is_there(f, SECOND "00000001"));
    load(f);
    assert_got(f, 0, f->w.count);
    assert_aside(f, 0, 0, "");
    assert_int_equal(f->got.epochs[0].counter, 3999999999);
    assert_int_equal(f->got.epochs[1].counter, 2);
    assert_true(slice_eq(buf_slice(&f->found.begin), slice_str("the second begin")));
    assert_string_equal(f->found.node, "db-b");
    assert_int_equal(epoch_cmp(f->found.epoch, second), 0);
    whole_stop(&f->w);
    whole_log(&f->w);
    whole_final(&f->w);
    for (uint32_t i = 0; i < f->w.count; i++) {
        buf_reset(&f->w.ranges[i].result.blob);
        OK(buf_append_slice(&f->w.ranges[i].result.blob, buf_slice(&f->got.blobs[i]), &w_err));
    }
    OK(whole_try_commit(&f->w));
    struct object_scratch *scratches[3] = {NULL, NULL, NULL};
    for (size_t i = 0; i < 3; i++)
        OK(object_scratch_new(&scratches[i], &w_err));
    OK(verify_backup(scratches, f->st, &f->w.options.scope, WHOLE_ID, NULL, NULL, &totals, &w_err));
    for (size_t i = 0; i < 3; i++)
        object_scratch_free(scratches[i]);
    assert_int_equal(totals.ranges, f->w.count + 1);
    assert_int_equal(totals.bad, 0);
}

static void test_duplicates(void **state)
{
    struct fixture *f = *state;
    struct slice twice[3];
    begin(f, false);
    store(f, 0, 3);
    store(f, 1, 4);
    for (size_t i = 0; i < 3; i++)
        twice[i] = buf_slice(&f->w.ranges[4].result.blob);
    OK(backup_checkpoint_store(f->w.worker, &f->ck, twice, 3, &f->seq, &w_err));
    next_writer(f, second, "another");
    store(f, 0, 2);
    load(f);
    assert_got(f, 0, 5);
    assert_aside(f, 0, 0, "");
}

static void other_digest(struct segment_range *range)
{
    range->digest[0] ^= 1;
}

/* One object has one digest: who says what cannot be known. */
static void test_contradiction(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    store(f, 0, 3);
    change_result(f, 0, other_digest);
    store(f, 0, 1);
    load(f);
    assert_got(f, 1, 3);
    assert_aside(f, 0, 2, "range 0 of epoch 0000000000000001.00000001: two results of it differ");
}

/* ---- what is refused at once ---- */

static void other_object(struct segment_range *range)
{
    range->object[7] ^= 1; /* in the backup's id */
}

static void no_end(struct segment_range *range)
{
    range->end.len = 0;
}

static void test_wrong_results(void **state)
{
    struct fixture *f = *state;
    struct slice blob;
    begin(f, false);
    size_t objects = ram_object_count(f->st);
    f->ck.ranges = 2;
    assert_int_equal(try_store(f, 0, 3), -TM_E_INTERNAL);
    assert_string_equal(w_err.msg, "checkpoint: range 2: the plan has only 2");
    f->ck.ranges = 0;
    assert_int_equal(try_store(f, 0, 0), -TM_E_LIMIT);
    assert_string_equal(w_err.msg, "checkpoint: a plan of 0 ranges");
    f->ck.ranges = f->w.count;
    change_result(f, 0, other_object);
    assert_int_equal(try_store(f, 0, 1), -TM_E_INTERNAL);
    assert_string_equal(w_err.msg,
                        "checkpoint: range 0: its object is 'backup/30261121T100000Z-0000abcd/data/"
                        "00000000-0000000000000001.00000001', not 'backup/" WHOLE_ID
                        "/data/00000000-0000000000000001.00000001'");
    change_result(f, 1, later_term);
    assert_int_equal(try_store(f, 1, 2), -TM_E_INTERNAL);
    assert_string_equal(w_err.msg, "checkpoint: range 1: stored under a later term");
    change_result(f, 2, no_end);
    assert_int_equal(try_store(f, 2, 3), -TM_E_INTERNAL);
    assert_string_equal(w_err.msg,
                        "checkpoint: range 2: its keys are not those of a planned range");
    blob = slice_str("no result");
    assert_int_equal(backup_checkpoint_store(f->w.worker, &f->ck, &blob, 1, &f->seq, &w_err),
                     -TM_E_INTERNAL);
    assert_int_equal(f->seq, 0);
    assert_int_equal(ram_object_count(f->st), objects);
}

/* ---- checkpoints that are damaged ---- */

static void test_damaged_checkpoint(void **state)
{
    struct fixture *f = *state;
    static const unsigned places[] = {0, 30, 60, 95, 100};
    begin(f, false);
    store(f, 0, 2);
    store(f, 2, 4);
    store(f, 4, 5);
    for (size_t n = 0; n < TM_ARRAY_LEN(places); n++) {
        flip(f, FIRST "00000001", places[n]);
        load(f);
        assert_int_equal(f->got.calls, 3);
        assert_false(f->got.have[2] || f->got.have[3]);
        assert_int_equal(f->found.aside_objects, 1);
        assert_int_equal(f->found.aside_results, 0);
        if (!strstr(f->found.aside, "00000007-00000001"))
            fail_msg("flipped at %u %%: '%s'", places[n], f->found.aside);
        flip(f, FIRST "00000001", places[n]);
    }
    load(f);
    assert_got(f, 0, 5);
}

/* Of no length is one accepted that is not its own. */
static void test_truncated_checkpoint(void **state)
{
    struct fixture *f = *state;
    size_t len;
    struct buf copy = BUF_INIT;
    begin(f, false);
    store(f, 0, 2);
    store(f, 2, 4);
    struct full_name name = full(f, FIRST "00000001");
    const uint8_t *bytes = ram_bytes(f->st, name.s, &len);
    OK(buf_append(&copy, bytes, len, &w_err));
    for (size_t cut = 0; cut < len; cut += 1 + len / 100) {
        OK(ram_replace(f->st, name.s, slice_of(copy.data, cut), &w_err));
        load(f);
        assert_got(f, 0, 2);
        assert_int_equal(f->found.aside_objects, 1);
    }
    remove_object(f, FIRST "00000000");
    load(f);
    assert_false(f->found.found);
    assert_int_equal(f->found.begin.len, 0);
    assert_int_equal(f->found.aside_objects, 1);
    assert_got(f, 0, 0);
    buf_release(&copy);
}

/* A large `begin` is stored once a writer; without it nobody knows how the writer's ranges were read. */
static void test_large_begin(void **state)
{
    struct fixture *f = *state;
    static char large[200000];
    size_t first_len, second_len;
    begin(f, false);
    store(f, 0, 2); /* what an earlier writer left */
    for (size_t i = 0; i < sizeof(large); i++)
        large[i] = (char)('a' + null_mix(1, i) % 26);
    next_writer(f, second, "");
    f->ck.begin = slice_of(large, sizeof(large));
    store(f, 2, 3);
    store(f, 3, 4);
    (void)ram_bytes(f->st, full(f, SECOND "00000000").s, &first_len);
    (void)ram_bytes(f->st, full(f, SECOND "00000001").s, &second_len);
    assert_true(first_len > 50000);
    assert_true(second_len < 5000);
    load(f);
    assert_got(f, 0, 4);
    assert_true(slice_eq(buf_slice(&f->found.begin), f->ck.begin));
    flip(f, SECOND "00000000", 0);
    load(f);
    assert_got(f, 0, 2);
    assert_true(slice_eq(buf_slice(&f->found.begin), buf_slice(&f->w.begin)));
    assert_int_equal(epoch_cmp(f->found.epoch, first), 0);
    assert_int_equal(f->found.aside_objects, 2);
    remove_object(f, SECOND "00000000");
    load(f);
    assert_got(f, 0, 2);
    assert_aside(f, 1, 0,
                 "checkpoint 'backup/" WHOLE_ID "/checkpoint/0000000000000001.ee6b2800-00000001': "
                 "the checkpoint that has its 'begin' is lost");
}

static void test_empty_begin(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    store(f, 0, 1);
    next_writer(f, second, "");
    store(f, 1, 2);
    load(f);
    assert_got(f, 0, 2);
    assert_int_equal(f->found.begin.len, 0);
}

/* ---- what is not a checkpoint of this attempt ---- */

/* A later attempt that began anew: with another plan, or from another start. */
static void test_began_anew(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    store(f, 0, 3);
    struct backup_options options = f->w.options;
    struct backup *b = NULL;
    struct backup_worker *worker = NULL;
    struct backup_plan_totals totals;
    struct engine_plan_options plan = {.range_bytes = 256 * 1024};
    options.epoch.counter = 2;
    OK(backup_open(&options, &b, &w_err));
    OK(backup_worker_new(b, &worker, &w_err));
    uint32_t count = f->w.count;
    f->w.count = 0;
    OK(backup_store_plan(worker, f->w.engine, f->w.reader, &plan, whole_take, &f->w, &totals,
                         &w_err));
    assert_int_equal(f->w.count, count);
    next_writer(f, second, "anew");
    f->ck.plan.counter = 2;
    store(f, 3, 5);
    load(f);
    assert_got(f, 3, 5);
    assert_int_equal(f->found.plan.counter, 2);
    assert_aside(f, 1, 3,
                 "checkpoints of epoch 0000000000000001.00000007 and before: a later attempt began "
                 "anew");
    next_writer(f, (struct epoch){1, 4000000001}, "from another start");
    f->ck.plan.counter = 1;
    f->ck.replay_from.bytes[0] ^= 1;
    store(f, 0, 1);
    load(f);
    assert_got(f, 0, 1);
    assert_int_equal(f->found.aside_objects, 2);
    assert_int_equal(f->found.aside_results, 5);
    backup_worker_free(worker);
    backup_free(b);
}

/* Names below checkpoint/ that hold something else. */
static void test_foreign_kinds(void **state)
{
    struct fixture *f = *state;
    size_t len;
    begin(f, false);
    whole_stop(&f->w);
    whole_log(&f->w);
    whole_final(&f->w);
    store(f, 0, 2);
    /* a commit that fails behind its segment, and leaves that */
    ram_set_faults(f->st, &(struct ram_faults){.fail_op = {[RAM_COMMIT] = 2}});
    assert_true(whole_try_commit(&f->w) < 0);
    ram_set_faults(f->st, &(struct ram_faults){.seed = 0});
    assert_true(is_there(f, DIR "checkpoint/0000000000000001.000007d0-00000000"));
    OK(storage_put(f->st, full(f, DIR "checkpoint/readme").s, slice_str("x"), &w_err));
    load(f);
    assert_got(f, 0, 2);
    assert_aside(f, 0, 0, "");
    /* a checkpoint that lies under another name, and what is no object at all */
    const uint8_t *bytes = ram_bytes(f->st, full(f, FIRST "00000000").s, &len);
    struct buf copy = BUF_INIT;
    OK(buf_append(&copy, bytes, len, &w_err));
    OK(storage_put(f->st, full(f, FIRST "00000001").s, buf_slice(&copy), &w_err));
    OK(storage_put(f->st, full(f, FIRST "00000002").s, slice_str("x"), &w_err));
    OK(storage_put(f->st, full(f, FIRST "00000003").s, SLICE_EMPTY, &w_err));
    load(f);
    assert_got(f, 0, 2);
    assert_aside(f, 3, 0,
                 "object 'demo1/main/null1/" FIRST
                 "00000001' was stored as 'demo1/main/null1/" FIRST "00000000'");
    buf_release(&copy);
}

/* Writes a checkpoint by hand, which store would not. */
static void forge(struct fixture *f, const char *rel, struct checkpoint *root)
{
    struct object_scratch *scratch = NULL;
    struct object_options options = {.kind = OBJECT_CHECKPOINT};
    struct object_writer *w = NULL;
    struct object_info info;
    struct buf buf = BUF_INIT;
    OK(object_scratch_new(&scratch, &w_err));
    OK(object_writer_open(scratch, f->st, full(f, rel).s, &options, &w, &w_err));
    OK(object_writer_record(w, buf_slice(&f->w.ranges[0].result.blob), &w_err));
    OK(codec_encode(&checkpoint_codec, root, CODEC_MINOR_ALL, &buf, &w_err));
    OK(object_writer_section(w, OBJECT_SECTION_ROOT, OBJECT_SECTION_REQUIRED, buf_slice(&buf),
                             &w_err));
    OK(object_writer_finish(w, &info, &w_err));
    object_writer_close(w);
    buf_release(&buf);
    object_scratch_free(scratch);
}

static void other_backup(struct checkpoint *root)
{
    root->backup_id[0] = '3';
}
static void other_tenant(struct checkpoint *root)
{
    root->tenant[0] = 'x';
}
static void other_epoch(struct checkpoint *root)
{
    root->counter = 8;
}
static void other_begin(struct checkpoint *root)
{
    root->begin_digest[0] ^= 1;
}
static void more_results(struct checkpoint *root)
{
    root->results = 2;
}
static void no_plan(struct checkpoint *root)
{
    root->plan_ranges = 0;
}
static void vast_plan(struct checkpoint *root)
{
    root->plan_ranges = UINT32_MAX;
}

static void test_forged_roots(void **state)
{
    struct fixture *f = *state;
    static const struct {
        void (*change)(struct checkpoint *root);
        const char *text;
    } forged[] = {
        {other_backup, "it is a checkpoint of backup '30261121T100000Z-0000abcd' of "
                       "demo1/main/null1"},
        {other_tenant, "it is a checkpoint of backup '" WHOLE_ID "' of demo1/xain/null1"},
        {other_epoch, "it was written under another epoch than its name's"},
        {other_begin, "its 'begin' does not match its digest"},
        {more_results, "1 results, its root says 2"},
        {no_plan, "a plan of 0 ranges"},
        {vast_plan, "a plan of 4294967295 ranges"},
        {NULL, ""},
    };
    begin(f, false);
    for (size_t n = 0; n < TM_ARRAY_LEN(forged); n++) {
        struct sha256 digest;
        struct checkpoint root = {.backup_id = WHOLE_ID,
                                  .cluster = "demo1",
                                  .tenant = "main",
                                  .incarnation = "null1",
                                  .engine = "null",
                                  .term = 1,
                                  .counter = 7,
                                  .plan_term = 1,
                                  .plan_counter = 1,
                                  .plan_ranges = f->w.count,
                                  .begin = slice_str("begin"),
                                  .results = 1};
        OK(sha256_of("begin", 5, &digest, &w_err));
        memcpy(root.begin_digest, digest.bytes, 32);
        if (forged[n].change)
            forged[n].change(&root);
        forge(f, FIRST "00000000", &root);
        load(f);
        assert_int_equal(f->found.found, forged[n].change == NULL);
        assert_int_equal(f->found.aside_objects, forged[n].change != NULL);
        if (!strstr(f->found.aside, forged[n].text))
            fail_msg("'%s' instead of '%s'", f->found.aside, forged[n].text);
        /* nothing of it is left in what a good one says */
        next_writer(f, second, "good");
        store(f, 1, 2);
        load(f);
        assert_got(f, 1, 2);
        remove_object(f, SECOND "00000000");
        remove_object(f, FIRST "00000000");
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_nothing),         T(test_exact_object),       T(test_found),
        T(test_several_writers), T(test_duplicates),         T(test_contradiction),
        T(test_wrong_results),   T(test_damaged_checkpoint), T(test_truncated_checkpoint),
        T(test_large_begin),     T(test_empty_begin),        T(test_began_anew),
        T(test_foreign_kinds),   T(test_forged_roots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
