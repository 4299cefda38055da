/*
 * Connections. Every message is encoded where it is sent and decoded where it arrives. On the way it
 * may be lost, late, doubled or overtaken. A partition loses everything between one agent and all
 * coordinators; whether the ends notice is another matter.
 */
#include "tests/sim/sim.h"

#include <stdio.h>

#define HELLO_TIMEOUT_US SEC(3)

static uint64_t delay(struct world *w)
{
    uint64_t max = w->profile.delay_max_us;
    return sim_chance(w, 20) ? sim_below(w, max * 20) : 200 + sim_below(w, max);
}

static bool cut(const struct world *w, const struct sim_agent *a)
{
    return w->now_us < a->partition_until_us;
}

static bool lost(struct world *w, const struct sim_agent *a)
{
    return cut(w, a) || (w->now_us < w->profile.faults_until_us && sim_chance(w, w->profile.loss));
}

static bool agent_has(const struct sim_agent *a, uint64_t conn)
{
    return a->alive && conn != 0 && a->conn == conn;
}

static struct sim_agent *agent_of(struct world *w, uint64_t conn, uint32_t *ret)
{
    for (uint32_t at = 0; at < w->profile.agents; at++) {
        if (agent_has(&w->agents[at], conn)) {
            *ret = at;
            return &w->agents[at];
        }
    }
    return NULL;
}

static void disconnected(struct world *w, uint32_t agent)
{
    struct tm_err err;
    w->agents[agent].conn = 0;
    w->agents[agent].welcomed = false;
    (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "closed");
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    event.disconnected.err = &err;
    agent_feed(w, agent, &event);
}

/* ---- hello ---- */

static bool coord_is(const struct world *w, const struct sim_arg *arg)
{
    const struct sim_coord *c = &w->coords[arg->who];
    return c->alive && c->life == arg->life;
}

/* who/life: coordinator; a: conn, b: agent, c: seen term, d: seen start, e: seen revision */
static void on_hello(struct world *w, struct sim_arg *arg)
{
    struct sim_agent *a = &w->agents[arg->b];
    if (!coord_is(w, arg) || !agent_has(a, arg->a))
        return;
    struct brain_event event = {.kind = BRAIN_EV_AGENT_UP};
    event.up.conn = arg->a;
    event.up.ctx = 1;
    event.up.cluster = "c1";
    event.up.node = a->node;
    event.up.boot = a->boot;
    event.up.seen_term = arg->c;
    event.up.seen_start = arg->d;
    event.up.seen_revision = arg->e;
    coord_feed(w, arg->who, &event);
}

/* a: conn, b: agent */
static void on_hello_timeout(struct world *w, struct sim_arg *arg)
{
    struct sim_agent *a = &w->agents[arg->b];
    if (agent_has(a, arg->a) && !a->welcomed)
        disconnected(w, (uint32_t)arg->b);
}

void net_connect(struct world *w, uint32_t agent, uint64_t seen_term, uint64_t seen_start,
                 uint64_t seen_revision)
{
    struct sim_agent *a = &w->agents[agent];
    a->conn = ++w->next_conn;
    a->welcomed = false;
    a->misses = w->put_back.term != 0 && seen_term == w->put_back.term &&
                seen_start == w->put_back.start && seen_revision > w->put_back.revision;
    struct sim_arg *arg = sim_at(w, HELLO_TIMEOUT_US, on_hello_timeout);
    arg->a = a->conn;
    arg->b = agent;
    uint32_t which = (uint32_t)sim_below(w, SIM_COORDS_MAX);
    if (!w->coords[which].alive)
        which = (which + 1) % SIM_COORDS_MAX;
    if (!w->coords[which].alive || lost(w, a))
        return;
    a->conn_coord = which;
    a->conn_coord_life = w->coords[which].life;
    arg = sim_at(w, delay(w), on_hello);
    arg->who = which;
    arg->life = w->coords[which].life;
    arg->a = a->conn;
    arg->b = agent;
    arg->c = seen_term;
    arg->d = seen_start;
    arg->e = seen_revision;
}

/* a: conn, b: term, c: start */
static void on_welcome(struct world *w, struct sim_arg *arg)
{
    uint32_t agent = 0;
    struct sim_agent *a = agent_of(w, arg->a, &agent);
    if (a == NULL || a->welcomed)
        return;
    a->welcomed = true;
    struct agent_event event = {.kind = AGENT_EV_CONNECTED};
    event.connected.term = arg->b;
    event.connected.start = arg->c;
    agent_feed(w, agent, &event);
}

void net_welcome(struct world *w, uint32_t coord, uint64_t conn, uint64_t term, uint64_t start)
{
    uint32_t agent;
    struct brain_doubt doubt;
    struct sim_agent *a = agent_of(w, conn, &agent);
    if (a != NULL && a->misses && w->put_back.term != 0 &&
        !brain_in_doubt(w->coords[coord].brain, &doubt))
        sim_violate(w, "agent %s is welcomed, and its coordinator's state was put back unnoticed",
                    a->node);
    if (a == NULL || lost(w, a))
        return;
    struct sim_arg *arg = sim_at(w, delay(w), on_welcome);
    arg->a = conn;
    arg->b = term;
    arg->c = start;
}

/* ---- closing ---- */

