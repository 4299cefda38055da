/* What list and search say of a stored log, word for word. */
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>

#include "agent/cli/cli.h"
#include "common/fs.h"
#include "tests/unit/proto/repo/log_fixture.h"

#define ID_A "20261121T100000Z-0000000a"

struct repo {
    struct fixture f;
    char dir[64];
    char url[100];
    char backup_dir[100];
    char backup_url[140];
    struct test_branch p;
    struct test_branch c;
};

static void open_repo(struct repo *r, const char *url, struct storage **ret)
{
    struct repository repository;
    struct identity identity = {
        .cluster = "demo1", .tenant = "main", .incarnation = "42", .engine = "unheard-of"};
    struct storage_options options = {.create_root = true};
    assert_int_equal(storage_open(url, &options, ret, &r->f.err), 0);
    assert_int_equal(repository_open(r->f.scratch[0], *ret, nonce, 1, &repository, &r->f.err), 0);
    assert_int_equal(identity_ensure(r->f.scratch[0], *ret, &identity, nonce, &r->f.err), 0);
}

static void put_story(struct repo *r)
{
    struct fixture *f = &r->f;
    const struct log_point events[] = {
        {.kind = EVENT_COMMIT, .at = 160, .end = 176, .time_us = 10 * SECOND, .xid = 4294967297},
        {.kind = EVENT_ABORT, .at = 176, .end = 192, .time_us = 11 * SECOND, .xid = 9},
        {.kind = EVENT_PREPARE,
         .at = 192,
         .end = 208,
         .time_us = 11 * SECOND,
         .xid = 10,
         .name = "gid"},
        {.kind = EVENT_POINT, .at = 208, .end = 224, .time_us = 12 * SECOND, .name = "before x"},
    };
    struct log_ref ref;
    r->p = (struct test_branch){.record = {.id = "p", .label = "1", .created_us = 1}};
    r->c = (struct test_branch){.record = {.id = "c", .label = "2", .created_us = 2, .fork = 1000},
                                .parent = &r->p};
    put_lineage(f, &r->p);
    put_lineage(f, &r->c);
    put_chunk(f, &r->p, 0, 1000, 1, &(struct extra){events, 4, 15 * SECOND});
    put_chunk(f, &r->p, 1000, 1100, 1, &(struct extra){.mark_us = 16 * SECOND});
    put_chunk(f, &r->c, 0, 1200, 2, &(struct extra){.mark_us = 30 * SECOND});
    struct storage *log_st = f->st;
    struct storage *backup_st = NULL;
    open_repo(r, r->backup_url, &backup_st);
    f->st = backup_st;
    ref = put_log(f, &r->p, ID_A, 0, 96, 1, NULL);
    put_backup(f, backup_st, ID_A, &r->p, 64, 5 * SECOND, &ref, 1);
    f->st = log_st;
    storage_free(backup_st);
    branch_done(&r->p);
    branch_done(&r->c);
}

static int repo_setup(void **state)
{
    struct repo *r = calloc(1, sizeof(*r));
    struct fixture *f = &r->f;
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/cli-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(r->url, sizeof(r->url), "file://%s/log", r->dir);
    (void)snprintf(r->backup_url, sizeof(r->backup_url), "file://%s/full", r->dir);
    for (int i = 0; i < 3; i++)
        assert_int_equal(object_scratch_new(&f->scratch[i], &f->err), 0);
    assert_int_equal(names_scope_set(&f->scope, "demo1", "main", "42", &f->err), 0);
    open_repo(r, r->url, &f->st);
    put_story(r);
    *state = r;
    return 0;
}

static int repo_teardown(void **state)
{
    struct repo *r = *state;
    char command[100];
    for (int i = 0; i < 3; i++)
        object_scratch_free(r->f.scratch[i]);
    storage_free(r->f.st);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", r->dir);
    assert_int_equal(system(command), 0);
    free(r);
    return 0;
}

