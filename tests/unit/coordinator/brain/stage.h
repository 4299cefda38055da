#ifndef TM_TESTS_UNIT_COORDINATOR_BRAIN_STAGE_H
#define TM_TESTS_UNIT_COORDINATOR_BRAIN_STAGE_H
/* A coordinator's brain on a stage: a store that answers, agents that speak when told to. For the
 * tests beside it; each includes it once. */
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
    bool
        keeps_intents; /* what is to be kept in storage is among the records: else nobody asks for it */
    bool force;        /* of commands that rebuild */
    bool keeps_lives;  /* the same of what lives there were */
    uint64_t revision; /* the store's */
    uint64_t held_txn;
    struct buf records[16]; /* what the store holds: key NUL value */
    size_t record_count;
    unsigned answers;
    enum brain_outcome outcome;
    struct tm_err answer; /* code OK: done */
    bool found;           /* it brought what a question found: */
    size_t found_events;
    bool found_more;
    char found_of[80];
    char tested[1024]; /* how a storage test came out, "Backup/b demo1 URL: db-a=well db-b=…" */
    char rebuilt[512]; /* what became of what a storage holds */
    unsigned replies;
    uint64_t reply_ctx;
    struct message reply; /* copied */
    uint64_t welcome_term;
    uint64_t raise_to;
    uint64_t closed;
    uint64_t wake_us;  /* asked for by the last step; UINT64_MAX = not */
    uint64_t welcomed; /* connections, the newest */
    uint64_t refused;
    char refusal[512];
    enum brain_log_event said; /* newest line */
    char log[512];
};

static TM_UNUSED uint64_t next_number(void *arg)
{
    return ++((struct stage *)arg)->random;
}

static TM_UNUSED void store(struct stage *s, const struct brain_put *put)
{
    struct tm_err err;
    size_t at = 0;
    if (put->key.data[0] == 'i' && !s->keeps_intents)
        return;
    if (put->key.data[0] == 'l' && !s->keeps_lives)
        return;
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
        s->records[s->record_count] = BUF_INIT; /* whose bytes moved */
        return;
    }
    if (at == s->record_count)
        s->record_count++;
    buf_reset(&s->records[at]);
    assert_int_equal(buf_append_slice(&s->records[at], put->key, &err), 0);
    assert_int_equal(buf_append(&s->records[at], "", 1, &err), 0);
    assert_int_equal(buf_append_slice(&s->records[at], put->value, &err), 0);
}

static TM_UNUSED void feed(struct stage *s, const struct brain_event *event);

static TM_UNUSED void persisted(struct stage *s, uint64_t txn, bool ok)
{
    struct tm_err err;
    (void)tm_err_set(&err, TM_E_NO_SPACE, "disk full");
    struct brain_event event = {.kind = BRAIN_EV_PERSISTED};
    event.persisted.txn = txn;
    event.persisted.ok = ok;
    event.persisted.revision = ok ? ++s->revision : 0;
    event.persisted.err = ok ? NULL : &err;
    feed(s, &event);
}

static TM_UNUSED void note_test(struct stage *s, const struct brain_probe *probe)
{
    static const char *const verdicts[] = {"well", "failed", "apart", "silent", "lost", "away"};
    size_t used = 0;
    s->tested[0] = '\0';
    if (probe == NULL)
        return;
    if (probe->old) {
        (void)snprintf(s->tested, sizeof(s->tested), "nothing to test");
        return;
    }
    used += (size_t)snprintf(s->tested, sizeof(s->tested), "%s/%s %s %s:", probe->kind, probe->name,
                             probe->cluster, probe->storage);
    for (size_t at = 0; at < probe->node_count; at++) {
        const struct brain_probe_node *one = &probe->nodes[at];
        const char *more = one->error != NULL ? one->error->text : one->apart_from;
        used += (size_t)snprintf(s->tested + used, sizeof(s->tested) - used, " %s=%s%s%s%s",
                                 one->node, verdicts[one->verdict], more != NULL ? "(" : "",
                                 more != NULL ? more : "", more != NULL ? ")" : "");
    }
}

