/* agent/runner: attempts that go on where another one stopped, through the socket. */
#include "tests/unit/agent/runner/stage.h"

/* What is stored comes before the plan; it counts as done, and is not leased. */
static void take_stored(struct agent *a, const struct agent *before, uint32_t count)
{
    struct frame f;
    until(a, FRAME_stored, &f);
    assert_int_equal(a->range_count, 0);
    assert_int_equal(f.stored.results_count, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct msg_result *result = &f.stored.results[i];
        assert_int_equal(result->range, i);
        assert_int_equal(result->term, 7);
        assert_int_equal(result->counter, i + 1);
        assert_int_equal(result->blob.len, before->blobs[i].len);
        assert_memory_equal(result->blob.data, before->blobs[i].data, result->blob.len);
        assert_true(result->counters->bytes > 0);
        OK(buf_append_slice(&a->blobs[i], result->blob, &err));
    }
    a->handed = count;
    a->done = count;
    frame_release(&f);
}

static void goes_on(void **state)
{
    (void)state;
    struct agent first;
    struct agent a;
    struct frame f;
    interrupted(&first, "ram://resume-on", CONNINFO, 3);
    next_attempt(&a, "ram://resume-on", &f);
    assert_false(f.found.committed);
    assert_int_equal(f.found.begin.len, first.begin.len);
    assert_memory_equal(f.found.begin.data, first.begin.data, first.begin.len);
    assert_string_equal(f.found.why, "");
    session_resume(&a, &f.found);
    frame_release(&f);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    take_stored(&a, &first, 3);
    while (a.range_count < first.range_count)
        wait_for(&a, FRAME_plan_batch);
    for (uint32_t i = 0; i < a.range_count; i++)
        assert_int_equal(slice_cmp(a.ranges[i]->start, first.ranges[i]->start), 0);
    assert_int_equal(a.root.len, first.root.len);
    assert_memory_equal(a.root.data, first.root.data, a.root.len); /* the same plan, and start */
    work_all(&a);
    tell_finish(&a);
    until(&a, FRAME_committed, &f);
    assert_int_equal(f.committed.totals->log_bytes, 20000000);
    frame_release(&f);
    agent_stop(&a);
    verify("ram://resume-on");
    agent_release(&a);

    next_attempt(&a, "ram://resume-on", &f); /* whose answer was lost */
    assert_true(f.found.committed);
    assert_int_equal(f.found.begin.len, 0);
    assert_string_equal(f.found.totals->path, "ram://resume-on/demo1/main/null1/backup/" ID);
    frame_release(&f);
    agent_stop(&a);
    agent_release(&a);
    agent_release(&first);
}

static void finds_nothing(void **state)
{
    (void)state;
    struct agent a;
    struct frame f;
    next_attempt(&a, "ram://resume-nothing", &f);
    assert_false(f.found.committed);
    assert_int_equal(f.found.begin.len, 0);
    assert_int_equal(f.found.log_from, 0);
    assert_string_equal(f.found.why, "");
    frame_release(&f);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false); /* anew, under the same id */
    work_all(&a);
    tell_finish(&a);
    wait_for(&a, FRAME_committed);
    agent_stop(&a);
    verify("ram://resume-nothing");
    agent_release(&a);
}

static void expect_resume_failed(struct agent *a, const char *text)
{
    struct frame f;
    until(a, FRAME_failed, &f);
    assert_string_equal(f.failed.error->stage, "resume");
    assert_int_equal(f.failed.error->code, TM_E_CONFLICT);
    assert_string_equal(f.failed.error->text, text);
    frame_release(&f);
    agent_stop(a);
    agent_release(a);
}

/* The log says that what was read earlier is not good: all ranges must start over. */
static void is_refuted(void **state)
{
    (void)state;
    struct agent first;
    struct agent a;
    struct frame f;
    interrupted(&first, "ram://resume-refuted", CONNINFO " fail=proof", 2);
    next_attempt(&a, "ram://resume-refuted", &f);
    session_resume(&a, &f.found);
    frame_release(&f);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    take_stored(&a, &first, 2);
    work_all(&a);
    tell_finish(&a);
    expect_resume_failed(&a, "proof: asked to fail by conninfo");
    agent_release(&first);
}

