/*
 * The plan: the engine's ranges, written in shards as they come, and handed on only when the shard
 * that holds them is durable. Memory: one shard's ranges, encoded.
 *
 * A range is kept in its encoded form until its shard is committed, then decoded again for the
 * caller; so there is one representation and no second list of keys.
 */
#include "agent/backup/internal.h"

struct planner {
    struct backup_worker *worker;
    struct object_writer *object;
    struct buf waiting; /* u32 length and record, for each range of the open shard */
    struct buf record;
    uint32_t in_shard;
    uint32_t shards;
    backup_range_fn fn;
    void *arg;
    struct backup_plan_totals totals;
};

static int shard_open(struct planner *p, struct tm_err *err)
{
    struct backup *b = p->worker->backup;
    struct rel_name rel = names_rel_plan(b->options.backup_id, b->options.epoch, p->shards);
    struct full_name name = names_full(&b->options.scope, rel.s);
    struct object_options options = {.kind = OBJECT_PLAN, .zstd_level = b->options.zstd_level};
    int r = backup_nonce(b, options.nonce, err);
    return r < 0 ? r
                 : object_writer_open(p->worker->scratch, b->options.storage, name.s, &options,
                                      &p->object, err);
}

/* Hands on what waits. */
static int hand_on(struct planner *p, struct tm_err *err)
{
    uint32_t first = p->totals.ranges - p->in_shard;
    size_t at = 0;
    struct codec_arena arena = {0};
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < p->in_shard; i++) {
        struct plan_range range;
        size_t len = be32_get(p->waiting.data + at);
        r = codec_decode(&plan_range_codec, slice_of(p->waiting.data + at + 4, len), &arena, &range,
                         err);
        if (r == 0)
            r = p->fn(p->arg, first + i, (struct engine_key_range){range.start, range.end},
                      range.bytes, err);
        at += 4 + len;
        codec_arena_release(&arena);
    }
    return r;
}

static int shard_close(struct planner *p, struct tm_err *err)
{
    struct object_info info;
    if (!p->object)
        return 0;
    int r = object_writer_finish(p->object, &info, err);
    object_writer_closep(&p->object);
    if (r < 0)
        return r;
    atomic_fetch_add(&p->worker->backup->counters.bytes_stored, info.stored_bytes);
    r = hand_on(p, err);
    buf_reset(&p->waiting);
    p->in_shard = 0;
    p->shards++;
    return r;
}

static int plan_range(void *arg, struct engine_key_range range, uint64_t bytes, struct tm_err *err)
{
    struct planner *p = arg;
    struct plan_range record = {
        .index = p->totals.ranges, .start = range.start, .end = range.end, .bytes = bytes};
    uint8_t len[4];
    int r = backup_canceled(p->worker->backup, err);
    if (r < 0)
        return r;
    if (p->totals.ranges >= BACKUP_RANGES_MAX - 1)
        return tm_err_set(err, TM_E_LIMIT, "more than %u ranges", BACKUP_RANGES_MAX - 1);
    if (!p->object && (r = shard_open(p, err)) < 0)
        return r;
    buf_reset(&p->record);
    r = codec_encode(&plan_range_codec, &record, CODEC_MINOR_ALL, &p->record, err);
    if (r < 0 || (r = object_writer_record(p->object, buf_slice(&p->record), err)) < 0)
        return r;
    be32_put(len, (uint32_t)p->record.len);
    r = buf_append(&p->waiting, len, sizeof(len), err);
    if (r < 0 || (r = buf_append_slice(&p->waiting, buf_slice(&p->record), err)) < 0)
        return r;
    p->totals.ranges++;
    p->totals.bytes += bytes;
    p->in_shard++;
    return p->in_shard >= SEGMENT_RANGES ? shard_close(p, err) : 0;
}

int backup_store_plan(struct backup_worker *w, const struct engine_ops *engine,
                      struct engine_reader *reader, const struct engine_plan_options *options,
                      backup_range_fn fn, void *arg, struct backup_plan_totals *ret,
                      struct tm_err *err)
{
    struct planner p = {.worker = w, .fn = fn, .arg = arg};
    int r = engine->plan(reader, options, plan_range, &p, err);
    if (r == 0)
        r = shard_close(&p, err);
    if (r == 0 && p.totals.ranges == 0)
        r = tm_err_set(err, TM_E_INTERNAL, "the engine planned no range");
    if (r == 0)
        *ret = p.totals;
    else
        (void)tm_err_prefix(err, "plan");
    object_writer_close(p.object);
    buf_release(&p.waiting);
    buf_release(&p.record);
    return r;
}
