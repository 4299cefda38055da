/*
 * The backup's own log: chunks of 16 MiB below backup/<id>/log/, cut at multiples of that in the
 * stream, so that a place has the same chunk whoever writes it.
 *
 * Happy path: open → append … (a full chunk is committed on the way) → finish commits the open one.
 * Taking over: what earlier runners committed is listed, the unbroken run from `from` is kept, and
 * writing goes on behind it under this writer's higher epoch. Where two epochs stored the same
 * place the higher one counts. The running digest is found again by reading what is stored, so
 * that writing can go on at any byte.
 *
 * There are no time marks here: when a source sent something says nothing of what it had acknowledged
 * by then. The manifest says to what time a backup's log is good.
 *
 * An observer sees all bytes: those that are stored in the reading that the digest needs anyway, new
 * ones before they are stored. What it says against them ends the call, and is told apart from damage.
 *
 * Failure modes: a stored chunk is damaged. Then it and all behind it count as not stored, and
 * writing goes on before it: what this writer stores there has the higher epoch. The source may
 * have recycled that log meanwhile; whoever streams it finds out.
 */
#include <assert.h>

#include "agent/backup/internal.h"

#include "common/array.h"
#include "common/hash.h"

/* Every engine's log segments are multiples of this, so digests do not depend on the engine. */
#define DIGEST_STEP (1u << 20)

/* ---- what is there ---- */

