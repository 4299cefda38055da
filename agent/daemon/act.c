/*
 * Carrying out what the brain says: sessions, runners, the wire.
 *
 * Nothing here decides. What fails on the spot becomes the event the brain would have got later.
 */
#include "agent/daemon/internal.h"

/* ---- sessions ---- */

static struct agent_db *find_session(struct agent *a, uint32_t job)
{
    struct agent_db *db;

    LIST_FOREACH (db, &a->sessions, link) {
        if (db->job == job)
            return db;
    }
    return NULL;
}

static void on_begun(void *arg, const struct engine_session_begun *begun)
{
    struct agent_db *db = arg;
    const struct engine_position *from = &begun->replay_from;
    struct agent_event event = {.kind = AGENT_EV_SESSION_BEGUN,
                                .begun = {.job = db->job,
                                          .begin = begun->begin,
                                          .replay_from = slice_of(from->bytes, from->len),
                                          .replay_from_text = from->text,
                                          .lineage_label = begun->description.lineage_label,
                                          .identity = begun->description.identity,
                                          .version = begun->description.version,
                                          .warning = begun->description.warning}};

    agent_feed(db->agent, &event);
}

static void on_ended(void *arg, const struct engine_session_ended *ended)
{
    struct agent_db *db = arg;
    const struct engine_position *at = &ended->consistent_at;
    struct agent_event event = {.kind = AGENT_EV_SESSION_ENDED,
                                .ended = {.job = db->job,
                                          .end = ended->end,
                                          .consistent_at = slice_of(at->bytes, at->len),
                                          .consistent_at_text = at->text,
                                          .commit_us = ended->commit_us}};

    agent_feed(db->agent, &event);
}

static void on_session_failed(void *arg, const char *stage, const struct tm_err *err)
{
    struct agent_db *db = arg;
    struct agent_event event = {.kind = AGENT_EV_SESSION_FAILED,
                                .session_failed = {.job = db->job, .err = err, .stage = stage}};

    agent_feed(db->agent, &event);
}

static void session_free(struct agent *a, struct agent_db *db)
{
    list_remove(&a->sessions, &db->link);
    engine_session_free(db->thread);
    free(db);
}

static void on_closed(void *arg)
{
    struct agent_db *db = arg;
    struct agent *a = db->agent;
    struct agent_event event = {.kind = AGENT_EV_SESSION_CLOSED,
                                .session_closed = {.job = db->job}};

    session_free(a, db);
    agent_feed(a, &event);
}

static const struct engine_session_handlers session_handlers = {
    .begun = on_begun,
    .ended = on_ended,
    .failed = on_session_failed,
    .closed = on_closed,
};

static int session_begin(struct agent *a, const struct agent_action *action, struct tm_err *err)
{
    const struct watch *watch = &a->watches[action->session.instance];
    struct engine_session_spec spec = {.ops = watch->ops,
                                       .instance = watch->instance,
                                       .label = action->session.label,
                                       .fast = action->session.fast,
                                       .hold = action->session.hold};
    struct agent_db *db = calloc(1, sizeof *db);
    int r;

    if (!db)
        return tm_err_oom(err);
    if (action->session.resume) {
        spec.resume.first = action->session.first;
        spec.resume.log_from = action->session.log_from;
    }
    db->agent = a;
    db->job = action->session.job;
    if ((r = engine_session_begin(a->loop, &spec, &session_handlers, db, &db->thread, err)) < 0) {
        free(db);
        return r;
    }
    list_push_back(&a->sessions, &db->link);
    return 0;
}

