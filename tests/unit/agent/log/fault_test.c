/* agent/log: a source, a store and a stage that fail or hang for a while, and what is told of it. */
#include "tests/unit/agent/log/fixture.h"

#include <stdatomic.h>

static void test_source_fails(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000 fail=log_describe");
    rig_start(&g, 1);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.has_error);
    assert_string_equal(g.error_text, "node n1: log_describe: asked to fail by conninfo");
    assert_string_equal(g.error.stage, "receive");
    assert_true(g.error.since_us > 0);
    rig_source(&g, "log=300000 fail=log_next");
    RIG_UNTIL(&g, strstr(g.error_text, "log_next"));
    rig_source(&g, "log=300000");
    RIG_UNTIL(&g, g.status.durable == S + 300000 && !g.has_error);
    rig_source(&g, "log=400000 fail=hold_look");
    RIG_UNTIL(&g, g.has_error && strstr(g.error_text, "hold_look"));
    RIG_UNTIL(&g, g.status.durable == S + 400000); /* log is stored all the same */
    rig_source(&g, "log=400000");
    RIG_UNTIL(&g, !g.has_error && g.status.checkpoint_us > 0);
    rig_stop(&g);
    rig_end(&g);
}

/* ---- a look for newer writers that takes longer than the next session needs to begin ---- */

static struct {
    struct storage_ops ops; /* the store's, with `list` replaced */
    const struct storage_ops *real;
    atomic_bool armed;     /* the next look for claims waits for another claim */
    atomic_bool overtaken; /* one came while it waited */
} g_slow;

static unsigned claims(struct storage *st, const char *prefix)
{
    struct storage_iter *it;
    struct storage_object object;
    struct tm_err err;
    unsigned count = 0;
    if (g_slow.real->list(st, prefix, "", &it, &err) < 0)
        return 0;
    while (it->ops->next(it, &object, &err) == 1)
        count++;
    it->ops->free(it);
    return count;
}

static int slow_list(struct storage *st, const char *prefix, const char *start_after,
                     struct storage_iter **ret, struct tm_err *err)
{
    if (strstr(prefix, "/claim") && atomic_exchange(&g_slow.armed, false)) {
        unsigned before = claims(st, prefix);
        int64_t until_us = clock_mono_us() + RIG_WAIT_US / 2;
        while (claims(st, prefix) == before && clock_mono_us() < until_us)
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        g_slow.overtaken = claims(st, prefix) > before;
    }
    return g_slow.real->list(st, prefix, start_after, ret, err);
}

/* The task's own next claim is no newer writer's. */
static void test_own_claim(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    g_slow.real = g.storage->ops;
    g_slow.ops = *g.storage->ops;
    g_slow.ops.list = slow_list;
    g.storage->ops = &g_slow.ops;
    run_to(&g, 1, S + 200000);
    g_slow.armed = true;
    while (g_slow.armed) /* the look has begun */
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    rig_source(&g, "log=300000 fail=log_next");
    RIG_UNTIL(&g, strstr(g.error_text, "log_next"));
    rig_source(&g, "log=300000");
    RIG_UNTIL(&g, g.status.durable == S + 300000 && !g.has_error);
    assert_true(g_slow.overtaken);
    rig_stop(&g);
    rig_end(&g);
}

/* The store is away for a while: told with stage and since when; then all goes on. */
static void test_storage_fails(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    RIG_UNTIL(&g, g.status.checkpoint_us > 0);
    ram_set_faults(g.storage, &(struct ram_faults){.seed = 1, .fail_per_mille = 1000});
    rig_source(&g, "log=400000");
    RIG_UNTIL(&g, g.has_error && strcmp(g.error.stage, "upload") == 0);
    assert_true(g.error.since_us > 0 && g.error.since_us <= clock_real_us());
    RIG_UNTIL(&g, g.status.upload_ms > 0);
    assert_int_equal(g.status.durable, S + 200000);
    uint64_t latency_us = g.status.latency_us;
    RIG_UNTIL(&g, g.status.latency_us > latency_us);
    ram_set_faults(g.storage, &(struct ram_faults){.seed = 1});
    RIG_UNTIL(&g, g.status.durable == S + 400000 && !g.has_error);
    rig_stop(&g);
    assert_int_equal(rig_runs(&g), 1);
    rig_end(&g);
}

/* A bucket that is denied for a while, by a gateway say, although log was stored in it. */
static void test_bucket_denied(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    RIG_UNTIL(&g, g.status.checkpoint_us > 0);
    ram_set_faults(g.storage,
                   &(struct ram_faults){.fail_op[RAM_COMMIT] = 1, .fail_code = TM_E_INVALID});
    rig_source(&g, "log=400000");
    RIG_UNTIL(&g, g.status.durable == S + 400000 && !g.has_error);
    rig_stop(&g);
    assert_int_equal(rig_runs(&g), 1);
    rig_end(&g);
}

