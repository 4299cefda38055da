/* Calls to storage that hang: which one is told, and since when; results are the storage's own. */
#include "agent/runner/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/storage/ram.h"

#define MINUTE (60 * USEC_PER_SEC)

/* What hangs a bit more than a minute from now; "" = nothing. */
static const char *hanging(struct storage_watch *w)
{
    static char text[WATCH_TEXT_MAX];
    int64_t since_us = 0;
    int64_t now_us = clock_mono_us();
    assert_false(watch_hangs(w, now_us, MINUTE, &since_us, text));
    if (!watch_hangs(w, now_us + MINUTE + USEC_PER_SEC, MINUTE, &since_us, text))
        return "";
    assert_true(since_us <= now_us && since_us > now_us - MINUTE);
    return text;
}

static void the_oldest_is_told(void **state)
{
    struct storage_watch w;
    (void)state;
    watch_init(&w);
    assert_string_equal(hanging(&w), "");
    size_t first = watch_enter(&w, "opening", "file:///x");
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = 2000000}, NULL);
    size_t second = watch_enter(&w, "writing", "a/b");
    assert_string_equal(hanging(&w), "opening 'file:///x'");
    watch_leave(&w, first);
    assert_string_equal(hanging(&w), "writing 'a/b'");
    watch_leave(&w, second);
    assert_string_equal(hanging(&w), "");
    size_t calls[WATCH_CALLS_MAX + 2];
    for (size_t n = 0; n < TM_ARRAY_LEN(calls); n++) /* too many are not noted */
        calls[n] = watch_enter(&w, "reading", "x");
    for (size_t n = 0; n < TM_ARRAY_LEN(calls); n++)
        watch_leave(&w, calls[n]);
    assert_string_equal(hanging(&w), "");
    watch_release(&w);
}

/* What is told of the oldest call that had an attempt that failed; "" = none. */
static const char *troubled(struct storage_watch *w)
{
    static char text[WATCH_TROUBLE_MAX];
    int64_t since_us = 0;
    if (!watch_troubled(w, &since_us, text))
        return "";
    size_t used = strlen(text);
    (void)snprintf(text + used, sizeof(text) - used, " since %lld", (long long)since_us);
    return text;
}

static void troubles_last_as_long_as_their_calls(void **state)
{
    struct storage_watch w;
    int calls[WATCH_CALLS_MAX + 2];
    (void)state;
    watch_init(&w);
    assert_string_equal(troubled(&w), "");
    watch_trouble(&w, &calls[0], 7, NULL); /* over, and nothing was wrong */
    watch_trouble(&w, &calls[0], 7, "a: attempt 1");
    watch_trouble(&w, &calls[1], 5, "b: attempt 1");
    assert_string_equal(troubled(&w), "b: attempt 1 since 5");
    watch_trouble(&w, &calls[1], 5, "b: attempt 2");
    assert_string_equal(troubled(&w), "b: attempt 2 since 5");
    watch_trouble(&w, &calls[1], 5, NULL);
    assert_string_equal(troubled(&w), "a: attempt 1 since 7");
    watch_trouble(&w, &calls[0], 7, NULL);
    assert_string_equal(troubled(&w), "");
    for (size_t n = 0; n < TM_ARRAY_LEN(calls); n++) /* too many are not noted */
        watch_trouble(&w, &calls[n], 1, "many");
    for (size_t n = 0; n < TM_ARRAY_LEN(calls); n++)
        watch_trouble(&w, &calls[n], 1, NULL);
    assert_string_equal(troubled(&w), "");
    watch_release(&w);
}

/* A storage whose calls look what is told of them while they are under way. */
struct curious {
    struct storage base;
    struct storage_watch *watch;
    char seen[WATCH_TEXT_MAX];
};

static struct storage_writer curious_writer;
static struct storage_iter curious_iter;
static struct curious *one;

static void look(void)
{
    (void)snprintf(one->seen, sizeof(one->seen), "%s", hanging(one->watch));
}

static int look_and_fail(struct tm_err *err)
{
    look();
    return tm_err_set(err, TM_E_IO, "as it comes");
}

static int curious_write(struct storage_writer *w, const void *data, size_t len, struct tm_err *err)
{
    (void)w, (void)data, (void)len;
    return look_and_fail(err);
}

static int curious_end(struct storage_writer *w, struct tm_err *err)
{
    (void)w;
    return look_and_fail(err);
}

static void curious_drop(struct storage_writer *w)
{
    (void)w;
    look();
}

static const struct storage_writer_ops curious_writer_ops = {
    .write = curious_write, .commit = curious_end, .seal = curious_end, .free = curious_drop};

