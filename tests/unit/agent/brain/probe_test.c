/* Storage tests in the agent's brain: begun, answered, hung, given up. */
#include "tests/unit/agent/brain/stage.h"

static struct msg_probe probe_of(uint64_t id)
{
    return (struct msg_probe){
        .id = id, .storage = "file:///backup", .timeout_ms = 10000, .nodes = 2};
}

static void want(struct stage *s, uint64_t revision, struct msg_probe *probes, size_t count)
{
    struct message m = {.type = MESSAGE_desired};
    m.desired.revision = revision;
    m.desired.lease_ms = 10000;
    m.desired.probes = probes;
    m.desired.probes_count = count;
    s->desired = true;
    s->mono_us += SEC(1);
    answer(s, MESSAGE_poll, &m, 4);
}

/* The answers of a heartbeat that is made now. */
static const struct msg_heartbeat *beaten(struct stage *s)
{
    struct message nothing_new = {.type = MESSAGE_desired};
    answer(s, MESSAGE_heartbeat, &nothing_new, s->term);
    tick(s, SEC(2));
    return &s->asked[MESSAGE_heartbeat].heartbeat;
}

static struct stage *connected(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    tick(s, SEC(1));
    return s;
}

static void probed(struct stage *s, struct msg_probe_step *steps, size_t count, bool done)
{
    struct msg_probe_answer told = {.id = 7, .steps = steps, .steps_count = count, .put_us = 5};
    frame(s, 1, (struct frame){.type = FRAME_probed, .probed = {.done = done, .answer = &told}});
}

static void a_test_is_done(void **state)
{
    struct stage *s = connected(state);
    struct msg_probe probe = probe_of(7);
    struct msg_pair pair = {.name = "access_key", .value = slice_str("k")};
    struct msg_secret secret = {.name = "keys", .pairs = &pair, .pairs_count = 1};
    probe.secret = &secret;
    want(s, 2, &probe, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    const struct frame_job *job = &s->told[FRAME_job].job;
    assert_int_equal(job->kind, JOB_KIND_PROBE);
    assert_string_equal(job->uid, "probe-0000000000000007");
    assert_string_equal(job->node, "db-a");
    assert_string_equal(job->storage, "file:///backup");
    assert_string_equal(job->data_dir, "/data");
    assert_string_equal(job->secret->name, "keys");
    assert_int_equal(job->secret->pairs_count, 1);
    assert_int_equal(job->probe->id, 7);
    assert_int_equal(job->probe->nodes, 2);
    assert_null(job->probe->secret);
    want(s, 3, &probe, 1); /* the same, said again */
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_int_equal(beaten(s)->probes_count, 0);

    struct msg_probe_step ok = {.step = PROBE_OPEN, .outcome = PROBE_OK};
    probed(s, &ok, 1, false);
    assert_int_equal(beaten(s)->probes_count, 0);
    probed(s, &ok, 1, true);
    assert_int_equal(s->sent[FRAME_stop], 1);
    assert_int_equal(beaten(s)->probes_count, 1);
    const struct msg_probe_answer *told = &s->asked[MESSAGE_heartbeat].heartbeat.probes[0];
    assert_int_equal(told->id, 7);
    assert_int_equal(told->put_us, 5);
    assert_null(told->error);
    exited(s, 1); /* in good order: nothing is said of it */
    assert_int_equal(beaten(s)->probes_count, 1);
    assert_null(s->asked[MESSAGE_heartbeat].heartbeat.probes[0].error);
    want(s, 4, NULL, 0);
    assert_int_equal(beaten(s)->probes_count, 0);
}

static void one_that_answers_and_stays(void **state)
{
    struct stage *s = connected(state);
    struct msg_probe probe = probe_of(7);
    want(s, 2, &probe, 1);
    probed(s, NULL, 0, true);
    tick(s, SEC(2));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 0);
    tick(s, SEC(1));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    tick(s, SEC(1));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 0);
}

