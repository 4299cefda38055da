/* Questions about stored log in the coordinator's brain: whom they reach, and how they end. */
#include "tests/unit/coordinator/brain/log_stage.h"

static const struct msg_log_query search = {
    .kind = LOG_QUERY_SEARCH, .from_us = 5, .to_us = 9, .xid = 742, .name = "x", .limit = 3};

static void question(struct stage *s, const char *name)
{
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = 7;
    event.command.what = BRAIN_CMD_QUERY;
    event.command.kind = "Backup";
    event.command.name = name;
    event.command.query = &search;
    s->answers = 0;
    s->found = false;
    s->answer = (struct tm_err){0};
    feed(s, &event);
}

static void refused(struct stage *s, enum tm_err_code code, const char *text)
{
    question(s, "wal");
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, code);
    assert_string_equal(s->answer.msg, text);
}

/* The report of a lead with an answer. */
static void answers(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                    enum job_stage stage, const struct msg_log_answer *answer)
{
    struct msg_log_status status = streaming(0x1000, 1000000);
    struct msg_log_answer told = *answer;
    struct msg_job job = log_job(a, stage, &status);
    job.answer = &told;
    beat(s, conn, INSTANCE_PRIMARY, 0, &job);
}

static void an_agent_answers(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    assert_null(desired_job(s)->log->query);
    question(s, "wal");
    assert_int_equal(s->answers, 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    const struct msg_log_query *query = desired_job(s)->log->query;
    assert_non_null(query);
    assert_int_equal(query->kind, LOG_QUERY_SEARCH);
    assert_int_equal(query->from_us, 5);
    assert_int_equal(query->to_us, 9);
    assert_int_equal(query->xid, 742);
    assert_string_equal(query->name, "x");
    assert_int_equal(query->limit, 3);
    uint64_t id = query->id;
    assert_true(id != 0);

    struct msg_log_event event = {.kind = 1, .time_us = 6, .position = "0/1", .lineage = LINEAGE};
    struct msg_log_answer answer = {
        .id = id + 1, .events = &event, .events_count = 1, .more = true};
    answers(s, 10, &a, JOB_STAGE_WORKING, &answer); /* to a question of long ago */
    assert_int_equal(s->answers, 0);
    assert_int_equal(desired_job(s)->log->query->id, id);
    answer.id = id;
    answers(s, 10, &a, JOB_STAGE_WORKING, &answer);
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_true(s->found);
    assert_int_equal(s->found_events, 1);
    assert_true(s->found_more);
    assert_string_equal(s->found_of, "demo1/main");
    assert_null(desired_job(s)->log->query);
    answers(s, 10, &a, JOB_STAGE_WORKING, &answer); /* said once more before it heard that */
    assert_int_equal(s->answers, 1);
}

static void an_agent_fails(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    struct msg_error error = {.code = TM_E_CORRUPT, .text = "chunk 'x' is damaged"};
    question(s, "wal");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_log_answer answer = {.id = desired_job(s)->log->query->id, .error = &error};
    answers(s, 10, &a, JOB_STAGE_WORKING, &answer);
    assert_int_equal(s->answers, 1);
    assert_false(s->found);
    assert_int_equal(s->answer.code, TM_E_CORRUPT);
    assert_string_equal(s->answer.msg, "chunk 'x' is damaged");
    assert_null(desired_job(s)->log->query);
}

static void nobody_answers(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    question(s, "wal");
    tick(s, SEC(29));
    assert_int_equal(s->answers, 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    tick(s, SEC(1));
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, TM_E_TIMEOUT);
    assert_string_equal(s->answer.msg, "Backup/wal: node 'db-a' did not answer within 30 s");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_null(desired_job(s)->log->query);
}

static void who_cannot_be_asked(void **state)
{
    struct stage *s = *state;
    refused(s, TM_E_NOT_FOUND, "Backup/wal: not found");
    apply_log(s, "wal", "");
    refused(s, TM_E_REFUSED, "Backup/wal has stored nothing yet");
    command(s, BRAIN_CMD_DELETE, "wal");
    struct msg_assignment a = streams(s, "");
    question(s, "wal");
    assert_int_equal(s->answers, 0);
    refused(s, TM_E_CONFLICT, "Backup/wal: node 'db-a' is answering another question, try again");
    tick(s, SEC(30)); /* the first one is over */
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    gone(s, 10);
    refused(s, TM_E_UNAVAILABLE, "Backup/wal: node 'db-a', which reads its log, is not there");
    up(s, 11, "db-a", "boot1", 0);
    struct msg_error error = {.code = TM_E_REFUSED, .text = "no"};
    struct msg_job job = job_at(&a, JOB_STAGE_FAILED);
    job.error = &error;
    beat(s, 11, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_FAIL);
    refused(s, TM_E_REFUSED,
            "Backup/wal is Fail: no agent reads its log; tidemark-agent can, without the "
            "coordinator");
}

static void it_fails_meanwhile(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    struct msg_error error = {.code = TM_E_REFUSED, .text = "no"};
    struct msg_job job = job_at(&a, JOB_STAGE_FAILED);
    question(s, "wal");
    job.error = &error;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    tick(s, MS(100));
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, TM_E_UNAVAILABLE);
    assert_string_equal(s->answer.msg, "Backup/wal: it is Fail: no agent reads its log");
}

