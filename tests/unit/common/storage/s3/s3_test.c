/* The S3 driver against a store that answers by rules: exact requests, batches, uploads. */
#include "tests/unit/common/storage/s3/fake.h"

#include "common/clock.h"
#include "common/storage/s3/s3.h"

#define AWS   FAKE_AWS
#define PROXY "proxy=http://127.0.0.1:%u"

static struct fake fake;

static int put(const char *name, const char *text)
{
    return storage_put(fake.st, name, slice_str(text), &fake.err);
}

/* ---- what is sent ---- */

static void aws_put_is_exact(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "PUT", .etag = true, .headers = "x-amz-server-side-encryption: aws:kms\r\n"}};
    FAKE_OPEN(
        &fake, rules,
        "s3://examplebucket/pre?endpoint=http://s3.eu-west-1.amazonaws.com&storage-class="
        "STANDARD_IA&acl=bucket-owner-full-control&sse=aws:kms&sse-kms-key-id=arn:k/1&" PROXY);
    assert_int_equal(fake.st->features, STORAGE_CONDITIONAL_CREATE);
    assert_string_equal(fake.st->display,
                        "s3://examplebucket/pre?endpoint=http://s3.eu-west-1.amazonaws.com");
    assert_int_equal(put("a+b=c/x", "hello"), 0);
    fake_expect(&fake, "PUT http://examplebucket.s3.eu-west-1.amazonaws.com/pre/a%2Bb%3Dc/x\n");
    fake_expect_header(&fake, 0, "host", "examplebucket.s3.eu-west-1.amazonaws.com");
    fake_expect_header(&fake, 0, "content-md5", "XUFAKrxLKna5cZ2REBfFkg==");
    fake_expect_header(&fake, 0, "content-length", "5");
    fake_expect_header(&fake, 0, "if-none-match", "*");
    fake_expect_header(&fake, 0, "x-amz-storage-class", "STANDARD_IA");
    fake_expect_header(&fake, 0, "x-amz-acl", "bucket-owner-full-control");
    fake_expect_header(&fake, 0, "x-amz-server-side-encryption", "aws:kms");
    fake_expect_header(&fake, 0, "x-amz-server-side-encryption-aws-kms-key-id", "arn:k/1");
    fake_expect_header(&fake, 0, "x-amz-security-token", NULL);
    fake_expect_header(&fake, 0, "x-amz-content-sha256",
                       "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    char text[1024];
    (void)stub_header(stub_http_request(fake.stub, 0), "authorization", text, sizeof(text));
    const char *names = strstr(text, "SignedHeaders=");
    assert_non_null(names);
    *strstr(text, ", Signature=") = '\0';
    assert_string_equal(
        names, "SignedHeaders=content-md5;host;if-none-match;x-amz-acl;x-amz-content-sha256;"
               "x-amz-date;x-amz-meta-tidemark-writer;x-amz-server-side-encryption;"
               "x-amz-server-side-encryption-aws-kms-key-id;x-amz-storage-class");
    assert_non_null(strstr(text, "/eu-west-1/s3/aws4_request,"));
    assert_int_equal(strlen(fake.nonce), 32);
    fake_close(&fake);
}

static void oss_put_is_exact(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "HEAD", .status = 404},
                                        {.method = "GET", .body = "<ListBucketResult/>"},
                                        {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, rules,
              "s3://examplebucket/pre?endpoint=http://oss-cn-hangzhou.aliyuncs.com&" PROXY);
    assert_int_equal(fake.st->features, 0);
    assert_int_equal(put("x", "hello"), 0);
    assert_int_equal(put("y", "hello"), 0);
#define OSS "http://examplebucket.oss-cn-hangzhou.aliyuncs.com"
    fake_expect(&fake, "HEAD " OSS "/pre/x\n"
                       "GET " OSS "/?list-type=2&max-keys=1&prefix=pre%2F\n"
                       "PUT " OSS "/pre/x\n"
                       "HEAD " OSS "/pre/y\n"
                       "PUT " OSS "/pre/y\n");
    fake_expect_header(&fake, 2, "host", "examplebucket.oss-cn-hangzhou.aliyuncs.com");
    fake_expect_header(&fake, 2, "if-none-match", NULL);
    fake_expect_header(&fake, 2, "x-oss-forbid-overwrite", "true");
    char text[1024];
    (void)stub_header(stub_http_request(fake.stub, 2), "authorization", text, sizeof(text));
    assert_non_null(strstr(text, "/cn-hangzhou/s3/aws4_request,"));
    fake_close(&fake);
}

