/* agent/log: killed at any point, under load, again and again. What is stored stays one unbroken
 * chain of the source's bytes, nothing is there twice. Each life is a process that is killed with
 * SIGKILL while it streams onto a path. TM_KILL_ROUNDS says how often. */
#include "tests/unit/agent/log/fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#define ROUNDS 200

static uint64_t rounds(void)
{
    const char *text = getenv("TM_KILL_ROUNDS");
    return text ? strtoull(text, NULL, 10) : ROUNDS;
}

/* The life that is killed: only the parent reports. */
static void live(struct rig *g, uint32_t generation)
{
    struct tm_err err;
    g->options.epoch = (struct epoch){7, generation << 16};
    g->options.status = NULL;
    if (log_task_new(&g->options, &g->task, &err) < 0 ||
        log_task_want(g->task, JOB_STEP_RUN, &g->params, &err) < 0)
        _exit(1);
    g->task->mark_us = 50000;
    int r = log_task_run(g->task, &err);
    (void)fprintf(stderr, "life %u ended by itself: %d %s\n", generation, r, err.msg);
    _exit(1);
}

static void one_life(struct rig *g, uint32_t generation, unsigned us)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        live(g, generation);
    (void)usleep(us);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* else it said why it ended */
}

/* Chunks below the newest writer's start that do not count: there must be none but fenced ones. */
static void check_all(struct rig *g, uint64_t *to)
{
    struct log_lineages list = rig_lineages(g);
    assert_int_equal(list.count, 1);
    struct stored stored = rig_check(g, &list.items[0], g->conninfo);
    assert_true(stored.runs <= 1);
    assert_true(stored.to >= *to); /* what was stored once stays */
    *to = stored.to;
    log_lineages_release(&list);
}

static void test_killed(void **state)
{
    (void)state;
    struct rig g;
    char url[128], words[160];
    uint64_t to = 0;
    unsigned seed = 20261126;
    rig_begin_options(&g, "ram://unused", "log=65536");
    storage_free(g.storage);
    (void)snprintf(url, sizeof(url), "file://%s/store", g.dir);
    OK(storage_open(url, &(struct storage_options){.create_root = true}, &g.storage, &g_err));
    g.options.storage = g.storage;
    g.params.flush_ms = 20;
    (void)snprintf(words, sizeof(words), "log=65536 rate=4000000 since=%llu",
                   (unsigned long long)clock_real_us());
    rig_source(&g, words);
    uint64_t n = rounds();
    for (uint32_t i = 1; i <= n; i++) {
        one_life(&g, i, 2000 + (unsigned)rand_r(&seed) % 150000);
        if (i % 20 == 0)
            check_all(&g, &to);
    }
    /* and one that is let live catches up */
    g.options.status = rig_status;
    rig_start(&g, (uint32_t)n + 1);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.durable > NULL_LOG_START + 65536 && g.status.checkpoint_us > 0);
    uint64_t told = g.status.durable;
    rig_stop(&g);
    check_all(&g, &to);
    assert_true(to >= told);
    rig_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
