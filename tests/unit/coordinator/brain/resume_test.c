/* Attempts that go on with what earlier ones stored: which may, what they get, when it is given up. */
#include "tests/unit/coordinator/brain/stage.h"

#define RETRIED                                                                                    \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: b\nspec:\n  br:\n"                  \
    "    cluster: demo1\n  backoffRetryPolicy:\n    minRetryDuration: 10s\n"                       \
    "    maxRetryTimes: 1\n  local:\n    path: /backup\n"

static const struct msg_error lost = {
    .code = TM_E_UNAVAILABLE, .text = "the session is lost", .stage = "session", .retryable = true};

/* Why it is Failed, in a word. */
static const char *reason(struct stage *s)
{
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->phase, RESOURCE_FAILED);
    for (size_t at = 0; at < TM_ARRAY_LEN(status->conditions); at++) {
        if (status->conditions[at].status && status->conditions[at].type == RESOURCE_FAILED)
            return status->conditions[at].reason;
    }
    fail_msg("no condition Failed");
    return "";
}

/* The lead says how its job is. */
static void says(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                 enum job_stage stage, const struct msg_error *error)
{
    struct msg_job job = job_at(a, stage);
    struct msg_error copy = error != NULL ? *error : (struct msg_error){.code = TM_E_OK};
    job.error = error != NULL ? &copy : NULL;
    beat(s, conn, INSTANCE_PRIMARY, 0, &job);
    beat(s, conn, INSTANCE_PRIMARY, 0, NULL); /* what is desired since */
}

/* With an agent that lives on connection 10. */
static void pass(struct stage *s, unsigned seconds)
{
    for (unsigned at = 0; at < seconds; at += 10) {
        tick(s, SEC(TM_MIN(10U, seconds - at)));
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    }
}

/* On connection 10: planned, and failed so that it may go on. */
static struct msg_assignment resumable(struct stage *s)
{
    struct msg_assignment a = running(s, 0, 3);
    says(s, 10, &a, JOB_STAGE_FAILED, &lost);
    assert_string_equal(reason(s), "Resumable");
    assert_int_equal(s->reply.desired.jobs_count, 0); /* nothing is swept */
    return a;
}

/* The next attempt's assignment; it has the same backup. */
static struct msg_assignment resumed(struct stage *s)
{
    char id[WIRE_ID_MAX + 1];
    struct msg_assignment a = resumable(s);
    (void)snprintf(id, sizeof(id), "%s", status_of(s, "b")->backup_id);
    command(s, BRAIN_CMD_RETRY, "b");
    assert_int_equal(s->outcome, BRAIN_DONE);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    const struct msg_assignment *next = desired_job(s);
    assert_int_equal(next->attempt, 2);
    assert_int_equal(next->step, JOB_STEP_PREPARE);
    assert_string_not_equal(next->uid, a.uid);
    assert_string_equal(next->backup->backup_id, id);
    assert_true(next->backup->checkpoint);
    assert_true(next->backup->resume);
    assert_false(status_of(s, "b")->has_error);
    return *next;
}

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

/* ---- verdicts ---- */

static enum verdict tell_stored(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                                uint32_t range, uint64_t counter)
{
    struct msg_counters counters = {.bytes = 100, .stored_bytes = 40, .files = 2};
    struct msg_result result = {.range = range,
                                .term = 1,
                                .counter = counter,
                                .blob = slice_str("entry"),
                                .counters = &counters,
                                .stored = true};
    struct message m = {.type = MESSAGE_ranges_done};
    memcpy(m.ranges_done.uid, a->uid, sizeof(a->uid));
    m.ranges_done.attempt = a->attempt;
    m.ranges_done.results = &result;
    m.ranges_done.results_count = 1;
    ask(s, conn, &m);
    assert_int_equal(s->reply.type, MESSAGE_verdicts);
    return (enum verdict)s->reply.verdicts.verdicts[0].verdict;
}

/* Ranges 0 to 2 of a plan that is not complete. */
static void send_half(struct stage *s, const struct msg_assignment *a, bool last)
{
    struct msg_plan_range plan[3] = {{.start = SLICE_EMPTY, .end = slice_str("b"), .bytes = 100},
                                     {.start = slice_str("b"), .end = slice_str("c"), .bytes = 100},
                                     {.start = slice_str("c"), .end = SLICE_EMPTY, .bytes = 100}};
    struct message m = {.type = MESSAGE_plan_ranges};
    memcpy(m.plan_ranges.uid, a->uid, sizeof(a->uid));
    m.plan_ranges.attempt = a->attempt;
    m.plan_ranges.first = last ? 3 : 0;
    m.plan_ranges.ranges = plan;
    m.plan_ranges.ranges_count = last ? 0 : 3;
    m.plan_ranges.last = last;
    ask(s, 10, &m);
    assert_int_equal(s->reply.type, MESSAGE_plan_ack);
    assert_int_equal(s->reply.plan_ack.next, 3);
    assert_int_equal(s->reply.plan_ack.done, last);
}

