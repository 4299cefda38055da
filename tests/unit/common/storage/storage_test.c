/* The contract of storage drivers, over both of them. */
#include "tests/unit/common/storage/fixture.h"

#include <pthread.h>

static void test_put_get(void **state)
{
    struct fixture *f = *state;
    struct storage_object object;
    uint8_t bytes[8];
    put(f, "a/b/c", "hello world");
    put(f, "top", "");
    assert_holds(f, "a/b/c", "hello world");
    assert_holds(f, "top", "");
    assert_int_equal(storage_stat(f->st, "a/b/c", &object, &f->err), 0);
    assert_string_equal(object.name, "a/b/c");
    assert_int_equal(object.size_bytes, 11);
    assert_int_equal(storage_read(f->st, "a/b/c", 6, bytes, 5, &f->err), 0);
    assert_memory_equal(bytes, "world", 5);
    assert_int_equal(storage_read(f->st, "a/b/c", 6, bytes, 6, &f->err), -TM_E_CORRUPT);
    assert_non_null(strstr(f->err.msg, "a/b/c' is shorter than expected: wanted 6 bytes at 6"));
    assert_int_equal(storage_read(f->st, "a/b/c", UINT64_MAX - 2, bytes, 6, &f->err),
                     -TM_E_CORRUPT);
}

static void test_absent(void **state)
{
    struct fixture *f = *state;
    struct storage_object object;
    uint8_t byte;
    put(f, "a/b", "x");
    const char *names[] = {"none", "a", "a/b/c", "a/c"};
    for (size_t i = 0; i < TM_ARRAY_LEN(names); i++) {
        assert_int_equal(storage_stat(f->st, names[i], &object, &f->err), -TM_E_NOT_FOUND);
        assert_int_equal(storage_read(f->st, names[i], 0, &byte, 1, &f->err) == 0, 0);
        assert_int_equal(storage_remove(f->st, &names[i], 1, &f->err) < 0 &&
                             f->err.code != TM_E_PERMISSION && f->err.code != TM_E_IO,
                         0);
    }
    assert_holds(f, "a/b", "x");
}

static void test_never_replaces(void **state)
{
    struct fixture *f = *state;
    put(f, "a/b", "first");
    assert_int_equal(storage_put(f->st, "a/b", slice_str("second"), &f->err), -TM_E_EXISTS);
    assert_non_null(strstr(f->err.msg, "cannot commit '"));
    assert_non_null(strstr(f->err.msg, "a/b': it already exists"));
    assert_false(f->err.retryable);
    assert_holds(f, "a/b", "first");
}

static void test_uncommitted_is_invisible(void **state)
{
    struct fixture *f = *state;
    struct storage_writer *w = NULL;
    struct storage_object object;
    assert_int_equal(storage_create(f->st, "d/x", &w, &f->err), 0);
    assert_int_equal(storage_writer_write(w, "abc", 3, &f->err), 0);
    assert_string_equal(listed(f, "", NULL), "");
    assert_int_equal(storage_stat(f->st, "d/x", &object, &f->err), -TM_E_NOT_FOUND);
    storage_writer_free(w);
    assert_string_equal(listed(f, "", NULL), "");
    put(f, "d/x", "later");
    assert_holds(f, "d/x", "later");
}

