/*
 * One agent of the fleet: brain and line are the real ones, all else answers at once, or at the fleet's pace.
 *
 * Happy path: a tick sets it off → CONNECT → the line goes through hello → heartbeats, polls, jobs. What a session or a
 * runner would say comes as a due event, fed when the step that asked for it is over.
 * Failure: a connection that is lost, and a request without an answer, are counted; the brain goes on as it would.
 */
#include "tests/bench/fleet/fleet.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/array.h"
#include "common/clock.h"

#define IDENTITY "7300000000000000001"
#define CAP_HOLD 1u   /* ENGINE_CAP_HOLD */
#define START_US 3000 /* between one member and the next */

uint64_t fleet_random(void *arg)
{
    struct fleet *fleet = arg;
    uint64_t x = fleet->rng; /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    fleet->rng = x;
    return x;
}

void member_due(struct member *m, const struct due_event *event)
{
    struct tm_err err;
    if (ARRAY_ROOM(m->due, m->due_count, m->due_cap, 16, &err) < 0)
        fleet_die("memory", &err);
    m->due[m->due_count++] = *event;
}

/* ---- what is played ---- */

static void feed_begun(struct member *m, uint32_t job)
{
    struct agent_event event = {.kind = AGENT_EV_SESSION_BEGUN};
    event.begun.job = job;
    event.begun.begin = slice_str("begun");
    event.begun.replay_from = slice_str("1");
    event.begun.replay_from_text = "0/1";
    event.begun.lineage_label = "1";
    event.begun.identity = IDENTITY;
    event.begun.version = "15.1";
    member_feed(m, &event);
}

static void feed_ended(struct member *m, uint32_t job)
{
    struct agent_event event = {.kind = AGENT_EV_SESSION_ENDED};
    event.ended.job = job;
    event.ended.end = slice_str("ended");
    event.ended.consistent_at = slice_str("2");
    event.ended.consistent_at_text = "0/2";
    event.ended.commit_us = clock_real_us();
    member_feed(m, &event);
}

static void feed_exited(struct member *m, const struct due_event *due)
{
    struct agent_event event = {.kind = AGENT_EV_RUNNER_EXITED};
    struct player *p = player_find(m, due->job, due->generation);
    if (p == NULL)
        return; /* told to stop, and killed */
    player_free(p);
    event.exited.job = due->job;
    event.exited.generation = due->generation;
    event.exited.signal = (int)due->value;
    member_feed(m, &event);
}

static void feed_frame(struct member *m, const struct due_event *due)
{
    const struct player *p = player_find(m, due->job, due->generation);
    struct frame f = {0};
    struct msg_totals totals = {.commit_us = clock_real_us(), .position = "0/2"};
    struct msg_probe_answer answer = {.kept = true};
    if (p == NULL)
        return;
    if (due->what == DUE_READY) {
        f.type = FRAME_ready;
    } else if (due->what == DUE_NEED) {
        f.type = FRAME_need;
        f.need.count = due->value;
    } else if (due->what == DUE_WANT_RESULTS) {
        f.type = FRAME_want_results;
        f.want_results.from = due->value;
    } else if (due->what == DUE_KEPT) {
        answer.id = p->errand;
        f.type = FRAME_probed;
        f.probed.done = true;
        f.probed.answer = &answer;
    } else {
        check_commit(m->fleet, p->uid);
        f.type = FRAME_committed;
        f.committed.totals = &totals;
    }
    player_tell(p, &f);
}

static void feed_due(struct member *m, const struct due_event *due)
{
    struct agent_event event = {0};
    switch (due->what) {
    case DUE_BEGUN:
        feed_begun(m, due->job);
        break;
    case DUE_ENDED:
        feed_ended(m, due->job);
        break;
    case DUE_CLOSED:
        event.kind = AGENT_EV_SESSION_CLOSED;
        event.session_closed.job = due->job;
        member_feed(m, &event);
        break;
    case DUE_EXITED:
        feed_exited(m, due);
        break;
    case DUE_HOLD_DROPPED:
        event.kind = AGENT_EV_HOLD_DROPPED;
        event.hold_dropped.name = due->name;
        member_feed(m, &event);
        break;
    case DUE_HOLDS_LISTED:
        event.kind = AGENT_EV_HOLDS_LISTED;
        event.holds_listed.instance = due->value;
        member_feed(m, &event);
        break;
    default:
        feed_frame(m, due);
        break;
    }
}

/* ---- actions ---- */

static int sort_of(enum message_type type)
{
    switch (type) {
    case MESSAGE_heartbeat:
        return FIGURE_HEARTBEAT;
    case MESSAGE_want_ranges:
        return FIGURE_WANT;
    case MESSAGE_ranges_done:
        return FIGURE_DONE;
    case MESSAGE_plan_ranges:
        return FIGURE_PLAN;
    case MESSAGE_want_results:
        return FIGURE_RESULTS;
    default:
        return -1; /* a poll is parked */
    }
}

