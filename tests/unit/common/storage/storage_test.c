/* The storage contract over both of the drivers that need no server, and what is particular to each. */
#include "tests/lib/storage_contract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/storage/ram.h"

static int setup_posix(void **state)
{
    struct store_fixture *f = calloc(1, sizeof(*f));
    struct storage_options options = {.create_root = true};
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/tidemark-storage-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->url, sizeof(f->url), "file://%s/repo", f->dir);
    assert_done(f, storage_open(f->url, &options, &f->st, &f->err));
    assert_string_equal(f->st->display, f->url);
    *state = f;
    return 0;
}

static int setup_ram(void **state)
{
    struct store_fixture *f = calloc(1, sizeof(*f));
    assert_done(f, storage_open("ram://test", NULL, &f->st, &f->err));
    assert_string_equal(f->st->display, "ram://test");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct store_fixture *f = *state;
    storage_free(f->st);
    ram_process_registry_free();
    if (f->dir[0] != '\0')
        assert_done(f, fs_remove_tree(f->dir, true, &f->err));
    free(f);
    return 0;
}

static int contract_over_files(void)
{
    char dir[] = "/tmp/tidemark-storage-XXXXXX";
    char url[128];
    struct tm_err err;
    if (mkdtemp(dir) == NULL)
        return 1;
    (void)snprintf(url, sizeof(url), "file://%s/repo", dir);
    int failed = storage_contract_run("posix", &(struct storage_contract){.url = url});
    return fs_remove_tree(dir, true, &err) < 0 ? failed + 1 : failed;
}

/* ---- posix only ---- */

static void test_posix_leftovers(void **state)
{
    struct store_fixture *f = *state;
    struct storage_writer *w[2] = {NULL, NULL};
    uint64_t count = 7;
    char path[256];
    assert_int_equal(storage_create(f->st, "d/e/x", &w[0], &f->err), 0);
    assert_int_equal(storage_create(f->st, "other/y", &w[1], &f->err), 0);
    store_put(f, "d/z", "kept");
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
    assert_string_equal(store_listed(f, "", NULL), "d/z");
    /* a swept upload cannot be committed any more */
    assert_int_equal(storage_writer_commit(w[0], &f->err), -TM_E_NOT_FOUND);
    storage_writer_free(w[0]);
    storage_writer_free(w[1]);
}

/* Writers that gave up, and one at work: its directory stays, as does all above the prefix. */
static void test_posix_empty_directories(void **state)
{
    struct store_fixture *f = *state;
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
    store_put(f, "c/b/3/data/x", "a directory that was pruned is made again");
    assert_string_equal(store_listed(f, "", NULL), "c/b/1/plan/x c/b/3/data/x");
}

static void test_posix_remove_prunes(void **state)
{
    struct store_fixture *f = *state;
    char path[256];
    const char *name = "a/b/c/d";
    store_put(f, name, "");
    assert_int_equal(storage_remove(f->st, &name, 1, &f->err), 0);
    (void)snprintf(path, sizeof(path), "%s/repo/a", f->dir);
    assert_int_equal(access(path, F_OK), -1);
    (void)snprintf(path, sizeof(path), "%s/repo", f->dir);
    assert_int_equal(access(path, F_OK), 0);
}

