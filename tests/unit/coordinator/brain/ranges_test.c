/* Ranges in the coordinator's brain: leases, verdicts, results, and what a restart makes of them. */
#include "tests/unit/coordinator/brain/stage.h"

static void a_backup_from_end_to_end(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    want(s, 10, &a, 8);
    assert_int_equal(s->reply.ranges.leases_count, 2);
    assert_int_equal(s->reply.ranges.leases[1].counter, 2);
    assert_memory_equal(s->reply.ranges.leases[1].start.data, "b", 1);
    assert_int_equal(done(s, 10, &a, 1, 1, 2), VERDICT_ACCEPTED);
    assert_int_equal(done(s, 10, &a, 1, 1, 2), VERDICT_ACCEPTED); /* again: still once */
    assert_int_equal(status_of(s, "b")->ranges_done, 1);
    assert_int_equal(done(s, 10, &a, 7, 1, 2), VERDICT_STALE); /* there is no such range */
    assert_int_equal(done(s, 10, &a, 0, 1, 9), VERDICT_STALE); /* nor such a lease */
    assert_int_equal(done(s, 10, &a, 0, 1, 1), VERDICT_ACCEPTED);

    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    const char *warnings[] = {"the hold has no bound"};
    job.warnings = warnings;
    job.warnings_count = 1;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(desired_job(s)->step, JOB_STEP_FINISH);
    assert_int_equal(status_of(s, "b")->warning_count, 1);
    assert_string_equal(status_of(s, "b")->warnings[0], "the hold has no bound");
    struct message m = {.type = MESSAGE_want_results};
    memcpy(m.want_results.uid, a.uid, sizeof(a.uid));
    m.want_results.attempt = a.attempt;
    ask(s, 10, &m);
    assert_int_equal(s->reply.results.results_count, 2);
    assert_true(s->reply.results.last);
    assert_int_equal(s->reply.results.results[1].counter, 2);
    assert_memory_equal(s->reply.results.results[0].blob.data, "entry", 5);

    struct msg_counters counters = {.bytes = 210, .stored_bytes = 90};
    struct msg_totals totals = {.counters = &counters, .position = "0/3000148", .commit_us = 5};
    job.stage = JOB_STAGE_COMMITTED;
    job.totals = &totals;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->phase, RESOURCE_COMPLETE);
    assert_int_equal(status->backup_bytes, 90);
    assert_string_equal(status->position, "0/3000148");
    assert_int_equal(status->ranges_done, 2);
    assert_int_equal(status->warning_count, 1); /* also when the job is over */
    assert_string_equal(status->warnings[0], "the hold has no bound");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    apply(s, BACKUP("    concurrency: 3\n"));
    assert_string_equal(s->answer.msg, "Backup/b was started already and its spec cannot change "
                                       "any more; apply it under another name");
}

static void lapsed_leases_are_fenced(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, INSTANCE_CAP_RANGE_OWN_POSITION, 2);
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, INSTANCE_CAP_RANGE_OWN_POSITION, NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_WORKER);
    want(s, 11, &a, 1);
    assert_int_equal(s->reply.ranges.leases[0].range, 0);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    for (int second = 0; second < 11; second++) {
        s->mono_us += SEC(1);
        beat(s, 10, INSTANCE_PRIMARY, INSTANCE_CAP_RANGE_OWN_POSITION, &job);
    }
    want(s, 10, &a, 1); /* db-b is silent for 11 s */
    assert_int_equal(s->reply.ranges.leases_count, 1);
    assert_int_equal(s->reply.ranges.leases[0].range, 0);
    assert_int_equal(s->reply.ranges.leases[0].counter, 2);
    assert_false(s->reply.ranges.leases[0].shared);
    assert_int_equal(s->said, BRAIN_LOG_RANGE_RELEASED);
    assert_string_equal(s->log,
                        "ranges leased anew to node 'db-a', as earlier leases ended without "
                        "a result: 1");
    assert_int_equal(done(s, 11, &a, 0, 1, 1), VERDICT_STALE);
    assert_int_equal(done(s, 10, &a, 0, 1, 2), VERDICT_ACCEPTED);
}