/* a: conn */
static void on_gone(struct world *w, struct sim_arg *arg)
{
    if (!coord_is(w, arg))
        return;
    struct brain_event event = {.kind = BRAIN_EV_AGENT_GONE};
    event.gone.conn = arg->a;
    coord_feed(w, arg->who, &event);
}

/* The coordinator hears of the end of a connection, sooner or later. */
static void tell_coordinator(struct world *w, const struct sim_agent *a)
{
    const struct sim_coord *c = &w->coords[a->conn_coord];
    if (!c->alive || c->life != a->conn_coord_life)
        return;
    struct sim_arg *arg = sim_at(w, delay(w) + (cut(w, a) ? SEC(10) : 0), on_gone);
    arg->who = a->conn_coord;
    arg->life = a->conn_coord_life;
    arg->a = a->conn;
}

void net_disconnect(struct world *w, uint32_t agent)
{
    struct sim_agent *a = &w->agents[agent];
    if (a->conn == 0)
        return;
    tell_coordinator(w, a);
    a->conn = 0;
    a->welcomed = false;
}

/* a: conn */
static void on_closed(struct world *w, struct sim_arg *arg)
{
    uint32_t agent = 0;
    if (agent_of(w, arg->a, &agent) != NULL)
        disconnected(w, agent);
}

void net_close(struct world *w, uint32_t coord, uint64_t conn)
{
    (void)coord;
    uint32_t agent;
    if (agent_of(w, conn, &agent) != NULL)
        sim_at(w, delay(w), on_closed)->a = conn;
}

void net_coord_died(struct world *w, uint32_t coord)
{
    for (uint32_t at = 0; at < w->profile.agents; at++) {
        const struct sim_agent *a = &w->agents[at];
        if (a->conn != 0 && a->conn_coord == coord && a->conn_coord_life == w->coords[coord].life &&
            sim_chance(w, 800)) /* else its connection just hangs */
            sim_at(w, delay(w), on_closed)->a = a->conn;
    }
}

/* ---- requests ---- */

static void decode(const struct sim_arg *arg, struct message *ret)
{
    struct tm_err err;
    if (message_decode(buf_slice(&arg->bytes), ret, NULL, &err) < 0)
        sim_die("a message does not decode", &err);
}

/* who/life: coordinator; a: conn */
static void on_request(struct world *w, struct sim_arg *arg)
{
    uint32_t agent;
    const struct sim_agent *a = agent_of(w, arg->a, &agent);
    if (!coord_is(w, arg) || a == NULL || cut(w, a))
        return;
    struct message m;
    decode(arg, &m);
    w->counts.messages++;
    struct brain_event event = {.kind = BRAIN_EV_REQUEST};
    event.request.conn = arg->a;
    event.request.ctx = ++w->next_conn;
    event.request.message = &m;
    coord_feed(w, arg->who, &event);
    message_release(&m);
}

/* who/life: agent; a: conn, b: serial. The brain ignores what was answered. */
static void on_timeout(struct world *w, struct sim_arg *arg)
{
    struct sim_agent *a = &w->agents[arg->who];
    if (a->life != arg->life || !agent_has(a, arg->a))
        return;
    struct tm_err err;
    (void)tm_err_retry(&err, TM_E_TIMEOUT, "no answer");
    struct agent_event event = {.kind = AGENT_EV_REQUEST_FAILED};
    event.request_failed.serial = arg->b;
    event.request_failed.err = &err;
    agent_feed(w, arg->who, &event);
}

void net_request(struct world *w, uint32_t agent, const struct message *m, uint32_t timeout_ms)
{
    struct tm_err err;
    struct sim_agent *a = &w->agents[agent];
    struct sim_arg *arg = sim_at(w, MS(timeout_ms), on_timeout);
    arg->who = agent;
    arg->life = a->life;
    arg->a = a->conn;
    arg->b = m->serial;
    const struct sim_coord *c = &w->coords[a->conn_coord];
    if (!c->alive || c->life != a->conn_coord_life)
        return;
    unsigned copies = 1 + (unsigned)sim_chance(w, w->profile.dup);
    for (unsigned copy = 0; copy < copies; copy++) {
        if (lost(w, a))
            continue;
        arg = sim_at(w, delay(w), on_request);
        arg->who = a->conn_coord;
        arg->life = c->life;
        arg->a = a->conn;
        if (message_encode(m, MESSAGE_MINOR, &arg->bytes, &err) < 0)
            sim_die("an agent's message does not encode", &err);
    }
}

/* a: conn */
static void on_reply(struct world *w, struct sim_arg *arg)
{
    uint32_t agent = 0;
    const struct sim_agent *a = agent_of(w, arg->a, &agent);
    if (a == NULL || cut(w, a))
        return;
    struct message m;
    decode(arg, &m);
    struct agent_event event = {.kind = AGENT_EV_REPLY};
    event.reply.message = &m;
    agent_feed(w, agent, &event);
    message_release(&m);
}

void net_reply(struct world *w, uint32_t coord, uint64_t conn, const struct message *m)
{
    (void)coord;
    uint32_t agent;
    struct tm_err err;
    struct sim_agent *a = agent_of(w, conn, &agent);
    if (a == NULL || lost(w, a))
        return;
    struct sim_arg *arg = sim_at(w, delay(w), on_reply);
    arg->a = conn;
    if (message_encode(m, MESSAGE_MINOR, &arg->bytes, &err) < 0)
        sim_die("the coordinator's message does not encode", &err);
}
