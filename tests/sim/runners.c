/*
 * The runner as a model: it plans a key space of one byte, stores ranges with a few workers, pulls
 * the results and commits a manifest that says what it was told. It trusts the coordinator on
 * purpose: what a wrong coordinator does must show in storage.
 *
 * Storage may be down (an operation is tried again until it is up), may drop replies (the operation
 * happened, the runner tries again and finds its own object), and a kill may come before or after.
 */
#include "tests/sim/sim.h"

#include <stdio.h>

static bool arg_alive(const struct world *w, const struct sim_arg *arg)
{
    return w->runners[arg->who].alive && w->runners[arg->who].life == arg->life;
}

static struct sim_arg *later(struct world *w, const struct sim_runner *r, uint64_t delay_us,
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

static bool storage_down(const struct world *w)
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

static void tell(struct world *w, const struct sim_runner *r, const struct frame *f)
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

void runner_end(struct world *w, struct sim_runner *r, int signal)
{
    r->alive = false;
    buf_release(&r->to_agent);
    buf_release(&r->from_agent);
    to_agent(w, r, on_exited)->life = (uint64_t)signal;
}

/* ---- ready, plan ---- */

static void on_ready(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    if (storage_down(w)) {
        later(w, r, MS(300), on_ready);
        return;
    }
    struct frame f = {.type = FRAME_ready};
    tell(w, r, &f);
}

static void make_cuts(struct world *w, struct sim_runner *r)
{
    r->plan_count = 4 + (uint32_t)sim_below(w, SIM_RANGES_MAX - 4);
    r->plan_cuts[0] = 0;
    for (uint32_t at = 1; at <= r->plan_count; at++)
        r->plan_cuts[at] = (int)(at * SIM_KEYS / r->plan_count);
    for (uint32_t at = 1; at < r->plan_count; at++) { /* never the same cuts twice */
        int room = r->plan_cuts[at + 1] - r->plan_cuts[at];
        r->plan_cuts[at] += room > 1 ? (int)sim_below(w, (uint64_t)room) : 0;
    }
}

static const uint8_t key_bytes[SIM_KEYS] = {
#define ROW(n) n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7
    ROW(0),   ROW(8),   ROW(16),  ROW(24),  ROW(32),  ROW(40),  ROW(48),  ROW(56),
    ROW(64),  ROW(72),  ROW(80),  ROW(88),  ROW(96),  ROW(104), ROW(112), ROW(120),
    ROW(128), ROW(136), ROW(144), ROW(152), ROW(160), ROW(168), ROW(176), ROW(184),
    ROW(192), ROW(200), ROW(208), ROW(216), ROW(224), ROW(232), ROW(240), ROW(248),
};

/* Key 0 is the empty string, SIM_KEYS the top: also empty. */
static struct slice key_of(int key)
{
    return key == 0 || key == SIM_KEYS ? SLICE_EMPTY : slice_of(&key_bytes[key], 1);
}

static void on_plan(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    struct msg_plan_range ranges[8];
    struct frame f = {.type = FRAME_plan_batch};
    f.plan_batch.first = r->plan_next;
    f.plan_batch.ranges = ranges;
    while (r->plan_next < r->plan_count && f.plan_batch.ranges_count < TM_ARRAY_LEN(ranges)) {
        ranges[f.plan_batch.ranges_count++] =
            (struct msg_plan_range){.start = key_of(r->plan_cuts[r->plan_next]),
                                    .end = key_of(r->plan_cuts[r->plan_next + 1]),
                                    .bytes = 100};
        r->plan_next++;
    }
    f.plan_batch.last = r->plan_next == r->plan_count;
    tell(w, r, &f);
    if (!f.plan_batch.last)
        later(w, r, MS(20) + sim_below(w, MS(100)), on_plan);
}

/* ---- ranges ---- */

static void work(struct world *w, struct sim_runner *r);

static void need(struct world *w, const struct sim_runner *r)
{
    struct frame f = {.type = FRAME_need};
    f.need.count = r->queue_count < 4 ? (uint32_t)(4 - r->queue_count) : 0;
    tell(w, r, &f);
}

static void range_ends(struct world *w, struct sim_runner *r, const struct sim_object *object,
                       bool stored)
{
    r->busy--;
    if (stored) {
        struct msg_counters counters = {.bytes = 100, .stored_bytes = 50, .files = 1};
        struct frame f = {.type = FRAME_range_done};
        f.range_done.range = object->range;
        f.range_done.term = object->term;
        f.range_done.counter = object->counter;
        f.range_done.blob = slice_of(&object->start, sizeof(object->start));
        f.range_done.counters = &counters;
        tell(w, r, &f);
        r->bytes += 100;
    } else {
        struct msg_error error = {
            .code = TM_E_UNAVAILABLE, .text = "storage is away", .retryable = true};
        struct frame f = {.type = FRAME_range_failed};
        f.range_failed.range = object->range;
        f.range_failed.term = object->term;
        f.range_failed.counter = object->counter;
        f.range_failed.error = &error;
        tell(w, r, &f);
    }
    work(w, r);
    need(w, r);
}

/* a: range, b: term, c: counter, d: start and end; life in bytes is not needed */
static void on_range(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    struct sim_object object = {.range = (uint32_t)arg->a,
                                .term = arg->b,
                                .counter = arg->c,
                                .start = (int)(arg->d >> 16),
                                .end = (int)(arg->d & 0xffff)};
    if (storage_down(w)) {
        if (sim_chance(w, 30) && !w->profile.benign) {
            range_ends(w, r, &object, false);
            return;
        }
        struct sim_arg again = *arg;
        struct sim_arg *next = later(w, r, MS(500), on_range);
        next->a = again.a;
        next->b = again.b;
        next->c = again.c;
        next->d = again.d;
        return;
    }
    depot_put(w, depot_find(w, r->backup_id, true), &object);
    if (sim_chance(w, 50)) { /* the reply is dropped: once more, and it is there already */
        struct sim_arg again = *arg;
        struct sim_arg *next = later(w, r, MS(400), on_range);
        next->a = again.a;
        next->b = again.b;
        next->c = again.c;
        next->d = again.d;
        return;
    }
    range_ends(w, r, &object, true);
}

static void work(struct world *w, struct sim_runner *r)
{
    while (r->busy < SIM_WORKERS && r->queue_count > 0) {
        struct msg_lease lease = r->queue[0];
        uint64_t keys = (uint64_t)r->starts[0] << 16 | (uint64_t)r->ends[0];
        r->queue_count--;
        memmove(&r->queue[0], &r->queue[1], r->queue_count * sizeof(r->queue[0]));
        memmove(&r->starts[0], &r->starts[1], r->queue_count * sizeof(r->starts[0]));
        memmove(&r->ends[0], &r->ends[1], r->queue_count * sizeof(r->ends[0]));
        r->busy++;
        uint64_t took_us = (MS(100) + sim_below(w, MS(900))) * w->agents[r->agent].slow;
        struct sim_arg *arg = later(w, r, took_us, on_range);
        arg->a = lease.range;
        arg->b = lease.term;
        arg->c = lease.counter;
        arg->d = keys;
    }
}

static void take_leases(struct world *w, struct sim_runner *r, const struct frame_ranges *ranges)
{
    for (size_t at = 0; at < ranges->leases_count && r->queue_count < SIM_QUEUE_MAX; at++) {
        const struct msg_lease *lease = &ranges->leases[at];
        r->queue[r->queue_count] = (struct msg_lease){
            .range = lease->range, .term = lease->term, .counter = lease->counter};
        r->starts[r->queue_count] = lease->start.len > 0 ? lease->start.data[0] : 0;
        r->ends[r->queue_count] = lease->end.len > 0 ? lease->end.data[0] : SIM_KEYS;
        r->queue_count++;
    }
    work(w, r);
    need(w, r);
}

/* ---- commit ---- */

static void tell_committed(struct world *w, const struct sim_runner *r)
{
    struct msg_totals totals = {.commit_us = 1, .position = "0/2"};
    struct frame f = {.type = FRAME_committed};
    f.committed.totals = &totals;
    tell(w, r, &f);
}

static void on_commit(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    if (storage_down(w)) {
        later(w, r, MS(300), on_commit);
        return;
    }
    struct sim_backup *backup = depot_find(w, r->backup_id, true);
    if (!backup->manifest) {
        backup->manifest = true;
        free(backup->entries);
        backup->entries = malloc(sizeof(r->entries));
        if (backup->entries == NULL)
            sim_die("manifest", NULL);
        memcpy(backup->entries, r->entries, sizeof(r->entries));
        backup->entry_count = r->entry_count;
        sim_log(w, "manifest of %s committed, %zu ranges", backup->id, backup->entry_count);
        oracle_manifest(w, r->uid, backup);
    }
    if (sim_chance(w, 50)) {
        later(w, r, MS(400), on_commit); /* the reply is dropped */
        return;
    }
    tell_committed(w, r);
}

static void want_results(struct world *w, const struct sim_runner *r)
{
    struct frame f = {.type = FRAME_want_results};
    f.want_results.from = r->results_next;
    tell(w, r, &f);
}

static void take_results(struct world *w, struct sim_runner *r, const struct frame_results *page)
{
    if (!r->finishing || page->from != r->results_next)
        return;
    for (size_t at = 0; at < page->results_count && r->entry_count < TM_ARRAY_LEN(r->entries); at++)
        r->entries[r->entry_count++] = (struct sim_object){.range = page->results[at].range,
                                                           .term = page->results[at].term,
                                                           .counter = page->results[at].counter};
    r->results_next += (uint32_t)page->results_count;
    if (page->last)
        later(w, r, MS(50) + sim_below(w, MS(300)), on_commit);
    else
        want_results(w, r);
}

/* ---- sweep, restore ---- */

/* a: remove also what is committed */
static void on_sweep(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    if (storage_down(w)) {
        bool remove = arg->a != 0;
        later(w, r, MS(300), on_sweep)->a = remove;
        return;
    }
    struct sim_backup *backup = depot_find(w, r->backup_id, false);
    struct frame f = {.type = FRAME_swept};
    struct msg_totals totals = {.commit_us = 1};
    if (backup != NULL && backup->manifest && arg->a == 0) {
        f.swept.committed = true;
        f.swept.totals = &totals;
    } else if (backup != NULL) {
        depot_sweep(backup);
    }
    tell(w, r, &f);
}

static void on_restored(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    struct msg_totals totals = {.commit_us = 1};
    struct frame f = {.type = FRAME_restored};
    f.restored.totals = &totals;
    tell(w, r, &f);
}

/* ---- from the agent ---- */

static void take_begin(struct world *w, struct sim_runner *r, const struct frame_begin *begin)
{
    r->begun = true;
    if (!begin->plan_known) {
        make_cuts(w, r);
        later(w, r, MS(50) + sim_below(w, MS(300)), on_plan);
    }
    need(w, r);
}

static void take_job(struct world *w, struct sim_runner *r, const struct frame_job *job)
{
    r->kind = job->kind;
    r->roles = job->roles;
    memcpy(r->uid, job->uid, sizeof(r->uid));
    if (job->backup != NULL)
        memcpy(r->backup_id, job->backup->backup_id, sizeof(r->backup_id));
    later(w, r, MS(20) + sim_below(w, MS(200)), on_ready);
    if (job->kind == JOB_KIND_RESTORE)
        later(w, r, SEC(1) + sim_below(w, SEC(6)), on_restored);
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
        want_results(w, r);
        break;
    case FRAME_results:
        take_results(w, r, &f->results);
        break;
    case FRAME_sweep:
        later(w, r, MS(20) + sim_below(w, MS(200)), on_sweep)->a = f->sweep.remove;
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
