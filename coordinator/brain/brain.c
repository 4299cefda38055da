/*
 * The coordinator's brain: one event, a list of actions. Here are the step, its memory, and what the
 * other files emit with. Happy path and failure modes are told in brain.h.
 */
#include "coordinator/brain/parts.h"

#include "common/array.h"

#include <stdarg.h>
#include <stdio.h>

#define LOG_TEXT_MAX 700
#define ACTIONS_MIN  64
#define TICK_US      500000

uint64_t brain_ms(uint32_t ms)
{
    return (uint64_t)ms * 1000;
}

bool brain_plant(const struct brain *b, enum brain_plant plant)
{
    return b->config.plant == plant;
}

/* ---- emitting ---- */

void brain_check(struct brain *b, int result)
{
    if (result < 0)
        b->failed = true;
}

void *brain_step_alloc(struct brain *b, size_t size)
{
    void *memory = codec_arena_alloc(&b->step, size, b->err);
    if (memory == NULL)
        b->failed = true;
    return memory;
}

const char *brain_step_text(struct brain *b, const char *text)
{
    const char *copy = codec_arena_text(&b->step, text, b->err);
    if (copy == NULL)
        b->failed = true;
    return copy;
}

const struct tm_err *brain_step_err(struct brain *b, const struct tm_err *err)
{
    struct tm_err *copy = brain_step_alloc(b, sizeof(*copy));
    if (copy != NULL)
        *copy = *err;
    return copy;
}

struct brain_action *brain_emit(struct brain *b, enum brain_action_kind kind)
{
    /* one stays free, to write to after a failure */
    if (ARRAY_ROOM(b->actions, b->action_count + 1, b->action_cap, ACTIONS_MIN, b->err) < 0) {
        b->failed = true;
        return &b->actions[b->action_cap - 1];
    }
    struct brain_action *action = &b->actions[b->action_count++];
    *action = (struct brain_action){.kind = kind};
    return action;
}

