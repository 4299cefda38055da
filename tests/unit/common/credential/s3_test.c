/* Sources of S3 keys: the exact requests, what answers may be, which source applies, and errors
 * that name what is missing and never a secret. */
#include "services.h"

#define KEYS(key, end)                                                                             \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"" key                                                 \
    "\",\"SecretAccessKey\":\"sssh+/=\",\"Token\":\"tok/en==\",\"Expiration\":\"" end "\"}"
#define END "2026-09-21T20:13:20Z"

static struct credential_options options(void)
{
    return (struct credential_options){.imds_url = services.url,
                                       .sts_url = services.url,
                                       .proxy = "",
                                       .now_real_us = services_clock};
}

static struct credential *make(const struct secret_map *secret)
{
    struct credential *c = NULL;
    struct credential_options o = options();
    assert_int_equal(credential_s3_new(secret, &o, &c, &services.err), 0);
    return c;
}

static void assert_refused_new(const struct secret_map *secret, const char *message)
{
    struct credential *c = NULL;
    struct credential_options o = options();
    assert_int_equal(credential_s3_new(secret, &o, &c, &services.err), -TM_E_INVALID);
    assert_string_equal(services.err.msg, message);
    assert_null(c);
}

static void assert_keys(struct credential *c, const char *access, const char *secret,
                        const char *token, int64_t ends_us)
{
    TM_CLEANUP(s3_keys_release) struct s3_keys keys = S3_KEYS_INIT;
    if (credential_s3_get(c, &keys, &services.err) < 0)
        fail_msg("%s", services.err.msg);
    assert_string_equal((char *)keys.access_key.data, access);
    assert_string_equal((char *)keys.secret_key.data, secret);
    if (token[0] == '\0')
        assert_int_equal(keys.session_token.len, 0);
    else
        assert_string_equal((char *)keys.session_token.data, token);
    assert_int_equal(keys.ends_us, ends_us);
}

static void assert_refused(struct credential *c, enum tm_err_code code, bool retryable,
                           const char *message)
{
    struct s3_keys keys = S3_KEYS_INIT;
    assert_int_equal(credential_s3_get(c, &keys, &services.err), -(int)code);
    assert_string_equal(services.err.msg, message);
    assert_int_equal(services.err.retryable, retryable);
    assert_null(keys.access_key.data);
    assert_null(keys.secret_key.data);
}

/* ---- the secret ---- */

static void a_secret_is_taken_as_it_is(void **state)
{
    (void)state;
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    services_secret(&map, "access_key", "AK");
    services_secret(&map, "secret_key", "SK/+");
    TM_CLEANUP(credential_freep) struct credential *c = make(&map);
    assert_keys(c, "AK", "SK/+", "", INT64_MAX);
    assert_string_equal(credential_source(c), "secret");
    credential_reject(c);
    assert_keys(c, "AK", "SK/+", "", INT64_MAX);
    services_secret(&map, "session_token", "ST");
    TM_CLEANUP(credential_freep) struct credential *d = make(&map);
    assert_keys(d, "AK", "SK/+", "ST", INT64_MAX);
    assert_int_equal(stub_http_count(services.stub), 0);
}

static void a_secret_that_lacks_a_key_says_which(void **state)
{
    (void)state;
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    assert_refused_new(&map,
                       "the secret has no key 'access_key': S3 needs access_key and secret_key");
    services_secret(&map, "access_key", "AK");
    assert_refused_new(&map,
                       "the secret has no key 'secret_key': S3 needs access_key and secret_key");
    services_secret(&map, "secret_key", "two words");
    assert_refused_new(&map,
                       "'secret_key' of the secret is empty or has blanks or control characters");
}

/* ---- the host's role ---- */

static void the_hosts_role_is_asked_in_three_steps(void **state)
{
    (void)state;
    services_reply(0, "TOKEN==");
    services_reply(0, "backup-role\n");
    services_reply(0, KEYS("ASIA1", END));
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_string_equal(credential_source(c), "host's role (IMDSv2)");
    for (int n = 0; n < 3; n++)
        assert_keys(c, "ASIA1", "sssh+/=", "tok/en==", TEST_NOW_US + INT64_C(21600000000));
    assert_int_equal(stub_http_count(services.stub), 3);
    services_assert_request(0, "PUT", "/latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds",
                            "21600", "");
    services_assert_request(1, "GET", "/latest/meta-data/iam/security-credentials/",
                            "x-aws-ec2-metadata-token", "TOKEN==", "");
    services_assert_request(2, "GET", "/latest/meta-data/iam/security-credentials/backup-role",
                            "x-aws-ec2-metadata-token", "TOKEN==", "");
}

