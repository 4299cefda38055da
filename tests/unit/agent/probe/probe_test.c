/* Storage tests: on a perfect store, on one that denies a verb each, on paths. */
#include "agent/probe/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/probe/mount.h"
#include "common/clock.h"
#include "common/storage/ram.h"

struct fixture {
    struct ram_registry *registry;
    struct storage *st;
    struct probe_report *report;
    char dir[64];
    char url[96];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct tm_err err;
    f->registry = ram_registry_new();
    assert_int_equal(ram_open(f->registry, "probe", &f->st, &err), 0);
    f->report = calloc(1, sizeof(*f->report));
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/tidemark-probe-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->url, sizeof(f->url), "file://%s", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    storage_free(f->st);
    ram_registry_free(f->registry);
    free(f->report);
    assert_int_equal(chmod(f->dir, 0700), 0);
    assert_int_equal(rmdir(f->dir), 0); /* nothing is ever left */
    free(f);
    return 0;
}

static const struct probe_options options = {.node = "db-a", .id = 0xabc, .bulk_bytes = 100000};

/* "OK OK skipped …": the outcomes in order. */
static const char *outcomes(const struct probe_report *report)
{
    static char text[64];
    static const char letters[] = {
        [PROBE_SKIPPED] = '-', [PROBE_OK] = 'o', [PROBE_FAILED] = 'X', [PROBE_RUNNING] = 'r'};
    for (size_t step = PROBE_OPEN; step <= PROBE_STEP_LAST; step++) {
        enum probe_outcome outcome = report->steps[step].outcome;
        text[step - 1] = (size_t)outcome < sizeof(letters) ? letters[outcome] : '?';
    }
    text[PROBE_STEP_LAST] = '\0';
    return text;
}

static void a_store_that_is_well(void **state)
{
    struct fixture *f = *state;
    probe_storage(f->st, &options, f->report);
    assert_string_equal(outcomes(f->report), "oooooooooo");
    assert_true(probe_well(f->report));
    assert_int_equal(f->report->create, PROBE_CREATE_FENCED);
    assert_true(f->report->upload_rate > 0 && f->report->download_rate > 0);
    assert_true(f->report->put_us >= 0 && f->report->get_us >= 0);
    assert_int_equal(f->report->warning_count, 0);
    assert_int_equal(f->report->seen_count, 0);
    assert_false(f->report->has_skew);
    assert_int_equal(ram_object_count(f->st), 0);
}

static void a_store_without_conditional_create(void **state)
{
    struct fixture *f = *state;
    const struct ram_faults faults = {.no_conditional_create = true};
    ram_set_faults(f->st, &faults);
    probe_storage(f->st, &options, f->report);
    assert_string_equal(outcomes(f->report), "oooooooooo");
    assert_int_equal(f->report->create, PROBE_CREATE_LOOKED);
    assert_int_equal(ram_object_count(f->st), 0);
}

/* The name in an error, which ends in random digits, is put as NAME. */
static void failed(struct fixture *f, enum probe_step step, const char *text)
{
    char shown[TM_ERR_MSG_MAX];
    const char *msg = f->report->steps[step].err.msg;
    const char *from = strstr(msg, "probe/db-a-");
    assert_int_equal(f->report->steps[step].outcome, PROBE_FAILED);
    assert_non_null(from);
    (void)snprintf(shown, sizeof(shown), "%.*sNAME%s", (int)(from - msg), msg,
                   from + strlen("probe/db-a-0123456789abcdef"));
    assert_string_equal(shown, text);
}

