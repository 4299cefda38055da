/* What a storage URL comes to: provider, endpoint, region, addressing; and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/storage/s3/internal.h"

static struct s3_config config;
static struct tm_err err;

static int read_url(const char *text)
{
    struct storage_url url;
    assert_int_equal(storage_url_parse(text, &url, &err), 0);
    return s3_config_read(&url, &config, &err);
}

static void places(void **state)
{
    (void)state;
    static const struct {
        const char *url, *provider, *scheme, *host, *region;
        bool path_style;
    } cases[] = {
        {"s3://bucket", "aws", "https", "s3.us-east-1.amazonaws.com", "us-east-1", false},
        {"s3://bucket?region=eu-west-3", "aws", "https", "s3.eu-west-3.amazonaws.com", "eu-west-3",
         false},
        {"s3://bucket?region=cn-north-1", "aws", "https", "s3.cn-north-1.amazonaws.com.cn",
         "cn-north-1", false},
        {"s3://my.bucket", "aws", "https", "s3.us-east-1.amazonaws.com", "us-east-1", true},
        {"s3://bucket?force-path-style=true", "aws", "https", "s3.us-east-1.amazonaws.com",
         "us-east-1", true},
        {"s3://bucket?endpoint=https://S3.dualstack.eu-west-1.amazonaws.com:443/", "aws", "https",
         "s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1", false},
        {"s3://bucket?endpoint=http://minio.lan:9000", "other", "http", "minio.lan:9000",
         "us-east-1", true},
        {"s3://bucket?endpoint=minio.lan:9000&provider=Minio&region=here", "minio", "https",
         "minio.lan:9000", "here", true},
        {"s3://bucket?endpoint=http://rgw.lan:80&provider=ceph&force-path-style=false", "ceph",
         "http", "rgw.lan", "us-east-1", false},
        {"s3://bucket?endpoint=http://10.0.0.7:80&provider=ceph&force-path-style=false", "ceph",
         "http", "10.0.0.7", "us-east-1", true},
        {"s3://my.bucket?endpoint=http://rgw.lan&force-path-style=false", "other", "http",
         "rgw.lan", "us-east-1", false},
        {"s3://bucket?endpoint=http://[::1]:9000&force-path-style=false", "other", "http",
         "[::1]:9000", "us-east-1", true},
        {"s3://bucket?endpoint=http://minio.lan:9000&provider=aws", "other", "http",
         "minio.lan:9000", "us-east-1", true},
        {"s3://bucket?endpoint=https://vpce-1.s3.eu-west-1.vpce.amazonaws.com&provider=aws&region="
         "eu-west-1",
         "aws", "https", "vpce-1.s3.eu-west-1.vpce.amazonaws.com", "eu-west-1", false},
        {"s3://bucket?provider=oss&region=cn-hangzhou", "alibaba", "https",
         "s3.oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou", false},
        {"s3://bucket?endpoint=oss-cn-hangzhou-internal.aliyuncs.com&force-path-style=true",
         "alibaba", "https", "oss-cn-hangzhou-internal.aliyuncs.com", "cn-hangzhou", false},
        {"s3://bucket-125?provider=cos&region=ap-guangzhou", "tencent", "https",
         "cos.ap-guangzhou.myqcloud.com", "ap-guangzhou", false},
        {"s3://bucket-125?endpoint=https://cos.ap-beijing.myqcloud.com", "tencent", "https",
         "cos.ap-beijing.myqcloud.com", "ap-beijing", false},
        {"s3://bucket?provider=gcs", "gcs", "https", "storage.googleapis.com", "auto", true},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        int r = read_url(cases[n].url);
        if (r < 0)
            print_error("%s: %s\n", cases[n].url, err.msg);
        assert_int_equal(r, 0);
        assert_string_equal(config.provider->name, cases[n].provider);
        assert_string_equal(config.scheme, cases[n].scheme);
        assert_string_equal(config.host, cases[n].host);
        assert_string_equal(config.region, cases[n].region);
        assert_int_equal(config.path_style, cases[n].path_style);
    }
}

static void prefixes(void **state)
{
    (void)state;
    assert_int_equal(read_url("s3://bucket"), 0);
    assert_string_equal(config.prefix, "");
    assert_int_equal(read_url("s3://bucket/"), 0);
    assert_string_equal(config.prefix, "");
    assert_int_equal(read_url("s3://bucket//a/b%20c//"), 0);
    assert_string_equal(config.prefix, "a/b c/");
}

static void options(void **state)
{
    (void)state;
    assert_int_equal(
        read_url("s3://bucket?storage-class=STANDARD_IA&acl=private&sse=aws:kms&"
                 "sse-kms-key-id=arn:k&ca-file=/ca.pem&proxy=http://p:1&insecure=true"),
        0);
    assert_string_equal(config.storage_class, "STANDARD_IA");
    assert_string_equal(config.acl, "private");
    assert_string_equal(config.sse, "aws:kms");
    assert_string_equal(config.sse_key, "arn:k");
    assert_string_equal(config.ca_file, "/ca.pem");
    assert_string_equal(config.proxy, "http://p:1");
    assert_true(config.insecure);
    assert_int_equal(read_url("s3://bucket?storage-class="), 0);
    assert_null(config.storage_class);
    assert_false(config.insecure);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *url, *message;
    } cases[] = {
        {"s3://bucket?secret-access-key=x",
         "storage URL: parameter 'secret-access-key' is a secret and must not be in a URL: put it "
         "into a secret"},
        {"s3://bucket?Access_Key=x",
         "storage URL: parameter 'Access_Key' is a secret and must not be in a URL: put it into a "
         "secret"},
        {"s3://bucket?regoin=x",
         "storage URL: s3:// knows no parameter 'regoin'; did you mean 'region'?"},
        {"s3://bucket?zzzzzzzzzzzz=x", "storage URL: s3:// knows no parameter 'zzzzzzzzzzzz'"},
        {"s3://bucket?provider=alibabba",
         "storage URL: unknown provider 'alibabba'; did you mean 'alibaba'?"},
        {"s3://bucket?provider=xxxxxxxxxxxx",
         "storage URL: unknown provider 'xxxxxxxxxxxx'; write 'other' for any store that speaks "
         "S3"},
        {"s3://bucket?provider=minio", "storage URL: provider 'minio' needs an endpoint"},
        {"s3://bucket?provider=cos",
         "storage URL: provider 'tencent' needs a region or an endpoint"},
        {"s3://bucket?endpoint=ftp://x",
         "storage URL: endpoint 'ftp://x' is not of the form https://host:port"},
        {"s3://bucket?endpoint=https://x/y",
         "storage URL: endpoint 'https://x/y' is not of the form https://host:port"},
        {"s3://bucket?endpoint=https://u:p%40x",
         "storage URL: parameter 'endpoint' carries a user name or password, which must not be in "
         "a URL"},
        {"s3://bucket?proxy=http://u:p%40x:1",
         "storage URL: parameter 'proxy' carries a user name or password, which must not be in a "
         "URL"},
        {"s3://bucket?region=a/b", "storage URL: 'a/b' is not a region"},
        {"s3://bucket?sse=kms", "storage URL: sse 'kms' is neither 'AES256' nor 'aws:kms'"},
        {"s3://bucket?sse=AES256&sse-kms-key-id=x",
         "storage URL: sse-kms-key-id has a meaning with sse=aws:kms only"},
        {"s3://bucket?insecure=yes",
         "storage URL: parameter 'insecure': 'yes' is not true or false, write true"},
        {"s3://b", "storage URL: 'b' is not the name of a bucket (3 to 63 letters, digits, dots "
                   "and hyphens)"},
        {"s3:///x", "storage URL: '' is not the name of a bucket (3 to 63 letters, digits, dots "
                    "and hyphens)"},
        {"s3://buc%2fket", "storage URL: 'buc/ket' is not the name of a bucket (3 to 63 letters, "
                           "digits, dots and hyphens)"},
        {"s3://bucket/a/../b", "storage URL: the prefix must not contain '..' as a component"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        assert_int_equal(read_url(cases[n].url), -TM_E_INVALID);
        assert_string_equal(err.msg, cases[n].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(options),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
