/*
 * The runner of a log backup as a model. A lead looks for the lineage of its database's branch,
 * makes itself its writer where the stored log ends, and stores what was flushed since, a few times
 * a second; of another branch it finishes the stored one up to the fork and begins a lineage there.
 * One that finds a newer writer gives up. A hold follows the checkpoint it is told.
 */
#include "tests/sim/sim.h"

#include "proto/spec/spec.h"

#include <inttypes.h>
#include <stdio.h>

static struct sim_agent *agent_of(struct world *w, const struct sim_runner *r)
{
    return &w->agents[r->agent];
}

static void tell(struct world *w, const struct sim_runner *r, enum job_stage stage, const char *why)
{
    const struct sim_stream *s = &r->stream;
    struct msg_error error = {.code = TM_E_UNAVAILABLE, .text = why, .retryable = true};
    struct msg_log_status status = {.durable = s->durable,
                                    .checkpoint_us = s->checkpoint_us,
                                    .hold_at = s->hold_at,
                                    .truncate_gen = s->truncated_gen,
                                    .truncated_us = *source_truncated(w, r->tenant),
                                    .error = why != NULL ? &error : NULL};
    if (s->open) {
        (void)snprintf(status.lineage, sizeof(status.lineage), "%u", s->lineage);
        (void)snprintf(status.position, sizeof(status.position), "%" PRIu64, s->durable);
    }
    struct frame f = {.type = FRAME_log_status};
    f.log_status.stage = stage;
    f.log_status.log = &status;
    runner_tell(w, r, &f);
}

/* ---- the writer ---- */

static uint32_t lineage_for(const struct world *w, const char *tenant, uint32_t branch,
                            bool *ret_same)
{
    uint32_t best = UINT32_MAX;
    uint64_t best_until = 0;
    *ret_same = false;
    for (uint32_t at = (uint32_t)w->lineage_count; at-- > 0;) {
        if (strcmp(w->lineages[at].tenant, tenant) != 0)
            continue;
        if (w->lineages[at].branch == branch) {
            *ret_same = true;
            return at;
        }
        uint64_t until = source_same_until(w, branch, w->lineages[at].branch);
        if (until > best_until && until > w->lineages[at].from) {
            best = at;
            best_until = until;
        }
    }
    return best;
}

/* False: somebody newer writes there, or did. */
static bool become_writer(struct world *w, struct sim_runner *r, uint32_t which, uint64_t from)
{
    struct sim_lineage *l = &w->lineages[which];
    struct sim_stream *s = &r->stream;
    struct sim_epoch newest = lineage_newest_epoch(l);
    struct tm_err err;
    if (!sim_epoch_above(s->epoch, newest)) {
        (void)tm_err_set(&err, TM_E_CONFLICT,
                         "writer %" PRIu64 ".%" PRIx64 " finds %" PRIu64 ".%" PRIx64, s->epoch.term,
                         s->epoch.counter, newest.term, newest.counter);
        runner_tell_failed(w, r, &err, "writer");
        s->stopping = true;
        return false;
    }
    lineage_write(w, l, s->epoch, from, r);
    return true;
}

static bool finish_parent(struct world *w, struct sim_runner *r, uint32_t which, uint64_t fork)
{
    struct sim_lineage *l = &w->lineages[which];
    uint64_t end = lineage_end(l);
    if (end >= fork)
        return true;
    if (!become_writer(w, r, which, end))
        return false;
    const struct sim_chunk chunk = {
        .from = end, .to = fork, .epoch = r->stream.epoch, .branch = agent_of(w, r)->db.branch};
    lineage_put(w, l, &chunk, r);
    return true;
}

