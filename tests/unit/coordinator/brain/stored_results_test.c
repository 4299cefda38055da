/* Results that were stored before: the lead tells them, and is told what is accepted, page by page. */
#include "tests/unit/coordinator/brain/resume_stage.h"

/* ---- verdicts ---- */

static uint32_t tell_stored(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                            uint32_t range, uint64_t counter)
{
    return judged(s, conn, a, range, 1, counter, true);
}

/* Ranges 0 to 2 of a plan that is not complete; or that there is only one more. */
static void send_half(struct stage *s, const struct msg_assignment *a, bool last)
{
    send_plan_page(s, 10, a, last ? 3 : 0, last ? 1 : 3, last);
    assert_int_equal(s->reply.type, MESSAGE_plan_ack);
    assert_int_equal(s->reply.plan_ack.next, last ? 4 : 3);
    assert_int_equal(s->reply.plan_ack.done, last);
}

static void stored_before_the_plan_is_whole(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = resumed(s);
    assert_int_equal(tell_stored(s, 10, &a, 1, 7), VERDICT_LATER); /* of no range yet */
    send_half(s, &a, false);
    assert_int_equal(tell_stored(s, 10, &a, 3, 7), VERDICT_LATER);
    assert_int_equal(done(s, 10, &a, 0, 1, 7), VERDICT_LATER); /* of this attempt: not before */
    assert_int_equal(tell_stored(s, 10, &a, 1, 7), VERDICT_ACCEPTED);
    assert_int_equal(tell_stored(s, 10, &a, 1, 7), VERDICT_ACCEPTED);
    assert_int_equal(tell_stored(s, 10, &a, 1, 8), VERDICT_STALE);
    want(s, 10, &a, 8);
    assert_int_equal(s->reply.ranges.leases_count, 0);
    send_half(s, &a, true);
    assert_int_equal(status_of(s, "b")->ranges_done, 1);
    says(s, 10, &a, JOB_STAGE_WORKING, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_RUN);
    want(s, 10, &a, 8);
    assert_int_equal(s->reply.ranges.leases_count, 3); /* what is stored is not read again */
    assert_int_equal(s->reply.ranges.leases[0].range, 0);
    assert_int_equal(s->reply.ranges.leases[1].range, 2);
    assert_int_equal(s->reply.ranges.leases[2].range, 3);
    assert_int_equal(tell_stored(s, 10, &a, 0, 7), VERDICT_STALE); /* granted: too late */
    uint64_t counter = s->reply.verdicts.verdicts[0].counter;
    assert_int_equal(counter, 7);
}

/* Under way on connection 10, with a worker on 11. */
static struct msg_assignment shared(struct stage *s)
{
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, INSTANCE_CAP_RANGE_OWN_POSITION, NULL);
    struct msg_assignment a = running(s, INSTANCE_CAP_RANGE_OWN_POSITION, 3);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    beat(s, 11, INSTANCE_STANDBY, INSTANCE_CAP_RANGE_OWN_POSITION, &job);
    return a;
}

static void stored_says_another(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = shared(s);
    assert_int_equal(tell_stored(s, 11, &a, 0, 7), VERDICT_STALE); /* a worker only */
    assert_int_equal(tell_stored(s, 10, &a, 0, 7), VERDICT_ACCEPTED);
}

/* After a restart the lead tells what another node has read before that one does, whose share it is all the same. */
static void told_by_the_lead_first(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = shared(s);
    assert_int_equal(tell_stored(s, 10, &a, 0, 7), VERDICT_ACCEPTED);
    assert_int_equal(tell_stored(s, 10, &a, 2, 9), VERDICT_ACCEPTED);
    assert_int_equal(status_of(s, "b")->ranges_resumed, 2);
    assert_int_equal(status_of(s, "b")->share_count, 0);
    for (int times = 0; times < 2; times++) {
        assert_int_equal(done(s, 11, &a, 0, 1, 7), VERDICT_ACCEPTED);
        assert_int_equal(done(s, 11, &a, 2, 1, 8), VERDICT_STALE); /* it lost that one */
        const struct resource_status *status = status_of(s, "b");
        assert_int_equal(status->ranges_done, 2);
        assert_int_equal(status->ranges_resumed, 1);
        assert_int_equal(status->bytes_resumed, 100);
        assert_int_equal(status->share_count, 1);
        assert_string_equal(status->shares[0].node, "db-b");
        assert_int_equal(status->shares[0].ranges, 1);
        assert_int_equal(status->shares[0].bytes, 100);
    }
}

/* ---- pages of what was accepted ---- */

