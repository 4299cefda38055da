/* What is applied and asked for of log backups: what may change, who may store where, truncating. */
#include "tests/unit/coordinator/brain/log_stage.h"

/* ---- applied ---- */

static void what_may_change(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    uint64_t revision = s->reply.desired.revision;
    apply_log(s, "wal", "  flushInterval: 1s\n  holdLimit: 1MiB\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x2000);
    assert_true(s->reply.desired.revision > revision);
    assert_int_equal(desired_job(s)->log->flush_ms, 1000);
    assert_int_equal(desired_job(s)->log->hold_limit, 1 << 20);
    static const char other[] = "Backup/wal was started already: cluster, tenant, storage and "
                                "logSource cannot change any more; apply it under another name";
    apply_log(s, "wal", "  logSource: standby\n");
    assert_string_equal(s->answer.msg, other);
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal}\nspec:\n"
             "  backupMode: log\n  br: {cluster: demo1}\n  local: {path: /elsewhere}\n");
    assert_string_equal(s->answer.msg, other);
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal}\nspec:\n"
             "  br: {cluster: demo1}\n  local: {path: /log}\n");
    assert_string_equal(s->answer.msg, "Backup/wal: a snapshot cannot become a log backup, nor the "
                                       "reverse; apply it under another name");
}

static void a_second_task_in_the_same_place(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    apply_log(s, "wal2", "");
    assert_int_equal(s->answer.code, TM_E_REFUSED);
    assert_string_equal(s->answer.msg,
                        "Backup/wal2: Backup/wal stores the log of tenant 'main' of cluster "
                        "'demo1' there already; stop it first, or choose another storage");
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: far}\nspec:\n"
             "  backupMode: log\n  br: {cluster: demo1}\n  local: {path: /elsewhere}\n");
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_int_equal(status_of(s, "far")->phase, RESOURCE_PREPARE);
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: far, namespace: x}\nspec:\n"
             "  backupMode: log\n  br: {cluster: demo1}\n  local: {path: /farther}\n");
    assert_string_equal(s->answer.msg, "Backup/far: namespace 'default' has a log backup of this "
                                       "name and tenant; choose another name");
}

/* Both are accepted before either is durable: one begins, the other waits and says for whom. */
static void two_in_one_moment(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    s->hold_persist = true;
    apply_log(s, "a", "");
    uint64_t first = s->held_txn;
    apply_log(s, "b", "");
    uint64_t second = s->held_txn;
    assert_int_not_equal(first, second);
    s->hold_persist = false;
    persisted(s, first, true);
    persisted(s, second, true);
    assert_int_equal(status_of(s, "a")->phase, RESOURCE_PREPARE);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_SCHEDULED);
    assert_string_equal(status_of(s, "b")->waiting,
                        "waiting for Backup/a, which stores the same log there, to be stopped");
}

/* ---- truncating ---- */

static void truncated(struct stage *s, const struct msg_assignment *a, enum job_stage stage,
                      uint32_t gen, const char *trouble)
{
    struct msg_error error = {
        .code = TM_E_REFUSED, .text = trouble, .stage = "truncate", .since_us = 5};
    struct msg_log_status status = streaming(0x9000, 9000000);
    status.truncate_gen = gen;
    status.truncated_us = trouble == NULL ? 1234567 : 0;
    status.truncate_error = trouble != NULL ? &error : NULL;
    struct msg_job job = log_job(a, stage, &status);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
}

