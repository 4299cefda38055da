/* Events: what is written is read again, exactly; chunks carry them; nothing malformed is taken. */
#include "proto/format/chunk.h"
#include "proto/format/events.h"
#include "proto/format/pack.h"
#include "tests/unit/proto/format/fixture.h"

static const struct log_point samples[] = {
    {.kind = EVENT_COMMIT, .at = 100, .previous = 60, .end = 140, .time_us = 5000, .xid = 700},
    {.kind = EVENT_ABORT, .at = 140, .previous = 100, .end = 180, .time_us = 4000, .xid = 699},
    {.kind = EVENT_PREPARE, .at = 180, .previous = 140, .end = 200, .xid = 701, .name = "gid"},
    {.kind = EVENT_POINT, .at = 200, .previous = 180, .end = 200, .time_us = 6000, .name = "p"},
    {.kind = EVENT_COMMIT, .at = 200, .end = 300, .time_us = INT64_MAX, .xid = UINT64_MAX},
    {.kind = EVENT_COMMIT, .at = UINT64_MAX, .end = UINT64_MAX, .time_us = INT64_MIN, .xid = 1},
};

static void assert_same(const struct log_point *a, const struct log_point *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->at, b->at);
    assert_int_equal(a->previous, b->previous);
    assert_int_equal(a->end, b->end);
    assert_int_equal(a->time_us, b->time_us);
    assert_int_equal(a->xid, b->xid);
    assert_string_equal(a->name, b->name);
}

static void test_round(void **state)
{
    struct fixture *f = *state;
    struct events_writer w = EVENTS_WRITER_INIT;
    struct events_reader r;
    struct log_point event;
    struct buf section = BUF_INIT;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < TM_ARRAY_LEN(samples); i++)
            assert_int_equal(events_writer_add(&w, &samples[i], &f->err), 0);
        buf_reset(&section);
        assert_int_equal(events_writer_section(&w, &section, &f->err), 0);
        assert_int_equal(events_reader_init(&r, buf_slice(&section), &f->err), 0);
        for (size_t i = 0; i < TM_ARRAY_LEN(samples); i++) {
            assert_int_equal(events_reader_next(&r, &event, &f->err), 1);
            assert_same(&event, &samples[i]);
        }
        assert_int_equal(events_reader_next(&r, &event, &f->err), 0);
        events_writer_clear(&w);
        assert_int_equal(w.count, 0);
    }
    buf_release(&section);
    events_writer_release(&w);
}

/* Times of commits and aborts only, whatever their order. */
static void test_bounds(void **state)
{
    struct fixture *f = *state;
    struct events_writer w = EVENTS_WRITER_INIT;
    assert_int_equal(events_writer_add(&w, &samples[3], &f->err), 0);
    assert_int_equal(w.min_us, 0);
    assert_int_equal(w.max_us, 0);
    events_writer_clear(&w);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(events_writer_add(&w, &samples[i], &f->err), 0);
    assert_int_equal(w.min_us, 4000);
    assert_int_equal(w.max_us, 5000);
    events_writer_release(&w);
}

/* A thousand commits a millisecond apart take at most 16 bytes each. */
static void test_small(void **state)
{
    struct fixture *f = *state;
    struct events_writer w = EVENTS_WRITER_INIT;
    struct buf section = BUF_INIT;
    for (uint64_t i = 0; i < 1000; i++) {
        struct log_point commit = {.kind = EVENT_COMMIT,
                                   .at = 1000000 + i * 300,
                                   .previous = 1000000 + i * 300 - 200,
                                   .end = 1000000 + i * 300 + 40,
                                   .time_us = INT64_C(1800000000000000) + (int64_t)i * 1000,
                                   .xid = 5000000 + i};
        assert_int_equal(events_writer_add(&w, &commit, &f->err), 0);
    }
    assert_int_equal(events_writer_section(&w, &section, &f->err), 0);
    assert_in_range(section.len, 1000, 16000);
    buf_release(&section);
    events_writer_release(&w);
}

static void expect_corrupt(struct fixture *f, struct slice section, const char *text)
{
    struct events_reader r;
    struct log_point event;
    int rc = events_reader_init(&r, section, &f->err);
    while (rc >= 0 && (rc = events_reader_next(&r, &event, &f->err)) > 0) {
    }
    assert_int_equal(rc, -TM_E_CORRUPT);
    assert_string_equal(f->err.msg, text);
}

