/* Questions that an agent answers, asked over the control socket. */
#include "tests/unit/coordinator/control/control_stage.h"

static void beat(struct fixture *f, struct msg_job *job)
{
    static uint64_t serial;
    struct msg_instance instance = {
        .tenant = "main", .engine = "mock", .role = INSTANCE_PRIMARY, .identity = "7000"};
    serial++;
    struct message m = {.type = MESSAGE_heartbeat, .serial = serial, .term = 7};
    m.heartbeat.instances = &instance;
    m.heartbeat.instances_count = 1;
    m.heartbeat.jobs = job;
    m.heartbeat.jobs_count = job != NULL;
    feed(f, &(struct brain_event){.kind = BRAIN_EV_REQUEST,
                                  .request = {.conn = 5, .ctx = serial, .message = &m}});
    persist(f);
}

/* A log backup "wal" that an agent streams; its job is in f->reply. */
static void stream(struct fixture *f, int fd)
{
    struct control_request apply =
        apply_of("apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal}\n"
                 "spec: {backupMode: log, br: {cluster: c}, local: {path: /x}}\n");
    feed(f, &(struct brain_event){
                .kind = BRAIN_EV_AGENT_UP,
                .up = {.conn = 5, .ctx = 1, .cluster = "c", .node = "n1", .boot = "b1"}});
    beat(f, NULL);
    expect_outcome(f, fd, &apply, "created");
    beat(f, NULL);
    assert_int_equal(f->reply.desired.jobs_count, 1);
}

static void what_an_agent_found(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    stream(f, fd);
    struct msg_log_query query = {.kind = LOG_QUERY_TRUNCATE, .until = "2018-05-11 01:42:23"};
    struct control_request request = {.version = CONTROL_PROTOCOL,
                                      .command = CONTROL_QUERY,
                                      .kind = "backup",
                                      .name = "wal",
                                      .query = &query};
    ask_raw(fd, &request);
    turn(f);
    beat(f, NULL);
    const struct msg_assignment *a = &f->reply.desired.jobs[0];
    assert_string_equal(a->log->query->until, "2018-05-11T01:42:23.000000Z");
    struct msg_log_event events[2] = {
        {.kind = 1, .time_us = 1000000, .position = "0/1", .xid = UINT64_MAX, .lineage = "aa"},
        {.kind = 4,
         .time_us = 2000000,
         .position = "0/2",
         .lineage = "aa",
         .label = "1",
         .name = "p"},
    };
    struct msg_log_answer found = {.id = a->log->query->id,
                                   .events = events,
                                   .events_count = 2,
                                   .chunks = 3,
                                   .bytes = 4,
                                   .truncated_us = 1000000,
                                   .truncated_position = "0/3"};
    struct msg_job job = {.attempt = 1, .kind = JOB_KIND_LOG, .stage = JOB_STAGE_WORKING};
    memcpy(job.uid, a->uid, sizeof(job.uid));
    job.answer = &found;
    beat(f, &job);
    TM_CLEANUP(answer_release) struct answer reply;
    assert_true(take(f, fd, &reply));
    assert_null(reply.reply.error);
    assert_int_equal(reply.reply.items_count, 1);
    assert_string_equal(
        reply.reply.items[0].json,
        "{\"events\":[{\"cluster\":\"c\",\"tenant\":\"main\",\"kind\":\"commit\",\"time\":"
        "\"1970-01-01T00:00:01.000000Z\",\"position\":\"0/1\",\"lineage\":\"aa\","
        "\"lineageLabel\":\"\",\"xid\":\"18446744073709551615\"},{\"cluster\":\"c\",\"tenant\":"
        "\"main\",\"kind\":\"point\",\"time\":\"1970-01-01T00:00:02.000000Z\",\"position\":"
        "\"0/2\",\"lineage\":\"aa\",\"lineageLabel\":\"1\",\"name\":\"p\"}],\"more\":false,"
        "\"truncate\":{\"chunks\":3,\"bytes\":4,\"until\":\"1970-01-01T00:00:01.000000Z\","
        "\"position\":\"0/3\"}}");
}

static void questions_that_are_refused(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    struct control_request request = {.command = CONTROL_QUERY, .kind = "backup", .name = "wal"};
    struct msg_log_query query = {.kind = 9};
    expect_error(f, fd, &request, TM_E_INVALID, "query: what is asked is missing");
    request.query = &query;
    expect_error(f, fd, &request, TM_E_UNSUPPORTED, "query 9 is not known to this coordinator");
    query.kind = LOG_QUERY_TRUNCATE;
    expect_error(f, fd, &request, TM_E_INVALID,
                 "'' is no time (2026-11-21T10:00:00Z), position (0/3000148) or TSO");
    query.kind = LOG_QUERY_SEARCH;
    expect_error(f, fd, &request, TM_E_NOT_FOUND, "Backup/wal: not found");
    stream(f, fd); /* the connection is good for more */
}

/* Who asked has gone before the answer is there. */
static void nobody_waits_for_the_answer(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    stream(f, fd);
    struct msg_log_query query = {.kind = LOG_QUERY_SEARCH};
    ask_raw(fd, &(struct control_request){.version = CONTROL_PROTOCOL,
                                          .command = CONTROL_QUERY,
                                          .kind = "backup",
                                          .name = "wal",
                                          .query = &query});
    turn(f);
    beat(f, NULL);
    const struct msg_assignment *a = &f->reply.desired.jobs[0];
    struct msg_log_answer found = {.id = a->log->query->id};
    struct msg_job job = {.attempt = 1, .kind = JOB_KIND_LOG, .stage = JOB_STAGE_WORKING};
    memcpy(job.uid, a->uid, sizeof(job.uid));
    job.answer = &found;
    closep(&fd);
    turn(f);
    beat(f, &job);
    assert_null(f->reply.desired.jobs[0].log->query);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_an_agent_found, setup, teardown),
        cmocka_unit_test_setup_teardown(questions_that_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_waits_for_the_answer, setup, teardown),
    };
    return cmocka_run_group_tests_name("coordinator/control/query", tests, NULL, NULL);
}