static void send(struct member *m, const struct agent_action *action)
{
    int sort = sort_of(action->send.message->type);
    if (sort >= 0 && m->timed_count < AGENT_BRAIN_IN_FLIGHT) {
        m->timed[m->timed_count].serial = action->send.message->serial;
        m->timed[m->timed_count].sent_us = clock_mono_us();
        m->timed[m->timed_count].sort = (enum figure_sort)sort;
        m->timed_count++;
    }
    line_send(m->line, action->send.message, action->send.timeout_ms);
}

static void act_session(struct member *m, const struct agent_action *action)
{
    struct due_event due = {.job = action->session.job};
    if (action->kind == AGENT_ACT_SESSION_BEGIN)
        due.what = DUE_BEGUN;
    else if (action->kind == AGENT_ACT_SESSION_END)
        due.what = DUE_ENDED;
    else
        due.what = DUE_CLOSED;
    member_due(m, &due);
}

static void act_hold(struct member *m, const struct agent_action *action)
{
    struct due_event due = {.what = DUE_HOLD_DROPPED};
    if (action->kind == AGENT_ACT_HOLD_DROP) {
        (void)snprintf(due.name, sizeof(due.name), "%s", action->hold_drop.name);
    } else {
        due.what = DUE_HOLDS_LISTED;
        due.value = (uint32_t)action->hold_list.instance;
    }
    member_due(m, &due);
}

static void act_runner(struct member *m, const struct agent_action *action)
{
    uint32_t job = action->runner.job;
    uint32_t generation = action->runner.generation;
    struct player *p = player_find(m, job, generation);
    if (action->kind == AGENT_ACT_RUNNER_SPAWN)
        player_new(m, job, generation);
    else if (p != NULL && action->kind == AGENT_ACT_RUNNER_SEND)
        player_take(p, action->runner.frame);
    else if (p != NULL)
        member_due(m, &(struct due_event){
                          .what = DUE_EXITED, .job = job, .generation = generation, .value = 9});
}

static void act(struct member *m, const struct agent_action *action)
{
    switch (action->kind) {
    case AGENT_ACT_CONNECT:
        line_connect(m->line, action->connect.seen_term, action->connect.seen_start,
                     action->connect.seen_revision);
        break;
    case AGENT_ACT_DISCONNECT:
        line_disconnect(m->line);
        break;
    case AGENT_ACT_SEND:
        send(m, action);
        break;
    case AGENT_ACT_SESSION_BEGIN:
    case AGENT_ACT_SESSION_END:
    case AGENT_ACT_SESSION_CLOSE:
        act_session(m, action);
        break;
    case AGENT_ACT_HOLD_DROP:
    case AGENT_ACT_HOLD_LIST:
        act_hold(m, action);
        break;
    case AGENT_ACT_RUNNER_SPAWN:
    case AGENT_ACT_RUNNER_SEND:
    case AGENT_ACT_RUNNER_KILL:
        act_runner(m, action);
        break;
    case AGENT_ACT_LOG:
        if (action->log.priority <= 3)
            fleet_violate(m->fleet, "%s: %s", m->node, action->log.text);
        break;
    case AGENT_ACT_WAKE:
        if (action->wake.at_us != UINT64_MAX)
            loop_timer_set(m->wake, (int64_t)action->wake.at_us);
        break;
    default: /* nothing outlives the fleet */
        break;
    }
}

static void step(struct member *m, const struct agent_event *event)
{
    struct agent_now now = {.mono_us = (uint64_t)clock_mono_us(), .real_us = clock_real_us()};
    struct agent_actions actions;
    struct tm_err err = {0};
    if (agent_brain_step(m->brain, event, now, &actions, &err) < 0)
        fleet_die("agent", &err);
    for (size_t at = 0; at < actions.count; at++)
        act(m, &actions.items[at]);
}

void member_feed(struct member *m, const struct agent_event *event)
{
    step(m, event);
    if (m->feeding)
        return; /* whoever began takes what is due now, too */
    m->feeding = true;
    for (size_t at = 0; at < m->due_count; at++) {
        struct due_event due = m->due[at];
        feed_due(m, &due);
    }
    m->due_count = 0;
    m->feeding = false;
}

/* ---- what happens ---- */

static void on_wake(void *arg)
{
    member_feed(arg, &(struct agent_event){.kind = AGENT_EV_TICK});
}

/* The first of a cluster is its primary. Its position moves, as that of a busy server does. */
static void on_look(void *arg)
{
    struct member *m = arg;
    struct msg_instance seen = {.role = m->index == 0 ? INSTANCE_PRIMARY : INSTANCE_STANDBY,
                                .identity = IDENTITY,
                                .version = "15.1",
                                .lineage_label = "1",
                                .data_bytes = UINT64_C(1) << 40};
    struct agent_event event = {.kind = AGENT_EV_INSTANCE};
    (void)snprintf(seen.position, sizeof(seen.position), "1A/%08" PRIX32,
                   (uint32_t)(clock_mono_us() / 1000));
    event.instance.instance = &seen;
    loop_timer_set(m->look, clock_mono_us() + USEC_PER_SEC);
    member_feed(m, &event);
}

