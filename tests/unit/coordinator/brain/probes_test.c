/* Storage tests in the coordinator's brain: whom they reach, and how they end. */
#include "tests/unit/coordinator/brain/stage.h"

#define SPEC(kind, name, rest)                                                                     \
    "apiVersion: tidemark/v1\nkind: " kind "\nmetadata: {name: " name "}\nspec:\n" rest
#define LOG "  backupMode: log\n  br: {cluster: demo1}\n  local: {path: /log}\n"

struct how {
    const char *cluster;
    uint32_t timeout_ms;
    bool new_logs;
};

static void question(struct stage *s, struct brain_event *event, struct how how)
{
    event->kind = BRAIN_EV_COMMAND;
    event->command.cmd = 7;
    event->command.what = BRAIN_CMD_PROBE;
    event->command.probe.cluster = how.cluster;
    event->command.probe.timeout_ms = how.timeout_ms;
    event->command.probe.new_logs = how.new_logs;
    s->answers = 0;
    s->tested[0] = '\0';
    s->answer = (struct tm_err){0};
    feed(s, event);
}

static void test_spec(struct stage *s, const char *yaml, struct how how)
{
    struct tm_err err = {0};
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    if (resource_parse("test", slice_str(yaml), &list, &err) < 0)
        fail_msg("%s", err.msg);
    struct brain_event event = {.command = {.resource = TM_TAKE(list.items[0])}};
    question(s, &event, how);
}

static void test_name(struct stage *s, const char *name)
{
    struct brain_event event = {.command = {.kind = "Backup", .name = name}};
    question(s, &event, (struct how){NULL, 0, false});
}

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

/* The first of what this node should test now. */
static const struct msg_probe *asked(struct stage *s, uint64_t conn)
{
    assert_true(asked_count(s, conn) > 0);
    return &s->reply.desired.probes[0];
}

/* db-a on connection 10 and db-b on 20 are there. */
static void two_nodes(struct stage *s)
{
    up(s, 10, "db-a", "boot1", 0);
    up(s, 20, "db-b", "boot2", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    beat(s, 20, INSTANCE_PRIMARY, 0, NULL);
}

static struct msg_probe_step steps_ok[] = {{.step = PROBE_PUT, .outcome = PROBE_OK}};

/* On a mounted path, with these tokens seen. */
static struct msg_probe_answer well(uint64_t id, const char **seen, size_t count)
{
    return (struct msg_probe_answer){.id = id,
                                     .steps = steps_ok,
                                     .steps_count = 1,
                                     .mount = "/log",
                                     .seen = seen,
                                     .seen_count = count};
}

/* What the template says of credentials holds for a storage that the schedule names. */
static void a_schedule_keeps_its_secret(void **state)
{
    struct stage *s = *state;
    two_nodes(s);
    test_spec(s,
              "apiVersion: tidemark/v1\nkind: BackupSchedule\nmetadata: {name: daily}\n"
              "spec: {schedule: '0 1 * * *', br: {cluster: demo1}, s3: {bucket: demo, secretName: "
              "keys},\n"
              "  backupTemplate: {br: {cluster: demo1, sendCredToAgents: false}}}\n",
              (struct how){NULL, 0, false});
    assert_null(asked(s, 10)->secret);
}

static void all_are_asked_at_once(void **state)
{
    struct stage *s = *state;
    two_nodes(s);
    assert_int_equal(asked_count(s, 10), 0);
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
    assert_int_equal(s->answers, 0);
    const struct msg_probe *probe = asked(s, 10);
    uint64_t id = probe->id;
    assert_true(id != 0);
    assert_string_equal(probe->storage, "file:///log");
    assert_int_equal(probe->timeout_ms, 30000);
    assert_int_equal(probe->nodes, 2);
    assert_null(probe->secret);
    assert_int_equal(asked(s, 20)->id, id);

    const char *both[] = {"db-a", "db-b"};
    struct msg_probe_answer answer = well(id + 1, both, 2);
    answers(s, 10, &answer); /* to a question of long ago */
    assert_int_equal(asked(s, 10)->id, id);
    answer.id = id;
    answers(s, 10, &answer);
    assert_int_equal(s->answers, 0);
    assert_int_equal(asked_count(s, 10), 0);
    answers(s, 10, &answer); /* said once more before it heard that */
    answer = well(id, both, 2);
    answers(s, 20, &answer);
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, TM_E_OK);
    assert_string_equal(s->tested, "Backup/wal demo1 file:///log: db-a=well db-b=well");
    assert_int_equal(asked_count(s, 20), 0);
}

