/*
 * The thread that keeps the stored log honest: once a second, and soon after a chunk was stored, it
 * looks whether a newer writer has begun (then this one is stale, and ends), and every LOG_MARK_MS
 * it stores a time mark when no chunk has brought one: how an idle log differs from a lost one. The
 * mark before is removed once the new one is durable.
 *
 * What was durable before a look that found no newer writer is `fenced`: only so far the hold may
 * follow, and only that is told as stored, because a newer writer begins with a claim and reads what is
 * there afterwards. The same goes for the moment that is told as safe: it is that of the newest mark in
 * storage, of a chunk or of this thread's own.
 */
#include "agent/log/internal.h"

#include "common/clock.h"

#define KEEP_US     USEC_PER_SEC
#define FENCE_US    (200 * USEC_PER_MSEC) /* between two looks while more is under way */
#define FINAL_TRIES 3                     /* for the last mark */

struct keeper {
    struct log_task *task;
    struct object_scratch *scratch;
    struct log_branch branch; /* facts are not used */
    struct full_name mark;    /* our newest, "" = none */
    uint32_t seq;
    unsigned tries;
};

/* ---- fence ---- */

/* TM_E_CONFLICT when a writer with a higher epoch has claimed the log. A claim of this task's own is
 * none: it may be opening its next session at this moment. */
static int look_for_newer(struct keeper *k, struct tm_err *err)
{
    struct log_task *t = k->task;
    struct rel_name rel = names_rel_claim(k->branch.lineage, k->branch.epoch);
    struct full_name ours = names_full(&t->options.scope, rel.s);
    struct full_name prefix = names_log_prefix(&t->options.scope, k->branch.lineage, "claim");
    size_t scope_len = strlen(ours.s) - strlen(rel.s);
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    int r = storage_list(t->options.storage, prefix.s, ours.s, &it, err);
    if (r < 0)
        return log_storage_error(t, err);
    while ((r = storage_iter_next(it, &object, err)) == 1) {
        struct name_parts parts = names_parse_rel(object.name + scope_len);
        if (parts.kind == NAME_CLAIM && epoch_cmp(parts.epoch, k->branch.epoch) > 0 &&
            !log_epoch_is_own(t, parts.epoch))
            return tm_err_set(err, TM_E_CONFLICT,
                              "a newer writer (%llu.%u) has taken over the log, this one is "
                              "%llu.%u",
                              (unsigned long long)parts.epoch.term, parts.epoch.counter,
                              (unsigned long long)k->branch.epoch.term, k->branch.epoch.counter);
    }
    return r < 0 ? log_storage_error(t, err) : 0;
}

/* ---- marks ---- */

/* Marks of this and older writers but `keep`. */
static int remove_marks(struct keeper *k, const struct full_name *keep, struct tm_err *err)
{
    struct log_task *t = k->task;
    struct full_name prefix = names_log_prefix(&t->options.scope, k->branch.lineage, "mark");
    size_t scope_len = strlen(prefix.s) - strlen("log//mark/") - 2 * NAMES_LINEAGE_BYTES;
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    int r = storage_list(t->options.storage, prefix.s, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) == 1) {
        struct name_parts parts = names_parse_rel(object.name + scope_len);
        if (parts.kind == NAME_MARK && epoch_cmp(parts.epoch, k->branch.epoch) <= 0 &&
            strcmp(object.name, keep->s) != 0)
            r = storage_discard(t->options.storage, object.name, err);
    }
    return r < 0 ? log_storage_error(t, err) : 0;
}

static int store_mark(struct keeper *k, const struct log_look *look, struct tm_err *err)
{
    struct log_task *t = k->task;
    struct log_mark record = {.at = look->flushed,
                              .time_us = look->source_us,
                              .term = k->branch.epoch.term,
                              .counter = k->branch.epoch.counter};
    uint8_t nonce[OBJECT_NONCE_BYTES];
    struct object_info info;
    memcpy(record.lineage, k->branch.lineage, sizeof(record.lineage));
    struct rel_name rel =
        names_rel_mark(k->branch.lineage, look->flushed, k->branch.epoch, k->seq++);
    struct full_name name = names_full(&t->options.scope, rel.s);
    int r = log_random(t, nonce, sizeof(nonce), err);
    if (r == 0)
        r = record_put(k->scratch, t->options.storage, name.s, OBJECT_MARK, nonce, &log_mark_codec,
                       &record, &info, err);
    if (r < 0)
        return log_storage_error(t, err);
    bool first = k->mark.s[0] == '\0';
    if (first)
        r = remove_marks(k, &name, err);
    else
        r = storage_discard(t->options.storage, k->mark.s, err);
    k->mark = name;
    return r < 0 ? log_storage_error(t, err) : 0;
}

