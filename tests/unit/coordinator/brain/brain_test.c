/* The coordinator's brain, scene by scene: what it answers, what it waits for, what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/brain/brain.h"
#include "proto/spec/status.h"

#define MS(n)  ((uint64_t)(n)*1000)
#define SEC(n) ((uint64_t)(n)*1000000)

/* A brain with a store that answers at once (unless told not to), and the newest of everything it
 * said. */
struct stage {
    struct brain *brain;
    uint64_t mono_us;
    uint64_t random;
    uint64_t serial;
    bool hold_persist; /* PERSIST is not answered… */
    bool fail_persist; /* …or with an error */
    uint64_t held_txn;
    struct buf records[16]; /* what the store holds: key NUL value */
    size_t record_count;
    unsigned answers;
    enum brain_outcome outcome;
    struct tm_err answer; /* code OK: done */
    unsigned replies;
    uint64_t reply_ctx;
    struct message reply; /* copied */
    uint64_t welcome_term;
    uint64_t raise_to;
    uint64_t closed;
};

static uint64_t next_number(void *arg)
{
    return ++((struct stage *)arg)->random;
}

static void store(struct stage *s, const struct brain_put *put)
{
    struct tm_err err;
    size_t at = 0;
    for (; at < s->record_count; at++) {
        if (strlen((char *)s->records[at].data) == put->key.len &&
            memcmp(s->records[at].data, put->key.data, put->key.len) == 0)
            break;
    }
    if (put->value.len == 0) {
        if (at == s->record_count)
            return;
        buf_release(&s->records[at]);
        s->records[at] = s->records[--s->record_count];
        return;
    }
    if (at == s->record_count)
        s->record_count++;
    buf_reset(&s->records[at]);
    assert_int_equal(buf_append_slice(&s->records[at], put->key, &err), 0);
    assert_int_equal(buf_append(&s->records[at], "", 1, &err), 0);
    assert_int_equal(buf_append_slice(&s->records[at], put->value, &err), 0);
}

static void feed(struct stage *s, const struct brain_event *event);

static void persisted(struct stage *s, uint64_t txn, bool ok)
{
    struct tm_err err;
    (void)tm_err_set(&err, TM_E_NO_SPACE, "disk full");
    struct brain_event event = {.kind = BRAIN_EV_PERSISTED};
    event.persisted.txn = txn;
    event.persisted.ok = ok;
    event.persisted.err = ok ? NULL : &err;
    feed(s, &event);
}

static void feed(struct stage *s, const struct brain_event *event)
{
    struct tm_err err = {0};
    struct brain_actions actions;
    uint64_t txns[8];
    size_t txn_count = 0;
    struct brain_now now = {.mono_us = s->mono_us,
                            .real_us = (int64_t)(SEC(1763720000) + s->mono_us)};
    assert_int_equal(brain_step(s->brain, event, now, &actions, &err), 0);
    for (size_t at = 0; at < actions.count; at++) {
        const struct brain_action *a = &actions.items[at];
        switch (a->kind) {
        case BRAIN_ACT_REPLY:
            message_release(&s->reply);
            assert_int_equal(message_copy(a->reply.message, &s->reply, &err), 0);
            s->reply_ctx = a->reply.ctx;
            s->replies++;
            break;
        case BRAIN_ACT_WELCOME:
            s->welcome_term = a->welcome.term;
            break;
        case BRAIN_ACT_CLOSE:
            s->closed = a->close.conn;
            break;
        case BRAIN_ACT_RAISE_TERM:
            s->raise_to = a->raise_term.at_least;
            break;
        case BRAIN_ACT_PERSIST:
            s->held_txn = a->persist.txn;
            if (!s->fail_persist)
                store(s, &a->persist.puts[0]);
            txns[txn_count++] = a->persist.txn;
            break;
        case BRAIN_ACT_ANSWER:
            s->answers++;
            s->outcome = a->answer.outcome;
            s->answer = a->answer.err != NULL ? *a->answer.err : (struct tm_err){0};
            break;
        default:
            break;
        }
    }
    for (size_t at = 0; at < txn_count && !s->hold_persist; at++)
        persisted(s, txns[at], !s->fail_persist);
}

