#ifndef TM_TESTS_UNIT_COMMON_STORAGE_FIXTURE_H
#define TM_TESTS_UNIT_COMMON_STORAGE_FIXTURE_H
/*
 * A store of either driver, made anew for each test, and short ways to fill and read it. P and R are the
 * table rows of a test over posix and over ram. For the tests beside it; each includes it once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

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

#define P(name)                                                                                    \
    {                                                                                              \
        "posix " #name, name, setup_posix, teardown, NULL                                          \
    }
#define R(name)                                                                                    \
    {                                                                                              \
        "ram " #name, name, setup_ram, teardown, NULL                                              \
    }

#endif
