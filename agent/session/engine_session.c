/*
 * One thread, one engine session.
 *
 * The loop writes wishes (end, hold, close) under the lock; the thread takes them in order of
 * weight: close before everything, then end, then hold, then a ping when nothing was asked for a
 * while. Each outcome is written into the struct and announced by a mail of its own that lives in
 * the struct, so announcing cannot fail; the mailbox's lock orders the two sides.
 *
 * Failure modes: any call fails → `failed` once, then the thread waits for close. close while a
 * call blocks → session_cancel makes it return TM_E_CANCELED; a connection being opened is waited
 * for (its own timeout bounds it).
 */
#include "agent/session/engine_session.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "common/clock.h"
#include "common/mailbox.h"

enum news { NEWS_BEGUN, NEWS_ENDED, NEWS_FAILED, NEWS_CLOSED, NEWS_COUNT };

struct news_mail {
    struct mail mail;
    enum news what;
};

struct engine_session_thread {
    struct engine_session_handlers handlers;
    void *arg;
    struct mailbox *box;
    struct loop *loop;
    pthread_t thread;
    bool started;
    bool joined;
    bool closing; /* the loop's side: close was asked for */

    const struct engine_ops *ops;
    struct engine_instance instance;
    char label[ENGINE_SESSION_LABEL_MAX + 1];
    bool fast;
    char *hold;       /* NULL = none that lasts */
    struct buf first; /* empty = no earlier attempt is resumed */
    uint64_t log_from;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under the lock */
    bool want_close;
    bool want_end;
    uint64_t want_hold;
    struct engine_session *session; /* set while it may be cancelled */

    /* the thread's, read by the loop after the mail that announces it */
    uint64_t held;
    struct buf begin;
    struct engine_position replay_from;
    struct engine_description description;
    struct buf end;
    struct engine_position consistent_at;
    int64_t commit_us;
    const char *failed_stage;
    struct tm_err failed_err;
    struct news_mail news[NEWS_COUNT];
};

/* ---- the thread ---- */

static void announce(struct engine_session_thread *s, enum news what)
{
    s->news[what] = (struct news_mail){.what = what};
    mailbox_post(s->box, &s->news[what].mail);
}

static bool closing(struct engine_session_thread *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool close_wanted = s->want_close;
    (void)pthread_mutex_unlock(&s->lock);
    return close_wanted;
}

static int do_begin(struct engine_session_thread *s, struct tm_err *err)
{
    struct engine_session *session = NULL;
    int r;

    s->failed_stage = "check";
    if ((r = s->ops->describe(&s->instance, &s->description, err)) < 0 ||
        (r = s->ops->check(&s->instance, err)) < 0)
        return r;
    if (closing(s))
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    s->failed_stage = "connect";
    if ((r = s->ops->session_open(&s->instance, s->label, &session, err)) < 0)
        return r;
    (void)pthread_mutex_lock(&s->lock);
    s->session = session;
    bool close_wanted = s->want_close;
    (void)pthread_mutex_unlock(&s->lock);
    if (close_wanted)
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    s->failed_stage = "begin";
    if (s->first.len == 0)
        return s->ops->snapshot_begin(session, s->hold, s->fast, &s->begin, &s->replay_from, err);
    s->failed_stage = "resume";
    if (!s->ops->snapshot_resume)
        return tm_err_set(err, TM_E_CONFLICT, "engine '%s' cannot resume a snapshot", s->ops->name);
    r = s->ops->snapshot_resume(session, s->hold, s->fast, buf_slice(&s->first), s->log_from,
                                &s->begin, &s->replay_from, err);
    if (r == -TM_E_CORRUPT) { /* what the first one knew is lost: ranges start over */
        err->code = TM_E_CONFLICT;
        r = -TM_E_CONFLICT;
    }
    return r;
}

enum wish { WISH_CLOSE, WISH_END, WISH_HOLD, WISH_PING };

