/* The coordinator's brain, scene by scene: what it answers, what it waits for, what it says. */
#include "tests/unit/coordinator/brain/stage.h"

static void answers_only_what_is_durable(void **state)
{
    struct stage *s = *state;
    struct brain_resource resource;
    s->hold_persist = true;
    apply(s, BACKUP(""));
    assert_int_equal(s->answers, 0);
    assert_false(brain_resource_find(s->brain, "Backup", NULL, "b", &resource));
    command(s, BRAIN_CMD_DELETE, "b");
    assert_string_equal(s->answer.msg, "Backup/b: another change is under way, try again");
    persisted(s, s->held_txn, true);
    assert_int_equal(s->answers, 2);
    assert_int_equal(s->outcome, BRAIN_CREATED);
    assert_true(brain_resource_find(s->brain, "Backup", "default", "b", &resource));
    assert_int_equal(resource.generation, 1);
    assert_string_equal(resource.uid, "0000000000000001");
    s->hold_persist = false;
    apply(s, BACKUP(""));
    assert_int_equal(s->outcome, BRAIN_UNCHANGED);
    apply(s, BACKUP("    concurrency: 3\n"));
    assert_int_equal(s->outcome, BRAIN_CONFIGURED);
    command(s, BRAIN_CMD_DELETE, "b");
    assert_int_equal(s->outcome, BRAIN_DELETED);
    assert_int_equal(s->record_count, 0);
}

static void a_store_that_refuses(void **state)
{
    struct stage *s = *state;
    struct brain_resource resource;
    s->fail_persist = true;
    apply(s, BACKUP(""));
    assert_int_equal(s->answer.code, TM_E_NO_SPACE);
    assert_string_equal(s->answer.msg, "disk full");
    assert_false(brain_resource_find(s->brain, "Backup", NULL, "b", &resource));
    s->fail_persist = false;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    s->hold_persist = true;
    apply(s, BACKUP(""));
    persisted(s, s->held_txn, true);
    persisted(s, s->held_txn, false); /* the start of the job: not true, and tried again */
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_SCHEDULED);
    assert_string_equal(status_of(s, "b")->waiting,
                        "waiting for the coordinator to store its state: disk full");
    uint64_t failed = s->held_txn;
    tick(s, SEC(2));
    assert_int_not_equal(s->held_txn, failed);
    persisted(s, s->held_txn, true);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_PREPARE);
    assert_string_equal(status_of(s, "b")->waiting, "");
}

/* A cluster that nobody heard of, with a name like one that is there. */
static void suggests_a_cluster(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: b}\nspec:\n"
             "  br: {cluster: dmeo1}\n  local: {path: /backup}\n");
    assert_string_equal(status_of(s, "b")->waiting,
                        "waiting for an agent of cluster 'dmeo1', tenant 'main' with role primary; "
                        "did you mean 'demo1'?");
}

static void says_what_it_waits_for(void **state)
{
    struct stage *s = *state;
    apply(s, BACKUP(""));
    assert_string_equal(status_of(s, "b")->waiting,
                        "waiting for an agent of cluster 'demo1', tenant 'main' with role primary");
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_SCHEDULED);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_PREPARE);
    assert_string_equal(status_of(s, "b")->node, "db-a");
}

/* Its poll is not answered before its first heartbeat, and nobody is woken for it in vain. */
static void polls_before_it_says_anything(void **state)
{
    struct stage *s = *state;
    struct message poll = {.type = MESSAGE_poll};
    up(s, 10, "db-a", "boot1", 0);
    ask(s, 10, &poll);
    for (int seconds = 0; seconds < 40; seconds++) {
        tick(s, SEC(1));
        assert_true(s->wake_us > s->mono_us);
    }
    assert_int_equal(s->replies, 0);
}

static void polls(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct message poll = {.type = MESSAGE_poll};
    poll.poll.term = 1;
    poll.poll.revision = s->reply.desired.revision;
    unsigned before = s->replies;
    ask(s, 10, &poll);
    assert_int_equal(s->replies, before); /* parked */
    uint64_t first = s->serial;
    ask(s, 10, &poll);
    assert_int_equal(s->replies, before + 1); /* one at most: the older one is answered */
    assert_int_equal(s->reply.serial, first);
    apply(s, BACKUP(""));
    assert_int_equal(s->replies, before + 2); /* at once */
    assert_int_equal(s->reply.serial, first + 1);
    assert_int_equal(desired_job(s)->step, JOB_STEP_PREPARE);
    poll.poll.revision = s->reply.desired.revision;
    ask(s, 10, &poll);
    for (int beats = 0; beats < 3; beats++) {
        tick(s, SEC(9));
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    }
    assert_int_equal(s->replies, before + 5); /* those of the beats */
    tick(s, SEC(4));
    assert_int_equal(s->replies, before + 6); /* or after a while */
}