static void a_host_without_role_is_told(void **state)
{
    (void)state;
    services_reply(0, "TOKEN==");
    services_reply(404, "<html>");
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_refused(c, TM_E_PERMISSION, false,
                   "credentials from host's role (IMDSv2): role: HTTP 404: this host has no role");
    services_reply(403, "TOKEN== is what you sent");
    services.seen = 2;
    assert_refused(c, TM_E_PERMISSION, false,
                   "credentials from host's role (IMDSv2): session token: HTTP 403");
}

static void wrong_answers_of_the_host_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *message;
    } cases[] = {
        {"[]", "the answer is no JSON object"},
        {"{\"AccessKeyId\":", "the answer is no JSON object"},
        {"{\"Code\":\"AssumeRoleUnauthorizedAccess\"}", "HTTP 200 AssumeRoleUnauthorizedAccess"},
        {"{\"SecretAccessKey\":\"sssh\",\"Token\":\"t\",\"Expiration\":\"" END "\"}",
         "the answer has no 'AccessKeyId'"},
        {"{\"AccessKeyId\":\"a\",\"Token\":\"t\",\"Expiration\":\"" END "\"}",
         "the answer has no 'SecretAccessKey'"},
        {"{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"sssh\",\"Expiration\":\"" END "\"}",
         "the answer has no 'Token'"},
        {"{\"AccessKeyId\":\"a\\nb\",\"SecretAccessKey\":\"sssh\",\"Token\":\"t\"}",
         "'AccessKeyId' in the answer has characters that cannot be in it"},
        {"{\"AccessKeyId\":7,\"SecretAccessKey\":\"sssh\",\"Token\":\"t\"}",
         "the answer has no 'AccessKeyId'"},
        {"{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"sssh\",\"Token\":\"t\"}",
         "the answer has no 'Expiration', or one that is no time"},
        {KEYS("a", "soon"), "the answer has no 'Expiration', or one that is no time"},
    };
    services_reply(0, "TOKEN==");
    services_reply(0, "r");
    services_reply(0, "");
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        const char *message = text_of("credentials from host's role (IMDSv2): keys of role 'r': %s",
                                      cases[n].message);
        services.replies[2].body = cases[n].keys;
        services.seen = 0;
        bool refusal = strncmp(cases[n].message, "HTTP", 4) == 0;
        assert_refused(c, refusal ? TM_E_PERMISSION : TM_E_UNAVAILABLE, !refusal, message);
    }
    services.replies[2].body = KEYS("a", "2026-09-21T14:13:20Z");
    services.seen = 0;
    assert_refused(c, TM_E_UNAVAILABLE, true,
                   "credentials from host's role (IMDSv2): the new ones ended at "
                   "2026-09-21T14:13:20.000000Z by this host's clock");
    services.replies[1].body = "../../../latest";
    services.seen = 0;
    assert_refused(c, TM_E_UNAVAILABLE, true,
                   "credentials from host's role (IMDSv2): role: the answer is no name of a role");
    services.replies[0].body = "two words";
    services.seen = 0;
    assert_refused(c, TM_E_UNAVAILABLE, true,
                   "credentials from host's role (IMDSv2): session token: the answer is no session "
                   "token");
}

static void too_long_an_answer_is_refused(void **state)
{
    (void)state;
    TM_CLEANUP(freep) char *body = malloc(65538);
    memset(body, 'x', 65537);
    body[65537] = '\0';
    services_reply(0, body);
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    const char *message =
        text_of("credentials from host's role (IMDSv2): session token: %s: the answer is longer "
                "than it may be",
                services.url + strlen("http://"));
    assert_refused(c, TM_E_LIMIT, false, message);
}

static void the_metadata_service_may_be_turned_off(void **state)
{
    (void)state;
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    struct credential *c = NULL;
    struct credential_options o = options();
    assert_int_equal(credential_s3_new(NULL, &o, &c, &services.err), -TM_E_PERMISSION);
    assert_string_equal(services.err.msg,
                        "no source of S3 credentials: no secret, no web identity token file, no "
                        "shared credentials file, no container endpoint, and "
                        "AWS_EC2_METADATA_DISABLED is set");
}

/* ---- web identity ---- */

