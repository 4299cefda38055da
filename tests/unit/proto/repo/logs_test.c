/* The log in a repository: lineages, what counts of a chain, roll-ups, heads, events. */
#include "tests/unit/proto/repo/log_fixture.h"

#define ID_A "20261121T100000Z-0000000a"
#define ID_B "20261121T110000Z-0000000b"
#define ID_C "20261121T120000Z-0000000c"

/* ---- lineages ---- */

static void put_truncation(struct fixture *f, const struct test_branch *b, uint32_t seq,
                           uint64_t from, int64_t until_us)
{
    struct object_info info;
    struct truncation t = {.from = from, .until_us = until_us, .until_position = "@x", .term = 1};
    memcpy(t.lineage, b->record.id, 16);
    struct rel_name rel = names_rel_truncate((struct epoch){1, 0}, seq);
    assert_int_equal(record_put(f->scratch[0], f->st, names_full(&f->scope, rel.s).s,
                                OBJECT_TRUNCATION, nonce, &truncation_codec, &t, &info, &f->err),
                     0);
}

static void test_lineages(void **state)
{
    struct fixture *f = *state;
    struct log_lineages list = LOG_LINEAGES_INIT;
    struct test_branch grandchild = {.record = {.id = "c", .created_us = 10}};
    struct test_branch child = {.record = {.id = "b", .created_us = 20, .fork = 5}};
    struct test_branch parent = {
        .record = {.id = "a", .created_us = 30, .label = "1", .facts = slice_str("facts")}};
    struct test_branch other = {.record = {.id = "d", .created_us = 25}};
    child.parent = &parent;
    grandchild.parent = &child;
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(list.count, 0);
    log_lineages_release(&list);
    put_lineage(f, &parent);
    put_lineage(f, &child);
    put_lineage(f, &grandchild);
    put_lineage(f, &other);
    put_truncation(f, &parent, 0, 100, 1);
    put_truncation(f, &parent, 1, 300, 2);
    put_truncation(f, &parent, 2, 200, 3); /* a late, smaller one does not bring log back */
    struct rel_name rel = names_rel_writer((const uint8_t[16]){1}, (struct epoch){1, 1});
    assert_int_equal(storage_put(f->st, names_full(&f->scope, rel.s).s, SLICE_EMPTY, &f->err), 0);
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(list.count, 4);
    assert_string_equal((const char *)list.items[0].record.id, "d");
    assert_string_equal((const char *)list.items[1].record.id, "a");
    assert_string_equal((const char *)list.items[2].record.id, "b");
    assert_string_equal((const char *)list.items[3].record.id, "c");
    assert_int_equal(list.items[1].truncated, 300);
    assert_int_equal(list.items[1].truncated_us, 2);
    assert_string_equal(list.items[1].truncated_position, "@x");
    assert_int_equal(list.items[2].truncated, 0);
    assert_true(slice_eq(list.items[1].record.facts, slice_str("facts")));
    assert_ptr_equal(log_lineages_find(&list, list.items[2].record.id), &list.items[2]);
    assert_null(log_lineages_find(&list, (const uint8_t *)"0123456789abcdef"));
    log_lineages_release(&list);
}

/* ---- chains ---- */

/* "from-to/epoch …"; a gap shows as " | ". */
static const char *walk(struct fixture *f, const struct test_branch *b, uint64_t from,
                        bool stretches)
{
    static char text[1000];
    struct log_lineages list = LOG_LINEAGES_INIT;
    struct log_chain *chain = NULL;
    struct log_entry e;
    size_t used = 0;
    uint64_t end = 0;
    text[0] = '\0';
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    const struct log_lineage *l = log_lineages_find(&list, b->record.id);
    int r = log_chain_open(f->scratch, f->st, &f->scope, l, from, &chain, &f->err);
    while (r >= 0 && (r = stretches ? log_chain_next_stretch(chain, &e, &f->err)
                                    : log_chain_next(chain, &e, &f->err)) > 0) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%llu-%llu/%u",
                                 used == 0       ? ""
                                 : e.from == end ? " "
                                                 : " | ",
                                 (unsigned long long)e.from, (unsigned long long)e.to, e.counter);
        end = e.to;
    }
    if (r < 0)
        (void)snprintf(text, sizeof(text), "error %d", r);
    log_chain_free(chain);
    log_lineages_release(&list);
    return text;
}

