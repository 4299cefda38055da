/*
 * Which agent streams a tenant's log, and when another one takes over.
 *
 * Happy path: the node whose instance is primary (logSource standby: a standby) is chosen and stays.
 * It is left for another node of the same identity when it can no longer be what it was chosen for:
 * its instance became a standby, cannot be described, is gone from its configuration, or the agent is
 * silent. While nobody better is known it stays: a log backup is never failed for silence, because
 * its agent goes on without a coordinator.
 * Two primaries at once: the lead stays as long as it is heard and primary. Which of them is right
 * cannot be known here; lineages keep their logs apart in storage.
 */
#include "coordinator/brain/logs.h"

#include <stdio.h>

static bool same_identity(const struct res *res, const struct msg_instance *instance)
{
    const char *wanted = res->now.rec.identity;
    return wanted[0] == '\0' || strcmp(wanted, instance->identity) == 0 ||
           res->view.log->accept_incarnation;
}

/* An agent that is there, of the task's cluster. */
static bool is_there(const struct res *res, const struct node *node)
{
    return lead_usable(node) && strcmp(node->cluster, res->view.cluster) == 0;
}

static bool is_primary(const struct msg_instance *instance)
{
    return instance->role == INSTANCE_PRIMARY || instance->role == INSTANCE_MEMBER;
}

/* The node's instance of the tenant when it could be streamed from; primary or standby. */
static const struct msg_instance *source_on(const struct brain *b, const struct res *res,
                                            const struct node *node)
{
    if (!is_there(res, node))
        return NULL;
    const struct msg_instance *instance = node_instance(node, tenant_of(b, res));
    if (instance == NULL || instance->error != NULL || !same_identity(res, instance))
        return NULL;
    return is_primary(instance) || instance->role == INSTANCE_STANDBY ? instance : NULL;
}

static struct node *pick(struct brain *b, const struct res *res, bool primary,
                         const struct msg_instance **ret_instance)
{
    for (size_t at = 0; at < b->node_count; at++) {
        struct node *node = b->nodes[at];
        const struct msg_instance *instance = source_on(b, res, node);
        if (instance == NULL || is_primary(instance) != primary)
            continue;
        bool leads_it = job_is_lead(res, node);
        if (!leads_it && lead_count(b, node) >= WIRE_JOBS_MAX)
            continue;
        *ret_instance = instance;
        return node;
    }
    return NULL;
}

/* Why a node of the tenant will not do, for people. */
static void say_waiting(struct brain *b, struct res *res, bool standby)
{
    char trouble[128] = "";
    char near[LEAD_NEAR_MAX];
    for (size_t at = 0; at < b->node_count; at++) {
        const struct node *node = b->nodes[at];
        const struct msg_instance *instance = node_instance(node, tenant_of(b, res));
        if (!is_there(res, node) || instance == NULL)
            continue;
        if (instance->error != NULL)
            (void)snprintf(trouble, sizeof(trouble), "; on node '%s': %s", node->name,
                           instance->error->text);
        else if (!same_identity(res, instance))
            (void)snprintf(trouble, sizeof(trouble),
                           "; node '%s' has another identity (acceptIncarnation)", node->name);
    }
    lead_waiting(b, res, "waiting for an agent of cluster '%s', tenant '%s' with role %s%s%s",
                 res->view.cluster, tenant_of(b, res), standby ? "standby" : "primary", trouble,
                 lead_near(b, res->view.cluster, near));
}

struct node *log_lead_pick(struct brain *b, struct res *res,
                           const struct msg_instance **ret_instance)
{
    bool standby = res->view.log->from_standby;
    struct node *node = pick(b, res, !standby, ret_instance);
    /* no standby is left of those it streamed from: better the primary than no log */
    if (node == NULL && standby && res->now.rec.node[0] != '\0')
        node = pick(b, res, true, ret_instance);
    if (node == NULL)
        say_waiting(b, res, standby);
    return node;
}

/* A lead that was just restarted, or is not back since the coordinator was, is waited for. */
static bool may_come_back(const struct brain *b, const struct res *res, const struct node *lead)
{
    if (lead == NULL)
        return res->now.rec.node[0] != '\0' &&
               b->now.mono_us - res->live->log->heard_us <= brain_ms(b->config.lead_grace_ms);
    return lead->fresh && !lead_usable(lead);
}

bool log_lead_stays(const struct brain *b, const struct res *res)
{
    const struct node *lead = lead_of(b, res);
    if (may_come_back(b, res, lead))
        return true;
    const struct msg_instance *instance = lead != NULL ? source_on(b, res, lead) : NULL;
    if (instance == NULL)
        return false;
    /* chosen as a standby and promoted since: it has the newest log there is */
    return is_primary(instance) || res->view.log->from_standby;
}

const struct node *log_second_primary(const struct brain *b, const struct res *res)
{
    const struct node *lead = lead_of(b, res);
    const struct msg_instance *own = lead != NULL ? source_on(b, res, lead) : NULL;
    if (own == NULL || own->role != INSTANCE_PRIMARY)
        return NULL;
    for (size_t at = 0; at < b->node_count; at++) {
        const struct node *node = b->nodes[at];
        const struct msg_instance *instance = node != lead ? source_on(b, res, node) : NULL;
        if (instance != NULL && instance->role == INSTANCE_PRIMARY)
            return node;
    }
    return NULL;
}

struct node *log_truncator_pick(struct brain *b, struct res *res,
                                const struct msg_instance **ret_instance)
{
    struct node *found = lead_of(b, res);
    if (may_come_back(b, res, found))
        return NULL;
    if (found == NULL || !lead_usable(found))
        found = NULL;
    for (size_t at = 0; at < b->node_count && found == NULL; at++) {
        struct node *node = b->nodes[at];
        const struct msg_instance *instance = node_instance(node, tenant_of(b, res));
        if (is_there(res, node) && instance != NULL && instance->identity[0] != '\0' &&
            same_identity(res, instance))
            found = node;
    }
    *ret_instance = found != NULL ? node_instance(found, tenant_of(b, res)) : NULL;
    if (found == NULL || *ret_instance == NULL) {
        lead_waiting(b, res, "waiting for an agent of cluster '%s', tenant '%s' to truncate",
                     res->view.cluster, tenant_of(b, res));
        return NULL;
    }
    lead_waiting(b, res, "%s", "");
    return found;
}
