/* Log jobs over the agent's restarts, and the bounds of what it counts for them. */
#include "tests/unit/agent/brain/log_stage.h"

/* ---- over restarts ---- */

static void assignments_are_kept(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_HOLD, JOB_STEP_RUN, 1);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1);
    const struct agent_action *stored = &s->last[AGENT_ACT_STORE_LOG_JOBS];
    assert_int_equal(stored->store_log_jobs.count, 1);
    assert_int_equal(stored->store_log_jobs.term, 4);
    assert_string_equal(stored->store_log_jobs.jobs[0].name, "log");
    assert_int_equal(stored->store_log_jobs.jobs[0].log->flush_ms, 5000);
    params.checkpoint = 999; /* that something is stored is kept */
    desire_log(s, 2, JOB_ROLE_HOLD, JOB_STEP_RUN, 1);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1);
    assert_int_equal(s->last[AGENT_ACT_STORE_LOG_JOBS].store_log_jobs.jobs[0].log->checkpoint, 999);
    params.checkpoint = 1000; /* it moves every second: not worth a write */
    desire_log(s, 3, JOB_ROLE_HOLD, JOB_STEP_RUN, 1);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 0);
    params.flush_ms = 1000;
    desire_log(s, 4, JOB_ROLE_HOLD, JOB_STEP_RUN, 1);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1);
    desire_log(s, 5, JOB_ROLE_HOLD, JOB_STEP_STOP, 1);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1);
    assert_int_equal(s->last[AGENT_ACT_STORE_LOG_JOBS].store_log_jobs.jobs[0].step, JOB_STEP_STOP);
    desire(s, 6, NULL);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1);
    assert_int_equal(s->last[AGENT_ACT_STORE_LOG_JOBS].store_log_jobs.count, 0);
}

/* ---- a coordinator that may have forgotten them ---- */

static void desire_keep(struct stage *s, uint64_t revision, struct msg_assignment *jobs,
                        size_t count, uint32_t keep)
{
    struct message m = {.type = MESSAGE_desired};
    m.desired.revision = revision;
    m.desired.lease_ms = 10000;
    m.desired.jobs = jobs;
    m.desired.jobs_count = count;
    m.desired.keep = keep;
    s->mono_us += SEC(1);
    s->desired = true;
    answer(s, MESSAGE_poll, &m, 4);
    if (s->did[AGENT_ACT_SEND] == 0)
        tick(s, 0);
}

static void forgotten_jobs_go_on(void **state)
{
    struct stage *s = *state;
    struct msg_assignment jobs[] = {wanted(JOB_ROLE_LEAD, JOB_STEP_RUN, 1),
                                    backup_wanted(JOB_STEP_PREPARE)};
    connect_to(s, 4);
    desire_keep(s, 1, jobs, 2, 0);
    assert_int_equal(agent_brain_job_count(s->brain), 2);
    desire_keep(s, 2, NULL, 0, DESIRED_KEEP_ALL);
    assert_int_equal(agent_brain_job_count(s->brain), 2);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 0); /* also for the next life */
    desire_keep(s, 3, NULL, 0, DESIRED_KEEP_LOGS);
    assert_int_equal(s->did[AGENT_ACT_SESSION_CLOSE], 1);
    assert_string_equal(s->log, "job 'b' is not wanted any more");
    desire_keep(s, 4, jobs, 1, 0); /* known again: the same job, nothing is begun */
    assert_int_equal(s->said[AGENT_LOG_JOB_START], 0);
    desire_keep(s, 5, NULL, 0, 0);
    assert_int_equal(s->last[AGENT_ACT_STORE_LOG_JOBS].store_log_jobs.count, 0);
    assert_string_equal(s->log, "job 'log' is not wanted any more");
}

/* Its own job is in the way of the deletion until it is gone. */
static void a_deleted_backup_is_not_forgotten(void **state)
{
    struct stage *s = *state;
    struct msg_assignment job = backup_wanted(JOB_STEP_PREPARE);
    struct msg_backup_params of = {.backup_id = "20261121T100000Z-00000001"};
    connect_to(s, 4);
    desire_keep(s, 1, &job, 1, 0);
    job.kind = JOB_KIND_DELETE;
    job.backup = &of;
    desire_keep(s, 2, &job, 1, DESIRED_KEEP_ALL);
    assert_string_equal(s->log, "job 'b' is not wanted any more");
    assert_int_equal(s->did[AGENT_ACT_SESSION_CLOSE], 1);
}

