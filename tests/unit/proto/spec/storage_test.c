/* Storage in specs: what becomes which URL, br's storage flags, and every error word for word. */
#include "tests/unit/proto/spec/spec_stage.h"

static const struct {
    const char *text;
    const char *message; /* NULL: at the line of the block or of br */
} wrong[] = {
#define S3(more) BACKUP_HEAD "  br: {cluster: test}\n  s3: {bucket: abc, " more "}\n"
    {S3("endpoint: 'http://u:p@h'"),
     "s.yaml:6:31: 'endpoint': an endpoint must not carry a user or password; put them into the "
     "secret that 'secretName' names"},
    {S3("endpoint: 'minio:9000'"),
     "s.yaml:6:31: 'endpoint': 'minio:9000' is not http://host[:port] or https://host[:port]"},
    {S3("endpoint: 'https://h/p'"),
     "s.yaml:6:31: 'endpoint': 'https://h/p' is not http://host[:port] or https://host[:port]"},
    {S3("endpoint: 'https://h:0'"),
     "s.yaml:6:31: 'endpoint': 'https://h:0' is not http://host[:port] or https://host[:port]"},
    {S3("endpoint: 'https://:80'"),
     "s.yaml:6:31: 'endpoint': 'https://:80' is not http://host[:port] or https://host[:port]"},
    {S3("provider: alibabe"),
     "s.yaml:6:31: 'provider': 'alibabe' is not known, did you mean 'alibaba'?"},
    {S3("provider: zzzzz"),
     "s.yaml:6:31: 'provider': 'zzzzz' is not known (known: aws, alibaba, oss, ceph, cos, "
     "digitalocean, dreamhost, gcs, google, huawei, obs, ibmcos, minio, netease, seaweedfs, "
     "stackpath, swift, tencent, tencentcos, wasabi, other)"},
    {S3("acl: privat"), "s.yaml:6:26: 'acl': 'privat' is not known, did you mean 'private'?"},
    {S3("sse: AES-256"), "s.yaml:6:26: 'sse': 'AES-256' is not known, did you mean 'AES256'?"},
    {S3("sse: AES256, sseKmsKeyId: k"),
     "s.yaml:5:3: a KMS key is named, but it is used with 'sse' aws:kms only"},
    {S3("storageClass: Standard"),
     "s.yaml:6:35: 'storageClass': 'Standard' is no storage class: they are written like "
     "STANDARD_IA"},
    {S3("region: 'a b'"), "s.yaml:6:29: 'region': 'a b' is no region"},
    {S3("forcePathStyle: yes"), "s.yaml:6:37: 'forcePathStyle': 'yes' is not true or false, write "
                                "true"},
    {S3("secretName: A_B"), NULL},
    {S3("caFile: x.pem"), "s.yaml:6:29: 'caFile': 'x.pem' is not an absolute path"},
    {S3("proxy: h:1"), "s.yaml:6:28: 'proxy': 'h:1' is not http://host[:port] or "
                       "https://host[:port]"},
    {S3("accessKey: AK"),
     "s.yaml:6:21: 'accessKey' is a secret and must not be written into a spec; put it into the "
     "secret that 'secretName' names"},
    {S3("prefix: a/../b"), "s.yaml:6:7: 'prefix' must not contain '..' as a component"},
#define BUCKET(name, more)                                                                         \
    {                                                                                              \
        BACKUP_HEAD "  br: {cluster: test}\n  s3: {bucket: '" name "'" more "}\n",                 \
            "s.yaml:6:7: '" name                                                                   \
            "' is not the name of a bucket: 3 to 63 lower-case letters, digits, "                  \
            "'-' and '.'"                                                                          \
    }
    BUCKET("ab", ""),
    BUCKET("-ab", ""),
    BUCKET("ab.", ""),
    BUCKET("a..b", ""),
    BUCKET("1.2.3.4", ""),
    BUCKET("Abc", ""),
    BUCKET("a_b", ", provider: aws, endpoint: 'https://s3.example'"),
#define AZ(block) BACKUP_HEAD "  br: {cluster: test}\n  azblob: {" block "}\n"
    {AZ("container: a--b"),
     "s.yaml:6:11: 'a--b' is not the name of a container: 3 to 63 lower-case letters, digits and "
     "single '-'"},
    {AZ("path: ''"), "s.yaml:6:11: field 'container' of azblob storage is missing"},
    {AZ("container: abc, accessTier: Archive"),
     "s.yaml:6:40: 'accessTier': 'Archive' cannot be read without being brought back first, so "
     "nothing could be restored; use Hot, Cool or Cold"},
    {AZ("container: abc, accessTier: Cooler"),
     "s.yaml:6:40: 'accessTier': 'Cooler' is not known (known: Hot, Cool, Cold)"},
    {AZ("container: abc, storageAccount: A"),
     "s.yaml:6:44: 'storageAccount': 'A' is no storage account: 3 to 24 lower-case letters and "
     "digits"},
    {AZ("container: abc, accountKey: k"),
     "s.yaml:6:28: 'accountKey' is a secret and must not be written into a spec; put it into the "
     "secret that 'secretName' names"},
    {BACKUP_HEAD "  br: {cluster: test}\n  cos: {bucket: abc-12}\n",
     "s.yaml:6:8: field 'domain' of cos storage is missing, and no 'region'"},
    {BACKUP_HEAD "  br: {cluster: test}\n  oss: {bucket: abc, domain: 'u:p@h'}\n",
     "s.yaml:6:30: 'domain': an endpoint must not carry a user or password; put them into the "
     "secret that 'secretName' names"},
#define FLAG(flag) BACKUP_HEAD "  br: {cluster: test, options: ['" flag "']}\n  s3: {bucket: abc}\n"
    {FLAG("--s3.acl=privat"),
     "s.yaml:5:33: flag '--s3.acl': 'privat' is not known, did you mean 'private'?"},
    {FLAG("--s3.endpoint=h"), "s.yaml:5:33: flag '--s3.endpoint': 'h' is not http://host[:port] or "
                              "https://host[:port]"},
    {FLAG("--s3.sse-kms-key-id=k"),
     "s.yaml:5:3: a KMS key is named, but it is used with 'sse' aws:kms only"},
    {FLAG("--azblob.account-key=hunter2"),
     "s.yaml:5:33: flag '--azblob.account-key' is a secret and must not be written into a spec; "
     "put it into the secret that 'secretName' names"},
    {FLAG("--s3.region"), "s.yaml:5:33: flag '--s3.region' needs a value"},
    {FLAG("--send-credentials-to-tikv=maybe"), NULL},
    {BACKUP_HEAD "  br: {cluster: test, sendCredToTikv: true, sendCredToAgents: false}\n  s3: "
                 "{bucket: abc}\n",
     "s.yaml:5:63: 'sendCredToAgents' and 'sendCredToTikv' are one wish under two names, and say "
     "different things"},
};

