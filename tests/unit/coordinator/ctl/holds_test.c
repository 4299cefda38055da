/* tidemark nodes --holds: what agents say that their sources keep, for snapshots and for log backups. */
#include "tests/unit/coordinator/ctl/ctl_stage.h"

#include "coordinator/ctl/command.h"

#define ID   "20261121T000000Z-00000001"
#define HOUR (INT64_C(3600) * USEC_PER_SEC)

static struct msg_instance instance = {
    .tenant = "main", .engine = "mock", .caps = INSTANCE_CAP_HOLD, .identity = "7000"};
static uint64_t serial;

static void request(struct server *s, uint64_t conn, struct message *m)
{
    m->serial = ++serial;
    m->term = 7;
    feed(s, &(struct brain_event){.kind = BRAIN_EV_REQUEST,
                                  .request = {.conn = conn, .ctx = serial, .message = m}});
}

static void beat(struct server *s, uint64_t conn, struct msg_hold *holds, size_t count,
                 struct msg_job *job)
{
    struct message m = {.type = MESSAGE_heartbeat};
    instance.role = conn == 1 ? INSTANCE_PRIMARY : INSTANCE_STANDBY;
    m.heartbeat.instances = &instance;
    m.heartbeat.instances_count = 1;
    m.heartbeat.holds = holds;
    m.heartbeat.holds_count = count;
    m.heartbeat.jobs = job;
    m.heartbeat.jobs_count = job != NULL;
    request(s, conn, &m);
}

static void park(struct server *s, uint64_t revision)
{
    struct message m = {.type = MESSAGE_poll};
    m.poll.term = 7;
    m.poll.revision = revision;
    request(s, 1, &m);
}

static struct msg_hold holds[] = {
    {.tenant = "main",
     .name = "tidemark_b_00000001_0000000000000001",
     .backup_id = ID,
     .state = HOLD_IN_USE,
     .seen = true,
     .bytes = 3 << 20},
    {.tenant = "main",
     .name = "tidemark_b_00000001_0000000000000002",
     .backup_id = "gone",
     .state = HOLD_WAITING,
     .until_us = INT64_C(1790000000000000)},
    {.tenant = "main",
     .name = "tidemark_b_00000001_0000000000000003",
     .state = HOLD_WAITING,
     .until_us = INT64_C(1790000000000000),
     .seen = true,
     .bytes = 512},
    {.tenant = "main",
     .name = "tidemark_b_00000001_0000000000000004",
     .backup_id = "old",
     .state = HOLD_DROPPING,
     .seen = true,
     .lost = true},
};

/* db-a streams the log of whatever task it is given, holds log for the backup it is given, and says so. */
static void told(struct server *s, const struct message *desired)
{
    const struct msg_assignment *a = desired->desired.jobs;
    if (desired->desired.jobs_count > 0 && a->kind == JOB_KIND_BACKUP) {
        memcpy(holds[0].backup_id, a->backup->backup_id, sizeof(holds[0].backup_id));
        s->told = NULL;
        beat(s, 1, holds, 1, NULL);
        s->told = told;
    } else if (desired->desired.jobs_count > 0) {
        struct msg_log_status status = {.label = "1",
                                        .lineage = "00112233445566778899aabbccddeeff",
                                        .hold_at = 4096,
                                        .hold_position = "0/1000",
                                        .hold_name = "tidemark_00000000000000aa",
                                        .hold_bytes = 2048};
        struct msg_job job = {
            .attempt = a->attempt, .kind = a->kind, .stage = JOB_STAGE_WORKING, .log = &status};
        memcpy(job.uid, a->uid, sizeof(job.uid));
        s->told = NULL;
        beat(s, 1, holds, TM_ARRAY_LEN(holds), &job);
        s->told = told;
    }
    park(s, desired->desired.revision);
}

static void agent_up(struct server *s, uint64_t conn, const char *node)
{
    feed(s, &(struct brain_event){
                .kind = BRAIN_EV_AGENT_UP,
                .up = {.conn = conn, .ctx = 1, .cluster = "c", .node = node, .boot = node}});
    beat(s, conn, holds, conn == 1 ? TM_ARRAY_LEN(holds) : 0, NULL);
}