/* The one that asked is answered before the one that deletes. */
static void it_is_deleted_meanwhile(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    question(s, "wal");
    command(s, BRAIN_CMD_DELETE, "wal");
    assert_int_equal(s->answers, 2);
    assert_int_equal(s->outcome, BRAIN_DELETING);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_null(desired_job(s)->log->query);
    refused(s, TM_E_REFUSED, "Backup/wal is being deleted");
}

static void a_snapshot_has_no_log(void **state)
{
    struct stage *s = *state;
    apply(s, BACKUP(""));
    question(s, "b");
    assert_int_equal(s->answer.code, TM_E_REFUSED);
    assert_string_equal(s->answer.msg, "Backup/b is no log backup");
}

static void stopped(struct stage *s)
{
    struct msg_assignment a = streams(s, "");
    apply_log(s, "wal", "  logSubcommand: log-stop\n");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_job job = job_at(&a, JOB_STAGE_STOPPED);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    assert_int_equal(s->reply.desired.jobs_count, 0);
}

/* A task that is stopped is given to an agent for the question, and taken back. */
static void a_stopped_task_is_looked_into(void **state)
{
    struct stage *s = *state;
    stopped(s);
    question(s, "wal");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_int_equal(a.roles, JOB_ROLE_LEAD);
    assert_int_equal(a.step, JOB_STEP_STOP);
    struct msg_log_answer answer = {.id = desired_job(s)->log->query->id};
    answers(s, 10, &a, JOB_STAGE_STARTING, &answer);
    assert_int_equal(s->answers, 1);
    assert_true(s->found);
    assert_int_equal(s->found_events, 0);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
}

/* Its lead is long gone: another node of the tenant reads the same storage. */
static void another_node_looks(void **state)
{
    struct stage *s = *state;
    stopped(s);
    gone(s, 10);
    question(s, "wal");
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, TM_E_UNAVAILABLE);
    tick(s, SEC(60));
    question(s, "wal");
    assert_string_equal(
        s->answer.msg,
        "Backup/wal: there is no agent of cluster 'demo1', tenant 'main' to read its log");
    up(s, 20, "db-b", "boot2", 0);
    beat(s, 20, INSTANCE_STANDBY, 0, NULL);
    question(s, "wal");
    assert_int_equal(s->answers, 0);
    tick(s, MS(100));
    beat(s, 20, INSTANCE_STANDBY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_int_equal(a.step, JOB_STEP_STOP);
    assert_int_equal(a.attempt, 2);
    struct msg_log_answer answer = {.id = desired_job(s)->log->query->id};
    answers(s, 20, &a, JOB_STAGE_STARTING, &answer);
    assert_int_equal(s->answers, 1);
    assert_true(s->found);
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(an_agent_answers),      SCENE(an_agent_fails),
        SCENE(nobody_answers),        SCENE(who_cannot_be_asked),
        SCENE(it_fails_meanwhile),    SCENE(it_is_deleted_meanwhile),
        SCENE(a_snapshot_has_no_log), SCENE(a_stopped_task_is_looked_into),
        SCENE(another_node_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