static void test_fences(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1"}};
    put_lineage(f, &b);
    assert_string_equal(walk(f, &b, 0, false), "");
    put_writer(f, &b, 1, 0);
    put_chunk(f, &b, 0, 100, 1, NULL);
    put_chunk(f, &b, 100, 200, 1, NULL);
    put_chunk(f, &b, 200, 300, 1, NULL); /* stored late by a writer that was gone */
    put_chunk(f, &b, 300, 400, 1, NULL);
    assert_string_equal(walk(f, &b, 0, false), "0-100/1 100-200/1 200-300/1 300-400/1");
    put_writer(f, &b, 2, 200);
    assert_string_equal(walk(f, &b, 0, false), "0-100/1 100-200/1");
    put_chunk(f, &b, 200, 350, 2, NULL);
    put_chunk(f, &b, 350, 360, 2, NULL);
    assert_string_equal(walk(f, &b, 0, false), "0-100/1 100-200/1 200-350/2 350-360/2");
    /* the highest epoch's fence holds for all below */
    put_writer(f, &b, 4, 360);
    put_writer(f, &b, 3, 380);
    put_chunk(f, &b, 360, 370, 2, NULL);
    put_chunk(f, &b, 360, 371, 3, NULL);
    assert_string_equal(walk(f, &b, 0, false), "0-100/1 100-200/1 200-350/2 350-360/2");
    put_chunk(f, &b, 360, 372, 4, NULL);
    assert_string_equal(walk(f, &b, 0, false), "0-100/1 100-200/1 200-350/2 350-360/2 360-372/4");
    /* of one place the higher epoch, and nothing that begins inside what counts */
    put_chunk(f, &b, 372, 400, 4, NULL);
    put_chunk(f, &b, 372, 380, 5, NULL);
    put_chunk(f, &b, 375, 390, 5, NULL);
    put_chunk(f, &b, 380, 390, 5, NULL);
    assert_string_equal(walk(f, &b, 360, false), "360-372/4 372-380/5 380-390/5");
    branch_done(&b);
}

static void test_gaps_and_damage(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1"}};
    put_lineage(f, &b);
    for (uint64_t at = 0; at < 600; at += 100)
        put_chunk(f, &b, at, at + 100, 1, NULL);
    remove_chunk(f, &b, 100, 1);
    damage_chunk(f, &b, 300, 1);
    assert_string_equal(walk(f, &b, 0, false), "0-100/1 | 200-300/1 | 400-500/1 500-600/1");
    put_chunk(f, &b, 300, 400, 0, NULL); /* an older one of the same bytes will do */
    assert_string_equal(walk(f, &b, 0, false), "0-100/1 | 200-300/1 300-400/0 400-500/1 500-600/1");
    /* from inside, from a boundary, from inside a gap, behind the end */
    assert_string_equal(walk(f, &b, 450, false), "400-500/1 500-600/1");
    assert_string_equal(walk(f, &b, 499, false), "400-500/1 500-600/1");
    assert_string_equal(walk(f, &b, 500, false), "500-600/1");
    assert_string_equal(walk(f, &b, 150, false), "200-300/1 300-400/0 400-500/1 500-600/1");
    assert_string_equal(walk(f, &b, 599, false), "500-600/1");
    assert_string_equal(walk(f, &b, 600, false), "");
    put_truncation(f, &b, 0, 400, 0);
    assert_string_equal(walk(f, &b, 0, false), "400-500/1 500-600/1");
    struct ram_faults faults = {.fail_op[RAM_READ] = 4, .fail_code = TM_E_UNAVAILABLE};
    ram_set_faults(f->st, &faults);
    assert_string_equal(walk(f, &b, 0, false), "error -6");
    branch_done(&b);
}

static uint32_t roll(struct fixture *f, const struct test_branch *b, uint32_t counter,
                     uint32_t at_least)
{
    struct log_lineages list = LOG_LINEAGES_INIT;
    uint32_t rolled = 77;
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    const struct log_lineage *l = log_lineages_find(&list, b->record.id);
    assert_int_equal(log_index_roll(f->scratch, f->st, &f->scope, l, (struct epoch){1, counter},
                                    nonce, at_least, &rolled, &f->err),
                     0);
    log_lineages_release(&list);
    return rolled;
}

static void test_roll_ups(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1"}};
    put_lineage(f, &b);
    put_writer(f, &b, 1, 0);
    for (uint64_t at = 0; at < 220; at += 10)
        put_chunk(f, &b, at, at + 10, 1, &(struct extra){.mark_us = (int64_t)at + 1});
    assert_int_equal(roll(f, &b, 1, 0), 0);  /* not worth it */
    assert_int_equal(roll(f, &b, 1, 20), 6); /* 16 are left alone */
    assert_string_equal(walk(f, &b, 205, true), "200-210/1 210-220/1");
    assert_string_equal(walk(f, &b, 50, true),
                        "0-60/1 60-70/1 70-80/1 80-90/1 90-100/1 100-110/1 110-120/1 120-130/1 "
                        "130-140/1 140-150/1 150-160/1 160-170/1 170-180/1 180-190/1 190-200/1 "
                        "200-210/1 210-220/1");
    branch_done(&b);
}