static void each_verb_denied(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum ram_op op;
        unsigned nth;
        const char *outcomes;
        enum probe_step step;
        const char *text;
    } cases[] = {
        {RAM_CREATE, 1, "oX--o-----", PROBE_PUT, "cannot create 'NAME-0': injected fault"},
        {RAM_COMMIT, 3, "oX--o---oo", PROBE_PUT, "cannot commit 'NAME-2': injected fault"},
        {RAM_READ, 1, "ooXooooooo", PROBE_GET, "cannot read 'NAME-0': injected fault"},
        {RAM_READ, 6, "oooXoooooo", PROBE_RANGE, "cannot read 'NAME-0': injected fault"},
        {RAM_LIST, 1, "ooooXoooo-", PROBE_LIST, "cannot list 'NAME-': injected fault"},
        {RAM_COMMIT, 6, "oooooXoooo", PROBE_AGAIN, "cannot commit 'NAME-0': injected fault"},
        {RAM_WRITE, 7, "ooooooX-oo", PROBE_UPLOAD, "cannot write 'NAME-bulk': injected fault"},
        {RAM_READ, 7, "oooooooXoo", PROBE_DOWNLOAD, "cannot read 'NAME-bulk': injected fault"},
        {RAM_REMOVE, 1, "ooooooooX-", PROBE_REMOVE, "cannot remove 'NAME-0': injected fault"},
        {RAM_LIST, 2, "oooooooooX", PROBE_GONE, "cannot list 'NAME-': injected fault"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        struct ram_faults faults = {.fail_code = TM_E_PERMISSION};
        faults.fail_op[cases[n].op] = cases[n].nth;
        ram_set_faults(f->st, &faults);
        memset(f->report, 0, sizeof(*f->report));
        probe_storage(f->st, &options, f->report);
        assert_string_equal(outcomes(f->report), cases[n].outcomes);
        assert_false(probe_well(f->report));
        assert_int_equal(f->report->steps[cases[n].step].err.code, TM_E_PERMISSION);
        failed(f, cases[n].step, cases[n].text);
        assert_int_equal(ram_object_count(f->st), 0);
        assert_int_equal(f->report->warning_count, 0);
    }
}

/* As object lock does: the storage is as it is meant to be, and what the test leaves there is told. */
static void what_is_kept_on_purpose_is_no_failure(void **state)
{
    struct fixture *f = *state;
    struct ram_faults faults = {.fail_code = TM_E_REFUSED};
    faults.fail_op[RAM_REMOVE] = 1;
    ram_set_faults(f->st, &faults);
    probe_storage(f->st, &options, f->report);
    assert_string_equal(outcomes(f->report), "oooooooooo");
    assert_true(probe_well(f->report));
    assert_int_equal(f->report->warning_count, 1);
    assert_non_null(strstr(f->report->warnings[0], "-0': injected fault"));
    assert_int_equal(ram_object_count(f->st), 0); /* the second try was not refused */
}

static const struct ram_faults dead = {.seed = 3, .fail_per_mille = 1000};

static void a_store_that_does_not_answer(void **state)
{
    struct fixture *f = *state;
    ram_set_faults(f->st, &dead);
    probe_storage(f->st, &options, f->report);
    assert_string_equal(outcomes(f->report), "oX--------");
    assert_int_equal(f->report->steps[PROBE_PUT].err.code, TM_E_UNAVAILABLE);
    assert_int_equal(f->report->warning_count, 0);
}

static void dies(void *arg, const struct probe_report *now)
{
    if (now->steps[PROBE_REMOVE].outcome == PROBE_RUNNING)
        ram_set_faults(arg, &dead);
}

static void a_store_that_removes_nothing(void **state)
{
    struct fixture *f = *state;
    struct probe_options o = options;
    o.told = dies;
    o.arg = f->st;
    probe_storage(f->st, &o, f->report);
    assert_string_equal(outcomes(f->report), "ooooooooX-");
    assert_int_equal(f->report->warning_count, 1);
    assert_string_equal(f->report->warnings[0],
                        "6 objects of this test cannot be removed, and lie below 'probe/' in the "
                        "storage");
    assert_int_equal(ram_object_count(f->st), 6);
}