#define STS_ANSWER(end)                                                                            \
    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"      \
    "<AssumeRoleWithWebIdentityResult><Audience>sts.amazonaws.com</Audience><Credentials>"         \
    "<SessionToken>tok/en==</SessionToken><SecretAccessKey>sssh</SecretAccessKey>"                 \
    "<Expiration>" end "</Expiration><AccessKeyId>ASIA2</AccessKeyId></Credentials>"               \
    "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
#define FORM                                                                                       \
    "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2F" \
    "r&RoleSessionName=tidemark&WebIdentityToken="

static struct credential *web_identity(void)
{
    (void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", services_file("token", "eyJ.one+/=\n", 0644), 1);
    (void)setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1);
    return make(NULL);
}

static void a_token_file_is_exchanged_for_keys(void **state)
{
    (void)state;
    services_reply(0, STS_ANSWER(END));
    TM_CLEANUP(credential_freep) struct credential *c = web_identity();
    const char *source = text_of("web identity token file '%s/token'", services.dir);
    assert_string_equal(credential_source(c), source);
    assert_keys(c, "ASIA2", "sssh", "tok/en==", TEST_NOW_US + INT64_C(21600000000));
    services_assert_request(0, "POST", "/", "content-type", "application/x-www-form-urlencoded",
                            FORM "eyJ.one%2B%2F%3D");
    /* the file is read again: its token is changed from outside */
    (void)services_file("token", "eyJ.two", 0600);
    credential_reject(c);
    assert_keys(c, "ASIA2", "sssh", "tok/en==", TEST_NOW_US + INT64_C(21600000000));
    services_assert_request(1, "POST", "/", "content-type", "application/x-www-form-urlencoded",
                            FORM "eyJ.two");
}

static void what_sts_says_is_passed_on_without_the_token(void **state)
{
    (void)state;
    services_reply(400,
                   "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredTokenException"
                   "</Code><Message>Token expired: 1 &lt; 2</Message></Error></ErrorResponse>");
    services_reply(400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code>"
                        "<Message>bad token eyJ.one+/= here</Message></Error></ErrorResponse>");
    services_reply(400, "<ErrorResponse><Error><Code>IDPCommunicationError</Code>"
                        "<Message>later</Message></Error></ErrorResponse>");
    services_reply(403, "no xml");
    services_reply(0, "<a/>");
    services_reply(0, "{}");
    TM_CLEANUP(credential_freep) struct credential *c = web_identity();
    static const char *const texts[] = {
        "HTTP 400 ExpiredTokenException: Token expired: 1 < 2",
        "HTTP 400",
        "HTTP 400 IDPCommunicationError: later",
        "HTTP 403",
        "the answer has no 'AccessKeyId'",
        "the answer is no XML of STS",
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(texts); n++) {
        const char *message = text_of("credentials from web identity token file '%s/token': %s",
                                      services.dir, texts[n]);
        assert_refused(c, n < 4 ? TM_E_PERMISSION : TM_E_UNAVAILABLE, n == 2 || n > 3, message);
    }
}

static void a_token_file_that_is_none_is_told(void **state)
{
    (void)state;
    services_reply(0, STS_ANSWER(END));
    TM_CLEANUP(credential_freep) struct credential *c = web_identity();
    const char *message =
        text_of("credentials from web identity token file '%s/token': '%s/token' is not one "
                "line with a token",
                services.dir, services.dir);
    (void)services_file("token", "one\ntwo", 0600);
    assert_refused(c, TM_E_INVALID, false, message);
    assert_int_equal(unlink(services_file("token", "", 0600)), 0);
    struct s3_keys keys = S3_KEYS_INIT;
    assert_int_equal(credential_s3_get(c, &keys, &services.err), -TM_E_PERMISSION);
    assert_non_null(strstr(services.err.msg, "/token': No such file or directory"));
    assert_int_equal(stub_http_count(services.stub), 0);
}