static enum wish next_wish(struct engine_session_thread *s, bool failed, bool ended,
                           uint64_t *ret_hold)
{
    struct timespec until = clock_after(CLOCK_MONOTONIC, ENGINE_SESSION_PING_MS * USEC_PER_MSEC);
    enum wish wish = WISH_PING;
    int r = 0;

    (void)pthread_mutex_lock(&s->lock);
    for (;;) {
        if (s->want_close) {
            wish = WISH_CLOSE;
            break;
        }
        if (!failed && !ended) {
            if (s->want_end) {
                wish = WISH_END;
                break;
            }
            if (s->want_hold > s->held) {
                wish = WISH_HOLD;
                *ret_hold = s->want_hold;
                break;
            }
            if (r == ETIMEDOUT)
                break;
            r = pthread_cond_timedwait(&s->wake, &s->lock, &until);
        } else {
            (void)pthread_cond_wait(&s->wake, &s->lock);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return wish;
}

static void fail(struct engine_session_thread *s, const char *stage, const struct tm_err *err)
{
    s->failed_stage = stage;
    s->failed_err = *err;
    announce(s, NEWS_FAILED);
}

/* False when the session is lost. */
static bool serve_wish(struct engine_session_thread *s, enum wish wish, uint64_t hold, bool *ended)
{
    struct tm_err err = {0};

    switch (wish) {
    case WISH_HOLD:
        s->held = hold;
        (void)s->ops->hold_advance(s->session, hold,
                                   &err); /* best effort; a ping finds what broke */
        return true;
    case WISH_PING:
        if (s->ops->session_ping(s->session, &err) < 0) {
            fail(s, "session", &err);
            return false;
        }
        return true;
    case WISH_END:
        if (s->ops->snapshot_end(s->session, &s->end, &s->consistent_at, &s->commit_us, &err) < 0) {
            fail(s, "end", &err);
            return false;
        }
        *ended = true;
        announce(s, NEWS_ENDED);
        return true;
    case WISH_CLOSE:
        break;
    }
    return true;
}

static void *session_main(void *arg)
{
    struct engine_session_thread *s = arg;
    struct engine_session *session;
    struct tm_err err = {0};
    bool failed = false, ended = false;
    uint64_t hold = 0;
    enum wish wish;

    (void)prctl(PR_SET_NAME, "tidemark-db");
    if (do_begin(s, &err) < 0) {
        failed = true;
        fail(s, s->failed_stage, &err);
    } else {
        announce(s, NEWS_BEGUN);
    }
    while ((wish = next_wish(s, failed, ended, &hold)) != WISH_CLOSE)
        if (!serve_wish(s, wish, hold, &ended))
            failed = true;
    (void)pthread_mutex_lock(&s->lock);
    session = TM_TAKE(s->session);
    (void)pthread_mutex_unlock(&s->lock);
    if (session)
        s->ops->session_close(session);
    announce(s, NEWS_CLOSED);
    return NULL;
}

/* ---- the loop's side ---- */

static void join(struct engine_session_thread *s)
{
    if (s->started && !s->joined)
        (void)pthread_join(s->thread, NULL);
    s->joined = true;
}

static void on_mail(struct mail *m, void *ctx)
{
    struct news_mail *news = LIST_ENTRY(m, struct news_mail, mail);
    struct engine_session_thread *s = ctx;

    switch (news->what) {
    case NEWS_BEGUN: {
        struct engine_session_begun begun = {.begin = buf_slice(&s->begin),
                                             .replay_from = s->replay_from,
                                             .description = s->description};
        if (!s->closing)
            s->handlers.begun(s->arg, &begun);
        break;
    }
    case NEWS_ENDED: {
        struct engine_session_ended ended = {.end = buf_slice(&s->end),
                                             .consistent_at = s->consistent_at,
                                             .commit_us = s->commit_us};
        if (!s->closing)
            s->handlers.ended(s->arg, &ended);
        break;
    }
    case NEWS_FAILED:
        if (!s->closing)
            s->handlers.failed(s->arg, s->failed_stage, &s->failed_err);
        break;
    case NEWS_CLOSED:
        join(s);
        s->handlers.closed(s->arg);
        break;
    case NEWS_COUNT:
        break;
    }
}

static int start_thread(struct engine_session_thread *s, struct tm_err *err)
{
    pthread_condattr_t attr;
    sigset_t all, before;
    int r;

    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    r = pthread_create(&s->thread, NULL, session_main, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        (void)pthread_mutex_destroy(&s->lock);
        (void)pthread_cond_destroy(&s->wake);
        return tm_err_errno(err, r, "cannot start a thread for the database session");
    }
    s->started = true;
    return 0;
}

int engine_session_begin(struct loop *loop, const struct engine_session_spec *spec,
                         const struct engine_session_handlers *handlers, void *arg,
                         struct engine_session_thread **ret, struct tm_err *err)
{
    TM_CLEANUP(engine_session_freep) struct engine_session_thread *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return tm_err_oom(err);
    s->handlers = *handlers;
    s->arg = arg;
    s->loop = loop;
    s->ops = spec->ops;
    s->instance = spec->instance;
    s->fast = spec->fast;
    (void)snprintf(s->label, sizeof s->label, "%s", spec->label ? spec->label : "tidemark");
    s->log_from = spec->resume.log_from;
    if (spec->hold && !(s->hold = strdup(spec->hold)))
        return tm_err_oom(err);
    if ((r = buf_append_slice(&s->first, spec->resume.first, err)) < 0)
        return r;
    if ((r = mailbox_new(loop, on_mail, s, &s->box, err)) < 0 || (r = start_thread(s, err)) < 0)
        return r;
    *ret = TM_TAKE(s);
    return 0;
}

void engine_session_hold(struct engine_session_thread *s, uint64_t durable)
{
    (void)pthread_mutex_lock(&s->lock);
    if (durable > s->want_hold)
        s->want_hold = durable;
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
}

void engine_session_end(struct engine_session_thread *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->want_end = true;
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
}

void engine_session_close(struct engine_session_thread *s)
{
    s->closing = true;
    (void)pthread_mutex_lock(&s->lock);
    s->want_close = true;
    /* under the lock: the thread takes the session away under it before closing */
    if (s->session)
        s->ops->session_cancel(s->session);
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
}

void engine_session_free(struct engine_session_thread *s)
{
    if (!s)
        return;
    if (s->started) {
        if (!s->joined)
            engine_session_close(s);
        join(s);
        (void)pthread_mutex_destroy(&s->lock);
        (void)pthread_cond_destroy(&s->wake);
    }
    mailbox_free(s->box);
    buf_release(&s->begin);
    buf_release(&s->end);
    buf_release(&s->first);
    free(s->hold);
    free(s);
}
