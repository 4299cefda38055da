/* Log backups of a cluster with several tenants. */
#include "tests/unit/coordinator/brain/part_stage.h"

#define WHOLE_KEY "resource/Backup/default/wal"
#define PART_KEY  "part/Backup/default/wal/"

/* What the node has now, as its tenant's lead. */
static struct msg_assignment given(struct stage *s, uint64_t conn)
{
    say(s, conn, INSTANCE_PRIMARY, NULL);
    say(s, conn, INSTANCE_PRIMARY, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_int_equal(a.kind, JOB_KIND_LOG);
    assert_string_equal(a.tenant, tenant_on(conn));
    assert_string_equal(a.name, "wal");
    return a;
}

static void report(struct stage *s, uint64_t conn, enum job_stage stage,
                   struct msg_log_status *status)
{
    struct msg_assignment a = given(s, conn);
    struct msg_job job = log_job(&a, stage, status);
    say(s, conn, INSTANCE_PRIMARY, &job);
}

static void streams_on(struct stage *s, uint64_t conn, uint64_t durable)
{
    struct msg_log_status status = streaming(durable, (int64_t)durable * 1000);
    report(s, conn, JOB_STAGE_WORKING, &status);
}

static void both_stream(struct stage *s, const char *more)
{
    both_up(s);
    apply_log(s, "wal", more);
    assert_int_equal(s->outcome, BRAIN_CREATED);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PREPARE);
    streams_on(s, 10, 7000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PREPARE);
    streams_on(s, 11, 5000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
}

static const char *message_now(struct stage *s)
{
    const struct resource_status *status = status_of(s, "wal");
    for (size_t at = 0; at < status->condition_count; at++) {
        if (status->conditions[at].type == status->phase)
            return status->conditions[at].message;
    }
    return "none";
}

/* ---- well ---- */

static void as_safe_as_the_least(void **state)
{
    struct stage *s = *state;
    both_stream(s, "");
    assert_int_equal(s->record_count, 4);
    const struct resource_status *status = status_of(s, "wal");
    assert_true(status->log.is_log);
    assert_int_equal(status->log.checkpoint_us, 5000 * 1000);
    assert_int_equal(status->tenant_count, 2);
    assert_int_equal(status->tenants[0]->log.checkpoint_us, 7000 * 1000);
    assert_string_equal(status->tenants[1]->tenant, "second");
    assert_string_equal(status->tenants[1]->log.position, "0/1388");
    assert_string_equal(status->tenant, "");
    tick(s, SEC(3));
    streams_on(s, 10, 9000);
    status = status_of(s, "wal");
    assert_true(status->log.has_latency);
    assert_int_equal(status->tenants[0]->log.latency_us, 2000000);
    assert_int_equal(status->log.latency_us, 5000000); /* the one that said nothing for 3 s */
    assert_int_equal(status->log.checkpoint_us, 5000 * 1000);
}

static void recoverable(void **state)
{
    struct stage *s = *state;
    struct msg_interval interval = {.from_us = 1, .to_us = 2};
    both_stream(s, "");
    struct msg_log_status status = streaming(8000, 8000000);
    status.recoverable = &interval;
    status.recoverable_count = 1;
    report(s, 11, JOB_STAGE_WORKING, &status);
    const struct resource_status *seen = status_of(s, "wal");
    assert_int_equal(seen->log.recoverable_count, 1);
    assert_string_equal(seen->log.recoverable[0].tenant, "second");
    assert_string_equal(seen->tenants[1]->log.recoverable[0].tenant, "");
    assert_int_equal(seen->log.hold_count, 2);
}

static void paused_and_stopped(void **state)
{
    struct stage *s = *state;
    both_stream(s, "");
    apply_log(s, "wal", "  logSubcommand: log-pause\n");
    assert_int_equal(given(s, 10).step, JOB_STEP_PAUSE);
    assert_int_equal(given(s, 11).step, JOB_STEP_PAUSE);
    report(s, 10, JOB_STAGE_PAUSED, NULL);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING); /* the other still is */
    report(s, 11, JOB_STAGE_PAUSED, NULL);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PAUSE);
    restart(s);
    both_up(s);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PAUSE);
    apply_log(s, "wal", "  logSubcommand: log-stop\n");
    assert_int_equal(given(s, 10).step, JOB_STEP_STOP);
    report(s, 10, JOB_STAGE_STOPPED, NULL);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PAUSE);
    apply_log(s, "wal", "  logSubcommand: log-start\n");
    assert_string_equal(s->answer.msg, "Backup/wal is being stopped for good; a new task is "
                                       "needed: apply one under another name");
    report(s, 11, JOB_STAGE_STOPPED, NULL);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    restart(s);
    both_up(s);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    apply_log(s, "wal", "  logSubcommand: log-start\n");
    assert_string_equal(s->answer.msg, "Backup/wal is Stopped for good; a new task is needed: "
                                       "apply one under another name");
    /* its place is free again */
    apply_log(s, "next", "");
    assert_int_equal(s->answer.code, TM_E_OK);
    command(s, BRAIN_CMD_DELETE, "wal");
    assert_false(stored(s, WHOLE_KEY));
    assert_false(stored(s, PART_KEY "main"));
}

