/*
 * The receiver: what the source sends goes, in order, through proof or chunk buffer, index and
 * digest.
 *
 * Happy path: the stream is opened at the start of the last stored byte's segment → bytes up to
 * `fresh` are compared → the writer object is stored → bytes fill slots, which are cut at CHUNK_BYTES
 * or when their oldest byte is flush_ms old → until something else is wanted: the last slot is cut
 * and all are waited for.
 *
 * Failure modes: a difference refutes the lineage, the next session tries another. The branch ends:
 * all is stored, the next session finds what follows. Log is gone at the source: a gap, or, of a
 * parent that was to be finished, its end. Everything else is an error of the session: what was
 * received is stored first.
 */
#include "agent/log/internal.h"

#include "common/clock.h"

#define NEXT_MS 200 /* a change of mind is seen so soon */

bool log_leaving(struct log_task *t)
{
    pthread_mutex_lock(&t->lock);
    bool leaving = log_over(t) || t->step != JOB_STEP_RUN;
    pthread_mutex_unlock(&t->lock);
    return leaving;
}

/* ---- slots ---- */

/* With the lock. */
static struct log_slot *free_slot(struct log_task *t)
{
    for (size_t i = 0; i < LOG_CHUNKS_IN_FLIGHT; i++) {
        if (t->slots[i].state == SLOT_FREE)
            return &t->slots[i];
    }
    return NULL;
}

static void slot_clear(struct log_slot *slot)
{
    slot->len = 0;
    slot->boundary_count = 0;
    slot->section_count = 0;
    slot->mark_count = 0;
    slot->last_record = 0;
    slot->step = SLOT_WAITS;
    buf_reset(&slot->boundaries);
    events_writer_clear(&slot->events);
}

struct log_slot *log_slot_take(struct log_task *t, bool wait)
{
    struct log_slot *slot;
    pthread_mutex_lock(&t->lock);
    while (!(slot = free_slot(t)) && wait && !log_over(t))
        log_wait(t, USEC_PER_SEC);
    if (slot) {
        slot->state = SLOT_FILLING;
        slot->number = t->next_number++;
    }
    pthread_mutex_unlock(&t->lock);
    if (slot)
        slot_clear(slot);
    return slot;
}

static int slot_for_bytes(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    if (s->slot)
        return 0;
    struct log_slot *slot = log_slot_take(t, true);
    if (!slot)
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    if (!slot->data && !(slot->data = malloc(CHUNK_BYTES))) {
        pthread_mutex_lock(&t->lock);
        slot->state = SLOT_FREE;
        t->next_number--;
        pthread_mutex_unlock(&t->lock);
        return tm_err_oom(err);
    }
    slot->root.from = s->next;
    slot->oldest_us = clock_mono_us();
    s->slot = slot;
    return 0;
}

/* Everything handed over is stored, or given up. */
static void wait_stored(struct log_task *t)
{
    int64_t stop_us = clock_mono_us() + LOG_STOP_MS * USEC_PER_MSEC;
    pthread_mutex_lock(&t->lock);
    while (!log_over(t)) {
        size_t busy = 0;
        for (size_t i = 0; i < LOG_CHUNKS_IN_FLIGHT; i++)
            busy += t->slots[i].state != SLOT_FREE;
        if (busy == 0)
            break;
        if (t->step == JOB_STEP_STOP && clock_mono_us() >= stop_us && !t->dropping) {
            t->dropping = true;
            pthread_cond_broadcast(&t->changed);
        }
        log_wait(t, USEC_PER_SEC);
    }
    t->dropping = false;
    t->commit_number = t->next_number;
    pthread_mutex_unlock(&t->lock);
}

/* ---- cutting ---- */

static int keep_sections(struct log_slot *slot, const struct engine_index_part *part,
                         struct tm_err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < part->event_count; i++)
        r = events_writer_add(&slot->events, &part->events[i], err);
    slot->last_record = part->last_record;
    for (size_t i = 0; r == 0 && i < part->section_count; i++) {
        if (part->sections[i].bytes.len == 0)
            continue;
        slot->sections[slot->section_count].id = part->sections[i].id;
        buf_reset(&slot->sections[slot->section_count].bytes);
        r = buf_append_slice(&slot->sections[slot->section_count].bytes, part->sections[i].bytes,
                             err);
        slot->section_count++;
    }
    return r;
}

