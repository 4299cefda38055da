/* Sources of Azure keys and tokens: the exact requests, what answers may be, which source applies,
 * and errors that name what is missing and never a secret. */
#include "services.h"

#define FORM_TYPE "application/x-www-form-urlencoded"

static struct credential_options options(void)
{
    return (struct credential_options){.imds_url = services.url,
                                       .authority_url = services.url,
                                       .proxy = "",
                                       .now_real_us = services_clock};
}

static struct credential *make(const struct secret_map *secret)
{
    struct credential *c = NULL;
    struct credential_options o = options();
    if (credential_azure_new(secret, &o, &c, &services.err) < 0)
        fail_msg("%s", services.err.msg);
    return c;
}

static void assert_refused_new(const struct secret_map *secret, const char *message)
{
    struct credential *c = NULL;
    struct credential_options o = options();
    assert_int_equal(credential_azure_new(secret, &o, &c, &services.err), -TM_E_INVALID);
    assert_string_equal(services.err.msg, message);
    assert_null(c);
}

static void assert_token(struct credential *c, enum azure_auth how, const char *value,
                         int64_t ends_us)
{
    TM_CLEANUP(azure_token_release) struct azure_token token = AZURE_TOKEN_INIT;
    if (credential_azure_get(c, &token, &services.err) < 0)
        fail_msg("%s", services.err.msg);
    assert_int_equal(token.how, how);
    assert_string_equal((char *)token.value.data, value);
    assert_int_equal(token.value.len, strlen(value));
    assert_int_equal(token.ends_us, ends_us);
}

static void assert_refused(struct credential *c, enum tm_err_code code, bool retryable,
                           const char *message)
{
    struct azure_token token = AZURE_TOKEN_INIT;
    assert_int_equal(credential_azure_get(c, &token, &services.err), -(int)code);
    assert_string_equal(services.err.msg, message);
    assert_int_equal(services.err.retryable, retryable);
    assert_null(token.value.data);
}

/* ---- given ones ---- */

static void an_account_key_is_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *text, *bytes;
    } keys[] = {{"c2VjcmV0", "secret"}, {"c2VjcmU=", "secre"}, {"c2VjcmV0cw==", "secrets"}};
    for (size_t n = 0; n < TM_ARRAY_LEN(keys); n++) {
        TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
        services_secret(&map, "AZURE_STORAGE_KEY", keys[n].text);
        services_secret(&map, "AZURE_STORAGE_ACCOUNT", "acc1");
        TM_CLEANUP(credential_freep) struct credential *c = make(&map);
        assert_token(c, AZURE_SHARED_KEY, keys[n].bytes, INT64_MAX);
        assert_string_equal(credential_azure_account(c), "acc1");
        assert_string_equal(credential_source(c), "secret");
    }
    static const char *const bad[] = {"",     "c2VjcmV", "c2Vj=mV0", "c2Vj mV0",
                                      "c===", "====",    "s:=="};
    for (size_t n = 0; n < TM_ARRAY_LEN(bad); n++) {
        TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
        services_secret(&map, "AZURE_STORAGE_KEY", bad[n]);
        assert_refused_new(&map, "'AZURE_STORAGE_KEY' of the secret is no account key (base64)");
    }
}

static void the_account_comes_from_the_options_first(void **state)
{
    (void)state;
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    services_secret(&map, "AZURE_STORAGE_KEY", "c2VjcmV0");
    services_secret(&map, "AZURE_STORAGE_ACCOUNT", "acc1");
    struct credential_options o = options();
    o.account = "acc2";
    struct credential *c = NULL;
    assert_int_equal(credential_azure_new(&map, &o, &c, &services.err), 0);
    assert_string_equal(credential_azure_account(c), "acc2");
    credential_free(c);
    services_secret(&map, "AZURE_STORAGE_ACCOUNT", "acc1/../x");
    assert_refused_new(&map, "'acc1/../x' is no name of a storage account");
    TM_CLEANUP(secret_map_release) struct secret_map none = SECRET_MAP_INIT;
    services_secret(&none, "AZURE_STORAGE_KEY", "c2VjcmV0");
    TM_CLEANUP(credential_freep) struct credential *d = make(&none);
    assert_string_equal(credential_azure_account(d), "");
}