static void test_posix_foreign_files(void **state)
{
    struct store_fixture *f = *state;
    char path[256];
    store_put(f, "a/b", "x");
    (void)snprintf(path, sizeof(path), "%s/repo/a/white space", f->dir);
    assert_int_equal(fs_write_atomic(path, slice_str("x"), 0600, &f->err), 0);
    (void)snprintf(path, sizeof(path), "%s/repo/a/link", f->dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_string_equal(store_listed(f, "", NULL), "a/b");
    uint8_t byte;
    assert_true(storage_read(f->st, "a/link", 0, &byte, 1, &f->err) < 0);
    struct storage_object object;
    assert_int_equal(storage_stat(f->st, "a/link", &object, &f->err), -TM_E_NOT_FOUND);
}

static void test_posix_open_errors(void **state)
{
    struct store_fixture *f = *state;
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
    store_put(f, "file", "x");
    (void)snprintf(url, sizeof(url), "file://%s/repo/file", f->dir);
    (void)snprintf(text, sizeof(text), "storage path '%s/repo/file' is not a directory", f->dir);
    assert_int_equal(storage_open(url, &create, &st, &f->err), -TM_E_INVALID);
    assert_string_equal(f->err.msg, text);
    assert_null(st);
}

static void test_posix_messages_name_the_path(void **state)
{
    struct store_fixture *f = *state;
    char text[256];
    uint8_t byte;
    (void)snprintf(text, sizeof(text), "cannot read '%s/repo/a/b': No such file or directory",
                   f->dir);
    assert_int_equal(storage_read(f->st, "a/b", 0, &byte, 1, &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, text);
    /* a file where a directory is needed */
    store_put(f, "a", "x");
    (void)snprintf(text, sizeof(text), "cannot create '%s/repo/a/b': Not a directory", f->dir);
    assert_int_equal(storage_put(f->st, "a/b", slice_str("x"), &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, text);
}

/* ---- ram only ---- */

/* A directory that its path does not lead to any more: nothing is stored in it, nothing called absent. */
static void test_posix_moved_away(void **state)
{
    struct store_fixture *f = *state;
    struct storage_writer *w = NULL;
    struct storage_iter *it = NULL;
    struct storage_object object;
    char path[96], aside[96], text[256];
    store_put(f, "a/one", "1");
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
    store_assert_holds(f, "a/one", "1");

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
    store_put(f, "a/three", "3");
    assert_string_equal(store_listed(f, "", NULL), "a/one a/three a/two");
}

static void test_ram_faults(void **state)
{
    struct store_fixture *f = *state;
    struct ram_faults faults = {.drop_reply_per_mille = 1000};
    ram_set_faults(f->st, &faults);
    assert_int_equal(storage_put(f->st, "x", slice_str("x"), &f->err), -TM_E_UNAVAILABLE);
    assert_string_equal(f->err.msg, "cannot commit 'x': the store does not answer");
    assert_true(f->err.retryable);
    assert_int_equal(ram_object_count(f->st), 1);
    faults = (struct ram_faults){.fail_op[RAM_READ] = 2, .fail_code = TM_E_PERMISSION};
    ram_set_faults(f->st, &faults);
    store_assert_holds(f, "x", "x");
    uint8_t byte;
    assert_int_equal(storage_read(f->st, "x", 0, &byte, 1, &f->err), -TM_E_PERMISSION);
    assert_string_equal(f->err.msg, "cannot read 'x': injected fault");
    assert_int_equal(ram_op_count(f->st, RAM_READ), 2);
    faults = (struct ram_faults){.no_conditional_create = true};
    ram_set_faults(f->st, &faults);
    assert_int_equal(f->st->features & STORAGE_CONDITIONAL_CREATE, 0);
    assert_int_equal(storage_put(f->st, "x", slice_str("y"), &f->err), 0);
    store_assert_holds(f, "x", "x");
    faults = (struct ram_faults){.late_per_mille = 1000, .late_ops = 5};
    ram_set_faults(f->st, &faults);
    store_put(f, "y", "y");
    assert_string_equal(store_listed(f, "", NULL), "x");
    store_assert_holds(f, "y", "y");
    store_assert_holds(f, "y", "y");
    assert_string_equal(store_listed(f, "", NULL), "x y");
    faults = (struct ram_faults){.capacity_bytes = 5};
    ram_set_faults(f->st, &faults);
    uint64_t bytes = 0;
    assert_int_equal(storage_free_space(f->st, &bytes, &f->err), 0);
    assert_int_equal(bytes, 3);
    assert_int_equal(storage_put(f->st, "z", slice_str("1234"), &f->err), -TM_E_NO_SPACE);
    assert_string_equal(f->err.msg, "cannot write 'z': No space left on device");
    store_put(f, "z", "123");
}

static void test_ram_same_seed_same_faults(void **state)
{
    struct store_fixture *f = *state;
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
    struct store_fixture *f = *state;
    struct storage *again = NULL;
    store_put(f, "x", "kept");
    storage_free(f->st);
    assert_int_equal(storage_open("ram://test", NULL, &f->st, &f->err), 0);
    store_assert_holds(f, "x", "kept");
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
    const struct CMUnitTest tests[] = {
        P(test_posix_leftovers),           P(test_posix_empty_directories),
        P(test_posix_remove_prunes),       P(test_posix_foreign_files),
        P(test_posix_open_errors),         P(test_posix_messages_name_the_path),
        P(test_posix_moved_away),          R(test_ram_faults),
        R(test_ram_same_seed_same_faults), R(test_ram_survives_handles),
    };
    struct storage_contract ram = {.url = "ram://contract", .no_leftovers = true};
    int failed = contract_over_files() + storage_contract_run("ram", &ram);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