static void a_newer_term_was_seen(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 5);
    assert_int_equal(s->welcome_term, 0);
    assert_int_equal(s->raise_to, 6);
    struct brain_event event = {.kind = BRAIN_EV_TERM};
    event.term.term = 6;
    feed(s, &event);
    assert_int_equal(s->welcome_term, 6);
}

static void strangers(void **state)
{
    struct stage *s = *state;
    struct message m = {.type = MESSAGE_heartbeat};
    ask(s, 77, &m);
    assert_int_equal(s->reply.type, MESSAGE_error);
    assert_string_equal(s->reply.error.text, "this connection has not said hello");
    up(s, 10, "db-a", "boot1", 0);
    struct message wrong = {.type = MESSAGE_desired};
    ask(s, 10, &wrong);
    assert_string_equal(s->reply.error.text, "'desired' is not a question for a coordinator");
    struct msg_assignment nobody = {.uid = "feed", .attempt = 1};
    want(s, 10, &nobody, 1);
    assert_string_equal(s->reply.error.text, "job 'feed' is not one of node 'db-a'");
}

static void deletion_sweeps_first(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: b\nspec:\n  br:\n"
             "    cluster: demo1\n  cleanPolicy: Delete\n  local:\n    path: /backup\n");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    struct msg_job job = job_at(&a, JOB_STAGE_COMMITTED);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    command(s, BRAIN_CMD_DELETE, "b");
    assert_int_equal(s->outcome, BRAIN_DELETING);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job); /* the backup's own job: means nothing here */
    assert_int_equal(desired_job(s)->kind, JOB_KIND_DELETE);
    assert_int_equal(s->record_count, 1);
    job = job_at(desired_job(s), JOB_STAGE_SWEPT);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(s->record_count, 0);
}

static void a_lead_that_restarts(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    char id[WIRE_ID_MAX + 1];
    memcpy(id, status_of(s, "b")->backup_id, sizeof(id));
    gone(s, 10);
    up(s, 12, "db-a", "boot9", 0);
    assert_int_equal(s->welcomed, 12);
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->phase,
                     RESOURCE_FAILED); /* and what it stored stays: it may be resumed */
    assert_string_equal(status->error.message, "agent on node 'db-a' was restarted: the database "
                                               "session that held the backup is lost");
    assert_string_equal(status->error.node, "db-a");
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    command(s, BRAIN_CMD_RETRY, "b");
    assert_int_equal(s->outcome, BRAIN_DONE);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->attempt, 2);
    assert_string_not_equal(desired_job(s)->uid, a.uid);
    assert_string_equal(desired_job(s)->backup->backup_id, id);
    assert_true(desired_job(s)->backup->resume);
}

/* What is stored is another server's: the attempt is told whose it was, and when it says that the ranges
 * are no good, that is swept before they start over. */
static void another_server_in_its_place(void **state)
{
    struct stage *s = *state;
    (void)running(s, 0, 2);
    char id[WIRE_ID_MAX + 1];
    memcpy(id, status_of(s, "b")->backup_id, sizeof(id));
    gone(s, 10);
    up(s, 12, "db-a", "boot9", 0);
    beat_as(s, 12, INSTANCE_PRIMARY, 0, "8000", NULL);
    command(s, BRAIN_CMD_RETRY, "b");
    beat_as(s, 12, INSTANCE_PRIMARY, 0, "8000", NULL);
    assert_string_equal(desired_job(s)->identity, "7000");
    struct msg_error error = {
        .code = TM_E_CONFLICT, .text = "it is another one", .stage = "resume"};
    struct msg_job job = job_at(desired_job(s), JOB_STAGE_FAILED);
    job.error = &error;
    beat_as(s, 12, INSTANCE_PRIMARY, 0, "8000", &job);
    beat_as(s, 12, INSTANCE_PRIMARY, 0, "8000", &job);
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT);
    assert_string_equal(desired_job(s)->identity, "7000");
    job.stage = JOB_STAGE_SWEPT;
    beat_as(s, 12, INSTANCE_PRIMARY, 0, "8000", &job);
    beat_as(s, 12, INSTANCE_PRIMARY, 0, "8000", NULL);
    assert_int_equal(desired_job(s)->attempt, 3);
    assert_string_equal(desired_job(s)->identity, "8000");
    assert_string_not_equal(desired_job(s)->backup->backup_id, id);
    assert_false(desired_job(s)->backup->resume);
    assert_int_equal(status_of(s, "b")->warning_count, 1);
    assert_string_equal(status_of(s, "b")->warnings[0], "ranges started over: it is another one");
}