static void a_sas_loses_its_question_mark(void **state)
{
    (void)state;
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    services_secret(&map, "AZURE_STORAGE_SAS_TOKEN", "?sv=2021-06-08&sp=rw&sig=a%2Bb%3D");
    TM_CLEANUP(credential_freep) struct credential *c = make(&map);
    assert_token(c, AZURE_SAS, "sv=2021-06-08&sp=rw&sig=a%2Bb%3D", INT64_MAX);
    static const char *const bad[] = {"", "?", "sv=1", "sig=a b", "https://x/?sig=a"};
    for (size_t n = 0; n < TM_ARRAY_LEN(bad); n++) {
        services_secret(&map, "AZURE_STORAGE_SAS_TOKEN", bad[n]);
        assert_refused_new(&map,
                           "'AZURE_STORAGE_SAS_TOKEN' of the secret is no SAS (a query with sig=)");
    }
}

static void a_secret_that_lacks_a_key_says_which(void **state)
{
    (void)state;
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    services_secret(&map, "access_key", "AK");
    assert_refused_new(&map, "the secret has none of the keys for Azure: AZURE_STORAGE_KEY, or "
                             "AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID with AZURE_CLIENT_ID and "
                             "AZURE_CLIENT_SECRET");
    services_secret(&map, "AZURE_CLIENT_ID", "client");
    services_secret(&map, "AZURE_TENANT_ID", "tenant");
    assert_refused_new(&map, "the secret has no key 'AZURE_CLIENT_SECRET': AZURE_TENANT_ID, "
                             "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET belong together");
    services_secret(&map, "AZURE_CLIENT_SECRET", "sssh");
    services_secret(&map, "AZURE_TENANT_ID", "../x");
    assert_refused_new(&map, "AZURE_TENANT_ID: '../x' is no id or name");
}

/* ---- Azure AD ---- */

static struct credential *client_secret(void)
{
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    services_secret(&map, "AZURE_TENANT_ID", "11-22");
    services_secret(&map, "AZURE_CLIENT_ID", "33-44");
    services_secret(&map, "AZURE_CLIENT_SECRET", "sssh~+/&=secret");
    return make(&map);
}

static void a_client_secret_is_exchanged_for_a_token(void **state)
{
    (void)state;
    services_reply(0, "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"ext_expires_in\":3599,"
                      "\"access_token\":\"eyJ.a-b_c\"}");
    TM_CLEANUP(credential_freep) struct credential *c = client_secret();
    assert_string_equal(credential_source(c), "client secret of '33-44'");
    assert_token(c, AZURE_BEARER, "eyJ.a-b_c", TEST_NOW_US + INT64_C(3599000000));
    assert_token(c, AZURE_BEARER, "eyJ.a-b_c", TEST_NOW_US + INT64_C(3599000000));
    assert_int_equal(stub_http_count(services.stub), 1);
    services_assert_request(0, "POST", "/11-22/oauth2/v2.0/token", "content-type", FORM_TYPE,
                            "grant_type=client_credentials&client_id=33-44&"
                            "client_secret=sssh~%2B%2F%26%3Dsecret&"
                            "scope=https%3A%2F%2Fstorage.azure.com%2F.default");
}

