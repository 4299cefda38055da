/* Log backups in the coordinator's brain, scene by scene: who streams, who holds, what is shown. */
#include "tests/unit/coordinator/brain/log_stage.h"

/* ---- life ---- */

static void it_starts_and_tells_how_far_it_is(void **state)
{
    struct stage *s = *state;
    apply_log(s, "wal",
              "  flushInterval: 250ms\n  holdLimit: 1GiB\n  onHoldLimit: release\n"
              "  acceptIncarnation: true\n  compression: none\n");
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_SCHEDULED);
    assert_string_equal(status_of(s, "wal")->waiting,
                        "waiting for an agent of cluster 'demo1', tenant 'main' with role primary");
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL); /* chosen, durable, and told with the next answer */
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_int_equal(a.kind, JOB_KIND_LOG);
    assert_int_equal(a.roles, JOB_ROLE_LEAD);
    assert_int_equal(a.step, JOB_STEP_RUN);
    assert_int_equal(a.attempt, 1);
    assert_string_equal(a.identity, "7000");
    assert_string_equal(a.tenant, "main");
    const struct msg_log_params *p = desired_job(s)->log;
    assert_non_null(p);
    assert_string_equal(desired_job(s)->storage, "file:///log");
    assert_int_equal(p->flush_ms, 250);
    assert_int_equal(p->gcttl_s, 0);
    assert_int_equal(p->hold_limit, UINT64_C(1) << 30);
    assert_true(p->release);
    assert_true(p->accept_incarnation);
    assert_false(p->from_standby);
    assert_string_equal(p->compression, "none");
    assert_int_equal(p->truncate_gen, 0);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_STARTING, 0);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PREPARE);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x2000);
    const struct resource_status *status = status_of(s, "wal");
    assert_int_equal(status->phase, RESOURCE_RUNNING);
    assert_string_equal(status->node, "db-a");
    assert_string_equal(status->lineage, LINEAGE);
    assert_string_equal(status->log.position, "0/2000");
    assert_int_equal(status->log.checkpoint_us, 0x2000 * 1000);
    assert_int_equal(status->log.latency_us, 2000000);
    assert_int_equal(status->log.skew_us, -1500);
    assert_string_equal(status->backup_path, "file:///log/demo1/main/7000/log");
    assert_int_equal(status->log.hold_count, 1);
    assert_string_equal(status->log.holds[0].node, "db-a");
    assert_int_equal(status->log.holds[0].bytes, 4096);
    assert_false(status->has_error);
    tick(s, SEC(3)); /* the age of a report is added, by this clock alone */
    assert_int_equal(status_of(s, "wal")->log.latency_us, 5000000);
}

static void pause_resume_stop(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    apply_log(s, "wal", "  logSubcommand: log-pause\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING); /* until the lead says so */
    assert_string_equal(status_of(s, "wal")->conditions[2].reason, "Pausing");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_PAUSE);
    assert_int_equal(desired_job(s)->attempt, 1); /* the same job */
    int64_t paused_us = desired_job(s)->log->paused_us;
    assert_int_equal(paused_us, SEC(1763720000) + s->mono_us);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_PAUSED, 0x3000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PAUSE);
    tick(s, SEC(5));
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->log->paused_us, paused_us);

    apply_log(s, "wal", "  logSubcommand: log-start\n");
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_PAUSED, 0x3000);
    assert_int_equal(desired_job(s)->step, JOB_STEP_RUN);
    assert_int_equal(desired_job(s)->log->paused_us, 0);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PAUSE);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x3000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);

    apply_log(s, "wal", "  logStop: true\n");
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    apply_log(s, "wal", "  logSubcommand: log-start\n");
    assert_string_equal(s->answer.msg, "Backup/wal is being stopped for good; a new task is "
                                       "needed: apply one under another name");
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x4000);
    assert_int_equal(desired_job(s)->step, JOB_STEP_STOP);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_STOPPED, 0x4000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    assert_false(status_of(s, "wal")->log.has_latency);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    apply_log(s, "wal", "  logSubcommand: log-start\n");
    assert_string_equal(s->answer.msg, "Backup/wal is Stopped for good; a new task is needed: "
                                       "apply one under another name");
    apply_log(s, "wal2", ""); /* the place is free again */
    assert_int_equal(s->outcome, BRAIN_CREATED);
    assert_int_equal(s->answer.code, TM_E_OK);
}