static void stored_before_the_plan_is_whole(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = resumed(s);
    assert_int_equal(tell_stored(s, 10, &a, 1, 7), VERDICT_LATER); /* of no range yet */
    send_half(s, &a, false);
    assert_int_equal(tell_stored(s, 10, &a, 3, 7), VERDICT_LATER);
    assert_int_equal(done(s, 10, &a, 0, 1, 7), VERDICT_LATER); /* of this attempt: not before */
    assert_int_equal(tell_stored(s, 10, &a, 1, 7), VERDICT_ACCEPTED);
    assert_int_equal(tell_stored(s, 10, &a, 1, 7), VERDICT_ACCEPTED);
    assert_int_equal(tell_stored(s, 10, &a, 1, 8), VERDICT_STALE);
    want(s, 10, &a, 8);
    assert_int_equal(s->reply.ranges.leases_count, 0);
    send_half(s, &a, true);
    assert_int_equal(status_of(s, "b")->ranges_done, 1);
    says(s, 10, &a, JOB_STAGE_WORKING, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_RUN);
    want(s, 10, &a, 8);
    assert_int_equal(s->reply.ranges.leases_count, 2); /* what is stored is not read again */
    assert_int_equal(s->reply.ranges.leases[0].range, 0);
    assert_int_equal(s->reply.ranges.leases[1].range, 2);
    assert_int_equal(tell_stored(s, 10, &a, 0, 7), VERDICT_STALE); /* granted: too late */
    uint64_t counter = s->reply.verdicts.verdicts[0].counter;
    assert_int_equal(counter, 7);
}

static void stored_says_another(void **state)
{
    struct stage *s = *state;
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, INSTANCE_CAP_RANGE_OWN_POSITION, NULL);
    struct msg_assignment a = running(s, INSTANCE_CAP_RANGE_OWN_POSITION, 3);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    beat(s, 11, INSTANCE_STANDBY, INSTANCE_CAP_RANGE_OWN_POSITION, &job);
    assert_int_equal(tell_stored(s, 11, &a, 0, 7), VERDICT_STALE); /* a worker only */
    assert_int_equal(tell_stored(s, 10, &a, 0, 7), VERDICT_ACCEPTED);
}

/* After a restart the lead tells what another node has read before that one does, whose share it is all the same. */
static void told_by_the_lead_first(void **state)
{
    struct stage *s = *state;
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, INSTANCE_CAP_RANGE_OWN_POSITION, NULL);
    struct msg_assignment a = running(s, INSTANCE_CAP_RANGE_OWN_POSITION, 3);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    beat(s, 11, INSTANCE_STANDBY, INSTANCE_CAP_RANGE_OWN_POSITION, &job);
    assert_int_equal(tell_stored(s, 10, &a, 0, 7), VERDICT_ACCEPTED);
    assert_int_equal(tell_stored(s, 10, &a, 2, 9), VERDICT_ACCEPTED);
    assert_int_equal(status_of(s, "b")->ranges_resumed, 2);
    assert_int_equal(status_of(s, "b")->share_count, 0);
    for (int times = 0; times < 2; times++) {
        assert_int_equal(done(s, 11, &a, 0, 1, 7), VERDICT_ACCEPTED);
        assert_int_equal(done(s, 11, &a, 2, 1, 8), VERDICT_STALE); /* it lost that one */
        const struct resource_status *status = status_of(s, "b");
        assert_int_equal(status->ranges_done, 2);
        assert_int_equal(status->ranges_resumed, 1);
        assert_int_equal(status->bytes_resumed, 100);
        assert_int_equal(status->share_count, 1);
        assert_string_equal(status->shares[0].node, "db-b");
        assert_int_equal(status->shares[0].ranges, 1);
        assert_int_equal(status->shares[0].bytes, 100);
    }
}

/* ---- pages of what was accepted ---- */

