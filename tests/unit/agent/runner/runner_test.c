/* agent/runner: a whole job through the socket, with this test as the agent. */
#include "proto/repo/verify.h"
#include "tests/unit/agent/backup/task_log.h"
#include "tests/unit/agent/runner/runner_stage.h"

#define ID       "20261121T100000Z-0000abcd"
#define CONNINFO "files=60 bytes=20000 big=2000000 log=20000000 corrupt=1"
#define RANGES   64

/* What an agent keeps of a job. */
struct agent {
    int fd;
    struct buf in;
    struct frame_job job;
    struct msg_backup_params params;
    struct engine_session *session;
    struct buf begin, end;
    struct engine_position from, at;
    int64_t commit_us;
    struct frame planned[8]; /* batches, kept for their keys */
    size_t batches;
    const struct msg_plan_range *ranges[RANGES];
    uint32_t range_count;
    struct buf blobs[RANGES];
    uint32_t done;
    uint32_t handed;
    uint64_t durable;
    char warning[256];
    struct frame_progress progress;
    char failed[256];
    struct runner_thread runner;
};

static void agent_start(struct agent *a)
{
    a->fd = runner_thread_start(&a->runner);
}

static void agent_stop(struct agent *a)
{
    struct frame f = {.type = FRAME_stop};
    struct tm_err ignored;
    if (a->fd >= 0 && frame_send(a->fd, &f, &ignored) < 0)
        ignored.code = TM_E_OK; /* it ended by itself */
    pthread_join(a->runner.thread, NULL);
    closep(&a->fd);
    buf_release(&a->in);
    a->in = BUF_INIT;
}

static void agent_release(struct agent *a)
{
    for (size_t i = 0; i < a->batches; i++)
        frame_release(&a->planned[i]);
    for (uint32_t i = 0; i < RANGES; i++)
        buf_release(&a->blobs[i]);
    if (a->session)
        null_engine.session_close(a->session);
    buf_release(&a->begin);
    buf_release(&a->end);
}

static void agent_init(struct agent *a, const char *storage)
{
    *a = (struct agent){.fd = -1,
                        .params = {.backup_id = ID,
                                   .compression = "zstd:1",
                                   .concurrency = 3,
                                   .range_bytes = 200000},
                        .job = {.kind = JOB_KIND_BACKUP,
                                .uid = "job1",
                                .attempt = 1,
                                .roles = JOB_ROLE_LEAD | JOB_ROLE_WORKER,
                                .generation = 1,
                                .term = 7,
                                .cluster = "demo1",
                                .node = "n1",
                                .tenant = "main",
                                .engine = "null",
                                .identity = "null1",
                                .version = "1",
                                .data_dir = "/",
                                .conninfo = CONNINFO,
                                .storage = storage}};
    a->job.backup = &a->params;
}

static void tell(struct agent *a, const struct frame *f)
{
    OK(frame_send(a->fd, f, &err));
}

static void tell_job(struct agent *a)
{
    struct frame f = {.type = FRAME_job, .job = a->job};
    tell(a, &f);
}

static void take_plan(struct agent *a, struct frame *f)
{
    assert_true(a->batches < TM_ARRAY_LEN(a->planned));
    assert_int_equal(f->plan_batch.first, a->range_count);
    a->planned[a->batches] = *f;
    f->arena = (struct codec_arena){0};
    const struct frame_plan_batch *batch = &a->planned[a->batches++].plan_batch;
    for (size_t i = 0; i < batch->ranges_count; i++) {
        assert_true(a->range_count < RANGES);
        a->ranges[a->range_count++] = &batch->ranges[i];
    }
}

static void hand_out(struct agent *a, uint32_t count)
{
    struct msg_lease leases[8];
    struct frame f = {.type = FRAME_ranges, .ranges = {.leases = leases}};
    while (count-- > 0 && a->handed < a->range_count && f.ranges.leases_count < 8) {
        const struct msg_plan_range *range = a->ranges[a->handed];
        leases[f.ranges.leases_count++] = (struct msg_lease){.range = a->handed,
                                                             .term = a->job.term,
                                                             .counter = a->handed + 1,
                                                             .start = range->start,
                                                             .end = range->end};
        a->handed++;
    }
    if (f.ranges.leases_count > 0)
        tell(a, &f);
}

