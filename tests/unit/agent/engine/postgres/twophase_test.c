/* Which state files of prepared transactions a snapshot has, and how long a torn one is waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "agent/engine/postgres/twophase.h"
#include "common/hash.h"

static struct pg_begin at(uint32_t major, uint64_t next_xid)
{
    return (struct pg_begin){.version_num = major * 10000 + 4, .next_xid = next_xid};
}

static void expect(uint32_t major, uint64_t next_xid, const char *name, bool file, bool later)
{
    const struct pg_begin begin = at(major, next_xid);
    char path[64];
    snprintf(path, sizeof(path), "pg_twophase/%s", name);
    assert_int_equal(twophase_is_state_file(&begin, path), file);
    assert_int_equal(twophase_is_later(&begin, path), later);
}

/* 8 digits: the transaction's number without its round. */
static void test_short_names(void **state)
{
    (void)state;
    for (uint32_t major = 13; major <= 16; major++) {
        expect(major, 0x2BC, "000002BB", true, false);
        expect(major, 0x2BC, "000002BC", true, true);
        expect(major, 0x2BC, "000002BD", true, true);
        expect(major, 0x2BC, "00000003", true, false);
        /* across the end of a round, both ways */
        expect(major, UINT64_C(0x500000010), "FFFFFFF0", true, false);
        expect(major, UINT64_C(0x4FFFFFFF0), "FFFFFFEF", true, false);
        expect(major, UINT64_C(0x4FFFFFFF0), "00000003", true, true);
        expect(major, 0x2BC, "00000000000002BC", false, false);
    }
}

/* 16 digits: all of it. */
static void test_long_names(void **state)
{
    (void)state;
    for (uint32_t major = 17; major <= 18; major++) {
        expect(major, 0x2BC, "00000000000002BB", true, false);
        expect(major, 0x2BC, "00000000000002BC", true, true);
        expect(major, 0x2BC, "0000000100000003", true, true);
        expect(major, UINT64_C(0x100000010), "00000000FFFFFFF0", true, false);
        expect(major, UINT64_C(0x100000010), "0000000100000010", true, true);
        expect(major, 0x2BC, "000002BC", false, false);
    }
}

static void test_others(void **state)
{
    const struct pg_begin begin = at(15, 0x2BC);
    (void)state;
    expect(15, 0x2BC, "000002bc", false, false);
    expect(15, 0x2BC, "000002BC.tmp", false, false);
    expect(15, 0x2BC, "", false, false);
    expect(15, 0, "FFFFFFF0", true, false); /* which was next is not known */
    expect(12, 0x2BC, "000002BC", false, false);
    assert_false(twophase_is_later(&begin, "pg_xact/000002BC"));
    assert_false(twophase_is_later(&begin, "pg_twophase"));
    assert_false(twophase_is_later(&begin, "000002BC"));
}

/* ---- torn ones ---- */

#define BODY_BYTES 50000

static uint8_t body[BODY_BYTES + 4];

static int torn_file(size_t bytes)
{
    int fd = memfd_create("state", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t n = 0; n < BODY_BYTES; n++)
        body[n] = (uint8_t)(n * 7);
    const uint32_t crc = crc32c(CRC32C_INIT, body, BODY_BYTES);
    memcpy(body + BODY_BYTES, &crc, sizeof(crc));
    assert_int_equal(pwrite(fd, body, bytes, 0), bytes);
    return fd;
}

static bool whole(int fd)
{
    struct tm_err err = {0};
    bool is = false;
    if (twophase_await_whole(fd, "pg_twophase/1", &is, &err) < 0)
        fail_msg("%s", err.msg);
    return is;
}

static void test_damage(void **state)
{
    static const size_t lengths[] = {0, 3, 7, 8, 4096, BODY_BYTES, BODY_BYTES + 3};
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(lengths); n++) {
        TM_CLEANUP(closep) int fd = torn_file(lengths[n]);
        assert_false(whole(fd));
    }
    TM_CLEANUP(closep) int fd = torn_file(sizeof(body));
    assert_true(whole(fd));
    assert_int_equal(pwrite(fd, "x", 1, 40000), 1);
    assert_false(whole(fd));
}

static void *write_rest(void *arg)
{
    const int *fd = arg;
    (void)nanosleep(&(struct timespec){.tv_nsec = 25000000}, NULL);
    assert_int_equal(pwrite(*fd, body + 1000, sizeof(body) - 1000, 1000), sizeof(body) - 1000);
    return NULL;
}

/* One that is just being written is waited for, and then there is no more waiting. */
static void test_waits(void **state)
{
    (void)state;
    TM_CLEANUP(closep) int fd = torn_file(1000);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_rest, &fd), 0);
    assert_true(whole(fd));
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_true(whole(fd));
}

static void test_unreadable(void **state)
{
    struct tm_err err = {0};
    bool is = true;
    (void)state;
    TM_CLEANUP(closep) int write_only = memfd_create("state", MFD_CLOEXEC);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", write_only);
    assert_int_equal(ftruncate(write_only, 100), 0);
    TM_CLEANUP(closep) int again = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(again >= 0);
    assert_true(twophase_await_whole(again, "pg_twophase/1", &is, &err) < 0);
    assert_string_equal(err.msg, "cannot read 'pg_twophase/1' at byte 0: Bad file descriptor");
    assert_true(is);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_names), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_others),      cmocka_unit_test(test_damage),
        cmocka_unit_test(test_waits),       cmocka_unit_test(test_unreadable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
