/* A state that was lost or put back: noticed, made again from what storage holds, confirmed. */
#include "tests/unit/coordinator/brain/stage.h"
#include "tests/unit/coordinator/brain/rebuild_stage.h"

#define ID_OTHER "20261121T100000Z-0000000a"

static void it_is_noticed(void **state)
{
    struct stage *s = *state;
    struct brain_doubt doubt;
    assert_false(brain_in_doubt(s->brain, &doubt));
    s->fail_persist = true;
    up(s, 10, "db-a", "boot1", 5);
    assert_int_equal(s->raise_to, 0); /* nobody is let in before it is written down */
    assert_int_equal(s->welcomed, 0);
    s->fail_persist = false;
    tick(s, SEC(2));
    assert_int_equal(s->record_count, 1);
    assert_string_equal((char *)s->records[0].data, "rebuild");
    assert_int_equal(s->raise_to, 6);
    assert_int_equal(s->welcomed, 0);
    raised(s);
    assert_int_equal(s->welcome_term, 6);
    assert_true(brain_in_doubt(s->brain, &doubt));
    assert_true(doubt.noticed);
    assert_int_equal(doubt.had_term, 1);
    assert_int_equal(doubt.seen_term, 5);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.keep, DESIRED_KEEP_ALL);

    live_again(s, 7, false); /* the next life knows it, too */
    up(s, 11, "db-a", "boot1", 6);
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.keep, DESIRED_KEEP_ALL);
    tick(s, SEC(3601)); /* log goes on, sessions at databases do not */
    up(s, 12, "db-a", "boot1", 6);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.keep, DESIRED_KEEP_LOGS);
    cmd(s, BRAIN_CMD_CONFIRM, NULL);
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_int_equal(s->record_count, 0);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.keep, 0);
    cmd(s, BRAIN_CMD_CONFIRM, NULL);
    assert_int_equal(s->answer.code, TM_E_REFUSED);
    assert_string_equal(s->answer.msg,
                        "nothing waits for a confirmation: this coordinator's state is complete");
}

static void what_is_kept(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    s->keeps_intents = true;
    struct msg_assignment a = running(s, 0, 1);
    assert_int_equal(waiting(s), 1); /* Prepare; that it runs is nothing new */
    struct msg_intent words = words_of(s, &arena);
    assert_string_equal(words.cluster, "demo1");
    assert_string_equal(words.tenant, "main");
    assert_string_equal(words.incarnation, "7000");
    assert_int_equal(words.term, 1);
    assert_false(words.remove);
    const struct msg_probe *probe = asked(s, 10);
    assert_string_equal(probe->storage, "file:///backup");
    struct msg_error no = {.code = TM_E_IO, .text = "no room"};
    answers(s, 10, &(struct msg_probe_answer){.id = probe->id, .error = &no});
    assert_int_equal(asked_count(s, 10), 0); /* after a pause */
    assert_int_equal(waiting(s), 1);
    tick(s, SEC(3));
    kept(s, 10);
    assert_int_equal(waiting(s), 0);
    assert_int_equal(asked_count(s, 10), 0);

    struct msg_job job = job_at(&a, JOB_STAGE_COMMITTED);
    struct msg_totals totals = {.commit_us = 7, .completed_us = 1763720300000000};
    job.totals = &totals;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_int_equal(status_of(s, "b")->completed_us, 1763720300000000);
    assert_int_equal(waiting(s), 1);
    words = words_of(s, &arena);
    command(s, BRAIN_CMD_DELETE, "b"); /* retained: that is kept, once what is under way is over */
    assert_int_equal(s->outcome, BRAIN_DELETED);
    assert_int_equal(waiting(s), 2);
    assert_int_equal(words_of(s, &arena).counter, words.counter);
    kept(s, 10);
    assert_int_equal(words_of(s, &arena).counter, words.counter + 1);
    assert_false(words_of(s, &arena).remove);
    kept(s, 10);
    assert_int_equal(waiting(s), 0);
}

/* An earlier life of this term told something else, and the state was put back to before that. */
static void its_epoch_is_taken(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    s->keeps_intents = true;
    (void)running(s, 0, 1);
    struct msg_intent words = words_of(s, &arena);
    struct msg_error taken = {.code = TM_E_CONFLICT, .text = "it is another resource's"};
    uint64_t id = asked(s, 10)->id;
    answers(s, 10, &(struct msg_probe_answer){.id = id, .error = &taken});
    assert_int_equal(waiting(s), 1);
    struct msg_intent next = words_of(s, &arena);
    assert_int_equal(next.term, words.term);
    assert_int_equal(next.counter, words.counter + 1);
    assert_string_equal(next.uid, words.uid);
    assert_true(slice_eq(next.resource, words.resource));
    kept(s, 10);
    assert_int_equal(waiting(s), 0);
    assert_int_equal(asked_count(s, 10), 0);
}

/* What an earlier life told later is not overtaken. */
static void its_epoch_was_taken_before(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct msg_error taken = {.code = TM_E_CONFLICT, .text = "it is another resource's"};
    s->keeps_intents = true;
    (void)running(s, 0, 1);
    struct msg_intent words = words_of(s, &arena);
    live_again(s, 2, false);
    up(s, 10, "db-a", "boot1", 1);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    uint64_t id = asked(s, 10)->id;
    answers(s, 10, &(struct msg_probe_answer){.id = id, .error = &taken});
    assert_int_equal(asked_count(s, 10), 0); /* after a pause */
    tick(s, SEC(3));
    struct msg_intent again = words_of(s, &arena);
    assert_int_equal(again.term, words.term);
    assert_int_equal(again.counter, words.counter);
}