static void test_roll_up_counts(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1"}};
    put_lineage(f, &b);
    put_writer(f, &b, 1, 0);
    for (uint64_t at = 0; at < 200; at += 10) {
        if (at != 40)
            put_chunk(f, &b, at, at + 10, 1, NULL);
    }
    /* before the gap all are rolled up, behind it none yet; a second time nothing is left to do */
    assert_int_equal(roll(f, &b, 1, 100), 4);
    assert_int_equal(roll(f, &b, 1, 100), 0);
    assert_string_equal(walk(f, &b, 0, false) + 0,
                        "0-10/1 10-20/1 20-30/1 30-40/1 | 50-60/1 60-70/1 70-80/1 80-90/1 90-100/1 "
                        "100-110/1 110-120/1 120-130/1 130-140/1 140-150/1 150-160/1 160-170/1 "
                        "170-180/1 180-190/1 190-200/1");
    assert_memory_equal(walk(f, &b, 0, true), "0-40/1 | 50-60/1", 16);
    /* chunks that a roll-up tells of are not opened */
    for (uint64_t at = 0; at < 40; at += 10)
        damage_chunk(f, &b, at, 1);
    assert_memory_equal(walk(f, &b, 0, false), "0-10/1 10-20/1 20-30/1 30-40/1 | 50-60/1", 40);
    assert_memory_equal(walk(f, &b, 15, false), "10-20/1 20-30/1 30-40/1 | 50-60/1", 33);
    assert_memory_equal(walk(f, &b, 15, true), "0-40/1 | 50-60/1", 16);
    assert_memory_equal(walk(f, &b, 40, true), "50-60/1", 7);
    /* a damaged roll-up is given up */
    size_t len = 0;
    struct rel_name rel = names_rel_log_index(b.record.id, 0, (struct epoch){1, 1});
    uint8_t *bytes = ram_bytes(f->st, names_full(&f->scope, rel.s).s, &len);
    bytes[130] ^= 1; /* a frame: its root still stands, its entries do not */
    assert_memory_equal(walk(f, &b, 0, false), "50-60/1", 7);
    bytes[len - 70] ^= 1;
    assert_memory_equal(walk(f, &b, 0, true), "50-60/1", 7);
    branch_done(&b);
}

/* A writer that begins before what an older one rolled up. */
static void test_fenced_roll_up(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1"}};
    put_lineage(f, &b);
    put_writer(f, &b, 1, 0);
    for (uint64_t at = 0; at < 60; at += 10)
        put_chunk(f, &b, at, at + 10, 1, NULL);
    put_chunk(f, &b, 70, 80, 1, NULL);
    assert_int_equal(roll(f, &b, 1, 100), 6);
    put_writer(f, &b, 2, 30);
    put_chunk(f, &b, 30, 50, 2, NULL);
    put_chunk(f, &b, 50, 75, 2, NULL);
    assert_string_equal(walk(f, &b, 0, false), "0-10/1 10-20/1 20-30/1 30-50/2 50-75/2");
    assert_string_equal(walk(f, &b, 0, true), "0-10/1 10-20/1 20-30/1 30-50/2 50-75/2");
    branch_done(&b);
}

/* ---- marks and heads ---- */

static void test_marks(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a"}};
    struct log_mark mark;
    bool found = true;
    put_lineage(f, &b);
    assert_int_equal(
        log_marks_newest(f->scratch[0], f->st, &f->scope, b.record.id, 100, &mark, &found, &f->err),
        0);
    assert_false(found);
    put_mark(f, &b, 50, 1, 0, 5);
    put_mark(f, &b, 50, 1, 1, 6);
    put_mark(f, &b, 120, 1, 2, 9);
    assert_int_equal(
        log_marks_newest(f->scratch[0], f->st, &f->scope, b.record.id, 100, &mark, &found, &f->err),
        0);
    assert_true(found);
    assert_int_equal(mark.time_us, 6);
    assert_int_equal(
        log_marks_newest(f->scratch[0], f->st, &f->scope, b.record.id, 120, &mark, &found, &f->err),
        0);
    assert_int_equal(mark.time_us, 9);
    /* one that was replaced between the list and its turn is looked for again */
    struct ram_faults faults = {.fail_op[RAM_STAT] = 1, .fail_code = TM_E_NOT_FOUND};
    ram_set_faults(f->st, &faults);
    assert_int_equal(
        log_marks_newest(f->scratch[0], f->st, &f->scope, b.record.id, 120, &mark, &found, &f->err),
        0);
    assert_true(found);
    assert_int_equal(mark.time_us, 9);
    assert_int_equal(ram_op_count(f->st, RAM_LIST), 3); /* writers, marks, marks again */
    put_writer(f, &b, 2, 60); /* what an older one marked behind its start is another log's */
    assert_int_equal(
        log_marks_newest(f->scratch[0], f->st, &f->scope, b.record.id, 120, &mark, &found, &f->err),
        0);
    assert_int_equal(mark.time_us, 6);
}

