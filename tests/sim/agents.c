/* Agent processes with their database sessions. */
#include "tests/sim/real.h"

#include <inttypes.h>
#include <stdio.h>

static bool arg_alive(const struct world *w, const struct sim_arg *arg)
{
    const struct sim_agent *a = &w->agents[arg->who];
    return a->alive && a->life == arg->life;
}

static struct sim_arg *later(struct world *w, uint32_t which, uint64_t delay_us, sim_fn fn)
{
    struct sim_arg *arg = sim_at(w, delay_us, fn);
    arg->who = which;
    arg->life = w->agents[which].life;
    return arg;
}

/* ---- sessions ---- */

static struct sim_session *session_of(struct sim_agent *a, uint32_t job, bool make)
{
    struct sim_session *empty = NULL;
    for (size_t at = 0; at < TM_ARRAY_LEN(a->sessions); at++) {
        if (a->sessions[at].open && a->sessions[at].job == job)
            return &a->sessions[at];
        if (!a->sessions[at].open)
            empty = &a->sessions[at];
    }
    if (make && empty != NULL)
        *empty = (struct sim_session){.open = true, .job = job};
    return make ? empty : NULL;
}

/* ---- holds ---- */

#define FOUND_TTL_S 20
#define HOLD_GRACE_US                                                                              \
    SEC(60) /* until one whose time is over is seen, and dropped for all that fails */

static char *slot_of(struct sim_agent *a, const char *name)
{
    for (size_t at = 0; at < SIM_SLOTS_MAX; at++) {
        if (strcmp(a->db.slots[at], name) == 0)
            return a->db.slots[at];
    }
    return NULL;
}

static size_t slot_number(const struct sim_agent *a, const char *slot)
{
    return (size_t)(slot - a->db.slots[0]) / SIM_SLOT_LEN;
}

static bool is_kept(const struct sim_agent *a, const char *name)
{
    for (size_t at = 0; at < a->hold_count; at++) {
        if (strcmp(a->holds[at].name, name) == 0)
            return true;
    }
    return false;
}

void agent_check_holds(struct world *w)
{
    for (uint32_t which = 0; which < w->profile.agents; which++) {
        const struct sim_agent *a = &w->agents[which];
        for (size_t at = 0; at < SIM_SLOTS_MAX; at++) {
            if (a->db.slots[at][0] != '\0' && !a->db.orphans[at] && !is_kept(a, a->db.slots[at]))
                sim_violate(
                    w, "the database of %s keeps log for '%s', and its agent knows nothing of it",
                    a->node, a->db.slots[at]);
        }
    }
}

static void keep_holds(struct world *w, struct sim_agent *a, const struct agent_hold *holds,
                       size_t count)
{
    for (size_t at = 0; at < count; at++)
        a->holds[at] = holds[at];
    a->hold_count = count;
    agent_check_holds(w);
}

static void on_dropped(struct world *w, struct sim_arg *arg)
{
    struct tm_err err;
    const char *name = (const char *)arg->bytes.data;
    struct sim_agent *a = &w->agents[arg->who];
    bool fails = a->db.down || (!w->profile.benign && sim_chance(w, 100));
    if (!fails && slot_of(a, name) != NULL)
        slot_of(a, name)[0] = '\0'; /* also when the agent died meanwhile */
    if (!arg_alive(w, arg))
        return;
    for (size_t at = 0; at < TM_ARRAY_LEN(a->sessions); at++) {
        if (!fails && a->sessions[at].open && strcmp(a->sessions[at].hold, name) == 0)
            sim_violate(w, "hold '%s' is dropped under a session of %s", name, a->node);
    }
    (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "the database is down");
    struct agent_event event = {.kind = AGENT_EV_HOLD_DROPPED};
    event.hold_dropped.name = name;
    event.hold_dropped.err = fails ? &err : NULL;
    agent_feed(w, arg->who, &event);
}

/* What was seen at the source is told later. */
static void on_listed(struct world *w, struct sim_arg *arg)
{
    struct agent_hold_found found[SIM_SLOTS_MAX] = {0};
    struct tm_err err;
    struct agent_event event = {.kind = AGENT_EV_HOLDS_LISTED};
    if (!arg_alive(w, arg))
        return;
    (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "the database is down");
    event.holds_listed.holds = found;
    event.holds_listed.count = arg->bytes.len / SIM_SLOT_LEN;
    for (size_t at = 0; at < event.holds_listed.count; at++) {
        found[at].from = 1;
        (void)snprintf(found[at].name, sizeof(found[at].name), "%s",
                       (const char *)arg->bytes.data + at * SIM_SLOT_LEN);
    }
    event.holds_listed.err = arg->a != 0 ? &err : NULL;
    agent_feed(w, arg->who, &event);
}