static void ask_accepted(struct stage *s, const struct msg_assignment *a, uint32_t from)
{
    struct message m = {.type = MESSAGE_want_results};
    memcpy(m.want_results.uid, a->uid, sizeof(a->uid));
    m.want_results.attempt = a->attempt;
    m.want_results.from = from;
    m.want_results.accepted = true;
    ask(s, 10, &m);
    assert_int_equal(s->reply.type, MESSAGE_results);
    assert_true(s->reply.results.accepted);
    assert_false(s->reply.results.not_ready);
    assert_int_equal(s->reply.results.from, from);
}

static void in_their_order(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 4);
    ask_accepted(s, &a, 0);
    assert_int_equal(s->reply.results.results_count, 0);
    assert_true(s->reply.results.last);
    want(s, 10, &a, 8);
    assert_int_equal(done(s, 10, &a, 2, 1, 3), VERDICT_ACCEPTED);
    assert_int_equal(done(s, 10, &a, 0, 1, 1), VERDICT_ACCEPTED);
    ask_accepted(s, &a, 0);
    assert_int_equal(s->reply.results.results_count, 2);
    assert_true(s->reply.results.last);
    assert_int_equal(s->reply.results.results[0].range, 2);
    assert_int_equal(s->reply.results.results[0].counter, 3);
    assert_memory_equal(s->reply.results.results[0].blob.data, "entry", 5);
    assert_int_equal(s->reply.results.results[0].counters->bytes, 100);
    assert_int_equal(s->reply.results.results[0].counters->stored_bytes, 40);
    assert_int_equal(s->reply.results.results[0].counters->files, 2);
    assert_int_equal(s->reply.results.results[1].range, 0);
    assert_int_equal(done(s, 10, &a, 3, 1, 4), VERDICT_ACCEPTED);
    ask_accepted(s, &a, 2);
    assert_int_equal(s->reply.results.results_count, 1);
    assert_int_equal(s->reply.results.results[0].range, 3);
    ask_accepted(s, &a, 3);
    assert_int_equal(s->reply.results.results_count, 0);
    assert_true(s->reply.results.last);
    ask_accepted(s, &a, 4000); /* of a coordinator that knew more */
    assert_int_equal(s->reply.results.results_count, 0);
    assert_true(s->reply.results.last);
}

static void page_by_page(void **state)
{
    enum { RANGES = 2 * WIRE_RESULTS_MAX + 5 };
    static char keys[RANGES + 1][8];
    static struct msg_plan_range plan[RANGES];
    struct stage *s = *state;
    struct msg_assignment a = resumed(s);
    for (size_t at = 0; at < RANGES; at++)
        (void)snprintf(keys[at], sizeof(keys[at]), "%04zu", at);
    for (size_t from = 0; from < RANGES; from += TM_MIN(RANGES - from, (size_t)WIRE_PLAN_MAX)) {
        struct message m = {.type = MESSAGE_plan_ranges};
        size_t count = TM_MIN(RANGES - from, (size_t)WIRE_PLAN_MAX);
        for (size_t at = from; at < from + count; at++)
            plan[at] = (struct msg_plan_range){.start = at > 0 ? slice_str(keys[at]) : SLICE_EMPTY,
                                               .end = at + 1 < RANGES ? slice_str(keys[at + 1])
                                                                      : SLICE_EMPTY,
                                               .bytes = 10};
        memcpy(m.plan_ranges.uid, a.uid, sizeof(a.uid));
        m.plan_ranges.attempt = a.attempt;
        m.plan_ranges.first = (uint32_t)from;
        m.plan_ranges.ranges = &plan[from];
        m.plan_ranges.ranges_count = count;
        ask(s, 10, &m);
        assert_int_equal(s->reply.plan_ack.next, from + count);
    }
    for (uint32_t at = 0; at < RANGES; at++)
        assert_int_equal(tell_stored(s, 10, &a, RANGES - 1 - at, 1), VERDICT_ACCEPTED);
    uint32_t from = 0;
    for (int page = 0; page < 3; page++) {
        ask_accepted(s, &a, from);
        assert_int_equal(s->reply.results.results_count, page < 2 ? WIRE_RESULTS_MAX : 5);
        assert_int_equal(s->reply.results.last, page == 2);
        for (size_t at = 0; at < s->reply.results.results_count; at++)
            assert_int_equal(s->reply.results.results[at].range, RANGES - 1 - from - at);
        from += (uint32_t)s->reply.results.results_count;
    }
    assert_int_equal(from, RANGES);
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
        SCENE(stored_before_the_plan_is_whole),
        SCENE(stored_says_another),
        SCENE(told_by_the_lead_first),
        SCENE(in_their_order),
        SCENE(page_by_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
