/* agent/log: holds, pauses and stops; refusals and stale writers. */
#include "tests/unit/agent/log/fixture.h"

static void test_hold_name(void **state)
{
    (void)state;
    struct repo_scope scope;
    char a[LOG_HOLD_NAME_MAX + 1], b[LOG_HOLD_NAME_MAX + 1];
    OK(names_scope_set(&scope, "demo1", "main", "null1", &g_err));
    log_hold_name(&scope, "task1", a);
    assert_string_equal(a, "tidemark_87044b4956569f19");
    log_hold_name(&scope, "task2", b);
    assert_string_not_equal(a, b);
}

/* Lost, but all that is wanted is still there: no gap; the hold is made anew. */
static void test_hold_lost(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    rig_source(&g, "log=200000 lost=1");
    RIG_UNTIL(&g, g.status.hold_lost && g.has_error);
    assert_string_equal(g.error.stage, "hold");
    assert_non_null(strstr(g.error_text, "node n1: the source has released or recycled the log"));
    rig_source(&g, "log=300000");
    RIG_UNTIL(&g, !g.status.hold_lost && g.status.durable == S + 300000 && !g.has_error);
    rig_stop(&g);
    assert_int_equal(rig_runs(&g), 1);
    rig_end(&g);
}

/* Dropped by somebody: while it runs the hold is made anew; while paused that is told, not hidden. */
static void test_hold_dropped(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    rig_source(&g, "log=200000 fail=hold_gone");
    RIG_UNTIL(&g, g.status.hold_lost && g.has_error && g.running);
    assert_non_null(strstr(g.error_text, "was dropped by somebody"));
    rig_source(&g, "log=300000");
    RIG_UNTIL(&g, !g.status.hold_lost && g.status.durable == S + 300000 && !g.has_error);
    rig_pause(&g);
    rig_stop(&g);
    char name[LOG_HOLD_NAME_MAX + 1], path[256];
    log_hold_name(&g.options.scope, "task1", name);
    (void)snprintf(path, sizeof(path), "%s.hold.%s", g.state, name);
    assert_int_equal(unlink(path), 0);
    rig_start(&g, 2); /* it is paused still */
    rig_want(&g, JOB_STEP_PAUSE);
    RIG_UNTIL(&g, g.status.hold_lost && g.status.needs_full && g.has_error);
    assert_int_equal(g.error.code, TM_E_NOT_FOUND);
    assert_false(hold_file(&g));
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.durable == S + 300000 && !g.status.hold_lost && !g.has_error);
    assert_true(hold_file(&g));
    rig_stop(&g);
    assert_int_equal(rig_runs(&g), 1); /* all was still there */
    rig_end(&g);
}

static void test_pause_resume_stop(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    rig_pause(&g);
    rig_source(&g, "log=300000");
    RIG_UNTIL(&g, g.status.flushed == S + 300000);
    assert_int_equal(g.status.durable, S + 200000);
    assert_true(hold_file(&g));
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.durable == S + 300000 && g.stage == JOB_STAGE_WORKING);
    RIG_UNTIL(&g, g.status.checkpoint_us > 0);
    rig_source(&g, "log=400000"); /* the last bytes go with the stop */
    RIG_UNTIL(&g, g.status.received == S + 400000);
    rig_want(&g, JOB_STEP_STOP);
    RIG_UNTIL(&g, g.stage == JOB_STAGE_STOPPED);
    assert_int_equal(g.status.durable, S + 400000);
    assert_false(hold_file(&g));
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(rig_check(&g, &list.items[0], g.conninfo).to, S + 400000);
    /* the last moment that was told can be proven from storage alone */
    struct object_scratch *scratches[2] = {NULL, NULL};
    struct log_head head;
    OK(object_scratch_new(&scratches[0], &g_err));
    OK(object_scratch_new(&scratches[1], &g_err));
    OK(log_head_read(scratches, g.storage, &g.options.scope, &list.items[0], &head, &g_err));
    assert_true(g.status.checkpoint_us > 0);
    assert_int_equal(head.mark_us, g.status.checkpoint_us);
    object_scratch_free(scratches[0]);
    object_scratch_free(scratches[1]);
    log_lineages_release(&list);
    rig_stop(&g);
    rig_end(&g);
}

