/*
 * agent/log/prime: sessions that begin inside a record. Over the null engine with an index of its own:
 * records are long, one follows the other from the log's first byte on, and, as with a real log, one that
 * began before the index was opened is not seen.
 */
#include "tests/unit/agent/log/fixture.h"

static uint64_t g_record = 100000; /* bytes */

struct engine_log_index {
    uint64_t first; /* number of the first record that is seen whole */
    uint64_t taken;
    uint64_t next;
    struct log_point events[1024];
};

static unsigned
    g_opened_before; /* indexes that were opened before the segment of the session's start */
static uint64_t g_opened_at;

static int long_index_open(struct slice facts, uint64_t from, struct engine_log_index **ret,
                           struct tm_err *err)
{
    (void)facts;
    struct engine_log_index *index = calloc(1, sizeof(*index));
    if (!index)
        return tm_err_oom(err);
    assert_int_equal(from % NULL_LOG_SEGMENT, 0);
    index->first = (from - S + g_record - 1) / g_record;
    index->taken = index->next = g_opened_at = from;
    g_opened_before++;
    *ret = index;
    return 0;
}

static int long_index_push(struct engine_log_index *index, struct slice bytes, struct tm_err *err)
{
    (void)err;
    index->next += bytes.len;
    return 0;
}

static int long_index_take(struct engine_log_index *index, struct engine_index_part *ret,
                           struct tm_err *err)
{
    (void)err;
    struct engine_index_part part = {.events = index->events};
    uint64_t ended = (index->next - S) / g_record;
    for (uint64_t n = TM_MAX((index->taken - S) / g_record, index->first); n < ended; n++) {
        uint64_t at = S + n * g_record;
        assert_true(part.event_count < TM_ARRAY_LEN(index->events));
        index->events[part.event_count++] = (struct log_point){.kind = EVENT_COMMIT,
                                                               .at = at,
                                                               .previous = at - g_record,
                                                               .end = at + g_record,
                                                               .time_us = NULL_LOG_TIME_US,
                                                               .xid = n + 1};
    }
    if (ended > index->first)
        part.last_record = S + (ended - 1) * g_record;
    index->taken = index->next;
    *ret = part;
    return 0;
}

static void long_index_close(struct engine_log_index *index)
{
    free(index);
}

static struct engine_ops g_engine;

static void begin(struct rig *g, const char *test, uint64_t record)
{
    g_record = record;
    g_engine = null_engine;
    g_engine.index_open = long_index_open;
    g_engine.index_push = long_index_push;
    g_engine.index_take = long_index_take;
    g_engine.index_close = long_index_close;
    rig_begin_options(g, rig_url(test), "log=1"); /* so that it is stored from its first byte on */
    g->options.engine = &g_engine;
    run_to(g, 1, S + 1);
    rig_stop(g);
}

static void store_to(struct rig *g, uint32_t generation, uint64_t bytes)
{
    char words[32];
    (void)snprintf(words, sizeof(words), "log=%llu", (unsigned long long)bytes);
    rig_source(g, words);
    run_to(g, generation, S + bytes);
    rig_stop(g);
}

/* The records that the stored chunks tell of, in order; returns how many. */
static size_t told(struct rig *g, uint64_t *at, size_t max, struct full_name *ret_second)
{
    struct object_scratch *scratches[3] = {NULL};
    struct log_lineages list = rig_lineages(g);
    struct log_chain *chain = NULL;
    struct log_entry entry;
    size_t count = 0;
    assert_int_equal(list.count, 1);
    for (size_t i = 0; i < TM_ARRAY_LEN(scratches); i++)
        OK(object_scratch_new(&scratches[i], &g_err));
    OK(log_chain_open(scratches, g->storage, &g->options.scope, &list.items[0], 0, &chain, &g_err));
    for (unsigned chunks = 0; log_chain_next(chain, &entry, &g_err) == 1; chunks++) {
        struct chunk_reader cr;
        struct log_ref ref;
        struct slice section = SLICE_EMPTY;
        struct events_reader reader;
        struct log_point point;
        log_entry_ref(&list.items[0].record, &entry, &ref);
        struct full_name name = names_full(&g->options.scope, ref.object);
        if (chunks == 1 && ret_second)
            *ret_second = name;
        OK(chunk_reader_open(&cr, scratches[2], g->storage, name.s, &ref, &g_err));
        if (chunk_reader_section(&cr, OBJECT_SECTION_EVENTS, &section, &g_err) == 1) {
            OK(events_reader_init(&reader, section, &g_err));
            while (events_reader_next(&reader, &point, &g_err) == 1) {
                /* a record is told of by the chunk in which it ends */
                assert_true(point.end > entry.from && point.end <= entry.to);
                assert_true(count < max);
                at[count++] = point.at;
            }
        }
        chunk_reader_release(&cr);
    }
    log_chain_free(chain);
    for (size_t i = 0; i < TM_ARRAY_LEN(scratches); i++)
        object_scratch_free(scratches[i]);
    log_lineages_release(&list);
    return count;
}

