/*
 * The runner as a model: it plans a key space of one byte, stores ranges with a few workers, pulls
 * the results and commits a manifest that says what it was told. It trusts the coordinator on
 * purpose: what a wrong coordinator does must show in storage.
 *
 * Storage may be down (an operation is tried again until it is up), may drop replies (the operation
 * happened, the runner tries again and finds its own object), and a kill may come before or after.
 */
#include "tests/sim/real.h"

#include <stdio.h>

#define arg_alive    runner_is
#define later        runner_later
#define storage_down runner_storage_down
#define tell         runner_tell
#define tell_failed  runner_tell_failed
#define again        runner_again

bool runner_is(const struct world *w, const struct sim_arg *arg)
{
    return w->runners[arg->who].alive && w->runners[arg->who].life == arg->life;
}

struct sim_arg *runner_later(struct world *w, const struct sim_runner *r, uint64_t delay_us,
                             sim_fn fn)
{
    struct sim_arg *arg = sim_at(w, delay_us, fn);
    arg->who = (uint32_t)(r - w->runners);
    arg->life = r->life;
    return arg;
}

struct sim_runner *runner_find(struct world *w, uint32_t agent, uint32_t job, uint32_t generation)
{
    for (size_t at = 0; at < SIM_RUNNERS_MAX; at++) {
        struct sim_runner *r = &w->runners[at];
        if (r->alive && r->agent == agent && r->agent_life == w->agents[agent].life &&
            r->job == job && r->generation == generation)
            return r;
    }
    return NULL;
}

bool runner_storage_down(const struct world *w)
{
    return w->now_us < w->storage_down_until_us;
}

/* ---- to the agent ---- */

/* a: job, b: generation, c: agent, d: its life */
static void on_frame(struct world *w, struct sim_arg *arg)
{
    struct tm_err err;
    struct sim_agent *a = &w->agents[arg->c];
    if (!a->alive || a->life != arg->d)
        return;
    struct frame f;
    if (frame_next(&arg->bytes, &f, &err) != 1 || arg->bytes.len != 0)
        sim_die("a runner's frame does not decode", &err);
    struct agent_event event = {.kind = AGENT_EV_RUNNER_FRAME};
    event.frame.job = (uint32_t)arg->a;
    event.frame.generation = (uint32_t)arg->b;
    event.frame.frame = &f;
    agent_feed(w, (uint32_t)arg->c, &event);
    frame_release(&f);
}

static struct sim_arg *to_agent(struct world *w, const struct sim_runner *r, sim_fn fn)
{
    struct sim_arg *arg = sim_at(w, 500, fn);
    arg->a = r->job;
    arg->b = r->generation;
    arg->c = r->agent;
    arg->d = r->agent_life;
    return arg;
}

void runner_tell(struct world *w, const struct sim_runner *r, const struct frame *f)
{
    struct tm_err err;
    struct sim_arg *arg = to_agent(w, r, on_frame);
    if (frame_encode(f, &arg->bytes, &err) < 0)
        sim_die("a runner's frame does not encode", &err);
}

/* as on_frame; life: signal */
static void on_exited(struct world *w, struct sim_arg *arg)
{
    struct sim_agent *a = &w->agents[arg->c];
    if (!a->alive || a->life != arg->d)
        return;
    struct agent_event event = {.kind = AGENT_EV_RUNNER_EXITED};
    event.exited.job = (uint32_t)arg->a;
    event.exited.generation = (uint32_t)arg->b;
    event.exited.signal = (int)arg->life;
    agent_feed(w, (uint32_t)arg->c, &event);
}

void runner_release(struct sim_runner *r)
{
    buf_release(&r->to_agent);
    buf_release(&r->from_agent);
    for (size_t at = 0; at < SIM_RANGES_MAX; at++)
        buf_release(&r->blobs[at]);
    for (size_t at = 0; at < SIM_RANGES_MAX; at++)
        buf_release(&r->known_blobs[at]);
    real_free(r->real);
    r->real = NULL;
}

void runner_end(struct world *w, struct sim_runner *r, int signal)
{
    r->alive = false;
    runner_release(r);
    to_agent(w, r, on_exited)->life = (uint64_t)signal;
}

/* ---- ready, plan -------------------------------------------------------------------------------- */

void sim_key_set(uint8_t to[SIM_KEY_MAX], size_t *ret_len, struct slice key)
{
    if (key.len > SIM_KEY_MAX)
        sim_die("a key is too long for the simulation", NULL);
    if (key.len > 0)
        memcpy(to, key.data, key.len);
    *ret_len = key.len;
}

