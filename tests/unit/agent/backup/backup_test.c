/* agent/backup: whole backups of arithmetic databases into memory. */
#include "tests/unit/agent/backup/whole.h"

#include "proto/format/chunk.h"
#include "proto/repo/catalog.h"
#include "proto/repo/verify.h"

static struct storage *store(struct ram_registry *registry)
{
    struct storage *st = NULL;
    OK(ram_open(registry, "t", &st, &w_err));
    return st;
}

static int verify(struct storage *st, const struct repo_scope *scope, struct verify_totals *totals)
{
    struct object_scratch *scratches[3] = {NULL, NULL, NULL};
    for (size_t i = 0; i < 3; i++)
        OK(object_scratch_new(&scratches[i], &w_err));
    int r = verify_backup(scratches, st, scope, WHOLE_ID, NULL, NULL, totals, &w_err);
    for (size_t i = 0; i < 3; i++)
        object_scratch_free(scratches[i]);
    return r;
}

static size_t count_below(struct storage *st, const char *prefix)
{
    struct storage_iter *it = NULL;
    struct storage_object object;
    size_t n = 0;
    int r;
    OK(storage_list(st, prefix, NULL, &it, &w_err));
    while ((r = storage_iter_next(it, &object, &w_err)) == 1)
        n++;
    OK(r);
    storage_iter_free(it);
    return n;
}

static void test_whole(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct verify_totals totals;
    whole_begin(&w, st, &null_engine, "files=40 bytes=20000 big=1000000 log=300000 corrupt=2");
    assert_true(w.count > 3);
    whole_run(&w);
    assert_int_equal(w.totals.ranges, w.count + 1);
    assert_int_equal(w.totals.pages_corrupt, 2);
    assert_int_equal(w.totals.log_bytes, 300000);
    assert_int_equal(w.ranges[0].result.problem_count, 2);
    assert_string_equal(w.ranges[0].result.problems[1].path, "d00000/f00000001");
    OK(verify(st, &w.options.scope, &totals));
    assert_int_equal(totals.ranges, w.count + 1);
    assert_int_equal(totals.bad, 0);
    whole_end(&w);
}

static void test_mock_without_log(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct verify_totals totals;
    whole_begin(&w, st, &mock_engine, "keys=10000 value=200");
    assert_true(w.count > 3);
    whole_run(&w);
    assert_int_equal(w.totals.log_bytes, 0);
    OK(verify(st, &w.options.scope, &totals));
    whole_end(&w);
}

/* One bit in any object is found, whichever it is. */
static void test_bit_flips(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct verify_totals totals;
    whole_begin(&w, st, &null_engine, "files=8 bytes=30000 log=70000");
    whole_run(&w);
    struct full_name prefix = names_backup_prefix(&w.options.scope, WHOLE_ID);
    struct storage_iter *it = NULL;
    struct storage_object object;
    size_t objects = 0;
    OK(storage_list(st, prefix.s, NULL, &it, &w_err));
    while (storage_iter_next(it, &object, &w_err) == 1) {
        size_t len;
        uint8_t *bytes = ram_bytes(st, object.name, &len);
        if (strstr(object.name, "/plan/")) /* serves only the backup itself */
            continue;
        for (size_t at = 0; at < len; at += len / 7 + 1) {
            bytes[at] ^= 4;
            if (verify(st, &w.options.scope, &totals) >= 0)
                fail_msg("%s: a flipped bit at %zu of %zu is not found", object.name, at, len);
            bytes[at] ^= 4;
        }
        objects++;
    }
    storage_iter_free(it);
    assert_true(objects >= 4);
    OK(verify(st, &w.options.scope, &totals));
    whole_end(&w);
}