/* One event with these numbers in place. */
static void one_event(struct fixture *f, struct buf *out, uint32_t members, const uint64_t *values)
{
    buf_reset(out);
    assert_int_equal(pack_uint(out, 1, &f->err), 0);
    assert_int_equal(pack_array(out, members, &f->err), 0);
    for (uint32_t i = 0; i < members; i++)
        assert_int_equal(pack_uint(out, values[i], &f->err), 0);
}

static void test_malformed(void **state)
{
    struct fixture *f = *state;
    struct buf section = BUF_INIT;
    expect_corrupt(f, SLICE_EMPTY, "events: cut off");
    assert_int_equal(pack_uint(&section, EVENTS_MAX + 1, &f->err), 0);
    expect_corrupt(f, buf_slice(&section), "events: too large");
    buf_reset(&section);
    assert_int_equal(pack_uint(&section, 1, &f->err), 0);
    expect_corrupt(f, buf_slice(&section), "event: cut off");
    one_event(f, &section, 5, (const uint64_t[]){1, 1, 0, 0, 0});
    expect_corrupt(f, buf_slice(&section), "event: 5 members");
    one_event(f, &section, 6, (const uint64_t[]){0, 1, 0, 0, 0, 0});
    expect_corrupt(f, buf_slice(&section), "event kind: 0 is none");
    one_event(f, &section, 6, (const uint64_t[]){5, 1, 0, 0, 0, 0});
    expect_corrupt(f, buf_slice(&section), "event kind: too large");
    one_event(f, &section, 6, (const uint64_t[]){1, 10, 11, 0, 0, 0});
    expect_corrupt(f, buf_slice(&section), "event before: too large");
    one_event(f, &section, 6, (const uint64_t[]){1, UINT64_MAX, 0, 1, 0, 0});
    expect_corrupt(f, buf_slice(&section), "event end: too large");
    one_event(f, &section, 6, (const uint64_t[]){1, 1, 0, 0, 0, 0});
    assert_int_equal(buf_append(&section, "", 1, &f->err), 0);
    expect_corrupt(f, buf_slice(&section), "events: bytes behind the last one");
    buf_release(&section);
}

/* Every shorter section is refused, none crashes. */
static void test_cut_off(void **state)
{
    struct fixture *f = *state;
    struct events_writer w = EVENTS_WRITER_INIT;
    struct buf section = BUF_INIT;
    for (size_t i = 0; i < TM_ARRAY_LEN(samples); i++)
        assert_int_equal(events_writer_add(&w, &samples[i], &f->err), 0);
    assert_int_equal(events_writer_section(&w, &section, &f->err), 0);
    for (size_t len = 0; len < section.len; len++) {
        struct events_reader r;
        struct log_point event;
        int rc = events_reader_init(&r, slice_of(section.data, len), &f->err);
        while (rc >= 0 && (rc = events_reader_next(&r, &event, &f->err)) > 0) {
        }
        assert_int_equal(rc, -TM_E_CORRUPT);
    }
    buf_release(&section);
    events_writer_release(&w);
}

#define NAME "demo1/main/42/log/0102030405060708090a0b0c0d0e0f10/chunk/x"

static void write_chunk(struct fixture *f, const struct events_writer *ew, struct log_ref *ref,
                        struct log_entry *entry)
{
    static const uint8_t zeros[300];
    const uint8_t nonce[16] = "nonce";
    struct chunk_writer cw = CHUNK_WRITER_INIT;
    struct object_info info;
    struct log_chunk root = {.lineage = "l", .label = "1", .from = 50, .term = 3, .counter = 4};
    assert_int_equal(
        chunk_writer_open(&cw, f->scratch, f->st, NAME, &root, 3, nonce, NULL, &f->err), 0);
    assert_int_equal(chunk_writer_data(&cw, slice_of(zeros, sizeof(zeros)), &f->err), 0);
    assert_int_equal(chunk_writer_mark(&cw, 350, 9000, &f->err), 0);
    assert_int_equal(chunk_writer_mark(&cw, 340, 8000, &f->err), 0); /* a clock that went back */
    assert_int_equal(chunk_writer_events(&cw, ew, 200, &f->err), 0);
    assert_int_equal(chunk_writer_section(&cw, 256, slice_str("one"), &f->err), 0);
    assert_int_equal(chunk_writer_section(&cw, 300, slice_str("two"), &f->err), 0);
    assert_int_equal(chunk_writer_finish(&cw, "rel", ref, &info, &f->err), 0);
    log_entry_of(&cw.root, &info, entry);
    chunk_writer_release(&cw);
}