static void truncates(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    apply_log(s, "wal", "  logTruncateUntil: '2018-05-11 01:42:23+0800'\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_RUN); /* both at once */
    assert_int_equal(desired_job(s)->log->truncate_gen, 1);
    assert_string_equal(desired_job(s)->log->truncate_until, "2018-05-10T17:42:23.000000Z");
    assert_false(desired_job(s)->log->truncate_force);
    assert_true(status_of(s, "wal")->log.truncate_pending);
    truncated(s, &a, JOB_STAGE_WORKING, 1, "backup 'b1' needs log from 0/1000 on");
    assert_false(status_of(s, "wal")->log.truncate_pending);
    assert_string_equal(status_of(s, "wal")->log.truncate_error,
                        "backup 'b1' needs log from 0/1000 on");
    assert_string_equal(status_of(s, "wal")->error.stage, "truncate");
    assert_int_equal(status_of(s, "wal")->log.truncated_us, 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->log->truncate_gen, 0); /* answered: not asked again */

    command(s, BRAIN_CMD_RETRY, "wal");
    assert_int_equal(s->outcome, BRAIN_DONE);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->log->truncate_gen, 2);
    apply_log(s, "wal", "  logTruncateUntil: 0/2000\n  logTruncateForce: true\n");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->log->truncate_gen, 3);
    assert_string_equal(desired_job(s)->log->truncate_until, "0/2000");
    assert_true(desired_job(s)->log->truncate_force);
    truncated(s, &a, JOB_STAGE_WORKING, 2, NULL); /* of the wish before */
    assert_true(status_of(s, "wal")->log.truncate_pending);
    truncated(s, &a, JOB_STAGE_WORKING, 3, NULL);
    assert_false(status_of(s, "wal")->log.truncate_pending);
    assert_int_equal(status_of(s, "wal")->log.truncated_us, 1234567);
    assert_false(status_of(s, "wal")->has_error);
    apply_log(s, "wal", ""); /* taken back: what was done stays done */
    assert_false(status_of(s, "wal")->log.truncate_pending);
    assert_int_equal(status_of(s, "wal")->log.truncated_us, 1234567);
}

/* ---- backups in other storages ---- */

static const struct msg_assignment *desired_of(const struct stage *s, enum job_kind kind)
{
    assert_int_equal(s->reply.type, MESSAGE_desired);
    for (size_t at = 0; at < s->reply.desired.jobs_count; at++) {
        if (s->reply.desired.jobs[at].kind == (uint32_t)kind)
            return &s->reply.desired.jobs[at];
    }
    fail_msg("no job of kind %d is desired", (int)kind);
    return NULL;
}

/* Of backups that are applied: what becomes of them when their resource is deleted. */
static const char *clean_policy = "Delete";

static void apply_backup(struct stage *s, const char *name, const char *br, const char *storage)
{
    char yaml[300];
    (void)snprintf(yaml, sizeof(yaml),
                   "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n"
                   "  cleanPolicy: %s\n  br: {cluster: demo1%s}\n  %s\n",
                   name, clean_policy, br, storage);
    apply(s, yaml);
}

/* A backup of db-a's instance comes and is complete, a second after what was before. */
static void backed_up_as(struct stage *s, const char *name, const char *br, const char *storage)
{
    s->mono_us += SEC(1);
    apply_backup(s, name, br, storage);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_of(s, JOB_KIND_BACKUP);
    send_plan(s, 10, &a, 1);
    want(s, 10, &a, 1);
    assert_int_equal(s->reply.ranges.leases_count, 1);
    uint64_t counter = s->reply.ranges.leases[0].counter;
    assert_int_equal(done(s, 10, &a, 0, 1, counter), VERDICT_ACCEPTED);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    struct msg_counters counters = {.bytes = 100};
    struct msg_totals totals = {.counters = &counters, .position = "0/3000148", .commit_us = 5};
    job.stage = JOB_STAGE_COMMITTED;
    job.totals = &totals;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, name)->phase, RESOURCE_COMPLETE);
}

static void backed_up(struct stage *s, const char *name, const char *path)
{
    char storage[64];
    (void)snprintf(storage, sizeof(storage), "local: {path: %s}", path);
    backed_up_as(s, name, "", storage);
}

/* The storages that the lead of "wal" is told of now, "a b …", with "+NAME" of a secret. */
static const char *places(struct stage *s)
{
    static char text[300];
    size_t used = 0;
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    const struct msg_log_params *log = desired_of(s, JOB_KIND_LOG)->log;
    text[0] = '\0';
    for (size_t at = 0; at < log->places_count; at++) {
        const struct msg_secret *secret = log->places[at].secret;
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s%s%s", at > 0 ? " " : "",
                                 log->places[at].storage, secret != NULL ? "+" : "",
                                 secret != NULL ? secret->name : "");
        assert_true(secret == NULL || (secret->pairs_count == 0 && secret->error == NULL));
    }
    return text;
}

