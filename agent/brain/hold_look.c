/*
 * Looking which holds there are at the sources: how much log they keep, for those who ask, and whether
 * one is there of which this agent has no record.
 *
 * Happy path: every few minutes, every few seconds while there are holds, the instance is asked for the
 * names that begin with what this cluster's and tenant's do → each has its record, and what it keeps goes
 * into the heartbeats.
 *
 * Failure modes: one has no record (state_dir was lost, or put back; the data directory is a copy of one
 * that had it): it gets one, durable, without a backup, and is dropped when its time has passed like
 * every other, unless somebody goes on with its backup. It may be another agent's, by mistake: as long
 * as it moves it is somebody's, and its time begins anew. Names of others, of other clusters and
 * tenants too, are never touched. The instance cannot be asked: nothing is said of bytes, and nothing of
 * holds that might be gone.
 */
#include "agent/brain/internal.h"

#include <stdio.h>

#define QUIET_US UINT64_C(120000000) /* between two looks at an instance without holds … */
#define BUSY_US  UINT64_C(10000000)  /* … and at one with some, or that did not answer */
#define LATE_US  UINT64_C(15000000)  /* what a look said is old when the next one takes so long */

/* Found ones leave this much room to those that are needed; the next look sees them again. */
#define FOUND_MAX (AGENT_BRAIN_HOLDS_MAX / 2)

_Static_assert(WIRE_HOLDS_MAX == AGENT_BRAIN_HOLDS_MAX, "a heartbeat tells of all holds");

static bool is_found(const struct hold *hold)
{
    return hold->rec.backup_id[0] == '\0';
}

/* As hold.c makes them, of this very cluster and tenant. */
static bool is_own(const struct agent_brain *b, const char *tenant, const char *name)
{
    char prefix[HOLD_PREFIX_LEN + 1];
    agent_hold_prefix(b->config.cluster, tenant, prefix);
    return strncmp(name, prefix, HOLD_PREFIX_LEN) == 0 && strlen(name) == HOLD_PREFIX_LEN + 16 &&
           strspn(name + HOLD_PREFIX_LEN, "0123456789abcdef") == 16;
}

static struct hold_look *look_of(struct agent_brain *b, const char *tenant)
{
    for (size_t at = 0; at < b->config.instance_count; at++) {
        if (strcmp(b->instances[at].config.tenant, tenant) == 0)
            return &b->instances[at].look;
    }
    return NULL;
}

void agent_hold_look_soon(struct agent_brain *b, const char *tenant)
{
    struct hold_look *look = look_of(b, tenant);
    if (look != NULL && !look->out)
        look->next_us = TM_MIN(look->next_us, b->now.mono_us + BUSY_US);
}

void agent_hold_look_stale(struct agent_brain *b, const char *tenant)
{
    struct hold_look *look = look_of(b, tenant);
    if (look != NULL && look->out)
        look->stale = true;
}

/* ---- what was found ---- */

/* Nothing said before is known any more. */
static void unsee(struct agent_brain *b, const char *tenant)
{
    for (size_t at = 0; at < b->hold_count; at++) {
        if (strcmp(b->holds[at].rec.tenant, tenant) == 0)
            b->holds[at].seen = false;
    }
}

/* True: a record is new. */
static bool take_up(struct agent_brain *b, const char *tenant, const char *name)
{
    if (b->hold_count >= FOUND_MAX || b->config.plant == AGENT_PLANT_BLIND)
        return false;
    struct hold *hold = &b->holds[b->hold_count++];
    *hold = (struct hold){.rec = {.since_us = b->now.real_us,
                                  .renewed_us = b->now.real_us,
                                  .ttl_s = b->config.found_ttl_s},
                          .next_us = b->now.mono_us};
    (void)snprintf(hold->rec.name, sizeof(hold->rec.name), "%s", name);
    (void)snprintf(hold->rec.tenant, sizeof(hold->rec.tenant), "%s", tenant);
    agent_log(
        b, NULL, 4, AGENT_LOG_PLAIN,
        "hold '%s' of tenant '%s' keeps log, and there is no record of it: it is dropped in %u "
        "s unless somebody goes on with its backup",
        name, tenant, hold->rec.ttl_s);
    return true;
}

/* True: its record is another. */
static bool see(struct agent_brain *b, struct hold *hold, const struct agent_hold_found *found)
{
    bool moves = is_found(hold) && hold->from != 0 && found->from > hold->from && !hold->dropping;
    if (moves)
        hold->rec.renewed_us = b->now.real_us; /* somebody works under it */
    hold->seen = true;
    hold->from = found->from;
    hold->bytes = found->bytes;
    hold->lost = found->lost;
    return moves;
}

