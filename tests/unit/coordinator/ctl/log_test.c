/* tidemark log, and restores to a point: words, the specs they make, how far clusters are safe. */
#include "tests/unit/coordinator/ctl/ctl_stage.h"

#include "coordinator/ctl/command.h"

#define LOG_HELP "; see 'tidemark log --help'\n"

static void wrong_words(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    EXPECT(2, "",
           "tidemark: log: one of start, pause, resume, stop, status, search and truncate is "
           "wanted" LOG_HELP,
           "log");
    EXPECT(2, "",
           "tidemark: log: one of start, pause, resume, stop, status, search and truncate is "
           "wanted" LOG_HELP,
           "log", "begin", "x");
    EXPECT(2, "", "tidemark: log: pause: one NAME is wanted" LOG_HELP, "log", "pause");
    EXPECT(2, "", "tidemark: log: stop: one NAME is wanted" LOG_HELP, "log", "stop", "a", "b");
    EXPECT(2, "",
           "tidemark: log: start: --cluster and --storage are wanted for a new task" LOG_HELP,
           "log", "start", "x", "--cluster", "c");
    EXPECT(2, "", "tidemark: log: truncate: --until is wanted" LOG_HELP, "log", "truncate", "x");
    EXPECT(2, "", "tidemark: log: stop: option '--until' does not belong to it" LOG_HELP, "log",
           "stop", "x", "--until", "0/1");
    EXPECT(2, "", "tidemark: log: output 'yaml' is not known; there is json" LOG_HELP, "log",
           "status", "-o", "yaml");
    EXPECT(2, "",
           "tidemark: restore: --inclusive and --exclusive contradict each other; see 'tidemark "
           "restore --help'\n",
           "restore", "r", "--backup", "b", "--data-dir", "/r", "--to", "latest", "--inclusive",
           "--exclusive");
    EXPECT(
        2, "",
        "tidemark: restore: --to is wanted: what point is meant? see 'tidemark restore --help'\n",
        "restore", "r", "--backup", "b", "--data-dir", "/r", "--exclusive");
}

static json_t *fetched(const char *kind, const char *name)
{
    TM_CLEANUP(ran_release)
    struct ran r = run("get", kind, name, "-o", "json", (char *)NULL);
    assert_int_equal(r.status, 0);
    json_t *value = json_loads(r.out, 0, NULL);
    assert_non_null(value);
    return value;
}

static void spec_is(const char *kind, const char *name, const char *want)
{
    json_t *resource = fetched(kind, name);
    char *text = json_dumps(json_object_get(resource, "spec"), JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, want);
    free(text);
    json_decref(resource);
}

#define UNTESTED                                                                                   \
    "tidemark: warning: backup/wal: no agent of cluster 'c' is connected: storage file:///b was "  \
    "not "                                                                                         \
    "tested\n"

#define START                                                                                      \
    "log", "start", "wal", "--cluster", "c", "--storage", "file:///b", "--flush-interval", "1s",   \
        "--hold-limit", "1GiB", "--on-hold-limit", "release", "--gcttl", "2h"