/* The moment that is told can be proven from storage alone, at any time: without it an idle log's does
 * not move either. */
static void test_told_is_stored(void **state)
{
    (void)state;
    struct rig g;
    struct log_head head;
    struct object_scratch *scratches[2] = {NULL, NULL};
    RIG_BEGIN(&g, "log=200000");
    rig_start(&g, 1);
    g.task->mark_us = 50000;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.durable == S + 200000 && g.status.checkpoint_us > 0);
    ram_set_faults(g.storage, &(struct ram_faults){.seed = 1, .fail_per_mille = 1000});
    RIG_UNTIL(&g, g.has_error && strcmp(g.error.stage, "mark") == 0);
    int64_t told_us = g.status.checkpoint_us;
    RIG_UNTIL(&g, g.status.source_us > told_us + 4 * USEC_PER_SEC);
    assert_int_equal(g.status.checkpoint_us, told_us);
    assert_true(g.status.latency_us >= 4 * USEC_PER_SEC);
    rig_stop(&g);
    ram_set_faults(g.storage, &(struct ram_faults){.seed = 1});
    struct log_lineages list = rig_lineages(&g);
    OK(object_scratch_new(&scratches[0], &g_err));
    OK(object_scratch_new(&scratches[1], &g_err));
    OK(log_head_read(scratches, g.storage, &g.options.scope, &list.items[0], &head, &g_err));
    assert_true(head.mark_us >= told_us);
    object_scratch_free(scratches[0]);
    object_scratch_free(scratches[1]);
    log_lineages_release(&list);
    rig_end(&g);
}

/* A stage that waits is told although nothing complains. */
static void test_stuck(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    pthread_mutex_lock(&g.task->lock);
    g.task->stuck_us = 100000;
    g.task->commit_number += 100; /* nobody's turn comes */
    pthread_mutex_unlock(&g.task->lock);
    rig_source(&g, "log=300000");
    RIG_UNTIL(&g, g.has_error);
    assert_string_equal(g.error.stage, "upload");
    assert_int_equal(g.error.code, TM_E_TIMEOUT);
    assert_memory_equal(g.error_text, "node n1: log waits to be uploaded for ", 38);
    pthread_mutex_lock(&g.task->lock);
    g.task->commit_number -= 100;
    pthread_cond_broadcast(&g.task->changed);
    pthread_mutex_unlock(&g.task->lock);
    RIG_UNTIL(&g, g.status.durable == S + 300000 && !g.has_error);
    rig_stop(&g);
    rig_end(&g);
}

#define LIFE_US (5 * USEC_PER_SEC) /* at most, until it stores something */

/* Failures and lost answers everywhere, under load, over several lives. */
static void test_faults(void **state)
{
    (void)state;
    struct rig g;
    char words[128];
    RIG_BEGIN(&g, "log=65536");
    run_to(&g, 1, S + 65536);
    rig_stop(&g);
    (void)snprintf(words, sizeof(words), "log=65536 rate=3000000 since=%llu",
                   (unsigned long long)clock_real_us());
    rig_source(&g, words);
    uint64_t to = S + 65536, chunks = 0;
    uint32_t grew = 0; /* lives that stored something; a slow machine needs more for as much */
    for (uint32_t n = 2; n < 40 && (grew < 6 || chunks <= 20 || to <= S + 4000000); n++) {
        struct ram_faults faults = {.seed = n,
                                    .fail_per_mille = 4, /* to begin takes hundreds of calls */
                                    .drop_reply_per_mille = 100,
                                    .no_conditional_create = n % 2 == 0};
        const uint64_t before = to;
        const int64_t until_us = clock_mono_us() + LIFE_US;
        ram_set_faults(g.storage, &faults);
        rig_start(&g, n);
        rig_want(&g, JOB_STEP_RUN);
        RIG_UNTIL(&g, g.status.durable > before || clock_mono_us() > until_us);
        faults.fail_per_mille = 20;
        ram_set_faults(g.storage, &faults);
        (void)usleep(500000);
        RIG_UNTIL(&g, true);
        to = TM_MAX(to, g.status.durable);
        grew += to > before;
        chunks += g.status.chunks;
        rig_stop(&g);
    }
    ram_set_faults(g.storage, &(struct ram_faults){.seed = 1});
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(list.count, 1);
    struct stored stored = rig_check(&g, &list.items[0], g.conninfo);
    assert_int_equal(stored.runs, 1);
    assert_true(grew >= 6 && stored.chunks > 10 && stored.to > S + 3000000);
    log_lineages_release(&list);
    rig_end(&g);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_fails),   cmocka_unit_test(test_storage_fails),
        cmocka_unit_test(test_told_is_stored), cmocka_unit_test(test_stuck),
        cmocka_unit_test(test_faults),         cmocka_unit_test(test_own_claim),
        cmocka_unit_test(test_bucket_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