static void test_stop_at_once(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    rig_start(&g, 1);
    rig_want(&g, JOB_STEP_STOP);
    RIG_UNTIL(&g, g.stage == JOB_STAGE_STOPPED);
    assert_false(hold_file(&g));
    assert_int_equal(ram_object_count(g.storage), 0);
    rig_stop(&g);
    rig_end(&g);
}

/* Whose hold is gone already works for what is stored alone: the hold of its name is another task's. */
static void test_stop_without_hold(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    rig_stop(&g);
    assert_true(hold_file(&g));
    g.params.hold_gone = true;
    g.params.truncate_gen = 1;
    g.params.truncate_until = "2099-01-01T00:00:00Z";
    g.params.truncate_force = true;
    rig_start(&g, 2);
    rig_want(&g, JOB_STEP_STOP);
    RIG_UNTIL(&g, g.stage == JOB_STAGE_STOPPED && g.status.truncate_gen == 1);
    assert_false(g.has_error);
    assert_true(hold_file(&g));
    /* the word counts for a stop alone: who runs has what it finds */
    g.params.truncate_gen = 0;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.stage == JOB_STAGE_WORKING && g.status.hold_at != 0);
    g.params.hold_gone = false;
    rig_want(&g, JOB_STEP_STOP);
    RIG_UNTIL(&g, g.stage == JOB_STAGE_STOPPED);
    assert_false(hold_file(&g));
    rig_stop(&g);
    rig_end(&g);
}

/* Paused for too long: told, or released; after a release log may be missing, and that is said. */
static void test_pause_bounds(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    g.params.hold_limit = 50000;
    rig_pause(&g);
    RIG_UNTIL(&g, !g.has_error);
    rig_source(&g, "log=400000");
    RIG_UNTIL(&g, g.has_error);
    assert_string_equal(g.error_text,
                        "node n1: the source keeps 200000 bytes of log for it, the limit is 50000");
    assert_string_equal(g.error.stage, "hold");
    assert_true(hold_file(&g));
    g.params.hold_limit = 0;
    g.params.release = true;
    g.params.gcttl_s = 60;
    g.params.paused_us = clock_real_us() - 61 * USEC_PER_SEC;
    rig_want(&g, JOB_STEP_PAUSE);
    RIG_UNTIL(&g, g.status.hold_lost && g.has_error && g.error.code == TM_E_LIMIT &&
                      strstr(g.error_text, "gcttl"));
    assert_string_equal(g.error_text,
                        "node n1: the log backup is paused for more than 1m00s (gcttl): the hold "
                        "was released, log from 1248576 on may be lost: take a new full backup "
                        "after resuming");
    assert_true(g.status.needs_full);
    assert_false(hold_file(&g));
    rig_source(&g, "log=900000 cut=1800000");
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.durable == S + 900000 && !g.status.hold_lost && !g.has_error);
    assert_true(g.status.needs_full);
    rig_stop(&g);
    assert_int_equal(rig_runs(&g), 2);
    rig_end(&g);
}

/* Running, but the storage is away for so long that the hold is beyond its limit: both are told. Nothing
 * is released, whatever the policy says of a pause. */
static void test_limit_while_running(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    g.params.hold_limit = 5000000;
    g.params.release = true;
    run_to(&g, 1, S + 200000);
    ram_set_faults(g.storage, &(struct ram_faults){.fail_per_mille = 1000});
    rig_source(&g, "log=4200000");
    RIG_UNTIL(&g, g.has_error && strcmp(g.error.stage, "upload") == 0);
    RIG_UNTIL(&g, g.status.hold_bytes == 4000000);
    assert_string_equal(g.warning, "");
    rig_source(&g, "log=6200000");
    RIG_UNTIL(&g, g.warning[0] != '\0');
    assert_string_equal(g.warning,
                        "the source keeps 6000000 bytes of log for it, the limit is 5000000");
    assert_string_equal(g.error.stage, "upload"); /* why that is so */
    assert_int_equal(g.stage, JOB_STAGE_WORKING);
    assert_false(g.status.hold_lost);
    assert_true(hold_file(&g));
    ram_set_faults(g.storage, &(struct ram_faults){.seed = 0});
    RIG_UNTIL(&g, g.status.durable == S + 6200000 && !g.has_error && g.warning[0] == '\0');
    rig_stop(&g);
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(rig_check(&g, &list.items[0], g.conninfo).runs, 1);
    log_lineages_release(&list);
    rig_end(&g);
}

