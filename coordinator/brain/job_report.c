/*
 * What agents say of a job.
 *
 * Happy path: the lead says how far it is, workers that they are there → job_tick draws the conclusions.
 *
 * Failure modes: a worker that fails takes no further part, the others go on; the lead's failure is the
 * job's. What another life of the lead says does not count, but for its sweep. What is said of a deletion
 * is no word on the backup, and the other way round.
 */
#include "coordinator/brain/logs.h"

#include "common/array.h"

/* ---- who takes part ---- */

bool job_excluded(const struct live *live, const struct node *node)
{
    for (size_t at = 0; at < live->excluded_count; at++) {
        if (strcmp(live->excluded[at], node->name) == 0)
            return true;
    }
    return false;
}

static size_t worker_position(const struct live *live, const struct node *node)
{
    size_t low;
    ARRAY_LOWER_BOUND(low, live->worker_count, at, strcmp(live->workers[at], node->name) < 0);
    return low;
}

bool job_has_worker(const struct live *live, const struct node *node)
{
    size_t at = worker_position(live, node);
    return at < live->worker_count && strcmp(live->workers[at], node->name) == 0;
}

/* ---- reports ---- */

void job_keep_totals(struct brain *b, struct live *live, const struct msg_totals *totals)
{
    if (live->has_totals)
        return;
    static const struct msg_totals none = {0};
    if (codec_copy(&msg_totals_codec, totals != NULL ? totals : &none, &live->totals_arena,
                   &live->totals, b->err) < 0)
        b->failed = true;
    else
        live->has_totals = true;
}

static void report_failed(struct brain *b, struct res *res, struct node *node,
                          const struct msg_job *report)
{
    struct tm_err err;
    if (report->error != NULL)
        msg_error_to(report->error, &err);
    else
        (void)tm_err_set(&err, TM_E_INTERNAL, "the agent gives no reason");
    const char *stage = report->error != NULL ? report->error->stage : "";
    int64_t since_us = report->error != NULL ? report->error->since_us : 0;
    struct live *live = res->live;
    if (job_is_lead(res, node) || job_deleting(res)) {
        job_fail(b, res, &err, stage, node->name, since_us);
        return;
    }
    if (job_excluded(live, node))
        return;
    brain_log(b, res, node->name, 4, BRAIN_LOG_PLAIN, "worker '%s' fails: %s", node->name, err.msg);
    table_drop_node(&live->table, node->id);
    if (live->excluded_count == EXCLUDED_MAX) {
        job_fail(b, res, &err, stage, node->name, since_us);
        return;
    }
    COPY_TEXT(live->excluded[live->excluded_count], node->name);
    live->excluded_count++;
    desired_changed(b, res);
}

/* Each try to sweep is a runner of its own: how many there were since the abort. */
static void count_sweeps(struct live *live, uint32_t runner_restarts)
{
    if (!live->sweeps_counted || runner_restarts < live->sweep_first) /* or another agent's life */
        live->sweep_first = runner_restarts;
    live->sweeps_counted = true;
    live->sweep_tries = runner_restarts - live->sweep_first;
}

static void report_lead(struct brain *b, struct res *res, const struct msg_job *report)
{
    struct live *live = res->live;
    if (res->now.rec.step == JOB_STEP_ABORT)
        count_sweeps(live, report->runner_restarts);
    live->lead_seen = true;
    live->reported_us = b->now.mono_us;
    live->lead_stage = (enum job_stage)report->stage;
    live->bytes_done = report->bytes_done;
    live->bytes_total = report->bytes_total;
    live->log_bytes = report->log_bytes;
    if (report->warnings_count > 0) /* an agent that was restarted knows of none */
        live->warning_count = report->warnings_count;
    for (size_t at = 0; at < report->warnings_count; at++)
        COPY_TEXT(live->warnings[at], report->warnings[at]);
    bool early = report->stage == JOB_STAGE_FINISHING && brain_plant(b, BRAIN_PLANT_COMPLETE_EARLY);
    if (report->stage == JOB_STAGE_COMMITTED || report->stage == JOB_STAGE_RESTORED || early)
        job_keep_totals(b, live, report->totals);
    if (report->stage == JOB_STAGE_SWEPT && res->now.rec.step == JOB_STEP_ABORT)
        live->swept = true;
}

static void note_worker(struct brain *b, struct live *live, const struct node *node)
{
    if (ARRAY_ROOM(live->workers, live->worker_count, live->worker_cap, 16, b->err) < 0) {
        b->failed = true;
        return;
    }
    size_t at = worker_position(live, node);
    memmove(&live->workers[at + 1], &live->workers[at],
            (live->worker_count - at) * sizeof(live->workers[0]));
    memcpy(live->workers[at], node->name, sizeof(node->name));
    live->worker_count++;
}

void job_report(struct brain *b, struct res *res, struct node *node, const struct msg_job *report)
{
    const struct record *rec = &res->now.rec;
    struct live *live = res->live;
    status_note_storage(live, node, report);
    status_note_trouble(b, res, node, report);
    if (log_is(res)) {
        log_report(b, res, node, report);
        return;
    }
    if (job_deleting(res) != (report->kind == JOB_KIND_DELETE))
        return; /* of the backup that is to be deleted, or of a deletion before a restart */
    if (job_deleting(res)) {
        bool asked = strcmp(node->name, live->sweeper) == 0;
        if (asked && report->stage == JOB_STAGE_SWEPT)
            live->swept = true;
        else if (asked && report->stage == JOB_STAGE_MARKED && report->grace_left_ms > 0)
            removal_marked(b, res, report->grace_left_ms);
        else if (report->stage == JOB_STAGE_FAILED && report->error != NULL)
            report_failed(b, res, node, report);
        return;
    }
    if (resume_sweeping(res)) {
        resume_report(b, res, node, report);
        return;
    }
    if (rec->phase != PHASE_PREPARE && rec->phase != PHASE_RUNNING)
        return;
    bool bound = strcmp(node->boot, rec->boot) == 0 || rec->step == JOB_STEP_ABORT;
    if (job_is_lead(res, node) && bound)
        report_lead(b, res, report);
    else if (!job_is_lead(res, node) && !job_has_worker(live, node) &&
             live->worker_count < WORKERS_MAX)
        note_worker(b, live, node);
    /* swept before it was asked to: the record is older than the truth, it was rolled back */
    if (report->stage == JOB_STAGE_FAILED || report->stage == JOB_STAGE_SWEPT)
        report_failed(b, res, node, report);
    request_leases(b, res, node, report);
    job_progress(b, res);
}