static void before_it_began(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply_log(s, "wal", "  logSubcommand: log-pause\n");
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_SCHEDULED);
    assert_string_equal(status_of(s, "wal")->waiting,
                        "paused before it began: it begins with logSubcommand log-start");
    apply_log(s, "wal", "  logSubcommand: log-stop\n");
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    command(s, BRAIN_CMD_DELETE, "wal");
    assert_int_equal(s->outcome, BRAIN_DELETED);
    assert_int_equal(s->record_count, 0);
}

/* ---- failing ---- */

static void fails(struct stage *s, const struct msg_assignment *a, bool retryable)
{
    struct msg_error error = {.code = TM_E_REFUSED,
                              .text = "wal_level is minimal",
                              .retryable = retryable,
                              .stage = "hold",
                              .since_us = 77};
    struct msg_job job = job_at(a, JOB_STAGE_FAILED);
    job.error = &error;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
}

static void it_fails_and_is_resumed(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    fails(s, &a, false);
    const struct resource_status *status = status_of(s, "wal");
    assert_int_equal(status->phase, RESOURCE_FAIL);
    assert_string_equal(status->error.message, "wal_level is minimal");
    assert_string_equal(status->error.stage, "hold");
    assert_string_equal(status->error.node, "db-a");
    assert_int_equal(status->error.since_us, 77);
    assert_string_equal(s->log, "Backup/wal is Fail: wal_level is minimal");
    assert_int_equal(s->said, BRAIN_LOG_JOB_FAILED);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    s->mono_us += SEC(3600);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL); /* not by itself */
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_FAIL);
    command(s, BRAIN_CMD_RETRY, "wal");
    assert_int_equal(s->outcome, BRAIN_DONE);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_string_equal(desired_job(s)->uid, a.uid);
    assert_int_equal(desired_job(s)->attempt, 2);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_FAILED, 1); /* of the attempt before: nothing */
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PREPARE);
    a = *desired_job(s);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x5000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
    assert_false(status_of(s, "wal")->has_error);
    command(s, BRAIN_CMD_RETRY, "wal");
    assert_string_equal(s->answer.msg, "Backup/wal did not fail");
}

/* It failed before it heard that it is to be stopped: its hold is released all the same. */
static void it_fails_and_is_to_be_stopped(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    apply_log(s, "wal", "  logSubcommand: log-stop\n");
    fails(s, &a, false);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_FAIL);
    tick(s, SEC(9));
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_FAIL);
    tick(s, SEC(2));
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    a = *desired_job(s);
    assert_int_equal(a.step, JOB_STEP_STOP);
    assert_int_equal(a.attempt, 2);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_STOPPED, 0x5000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    assert_int_equal(status_of(s, "wal")->log.hold_count, 0);
}

static void it_fails_and_goes_on_by_itself(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    static const uint64_t pauses_s[] = {10, 20, 40};
    for (size_t at = 0; at < TM_ARRAY_LEN(pauses_s); at++) {
        fails(s, &a, true);
        assert_int_equal(status_of(s, "wal")->phase, RESOURCE_FAIL);
        for (uint64_t second = 1; second < pauses_s[at]; second++) {
            s->mono_us += SEC(1);
            beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
        }
        assert_int_equal(status_of(s, "wal")->phase, RESOURCE_FAIL);
        s->mono_us += SEC(1);
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
        assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PREPARE);
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
        a = *desired_job(s);
        assert_int_equal(a.attempt, at + 2);
    }
    fails(s, &a, true);
    apply_log(s, "wal", "  logSubcommand: log-stop\n"); /* stop waits for nothing */
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    a = *desired_job(s);
    assert_int_equal(a.step, JOB_STEP_STOP);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_STOPPED, 0x5000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
}

/* ---- silence ---- */

static void a_lead_that_is_away(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    int64_t heard_us = (int64_t)(SEC(1763720000) + s->mono_us);
    tick(s, SEC(9));
    assert_false(status_of(s, "wal")->has_error);
    tick(s, SEC(2));
    const struct resource_status *status = status_of(s, "wal");
    assert_int_equal(status->phase, RESOURCE_RUNNING);
    assert_string_equal(status->error.node, "db-a");
    assert_string_equal(status->error.stage, "agent");
    assert_string_equal(status->error.message,
                        "agent on node 'db-a' is not heard; it may go on by itself");
    assert_int_equal(status->error.since_us, heard_us);
    assert_int_equal(status->log.latency_us, 13000000);
    tick(s, SEC(7200)); /* far beyond what fails a snapshot, and the node is forgotten */
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
    assert_int_equal(status_of(s, "wal")->log.latency_us, UINT64_C(7213000000));
    up(s, 11, "db-a", "boot2", 0); /* another life of the agent takes the job up again */
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_int_equal(a.attempt, 1);
    assert_string_equal(a.boot, "boot2");
    says(s, 11, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x9000);
    assert_false(status_of(s, "wal")->has_error);
}

