/* The coordinator deletes a backup: its tombstone, its grace, its objects. */
#include "tests/unit/coordinator/brain/stage.h"

#define MINUTES(n) SEC(60 * (n))

static void ask_delete(struct stage *s, bool has_grace, uint32_t grace_ms)
{
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = 2;
    event.command.what = BRAIN_CMD_DELETE;
    event.command.kind = "Backup";
    event.command.name = "b";
    event.command.has_grace = has_grace;
    event.command.grace_ms = grace_ms;
    feed(s, &event);
    assert_int_equal(s->outcome, BRAIN_DELETING);
    assert_int_equal(s->answer.code, TM_E_OK);
}

/* What db-a should have now; the first word of a connection is heard before it is chosen. */
static const struct msg_assignment *given(struct stage *s)
{
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    return desired_job(s);
}

static void nothing_given(struct stage *s)
{
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.type, MESSAGE_desired);
    assert_int_equal(s->reply.desired.jobs_count, 0);
}

/* Time passes, and the agent is there. */
static void pass(struct stage *s, uint64_t us)
{
    for (; us > SEC(5); us -= SEC(5)) {
        tick(s, SEC(5));
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    }
    tick(s, us);
}

static void complete(struct stage *s, const char *more)
{
    char yaml[400];
    (void)snprintf(yaml, sizeof(yaml),
                   "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: b\nspec:\n  br:\n"
                   "    cluster: demo1\n  cleanPolicy: Delete\n%s  local:\n    path: /backup\n",
                   more);
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply(s, yaml);
    struct msg_job job = job_at(given(s), JOB_STAGE_COMMITTED);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
}

static void report(struct stage *s, enum job_stage stage, uint64_t left_ms)
{
    struct msg_job job = job_at(given(s), stage);
    assert_int_equal(job.kind, JOB_KIND_DELETE);
    job.grace_left_ms = left_ms;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
}

static void at_once(void **state)
{
    struct stage *s = *state;
    complete(s, "  cleanGrace: 0s\n");
    ask_delete(s, false, 0);
    assert_int_equal(given(s)->backup->grace_ms, 0);
    assert_int_equal(status_of(s, "b")->removal_us, 0);
    report(s, JOB_STAGE_SWEPT, 0);
    assert_int_equal(s->record_count, 0);
}

static void grace(void **state)
{
    struct stage *s = *state;
    complete(s, "");
    ask_delete(s, false, 0);
    assert_int_equal(given(s)->kind, JOB_KIND_DELETE);
    assert_int_equal(given(s)->backup->grace_ms, 600000);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_DELETING);
    assert_int_equal(status_of(s, "b")->removal_us, 0);
    report(s, JOB_STAGE_MARKED, 600000);
    /* nobody has it any more, and people see until when */
    nothing_given(s);
    const struct resource_status *status = status_of(s, "b");
    int64_t until_us = (int64_t)(SEC(1763720000) + s->mono_us + MINUTES(10));
    assert_int_equal(status->phase, RESOURCE_DELETING);
    assert_int_equal(status->removal_us, until_us);
    const struct status_condition *last = &status->conditions[status->condition_count - 1];
    assert_string_equal(last->reason, "Grace");
    assert_string_equal(last->message, "its objects are removed at 2025-11-21T10:25:00.000000Z");
    apply(s, BACKUP(""));
    assert_string_equal(s->answer.msg,
                        "Backup/b is being deleted: it keeps its name until its objects are "
                        "removed at 2025-11-21T10:25:00.000000Z, or at once by 'tidemark delete "
                        "backup b --grace 0'");
    pass(s, MINUTES(10) - 1);
    nothing_given(s);
    tick(s, 1);
    assert_int_equal(given(s)->kind, JOB_KIND_DELETE);
    /* by the agent's clock it is not over: then it waits on */
    report(s, JOB_STAGE_MARKED, 1500);
    nothing_given(s);
    tick(s, 1500000);
    report(s, JOB_STAGE_SWEPT, 0);
    assert_int_equal(s->record_count, 0);
}