void brain_log(struct brain *b, const struct res *res, const char *node, int priority,
               enum brain_log_event event, const char *fmt, ...)
{
    char text[LOG_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    size_t used = 0;
    if (res != NULL && part_is(res)) /* the others have its name, too */
        used = (size_t)snprintf(text, sizeof(text), "tenant '%s': ", res->now.rec.part);
    (void)vsnprintf(text + used, sizeof(text) - used, fmt, ap);
    va_end(ap);
    const char *copy = brain_step_text(b, text);
    const char *cluster = NULL;
    const char *tenant = NULL;
    const char *job = NULL;
    if (res != NULL) {
        const struct record *rec = &res->now.rec;
        job = brain_step_text(b, rec->job[0] != '\0' ? rec->job : rec->uid);
        cluster = brain_step_text(b, res->spec != NULL ? res->view.cluster : "");
        tenant = brain_step_text(b, res->now.rec.tenant);
    }
    const char *where = node != NULL ? brain_step_text(b, node) : NULL;
    struct brain_action *action = brain_emit(b, BRAIN_ACT_LOG);
    action->log.priority = priority;
    action->log.event = event;
    action->log.text = copy;
    action->log.cluster = cluster;
    action->log.tenant = tenant;
    action->log.node = where;
    action->log.job = job;
}

struct message *brain_reply(struct brain *b, uint64_t conn, uint64_t ctx, uint64_t serial,
                            enum message_type type)
{
    struct message *m = brain_step_alloc(b, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->type = type;
    m->serial = serial;
    m->term = b->term;
    struct brain_action *action = brain_emit(b, BRAIN_ACT_REPLY);
    action->reply.conn = conn;
    action->reply.ctx = ctx;
    action->reply.message = m;
    return m;
}

void brain_reply_error(struct brain *b, uint64_t conn, uint64_t ctx, uint64_t serial,
                       const struct tm_err *err)
{
    const struct tm_err *kept = brain_step_err(b, err);
    struct message *m = brain_reply(b, conn, ctx, serial, MESSAGE_error);
    if (m != NULL && kept != NULL)
        m->error = msg_error_of(kept, NULL);
}

void brain_answer(struct brain *b, uint64_t cmd, enum brain_outcome outcome,
                  const struct tm_err *err)
{
    const struct tm_err *kept = err != NULL ? brain_step_err(b, err) : NULL;
    struct brain_action *action = brain_emit(b, BRAIN_ACT_ANSWER);
    action->answer.cmd = cmd;
    action->answer.outcome = outcome;
    action->answer.err = kept;
}

void brain_answer_log(struct brain *b, uint64_t cmd, const struct res *res,
                      const struct msg_log_answer *answer)
{
    struct msg_log_answer *copy = brain_step_alloc(b, sizeof(*copy));
    if (copy == NULL)
        return;
    brain_check(b, codec_copy(&msg_log_answer_codec, answer, &b->step, copy, b->err));
    const char *cluster = brain_step_text(b, res->now.rec.cluster);
    const char *tenant = brain_step_text(b, res->now.rec.tenant);
    struct brain_action *action = brain_emit(b, BRAIN_ACT_ANSWER);
    action->answer.cmd = cmd;
    action->answer.outcome = BRAIN_DONE;
    action->answer.log = copy;
    action->answer.cluster = cluster;
    action->answer.tenant = tenant;
}

/* ---- life ---- */

static void config_defaults(struct brain_config *c)
{
    static const struct {
        size_t offset;
        uint32_t value;
    } defaults[] = {
        {offsetof(struct brain_config, lease_ms), 10000},
        {offsetof(struct brain_config, poll_ms), 30000},
        {offsetof(struct brain_config, lead_grace_ms), 30000},
        {offsetof(struct brain_config, restart_grace_ms), 60000},
        {offsetof(struct brain_config, stall_ms), 3600000},
        {offsetof(struct brain_config, abort_ms), 60000},
        {offsetof(struct brain_config, node_forget_ms), 3600000},
        {offsetof(struct brain_config, part_wait_ms), 600000},
    };
    for (size_t at = 0; at < TM_ARRAY_LEN(defaults); at++) {
        uint32_t *value = (uint32_t *)(void *)((char *)c + defaults[at].offset);
        if (*value == 0)
            *value = defaults[at].value;
    }
}

int brain_new(const struct brain_config *config, struct brain_rng rng, struct brain **ret,
              struct tm_err *err)
{
    TM_CLEANUP(brain_freep) struct brain *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return tm_err_oom(err);
    b->config = *config;
    config_defaults(&b->config);
    b->rng = rng;
    b->term = config->term;
    b->start = config->start;
    b->state_revision = config->state_revision;
    b->action_cap = ACTIONS_MIN;
    b->actions = calloc(b->action_cap, sizeof(*b->actions));
    if (b->actions == NULL)
        return tm_err_oom(err);
    *ret = TM_TAKE(b);
    return 0;
}

void brain_free(struct brain *b)
{
    if (b == NULL)
        return;
    for (size_t at = 0; at < b->resource_count; at++)
        store_res_free(b->resources[at]);
    for (size_t at = 0; at < b->node_count; at++)
        node_free(b->nodes[at]);
    probes_free(b);
    kept_free(b);
    intents_free(b);
    rebuild_free(b);
    tenants_free(b);
    free(b->resources);
    free(b->lists.busy);
    free(b->lists.given);
    free(b->lists.jobs);
    free(b->nodes);
    idmap_release(&b->conns);
    free(b->waiting);
    free(b->actions);
    codec_arena_release(&b->step);
    free(b);
}

/* ---- stepping ---- */

void brain_look_all(struct brain *b)
{
    b->look_all = true;
}

void brain_look_at(struct brain *b, struct res *res)
{
    if (b->touched_count == TM_ARRAY_LEN(b->touched))
        b->look_all = true;
    else
        b->touched[b->touched_count++] = res;
}

static void dispatch(struct brain *b, const struct brain_event *event)
{
    switch (event->kind) {
    case BRAIN_EV_LOADED:
        brain_check(b, store_load(b, event->loaded.key, event->loaded.value, b->err));
        break;
    case BRAIN_EV_LOADED_END:
        store_loaded(b);
        break;
    case BRAIN_EV_AGENT_UP:
        node_up(b, event);
        break;
    case BRAIN_EV_AGENT_GONE:
        node_gone(b, event->gone.conn);
        break;
    case BRAIN_EV_REQUEST:
        request_run(b, event->request.conn, event->request.ctx, event->request.message);
        break;
    case BRAIN_EV_COMMAND:
        command_run(b, event);
        break;
    case BRAIN_EV_PERSISTED:
        b->state_revision = TM_MAX(b->state_revision, event->persisted.revision);
        persist_done(b, event->persisted.txn, event->persisted.ok, event->persisted.err);
        break;
    case BRAIN_EV_TERM:
        node_term(b, event->term.term);
        break;
    case BRAIN_EV_SECRET:
        desired_secret(b, event->secret.name);
        break;
    case BRAIN_EV_TICK:
        break;
    }
}

static uint64_t next_wake(const struct brain *b)
{
    uint64_t next = UINT64_MAX;
    bool busy = b->probe_count > 0 || b->waiting_count > 0 || b->outgoing_count > 0 ||
                b->rebuild.run != NULL;
    for (size_t at = 0; at < b->lists.busy_count; at++)
        busy = busy || b->lists.busy[at]->live != NULL || b->lists.busy[at]->staged;
    for (size_t at = 0; at < b->node_count; at++) {
        const struct node *node = b->nodes[at];
        busy = busy || node->fresh || node->conn != 0;
        if (node->parked && node->heard) /* one that said nothing yet is not answered */
            next = TM_MIN(next, node->parked_until_us);
    }
    if (busy)
        next = TM_MIN(next, b->now.mono_us + TICK_US);
    return TM_MAX(next, b->now.mono_us);
}

/* What an event made possible, or time. */
static void go_on(struct brain *b)
{
    if (b->look_all) {
        node_tick(b);
        tenants_tick(b);
    }
    job_tick(b);
    if (b->look_all) {
        probes_tick(b);
        intents_tick(b);
        rebuild_tick(b);
        lives_tick(b);
        persist_tick(b);
    }
    desired_tick(b);
    if (!b->look_all)
        return; /* the WAKE before still counts */
    store_list(b);
    b->wake_us = next_wake(b);
    if (b->wake_us != UINT64_MAX)
        brain_emit(b, BRAIN_ACT_WAKE)->wake.at_us = b->wake_us;
}

int brain_step(struct brain *b, const struct brain_event *event, struct brain_now now,
               struct brain_actions *ret, struct tm_err *err)
{
    codec_arena_release(&b->step);
    b->action_count = 0;
    b->failed = false;
    b->err = err;
    b->now = now;
    if (b->started_us == 0)
        b->started_us = now.mono_us;
    b->touched_count = 0;
    b->look_all = event->kind != BRAIN_EV_REQUEST || now.mono_us >= b->wake_us ||
                  b->waiting_count > 0 || b->probe_count > 0;
    if (event->kind != BRAIN_EV_REQUEST && event->kind != BRAIN_EV_TICK)
        b->facts++;
    store_list(b);
    dispatch(b, event);
    store_list(b);
    if (b->loaded && !b->failed)
        go_on(b);
    b->err = NULL;
    if (b->failed)
        return err->code != TM_E_OK ? -(int)err->code : tm_err_oom(err);
    *ret = (struct brain_actions){.items = b->actions, .count = b->action_count};
    return 0;
}

uint64_t brain_term(const struct brain *b)
{
    return b->term;
}
