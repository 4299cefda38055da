/*
 * Holds of snapshots: log that a source keeps although the session that began the backup may be lost,
 * so that a later attempt can go on.
 *
 * Happy path: taken and durable before the session begins → renewed while this agent leads the job →
 * released, and dropped at the source, when the backup is committed or swept. A later attempt takes the
 * same one: its name follows from the backup's.
 *
 * Failure modes: the job ends some other way, or the agent is away: nobody renews the hold, and when its
 * time has passed it is dropped, with a line in the log; a coordinator that is away lets nothing expire.
 * The source cannot be asked: the drop is tried again until it works. An attempt that comes while a hold is
 * being dropped waits until it is known whether it is gone. A hold is never dropped that is not
 * in the list, and never made that is not in it. What the list has lost all the same, hold_look.c finds.
 */
#include "agent/brain/internal.h"

#include "common/hash.h"

#include <stdio.h>

CODEC_DEFINE(agent_hold, "hold", AGENT_HOLD_FIELDS);

#define RENEW_US         UINT64_C(60000000)
#define DROP_PAUSE_US    UINT64_C(5000000)
#define SESSION_PAUSE_US UINT64_C(200000)
#define LOOK_US          UINT64_C(10000000) /* how often it is looked whether one has expired */

/* PostgreSQL takes 63 bytes of a-z, 0-9 and _. Whose it is: eight digits of cluster and tenant, sixteen
 * of the backup. */
void agent_hold_prefix(const char *cluster, const char *tenant,
                       char ret[static HOLD_PREFIX_LEN + 1])
{
    char text[2 * WIRE_NAME_MAX + 8];
    int len = snprintf(text, sizeof(text), "%s/%s", cluster, tenant);
    struct xxh3_128 installation = xxh3_128_of(text, (size_t)len);
    (void)snprintf(ret, HOLD_PREFIX_LEN + 1, "tidemark_b_%08x_", be32_get(installation.bytes));
}

static void name_of(const struct agent_brain *b, const struct job *job, char ret[static 64])
{
    bool own = b->config.plant == AGENT_PLANT_OTHER_HOLD;
    char text[2 * WIRE_NAME_MAX + WIRE_UID_MAX + WIRE_ID_MAX + 8];
    int len = snprintf(text, sizeof(text), "%s/%s/%s", job->want.cluster, job->want.tenant,
                       own ? job->want.uid : job->want.backup->backup_id);
    struct xxh3_128 backup = xxh3_128_of(text, (size_t)len);
    agent_hold_prefix(job->want.cluster, job->want.tenant, ret);
    (void)snprintf(ret + HOLD_PREFIX_LEN, 64 - HOLD_PREFIX_LEN, "%016llx",
                   (unsigned long long)be64_get(backup.bytes));
}

struct hold *agent_hold_find(struct agent_brain *b, const char *name)
{
    for (size_t at = 0; at < b->hold_count; at++) {
        if (strcmp(b->holds[at].rec.name, name) == 0)
            return &b->holds[at];
    }
    return NULL;
}

const struct agent_hold *agent_holds_list(struct agent_brain *b, size_t *ret_count)
{
    struct agent_hold *list = agent_step_alloc(b, (b->hold_count + 1) * sizeof(*list));
    for (size_t at = 0; list != NULL && at < b->hold_count; at++)
        list[at] = b->holds[at].rec;
    *ret_count = list != NULL ? b->hold_count : 0;
    return list;
}

/* Often enough that little of its time has passed when its owner ends. */
static uint64_t renew_pause_us(const struct hold *hold)
{
    return TM_MIN(RENEW_US, (uint64_t)hold->rec.ttl_s * 1000000 / 4);
}

void agent_holds_keep(struct agent_brain *b)
{
    size_t count;
    const struct agent_hold *list = agent_holds_list(b, &count);
    struct agent_action *action = agent_emit(b, AGENT_ACT_STORE_HOLDS);
    action->store_holds.holds = list;
    action->store_holds.count = count;
}

const struct agent_hold *agent_hold_take(struct agent_brain *b, struct job *job)
{
    char name[64];
    if (job->instance == SIZE_MAX || !(b->instances[job->instance].config.caps & INSTANCE_CAP_HOLD))
        return NULL;
    name_of(b, job, name);
    struct hold *hold = agent_hold_find(b, name);
    if (hold == NULL && b->hold_count == AGENT_BRAIN_HOLDS_MAX) {
        struct tm_err err;
        (void)tm_err_set(&err, TM_E_LIMIT, "this agent keeps %d holds already",
                         AGENT_BRAIN_HOLDS_MAX);
        agent_job_fail(b, job, &err, "hold");
        return NULL;
    }
    if (hold == NULL) {
        hold = &b->holds[b->hold_count++];
        *hold = (struct hold){.rec = {.since_us = b->now.real_us}};
        memcpy(hold->rec.name, name, sizeof(name));
    }
    /* one that was found has its owner now */
    memcpy(hold->rec.tenant, job->want.tenant, sizeof(hold->rec.tenant));
    memcpy(hold->rec.backup_id, job->want.backup->backup_id, sizeof(hold->rec.backup_id));
    agent_hold_look_soon(b, job->want.tenant);
    hold->rec.ttl_s = job->want.backup->gcttl_s != 0 ? job->want.backup->gcttl_s : AGENT_HOLD_TTL_S;
    hold->rec.renewed_us = b->now.real_us;
    hold->dropping = false;
    hold->next_us = b->now.mono_us + renew_pause_us(hold);
    return &hold->rec;
}

