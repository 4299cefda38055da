/*
 * What goes wrong, and when. A benign profile has only what no job may fail from: losses, delays,
 * doubles, short partitions, a few dead runners, coordinator restarts with their state kept.
 */
#include "common/storage/ram.h"
#include "tests/sim/real.h"

#include <stdio.h>

#define ALONE_US SEC(17) /* all are connected again before FAULTS_CALM_US is over */

static void on_coord_back(struct world *w, struct sim_arg *arg)
{
    uint32_t which;
    if (coord_newest(w, &which) == NULL)
        coord_start(w, (uint32_t)arg->a);
}

static void on_zombie_end(struct world *w, struct sim_arg *arg)
{
    struct sim_coord *c = &w->coords[arg->a];
    if (c->alive && c->zombie && c->life == arg->life)
        coord_crash(w, (uint32_t)arg->a);
}

static void on_coord_crash(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    uint32_t which;
    struct sim_coord *c = coord_newest(w, &which);
    if (c == NULL)
        return;
    uint64_t away_us = MS(200) + sim_below(w, SEC(6));
    uint32_t other = (which + 1) % SIM_COORDS_MAX;
    if (sim_chance(w, 250) && !w->coords[other].alive) {
        sim_log(w, "coordinator%u is replaced and does not know", which);
        c->zombie = true;
        uint64_t life_us = SEC(1) + sim_below(w, w->profile.benign ? SEC(3) : SEC(15));
        struct sim_arg *end = sim_at(w, life_us, on_zombie_end);
        end->a = which;
        end->life = c->life;
        which = other;
        away_us = MS(100);
    } else {
        coord_crash(w, which);
    }
    if (!w->profile.benign && sim_chance(w, 100)) {
        bool all = sim_chance(w, 500);
        for (uint32_t at = 0; at < SIM_COORDS_MAX; at++)
            coord_crash(w, at); /* the lock on the state directory keeps it from two at once */
        sim_log(w, all ? "its state is lost" : "its state is rolled back");
        w->put_back.term = w->store.term;
        w->put_back.start = w->start;
        w->put_back.revision = all ? 0 : w->old_store.revision;
        if (all)
            w->store.term = w->store.revision = 0;
        if (all)
            store_release(&w->store);
        else
            store_copy(&w->store, &w->old_store);
        w->rolled_back = true;
        w->quiet_count = 0; /* what is known of log tasks is another thing now */
    }
    if (w->coords[which].alive)
        return;
    sim_at(w, away_us, on_coord_back)->a = which;
}

static void on_store_saved(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    store_copy(&w->old_store, &w->store);
}

void on_agent_back(struct world *w, struct sim_arg *arg)
{
    if (!w->agents[arg->a].alive)
        agent_start(w, (uint32_t)arg->a);
}

void faults_kill_agent(struct world *w, uint32_t which)
{
    if (!w->agents[which].alive)
        return;
    agent_crash(w, which);
    if (!w->profile.benign && sim_chance(w, 300))
        agent_lose_state(w, which);
    sim_at(w, MS(300) + sim_below(w, SEC(20)), on_agent_back)->a = which;
}

static void on_agent_crash(struct world *w, struct sim_arg *arg)
{
    faults_kill_agent(w, (uint32_t)arg->a);
}

static void on_runner_crash(struct world *w, struct sim_arg *arg)
{
    size_t first = (size_t)sim_below(w, SIM_RUNNERS_MAX);
    for (size_t at = 0; at < SIM_RUNNERS_MAX; at++) {
        struct sim_runner *r = &w->runners[(first + at) % SIM_RUNNERS_MAX];
        if (!r->alive)
            continue;
        sim_log(w, "a runner of agent %s dies", w->agents[r->agent].node);
        runner_end(w, r, 9);
        return;
    }
    if (arg->a < 5) { /* nobody there yet: once more */
        uint64_t tries = arg->a + 1;
        sim_at(w, SEC(2), on_runner_crash)->a = tries;
    }
}