static void web_identity_needs_a_role_and_a_safe_sts(void **state)
{
    (void)state;
    (void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/x", 1);
    assert_refused_new(NULL, "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is missing");
    (void)setenv("AWS_ROLE_ARN", "arn", 1);
    struct credential *c = NULL;
    struct credential_options o = {.region = "eu-west-1/x"};
    assert_int_equal(credential_s3_new(NULL, &o, &c, &services.err), -TM_E_INVALID);
    assert_string_equal(services.err.msg, "'eu-west-1/x' is no region");
    o.region = "eu-west-1";
    assert_int_equal(credential_s3_new(NULL, &o, &c, &services.err), 0);
    credential_free(c);
    c = NULL;
    (void)setenv("AWS_ENDPOINT_URL_STS", "http://sts.example.org", 1);
    assert_int_equal(credential_s3_new(NULL, &o, &c, &services.err), -TM_E_INVALID);
    assert_string_equal(services.err.msg,
                        "STS: 'http://sts.example.org' is no https:// address, nor http:// of this "
                        "host (loopback or link-local)");
}

/* ---- the shared credentials file ---- */

static void the_shared_file_gives_the_profiles_keys(void **state)
{
    (void)state;
    const char *path = services_file("credentials",
                                     "# comment\n[default]\naws_access_key_id = AK\n"
                                     "aws_secret_access_key=SK=\n  s3 = \n[other]\r\n"
                                     "aws_session_token = ST\r\nregion = x\n"
                                     "aws_access_key_id = AK2\n aws_access_key_id = no\n"
                                     "aws_secret_access_key = SK2\n",
                                     0600);
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_keys(c, "AK", "SK=", "", INT64_MAX);
    (void)setenv("AWS_PROFILE", "other", 1);
    TM_CLEANUP(credential_freep) struct credential *d = make(NULL);
    assert_keys(d, "AK2", "SK2", "ST", INT64_MAX);
    /* new keys in the file are found when the old ones are no good */
    (void)services_file("credentials",
                        "[other]\naws_access_key_id=AK3\naws_secret_access_key=SK3\n", 0600);
    assert_keys(d, "AK2", "SK2", "ST", INT64_MAX);
    credential_reject(d);
    assert_keys(d, "AK3", "SK3", "", INT64_MAX);
}

static void the_shared_file_may_have_many_profiles(void **state)
{
    (void)state;
    static char text[(64 << 10) + 2];
    static const char last[] = "[last]\naws_access_key_id=AK\naws_secret_access_key=SK";
    size_t at = sizeof(text) - 1 - sizeof(last);
    memset(text, '\n', at);
    memset(text, '#', at - 1);
    (void)snprintf(text + at, sizeof(text) - at, "%s", last);
    assert_int_equal(strlen(text), 64 << 10);
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", services_file("credentials", text, 0600), 1);
    (void)setenv("AWS_PROFILE", "last", 1);
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_keys(c, "AK", "SK", "", INT64_MAX);
    text[64 << 10] = '#'; /* one more */
    const char *path = services_file("credentials", text, 0600);
    credential_reject(c);
    const char *message =
        text_of("credentials from shared credentials file '%s': secret file '%s' is longer "
                "than 65536 bytes",
                path, path);
    assert_refused(c, TM_E_LIMIT, false, message);
}

static void the_file_at_home_applies_when_it_has_the_profile(void **state)
{
    (void)state;
    (void)setenv("HOME", services.dir, 1);
    const char *dir = text_of("%s/.aws", services.dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    const char *path = services_file(".aws/credentials", "[x]\n", 0600);
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_string_equal(credential_source(c), "host's role (IMDSv2)");
    const char *source = text_of("shared credentials file '%s'", path);
    (void)setenv("AWS_PROFILE", "none", 1);
    TM_CLEANUP(credential_freep) struct credential *d = make(NULL);
    assert_string_equal(credential_source(d), source);
    const char *message = text_of("credentials from %s: there is no profile 'none'", source);
    assert_refused(d, TM_E_INVALID, false, message);
}

static void a_bad_shared_file_is_told_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
        unsigned mode;
        enum tm_err_code code;
    } cases[] = {
        {"[default]\naws_access_key_id = AK\n",
         "%s:1: profile 'default' has no 'aws_secret_access_key'", 0600, TM_E_INVALID},
        {"\n[default]\n", "%s:2: profile 'default' has no 'aws_access_key_id'", 0600, TM_E_INVALID},
        {"[default\n", "%s:1: '[' without ']'", 0600, TM_E_INVALID},
        {"[default]\nsssh\n", "%s:2: neither '[profile]' nor 'key = value'", 0600, TM_E_INVALID},
        {"[default]\naws_secret_access_key = sssh sssh\n",
         "%s:2: 'aws_secret_access_key' has no value, or one with blanks in it", 0600,
         TM_E_INVALID},
        {"[default]\n", "secret file '%s' is open to others (mode 0640), run: chmod 600 '%s'", 0640,
         TM_E_PERMISSION},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        const char *path = services_file("credentials", cases[n].text, cases[n].mode);
        (void)setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
        TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
        char message[500];
        int len = snprintf(message, sizeof(message),
                           "credentials from shared credentials file '%s': ", path);
        for (const char *at = cases[n].message; *at != '\0'; at++) {
            if (at[0] == '%' && at[1] == 's') {
                len += snprintf(message + len, sizeof(message) - (size_t)len, "%s", path);
                at++;
            } else {
                message[len++] = *at;
            }
        }
        message[len] = '\0';
        assert_refused(c, cases[n].code, false, message);
    }
}

