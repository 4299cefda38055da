/* The S3 driver when the store, or the way to it, does not do as it should. */
#include "tests/unit/common/storage/s3/hello.h"

#include "common/clock.h"
#include "common/storage/s3/internal.h"

/* ---- what passes ---- */

static void slow_down_is_waited_out(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "PUT", .times = 1, .status = 503, .body = ERROR("SlowDown", "Reduce your rate")},
        {.method = "PUT", .times = 1, .status = 500, .body = ERROR("InternalError", "Oops")},
        {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(put("x"), 0);
    fake_expect(&fake, "PUT /tank/pre/x\nPUT /tank/pre/x\nPUT /tank/pre/x\n");
    assert_int_equal(stats().retries, 2);
    assert_int_equal(stats().slow_downs, 1);
    assert_int_equal(stats().limit, 8);
    fake_close(&fake);
}

/* What was told, a line each. */
static char told[2000];

static void note_trouble(void *arg, const void *call, int64_t since_us, const char *text)
{
    static const void *first;
    static int64_t first_us;
    size_t used = strlen(told);
    assert_ptr_equal(arg, &fake);
    if (used == 0) {
        first = call;
        first_us = since_us;
    }
    assert_ptr_equal(call, first); /* always the same call, since it began */
    assert_int_equal(since_us, first_us);
    assert_true(since_us <= clock_mono_us());
    (void)snprintf(told + used, sizeof(told) - used, "%s\n", text != NULL ? text : "over");
}

static void each_attempt_that_fails_is_told(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "PUT", .times = 1, .status = 503, .body = ERROR("SlowDown", "Reduce your rate")},
        {.method = "PUT", .times = 1, .status = 500, .body = ERROR("InternalError", "Oops")},
        {.method = "PUT", .etag = true},
        {.method = "GET", .status = 403}};
    char byte;
    fake_trouble = note_trouble;
    FAKE_OPEN(&fake, rules, AWS);
    told[0] = '\0';
    assert_int_equal(put("x"), 0);
    assert_string_equal(told,
                        "http://" FAKE_HOST "/tank/pre/x: PUT: HTTP 503 SlowDown: Reduce your rate "
                        "(request R1), attempt 1 of 10\n"
                        "http://" FAKE_HOST "/tank/pre/x: PUT: HTTP 500 InternalError: Oops "
                        "(request R1), attempt 2 of 10\n"
                        "over\n");
    told[0] = '\0';
    assert_int_equal(put("x"), 0); /* nothing failed */
    assert_int_equal(storage_read(fake.st, "x", 0, &byte, 1, &fake.err), -TM_E_PERMISSION);
    assert_string_equal(told, ""); /* that is not tried again */
    fake_trouble = NULL;
    fake_close(&fake);
}

static void a_lost_connection_is_told_too(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "PUT", .fault = STUB_CLOSE, .times = 2},
                                        {.method = "PUT", .etag = true}};
    fake_trouble = note_trouble;
    FAKE_OPEN(&fake, rules, AWS);
    told[0] = '\0';
    assert_int_equal(put("x"), 0);
    assert_non_null(
        strstr(told, "http://" FAKE_HOST "/tank/pre/x: PUT: " FAKE_HOST ": connection lost: "));
    assert_non_null(strstr(told, ", attempt 2 of 10\nover\n"));
    fake_trouble = NULL;
    fake_close(&fake);
}

