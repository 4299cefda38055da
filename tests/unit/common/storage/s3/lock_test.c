/* Removing from a bucket with object lock: by version, and what is kept is not taken for removed. */
#include "tests/unit/common/storage/s3/fake.h"

#define AWS FAKE_AWS
#define HAS_LOCK                                                                                   \
    {                                                                                              \
        .method = "GET", .target = "?object-lock=",                                                \
        .body = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"          \
                "</ObjectLockConfiguration>"                                                       \
    }
#define BATCH(objects)                                                                             \
    "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>" objects        \
    "</Delete>"

static struct fake fake;

static const struct stub_request *post(size_t nth)
{
    const struct stub_request *r;
    for (size_t n = 0; (r = stub_http_request(fake.stub, n)) != NULL; n++)
        if (strcmp(r->method, "POST") == 0 && nth-- == 0)
            return r;
    fail_msg("no such request");
    return NULL;
}

static size_t count_of(const char *method, const char *target)
{
    size_t count = 0;
    const struct stub_request *r;
    for (size_t n = 0; (r = stub_http_request(fake.stub, n)) != NULL; n++)
        count += strcmp(r->method, method) == 0 && strstr(r->target, target) != NULL;
    return count;
}

static void versions_are_removed(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        HAS_LOCK,
        {.method = "HEAD", .target = "/a", .times = 1, .headers = "x-amz-version-id: v<1>\r\n"},
        {.method = "HEAD", .target = "/a", .times = 1, .headers = "x-amz-version-id: v2\r\n"},
        {.method = "HEAD", .target = "/c", .times = 1, .headers = "x-amz-version-id: null\r\n"},
        {.method = "HEAD", .status = 404},
        {.method = "POST", .body = "<DeleteResult/>"}};
    FAKE_OPEN(&fake, rules, AWS);
    const char *const names[] = {"a", "b", "c"};
    assert_int_equal(storage_remove(fake.st, names, 3, &fake.err), 0);
    assert_string_equal((const char *)post(0)->body,
                        BATCH("<Object><Key>pre/a</Key><VersionId>v&#60;1&#62;</VersionId></Object>"
                              "<Object><Key>pre/c</Key><VersionId>null</VersionId></Object>"));
    /* an older one was below */
    assert_string_equal((const char *)post(1)->body,
                        BATCH("<Object><Key>pre/a</Key><VersionId>v2</VersionId></Object>"));
    assert_int_equal(count_of("HEAD", ""), 3 + 2 + 1);
    assert_int_equal(count_of("HEAD", "/b"), 1);
    /* what is gone, or covered by a mark, needs no more; and the bucket is asked once */
    assert_int_equal(storage_remove(fake.st, names, 1, &fake.err), 0);
    assert_int_equal(count_of("GET", "?object-lock="), 1);
    assert_int_equal(count_of("POST", ""), 2);
    assert_int_equal(count_of("DELETE", ""), 0);
    fake_close(&fake);
}

static void many_are_asked_for_in_their_order(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        HAS_LOCK,
        {.method = "HEAD", .times = 40, .headers = "x-amz-version-id: v\r\n"},
        {.method = "HEAD", .status = 404},
        {.method = "POST", .body = "<DeleteResult/>"}};
    FAKE_OPEN(&fake, rules, AWS);
    static char names[40][8], body[4000];
    const char *list[40];
    size_t used =
        (size_t)snprintf(body, sizeof(body), "%.*s", (int)strlen(BATCH("")) - 9, BATCH(""));
    for (unsigned n = 0; n < 40; n++) {
        (void)snprintf(names[n], sizeof(names[n]), "%04u", n);
        list[n] = names[n];
        used += (size_t)snprintf(body + used, sizeof(body) - used,
                                 "<Object><Key>pre/%04u</Key><VersionId>v</VersionId></Object>", n);
    }
    (void)snprintf(body + used, sizeof(body) - used, "</Delete>");
    assert_int_equal(storage_remove(fake.st, list, 40, &fake.err), 0);
    assert_int_equal(count_of("HEAD", ""), 80);
    assert_int_equal(count_of("POST", ""), 1);
    assert_string_equal((const char *)post(0)->body, body);
    fake_close(&fake);
}

static void one_that_keeps_coming_back_is_told(void **state)
{
    (void)state;
    static const struct rule rules[] = {HAS_LOCK,
                                        {.method = "HEAD", .headers = "x-amz-version-id: v\r\n"},
                                        {.method = "POST", .body = "<DeleteResult/>"}};
    FAKE_OPEN(&fake, rules, AWS);
    const char *const names[] = {"a"};
    assert_int_equal(storage_remove(fake.st, names, 1, &fake.err), -TM_E_CONFLICT);
    assert_true(fake.err.retryable);
    fake_expect_error(&fake,
                      "cannot remove 'a': 'a' has more than 64 versions, or is still written");
    assert_int_equal(count_of("POST", ""), 64);
    fake_close(&fake);
}

#define REFUSED(key, message)                                                                      \
    {                                                                                              \
        .method = "POST", .body = "<DeleteResult><Error><Key>pre/" key                             \
                                  "</Key><Code>AccessDenied</Code><Message>" message               \
                                  "</Message></Error></DeleteResult>"                              \
    }