static void another_log_takes_its_place(void **state)
{
    struct stage *s = *state;
    struct msg_assignment job = wanted(JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    connect_to(s, 4);
    desire_keep(s, 1, &job, 1, 0);
    memcpy(job.uid, "00cc", 5);
    desire_keep(s, 2, &job, 1, DESIRED_KEEP_ALL);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1);
    assert_string_equal(s->last[AGENT_ACT_STORE_LOG_JOBS].store_log_jobs.jobs[0].uid, "00cc");
    assert_int_equal(s->said[AGENT_LOG_JOB_START], 1);
}

static int restarted_setup(void **state)
{
    params = (struct msg_log_params){.flush_ms = 5000};
    struct msg_assignment a = wanted(JOB_ROLE_LEAD, JOB_STEP_RUN, 2);
    struct agent_writer writers[] = {{.uid = "00bb", .term = 3, .attempt = 2, .runners = 7},
                                     {.uid = "00cc", .term = 3, .attempt = 2, .runners = 9}};
    const struct agent_brain_config kept = {.writers = writers,
                                            .writer_count = 2,
                                            .log_jobs = &a,
                                            .log_job_count = 1,
                                            .log_jobs_term = 3};
    struct stage *s = stage_new(&kept);
    memset(&a, 0xff, sizeof(a)); /* the brain has its own copy */
    *state = s;
    return 0;
}

static void goes_on_after_a_restart(void **state)
{
    struct stage *s = *state;
    assert_int_equal(agent_brain_job_count(s->brain), 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0); /* it may be a standby by now */
    look(s, INSTANCE_STANDBY, "7000");
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    look(s, INSTANCE_PRIMARY, "7000");
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(s->told[FRAME_job].job.term, 3);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(2u, 8)); /* above all before */
    assert_int_equal(s->last[AGENT_ACT_RUNNER_SPAWN].runner.writer_count, 2);
    assert_string_equal(s->last[AGENT_ACT_RUNNER_SPAWN].runner.writers[1].uid, "00bb");
    assert_int_equal(s->last[AGENT_ACT_RUNNER_SPAWN].runner.writers[1].runners, 8);
    ready(s, 1);
    assert_int_equal(s->told[FRAME_log_want].log_want.step, JOB_STEP_RUN);
    status(s, 1, JOB_STAGE_WORKING, 300);
    connect_to(s, 4); /* the coordinator is back, and has nothing new to say */
    tick(s, SEC(3));
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 2);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_int_equal(s->sent[FRAME_log_want], 0);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1); /* but its term is a newer one */
    assert_int_equal(s->last[AGENT_ACT_STORE_LOG_JOBS].store_log_jobs.term, 4);
    assert_int_equal(reported(s)->log->durable, 300);
    exited(s, 1);
    tick(s, SEC(1));
    assert_int_equal(s->told[FRAME_job].job.term, 4);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(2u, 1)); /* of a new term */
}

/* It may know nothing of this job, and give its attempt to another one. */
static void a_newer_term_that_does_not_name_the_job(void **state)
{
    struct stage *s = *state;
    connect_to(s, 5);
    look(s, INSTANCE_PRIMARY, "7000");
    assert_int_equal(s->told[FRAME_job].job.term, 3);
    exited(s, 1);
    tick(s, SEC(1));
    assert_int_equal(s->told[FRAME_job].job.term, 3);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(2u, 9));
}

static int uncounted_setup(void **state)
{
    params = (struct msg_log_params){.flush_ms = 5000};
    struct msg_assignment a = wanted(JOB_ROLE_LEAD, JOB_STEP_RUN, 2);
    const struct agent_brain_config kept = {.log_jobs = &a, .log_job_count = 1, .log_jobs_term = 3};
    *state = stage_new(&kept);
    return 0;
}

static void without_a_count_the_coordinator_is_awaited(void **state)
{
    struct stage *s = *state;
    assert_string_equal(
        s->log, "job 'log' of before waits for the coordinator: its runners were not counted");
    look(s, INSTANCE_PRIMARY, "7000");
    assert_int_equal(agent_brain_job_count(s->brain), 0);
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 2);
    assert_int_equal(s->told[FRAME_job].job.term, 4);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(2u, 1));
}

static void the_first_desired_set_decides(void **state)
{
    struct stage *s = *state;
    look(s, INSTANCE_PRIMARY, "7000");
    ready(s, 1);
    connect_to(s, 4);
    assert_int_equal(agent_brain_job_count(s->brain), 1);
    desire(s, 1, NULL); /* deleted, or led from elsewhere */
    assert_int_equal(s->sent[FRAME_stop], 1);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1);
    exited(s, 1);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
}