static void other_refusals_are_not_repeated(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *body;
        enum tm_err_code code;
        const char *message;
    } cases[] = {
        {400, ERROR("InvalidRequest", "No"), TM_E_INVALID,
         "HTTP 400 InvalidRequest: No (request R1)"},
        {403, ERROR("SignatureDoesNotMatch", "Check your key"), TM_E_PERMISSION,
         "HTTP 403 SignatureDoesNotMatch: Check your key (request R1); keys from secret"},
        {403, "<html>not XML<br></html>", TM_E_PERMISSION, "HTTP 403; keys from secret"},
        {405, "", TM_E_IO, "HTTP 405"},
        {409, ERROR("InvalidBucketState", "No"), TM_E_CONFLICT,
         "HTTP 409 InvalidBucketState: No (request R1)"},
        {501, ERROR("NotImplemented", "sse"), TM_E_UNSUPPORTED,
         "HTTP 501 NotImplemented: sse (request R1)"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        const struct rule rules[] = {
            {.method = "PUT", .status = cases[n].status, .body = cases[n].body},
            {.method = "HEAD", .status = 404},
            {.method = "GET", .body = "<ListBucketResult/>"}};
        FAKE_OPEN(&fake, rules, AWS);
        assert_int_equal(put("x"), -(int)cases[n].code);
        assert_false(fake.err.retryable);
        char text[512];
        (void)snprintf(text, sizeof(text), "cannot commit 'x': http://STORE/tank/pre/x: PUT: %s",
                       cases[n].message);
        fake_expect_error(&fake, text);
        /* a 501 may speak of the condition, and is asked once more without it */
        assert_int_equal(count_of("PUT", "/x"), cases[n].status == 501 ? 2 : 1);
        fake_close(&fake);
    }
}

static void a_missing_bucket_is_not_a_missing_object(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "HEAD", .status = 404},
        {.method = "DELETE", .status = 404, .body = ERROR("NoSuchBucket", "None")},
        {.method = "GET", .status = 404, .body = ERROR("NoSuchBucket", "None")}};
    FAKE_OPEN(&fake, rules, AWS);
    struct storage_object o;
    assert_int_equal(storage_stat(fake.st, "x", &o, &fake.err), -TM_E_INVALID);
    fake_expect_error(&fake,
                      "cannot stat 'x': http://STORE/tank: there is no such bucket (http://STORE/"
                      "tank/: GET: HTTP 404 NoSuchBucket: None (request R1))");
    char byte;
    assert_int_equal(storage_read(fake.st, "x", 0, &byte, 1, &fake.err), -TM_E_INVALID);
    const char *const names[] = {"x"};
    assert_int_equal(storage_remove(fake.st, names, 1, &fake.err), -TM_E_INVALID);
    fake_close(&fake);
}