static void a_lease_that_is_not_reported_is_free(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    want(s, 10, &a, 1);
    uint64_t grant = s->serial;
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    job.want_serial = grant - 1; /* the answer had not come when this was said */
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    want(s, 10, &a, 1);
    assert_int_equal(s->reply.ranges.leases[0].range, 1);
    job.want_serial = s->serial; /* now it had, and the runner is dead */
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    want(s, 10, &a, 2);
    assert_int_equal(s->reply.ranges.leases_count, 2);
    assert_int_equal(s->reply.ranges.leases[0].range, 0);
    assert_int_equal(s->reply.ranges.leases[0].counter, 3);
}

static void failed_ranges(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    want(s, 10, &a, 2);
    struct msg_error error = {
        .code = TM_E_NO_SPACE, .text = "cannot write 'd'", .retryable = false};
    struct msg_result result = {.range = 1, .term = 1, .counter = 2, .error = &error};
    struct message m = {.type = MESSAGE_ranges_done};
    memcpy(m.ranges_done.uid, a.uid, sizeof(a.uid));
    m.ranges_done.attempt = a.attempt;
    m.ranges_done.results = &result;
    m.ranges_done.results_count = 1;
    ask(s, 10, &m);
    assert_string_equal(status_of(s, "b")->error.message, "range 1: cannot write 'd'");
    assert_int_equal(status_of(s, "b")->error.code, TM_E_NO_SPACE);
}

static void a_restart_takes_up_what_runs(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    want(s, 10, &a, 2);
    assert_int_equal(done(s, 10, &a, 0, 1, 1), VERDICT_ACCEPTED);
    brain_free(s->brain);
    s->mono_us += SEC(5);
    start(s, 2);
    up(s, 20, "db-a", "boot1", 1);
    struct message poll = {.type = MESSAGE_poll};
    unsigned before = s->replies;
    ask(s, 20, &poll);
    assert_int_equal(s->replies, before); /* what the agent has is not known yet */
    struct msg_lease lease = {.range = 1, .term = 1, .counter = 2};
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    job.leases = &lease;
    job.leases_count = 1;
    beat(s, 20, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(desired_job(s)->step, JOB_STEP_RUN);
    assert_false(desired_job(s)->plan_done);
    assert_int_equal(done(s, 20, &a, 0, 1, 1), VERDICT_LATER); /* the plan is not back */
    send_plan(s, 20, &a, 2);
    beat(s, 20, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(done(s, 20, &a, 0, 1, 1), VERDICT_ACCEPTED);
    want(s, 20, &a, 2);
    assert_int_equal(s->reply.ranges.leases_count, 0); /* for one lease time */
    assert_int_equal(done(s, 20, &a, 1, 1, 2), VERDICT_ACCEPTED);
    assert_int_equal(status_of(s, "b")->ranges_done, 2);
}

/* Nobody else may be told to read it again when the lead goes in between. */
static void what_the_lead_read_comes_before_the_rest_of_the_plan(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 3);
    want(s, 10, &a, 2);
    assert_int_equal(done(s, 10, &a, 0, 1, 1), VERDICT_ACCEPTED);
    brain_free(s->brain);
    start(s, 2);
    up(s, 20, "db-a", "boot1", 1);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    beat(s, 20, INSTANCE_PRIMARY, 0, &job);
    send_plan_page(s, 20, &a, 0, 2, false);
    assert_int_equal(done(s, 20, &a, 2, 1, 3), VERDICT_LATER);    /* of no range yet */
    assert_int_equal(done(s, 20, &a, 1, 2, 1), VERDICT_LATER);    /* of this term */
    assert_int_equal(done(s, 20, &a, 0, 1, 1), VERDICT_ACCEPTED); /* of the one before */
    send_plan_page(s, 20, &a, 2, 1, true);
    assert_true(s->reply.plan_ack.done);
    assert_int_equal(status_of(s, "b")->ranges_done, 1);
}

static void a_restart_without_the_lead(void **state)
{
    struct stage *s = *state;
    (void)running(s, 0, 2);
    brain_free(s->brain);
    start(s, 2);
    tick(s, SEC(59));
    assert_false(status_of(s, "b")->has_error);
    tick(s, SEC(2));
    assert_string_equal(status_of(s, "b")->error.message,
                        "agent on node 'db-a' is not heard for 60 s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(a_backup_from_end_to_end),
        SCENE(lapsed_leases_are_fenced),
        SCENE(a_lease_that_is_not_reported_is_free),
        SCENE(failed_ranges),
        SCENE(a_restart_takes_up_what_runs),
        SCENE(what_the_lead_read_comes_before_the_rest_of_the_plan),
        SCENE(a_restart_without_the_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
