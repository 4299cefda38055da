/*
 * The run. Happy path: wait until something is wanted → RUN: the hold is there → one session after
 * the other (open.c, receive.c) → PAUSE or STOP: what was received is stored, then nothing is done
 * but looking at the hold.
 *
 * Failure modes: an error that may pass is told, and the next session begins after a pause that
 * grows from LOG_RETRY_MIN_MS to LOG_RETRY_MAX_MS and is short again once log was received. Any other
 * ends the run, whichever thread met it.
 */
#include "agent/log/internal.h"

#include <signal.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/hash.h"

void log_hold_name(const struct repo_scope *scope, const char *task,
                   char ret[LOG_HOLD_NAME_MAX + 1])
{
    char text[NAMES_CLUSTER_MAX + NAMES_TENANT_MAX + NAMES_INCARNATION_MAX + WIRE_NAME_MAX + 8];
    int len = snprintf(text, sizeof(text), "%s/%s/%s/%.*s", scope->cluster, scope->tenant,
                       scope->incarnation, WIRE_NAME_MAX, task);
    (void)snprintf(ret, LOG_HOLD_NAME_MAX + 1, "tidemark_%016llx",
                   (unsigned long long)XXH3_64bits(text, (size_t)len));
}

/* ---- small things for all ---- */

void log_wait(struct log_task *t, int64_t us)
{
    struct timespec until = clock_after(CLOCK_MONOTONIC, us);
    (void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
}

void log_fail(struct log_task *t, const struct tm_err *err)
{
    pthread_mutex_lock(&t->lock);
    if (!t->fatal) {
        t->fatal = true;
        t->fatal_err = *err;
    }
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

bool log_may_be_mended(struct log_task *t, const struct tm_err *err)
{
    pthread_mutex_lock(&t->lock);
    bool stored = t->params.checkpoint != 0 || t->fenced != 0;
    pthread_mutex_unlock(&t->lock);
    return err->retryable || (stored && err->code == TM_E_PERMISSION);
}

int log_random(struct log_task *t, void *ret, size_t len, struct tm_err *err)
{
    if (t->options.random)
        return t->options.random(t->options.random_arg, ret, len, err);
    return random_bytes(ret, len, err);
}

int log_storage_error(struct log_task *t, struct tm_err *err)
{
    /* another place now: only who opens it anew, and looks what lies there, can go on */
    if (err->code == TM_E_CONFLICT && err->retryable)
        log_fail(t, err);
    /* a mount that went away or became read-only comes back; what somebody else wrote stays */
    if (err->code == TM_E_IO || err->code == TM_E_NO_SPACE || err->code == TM_E_NOT_FOUND ||
        err->code == TM_E_PERMISSION)
        err->retryable = true;
    /* "no such bucket" and "bad request" of what has been written to before are a gateway's, and
     * pass; of what never was, the URL is wrong */
    if (err->code == TM_E_INVALID) {
        pthread_mutex_lock(&t->lock);
        err->retryable = err->retryable || t->params.checkpoint != 0 || t->fenced != 0;
        pthread_mutex_unlock(&t->lock);
    }
    return -(int)err->code;
}

int log_epoch_take(struct log_task *t, struct epoch *ret, struct tm_err *err)
{
    pthread_mutex_lock(&t->lock);
    uint32_t used = t->epoch.counter - t->options.epoch.counter;
    bool left = t->options.epochs == 0 || used < t->options.epochs;
    if (left) {
        *ret = t->epoch;
        t->epoch.counter++;
    }
    pthread_mutex_unlock(&t->lock);
    if (left)
        return 0;
    (void)tm_err_retry(err, TM_E_LIMIT, "the log was opened %u times by one writer: a new one must",
                       used);
    log_fail(t, err);
    return -TM_E_LIMIT;
}

bool log_epoch_is_own(struct log_task *t, struct epoch epoch)
{
    pthread_mutex_lock(&t->lock);
    bool own = epoch.term == t->options.epoch.term && epoch.counter >= t->options.epoch.counter &&
               epoch.counter < t->epoch.counter;
    pthread_mutex_unlock(&t->lock);
    return own;
}

int64_t log_backoff(int64_t pause_us)
{
    int64_t next = TM_MAX(pause_us * 2, LOG_RETRY_MIN_MS * USEC_PER_MSEC);
    return TM_MIN(next, LOG_RETRY_MAX_MS * USEC_PER_MSEC);
}

/* ---- threads ---- */

static int start_thread(pthread_t *ret, void *(*main)(void *), void *arg, struct tm_err *err)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) {
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = pthread_attr_setstacksize(&attr, LOG_STACK_BYTES);
        if (rc == 0)
            rc = pthread_create(ret, &attr, main, arg);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        (void)pthread_attr_destroy(&attr);
    }
    return rc == 0 ? 0 : tm_err_errno(err, rc, "cannot start a thread");
}

