/* Attempts that go on with what earlier ones stored: which may, what they get, when it is given up. */
#include "tests/unit/coordinator/brain/resume_stage.h"

#define RETRIED                                                                                    \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: b\nspec:\n  br:\n"                  \
    "    cluster: demo1\n  backoffRetryPolicy:\n    minRetryDuration: 10s\n"                       \
    "    maxRetryTimes: 1\n  local:\n    path: /backup\n"

static void restart(struct stage *s, uint64_t term, uint64_t conn)
{
    brain_free(s->brain);
    start(s, term);
    up(s, conn, "db-a", "boot1", 0);
    beat(s, conn, INSTANCE_PRIMARY, 0, NULL);
}

/* ---- which failures ---- */

struct failure {
    const char *stage;
    const char *extra; /* of the spec */
    enum tm_err_code code;
    bool retryable;
    bool planned;
    bool may;
};

static const struct failure failures[] = {
    {"session", "", TM_E_UNAVAILABLE, true, true, true},
    {"range", "", TM_E_TIMEOUT, true, true, true},
    {"commit", "", TM_E_CANCELED, true, true, true},
    {"runner", "", TM_E_INTERNAL, true, true, true},
    {"resume", "", TM_E_UNAVAILABLE, true, true, true}, /* the database was away */
    {"begin", "", TM_E_CONFLICT, true, true, true},
    {"session", "", TM_E_UNAVAILABLE, true, false, false}, /* there is no plan */
    {"session", "", TM_E_UNAVAILABLE, false, true, false},
    {"range", "", TM_E_NO_SPACE, false, true, false},
    {"check", "", TM_E_INVALID, false, true, false},
    {"session", "    options: [--no-checkpoint]\n", TM_E_UNAVAILABLE, true, true, false},
};

static void fails(struct stage *s, const struct failure *f)
{
    struct msg_error error = {.code = f->code, .text = "why", .retryable = f->retryable};
    char spec[512];
    (void)snprintf(error.stage, sizeof(error.stage), "%s", f->stage);
    (void)snprintf(spec, sizeof(spec), BACKUP("%s"), f->extra);
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply(s, spec);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_false(desired_job(s)->backup->resume);
    if (f->planned)
        send_plan(s, 10, &a, 2);
    says(s, 10, &a, JOB_STAGE_FAILED, &error);
    if (f->may) {
        assert_string_equal(reason(s), "Resumable");
        return;
    }
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT);
    says(s, 10, &a, JOB_STAGE_SWEPT, NULL);
    assert_string_equal(reason(s), "");
}

static void which_may_go_on(void **state)
{
    (void)state;
    for (size_t at = 0; at < TM_ARRAY_LEN(failures); at++) {
        void *stage;
        (void)setup(&stage);
        fails(stage, &failures[at]);
        (void)teardown(&stage);
    }
}

static void a_lead_that_is_silent(void **state)
{
    struct stage *s = *state;
    (void)running(s, 0, 2);
    tick(s, SEC(91));
    assert_string_equal(reason(s), "Resumable");
    assert_string_equal(status_of(s, "b")->error.message,
                        "agent on node 'db-a' is not heard for 30 s");
}

static void what_does_not_move(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    while (status_of(s, "b")->phase == RESOURCE_RUNNING && s->mono_us < SEC(36000)) {
        tick(s, SEC(20));
        says(s, 10, &a, JOB_STAGE_WORKING, NULL);
    }
    assert_string_equal(reason(s), "Resumable");
    assert_string_equal(status_of(s, "b")->error.stage, "stall");
}

/* ---- the next attempt ---- */

static void by_hand(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = resumed(s);
    says(s, 10, &a, JOB_STAGE_FAILED, &lost); /* before its plan is told: still the earlier one's */
    assert_string_equal(reason(s), "Resumable");
    command(s, BRAIN_CMD_RETRY, "b");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->attempt, 3);
    assert_true(desired_job(s)->backup->resume);
    struct msg_assignment third = *desired_job(s);
    says(s, 10, &third, JOB_STAGE_COMMITTED, NULL);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
}

