/* A state that was lost or put back: noticed, made again from what storage holds, confirmed. */
#include "tests/unit/coordinator/brain/stage.h"

#define ID_OTHER "20261121T100000Z-0000000a"

static void answers(struct stage *s, uint64_t conn, const struct msg_probe_answer *answer)
{
    struct message m = {.type = MESSAGE_heartbeat};
    struct msg_probe_answer told = *answer;
    m.heartbeat.probes = &told;
    m.heartbeat.probes_count = 1;
    ask(s, conn, &m);
}

static size_t asked_count(struct stage *s, uint64_t conn)
{
    beat(s, conn, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.type, MESSAGE_desired);
    return s->reply.desired.probes_count;
}

/* The first thing that the node is asked to do in storage now. */
static const struct msg_probe *asked(struct stage *s, uint64_t conn)
{
    assert_true(asked_count(s, conn) > 0);
    return &s->reply.desired.probes[0];
}

static void cmd(struct stage *s, enum brain_command what, const char *yaml)
{
    struct tm_err err = {0};
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = 9;
    event.command.what = what;
    if (yaml != NULL && resource_parse("test", slice_str(yaml), &list, &err) < 0)
        fail_msg("%s", err.msg);
    if (yaml != NULL)
        event.command.resource = TM_TAKE(list.items[0]);
    s->answers = 0;
    s->rebuilt[0] = '\0';
    feed(s, &event);
}

#define PATTERN                                                                                    \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: rebuild}\nspec:\n"                    \
    "  br: {cluster: x}\n  local: {path: /backup}\n"

/* A new life of the brain; with records, or without any. */
static void restart(struct stage *s, uint64_t term, bool lost)
{
    brain_free(s->brain);
    for (size_t at = 0; lost && at < s->record_count; at++) {
        buf_release(&s->records[at]);
        s->records[at] = BUF_INIT;
    }
    s->record_count = lost ? 0 : s->record_count;
    start(s, term);
}

static void raised(struct stage *s)
{
    struct brain_event event = {.kind = BRAIN_EV_TERM};
    event.term.term = s->raise_to;
    feed(s, &event);
}

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

    restart(s, 7, false); /* the next life knows it, too */
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

/* The words that are to be kept of the stage's backup, copied. */
static struct msg_intent words_of(struct stage *s, struct codec_arena *arena)
{
    struct msg_intent words;
    struct tm_err err;
    const struct msg_probe *probe = asked(s, 10);
    assert_non_null(probe->keep);
    assert_int_equal(codec_copy(&msg_intent_codec, probe->keep, arena, &words, &err), 0);
    return words;
}

static void kept(struct stage *s, uint64_t conn)
{
    const struct msg_probe *probe = asked(s, conn);
    answers(s, conn, &(struct msg_probe_answer){.id = probe->id, .kept = true});
}

static size_t waiting(const struct stage *s)
{
    size_t count = 0;
    for (size_t at = 0; at < s->record_count; at++)
        count += strncmp((const char *)s->records[at].data, "intent/", 7) == 0;
    return count;
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

/* Reads once: what storage holds, as items. */
static void read_items(struct stage *s, uint64_t conn, struct msg_stored *items, size_t count)
{
    struct msg_page page = {.items = items, .items_count = count, .term = 3};
    cmd(s, BRAIN_CMD_REBUILD, PATTERN);
    assert_int_equal(s->answers, 0);
    const struct msg_probe *probe = asked(s, conn);
    while (probe->read == NULL) /* behind what is to be kept */
        probe++;
    assert_string_equal(probe->storage, "file:///backup");
    answers(s, conn, &(struct msg_probe_answer){.id = probe->id, .page = &page});
    for (int turns = 0; turns < 8 && s->answers == 0; turns++)
        tick(s, SEC(1));
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, TM_E_OK);
}

static struct msg_stored item_of(const char *backup_id, enum stored_state state)
{
    struct msg_stored item = {.cluster = "demo1",
                              .tenant = "main",
                              .incarnation = "7000",
                              .state = state,
                              .started_us = 1763720000000000,
                              .completed_us = 1763720300000000,
                              .ranges = 5};
    (void)snprintf(item.backup_id, sizeof(item.backup_id), "%s", backup_id);
    return item;
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
    restart(s, 4, true); /* the term was put back with nothing noticed: pages have a lower one */
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
    restart(s, 1, true);
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
    const struct msg_assignment *again = desired_job(s); /* the same job, the same attempt */
    assert_string_equal(again->uid, a.uid);
    assert_int_equal(again->attempt, a.attempt);
    assert_int_equal(again->plan_have, 0);
    send_plan(s, 20, again, 2);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    want(s, 20, again, 2); /* nothing is leased for one lease time: others may hold it */
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
    const struct CMUnitTest tests[] = {SCENE(it_is_noticed), SCENE(what_is_kept),
                                       SCENE(the_same_list), SCENE(a_job_under_way),
                                       SCENE(nobody_can_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
