/*
 * The runner, played: what it says is what a runner says, and nothing is read or stored.
 *
 * Happy path: job → ready → begin → (lead: plan batches, one a turn of the loop) → need ↔ ranges,
 * one range_done after the other at the pace of the fleet → finish → want_results ↔ results, each
 * page checked → committed. With checkpoints the lead asks for what was accepted every few seconds,
 * all pages of it. What is to be kept of resources is kept at once.
 */
#include "tests/bench/fleet/fleet.h"

#include <stdio.h>

#include "common/clock.h"

#define RANGE_BYTES   ((uint64_t)128 << 20)
#define KEY_LEN       18 /* as PostgreSQL's: class, tablespace, database, relation, fork, block */
#define CHECKPOINT_US (5 * USEC_PER_SEC)

/* ---- to the agent ---- */

void player_tell(const struct player *p, const struct frame *f)
{
    struct agent_event event = {.kind = AGENT_EV_RUNNER_FRAME};
    event.frame.job = p->job;
    event.frame.generation = p->generation;
    event.frame.frame = f;
    member_feed(p->member, &event);
}

static void due(const struct player *p, enum due what, uint32_t value)
{
    member_due(p->member,
               &(struct due_event){
                   .what = what, .job = p->job, .generation = p->generation, .value = value});
}

static void need(const struct player *p)
{
    size_t waiting = p->queue_count;
    due(p, DUE_NEED, waiting < PLAYER_WINDOW ? (uint32_t)(PLAYER_WINDOW - waiting) : 0);
}

/* ---- plan ---- */

static struct slice key_of(const struct player *p, uint32_t range, uint8_t key[KEY_LEN])
{
    if (range == 0 || range == p->member->fleet->options.ranges)
        return SLICE_EMPTY;
    memset(key, 0, KEY_LEN);
    key[0] = 3;
    be32_put(key + 1, 1663);
    be32_put(key + 5, 16384);
    be32_put(key + 9, 16385 + range / 64);
    be32_put(key + 14, range % 64 * 16384);
    return slice_of(key, KEY_LEN);
}

static void plan_batch(struct player *p)
{
    uint32_t ranges = p->member->fleet->options.ranges;
    uint8_t keys[FRAME_PLAN_MAX + 1][KEY_LEN];
    struct msg_plan_range plan[FRAME_PLAN_MAX];
    struct frame f = {.type = FRAME_plan_batch};
    f.plan_batch.first = p->plan_next;
    f.plan_batch.ranges = plan;
    size_t count = TM_MIN((size_t)FRAME_PLAN_MAX, (size_t)(ranges - p->plan_next));
    struct slice end = key_of(p, p->plan_next, keys[0]);
    for (size_t at = 0; at < count; at++) {
        uint32_t range = p->plan_next + (uint32_t)at;
        plan[at] = (struct msg_plan_range){
            .start = end, .bytes = RANGE_BYTES, .anywhere = range > 0 && range + 1 < ranges};
        end = key_of(p, range + 1, keys[at + 1]);
        plan[at].end = end;
    }
    f.plan_batch.ranges_count = count;
    p->plan_next += (uint32_t)count;
    f.plan_batch.last = p->plan_next == ranges;
    p->planning = !f.plan_batch.last;
    loop_timer_set(p->beside, p->planning ? 0 : clock_mono_us() + CHECKPOINT_US);
    player_tell(p, &f);
}

static void on_beside(void *arg)
{
    struct player *p = arg;
    if (p->planning) {
        plan_batch(p);
        return;
    }
    if (!p->checkpoints || p->finishing)
        return;
    struct frame f = {.type = FRAME_want_accepted};
    f.want_accepted.stored = check_of(p->member->fleet, p->uid)->checkpoint;
    player_tell(p, &f);
}

/* ---- ranges ---- */

static void pace(const struct player *p)
{
    struct fleet *fleet = p->member->fleet;
    uint64_t us = 0;
    if (fleet->options.rate > 0) { /* half to one and a half of the mean */
        uint64_t mean_us = (uint64_t)fleet->options.all * USEC_PER_SEC / fleet->options.rate;
        us = mean_us / 2 + fleet_random(fleet) % (mean_us + 1);
    }
    loop_timer_set(p->pace, clock_mono_us() + (int64_t)us);
}

