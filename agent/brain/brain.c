/*
 * The agent's brain: one event, a list of actions. Here are the step itself, its memory, and what
 * the other files emit with. Happy path and failure modes are told in brain.h.
 */
#include "agent/brain/internal.h"

#include "common/array.h"

#include <stdarg.h>
#include <stdio.h>

#define LOG_TEXT_MAX 700
#define ACTIONS_MIN  64

/* ---- emitting ---- */

void agent_check(struct agent_brain *b, int result)
{
    if (result < 0)
        b->failed = true;
}

void *agent_step_alloc(struct agent_brain *b, size_t size)
{
    void *memory = codec_arena_alloc(&b->step, size, b->err);
    if (memory == NULL)
        b->failed = true;
    return memory;
}

const char *agent_step_text(struct agent_brain *b, const char *text)
{
    const char *copy = codec_arena_text(&b->step, text, b->err);
    if (copy == NULL)
        b->failed = true;
    return copy;
}

struct slice agent_step_bytes(struct agent_brain *b, struct slice bytes)
{
    struct slice copy = SLICE_EMPTY;
    agent_check(b, codec_arena_bytes(&b->step, bytes, &copy, b->err));
    return copy;
}

struct agent_action *agent_emit(struct agent_brain *b, enum agent_action_kind kind)
{
    /* one stays free, to write to after a failure */
    if (ARRAY_ROOM(b->actions, b->action_count + 1, b->action_cap, ACTIONS_MIN, b->err) < 0) {
        b->failed = true;
        return &b->actions[b->action_cap - 1];
    }
    struct agent_action *action = &b->actions[b->action_count++];
    *action = (struct agent_action){.kind = kind};
    return action;
}

