/* Jobs of several tenants when the state is lost: what is kept of their parts, and what is made of it. */
#define STAGE_HEAR(s, conn) say(s, conn, INSTANCE_PRIMARY, NULL)
#include "tests/unit/coordinator/brain/part_stage.h"
#include "tests/unit/coordinator/brain/rebuild_stage.h"

#define WHOLE_KEY "resource/Backup/default/b"
#define PART_KEY  "part/Backup/default/b/"

/* What storage holds. */
struct depot {
    bool log; /* it is where log lies */
    struct msg_intent words[8];
    size_t word_count;
    struct msg_stored items[16];
    size_t item_count;
    struct msg_totals totals[2];
    struct msg_counters counters[2];
    struct codec_arena arena;
};

static void depot_release(struct depot *d)
{
    codec_arena_release(&d->arena);
}

static void depot_keep(struct depot *d, const struct msg_intent *words)
{
    struct tm_err err;
    size_t at = 0;
    while (at < d->word_count && (strcmp(d->words[at].uid, words->uid) != 0 ||
                                  strcmp(d->words[at].tenant, words->tenant) != 0))
        at++;
    if (words->remove) {
        if (at < d->word_count)
            d->words[at] = d->words[--d->word_count];
        return;
    }
    if (at == d->word_count)
        d->word_count++;
    else
        assert_true(words->counter > d->words[at].counter || words->term > d->words[at].term);
    assert_true(d->word_count <= TM_ARRAY_LEN(d->words));
    assert_int_equal(codec_copy(&msg_intent_codec, words, &d->arena, &d->words[at], &err), 0);
}

static size_t settle_on(struct stage *s, struct depot *d, uint64_t conn)
{
    size_t count = 0;
    while (asked_count(s, conn) > 0) {
        const struct msg_probe *probe = &s->reply.desired.probes[0];
        uint64_t id = probe->id;
        assert_non_null(probe->keep);
        depot_keep(d, probe->keep);
        answers(s, conn, &(struct msg_probe_answer){.id = id, .kept = true});
        say(s, conn, INSTANCE_PRIMARY, NULL);
        count++;
    }
    return count;
}

/* Agents do all that they are asked to do in storage; returns how much it was. */
static size_t settle(struct stage *s, struct depot *d)
{
    size_t count = 0;
    for (int turns = 0; turns < 8; turns++)
        count += settle_on(s, d, 10) + settle_on(s, d, 11);
    assert_int_equal(waiting(s), 0);
    return count;
}

static struct msg_assignment given(struct stage *s, uint64_t conn)
{
    say(s, conn, INSTANCE_PRIMARY, NULL);
    say(s, conn, INSTANCE_PRIMARY, NULL);
    return *desired_job(s);
}

static struct msg_totals totals_of(uint64_t conn, struct msg_counters *counters)
{
    struct msg_totals totals = {.commit_us = 4000 + (int64_t)conn,
                                .completed_us = 1763720300000000 + (int64_t)conn,
                                .path = "file:///backup/demo1/x"};
    *counters = (struct msg_counters){.bytes = 200 + conn, .stored_bytes = conn, .files = 3};
    totals.counters = counters;
    return totals;
}

static void commit(struct stage *s, uint64_t conn)
{
    struct msg_counters counters;
    struct msg_totals totals = totals_of(conn, &counters);
    struct msg_assignment a = given(s, conn);
    struct msg_job job = job_at(&a, JOB_STAGE_COMMITTED);
    job.totals = &totals;
    say(s, conn, INSTANCE_PRIMARY, &job);
}

static void break_off(struct stage *s, uint64_t conn)
{
    struct msg_error error = {.code = TM_E_IO, .stage = "plan", .text = "disk full"};
    struct msg_assignment a = given(s, conn);
    struct msg_job job = job_at(&a, JOB_STAGE_FAILED);
    job.error = &error;
    say(s, conn, INSTANCE_PRIMARY, &job);
    a = given(s, conn);
    job = job_at(&a, JOB_STAGE_SWEPT);
    say(s, conn, INSTANCE_PRIMARY, &job);
}

