/*
 * Who may read which ranges of a snapshot, and who read how much.
 *
 * The lead, beside the primary, may read all; a standby's agent only what may be read anywhere. Which of them
 * are given what is the spec's backupFrom: primary, any, or standbys first: then the lead takes only what
 * nobody else may, as long as a standby takes ranges or may yet begin to. One that is behind the snapshot's
 * start asks for nothing, and is not waited for longer than PATIENCE_US. Members of engines whose ranges
 * have positions of their own are all equal.
 */
#include "common/array.h"
#include "coordinator/brain/internal.h"

#define PATIENCE_US UINT64_C(30000000)

static const struct msg_instance *instance_of(const struct res *res, const struct node *node)
{
    const struct msg_instance *instance = node_instance(node, res->now.rec.tenant);
    return instance != NULL && instance->error == NULL ? instance : NULL;
}

static bool is_standby(const struct res *res, const struct node *node)
{
    const struct msg_instance *instance = instance_of(res, node);
    return instance != NULL && instance->role == INSTANCE_STANDBY &&
           strcmp(instance->identity, res->now.rec.identity) == 0;
}

bool share_may_begin(const struct res *res, const struct node *node)
{
    const struct msg_instance *instance = instance_of(res, node);
    if (instance == NULL)
        return false;
    if (instance->caps & INSTANCE_CAP_RANGE_OWN_POSITION)
        return true;
    return res->view.from != VIEW_FROM_PRIMARY && is_standby(res, node);
}

/* Some standby takes ranges, or may be about to. */
static bool standby_serves(const struct brain *b, const struct res *res)
{
    const struct live *live = res->live;
    if (b->now.mono_us < TM_MAX(live->standby_us, live->since_us) + PATIENCE_US) {
        for (size_t at = 0; at < b->node_count; at++) {
            const struct node *node = b->nodes[at];
            if (strcmp(node->cluster, res->now.rec.cluster) == 0 && node->fresh &&
                !job_excluded(live, node) && !job_is_lead(res, node) && is_standby(res, node))
                return true;
        }
    }
    return false;
}

enum table_which share_which(const struct brain *b, const struct res *res, const struct node *node)
{
    const struct msg_instance *instance = node_instance(node, res->now.rec.tenant);
    if (instance != NULL && (instance->caps & INSTANCE_CAP_RANGE_OWN_POSITION))
        return TABLE_BOTH;
    if (!job_is_lead(res, node))
        return TABLE_ANYWHERE;
    return res->view.from == VIEW_FROM_STANDBY && standby_serves(b, res) ? TABLE_BOUND : TABLE_BOTH;
}

void share_granted(const struct brain *b, struct res *res, const struct node *node)
{
    if (!job_is_lead(res, node))
        res->live->standby_us = b->now.mono_us;
}

/* A new one has read nothing. NULL: there are too many, or no memory. */
static struct node_share *share_of(struct brain *b, struct live *live, const struct node *node)
{
    size_t at = 0;
    while (at < live->share_count && live->share_nodes[at] != node->id)
        at++;
    if (at < live->share_count)
        return &live->shares[at];
    /* one that was forgotten, and came back, has another id */
    for (at = 0; at < live->share_count && strcmp(live->shares[at].node, node->name) != 0;)
        at++;
    if (at == SHARES_MAX)
        return NULL;
    if (at == live->share_count) {
        size_t cap = live->share_cap;
        if (ARRAY_ROOM(live->shares, live->share_count, live->share_cap, 16, b->err) < 0 ||
            ARRAY_ROOM(live->share_nodes, live->share_count, cap, 16, b->err) < 0) {
            b->failed = true;
            return NULL;
        }
        live->shares[live->share_count++] = (struct node_share){0};
        COPY_TEXT(live->shares[at].node, node->name);
    }
    live->share_nodes[at] = node->id;
    return &live->shares[at];
}

void share_note(struct brain *b, struct res *res, const struct node *node, uint64_t bytes)
{
    struct live *live = res->live;
    share_granted(b, res, node);
    struct node_share *share = share_of(b, live, node);
    if (share == NULL)
        return;
    share->ranges++;
    share->bytes += bytes;
}

void share_keep(struct brain *b, struct res *res, struct record *next)
{
    const struct live *live = res->live;
    next->shares_count = 0;
    next->shares =
        codec_arena_array(&res->next.arena, live->share_count + 1, sizeof(*next->shares), b->err);
    if (next->shares == NULL) {
        b->failed = true;
        return;
    }
    for (size_t at = 0; at < live->share_count; at++)
        next->shares[next->shares_count++] = live->shares[at];
}