/* What a load balancer says in front of stores that are away. */
static void a_404_that_is_not_the_stores_is_no_absence(void **state)
{
    (void)state;
#define BARE_404 .status = 404, .bare = true, .body = "<html><br>not here</html>"
    static const struct rule gone[] = {
        {.method = "HEAD", .status = 404, .bare = true},
        {.method = "GET", .target = "/x", .times = 1, BARE_404},
        {.method = "GET", .target = "/x", .status = 404, .body = ERROR("NoSuchKey", "None")},
        {.method = "GET", .body = "<ListBucketResult/>"}};
    FAKE_OPEN(&fake, gone, AWS);
    struct storage_object o;
    assert_int_equal(storage_stat(fake.st, "x", &o, &fake.err), -TM_E_NOT_FOUND);
    fake_expect(&fake, "HEAD /tank/pre/x\nGET /tank/pre/x\nGET /tank/pre/x\n");
    fake_expect_header(&fake, 1, "range", "bytes=0-0");
    fake_close(&fake);
    static const struct rule there[] = {
        {.method = "HEAD", .status = 404, .bare = true},
        {.method = "GET", .status = 206, .headers = "content-range: bytes 0-0/5\r\n", .body = "h"}};
    FAKE_OPEN(&fake, there, AWS);
    assert_int_equal(storage_stat(fake.st, "x", &o, &fake.err), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
    fake_expect_error(&fake, "cannot stat 'x': http://STORE/tank/pre/x: HEAD: HTTP 404, but the "
                             "object can be read");
    fake_close(&fake);
    /* later than the call may last: it is not tried again */
    static const struct rule away[] = {
        {.method = "HEAD", .status = 404, .bare = true},
        {.method = "DELETE", BARE_404, .headers = "retry-after: 100\r\n"},
        {.method = "GET", BARE_404, .headers = "retry-after: 100\r\n"}};
    fake_timeout_ms = 5000;
    FAKE_OPEN(&fake, away, AWS);
    fake_timeout_ms = 20000;
    char byte;
    const char *const names[] = {"x"};
    assert_int_equal(storage_stat(fake.st, "x", &o, &fake.err), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
    assert_int_equal(storage_read(fake.st, "x", 0, &byte, 1, &fake.err), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
    fake_expect_error(&fake, "cannot read 'x': given up after 1 attempts: http://STORE/tank/pre/x: "
                             "GET: HTTP 404: this does not come from the store itself");
    assert_int_equal(storage_remove(fake.st, names, 1, &fake.err), -TM_E_UNAVAILABLE);
    fake_close(&fake);
}

static void a_refused_head_is_explained(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "HEAD", .status = 403},
        {.method = "GET", .status = 403, .body = ERROR("InvalidAccessKeyId", "Who")}};
    FAKE_OPEN(&fake, rules, AWS);
    struct storage_object o;
    assert_int_equal(storage_stat(fake.st, "x", &o, &fake.err), -TM_E_PERMISSION);
    fake_expect_error(&fake, "cannot stat 'x': http://STORE/tank/: GET: HTTP 403 "
                             "InvalidAccessKeyId: Who (request R1); keys from secret");
    fake_close(&fake);
}

/* ---- region, clock, tokens ---- */

static void the_right_region_is_named(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "GET",
         .status = 400,
         .body = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong</Message><Region>"
                 "eu-west-1</Region></Error>"},
        {.method = "HEAD", .status = 301, .headers = "x-amz-bucket-region: eu-west-2\r\n"}};
    FAKE_OPEN(&fake, rules, AWS);
    char byte;
    assert_int_equal(storage_read(fake.st, "x", 0, &byte, 1, &fake.err), -TM_E_INVALID);
    fake_expect_error(&fake,
                      "cannot read 'x': http://STORE/tank: the bucket is in region "
                      "'eu-west-1', not in 'us-east-1': write region=eu-west-1 "
                      "(http://STORE/tank/pre/x: GET: HTTP 400 AuthorizationHeaderMalformed: "
                      "wrong)");
    struct storage_object o;
    assert_int_equal(storage_stat(fake.st, "x", &o, &fake.err), -TM_E_INVALID);
    fake_expect_error(&fake, "cannot stat 'x': http://STORE/tank: the bucket is in region "
                             "'eu-west-1', not in 'us-east-1': write region=eu-west-1 "
                             "(http://STORE/tank/: GET: HTTP 400 AuthorizationHeaderMalformed: "
                             "wrong)");
    fake_close(&fake);
}

static void redirects_are_not_followed(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "GET",
                                         .status = 307,
                                         .headers = "location: http://127.0.0.1:1/\r\n",
                                         .body = ERROR("TemporaryRedirect", "Elsewhere")}};
    FAKE_OPEN(&fake, rules, AWS);
    char byte;
    assert_int_equal(storage_read(fake.st, "x", 0, &byte, 1, &fake.err), -TM_E_INVALID);
    fake_expect_error(&fake, "cannot read 'x': http://STORE/tank/pre/x: GET: HTTP 307 "
                             "TemporaryRedirect: Elsewhere (request R1); redirects are not "
                             "followed: correct endpoint or region");
    fake_close(&fake);
}