static int start(void **state)
{
    struct server *s = &server;
    (void)state;
    prepare_server();
    for (size_t at = 0; at < TM_ARRAY_LEN(holds); at++)
        holds[at].since_us = clock_real_us() - (int64_t)at * HOUR - 90 * USEC_PER_SEC - 1;
    agent_up(s, 1, "db-a");
    agent_up(s, 2, "db-b");
    s->told = told;
    park(s, 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    return 0;
}

static void words(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    EXPECT(2, "", "tidemark: nodes: 'x' is one word too many; see 'tidemark nodes --help'\n",
           "nodes", "--holds", "x");
    EXPECT(2, "",
           "tidemark: nodes: output 'yaml' is not known; there is json; see 'tidemark nodes "
           "--help'\n",
           "nodes", "--holds", "-o", "yaml");
}

static void nothing_is_held(void **state)
{
    (void)state;
    EXPECT(0, "no log is held anywhere\n", "", "nodes", "--holds");
    EXPECT(0, "{\"items\": []}\n", "", "nodes", "--holds", "-o", "json");
}

static const char log_spec[] = "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal}\n"
                               "spec: {backupMode: log, br: {cluster: c}, local: {path: /b}}\n";

static void all_of_them(void **state)
{
    (void)state;
    EXPECT(0, "backup/wal created\n", "", "apply", "-f", yaml_file(log_spec), "--skip-test");
    EXPECT(0, "", "", "wait", "backup", "wal", "--for=Running", "--timeout=10s");
    RUN("nodes", "--holds");
    assert_string_equal(r.err, "");
    assert_string_equal(
        r.out,
        "NODE  TENANT  NAME                                  OWNER                      AGE    "
        "BYTES    STATE\n"
        "db-a  main    tidemark_b_00000001_0000000000000001  20261121T000000Z-00000001  1m30s  "
        "3.0 MiB  in use\n"
        "db-a  main    tidemark_b_00000001_0000000000000002  gone                       1h01m  "
        "-        waits until 2026-09-21T14:13:20Z\n"
        "db-a  main    tidemark_b_00000001_0000000000000003  -                          2h01m  "
        "512 B    no record of it, waits until 2026-09-21T14:13:20Z\n"
        "db-a  main    tidemark_b_00000001_0000000000000004  old                        3h01m  "
        "0 B      being dropped, lost\n"
        "db-a  main    tidemark_00000000000000aa             backup/wal                 -      "
        "2.0 KiB  in use by backup/wal\n");
}

static void as_json(void **state)
{
    (void)state;
    RUN("nodes", "--holds", "-o", "json");
    json_t *root = json_loads(r.out, 0, NULL);
    const json_t *items = json_at(root, "items");
    assert_int_equal(json_array_size(items), 4);
    const json_t *one = json_array_get(items, 0);
    assert_string_equal(json_text_at(one, "kind"), "snapshot");
    assert_string_equal(json_text_at(one, "cluster"), "c");
    assert_string_equal(json_text_at(one, "node"), "db-a");
    assert_true(json_is_true(json_at(one, "connected")));
    assert_string_equal(json_text_at(one, "name"), "tidemark_b_00000001_0000000000000001");
    assert_string_equal(json_text_at(one, "backupId"), ID);
    assert_string_equal(json_text_at(one, "state"), "inUse");
    assert_null(json_at(one, "until"));
    assert_int_equal(json_u64_at(one, "bytes"), 3 << 20);
    one = json_array_get(items, 1);
    assert_string_equal(json_text_at(one, "state"), "waiting");
    assert_string_equal(json_text_at(one, "until"), "2026-09-21T14:13:20.000000Z");
    assert_null(json_at(one, "bytes")); /* its database could not be asked */
    one = json_array_get(items, 3);
    assert_string_equal(json_text_at(one, "state"), "dropping");
    assert_true(json_is_true(json_at(one, "lost")));
    json_decref(root);
}

static void whose_it_is(void **state)
{
    (void)state;
    EXPECT(0, "backup/one created\n", "", "apply", "-f",
           yaml_file("apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: one}\n"
                     "spec: {br: {cluster: c}, local: {path: /b}}\n"));
    for (int n = 0; n < 500; n++) {
        RUN("nodes", "--holds");
        assert_int_equal(r.status, 0);
        if (strstr(r.out, "in use by backup/one\n") != NULL && strstr(r.out, "gone") == NULL)
            return;
        (void)usleep(20000);
    }
    fail_msg("nobody says that it is held for backup/one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),
        cmocka_unit_test_setup_teardown(nothing_is_held, start_server, stop_server),
        cmocka_unit_test_setup_teardown(all_of_them, start, stop_server),
        cmocka_unit_test_setup_teardown(as_json, start, stop_server),
        cmocka_unit_test_setup_teardown(whose_it_is, start, stop_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
