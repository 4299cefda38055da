/* tidemark storage test, and the test before an apply: words, tables, exit status. Two agents, db-a and
 * db-b, are there, and a third one is not; what they say is a test's own. */
#include "tests/unit/coordinator/ctl/ctl_stage.h"

#include "coordinator/ctl/command.h"

#define HELP "; see 'tidemark storage --help'\n"

static struct msg_error denied = {.code = TM_E_PERMISSION, .text = "cannot list 'probe/x': denied"};
static struct msg_probe_step all_ok[] = {
    {.step = PROBE_OPEN, .outcome = PROBE_OK},   {.step = PROBE_PUT, .outcome = PROBE_OK},
    {.step = PROBE_GET, .outcome = PROBE_OK},    {.step = PROBE_RANGE, .outcome = PROBE_OK},
    {.step = PROBE_LIST, .outcome = PROBE_OK},   {.step = PROBE_AGAIN, .outcome = PROBE_OK},
    {.step = PROBE_UPLOAD, .outcome = PROBE_OK}, {.step = PROBE_DOWNLOAD, .outcome = PROBE_OK},
    {.step = PROBE_REMOVE, .outcome = PROBE_OK}, {.step = PROBE_GONE, .outcome = PROBE_OK},
};
static struct msg_probe_step no_list[] = {
    {.step = PROBE_OPEN, .outcome = PROBE_OK},
    {.step = PROBE_PUT, .outcome = PROBE_OK},
    {.step = PROBE_LIST, .outcome = PROBE_FAILED, .error = &denied},
    {.step = PROBE_REMOVE, .outcome = PROBE_OK},
    {.step = PROBE_GONE, .outcome = PROBE_SKIPPED},
};
static const char *careful[] = {"the store's clock is 75 s ahead of this host's"};

/* What db-a, db-b say. */
static struct msg_probe_answer says[2];
static uint64_t serial;

static void beat(struct server *s, uint64_t conn, struct msg_probe_answer *answers, size_t count)
{
    serial++;
    struct message m = {.type = MESSAGE_heartbeat, .serial = serial, .term = 7};
    m.heartbeat.probes = answers;
    m.heartbeat.probes_count = count;
    feed(s, &(struct brain_event){.kind = BRAIN_EV_REQUEST,
                                  .request = {.conn = conn, .ctx = serial, .message = &m}});
}

static void park(struct server *s, uint64_t conn, uint64_t revision)
{
    serial++;
    struct message m = {.type = MESSAGE_poll, .serial = serial, .term = 7};
    m.poll.term = 7;
    m.poll.revision = revision;
    feed(s, &(struct brain_event){.kind = BRAIN_EV_REQUEST,
                                  .request = {.conn = conn, .ctx = serial, .message = &m}});
}

/* Both answer as soon as db-a is asked; it listens all the time. */
static void told(struct server *s, const struct message *desired)
{
    if (desired->desired.probes_count > 0) {
        s->told = NULL;
        for (size_t n = 0; n < 2; n++) {
            says[n].id = desired->desired.probes[0].id;
            beat(s, n + 1, &says[n], 1);
        }
        s->told = told;
    }
    park(s, 1, desired->desired.revision);
}

static void agent_up(struct server *s, uint64_t conn, const char *node)
{
    feed(s, &(struct brain_event){
                .kind = BRAIN_EV_AGENT_UP,
                .up = {.conn = conn, .ctx = 1, .cluster = "c", .node = node, .boot = node}});
    beat(s, conn, NULL, 0);
}

static int start_with_agents(void **state)
{
    struct server *s = &server;
    (void)state;
    prepare_server();
    agent_up(s, 1, "db-a");
    agent_up(s, 2, "db-b");
    s->told = told;
    park(s, 1, 0);
    says[0] = (struct msg_probe_answer){.steps = all_ok,
                                        .steps_count = TM_ARRAY_LEN(all_ok),
                                        .put_us = 1234,
                                        .get_us = 56,
                                        .upload_rate = 120u << 20,
                                        .download_rate = 1u << 30,
                                        .create = PROBE_CREATE_FENCED,
                                        .has_skew = true,
                                        .skew_us = 2500000};
    says[1] = says[0];
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    return 0;
}

static void fails(struct msg_probe_answer *answer)
{
    *answer = (struct msg_probe_answer){.steps = no_list,
                                        .steps_count = TM_ARRAY_LEN(no_list),
                                        .put_us = 15000,
                                        .create = PROBE_CREATE_LOOKED,
                                        .warnings = careful,
                                        .warnings_count = 1};
}

static void wrong_words(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    EXPECT(2, "", "tidemark: storage: test is wanted" HELP, "storage");
    EXPECT(2, "", "tidemark: storage: test is wanted" HELP, "storage", "tests", "x");
    EXPECT(2, "", "tidemark: storage: test: one FILE or NAME is wanted, or --storage" HELP,
           "storage", "test");
    EXPECT(2, "", "tidemark: storage: test: --storage needs --cluster" HELP, "storage", "test",
           "--storage", "file:///x");
    EXPECT(2, "", "tidemark: storage: test: timeout '51s' is not 1s to 50s" HELP, "storage", "test",
           "x", "--timeout", "51s");
    EXPECT(2, "", "tidemark: storage: output 'yaml' is not known; there is json" HELP, "storage",
           "test", "x", "-o", "yaml");
    EXPECT(1, "", "tidemark: storage: cannot read '/no/such.yaml': No such file or directory\n",
           "storage", "test", "/no/such.yaml");
    EXPECT(1, "", "tidemark: storage: 'no/such' is neither a file nor a resource (backup/NAME)\n",
           "storage", "test", "no/such");
}

