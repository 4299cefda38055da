#ifndef TM_TESTS_UNIT_COORDINATOR_BRAIN_RESUME_STAGE_H
#define TM_TESTS_UNIT_COORDINATOR_BRAIN_RESUME_STAGE_H
/* A backup on the stage that was interrupted, and the attempt that goes on with it. */
#include "tests/unit/coordinator/brain/stage.h"

static TM_UNUSED const struct msg_error lost = {
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
static TM_UNUSED void says(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                           enum job_stage stage, const struct msg_error *error)
{
    struct msg_job job = job_at(a, stage);
    struct msg_error copy = error != NULL ? *error : (struct msg_error){.code = TM_E_OK};
    job.error = error != NULL ? &copy : NULL;
    beat(s, conn, INSTANCE_PRIMARY, 0, &job);
    beat(s, conn, INSTANCE_PRIMARY, 0, NULL); /* what is desired since */
}

/* With an agent that lives on connection 10. */
static TM_UNUSED void pass(struct stage *s, unsigned seconds)
{
    for (unsigned at = 0; at < seconds; at += 10) {
        tick(s, SEC(TM_MIN(10U, seconds - at)));
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    }
}

/* On connection 10: planned, and failed so that it may go on. */
static TM_UNUSED struct msg_assignment resumable(struct stage *s)
{
    struct msg_assignment a = running(s, 0, 3);
    says(s, 10, &a, JOB_STAGE_FAILED, &lost);
    assert_string_equal(reason(s), "Resumable");
    assert_int_equal(s->reply.desired.jobs_count, 0); /* nothing is swept */
    return a;
}

/* The next attempt's assignment; it has the same backup. */
static TM_UNUSED struct msg_assignment resumed(struct stage *s)
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

#endif