static void mistakes(void **state)
{
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(wrong); n++) {
        TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
        struct tm_err err = {0};
        if (resource_parse("s.yaml", slice_str(wrong[n].text), &list, &err) == 0)
            fail_msg("accepted:\n%s", wrong[n].text);
        assert_int_equal(err.code, TM_E_INVALID);
        assert_null(strstr(err.msg, "hunter2"));
        if (wrong[n].message != NULL)
            assert_string_equal(err.msg, wrong[n].message);
        else
            assert_non_null(strstr(err.msg, "s.yaml:5:") != NULL ? err.msg
                                                                 : strstr(err.msg, "s.yaml:6:"));
    }
}

static void storage_urls(void **state)
{
    (void)state;
    static const struct {
        const char *block;
        const char *url;
    } cases[] = {
        {"local: {path: /}", "file:///"},
        {"local: {path: /a//b/, prefix: c/}", "file:///a/b/c"},
        {"local: {prefix: p, volume: {name: v}, volumeMount: {name: v, mountPath: /m, subPath: s}}",
         "file:///m/s/p"},
        {"nfs: {path: /m, server: h}", "file:///m"},
        {"s3: {bucket: abc}", "s3://abc"},
        {"s3: {path: abc/c/d}", "s3://abc/c/d"},
        {"s3: {path: abc/c, prefix: /d//e/}", "s3://abc/c/d/e"},
        {"s3: {provider: ceph, region: r, bucket: abc, prefix: p, endpoint: 'http://h:80', "
         "forcePathStyle: true, secretName: s}",
         "s3://abc/p?provider=ceph&region=r&endpoint=http%3A//h%3A80&force-path-style=true"},
        {"s3: {bucket: abc, forcePathStyle: false, endpoint: 'https://[::1]:9000/'}",
         "s3://abc?endpoint=https%3A//%5B%3A%3A1%5D%3A9000&force-path-style=false"},
        {"s3: {bucket: Old_Name, endpoint: 'http://10.0.0.1'}",
         "s3://Old_Name?endpoint=http%3A//10.0.0.1"},
        {"s3: {bucket: abc, storageClass: STANDARD_IA, acl: private, sse: 'aws:kms', sseKmsKeyId: "
         "'arn:aws:kms:r:1:key/k'}",
         "s3://abc?storage-class=STANDARD_IA&acl=private&sse=aws%3Akms&sse-kms-key-id=arn%3Aaws%3A"
         "kms%3Ar%3A1%3Akey/k"},
        {"s3: {bucket: abc, storageClass: '', acl: '', sse: '', endpoint: '', provider: ''}",
         "s3://abc"},
        {"s3: {bucket: abc, caFile: /etc/ca.pem, proxy: 'http://p:3128', insecure: true}",
         "s3://abc?ca-file=/etc/ca.pem&proxy=http%3A//p%3A3128&insecure=true"},
        {"azblob: {container: abc, prefix: p, accessTier: Cool, storageAccount: acct}",
         "azblob://abc/p?account-name=acct&access-tier=Cool"},
        {"azblob: {path: abc/p, endpoint: 'http://127.0.0.1:10000/acct'}",
         "azblob://abc/p?endpoint=http%3A//127.0.0.1%3A10000/acct"},
        {"oss: {bucket: abc, domain: oss-cn-hangzhou.aliyuncs.com, prefix: p}",
         "s3://abc/p?provider=alibaba&region=cn-hangzhou&endpoint=https%3A//"
         "oss-cn-hangzhou.aliyuncs.com"},
        {"oss: {bucket: abc, domain: oss-cn-beijing-internal.aliyuncs.com}",
         "s3://abc?provider=alibaba&region=cn-beijing&endpoint=https%3A//"
         "oss-cn-beijing-internal.aliyuncs.com"},
        {"oss: {bucket: abc, domain: s3.oss-cn-beijing.aliyuncs.com}",
         "s3://abc?provider=alibaba&region=cn-beijing&endpoint=https%3A//"
         "s3.oss-cn-beijing.aliyuncs.com"},
        {"oss: {bucket: abc, domain: 'http://d.example', storageClass: IA, acl: private}",
         "s3://abc?provider=alibaba&endpoint=http%3A//d.example&storage-class=IA&acl=private"},
        {"oss: {bucket: abc, region: oss-cn-hangzhou}",
         "s3://abc?provider=alibaba&region=cn-hangzhou"},
        {"cos: {bucket: abc-12, region: ap-beijing, prefix: p, secretName: s}",
         "s3://abc-12/p?provider=tencent&region=ap-beijing"},
        {"cos: {bucket: abc-12, domain: cos.ap-beijing.myqcloud.com}",
         "s3://abc-12?provider=tencent&region=ap-beijing&endpoint=https%3A//"
         "cos.ap-beijing.myqcloud.com"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "%s  br: {cluster: test}\n  %s\n", BACKUP_HEAD,
                       cases[n].block);
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(text);
        assert_string_equal(r->backup.storage.url, cases[n].url);
    }
}

