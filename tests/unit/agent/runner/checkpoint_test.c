/* agent/runner: what of accepted results becomes durable, and when. */
#include "tests/unit/agent/runner/stage.h"

/* What a next attempt is told of, by range: its term; 0 = not stored. */
static void known(const char *storage, uint64_t ret_terms[static RANGES])
{
    struct agent a;
    struct frame f;
    next_attempt(&a, storage, &f);
    assert_true(f.found.begin.len > 0);
    assert_string_equal(f.found.why, "");
    session_resume(&a, &f.found);
    frame_release(&f);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    memset(ret_terms, 0, RANGES * sizeof(*ret_terms));
    for (;;) {
        int r = frame_recv(a.fd, &a.in, &f, &err);
        assert_int_equal(r, 1);
        bool plan = f.type == FRAME_plan_batch;
        for (size_t i = 0; f.type == FRAME_stored && i < f.stored.results_count; i++)
            ret_terms[f.stored.results[i].range] = f.stored.results[i].term;
        frame_release(&f);
        if (plan)
            break;
    }
    agent_stop(&a);
    agent_release(&a);
}

static void expect_asked(struct agent *a, uint32_t stored)
{
    struct frame f;
    until(a, FRAME_want_accepted, &f);
    assert_int_equal(f.want_accepted.stored, stored);
    frame_release(&f);
}

static void begin(struct agent *a, const char *storage)
{
    agent_init(a, storage);
    a->params.checkpoint = true;
    a->keeps_rest = true;
    agent_start(a);
    tell_job(a);
    wait_for(a, FRAME_ready);
    tell_begin(a, false);
    expect_asked(a, 0); /* plan and begin are stored, and asked is at once */
}

static void pages(void **state)
{
    (void)state;
    struct agent a;
    uint64_t terms[RANGES];
    begin(&a, "ram://checkpoint-pages");
    work_first(&a, 5);
    tell_accepted(&a, 0, 2, 7, false); /* not the last one: the next is asked for at once */
    expect_asked(&a, 2);
    tell_accepted(&a, 2, 2, 7, false);
    expect_asked(&a, 4);
    tell_accepted(&a, 0, 4, 7, false); /* by a coordinator that begins again: nothing new */
    expect_asked(&a, 4);
    tell_accepted(&a, 0, 5, 7, false);
    expect_asked(&a, 5);
    agent_stop(&a);
    agent_release(&a);
    known("ram://checkpoint-pages", terms);
    for (uint32_t i = 0; i < RANGES; i++)
        assert_int_equal(terms[i], i < 5 ? 7 : 0);
}

/* The coordinator is restarted: results come under a later term than the runner was started with. */
static void a_later_term(void **state)
{
    (void)state;
    struct agent a;
    uint64_t terms[RANGES] = {0};
    begin(&a, "ram://checkpoint-term");
    work_first(&a, 2);
    tell_accepted(&a, 0, 2, 7, false);
    expect_asked(&a, 2);
    uint32_t from = a.handed;
    a.job.term = 9; /* leases are granted under it */
    work_first(&a, from + 2);
    tell_accepted(&a, from, 2, 9, false);
    expect_asked(&a, 4);
    assert_string_equal(a.warning, "");
    agent_stop(&a);
    agent_release(&a);

    struct frame f;
    struct agent next;
    agent_init(&next, "ram://checkpoint-term");
    next.job.term = 9;
    next.job.attempt = 2;
    next.params.checkpoint = true;
    next.params.resume = true;
    agent_start(&next);
    tell_job(&next);
    until(&next, FRAME_found, &f);
    assert_string_equal(f.found.why, "");
    session_resume(&next, &f.found);
    frame_release(&f);
    wait_for(&next, FRAME_ready);
    tell_begin(&next, false);
    until(&next, FRAME_stored, &f);
    assert_int_equal(f.stored.results_count, 4);
    for (size_t i = 0; i < 4; i++)
        terms[f.stored.results[i].range] = f.stored.results[i].term;
    assert_int_equal(terms[0], 7);
    assert_int_equal(terms[1], 7);
    assert_int_equal(terms[from], 9);
    assert_int_equal(terms[from + 1], 9);
    frame_release(&f);
    agent_stop(&next);
    agent_release(&next);
}

/* What is kept before anything is done: the plan, which costs the most to make. */
static void only_the_plan(void **state)
{
    (void)state;
    struct agent a;
    uint64_t terms[RANGES];
    begin(&a, "ram://checkpoint-plan");
    agent_stop(&a);
    agent_release(&a);
    known("ram://checkpoint-plan", terms);
    for (uint32_t i = 0; i < RANGES; i++)
        assert_int_equal(terms[i], 0);
}

static void not_wanted(void **state)
{
    (void)state;
    struct agent a;
    struct frame f;
    agent_init(&a, "ram://checkpoint-off");
    agent_start(&a);
    tell_job(&a);
    wait_for(&a, FRAME_ready);
    tell_begin(&a, false);
    work_all(&a);
    while (a.durable < 16 << 20)
        wait_for(&a, FRAME_log_durable);
    agent_stop(&a);
    agent_release(&a);
    next_attempt(&a, "ram://checkpoint-off", &f);
    assert_int_equal(f.found.begin.len, 0);
    frame_release(&f);
    agent_stop(&a);
    agent_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages),
        cmocka_unit_test(a_later_term),
        cmocka_unit_test(only_the_plan),
        cmocka_unit_test(not_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
