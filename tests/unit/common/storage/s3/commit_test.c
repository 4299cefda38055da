/* Committing to S3: never twice, never wrong, whatever becomes of the answers. */
#include "tests/unit/common/storage/s3/hello.h"

#include "common/clock.h"
#include "common/storage/s3/s3.h"

/* what an MD5 of "hello" is, and one that it is not */
#define HELLO_ETAG "etag: \"5d41402abc4b2a76b9719d911017c592\"\r\n"
#define WRONG_ETAG "etag: \"00000000000000000000000000000000\"\r\n"
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
    FAKE_OPEN(&fake, oss, "s3://tank/pre?endpoint=http://127.0.0.1:%u&provider=oss");
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

/* What damages bodies on their way is not tried for long, but may be gone the next time. */
static void a_body_that_stays_damaged_may_be_sent_later(void **state)
{
    (void)state;
    static const struct rule rules[] = {UPLOADS,
                                        {.method = "PUT",
                                         .target = "partNumber=1",
                                         .status = 400,
                                         .body = ERROR("BadDigest", "Damaged")},
                                        PARTS,
                                        ABORT};
    FAKE_OPEN(&fake, rules, AWS);
    assert_int_equal(put_large("x"), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: PUT: HTTP 400 BadDigest: "
                             "Damaged (request R1)");
    assert_int_equal(count_of("PUT", "partNumber=1"), 3);
    fake_close(&fake);
    static const struct rule etag[] = {{.method = "PUT", .headers = WRONG_ETAG},
                                       {.method = "HEAD", .status = 404},
                                       {.method = "GET", .body = "<ListBucketResult/>"}};
    FAKE_OPEN(&fake, etag, AWS);
    assert_int_equal(put("x"), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
    assert_int_equal(count_of("PUT", "/x"), 3);
    fake_close(&fake);
    static const struct rule token[] = {
        {.method = "PUT", .status = 400, .body = ERROR("ExpiredToken", "Old")}};
    FAKE_OPEN(&fake, token, AWS);
    assert_int_equal(put("x"), -TM_E_PERMISSION);
    assert_false(fake.err.retryable);
    assert_int_equal(count_of("PUT", "/x"), 3);
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
    assert_int_equal(put_large("x"), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: PUT: HTTP 404 "
                             "NoSuchUpload: None (request R1)");
    assert_int_equal(count_of("POST", "?uploadId="), 0);
    assert_int_equal(count_of("DELETE", "/tank/pre/x?uploadId=1"), 1);
    fake_close(&fake);
}

/* Whoever does not look at an earlier failure does not get an object with a hole. */
static void a_failed_part_fails_all_that_follows(void **state)
{
    (void)state;
    static const struct rule rules[] = {UPLOADS,
                                        {.method = "PUT",
                                         .target = "partNumber=1",
                                         .status = 403,
                                         .body = ERROR("AccessDenied", "No")},
                                        PARTS,
                                        {.method = "POST", .body = DONE},
                                        ABORT};
    FAKE_OPEN(&fake, rules, AWS);
    TM_CLEANUP(freep) uint8_t *bytes = calloc(1, S3_PART_BYTES + 1);
    assert_non_null(bytes);
    struct storage_writer *w = NULL;
    assert_int_equal(storage_create(fake.st, "x", &w, &fake.err), 0);
    assert_int_equal(storage_writer_write(w, bytes, S3_PART_BYTES + 1, &fake.err), 0);
    for (unsigned n = 0; n < 2; n++) {
        fake.err = (struct tm_err){.retryable = false};
        assert_int_equal(n == 0 ? storage_writer_seal(w, &fake.err)
                                : storage_writer_commit(w, &fake.err),
                         -TM_E_PERMISSION);
        fake_expect_error(&fake, "cannot write 'x': http://STORE/tank/pre/x: PUT: HTTP 403 "
                                 "AccessDenied: No (request R1); keys from secret");
    }
    storage_writer_free(w);
    assert_int_equal(count_of("POST", "?uploadId="), 0);
    assert_int_equal(count_of("DELETE", "?uploadId=1"), 1);
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
    assert_int_equal(put_large("x"), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
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

static bool settles(const char *name, size_t len)
{
    TM_CLEANUP(freep) uint8_t *bytes = calloc(1, len);
    assert_non_null(bytes);
    TM_CLEANUP(storage_writer_freep) struct storage_writer *w = NULL;
    assert_int_equal(storage_create(fake.st, name, &w, &fake.err), 0);
    assert_int_equal(storage_writer_write(w, bytes, len, &fake.err), 0);
    assert_int_equal(storage_writer_commit(w, &fake.err), 0);
    return w->settled;
}

/* A commit says whether the store's own condition held: only then nobody has to look again. */
static void a_commit_tells_whether_it_was_settled(void **state)
{
    (void)state;
    static const struct rule aws[] = {
        UPLOADS, PARTS, {.method = "POST", .body = DONE}, {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, aws, AWS);
    assert_true(settles("x", 5));
    assert_true(settles("x", S3_PART_BYTES + 1));
    fake_close(&fake);
    /* found out with the first, which was asked for before; uploads are always asked for before */
    static const struct rule other[] = {{.method = "HEAD", .status = 404},
                                        {.method = "GET", .body = "<ListBucketResult/>"},
                                        UPLOADS,
                                        PARTS,
                                        {.method = "POST", .body = DONE},
                                        {.method = "PUT", .times = 1, .etag = true},
                                        {.method = "PUT", .target = "first", .status = 412},
                                        {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, other, "s3://settle/pre?endpoint=http://127.0.0.1:%u&provider=ceph");
    assert_false(settles("first", 5));
    assert_true(settles("second", 5));
    assert_false(settles("third", S3_PART_BYTES + 1));
    fake_close(&fake);
    static const struct rule oss[] = {{.method = "HEAD", .status = 404},
                                      {.method = "GET", .body = "<ListBucketResult/>"},
                                      {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, oss, "s3://settle/pre?endpoint=http://127.0.0.1:%u&provider=oss");
    assert_false(settles("x", 5));
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_existing_object_is_never_replaced),
        cmocka_unit_test(a_conflict_is_tried_again),
        cmocka_unit_test(a_lost_reply_is_settled_by_the_nonce),
        cmocka_unit_test(a_wrong_etag_is_never_success),
        cmocka_unit_test(a_part_with_a_wrong_etag_is_sent_again),
        cmocka_unit_test(a_body_that_stays_damaged_may_be_sent_later),
        cmocka_unit_test(a_part_that_fails_for_good_aborts),
        cmocka_unit_test(a_failed_part_fails_all_that_follows),
        cmocka_unit_test(errors_inside_a_good_completion_are_seen),
        cmocka_unit_test(a_lost_completion_is_settled_by_the_nonce),
        cmocka_unit_test(conditional_create_is_found_out_once),
        cmocka_unit_test(a_store_that_refuses_the_condition_is_asked_before),
        cmocka_unit_test(a_completion_is_asked_before),
        cmocka_unit_test(a_commit_tells_whether_it_was_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
