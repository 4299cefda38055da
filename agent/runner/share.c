/*
 * A backup's log that the log task stores anyway. Happy path: nothing is streamed while the backup
 * runs, and the session's hold stays where it is, so that the source keeps all of it → when the end
 * is known, storage is asked until the task has come so far → its chunks are listed.
 *
 * Failure modes: the task leaves a hole, stands still, or holds another log: the backup streams its own
 * from the start, and the operator hears why. A backup that runs so long that the source keeps more
 * than SHARE_KEPT_BYTES for it, or half of what it would keep at all, does so at once.
 */
#include "agent/runner/internal.h"

#include "common/clock.h"
#include "common/utf8.h"

#define SHARE_KEPT_BYTES (UINT64_C(8) << 30)
#define KEPT_LOOK_US     (15 * USEC_PER_SEC)
#define SHARE_WAIT_US    (30 * USEC_PER_SEC)
#define SHARE_POLL_US    (300 * USEC_PER_MSEC)

/* Waits for the end to be known, at most so long. 0 = not known. */
static uint64_t await_until(struct runner *r, int64_t us)
{
    struct timespec deadline = clock_after(CLOCK_MONOTONIC, us);
    pthread_mutex_lock(&r->lock);
    while (!r->stopping && r->log_until == 0 &&
           pthread_cond_timedwait(&r->changed, &r->lock, &deadline) != ETIMEDOUT)
        ;
    uint64_t until = r->log_until;
    pthread_mutex_unlock(&r->lock);
    return until;
}

/* Whether the source keeps so much from `from` on that it must not become more. Half of what it would
 * keep at all: the other half is for the time until its log is stored. */
static bool keeps_too_much(const struct runner *r, uint64_t from)
{
    struct engine_description d;
    struct tm_err ignored;
    uint64_t at;
    if (r->engine->describe(&r->instance, &d, &ignored) < 0 ||
        r->engine->log_position(&d.position, &at) < 0 || at <= from)
        return false; /* the session finds out when its hold is gone */
    return at - from > SHARE_KEPT_BYTES ||
           (d.hold_max_bytes > 0 && at - from > d.hold_max_bytes / 2);
}

static void tell_why(struct runner *r, const char *why)
{
    char text[WIRE_TEXT_MAX + 1];
    (void)snprintf(text, sizeof(text), "the backup stores its own log: %.400s", why);
    utf8_clean(text);
    struct frame f = {.type = FRAME_warning, .warning = {.text = text}};
    runner_tell(r, &f);
}

/* The end is known: asks until it is shared, or in vain. */
static int share_until(struct runner *r, uint64_t until, struct tm_err *err)
{
    const struct backup_share share = {
        .engine = r->engine, .instance = &r->instance, .begin = r->begin->begin, .until = until};
    char why[TM_ERR_MSG_MAX] = "";
    int64_t deadline_us = clock_mono_us() + SHARE_WAIT_US;
    for (;;) {
        int rc = backup_log_share(r->log, &share, why, err);
        if (rc < 0)
            return rc;
        if (rc == BACKUP_SHARED)
            return 1;
        if (runner_stopping(r))
            return tm_err_set(err, TM_E_CANCELED, "canceled");
        if (rc == BACKUP_SHARE_NEVER || clock_mono_us() >= deadline_us) {
            tell_why(r, why);
            return 0;
        }
        runner_pause(r, SHARE_POLL_US);
    }
}

int logs_share(struct runner *r, uint64_t from, struct tm_err *err)
{
    uint64_t until = 0;
    if (!r->job->backup->share_log || backup_log_next(r->log) != from)
        return 0;
    while (until == 0) {
        if (runner_stopping(r))
            return tm_err_set(err, TM_E_CANCELED, "canceled");
        if (keeps_too_much(r, from)) {
            tell_why(r, "the source would keep too much log until it could be shared");
            return 0;
        }
        until = await_until(r, KEPT_LOOK_US);
    }
    return until > from ? share_until(r, until, err) : 0;
}
