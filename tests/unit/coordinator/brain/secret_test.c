/* Secrets in the coordinator's brain: by name, to whom, and told anew when they change. */
#include "tests/unit/coordinator/brain/log_stage.h"

#define S3(name, br, secret)                                                                       \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: " name "}\nspec:\n"                   \
    "  br: {cluster: demo1" br "}\n  s3: {bucket: bucket, secretName: " secret "}\n"
#define RESTORE(more)                                                                              \
    "apiVersion: tidemark/v1\nkind: Restore\nmetadata: {name: r}\nspec:\n  dataDir: /r/x\n" more

static const struct msg_assignment *assigned(struct stage *s, uint64_t conn)
{
    beat(s, conn, INSTANCE_PRIMARY, 0, NULL);
    return desired_job(s);
}

static void node(struct stage *s)
{
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
}

static void assigned_by_name(void **state)
{
    struct stage *s = *state;
    node(s);
    apply(s, S3("b", "", "s3-secret"));
    const struct msg_assignment *a = assigned(s, 10);
    assert_string_equal(a->secret->name, "s3-secret");
    assert_int_equal(a->secret->pairs_count, 0);
    assert_null(a->secret->error);
    assert_null(a->full_secret);
    assert_string_equal(a->storage, "s3://bucket");
}

static void not_when_agents_have_their_own(void **state)
{
    struct stage *s = *state;
    node(s);
    apply(s, S3("b", ", sendCredToAgents: false", "s3-secret"));
    assert_null(assigned(s, 10)->secret);
}

static void poll(struct stage *s, uint64_t conn)
{
    struct message m = {.type = MESSAGE_poll};
    m.poll.term = brain_term(s->brain);
    m.poll.revision = s->reply.desired.revision;
    ask(s, conn, &m);
}

static void changed(struct stage *s, const char *name)
{
    struct brain_event event = {.kind = BRAIN_EV_SECRET};
    event.secret.name = name;
    feed(s, &event);
}

static void a_change_is_told(void **state)
{
    struct stage *s = *state;
    node(s);
    apply(s, S3("b", "", "s3-secret"));
    (void)assigned(s, 10);
    unsigned before = s->replies;
    poll(s, 10);
    changed(s, "another");
    assert_int_equal(s->replies, before); /* still parked */
    changed(s, "s3-secret");
    assert_int_equal(s->replies, before + 1);
    assert_string_equal(desired_job(s)->secret->name, "s3-secret");
}

/* The secret's name may change while a job runs: what it stores does not. */
static void the_spec_may_name_another(void **state)
{
    struct stage *s = *state;
    node(s);
    apply(s, S3("b", "", "s3-secret"));
    struct msg_job job = job_at(assigned(s, 10), JOB_STAGE_STARTING);
    apply(s, S3("b", "", "rotated"));
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(desired_job(s)->secret->name, "rotated");
}

static void a_restore_has_one_for_each_store(void **state)
{
    struct stage *s = *state;
    node(s);
    apply(s,
          RESTORE("  restoreMode: pitr\n  br: {cluster: demo1}\n"
                  "  s3: {bucket: log-bucket, secretName: log-secret}\n"
                  "  pitrFullBackupStorageProvider:\n"
                  "    azblob: {container: full, storageAccount: acct, secretName: az-secret}\n"));
    const struct msg_assignment *a = assigned(s, 10);
    assert_int_equal(a->kind, JOB_KIND_RESTORE);
    assert_string_equal(a->secret->name, "log-secret");
    assert_string_equal(a->full_secret->name, "az-secret");
    assert_string_equal(a->restore->full_storage, "azblob://full?account-name=acct");
    unsigned before = s->replies;
    poll(s, 10);
    changed(s, "az-secret");
    assert_int_equal(s->replies, before + 1);
}

