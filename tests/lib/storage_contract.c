/*
 * The promises of storage.h one by one, on small objects. Each test begins with an empty store of
 * its own; an assertion that fails shows the driver's own words.
 */
#include "tests/lib/storage_contract.h"

#include <pthread.h>
#include <stdio.h>

#include "common/storage/ram.h"

/* ---- a store for each test ---- */

/* The URL with "-number" behind its path. */
static void numbered_url(const char *url, unsigned number, char *ret, size_t size)
{
    size_t path_len = strcspn(url, "?");
    int len = snprintf(ret, size, "%.*s-%u%s", (int)path_len, url, number, url + path_len);
    assert_true(len > 0 && (size_t)len < size);
}

static int setup(void **state)
{
    static unsigned number;
    struct store_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->contract = *state;
    numbered_url(f->contract->url, ++number, f->url, sizeof(f->url));
    f->directories = strncmp(f->url, "file:", 5) == 0;
    struct storage_options options = {.create_root = true, .secret = f->contract->secret};
    assert_done(f, storage_open(f->url, &options, &f->st, &f->err));
    *state = f;
    return 0;
}

static void remove_all(struct store_fixture *f)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    const char *name = object.name;
    assert_done(f, storage_list(f->st, "", NULL, &it, &f->err));
    int r;
    while ((r = storage_iter_next(it, &object, &f->err)) > 0)
        assert_done(f, storage_remove(f->st, &name, 1, &f->err));
    assert_int_equal(r, 0);
}

static int teardown(void **state)
{
    struct store_fixture *f = *state;
    remove_all(f);
    storage_free(f->st);
    ram_process_registry_free();
    free(f);
    return 0;
}

void store_put(struct store_fixture *f, const char *name, const char *text)
{
    assert_done(f, storage_put(f->st, name, slice_str(text), &f->err));
}

void store_assert_holds(struct store_fixture *f, const char *name, const char *text)
{
    TM_CLEANUP(buf_release) struct buf got = BUF_INIT;
    assert_done(f, storage_get(f->st, name, 1000, &got, &f->err));
    assert_true(slice_eq(buf_slice(&got), slice_str(text)));
}

const char *store_listed(struct store_fixture *f, const char *prefix, const char *start_after)
{
    static char text[4096];
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    size_t used = 0;
    text[0] = '\0';
    assert_done(f, storage_list(f->st, prefix, start_after, &it, &f->err));
    int r;
    while ((r = storage_iter_next(it, &object, &f->err)) > 0) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used > 0 ? " " : "",
                                 object.name);
        assert_true(used < sizeof(text));
    }
    if (r < 0)
        fail_msg("cannot list '%s': %s", prefix, f->err.msg);
    return text;
}

/* ---- the promises ---- */

static void test_put_get(void **state)
{
    struct store_fixture *f = *state;
    struct storage_object object;
    uint8_t bytes[8];
    store_put(f, "a/b/c", "hello world");
    store_put(f, "top", "");
    store_assert_holds(f, "a/b/c", "hello world");
    store_assert_holds(f, "top", "");
    assert_done(f, storage_stat(f->st, "a/b/c", &object, &f->err));
    assert_string_equal(object.name, "a/b/c");
    assert_int_equal(object.size_bytes, 11);
    assert_done(f, storage_read(f->st, "a/b/c", 6, bytes, 5, &f->err));
    assert_memory_equal(bytes, "world", 5);
    assert_refused(f, TM_E_CORRUPT, storage_read(f->st, "a/b/c", 6, bytes, 6, &f->err));
    assert_non_null(strstr(f->err.msg, "a/b/c' is shorter than expected: wanted 6 bytes at 6"));
    assert_refused(f, TM_E_CORRUPT,
                   storage_read(f->st, "a/b/c", UINT64_MAX - 2, bytes, 6, &f->err));
}

