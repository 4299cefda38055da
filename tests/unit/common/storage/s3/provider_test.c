/*
 * Every preset, by the exact requests it leads to: endpoint, addressing, signed region, how it lists,
 * creates and removes. A preset that has no row here fails.
 */
#include "tests/unit/common/storage/s3/fake.h"

#include "common/storage/s3/internal.h"

struct row {
    const char *name, *alias;
    const char *given; /* what a URL needs beside the name: region, or the endpoint for own hosts */
    const char *host; /* where that leads by https; NULL: it needs an endpoint, as the error says */
    const char *region;   /* that is signed for there */
    const char *endpoint; /* as a user writes it; what is asked there is checked */
    const char *told;     /* whose that is by its form alone, with the region told by it */
    const char *told_region;
    bool path;           /* path addressing */
    bool path_forced;    /* … with force-path-style=true */
    bool list_v1;        /* lists by marker */
    bool single;         /* removes one by one */
    bool if_none_match;  /* sent with a new object … */
    bool asked_first;    /* … which is looked for before */
    bool probed;         /* … and sent once more, to see whether the store refuses */
    const char *forbids; /* a header that says the same */
};

/* what those without a host of their own have in common */
#define OWN_HOST(name_)                                                                            \
    {                                                                                              \
        .name = (name_), .given = "", .endpoint = name_ ".lan:9000", .told = "other",              \
        .told_region = "us-east-1", .region = "us-east-1", .path = true, .path_forced = true,      \
        .if_none_match = true, .asked_first = true, .probed = true                                 \
    }

static const struct row rows[] = {
    {.name = "aws",
     .given = "region=eu-west-3",
     .host = "s3.eu-west-3.amazonaws.com",
     .region = "eu-west-3",
     .endpoint = "s3.eu-west-3.amazonaws.com",
     .told = "aws",
     .told_region = "eu-west-3",
     .path_forced = true,
     .if_none_match = true},
    OWN_HOST("minio"),
    OWN_HOST("ceph"),
    OWN_HOST("swift"),
    OWN_HOST("seaweedfs"),
    {.name = "alibaba",
     .alias = "oss",
     .given = "region=cn-hangzhou",
     .host = "s3.oss-cn-hangzhou.aliyuncs.com",
     .region = "cn-hangzhou",
     .endpoint = "oss-cn-hangzhou-internal.aliyuncs.com",
     .told = "alibaba",
     .told_region = "cn-hangzhou",
     .asked_first = true,
     .forbids = "x-oss-forbid-overwrite"},
    {.name = "tencent",
     .alias = "cos",
     .given = "region=ap-beijing",
     .host = "cos.ap-beijing.myqcloud.com",
     .region = "ap-beijing",
     .endpoint = "cos.ap-beijing.myqcloud.com",
     .told = "tencent",
     .told_region = "ap-beijing",
     .path_forced = true,
     .list_v1 = true,
     .asked_first = true,
     .forbids = "x-cos-forbid-overwrite"},
    {.name = "tencentcos",
     .given = "region=ap-beijing",
     .host = "cos.ap-beijing.myqcloud.com",
     .region = "ap-beijing",
     .endpoint = "cos.ap-beijing.myqcloud.com",
     .told = "tencent",
     .told_region = "ap-beijing",
     .path_forced = true,
     .list_v1 = true,
     .asked_first = true,
     .forbids = "x-cos-forbid-overwrite"},
    {.name = "huawei",
     .alias = "obs",
     .given = "region=cn-north-4",
     .host = "obs.cn-north-4.myhuaweicloud.com",
     .region = "cn-north-4",
     .endpoint = "obs.cn-north-4.myhuaweicloud.com",
     .told = "huawei",
     .told_region = "cn-north-4",
     .path_forced = true,
     .list_v1 = true,
     .if_none_match = true,
     .asked_first = true,
     .probed = true},
    {.name = "netease",
     .given = "",
     .region = "us-east-1",
     .endpoint = "nos-eastchina1.126.net",
     .told = "other",
     .told_region = "us-east-1",
     .list_v1 = true,
     .if_none_match = true,
     .asked_first = true,
     .probed = true},
    {.name = "gcs",
     .alias = "google",
     .given = "",
     .host = "storage.googleapis.com",
     .region = "auto",
     .endpoint = "storage.googleapis.com",
     .told = "gcs",
     .told_region = "auto",
     .path = true,
     .path_forced = true,
     .single = true,
     .if_none_match = true,
     .asked_first = true,
     .probed = true},
    {.name = "digitalocean",
     .given = "region=fra1",
     .host = "fra1.digitaloceanspaces.com",
     .region = "fra1",
     .endpoint = "fra1.digitaloceanspaces.com",
     .told = "digitalocean",
     .told_region = "fra1",
     .path_forced = true,
     .if_none_match = true,
     .asked_first = true,
     .probed = true},
    {.name = "wasabi",
     .given = "region=eu-central-2",
     .host = "s3.eu-central-2.wasabisys.com",
     .region = "eu-central-2",
     .endpoint = "s3.eu-central-2.wasabisys.com",
     .told = "wasabi",
     .told_region = "eu-central-2",
     .path_forced = true,
     .if_none_match = true,
     .asked_first = true,
     .probed = true},
    {.name = "ibmcos",
     .given = "region=eu-de",
     .host = "s3.eu-de.cloud-object-storage.appdomain.cloud",
     .region = "eu-de",
     .endpoint = "s3.eu-de.cloud-object-storage.appdomain.cloud",
     .told = "ibmcos",
     .told_region = "eu-de",
     .path_forced = true,
     .if_none_match = true,
     .asked_first = true,
     .probed = true},
    OWN_HOST("dreamhost"),
    OWN_HOST("stackpath"),
    OWN_HOST("other"),
};