/* A standby's hold follows what the writer has stored, and says when it keeps less. */
static void test_hold_only(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000 role=standby");
    g.options.hold_only = true;
    rig_start(&g, 1);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.stage == JOB_STAGE_WORKING && g.status.hold_at == S + 200000);
    assert_false(g.status.at_risk);
    g.params.checkpoint = S + 100000;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.at_risk);
    rig_source(&g, "log=400000 role=standby");
    g.params.checkpoint = S + 300000;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.hold_at == S + 299999 && !g.status.at_risk);
    rig_want(&g, JOB_STEP_STOP);
    RIG_UNTIL(&g, g.stage == JOB_STAGE_STOPPED);
    assert_false(hold_file(&g));
    assert_int_equal(ram_object_count(g.storage), 0);
    rig_stop(&g);
    rig_end(&g);
}

/* ---- refusals and conflicts ---- */

static void ends_with(const char *words, enum tm_err_code code, const char *text)
{
    struct rig g;
    RIG_BEGIN(&g, words);
    rig_start(&g, 1);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, !g.running);
    rig_join(&g);
    assert_int_equal(g.result, -(int)code);
    assert_string_equal(g.result_err.msg, text);
    rig_end(&g);
}

static void test_refusals(void **state)
{
    (void)state;
    ends_with("log=1000 fail=hold_taken", TM_E_CONFLICT,
              "hold 'tidemark_87044b4956569f19' is somebody else's");
    ends_with("log=1000 identity=null2", TM_E_CONFLICT,
              "instance 'main': the source is null2 now, its log is stored as null1");
    struct rig g;
    RIG_BEGIN(&g, "log=1000 role=standby");
    rig_start(&g, 1);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.has_error);
    assert_string_equal(g.error_text,
                        "node n1: instance 'main' is a standby: its log is not backed up here");
    g.params.from_standby = true;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.durable == S + 1000 && !g.has_error);
    /* the time that is proven is that of the last commit it has, not its own clock's */
    RIG_UNTIL(&g, g.status.checkpoint_us == NULL_LOG_TIME_US + (int64_t)S);
    assert_true(g.status.source_us > NULL_LOG_TIME_US + (int64_t)S + USEC_PER_SEC);
    rig_source(&g, "log=10000 role=standby");
    RIG_UNTIL(&g, g.status.checkpoint_us == NULL_LOG_TIME_US + (int64_t)S + 8192);
    rig_stop(&g);
    rig_end(&g);
}

/* A newer writer begins: this one is stale, ends, and what it stores then does not count. */
static void test_stale(void **state)
{
    (void)state;
    struct rig g, newer;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    RIG_BEGIN(&newer, "log=300000");
    run_to(&newer, 2, S + 300000);
    RIG_UNTIL(&g, !g.running);
    rig_join(&g);
    assert_int_equal(g.result, -TM_E_CONFLICT);
    assert_string_equal(g.result_err.msg,
                        "a newer writer (7.131072) has taken over the log, this one is 7.65537");
    rig_stop(&newer);
    struct log_lineages list = rig_lineages(&newer);
    assert_int_equal(rig_check(&newer, &list.items[0], newer.conninfo).runs, 1);
    log_lineages_release(&list);
    storage_free(newer.storage);
    OK(fs_remove_tree(newer.dir, true, &g_err));
    rig_end(&g);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hold_name),
        cmocka_unit_test(test_hold_lost),
        cmocka_unit_test(test_hold_dropped),
        cmocka_unit_test(test_pause_resume_stop),
        cmocka_unit_test(test_stop_at_once),
        cmocka_unit_test(test_pause_bounds),
        cmocka_unit_test(test_stop_without_hold),
        cmocka_unit_test(test_hold_only),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_limit_while_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
