/*
 * The log thread: streams the source's log into the backup from the moment the session is up.
 *
 * Happy path: what earlier runners stored is found → the engine's stream is opened behind it →
 * bytes are appended; every durable chunk is told to the agent (log_durable), which lets the source
 * recycle → when `finish` has said where the log ends, the stream is cut there and the last chunk
 * committed. Log that the log task stores anyway is shared instead (share.c). Failure: a lost
 * connection is tried again for a minute from the next byte due (the hold keeps it there). A chunk
 * that an earlier runner stored and that is damaged is streamed again; the hold had let it go, so
 * the source may have recycled it. Everything else ends the job.
 */
#include "agent/runner/internal.h"

#include "common/clock.h"
#include "common/utf8.h"

#define PUMP_MS  200
#define RETRY_US 500000

static uint64_t until_now(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t until = r->log_until;
    pthread_mutex_unlock(&r->lock);
    return until;
}

static void tell_durable(struct runner *r, uint64_t *told)
{
    uint64_t durable = backup_log_durable(r->log);
    if (durable == *told)
        return;
    *told = durable;
    struct frame f = {.type = FRAME_log_durable, .log_durable = {.byte = durable}};
    runner_tell(r, &f);
}

/* Streams over one connection. 0 = the end is reached. */
static int stream(struct runner *r, uint64_t from, int64_t *last_good_us, uint64_t *told,
                  struct tm_err *err)
{
    struct engine_log *elog = NULL;
    int rc =
        r->engine->log_open(&r->instance, r->begin->begin, backup_log_next(r->log), &elog, err);
    if (rc < 0)
        return rc;
    do {
        uint64_t flushed = 0;
        rc = backup_log_pump(r->log, r->engine, elog, until_now(r), PUMP_MS, &flushed, err);
        if (rc >= 0) {
            *last_good_us = clock_mono_us();
            atomic_store(&r->log_bytes, backup_log_next(r->log) - from);
            tell_durable(r, told);
        }
    } while (rc > 0 && !runner_stopping(r));
    r->engine->log_close(elog);
    return rc;
}

void runner_pause(struct runner *r, int64_t us)
{
    struct timespec until = clock_after(CLOCK_MONOTONIC, us);
    pthread_mutex_lock(&r->lock);
    while (!r->stopping && pthread_cond_timedwait(&r->changed, &r->lock, &until) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&r->lock);
}

/* The operator hears of damaged storage also when nothing is lost by it. */
static void tell_damaged(struct runner *r)
{
    char text[WIRE_TEXT_MAX + 1];
    if (backup_log_damaged(r->log)[0] == '\0')
        return;
    (void)snprintf(text, sizeof(text), "stored log is damaged and is streamed again: %.400s",
                   backup_log_damaged(r->log));
    utf8_clean(text);
    struct frame f = {.type = FRAME_warning, .warning = {.text = text}};
    runner_tell(r, &f);
}

static int stream_all(struct runner *r, uint64_t from, struct tm_err *err)
{
    const uint64_t began = backup_log_next(r->log);
    uint64_t told = from;
    int64_t last_good_us = clock_mono_us();
    tell_durable(r, &told);
    for (;;) {
        uint64_t until = until_now(r);
        int rc = until > 0 && backup_log_next(r->log) >= until
                     ? 0
                     : stream(r, from, &last_good_us, &told, err);
        if (rc == 0 && (rc = backup_log_finish(r->log, err)) == 0) {
            tell_durable(r, &told);
            return 0;
        }
        if (rc > 0 || runner_stopping(r))
            return tm_err_set(err, TM_E_CANCELED, "canceled");
        if (!err->retryable || clock_mono_us() - last_good_us > RUNNER_LOG_RETRY_US)
            return backup_log_next(r->log) == began && backup_log_damaged(r->log)[0] != '\0'
                       ? tm_err_prefix(err, "stored log is damaged and cannot be streamed again")
                       : rc;
        runner_pause(r, RETRY_US);
    }
}

static int log_from(const struct runner *r, uint64_t *ret, struct tm_err *err)
{
    struct engine_position p = {.len = (uint8_t)r->begin->replay_from.len};
    if (r->begin->replay_from.len > sizeof(p.bytes))
        return tm_err_set(err, TM_E_INVALID, "begin: the position is too long");
    if (p.len)
        memcpy(p.bytes, r->begin->replay_from.data, p.len);
    if (r->engine->log_position(&p, ret) < 0)
        return tm_err_set(err, TM_E_INVALID, "begin: '%s' is not a position of the log",
                          r->begin->replay_from_text);
    return 0;
}

static void *log_main(void *arg)
{
    struct runner *r = arg;
    struct tm_err err;
    uint64_t from = 0;
    int rc = log_from(r, &from, &err);
    if (rc == 0)
        rc = logs_share(r, from, &err);
    if (rc == 1)
        atomic_store(&r->log_bytes, backup_log_next(r->log) - from);
    rc = rc == 0 ? stream_all(r, from, &err) : TM_MIN(rc, 0);
    pthread_mutex_lock(&r->lock);
    r->log_state = rc == 0 ? LOG_FINISHED : LOG_FAILED;
    if (rc < 0)
        r->log_err = err;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (rc < 0)
        runner_fail(r, resume_stage(r, "log", &err), &err);
    return NULL;
}

int logs_start(struct runner *r, struct tm_err *err)
{
    if (!(r->engine->caps & ENGINE_CAP_LOG))
        return 0;
    uint64_t next;
    struct backup_log_options options = {.lineage_label = r->begin->lineage_label,
                                         .epoch = r->epoch};
    int rc = log_from(r, &options.from, err);
    if (rc == 0)
        resume_watch_log(r, &options);
    if (rc == 0)
        rc = backup_log_open(r->backup, &options, &r->log, &next, err);
    if (rc < 0)
        return rc;
    tell_damaged(r);
    pthread_mutex_lock(&r->lock);
    r->log_state = LOG_RUNNING;
    pthread_mutex_unlock(&r->lock);
    rc = runner_thread(&r->log_thread, log_main, r, err);
    r->log_started = rc == 0;
    return rc;
}

void logs_finish_at(struct runner *r, uint64_t until)
{
    pthread_mutex_lock(&r->lock);
    r->log_until = until;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

int logs_wait(struct runner *r, struct tm_err *err)
{
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    while (r->log_state == LOG_RUNNING && !r->stopping)
        pthread_cond_wait(&r->changed, &r->lock);
    if (r->log_state == LOG_FAILED) {
        *err = r->log_err;
        rc = -(int)err->code;
    } else if (r->log_state == LOG_RUNNING) {
        rc = tm_err_set(err, TM_E_CANCELED, "canceled");
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

void logs_join(struct runner *r)
{
    if (r->log_started)
        pthread_join(r->log_thread, NULL);
    r->log_started = false;
}