static void a_task_from_start_to_stop(void **state)
{
    (void)state;
    EXPECT(0, "backup/wal created\n", UNTESTED, START, "--tenant", "main", "--no-wait");
    spec_is("bk", "wal",
            "{\"backupMode\":\"log\",\"br\":{\"cluster\":\"c\",\"gcttl\":\"2h\",\"tenant\":"
            "\"main\"},\"flushInterval\":\"1s\",\"holdLimit\":\"1GiB\",\"local\":{\"path\":"
            "\"/b\"},\"logSubcommand\":\"log-start\",\"onHoldLimit\":\"release\"}");
    RUN("log", "resume", "wal", "--timeout", "100ms");
    assert_int_equal(r.status, 1);
    assert_string_equal(r.err, "tidemark: backup/wal: timed out waiting for Running; it is "
                               "Scheduled, waiting for an agent of cluster 'c', tenant 'main' with "
                               "role primary\n");
    EXPECT(0,
           "NAME  CLUSTER  TENANT  STATUS     NODE  CHECKPOINT  POSITION  BEHIND  TRUNCATEDUNTIL  "
           "LASTERROR\n"
           "wal   c        main    Scheduled  -     -           -         -       -               -"
           "\n\ncluster c: not known how far it is safe\n",
           "", "log", "status");
    EXPECT(1, "", "tidemark: backup/wal is a log backup and cannot become Complete\n", "wait", "bk",
           "wal", "--for=Complete");
    EXPECT(1, "", "tidemark: backup/wal is a log backup and cannot become Failed\n", "wait", "bk",
           "wal", "--for=Failed");
    EXPECT(0, "backup/wal configured\n", "", "log", "pause", "wal", "--flush-interval", "2s",
           "--no-wait");
    EXPECT(0, "backup/wal unchanged\n", "", "log", "pause", "wal", "--no-wait");
    json_t *wal = fetched("bk", "wal");
    assert_string_equal(json_text_at(wal, "spec.logSubcommand"), "log-pause");
    assert_string_equal(json_text_at(wal, "spec.flushInterval"), "2s");
    assert_int_equal(json_array_size(json_at(wal, "status.recoverable")), 0);
    assert_true(json_is_array(json_at(wal, "status.recoverable")));
    json_decref(wal);
    EXPECT(0, "backup/wal configured\nbackup/wal Stopped\n", "", "log", "stop", "wal");
    EXPECT(0, "", "", "wait", "backup", "wal", "--for=Stopped");
    EXPECT(1, "", "tidemark: backup/wal is Stopped and cannot become Complete\n", "wait", "bk",
           "wal", "--for=Complete");
    EXPECT(1, "", "tidemark: backup/wal is Stopped and cannot become Running\n", "wait", "backup",
           "wal", "--for=Running");
    EXPECT(
        1, "",
        "tidemark: Backup/wal is Stopped for good; a new task is needed: apply one under another "
        "name\n",
        "log", "resume", "wal");
    EXPECT(0,
           "NAME  TYPE  MODE  STATUS   BACKUPPATH  COMMITTS  LOGTRUNCATEUNTIL\n"
           "wal   full  log   Stopped  -           -         -\n",
           "", "get", "bk");
}

static void truncating(void **state)
{
    (void)state;
    EXPECT(0, "backup/wal created\n", UNTESTED, START, "--no-wait");
    EXPECT(0, "backup/wal configured\n", "", "log", "truncate", "wal", "--until", "0/3000148",
           "--force", "--grace", "5m", "--no-wait");
    json_t *wal = fetched("bk", "wal");
    assert_string_equal(json_text_at(wal, "spec.logTruncateUntil"), "0/3000148");
    assert_string_equal(json_text_at(wal, "spec.logTruncateGrace"), "5m");
    assert_true(json_is_false(json_at(wal, "status.logTruncate.removing")));
    assert_true(json_is_true(json_at(wal, "spec.logTruncateForce")));
    assert_string_equal(json_text_at(wal, "status.logTruncate.until"), "0/3000148");
    assert_true(json_is_true(json_at(wal, "status.logTruncate.pending")));
    json_decref(wal);
    RUN("log", "truncate", "wal", "--until", "2026-11-21T10:00:00Z", "--timeout", "100ms");
    assert_int_equal(r.status, 1);
    assert_string_equal(r.out, "backup/wal configured\n");
    assert_string_equal(r.err,
                        "tidemark: backup/wal: timed out waiting for log to be truncated; it "
                        "is Scheduled, waiting for an agent of cluster 'c', tenant 'main' with "
                        "role primary\n");
    wal = fetched("bk", "wal");
    assert_null(json_at(wal, "spec.logTruncateForce"));
    assert_string_equal(json_text_at(wal, "spec.logTruncateGrace"), "5m"); /* stays as it was set */
    assert_string_equal(json_text_at(wal, "status.logTruncate.until"),
                        "2026-11-21T10:00:00.000000Z");
    json_decref(wal);
    EXPECT(
        2, "",
        "tidemark: log: truncate: 'soon' is no time (2026-11-21T10:00:00Z), position (0/3000148) "
        "or TSO" LOG_HELP,
        "log", "truncate", "wal", "--until", "soon");
}