static void cos_put_is_exact(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "HEAD", .status = 404},
                                        {.method = "GET", .body = "<ListBucketResult/>"},
                                        {.method = "PUT", .etag = true}};
    FAKE_OPEN(&fake, rules,
              "s3://bucket-125/pre?endpoint=http://cos.ap-guangzhou.myqcloud.com&" PROXY);
    assert_int_equal(fake.st->features, 0);
    assert_int_equal(put("x", "hello"), 0);
#define COS "http://bucket-125.cos.ap-guangzhou.myqcloud.com"
    fake_expect(&fake, "HEAD " COS "/pre/x\n"
                       "GET " COS "/?max-keys=1&prefix=pre%2F\n"
                       "PUT " COS "/pre/x\n");
    fake_expect_header(&fake, 2, "host", "bucket-125.cos.ap-guangzhou.myqcloud.com");
    fake_expect_header(&fake, 2, "if-none-match", NULL);
    fake_expect_header(&fake, 2, "x-cos-forbid-overwrite", "true");
    char text[1024];
    (void)stub_header(stub_http_request(fake.stub, 2), "authorization", text, sizeof(text));
    assert_non_null(strstr(text, "/ap-guangzhou/s3/aws4_request,"));
    fake_close(&fake);
}

static void session_tokens_are_sent(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "PUT", .etag = true}};
    fake_open(&fake, rules, TM_ARRAY_LEN(rules), AWS, "token/+=");
    assert_int_equal(put("x", ""), 0);
    fake_expect(&fake, "PUT /tank/pre/x\n");
    fake_expect_header(&fake, 0, "x-amz-security-token", "token/+=");
    fake_expect_header(&fake, 0, "content-length", "0");
    fake_close(&fake);
}

static void reads_are_exact(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "GET",
                                         .status = 206,
                                         .headers = "content-range: bytes 10-14/100\r\n",
                                         .body = "hello"}};
    FAKE_OPEN(&fake, rules, AWS);
    char bytes[6] = "";
    assert_int_equal(storage_read(fake.st, "x", 10, bytes, 5, &fake.err), 0);
    assert_string_equal(bytes, "hello");
    fake_expect(&fake, "GET /tank/pre/x\n");
    fake_expect_header(&fake, 0, "range", "bytes=10-14");
    fake_close(&fake);
}

static void stat_reads_headers(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "HEAD",
         .target = "/there",
         .body = "seven b",
         .headers = "last-modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n"},
        {.method = "HEAD", .status = 404}};
    FAKE_OPEN(&fake, rules, AWS);
    struct storage_object o;
    assert_int_equal(storage_stat(fake.st, "there", &o, &fake.err), 0);
    assert_string_equal(o.name, "there");
    assert_int_equal(o.size_bytes, 7);
    assert_int_equal(o.modified_us, INT64_C(1767323045000000));
    assert_int_equal(storage_stat(fake.st, "gone", &o, &fake.err), -TM_E_NOT_FOUND);
    fake_expect_error(&fake, "cannot stat 'gone': http://STORE/tank/pre/gone: no such object");
    fake_expect(&fake, "HEAD /tank/pre/there\nHEAD /tank/pre/gone\n");
    fake_close(&fake);
}

static void a_head_without_a_size_is_no_empty_object(void **state)
{
    (void)state;
    static const struct rule rules[] = {{.method = "HEAD", .no_length = true}};
    FAKE_OPEN(&fake, rules, AWS);
    struct storage_object o;
    assert_int_equal(storage_stat(fake.st, "x", &o, &fake.err), -TM_E_UNAVAILABLE);
    assert_true(fake.err.retryable);
    fake_expect_error(&fake, "cannot stat 'x': http://STORE/tank/pre/x: HEAD: the answer has no "
                             "size");
    fake_close(&fake);
}