static void by_policy(void **state)
{
    struct stage *s = *state;
    char id[WIRE_ID_MAX + 1];
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply(s, RETRIED);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    (void)snprintf(id, sizeof(id), "%s", desired_job(s)->backup->backup_id);
    send_plan(s, 10, &a, 2);
    says(s, 10, &a, JOB_STAGE_FAILED, &lost);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_SCHEDULED);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    tick(s, SEC(9));
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_SCHEDULED);
    tick(s, SEC(1));
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_string_equal(desired_job(s)->backup->backup_id, id);
    assert_true(desired_job(s)->backup->resume);
    a = *desired_job(s);
    says(s, 10, &a, JOB_STAGE_FAILED, &lost);
    assert_string_equal(reason(s), "Resumable"); /* by hand, as often as wanted */
}

static void ranges_start_over(void **state)
{
    struct stage *s = *state;
    const struct msg_error over = {
        .code = TM_E_CONFLICT, .text = "full_page_writes was off at 0/3000148", .stage = "resume"};
    char id[WIRE_ID_MAX + 1];
    struct msg_assignment a = resumed(s);
    (void)snprintf(id, sizeof(id), "%s", status_of(s, "b")->backup_id);
    says(s, 10, &a, JOB_STAGE_FAILED, &over);
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT);
    assert_string_equal(desired_job(s)->backup->backup_id, id);
    says(s, 10, &a, JOB_STAGE_SWEPT, NULL);
    tick(s, 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL); /* at once, and nobody allowed a retry */
    assert_int_equal(desired_job(s)->attempt, 3);
    assert_int_equal(desired_job(s)->step, JOB_STEP_PREPARE);
    assert_string_not_equal(desired_job(s)->backup->backup_id, id);
    assert_false(desired_job(s)->backup->resume);
    assert_int_equal(status_of(s, "b")->warning_count, 1);
    assert_string_equal(status_of(s, "b")->warnings[0],
                        "ranges started over: full_page_writes was off at 0/3000148");
    struct msg_assignment third = *desired_job(s);
    says(s, 10, &third, JOB_STAGE_COMMITTED, NULL);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_int_equal(status_of(s, "b")->warning_count, 1); /* it stays to be read */
}

/* ---- nobody can sweep ---- */

/* Failed for good, and its lead is silent since; connection 10 is back now. */
static struct msg_assignment left_over(struct stage *s)
{
    static const struct msg_error broken = {
        .code = TM_E_IO, .text = "cannot read 'x'", .stage = "range"};
    struct msg_assignment a = running(s, 0, 3);
    says(s, 10, &a, JOB_STAGE_FAILED, &broken);
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT);
    tick(s, SEC(61));
    assert_string_equal(reason(s), "Leftovers");
    assert_string_equal(s->log,
                        "Backup/b Failed (what it stored is not removed yet): cannot read 'x'");
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    const struct msg_assignment *sweep = desired_job(s);
    assert_int_equal(sweep->kind, JOB_KIND_BACKUP);
    assert_int_equal(sweep->step, JOB_STEP_ABORT);
    assert_int_equal(sweep->roles, JOB_ROLE_LEAD);
    assert_string_equal(sweep->uid, a.uid);
    return *sweep;
}

static void swept_by_and_by(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = left_over(s);
    says(s, 10, &a, JOB_STAGE_FAILED, &lost); /* the storage is away for a while */
    assert_string_equal(reason(s), "Leftovers");
    restart(s, 2, 12);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT);
    says(s, 12, &a, JOB_STAGE_SWEPT, NULL);
    assert_string_equal(reason(s), "");
    assert_string_equal(status_of(s, "b")->error.message, "cannot read 'x'");
    assert_string_equal(s->log, "Backup/b: what was stored of it is removed");
    assert_int_equal(s->reply.desired.jobs_count, 0);
}

static void retried_once_it_is_swept(void **state)
{
    struct stage *s = *state;
    char id[WIRE_ID_MAX + 1];
    struct msg_assignment a = left_over(s);
    (void)snprintf(id, sizeof(id), "%s", status_of(s, "b")->backup_id);
    command(s, BRAIN_CMD_RETRY, "b");
    assert_int_equal(s->answer.code, TM_E_OK);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_SCHEDULED);
    assert_string_equal(status_of(s, "b")->waiting,
                        "waiting until what the last attempt stored is removed");
    a = *desired_job(s);
    assert_int_equal(a.step, JOB_STEP_ABORT);
    assert_int_equal(a.attempt, 2);
    assert_string_equal(a.backup->backup_id, id);
    says(s, 10, &a, JOB_STAGE_SWEPT, NULL);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_PREPARE);
    assert_string_not_equal(desired_job(s)->backup->backup_id, id);
    assert_false(desired_job(s)->backup->resume);
}

