/* agent/log: questions about the stored log, answered by a task that runs, pauses or is stopped. */
#include "tests/unit/agent/log/fixture.h"

#include "proto/format/events.h"

/* The newest answer, copied. */
static struct told {
    unsigned count;
    struct msg_log_answer answer;
    struct codec_arena arena;
} told;

static void take(void *arg, const struct msg_log_answer *answer)
{
    struct rig *g = arg;
    struct tm_err err;
    pthread_mutex_lock(&g->lock);
    codec_arena_release(&told.arena);
    if (codec_copy(&msg_log_answer_codec, answer, &told.arena, &told.answer, &err) < 0)
        abort();
    told.count++;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

/* Asks once, and waits for the answer. */
static const struct msg_log_answer *ask(struct rig *g, enum job_step step,
                                        struct msg_log_query query)
{
    static uint64_t last;
    query.id = ++last;
    g->params.query = &query;
    rig_want(g, step);
    rig_want(g, step); /* told again, it is still answered once */
    RIG_UNTIL(g, told.answer.id == query.id);
    g->params.query = NULL;
    rig_want(g, step);
    return &told.answer;
}

static void begin(struct rig *g, const char *url)
{
    memset(&told, 0, sizeof(told));
    rig_begin_options(g, url, "log=300000");
    g->options.answer = take;
    rig_start(g, 1);
    rig_want(g, JOB_STEP_RUN);
    RIG_UNTIL(g, g->status.durable == S + 300000);
}

static void end(struct rig *g)
{
    rig_stop(g);
    rig_end(g);
    codec_arena_release(&told.arena);
}

static void test_search(void **state)
{
    (void)state;
    struct rig g;
    begin(&g, "ram://ask-search");
    const struct msg_log_answer *all =
        ask(&g, JOB_STEP_RUN, (struct msg_log_query){.kind = LOG_QUERY_SEARCH});
    assert_null(all->error);
    assert_false(all->more);
    assert_true(all->events_count > 4);
    size_t count = all->events_count;
    struct msg_log_event third = all->events[2];
    assert_int_equal(third.kind, EVENT_COMMIT);
    assert_true(third.xid > 0);
    assert_string_equal(third.label, "1");
    assert_int_equal(strlen(third.lineage), 32);

    const struct msg_log_answer *one =
        ask(&g, JOB_STEP_PAUSE, (struct msg_log_query){.kind = LOG_QUERY_SEARCH, .xid = third.xid});
    assert_int_equal(one->events_count, 1);
    assert_string_equal(one->events[0].position, third.position);
    const struct msg_log_answer *some =
        ask(&g, JOB_STEP_STOP,
            (struct msg_log_query){.kind = LOG_QUERY_SEARCH, .limit = (uint32_t)count - 1});
    assert_int_equal(some->events_count, count - 1);
    assert_true(some->more);
    const struct msg_log_answer *none =
        ask(&g, JOB_STEP_STOP, (struct msg_log_query){.kind = LOG_QUERY_SEARCH, .name = "nobody"});
    assert_int_equal(none->events_count, 0);
    assert_false(none->more);
    assert_int_equal(told.count, 4);
    end(&g);
}

/* Nothing is removed, and what is wrong with the wish is said. */
static void test_truncate(void **state)
{
    (void)state;
    struct rig g;
    begin(&g, "ram://ask-truncate");
    rig_source(&g, "log=500000");
    RIG_UNTIL(&g, g.status.durable == S + 500000);
    struct msg_log_query query = {.kind = LOG_QUERY_TRUNCATE, .until = "time:2099-01-01T00:00:00Z"};
    const struct msg_log_answer *a = ask(&g, JOB_STEP_RUN, query);
    assert_non_null(a->error); /* no backup lies there */
    assert_int_equal(a->error->code, TM_E_REFUSED);
    query.force = true;
    a = ask(&g, JOB_STEP_RUN, query);
    assert_null(a->error);
    assert_int_equal(a->chunks, 1);
    assert_true(a->bytes > 0);
    assert_string_equal(a->truncated_position, "1348576");
    assert_int_equal(g.status.truncate_gen, 0);
    a = ask(&g, JOB_STEP_RUN,
            (struct msg_log_query){.kind = LOG_QUERY_TRUNCATE, .until = "immediate"});
    assert_non_null(a->error);
    assert_int_equal(a->error->code, TM_E_INVALID);
    assert_string_equal(a->error->text, "'immediate' is neither a time nor a position");
    a = ask(&g, JOB_STEP_RUN, (struct msg_log_query){.kind = 30});
    assert_string_equal(a->error->text, "query 30 is not known to this agent");
    rig_stop(&g);
    struct log_lineages list = rig_lineages(&g);
    struct stored stored = rig_check(&g, &list.items[0], g.conninfo);
    assert_int_equal(stored.runs, 1);
    assert_int_equal(stored.chunks, 2);
    assert_int_equal(list.items[0].truncated, 0);
    log_lineages_release(&list);
    end(&g);
}

/* A storage that is away is the answer. */
static void test_storage_away(void **state)
{
    (void)state;
    struct rig g;
    begin(&g, "ram://ask-away");
    ram_set_faults(g.storage, &(struct ram_faults){.fail_per_mille = 1000});
    const struct msg_log_answer *a =
        ask(&g, JOB_STEP_PAUSE, (struct msg_log_query){.kind = LOG_QUERY_SEARCH});
    assert_non_null(a->error);
    assert_string_equal(a->error->stage, "query");
    ram_set_faults(g.storage, &(struct ram_faults){.fail_per_mille = 0});
    end(&g);
}

/* An empty place is one that is not mounted: nothing is said of what it would hold. */
static void test_not_mounted(void **state)
{
    (void)state;
    struct rig g;
    memset(&told, 0, sizeof(told));
    rig_begin_options(&g, "ram://ask-empty", "log=300000");
    g.options.answer = take;
    rig_start(&g, 1);
    const struct msg_log_answer *a =
        ask(&g, JOB_STEP_STOP,
            (struct msg_log_query){
                .kind = LOG_QUERY_TRUNCATE, .until = "time:2099-01-01T00:00:00Z", .force = true});
    assert_non_null(a->error);
    assert_int_equal(a->error->code, TM_E_NOT_FOUND);
    assert_string_equal(a->error->text,
                        "cannot stat 'demo1/main/null1/identity.mpk': No such file or directory");
    a = ask(&g, JOB_STEP_STOP, (struct msg_log_query){.kind = LOG_QUERY_SEARCH});
    assert_non_null(a->error);
    assert_int_equal(a->error->code, TM_E_NOT_FOUND);
    end(&g);
}

/* One lineage is damaged: the answer has the others, and says which is left out. */
static void test_damaged_lineage(void **state)
{
    (void)state;
    struct rig g;
    begin(&g, "ram://ask-damaged");
    static const uint8_t id[NAMES_LINEAGE_BYTES] = {0xda};
    struct rel_name rel = names_rel_lineage(id);
    OK(storage_put(g.storage, names_full(&g.options.scope, rel.s).s, slice_str("no record"),
                   &g_err));
    const struct msg_log_answer *a =
        ask(&g, JOB_STEP_PAUSE, (struct msg_log_query){.kind = LOG_QUERY_SEARCH});
    assert_null(a->error);
    assert_true(a->events_count > 4);
    assert_non_null(a->warning);
    static const char lineage[] = "lineage da000000000000000000000000000000 is damaged: object '";
    assert_memory_equal(a->warning, lineage, sizeof(lineage) - 1);
    a = ask(&g, JOB_STEP_PAUSE,
            (struct msg_log_query){
                .kind = LOG_QUERY_TRUNCATE, .until = "time:2099-01-01T00:00:00Z", .force = true});
    assert_null(a->error);
    assert_non_null(a->warning);
    assert_memory_equal(a->warning, "lineage da000000000000000000000000000000 is damaged, and left",
                        61);
    end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),          cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_storage_away),    cmocka_unit_test(test_not_mounted),
        cmocka_unit_test(test_damaged_lineage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
