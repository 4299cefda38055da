/* Backups of a cluster with several tenants: a part for each, and what becomes of the whole. */
#include "tests/unit/coordinator/brain/part_stage.h"

#define WHOLE_KEY "resource/Backup/default/b"
#define PART_KEY  "part/Backup/default/b/"

/* What the node should have now, as its tenant's. */
static struct msg_assignment given(struct stage *s, uint64_t conn)
{
    say(s, conn, INSTANCE_PRIMARY, NULL);
    say(s, conn, INSTANCE_PRIMARY, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_string_equal(a.tenant, tenant_on(conn));
    assert_string_equal(a.name, "b");
    return a;
}

static void nothing_given(struct stage *s, uint64_t conn)
{
    say(s, conn, INSTANCE_PRIMARY, NULL);
    say(s, conn, INSTANCE_PRIMARY, NULL);
    assert_int_equal(s->reply.type, MESSAGE_desired);
    assert_int_equal(s->reply.desired.jobs_count, 0);
}

static void commit(struct stage *s, uint64_t conn, int64_t commit_us, uint64_t stored)
{
    struct msg_counters counters = {.bytes = 2 * stored, .stored_bytes = stored, .files = 3};
    struct msg_totals totals = {.commit_us = commit_us, .counters = &counters};
    struct msg_assignment a = given(s, conn);
    struct msg_job job = job_at(&a, JOB_STAGE_COMMITTED);
    (void)snprintf(totals.position, sizeof(totals.position), "0/%d", (int)conn);
    totals.path = conn == 10 ? "file:///backup/demo1/main/7010/backup/x"
                             : "file:///backup/demo1/second/7011/backup/y";
    job.totals = &totals;
    say(s, conn, INSTANCE_PRIMARY, &job);
}

static void break_off(struct stage *s, uint64_t conn, const char *why)
{
    struct msg_error error = {.code = TM_E_IO, .stage = "plan", .text = why};
    struct msg_assignment a = given(s, conn);
    struct msg_job job = job_at(&a, JOB_STAGE_FAILED);
    job.error = &error;
    say(s, conn, INSTANCE_PRIMARY, &job);
    a = given(s, conn);
    assert_int_equal(a.step, JOB_STEP_ABORT);
    job = job_at(&a, JOB_STAGE_SWEPT);
    say(s, conn, INSTANCE_PRIMARY, &job);
}

static const struct resource_status *tenant_status(struct stage *s, size_t at, const char *tenant)
{
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->tenant_count, 2);
    assert_string_equal(status->tenants[at]->tenant, tenant);
    return status->tenants[at];
}

/* ---- well ---- */

static void side_by_side(void **state)
{
    struct stage *s = *state;
    struct brain_resource resource;
    size_t cursor = 0;
    both_up(s);
    apply(s, BACKUP(""));
    assert_int_equal(s->outcome, BRAIN_CREATED);
    assert_int_equal(s->record_count, 4); /* the cluster's tenants, the whole, two parts */
    assert_true(stored(s, "cluster/demo1"));
    assert_true(stored(s, WHOLE_KEY));
    assert_true(stored(s, PART_KEY "main"));
    assert_true(stored(s, PART_KEY "second"));
    char id[WIRE_ID_MAX + 1];
    struct msg_assignment one = given(s, 10);
    COPY_TEXT(id, one.backup->backup_id); /* the next reply takes its place */
    struct msg_assignment other = given(s, 11);
    assert_int_equal(one.step, JOB_STEP_PREPARE);
    assert_int_equal(other.step, JOB_STEP_PREPARE);
    assert_string_not_equal(one.uid, other.uid);
    assert_string_equal(one.identity, "7010");
    assert_string_equal(other.identity, "7011");
    assert_string_not_equal(id, other.backup->backup_id);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    /* parts are seen in the whole alone */
    assert_true(brain_resource_next(s->brain, &cursor, &resource));
    assert_string_equal(resource.spec->name, "b");
    uint64_t version = resource.version;
    assert_false(brain_resource_next(s->brain, &cursor, &resource));
    commit(s, 11, 5000, 70);
    assert_true(brain_resource_find(s->brain, "Backup", NULL, "b", &resource));
    assert_true(resource.version > version);
    assert_int_equal(resource.status->phase, RESOURCE_RUNNING);
    assert_int_equal(resource.status->commit_us, 0);
    assert_int_equal(resource.status->tenants[1]->phase, RESOURCE_COMPLETE);
    commit(s, 10, 7000, 30);
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->phase, RESOURCE_COMPLETE);
    assert_string_equal(s->log, "Backup/b is Complete, all 2 tenants");
    assert_int_equal(s->said, BRAIN_LOG_JOB_COMPLETE);
    assert_int_equal(status->commit_us, 5000);
    assert_int_equal(status->backup_bytes, 100);
    assert_int_equal(status->data_bytes, 200);
    assert_int_equal(status->file_count, 6);
    assert_string_equal(status->tenant, "");
    assert_string_equal(status->backup_path, "file:///backup/demo1");
    assert_int_equal(status->warning_count, 0);
    assert_string_equal(tenant_status(s, 0, "main")->position, "0/10");
    assert_string_equal(tenant_status(s, 1, "second")->backup_path,
                        "file:///backup/demo1/second/7011/backup/y");
    nothing_given(s, 10);
    nothing_given(s, 11);
}