static void on_partition(struct world *w, struct sim_arg *arg)
{
    struct sim_agent *a = &w->agents[arg->a];
    uint64_t length_us = w->profile.benign ? sim_below(w, SEC(4)) : sim_below(w, SEC(30));
    a->partition_until_us = w->now_us + length_us;
    sim_log(w, "agent %s is cut off for %.1f s", a->node, (double)length_us / 1e6);
}

static void on_session_lost(struct world *w, struct sim_arg *arg)
{
    sim_log(w, "agent %s loses a session", w->agents[arg->a].node);
    agent_lose_session(w, (uint32_t)arg->a);
}

static void on_storage_down(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    w->storage_down_until_us = w->now_us + sim_below(w, SEC(5));
    sim_log(w, "storage is away for a while");
}

static void on_store_fails(struct world *w, struct sim_arg *arg)
{
    w->store_fails = arg->a != 0;
    sim_log(w, arg->a != 0 ? "the state store is full" : "the state store is well again");
}

static void on_slow(struct world *w, struct sim_arg *arg)
{
    w->agents[arg->a].slow = 4 + (unsigned)sim_below(w, 20);
    sim_log(w, "agent %s becomes slow", w->agents[arg->a].node);
}

static void on_quick(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    for (uint32_t at = 0; at < w->profile.agents; at++) {
        w->agents[at].slow = 1;
        w->agents[at].partition_until_us = 0;
    }
    w->storage_down_until_us = 0;
    w->store_fails = false;
    sim_log(w, "faults stop");
}

static void on_want(struct world *w, struct sim_arg *arg)
{
    coord_want(w, arg->a != 0, arg->b != 0, false);
}

/* When everything is up again, every cluster must be able to make a backup. */
static void on_last_want(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    coord_want(w, false, false, true);
}

/* Somebody asks each job that failed to go on; what did not is refused. */
static void on_resume(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    for (size_t at = 0; at < w->want_count; at++)
        if (!w->wants[at].log)
            coord_resume(w, at);
}

static void on_unwant(struct world *w, struct sim_arg *arg)
{
    if (arg->a < w->want_count)
        coord_delete(w, arg->a);
}

/* ---- log backups ---- */

/* One that is not deleted, any of them; want_count: there is none. */
static size_t log_want(struct world *w)
{
    size_t first = (size_t)sim_below(w, w->want_count);
    for (size_t n = 0; n < w->want_count; n++) {
        size_t at = (first + n) % w->want_count;
        if (w->wants[at].log && !w->wants[at].deleted)
            return at;
    }
    return w->want_count;
}

/* Mostly of all of the cluster; else of each tenant its own, or of one alone. */
static void want_logs(struct world *w)
{
    size_t count = source_tenant_count(w);
    if (sim_chance(w, 600)) {
        coord_want_log(w, "");
        return;
    }
    size_t first = (size_t)sim_below(w, count);
    coord_want_log(w, source_tenant(first));
    if (count > 1 && sim_chance(w, 500))
        coord_want_log(w, source_tenant(1 - first));
}

static void on_want_log(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    want_logs(w);
}

static const char *const subcommands[] = {"log-start", "log-pause", "log-stop"};

/* a: into subcommands. What was stopped is stopped for good. */
static void on_wish_log(struct world *w, struct sim_arg *arg)
{
    size_t want = log_want(w);
    if (want < w->want_count && strcmp(w->wants[want].subcommand, "log-stop") != 0)
        coord_wish_log(w, want, subcommands[arg->a]);
}

/* a: until when */
static void on_truncate_log(struct world *w, struct sim_arg *arg)
{
    size_t want = log_want(w);
    if (want < w->want_count && w->wants[want].truncate_s < arg->a)
        coord_truncate_log(w, want, (unsigned)arg->a);
}

