/*
 * The promises of storage.h that show only with big objects, many names and many threads. Sizes
 * stand around 8 MiB, where the drivers of object stores begin to upload in parts.
 */
#include "tests/lib/storage_contract.h"

#include <pthread.h>
#include <stdio.h>

#include "tests/lib/storage_pattern.h"

#define MIB   ((size_t)1 << 20)
#define PART  (8 * MIB)
#define MANY  2500
#define HANDS 8

static void assert_pattern(struct store_fixture *f, const char *name, uint64_t seed, size_t size)
{
    struct storage_object object;
    uint8_t byte;
    assert_done(f, storage_stat(f->st, name, &object, &f->err));
    assert_int_equal(object.size_bytes, size);
    for (size_t at = 0; at < size; at += 3 * MIB)
        assert_done(f, pattern_differs(f->st, name, seed, at,
                                       size - at < 3 * MIB ? size - at : 3 * MIB, &f->err));
    for (size_t edge = PART; edge < size; edge += PART) /* over the seams of parts */
        assert_done(f,
                    pattern_differs(f->st, name, seed, edge - 1, size - edge > 2 ? 3 : 2, &f->err));
    if (size > 0)
        assert_done(f, pattern_differs(f->st, name, seed, size - 1, 1, &f->err));
    assert_refused(f, TM_E_CORRUPT, storage_read(f->st, name, size, &byte, 1, &f->err));
    assert_non_null(strstr(f->err.msg, "is shorter than expected"));
}

static const size_t sizes[] = {0, 1, PART - 1, PART, PART + 1, 30 * MIB};

static void test_sizes(void **state)
{
    struct store_fixture *f = *state;
    for (size_t i = 0; i < TM_ARRAY_LEN(sizes); i++) {
        for (int seals = 0; seals < 2; seals++) {
            char name[32];
            (void)snprintf(name, sizeof(name), "sizes/%zu-%d", i, seals);
            assert_done(f, pattern_put(f->st, name, i, sizes[i], seals == 1, &f->err));
            assert_pattern(f, name, i, sizes[i]);
        }
    }
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    assert_done(f, storage_list(f->st, "sizes/", NULL, &it, &f->err));
    for (size_t i = 0; i < 2 * TM_ARRAY_LEN(sizes); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "sizes/%zu-%zu", i / 2, i % 2);
        assert_int_equal(storage_iter_next(it, &object, &f->err), 1);
        assert_string_equal(object.name, name);
        assert_int_equal(object.size_bytes, sizes[i / 2]);
    }
    assert_int_equal(storage_iter_next(it, &object, &f->err), 0);
}

/* What was uploaded in parts does not replace either, nor does what was not replace it. */
static void test_parts_never_replace(void **state)
{
    struct store_fixture *f = *state;
    assert_done(f, pattern_put(f->st, "small", 1, 100, false, &f->err));
    assert_done(f, pattern_put(f->st, "big", 2, PART + 1, false, &f->err));
    for (int seals = 0; seals < 2; seals++) {
        assert_refused(f, TM_E_EXISTS,
                       pattern_put(f->st, "small", 3, PART + 1, seals == 1, &f->err));
        assert_refused(f, TM_E_EXISTS, pattern_put(f->st, "big", 4, PART + 1, seals == 1, &f->err));
        assert_refused(f, TM_E_EXISTS, pattern_put(f->st, "big", 5, 100, seals == 1, &f->err));
    }
    assert_pattern(f, "small", 1, 100);
    assert_pattern(f, "big", 2, PART + 1);
}

/* Given up after three parts, sealed or not: nothing is seen, then or later. */
static void test_given_up(void **state)
{
    struct store_fixture *f = *state;
    uint64_t count = 7;
    for (int seals = 0; seals < 2; seals++) {
        struct storage_writer *w = NULL;
        assert_done(f, storage_create(f->st, "up/x", &w, &f->err));
        assert_done(f, pattern_write(w, 1, 20 * MIB, &f->err));
        if (seals)
            assert_done(f, storage_writer_seal(w, &f->err));
        assert_string_equal(store_listed(f, "", NULL), "");
        storage_writer_free(w);
        assert_string_equal(store_listed(f, "", NULL), "");
    }
    assert_done(f, storage_sweep_leftovers(f->st, "", INT64_MAX, &count, &f->err));
    assert_done(f, storage_sweep_leftovers(f->st, "", INT64_MAX, &count, &f->err));
    assert_int_equal(count, 0);
    assert_done(f, pattern_put(f->st, "up/x", 2, PART + 1, false, &f->err));
    assert_pattern(f, "up/x", 2, PART + 1);
}