static void a_secret_goes_by_name(void **state)
{
    struct stage *s = *state;
    two_nodes(s);
    test_spec(s,
              SPEC("Backup", "b",
                   "  br: {cluster: demo1}\n  s3: {bucket: bucket, region: r, secretName: keys}\n"),
              (struct how){NULL, 5000, false});
    const struct msg_probe *probe = asked(s, 10);
    assert_int_equal(probe->timeout_ms, 5000);
    assert_string_equal(probe->secret->name, "keys");
    assert_int_equal(probe->secret->pairs_count, 0);
}

static void nodes_that_fail(void **state)
{
    struct stage *s = *state;
    struct msg_error denied = {.code = TM_E_PERMISSION, .text = "cannot list 'x': denied"};
    struct msg_error hangs = {.code = TM_E_TIMEOUT, .text = "it hangs"};
    struct msg_probe_step steps[] = {
        {.step = PROBE_PUT, .outcome = PROBE_OK},
        {.step = PROBE_LIST, .outcome = PROBE_FAILED, .error = &denied},
        {.step = PROBE_GONE, .outcome = PROBE_SKIPPED}};
    two_nodes(s);
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
    uint64_t id = asked(s, 10)->id;
    struct msg_probe_answer one = {.id = id, .steps = steps, .steps_count = 3};
    struct msg_probe_answer two = {.id = id, .error = &hangs};
    answers(s, 10, &one);
    answers(s, 20, &two);
    assert_string_equal(s->tested, "Backup/wal demo1 file:///log: "
                                   "db-a=failed(cannot list 'x': denied) db-b=failed(it hangs)");
}

static void nodes_that_do_not_answer(void **state)
{
    struct stage *s = *state;
    two_nodes(s);
    up(s, 30, "db-c", "boot3", 0);
    beat(s, 30, INSTANCE_PRIMARY, 0, NULL);
    gone(s, 30);
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 9000, false});
    assert_int_equal(asked(s, 10)->nodes, 2);
    for (int n = 0; n < 11; n++) {
        tick(s, SEC(1));
        beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
        beat(s, 20, INSTANCE_PRIMARY, 0, NULL);
        assert_int_equal(s->answers, 0);
    }
    gone(s, 20);
    assert_int_equal(s->answers, 0);
    tick(s, SEC(1));
    assert_int_equal(s->answers, 1);
    assert_string_equal(s->tested, "Backup/wal demo1 file:///log: db-a=silent db-b=lost db-c=away");
    assert_int_equal(asked_count(s, 10), 0);
}

static void a_node_that_goes_is_not_waited_for(void **state)
{
    struct stage *s = *state;
    two_nodes(s);
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
    const char *one[] = {"db-a"};
    struct msg_probe_answer answer = well(asked(s, 10)->id, one, 1);
    answers(s, 10, &answer);
    assert_int_equal(s->answers, 0);
    gone(s, 20);
    assert_int_equal(s->answers, 1);
    assert_string_equal(s->tested, "Backup/wal demo1 file:///log: db-a=well db-b=lost");
}

static void nobody_is_there(void **state)
{
    struct stage *s = *state;
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
    assert_int_equal(s->answers, 1);
    assert_string_equal(s->tested, "Backup/wal demo1 file:///log:");
    two_nodes(s);
    gone(s, 10);
    gone(s, 20);
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
    assert_int_equal(s->answers, 1);
    assert_string_equal(s->tested, "Backup/wal demo1 file:///log: db-a=away db-b=away");
}

/* Who saw whom → how it comes out. */
static void shared(struct stage *s, const char **a, size_t a_count, const char **b, size_t b_count,
                   const char *want)
{
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
    uint64_t id = asked(s, 10)->id;
    struct msg_probe_answer answer = well(id, a, a_count);
    answers(s, 10, &answer);
    answer = well(id, b, b_count);
    answers(s, 20, &answer);
    assert_string_equal(s->tested, want);
}

static void directories_that_are_not_one(void **state)
{
    struct stage *s = *state;
    const char *one[] = {"db-a"}, *two[] = {"db-b"}, *both[] = {"db-a", "db-b"};
    two_nodes(s);
    shared(s, one, 1, two, 1, "Backup/wal demo1 file:///log: db-a=apart(db-b) db-b=apart(db-a)");
    /* the later one has seen the earlier one's token: that is enough */
    shared(s, one, 1, both, 2, "Backup/wal demo1 file:///log: db-a=well db-b=well");
    shared(s, both, 2, two, 1, "Backup/wal demo1 file:///log: db-a=well db-b=well");

    /* one that could not write there is not told apart */
    struct msg_error denied = {.code = TM_E_PERMISSION, .text = "denied"};
    struct msg_probe_step failed = {.step = PROBE_PUT, .outcome = PROBE_FAILED, .error = &denied};
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
    uint64_t id = asked(s, 10)->id;
    struct msg_probe_answer answer = well(id, one, 1);
    answers(s, 10, &answer);
    answer =
        (struct msg_probe_answer){.id = id, .mount = "/log", .steps = &failed, .steps_count = 1};
    answers(s, 20, &answer);
    assert_string_equal(s->tested, "Backup/wal demo1 file:///log: db-a=well db-b=failed(denied)");
}

