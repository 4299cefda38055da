/* One process a directory. */
#include "common/lockfile.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/fs.h"

static void one_holder(void **state)
{
    char root[] = "/tmp/tidemark-lock-XXXXXX";
    char dir[64], want[160];
    struct tm_err err = {0};
    struct stat st;
    int first = -1, second = -1;

    (void)state;
    assert_non_null(mkdtemp(root));
    (void)snprintf(dir, sizeof dir, "%s/state", root);
    assert_int_equal(lockfile_take(dir, &first, &err), 0);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(lockfile_take(dir, &second, &err), -TM_E_CONFLICT);
    (void)snprintf(want, sizeof want, "'%s' is in use by another instance (process %ld)", dir,
                   (long)getpid());
    assert_string_equal(err.msg, want);
    assert_int_equal(second, -1);
    closep(&first);
    assert_int_equal(lockfile_take(dir, &second, &err), 0);
    closep(&second);
    assert_int_equal(fs_remove_tree(root, true, &err), 0);
}

/* The kernel lets go when the holder dies, however it dies. */
static void dead_holder(void **state)
{
    char dir[] = "/tmp/tidemark-lock-XXXXXX";
    struct tm_err err = {0};
    int fd = -1, status;

    (void)state;
    assert_non_null(mkdtemp(dir));
    pid_t child = fork();
    if (child == 0) {
        int held = -1;
        if (lockfile_take(dir, &held, &err) < 0)
            _exit(1);
        abort();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(lockfile_take(dir, &fd, &err), 0);
    closep(&fd);
    assert_int_equal(fs_remove_tree(dir, true, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_holder),
        cmocka_unit_test(dead_holder),
    };
    return cmocka_run_group_tests_name("lockfile", tests, NULL, NULL);
}