/* One that names a Backup gets into where that lies. */
static void a_restore_of_a_log_backup(void **state)
{
    struct stage *s = *state;
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal}\nspec:\n"
             "  backupMode: log\n  br: {cluster: demo1}\n"
             "  s3: {bucket: bucket, secretName: s3-secret}\n");
    apply(s, RESTORE("  backup: wal\n  restoreMode: pitr\n  br: {tenant: main}\n"));
    node(s);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    bool seen = false;
    for (size_t at = 0; at < s->reply.desired.jobs_count; at++) {
        const struct msg_assignment *a = &s->reply.desired.jobs[at];
        assert_string_equal(a->secret->name, "s3-secret");
        seen = seen || a->kind == JOB_KIND_RESTORE;
    }
    assert_true(seen);
}

static void survives_a_restart(void **state)
{
    struct stage *s = *state;
    node(s);
    apply(s, RESTORE("  br: {cluster: demo1}\n  s3: {bucket: bucket, secretName: s3-secret}\n"));
    struct msg_job job = job_at(assigned(s, 10), JOB_STAGE_WORKING);
    brain_free(s->brain);
    start(s, 2);
    up(s, 11, "db-a", "boot1", 1);
    beat(s, 11, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(desired_job(s)->secret->name, "s3-secret");
}

/* ---- how requests go ---- */

static void storage_is_shown(void **state)
{
    struct stage *s = *state;
    struct msg_storage_stats stats = {.requests = 9,
                                      .retries = 2,
                                      .slow_downs = 1,
                                      .limit = 8,
                                      .limit_max = 16,
                                      .skew_us = -1500000};
    struct brain_resource seen;
    node(s);
    apply(s, S3("b", "", "s3-secret"));
    struct msg_job job = job_at(assigned(s, 10), JOB_STAGE_STARTING);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_true(brain_resource_find(s->brain, "Backup", "", "b", &seen));
    assert_int_equal(seen.status->storage_count, 0);
    job.storage = &stats;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    stats.requests = 12;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_true(brain_resource_find(s->brain, "Backup", "", "b", &seen));
    assert_int_equal(seen.status->storage_count, 1);
    TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
    const char *text;
    struct tm_err err;
    assert_int_equal(resource_json(seen.spec, seen.status, NULL, &json, &err), 0);
    assert_int_equal(buf_cstr(&json, &text, &err), 0);
    assert_non_null(strstr(text, "\"storage\": [{\"node\": \"db-a\", \"requests\": 12, "
                                 "\"retries\": 2, \"slowDowns\": 1, \"parallel\": 8, "
                                 "\"parallelMax\": 16, \"clockSkewMs\": -1500}]"));
}

/* Of a log backup each node that stores shows it; one that only holds log no longer does. */
static void storage_of_a_log_backup_is_that_of_who_stores(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    struct msg_log_status status = streaming(0x2000, 2000000);
    struct msg_storage_stats stats = {.requests = 9, .slow_downs = 1, .limit = 8, .limit_max = 16};
    struct msg_job job = log_job(&a, JOB_STAGE_WORKING, &status);
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    status.storage = &stats;
    beat(s, 11, INSTANCE_STANDBY, 0, &job);
    stats.requests = 12;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "wal")->storage_count, 2);
    status.storage = NULL;
    beat(s, 11, INSTANCE_STANDBY, 0, &job);
    assert_int_equal(status_of(s, "wal")->storage_count, 1);
    assert_string_equal(status_of(s, "wal")->storage[0].node, "db-a");
    assert_int_equal(status_of(s, "wal")->storage[0].requests, 12);
    beat(s, 11, INSTANCE_STANDBY, 0, &job); /* again: it takes nobody else's */
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(status_of(s, "wal")->storage_count, 1);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "wal")->storage_count, 0);
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(assigned_by_name),
        SCENE(not_when_agents_have_their_own),
        SCENE(a_change_is_told),
        SCENE(the_spec_may_name_another),
        SCENE(a_restore_has_one_for_each_store),
        SCENE(a_restore_of_a_log_backup),
        SCENE(survives_a_restart),
        SCENE(storage_is_shown),
        SCENE(storage_of_a_log_backup_is_that_of_who_stores),
    };
    return cmocka_run_group_tests_name("coordinator/brain/secret", tests, NULL, NULL);
}
