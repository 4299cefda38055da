/*
 * What is told of the task: on every change worth it and at least once a second, from a thread of its
 * own, so that nothing that hangs keeps it from being told. A stage in which something waits for more
 * than LOG_STUCK_MS is an error of its own, when nothing else explains it.
 */
#include "agent/log/internal.h"

#include "common/clock.h"
#include "common/utf8.h"

#define TELL_US (USEC_PER_SEC / 2)

/* ---- troubles ---- */

void log_trouble(struct log_task *t, enum log_part part, const char *stage,
                 const struct tm_err *err)
{
    pthread_mutex_lock(&t->lock);
    struct log_trouble *trouble = &t->troubles[part];
    if (!trouble->on)
        trouble->since_us = clock_real_us();
    if (!trouble->on || strcmp(trouble->err.msg, err->msg) != 0)
        t->status_serial++;
    trouble->on = true;
    trouble->stage = stage;
    trouble->err = *err;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

void log_trouble_over(struct log_task *t, enum log_part part)
{
    pthread_mutex_lock(&t->lock);
    if (t->troubles[part].on)
        t->status_serial++;
    t->troubles[part].on = false;
    pthread_mutex_unlock(&t->lock);
}

/* ---- ages ---- */

static uint32_t age_ms(int64_t now_us, int64_t since_us)
{
    int64_t ms = (now_us - since_us) / USEC_PER_MSEC;
    return (uint32_t)TM_MIN(TM_MAX(ms, INT64_C(1)), (int64_t)UINT32_MAX);
}

static void put_ages(const struct log_task *t, int64_t now_us, struct msg_log_status *ret)
{
    if (t->writing && t->step == JOB_STEP_RUN) {
        for (size_t i = 0; i < t->look_count && ret->receive_ms == 0; i++) {
            if (t->looks[i].flushed > t->received)
                ret->receive_ms = age_ms(now_us, t->looks[i].mono_us);
        }
    }
    for (size_t i = 0; i < LOG_CHUNKS_IN_FLIGHT; i++) {
        const struct log_slot *slot = &t->slots[i];
        if (slot->state != SLOT_PACK && slot->state != SLOT_PACKING)
            continue;
        uint32_t *age = slot->step == SLOT_WAITS     ? &ret->compress_ms
                        : slot->step == SLOT_UPLOADS ? &ret->upload_ms
                                                     : &ret->commit_ms;
        *age = TM_MAX(*age, age_ms(now_us, slot->step_us));
    }
}

/* ---- errors ---- */

struct told {
    struct msg_log_status status;
    struct msg_error error;
    char error_text[WIRE_TEXT_MAX + 1];
    struct msg_error truncate_error;
    char truncate_text[WIRE_TEXT_MAX + 1];
    struct msg_error removal_error;
    char removal_text[WIRE_TEXT_MAX + 1];
    char warning[WIRE_TEXT_MAX + 1];
    struct msg_interval intervals[WIRE_INTERVALS_MAX];
    char emptied[WIRE_PLACES_MAX][WIRE_URL_MAX + 1];
    const char *emptied_texts[WIRE_PLACES_MAX];
    enum job_stage stage;
};

static void put_error(const struct log_task *t, struct told *ret, enum tm_err_code code,
                      bool retryable, const char *stage, int64_t since_us, const char *text)
{
    (void)snprintf(ret->error_text, sizeof(ret->error_text), "node %s: %s", t->node, text);
    ret->error = (struct msg_error){.code = (uint32_t)code,
                                    .retryable = retryable,
                                    .text = ret->error_text,
                                    .since_us = since_us};
    (void)snprintf(ret->error.stage, sizeof(ret->error.stage), "%s", stage);
    ret->status.error = &ret->error;
}

/* A stage that waits for long and about which nobody has complained. */
static void put_stuck(const struct log_task *t, struct told *ret)
{
    const struct msg_log_status *s = &ret->status;
    const struct {
        const char *stage;
        uint32_t ms;
    } stages[] = {{"commit", s->commit_ms},
                  {"upload", s->upload_ms},
                  {"compress", s->compress_ms},
                  {"receive", s->receive_ms}};
    for (size_t i = 0; i < TM_ARRAY_LEN(stages); i++) {
        char text[128], age[CLOCK_TEXT_MAX];
        int64_t age_us = (int64_t)stages[i].ms * USEC_PER_MSEC;
        if (age_us < t->stuck_us)
            continue;
        (void)snprintf(text, sizeof(text), "log waits to be %s for %s",
                       i == 0   ? "committed"
                       : i == 1 ? "uploaded"
                       : i == 2 ? "compressed"
                                : "received",
                       duration_format_brief(age_us, age));
        put_error(t, ret, TM_E_TIMEOUT, true, stages[i].stage, clock_real_us() - age_us, text);
        return;
    }
}

static void put_errors(const struct log_task *t, struct told *ret)
{
    for (size_t i = 0; i < LOG_PARTS; i++) {
        const struct log_trouble *trouble = &t->troubles[i];
        if (!trouble->on)
            continue;
        put_error(t, ret, trouble->err.code, trouble->err.retryable, trouble->stage,
                  trouble->since_us, trouble->err.msg);
        break;
    }
    if (!ret->status.error)
        put_stuck(t, ret);
    if (t->truncate_failed) {
        (void)snprintf(ret->truncate_text, sizeof(ret->truncate_text), "%s", t->truncate_err.msg);
        ret->truncate_error = (struct msg_error){.code = (uint32_t)t->truncate_err.code,
                                                 .retryable = t->truncate_err.retryable,
                                                 .text = ret->truncate_text,
                                                 .stage = "truncate",
                                                 .since_us = t->truncate_failed_us};
        ret->status.truncate_error = &ret->truncate_error;
    }
    if (t->removal_failed) {
        (void)snprintf(ret->removal_text, sizeof(ret->removal_text), "%s", t->removal_err.msg);
        ret->removal_error = (struct msg_error){.code = (uint32_t)t->removal_err.code,
                                                .retryable = true,
                                                .text = ret->removal_text,
                                                .stage = "remove",
                                                .since_us = t->removal_failed_us};
        ret->status.removal_error = &ret->removal_error;
    }
}

/* ---- the rest ---- */

/* Appends, behind "; " when there is something already. */
static void add_warning(struct told *ret, const char *text)
{
    size_t used = strlen(ret->warning);
    (void)snprintf(ret->warning + used, sizeof(ret->warning) - used, "%s%s", used > 0 ? "; " : "",
                   text);
    utf8_clean(ret->warning); /* what is cut must not end inside a character */
}

/* What is missing for good first, before the run that is written. Then what is wrong with the hold,
 * where the error tells of something else: while nothing can be stored, the error is why; how much
 * the source keeps because of that is told as well. What may come of a setting of the source last. */
static void put_warning(const struct log_task *t, struct told *ret)
{
    const struct log_trouble *hold = &t->troubles[LOG_PART_HOLD];
    bool hidden = false;
    ret->warning[0] = '\0';
    if (t->needs_full && t->gap_to != 0 && t->gap_to == t->branch.from) {
        char from[ENGINE_POSITION_MAX], to[ENGINE_POSITION_MAX], text[240];
        t->options.engine->position_text(t->gap_from, from);
        t->options.engine->position_text(t->gap_to, to);
        (void)snprintf(text, sizeof(text),
                       "log from %s to %s is missing: the source had recycled it", from, to);
        add_warning(ret, text);
    }
    if (t->away[0])
        add_warning(ret, t->away);
    if (t->damaged[0])
        add_warning(ret, t->damaged);
    for (size_t i = 0; i < LOG_PART_HOLD; i++)
        hidden = hidden || t->troubles[i].on;
    if (hidden && hold->on && hold->err.code == TM_E_LIMIT)
        add_warning(ret, hold->err.msg);
    if (t->hold_state.warning[0])
        add_warning(ret, t->hold_state.warning);
    ret->status.warning = ret->warning[0] ? ret->warning : NULL;
}

static void put_hold(const struct log_task *t, struct told *ret)
{
    struct msg_log_status *s = &ret->status;
    bool there = t->hold == HOLD_OPEN;
    s->hold_at = there ? t->hold_state.from : 0;
    if (s->hold_at != 0)
        t->options.engine->position_text(s->hold_at, s->hold_position);
    if (there)
        (void)snprintf(s->hold_name, sizeof(s->hold_name), "%s", t->hold_name);
    s->hold_bytes = there ? t->hold_state.bytes : 0;
    s->hold_lost = t->hold_lost;
    s->at_risk = t->at_risk;
    s->flushed = t->flushed;
    s->source_us = t->last_look.source_us;
    s->skew_us = t->hold_state.skew_us;
}

/* The end of what is written is where the told checkpoint is: storage was read up to a minute ago. Only
 * inside the run that was read, and by a mark of that run. */
static void put_grown(const struct log_task *t, struct msg_interval *ret)
{
    const struct log_growing *g = &t->growing;
    if (memcmp(g->lineage, t->branch.lineage, sizeof(g->lineage)) != 0 || g->from != t->branch.from)
        return;
    if (t->fenced > g->to)
        t->options.engine->position_text(t->fenced, ret->to_position);
    if (memcmp(g->lineage, t->told_lineage, sizeof(g->lineage)) != 0 || t->told.flushed < g->from ||
        t->told.source_us < g->settled_us)
        return;
    ret->from_us = g->settled_us;
    ret->to_us = TM_MAX(ret->to_us, t->told.source_us);
}

static void put_log(const struct log_task *t, int64_t now_us, struct told *ret)
{
    struct msg_log_status *s = &ret->status;
    if (t->wrote) {
        names_lineage_text(t->branch.lineage, s->lineage);
        (void)snprintf(s->label, sizeof(s->label), "%s", t->branch.label);
        s->durable = t->fenced;
        s->received = t->received;
        t->options.engine->position_text(t->fenced, s->position);
    }
    s->checkpoint_us = t->told.source_us;
    if (s->checkpoint_us != 0 && t->step == JOB_STEP_RUN) {
        int64_t source_now = t->last_look.source_us + (now_us - t->last_look.mono_us);
        s->latency_us = (uint64_t)TM_MAX(source_now - s->checkpoint_us, INT64_C(0));
    }
    s->chunks = t->chunks;
    s->raw_bytes = t->raw_bytes;
    s->stored_bytes = t->stored_bytes;
    s->needs_full = t->needs_full;
    s->truncate_gen = t->truncate_done;
    s->removal = t->removal;
    s->truncated_us = t->truncated_us;
    memcpy(s->truncated_position, t->truncated_position, sizeof(s->truncated_position));
    memcpy(ret->intervals, t->intervals, t->interval_count * sizeof(t->intervals[0]));
    if (t->growing.is)
        put_grown(t, &ret->intervals[t->growing.at]);
    s->recoverable = ret->intervals;
    s->recoverable_count = t->interval_count;
    memcpy(ret->emptied, t->emptied, sizeof(ret->emptied));
    for (size_t i = 0; i < t->emptied_count; i++)
        ret->emptied_texts[i] = ret->emptied[i];
    s->emptied = ret->emptied_texts;
    s->emptied_count = t->emptied_count;
}

/* With the lock. */
static void gather(struct log_task *t, struct told *ret)
{
    int64_t now_us = clock_mono_us();
    *ret = (struct told){.stage = t->stage};
    put_hold(t, ret);
    if (!t->options.hold_only) {
        put_log(t, now_us, ret);
        put_ages(t, now_us, &ret->status);
    }
    put_errors(t, ret);
    put_warning(t, ret);
}

void *log_tell_main(void *arg)
{
    struct log_task *t = arg;
    struct tm_err err;
    struct told *told = malloc(sizeof(*told));
    if (!told) {
        (void)tm_err_oom(&err);
        log_fail(t, &err);
        return NULL;
    }
    pthread_mutex_lock(&t->lock);
    do {
        uint64_t serial = t->status_serial;
        int64_t next_us = clock_mono_us() + TELL_US;
        gather(t, told);
        pthread_mutex_unlock(&t->lock);
        if (t->options.status)
            t->options.status(t->options.arg, told->stage, &told->status);
        pthread_mutex_lock(&t->lock);
        while (!log_over(t) && t->status_serial == serial && clock_mono_us() < next_us)
            log_wait(t, next_us - clock_mono_us());
    } while (!log_over(t));
    pthread_mutex_unlock(&t->lock);
    free(told);
    return NULL;
}
