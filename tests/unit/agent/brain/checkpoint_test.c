/* What a lead's agent makes of checkpoints: what was found, results on their way to and from the
 * coordinator. */
#include "tests/unit/agent/brain/hold_stage.h"

#define ID "20261121T000000Z-00000001"

static struct msg_backup_params params = {.backup_id = ID, .checkpoint = true, .resume = true};

static struct msg_assignment assignment(enum job_step step)
{
    struct msg_assignment a = backup_wanted(step);
    a.attempt = 2;
    a.backup = &params;
    return a;
}

/* Connected, with a job that is to go on. */
static void assigned(struct stage *s)
{
    struct msg_assignment a = assignment(JOB_STEP_PREPARE);
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0); /* what is there is not known */
}

static void find(struct stage *s, uint32_t generation, const char *begin, const char *why)
{
    struct frame f = {.type = FRAME_found};
    f.found.begin = begin != NULL ? slice_str(begin) : SLICE_EMPTY;
    f.found.log_from = begin != NULL ? 77 : 0;
    f.found.why = why;
    frame(s, generation, f);
}

/* The session goes on, the runner is at work. */
static void going_on(struct stage *s)
{
    assigned(s);
    find(s, 1, "first", "");
    frame(s, 1, (struct frame){.type = FRAME_ready});
    begun(s);
    assert_int_equal(s->told[FRAME_begin].type, FRAME_begin);
}

static void plan(struct stage *s, uint32_t generation, uint32_t first, bool last)
{
    struct msg_plan_range ranges[2] = {{.start = slice_str("x"), .bytes = 100},
                                       {.start = slice_str("y"), .bytes = 100}};
    struct frame f = {.type = FRAME_plan_batch};
    if (first == 0)
        ranges[0].start = SLICE_EMPTY;
    else
        ranges[0].start = slice_str("z");
    ranges[0].end = first == 0 ? slice_str("y") : slice_str("zz");
    ranges[1].end = first == 0 ? slice_str("z") : SLICE_EMPTY;
    ranges[1].start = ranges[0].end;
    f.plan_batch.first = first;
    f.plan_batch.ranges = ranges;
    f.plan_batch.ranges_count = 2;
    f.plan_batch.last = last;
    frame(s, generation, f);
}

static void stored(struct stage *s, uint32_t generation, uint32_t range)
{
    struct msg_result result = {
        .range = range, .term = 3, .counter = range + 10, .blob = slice_str("entry")};
    struct frame f = {.type = FRAME_stored};
    f.stored.results = &result;
    f.stored.results_count = 1;
    frame(s, generation, f);
}

static void ack(struct stage *s, uint32_t next, bool done, uint64_t term)
{
    plan_ack(s, 2, next, done, term);
}

static void verdict(struct stage *s, uint32_t range, enum verdict how, uint64_t term)
{
    struct msg_verdict v = {.range = range, .term = 3, .counter = range + 10, .verdict = how};
    struct message m = {.type = MESSAGE_verdicts};
    memcpy(m.verdicts.uid, "00aa", 5);
    m.verdicts.attempt = 2;
    m.verdicts.verdicts = &v;
    m.verdicts.verdicts_count = 1;
    answer(s, MESSAGE_ranges_done, &m, term);
}

/* ---- what is found ---- */

static void nothing_is_found(void **state)
{
    struct stage *s = *state;
    assigned(s);
    find(s, 1, NULL, "");
    assert_string_equal(s->log, "job 'b' finds nothing of an earlier attempt");
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    assert_false(s->last[AGENT_ACT_SESSION_BEGIN].session.resume);
    assert_int_equal(s->last[AGENT_ACT_SESSION_BEGIN].session.first.len, 0);
}

static void a_checkpoint_is_found(void **state)
{
    struct stage *s = *state;
    assigned(s);
    find(s, 1, "first", "2 ranges cannot be used");
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    const struct agent_action *action = &s->last[AGENT_ACT_SESSION_BEGIN];
    assert_true(action->session.resume);
    assert_int_equal(action->session.first.len, 5);
    assert_memory_equal(action->session.first.data, "first", 5);
    assert_int_equal(action->session.log_from, 77);
    assert_string_equal(action->session.label, "tidemark " ID);
    assert_int_equal(reported(s)->warnings_count, 1);
    assert_string_equal(reported(s)->warnings[0], "2 ranges cannot be used");
    find(s, 1, NULL, ""); /* said once */
    assert_int_equal(s->did[AGENT_ACT_LOG], 0);
}