static void an_agent_that_does_not_take_it_up(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    for (int second = 0; second < 11; second++) {
        s->mono_us += SEC(1);
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    }
    assert_string_equal(status_of(s, "wal")->error.message,
                        "agent on node 'db-a' does not take the log backup up");
}

static void a_checkpoint_that_stands_still(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    struct msg_log_status status = streaming(0x2000, 5000000);
    struct msg_job job = log_job(&a, JOB_STAGE_WORKING, &status);
    status.upload_ms = 11000;
    status.commit_ms = 9000;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    int64_t moved_us = (int64_t)(SEC(1763720000) + s->mono_us);
    for (int second = 0; second < 13; second++) {
        s->mono_us += SEC(1);
        beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    }
    assert_false(status_of(s, "wal")->has_error); /* flushInterval and some patience */
    struct msg_error slow = {.text = "x: slow", .stage = STAGE_WAITING};
    job.trouble = &slow; /* which is no reason by itself: the checkpoint may well move */
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_false(status_of(s, "wal")->has_error);
    job.trouble = NULL;
    s->mono_us += SEC(1);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    const struct status_error *error = &status_of(s, "wal")->error;
    assert_string_equal(error->stage, "upload");
    assert_string_equal(error->message,
                        "the checkpoint does not move: the oldest log waits for upload since 11 s");
    assert_int_equal(error->since_us, moved_us);
    /* a call takes long: it is why; an attempt of it failed: that is told by itself */
    struct msg_error trouble = {.text = "file:///x: writing 'y': no answer for more than 10 s",
                                .stage = STAGE_WAITING,
                                .since_us = 44};
    job.trouble = &trouble;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(status_of(s, "wal")->error.message,
                        "the checkpoint does not move: the oldest log waits for upload since 11 s: "
                        "file:///x: writing 'y': no answer for more than 10 s");
    assert_string_equal(status_of(s, "wal")->error.stage, "upload");
    memcpy(trouble.stage, "storage", sizeof("storage"));
    trouble.text = "http://s/b/y: PUT: s: no answer for 20 s, attempt 1 of 3";
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(status_of(s, "wal")->error.message, trouble.text);
    assert_string_equal(status_of(s, "wal")->error.stage, "storage");
    assert_int_equal(status_of(s, "wal")->error.since_us, 44);
    struct msg_error late = {.code = TM_E_TIMEOUT,
                             .text = "log waits to be uploaded for 11 s",
                             .stage = "upload",
                             .since_us = 55};
    status.error =
        &late; /* less than a failed attempt tells, and more than that a call takes long */
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(status_of(s, "wal")->error.message, trouble.text);
    memcpy(trouble.stage, STAGE_WAITING, sizeof(STAGE_WAITING));
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(status_of(s, "wal")->error.message,
                        "log waits to be uploaded for 11 s: http://s/b/y: PUT: s: no answer for "
                        "20 s, attempt 1 of 3");
    assert_string_equal(status_of(s, "wal")->error.stage, "upload");
    assert_int_equal(status_of(s, "wal")->error.since_us, 55);
    struct msg_error hang = {.code = TM_E_TIMEOUT,
                             .text = "writing 'y' has taken longer than 60 s",
                             .stage = STAGE_STORAGE,
                             .since_us = 66};
    status.error = &hang; /* names the call itself */
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(status_of(s, "wal")->error.message, hang.text);
    assert_int_equal(status_of(s, "wal")->error.since_us, 66);
    job.trouble = NULL;
    struct msg_error stuck = {
        .code = TM_E_UNAVAILABLE, .text = "storage is away", .stage = "commit", .since_us = 99};
    status.error = &stuck;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
    assert_string_equal(status_of(s, "wal")->error.message, "storage is away");
    assert_string_equal(status_of(s, "wal")->error.stage, "commit");
    assert_int_equal(status_of(s, "wal")->error.since_us, 99);
    status.error = NULL;
    status.checkpoint_us = 6000000;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_false(status_of(s, "wal")->has_error);
}

/* ---- restarts, deletion, neighbours ---- */

