/*
 * Holds outlive agents: every node that was ever told to hold is in the record (`holders`) before it
 * is told, and leaves it only by saying that its hold is gone.
 */
#include "coordinator/brain/logs.h"

bool log_holder_is(const struct log_record *log, const char *name)
{
    for (size_t at = 0; at < log->holders_count; at++) {
        if (strcmp(log->holders[at], name) == 0)
            return true;
    }
    return false;
}

bool log_holds(const struct res *res, const struct node *node)
{
    return log_holder_is(res->now.rec.log, node->name) &&
           strcmp(node->cluster, res->now.rec.cluster) == 0;
}

void log_holder_add(struct brain *b, struct res *res, struct record *next, const char *name)
{
    struct log_record *log = next->log;
    if (log_holder_is(log, name) || log->holders_count == LOG_HOLDERS_MAX)
        return;
    const char **grown =
        codec_arena_array(&res->next.arena, log->holders_count + 1, sizeof(*grown), b->err);
    const char *copy = codec_arena_text(&res->next.arena, name, b->err);
    if (grown == NULL || copy == NULL) {
        b->failed = true;
        return;
    }
    if (log->holders_count > 0)
        memcpy(grown, log->holders, log->holders_count * sizeof(*grown));
    grown[log->holders_count] = copy;
    log->holders = grown;
    log->holders_count++;
}

void log_holder_drop(struct record *next, const char *name)
{
    size_t kept = 0;
    for (size_t at = 0; at < next->log->holders_count; at++) {
        if (strcmp(next->log->holders[at], name) != 0)
            next->log->holders[kept++] = next->log->holders[at];
    }
    next->log->holders_count = kept;
}

static bool should_hold(const struct res *res, const struct node *node)
{
    const struct record *rec = &res->now.rec;
    if (!lead_usable(node) || strcmp(node->cluster, rec->cluster) != 0)
        return false;
    const struct msg_instance *instance = node_instance(node, rec->tenant);
    return instance != NULL && instance->error == NULL && instance->role == INSTANCE_STANDBY &&
           strcmp(instance->identity, rec->identity) == 0;
}

bool log_holders_take(struct brain *b, struct res *res)
{
    const struct log_record *log = res->now.rec.log;
    struct record *next = NULL;
    for (size_t at = 0; at < b->node_count && log->holders_count < LOG_HOLDERS_MAX; at++) {
        const struct node *node = b->nodes[at];
        if (job_is_lead(res, node) || log_holder_is(log, node->name) || !should_hold(res, node))
            continue;
        if (next == NULL)
            next = persist_stage(b, res);
        if (next == NULL)
            return b->failed;
        log_holder_add(b, res, next, node->name);
    }
    if (next != NULL)
        persist_submit(b, res);
    return next != NULL;
}

bool log_holders_released(struct brain *b, struct res *res)
{
    const struct log_live *log = res->live->log;
    struct record *next = NULL;
    for (size_t at = 0; at < log->hold_count; at++) {
        if (!log->holds[at].stopped || !log_holder_is(res->now.rec.log, log->holds[at].node))
            continue;
        if (next == NULL)
            next = persist_stage(b, res);
        if (next == NULL)
            return true;
        log_holder_drop(next, log->holds[at].node);
    }
    if (next != NULL)
        persist_submit(b, res);
    return next != NULL;
}