/* The backup of a connection's tenant, as storage has it. */
static void depot_backup(struct stage *s, struct depot *d, uint64_t conn, enum stored_state state)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    char key[96];
    (void)snprintf(key, sizeof(key), PART_KEY "%s", tenant_on(conn));
    struct msg_stored *item = &d->items[d->item_count++];
    struct record rec = record_of(s, key, &arena);
    *item = item_of(rec.backup_id, state);
    COPY_TEXT(item->tenant, tenant_on(conn));
    (void)snprintf(item->incarnation, sizeof(item->incarnation), "70%d", (int)conn);
    d->totals[conn - 10] = totals_of(conn, &d->counters[conn - 10]);
    item->totals = &d->totals[conn - 10];
    item->completed_us = item->totals->completed_us;
}

/* Words beside the backups, as a page has them. */
static void depot_words(struct depot *d)
{
    for (size_t at = 0; at < d->word_count; at++) {
        struct msg_stored *item = &d->items[d->item_count++];
        *item = (struct msg_stored){.intent = &d->words[at]};
        COPY_TEXT(item->cluster, d->words[at].cluster);
        COPY_TEXT(item->tenant, d->words[at].tenant);
        COPY_TEXT(item->incarnation, d->words[at].incarnation);
    }
}

/* The state is lost, storage is read. */
static void lose(struct stage *s, struct depot *d)
{
    live_again(s, 4, true);
    both_up(s);
    depot_words(d);
    if (d->log)
        read_items_at(s, 10, PATTERN_AT("/log"), "file:///log", d->items, d->item_count);
    else
        read_items(s, 10, d->items, d->item_count);
}

/* A backup of both that is Complete, with what was to be kept of it in the depot. */
static void complete(struct stage *s, struct depot *d, const char *more)
{
    char yaml[512];
    s->keeps_intents = true;
    (void)snprintf(yaml, sizeof(yaml), BACKUP("%s"), more);
    both_up(s);
    apply(s, yaml);
    commit(s, 11);
    commit(s, 10);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    (void)settle(s, d);
    assert_int_equal(d->word_count, 2);
}

static void json_of(struct stage *s, const char *name, struct buf *ret)
{
    struct brain_resource r;
    struct tm_err err;
    assert_true(brain_resource_find(s->brain, "Backup", NULL, name, &r));
    assert_int_equal(resource_json(r.spec, r.status, NULL, ret, &err), 0);
    assert_int_equal(buf_append(ret, "", 1, &err), 0);
}

/* ---- a backup ---- */

static void as_it_was(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    TM_CLEANUP(buf_release) struct buf before = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf after = BUF_INIT;
    complete(s, &d, "");
    assert_int_equal(status_of(s, "b")->completed_us, 1763720300000011); /* the last one's */
    json_of(s, "b", &before);
    depot_backup(s, &d, 10, STORED_COMMITTED);
    depot_backup(s, &d, 11, STORED_COMMITTED);
    lose(s, &d);
    assert_string_equal(s->rebuilt, "b: complete 1 known 0 leftovers 0 others 0");
    json_of(s, "b", &after);
    assert_string_equal((char *)after.data, (char *)before.data);
    assert_true(stored(s, PART_KEY "main"));
    assert_true(stored(s, PART_KEY "second"));
    assert_true(stored(s, "cluster/demo1"));
    read_items(s, 10, d.items, d.item_count); /* again: nothing is new */
    assert_string_equal(s->rebuilt, ": complete 0 known 1 leftovers 0 others 0");
    live_again(s, 5, false); /* what was made can be loaded */
    both_up(s);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_int_equal(status_of(s, "b")->tenant_count, 2);
}

static void one_at_work(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    s->keeps_intents = true;
    both_up(s);
    apply(s, BACKUP(""));
    commit(s, 11);
    (void)settle(s, &d);
    struct msg_assignment a = given(s, 10);
    depot_backup(s, &d, 10, STORED_CHECKPOINT);
    depot_backup(s, &d, 11, STORED_COMMITTED);
    lose(s, &d);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    assert_string_equal(status_of(s, "b")->waiting, "");
    assert_int_equal(status_of(s, "b")->tenants[1]->phase, RESOURCE_COMPLETE);
    struct msg_assignment again = given(s, 10); /* the same job goes on */
    assert_string_equal(again.uid, a.uid);
    assert_int_equal(again.attempt, a.attempt);
    commit(s, 10);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
}

static void one_that_failed(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    TM_CLEANUP(buf_release) struct buf before = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf after = BUF_INIT;
    s->keeps_intents = true;
    both_up(s);
    apply(s, BACKUP(""));
    commit(s, 11);
    break_off(s, 10);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_FAILED);
    (void)settle(s, &d);
    json_of(s, "b", &before);
    depot_backup(s, &d, 11, STORED_COMMITTED);
    lose(s, &d);
    json_of(s, "b", &after);
    assert_string_equal((char *)after.data, (char *)before.data);
    command(s, BRAIN_CMD_RETRY, "b");
    assert_int_equal(s->outcome, BRAIN_DONE);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    commit(s, 10);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
}