static void shown(void **state)
{
    struct stage *s = *state;
    struct brain_resource r;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
    both_up(s);
    apply(s, BACKUP(""));
    commit(s, 11, 5000, 70);
    break_off(s, 10, "disk full");
    assert_true(brain_resource_find(s->brain, "Backup", NULL, "b", &r));
    assert_int_equal(resource_json(r.spec, r.status, NULL, &json, &err), 0);
    assert_int_equal(buf_append(&json, "", 1, &err), 0);
    const char *text = (const char *)json.data;
    assert_non_null(strstr(text, "\"message\": \"tenant 'main' on node 'db-a': disk full\""));
    const char *tenants = strstr(text, "\"tenants\": [{\"phase\": \"Failed\"");
    assert_non_null(tenants);
    assert_non_null(strstr(tenants, "\"tenant\": \"main\", \"node\": \"db-a\""));
    assert_non_null(strstr(tenants, "\"message\": \"disk full\""));
    assert_non_null(strstr(tenants, "\"tenant\": \"second\", \"node\": \"db-b\""));
    assert_non_null(strstr(tenants, "\"commitTs\": \"1970-01-01T00:00:00.005000Z\""));
    assert_non_null(strstr(tenants, "\"backupSize\": 70"));
}

static void only_one(void **state)
{
    struct stage *s = *state;
    up(s, 11, "db-b", "boot2", 0);
    say(s, 11, INSTANCE_PRIMARY, NULL);
    apply(s, BACKUP(""));
    assert_int_equal(s->record_count, 1);
    assert_string_equal(given(s, 11).tenant, "second"); /* whatever its name */
    assert_string_equal(status_of(s, "b")->tenant, "second");
    assert_int_equal(status_of(s, "b")->tenant_count, 0);
    /* one that comes later is not in it, and that is said; also when it is over */
    up(s, 10, "db-a", "boot1", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    static const char warning[] =
        "the cluster has tenants that this backup began without: 'main'; they are not in it";
    assert_int_equal(status_of(s, "b")->warning_count, 1);
    assert_string_equal(status_of(s, "b")->warnings[0], warning);
    commit(s, 11, 5000, 70);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_int_equal(status_of(s, "b")->warning_count, 1);
    assert_string_equal(status_of(s, "b")->warnings[0], warning);
}

static void named(void **state)
{
    struct stage *s = *state;
    both_up(s);
    apply(s, BACKUP("    tenant: second\n"));
    assert_int_equal(s->record_count, 2);
    nothing_given(s, 10);
    commit(s, 11, 5000, 70);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_int_equal(status_of(s, "b")->warning_count, 0);
}

static void late_tenant(void **state)
{
    struct stage *s = *state;
    both_up(s);
    apply(s, BACKUP(""));
    up(s, 12, "db-c", "boot3", 0);
    struct msg_instance instance = {
        .tenant = "third", .engine = "mock", .role = INSTANCE_PRIMARY, .identity = "7012"};
    struct message m = {.type = MESSAGE_heartbeat};
    m.heartbeat.instances = &instance;
    m.heartbeat.instances_count = 1;
    ask(s, 12, &m);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    static const char warning[] =
        "the cluster has tenants that this backup began without: 'third'; they are not in it";
    assert_int_equal(status_of(s, "b")->tenant_count, 2);
    assert_int_equal(status_of(s, "b")->warning_count, 1);
    assert_string_equal(status_of(s, "b")->warnings[0], warning);
    commit(s, 10, 5000, 70);
    commit(s, 11, 5000, 70);
    restart(s);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_int_equal(status_of(s, "b")->warning_count, 1);
    assert_string_equal(status_of(s, "b")->warnings[0], warning);
}

/* ---- one fails ---- */

static void one_fails(void **state)
{
    struct stage *s = *state;
    both_up(s);
    apply(s, BACKUP(""));
    break_off(s, 11, "disk full");
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING); /* the other works */
    assert_string_equal(status_of(s, "b")->error.message, "tenant 'second': disk full");
    commit(s, 10, 7000, 30);
    const struct resource_status *status = status_of(s, "b");
    const struct status_condition *last = &status->conditions[status->condition_count - 1];
    assert_int_equal(status->phase, RESOURCE_FAILED);
    assert_string_equal(last->reason, "");
    assert_string_equal(last->message, "tenant 'second' on node 'db-b': disk full");
    assert_string_equal(s->log, "Backup/b Failed: tenant 'second' on node 'db-b': disk full");
    assert_int_equal(s->said, BRAIN_LOG_JOB_FAILED);
    assert_string_equal(status->error.node, "db-b");
    assert_string_equal(status->error.message, "tenant 'second': disk full");
    assert_int_equal(status->commit_us, 0);
    assert_int_equal(tenant_status(s, 0, "main")->phase, RESOURCE_COMPLETE);
    assert_int_equal(tenant_status(s, 1, "second")->phase, RESOURCE_FAILED);
    restart(s);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_FAILED);
    assert_string_equal(status_of(s, "b")->error.message, "tenant 'second': disk full");
}