static void it_was_committed(void **state)
{
    struct stage *s = *state;
    struct msg_totals totals = {.position = "0/2"};
    struct frame f = {.type = FRAME_found};
    assigned(s);
    f.found.committed = true;
    f.found.totals = &totals;
    frame(s, 1, f);
    assert_string_equal(s->log, "job 'b' is committed");
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    assert_int_equal(reported(s)->stage, JOB_STAGE_COMMITTED);
    assert_string_equal(reported(s)->totals->position, "0/2");
}

/* The runner dies before it has looked; the next one's word counts, that of a third is late. */
static void found_by_a_later_runner(void **state)
{
    struct stage *s = *state;
    assigned(s);
    exited(s, 1);
    tick(s, SEC(2));
    assert_false(s->told[FRAME_job].job.found);
    find(s, 1, NULL, ""); /* an echo of the dead */
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0);
    find(s, 2, "first", "");
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    exited(s, 2);
    tick(s, SEC(3));
    assert_int_equal(s->told[FRAME_job].job.generation, 3);
    assert_false(s->told[FRAME_job].job.found); /* it tells the plan: it must look, too */
    find(s, 3, NULL, "");
    assert_int_equal(s->did[AGENT_ACT_LOG], 0);
}

/* ---- what is stored ---- */

static void stored_before_the_last_batch(void **state)
{
    struct stage *s = *state;
    going_on(s);
    stored(s, 1, 0);
    stored(s, 1, 3);
    assert_int_equal(s->asked[MESSAGE_ranges_done].type, 0); /* of ranges that nobody knows yet */
    plan(s, 1, 0, false);
    assert_int_equal(s->asked[MESSAGE_plan_ranges].plan_ranges.ranges_count, 2);
    plan(s, 1, 2, true);
    ack(s, 2, false, 4);
    const struct msg_ranges_done *told = &s->asked[MESSAGE_ranges_done].ranges_done;
    assert_int_equal(told->results_count, 1);
    assert_int_equal(told->results[0].range, 0);
    assert_int_equal(told->results[0].counter, 10);
    assert_true(told->results[0].stored);
    const struct msg_plan_ranges *batch = &s->asked[MESSAGE_plan_ranges].plan_ranges;
    assert_int_equal(batch->first, 2);
    assert_int_equal(batch->ranges_count, 2);
    assert_false(batch->last); /* a lease could be granted then */
    ack(s, 4, false, 4);
    uint64_t serial = s->asked[MESSAGE_plan_ranges].serial;
    verdict(s, 0, VERDICT_ACCEPTED, 4);
    assert_int_equal(s->asked[MESSAGE_plan_ranges].serial, serial); /* range 3 is open */
    assert_int_equal(s->asked[MESSAGE_ranges_done].ranges_done.results[0].range, 3);
    verdict(s, 3, VERDICT_LATER, 4);
    tick(s, SEC(2));
    assert_int_equal(s->asked[MESSAGE_plan_ranges].serial, serial);
    verdict(s, 3, VERDICT_STALE, 4); /* somebody knows better: it is decided all the same */
    assert_true(s->asked[MESSAGE_plan_ranges].serial > serial);
    assert_true(s->asked[MESSAGE_plan_ranges].plan_ranges.last);
    assert_int_equal(s->asked[MESSAGE_plan_ranges].plan_ranges.first, 4);
    assert_int_equal(s->asked[MESSAGE_plan_ranges].plan_ranges.ranges_count, 0);
}

static void a_new_term_in_the_middle(void **state)
{
    struct stage *s = *state;
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    going_on(s);
    stored(s, 1, 0);
    plan(s, 1, 0, false);
    plan(s, 1, 2, true);
    ack(s, 2, false, 4);
    verdict(s, 0, VERDICT_ACCEPTED, 4);
    feed(s, &event);
    tick(s, SEC(20));
    message_release(&s->asked[MESSAGE_ranges_done]);
    s->asked[MESSAGE_ranges_done] = (struct message){.serial = 0};
    connect_to(s, 5);
    assert_int_equal(s->asked[MESSAGE_plan_ranges].plan_ranges.first, 0);
    assert_int_equal(s->asked[MESSAGE_plan_ranges].plan_ranges.ranges_count, 4);
    assert_false(s->asked[MESSAGE_plan_ranges].plan_ranges.last); /* range 0 is to be told anew */
    assert_int_equal(s->asked[MESSAGE_ranges_done].type, 0);
    ack(s, 4, false, 5);
    assert_int_equal(s->asked[MESSAGE_ranges_done].ranges_done.results_count, 1);
    assert_true(s->asked[MESSAGE_ranges_done].ranges_done.results[0].stored);
    verdict(s, 0, VERDICT_ACCEPTED, 5);
    assert_true(s->asked[MESSAGE_plan_ranges].plan_ranges.last);
}