static int curious_create(struct storage *st, const char *name, struct storage_writer **ret,
                          struct tm_err *err)
{
    (void)st, (void)name, (void)err;
    look();
    curious_writer.ops = &curious_writer_ops;
    *ret = &curious_writer;
    return 0;
}

static int curious_read(struct storage *st, const char *name, uint64_t offset, void *dst,
                        size_t len, struct tm_err *err)
{
    (void)st, (void)name, (void)offset, (void)dst, (void)len;
    return look_and_fail(err);
}

static int curious_stat(struct storage *st, const char *name, struct storage_object *ret,
                        struct tm_err *err)
{
    (void)st, (void)name, (void)ret;
    return look_and_fail(err);
}

static int curious_next(struct storage_iter *it, struct storage_object *ret, struct tm_err *err)
{
    (void)it, (void)ret;
    return look_and_fail(err);
}

static void curious_iter_free(struct storage_iter *it)
{
    (void)it;
}

static const struct storage_iter_ops curious_iter_ops = {.next = curious_next,
                                                         .free = curious_iter_free};

static int curious_list(struct storage *st, const char *prefix, const char *start_after,
                        struct storage_iter **ret, struct tm_err *err)
{
    (void)st, (void)prefix, (void)start_after, (void)err;
    look();
    curious_iter.ops = &curious_iter_ops;
    *ret = &curious_iter;
    return 0;
}

static int curious_remove(struct storage *st, const char *const *names, size_t count,
                          struct tm_err *err)
{
    (void)st, (void)names, (void)count;
    return look_and_fail(err);
}

static int curious_now(struct storage *st, int64_t *ret_us, struct tm_err *err)
{
    (void)st, (void)ret_us;
    return look_and_fail(err);
}

static void curious_free(struct storage *st)
{
    (void)st;
}

static const struct storage_ops curious_ops = {
    .scheme = "curious",
    .create = curious_create,
    .read = curious_read,
    .stat = curious_stat,
    .list = curious_list,
    .remove = curious_remove,
    .now = curious_now,
    .free = curious_free,
};

#define FAILS(call, text)                                                                          \
    do {                                                                                           \
        assert_int_equal((call), -TM_E_IO);                                                        \
        assert_string_equal(err.msg, "as it comes");                                               \
        assert_string_equal(curious.seen, text);                                                   \
        assert_string_equal(hanging(&w), "");                                                      \
    } while (0)

static void every_call_is_noted(void **state)
{
    struct storage_watch w;
    struct curious curious = {.base.ops = &curious_ops, .watch = &w};
    struct storage *st = NULL;
    struct storage_writer *writer = NULL;
    struct storage_iter *it = NULL;
    struct storage_object object;
    struct tm_err err;
    const char *names[] = {"a", "b"};
    int64_t now_us;
    char byte;
    (void)state;
    one = &curious;
    watch_init(&w);
    assert_int_equal(watch_storage(&w, &curious.base, &st, &err), 0);
    FAILS(storage_read(st, "a", 0, &byte, 1, &err), "reading 'a'");
    FAILS(storage_stat(st, "a", &object, &err), "looking at 'a'");
    FAILS(storage_remove(st, names, 2, &err), "removing 'a'");
    FAILS(storage_discard(st, "b", &err), "removing 'b'");
    FAILS(storage_now(st, &now_us, &err), "asking 'the time'");
    assert_int_equal(storage_create(st, "a/b", &writer, &err), 0);
    assert_string_equal(curious.seen, "creating 'a/b'");
    FAILS(storage_writer_write(writer, "x", 1, &err), "writing 'a/b'");
    FAILS(storage_writer_seal(writer, &err), "syncing 'a/b'");
    FAILS(storage_writer_commit(writer, &err), "committing 'a/b'");
    storage_writer_free(writer);
    assert_string_equal(curious.seen, "dropping 'a/b'");
    assert_int_equal(storage_list(st, "p/", NULL, &it, &err), 0);
    assert_string_equal(curious.seen, "listing 'p/'");
    FAILS(storage_iter_next(it, &object, &err), "listing 'p/'");
    storage_iter_free(it);
    storage_free(st);
    watch_release(&w);
}

/* ---- what a store can do beyond the rest goes through as well ---- */

static struct storage_fetch curious_fetched;

static int curious_fetch_wait(struct storage_fetch *f, uint64_t *ret_object_bytes,
                              struct tm_err *err)
{
    (void)f, (void)err;
    look();
    *ret_object_bytes = 77;
    return 0;
}

static void curious_fetch_free(struct storage_fetch *f)
{
    f->ops = NULL;
}

static const struct storage_fetch_ops curious_fetch_ops = {.wait = curious_fetch_wait,
                                                           .free = curious_fetch_free};