static void test_in_chunk(void **state)
{
    struct fixture *f = *state;
    struct events_writer ew = EVENTS_WRITER_INIT;
    struct log_ref ref;
    struct log_entry entry;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(events_writer_add(&ew, &samples[i], &f->err), 0);
    write_chunk(f, &ew, &ref, &entry);
    assert_int_equal(entry.from, 50);
    assert_int_equal(entry.to, 350);
    assert_int_equal(entry.term, 3);
    assert_int_equal(entry.counter, 4);
    assert_int_equal(entry.events, 4);
    assert_int_equal(entry.min_us, 4000);
    assert_int_equal(entry.max_us, 5000);
    assert_int_equal(entry.last_record, 200);
    assert_int_equal(entry.mark_at, 350);
    assert_int_equal(entry.mark_us, 9000);
    assert_int_equal(entry.stored_bytes, ref.stored_bytes);
    assert_memory_equal(entry.digest, ref.digest, 32);
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct slice section = SLICE_EMPTY;
    struct events_reader r;
    struct log_point event;
    assert_int_equal(chunk_reader_open(&cr, f->scratch, f->st, NAME, &ref, &f->err), 0);
    assert_int_equal(cr.root.last_record, 200);
    assert_int_equal(chunk_reader_section(&cr, OBJECT_SECTION_EVENTS, &section, &f->err), 1);
    assert_int_equal(events_reader_init(&r, section, &f->err), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(events_reader_next(&r, &event, &f->err), 1);
        assert_same(&event, &samples[i]);
    }
    assert_int_equal(events_reader_next(&r, &event, &f->err), 0);
    assert_int_equal(chunk_reader_section(&cr, 256, &section, &f->err), 1);
    assert_true(slice_eq(section, slice_str("one")));
    assert_int_equal(chunk_reader_section(&cr, 300, &section, &f->err), 1);
    assert_true(slice_eq(section, slice_str("two")));
    assert_int_equal(chunk_reader_section(&cr, 257, &section, &f->err), 0);
    chunk_reader_release(&cr);
    events_writer_release(&ew);
}

/* Without events there is no section, and without a whole record none is named. */
static void test_empty_chunk(void **state)
{
    struct fixture *f = *state;
    const uint8_t nonce[16] = "nonce";
    struct events_writer ew = EVENTS_WRITER_INIT;
    struct chunk_writer cw = CHUNK_WRITER_INIT;
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct log_chunk root = {.lineage = "l", .from = 50};
    struct object_info info;
    struct log_ref ref;
    struct slice section;
    assert_int_equal(
        chunk_writer_open(&cw, f->scratch, f->st, NAME, &root, 0, nonce, NULL, &f->err), 0);
    assert_int_equal(chunk_writer_data(&cw, slice_str("abc"), &f->err), 0);
    assert_int_equal(chunk_writer_events(&cw, &ew, 0, &f->err), 0);
    for (uint16_t id = 256; id < 256 + CHUNK_SECTIONS_MAX; id++)
        assert_int_equal(chunk_writer_section(&cw, id, slice_str("s"), &f->err), 0);
    assert_int_equal(chunk_writer_section(&cw, 999, slice_str("s"), &f->err), -TM_E_LIMIT);
    assert_string_equal(f->err.msg, "more than 8 sections in one chunk");
    assert_int_equal(chunk_writer_finish(&cw, "rel", &ref, &info, &f->err), 0);
    chunk_writer_release(&cw);
    assert_int_equal(chunk_reader_open(&cr, f->scratch, f->st, NAME, &ref, &f->err), 0);
    assert_int_equal(chunk_reader_section(&cr, OBJECT_SECTION_EVENTS, &section, &f->err), 0);
    assert_int_equal(cr.root.events, 0);
    assert_int_equal(cr.root.last_record, 0);
    chunk_reader_release(&cr);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_round),   T(test_bounds),   T(test_small),       T(test_malformed),
        T(test_cut_off), T(test_in_chunk), T(test_empty_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