/* Reads under way at once, waited for in another order, or not at all. */
static void test_fetch(void **state)
{
    struct store_fixture *f = *state;
    if (!storage_can_fetch(f->st))
        return;
    store_put(f, "a/b/c", "hello world");
    struct storage_fetch *fetches[4];
    uint8_t bytes[TM_ARRAY_LEN(fetches)][5];
    uint64_t size_bytes = 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(fetches); n++)
        assert_done(f, storage_fetch(f->st, "a/b/c", n, bytes[n], 5, &fetches[n], &f->err));
    assert_done(f, storage_fetch_wait(fetches[3], &size_bytes, &f->err));
    assert_memory_equal(bytes[3], "lo wo", 5);
    assert_int_equal(size_bytes, 11);
    assert_done(f, storage_fetch_wait(fetches[1], &size_bytes, &f->err));
    assert_memory_equal(bytes[1], "ello ", 5);
    for (size_t n = 0; n < TM_ARRAY_LEN(fetches); n++)
        storage_fetch_free(fetches[n]);
    assert_done(f, storage_fetch(f->st, "a/b/c", 7, bytes[0], 5, &fetches[0], &f->err));
    assert_refused(f, TM_E_CORRUPT, storage_fetch_wait(fetches[0], &size_bytes, &f->err));
    assert_non_null(strstr(f->err.msg, "a/b/c' is shorter than expected: wanted 5 bytes at 7"));
    storage_fetch_free(fetches[0]);
    assert_done(f, storage_fetch(f->st, "none", 0, bytes[0], 5, &fetches[0], &f->err));
    assert_refused(f, TM_E_NOT_FOUND, storage_fetch_wait(fetches[0], &size_bytes, &f->err));
    storage_fetch_free(fetches[0]);
}

static void test_absent(void **state)
{
    struct store_fixture *f = *state;
    struct storage_object object;
    uint8_t byte;
    store_put(f, "a/b", "x");
    const char *names[] = {"none", "a", "a/b/c", "a/c"};
    for (size_t i = 0; i < TM_ARRAY_LEN(names); i++) {
        assert_refused(f, TM_E_NOT_FOUND, storage_stat(f->st, names[i], &object, &f->err));
        assert_int_equal(storage_read(f->st, names[i], 0, &byte, 1, &f->err) == 0, 0);
        assert_int_equal(storage_remove(f->st, &names[i], 1, &f->err) < 0 &&
                             f->err.code != TM_E_PERMISSION && f->err.code != TM_E_IO,
                         0);
    }
    store_assert_holds(f, "a/b", "x");
}

static void test_never_replaces(void **state)
{
    struct store_fixture *f = *state;
    store_put(f, "a/b", "first");
    assert_refused(f, TM_E_EXISTS, storage_put(f->st, "a/b", slice_str("second"), &f->err));
    assert_non_null(strstr(f->err.msg, "cannot commit '"));
    assert_non_null(strstr(f->err.msg, "a/b"));
    assert_non_null(strstr(f->err.msg, ": it already exists"));
    assert_false(f->err.retryable);
    store_assert_holds(f, "a/b", "first");
}

static void test_uncommitted_is_invisible(void **state)
{
    struct store_fixture *f = *state;
    struct storage_writer *w = NULL;
    struct storage_object object;
    assert_done(f, storage_create(f->st, "d/x", &w, &f->err));
    assert_done(f, storage_writer_write(w, "abc", 3, &f->err));
    assert_string_equal(store_listed(f, "", NULL), "");
    assert_refused(f, TM_E_NOT_FOUND, storage_stat(f->st, "d/x", &object, &f->err));
    storage_writer_free(w);
    assert_string_equal(store_listed(f, "", NULL), "");
    store_put(f, "d/x", "later");
    store_assert_holds(f, "d/x", "later");
}

static void test_sealed_is_invisible(void **state)
{
    struct store_fixture *f = *state;
    for (int commits = 0; commits < 2; commits++) {
        struct storage_writer *w = NULL;
        assert_done(f, storage_create(f->st, "d/x", &w, &f->err));
        assert_done(f, storage_writer_write(w, "abc", 3, &f->err));
        assert_done(f, storage_writer_seal(w, &f->err));
        assert_string_equal(store_listed(f, "", NULL), "");
        if (commits)
            assert_done(f, storage_writer_commit(w, &f->err));
        storage_writer_free(w);
        assert_string_equal(store_listed(f, "", NULL), commits ? "d/x" : "");
    }
    store_assert_holds(f, "d/x", "abc");
}

static void test_names(void **state)
{
    struct store_fixture *f = *state;
    char name[STORAGE_NAME_MAX + 2];
    const char *bad[] = {"",     "/a",     "a/",   "a//b", ".",   "..",       "a/../b", "a/./b",
                         ".tmp", "a/.x/b", "a\\b", "a b",  "a\n", "\xc3\xa4", "a?b",    "a%41"};
    for (size_t i = 0; i < TM_ARRAY_LEN(bad); i++) {
        char text[128];
        assert_false(storage_name_valid(bad[i]));
        assert_refused(f, TM_E_INVALID, storage_put(f->st, bad[i], slice_str("x"), &f->err));
        /* errors are one line */
        (void)snprintf(text, sizeof(text), "storage name '%s' is not valid",
                       strcmp(bad[i], "a\n") == 0 ? "a?" : bad[i]);
        assert_string_equal(f->err.msg, text);
    }
    assert_true(storage_name_valid("a"));
    assert_true(storage_name_valid("A-Z/0_9/a.b=c+d/x.."));
    memset(name, 'a', sizeof(name));
    name[STORAGE_NAME_MAX] = '\0';
    assert_true(storage_name_valid(name));
    name[STORAGE_NAME_MAX] = 'a';
    name[STORAGE_NAME_MAX + 1] = '\0';
    assert_false(storage_name_valid(name));
}