/* The coordinator forgets what it was told with the first half of a plan: it must come after the second. */
static void a_runner_lost_in_the_plan(void **state)
{
    struct stage *s = *state;
    going_on(s);
    stored(s, 1, 0);
    plan(s, 1, 0, false);
    uint32_t gen = s->asked[MESSAGE_plan_ranges].plan_ranges.gen;
    ack(s, 2, false, 4);
    verdict(s, 0, VERDICT_ACCEPTED, 4);
    uint64_t serial = s->asked[MESSAGE_ranges_done].serial;
    exited(s, 1);
    tick(s, SEC(2));
    frame(s, 2, (struct frame){.type = FRAME_ready});
    assert_false(s->told[FRAME_begin].begin.plan_known);
    stored(s, 2, 0);
    assert_int_equal(s->asked[MESSAGE_ranges_done].serial,
                     serial); /* not of the plan that is gone */
    plan(s, 2, 0, false);
    assert_int_equal(s->asked[MESSAGE_plan_ranges].plan_ranges.gen, gen + 1);
    assert_int_equal(s->asked[MESSAGE_ranges_done].serial, serial);
    plan(s, 2, 2, true);
    ack(s, 2, false, 4);
    assert_true(s->asked[MESSAGE_ranges_done].serial > serial);
    assert_int_equal(s->asked[MESSAGE_ranges_done].ranges_done.results_count, 1);
    ack(s, 4, false, 4);
    assert_false(s->asked[MESSAGE_plan_ranges].plan_ranges.last);
    verdict(s, 0, VERDICT_ACCEPTED, 4);
    assert_true(s->asked[MESSAGE_plan_ranges].plan_ranges.last);
}

/* ---- accepted results ---- */

/* At work, and the runner has asked for the first page. */
static void checkpointing(struct stage *s)
{
    struct msg_assignment a = assignment(JOB_STEP_RUN);
    going_on(s);
    plan(s, 1, 0, false);
    plan(s, 1, 2, true);
    ack(s, 2, false, 4);
    ack(s, 4, true, 4);
    desire(s, 2, &a);
    frame(s, 1, (struct frame){.type = FRAME_want_accepted, .want_accepted = {.stored = 1}});
    assert_int_equal(s->asked[MESSAGE_want_results].want_results.from, 0);
    assert_true(s->asked[MESSAGE_want_results].want_results.accepted);
}

static void page(struct stage *s, uint32_t from, uint32_t count, bool last, uint64_t term)
{
    struct msg_result results[4];
    struct msg_counters counters[4];
    struct message m = {.type = MESSAGE_results};
    for (uint32_t at = 0; at < count; at++) {
        counters[at] = (struct msg_counters){.bytes = 50 + at};
        results[at] = (struct msg_result){.range = 3 - at,
                                          .term = 4,
                                          .counter = from + at,
                                          .blob = slice_str("entry"),
                                          .counters = &counters[at]};
    }
    memcpy(m.results.uid, "00aa", 5);
    m.results.attempt = 2;
    m.results.from = from;
    m.results.accepted = true;
    m.results.last = last;
    m.results.results = results;
    m.results.results_count = count;
    answer(s, MESSAGE_want_results, &m, term);
}

static void pages_of_results(void **state)
{
    struct stage *s = *state;
    checkpointing(s);
    page(s, 0, 2, false, 4);
    assert_int_equal(s->sent[FRAME_accepted], 1);
    assert_int_equal(s->told[FRAME_accepted].accepted.results_count, 2);
    assert_int_equal(s->told[FRAME_accepted].accepted.results[1].range, 2);
    assert_memory_equal(s->told[FRAME_accepted].accepted.results[1].blob.data, "entry", 5);
    assert_false(s->told[FRAME_accepted].accepted.last);
    uint64_t serial = s->asked[MESSAGE_want_results].serial;
    tick(s, SEC(1));
    assert_int_equal(s->asked[MESSAGE_want_results].serial, serial); /* when the runner asks */
    frame(s, 1, (struct frame){.type = FRAME_want_accepted, .want_accepted = {.stored = 3}});
    assert_int_equal(s->asked[MESSAGE_want_results].want_results.from, 2);
    page(s, 2, 0, true, 4);
    assert_int_equal(s->sent[FRAME_accepted], 1);
    assert_int_equal(s->told[FRAME_accepted].accepted.results_count, 0);
    assert_true(s->told[FRAME_accepted].accepted.last);
}