#define FROM "file:///b from cluster c\n"
#define HEADS                                                                                      \
    "NODE  RESULT  WRITE  READ  LIST  DELETE  CONDITIONAL  LATENCY     THRO"                       \
    "UGHPUT              SKEW   MOUNT  ERROR\n"
#define WELL(node)                                                                                 \
    node "  ok      ok     ok    ok    ok      yes          1.2ms/56us  120.0 Mi"                  \
         "B/s, 1.0 GiB/s  +2.5s  -      -\n"
#define FAILED                                                                                     \
    FROM "NODE  RESULT  WRITE  READ  LIST    DELETE  CONDITIONAL  LATENCY     TH"                  \
         "ROUGHPUT              SKEW   MOUNT  ERROR\n"                                             \
         "db-a  ok      ok     ok    ok      ok      yes          1.2ms/56us  12"                  \
         "0.0 MiB/s, 1.0 GiB/s  +2.5s  -      -\n"                                                 \
         "db-b  failed  ok     -     failed  ok      no           15ms/-      - "                  \
         "                      -      -      list\n"                                              \
         "db-b: list: cannot list 'probe/x': denied\n"                                             \
         "db-b: warning: the store's clock is 75 s ahead of this host's\n"

static void nodes_that_are_well(void **state)
{
    (void)state;
    EXPECT(0, FROM HEADS WELL("db-a") WELL("db-b"), "", "storage", "test", "--storage", "file:///b",
           "--cluster", "c");
    const char *path =
        yaml_file("apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: x}\nspec: "
                  "{br: {cluster: c}, local: {path: /b}}\n");
    EXPECT(0, FROM HEADS WELL("db-a") WELL("db-b"), "", "storage", "test", path);
    EXPECT(0, "backup/x created\n", "", "apply", "-f", path);
    EXPECT(0, FROM HEADS WELL("db-a") WELL("db-b"), "", "storage", "test", "x", "--timeout", "5s");
    EXPECT(3, "", "tidemark: Backup/y: not found\n", "storage", "test", "bk/y");
}

static void a_node_that_fails(void **state)
{
    (void)state;
    fails(&says[1]);
    EXPECT(1, FAILED, "tidemark: storage test: 1 of 2 nodes failed\n", "storage", "test",
           "--storage", "file:///b", "--cluster", "c");
    RUN("storage", "test", "--storage", "file:///b", "--cluster", "c", "-o", "json");
    assert_int_equal(r.status, 1);
    assert_string_equal(r.err, "tidemark: storage test: 1 of 2 nodes failed\n");
    json_t *all = json_loads(r.out, 0, NULL);
    const json_t *one = json_array_get(json_object_get(all, "items"), 0);
    assert_int_equal(json_u64_at(one, "nodesWell"), 1);
    assert_string_equal(json_text_at(json_array_get(json_object_get(one, "nodes"), 1), "result"),
                        "failed");
    json_decref(all);
}

#define REFUSED(name)                                                                              \
    "tidemark: backup/" name                                                                       \
    ": not applied, the storage test failed on 1 of 2 nodes; --skip-test "                         \
    "applies it all the same\n"
#define LOG(name)                                                                                  \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: " name                                \
    "}\nspec: {backupMode: log, br: {cluster: c}, local: {path: /b}}\n"

static void before_an_apply(void **state)
{
    (void)state;
    const char *path = yaml_file(LOG("wal"));
    fails(&says[1]);
    EXPECT(1, "", FAILED REFUSED("wal"), "apply", "-f", path);
    EXPECT(1, "", FAILED REFUSED("l"), "log", "start", "l", "--cluster", "c", "--storage",
           "file:///b", "--no-wait");
    EXPECT(3, "", "tidemark: backup/wal: not found\n", "get", "bk", "wal");
    EXPECT(0, "backup/wal created\n", "", "apply", "-f", path, "--skip-test");
    EXPECT(0, "backup/wal unchanged\n", "", "apply", "-f", path);
    says[1] = says[0];
    EXPECT(1, "",
           "tidemark: Backup/l: Backup/wal stores the log of tenant 'main' of cluster 'c' there "
           "already; stop it first, or choose another storage\n",
           "log", "start", "l", "--cluster", "c", "--storage", "file:///b", "--no-wait");
}

static void before_agents_are_there(void **state)
{
    (void)state;
    const char *path = yaml_file(LOG("wal"));
    EXPECT(0, "backup/wal created\n",
           "tidemark: warning: backup/wal: no agent of cluster 'c' is connected: storage file:///b "
           "was not tested\n",
           "apply", "-f", path);
    EXPECT(1, FROM "no agent of it has been here yet\n",
           "tidemark: storage test: no node to test from\n", "storage", "test", "wal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_words),
        cmocka_unit_test_setup_teardown(nodes_that_are_well, start_with_agents, stop_server),
        cmocka_unit_test_setup_teardown(a_node_that_fails, start_with_agents, stop_server),
        cmocka_unit_test_setup_teardown(before_an_apply, start_with_agents, stop_server),
        cmocka_unit_test_setup_teardown(before_agents_are_there, start_server, stop_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
