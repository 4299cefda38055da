/*
 * The command line from words to exit status, against a real control socket with a real brain in
 * another thread; usage errors, help and tables word for word.
 */
#include "tests/unit/coordinator/ctl/ctl_stage.h"

#include "coordinator/ctl/options.h"
#include "coordinator/ctl/progress.h"
#include "coordinator/ctl/table.h"

#define BACKUP(name, more)                                                                         \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: " name more "}\n"                     \
    "spec: {br: {cluster: c}, local: {path: /x}}\n"

/* ---- words ---- */

static void usage_errors(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    RUN("aply");
    assert_string_equal(r.err, "tidemark: unknown command 'aply', did you mean 'apply'? see "
                               "'tidemark --help'\n");
    assert_int_equal(r.status, 2);
    EXPECT(2, "", "tidemark: unknown command 'frobnicate'; see 'tidemark --help'\n", "frobnicate");
    EXPECT(2, "", "tidemark: unknown option '--nope'; see 'tidemark --help'\n", "--nope");
    EXPECT(2, "", "tidemark: apply: which file? -f FILE is missing; see 'tidemark apply --help'\n",
           "apply");
    EXPECT(2, "",
           "tidemark: apply: unknown option '--filname', did you mean '--filename'? see "
           "'tidemark apply --help'\n",
           "apply", "--filname=x");
    EXPECT(2, "", "tidemark: get: a KIND is wanted: backup, restore; see 'tidemark get --help'\n",
           "get");
    EXPECT(2, "",
           "tidemark: get: unknown kind 'bakcup', did you mean 'backup'? see 'tidemark get "
           "--help'\n",
           "get", "bakcup");
    EXPECT(2, "",
           "tidemark: get: output 'xml' is not known; there are wide, json and yaml; see "
           "'tidemark get --help'\n",
           "get", "bk", "-o", "xml");
    EXPECT(2, "", "tidemark: wait: KIND and NAME are wanted; see 'tidemark wait --help'\n", "wait");
    EXPECT(2, "", "tidemark: wait: --for=PHASE is missing; see 'tidemark wait --help'\n", "wait",
           "bk", "x");
    EXPECT(2, "",
           "tidemark: wait: unknown phase 'Compleet', did you mean 'Complete'? see 'tidemark "
           "wait --help'\n",
           "wait", "bk/x", "--for=Compleet");
    EXPECT(2, "",
           "tidemark: wait: '5' is not a duration: a unit is missing (w d h "
           "m s ms us ns); see 'tidemark wait --help'\n",
           "wait", "bk", "x", "--for=Complete", "--timeout=5");
    EXPECT(2, "",
           "tidemark: backup: --cluster and --storage are wanted; see 'tidemark backup "
           "--help'\n",
           "backup", "x");
    EXPECT(2, "",
           "tidemark: backup: storage 'gs://b/p' is not file:///PATH, s3://BUCKET/PREFIX or "
           "azblob://CONTAINER/PREFIX; see 'tidemark backup --help'\n",
           "backup", "x", "--cluster", "c", "--storage", "gs://b/p");
    EXPECT(2, "",
           "tidemark: backup: storage parameter 'regoin' is not known, did you mean 'region'? see "
           "'tidemark backup --help'\n",
           "backup", "x", "--cluster", "c", "--storage", "s3://b/p?regoin=x");
    EXPECT(2, "",
           "tidemark: backup: storage parameter 'secret-key' is not known to s3://; see 'tidemark "
           "backup --help'\n",
           "backup", "x", "--cluster", "c", "--storage", "s3://b/p?secret-key=hunter2");
    EXPECT(2, "", "tidemark: backup: a directory needs no secret; see 'tidemark backup --help'\n",
           "backup", "x", "--cluster", "c", "--storage", "file:///x", "--secret", "s");
    EXPECT(2, "", "tidemark: restore: --data-dir is wanted; see 'tidemark restore --help'\n",
           "restore", "x");
}

static void help_names_what_exists(void **state)
{
    (void)state;
    RUN("--help");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err, "");
    static const char *const there[] = {"apply",   "backup", "restore", "get",    "describe",
                                        "edit",    "wait",   "delete",  "nodes",  "top",
                                        "version", "retry",  "log",     "create", "storage"};
    static const char *const not_there[] = {"compact", "verify"};
    for (size_t n = 0; n < TM_ARRAY_LEN(there); n++) {
        assert_non_null(strstr(r.out, there[n]));
        TM_CLEANUP(ran_release) struct ran one = run(there[n], "--help", (char *)NULL);
        assert_int_equal(one.status, 0);
        assert_non_null(strstr(one.out, "Usage: tidemark "));
        assert_non_null(strstr(one.out, "\n  tidemark ")); /* an example */
    }
    for (size_t n = 0; n < TM_ARRAY_LEN(not_there); n++)
        assert_null(strstr(r.out, not_there[n]));
}

