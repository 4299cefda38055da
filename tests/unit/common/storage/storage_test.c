/* The contract of storage drivers, over both of them, and what is particular to each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/storage/ram.h"
#include "common/storage/storage.h"

struct fixture {
    char dir[64];
    struct storage *st;
    struct tm_err err;
};

static int setup_posix(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char url[128];
    struct storage_options options = {.create_root = true};
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/tidemark-storage-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(url, sizeof(url), "file://%s/repo", f->dir);
    assert_int_equal(storage_open(url, &options, &f->st, &f->err), 0);
    assert_string_equal(f->st->display, url);
    *state = f;
    return 0;
}

static int setup_ram(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_int_equal(storage_open("ram://test", NULL, &f->st, &f->err), 0);
    assert_string_equal(f->st->display, "ram://test");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    storage_free(f->st);
    ram_process_registry_free();
    if (f->dir[0] != '\0')
        assert_int_equal(fs_remove_tree(f->dir, true, &f->err), 0);
    free(f);
    return 0;
}

static void put(struct fixture *f, const char *name, const char *text)
{
    assert_int_equal(storage_put(f->st, name, slice_str(text), &f->err), 0);
}

static void assert_holds(struct fixture *f, const char *name, const char *text)
{
    TM_CLEANUP(buf_release) struct buf got = BUF_INIT;
    assert_int_equal(storage_get(f->st, name, 1000, &got, &f->err), 0);
    assert_true(slice_eq(buf_slice(&got), slice_str(text)));
}

/* All names below prefix behind start_after, joined by spaces. */
static const char *listed(struct fixture *f, const char *prefix, const char *start_after)
{
    static char text[4096];
    struct storage_iter *it = NULL;
    struct storage_object object;
    size_t used = 0;
    int r = storage_list(f->st, prefix, start_after, &it, &f->err);
    text[0] = '\0';
    while (r >= 0 && (r = storage_iter_next(it, &object, &f->err)) > 0)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used > 0 ? " " : "",
                                 object.name);
    assert_int_equal(r, 0);
    storage_iter_free(it);
    return text;
}

/* ---- the contract ---- */

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

/* ---- posix only ---- */

static void test_posix_leftovers(void **state)
{
    struct fixture *f = *state;
    struct storage_writer *w[2] = {NULL, NULL};
    uint64_t count = 7;
    char path[256];
    assert_int_equal(storage_create(f->st, "d/e/x", &w[0], &f->err), 0);
    assert_int_equal(storage_create(f->st, "other/y", &w[1], &f->err), 0);
    put(f, "d/z", "kept");
    int64_t now = 0;
    assert_int_equal(storage_now(f->st, &now, &f->err), 0);
    assert_int_equal(storage_sweep_leftovers(f->st, "d/", now - 3600000000, &count, &f->err), 0);
    assert_int_equal(count, 0);
    assert_int_equal(storage_sweep_leftovers(f->st, "d/", INT64_MAX, &count, &f->err), 0);
    assert_int_equal(count, 1);
    (void)snprintf(path, sizeof(path), "%s/repo/d/e", f->dir);
    assert_int_equal(access(path, F_OK), -1); /* empty directories go too */
    assert_int_equal(storage_sweep_leftovers(f->st, "", INT64_MAX, &count, &f->err), 0);
    assert_int_equal(count, 1);
    assert_string_equal(listed(f, "", NULL), "d/z");
    /* a swept upload cannot be committed any more */
    assert_int_equal(storage_writer_commit(w[0], &f->err), -TM_E_NOT_FOUND);
    storage_writer_free(w[0]);
    storage_writer_free(w[1]);
}

/* Writers that gave up, and one at work: its directory stays, as does all above the prefix. */
static void test_posix_empty_directories(void **state)
{
    struct fixture *f = *state;
    static const char *const given_up[] = {"c/b/1/data/x", "c/b/1/log/y/z", "c/b/2/data/x"};
    static const struct {
        const char *path;
        bool there;
    } after[] = {{"c/b/1/data", false}, {"c/b/1/log", false}, {"c/b/1/plan", true}, {"c/b/1", true},
                 {"c/b/2", true},       {"c/b/3", false},     {"c/b", true}};
    struct storage_writer *w = NULL;
    uint64_t count = 7;
    char path[256];
    for (size_t n = 0; n < TM_ARRAY_LEN(given_up); n++) {
        assert_int_equal(storage_create(f->st, given_up[n], &w, &f->err), 0);
        storage_writer_free(w);
    }
    assert_int_equal(storage_create(f->st, "c/b/3/data/x", &w, &f->err), 0);
    storage_writer_free(w);
    assert_int_equal(storage_create(f->st, "c/b/1/plan/x", &w, &f->err), 0);
    assert_int_equal(storage_sweep_leftovers(f->st, "c/b/1/", 0, &count, &f->err), 0);
    assert_int_equal(count, 0);
    assert_int_equal(storage_sweep_leftovers(f->st, "c/b/3/", 0, &count, &f->err), 0);
    assert_int_equal(storage_sweep_leftovers(f->st, "c/b/4/", 0, &count, &f->err), 0);
    for (size_t n = 0; n < TM_ARRAY_LEN(after); n++) {
        (void)snprintf(path, sizeof(path), "%s/repo/%s", f->dir, after[n].path);
        if ((access(path, F_OK) == 0) != after[n].there)
            fail_msg("'%s' is %sthere", after[n].path, after[n].there ? "not " : "");
    }
    assert_int_equal(storage_writer_commit(w, &f->err), 0); /* nobody was in its way */
    storage_writer_free(w);
    put(f, "c/b/3/data/x", "a directory that was pruned is made again");
    assert_string_equal(listed(f, "", NULL), "c/b/1/plan/x c/b/3/data/x");
}