static void deleted(void **state)
{
    struct stage *s = *state;
    both_stream(s, "");
    command(s, BRAIN_CMD_DELETE, "wal");
    assert_int_equal(s->outcome, BRAIN_DELETING);
    assert_int_equal(given(s, 10).step, JOB_STEP_STOP);
    report(s, 10, JOB_STAGE_STOPPED, NULL);
    assert_false(stored(s, PART_KEY "main"));
    assert_true(stored(s, WHOLE_KEY));
    report(s, 11, JOB_STAGE_STOPPED, NULL);
    assert_int_equal(s->record_count, 1); /* the cluster's tenants */
}

static void one_storage_once(void **state)
{
    struct stage *s = *state;
    both_stream(s, "");
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: more}\nspec:\n"
             "  backupMode: log\n  br: {cluster: demo1, tenant: second}\n  local: {path: /log}\n");
    assert_string_equal(s->answer.msg,
                        "Backup/more: Backup/wal stores the log of tenant 'second' of cluster "
                        "'demo1' there already; stop it first, or choose another storage");
}

/* ---- truncated ---- */

static void truncated(void **state)
{
    struct stage *s = *state;
    both_stream(s, "");
    apply_log(s, "wal", "  logTruncateUntil: 2026-01-01T00:00:00Z\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    assert_true(status_of(s, "wal")->log.truncate_pending);
    for (uint64_t conn = 10; conn <= 11; conn++) {
        struct msg_log_status status = streaming(8000, 8000000);
        struct msg_error error = {
            .code = TM_E_REFUSED, .text = "a backup needs it", .stage = "truncate"};
        assert_int_equal(given(s, conn).log->truncate_gen, 1);
        assert_string_equal(given(s, conn).log->truncate_until, "2026-01-01T00:00:00.000000Z");
        status.truncate_gen = 1;
        status.truncated_us = 1000 * (int64_t)conn;
        status.truncate_error = conn == 11 ? &error : NULL;
        report(s, conn, JOB_STAGE_WORKING, &status);
    }
    const struct resource_status *status = status_of(s, "wal");
    assert_false(status->log.truncate_pending);
    assert_string_equal(status->log.truncate_error, "tenant 'second': a backup needs it");
    assert_int_equal(status->log.truncated_us, 0); /* not of all */
    command(s, BRAIN_CMD_RETRY, "wal");
    assert_int_equal(s->outcome, BRAIN_DONE);
    assert_true(status_of(s, "wal")->log.truncate_pending);
    assert_int_equal(given(s, 10).log->truncate_gen, 0); /* has done it */
    struct msg_log_status again = streaming(8000, 8000000);
    assert_int_equal(given(s, 11).log->truncate_gen, 2);
    again.truncate_gen = 2;
    again.truncated_us = 9000;
    report(s, 11, JOB_STAGE_WORKING, &again);
    status = status_of(s, "wal");
    assert_false(status->log.truncate_pending);
    assert_string_equal(status->log.truncate_error, "");
    assert_int_equal(status->log.truncated_us, 9000);
}

/* ---- one fails ---- */

static void one_fails(void **state)
{
    struct stage *s = *state;
    struct msg_error error = {.code = TM_E_CONFLICT, .text = "log is gone", .stage = "receive"};
    both_stream(s, "");
    command(s, BRAIN_CMD_RETRY, "wal");
    assert_string_equal(s->answer.msg, "Backup/wal did not fail");
    struct msg_assignment a = given(s, 11);
    struct msg_job job = log_job(&a, JOB_STAGE_FAILED, NULL);
    job.error = &error;
    say(s, 11, INSTANCE_PRIMARY, &job);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_FAIL);
    assert_string_equal(message_now(s), "tenant 'second': log is gone");
    assert_string_equal(status_of(s, "wal")->error.message, "tenant 'second': log is gone");
    assert_string_equal(status_of(s, "wal")->error.node, "db-b");
    streams_on(s, 10, 9000); /* goes on */
    assert_int_equal(status_of(s, "wal")->tenants[0]->phase, RESOURCE_RUNNING);
    uint32_t attempt = given(s, 10).attempt;
    command(s, BRAIN_CMD_RETRY, "wal");
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_int_equal(given(s, 11).attempt, a.attempt + 1);
    assert_int_equal(given(s, 10).attempt, attempt);
    streams_on(s, 11, 9000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
}

/* ---- joining ---- */

static void third(struct stage *s)
{
    struct msg_instance instance = {
        .tenant = "third", .engine = "mock", .role = INSTANCE_PRIMARY, .identity = "7012"};
    struct message m = {.type = MESSAGE_heartbeat};
    m.heartbeat.instances = &instance;
    m.heartbeat.instances_count = 1;
    up(s, 12, "db-c", "boot3", 0);
    ask(s, 12, &m);
    ask(s, 12, &m);
}

static void a_tenant_joins(void **state)
{
    struct stage *s = *state;
    both_stream(s, "");
    third(s);
    assert_string_equal(desired_job(s)->tenant, "third");
    const struct resource_status *status = status_of(s, "wal");
    assert_int_equal(status->tenant_count, 3);
    assert_int_equal(status->log.checkpoint_us, 0); /* of one nothing is stored yet */
    assert_false(status->log.has_latency);
    assert_int_equal(status->phase, RESOURCE_PREPARE);
    restart(s);
    both_up(s);
    assert_int_equal(status_of(s, "wal")->tenant_count, 3);
}

static void nobody_joins_what_stops(void **state)
{
    struct stage *s = *state;
    both_stream(s, "");
    apply_log(s, "wal", "  logSubcommand: log-stop\n");
    third(s);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    assert_int_equal(status_of(s, "wal")->tenant_count, 2);
}

/* It has a log backup of its own, and joins when that has ended. */
static void one_with_its_own_joins_later(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    apply_log(s, "wal", "");
    streams_on(s, 10, 7000);
    static const char own[] =
        "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: own}\nspec:\n"
        "  backupMode: log\n  br: {cluster: demo1, tenant: second}\n  local: {path: /other}\n";
    apply(s, own);
    assert_int_equal(s->answer.code, TM_E_OK);
    up(s, 11, "db-b", "boot2", 0);
    say(s, 11, INSTANCE_PRIMARY, NULL);
    say(s, 11, INSTANCE_PRIMARY, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_string_equal(a.name, "own");
    assert_int_equal(status_of(s, "wal")->tenant_count, 0);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
    command(s, BRAIN_CMD_DELETE, "own");
    struct msg_job job = log_job(&a, JOB_STAGE_STOPPED, NULL);
    say(s, 11, INSTANCE_PRIMARY, &job);
    assert_string_equal(given(s, 11).name, "wal");
    assert_int_equal(status_of(s, "wal")->tenant_count, 2);
}

/* It was of one tenant: its agent keeps its job. The store takes both records, or none. */
static void one_becomes_two(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    up(s, 10, "db-a", "boot1", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    apply_log(s, "wal", "");
    streams_on(s, 10, 7000);
    struct msg_assignment before = given(s, 10);
    assert_int_equal(s->record_count, 1);
    s->fail_persist = true;
    up(s, 11, "db-b", "boot2", 0);
    say(s, 11, INSTANCE_PRIMARY, NULL);
    assert_int_equal(s->record_count, 1);
    assert_int_equal(status_of(s, "wal")->tenant_count, 0);
    assert_string_equal(given(s, 10).uid, before.uid);
    s->fail_persist = false;
    tick(s, SEC(2));
    assert_int_equal(s->record_count, 4);
    struct msg_assignment after = given(s, 10);
    assert_string_equal(after.uid, before.uid);
    assert_int_equal(after.attempt, before.attempt);
    assert_string_equal(after.identity, "7010");
    assert_string_equal(given(s, 11).identity, "7011");
    const struct resource_status *status = status_of(s, "wal");
    assert_int_equal(status->tenant_count, 2);
    assert_int_equal(status->tenants[0]->log.checkpoint_us, 7000 * 1000);
    assert_string_equal(record_of(s, WHOLE_KEY, &arena).job, "");
    streams_on(s, 11, 9000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
    assert_int_equal(status_of(s, "wal")->log.checkpoint_us, 7000 * 1000);
    restart(s);
    both_up(s);
    assert_string_equal(given(s, 10).uid, before.uid);
    assert_int_equal(status_of(s, "wal")->tenant_count, 2);
}

/* The store took it, and the coordinator stopped before it knew. */
static void one_becomes_two_over_a_restart(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    apply_log(s, "wal", "");
    streams_on(s, 10, 7000);
    struct msg_assignment before = given(s, 10);
    up(s, 11, "db-b", "boot2", 0);
    s->hold_persist = true;
    say(s, 11, INSTANCE_PRIMARY, NULL);
    s->hold_persist = false;
    assert_true(stored(s, PART_KEY "main"));
    assert_false(stored(s, PART_KEY "second"));
    restart(s);
    both_up(s);
    assert_string_equal(given(s, 10).uid, before.uid);
    assert_int_equal(given(s, 11).step, JOB_STEP_RUN);
    assert_int_equal(status_of(s, "wal")->tenant_count, 2);
}

/* The second tenant comes while the first one's agent is away: the next life knows both all the same. */
static void both_are_known(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    apply_log(s, "wal", "");
    streams_on(s, 10, 7000);
    restart(s);
    up(s, 11, "db-b", "boot2", 0);
    say(s, 11, INSTANCE_PRIMARY, NULL);
    assert_int_equal(status_of(s, "wal")->tenant_count, 2);
    assert_true(stored(s, "cluster/demo1"));
    restart(s);
    up(s, 10, "db-a", "boot3", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: full}\nspec:\n"
             "  br: {cluster: demo1}\n  local: {path: /log}\n");
    assert_int_equal(status_of(s, "full")->tenant_count, 2);
}

static void named_stays_alone(void **state)
{
    struct stage *s = *state;
    both_up(s);
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal}\nspec:\n"
             "  backupMode: log\n  br: {cluster: demo1, tenant: second}\n  local: {path: /log}\n");
    streams_on(s, 11, 7000);
    tick(s, SEC(1));
    assert_int_equal(status_of(s, "wal")->tenant_count, 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
}

/* ---- asked, restored ---- */

static void search(struct stage *s, const char *tenant)
{
    struct msg_log_query query = {.kind = LOG_QUERY_SEARCH};
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = 5;
    event.command.what = BRAIN_CMD_QUERY;
    event.command.kind = "Backup";
    event.command.name = "wal";
    event.command.query = &query;
    event.command.tenant = tenant;
    feed(s, &event);
}

static void searched(void **state)
{
    struct stage *s = *state;
    both_stream(s, "");
    search(s, "");
    assert_string_equal(s->answer.msg, "backup 'wal' is of several tenants: name one of them in "
                                       "br.tenant (--tenant): main, second");
    unsigned answers = s->answers;
    search(s, "second");
    assert_int_equal(s->answers, answers);
    struct msg_assignment a = given(s, 11);
    assert_non_null(a.log->query);
    struct msg_log_answer answer = {.id = a.log->query->id};
    struct msg_log_status status = streaming(8000, 8000000);
    struct msg_job job = log_job(&a, JOB_STAGE_WORKING, &status);
    job.answer = &answer;
    say(s, 11, INSTANCE_PRIMARY, &job);
    assert_true(s->found);
    assert_string_equal(s->found_of, "demo1/second");
}

static void restored(void **state)
{
    struct stage *s = *state;
    both_stream(s, "");
    apply(s, "apiVersion: tidemark/v1\nkind: Restore\nmetadata: {name: r}\nspec:\n"
             "  restoreMode: pitr\n  br: {tenant: second}\n  backup: wal\n  node: db-a\n"
             "  dataDir: /srv/r\n");
    assert_int_equal(s->answer.code, TM_E_OK);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 2);
    for (size_t at = 0; at < 2; at++) {
        const struct msg_assignment *a = &s->reply.desired.jobs[at];
        if (a->kind == JOB_KIND_RESTORE)
            assert_string_equal(a->restore->source_tenant, "second");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(as_safe_as_the_least),
        SCENE(recoverable),
        SCENE(paused_and_stopped),
        SCENE(deleted),
        SCENE(one_storage_once),
        SCENE(truncated),
        SCENE(one_fails),
        SCENE(a_tenant_joins),
        SCENE(nobody_joins_what_stops),
        SCENE(one_with_its_own_joins_later),
        SCENE(one_becomes_two),
        SCENE(one_becomes_two_over_a_restart),
        SCENE(both_are_known),
        SCENE(named_stays_alone),
        SCENE(searched),
        SCENE(restored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
