/* pg_control made by hand: versions, checksum, retries. Real ones: tests/integration/pg_engine_test.sh */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/version.h"
#include "common/clock.h"
#include "common/hash.h"

static void put32(uint8_t *bytes, size_t offset, uint32_t value)
{
    memcpy(bytes + offset, &value, sizeof(value));
}

static void put64(uint8_t *bytes, size_t offset, uint64_t value)
{
    memcpy(bytes + offset, &value, sizeof(value));
}

static void seal(uint8_t *bytes, uint32_t major)
{
    size_t offset = pg_version_find(major)->control_crc_offset;
    put32(bytes, offset, crc32c(CRC32C_INIT, bytes, offset));
}

static void make(uint8_t bytes[CONTROL_FILE_BYTES], uint32_t major)
{
    memset(bytes, 0, CONTROL_FILE_BYTES);
    put64(bytes, 0, 7300000000000000001);
    put32(bytes, 8, pg_version_find(major)->control_version);
    put32(bytes, 12, pg_version_find(major)->catalog_version);
    put32(bytes, 16, CONTROL_IN_PRODUCTION);
    put64(bytes, 32, 0x3000060);
    put64(bytes, 40, 0x3000028);
    put32(bytes, 48, 3);
    put64(bytes, 64, UINT64_C(0x1000002f0));
    put32(bytes, 216, 8192);
    put32(bytes, 220, 131072);
    put32(bytes, 224, 8192);
    put32(bytes, 228, 16u << 20);
    put32(bytes, 252, 1);
    seal(bytes, major);
}

static int parse(const uint8_t *bytes, size_t len, struct control_file *ret, struct tm_err *err)
{
    return control_file_parse(slice_of(bytes, len), ret, err);
}

static void test_versions(void **state)
{
    (void)state;
    uint8_t bytes[CONTROL_FILE_BYTES];
    for (uint32_t major = PG_MAJOR_MIN; major <= PG_MAJOR_MAX; major++) {
        struct control_file control;
        struct tm_err err = {0};
        make(bytes, major);
        assert_int_equal(parse(bytes, sizeof(bytes), &control, &err), 0);
        assert_int_equal(control.major, major);
        assert_int_equal(control.system_id, 7300000000000000001);
        assert_int_equal(control.checkpoint, 0x3000060);
        assert_int_equal(control.redo, 0x3000028);
        assert_int_equal(control.timeline, 3);
        assert_int_equal(control.next_xid, UINT64_C(0x1000002f0));
        assert_int_equal(control.wal_segment_bytes, 16u << 20);
        assert_int_equal(control.checksum_version, 1);
        assert_string_equal(control_file_state_text(control.state), "in production");
    }
}