static int start_threads(struct log_task *t, struct tm_err *err)
{
    const struct {
        void *(*main)(void *);
        pthread_t *thread;
        bool *up;
        bool always;
    } threads[] = {
        {log_tell_main, &t->tell_thread, &t->tell_up, true},
        {log_hold_main, &t->hold_thread, &t->hold_up, true},
        {log_keep_main, &t->keep_thread, &t->keep_up, false},
        {log_help_main, &t->help_thread, &t->help_up, false},
        {log_ask_main, &t->ask_thread, &t->ask_up, false},
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(threads); i++) {
        if (!threads[i].always && t->options.hold_only)
            continue;
        int r = start_thread(threads[i].thread, threads[i].main, t, err);
        if (r < 0)
            return r;
        *threads[i].up = true;
    }
    while (!t->options.hold_only && t->packer_count < t->threads) {
        int r = start_thread(&t->packers[t->packer_count], log_pack_main, t, err);
        if (r < 0)
            return r;
        t->packer_count++;
    }
    return 0;
}

static void join_threads(struct log_task *t)
{
    pthread_mutex_lock(&t->lock);
    t->quit = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < t->packer_count; i++)
        pthread_join(t->packers[i], NULL);
    t->packer_count = 0;
    const struct {
        pthread_t thread;
        bool *up;
    } threads[] = {{t->hold_thread, &t->hold_up},
                   {t->keep_thread, &t->keep_up},
                   {t->help_thread, &t->help_up},
                   {t->ask_thread, &t->ask_up},
                   {t->tell_thread, &t->tell_up}};
    for (size_t i = 0; i < TM_ARRAY_LEN(threads); i++) {
        if (*threads[i].up)
            pthread_join(threads[i].thread, NULL);
        *threads[i].up = false;
    }
}

/* ---- the run ---- */

static void set_stage(struct log_task *t, enum job_stage stage)
{
    if (t->stage != stage)
        t->status_serial++;
    t->stage = stage;
    pthread_cond_broadcast(&t->changed);
}

/* RUN: waits for the hold. False when something else is wanted. */
static bool hold_is_there(struct log_task *t)
{
    pthread_mutex_lock(&t->lock);
    while (!log_over(t) && t->step == JOB_STEP_RUN && t->hold != HOLD_OPEN)
        log_wait(t, USEC_PER_SEC);
    t->in_session = !log_over(t) && t->step == JOB_STEP_RUN;
    bool there = t->in_session;
    pthread_mutex_unlock(&t->lock);
    return there;
}

static void pause_run(struct log_task *t, int64_t us)
{
    int64_t until = clock_mono_us() + us;
    pthread_mutex_lock(&t->lock);
    while (!log_over(t) && t->step == JOB_STEP_RUN && clock_mono_us() < until)
        log_wait(t, until - clock_mono_us());
    pthread_mutex_unlock(&t->lock);
}

/* One session and what follows from its end. *pause_us is the pause before the next. */
static void run_once(struct log_task *t, int64_t *pause_us)
{
    struct tm_err err;
    uint64_t progress = t->progress;
    if (!hold_is_there(t))
        return;
    int r = log_session_run(t, &err);
    pthread_mutex_lock(&t->lock);
    bool over = log_over(t);
    t->in_session = false;
    t->recover_now = t->recover_now || t->step != JOB_STEP_RUN;
    t->want_serial++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    if (over)
        return;
    if (t->progress != progress)
        *pause_us = 0;
    if (r == 0) { /* the branch has ended, or another step is wanted */
        log_trouble_over(t, LOG_PART_STREAM);
        *pause_us = 0;
        pause_run(t, LOG_RETRY_MIN_MS * USEC_PER_MSEC);
        return;
    }
    if (!log_may_be_mended(t, &err)) {
        log_fail(t, &err);
        return;
    }
    log_trouble(t, LOG_PART_STREAM, "receive", &err);
    *pause_us = log_backoff(*pause_us);
    pause_run(t, *pause_us);
}

static void run_loop(struct log_task *t)
{
    int64_t pause_us = 0;
    for (;;) {
        pthread_mutex_lock(&t->lock);
        bool over = log_over(t);
        bool wanted = t->wanted;
        enum job_step step = t->step;
        if (!over && (!wanted || step != JOB_STEP_RUN || t->options.hold_only)) {
            if (wanted && step == JOB_STEP_PAUSE)
                set_stage(t, JOB_STAGE_PAUSED);
            else if (wanted && step == JOB_STEP_STOP && t->hold == HOLD_DROPPED)
                set_stage(t, JOB_STAGE_STOPPED);
            else if (wanted && t->options.hold_only && t->hold == HOLD_OPEN)
                set_stage(t, JOB_STAGE_WORKING);
            log_wait(t, USEC_PER_SEC);
        }
        pthread_mutex_unlock(&t->lock);
        if (over)
            return;
        if (wanted && step == JOB_STEP_RUN && !t->options.hold_only)
            run_once(t, &pause_us);
        else
            log_trouble_over(t, LOG_PART_STREAM);
    }
}

int log_task_run(struct log_task *t, struct tm_err *err)
{
    int r = start_threads(t, err);
    if (r == 0)
        run_loop(t);
    join_threads(t);
    if (r < 0)
        return r;
    if (t->fatal) {
        *err = t->fatal_err;
        return -(int)err->code;
    }
    return tm_err_set(err, TM_E_CANCELED, "canceled");
}