static void an_object_that_is_not_listed_yet(void **state)
{
    struct fixture *f = *state;
    const struct ram_faults faults = {.seed = 1, .late_per_mille = 1000, .late_ops = 1000};
    ram_set_faults(f->st, &faults);
    probe_storage(f->st, &options, f->report);
    assert_string_equal(outcomes(f->report), "ooooXoooo-");
    assert_int_equal(f->report->steps[PROBE_LIST].err.code, TM_E_CORRUPT);
    assert_non_null(strstr(f->report->steps[PROBE_LIST].err.msg, "just stored, 0 are listed"));
}

struct late {
    struct probe_report *report;
    char told[32];
    size_t count;
};

/* Each step but the first ones takes so long that there is no time left. */
static void dawdle(void *arg, const struct probe_report *now)
{
    struct late *late = arg;
    late->told[late->count++] = (char)('0' + strcspn(outcomes(now), "r"));
    if (now->steps[PROBE_LIST].outcome == PROBE_RUNNING)
        (void)usleep(60000);
}

static void no_time_left(void **state)
{
    struct fixture *f = *state;
    struct late late = {.report = f->report};
    struct probe_options o = options;
    o.timeout_ms = 50;
    o.told = dawdle;
    o.arg = &late;
    probe_storage(f->st, &o, f->report);
    assert_string_equal(outcomes(f->report), "ooooXXX-X-");
    assert_string_equal(late.told, "1234568");
    assert_int_equal(f->report->steps[PROBE_UPLOAD].err.code, TM_E_TIMEOUT);
    assert_string_equal(f->report->steps[PROBE_UPLOAD].err.msg,
                        "upload: there is no time left for it");
    assert_int_equal(ram_object_count(f->st), 0);
}

static void what_a_killed_test_left(void **state)
{
    struct fixture *f = *state;
    struct tm_err err;
    struct storage *st;
    struct storage_options storage = {.create_root = false};
    const char *names[] = {"probe/db-b-00-1", "probe/db-b-00-2", "probe/main/7/x"};
    struct storage_object object;
    assert_int_equal(storage_open(f->url, &storage, &st, &err), 0);
    for (size_t n = 0; n < 2; n++)
        assert_int_equal(storage_put(st, names[n], slice_str("x"), &err), 0);
    char path[160];
    (void)snprintf(path, sizeof(path), "%s/%s", f->dir, names[0]);
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    probe_storage(st, &options, f->report);
    assert_string_equal(outcomes(f->report), "oooooooooo");
    assert_int_equal(storage_stat(st, names[0], &object, &err), -TM_E_NOT_FOUND);
    assert_int_equal(storage_stat(st, names[1], &object, &err), 0);
    /* a cluster of that name has nothing to fear */
    assert_int_equal(storage_put(st, names[2], slice_str("x"), &err), 0);
    (void)snprintf(path, sizeof(path), "%s/%s", f->dir, names[2]);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    probe_storage(st, &options, f->report);
    assert_int_equal(storage_stat(st, names[2], &object, &err), 0);
    assert_int_equal(storage_remove(st, names, 3, &err), 0);
    storage_free(st);
}

/* ---- paths ---- */

static void a_path(void **state)
{
    struct fixture *f = *state;
    struct storage_options storage = {.create_root = false};
    struct probe_options o = options;
    char text[512];
    o.data_dir = f->dir;
    probe_url(f->url, &storage, &o, f->report);
    assert_string_equal(outcomes(f->report), "oooooooooo");
    assert_true(f->report->is_path);
    assert_false(f->report->network);
    assert_true(f->report->has_free && f->report->free_bytes > 0);
    assert_true(f->report->has_skew && f->report->skew_us < 1000000 &&
                f->report->skew_us > -1000000);
    assert_string_not_equal(f->report->fs_type, "");
    (void)snprintf(text, sizeof(text),
                   "'%s' is not a mount of its own: backups would lie on the database's own disk, "
                   "beside '%s'",
                   f->dir, f->dir);
    assert_string_equal(f->report->warnings[f->report->warning_count - 1], text);
}

