/* agent/runner: a backup beside a log task that stores the same log. */
#include "tests/unit/agent/backup/task_log.h" /* before the names of the stage */

#include "tests/unit/agent/runner/stage.h"

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
    assert_int_equal(a->args.result, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_log),
        cmocka_unit_test(test_unshared_log),
        cmocka_unit_test(test_kept_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
