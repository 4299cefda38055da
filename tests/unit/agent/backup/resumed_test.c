/* agent/backup: an attempt that goes on: plan, commit and log of an earlier one. */
#include "tests/unit/agent/backup/checkpoint.h"

/* ---- the plan ---- */

struct planned {
    const struct whole *w;
    uint32_t next;
};

static int plan_same(void *arg, uint32_t index, struct engine_key_range range, uint64_t bytes,
                     struct tm_err *err)
{
    struct planned *p = arg;
    const struct whole_range *r = &p->w->ranges[index];
    (void)bytes;
    (void)err;
    assert_int_equal(index, p->next++);
    assert_true(slice_eq(range.start, slice_of(r->start, r->start_len)));
    assert_true(slice_eq(range.end, slice_of(r->end, r->end_len)));
    return 0;
}

static int try_plan(struct fixture *f, uint32_t ranges, struct backup_plan_totals *totals)
{
    struct planned p = {.w = &f->w};
    return backup_plan_load(f->w.worker, (struct epoch){1, 1}, ranges, plan_same, &p, totals,
                            &w_err);
}

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

#define SHARD "demo1/main/null1/" DIR "plan/0000000000000001.00000001-"

static void test_plan(void **state)
{
    struct fixture *f = *state;
    struct backup_plan_totals totals;
    begin(f, false);
    uint32_t n = f->w.count;
    store(f, 0, 2);
    OK(try_plan(f, n, &totals));
    assert_int_equal(totals.ranges, n);
    assert_true(totals.bytes > 1000000);
    assert_int_equal(try_plan(f, n - 1, &totals), -TM_E_CORRUPT);
    assert_non_null(strstr(w_err.msg, "stored plan: '" SHARD "00000000': it has more than "));
    assert_int_equal(try_plan(f, n + 1, &totals), -TM_E_NOT_FOUND);
    assert_int_equal(try_plan(f, 0, &totals), -TM_E_CORRUPT);
    assert_string_equal(w_err.msg, "stored plan: 0 ranges");
    /* one shard more than this plan has */
    OK(storage_put(f->st, SHARD "00000001", slice_str("x"), &w_err));
    assert_int_equal(try_plan(f, n, &totals), -TM_E_CORRUPT);
    remove_object(f, DIR "plan/0000000000000001.00000001-00000001");
    flip(f, DIR "plan/0000000000000001.00000001-00000000", 50);
    assert_int_equal(try_plan(f, n, &totals), -TM_E_CORRUPT);
    /* then there is nothing to go on with, whatever else is good */
    load(f);
    assert_false(f->found.found);
    assert_got(f, 0, 0);
    assert_int_equal(f->found.begin.len, 0);
    assert_int_equal(f->found.aside_objects, 1);
    assert_int_equal(f->found.aside_results, 2);
    assert_non_null(strstr(f->found.aside, "stored plan: object '" SHARD "00000000'"));
    remove_object(f, DIR "plan/0000000000000001.00000001-00000000");
    assert_int_equal(try_plan(f, n, &totals), -TM_E_NOT_FOUND);
    load(f);
    assert_false(f->found.found);
}

