/*
 * Catching up: whole chunks are read from the source's files, several at a time, by the packers; the
 * receiver indexes and digests them in order. When a file is not there the stream takes over.
 */
#include "agent/log/internal.h"

#include "common/clock.h"

/* End of what can be read in whole segments. */
static uint64_t whole_end(struct log_task *t, const struct log_session *s)
{
    pthread_mutex_lock(&t->lock);
    uint64_t flushed = t->flushed;
    pthread_mutex_unlock(&t->lock);
    if (s->until > 0)
        flushed = TM_MIN(flushed, s->until);
    return flushed - flushed % s->segment_bytes;
}

bool log_far_behind(struct log_task *t, const struct log_session *s)
{
    uint64_t end = whole_end(t, s);
    return t->options.engine->log_read_file && s->next >= s->fresh && s->next >= s->no_files &&
           end > s->next && end - s->next > (uint64_t)LOG_CATCH_UP * CHUNK_BYTES;
}

/* What is being read: slots in order, from s->next on. */
struct ahead {
    struct log_slot *slots[LOG_CHUNKS_IN_FLIGHT];
    size_t count;
    uint64_t next;
};

static int ask(struct log_task *t, struct log_session *s, struct ahead *a, uint64_t end,
               struct tm_err *err)
{
    while (a->count < LOG_CHUNKS_IN_FLIGHT && end >= a->next + CHUNK_BYTES) {
        struct log_slot *slot = log_slot_take(t, a->count == 0);
        if (!slot)
            return a->count > 0 ? 0 : tm_err_set(err, TM_E_CANCELED, "canceled");
        a->slots[a->count++] = slot; /* from here on ours to give back */
        if (!slot->data && !(slot->data = malloc(CHUNK_BYTES)))
            return tm_err_oom(err);
        slot->root.from = a->next;
        slot->len = CHUNK_BYTES;
        slot->oldest_us = clock_mono_us();
        a->next += CHUNK_BYTES;
        pthread_mutex_lock(&t->lock);
        slot->state = SLOT_READ;
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
    }
    (void)s;
    return 0;
}

static int wait_read(struct log_task *t, struct log_slot *slot, struct tm_err *err)
{
    pthread_mutex_lock(&t->lock);
    while (slot->state != SLOT_HERE && !log_over(t))
        log_wait(t, USEC_PER_SEC);
    bool here = slot->state == SLOT_HERE;
    pthread_mutex_unlock(&t->lock);
    if (!here)
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    if (slot->read < 0)
        *err = slot->read_err;
    return slot->read;
}

/* Gives the slots back; their numbers are used again. */
static void give_back(struct log_task *t, struct ahead *a)
{
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < a->count; i++) {
        struct log_slot *slot = a->slots[i];
        while (slot->state == SLOT_READING && !t->quit)
            log_wait(t, USEC_PER_SEC);
        slot->state = SLOT_FREE;
    }
    t->next_number -= a->count;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    a->count = 0;
}

static int take_first(struct log_task *t, struct log_session *s, struct ahead *a,
                      struct tm_err *err)
{
    struct log_slot *slot = a->slots[0];
    int r = wait_read(t, slot, err);
    if (r < 0)
        return r;
    for (size_t at = 0; r == 0 && at < slot->len; at += LOG_STEP_BYTES)
        r = log_feed(t, s, slot,
                     slice_of(slot->data + at, TM_MIN((size_t)LOG_STEP_BYTES, slot->len - at)),
                     err);
    if (r == 0)
        r = log_cut(t, s, slot, err);
    if (r < 0)
        return r;
    memmove(&a->slots[0], &a->slots[1], (a->count - 1) * sizeof(a->slots[0]));
    a->count--;
    return 0;
}

int log_catch_up(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    struct ahead a = {.next = s->next};
    int r = 0;
    while (r == 0 && !log_leaving(t)) {
        r = ask(t, s, &a, whole_end(t, s), err);
        if (r == 0 && a.count == 0)
            break; /* the rest is the stream's */
        if (r == 0)
            r = take_first(t, s, &a, err);
    }
    give_back(t, &a);
    if (r == -TM_E_NOT_FOUND) { /* not that file; later ones may be tried again */
        s->no_files = s->next + CHUNK_BYTES;
        r = 0;
    }
    return r;
}
