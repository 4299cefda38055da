/*
 * The thread that looks: every LOG_LOOK_MS it asks the source for its clock and what it has made
 * durable, and moves the hold one byte behind what is stored and not contested.
 *
 * The checkpoint. A look tells (time, flushed): what was acknowledged before the time lies before
 * `flushed`. So it counts when flushed <= fenced, and the newest that counts is the checkpoint. Newest
 * by order, not by time: a clock that was set back makes the promise smaller. Looks on another branch
 * than the one that is written, or before this session has proven that it is the source's, say nothing.
 * It is told when a mark in storage says the same (a chunk's, or keep.c's): whoever has nothing but the
 * storage can then prove what was told.
 *
 * The hold's life: RUN makes it, or finds it; PAUSE keeps it while gcttl and hold_limit allow, then
 * tells, or, when the policy is to release, drops it and says that a full backup is needed; STOP drops
 * it once everything received is stored, or leaves it alone when it had none: one of that name is another
 * task's then. A hold that was lost is made anew when RUN is wanted: the receiver finds out whether log is
 * missing.
 */
#include "agent/log/internal.h"

#include "common/clock.h"

/* ---- looks ---- */

static void looks_drop_first(struct log_task *t, size_t count)
{
    memmove(&t->looks[0], &t->looks[count], (t->look_count - count) * sizeof(t->looks[0]));
    t->look_count -= count;
}

void log_looks_settle(struct log_task *t)
{
    size_t counting = 0;
    for (size_t i = 0; i < t->look_count; i++) {
        if (t->looks[i].flushed <= t->fenced)
            counting = i + 1;
    }
    if (counting == 0)
        return;
    t->checkpoint = t->looks[counting - 1];
    looks_drop_first(t, counting);
    t->status_serial++;
}

void log_looks_mark(struct log_task *t, struct log_slot *slot)
{
    slot->mark_count = 0;
    for (size_t i = 0; i < t->look_count && t->looks[i].flushed <= slot->root.to; i++)
        slot->marks[slot->mark_count++] = t->looks[i];
}

static void looks_add(struct log_task *t, const struct log_look *look)
{
    if (t->look_count == LOG_LOOKS_MAX) { /* storage is far behind: every second one will do */
        for (size_t i = 0; i < LOG_LOOKS_MAX / 2; i++)
            t->looks[i] = t->looks[2 * i + 1];
        t->look_count = LOG_LOOKS_MAX / 2;
    }
    t->looks[t->look_count++] = *look;
    log_looks_settle(t);
}

/* With the lock. */
static void take_look(struct log_task *t, const struct engine_hold_state *state)
{
    struct log_look look = {state->flushed, state->source_us, clock_mono_us()};
    struct log_look proven = {state->flushed, state->proven_us, look.mono_us};
    t->hold_state = *state;
    t->last_look = look;
    t->flushed = TM_MAX(t->flushed, state->flushed);
    if (state->proven_us != 0 && t->writing && t->proven && t->step == JOB_STEP_RUN &&
        strcmp(state->lineage_label, t->branch.label) == 0)
        looks_add(t, &proven);
}

/* ---- the hold ---- */

struct looker {
    struct log_task *task;
    struct engine_hold *hold;
    bool gone; /* the last look found none */
};

static void close_hold(struct looker *l)
{
    if (l->hold)
        l->task->options.engine->hold_close(l->hold);
    l->hold = NULL;
}