static void the_coordinator_restarts(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "  logTruncateUntil: 0/800\n");
    struct msg_log_status done = streaming(0x9000, 9000000);
    done.truncate_gen = 1;
    done.truncated_us = 1234567;
    struct msg_job job = log_job(&a, JOB_STAGE_WORKING, &done);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    s->mono_us += SEC(61);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0xA000); /* noted: a minute has passed */
    brain_free(s->brain);
    s->mono_us += SEC(30);
    start(s, 2);
    const struct resource_status *status = status_of(s, "wal");
    assert_int_equal(status->phase, RESOURCE_RUNNING);
    assert_string_equal(status->node, "db-a");
    assert_string_equal(status->lineage, LINEAGE);
    assert_string_equal(status->log.position, "0/A000");
    assert_int_equal(status->log.checkpoint_us, 0xA000 * 1000);
    assert_int_equal(status->log.latency_us, 32000000); /* by this clock, since it was noted */
    assert_int_equal(status->log.truncated_us, 1234567);
    up(s, 20, "db-b", "boot2", 0);
    beat(s, 20, INSTANCE_PRIMARY, 0, NULL); /* the lead may still come */
    assert_string_equal(status_of(s, "wal")->node, "db-a");
    up(s, 21, "db-a", "boot1", 1);
    struct msg_log_status nothing = {.lineage = ""};
    job = log_job(&a, JOB_STAGE_STARTING, &nothing);
    beat(s, 21, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(status_of(s, "wal")->log.position, "0/A000");
    assert_int_equal(status_of(s, "wal")->log.latency_us, 32000000);
    says(s, 21, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0xB000);
    assert_string_equal(desired_job(s)->uid, a.uid);
    assert_int_equal(desired_job(s)->attempt, 1);
    assert_string_equal(status_of(s, "wal")->log.position, "0/B000");
    assert_int_equal(status_of(s, "wal")->log.latency_us, 2000000);
}

static void deletion_releases_the_hold_first(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    command(s, BRAIN_CMD_DELETE, "wal");
    assert_int_equal(s->outcome, BRAIN_DELETING);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x8000);
    assert_int_equal(desired_job(s)->step, JOB_STEP_STOP);
    assert_int_equal(s->record_count, 1);
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_STOPPED, 0x8000);
    assert_int_equal(s->record_count, 0);
}

/* In one term the higher attempt may write: whoever comes after must have it. */
static void a_task_begins_above_those_before_it(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    assert_int_equal(a.attempt, 1);
    beat_of(s, 10, "7000", INSTANCE_STANDBY, NULL, NULL);
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL); /* the lead moves */
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL);
    a = *desired_job(s);
    assert_int_equal(a.attempt, 2);
    command(s, BRAIN_CMD_DELETE, "wal");
    says(s, 11, INSTANCE_PRIMARY, &a, JOB_STAGE_STOPPED, 0x8000);
    tick(s, SEC(61)); /* db-a is not asked: it is given up */
    assert_int_equal(s->record_count, 0);
    up(s, 12, "db-b", "boot2", 0);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    apply_log(s, "next", "");
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->attempt, 3);
}

static void deletion_does_not_wait_for_ever(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    command(s, BRAIN_CMD_DELETE, "wal");
    tick(s, SEC(1));
    assert_string_equal(status_of(s, "wal")->waiting,
                        "waiting at most 60 s for node 'db-a' to release what it holds");
    /* why it takes so long is told */
    struct msg_error error = {.code = TM_E_IO, .text = "the storage is away", .retryable = true};
    struct msg_log_status status = streaming(0x1000, 1000000);
    struct msg_job job = log_job(&a, JOB_STAGE_WORKING, &status);
    status.error = &error;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(status_of(s, "wal")->waiting,
                        "waiting at most 60 s for node 'db-a' to release what it holds: the "
                        "storage is away");
    tick(s, SEC(58));
    assert_int_equal(s->record_count, 1);
    tick(s, SEC(2));
    assert_int_equal(s->record_count, 0);
    assert_string_equal(s->log,
                        "Backup/wal is removed although node 'db-a' did not release its hold: a "
                        "replication slot may be left there, and keeps log");
}

static bool shares_log(struct stage *s, const char *storage, enum instance_role role)
{
    char yaml[512];
    (void)snprintf(yaml, sizeof(yaml),
                   "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: b}\nspec:\n"
                   "  br: {cluster: demo1}\n  local: {path: %s}\n",
                   storage);
    apply(s, yaml);
    beat(s, 10, role, 0, NULL);
    for (size_t at = 0; at < s->reply.desired.jobs_count; at++) {
        const struct msg_assignment *job = &s->reply.desired.jobs[at];
        if (job->kind != JOB_KIND_BACKUP)
            continue;
        bool shared = job->backup->share_log;
        struct msg_job report = job_at(job, JOB_STAGE_COMMITTED);
        beat(s, 10, role, 0, &report);
        command(s, BRAIN_CMD_DELETE, "b");
        return shared;
    }
    fail_msg("the snapshot was not assigned");
    return false;
}