static void on_pace(void *arg)
{
    struct player *p = arg;
    struct fleet *fleet = p->member->fleet;
    if (p->queue_count == 0)
        return;
    uint8_t blob[WIRE_RESULT_MAX];
    struct msg_counters counters = {
        .bytes = RANGE_BYTES, .stored_bytes = RANGE_BYTES / 2, .files = 1, .pages_checked = 16384};
    struct frame f = {.type = FRAME_range_done};
    f.range_done.range = p->queue[0].range;
    f.range_done.term = p->queue[0].term;
    f.range_done.counter = p->queue[0].counter;
    f.range_done.counters = &counters;
    check_blob(blob, fleet->options.blob_bytes, f.range_done.range, f.range_done.term,
               f.range_done.counter);
    f.range_done.blob = slice_of(blob, fleet->options.blob_bytes);
    memmove(&p->queue[0], &p->queue[1], --p->queue_count * sizeof(p->queue[0]));
    if (p->queue_count > 0)
        pace(p);
    fleet->stored++;
    need(p); /* behind the result: it is fed when that step is over */
    player_tell(p, &f);
}

static void take_ranges(struct player *p, const struct frame_ranges *ranges)
{
    bool idle = p->queue_count == 0;
    for (size_t at = 0; at < ranges->leases_count; at++) {
        const struct msg_lease *lease = &ranges->leases[at];
        if (p->queue_count == WIRE_LEASES_MAX) {
            fleet_violate(p->member->fleet, "more than %d leases for one node", WIRE_LEASES_MAX);
            return;
        }
        p->queue[p->queue_count].range = lease->range;
        p->queue[p->queue_count].term = lease->term;
        p->queue[p->queue_count].counter = lease->counter;
        p->queue_count++;
    }
    if (idle && p->queue_count > 0)
        pace(p);
    need(p);
}

/* ---- from the agent ---- */

static void take_job(struct player *p, const struct frame_job *job)
{
    p->roles = job->roles;
    p->checkpoints = job->backup != NULL && job->backup->checkpoint;
    (void)snprintf(p->uid, sizeof(p->uid), "%s", job->uid);
    if (job->kind == JOB_KIND_PROBE && job->probe->keep != NULL) {
        p->errand = job->probe->id;
        due(p, DUE_KEPT, 0);
        return;
    }
    if (job->kind != JOB_KIND_BACKUP || job->sweep || (job->backup && job->backup->resume))
        fleet_violate(p->member->fleet, "job '%s' is more than a plain backup", job->uid);
    due(p, DUE_READY, 0);
}

static void take_begin(struct player *p, const struct frame_begin *begin)
{
    if ((p->roles & JOB_ROLE_LEAD) != 0 && !begin->plan_known) {
        p->planning = true;
        loop_timer_set(p->beside, 0);
    }
    need(p);
}

static void take_results(struct player *p, const struct frame_results *page)
{
    check_page(p->member->fleet, p->uid, page);
    if (page->last)
        due(p, DUE_COMMITTED, 0);
    else
        due(p, DUE_WANT_RESULTS, page->from + (uint32_t)page->results_count);
}

void player_take(struct player *p, const struct frame *f)
{
    switch (f->type) {
    case FRAME_job:
        take_job(p, &f->job);
        break;
    case FRAME_begin:
        take_begin(p, &f->begin);
        break;
    case FRAME_ranges:
        take_ranges(p, &f->ranges);
        break;
    case FRAME_accepted:
        check_accepted(p->member->fleet, p->uid, &f->accepted);
        loop_timer_set(p->beside, f->accepted.last ? clock_mono_us() + CHECKPOINT_US : 0);
        break;
    case FRAME_finish:
        p->finishing = true;
        due(p, DUE_WANT_RESULTS, 0);
        break;
    case FRAME_results:
        take_results(p, &f->results);
        break;
    case FRAME_stop:
        due(p, DUE_EXITED, 0);
        break;
    default:
        break;
    }
}

/* ---- life ---- */

void player_new(struct member *m, uint32_t job, uint32_t generation)
{
    struct player *p = calloc(1, sizeof(*p));
    struct tm_err err;
    if (p == NULL)
        fleet_die("memory", NULL);
    p->member = m;
    p->job = job;
    p->generation = generation;
    if (loop_timer_new(m->fleet->loop, on_pace, p, &p->pace, &err) < 0 ||
        loop_timer_new(m->fleet->loop, on_beside, p, &p->beside, &err) < 0)
        fleet_die("timer", &err);
    list_push_back(&m->players, &p->link);
}

struct player *player_find(const struct member *m, uint32_t job, uint32_t generation)
{
    struct player *p;
    LIST_FOREACH (p, &m->players, link) {
        if (p->job == job && p->generation == generation)
            return p;
    }
    return NULL;
}

void player_free(struct player *p)
{
    list_remove(&p->member->players, &p->link);
    loop_timer_free(p->pace);
    loop_timer_free(p->beside);
    free(p);
}