static void the_same_list(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct msg_counters counters = {.bytes = 1000, .stored_bytes = 100};
    struct msg_totals totals = {.counters = &counters, .commit_us = 7};
    struct msg_assignment a = running(s, 0, 1);
    struct msg_intent words = words_of(s, &arena);
    char id[64];
    (void)snprintf(id, sizeof(id), "%s", status_of(s, "b")->backup_id);
    (void)a;
    live_again(s, 4, true); /* the term was put back with nothing noticed: pages have a lower one */
    up(s, 20, "db-a", "boot1", 0);
    beat(s, 20, INSTANCE_PRIMARY, 0, NULL);

    /* the end was not told any more: the manifest tells it */
    struct msg_stored items[] = {item_of("", 0), item_of(id, STORED_COMMITTED),
                                 item_of(ID_OTHER, STORED_COMMITTED),
                                 item_of("20261121T110000Z-0000000b", STORED_LEFTOVER),
                                 item_of("20261121T120000Z-0000000c", STORED_COMMITTED)};
    items[0].intent = &words;
    items[1].totals = &totals;
    items[2].totals = &totals;
    (void)snprintf(items[4].cluster, sizeof(items[4].cluster), "foreign");
    read_items(s, 20, items, TM_ARRAY_LEN(items));
    assert_string_equal(s->rebuilt, "b 20261121t100000z-0000000a: complete 2 known 0 leftovers 1 "
                                    "others 1");
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_string_equal(status_of(s, "b")->backup_id, id);
    assert_int_equal(status_of(s, "b")->ranges_total, 5);
    assert_int_equal(status_of(s, "b")->backup_bytes, 100);
    const struct resource_status *other = status_of(s, "20261121t100000z-0000000a");
    assert_int_equal(other->phase, RESOURCE_COMPLETE);
    assert_int_equal(other->completed_us, 1763720300000000);
    assert_int_equal(other->bytes_total, 1000);
    read_items(s, 20, items, TM_ARRAY_LEN(items)); /* again: nothing is new, nothing changes */
    assert_string_equal(s->rebuilt, ": complete 0 known 1 leftovers 1 others 1");
}

static void a_job_under_way(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct msg_assignment a = running(s, 0, 2);
    struct msg_intent words = words_of(s, &arena);
    char id[64];
    (void)snprintf(id, sizeof(id), "%s", status_of(s, "b")->backup_id);
    live_again(s, 1, true);
    up(s, 20, "db-a", "boot1", 1);
    raised(s);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    beat(s, 20, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    assert_int_equal(s->reply.desired.keep, DESIRED_KEEP_ALL);
    struct msg_stored items[] = {item_of("", 0), item_of(id, STORED_CHECKPOINT)};
    items[0].intent = &words;
    cmd(s, BRAIN_CMD_REBUILD, PATTERN);
    const struct msg_probe *probe = asked(s, 20);
    struct msg_page page = {.items = items, .items_count = 2, .term = 9};
    answers(s, 20, &(struct msg_probe_answer){.id = probe->id, .page = &page});
    assert_int_equal(s->raise_to, 10); /* above all that storage has seen */
    assert_int_equal(s->answers, 0);
    raised(s);
    for (int turns = 0; turns < 4 && s->answers == 0; turns++)
        tick(s, SEC(1));
    assert_string_equal(s->rebuilt, "b: complete 0 known 0 leftovers 0 others 0");
    beat(s, 20, INSTANCE_PRIMARY, 0, &job);
    struct msg_assignment again = *desired_job(s); /* the same job, the same attempt */
    assert_string_equal(again.uid, a.uid);
    assert_int_equal(again.attempt, a.attempt);
    assert_int_equal(again.plan_have, 0);
    send_plan(s, 20, &again, 2);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    want(s, 20, &again, 2); /* nothing is leased for one lease time: others may hold it */
    assert_int_equal(s->reply.ranges.leases_count, 0);
    assert_int_equal(done(s, 20, &a, 0, 1, 1), VERDICT_ACCEPTED); /* by the life before */
}

static void nobody_can_read(void **state)
{
    struct stage *s = *state;
    cmd(s, BRAIN_CMD_REBUILD, PATTERN);
    assert_string_equal(s->answer.msg, "no agent is connected that could read 'file:///backup': "
                                       "start one that gets into it");
    up(s, 10, "db-a", "boot1", 0);
    up(s, 20, "db-b", "boot2", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    beat(s, 20, INSTANCE_STANDBY, 0, NULL);
    cmd(s, BRAIN_CMD_REBUILD, PATTERN);
    struct msg_error no = {.code = TM_E_NOT_FOUND, .text = "not there"};
    uint64_t id = asked(s, 10)->id;
    answers(s, 10, &(struct msg_probe_answer){.id = id, .error = &no});
    assert_int_equal(s->answers, 0); /* the next one is asked */
    assert_int_equal(asked_count(s, 10), 0);
    cmd(s, BRAIN_CMD_REBUILD, PATTERN);
    assert_int_equal(s->answer.code, TM_E_CONFLICT);
    s->answers = 0;
    id = asked(s, 20)->id;
    answers(s, 20, &(struct msg_probe_answer){.id = id}); /* of an older version: it tested */
    assert_int_equal(s->answers, 1);
    assert_string_equal(s->answer.msg, "node 'db-b': its agent is of an older version: update it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {SCENE(it_is_noticed),      SCENE(what_is_kept),
                                       SCENE(its_epoch_is_taken), SCENE(its_epoch_was_taken_before),
                                       SCENE(the_same_list),      SCENE(a_job_under_way),
                                       SCENE(nobody_can_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