static int keep_chunk(struct backup_log *log, const struct backup_chunk *chunk, struct tm_err *err)
{
    if (log->count >= BACKUP_CHUNKS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u log chunks", BACKUP_CHUNKS_MAX);
    if (ARRAY_ROOM(log->chunks, log->count, log->cap, 64, err) < 0)
        return -(int)err->code;
    assert(log->chunks);
    log->chunks[log->count++] = *chunk;
    return 0;
}

/* Whether the failure is the object's own: it is as if it were not there. The first is kept. */
static bool set_aside(struct backup_log *log, const struct tm_err *err)
{
    if (err->code != TM_E_CORRUPT && err->code != TM_E_UNSUPPORTED)
        return false;
    if (log->damaged[0] == '\0')
        (void)snprintf(log->damaged, sizeof(log->damaged), "%s", err->msg);
    return true;
}

/* The footer of one stored chunk. 1 = it is of this log, 0 = of another lineage, or damaged. */
static int read_chunk(struct backup_log *log, const char *name, struct backup_chunk *chunk,
                      struct tm_err *err)
{
    struct chunk_reader cr = CHUNK_READER_INIT;
    bool ours = false;
    int r = chunk_reader_open(&cr, log->scratch, log->backup->options.storage, name, NULL, err);
    if (r == 0 && (cr.root.from != chunk->from || cr.root.to <= cr.root.from))
        r = tm_err_set(err, TM_E_CORRUPT, "'%s': the chunk is not what its name says", name);
    if (r == 0) {
        const struct object_info *info = object_reader_info(cr.object);
        chunk->to = cr.root.to;
        chunk->stored_bytes = info->stored_bytes;
        chunk->raw_bytes = info->raw_bytes;
        memcpy(chunk->digest, info->digest, sizeof(chunk->digest));
        if (chunk->from == log->from)
            memcpy(log->lineage, cr.root.lineage, sizeof(log->lineage));
        ours = memcmp(log->lineage, cr.root.lineage, sizeof(log->lineage)) == 0;
    }
    chunk_reader_release(&cr);
    if (r < 0)
        return set_aside(log, err) ? 0 : r;
    return ours;
}

/* One listed object. Names ascend by place, then epoch: a later name of the same place wins. */
static int take_listed(struct backup_log *log, const char *name, size_t scope_len,
                       struct tm_err *err)
{
    struct name_parts parts = names_parse_rel(name + scope_len);
    struct backup_chunk chunk = {.from = parts.from, .epoch = parts.epoch};
    if (parts.kind != NAME_BACKUP_LOG || parts.from < log->from)
        return 0;
    struct backup_chunk *last = log->count ? &log->chunks[log->count - 1] : NULL;
    uint64_t end = last ? last->to : log->from;
    if (last && parts.from == last->from) {
        int r = read_chunk(log, name, &chunk, err);
        if (r == 1)
            *last = chunk;
        return r < 0 ? r : 0;
    }
    if (parts.from != end)
        return 0; /* behind a gap, or overtaken by a longer chunk */
    int r = read_chunk(log, name, &chunk, err);
    return r == 1 ? keep_chunk(log, &chunk, err) : r;
}

static int list_chunks(struct backup_log *log, struct tm_err *err)
{
    struct backup *b = log->backup;
    struct full_name prefix = names_backup_below(&b->options.scope, b->options.backup_id, "log/");
    size_t scope_len = strlen(names_full(&b->options.scope, "").s);
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    int r = storage_list(b->options.storage, prefix.s, NULL, &it, err);
    if (r < 0)
        return r;
    struct storage_object object;
    while ((r = storage_iter_next(it, &object, err)) == 1) {
        r = take_listed(log, object.name, scope_len, err);
        if (r < 0)
            return r;
    }
    return r;
}

/* ---- who looks on ---- */

/* The observer sees what it has not seen yet, also when the same bytes come again. */
static int show(struct backup_log *log, uint64_t from, struct slice bytes, struct tm_err *err)
{
    uint64_t skip = log->passed > from ? log->passed - from : 0;
    if (!log->pass || skip >= bytes.len)
        return 0;
    int r = log->pass(log->pass_arg, from + skip,
                      slice_of(bytes.data + skip, bytes.len - (size_t)skip), err);
    if (r < 0)
        log->refused = true;
    else
        log->passed = from + bytes.len;
    return r;
}

/* One stored chunk, read once more. */
static int digest_chunk(struct backup_log *log, size_t index, struct buf *boundaries,
                        struct tm_err *err)
{
    struct log_ref ref;
    struct slice piece;
    uint64_t at;
    struct chunk_reader cr = CHUNK_READER_INIT;
    backup_log_ref(log, index, &ref);
    struct full_name name = names_full(&log->backup->options.scope, ref.object);
    int r = chunk_reader_open(&cr, log->scratch, log->backup->options.storage, name.s, &ref, err);
    while (r == 0 && (r = chunk_reader_next(&cr, &at, &piece, err)) == 1) {
        r = log_digest_update(&log->digest, piece, boundaries, err);
        if (r == 0)
            r = show(log, at, piece, err);
    }
    chunk_reader_release(&cr);
    buf_reset(boundaries);
    return r;
}

/* The running digest over the chunks there are. *ret_good: how many could be read. */
static int digest_chunks(struct backup_log *log, size_t *ret_good, struct tm_err *err)
{
    struct buf boundaries = BUF_INIT;
    log_digest_release(&log->digest);
    int r = log_digest_init(&log->digest, DIGEST_STEP, log->from, NULL, err);
    *ret_good = 0;
    log->passed = log->from;
    for (size_t i = 0; r == 0 && i < log->count; i++) {
        r = backup_canceled(log->backup, err);
        if (r == 0)
            r = digest_chunk(log, i, &boundaries, err);
        *ret_good += r == 0;
    }
    buf_release(&boundaries);
    return r;
}

/* The running digest where writing goes on: taken over what is stored, read once more. */
static int redo_digest(struct backup_log *log, struct tm_err *err)
{
    size_t good;
    int r;
    while ((r = digest_chunks(log, &good, err)) < 0 && !log->refused && good < log->count &&
           set_aside(log, err))
        log->count = good;
    return r;
}

static int take_over(struct backup_log *log, struct tm_err *err)
{
    int r = list_chunks(log, err);
    if (r == 0)
        r = redo_digest(log, err);
    if (r == 0 && log->count == 0)
        r = backup_nonce(log->backup, log->lineage, err);
    if (r < 0)
        return r;
    log->durable = log->count ? log->chunks[log->count - 1].to : log->from;
    log->next = log->durable;
    return 0;
}

int backup_log_open(struct backup *b, const struct backup_log_options *options,
                    struct backup_log **ret, uint64_t *ret_next, struct tm_err *err)
{
    if (options->from % DIGEST_STEP != 0)
        return tm_err_set(err, TM_E_INTERNAL, "stored log must start at a multiple of %u",
                          DIGEST_STEP);
    TM_CLEANUP(backup_log_freep) struct backup_log *log = calloc(1, sizeof(*log));
    if (!log)
        return tm_err_oom(err);
    log->backup = b;
    log->epoch = options->epoch;
    log->from = options->from;
    log->writer = CHUNK_WRITER_INIT;
    log->pass = options->pass;
    log->pass_arg = options->pass_arg;
    (void)snprintf(log->label, sizeof(log->label), "%s",
                   options->lineage_label ? options->lineage_label : "");
    int r = object_scratch_new(&log->scratch, err);
    if (r == 0)
        r = take_over(log, err);
    if (r < 0)
        return tm_err_prefix(err, "log");
    *ret_next = log->next;
    *ret = TM_TAKE(log);
    return 0;
}

int backup_log_stored(struct backup *b, uint64_t from, uint64_t *ret_end, struct tm_err *err)
{
    TM_CLEANUP(backup_log_freep) struct backup_log *log = calloc(1, sizeof(*log));
    if (!log)
        return tm_err_oom(err);
    log->backup = b;
    log->from = from;
    log->writer = CHUNK_WRITER_INIT;
    int r = object_scratch_new(&log->scratch, err);
    if (r == 0)
        r = list_chunks(log, err);
    if (r < 0)
        return tm_err_prefix(err, "log");
    *ret_end = log->count ? log->chunks[log->count - 1].to : from;
    return 0;
}

void backup_log_free(struct backup_log *log)
{
    if (!log)
        return;
    chunk_writer_release(&log->writer);
    log_digest_release(&log->digest);
    object_scratch_free(log->scratch);
    free(log->chunks);
    free(log->shared);
    free(log);
}

/* ---- writing ---- */

static int chunk_begin(struct backup_log *log, struct tm_err *err)
{
    struct backup *b = log->backup;
    struct rel_name rel = names_rel_backup_log(b->options.backup_id, log->next, log->epoch);
    struct full_name name = names_full(&b->options.scope, rel.s);
    struct log_chunk root = {.from = log->next,
                             .to = log->next,
                             .term = log->epoch.term,
                             .counter = log->epoch.counter,
                             .previous_end = log->next == log->from ? 0 : log->next,
                             .segment_bytes = DIGEST_STEP,
                             .written_us = backup_now_us(b)};
    uint8_t nonce[OBJECT_NONCE_BYTES];
    memcpy(root.lineage, log->lineage, sizeof(root.lineage));
    (void)snprintf(root.label, sizeof(root.label), "%s", log->label);
    int r = backup_nonce(b, nonce, err);
    if (r == 0)
        r = chunk_writer_open(&log->writer, log->scratch, b->options.storage, name.s, &root,
                              b->options.zstd_level, nonce, &log->digest, err);
    if (r == 0)
        log->writing = true;
    return r;
}

static int verify_chunk(struct backup_log *log, const struct log_ref *ref, struct tm_err *err)
{
    struct full_name name = names_full(&log->backup->options.scope, ref->object);
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct slice piece;
    uint64_t at;
    int r = chunk_reader_open(&cr, log->scratch, log->backup->options.storage, name.s, ref, err);
    if (r == 0) {
        do
            r = chunk_reader_next(&cr, &at, &piece, err);
        while (r == 1);
    }
    chunk_reader_release(&cr);
    return r < 0 ? tm_err_prefix(err, "read back after storing") : 0;
}

static int chunk_end(struct backup_log *log, struct tm_err *err)
{
    struct rel_name rel =
        names_rel_backup_log(log->backup->options.backup_id, log->durable, log->epoch);
    struct log_ref ref;
    struct object_info info;
    int r = chunk_writer_finish(&log->writer, rel.s, &ref, &info, err);
    if (r < 0)
        return r;
    chunk_writer_release(&log->writer);
    log->writer = CHUNK_WRITER_INIT;
    log->writing = false;
    if (log->backup->options.checksum && (r = verify_chunk(log, &ref, err)) < 0)
        return r;
    struct backup_chunk chunk = {.from = log->durable,
                                 .to = log->next,
                                 .epoch = log->epoch,
                                 .stored_bytes = info.stored_bytes,
                                 .raw_bytes = info.raw_bytes};
    memcpy(chunk.digest, info.digest, sizeof(chunk.digest));
    r = keep_chunk(log, &chunk, err);
    if (r < 0)
        return r;
    atomic_fetch_add(&log->backup->counters.bytes_stored, info.stored_bytes);
    log->durable = log->next;
    return 0;
}

int backup_log_append(struct backup_log *log, uint64_t from, struct slice data, struct tm_err *err)
{
    if (from != log->next || log->shared)
        return tm_err_set(err, TM_E_INTERNAL, "log: bytes at %llu came where %llu were due",
                          (unsigned long long)from, (unsigned long long)log->next);
    int r = show(log, from, data, err);
    if (r < 0)
        return tm_err_prefix(err, "log");
    while (data.len > 0) {
        r = log->writing ? 0 : chunk_begin(log, err);
        if (r < 0)
            return tm_err_prefix(err, "log");
        uint64_t left = BACKUP_LOG_CHUNK_BYTES - log->next % BACKUP_LOG_CHUNK_BYTES;
        size_t n = (size_t)TM_MIN(left, (uint64_t)data.len);
        r = chunk_writer_data(&log->writer, slice_of(data.data, n), err);
        if (r < 0)
            return tm_err_prefix(err, "log");
        log->next += n;
        data = slice_of(data.data + n, data.len - n);
        if (n == left && (r = chunk_end(log, err)) < 0)
            return tm_err_prefix(err, "log");
    }
    return 0;
}

const char *backup_log_damaged(const struct backup_log *log)
{
    return log->damaged;
}

uint64_t backup_log_durable(const struct backup_log *log)
{
    return log->durable;
}

uint64_t backup_log_next(const struct backup_log *log)
{
    return log->next;
}

int backup_log_finish(struct backup_log *log, struct tm_err *err)
{
    if (!log->writing)
        return 0;
    int r = chunk_end(log, err);
    return r < 0 ? tm_err_prefix(err, "log") : 0;
}

int backup_log_pump(struct backup_log *log, const struct engine_ops *engine,
                    struct engine_log *elog, uint64_t until, unsigned timeout_ms,
                    uint64_t *ret_flushed, struct tm_err *err)
{
    struct engine_log_event event;
    if (until > 0 && log->next >= until)
        return 0;
    int r = backup_canceled(log->backup, err);
    if (r < 0 || (r = engine->log_next(elog, timeout_ms, &event, err)) < 0)
        return r;
    if (event.kind == ENGINE_LOG_END)
        return tm_err_set(err, TM_E_UNAVAILABLE, "log: this branch of the log has ended at %llu",
                          (unsigned long long)log->next);
    if (event.kind == ENGINE_LOG_DATA) {
        struct slice data = event.data;
        if (until > 0 && event.from + data.len > until)
            data.len = event.from < until ? (size_t)(until - event.from) : 0;
        r = backup_log_append(log, event.from, data, err);
        if (r < 0)
            return r;
    }
    *ret_flushed = event.flushed;
    return until == 0 || log->next < until;
}

void backup_log_ref(const struct backup_log *log, size_t index, struct log_ref *ret)
{
    if (log->shared) {
        *ret = log->shared[index];
        return;
    }
    const struct backup_chunk *chunk = &log->chunks[index];
    struct rel_name rel =
        names_rel_backup_log(log->backup->options.backup_id, chunk->from, chunk->epoch);
    *ret = (struct log_ref){.stored_bytes = chunk->stored_bytes,
                            .raw_bytes = chunk->raw_bytes,
                            .from = chunk->from,
                            .to = chunk->to};
    (void)snprintf(ret->object, sizeof(ret->object), "%s", rel.s);
    (void)snprintf(ret->label, sizeof(ret->label), "%s", log->label);
    memcpy(ret->digest, chunk->digest, sizeof(ret->digest));
    memcpy(ret->lineage, log->lineage, sizeof(ret->lineage));
}