/* Its log can be read again: somebody asks, again and again, that it goes on. */
static void on_healed(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    for (size_t at = 0; at < w->want_count; at++)
        if (w->wants[at].log)
            coord_resume(w, at);
    if (w->now_us < w->profile.faults_until_us + 2 * FAULTS_CALM_US)
        sim_at(w, SEC(5), on_healed);
}

/* a: whether another one is wanted in its place */
static void on_unwant_log(struct world *w, struct sim_arg *arg)
{
    size_t want = log_want(w);
    if (want >= w->want_count)
        return;
    coord_delete(w, want);
    if (!arg->a)
        return;
    if (log_want(w) == w->want_count)
        want_logs(w);
    else /* the other tenant has its own */
        coord_want_log(w, w->wants[want].tenant);
}

/* A state that was lost or put back has forgotten wishes: they are told once more. */
void on_remind(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    for (size_t at = 0; at < w->want_count && w->rolled_back; at++) {
        struct sim_want *want = &w->wants[at];
        if (!want->log)
            continue;
        if (!want->deleted) {
            coord_wish_log(w, at, want->subcommand);
        } else if (want->delete_answered) {
            want->delete_answered = false;
            coord_delete(w, at);
        }
    }
}

/* The coordinator is away for long, the lead's agent is started meanwhile: it streams on alone. */
static void on_alone(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    for (uint32_t at = 0; at < SIM_COORDS_MAX; at++)
        coord_crash(w, at);
    sim_at(w, ALONE_US, on_coord_back);
    for (uint32_t at = 0; at < w->profile.agents; at++) {
        if (!w->agents[at].alive)
            continue;
        agent_crash(w, at);
        sim_at(w, SEC(1), on_agent_back)->a = at;
    }
    sim_at(w, ALONE_US - SEC(1), lineages_alone)->a = w->now_us + SEC(10);
}

/* The second tenant comes later; one tenant's log cannot be read any more. */
static void plan_tenants(struct world *w)
{
    struct sim_profile *p = &w->profile;
    if (sim_chance(w, 500))
        p->late_us = SEC(1) + sim_below(w, p->faults_until_us - SEC(1));
    if (!p->benign && sim_chance(w, 200)) {
        p->broken = source_tenant((size_t)sim_below(w, 2));
        p->broken_us = sim_below(w, p->faults_until_us);
        p->broken_fails = sim_chance(w, 500);
        if (sim_chance(w, 500)) {
            p->healed_us = p->broken_us + sim_below(w, SEC(20));
            sim_at(w, p->healed_us, on_healed);
        }
    }
}

static void plan_logs(struct world *w)
{
    struct sim_profile *p = &w->profile;
    if (p->tenants)
        plan_tenants(w);
    uint64_t at_us = sim_below(w, SEC(8));
    uint64_t last_us = p->faults_until_us;
    sim_at(w, SEC(1), lineages_watch);
    sim_at(w, at_us, on_want_log);
    sim_at(w, last_us + FAULTS_CALM_US - SEC(1), on_remind);
    /* when nothing else goes wrong, and the coordinator had time to hear of every tenant */
    if (!p->benign && p->late_us == 0 && sim_chance(w, 300))
        sim_at(w, last_us + SEC(2), on_alone);
    for (int promotions = 0; promotions < 3 && !p->benign; promotions++) {
        uint64_t agent = sim_below(w, p->agents);
        if (sim_chance(w, 600))
            sim_at(w, SEC(5) + sim_below(w, last_us - SEC(5)), source_promote)->a = agent;
    }
    for (uint64_t wish = 0; wish < sim_below(w, 4); wish++) {
        at_us += SEC(2) + sim_below(w, SEC(10));
        uint64_t which = sim_chance(w, 150) ? 2 : 1 - wish % 2;
        sim_at(w, at_us, on_wish_log)->a = which;
    }
    for (uint64_t at = 0; at < 2 && sim_chance(w, 300); at++) {
        uint64_t until_s = 1 + sim_below(w, 30);
        sim_at(w, at_us + sim_below(w, SEC(15)), on_truncate_log)->a = until_s;
    }
    if (sim_chance(w, 250)) {
        bool again = sim_chance(w, 700);
        sim_at(w, at_us + sim_below(w, SEC(15)), on_unwant_log)->a = again;
    }
}