/* Told once; the agent then kills the runner. */
void runner_tell_failed(struct world *w, const struct sim_runner *r, const struct tm_err *err,
                        const char *stage)
{
    struct msg_error error = msg_error_of(err, stage);
    struct frame f = {.type = FRAME_failed};
    f.failed.error = &error;
    tell(w, r, &f);
}

/* A real operation failed: true when it is to be tried again. */
bool runner_again(struct world *w, const struct sim_runner *r, const struct tm_err *err,
                  const char *stage)
{
    if (err->retryable)
        return true;
    if (w->profile.benign)
        sim_violate(w, "%s fails in a benign run: %s", stage, err->msg);
    tell_failed(w, r, err, stage);
    return false;
}

void runner_on_ready(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    struct tm_err err;
    bool down = storage_down(w);
    bool opens = w->profile.real && r->kind != JOB_KIND_RESTORE && r->kind != JOB_KIND_LOG;
    if (!down && opens && real_open(w, r, r->sweeping, &err) < 0) {
        if (!again(w, r, &err, "storage"))
            return;
        down = true;
    }
    if (down) {
        later(w, r, MS(300), runner_on_ready);
        return;
    }
    if (r->resume && !r->sweeping && !checkpoint_look(w, r))
        return;
    struct frame f = {.type = FRAME_ready};
    tell(w, r, &f);
}

/* Key 0 is the empty string, SIM_KEYS the top: also empty. */
static void set_key(uint8_t to[SIM_KEY_MAX], size_t *ret_len, int key)
{
    *ret_len = key != 0 && key != SIM_KEYS;
    to[0] = (uint8_t)key;
}

static void make_plan(struct world *w, struct sim_runner *r)
{
    int cuts[SIM_RANGES_MAX + 1] = {0};
    r->plan_count = 4 + (uint32_t)sim_below(w, SIM_RANGES_MAX - 4);
    for (uint32_t at = 1; at <= r->plan_count; at++)
        cuts[at] = (int)(at * SIM_KEYS / r->plan_count);
    for (uint32_t at = 1; at < r->plan_count; at++) { /* never the same cuts twice */
        int room = cuts[at + 1] - cuts[at];
        cuts[at] += room > 1 ? (int)sim_below(w, (uint64_t)room) : 0;
    }
    for (uint32_t at = 0; at < r->plan_count; at++) {
        set_key(r->plan[at].start, &r->plan[at].start_len, cuts[at]);
        set_key(r->plan[at].end, &r->plan[at].end_len, cuts[at + 1]);
    }
}

static void on_plan(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    struct tm_err err;
    if (r->plan_count == 0 && !w->profile.real)
        make_plan(w, r);
    if (r->plan_count == 0 && real_plan(w, r, &err) < 0) {
        r->plan_count = 0;
        if (again(w, r, &err, "plan"))
            runner_end(w, r,
                       9); /* a stored plan cannot be changed: the next runner makes another */
        return;
    }
    while (r->known && r->known_told < r->known_count)
        checkpoint_tell_known(w, r);
    struct msg_plan_range ranges[8];
    struct frame f = {.type = FRAME_plan_batch};
    f.plan_batch.first = r->plan_next;
    f.plan_batch.ranges = ranges;
    while (r->plan_next < r->plan_count && f.plan_batch.ranges_count < TM_ARRAY_LEN(ranges)) {
        const struct sim_lease *from = &r->plan[r->plan_next++];
        ranges[f.plan_batch.ranges_count++] =
            (struct msg_plan_range){.start = slice_of(from->start, from->start_len),
                                    .end = slice_of(from->end, from->end_len),
                                    .bytes = 100,
                                    .anywhere = from->start_len > 0 && from->end_len > 0};
    }
    f.plan_batch.last = r->plan_next == r->plan_count;
    uint8_t root[REAL_ROOT_LEN];
    if (f.plan_batch.last && w->profile.real) {
        real_root(r, root);
        f.plan_batch.root = slice_of(root, sizeof(root));
    }
    tell(w, r, &f);
    if (!f.plan_batch.last)
        later(w, r, MS(20) + sim_below(w, MS(100)), on_plan);
    else
        checkpoint_begin(w, r, true);
}

/* ---- ranges -------------------------------------------------------------------------------------- */

static void work(struct world *w, struct sim_runner *r);

static void need(struct world *w, const struct sim_runner *r)
{
    struct frame f = {.type = FRAME_need};
    f.need.count = r->queue_count < 4 ? (uint32_t)(4 - r->queue_count) : 0;
    tell(w, r, &f);
}