/* The first attempt is signed with our clock, the next with the store's: some day in 2030. */
static void a_wrong_clock_is_corrected(void **state)
{
    (void)state;
#define IN_2030 "date: Tue, 01 Jan 2030 00:00:00 GMT\r\n"
    static const struct rule rules[] = {
        {.method = "PUT",
         .times = 1,
         .status = 403,
         .headers = IN_2030,
         .body = ERROR("RequestTimeTooSkewed", "Late")},
        {.method = "HEAD", .times = 1, .status = 403, .headers = IN_2030},
        {.method = "HEAD", .status = 404, .headers = IN_2030},
        {.method = "PUT", .headers = IN_2030, .etag = true},
        {.method = "GET", .body = "<ListBucketResult/>"}};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(put("x"), 0);
    fake_expect(&fake, "PUT /tank/pre/x\nPUT /tank/pre/x\n");
    char date[64];
    assert_non_null(stub_header(stub_http_request(fake.stub, 0), "x-amz-date", date, sizeof(date)));
    assert_int_not_equal(strncmp(date, "20300101T0000", 13), 0);
    assert_non_null(stub_header(stub_http_request(fake.stub, 1), "x-amz-date", date, sizeof(date)));
    assert_int_equal(strncmp(date, "20300101T0000", 13), 0);
    fake_close(&fake);
    /* a HEAD has no words for it */
    FAKE_OPEN(&fake, rules, AWS);
    struct storage_object o;
    assert_int_equal(storage_stat(fake.st, "x", &o, &fake.err), -TM_E_NOT_FOUND);
    fake_expect(&fake, "HEAD /tank/pre/x\nHEAD /tank/pre/x\n"
                       "GET /tank?list-type=2&max-keys=1&prefix=pre%2F\n");
    fake_close(&fake);
}

static void an_expired_token_gets_a_second_chance(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "PUT", .times = 1, .status = 400, .body = ERROR("ExpiredToken", "Old")},
        {.method = "HEAD", .times = 1, .status = 400},
        {.method = "HEAD", .body = "12345"},
        {.method = "PUT", .target = "/x", .etag = true},
        {.method = "PUT", .status = 400, .body = ERROR("ExpiredToken", "Old")}};
    fake_open(&fake, rules, TM_ARRAY_LEN(rules), AWS, "token");
    assert_int_equal(put("x"), 0);
    struct storage_object o;
    assert_int_equal(storage_stat(fake.st, "x", &o, &fake.err), 0);
    fake_expect(&fake, "PUT /tank/pre/x\nPUT /tank/pre/x\nHEAD /tank/pre/x\nHEAD /tank/pre/x\n");
    /* nobody has a better one */
    assert_int_equal(put("y"), -TM_E_PERMISSION);
    fake_expect_error(&fake, "cannot commit 'y': http://STORE/tank/pre/y: PUT: HTTP 400 "
                             "ExpiredToken: Old (request R1); keys from secret");
    assert_int_equal(count_of("PUT", "/y"), 3);
    fake_close(&fake);
}

/* ---- reading ---- */

static void lost_and_short_bodies_are_read_again(void **state)
{
    (void)state;
#define RANGE "content-range: bytes 0-4/100\r\n"
    static const struct rule rules[] = {
        {.method = "GET",
         .times = 1,
         .status = 206,
         .headers = RANGE,
         .body = "HELLO",
         .fault = STUB_CLOSE_IN_BODY},
        {.method = "GET", .times = 1, .status = 206, .headers = RANGE, .body = "HEL"},
        {.method = "GET", .times = 1, .fault = STUB_CLOSE},
        {.method = "GET", .status = 206, .headers = RANGE, .body = "hello"}};
    FAKE_OPEN(&fake, rules, AWS);
    char bytes[6] = "";
    assert_int_equal(storage_read(fake.st, "x", 0, bytes, 5, &fake.err), 0);
    assert_string_equal(bytes, "hello");
    assert_int_equal(stub_http_count(fake.stub), 4);
    fake_close(&fake);
}

/* Where the whole object has the bytes, fewer of them are as good as a lost connection. */
static void short_answers_pass(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "GET",
                                         .times = 4,
                                         .status = 206,
                                         .headers = "content-range: bytes 0-2/100\r\n",
                                         .body = "hel"},
                                        {.method = "GET",
                                         .status = 206,
                                         .headers = "content-range: bytes 0-4/100\r\n",
                                         .body = "hello"}};
    FAKE_OPEN(&fake, rules, AWS);
    char bytes[5];
    assert_int_equal(storage_read(fake.st, "x", 0, bytes, 5, &fake.err), 0);
    assert_memory_equal(bytes, "hello", 5);
    assert_int_equal(stub_http_count(fake.stub), 5);
    fake_close(&fake);
}

