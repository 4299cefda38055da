/*
 * A backup that goes on where an earlier attempt stopped.
 *
 * Happy path: before `ready`, storage is looked through: a checkpoint → `found` with the begin blob of the
 * first start → the agent resumes the session → `begin` → what is done, and then the stored plan, go to
 * the agent in place of a plan of this runner's own. Everything that the log says since the first start
 * passes the engine's proof, which must hold before anything is committed.
 *
 * Failure modes: nothing usable is there: the agent is told so, and begins anew under the same id. The
 * plan turned bad meanwhile, the log that is stored cannot be had again, or the proof fails: stage
 * "resume", TM_E_CONFLICT, and the coordinator lets the ranges start over. There is a manifest: an earlier
 * attempt committed, and nothing is left to be done.
 */
#include "agent/runner/internal.h"

#include "common/clock.h"
#include "common/utf8.h"

/* ---- before ready ---- */

/* "" when all of it can be used. */
static void aside_text(const struct backup_checkpoint_found *found, char ret[WIRE_TEXT_MAX + 1])
{
    ret[0] = '\0';
    if (found->aside[0] == '\0')
        return;
    (void)snprintf(ret, WIRE_TEXT_MAX + 1,
                   "of what earlier attempts stored, %u checkpoints and %u ranges cannot be used: "
                   "%.300s",
                   found->aside_objects, found->aside_results, found->aside);
    utf8_clean(ret);
}

static void tell_found(struct runner *r, const struct backup_checkpoint_found *found,
                       uint64_t log_from)
{
    char why[WIRE_TEXT_MAX + 1];
    struct frame f = {.type = FRAME_found, .found = {.why = why}};
    if (found->found) {
        f.found.begin = buf_slice(&found->begin);
        f.found.log_from = log_from;
    }
    aside_text(found, why);
    r->aside_told = found->aside_results;
    runner_tell(r, &f);
}

static int first_log(struct runner *r, const struct backup_checkpoint_found *found, uint64_t *ret,
                     struct tm_err *err)
{
    uint64_t from;
    *ret = 0;
    if (!(r->engine->caps & ENGINE_CAP_LOG))
        return 0;
    if (r->engine->log_position(&found->replay_from, &from) < 0)
        return tm_err_set(err, TM_E_CORRUPT, "a checkpoint's position '%s' is none of the log",
                          found->replay_from.text);
    return backup_log_stored(r->backup, from, ret, err);
}

int resume_look(struct runner *r, bool *ret_over, struct tm_err *err)
{
    TM_CLEANUP(backup_worker_freep) struct backup_worker *worker = NULL;
    TM_CLEANUP(backup_checkpoint_found_release)
    struct backup_checkpoint_found found = {.found = false};
    uint64_t log_from = 0;
    *ret_over = false;
    int rc = backup_worker_new(r->backup, &worker, err);
    if (rc == 0)
        rc = backup_checkpoint_load(worker, NULL, NULL, &found, err);
    if (rc == 0 && found.committed) {
        *ret_over = true;
        runner_tell_committed(r, &found.totals, FRAME_found);
        return 0;
    }
    if (rc == 0 && found.found)
        rc = first_log(r, &found, &log_from, err);
    if (rc < 0)
        return rc;
    r->resumed = found.found;
    tell_found(r, &found, log_from);
    return 0;
}

/* ---- what is done, and the plan ---- */

struct known {
    struct runner *runner;
    struct msg_result results[WIRE_RESULTS_MAX];
    struct msg_counters counters[WIRE_RESULTS_MAX];
    struct buf blobs;
    size_t at[WIRE_RESULTS_MAX]; /* of each blob in `blobs` */
    size_t count;
};

static void tell_known(struct known *k)
{
    struct frame f = {.type = FRAME_stored,
                      .stored = {.results = k->results, .results_count = k->count}};
    for (size_t i = 0; i < k->count; i++) {
        size_t end = i + 1 < k->count ? k->at[i + 1] : k->blobs.len;
        k->results[i].blob = slice_of(k->blobs.data + k->at[i], end - k->at[i]);
    }
    if (k->count > 0)
        runner_tell(k->runner, &f);
    k->count = 0;
    buf_reset(&k->blobs);
}