static struct fake fake;
static struct tm_err err;

static const struct row *row_of(const char *name)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(rows); n++)
        if (strcmp(rows[n].name, name) == 0)
            return &rows[n];
    return NULL;
}

static int read_url(struct s3_config *config, const char *text)
{
    struct storage_url url;
    assert_int_equal(storage_url_parse(text, &url, &err), 0);
    return s3_config_read(&url, config, &err);
}

static void every_preset_has_a_row(void **state)
{
    (void)state;
    const struct s3_provider *p;
    size_t count = 0;
    for (; (p = s3_provider_at(count)) != NULL; count++) {
        const struct row *row = row_of(p->name);
        if (row == NULL) {
            fail_msg("nothing is said of preset '%s'", p->name);
            return;
        }
        assert_ptr_equal(s3_provider_find(p->name), p);
        if (row->alias == NULL)
            assert_null(p->alias);
        else
            assert_ptr_equal(s3_provider_find(row->alias), p);
    }
    assert_int_equal(count, TM_ARRAY_LEN(rows));
}

static void by_its_name_alone(void **state)
{
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(rows); n++) {
        const struct row *row = &rows[n];
        struct s3_config config;
        char text[512];
        (void)snprintf(text, sizeof(text), "s3://bucket?provider=%s&%s", row->name, row->given);
        int r = read_url(&config, text);
        if (row->host == NULL) {
            assert_int_equal(r, -TM_E_INVALID);
            (void)snprintf(text, sizeof(text), "storage URL: provider '%s' needs an endpoint",
                           row->name);
            assert_string_equal(err.msg, text);
            continue;
        }
        assert_int_equal(r, 0);
        assert_string_equal(config.scheme, "https");
        assert_string_equal(config.host, row->host);
        assert_string_equal(config.region, row->region);
        assert_int_equal(config.path_style, row->path);
    }
}

static void by_its_endpoint_alone(void **state)
{
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(rows); n++) {
        const struct row *row = &rows[n];
        struct s3_config config;
        char text[512];
        (void)snprintf(text, sizeof(text), "s3://bucket?endpoint=https://%s", row->endpoint);
        assert_int_equal(read_url(&config, text), 0);
        assert_string_equal(config.provider->name, row->told);
        assert_string_equal(config.region, row->told_region);
        assert_string_equal(config.host, row->endpoint);
    }
}

