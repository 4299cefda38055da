/* What both daemons do with their command line: words, statuses, and when the daemon is run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/daemon_main.h"

/* A daemon that only remembers. */
struct fake {
    const char *load_error; /* NULL = none */
    enum tm_err_code code;
    bool warns;
    bool run_fails;
    bool flagged;
    char loaded[64];
    char ran[64];
    mode_t umask;
};

static int load(void *config, const char *path, struct schema_warnings *warnings,
                struct tm_err *err)
{
    struct fake *f = config;
    (void)snprintf(f->loaded, sizeof(f->loaded), "%s", path);
    if (f->warns)
        schema_warn(warnings, NULL, "an odd thing");
    return f->load_error != NULL ? tm_err_set(err, f->code, "%s", f->load_error) : 0;
}

static int run(void *config, const char *path, struct tm_err *err)
{
    struct fake *f = config;
    (void)snprintf(f->ran, sizeof(f->ran), "%s", path);
    f->umask = umask(022);
    return f->run_fails ? tm_err_set(err, TM_E_IO, "it broke") : 0;
}

static char said[1024]; /* on stdout and stderr, by the last call */

/* Calls daemon_main with up to two words (NULL = none); what it says goes to `said`. */
static int call(struct fake *f, const char *first, const char *second)
{
    char words[3][64] = {"x"};
    char *argv[4] = {words[0]};
    int argc = 1;
    const char *const given[] = {first, second};
    for (size_t n = 0; n < TM_ARRAY_LEN(given) && given[n] != NULL; n++) {
        (void)snprintf(words[argc], sizeof(words[argc]), "%s", given[n]);
        argv[argc] = words[argc];
        argc++;
    }
    const struct daemon_main daemon = {.program = "tidemark-x",
                                       .default_config = "/etc/x.yaml",
                                       .usage = "usage: x\n",
                                       .stray = "is one word too many",
                                       .flag = "later",
                                       .ret_flag = &f->flagged,
                                       .config = f,
                                       .load = load,
                                       .run = run};
    int file = memfd_create("said", MFD_CLOEXEC), out = dup(1), err = dup(2);
    assert_true(file >= 0 && out >= 0 && err >= 0);
    (void)fflush(NULL);
    assert_true(dup2(file, 1) == 1 && dup2(file, 2) == 2);
    optind = 0; /* getopt anew */
    opterr = 0;
    int status = daemon_main(&daemon, argc, argv);
    (void)fflush(NULL);
    assert_true(dup2(out, 1) == 1 && dup2(err, 2) == 2);
    ssize_t n = pread(file, said, sizeof(said) - 1, 0);
    assert_true(n >= 0);
    said[n] = '\0';
    close(file);
    close(out);
    close(err);
    return status;
}

static void test_runs(void **state)
{
    (void)state;
    struct fake f = {.warns = true};
    assert_int_equal(call(&f, "-c", "/a/b.yaml"), 0);
    assert_string_equal(f.loaded, "/a/b.yaml");
    assert_string_equal(f.ran, "/a/b.yaml");
    assert_int_equal(f.umask, 0077);
    assert_string_equal(said, "tidemark-x: warning: an odd thing\n");
    f = (struct fake){.run_fails = true};
    assert_int_equal(call(&f, NULL, NULL), 1);
    assert_string_equal(f.ran, "/etc/x.yaml");
    assert_string_equal(said, "tidemark-x: it broke\n");
}

static void test_checks_only(void **state)
{
    (void)state;
    struct fake f = {.load_error = NULL};
    assert_int_equal(call(&f, "--check-config", NULL), 0);
    assert_string_equal(f.loaded, "/etc/x.yaml");
    assert_string_equal(f.ran, "");
    assert_string_equal(said, "/etc/x.yaml: ok\n");
    f = (struct fake){.load_error = "line 3: no", .code = TM_E_INVALID};
    assert_int_equal(call(&f, "--check-config", NULL), 2);
    assert_string_equal(said, "tidemark-x: line 3: no\n");
    f = (struct fake){.load_error = "cannot open", .code = TM_E_NOT_FOUND};
    assert_int_equal(call(&f, NULL, NULL), 1);
    assert_string_equal(f.ran, "");
}

static void test_words(void **state)
{
    (void)state;
    struct fake f = {.load_error = NULL};
    assert_int_equal(call(&f, "--version", NULL), 0);
    assert_string_equal(said, "tidemark-x " TM_VERSION "\n");
    assert_int_equal(call(&f, "-h", NULL), 0);
    assert_string_equal(said, "usage: x\n");
    assert_int_equal(call(&f, "--wrong", NULL), 2);
    assert_string_equal(said, "usage: x\n");
    assert_int_equal(call(&f, "word", NULL), 2);
    assert_string_equal(said, "tidemark-x: 'word' is one word too many\nusage: x\n");
    assert_false(f.flagged);
    assert_string_equal(f.loaded, "");
    assert_int_equal(call(&f, "--later", NULL), 0);
    assert_true(f.flagged);
    assert_string_equal(f.ran, "/etc/x.yaml");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_checks_only),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
