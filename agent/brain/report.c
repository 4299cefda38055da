/* The heartbeat: everything this agent has, as it is now. */
#include "agent/brain/internal.h"

#include <stdio.h>

static void report_leases(struct agent_brain *b, const struct job *job, struct msg_job *to)
{
    struct msg_lease *leases = agent_step_alloc(b, WIRE_LEASES_MAX * sizeof(*leases));
    if (leases == NULL)
        return;
    size_t count = 0;
    for (size_t at = 0; at < job->held_count; at++) {
        const struct held_lease *held = &job->held[at];
        leases[count++] =
            (struct msg_lease){.range = held->range, .term = held->term, .counter = held->counter};
    }
    /* done, and not yet heard by the coordinator: still ours */
    for (size_t at = job->result_open; at < job->result_count && count < WIRE_LEASES_MAX; at++) {
        const struct result *result = &job->results[at];
        if (result->state != RESULT_UNSENT && result->state != RESULT_SENT)
            continue;
        leases[count++] = (struct msg_lease){
            .range = result->msg.range, .term = result->msg.term, .counter = result->msg.counter};
    }
    to->leases = leases;
    to->leases_count = count;
}

static void report_error(struct agent_brain *b, struct job *job, struct msg_job *to)
{
    struct msg_error *error = agent_step_alloc(b, sizeof(*error));
    if (error == NULL)
        return;
    *error = msg_error_of(&job->error, job->error_stage);
    error->since_us = job->error_since_us;
    to->error = error;
}

static void report_trouble(struct agent_brain *b, const struct job *job, struct msg_job *to)
{
    struct msg_error *error = agent_step_alloc(b, sizeof(*error));
    if (error == NULL)
        return;
    *error = (struct msg_error){.code = TM_E_TIMEOUT,
                                .text = job->trouble,
                                .retryable = true,
                                .since_us = job->trouble_since_us};
    memcpy(error->stage, job->trouble_stage, sizeof(error->stage));
    to->trouble = error;
}

static void report_job(struct agent_brain *b, struct job *job, struct msg_job *to)
{
    memcpy(to->uid, job->want.uid, sizeof(to->uid));
    to->attempt = job->want.attempt;
    to->kind = job->want.kind;
    to->stage = agent_logjob_outdated(b, job) ? JOB_STAGE_STARTING : job->stage;
    to->plan_complete = job->plan.complete;
    to->plan_ranges = (uint32_t)job->plan.count;
    to->runner_restarts = job->generation > 0 ? job->generation - 1 : 0;
    to->bytes_done = job->bytes_done;
    to->bytes_total = job->bytes_total;
    to->log_bytes = job->log_bytes;
    to->want_serial = job->want_settled;
    to->storage = job->has_storage ? &job->storage : NULL;
    if (agent_logjob_is(job))
        agent_logjob_report(b, job, to);
    report_leases(b, job, to);
    if (job->has_totals)
        to->totals = &job->totals;
    to->warnings = job->warnings;
    to->warnings_count = job->warning_count;
    if (job->trouble[0] != '\0')
        report_trouble(b, job, to);
    if (job->stage == JOB_STAGE_MARKED && job->marked_until_us > b->now.mono_us)
        to->grace_left_ms = (job->marked_until_us - b->now.mono_us + 999) / 1000;
    if (job->error.code != TM_E_OK && to->stage >= JOB_STAGE_FAILED)
        report_error(b, job, to);
}

void agent_report_heartbeat(struct agent_brain *b, struct msg_heartbeat *ret)
{
    ret->revision = b->revision;
    (void)snprintf(ret->version, sizeof(ret->version), "%s", b->config.version);

    struct msg_instance *instances =
        agent_step_alloc(b, b->config.instance_count * sizeof(*instances));
    struct msg_job *jobs = agent_step_alloc(b, b->job_count * sizeof(*jobs));
    if (instances == NULL || jobs == NULL)
        return;
    for (size_t at = 0; at < b->config.instance_count; at++)
        instances[at] = b->instances[at].seen;
    for (size_t at = 0; at < b->job_count; at++)
        report_job(b, b->jobs[at], &jobs[at]);
    ret->instances = instances;
    ret->instances_count = b->config.instance_count;
    ret->jobs = jobs;
    ret->jobs_count = b->job_count;
    agent_probes_report(b, ret);
    agent_holds_report(b, ret);
}