static void start(struct stage *s, uint64_t term)
{
    struct tm_err err;
    struct brain_config config = {.term = term, .start = 99};
    struct brain_rng rng = {.next = next_number, .arg = s};
    assert_int_equal(brain_new(&config, rng, &s->brain, &err), 0);
    for (size_t at = 0; at < s->record_count; at++) {
        struct brain_event event = {.kind = BRAIN_EV_LOADED};
        size_t key_len = strlen((char *)s->records[at].data);
        event.loaded.key = slice_of(s->records[at].data, key_len);
        event.loaded.value =
            slice_of(s->records[at].data + key_len + 1, s->records[at].len - key_len - 1);
        feed(s, &event);
    }
    struct brain_event event = {.kind = BRAIN_EV_LOADED_END};
    feed(s, &event);
}

static int setup(void **state)
{
    struct stage *s = calloc(1, sizeof(*s));
    s->mono_us = SEC(100);
    start(s, 1);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct stage *s = *state;
    brain_free(s->brain);
    message_release(&s->reply);
    for (size_t at = 0; at < TM_ARRAY_LEN(s->records); at++)
        buf_release(&s->records[at]);
    free(s);
    return 0;
}

/* ---- acting ---- */

static void tick(struct stage *s, uint64_t after_us)
{
    struct brain_event event = {.kind = BRAIN_EV_TICK};
    s->mono_us += after_us;
    feed(s, &event);
}

static void apply(struct stage *s, const char *yaml)
{
    struct tm_err err = {0};
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    if (resource_parse("test", slice_str(yaml), &list, &err) < 0)
        fail_msg("%s", err.msg);
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = 1;
    event.command.what = BRAIN_CMD_APPLY;
    event.command.resource = TM_TAKE(list.items[0]);
    feed(s, &event);
}

static void command(struct stage *s, enum brain_command what, const char *name)
{
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = 2;
    event.command.what = what;
    event.command.kind = "Backup";
    event.command.name = name;
    feed(s, &event);
}

#define BACKUP(extra)                                                                              \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: b\nspec:\n  br:\n"                  \
    "    cluster: demo1\n" extra "  local:\n    path: /backup\n"

static void up(struct stage *s, uint64_t conn, const char *node, const char *boot, uint64_t seen)
{
    struct brain_event event = {.kind = BRAIN_EV_AGENT_UP};
    event.up.conn = conn;
    event.up.ctx = 1;
    event.up.cluster = "demo1";
    event.up.node = node;
    event.up.boot = boot;
    event.up.seen_term = seen;
    event.up.seen_start = seen != 0 ? 1 : 0;
    feed(s, &event);
}

static void ask(struct stage *s, uint64_t conn, struct message *m)
{
    struct brain_event event = {.kind = BRAIN_EV_REQUEST};
    m->serial = ++s->serial;
    m->term = brain_term(s->brain);
    event.request.conn = conn;
    event.request.ctx = m->serial;
    event.request.message = m;
    feed(s, &event);
}

/* A heartbeat of a node with one instance and perhaps one job. */
static void beat(struct stage *s, uint64_t conn, enum instance_role role, uint32_t caps,
                 struct msg_job *job)
{
    struct msg_instance instance = {
        .tenant = "main", .engine = "mock", .caps = caps, .role = role, .identity = "7000"};
    struct message m = {.type = MESSAGE_heartbeat};
    m.heartbeat.instances = &instance;
    m.heartbeat.instances_count = 1;
    m.heartbeat.jobs = job;
    m.heartbeat.jobs_count = job != NULL;
    ask(s, conn, &m);
}

static struct msg_job job_at(const struct msg_assignment *a, enum job_stage stage)
{
    struct msg_job job = {.attempt = a->attempt, .kind = a->kind, .stage = stage};
    memcpy(job.uid, a->uid, sizeof(job.uid));
    return job;
}

