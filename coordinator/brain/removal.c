/*
 * A job that is to be deleted.
 *
 * Happy path: `deleting` is durable → an agent stores the tombstone, and says how long its grace lasts → the
 * record says until when, and nobody has the job → it is given out again when that is over → swept → the
 * resource goes. What has nothing in storage that its policy wants removed just goes.
 *
 * Failure modes: nobody can remove it now → live->waiting says for whom it waits. Storage says that the grace
 * is not over: the agent answers with what is left, and the wait begins anew.
 */
#include "coordinator/brain/logs.h"

enum brain_outcome removal_begin(struct brain *b, struct res *res, uint32_t grace_ms)
{
    log_unanswered(b, res, TM_E_REFUSED, "it is being deleted");
    bool started =
        !store_terminal(res) && res->now.rec.phase != PHASE_SCHEDULED && !log_at_rest(res);
    if (!started && !job_must_sweep(res) && !parts_is(res) && !resume_sweeping(res)) {
        persist_remove(b, res);
        return BRAIN_DELETED;
    }
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return BRAIN_DELETING; /* memory is out: the step fails */
    next->deleting = true;
    next->grace_ms = grace_ms;
    next->removal_us = 0;
    persist_submit(b, res);
    return BRAIN_DELETING;
}

void removal_regrace(struct brain *b, struct res *res, uint32_t grace_ms)
{
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    next->grace_ms = grace_ms;
    next->removal_us = 0;
    persist_submit(b, res);
}

bool removal_waits(const struct res *res, uint64_t now_us)
{
    return res->live != NULL && job_deleting(res) && now_us < res->live->removal_us;
}

void removal_tick(struct brain *b, struct res *res)
{
    struct live *live = res->live;
    if (!job_must_sweep(res) || live->swept) {
        persist_remove(b, res);
        return;
    }
    if (b->now.mono_us < live->removal_us)
        return;
    if (lead_appoint_sweeper(b, res))
        desired_changed(b, res);
}

void removal_marked(struct brain *b, struct res *res, uint64_t grace_left_ms)
{
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return; /* it is reported again */
    uint64_t left_us = TM_MIN(grace_left_ms, (uint64_t)UINT32_MAX) * 1000;
    next->removal_us = b->now.real_us + (int64_t)left_us;
    persist_submit(b, res);
}
