/* The cache in front of a source: renewal before the end, an issuer that is down, rejected keys,
 * and many threads of which one asks. */
#include "services.h"

#include <pthread.h>

#define MINUTE INT64_C(60000000)

static char answers[8][256];

/* The n-th answer: keys AKn that end `minutes` after the start of the test. */
static void reply_keys(size_t n, int minutes)
{
    char end[CLOCK_TEXT_MAX];
    (void)snprintf(answers[n], sizeof(answers[n]),
                   "{\"AccessKeyId\":\"AK%zu\",\"SecretAccessKey\":\"s\",\"Token\":\"t\","
                   "\"Expiration\":\"%s\"}",
                   n, clock_format(TEST_NOW_US + minutes * MINUTE, end));
    services_reply(0, answers[n]);
}

/* The container endpoint: one request a renewal. */
static struct credential *make(void)
{
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", services.url, 1);
    struct credential_options o = {.now_real_us = services_clock};
    struct credential *c = NULL;
    assert_int_equal(credential_s3_new(NULL, &o, &c, &services.err), 0);
    return c;
}

static void at(int minutes, int seconds)
{
    services_now_us = TEST_NOW_US + minutes * MINUTE + seconds * INT64_C(1000000);
}

/* These keys, after so many requests in all. */
static void assert_keys(struct credential *c, const char *access, size_t requests)
{
    TM_CLEANUP(s3_keys_release) struct s3_keys keys = S3_KEYS_INIT;
    if (credential_s3_get(c, &keys, &services.err) < 0)
        fail_msg("%s", services.err.msg);
    assert_string_equal((char *)keys.access_key.data, access);
    assert_int_equal(stub_http_count(services.stub), requests);
}

/* With the first keys, after one request. */
static struct credential *begin(void)
{
    struct credential *c = make();
    assert_keys(c, "AK0", 1);
    return c;
}

static void assert_no_keys(struct credential *c, const char *text, size_t requests)
{
    struct s3_keys keys = S3_KEYS_INIT;
    assert_int_equal(credential_s3_get(c, &keys, &services.err), -TM_E_UNAVAILABLE);
    assert_string_equal(services.err.msg, text_of("credentials from container endpoint '%s': %s",
                                                  services.url, text));
    assert_true(services.err.retryable);
    assert_int_equal(stub_http_count(services.stub), requests);
}

static void keys_are_renewed_five_minutes_before_they_end(void **state)
{
    (void)state;
    reply_keys(0, 60);
    reply_keys(1, 120);
    TM_CLEANUP(credential_freep) struct credential *c = begin();
    at(54, 59);
    assert_keys(c, "AK0", 1);
    at(55, 0);
    assert_keys(c, "AK1", 2);
    at(114, 59);
    assert_keys(c, "AK1", 2);
}

static void keys_that_live_shorter_are_not_asked_for_every_time(void **state)
{
    (void)state;
    reply_keys(0, 4);
    reply_keys(1, 4);
    reply_keys(2, 8);
    TM_CLEANUP(credential_freep) struct credential *c = begin();
    at(0, 14);
    assert_keys(c, "AK0", 1);
    at(0, 15);
    assert_keys(c, "AK1", 2);
    at(0, 29);
    assert_keys(c, "AK1", 2);
    at(4, 0);
    assert_keys(c, "AK2", 3);
}

static void old_keys_serve_while_the_issuer_is_down(void **state)
{
    (void)state;
    reply_keys(0, 60);
    services_reply(503, "");
    services_reply(503, "");
    services_reply(503, "");
    services_reply(400, "");
    services_reply(503, "");
    TM_CLEANUP(credential_freep) struct credential *c = begin();
    at(56, 0);
    assert_keys(c, "AK0", 4); /* three attempts */
    at(56, 14);
    assert_keys(c, "AK0", 4); /* a pause */
    at(56, 15);
    assert_keys(c, "AK0", 5); /* a refusal is not repeated */
    at(60, 0);
    assert_no_keys(c, "HTTP 503", 8);
    assert_no_keys(c, "HTTP 503", 11); /* no pause when there is nothing */
    services.replies[5].status = 0;
    reply_keys(6, 120);
    services.replies[5] = services.replies[6];
    assert_keys(c, "AK6", 12);
}

