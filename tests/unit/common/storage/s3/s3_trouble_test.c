/* The S3 driver when the store, or the way to it, does not do as it should. */
#include "tests/unit/common/storage/s3/fake.h"

#include "common/clock.h"
#include "common/storage/s3/s3.h"

#define OTHER "s3://tank/pre?endpoint=http://127.0.0.1:%u&provider="
#define AWS   OTHER "aws"
/* what an MD5 of "hello" is, and one that it is not */
#define HELLO_ETAG "etag: \"5d41402abc4b2a76b9719d911017c592\"\r\n"
#define WRONG_ETAG "etag: \"00000000000000000000000000000000\"\r\n"
#define ERROR(code, message)                                                                       \
    "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>" message                         \
    "</Message><RequestId>R1</RequestId></Error>"
#define UPLOAD                                                                                     \
    "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
#define DONE "<CompleteMultipartUploadResult/>"
#define UPLOADS                                                                                    \
    {                                                                                              \
        .method = "POST", .target = "?uploads=", .body = UPLOAD                                    \
    }
#define PARTS                                                                                      \
    {                                                                                              \
        .method = "PUT", .target = "partNumber=", .etag = true                                     \
    }
#define ABORT                                                                                      \
    {                                                                                              \
        .method = "DELETE", .target = "?uploadId=1", .status = 204                                 \
    }

static struct fake fake;

static int put(const char *name)
{
    return storage_put(fake.st, name, slice_str("hello"), &fake.err);
}

static struct storage_stats stats(void)
{
    struct storage_stats stats;
    storage_stats(fake.st, &stats);
    return stats;
}

/* Commits an object of two parts. */
static int put_large(const char *name)
{
    TM_CLEANUP(freep) uint8_t *bytes = calloc(1, S3_PART_BYTES + 1);
    assert_non_null(bytes);
    TM_CLEANUP(storage_writer_freep) struct storage_writer *w = NULL;
    assert_int_equal(storage_create(fake.st, name, &w, &fake.err), 0);
    int r = storage_writer_write(w, bytes, S3_PART_BYTES + 1, &fake.err);
    return r < 0 ? r : storage_writer_commit(w, &fake.err);
}

static size_t count_of(const char *method, const char *target)
{
    size_t count = 0;
    const struct stub_request *r;
    for (size_t n = 0; (r = stub_http_request(fake.stub, n)) != NULL; n++)
        count += strcmp(r->method, method) == 0 && strstr(r->target, target) != NULL;
    return count;
}

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
    assert_int_equal(put("y"), -TM_E_INVALID);
    fake_expect_error(&fake, "cannot commit 'y': http://STORE/tank/pre/y: PUT: HTTP 400 "
                             "ExpiredToken: Old (request R1)");
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
        {206, "content-range: bytes 0-2/100\r\n", "hel", TM_E_UNAVAILABLE, 3,
         "cannot read 'x': http://STORE/tank/pre/x: GET: HTTP 206 ShortAnswer: the answer has "
         "fewer bytes than asked for"},
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

/* ---- committing ---- */

static void an_existing_object_is_never_replaced(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "PUT", .status = 412, .body = ERROR("PreconditionFailed", "No")},
        {.method = "HEAD", .body = "hello", .headers = HELLO_ETAG}};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(put("x"), -TM_E_EXISTS);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: it already exists");
    fake_expect(&fake, "PUT /tank/pre/x\nHEAD /tank/pre/x\n");
    fake_close(&fake);
    static const struct rule oss[] = {
        {.method = "HEAD", .times = 1, .status = 404},
        {.method = "HEAD", .body = "hello"},
        {.method = "GET", .body = "<ListBucketResult/>"},
        {.method = "PUT", .status = 409, .body = ERROR("FileAlreadyExists", "No")}};
    FAKE_OPEN(&fake, oss, OTHER "oss&proxy=");
    assert_int_equal(put("x"), -TM_E_EXISTS);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: it already exists");
    fake_close(&fake);
}

/* Two writers race: AWS answers 409 and wants the request again. */
static void a_conflict_is_tried_again(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "PUT",
                                         .times = 1,
                                         .status = 409,
                                         .body = ERROR("ConditionalRequestConflict", "Race")},
                                        {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(put("x"), 0);
    assert_int_equal(stub_http_count(fake.stub), 2);
    fake_close(&fake);
}

