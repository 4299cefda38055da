/*
 * A plan on its way to the agent: ranges gathered into batches, whether they are planned now or come from
 * storage. The last batch has a root: where the plan is stored, and since when the backup runs. The agent
 * keeps it and gives it to a later runner of the same attempt.
 */
#include "agent/runner/internal.h"

#define ROOT_BYTES 20

struct plan_batch {
    struct runner *runner;
    struct msg_plan_range ranges[FRAME_PLAN_MAX];
    uint8_t keys[FRAME_PLAN_MAX][2][ENGINE_KEY_MAX];
    size_t count;
    uint32_t first;
};

int plan_batch_new(struct runner *r, struct plan_batch **ret, struct tm_err *err)
{
    struct plan_batch *b = malloc(sizeof(*b));
    if (!b)
        return tm_err_oom(err);
    b->runner = r;
    b->count = 0;
    b->first = 0;
    *ret = b;
    return 0;
}

void plan_batch_free(struct plan_batch *b)
{
    free(b);
}

static void send_batch(struct plan_batch *b, struct slice root)
{
    struct frame f = {.type = FRAME_plan_batch,
                      .plan_batch = {.first = b->first,
                                     .ranges = b->ranges,
                                     .ranges_count = b->count,
                                     .last = root.len > 0,
                                     .root = root}};
    runner_tell(b->runner, &f);
    b->first += (uint32_t)b->count;
    b->count = 0;
}

static struct slice keep_key(uint8_t *dst, struct slice key)
{
    if (key.len)
        memcpy(dst, key.data, key.len);
    return slice_of(dst, key.len);
}

int plan_batch_add(void *batch, uint32_t index, struct engine_key_range range, uint64_t bytes,
                   struct tm_err *err)
{
    struct plan_batch *b = batch;
    (void)index;
    if (range.start.len > ENGINE_KEY_MAX || range.end.len > ENGINE_KEY_MAX)
        return tm_err_set(err, TM_E_INTERNAL, "a key is longer than %d bytes", ENGINE_KEY_MAX);
    if (b->count == FRAME_PLAN_MAX)
        send_batch(b, SLICE_EMPTY);
    struct msg_plan_range *out = &b->ranges[b->count];
    const struct engine_ops *engine = b->runner->engine;
    *out = (struct msg_plan_range){
        .bytes = bytes, .anywhere = engine->range_anywhere && engine->range_anywhere(range)};
    out->start = keep_key(b->keys[b->count][0], range.start);
    out->end = keep_key(b->keys[b->count][1], range.end);
    b->count++;
    return 0;
}

void plan_batch_last(struct plan_batch *b, struct epoch plan, int64_t started_us)
{
    uint8_t root[ROOT_BYTES];
    be64_put(root, plan.term);
    be32_put(root + 8, plan.counter);
    be64_put(root + 12, (uint64_t)started_us);
    send_batch(b, slice_of(root, sizeof(root)));
}

int plan_root_parse(struct slice root, struct epoch *ret_plan, int64_t *ret_started_us,
                    struct tm_err *err)
{
    if (root.len != ROOT_BYTES)
        return tm_err_set(err, TM_E_INVALID, "begin: the plan's root has %zu bytes, not %d",
                          root.len, ROOT_BYTES);
    *ret_plan = (struct epoch){be64_get(root.data), be32_get(root.data + 8)};
    *ret_started_us = (int64_t)be64_get(root.data + 12);
    return 0;
}