static void a_path_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    struct storage_options storage = {.create_root = false};
    char url[160], text[256];
    (void)snprintf(url, sizeof(url), "%s/new", f->url);
    probe_url(url, &storage, &options, f->report);
    assert_string_equal(outcomes(f->report), "oooooooooo");
    (void)snprintf(text, sizeof(text),
                   "'%s/new' does not exist: '%s' was tested, where the first backup makes it",
                   f->dir, f->dir);
    assert_string_equal(f->report->warnings[0], text);

    memset(f->report, 0, sizeof(*f->report));
    (void)snprintf(url, sizeof(url), "%s/new/er", f->url);
    probe_url(url, &storage, &options, f->report);
    assert_string_equal(outcomes(f->report), "X---------");
    (void)snprintf(text, sizeof(text),
                   "storage path '%s/new/er' does not exist: create or mount it", f->dir);
    assert_string_equal(f->report->steps[PROBE_OPEN].err.msg, text);

    memset(f->report, 0, sizeof(*f->report));
    probe_url("s4://bucket/x", &storage, &options, f->report);
    assert_string_equal(outcomes(f->report), "X---------");
    assert_int_equal(f->report->steps[PROBE_OPEN].err.code, TM_E_UNSUPPORTED);
}

struct neighbour {
    pthread_t thread;
    const char *url;
    struct probe_options options;
    struct probe_report *report;
};

static void *neighbour_main(void *arg)
{
    struct neighbour *n = arg;
    struct storage_options storage = {.create_root = false};
    probe_url(n->url, &storage, &n->options, n->report);
    return NULL;
}

/* Two nodes at the same time; what each has seen. */
static void two_nodes(const char *url_a, const char *url_b, unsigned wait_ms,
                      struct neighbour ret[2])
{
    for (size_t n = 0; n < 2; n++) {
        ret[n] = (struct neighbour){.url = n == 0 ? url_a : url_b, .options = options};
        ret[n].options.node = n == 0 ? "db-a" : "db-b";
        ret[n].options.nodes = 2;
        ret[n].options.share_wait_ms = wait_ms;
        ret[n].report = calloc(1, sizeof(*ret[n].report));
        assert_int_equal(pthread_create(&ret[n].thread, NULL, neighbour_main, &ret[n]), 0);
    }
    for (size_t n = 0; n < 2; n++)
        assert_int_equal(pthread_join(ret[n].thread, NULL), 0);
}

static bool sees(const struct neighbour *n, const char *node)
{
    for (size_t at = 0; at < n->report->seen_count; at++) {
        if (strcmp(n->report->seen[at], node) == 0)
            return true;
    }
    return false;
}

static void two_nodes_that_share(void **state)
{
    struct fixture *f = *state;
    struct neighbour n[2];
    two_nodes(f->url, f->url, 20000, n);
    assert_true(sees(&n[0], "db-a") && sees(&n[1], "db-b"));
    assert_true(sees(&n[0], "db-b") || sees(&n[1], "db-a"));
    free(n[0].report);
    free(n[1].report);
}

static void two_nodes_that_do_not(void **state)
{
    struct fixture *f = *state;
    struct neighbour n[2];
    char one[160], two[160];
    (void)snprintf(one, sizeof(one), "%s/one", f->url);
    (void)snprintf(two, sizeof(two), "%s/two", f->url);
    assert_int_equal(mkdir(one + 7, 0700), 0);
    assert_int_equal(mkdir(two + 7, 0700), 0);
    two_nodes(one, two, 200, n);
    for (size_t at = 0; at < 2; at++) {
        assert_string_equal(outcomes(n[at].report), "oooooooooo");
        assert_int_equal(n[at].report->seen_count, 1);
        assert_string_equal(n[at].report->seen[0], at == 0 ? "db-a" : "db-b");
        free(n[at].report);
    }
    assert_int_equal(rmdir(one + 7), 0);
    assert_int_equal(rmdir(two + 7), 0);
}