static void test_commit_twice(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    whole_begin(&w, st, &null_engine, "files=8");
    whole_run(&w);
    struct backup_totals first = w.totals;
    OK(whole_try_commit(&w));
    assert_memory_equal(&first, &w.totals, sizeof(first));
    w.commit_us++;
    assert_int_equal(whole_try_commit(&w), -TM_E_CONFLICT);
    assert_string_equal(w_err.msg, "commit: backup '" WHOLE_ID "' was committed by somebody else");
    whole_end(&w);
}

/* The replies of all commits are lost: what is there is looked at, and is ours. */
static void test_commit_reply_lost(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct verify_totals totals;
    whole_begin(&w, st, &null_engine, "files=8");
    whole_ranges(&w);
    whole_stop(&w);
    whole_log(&w);
    whole_final(&w);
    ram_set_faults(st, &(struct ram_faults){.drop_reply_per_mille = 1000});
    OK(whole_try_commit(&w));
    ram_set_faults(st, &(struct ram_faults){.seed = 1});
    OK(whole_try_commit(&w));
    OK(verify(st, &w.options.scope, &totals));
    whole_end(&w);
}

static void test_commit_refuses(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    whole_begin(&w, st, &null_engine, "files=40");
    whole_ranges(&w);
    whole_stop(&w);
    whole_log(&w);
    whole_final(&w);
    struct buf kept = w.ranges[1].result.blob;
    w.ranges[1].result.blob = BUF_INIT;
    assert_int_equal(whole_try_commit(&w), -TM_E_INTERNAL);
    assert_string_equal(w_err.msg, "commit: range 1 has no result");
    w.ranges[1].result.blob = w.ranges[2].result.blob;
    assert_int_equal(whole_try_commit(&w), -TM_E_INTERNAL);
    assert_string_equal(w_err.msg, "commit: result 2 came where 1 was due");
    w.ranges[1].result.blob = kept;
    OK(whole_try_commit(&w));
    whole_end(&w);
}

static void test_sweep(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct backup_sweep_result swept;
    whole_begin(&w, st, &null_engine, "files=8");
    whole_ranges(&w);
    struct full_name prefix = names_backup_prefix(&w.options.scope, WHOLE_ID);
    size_t there = count_below(st, prefix.s);
    assert_true(there > 1);
    OK(backup_sweep(w.backup, BACKUP_SWEEP_ABORT, "test", 0, &swept, &w_err));
    assert_int_equal(swept.objects, there);
    assert_int_equal(count_below(st, prefix.s), 1); /* the tombstone, … */
    OK(backup_sweep(w.backup, BACKUP_SWEEP_ABORT, "test", 0, &swept, &w_err));
    assert_int_equal(swept.objects, 0);
    struct backup_lease late = whole_lease(&w, 0, (struct epoch){1, 9});
    OK(backup_store_range(w.worker, w.engine, w.reader, &late, &w.ranges[0].result, &w_err));
    OK(backup_sweep_deleted(w.backup, &swept, &w_err)); /* … so that this is known for what it is */
    assert_int_equal(swept.objects, 1);
    assert_int_equal(count_below(st, prefix.s), 1);
    whole_end(&w);
}

static void test_sweep_committed(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct backup_sweep_result swept;
    enum backup_state state_now;
    whole_begin(&w, st, &null_engine, "files=8");
    whole_run(&w);
    assert_int_equal(backup_sweep(w.backup, BACKUP_SWEEP_ABORT, "test", 0, &swept, &w_err),
                     -TM_E_REFUSED);
    OK(backup_sweep(w.backup, BACKUP_SWEEP_DELETE, "test", 0, &swept, &w_err));
    OK(catalog_backup_state(st, &w.options.scope, WHOLE_ID, &state_now, &w_err));
    assert_int_equal(state_now, BACKUP_DELETED);
    struct full_name prefix = names_backup_prefix(&w.options.scope, WHOLE_ID);
    assert_int_equal(count_below(st, prefix.s), 1); /* the tombstone stays */
    OK(backup_sweep(w.backup, BACKUP_SWEEP_DELETE, "test", 0, &swept, &w_err));
    assert_int_equal(whole_try_commit(&w), -TM_E_CANCELED);
    whole_end(&w);
}