static void test_list_order(void **state)
{
    struct store_fixture *f = *state;
    /* '+' '-' '.' sort before '/', digits behind it: whole names decide, not directories */
    const char *names[] = {"a/b", "a/b/x", "a+b/c", "a-b", "a.b/c/d",
                           "a0",  "a/b0",  "a/a/a", "b",   "a"};
    for (size_t i = 0; i < TM_ARRAY_LEN(names); i++) {
        if (f->directories && (strcmp(names[i], "a/b") == 0 || strcmp(names[i], "a") == 0))
            continue; /* a directory cannot be a file too */
        store_put(f, names[i], names[i]);
    }
    if (f->directories) {
        assert_string_equal(store_listed(f, "", NULL), "a+b/c a-b a.b/c/d a/a/a a/b/x a/b0 a0 b");
        assert_string_equal(store_listed(f, "a/", NULL), "a/a/a a/b/x a/b0");
    } else {
        assert_string_equal(store_listed(f, "", NULL),
                            "a a+b/c a-b a.b/c/d a/a/a a/b a/b/x a/b0 a0 b");
        assert_string_equal(store_listed(f, "a/", NULL), "a/a/a a/b a/b/x a/b0");
    }
    assert_string_equal(store_listed(f, "a.b", NULL), "a.b/c/d");
    assert_string_equal(store_listed(f, "a.b/c/", NULL), "a.b/c/d");
    assert_string_equal(store_listed(f, "a/b/x", NULL), "a/b/x");
    assert_string_equal(store_listed(f, "z", NULL), "");
    assert_string_equal(store_listed(f, "z/z", NULL), "");
    assert_string_equal(store_listed(f, "", "a/b/x"), "a/b0 a0 b");
    assert_string_equal(store_listed(f, "", "a/b/w"), "a/b/x a/b0 a0 b");
    assert_string_equal(store_listed(f, "a/", "a/a0"),
                        f->directories ? "a/b/x a/b0" : "a/b a/b/x a/b0");
    assert_string_equal(store_listed(f, "", "b"), "");
    assert_string_equal(store_listed(f, "a", "a0"), "");
    struct storage_iter *it = NULL;
    assert_refused(f, TM_E_INVALID, storage_list(f->st, "/a", NULL, &it, &f->err));
    assert_refused(f, TM_E_INVALID, storage_list(f->st, "a//", NULL, &it, &f->err));
    assert_refused(f, TM_E_INVALID, storage_list(f->st, "a/.", NULL, &it, &f->err));
}

static void test_list_skip(void **state)
{
    struct store_fixture *f = *state;
    struct storage_iter *it = NULL;
    struct storage_object object;
    const char *names[] = {"a/x/1", "a/x/2", "a/y/1", "b/1", "c/1"};
    for (size_t i = 0; i < TM_ARRAY_LEN(names); i++)
        store_put(f, names[i], "");
    assert_done(f, storage_list(f->st, "", NULL, &it, &f->err));
    assert_int_equal(storage_iter_next(it, &object, &f->err), 1);
    assert_string_equal(object.name, "a/x/1");
    assert_done(f, storage_iter_skip(it, "a/x0", &f->err));
    assert_int_equal(storage_iter_next(it, &object, &f->err), 1);
    assert_string_equal(object.name, "a/y/1");
    assert_done(f, storage_iter_skip(it, "a", &f->err)); /* never back */
    assert_done(f, storage_iter_skip(it, "b0", &f->err));
    assert_int_equal(storage_iter_next(it, &object, &f->err), 1);
    assert_string_equal(object.name, "c/1");
    assert_int_equal(storage_iter_next(it, &object, &f->err), 0);
    assert_int_equal(storage_iter_next(it, &object, &f->err), 0); /* and again */
    storage_iter_free(it);
}

