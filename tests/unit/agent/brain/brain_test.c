/* The agent's brain, scene by scene: what it asks for, keeps, gives up. */
#include "tests/unit/agent/brain/stage.h"

/* Connected, with a job whose runner is ready, planned and at work. */
static void working(struct stage *s)
{
    connect_to(s, 4);
    struct msg_assignment a = backup_wanted(JOB_STEP_PREPARE);
    desire(s, 1, &a);
    begun(s);
    frame(s, 1, (struct frame){.type = FRAME_ready});
    struct msg_plan_range range = {.bytes = 100};
    struct frame plan = {.type = FRAME_plan_batch};
    plan.plan_batch.ranges = &range;
    plan.plan_batch.ranges_count = 1;
    plan.plan_batch.last = true;
    frame(s, 1, plan);
    a = backup_wanted(JOB_STEP_RUN);
    desire(s, 2, &a);
    struct frame need = {.type = FRAME_need};
    need.need.count = 4;
    frame(s, 1, need);
}

static void lease(struct stage *s, uint64_t term, uint64_t counter)
{
    struct msg_lease granted = {.range = 0, .term = term, .counter = counter};
    struct message m = {.type = MESSAGE_ranges};
    memcpy(m.ranges.uid, "00aa", 5);
    m.ranges.attempt = 1;
    m.ranges.leases = &granted;
    m.ranges.leases_count = 1;
    answer(s, MESSAGE_want_ranges, &m, 4);
}

static void stored(struct stage *s, uint64_t term, uint64_t counter)
{
    struct frame f = {.type = FRAME_range_done};
    f.range_done.term = term;
    f.range_done.counter = counter;
    f.range_done.blob = slice_str("entry");
    frame(s, 1, f);
}

/* ---- scenes ---- */

static void connects_with_growing_pauses(void **state)
{
    struct stage *s = *state;
    assert_int_equal(s->did[AGENT_ACT_CONNECT], 1);
    assert_int_equal(s->last[AGENT_ACT_CONNECT].connect.seen_term, 3);
    uint64_t pause_us = 200000;
    for (int tries = 0; tries < 8; tries++) {
        struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
        feed(s, &event);
        uint64_t at_us = s->last[AGENT_ACT_WAKE].wake.at_us - s->mono_us;
        assert_in_range(at_us, pause_us / 2, pause_us);
        tick(s, at_us - 1);
        assert_int_equal(s->did[AGENT_ACT_CONNECT], 0);
        tick(s, 1);
        assert_int_equal(s->did[AGENT_ACT_CONNECT], 1);
        pause_us = TM_MIN(pause_us * 2, (uint64_t)10000000);
    }
}

static void refuses_older_terms(void **state)
{
    struct stage *s = *state;
    connect_to(s, 2);
    assert_int_equal(s->did[AGENT_ACT_DISCONNECT], 1);
    assert_int_equal(s->did[AGENT_ACT_SEND], 0);
    assert_string_equal(s->log, "connection to the coordinator given up: its term is older than "
                                "one seen before");
    tick(s, SEC(20));
    connect_to(s, 4);
    assert_int_equal(s->did[AGENT_ACT_STORE_TERM], 1);
    assert_int_equal(s->did[AGENT_ACT_SEND], 2); /* a heartbeat and a poll */
    struct msg_assignment a = backup_wanted(JOB_STEP_PREPARE);
    struct message m = {.type = MESSAGE_desired};
    m.desired.revision = 1;
    m.desired.lease_ms = 1;
    m.desired.jobs = &a;
    m.desired.jobs_count = 1;
    answer(s, MESSAGE_poll, &m, 3);
    assert_int_equal(s->did[AGENT_ACT_DISCONNECT], 1);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
}

static void lose_connection(struct stage *s)
{
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    feed(s, &event);
    tick(s, SEC(20));
    assert_int_equal(s->did[AGENT_ACT_CONNECT], 1);
}

