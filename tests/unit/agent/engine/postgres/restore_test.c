/*
 * The restore side without a server: what is refused, with which words, and that nothing leaves the
 * target. (Real restores: tests/integration/postgres_engine_restore_test.sh.)
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "agent/engine/postgres/restore.h"
#include "agent/engine/postgres/snapshot.h"
#include "common/fd.h"
#include "common/fs.h"
#include "tests/unit/agent/engine/postgres/wal_build.h"

#define START UINT64_C(0x100028)

struct fixture {
    char dir[64];
    struct buf begin;
    struct buf end;
    char path[8][256]; /* results of at() */
    unsigned paths;
    struct engine_restore_spec spec;
    struct engine_restore *restore;
    struct tm_err err;
};

static const char *at(struct fixture *f, const char *name)
{
    char *p = f->path[f->paths++ % 8];
    char dir[sizeof(f->dir)];
    memcpy(dir, f->dir, sizeof(dir));
    (void)snprintf(p, sizeof(f->path[0]), "%.60s/%.180s", dir, name);
    return p;
}

static void make_dir(struct fixture *f, const char *name)
{
    const char *path = at(f, name);
    assert_int_equal(fs_mkdir_p(path, 0700, &f->err), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(path, 65534, 65534), 0);
}

static void make_file(struct fixture *f, const char *name, const char *text)
{
    char dir[256];
    const char *slash = strrchr(name, '/');
    if (slash != NULL) {
        (void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - name), name);
        make_dir(f, dir);
    }
    assert_int_equal(fs_write_atomic(at(f, name), slice_str(text), 0600, &f->err), 0);
}

static bool exists(struct fixture *f, const char *name)
{
    struct stat st;
    return lstat(at(f, name), &st) == 0;
}

static void assert_file(struct fixture *f, const char *name, const char *want)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    if (fs_read_file(at(f, name), 1 << 20, &text, &f->err) < 0)
        fail_msg("%s", f->err.msg);
    assert_true(slice_eq(buf_slice(&text), slice_str(want)));
}

static void encode(struct fixture *f, const char *tablespace)
{
    struct pg_tablespace tablespaces[] = {{.oid = 16384, .path = (char *)(uintptr_t)tablespace}};
    struct pg_begin b = {
        .system_id = 7000000000000000001u,
        .start_lsn = START,
        .replay_from = 0x100000,
        .timeline = 1,
        .version_num = 150018,
        .catalog_version = 202209061,
        .control_version = 1300,
        .block_bytes = 8192,
        .relation_segment_blocks = 131072,
        .wal_segment_bytes = WAL_BUILD_SEGMENT,
        .data_dir = (char *)(uintptr_t) "/var/lib/source",
        .label = (char *)(uintptr_t) "test",
        .tablespaces = tablespaces,
        .tablespace_count = tablespace != NULL ? 1 : 0,
    };
    struct pg_end e = {.stop_lsn = 0x100100, .timeline = 1};
    assert_int_equal(buf_printf(&e.backup_label, &f->err,
                                "START WAL LOCATION: 0/100028 (file 000000010000000000000001)\n"
                                "CHECKPOINT LOCATION: 0/100060\nBACKUP METHOD: streamed\n"
                                "BACKUP FROM: primary\nSTART TIMELINE: 1\n"),
                     0);
    buf_reset(&f->begin);
    buf_reset(&f->end);
    assert_int_equal(pg_begin_encode(&b, &f->begin, &f->err), 0);
    assert_int_equal(pg_end_encode(&e, &f->end, &f->err), 0);
    buf_release(&e.backup_label);
    f->spec.begin = buf_slice(&f->begin);
    f->spec.end = buf_slice(&f->end);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -1;
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/tm-restore-test.XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return -1;
    /* as root, files go to the owner of the parent */
    if (geteuid() == 0 && (chown(f->dir, 65534, 65534) < 0 || chmod(f->dir, 0755) < 0))
        return -1;
    encode(f, NULL);
    f->spec.data_dir = strdup(at(f, "target"));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pg_restore_close(f->restore);
    int rc = fs_remove_tree(f->dir, true, &f->err);
    free((char *)(uintptr_t)f->spec.data_dir);
    buf_release(&f->begin);
    buf_release(&f->end);
    free(f);
    return rc;
}

