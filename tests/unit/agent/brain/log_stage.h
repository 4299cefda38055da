#ifndef TM_TESTS_UNIT_AGENT_BRAIN_LOG_STAGE_H
#define TM_TESTS_UNIT_AGENT_BRAIN_LOG_STAGE_H
/* Log jobs on the stage: what is desired, and what their runners say. */
#include "tests/unit/agent/brain/stage.h"

/* attempt, runners: the lowest ten bits are the runner's own */
#define GENERATION(attempt, runners) ((attempt) << 20 | (runners) << 10)

static struct msg_log_params params;

static TM_UNUSED struct msg_assignment wanted(enum job_role role, enum job_step step,
                                              uint32_t attempt)
{
    struct msg_assignment a = {.uid = "00bb",
                               .attempt = attempt,
                               .kind = JOB_KIND_LOG,
                               .roles = role,
                               .step = step,
                               .boot = "boot0", /* of a life long past: nothing to a log job */
                               .cluster = "demo1",
                               .tenant = "main",
                               .identity = "7000",
                               .name = "log",
                               .storage = "file:///backup",
                               .log = &params};
    return a;
}

static TM_UNUSED int log_setup(void **state)
{
    params = (struct msg_log_params){.flush_ms = 5000, .compression = "zstd:3"};
    return setup(state);
}

static TM_UNUSED void look(struct stage *s, enum instance_role role, const char *identity)
{
    struct msg_instance seen = {.role = role};
    struct agent_event event = {.kind = AGENT_EV_INSTANCE};
    (void)snprintf(seen.identity, sizeof(seen.identity), "%s", identity);
    event.instance.instance = &seen;
    feed(s, &event);
}

static TM_UNUSED void ready(struct stage *s, uint32_t generation)
{
    frame(s, generation, (struct frame){.type = FRAME_ready});
}

static TM_UNUSED void status(struct stage *s, uint32_t generation, enum job_stage stage,
                             uint64_t durable)
{
    struct msg_log_status log = {.durable = durable, .lineage = "0011", .checkpoint_us = 77};
    struct frame f = {.type = FRAME_log_status};
    f.log_status.stage = stage;
    f.log_status.log = &log;
    frame(s, generation, f);
}

static TM_UNUSED void failed(struct stage *s, uint32_t generation, bool retryable)
{
    struct msg_error error = {.code = TM_E_CONFLICT,
                              .text = "a newer writer is there",
                              .stage = "writer",
                              .retryable = retryable};
    struct frame f = {.type = FRAME_failed};
    f.failed.error = &error;
    frame(s, generation, f);
}

/* A desired set with the one job; the step's outcome is left to look at. */
static TM_UNUSED void desire_log(struct stage *s, uint64_t revision, enum job_role role,
                                 enum job_step step, uint32_t attempt)
{
    struct msg_assignment a = wanted(role, step, attempt);
    desire(s, revision, &a);
}

static TM_UNUSED void streaming(struct stage *s)
{
    connect_to(s, 4);
    desire_log(s, 1, JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    ready(s, 1);
    status(s, 1, JOB_STAGE_WORKING, 100);
}

#endif