static void what_the_authority_says_is_passed_on_without_the_secret(void **state)
{
    (void)state;
    services_reply(401, "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: "
                        "Invalid client secret\\r\\nTrace ID: 1\"}");
    services_reply(400, "{\"error\":\"invalid_grant\",\"error_description\":\"you sent "
                        "sssh~+/&=secret\"}");
    services_reply(400, "sssh~+/&=secret");
    services_reply(0, "{\"access_token\":\"eyJ\"}");
    services_reply(0, "{\"expires_in\":3599}");
    services_reply(0, "{\"access_token\":\"eyJ\",\"token_type\":\"pop\",\"expires_in\":3599}");
    services_reply(0, "{\"access_token\":\"a b\",\"expires_in\":3599}");
    services_reply(0, "{\"access_token\":\"eyJ\",\"expires_in\":-1}");
    services_reply(0, "{\"access_token\":\"eyJ\",\"expires_in\":1e300}");
    services_reply(0, "{\"access_token\":\"eyJ\",\"expires_in\":9223372036854775807}");
    TM_CLEANUP(credential_freep) struct credential *c = client_secret();
    static const struct {
        const char *text;
        enum tm_err_code code;
    } cases[] = {
        {"HTTP 401 invalid_client: AADSTS7000215: Invalid client secret  Trace ID: 1",
         TM_E_PERMISSION},
        {"HTTP 400", TM_E_PERMISSION},
        {"HTTP 400", TM_E_PERMISSION},
        {"the answer has no 'expires_in' that is a number", TM_E_UNAVAILABLE},
        {"the answer has no 'access_token'", TM_E_UNAVAILABLE},
        {"the answer's token is no bearer token", TM_E_UNAVAILABLE},
        {"'access_token' in the answer has characters that cannot be in it", TM_E_UNAVAILABLE},
        {"the answer has no 'expires_in' that is a number", TM_E_UNAVAILABLE},
        {"the answer has no 'expires_in' that is a number", TM_E_UNAVAILABLE},
        {"the answer has no 'expires_in' that is a number", TM_E_UNAVAILABLE},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++)
        assert_refused(c, cases[n].code, cases[n].code == TM_E_UNAVAILABLE,
                       text_of("credentials from client secret of '33-44': %s", cases[n].text));
    assert_int_equal(stub_http_count(services.stub), TM_ARRAY_LEN(cases));
}

static void a_federated_token_file_is_exchanged_for_a_token(void **state)
{
    (void)state;
    services_reply(0,
                   "{\"token_type\":\"bearer\",\"expires_in\":\"3599\",\"access_token\":\"eyJ\"}");
    (void)setenv("AZURE_FEDERATED_TOKEN_FILE", services_file("token", "jwt.a+b\n", 0640), 1);
    assert_refused_new(NULL, "AZURE_FEDERATED_TOKEN_FILE is set, and AZURE_TENANT_ID is missing");
    (void)setenv("AZURE_TENANT_ID", "11-22", 1);
    assert_refused_new(NULL, "AZURE_FEDERATED_TOKEN_FILE is set, and AZURE_CLIENT_ID is missing");
    (void)setenv("AZURE_CLIENT_ID", "33-44", 1);
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_string_equal(credential_source(c),
                        text_of("federated token file '%s/token'", services.dir));
    assert_token(c, AZURE_BEARER, "eyJ", TEST_NOW_US + INT64_C(3599000000));
    services_assert_request(
        0, "POST", "/11-22/oauth2/v2.0/token", "content-type", FORM_TYPE,
        "grant_type=client_credentials&client_id=33-44&client_assertion_type="
        "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&"
        "client_assertion=jwt.a%2Bb&scope=https%3A%2F%2Fstorage.azure.com%2F.default");
}

static void the_authority_is_reached_by_tls(void **state)
{
    (void)state;
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    services_secret(&map, "AZURE_TENANT_ID", "11-22");
    services_secret(&map, "AZURE_CLIENT_ID", "33-44");
    services_secret(&map, "AZURE_CLIENT_SECRET", "sssh");
    (void)setenv("AZURE_AUTHORITY_HOST", "http://login.example.org/", 1);
    struct credential *c = NULL;
    struct credential_options o = {.proxy = ""};
    assert_int_equal(credential_azure_new(&map, &o, &c, &services.err), -TM_E_INVALID);
    assert_string_equal(services.err.msg,
                        "AZURE_AUTHORITY_HOST: 'http://login.example.org/' is no https:// address, "
                        "nor http:// of this host (loopback or link-local)");
}

