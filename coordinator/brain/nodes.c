/*
 * Agents: who is connected, when each last spoke, what instances it sees.
 *
 * An agent that has seen a newer term than ours, or the same term from another start, tells that
 * this coordinator's state was lost or rolled back: nobody is welcomed until that is written down and a
 * higher term is durable, so that epochs never repeat, and nothing that was forgotten is ended. So does one
 * that has seen a life, or a change, that is not in this state's past (lives.c); then our term is high enough.
 *
 * Two agents that were given one name would push each other out for ever, each time ending the
 * other's jobs. So another life of a node is let in at once when the connection before it is closed
 * or silent; when it spoke a moment ago, it is awaited: if it speaks again, two agents live and the
 * newcomer is refused. An agent that was killed and started again waits at most CONTEST_US, and only
 * where the transport did not tell that its predecessor's connection ended.
 */
#include "coordinator/brain/parts.h"

#include "common/array.h"

#include <stdio.h>

#define WAITING_MAX    BRAIN_NODES_MAX
#define HANG_UP_LEASES 3       /* silent for so many lease times: its connection is closed */
#define CONTEST_US     3500000 /* three heartbeats, and some: silent for so long is dead */
#define SETTLE_US      500000  /* what a dead agent had sent is read by then */

void node_free(struct node *node)
{
    if (node == NULL)
        return;
    codec_arena_release(&node->arena);
    free(node);
}

static int compare(const struct node *node, const char *cluster, const char *name)
{
    int order = strcmp(node->cluster, cluster);
    return order != 0 ? order : strcmp(node->name, name);
}

static size_t position(const struct brain *b, const char *cluster, const char *name)
{
    size_t low;
    ARRAY_LOWER_BOUND(low, b->node_count, at, compare(b->nodes[at], cluster, name) < 0);
    return low;
}

struct node *node_find(const struct brain *b, const char *cluster, const char *name)
{
    size_t at = position(b, cluster, name);
    return at < b->node_count && compare(b->nodes[at], cluster, name) == 0 ? b->nodes[at] : NULL;
}

struct node *node_of_conn(const struct brain *b, uint64_t conn)
{
    return idmap_get(&b->conns, conn);
}

/* 0 = it has none any more. */
static void set_conn(struct brain *b, struct node *node, uint64_t conn)
{
    (void)idmap_remove(&b->conns, node->conn);
    node->conn = conn;
    if (conn != 0)
        brain_check(b, idmap_put(&b->conns, conn, node, b->err));
}

const struct msg_instance *node_instance(const struct node *node, const char *tenant)
{
    for (size_t at = 0; at < node->instance_count; at++) {
        if (strcmp(node->instances[at].tenant, tenant) == 0)
            return &node->instances[at];
    }
    return NULL;
}

static struct node *node_add(struct brain *b, const char *cluster, const char *name)
{
    if (ARRAY_ROOM(b->nodes, b->node_count, b->node_cap, 16, b->err) < 0) {
        brain_check(b, -1);
        return NULL;
    }
    struct node *node = calloc(1, sizeof(*node));
    if (node == NULL) {
        brain_check(b, tm_err_oom(b->err));
        return NULL;
    }
    (void)snprintf(node->cluster, sizeof(node->cluster), "%s", cluster);
    (void)snprintf(node->name, sizeof(node->name), "%s", name);
    node->id = ++b->next_node_id;
    size_t at = position(b, cluster, name);
    memmove(&b->nodes[at + 1], &b->nodes[at], (b->node_count - at) * sizeof(struct node *));
    b->nodes[at] = node;
    b->node_count++;
    return node;
}

static void drop_leases(struct brain *b, const struct node *node)
{
    for (size_t at = 0; at < b->lists.busy_count; at++) {
        if (b->lists.busy[at]->live != NULL)
            table_drop_node(&b->lists.busy[at]->live->table, node->id);
    }
}

/* A new life of the agent: what the old one held is free at once. */
static void new_life(struct brain *b, struct node *node, const char *boot)
{
    if (strcmp(node->boot, boot) == 0)
        return;
    (void)snprintf(node->boot, sizeof(node->boot), "%s", boot);
    node->heartbeat_serial = 0;
    node->job_count = 0;
    drop_leases(b, node);
}