static void backups_elsewhere_are_told(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    assert_string_equal(places(s), "");
    uint64_t revision = s->reply.desired.revision;
    backed_up(s, "beside", "/log");
    assert_string_equal(places(s), "");
    backed_up(s, "b1", "/fulls");
    assert_true(s->reply.desired.revision > revision);
    assert_string_equal(places(s), "file:///fulls");
    backed_up(s, "b2", "/fulls2");
    backed_up(s, "b3", "/fulls2");
    assert_string_equal(places(s), "file:///fulls2 file:///fulls");
    backed_up(s, "b4", "/fulls");
    assert_string_equal(places(s), "file:///fulls file:///fulls2");
    command(s, BRAIN_CMD_DELETE, "b4");
    assert_string_equal(places(s), "file:///fulls2 file:///fulls");
    command(s, BRAIN_CMD_DELETE, "b1");
    assert_string_equal(places(s), "file:///fulls2");
    /* the lead knows what it may take: it decides */
    apply_log(s, "wal", "  logTruncateUntil: '2099-01-01T00:00:00Z'\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_of(s, JOB_KIND_LOG)->log->truncate_gen, 1);
    assert_int_equal(desired_of(s, JOB_KIND_LOG)->log->places_count, 1);
    assert_int_equal(status_of(s, "wal")->warning_count, 0);
}

/* Which secret gets the lead into a place, for as long as the newest backup there is kept. */
static void their_secrets_are_told(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    backed_up_as(s, "b1", "", "s3: {bucket: fulls, secretName: one}");
    backed_up_as(s, "b2", ", sendCredToAgents: false", "s3: {bucket: own, secretName: unsent}");
    assert_string_equal(places(s), "s3://own s3://fulls+one");
    backed_up_as(s, "b3", "", "s3: {bucket: fulls, secretName: two}");
    assert_string_equal(places(s), "s3://fulls+two s3://own");
    uint64_t revision = s->reply.desired.revision;
    apply_backup(s, "b3", "", "s3: {bucket: fulls, secretName: three}");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    assert_string_equal(places(s), "s3://fulls+three s3://own");
    assert_true(s->reply.desired.revision > revision);
    command(s, BRAIN_CMD_DELETE, "b3");
    assert_string_equal(places(s), "s3://own s3://fulls+one");
    /* a task whose agents use their own sends none */
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal}\nspec:\n"
             "  backupMode: log\n  br: {cluster: demo1, sendCredToAgents: false}\n"
             "  local: {path: /log}\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    assert_string_equal(places(s), "s3://own s3://fulls");
}

/* The backup ended long ago; who looks into where it lies is told all the same. */
static void a_secret_that_changes_is_told(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    backed_up_as(s, "b1", "", "s3: {bucket: fulls, secretName: one}");
    assert_string_equal(places(s), "s3://fulls+one");
    struct brain_event event = {.kind = BRAIN_EV_SECRET, .secret = {.name = "another"}};
    uint64_t revision = s->reply.desired.revision;
    feed(s, &event);
    (void)places(s);
    assert_true(s->reply.desired.revision == revision);
    event.secret.name = "one";
    feed(s, &event);
    (void)places(s);
    assert_true(s->reply.desired.revision > revision);
}

/* Another instance's backups, of a tenant that was made anew, need none of this log. */
static void another_instances_backups_are_not(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    backed_up(s, "old", "/fulls");
    beat_of(s, 10, "7001", INSTANCE_PRIMARY, NULL, NULL);
    apply_log(s, "wal", "");
    beat_of(s, 10, "7001", INSTANCE_PRIMARY, NULL, NULL);
    assert_string_equal(desired_of(s, JOB_KIND_LOG)->identity, "7001");
    assert_int_equal(desired_of(s, JOB_KIND_LOG)->log->places_count, 0);
}

/* What the lead says of places that it has read. */
static void emptied(struct stage *s, const char *storage)
{
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_of(s, JOB_KIND_LOG);
    struct msg_log_status status = streaming(0x9000, 9000000);
    status.emptied = &storage;
    status.emptied_count = 1;
    struct msg_job job = log_job(&a, JOB_STAGE_WORKING, &status);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
}

