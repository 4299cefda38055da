/*
 * Reasons to give a job up that come from what is not heard: a lead that is silent, that lives another
 * life, or does not take the job up; a job that does not move, or can end no more.
 *
 * Happy path: nothing is said. Each reason is job_fail's; the first of them counts.
 */
#include "coordinator/brain/internal.h"

static void watch_lead(struct brain *b, struct res *res)
{
    struct live *live = res->live;
    const struct record *rec = &res->now.rec;
    const struct node *lead = lead_of(b, res);
    struct tm_err err;
    const char *held = res->view.kind == JOB_KIND_BACKUP
                           ? "the database session that held the backup is lost"
                           : "the restore was interrupted";
    if (lead != NULL && strcmp(lead->boot, rec->boot) != 0) {
        (void)tm_err_retry(&err, TM_E_CANCELED, "agent on node '%s' was restarted: %s", rec->node,
                           held);
        job_fail(b, res, &err, "agent", rec->node, 0);
        return;
    }
    uint64_t from_us = TM_MAX(live->reported_us, lead != NULL ? lead->seen_us : 0);
    bool awaited = live->loaded && !live->lead_seen;
    uint32_t grace_ms = awaited ? b->config.restart_grace_ms : b->config.lead_grace_ms;
    if (b->now.mono_us - from_us > brain_ms(grace_ms)) {
        (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "agent on node '%s' is not heard for %u s",
                           rec->node, grace_ms / 1000);
        job_fail(b, res, &err, "agent", rec->node, 0);
        return;
    }
    if (b->now.mono_us - live->reported_us > 2 * brain_ms(b->config.restart_grace_ms)) {
        (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "agent on node '%s' does not take the job up",
                           rec->node);
        job_fail(b, res, &err, "agent", rec->node, 0);
    }
}

static void watch_progress(struct brain *b, struct res *res)
{
    struct live *live = res->live;
    struct tm_err err;
    if (b->now.mono_us - live->progress_us > brain_ms(b->config.stall_ms)) {
        (void)tm_err_retry(&err, TM_E_TIMEOUT, "no progress for %u s", b->config.stall_ms / 1000);
        job_fail(b, res, &err, "stall", res->now.rec.node, 0);
    }
    /* the commit is on its way, and ranges are missing: their results went with agent and coordinator */
    const struct table *t = &live->table;
    uint64_t back_us = TM_MAX(b->started_us + brain_ms(b->config.restart_grace_ms),
                              live->lease_from_us + brain_ms(b->config.lease_ms));
    if (res->now.rec.step == JOB_STEP_FINISH && t->complete && t->done_count < t->count &&
        t->lease_count == 0 && live->lead_seen && b->now.mono_us > back_us) {
        (void)tm_err_retry(&err, TM_E_CANCELED,
                           "the results of %zu ranges were lost with the coordinator and a node",
                           t->count - t->done_count);
        job_fail(b, res, &err, "commit", "", 0);
    }
}

void job_watch(struct brain *b, struct res *res)
{
    watch_lead(b, res);
    watch_progress(b, res);
}