/* What an agent finds is in the tests of the control socket and of whole clusters. */
static void questions(void **state)
{
    (void)state;
    EXPECT(2, "", "tidemark: log: search: one NAME is wanted" LOG_HELP, "log", "search");
    EXPECT(2, "", "tidemark: log: search: '0/3000148' is a position, not a time" LOG_HELP, "log",
           "search", "wal", "--from", "0/3000148");
    EXPECT(2, "",
           "tidemark: log: search: 'soon' is no time (2026-11-21T10:00:00Z), position (0/3000148) "
           "or TSO" LOG_HELP,
           "log", "search", "wal", "--to", "soon");
    EXPECT(2, "", "tidemark: log: search: 1001 is not in 1 to 1000" LOG_HELP, "log", "search",
           "wal", "--limit", "1001");
    EXPECT(2, "", "tidemark: log: search: 'x' is not a whole number" LOG_HELP, "log", "search",
           "wal", "--xid", "x");
    EXPECT(2, "", "tidemark: log: output 'yaml' is not known; there is json" LOG_HELP, "log",
           "search", "wal", "-o", "yaml");
    EXPECT(2, "", "tidemark: log: search: option '--force' does not belong to it" LOG_HELP, "log",
           "search", "wal", "--force");
    EXPECT(3, "", "tidemark: Backup/wal: not found\n", "log", "search", "wal");
    EXPECT(0, "backup/wal created\n", "", START, "--skip-test", "--no-wait");
    EXPECT(1, "", "tidemark: Backup/wal has stored nothing yet\n", "log", "search", "wal",
           "--points", "--limit", "5");
    EXPECT(1, "", "tidemark: Backup/wal has stored nothing yet\n", "log", "truncate", "wal",
           "--until", "0/3000148", "--dry-run");
    json_t *wal = fetched("bk", "wal");
    assert_null(json_at(wal, "spec.logTruncateUntil")); /* it is only tried */
    json_decref(wal);
}

static void what_is_no_log_backup(void **state)
{
    (void)state;
    EXPECT(0, "", "no log backups\n", "log", "status");
    EXPECT(0, "backup/b created\n", "", "backup", "b", "--cluster", "c", "--storage", "file:///b",
           "--no-wait");
    EXPECT(0, "", "no log backups\n", "log", "status");
    EXPECT(2, "", "tidemark: backup/b is no log backup\n", "log", "pause", "b");
    EXPECT(3, "", "tidemark: backup/x: not found\n", "log", "status", "x");
}

static void a_status_in_json(void **state)
{
    (void)state;
    EXPECT(0, "backup/wal created\n", "", START, "--skip-test", "--no-wait");
    RUN("log", "status", "-o", "json");
    json_t *all = json_loads(r.out, 0, NULL);
    assert_non_null(all);
    assert_int_equal(json_array_size(json_at(all, "items")), 1);
    const json_t *cluster = json_array_get(json_at(all, "clusters"), 0);
    assert_string_equal(json_text_at(cluster, "cluster"), "c");
    assert_int_equal(json_u64_at(cluster, "tenants"), 1);
    assert_null(json_at(cluster, "logCheckpointTs"));
    json_decref(all);
    TM_CLEANUP(ran_release)
    struct ran one = run("log", "status", "wal", "-o", "json", (char *)NULL);
    json_t *task = json_loads(one.out, 0, NULL);
    assert_string_equal(json_text_at(task, "metadata.name"), "wal");
    json_decref(task);
}