static void a_confirmed_job_waits_for_no_role(void **state)
{
    struct stage *s = *state;
    look(s, INSTANCE_STANDBY, "7000");
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    connect_to(s, 4);
    assert_string_equal(reported(s)->log->error->text,
                        "the instance of tenant 'main' is not seen as primary, and no coordinator "
                        "has confirmed the job since the agent's start");
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 2);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
}

static void the_coordinator_is_away(void **state)
{
    struct stage *s = *state;
    streaming(s);
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    feed(s, &event);
    for (int minutes = 0; minutes < 60; minutes++)
        tick(s, SEC(60));
    assert_int_equal(s->told[FRAME_stop].type, 0);
    exited(s, 1);
    tick(s, SEC(1));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    ready(s, 2);
    status(s, 2, JOB_STAGE_WORKING, 900);
    connect_to(s, 5);
    assert_int_equal(s->asked[MESSAGE_heartbeat].heartbeat.jobs[0].log->durable, 900);
    assert_int_equal(s->told[FRAME_stop].type, 0);
}

/* ---- bounds ---- */

static int last_runner_setup(void **state)
{
    params = (struct msg_log_params){.flush_ms = 5000};
    struct agent_writer writer = {
        .uid = "00bb", .term = 4, .attempt = 1, .runners = AGENT_BRAIN_RUNNERS_MAX - 1};
    const struct agent_brain_config kept = {.writers = &writer, .writer_count = 1};
    *state = stage_new(&kept);
    return 0;
}

static void runners_are_bounded(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(1u, 1023));
    exited(s, 1);
    tick(s, SEC(1));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_FAILED);
    assert_string_equal(job->error->text, "1023 runners of one attempt ended");
    assert_true(job->error->retryable); /* the coordinator's next attempt counts from one */
    desire_log(s, 2, JOB_ROLE_LEAD, JOB_STEP_RUN, 2);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(2u, 1));
}

static void attempts_are_bounded(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, AGENT_BRAIN_ATTEMPTS_MAX);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(4095u, 1));
    exited(s, 1);
    desire_log(s, 2, JOB_ROLE_LEAD, JOB_STEP_RUN, AGENT_BRAIN_ATTEMPTS_MAX + 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    const struct msg_job *job = reported(s);
    assert_string_equal(job->error->text,
                        "more than 4095 attempts of one log job: its writers could not be told "
                        "apart any more, a new one is needed");
    assert_false(job->error->retryable);
}

static int many_writers_setup(void **state)
{
    struct agent_writer writers[AGENT_BRAIN_WRITERS_MAX];
    params = (struct msg_log_params){.flush_ms = 5000};
    for (unsigned at = 0; at < TM_ARRAY_LEN(writers); at++) {
        writers[at] = (struct agent_writer){.term = 4, .attempt = 1, .runners = 1};
        (void)snprintf(writers[at].uid, sizeof(writers[at].uid), "w%u", at);
    }
    const struct agent_brain_config kept = {.writers = writers,
                                            .writer_count = TM_ARRAY_LEN(writers)};
    *state = stage_new(&kept);
    return 0;
}

static void the_longest_unused_count_is_forgotten(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    const struct agent_action *spawn = &s->last[AGENT_ACT_RUNNER_SPAWN];
    assert_int_equal(spawn->runner.writer_count, AGENT_BRAIN_WRITERS_MAX);
    assert_string_equal(spawn->runner.writers[0].uid, "w1");
    assert_string_equal(spawn->runner.writers[AGENT_BRAIN_WRITERS_MAX - 1].uid, "00bb");
}

#define SCENE(name)     cmocka_unit_test_setup_teardown(name, log_setup, teardown)
#define RESTARTED(name) cmocka_unit_test_setup_teardown(name, restarted_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(assignments_are_kept),
        SCENE(forgotten_jobs_go_on),
        SCENE(a_deleted_backup_is_not_forgotten),
        SCENE(another_log_takes_its_place),
        RESTARTED(goes_on_after_a_restart),
        RESTARTED(a_newer_term_that_does_not_name_the_job),
        cmocka_unit_test_setup_teardown(without_a_count_the_coordinator_is_awaited, uncounted_setup,
                                        teardown),
        RESTARTED(the_first_desired_set_decides),
        RESTARTED(a_confirmed_job_waits_for_no_role),
        SCENE(the_coordinator_is_away),
        cmocka_unit_test_setup_teardown(runners_are_bounded, last_runner_setup, teardown),
        SCENE(attempts_are_bounded),
        cmocka_unit_test_setup_teardown(the_longest_unused_count_is_forgotten, many_writers_setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