/* Also where backups are retained: this is none. */
static void deleted_once_it_is_swept(void **state)
{
    struct stage *s = *state;
    struct brain_resource resource;
    struct msg_assignment a = left_over(s);
    command(s, BRAIN_CMD_DELETE, "b");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_true(brain_resource_find(s->brain, "Backup", NULL, "b", &resource));
    assert_true(resource.deleting);
    says(s, 10, &a, JOB_STAGE_SWEPT, NULL);
    assert_false(brain_resource_find(s->brain, "Backup", NULL, "b", &resource));
    assert_int_equal(s->reply.desired.jobs_count, 0);
}

/* ---- nobody goes on ---- */

/* Failed, and being swept since its time has passed; still on connection 10. */
static struct msg_assignment expired(struct stage *s)
{
    struct msg_assignment a = resumable(s);
    pass(s, 3600);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    tick(s, 1);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    const struct msg_assignment *sweep = desired_job(s);
    assert_int_equal(sweep->kind, JOB_KIND_BACKUP);
    assert_int_equal(sweep->step, JOB_STEP_ABORT);
    assert_int_equal(sweep->roles, JOB_ROLE_LEAD);
    assert_string_equal(sweep->uid, a.uid);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_FAILED);
    return *sweep;
}

static void swept_after_its_time(void **state)
{
    struct stage *s = *state;
    char id[WIRE_ID_MAX + 1];
    struct msg_assignment a = expired(s);
    (void)snprintf(id, sizeof(id), "%s", status_of(s, "b")->backup_id);
    says(s, 10, &a, JOB_STAGE_FAILED, &lost); /* the storage is away for a while */
    assert_string_equal(reason(s), "Resumable");
    says(s, 10, &a, JOB_STAGE_SWEPT, NULL);
    assert_string_equal(reason(s), "");
    assert_string_equal(status_of(s, "b")->error.message, "the session is lost");
    assert_int_equal(s->reply.desired.jobs_count, 0);
    assert_string_equal(s->log, "Backup/b: what was stored of it is removed");
    command(s, BRAIN_CMD_RETRY, "b");
    assert_int_equal(s->answer.code, TM_E_OK);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_string_not_equal(desired_job(s)->backup->backup_id, id);
    assert_false(desired_job(s)->backup->resume);
}

static void its_own_time(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply(s, BACKUP("    options: [--gcttl=60]\n"));
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_int_equal(desired_job(s)->backup->gcttl_s, 60);
    send_plan(s, 10, &a, 2);
    says(s, 10, &a, JOB_STAGE_FAILED, &lost);
    pass(s, 60);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    tick(s, 1);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT);
}

static void committed_all_the_same(void **state)
{
    struct stage *s = *state;
    struct msg_totals totals = {.position = "0/3000148", .commit_us = 5};
    struct msg_assignment a = expired(s);
    struct msg_job job = job_at(&a, JOB_STAGE_COMMITTED);
    job.totals = &totals;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_false(status_of(s, "b")->has_error);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
}

static void the_coordinator_restarts(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = expired(s);
    restart(s, 2, 12);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT);
    assert_string_equal(desired_job(s)->uid, a.uid);
    says(s, 12, &a, JOB_STAGE_SWEPT, NULL);
    assert_string_equal(reason(s), "");
    restart(s, 3, 13);
    beat(s, 13, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
}

static void restarted_while_it_may_go_on(void **state)
{
    struct stage *s = *state;
    char id[WIRE_ID_MAX + 1];
    (void)resumable(s);
    (void)snprintf(id, sizeof(id), "%s", status_of(s, "b")->backup_id);
    restart(s, 2, 12);
    assert_string_equal(reason(s), "Resumable");
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    command(s, BRAIN_CMD_RETRY, "b");
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_string_equal(desired_job(s)->backup->backup_id, id);
    assert_true(desired_job(s)->backup->resume);
}