/* ---- the container's endpoint ---- */

static void the_containers_endpoint_gets_the_token_of_the_file(void **state)
{
    (void)state;
    services_reply(0, KEYS("ASIA3", END));
    const char *url = text_of("%s/v1/credentials?id=1", services.url);
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_keys(c, "ASIA3", "sssh+/=", "tok/en==", TEST_NOW_US + INT64_C(21600000000));
    services_assert_request(0, "GET", "/v1/credentials?id=1", NULL, NULL, "");
    (void)setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", services_file("t", "Bearer-1\n", 0644),
                 1);
    TM_CLEANUP(credential_freep) struct credential *d = make(NULL);
    assert_keys(d, "ASIA3", "sssh+/=", "tok/en==", TEST_NOW_US + INT64_C(21600000000));
    services_assert_request(1, "GET", "/v1/credentials?id=1", "authorization", "Bearer-1", "");
    const char *source = text_of("container endpoint '%s/v1/credentials'", services.url);
    assert_string_equal(credential_source(d), source);
    services_reply(401, "{\"message\":\"Bearer-1 is wrong\"}");
    services.seen = 1;
    credential_reject(d);
    const char *message = text_of("credentials from %s: HTTP 401", source);
    assert_refused(d, TM_E_PERMISSION, false, message);
}

static void only_this_host_or_tls_gets_a_container_token(void **state)
{
    (void)state;
    static const char *const good[] = {
        "https://example.org/x",      "http://127.0.0.1:80/x",      "http://localhost/x",
        "http://169.254.170.23/v1/c", "http://[fd00:ec2::23]/v1/c", "http://[::1]:8080/x",
        "http://127.1.2.3/x",
    };
    static const char *const bad[] = {
        "http://example.org/x",
        "http://10.0.0.1/x",
        "http://127.0.0.1@example.org/x",
        "http://[::2]/x",
        "http://localhost.evil.org/",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "x",
        "https://user@example.org/x",
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(good); n++) {
        (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", good[n], 1);
        credential_free(make(NULL));
    }
    for (size_t n = 0; n < TM_ARRAY_LEN(bad); n++) {
        (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", bad[n], 1);
        const char *message =
            strchr(bad[n], '@') != NULL
                ? "AWS_CONTAINER_CREDENTIALS_FULL_URI: what is given (not shown, as its '@' may "
                  "follow a password) is no https:// address, nor http:// of this host (loopback "
                  "or link-local), without user name"
                : text_of("AWS_CONTAINER_CREDENTIALS_FULL_URI: '%s' is no https:// address, "
                          "nor http:// of this host (loopback or link-local)",
                          bad[n]);
        assert_refused_new(NULL, message);
    }
    (void)setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/c", 1);
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_string_equal(credential_source(c), "container endpoint 'http://169.254.170.2/v2/c'");
    (void)setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ".evil.org/", 1);
    assert_refused_new(NULL, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '.evil.org/' does not begin "
                             "with '/'");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, services_set_up, services_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_secret_is_taken_as_it_is),
        TEST(a_secret_that_lacks_a_key_says_which),
        TEST(the_hosts_role_is_asked_in_three_steps),
        TEST(a_host_without_role_is_told),
        TEST(wrong_answers_of_the_host_are_told),
        TEST(too_long_an_answer_is_refused),
        TEST(the_metadata_service_may_be_turned_off),
        TEST(a_token_file_is_exchanged_for_keys),
        TEST(what_sts_says_is_passed_on_without_the_token),
        TEST(a_token_file_that_is_none_is_told),
        TEST(web_identity_needs_a_role_and_a_safe_sts),
        TEST(the_shared_file_gives_the_profiles_keys),
        TEST(the_shared_file_may_have_many_profiles),
        TEST(the_file_at_home_applies_when_it_has_the_profile),
        TEST(a_bad_shared_file_is_told_by_line),
        TEST(the_containers_endpoint_gets_the_token_of_the_file),
        TEST(only_this_host_or_tls_gets_a_container_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