/* A whole never says more than what is found of its parts. */
static void one_that_is_lost(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    complete(s, &d, "");
    depot_backup(s, &d, 11, STORED_COMMITTED); /* main's is not there any more */
    lose(s, &d);
    assert_string_equal(s->rebuilt, "b: complete 0 known 0 leftovers 0 others 0");
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->phase, RESOURCE_FAILED);
    assert_int_equal(status->tenants[1]->phase, RESOURCE_COMPLETE);
    assert_string_equal(status->error.message,
                        "tenant 'main': nothing of it was found in storage when the list was "
                        "rebuilt");
    live_again(s, 5, false);
    both_up(s);
    command(s, BRAIN_CMD_RETRY, "b"); /* it can be had once more */
    commit(s, 10);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
}

/* One that had not begun begins when the list was confirmed. */
static void one_that_had_not_begun(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    s->keeps_intents = true;
    both_up(s);
    gone(s, 11);
    apply(s, BACKUP(""));
    struct msg_assignment a = given(s, 10);
    assert_int_equal(a.step, JOB_STEP_PREPARE);
    assert_int_equal(settle_on(s, &d, 10), 1);
    depot_backup(s, &d, 10, STORED_CHECKPOINT);
    live_again(s, 1, true);
    up(s, 10, "db-a", "boot1", 1);
    raised(s);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    up(s, 11, "db-b", "boot2", 1);
    say(s, 11, INSTANCE_PRIMARY, NULL);
    depot_words(&d);
    cmd(s, BRAIN_CMD_REBUILD, PATTERN);
    struct msg_page page = {.items = d.items, .items_count = d.item_count, .term = 1};
    uint64_t id = asked(s, 10)->id;
    answers(s, 10, &(struct msg_probe_answer){.id = id, .page = &page});
    assert_string_equal(s->rebuilt, "b: complete 0 known 0 leftovers 0 others 0");
    tick(s, SEC(1));
    assert_true(stored(s, PART_KEY "main"));
    assert_false(stored(s, PART_KEY "second"));
    assert_string_equal(status_of(s, "b")->waiting,
                        "a tenant of which nothing was found in storage waits for 'tidemark "
                        "rebuild confirm': this coordinator's state was lost or put back");
    cmd(s, BRAIN_CMD_CONFIRM, NULL);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_true(stored(s, PART_KEY "second"));
    assert_int_equal(given(s, 11).step, JOB_STEP_PREPARE);
    assert_string_equal(given(s, 10).uid, a.uid);
}

/* ---- what may never be durable: a part without its whole ---- */