static void nobody_retries_what_is_swept(void **state)
{
    struct stage *s = *state;
    (void)expired(s);
    command(s, BRAIN_CMD_RETRY, "b");
    assert_int_equal(s->answer.code, TM_E_REFUSED);
    assert_true(s->answer.retryable);
    assert_string_equal(s->answer.msg,
                        "Backup/b was not resumed in time: what was stored of it is being removed");
}

/* The sweeper is gone: another node of the cluster does it. */
static void another_sweeper(void **state)
{
    struct stage *s = *state;
    (void)expired(s);
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    gone(s, 10);
    tick(s, SEC(1));
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_int_equal(a.step, JOB_STEP_ABORT);
    assert_int_equal(a.roles, JOB_ROLE_LEAD);
    struct msg_job job = job_at(&a, JOB_STAGE_SWEPT);
    beat(s, 11, INSTANCE_STANDBY, 0, &job);
    assert_string_equal(reason(s), "");
}

/* ---- deleted ---- */

/* Being deleted: what was stored is removed first, whatever the policy says. */
static void expect_deletion(struct stage *s, uint64_t conn)
{
    struct brain_resource gone_too;
    assert_int_equal(s->outcome, BRAIN_DELETING);
    beat(s, conn, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->kind, JOB_KIND_DELETE);
    struct msg_assignment a = *desired_job(s);
    says(s, conn, &a, JOB_STAGE_SWEPT, NULL);
    assert_false(brain_resource_find(s->brain, "Backup", NULL, "b", &gone_too));
    assert_int_equal(s->record_count, 0);
}

static void deleted_while_it_may_go_on(void **state)
{
    struct stage *s = *state;
    (void)resumable(s);
    command(s, BRAIN_CMD_DELETE, "b");
    expect_deletion(s, 10);
}

static void deleted_while_it_is_swept(void **state)
{
    struct stage *s = *state;
    (void)expired(s);
    command(s, BRAIN_CMD_DELETE, "b");
    expect_deletion(s, 10);
}

static void deleted_while_it_waits(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply(s, RETRIED);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    send_plan(s, 10, &a, 2);
    says(s, 10, &a, JOB_STAGE_FAILED, &lost);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_SCHEDULED);
    command(s, BRAIN_CMD_DELETE, "b");
    pass(s, 30); /* nothing begins any more */
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_DELETING);
    expect_deletion(s, 10);
}

static void deleted_while_it_goes_on(void **state)
{
    struct stage *s = *state;
    struct brain_resource found;
    struct msg_assignment a = resumed(s);
    command(s, BRAIN_CMD_DELETE, "b");
    assert_int_equal(s->outcome, BRAIN_DELETING);
    says(s, 10, &a, JOB_STAGE_WORKING, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT);
    says(s, 10, &a, JOB_STAGE_SWEPT, NULL);
    assert_false(brain_resource_find(s->brain, "Backup", NULL, "b", &found));
}

static void deleted_after_a_restart(void **state)
{
    struct stage *s = *state;
    (void)resumable(s);
    command(s, BRAIN_CMD_DELETE, "b");
    restart(s, 2, 12);
    s->outcome = BRAIN_DELETING; /* as it was answered */
    expect_deletion(s, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_may_go_on),
        SCENE(a_lead_that_is_silent),
        SCENE(what_does_not_move),
        SCENE(by_hand),
        SCENE(by_policy),
        SCENE(ranges_start_over),
        SCENE(swept_after_its_time),
        SCENE(its_own_time),
        SCENE(committed_all_the_same),
        SCENE(the_coordinator_restarts),
        SCENE(restarted_while_it_may_go_on),
        SCENE(nobody_retries_what_is_swept),
        SCENE(swept_by_and_by),
        SCENE(retried_once_it_is_swept),
        SCENE(deleted_once_it_is_swept),
        SCENE(another_sweeper),
        SCENE(deleted_while_it_may_go_on),
        SCENE(deleted_while_it_is_swept),
        SCENE(deleted_while_it_waits),
        SCENE(deleted_while_it_goes_on),
        SCENE(deleted_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