static void a_lead_that_is_silent(void **state)
{
    struct stage *s = *state;
    (void)running(s, 0, 2);
    tick(s, SEC(29));
    assert_false(status_of(s, "b")->has_error);
    tick(s, SEC(62));
    assert_string_equal(status_of(s, "b")->error.message,
                        "agent on node 'db-a' is not heard for 30 s");
    tick(s, SEC(62));
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_FAILED);
}

static bool is_connected(const struct stage *s)
{
    struct brain_node node;
    size_t cursor = 0;
    assert_true(brain_node_next(s->brain, &cursor, &node));
    return node.connected;
}

/* The transport may never tell that a peer is gone. */
static void a_node_that_is_silent(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    tick(s, SEC(9));
    assert_true(is_connected(s));
    tick(s, SEC(2));
    assert_false(is_connected(s));
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_true(is_connected(s));
    tick(s, SEC(30));
    assert_int_equal(s->closed, 0);
    tick(s, SEC(1));
    assert_int_equal(s->closed, 10);
    assert_string_equal(s->log, "node 'db-a' of cluster 'demo1' is silent for 30 s: its connection "
                                "is closed");
    up(s, 11, "db-a", "boot1", 0);
    assert_true(is_connected(s));
}

/* Two agents of one name: the one that lives stays, whatever the other does. */
static void twins(void **state)
{
    struct stage *s = *state;
    (void)running(s, 0, 2);
    up(s, 11, "db-a", "boot2", 0);
    assert_int_equal(s->welcomed, 10);
    assert_int_equal(s->refused, 0); /* it may be the same agent, killed and started again */
    s->mono_us += MS(400);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL); /* perhaps sent before it died */
    assert_int_equal(s->refused, 0);
    s->mono_us += MS(400);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->refused, 11);
    assert_string_equal(s->refusal, "another agent is connected as node 'db-a' of cluster 'demo1': "
                                    "stop it, or give this one a node name of its own");
    assert_int_equal(s->closed, 0);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    assert_false(status_of(s, "b")->has_error);
    gone(s, 10); /* now the name is free, at once */
    up(s, 12, "db-a", "boot2", 0);
    assert_int_equal(s->welcomed, 12);
}

/* Killed and started again, and the transport does not tell that the old connection is dead. */
static void a_new_life_beside_a_dead_connection(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    tick(s, SEC(1));
    up(s, 11, "db-a", "boot2", 0);
    up(s, 12, "db-b", "boot1", 0); /* others do not wait for it */
    assert_int_equal(s->welcomed, 12);
    up(s, 13, "db-a", "boot1", 0); /* nor the same life on another connection */
    assert_int_equal(s->welcomed, 13);
    assert_int_equal(s->closed, 10);
    gone(s, 10);
    tick(s, MS(3400));
    assert_int_equal(s->welcomed, 13);
    tick(s, MS(200));
    assert_int_equal(s->welcomed, 11);
    assert_int_equal(s->closed, 13);
    assert_int_equal(s->refused, 0);
    tick(s, SEC(4));
    up(s, 14, "db-a", "boot3", 0); /* silent for long enough */
    assert_int_equal(s->welcomed, 14);
}

static void how_far_it_came_is_kept(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 3);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    want(s, 10, &a, 1);
    assert_int_equal(s->reply.type, MESSAGE_ranges);
    const struct msg_lease lease = s->reply.ranges.leases[0];
    (void)done(s, 10, &a, lease.range, lease.term, lease.counter);
    struct msg_error error = {.code = TM_E_IO, .text = "cannot read 'x'", .stage = "range"};
    struct msg_job job = job_at(&a, JOB_STAGE_FAILED);
    job.error = &error;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    for (int life = 0; life < 2; life++) {
        assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING); /* swept first */
        assert_int_equal(status_of(s, "b")->ranges_done, 1);
        assert_int_equal(status_of(s, "b")->bytes_done, 100);
        brain_free(s->brain);
        start(s, (uint64_t)life + 2);
        up(s, 10, "db-a", "boot1", 0);
    }
    job.stage = JOB_STAGE_SWEPT;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_FAILED);
    assert_int_equal(status_of(s, "b")->ranges_done, 1);
    assert_int_equal(status_of(s, "b")->ranges_total, 3);
    assert_int_equal(status_of(s, "b")->bytes_done, 100);
    assert_int_equal(status_of(s, "b")->bytes_total, 300);
    command(s, BRAIN_CMD_RETRY, "b");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(status_of(s, "b")->ranges_done, 0);
}