/* ---- removing ---- */

static void batches_of_names_are_removed(void **state)
{
    (void)state;
    static const struct rule rules[] = {FAKE_NO_LOCK,
                                        {.method = "POST", .body = "<DeleteResult/>", .times = 1},
                                        {.method = "POST", .body = ""},
                                        {.method = "DELETE", .status = 404, .times = 1},
                                        {.method = "DELETE", .status = 204}};
    FAKE_OPEN(&fake, rules, AWS);
    static char names[1502][16];
    static const char *list[1502];
    for (unsigned n = 0; n < 1502; n++) {
        (void)snprintf(names[n], sizeof(names[n]), "n/%05u", n);
        list[n] = names[n];
    }
    assert_int_equal(storage_remove(fake.st, list, 1502, &fake.err), 0);
    assert_int_equal(storage_remove(fake.st, list, 1, &fake.err), 0);
    assert_int_equal(storage_remove(fake.st, list, 1001, &fake.err), 0);
    fake_expect(&fake,
                FAKE_ASKS_LOCK "POST /tank?delete=\nPOST /tank?delete=\nDELETE /tank/pre/n/00000\n"
                               "POST /tank?delete=\nDELETE /tank/pre/n/01000\n");
    const struct stub_request *request = stub_http_request(fake.stub, 2);
    const char *body = (const char *)request->body;
    static const char start[] =
        "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>"
        "<Object><Key>pre/n/01000</Key></Object><Object><Key>pre/n/01001</Key></Object>";
    static const char end[] = "<Object><Key>pre/n/01501</Key></Object></Delete>";
    assert_int_equal(strncmp(body, start, strlen(start)), 0);
    assert_string_equal(body + request->body_len - strlen(end), end);
    char md5[33];
    fake_md5(request->body, request->body_len, md5);
    uint8_t raw[16];
    for (size_t n = 0; n < 16; n++)
        raw[n] = (uint8_t)(hex_value(md5[2 * n]) * 16 + hex_value(md5[2 * n + 1]));
    char base64[25];
    (void)EVP_EncodeBlock((unsigned char *)base64, raw, 16);
    fake_expect_header(&fake, 2, "content-md5", base64);
    fake_close(&fake);
}

static void an_error_in_a_batch_names_its_key(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        FAKE_NO_LOCK,
        {.method = "POST",
         .headers = "x-amz-request-id: R1\r\n",
         .body = "<DeleteResult><Error><Key>pre/a</Key><Code>SlowDown</Code><Message>m</Message>"
                 "</Error><Error><Key>pre/b</Key><Code>AccessDenied</Code><Message>locked until "
                 "2027</Message></Error><Error><Key>pre/c</Key><Code>NoSuchKey</Code></Error>"
                 "</DeleteResult>"}};
    FAKE_OPEN(&fake, rules, AWS);
    const char *const names[] = {"a", "b", "c"};
    assert_int_equal(storage_remove(fake.st, names, 3, &fake.err), -TM_E_PERMISSION);
    fake_expect_error(&fake, "cannot remove 3 objects from 'a' on: http://STORE/tank/: POST: HTTP "
                             "200 AccessDenied: 'pre/b': locked until 2027 (request R1)");
    assert_false(fake.err.retryable);
    fake_expect(&fake, FAKE_ASKS_LOCK "POST /tank?delete=\n");
    fake_close(&fake);
}

static void an_error_of_a_batch_needs_no_code(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        FAKE_NO_LOCK,
        {.method = "POST",
         .body = "<DeleteResult><Error><Key>pre/b</Key><Message>m</Message></Error>"
                 "</DeleteResult>"}};
    FAKE_OPEN(&fake, rules, AWS);
    const char *const names[] = {"a", "b", "c"};
    assert_int_equal(storage_remove(fake.st, names, 3, &fake.err), -TM_E_IO);
    fake_expect_error(&fake, "cannot remove 3 objects from 'a' on: http://STORE/tank/: POST: HTTP "
                             "200 ErrorWithoutCode: 'pre/b': m");
    fake_close(&fake);
}