static int take_known(void *arg, const struct backup_checkpoint_result *result, struct tm_err *err)
{
    struct known *k = arg;
    if (k->count == WIRE_RESULTS_MAX)
        tell_known(k);
    size_t i = k->count;
    k->at[i] = k->blobs.len;
    int rc = buf_append_slice(&k->blobs, result->blob, err);
    if (rc < 0)
        return rc;
    const struct engine_range_stats *stats = &result->stats;
    k->counters[i] = (struct msg_counters){.files = stats->files,
                                           .bytes = result->raw_bytes,
                                           .stored_bytes = result->stored_bytes,
                                           .pages_checked = stats->pages_checked,
                                           .pages_unverified = stats->pages_unverified,
                                           .pages_corrupt = stats->pages_corrupt};
    k->results[i] = (struct msg_result){.range = result->index,
                                        .term = result->epoch.term,
                                        .counter = result->epoch.counter,
                                        .counters = &k->counters[i]};
    k->count++;
    checkpoints_note(k->runner, result->index);
    return 0;
}

static int tell_plan(struct runner *r, struct backup_worker *worker,
                     const struct backup_checkpoint_found *found, struct tm_err *err)
{
    struct plan_batch *batch = NULL;
    struct backup_plan_totals totals;
    int rc = plan_batch_new(r, &batch, err);
    if (rc == 0)
        rc = backup_plan_load(worker, found->plan, found->ranges, plan_batch_add, batch, &totals,
                              err);
    if (rc == 0)
        plan_batch_last(batch, found->plan, found->started_us);
    plan_batch_free(batch);
    return rc;
}

/* What the look did not see: it reads no data. */
static void tell_aside(struct runner *r, const struct backup_checkpoint_found *found)
{
    char text[WIRE_TEXT_MAX + 1];
    if (found->aside_results <= r->aside_told)
        return;
    aside_text(found, text);
    struct frame f = {.type = FRAME_warning, .warning = {.text = text}};
    runner_tell(r, &f);
}

int resume_plan(struct runner *r, struct tm_err *err)
{
    TM_CLEANUP(backup_worker_freep) struct backup_worker *worker = NULL;
    TM_CLEANUP(backup_checkpoint_found_release)
    struct backup_checkpoint_found found = {.found = false};
    TM_CLEANUP(freep) struct known *known = calloc(1, sizeof(*known));
    if (!known)
        return tm_err_oom(err);
    known->runner = r;
    int rc = backup_worker_new(r->backup, &worker, err);
    if (rc == 0)
        rc = backup_checkpoint_load(worker, take_known, known, &found, err);
    if (rc == 0)
        tell_known(known);
    buf_release(&known->blobs);
    if (rc == 0 && !found.found)
        rc = tm_err_set(err, TM_E_NOT_FOUND, "the checkpoints are gone");
    if (rc == 0)
        rc = tell_plan(r, worker, &found, err);
    if (rc == -TM_E_NOT_FOUND || rc == -TM_E_CORRUPT) {
        err->code = TM_E_CONFLICT;
        return tm_err_prefix(err, "what earlier attempts stored cannot be gone on with");
    }
    if (rc < 0)
        return rc;
    tell_aside(r, &found);
    r->started_us = found.started_us;
    return checkpoints_start(r, found.plan, found.ranges, err);
}

/* ---- the proof ---- */

static int pass(void *arg, uint64_t from, struct slice bytes, struct tm_err *err)
{
    struct runner *r = arg;
    int rc = 0;
    if (from == r->proof_from && r->proof) { /* the log is read once more, from its start */
        r->engine->proof_close(r->proof);
        r->proof = NULL;
    }
    if (!r->proof)
        rc = r->engine->proof_open(r->begin->begin, &r->proof, err);
    if (rc == 0)
        rc = r->engine->proof_push(r->proof, bytes, err);
    if (rc == -TM_E_CONFLICT)
        atomic_store(&r->refuted, true);
    return rc;
}

void resume_watch_log(struct runner *r, struct backup_log_options *options)
{
    const struct engine_ops *e = r->engine;
    if (!e->snapshot_resumed || !e->snapshot_resumed(r->begin->begin))
        return;
    r->proof_from = options->from;
    r->proving = true;
    options->pass = pass;
    options->pass_arg = r;
}

int resume_proven(struct runner *r, struct slice end, struct tm_err *err)
{
    if (!r->proving)
        return 0;
    if (!r->proof)
        return tm_err_set(err, TM_E_CONFLICT, "there is no log to prove the earlier ranges by");
    int rc = r->engine->proof_end(r->proof, end, err);
    if (rc == -TM_E_CONFLICT)
        atomic_store(&r->refuted, true);
    return rc;
}

const char *resume_stage(struct runner *r, const char *stage, struct tm_err *err)
{
    if (atomic_load(&r->refuted))
        return "resume";
    /* log that is not there any more: what was read before cannot be brought up to now */
    if (r->proving && strcmp(stage, "log") == 0 &&
        (err->code == TM_E_NOT_FOUND || err->code == TM_E_CORRUPT)) {
        err->code = TM_E_CONFLICT;
        return "resume";
    }
    return stage;
}
