/*
 * The agent's life: start, loop, stop.
 *
 * Failure modes at start, each one line and exit status 1: another instance holds state_dir; a
 * data_dir of another user; key_file that cannot be used. Afterwards nothing of the outside world
 * ends the agent: databases, coordinators and runners that fail are the brain's daily bread. Only
 * running out of memory inside the brain does; the service manager starts it again.
 */
#include "agent/daemon/daemon.h"

#include <errno.h>
#include <nng/nng.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/daemon/internal.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/lockfile.h"
#include "common/secret.h"
#include "proto/wire/hello.h"

/* ---- the brain ---- */

static struct agent_now now(void)
{
    return (struct agent_now){.mono_us = (uint64_t)clock_mono_us(), .real_us = clock_real_us()};
}

static uint64_t random_u64(void *arg)
{
    struct agent *a = arg;
    uint64_t value = 0;
    struct tm_err err = {0};

    if (random_bytes(&value, sizeof value, &err) < 0 && !a->failed) {
        a->failed = true;
        a->err = err;
        loop_exit(a->loop, 1);
    }
    return value;
}

static void step(struct agent *a, const struct agent_event *event)
{
    struct agent_actions actions = {0};

    if (a->failed)
        return;
    a->stepping = true;
    if (agent_brain_step(a->brain, event, now(), &actions, &a->err) < 0) {
        a->failed = true;
        loop_exit(a->loop, 1);
    }
    for (size_t i = 0; i < actions.count; i++)
        agent_act(a, &actions.items[i]);
    a->stepping = false;
}

void agent_feed(struct agent *a, const struct agent_event *event)
{
    struct list_link *link;

    if (a->stepping ||
        !a->brain) /* a part broke the rule that handlers are never called from actions */
        abort();
    step(a, event);
    while ((link = list_pop_front(&a->deferred))) {
        struct agent_deferred *d = LIST_ENTRY(link, struct agent_deferred, link);
        step(a, &d->event);
        free(d);
    }
}

void agent_defer(struct agent *a, const struct agent_event *event, const struct tm_err *err)
{
    struct agent_deferred *d = calloc(1, sizeof *d);

    if (!d) {
        a->failed = true;
        (void)tm_err_oom(&a->err);
        loop_exit(a->loop, 1);
        return;
    }
    d->event = *event;
    if (err) {
        d->err = *err;
        if (event->kind == AGENT_EV_SESSION_FAILED)
            d->event.session_failed.err = &d->err;
        if (event->kind == AGENT_EV_HOLDS_LISTED)
            d->event.holds_listed.err = &d->err;
        if (event->kind == AGENT_EV_HOLD_DROPPED) {
            (void)snprintf(d->name, sizeof d->name, "%s", event->hold_dropped.name);
            d->event.hold_dropped.name = d->name;
            d->event.hold_dropped.err = &d->err;
        }
    }
    list_push_back(&a->deferred, &d->link);
}

/* ---- what happens ---- */

static void on_connected(void *arg, uint64_t term, uint64_t start)
{
    struct agent *a = arg;
    struct agent_event event = {.kind = AGENT_EV_CONNECTED,
                                .connected = {.term = term, .start = start}};

    agent_feed(a, &event);
}

static void on_disconnected(void *arg, const struct tm_err *err)
{
    struct agent_event event = {.kind = AGENT_EV_DISCONNECTED, .disconnected = {.err = err}};

    agent_feed(arg, &event);
}

static void on_reply(void *arg, const struct message *message)
{
    struct agent_event event = {.kind = AGENT_EV_REPLY, .reply = {.message = message}};

    agent_feed(arg, &event);
}

static void on_failed(void *arg, uint64_t serial, const struct tm_err *err)
{
    struct agent_event event = {.kind = AGENT_EV_REQUEST_FAILED,
                                .request_failed = {.serial = serial, .err = err}};

    agent_feed(arg, &event);
}

static const struct line_handlers line_handlers = {
    .connected = on_connected,
    .disconnected = on_disconnected,
    .reply = on_reply,
    .failed = on_failed,
};

static void on_wake(void *arg)
{
    struct agent_event event = {.kind = AGENT_EV_TICK};

    agent_feed(arg, &event);
}

static void on_second(void *arg)
{
    struct agent *a = arg;
    int64_t now_us = clock_mono_us();
    size_t jobs = agent_brain_job_count(a->brain);

    if (!a->stopping) {
        agent_watch_tick(a, now_us);
        loop_notify_status("%s %s, %zu job%s",
                           agent_brain_connected(a->brain) ? "connected to" : "connecting to",
                           line_url(a->wire), jobs, jobs == 1 ? "" : "s");
    }
    loop_timer_set(a->second, now_us + USEC_PER_SEC);
}

static void on_drain(void *arg)
{
    struct agent *a = arg;

    log_warning(&a->lg, NULL, "not everything could be closed within %d s", AGENT_DRAIN_S);
    loop_exit(a->loop, 0);
}