/* How far the state of the coordinator had come that it saw last. */
static void remembers_what_it_was_told(void **state)
{
    struct stage *s = *state;
    assert_int_equal(s->last[AGENT_ACT_CONNECT].connect.seen_revision, 0);
    connect_to(s, 4);
    struct message m = {.type = MESSAGE_desired};
    m.term = 4;
    m.desired.revision = 2;
    m.desired.lease_ms = 1;
    m.desired.state_revision = 9;
    answer(s, MESSAGE_heartbeat, &m, 4);
    m.desired.revision = 1; /* overtaken */
    m.desired.state_revision = 8;
    answer(s, MESSAGE_poll, &m, 4);
    lose_connection(s);
    assert_int_equal(s->last[AGENT_ACT_CONNECT].connect.seen_term, 4);
    assert_int_equal(s->last[AGENT_ACT_CONNECT].connect.seen_revision, 9);
    connect_to(s, 5); /* which told nothing yet */
    lose_connection(s);
    assert_int_equal(s->last[AGENT_ACT_CONNECT].connect.seen_term, 5);
    assert_int_equal(s->last[AGENT_ACT_CONNECT].connect.seen_revision, 0);
}

static void a_lead_begins(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    struct msg_assignment a = backup_wanted(JOB_STEP_PREPARE);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 1);
    assert_string_equal(s->last[AGENT_ACT_SESSION_BEGIN].session.label,
                        "tidemark 20261121T000000Z-00000001");
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_string_equal(s->told[FRAME_job].job.storage, "file:///backup");
    assert_string_equal(s->told[FRAME_job].job.conninfo, "host=/run");
    assert_int_equal(s->told[FRAME_job].job.generation, 1);
    begun(s);
    assert_int_equal(s->told[FRAME_begin].type, 0); /* the runner is not ready */
    frame(s, 1, (struct frame){.type = FRAME_ready});
    assert_memory_equal(s->told[FRAME_begin].begin.begin.data, "blob", 4);
    assert_false(s->told[FRAME_begin].begin.plan_known);
}

static void works_and_finishes(void **state)
{
    struct stage *s = *state;
    working(s);
    assert_int_equal(s->asked[MESSAGE_plan_ranges].plan_ranges.ranges_count, 1);
    assert_true(s->asked[MESSAGE_plan_ranges].plan_ranges.last);
    assert_int_equal(s->asked[MESSAGE_want_ranges].want_ranges.count, 4);
    plan_ack(s, 1, 1, true, 4);
    lease(s, 4, 1);
    assert_int_equal(s->told[FRAME_ranges].ranges.leases_count, 1);
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_WORKING);
    assert_int_equal(job->leases_count, 1);
    stored(s, 4, 1);
    assert_int_equal(s->asked[MESSAGE_ranges_done].ranges_done.results_count, 1);
    struct msg_assignment a = backup_wanted(JOB_STEP_FINISH);
    desire(s, 3, &a);
    struct agent_event event = {.kind = AGENT_EV_SESSION_ENDED};
    event.ended.job = 1;
    event.ended.end = slice_str("end");
    feed(s, &event);
    assert_int_equal(s->told[FRAME_finish].finish.plan_ranges, 1);
    struct frame f = {.type = FRAME_want_results};
    frame(s, 1, f);
    assert_int_equal(s->asked[MESSAGE_want_results].want_results.from, 0);
    struct msg_totals totals = {.position = "0/2"};
    f = (struct frame){.type = FRAME_committed};
    f.committed.totals = &totals;
    frame(s, 1, f);
    job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_COMMITTED);
    assert_string_equal(job->totals->position, "0/2");
    assert_int_equal(agent_brain_job_count(s->brain), 1);
}

static void a_dead_runner(void **state)
{
    struct stage *s = *state;
    working(s);
    lease(s, 4, 1);
    exited(s, 1);
    assert_int_equal(reported(s)->leases_count, 0);
    assert_int_equal(s->told[FRAME_job].job.generation, 2);
    frame(s, 1, (struct frame){.type = FRAME_failed}); /* an echo of the dead: nobody hears */
    frame(s, 2, (struct frame){.type = FRAME_ready});
    assert_true(s->told[FRAME_begin].begin.plan_known);
}

static void too_many_dead_runners(void **state)
{
    struct stage *s = *state;
    working(s);
    for (uint32_t generation = 1; generation <= 6; generation++) {
        exited(s, generation);
        if (generation < 6)
            tick(s, SEC(31));
    }
    assert_string_equal(s->log, "job 'b' failed (runner): 6 runners died; the last one was killed "
                                "by signal 9 (out of memory?)");
    assert_int_equal(s->said[AGENT_LOG_RUNNER_DIED], 1);
    assert_int_equal(s->said[AGENT_LOG_JOB_FAILED], 1);
    assert_int_equal(s->did[AGENT_ACT_SESSION_CLOSE], 1);
}