/* The exit status; what was written lands in `out`, standard error behind standard output. */
static int run(struct repo *r, struct buf *out, int argc, const char *const *args)
{
    char path[100];
    char *argv[32] = {(char *)(uintptr_t) "tidemark-agent"};
    for (int i = 0; i < argc; i++)
        argv[i + 1] = (char *)(uintptr_t)args[i];
    (void)snprintf(path, sizeof(path), "%s/out", r->dir);
    (void)fflush(NULL);
    int saved[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    optind = 0; /* getopt starts anew */
    int status = cli_main(argc + 1, argv);
    (void)fflush(NULL);
    assert_true(dup2(saved[0], STDOUT_FILENO) >= 0 && dup2(saved[1], STDERR_FILENO) >= 0);
    assert_int_equal(close(saved[0]) | close(saved[1]) | close(fd), 0);
    buf_reset(out);
    assert_int_equal(fs_read_file(path, 1 << 20, out, &r->f.err), 0);
    return status;
}

#define RUN(r, out, ...)                                                                           \
    run(r, out, (int)TM_ARRAY_LEN(((const char *const[]){__VA_ARGS__})),                           \
        (const char *const[]){__VA_ARGS__})

static const char *text_of(struct repo *r, struct buf *out)
{
    const char *text = NULL;
    assert_int_equal(buf_cstr(out, &text, &r->f.err), 0);
    return text;
}

#define HEAD                                                                                       \
    "TIME                        KIND     POSITION           XID                  "                \
    "LINEAGE                          NAME\n"
#define P "70000000000000000000000000000000"
#define C "63000000000000000000000000000000"

static void test_search(void **state)
{
    struct repo *r = *state;
    struct buf out = BUF_INIT;
    assert_int_equal(RUN(r, &out, "search", "--storage", r->url, "--cluster", "demo1"), 0);
    assert_string_equal(
        text_of(r, &out), HEAD
        "1970-01-01T00:00:10.000000Z commit   160                4294967297           " P " -\n"
        "1970-01-01T00:00:11.000000Z abort    176                9                    " P " -\n"
        "1970-01-01T00:00:11.000000Z prepare  192                10                   " P " gid\n"
        "1970-01-01T00:00:12.000000Z point    208                -                    " P
        " before x\n");
    assert_int_equal(RUN(r, &out, "search", "--storage", r->url, "--cluster", "demo1", "--xid", "9",
                         "--from", "1970-01-01T00:00:11Z", "--to", "1970-01-01T00:00:11Z"),
                     0);
    assert_string_equal(
        text_of(r, &out), HEAD
        "1970-01-01T00:00:11.000000Z abort    176                9                    " P " -\n");
    assert_int_equal(RUN(r, &out, "search", "--storage", r->url, "--cluster", "demo1", "--limit",
                         "1", "--points"),
                     0);
    assert_string_equal(
        text_of(r, &out),
        HEAD "1970-01-01T00:00:12.000000Z point    208                -                    " P
             " before x\n");
    assert_int_equal(
        RUN(r, &out, "search", "--storage", r->url, "--cluster", "demo1", "--limit", "1"), 0);
    assert_non_null(
        strstr(text_of(r, &out), "tidemark-agent: search: there are more than 1, see --limit\n"));
    assert_int_equal(
        RUN(r, &out, "search", "--storage", r->url, "--cluster", "demo1", "--name", "x"), 0);
    assert_string_equal(text_of(r, &out), "no events\n");
    buf_release(&out);
}

static void test_search_json(void **state)
{
    struct repo *r = *state;
    struct buf out = BUF_INIT;
    json_error_t error;
    assert_int_equal(RUN(r, &out, "search", "--storage", r->url, "--cluster", "demo1", "--limit",
                         "1", "-o", "json"),
                     0);
    json_t *root = json_loads(text_of(r, &out), 0, &error);
    json_t *wanted = json_pack("{s:b, s:[{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}]}", "more", 1,
                               "events", "cluster", "demo1", "tenant", "main", "kind", "commit",
                               "time", "1970-01-01T00:00:10.000000Z", "position", "160", "lineage",
                               P, "lineageLabel", "1", "xid", "4294967297");
    assert_non_null(root);
    assert_true(json_equal(root, wanted));
    json_decref(root);
    json_decref(wanted);
    buf_release(&out);
}

static void test_search_words(void **state)
{
    struct repo *r = *state;
    struct buf out = BUF_INIT;
    assert_int_equal(RUN(r, &out, "search", "--storage", r->url), 2);
    assert_string_equal(text_of(r, &out),
                        "tidemark-agent: search: --cluster is needed (see --help)\n");
    assert_int_equal(RUN(r, &out, "search", "--from", "yesterday"), 2);
    assert_non_null(strstr(text_of(r, &out), "target 'time:yesterday'"));
    assert_int_equal(RUN(r, &out, "search", "--limit", "0"), 2);
    assert_string_equal(text_of(r, &out),
                        "tidemark-agent: search: 0 is not in 1 to 1000000 (see --help)\n");
    assert_int_equal(RUN(r, &out, "search", "--storage", r->url, "--cluster", "demo2"), 3);
    assert_int_equal(RUN(r, &out, "search", "--help"), 0);
    assert_memory_equal(text_of(r, &out), "usage: tidemark-agent search ", 29);
    buf_release(&out);
}

static void test_list(void **state)
{
    struct repo *r = *state;
    struct buf out = BUF_INIT;
    json_error_t error;
    assert_int_equal(RUN(r, &out, "list", "--storage", r->url, "--full-backup-storage",
                         r->backup_url, "--cluster", "demo1"),
                     0);
    const char *moments = strstr(text_of(r, &out), "\n\n");
    assert_non_null(moments);
    assert_string_equal(
        moments,
        "\n\nCLUSTER          TENANT     RECOVERABLE FROM            TO                          "
        "LINEAGE                          POSITIONS\n"
        "demo1            main       1970-01-01T00:00:15.000000Z 1970-01-01T00:00:16.000000Z " P
        " 1000 to 1100 abandoned\n"
        "demo1            main       1970-01-01T00:00:05.000000Z 1970-01-01T00:00:30.000000Z " C
        " @64 to 1200\n");
    assert_int_equal(RUN(r, &out, "list", "--storage", r->url, "--full-backup-storage",
                         r->backup_url, "-o", "json"),
                     0);
    json_t *root = json_loads(text_of(r, &out), 0, &error);
    json_t *wanted = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "cluster",
                               "demo1", "tenant", "main", "backup", ID_A, "lineage", C,
                               "lineageLabel", "2", "fromPosition", "@64", "toPosition", "1200",
                               "from", "1970-01-01T00:00:05.000000Z", "to",
                               "1970-01-01T00:00:30.000000Z", "abandoned", 0);
    assert_non_null(root);
    assert_true(json_equal(json_array_get(json_object_get(root, "recoverable"), 1), wanted));
    assert_int_equal(json_array_size(json_object_get(root, "recoverable")), 2);
    json_decref(root);
    json_decref(wanted);
    /* the backups' storage alone knows of no log */
    assert_int_equal(RUN(r, &out, "list", "--storage", r->backup_url), 0);
    assert_non_null(strstr(text_of(r, &out), "1970-01-01T00:00:05.000000Z "
                                             "1970-01-01T00:00:05.000000Z " P " @64\n"));
    assert_int_equal(RUN(r, &out, "list", "--storage", r->url), 0);
    assert_string_equal(text_of(r, &out), "no backups\n");
    buf_release(&out);
}