static void a_lost_reply_is_settled_by_the_nonce(void **state)
{
    (void)state;
    static const struct rule ours[] = {
        {.method = "PUT", .times = 1, .fault = STUB_CLOSE},
        {.method = "PUT", .status = 412, .body = ERROR("PreconditionFailed", "No")},
        {.method = "HEAD", .nonce = true, .headers = HELLO_ETAG, .body = "hello"}};
    FAKE_OPEN(&fake, ours, AWS);
    assert_int_equal(put("x"), 0);
    fake_expect(&fake, "PUT /tank/pre/x\nPUT /tank/pre/x\nHEAD /tank/pre/x\n");
    fake_close(&fake);
    static const struct rule theirs[] = {
        {.method = "PUT", .times = 1, .fault = STUB_CLOSE},
        {.method = "PUT", .status = 412, .body = ERROR("PreconditionFailed", "No")},
        {.method = "HEAD",
         .headers = HELLO_ETAG "x-amz-meta-tidemark-writer: 00112233445566778899aabbccddeeff\r\n",
         .body = "hello"}};
    FAKE_OPEN(&fake, theirs, AWS);
    assert_int_equal(put("x"), -TM_E_EXISTS);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: it already exists");
    fake_close(&fake);
}

static void a_wrong_etag_is_never_success(void **state)
{
    (void)state;
    /* sent again, and right then */
    static const struct rule once[] = {{.method = "PUT", .times = 1, .headers = WRONG_ETAG},
                                       {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, once, AWS);
    assert_int_equal(put("x"), 0);
    assert_int_equal(stub_http_count(fake.stub), 2);
    fake_close(&fake);
    /* only the answer was wrong: the object says so */
    static const struct rule answer[] = {
        {.method = "PUT", .times = 1, .headers = WRONG_ETAG},
        {.method = "PUT", .status = 412, .body = ERROR("PreconditionFailed", "No")},
        {.method = "HEAD", .nonce = true, .headers = HELLO_ETAG, .body = "hello"}};
    FAKE_OPEN(&fake, answer, AWS);
    assert_int_equal(put("x"), 0);
    fake_close(&fake);
    /* the object is wrong: away with it */
    static const struct rule object[] = {
        {.method = "PUT", .times = 1, .headers = WRONG_ETAG},
        {.method = "PUT", .status = 412, .body = ERROR("PreconditionFailed", "No")},
        {.method = "HEAD", .nonce = true, .headers = WRONG_ETAG, .body = "hellO"},
        {.method = "DELETE", .status = 204}};
    FAKE_OPEN(&fake, object, AWS);
    assert_int_equal(put("x"), -TM_E_CORRUPT);
    assert_true(fake.err.retryable);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: what the store kept was "
                             "not what was sent");
    fake_expect(&fake, "PUT /tank/pre/x\nPUT /tank/pre/x\nHEAD /tank/pre/x\nDELETE /tank/pre/x\n");
    fake_close(&fake);
    /* a key of the store's makes it something else than an MD5 */
    static const struct rule kms[] = {
        {.method = "PUT", .headers = WRONG_ETAG "x-amz-server-side-encryption: aws:kms\r\n"}};
    FAKE_OPEN(&fake, kms, AWS);
    assert_int_equal(put("x"), 0);
    assert_int_equal(stub_http_count(fake.stub), 1);
    fake_close(&fake);
}

static void a_part_with_a_wrong_etag_is_sent_again(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        UPLOADS,
        {.method = "PUT", .target = "partNumber=1", .times = 1, .headers = WRONG_ETAG},
        {.method = "PUT", .target = "partNumber=2", .times = 1, .fault = STUB_CLOSE},
        PARTS,
        {.method = "POST", .target = "?uploadId=1", .body = DONE}};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(put_large("x"), 0);
    assert_int_equal(count_of("PUT", "partNumber=1"), 2);
    assert_int_equal(count_of("PUT", "partNumber=2"), 2);
    assert_int_equal(count_of("DELETE", ""), 0);
    fake_close(&fake);
}