static void what_is_locked_is_refused(void **state)
{
    (void)state;
    static const struct rule retained[] = {
        HAS_LOCK,
        {.method = "HEAD",
         .target = "/a",
         .headers = "x-amz-version-id: 1\r\nx-amz-object-lock-mode: GOVERNANCE\r\n"
                    "x-amz-object-lock-retain-until-date: 2001-01-01T00:00:00.000Z\r\n"},
        {.method = "HEAD",
         .headers = "x-amz-version-id: 2\r\nx-amz-object-lock-mode: COMPLIANCE\r\n"
                    "x-amz-object-lock-retain-until-date: 2999-11-27T17:37:24.069098680Z\r\n"},
        REFUSED("b", "forbidden by object lock")};
    FAKE_OPEN(&fake, retained, AWS);
    const char *const names[] = {"a", "b"};
    assert_int_equal(storage_remove(fake.st, names, 2, &fake.err), -TM_E_REFUSED);
    assert_false(fake.err.retryable);
    fake_expect_error(&fake, "cannot remove 2 objects from 'a' on: object lock (COMPLIANCE) keeps "
                             "'pre/b' until 2999-11-27T17:37:24Z: http://STORE/tank/: POST: HTTP "
                             "200 AccessDenied: 'pre/b': forbidden by object lock");
    fake_close(&fake);
    static const struct rule held[] = {
        HAS_LOCK,
        {.method = "HEAD",
         .headers = "x-amz-version-id: 1\r\nx-amz-object-lock-legal-hold: ON\r\n"},
        REFUSED("a", "m")};
    FAKE_OPEN(&fake, held, AWS);
    assert_int_equal(storage_remove(fake.st, names, 1, &fake.err), -TM_E_REFUSED);
    fake_expect_error(&fake, "cannot remove 'a': a legal hold keeps 'pre/a': http://STORE/tank/: "
                             "POST: HTTP 200 AccessDenied: 'pre/a': m");
    fake_close(&fake);
    /* who may not delete versions is not told of locks */
    static const struct rule denied[] = {
        HAS_LOCK, {.method = "HEAD", .headers = "x-amz-version-id: 1\r\n"}, REFUSED("a", "m")};
    FAKE_OPEN(&fake, denied, AWS);
    assert_int_equal(storage_remove(fake.st, names, 1, &fake.err), -TM_E_PERMISSION);
    fake_expect_error(&fake, "cannot remove 'a': http://STORE/tank/: POST: HTTP 200 AccessDenied: "
                             "'pre/a': m");
    fake_close(&fake);
}

/* What nobody needs is hidden: it must not stay in lists for as long as it is kept. */
static void what_is_discarded_is_hidden(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "DELETE", .target = "/a", .status = 204},
                                        {.method = "DELETE", .status = 403}};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(storage_discard(fake.st, "a", &fake.err), 0);
    fake_expect(&fake, "DELETE /tank/pre/a\n");
    assert_int_equal(storage_discard(fake.st, "b", &fake.err), -TM_E_PERMISSION);
    fake_expect_error(&fake, "cannot remove 'b': http://STORE/tank/pre/b: DELETE: HTTP 403; keys "
                             "from secret");
    fake_close(&fake);
}

static void a_bucket_that_may_not_be_asked_is_asked_again(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "GET",
         .target = "?object-lock=",
         .status = 403,
         .times = 1,
         .body = "<Error><Code>AccessDenied</Code></Error>"},
        {.method = "GET", .target = "?object-lock=", .body = "<ListBucketResult/>", .times = 1},
        {.method = "DELETE", .status = 204}};
    FAKE_OPEN(&fake, rules, AWS);
    const char *const names[] = {"a"};
    for (int n = 0; n < 3; n++)
        assert_int_equal(storage_remove(fake.st, names, 1, &fake.err), 0);
    fake_expect(&fake, FAKE_ASKS_LOCK "DELETE /tank/pre/a\n" FAKE_ASKS_LOCK "DELETE /tank/pre/a\n"
                                      "DELETE /tank/pre/a\n");
    fake_close(&fake);
}

static void an_outage_is_no_answer(void **state)
{
    (void)state;
    static const struct rule asked[] = {{.method = "GET",
                                         .target = "?object-lock=",
                                         .status = 503,
                                         .headers = "retry-after: 100\r\n"}};
    fake_timeout_ms = 5000;
    FAKE_OPEN(&fake, asked, AWS);
    const char *const names[] = {"a", "b"};
    assert_int_equal(storage_remove(fake.st, names, 1, &fake.err), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
    fake_expect(&fake, FAKE_ASKS_LOCK);
    fake_close(&fake);
    /* a 404 of what stands before the store does not say that an object is gone */
    static const struct rule bare[] = {
        HAS_LOCK,
        {.method = "HEAD", .target = "/a", .headers = "x-amz-version-id: 1\r\n"},
        {.method = "HEAD", .status = 404, .bare = true}};
    FAKE_OPEN(&fake, bare, AWS);
    assert_int_equal(storage_remove(fake.st, names, 2, &fake.err), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
    fake_expect_error(&fake, "cannot remove 2 objects from 'a' on: http://STORE/tank/pre/b: HEAD: "
                             "HTTP 404: this does not come from the store itself");
    assert_int_equal(count_of("POST", ""), 0);
    fake_close(&fake);
    fake_timeout_ms = 20000;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_removed),
        cmocka_unit_test(many_are_asked_for_in_their_order),
        cmocka_unit_test(one_that_keeps_coming_back_is_told),
        cmocka_unit_test(what_is_locked_is_refused),
        cmocka_unit_test(what_is_discarded_is_hidden),
        cmocka_unit_test(a_bucket_that_may_not_be_asked_is_asked_again),
        cmocka_unit_test(an_outage_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