static void one_that_hangs(void **state)
{
    struct stage *s = connected(state);
    struct msg_probe probe = probe_of(7);
    struct msg_probe_step steps[] = {{.step = PROBE_OPEN, .outcome = PROBE_OK},
                                     {.step = PROBE_LIST, .outcome = PROBE_RUNNING}};
    want(s, 2, &probe, 1);
    probed(s, steps, 2, false);
    tick(s, SEC(9));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 0);
    tick(s, SEC(1));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    const struct msg_heartbeat *told = beaten(s);
    assert_int_equal(told->probes_count, 1);
    assert_int_equal(told->probes[0].error->code, TM_E_TIMEOUT);
    assert_string_equal(told->probes[0].error->text,
                        "node 'db-a': storage 'file:///backup' hangs: listing it was not over "
                        "after 10 s");
    assert_int_equal(told->probes[0].steps_count, 2);
    probed(s, steps, 1, true); /* too late */
    assert_int_equal(beaten(s)->probes[0].error->code, TM_E_TIMEOUT);
}

static void one_that_dies(void **state)
{
    struct stage *s = connected(state);
    struct msg_probe probe = probe_of(7);
    want(s, 2, &probe, 1);
    exited(s, 1);
    const struct msg_heartbeat *told = beaten(s);
    assert_int_equal(told->probes_count, 1);
    assert_string_equal(told->probes[0].error->text, "node 'db-a': the runner of the test was "
                                                     "killed by signal 9 (out of memory?)");
}

static void one_that_cannot_begin(void **state)
{
    struct stage *s = connected(state);
    struct msg_error none = {.code = TM_E_NOT_FOUND, .text = "there is no secret 'keys'"};
    struct msg_secret secret = {.name = "keys", .error = &none};
    struct msg_probe probe = probe_of(7);
    probe.secret = &secret;
    want(s, 2, &probe, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_string_equal(beaten(s)->probes[0].error->text, "there is no secret 'keys'");

    struct msg_error failed = {.code = TM_E_INVALID, .text = "job: what?"};
    struct msg_probe two[] = {probe, probe_of(8)};
    want(s, 3, two, 2);
    s->job = 2;
    frame(s, 1, (struct frame){.type = FRAME_failed, .failed = {.error = &failed}});
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    assert_int_equal(beaten(s)->probes_count, 2);
    assert_string_equal(s->asked[MESSAGE_heartbeat].heartbeat.probes[1].error->text, "job: what?");
}

/* Processes that cannot be killed are awaited by nobody, but no more than so many are made. */
static void some_that_cannot_be_killed(void **state)
{
    struct stage *s = connected(state);
    uint64_t revision = 2;
    for (uint64_t id = 1; id <= AGENT_BRAIN_PROBES_HUNG; id++) {
        struct msg_probe probe = probe_of(id);
        want(s, revision++, &probe, 1);
        assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
        want(s, revision++, NULL, 0); /* asked no more: the coordinator has given up */
        assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    }
    struct msg_probe probe = probe_of(50);
    want(s, revision++, &probe, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_string_equal(beaten(s)->probes[0].error->text,
                        "node 'db-a': 4 storage tests of before still hang, and cannot be killed");
    want(s, revision++, NULL, 0);
    s->job = 1; /* one of them is gone at last */
    exited(s, 1);
    probe = probe_of(51);
    want(s, revision++, &probe, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
}

static void the_agent_stops(void **state)
{
    struct stage *s = connected(state);
    struct msg_probe probe = probe_of(7);
    struct agent_event stop = {.kind = AGENT_EV_STOP};
    want(s, 2, &probe, 1);
    feed(s, &stop);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    assert_int_equal(s->did[AGENT_ACT_DONE], 1); /* whether it dies or not */
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(a_test_is_done),        SCENE(one_that_answers_and_stays),
        SCENE(one_that_hangs),        SCENE(one_that_dies),
        SCENE(one_that_cannot_begin), SCENE(some_that_cannot_be_killed),
        SCENE(the_agent_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