/* The tombstone comes first; the rest waits for its grace, for whoever comes. */
static void test_sweep_grace(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct backup_sweep_result swept;
    struct backup *first = NULL;
    struct backup *later = NULL;
    const int64_t at_us = 1790000000000000;
    whole_begin(&w, st, &null_engine, "files=8");
    whole_run(&w);
    struct full_name prefix = names_backup_prefix(&w.options.scope, WHOLE_ID);
    size_t there = count_below(st, prefix.s);
    const int64_t grace_us = 1500000; /* the tombstone names whole seconds: 2 */
    struct backup_options options = w.options;
    options.sweep = true;
    options.now_us = at_us;
    OK(backup_open(&options, &first, &w_err));
    OK(backup_sweep(first, BACKUP_SWEEP_DELETE, "test", grace_us, &swept, &w_err));
    assert_int_equal(swept.objects, 0);
    assert_int_equal(swept.next_us, at_us + grace_us);
    assert_int_equal(count_below(st, prefix.s), there + 1);
    assert_int_equal(whole_try_commit(&w), -TM_E_CANCELED);
    options.now_us = at_us + grace_us;
    OK(backup_open(&options, &later, &w_err));
    OK(backup_sweep_deleted(later, &swept, &w_err));
    assert_int_equal(swept.objects, 0);
    assert_int_equal(swept.next_us, at_us + 2000000);
    OK(backup_sweep(later, BACKUP_SWEEP_DELETE, "test", grace_us, &swept, &w_err));
    assert_int_equal(swept.objects, there);
    assert_int_equal(swept.next_us, 0);
    assert_int_equal(count_below(st, prefix.s), 1);
    OK(backup_sweep_deleted(later, &swept, &w_err));
    assert_int_equal(swept.objects, 0);
    assert_int_equal(swept.next_us, 0);
    backup_free(first);
    backup_free(later);
    whole_end(&w);
}

/* When the source sent something is no promise about the log: its chunks carry no time marks. */
static void test_log_without_marks(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct whole w;
    struct chunk_reader cr;
    struct slice marks;
    whole_begin(&w, st, &null_engine, "files=2 log=300000"); /* its events have the clock's time */
    whole_run(&w);
    struct rel_name rel = names_rel_backup_log(WHOLE_ID, w.log_from, (struct epoch){1, 1});
    struct full_name name = names_full(&w.options.scope, rel.s);
    OK(object_scratch_new(&scratch, &w_err));
    OK(chunk_reader_open(&cr, scratch, st, name.s, NULL, &w_err));
    assert_int_equal(cr.root.to, w.log_to);
    assert_int_equal(cr.root.mark_us, 0);
    assert_int_equal(chunk_reader_section(&cr, OBJECT_SECTION_MARKS, &marks, &w_err), 0);
    chunk_reader_release(&cr);
    whole_end(&w);
}

/* Another writer takes the log over behind the last whole chunk. */
static void test_log_taken_over(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct verify_totals totals;
    uint64_t next, flushed;
    struct engine_log *elog = NULL;
    whole_begin(&w, st, &null_engine, "files=2 log=40000000");
    whole_ranges(&w);
    whole_stop(&w);
    struct backup_log_options options = {.lineage_label = "1", .from = w.log_from, .epoch = {1, 1}};
    OK(backup_log_open(w.backup, &options, &w.log, &next, &w_err));
    OK(null_engine.log_open(&w.instance, buf_slice(&w.begin), next, &elog, &w_err));
    while (backup_log_next(w.log) < 20000000)
        OK(backup_log_pump(w.log, &null_engine, elog, 0, 0, &flushed, &w_err));
    null_engine.log_close(elog);
    assert_int_equal(backup_log_durable(w.log), BACKUP_LOG_CHUNK_BYTES);
    backup_log_free(w.log); /* the runner dies here */
    elog = NULL;
    options.epoch.counter = 2;
    OK(backup_log_open(w.backup, &options, &w.log, &next, &w_err));
    assert_int_equal(next, BACKUP_LOG_CHUNK_BYTES);
    OK(null_engine.log_open(&w.instance, buf_slice(&w.begin), next, &elog, &w_err));
    while (backup_log_pump(w.log, &null_engine, elog, w.log_to, 0, &flushed, &w_err) == 1)
        ;
    null_engine.log_close(elog);
    OK(backup_log_finish(w.log, &w_err));
    assert_int_equal(backup_log_durable(w.log), w.log_to);
    backup_log_free(w.log); /* and this one before the commit: nothing is left to stream */
    options.epoch.counter = 3;
    OK(backup_log_open(w.backup, &options, &w.log, &next, &w_err));
    assert_int_equal(next, w.log_to);
    whole_final(&w);
    OK(whole_try_commit(&w));
    OK(verify(st, &w.options.scope, &totals));
    whole_end(&w);
}

