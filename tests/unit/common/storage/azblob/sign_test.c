/* Shared key signatures against strings and HMACs computed by other means, dates, MD5s. */
#include "common/storage/azblob/sign.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static struct tm_err err;
static const char *const key = "key of an account, for tests only";

static void check(const struct azblob_request *request, const char *text, const char *signature)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    const char *got;
    char authorization[AZBLOB_AUTHORIZATION_MAX], expected[AZBLOB_AUTHORIZATION_MAX];
    assert_int_equal(azblob_string_to_sign(request, &out, &err), 0);
    assert_int_equal(buf_cstr(&out, &got, &err), 0);
    assert_string_equal(got, text);
    assert_int_equal(azblob_authorization(request, slice_str(key), authorization, &err), 0);
    (void)snprintf(expected, sizeof(expected), "SharedKey acc:%s", signature);
    assert_string_equal(authorization, expected);
}

static void an_upload_is_signed(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    assert_int_equal(http_header(&x, &err, "x-ms-version", "2021-12-02"), 0);
    assert_int_equal(http_header(&x, &err, "if-none-match", "*"), 0);
    assert_int_equal(http_header(&x, &err, "x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"), 0);
    assert_int_equal(http_header(&x, &err, "content-md5", "XUFAKrxLKna5cZ2REBfFkg=="), 0);
    assert_int_equal(http_header(&x, &err, "x-ms-blob-type", "BlockBlob"), 0);
    assert_int_equal(http_header(&x, &err, "content-type", "application/octet-stream"), 0);
    assert_int_equal(http_header(&x, &err, "x-ms-access-tier", "Cool"), 0);
    struct azblob_request request = {.method = "PUT",
                                     .account = "acc",
                                     .path = "/cont/a/b%20c",
                                     .query = "",
                                     .headers = &x.headers,
                                     .content_length = 5};
    check(&request,
          "PUT\n\n\n5\nXUFAKrxLKna5cZ2REBfFkg==\napplication/octet-stream\n\n\n\n*\n\n\n"
          "x-ms-access-tier:Cool\nx-ms-blob-type:BlockBlob\n"
          "x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2021-12-02\n/acc/cont/a/b%20c",
          "XNwjh2myMMAb0zuim1tAJTWOR7A/iHxexhajWZEDeoI=");
    http_exchange_release(&x);
}

static void a_query_is_signed_decoded_and_sorted(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    assert_int_equal(http_header(&x, &err, "x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"), 0);
    assert_int_equal(http_header(&x, &err, "x-ms-version", "2021-12-02"), 0);
    assert_int_equal(http_header(&x, &err, "range", "bytes=0-9"), 0);
    struct azblob_request request = {
        .method = "GET",
        .account = "acc",
        .path = "/acc/cont",
        .query = "restype=container&comp=list&prefix=a%20b%2F&marker=2%2172%21x%2Fy%3D",
        .headers = &x.headers};
    check(&request,
          "GET\n\n\n\n\n\n\n\n\n\n\nbytes=0-9\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n"
          "x-ms-version:2021-12-02\n/acc/acc/cont\ncomp:list\nmarker:2!72!x/y=\nprefix:a b/\n"
          "restype:container",
          "GPUuevYdxU7BfYcUmOpewlaq4dRMQ+A2lU5YgHAStnA=");
    http_exchange_release(&x);
}

static void too_many_headers_are_refused(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    for (int n = 0; n < 33; n++)
        assert_int_equal(http_header(&x, &err, "x-ms-a", "b"), 0);
    struct azblob_request request = {
        .method = "GET", .account = "acc", .path = "/", .query = "", .headers = &x.headers};
    char authorization[AZBLOB_AUTHORIZATION_MAX];
    assert_int_equal(azblob_authorization(&request, slice_str(key), authorization, &err),
                     -TM_E_LIMIT);
    assert_string_equal(err.msg, "more than 32 headers to sign");
    http_exchange_release(&x);
}

static void dates_and_digests(void **state)
{
    (void)state;
    char text[AZBLOB_DATE_MAX], md5[AZBLOB_BASE64_MD5_MAX];
    assert_string_equal(azblob_date(INT64_C(1435361952000000), text),
                        "Fri, 26 Jun 2015 23:39:12 GMT");
    assert_string_equal(azblob_date(INT64_C(1772323199999999), text),
                        "Sat, 28 Feb 2026 23:59:59 GMT");
    assert_int_equal(azblob_md5(slice_str("hello"), md5, &err), 0);
    assert_string_equal(md5, "XUFAKrxLKna5cZ2REBfFkg==");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upload_is_signed),
        cmocka_unit_test(a_query_is_signed_decoded_and_sorted),
        cmocka_unit_test(too_many_headers_are_refused),
        cmocka_unit_test(dates_and_digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
