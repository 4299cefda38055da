/*
 * One thing that one agent does in a storage: asked by its desired set until a heartbeat brings the
 * answer. Happy path and failure modes are its owner's (intents.c, rebuild_read.c): here is who is asked,
 * and when nobody answers any more.
 */
#include "coordinator/brain/internal.h"

#define GRACE_US UINT64_C(3000000) /* an agent gives up by itself before that is over */

static struct node *node_by_id(const struct brain *b, uint32_t id)
{
    for (size_t at = 0; at < b->node_count; at++) {
        if (b->nodes[at]->id == id)
            return b->nodes[at];
    }
    return NULL;
}

void errand_begin(struct brain *b, struct errand *e, struct node *node, uint32_t timeout_ms)
{
    do
        e->id = b->rng.next(b->rng.arg);
    while (e->id == 0);
    e->node = node->id;
    e->timeout_ms = timeout_ms;
    e->until_us = b->now.mono_us + brain_ms(timeout_ms) + GRACE_US;
    desired_node_changed(b, node);
}

void errand_end(struct brain *b, struct errand *e)
{
    struct node *node = node_by_id(b, e->node);
    if (e->id != 0 && node != NULL)
        desired_node_changed(b, node);
    *e = (struct errand){0};
}

bool errand_is_lost(const struct brain *b, const struct errand *e)
{
    const struct node *node = node_by_id(b, e->node);
    return node == NULL || node->conn == 0 || !node->fresh || b->now.mono_us >= e->until_us;
}

struct msg_probe *errand_assign(struct brain *b, const struct errand *e, const struct node *node,
                                const char *storage, const char *secret, struct msg_desired *to)
{
    if (e->id == 0 || e->node != node->id || to->probes == NULL ||
        to->probes_count >= BRAIN_PROBES_MAX)
        return NULL;
    /* copied: the errand may end, and its owner go, before this step's replies are sent */
    const char *copy = brain_step_text(b, storage);
    if (copy == NULL)
        return NULL;
    struct msg_probe *out = &to->probes[to->probes_count++];
    *out = (struct msg_probe){.id = e->id, .storage = copy, .timeout_ms = e->timeout_ms};
    out->secret = desired_secret_named(b, secret);
    return out;
}

const struct msg_probe_answer *errand_answer(const struct errand *e, const struct node *node,
                                             const struct msg_heartbeat *heartbeat)
{
    for (size_t at = 0; at < heartbeat->probes_count; at++) {
        if (e->id != 0 && e->node == node->id && heartbeat->probes[at].id == e->id)
            return &heartbeat->probes[at];
    }
    return NULL;
}
