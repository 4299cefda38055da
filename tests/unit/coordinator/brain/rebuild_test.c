/* A state that was lost or put back: noticed, made again from what storage holds, confirmed. */
#include <ctype.h>

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

/* Terms and starts of lives are 1 and 99, 2 and 100, … */
static void up_after(struct stage *s, uint64_t conn, uint64_t term, uint64_t revision)
{
    struct brain_event event = {.kind = BRAIN_EV_AGENT_UP};
    event.up.conn = conn;
    event.up.ctx = 1;
    event.up.cluster = "demo1";
    event.up.node = "db-a";
    event.up.boot = "boot1";
    event.up.seen_term = term;
    event.up.seen_start = 98 + term;
    event.up.seen_revision = revision;
    s->welcomed = 0;
    feed(s, &event);
}

/* A copy that was taken in the middle of a life has a higher term than agents saw, and lacks what came later. */
static void a_copy_of_the_same_life(void **state)
{
    struct stage *s = *state;
    struct brain_doubt doubt;
    struct tm_err err;
    s->keeps_lives = true;
    live_again(s, 2, false);
    up(s, 10, "db-a", "boot1", 0);
    assert_int_equal(s->welcomed, 10);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    uint64_t copied = s->reply.desired.state_revision;
    assert_int_equal(copied, s->revision);
    assert_int_equal(s->record_count, 1);
    assert_string_equal((char *)s->records[0].data, "lives");
    struct buf copy = BUF_INIT;
    assert_int_equal(buf_append_slice(&copy, buf_slice(&s->records[0]), &err), 0);
    apply(s, BACKUP(""));
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    uint64_t told = s->reply.desired.state_revision;
    assert_true(told > copied);
    assert_int_equal(told, s->revision);

    live_again(s, 3, false); /* all is there */
    up_after(s, 11, 2, told);
    assert_int_equal(s->welcomed, 11);
    assert_false(brain_in_doubt(s->brain, &doubt));

    for (size_t at = 0; at < s->record_count; at++)
        buf_release(&s->records[at]);
    s->records[0] = copy;
    s->record_count = 1;
    s->revision = copied;
    live_again(s, 3, false);
    s->raise_to = 0;
    s->fail_persist = true;
    up_after(s, 12, 2, told);
    assert_int_equal(s->welcomed, 0); /* it is written down first */
    s->fail_persist = false;
    tick(s, SEC(2));
    assert_int_equal(s->welcomed, 12);
    assert_int_equal(s->raise_to, 0); /* the term is high enough */
    assert_true(brain_in_doubt(s->brain, &doubt));
    assert_true(doubt.noticed);
    assert_int_equal(doubt.had_term, 3);
    assert_int_equal(doubt.seen_term, 2);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.keep, DESIRED_KEEP_ALL);

    cmd(s, BRAIN_CMD_CONFIRM, NULL);
    assert_int_equal(s->answer.code, TM_E_OK);
    up_after(s, 13, 2, told); /* another agent that saw the same: that was confirmed */
    assert_int_equal(s->welcomed, 13);
    assert_false(brain_in_doubt(s->brain, &doubt));
    live_again(s, 4, false);
    up_after(s, 14, 2, told);
    assert_int_equal(s->welcomed, 14);
    assert_false(brain_in_doubt(s->brain, &doubt));
}

/* Started several times before the first agent came, so that its term is high enough. */
static void lost_and_started_often(void **state)
{
    struct stage *s = *state;
    struct brain_doubt doubt;
    s->keeps_lives = true;
    s->fail_persist = true; /* the first of these ends before it has written itself down */
    for (uint64_t term = 1; term <= 4; term++)
        live_again(s, term, true);
    s->fail_persist = false;
    live_again(s, 5, false);
    struct brain_event event = {.kind = BRAIN_EV_AGENT_UP};
    event.up = (__typeof__(event.up)){.conn = 10,
                                      .ctx = 1,
                                      .cluster = "demo1",
                                      .node = "db-a",
                                      .boot = "boot1",
                                      .seen_term = 3,
                                      .seen_start = 4711};
    feed(s, &event);
    assert_int_equal(s->welcomed, 10);
    assert_true(brain_in_doubt(s->brain, &doubt));
    assert_int_equal(doubt.had_term, 5);
    assert_int_equal(doubt.seen_term, 3);
}

