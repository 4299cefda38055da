/* agent/log: the whole task over the null engine and storage in memory. */
#include "tests/unit/agent/log/fixture.h"

#include "proto/repo/catalog.h"

/* ---- streaming ---- */

static void test_streams(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    rig_start(&g, 1);
    RIG_UNTIL(&g, g.calls > 0);
    assert_int_equal(g.stage, JOB_STAGE_STARTING);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.stage == JOB_STAGE_WORKING && g.status.durable == S + 500000);
    RIG_UNTIL(&g, g.status.checkpoint_us > 0);
    assert_string_equal(g.status.position, "1548576");
    assert_string_equal(g.status.label, "1");
    assert_int_equal(g.status.flushed, S + 500000);
    assert_false(g.has_error);
    rig_source(&g, "log=600000 ahead=5000000");
    RIG_UNTIL(&g, g.status.hold_at == S + 600000 - 1); /* one byte behind what is stored */
    RIG_UNTIL(&g, g.status.skew_us == 5000000);
    RIG_UNTIL(&g, g.status.needs_full); /* there is no backup at all */
    rig_stop(&g);
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(list.count, 1);
    /* the hold was made at the end of the log: from its segment on */
    assert_int_equal(list.items[0].record.from, 1507328);
    assert_string_equal(list.items[0].record.node, "n1");
    struct stored stored = rig_check(&g, &list.items[0], g.conninfo);
    assert_int_equal(stored.runs, 1);
    assert_int_equal(stored.from, 1507328);
    assert_int_equal(stored.to, S + 600000);
    assert_true(stored.checked_events > 30);
    log_lineages_release(&list);
    rig_end(&g);
}

/* Before anything is stored nothing is said of backups that lead to it; with the first of it, it is. */
static void test_what_leads_to_it(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    g.params.flush_ms = 3600000;
    rig_start(&g, 1);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.received == S + 500000);
    (void)usleep(2500000); /* it has looked by then */
    assert_int_equal(g.status.chunks, 0);
    assert_false(g.status.needs_full);
    g.params.flush_ms = 100;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.durable == S + 500000 && g.status.needs_full);
    rig_stop(&g);
    rig_end(&g);
}

/* Nothing happens: one mark, no chunk; and the mark before goes. */
static void test_idle_marks(void **state)
{
    (void)state;
    struct rig g;
    struct log_mark mark = {.at = 0};
    bool found = false;
    RIG_BEGIN(&g, "log=100000");
    rig_start(&g, 1);
    g.task->mark_us = USEC_PER_SEC;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.durable == S + 100000 && g.status.checkpoint_us > 0);
    struct log_lineages list = rig_lineages(&g);
    const uint8_t *id = list.items[0].record.id;
    int64_t first_us = 0, until_us = clock_mono_us() + RIG_WAIT_US;
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    OK(object_scratch_new(&scratch, &g_err));
    while (clock_mono_us() < until_us) { /* until a second one is there */
        OK(log_marks_newest(scratch, g.storage, &g.options.scope, id, UINT64_MAX, &mark, &found,
                            &g_err));
        if (found && first_us == 0)
            first_us = mark.time_us;
        if (found && mark.time_us != first_us)
            break;
        (void)usleep(50000);
    }
    assert_true(first_us != 0 && mark.time_us > first_us);
    assert_int_equal(mark.at, S + 100000);
    assert_true(count_room(&g, id, "mark") <= 2);
    assert_int_equal(count_room(&g, id, "chunk"), 1);
    rig_stop(&g);
    assert_true(count_room(&g, id, "mark") <= 2);
    log_lineages_release(&list);
    rig_end(&g);
}

/* What is there is continued after a proof, under another epoch; nothing is stored twice. */
static void test_continues(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=100000");
    run_to(&g, 1, S + 100000);
    rig_stop(&g);
    for (uint32_t n = 2; n <= 6; n++) {
        char words[32];
        (void)snprintf(words, sizeof(words), "log=%u", n * 100000);
        rig_source(&g, words);
        run_to(&g, n, S + n * 100000);
        rig_stop(&g);
    }
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(list.count, 1);
    struct stored stored = rig_check(&g, &list.items[0], g.conninfo);
    assert_int_equal(stored.runs, 1);
    assert_int_equal(stored.to, S + 600000);
    assert_int_equal(stored.chunks, count_room(&g, list.items[0].record.id, "chunk"));
    assert_int_equal(count_room(&g, list.items[0].record.id, "writer"), 6);
    log_lineages_release(&list);
    rig_end(&g);
}