/* br's own flags win over the block; a flag of another store is named and left alone. */
static void storage_flags(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        const char *block;
        const char *url;
        bool send;
    } cases[] = {
        {"--s3.endpoint=http://h:1, --s3.region=r, --s3.storage-class=IA", "s3: {bucket: abc}",
         "s3://abc?region=r&endpoint=http%3A//h%3A1&storage-class=IA", true},
        {"--s3.endpoint, http://new", "s3: {bucket: abc, endpoint: 'http://old', sse: AES256}",
         "s3://abc?endpoint=http%3A//new&sse=AES256", true},
        {"--s3.sse-kms-key-id=k, --s3.sse=aws:kms, --s3.acl=private, --s3.provider=minio",
         "s3: {bucket: abc}", "s3://abc?provider=minio&acl=private&sse=aws%3Akms&sse-kms-key-id=k",
         true},
        {"--azblob.access-tier=Hot, --azblob.account-name=acct", "azblob: {container: abc}",
         "azblob://abc?account-name=acct&access-tier=Hot", true},
        {"--s3.region=r", "azblob: {container: abc}", "azblob://abc", true},
        {"--s3.region=r", "local: {path: /x}", "file:///x", true},
        {"--send-credentials-to-tikv=false", "s3: {bucket: abc}", "s3://abc", false},
        {"-c=false", "s3: {bucket: abc}", "s3://abc", false},
        {"--send-credentials-to-tikv", "s3: {bucket: abc}", "s3://abc", true},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "%s  br: {cluster: test, options: [%s]}\n  %s\n",
                       BACKUP_HEAD, cases[n].options, cases[n].block);
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(text);
        assert_string_equal(r->backup.storage.url, cases[n].url);
        assert_int_equal(!r->backup.br.own_credentials, cases[n].send);
    }
}