/* Each of the first `count` records is told of once, from number `first` on. */
static void assert_told(struct rig *g, uint64_t first, uint64_t count)
{
    uint64_t at[64];
    size_t found = told(g, at, TM_ARRAY_LEN(at), NULL);
    for (size_t n = 0; n < TM_MIN(found, (size_t)count); n++)
        assert_int_equal(at[n], S + (first + n) * g_record);
    assert_int_equal(found, count);
}

/* A record begins in the segment before the one that the next session streams from. */
static void test_across_the_start(void **state)
{
    (void)state;
    struct rig g;
    begin(&g, __func__, 100000);
    store_to(&g, 2, 65536 + 10);
    store_to(&g, 3, 3 * 65536 + 20); /* record 1 lies from 100000 to 200000 */
    store_to(&g, 4, 300001);
    assert_told(&g, 0, 3);
    rig_end(&g);
}

/* Exactly at the segment's start: the byte before it is the last that is stored. */
static void test_at_the_start(void **state)
{
    (void)state;
    struct rig g;
    begin(&g, __func__, 100000);
    store_to(&g, 2, 2 * 65536); /* in record 1, which began in the segment before */
    store_to(&g, 3, 3 * 65536); /* still in it */
    store_to(&g, 4, 3 * 65536 + 1);
    store_to(&g, 5, 500000); /* its last byte */
    store_to(&g, 6, 500001);
    assert_told(&g, 0, 5);
    rig_end(&g);
}

/* A record over many segments, in each of which a session ends and another begins. */
static void test_over_many_segments(void **state)
{
    (void)state;
    struct rig g;
    begin(&g, __func__, 600000);
    for (uint32_t n = 1; n <= 6; n++)
        store_to(&g, n + 1, (uint64_t)n * 65536 * 3 + 7);
    store_to(&g, 8, 1200000);
    assert_told(&g, 0, 2);
    rig_end(&g);
}

/* Where the last record that is told of begins behind the stream's first byte, nothing more is read. */
static void test_only_when_needed(void **state)
{
    (void)state;
    struct rig g;
    begin(&g, __func__, 1000);
    store_to(&g, 2, 2 * 65536 + 3000);
    g_opened_before = 0;
    store_to(&g, 3, 2 * 65536 + 4000);
    assert_int_equal(g_opened_before, 1);
    assert_int_equal(g_opened_at, S + 2 * 65536);
    store_to(&g, 4, 3 * 65536 + 100); /* record 196 begins before the segment and has not ended */
    g_opened_before = 0;
    store_to(&g, 5, 3 * 65536 + 400);
    assert_int_equal(g_opened_before, 1);
    assert_int_equal(g_opened_at, S + 2 * 65536);
    uint64_t at[256];
    size_t count = told(&g, at, TM_ARRAY_LEN(at), NULL);
    assert_int_equal(count, 197);
    for (size_t n = 0; n < count; n++)
        assert_int_equal(at[n], S + n * 1000);
    rig_end(&g);
}

/* Its beginning is lost: that one record is not told of, and log goes on being stored. */
static void test_beginning_is_lost(void **state)
{
    (void)state;
    struct rig g;
    struct full_name name;
    uint64_t at[8];
    begin(&g, __func__, 300000);
    store_to(&g, 2, 20000);
    store_to(&g, 3, 3 * 65536);
    assert_int_equal(told(&g, at, TM_ARRAY_LEN(at), &name), 0);
    OK(storage_remove(g.storage, &(const char *){name.s}, 1, &g_err)); /* its second chunk */
    store_to(&g, 4, 600000);
    assert_told(&g, 1, 1);
    rig_end(&g);
}

/* Damaged, not missing: the same. */
static void test_beginning_is_damaged(void **state)
{
    (void)state;
    struct rig g;
    struct full_name name;
    uint64_t at[8];
    size_t len = 0;
    begin(&g, __func__, 300000);
    store_to(&g, 2, 20000);
    store_to(&g, 3, 3 * 65536);
    assert_int_equal(told(&g, at, TM_ARRAY_LEN(at), &name), 0);
    uint8_t *bytes = ram_bytes(g.storage, name.s, &len);
    assert_true(len > 2000);
    bytes[1000] ^= 1; /* of its first frame: header and footer are whole */
    store_to(&g, 4, 600000);
    assert_told(&g, 1, 1);
    rig_end(&g);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_across_the_start),   cmocka_unit_test(test_at_the_start),
        cmocka_unit_test(test_over_many_segments), cmocka_unit_test(test_only_when_needed),
        cmocka_unit_test(test_beginning_is_lost),  cmocka_unit_test(test_beginning_is_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
