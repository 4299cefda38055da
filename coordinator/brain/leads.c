/*
 * Which agent leads. A backup: the one whose instance of the tenant is primary (or, for engines
 * without one, the first member). A restore: the node that was named, or the only one there is.
 * While there is nobody, live->waiting says for whom the job waits.
 */
#include "coordinator/brain/parts.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/suggest.h"

void lead_waiting(struct brain *b, struct res *res, const char *fmt, ...)
{
    char text[sizeof(res->live->waiting)];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (strcmp(text, res->live->waiting) == 0)
        return;
    memcpy(res->live->waiting, text, sizeof(text));
    status_changed(b, res);
}

const char *lead_near(const struct brain *b, const char *cluster, char ret[LEAD_NEAR_MAX])
{
    struct suggest s;
    suggest_init(&s, cluster);
    ret[0] = '\0';
    for (size_t at = 0; at < b->node_count; at++) {
        if (strcmp(b->nodes[at]->cluster, cluster) == 0)
            return ret;
        if (at == 0 || strcmp(b->nodes[at]->cluster, b->nodes[at - 1]->cluster) != 0)
            suggest_offer(&s, b->nodes[at]->cluster);
    }
    if (suggest_best(&s) != NULL)
        (void)snprintf(ret, LEAD_NEAR_MAX, "; did you mean '%s'?", suggest_best(&s));
    return ret;
}

struct node *lead_of(const struct brain *b, const struct res *res)
{
    return node_find(b, res->now.rec.cluster, res->now.rec.node);
}

bool lead_usable(const struct node *node)
{
    return node->fresh && node->conn != 0 && node->heard;
}

size_t lead_count(const struct brain *b, const struct node *node)
{
    size_t count = 0;
    for (size_t at = 0; at < b->lists.given_count; at++)
        count += (desired_roles(b, b->lists.given[at], node) & JOB_ROLE_LEAD) != 0;
    return count;
}

static struct node *pick_backup(struct brain *b, struct res *res,
                                const struct msg_instance **ret_instance)
{
    const struct view *v = &res->view;
    const char *tenant = tenant_of(b, res);
    char trouble[200] = "";
    char near[LEAD_NEAR_MAX];
    res->live->queued = false;
    for (size_t at = 0; at < b->node_count; at++) {
        struct node *node = b->nodes[at];
        if (!lead_usable(node) || strcmp(node->cluster, v->cluster) != 0)
            continue;
        const struct msg_instance *instance = node_instance(node, tenant);
        if (instance == NULL)
            continue;
        if (instance->error != NULL) {
            (void)snprintf(trouble, sizeof(trouble), "; on node '%s': %s", node->name,
                           instance->error->text);
            continue;
        }
        if (instance->role != INSTANCE_PRIMARY && instance->role != INSTANCE_MEMBER)
            continue;
        if (lead_count(b, node) >= WIRE_JOBS_MAX) {
            res->live->queued = true;
            (void)snprintf(trouble, sizeof(trouble), "; node '%s' leads %d jobs already",
                           node->name, WIRE_JOBS_MAX);
            continue;
        }
        *ret_instance = instance;
        return node;
    }
    lead_waiting(b, res, "waiting for an agent of cluster '%s', tenant '%s' with role primary%s%s",
                 v->cluster, tenant, trouble, lead_near(b, v->cluster, near));
    return NULL;
}

static struct node *pick_restore(struct brain *b, struct res *res, const char *cluster,
                                 const struct msg_instance **ret_instance)
{
    const struct view *v = &res->view;
    char near[LEAD_NEAR_MAX];
    struct node *found = NULL;
    size_t nodes = 0;
    for (size_t at = 0; at < b->node_count; at++) {
        struct node *node = b->nodes[at];
        if (!lead_usable(node) || strcmp(node->cluster, cluster) != 0)
            continue;
        if (v->node[0] != '\0' && strcmp(v->node, node->name) != 0)
            continue;
        nodes++;
        found = node;
    }
    if (nodes > 1) {
        lead_waiting(b, res, "cluster '%s' has %zu nodes: name one in spec.node", v->cluster,
                     nodes);
        return NULL;
    }
    if (found == NULL && v->node[0] != '\0')
        lead_waiting(b, res, "waiting for the agent on node '%s' of cluster '%s'%s", v->node,
                     cluster, lead_near(b, cluster, near));
    else if (found == NULL)
        lead_waiting(b, res, "waiting for an agent of cluster '%s'%s", cluster,
                     lead_near(b, cluster, near));
    else if (lead_count(b, found) >= WIRE_JOBS_MAX) {
        lead_waiting(b, res, "node '%s' leads %d jobs already", found->name, WIRE_JOBS_MAX);
        return NULL;
    }
    *ret_instance = found != NULL ? node_instance(found, v->tenant) : NULL;
    return found;
}

struct node *lead_pick(struct brain *b, struct res *res, const char *cluster,
                       const struct msg_instance **ret_instance)
{
    *ret_instance = NULL;
    return res->view.kind == JOB_KIND_RESTORE ? pick_restore(b, res, cluster, ret_instance)
                                              : pick_backup(b, res, ret_instance);
}

static struct node *lead_for_delete(struct brain *b, struct res *res)
{
    struct node *node = lead_of(b, res);
    if (node != NULL && lead_usable(node))
        return node;
    for (size_t at = 0; at < b->node_count; at++) {
        node = b->nodes[at];
        if (lead_usable(node) && strcmp(node->cluster, res->now.rec.cluster) == 0 &&
            node_instance(node, res->now.rec.tenant) != NULL)
            return node;
    }
    lead_waiting(b, res, "waiting for an agent of cluster '%s' to delete the backup",
                 res->view.cluster);
    return NULL;
}

bool lead_appoint_sweeper(struct brain *b, struct res *res)
{
    const struct node *sweeper = lead_for_delete(b, res);
    const char *name = sweeper != NULL ? sweeper->name : "";
    if (strcmp(name, res->live->sweeper) == 0)
        return false;
    COPY_TEXT(res->live->sweeper, name);
    b->facts++; /* it leads one job more, or less */
    if (sweeper != NULL)
        lead_waiting(b, res, "%s", "");
    return true;
}