static void a_part_that_fails_for_good_aborts(void **state)
{
    (void)state;
    static const struct rule rules[] = {UPLOADS,
                                        {.method = "PUT",
                                         .target = "partNumber=2",
                                         .status = 404,
                                         .body = ERROR("NoSuchUpload", "None")},
                                        PARTS,
                                        ABORT};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(put_large("x"), -TM_E_CONFLICT);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: PUT: HTTP 404 "
                             "NoSuchUpload: None (request R1)");
    assert_int_equal(count_of("POST", "?uploadId="), 0);
    assert_int_equal(count_of("DELETE", "/tank/pre/x?uploadId=1"), 1);
    fake_close(&fake);
}

static void errors_inside_a_good_completion_are_seen(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        UPLOADS,
        PARTS,
        {.method = "POST", .times = 1, .body = ERROR("InternalError", "Oops")},
        {.method = "POST", .times = 1, .body = ERROR("SlowDown", "Less")},
        {.method = "POST", .times = 1, .body = "<CompleteMultipartUploadRes"},
        {.method = "POST", .body = DONE}};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(put_large("x"), 0);
    assert_int_equal(count_of("POST", "?uploadId=1"), 4);
    assert_int_equal(stats().slow_downs, 1);
    assert_int_equal(stats().limit, 8);
    fake_close(&fake);
    static const struct rule refusal[] = {
        UPLOADS, PARTS, {.method = "POST", .body = ERROR("InvalidPart", "Which")}, ABORT};
    FAKE_OPEN(&fake, refusal, AWS);
    assert_int_equal(put_large("x"), -TM_E_IO);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: POST: HTTP 200 "
                             "InvalidPart: Which (request R1)");
    assert_int_equal(count_of("POST", "?uploadId=1"), 1);
    assert_int_equal(count_of("DELETE", "?uploadId=1"), 1);
    fake_close(&fake);
}

/* The first completion took effect, its answer was lost, and the upload is no more. */
static void a_lost_completion_is_settled_by_the_nonce(void **state)
{
    (void)state;
#define GONE                                                                                       \
    {                                                                                              \
        .method = "POST", .status = 404, .body = ERROR("NoSuchUpload", "None")                     \
    }
    static char size[S3_PART_BYTES + 1];
    const struct rule ours[] = {UPLOADS,
                                PARTS,
                                {.method = "POST", .times = 1, .fault = STUB_CLOSE},
                                GONE,
                                {.method = "HEAD",
                                 .nonce = true,
                                 .headers = "etag: \"00000000000000000000000000000000-2\"\r\n",
                                 .body = size,
                                 .body_len = sizeof(size)}};
    FAKE_OPEN(&fake, ours, AWS);
    assert_int_equal(put_large("x"), 0);
    assert_int_equal(count_of("DELETE", ""), 0);
    fake_close(&fake);
    static const struct rule swept[] = {UPLOADS,
                                        PARTS,
                                        GONE,
                                        ABORT,
                                        {.method = "HEAD", .status = 404},
                                        {.method = "GET", .body = "<ListBucketResult/>"}};
    FAKE_OPEN(&fake, swept, AWS);
    assert_int_equal(put_large("x"), -TM_E_CONFLICT);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: POST: HTTP 404 "
                             "NoSuchUpload: None (request R1)");
    fake_close(&fake);
}

/* ---- stores without the condition ---- */

