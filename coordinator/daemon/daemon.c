/*
 * The coordinator's life: start, loop, stop.
 *
 * Failure modes at start, each one line and exit status 1: another instance holds state_dir;
 * state.db is damaged, of another program or of a newer version, or not empty although a catalog is to be
 * rebuilt into it; the address is in use; the control
 * socket cannot be made. Afterwards: a state store that cannot write makes commands fail with its
 * words and the brain try again; another coordinator's term in the store ends this one.
 */
#include "coordinator/daemon/daemon.h"

#include <nng/nng.h>
#include <signal.h>
#include <string.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/hash.h"
#include "common/lockfile.h"
#include "coordinator/daemon/internal.h"

/* ---- the brain ---- */

static struct brain_now now(void)
{
    return (struct brain_now){.mono_us = (uint64_t)clock_mono_us(), .real_us = clock_real_us()};
}

void coordinator_fail(struct coordinator *c, const struct tm_err *err)
{
    if (!c->failed)
        c->err = *err;
    c->failed = true;
    loop_exit(c->loop, 1);
}

static uint64_t random_u64(void *arg)
{
    struct coordinator *c = arg;
    uint64_t value = 0;
    struct tm_err err = {0};

    if (random_bytes(&value, sizeof value, &err) < 0)
        coordinator_fail(c, &err);
    return value;
}

static void step(struct coordinator *c, const struct brain_event *event)
{
    struct brain_actions actions = {0};
    struct tm_err err = {0};

    if (c->failed) {
        return;
    }
    c->stepping = true;
    if (brain_step(c->brain, event, now(), &actions, &err) < 0)
        coordinator_fail(c, &err);
    for (size_t i = 0; i < actions.count; i++)
        coordinator_act(c, &actions.items[i]);
    c->stepping = false;
}

/* An agent knows a higher term than ours: the state was put back to an older copy. */
static void raise_term(struct coordinator *c)
{
    struct brain_event event = {.kind = BRAIN_EV_TERM};
    uint64_t at_least = c->raise_to;
    struct tm_err err = {0};

    c->raise_to = 0;
    if (at_least <= c->term) {
        event.term.term = c->term;
    } else {
        if (state_take_term(c->state, at_least, &event.term.term, &err) < 0) {
            (void)tm_err_prefix(&err, "cannot raise the term");
            coordinator_fail(c, &err);
            return;
        }
        c->term = event.term.term;
        log_warning(&c->lg, NULL, "an agent has seen a newer term; this coordinator's is now %llu",
                    (unsigned long long)c->term);
    }
    step(c, &event);
}

void coordinator_feed(struct coordinator *c, const struct brain_event *event)
{
    struct list_link *link;

    if (c->stepping) /* a part broke the rule that handlers are never called from actions */
        abort();
    step(c, event);
    for (;;) {
        if (c->raise_to) {
            raise_term(c);
        } else if ((link = list_pop_front(&c->refused))) {
            struct coordinator_refused *refused =
                LIST_ENTRY(link, struct coordinator_refused, link);
            struct brain_event failed = {
                .kind = BRAIN_EV_PERSISTED,
                .persisted = {.txn = refused->txn, .ok = false, .err = &refused->err}};
            step(c, &failed);
            free(refused);
        } else {
            break;
        }
    }
}

/* ---- what happens ---- */

static void on_up(void *arg, uint64_t conn, uint64_t ctx, const struct msg_hello *claim)
{
    struct brain_event event = {.kind = BRAIN_EV_AGENT_UP,
                                .up = {.conn = conn,
                                       .ctx = ctx,
                                       .cluster = claim->cluster,
                                       .node = claim->node,
                                       .boot = claim->boot,
                                       .seen_term = claim->seen_term,
                                       .seen_start = claim->seen_start,
                                       .seen_revision = claim->seen_revision}};

    coordinator_feed(arg, &event);
}

static void on_request(void *arg, uint64_t conn, uint64_t ctx, const struct message *message)
{
    struct brain_event event = {.kind = BRAIN_EV_REQUEST,
                                .request = {.conn = conn, .ctx = ctx, .message = message}};

    coordinator_feed(arg, &event);
}

static void on_gone(void *arg, uint64_t conn)
{
    struct brain_event event = {.kind = BRAIN_EV_AGENT_GONE, .gone = {.conn = conn}};

    coordinator_feed(arg, &event);
}

static void on_note(void *arg, enum gate_event event, const char *text)
{
    struct coordinator *c = arg;

    log_event(&c->lg, NULL, event == GATE_REFUSED ? LOG_EVENT_AGENT_REFUSED : LOG_EVENT_NONE,
              LOG_WARNING, "refused: %s", text);
}

static const struct gate_handlers gate_handlers = {
    .up = on_up,
    .request = on_request,
    .gone = on_gone,
    .note = on_note,
};

static void on_wake(void *arg)
{
    struct brain_event event = {.kind = BRAIN_EV_TICK};

    coordinator_feed(arg, &event);
}

static void on_flush(void *arg)
{
    struct coordinator *c = arg;

    state_run(c->state);
    if (state_pending(c->state))
        loop_timer_set(c->flush, 0);
}