static void three_nodes_of_which_one_is_apart(void **state)
{
    struct stage *s = *state;
    const char *ab[] = {"db-a", "db-b"}, *b[] = {"db-b"}, *c[] = {"db-c"};
    two_nodes(s);
    up(s, 30, "db-c", "boot3", 0);
    beat(s, 30, INSTANCE_PRIMARY, 0, NULL);
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
    uint64_t id = asked(s, 10)->id;
    struct msg_probe_answer answer = well(id, ab, 2);
    answers(s, 10, &answer);
    answer = well(id, b, 1);
    answers(s, 20, &answer);
    answer = well(id, c, 1);
    answers(s, 30, &answer);
    assert_string_equal(s->tested, "Backup/wal demo1 file:///log: db-a=apart(db-c) "
                                   "db-b=apart(db-c) db-c=apart(db-a)");
}

static void what_is_tested(void **state)
{
    struct stage *s = *state;
    const struct how as_it_is = {NULL, 0, false};
    test_name(s, "b");
    assert_int_equal(s->answer.code, TM_E_NOT_FOUND);
    assert_string_equal(s->answer.msg, "Backup/b: not found");
    apply(s, BACKUP(""));
    test_name(s, "b");
    assert_string_equal(s->tested, "Backup/b demo1 file:///backup:");
    test_spec(s, SPEC("Restore", "r", "  backup: b\n  dataDir: /r\n"), as_it_is);
    assert_string_equal(s->tested, "Restore/r demo1 file:///backup:");
    test_spec(s, SPEC("Restore", "r", "  local: {path: /x}\n  backup: b\n  dataDir: /r\n"),
              as_it_is);
    assert_string_equal(s->tested, "Restore/r demo1 file:///x:");
    test_spec(s,
              SPEC("BackupSchedule", "n",
                   "  schedule: \"0 3 * * *\"\n  backupTemplate:\n    br: {cluster: demo2}\n"
                   "    local: {path: /n}\n"),
              as_it_is);
    assert_string_equal(s->tested, "BackupSchedule/n demo2 file:///n:");
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){"other", 0, false});
    assert_string_equal(s->tested, "Backup/wal other file:///log:");
}

static void new_logs_alone(void **state)
{
    struct stage *s = *state;
    const struct how new_logs = {NULL, 0, true};
    test_spec(s, BACKUP(""), new_logs);
    assert_string_equal(s->tested, "nothing to test");
    test_spec(s, SPEC("Backup", "wal", LOG), new_logs);
    assert_string_equal(s->tested, "Backup/wal demo1 file:///log:");
    test_spec(s, SPEC("Backup", "wal", LOG "  logStop: true\n"), new_logs);
    assert_string_equal(s->tested, "nothing to test");
    apply(s, SPEC("Backup", "wal", LOG));
    test_spec(s, SPEC("Backup", "wal", LOG "  flushInterval: 1s\n"), new_logs);
    assert_string_equal(s->tested, "nothing to test");
}

static void too_many_at_once(void **state)
{
    struct stage *s = *state;
    two_nodes(s);
    for (int n = 0; n < BRAIN_PROBES_MAX; n++) {
        test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
        assert_int_equal(s->answers, 0);
    }
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.probes_count, BRAIN_PROBES_MAX);
    test_spec(s, SPEC("Backup", "wal", LOG), (struct how){NULL, 0, false});
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, TM_E_CONFLICT);
    assert_true(s->answer.retryable);
    assert_string_equal(s->answer.msg, "4 storage tests are under way, try again");
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(all_are_asked_at_once),
        SCENE(a_schedule_keeps_its_secret),
        SCENE(a_secret_goes_by_name),
        SCENE(nodes_that_fail),
        SCENE(nodes_that_do_not_answer),
        SCENE(a_node_that_goes_is_not_waited_for),
        SCENE(nobody_is_there),
        SCENE(directories_that_are_not_one),
        SCENE(three_nodes_of_which_one_is_apart),
        SCENE(what_is_tested),
        SCENE(new_logs_alone),
        SCENE(too_many_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