static void reload(struct agent *a)
{
    TM_CLEANUP(agent_config_release) struct agent_config fresh = {0};
    struct schema_warnings warnings = SCHEMA_WARNINGS_INIT;
    struct tm_err err = {0};

    loop_notify_reloading();
    if (agent_config_load(a->config_path, &fresh, &warnings, &err) < 0) {
        log_error(&a->lg, NULL, "configuration not reloaded: %s", err.msg);
    } else {
        a->lg.max_priority = fresh.log_priority;
        log_event(&a->lg, NULL, LOG_EVENT_CONFIG_RELOADED, LOG_NOTICE,
                  "log_level is %s; every other setting takes effect at the next start",
                  fresh.log_level);
    }
    schema_warnings_release(&warnings);
    loop_notify_ready("running");
}

static void on_signal(int signo, void *arg)
{
    struct agent *a = arg;
    struct agent_event event = {.kind = AGENT_EV_STOP};

    if (signo == SIGHUP) {
        reload(a);
        return;
    }
    if (a->stopping) {
        loop_exit(a->loop, 0);
        return;
    }
    a->stopping = true;
    log_event(&a->lg, NULL, LOG_EVENT_DAEMON_STOPPING, LOG_NOTICE, "stopping");
    loop_notify_stopping();
    loop_notify_extend((AGENT_DRAIN_S + 5) * USEC_PER_SEC);
    loop_timer_set(a->drain, clock_mono_us() + AGENT_DRAIN_S * USEC_PER_SEC);
    agent_feed(a, &event);
}

/* ---- start ---- */

static int check_owner(const struct agent_config_instance *instance,
                       struct schema_warnings *warnings, struct tm_err *err)
{
    struct stat st;

    if (stat(instance->data_dir, &st) < 0) {
        if (strcmp(instance->engine, "postgres") == 0)
            schema_warn(warnings, NULL, "data_dir '%s' of tenant '%s' cannot be seen: %s",
                        instance->data_dir, instance->tenant, strerror(errno));
        return 0;
    }
    if (st.st_uid == geteuid())
        return 0;
    return tm_err_set(
        err, TM_E_PERMISSION,
        "data_dir '%s' belongs to user id %u, this agent runs as %u: run one agent for "
        "each database user (tidemark-agent@USER)",
        instance->data_dir, (unsigned)st.st_uid, (unsigned)geteuid());
}

int agent_daemon_check(const struct agent_config *config, struct schema_warnings *warnings,
                       struct tm_err *err)
{
    const struct agent_config_instance *items = config->instances.items;
    TM_CLEANUP(secret_release) struct secret key = SECRET_INIT;
    int r;

    for (size_t i = 0; i < config->instances.count; i++)
        if ((r = check_owner(&items[i], warnings, err)) < 0)
            return r;
    if (config->key_file) {
        if ((r = secret_load(config->key_file, &key, err)) < 0)
            return tm_err_prefix(err, "key_file");
        if (key.len < HELLO_KEY_MIN || key.len > HELLO_KEY_MAX)
            return tm_err_set(err, TM_E_INVALID, "key_file '%s' must hold %d to %d bytes",
                              config->key_file, HELLO_KEY_MIN, HELLO_KEY_MAX);
    }
    return 0;
}

static int make_boot_id(struct agent *a, struct tm_err *err)
{
    uint8_t bytes[16];
    int r = random_bytes(bytes, sizeof bytes, err);

    if (r == 0)
        (void)hex_encode(bytes, sizeof bytes, a->boot);
    return r;
}

/* What the environment says of credentials for object stores. A role that the host itself has is not
 * seen here: whether there is one would have to be asked on the network. */
static bool has_own_credentials(void)
{
    static const char *const names[] = {"AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AZURE_FEDERATED_TOKEN_FILE",
                                        "IDENTITY_ENDPOINT"};

    for (size_t i = 0; i < TM_ARRAY_LEN(names); i++) {
        const char *value = getenv(names[i]);
        if (value && value[0])
            return true;
    }
    return false;
}

static int make_brain(struct agent *a, struct tm_err *err)
{
    const struct agent_config_instance *items = a->config.instances.items;
    struct agent_instance instances[WIRE_INSTANCES_MAX];
    const struct agent_brain_config config = {
        .cluster = a->config.cluster,
        .node = a->config.node,
        .boot = a->boot,
        .version = TM_VERSION,
        .instances = instances,
        .instance_count = a->config.instances.count,
        .restore_roots = a->config.restore_roots.items,
        .restore_root_count = a->config.restore_roots.count,
        .rate_limit_bytes_s = a->config.rate_limit_bytes_s,
        .seen_term = a->seen_term,
        .seen_start = a->seen_start,
        .writers = a->kept.writers.writers,
        .writer_count = a->kept.writers.writers_count,
        .log_jobs = a->kept.jobs.jobs,
        .log_jobs_term = a->kept.jobs.term,
        .log_job_count = a->kept.jobs.jobs_count,
        .holds = a->kept.holds.holds,
        .hold_count = a->kept.holds.holds_count,
        .own_credentials = has_own_credentials(),
    };

    for (size_t i = 0; i < a->config.instances.count; i++)
        instances[i] = (struct agent_instance){.tenant = items[i].tenant,
                                               .engine = items[i].engine,
                                               .caps = engine_find(items[i].engine)->caps,
                                               .data_dir = items[i].data_dir,
                                               .conninfo = items[i].conninfo};
    int r =
        agent_brain_new(&config, (struct agent_rng){.next = random_u64, .arg = a}, &a->brain, err);
    agent_kept_release(&a->kept); /* the brain has its own */
    return r;
}