/* The plan goes away between the look and its use. */
static void loses_its_plan(void **state)
{
    (void)state;
    struct agent first;
    struct agent a;
    struct frame f;
    struct repo_scope scope;
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    interrupted(&first, "ram://resume-plan", CONNINFO, 2);
    next_attempt(&a, "ram://resume-plan", &f);
    session_resume(&a, &f.found);
    frame_release(&f);
    wait_for(&a, FRAME_ready);
    OK(storage_open(a.job.storage, &(struct storage_options){.io_timeout_ms = 0}, &st, &err));
    OK(names_scope_set(&scope, "demo1", "main", "null1", &err));
    struct rel_name rel = names_rel_plan(ID, (struct epoch){7, 0x10100}, 0);
    struct full_name name = names_full(&scope, rel.s);
    const char *names[] = {name.s};
    size_t len = 0;
    assert_non_null(ram_bytes(st, names[0], &len));
    OK(storage_remove(st, names, 1, &err));
    tell_begin(&a, false);
    expect_resume_failed(&a, "what earlier attempts stored cannot be gone on with: the checkpoints "
                             "are gone");
    agent_release(&first);
}

/* One bit in the middle of what the first attempt stored under this name. */
static void flip(const struct agent *first, struct rel_name rel)
{
    struct repo_scope scope;
    size_t len = 0;
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    OK(storage_open(first->job.storage, &(struct storage_options){.io_timeout_ms = 0}, &st, &err));
    OK(names_scope_set(&scope, "demo1", "main", "null1", &err));
    uint8_t *bytes = ram_bytes(st, names_full(&scope, rel.s).s, &len);
    assert_non_null(bytes);
    bytes[len / 2] ^= 1;
}

/* The attempt has read what was missing: it commits a whole backup. */
static void commits(struct agent *a)
{
    tell_finish(a);
    wait_for(a, FRAME_committed);
    agent_stop(a);
    verify(a->job.storage);
    agent_release(a);
}

/* A checkpoint is damaged: it is told why, and its ranges are read again. */
static void is_damaged(void **state)
{
    (void)state;
    struct agent first;
    struct agent a;
    struct frame f;
    interrupted(&first, "ram://resume-damaged", CONNINFO, 2);
    flip(&first, names_rel_checkpoint(ID, (struct epoch){7, 0x10100}, 1));
    next_attempt(&a, "ram://resume-damaged", &f);
    assert_int_equal(f.found.begin.len, first.begin.len);
    const char *says =
        "of what earlier attempts stored, 1 checkpoints and 0 ranges cannot be used: ";
    assert_memory_equal(f.found.why, says, strlen(says));
    session_resume(&a, &f.found);
    frame_release(&f);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    work_all(&a);
    commits(&a);
    agent_release(&first);
}

/* Data is damaged, and checksums are wanted: its bytes are read once the plan is known, and told then. */
static void has_damaged_data(void **state)
{
    (void)state;
    struct agent first;
    struct agent a;
    struct frame f;
    interrupted(&first, "ram://resume-bytes", CONNINFO, 2);
    flip(&first, names_rel_data(ID, 1, (struct epoch){7, 2}));
    checksums = true;
    next_attempt(&a, "ram://resume-bytes", &f);
    checksums = false;
    assert_string_equal(f.found.why, "");
    session_resume(&a, &f.found);
    frame_release(&f);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    take_stored(&a, &first, 1);
    work_all(&a);
    const char *says =
        "of what earlier attempts stored, 0 checkpoints and 1 ranges cannot be used: range 1 ";
    assert_memory_equal(a.warning, says, strlen(says));
    commits(&a);
    agent_release(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on),    cmocka_unit_test(finds_nothing),
        cmocka_unit_test(is_refuted), cmocka_unit_test(loses_its_plan),
        cmocka_unit_test(is_damaged), cmocka_unit_test(has_damaged_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