static void a_batch_that_was_too_fast_is_sent_again(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        FAKE_NO_LOCK,
        {.method = "POST",
         .times = 1,
         .body = "<DeleteResult><Error><Key>pre/c</Key><Code>NoSuchKey</Code></Error><Error>"
                 "<Key>pre/a</Key><Code>SlowDown</Code></Error></DeleteResult>"},
        {.method = "POST",
         .body = "<DeleteResult><Error><Key>pre/c</Key><Code>NoSuchKey</Code></Error>"
                 "</DeleteResult>"}};
    FAKE_OPEN(&fake, rules, AWS);
    const char *const names[] = {"a", "b", "c"};
    assert_int_equal(storage_remove(fake.st, names, 3, &fake.err), 0);
    fake_expect(&fake, FAKE_ASKS_LOCK "POST /tank?delete=\nPOST /tank?delete=\n");
    struct storage_stats stats;
    storage_stats(fake.st, &stats);
    assert_int_equal(stats.requests, 3);
    assert_int_equal(stats.retries, 1);
    assert_int_equal(stats.slow_downs, 1);
    assert_int_equal(stats.limit, 8);
    assert_int_equal(stats.limit_max, 16);
    fake_close(&fake);
}

static void a_refused_removal_says_so(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        FAKE_NO_LOCK,
        {.method = "DELETE",
         .status = 403,
         .body = "<Error><Code>AccessDenied</Code><Message>Access Denied because object protected "
                 "by object lock.</Message><RequestId>R2</RequestId></Error>"}};
    FAKE_OPEN(&fake, rules, AWS);
    const char *const names[] = {"a"};
    assert_int_equal(storage_remove(fake.st, names, 1, &fake.err), -TM_E_PERMISSION);
    fake_expect_error(&fake,
                      "cannot remove 'a': http://STORE/tank/pre/a: DELETE: HTTP 403 AccessDenied: "
                      "Access Denied because object protected by object lock. (request R2); keys "
                      "from secret");
    fake_expect(&fake, FAKE_ASKS_LOCK "DELETE /tank/pre/a\n");
    fake_close(&fake);
}

/* ---- uploads ---- */

#define UPLOAD                                                                                     \
    "<InitiateMultipartUploadResult><UploadId>up/1</UploadId></InitiateMultipartUploadResult>"
#define DONE "<CompleteMultipartUploadResult><ETag/></CompleteMultipartUploadResult>"
#define UPLOADS                                                                                    \
    {                                                                                              \
        .method = "POST", .target = "?uploads=", .body = UPLOAD                                    \
    }
#define PARTS                                                                                      \
    {                                                                                              \
        .method = "PUT", .target = "partNumber=", .etag = true                                     \
    }

/* Bytes that differ from part to part. */
static uint8_t *bytes_new(size_t len)
{
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    for (size_t at = 0; at < len; at++)
        bytes[at] = (uint8_t)((at >> 3) * 31 + (at >> 20));
    return bytes;
}

static const struct stub_request *find_request(const char *method, const char *target)
{
    const struct stub_request *r;
    for (size_t n = 0; (r = stub_http_request(fake.stub, n)) != NULL; n++)
        if (strcmp(r->method, method) == 0 && strstr(r->target, target) != NULL)
            return r;
    return NULL;
}

