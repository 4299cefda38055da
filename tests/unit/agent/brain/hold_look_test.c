/* What holds there are at the sources: when it is looked, what is told of them, and what becomes of those of
 * which there is no record. */
#include "tests/unit/agent/brain/hold_stage.h"

#define ID     "20261121T000000Z-00000001"
#define PREFIX "tidemark_b_006261e9_" /* of demo1/main */
#define NAME   PREFIX "b7e9281c4b3862c3"
#define FOUND  PREFIX "00000000000000aa"

/* An earlier life left this one, of backup `id`. */
static struct stage *stage_with(const char *name, const char *id)
{
    struct agent_hold hold = {.tenant = "main",
                              .since_us = (int64_t)SEC(20),
                              .renewed_us = (int64_t)SEC(50),
                              .ttl_s = 600};
    struct agent_brain_config config = {
        .instances = &instance, .instance_count = 1, .holds = &hold, .hold_count = 1};
    (void)snprintf(hold.name, sizeof(hold.name), "%s", name);
    (void)snprintf(hold.backup_id, sizeof(hold.backup_id), "%s", id);
    return stage_new(&config);
}

static void end(struct stage *s)
{
    void *state = s;
    (void)teardown(&state);
}

static struct agent_hold_found there(const char *name, uint64_t from, uint64_t bytes)
{
    struct agent_hold_found found = {.from = from, .bytes = bytes};
    (void)snprintf(found.name, sizeof(found.name), "%s", name);
    return found;
}

static void listed(struct stage *s, const struct agent_hold_found *holds, size_t count, bool more)
{
    struct agent_event event = {.kind = AGENT_EV_HOLDS_LISTED};
    event.holds_listed.holds = holds;
    event.holds_listed.count = count;
    event.holds_listed.more = more;
    feed(s, &event);
}

static void not_listed(struct stage *s)
{
    struct tm_err err;
    struct agent_event event = {.kind = AGENT_EV_HOLDS_LISTED};
    (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "the database is down");
    event.holds_listed.err = &err;
    feed(s, &event);
}

/* The next look is asked for after `us`, not before. */
static void expect_look(struct stage *s, uint64_t us)
{
    assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 0);
    tick(s, us - 1);
    assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 0);
    tick(s, 1);
    assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 1);
    assert_int_equal(s->last[AGENT_ACT_HOLD_LIST].hold_list.instance, 0);
    assert_string_equal(s->last[AGENT_ACT_HOLD_LIST].hold_list.prefix, PREFIX);
}

static const struct agent_hold *stored(const struct stage *s, size_t count, size_t at)
{
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 1);
    assert_int_equal(s->last[AGENT_ACT_STORE_HOLDS].store_holds.count, count);
    return at < count ? &s->last[AGENT_ACT_STORE_HOLDS].store_holds.holds[at] : NULL;
}

/* ---- scenes ---- */

static void looked_at_the_start(void **state)
{
    struct stage *s = *state;
    assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 1);
    assert_string_equal(s->last[AGENT_ACT_HOLD_LIST].hold_list.prefix, PREFIX);
    tick(s, SEC(1000)); /* one at a time, however long it takes */
    assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 0);
}

static void an_engine_that_cannot(void **state)
{
    struct stage *s = *state;
    assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 0);
    tick(s, SEC(1000));
    assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 0);
}

static void how_often(void **state)
{
    struct stage *s = *state;
    const struct agent_hold_found found = there(FOUND, 7, 1);
    listed(s, NULL, 0, false);
    expect_look(s, SEC(120));
    not_listed(s);
    expect_look(s, SEC(10));
    listed(s, &found, 1, false);
    expect_look(s, SEC(10));
    listed(s, &found, 1, false);
    expect_look(s, SEC(10));
    listed(s, NULL, 0, false); /* the last one has gone */
    expect_look(s, SEC(120));
}