static struct log_head head(struct fixture *f, const struct test_branch *b)
{
    struct log_lineages list = LOG_LINEAGES_INIT;
    struct log_head h;
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(log_head_read(f->scratch, f->st, &f->scope,
                                   log_lineages_find(&list, b->record.id), &h, &f->err),
                     0);
    log_lineages_release(&list);
    return h;
}

static void test_head(void **state)
{
    struct fixture *f = *state;
    struct test_branch b = {.record = {.id = "a", .label = "1", .from = SEG}};
    put_lineage(f, &b);
    struct log_head h = head(f, &b);
    assert_int_equal(h.from, SEG);
    assert_int_equal(h.to, SEG);
    assert_int_equal(h.boundary, 0);
    assert_int_equal(h.mark_us, 0);
    assert_int_equal(h.last_record, 0);
    put_writer(f, &b, 3, SEG);
    put_chunk(f, &b, SEG, SEG + 100, 3, &(struct extra){.mark_us = 7});
    h = head(f, &b);
    assert_int_equal(h.to, SEG + 100);
    assert_int_equal(h.epoch.counter, 3);
    assert_int_equal(h.mark_us, 7);
    assert_int_equal(h.chunks, 1);
    assert_int_equal(h.boundary, 0);
    assert_int_equal(h.digest_bytes, SEG);
    put_chunk(f, &b, SEG + 100, 3 * SEG + 5, 3, NULL);
    struct sha256 d;
    uint8_t at_boundary[32];
    memcpy(at_boundary, b.digest.at_boundary, 32);
    h = head(f, &b);
    assert_int_equal(h.boundary, 3 * SEG);
    assert_memory_equal(h.at_boundary, at_boundary, 32);
    uint8_t bytes[32 + SEG] = {0};
    for (uint64_t i = 0; i < SEG; i++)
        bytes[32 + i] = log_byte(&b, SEG + i);
    assert_int_equal(sha256_of(bytes, sizeof(bytes), &d, &f->err), 0);
    memcpy(bytes, d.bytes, 32);
    for (uint64_t i = 0; i < SEG; i++)
        bytes[32 + i] = log_byte(&b, 2 * SEG + i);
    assert_int_equal(sha256_of(bytes, sizeof(bytes), &d, &f->err), 0);
    assert_memory_equal(h.at_boundary, d.bytes, 32);
    /* the newest chunks hold no boundary: it is looked for further back */
    for (uint64_t i = 0; i < 30; i++)
        put_chunk(f, &b, 3 * SEG + 5 + i, 3 * SEG + 6 + i, 3, NULL);
    h = head(f, &b);
    assert_int_equal(h.to, 3 * SEG + 35);
    assert_int_equal(h.boundary, 3 * SEG);
    assert_memory_equal(h.at_boundary, d.bytes, 32);
    assert_int_equal(h.chunks, 32);
    assert_int_equal(roll(f, &b, 3, 20), 16);
    put_mark(f, &b, 3 * SEG + 35, 3, 0, 99);
    put_mark(f, &b, 3 * SEG + 36, 3, 0, 100);
    h = head(f, &b);
    assert_int_equal(h.chunks, 16);
    assert_int_equal(h.last_record, ((3 * SEG + 35) / RECORD - 1) * RECORD);
    assert_int_equal(h.mark_us, 99);
    assert_int_equal(h.from, SEG);
    /* behind a gap the run is a new one */
    put_chunk(f, &b, 5 * SEG, 5 * SEG + 10, 3, NULL);
    h = head(f, &b);
    assert_int_equal(h.from, 5 * SEG);
    assert_int_equal(h.to, 5 * SEG + 10);
    assert_int_equal(h.boundary, 0);
    branch_done(&b);
}