static void test_refusals(void **state)
{
    (void)state;
    uint8_t bytes[CONTROL_FILE_BYTES];
    struct control_file control = {.major = 99};
    struct tm_err err = {0};
    make(bytes, 15);
    assert_int_equal(parse(bytes, 511, &control, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "pg_control is too short: 511 bytes");
    bytes[100] ^= 1;
    assert_int_equal(parse(bytes, sizeof(bytes), &control, &err), -TM_E_CORRUPT);
    make(bytes, 15);
    put32(bytes, 8, 1201);
    assert_int_equal(parse(bytes, sizeof(bytes), &control, &err), -TM_E_UNSUPPORTED);
    assert_string_equal(err.msg,
                        "pg_control has version 1201 with catalog version 202209061: not a "
                        "release of PostgreSQL 13 to 18");
    put32(bytes, 8, 1300u << 16);
    assert_int_equal(parse(bytes, sizeof(bytes), &control, &err), -TM_E_UNSUPPORTED);
    assert_string_equal(err.msg, "pg_control was written on a machine of another byte order");
    make(bytes, 18);
    put32(bytes, 216, 1000);
    seal(bytes, 18);
    assert_int_equal(parse(bytes, sizeof(bytes), &control, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "pg_control has an impossible block size: 1000");
    make(bytes, 18);
    put32(bytes, 228, 3u << 20);
    seal(bytes, 18);
    assert_int_equal(parse(bytes, sizeof(bytes), &control, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "pg_control has an impossible WAL segment size: 3145728");
    assert_int_equal(control.major, 99);
}

/* Only what has to be other is other, and the file is whole. */
static void test_recovering(void **state)
{
    (void)state;
    static const struct {
        size_t from, to;
    } changed[] = {{16, 20}, {136, 148}, {172, 177}, {180, 201}};
    const struct control_settings settings = {1, 101, 9, 11, 6, 65, true, false};
    for (uint32_t major = PG_MAJOR_MIN; major <= PG_MAJOR_MAX; major++) {
        uint8_t bytes[CONTROL_FILE_BYTES], before[CONTROL_FILE_BYTES];
        struct control_file control;
        struct tm_err err = {0};
        make(bytes, major);
        memset(bytes + 60, 0x5A, 60);
        bytes[200] = 1;
        seal(bytes, major);
        memcpy(before, bytes, sizeof(before));
        assert_int_equal(control_file_recovering(bytes, UINT64_C(0x1200000148), 3, &settings, &err),
                         0);
        assert_int_equal(parse(bytes, sizeof(bytes), &control, &err), 0);
        assert_int_equal(control.state, CONTROL_IN_ARCHIVE_RECOVERY);
        assert_true(control.min_recovery_point == UINT64_C(0x1200000148));
        assert_int_equal(control.min_recovery_timeline, 3);
        assert_memory_equal(&control.settings, &settings, sizeof(settings));
        assert_int_equal(control.checkpoint, 0x3000060);
        for (size_t n = 0; n < TM_ARRAY_LEN(changed); n++)
            memcpy(before + changed[n].from, bytes + changed[n].from,
                   changed[n].to - changed[n].from);
        seal(before, major);
        assert_memory_equal(before, bytes, sizeof(bytes));
        bytes[40] ^= 1;
        assert_int_equal(control_file_recovering(bytes, 1, 1, &settings, &err), -TM_E_CORRUPT);
    }
}

static void write_file(int dir, const uint8_t *bytes, size_t len)
{
    int fd = openat(dir, CONTROL_FILE_PATH, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static void test_read(void **state)
{
    (void)state;
    char path[] = "/tmp/control_file_test.XXXXXX";
    uint8_t bytes[CONTROL_FILE_BYTES], back[CONTROL_FILE_BYTES];
    struct control_file control;
    struct tm_err err = {0};
    assert_non_null(mkdtemp(path));
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(control_file_read(dir, &control, NULL, &err), -TM_E_NOT_FOUND);
    assert_string_equal(err.msg, "cannot open 'global/pg_control': No such file or directory");
    assert_int_equal(mkdirat(dir, "global", 0700), 0);
    make(bytes, 17);
    write_file(dir, bytes, sizeof(bytes));
    assert_int_equal(control_file_read(dir, &control, back, &err), 0);
    assert_memory_equal(back, bytes, sizeof(bytes));
    write_file(dir, bytes, 600);
    memset(back, 0xFF, sizeof(back));
    assert_int_equal(control_file_read(dir, &control, back, &err), 0);
    assert_memory_equal(back, bytes, sizeof(bytes));

    /* the same wrong checksum twice is damage: no need to try eleven times */
    bytes[300] ^= 1; /* behind the checksum: not covered */
    bytes[40] ^= 1;
    write_file(dir, bytes, sizeof(bytes));
    int64_t start = clock_mono_us();
    assert_int_equal(control_file_read(dir, &control, NULL, &err), -TM_E_CORRUPT);
    assert_true(clock_mono_us() - start < 90000);
    close(dir);
    char command[80];
    snprintf(command, sizeof(command), "rm -r %s", path);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_recovering),
        cmocka_unit_test(test_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