static void conditional_create_is_found_out_once(void **state)
{
    (void)state;
    static const struct rule has[] = {{.method = "HEAD", .status = 404},
                                      {.method = "GET", .body = "<ListBucketResult/>"},
                                      {.method = "PUT", .times = 1, .etag = true},
                                      {.method = "PUT", .times = 1, .status = 412},
                                      {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, has, "s3://has/pre?endpoint=http://127.0.0.1:%u&provider=minio");
    assert_int_equal(put("x"), 0);
    assert_int_equal(put("y"), 0);
    fake_expect(&fake, "HEAD /has/pre/x\nGET /has?list-type=2&max-keys=1&prefix=pre%2F\n"
                       "PUT /has/pre/x\nPUT /has/pre/x\nPUT /has/pre/y\n");
    for (size_t n = 2; n < 5; n++)
        fake_expect_header(&fake, n, "if-none-match", "*");
    assert_string_equal((const char *)stub_http_request(fake.stub, 3)->body, "hello");
    fake_close(&fake);
    static const struct rule has_not[] = {{.method = "HEAD", .status = 404},
                                          {.method = "GET", .body = "<ListBucketResult/>"},
                                          {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, has_not, "s3://hasnot/pre?endpoint=http://127.0.0.1:%u&provider=minio");
    assert_int_equal(put("x"), 0);
    assert_int_equal(put("y"), 0);
    fake_expect(&fake, "HEAD /hasnot/pre/x\nGET /hasnot?list-type=2&max-keys=1&prefix=pre%2F\n"
                       "PUT /hasnot/pre/x\nPUT /hasnot/pre/x\nHEAD /hasnot/pre/y\n"
                       "PUT /hasnot/pre/y\n");
    fake_expect_header(&fake, 3, "if-none-match", "*");
    fake_expect_header(&fake, 5, "if-none-match", NULL);
    fake_close(&fake);
}

static void a_store_that_refuses_the_condition_is_asked_before(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "HEAD", .target = "/there", .body = "hello"},
        {.method = "HEAD", .status = 404},
        {.method = "GET", .body = "<ListBucketResult/>"},
        {.method = "PUT", .times = 1, .status = 501, .body = ERROR("NotImplemented", "Header")},
        {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, rules, "s3://swift/pre?endpoint=http://127.0.0.1:%u&provider=swift");
    assert_int_equal(put("x"), 0);
    assert_int_equal(put("y"), 0);
    assert_int_equal(put("there"), -TM_E_EXISTS);
    fake_expect(&fake, "HEAD /swift/pre/x\nGET /swift?list-type=2&max-keys=1&prefix=pre%2F\n"
                       "PUT /swift/pre/x\nPUT /swift/pre/x\nHEAD /swift/pre/y\nPUT /swift/pre/y\n"
                       "HEAD /swift/pre/there\n");
    fake_expect_header(&fake, 2, "if-none-match", "*");
    fake_expect_header(&fake, 3, "if-none-match", NULL);
    fake_expect_header(&fake, 5, "if-none-match", NULL);
    fake_close(&fake);
}

/* An upload is asked for before its completion where only a PUT is known to have the condition. */
static void a_completion_is_asked_before(void **state)
{
    (void)state;
    static const struct rule rules[] = {UPLOADS, PARTS, ABORT, {.method = "HEAD", .body = "hello"}};
    FAKE_OPEN(&fake, rules, "s3://ceph/pre?endpoint=http://127.0.0.1:%u&provider=ceph");
    assert_int_equal(put_large("x"), -TM_E_EXISTS);
    assert_int_equal(count_of("POST", "?uploadId="), 0);
    assert_int_equal(count_of("DELETE", "?uploadId=1"), 1);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_down_is_waited_out),
        cmocka_unit_test(other_refusals_are_not_repeated),
        cmocka_unit_test(a_missing_bucket_is_not_a_missing_object),
        cmocka_unit_test(a_refused_head_is_explained),
        cmocka_unit_test(the_right_region_is_named),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(a_wrong_clock_is_corrected),
        cmocka_unit_test(an_expired_token_gets_a_second_chance),
        cmocka_unit_test(lost_and_short_bodies_are_read_again),
        cmocka_unit_test(answers_that_stay_wrong_are_errors),
        cmocka_unit_test(an_existing_object_is_never_replaced),
        cmocka_unit_test(a_conflict_is_tried_again),
        cmocka_unit_test(a_lost_reply_is_settled_by_the_nonce),
        cmocka_unit_test(a_wrong_etag_is_never_success),
        cmocka_unit_test(a_part_with_a_wrong_etag_is_sent_again),
        cmocka_unit_test(a_part_that_fails_for_good_aborts),
        cmocka_unit_test(errors_inside_a_good_completion_are_seen),
        cmocka_unit_test(a_lost_completion_is_settled_by_the_nonce),
        cmocka_unit_test(conditional_create_is_found_out_once),
        cmocka_unit_test(a_store_that_refuses_the_condition_is_asked_before),
        cmocka_unit_test(a_completion_is_asked_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