static void name_is_taken(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    char id[2][WIRE_ID_MAX + 1];
    complete(s, &d, "");
    depot_backup(s, &d, 10, STORED_COMMITTED);
    depot_backup(s, &d, 11, STORED_COMMITTED);
    for (size_t at = 0; at < 2; at++) {
        COPY_TEXT(id[at], d.items[at].backup_id);
        for (char *c = id[at]; *c != '\0'; c++)
            *c = (char)(*c == 'T' || *c == 'Z' ? *c - 'A' + 'a' : *c);
    }
    live_again(s, 4, true);
    up(s, 10, "db-a", "boot1", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    apply(s, BACKUP("    tenant: main\n")); /* another one, of one tenant */
    depot_words(&d);
    read_items(s, 10, d.items, d.item_count);
    assert_false(stored(s, PART_KEY "main"));
    assert_false(stored(s, PART_KEY "second"));
    assert_string_equal(status_of(s, id[0])->tenant, "main");
    assert_string_equal(status_of(s, id[1])->tenant, "second");
    assert_int_equal(status_of(s, id[1])->phase, RESOURCE_COMPLETE);
}

static void words_are_damaged(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    complete(s, &d, "");
    depot_backup(s, &d, 10, STORED_COMMITTED);
    for (size_t at = 0; at < d.word_count; at++) { /* each says that it is no tenant of its whole */
        TM_CLEANUP(buf_release) struct buf whole = BUF_INIT;
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        struct record rec;
        struct record other;
        struct tm_err err;
        const char *names[] = {"third"};
        assert_int_equal(codec_decode(&record_codec, d.words[at].resource, &arena, &rec, &err), 0);
        assert_int_equal(codec_decode(&record_codec, rec.whole, &arena, &other, &err), 0);
        other.parts = names;
        other.parts_count = 1;
        assert_int_equal(codec_encode(&record_codec, &other, CODEC_MINOR_ALL, &whole, &err), 0);
        rec.whole = buf_slice(&whole);
        assert_int_equal(codec_encode(&record_codec, &rec, CODEC_MINOR_ALL, &bytes, &err), 0);
        assert_int_equal(
            codec_arena_bytes(&d.arena, buf_slice(&bytes), &d.words[at].resource, &err), 0);
    }
    lose(s, &d);
    assert_int_equal(s->record_count, 4); /* tenants, a backup of its own, what is to be kept of it,
                                             and that all of it is to be confirmed */
    assert_true(stored(s, "rebuild"));
    assert_true(stored(s, "cluster/demo1"));
    assert_false(stored(s, WHOLE_KEY));
    assert_false(stored(s, PART_KEY "main"));
}

static void whole_is_refused(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    complete(s, &d, "");
    depot_backup(s, &d, 10, STORED_COMMITTED);
    live_again(s, 4, true);
    up(s, 30, "db-c", "boot3", 9); /* that the state is in doubt was stored before */
    raised(s);
    both_up(s);
    depot_words(&d);
    cmd(s, BRAIN_CMD_REBUILD, PATTERN);
    struct msg_page page = {.items = d.items, .items_count = d.item_count, .term = 3};
    uint64_t id = asked(s, 10)->id;
    s->fail_persist = true;
    answers(s, 10, &(struct msg_probe_answer){.id = id, .page = &page});
    s->fail_persist = false;
    tick(s, SEC(1));
    assert_int_equal(s->answer.code, TM_E_IO);
    assert_false(stored(s, WHOLE_KEY));
    assert_false(stored(s, PART_KEY "main"));
    assert_false(stored(s, PART_KEY "second"));
}

/* ---- changes ---- */

#define LABELLED                                                                                   \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: b\n  labels: {keep: long}\nspec:\n" \
    "  br:\n    cluster: demo1\n  local:\n    path: /backup\n"

static bool is_labelled(struct stage *s)
{
    struct brain_resource r;
    assert_true(brain_resource_find(s->brain, "Backup", NULL, "b", &r));
    return memmem(r.spec->document, r.spec->document_len, "long", 4) != NULL;
}

static void of_the_whole_alone(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    complete(s, &d, "");
    apply(s, LABELLED);
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    assert_int_equal(settle(s, &d), 1); /* with one of its parts */
    depot_backup(s, &d, 10, STORED_COMMITTED);
    depot_backup(s, &d, 11, STORED_COMMITTED);
    lose(s, &d);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_true(is_labelled(s));
}

/* A part is told of while the whole's change is under way: what it says of the whole is older. */
static void of_both_at_once(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    s->keeps_intents = true;
    both_up(s);
    apply(s, BACKUP(""));
    struct msg_assignment a = given(s, 11);
    (void)settle(s, &d);
    struct msg_counters counters;
    struct msg_totals totals = totals_of(11, &counters);
    struct msg_job job = job_at(&a, JOB_STAGE_COMMITTED);
    job.totals = &totals;
    s->hold_persist = true;
    apply(s, LABELLED); /* told with main */
    uint64_t whole = s->held_txn;
    say(s, 11, INSTANCE_PRIMARY, &job);
    uint64_t part = s->held_txn;
    assert_true(part != whole);
    s->hold_persist = false;
    persisted(s, part, true);
    persisted(s, whole, true);
    (void)settle(s, &d);
    depot_backup(s, &d, 10, STORED_CHECKPOINT);
    depot_backup(s, &d, 11, STORED_COMMITTED);
    lose(s, &d);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    assert_true(is_labelled(s));
}

static void retained(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    complete(s, &d, "");
    depot_backup(s, &d, 10, STORED_COMMITTED);
    depot_backup(s, &d, 11, STORED_COMMITTED);
    command(s, BRAIN_CMD_DELETE, "b");
    assert_false(stored(s, WHOLE_KEY));
    assert_true(settle(s, &d) >= 2); /* each says so */
    lose(s, &d);
    assert_string_equal(s->rebuilt, ": complete 0 known 0 leftovers 0 others 0");
    assert_int_equal(s->record_count, 3); /* the cluster's tenants, two places with backups */
}

static void being_deleted(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    complete(s, &d, "  cleanPolicy: Delete\n");
    depot_backup(s, &d, 10, STORED_COMMITTED);
    depot_backup(s, &d, 11, STORED_DELETED); /* it was lost before anything of it was told */
    lose(s, &d);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_DELETING);
    assert_int_equal(given(s, 10).kind, JOB_KIND_DELETE); /* all of it goes */
    assert_int_equal(given(s, 11).kind, JOB_KIND_DELETE);
    for (uint64_t conn = 10; conn <= 11; conn++) {
        struct msg_assignment a = given(s, conn);
        struct msg_job job = job_at(&a, JOB_STAGE_SWEPT);
        say(s, conn, INSTANCE_PRIMARY, &job);
    }
    assert_false(stored(s, WHOLE_KEY));
    (void)settle(s, &d);
    assert_int_equal(d.word_count, 0);
}