/* An upload whose writer does not go on, as when its process died: it can be swept once it is old
 * enough, below its prefix only, and cannot be committed then. */
static void test_leftovers(void **state)
{
    struct store_fixture *f = *state;
    TM_CLEANUP(storage_writer_freep) struct storage_writer *w = NULL;
    TM_CLEANUP(storage_writer_freep) struct storage_writer *other = NULL;
    uint64_t count = 7;
    int64_t now_us = 0;
    if (f->contract->no_leftovers)
        skip();
    assert_done(f, pattern_put(f->st, "d/kept", 3, 10, false, &f->err));
    assert_done(f, storage_create(f->st, "d/e/x", &w, &f->err));
    assert_done(f, pattern_write(w, 1, 20 * MIB, &f->err));
    assert_done(f, storage_writer_seal(w, &f->err));
    assert_done(f, storage_create(f->st, "other/y", &other, &f->err));
    assert_done(f, pattern_write(other, 2, 20 * MIB, &f->err));
    assert_done(f, storage_now(f->st, &now_us, &f->err));
    int64_t hour_ago_us = now_us - 3600 * INT64_C(1000000);
    assert_done(f, storage_sweep_leftovers(f->st, "", hour_ago_us, &count, &f->err));
    assert_int_equal(count, 0);
    assert_done(f, storage_sweep_leftovers(f->st, "d/", INT64_MAX, &count, &f->err));
    assert_int_equal(count, 1);
    assert_true(storage_writer_commit(w, &f->err) < 0);
    assert_string_equal(store_listed(f, "", NULL), "d/kept");
    assert_done(f, storage_writer_commit(other, &f->err));
    assert_pattern(f, "other/y", 2, 20 * MIB);
    assert_done(f, storage_sweep_leftovers(f->st, "", INT64_MAX, &count, &f->err));
    assert_int_equal(count, 0);
    assert_string_equal(store_listed(f, "", NULL), "d/kept other/y");
}

/* ---- many hands ---- */

struct hand {
    pthread_t thread;
    struct storage *st;
    unsigned number;
    int result;
    char why[600];
};

/* Every hand does `work`; the test fails with the words of the first that failed. */
static void all_hands(struct store_fixture *f, void *(*work)(void *))
{
    struct hand hands[HANDS];
    for (unsigned i = 0; i < HANDS; i++) {
        hands[i] = (struct hand){.st = f->st, .number = i};
        assert_int_equal(pthread_create(&hands[i].thread, NULL, work, &hands[i]), 0);
    }
    for (unsigned i = 0; i < HANDS; i++)
        assert_int_equal(pthread_join(hands[i].thread, NULL), 0);
    for (unsigned i = 0; i < HANDS; i++)
        if (hands[i].result != 0)
            fail_msg("hand %u: %s", i, hands[i].why);
}

static void hand_note(struct hand *hand, int result, const char *what, const struct tm_err *err)
{
    if (result == 0 || hand->result != 0)
        return;
    hand->result = result;
    (void)snprintf(hand->why, sizeof(hand->why), "%s: %s", what,
                   result < 0 ? err->msg : "not what was expected");
}

static void many_name(unsigned number, char *name, size_t size)
{
    (void)snprintf(name, size, "many/%02u/%04u", number / 100, number);
}

static void *put_many(void *arg)
{
    struct hand *hand = arg;
    struct tm_err err;
    char name[32];
    for (unsigned n = hand->number; n < MANY && hand->result == 0; n += HANDS) {
        many_name(n, name, sizeof(name));
        hand_note(hand, storage_put(hand->st, name, slice_str(name), &err), name, &err);
    }
    return NULL;
}

/* Names from `first` to before `end` come out of the iterator. */
static void assert_run(struct store_fixture *f, struct storage_iter *it, unsigned first,
                       unsigned end)
{
    struct storage_object object;
    char name[32];
    for (unsigned n = first; n < end; n++) {
        many_name(n, name, sizeof(name));
        int r = storage_iter_next(it, &object, &f->err);
        if (r != 1)
            fail_msg("%d instead of '%s': %s", r, name, r < 0 ? f->err.msg : "the end");
        assert_string_equal(object.name, name);
        assert_int_equal(object.size_bytes, strlen(name));
    }
}