static void test_remove(void **state)
{
    struct store_fixture *f = *state;
    store_put(f, "a/b/1", "1");
    store_put(f, "a/b/2", "2");
    store_put(f, "a/c", "3");
    const char *names[] = {"a/b/1", "a/b/none", "none/none", "a/b/2"};
    assert_done(f, storage_remove(f->st, names, 4, &f->err));
    assert_string_equal(store_listed(f, "", NULL), "a/c");
    store_put(f, "a/b/1", "again");
    assert_string_equal(store_listed(f, "", NULL), "a/b/1 a/c");
    store_assert_holds(f, "a/b/1", "again");
    assert_done(f, storage_remove(f->st, names, 0, &f->err));
    assert_done(f, storage_discard(f->st, "a/c", &f->err));
    assert_done(f, storage_discard(f->st, "a/c", &f->err));
    assert_string_equal(store_listed(f, "", NULL), "a/b/1");
}

static void test_get_limit(void **state)
{
    struct store_fixture *f = *state;
    TM_CLEANUP(buf_release) struct buf got = BUF_INIT;
    store_put(f, "x", "12345");
    assert_refused(f, TM_E_LIMIT, storage_get(f->st, "x", 4, &got, &f->err));
    assert_string_equal(f->err.msg, "'x' has 5 bytes, more than the 4 expected at most");
    assert_done(f, storage_get(f->st, "x", 5, &got, &f->err));
}

static void test_space_and_clock(void **state)
{
    struct store_fixture *f = *state;
    uint64_t bytes = 0;
    int64_t before = 0;
    int64_t after = 0;
    struct storage_object object;
    assert_done(f, storage_free_space(f->st, &bytes, &f->err));
    assert_true(bytes > 0);
    assert_done(f, storage_now(f->st, &before, &f->err));
    store_put(f, "x", "");
    assert_done(f, storage_stat(f->st, "x", &object, &f->err));
    assert_done(f, storage_now(f->st, &after, &f->err));
    /* an object store tells times of its own in whole seconds */
    struct storage_stats stats;
    storage_stats(f->st, &stats);
    int64_t coarse_us = stats.limit_max > 0 ? 1000000 : 0;
    assert_true(before - coarse_us <= object.modified_us);
    assert_true(object.modified_us <= after + coarse_us);
    assert_string_equal(store_listed(f, "", NULL), "x"); /* asking for the time leaves nothing */
}

struct racer {
    struct storage *st;
    int number;
    int won;
    int lost;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    struct tm_err err;
    for (int i = 0; i < 50; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "race/%d/%d", i % 7, i);
        int r = storage_put(racer->st, name, slice_of(&racer->number, sizeof(int)), &err);
        racer->won += r == 0;
        racer->lost += r == -TM_E_EXISTS;
    }
    return NULL;
}