static void range_stored(struct world *w, struct sim_runner *r, const struct sim_lease *lease,
                         struct slice blob)
{
    struct msg_counters counters = {.bytes = 100, .stored_bytes = 50, .files = 1};
    struct frame f = {.type = FRAME_range_done};
    f.range_done.range = lease->range;
    f.range_done.term = lease->term;
    f.range_done.counter = lease->counter;
    f.range_done.blob = blob;
    f.range_done.counters = &counters;
    tell(w, r, &f);
    r->bytes += 100;
}

static void range_failed(struct world *w, struct sim_runner *r, const struct sim_lease *lease)
{
    struct msg_error error = {
        .code = TM_E_UNAVAILABLE, .text = "storage is away", .retryable = true};
    struct frame f = {.type = FRAME_range_failed};
    f.range_failed.range = lease->range;
    f.range_failed.term = lease->term;
    f.range_failed.counter = lease->counter;
    f.range_failed.error = &error;
    tell(w, r, &f);
}

static void on_range(struct world *w, struct sim_arg *arg);

static void range_later(struct world *w, const struct sim_runner *r, const struct sim_lease *lease,
                        uint64_t delay_us)
{
    struct tm_err err;
    if (buf_append(&later(w, r, delay_us, on_range)->bytes, lease, sizeof(*lease), &err) < 0)
        sim_die("memory", &err);
}

enum outcome { OUTCOME_STORED, OUTCOME_AGAIN, OUTCOME_FAILED };

static enum outcome store_model(struct world *w, const struct sim_runner *r,
                                const struct sim_lease *lease)
{
    struct sim_object object = {.range = lease->range,
                                .term = lease->term,
                                .counter = lease->counter,
                                .start = lease->start_len > 0 ? lease->start[0] : 0,
                                .end = lease->end_len > 0 ? lease->end[0] : SIM_KEYS};
    depot_put(w, depot_find(w, r->backup_id, true), &object);
    return sim_chance(w, 50) ? OUTCOME_AGAIN : OUTCOME_STORED; /* the reply is dropped */
}

static enum outcome store_real(struct world *w, struct sim_runner *r, const struct sim_lease *lease,
                               struct buf *ret_blob)
{
    struct tm_err err;
    if (real_range(r, lease, ret_blob, &err) == 0)
        return OUTCOME_STORED;
    sim_log(w, "range %u: %s", lease->range, err.msg);
    /* perhaps stored, perhaps not: never once more under the same epoch, it would read other bytes */
    if (!err.retryable)
        sim_violate(w, "a range cannot be stored: %s", err.msg);
    return OUTCOME_FAILED;
}

static void on_range(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    struct sim_lease lease;
    memcpy(&lease, arg->bytes.data, sizeof(lease));
    bool bound = lease.start_len == 0 || lease.end_len == 0;
    if (bound && (r->roles & JOB_ROLE_LEAD) == 0 && !w->profile.members)
        sim_violate(w, "range %u, which only the primary may read, is read elsewhere", lease.range);
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    enum outcome outcome = OUTCOME_AGAIN;
    if (storage_down(w) && sim_chance(w, 30) && !w->profile.benign)
        outcome = OUTCOME_FAILED;
    else if (!storage_down(w))
        outcome = w->profile.real ? store_real(w, r, &lease, &blob) : store_model(w, r, &lease);
    if (outcome == OUTCOME_AGAIN) {
        range_later(w, r, &lease, MS(400));
        return;
    }
    r->busy--;
    if (outcome == OUTCOME_STORED)
        range_stored(w, r, &lease, buf_slice(&blob));
    else
        range_failed(w, r, &lease);
    work(w, r);
    need(w, r);
}

static void work(struct world *w, struct sim_runner *r)
{
    while (r->busy < SIM_WORKERS && r->queue_count > 0) {
        struct sim_lease lease = r->queue[0];
        r->queue_count--;
        memmove(&r->queue[0], &r->queue[1], r->queue_count * sizeof(r->queue[0]));
        r->busy++;
        range_later(w, r, &lease, (MS(100) + sim_below(w, MS(900))) * w->agents[r->agent].slow);
    }
}

static void take_leases(struct world *w, struct sim_runner *r, const struct frame_ranges *ranges)
{
    for (size_t at = 0; at < ranges->leases_count && r->queue_count < SIM_QUEUE_MAX; at++) {
        const struct msg_lease *lease = &ranges->leases[at];
        struct sim_lease *to = &r->queue[r->queue_count++];
        *to = (struct sim_lease){
            .range = lease->range, .term = lease->term, .counter = lease->counter};
        sim_key_set(to->start, &to->start_len, lease->start);
        sim_key_set(to->end, &to->end_len, lease->end);
    }
    work(w, r);
    need(w, r);
}