static void refuse(struct brain *b, uint64_t conn, uint64_t ctx, const struct tm_err *err)
{
    struct brain_action *action = brain_emit(b, BRAIN_ACT_REFUSE);
    action->refuse.conn = conn;
    action->refuse.ctx = ctx;
    action->refuse.err = brain_step_err(b, err);
}

enum claim {
    CLAIM_FREE,      /* nobody else bears the name, or a dead one */
    CLAIM_UNDECIDED, /* another agent bore it a moment ago */
    CLAIM_TAKEN,     /* and has spoken since */
};

static enum claim claim_of(const struct brain *b, const struct waiting_up *up)
{
    const struct node *node = node_find(b, up->cluster, up->node);
    if (node == NULL || node->conn == 0 || strcmp(node->boot, up->boot) == 0)
        return CLAIM_FREE;
    if (b->now.mono_us - node->seen_us >= CONTEST_US)
        return CLAIM_FREE;
    return node->seen_us > up->arrived_us + SETTLE_US ? CLAIM_TAKEN : CLAIM_UNDECIDED;
}

static void refuse_twin(struct brain *b, const struct waiting_up *up)
{
    struct tm_err err;
    (void)tm_err_retry(&err, TM_E_REFUSED,
                       "another agent is connected as node '%s' of cluster '%s': stop it, or give "
                       "this one a node name of its own",
                       up->node, up->cluster);
    refuse(b, up->conn, up->ctx, &err);
}

static void welcome(struct brain *b, const struct waiting_up *up)
{
    struct node *node = node_find(b, up->cluster, up->node);
    if (node == NULL && b->node_count >= BRAIN_NODES_MAX) {
        struct tm_err err;
        (void)tm_err_set(&err, TM_E_LIMIT, "there are %d nodes already", BRAIN_NODES_MAX);
        refuse(b, up->conn, up->ctx, &err);
        return;
    }
    if (node == NULL)
        node = node_add(b, up->cluster, up->node);
    if (node == NULL)
        return;
    if (node->conn != 0 && node->conn != up->conn) {
        brain_log(b, NULL, node->name, 5, BRAIN_LOG_PLAIN,
                  "node '%s' connected again: its older connection is closed", node->name);
        brain_emit(b, BRAIN_ACT_CLOSE)->close.conn = node->conn;
    }
    new_life(b, node, up->boot);
    set_conn(b, node, up->conn);
    node->parked = false;
    node->heard = false;
    node->seen_us = b->now.mono_us;
    node->fresh = true;
    struct brain_action *action = brain_emit(b, BRAIN_ACT_WELCOME);
    action->welcome.conn = up->conn;
    action->welcome.ctx = up->ctx;
    action->welcome.term = b->term;
    action->welcome.start = b->start;
    brain_log(b, NULL, node->name, 6, BRAIN_LOG_NODE_UP, "node '%s' of cluster '%s' is connected",
              node->name, node->cluster);
    desired_node_changed(b, node);
    b->version++;
}

static bool newer_than_ours(const struct brain *b, const struct waiting_up *up)
{
    if (brain_plant(b, BRAIN_PLANT_IGNORE_SEEN))
        return false;
    return up->seen_term > b->term || (up->seen_term == b->term && up->seen_start != b->start);
}

/* The first that waits and saw a state that ours does not come from; NULL: none does. */
static const struct waiting_up *first_strange(const struct brain *b)
{
    for (size_t at = 0; at < b->waiting_count; at++) {
        const struct waiting_up *up = &b->waiting[at];
        if (lives_strange(b, up->seen_term, up->seen_start, up->seen_revision))
            return up;
    }
    return NULL;
}