static void refused(struct fixture *f, const char *part)
{
    assert_true(pg_restore_open(&f->spec, &f->restore, &f->err) < 0);
    assert_null(f->restore);
    if (strstr(f->err.msg, part) == NULL)
        fail_msg("'%s' is not in '%s'", part, f->err.msg);
}

static void opened(struct fixture *f)
{
    if (pg_restore_open(&f->spec, &f->restore, &f->err) < 0)
        fail_msg("%s", f->err.msg);
}

static void prepared(struct fixture *f)
{
    opened(f);
    if (pg_restore_prepare(f->restore, &f->err) < 0)
        fail_msg("%s", f->err.msg);
}

static int put(struct fixture *f, const char *path, const char *text)
{
    struct file_entry e = {.kind = FILE_REGULAR, .mode = 0600, .last_part = true};
    TM_CLEANUP(closep) int fd = -1;
    (void)snprintf(e.path, sizeof(e.path), "%s", path);
    int rc = pg_restore_file(f->restore, &e, &fd, &f->err);
    return rc < 0 ? rc : fd_pwrite_full(fd, text, strlen(text), 0, path, &f->err);
}

/* ---- open ---- */

static void refuses_blobs(void **state)
{
    struct fixture *f = *state;
    f->spec.begin = slice_str("junk");
    refused(f, "the backup cannot be restored: ");
    encode(f, NULL);
    f->spec.end = SLICE_EMPTY;
    refused(f, "the backup cannot be restored: ");
}

static void refuses_targets(void **state)
{
    struct fixture *f = *state;
    const char *own = f->spec.data_dir;
    f->spec.data_dir = "/data";
    refused(f, "data directory '/data' is a top-level directory: name one below it");
    f->spec.data_dir = "relative/dir";
    refused(f, "data directory 'relative/dir' must be an absolute path without '.' or '..'");
    f->spec.data_dir = "/srv/../etc/x";
    refused(f, "must be an absolute path without '.' or '..'");
    f->spec.data_dir = NULL;
    refused(f, "no data directory given to restore to");
    make_file(f, "file", "x");
    f->spec.data_dir = at(f, "file");
    refused(f, "exists and is not a directory");
    assert_int_equal(symlink("/nowhere/at/all", at(f, "dangling")), 0);
    f->spec.data_dir = at(f, "dangling");
    refused(f, "goes through the dangling link");
    f->spec.data_dir = own;
    make_file(f, "target/x", "x");
    f->spec.delta = true;
    refused(f, "is not empty and is no PostgreSQL data directory: nothing in it was touched");
    f->spec.delta = false;
    refused(f, "is not empty: empty it, choose another, or restore with delta");
}

/* A link cannot lead out of the roots. */
static void refuses_outside_roots(void **state)
{
    struct fixture *f = *state;
    const char *roots[] = {at(f, "root"), NULL};
    const char *keep = f->spec.data_dir;
    make_dir(f, "root");
    make_dir(f, "rootless");
    f->spec.restore_roots = roots;
    refused(f, "is not below one of the agent's restore_roots");
    f->spec.data_dir = at(f, "rootless/x");
    refused(f, "is not below one of the agent's restore_roots");
    assert_int_equal(symlink(at(f, "rootless"), at(f, "root/link")), 0);
    f->spec.data_dir = at(f, "root/link/x");
    refused(f, "is not below one of the agent's restore_roots");
    f->spec.data_dir = at(f, "root/a/b");
    opened(f);
    free((char *)(uintptr_t)keep);
    f->spec.data_dir = strdup(at(f, "root/a/b"));
    const char *none[] = {NULL};
    pg_restore_close(TM_TAKE(f->restore));
    f->spec.restore_roots = none;
    refused(f, "is not below one of the agent's restore_roots");
}