static void no_daemon(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    EXPECT(4, "",
           "tidemark: control socket '/nonexistent/x.sock': No such file or directory; is "
           "tidemark-coordinator running?\n",
           "get", "bk");
    EXPECT(4, "",
           "tidemark: control socket '/other.sock': No such file or directory; is "
           "tidemark-coordinator running?\n",
           "--socket", "/other.sock", "nodes");
}

/* ---- with a coordinator ---- */

static void apply_get_delete(void **state)
{
    (void)state;
    const char *file = yaml_file(BACKUP("one", ", labels: {team: db}") "---\n" BACKUP(
        "two",
        "") "---\napiVersion: tidemark/v1\nkind: Restore\nmetadata: {name: r}\nspec: {backup: "
            "one, dataDir: /srv/r}\n");
    EXPECT(0, "backup/one created\nbackup/two created\nrestore/r created\n", "", "apply", "-f",
           file);
    EXPECT(0, "backup/one unchanged\nbackup/two unchanged\nrestore/r unchanged\n", "", "apply",
           "-f", file);
    EXPECT(0,
           "NAME  TYPE  MODE      STATUS     BACKUPPATH  COMMITTS  LOGTRUNCATEUNTIL\n"
           "one   full  snapshot  Scheduled  -           -         -\n"
           "two   full  snapshot  Scheduled  -           -         -\n",
           "", "get", "bk");
    EXPECT(0,
           "NAME  TYPE  MODE      STATUS     BACKUPPATH  COMMITTS  LOGTRUNCATEUNTIL\n"
           "one   full  snapshot  Scheduled  -           -         -\n",
           "", "get", "backups", "-l", "team=db");
    EXPECT(0,
           "NAME  STATUS     BACKUP  DATADIR  COMMITTS\n"
           "r     Scheduled  one     /srv/r   -\n",
           "", "get", "rt");
    EXPECT(2, "",
           "tidemark: delete: --grace: 31d is not in 0s to 30d; see 'tidemark delete --help'\n",
           "delete", "backup", "two", "--grace", "31d");
    EXPECT(2, "", "tidemark: delete: --grace is for backups; see 'tidemark delete --help'\n",
           "delete", "rt", "r", "--grace", "5m");
    EXPECT(2, "", "tidemark: delete: --grace is for backups; see 'tidemark delete --help'\n",
           "delete", "secret", "s", "--grace", "5m");
    EXPECT(0, "backup/two deleted\n", "", "delete", "backup", "two", "--grace", "0");
    EXPECT(3, "", "tidemark: backup/two: not found\n", "get", "backup", "two");
    EXPECT(0, "", "no resources of kind BackupSchedule\n", "get", "bks");
    RUN("delete", "backup", "two");
    assert_int_equal(r.status, 3);
    assert_non_null(strstr(r.err, "two"));
}

static void json_and_yaml(void **state)
{
    (void)state;
    EXPECT(0, "backup/one created\n", "", "apply", "-f", yaml_file(BACKUP("one", "")));
    TM_CLEANUP(ran_release) struct ran one = run("get", "bk", "one", "-o", "json", (char *)NULL);
    TM_CLEANUP(ran_release) struct ran all = run("get", "bk", "-o", "json", (char *)NULL);
    TM_CLEANUP(ran_release) struct ran yaml = run("get", "bk", "one", "-o", "yaml", (char *)NULL);
    assert_memory_equal(one.out, "{\n  \"apiVersion\": \"tidemark/v1\",\n  \"kind\": \"Backup\",",
                        50);
    assert_memory_equal(all.out, "{\n  \"items\": [\n", 15);
    assert_memory_equal(yaml.out, "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: one\n",
                        59);
    EXPECT(0, "backup/one unchanged\n", "", "apply", "-f", yaml_file(yaml.out));
}