static void answer_results(struct agent *a, uint32_t from)
{
    struct msg_result results[5]; /* small pages: several are needed */
    struct frame f = {.type = FRAME_results, .results = {.from = from, .results = results}};
    while (from + f.results.results_count < a->range_count && f.results.results_count < 5) {
        uint32_t i = from + (uint32_t)f.results.results_count++;
        results[i - from] = (struct msg_result){
            .range = i, .term = a->job.term, .counter = i + 1, .blob = buf_slice(&a->blobs[i])};
    }
    tell(a, &f);
}

static void take_done(struct agent *a, const struct frame_range_done *done)
{
    assert_true(done->range < RANGES);
    assert_int_equal(a->blobs[done->range].len, 0);
    OK(buf_append_slice(&a->blobs[done->range], done->blob, &err));
    if (done->counters->problem)
        assert_string_equal(done->counters->problem,
                            "d00000/f00000000, block 0: page checksum does not match");
    a->done++;
}

/* Reads frames until one of this type came; deals with all others as an agent would. */
static void until(struct agent *a, enum frame_type type, struct frame *ret)
{
    for (;;) {
        struct frame f;
        int r = frame_recv(a->fd, &a->in, &f, &err);
        if (r <= 0)
            fail_msg("no %s: %s", frame_name(type), r < 0 ? err.msg : "end of file");
        if (f.type == FRAME_plan_batch)
            take_plan(a, &f);
        else if (f.type == FRAME_range_done)
            take_done(a, &f.range_done);
        else if (f.type == FRAME_log_durable)
            a->durable = f.log_durable.byte;
        else if (f.type == FRAME_warning)
            (void)snprintf(a->warning, sizeof(a->warning), "%s", f.warning.text);
        else if (f.type == FRAME_progress)
            a->progress = f.progress;
        else if (f.type == FRAME_want_results)
            answer_results(a, f.want_results.from);
        else if (f.type == FRAME_failed && type != FRAME_failed)
            fail_msg("failed at %s: %s", f.failed.error->stage, f.failed.error->text);
        if (f.type == FRAME_need && a->range_count > 0)
            hand_out(a, f.need.count);
        if (f.type == type) {
            *ret = f;
            return;
        }
        frame_release(&f);
    }
}

static void wait_for(struct agent *a, enum frame_type type)
{
    struct frame f;
    until(a, type, &f);
    frame_release(&f);
}

static void tell_begin(struct agent *a, bool plan_known)
{
    struct engine_instance instance = {
        .tenant = "main", .data_dir = "/", .conninfo = a->job.conninfo};
    if (!a->session) {
        OK(null_engine.session_open(&instance, "t", &a->session, &err));
        OK(null_engine.snapshot_begin(a->session, true, &a->begin, &a->from, &err));
    }
    struct frame f = {.type = FRAME_begin,
                      .begin = {.begin = buf_slice(&a->begin),
                                .replay_from = slice_of(a->from.bytes, a->from.len),
                                .lineage_label = "1",
                                .plan_known = plan_known,
                                .plan_ranges = plan_known ? a->range_count : 0}};
    tell(a, &f);
}

static void tell_finish(struct agent *a)
{
    if (a->end.len == 0)
        OK(null_engine.snapshot_end(a->session, &a->end, &a->at, &a->commit_us, &err));
    struct frame f = {.type = FRAME_finish,
                      .finish = {.end = buf_slice(&a->end),
                                 .consistent_at = slice_of(a->at.bytes, a->at.len),
                                 .consistent_at_text = "end",
                                 .commit_us = a->commit_us,
                                 .plan_ranges = a->range_count,
                                 .term = a->job.term}};
    tell(a, &f);
}

static void verify(const char *url)
{
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    struct object_scratch *scratches[3];
    struct repo_scope scope;
    struct verify_totals totals;
    OK(storage_open(url, &(struct storage_options){.io_timeout_ms = 0}, &st, &err));
    OK(names_scope_set(&scope, "demo1", "main", "null1", &err));
    for (size_t i = 0; i < 3; i++)
        OK(object_scratch_new(&scratches[i], &err));
    OK(verify_backup(scratches, st, &scope, ID, NULL, NULL, &totals, &err));
    for (size_t i = 0; i < 3; i++)
        object_scratch_free(scratches[i]);
}

static void work_all(struct agent *a)
{
    while (a->range_count == 0)
        wait_for(a, FRAME_plan_batch);
    while (a->done < a->range_count) {
        hand_out(a, 2);
        wait_for(a, FRAME_range_done);
    }
}

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
    assert_int_equal(a.runner.result, 0);
    verify("ram://runner-backup");
    agent_release(&a);
}

#define LOG_END ((uint64_t)NULL_LOG_START + 20000000)
#define LOG_CUT ((uint64_t)NULL_LOG_START + 9000000)