/* Streams from where the log wants it to `until`, or to its end (0). */
static void stream_until(struct whole *w, uint64_t next, uint64_t until)
{
    struct engine_log *elog = NULL;
    uint64_t flushed;
    OK(null_engine.log_open(&w->instance, buf_slice(&w->begin), next, &elog, &w_err));
    while (until == 0 || backup_log_next(w->log) < until) {
        int r = backup_log_pump(w->log, &null_engine, elog, w->log_to, 0, &flushed, &w_err);
        OK(r);
        if (r == 0)
            break;
    }
    null_engine.log_close(elog);
}

/* The stored log chunk at `from`, of epoch {1, counter}. */
static uint8_t *stored_chunk(struct whole *w, uint64_t from, uint32_t counter, size_t *ret_len)
{
    struct rel_name rel = names_rel_backup_log(WHOLE_ID, from, (struct epoch){1, counter});
    uint8_t *bytes = ram_bytes(w->options.storage, names_full(&w->options.scope, rel.s).s, ret_len);
    assert_non_null(bytes);
    return bytes;
}

/* A damaged chunk counts as not stored, and so does what lies behind it. */
static void test_damaged_log(void **state)
{
    (void)state;
    const uint64_t step = BACKUP_LOG_CHUNK_BYTES;
    static const struct {
        const char *what;
        unsigned chunk;   /* which one */
        unsigned percent; /* where in it; 100 = the last byte */
    } damages[] = {{"header", 1, 0}, {"frame", 1, 40}, {"footer", 1, 100}, {"first", 0, 40}};
    for (size_t n = 0; n < TM_ARRAY_LEN(damages); n++) {
        TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
        TM_CLEANUP(storage_freep) struct storage *st = store(registry);
        struct whole w;
        struct verify_totals totals;
        uint64_t next, from;
        size_t len;
        whole_begin(&w, st, &null_engine, "files=2 log=60000000");
        whole_ranges(&w);
        whole_stop(&w);
        struct backup_log_options options = {
            .lineage_label = "1", .from = w.log_from, .epoch = {1, 1}};
        OK(backup_log_open(w.backup, &options, &w.log, &next, &w_err));
        stream_until(&w, next, w.log_from + 50000000);
        assert_int_equal(backup_log_durable(w.log), w.log_from - w.log_from % step + 3 * step);
        backup_log_free(w.log); /* the runner dies, and a disk forgets */
        from = damages[n].chunk == 0 ? w.log_from : damages[n].chunk * step;
        uint8_t *bytes = stored_chunk(&w, from, 1, &len);
        bytes[TM_MIN(len * damages[n].percent / 100, len - 1)] ^= 1;

        options.epoch.counter = 2;
        OK(backup_log_open(w.backup, &options, &w.log, &next, &w_err));
        assert_int_equal(next, from);
        assert_non_null(strstr(backup_log_damaged(w.log), "/log/"));
        stream_until(&w, next, from + step + 1000); /* this runner dies as well */
        backup_log_free(w.log);

        /* the third one finds: good, stored again, good and of the first runner; but where the
         * first chunk had to be stored again, what lies behind it is of another lineage */
        options.epoch.counter = 3;
        OK(backup_log_open(w.backup, &options, &w.log, &next, &w_err));
        assert_int_equal(next, damages[n].chunk == 0 ? step : 3 * step);
        stream_until(&w, next, 0);
        OK(backup_log_finish(w.log, &w_err));
        assert_int_equal(backup_log_durable(w.log), w.log_to);
        whole_final(&w);
        OK(whole_try_commit(&w));
        if (verify(st, &w.options.scope, &totals) < 0)
            fail_msg("damaged %s: %s", damages[n].what, w_err.msg);
        assert_int_equal(w.totals.log_bytes, 60000000);
        whole_end(&w);
    }
}