/* "http://bucket.host/", or with the bucket in the path. */
static void open_row(const struct row *row, bool force, char *ret_bucket, char *ret_objects,
                     size_t size)
{
    static const struct rule rules[] = {
        {.method = "GET", .target = "object-lock=", .status = 404},
        {.method = "GET", .body = "<ListBucketResult/>"},
        {.method = "HEAD", .status = 404},
        {.method = "PUT", .etag = true},
        {.method = "POST", .body = "<DeleteResult/>"},
        {.method = "DELETE", .status = 204},
    };
    char url[1024];
    bool path = force ? row->path_forced : row->path;
    (void)snprintf(url, sizeof(url),
                   "s3://%s-1/pre?provider=%s&endpoint=http://%s%s&proxy=http://127.0.0.1:%%u",
                   row->name, row->name, row->endpoint, force ? "&force-path-style=true" : "");
    (void)snprintf(ret_bucket, size, path ? "http://%2$s/%1$s-1" : "http://%s-1.%s/", row->name,
                   row->endpoint);
    (void)snprintf(ret_objects, size, "%s%spre/", ret_bucket, path ? "/" : "");
    FAKE_OPEN(&fake, rules, url);
}

/* "/20261126/REGION/s3/aws4_request" */
static void assert_signed_for(size_t request, const char *region)
{
    char text[1024], scope[128];
    const struct stub_request *r = stub_http_request(fake.stub, request);
    assert_non_null(stub_header(r, "authorization", text, sizeof(text)));
    (void)snprintf(scope, sizeof(scope), "/%s/s3/aws4_request,", region);
    assert_non_null(strstr(text, scope));
}

static void creates_as_it_can(void **state)
{
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(rows); n++) {
        const struct row *row = &rows[n];
        char bucket[256], objects[256], expected[2048];
        open_row(row, false, bucket, objects, sizeof(bucket));
        assert_int_equal(storage_put(fake.st, "x", slice_str("hello"), &fake.err), 0);
        size_t used = 0;
        expected[0] = '\0';
        if (row->asked_first)
            used = (size_t)snprintf(expected, sizeof(expected),
                                    "HEAD %sx\nGET %s?%smax-keys=1&prefix=pre%%2F\n", objects,
                                    bucket, row->list_v1 ? "" : "list-type=2&");
        for (int put = 0; put < (row->probed ? 2 : 1); put++)
            used +=
                (size_t)snprintf(expected + used, sizeof(expected) - used, "PUT %sx\n", objects);
        fake_expect(&fake, expected);
        size_t put = row->asked_first ? 2 : 0;
        fake_expect_header(&fake, put, "if-none-match", row->if_none_match ? "*" : NULL);
        static const char *const forbids[] = {"x-oss-forbid-overwrite", "x-cos-forbid-overwrite"};
        for (size_t f = 0; f < TM_ARRAY_LEN(forbids); f++) {
            bool its = row->forbids != NULL && strcmp(row->forbids, forbids[f]) == 0;
            fake_expect_header(&fake, put, forbids[f], its ? "true" : NULL);
        }
        assert_signed_for(put, row->region);
        bool whole = row->if_none_match && !row->asked_first;
        assert_int_equal(fake.st->features, whole ? STORAGE_CONDITIONAL_CREATE : 0);
        fake_close(&fake);
    }
}

static void lists_and_removes_as_it_can(void **state)
{
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(rows); n++) {
        const struct row *row = &rows[n];
        char bucket[256], objects[256], expected[2048];
        open_row(row, true, bucket, objects, sizeof(bucket));
        struct storage_iter *it = NULL;
        struct storage_object object;
        assert_int_equal(storage_list(fake.st, "d/", "d/3", &it, &fake.err), 0);
        assert_int_equal(storage_iter_next(it, &object, &fake.err), 0);
        storage_iter_free(it);
        const char *const names[] = {"x", "y"};
        assert_int_equal(storage_remove(fake.st, names, 2, &fake.err), 0);
        size_t used = (size_t)snprintf(
            expected, sizeof(expected),
            "GET %s?encoding-type=url&%smax-keys=1000&prefix=pre%%2Fd%%2F&%s=pre%%2Fd%%2F3\n",
            bucket, row->list_v1 ? "" : "list-type=2&", row->list_v1 ? "marker" : "start-after");
        if (row->single)
            (void)snprintf(expected + used, sizeof(expected) - used, "DELETE %sx\nDELETE %sy\n",
                           objects, objects);
        else
            (void)snprintf(expected + used, sizeof(expected) - used,
                           "GET %s?object-lock=\nPOST %s?delete=\n", bucket, bucket);
        fake_expect(&fake, expected);
        fake_close(&fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_preset_has_a_row),      cmocka_unit_test(by_its_name_alone),
        cmocka_unit_test(by_its_endpoint_alone),       cmocka_unit_test(creates_as_it_can),
        cmocka_unit_test(lists_and_removes_as_it_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
