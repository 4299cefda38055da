/* Log jobs on the agent, scene by scene: started, told, lost, dropped. */
#include "tests/unit/agent/brain/log_stage.h"

/* ---- scenes ---- */

static void a_lead_streams(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0);
    assert_int_equal(s->last[AGENT_ACT_RUNNER_SPAWN].runner.writer_count, 1);
    const struct agent_writer *writer = s->last[AGENT_ACT_RUNNER_SPAWN].runner.writers;
    assert_string_equal(writer->uid, "00bb");
    assert_int_equal(writer->term, 4);
    assert_int_equal(writer->attempt, 1);
    assert_int_equal(writer->runners, 1);
    const struct frame_job *job = &s->told[FRAME_job].job;
    assert_int_equal(job->kind, JOB_KIND_LOG);
    assert_int_equal(job->roles, JOB_ROLE_LEAD);
    assert_int_equal(job->term, 4);
    assert_int_equal(job->generation, GENERATION(1u, 1));
    assert_string_equal(job->engine, "mock");
    assert_string_equal(job->conninfo, "host=/run");
    assert_string_equal(job->data_dir, "/data");
    assert_string_equal(job->name, "log");
    assert_string_equal(job->identity, "7000");
    assert_int_equal(job->log->flush_ms, 5000);
    assert_int_equal(s->sent[FRAME_log_want], 0);
    ready(s, 1);
    assert_int_equal(s->sent[FRAME_log_want], 1);
    assert_int_equal(s->told[FRAME_log_want].log_want.step, JOB_STEP_RUN);
    assert_string_equal(s->told[FRAME_log_want].log_want.log->compression, "zstd:3");
    const struct msg_job *told = reported(s);
    assert_int_equal(told->kind, JOB_KIND_LOG);
    assert_int_equal(told->stage, JOB_STAGE_STARTING);
    assert_null(told->log);
    status(s, 1, JOB_STAGE_WORKING, 100);
    told = reported(s);
    assert_int_equal(told->stage, JOB_STAGE_WORKING);
    assert_int_equal(told->log->durable, 100);
    assert_int_equal(told->log->checkpoint_us, 77);
    assert_string_equal(told->log->lineage, "0011");
    assert_null(told->log->error);
}