static void restores_to_a_point(void **state)
{
    (void)state;
    static const struct {
        const char *to;
        const char *flag;
        const char *target; /* NULL = none */
        bool pitr;
        const char *told;
    } cases[] = {
        {"2026-11-21T10:00:00Z", "--inclusive", "{\"time\":\"2026-11-21T10:00:00Z\"}", true,
         "time 2026-11-21T10:00:00Z"},
        {"400036290571534337", "--inclusive", "{\"time\":\"400036290571534337\"}", true,
         "time 400036290571534337"},
        {"0/3000148", "--exclusive", "{\"inclusive\":false,\"position\":\"0/3000148\"}", true,
         "before position 0/3000148"},
        {"xid:742", "--inclusive", "{\"xid\":\"742\"}", true, "xid 742"},
        {"name:a/b", "--inclusive", "{\"name\":\"a/b\"}", true, "name a/b"},
        {"time:2026-11-21 10:00:00+0100", "--inclusive", "{\"time\":\"2026-11-21 10:00:00+0100\"}",
         true, "time 2026-11-21 10:00:00+0100"},
        {"latest", "--inclusive", NULL, true, "latest"},
        {"immediate", "--inclusive", "{\"immediate\":true}", false, "immediate"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        EXPECT(0, "restore/r created\n", "", "restore", "r", "--storage", "file:///l", "--cluster",
               "c", "--data-dir", "/srv/r", "--to", cases[n].to, cases[n].flag, "--no-wait");
        json_t *r = fetched("rt", "r");
        char *target = json_dumps(json_at(r, "spec.target"), JSON_COMPACT | JSON_SORT_KEYS);
        if (cases[n].target != NULL)
            assert_string_equal(target, cases[n].target);
        else
            assert_null(target);
        assert_string_equal(json_text_at(r, "spec.restoreMode"), cases[n].pitr ? "pitr" : "");
        free(target);
        json_decref(r);
        char told[80];
        (void)snprintf(told, sizeof(told), "\nTarget:            %s\n", cases[n].told);
        struct ran described = run("describe", "rt", "r", (char *)NULL);
        assert_non_null(strstr(described.out, told));
        ran_release(&described);
        EXPECT(0, "restore/r deleted\n", "", "delete", "rt", "r");
    }
    EXPECT(0, "restore/r created\n", "", "restore", "r", "--storage", "file:///l", "--cluster", "c",
           "--data-dir", "/srv/r", "--to", "latest", "--full-backup-storage", "file:///f",
           "--lineage", "00112233445566778899aabbccddeeff", "--no-wait");
    json_t *r = fetched("rt", "r");
    assert_string_equal(json_text_at(r, "spec.pitrFullBackupStorageProvider.local.path"), "/f");
    assert_string_equal(json_text_at(r, "spec.target.lineage"), "00112233445566778899aabbccddeeff");
    json_decref(r);
}

static void object_stores(void **state)
{
    (void)state;
    EXPECT(0, "backup/one created\n", "", "backup", "one", "--cluster", "c", "--storage",
           "s3://bucket/a/b?region=r&force-path-style=true&sse=AES256", "--secret", "s3-secret",
           "--no-wait");
    spec_is(
        "bk", "one",
        "{\"br\":{\"cluster\":\"c\"},\"s3\":{\"bucket\":\"bucket\",\"forcePathStyle\":true,"
        "\"prefix\":\"a/b\",\"region\":\"r\",\"secretName\":\"s3-secret\",\"sse\":\"AES256\"}}");
    EXPECT(0, "restore/o created\n", "", "restore", "o", "--storage", "s3://bucket", "--secret",
           "one", "--cluster", "c", "--data-dir", "/srv/o", "--to", "latest",
           "--full-backup-storage", "azblob://full/p?account-name=acct", "--full-backup-secret",
           "two", "--no-wait");
    spec_is("rt", "o",
            "{\"br\":{\"cluster\":\"c\"},\"dataDir\":\"/srv/o\",\"pitrFullBackupStorageProvider\":"
            "{\"azblob\":{\"container\":\"full\",\"prefix\":\"p\",\"secretName\":\"two\","
            "\"storageAccount\":\"acct\"}},\"restoreMode\":\"pitr\",\"s3\":{\"bucket\":\"bucket\","
            "\"secretName\":\"one\"}}");
    EXPECT(0, "backup/l created\n", "", "log", "start", "l", "--cluster", "c", "--storage",
           "s3://bucket/l", "--secret", "one", "--skip-test", "--no-wait");
    spec_is("bk", "l",
            "{\"backupMode\":\"log\",\"br\":{\"cluster\":\"c\"},\"logSubcommand\":\"log-start\","
            "\"s3\":{\"bucket\":\"bucket\",\"prefix\":\"l\",\"secretName\":\"one\"}}");
}

static void how_far_clusters_are(void **state)
{
    (void)state;
    /*  cluster, tenant, phase, checkpoint, latency */
#define TASK(cluster, tenant, phase, checkpoint)                                                   \
    "{\"spec\": {\"backupMode\": \"log\", \"br\": {\"cluster\": \"" cluster "\"}}, \"status\": "   \
    "{\"tenant\": \"" tenant "\", \"phase\": \"" phase "\"" checkpoint "}}"
#define AT(minute, latency)                                                                        \
    ", \"logCheckpointTs\": \"2026-11-21T10:" minute ":00.000000Z\", \"latencySeconds\": " latency
    static const struct {
        const char *resources;
        const char *clusters;
    } cases[] = {
        {"[]", "[]"},
        {"[" TASK("a", "main", "Running", AT("05", "2.5")) "]",
         "[{\"cluster\":\"a\",\"latencySeconds\":2.5,\"logCheckpointTs\":\"2026-11-21T10:05:00."
         "000000Z\",\"tenants\":1}]"},
        {"[" TASK("a", "x", "Running", AT("05", "2.5")) "," TASK(
             "a", "y", "Pause", AT("03", "122.5")) "," TASK("b", "x", "Running",
                                                            AT("01", "1.0")) "]",
         "[{\"cluster\":\"a\",\"latencySeconds\":122.5,\"logCheckpointTs\":\"2026-11-21T10:03:00."
         "000000Z\",\"tenants\":2},{\"cluster\":\"b\",\"latencySeconds\":1.0,\"logCheckpointTs\":"
         "\"2026-11-21T10:01:00.000000Z\",\"tenants\":1}]"},
        /* the furthest of a tenant's tasks counts; a stopped one does not */
        {"[" TASK("a", "x", "Running", AT("01", "9.0")) "," TASK(
             "a", "x", "Running",
             AT("04", "3.0")) "," TASK("a", "x", "Running",
                                       AT("04", "3.5")) "," TASK("a", "y", "Stopped",
                                                                 AT("00", "0.5")) "]",
         "[{\"cluster\":\"a\",\"latencySeconds\":3.0,\"logCheckpointTs\":\"2026-11-21T10:04:00."
         "000000Z\",\"tenants\":1}]"},
        /* one tenant without a checkpoint: nothing is promised, in either order */
        {"[" TASK("a", "x", "Running", AT("01", "9.0")) "," TASK("a", "y", "Prepare", "") "]",
         "[{\"cluster\":\"a\",\"tenants\":2}]"},
        {"[" TASK("a", "y", "Prepare", "") "," TASK("a", "x", "Running", AT("01", "9.0")) "]",
         "[{\"cluster\":\"a\",\"tenants\":2}]"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        json_t *resources = json_loads(cases[n].resources, 0, NULL);
        assert_non_null(resources);
        json_t *clusters = log_clusters(resources);
        char *text = json_dumps(clusters, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
        assert_string_equal(text, cases[n].clusters);
        free(text);
        json_decref(clusters);
        json_decref(resources);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_words),
        cmocka_unit_test_setup_teardown(a_task_from_start_to_stop, start_server, stop_server),
        cmocka_unit_test_setup_teardown(truncating, start_server, stop_server),
        cmocka_unit_test_setup_teardown(questions, start_server, stop_server),
        cmocka_unit_test_setup_teardown(what_is_no_log_backup, start_server, stop_server),
        cmocka_unit_test_setup_teardown(a_status_in_json, start_server, stop_server),
        cmocka_unit_test_setup_teardown(restores_to_a_point, start_server, stop_server),
        cmocka_unit_test_setup_teardown(object_stores, start_server, stop_server),
        cmocka_unit_test(how_far_clusters_are),
    };
    return cmocka_run_group_tests_name("coordinator/ctl/log", tests, NULL, NULL);
}
