/*
 * Sharing the log task's log. Happy path: the newest lineage of the label is walked from where the
 * backup's log must start until where it must end → the first and the last MiB of that stretch are
 * read from storage and streamed from the source → equal: the chunks become the backup's references.
 *
 * Two branches of one label share a beginning and then differ for good, so equal bytes at the end
 * prove equal bytes before; the beginning is compared, too, because it costs next to nothing.
 *
 * Failure modes: the task has not stored so far yet, or the store does not answer now: later. A gap, a
 * beginning that is missing, other bytes, a damaged chunk: never. The source cannot be read: what is
 * not read is not proven, later or never as the error says.
 */
#include <assert.h>
#include <stdlib.h>

#include "agent/backup/internal.h"
#include "common/clock.h"
#include "proto/repo/logs.h"
#include "proto/repo/verify.h"

#define SOURCE_WAIT_MS 200
#define SOURCE_MAX_US  (10 * USEC_PER_SEC) /* for one stretch of the proof */

struct sharer {
    struct backup_log *log;
    const struct backup_share *share;
    struct object_scratch *chain[2];
    struct log_lineages lineages;
    struct log_ref *refs;
    size_t count;
    size_t cap;
    char *why;
};

static void sharer_release(struct sharer *s)
{
    object_scratch_free(s->chain[0]);
    object_scratch_free(s->chain[1]);
    log_lineages_release(&s->lineages);
    free(s->refs);
}

static const char *position(const struct sharer *s, uint64_t byte, char ret[ENGINE_POSITION_MAX])
{
    if (s->share->engine->position_text)
        s->share->engine->position_text(byte, ret);
    else
        (void)snprintf(ret, ENGINE_POSITION_MAX, "%llu", (unsigned long long)byte);
    return ret;
}

/* What came in the way is no failure of the backup, but for what would stop that as well. */
static int excuse(struct sharer *s, const struct tm_err *cause, struct tm_err *err)
{
    if (cause->code == TM_E_CANCELED || cause->code == TM_E_NO_MEMORY) {
        *err = *cause;
        return -(int)cause->code;
    }
    (void)snprintf(s->why, TM_ERR_MSG_MAX, "%s", cause->msg);
    return cause->retryable ? BACKUP_SHARE_LATER : BACKUP_SHARE_NEVER;
}

/* ---- what is stored ---- */

static int keep_ref(struct sharer *s, const struct lineage *lineage, const struct log_entry *entry,
                    struct tm_err *err)
{
    if (s->count == BACKUP_CHUNKS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u log chunks", BACKUP_CHUNKS_MAX);
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct log_ref *grown = realloc(s->refs, cap * sizeof(*grown));
        if (!grown)
            return tm_err_oom(err);
        s->refs = grown;
        s->cap = cap;
    }
    log_entry_ref(lineage, entry, &s->refs[s->count++]);
    return 0;
}

static int hole(struct sharer *s, uint64_t at)
{
    char text[ENGINE_POSITION_MAX];
    (void)snprintf(s->why, TM_ERR_MSG_MAX, "the log backup has a hole at %s",
                   position(s, at, text));
    return BACKUP_SHARE_NEVER;
}

/* Fills refs with the lineage's chunks of the whole stretch: 1 = SHARED, if they are proven. */
static int collect(struct sharer *s, const struct log_lineage *lineage, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct backup *b = s->log->backup;
    uint64_t end = s->log->from;
    char text[ENGINE_POSITION_MAX];
    struct log_entry entry;
    s->count = 0;
    if (lineage->record.from > end || lineage->truncated > end)
        return hole(s, end);
    int r =
        log_chain_open(s->chain, b->options.storage, &b->options.scope, lineage, end, &chain, err);
    while (r >= 0 && end < s->share->until && (r = log_chain_next(chain, &entry, err)) == 1) {
        if (s->count == 0 ? entry.from > end : entry.from != end)
            return hole(s, end);
        end = entry.to;
        r = keep_ref(s, &lineage->record, &entry, err);
    }
    if (r < 0)
        return r;
    if (end >= s->share->until)
        return BACKUP_SHARED;
    (void)snprintf(s->why, TM_ERR_MSG_MAX, "the log backup has stored the log only up to %s",
                   position(s, end, text));
    return BACKUP_SHARE_LATER;
}

