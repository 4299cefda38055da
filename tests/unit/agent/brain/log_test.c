/* Log jobs on the agent, scene by scene: started, told, lost, dropped, taken up again. */
#include "tests/unit/agent/brain/stage.h"

/* attempt, runners: the lowest ten bits are the runner's own */
#define GENERATION(attempt, runners) ((attempt) << 20 | (runners) << 10)

static struct msg_log_params params;

static struct msg_assignment wanted(enum job_role role, enum job_step step, uint32_t attempt)
{
    struct msg_assignment a = {.uid = "00bb",
                               .attempt = attempt,
                               .kind = JOB_KIND_LOG,
                               .roles = role,
                               .step = step,
                               .boot = "boot0", /* of a life long past: nothing to a log job */
                               .cluster = "demo1",
                               .tenant = "main",
                               .identity = "7000",
                               .name = "log",
                               .storage = "file:///backup",
                               .log = &params};
    return a;
}

static int log_setup(void **state)
{
    params = (struct msg_log_params){.flush_ms = 5000, .compression = "zstd:3"};
    return setup(state);
}

static void look(struct stage *s, enum instance_role role, const char *identity)
{
    struct msg_instance seen = {.role = role};
    struct agent_event event = {.kind = AGENT_EV_INSTANCE};
    (void)snprintf(seen.identity, sizeof(seen.identity), "%s", identity);
    event.instance.instance = &seen;
    feed(s, &event);
}

static void ready(struct stage *s, uint32_t generation)
{
    frame(s, generation, (struct frame){.type = FRAME_ready});
}

static void status(struct stage *s, uint32_t generation, enum job_stage stage, uint64_t durable)
{
    struct msg_log_status log = {.durable = durable, .lineage = "0011", .checkpoint_us = 77};
    struct frame f = {.type = FRAME_log_status};
    f.log_status.stage = stage;
    f.log_status.log = &log;
    frame(s, generation, f);
}

static void failed(struct stage *s, uint32_t generation, bool retryable)
{
    struct msg_error error = {.code = TM_E_CONFLICT,
                              .text = "a newer writer is there",
                              .stage = "writer",
                              .retryable = retryable};
    struct frame f = {.type = FRAME_failed};
    f.failed.error = &error;
    frame(s, generation, f);
}

/* A desired set with the one job; the step's outcome is left to look at. */
static void desire_log(struct stage *s, uint64_t revision, enum job_role role, enum job_step step,
                       uint32_t attempt)
{
    struct msg_assignment a = wanted(role, step, attempt);
    desire(s, revision, &a);
}

static void streaming(struct stage *s)
{
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    ready(s, 1);
    status(s, 1, JOB_STAGE_WORKING, 100);
}

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
        SCENE(a_lead_streams),
        SCENE(wants_are_told_when_they_change),
        SCENE(a_hold_follows_the_checkpoint),
        SCENE(runners_die_for_ever),
        SCENE(a_lost_runner_is_told),
        SCENE(a_job_fails),
        SCENE(what_may_pass_is_no_failure),
        SCENE(a_dropped_job_stops),
        SCENE(one_that_does_not_stop_is_killed),
        SCENE(never_two_runners_of_one_uid),
        SCENE(a_role_changes),
        SCENE(an_instance_must_be_known),
        SCENE(what_makes_no_sense_is_not_taken),
        SCENE(the_agent_stops),
        SCENE(assignments_are_kept),
        RESTARTED(goes_on_after_a_restart),
        RESTARTED(a_newer_term_that_does_not_name_the_job),
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