static void wants_are_told_when_they_change(void **state)
{
    struct stage *s = *state;
    streaming(s);
    desire_log(s, 2, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    assert_int_equal(s->sent[FRAME_log_want], 0);
    params.checkpoint = 100; /* its own words come back to a lead */
    desire_log(s, 3, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    tick(s, SEC(5));
    assert_int_equal(s->told[FRAME_log_want].log_want.log->checkpoint, 0);
    params.truncate_gen = 1;
    params.truncate_until = "0/3000148";
    desire_log(s, 4, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    assert_int_equal(s->sent[FRAME_log_want], 1);
    assert_string_equal(s->told[FRAME_log_want].log_want.log->truncate_until, "0/3000148");
    desire_log(s, 5, JOB_ROLE_LEAD, JOB_STEP_PAUSE, 1);
    assert_int_equal(s->sent[FRAME_log_want], 1);
    assert_int_equal(s->told[FRAME_log_want].log_want.step, JOB_STEP_PAUSE);
    assert_int_equal(reported(s)->stage, JOB_STAGE_WORKING); /* until the runner says otherwise */
    status(s, 1, JOB_STAGE_PAUSED, 100);
    assert_int_equal(reported(s)->stage, JOB_STAGE_PAUSED);
    desire_log(s, 6, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    assert_int_equal(s->told[FRAME_log_want].log_want.step, JOB_STEP_RUN);
    status(s, 1, JOB_STAGE_WORKING, 120);
    assert_int_equal(reported(s)->stage, JOB_STAGE_WORKING);
    desire_log(s, 7, JOB_ROLE_LEAD, JOB_STEP_STOP, 1);
    assert_int_equal(s->told[FRAME_log_want].log_want.step, JOB_STEP_STOP);
    status(s, 1, JOB_STAGE_STOPPED, 120);
    assert_int_equal(reported(s)->stage, JOB_STAGE_STOPPED);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_int_equal(s->told[FRAME_stop].type, 0); /* it stays: truncation is still possible */
}

static void a_hold_follows_the_checkpoint(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    params.checkpoint = 50;
    desire_log(s, 1, JOB_ROLE_HOLD, JOB_STEP_RUN, 1);
    assert_int_equal(s->told[FRAME_job].job.roles, JOB_ROLE_HOLD);
    ready(s, 1);
    assert_int_equal(s->told[FRAME_log_want].log_want.log->checkpoint, 50);
    params.checkpoint = 60;
    desire_log(s, 2, JOB_ROLE_HOLD, JOB_STEP_RUN, 1); /* a second later */
    assert_int_equal(s->told[FRAME_log_want].log_want.log->checkpoint, 60);
    uint64_t told_us = s->mono_us;
    params.checkpoint = 70;
    struct msg_assignment a = wanted(JOB_ROLE_HOLD, JOB_STEP_RUN, 1);
    struct message m = {.type = MESSAGE_desired};
    m.desired.revision = 3;
    m.desired.lease_ms = 10000;
    m.desired.jobs = &a;
    m.desired.jobs_count = 1;
    s->mono_us += 300000;
    answer(s, MESSAGE_heartbeat, &m, 4);
    assert_int_equal(s->told[FRAME_log_want].log_want.log->checkpoint, 60);
    assert_true(s->last[AGENT_ACT_WAKE].wake.at_us <= told_us + SEC(1));
    tick(s, 700000 - 1);
    assert_int_equal(s->sent[FRAME_log_want], 0);
    tick(s, 1);
    assert_int_equal(s->sent[FRAME_log_want], 1);
    assert_int_equal(s->told[FRAME_log_want].log_want.log->checkpoint, 70);
    params.checkpoint = 0; /* a coordinator that does not know yet */
    desire_log(s, 4, JOB_ROLE_HOLD, JOB_STEP_RUN, 1);
    tick(s, SEC(3));
    assert_int_equal(s->told[FRAME_log_want].log_want.log->checkpoint, 70);
}

static void runners_die_for_ever(void **state)
{
    struct stage *s = *state;
    streaming(s);
    uint64_t pause_us = 500000;
    for (uint32_t generation = 1; generation <= 40; generation++) {
        exited(s, generation);
        assert_int_equal(s->said[AGENT_LOG_RUNNER_DIED], 1);
        assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
        tick(s, pause_us - 1);
        assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
        tick(s, 1);
        assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
        assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(1u, generation + 1));
        pause_us = TM_MIN(pause_us * 2, (uint64_t)30000000);
    }
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_WORKING);
    assert_int_equal(job->runner_restarts, 40);
    assert_int_equal(job->log->durable, 100); /* what was stored is stored */
    ready(s, 41);
    assert_int_equal(s->sent[FRAME_log_want], 1);
    tick(s, SEC(31)); /* it lives for a while: the next pause is short again */
    exited(s, 41);
    tick(s, 500000);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
}

static void a_lost_runner_is_told(void **state)
{
    struct stage *s = *state;
    streaming(s);
    exited(s, 1);
    int64_t since_us = (int64_t)s->mono_us;
    const struct msg_job *job = reported(s);
    assert_int_equal(job->log->error->code, TM_E_INTERNAL);
    assert_string_equal(job->log->error->text,
                        "runner died: it was killed by signal 9 (out of memory?)");
    assert_string_equal(job->log->error->stage, "runner");
    assert_int_equal(job->log->error->since_us, since_us);
    assert_int_equal(job->log->durable, 100);
    assert_null(job->error); /* the job did not fail */
    tick(s, SEC(1));
    exited(s, 2); /* still the same trouble */
    assert_int_equal(reported(s)->log->error->since_us, since_us);
    assert_int_equal(reported(s)->runner_restarts, 2);
    ready(s, 3);
    assert_non_null(reported(s)->log->error);
    status(s, 3, JOB_STAGE_WORKING, 200);
    assert_null(reported(s)->log->error);
    assert_int_equal(reported(s)->log->durable, 200);
    status(s, 2, JOB_STAGE_WORKING, 150); /* an echo of the dead */
    assert_int_equal(reported(s)->log->durable, 200);
}

static void a_job_fails(void **state)
{
    struct stage *s = *state;
    streaming(s);
    failed(s, 1, false);
    assert_int_equal(s->said[AGENT_LOG_JOB_FAILED], 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    exited(s, 1);
    tick(s, SEC(100));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_FAILED);
    assert_string_equal(job->error->text, "a newer writer is there");
    assert_string_equal(job->error->stage, "writer");
    assert_int_equal(job->log->durable, 100);
    desire_log(s, 2, JOB_ROLE_LEAD, JOB_STEP_PAUSE, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    desire_log(s, 3, JOB_ROLE_LEAD, JOB_STEP_STOP, 1); /* its hold may still be there */
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    ready(s, 2);
    assert_int_equal(s->told[FRAME_log_want].log_want.step, JOB_STEP_STOP);
    failed(s, 2, false); /* once is enough */
    exited(s, 2);
    tick(s, SEC(100));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_int_equal(reported(s)->stage, JOB_STAGE_FAILED);
    desire_log(s, 4, JOB_ROLE_LEAD, JOB_STEP_RUN, 2); /* another attempt is another job */
    s->job = 2;
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(2u, 1));
}

/* The newer writer was another node's, and the coordinator that had moved the log there has forgotten it. */
static void a_failure_for_an_earlier_coordinator(void **state)
{
    struct stage *s = *state;
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    failed(s, 1, false);
    exited(s, 1);
    assert_int_equal(reported(s)->stage, JOB_STAGE_FAILED);
    feed(s, &event);
    tick(s, SEC(20));
    connect_to(s, 5);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0); /* maybe it is not wanted */
    assert_int_equal(reported(s)->stage, JOB_STAGE_STARTING);
    assert_null(reported(s)->error);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(s->told[FRAME_job].job.term, 5);
    failed(s, 2, false); /* it is newer than that one, too */
    exited(s, 2);
    assert_int_equal(reported(s)->stage, JOB_STAGE_FAILED);
}

static void what_may_pass_is_no_failure(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    failed(s, 1, true);
    assert_int_equal(s->said[AGENT_LOG_JOB_FAILED], 0);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    exited(s, 1);
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_STARTING);
    assert_int_equal(job->runner_restarts, 1);
    assert_string_equal(job->log->error->text, "a newer writer is there");
    assert_int_equal(job->log->error->code, TM_E_CONFLICT);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1); /* two seconds later */
}