static void without_a_record(void **state)
{
    struct stage *s = *state;
    const struct agent_hold_found found = there(FOUND, 7, 1000);
    listed(s, &found, 1, false);
    const struct agent_hold *hold = stored(s, 1, 0);
    assert_string_equal(hold->name, FOUND);
    assert_string_equal(hold->tenant, "main");
    assert_string_equal(hold->backup_id, "");
    assert_int_equal(hold->since_us, SEC(50));
    assert_int_equal(hold->renewed_us, SEC(50));
    assert_int_equal(hold->ttl_s, 3600);
    assert_string_equal(s->log, "hold '" FOUND
                                "' of tenant 'main' keeps log, and there is no record of it: it is "
                                "dropped in 3600 s unless somebody goes on with its backup");
    while (s->mono_us < SEC(50 + 3590)) {
        tick(s, SEC(10));
        assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 1);
        assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
        listed(s, &found, 1, false); /* seen again, it is not a new one */
        assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
    }
    tick(s, SEC(20));
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 1);
    assert_string_equal(s->last[AGENT_ACT_HOLD_DROP].hold_drop.name, FOUND);
    assert_string_equal(s->log, "hold '" FOUND
                                "' of tenant 'main' is dropped: there is no record of it, and "
                                "nobody went on with its backup for 3600 s");
}

static void those_of_others(void **state)
{
    struct stage *s = *state;
    const struct agent_hold_found others[] = {
        there("tidemark_b_006261e8_00000000000000aa", 7, 1), /* another cluster or tenant */
        there("tidemark_006261e9000000aa", 7, 1),            /* a log backup's */
        there("standby_1", 7, 1),
        there(PREFIX "00000000000000a", 7, 1),
        there(PREFIX "00000000000000aaa", 7, 1),
        there(PREFIX "00000000000000AA", 7, 1),
        there(PREFIX, 7, 1),
        there("", 7, 1),
    };
    for (int times = 0; times < 500; times++) {
        listed(s, others, TM_ARRAY_LEN(others), false);
        assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
        tick(s, SEC(120));
        assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
    }
}

/* Somebody works under it, whoever that is. */
static void one_that_moves(void **state)
{
    struct stage *s = *state;
    struct agent_hold_found found = there(FOUND, 7, 1000);
    listed(s, &found, 1, false);
    while (s->mono_us < SEC(20000)) {
        tick(s, SEC(10));
        assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 0);
        found.from += s->mono_us % SEC(1000) == 0;
        listed(s, &found, 1, false);
    }
    tick(s, SEC(3600));
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 1);
}

static void one_that_goes_by_itself(void **state)
{
    struct stage *s = *state;
    const struct agent_hold_found found[] = {there(FOUND, 7, 1), there(NAME, 7, 1)};
    listed(s, found, 2, false);
    (void)stored(s, 2, 0);
    tick(s, SEC(10));
    listed(s, &found[0], 1, true); /* the other may be among the rest */
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
    tick(s, SEC(10));
    not_listed(s);
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
    tick(s, SEC(10));
    listed(s, &found[0], 1, false);
    assert_string_equal(stored(s, 1, 0)->name, FOUND);
}

/* One that has its backup is not forgotten because it is not there (yet): its drop settles it. */
static void one_that_is_wanted(void **state)
{
    (void)state;
    struct stage *s = stage_with(NAME, ID);
    listed(s, NULL, 0, false);
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
    expect_look(s, SEC(10));
    end(s);
}

static void one_that_was_dropped_meanwhile(void **state)
{
    (void)state;
    struct stage *s = stage_with(NAME, ID);
    const struct agent_hold_found found = there(NAME, 7, 1);
    struct agent_event event = {.kind = AGENT_EV_HOLD_DROPPED};
    event.hold_dropped.name = NAME;
    tick(s, SEC(610)); /* its time is over, and the look of the start is still out */
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 1);
    feed(s, &event);
    (void)stored(s, 0, 0);
    listed(s, &found, 1, false); /* as it was before */
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
    tick(s, SEC(120));
    assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 1);
    listed(s, &found, 1, false); /* there again: somebody made it */
    (void)stored(s, 1, 0);
    end(s);
}

static void no_more_than_half(void **state)
{
    struct stage *s = *state;
    struct agent_hold_found found[AGENT_BRAIN_HOLDS_MAX];
    char name[64];
    for (size_t at = 0; at < TM_ARRAY_LEN(found); at++) {
        (void)snprintf(name, sizeof(name), PREFIX "%016zu", at);
        found[at] = there(name, 7, 1);
    }
    listed(s, found, TM_ARRAY_LEN(found), true);
    assert_string_equal(stored(s, 32, 31)->name, PREFIX "0000000000000031");
    tick(s, SEC(10));
    listed(s, found, TM_ARRAY_LEN(found), true);
    assert_int_equal(s->did[AGENT_ACT_STORE_HOLDS], 0);
}