static void a_corrupt_page(void **state)
{
    struct stage *s = *state;
    struct msg_counters counters = {.pages_corrupt = 1, .problem = "base/5/1, block 7: bad"};
    struct frame f = {.type = FRAME_range_done};
    working(s);
    lease(s, 4, 1);
    f.range_done.term = 4;
    f.range_done.counter = 1;
    f.range_done.blob = slice_str("entry");
    f.range_done.counters = &counters;
    frame(s, 1, f);
    assert_int_equal(s->said[AGENT_LOG_PAGE_CORRUPT], 1);
    assert_string_equal(s->log, "range 0 of job 'b': base/5/1, block 7: bad");
    counters.pages_corrupt = 0; /* another kind of problem is told, but is not this event */
    lease(s, 4, 2);
    f.range_done.counter = 2;
    frame(s, 1, f);
    assert_int_equal(s->did[AGENT_ACT_LOG], 1);
    assert_int_equal(s->said[AGENT_LOG_PAGE_CORRUPT], 0);
}

static void an_instance_changes(void **state)
{
    struct stage *s = *state;
    struct msg_instance seen = {.role = INSTANCE_PRIMARY};
    struct agent_event event = {.kind = AGENT_EV_INSTANCE};
    event.instance.instance = &seen;
    feed(s, &event);
    feed(s, &event); /* nothing new */
    assert_int_equal(s->said[AGENT_LOG_INSTANCE_CHANGED], 0);
    seen.role = INSTANCE_STANDBY;
    feed(s, &event);
    assert_int_equal(s->said[AGENT_LOG_INSTANCE_CHANGED], 1);
    assert_string_equal(s->log, "instance of tenant 'main' is standby now");
    struct msg_error error = {.code = TM_E_UNAVAILABLE, .text = "no answer"};
    seen.error = &error;
    feed(s, &event);
    assert_int_equal(s->said[AGENT_LOG_INSTANCE_CHANGED], 1);
    assert_string_equal(s->log, "instance of tenant 'main': no answer");
}

static void another_life(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    struct msg_assignment a = backup_wanted(JOB_STEP_RUN);
    memcpy(a.boot, "boot0", 6);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_FAILED);
    assert_string_equal(job->error->text, "agent on node 'db-a' was restarted: the database "
                                          "session that held the backup is lost");
    a.step = JOB_STEP_ABORT; /* sweeping is open to every life */
    desire(s, 2, &a);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    frame(s, 1, (struct frame){.type = FRAME_ready});
    assert_int_equal(s->told[FRAME_sweep].type, FRAME_sweep);
    frame(s, 1, (struct frame){.type = FRAME_swept});
    assert_int_equal(reported(s)->stage, JOB_STAGE_SWEPT);
}

/* What is wrong with storage now is reported as long as it is, and goes with its runner. */
static void trouble_with_storage(void **state)
{
    struct stage *s = *state;
    struct msg_error error = {.text = "store: no answer", .stage = "storage", .since_us = 77};
    working(s);
    assert_null(reported(s)->trouble);
    frame(s, 1, (struct frame){.type = FRAME_trouble, .trouble = {.error = &error}});
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_WORKING);
    assert_string_equal(job->trouble->text, "store: no answer");
    assert_string_equal(job->trouble->stage, "storage");
    assert_int_equal(job->trouble->since_us, 77);
    frame(s, 1, (struct frame){.type = FRAME_trouble});
    assert_null(reported(s)->trouble);
    frame(s, 1, (struct frame){.type = FRAME_trouble, .trouble = {.error = &error}});
    assert_non_null(reported(s)->trouble);
    exited(s, 1);
    assert_null(reported(s)->trouble);
}

/* What the runner is told of its rate, where the node and the job may each have a limit. */
static void expect_rate(uint64_t of_node, uint64_t of_job, uint64_t told)
{
    struct agent_brain_config config = {.rate_limit_bytes_s = of_node};
    struct stage *s = stage_new(&config);
    void *state = s;
    connect_to(s, 4);
    struct msg_assignment a = backup_wanted(JOB_STEP_PREPARE);
    struct msg_backup_params params = *a.backup;
    params.rate_limit = of_job;
    params.concurrency = 3;
    a.backup = &params;
    desire(s, 1, &a);
    begun(s);
    assert_int_equal(s->told[FRAME_job].job.backup->rate_limit, told);
    assert_int_equal(s->told[FRAME_job].job.backup->concurrency, 3);
    teardown(&state);
}

