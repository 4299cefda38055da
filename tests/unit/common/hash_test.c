/* CRC32C against known values and itself in pieces; digests against published vectors. */
#include "common/hash.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static void fill(uint8_t *bytes, size_t len)
{
    uint32_t state = 12345;
    for (size_t n = 0; n < len; n++) {
        state = state * 1664525 + 1013904223;
        bytes[n] = (uint8_t)(state >> 24);
    }
}

static void crc32c_known_values(void **state)
{
    (void)state;
    uint8_t zeros[32] = {0};
    uint8_t ones[32];
    memset(ones, 0xff, sizeof(ones));
    assert_int_equal(crc32c(CRC32C_INIT, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c_portable(CRC32C_INIT, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(CRC32C_INIT, zeros, 32), 0x8a9136aa);
    assert_int_equal(crc32c(CRC32C_INIT, ones, 32), 0x62a8ab43);
    assert_int_equal(crc32c(CRC32C_INIT, NULL, 0), 0);
}

static void crc32c_hardware_equals_portable(void **state)
{
    (void)state;
    static uint8_t data[100003];
    fill(data, sizeof(data));
    for (size_t len = 0; len < 2000; len++)
        assert_int_equal(crc32c(7, data + len % 9, len), crc32c_portable(7, data + len % 9, len));
    assert_int_equal(crc32c(0, data, sizeof(data)), crc32c_portable(0, data, sizeof(data)));
    assert_int_equal(crc32c(0, data + 1, 24576), crc32c_portable(0, data + 1, 24576));
}

static void crc32c_combines(void **state)
{
    (void)state;
    static uint8_t data[50000];
    fill(data, sizeof(data));
    uint32_t whole = crc32c(0, data, sizeof(data));
    static const size_t cuts[] = {0, 1, 7, 4096, 8192, 49999, 50000};
    for (size_t n = 0; n < TM_ARRAY_LEN(cuts); n++) {
        uint32_t head = crc32c(0, data, cuts[n]);
        uint32_t tail = crc32c(0, data + cuts[n], sizeof(data) - cuts[n]);
        assert_int_equal(crc32c_combine(head, tail, sizeof(data) - cuts[n]), whole);
        assert_int_equal(crc32c(head, data + cuts[n], sizeof(data) - cuts[n]), whole);
    }
}

static void xxh3_known_value(void **state)
{
    (void)state;
    static uint8_t data[10000];
    char text[2 * XXH3_128_LEN + 1];
    fill(data, sizeof(data));
    struct xxh3_128 empty = xxh3_128_of(NULL, 0);
    assert_string_equal(hex_encode(empty.bytes, XXH3_128_LEN, text),
                        "99aa06d3014798d86001c324468d497f");
    struct xxh3_128 whole = xxh3_128_of(data, sizeof(data));
    struct xxh3_128 again = xxh3_128_of(data, sizeof(data));
    assert_true(xxh3_128_eq(&again, &whole));
    assert_false(xxh3_128_eq(&whole, &empty));
}

static void sha256_known_values(void **state)
{
    (void)state;
    struct tm_err err;
    struct sha256 digest;
    char text[2 * SHA256_LEN + 1];
    assert_int_equal(sha256_of("abc", 3, &digest, &err), 0);
    assert_string_equal(hex_encode(digest.bytes, SHA256_LEN, text),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct sha256 again;
    TM_CLEANUP(hash_sha256_freep) struct hash_sha256 *h = NULL;
    assert_int_equal(hash_sha256_new(&h, &err), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(hash_sha256_update(h, "a", 1, &err), 0);
        assert_int_equal(hash_sha256_update(h, "bc", 2, &err), 0);
        assert_int_equal(hash_sha256_final(h, &again, &err), 0);
        assert_true(sha256_eq(&digest, &again));
        assert_int_equal(hash_sha256_reset(h, &err), 0);
    }
}

static void hmac_known_value(void **state)
{
    (void)state;
    struct tm_err err;
    struct sha256 mac;
    char text[2 * SHA256_LEN + 1];
    struct slice parts[] = {slice_str("what do ya want "), SLICE_EMPTY, slice_str("for nothing?")};
    assert_int_equal(hmac_sha256(slice_str("Jefe"), parts, 3, &mac, &err), 0);
    assert_string_equal(hex_encode(mac.bytes, SHA256_LEN, text),
                        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_true(hash_equal_const_time("abc", "abc", 3));
    assert_false(hash_equal_const_time("abc", "abd", 3));
}

static void hex_both_ways(void **state)
{
    (void)state;
    char text[7];
    assert_string_equal(hex_encode("\x00\xff\xa1", 3, text), "00ffa1");
    assert_int_equal(hex_value('7'), 7);
    assert_int_equal(hex_value('a'), 10);
    assert_int_equal(hex_value('F'), 15);
    assert_int_equal(hex_value('g'), -1);
    assert_int_equal(hex_value('\0'), -1);
}

static void random_differs(void **state)
{
    (void)state;
    struct tm_err err;
    uint8_t a[16];
    uint8_t b[16];
    assert_int_equal(random_bytes(a, sizeof(a), &err), 0);
    assert_int_equal(random_bytes(b, sizeof(b), &err), 0);
    assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_known_values), cmocka_unit_test(crc32c_hardware_equals_portable),
        cmocka_unit_test(crc32c_combines),     cmocka_unit_test(xxh3_known_value),
        cmocka_unit_test(sha256_known_values), cmocka_unit_test(hmac_known_value),
        cmocka_unit_test(hex_both_ways),       cmocka_unit_test(random_differs),
    };
    return cmocka_run_group_tests_name("common/hash", tests, NULL, NULL);
}