static void on_slow_commit(void *arg, int64_t took_us)
{
    struct coordinator *c = arg;

    log_warning(&c->lg, NULL, "a commit of the state took %lld ms: the disk below '%s' is slow",
                (long long)(took_us / USEC_PER_MSEC), c->config.state_dir);
}

static void on_second(void *arg)
{
    struct coordinator *c = arg;
    int64_t now_us = clock_mono_us();
    size_t cursor = 0, nodes = 0, connected = 0;
    struct brain_node node;

    gate_tick(c->gate, now_us);
    while (brain_node_next(c->brain, &cursor, &node)) {
        nodes++;
        connected += node.connected;
    }
    loop_notify_status("term %llu, %zu of %zu nodes connected", (unsigned long long)c->term,
                       connected, nodes);
    loop_timer_set(c->second, now_us + USEC_PER_SEC);
}

static bool differs(const char *a, const char *b)
{
    return (a == NULL) != (b == NULL) || (a && strcmp(a, b) != 0);
}

static void reload(struct coordinator *c)
{
    TM_CLEANUP(config_release) struct config fresh = {0};
    struct schema_warnings warnings = SCHEMA_WARNINGS_INIT;
    struct tm_err err = {0};
    const struct config *old = &c->config;

    loop_notify_reloading();
    if (config_load(c->config_path, &fresh, &warnings, &err) < 0) {
        log_error(&c->lg, NULL, "configuration not reloaded: %s", err.msg);
    } else {
        c->lg.max_priority = fresh.log_priority;
        log_event(&c->lg, NULL, LOG_EVENT_CONFIG_RELOADED, LOG_NOTICE, "reloaded: log_level is %s",
                  fresh.log_level);
        if (differs(old->listen, fresh.listen) || differs(old->state_dir, fresh.state_dir) ||
            differs(old->control_socket, fresh.control_socket) ||
            differs(old->keys_dir, fresh.keys_dir) || old->max_agents != fresh.max_agents ||
            old->insecure != fresh.insecure || !old->tls != !fresh.tls ||
            (old->tls &&
             (differs(old->tls->ca, fresh.tls->ca) || differs(old->tls->cert, fresh.tls->cert))))
            log_warning(&c->lg, NULL,
                        "listen, tls, insecure, keys_dir, max_agents, control_socket and state_dir "
                        "take effect at the next start only");
    }
    schema_warnings_release(&warnings);
    loop_notify_ready("running");
}

static void on_signal(int signo, void *arg)
{
    struct coordinator *c = arg;

    if (signo == SIGHUP) {
        reload(c);
        return;
    }
    if (!c->stopping)
        log_event(&c->lg, NULL, LOG_EVENT_DAEMON_STOPPING, LOG_NOTICE, "stopping");
    c->stopping = true;
    loop_notify_stopping();
    loop_exit(c->loop, 0);
}

/* ---- start ---- */

static struct gate_config gate_config_of(const struct config *config)
{
    return (struct gate_config){
        .server = {.url = config->listen,
                   .insecure = config->insecure,
                   .ca_file = config->tls ? config->tls->ca : NULL,
                   .cert_key_file = config->tls ? config->tls->cert : NULL},
        .keys_dir = config->keys_dir,
        .max_agents = (unsigned)config->max_agents,
    };
}

int coordinator_daemon_check(const struct config *config, struct tm_err *err)
{
    const struct gate_config gate = gate_config_of(config);

    return rpc_server_check(&gate.server, err);
}

static int load_record(void *arg, struct slice key, struct slice value, uint64_t revision,
                       struct tm_err *err)
{
    struct coordinator *c = arg;
    struct brain_event event = {.kind = BRAIN_EV_LOADED, .loaded = {.key = key, .value = value}};

    (void)revision;
    coordinator_feed(c, &event);
    if (!c->failed)
        return 0;
    *err = c->err;
    return -(int)err->code;
}

static int found_record(void *arg, struct slice key, struct slice value, uint64_t revision,
                        struct tm_err *err)
{
    const struct coordinator *c = arg;

    (void)value, (void)revision;
    if (slice_eq(key, slice_str(BRAIN_LIVES_KEY))) /* a coordinator was started there, no more */
        return 0;
    return tm_err_set(err, TM_E_EXISTS,
                      "'%s/state.db' is not empty: a catalog is rebuilt into an empty state only. "
                      "To start over, move that file away; to add what storage holds to it, start "
                      "without --rebuild-catalog and run 'tidemark rebuild --storage URL'",
                      c->config.state_dir);
}