/* Restarts while it waits change nothing; what an earlier start was told counts. */
static void restarts(void **state)
{
    struct stage *s = *state;
    complete(s, "  cleanGrace: 1h\n");
    ask_delete(s, false, 0);
    brain_free(s->brain);
    start(s, 2);
    up(s, 10, "db-a", "boot1", 0);
    assert_int_equal(given(s)->backup->grace_ms, 3600000);
    s->hold_persist = true;
    report(s, JOB_STAGE_MARKED, 3600000);
    (void)given(s); /* until it is durable nothing is different */
    assert_int_equal(status_of(s, "b")->removal_us, 0);
    s->hold_persist = false;
    persisted(s, s->held_txn, true);
    nothing_given(s);
    s->mono_us += MINUTES(50);
    for (uint64_t life = 3; life < 5; life++) {
        brain_free(s->brain);
        start(s, life);
        up(s, 10, "db-a", life == 3 ? "boot1" : "boot2", 0);
        assert_int_equal(status_of(s, "b")->phase, RESOURCE_DELETING);
        nothing_given(s);
        pass(s, MINUTES(4));
    }
    pass(s, MINUTES(2));
    report(s, JOB_STAGE_SWEPT, 0);
    assert_int_equal(s->record_count, 0);
}

/* Another grace counts from the same tombstone: an agent is asked at once. */
static void another_grace(void **state)
{
    struct stage *s = *state;
    complete(s, "  cleanGrace: 1h\n");
    ask_delete(s, true, 7200000);
    assert_int_equal(given(s)->backup->grace_ms, 7200000);
    report(s, JOB_STAGE_MARKED, 7200000);
    ask_delete(s, false, 0); /* said again: no other */
    nothing_given(s);
    ask_delete(s, true, 7200000);
    nothing_given(s);
    ask_delete(s, true, 90000);
    assert_int_equal(given(s)->backup->grace_ms, 90000);
    assert_int_equal(status_of(s, "b")->removal_us, 0);
    report(s, JOB_STAGE_MARKED, 30000);
    nothing_given(s);
    ask_delete(s, true, 0);
    assert_int_equal(given(s)->backup->grace_ms, 0);
    report(s, JOB_STAGE_SWEPT, 0);
    assert_int_equal(s->record_count, 0);
}

/* The spec says how long at any time before; what is not removed has no grace. */
static void grace_of_the_spec(void **state)
{
    struct stage *s = *state;
    complete(s, "  cleanGrace: 1h\n");
    apply(s, BACKUP("  cleanPolicy: Delete\n  cleanGrace: 2m\n"));
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    apply(s, BACKUP("  cleanPolicy: Retain\n  cleanGrace: 2m\n"));
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    apply(s, BACKUP("  cleanPolicy: Delete\n  cleanGrace: 2m\n"));
    ask_delete(s, false, 0);
    assert_int_equal(given(s)->backup->grace_ms, 120000);
}

static void while_nobody_is_there(void **state)
{
    struct stage *s = *state;
    complete(s, "");
    gone(s, 10);
    tick(s, SEC(60));
    ask_delete(s, false, 0);
    assert_string_equal(status_of(s, "b")->waiting,
                        "waiting for an agent of cluster 'demo1' to delete the backup");
    up(s, 10, "db-a", "boot2", 0);
    assert_int_equal(given(s)->kind, JOB_KIND_DELETE);
    assert_string_equal(status_of(s, "b")->waiting, "");
    /* from somebody else, or of the backup itself: means nothing */
    struct msg_job job = job_at(desired_job(s), JOB_STAGE_MARKED);
    job.kind = JOB_KIND_BACKUP;
    job.grace_left_ms = 5000;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    (void)given(s);
    assert_int_equal(status_of(s, "b")->removal_us, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(at_once),           SCENE(grace),
        SCENE(restarts),          SCENE(another_grace),
        SCENE(grace_of_the_spec), SCENE(while_nobody_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
