/*
 * Carrying out what the brain says. Nothing here decides.
 */
#include "coordinator/daemon/internal.h"

static enum log_event event_id(enum brain_log_event event)
{
    switch (event) {
    case BRAIN_LOG_NODE_UP:
        return LOG_EVENT_AGENT_CONNECTED;
    case BRAIN_LOG_NODE_LOST:
        return LOG_EVENT_AGENT_LOST;
    case BRAIN_LOG_JOB_START:
        return LOG_EVENT_JOB_STARTED;
    case BRAIN_LOG_JOB_COMPLETE:
        return LOG_EVENT_JOB_COMPLETE;
    case BRAIN_LOG_JOB_FAILED:
        return LOG_EVENT_JOB_FAILED;
    case BRAIN_LOG_RANGE_RELEASED:
        return LOG_EVENT_RANGE_RELEASED;
    case BRAIN_LOG_PAGE_CORRUPT:
        return LOG_EVENT_PAGE_CORRUPT;
    case BRAIN_LOG_STATE_LOST:
        return LOG_EVENT_STATE_LOST;
    case BRAIN_LOG_PLAIN:
        break;
    }
    return LOG_EVENT_NONE;
}

static void act_log(struct coordinator *c, const struct brain_action *action)
{
    const struct log_ctx ctx = {.cluster = action->log.cluster,
                                .tenant = action->log.tenant,
                                .node = action->log.node,
                                .job = action->log.job};

    log_write(&c->lg, &ctx, event_id(action->log.event), action->log.priority, "%s",
              action->log.text);
}

struct pending_txn {
    struct coordinator *c;
    uint64_t txn;
};

static void persisted(void *arg, int result, uint64_t revision, const struct tm_err *err)
{
    struct pending_txn *pending = arg;
    struct coordinator *c = pending->c;
    struct brain_event event = {.kind = BRAIN_EV_PERSISTED,
                                .persisted = {.txn = pending->txn,
                                              .ok = result == 0,
                                              .revision = result == 0 ? revision : 0,
                                              .err = result == 0 ? NULL : err}};

    free(pending);
    if (result < 0)
        log_error(&c->lg, NULL, "state was not stored: %s", err->msg);
    coordinator_feed(c, &event);
}

static int submit(struct coordinator *c, const struct brain_action *action, struct tm_err *err)
{
    struct state_op ops[STATE_TXN_OPS_MAX];
    size_t count = action->persist.put_count;
    struct pending_txn *pending;
    int r;

    if (count > STATE_TXN_OPS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "a transaction of %zu operations", count);
    for (size_t i = 0; i < count; i++) {
        const struct brain_put *put = &action->persist.puts[i];
        ops[i] = (struct state_op){.kind = put->value.len > 0 ? STATE_PUT : STATE_DELETE,
                                   .key = put->key,
                                   .value = put->value};
    }
    pending = calloc(1, sizeof *pending);
    if (!pending)
        return tm_err_oom(err);
    *pending = (struct pending_txn){.c = c, .txn = action->persist.txn};
    const struct state_txn txn = {.term = c->term, .ops = ops, .op_count = count};
    if ((r = state_submit(c->state, &txn, persisted, pending, err)) < 0)
        free(pending);
    return r;
}

static void act_persist(struct coordinator *c, const struct brain_action *action)
{
    struct coordinator_refused *refused;
    struct tm_err err = {0};

    if (submit(c, action, &err) == 0) {
        loop_timer_set(c->flush, 0);
        return;
    }
    log_error(&c->lg, NULL, "state was not stored: %s", err.msg);
    refused = calloc(1, sizeof *refused);
    if (!refused) {
        coordinator_fail(c, &err);
        return;
    }
    refused->txn = action->persist.txn;
    refused->err = err;
    list_push_back(&c->refused, &refused->link);
}

void coordinator_act(struct coordinator *c, const struct brain_action *action)
{
    switch (action->kind) {
    case BRAIN_ACT_REPLY:
        if (action->reply.message->type == MESSAGE_desired) {
            coordinator_reply_desired(c, action->reply.conn, action->reply.ctx,
                                      action->reply.message);
            break;
        }
        gate_reply(c->gate, action->reply.conn, action->reply.ctx, action->reply.message);
        break;
    case BRAIN_ACT_WELCOME:
        gate_welcome(c->gate, action->welcome.conn, action->welcome.ctx, action->welcome.term,
                     action->welcome.start);
        break;
    case BRAIN_ACT_REFUSE:
        gate_refuse(c->gate, action->refuse.conn, action->refuse.ctx, action->refuse.err);
        break;
    case BRAIN_ACT_CLOSE:
        gate_close(c->gate, action->close.conn);
        break;
    case BRAIN_ACT_PERSIST:
        act_persist(c, action);
        break;
    case BRAIN_ACT_RAISE_TERM:
        c->raise_to = action->raise_term.at_least;
        break;
    case BRAIN_ACT_ANSWER:
        coordinator_control_answer(c, action);
        break;
    case BRAIN_ACT_LOG:
        act_log(c, action);
        break;
    case BRAIN_ACT_WAKE:
        loop_timer_set(c->wake, (int64_t)action->wake.at_us);
        break;
    }
}