static void test_sealed_is_invisible(void **state)
{
    struct fixture *f = *state;
    for (int commits = 0; commits < 2; commits++) {
        struct storage_writer *w = NULL;
        assert_int_equal(storage_create(f->st, "d/x", &w, &f->err), 0);
        assert_int_equal(storage_writer_write(w, "abc", 3, &f->err), 0);
        assert_int_equal(storage_writer_seal(w, &f->err), 0);
        assert_string_equal(listed(f, "", NULL), "");
        if (commits)
            assert_int_equal(storage_writer_commit(w, &f->err), 0);
        storage_writer_free(w);
        assert_string_equal(listed(f, "", NULL), commits ? "d/x" : "");
    }
    assert_holds(f, "d/x", "abc");
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    char name[STORAGE_NAME_MAX + 2];
    const char *bad[] = {"",     "/a",     "a/",   "a//b", ".",   "..",       "a/../b", "a/./b",
                         ".tmp", "a/.x/b", "a\\b", "a b",  "a\n", "\xc3\xa4", "a?b",    "a%41"};
    for (size_t i = 0; i < TM_ARRAY_LEN(bad); i++) {
        char text[128];
        assert_false(storage_name_valid(bad[i]));
        assert_int_equal(storage_put(f->st, bad[i], slice_str("x"), &f->err), -TM_E_INVALID);
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
    struct fixture *f = *state;
    /* '+' '-' '.' sort before '/', digits behind it: whole names decide, not directories */
    const char *names[] = {"a/b", "a/b/x", "a+b/c", "a-b", "a.b/c/d",
                           "a0",  "a/b0",  "a/a/a", "b",   "a"};
    for (size_t i = 0; i < TM_ARRAY_LEN(names); i++) {
        if (f->dir[0] != '\0' && (strcmp(names[i], "a/b") == 0 || strcmp(names[i], "a") == 0))
            continue; /* a directory cannot be a file too */
        put(f, names[i], names[i]);
    }
    if (f->dir[0] != '\0') {
        assert_string_equal(listed(f, "", NULL), "a+b/c a-b a.b/c/d a/a/a a/b/x a/b0 a0 b");
        assert_string_equal(listed(f, "a/", NULL), "a/a/a a/b/x a/b0");
    } else {
        assert_string_equal(listed(f, "", NULL), "a a+b/c a-b a.b/c/d a/a/a a/b a/b/x a/b0 a0 b");
        assert_string_equal(listed(f, "a/", NULL), "a/a/a a/b a/b/x a/b0");
    }
    assert_string_equal(listed(f, "a.b", NULL), "a.b/c/d");
    assert_string_equal(listed(f, "a.b/c/", NULL), "a.b/c/d");
    assert_string_equal(listed(f, "a/b/x", NULL), "a/b/x");
    assert_string_equal(listed(f, "z", NULL), "");
    assert_string_equal(listed(f, "z/z", NULL), "");
    assert_string_equal(listed(f, "", "a/b/x"), "a/b0 a0 b");
    assert_string_equal(listed(f, "", "a/b/w"), "a/b/x a/b0 a0 b");
    assert_string_equal(listed(f, "a/", "a/a0"),
                        f->dir[0] != '\0' ? "a/b/x a/b0" : "a/b a/b/x a/b0");
    assert_string_equal(listed(f, "", "b"), "");
    assert_string_equal(listed(f, "a", "a0"), "");
    struct storage_iter *it = NULL;
    assert_int_equal(storage_list(f->st, "/a", NULL, &it, &f->err), -TM_E_INVALID);
    assert_int_equal(storage_list(f->st, "a//", NULL, &it, &f->err), -TM_E_INVALID);
    assert_int_equal(storage_list(f->st, "a/.", NULL, &it, &f->err), -TM_E_INVALID);
}

static void test_list_skip(void **state)
{
    struct fixture *f = *state;
    struct storage_iter *it = NULL;
    struct storage_object object;
    const char *names[] = {"a/x/1", "a/x/2", "a/y/1", "b/1", "c/1"};
    for (size_t i = 0; i < TM_ARRAY_LEN(names); i++)
        put(f, names[i], "");
    assert_int_equal(storage_list(f->st, "", NULL, &it, &f->err), 0);
    assert_int_equal(storage_iter_next(it, &object, &f->err), 1);
    assert_string_equal(object.name, "a/x/1");
    assert_int_equal(storage_iter_skip(it, "a/x0", &f->err), 0);
    assert_int_equal(storage_iter_next(it, &object, &f->err), 1);
    assert_string_equal(object.name, "a/y/1");
    assert_int_equal(storage_iter_skip(it, "a", &f->err), 0); /* never back */
    assert_int_equal(storage_iter_skip(it, "b0", &f->err), 0);
    assert_int_equal(storage_iter_next(it, &object, &f->err), 1);
    assert_string_equal(object.name, "c/1");
    assert_int_equal(storage_iter_next(it, &object, &f->err), 0);
    storage_iter_free(it);
}

static void test_remove(void **state)
{
    struct fixture *f = *state;
    put(f, "a/b/1", "1");
    put(f, "a/b/2", "2");
    put(f, "a/c", "3");
    const char *names[] = {"a/b/1", "a/b/none", "none/none", "a/b/2"};
    assert_int_equal(storage_remove(f->st, names, 4, &f->err), 0);
    assert_string_equal(listed(f, "", NULL), "a/c");
    put(f, "a/b/1", "again");
    assert_string_equal(listed(f, "", NULL), "a/b/1 a/c");
}

static void test_get_limit(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(buf_release) struct buf got = BUF_INIT;
    put(f, "x", "12345");
    assert_int_equal(storage_get(f->st, "x", 4, &got, &f->err), -TM_E_LIMIT);
    assert_string_equal(f->err.msg, "'x' has 5 bytes, more than the 4 expected at most");
    assert_int_equal(storage_get(f->st, "x", 5, &got, &f->err), 0);
}

static void test_space_and_clock(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;
    int64_t before = 0;
    int64_t after = 0;
    struct storage_object object;
    assert_int_equal(storage_free_space(f->st, &bytes, &f->err), 0);
    assert_true(bytes > 0);
    assert_int_equal(storage_now(f->st, &before, &f->err), 0);
    put(f, "x", "");
    assert_int_equal(storage_stat(f->st, "x", &object, &f->err), 0);
    assert_int_equal(storage_now(f->st, &after, &f->err), 0);
    assert_true(before <= object.modified_us && object.modified_us <= after);
    assert_string_equal(listed(f, "", NULL), "x"); /* asking for the time leaves nothing */
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
    struct fixture *f = *state;
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
    assert_int_equal(won, 50);
}

int main(void)
{
#define BOTH(name) P(name), R(name)
    const struct CMUnitTest tests[] = {
        BOTH(test_put_get),
        BOTH(test_absent),
        BOTH(test_never_replaces),
        BOTH(test_uncommitted_is_invisible),
        BOTH(test_sealed_is_invisible),
        BOTH(test_names),
        BOTH(test_list_order),
        BOTH(test_list_skip),
        BOTH(test_remove),
        BOTH(test_get_limit),
        BOTH(test_space_and_clock),
        BOTH(test_race_has_one_winner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