static void test_race_has_one_winner(void **state)
{
    struct store_fixture *f = *state;
    pthread_t threads[4];
    struct racer racers[4];
    int won = 0;
    for (int i = 0; i < 4; i++) {
        racers[i] = (struct racer){.st = f->st, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(racers[i].won + racers[i].lost, 50);
        won += racers[i].won;
    }
    /* where two may win, each name has a winner still */
    if (f->contract->no_conditional_create)
        assert_in_range(won, 50, 200);
    else
        assert_int_equal(won, 50);
    if ((f->st->features & STORAGE_CONDITIONAL_CREATE) != 0)
        assert_false(f->contract->no_conditional_create);
}

/* Two handles are one store, and see at once what the other has done. */
static void test_handles_share(void **state)
{
    struct store_fixture *f = *state;
    struct storage *first = f->st;
    TM_CLEANUP(storage_freep) struct storage *second = NULL;
    struct storage_options options = {.secret = f->contract->secret};
    assert_done(f, storage_open(f->url, &options, &second, &f->err));
    for (int round = 0; round < 5; round++) {
        char name[32];
        const char *names[] = {name};
        (void)snprintf(name, sizeof(name), "shared/%d", round);
        f->st = first;
        store_put(f, name, "by the first");
        f->st = second;
        store_assert_holds(f, name, "by the first");
        assert_string_equal(store_listed(f, "shared/", NULL), name);
        assert_refused(f, TM_E_EXISTS, storage_put(second, name, slice_str("x"), &f->err));
        assert_done(f, storage_remove(second, names, 1, &f->err));
        f->st = first;
        assert_string_equal(store_listed(f, "", NULL), "");
    }
}

/* A store whose path begins with all of another's is not inside of it. */
static void test_neighbours(void **state)
{
    struct store_fixture *f = *state;
    struct storage *mine = f->st;
    TM_CLEANUP(storage_freep) struct storage *other = NULL;
    struct storage_options options = {.create_root = true, .secret = f->contract->secret};
    char url[STORAGE_URL_MAX];
    const char *name = "x";
    numbered_url(f->url, 1, url, sizeof(url));
    assert_done(f, storage_open(url, &options, &other, &f->err));
    f->st = other;
    store_put(f, name, "the neighbour's");
    f->st = mine;
    assert_string_equal(store_listed(f, "", NULL), "");
    store_put(f, name, "mine");
    assert_string_equal(store_listed(f, "", NULL), "x");
    assert_done(f, storage_remove(mine, &name, 1, &f->err));
    f->st = other;
    store_assert_holds(f, name, "the neighbour's");
    assert_string_equal(store_listed(f, "", NULL), "x");
    assert_done(f, storage_remove(other, &name, 1, &f->err));
    f->st = mine;
}

/* The longest name, and all characters a name may have, come back from the store as they went. */
static void test_every_character(void **state)
{
    struct store_fixture *f = *state;
    static const char odd[] = "A.Z/0+9=a/b_c-d..e/+/=/-x/_";
    char name[STORAGE_NAME_MAX + 1];
    struct storage_object object;
    memset(name, 'n', sizeof(name));
    for (size_t at = 100; at < STORAGE_NAME_MAX; at += 100)
        name[at] = '/';
    name[STORAGE_NAME_MAX] = '\0';
    store_put(f, odd, "odd");
    store_put(f, name, "long");
    store_assert_holds(f, odd, "odd");
    store_assert_holds(f, name, "long");
    assert_done(f, storage_stat(f->st, name, &object, &f->err));
    assert_string_equal(object.name, name);
    assert_string_equal(store_listed(f, "n", NULL), name);
    assert_string_equal(store_listed(f, "", name), "");
    assert_string_equal(store_listed(f, "A.Z/0+9=", NULL), odd);
    assert_string_equal(store_listed(f, odd, NULL), odd);
    assert_string_equal(store_listed(f, "", odd), name);
    const char *names[] = {name, odd};
    assert_done(f, storage_remove(f->st, names, 2, &f->err));
    assert_string_equal(store_listed(f, "", NULL), "");
}

/* Writers of one name at once: the first commit stands, whatever order they began in. */
static void test_first_commit_stands(void **state)
{
    struct store_fixture *f = *state;
    struct storage_writer *w[3];
    static const char *const text[] = {"0", "1", "2"};
    for (int i = 0; i < 3; i++) {
        assert_done(f, storage_create(f->st, "same", &w[i], &f->err));
        assert_done(f, storage_writer_write(w[i], text[i], 1, &f->err));
    }
    assert_done(f, storage_writer_seal(w[2], &f->err));
    assert_done(f, storage_writer_commit(w[1], &f->err));
    assert_refused(f, TM_E_EXISTS, storage_writer_commit(w[2], &f->err));
    assert_refused(f, TM_E_EXISTS, storage_writer_commit(w[0], &f->err));
    for (int i = 0; i < 3; i++)
        storage_writer_free(w[i]);
    store_assert_holds(f, "same", "1");
    assert_string_equal(store_listed(f, "", NULL), "same");
}

static bool wanted(const struct storage_contract *contract, const char *name)
{
    return contract->only == NULL || strstr(name, contract->only) != NULL;
}

int storage_contract_run(const char *title, struct storage_contract *contract)
{
#define T(name)                                                                                    \
    {                                                                                              \
#name, name, NULL, NULL, NULL                                                              \
    }
    static const struct CMUnitTest promises[] = {
        T(test_put_get),
        T(test_fetch),
        T(test_absent),
        T(test_never_replaces),
        T(test_uncommitted_is_invisible),
        T(test_sealed_is_invisible),
        T(test_names),
        T(test_list_order),
        T(test_list_skip),
        T(test_remove),
        T(test_get_limit),
        T(test_space_and_clock),
        T(test_race_has_one_winner),
        T(test_handles_share),
        T(test_neighbours),
        T(test_every_character),
        T(test_first_commit_stands),
    };
    struct CMUnitTest all[TM_ARRAY_LEN(promises) + LOAD_TESTS_MAX];
    struct CMUnitTest chosen[TM_ARRAY_LEN(all)];
    size_t count = TM_ARRAY_LEN(promises);
    size_t chosen_count = 0;
    memcpy(all, promises, sizeof(promises));
    count += storage_contract_load_tests(all + count);
    for (size_t i = 0; i < count; i++) {
        if (!wanted(contract, all[i].name))
            continue;
        chosen[chosen_count] = all[i];
        chosen[chosen_count].setup_func = setup;
        chosen[chosen_count].teardown_func = teardown;
        chosen[chosen_count++].initial_state = contract;
    }
    return _cmocka_run_group_tests(title, chosen, chosen_count, NULL, NULL);
}