/* A plan whose ranges do not follow each other. */
static void test_plan_broken(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct plan_range range;
        const char *text;
    } broken[] = {
        {{.index = 1, .start = {(const uint8_t *)"a", 1}, .end = {(const uint8_t *)"b", 1}},
         "range 1 does not start where the one before ends"},
        {{.index = 2, .start = {(const uint8_t *)"m", 1}, .end = {(const uint8_t *)"n", 1}},
         "range 2 came where 1 was due"},
        {{.index = 1, .start = {(const uint8_t *)"m", 1}}, "range 1 has no valid end"},
        {{.index = 1, .start = {(const uint8_t *)"m", 1}, .end = {(const uint8_t *)"a", 1}},
         "range 1 has no valid end"},
    };
    begin(f, false);
    for (size_t n = 0; n < TM_ARRAY_LEN(broken); n++) {
        struct object_scratch *scratch = NULL;
        struct object_options options = {.kind = OBJECT_PLAN};
        struct object_writer *w = NULL;
        struct object_info info;
        struct buf buf = BUF_INIT;
        struct backup_plan_totals totals;
        struct epoch epoch = {1, 50 + (uint32_t)n};
        struct plan_range head = {.end = slice_str("m")};
        struct rel_name rel = names_rel_plan(WHOLE_ID, epoch, 0);
        OK(object_scratch_new(&scratch, &w_err));
        OK(object_writer_open(scratch, f->st, full(f, rel.s).s, &options, &w, &w_err));
        OK(stream_put(w, &buf, &plan_range_codec, &head, &w_err));
        OK(stream_put(w, &buf, &plan_range_codec, &broken[n].range, &w_err));
        OK(object_writer_finish(w, &info, &w_err));
        object_writer_close(w);
        object_scratch_free(scratch);
        buf_release(&buf);
        assert_int_equal(backup_plan_load(f->w.worker, epoch, 2, plan_any, NULL, &totals, &w_err),
                         -TM_E_CORRUPT);
        if (!strstr(w_err.msg, broken[n].text))
            fail_msg("'%s' instead of '%s'", w_err.msg, broken[n].text);
    }
}

/* ---- a backup that has ended ---- */

static void test_committed(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    store(f, 0, f->w.count);
    whole_stop(&f->w);
    whole_log(&f->w);
    whole_final(&f->w);
    OK(whole_try_commit(&f->w));
    struct backup_totals own = f->w.totals;
    assert_int_equal(own.earlier, 0);
    assert_int_equal(own.commit_us, f->w.commit_us);
    assert_string_equal(own.position, f->w.consistent_at.text);
    assert_string_equal(own.lineage_label, "1");
    load(f);
    assert_true(f->found.committed);
    assert_false(f->found.found);
    assert_got(f, 0, 0);
    own.earlier = 1;
    assert_memory_equal(&f->found.totals, &own, sizeof(own));
}

/* The answer of an attempt's commit was lost, and the next one has come to another end. */
static void test_earlier_commit(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    whole_stop(&f->w);
    whole_log(&f->w);
    whole_final(&f->w);
    OK(whole_try_commit(&f->w));
    struct backup_totals own = f->w.totals;
    size_t objects = ram_object_count(f->st);
    int64_t commit_us = f->w.commit_us++;
    assert_int_equal(whole_try_commit(&f->w), -TM_E_CONFLICT);
    reopen(f, true);
    OK(whole_try_commit(&f->w));
    assert_int_equal(f->w.totals.earlier, 1);
    assert_int_equal(f->w.totals.commit_us, commit_us);
    f->w.totals.earlier = 0;
    assert_memory_equal(&f->w.totals, &own, sizeof(own));
    assert_int_equal(ram_object_count(f->st), objects);
    f->w.commit_us = commit_us; /* its own, once more */
    OK(whole_try_commit(&f->w));
    assert_int_equal(f->w.totals.earlier, 0);
}

struct racer {
    struct whole *w;
    struct whole *other;
};

/* While the results are asked for, an attempt that was thought dead commits. */
static int next_and_commit(void *arg, uint32_t index, struct slice *ret, struct tm_err *err)
{
    struct racer *racer = arg;
    if (index == 0) {
        struct whole_range *ranges = racer->w->ranges;
        OK(whole_try_commit(racer->other));
        assert_ptr_equal(ranges, racer->w->ranges);
    }
    return whole_next(racer->w, index, ret, err);
}