static void test_range_fails_clean(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    whole_begin(&w, st, &null_engine, "files=8 fail=read_range");
    size_t before = ram_object_count(st);
    struct backup_lease lease = whole_lease(&w, 0, (struct epoch){1, 1});
    assert_int_equal(
        backup_store_range(w.worker, w.engine, w.reader, &lease, &w.ranges[0].result, &w_err),
        -TM_E_UNAVAILABLE);
    assert_string_equal(w_err.msg, "range 0: read_range: asked to fail by conninfo");
    assert_true(w_err.retryable);
    assert_int_equal(ram_object_count(st), before);
    whole_end(&w);
}

static void test_range_twice(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    whole_begin(&w, st, &null_engine, "files=8");
    struct backup_lease lease = whole_lease(&w, 0, (struct epoch){1, 1});
    struct backup_result *result = &w.ranges[0].result;
    OK(backup_store_range(w.worker, w.engine, w.reader, &lease, result, &w_err));
    assert_int_equal(backup_store_range(w.worker, w.engine, w.reader, &lease, result, &w_err),
                     -TM_E_EXISTS);
    assert_true(w_err.retryable);
    whole_end(&w);
}

static void test_cancel(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    atomic_bool cancel = false;
    whole_options(&w, st, &null_engine);
    w.options.cancel = &cancel;
    whole_begin_options(&w, "files=8");
    struct backup_lease lease = whole_lease(&w, 0, (struct epoch){1, 1});
    atomic_store(&cancel, true);
    assert_int_equal(
        backup_store_range(w.worker, w.engine, w.reader, &lease, &w.ranges[0].result, &w_err),
        -TM_E_CANCELED);
    whole_end(&w);
}

static void test_other_database(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct backup *other = NULL;
    whole_begin(&w, st, &null_engine, "files=1");
    struct backup_options options = w.options;
    OK(names_scope_set(&options.scope, "demo1", "main", "null2", &w_err));
    /* a resource was asked to store it there: that does not make it this storage's */
    struct full_name intent = names_full(&options.scope, names_rel_intent("a", w.options.epoch).s);
    TM_CLEANUP(storage_writer_freep) struct storage_writer *writer = NULL;
    OK(storage_create(st, intent.s, &writer, &w_err));
    OK(storage_writer_commit(writer, &w_err));
    assert_int_equal(backup_open(&options, &other, &w_err), -TM_E_REFUSED);
    assert_string_equal(w_err.msg,
                        "storage 'ram://t' holds backups of another database under cluster "
                        "'demo1', tenant 'main' (identity null1, this one is null2): use another "
                        "prefix or cluster name, or say acceptIncarnation: true after "
                        "pg_upgrade or initdb");
    options.accept_incarnation = true;
    OK(backup_open(&options, &other, &w_err));
    backup_free(other);
    options.accept_incarnation = false; /* and from now on it is */
    OK(backup_open(&options, &other, &w_err));
    backup_free(other);
    whole_end(&w);
}