static void answers_that_stay_wrong_are_errors(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *headers, *body;
        enum tm_err_code code;
        size_t attempts;
        const char *message;
    } cases[] = {
        {206, "content-range: bytes 1-5/100\r\n", "hello", TM_E_IO, 1,
         "cannot read 'x': http://STORE/tank/pre/x: GET: HTTP 206 WrongRange: the answer holds "
         "other bytes than asked for"},
        {206, "content-range: bytes 0-2/3\r\n", "hel", TM_E_CORRUPT, 1,
         "'x' is shorter than expected: wanted 5 bytes at 0"},
        {200, "", "hel", TM_E_CORRUPT, 1, "'x' is shorter than expected: wanted 5 bytes at 0"},
        {416, "", ERROR("InvalidRange", "No"), TM_E_CORRUPT, 1,
         "'x' is shorter than expected: wanted 5 bytes at 0"},
        {200, "", "hello, world", TM_E_LIMIT, 1,
         "cannot read 'x': http://STORE/tank/pre/x: GET: STORE: the answer is longer than it may "
         "be"},
        {404, "", ERROR("NoSuchKey", "None"), TM_E_NOT_FOUND, 1,
         "cannot read 'x': http://STORE/tank/pre/x: GET: HTTP 404 NoSuchKey: None (request R1)"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        const struct rule rules[] = {{.method = "GET",
                                      .status = cases[n].status,
                                      .headers = cases[n].headers,
                                      .body = cases[n].body}};
        FAKE_OPEN(&fake, rules, AWS);
        char bytes[5];
        assert_int_equal(storage_read(fake.st, "x", 0, bytes, 5, &fake.err), -(int)cases[n].code);
        fake_expect_error(&fake, cases[n].message);
        assert_int_equal(stub_http_count(fake.stub), cases[n].attempts);
        fake_close(&fake);
    }
}

/* ---- a store that removes slowly ---- */

static void a_batch_grows_and_shrinks_by_how_long_it_took(void **state)
{
    (void)state;
    const int64_t limit_us = 20000000;
    assert_int_equal(s3_remove_next(1000, 1000, -1, limit_us), 250);
    assert_int_equal(s3_remove_next(250, 1000, -1, limit_us), 62);
    assert_int_equal(s3_remove_next(3, 1000, -1, limit_us), 2);
    assert_int_equal(s3_remove_next(2, 1, -1, limit_us), 1);
    assert_int_equal(s3_remove_next(62, 1000, 2499999, limit_us), 124);
    assert_int_equal(s3_remove_next(62, 1000, 2500000, limit_us), 62);
    assert_int_equal(s3_remove_next(62, 1000, limit_us, limit_us), 62);
    assert_int_equal(s3_remove_next(600, 1000, 0, limit_us), 1000);
    assert_int_equal(s3_remove_next(1000, 1000, 0, limit_us), 1000);
    assert_int_equal(s3_remove_next(1, 1, 0, limit_us), 1);
}

/* How many names the n-th batch has; the request before the first asks for the bucket's lock. */
static unsigned names_in(size_t n)
{
    unsigned count = 0;
    const char *at = (const char *)stub_http_request(fake.stub, n + 1)->body;
    while ((at = strstr(at, "<Key>")) != NULL) {
        at++;
        count++;
    }
    return count;
}

/* A connection that is lost says nothing of how much was asked for. */
static void a_batch_is_no_smaller_for_a_lost_connection(void **state)
{
    (void)state;
    const char *names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    static const struct rule rules[] = {FAKE_NO_LOCK,
                                        {.method = "POST", .times = 1, .fault = STUB_CLOSE},
                                        {.method = "POST", .body = "<DeleteResult/>"}};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(storage_remove(fake.st, names, 8, &fake.err), 0);
    fake_expect(&fake, "GET /tank?object-lock=\nPOST /tank?delete=\nPOST /tank?delete=\n");
    assert_int_equal(names_in(1), 8);
    fake_close(&fake);
}