static void large_objects_go_in_parts(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        UPLOADS, PARTS, {.method = "POST", .target = "?uploadId=", .body = DONE}};
    FAKE_OPEN(&fake, rules, AWS "&storage-class=STANDARD_IA");
    const size_t len = 2 * S3_PART_BYTES + 5;
    TM_CLEANUP(freep) uint8_t *bytes = bytes_new(len);
    struct storage_writer *w;
    assert_int_equal(storage_create(fake.st, "big", &w, &fake.err), 0);
    for (size_t at = 0; at < len;) { /* odd pieces: parts do not follow them */
        size_t n = TM_MIN((size_t)3000001, len - at);
        assert_int_equal(storage_writer_write(w, bytes + at, n, &fake.err), 0);
        at += n;
    }
    assert_int_equal(storage_writer_commit(w, &fake.err), 0);
    assert_int_equal(stub_http_count(fake.stub), 5);
    const struct stub_request *begin = stub_http_request(fake.stub, 0);
    assert_string_equal(fake_path(begin), "/tank/pre/big?uploads=");
    fake_expect_header(&fake, 0, "x-amz-storage-class", "STANDARD_IA");
    fake_expect_header(&fake, 0, "x-amz-meta-tidemark-writer", fake.nonce);
    char expected[1024];
    size_t used = (size_t)snprintf(expected, sizeof(expected), "<CompleteMultipartUpload>");
    for (unsigned n = 1; n <= 3; n++) {
        char target[80], md5[33];
        (void)snprintf(target, sizeof(target), "/tank/pre/big?partNumber=%u&uploadId=up%%2F1", n);
        const struct stub_request *part = find_request("PUT", target);
        assert_non_null(part);
        size_t part_len = n < 3 ? S3_PART_BYTES : 5;
        assert_int_equal(part->body_len, part_len);
        assert_memory_equal(part->body, bytes + (n - 1) * S3_PART_BYTES, part_len);
        char value[64];
        assert_null(stub_header(part, "x-amz-storage-class", value, sizeof(value)));
        fake_md5(part->body, part->body_len, md5);
        used += (size_t)snprintf(expected + used, sizeof(expected) - used,
                                 "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", n, md5);
    }
    (void)snprintf(expected + used, sizeof(expected) - used, "</CompleteMultipartUpload>");
    const struct stub_request *complete = find_request("POST", "?uploadId=up%2F1");
    assert_string_equal((const char *)complete->body, expected);
    fake_expect_header(&fake, 4, "if-none-match", "*");
    storage_writer_free(w); /* sends nothing: the upload is complete */
    assert_int_equal(stub_http_count(fake.stub), 5);
    fake_close(&fake);
}

static void what_is_not_committed_is_aborted(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        UPLOADS,
        {.method = "PUT", .target = "partNumber=1", .fault = STUB_HANG},
        PARTS,
        {.method = "DELETE", .target = "?uploadId=up%2F1", .status = 204}};
    FAKE_OPEN(&fake, rules, AWS);
    TM_CLEANUP(freep) uint8_t *bytes = bytes_new(2 * S3_PART_BYTES);
    struct storage_writer *w;
    assert_int_equal(storage_create(fake.st, "big", &w, &fake.err), 0);
    assert_int_equal(storage_writer_write(w, bytes, S3_PART_BYTES + 1, &fake.err), 0);
    storage_writer_free(w); /* with a part under way */
    size_t count = stub_http_count(fake.stub);
    assert_string_equal(stub_http_request(fake.stub, count - 1)->method, "DELETE");
    /* one that was never large has nothing to abort */
    assert_int_equal(storage_create(fake.st, "small", &w, &fake.err), 0);
    assert_int_equal(storage_writer_write(w, bytes, S3_PART_BYTES, &fake.err), 0);
    storage_writer_free(w);
    assert_int_equal(stub_http_count(fake.stub), count);
    fake_close(&fake);
}

static void sealing_sends_all_but_the_last_word(void **state)
{
    (void)state;
    static const struct rule rules[] = {UPLOADS,
                                        PARTS,
                                        {.method = "PUT", .etag = true},
                                        {.method = "POST", .target = "?uploadId=", .body = DONE}};
    FAKE_OPEN(&fake, rules, AWS);
    TM_CLEANUP(freep) uint8_t *bytes = bytes_new(S3_SEAL_PART_BYTES);
    struct storage_writer *w;
    assert_int_equal(storage_create(fake.st, "x", &w, &fake.err), 0);
    assert_int_equal(storage_writer_write(w, bytes, S3_SEAL_PART_BYTES, &fake.err), 0);
    assert_int_equal(storage_writer_seal(w, &fake.err), 0);
    fake_expect(&fake, "POST /tank/pre/x?uploads=\nPUT /tank/pre/x?partNumber=1&uploadId=up%2F1\n");
    assert_int_equal(storage_writer_commit(w, &fake.err), 0);
    storage_writer_free(w);
    assert_int_equal(storage_create(fake.st, "y", &w, &fake.err), 0);
    assert_int_equal(storage_writer_write(w, bytes, S3_SEAL_PART_BYTES - 1, &fake.err), 0);
    assert_int_equal(storage_writer_seal(w, &fake.err), 0);
    assert_int_equal(stub_http_count(fake.stub), 3);
    assert_int_equal(storage_writer_commit(w, &fake.err), 0);
    storage_writer_free(w);
    fake_expect(&fake, "POST /tank/pre/x?uploads=\nPUT /tank/pre/x?partNumber=1&uploadId=up%2F1\n"
                       "POST /tank/pre/x?uploadId=up%2F1\nPUT /tank/pre/y\n");
    fake_close(&fake);
}

