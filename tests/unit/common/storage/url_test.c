/* Storage URLs: what is accepted, and the exact words for what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/storage/url.h"

static void test_good(void **state)
{
    (void)state;
    struct storage_url url;
    struct tm_err err;
    assert_int_equal(storage_url_parse("file:///srv/a%20b", &url, &err), 0);
    assert_string_equal(url.scheme, "file");
    assert_string_equal(url.host, "");
    assert_string_equal(url.path, "/srv/a b");
    assert_int_equal(url.param_count, 0);
    assert_int_equal(
        storage_url_parse("S3://bucket/pre/fix?endpoint=http%3A%2F%2Fh%3A9&region=eu&x=", &url,
                          &err),
        0);
    assert_string_equal(url.scheme, "s3");
    assert_string_equal(url.host, "bucket");
    assert_string_equal(url.path, "/pre/fix");
    assert_string_equal(storage_url_param(&url, "endpoint"), "http://h:9");
    assert_string_equal(storage_url_param(&url, "region"), "eu");
    assert_string_equal(storage_url_param(&url, "x"), "");
    assert_null(storage_url_param(&url, "y"));
    assert_int_equal(storage_url_parse("ram://name", &url, &err), 0);
    assert_string_equal(url.host, "name");
    assert_string_equal(url.path, "");
}

static void test_bad(void **state)
{
    (void)state;
    const struct {
        const char *url;
        const char *text;
    } cases[] = {
        {"/srv", "storage URL '/srv' has no scheme: write file:///path or s3://bucket/prefix"},
        {"", "storage URL '' has no scheme: write file:///path or s3://bucket/prefix"},
        {"://x", "storage URL '://x' has no scheme: write file:///path or s3://bucket/prefix"},
        {"f_le:///x", "storage URL: bad character in the scheme"},
        {"s3://key:secret@bucket/x",
         "storage URL carries a user name or password: put credentials in a secret"},
        {"file:///a%2", "storage URL: bad %-escape in the path"},
        {"file:///a%2x", "storage URL: bad %-escape in the path"},
        {"file:///a%", "storage URL: bad %-escape in the path"},
        {"file:///a%00b", "storage URL: control character in the path"},
        {"file:///a#b", "storage URL: '#' has no meaning here"},
        {"s3://b/p?x", "storage URL: parameter 'x' is not key=value"},
        {"s3://b/p?=x", "storage URL: parameter '=x' is not key=value"},
        {"s3://b/p?a=1&a=2", "storage URL: parameter 'a' is given twice"},
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(cases); i++) {
        struct storage_url url;
        struct tm_err err;
        assert_int_equal(storage_url_parse(cases[i].url, &url, &err), -TM_E_INVALID);
        assert_string_equal(err.msg, cases[i].text);
    }
}

static void test_open(void **state)
{
    (void)state;
    const struct {
        const char *url;
        enum tm_err_code code;
        const char *text;
    } cases[] = {
        {"ftp://h/p", TM_E_UNSUPPORTED,
         "no storage driver for 'ftp://': there are file://, s3://, azblob:// and ram://"},
        {"file://host/p", TM_E_INVALID,
         "storage URL names host 'host': write file:///path with three slashes"},
        {"file:///p?x=y", TM_E_INVALID, "storage URL: file:// knows no parameter 'x'"},
        {"file://", TM_E_INVALID, "storage URL has no path: write file:///path"},
        {"ram://", TM_E_INVALID, "storage URL has no name: write ram://name"},
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(cases); i++) {
        struct storage *st = NULL;
        struct tm_err err;
        assert_int_equal(storage_open(cases[i].url, NULL, &st, &err), -(int)cases[i].code);
        assert_string_equal(err.msg, cases[i].text);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    struct storage_url url;
    struct tm_err err;
    char text[2 * STORAGE_URL_MAX];
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    memcpy(text, "file:///", 8);
    assert_int_equal(storage_url_parse(text, &url, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "storage URL is longer than 1023 bytes");
    text[400] = '\0';
    memcpy(text, "s3://aaa", 8);
    assert_int_equal(storage_url_parse(text, &url, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "storage URL: the host is longer than 255 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
