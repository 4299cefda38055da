#ifndef TM_TESTS_UNIT_COORDINATOR_BRAIN_LOG_STAGE_H
#define TM_TESTS_UNIT_COORDINATOR_BRAIN_LOG_STAGE_H
/* Log backups on the stage: how they are applied, and what agents say of them. */
#include "tests/unit/coordinator/brain/stage.h"

#define LINEAGE "00112233445566778899aabbccddeeff"

/* A spec of log backup `name` in storage /log, with more fields of the spec. */
static TM_UNUSED void apply_log(struct stage *s, const char *name, const char *more)
{
    char yaml[1024];
    (void)snprintf(yaml, sizeof(yaml),
                   "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n"
                   "  backupMode: log\n  br: {cluster: demo1}\n  local: {path: /log}\n%s",
                   name, more);
    apply(s, yaml);
}

/* A heartbeat with an instance that has another identity or is broken. */
static TM_UNUSED void beat_of(struct stage *s, uint64_t conn, const char *identity,
                              enum instance_role role, const char *trouble, struct msg_job *job)
{
    struct msg_error error = {.code = TM_E_UNAVAILABLE, .text = trouble};
    struct msg_instance instance = {
        .tenant = "main", .engine = "mock", .role = role, .error = trouble != NULL ? &error : NULL};
    (void)snprintf(instance.identity, sizeof(instance.identity), "%s", identity);
    beat_with(s, conn, &instance, job);
}

/* What a lead that streams says. */
static TM_UNUSED struct msg_log_status streaming(uint64_t durable, int64_t checkpoint_us)
{
    struct msg_log_status status = {.lineage = LINEAGE,
                                    .label = "1",
                                    .durable = durable,
                                    .checkpoint_us = checkpoint_us,
                                    .source_us = checkpoint_us + 2000000,
                                    .latency_us = 2000000,
                                    .skew_us = -1500,
                                    .hold_at = durable - 1,
                                    .hold_bytes = 4096};
    (void)snprintf(status.position, sizeof(status.position), "0/%llX", (unsigned long long)durable);
    return status;
}

static TM_UNUSED struct msg_job log_job(const struct msg_assignment *a, enum job_stage stage,
                                        struct msg_log_status *status)
{
    struct msg_job job = job_at(a, stage);
    job.log = status;
    return job;
}

/* db-a on connection 10 is primary and streams for task "wal". */
static TM_UNUSED struct msg_assignment streams(struct stage *s, const char *more)
{
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply_log(s, "wal", more);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_int_equal(s->outcome, BRAIN_CREATED);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_PREPARE);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    struct msg_log_status status = streaming(0x1000, 1000000);
    struct msg_job job = log_job(&a, JOB_STAGE_WORKING, &status);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
    return a;
}

static TM_UNUSED void says(struct stage *s, uint64_t conn, enum instance_role role,
                           const struct msg_assignment *a, enum job_stage stage, uint64_t durable)
{
    struct msg_log_status status = streaming(durable, (int64_t)durable * 1000);
    struct msg_job job = log_job(a, stage, &status);
    beat(s, conn, role, 0, &job);
}

#endif