static void test_worker_elsewhere(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct backup *b = NULL;
    whole_options(&w, st, &null_engine);
    w.options.lead = false;
    assert_int_equal(backup_open(&w.options, &b, &w_err), -TM_E_NOT_FOUND);
    assert_string_equal(w_err.msg, "storage 'ram://t' does not hold what the lead wrote there: is "
                                   "the path mounted on this node?");
}

/* Not one byte more. */
static void fill(struct storage *st)
{
    const uint64_t much = 1u << 30;
    uint64_t free_bytes = 0;
    ram_set_faults(st, &(struct ram_faults){.capacity_bytes = much});
    OK(storage_free_space(st, &free_bytes, &w_err));
    ram_set_faults(st, &(struct ram_faults){.capacity_bytes = much - free_bytes});
}

static void test_store_full(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct backup_sweep_result swept;
    whole_begin(&w, st, &null_engine, "files=40 bytes=100000");
    struct backup_lease lease = whole_lease(&w, 0, (struct epoch){1, 1});
    OK(backup_store_range(w.worker, w.engine, w.reader, &lease, &w.ranges[0].result, &w_err));
    struct full_name prefix = names_backup_prefix(&w.options.scope, WHOLE_ID);
    size_t there = count_below(st, prefix.s);
    fill(st);
    lease = whole_lease(&w, 1, (struct epoch){1, 2});
    assert_int_equal(
        backup_store_range(w.worker, w.engine, w.reader, &lease, &w.ranges[1].result, &w_err),
        -TM_E_NO_SPACE);
    /* there is room for the tombstone when the data is gone */
    struct backup_options options = w.options;
    struct backup *sweeper = NULL;
    options.sweep = true;
    OK(backup_open(&options, &sweeper, &w_err));
    OK(backup_sweep(sweeper, BACKUP_SWEEP_ABORT, "full", 0, &swept, &w_err));
    assert_int_equal(swept.objects, there);
    assert_int_equal(count_below(st, prefix.s), 1);
    backup_free(sweeper);
    whole_end(&w);
}

/* Who reads it is promised a grace, and where is that to be written down? */
static void test_store_full_committed(void **state)
{
    (void)state;
    TM_CLEANUP(ram_registry_freep) struct ram_registry *registry = ram_registry_new();
    TM_CLEANUP(storage_freep) struct storage *st = store(registry);
    struct whole w;
    struct backup_sweep_result swept;
    whole_begin(&w, st, &null_engine, "files=8");
    whole_run(&w);
    OK(backup_tidy(w.worker, &swept, &w_err));
    struct full_name prefix = names_backup_prefix(&w.options.scope, WHOLE_ID);
    size_t there = count_below(st, prefix.s);
    fill(st);
    assert_int_equal(backup_sweep(w.backup, BACKUP_SWEEP_DELETE, "test", 600000000, &swept, &w_err),
                     -TM_E_NO_SPACE);
    assert_string_equal(w_err.msg, "sweep: the storage is full, and its readers' grace needs a "
                                   "tombstone: make a little room, or delete it with a grace of 0");
    assert_int_equal(count_below(st, prefix.s), there);
    OK(backup_sweep(w.backup, BACKUP_SWEEP_DELETE, "test", 0, &swept, &w_err));
    assert_int_equal(swept.objects, there);
    assert_int_equal(count_below(st, prefix.s), 1);
    whole_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_mock_without_log),
        cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_commit_twice),
        cmocka_unit_test(test_commit_reply_lost),
        cmocka_unit_test(test_commit_refuses),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_sweep_committed),
        cmocka_unit_test(test_sweep_grace),
        cmocka_unit_test(test_log_without_marks),
        cmocka_unit_test(test_log_taken_over),
        cmocka_unit_test(test_damaged_log),
        cmocka_unit_test(test_range_fails_clean),
        cmocka_unit_test(test_range_twice),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_other_database),
        cmocka_unit_test(test_worker_elsewhere),
        cmocka_unit_test(test_store_full),
        cmocka_unit_test(test_store_full_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
