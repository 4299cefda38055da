/* Holds of snapshots: when they are made durable, renewed, given up and dropped. */
#include "tests/unit/agent/brain/hold_stage.h"

#define ID    "20261121T000000Z-00000001"
#define NAME  "tidemark_b_006261e9_b7e9281c4b3862c3"
#define OTHER "tidemark_b_00000001_0000000000000002"

static struct msg_backup_params params = {.backup_id = ID, .checkpoint = true, .gcttl_s = 600};

/* An earlier life left `count` holds, of other backups, renewed at the stage's first moment. */
static struct stage *stage_with(size_t count)
{
    static struct agent_hold holds[AGENT_BRAIN_HOLDS_MAX];
    struct agent_brain_config config = {
        .instances = &instance, .instance_count = 1, .holds = holds, .hold_count = count};
    for (size_t at = 0; at < count; at++) {
        holds[at] = (struct agent_hold){
            .tenant = "main", .backup_id = "old", .renewed_us = (int64_t)SEC(50), .ttl_s = 3600};
        (void)snprintf(holds[at].name, sizeof(holds[at].name), "tidemark_b_00000001_%016zu",
                       at + 2);
    }
    return stage_new(&config);
}

static struct msg_assignment assignment(enum job_step step)
{
    struct msg_assignment a = backup_wanted(step);
    a.backup = &params;
    return a;
}

static void closed(struct stage *s)
{
    struct agent_event event = {.kind = AGENT_EV_SESSION_CLOSED};
    event.session_closed.job = s->job;
    feed(s, &event);
}

static void dropped(struct stage *s, const char *name, const char *why)
{
    struct tm_err err;
    struct agent_event event = {.kind = AGENT_EV_HOLD_DROPPED};
    (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "%s", why != NULL ? why : "");
    event.hold_dropped.name = name;
    event.hold_dropped.err = why != NULL ? &err : NULL;
    feed(s, &event);
}

static void lose_session(struct stage *s)
{
    struct tm_err err;
    struct agent_event event = {.kind = AGENT_EV_SESSION_FAILED};
    (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "server closed the connection");
    event.session_failed.job = s->job;
    event.session_failed.err = &err;
    event.session_failed.stage = "session";
    feed(s, &event);
}

/* The job is led here; its session is held. */
static void leading(struct stage *s)
{
    struct msg_assignment a = assignment(JOB_STEP_PREPARE);
    connect_to(s, 4);
    desire(s, 1, &a);
    begun(s);
}

/* The session is lost, and the coordinator wants the job no more. */
static void abandoned(struct stage *s)
{
    lose_session(s);
    closed(s);
    exited(s, 1);
    desire(s, 2, NULL);
}

static void commit(struct stage *s, const char *uid, uint64_t revision)
{
    struct msg_assignment a = assignment(JOB_STEP_FINISH);
    struct msg_plan_range range = {.bytes = 100};
    struct msg_totals totals = {.position = "0/2"};
    struct frame plan = {.type = FRAME_plan_batch};
    plan.plan_batch.ranges = &range;
    plan.plan_batch.ranges_count = 1;
    plan.plan_batch.last = true;
    (void)snprintf(a.uid, sizeof(a.uid), "%s", uid);
    frame(s, 1, (struct frame){.type = FRAME_ready});
    frame(s, 1, plan);
    desire(s, revision, &a);
    frame(s, 1, (struct frame){.type = FRAME_committed, .committed = {.totals = &totals}});
    assert_int_equal(s->did[AGENT_ACT_SESSION_CLOSE], 1);
}

static const struct agent_hold *stored(const struct stage *s, size_t at)
{
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 1);
    assert_true(at < s->last[AGENT_ACT_STORE_HOLDS].store_holds.count);
    return &s->last[AGENT_ACT_STORE_HOLDS].store_holds.holds[at];
}

/* Whether the one drop that is asked for is that of `name`. */
static void expect_drop(const struct stage *s, const char *name)
{
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 1);
    assert_int_equal(s->last[AGENT_ACT_HOLD_DROP].hold_drop.instance, 0);
    assert_string_equal(s->last[AGENT_ACT_HOLD_DROP].hold_drop.name, name);
}

static void teardown_of(struct stage *s)
{
    void *state = s;
    (void)teardown(&state);
}

/* ---- scenes ---- */

static void taken_with_the_session(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = assignment(JOB_STEP_PREPARE);
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    const struct agent_action *action = &s->last[AGENT_ACT_SESSION_BEGIN];
    assert_string_equal(action->session.hold, NAME);
    assert_false(action->session.resume);
    assert_int_equal(action->session.hold_count, 1); /* to be stored before the session begins */
    const struct agent_hold *hold = &action->session.holds[0];
    assert_string_equal(hold->name, NAME);
    assert_string_equal(hold->tenant, "main");
    assert_string_equal(hold->backup_id, ID);
    assert_int_equal(hold->since_us, SEC(51));
    assert_int_equal(hold->renewed_us, SEC(51));
    assert_int_equal(hold->ttl_s, 600);
}