/* A reader written from the specification alone finds the same in it. */
static void test_second_reader(void **state)
{
    struct repo *r = *state;
    struct fixture *f = &r->f;
    struct buf out = BUF_INIT;
    json_error_t error;
    char command[300], path[100];
    uint32_t rolled = 0;
    struct log_lineages list;
    put_writer(f, &r->p, 3, 1000); /* the first writer's last chunk is fenced */
    put_chunk(f, &r->p, 1000, 1064, 3, NULL);
    put_chunk(f, &r->p, 2048, 2064, 3, NULL);
    put_mark(f, &r->p, 2064, 3, 0, 40 * SECOND);
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(log_index_roll(f->scratch, f->st, &f->scope, &list.items[0],
                                    (struct epoch){1, 3}, nonce, 1, &rolled, &f->err),
                     0);
    assert_int_equal(rolled, 2);
    log_lineages_release(&list);
    (void)snprintf(path, sizeof(path), "%s/read", r->dir);
    (void)snprintf(command, sizeof(command),
                   "python3 tests/integration/format_reader.py '%s/log' >'%s' 2>&1", r->dir, path);
    int status = system(command);
    assert_int_equal(fs_read_file(path, 1 << 20, &out, &f->err), 0);
    if (status != 0)
        fail_msg("%s", text_of(r, &out));
    json_t *root = json_loads(text_of(r, &out), 0, &error);
    json_t *wanted = json_pack("{s:{s:[[i,i],[i,i]], s:i, s:i, s:i}, s:{s:[[i,i]], s:i, s:i, s:i}}",
                               P, "runs", 0, 1064, 2048, 2064, "chunks", 4, "events", 4, "marks", 1,
                               C, "runs", 0, 1200, "chunks", 1, "events", 0, "marks", 0);
    assert_non_null(root);
    assert_true(json_equal(json_object_get(root, "lineages"), wanted));
    json_decref(root);
    json_decref(wanted);
    buf_release(&out);
    branch_done(&r->p);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, repo_setup, repo_teardown)
    const struct CMUnitTest tests[] = {
        T(test_search), T(test_search_json),   T(test_search_words),
        T(test_list),   T(test_second_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
