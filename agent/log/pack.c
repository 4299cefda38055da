/*
 * A packer: takes the oldest slot that waits and stores it as a chunk, or reads one from the source's
 * files.
 *
 * Happy path: object begun → bytes compressed and uploaded → digests, marks, events, sections → made
 * durable, unseen → wait until all chunks before are committed → commit → `durable` is its end.
 * Failure: what may pass is tried again with the same name, nonce and contents, so an attempt whose
 * answer was lost is found to have worked. An object of that name that is not ours is a conflict.
 */
#include "agent/log/internal.h"

#include "common/clock.h"

static void set_step(struct log_task *t, struct log_slot *slot, enum slot_step step)
{
    pthread_mutex_lock(&t->lock);
    if (slot->step != step) {
        slot->step = step;
        slot->step_us = clock_mono_us();
    }
    pthread_mutex_unlock(&t->lock);
}

/* False when the slot is given up. */
static bool wait_turn(struct log_task *t, const struct log_slot *slot)
{
    pthread_mutex_lock(&t->lock);
    while (!log_over(t) && !t->dropping && t->commit_number != slot->number)
        log_wait(t, USEC_PER_SEC);
    bool go = !log_over(t) && !t->dropping;
    pthread_mutex_unlock(&t->lock);
    return go;
}

static int fill_chunk(struct chunk_writer *cw, const struct log_slot *slot, struct tm_err *err)
{
    int r = chunk_writer_data(cw, slice_of(slot->data, slot->len), err);
    if (r == 0 && slot->boundary_count > 0)
        r = chunk_writer_digests(cw, slot->boundary_count, buf_slice(&slot->boundaries), err);
    for (size_t i = 0; r == 0 && i < slot->mark_count; i++)
        r = chunk_writer_mark(cw, slot->marks[i].flushed, slot->marks[i].source_us, err);
    if (r == 0)
        r = chunk_writer_events(cw, &slot->events, slot->last_record, err);
    for (size_t i = 0; r == 0 && i < slot->section_count; i++)
        r = chunk_writer_section(cw, slot->sections[i].id, buf_slice(&slot->sections[i].bytes),
                                 err);
    return r;
}

/* One attempt. */
static int store_slot(struct log_task *t, struct log_slot *slot, struct object_scratch *scratch,
                      struct object_info *ret, struct tm_err *err)
{
    struct epoch epoch = {slot->root.term, slot->root.counter};
    struct rel_name rel = names_rel_chunk(slot->root.lineage, slot->root.from, epoch);
    struct full_name name = names_full(&t->options.scope, rel.s);
    TM_CLEANUP(chunk_writer_release) struct chunk_writer cw = CHUNK_WRITER_INIT;
    struct log_ref ref;
    set_step(t, slot, SLOT_UPLOADS);
    int r = chunk_writer_open(&cw, scratch, t->options.storage, name.s, &slot->root,
                              t->options.zstd_level, slot->nonce, NULL, err);
    if (r == 0)
        r = fill_chunk(&cw, slot, err);
    if (r == 0)
        r = chunk_writer_seal(&cw, err); /* durable unseen: the turn is for the name alone */
    if (r < 0)
        return log_storage_error(t, err);
    if (!wait_turn(t, slot))
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    set_step(t, slot, SLOT_COMMITS);
    r = chunk_writer_finish(&cw, rel.s, &ref, ret, err);
    if (r == -TM_E_EXISTS) {
        err->code = TM_E_CONFLICT;
        return tm_err_prefix(err, "another writer has this one's epoch");
    }
    return r < 0 ? log_storage_error(t, err) : 0;
}

/* With the lock. */
static void committed(struct log_task *t, struct log_slot *slot, const struct object_info *info)
{
    t->recover_now = t->recover_now || t->durable == t->branch.from;
    t->durable = slot->root.to;
    t->commit_number = slot->number + 1;
    t->chunks++;
    t->unrolled++;
    t->raw_bytes += info->raw_bytes;
    t->stored_bytes += info->stored_bytes;
    if (slot->mark_count > 0) {
        t->stored_mark = slot->marks[slot->mark_count - 1];
        t->stored_mark.mono_us = clock_mono_us();
    }
    pthread_cond_broadcast(&t->changed); /* for the fence */
}

static void pack(struct log_task *t, struct log_slot *slot, struct object_scratch *scratch)
{
    struct object_info info = {.stored_bytes = 0};
    struct tm_err err;
    int64_t pause_us = 0;
    int r;
    while ((r = store_slot(t, slot, scratch, &info, &err)) < 0) {
        if (err.code == TM_E_CANCELED)
            break;
        if (!err.retryable) {
            log_fail(t, &err);
            break;
        }
        log_trouble(t, LOG_PART_PACK, slot->step == SLOT_COMMITS ? "commit" : "upload", &err);
        pause_us = log_backoff(pause_us);
        int64_t until = clock_mono_us() + pause_us;
        pthread_mutex_lock(&t->lock);
        while (!log_over(t) && !t->dropping && clock_mono_us() < until)
            log_wait(t, until - clock_mono_us());
        bool stop = log_over(t) || t->dropping;
        pthread_mutex_unlock(&t->lock);
        if (stop)
            break;
    }
    if (r == 0)
        log_trouble_over(t, LOG_PART_PACK);
    pthread_mutex_lock(&t->lock);
    if (r == 0)
        committed(t, slot, &info);
    slot->state = SLOT_FREE;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void read_files(struct log_task *t, struct log_slot *slot)
{
    slot->read = t->options.engine->log_read_file(&t->options.instance, buf_slice(&t->branch.facts),
                                                  t->branch.label, slot->root.from, slot->data,
                                                  slot->len, &slot->read_err);
    pthread_mutex_lock(&t->lock);
    slot->state = SLOT_HERE;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

/* With the lock: the oldest of those in `state`. */
static struct log_slot *oldest(struct log_task *t, enum slot_state state)
{
    struct log_slot *found = NULL;
    for (size_t i = 0; i < LOG_CHUNKS_IN_FLIGHT; i++) {
        struct log_slot *slot = &t->slots[i];
        if (slot->state == state && (!found || slot->number < found->number))
            found = slot;
    }
    return found;
}

void *log_pack_main(void *arg)
{
    struct log_task *t = arg;
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct tm_err err;
    if (object_scratch_new(&scratch, &err) < 0) {
        log_fail(t, &err);
        return NULL;
    }
    pthread_mutex_lock(&t->lock);
    while (!log_over(t)) {
        struct log_slot *slot = oldest(t, SLOT_PACK);
        bool packs = slot != NULL;
        if (!packs)
            slot = oldest(t, SLOT_READ);
        if (!slot) {
            log_wait(t, USEC_PER_SEC);
            continue;
        }
        slot->state = packs ? SLOT_PACKING : SLOT_READING;
        pthread_mutex_unlock(&t->lock);
        if (packs)
            pack(t, slot, scratch);
        else
            read_files(t, slot);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}