static void refusals(void **state)
{
    (void)state;
    char want[512];
    const char *file = yaml_file("apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: x}\n"
                                 "spec: {br: {cluster: c, timeAgo: 1h}, local: {path: /x}}\n");
    RUN("apply", "-f", file);
    (void)snprintf(want, sizeof(want), "tidemark: %s:4:25: timeAgo cannot be honoured: ", file);
    assert_memory_equal(r.err, want, strlen(want));
    assert_int_equal(r.status, 2);
    (void)snprintf(want, sizeof(want),
                   "tidemark: apply: cannot read '%s/none': No such file or "
                   "directory\n",
                   server.dir);
    char none[128];
    (void)snprintf(none, sizeof(none), "%.60s/none", server.dir);
    EXPECT(1, "", want, "apply", "-f", none);
}

static void waiting(void **state)
{
    (void)state;
    EXPECT(0, "backup/one created\n", "", "backup", "one", "--cluster", "c", "--storage",
           "file:///x%20y", "--no-wait");
    EXPECT(0, "", "", "wait", "backup", "one", "--for=scheduled", "--timeout=5s");
    RUN("wait", "backup/one", "--for=Complete", "--timeout=100ms");
    assert_int_equal(r.status, 1);
    static const char want[] =
        "tidemark: backup/one: timed out waiting for Complete; it is Scheduled";
    assert_memory_equal(r.err, want, strlen(want));
    EXPECT(3, "", "tidemark: backup/none: not found\n", "wait", "bk", "none", "--for=Complete");
    TM_CLEANUP(ran_release) struct ran json = run("get", "bk", "one", "-o", "json", (char *)NULL);
    assert_non_null(strstr(json.out, "\"path\": \"/x y\""));
}

static void namespaces(void **state)
{
    (void)state;
    EXPECT(0, "backup/one created\n", "", "apply", "-f",
           yaml_file(BACKUP("one", ", namespace: a")));
    RUN("get", "bk", "one", "-o", "yaml");
    assert_int_equal(r.status, 0);
    EXPECT(0, "backup/one created\n", "", "apply", "-f",
           yaml_file(BACKUP("one", ", namespace: b")));
    EXPECT(2, "", "tidemark: backup/one is there in 2 namespaces; choose one with --namespace\n",
           "get", "bk", "one");
    EXPECT(0, "backup/one deleted\n", "", "delete", "bk", "one", "-n", "a");
    EXPECT(0, "", "no resources of kind Backup\n", "get", "bk", "-n", "a");
}

static void looking(void **state)
{
    (void)state;
    EXPECT(0, "no agent has been here yet\n", "", "nodes");
    EXPECT(0, "no agent has been here yet\n\nno job is running\n", "", "top");
    EXPECT(0, "tidemark " TM_VERSION "\ncoordinator 9.9\n", "", "version");
    EXPECT(0, "backup/one created\n", "", "apply", "-f", yaml_file(BACKUP("one", "")));
    RUN("describe", "bk", "one");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "Name:              one\nNamespace:         default\n"));
    assert_non_null(strstr(r.out, "Phase:             Scheduled\n"));
    assert_non_null(strstr(r.out, "Conditions:\n  Scheduled  True   2"));
}

static void editing(void **state)
{
    (void)state;
    EXPECT(0, "backup/one created\n", "", "apply", "-f", yaml_file(BACKUP("one", "")));
    assert_int_equal(setenv("VISUAL", "sed -i s/default/default/", 1), 0);
    EXPECT(0, "nothing is changed\n", "", "edit", "backup", "one");
    assert_int_equal(setenv("VISUAL", "sed -i s,/x,/y,", 1), 0);
    EXPECT(0, "backup/one configured\n", "", "edit", "backup", "one");
    assert_int_equal(setenv("VISUAL", "false", 1), 0);
    RUN("edit", "backup", "one");
    assert_int_equal(r.status, 1);
    static const char want[] =
        "tidemark: edit: 'false' failed; nothing is changed\ntidemark: edit: "
        "your text is kept in /tmp/tidemark-edit-";
    assert_memory_equal(r.err, want, strlen(want));
    char *kept = strstr(r.err, "/tmp/tidemark-edit-");
    assert_non_null(kept);
    kept[strcspn(kept, "\n")] = '\0';
    assert_int_equal(unlink(kept), 0);
    assert_int_equal(unsetenv("VISUAL"), 0);
}

/* ---- pure parts ---- */

