/*
 * Who should have what. The set of a node is made anew each time from what is durably true; its
 * revision grows when it may have changed, and a poll parked on an older one is answered at the end
 * of that step.
 */
#include "coordinator/brain/logs.h"

void desired_node_changed(struct brain *b, struct node *node)
{
    node->revision = ++b->revision;
    b->news = true;
}

void desired_changed(struct brain *b, const struct res *res)
{
    for (size_t at = 0; at < b->node_count; at++) {
        struct node *node = b->nodes[at];
        if (strcmp(node->cluster, res->now.rec.cluster) == 0 ||
            (res->spec != NULL && strcmp(node->cluster, res->view.cluster) == 0))
            desired_node_changed(b, node);
    }
}

/* Which secrets the job's agents need; "" = none is sent. A backup's are its spec's as it is now. */
static void secrets_of(const struct res *res, const char **ret, const char **ret_full)
{
    bool restore = res->view.kind == JOB_KIND_RESTORE;
    *ret = restore ? res->now.rec.secret : res->view.secret;
    *ret_full = restore ? res->now.rec.full_secret : "";
}

static bool needs_secret(const struct res *res, const char *name)
{
    const char *secret;
    const char *full;
    if (!res->exists)
        return false;
    /* a backup that is kept has no job any more, and the lead of a log looks into it */
    if (res->live == NULL && (res->spec == NULL || res->view.kind != JOB_KIND_BACKUP))
        return false;
    secrets_of(res, &secret, &full);
    return strcmp(secret, name) == 0 || strcmp(full, name) == 0;
}

void desired_secret(struct brain *b, const char *name)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        if (needs_secret(b->resources[at], name))
            desired_changed(b, b->resources[at]);
    }
    kept_secret(b, name);
}

static bool may_work(const struct res *res, const struct node *node)
{
    const struct record *rec = &res->now.rec;
    if (res->view.kind != JOB_KIND_BACKUP || strcmp(node->cluster, rec->cluster) != 0 ||
        job_excluded(res->live, node))
        return false;
    if (rec->step != JOB_STEP_RUN && rec->step != JOB_STEP_FINISH)
        return false;
    /* one that has it may keep results that nobody else has */
    return share_may_begin(res, node) || job_has_worker(res->live, node);
}

uint32_t desired_roles(const struct brain *b, const struct res *res, const struct node *node)
{
    (void)b;
    const struct record *rec = &res->now.rec;
    if (!res->exists || res->live == NULL)
        return 0;
    if (log_is(res))
        return log_roles(res, node);
    if (job_deleting(res)) {
        bool sweeps = job_must_sweep(res) && strcmp(node->cluster, rec->cluster) == 0 &&
                      strcmp(node->name, res->live->sweeper) == 0;
        return sweeps ? JOB_ROLE_LEAD : 0;
    }
    if (resume_sweeping(res)) {
        bool sweeps =
            strcmp(node->cluster, rec->cluster) == 0 && strcmp(node->name, res->live->sweeper) == 0;
        return sweeps ? JOB_ROLE_LEAD : 0;
    }
    if (rec->phase != PHASE_PREPARE && rec->phase != PHASE_RUNNING)
        return 0;
    if (job_is_lead(res, node))
        return res->view.kind == JOB_KIND_BACKUP ? JOB_ROLE_LEAD | JOB_ROLE_WORKER : JOB_ROLE_LEAD;
    return may_work(res, node) ? JOB_ROLE_WORKER : 0;
}

static void assign_params(struct brain *b, const struct res *res, struct msg_assignment *to)
{
    const struct record *rec = &res->now.rec;
    if (res->view.kind == JOB_KIND_BACKUP) {
        to->backup = brain_step_alloc(b, sizeof(*to->backup));
        if (to->backup == NULL)
            return;
        *to->backup = *res->view.backup;
        COPY_TEXT(to->backup->backup_id, rec->backup_id);
        to->backup->share_log = rec->share_log;
        to->backup->resume = rec->resumable;
        to->backup->grace_ms = job_deleting(res) ? rec->grace_ms : 0;
    } else {
        to->restore = brain_step_alloc(b, sizeof(*to->restore));
        if (to->restore == NULL)
            return;
        *to->restore = *res->view.restore;
        COPY_TEXT(to->restore->backup_id, rec->source_backup_id);
        COPY_TEXT(to->restore->source_cluster, rec->source_cluster);
        COPY_TEXT(to->restore->source_tenant, rec->tenant);
        to->restore->full_storage = rec->full_storage;
    }
}

/* By name: who sends it knows what it holds. */
struct msg_secret *desired_secret_named(struct brain *b, const char *name)
{
    struct msg_secret *secret = name[0] != '\0' ? brain_step_alloc(b, sizeof(*secret)) : NULL;
    if (secret != NULL)
        COPY_TEXT(secret->name, name);
    return secret;
}