static size_t own_log_count(const char *url)
{
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    struct storage_iter *it = NULL;
    struct storage_object object;
    size_t n = 0;
    OK(storage_open(url, &(struct storage_options){.io_timeout_ms = 0}, &st, &err));
    OK(storage_list(st, "demo1/main/null1/backup/" ID "/log/", NULL, &it, &err));
    while (storage_iter_next(it, &object, &err) == 1)
        n++;
    storage_iter_free(it);
    return n;
}

/* A backup beside a log task that has stored its log up to LOG_CUT, and after the snapshot's end from
 * `second` on. */
static void share(struct agent *a, const char *url, uint64_t second, uint64_t *ret_log_bytes)
{
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    struct frame f;
    agent_init(a, url);
    a->params.share_log = true;
    OK(storage_open(url, &(struct storage_options){.create_root = true}, &st, &err));
    OK(task_lineage(st, 'a', NULL_LOG_START, 1, &err));
    OK(task_chunk(st, CONNINFO, 'a', NULL_LOG_START, LOG_CUT, &err));
    agent_start(a);
    tell_job(a);
    wait_for(a, FRAME_ready);
    tell_begin(a, false);
    work_all(a);
    assert_int_equal(a->durable, 0); /* the source keeps all of it */
    tell_finish(a);
    (void)usleep(500000);
    OK(task_chunk(st, CONNINFO, 'a', second, LOG_END, &err));
    until(a, FRAME_committed, &f);
    *ret_log_bytes = f.committed.totals->log_bytes;
    frame_release(&f);
    agent_stop(a);
    assert_int_equal(a->runner.result, 0);
    verify(url);
}

static void test_shared_log(void **state)
{
    (void)state;
    struct agent a;
    uint64_t log_bytes;
    share(&a, "ram://runner-share", LOG_CUT, &log_bytes);
    assert_int_equal(log_bytes, 20000000);
    assert_int_equal(own_log_count("ram://runner-share"), 0);
    assert_string_equal(a.warning, "");
    assert_int_equal(a.durable, 0);
    agent_release(&a);
}

static void test_unshared_log(void **state)
{
    (void)state;
    struct agent a;
    uint64_t log_bytes;
    share(&a, "ram://runner-unshared", LOG_CUT + 1, &log_bytes);
    assert_int_equal(log_bytes, 20000000);
    assert_int_equal(own_log_count("ram://runner-unshared"), 2);
    assert_string_equal(a.warning,
                        "the backup stores its own log: the log backup has a hole at 10048576");
    assert_int_equal(a.durable, LOG_END);
    agent_release(&a);
}

/* A hold that would be broken is let go on at once: the log is streamed while ranges are read. */
static void test_kept_too_long(void **state)
{
    (void)state;
    struct agent a;
    agent_init(&a, "ram://runner-kept");
    a.params.share_log = true;
    a.job.conninfo = CONNINFO " hold=30000000"; /* half of it is less than the log */
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    wait_for(&a, FRAME_warning);
    assert_string_equal(a.warning, "the backup stores its own log: the source would keep too much "
                                   "log until it could be shared");
    while (a.durable < 16 << 20)
        wait_for(&a, FRAME_log_durable);
    work_all(&a);
    tell_finish(&a);
    wait_for(&a, FRAME_committed);
    agent_stop(&a);
    assert_int_equal(own_log_count("ram://runner-kept"), 2);
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
    struct rel_name rel = names_rel_backup_log(ID, NULL_LOG_START, (struct epoch){7, 1});
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
    pthread_join(a->runner.thread, NULL);
    assert_int_equal(a->runner.result, 0);
    closep(&a->fd);
    buf_release(&a->in);
    agent_release(a);
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
    pthread_join(a.runner.thread, NULL);
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
    pthread_join(a.runner.thread, NULL);
    assert_int_equal(a.runner.result, 0);
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
    pthread_join(a.runner.thread, NULL);
    assert_true(a.runner.result < 0);
    closep(&a.fd);
    agent_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backup),        cmocka_unit_test(test_second_runner),
        cmocka_unit_test(test_shared_log),    cmocka_unit_test(test_unshared_log),
        cmocka_unit_test(test_kept_too_long), cmocka_unit_test(test_damaged_log),
        cmocka_unit_test(test_sweep),         cmocka_unit_test(test_range_fails),
        cmocka_unit_test(test_no_storage),    cmocka_unit_test(test_bad_compression),
        cmocka_unit_test(test_agent_gone),    cmocka_unit_test(test_garbage),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    ram_process_registry_free();
    return r;
}