static bool open_stream(struct world *w, struct sim_runner *r)
{
    struct sim_stream *s = &r->stream;
    uint32_t branch = agent_of(w, r)->db.branch;
    bool same;
    uint32_t which = lineage_for(w, r->tenant, branch, &same);
    uint64_t from = source_node_flushed(w, agent_of(w, r));
    if (w->sim_plant == SIM_PLANT_NO_PROOF && which != UINT32_MAX)
        same = true;
    if (which != UINT32_MAX && !same) {
        uint64_t fork = source_same_until(w, branch, w->lineages[which].branch);
        if (!finish_parent(w, r, which, fork))
            return false;
        from = fork;
    }
    if (same)
        from = lineage_end(&w->lineages[which]);
    else
        which = lineage_new(w, r->tenant, branch, from);
    if (!become_writer(w, r, which, from))
        return false;
    s->epoch.counter++; /* of the next writer */
    s->open = true;
    s->unsure = false;
    s->lineage = which;
    s->branch = branch;
    s->durable = from;
    return true;
}

/* ---- storing ---- */

static bool was_replaced(struct world *w, struct sim_runner *r)
{
    const struct sim_lineage *l = &w->lineages[r->stream.lineage];
    struct sim_epoch mine = {.term = r->stream.epoch.term, .counter = r->stream.epoch.counter - 1};
    struct tm_err err;
    if (!sim_epoch_above(lineage_newest_epoch(l), mine))
        return false;
    (void)tm_err_set(&err, TM_E_CONFLICT, "a newer writer took lineage %u over", r->stream.lineage);
    runner_tell_failed(w, r, &err, "writer");
    r->stream.stopping = true;
    return true;
}

static void store(struct world *w, struct sim_runner *r)
{
    struct sim_stream *s = &r->stream;
    uint64_t flushed = source_node_flushed(w, agent_of(w, r));
    if (s->unsure) { /* found, and not stored once more */
        s->durable = s->unsure_to;
        s->unsure = false;
    }
    if (flushed > s->durable) {
        const struct sim_chunk chunk = {
            .from = s->durable,
            .to = flushed,
            .epoch = {.term = s->epoch.term, .counter = s->epoch.counter - 1},
            .branch = s->branch};
        lineage_put(w, &w->lineages[s->lineage], &chunk, r);
        s->unsure = sim_chance(w, 50); /* the reply is dropped */
        s->unsure_to = flushed;
        if (!s->unsure)
            s->durable = flushed;
    }
    if (s->look_at <= s->durable)
        s->checkpoint_us = s->look_us;
    s->look_at = source_node_flushed(w, agent_of(w, r));
    /* a standby has what the primary flushed a moment ago: its look is worth no more */
    s->look_us = (int64_t)(SIM_REAL_US + w->now_us) - (agent_of(w, r)->db.primary ? 0 : 200000);
    if (s->look_at <= s->durable)
        s->checkpoint_us = s->look_us;
}

static void tell_early(struct world *w, struct sim_runner *r)
{
    struct sim_stream *s = &r->stream;
    uint64_t durable = s->durable;
    s->durable = source_node_flushed(w, agent_of(w, r));
    tell(w, r, JOB_STAGE_WORKING, NULL);
    s->durable = durable;
}

static void give_up(struct world *w, struct sim_runner *r, const char *why)
{
    struct tm_err err;
    (void)tm_err_set(&err, TM_E_CORRUPT, "%s", why);
    runner_tell_failed(w, r, &err, "receive");
    r->stream.stopping = true;
}

static void lead(struct world *w, struct sim_runner *r)
{
    struct sim_stream *s = &r->stream;
    const struct sim_agent *a = agent_of(w, r);
    const char *why = a->db.down                    ? "the database is down"
                      : source_broken(w, a->tenant) ? "its log cannot be read"
                      : runner_storage_down(w)      ? "storage is away"
                                                    : NULL;
    if (source_broken(w, a->tenant) && w->profile.broken_fails) {
        give_up(w, r, why);
        return;
    }
    if (why != NULL) {
        if (w->sim_plant == SIM_PLANT_EARLY_CHECKPOINT && s->open)
            tell_early(w, r);
        else
            tell(w, r, s->open ? JOB_STAGE_WORKING : JOB_STAGE_STARTING, why);
        return;
    }
    if (s->open && s->branch != a->db.branch)
        s->open = false; /* its database was promoted, or follows another one now */
    if (!s->open && !open_stream(w, r))
        return;
    if (was_replaced(w, r))
        return;
    store(w, r);
    tell(w, r, JOB_STAGE_WORKING, NULL);
}