int log_cut(struct log_task *t, struct log_session *s, struct log_slot *slot, struct tm_err *err)
{
    struct engine_index_part part;
    int r = t->options.engine->index_take(s->index, &part, err);
    if (r == 0)
        r = keep_sections(slot, &part, err);
    if (r == 0)
        r = log_random(t, slot->nonce, sizeof(slot->nonce), err);
    if (r < 0)
        return r;
    slot->root = (struct log_chunk){.from = slot->root.from,
                                    .to = slot->root.from + slot->len,
                                    .previous_end = s->previous_end,
                                    .segment_bytes = s->digest_step,
                                    .written_us = clock_real_us()};
    memcpy(slot->root.lineage, s->lineage, sizeof(slot->root.lineage));
    (void)snprintf(slot->root.label, sizeof(slot->root.label), "%s", s->label);
    s->previous_end = slot->root.to;
    pthread_mutex_lock(&t->lock);
    slot->root.term = t->branch.epoch.term;
    slot->root.counter = t->branch.epoch.counter;
    log_looks_mark(t, slot);
    slot->step = SLOT_WAITS;
    slot->step_us = clock_mono_us();
    slot->state = SLOT_PACK;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static int cut_open_slot(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    if (!s->slot)
        return 0;
    int r = log_cut(t, s, s->slot, err);
    if (r == 0)
        s->slot = NULL;
    return r;
}

/* The slot that could not be completed: its bytes come again. */
static void drop_open_slot(struct log_task *t, struct log_session *s)
{
    if (!s->slot)
        return;
    pthread_mutex_lock(&t->lock);
    s->slot->state = SLOT_FREE;
    t->next_number--;
    pthread_mutex_unlock(&t->lock);
    s->slot = NULL;
}

/* ---- bytes ---- */

int log_feed(struct log_task *t, struct log_session *s, struct log_slot *slot, struct slice bytes,
             struct tm_err *err)
{
    int r = t->options.engine->index_push(s->index, bytes, err);
    if (r < 0)
        return r;
    uint64_t at = s->next;
    s->next += bytes.len;
    if (s->next > s->digest.position) {
        size_t skip = s->digest.position > at ? (size_t)(s->digest.position - at) : 0;
        uint32_t before = s->digest.boundaries;
        r = log_digest_update(&s->digest, slice_of(bytes.data + skip, bytes.len - skip),
                              slot ? &slot->boundaries : &s->passed, err);
        if (slot)
            slot->boundary_count += s->digest.boundaries - before;
        else
            buf_reset(&s->passed);
    }
    if (slot) {
        pthread_mutex_lock(&t->lock);
        t->received = s->next;
        pthread_mutex_unlock(&t->lock);
    }
    t->progress += bytes.len;
    return r;
}

/* All that is stored was compared. */
static int proven(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    struct engine_index_part stored;
    log_proof_free(s->proof);
    s->proof = NULL;
    if (s->until > 0 && s->fresh >= s->until)
        return 0; /* nothing will be written */
    int r = t->options.engine->index_take(s->index, &stored, err);
    return r < 0 ? r : log_session_write(t, s, err);
}

/* 1 = more is wanted, 0 = the session has ended. */
static int compare(struct log_task *t, struct log_session *s, struct slice *bytes,
                   struct tm_err *err)
{
    bool same = true;
    uint64_t to = s->next < s->compare_from ? s->compare_from : s->fresh;
    size_t len = TM_MIN(bytes->len, (size_t)LOG_STEP_BYTES);
    struct slice part = slice_of(bytes->data, (size_t)TM_MIN((uint64_t)len, to - s->next));
    int r = 0;
    if (s->next >= s->compare_from)
        r = log_proof_compare(s->proof, s->next, part, &same, err);
    if (r < 0)
        return log_storage_error(t, err);
    if (!same)
        return log_refute(t, s->lineage, err);
    r = log_feed(t, s, NULL, part, err);
    *bytes = slice_of(bytes->data + part.len, bytes->len - part.len);
    if (r == 0 && s->next == s->fresh)
        r = proven(t, s, err);
    return r < 0 ? r : 1;
}

static int store(struct log_task *t, struct log_session *s, struct slice *bytes, struct tm_err *err)
{
    int r = slot_for_bytes(t, s, err);
    if (r < 0)
        return r;
    struct log_slot *slot = s->slot;
    size_t n = TM_MIN(TM_MIN(bytes->len, (size_t)LOG_STEP_BYTES), CHUNK_BYTES - slot->len);
    memcpy(slot->data + slot->len, bytes->data, n);
    r = log_feed(t, s, slot, slice_of(slot->data + slot->len, n), err);
    slot->len += n;
    *bytes = slice_of(bytes->data + n, bytes->len - n);
    if (r == 0 && slot->len == CHUNK_BYTES)
        r = cut_open_slot(t, s, err);
    return r < 0 ? r : 1;
}

/* 1 = more is wanted, 0 = the session has ended. */
static int take_data(struct log_task *t, struct log_session *s, const struct engine_log_event *e,
                     struct tm_err *err)
{
    struct slice bytes = e->data;
    if (e->from != s->next)
        return tm_err_retry(err, TM_E_CORRUPT, "the log stream is at %llu, not at %llu",
                            (unsigned long long)e->from, (unsigned long long)s->next);
    if (s->until > 0 && bytes.len > s->until - s->next)
        bytes.len = (size_t)(s->until - s->next);
    int r = 1;
    while (r == 1 && bytes.len > 0)
        r = s->next < s->fresh ? compare(t, s, &bytes, err) : store(t, s, &bytes, err);
    return r;
}

/* ---- the stream ---- */

static unsigned flush_ms(struct log_task *t)
{
    pthread_mutex_lock(&t->lock);
    unsigned ms = t->params.flush_ms ? t->params.flush_ms : LOG_FLUSH_MS;
    pthread_mutex_unlock(&t->lock);
    return ms;
}

/* Cuts a slot that is old enough; how long the stream may be waited for. */
static int cut_by_age(struct log_task *t, struct log_session *s, unsigned *ret_ms,
                      struct tm_err *err)
{
    *ret_ms = NEXT_MS;
    if (!s->slot)
        return 0;
    int64_t left_us = s->slot->oldest_us + (int64_t)flush_ms(t) * USEC_PER_MSEC - clock_mono_us();
    if (left_us <= 0)
        return cut_open_slot(t, s, err);
    *ret_ms = (unsigned)TM_MIN((int64_t)NEXT_MS, left_us / USEC_PER_MSEC + 1);
    return 0;
}

static void note_flushed(struct log_task *t, uint64_t flushed)
{
    pthread_mutex_lock(&t->lock);
    t->flushed = TM_MAX(t->flushed, flushed);
    pthread_mutex_unlock(&t->lock);
}

/* Until the session ends (0), files are better (1), or an error. */
static int pump(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    for (;;) {
        struct engine_log_event event;
        unsigned wait_ms;
        if (log_leaving(t) || (s->until > 0 && s->next >= s->until))
            return 0;
        int r = cut_by_age(t, s, &wait_ms, err);
        if (r < 0)
            return r;
        if (log_far_behind(t, s))
            return 1;
        r = t->options.engine->log_next(s->stream, wait_ms, &event, err);
        if (r < 0)
            return r;
        log_trouble_over(t, LOG_PART_STREAM);
        note_flushed(t, event.flushed);
        if (event.kind == ENGINE_LOG_END)
            return 0;
        if (event.kind == ENGINE_LOG_DATA && (r = take_data(t, s, &event, err)) <= 0)
            return r;
    }
}

static int open_stream(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    return t->options.engine->log_open(&t->options.instance, buf_slice(&s->facts), s->next,
                                       &s->stream, err);
}

static void close_stream(struct log_task *t, struct log_session *s)
{
    if (s->stream)
        t->options.engine->log_close(s->stream);
    s->stream = NULL;
}

static int stream_once(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    int r = open_stream(t, s, err);
    if (r < 0)
        return r;
    r = pump(t, s, err);
    close_stream(t, s);
    if (r != 1)
        return r;
    r = cut_open_slot(t, s, err);
    if (r == 0)
        r = log_catch_up(t, s, err);
    return r < 0 ? r : 1;
}

/* Log is gone at s->next. 1 = it goes on, 0 = the session has ended. */
static int log_is_gone(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    struct tm_err why = *err;
    int r = cut_open_slot(t, s, err);
    if (r < 0)
        return r;
    wait_stored(t);
    if (log_leaving(t))
        return 0;
    if (s->until == 0) {
        r = log_session_gap(t, s, &why, err);
        return r < 0 ? r : 1;
    }
    t->finished = true; /* more of it cannot be had */
    t->finished_proven = s->next >= s->fresh;
    memcpy(t->finished_id, s->lineage, sizeof(t->finished_id));
    return 0;
}

static int stream(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    int r = 1;
    if (s->until > 0 && s->next >= s->until)
        return 0;
    if (s->next == s->fresh)
        r = log_session_write(t, s, err);
    while (r >= 0) {
        r = stream_once(t, s, err);
        if (r == -TM_E_NOT_FOUND)
            r = log_is_gone(t, s, err);
        if (r != 1)
            break;
    }
    return r;
}

int log_session_run(struct log_task *t, struct tm_err *err)
{
    struct log_session s = LOG_SESSION_INIT;
    struct tm_err cut_err;
    int r = log_session_open(t, &s, err);
    if (r == 0)
        r = stream(t, &s, err);
    if (s.slot && cut_open_slot(t, &s, &cut_err) < 0)
        drop_open_slot(t, &s);
    wait_stored(t);
    if (r == 0 && s.until > 0 && s.next >= s.until) {
        t->finished = true;
        t->finished_proven = !s.empty;
        memcpy(t->finished_id, s.lineage, sizeof(t->finished_id));
    }
    pthread_mutex_lock(&t->lock);
    t->proven = false;
    if (r == 0 && t->step == JOB_STEP_RUN && !log_over(t))
        t->writing = false; /* another branch follows */
    pthread_mutex_unlock(&t->lock);
    log_session_release(t, &s);
    return r;
}
