/*
 * The databases and their log, of each tenant its own. One primary writes one byte a millisecond; standbys
 * are a little behind. A promotion makes a branch at what the standby has; the old primary is gone at once, or
 * goes on for a while and does not know, before it follows the new branch.
 */
#include "tests/sim/sim.h"

#include <inttypes.h>

#define LAG_US     MS(150)
#define BASE_BYTES 7000 /* the second tenant's log is so far ahead: what is mixed up shows */

static const char *const tenants[SIM_TENANTS_MAX] = {"main", "second"};

size_t source_tenant_count(const struct world *w)
{
    return w->profile.tenants ? TM_ARRAY_LEN(tenants) : 1;
}

const char *source_tenant(size_t which)
{
    return tenants[which];
}

bool source_was_broken(const struct world *w, const char *tenant)
{
    return w->profile.broken != NULL && w->now_us >= w->profile.broken_us &&
           strcmp(w->profile.broken, tenant) == 0;
}

bool source_broken(const struct world *w, const char *tenant)
{
    uint64_t healed_us = w->profile.healed_us;
    return source_was_broken(w, tenant) && (healed_us == 0 || w->now_us < healed_us);
}

int64_t *source_truncated(struct world *w, const char *tenant)
{
    size_t at = 0;
    while (at + 1 < SIM_TENANTS_MAX && strcmp(tenants[at], tenant) != 0)
        at++;
    return &w->truncated_us[at];
}

void source_start(struct world *w)
{
    size_t count = source_tenant_count(w);
    for (uint32_t at = 0; at < count; at++)
        w->branches[at] =
            (struct sim_branch){.tenant = tenants[at], .root = true, .fork = at * BASE_BYTES};
    w->branch_count = count;
    for (uint32_t at = 0; at < w->profile.agents; at++) {
        struct sim_agent *a = &w->agents[at];
        a->tenant = tenants[at % count];
        a->db = (struct sim_db){.primary = at < count, .branch = at % (uint32_t)count};
    }
}

uint64_t source_flushed(const struct world *w, uint32_t branch, uint64_t at_us)
{
    const struct sim_branch *b = &w->branches[branch];
    if (b->until_us != 0)
        at_us = TM_MIN(at_us, b->until_us);
    return b->fork + (at_us > b->since_us ? (at_us - b->since_us) / 1000 : 0);
}

uint64_t source_node_flushed(const struct world *w, const struct sim_agent *a)
{
    uint64_t lag_us = a->db.primary ? 0 : LAG_US;
    return source_flushed(w, a->db.branch, w->now_us > lag_us ? w->now_us - lag_us : 0);
}

/* The branch that wrote the byte at `at`. */
static uint32_t owner(const struct world *w, uint32_t branch, uint64_t at)
{
    while (!w->branches[branch].root && at < w->branches[branch].fork)
        branch = w->branches[branch].parent;
    return branch;
}

uint64_t source_same_until(const struct world *w, uint32_t a, uint32_t b)
{
    const char *tenant = w->branches[a].tenant;
    uint64_t until = UINT64_MAX;
    if (tenant != w->branches[b].tenant)
        return 0;
    for (uint32_t at = 0; at < w->branch_count; at++) {
        uint64_t fork = w->branches[at].fork; /* only there can they part */
        if (w->branches[at].root || w->branches[at].tenant != tenant)
            continue;
        if (owner(w, a, fork) != owner(w, b, fork))
            until = TM_MIN(until, fork);
    }
    return until;
}

/* a: agent, b: branch */
static void on_follow(struct world *w, struct sim_arg *arg)
{
    struct sim_agent *a = &w->agents[arg->a];
    struct sim_branch *left = &w->branches[a->db.branch];
    if (left->until_us == 0)
        left->until_us = w->now_us;
    a->db = (struct sim_db){.branch = (uint32_t)arg->b};
    sim_log(w, "database of %s follows branch %" PRIu64, a->node, arg->b);
}

static struct sim_agent *primary_of(struct world *w, const char *tenant)
{
    struct sim_agent *primary = NULL;
    for (uint32_t at = 0; at < w->profile.agents; at++) {
        if (w->agents[at].db.primary && w->agents[at].tenant == tenant) {
            if (primary != NULL)
                return NULL; /* two: one change at a time */
            primary = &w->agents[at];
        }
    }
    return primary;
}

/* a: of which node, if it is a standby */
void source_promote(struct world *w, struct sim_arg *arg)
{
    struct sim_agent *a = &w->agents[arg->a];
    struct sim_agent *old = primary_of(w, a->tenant);
    if (old == NULL || a == old || old->db.down || w->branch_count == SIM_BRANCHES_MAX)
        return;
    uint32_t branch = (uint32_t)w->branch_count++;
    uint64_t fork = source_node_flushed(w, a);
    w->branches[branch] = (struct sim_branch){
        .tenant = a->tenant, .parent = a->db.branch, .fork = fork, .since_us = w->now_us};
    bool unaware = sim_chance(w, 400);
    sim_log(w, "database of %s is promoted: branch %u from %" PRIu64 "; that of %s %s", a->node,
            branch, fork, old->node, unaware ? "does not know" : "is down");
    a->db = (struct sim_db){.branch = branch, .primary = true};
    if (!unaware) {
        old->db.down = true;
        w->branches[old->db.branch].until_us = w->now_us;
    }
    for (uint32_t at = 0; at < w->profile.agents; at++) {
        if (&w->agents[at] == a || w->agents[at].tenant != a->tenant)
            continue;
        uint64_t pause_us = &w->agents[at] == old ? SEC(1) + sim_below(w, SEC(6)) : 0;
        struct sim_arg *follow = sim_at(w, pause_us, on_follow);
        follow->a = at;
        follow->b = branch;
    }
}