static void assert_listed_run(struct store_fixture *f, const char *prefix, const char *start_after,
                              unsigned first, unsigned end)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    assert_done(f, storage_list(f->st, prefix, start_after, &it, &f->err));
    assert_run(f, it, first, end);
    assert_int_equal(storage_iter_next(it, &object, &f->err), 0);
}

static void test_many_names(void **state)
{
    struct store_fixture *f = *state;
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    static char text[MANY][32];
    static const char *names[MANY];
    store_put(f, "mana", "before all of them");
    store_put(f, "many0", "behind all of them");
    all_hands(f, put_many);
    assert_listed_run(f, "many/", NULL, 0, MANY);
    assert_listed_run(f, "many/", "many/09/0999", 1000, MANY);
    assert_listed_run(f, "many/", "many/09/0998z", 999, MANY);
    assert_listed_run(f, "many/", "many/24/2499", MANY, MANY);
    assert_listed_run(f, "many/1", NULL, 1000, 2000);
    assert_listed_run(f, "many/13/", NULL, 1300, 1400);
    assert_listed_run(f, "many/13/137", "many/13/1375", 1376, 1380);
    assert_done(f, storage_list(f->st, "many/", NULL, &it, &f->err));
    assert_run(f, it, 0, 10);
    assert_done(f, storage_iter_skip(it, "many/00/0020", &f->err)); /* inside a page */
    assert_run(f, it, 21, 30);
    assert_done(f, storage_iter_skip(it, "many/210", &f->err)); /* over pages */
    assert_run(f, it, 2200, 2210);
    assert_done(f, storage_iter_skip(it, "many/00/0000", &f->err)); /* never back */
    assert_run(f, it, 2210, MANY);
    for (unsigned n = 0; n < MANY; n++) {
        many_name(n, text[n], sizeof(text[n]));
        names[n] = text[n];
    }
    assert_done(f, storage_remove(f->st, names, 1, &f->err));
    assert_done(f, storage_remove(f->st, names, MANY, &f->err));
    assert_string_equal(store_listed(f, "", NULL), "mana many0");
}

static void *live(void *arg)
{
    static const size_t life_sizes[] = {0, 5000, 9 * MIB, 1, 17 * MIB, 200000};
    struct hand *hand = arg;
    struct tm_err err;
    char name[32];
    for (unsigned n = 0; n < TM_ARRAY_LEN(life_sizes); n++) {
        uint64_t seed = hand->number * 100 + n;
        size_t size = life_sizes[n];
        const char *names[] = {name};
        struct storage_object object;
        (void)snprintf(name, sizeof(name), "hand/%u/%u", hand->number, n);
        hand_note(hand, pattern_put(hand->st, name, seed, size, n % 2 == 0, &err), "put", &err);
        hand_note(hand, storage_stat(hand->st, name, &object, &err), "stat", &err);
        hand_note(hand, hand->result == 0 && object.size_bytes != size, "size", &err);
        size_t len = size < MIB ? size : MIB;
        if (len > 0)
            hand_note(hand, pattern_differs(hand->st, name, seed, size - len, len, &err), "read",
                      &err);
        if (n % 2 == 1)
            hand_note(hand, storage_remove(hand->st, names, 1, &err), "remove", &err);
    }
    return NULL;
}

static void test_many_hands(void **state)
{
    struct store_fixture *f = *state;
    all_hands(f, live);
    for (unsigned i = 0; i < HANDS; i++) {
        char prefix[32];
        char want[64];
        (void)snprintf(prefix, sizeof(prefix), "hand/%u/", i);
        (void)snprintf(want, sizeof(want), "hand/%u/0 hand/%u/2 hand/%u/4", i, i, i);
        assert_string_equal(store_listed(f, prefix, NULL), want);
        (void)snprintf(prefix, sizeof(prefix), "hand/%u/4", i);
        assert_pattern(f, prefix, i * 100 + 4, 17 * MIB);
    }
}

size_t storage_contract_load_tests(struct CMUnitTest *tests)
{
    static const struct CMUnitTest mine[] = {
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_parts_never_replace),
        cmocka_unit_test(test_given_up),   cmocka_unit_test(test_leftovers),
        cmocka_unit_test(test_many_names), cmocka_unit_test(test_many_hands),
    };
    _Static_assert(TM_ARRAY_LEN(mine) <= LOAD_TESTS_MAX, "room for the tests");
    memcpy(tests, mine, sizeof(mine));
    return TM_ARRAY_LEN(mine);
}