static void on_connected(void *arg, uint64_t term, uint64_t start)
{
    struct agent_event event = {.kind = AGENT_EV_CONNECTED};
    event.connected.term = term;
    event.connected.start = start;
    member_feed(arg, &event);
}

static void on_disconnected(void *arg, const struct tm_err *err)
{
    struct member *m = arg;
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED};
    event.disconnected.err = err;
    (void)fprintf(stderr, "fleet: %s: %s\n", m->node, err->msg);
    m->fleet->figures.lost++;
    m->timed_count = 0;
    member_feed(m, &event);
}

static void timed(struct member *m, uint64_t serial, bool answered)
{
    for (size_t at = 0; at < m->timed_count; at++) {
        if (m->timed[at].serial != serial)
            continue;
        if (answered)
            figures_add(&m->fleet->figures, m->timed[at].sort,
                        clock_mono_us() - m->timed[at].sent_us);
        m->timed[at] = m->timed[--m->timed_count];
        return;
    }
}

static void on_reply(void *arg, const struct message *message)
{
    struct member *m = arg;
    struct agent_event event = {.kind = AGENT_EV_REPLY};
    timed(m, message->serial, true);
    if (message->type == MESSAGE_error)
        fleet_violate(m->fleet, "%s is refused: %s", m->node, message->error.text);
    if (message->type == MESSAGE_verdicts)
        check_verdicts(m->fleet, &message->verdicts);
    event.reply.message = message;
    member_feed(m, &event);
}

static void on_failed(void *arg, uint64_t serial, const struct tm_err *err)
{
    struct member *m = arg;
    struct agent_event event = {.kind = AGENT_EV_REQUEST_FAILED};
    timed(m, serial, false);
    (void)fprintf(stderr, "fleet: %s: %s\n", m->node, err->msg);
    m->fleet->figures.failed++;
    event.request_failed.serial = serial;
    event.request_failed.err = err;
    member_feed(m, &event);
}

/* ---- life ---- */

static int make_brain(struct member *m, struct tm_err *err)
{
    const struct agent_instance instance = {.tenant = "main",
                                            .engine = "postgres",
                                            .caps = CAP_HOLD,
                                            .data_dir = "/data",
                                            .conninfo = ""};
    const struct agent_brain_config config = {.cluster = m->fleet->options.cluster,
                                              .node = m->node,
                                              .boot = m->boot,
                                              .version = "1",
                                              .instances = &instance,
                                              .instance_count = 1};
    return agent_brain_new(&config, (struct agent_rng){.next = fleet_random, .arg = m->fleet},
                           &m->brain, err);
}

static int make_line(struct member *m, struct tm_err *err)
{
    static const struct line_handlers handlers = {.connected = on_connected,
                                                  .disconnected = on_disconnected,
                                                  .reply = on_reply,
                                                  .failed = on_failed};
    const struct fleet_options *options = &m->fleet->options;
    struct line_config config = {.urls = m->fleet->urls,
                                 .url_count = 1,
                                 .cluster = options->cluster,
                                 .node = m->node,
                                 .boot = m->boot};
    if (options->keys_dir != NULL) {
        (void)snprintf(m->key_file, sizeof(m->key_file), "%s/%s/%s.key", options->keys_dir,
                       options->cluster, m->node);
        config.key_file = m->key_file;
    }
    return line_new(m->fleet->loop, &config, &handlers, m, &m->line, err);
}

int member_new(struct fleet *fleet, uint32_t index, struct member **ret, struct tm_err *err)
{
    struct member *m = calloc(1, sizeof(*m));
    int r;
    if (m == NULL)
        return tm_err_oom(err);
    m->fleet = fleet;
    m->index = index;
    list_init(&m->players);
    (void)snprintf(m->node, sizeof(m->node), "node-%04u", index);
    (void)snprintf(m->boot, sizeof(m->boot), "%016" PRIx64 "%016" PRIx64, fleet_random(fleet),
                   fleet_random(fleet));
    if ((r = make_brain(m, err)) < 0 || (r = make_line(m, err)) < 0 ||
        (r = loop_timer_new(fleet->loop, on_wake, m, &m->wake, err)) < 0 ||
        (r = loop_timer_new(fleet->loop, on_look, m, &m->look, err)) < 0)
        return r;
    int64_t begin_us = clock_mono_us() + (int64_t)index * START_US;
    loop_timer_set(m->wake, begin_us);
    loop_timer_set(m->look, begin_us);
    *ret = m;
    return 0;
}