/* The newest desired set's only job. */
static const struct msg_assignment *desired_job(const struct stage *s)
{
    assert_int_equal(s->reply.type, MESSAGE_desired);
    assert_int_equal(s->reply.desired.jobs_count, 1);
    return &s->reply.desired.jobs[0];
}

static void send_plan(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                      uint32_t ranges)
{
    static const char *keys[] = {"", "b", "c", "d", "e", "f"};
    struct msg_plan_range plan[5];
    struct message m = {.type = MESSAGE_plan_ranges};
    for (uint32_t at = 0; at < ranges; at++)
        plan[at] =
            (struct msg_plan_range){.start = slice_str(keys[at]),
                                    .end = at + 1 < ranges ? slice_str(keys[at + 1]) : SLICE_EMPTY,
                                    .bytes = 100};
    memcpy(m.plan_ranges.uid, a->uid, sizeof(a->uid));
    m.plan_ranges.attempt = a->attempt;
    m.plan_ranges.ranges = plan;
    m.plan_ranges.ranges_count = ranges;
    m.plan_ranges.last = true;
    ask(s, conn, &m);
}

static void want(struct stage *s, uint64_t conn, const struct msg_assignment *a, uint32_t count)
{
    struct message m = {.type = MESSAGE_want_ranges};
    memcpy(m.want_ranges.uid, a->uid, sizeof(a->uid));
    m.want_ranges.attempt = a->attempt;
    m.want_ranges.count = count;
    ask(s, conn, &m);
}

static uint32_t done(struct stage *s, uint64_t conn, const struct msg_assignment *a, uint32_t range,
                     uint64_t term, uint64_t counter)
{
    struct msg_counters counters = {.bytes = 100, .stored_bytes = 40, .files = 2};
    struct msg_result result = {.range = range,
                                .term = term,
                                .counter = counter,
                                .blob = slice_str("entry"),
                                .counters = &counters};
    struct message m = {.type = MESSAGE_ranges_done};
    memcpy(m.ranges_done.uid, a->uid, sizeof(a->uid));
    m.ranges_done.attempt = a->attempt;
    m.ranges_done.results = &result;
    m.ranges_done.results_count = 1;
    ask(s, conn, &m);
    assert_int_equal(s->reply.type, MESSAGE_verdicts);
    assert_int_equal(s->reply.verdicts.verdicts_count, 1);
    return s->reply.verdicts.verdicts[0].verdict;
}

static const struct resource_status *status_of(struct stage *s, const char *name)
{
    struct brain_resource resource;
    assert_true(brain_resource_find(s->brain, "Backup", NULL, name, &resource));
    return resource.status;
}

/* A running backup led by node db-a on connection 10; what it was assigned is copied. */
static struct msg_assignment running(struct stage *s, uint32_t caps, uint32_t ranges)
{
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, caps, NULL);
    apply(s, BACKUP(""));
    beat(s, 10, INSTANCE_PRIMARY, caps, NULL);
    struct msg_assignment a = *desired_job(s);
    assert_int_equal(a.step, JOB_STEP_PREPARE);
    send_plan(s, 10, &a, ranges);
    assert_true(s->reply.plan_ack.done);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    return a;
}

/* ---- scenes ---- */

static void answers_only_what_is_durable(void **state)
{
    struct stage *s = *state;
    struct brain_resource resource;
    s->hold_persist = true;
    apply(s, BACKUP(""));
    assert_int_equal(s->answers, 0);
    assert_false(brain_resource_find(s->brain, "Backup", NULL, "b", &resource));
    command(s, BRAIN_CMD_DELETE, "b");
    assert_string_equal(s->answer.msg, "Backup/b: not found");
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
    uint64_t failed = s->held_txn;
    tick(s, SEC(2));
    assert_int_not_equal(s->held_txn, failed);
    persisted(s, s->held_txn, true);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_PREPARE);
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

