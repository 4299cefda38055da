/* Files: atomic replacement, limits, containment, walks, removal, secrets; with exact words. */
#include "common/fs.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>
#include <limits.h>

#include "common/fd.h"
#include "common/secret.h"

static char root[] = "/tmp/tidemark-fs-test.XXXXXX";

static const char *at(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, PATH_MAX, "%s/%s", root, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    struct tm_err err;
    if (fs_write_atomic(at(name), slice_str(text), 0600, &err) < 0)
        fail_msg("%s", err.msg);
}

static void atomic_write_and_read(void **state)
{
    (void)state;
    struct tm_err err;
    write_file("a", "one");
    write_file("a", "two!");
    TM_CLEANUP(buf_release) struct buf got = BUF_INIT;
    assert_int_equal(fs_read_file(at("a"), 4, &got, &err), 0);
    assert_int_equal(got.len, 4);
    assert_memory_equal(got.data, "two!", 4);
    char want[PATH_MAX + 64];
    assert_int_equal(fs_read_file(at("a"), 3, &got, &err), -TM_E_LIMIT);
    (void)snprintf(want, sizeof(want), "cannot read '%s/a': larger than 3 bytes", root);
    assert_string_equal(err.msg, want);
    assert_int_equal(got.len, 4);
    assert_int_equal(fs_read_file(at("none"), 3, &got, &err), -TM_E_NOT_FOUND);
    (void)snprintf(want, sizeof(want), "cannot open '%s/none': No such file or directory", root);
    assert_string_equal(err.msg, want);
    assert_int_equal(fs_read_file(root, 3, &got, &err), -TM_E_INVALID);
    (void)snprintf(want, sizeof(want), "'%s' is a directory", root);
    assert_string_equal(err.msg, want);
    /* nothing temporary is left, also after a failure */
    assert_int_equal(fs_write_atomic(at("none/b"), slice_str("x"), 0600, &err), -TM_E_NOT_FOUND);
    assert_int_equal(mkdir(at("dir"), 0700), 0);
    assert_int_equal(fs_write_atomic(at("dir"), slice_str("x"), 0600, &err), -TM_E_IO);
    assert_int_equal(rmdir(at("dir")), 0);
    bool empty = true;
    assert_int_equal(unlink(at("a")), 0);
    assert_int_equal(fs_dir_empty(root, &empty, &err), 0);
    assert_true(empty);
}

static void directories(void **state)
{
    (void)state;
    struct tm_err err;
    bool exists = false;
    char want[PATH_MAX + 64];
    assert_int_equal(fs_mkdir_p(at("x/y//z/"), 0700, &err), 0);
    assert_int_equal(fs_mkdir_p(at("x/y"), 0700, &err), 0);
    assert_int_equal(fs_exists(at("x/y/z"), &exists, &err), 0);
    assert_true(exists);
    write_file("x/file", "");
    assert_int_equal(fs_mkdir_p(at("x/file/deeper"), 0700, &err), -TM_E_NOT_FOUND);
    (void)snprintf(want, sizeof(want), "cannot create directory '%s/x/file': Not a directory",
                   root);
    assert_string_equal(err.msg, want);
    assert_int_equal(fs_mkdir_p("", 0700, &err), -TM_E_INVALID);
    assert_int_equal(fs_remove_tree(at("x"), true, &err), 0);
    assert_int_equal(fs_exists(at("x"), &exists, &err), 0);
    assert_false(exists);
    assert_int_equal(fs_remove_tree(at("x"), true, &err), 0);
}