bool agent_hold_is_leaving(struct agent_brain *b, const struct job *job)
{
    char name[64];
    if (!job->want.backup->checkpoint)
        return false;
    name_of(b, job, name);
    const struct hold *hold = agent_hold_find(b, name);
    return hold != NULL && hold->drop_out;
}

void agent_hold_release(struct agent_brain *b, const struct job *job)
{
    char name[64];
    if (job->want.backup == NULL)
        return;
    name_of(b, job, name);
    struct hold *hold = agent_hold_find(b, name);
    if (hold == NULL || hold->dropping)
        return;
    hold->dropping = true;
    hold->next_us = b->now.mono_us;
}

/* ---- time ---- */

static bool is_of(const struct job *job, const struct hold *hold)
{
    return job->want.kind == JOB_KIND_BACKUP &&
           strcmp(job->want.backup->backup_id, hold->rec.backup_id) == 0 &&
           strcmp(job->want.tenant, hold->rec.tenant) == 0;
}

bool agent_hold_in_use(const struct agent_brain *b, const struct hold *hold)
{
    for (size_t at = 0; at < b->job_count; at++) {
        const struct job *job = b->jobs[at];
        if (is_of(job, hold) && agent_job_is_lead(job) && !job->dropping &&
            job->stage < JOB_STAGE_COMMITTED)
            return true;
    }
    return false;
}

/* A session that began under it is not closed yet. */
static bool session_is_up(const struct agent_brain *b, const struct hold *hold)
{
    for (size_t at = 0; at < b->job_count; at++) {
        const struct job *job = b->jobs[at];
        if (is_of(job, hold) && job->session != SESSION_NONE && job->session != SESSION_CLOSED)
            return true;
    }
    return false;
}

static void expire(struct agent_brain *b, struct hold *hold)
{
    int64_t until_us = hold->rec.renewed_us + (int64_t)hold->rec.ttl_s * 1000000;
    hold->next_us = b->now.mono_us + LOOK_US;
    if (b->now.real_us < until_us)
        return;
    if (hold->rec.backup_id[0] != '\0')
        agent_log(b, NULL, 4, AGENT_LOG_PLAIN,
                  "hold '%s' of backup '%s', tenant '%s', is given up: nobody went on with the "
                  "backup for %u s",
                  hold->rec.name, hold->rec.backup_id, hold->rec.tenant, hold->rec.ttl_s);
    else
        agent_log(b, NULL, 4, AGENT_LOG_PLAIN,
                  "hold '%s' of tenant '%s' is dropped: there is no record of it, and nobody went "
                  "on with its backup for %u s",
                  hold->rec.name, hold->rec.tenant, hold->rec.ttl_s);
    hold->dropping = true;
    hold->next_us = b->now.mono_us;
}

static size_t instance_of(const struct agent_brain *b, const char *tenant)
{
    for (size_t at = 0; at < b->config.instance_count; at++) {
        if (strcmp(b->instances[at].config.tenant, tenant) == 0)
            return at;
    }
    return SIZE_MAX;
}

static void drop(struct agent_brain *b, struct hold *hold)
{
    size_t instance = instance_of(b, hold->rec.tenant);
    if (session_is_up(b, hold)) {
        hold->next_us = b->now.mono_us + SESSION_PAUSE_US;
        return;
    }
    hold->next_us = b->now.mono_us + DROP_PAUSE_US;
    if (instance == SIZE_MAX)
        return; /* the tenant is not configured any more: it may be again */
    const char *name = agent_step_text(b, hold->rec.name);
    struct agent_action *action = agent_emit(b, AGENT_ACT_HOLD_DROP);
    action->hold_drop.instance = instance;
    action->hold_drop.name = name;
    hold->drop_out = true;
}

void agent_holds_tick(struct agent_brain *b)
{
    bool renewed = false;
    for (size_t at = 0; at < b->hold_count; at++) {
        struct hold *hold = &b->holds[at];
        if (hold->drop_out || b->now.mono_us < hold->next_us)
            continue;
        if (hold->dropping) {
            drop(b, hold);
        } else if (agent_hold_in_use(b, hold)) {
            hold->rec.renewed_us = b->now.real_us;
            hold->next_us = b->now.mono_us + renew_pause_us(hold);
            renewed = true;
        } else {
            expire(b, hold);
            if (hold->dropping)
                drop(b, hold);
        }
    }
    if (renewed)
        agent_holds_keep(b);
}

void agent_hold_forget(struct agent_brain *b, struct hold *hold)
{
    size_t at = (size_t)(hold - b->holds);
    memmove(hold, hold + 1, (b->hold_count - at - 1) * sizeof(*hold));
    b->hold_count--;
}

void agent_hold_dropped(struct agent_brain *b, const struct agent_event *event)
{
    struct hold *hold = agent_hold_find(b, event->hold_dropped.name);
    if (hold == NULL)
        return;
    hold->drop_out = false;
    if (event->hold_dropped.err != NULL) {
        agent_log(b, NULL, 4, AGENT_LOG_PLAIN, "hold '%s' cannot be dropped yet: %s",
                  hold->rec.name, event->hold_dropped.err->msg);
        return;
    }
    agent_hold_look_stale(b, hold->rec.tenant);
    agent_hold_forget(b, hold);
    agent_holds_keep(b);
}

uint64_t agent_holds_next_us(const struct agent_brain *b)
{
    uint64_t next = UINT64_MAX;
    for (size_t at = 0; at < b->hold_count; at++) {
        if (!b->holds[at].drop_out)
            next = TM_MIN(next, b->holds[at].next_us);
    }
    return next;
}
