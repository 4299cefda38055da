/* agent/log: truncating, and removing what was truncated, over the null engine and storage in memory. */
#include "tests/unit/agent/log/fixture.h"

/* One after the other, and running on. */
static void three_chunks(struct rig *g)
{
    for (uint32_t n = 1; n <= 3; n++) {
        char words[32];
        (void)snprintf(words, sizeof(words), "log=%u", n * 100000);
        rig_source(g, words);
        run_to(g, n, S + n * 100000);
        if (n < 3)
            rig_stop(g);
    }
}

/* All but the newest chunk, which stays for who goes on from there. */
static void want_all_gone(struct rig *g)
{
    g->params.truncate_gen = 1;
    g->params.truncate_until = "2099-01-01T00:00:00Z";
    g->params.truncate_force = true;
    rig_want(g, JOB_STEP_RUN);
}

static void test_truncate(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    g.params.truncate_gen = 3;
    g.params.truncate_until = "immediate";
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.truncate_gen == 3 && g.has_truncate_error);
    assert_string_equal(g.truncate_text, "'immediate' is neither a time nor a position");
    assert_true(g.truncate_since_us > clock_real_us() - RIG_WAIT_US);
    g.params.truncate_gen = 4;
    g.params.truncate_until = "2020-01-01T00:00:00Z";
    rig_want(&g, JOB_STEP_STOP); /* truncation is still done when stopped */
    RIG_UNTIL(&g, g.status.truncate_gen == 4);
    g.params.truncate_gen = 5;
    g.params.truncate_blind = true;
    rig_want(&g, JOB_STEP_STOP);
    RIG_UNTIL(&g, g.status.truncate_gen == 5 && g.has_truncate_error);
    assert_string_equal(g.truncate_text,
                        "backups lie in more than 4 other storages, and one that is not looked at "
                        "may need the log: delete it first, or force");
    g.params.truncate_gen = 6;
    g.params.truncate_force = true;
    rig_want(&g, JOB_STEP_STOP);
    RIG_UNTIL(&g, g.status.truncate_gen == 6 && !g.has_truncate_error);
    rig_stop(&g);
    rig_end(&g);
}

/* What was truncated goes when its grace is over, whoever runs then: here one that is stopped, and was
 * asked for nothing. */
static void test_truncated_goes_later(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=100000");
    three_chunks(&g);
    RIG_UNTIL(&g, g.status.removal == LOG_REMOVAL_DONE); /* looked, and there is nothing */
    want_all_gone(&g);
    RIG_UNTIL(&g, g.status.truncate_gen == 1);
    assert_false(g.has_truncate_error);
    assert_int_equal(g.status.removal, LOG_REMOVAL_WAITS);
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(list.count, 1);
    uint64_t cut = list.items[0].truncated;
    assert_true(cut > S && cut < S + 300000);
    size_t all = count_room(&g, list.items[0].record.id, "chunk");
    assert_true(all >= 3);
    rig_stop(&g);

    g.params = (struct msg_log_params){.flush_ms = 100, .grace_ms = 1};
    ram_set_faults(g.storage,
                   &(struct ram_faults){.fail_op[RAM_REMOVE] = 1, .fail_code = TM_E_UNAVAILABLE});
    rig_start(&g, 4);
    rig_want(&g, JOB_STEP_STOP);
    RIG_UNTIL(&g, g.has_removal_error);
    assert_int_equal(g.status.removal, LOG_REMOVAL_UNKNOWN);
    assert_non_null(strstr(g.removal_text, "the store does not answer"));
    RIG_UNTIL(&g, g.status.removal == LOG_REMOVAL_DONE && !g.has_removal_error);
    rig_stop(&g);
    assert_int_equal(count_room(&g, list.items[0].record.id, "chunk"), 1);
    log_lineages_release(&list);
    rig_end(&g);
}

/* A shorter grace counts for what waits already; a run that goes on removes without being told. */
static void test_shorter_grace(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=100000");
    three_chunks(&g);
    want_all_gone(&g);
    RIG_UNTIL(&g, g.status.truncate_gen == 1 && g.status.removal == LOG_REMOVAL_WAITS);
    g.params.grace_ms = 1500;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.removal == LOG_REMOVAL_DONE);
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(count_room(&g, list.items[0].record.id, "chunk"), 1);
    log_lineages_release(&list);
    rig_end(&g);
}

/* The newest lineage of the source's branch, truncated as a whole while nobody wrote. */
static void truncate_whole(struct rig *g, const uint8_t lineage[16])
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct epoch epoch = {7, 9};
    struct truncation record = {.from = LOG_TRUNCATED_ALL,
                                .term = epoch.term,
                                .counter = epoch.counter,
                                .created_us = clock_real_us()};
    struct object_info info;
    struct rel_name rel = names_rel_truncate(epoch, 0);
    memcpy(record.lineage, lineage, sizeof(record.lineage));
    OK(object_scratch_new(&scratch, &g_err));
    OK(record_put(scratch, g->storage, names_full(&g->options.scope, rel.s).s, OBJECT_TRUNCATION,
                  (const uint8_t[OBJECT_NONCE_BYTES]){1}, &truncation_codec, &record, &info,
                  &g_err));
}

/* What is written to it would never be read: another one is begun. */
static void test_truncated_whole(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=100000");
    run_to(&g, 1, S + 100000);
    rig_stop(&g);
    struct log_lineages before = rig_lineages(&g);
    assert_int_equal(before.count, 1);
    truncate_whole(&g, before.items[0].record.id);
    rig_source(&g, "log=200000");
    run_to(&g, 2, S + 200000);
    rig_stop(&g);
    struct log_lineages after = rig_lineages(&g);
    assert_int_equal(after.count, 2);
    assert_memory_equal(after.items[0].record.id, before.items[0].record.id, 16);
    assert_true(after.items[0].truncated == LOG_TRUNCATED_ALL);
    assert_int_equal(after.items[1].truncated, 0);
    struct stored stored = rig_check(&g, &after.items[1], g.conninfo);
    assert_int_equal(stored.runs, 1);
    assert_int_equal(stored.to, S + 200000);
    log_lineages_release(&before);
    log_lineages_release(&after);
    rig_end(&g);
}

/* Nothing is there, as if it were not mounted: neither done nor refused, by force or not. */
static void test_nothing_is_there(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=100000");
    g.params.truncate_gen = 1;
    g.params.truncate_until = "2020-01-01T00:00:00Z";
    g.params.truncate_force = true;
    rig_start(&g, 1);
    rig_want(&g, JOB_STEP_STOP);
    RIG_UNTIL(&g, g.has_truncate_error);
    assert_int_equal(g.status.truncate_gen, 0);
    g.params.truncate_gen = 2;
    g.params.truncate_force = false;
    rig_want(&g, JOB_STEP_STOP);
    int64_t since_us = clock_mono_us();
    RIG_UNTIL(&g, clock_mono_us() - since_us > 2 * USEC_PER_SEC);
    assert_true(g.has_truncate_error);
    assert_int_equal(g.status.truncate_gen, 0);
    /* it is there again: done without being asked anew */
    g.params.truncate_force = true;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.truncate_gen == 2 && !g.has_truncate_error);
    rig_stop(&g);
    rig_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncate),         cmocka_unit_test(test_truncated_goes_later),
        cmocka_unit_test(test_shorter_grace),    cmocka_unit_test(test_truncated_whole),
        cmocka_unit_test(test_nothing_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