static struct msg_assignment assignment(void)
{
    static struct msg_backup_params params = {.backup_id = ID, .checkpoint = true, .gcttl_s = 900};
    struct msg_assignment a = backup_wanted(JOB_STEP_PREPARE);
    a.backup = &params;
    return a;
}

/* The record was lost, and then somebody goes on with the backup. */
static void found_and_taken(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = assignment();
    const struct agent_hold_found found = there(NAME, 7, 1000);
    listed(s, &found, 1, false);
    s->mono_us = SEC(1000);
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    const struct agent_action *action = &s->last[AGENT_ACT_SESSION_BEGIN];
    assert_string_equal(action->session.hold, NAME);
    assert_int_equal(action->session.hold_count, 1);
    assert_string_equal(action->session.holds[0].backup_id, ID);
    assert_int_equal(action->session.holds[0].since_us, SEC(50));
    assert_int_equal(action->session.holds[0].renewed_us, s->mono_us);
    assert_int_equal(action->session.holds[0].ttl_s, 900);
}

/* Its one hold, in a heartbeat that is made now. */
static const struct msg_hold *told(struct stage *s)
{
    struct message nothing_new = {.type = MESSAGE_desired};
    s->mono_us += SEC(2);
    answer(s, MESSAGE_heartbeat, &nothing_new, s->term);
    assert_int_equal(s->did[AGENT_ACT_SEND], 1);
    assert_int_equal(s->asked[MESSAGE_heartbeat].heartbeat.holds_count, 1);
    return &s->asked[MESSAGE_heartbeat].heartbeat.holds[0];
}

static void told_in_heartbeats(void **state)
{
    (void)state;
    struct stage *s = stage_with(NAME, ID);
    struct agent_hold_found found = there(NAME, 7, 1000);
    connect_to(s, 4);
    desire(s, 1, NULL);
    const struct msg_hold *hold = told(s);
    assert_string_equal(hold->name, NAME);
    assert_string_equal(hold->tenant, "main");
    assert_string_equal(hold->backup_id, ID);
    assert_int_equal(hold->state, HOLD_WAITING);
    assert_int_equal(hold->since_us, SEC(20));
    assert_int_equal(hold->until_us, SEC(650));
    assert_false(hold->seen); /* nobody has looked yet */
    listed(s, &found, 1, false);
    hold = told(s);
    assert_true(hold->seen);
    assert_int_equal(hold->bytes, 1000);
    assert_false(hold->lost);
    tick(s, SEC(10));
    found.lost = true;
    listed(s, &found, 1, false);
    assert_true(told(s)->lost);
    tick(s, SEC(10)); /* the next look does not come back */
    assert_int_equal(s->did[AGENT_ACT_HOLD_LIST], 1);
    tick(s, SEC(14));
    assert_false(told(s)->seen);
    assert_int_equal(s->asked[MESSAGE_heartbeat].heartbeat.holds[0].bytes, 0);
    tick(s, SEC(700));
    assert_int_equal(s->did[AGENT_ACT_HOLD_DROP], 1);
    assert_int_equal(told(s)->state, HOLD_DROPPING);
    assert_int_equal(s->asked[MESSAGE_heartbeat].heartbeat.holds[0].until_us, 0);
    end(s);
}

static void told_while_in_use(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = assignment();
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(told(s)->state, HOLD_IN_USE);
    assert_int_equal(s->asked[MESSAGE_heartbeat].heartbeat.holds[0].until_us, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(looked_at_the_start, setup_holding, teardown),
        cmocka_unit_test_setup_teardown(an_engine_that_cannot, setup, teardown),
        cmocka_unit_test_setup_teardown(how_often, setup_holding, teardown),
        cmocka_unit_test_setup_teardown(without_a_record, setup_holding, teardown),
        cmocka_unit_test_setup_teardown(those_of_others, setup_holding, teardown),
        cmocka_unit_test_setup_teardown(one_that_moves, setup_holding, teardown),
        cmocka_unit_test_setup_teardown(one_that_goes_by_itself, setup_holding, teardown),
        cmocka_unit_test(one_that_is_wanted),
        cmocka_unit_test(one_that_was_dropped_meanwhile),
        cmocka_unit_test_setup_teardown(no_more_than_half, setup_holding, teardown),
        cmocka_unit_test_setup_teardown(found_and_taken, setup_holding, teardown),
        cmocka_unit_test(told_in_heartbeats),
        cmocka_unit_test_setup_teardown(told_while_in_use, setup_holding, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