/* ---- truncating ---- */

/* Storage alone is needed for it. */
static void truncate_stored(struct world *w, struct sim_runner *r)
{
    struct sim_stream *s = &r->stream;
    int64_t *there = source_truncated(w, r->tenant);
    if (s->truncate_gen == s->truncated_gen || runner_storage_down(w) || sim_chance(w, 300))
        return;
    s->truncated_gen = s->truncate_gen;
    *there = TM_MAX(*there, s->truncate_us);
    sim_log(w, "log of tenant '%s' is truncated on %s", r->tenant, agent_of(w, r)->node);
}

/* ---- holding ---- */

static uint64_t stored_until(const struct world *w, const char *tenant)
{
    uint64_t end = 0;
    for (size_t at = 0; at < w->lineage_count; at++)
        if (strcmp(w->lineages[at].tenant, tenant) == 0)
            end = TM_MAX(end, lineage_end(&w->lineages[at]));
    return end;
}

static void hold(struct world *w, struct sim_runner *r)
{
    struct sim_stream *s = &r->stream;
    if (s->checkpoint > s->hold_at) {
        uint64_t end = stored_until(w, agent_of(w, r)->tenant);
        if (s->checkpoint > end)
            sim_violate(w, "a hold is let go up to %" PRIu64 ", stored is %" PRIu64, s->checkpoint,
                        end);
        s->hold_at = s->checkpoint;
    }
    tell(w, r, JOB_STAGE_WORKING, NULL);
}

/* ---- life ---- */

static void on_tick(struct world *w, struct sim_arg *arg)
{
    if (!runner_is(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    struct sim_stream *s = &r->stream;
    if (s->stopping)
        return;
    runner_later(w, r, (MS(300) + sim_below(w, MS(400))) * agent_of(w, r)->slow, on_tick);
    if (!s->wanted)
        return;
    if (r->roles & JOB_ROLE_LEAD)
        truncate_stored(w, r);
    if (s->step == JOB_STEP_STOP)
        tell(w, r, JOB_STAGE_STOPPED, NULL);
    else if (s->step == JOB_STEP_PAUSE)
        tell(w, r, JOB_STAGE_PAUSED, NULL);
    else if (r->roles & JOB_ROLE_LEAD)
        lead(w, r);
    else
        hold(w, r);
}

static void check_alone(struct world *w, const struct sim_runner *r)
{
    for (size_t at = 0; at < SIM_RUNNERS_MAX; at++) {
        const struct sim_runner *other = &w->runners[at];
        if (other != r && other->alive && other->kind == JOB_KIND_LOG && other->agent == r->agent &&
            other->agent_life == r->agent_life && strcmp(other->uid, r->uid) == 0)
            sim_violate(w, "two runners of log task %s on %s", r->uid, agent_of(w, r)->node);
    }
}

void stream_job(struct world *w, struct sim_runner *r, const struct frame_job *job)
{
    r->stream.epoch = (struct sim_epoch){.term = job->term, .counter = job->generation};
    check_alone(w, r);
    runner_later(w, r, MS(100), on_tick);
}

void stream_want(struct world *w, struct sim_runner *r, const struct frame_log_want *want)
{
    struct sim_stream *s = &r->stream;
    struct moment until;
    struct tm_err err;
    (void)w;
    s->wanted = true;
    s->step = want->step;
    s->checkpoint = want->log->checkpoint;
    if (want->log->truncate_gen == 0 || want->log->truncate_until[0] == '\0')
        return;
    if (moment_parse(want->log->truncate_until, &until, &err) < 0)
        sim_die("a moment to truncate until", &err);
    s->truncate_gen = want->log->truncate_gen;
    s->truncate_us = until.time_us;
}