static void asked_of_a_new_coordinator(void **state)
{
    struct stage *s = *state;
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    checkpointing(s);
    page(s, 0, 2, true, 4);
    frame(s, 1, (struct frame){.type = FRAME_want_accepted, .want_accepted = {.stored = 3}});
    assert_int_equal(s->asked[MESSAGE_want_results].want_results.from, 2);
    feed(s, &event);
    tick(s, SEC(20));
    connect_to(s, 5); /* it has accepted in another order */
    assert_int_equal(s->asked[MESSAGE_want_results].want_results.from, 0);
    page(s, 2, 1, true, 5); /* not what was asked for */
    assert_int_equal(s->sent[FRAME_accepted], 0);
    page(s, 0, 1, true, 5);
    assert_int_equal(s->sent[FRAME_accepted], 1);
}

/* Both are gone, the coordinator and the node that read ranges 3 and 2: the next one hears of them before the plan is
 * whole, and grants neither. */
static void what_others_read_outlives_both(void **state)
{
    struct stage *s = *state;
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    checkpointing(s);
    page(s, 0, 2, true, 4);
    tick(s, SEC(1));
    assert_int_equal(s->asked[MESSAGE_ranges_done].type, 0); /* it came from there */
    frame(s, 1, (struct frame){.type = FRAME_want_accepted, .want_accepted = {.stored = 2}});
    for (uint64_t term = 5; term < 7; term++) {
        feed(s, &event);
        tick(s, SEC(20));
        connect_to(s, term);
        assert_int_equal(s->asked[MESSAGE_plan_ranges].plan_ranges.ranges_count, 4);
        assert_false(s->asked[MESSAGE_plan_ranges].plan_ranges.last);
        ack(s, 4, false, term);
        const struct msg_ranges_done *told = &s->asked[MESSAGE_ranges_done].ranges_done;
        assert_int_equal(told->results_count, 2);
        struct msg_verdict verdicts[2];
        for (uint32_t at = 0; at < 2; at++) {
            assert_int_equal(told->results[at].range, 3 - at);
            assert_int_equal(told->results[at].term, 4);
            assert_int_equal(told->results[at].counter, at);
            assert_int_equal(told->results[at].counters->bytes, 50 + at);
            assert_memory_equal(told->results[at].blob.data, "entry", 5);
            assert_true(told->results[at].stored);
            verdicts[at] = (struct msg_verdict){
                .range = 3 - at, .term = 4, .counter = at, .verdict = VERDICT_ACCEPTED};
        }
        struct message m = {.type = MESSAGE_verdicts};
        memcpy(m.verdicts.uid, "00aa", 5);
        m.verdicts.attempt = 2;
        m.verdicts.verdicts = verdicts;
        m.verdicts.verdicts_count = 2;
        answer(s, MESSAGE_ranges_done, &m, term);
        assert_true(s->asked[MESSAGE_plan_ranges].plan_ranges.last);
        ack(s, 4, true, term);
        page(s, 0, 2, true, term); /* what it has from here is not kept twice */
        frame(s, 1, (struct frame){.type = FRAME_want_accepted, .want_accepted = {.stored = 2}});
    }
}

/* What the lead tells the next coordinator before the plan is whole, when the one before is gone. */
static const struct msg_ranges_done *told_next(struct stage *s, uint64_t term)
{
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    feed(s, &event);
    tick(s, SEC(20));
    connect_to(s, term);
    ack(s, 4, false, term);
    return &s->asked[MESSAGE_ranges_done].ranges_done;
}

/* One that a new coordinator judges otherwise is forgotten; what that one accepts of the range is kept. */
static void judged_otherwise(void **state)
{
    struct stage *s = *state;
    checkpointing(s);
    page(s, 0, 1, true, 4);
    frame(s, 1, (struct frame){.type = FRAME_want_accepted, .want_accepted = {.stored = 2}});
    (void)told_next(s, 5);
    struct msg_verdict v = {.range = 3, .term = 4, .counter = 0, .verdict = VERDICT_STALE};
    struct message m = {.type = MESSAGE_verdicts};
    memcpy(m.verdicts.uid, "00aa", 5);
    m.verdicts.attempt = 2;
    m.verdicts.verdicts = &v;
    m.verdicts.verdicts_count = 1;
    answer(s, MESSAGE_ranges_done, &m, 5);
    ack(s, 4, true, 5);
    page(s, 0, 2, true, 5);
    const struct msg_ranges_done *told = told_next(s, 6);
    assert_int_equal(told->results_count, 2);
    assert_int_equal(told->results[0].range, 3);
    assert_int_equal(told->results[1].range, 2);
}