static void a_dropped_job_stops(void **state)
{
    struct stage *s = *state;
    streaming(s);
    desire(s, 2, NULL);
    assert_int_equal(s->sent[FRAME_stop], 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 0);
    assert_int_equal(agent_brain_job_count(s->brain), 1);
    exited(s, 1);
    assert_int_equal(s->said[AGENT_LOG_RUNNER_DIED], 0);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
    desire_log(s, 3, JOB_ROLE_LEAD, JOB_STEP_RUN, 1); /* the same attempt: taken up again */
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(1u, 2));
    assert_int_equal(reported(s)->stage, JOB_STAGE_STARTING);
}

static void one_that_does_not_stop_is_killed(void **state)
{
    struct stage *s = *state;
    streaming(s);
    desire(s, 2, NULL);
    assert_true(s->last[AGENT_ACT_WAKE].wake.at_us <= s->mono_us + SEC(10));
    tick(s, SEC(10) - 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 0);
    assert_int_equal(s->sent[FRAME_stop], 0);
    tick(s, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 1);
    assert_int_equal(agent_brain_job_count(s->brain), 1);
    exited(s, 1);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
}

static void never_two_runners_of_one_uid(void **state)
{
    struct stage *s = *state;
    streaming(s);
    desire_log(s, 2, JOB_ROLE_LEAD, JOB_STEP_RUN, 3);
    assert_int_equal(s->sent[FRAME_stop], 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    tick(s, SEC(2));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    exited(s, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(agent_brain_job_count(s->brain), 1);
    assert_int_equal(s->told[FRAME_job].job.attempt, 3);
    assert_int_equal(s->told[FRAME_job].job.generation, GENERATION(3u, 1));
    s->job = 2;
    ready(s, 1);
    assert_int_equal(s->sent[FRAME_log_want], 1);
}

static void a_role_changes(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_HOLD, JOB_STEP_RUN, 1);
    ready(s, 1);
    status(s, 1, JOB_STAGE_WORKING, 0);
    desire_log(s, 2, JOB_ROLE_LEAD, JOB_STEP_RUN, 1); /* promoted */
    assert_int_equal(s->sent[FRAME_stop], 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    status(s, 1, JOB_STAGE_WORKING, 5); /* what the hold still says is not the lead's */
    assert_int_equal(reported(s)->stage, JOB_STAGE_STARTING);
    assert_null(reported(s)->log);
    exited(s, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(s->told[FRAME_job].job.roles, JOB_ROLE_LEAD);
    assert_int_equal(reported(s)->runner_restarts, 0);
}

static void an_instance_must_be_known(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    struct msg_assignment a = wanted(JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    a.identity[0] = '\0';
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_string_equal(reported(s)->log->error->text,
                        "the instance of tenant 'main' is not known yet: it was not looked at");
    look(s, INSTANCE_PRIMARY, "7000");
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_string_equal(s->told[FRAME_job].job.identity, "7000");
    (void)snprintf(a.tenant, sizeof(a.tenant), "other");
    (void)snprintf(a.uid, sizeof(a.uid), "00cc");
    exited(s, 1);
    desire(s, 2, &a);
    const struct msg_job *job = reported(s);
    assert_int_equal(job->stage, JOB_STAGE_FAILED);
    assert_string_equal(job->error->text, "node 'db-a' has no instance of tenant 'other'");
}

static void what_makes_no_sense_is_not_taken(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    struct msg_assignment a = wanted(JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    a.log = NULL;
    desire(s, 1, &a);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
    desire_log(s, 2, JOB_ROLE_WORKER, JOB_STEP_RUN, 1);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
    desire_log(s, 3, JOB_ROLE_LEAD, JOB_STEP_FINISH, 1);
    assert_int_equal(agent_brain_job_count(s->brain), 0);
}

static void the_agent_stops(void **state)
{
    struct stage *s = *state;
    streaming(s);
    struct agent_event event = {.kind = AGENT_EV_STOP};
    feed(s, &event);
    assert_int_equal(s->sent[FRAME_stop], 1);
    assert_int_equal(s->said[AGENT_LOG_JOB_FAILED], 0);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 0); /* still wanted: for the next life */
    assert_int_equal(s->did[AGENT_ACT_DONE], 0);
    exited(s, 1);
    assert_int_equal(s->did[AGENT_ACT_DONE], 1);
}

static void finds(struct stage *s, uint32_t generation, uint64_t id, uint64_t chunks)
{
    struct msg_log_answer told = {.id = id, .chunks = chunks};
    struct frame f = {.type = FRAME_log_answer};
    f.log_answer.answer = &told;
    frame(s, generation, f);
}

/* The runner answers; that is told until the question is not there any more. */
static void a_question_is_answered(void **state)
{
    struct stage *s = *state;
    struct msg_log_query query = {.id = 77, .kind = LOG_QUERY_SEARCH, .name = "x"};
    streaming(s);
    assert_null(reported(s)->answer);
    params.query = &query;
    desire_log(s, 2, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 0); /* nothing for the next life */
    assert_int_equal(s->told[FRAME_log_want].log_want.log->query->id, 77);
    assert_string_equal(s->told[FRAME_log_want].log_want.log->query->name, "x");
    assert_null(reported(s)->answer);
    finds(s, 1, 76, 1); /* to another one */
    assert_null(reported(s)->answer);
    finds(s, 1, 77, 5);
    assert_int_equal(reported(s)->answer->id, 77);
    assert_int_equal(reported(s)->answer->chunks, 5);
    query.id = 78;
    desire_log(s, 3, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    assert_int_equal(s->told[FRAME_log_want].log_want.log->query->id, 78);
    assert_null(reported(s)->answer);
    finds(s, 1, 78, 6);
    assert_int_equal(reported(s)->answer->chunks, 6);
    params.query = NULL;
    desire_log(s, 4, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    assert_null(s->told[FRAME_log_want].log_want.log->query);
    assert_null(reported(s)->answer);
    finds(s, 1, 78, 6);
    assert_null(reported(s)->answer);
}

#define SCENE(name) cmocka_unit_test_setup_teardown(name, log_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(a_lead_streams),
        SCENE(wants_are_told_when_they_change),
        SCENE(a_hold_follows_the_checkpoint),
        SCENE(runners_die_for_ever),
        SCENE(a_lost_runner_is_told),
        SCENE(a_job_fails),
        SCENE(a_failure_for_an_earlier_coordinator),
        SCENE(what_may_pass_is_no_failure),
        SCENE(a_dropped_job_stops),
        SCENE(one_that_does_not_stop_is_killed),
        SCENE(never_two_runners_of_one_uid),
        SCENE(a_role_changes),
        SCENE(an_instance_must_be_known),
        SCENE(what_makes_no_sense_is_not_taken),
        SCENE(the_agent_stops),
        SCENE(a_question_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
