/* agent/runner: a log job through the socket, with this test as the agent. */
#include "tests/unit/agent/runner/stage.h"

/* The runner has its log job. */
static void log_begin(struct agent *a, const char *storage, const char *conninfo, uint32_t roles)
{
    agent_init(a, storage);
    a->log_params = (struct msg_log_params){.flush_ms = 50, .compression = "zstd:1"};
    a->job.kind = JOB_KIND_LOG;
    a->job.roles = roles;
    a->job.generation = 1024;
    memcpy(a->job.name, "task1", 6);
    a->job.conninfo = conninfo;
    a->job.backup = NULL;
    a->job.log = &a->log_params;
    agent_start(a);
    tell_job(a);
}

static void log_end(struct agent *a)
{
    agent_stop(a);
    assert_int_equal(a->args.result, 0);
    ram_process_registry_free();
}

/* The next frame, which is of this type. */
static void expect(struct agent *a, enum frame_type type, struct frame *ret)
{
    int r = frame_recv(a->fd, &a->in, ret, &err);
    if (r <= 0)
        fail_msg("no %s: %s", frame_name(type), r < 0 ? err.msg : "end of file");
    if (ret->type != type)
        fail_msg("%s came: %s", frame_name(ret->type),
                 ret->type == FRAME_failed ? ret->failed.error->text : "not expected");
}

static void want(struct agent *a, enum job_step step)
{
    struct frame f = {.type = FRAME_log_want, .log_want = {.step = step, .log = &a->log_params}};
    tell(a, &f);
}

static void until_stage(struct agent *a, enum job_stage stage, uint64_t durable)
{
    for (int i = 0; i < 100; i++) {
        struct frame f;
        expect(a, FRAME_log_status, &f);
        bool there = f.log_status.stage == (uint32_t)stage && f.log_status.log->durable == durable;
        frame_release(&f);
        if (there)
            return;
    }
    fail_msg("stage %d is not reached", (int)stage);
}

static void test_log_job(void **state)
{
    (void)state;
    struct agent a;
    struct frame f;
    log_begin(&a, "ram://runner-log", "log=200000", JOB_ROLE_LEAD);
    expect(&a, FRAME_ready, &f);
    frame_release(&f);
    want(&a, JOB_STEP_RUN);
    until_stage(&a, JOB_STAGE_WORKING, NULL_LOG_START + 200000);
    want(&a, JOB_STEP_PAUSE);
    until_stage(&a, JOB_STAGE_PAUSED, NULL_LOG_START + 200000);
    want(&a, JOB_STEP_RUN);
    until_stage(&a, JOB_STAGE_WORKING, NULL_LOG_START + 200000);
    want(&a, JOB_STEP_STOP);
    until_stage(&a, JOB_STAGE_STOPPED, NULL_LOG_START + 200000);
    log_end(&a);
}

static void until_answer(struct agent *a, struct frame *ret)
{
    int r;
    while ((r = frame_recv(a->fd, &a->in, ret, &err)) == 1 && ret->type == FRAME_log_status)
        frame_release(ret);
    if (r != 1 || ret->type != FRAME_log_answer)
        fail_msg("no answer: %s", r < 0 ? err.msg : frame_name(ret->type));
}

static void test_question(void **state)
{
    (void)state;
    struct agent a;
    struct frame f;
    struct msg_log_query query = {.id = 9, .kind = LOG_QUERY_SEARCH, .limit = 2};
    log_begin(&a, "ram://runner-question", "log=200000", JOB_ROLE_LEAD);
    expect(&a, FRAME_ready, &f);
    frame_release(&f);
    want(&a, JOB_STEP_RUN);
    until_stage(&a, JOB_STAGE_WORKING, NULL_LOG_START + 200000);
    a.log_params.query = &query;
    want(&a, JOB_STEP_RUN);
    until_answer(&a, &f);
    assert_int_equal(f.log_answer.answer->id, 9);
    assert_null(f.log_answer.answer->error);
    assert_int_equal(f.log_answer.answer->events_count, 1);
    assert_false(f.log_answer.answer->more);
    frame_release(&f);
    log_end(&a);
}

static void test_hold_job(void **state)
{
    (void)state;
    struct agent a;
    struct frame f;
    log_begin(&a, "ram://runner-hold", "log=200000 role=standby", JOB_ROLE_HOLD);
    expect(&a, FRAME_ready, &f);
    frame_release(&f);
    want(&a, JOB_STEP_RUN);
    until_stage(&a, JOB_STAGE_WORKING, 0);
    log_end(&a);
}

static void until_failed(struct agent *a, const char *stage, const char *text)
{
    struct frame f;
    int r;
    while ((r = frame_recv(a->fd, &a->in, &f, &err)) == 1 && f.type != FRAME_failed)
        frame_release(&f);
    if (r != 1)
        fail_msg("no failed: %s", r < 0 ? err.msg : "end of file");
    assert_string_equal(f.failed.error->stage, stage);
    assert_string_equal(f.failed.error->text, text);
    frame_release(&f);
}

static void test_failures(void **state)
{
    (void)state;
    struct agent a;
    log_begin(&a, "ram://runner-fail", "log=1000 identity=null2", JOB_ROLE_LEAD);
    want(&a, JOB_STEP_RUN);
    until_failed(&a, "log", "instance 'main': the source is null2 now, its log is stored as null1");
    log_end(&a);
    log_begin(&a, "ram://runner-fail", "log=1000", JOB_ROLE_LEAD);
    want(&a, JOB_STEP_FINISH);
    until_failed(&a, "log", "step 3 means nothing to a log task");
    log_end(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_job),
        cmocka_unit_test(test_question),
        cmocka_unit_test(test_hold_job),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
