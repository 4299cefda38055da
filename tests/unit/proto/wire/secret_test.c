/* Secrets on the wire: there and back, bounds, and no value in any message. */
#include "proto/wire/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void there_and_back(void **state)
{
    (void)state;
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    TM_CLEANUP(secret_map_release) struct secret_map back = SECRET_MAP_INIT;
    struct msg_pair pairs[WIRE_PAIRS_MAX];
    struct msg_secret secret;
    struct tm_err err;
    assert_int_equal(secret_map_set(&map, "secret_key", "a\0b\n", 4, &err), 0);
    assert_int_equal(secret_map_set(&map, "access_key", "AK", 2, &err), 0);
    msg_secret_of("s3", &map, pairs, &secret);
    assert_string_equal(secret.name, "s3");
    assert_int_equal(secret.pairs_count, 2);
    struct msg_assignment a = {.uid = "u",
                               .attempt = 1,
                               .kind = JOB_KIND_LOG,
                               .roles = JOB_ROLE_LEAD,
                               .step = JOB_STEP_RUN,
                               .boot = "b",
                               .cluster = "c",
                               .name = "n",
                               .storage = "s3://bucket",
                               .secret = &secret};
    struct message m = {.type = MESSAGE_desired};
    m.desired.jobs = &a;
    m.desired.jobs_count = 1;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_SECRET_INIT;
    struct message decoded;
    assert_int_equal(message_encode(&m, CODEC_MINOR_ALL, &bytes, &err), 0);
    assert_int_equal(message_decode(buf_slice(&bytes), &decoded, NULL, &err), 0);
    assert_true(decoded.arena.wipe);
    const struct msg_secret *got = decoded.desired.jobs[0].secret;
    assert_true(msg_secret_equal(got, &secret));
    assert_null(decoded.desired.jobs[0].full_secret);
    assert_int_equal(msg_secret_to(got, &back, &err), 0);
    message_release(&decoded);
    assert_int_equal(back.count, 2);
    assert_int_equal(secret_map_get(&back, "secret_key")->len, 4);
    assert_memory_equal(secret_map_get(&back, "secret_key")->data, "a\0b\n", 4);
}

static void refuse(struct msg_pair *pairs, size_t count, const char *text)
{
    struct msg_secret secret = {.name = "s3", .pairs = pairs, .pairs_count = count};
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    assert_int_equal(codec_encode(&msg_secret_codec, &secret, CODEC_MINOR_ALL, &bytes, &err),
                     -TM_E_INVALID);
    assert_string_equal(err.msg, text);
    assert_null(strstr(err.msg, "hunter2"));
}

static void bounds(void **state)
{
    (void)state;
    struct msg_pair many[WIRE_PAIRS_MAX + 1] = {{.name = "k", .value = slice_str("hunter2")}};
    char *large = malloc(WIRE_VALUE_MAX + 1);
    assert_non_null(large);
    memset(large, 'x', WIRE_VALUE_MAX + 1);
    memcpy(large, "hunter2", 7);
    struct msg_pair one = {.name = "k", .value = slice_of(large, WIRE_VALUE_MAX + 1)};
    refuse(many, TM_ARRAY_LEN(many), "secret.pairs: more than 16 items");
    refuse(&one, 1, "secret.pairs[0].value: longer than 4096 bytes");
    free(large);
}

static void pairs_that_are_none(void **state)
{
    (void)state;
    struct secret_map map = SECRET_MAP_INIT;
    struct tm_err err;
    struct msg_pair twice[] = {{.name = "k", .value = slice_str("hunter2")},
                               {.name = "k", .value = slice_str("hunter3")}};
    struct msg_secret secret = {.name = "s3", .pairs = twice, .pairs_count = 2};
    assert_int_equal(msg_secret_to(&secret, &map, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "secret 's3': key 'k' is given twice");
    (void)snprintf(twice[0].name, sizeof(twice[0].name), "a b");
    assert_int_equal(msg_secret_to(&secret, &map, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "secret 's3': 'a b' is no key of a secret: 1 to 63 letters, "
                                 "digits, '.', '_' or '-'");
    assert_int_equal(map.count, 0);
}

static void equality(void **state)
{
    (void)state;
    struct msg_pair x[] = {{.name = "k", .value = slice_str("1")}};
    struct msg_pair y[] = {{.name = "k", .value = slice_str("2")}};
    struct msg_pair z[] = {{.name = "l", .value = slice_str("1")}};
    struct msg_secret a = {.name = "one", .pairs = x, .pairs_count = 1};
    struct msg_secret same = {.name = "two", .pairs = x, .pairs_count = 1};
    struct msg_secret value = {.name = "one", .pairs = y, .pairs_count = 1};
    struct msg_secret key = {.name = "one", .pairs = z, .pairs_count = 1};
    struct msg_secret none = {.name = "one"};
    assert_true(msg_secret_equal(&a, &same)); /* what it holds counts, not what it is called */
    assert_false(msg_secret_equal(&a, &value));
    assert_false(msg_secret_equal(&a, &key));
    assert_false(msg_secret_equal(&a, &none));
    assert_false(msg_secret_equal(&a, NULL));
    assert_true(msg_secret_equal(NULL, NULL));
    assert_int_equal(msg_secret_bytes(x, 1), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(bounds),
        cmocka_unit_test(pairs_that_are_none),
        cmocka_unit_test(equality),
    };
    return cmocka_run_group_tests_name("proto/wire/secret", tests, NULL, NULL);
}
