/* agent/backup: a backup that lists the log task's chunks instead of storing its own. */
#include "tests/unit/agent/backup/whole.h"

#include "proto/format/stream.h"
#include "proto/repo/verify.h"
#include "tests/unit/agent/backup/task_log.h"

#define WORDS  "files=4 log=4000000"
#define START  ((uint64_t)NULL_LOG_START)
#define END    (START + 4000000)
#define SECOND (START + 1500000) /* where the second chunk begins, and the third */
#define THIRD  (START + 2500000)

struct fixture {
    struct ram_registry *registry;
    struct storage *st;
    struct whole w;
    char why[TM_ERR_MSG_MAX];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->registry = ram_registry_new();
    OK(ram_open(f->registry, "t", &f->st, &w_err));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    whole_end(&f->w);
    storage_free(f->st);
    ram_registry_freep(&f->registry);
    free(f);
    return 0;
}

/* A snapshot that has ended and has no log yet. */
static void snapshot(struct fixture *f, const char *words, bool checksum)
{
    struct backup_log_options options = {.lineage_label = "1", .from = START, .epoch = {1, 1}};
    uint64_t next;
    whole_options(&f->w, f->st, &null_engine);
    f->w.options.checksum = checksum;
    whole_begin_options(&f->w, words);
    whole_ranges(&f->w);
    whole_stop(&f->w);
    assert_int_equal(f->w.log_from, START);
    assert_int_equal(f->w.log_to, END);
    OK(backup_log_open(f->w.backup, &options, &f->w.log, &next, &w_err));
    assert_int_equal(next, START);
}

static int share(struct fixture *f)
{
    const struct backup_share s = {.engine = &null_engine,
                                   .instance = &f->w.instance,
                                   .begin = buf_slice(&f->w.begin),
                                   .until = f->w.log_to};
    f->why[0] = '\0';
    int r = backup_log_share(f->w.log, &s, f->why, &w_err);
    OK(r);
    return r;
}

static void chunk(struct fixture *f, char letter, uint64_t from, uint64_t to)
{
    OK(task_chunk(f->st, WORDS, letter, from, to, &w_err));
}

/* The three chunks that hold all of it, and more at both ends. */
static void three_chunks(struct fixture *f, char letter)
{
    OK(task_lineage(f->st, letter, START - 65536, letter, &w_err));
    chunk(f, letter, START - 65536, SECOND);
    chunk(f, letter, SECOND, THIRD);
    chunk(f, letter, THIRD, END + 1000);
}

static size_t count_below(struct fixture *f, const char *rel)
{
    struct storage_iter *it = NULL;
    struct storage_object object;
    size_t n = 0;
    OK(storage_list(f->st, names_full(&f->w.options.scope, rel).s, NULL, &it, &w_err));
    while (storage_iter_next(it, &object, &w_err) == 1)
        n++;
    storage_iter_free(it);
    return n;
}

static void flip(struct fixture *f, uint64_t from)
{
    size_t len;
    struct rel_name rel = task_chunk_name('a', from);
    uint8_t *bytes = ram_bytes(f->st, names_full(&f->w.options.scope, rel.s).s, &len);
    assert_non_null(bytes);
    bytes[len / 2] ^= 1;
}

static int verify(struct fixture *f, struct verify_totals *totals)
{
    struct object_scratch *scratches[3] = {NULL, NULL, NULL};
    for (size_t i = 0; i < 3; i++)
        OK(object_scratch_new(&scratches[i], &w_err));
    int r =
        verify_backup(scratches, f->st, &f->w.options.scope, WHOLE_ID, NULL, NULL, totals, &w_err);
    for (size_t i = 0; i < 3; i++)
        object_scratch_free(scratches[i]);
    return r;
}