static void on_list(struct world *w, struct sim_arg *arg)
{
    struct tm_err err;
    const char *prefix = (const char *)arg->bytes.data;
    const struct sim_agent *a = &w->agents[arg->who];
    if (!arg_alive(w, arg))
        return;
    bool fails = a->db.down || (!w->profile.benign && sim_chance(w, 100));
    TM_CLEANUP(buf_release) struct buf names = BUF_INIT;
    for (size_t at = 0; at < SIM_SLOTS_MAX; at++) {
        if (!fails && a->db.slots[at][0] != '\0' &&
            strncmp(a->db.slots[at], prefix, strlen(prefix)) == 0 &&
            buf_append(&names, a->db.slots[at], SIM_SLOT_LEN, &err) < 0)
            sim_die("memory", &err);
    }
    uint32_t who = arg->who;
    struct sim_arg *told = later(w, who, MS(1) + sim_below(w, MS(500)), on_listed);
    told->a = fails;
    told->bytes = names;
    names = (struct buf)BUF_INIT;
}

static const struct agent_hold *kept_of(const struct sim_agent *a, const char *name)
{
    for (size_t at = 0; at < a->hold_count; at++) {
        if (strcmp(a->holds[at].name, name) == 0)
            return &a->holds[at];
    }
    return NULL;
}

static int64_t until_us(const struct agent_hold *hold)
{
    return hold->renewed_us + (int64_t)hold->ttl_s * 1000000;
}

/* The log is there all the same, under another name. */
static void check_other_hold(struct world *w, struct sim_agent *a,
                             const struct sim_session *session)
{
    const struct agent_hold *mine = kept_of(a, session->hold);
    for (size_t at = 0; mine != NULL && at < a->hold_count; at++) {
        const struct agent_hold *other = &a->holds[at];
        if (other != mine && strcmp(other->backup_id, mine->backup_id) == 0 &&
            slot_of(a, other->name) != NULL)
            sim_violate(w, "%s goes on with backup %s under hold '%s', its log is held by '%s'",
                        a->node, mine->backup_id, mine->name, other->name);
    }
}

/* Somebody may still go on with the backup. */
static void check_drop(struct world *w, const struct sim_agent *a, const char *name)
{
    const struct agent_hold *hold = kept_of(a, name);
    if (hold == NULL)
        sim_violate(w, "%s drops hold '%s', which it does not know", a->node, name);
    const struct sim_backup *backup = hold != NULL ? depot_find(w, hold->backup_id, false) : NULL;
    if (backup != NULL && backup->checkpoint && !backup->manifest && backup->marked_us == 0 &&
        (int64_t)(SIM_REAL_US + w->now_us) < until_us(hold))
        sim_violate(w, "%s drops hold '%s' before its time, and backup %s may be gone on with",
                    a->node, name, hold->backup_id);
}

/* One that nobody remembers is found and given up in time. */
static bool orphans_settled(struct world *w, const struct sim_agent *a)
{
    bool settled = true;
    for (size_t at = 0; at < SIM_SLOTS_MAX; at++) {
        if (a->db.slots[at][0] == '\0' || is_kept(a, a->db.slots[at]))
            continue;
        settled = false;
        if (a->alive && !a->db.down && w->now_us > w->profile.faults_until_us + HOLD_GRACE_US)
            sim_violate(w, "the database of %s keeps log for '%s' for ever, which nobody remembers",
                        a->node, a->db.slots[at]);
    }
    return settled;
}

bool agent_holds_settled(struct world *w)
{
    bool settled = true;
    for (uint32_t which = 0; which < w->profile.agents; which++) {
        const struct sim_agent *a = &w->agents[which];
        settled = orphans_settled(w, a) && settled;
        for (size_t at = 0; at < a->hold_count; at++) {
            const struct agent_hold *hold = &a->holds[at];
            int64_t late_us = (int64_t)(SIM_REAL_US + w->now_us) - until_us(hold);
            settled = settled && hold->ttl_s >= 3600; /* nobody waits here for an hour */
            if (late_us > (int64_t)HOLD_GRACE_US)
                sim_violate(w, "%s keeps hold '%s' for ever: its time is over since %.1f s",
                            a->node, hold->name, (double)late_us / 1e6);
        }
    }
    return settled;
}