static void refuses_options(void **state)
{
    struct fixture *f = *state;
    const char *odd[] = {"port", NULL};
    const char *name[] = {"bad name", "x", NULL};
    const char *ours[] = {"tidemark.owners", "x", NULL};
    f->spec.server_options = odd;
    refused(f, "serverOptions: an entry has no value");
    f->spec.server_options = name;
    refused(f, "'bad name' is not the name of a server option");
    f->spec.server_options = ours;
    refused(f, "server option 'tidemark.owners' is not known");
    f->spec.server_options = NULL;
    f->spec.target = "2026-01-01";
    refused(f, "cannot restore to '2026-01-01': 'immediate' or the place of a record is wanted");
}

static void tablespaces_need_a_place(void **state)
{
    struct fixture *f = *state;
    const char *old = strdup(at(f, "old"));
    const char *new_place = strdup(at(f, "new"));
    const char *map[] = {old, new_place, NULL};
    const char *inside[] = {old, at(f, "target/ts"), NULL};
    make_file(f, "old/x", "x");
    encode(f, old);
    refused(f, "exists on this host and is not empty: it may be in use; map it with tablespaceMap");
    f->spec.tablespace_map = inside;
    refused(f, "overlap: map it elsewhere with tablespaceMap");
    f->spec.tablespace_map = map;
    make_file(f, "new/y", "y");
    refused(f, "is not empty: map");
    assert_int_equal(unlink(at(f, "new/y")), 0);
    prepared(f);
    char link[256] = "";
    assert_true(readlink(at(f, "target/pg_tblspc/16384"), link, sizeof(link) - 1) > 0);
    assert_string_equal(link, new_place);
    assert_int_equal(put(f, "pg_tblspc/16384/PG_15_202209061/5/1234", "hello"), 0);
    assert_file(f, "new/PG_15_202209061/5/1234", "hello");
    assert_false(exists(f, "old/PG_15_202209061"));
    free((char *)(uintptr_t)old);
    free((char *)(uintptr_t)new_place);
}

/* ---- files ---- */

static void stays_beneath(void **state)
{
    static const char *const bad[] = {"../x", "a/../../x", "a//b", "./a", "a/", "", "a/.."};
    struct fixture *f = *state;
    prepared(f);
    for (size_t k = 0; k < TM_ARRAY_LEN(bad); k++)
        assert_true(put(f, bad[k], "x") < 0);
    /* a link planted in the target is not followed */
    make_dir(f, "outside");
    assert_int_equal(symlink(at(f, "outside"), at(f, "target/base/5")), 0);
    assert_true(put(f, "base/5/1", "x") < 0);
    assert_int_equal(symlink(at(f, "outside/file"), at(f, "target/base/6")), 0);
    assert_true(put(f, "base/6", "x") < 0);
    assert_false(exists(f, "outside/1") || exists(f, "outside/file"));
    struct file_entry e = {.kind = FILE_LINK, .path = "pg_tblspc/999", .link = "/etc"};
    int fd = 7;
    assert_true(pg_restore_file(f->restore, &e, &fd, &f->err) < 0);
    assert_string_equal(f->err.msg, "the backup holds a link to nowhere known: 'pg_tblspc/999'");
    assert_int_equal(fd, 7);
}

static int part(struct fixture *f, const char *path, uint64_t offset, uint64_t length)
{
    struct file_entry e = {
        .kind = FILE_REGULAR, .mode = 0600, .offset_bytes = offset, .length_bytes = length};
    TM_CLEANUP(closep) int fd = -1;
    (void)snprintf(e.path, sizeof(e.path), "%s", path);
    return pg_restore_file(f->restore, &e, &fd, &f->err);
}

/* What is held in memory is bounded, a file and all together. */
static void configuration_is_bounded(void **state)
{
    const uint64_t max = UINT64_C(4) << 20;
    struct fixture *f = *state;
    prepared(f);
    assert_int_equal(part(f, "/etc/pg/a.conf", 0, max + 1), -TM_E_LIMIT);
    assert_string_equal(
        f->err.msg,
        "configuration file '/etc/pg/a.conf' of the backup is larger than 4194304 bytes");
    assert_int_equal(part(f, "/etc/pg/a.conf", max, 1), -TM_E_LIMIT);
    assert_int_equal(part(f, "/etc/pg/a.conf", UINT64_MAX, UINT64_MAX), -TM_E_LIMIT);
    assert_int_equal(part(f, "/etc/pg/a.conf", max - 1, 1), 0);
    assert_int_equal(part(f, "/etc/pg/a.conf", 0, max - 1), 0); /* counted once */
    assert_int_equal(part(f, "/etc/pg/b.conf", 0, max), 0);
    assert_int_equal(part(f, "/etc/pg/c.conf", 0, max), 0);
    assert_int_equal(part(f, "/etc/pg/d.conf", 0, max), 0);
    assert_int_equal(part(f, "/etc/pg/e.conf", 0, 0), 0);
    assert_int_equal(part(f, "/etc/pg/e.conf", 0, 1), -TM_E_LIMIT);
    assert_string_equal(f->err.msg,
                        "the configuration files of the backup, up to '/etc/pg/e.conf', are larger "
                        "than 16777216 bytes together");
}