/* ---- from the agent ---- */

static void take_begin(struct world *w, struct sim_runner *r, const struct frame_begin *begin)
{
    r->begun = true;
    if (!begin->plan_known) {
        later(w, r, MS(50) + sim_below(w, MS(300)), on_plan);
    } else {
        if (w->profile.real && (r->roles & JOB_ROLE_LEAD) != 0)
            real_take_root(r, begin->plan_root, begin->plan_ranges);
        checkpoint_begin(w, r, false);
    }
    need(w, r);
}

static void take_job(struct world *w, struct sim_runner *r, const struct frame_job *job)
{
    r->kind = job->kind;
    r->term = job->term;
    r->sweeping = job->sweep || job->kind == JOB_KIND_DELETE;
    r->roles = job->roles;
    r->attempt = job->attempt;
    if (job->backup != NULL) {
        r->checkpoints = job->backup->checkpoint;
        r->resume = job->backup->resume;
    }
    memcpy(r->uid, job->uid, sizeof(r->uid));
    memcpy(r->tenant, job->tenant, sizeof(r->tenant));
    if (job->kind == JOB_KIND_PROBE) {
        errand_job(w, r, job);
        return;
    }
    if (job->backup != NULL)
        memcpy(r->backup_id, job->backup->backup_id, sizeof(r->backup_id));
    later(w, r, MS(20) + sim_below(w, MS(200)), runner_on_ready);
    if (job->kind == JOB_KIND_RESTORE)
        restore_job(w, r, job->resume);
    else if (job->kind == JOB_KIND_LOG)
        stream_job(w, r, job);
}

static void on_stop(struct world *w, struct sim_arg *arg)
{
    if (arg_alive(w, arg))
        runner_end(w, &w->runners[arg->who], 0);
}

static void take(struct world *w, struct sim_runner *r, const struct frame *f)
{
    switch (f->type) {
    case FRAME_job:
        take_job(w, r, &f->job);
        break;
    case FRAME_begin:
        take_begin(w, r, &f->begin);
        break;
    case FRAME_ranges:
        take_leases(w, r, &f->ranges);
        break;
    case FRAME_finish:
        r->finishing = true;
        r->finish_term = f->finish.term;
        r->finish_ranges = f->finish.plan_ranges;
        commit_want_results(w, r);
        break;
    case FRAME_accepted:
        checkpoint_accepted(w, r, &f->accepted);
        break;
    case FRAME_results:
        commit_results(w, r, &f->results);
        break;
    case FRAME_sweep:
        sweep_later(w, r, MS(20) + sim_below(w, MS(200)), f->sweep.remove, f->sweep.grace_ms);
        break;
    case FRAME_log_want:
        stream_want(w, r, &f->log_want);
        break;
    case FRAME_stop: /* it may be busy for longer than anybody waits */
        later(w, r, sim_chance(w, 100) ? SEC(60) : sim_below(w, SEC(2)), on_stop);
        break;
    default:
        break;
    }
}

static void on_input(struct world *w, struct sim_arg *arg)
{
    struct tm_err err;
    if (!arg_alive(w, arg))
        return;
    struct frame f;
    if (frame_next(&arg->bytes, &f, &err) != 1 || arg->bytes.len != 0)
        sim_die("an agent's frame does not decode", &err);
    take(w, &w->runners[arg->who], &f);
    frame_release(&f);
}

void runner_input(struct world *w, uint32_t agent, uint32_t job, uint32_t generation,
                  const struct frame *f)
{
    struct tm_err err;
    struct sim_runner *r = runner_find(w, agent, job, generation);
    if (r == NULL)
        return;
    struct sim_arg *arg = later(w, r, 500, on_input);
    if (frame_encode(f, &arg->bytes, &err) < 0)
        sim_die("an agent's frame does not encode", &err);
}

void runner_spawn(struct world *w, uint32_t agent, uint32_t job, uint32_t generation)
{
    for (size_t at = 0; at < SIM_RUNNERS_MAX; at++) {
        struct sim_runner *r = &w->runners[at];
        if (r->alive)
            continue;
        *r = (struct sim_runner){.alive = true,
                                 .life = ++w->next_life,
                                 .agent = agent,
                                 .agent_life = w->agents[agent].life,
                                 .job = job,
                                 .generation = generation};
        return;
    }
    sim_die("too many runners", NULL);
}