static void a_backup_from_end_to_end(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    want(s, 10, &a, 8);
    assert_int_equal(s->reply.ranges.leases_count, 2);
    assert_int_equal(s->reply.ranges.leases[1].counter, 2);
    assert_memory_equal(s->reply.ranges.leases[1].start.data, "b", 1);
    assert_int_equal(done(s, 10, &a, 1, 1, 2), VERDICT_ACCEPTED);
    assert_int_equal(done(s, 10, &a, 1, 1, 2), VERDICT_ACCEPTED); /* again: still once */
    assert_int_equal(status_of(s, "b")->ranges_done, 1);
    assert_int_equal(done(s, 10, &a, 7, 1, 2), VERDICT_STALE); /* there is no such range */
    assert_int_equal(done(s, 10, &a, 0, 1, 9), VERDICT_STALE); /* nor such a lease */
    assert_int_equal(done(s, 10, &a, 0, 1, 1), VERDICT_ACCEPTED);

    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(desired_job(s)->step, JOB_STEP_FINISH);
    struct message m = {.type = MESSAGE_want_results};
    memcpy(m.want_results.uid, a.uid, sizeof(a.uid));
    m.want_results.attempt = a.attempt;
    ask(s, 10, &m);
    assert_int_equal(s->reply.results.results_count, 2);
    assert_true(s->reply.results.last);
    assert_int_equal(s->reply.results.results[1].counter, 2);
    assert_memory_equal(s->reply.results.results[0].blob.data, "entry", 5);

    struct msg_counters counters = {.bytes = 210, .stored_bytes = 90};
    struct msg_totals totals = {.counters = &counters, .position = "0/3000148", .commit_us = 5};
    job.stage = JOB_STAGE_COMMITTED;
    job.totals = &totals;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->phase, RESOURCE_COMPLETE);
    assert_int_equal(status->backup_bytes, 90);
    assert_string_equal(status->position, "0/3000148");
    assert_int_equal(status->ranges_done, 2);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    apply(s, BACKUP("    concurrency: 3\n"));
    assert_string_equal(s->answer.msg, "Backup/b was started already and its spec cannot change "
                                       "any more; apply it under another name");
}

static void lapsed_leases_are_fenced(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, INSTANCE_CAP_RANGE_OWN_POSITION, 2);
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, INSTANCE_CAP_RANGE_OWN_POSITION, NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_WORKER);
    want(s, 11, &a, 1);
    assert_int_equal(s->reply.ranges.leases[0].range, 0);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    for (int second = 0; second < 11; second++) {
        s->mono_us += SEC(1);
        beat(s, 10, INSTANCE_PRIMARY, INSTANCE_CAP_RANGE_OWN_POSITION, &job);
    }
    want(s, 10, &a, 1); /* db-b is silent for 11 s */
    assert_int_equal(s->reply.ranges.leases_count, 1);
    assert_int_equal(s->reply.ranges.leases[0].range, 0);
    assert_int_equal(s->reply.ranges.leases[0].counter, 2);
    assert_false(s->reply.ranges.leases[0].shared);
    assert_int_equal(done(s, 11, &a, 0, 1, 1), VERDICT_STALE);
    assert_int_equal(done(s, 10, &a, 0, 1, 2), VERDICT_ACCEPTED);
}

static void a_lease_that_is_not_reported_is_free(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    want(s, 10, &a, 1);
    uint64_t grant = s->serial;
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    job.want_serial = grant - 1; /* the answer had not come when this was said */
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    want(s, 10, &a, 1);
    assert_int_equal(s->reply.ranges.leases[0].range, 1);
    job.want_serial = s->serial; /* now it had, and the runner is dead */
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    want(s, 10, &a, 2);
    assert_int_equal(s->reply.ranges.leases_count, 2);
    assert_int_equal(s->reply.ranges.leases[0].range, 0);
    assert_int_equal(s->reply.ranges.leases[0].counter, 3);
}