static void act_session(struct agent *a, const struct agent_action *action)
{
    struct agent_db *db = find_session(a, action->session.job);
    struct agent_event event = {0};
    struct tm_err err = {0};

    switch (action->kind) {
    case AGENT_ACT_SESSION_BEGIN:
        if ((!action->session.hold ||
             agent_holds_store(a, action->session.holds, action->session.hold_count, &err) == 0) &&
            session_begin(a, action, &err) == 0)
            return;
        event.kind = AGENT_EV_SESSION_FAILED;
        event.session_failed.job = action->session.job;
        event.session_failed.stage = "connect";
        agent_defer(a, &event, &err);
        return;
    case AGENT_ACT_SESSION_CLOSE:
        if (db) {
            engine_session_close(db->thread);
            return;
        }
        event.kind = AGENT_EV_SESSION_CLOSED;
        event.session_closed.job = action->session.job;
        agent_defer(a, &event, NULL);
        return;
    case AGENT_ACT_SESSION_HOLD:
        if (db)
            engine_session_hold(db->thread, action->session.durable);
        return;
    case AGENT_ACT_SESSION_END:
        if (db)
            engine_session_end(db->thread);
        return;
    default:
        return;
    }
}

/* ---- runners ---- */

static struct agent_runner *find_runner(struct agent *a, uint32_t job, uint32_t generation)
{
    struct agent_runner *runner;

    LIST_FOREACH (runner, &a->runners, link) {
        if (runner->job == job && runner->generation == generation)
            return runner;
    }
    return NULL;
}

static void on_frame(void *arg, const struct frame *frame)
{
    struct agent_runner *runner = arg;
    struct agent_event event = {
        .kind = AGENT_EV_RUNNER_FRAME,
        .frame = {.job = runner->job, .generation = runner->generation, .frame = frame}};

    agent_feed(runner->agent, &event);
}

static void runner_free(struct agent *a, struct agent_runner *runner)
{
    list_remove(&a->runners, &runner->link);
    runner_child_free(runner->child);
    free(runner);
}

static void on_exited(void *arg, int signal, int status, const char *why)
{
    struct agent_runner *runner = arg;
    struct agent *a = runner->agent;
    struct agent_event event = {.kind = AGENT_EV_RUNNER_EXITED,
                                .exited = {.job = runner->job,
                                           .generation = runner->generation,
                                           .signal = signal,
                                           .status = status}};

    if (why)
        log_error(&a->lg, NULL, "runner %ld was killed: %s", (long)runner_child_pid(runner->child),
                  why);
    runner_free(a, runner);
    agent_feed(a, &event);
}

static const struct runner_child_handlers runner_handlers = {.frame = on_frame,
                                                             .exited = on_exited};

static int runner_spawn(struct agent *a, const struct agent_action *action, struct tm_err *err)
{
    struct agent_runner *runner;
    int r;

    /* one that could not be told apart from a later one must not write */
    if (action->runner.writers &&
        (r = agent_kept_store_writers(a, action->runner.writers, action->runner.writer_count,
                                      err)) < 0)
        return tm_err_prefix(err, "no runner is started, its number cannot be stored");
    runner = calloc(1, sizeof *runner);
    if (!runner)
        return tm_err_oom(err);
    runner->agent = a;
    runner->job = action->runner.job;
    runner->generation = action->runner.generation;
    if ((r = runner_child_spawn(a->loop, &runner_handlers, runner, &runner->child, err)) < 0) {
        free(runner);
        return r;
    }
    list_push_back(&a->runners, &runner->link);
    struct log_ctx ctx = {.job = action->runner.uid};
    log_debug(&a->lg, &ctx, "runner %ld started", (long)runner_child_pid(runner->child));
    return 0;
}

static void act_runner(struct agent *a, const struct agent_action *action)
{
    struct agent_runner *runner = find_runner(a, action->runner.job, action->runner.generation);
    struct tm_err err = {0};

    if (action->kind == AGENT_ACT_RUNNER_SPAWN) {
        if (runner_spawn(a, action, &err) == 0)
            return;
        struct agent_event event = {.kind = AGENT_EV_RUNNER_EXITED,
                                    .exited = {.job = action->runner.job,
                                               .generation = action->runner.generation,
                                               .status = 127}};
        log_error(&a->lg, NULL, "%s", err.msg);
        agent_defer(a, &event, NULL);
    } else if (runner && action->kind == AGENT_ACT_RUNNER_SEND) {
        runner_child_send(runner->child, action->runner.frame);
    } else if (runner) {
        runner_child_kill(runner->child);
    }
}