static void opening_beneath_does_not_escape(void **state)
{
    (void)state;
    struct tm_err err;
    int got = -1;
    TM_CLEANUP(closep) int dir = -1;
    assert_int_equal(fs_mkdir_p(at("in/sub"), 0700, &err), 0);
    write_file("secret", "s");
    write_file("in/sub/file", "f");
    assert_int_equal(symlink("..", at("in/up")), 0);
    assert_int_equal(symlink("sub", at("in/link")), 0);
    assert_int_equal(fs_open_dir(at("in"), &dir, &err), 0);
    assert_int_equal(fs_open_beneath(dir, "sub/file", O_RDONLY, 0, &got, &err), 0);
    closep(&got);
    assert_int_equal(fs_open_beneath(dir, "../secret", O_RDONLY, 0, &got, &err), -TM_E_REFUSED);
    assert_string_equal(err.msg, "refused to open '../secret': it leaves the directory");
    assert_int_equal(fs_open_beneath(dir, "/etc/passwd", O_RDONLY, 0, &got, &err), -TM_E_REFUSED);
    assert_int_equal(fs_open_beneath(dir, "up/secret", O_RDONLY, 0, &got, &err), -TM_E_REFUSED);
    assert_string_equal(err.msg, "refused to open 'up/secret': a symbolic link is in the way");
    assert_int_equal(fs_open_beneath(dir, "link/file", O_RDONLY, 0, &got, &err), -TM_E_REFUSED);
    assert_int_equal(fs_mkdir_p_beneath(dir, "p/q/./r", 0700, &err), 0);
    assert_int_equal(fs_mkdir_p_beneath(dir, "../out", 0700, &err), -TM_E_REFUSED);
    assert_int_equal(fs_mkdir_p_beneath(dir, "up/out", 0700, &err), -TM_E_REFUSED);
    bool exists = true;
    assert_int_equal(fs_exists(at("out"), &exists, &err), 0);
    assert_false(exists);
    assert_int_equal(fs_exists(at("in/p/q/r"), &exists, &err), 0);
    assert_true(exists);
    assert_int_equal(fs_remove_tree(at("in"), true, &err), 0);
    assert_int_equal(fs_exists(at("secret"), &exists, &err), 0);
    assert_true(exists); /* links were not followed */
    assert_int_equal(unlink(at("secret")), 0);
}

static void steps_do_not_escape_either(void **state)
{
    (void)state;
    struct tm_err err;
    int got = -1;
    TM_CLEANUP(closep) int dir = -1;
    assert_int_equal(fs_mkdir_p(at("in/sub"), 0700, &err), 0);
    write_file("in/sub/file", "f");
    assert_int_equal(symlink("sub", at("in/link")), 0);
    assert_int_equal(symlink("file", at("in/sub/last")), 0);
    assert_int_equal(fs_open_dir(at("in"), &dir, &err), 0);
    assert_int_equal(fs_open_by_steps(dir, "sub//file", O_RDONLY, 0, &got, &err), 0);
    closep(&got);
    assert_int_equal(fs_open_by_steps(dir, ".", O_RDONLY | O_DIRECTORY, 0, &got, &err), 0);
    closep(&got);
    assert_int_equal(fs_open_by_steps(dir, "./sub/", O_RDONLY | O_DIRECTORY, 0, &got, &err), 0);
    closep(&got);
    assert_int_equal(
        fs_open_by_steps(dir, "sub/new", O_WRONLY | O_CREAT | O_EXCL, 0600, &got, &err), 0);
    closep(&got);
    assert_int_equal(fs_open_by_steps(dir, "sub/../..", O_RDONLY, 0, &got, &err), -TM_E_REFUSED);
    assert_string_equal(err.msg, "refused to open 'sub/../..': it leaves the directory");
    assert_int_equal(fs_open_by_steps(dir, "/etc", O_RDONLY, 0, &got, &err), -TM_E_REFUSED);
    assert_int_equal(fs_open_by_steps(dir, "", O_RDONLY, 0, &got, &err), -TM_E_NOT_FOUND);
    assert_int_equal(fs_open_by_steps(dir, "link/file", O_RDONLY, 0, &got, &err), -TM_E_REFUSED);
    assert_string_equal(err.msg, "refused to open 'link/file': a symbolic link is in the way");
    assert_int_equal(fs_open_by_steps(dir, "sub/last", O_RDONLY, 0, &got, &err), -TM_E_REFUSED);
    assert_int_equal(fs_open_by_steps(dir, "sub/last", O_PATH, 0, &got, &err), -TM_E_REFUSED);
    assert_int_equal(fs_open_by_steps(dir, "sub/file/x", O_RDONLY, 0, &got, &err), -TM_E_NOT_FOUND);
    assert_string_equal(err.msg, "cannot open 'sub/file/x': Not a directory");
    assert_int_equal(got, -1);
    assert_int_equal(fs_remove_tree(at("in"), true, &err), 0);
}

struct visit {
    char seen[256];
    const char *skip;
    const char *stop;
};

static int on_entry(const struct fs_entry *entry, void *arg, struct tm_err *err)
{
    struct visit *v = arg;
    size_t used = strlen(v->seen);
    (void)snprintf(v->seen + used, sizeof(v->seen) - used, "%s:%u ", entry->path, entry->depth);
    if (v->skip != NULL && strcmp(v->skip, entry->name) == 0)
        return FS_WALK_SKIP;
    if (v->stop != NULL && strcmp(v->stop, entry->name) == 0)
        return FS_WALK_STOP;
    if (strcmp("bad", entry->name) == 0)
        return tm_err_set(err, TM_E_CORRUPT, "no");
    return FS_WALK_CONTINUE;
}