static void leftovers_are_swept(void **state)
{
    (void)state;
#define UP(key, id, time) "<Upload><Key>" key "</Key><UploadId>" id "</UploadId>" time "</Upload>"
#define AT(time)          "<Initiated>" time "</Initiated>"
    static const struct rule rules[] = {
        {.method = "GET",
         .target = "key-marker=pre%2Fb%2Bc&",
         .body = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>" UP(
             "pre/z", "5", AT("2026-01-01T00:00:00.000Z")) "</ListMultipartUploadsResult>"},
        {.method = "GET",
         .body = "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true"
                 "</IsTruncated><NextKeyMarker>pre/b%2Bc</NextKeyMarker><NextUploadIdMarker>4"
                 "</NextUploadIdMarker>" UP("elsewhere", "0", AT("2026-01-01T00:00:00Z"))
                     UP("pre/a", "1", AT("2026-01-02T00:00:00.000Z"))
                         UP("pre/a", "2+", AT("2026-01-01T23:59:59.000Z")) UP("pre/b", "3", "")
                             UP("pre/b%2Bc", "4", AT("2026-01-01T00:00:00.000Z")) "</"
                                                                                  "ListMultipartUpl"
                                                                                  "oadsResult>"},
        {.method = "DELETE", .target = "uploadId=4", .status = 404},
        {.method = "DELETE", .status = 204}};
    FAKE_OPEN(&fake, rules, AWS);
    int64_t limit_us;
    uint64_t count;
    assert_int_equal(clock_parse("2026-01-02T00:00:00Z", &limit_us, &fake.err), 0);
    assert_int_equal(storage_sweep_leftovers(fake.st, "", limit_us, &count, &fake.err), 0);
    assert_int_equal(count, 3);
    fake_expect(&fake, "GET /tank?encoding-type=url&max-uploads=1000&prefix=pre%2F&uploads=\n"
                       "DELETE /tank/pre/a?uploadId=2%2B\n"
                       "DELETE /tank/pre/b%2Bc?uploadId=4\n"
                       "GET /tank?encoding-type=url&key-marker=pre%2Fb%2Bc&max-uploads=1000&"
                       "prefix=pre%2F&upload-id-marker=4&uploads=\n"
                       "DELETE /tank/pre/z?uploadId=5\n");
    fake_close(&fake);
}

/* ---- encryption that was asked for ---- */

#define IN_THE_CLEAR                                                                               \
    "HTTP 200 NotEncrypted: the store does not confirm that it encrypts as sse=AES256 asks"

static void encryption_has_to_be_confirmed(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "PUT", .times = 1, .etag = true},
        {.method = "HEAD",
         .nonce = true,
         .headers = "etag: \"5d41402abc4b2a76b9719d911017c592\"\r\n",
         .body = "hello"},
        {.method = "DELETE", .status = 204},
        {.method = "PUT", .etag = true, .headers = "x-oss-server-side-encryption: AES256\r\n"}};
    FAKE_OPEN(&fake, rules, AWS "&sse=AES256");
    assert_int_equal(put("x", "hello"), -TM_E_UNSUPPORTED);
    fake_expect_error(&fake, "cannot commit 'x': http://STORE/tank/pre/x: PUT: " IN_THE_CLEAR);
    assert_false(fake.err.retryable);
    fake_expect_header(&fake, 0, "x-amz-server-side-encryption", "AES256");
    fake_expect(&fake, "PUT /tank/pre/x\nHEAD /tank/pre/x\nDELETE /tank/pre/x\n");
    assert_int_equal(put("x", "hello"), 0);
    fake_close(&fake);
}