static void test_commit_raced(void **state)
{
    struct fixture *f = *state;
    begin(f, false);
    whole_stop(&f->w);
    whole_log(&f->w);
    whole_final(&f->w);
    struct whole other = f->w; /* the same backup, another handle */
    OK(backup_open(&other.options, &other.backup, &w_err));
    OK(backup_worker_new(other.backup, &other.worker, &w_err));
    struct racer racer = {.w = &f->w, .other = &other};
    for (int resumed = 0; resumed < 2; resumed++) {
        struct backup_commit commit = {.epoch = {1, 3000},
                                       .begin = buf_slice(&f->w.begin),
                                       .end = buf_slice(&f->w.end),
                                       .replay_from = f->w.replay_from,
                                       .consistent_at = f->w.consistent_at,
                                       .log_from = f->w.log_from,
                                       .log_to = f->w.log_to,
                                       .log = f->w.log,
                                       .commit_us = f->w.commit_us + 1,
                                       .engine = "null",
                                       .lineage_label = "1",
                                       .ranges = f->w.count + 1};
        reopen(f, resumed);
        int r = backup_commit(f->w.worker, &commit, next_and_commit, &racer, &f->w.totals, &w_err);
        assert_int_equal(r, resumed ? 0 : -TM_E_CONFLICT);
        if (!resumed)
            assert_string_equal(w_err.msg,
                                "commit: backup '" WHOLE_ID "' was committed by somebody else");
        else
            assert_int_equal(f->w.totals.earlier, 1);
        remove_object(f, DIR "manifest.mpk");
    }
    /* under a later term it is this attempt that is out of date */
    f->w.options.epoch.term = 1;
    OK(whole_try_commit(&other));
    struct backup_commit stale = {.epoch = {0, 5}, .commit_us = 1, .ranges = 1};
    assert_int_equal(
        backup_commit(f->w.worker, &stale, next_and_commit, &racer, &f->w.totals, &w_err),
        -TM_E_CONFLICT);
    backup_worker_free(other.worker);
    backup_free(other.backup);
}

static void test_deleted_and_swept(void **state)
{
    struct fixture *f = *state;
    struct backup_sweep_result swept;
    begin(f, false);
    store(f, 0, 2);
    store(f, 2, 3);
    struct full_name prefix = names_backup_prefix(&f->w.options.scope, WHOLE_ID);
    OK(backup_sweep(f->w.backup, BACKUP_SWEEP_DELETE, "test", 0, &swept, &w_err));
    struct storage_iter *it = NULL;
    struct storage_object object;
    OK(storage_list(f->st, prefix.s, NULL, &it, &w_err));
    assert_int_equal(storage_iter_next(it, &object, &w_err), 1);
    assert_string_equal(object.name, full(f, DIR "deleted.mpk").s);
    assert_int_equal(storage_iter_next(it, &object, &w_err), 0);
    storage_iter_free(it);
    assert_int_equal(try_load(f), -TM_E_CANCELED);
    assert_string_equal(w_err.msg, "checkpoints: backup '" WHOLE_ID "' was deleted meanwhile");
}

/* Aborted while another attempt may live on: that one cannot commit any more. */
static void test_aborted(void **state)
{
    struct fixture *f = *state;
    struct backup_sweep_result swept;
    begin(f, false);
    store(f, 0, 2);
    assert_int_equal(ram_object_count(f->st), f->w.count + 4); /* repository, identity, plan */
    whole_stop(&f->w);
    OK(backup_sweep(f->w.backup, BACKUP_SWEEP_ABORT, "test", 0, &swept, &w_err));
    assert_int_equal(swept.objects, f->w.count + 2);
    assert_true(is_there(f, DIR "deleted.mpk"));
    assert_int_equal(ram_object_count(f->st), 3);
    whole_log(&f->w);
    whole_final(&f->w);
    assert_int_equal(whole_try_commit(&f->w), -TM_E_CANCELED);
    assert_int_equal(try_load(f), -TM_E_CANCELED);
}

