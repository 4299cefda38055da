/* agent/runner: a whole job through the socket, with this test as the agent. */
#include "tests/unit/agent/runner/stage.h"

static void test_backup(void **state)
{
    (void)state;
    struct agent a;
    struct frame f;
    agent_init(&a, "ram://runner-backup");
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    work_all(&a);
    assert_true(a.range_count > 5);
    tell_finish(&a);
    until(&a, FRAME_committed, &f);
    assert_int_equal(f.committed.totals->counters->pages_corrupt, 1);
    assert_int_equal(f.committed.totals->log_bytes, 20000000);
    assert_string_equal(f.committed.totals->path,
                        "ram://runner-backup/demo1/main/null1/backup/" ID);
    frame_release(&f);
    /* the answer was lost: asked again, it commits again */
    tell_finish(&a);
    wait_for(&a, FRAME_committed);
    agent_stop(&a);
    assert_int_equal(a.args.result, 0);
    verify("ram://runner-backup");
    agent_release(&a);
}

/* The runner ends in the middle; another one takes over, plans nothing, and commits. */
static void test_second_runner(void **state)
{
    (void)state;
    struct agent a;
    agent_init(&a, "ram://runner-second");
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    while (a.range_count == 0)
        wait_for(&a, FRAME_plan_batch);
    hand_out(&a, 2);
    wait_for(&a, FRAME_range_done);
    while (a.done < a.handed)
        wait_for(&a, FRAME_range_done);
    while (a.durable < 16 << 20)
        wait_for(&a, FRAME_log_durable);
    agent_stop(&a);

    a.job.generation = 2;
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, true);
    work_all(&a);
    tell_finish(&a);
    wait_for(&a, FRAME_committed);
    agent_stop(&a);
    verify("ram://runner-second");
    agent_release(&a);
}

/* The second runner finds a log chunk damaged: it says so, streams it again, and commits. */
static void test_damaged_log(void **state)
{
    (void)state;
    struct agent a;
    struct frame f;
    struct repo_scope scope;
    size_t len = 0;
    agent_init(&a, "ram://runner-damaged");
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    work_all(&a);
    while (a.durable < 16 << 20)
        wait_for(&a, FRAME_log_durable);
    agent_stop(&a);
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    OK(storage_open(a.job.storage, &(struct storage_options){.io_timeout_ms = 0}, &st, &err));
    OK(names_scope_set(&scope, "demo1", "main", "null1", &err));
    struct rel_name rel = names_rel_backup_log(ID, NULL_LOG_START, (struct epoch){7, 0x10100});
    uint8_t *bytes = ram_bytes(st, names_full(&scope, rel.s).s, &len);
    assert_non_null(bytes);
    bytes[len / 2] ^= 1;

    a.job.generation = 2;
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, true);
    until(&a, FRAME_warning, &f);
    const char *says = "stored log is damaged and is streamed again: ";
    assert_memory_equal(f.warning.text, says, strlen(says));
    assert_non_null(strstr(f.warning.text, rel.s));
    frame_release(&f);
    tell_finish(&a);
    until(&a, FRAME_committed, &f);
    assert_int_equal(f.committed.totals->log_bytes, 20000000);
    frame_release(&f);
    agent_stop(&a);
    verify("ram://runner-damaged");
    agent_release(&a);
}

static void test_sweep(void **state)
{
    (void)state;
    struct agent a;
    struct frame f;
    struct frame sweep = {.type = FRAME_sweep};
    agent_init(&a, "ram://runner-sweep");
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    work_all(&a);
    agent_stop(&a);

    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell(&a, &sweep);
    until(&a, FRAME_swept, &f);
    assert_true(f.swept.objects >= a.range_count);
    assert_false(f.swept.committed);
    frame_release(&f);
    agent_stop(&a);
    agent_release(&a);
}