/* The lead has read range 0 itself, under this epoch, and nobody has judged it. */
static void read_too(struct stage *s, uint64_t counter)
{
    struct msg_lease granted = {.range = 0, .term = 4, .counter = counter};
    struct message m = {.type = MESSAGE_ranges};
    struct frame f = {.type = FRAME_range_done,
                      .range_done = {.term = 4, .counter = counter, .blob = slice_str("own")}};
    frame(s, 1, (struct frame){.type = FRAME_need, .need = {.count = 1}});
    memcpy(m.ranges.uid, "00aa", 5);
    m.ranges.attempt = 2;
    m.ranges.leases = &granted;
    m.ranges.leases_count = 1;
    answer(s, MESSAGE_want_ranges, &m, 4);
    frame(s, 1, f);
    assert_int_equal(s->asked[MESSAGE_ranges_done].ranges_done.results_count, 1);
}

/* Another node was faster, and goes; so does the coordinator. */
static void own_result_was_too_late(void **state)
{
    struct stage *s = *state;
    checkpointing(s);
    read_too(s, 9);
    page(s, 0, 4, true, 4);
    const struct msg_ranges_done *told = told_next(s, 5);
    assert_int_equal(told->results_count, 4); /* the own one has to wait for the plan */
    assert_int_equal(told->results[3].range, 0);
    assert_int_equal(told->results[3].counter, 3);
    assert_true(told->results[3].stored);
}

/* The verdict is lost, and the page says the same. */
static void own_result_is_among_the_accepted(void **state)
{
    struct stage *s = *state;
    checkpointing(s);
    read_too(s, 3);
    page(s, 0, 4, true, 4);
    const struct msg_ranges_done *told = told_next(s, 5);
    assert_int_equal(told->results_count, 4);
    assert_int_equal(told->results[0].range, 0);
    assert_int_equal(told->results[0].counter, 3);
    assert_false(told->results[0].stored);
    assert_memory_equal(told->results[0].blob.data, "own", 3);
}

static void not_ready_yet(void **state)
{
    struct stage *s = *state;
    struct message m = {.type = MESSAGE_results};
    checkpointing(s);
    memcpy(m.results.uid, "00aa", 5);
    m.results.attempt = 2;
    m.results.not_ready = true;
    uint64_t serial = s->asked[MESSAGE_want_results].serial;
    answer(s, MESSAGE_want_results, &m, 4);
    assert_int_equal(s->sent[FRAME_accepted], 0);
    assert_int_equal(s->asked[MESSAGE_want_results].serial, serial);
    tick(s, 499999);
    assert_int_equal(s->asked[MESSAGE_want_results].serial, serial);
    tick(s, 1);
    assert_true(s->asked[MESSAGE_want_results].serial > serial);
    assert_int_equal(s->asked[MESSAGE_want_results].want_results.from, 0);
}

/* It had stored the manifest, and could not tell: the next one finds it, though the attempt is at work. */
static void a_runner_lost_after_the_commit(void **state)
{
    struct stage *s = *state;
    struct frame f = {.type = FRAME_found};
    checkpointing(s);
    exited(s, 1);
    tick(s, SEC(2));
    f.found.committed = true;
    frame(s, 2, f);
    assert_int_equal(reported(s)->stage, JOB_STAGE_COMMITTED);
}

static void a_runner_lost_at_work(void **state)
{
    struct stage *s = *state;
    checkpointing(s);
    page(s, 0, 2, true, 4);
    exited(s, 1);
    tick(s, SEC(2));
    frame(s, 2, (struct frame){.type = FRAME_ready});
    assert_true(s->told[FRAME_begin].begin.plan_known);
    frame(s, 2, (struct frame){.type = FRAME_want_accepted});
    assert_int_equal(s->asked[MESSAGE_want_results].want_results.from, 0);
}

#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup_holding, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(nothing_is_found),
        SCENE(a_checkpoint_is_found),
        SCENE(it_was_committed),
        SCENE(found_by_a_later_runner),
        SCENE(stored_before_the_last_batch),
        SCENE(a_new_term_in_the_middle),
        SCENE(a_runner_lost_in_the_plan),
        SCENE(pages_of_results),
        SCENE(asked_of_a_new_coordinator),
        SCENE(what_others_read_outlives_both),
        SCENE(judged_otherwise),
        SCENE(own_result_was_too_late),
        SCENE(own_result_is_among_the_accepted),
        SCENE(not_ready_yet),
        SCENE(a_runner_lost_after_the_commit),
        SCENE(a_runner_lost_at_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