static void no_hold_is_needed(void **state)
{
    struct msg_backup_params without = {.backup_id = ID};
    struct stage *s = *state;
    struct msg_assignment a = assignment(JOB_STEP_PREPARE);
    a.backup = &without;
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    assert_null(s->last[AGENT_ACT_SESSION_BEGIN].session.hold);
    assert_int_equal(s->last[AGENT_ACT_SESSION_BEGIN].session.hold_count, 0);
}

static void an_engine_that_cannot(void **state)
{
    struct stage *s = *state; /* setup's instance has no caps */
    struct msg_assignment a = assignment(JOB_STEP_PREPARE);
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    assert_null(s->last[AGENT_ACT_SESSION_BEGIN].session.hold);
    tick(s, SEC(61));
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
}

static void renewed_each_minute(void **state)
{
    struct stage *s = *state;
    leading(s);
    tick(s, SEC(60) - 1);
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
    tick(s, 1);
    assert_int_equal(stored(s, 0)->renewed_us, SEC(111));
    assert_int_equal(stored(s, 0)->since_us, SEC(51));
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    feed(s, &event); /* who is away lets nothing expire */
    for (uint64_t at = 1; at <= 30; at++) {
        tick(s, SEC(60));
        assert_int_equal(stored(s, 0)->renewed_us, SEC(111 + 60 * at));
        assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    }
}

static void committed(void **state)
{
    struct stage *s = *state;
    leading(s);
    commit(s, "00aa", 2);
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0); /* the session is not closed */
    tick(s, SEC(100));
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0); /* nor is it renewed */
    closed(s);
    tick(s, 200000);
    expect_drop(s, NAME);
    tick(s, SEC(100)); /* one at a time */
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    dropped(s, NAME, NULL);
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 1);
    assert_int_equal(s->last[AGENT_ACT_STORE_HOLDS].store_holds.count, 0);
}

static void swept(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = assignment(JOB_STEP_ABORT);
    leading(s);
    frame(s, 1, (struct frame){.type = FRAME_ready});
    desire(s, 2, &a);
    exited(s, 1); /* it had begun to store */
    closed(s);
    tick(s, SEC(2));
    frame(s, 2, (struct frame){.type = FRAME_ready});
    assert_int_equal(s->told[FRAME_sweep].type, FRAME_sweep);
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0); /* kept as long as anything is stored */
    frame(s, 2, (struct frame){.type = FRAME_swept});
    expect_drop(s, NAME);
}

static void a_drop_that_fails(void **state)
{
    struct stage *s = *state;
    committed(state); /* and the name is free again */
    struct msg_assignment a = assignment(JOB_STEP_PREPARE);
    memcpy(a.uid, "00bb", 5);
    exited(s, 1);
    desire(s, 3, &a);
    s->job = 2;
    assert_string_equal(s->last[AGENT_ACT_SESSION_BEGIN].session.hold, NAME);
    begun(s);
    commit(s, "00bb", 4);
    closed(s);
    tick(s, 200000);
    expect_drop(s, NAME);
    for (int tries = 0; tries < 5; tries++) {
        dropped(s, NAME, "the database is down");
        assert_string_equal(s->log, "hold '" NAME "' cannot be dropped yet: the database is down");
        assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
        tick(s, SEC(4));
        assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
        tick(s, SEC(1));
        expect_drop(s, NAME);
    }
    dropped(s, NAME, NULL);
    assert_int_equal(s->last[AGENT_ACT_STORE_HOLDS].store_holds.count, 0);
    dropped(s, NAME, NULL); /* nobody knows it any more */
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
}

/* A failed job keeps its hold; it is given up when its time has passed since the last renewal. */
static void nobody_goes_on(void **state)
{
    struct stage *s = *state;
    leading(s);
    tick(s, SEC(60));
    abandoned(s);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    while (s->mono_us < SEC(111 + 590)) {
        tick(s, SEC(9));
        assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    }
    s->mono_us = SEC(111 + 600) - 1;
    tick(s, 0);
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    tick(s, SEC(10));
    expect_drop(s, NAME);
    assert_string_equal(s->log, "hold '" NAME "' of backup '" ID
                                "', tenant 'main', is given up: nobody went on with the backup "
                                "for 600 s");
}

/* The next attempt of the same backup, under another uid. */
static void resume(struct stage *s, uint64_t revision)
{
    static struct msg_backup_params again = {
        .backup_id = ID, .checkpoint = true, .gcttl_s = 600, .resume = true};
    struct msg_assignment a = assignment(JOB_STEP_PREPARE);
    struct frame found = {.type = FRAME_found};
    memcpy(a.uid, "00bb", 5);
    a.attempt = 2;
    a.backup = &again;
    desire(s, revision, &a);
    s->job = 2;
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0); /* it is not known what is there */
    found.found.begin = slice_str("first");
    found.found.log_from = 77;
    frame(s, 1, found);
}

/* Wanted again while the hold, for which nobody came in time, is being dropped. */
static void wanted_too_late(struct stage *s)
{
    leading(s);
    abandoned(s);
    tick(s, SEC(700));
    expect_drop(s, NAME);
    resume(s, 3);
}

