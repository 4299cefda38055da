/*
 * The link to the coordinator: connect with growing, jittered pauses; one heartbeat a second, one
 * poll always parked; replies sorted to who asked. A reply of an older term than the newest seen is
 * not taken and ends the connection: its sender has been replaced and does not know it.
 */
#include "agent/brain/internal.h"

#include <stdio.h>

#define HEARTBEAT_FAILURES_MAX 3
#define POLL_PAUSE_US          200000 /* after a poll that came back at once without news */

static uint64_t after_ms(const struct agent_brain *b, uint64_t ms)
{
    return b->now.mono_us + ms * 1000;
}

/* ---- connecting ---- */

/* Nothing that was asked will be answered any more. */
static void forget_requests(struct agent_brain *b)
{
    memset(b->in_flight, 0, sizeof(b->in_flight));
    b->heartbeat_out = false;
    b->heartbeat_failures = 0;
    b->poll_out = false;
    for (size_t at = 0; at < b->job_count; at++)
        agent_work_void_requests(b->jobs[at]);
}

static void reconnect_later(struct agent_brain *b)
{
    b->connected = false;
    b->connecting = false;
    forget_requests(b);
    uint64_t pause_ms = b->config.reconnect_min_ms;
    for (uint32_t at = 0; at < b->connect_failures && pause_ms < b->config.reconnect_max_ms; at++)
        pause_ms *= 2;
    pause_ms = TM_MIN(pause_ms, (uint64_t)b->config.reconnect_max_ms);
    /* half fixed, half random: a thousand agents do not come back in the same millisecond */
    pause_ms = pause_ms / 2 + b->rng.next(b->rng.arg) % (pause_ms / 2 + 1);
    b->connect_failures += b->connect_failures < 16;
    b->connect_at_us = after_ms(b, pause_ms);
}

static void disconnect(struct agent_brain *b, const char *why)
{
    if (!b->connected)
        return;
    agent_log(b, NULL, 4, AGENT_LOG_PLAIN, "connection to the coordinator given up: %s", why);
    (void)agent_emit(b, AGENT_ACT_DISCONNECT);
    reconnect_later(b);
}

static void new_term(struct agent_brain *b, uint64_t term, uint64_t start)
{
    b->term = term;
    b->start = start;
    b->revision = 0;
    b->told_revision = 0;
    b->desired_known = false;
    struct agent_action *action = agent_emit(b, AGENT_ACT_STORE_TERM);
    action->store_term.term = term;
    action->store_term.start = start;
    for (size_t at = 0; at < b->job_count; at++)
        agent_work_new_term(b, b->jobs[at]);
}

void agent_link_connected(struct agent_brain *b, uint64_t term, uint64_t start)
{
    b->connecting = false;
    b->connected = true;
    forget_requests(b);
    if (term < b->term) {
        disconnect(b, "its term is older than one seen before");
        return;
    }
    agent_log(b, NULL, 6, AGENT_LOG_PLAIN, "connected, term %llu", (unsigned long long)term);
    if (term != b->term || start != b->start)
        new_term(b, term, start);
    b->connect_failures = 0;
    b->heartbeat_at_us = b->now.mono_us;
    b->poll_at_us = b->now.mono_us;
}

void agent_link_disconnected(struct agent_brain *b, const struct tm_err *err)
{
    if (!b->connected && !b->connecting)
        return;
    agent_log(b, NULL, b->connected || b->connect_failures == 0 ? 4 : 7, AGENT_LOG_PLAIN,
              b->connected ? "connection to the coordinator lost: %s"
                           : "cannot connect to the coordinator: %s",
              err != NULL && err->code != TM_E_OK ? err->msg : "closed");
    reconnect_later(b);
}

/* ---- requests ---- */

uint64_t agent_link_send(struct agent_brain *b, struct message *m, enum request_kind kind,
                         uint32_t job, uint32_t timeout_ms)
{
    struct in_flight *slot = NULL;
    for (size_t at = 0; at < AGENT_BRAIN_IN_FLIGHT && slot == NULL; at++) {
        if (b->in_flight[at].serial == 0)
            slot = &b->in_flight[at];
    }
    if (slot == NULL || !b->connected)
        return 0;
    *slot = (struct in_flight){.serial = ++b->serial, .kind = kind, .job = job};
    m->serial = slot->serial;
    m->term = b->term;
    struct agent_action *action = agent_emit(b, AGENT_ACT_SEND);
    action->send.message = m;
    action->send.timeout_ms = timeout_ms;
    return slot->serial;
}

static bool take_in_flight(struct agent_brain *b, uint64_t serial, struct in_flight *ret)
{
    for (size_t at = 0; at < AGENT_BRAIN_IN_FLIGHT; at++) {
        if (serial != 0 && b->in_flight[at].serial == serial) {
            *ret = b->in_flight[at];
            b->in_flight[at] = (struct in_flight){0};
            return true;
        }
    }
    return false;
}