static TM_UNUSED void note_rebuilt(struct stage *s, const struct brain_rebuilt *rebuilt)
{
    size_t used = 0;
    for (size_t at = 0; rebuilt != NULL && at < rebuilt->name_count; at++)
        used += (size_t)snprintf(s->rebuilt + used, sizeof(s->rebuilt) - used, "%s%s",
                                 at > 0 ? " " : "", rebuilt->names[at]);
    if (rebuilt != NULL)
        (void)snprintf(s->rebuilt + used, sizeof(s->rebuilt) - used,
                       ": complete %u known %u leftovers %u others %u", (unsigned)rebuilt->complete,
                       (unsigned)rebuilt->known, (unsigned)rebuilt->leftovers,
                       (unsigned)rebuilt->others);
    used = strlen(s->rebuilt);
    if (rebuilt != NULL && rebuilt->absent > 0)
        (void)snprintf(s->rebuilt + used, sizeof(s->rebuilt) - used, " absent %u (%s)",
                       (unsigned)rebuilt->absent, rebuilt->first_absent);
    used = strlen(s->rebuilt);
    if (rebuilt != NULL && rebuilt->unread > 0)
        (void)snprintf(s->rebuilt + used, sizeof(s->rebuilt) - used, " unread %u (%s)",
                       (unsigned)rebuilt->unread, rebuilt->first_unread);
    used = strlen(s->rebuilt);
    if (rebuilt != NULL && rebuilt->elsewhere > 0)
        (void)snprintf(s->rebuilt + used, sizeof(s->rebuilt) - used, " elsewhere %u (%s)",
                       (unsigned)rebuilt->elsewhere, rebuilt->first_elsewhere);
}

static TM_UNUSED void feed(struct stage *s, const struct brain_event *event)
{
    struct tm_err err = {0};
    struct brain_actions actions;
    uint64_t txns[8];
    size_t txn_count = 0;
    struct brain_now now = {.mono_us = s->mono_us,
                            .real_us = (int64_t)(SEC(1763720000) + s->mono_us)};
    assert_int_equal(brain_step(s->brain, event, now, &actions, &err), 0);
    s->wake_us = UINT64_MAX;
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
            s->welcomed = a->welcome.conn;
            break;
        case BRAIN_ACT_REFUSE:
            s->refused = a->refuse.conn;
            (void)snprintf(s->refusal, sizeof(s->refusal), "%s", a->refuse.err->msg);
            break;
        case BRAIN_ACT_CLOSE:
            s->closed = a->close.conn;
            break;
        case BRAIN_ACT_RAISE_TERM:
            s->raise_to = a->raise_term.at_least;
            break;
        case BRAIN_ACT_PERSIST:;
            for (size_t put = 0; put < a->persist.put_count && !s->fail_persist; put++)
                store(s, &a->persist.puts[put]);
            bool lives = a->persist.puts[0].key.data[0] == 'l' && !s->keeps_lives;
            if (!lives)
                s->held_txn = a->persist.txn;
            if (!s->hold_persist || lives) /* nobody is welcomed before lives are answered */
                txns[txn_count++] = a->persist.txn;
            break;
        case BRAIN_ACT_ANSWER:
            s->answers++;
            s->outcome = a->answer.outcome;
            s->answer = a->answer.err != NULL ? *a->answer.err : (struct tm_err){0};
            note_test(s, a->answer.probe);
            note_rebuilt(s, a->answer.rebuilt);
            s->found = a->answer.log != NULL;
            if (!s->found)
                break;
            s->found_events = a->answer.log->events_count;
            s->found_more = a->answer.log->more;
            (void)snprintf(s->found_of, sizeof(s->found_of), "%s/%s", a->answer.cluster,
                           a->answer.tenant);
            break;
        case BRAIN_ACT_WAKE:
            s->wake_us = a->wake.at_us;
            break;
        case BRAIN_ACT_LOG:
            s->said = a->log.event;
            (void)snprintf(s->log, sizeof(s->log), "%s", a->log.text);
            break;
        default:
            break;
        }
    }
    for (size_t at = 0; at < txn_count; at++)
        persisted(s, txns[at], !s->fail_persist);
}