static void a_clock_set_back_does_not_stop_renewal(void **state)
{
    (void)state;
    at(120, 0);
    reply_keys(0, 124);
    reply_keys(1, 124);
    TM_CLEANUP(credential_freep) struct credential *c = begin();
    at(119, 59);
    assert_keys(c, "AK1", 2);
}

static void nobody_there_is_told(void **state)
{
    (void)state;
    services_reply(0, "");
    services.replies[0].fault = STUB_CLOSE;
    TM_CLEANUP(credential_freep) struct credential *c = make();
    assert_no_keys(c,
                   text_of("%s: connection lost: Server returned nothing (no headers, no "
                           "data)",
                           services.url + strlen("http://")),
                   3);
}

static void rejected_keys_are_replaced_once(void **state)
{
    (void)state;
    reply_keys(0, 60);
    reply_keys(1, 60);
    reply_keys(2, 60);
    services_reply(503, "");
    TM_CLEANUP(credential_freep) struct credential *c = begin();
    credential_reject(c);
    assert_keys(c, "AK1", 2);
    credential_reject(c); /* by a request that was signed with the old ones */
    assert_keys(c, "AK1", 2);
    at(0, 5);
    credential_reject(c);
    assert_keys(c, "AK2", 3);
    /* what was rejected does not serve, valid or not, while the issuer is down */
    at(0, 10);
    credential_reject(c);
    assert_no_keys(c, "HTTP 503", 6);
}

/* ---- many threads ---- */

static struct credential *shared;
static _Atomic unsigned failures;

static void *get_many(void *arg)
{
    const char *expected = arg;
    for (int n = 0; n < 50; n++) {
        struct s3_keys keys = S3_KEYS_INIT;
        struct tm_err err;
        if (credential_s3_get(shared, &keys, &err) < 0 ||
            (expected != NULL && strcmp((char *)keys.access_key.data, expected) != 0))
            failures++;
        s3_keys_release(&keys);
    }
    return NULL;
}

static void run_threads(const char *expected)
{
    pthread_t threads[8];
    for (size_t n = 0; n < TM_ARRAY_LEN(threads); n++)
        assert_int_equal(pthread_create(&threads[n], NULL, get_many, (void *)(uintptr_t)expected),
                         0);
    for (size_t n = 0; n < TM_ARRAY_LEN(threads); n++)
        assert_int_equal(pthread_join(threads[n], NULL), 0);
}

static void one_thread_asks_for_all(void **state)
{
    (void)state;
    reply_keys(0, 60);
    reply_keys(1, 120);
    services.replies[0].delay_ms = 50;
    services.replies[1].delay_ms = 50;
    TM_CLEANUP(credential_freep) struct credential *c = make();
    shared = c;
    failures = 0;
    run_threads("AK0"); /* none has keys: all wait for the one that asks */
    assert_int_equal(stub_http_count(services.stub), 1);
    at(56, 0);
    run_threads(NULL); /* the others go on with the old ones */
    assert_int_equal(stub_http_count(services.stub), 2);
    run_threads("AK1");
    assert_int_equal(failures, 0);
    assert_int_equal(stub_http_count(services.stub), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, services_set_up, services_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_are_renewed_five_minutes_before_they_end),
        TEST(keys_that_live_shorter_are_not_asked_for_every_time),
        TEST(old_keys_serve_while_the_issuer_is_down),
        TEST(a_clock_set_back_does_not_stop_renewal),
        TEST(nobody_there_is_told),
        TEST(rejected_keys_are_replaced_once),
        TEST(one_thread_asks_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
