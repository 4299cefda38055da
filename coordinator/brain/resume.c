/*
 * Attempts that go on with what earlier ones stored.
 *
 * Happy path: an attempt is interrupted after its plan was stored → nothing is swept, the record is
 * `resumable` → the next attempt (by backoffRetryPolicy, or asked for) has the same backup id and another
 * job uid; its lead finds checkpoint and plan in storage.
 *
 * Failure modes: the lead says that ranges must start over (stage "resume"): what there is is swept, and the
 * next attempt begins anew at once, with a note that says why. Nobody goes on within gcttl: the hold at
 * the source is gone by then (the agent's clock decides that), so storage is swept, while the job stays
 * Failed. Nobody could sweep what an attempt left that cannot be gone on with: it is tried like that, too,
 * for as long as it takes, and before the next attempt. It is found to be committed when it is to be swept:
 * then it is Complete.
 */
#include "coordinator/brain/internal.h"

#include <stdio.h>

#define GCTTL_DEFAULT_S 3600

void resume_again(struct record *next)
{
    next->phase = PHASE_SCHEDULED;
    next->step = next->leftovers ? JOB_STEP_ABORT : 0; /* that first */
    next->attempt++;
    next->completed_us = 0;
    next->error = NULL; /* asked for: no pause */
}

bool resume_over(const struct res *res)
{
    const struct live *live = res->live;
    return live->has_failure && live->failure.code == TM_E_CONFLICT &&
           strcmp(live->failure_stage, "resume") == 0;
}

bool resume_may(const struct res *res)
{
    const struct live *live = res->live;
    const struct record *rec = &res->now.rec;
    if (res->view.kind != JOB_KIND_BACKUP || !res->view.backup->checkpoint || rec->deleting)
        return false;
    if (!live->failure.retryable || resume_over(res))
        return false;
    return rec->resumable || live->table.complete || rec->step > JOB_STEP_PREPARE;
}

void resume_note(struct brain *b, struct res *res, struct record *next)
{
    char note[WIRE_TEXT_MAX + 1];
    (void)snprintf(note, sizeof(note), "ranges started over: %.480s", res->live->failure.msg);
    persist_text(b, res, &next->resume_note, note);
}

static int64_t gcttl_us(const struct res *res)
{
    uint32_t seconds = res->view.backup->gcttl_s;
    return (int64_t)(seconds != 0 ? seconds : GCTTL_DEFAULT_S) * 1000000;
}

bool resume_expired(const struct brain *b, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    return res->exists && res->spec != NULL && res->view.kind == JOB_KIND_BACKUP &&
           rec->phase == PHASE_FAILED && rec->resumable && !rec->deleting &&
           !rebuild_holds_back(b) && b->now.real_us - rec->completed_us > gcttl_us(res);
}

void resume_expire(struct brain *b, struct res *res)
{
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    next->step = JOB_STEP_ABORT;
    persist_submit(b, res);
}

bool resume_sweeping(const struct res *res)
{
    const struct record *rec = &res->now.rec;
    if (!res->exists || rec->step != JOB_STEP_ABORT)
        return false;
    return (rec->phase == PHASE_FAILED && rec->resumable) ||
           ((rec->phase == PHASE_FAILED || rec->phase == PHASE_SCHEDULED) && rec->leftovers);
}

void resume_sweep(struct brain *b, struct res *res)
{
    struct live *live = res->live;
    if (live->has_totals && brain_plant(b, BRAIN_PLANT_EXPIRE_COMMITTED))
        live->swept = true;
    else if (live->has_totals) {
        job_complete(b, res);
        return;
    }
    if (live->swept) {
        struct record *next = persist_stage(b, res);
        if (next == NULL)
            return;
        next->step = 0;
        next->resumable = false;
        next->leftovers = false;
        persist_submit(b, res);
        return;
    }
    if (lead_appoint_sweeper(b, res))
        desired_changed(b, res);
    if (res->now.rec.phase == PHASE_SCHEDULED && live->sweeper[0] != '\0')
        lead_waiting(b, res, "waiting until what the last attempt stored is removed");
}

void resume_report(struct brain *b, struct res *res, const struct node *node,
                   const struct msg_job *report)
{
    if (strcmp(node->name, res->live->sweeper) != 0)
        return;
    if (report->stage == JOB_STAGE_COMMITTED)
        job_keep_totals(b, res->live, report->totals);
    else if (report->stage == JOB_STAGE_SWEPT)
        res->live->swept = true;
}