static void resumed(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    both_up(s);
    apply(s, BACKUP(""));
    break_off(s, 11, "disk full");
    command(s, BRAIN_CMD_RETRY, "b");
    assert_string_equal(s->answer.msg, "Backup/b did not fail");
    commit(s, 10, 7000, 30);
    command(s, BRAIN_CMD_RETRY, "b");
    assert_int_equal(s->outcome, BRAIN_DONE);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    assert_int_equal(status_of(s, "b")->attempt, 2);
    nothing_given(s, 10);
    assert_int_equal(given(s, 11).attempt, 2);
    assert_int_equal(record_of(s, PART_KEY "main", &arena).attempt, 1);
    break_off(s, 11, "disk full again");
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_FAILED);
    command(s, BRAIN_CMD_RETRY, "b");
    commit(s, 11, 9000, 50);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_int_equal(status_of(s, "b")->commit_us, 7000);
    assert_int_equal(record_of(s, PART_KEY "second", &arena).attempt, 3);
    assert_int_equal(record_of(s, PART_KEY "second", &arena).round, 3);
}

/* The store took the wish to resume, and the coordinator stopped before any part went on. */
static void resumed_over_a_restart(void **state)
{
    struct stage *s = *state;
    both_up(s);
    apply(s, BACKUP(""));
    commit(s, 10, 7000, 30);
    break_off(s, 11, "disk full");
    s->hold_persist = true;
    command(s, BRAIN_CMD_RETRY, "b");
    s->hold_persist = false;
    restart(s);
    both_up(s);
    assert_int_equal(given(s, 11).attempt, 2);
    nothing_given(s, 10);
    commit(s, 11, 9000, 50);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
}

