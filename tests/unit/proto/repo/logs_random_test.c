/*
 * Chains against the rule itself: writers come and go, stale ones go on for a while, some begin
 * before what others stored, roll-ups are made at any time by any of them. After every step what a
 * chain says, from the start and from anywhere, is what the plain rule says of all chunks there are.
 */
#include "tests/unit/proto/repo/log_fixture.h"

#define SEEDS   60u
#define STEPS   100u
#define WRITERS 8u

struct chunk {
    uint64_t from;
    uint64_t to;
    uint32_t counter;
};

struct model {
    struct fixture *f;
    struct test_branch b;
    uint64_t random;
    struct chunk chunks[STEPS + 1];
    size_t count;
    struct chunk counted[STEPS + 1]; /* by the rule */
    size_t counted_count;
    uint64_t starts[WRITERS + 1]; /* of each writer, by counter from 1 on */
    uint64_t next[WRITERS + 1];
    uint32_t writers;
};

static uint32_t rolled_all; /* so that the test is known to have met roll-ups */
static uint32_t stretches_all;

static uint32_t below(struct model *m, uint32_t limit)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (uint32_t)(m->random % limit);
}

static int by_place(const void *a, const void *b)
{
    const struct chunk *x = a;
    const struct chunk *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->counter < y->counter) - (x->counter > y->counter);
}

/* The rule: not beyond the start of a newer writer; of one place the newest; nothing that begins
 * inside what counts. */
static void apply_rule(struct model *m)
{
    m->counted_count = 0;
    qsort(m->chunks, m->count, sizeof(m->chunks[0]), by_place);
    for (size_t i = 0; i < m->count; i++) {
        const struct chunk *c = &m->chunks[i];
        bool fenced = false;
        for (uint32_t w = c->counter + 1; w <= m->writers; w++)
            fenced = fenced || m->starts[w] < c->to;
        uint64_t end = m->counted_count > 0 ? m->counted[m->counted_count - 1].to : 0;
        if (!fenced && c->from >= end)
            m->counted[m->counted_count++] = *c;
    }
}

static const struct log_lineage *lineage_of(struct model *m, struct log_lineages *list)
{
    assert_int_equal(log_lineages_read(m->f->scratch[0], m->f->st, &m->f->scope, list, &m->f->err),
                     0);
    return &list->items[0];
}

static void check_from(struct model *m, uint64_t from)
{
    struct log_lineages list;
    struct log_chain *chain = NULL;
    struct log_entry e;
    size_t at = 0;
    assert_int_equal(log_chain_open(m->f->scratch, m->f->st, &m->f->scope, lineage_of(m, &list),
                                    from, &chain, &m->f->err),
                     0);
    while (at < m->counted_count && m->counted[at].to <= from)
        at++;
    while (log_chain_next(chain, &e, &m->f->err) > 0) {
        assert_in_range(at, 0, m->counted_count - 1);
        assert_int_equal(e.from, m->counted[at].from);
        assert_int_equal(e.to, m->counted[at].to);
        assert_int_equal(e.counter, m->counted[at].counter);
        at++;
    }
    assert_int_equal(at, m->counted_count);
    log_chain_free(chain);
    log_lineages_release(&list);
}

/* Whole roll-ups show the same runs. */
static void check_stretches(struct model *m)
{
    struct log_lineages list;
    struct log_chain *chain = NULL;
    struct log_entry e;
    size_t at = 0;
    assert_int_equal(log_chain_open(m->f->scratch, m->f->st, &m->f->scope, lineage_of(m, &list), 0,
                                    &chain, &m->f->err),
                     0);
    while (log_chain_next_stretch(chain, &e, &m->f->err) > 0) {
        stretches_all += m->counted[at].to < e.to;
        assert_in_range(at, 0, m->counted_count - 1);
        assert_int_equal(e.from, m->counted[at].from);
        while (m->counted[at].to < e.to) {
            assert_int_equal(m->counted[at].to, m->counted[at + 1].from);
            at++;
        }
        assert_int_equal(m->counted[at++].to, e.to);
    }
    assert_int_equal(at, m->counted_count);
    log_chain_free(chain);
    log_lineages_release(&list);
}

static void writer_begins(struct model *m)
{
    uint64_t from = m->counted_count > 0 ? m->counted[m->counted_count - 1].to : 0;
    if (m->writers == WRITERS)
        return;
    if (m->counted_count > 1 && below(m, 3) == 0) /* it saw less than there is */
        from = m->counted[below(m, (uint32_t)m->counted_count)].from;
    else if (below(m, 4) == 0) /* the source lost some */
        from += 1 + below(m, 50);
    m->writers++;
    m->starts[m->writers] = from;
    m->next[m->writers] = from;
    put_writer(m->f, &m->b, m->writers, from);
}

static void writer_writes(struct model *m, uint32_t counter)
{
    uint64_t from = m->next[counter];
    uint64_t to = from + 1 + below(m, 30);
    put_chunk(m->f, &m->b, from, to, counter, NULL);
    m->next[counter] = to;
    m->chunks[m->count++] = (struct chunk){from, to, counter};
}

static void writer_rolls(struct model *m, uint32_t counter)
{
    struct log_lineages list;
    uint32_t rolled = 0;
    assert_int_equal(log_index_roll(m->f->scratch, m->f->st, &m->f->scope, lineage_of(m, &list),
                                    (struct epoch){1, counter}, nonce, 1, &rolled, &m->f->err),
                     0);
    rolled_all += rolled;
    log_lineages_release(&list);
}

static void step(struct model *m)
{
    uint32_t what = below(m, 20);
    if (what == 0 || m->writers == 0)
        writer_begins(m);
    else if (what < 4)
        writer_rolls(m, 1 + below(m, m->writers));
    else if (what < 7)
        writer_writes(m, 1 + below(m, m->writers)); /* perhaps a stale one */
    else
        writer_writes(m, m->writers);
}

static void run(struct fixture *f, uint64_t seed)
{
    struct model m = {.f = f, .random = seed * 2654435761u + 1};
    m.b = (struct test_branch){.record = {.id = "r", .label = "1"}};
    put_lineage(f, &m.b);
    for (uint32_t i = 0; i < STEPS; i++) {
        step(&m);
        apply_rule(&m);
        check_from(&m, 0);
        check_stretches(&m);
        if (m.counted_count > 0)
            check_from(&m, below(&m, (uint32_t)m.counted[m.counted_count - 1].to + 2));
    }
    branch_done(&m.b);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        void *inner = NULL;
        assert_int_equal(setup(&inner), 0);
        run(inner, seed);
        assert_int_equal(teardown(&inner), 0);
    }
    assert_in_range(rolled_all, 500, UINT32_MAX);
    assert_in_range(stretches_all, 500, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