/* What nobody will see takes no memory, however much it is. */
static void discarded_files_take_no_memory(void **state)
{
    struct fixture *f = *state;
    struct file_entry e = {.kind = FILE_REGULAR, .path = "backup_manifest", .mode = 0600};
    TM_CLEANUP(closep) int fd = -1;
    struct stat st;
    prepared(f);
    e.offset_bytes = UINT64_C(1) << 40;
    e.length_bytes = 5;
    assert_int_equal(pg_restore_file(f->restore, &e, &fd, &f->err), 0);
    assert_int_equal(fd_pwrite_full(fd, "hello", 5, e.offset_bytes, e.path, &f->err), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_false(S_ISREG(st.st_mode));
    assert_int_equal(st.st_size, 0);
}

static void parts_and_directories(void **state)
{
    struct fixture *f = *state;
    struct file_entry dir = {.kind = FILE_DIRECTORY, .path = "base/5", .mode = 0700};
    struct stat st;
    int fd = 0;
    prepared(f);
    /* the second part first, before its directory */
    struct file_entry e = {.kind = FILE_REGULAR,
                           .path = "base/5/1",
                           .mode = 0640,
                           .offset_bytes = 5,
                           .last_part = true};
    assert_int_equal(pg_restore_file(f->restore, &e, &fd, &f->err), 0);
    assert_int_equal(pwrite(fd, "world", 5, 5), 5);
    closep(&fd);
    assert_int_equal(put(f, "base/5/1", "hello"), 0);
    assert_int_equal(pg_restore_file(f->restore, &dir, &fd, &f->err), 0);
    assert_int_equal(fd, -1);
    assert_file(f, "target/base/5/1", "helloworld");
    assert_int_equal(stat(at(f, "target/base/5/1"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    /* what makes it startable stays aside; what we write ourselves is not taken from the backup */
    assert_int_equal(put(f, "global/pg_control", "control"), 0);
    assert_int_equal(put(f, "backup_label", "old"), 0);
    assert_int_equal(put(f, "standby.signal", ""), 0);
    assert_int_equal(put(f, "/etc/postgresql/x.conf", "a = 1"), 0);
    assert_false(exists(f, "target/global/pg_control"));
    assert_true(exists(f, "target/global/pg_control.tidemark"));
    assert_false(exists(f, "target/backup_label") || exists(f, "target/standby.signal"));
    assert_true(pg_restore_finish(f->restore, &f->err) < 0);
    assert_false(exists(f, "target/global/pg_control"));
}

static void one_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct engine_restore *second = NULL;
    opened(f);
    assert_int_equal(pg_restore_open(&f->spec, &second, &f->err), 0);
    assert_int_equal(pg_restore_prepare(f->restore, &f->err), 0);
    assert_int_equal(pg_restore_prepare(second, &f->err), -TM_E_CONFLICT);
    assert_non_null(strstr(f->err.msg, "another restore is writing to data directory"));
    pg_restore_close(second);
}

static void delta_makes_unstartable_first(void **state)
{
    struct fixture *f = *state;
    make_file(f, "target/global/pg_control", "x");
    make_file(f, "target/PG_VERSION", "15\n");
    make_file(f, "target/pg_wal/000000090000000000000009", "log of another history");
    make_file(f, "target/base/1", "12345");
    assert_int_equal(link(at(f, "target/base/1"), at(f, "second-name")), 0);
    make_dir(f, "target");
    f->spec.delta = true;
    prepared(f);
    assert_false(exists(f, "target/global/pg_control"));
    assert_false(exists(f, "target/pg_wal/000000090000000000000009"));
    assert_int_equal(put(f, "base/1", "abc"), 0);
    assert_file(f, "second-name", "12345");
}

/* ---- log ---- */

static void log_is_read_first(void **state)
{
    struct fixture *f = *state;
    struct wal_build b;
    uint8_t data[300] = {0};
    wal_build_init(&b, 15, 0x100000);
    (void)wal_data(&b, 10, 0, 1, "x", 1);
    make_file(f, "live/x", "x");
    wal_put32(data, 16390);
    int n = snprintf((char *)data + 4, sizeof(data) - 4, "%s", at(f, "live"));
    (void)wal_data(&b, 5, 0, 1, data, (uint32_t)n + 5);
    struct slice log = slice_of(b.bytes, (size_t)(b.at - b.from));
    opened(f);
    assert_int_equal(pg_restore_check_log(f->restore, "1", b.from, log, &f->err), -TM_E_REFUSED);
    assert_non_null(strstr(f->err.msg, "the log creates tablespace 16390 at"));
    assert_non_null(
        strstr(f->err.msg, "exists on this host and is not empty: replay could destroy"));
    assert_false(exists(f, "target"));
    pg_restore_close(TM_TAKE(f->restore));

    /* absent, it may be created, but only inside the roots */
    assert_int_equal(fs_remove_tree(at(f, "live"), true, &f->err), 0);
    opened(f);
    assert_int_equal(pg_restore_check_log(f->restore, "1", b.from, log, &f->err), 0);
    pg_restore_close(TM_TAKE(f->restore));
    const char *roots[] = {at(f, "target"), NULL};
    make_dir(f, "target");
    f->spec.restore_roots = roots;
    opened(f);
    assert_int_equal(pg_restore_check_log(f->restore, "1", b.from, log, &f->err), -TM_E_REFUSED);
    assert_non_null(strstr(f->err.msg, "a tablespace that the log creates at"));
    wal_build_release(&b);
}

static void log_becomes_segments(void **state)
{
    struct fixture *f = *state;
    struct wal_build b;
    struct stat st;
    wal_build_init(&b, 15, 0x100000);
    (void)wal_data(&b, 10, 0, 1, "x", 1);
    (void)wal_switch(&b);
    (void)wal_data(&b, 10, 0, 1, "y", 1);
    prepared(f);
    size_t half = 777777;
    struct slice log = slice_of(b.bytes, (size_t)(b.at - b.from));
    assert_int_equal(pg_restore_log(f->restore, "1", b.from, slice_of(log.data, half), &f->err), 0);
    assert_int_equal(pg_restore_log(f->restore, "1", b.from + half + 1,
                                    slice_of(log.data + half + 1, 10), &f->err),
                     -TM_E_CORRUPT);
    assert_string_equal(f->err.msg,
                        "restoring the log: stored log has a gap: 0/1BDE32 follows 0/1BDE31");
    assert_int_equal(pg_restore_log(f->restore, "1", b.from + half,
                                    slice_of(log.data + half, log.len - half), &f->err),
                     0);
    assert_int_equal(stat(at(f, "target/pg_wal/000000010000000000000001"), &st), 0);
    assert_int_equal(st.st_size, WAL_BUILD_SEGMENT);
    assert_true(exists(f, "target/pg_wal/archive_status/000000010000000000000001.done"));
    assert_true(exists(f, "target/pg_wal/000000010000000000000002"));
    assert_int_equal(pg_restore_log(f->restore, "one", 0, log, &f->err), -TM_E_INVALID);
    wal_build_release(&b);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(refuses_blobs),
        CASE(refuses_targets),
        CASE(refuses_outside_roots),
        CASE(refuses_options),
        CASE(tablespaces_need_a_place),
        CASE(stays_beneath),
        CASE(configuration_is_bounded),
        CASE(discarded_files_take_no_memory),
        CASE(parts_and_directories),
        CASE(one_at_a_time),
        CASE(delta_makes_unstartable_first),
        CASE(log_is_read_first),
        CASE(log_becomes_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