/* Nobody sees a life that is not written down: the next would take it for somebody else's. */
static void a_life_is_written_down_first(void **state)
{
    struct stage *s = *state;
    struct brain_doubt doubt;
    s->keeps_lives = true;
    s->fail_persist = true;
    live_again(s, 2, false);
    up(s, 10, "db-a", "boot1", 0);
    assert_int_equal(s->welcomed, 0);
    tick(s, SEC(2));
    assert_int_equal(s->welcomed, 0);
    s->fail_persist = false;
    tick(s, SEC(2));
    assert_int_equal(s->welcomed, 10);
    for (uint64_t term = 3; term < 3 + 70; term++) /* more than are remembered */
        live_again(s, term, false);
    up_after(s, 11, 2, 1000);
    assert_int_equal(s->welcomed, 11);
    up_after(s, 12, 71, s->revision - 1); /* the last but one, and 72 wrote itself down since */
    assert_int_equal(s->welcomed, 12);
    assert_false(brain_in_doubt(s->brain, &doubt));
    up_after(s, 13, 71, s->revision);
    assert_true(brain_in_doubt(s->brain, &doubt));
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

/* A confirmation would end what agents are at work on, and nobody knows. */
static void it_is_confirmed_too_soon(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct brain_doubt doubt;
    struct msg_assignment a = running(s, 0, 2);
    struct msg_intent words = words_of(s, &arena);
    live_again(s, 4, true);
    up(s, 20, "db-a", "boot1", 5);
    raised(s);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    job.kind = JOB_KIND_LOG;
    beat(s, 20, INSTANCE_PRIMARY, 0, &job);
    cmd(s, BRAIN_CMD_CONFIRM, NULL);
    assert_int_equal(s->answer.code, TM_E_REFUSED);
    assert_string_equal(s->answer.msg,
                        "node 'db-a' of cluster 'demo1' is at work on a log backup that no "
                        "resource tells of, and that would end: read its storage first ('tidemark "
                        "rebuild --storage URL'), or end it with --force");
    assert_true(brain_in_doubt(s->brain, &doubt));
    struct msg_stored item = item_of("", 0); /* once it is known, nothing is in the way */
    item.intent = &words;
    read_items(s, 20, &item, 1);
    beat(s, 20, INSTANCE_PRIMARY, 0, &job);
    cmd(s, BRAIN_CMD_CONFIRM, NULL);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_false(brain_in_doubt(s->brain, &doubt));

    live_again(s, 1, true); /* or by force */
    up(s, 30, "db-a", "boot1", 7);
    raised(s);
    beat(s, 30, INSTANCE_PRIMARY, 0, &job);
    cmd_with(s, BRAIN_CMD_CONFIRM, NULL, true);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_false(brain_in_doubt(s->brain, &doubt));
}

/* A backup's words and id; then the state is lost, and its node is there on connection 20. */
static struct msg_intent lost_while_running(struct stage *s, struct codec_arena *arena, char id[64])
{
    (void)running(s, 0, 1);
    struct msg_intent words = words_of(s, arena);
    (void)snprintf(id, 64, "%s", status_of(s, "b")->backup_id);
    live_again(s, 4, true);
    up(s, 20, "db-a", "boot1", 0);
    beat(s, 20, INSTANCE_PRIMARY, 0, NULL);
    return words;
}

/* Its words were not found at first, so it was shown under its id: then it is not shown a second time. */
static void one_backup_is_one_resource(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct brain_resource resource;
    struct msg_totals totals = {.commit_us = 7};
    char id[64];
    struct msg_intent words = lost_while_running(s, &arena, id);
    struct msg_stored items[] = {item_of("", 0), item_of(id, STORED_COMMITTED)};
    items[0].intent = &words;
    items[1].totals = &totals;
    read_items(s, 20, &items[1], 1);
    assert_non_null(strstr(s->rebuilt, ": complete 1 known 0 "));
    read_items(s, 20, items, 2);
    assert_string_equal(s->rebuilt, ": complete 0 known 1 leftovers 0 others 0");
    assert_false(brain_resource_find(s->brain, "Backup", NULL, "b", &resource));
}

/* An older copy of the state lists what was deleted since. */
static void known_and_not_there(void **state)
{
    struct stage *s = *state;
    struct msg_totals totals = {.commit_us = 7};
    struct msg_stored items[] = {item_of(ID_OTHER, STORED_COMMITTED),
                                 item_of("20261121T120000Z-0000000c", STORED_COMMITTED)};
    items[0].totals = &totals;
    items[1].totals = &totals;
    s->mono_us = SEC(1000000); /* these were completed before they are read */
    live_again(s, 4, true);
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    read_items(s, 10, items, 2);
    assert_string_equal(s->rebuilt, "20261121t100000z-0000000a 20261121t120000z-0000000c: complete "
                                    "2 known 0 leftovers 0 others 0");
    items[1].state = STORED_DELETED;
    read_items(s, 10, items, 2);
    assert_string_equal(s->rebuilt, ": complete 0 known 0 leftovers 0 others 0 absent 1 "
                                    "(20261121t120000z-0000000c)");
    read_items_at(s, 10, PATTERN_AT("/other"), "file:///other", items,
                  0); /* says nothing of these */
    assert_string_equal(s->rebuilt, ": complete 0 known 0 leftovers 0 others 0");
}

/* Half-written, of a newer version, or somebody's who may write there: named, and its backup stays one. */
static void words_that_cannot_be_read(void **state)
{
    struct stage *s = *state;
    struct msg_totals totals = {.commit_us = 7};
    struct msg_intent words = {.cluster = "demo1",
                               .tenant = "main",
                               .incarnation = "7000",
                               .uid = "abc",
                               .term = 2,
                               .counter = 9};
    struct msg_stored items[] = {item_of("", 0), item_of(ID_OTHER, STORED_COMMITTED)};
    items[0].intent = &words;
    items[1].totals = &totals;
    live_again(s, 4, true);
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    read_items(s, 10, items, 2);
    assert_string_equal(s->rebuilt, "20261121t100000z-0000000a: complete 1 known 0 leftovers 0 "
                                    "others 0 unread 1 "
                                    "(demo1/main/7000/intent/abc-0000000000000002.00000009)");
}

/* Other storages are still to be read: what this one's log is to lose may be needed by their backups. */
static void it_begins_with_a_doubt(void **state)
{
    struct stage *s = *state;
    struct brain_doubt doubt;
    struct msg_totals totals = {.commit_us = 7};
    struct msg_stored item = item_of(ID_OTHER, STORED_COMMITTED);
    struct msg_page page = {.items = &item, .items_count = 1};
    item.totals = &totals;
    live_again(s, 4, true);
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    s->log[0] = '\0';
    read_items(s, 10, &item, 0); /* nothing is new: nothing waits, and nobody has confirmed */
    assert_string_equal(s->log,
                        "'file:///backup' was read: 0 resources were rebuilt, 0 were known");
    assert_int_equal(s->record_count, 0);
    assert_false(brain_in_doubt(s->brain, &doubt));

    cmd(s, BRAIN_CMD_REBUILD, PATTERN);
    uint64_t id = asked(s, 10)->id;
    s->fail_persist = true;
    answers(s, 10, &(struct msg_probe_answer){.id = id, .page = &page});
    s->fail_persist = false;
    assert_int_equal(s->answers, 1);
    assert_string_equal(s->answer.msg, "nothing was taken from 'file:///backup': disk full");
    tick(s, SEC(5));
    assert_int_equal(s->record_count, 0);
    assert_false(brain_in_doubt(s->brain, &doubt));

    read_items(s, 10, &item, 1);
    assert_string_equal(s->rebuilt, "20261121t100000z-0000000a: complete 1 known 0 leftovers 0 "
                                    "others 0");
    assert_true(brain_in_doubt(s->brain, &doubt));
    assert_false(doubt.noticed);
    read_items(s, 10, &item, 1); /* nothing is new, but it was in doubt before */
    assert_true(brain_in_doubt(s->brain, &doubt));
    cmd(s, BRAIN_CMD_CONFIRM, NULL);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_false(brain_in_doubt(s->brain, &doubt));
}

/* A copy of a storage is read: its words prove nothing of the original, and would be carried out there. */
static void words_of_another_place(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct brain_resource resource;
    struct msg_totals totals = {.commit_us = 7};
    char id[64];
    struct msg_intent words = lost_while_running(s, &arena, id);
    struct msg_stored items[] = {item_of("", 0), item_of(id, STORED_COMMITTED),
                                 item_of(ID_OTHER, STORED_COMMITTED)};
    items[0].intent = &words;
    items[1].totals = &totals;
    items[2].totals = &totals;
    read_items_at(s, 20, PATTERN_AT("/copy"), "file:///copy", items, 3);
    assert_string_equal(s->rebuilt, "20261121t100000z-0000000a: complete 1 known 0 leftovers 0 "
                                    "others 0 elsewhere 1 (file:///backup)");
    s->force = true; /* it was moved there */
    read_items_at(s, 20, PATTERN_AT("/copy"), "file:///copy", items, 3);
    assert_non_null(strstr(s->rebuilt, ": complete 1 known 0 leftovers 0 others 0"));
    assert_null(strstr(s->rebuilt, "elsewhere"));
    for (char *c = id; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    assert_true(brain_resource_find(s->brain, "Backup", NULL, id, &resource));
    assert_false(brain_resource_find(s->brain, "Backup", NULL, "b", &resource));
    assert_int_equal(resource.status->phase, RESOURCE_COMPLETE);
}

/* Heartbeats are answered meanwhile. */
static void very_many_take_several_steps(void **state)
{
    struct stage *s = *state;
    enum { PAGES = 188 };
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    cmd(s, BRAIN_CMD_REBUILD, PATTERN);
    for (unsigned at = 0; at < PAGES; at++) {
        struct msg_stored items[WIRE_PAGE_ITEMS];
        struct msg_page page = {.items = items, .items_count = WIRE_PAGE_ITEMS};
        for (unsigned n = 0; n < WIRE_PAGE_ITEMS; n++) {
            char id[64];
            (void)snprintf(id, sizeof(id), "20261121T100000Z-%08x", at * WIRE_PAGE_ITEMS + n);
            items[n] = item_of(id, STORED_LEFTOVER);
        }
        if (at + 1 < PAGES)
            (void)snprintf(page.after, sizeof(page.after), "%08x", at);
        uint64_t id = asked(s, 10)->id;
        answers(s, 10, &(struct msg_probe_answer){.id = id, .page = &page});
    }
    int steps = 0;
    for (; steps < 100 && s->answers == 0; steps++) {
        assert_true(s->wake_us <= s->mono_us + SEC(1));
        tick(s, SEC(1));
    }
    assert_in_range(steps, 5, 20); /* 12,032 times 12,032 names, 20,000,000 in a step */
    assert_string_equal(s->rebuilt, ": complete 0 known 0 leftovers 12032 others 0");
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
    const struct CMUnitTest tests[] = {SCENE(it_is_noticed),
                                       SCENE(a_copy_of_the_same_life),
                                       SCENE(lost_and_started_often),
                                       SCENE(a_life_is_written_down_first),
                                       SCENE(what_is_kept),
                                       SCENE(its_epoch_is_taken),
                                       SCENE(its_epoch_was_taken_before),
                                       SCENE(the_same_list),
                                       SCENE(a_job_under_way),
                                       SCENE(it_is_confirmed_too_soon),
                                       SCENE(one_backup_is_one_resource),
                                       SCENE(very_many_take_several_steps),
                                       SCENE(it_begins_with_a_doubt),
                                       SCENE(words_that_cannot_be_read),
                                       SCENE(known_and_not_there),
                                       SCENE(words_of_another_place),
                                       SCENE(nobody_can_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