static void a_snapshot_beside_it(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_false(shares_log(s, "/log", INSTANCE_PRIMARY));
    struct msg_assignment a = streams(s, "");
    assert_true(shares_log(s, "/log", INSTANCE_PRIMARY));
    assert_false(shares_log(s, "/elsewhere", INSTANCE_PRIMARY));
    apply_log(s, "wal", "  logSubcommand: log-pause\n");
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_PAUSED, 0x8000);
    assert_false(shares_log(s, "/log", INSTANCE_PRIMARY));
}

static void what_is_recoverable(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    struct msg_interval intervals[] = {
        {.lineage = LINEAGE,
         .label = "1",
         .from_position = "0/1000",
         .to_position = "0/2000",
         .from_us = 1,
         .to_us = 2,
         .backup_id = "20261121T100000Z-00000001"},
        {.lineage = LINEAGE, .from_position = "0/2000", .to_position = "0/2800", .abandoned = true},
    };
    struct msg_log_status status = streaming(0x2000, 5000000);
    status.recoverable = intervals;
    status.recoverable_count = 2;
    status.needs_full = true;
    status.warning = "max_slot_wal_keep_size is -1";
    struct msg_job job = log_job(&a, JOB_STAGE_WORKING, &status);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    const struct resource_status *shown = status_of(s, "wal");
    assert_int_equal(shown->log.recoverable_count, 2);
    assert_string_equal(shown->log.recoverable[0].to_position, "0/2000");
    assert_string_equal(shown->log.recoverable[0].backup_id, "20261121T100000Z-00000001");
    assert_int_equal(shown->log.recoverable[0].to_us, 2);
    assert_true(shown->log.recoverable[1].abandoned);
    assert_true(shown->log.needs_full);
    assert_int_equal(shown->warning_count, 2);
    assert_string_equal(shown->warnings[0],
                        "no backup leads to what is stored now; take a full backup");
    assert_string_equal(shown->warnings[1], "max_slot_wal_keep_size is -1");
    assert_string_equal(shown->conditions[2].reason, "NeedsFullBackup");
    struct msg_log_status nothing = {.lineage = ""}; /* a runner that only begins has not looked */
    job.log = &nothing;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "wal")->log.recoverable_count, 2);
    assert_string_equal(status_of(s, "wal")->log.recoverable[0].to_position, "0/2000");
    assert_true(status_of(s, "wal")->log.needs_full);
}

/* A restore by the name of a log backup: its storage, and whatever backup leads to the target. */
static void a_restore_from_it(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    apply(s, "apiVersion: tidemark/v1\nkind: Restore\nmetadata: {name: r}\nspec:\n  backup: wal\n"
             "  dataDir: /srv/r\n  restoreMode: pitr\n  pitrRestoredTs: '400036290571534337'\n"
             "  pitrFullBackupStorageProvider: {local: {path: /full}}\n"
             "  target: {inclusive: false, lineage: " LINEAGE "}\n");
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x2000);
    assert_int_equal(s->reply.desired.jobs_count, 2);
    const struct msg_assignment *job = &s->reply.desired.jobs[1]; /* Backup/wal, then Restore/r */
    assert_int_equal(job->kind, JOB_KIND_RESTORE);
    assert_string_equal(job->storage, "file:///log");
    assert_string_equal(job->restore->target, "time:2018-05-11T05:42:23.794000Z");
    assert_string_equal(job->restore->full_storage, "file:///full");
    assert_string_equal(job->restore->backup_id, "");
    assert_string_equal(job->restore->source_cluster, "demo1");
    assert_string_equal(job->restore->lineage, LINEAGE);
    assert_true(job->restore->exclusive);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(it_starts_and_tells_how_far_it_is),
        SCENE(pause_resume_stop),
        SCENE(before_it_began),
        SCENE(it_fails_and_is_resumed),
        SCENE(it_fails_and_is_to_be_stopped),
        SCENE(it_fails_and_goes_on_by_itself),
        SCENE(a_lead_that_is_away),
        SCENE(an_agent_that_does_not_take_it_up),
        SCENE(a_checkpoint_that_stands_still),
        SCENE(the_coordinator_restarts),
        SCENE(deletion_releases_the_hold_first),
        SCENE(a_task_begins_above_those_before_it),
        SCENE(deletion_does_not_wait_for_ever),
        SCENE(a_snapshot_beside_it),
        SCENE(what_is_recoverable),
        SCENE(a_restore_from_it),
    };
    return cmocka_run_group_tests_name("coordinator/brain/logs", tests, NULL, NULL);
}
