/* A plan on its way to the agent: batches, and the root of the last one. */
#include "tests/unit/agent/runner/stage.h"

#include "agent/runner/internal.h"

#define COUNT (FRAME_PLAN_MAX + 3)

struct pair {
    struct runner runner;
    int fd;
    struct buf in;
};

static int setup(void **state)
{
    int fds[2];
    struct pair *p = calloc(1, sizeof(*p));
    OK(fd_socketpair(false, fds, &err));
    p->runner.fd = fds[0];
    p->runner.engine = &null_engine;
    p->fd = fds[1];
    assert_int_equal(pthread_mutex_init(&p->runner.send_lock, NULL), 0);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct pair *p = *state;
    closep(&p->runner.fd);
    closep(&p->fd);
    buf_release(&p->in);
    (void)pthread_mutex_destroy(&p->runner.send_lock);
    free(p);
    return 0;
}

static void next(struct pair *p, struct frame *ret)
{
    assert_int_equal(frame_recv(p->fd, &p->in, ret, &err), 1);
    assert_int_equal(ret->type, FRAME_plan_batch);
}

struct filled {
    struct pair *pair;
    struct plan_batch *batch;
};

/* Range i: keys of four digits, as large as its number. */
static void *fill(void *arg)
{
    const struct filled *to = arg;
    struct tm_err ignored;
    for (uint32_t i = 0; i < COUNT; i++) {
        char start[8];
        char end[8];
        (void)snprintf(start, sizeof(start), "%04u", i);
        (void)snprintf(end, sizeof(end), "%04u", i + 1);
        struct engine_key_range range = {i > 0 ? slice_str(start) : SLICE_EMPTY,
                                         i + 1 < COUNT ? slice_str(end) : SLICE_EMPTY};
        if (plan_batch_add(to->batch, i, range, i, &ignored) < 0)
            return NULL;
    }
    plan_batch_last(to->batch, (struct epoch){7, 0x10100}, 1790000000000000);
    return to->pair;
}

static void in_batches(void **state)
{
    struct pair *p = *state;
    struct filled to = {.pair = p};
    struct frame f;
    struct epoch plan;
    int64_t started_us;
    void *whole = NULL;
    pthread_t thread;
    OK(plan_batch_new(&p->runner, &to.batch, &err));
    assert_int_equal(pthread_create(&thread, NULL, fill, &to), 0);
    next(p, &f);
    assert_int_equal(f.plan_batch.first, 0);
    assert_int_equal(f.plan_batch.ranges_count, FRAME_PLAN_MAX);
    assert_false(f.plan_batch.last);
    assert_int_equal(f.plan_batch.root.len, 0);
    assert_int_equal(f.plan_batch.ranges[0].start.len, 0);
    assert_int_equal(slice_cmp(f.plan_batch.ranges[1].start, slice_str("0001")), 0);
    assert_int_equal(f.plan_batch.ranges[1].bytes, 1);
    assert_true(f.plan_batch.ranges[1].anywhere);
    frame_release(&f);
    next(p, &f);
    assert_int_equal(f.plan_batch.first, FRAME_PLAN_MAX);
    assert_int_equal(f.plan_batch.ranges_count, 3);
    assert_true(f.plan_batch.last);
    assert_int_equal(f.plan_batch.ranges[2].end.len, 0);
    assert_int_equal(f.plan_batch.ranges[2].bytes, COUNT - 1);
    assert_false(f.plan_batch.ranges[2].anywhere); /* the last one, without an end */
    assert_int_equal(plan_root_parse(f.plan_batch.root, &plan, &started_us, &err), 0);
    assert_int_equal(plan.term, 7);
    assert_int_equal(plan.counter, 0x10100);
    assert_int_equal(started_us, 1790000000000000);
    frame_release(&f);
    pthread_join(thread, &whole);
    assert_non_null(whole);
    plan_batch_free(to.batch);
}

static void a_key_that_is_too_long(void **state)
{
    struct pair *p = *state;
    static uint8_t key[ENGINE_KEY_MAX + 1];
    struct plan_batch *batch = NULL;
    struct engine_key_range range = {SLICE_EMPTY, slice_of(key, sizeof(key))};
    char text[64];
    (void)snprintf(text, sizeof(text), "a key is longer than %d bytes", ENGINE_KEY_MAX);
    OK(plan_batch_new(&p->runner, &batch, &err));
    assert_int_equal(plan_batch_add(batch, 0, range, 1, &err), -TM_E_INTERNAL);
    assert_string_equal(err.msg, text);
    plan_batch_free(batch);
}

static void a_root_that_is_none(void **state)
{
    (void)state;
    struct epoch plan = {.term = 1};
    int64_t started_us = 2;
    uint8_t bytes[21] = {0};
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        char text[64];
        if (len == 20)
            continue;
        (void)snprintf(text, sizeof(text), "begin: the plan's root has %zu bytes, not 20", len);
        assert_int_equal(plan_root_parse(slice_of(bytes, len), &plan, &started_us, &err),
                         -TM_E_INVALID);
        assert_string_equal(err.msg, text);
    }
    assert_int_equal(plan.term, 1);
    assert_int_equal(started_us, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_batches, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_that_is_too_long, setup, teardown),
        cmocka_unit_test(a_root_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