/* ---- events ---- */

struct found {
    char text[1000];
    size_t used;
};

static int find(void *arg, const struct lineage *lineage, const struct log_point *point,
                struct tm_err *err)
{
    struct found *found = arg;
    (void)err;
    found->used +=
        (size_t)snprintf(found->text + found->used, sizeof(found->text) - found->used, " %s%llu",
                         (const char *)lineage->id, (unsigned long long)point->at);
    return 0;
}

static const char *search(struct fixture *f, const struct log_search *search)
{
    static struct found found;
    found = (struct found){.used = 0};
    int r = log_search_run(f->scratch, f->st, &f->scope, search, find, &found, &f->err);
    assert_in_range(r, 0, 1);
    if (r > 0)
        (void)snprintf(found.text + found.used, sizeof(found.text) - found.used, " …");
    return found.text;
}

/* Asked before each chunk that is opened. */
static int go_on(void *arg, struct tm_err *err)
{
    unsigned *left = arg;
    return (*left)-- > 0 ? 0 : tm_err_set(err, TM_E_TIMEOUT, "too long");
}

static void test_search(void **state)
{
    struct fixture *f = *state;
    struct test_branch p = {.record = {.id = "p", .label = "1", .created_us = 1}};
    struct test_branch c = {
        .record = {.id = "c", .label = "2", .created_us = 2, .fork = 1200, .from = SEG}};
    const int64_t day = 86400 * SECOND;
    const struct log_point events[] = {
        {.kind = EVENT_COMMIT, .at = 32, .end = 48, .time_us = 10 * day, .xid = 7},
        {.kind = EVENT_ABORT, .at = 48, .end = 64, .time_us = 10 * day + 5, .xid = 8},
        {.kind = EVENT_POINT, .at = 64, .end = 80, .time_us = 10 * day + 9, .name = "n"},
    };
    const struct log_point child[] = {
        {.kind = EVENT_COMMIT, .at = 1184, .end = 1200, .time_us = 20 * day, .xid = 9},
        {.kind = EVENT_COMMIT, .at = 1216, .end = 1232, .time_us = 21 * day, .xid = 10},
    };
    c.parent = &p;
    put_lineage(f, &p);
    put_lineage(f, &c);
    put_chunk(f, &p, 0, 1184, 1, &(struct extra){.events = events, .count = 3});
    put_chunk(f, &p, 1184, 1200, 1, &(struct extra){.events = child, .count = 1});
    put_chunk(f, &c, SEG, 1300, 2, &(struct extra){.events = child, .count = 2});
    assert_string_equal(search(f, &(struct log_search){0}), " p32 p48 p64 p1184 c1216");
    assert_string_equal(search(f, &(struct log_search){.limit = 2}), " p32 p48 …");
    assert_string_equal(search(f, &(struct log_search){.limit = 5}), " p32 p48 p64 p1184 c1216");
    assert_string_equal(search(f, &(struct log_search){.xid = 8}), " p48");
    unsigned left = 1000;
    assert_string_equal(search(f, &(struct log_search){.go_on = go_on, .go_on_arg = &left}),
                        " p32 p48 p64 p1184 c1216");
    unsigned opened = 1000 - left;
    assert_true(opened > 1);
    for (left = 0; left < opened;) {
        unsigned before = left;
        struct log_search wish = {.go_on = go_on, .go_on_arg = &left};
        int r = log_search_run(f->scratch, f->st, &f->scope, &wish, find, &(struct found){{0}},
                               &f->err);
        assert_int_equal(r, -TM_E_TIMEOUT);
        left = before + 1;
    }
    assert_string_equal(search(f, &(struct log_search){.name = "n"}), " p64");
    assert_string_equal(search(f, &(struct log_search){.points_only = true}), " p64");
    assert_string_equal(search(f, &(struct log_search){.from_us = 10 * day + 5}),
                        " p48 p64 p1184 c1216");
    assert_string_equal(search(f, &(struct log_search){.to_us = 10 * day + 5}), " p32 p48");
    /* a chunk that cannot matter is not opened; one that can and is damaged is named */
    damage_chunk(f, &c, SEG, 2);
    assert_string_equal(search(f, &(struct log_search){.to_us = 10 * day + 5}), " p32 p48");
    branch_done(&p);
    branch_done(&c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_lineages), T(test_fences),         T(test_gaps_and_damage),
        T(test_roll_ups), T(test_roll_up_counts), T(test_fenced_roll_up),
        T(test_marks),    T(test_head),           T(test_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