/* ---- what is wanted ---- */

/* With the lock. Bounds are the wire's. */
static void want_query(struct log_task *t, const struct msg_log_query *query)
{
    t->params.query = NULL;
    t->query = (struct msg_log_query){.id = 0};
    if (!query)
        return;
    t->query = *query;
    (void)snprintf(t->query_name, sizeof(t->query_name), "%s", query->name ? query->name : "");
    (void)snprintf(t->query_until, sizeof(t->query_until), "%s", query->until ? query->until : "");
    t->query.name = t->query_name;
    t->query.until = t->query_until;
}

int log_task_want(struct log_task *t, enum job_step step, const struct msg_log_params *params,
                  struct tm_err *err)
{
    if (step != JOB_STEP_RUN && step != JOB_STEP_PAUSE && step != JOB_STEP_STOP)
        return tm_err_set(err, TM_E_INVALID, "step %d means nothing to a log task", (int)step);
    const char *until = params->truncate_until ? params->truncate_until : "";
    if (strlen(until) >= sizeof(t->truncate_until))
        return tm_err_set(err, TM_E_INVALID, "'%s' is too long to truncate until", until);
    pthread_mutex_lock(&t->lock);
    int r = log_places_want(t, params->places, params->places_count, err);
    if (r < 0) {
        pthread_mutex_unlock(&t->lock);
        return r;
    }
    if (step != JOB_STEP_PAUSE || !t->wanted || t->step != JOB_STEP_PAUSE)
        t->paused_us = clock_real_us();
    if (step == JOB_STEP_STOP && (!t->wanted || t->step != JOB_STEP_STOP))
        t->mark_now = t->writing;
    t->wanted = true;
    t->want_serial++;
    t->step = step;
    if (params->truncate_gen != t->params.truncate_gen)
        t->truncate_failed = false; /* that was of another wish */
    t->params = *params;
    memcpy(t->truncate_until, until, strlen(until) + 1);
    t->params.truncate_until = t->truncate_until;
    want_query(t, params->query);
    t->params.places = NULL; /* the sender's */
    t->params.places_count = 0;
    t->status_serial++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

void log_task_cancel(struct log_task *t)
{
    atomic_store(&t->cancel, true);
    pthread_mutex_lock(&t->lock);
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

/* ---- life ---- */

static int check_options(const struct log_task_options *o, struct tm_err *err)
{
    const struct engine_ops *e = o->engine;
    if (!(e->caps & ENGINE_CAP_HOLD) || !(e->caps & ENGINE_CAP_LOG) || !e->log_describe ||
        !e->hold_open || !e->index_open || !e->position_text || !e->position_parse)
        return tm_err_set(err, TM_E_UNSUPPORTED, "engine '%s' has no log that can be backed up",
                          o->engine_name);
    if (o->threads > LOG_THREADS_MAX)
        return tm_err_set(err, TM_E_INVALID, "more than %u threads", LOG_THREADS_MAX);
    return 0;
}

int log_task_new(const struct log_task_options *options, struct log_task **ret, struct tm_err *err)
{
    pthread_condattr_t attr;
    int r = check_options(options, err);
    if (r < 0)
        return r;
    struct log_task *t = calloc(1, sizeof(*t));
    if (!t)
        return tm_err_oom(err);
    t->options = *options;
    t->threads = options->threads ? options->threads : 2;
    t->mark_us = LOG_MARK_MS * USEC_PER_MSEC;
    t->stuck_us = LOG_STUCK_MS * USEC_PER_MSEC;
    t->roll_after = LOGS_INDEX_AFTER;
    t->place_ms = LOG_PLACE_MS;
    t->recover_at = UINT64_MAX;
    t->stage = JOB_STAGE_STARTING;
    t->epoch = options->epoch;
    (void)snprintf(t->node, sizeof(t->node), "%s", options->node ? options->node : "");
    (void)snprintf(t->name, sizeof(t->name), "%s", options->name ? options->name : "");
    t->options.node = t->node;
    t->options.name = t->name;
    log_hold_name(&options->scope, t->name, t->hold_name);
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &attr);
    pthread_condattr_destroy(&attr);
    for (size_t i = 0; r == 0 && i < TM_ARRAY_LEN(t->scratches); i++)
        r = object_scratch_new(&t->scratches[i], err);
    if (r < 0) {
        log_task_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void log_task_free(struct log_task *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < TM_ARRAY_LEN(t->slots); i++) {
        struct log_slot *slot = &t->slots[i];
        free(slot->data);
        buf_release(&slot->boundaries);
        events_writer_release(&slot->events);
        for (size_t n = 0; n < ENGINE_SECTIONS_MAX; n++)
            buf_release(&slot->sections[n].bytes);
    }
    for (size_t i = 0; i < TM_ARRAY_LEN(t->scratches); i++)
        object_scratch_free(t->scratches[i]);
    buf_release(&t->branch.facts);
    codec_arena_release(&t->places_arena);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