/* ---- managed identity ---- */

static void the_managed_identity_is_asked_of_the_host(void **state)
{
    (void)state;
    services_reply(0, "{\"access_token\":\"eyJ1\",\"refresh_token\":\"\",\"expires_in\":\"3599\","
                      "\"expires_on\":\"1506484173\",\"token_type\":\"Bearer\"}");
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_string_equal(credential_source(c), "managed identity (IMDS)");
    assert_token(c, AZURE_BEARER, "eyJ1", TEST_NOW_US + INT64_C(3599000000));
    services_assert_request(0, "GET",
                            "/metadata/identity/oauth2/token?api-version=2018-02-01&"
                            "resource=https%3A%2F%2Fstorage.azure.com%2F",
                            "metadata", "true", "");
    (void)setenv("AZURE_CLIENT_ID", "33-44", 1);
    TM_CLEANUP(credential_freep) struct credential *d = make(NULL);
    assert_token(d, AZURE_BEARER, "eyJ1", TEST_NOW_US + INT64_C(3599000000));
    services_assert_request(1, "GET",
                            "/metadata/identity/oauth2/token?api-version=2018-02-01&"
                            "resource=https%3A%2F%2Fstorage.azure.com%2F&client_id=33-44",
                            "metadata", "true", "");
    services_reply(400, "{\"error\":\"invalid_request\",\"error_description\":\"Identity not "
                        "found\"}");
    services.seen = 1;
    credential_reject(d);
    assert_refused(d, TM_E_PERMISSION, false,
                   "credentials from managed identity (IMDS): HTTP 400 invalid_request: Identity "
                   "not found");
}

static void the_app_service_has_an_endpoint_of_its_own(void **state)
{
    (void)state;
    services_reply(0, text_of("{\"access_token\":\"eyJ2\",\"expires_on\":\"%lld\"}",
                              (long long)(TEST_NOW_US / 1000000 + 86400)));
    (void)setenv("IDENTITY_ENDPOINT", text_of("%s/msi/token", services.url), 1);
    (void)setenv("IDENTITY_HEADER", "853b9a84-5bfa", 1);
    TM_CLEANUP(credential_freep) struct credential *c = make(NULL);
    assert_string_equal(credential_source(c), "managed identity (App Service)");
    assert_token(c, AZURE_BEARER, "eyJ2", TEST_NOW_US + INT64_C(86400000000));
    services_assert_request(0, "GET",
                            "/msi/token?api-version=2019-08-01&"
                            "resource=https%3A%2F%2Fstorage.azure.com%2F",
                            "x-identity-header", "853b9a84-5bfa", "");
    (void)setenv("IDENTITY_ENDPOINT", "http://example.org/msi/token", 1);
    assert_refused_new(NULL, "IDENTITY_ENDPOINT: 'http://example.org/msi/token' is no https:// "
                             "address, nor http:// of this host (loopback or link-local)");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, services_set_up, services_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_account_key_is_decoded),
        TEST(the_account_comes_from_the_options_first),
        TEST(a_sas_loses_its_question_mark),
        TEST(a_secret_that_lacks_a_key_says_which),
        TEST(a_client_secret_is_exchanged_for_a_token),
        TEST(what_the_authority_says_is_passed_on_without_the_secret),
        TEST(a_federated_token_file_is_exchanged_for_a_token),
        TEST(the_authority_is_reached_by_tls),
        TEST(the_managed_identity_is_asked_of_the_host),
        TEST(the_app_service_has_an_endpoint_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