static void walks_in_order(void **state)
{
    (void)state;
    struct tm_err err;
    assert_int_equal(fs_mkdir_p(at("w/b"), 0700, &err), 0);
    assert_int_equal(fs_mkdir_p(at("w/d"), 0700, &err), 0);
    write_file("w/b/2", "");
    write_file("w/b/1", "");
    write_file("w/c", "");
    write_file("w/a", "");
    assert_int_equal(symlink("b", at("w/e")), 0);
    struct visit all = {""};
    assert_int_equal(fs_walk(at("w"), on_entry, &all, &err), 0);
    assert_string_equal(all.seen, "a:1 b:1 b/1:2 b/2:2 c:1 d:1 e:1 ");
    struct visit some = {.skip = "b", .stop = "c"};
    assert_int_equal(fs_walk(at("w"), on_entry, &some, &err), 0);
    assert_string_equal(some.seen, "a:1 b:1 c:1 ");
    write_file("w/d/bad", "");
    struct visit bad = {""};
    assert_int_equal(fs_walk(at("w"), on_entry, &bad, &err), -TM_E_CORRUPT);
    assert_int_equal(fs_remove_tree(at("w"), true, &err), 0);
    assert_int_equal(fs_walk(at("w"), on_entry, &bad, &err), -TM_E_NOT_FOUND);
}

static void joins(void **state)
{
    (void)state;
    struct tm_err err;
    char path[8];
    assert_int_equal(fs_join(path, sizeof(path), "/", "a", &err), 0);
    assert_string_equal(path, "/a");
    assert_int_equal(fs_join(path, sizeof(path), "a/", "/b", &err), 0);
    assert_string_equal(path, "a/b");
    assert_int_equal(fs_join(path, sizeof(path), "", "b", &err), 0);
    assert_string_equal(path, "b");
    assert_int_equal(fs_join(path, sizeof(path), "long", "name", &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "path 'long/name' is too long");
}

static void short_reads_are_errors(void **state)
{
    (void)state;
    struct tm_err err;
    char bytes[8];
    write_file("s", "abc");
    TM_CLEANUP(closep) int fd = open(at("s"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(fd_read_full(fd, bytes, 4, "s", &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "cannot read 's': ends after 3 of 4 bytes");
    assert_int_equal(fd_pread_full(fd, bytes, 2, 1, "s", &err), 0);
    assert_memory_equal(bytes, "bc", 2);
    assert_int_equal(fd_pread_full(fd, bytes, 2, 9, "s", &err), -TM_E_CORRUPT);
    assert_int_equal(fd_pread_full(fd, bytes, 2, UINT64_MAX, "s", &err), -TM_E_INVALID);
    assert_int_equal(fd_write_full(fd, "x", 1, "s", &err), -TM_E_IO);
    assert_string_equal(err.msg, "cannot write 's': Bad file descriptor");
    assert_int_equal(unlink(at("s")), 0);
}

static void secrets(void **state)
{
    (void)state;
    struct tm_err err;
    char want[PATH_MAX + 128];
    struct secret secret = SECRET_INIT;
    write_file("k", "swordfish\n");
    assert_int_equal(secret_load(at("k"), &secret, &err), 0);
    assert_int_equal(secret.len, 9);
    assert_string_equal((const char *)secret.data, "swordfish");
    assert_int_equal(chmod(at("k"), 0640), 0);
    assert_int_equal(secret_load(at("k"), &secret, &err), -TM_E_PERMISSION);
    (void)snprintf(want, sizeof(want),
                   "secret file '%s/k' is open to others (mode 0640), run: chmod 600 '%s/k'", root,
                   root);
    assert_string_equal(err.msg, want);
    assert_int_equal(secret.len, 9);
    write_file("k", "\n");
    assert_int_equal(secret_load(at("k"), &secret, &err), -TM_E_INVALID);
    (void)snprintf(want, sizeof(want), "secret file '%s/k' is empty", root);
    assert_string_equal(err.msg, want);
    secret_release(&secret);
    secret_release(&secret);
    assert_null(secret.data);
    assert_int_equal(unlink(at("k")), 0);
}

int main(void)
{
    if (mkdtemp(root) == NULL)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(atomic_write_and_read),
        cmocka_unit_test(directories),
        cmocka_unit_test(opening_beneath_does_not_escape),
        cmocka_unit_test(steps_do_not_escape_either),
        cmocka_unit_test(walks_in_order),
        cmocka_unit_test(joins),
        cmocka_unit_test(short_reads_are_errors),
        cmocka_unit_test(secrets),
    };
    int r = cmocka_run_group_tests_name("common/fs", tests, NULL, NULL);
    (void)rmdir(root);
    return r;
}
