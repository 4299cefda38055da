/* Configuration text: read, written, and our blocks in it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "agent/engine/postgres/recovery_conf.h"
#include "common/fs.h"

static void finds(const char *text, const char *name, const char *want)
{
    char value[CONF_VALUE_MAX] = "untouched";
    bool found = conf_find(slice_str(text), name, value, sizeof(value));
    assert_int_equal(found, want != NULL);
    assert_string_equal(value, want != NULL ? want : "untouched");
}

static void reads_values(void **state)
{
    (void)state;
    finds("port = 5432\n", "port", "5432");
    finds("port 5432", "port", "5432");
    finds("  PORT=5432#c\n", "port", "5432");
    finds("port = 1\nport = 2\n#port = 3\n", "port", "2");
    finds("a = 'it''s'\n", "a", "it's");
    finds("a = 'x\\'y\\n' # c\n", "a", "x'y\n");
    finds("a = ''\n", "a", "");
    finds("my.thing = on\n", "my.thing", "on");
    finds("include_dir 'conf.d'\n", "include_dir", "conf.d");
    finds("a = 'open\n", "a", NULL);
    finds("a = 1 2\n", "a", NULL);
    finds("a\n", "a", NULL);
    finds("9a = 1\n", "9a", NULL);
    finds("aa = 1\n", "a", NULL);
    finds("a = 1\r\n", "a", "1");
}

static void writes_values(void **state)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    const char *text = NULL;
    struct tm_err err;
    (void)state;
    assert_int_equal(conf_append(&out, "a", "it's \\ 5%", &err), 0);
    assert_int_equal(buf_cstr(&out, &text, &err), 0);
    assert_string_equal(text, "a = 'it''s \\\\ 5%'\n");
    finds(text, "a", "it's \\ 5%");
    assert_int_equal(conf_append(&out, "a b", "x", &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "'a b' is not the name of a server option");
    assert_int_equal(conf_append(&out, "", "x", &err), -TM_E_INVALID);
    assert_int_equal(conf_append(&out, "a", "x\ny", &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "server option 'a': the value has a line break");
}

static void removes_its_block_only(void **state)
{
    TM_CLEANUP(buf_release) struct buf in = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    const char *text = NULL;
    struct tm_err err;
    (void)state;
    assert_int_equal(buf_printf(&in, &err, "user = 1\n"), 0);
    assert_int_equal(conf_block_begin(&in, "clone", "why", &err), 0);
    assert_int_equal(conf_append(&in, "port", "1", &err), 0);
    assert_int_equal(conf_block_end(&in, "clone", &err), 0);
    assert_int_equal(conf_block_begin(&in, "recovery", "why", &err), 0);
    assert_int_equal(conf_append(&in, "restore_command", "false", &err), 0);
    assert_int_equal(conf_block_end(&in, "recovery", &err), 0);
    assert_int_equal(buf_printf(&in, &err, "last = 2"), 0);
    assert_int_equal(conf_block_remove(buf_slice(&in), "recovery", &out, &err), 0);
    assert_int_equal(buf_cstr(&out, &text, &err), 0);
    assert_string_equal(text, "user = 1\n# tidemark clone begin: why\nport = '1'\n"
                              "# tidemark clone end\nlast = 2");
}

/* The command that recovery_end_command runs does what conf_block_remove does. */
static void shell_command(void **state)
{
    TM_CLEANUP(buf_release) struct buf command = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf left = BUF_INIT;
    char dir[] = "/tmp/tm-conf-test.XXXXXX";
    char path[128];
    char line[1024];
    const char *text = NULL;
    struct tm_err err;
    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/postgresql.auto.conf", dir);
    const char before[] = "user = 1\n# tidemark recovery begin: x\na = 1\n# tidemark recovery end\n"
                          "b = 2\n";
    assert_int_equal(fs_write_atomic(path, slice_str(before), 0600, &err), 0);
    assert_int_equal(conf_block_remove_command(&command, "recovery", &err), 0);
    assert_int_equal(buf_cstr(&command, &text, &err), 0);
    (void)snprintf(line, sizeof(line), "cd '%s' && umask 077 && %s", dir, text);
    int status = system(line); /* as the server does it */
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(fs_read_file(path, 65536, &left, &err), 0);
    assert_true(slice_eq(buf_slice(&left), slice_str("user = 1\nb = 2\n")));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fs_remove_tree(dir, true, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_values),
        cmocka_unit_test(writes_values),
        cmocka_unit_test(removes_its_block_only),
        cmocka_unit_test(shell_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