/* m is NULL when the request failed or was refused. */
static void settle_request(struct agent_brain *b, const struct in_flight *request,
                           const struct message *m)
{
    struct job *job;
    switch (request->kind) {
    case REQ_HEARTBEAT:
        b->heartbeat_out = false;
        b->heartbeat_failures = m != NULL ? 0 : b->heartbeat_failures + 1;
        if (m != NULL)
            agent_desired_apply(b, m);
        break;
    case REQ_POLL:
        b->poll_out = false;
        b->poll_at_us = b->now.mono_us;
        if (m == NULL || b->now.mono_us - b->poll_sent_us < POLL_PAUSE_US)
            b->poll_at_us += POLL_PAUSE_US;
        if (m != NULL)
            agent_desired_apply(b, m);
        break;
    case REQ_PLAN:
    case REQ_WANT:
    case REQ_DONE:
    case REQ_RESULTS:
    case REQ_ACCEPTED:
        job = agent_job_find(b, request->job);
        if (job != NULL)
            agent_work_reply(b, job, request->kind, request->serial, m);
        break;
    }
}

static enum message_type reply_type(enum request_kind kind)
{
    switch (kind) {
    case REQ_HEARTBEAT:
    case REQ_POLL:
        return MESSAGE_desired;
    case REQ_PLAN:
        return MESSAGE_plan_ack;
    case REQ_WANT:
        return MESSAGE_ranges;
    case REQ_DONE:
        return MESSAGE_verdicts;
    case REQ_RESULTS:
    case REQ_ACCEPTED:
        return MESSAGE_results;
    }
    return MESSAGE_error;
}

void agent_link_reply(struct agent_brain *b, const struct message *m)
{
    struct in_flight request;
    if (!take_in_flight(b, m->serial, &request))
        return;
    if (m->term < b->term) {
        settle_request(b, &request, NULL);
        disconnect(b, "it answers with a term older than one seen before");
        return;
    }
    if (m->term > b->term)
        new_term(b, m->term, b->start);
    if (m->type == reply_type(request.kind)) {
        settle_request(b, &request, m);
        return;
    }
    settle_request(b, &request, NULL);
    if (m->type != MESSAGE_error) {
        disconnect(b, "it answers with a message that does not belong to the question");
        return;
    }
    agent_log(b, NULL, 4, AGENT_LOG_PLAIN, "the coordinator refuses: %s", m->error.text);
    if (m->error.code == TM_E_PERMISSION || m->error.code == TM_E_CONFLICT)
        disconnect(b, "it does not know this connection");
}

void agent_link_request_failed(struct agent_brain *b, uint64_t serial, const struct tm_err *err)
{
    struct in_flight request;
    (void)err; /* each request is repeated by the level it serves; only silence counts */
    if (take_in_flight(b, serial, &request))
        settle_request(b, &request, NULL);
    if (b->heartbeat_failures >= HEARTBEAT_FAILURES_MAX)
        disconnect(b, "it does not answer");
}

/* ---- what is due by itself ---- */

static void send_heartbeat(struct agent_brain *b)
{
    struct message *m = agent_step_alloc(b, sizeof(*m));
    if (m == NULL)
        return;
    m->type = MESSAGE_heartbeat;
    agent_report_heartbeat(b, &m->heartbeat);
    uint32_t timeout_ms = TM_MIN(b->config.request_ms, 3 * b->config.heartbeat_ms);
    b->heartbeat_out = agent_link_send(b, m, REQ_HEARTBEAT, 0, timeout_ms) != 0;
    b->heartbeat_urgent = false;
    b->heartbeat_at_us = after_ms(b, b->config.heartbeat_ms);
}

static void send_poll(struct agent_brain *b)
{
    struct message *m = agent_step_alloc(b, sizeof(*m));
    if (m == NULL)
        return;
    m->type = MESSAGE_poll;
    m->poll.term = b->desired_known ? b->term : 0;
    m->poll.revision = b->revision;
    b->poll_out = agent_link_send(b, m, REQ_POLL, 0, b->config.poll_ms) != 0;
    b->poll_sent_us = b->now.mono_us;
    if (!b->poll_out)
        b->poll_at_us = after_ms(b, b->config.heartbeat_ms);
}

void agent_link_tick(struct agent_brain *b)
{
    if (!b->connected) {
        if (!b->connecting && !b->done && b->now.mono_us >= b->connect_at_us) {
            struct agent_action *action = agent_emit(b, AGENT_ACT_CONNECT);
            action->connect.seen_term = b->term;
            action->connect.seen_start = b->start;
            action->connect.seen_revision = b->told_revision;
            b->connecting = true;
        }
        return;
    }
    if (!b->heartbeat_out && (b->heartbeat_urgent || b->now.mono_us >= b->heartbeat_at_us))
        send_heartbeat(b);
    if (!b->poll_out && !b->stopping && b->now.mono_us >= b->poll_at_us)
        send_poll(b);
}

uint64_t agent_link_next_us(const struct agent_brain *b)
{
    if (!b->connected)
        return b->connecting ? UINT64_MAX : b->connect_at_us;
    uint64_t next = UINT64_MAX;
    if (!b->heartbeat_out)
        next = b->heartbeat_at_us;
    if (!b->poll_out && !b->stopping)
        next = TM_MIN(next, b->poll_at_us);
    return next;
}