/* ---- the proof ---- */

/* Stored bytes [from, from + len). */
static int stored_read(struct sharer *s, uint64_t from, uint8_t *dst, size_t len,
                       struct tm_err *err)
{
    const struct backup *b = s->log->backup;
    uint64_t until = from + len;
    for (size_t i = 0; i < s->count; i++) {
        const struct log_ref *ref = &s->refs[i];
        struct chunk_reader cr = CHUNK_READER_INIT;
        struct slice piece;
        uint64_t at;
        if (ref->to <= from || ref->from >= until)
            continue;
        struct full_name name = names_full(&b->options.scope, ref->object);
        int r = chunk_reader_open(&cr, s->log->scratch, b->options.storage, name.s, ref, err);
        while (r == 0 && (r = chunk_reader_next(&cr, &at, &piece, err)) == 1) {
            uint64_t first = TM_MAX(at, from);
            uint64_t last = TM_MIN(at + piece.len, until);
            r = 0;
            if (first < last)
                memcpy(dst + (first - from), piece.data + (first - at), (size_t)(last - first));
        }
        chunk_reader_release(&cr);
        if (r < 0)
            return r;
    }
    return 0;
}

/* One event of the source's stream, copied; *at is the next byte that is due. */
static int source_next(const struct sharer *s, struct engine_log *elog, uint64_t from,
                       uint64_t until, uint64_t *at, uint8_t *dst, struct tm_err *err)
{
    struct engine_log_event event = {.kind = ENGINE_LOG_IDLE};
    int r = backup_canceled(s->log->backup, err);
    if (r == 0)
        r = s->share->engine->log_next(elog, SOURCE_WAIT_MS, &event, err);
    if (r < 0)
        return r;
    if (event.kind == ENGINE_LOG_END || (event.kind == ENGINE_LOG_DATA && event.from != *at))
        return tm_err_set(err, TM_E_CONFLICT, "the source's log is another one by now");
    if (event.kind == ENGINE_LOG_DATA) {
        size_t n = (size_t)TM_MIN((uint64_t)event.data.len, until - *at);
        memcpy(dst + (*at - from), event.data.data, n);
        *at += n;
    }
    return 0;
}

static int source_read(const struct sharer *s, uint64_t from, uint8_t *dst, size_t len,
                       struct tm_err *err)
{
    struct engine_log *elog = NULL;
    int64_t deadline_us = clock_mono_us() + SOURCE_MAX_US;
    uint64_t at = from;
    int r = s->share->engine->log_open(s->share->instance, s->share->begin, from, &elog, err);
    if (r < 0)
        return r;
    while (r == 0 && at < from + len) {
        r = source_next(s, elog, from, from + len, &at, dst, err);
        if (r == 0 && at < from + len && clock_mono_us() > deadline_us)
            r = tm_err_retry(err, TM_E_UNAVAILABLE, "the source's log cannot be read");
    }
    s->share->engine->log_close(elog);
    return r;
}

static int prove_stretch(struct sharer *s, uint64_t from, uint64_t until, uint8_t *stored,
                         uint8_t *source, bool *ret_same, struct tm_err *err)
{
    size_t len = (size_t)(until - from);
    int r = stored_read(s, from, stored, len, err);
    if (r == 0)
        r = source_read(s, from, source, len, err);
    if (r == 0)
        *ret_same = memcmp(stored, source, len) == 0;
    return r;
}

/* All that is shared is read again when the operator wants that of what is stored. */
static int verify_all(struct sharer *s, struct tm_err *err)
{
    const struct backup *b = s->log->backup;
    int r = 0;
    for (size_t i = 0; r == 0 && b->options.checksum && i < s->count; i++) {
        r = backup_canceled(b, err);
        if (r == 0)
            r = verify_log(s->log->scratch, b->options.storage, &b->options.scope, &s->refs[i],
                           err);
    }
    return r;
}

