/*
 * The log task of a job of kind LOG. The step thread takes `log_want` frames; the task runs in the log
 * thread, and what it does goes out as `log_status` frames.
 *
 * Happy path: job → task made → ready → log_want… and log_status… until the runner is told to end:
 * then the task is canceled, what it received and did not store will be streamed again.
 * Failure: whatever may pass the task tries again itself; an error that ends its run is told with
 * `failed`, and ends the runner.
 */
#include "agent/runner/internal.h"

#include "agent/log/log.h"
#include "common/clock.h"

/* Called from the task's threads, one at a time. */
static void task_status(void *arg, enum job_stage stage, const struct msg_log_status *status)
{
    struct runner *r = arg;
    struct msg_log_status told = *status;
    struct msg_storage_stats stats;
    if (runner_storage_stats(r, &stats))
        told.storage = &stats;
    struct tm_err hang;
    struct msg_error error;
    int64_t since_us;
    /* that log waits for long is what comes of it */
    bool unexplained = told.error == NULL || told.error->code == TM_E_TIMEOUT;
    if (unexplained && runner_hangs(r, &since_us, &hang)) {
        error = msg_error_of(&hang, STAGE_STORAGE);
        error.since_us = clock_real_us() - (clock_mono_us() - since_us);
        told.error = &error;
    }
    struct frame f = {.type = FRAME_log_status,
                      .log_status = {.stage = (uint32_t)stage, .log = &told}};
    runner_tell(r, &f);
}

static void task_answer(void *arg, const struct msg_log_answer *answer)
{
    struct runner *r = arg;
    struct msg_log_answer told = *answer;
    struct frame f = {.type = FRAME_log_answer, .log_answer = {.answer = &told}};
    runner_tell(r, &f);
}

int task_open(struct runner *r, const struct repo_scope *scope, int zstd_level, struct tm_err *err)
{
    const struct msg_log_params *params = r->job->log;
    struct log_task_options options = {
        .storage = r->storage,
        .scope = *scope,
        .engine = r->engine,
        .engine_name = r->job->engine,
        .instance = r->instance,
        .node = r->job->node,
        .name = r->job->name,
        .epoch = r->epoch,
        .epochs = 1u << FRAME_WRITER_BITS,
        .zstd_level = zstd_level,
        .hold_only = (r->job->roles & JOB_ROLE_LEAD) == 0,
        .accept_incarnation = params->accept_incarnation,
        .status = task_status,
        .answer = task_answer,
        .arg = r,
    };
    return log_task_new(&options, &r->task, err);
}

static void *task_main(void *arg)
{
    struct runner *r = arg;
    struct tm_err err;
    int rc = log_task_run(r->task, &err);
    if (rc != -TM_E_CANCELED)
        runner_fail(r, "log", &err);
    return NULL;
}

int task_start(struct runner *r, struct tm_err *err)
{
    int rc = runner_thread(&r->log_thread, task_main, r, err);
    r->log_started = rc == 0;
    return rc;
}

int task_want(struct runner *r, const struct frame_log_want *want, struct tm_err *err)
{
    if (!r->task)
        return tm_err_set(err, TM_E_INTERNAL, "'log_want' does not belong here");
    return log_task_want(r->task, (enum job_step)want->step, want->log, err);
}

void task_end(struct runner *r)
{
    if (r->task)
        log_task_cancel(r->task);
}
