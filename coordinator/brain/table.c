/* Ranges, leases, results of one job: see table.h. Leases are few, ranges may be many. */
#include "coordinator/brain/table.h"

#include "common/array.h"
#include "coordinator/brain/brain.h"

void table_release(struct table *t)
{
    for (size_t at = 0; at < t->count; at++)
        free(t->ranges[at].result);
    free(t->ranges);
    free(t->leases);
    free(t->order);
    buf_release(&t->keys);
    buf_release(&t->begin);
    *t = (struct table){0};
}

void table_reset(struct table *t, uint32_t gen)
{
    table_release(t);
    t->gen = gen;
    t->gen_known = true;
}

struct slice table_start(const struct table *t, size_t range)
{
    return slice_of(t->keys.data + t->ranges[range].key_offset, t->ranges[range].key_len);
}

struct slice table_end(const struct table *t, size_t range)
{
    if (range + 1 < t->count)
        return table_start(t, range + 1);
    return slice_of(t->end, t->end_len);
}

static int plan_one(struct table *t, const struct msg_plan_range *range, struct tm_err *err)
{
    if (t->count > 0 && !slice_eq(range->start, slice_of(t->end, t->end_len)))
        return tm_err_set(err, TM_E_INVALID, "range %zu does not adjoin the one before", t->count);
    if (t->count == 0 && range->start.len != 0)
        return tm_err_set(err, TM_E_INVALID, "range 0 does not start at the lowest key");
    if (t->count == BRAIN_RANGES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u ranges", BRAIN_RANGES_MAX);
    if (t->keys.len + range->start.len > BRAIN_PLAN_BYTES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the plan's keys take more than %zu bytes",
                          BRAIN_PLAN_BYTES_MAX);
    int r = ARRAY_ROOM(t->ranges, t->count, t->cap, 64, err);
    size_t key_offset = t->keys.len;
    if (r == 0)
        r = buf_append_slice(&t->keys, range->start, err);
    if (r < 0)
        return r;
    t->ranges[t->count++] = (struct table_range){.key_offset = (uint32_t)key_offset,
                                                 .key_len = (uint16_t)range->start.len,
                                                 .bytes = range->bytes,
                                                 .anywhere = range->anywhere};
    t->bytes_total += range->bytes;
    if (range->end.len > 0)
        memcpy(t->end, range->end.data, range->end.len);
    t->end_len = range->end.len;
    return 0;
}

int table_plan(struct table *t, uint32_t first, const struct msg_plan_range *ranges, size_t count,
               struct tm_err *err)
{
    for (size_t at = 0; at < count; at++) {
        if (first + at < t->count)
            continue;
        if (first + at > t->count)
            return 0; /* a gap: the acknowledgement says what is wanted */
        int r = plan_one(t, &ranges[at], err);
        if (r < 0)
            return r;
    }
    return 0;
}

struct table_lease *table_lease_find(struct table *t, uint32_t range, struct epoch epoch)
{
    for (size_t at = 0; at < t->lease_count; at++) {
        struct table_lease *lease = &t->leases[at];
        if (lease->range == range && epoch_cmp(lease->epoch, epoch) == 0)
            return lease;
    }
    return NULL;
}

int table_grant(struct table *t, uint32_t range, uint32_t node, struct epoch epoch,
                uint64_t want_serial, uint64_t now_us, struct table_lease **ret, struct tm_err *err)
{
    if (t->lease_count == TABLE_LEASES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d leases", TABLE_LEASES_MAX);
    int r = ARRAY_ROOM(t->leases, t->lease_count, t->lease_cap, 64, err);
    if (r < 0)
        return r;
    struct table_lease *lease = &t->leases[t->lease_count++];
    *lease = (struct table_lease){.range = range,
                                  .node = node,
                                  .epoch = epoch,
                                  .want_serial = want_serial,
                                  .granted_us = now_us};
    t->ranges[range].state = RANGE_LEASED;
    t->ranges[range].newest = epoch;
    *ret = lease;
    return 0;
}

static bool leased(const struct table *t, uint32_t range)
{
    for (size_t at = 0; at < t->lease_count; at++) {
        if (t->leases[at].range == range)
            return true;
    }
    return false;
}

void table_drop_lease(struct table *t, struct table_lease *lease)
{
    uint32_t range = lease->range;
    size_t at = (size_t)(lease - t->leases);
    memmove(lease, lease + 1, (t->lease_count - at - 1) * sizeof(*lease));
    t->lease_count--;
    if (t->ranges[range].state == RANGE_LEASED && !leased(t, range)) {
        t->ranges[range].state = RANGE_FREE;
        size_t *hint = &t->free_hint[t->ranges[range].anywhere];
        *hint = TM_MIN(*hint, (size_t)range);
    }
}

void table_drop_node(struct table *t, uint32_t node)
{
    for (size_t at = t->lease_count; at > 0; at--) {
        if (t->leases[at - 1].node == node)
            table_drop_lease(t, &t->leases[at - 1]);
    }
}

static size_t next_free(struct table *t, bool anywhere)
{
    size_t *hint = &t->free_hint[anywhere];
    while (*hint < t->count &&
           (t->ranges[*hint].state != RANGE_FREE || t->ranges[*hint].anywhere != anywhere))
        ++*hint;
    return *hint < t->count ? *hint : SIZE_MAX;
}

size_t table_next_free(struct table *t, enum table_which which)
{
    size_t bound = which & TABLE_BOUND ? next_free(t, false) : SIZE_MAX;
    size_t anywhere = which & TABLE_ANYWHERE ? next_free(t, true) : SIZE_MAX;
    return TM_MIN(bound, anywhere);
}

size_t table_next_steal(const struct table *t, uint32_t node, uint64_t before_us,
                        enum table_which which)
{
    const struct table_lease *oldest = NULL;
    for (size_t at = 0; at < t->lease_count; at++) {
        const struct table_lease *lease = &t->leases[at];
        bool meant = which & (t->ranges[lease->range].anywhere ? TABLE_ANYWHERE : TABLE_BOUND);
        if (lease->node == node || lease->granted_us > before_us || !meant)
            continue;
        size_t holders = 0;
        for (size_t other = 0; other < t->lease_count; other++)
            holders += t->leases[other].range == lease->range;
        if (holders == 1 && (oldest == NULL || lease->granted_us < oldest->granted_us))
            oldest = lease;
    }
    return oldest != NULL ? oldest->range : SIZE_MAX;
}

size_t table_leases_of(const struct table *t, uint32_t node)
{
    size_t count = 0;
    for (size_t at = 0; at < t->lease_count; at++)
        count += t->leases[at].node == node;
    return count;
}

void table_count_again(struct table *t, uint32_t range)
{
    struct tm_err err;
    if (ARRAY_ROOM(t->order, t->done_count, t->order_cap, 64, &err) == 0)
        t->order[t->done_count++] = range;
}

void table_heard(struct table *t, uint32_t range)
{
    t->ranges[range].stored = false;
    t->stored_count--;
    t->stored_bytes -= t->ranges[range].result->bytes;
}

int table_done(struct table *t, const struct msg_result *result, struct tm_err *err)
{
    struct table_range *range = &t->ranges[result->range];
    size_t size = sizeof(struct table_result) + result->blob.len;
    if (t->result_bytes + size > BRAIN_RESULTS_BYTES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "results take more than %zu bytes",
                          BRAIN_RESULTS_BYTES_MAX);
    int r = ARRAY_ROOM(t->order, t->done_count, t->order_cap, 64, err);
    if (r < 0)
        return r;
    struct table_result *kept = malloc(size);
    if (kept == NULL)
        return tm_err_oom(err);
    *kept = (struct table_result){.blob_len = (uint32_t)result->blob.len};
    if (result->blob.len > 0)
        memcpy(kept->blob, result->blob.data, result->blob.len);
    const struct msg_counters *c = result->counters;
    if (c != NULL) {
        kept->bytes = c->bytes;
        kept->stored_bytes = c->stored_bytes;
        kept->files = c->files;
        t->done.bytes += c->bytes;
        t->done.stored_bytes += c->stored_bytes;
        t->done.files += c->files;
        t->done.pages_checked += c->pages_checked;
        t->done.pages_unverified += c->pages_unverified;
        t->done.pages_corrupt += c->pages_corrupt;
    }
    for (size_t at = t->lease_count; at > 0; at--) {
        if (t->leases[at - 1].range == result->range)
            table_drop_lease(t, &t->leases[at - 1]);
    }
    range->stored = result->stored;
    if (result->stored) {
        t->stored_count++;
        t->stored_bytes += kept->bytes;
    }
    t->result_bytes += size;
    t->order[t->done_count++] = result->range;
    free(range->result);
    range->result = kept;
    range->state = RANGE_DONE;
    range->newest = (struct epoch){result->term, (uint32_t)result->counter};
    return 0;
}
