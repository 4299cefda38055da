/*
 * Ranges and leases beside a naive model: whatever is granted, dropped, done and stolen, the table
 * answers as one that walks everything would.
 */
#include "coordinator/brain/table.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/brain/brain.h"

#define RANGES 97
#define NODES  5
#define LEASES 4096

struct model_lease {
    bool held;
    uint32_t range;
    uint32_t node;
    uint64_t counter;
    uint64_t granted_us;
};

struct model { /* leases in the order they were granted */
    struct table table;
    struct model_lease leases[LEASES];
    size_t count;
    bool done[RANGES];
    uint64_t random;
    uint64_t now_us;
};

static uint64_t below(struct model *m, uint64_t bound)
{
    m->random = m->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (m->random >> 33) % bound;
}

static struct slice key(uint32_t at, char text[16])
{
    if (at == 0 || at == RANGES)
        return SLICE_EMPTY;
    (void)snprintf(text, 16, "%04u", at);
    return slice_str(text);
}

static bool anywhere(uint32_t range)
{
    return range % 3 != 0;
}

static void plan(struct table *t)
{
    struct tm_err err;
    for (uint32_t at = 0; at < RANGES; at++) {
        char start[16];
        char end[16];
        struct msg_plan_range range = {.start = key(at, start),
                                       .end = key(at + 1, end),
                                       .bytes = 10,
                                       .anywhere = anywhere(at)};
        assert_int_equal(table_plan(t, at, &range, 1, &err), 0);
    }
    assert_int_equal(t->count, RANGES);
}

/* ---- what the model says ---- */

static size_t holders(const struct model *m, uint32_t range)
{
    size_t count = 0;
    for (size_t at = 0; at < m->count; at++)
        count += m->leases[at].held && m->leases[at].range == range;
    return count;
}

static bool meant(uint32_t range, enum table_which which)
{
    return (which & (anywhere(range) ? TABLE_ANYWHERE : TABLE_BOUND)) != 0;
}

static size_t model_free(const struct model *m, enum table_which which)
{
    for (uint32_t range = 0; range < RANGES; range++) {
        if (!m->done[range] && holders(m, range) == 0 && meant(range, which))
            return range;
    }
    return SIZE_MAX;
}

static size_t model_steal(const struct model *m, uint32_t node, uint64_t before_us,
                          enum table_which which)
{
    for (size_t at = 0; at < m->count; at++) {
        const struct model_lease *lease = &m->leases[at];
        if (lease->held && lease->node != node && lease->granted_us <= before_us &&
            meant(lease->range, which) && holders(m, lease->range) == 1)
            return lease->range;
    }
    return SIZE_MAX;
}

static void compare(struct model *m)
{
    static const enum table_which all[] = {TABLE_BOUND, TABLE_ANYWHERE, TABLE_BOTH};
    size_t held = 0;
    for (size_t at = 0; at < TM_ARRAY_LEN(all); at++) {
        uint64_t before_us = m->now_us - below(m, 60);
        uint32_t node = 1 + (uint32_t)below(m, NODES);
        assert_int_equal(table_next_free(&m->table, all[at]), model_free(m, all[at]));
        assert_int_equal(table_next_steal(&m->table, node, before_us, all[at]),
                         model_steal(m, node, before_us, all[at]));
    }
    for (uint32_t node = 1; node <= NODES; node++) {
        size_t count = 0;
        size_t walked = 0;
        for (size_t at = 0; at < m->count; at++)
            count += m->leases[at].held && m->leases[at].node == node;
        uint32_t cursor = table_leases_begin(&m->table, node);
        for (const struct table_lease *l; (l = table_leases_next(&m->table, &cursor)) != NULL;) {
            assert_int_equal(l->node, node);
            walked++;
        }
        assert_int_equal(table_leases_of(&m->table, node), count);
        assert_int_equal(walked, count);
        held += count;
    }
    assert_int_equal(m->table.lease_count, held);
}

/* ---- what happens ---- */

static void do_grant(struct model *m, uint32_t range)
{
    struct table_lease *lease;
    struct tm_err err;
    if (m->done[range] || holders(m, range) == 2 || m->count == LEASES)
        return;
    struct model_lease *to = &m->leases[m->count];
    *to = (struct model_lease){.held = true,
                               .range = range,
                               .node = 1 + (uint32_t)below(m, NODES),
                               .counter = m->count + 1,
                               .granted_us = m->now_us};
    struct epoch epoch = {1, (uint32_t)to->counter};
    assert_int_equal(table_grant(&m->table, range, to->node, epoch, 7, m->now_us, &lease, &err), 0);
    assert_int_equal(lease->range, range);
    m->count++;
}

static void do_drop(struct model *m)
{
    if (m->count == 0)
        return;
    struct model_lease *one = &m->leases[below(m, m->count)];
    struct epoch epoch = {1, (uint32_t)one->counter};
    struct table_lease *lease = table_lease_find(&m->table, one->range, epoch);
    assert_true((lease != NULL) == one->held);
    if (lease == NULL)
        return;
    table_drop_lease(&m->table, lease);
    one->held = false;
}

static void do_done(struct model *m, uint32_t range)
{
    struct msg_result result = {.range = range, .term = 1, .counter = 9999};
    struct tm_err err;
    if (m->done[range])
        return;
    assert_int_equal(table_done(&m->table, &result, &err), 0);
    m->done[range] = true;
    for (size_t at = 0; at < m->count; at++) {
        if (m->leases[at].range == range)
            m->leases[at].held = false;
    }
}

static void do_lose(struct model *m, uint32_t node)
{
    table_drop_node(&m->table, node);
    for (size_t at = 0; at < m->count; at++) {
        if (m->leases[at].node == node)
            m->leases[at].held = false;
    }
}

static void run(uint64_t seed)
{
    struct model *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    m->random = seed;
    m->now_us = 1000;
    plan(&m->table);
    compare(m);
    for (size_t round = 0; round < 1500; round++) {
        uint32_t range = (uint32_t)below(m, RANGES);
        uint64_t what = below(m, 100);
        m->now_us += below(m, 3); /* several leases of one moment, too */
        if (what < 60)
            do_grant(m, range);
        else if (what < 92)
            do_drop(m);
        else if (what < 97)
            do_done(m, range);
        else
            do_lose(m, 1 + (uint32_t)below(m, NODES));
        compare(m);
    }
    assert_true(m->table.done_count > 20);
    table_release(&m->table);
    free(m);
}

static void as_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        run(seed);
}

static void no_more_leases_than_fit(void **state)
{
    (void)state;
    struct table t = {0};
    struct table_lease *lease;
    struct tm_err err;
    plan(&t);
    for (uint32_t at = 0; at < TABLE_LEASES_MAX; at++)
        assert_int_equal(table_grant(&t, at % RANGES, 1 + at % 4000, (struct epoch){1, at + 1}, 0,
                                     at, &lease, &err),
                         0);
    assert_int_equal(
        table_grant(&t, 0, 1, (struct epoch){1, TABLE_LEASES_MAX + 1}, 0, 0, &lease, &err),
        -(int)TM_E_LIMIT);
    assert_string_equal(err.msg, "more than 262144 leases");
    table_drop_node(&t, 1);
    assert_int_equal(
        table_grant(&t, 0, 1, (struct epoch){1, TABLE_LEASES_MAX + 1}, 0, 0, &lease, &err), 0);
    table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_model),
        cmocka_unit_test(no_more_leases_than_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