static void retries(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply(s, "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: b\nspec:\n  br:\n"
             "    cluster: demo1\n  backoffRetryPolicy:\n    minRetryDuration: 10s\n"
             "    maxRetryTimes: 1\n  local:\n    path: /backup\n");
    struct msg_error error = {
        .code = TM_E_UNAVAILABLE, .text = "storage is away", .retryable = true};
    for (uint32_t attempt = 1; attempt <= 2; attempt++) {
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
        assert_int_equal(desired_job(s)->attempt, attempt);
        struct msg_job job = job_at(desired_job(s), JOB_STAGE_FAILED);
        job.error = &error;
        beat(s, 10, INSTANCE_PRIMARY, 0, &job);
        job.stage = JOB_STAGE_SWEPT;
        beat(s, 10, INSTANCE_PRIMARY, 0, &job);
        if (attempt == 2)
            break;
        assert_int_equal(status_of(s, "b")->phase, RESOURCE_SCHEDULED);
        assert_string_equal(status_of(s, "b")->error.message, "storage is away");
        s->mono_us += SEC(9);
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
        assert_int_equal(status_of(s, "b")->phase, RESOURCE_SCHEDULED);
        s->mono_us += SEC(2);
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
        assert_int_equal(status_of(s, "b")->phase, RESOURCE_PREPARE);
    }
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_FAILED);
}

static void storage_has_the_last_word(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 1);
    struct msg_error error = {.code = TM_E_IO, .text = "cannot read 'x'", .stage = "range"};
    struct msg_job job = job_at(&a, JOB_STAGE_FAILED);
    job.error = &error;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_string_equal(status_of(s, "b")->error.message, "cannot read 'x'");
    assert_string_equal(status_of(s, "b")->error.stage, "range");
    job.stage = JOB_STAGE_COMMITTED; /* the sweep found a manifest */
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_COMPLETE);
    assert_false(status_of(s, "b")->has_error);
}

/* The lead is there, but its storage is not: every try to sweep is a new runner. */
static void a_sweep_that_cannot_work(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 1);
    struct msg_error error = {.code = TM_E_NOT_FOUND, .text = "storage is gone", .stage = "range"};
    struct msg_job job = job_at(&a, JOB_STAGE_FAILED);
    job.error = &error;
    for (uint32_t restarts = 3; restarts <= 9; restarts++) {
        job.runner_restarts = restarts; /* 3 before the abort */
        beat(s, 10, INSTANCE_PRIMARY, 0, &job);
        assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    }
    job.runner_restarts = 1; /* another life of the agent counts from the start */
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    job.runner_restarts = 7;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    job.runner_restarts = 8;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_FAILED);
    assert_string_equal(status_of(s, "b")->error.message, "storage is gone");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT); /* it goes on with it */
}

static void trouble_with_storage(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    struct msg_error trouble = {.text = "http://s/b/x: PUT: s: no answer for 20 s, attempt 1 of 3",
                                .stage = "storage",
                                .since_us = 99};
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_false(status_of(s, "b")->has_error);
    job.trouble = &trouble;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->phase, RESOURCE_RUNNING);
    assert_string_equal(status->error.node, "db-a");
    assert_string_equal(status->error.stage, "storage");
    assert_string_equal(status->error.message, trouble.text);
    assert_int_equal(status->error.since_us, 99);
    job.trouble = NULL;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_false(status_of(s, "b")->has_error);
    /* from a node that is not heard any more it says nothing */
    job.trouble = &trouble;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    tick(s, SEC(11));
    assert_false(status_of(s, "b")->has_error);
}

static void the_same_events_give_the_same_actions(void **state)
{
    (void)state;
    struct buf streams[2] = {BUF_INIT, BUF_INIT};
    struct tm_err err;
    for (size_t run = 0; run < 2; run++) {
        struct stage *s = NULL;
        (void)setup((void **)&s);
        (void)running(s, 0, 3);
        assert_int_equal(message_encode(&s->reply, CODEC_MINOR_ALL, &streams[run], &err), 0);
        assert_int_equal(buf_append_slice(&streams[run], buf_slice(&s->records[0]), &err), 0);
        (void)teardown((void **)&s);
    }
    assert_true(slice_eq(buf_slice(&streams[0]), buf_slice(&streams[1])));
    buf_release(&streams[0]);
    buf_release(&streams[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(answers_only_what_is_durable),
        SCENE(a_store_that_refuses),
        SCENE(suggests_a_cluster),
        SCENE(says_what_it_waits_for),
        SCENE(polls_before_it_says_anything),
        SCENE(polls),
        SCENE(a_newer_term_was_seen),
        SCENE(strangers),
        SCENE(deletion_sweeps_first),
        SCENE(a_lead_that_restarts),
        SCENE(another_server_in_its_place),
        SCENE(a_lead_that_is_silent),
        SCENE(a_node_that_is_silent),
        SCENE(twins),
        SCENE(a_new_life_beside_a_dead_connection),
        SCENE(how_far_it_came_is_kept),
        SCENE(retries),
        SCENE(storage_has_the_last_word),
        SCENE(a_sweep_that_cannot_work),
        SCENE(trouble_with_storage),
        cmocka_unit_test(the_same_events_give_the_same_actions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