static void ask_accepted(struct stage *s, const struct msg_assignment *a, uint32_t from)
{
    struct message m = {.type = MESSAGE_want_results};
    memcpy(m.want_results.uid, a->uid, sizeof(a->uid));
    m.want_results.attempt = a->attempt;
    m.want_results.from = from;
    m.want_results.accepted = true;
    ask(s, 10, &m);
    assert_int_equal(s->reply.type, MESSAGE_results);
    assert_true(s->reply.results.accepted);
    assert_false(s->reply.results.not_ready);
    assert_int_equal(s->reply.results.from, from);
}

static void in_their_order(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 4);
    ask_accepted(s, &a, 0);
    assert_int_equal(s->reply.results.results_count, 0);
    assert_true(s->reply.results.last);
    want(s, 10, &a, 8);
    assert_int_equal(done(s, 10, &a, 2, 1, 3), VERDICT_ACCEPTED);
    assert_int_equal(done(s, 10, &a, 0, 1, 1), VERDICT_ACCEPTED);
    ask_accepted(s, &a, 0);
    assert_int_equal(s->reply.results.results_count, 2);
    assert_true(s->reply.results.last);
    assert_int_equal(s->reply.results.results[0].range, 2);
    assert_int_equal(s->reply.results.results[0].counter, 3);
    assert_memory_equal(s->reply.results.results[0].blob.data, "entry", 5);
    assert_int_equal(s->reply.results.results[0].counters->bytes, 100);
    assert_int_equal(s->reply.results.results[0].counters->stored_bytes, 40);
    assert_int_equal(s->reply.results.results[0].counters->files, 2);
    assert_int_equal(s->reply.results.results[1].range, 0);
    assert_int_equal(done(s, 10, &a, 3, 1, 4), VERDICT_ACCEPTED);
    ask_accepted(s, &a, 2);
    assert_int_equal(s->reply.results.results_count, 1);
    assert_int_equal(s->reply.results.results[0].range, 3);
    ask_accepted(s, &a, 3);
    assert_int_equal(s->reply.results.results_count, 0);
    assert_true(s->reply.results.last);
    ask_accepted(s, &a, 4000); /* of a coordinator that knew more */
    assert_int_equal(s->reply.results.results_count, 0);
    assert_true(s->reply.results.last);
}

static void page_by_page(void **state)
{
    enum { RANGES = 2 * WIRE_RESULTS_MAX + 5 };
    static char keys[RANGES + 1][8];
    static struct msg_plan_range plan[RANGES];
    struct stage *s = *state;
    struct msg_assignment a = resumed(s);
    for (size_t at = 0; at < RANGES; at++)
        (void)snprintf(keys[at], sizeof(keys[at]), "%04zu", at);
    for (size_t from = 0; from < RANGES; from += TM_MIN(RANGES - from, (size_t)WIRE_PLAN_MAX)) {
        struct message m = {.type = MESSAGE_plan_ranges};
        size_t count = TM_MIN(RANGES - from, (size_t)WIRE_PLAN_MAX);
        for (size_t at = from; at < from + count; at++)
            plan[at] = (struct msg_plan_range){.start = at > 0 ? slice_str(keys[at]) : SLICE_EMPTY,
                                               .end = at + 1 < RANGES ? slice_str(keys[at + 1])
                                                                      : SLICE_EMPTY,
                                               .bytes = 10};
        memcpy(m.plan_ranges.uid, a.uid, sizeof(a.uid));
        m.plan_ranges.attempt = a.attempt;
        m.plan_ranges.first = (uint32_t)from;
        m.plan_ranges.ranges = &plan[from];
        m.plan_ranges.ranges_count = count;
        ask(s, 10, &m);
        assert_int_equal(s->reply.plan_ack.next, from + count);
    }
    for (uint32_t at = 0; at < RANGES; at++)
        assert_int_equal(tell_stored(s, 10, &a, RANGES - 1 - at, 1), VERDICT_ACCEPTED);
    uint32_t from = 0;
    for (int page = 0; page < 3; page++) {
        ask_accepted(s, &a, from);
        assert_int_equal(s->reply.results.results_count, page < 2 ? WIRE_RESULTS_MAX : 5);
        assert_int_equal(s->reply.results.last, page == 2);
        for (size_t at = 0; at < s->reply.results.results_count; at++)
            assert_int_equal(s->reply.results.results[at].range, RANGES - 1 - from - at);
        from += (uint32_t)s->reply.results.results_count;
    }
    assert_int_equal(from, RANGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(stored_before_the_plan_is_whole),
        SCENE(stored_says_another),
        SCENE(told_by_the_lead_first),
        SCENE(in_their_order),
        SCENE(page_by_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