/* Welcomes all that wait and may come, when no higher term is needed. */
static void welcome_waiting(struct brain *b)
{
    uint64_t highest = 0;
    for (size_t at = 0; at < b->waiting_count; at++) {
        if (newer_than_ours(b, &b->waiting[at]))
            highest = TM_MAX(highest, b->waiting[at].seen_term);
    }
    if (highest != 0) {
        if (b->raising_to > highest)
            return;                       /* under way */
        if (!rebuild_noticed(b, highest)) /* later lives of this coordinator must know it, too */
            return;
        b->raising_to = highest + 1;
        brain_log(b, NULL, NULL, 4, BRAIN_LOG_STATE_LOST,
                  "an agent has seen term %llu, newer than this coordinator's %llu: state was lost "
                  "or rolled back; taking a higher term",
                  (unsigned long long)highest, (unsigned long long)b->term);
        brain_emit(b, BRAIN_ACT_RAISE_TERM)->raise_term.at_least = highest + 1;
        return;
    }
    const struct waiting_up *strange = first_strange(b);
    if (!lives_durable(b) || (strange != NULL && !rebuild_noticed(b, strange->seen_term)))
        return;
    size_t kept = 0;
    for (size_t at = 0; at < b->waiting_count; at++) {
        const struct waiting_up *up = &b->waiting[at];
        enum claim claim = claim_of(b, up);
        if (claim == CLAIM_FREE)
            welcome(b, up);
        else if (claim == CLAIM_TAKEN)
            refuse_twin(b, up);
        else
            b->waiting[kept++] = *up;
    }
    b->waiting_count = kept;
}

void node_up(struct brain *b, const struct brain_event *event)
{
    if (b->waiting == NULL)
        b->waiting = calloc(WAITING_MAX, sizeof(*b->waiting));
    if (b->waiting == NULL) {
        brain_check(b, tm_err_oom(b->err));
        return;
    }
    if (b->waiting_count == WAITING_MAX) {
        struct tm_err err;
        (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "too many agents wait to be welcomed");
        refuse(b, event->up.conn, event->up.ctx, &err);
        return;
    }
    struct waiting_up *up = &b->waiting[b->waiting_count++];
    *up = (struct waiting_up){.conn = event->up.conn,
                              .ctx = event->up.ctx,
                              .arrived_us = b->now.mono_us,
                              .seen_term = event->up.seen_term,
                              .seen_start = event->up.seen_start,
                              .seen_revision = event->up.seen_revision};
    (void)snprintf(up->cluster, sizeof(up->cluster), "%s", event->up.cluster);
    (void)snprintf(up->node, sizeof(up->node), "%s", event->up.node);
    (void)snprintf(up->boot, sizeof(up->boot), "%s", event->up.boot);
    welcome_waiting(b);
}

void node_term(struct brain *b, uint64_t term)
{
    if (term <= b->term)
        return;
    b->term = term;
    b->epoch = 0;
    b->intent = 0;
    b->raising_to = 0;
    lives_begin(b);
    for (size_t at = 0; at < b->node_count; at++)
        desired_node_changed(b, b->nodes[at]);
    welcome_waiting(b);
}

/* Of a node, beyond that it goes on: jobs may be waiting for it. */
static void facts_changed(struct brain *b)
{
    b->facts++;
    brain_look_all(b);
}

void node_spoke(struct brain *b, struct node *node)
{
    node->seen_us = b->now.mono_us;
    if (node->fresh)
        return;
    node->fresh = true;
    facts_changed(b);
    brain_log(b, NULL, node->name, 6, BRAIN_LOG_NODE_UP, "node '%s' of cluster '%s' speaks again",
              node->name, node->cluster);
    desired_node_changed(b, node);
}

void node_gone(struct brain *b, uint64_t conn)
{
    for (size_t at = 0; at < b->waiting_count; at++) {
        if (b->waiting[at].conn != conn)
            continue;
        memmove(&b->waiting[at], &b->waiting[at + 1],
                (b->waiting_count - at - 1) * sizeof(*b->waiting));
        b->waiting_count--;
        break;
    }
    struct node *node = node_of_conn(b, conn);
    if (node == NULL)
        return;
    set_conn(b, node, 0);
    node->parked = false;
    b->version++;
}

static bool same_error(const struct msg_error *a, const struct msg_error *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a->text, b->text) == 0);
}

/* Whether all that is decided by is as it was: its position, lag and size are for people. */
static bool same_instances(const struct node *node, const struct msg_heartbeat *heartbeat)
{
    if (node->instance_count != heartbeat->instances_count)
        return false;
    for (size_t at = 0; at < node->instance_count; at++) {
        const struct msg_instance *old = &node->instances[at];
        const struct msg_instance *new = &heartbeat->instances[at];
        if (strcmp(old->tenant, new->tenant) != 0 || strcmp(old->engine, new->engine) != 0 ||
            strcmp(old->identity, new->identity) != 0 || old->caps != new->caps ||
            old->role != new->role || strcmp(old->version, new->version) != 0 ||
            strcmp(old->lineage_label, new->lineage_label) != 0 ||
            !same_error(old->error, new->error))
            return false;
    }
    return true;
}