static void expect_refs(struct fixture *f)
{
    static const uint64_t bounds[] = {START - 65536, SECOND, THIRD, END + 1000};
    struct object_scratch *scratch = NULL;
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct manifest_item item = {.kind = 0};
    size_t n = 0;
    OK(object_scratch_new(&scratch, &w_err));
    OK(manifest_reader_open(&mr, scratch, f->st, &f->w.options.scope, WHOLE_ID, &w_err));
    assert_memory_equal(mr.root.lineage, "aaaaaaaaaaaaaaaa", 16);
    assert_memory_equal(mr.root.replay_from->lineage, "aaaaaaaaaaaaaaaa", 16);
    assert_memory_equal(mr.root.consistent_at->lineage, "aaaaaaaaaaaaaaaa", 16);
    assert_int_equal(mr.root.log_from, START);
    assert_int_equal(mr.root.log_to, END);
    assert_int_equal(mr.root.log_bytes, 4000000);
    assert_int_equal(mr.root.log_objects, 3);
    while (n < 3 && manifest_reader_next(&mr, &item, &w_err) == 1) {
        if (item.kind != MANIFEST_LOG)
            continue;
        struct rel_name name = task_chunk_name('a', bounds[n]);
        assert_true(item.log.task);
        assert_string_equal(item.log.object, name.s);
        assert_string_equal(item.log.label, "1");
        assert_int_equal(item.log.from, bounds[n]);
        assert_int_equal(item.log.to, bounds[n + 1]);
        n++;
    }
    assert_int_equal(n, 3);
    manifest_reader_release(&mr);
    object_scratch_free(scratch);
}

/* Nothing is stored twice; a backup that goes away leaves the task's log alone. */
static void test_shared(void **state)
{
    struct fixture *f = *state;
    struct verify_totals totals;
    struct backup_sweep_result swept;
    snapshot(f, WORDS, true);
    three_chunks(f, 'a');
    assert_int_equal(share(f), BACKUP_SHARED);
    assert_int_equal(backup_log_durable(f->w.log), END + 1000);
    assert_int_equal(backup_log_append(f->w.log, END + 1000, slice_str("x"), &w_err),
                     -TM_E_INTERNAL);
    whole_final(&f->w);
    OK(whole_try_commit(&f->w));
    assert_int_equal(f->w.totals.log_bytes, 4000000);
    assert_true(f->w.totals.stored_bytes < 1000000); /* what is shared costs nothing */
    assert_int_equal(count_below(f, "backup/" WHOLE_ID "/log/"), 0);
    expect_refs(f);
    OK(verify(f, &totals));
    assert_int_equal(totals.objects, totals.ranges + 3);
    OK(whole_try_commit(&f->w)); /* the answer was lost */
    assert_int_equal(f->w.totals.log_bytes, 4000000);

    flip(f, SECOND);
    assert_int_equal(verify(f, &totals), -TM_E_CORRUPT);
    assert_int_equal(totals.bad, 1);
    OK(backup_sweep(f->w.backup, BACKUP_SWEEP_DELETE, "deleted", 0, &swept, &w_err));
    assert_int_equal(count_below(f, "backup/"), 1); /* the tombstone */
    assert_int_equal(count_below(f, "log/"), 4);
}

/* The task comes so far only after a while. */
static void test_later(void **state)
{
    struct fixture *f = *state;
    snapshot(f, WORDS, false);
    assert_int_equal(share(f), BACKUP_SHARE_LATER);
    assert_string_equal(f->why, "the log backup has stored nothing of this branch yet");
    OK(task_lineage(f->st, 'a', START, 1, &w_err));
    assert_int_equal(share(f), BACKUP_SHARE_LATER);
    assert_string_equal(f->why, "the log backup has stored the log only up to 1048576");
    chunk(f, 'a', START, SECOND);
    assert_int_equal(share(f), BACKUP_SHARE_LATER);
    assert_string_equal(f->why, "the log backup has stored the log only up to 2548576");
    assert_int_equal(backup_log_next(f->w.log), START);
    chunk(f, 'a', SECOND, END);
    assert_int_equal(share(f), BACKUP_SHARED);
    assert_int_equal(backup_log_next(f->w.log), END);
}

/* Then the backup goes on as if it had never asked. */
static void test_hole(void **state)
{
    struct fixture *f = *state;
    struct verify_totals totals;
    snapshot(f, WORDS, false);
    OK(task_lineage(f->st, 'a', START, 1, &w_err));
    chunk(f, 'a', START, SECOND);
    chunk(f, 'a', THIRD, END);
    assert_int_equal(share(f), BACKUP_SHARE_NEVER);
    assert_string_equal(f->why, "the log backup has a hole at 2548576");
    backup_log_free(f->w.log);
    whole_log(&f->w);
    whole_final(&f->w);
    OK(whole_try_commit(&f->w));
    assert_int_equal(f->w.totals.log_bytes, 4000000);
    assert_true(f->w.totals.stored_bytes > 1000000);
    assert_int_equal(count_below(f, "backup/" WHOLE_ID "/log/"), 1);
    OK(verify(f, &totals));
}

