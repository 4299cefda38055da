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
    for (size_t at = 0; at < t->holder_count; at++)
        free(t->all_holders[at]);
    free(t->all_holders);
    idmap_release(&t->holders);
    numset_release(&t->free[false]);
    numset_release(&t->free[true]);
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
        r = numset_reserve(&t->free[false], t->count + 1, err);
    if (r == 0)
        r = numset_reserve(&t->free[true], t->count + 1, err);
    if (r == 0)
        r = buf_append_slice(&t->keys, range->start, err);
    if (r < 0)
        return r;
    numset_add(&t->free[range->anywhere], t->count);
    t->ranges[t->count++] = (struct table_range){.key_offset = (uint32_t)key_offset,
                                                 .key_len = (uint16_t)range->start.len,
                                                 .leases = TABLE_NONE,
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

/* ---- leases ---- */

static struct table_link *link_of_range(struct table_lease *lease)
{
    return &lease->of_range;
}

static struct table_link *link_of_node(struct table_lease *lease)
{
    return &lease->of_node;
}

static struct table_link *link_by_age(struct table_lease *lease)
{
    return &lease->by_age;
}

typedef struct table_link *link_fn(struct table_lease *lease);

/* Takes a lease out of the list that begins at *first; *last, when the list has one. */
static void unlink_lease(struct table *t, uint32_t at, link_fn *of, uint32_t *first, uint32_t *last)
{
    struct table_link *link = of(&t->leases[at]);
    if (link->before != TABLE_NONE)
        of(&t->leases[link->before])->next = link->next;
    else
        *first = link->next;
    if (link->next != TABLE_NONE)
        of(&t->leases[link->next])->before = link->before;
    else if (last != NULL)
        *last = link->before;
}

static void push_front(struct table *t, uint32_t at, link_fn *of, uint32_t *first)
{
    *of(&t->leases[at]) = (struct table_link){.before = TABLE_NONE, .next = *first};
    if (*first != TABLE_NONE)
        of(&t->leases[*first])->before = at;
    *first = at;
}

static void push_newest(struct table *t, uint32_t at)
{
    t->leases[at].by_age = (struct table_link){.before = t->newest, .next = TABLE_NONE};
    if (t->newest != TABLE_NONE)
        t->leases[t->newest].by_age.next = at;
    else
        t->oldest = at;
    t->newest = at;
}

static struct table_holder *holder_of(const struct table *t, uint32_t node)
{
    return idmap_get(&t->holders, node);
}

static struct table_holder *holder_make(struct table *t, uint32_t node, struct tm_err *err)
{
    struct table_holder *holder = holder_of(t, node);
    if (holder != NULL)
        return holder;
    if (ARRAY_ROOM(t->all_holders, t->holder_count, t->holder_cap, 16, err) < 0)
        return NULL;
    holder = malloc(sizeof(*holder));
    if (holder == NULL) {
        (void)tm_err_oom(err);
        return NULL;
    }
    *holder = (struct table_holder){.leases = TABLE_NONE};
    if (idmap_put(&t->holders, node, holder, err) < 0) {
        free(holder);
        return NULL;
    }
    t->all_holders[t->holder_count++] = holder;
    return holder;
}

/* A place for one more lease, or TABLE_NONE. */
static uint32_t place_take(struct table *t, struct tm_err *err)
{
    if (t->lease_count == 0 && t->lease_places == 0)
        t->lease_free = t->oldest = t->newest = TABLE_NONE;
    uint32_t at = t->lease_free;
    if (at != TABLE_NONE) {
        t->lease_free = t->leases[at].by_age.next;
        return at;
    }
    if (ARRAY_ROOM(t->leases, t->lease_places, t->lease_cap, 64, err) < 0)
        return TABLE_NONE;
    return (uint32_t)t->lease_places++;
}

struct table_lease *table_lease_find(struct table *t, uint32_t range, struct epoch epoch)
{
    for (uint32_t at = t->ranges[range].leases; at != TABLE_NONE;
         at = t->leases[at].of_range.next) {
        if (epoch_cmp(t->leases[at].epoch, epoch) == 0)
            return &t->leases[at];
    }
    return NULL;
}

int table_grant(struct table *t, uint32_t range, uint32_t node, struct epoch epoch,
                uint64_t want_serial, uint64_t now_us, struct table_lease **ret, struct tm_err *err)
{
    if (t->lease_count == TABLE_LEASES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u leases", TABLE_LEASES_MAX);
    struct table_holder *holder = holder_make(t, node, err);
    uint32_t at = holder != NULL ? place_take(t, err) : TABLE_NONE;
    if (at == TABLE_NONE)
        return -(int)err->code;
    t->leases[at] = (struct table_lease){.range = range,
                                         .node = node,
                                         .epoch = epoch,
                                         .want_serial = want_serial,
                                         .granted_us = now_us};
    t->lease_count++;
    holder->count++;
    push_front(t, at, link_of_range, &t->ranges[range].leases);
    push_front(t, at, link_of_node, &holder->leases);
    push_newest(t, at);
    t->ranges[range].state = RANGE_LEASED;
    t->ranges[range].newest = epoch;
    numset_drop(&t->free[t->ranges[range].anywhere], range);
    *ret = &t->leases[at];
    return 0;
}

void table_drop_lease(struct table *t, struct table_lease *lease)
{
    uint32_t at = (uint32_t)(lease - t->leases);
    struct table_range *range = &t->ranges[lease->range];
    struct table_holder *holder = holder_of(t, lease->node);
    unlink_lease(t, at, link_of_range, &range->leases, NULL);
    unlink_lease(t, at, link_of_node, &holder->leases, NULL);
    unlink_lease(t, at, link_by_age, &t->oldest, &t->newest);
    holder->count--;
    t->lease_count--;
    if (range->state == RANGE_LEASED && range->leases == TABLE_NONE) {
        range->state = RANGE_FREE;
        numset_add(&t->free[range->anywhere], lease->range);
    }
    lease->by_age.next = t->lease_free;
    t->lease_free = at;
}

uint32_t table_leases_begin(const struct table *t, uint32_t node)
{
    const struct table_holder *holder = holder_of(t, node);
    return holder != NULL ? holder->leases : TABLE_NONE;
}

struct table_lease *table_leases_next(struct table *t, uint32_t *cursor)
{
    if (*cursor == TABLE_NONE)
        return NULL;
    struct table_lease *lease = &t->leases[*cursor];
    *cursor = lease->of_node.next;
    return lease;
}

void table_drop_node(struct table *t, uint32_t node)
{
    uint32_t cursor = table_leases_begin(t, node);
    struct table_lease *lease;
    while ((lease = table_leases_next(t, &cursor)) != NULL)
        table_drop_lease(t, lease);
}

size_t table_next_free(struct table *t, enum table_which which)
{
    size_t bound = which & TABLE_BOUND ? numset_lowest(&t->free[false]) : SIZE_MAX;
    size_t anywhere = which & TABLE_ANYWHERE ? numset_lowest(&t->free[true]) : SIZE_MAX;
    return TM_MIN(bound, anywhere);
}

size_t table_next_steal(const struct table *t, uint32_t node, uint64_t before_us,
                        enum table_which which)
{
    if (t->lease_count == 0)
        return SIZE_MAX;
    for (uint32_t at = t->oldest; at != TABLE_NONE; at = t->leases[at].by_age.next) {
        const struct table_lease *lease = &t->leases[at];
        const struct table_range *range = &t->ranges[lease->range];
        if (lease->granted_us > before_us)
            return SIZE_MAX; /* all others are younger */
        bool meant = which & (range->anywhere ? TABLE_ANYWHERE : TABLE_BOUND);
        bool alone = lease->of_range.before == TABLE_NONE && lease->of_range.next == TABLE_NONE;
        if (lease->node != node && meant && alone)
            return lease->range;
    }
    return SIZE_MAX;
}

size_t table_leases_of(const struct table *t, uint32_t node)
{
    const struct table_holder *holder = holder_of(t, node);
    return holder != NULL ? holder->count : 0;
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
    while (range->leases != TABLE_NONE)
        table_drop_lease(t, &t->leases[range->leases]);
    numset_drop(&t->free[range->anywhere], result->range);
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