/* Its primary is away: the others do not wait for it. */
static void nobody_begins(void **state)
{
    struct stage *s = *state;
    both_up(s);
    say(s, 11, INSTANCE_UNKNOWN, NULL);
    apply(s, BACKUP(""));
    commit(s, 10, 7000, 30);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    assert_string_equal(status_of(s, "b")->waiting,
                        "tenant 'second': waiting for an agent of cluster 'demo1', tenant "
                        "'second' with role primary");
    for (unsigned at = 0; at < 599; at++) {
        tick(s, SEC(1));
        say(s, 11, INSTANCE_UNKNOWN, NULL);
    }
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    tick(s, SEC(1));
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->phase, RESOURCE_FAILED);
    assert_string_equal(status->conditions[status->condition_count - 1].message,
                        "tenant 'second': nothing could begin for 600 s: waiting for an agent of "
                        "cluster 'demo1', tenant 'second' with role primary");
    command(s, BRAIN_CMD_RETRY, "b");
    commit(s, 11, 9000, 50);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
}

/* ---- restarts ---- */

/* Only one agent came back: the cluster has two tenants all the same. */
static void remembers_tenants(void **state)
{
    struct stage *s = *state;
    both_up(s);
    restart(s);
    up(s, 10, "db-a", "boot1", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    apply(s, BACKUP(""));
    assert_string_equal(tenant_status(s, 1, "second")->waiting,
                        "waiting for an agent of cluster 'demo1', tenant 'second' with role "
                        "primary");
    assert_int_equal(given(s, 10).step, JOB_STEP_PREPARE);
    up(s, 11, "db-b", "boot2", 0);
    assert_int_equal(given(s, 11).step, JOB_STEP_PREPARE);
}

/* Each life makes what one step wants durable, and stops before it learns of it. */
static void one_change_a_life(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    both_up(s);
    s->hold_persist = true;
    apply(s, BACKUP(""));
    for (unsigned life = 0; life < 8; life++) {
        restart(s);
        both_up(s);
    }
    assert_int_equal(s->record_count, 4);
    assert_int_equal(record_of(s, WHOLE_KEY, &arena).parts_count, 2);
    struct record one = record_of(s, PART_KEY "main", &arena);
    struct record other = record_of(s, PART_KEY "second", &arena);
    assert_int_equal(one.phase, PHASE_PREPARE);
    assert_int_equal(other.phase, PHASE_PREPARE);
    assert_int_equal(one.attempt, 1);
    assert_int_equal(other.attempt, 1);
    s->hold_persist = false;
    restart(s);
    both_up(s);
    assert_string_equal(given(s, 10).uid, one.job);
    assert_string_equal(given(s, 11).uid, other.job);
    commit(s, 10, 7000, 30);
    commit(s, 11, 9000, 50);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    /* and on the way out */
    s->hold_persist = true;
    command(s, BRAIN_CMD_DELETE, "b");
    assert_true(record_of(s, WHOLE_KEY, &arena).deleting);
    for (unsigned life = 0; life < 3; life++)
        restart(s);
    assert_false(stored(s, PART_KEY "main"));
    assert_false(stored(s, WHOLE_KEY));
}

/* The store refuses a part: it is made a little later, and not over and over at once. */
static void store_refuses(void **state)
{
    struct stage *s = *state;
    both_up(s);
    s->hold_persist = true;
    apply(s, BACKUP(""));
    persisted(s, s->held_txn, true);
    s->fail_persist = true;
    s->hold_persist = false;
    uint64_t before = s->held_txn;
    persisted(s, before, true); /* the whole begins */
    assert_int_equal(s->held_txn, before + 2);
    assert_int_equal(s->record_count, 2);
    assert_string_equal(s->log, "tenant 'second': cannot make a change durable: disk full");
    tick(s, MS(500));
    assert_int_equal(s->held_txn, before + 2); /* not at once */
    s->fail_persist = false;
    tick(s, MS(500));
    assert_true(stored(s, PART_KEY "main"));
    assert_true(stored(s, PART_KEY "second"));
    assert_int_equal(s->record_count, 4);
}

static void whole_is_missing(void **state)
{
    struct stage *s = *state;
    struct tm_err err = {0};
    struct brain *brain;
    struct brain_actions actions;
    struct brain_config config = {.term = 7, .start = 99};
    struct brain_rng rng = {.next = next_number, .arg = s};
    both_up(s);
    apply(s, BACKUP(""));
    assert_int_equal(brain_new(&config, rng, &brain, &err), 0);
    for (size_t at = 0; at < s->record_count; at++) {
        struct brain_event event = {.kind = BRAIN_EV_LOADED};
        size_t len = strlen((char *)s->records[at].data);
        event.loaded.key = slice_of(s->records[at].data, len);
        event.loaded.value = slice_of(s->records[at].data + len + 1, s->records[at].len - len - 1);
        if (strcmp((char *)s->records[at].data, WHOLE_KEY) != 0)
            assert_int_equal(brain_step(brain, &event, (struct brain_now){1, 1}, &actions, &err),
                             0);
    }
    struct brain_event event = {.kind = BRAIN_EV_LOADED_END};
    assert_int_equal(brain_step(brain, &event, (struct brain_now){1, 1}, &actions, &err),
                     -TM_E_CORRUPT);
    assert_string_equal(err.msg, "stored records: there is tenant 'main' of Backup/b in namespace "
                                 "'default', and not Backup/b itself");
    brain_free(brain);
}

/* ---- deleted ---- */

#define DELETING BACKUP("") "  cleanPolicy: Delete\n"

static void swept(struct stage *s, uint64_t conn, enum job_stage stage, uint64_t left_ms)
{
    struct msg_assignment a = given(s, conn);
    struct msg_job job = job_at(&a, stage);
    assert_int_equal(a.kind, JOB_KIND_DELETE);
    job.grace_left_ms = left_ms;
    say(s, conn, INSTANCE_PRIMARY, &job);
}

static void deleted(void **state)
{
    struct stage *s = *state;
    both_up(s);
    apply(s, DELETING);
    commit(s, 10, 7000, 30);
    commit(s, 11, 9000, 50);
    command(s, BRAIN_CMD_DELETE, "b");
    assert_int_equal(s->outcome, BRAIN_DELETING);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_DELETING);
    swept(s, 10, JOB_STAGE_MARKED, 600000);
    assert_int_equal(status_of(s, "b")->removal_us, 0); /* of one it is not known */
    swept(s, 11, JOB_STAGE_MARKED, 700000);
    assert_int_equal(status_of(s, "b")->removal_us,
                     (int64_t)(SEC(1763720000) + s->mono_us + SEC(700)));
    restart(s);
    both_up(s);
    nothing_given(s, 10);
    /* not so long after all: said once more, it counts for all */
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = 2;
    event.command.what = BRAIN_CMD_DELETE;
    event.command.kind = "Backup";
    event.command.name = "b";
    event.command.has_grace = true;
    feed(s, &event);
    assert_int_equal(given(s, 11).backup->grace_ms, 0);
    swept(s, 10, JOB_STAGE_SWEPT, 0);
    assert_false(stored(s, PART_KEY "main"));
    assert_true(stored(s, WHOLE_KEY)); /* as long as there is anything of it */
    assert_int_equal(status_of(s, "b")->tenant_count, 1);
    swept(s, 11, JOB_STAGE_SWEPT, 0);
    assert_int_equal(s->record_count, 1);
    assert_true(stored(s, "cluster/demo1"));
}