/* A task that began after the backup never has its beginning. */
static void test_begins_late(void **state)
{
    struct fixture *f = *state;
    snapshot(f, WORDS, false);
    OK(task_lineage(f->st, 'a', START + 65536, 1, &w_err));
    assert_int_equal(share(f), BACKUP_SHARE_NEVER);
    assert_string_equal(f->why, "the log backup has a hole at 1048576");
}

/* Another database of the same name, identity and branch: only the bytes tell. */
static void test_other_log(void **state)
{
    struct fixture *f = *state;
    snapshot(f, WORDS, false);
    OK(task_lineage(f->st, 'a', START, 1, &w_err));
    chunk(f, 'a', START, THIRD);
    OK(task_chunk(f->st, WORDS " twist=5048575", 'a', THIRD, END + 1,
                  &w_err)); /* from END - 1 on */
    assert_int_equal(share(f), BACKUP_SHARE_NEVER);
    assert_string_equal(f->why, "the log backup holds another log than the source's");
    assert_int_equal(backup_log_next(f->w.log), START);

    /* the newest lineage is another's, an older one is ours */
    three_chunks(f, '\x01');
    assert_int_equal(share(f), BACKUP_SHARED);
}

static void test_other_beginning(void **state)
{
    struct fixture *f = *state;
    snapshot(f, WORDS, false);
    OK(task_lineage(f->st, 'a', START, 1, &w_err));
    OK(task_chunk(f->st, WORDS " seed=77", 'a', START, SECOND, &w_err));
    chunk(f, 'a', SECOND, END);
    assert_int_equal(share(f), BACKUP_SHARE_NEVER);
    assert_string_equal(f->why, "the log backup holds another log than the source's");
}

/* With checksum every shared chunk is read, not only both ends. */
static void test_damaged(void **state)
{
    struct fixture *f = *state;
    snapshot(f, WORDS, true);
    three_chunks(f, 'a');
    flip(f, SECOND);
    assert_int_equal(share(f), BACKUP_SHARE_NEVER);
    assert_non_null(strstr(f->why, task_chunk_name('a', SECOND).s));
    assert_int_equal(backup_log_next(f->w.log), START);
}

/* What cannot be read is not proven; it may be tried again. */
static void test_source_away(void **state)
{
    struct fixture *f = *state;
    snapshot(f, WORDS " fail=log_next", false);
    three_chunks(f, 'a');
    assert_int_equal(share(f), BACKUP_SHARE_LATER);
    assert_string_equal(f->why, "log_next: asked to fail by conninfo");
}

static void test_canceled(void **state)
{
    struct fixture *f = *state;
    static atomic_bool cancel;
    struct backup_log_options options = {.lineage_label = "1", .from = START, .epoch = {1, 1}};
    struct backup_share s = {.engine = &null_engine, .until = END};
    uint64_t next;
    whole_options(&f->w, f->st, &null_engine);
    f->w.options.cancel = &cancel;
    whole_begin_options(&f->w, WORDS);
    OK(backup_log_open(f->w.backup, &options, &f->w.log, &next, &w_err));
    three_chunks(f, 'a');
    s.instance = &f->w.instance;
    s.begin = buf_slice(&f->w.begin);
    atomic_store(&cancel, true);
    assert_int_equal(backup_log_share(f->w.log, &s, f->why, &w_err), -TM_E_CANCELED);
    atomic_store(&cancel, false);
}

/* What an attempt that was interrupted read is proven by log of the backup's own. */
static void test_resumed(void **state)
{
    struct fixture *f = *state;
    struct backup_log_options options = {.lineage_label = "1", .from = START, .epoch = {1, 1}};
    uint64_t next;
    whole_options(&f->w, f->st, &null_engine);
    f->w.options.resumed = true;
    whole_begin_options(&f->w, WORDS);
    OK(backup_log_open(f->w.backup, &options, &f->w.log, &next, &w_err));
    three_chunks(f, 'a');
    assert_int_equal(share(f), BACKUP_SHARE_NEVER);
    assert_string_equal(f->why,
                        "the backup was resumed: what it read before is proven by log of its own");
    assert_int_equal(backup_log_next(f->w.log), START);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_shared),          T(test_later),   T(test_hole),        T(test_begins_late),
        T(test_other_log),       T(test_damaged), T(test_source_away), T(test_canceled),
        T(test_other_beginning), T(test_resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