static void test_range_fails(void **state)
{
    (void)state;
    struct agent a;
    struct frame f;
    agent_init(&a, "ram://runner-fails");
    a.job.conninfo = "files=10 fail=read_range";
    a.keeps_rest = true; /* several at once fail in any order */
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    wait_for(&a, FRAME_plan_batch);
    hand_out(&a, 1);
    until(&a, FRAME_range_failed, &f);
    assert_int_equal(f.range_failed.range, 0);
    assert_true(f.range_failed.error->retryable);
    assert_string_equal(f.range_failed.error->stage, "range");
    assert_string_equal(f.range_failed.error->text,
                        "range 0: read_range: asked to fail by conninfo");
    frame_release(&f);
    agent_stop(&a);
    agent_release(&a);
}

static void expect_failed(struct agent *a, const char *stage, const char *text)
{
    struct frame f;
    until(a, FRAME_failed, &f);
    assert_string_equal(f.failed.error->stage, stage);
    assert_string_equal(f.failed.error->text, text);
    frame_release(&f);
    pthread_join(a->thread, NULL);
    assert_int_equal(a->args.result, 0);
    closep(&a->fd);
    buf_release(&a->in);
    agent_release(a);
}

/* ---- a worker that is not the lead ---- */

static void now_says(const char *path, const char *words)
{
    OK(fs_write_atomic(path, slice_str(words), 0600, &err));
}

static void lease_all(struct agent *a, uint32_t index)
{
    static const uint8_t top = 0xff;
    struct msg_lease lease = {
        .range = index, .term = a->job.term, .counter = index + 1, .end = slice_of(&top, 1)};
    struct frame f = {.type = FRAME_ranges, .ranges = {.leases = &lease, .leases_count = 1}};
    tell(a, &f);
}

static uint32_t next_need(struct agent *a)
{
    struct frame f;
    until(a, FRAME_need, &f);
    uint32_t count = f.need.count;
    frame_release(&f);
    return count;
}

/* What a worker looks for in the storage. */
static void lead_was_there(const char *storage)
{
    struct agent lead;
    agent_init(&lead, storage);
    agent_start(&lead);
    tell_job(&lead);
    wait_for(&lead, FRAME_ready);
    agent_stop(&lead);
    agent_release(&lead);
}

/* `words` stand in `path`, to be changed by now_says. */
static void begin_worker(struct agent *a, const char *storage, char *conninfo, size_t size,
                         const char *more, char *path, const char *words)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    closep(&fd);
    now_says(path, words);
    lead_was_there(storage);
    agent_init(a, storage);
    (void)snprintf(conninfo, size, "files=10 state=%s %s", path, more);
    a->job.conninfo = conninfo;
    a->job.roles = JOB_ROLE_WORKER;
    agent_start(a);
    tell_job(a);
    wait_for(a, FRAME_ready);
    tell_begin(a, true);
}

static void end_worker(struct agent *a, const char *path)
{
    agent_stop(a);
    agent_release(a);
    assert_int_equal(unlink(path), 0);
}

/* It wants ranges only when its instance is ready; when that takes long, it says why. */
static void test_worker_waits(void **state)
{
    (void)state;
    struct agent a;
    char path[] = "/tmp/runner_test.XXXXXX", conninfo[256];
    begin_worker(&a, "ram://runner-worker-waits", conninfo, sizeof(conninfo), "", path,
                 "fail=ready");
    assert_int_equal(next_need(&a), 0);
    wait_for(&a, FRAME_warning);
    assert_string_equal(a.warning,
                        "node 'n1' waits to take part: ready: asked to fail by conninfo");
    now_says(path, "");
    assert_int_equal(next_need(&a), 6);
    lease_all(&a, 0);
    wait_for(&a, FRAME_range_done);
    end_worker(&a, path);
}