static TM_UNUSED void start(struct stage *s, uint64_t term)
{
    struct tm_err err;
    struct brain_config config = {.term = term, .start = 98 + term, .state_revision = s->revision};
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

static TM_UNUSED int setup(void **state)
{
    struct stage *s = calloc(1, sizeof(*s));
    s->mono_us = SEC(100);
    start(s, 1);
    *state = s;
    return 0;
}

static TM_UNUSED int teardown(void **state)
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

static TM_UNUSED void tick(struct stage *s, uint64_t after_us)
{
    struct brain_event event = {.kind = BRAIN_EV_TICK};
    s->mono_us += after_us;
    feed(s, &event);
}

static TM_UNUSED void apply(struct stage *s, const char *yaml)
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

static TM_UNUSED void command(struct stage *s, enum brain_command what, const char *name)
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

static TM_UNUSED void up(struct stage *s, uint64_t conn, const char *node, const char *boot,
                         uint64_t seen)
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

static TM_UNUSED void gone(struct stage *s, uint64_t conn)
{
    struct brain_event event = {.kind = BRAIN_EV_AGENT_GONE};
    event.gone.conn = conn;
    feed(s, &event);
}

static TM_UNUSED void ask(struct stage *s, uint64_t conn, struct message *m)
{
    struct brain_event event = {.kind = BRAIN_EV_REQUEST};
    m->serial = ++s->serial;
    m->term = brain_term(s->brain);
    event.request.conn = conn;
    event.request.ctx = m->serial;
    event.request.message = m;
    feed(s, &event);
}

/* A heartbeat of a node with this instance and perhaps one job. */
static TM_UNUSED void beat_with(struct stage *s, uint64_t conn, struct msg_instance *instance,
                                struct msg_job *job)
{
    struct message m = {.type = MESSAGE_heartbeat};
    m.heartbeat.instances = instance;
    m.heartbeat.instances_count = 1;
    m.heartbeat.jobs = job;
    m.heartbeat.jobs_count = job != NULL;
    ask(s, conn, &m);
}

static TM_UNUSED void beat_as(struct stage *s, uint64_t conn, enum instance_role role,
                              uint32_t caps, const char *identity, struct msg_job *job)
{
    struct msg_instance instance = {.tenant = "main", .engine = "mock", .caps = caps, .role = role};
    (void)snprintf(instance.identity, sizeof(instance.identity), "%s", identity);
    beat_with(s, conn, &instance, job);
}

static TM_UNUSED void beat(struct stage *s, uint64_t conn, enum instance_role role, uint32_t caps,
                           struct msg_job *job)
{
    beat_as(s, conn, role, caps, "7000", job);
}

static TM_UNUSED struct msg_job job_at(const struct msg_assignment *a, enum job_stage stage)
{
    struct msg_job job = {.attempt = a->attempt, .kind = a->kind, .stage = stage};
    memcpy(job.uid, a->uid, sizeof(job.uid));
    return job;
}

/* The newest desired set's only job. */
static TM_UNUSED const struct msg_assignment *desired_job(const struct stage *s)
{
    assert_int_equal(s->reply.type, MESSAGE_desired);
    assert_int_equal(s->reply.desired.jobs_count, 1);
    return &s->reply.desired.jobs[0];
}

/* Ranges [first, first + count) of a plan; with `last` there are no more. */
static TM_UNUSED void send_plan_page(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                                     uint32_t first, uint32_t count, bool last)
{
    static const char *keys[] = {"", "b", "c", "d", "e", "f"};
    struct msg_plan_range plan[5];
    struct message m = {.type = MESSAGE_plan_ranges};
    for (uint32_t at = 0; at < count; at++)
        plan[at] = (struct msg_plan_range){
            .start = slice_str(keys[first + at]),
            .end = last && at + 1 == count ? SLICE_EMPTY : slice_str(keys[first + at + 1]),
            .bytes = 100};
    memcpy(m.plan_ranges.uid, a->uid, sizeof(a->uid));
    m.plan_ranges.attempt = a->attempt;
    m.plan_ranges.first = first;
    m.plan_ranges.ranges = plan;
    m.plan_ranges.ranges_count = count;
    m.plan_ranges.last = last;
    ask(s, conn, &m);
}

static TM_UNUSED void send_plan(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                                uint32_t ranges)
{
    send_plan_page(s, conn, a, 0, ranges, true);
}

static TM_UNUSED void want(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                           uint32_t count)
{
    struct message m = {.type = MESSAGE_want_ranges};
    memcpy(m.want_ranges.uid, a->uid, sizeof(a->uid));
    m.want_ranges.attempt = a->attempt;
    m.want_ranges.count = count;
    ask(s, conn, &m);
}

static TM_UNUSED uint32_t judged(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                                 uint32_t range, uint64_t term, uint64_t counter, bool stored)
{
    struct msg_counters counters = {.bytes = 100, .stored_bytes = 40, .files = 2};
    struct msg_result result = {.range = range,
                                .term = term,
                                .counter = counter,
                                .blob = slice_str("entry"),
                                .counters = &counters,
                                .stored = stored};
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

static TM_UNUSED uint32_t done(struct stage *s, uint64_t conn, const struct msg_assignment *a,
                               uint32_t range, uint64_t term, uint64_t counter)
{
    return judged(s, conn, a, range, term, counter, false);
}

static TM_UNUSED const struct resource_status *status_of(struct stage *s, const char *name)
{
    struct brain_resource resource;
    assert_true(brain_resource_find(s->brain, "Backup", NULL, name, &resource));
    return resource.status;
}

/* A running backup led by node db-a on connection 10; what it was assigned is copied. */
static TM_UNUSED struct msg_assignment running(struct stage *s, uint32_t caps, uint32_t ranges)
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

#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