static int prove(struct sharer *s, struct tm_err *err)
{
    uint64_t from = s->log->from;
    uint64_t until = s->share->until;
    uint64_t part = TM_MIN(until - from, (uint64_t)BACKUP_SHARE_PROOF_BYTES);
    TM_CLEANUP(freep) uint8_t *stored = calloc(2, BACKUP_SHARE_PROOF_BYTES);
    bool same = false;
    if (!stored)
        return tm_err_oom(err);
    uint8_t *source = stored + BACKUP_SHARE_PROOF_BYTES;
    int r = prove_stretch(s, until - part, until, stored, source, &same, err);
    if (r == 0 && same && part < until - from)
        r = prove_stretch(s, from, from + part, stored, source, &same, err);
    if (r == 0 && same)
        r = verify_all(s, err);
    if (r < 0)
        return r;
    if (same)
        return BACKUP_SHARED;
    (void)snprintf(s->why, TM_ERR_MSG_MAX, "the log backup holds another log than the source's");
    return BACKUP_SHARE_NEVER;
}

/* ---- all of it ---- */

static int try_lineage(struct sharer *s, const struct log_lineage *lineage, struct tm_err *err)
{
    struct tm_err cause;
    int r = collect(s, lineage, &cause);
    if (r == BACKUP_SHARED)
        r = prove(s, &cause);
    return r < 0 ? excuse(s, &cause, err) : r;
}

/* The newest lineage of the label decides, unless an older one has it all. */
static int try_all(struct sharer *s, struct tm_err *err)
{
    int result = 0;
    char newest[TM_ERR_MSG_MAX] = "the log backup has stored nothing of this branch yet";
    for (size_t i = s->lineages.count; i-- > 0;) {
        const struct log_lineage *lineage = &s->lineages.items[i];
        if (strcmp(lineage->record.label, s->log->label) != 0)
            continue;
        int r = try_lineage(s, lineage, err);
        if (r < 0 || r == BACKUP_SHARED)
            return r;
        if (result == 0)
            (void)snprintf(newest, sizeof(newest), "%s", s->why);
        result = result == 0 ? r : result;
    }
    (void)snprintf(s->why, TM_ERR_MSG_MAX, "%s", newest);
    return result == 0 ? BACKUP_SHARE_LATER : result;
}

static void take(struct sharer *s)
{
    struct backup_log *log = s->log;
    assert(s->count > 0);
    memcpy(log->lineage, s->refs[0].lineage, sizeof(log->lineage));
    log->durable = log->next = s->refs[s->count - 1].to;
    log->count = s->count;
    log->shared = TM_TAKE(s->refs);
}

int backup_log_share(struct backup_log *log, const struct backup_share *share,
                     char why[TM_ERR_MSG_MAX], struct tm_err *err)
{
    TM_CLEANUP(sharer_release)
    struct sharer s = {.log = log, .share = share, .lineages = LOG_LINEAGES_INIT, .why = why};
    if (log->backup->options.resumed) {
        (void)snprintf(why, TM_ERR_MSG_MAX,
                       "the backup was resumed: what it read before is proven by log of its own");
        return BACKUP_SHARE_NEVER;
    }
    if (log->count > 0 || log->writing || share->until <= log->from)
        return tm_err_set(err, TM_E_INTERNAL, "log: there is nothing to be shared");
    struct tm_err cause;
    int r = object_scratch_new(&s.chain[0], &cause);
    if (r == 0)
        r = object_scratch_new(&s.chain[1], &cause);
    if (r == 0)
        r = log_lineages_read(s.chain[0], log->backup->options.storage, &log->backup->options.scope,
                              &s.lineages, &cause);
    r = r < 0 ? excuse(&s, &cause, err) : try_all(&s, err);
    if (r == BACKUP_SHARED)
        take(&s);
    return r;
}