/* False: the session fails, it says why. */
static bool take_hold(struct world *w, uint32_t which, const struct sim_session *session)
{
    struct sim_agent *a = &w->agents[which];
    struct tm_err err;
    if (session->hold[0] == '\0' || slot_of(a, session->hold) != NULL)
        return true;
    if (session->resume) {
        check_other_hold(w, a, session);
        (void)tm_err_set(&err, TM_E_CONFLICT, "the log is not held any more");
        struct agent_event event = {.kind = AGENT_EV_SESSION_FAILED};
        event.session_failed.job = session->job;
        event.session_failed.err = &err;
        event.session_failed.stage = "resume";
        agent_feed(w, which, &event);
        return false;
    }
    char *slot = slot_of(a, "");
    if (slot == NULL)
        sim_die("too many holds", NULL);
    (void)snprintf(slot, SIM_SLOT_LEN, "%s", session->hold);
    a->db.orphans[slot_number(a, slot)] = false;
    agent_check_holds(w);
    return true;
}

/* a: job */
static void on_begun(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    const struct sim_session *session = session_of(&w->agents[arg->who], (uint32_t)arg->a, false);
    if (session == NULL || !take_hold(w, arg->who, session))
        return;
    struct agent_event event = {.kind = AGENT_EV_SESSION_BEGUN};
    event.begun.job = (uint32_t)arg->a;
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    real_begin_blob(&begin);
    event.begun.begin = buf_slice(&begin);
    event.begun.replay_from = slice_str("1");
    event.begun.replay_from_text = "0/1";
    event.begun.lineage_label = "1";
    event.begun.identity = "7000";
    event.begun.version = "1";
    agent_feed(w, arg->who, &event);
}

static void on_ended(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg) || session_of(&w->agents[arg->who], (uint32_t)arg->a, false) == NULL)
        return;
    struct agent_event event = {.kind = AGENT_EV_SESSION_ENDED};
    event.ended.job = (uint32_t)arg->a;
    TM_CLEANUP(buf_release) struct buf end = BUF_INIT;
    real_end_blob(&end);
    event.ended.end = buf_slice(&end);
    event.ended.consistent_at = slice_str("2");
    event.ended.consistent_at_text = "0/2";
    event.ended.commit_us = 1;
    agent_feed(w, arg->who, &event);
}

static void on_session_closed(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_session *session = session_of(&w->agents[arg->who], (uint32_t)arg->a, false);
    if (session != NULL)
        session->open = false;
    struct agent_event event = {.kind = AGENT_EV_SESSION_CLOSED};
    event.session_closed.job = (uint32_t)arg->a;
    agent_feed(w, arg->who, &event);
}

void agent_lose_session(struct world *w, uint32_t which)
{
    struct sim_agent *a = &w->agents[which];
    for (size_t at = 0; at < TM_ARRAY_LEN(a->sessions) && a->alive; at++) {
        if (!a->sessions[at].open)
            continue;
        struct tm_err err;
        (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "the server closed the connection");
        struct agent_event event = {.kind = AGENT_EV_SESSION_FAILED};
        event.session_failed.job = a->sessions[at].job;
        event.session_failed.err = &err;
        event.session_failed.stage = "session";
        agent_feed(w, which, &event);
        return;
    }
}

/* ---- actions ---- */

static void on_wake(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg) || w->agents[arg->who].wake_seq != arg->a)
        return;
    struct agent_event event = {.kind = AGENT_EV_TICK};
    agent_feed(w, arg->who, &event);
}

static void act_session(struct world *w, uint32_t which, const struct agent_action *action)
{
    uint32_t job = action->session.job;
    struct sim_session *session;
    switch (action->kind) {
    case AGENT_ACT_SESSION_BEGIN:
        session = session_of(&w->agents[which], job, true);
        if (session == NULL)
            sim_die("too many sessions", NULL);
        session->resume = action->session.resume;
        if (action->session.hold != NULL) {
            (void)snprintf(session->hold, sizeof(session->hold), "%s", action->session.hold);
            keep_holds(w, &w->agents[which], action->session.holds, action->session.hold_count);
        }
        later(w, which, MS(30) + sim_below(w, MS(400)), on_begun)->a = job;
        break;
    case AGENT_ACT_SESSION_END:
        later(w, which, MS(30) + sim_below(w, MS(400)), on_ended)->a = job;
        break;
    case AGENT_ACT_SESSION_CLOSE:
        later(w, which, MS(1) + sim_below(w, MS(200)), on_session_closed)->a = job;
        break;
    default:
        break;
    }
}