/* A backup that was deleted and retained is there still: its storage is told until nothing is left in it. */
static void retained_backups_are_told(void **state)
{
    struct stage *s = *state;
    clean_policy = "Retain";
    (void)streams(s, "");
    backed_up_as(s, "b1", "", "s3: {bucket: fulls, secretName: one}");
    backed_up_as(s, "b2", "", "s3: {bucket: fulls, secretName: two}");
    assert_string_equal(places(s), "s3://fulls+two");
    command(s, BRAIN_CMD_DELETE, "b2");
    command(s, BRAIN_CMD_DELETE, "b1");
    assert_string_equal(places(s), "s3://fulls+two"); /* by the newest, whoever went first */
    backed_up(s, "b3", "/fulls");
    assert_string_equal(places(s), "file:///fulls s3://fulls+two");
    /* a secret that gets in there is told anew */
    struct brain_event event = {.kind = BRAIN_EV_SECRET, .secret = {.name = "two"}};
    uint64_t revision = s->reply.desired.revision;
    feed(s, &event);
    (void)places(s);
    assert_true(s->reply.desired.revision > revision);
    /* the next life knows it, too */
    brain_free(s->brain);
    start(s, 2);
    up(s, 10, "db-a", "boot1", 0);
    assert_string_equal(places(s), "file:///fulls s3://fulls+two");
    /* what was read before the deletion says nothing */
    command(s, BRAIN_CMD_DELETE, "b3");
    emptied(s, "file:///fulls");
    assert_string_equal(places(s), "file:///fulls s3://fulls+two");
    s->mono_us += SEC(601);
    up(s, 10, "db-a", "boot1", 0);
    emptied(s, "file:///elsewhere");
    assert_string_equal(places(s), "file:///fulls s3://fulls+two");
    revision = s->reply.desired.revision;
    emptied(s, "file:///fulls");
    assert_string_equal(places(s), "s3://fulls+two");
    assert_true(s->reply.desired.revision > revision);
    brain_free(s->brain);
    start(s, 3);
    up(s, 10, "db-a", "boot1", 0);
    assert_string_equal(places(s), "s3://fulls+two");
    clean_policy = "Delete";
}

/* Nobody looks into a fifth one: what lies there is minded here. */
static void backups_in_too_many_storages(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    static const char *const paths[] = {"/f1", "/f2", "/f3", "/f4", "/f5"};
    for (size_t at = 0; at < TM_ARRAY_LEN(paths); at++) {
        char name[8];
        assert_int_equal(status_of(s, "wal")->warning_count, 0);
        (void)snprintf(name, sizeof(name), "b%zu", at + 1);
        backed_up(s, name, paths[at]);
    }
    assert_string_equal(places(s), "file:///f5 file:///f4 file:///f3 file:///f2");
    assert_int_equal(status_of(s, "wal")->warning_count, 1);
    assert_string_equal(status_of(s, "wal")->warnings[0],
                        "backups lie in more than 4 other storages: what can be restored does not "
                        "count those in the ones that were used longest ago");
    static const char refused[] =
        "Backup/wal is not truncated: Backup/b1 lies in 'file:///f1', which is not looked at as "
        "backups lie in more than 4 other storages, and may need the log from its start on: "
        "delete it first, or force";
    apply_log(s, "wal", "  logTruncateUntil: '2018-05-11 01:42:23+0800'\n"); /* it is younger */
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    apply_log(s, "wal", "  logTruncateUntil: '2099-01-01T00:00:00Z'\n");
    assert_int_equal(s->answer.code, TM_E_REFUSED);
    assert_string_equal(s->answer.msg, refused);
    apply_log(s, "wal", "  logTruncateUntil: 0/2000\n");
    assert_string_equal(s->answer.msg, refused);
    apply_log(s, "wal", "  logTruncateUntil: 0/2000\n  logTruncateForce: true\n");
    assert_int_equal(s->answer.code, TM_E_OK);
    apply_log(s, "wal", "");
    backed_up(s, "b6", "/f1"); /* the oldest storage is the newest now */
    assert_string_equal(places(s), "file:///f1 file:///f5 file:///f4 file:///f3");
    command(s, BRAIN_CMD_DELETE, "b2");
    apply_log(s, "wal", "  logTruncateUntil: 0/2000\n");
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_int_equal(status_of(s, "wal")->warning_count, 0);
}