static void assign(struct brain *b, const struct res *res, const struct node *node, uint32_t roles,
                   struct msg_assignment *to)
{
    const struct record *rec = &res->now.rec;
    bool deleting = job_deleting(res);
    COPY_TEXT(to->uid, rec->job);
    to->attempt = rec->attempt;
    to->kind = deleting ? JOB_KIND_DELETE : res->view.kind;
    to->roles = roles;
    to->step = deleting ? JOB_STEP_RUN : rec->step;
    COPY_TEXT(to->boot,
              (roles & JOB_ROLE_LEAD) && !deleting && !log_is(res) ? rec->boot : node->boot);
    COPY_TEXT(to->cluster, rec->cluster);
    COPY_TEXT(to->tenant, rec->tenant);
    COPY_TEXT(to->identity, rec->identity);
    to->name = rec->name;
    to->storage = rec->storage != NULL ? rec->storage : "";
    to->plan_gen = res->live->table.gen;
    to->plan_have = (uint32_t)res->live->table.count;
    to->plan_done = res->live->table.complete;
    const char *secret;
    const char *full;
    secrets_of(res, &secret, &full);
    to->secret = desired_secret_named(b, secret);
    to->full_secret = desired_secret_named(b, full);
    if (log_is(res))
        log_assign(b, res, node, roles, to);
    else
        assign_params(b, res, to);
}

/* Jobs that the node leads first: they must never be crowded out by those it only helps with. */
static size_t assign_all(struct brain *b, const struct node *node, bool leads,
                         struct msg_assignment *jobs, size_t count)
{
    for (size_t at = 0; at < b->lists.given_count && count < WIRE_JOBS_MAX; at++) {
        const struct res *res = b->lists.given[at];
        uint32_t roles = desired_roles(b, res, node);
        if (roles != 0 && ((roles & JOB_ROLE_LEAD) != 0) == leads)
            assign(b, res, node, roles, &jobs[count++]);
    }
    return count;
}

void desired_reply(struct brain *b, struct node *node, uint64_t ctx, uint64_t serial)
{
    struct msg_assignment *jobs = brain_step_alloc(b, WIRE_JOBS_MAX * sizeof(*jobs));
    struct message *m = brain_reply(b, node->conn, ctx, serial, MESSAGE_desired);
    if (jobs == NULL || m == NULL)
        return;
    m->desired.revision = node->revision;
    m->desired.lease_ms = b->config.lease_ms;
    m->desired.jobs_count = assign_all(b, node, true, jobs, 0);
    m->desired.jobs_count = assign_all(b, node, false, jobs, m->desired.jobs_count);
    m->desired.jobs = jobs;
    m->desired.keep = rebuild_keep(b);
    m->desired.state_revision = b->state_revision;
    probes_assign(b, node, &m->desired);
    intents_assign(b, node, &m->desired);
    rebuild_assign(b, node, &m->desired);
}

static void answer_parked(struct brain *b, struct node *node)
{
    node->parked = false;
    desired_reply(b, node, node->parked_ctx, node->parked_serial);
}

static void supersede(struct brain *b, struct node *node)
{
    if (node->heard) {
        answer_parked(b, node);
        return;
    }
    struct tm_err err; /* a set made now would lack what the agent has not told yet */
    (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "another poll came before the first heartbeat");
    node->parked = false;
    brain_reply_error(b, node->conn, node->parked_ctx, node->parked_serial, &err);
}

void desired_poll(struct brain *b, struct node *node, uint64_t ctx, uint64_t serial,
                  const struct msg_poll *poll)
{
    if (node->parked) /* one at most: the newer takes its place */
        supersede(b, node);
    /* before its first heartbeat it is not known what the agent has and could work on: an answer
     * would make it drop jobs that are its own */
    if (node->heard && (poll->term != b->term || poll->revision < node->revision)) {
        desired_reply(b, node, ctx, serial);
        return;
    }
    node->parked = true;
    node->parked_ctx = ctx;
    node->parked_serial = serial;
    node->parked_until_us = b->now.mono_us + brain_ms(b->config.poll_ms);
    node->parked_revision = poll->term == b->term ? poll->revision : 0;
}

void desired_tick(struct brain *b)
{
    if (!b->look_all && !b->news)
        return;
    b->news = false;
    for (size_t at = 0; at < b->node_count; at++) {
        struct node *node = b->nodes[at];
        bool due =
            node->revision > node->parked_revision || b->now.mono_us >= node->parked_until_us;
        if (node->parked && node->heard && due)
            answer_parked(b, node);
    }
}