static void test_posix_remove_prunes(void **state)
{
    struct fixture *f = *state;
    char path[256];
    const char *name = "a/b/c/d";
    put(f, name, "");
    assert_int_equal(storage_remove(f->st, &name, 1, &f->err), 0);
    (void)snprintf(path, sizeof(path), "%s/repo/a", f->dir);
    assert_int_equal(access(path, F_OK), -1);
    (void)snprintf(path, sizeof(path), "%s/repo", f->dir);
    assert_int_equal(access(path, F_OK), 0);
}

static void test_posix_foreign_files(void **state)
{
    struct fixture *f = *state;
    char path[256];
    put(f, "a/b", "x");
    (void)snprintf(path, sizeof(path), "%s/repo/a/white space", f->dir);
    assert_int_equal(fs_write_atomic(path, slice_str("x"), 0600, &f->err), 0);
    (void)snprintf(path, sizeof(path), "%s/repo/a/link", f->dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_string_equal(listed(f, "", NULL), "a/b");
    uint8_t byte;
    assert_true(storage_read(f->st, "a/link", 0, &byte, 1, &f->err) < 0);
    struct storage_object object;
    assert_int_equal(storage_stat(f->st, "a/link", &object, &f->err), -TM_E_NOT_FOUND);
}

static void test_posix_open_errors(void **state)
{
    struct fixture *f = *state;
    struct storage *st = NULL;
    char url[256];
    char text[256];
    struct storage_options create = {.create_root = true};
    (void)snprintf(url, sizeof(url), "file://%s/none", f->dir);
    (void)snprintf(text, sizeof(text), "storage path '%s/none' does not exist: create or mount it",
                   f->dir);
    assert_int_equal(storage_open(url, NULL, &st, &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, text);
    (void)snprintf(url, sizeof(url), "file://%s/none/deeper", f->dir);
    (void)snprintf(text, sizeof(text),
                   "cannot create storage path '%s/none/deeper': No such file or directory",
                   f->dir);
    assert_int_equal(storage_open(url, &create, &st, &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, text);
    put(f, "file", "x");
    (void)snprintf(url, sizeof(url), "file://%s/repo/file", f->dir);
    (void)snprintf(text, sizeof(text), "storage path '%s/repo/file' is not a directory", f->dir);
    assert_int_equal(storage_open(url, &create, &st, &f->err), -TM_E_INVALID);
    assert_string_equal(f->err.msg, text);
    assert_null(st);
}

static void test_posix_messages_name_the_path(void **state)
{
    struct fixture *f = *state;
    char text[256];
    uint8_t byte;
    (void)snprintf(text, sizeof(text), "cannot read '%s/repo/a/b': No such file or directory",
                   f->dir);
    assert_int_equal(storage_read(f->st, "a/b", 0, &byte, 1, &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, text);
    /* a file where a directory is needed */
    put(f, "a", "x");
    (void)snprintf(text, sizeof(text), "cannot create '%s/repo/a/b': Not a directory", f->dir);
    assert_int_equal(storage_put(f->st, "a/b", slice_str("x"), &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, text);
}

/* ---- ram only ---- */

/* A directory that its path does not lead to any more: nothing is stored in it, nothing called absent. */
static void test_posix_moved_away(void **state)
{
    struct fixture *f = *state;
    struct storage_writer *w = NULL;
    struct storage_iter *it = NULL;
    struct storage_object object;
    char path[96], aside[96], text[256];
    put(f, "a/one", "1");
    (void)snprintf(path, sizeof(path), "%s/repo", f->dir);
    (void)snprintf(aside, sizeof(aside), "%s/aside", f->dir);
    assert_int_equal(storage_create(f->st, "a/two", &w, &f->err), 0);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(storage_put(f->st, "a/three", slice_str("3"), &f->err), -TM_E_NOT_FOUND);
    (void)snprintf(text, sizeof(text), "storage path '%s' is away: No such file or directory",
                   path);
    assert_string_equal(f->err.msg, text);
    assert_int_equal(storage_list(f->st, "", NULL, &it, &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, text);
    assert_int_equal(storage_writer_commit(w, &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, text);
    storage_writer_free(w);
    assert_holds(f, "a/one", "1");

    assert_int_equal(mkdir(path, 0700), 0); /* as below a mount point */
    assert_int_equal(storage_put(f->st, "a/three", slice_str("3"), &f->err), -TM_E_CONFLICT);
    (void)snprintf(text, sizeof(text),
                   "storage path '%s' is another directory now than the one that was opened", path);
    assert_string_equal(f->err.msg, text);
    assert_true(f->err.retryable);
    assert_int_equal(storage_stat(f->st, "a/three", &object, &f->err), -TM_E_CONFLICT);
    assert_string_equal(f->err.msg, text);

    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rename(aside, path), 0);
    put(f, "a/three", "3");
    assert_string_equal(listed(f, "", NULL), "a/one a/three a/two");
}

static void test_ram_faults(void **state)
{
    struct fixture *f = *state;
    struct ram_faults faults = {.drop_reply_per_mille = 1000};
    ram_set_faults(f->st, &faults);
    assert_int_equal(storage_put(f->st, "x", slice_str("x"), &f->err), -TM_E_UNAVAILABLE);
    assert_string_equal(f->err.msg, "cannot commit 'x': the store does not answer");
    assert_true(f->err.retryable);
    assert_int_equal(ram_object_count(f->st), 1);
    faults = (struct ram_faults){.fail_op[RAM_READ] = 2, .fail_code = TM_E_PERMISSION};
    ram_set_faults(f->st, &faults);
    assert_holds(f, "x", "x");
    uint8_t byte;
    assert_int_equal(storage_read(f->st, "x", 0, &byte, 1, &f->err), -TM_E_PERMISSION);
    assert_string_equal(f->err.msg, "cannot read 'x': injected fault");
    assert_int_equal(ram_op_count(f->st, RAM_READ), 2);
    faults = (struct ram_faults){.no_conditional_create = true};
    ram_set_faults(f->st, &faults);
    assert_int_equal(f->st->features & STORAGE_CONDITIONAL_CREATE, 0);
    assert_int_equal(storage_put(f->st, "x", slice_str("y"), &f->err), 0);
    assert_holds(f, "x", "x");
    faults = (struct ram_faults){.late_per_mille = 1000, .late_ops = 5};
    ram_set_faults(f->st, &faults);
    put(f, "y", "y");
    assert_string_equal(listed(f, "", NULL), "x");
    assert_holds(f, "y", "y");
    assert_holds(f, "y", "y");
    assert_string_equal(listed(f, "", NULL), "x y");
    faults = (struct ram_faults){.capacity_bytes = 5};
    ram_set_faults(f->st, &faults);
    uint64_t bytes = 0;
    assert_int_equal(storage_free_space(f->st, &bytes, &f->err), 0);
    assert_int_equal(bytes, 3);
    assert_int_equal(storage_put(f->st, "z", slice_str("1234"), &f->err), -TM_E_NO_SPACE);
    assert_string_equal(f->err.msg, "cannot write 'z': No space left on device");
    put(f, "z", "123");
}

static void test_ram_same_seed_same_faults(void **state)
{
    struct fixture *f = *state;
    char pattern[2][200];
    for (int run = 0; run < 2; run++) {
        struct ram_faults faults = {.seed = 42, .fail_per_mille = 300};
        ram_set_faults(f->st, &faults);
        for (int i = 0; i < 200; i++) {
            struct storage_object object;
            pattern[run][i] =
                storage_stat(f->st, "none", &object, &f->err) == -TM_E_UNAVAILABLE ? 'f' : '.';
        }
    }
    assert_memory_equal(pattern[0], pattern[1], 200);
    assert_non_null(memchr(pattern[0], 'f', 200));
    assert_non_null(memchr(pattern[0], '.', 200));
}

static void test_ram_survives_handles(void **state)
{
    struct fixture *f = *state;
    struct storage *again = NULL;
    put(f, "x", "kept");
    storage_free(f->st);
    assert_int_equal(storage_open("ram://test", NULL, &f->st, &f->err), 0);
    assert_holds(f, "x", "kept");
    assert_int_equal(storage_open("ram://other", NULL, &again, &f->err), 0);
    assert_int_equal(ram_object_count(again), 0);
    assert_true(storage_is_ram(again));
    storage_free(again);
}

int main(void)
{
#define P(name)                                                                                    \
    {                                                                                              \
        "posix " #name, name, setup_posix, teardown, NULL                                          \
    }
#define R(name)                                                                                    \
    {                                                                                              \
        "ram " #name, name, setup_ram, teardown, NULL                                              \
    }
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
        P(test_posix_leftovers),
        P(test_posix_empty_directories),
        P(test_posix_remove_prunes),
        P(test_posix_foreign_files),
        P(test_posix_open_errors),
        P(test_posix_messages_name_the_path),
        P(test_posix_moved_away),
        R(test_ram_faults),
        R(test_ram_same_seed_same_faults),
        R(test_ram_survives_handles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