/* ---- log ---- */

static void a_log_backup(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    char uid[WIRE_UID_MAX + 1];
    s->keeps_intents = true;
    up(s, 10, "db-a", "boot1", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    apply_log(s, "wal", "");
    COPY_TEXT(uid, given(s, 10).uid);
    assert_int_equal(settle_on(s, &d, 10), 1);
    up(s, 11, "db-b", "boot2", 0); /* it becomes one of two tenants */
    (void)given(s, 11);
    assert_true(settle(s, &d) >= 2);
    assert_int_equal(d.word_count, 2);
    d.log = true;
    lose(s, &d);
    assert_int_equal(status_of(s, "wal")->tenant_count, 2);
    assert_true(stored(s, "part/Backup/default/wal/main"));
    assert_true(stored(s, "part/Backup/default/wal/second"));
    assert_string_equal(given(s, 10).uid, uid); /* whoever streams goes on */
    live_again(s, 5, false);
    both_up(s);
    assert_string_equal(given(s, 10).uid, uid);
}

static void reports(struct stage *s, uint64_t conn, enum job_stage stage)
{
    struct msg_assignment a = given(s, conn);
    struct msg_job job = log_job(&a, stage, NULL);
    say(s, conn, INSTANCE_PRIMARY, &job);
}

/* Nothing is kept of a tenant that never began; that of the others tells that it was there. */
static void a_log_backup_that_is_stopped(void **state)
{
    struct stage *s = *state;
    TM_CLEANUP(depot_release) struct depot d = {.word_count = 0};
    s->keeps_intents = true;
    up(s, 10, "db-a", "boot1", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    apply_log(s, "wal", "");
    apply_log(s, "wal", "  logSubcommand: log-pause\n");
    reports(s, 10, JOB_STAGE_PAUSED);
    up(s, 11, "db-b", "boot2", 0);
    say(s, 11, INSTANCE_PRIMARY, NULL);
    apply_log(s, "wal", "  logSubcommand: log-stop\n");
    reports(s, 10, JOB_STAGE_STOPPED);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    assert_int_equal(status_of(s, "wal")->tenant_count, 2);
    (void)settle(s, &d);
    assert_int_equal(d.word_count, 1);
    d.log = true;
    lose(s, &d);
    for (uint64_t term = 5; term < 7; term++) {
        const struct resource_status *status = status_of(s, "wal");
        assert_int_equal(status->phase, RESOURCE_STOPPED);
        assert_int_equal(status->tenant_count, 2);
        assert_string_equal(status->tenants[1]->tenant, "second");
        assert_int_equal(status->tenants[1]->phase, RESOURCE_STOPPED);
        live_again(s, term, false);
        both_up(s);
    }
    command(s, BRAIN_CMD_DELETE, "wal");
    assert_false(stored(s, "resource/Backup/default/wal"));
    assert_false(stored(s, "part/Backup/default/wal/second"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {SCENE(as_it_was),
                                       SCENE(one_at_work),
                                       SCENE(one_that_failed),
                                       SCENE(one_that_is_lost),
                                       SCENE(one_that_had_not_begun),
                                       SCENE(name_is_taken),
                                       SCENE(words_are_damaged),
                                       SCENE(whole_is_refused),
                                       SCENE(of_the_whole_alone),
                                       SCENE(of_both_at_once),
                                       SCENE(retained),
                                       SCENE(being_deleted),
                                       SCENE(a_log_backup),
                                       SCENE(a_log_backup_that_is_stopped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