/* Found once, and gone by itself: there is nothing to be dropped. */
static bool forget_gone(struct agent_brain *b, const char *tenant)
{
    bool some = false;
    for (size_t at = b->hold_count; at-- > 0;) {
        struct hold *hold = &b->holds[at];
        if (hold->seen || !is_found(hold) || hold->drop_out ||
            strcmp(hold->rec.tenant, tenant) != 0)
            continue;
        agent_hold_forget(b, hold);
        some = true;
    }
    return some;
}

static bool has_holds(const struct agent_brain *b, const char *tenant)
{
    for (size_t at = 0; at < b->hold_count; at++) {
        if (strcmp(b->holds[at].rec.tenant, tenant) == 0)
            return true;
    }
    return false;
}

void agent_holds_listed(struct agent_brain *b, const struct agent_event *event)
{
    if (event->holds_listed.instance >= b->config.instance_count)
        return;
    struct instance *instance = &b->instances[event->holds_listed.instance];
    const char *tenant = instance->config.tenant;
    bool stale = instance->look.stale, changed = false;
    unsee(b, tenant);
    for (size_t at = 0; at < event->holds_listed.count && event->holds_listed.err == NULL; at++) {
        const struct agent_hold_found *found = &event->holds_listed.holds[at];
        if (!is_own(b, tenant, found->name))
            continue;
        if (agent_hold_find(b, found->name) == NULL && !stale)
            changed = take_up(b, tenant, found->name) || changed;
        struct hold *hold = agent_hold_find(b, found->name);
        if (hold != NULL)
            changed = see(b, hold, found) || changed;
    }
    if (event->holds_listed.err == NULL && !event->holds_listed.more)
        changed = forget_gone(b, tenant) || changed;
    if (changed)
        agent_holds_keep(b);
    bool busy = event->holds_listed.err != NULL || has_holds(b, tenant);
    instance->look = (struct hold_look){.next_us = b->now.mono_us + (busy ? BUSY_US : QUIET_US)};
}

/* ---- time ---- */

static bool may_look(const struct agent_brain *b, const struct instance *instance)
{
    return (instance->config.caps & INSTANCE_CAP_HOLD) != 0 && !b->stopping;
}

void agent_hold_looks_tick(struct agent_brain *b)
{
    for (size_t at = 0; at < b->config.instance_count; at++) {
        struct instance *instance = &b->instances[at];
        struct hold_look *look = &instance->look;
        if (!may_look(b, instance) || b->now.mono_us < look->next_us)
            continue;
        if (look->out) {
            unsee(b, instance->config.tenant);
            look->next_us = UINT64_MAX;
            continue;
        }
        char prefix[HOLD_PREFIX_LEN + 1];
        agent_hold_prefix(b->config.cluster, instance->config.tenant, prefix);
        const char *text = agent_step_text(b, prefix);
        struct agent_action *action = agent_emit(b, AGENT_ACT_HOLD_LIST);
        action->hold_list.instance = at;
        action->hold_list.prefix = text;
        *look = (struct hold_look){.out = true, .next_us = b->now.mono_us + LATE_US};
    }
}

uint64_t agent_hold_looks_next_us(const struct agent_brain *b)
{
    uint64_t next = UINT64_MAX;
    for (size_t at = 0; at < b->config.instance_count; at++) {
        if (may_look(b, &b->instances[at]))
            next = TM_MIN(next, b->instances[at].look.next_us);
    }
    return next;
}

/* ---- the heartbeat ---- */

static enum hold_state state_of(const struct agent_brain *b, const struct hold *hold)
{
    if (hold->dropping)
        return HOLD_DROPPING;
    return agent_hold_in_use(b, hold) ? HOLD_IN_USE : HOLD_WAITING;
}

void agent_holds_report(struct agent_brain *b, struct msg_heartbeat *to)
{
    if (b->hold_count == 0)
        return;
    struct msg_hold *list = agent_step_alloc(b, b->hold_count * sizeof(*list));
    if (list == NULL)
        return;
    for (size_t at = 0; at < b->hold_count; at++) {
        const struct hold *hold = &b->holds[at];
        struct msg_hold *one = &list[at];
        *one = (struct msg_hold){.state = state_of(b, hold),
                                 .since_us = hold->rec.since_us,
                                 .seen = hold->seen,
                                 .bytes = hold->seen ? hold->bytes : 0,
                                 .lost = hold->seen && hold->lost};
        (void)snprintf(one->name, sizeof(one->name), "%s", hold->rec.name);
        (void)snprintf(one->tenant, sizeof(one->tenant), "%s", hold->rec.tenant);
        (void)snprintf(one->backup_id, sizeof(one->backup_id), "%s", hold->rec.backup_id);
        if (one->state == HOLD_WAITING)
            one->until_us = hold->rec.renewed_us + (int64_t)hold->rec.ttl_s * 1000000;
    }
    to->holds = list;
    to->holds_count = b->hold_count;
}