static void kept(void **state)
{
    struct stage *s = *state;
    both_up(s);
    apply(s, BACKUP(""));
    commit(s, 10, 7000, 30);
    break_off(s, 11, "disk full");
    command(s, BRAIN_CMD_DELETE, "b");
    assert_int_equal(s->record_count, 2); /* the cluster, and where the good one is kept */
    nothing_given(s, 10);
    nothing_given(s, 11);
}

static void deleted_while_it_runs(void **state)
{
    struct stage *s = *state;
    both_up(s);
    apply(s, BACKUP(""));
    given(s, 10);
    command(s, BRAIN_CMD_DELETE, "b");
    assert_int_equal(s->outcome, BRAIN_DELETING);
    for (uint64_t conn = 10; conn <= 11; conn++) {
        struct msg_assignment a = given(s, conn);
        struct msg_job job = job_at(&a, JOB_STAGE_SWEPT);
        assert_int_equal(a.step, JOB_STEP_ABORT);
        say(s, conn, INSTANCE_PRIMARY, &job);
    }
    assert_int_equal(s->record_count, 1);
}

/* ---- restored ---- */

#define RESTORE(br)                                                                                \
    "apiVersion: tidemark/v1\nkind: Restore\nmetadata:\n  name: r\nspec:\n" br                     \
    "  backup: b\n  node: db-a\n  dataDir: /srv/r\n"