static void test_aborted_committed(void **state)
{
    struct fixture *f = *state;
    struct backup_sweep_result swept;
    begin(f, false);
    whole_stop(&f->w);
    whole_log(&f->w);
    whole_final(&f->w);
    OK(whole_try_commit(&f->w));
    assert_int_equal(backup_sweep(f->w.backup, BACKUP_SWEEP_ABORT, "test", 0, &swept, &w_err),
                     -TM_E_REFUSED);
    assert_false(is_there(f, DIR "deleted.mpk"));
    load(f);
    assert_true(f->found.committed);
}

/* ---- the log's observer ---- */

struct seen {
    uint64_t next; /* byte due; 0 = any */
    uint64_t from;
    uint32_t begun; /* how often it began at `from` */
    uint64_t refuse_at;
    enum tm_err_code code;
    struct buf bytes;
};

static int see(void *arg, uint64_t from, struct slice bytes, struct tm_err *err)
{
    struct seen *s = arg;
    if (from == s->from) {
        s->begun++;
        s->next = from;
        buf_reset(&s->bytes);
    }
    assert_int_equal(from, s->next);
    assert_true(bytes.len > 0);
    s->next += bytes.len;
    if (s->refuse_at && s->next > s->refuse_at)
        return tm_err_set(err, s->code, "not good");
    OK(buf_append_slice(&s->bytes, bytes, err));
    return 0;
}

static void pump(struct fixture *f, uint64_t next, uint64_t until)
{
    struct engine_log *elog = NULL;
    uint64_t flushed;
    OK(null_engine.log_open(&f->w.instance, buf_slice(&f->w.begin), next, &elog, &w_err));
    while (backup_log_next(f->w.log) < until)
        OK(backup_log_pump(f->w.log, &null_engine, elog, f->w.log_to, 0, &flushed, &w_err));
    null_engine.log_close(elog);
}

#define LOG_WORDS "files=2 log=40000000"
#define LOG_STEP  ((uint64_t)BACKUP_LOG_CHUNK_BYTES)

/* An attempt that stored two chunks and a piece, and went. */
static void begin_log(struct fixture *f, struct backup_log_options *options, struct seen *seen)
{
    uint64_t next;
    whole_options(&f->w, f->st, &null_engine);
    whole_begin_options(&f->w, LOG_WORDS);
    whole_ranges(&f->w);
    whole_stop(&f->w);
    *seen = (struct seen){.from = f->w.log_from};
    *options = (struct backup_log_options){.lineage_label = "1",
                                           .from = f->w.log_from,
                                           .epoch = {1, 1},
                                           .pass = see,
                                           .pass_arg = seen};
    OK(backup_log_open(f->w.backup, options, &f->w.log, &next, &w_err));
    assert_int_equal(seen->begun, 0);
    pump(f, next, 2 * LOG_STEP + 100000);
    assert_int_equal(seen->begun, 1);
    assert_int_equal(seen->next, backup_log_next(f->w.log));
    backup_log_free(f->w.log);
    f->w.log = NULL;
    options->epoch.counter = 2;
}

static void test_pass(void **state)
{
    struct fixture *f = *state;
    struct backup_log_options options;
    struct seen seen;
    uint64_t next;
    begin_log(f, &options, &seen);
    struct buf one = seen.bytes;
    seen = (struct seen){.from = f->w.log_from};
    OK(backup_log_open(f->w.backup, &options, &f->w.log, &next, &w_err));
    assert_int_equal(next, 2 * LOG_STEP);
    assert_int_equal(seen.next, next);
    pump(f, next, f->w.log_to);
    OK(backup_log_finish(f->w.log, &w_err));
    assert_int_equal(seen.begun, 1);
    assert_int_equal(seen.next, f->w.log_to);
    assert_memory_equal(seen.bytes.data, one.data, one.len);
    whole_final(&f->w);
    OK(whole_try_commit(&f->w));
    buf_release(&one);
    buf_release(&seen.bytes);
}