/* Far behind: whole chunks come from files; and where files are missing the stream does it. */
static void test_catches_up(void **state)
{
    (void)state;
    for (int files = 0; files < 2; files++) {
        struct rig g;
        RIG_BEGIN(&g, "log=65536");
        run_to(&g, 1, S + 65536);
        rig_stop(&g);
        rig_source(&g, files ? "log=150000000" : "log=150000000 fail=log_read_file");
        g.params.flush_ms = 2000; /* a busy machine must not cut chunks by time */
        run_to(&g, 2, S + 150000000);
        rig_stop(&g);
        struct log_lineages list = rig_lineages(&g);
        struct stored stored = rig_check(&g, &list.items[0], g.conninfo);
        assert_int_equal(stored.runs, 1);
        assert_int_equal(stored.to, S + 150000000);
        assert_true(stored.chunks >= 9 && stored.chunks < 30);
        log_lineages_release(&list);
        rig_end(&g);
    }
}

/* Many chunks are rolled up while it runs; the chain is the same. */
static void test_rolls_up(void **state)
{
    (void)state;
    struct rig g;
    char words[96];
    RIG_BEGIN(&g, "log=65536");
    (void)snprintf(words, sizeof(words), "log=65536 rate=300000 since=%llu",
                   (unsigned long long)clock_real_us());
    rig_source(&g, words);
    g.params.flush_ms = 1;
    rig_start(&g, 1);
    g.task->roll_after = 20;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.chunks >= 60);
    rig_source(&g, "log=20000000"); /* at rest */
    RIG_UNTIL(&g, g.status.durable == S + 20000000);
    struct log_lineages list = rig_lineages(&g);
    const uint8_t *id = list.items[0].record.id;
    for (int i = 0; i < 100 && count_room(&g, id, "index") == 0; i++)
        (void)usleep(50000);
    rig_stop(&g);
    assert_true(count_room(&g, id, "index") >= 1);
    struct stored stored = rig_check(&g, &list.items[0], g.conninfo);
    assert_int_equal(stored.runs, 1);
    assert_int_equal(stored.to, S + 20000000);
    assert_int_equal(stored.chunks, count_room(&g, id, "chunk"));
    log_lineages_release(&list);
    /* and goes on behind it */
    rig_source(&g, "log=20100000");
    run_to(&g, 2, S + 20100000);
    rig_stop(&g);
    rig_end(&g);
}

/* ---- branches ---- */

/* Two lives over the same storage: one from the source that is there, one from another; each until so
 * much is stored. */
static struct log_lineages two_lives(struct rig *g, uint64_t first_to, const char *second,
                                     uint64_t second_to)
{
    run_to(g, 1, first_to);
    rig_stop(g);
    rig_source(g, second);
    run_to(g, 2, second_to);
    rig_stop(g);
    struct log_lineages list = rig_lineages(g);
    assert_int_equal(list.count, 2);
    return list;
}

/* A clone: the same label, other bytes. Nothing is mixed. */
static void test_clone(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    /* it differs in the last stored segment */
    struct log_lineages list = two_lives(&g, S + 200000, "log=300000 twist=1248000", S + 300000);
    struct stored clone = rig_check(&g, &list.items[1], g.conninfo);
    assert_int_equal(clone.to, S + 300000);
    rig_source(&g, "log=300000");
    struct stored first = rig_check(&g, &list.items[0], g.conninfo);
    assert_int_equal(first.to, S + 200000);
    log_lineages_release(&list);
    /* and back: the first one is found again, the clone's is left alone */
    run_to(&g, 3, S + 300000);
    rig_stop(&g);
    list = rig_lineages(&g);
    assert_int_equal(list.count, 2);
    first = rig_check(&g, &list.items[0], g.conninfo);
    assert_int_equal(first.to, S + 300000);
    assert_int_equal(first.runs, 1);
    log_lineages_release(&list);
    rig_end(&g);
}

/* The source was put back to an earlier state: what is stored reaches beyond what it ever wrote, so it
 * is another branch from now on, not only when it has caught up. */
static void test_put_back(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=300000");
    struct log_lineages list = two_lives(&g, S + 300000, "log=200000", S + 200000);
    assert_int_equal(rig_check(&g, &list.items[0], g.conninfo).to, S + 300000);
    assert_int_equal(rig_check(&g, &list.items[1], g.conninfo).to, S + 200000);
    log_lineages_release(&list);
    /* a standby may be behind: it is waited for */
    rig_source(&g, "log=199000 role=standby");
    g.params.from_standby = true;
    rig_start(&g, 3);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.flushed == S + 199000);
    rig_source(&g, "log=201000 role=standby");
    RIG_UNTIL(&g, g.status.durable == S + 201000);
    rig_stop(&g);
    list = rig_lineages(&g);
    assert_int_equal(list.count, 2);
    log_lineages_release(&list);
    rig_end(&g);
}

/* A clock that was ahead when an earlier lineage was minted: the one minted last is the newest. */
static void test_minted_last(void **state)
{
    (void)state;
    struct rig g;
    static const uint8_t nonce[OBJECT_NONCE_BYTES] = {1};
    struct lineage other = {.id = "other", .label = "9", .created_us = INT64_C(1) << 60};
    struct object_info info;
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    RIG_BEGIN(&g, "log=100000");
    OK(object_scratch_new(&scratch, &g_err));
    struct rel_name rel = names_rel_lineage(other.id);
    OK(record_put(scratch, g.storage, names_full(&g.options.scope, rel.s).s, OBJECT_LINEAGE, nonce,
                  &lineage_codec, &other, &info, &g_err));
    run_to(&g, 1, S + 100000);
    rig_stop(&g);
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[1].record.label, "1");
    assert_int_equal(list.items[1].record.created_us, other.created_us + 1);
    log_lineages_release(&list);
    rig_end(&g);
}

