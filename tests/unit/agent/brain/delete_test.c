/* An agent deletes a backup: tombstone by a runner, nothing while its grace lasts, then the objects. */
#include "tests/unit/agent/brain/stage.h"

static struct msg_backup_params params;

static struct msg_assignment deletion(uint32_t grace_ms)
{
    params =
        (struct msg_backup_params){.backup_id = "20261121T100000Z-00000001", .grace_ms = grace_ms};
    struct msg_assignment a = {.uid = "00aa",
                               .attempt = 1,
                               .kind = JOB_KIND_DELETE,
                               .roles = JOB_ROLE_LEAD,
                               .step = JOB_STEP_RUN,
                               .boot = "boot1",
                               .cluster = "demo1",
                               .tenant = "main",
                               .name = "b",
                               .storage = "file:///backup",
                               .backup = &params};
    return a;
}

/* A runner is up and was told to sweep with this grace. */
static void sweeping(struct stage *s, uint32_t generation, uint32_t grace_ms)
{
    frame(s, generation, (struct frame){.type = FRAME_ready});
    assert_int_equal(s->sent[FRAME_sweep], 1);
    assert_true(s->told[FRAME_sweep].sweep.remove);
    assert_int_equal(s->told[FRAME_sweep].sweep.grace_ms, grace_ms);
}

static void answered(struct stage *s, uint32_t generation, uint64_t left_ms)
{
    struct frame f = {.type = FRAME_swept, .swept = {.grace_left_ms = left_ms}};
    frame(s, generation, f);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL],
                     1); /* nothing runs while it waits, or is done */
    exited(s, generation);
}

static void grace(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    struct msg_assignment a = deletion(60000);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    sweeping(s, 1, 60000);
    answered(s, 1, 60000);
    uint64_t marked_us = s->mono_us;
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_MARKED);
    assert_int_equal(job->grace_left_ms, 60000);
    tick(s, SEC(60) - (s->mono_us - marked_us) - 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    tick(s, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(reported(s)->stage, JOB_STAGE_STARTING);
    sweeping(s, 2, 60000);
    answered(s, 2, 0);
    assert_int_equal(reported(s)->stage, JOB_STAGE_SWEPT);
    assert_int_equal(reported(s)->grace_left_ms, 0);
    tick(s, SEC(600));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
}

static void another_grace(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    struct msg_assignment a = deletion(600000);
    desire(s, 1, &a);
    sweeping(s, 1, 600000);
    answered(s, 1, 600000);
    desire(s, 2, &a); /* the same again */
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    a = deletion(0);
    desire(s, 3, &a);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    sweeping(s, 2, 0);
    answered(s, 2, 0);
    assert_int_equal(reported(s)->stage, JOB_STAGE_SWEPT);
}

/* A runner that dies in between has its successor; storage knows how far it came. */
static void killed(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    struct msg_assignment a = deletion(60000);
    desire(s, 1, &a);
    sweeping(s, 1, 60000);
    exited(s, 1);
    tick(s, SEC(60));
    sweeping(s, 2, 60000);
    answered(s, 2, 1000);
    tick(s, SEC(1));
    sweeping(s, 3, 60000);
    exited(s, 3);
    tick(s, SEC(60));
    sweeping(s, 4, 60000);
    answered(s, 4, 0);
    assert_int_equal(reported(s)->stage, JOB_STAGE_SWEPT);
}

/* Whoever has it for the second time may: it is bound to no life, and was dropped only to wait. */
static void given_again(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    struct msg_assignment a = deletion(60000);
    desire(s, 1, &a);
    sweeping(s, 1, 60000);
    answered(s, 1, 60000);
    desire(s, 2, NULL);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
    s->job = 2;
    desire(s, 3, &a);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    sweeping(s, 1, 60000);
    answered(s, 1, 0);
    assert_int_equal(reported(s)->stage, JOB_STAGE_SWEPT);
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(grace),
        SCENE(another_grace),
        SCENE(killed),
        SCENE(given_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