/* What passes fails the range, and the instance is asked anew before the next one. */
static void test_worker_range_fails(void **state)
{
    (void)state;
    struct agent a;
    char path[] = "/tmp/runner_test.XXXXXX", conninfo[256];
    struct frame f;
    begin_worker(&a, "ram://runner-worker-fails", conninfo, sizeof(conninfo), "fail=read_range",
                 path, "seed=1");
    while (next_need(&a) != 6) {
    }
    now_says(path, "fail=ready");
    lease_all(&a, 3);
    while (next_need(&a) != 0) {
    }
    until(&a, FRAME_range_failed, &f);
    assert_int_equal(f.range_failed.range, 3);
    assert_string_equal(f.range_failed.error->text,
                        "range 3: read_range: asked to fail by conninfo");
    frame_release(&f);
    lease_all(&a, 4); /* waits */
    now_says(path, "seed=1");
    until(&a, FRAME_range_failed, &f);
    assert_int_equal(f.range_failed.range, 4);
    frame_release(&f);
    end_worker(&a, path);
}

/* What does not pass ends the runner: another node can read the range. */
static void test_worker_ends(void **state)
{
    (void)state;
    struct agent a;
    char path[] = "/tmp/runner_test.XXXXXX", conninfo[256];
    begin_worker(&a, "ram://runner-worker-ends", conninfo, sizeof(conninfo), "", path, "");
    while (next_need(&a) != 6) {
    }
    now_says(path, "fail=read_conflict");
    lease_all(&a, 0);
    expect_failed(&a, "read", "range 0: read_range: asked to fail by conninfo");
    assert_int_equal(unlink(path), 0);

    char other[] = "/tmp/runner_test.XXXXXX";
    begin_worker(&a, "ram://runner-worker-never", conninfo, sizeof(conninfo), "", other,
                 "fail=ready_conflict");
    expect_failed(&a, "read", "ready: asked to fail by conninfo");
    assert_int_equal(unlink(other), 0);
}

static void test_no_storage(void **state)
{
    (void)state;
    struct agent a;
    agent_init(&a, "xyz://runner");
    agent_start(&a);
    tell_job(&a);
    struct frame f;
    until(&a, FRAME_failed, &f);
    assert_string_equal(f.failed.error->stage, "storage");
    frame_release(&f);
    pthread_join(a.thread, NULL);
    closep(&a.fd);
    buf_release(&a.in);
    agent_release(&a);
}

static void test_bad_compression(void **state)
{
    (void)state;
    struct agent a;
    agent_init(&a, "ram://runner-bad");
    (void)snprintf(a.params.compression, sizeof(a.params.compression), "lz4");
    agent_start(&a);
    tell_job(&a);
    expect_failed(&a, "storage", "compression 'lz4' is not zstd[:1-19] or none");
}

/* The agent is gone: the runner ends, whatever it was doing. */
static void test_agent_gone(void **state)
{
    (void)state;
    struct agent a;
    agent_init(&a, "ram://runner-gone");
    a.job.conninfo = "files=1 big=100000000000";
    a.params.range_bytes = 50000000000;
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    wait_for(&a, FRAME_plan_batch);
    hand_out(&a, 2);
    wait_for(&a, FRAME_progress);
    closep(&a.fd);
    pthread_join(a.thread, NULL);
    assert_int_equal(a.args.result, 0);
    buf_release(&a.in);
    agent_release(&a);
}

static void test_garbage(void **state)
{
    (void)state;
    struct agent a;
    agent_init(&a, "ram://runner-garbage");
    agent_start(&a);
    OK(fd_write_full(a.fd, "\xff\xff\xff\xff garbage", 12, "socket", &err));
    pthread_join(a.thread, NULL);
    assert_true(a.args.result < 0);
    closep(&a.fd);
    agent_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backup),
        cmocka_unit_test(test_second_runner),
        cmocka_unit_test(test_damaged_log),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_range_fails),
        cmocka_unit_test(test_no_storage),
        cmocka_unit_test(test_bad_compression),
        cmocka_unit_test(test_agent_gone),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_worker_waits),
        cmocka_unit_test(test_worker_range_fails),
        cmocka_unit_test(test_worker_ends),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    ram_process_registry_free();
    return r;
}
