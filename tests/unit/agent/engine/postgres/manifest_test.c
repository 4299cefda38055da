/* PostgreSQL's backup_manifest, byte for byte. (That PostgreSQL reads it is shown by pg_verifybackup
 * in the integration tests.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "agent/engine/postgres/manifest.h"
#include "common/hash.h"

static int collect(void *arg, struct slice bytes, struct tm_err *err)
{
    return buf_append_slice(arg, bytes, err);
}

static void check_text(struct buf *out, const char *before)
{
    const char *text = NULL;
    char want[4096];
    char hex[SHA256_LEN * 2 + 1];
    struct sha256 digest;
    struct tm_err err;
    assert_int_equal(sha256_of(before, strlen(before), &digest, &err), 0);
    (void)snprintf(want, sizeof(want), "%s\"Manifest-Checksum\": \"%s\"}\n", before,
                   hex_encode(digest.bytes, SHA256_LEN, hex));
    assert_int_equal(buf_cstr(out, &text, &err), 0);
    assert_string_equal(text, want);
}

static void version_1(void **state)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    TM_CLEANUP(pg_manifest_freep) struct pg_manifest *m = NULL;
    struct tm_err err;
    (void)state;
    assert_int_equal(pg_manifest_new(15, 42, collect, &out, &m, &err), 0);
    assert_int_equal(
        pg_manifest_file(m, "base/1/1259", 8192, INT64_C(1700000000123456), 0x01020304, &err), 0);
    assert_int_equal(pg_manifest_file(m, "a\"b\\c\n", 0, 0, 0, &err), 0);
    assert_int_equal(pg_manifest_file(m, "x\xff", 1, 0, 0, &err), 0);
    assert_int_equal(pg_manifest_wal_range(m, 1, 0x2000028, 0x2000100, &err), 0);
    assert_int_equal(pg_manifest_finish(m, &err), 0);
    check_text(
        &out, "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n"
              "{ \"Path\": \"base/1/1259\", \"Size\": 8192, \"Last-Modified\": \"2023-11-14 "
              "22:13:20 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"04030201\" },\n"
              "{ \"Path\": \"a\\\"b\\\\c\\u000a\", \"Size\": 0, \"Last-Modified\": \"1970-01-01 "
              "00:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\" },\n"
              "{ \"Encoded-Path\": \"78ff\", \"Size\": 1, \"Last-Modified\": \"1970-01-01 00:00:00 "
              "GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\" }\n],\n"
              "\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": "
              "\"0/2000100\" }\n],\n");
}

static void version_2(void **state)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    TM_CLEANUP(pg_manifest_freep) struct pg_manifest *m = NULL;
    struct tm_err err;
    (void)state;
    assert_int_equal(pg_manifest_new(17, UINT64_MAX, collect, &out, &m, &err), 0);
    assert_int_equal(pg_manifest_wal_range(m, 2, 1, 2, &err), 0);
    assert_int_equal(pg_manifest_finish(m, &err), 0);
    check_text(&out, "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n"
                     "\"System-Identifier\": 18446744073709551615,\n\"Files\": [\n],\n"
                     "\"WAL-Ranges\": [\n{ \"Timeline\": 2, \"Start-LSN\": \"0/1\", \"End-LSN\": "
                     "\"0/2\" }\n],\n");
}

/* More than the buffer, in any number of writes, still one digest. */
static void streams(void **state)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    TM_CLEANUP(pg_manifest_freep) struct pg_manifest *m = NULL;
    struct tm_err err;
    char name[64];
    (void)state;
    assert_int_equal(pg_manifest_new(15, 1, collect, &out, &m, &err), 0);
    for (int k = 0; k < 5000; k++) {
        (void)snprintf(name, sizeof(name), "base/5/%d", k);
        assert_int_equal(pg_manifest_file(m, name, 1, 0, 0, &err), 0);
    }
    assert_int_equal(pg_manifest_wal_range(m, 1, 1, 2, &err), 0);
    assert_int_equal(pg_manifest_finish(m, &err), 0);
    assert_true(out.len > 600000);
    const uint8_t *last = memrchr(out.data, '\n', out.len - 1);
    struct sha256 digest;
    char hex[SHA256_LEN * 2 + 1];
    assert_int_equal(sha256_of(out.data, (size_t)(last + 1 - out.data), &digest, &err), 0);
    assert_non_null(memmem(last, out.len - (size_t)(last - out.data),
                           hex_encode(digest.bytes, SHA256_LEN, hex), 64));
}

static void wrong_order(void **state)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    TM_CLEANUP(pg_manifest_freep) struct pg_manifest *m = NULL;
    struct tm_err err;
    (void)state;
    assert_int_equal(pg_manifest_new(15, 1, collect, &out, &m, &err), 0);
    assert_int_equal(pg_manifest_finish(m, &err), -TM_E_INTERNAL);
    assert_int_equal(pg_manifest_wal_range(m, 1, 1, 2, &err), 0);
    assert_int_equal(pg_manifest_file(m, "x", 1, 0, 0, &err), -TM_E_INTERNAL);
    assert_string_equal(err.msg, "manifest: a file after the log ranges");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1),
        cmocka_unit_test(version_2),
        cmocka_unit_test(streams),
        cmocka_unit_test(wrong_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