/* The second chunk proves damaged in its middle: all is shown once more, up to before it. */
static void test_pass_damaged(void **state)
{
    struct fixture *f = *state;
    struct backup_log_options options;
    struct seen seen;
    uint64_t next;
    begin_log(f, &options, &seen);
    struct buf one = seen.bytes;
    seen = (struct seen){.from = f->w.log_from};
    flip(f, names_rel_backup_log(WHOLE_ID, LOG_STEP, (struct epoch){1, 1}).s, 70);
    OK(backup_log_open(f->w.backup, &options, &f->w.log, &next, &w_err));
    assert_int_equal(next, LOG_STEP);
    assert_int_equal(seen.begun, 2);
    assert_int_equal(seen.next, LOG_STEP);
    pump(f, next, 2 * LOG_STEP + 100000);
    assert_int_equal(seen.begun, 2);
    assert_memory_equal(seen.bytes.data, one.data, TM_MIN(one.len, seen.bytes.len));
    backup_log_free(f->w.log);
    f->w.log = NULL;
    /* the first: nothing is left, and it begins with what is appended */
    seen.begun = 0;
    options.epoch.counter = 3;
    flip(f, names_rel_backup_log(WHOLE_ID, f->w.log_from, (struct epoch){1, 1}).s, 70);
    OK(backup_log_open(f->w.backup, &options, &f->w.log, &next, &w_err));
    assert_int_equal(next, f->w.log_from);
    assert_int_equal(seen.begun, 1);
    pump(f, next, f->w.log_from + 100000);
    assert_int_equal(seen.begun, 2);
    assert_int_equal(seen.next, backup_log_next(f->w.log));
    buf_release(&one);
    buf_release(&seen.bytes);
}

/* What the observer says is no damage, whatever its code. */
static void test_pass_refused(void **state)
{
    struct fixture *f = *state;
    struct backup_log_options options;
    struct seen seen;
    uint64_t next;
    begin_log(f, &options, &seen);
    static const enum tm_err_code codes[] = {TM_E_CONFLICT, TM_E_CORRUPT};
    for (size_t n = 0; n < TM_ARRAY_LEN(codes); n++) {
        buf_release(&seen.bytes);
        seen = (struct seen){.from = f->w.log_from, .refuse_at = LOG_STEP + 10, .code = codes[n]};
        assert_int_equal(backup_log_open(f->w.backup, &options, &f->w.log, &next, &w_err),
                         -(int)codes[n]);
        assert_string_equal(w_err.msg, "log: not good");
        assert_int_equal(seen.begun, 1);
    }
    buf_release(&seen.bytes);
    seen = (struct seen){.from = f->w.log_from};
    OK(backup_log_open(f->w.backup, &options, &f->w.log, &next, &w_err));
    seen.refuse_at = next;
    seen.code = TM_E_CONFLICT;
    assert_int_equal(backup_log_append(f->w.log, next, slice_str("log"), &w_err), -TM_E_CONFLICT);
    assert_string_equal(w_err.msg, "log: not good");
    assert_int_equal(backup_log_next(f->w.log), next);
    buf_release(&seen.bytes);
}

/* An append that failed in the store and is made again is shown once. */
static void test_pass_append_again(void **state)
{
    struct fixture *f = *state;
    struct backup_log_options options;
    struct seen seen;
    uint64_t next;
    begin_log(f, &options, &seen);
    OK(backup_log_open(f->w.backup, &options, &f->w.log, &next, &w_err));
    ram_set_faults(f->st, &(struct ram_faults){.fail_op = {[RAM_CREATE] = 1}});
    assert_int_equal(backup_log_append(f->w.log, next, slice_str("log"), &w_err), -TM_E_IO);
    OK(backup_log_append(f->w.log, next, slice_str("log and more"), &w_err));
    assert_int_equal(seen.next, next + 12);
    buf_release(&seen.bytes);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_plan),           T(test_plan_broken),       T(test_committed),
        T(test_earlier_commit), T(test_commit_raced),      T(test_deleted_and_swept),
        T(test_aborted),        T(test_aborted_committed), T(test_pass),
        T(test_pass_damaged),   T(test_pass_refused),      T(test_pass_append_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