static void set_hold(struct log_task *t, enum hold_is is)
{
    pthread_mutex_lock(&t->lock);
    if (t->hold != is)
        t->status_serial++;
    t->hold = is;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static int open_hold(struct looker *l, bool may_make, struct tm_err *err)
{
    struct log_task *t = l->task;
    bool made;
    if (l->hold)
        return 0;
    return t->options.engine->hold_open(&t->options.instance, t->hold_name, may_make, &l->hold,
                                        &made, err);
}

static int drop_hold(struct looker *l, enum hold_is then, struct tm_err *err)
{
    struct log_task *t = l->task;
    int r = open_hold(l, false, err);
    if (r == 0)
        r = t->options.engine->hold_drop(l->hold, err);
    if (r < 0 && r != -TM_E_NOT_FOUND)
        return r;
    close_hold(l);
    set_hold(t, then);
    return 0;
}

static int look(struct looker *l, struct engine_hold_state *ret, struct tm_err *err)
{
    struct log_task *t = l->task;
    int r = l->hold ? t->options.engine->hold_look(l->hold, ret, err) : -TM_E_NOT_FOUND;
    if (r < 0 && r != -TM_E_NOT_FOUND)
        return r;
    l->gone = r < 0; /* somebody dropped it */
    pthread_mutex_lock(&t->lock);
    if (!l->gone) {
        take_look(t, ret);
    } else {
        t->hold_state.lost = true;
        t->hold_state.bytes = 0;
        *ret = t->hold_state;
    }
    if (ret->lost && !t->hold_lost && !t->options.hold_only)
        t->needs_full = true;
    if (ret->lost != t->hold_lost) {
        t->status_serial++;
        t->recover_now = true; /* whether a backup still leads to the log is asked anew */
    }
    t->hold_lost = ret->lost;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static int touch(struct looker *l, const struct engine_hold_state *state, struct tm_err *err)
{
    struct log_task *t = l->task;
    pthread_mutex_lock(&t->lock);
    uint64_t stored = t->options.hold_only ? t->params.checkpoint : t->fenced;
    uint64_t before = t->hold_touched;
    pthread_mutex_unlock(&t->lock);
    if (stored == 0)
        return 0;
    uint64_t from = state->from;
    if (stored - 1 > before) {
        int r = t->options.engine->hold_touch(l->hold, stored - 1, &from, err);
        if (r < 0)
            return r == -TM_E_NOT_FOUND ? 0 : r; /* the next look will tell */
    }
    pthread_mutex_lock(&t->lock);
    t->hold_touched = stored - 1;
    t->hold_state.from = from;
    t->at_risk = t->options.hold_only && (state->lost || from > stored - 1);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

/* ---- bounds ---- */

/* What the hold is beyond; "" = nothing. With the lock. */
static void beyond(const struct log_task *t, char ret[160])
{
    int64_t gcttl_s = t->params.gcttl_s ? t->params.gcttl_s : LOG_GCTTL_S;
    int64_t since_us = t->params.paused_us ? t->params.paused_us : t->paused_us;
    char text[CLOCK_TEXT_MAX];
    ret[0] = '\0';
    if (t->step == JOB_STEP_PAUSE && clock_real_us() - since_us > gcttl_s * USEC_PER_SEC)
        (void)snprintf(ret, 160, "the log backup is paused for more than %s (gcttl)",
                       duration_format_brief(gcttl_s * USEC_PER_SEC, text));
    else if (t->params.hold_limit > 0 && t->hold_state.bytes > t->params.hold_limit)
        (void)snprintf(ret, 160, "the source keeps %llu bytes of log for it, the limit is %llu",
                       (unsigned long long)t->hold_state.bytes,
                       (unsigned long long)t->params.hold_limit);
}

/* Tells, or releases. */
static int keep_bounds(struct looker *l, bool *ret_alert, struct tm_err *err)
{
    struct log_task *t = l->task;
    char what[160], at[ENGINE_POSITION_MAX];
    pthread_mutex_lock(&t->lock);
    beyond(t, what);
    bool release = t->params.release && t->step == JOB_STEP_PAUSE;
    uint64_t from = t->hold_state.from;
    pthread_mutex_unlock(&t->lock);
    *ret_alert = what[0] != '\0';
    if (!what[0] || t->options.hold_only)
        return 0;
    struct tm_err told;
    t->options.engine->position_text(from, at);
    if (!release) {
        (void)tm_err_set(&told, TM_E_LIMIT, "%s", what);
        log_trouble(t, LOG_PART_HOLD, "hold", &told);
        return 0;
    }
    int r = drop_hold(l, HOLD_RELEASED, err);
    if (r < 0)
        return r;
    (void)tm_err_set(&told, TM_E_LIMIT,
                     "%s: the hold was released, log from %s on may be lost: take a new full "
                     "backup after resuming",
                     what, at);
    pthread_mutex_lock(&t->lock);
    t->hold_lost = t->needs_full = true;
    pthread_mutex_unlock(&t->lock);
    log_trouble(t, LOG_PART_HOLD, "hold", &told);
    return 0;
}

/* Of a hold that somebody dropped nobody knows whether the source still has the log: that shows when it
 * is read. */
static void tell_lost(const struct looker *l)
{
    struct log_task *t = l->task;
    char at[ENGINE_POSITION_MAX];
    struct tm_err told;
    pthread_mutex_lock(&t->lock);
    uint64_t stored = t->fenced ? t->fenced : t->params.checkpoint;
    bool paused = t->step == JOB_STEP_PAUSE;
    pthread_mutex_unlock(&t->lock);
    t->options.engine->position_text(stored, at);
    if (l->gone && stored != 0)
        (void)tm_err_set(&told, TM_E_NOT_FOUND,
                         "hold '%s' was dropped by somebody: log from %s on may be lost: %stake a "
                         "new full backup if it is",
                         t->hold_name, at, paused ? "resume soon, and " : "");
    else
        (void)tm_err_set(&told, TM_E_NOT_FOUND,
                         "the source has released or recycled the log that hold '%s' kept: log is "
                         "missing, take a new full backup",
                         t->hold_name);
    log_trouble(t, LOG_PART_HOLD, "hold", &told);
}

/* ---- one round ---- */

/* RUN: lost, and made anew: what is still there is kept from now on. */
static int remake_hold(struct looker *l, struct tm_err *err)
{
    struct log_task *t = l->task;
    tell_lost(l);
    int r = drop_hold(l, HOLD_UNKNOWN, err);
    pthread_mutex_lock(&t->lock);
    t->hold_touched = 0;
    pthread_mutex_unlock(&t->lock);
    return r < 0 ? r : open_hold(l, true, err);
}

/* PAUSE makes no hold: one that is not there was lost, and a new one would hide that. */
static int keep_hold(struct looker *l, enum job_step step, struct tm_err *err)
{
    struct log_task *t = l->task;
    struct engine_hold_state state;
    bool alert = false;
    int r = open_hold(l, step == JOB_STEP_RUN, err);
    if (r < 0 && r != -TM_E_NOT_FOUND)
        return r;
    r = look(l, &state, err);
    if (r == 0 && state.lost && step == JOB_STEP_RUN)
        return remake_hold(l, err);
    if (r < 0)
        return r;
    set_hold(t, HOLD_OPEN);
    if (!state.lost)
        r = touch(l, &state, err);
    if (r == 0)
        r = keep_bounds(l, &alert, err);
    if (r == 0 && state.lost)
        tell_lost(l);
    else if (r == 0 && !alert)
        log_trouble_over(t, LOG_PART_HOLD);
    return r;
}

/* What is to be done follows from what is wanted. */
static int round_of(struct looker *l, struct tm_err *err)
{
    struct log_task *t = l->task;
    pthread_mutex_lock(&t->lock);
    bool wanted = t->wanted;
    enum job_step step = t->step;
    enum hold_is is = t->hold;
    bool stored = !t->in_session && !t->mark_now;
    bool gone = t->params.hold_gone;
    pthread_mutex_unlock(&t->lock);
    if (!wanted || (step == JOB_STEP_PAUSE && is == HOLD_RELEASED))
        return 0;
    if (step != JOB_STEP_STOP)
        return keep_hold(l, step, err);
    if (!stored || is == HOLD_DROPPED)
        return 0;
    int r = 0;
    if (gone)
        set_hold(t, HOLD_DROPPED);
    else
        r = drop_hold(l, HOLD_DROPPED, err);
    if (r < 0)
        return r;
    log_trouble_over(t, LOG_PART_HOLD);
    pthread_mutex_lock(&t->lock);
    t->recover_now = true; /* the last word */
    pthread_mutex_unlock(&t->lock);
    return 0;
}

void *log_hold_main(void *arg)
{
    struct looker l = {.task = arg};
    struct log_task *t = arg;
    int64_t pause_us = 0;
    int64_t next_us = 0;
    pthread_mutex_lock(&t->lock);
    while (!log_over(t)) {
        uint64_t serial = t->want_serial;
        pthread_mutex_unlock(&t->lock);
        struct tm_err err;
        int r = round_of(&l, &err);
        if (r < 0) {
            close_hold(&l);
            if (log_may_be_mended(t, &err))
                log_trouble(t, LOG_PART_HOLD, "hold", &err);
            else
                log_fail(t, &err);
        }
        pause_us = r < 0 ? log_backoff(pause_us) : 0;
        next_us = clock_mono_us() + TM_MAX(pause_us, LOG_LOOK_MS * USEC_PER_MSEC);
        pthread_mutex_lock(&t->lock);
        while (!log_over(t) && t->want_serial == serial && clock_mono_us() < next_us)
            log_wait(t, next_us - clock_mono_us());
    }
    pthread_mutex_unlock(&t->lock);
    close_hold(&l);
    return NULL;
}