static void taken_again(void **state)
{
    struct stage *s = *state;
    leading(s);
    abandoned(s);
    s->mono_us += SEC(500);
    resume(s, 3);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    const struct agent_action *action = &s->last[AGENT_ACT_SESSION_BEGIN];
    assert_true(action->session.resume);
    assert_memory_equal(action->session.first.data, "first", 5);
    assert_int_equal(action->session.log_from, 77);
    assert_string_equal(action->session.hold, NAME);
    assert_int_equal(action->session.hold_count, 1);
    assert_int_equal(action->session.holds[0].since_us, SEC(51));
    assert_int_equal(action->session.holds[0].renewed_us, s->mono_us);
}

/* What is being dropped cannot be had: the session waits until it is known what came of it. */
static void taken_while_it_is_dropped(void **state)
{
    struct stage *s = *state;
    wanted_too_late(s);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0);
    tick(s, SEC(3));
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0);
    dropped(s, NAME, "the database is down"); /* it is there: nobody drops it now */
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    assert_int_equal(s->last[AGENT_ACT_SESSION_BEGIN].session.hold_count, 1);
    tick(s, SEC(20));
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
}

static void taken_when_it_is_gone(void **state)
{
    struct stage *s = *state;
    wanted_too_late(s);
    dropped(s, NAME, NULL);
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 1); /* without, … */
    assert_int_equal(s->last[AGENT_ACT_STORE_HOLDS].store_holds.count, 0);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1); /* … and with a new one */
    assert_true(s->last[AGENT_ACT_SESSION_BEGIN].session.resume);
    assert_int_equal(s->last[AGENT_ACT_SESSION_BEGIN].session.holds[0].since_us, s->mono_us);
}

static void never_under_a_session(void **state)
{
    struct stage *s = *state;
    leading(s);
    lose_session(s); /* it is closing, for very long */
    tick(s, SEC(700));
    assert_string_equal(s->log, "hold '" NAME "' of backup '" ID
                                "', tenant 'main', is given up: nobody went on with the backup "
                                "for 600 s");
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    tick(s, SEC(1));
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    closed(s);
    tick(s, 200000);
    expect_drop(s, NAME);
}

static void no_more_than_64(void **state)
{
    (void)state;
    struct stage *s = stage_with(AGENT_BRAIN_HOLDS_MAX);
    struct msg_assignment a = assignment(JOB_STEP_PREPARE);
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0);
    assert_string_equal(reported(s)->error->text, "this agent keeps 64 holds already");
    assert_string_equal(reported(s)->error->stage, "hold");
    teardown_of(s);
}

static void of_an_earlier_life(void **state)
{
    (void)state;
    struct stage *s = stage_with(1);
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    tick(s, SEC(3599));
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    tick(s, SEC(10));
    expect_drop(s, OTHER);
    dropped(s, OTHER, NULL);
    assert_int_equal(s->last[AGENT_ACT_STORE_HOLDS].store_holds.count, 0);
    teardown_of(s);
}

static void of_a_tenant_that_is_gone(void **state)
{
    (void)state;
    struct agent_hold hold = {
        .name = OTHER, .tenant = "gone", .backup_id = "old", .renewed_us = 1, .ttl_s = 1};
    struct agent_brain_config config = {
        .instances = &instance, .instance_count = 1, .holds = &hold, .hold_count = 1};
    struct stage *s = stage_new(&config);
    tick(s, SEC(30));
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0); /* it may be configured again */
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
    teardown_of(s);
}

static void more_than_an_agent_keeps(void **state)
{
    (void)state;
    struct agent_hold holds[AGENT_BRAIN_HOLDS_MAX + 1] = {{.name = OTHER}};
    struct agent_brain_config config = {.cluster = "demo1",
                                        .node = "db-a",
                                        .boot = "boot1",
                                        .version = "1",
                                        .instances = &instance,
                                        .instance_count = 1,
                                        .holds = holds,
                                        .hold_count = AGENT_BRAIN_HOLDS_MAX + 1};
    struct stage s = {.random = 0};
    struct agent_rng rng = {.next = next_number, .arg = &s};
    struct agent_brain *brain = NULL;
    struct tm_err err;
    assert_int_equal(agent_brain_new(&config, rng, &brain, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "more than 64 holds");
    assert_null(brain);
}

#define HOLDING(name) cmocka_unit_test_setup_teardown(name, setup_holding, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOLDING(taken_with_the_session),
        HOLDING(no_hold_is_needed),
        cmocka_unit_test_setup_teardown(an_engine_that_cannot, setup, teardown),
        HOLDING(renewed_each_minute),
        HOLDING(committed),
        HOLDING(swept),
        HOLDING(a_drop_that_fails),
        HOLDING(nobody_goes_on),
        HOLDING(taken_again),
        HOLDING(taken_while_it_is_dropped),
        HOLDING(taken_when_it_is_gone),
        HOLDING(never_under_a_session),
        cmocka_unit_test(no_more_than_64),
        cmocka_unit_test(of_an_earlier_life),
        cmocka_unit_test(of_a_tenant_that_is_gone),
        cmocka_unit_test(more_than_an_agent_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