static void send_credentials(void **state)
{
    (void)state;
    static const struct {
        const char *br;
        bool send;
    } cases[] = {{"", true},
                 {", sendCredToTikv: false", false},
                 {", sendCredToAgents: false", false},
                 {", sendCredToAgents: true", true},
                 {", sendCredToAgents: false, sendCredToTikv: false", false}};
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        char text[512];
        (void)snprintf(text, sizeof(text),
                       "%s  br: {cluster: test%s}\n  s3: {bucket: abc, secretName: s}\n",
                       BACKUP_HEAD, cases[n].br);
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(text);
        assert_int_equal(!r->backup.br.own_credentials, cases[n].send);
        assert_string_equal(r->backup.storage.secret_name, "s");
    }
}

static void places(void **state)
{
    (void)state;
    assert_true(storage_place_equal("s3://abc/p", "s3://abc/p?storage-class=IA&sse=AES256"));
    assert_true(storage_place_equal("s3://abc/p?endpoint=http%3A//h&region=r",
                                    "s3://abc/p?endpoint=http://h"));
    assert_false(storage_place_equal("s3://abc/p", "s3://abc/p?endpoint=http://h"));
    assert_false(storage_place_equal("s3://abc/p", "s3://abc/q"));
    assert_false(storage_place_equal("s3://abc/p", "azblob://abc/p"));
    assert_false(storage_place_equal("azblob://abc?account-name=a", "azblob://abc?account-name=b"));
    assert_true(storage_place_equal("file:///x", "file:///x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes),      cmocka_unit_test(storage_urls),
        cmocka_unit_test(storage_flags), cmocka_unit_test(send_credentials),
        cmocka_unit_test(places),
    };
    return cmocka_run_group_tests_name("proto/spec/storage", tests, NULL, NULL);
}