static void keep_log_jobs(struct sim_agent *a, const struct agent_action *action)
{
    struct codec_arena arena = {0};
    struct tm_err err;
    for (size_t at = 0; at < action->store_log_jobs.count; at++) {
        if (codec_copy(&msg_assignment_codec, &action->store_log_jobs.jobs[at], &arena,
                       &a->log_jobs[at], &err) < 0)
            sim_die("log jobs", &err);
    }
    a->log_job_count = action->store_log_jobs.count;
    a->log_jobs_term = action->store_log_jobs.term;
    codec_arena_release(&a->log_jobs_arena);
    a->log_jobs_arena = arena;
}

static void act(struct world *w, uint32_t which, const struct agent_action *action)
{
    struct sim_agent *a = &w->agents[which];
    struct sim_runner *r;
    switch (action->kind) {
    case AGENT_ACT_CONNECT:
        net_connect(w, which, action->connect.seen_term, action->connect.seen_start,
                    action->connect.seen_revision);
        break;
    case AGENT_ACT_DISCONNECT:
        net_disconnect(w, which);
        break;
    case AGENT_ACT_SEND:
        net_request(w, which, action->send.message, action->send.timeout_ms);
        break;
    case AGENT_ACT_STORE_TERM:
        if (action->store_term.term < a->seen_term)
            sim_violate(w, "agent %s goes back from term %" PRIu64 " to %" PRIu64, a->node,
                        a->seen_term, action->store_term.term);
        a->seen_term = action->store_term.term;
        a->seen_start = action->store_term.start;
        break;
    case AGENT_ACT_STORE_LOG_JOBS:
        keep_log_jobs(a, action);
        break;
    case AGENT_ACT_STORE_HOLDS:
        keep_holds(w, a, action->store_holds.holds, action->store_holds.count);
        break;
    case AGENT_ACT_HOLD_DROP: {
        struct tm_err err;
        check_drop(w, a, action->hold_drop.name);
        struct sim_arg *arg = later(w, which, MS(5) + sim_below(w, MS(300)), on_dropped);
        if (buf_append(&arg->bytes, action->hold_drop.name, strlen(action->hold_drop.name) + 1,
                       &err) < 0)
            sim_die("memory", &err);
        break;
    }
    case AGENT_ACT_HOLD_LIST: {
        struct tm_err err;
        struct sim_arg *arg = later(w, which, MS(5) + sim_below(w, MS(300)), on_list);
        if (buf_append(&arg->bytes, action->hold_list.prefix, strlen(action->hold_list.prefix) + 1,
                       &err) < 0)
            sim_die("memory", &err);
        break;
    }
    case AGENT_ACT_RUNNER_SPAWN:
        if (action->runner.writers != NULL) {
            a->writer_count = action->runner.writer_count;
            memcpy(a->writers, action->runner.writers, a->writer_count * sizeof(a->writers[0]));
        }
        runner_spawn(w, which, action->runner.job, action->runner.generation);
        break;
    case AGENT_ACT_RUNNER_SEND:
        runner_input(w, which, action->runner.job, action->runner.generation, action->runner.frame);
        break;
    case AGENT_ACT_RUNNER_KILL:
        r = runner_find(w, which, action->runner.job, action->runner.generation);
        if (r != NULL)
            runner_end(w, r, 9);
        break;
    case AGENT_ACT_LOG:
        sim_log(w, "agent %s <%d> %s", a->node, action->log.priority, action->log.text);
        break;
    case AGENT_ACT_WAKE: {
        uint64_t at_us = TM_MAX(action->wake.at_us, w->now_us + 1);
        if (action->wake.at_us == UINT64_MAX || a->wake_us == at_us)
            break;
        a->wake_us = at_us;
        later(w, which, at_us - w->now_us, on_wake)->a = ++a->wake_seq;
        break;
    }
    case AGENT_ACT_DONE:
        break;
    default:
        act_session(w, which, action);
        break;
    }
}