/* ---- one round ---- */

struct keep_now {
    bool writing;
    bool mark;
    bool final;
    uint64_t durable;
    struct log_look stored;
    struct log_look look;
};

/* With the lock. */
static void what_now(struct keeper *k, struct keep_now *ret)
{
    struct log_task *t = k->task;
    *ret = (struct keep_now){.writing = t->writing,
                             .durable = t->durable,
                             .stored = t->stored_mark,
                             .look = t->checkpoint};
    if (!t->writing)
        return;
    if (memcmp(k->branch.lineage, t->branch.lineage, sizeof(k->branch.lineage)) != 0 ||
        epoch_cmp(k->branch.epoch, t->branch.epoch) != 0) {
        k->branch = t->branch;
        k->mark.s[0] = '\0';
        k->seq = 0;
    }
    bool newer = t->checkpoint.source_us != 0 &&
                 (t->checkpoint.source_us != t->stored_mark.source_us ||
                  t->checkpoint.flushed != t->stored_mark.flushed) &&
                 t->checkpoint.flushed >= t->branch.from;
    ret->final = t->mark_now && !t->in_session;
    ret->mark = newer && (ret->final || t->stored_mark.source_us == 0 ||
                          clock_mono_us() - t->stored_mark.mono_us >= t->mark_us);
}

/* With the lock. */
static void told(struct log_task *t, const struct log_look *look)
{
    t->told = *look;
    memcpy(t->told_lineage, t->branch.lineage, sizeof(t->told_lineage));
}

static int keep(struct keeper *k, const struct keep_now *now, struct tm_err *err)
{
    struct log_task *t = k->task;
    int r = look_for_newer(k, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->lock);
    if (epoch_cmp(k->branch.epoch, t->branch.epoch) == 0) {
        t->status_serial += t->fenced != now->durable;
        if (t->fenced <= t->branch.from && now->durable > t->branch.from)
            t->recover_now = true; /* with the first of it, it can be told what leads to it */
        if (now->durable >= t->recover_at) {
            t->recover_now = true;
            t->recover_at = UINT64_MAX;
        }
        t->fenced = now->durable;
        log_looks_settle(t);
        if (now->stored.source_us != 0)
            told(t, &now->stored);
        pthread_cond_broadcast(&t->changed); /* for who tells, and the hold */
    }
    pthread_mutex_unlock(&t->lock);
    if (!now->mark)
        return 0;
    r = store_mark(k, &now->look, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->lock);
    if (epoch_cmp(k->branch.epoch, t->branch.epoch) == 0) {
        t->stored_mark = now->look;
        told(t, &now->look);
        t->stored_mark.mono_us = clock_mono_us();
        t->status_serial++;
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static void keep_once(struct keeper *k)
{
    struct log_task *t = k->task;
    struct keep_now now;
    struct tm_err err;
    pthread_mutex_lock(&t->lock);
    what_now(k, &now);
    if (t->mark_now && !t->writing)
        t->mark_now = false;
    pthread_mutex_unlock(&t->lock);
    if (!now.writing)
        return;
    int r = keep(k, &now, &err);
    if (r == 0)
        log_trouble_over(t, LOG_PART_KEEP);
    else if (err.retryable)
        log_trouble(t, LOG_PART_KEEP, "mark", &err);
    else
        log_fail(t, &err);
    if (!now.final)
        return;
    if (r == 0 || ++k->tries == FINAL_TRIES) { /* else the stop would wait for the storage */
        pthread_mutex_lock(&t->lock);
        t->mark_now = false;
        t->want_serial++;
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
        k->tries = 0;
    }
}

void *log_keep_main(void *arg)
{
    struct log_task *t = arg;
    struct keeper k = {.task = t};
    struct tm_err err;
    if (object_scratch_new(&k.scratch, &err) < 0) {
        log_fail(t, &err);
        return NULL;
    }
    pthread_mutex_lock(&t->lock);
    while (!log_over(t)) {
        pthread_mutex_unlock(&t->lock);
        keep_once(&k);
        int64_t now_us = clock_mono_us(), next_us = now_us + KEEP_US;
        pthread_mutex_lock(&t->lock);
        while (!log_over(t) && !(t->mark_now && !t->in_session) && clock_mono_us() < next_us) {
            if (t->durable > t->fenced)
                next_us = TM_MIN(next_us, t->durable == t->received ? now_us : now_us + FENCE_US);
            log_wait(t, next_us - clock_mono_us());
        }
        if (k.tries > 0)
            log_wait(t, LOG_RETRY_MIN_MS * USEC_PER_MSEC);
    }
    pthread_mutex_unlock(&t->lock);
    object_scratch_free(k.scratch);
    return NULL;
}