static void a_lead_that_restarts(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    up(s, 12, "db-a", "boot9", 0);
    assert_int_equal(s->closed, 10);
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->phase, RESOURCE_RUNNING);
    assert_string_equal(status->error.message, "agent on node 'db-a' was restarted: the database "
                                               "session that held the backup is lost");
    assert_string_equal(status->error.node, "db-a");
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->step, JOB_STEP_ABORT);
    struct msg_job job = job_at(&a, JOB_STAGE_SWEPT);
    beat(s, 12, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_FAILED);
    command(s, BRAIN_CMD_RETRY, "b");
    assert_int_equal(s->outcome, BRAIN_DONE);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(desired_job(s)->attempt, 2);
    assert_string_not_equal(desired_job(s)->uid, a.uid);
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

static void failed_ranges(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    want(s, 10, &a, 2);
    struct msg_error error = {
        .code = TM_E_NO_SPACE, .text = "cannot write 'd'", .retryable = false};
    struct msg_result result = {.range = 1, .term = 1, .counter = 2, .error = &error};
    struct message m = {.type = MESSAGE_ranges_done};
    memcpy(m.ranges_done.uid, a.uid, sizeof(a.uid));
    m.ranges_done.attempt = a.attempt;
    m.ranges_done.results = &result;
    m.ranges_done.results_count = 1;
    ask(s, 10, &m);
    assert_string_equal(status_of(s, "b")->error.message, "range 1: cannot write 'd'");
    assert_int_equal(status_of(s, "b")->error.code, TM_E_NO_SPACE);
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
    tick(s, SEC(31));
    assert_int_equal(s->replies, before + 3); /* or after a while */
}

static void a_restart_takes_up_what_runs(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = running(s, 0, 2);
    want(s, 10, &a, 2);
    assert_int_equal(done(s, 10, &a, 0, 1, 1), VERDICT_ACCEPTED);
    brain_free(s->brain);
    s->mono_us += SEC(5);
    start(s, 2);
    up(s, 20, "db-a", "boot1", 1);
    struct message poll = {.type = MESSAGE_poll};
    unsigned before = s->replies;
    ask(s, 20, &poll);
    assert_int_equal(s->replies, before); /* what the agent has is not known yet */
    struct msg_lease lease = {.range = 1, .term = 1, .counter = 2};
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    job.leases = &lease;
    job.leases_count = 1;
    beat(s, 20, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(desired_job(s)->step, JOB_STEP_RUN);
    assert_false(desired_job(s)->plan_done);
    assert_int_equal(done(s, 20, &a, 0, 1, 1), VERDICT_LATER); /* the plan is not back */
    send_plan(s, 20, &a, 2);
    beat(s, 20, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(done(s, 20, &a, 0, 1, 1), VERDICT_ACCEPTED);
    want(s, 20, &a, 2);
    assert_int_equal(s->reply.ranges.leases_count, 0); /* for one lease time */
    assert_int_equal(done(s, 20, &a, 1, 1, 2), VERDICT_ACCEPTED);
    assert_int_equal(status_of(s, "b")->ranges_done, 2);
}

static void a_restart_without_the_lead(void **state)
{
    struct stage *s = *state;
    (void)running(s, 0, 2);
    brain_free(s->brain);
    start(s, 2);
    tick(s, SEC(59));
    assert_false(status_of(s, "b")->has_error);
    tick(s, SEC(2));
    assert_string_equal(status_of(s, "b")->error.message,
                        "agent on node 'db-a' is not heard for 60 s");
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

#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(answers_only_what_is_durable),
        SCENE(a_store_that_refuses),
        SCENE(says_what_it_waits_for),
        SCENE(a_backup_from_end_to_end),
        SCENE(lapsed_leases_are_fenced),
        SCENE(a_lease_that_is_not_reported_is_free),
        SCENE(a_lead_that_restarts),
        SCENE(a_lead_that_is_silent),
        SCENE(storage_has_the_last_word),
        SCENE(failed_ranges),
        SCENE(polls),
        SCENE(a_restart_takes_up_what_runs),
        SCENE(a_restart_without_the_lead),
        SCENE(a_newer_term_was_seen),
        SCENE(strangers),
        SCENE(deletion_sweeps_first),
        cmocka_unit_test(the_same_events_give_the_same_actions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