void node_heartbeat(struct brain *b, struct node *node, uint64_t serial,
                    const struct msg_heartbeat *heartbeat)
{
    if (!node->heard)
        facts_changed(b);
    node->heard = true;
    if (serial <= node->heartbeat_serial)
        return; /* overtaken by a newer one */
    if (!same_instances(node, heartbeat))
        facts_changed(b);
    node->heartbeat_serial = serial;
    struct codec_arena arena = {0};
    struct msg_heartbeat copy;
    if (codec_copy(&msg_heartbeat_codec, heartbeat, &arena, &copy, b->err) < 0) {
        codec_arena_release(&arena);
        b->failed = true;
        return;
    }
    codec_arena_release(&node->arena);
    node->arena = arena;
    node->instances = copy.instances;
    node->instance_count = copy.instances_count;
    node->jobs = copy.jobs;
    node->job_count = copy.jobs_count;
    node->holds = copy.holds;
    node->hold_count = copy.holds_count;
    memcpy(node->version, copy.version, sizeof(node->version));
    tenants_heard(b, node);
    probes_heard(b, node, &copy);
    intents_heard(b, node, &copy);
    rebuild_heard(b, node, &copy);
    for (size_t at = 0; at < copy.jobs_count && !b->failed; at++) {
        const struct msg_job *report = &copy.jobs[at];
        struct res *res = store_find_job(b, report->uid, report->attempt);
        if (res == NULL)
            continue;
        job_report(b, res, node, report);
        brain_look_at(b, res);
    }
    b->version++;
}

static void node_silent(struct brain *b, struct node *node)
{
    node->fresh = false;
    facts_changed(b);
    b->version++;
    brain_log(b, NULL, node->name, 4, BRAIN_LOG_NODE_LOST,
              "node '%s' of cluster '%s' is silent for %u s: its leases lapse", node->name,
              node->cluster, b->config.lease_ms / 1000);
    if (brain_plant(b, BRAIN_PLANT_NO_RELEASE))
        return;
    drop_leases(b, node);
}

/* A peer that went without a word, or whose end the transport never reported. */
static void node_hang_up(struct brain *b, struct node *node)
{
    brain_log(b, NULL, node->name, 5, BRAIN_LOG_PLAIN,
              "node '%s' of cluster '%s' is silent for %u s: its connection is closed", node->name,
              node->cluster, HANG_UP_LEASES * b->config.lease_ms / 1000);
    brain_emit(b, BRAIN_ACT_CLOSE)->close.conn = node->conn;
    set_conn(b, node, 0);
    node->parked = false;
    facts_changed(b);
    b->version++;
}

void node_tick(struct brain *b)
{
    size_t kept = 0;
    for (size_t at = 0; at < b->node_count; at++) {
        struct node *node = b->nodes[at];
        uint64_t silent_us = b->now.mono_us - node->seen_us;
        if (node->fresh && silent_us > brain_ms(b->config.lease_ms))
            node_silent(b, node);
        if (node->conn != 0 && silent_us > HANG_UP_LEASES * brain_ms(b->config.lease_ms))
            node_hang_up(b, node);
        if (node->conn == 0 && silent_us > brain_ms(b->config.node_forget_ms)) {
            node_free(node);
            facts_changed(b);
            b->version++;
            continue;
        }
        b->nodes[kept++] = node;
    }
    b->node_count = kept;
    if (b->waiting_count > 0)
        welcome_waiting(b);
}

bool brain_node_next(const struct brain *b, size_t *cursor, struct brain_node *ret)
{
    if (*cursor >= b->node_count)
        return false;
    const struct node *node = b->nodes[(*cursor)++];
    *ret = (struct brain_node){
        .cluster = node->cluster,
        .node = node->name,
        .boot = node->boot,
        .version = node->version,
        .connected = node->conn != 0 && node->fresh,
        .silent_us = b->now.mono_us - node->seen_us,
        .instances = node->instances,
        .instance_count = node->instance_count,
        .job_count = node->job_count,
        .holds = node->holds,
        .hold_count = node->hold_count,
    };
    return true;
}