void agent_log(struct agent_brain *b, const struct job *job, int priority,
               enum agent_log_event event, const char *fmt, ...)
{
    char text[LOG_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    const char *copy = agent_step_text(b, text);
    const char *tenant = job != NULL ? agent_step_text(b, job->want.tenant) : NULL;
    const char *uid = job != NULL ? agent_step_text(b, job->want.uid) : NULL;
    struct agent_action *action = agent_emit(b, AGENT_ACT_LOG);
    action->log.priority = priority;
    action->log.event = event;
    action->log.text = copy;
    action->log.tenant = tenant;
    action->log.job = uid;
}

struct job *agent_job_find(struct agent_brain *b, uint32_t handle)
{
    for (size_t at = 0; at < b->job_count; at++) {
        if (b->jobs[at]->handle == handle)
            return b->jobs[at];
    }
    return NULL;
}

/* ---- life ---- */

static void config_defaults(struct agent_brain_config *c)
{
    static const struct {
        size_t offset;
        uint32_t value;
    } defaults[] = {
        {offsetof(struct agent_brain_config, heartbeat_ms), 1000},
        {offsetof(struct agent_brain_config, request_ms), 10000},
        {offsetof(struct agent_brain_config, poll_ms), 45000},
        {offsetof(struct agent_brain_config, want_retry_ms), 500},
        {offsetof(struct agent_brain_config, reconnect_min_ms), 200},
        {offsetof(struct agent_brain_config, reconnect_max_ms), 10000},
        {offsetof(struct agent_brain_config, respawn_min_ms), 500},
        {offsetof(struct agent_brain_config, respawn_max_ms), 30000},
        {offsetof(struct agent_brain_config, runner_crashes_max), 5},
        {offsetof(struct agent_brain_config, log_stop_ms), 10000},
        {offsetof(struct agent_brain_config, found_ttl_s), AGENT_HOLD_TTL_S},
    };
    for (size_t at = 0; at < TM_ARRAY_LEN(defaults); at++) {
        uint32_t *value = (uint32_t *)(void *)((char *)c + defaults[at].offset);
        if (*value == 0)
            *value = defaults[at].value;
    }
}

static int copy_text(struct agent_brain *b, const char **text, struct tm_err *err)
{
    *text = codec_arena_text(&b->config_arena, *text != NULL ? *text : "", err);
    return *text == NULL ? -(int)err->code : 0;
}

static int config_copy(struct agent_brain *b, struct tm_err *err)
{
    struct agent_brain_config *c = &b->config;
    if (c->instance_count > WIRE_INSTANCES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d instances", WIRE_INSTANCES_MAX);
    if (c->restore_root_count > WIRE_OPTIONS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d restore_roots", WIRE_OPTIONS_MAX);
    const char **texts[] = {&c->cluster, &c->node, &c->boot, &c->version};
    int r = 0;
    for (size_t at = 0; at < TM_ARRAY_LEN(texts) && r == 0; at++)
        r = copy_text(b, texts[at], err);
    for (size_t at = 0; at < c->instance_count && r == 0; at++) {
        struct instance *instance = &b->instances[at];
        struct agent_instance *to = &instance->config;
        *to = c->instances[at];
        const char **parts[] = {&to->tenant, &to->engine, &to->data_dir, &to->conninfo};
        for (size_t part = 0; part < TM_ARRAY_LEN(parts) && r == 0; part++)
            r = copy_text(b, parts[part], err);
        (void)snprintf(instance->seen.tenant, sizeof(instance->seen.tenant), "%s",
                       r == 0 ? to->tenant : "");
        (void)snprintf(instance->seen.engine, sizeof(instance->seen.engine), "%s",
                       r == 0 ? to->engine : "");
        instance->seen.caps = to->caps;
    }
    c->instances = NULL; /* b->instances from here on */
    if (r == 0 && c->restore_root_count > 0) {
        const char **roots =
            codec_arena_array(&b->config_arena, c->restore_root_count, sizeof(*roots), err);
        if (roots == NULL)
            return -(int)err->code;
        for (size_t at = 0; at < c->restore_root_count && r == 0; at++) {
            roots[at] = c->restore_roots[at];
            r = copy_text(b, &roots[at], err);
        }
        c->restore_roots = roots;
    }
    return r;
}

/* What an earlier life kept: to be taken in the first step, and to know what is kept already. */
static int keep_log_jobs(struct agent_brain *b, struct tm_err *err)
{
    struct agent_brain_config *c = &b->config;
    if (c->log_job_count > WIRE_JOBS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d log jobs", WIRE_JOBS_MAX);
    for (size_t at = 0; at < c->log_job_count; at++) {
        const struct msg_assignment *job = &c->log_jobs[at];
        if (job->kind != JOB_KIND_LOG || job->log == NULL)
            return tm_err_set(err, TM_E_INVALID, "job '%s' is not a log job", job->name);
        int r = codec_copy(&msg_assignment_codec, job, &b->log_kept_arena,
                           &b->log_kept[b->log_kept_count], err);
        if (r < 0)
            return r;
        b->log_kept_count++;
    }
    c->log_jobs = NULL; /* b->log_kept from here on */
    b->log_kept_term = c->log_jobs_term;
    return 0;
}

int agent_brain_new(const struct agent_brain_config *config, struct agent_rng rng,
                    struct agent_brain **ret, struct tm_err *err)
{
    TM_CLEANUP(agent_brain_freep) struct agent_brain *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return tm_err_oom(err);
    b->config = *config;
    b->rng = rng;
    config_defaults(&b->config);
    b->action_cap = ACTIONS_MIN;
    b->actions = calloc(b->action_cap, sizeof(*b->actions));
    if (b->actions == NULL)
        return tm_err_oom(err);
    int r = config_copy(b, err);
    if (r < 0)
        return r;
    b->term = config->seen_term;
    b->start = config->seen_start;
    if (config->writer_count > AGENT_BRAIN_WRITERS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d writers", AGENT_BRAIN_WRITERS_MAX);
    b->writer_count = config->writer_count;
    for (size_t at = 0; at < b->writer_count; at++) {
        b->writers[at] = config->writers[at];
        if (config->plant == AGENT_PLANT_OLD_WRITER)
            b->writers[at].runners = 0;
    }
    b->config.writers = NULL; /* b->writers from here on */
    if (config->hold_count > AGENT_BRAIN_HOLDS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d holds", AGENT_BRAIN_HOLDS_MAX);
    for (size_t at = 0; at < config->hold_count; at++)
        b->holds[b->hold_count++].rec = config->holds[at];
    b->config.holds = NULL; /* b->holds from here on */
    if ((r = keep_log_jobs(b, err)) < 0)
        return r;
    *ret = TM_TAKE(b);
    return 0;
}

void agent_brain_free(struct agent_brain *b)
{
    if (b == NULL)
        return;
    for (size_t at = 0; at < b->job_count; at++)
        agent_desired_free_job(b->jobs[at]);
    for (size_t at = 0; at < WIRE_INSTANCES_MAX; at++)
        codec_arena_release(&b->instances[at].arena);
    agent_probes_free(b);
    codec_arena_release(&b->step);
    codec_arena_release(&b->config_arena);
    codec_arena_release(&b->log_kept_arena);
    free(b->actions);
    free(b);
}

/* ---- stepping ---- */

/* Says what is new about an instance; true when the coordinator must hear at once. */
static bool instance_changed(struct agent_brain *b, const struct instance *instance,
                             const struct msg_instance *seen)
{
    static const char *const roles[] = {
        [INSTANCE_UNKNOWN] = "of unknown role",
        [INSTANCE_PRIMARY] = "primary",
        [INSTANCE_STANDBY] = "standby",
        [INSTANCE_MEMBER] = "a member",
    };
    bool failing = seen->error != NULL;
    if (seen->role == instance->seen.role && failing == (instance->seen.error != NULL))
        return false;
    if (failing)
        agent_log(b, NULL, 4, AGENT_LOG_INSTANCE_CHANGED, "instance of tenant '%s': %s",
                  seen->tenant, seen->error->text);
    else
        agent_log(b, NULL, 5, AGENT_LOG_INSTANCE_CHANGED, "instance of tenant '%s' is %s now",
                  seen->tenant, seen->role < TM_ARRAY_LEN(roles) ? roles[seen->role] : roles[0]);
    return true;
}

static void instance_seen(struct agent_brain *b, const struct agent_event *event)
{
    if (event->instance.index >= b->config.instance_count)
        return;
    struct instance *instance = &b->instances[event->instance.index];
    struct codec_arena arena = {0};
    struct msg_instance seen = *event->instance.instance;
    (void)snprintf(seen.tenant, sizeof(seen.tenant), "%s", instance->config.tenant);
    (void)snprintf(seen.engine, sizeof(seen.engine), "%s", instance->config.engine);
    seen.caps = instance->config.caps;
    struct msg_instance copy;
    if (codec_copy(&msg_instance_codec, &seen, &arena, &copy, b->err) < 0) {
        codec_arena_release(&arena); /* a look that cannot be told is a look not taken */
        return;
    }
    if (instance_changed(b, instance, &copy))
        b->heartbeat_urgent = true;
    codec_arena_release(&instance->arena);
    instance->arena = arena;
    instance->seen = copy;
}

static void stop(struct agent_brain *b)
{
    if (b->stopping)
        return;
    b->stopping = true;
    struct tm_err err;
    (void)tm_err_retry(&err, TM_E_CANCELED, "the agent was stopped");
    for (size_t at = 0; at < b->job_count; at++) {
        if (b->jobs[at]->stage < JOB_STAGE_COMMITTED && !agent_logjob_is(b->jobs[at]))
            agent_job_fail(b, b->jobs[at], &err, "agent");
        b->jobs[at]->dropping = true;
    }
    agent_probes_stop(b);
    b->heartbeat_urgent = true;
}

/* Runners of jobs and of storage tests have handles of one row. */
static void runner_event(struct agent_brain *b, const struct agent_event *event)
{
    bool exited = event->kind == AGENT_EV_RUNNER_EXITED;
    uint32_t handle = exited ? event->exited.job : event->frame.job;
    uint32_t generation = exited ? event->exited.generation : event->frame.generation;
    struct job *job = agent_job_find(b, handle);
    struct probe *probe = agent_probe_find(b, handle);
    if (probe != NULL && exited)
        agent_probe_exited(b, probe, event->exited.signal, event->exited.status);
    else if (probe != NULL)
        agent_probe_frame(b, probe, event->frame.frame);
    else if (job == NULL || job->generation != generation)
        return;
    else if (exited)
        agent_runner_exited(b, job, event->exited.signal, event->exited.status);
    else
        agent_runner_frame(b, job, event->frame.frame);
}

static void dispatch(struct agent_brain *b, const struct agent_event *event)
{
    switch (event->kind) {
    case AGENT_EV_CONNECTED:
        agent_link_connected(b, event->connected.term, event->connected.start);
        break;
    case AGENT_EV_DISCONNECTED:
        agent_link_disconnected(b, event->disconnected.err);
        break;
    case AGENT_EV_REPLY:
        agent_link_reply(b, event->reply.message);
        break;
    case AGENT_EV_REQUEST_FAILED:
        agent_link_request_failed(b, event->request_failed.serial, event->request_failed.err);
        break;
    case AGENT_EV_INSTANCE:
        instance_seen(b, event);
        break;
    case AGENT_EV_SESSION_BEGUN:
    case AGENT_EV_SESSION_ENDED:
    case AGENT_EV_SESSION_FAILED:
    case AGENT_EV_SESSION_CLOSED:
        agent_job_session_event(b, event);
        break;
    case AGENT_EV_HOLD_DROPPED:
        agent_hold_dropped(b, event);
        break;
    case AGENT_EV_HOLDS_LISTED:
        agent_holds_listed(b, event);
        break;
    case AGENT_EV_RUNNER_FRAME:
    case AGENT_EV_RUNNER_EXITED:
        runner_event(b, event);
        break;
    case AGENT_EV_TICK:
        break;
    case AGENT_EV_STOP:
        stop(b);
        break;
    }
}

/* Jobs that are dropped and quiet leave; the list keeps its order. True: some did. */
static bool reap_jobs(struct agent_brain *b)
{
    size_t kept = 0;
    for (size_t at = 0; at < b->job_count; at++) {
        struct job *job = b->jobs[at];
        bool quiet = agent_runner_gone(job) &&
                     (job->session == SESSION_NONE || job->session == SESSION_CLOSED);
        if (!job->dropping || !quiet) {
            b->jobs[kept++] = job;
            continue;
        }
        b->heartbeat_urgent = true;
        agent_desired_free_job(job);
    }
    bool some = kept < b->job_count;
    b->job_count = kept;
    return some;
}

static void settle(struct agent_brain *b)
{
    do {
        for (size_t at = 0; at < b->job_count; at++)
            agent_job_advance(b, b->jobs[at]);
    } while (reap_jobs(b)); /* a job may have waited for one that is gone now */
    agent_holds_tick(b);
    agent_hold_looks_tick(b);
    agent_probes_tick(b);
    agent_link_tick(b);
    if (b->stopping && b->job_count == 0 && !b->done) {
        b->done = true;
        (void)agent_emit(b, AGENT_ACT_DONE);
    }
    uint64_t wake = TM_MIN(agent_link_next_us(b), agent_probes_next_us(b));
    wake = TM_MIN(wake, agent_holds_next_us(b));
    wake = TM_MIN(wake, agent_hold_looks_next_us(b));
    for (size_t at = 0; at < b->job_count; at++)
        wake = TM_MIN(wake, agent_job_next_us(b, b->jobs[at]));
    agent_emit(b, AGENT_ACT_WAKE)->wake.at_us = TM_MAX(wake, b->now.mono_us);
}

int agent_brain_step(struct agent_brain *b, const struct agent_event *event, struct agent_now now,
                     struct agent_actions *ret, struct tm_err *err)
{
    codec_arena_release(&b->step);
    b->action_count = 0;
    b->failed = false;
    b->err = err;
    b->now = now;
    agent_desired_resume(b);
    dispatch(b, event);
    if (!b->done)
        settle(b);
    b->err = NULL;
    if (b->failed)
        return tm_err_prefix(err, "agent");
    *ret = (struct agent_actions){.items = b->actions, .count = b->action_count};
    return 0;
}

bool agent_brain_connected(const struct agent_brain *b)
{
    return b->connected;
}

size_t agent_brain_job_count(const struct agent_brain *b)
{
    return b->job_count;
}
