/*
 * The plan: the engine's ranges, written in shards as they come, and handed on only when the shard
 * that holds them is durable. Memory: one shard's ranges, encoded.
 *
 * A range is kept in its encoded form until its shard is committed, then decoded again for the
 * caller; so there is one representation and no second list of keys.
 *
 * Loading: the shards of an earlier attempt are read one after the other, each range checked against
 * the one before. What is missing or does not fit makes the whole plan useless.
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

/* ---- what an earlier attempt planned ---- */

struct plan_loader {
    struct backup_worker *worker;
    struct epoch epoch;
    uint32_t ranges; /* that there must be */
    backup_range_fn fn;
    void *arg;
    uint8_t end[FORMAT_KEY_MAX]; /* of the range before */
    size_t end_len;
    struct backup_plan_totals totals;
};

static struct full_name shard_name(const struct plan_loader *p, uint32_t seq)
{
    const struct backup *b = p->worker->backup;
    struct rel_name rel = names_rel_plan(b->options.backup_id, p->epoch, seq);
    return names_full(&b->options.scope, rel.s);
}

static int check_planned(const struct plan_loader *p, const struct plan_range *range,
                         struct tm_err *err)
{
    uint32_t due = p->totals.ranges;
    if (due == p->ranges)
        return tm_err_set(err, TM_E_CORRUPT, "it has more than %u ranges", p->ranges);
    if (range->index != due)
        return tm_err_set(err, TM_E_CORRUPT, "range %u came where %u was due", range->index, due);
    if (!slice_eq(range->start, slice_of(p->end, p->end_len)))
        return tm_err_set(err, TM_E_CORRUPT, "range %u does not start where the one before ends",
                          due);
    if (range->end.len == 0 || slice_cmp(range->start, range->end) >= 0)
        return tm_err_set(err, TM_E_CORRUPT, "range %u has no valid end", due);
    return 0;
}

static int load_range(struct plan_loader *p, const struct plan_range *range, struct tm_err *err)
{
    int r = p->fn(p->arg, range->index, (struct engine_key_range){range->start, range->end},
                  range->bytes, err);
    if (r < 0)
        return r;
    memcpy(p->end, range->end.data, range->end.len);
    p->end_len = range->end.len;
    p->totals.ranges++;
    p->totals.bytes += range->bytes;
    return 0;
}

static int load_shard(struct plan_loader *p, uint32_t seq, struct tm_err *err)
{
    struct backup *b = p->worker->backup;
    struct full_name name = shard_name(p, seq);
    struct stream_reader sr = STREAM_READER_INIT;
    struct plan_range range;
    uint32_t before = p->totals.ranges;
    int r = backup_canceled(b, err);
    if (r == 0)
        r = stream_open(&sr, p->worker->scratch, b->options.storage, name.s, OBJECT_PLAN, NULL,
                        err);
    while (r == 0 && (r = stream_next(&sr, &plan_range_codec, &range, err)) == 1) {
        r = check_planned(p, &range, err);
        if (r < 0)
            (void)tm_err_prefix(err, "'%s'", name.s);
        else
            r = load_range(p, &range, err);
    }
    stream_release(&sr);
    if (r == 0 && p->totals.ranges == before)
        r = tm_err_set(err, TM_E_CORRUPT, "'%s': it has no range", name.s);
    return r;
}

/* The last shard is the last: one more would be of a longer plan than the one that is meant. */
static int check_ended(const struct plan_loader *p, uint32_t seq, struct tm_err *err)
{
    struct full_name name = shard_name(p, seq);
    struct storage_object found;
    int r = storage_stat(p->worker->backup->options.storage, name.s, &found, err);
    if (r == 0)
        return tm_err_set(err, TM_E_CORRUPT, "'%s': a plan of %u ranges does not have it", name.s,
                          p->ranges);
    return r == -TM_E_NOT_FOUND ? 0 : r;
}

int backup_plan_load(struct backup_worker *w, struct epoch plan, uint32_t ranges,
                     backup_range_fn fn, void *arg, struct backup_plan_totals *ret,
                     struct tm_err *err)
{
    struct plan_loader p = {.worker = w, .epoch = plan, .ranges = ranges, .fn = fn, .arg = arg};
    uint32_t seq = 0;
    int r = 0;
    if (ranges == 0 || ranges >= BACKUP_RANGES_MAX)
        r = tm_err_set(err, TM_E_CORRUPT, "%u ranges", ranges);
    while (r == 0 && p.totals.ranges < ranges)
        r = load_shard(&p, seq++, err);
    if (r == 0)
        r = check_ended(&p, seq, err);
    if (r < 0)
        return tm_err_prefix(err, "stored plan");
    *ret = p.totals;
    return 0;
}