static int open_state(struct coordinator *c, struct tm_err *err)
{
    static const char *const prefixes[] = {
        BRAIN_KEY_PREFIX,    BRAIN_PART_PREFIX, BRAIN_CLUSTER_PREFIX, BRAIN_KEPT_PREFIX,
        BRAIN_INTENT_PREFIX, BRAIN_REBUILD_KEY, BRAIN_LIVES_KEY};
    const struct state_options options = {.slow = on_slow_commit, .slow_arg = c};
    const struct brain_event end = {.kind = BRAIN_EV_LOADED_END};
    struct brain_config config = {0};
    int r;

    if ((r = random_bytes(&c->start, sizeof c->start, err)) < 0 ||
        (r = state_open_sqlite(c->config.state_dir, &options, &c->state, err)) < 0 ||
        (c->config.rebuild && (r = state_each(c->state, "", found_record, c, err)) < 0) ||
        (r = state_take_term(c->state, 0, &c->term, err)) < 0 ||
        (r = state_revision(c->state, &config.state_revision, err)) < 0)
        return r;
    config.term = c->term;
    config.start = c->start;
    config.rebuild = c->config.rebuild;
    if ((r = brain_new(&config, (struct brain_rng){.next = random_u64, .arg = c}, &c->brain, err)) <
        0)
        return r;
    for (size_t i = 0; i < TM_ARRAY_LEN(prefixes); i++)
        if ((r = state_each(c->state, prefixes[i], load_record, c, err)) < 0)
            return r;
    coordinator_feed(c, &end);
    if (!c->failed)
        return 0;
    *err = c->err;
    return -(int)err->code;
}

/* A connection of an agent takes one, beside that it may overlap with its dead one; the rest is for
 * the control socket and files. Fewer are no reason not to start: not all agents may come. */
#define SPARE_DESCRIPTORS 256

static void raise_descriptors(struct coordinator *c)
{
    uint64_t have = fd_limit_raise();
    uint64_t want = 2 * (uint64_t)c->config.max_agents + SPARE_DESCRIPTORS;

    if (have < want)
        log_warning(
            &c->lg, NULL,
            "max_agents %lld may need %llu descriptors, and this process may have %llu: raise "
            "LimitNOFILE",
            (long long)c->config.max_agents, (unsigned long long)want, (unsigned long long)have);
}

static int start(struct coordinator *c, struct tm_err *err)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};
    const struct gate_config gate = gate_config_of(&c->config);
    int r;

    raise_descriptors(c);
    if ((r = lockfile_take(c->config.state_dir, &c->lock_fd, err)) < 0 ||
        (r = loop_new(&c->loop, err)) < 0 ||
        (r = loop_on_signals(c->loop, signals, on_signal, c, err)) < 0 ||
        (r = loop_timer_new(c->loop, on_wake, c, &c->wake, err)) < 0 ||
        (r = loop_timer_new(c->loop, on_flush, c, &c->flush, err)) < 0 ||
        (r = loop_timer_new(c->loop, on_second, c, &c->second, err)) < 0 ||
        (r = gate_new(c->loop, &gate, &gate_handlers, c, &c->gate, err)) < 0 ||
        (r = open_state(c, err)) < 0 || (r = coordinator_secrets_start(c, err)) < 0 ||
        (r = coordinator_control_start(c, err)) < 0 || (r = gate_start(c->gate, err)) < 0)
        return r;
    return loop_watchdog(c->loop, err);
}

#define EXIT_WITHIN_S 10 /* nng_close has been seen to hang for ever */

static void coordinator_release(struct coordinator *c)
{
    struct list_link *link;

    loop_exit_within(EXIT_WITHIN_S, c->stopping && !c->failed ? 0 : 1,
                     "<4>tidemark-coordinator: not everything could be ended in time\n");
    coordinator_control_stop(c);
    if (c->gate)
        gate_stop(c->gate);
    gate_free(c->gate);
    secrets_free(c->secrets);
    brain_free(c->brain);
    state_free(c->state);
    while ((link = list_pop_front(&c->refused)))
        free(LIST_ENTRY(link, struct coordinator_refused, link));
    loop_timer_free(c->wake);
    loop_timer_free(c->flush);
    loop_timer_free(c->second);
    loop_free(c->loop);
    closep(&c->lock_fd);
    config_release(&c->config);
    nng_fini(); /* last of all that touches nng */
}

/* What was queued is committed, so that everything promised is there. */
static void drain(struct coordinator *c)
{
    for (int turn = 0; turn < 8 && state_pending(c->state); turn++)
        state_run(c->state);
}

int coordinator_daemon_run(struct config *config, const char *config_path, struct tm_err *err)
{
    TM_CLEANUP(coordinator_release) struct coordinator c = {.config = *config, .lock_fd = -1};
    int r, code = 0;

    *config = (struct config){0};
    c.config_path = config_path;
    list_init(&c.refused);
    log_init(&c.lg, "tidemark-coordinator", c.config.log_priority);
    if ((r = start(&c, err)) < 0)
        return r;
    log_event(&c.lg, NULL, LOG_EVENT_DAEMON_STARTED, LOG_NOTICE,
              "tidemark-coordinator " TM_VERSION ", term %llu, listening on %s (port %u)",
              (unsigned long long)c.term, c.config.listen, gate_port(c.gate));
    loop_notify_ready("term %llu, listening on %s", (unsigned long long)c.term, c.config.listen);
    on_second(&c);
    r = loop_run(c.loop, &code, err);
    drain(&c);
    if (r < 0)
        return r;
    if (c.failed) {
        *err = c.err;
        return -(int)err->code;
    }
    return 0;
}