static int curious_fetch(struct storage *st, const char *name, uint64_t offset, void *dst,
                         size_t len, struct storage_fetch **ret, struct tm_err *err)
{
    (void)st, (void)name, (void)err;
    look();
    assert_int_equal(offset, 5);
    memset(dst, 'x', len);
    curious_fetched.ops = &curious_fetch_ops;
    *ret = &curious_fetched;
    return 0;
}

static int settling_commit(struct storage_writer *w, struct tm_err *err)
{
    (void)err;
    w->settled = true;
    return 0;
}

static const struct storage_writer_ops settling_ops = {.commit = settling_commit,
                                                       .free = curious_drop};

static int settling_create(struct storage *st, const char *name, struct storage_writer **ret,
                           struct tm_err *err)
{
    (void)st, (void)name, (void)err;
    curious_writer.ops = &settling_ops;
    *ret = &curious_writer;
    return 0;
}

static void reads_ahead_and_settled_commits_pass_through(void **state)
{
    struct storage_ops ops = curious_ops;
    ops.fetch = curious_fetch;
    ops.create = settling_create;
    struct storage_watch w;
    struct curious curious = {.base.ops = &ops, .watch = &w};
    struct storage *st = NULL;
    struct storage_fetch *f = NULL;
    struct storage_writer *writer = NULL;
    struct tm_err err;
    uint64_t object_bytes = 0;
    char bytes[3];
    (void)state;
    one = &curious;
    watch_init(&w);
    assert_int_equal(watch_storage(&w, &curious.base, &st, &err), 0);
    assert_true(storage_can_fetch(st));
    assert_int_equal(storage_fetch(st, "a", 5, bytes, 3, &f, &err), 0);
    assert_string_equal(curious.seen, "reading 'a'");
    assert_string_equal(hanging(&w), ""); /* nobody waits */
    assert_int_equal(storage_fetch_wait(f, &object_bytes, &err), 0);
    assert_string_equal(curious.seen, "reading 'a'");
    assert_int_equal(object_bytes, 77);
    assert_memory_equal(bytes, "xxx", 3);
    storage_fetch_free(f);
    assert_null(curious_fetched.ops);
    assert_int_equal(storage_create(st, "a/b", &writer, &err), 0);
    assert_false(writer->settled);
    assert_int_equal(storage_writer_commit(writer, &err), 0);
    assert_true(writer->settled);
    storage_writer_free(writer);
    storage_free(st);
    watch_release(&w);
}

static void results_are_the_storages(void **state)
{
    struct ram_registry *registry = ram_registry_new();
    struct storage_watch w;
    struct storage *inner = NULL;
    struct storage *st = NULL;
    struct storage_iter *it = NULL;
    struct storage_object object;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf got = BUF_INIT;
    uint64_t count;
    const char *names[] = {"x/a"};
    (void)state;
    watch_init(&w);
    assert_int_equal(ram_open(registry, "r", &inner, &err), 0);
    assert_int_equal(watch_storage(&w, inner, &st, &err), 0);
    assert_string_equal(st->display, "ram://r");
    assert_false(storage_can_fetch(st)); /* as the store itself */
    assert_int_equal(st->features, STORAGE_CONDITIONAL_CREATE);
    assert_int_equal(storage_put(st, "x/a", slice_str("hello"), &err), 0);
    assert_int_equal(storage_put(st, "x/a", slice_str("again"), &err), -TM_E_EXISTS);
    assert_string_equal(err.msg, "cannot commit 'x/a': it already exists");
    assert_int_equal(storage_get(st, "x/a", 100, &got, &err), 0);
    assert_true(slice_eq(buf_slice(&got), slice_str("hello")));
    assert_int_equal(storage_list(st, "x/", NULL, &it, &err), 0);
    assert_int_equal(storage_iter_next(it, &object, &err), 1);
    assert_string_equal(object.name, "x/a");
    assert_int_equal(storage_iter_skip(it, "x/b", &err), 0);
    assert_int_equal(storage_iter_next(it, &object, &err), 0);
    storage_iter_free(it);
    assert_int_equal(storage_sweep_leftovers(st, "x/", 1, &count, &err), 0);
    assert_int_equal(count, 0);
    assert_int_equal(storage_free_space(st, &count, &err), 0);
    assert_true(count == UINT64_MAX);
    assert_int_equal(storage_remove(st, names, 1, &err), 0);
    assert_int_equal(storage_stat(st, "x/a", &object, &err), -TM_E_NOT_FOUND);
    storage_free(st);
    watch_release(&w);
    ram_registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_is_told),
        cmocka_unit_test(troubles_last_as_long_as_their_calls),
        cmocka_unit_test(every_call_is_noted),
        cmocka_unit_test(reads_ahead_and_settled_commits_pass_through),
        cmocka_unit_test(results_are_the_storages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