static void as_a_message(void **state)
{
    struct fixture *f = *state;
    struct ram_faults faults = {.fail_code = TM_E_PERMISSION};
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct msg_probe_answer m;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    faults.fail_op[RAM_LIST] = 1;
    ram_set_faults(f->st, &faults);
    probe_storage(f->st, &options, f->report);
    assert_int_equal(probe_report_message(f->report, 7, &arena, &m, &err), 0);
    assert_int_equal(codec_encode(&msg_probe_answer_codec, &m, CODEC_MINOR_ALL, &bytes, &err), 0);
    assert_int_equal(m.id, 7);
    assert_int_equal(m.steps_count, 10);
    assert_int_equal(m.steps[4].step, PROBE_LIST);
    assert_int_equal(m.steps[4].outcome, PROBE_FAILED);
    assert_int_equal(m.steps[4].error->code, TM_E_PERMISSION);
    assert_string_equal(m.steps[4].error->stage, "list");
    assert_null(m.steps[3].error);
    assert_int_equal(m.create, PROBE_CREATE_FENCED);
    assert_null(m.mount);
}

/* ---- mounts ---- */

static void which_mount(void **state)
{
    static const char text[] =
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "broken line\n"
        "30 22 0:50 / /mnt rw - tmpfs tmpfs rw\n"
        "31 30 0:51 /exp /mnt/my\\040backup rw,relatime shared:9 master:2 - nfs4 "
        "nas:/exp\\011x rw,vers=4.2\n"
        "32 22 0:52 / /srv rw - ext4 /dev/sdb1 rw\n"
        "33 32 0:53 / /srv rw - nfs nas:/srv rw";
    static const struct {
        const char *path, *point, *type, *source;
        bool network;
    } cases[] = {
        {"/mnt/my backup/x", "/mnt/my backup", "nfs4", "nas:/exp\tx", true},
        {"/mnt/my backup", "/mnt/my backup", "nfs4", "nas:/exp\tx", true},
        {"/mnt/my backups", "/mnt", "tmpfs", "tmpfs", false},
        {"/srv/a", "/srv", "nfs", "nas:/srv", true},
        {"/srvx", "/", "ext4", "/dev/sda1", false},
        {"/", "/", "ext4", "/dev/sda1", false},
    };
    struct mount *m = calloc(1, sizeof(*m));
    struct tm_err err;
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        assert_int_equal(mount_find(slice_str(text), cases[n].path, m, &err), 0);
        assert_string_equal(m->point, cases[n].point);
        assert_string_equal(m->type, cases[n].type);
        assert_string_equal(m->source, cases[n].source);
        assert_int_equal(m->network, cases[n].network);
    }
    assert_int_equal(mount_find(SLICE_EMPTY, "/x", m, &err), -TM_E_NOT_FOUND);
    assert_string_equal(err.msg, "'/x' lies on no mount");
    assert_int_equal(mount_of("/proc/self", m, &err), 0);
    assert_string_equal(m->type, "proc");
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_store_that_is_well, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_without_conditional_create, setup, teardown),
        cmocka_unit_test_setup_teardown(each_verb_denied, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_kept_on_purpose_is_no_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_does_not_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_removes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_object_that_is_not_listed_yet, setup, teardown),
        cmocka_unit_test_setup_teardown(no_time_left, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_killed_test_left, setup, teardown),
        cmocka_unit_test_setup_teardown(a_path, setup, teardown),
        cmocka_unit_test_setup_teardown(a_path_that_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(two_nodes_that_share, setup, teardown),
        cmocka_unit_test_setup_teardown(two_nodes_that_do_not, setup, teardown),
        cmocka_unit_test_setup_teardown(as_a_message, setup, teardown),
        cmocka_unit_test(which_mount),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