void agent_feed(struct world *w, uint32_t which, const struct agent_event *event)
{
    struct sim_agent *a = &w->agents[which];
    struct tm_err err = {0};
    struct agent_actions actions;
    struct agent_now now = {.mono_us = w->now_us,
                            .real_us = (int64_t)(SEC(1790000000) + w->now_us)};
    if (event->kind == AGENT_EV_TICK)
        a->wake_us = 0;
    if (agent_brain_step(a->brain, event, now, &actions, &err) < 0)
        sim_die("agent", &err);
    for (size_t at = 0; at < actions.count; at++)
        act(w, which, &actions.items[at]);
}

/* ---- life ---- */

static void look_at_instance(struct world *w, uint32_t which)
{
    const struct sim_agent *a = &w->agents[which];
    struct msg_error down = {.code = TM_E_UNAVAILABLE, .text = "the database is down"};
    struct msg_instance seen = {.role = w->profile.members ? INSTANCE_MEMBER
                                        : a->db.primary    ? INSTANCE_PRIMARY
                                                           : INSTANCE_STANDBY,
                                .error = a->db.down ? &down : NULL};
    (void)snprintf(seen.identity, sizeof(seen.identity), "7000");
    (void)snprintf(seen.position, sizeof(seen.position), "0/1");
    struct agent_event event = {.kind = AGENT_EV_INSTANCE};
    event.instance.index = 0;
    event.instance.instance = &seen;
    agent_feed(w, which, &event);
}

static void on_look(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    uint32_t which = arg->who;
    later(w, which, SEC(1), on_look);
    look_at_instance(w, which);
}

void agent_start(struct world *w, uint32_t which)
{
    struct sim_agent *a = &w->agents[which];
    struct tm_err err = {0};
    a->alive = true;
    a->life = ++w->next_life;
    a->started_us = w->now_us;
    (void)snprintf(a->boot, sizeof(a->boot), "boot%" PRIu64, a->life);
    memset(a->sessions, 0, sizeof(a->sessions));
    struct agent_instance instance = {.tenant = a->tenant,
                                      .engine = "mock",
                                      .caps = w->profile.members ? INSTANCE_CAP_RANGE_OWN_POSITION
                                                                 : 1u /* ENGINE_CAP_HOLD */,
                                      .data_dir = "/data",
                                      .conninfo = ""};
    struct agent_brain_config config = {.cluster = "c1",
                                        .node = a->node,
                                        .boot = a->boot,
                                        .version = "1",
                                        .instances = &instance,
                                        .instance_count = 1,
                                        .seen_term = a->seen_term,
                                        .seen_start = a->seen_start,
                                        .writers = a->writers,
                                        .writer_count = a->writer_count,
                                        .holds = a->holds,
                                        .hold_count = a->hold_count,
                                        .log_jobs = a->log_jobs,
                                        .log_jobs_term = a->log_jobs_term,
                                        .log_job_count = a->log_job_count,
                                        .request_ms = 4000,
                                        .poll_ms = 14000,
                                        .reconnect_max_ms = 2000,
                                        .respawn_max_ms = 4000,
                                        .found_ttl_s = FOUND_TTL_S,
                                        .plant = w->agent_plant};
    struct agent_rng rng = {.next = sim_rng_next, .arg = w};
    if (agent_brain_new(&config, rng, &a->brain, &err) < 0)
        sim_die("agent", &err);
    sim_log(w, "agent %s starts as %s", a->node, a->boot);
    struct agent_event event = {.kind = AGENT_EV_TICK};
    agent_feed(w, which, &event);
    look_at_instance(w, which);
    if (w->profile.logs)
        later(w, which, SEC(1), on_look);
}

void agent_crash(struct world *w, uint32_t which)
{
    struct sim_agent *a = &w->agents[which];
    if (!a->alive)
        return;
    sim_log(w, "agent %s dies", a->node);
    a->alive = false;
    for (size_t at = 0; at < SIM_RUNNERS_MAX; at++) {
        struct sim_runner *r = &w->runners[at];
        if (r->alive && r->agent == which && r->agent_life == a->life)
            runner_end(w, r, 9); /* runners die with their agent */
    }
    net_disconnect(w, which);
    agent_brain_free(a->brain);
    a->brain = NULL;
}

void agent_lose_state(struct world *w, uint32_t which)
{
    struct sim_agent *a = &w->agents[which];
    sim_log(w, "agent %s loses its state", a->node);
    a->hold_count = 0;
    for (size_t at = 0; at < SIM_SLOTS_MAX; at++)
        a->db.orphans[at] = a->db.slots[at][0] != '\0';
    if (w->profile.logs) /* without its writers it must not stream: nobody may lose those */
        return;
    a->seen_term = 0;
    a->seen_start = 0;
}