static int make_line(struct agent *a, struct tm_err *err)
{
    const struct line_config config = {
        .urls = a->config.coordinators.items,
        .url_count = a->config.coordinators.count,
        .ca_file = a->config.tls ? a->config.tls->ca : NULL,
        .cert_key_file = a->config.tls ? a->config.tls->cert : NULL,
        .server_name = a->config.tls ? a->config.tls->server_name : NULL,
        .key_file = a->config.key_file,
        .cluster = a->config.cluster,
        .node = a->config.node,
        .boot = a->boot,
    };

    return line_new(a->loop, &config, &line_handlers, a, &a->wire, err);
}

#define HOLD_DROPPERS 2

static int start(struct agent *a, struct tm_err *err)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};
    int r;

    if ((r = lockfile_take(a->config.state_dir, &a->lock_fd, err)) < 0 ||
        (r = agent_term_load(a, err)) < 0 || (r = agent_kept_load_writers(a, err)) < 0 ||
        (r = agent_holds_load(a, err)) < 0 || (r = make_boot_id(a, err)) < 0 ||
        (r = loop_new(&a->loop, err)) < 0 ||
        (r = loop_on_signals(a->loop, signals, on_signal, a, err)) < 0 ||
        (r = loop_timer_new(a->loop, on_wake, a, &a->wake, err)) < 0 ||
        (r = loop_timer_new(a->loop, on_second, a, &a->second, err)) < 0 ||
        (r = loop_timer_new(a->loop, on_drain, a, &a->drain, err)) < 0 ||
        (r = workers_new(a->loop, "tidemark-drop", HOLD_DROPPERS, AGENT_BRAIN_HOLDS_MAX, a,
                         &a->droppers, err)) < 0 ||
        (r = make_line(a, err)) < 0)
        return r;
    agent_kept_load_jobs(a);
    if ((r = make_brain(a, err)) < 0 || (r = agent_watch_start(a, err)) < 0)
        return r;
    return loop_watchdog(a->loop, err);
}

#define EXIT_WITHIN_S 10  /* nothing of ours is waited for longer than this on the way out */
#define CLOSE_TRIES   100 /* × 10 ms */

static void agent_release(struct agent *a)
{
    struct list_link *link;

    loop_exit_within(EXIT_WITHIN_S, a->stopping && !a->failed ? 0 : 1,
                     "<4>tidemark-agent: not everything could be ended in time\n");
    agent_jobs_release(a);
    workers_free(a->lookers);
    workers_free(a->droppers);
    free(a->watches);
    bool nng_idle = !a->wire;
    if (a->wire) {
        line_disconnect(a->wire);
        /* connections are closed by threads of their own; one that hangs is left behind */
        for (int n = 0; n < CLOSE_TRIES && !(nng_idle = line_idle(a->wire)); n++)
            (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = 10000000},
                                  NULL);
    }
    line_free(a->wire);
    agent_brain_free(a->brain);
    agent_kept_release(&a->kept);
    while ((link = list_pop_front(&a->deferred)))
        free(LIST_ENTRY(link, struct agent_deferred, link));
    loop_timer_free(a->wake);
    loop_timer_free(a->second);
    loop_timer_free(a->drain);
    loop_free(a->loop);
    closep(&a->lock_fd);
    agent_config_release(&a->config);
    if (nng_idle)
        nng_fini(); /* last of all that touches nng */
}

int agent_daemon_run(struct agent_config *config, const char *config_path, struct tm_err *err)
{
    TM_CLEANUP(agent_release) struct agent a = {.config = *config, .lock_fd = -1};
    const struct agent_event tick = {.kind = AGENT_EV_TICK};
    int r, code = 0;

    *config = (struct agent_config){0};
    a.config_path = config_path;
    list_init(&a.sessions);
    list_init(&a.runners);
    list_init(&a.deferred);
    log_init(&a.lg, "tidemark-agent", a.config.log_priority);
    if ((r = start(&a, err)) < 0)
        return r;
    log_event(&a.lg, NULL, LOG_EVENT_DAEMON_STARTED, LOG_NOTICE,
              "tidemark-agent " TM_VERSION " for node '%s' of cluster '%s', %zu instance%s",
              a.config.node, a.config.cluster, a.watch_count, a.watch_count == 1 ? "" : "s");
    loop_notify_ready("starting");
    agent_feed(&a, &tick);
    on_second(&a);
    if ((r = loop_run(a.loop, &code, err)) < 0)
        return r;
    if (a.failed) {
        *err = a.err;
        return -(int)err->code;
    }
    return 0;
}