/* What stays in the clear is told, too: another's object is not touched. */
static void what_is_not_encrypted_and_stays_is_told(void **state)
{
    (void)state;
    static const struct rule stays[] = {{.method = "PUT", .etag = true},
                                        {.method = "HEAD", .nonce = true, .body = "hello"},
                                        {.method = "DELETE", .status = 403}};
    FAKE_OPEN(&fake, stays, AWS "&sse=AES256");
    assert_int_equal(put("x", "hello"), -TM_E_UNSUPPORTED);
    fake_expect_error(&fake,
                      "cannot commit 'x': the object is still there (http://STORE/tank/pre/x: "
                      "DELETE: HTTP 403; keys from secret): http://STORE/tank/pre/x: "
                      "PUT: " IN_THE_CLEAR);
    fake_close(&fake);
    static const struct rule others[] = {{.method = "PUT", .etag = true},
                                         {.method = "HEAD", .body = "hello"}};
    FAKE_OPEN(&fake, others, AWS "&sse=AES256");
    assert_int_equal(put("x", "hello"), -TM_E_UNSUPPORTED);
    fake_expect(&fake, "PUT /tank/pre/x\nHEAD /tank/pre/x\n");
    fake_close(&fake);
}

static void an_upload_is_not_begun_in_the_clear(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        UPLOADS, {.method = "DELETE", .target = "?uploadId=up%2F1", .status = 204}};
    FAKE_OPEN(&fake, rules, AWS "&sse=AES256");
    TM_CLEANUP(freep) uint8_t *bytes = bytes_new(S3_PART_BYTES + 1);
    struct storage_writer *w;
    assert_int_equal(storage_create(fake.st, "big", &w, &fake.err), 0);
    assert_int_equal(storage_writer_write(w, bytes, S3_PART_BYTES + 1, &fake.err),
                     -TM_E_UNSUPPORTED);
    fake_expect_error(&fake, "cannot write 'big': http://STORE/tank/pre/big: POST: " IN_THE_CLEAR);
    storage_writer_free(w);
    fake_expect(&fake, "POST /tank/pre/big?uploads=\nDELETE /tank/pre/big?uploadId=up%2F1\n");
    fake_close(&fake);
}

/* ---- the clock ---- */

static void the_time_is_the_stores(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "HEAD", .status = 403, .headers = "date: Fri, 02 Jan 2026 03:04:05 GMT\r\n"},
        {.method = "GET", .status = 403}};
    FAKE_OPEN(&fake, rules, AWS);
    for (int n = 0; n < 2; n++) {
        int64_t now_us;
        assert_int_equal(storage_now(fake.st, &now_us, &fake.err), 0);
        assert_in_range(now_us, INT64_C(1767323045000000), INT64_C(1767323065000000));
    }
    struct storage_stats stats;
    storage_stats(fake.st, &stats);
    assert_in_range(clock_real_us() + stats.skew_us, INT64_C(1767323045000000),
                    INT64_C(1767323065000000));
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aws_put_is_exact),
        cmocka_unit_test(oss_put_is_exact),
        cmocka_unit_test(cos_put_is_exact),
        cmocka_unit_test(session_tokens_are_sent),
        cmocka_unit_test(reads_are_exact),
        cmocka_unit_test(stat_reads_headers),
        cmocka_unit_test(batches_of_names_are_removed),
        cmocka_unit_test(an_error_in_a_batch_names_its_key),
        cmocka_unit_test(a_head_without_a_size_is_no_empty_object),
        cmocka_unit_test(an_error_of_a_batch_needs_no_code),
        cmocka_unit_test(a_batch_that_was_too_fast_is_sent_again),
        cmocka_unit_test(a_refused_removal_says_so),
        cmocka_unit_test(large_objects_go_in_parts),
        cmocka_unit_test(what_is_not_committed_is_aborted),
        cmocka_unit_test(sealing_sends_all_but_the_last_word),
        cmocka_unit_test(leftovers_are_swept),
        cmocka_unit_test(encryption_has_to_be_confirmed),
        cmocka_unit_test(what_is_not_encrypted_and_stays_is_told),
        cmocka_unit_test(an_upload_is_not_begun_in_the_clear),
        cmocka_unit_test(the_time_is_the_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