/* The wish came before anything was known of the log's own storage: the lead is told. */
static void a_wish_that_is_older(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    static const char *const paths[] = {"/f1", "/f2", "/f3", "/f4", "/f5"};
    for (size_t at = 0; at < TM_ARRAY_LEN(paths); at++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "b%zu", at + 1);
        backed_up(s, name, paths[at]);
    }
    apply_log(s, "wal", "  logTruncateUntil: 0/2000\n");
    assert_int_equal(s->outcome, BRAIN_CREATED);
    assert_string_equal(places(s), "file:///f5 file:///f4 file:///f3 file:///f2");
    assert_int_equal(desired_of(s, JOB_KIND_LOG)->log->truncate_gen, 1);
    assert_true(desired_of(s, JOB_KIND_LOG)->log->truncate_blind);
    command(s, BRAIN_CMD_DELETE, "b1");
    assert_string_equal(places(s), "file:///f5 file:///f4 file:///f3 file:///f2");
    assert_false(desired_of(s, JOB_KIND_LOG)->log->truncate_blind);
}

/* ---- truncating, further ---- */

static void a_stopped_task_truncates(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    apply_log(s, "wal", "  logStop: true\n");
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_STOPPED, 0x8000);
    apply_log(s, "wal", "  logStop: true\n  logTruncateUntil: 0/2000\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_LEAD);
    assert_int_equal(desired_job(s)->step, JOB_STEP_STOP);
    assert_int_equal(desired_job(s)->log->truncate_gen, 1);
    up(s, 11, "db-b", "boot2", 0); /* the lead is lost: any other of the tenant will do */
    s->mono_us += SEC(31);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_LEAD);
    assert_int_equal(desired_job(s)->step, JOB_STEP_STOP);
    a = *desired_job(s);
    struct msg_log_status status = {.truncate_gen = 1, .truncated_us = 7};
    struct msg_job job = log_job(&a, JOB_STAGE_STOPPED, &status);
    beat(s, 11, INSTANCE_STANDBY, 0, &job);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    assert_int_equal(status_of(s, "wal")->log.truncated_us, 7);
}

/* Log that another task has stored there: nobody has to come back first. */
static void one_that_never_began_truncates(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_STANDBY, 0, NULL);
    apply_log(s, "wal", "  logSubcommand: log-stop\n  logTruncateUntil: 0/2000\n");
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    beat(s, 10, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_LEAD);
    assert_int_equal(desired_job(s)->step, JOB_STEP_STOP);
    assert_string_equal(desired_job(s)->log->truncate_until, "0/2000");
    struct msg_assignment a = *desired_job(s);
    struct msg_log_status status = {.truncate_gen = 1, .truncated_us = 7};
    struct msg_job job = log_job(&a, JOB_STAGE_STOPPED, &status);
    beat(s, 10, INSTANCE_STANDBY, 0, &job);
    beat(s, 10, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    assert_int_equal(status_of(s, "wal")->log.truncated_us, 7);
}

/* What may pass is tried again by the agent: meanwhile the status says why it is not done. */
static void a_truncation_that_is_tried_again(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "  logTruncateUntil: 0/2000\n");
    truncated(s, &a, JOB_STAGE_WORKING, 0, "storage is away");
    assert_true(status_of(s, "wal")->log.truncate_pending);
    assert_string_equal(status_of(s, "wal")->log.truncate_error, "storage is away");
    truncated(s, &a, JOB_STAGE_WORKING, 1, NULL);
    assert_false(status_of(s, "wal")->log.truncate_pending);
    assert_string_equal(status_of(s, "wal")->log.truncate_error, "");
}

static void removal(struct stage *s, const struct msg_assignment *a, enum job_stage stage,
                    enum log_removal is, const char *trouble)
{
    struct msg_error error = {.code = TM_E_IO, .text = trouble, .stage = "remove", .since_us = 5};
    struct msg_log_status status = streaming(0x9000, 9000000);
    status.truncate_gen = 1;
    status.truncated_us = 7;
    status.removal = is;
    status.removal_error = trouble != NULL ? &error : NULL;
    struct msg_job job = log_job(a, stage, &status);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
}

/* Truncating is done when nobody counts on the log any more; its objects go later, and a task that is
 * Stopped keeps its lead until then. */
