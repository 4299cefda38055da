/* AWS's published examples of Signature V4, those of S3's manual and those of the test suite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/storage/s3/sign.h"

#define S3_SECRET    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define S3_KEY       "AKIAIOSFODNN7EXAMPLE"
#define SUITE_KEY    "AKIDEXAMPLE"
#define SUITE_SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

static const struct sign_scope s3_scope = {"20130524T000000Z", "us-east-1", "s3"};
static const struct sign_scope suite_scope = {"20150830T123600Z", "us-east-1", "service"};

static void check(const struct sign_request *request, const struct sign_scope *scope,
                  struct slice key, struct slice secret, const char *credential,
                  const char *expected)
{
    struct tm_err err;
    char text[SIGN_AUTHORIZATION_MAX], whole[SIGN_AUTHORIZATION_MAX];
    assert_int_equal(sign_v4(request, scope, key, secret, text, &err), 0);
    (void)snprintf(whole, sizeof(whole), "AWS4-HMAC-SHA256 Credential=%s/aws4_request, %s",
                   credential, expected);
    assert_string_equal(text, whole);
}

static void check_s3(const struct sign_request *request, const char *expected)
{
    check(request, &s3_scope, slice_str(S3_KEY), slice_str(S3_SECRET),
          "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3", expected);
}

static void s3_get_object(void **state)
{
    (void)state;
    const struct sign_header headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                          {"range", "bytes=0-9"},
                                          {"x-amz-content-sha256", SIGN_EMPTY_SHA256},
                                          {"x-amz-date", "20130524T000000Z"}};
    struct sign_request request = {"GET", "/test.txt", "", headers, 4, SIGN_EMPTY_SHA256};
    check_s3(&request, "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature="
                       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf canonical = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf names = BUF_INIT;
    assert_int_equal(sign_canonical(&request, &canonical, &names, &err), 0);
    const char *text;
    assert_int_equal(buf_cstr(&canonical, &text, &err), 0);
    assert_string_equal(text, "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\n"
                              "range:bytes=0-9\nx-amz-content-sha256:" SIGN_EMPTY_SHA256
                              "\nx-amz-date:20130524T000000Z\n\n"
                              "host;range;x-amz-content-sha256;x-amz-date\n" SIGN_EMPTY_SHA256);
}

static void s3_put_object(void **state)
{
    (void)state;
    const char *payload = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    const struct sign_header headers[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                                          {"host", "examplebucket.s3.amazonaws.com"},
                                          {"x-amz-content-sha256", payload},
                                          {"x-amz-date", "20130524T000000Z"},
                                          {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
    struct sign_request request = {"PUT", "/test%24file.text", "", headers, 5, payload};
    check_s3(&request,
             "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, "
             "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void s3_lifecycle_and_list(void **state)
{
    (void)state;
    const struct sign_header headers[] = {{"x-amz-date", "20130524T000000Z"},
                                          {"x-amz-content-sha256", SIGN_EMPTY_SHA256},
                                          {"host", "examplebucket.s3.amazonaws.com"}};
    struct sign_request request = {"GET", "/", "lifecycle", headers, 3, SIGN_EMPTY_SHA256};
    check_s3(&request, "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
                       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    request.query = "lifecycle=";
    check_s3(&request, "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
                       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    request.query = "prefix=J&max-keys=2";
    check_s3(&request, "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
                       "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void check_suite(const struct sign_request *request, const char *expected)
{
    check(request, &suite_scope, slice_str(SUITE_KEY), slice_str(SUITE_SECRET),
          "AKIDEXAMPLE/20150830/us-east-1/service", expected);
}

static void suite(void **state)
{
    (void)state;
    struct sign_header headers[] = {{"host", "example.amazonaws.com"},
                                    {"x-amz-date", "20150830T123600Z"},
                                    {"my-header1", " a   b  c "}};
    struct sign_request request = {"GET", "/", "", headers, 2, SIGN_EMPTY_SHA256};
#define SIGNED "SignedHeaders=host;x-amz-date, Signature="
    /* get-vanilla */
    check_suite(&request,
                SIGNED "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    /* get-vanilla-query-order-key-case */
    request.query = "Param2=value2&Param1=value1";
    check_suite(&request,
                SIGNED "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
    /* post-vanilla */
    request.query = "";
    request.method = "POST";
    check_suite(&request,
                SIGNED "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

static void canonical_order(void **state)
{
    (void)state;
    struct sign_header headers[] = {{"x-b", "2"}, {"x-a", " one  two "}, {"x-b", "1"}, {"x", ""}};
    struct sign_request request = {"GET", "/k", "b=2&a=2&a-b=1&a=1&uploads", headers, 4, "HASH"};
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf canonical = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf names = BUF_INIT;
    assert_int_equal(sign_canonical(&request, &canonical, &names, &err), 0);
    const char *text;
    assert_int_equal(buf_cstr(&canonical, &text, &err), 0);
    assert_string_equal(text, "GET\n/k\na=1&a=2&a-b=1&b=2&uploads=\nx:\nx-a:one two\nx-b:2,1\n\n"
                              "x;x-a;x-b\nHASH");
}

static void limits(void **state)
{
    (void)state;
    struct tm_err err;
    char text[SIGN_AUTHORIZATION_MAX];
    struct sign_request request = {"GET", "/", "a=&b=&c=&d=&e=&f=&g=&h=&i=&j=&k=&l=&m=&n=&o=&p=&q=",
                                   NULL,  0,   SIGN_EMPTY_SHA256};
    assert_int_equal(
        sign_v4(&request, &s3_scope, slice_str(S3_KEY), slice_str(S3_SECRET), text, &err),
        -TM_E_LIMIT);
    assert_string_equal(err.msg, "more than 16 query parameters to sign");
    char key[SIGN_AUTHORIZATION_MAX + 1];
    memset(key, 'K', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    request.query = "";
    assert_int_equal(sign_v4(&request, &s3_scope, slice_str(key), slice_str("s"), text, &err),
                     -TM_E_LIMIT);
    assert_string_equal(err.msg, "the access key is too long to sign with");
}

static void dates(void **state)
{
    (void)state;
    char date[SIGN_DATE_MAX];
    sign_date(INT64_C(1369353600999999), date);
    assert_string_equal(date, "20130524T000000Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s3_get_object),
        cmocka_unit_test(s3_put_object),
        cmocka_unit_test(s3_lifecycle_and_list),
        cmocka_unit_test(suite),
        cmocka_unit_test(canonical_order),
        cmocka_unit_test(limits),
        cmocka_unit_test(dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
