/* Starting a server, with a pg_ctl made for the test: when it counts as started. Real ones: tests/integration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/server.h"
#include "agent/engine/postgres/version.h"
#include "common/fs.h"
#include "common/hash.h"

#define MAJOR 15

/* "start" leaves the pid file that the test has prepared, "stop" takes it away. */
static const char pg_ctl[] = "#!/bin/sh\n"
                             "case $* in\n"
                             "*start*) echo starting >>\"$2/server.log\"\n"
                             "         cp \"$2/prepared.pid\" \"$2/postmaster.pid\" ;;\n"
                             "*stop*) rm \"$2/postmaster.pid\" ;;\n"
                             "esac\n";

struct fixture {
    char dir[64];
    char log_file[96];
    struct server_start start;
};

static void put32(uint8_t *bytes, size_t offset, uint32_t value)
{
    memcpy(bytes + offset, &value, sizeof(value));
}

static void write_file(const struct fixture *f, const char *name, struct slice bytes, mode_t mode)
{
    char path[128];
    struct tm_err err = {0};
    (void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    assert_int_equal(fs_write_atomic(path, bytes, mode, &err), 0);
}

static void set_control(const struct fixture *f, enum control_file_state state)
{
    uint8_t bytes[CONTROL_FILE_BYTES] = {0};
    const struct pg_version *version = pg_version_find(MAJOR);
    put32(bytes, 8, version->control_version);
    put32(bytes, 12, version->catalog_version);
    put32(bytes, 16, (uint32_t)state);
    put32(bytes, 216, 8192);
    put32(bytes, 220, 131072);
    put32(bytes, 224, 8192);
    put32(bytes, 228, 16u << 20);
    put32(bytes, version->control_crc_offset,
          crc32c(CRC32C_INIT, bytes, version->control_crc_offset));
    write_file(f, CONTROL_FILE_PATH, slice_of(bytes, sizeof(bytes)), 0600);
}

/* `status` as PostgreSQL writes it, padded with spaces. */
static void set_pid_file(const struct fixture *f, pid_t pid, const char *status)
{
    char text[256];
    int n = snprintf(text, sizeof(text), "%d\n%s\n1700000000\n5432\n/tmp\n\n 1 2\n%s\n", (int)pid,
                     f->dir, status);
    write_file(f, "prepared.pid", slice_of(text, (size_t)n), 0600);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char global[80];
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/tidemark-server-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(global, sizeof(global), "%s/global", f->dir);
    assert_int_equal(mkdir(global, 0700), 0);
    (void)snprintf(f->log_file, sizeof(f->log_file), "%s/server.log", f->dir);
    write_file(f, "pg_ctl", slice_str(pg_ctl), 0700);
    f->start = (struct server_start){.bindir = f->dir,
                                     .data_dir = f->dir,
                                     .log_file = f->log_file,
                                     .uid = geteuid(),
                                     .gid = getegid(),
                                     .timeout_ms = 60000};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct tm_err err = {0};
    assert_int_equal(fs_remove_tree(f->dir, true, &err), 0);
    free(f);
    return 0;
}

static void ready_and_in_production(void **state)
{
    struct fixture *f = *state;
    struct tm_err err = {0};
    set_control(f, CONTROL_IN_PRODUCTION);
    set_pid_file(f, getpid(), "ready   ");
    assert_int_equal(server_start(&f->start, &err), 0);
}

static void expect_not_started(struct fixture *f, int code, const char *why)
{
    char want[512];
    struct tm_err err = {0};
    assert_int_equal(server_start(&f->start, &err), code);
    (void)snprintf(want, sizeof(want), "the server on '%s' %s; the log '%s' ends with: starting",
                   f->dir, why, f->log_file);
    assert_string_equal(err.msg, want);
    (void)snprintf(want, sizeof(want), "%s/postmaster.pid", f->dir);
    assert_int_equal(access(want, F_OK), -1); /* stopped again */
}

/* A hot standby is "ready" as well, long before it can be written to. */
static void ready_in_recovery_is_not_started(void **state)
{
    struct fixture *f = *state;
    set_control(f, CONTROL_IN_ARCHIVE_RECOVERY);
    set_pid_file(f, getpid(), "ready   ");
    f->start.timeout_ms = 300;
    expect_not_started(f, -TM_E_TIMEOUT, "was not ready within 300 ms");
}

static void without_connections_is_not_started(void **state)
{
    struct fixture *f = *state;
    static const char *const before[] = {"starting", "standby ", ""};
    set_control(f, CONTROL_IN_PRODUCTION);
    f->start.timeout_ms = 100;
    for (size_t n = 0; n < TM_ARRAY_LEN(before); n++) {
        set_pid_file(f, getpid(), before[n]);
        expect_not_started(f, -TM_E_TIMEOUT, "was not ready within 100 ms");
    }
}

static void a_server_that_dies_is_told(void **state)
{
    struct fixture *f = *state;
    set_control(f, CONTROL_IN_ARCHIVE_RECOVERY);
    set_pid_file(f, INT32_MAX, "starting"); /* more than any pid */
    expect_not_started(f, -TM_E_UNAVAILABLE, "ended during recovery");
}

#define SERVER(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER(ready_and_in_production),
        SERVER(ready_in_recovery_is_not_started),
        SERVER(without_connections_is_not_started),
        SERVER(a_server_that_dies_is_told),
    };
    return cmocka_run_group_tests_name("agent/engine/postgres/server", tests, NULL, NULL);
}