/* A promotion: the parent is finished up to the fork, then a child begins at the fork's segment. */
static void test_fork(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    rig_source(&g, "log=500000 branch=2 parent=1 fork=1400000"); /* while it streams */
    RIG_UNTIL(&g, strcmp(g.status.label, "2") == 0 && g.status.durable == S + 500000);
    RIG_UNTIL(&g, g.status.checkpoint_us > 0);
    rig_stop(&g);
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(list.count, 2);
    const struct log_lineage *child = &list.items[1];
    assert_string_equal(child->record.label, "2");
    assert_memory_equal(child->record.parent, list.items[0].record.id, 16);
    assert_int_equal(child->record.fork, 1400000);
    assert_int_equal(child->record.from, 1376256);
    assert_int_equal(child->record.history.len, strlen("1 1400000\n"));
    struct stored stored = rig_check(&g, child, g.conninfo);
    assert_int_equal(stored.to, S + 500000);
    struct stored parent = rig_check(&g, &list.items[0], "log=1");
    assert_int_equal(parent.to, 1400000);
    assert_int_equal(parent.runs, 1);
    log_lineages_release(&list);
    rig_end(&g);
}

/* The parent has more than the fork: that tail is left behind, and the child is proven by the rest. */
static void test_fork_behind(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=300000");
    run_to(&g, 1, S + 300000);
    rig_source(&g, "log=400000");
    RIG_UNTIL(&g, g.status.durable == S + 400000);
    rig_stop(&g);
    rig_source(&g, "log=500000 branch=2 parent=1 fork=1400000");
    run_to(&g, 2, S + 500000);
    rig_stop(&g);
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(list.count, 2);
    assert_memory_equal(list.items[1].record.parent, list.items[0].record.id, 16);
    struct stored parent = rig_check(&g, &list.items[0], "log=1");
    assert_int_equal(parent.to, S + 400000);
    assert_int_equal(count_room(&g, list.items[0].record.id, "writer"), 1); /* it was only read */
    log_lineages_release(&list);
    rig_end(&g);
}

/* All that is stored of the parent lies behind the fork: there is nothing that would prove it. */
static void test_fork_before_all(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=400000");
    struct log_lineages list =
        two_lives(&g, S + 400000, "log=500000 branch=2 parent=1 fork=1400000", S + 500000);
    uint8_t none[16] = {0};
    assert_memory_equal(list.items[1].record.parent, none, 16);
    assert_int_equal(rig_check(&g, &list.items[1], g.conninfo).from, 1376256);
    log_lineages_release(&list);
    rig_end(&g);
}

/* ---- gaps ---- */

static void test_gap(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=200000");
    run_to(&g, 1, S + 200000);
    rig_stop(&g);
    rig_source(&g, "log=700000 cut=1700000");
    run_to(&g, 2, S + 700000);
    assert_true(g.status.needs_full);
    rig_stop(&g);
    struct log_lineages list = rig_lineages(&g);
    assert_int_equal(list.count, 1);
    struct stored stored = rig_check(&g, &list.items[0], g.conninfo);
    assert_int_equal(stored.runs, 2);
    assert_int_equal(stored.from, 1703936); /* the segment of what the new hold keeps */
    assert_int_equal(stored.to, S + 700000);
    /* the writer object says so */
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct codec_arena arena = {0};
    struct log_writer writer;
    struct rel_name rel = names_rel_writer(
        list.items[0].record.id, (struct epoch){7, (2u << 16) + 1}); /* behind its claim */
    struct full_name name = names_full(&g.options.scope, rel.s);
    OK(object_scratch_new(&scratch, &g_err));
    OK(record_get(scratch, g.storage, name.s, OBJECT_WRITER, &log_writer_codec, &arena, &writer,
                  &g_err));
    assert_true(writer.gap);
    assert_int_equal(writer.gap_from, S + 200000);
    assert_int_equal(writer.from, 1703936);
    assert_string_equal(writer.gap_reason, "log at 1245184 is gone or not written yet");
    codec_arena_release(&arena);
    log_lineages_release(&list);
    rig_end(&g);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),     cmocka_unit_test(test_what_leads_to_it),
        cmocka_unit_test(test_idle_marks),  cmocka_unit_test(test_continues),
        cmocka_unit_test(test_catches_up),  cmocka_unit_test(test_rolls_up),
        cmocka_unit_test(test_clone),       cmocka_unit_test(test_put_back),
        cmocka_unit_test(test_minted_last), cmocka_unit_test(test_fork),
        cmocka_unit_test(test_fork_behind), cmocka_unit_test(test_fork_before_all),
        cmocka_unit_test(test_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