static void the_lower_limit_counts(void **state)
{
    (void)state;
    expect_rate(0, 0, 0);
    expect_rate(0, 7000000, 7000000);
    expect_rate(5000000, 0, 5000000);
    expect_rate(5000000, 7000000, 5000000);
    expect_rate(5000000, 3000000, 3000000);
}

static void dropped_jobs_stay_dropped(void **state)
{
    struct stage *s = *state;
    working(s);
    desire(s, 5, NULL);
    assert_int_equal(agent_brain_job_count(s->brain), 1); /* until all of it is closed */
    exited(s, 1);
    struct agent_event event = {.kind = AGENT_EV_SESSION_CLOSED};
    event.session_closed.job = 1;
    feed(s, &event);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
    struct msg_assignment a = backup_wanted(JOB_STEP_RUN);
    desire(s, 4, &a); /* older than what was applied */
    assert_int_equal(agent_brain_job_count(s->brain), 0);
    desire(s, 6, &a);
    assert_string_equal(reported(s)->error->text, "node 'db-a' was told to drop this job and "
                                                  "cannot take it up again");
}

static void results_outlive_coordinators(void **state)
{
    struct stage *s = *state;
    working(s);
    plan_ack(s, 1, 1, true, 4);
    lease(s, 4, 1);
    stored(s, 4, 1);
    struct msg_verdict verdict = {.range = 0, .term = 4, .counter = 1, .verdict = VERDICT_ACCEPTED};
    struct message m = {.type = MESSAGE_verdicts};
    memcpy(m.verdicts.uid, "00aa", 5);
    m.verdicts.attempt = 1;
    m.verdicts.verdicts = &verdict;
    m.verdicts.verdicts_count = 1;
    uint64_t first = s->asked[MESSAGE_ranges_done].serial;
    answer(s, MESSAGE_ranges_done, &m, 4);
    tick(s, SEC(1));
    assert_int_equal(s->asked[MESSAGE_ranges_done].serial, first);
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    feed(s, &event);
    tick(s, SEC(20));
    connect_to(s, 5);
    const struct message *plan = &s->asked[MESSAGE_plan_ranges];
    assert_true(plan->serial > first); /* told to the new one, … */
    assert_int_equal(plan->plan_ranges.ranges_count, 1);
    assert_false(plan->plan_ranges.last); /* … and before it is whole … */
    assert_int_equal(s->asked[MESSAGE_ranges_done].serial, first);
    plan_ack(s, 1, 1, false, 5);
    assert_true(s->asked[MESSAGE_ranges_done].serial > first); /* … what is done */
    assert_int_equal(s->asked[MESSAGE_ranges_done].ranges_done.results[0].counter, 1);
    uint64_t before = plan->serial;
    tick(s, SEC(1) / 10);
    assert_int_equal(plan->serial, before);
    answer(s, MESSAGE_ranges_done, &m, 5);
    assert_true(plan->serial > before);
    assert_int_equal(plan->plan_ranges.first, 1);
    assert_int_equal(plan->plan_ranges.ranges_count, 0);
    assert_true(plan->plan_ranges.last);
}

static void a_lost_session(void **state)
{
    struct stage *s = *state;
    working(s);
    struct tm_err err;
    (void)tm_err_set(&err, TM_E_UNAVAILABLE, "server closed the connection");
    struct agent_event event = {.kind = AGENT_EV_SESSION_FAILED};
    event.session_failed.job = 1;
    event.session_failed.err = &err;
    event.session_failed.stage = "session";
    feed(s, &event);
    assert_int_equal(s->said[AGENT_LOG_SESSION_LOST], 1);
    assert_int_equal(s->said[AGENT_LOG_JOB_FAILED], 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    assert_int_equal(s->did[AGENT_ACT_SESSION_CLOSE], 1);
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_FAILED);
    assert_string_equal(job->error->text, "server closed the connection");
    assert_string_equal(job->error->stage, "session");
}