static void option_words(void **state)
{
    (void)state;
    static const struct option_row rows[] = {
        {.name = "output", .letter = 'o', .value = "FORM"},
        {.name = "label", .letter = 'l', .value = "K=V", .repeat = true},
        {.name = "delta"},
    };
    struct option_value values[3];
    struct option_words words;
    struct tm_err err = {0};
    char *const good[] = {(char[]){"a"},  (char[]){"-ojson"}, (char[]){"--label=x=1"},
                          (char[]){"-l"}, (char[]){"y=2"},    (char[]){"--delta"},
                          (char[]){"-"},  (char[]){"--"},     (char[]){"--output"}};
    assert_int_equal(options_parse(rows, 3, TM_ARRAY_LEN(good), good, values, &words, &err), 0);
    assert_string_equal(values[0].text, "json");
    assert_int_equal(values[1].count, 2);
    assert_string_equal(values[1].all[0], "x=1");
    assert_string_equal(values[1].all[1], "y=2");
    assert_true(values[2].given);
    assert_int_equal(words.count, 3);
    assert_string_equal(words.words[1], "-");
    assert_string_equal(words.words[2], "--output");

    static const struct {
        const char *words[3];
        const char *message;
    } bad[] = {
        {{"--output"}, "option '--output' wants a value: FORM"},
        {{"-o", "a", "-ob"}, "option '--output' is given twice"},
        {{"--delta=1"}, "option '--delta' takes no value"},
        {{"--dleta"}, "unknown option '--dleta', did you mean '--delta'?"},
        {{"-x"}, "unknown option '-x'"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(bad); n++) {
        char *argv[3];
        int argc = 0;
        while (argc < 3 && bad[n].words[argc] != NULL) {
            argv[argc] = (char *)(uintptr_t)bad[n].words[argc];
            argc++;
        }
        assert_int_equal(options_parse(rows, 3, argc, argv, values, &words, &err), -TM_E_INVALID);
        assert_string_equal(err.msg, bad[n].message);
    }
}

static void tables(void **state)
{
    (void)state;
    static const char *const heads[] = {"NAME", "SIZE"};
    struct text_table t;
    struct tm_err err = {0};
    char *out = NULL;
    size_t len;
    FILE *f = open_memstream(&out, &len);
    assert_non_null(f);
    text_table_init(&t, heads, 2);
    assert_int_equal(text_table_cell(&t, &err, "%s", "größer"), 0);
    assert_int_equal(text_table_cell(&t, &err, "%d", 7), 0);
    assert_int_equal(text_table_cell(&t, &err, "%s", ""), 0);
    assert_int_equal(text_table_cell(&t, &err, "%s", "x"), 0);
    text_table_print(&t, f);
    text_table_release(&t);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(out, "NAME    SIZE\n"
                             "größer  7\n"
                             "-       x\n");
    free(out);
}

static void progress_text(void **state)
{
    (void)state;
    struct progress p;
    char text[PROGRESS_LINE_MAX];
    progress_init(&p);
    progress_feed(&p, 1, 4, 1 << 20, 4 << 20, USEC_PER_SEC);
    assert_string_equal(progress_line(&p, text), "1/4 ranges, 1.0 MiB of 4.0 MiB");
    progress_feed(&p, 2, 4, 2 << 20, 4 << 20, 2 * USEC_PER_SEC);
    assert_string_equal(progress_line(&p, text),
                        "2/4 ranges, 2.0 MiB of 4.0 MiB, 1.0 MiB/s, 0:02 left");
    assert_string_equal(progress_bar(&p, text),
                        "[###############               ]  50 %  2/4 ranges, 2.0 MiB of 4.0 MiB, "
                        "1.0 MiB/s, 0:02 left");
    progress_feed(&p, 4, 4, 5 << 20, 4 << 20, 3 * USEC_PER_SEC); /* it grew behind its plan */
    assert_int_equal(p.bytes_total, 5 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_errors),
        cmocka_unit_test(help_names_what_exists),
        cmocka_unit_test(no_daemon),
        cmocka_unit_test_setup_teardown(apply_get_delete, start_server, stop_server),
        cmocka_unit_test_setup_teardown(json_and_yaml, start_server, stop_server),
        cmocka_unit_test_setup_teardown(refusals, start_server, stop_server),
        cmocka_unit_test_setup_teardown(waiting, start_server, stop_server),
        cmocka_unit_test_setup_teardown(namespaces, start_server, stop_server),
        cmocka_unit_test_setup_teardown(looking, start_server, stop_server),
        cmocka_unit_test_setup_teardown(editing, start_server, stop_server),
        cmocka_unit_test(option_words),
        cmocka_unit_test(tables),
        cmocka_unit_test(progress_text),
    };
    return cmocka_run_group_tests_name("coordinator/ctl/ctl", tests, NULL, NULL);
}
