/* The coordinator's own key: loading it, and what is closed with it. */
#include "coordinator/secrets/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "common/fs.h"
#include "common/hash.h"

#define TEXT "what is to be kept from others"

static const uint8_t BYTES[SECRETS_KEY_LEN] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

static void load_bytes(const char *dir, const void *bytes, size_t len)
{
    char path[128];
    struct tm_err err;
    (void)snprintf(path, sizeof(path), "%s/" SECRETS_KEY_NAME, dir);
    assert_int_equal(fs_write_atomic(path, slice_of(bytes, len), 0400, &err), 0);
}

static void loaded(void **state)
{
    char dir[] = "/tmp/key_test.XXXXXX";
    char want[128];
    struct secrets_key key = {.id = "untouched"};
    struct tm_err err;
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(secrets_key_load(dir, &key, &err), -TM_E_NOT_FOUND);
    load_bytes(dir, BYTES, SECRETS_KEY_LEN - 1);
    assert_int_equal(secrets_key_load(dir, &key, &err), -TM_E_INVALID);
    (void)snprintf(want, sizeof(want),
                   "'%s/tidemark.secrets-key' is no key: it has 31 bytes, 32 are wanted", dir);
    assert_string_equal(err.msg, want);
    load_bytes(dir, "", 0);
    assert_int_equal(secrets_key_load(dir, &key, &err), -TM_E_INVALID);
    assert_string_equal(key.id, "untouched");
    load_bytes(dir, BYTES, SECRETS_KEY_LEN);
    assert_int_equal(secrets_key_load(dir, &key, &err), 0);
    assert_memory_equal(key.bytes, BYTES, SECRETS_KEY_LEN);
    /* HMAC-SHA-256 of the name, computed by openssl dgst */
    assert_string_equal(key.id, "b2b5885bcc6ecbf0");
    secrets_key_release(&key);
    const struct secrets_key none = {.id = ""};
    assert_memory_equal(&key, &none, sizeof(none));
    assert_int_equal(fs_remove_tree(dir, true, &err), 0);
}

static struct secrets_key key_of(uint8_t first)
{
    struct secrets_key key = {.id = "0123456789abcdef"};
    memcpy(key.bytes, BYTES, sizeof(BYTES));
    key.bytes[0] = first;
    return key;
}

static void refused(const struct secrets_key *key, const char *label, struct slice in,
                    const char *why)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_SECRET_INIT;
    struct tm_err err;
    assert_int_equal(secrets_key_open(key, slice_str(label), in, &out, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, why);
    assert_int_equal(out.len, 0);
    if (out.data != NULL)
        assert_null(memmem(out.data, out.cap, TEXT, strlen(TEXT)));
}

/* Made outside, once: what files hold today is read tomorrow, and is AES-256-GCM as others do it. */
static void a_known_answer(void **state)
{
    static const char hex[] = "6465666768696a6b6c6d6e6f46d84f97234a638b1b193c73dc02d7ec348182bdb4bc"
                              "648b34339da9e73c296b96bb7d5f179fa84d7c2807b14f44";
    uint8_t bytes[sizeof(hex) / 2];
    TM_CLEANUP(buf_release) struct buf out = BUF_SECRET_INIT;
    struct secrets_key key = key_of(0);
    struct tm_err err;
    (void)state;
    for (size_t n = 0; n < sizeof(bytes); n++)
        bytes[n] = (uint8_t)(hex_value(hex[2 * n]) << 4 | hex_value(hex[2 * n + 1]));
    if (secrets_key_open(&key, slice_str("label"), slice_of(bytes, sizeof(bytes)), &out, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(out.len, strlen(TEXT));
    assert_memory_equal(out.data, TEXT, out.len);
}

static void closed_and_opened(void **state)
{
    static const char changed[] = "it was changed, or belongs to a secret of another name";
    TM_CLEANUP(buf_release) struct buf closed = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf again = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf opened = BUF_SECRET_INIT;
    struct secrets_key key = key_of(0);
    struct secrets_key other = key_of(1);
    struct tm_err err;
    (void)state;
    assert_int_equal(buf_append(&opened, "before ", 7, &err), 0);
    assert_int_equal(secrets_key_close(&key, slice_str("label"), slice_str(TEXT), &closed, &err),
                     0);
    assert_int_equal(closed.len, 12 + strlen(TEXT) + 16);
    assert_null(memmem(closed.data, closed.len, TEXT, 4));
    assert_int_equal(secrets_key_open(&key, slice_str("label"), buf_slice(&closed), &opened, &err),
                     0);
    assert_int_equal(opened.len, 7 + strlen(TEXT));
    assert_memory_equal(opened.data, "before " TEXT, opened.len);
    /* a nonce of its own each time */
    assert_int_equal(secrets_key_close(&key, slice_str("label"), slice_str(TEXT), &again, &err), 0);
    assert_memory_not_equal(again.data, closed.data, 12);
    assert_memory_not_equal(again.data + 12, closed.data + 12, strlen(TEXT));

    refused(&other, "label", buf_slice(&closed), changed);
    refused(&key, "Label", buf_slice(&closed), changed);
    refused(&key, "", buf_slice(&closed), changed);
    for (size_t len = 0; len < closed.len; len++)
        refused(&key, "label", slice_of(closed.data, len), len < 28 ? "it is too short" : changed);
    for (size_t n = 0; n < closed.len; n++) {
        closed.data[n] ^= 0x10;
        refused(&key, "label", buf_slice(&closed), changed);
        closed.data[n] ^= 0x10;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loaded),
        cmocka_unit_test(a_known_answer),
        cmocka_unit_test(closed_and_opened),
    };
    return cmocka_run_group_tests_name("coordinator/secrets/key", tests, NULL, NULL);
}