/* Connected, with a restore. */
static void restoring(struct stage *s)
{
    struct msg_restore_params target = {
        .source_cluster = "demo1", .source_tenant = "main", .data_dir = "/srv/restore/x"};
    struct msg_assignment a = backup_wanted(JOB_STEP_RUN);
    a.kind = JOB_KIND_RESTORE;
    a.backup = NULL;
    a.restore = &target;
    connect_to(s, 4);
    desire(s, 1, &a);
}

static void a_dead_restore_runner(void **state)
{
    struct stage *s = *state;
    restoring(s);
    frame(s, 1, (struct frame){.type = FRAME_ready});
    exited(s, 1); /* nothing was written yet: what lies in the target is not this job's */
    assert_int_equal(s->said[AGENT_LOG_RUNNER_DIED], 1);
    tick(s, SEC(2));
    assert_int_equal(s->told[FRAME_job].job.generation, 2);
    assert_false(s->told[FRAME_job].job.resume);

    frame(s, 2, (struct frame){.type = FRAME_ready});
    frame(s, 2, (struct frame){.type = FRAME_progress, .progress = {.writing = true}});
    frame(s, 2, (struct frame){.type = FRAME_progress, .progress = {.bytes_done = 70}});
    exited(s, 2);
    tick(s, SEC(3));
    assert_int_equal(s->told[FRAME_job].job.generation, 3);
    assert_true(s->told[FRAME_job].job.resume);
    frame(s, 3, (struct frame){.type = FRAME_ready});
    frame(s, 3, (struct frame){.type = FRAME_progress, .progress = {.bytes_done = 20}});
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_WORKING);
    assert_int_equal(job->bytes_done, 20); /* all is gone over again */
    struct msg_totals totals = {.position = "0/2"};
    frame(s, 3, (struct frame){.type = FRAME_restored, .restored = {.totals = &totals}});
    assert_int_equal(reported(s)->stage, JOB_STAGE_RESTORED);
}

static void a_restore_whose_runners_all_die(void **state)
{
    struct stage *s = *state;
    restoring(s);
    for (uint32_t generation = 1; generation <= 6; generation++) {
        assert_int_equal(s->told[FRAME_job].job.generation, generation);
        exited(s, generation);
        tick(s, SEC(31));
    }
    assert_int_equal(s->told[FRAME_job].job.generation, 6);
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_FAILED);
    assert_string_equal(job->error->text,
                        "6 runners died; the last one was killed by signal 9 (out of memory?)");
}

static void a_warning_is_said_once_and_reported(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    struct msg_assignment a = backup_wanted(JOB_STEP_PREPARE);
    desire(s, 1, &a);
    begun_with(s, "the hold has no bound");
    assert_int_equal(s->said[AGENT_LOG_PLAIN], 1);
    assert_string_equal(s->log, "job 'b': the hold has no bound");
    for (int beat = 0; beat < 2; beat++) {
        const struct msg_job *job = reported(s);
        assert_int_equal(job->warnings_count, 1);
        assert_string_equal(job->warnings[0], "the hold has no bound");
        assert_int_equal(s->said[AGENT_LOG_PLAIN], 0);
    }
}

static void stops(void **state)
{
    struct stage *s = *state;
    working(s);
    struct agent_event event = {.kind = AGENT_EV_STOP};
    feed(s, &event);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    assert_int_equal(s->did[AGENT_ACT_SESSION_CLOSE], 1);
    assert_int_equal(s->did[AGENT_ACT_DONE], 0);
    exited(s, 1);
    event = (struct agent_event){.kind = AGENT_EV_SESSION_CLOSED};
    event.session_closed.job = 1;
    feed(s, &event);
    assert_int_equal(s->did[AGENT_ACT_DONE], 1);
}

#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(connects_with_growing_pauses),
        SCENE(refuses_older_terms),
        SCENE(remembers_what_it_was_told),
        SCENE(a_lead_begins),
        SCENE(works_and_finishes),
        SCENE(a_dead_runner),
        SCENE(too_many_dead_runners),
        SCENE(a_corrupt_page),
        SCENE(an_instance_changes),
        SCENE(another_life),
        SCENE(trouble_with_storage),
        cmocka_unit_test(the_lower_limit_counts),
        SCENE(dropped_jobs_stay_dropped),
        SCENE(results_outlive_coordinators),
        SCENE(a_lost_session),
        SCENE(a_dead_restore_runner),
        SCENE(a_restore_whose_runners_all_die),
        SCENE(a_warning_is_said_once_and_reported),
        SCENE(stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