static void fewer_are_removed_at_once_when_no_answer_comes(void **state)
{
    (void)state;
    static const struct rule rules[] = {FAKE_NO_LOCK,
                                        {.method = "POST", .times = 1, .fault = STUB_HANG},
                                        {.method = "POST", .body = "<DeleteResult/>"}};
    static char names[30][8];
    static const char *list[30];
    for (unsigned n = 0; n < 30; n++) {
        (void)snprintf(names[n], sizeof(names[n]), "n/%02u", n);
        list[n] = names[n];
    }
    fake_timeout_ms = 9000;
    FAKE_OPEN(&fake, rules, AWS);
    fake_timeout_ms = 20000;
    int64_t begun_us = clock_mono_us();
    assert_int_equal(storage_remove(fake.st, list, 30, &fake.err), 0);
    assert_in_range(clock_mono_us() - begun_us, 2990000, 8000000); /* a third of it, once */
    fake_expect(&fake, "GET /tank?object-lock=\nPOST /tank?delete=\nPOST /tank?delete=\n"
                       "POST /tank?delete=\nPOST /tank?delete=\n");
    static const unsigned counts[] = {30, 7, 14, 9};
    for (size_t n = 0; n < 4; n++)
        assert_int_equal(names_in(n), counts[n]);
    static const char second[] = "<Quiet>true</Quiet><Object><Key>pre/n/00</Key>";
    static const char last[] = "<Object><Key>pre/n/29</Key></Object></Delete>";
    assert_non_null(strstr((char *)stub_http_request(fake.stub, 2)->body, second));
    assert_non_null(strstr((char *)stub_http_request(fake.stub, 3)->body, "pre/n/07</Key>"));
    assert_non_null(strstr((char *)stub_http_request(fake.stub, 4)->body, last));
    assert_int_equal(stats().retries, 1);
    /* the last had fewer than it might have: what is remembered are 28 */
    assert_int_equal(storage_remove(fake.st, list, 30, &fake.err), 0);
    assert_int_equal(names_in(4), 28);
    assert_int_equal(names_in(5), 2);
    assert_null(stub_http_request(fake.stub, 7));
    fake_close(&fake);
}

static void removing_from_a_store_that_hangs_ends(void **state)
{
    (void)state;
    static const struct rule rules[] = {FAKE_NO_LOCK, {.method = "POST", .fault = STUB_HANG}};
    const char *names[40];
    for (size_t n = 0; n < TM_ARRAY_LEN(names); n++)
        names[n] = "x";
    fake_timeout_ms = 1500;
    FAKE_OPEN(&fake, rules, AWS);
    fake_timeout_ms = 20000;
    assert_int_equal(storage_remove(fake.st, names, 40, &fake.err), -TM_E_TIMEOUT);
    assert_true(fake.err.retryable);
    fake_expect_error(&fake,
                      "cannot remove 2 objects from 'x' on: http://STORE/tank/: POST: STORE: "
                      "no answer in time");
    assert_int_equal(names_in(0), 40);
    assert_int_equal(names_in(1), 10);
    assert_int_equal(names_in(2), 2);
    assert_null(stub_http_request(fake.stub, 4));
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_attempt_that_fails_is_told),
        cmocka_unit_test(a_lost_connection_is_told_too),
        cmocka_unit_test(slow_down_is_waited_out),
        cmocka_unit_test(a_batch_grows_and_shrinks_by_how_long_it_took),
        cmocka_unit_test(a_batch_is_no_smaller_for_a_lost_connection),
        cmocka_unit_test(fewer_are_removed_at_once_when_no_answer_comes),
        cmocka_unit_test(removing_from_a_store_that_hangs_ends),
        cmocka_unit_test(other_refusals_are_not_repeated),
        cmocka_unit_test(a_missing_bucket_is_not_a_missing_object),
        cmocka_unit_test(a_404_that_is_not_the_stores_is_no_absence),
        cmocka_unit_test(a_refused_head_is_explained),
        cmocka_unit_test(the_right_region_is_named),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(a_wrong_clock_is_corrected),
        cmocka_unit_test(an_expired_token_gets_a_second_chance),
        cmocka_unit_test(lost_and_short_bodies_are_read_again),
        cmocka_unit_test(short_answers_pass),
        cmocka_unit_test(answers_that_stay_wrong_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