static void restores(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    both_up(s);
    apply(s, BACKUP(""));
    break_off(s, 10, "disk full");
    commit(s, 11, 9000, 50);
    apply(s, RESTORE(""));
    assert_int_equal(s->answer.code, TM_E_INVALID);
    assert_string_equal(s->answer.msg,
                        "Restore/r: backup 'b' is of several tenants: name one of them in "
                        "br.tenant (--tenant): main, second");
    apply(s, RESTORE("  br: {tenant: third}\n"));
    assert_string_equal(s->answer.msg,
                        "Restore/r: backup 'b' has no tenant 'third': there are main, second");
    apply(s, RESTORE("  br: {tenant: second}\n"));
    assert_int_equal(s->answer.code, TM_E_OK);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    const struct msg_assignment *a = desired_job(s);
    assert_int_equal(a->kind, JOB_KIND_RESTORE);
    assert_string_equal(a->restore->source_cluster, "demo1");
    assert_string_equal(a->restore->source_tenant, "second");
    assert_string_equal(a->restore->backup_id, record_of(s, PART_KEY "second", &arena).backup_id);
}

/* One of a single tenant needs no word of it, whatever its name is. */
static void restores_the_only_one(void **state)
{
    struct stage *s = *state;
    up(s, 11, "db-b", "boot2", 0);
    say(s, 11, INSTANCE_PRIMARY, NULL);
    apply(s, BACKUP(""));
    commit(s, 11, 9000, 50);
    apply(s, "apiVersion: tidemark/v1\nkind: Restore\nmetadata:\n  name: r\nspec:\n"
             "  backup: b\n  dataDir: /srv/r\n");
    say(s, 11, INSTANCE_PRIMARY, NULL);
    assert_string_equal(desired_job(s)->restore->source_tenant, "second");
}

static void waits_for_its_tenant(void **state)
{
    struct stage *s = *state;
    struct brain_resource r;
    both_up(s);
    apply(s, BACKUP(""));
    apply(s, RESTORE("  br: {tenant: second}\n"));
    assert_true(brain_resource_find(s->brain, "Restore", NULL, "r", &r));
    assert_string_equal(r.status->waiting, "waiting for backup 'b', tenant second to be Complete");
}

/* ---- edited ---- */

static void policy_changes(void **state)
{
    struct stage *s = *state;
    both_up(s);
    apply(s, BACKUP(""));
    commit(s, 10, 7000, 30);
    commit(s, 11, 9000, 50);
    apply(s, BACKUP("    tenant: main\n"));
    assert_string_equal(s->answer.msg, "Backup/b was started already and its spec cannot change "
                                       "any more; apply it under another name");
    apply(s, DELETING "  cleanGrace: 0s\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    command(s, BRAIN_CMD_DELETE, "b");
    swept(s, 11, JOB_STAGE_SWEPT, 0);
    swept(s, 10, JOB_STAGE_SWEPT, 0);
    assert_int_equal(s->record_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(side_by_side),
        SCENE(shown),
        SCENE(only_one),
        SCENE(named),
        SCENE(late_tenant),
        SCENE(one_fails),
        SCENE(resumed),
        SCENE(resumed_over_a_restart),
        SCENE(nobody_begins),
        SCENE(remembers_tenants),
        SCENE(one_change_a_life),
        SCENE(store_refuses),
        SCENE(whole_is_missing),
        SCENE(deleted),
        SCENE(kept),
        SCENE(deleted_while_it_runs),
        SCENE(restores),
        SCENE(restores_the_only_one),
        SCENE(waits_for_its_tenant),
        SCENE(policy_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