static void what_was_truncated_is_removed_later(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "  logTruncateUntil: 0/2000\n  logTruncateGrace: 90s\n");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->log->grace_ms, 90000);
    removal(s, &a, JOB_STAGE_WORKING, LOG_REMOVAL_WAITS, NULL);
    assert_false(status_of(s, "wal")->log.truncate_pending);
    assert_int_equal(status_of(s, "wal")->log.truncated_us, 7);
    assert_true(status_of(s, "wal")->log.removing);
    apply_log(s, "wal", "  logStop: true\n  logTruncateUntil: 0/2000\n  logTruncateGrace: 2m\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    removal(s, &a, JOB_STAGE_STOPPED, LOG_REMOVAL_WAITS, NULL);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_LEAD);
    assert_int_equal(desired_job(s)->step, JOB_STEP_STOP);
    assert_int_equal(desired_job(s)->log->truncate_gen, 0);
    assert_int_equal(desired_job(s)->log->grace_ms, 120000); /* also for what waits */
    removal(s, &a, JOB_STAGE_STOPPED, LOG_REMOVAL_WAITS, "storage is away");
    assert_string_equal(status_of(s, "wal")->log.removal_error, "storage is away");
    assert_string_equal(status_of(s, "wal")->log.truncate_error, "");
    /* an agent works for it: nobody may have that name yet */
    static const char other[] =
        "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal, namespace: x}\nspec:\n"
        "  backupMode: log\n  br: {cluster: demo1}\n  local: {path: /farther}\n";
    apply(s, other);
    assert_string_equal(s->answer.msg, "Backup/wal: namespace 'default' has a log backup of this "
                                       "name and tenant; choose another name");
    /* the lead is lost: any other of the tenant will do */
    up(s, 11, "db-b", "boot2", 0);
    s->mono_us += SEC(31);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_LEAD);
    a = *desired_job(s);
    struct msg_log_status status = {.removal = LOG_REMOVAL_UNKNOWN};
    struct msg_job job = log_job(&a, JOB_STAGE_STOPPED, &status);
    beat(s, 11, INSTANCE_STANDBY, 0, &job);
    assert_true(status_of(s, "wal")->log.removing);
    status.removal = LOG_REMOVAL_DONE;
    beat(s, 11, INSTANCE_STANDBY, 0, &job);
    assert_false(status_of(s, "wal")->log.removing);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    apply(s, other);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_int_equal(s->outcome, BRAIN_CREATED);
}

/* Two tasks of one name in two namespaces share a hold's name: the one that is stopped has let it go, and
 * whatever it is asked to do later leaves it to the one that runs. */
static void one_that_is_stopped_leaves_anothers_hold(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    apply_log(s, "wal", "  logStop: true\n");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_STOP);
    assert_false(desired_job(s)->log->hold_gone);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_STOPPED, 0x8000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal, namespace: x}\nspec:\n"
             "  backupMode: log\n  br: {cluster: demo1}\n  local: {path: /farther}\n");
    assert_int_equal(s->outcome, BRAIN_CREATED);
    apply_log(s, "wal", "  logStop: true\n  logTruncateUntil: 0/2000\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 2);
    unsigned stopped = 0;
    for (size_t at = 0; at < s->reply.desired.jobs_count; at++) {
        const struct msg_assignment *job = &s->reply.desired.jobs[at];
        assert_string_equal(job->name, "wal");
        assert_int_equal(job->roles, JOB_ROLE_LEAD);
        assert_int_equal(job->log->hold_gone, job->step == JOB_STEP_STOP);
        stopped += job->step == JOB_STEP_STOP;
    }
    assert_int_equal(stopped, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(what_may_change),
        SCENE(a_second_task_in_the_same_place),
        SCENE(two_in_one_moment),
        SCENE(truncates),
        SCENE(backups_elsewhere_are_told),
        SCENE(their_secrets_are_told),
        SCENE(a_secret_that_changes_is_told),
        SCENE(another_instances_backups_are_not),
        SCENE(retained_backups_are_told),
        SCENE(backups_in_too_many_storages),
        SCENE(a_wish_that_is_older),
        SCENE(a_stopped_task_truncates),
        SCENE(one_that_never_began_truncates),
        SCENE(a_truncation_that_is_tried_again),
        SCENE(what_was_truncated_is_removed_later),
        SCENE(one_that_is_stopped_leaves_anothers_hold),
    };
    return cmocka_run_group_tests_name("coordinator/brain/log_wish", tests, NULL, NULL);
}