void agent_jobs_release(struct agent *a)
{
    struct agent_runner *runner, *next_runner;
    struct agent_db *db, *next_db;

    LIST_FOREACH_SAFE (runner, next_runner, &a->runners, link) {
        runner_free(a, runner);
    }
    LIST_FOREACH_SAFE (db, next_db, &a->sessions, link) {
        session_free(a, db);
    }
}

/* ---- all of them ---- */

static enum log_event event_id(enum agent_log_event event)
{
    switch (event) {
    case AGENT_LOG_INSTANCE_CHANGED:
        return LOG_EVENT_INSTANCE_CHANGED;
    case AGENT_LOG_JOB_START:
        return LOG_EVENT_JOB_STARTED;
    case AGENT_LOG_JOB_COMPLETE:
        return LOG_EVENT_JOB_COMPLETE;
    case AGENT_LOG_JOB_FAILED:
        return LOG_EVENT_JOB_FAILED;
    case AGENT_LOG_RUNNER_DIED:
        return LOG_EVENT_RUNNER_DIED;
    case AGENT_LOG_PAGE_CORRUPT:
        return LOG_EVENT_PAGE_CORRUPT;
    case AGENT_LOG_SESSION_LOST:
        return LOG_EVENT_SESSION_LOST;
    case AGENT_LOG_RESTORE_COMPLETE:
        return LOG_EVENT_RESTORE_COMPLETE;
    case AGENT_LOG_PLAIN:
        break;
    }
    return LOG_EVENT_NONE;
}

static void act_log(struct agent *a, const struct agent_action *action)
{
    const struct log_ctx ctx = {.cluster = a->config.cluster,
                                .tenant = action->log.tenant,
                                .node = a->config.node,
                                .job = action->log.job};

    log_write(&a->lg, &ctx, event_id(action->log.event), action->log.priority, "%s",
              action->log.text);
}

void agent_act(struct agent *a, const struct agent_action *action)
{
    struct tm_err err = {0};

    switch (action->kind) {
    case AGENT_ACT_CONNECT:
        line_connect(a->wire, action->connect.seen_term, action->connect.seen_start,
                     action->connect.seen_revision);
        break;
    case AGENT_ACT_DISCONNECT:
        line_disconnect(a->wire);
        break;
    case AGENT_ACT_SEND:
        line_send(a->wire, action->send.message, action->send.timeout_ms);
        break;
    case AGENT_ACT_STORE_TERM:
        agent_term_store(a, action->store_term.term, action->store_term.start);
        break;
    case AGENT_ACT_STORE_LOG_JOBS:
        agent_kept_store_jobs(a, action->store_log_jobs.jobs, action->store_log_jobs.count,
                              action->store_log_jobs.term);
        break;
    case AGENT_ACT_STORE_HOLDS:
        if (agent_holds_store(a, action->store_holds.holds, action->store_holds.count, &err) < 0)
            log_warning(&a->lg, NULL, "cannot remember the holds: %s", err.msg);
        break;
    case AGENT_ACT_HOLD_DROP:
        agent_hold_drop(a, action);
        break;
    case AGENT_ACT_HOLD_LIST:
        agent_holds_look(a, action);
        break;
    case AGENT_ACT_SESSION_BEGIN:
    case AGENT_ACT_SESSION_HOLD:
    case AGENT_ACT_SESSION_END:
    case AGENT_ACT_SESSION_CLOSE:
        act_session(a, action);
        break;
    case AGENT_ACT_RUNNER_SPAWN:
    case AGENT_ACT_RUNNER_SEND:
    case AGENT_ACT_RUNNER_KILL:
        act_runner(a, action);
        break;
    case AGENT_ACT_LOG:
        act_log(a, action);
        break;
    case AGENT_ACT_WAKE:
        loop_timer_set(a->wake, (int64_t)action->wake.at_us);
        break;
    case AGENT_ACT_DONE:
        loop_exit(a->loop, 0);
        break;
    }
}