struct fault {
    sim_fn fn;
    bool benign; /* may happen in a benign run */
    bool per_agent;
};

static const struct fault faults[] = {
    {on_coord_crash, true, false},  {on_coord_crash, true, false},  {on_runner_crash, true, false},
    {on_partition, true, true},     {on_slow, true, true},          {on_storage_down, true, false},
    {on_agent_crash, false, true},  {on_agent_crash, false, true},  {on_partition, false, true},
    {on_session_lost, false, true}, {on_store_fails, false, false}, {on_runner_crash, false, false},
};

static void plan_one(struct world *w, uint64_t at_us)
{
    const struct fault *fault;
    do
        fault = &faults[sim_below(w, TM_ARRAY_LEN(faults))];
    while (w->profile.benign && !fault->benign);
    uint32_t agent = fault->per_agent ? (uint32_t)sim_below(w, w->profile.agents) : 0;
    w->counts.faults++;
    if (fault->fn == on_store_fails) {
        sim_at(w, at_us, on_store_fails)->a = 1;
        sim_at(w, at_us + sim_below(w, SEC(5)), on_store_fails)->a = 0;
        return;
    }
    sim_at(w, at_us, fault->fn)->a = agent;
}

static void plan_wants(struct world *w)
{
    uint64_t count = 1 + sim_below(w, 3);
    for (uint64_t at = 0; at < count; at++) {
        struct sim_arg *arg = sim_at(w, sim_below(w, SEC(15)), on_want);
        arg->a = sim_chance(w, 150);
        arg->b = sim_chance(w, 400);
    }
    for (uint64_t at = 0; at < 3; at++)
        sim_at(w, SEC(10) + sim_below(w, SEC(40)), on_resume);
    if (sim_chance(w, 250)) {
        uint64_t which = sim_below(w, count);
        sim_at(w, SEC(5) + sim_below(w, SEC(40)), on_unwant)->a = which;
    }
}

void faults_plan(struct world *w)
{
    struct sim_profile *p = &w->profile;
    p->benign = sim_chance(w, 350);
    p->agents = 1 + (unsigned)sim_below(w, SIM_AGENTS_MAX);
    p->members = sim_chance(w, 600);
    p->real = sim_chance(w, 250) || w->always_real;
    p->loss = sim_chance(w, 500) ? (uint32_t)sim_below(w, p->benign ? 30 : 150) : 0;
    p->dup = sim_chance(w, 500) ? (uint32_t)sim_below(w, 100) : 0;
    p->delay_max_us = sim_chance(w, 500) ? MS(5) : MS(120);
    p->faults_until_us = SEC(20) + sim_below(w, SEC(20));
    p->logs = !p->members && sim_chance(w, 800);
    p->tenants = !p->real && p->agents > 1 && w->seed % 2 == 1;

    uint64_t count = sim_below(w, p->benign ? 5 : 9);
    for (uint64_t at = 0; at < count; at++)
        plan_one(w, SEC(1) + sim_below(w, p->faults_until_us - SEC(1)));
    sim_at(w, p->faults_until_us, on_quick);
    sim_at(w, SEC(5) + sim_below(w, SEC(20)), on_rebuild);
    sim_at(w, p->faults_until_us + FAULTS_CALM_US, on_last_want);
    sim_at(w, SEC(2) + sim_below(w, SEC(15)), on_store_saved);
    plan_wants(w);
    if (p->logs)
        plan_logs(w);
    w->registry = ram_registry_new();
    struct storage *st = NULL;
    struct tm_err err;
    if (w->registry == NULL || ram_open(w->registry, "depot", &st, &err) < 0)
        sim_die("storage", NULL);
    real_set_faults(w, st);
    storage_free(st);
}
