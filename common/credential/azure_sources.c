/*
 * Where an Azure account key, SAS or token comes from. Keys and SAS are given; tokens come from
 * Azure AD for a client secret or a federated token file, or from the host's managed identity.
 *
 * Happy path of tokens: one form to the authority, or one GET on the host → access_token and when it
 * ends. Failures carry the service's error word and description (ask_refused).
 */
#include <ctype.h>
#include <jansson.h>
#include <openssl/evp.h>

#include "common/clock.h"
#include "common/credential/internal.h"
#include "common/parse.h"

#define IMDS_URL      "http://169.254.169.254"
#define AUTHORITY_URL "https://login.microsoftonline.com"
#define SCOPE         "https://storage.azure.com/.default"
#define RESOURCE      "https://storage.azure.com/"
#define LIFE_MAX_S    (INT64_C(10) * 365 * 86400)
#define FORM_MAX      (4 * CREDENTIAL_FILE_MAX)

/* ---- answers ---- */

/* A number, or a text that is one: both forms are in use. */
static bool whole_number(const json_t *value, int64_t *ret)
{
    struct tm_err ignored;
    if (json_is_integer(value))
        *ret = json_integer_value(value);
    else if (!json_is_string(value) || parse_i64(json_string_value(value), ret, &ignored) < 0)
        return false;
    return *ret > 0;
}

static int take_end(const struct credential *c, const json_t *root, struct grant *ret,
                    struct tm_err *err)
{
    int64_t now_us = c->now_real_us();
    int64_t now_s = now_us / USEC_PER_SEC;
    int64_t seconds;
    if (whole_number(json_object_get(root, "expires_in"), &seconds) && seconds <= LIFE_MAX_S)
        ret->ends_us = now_us + seconds * USEC_PER_SEC;
    else if (whole_number(json_object_get(root, "expires_on"), &seconds) &&
             seconds <= now_s + LIFE_MAX_S)
        ret->ends_us = seconds * USEC_PER_SEC;
    else
        return CREDENTIAL_NONSENSE(err, "the answer has no 'expires_in' that is a number");
    ret->azure.ends_us = ret->ends_us;
    return 0;
}

static int take_token(const struct credential *c, const struct ask *a, struct grant *ret,
                      struct tm_err *err)
{
    if (a->x.status != 200) {
        struct tm_err ignored;
        TM_CLEANUP(answer_json_freep) json_t *root = answer_json(a, &ignored);
        const char *code = answer_text(root, "error");
        const char *words = answer_text(root, "error_description");
        return ask_refused(a, code != NULL ? code : "", words != NULL ? words : "", err);
    }
    TM_CLEANUP(answer_json_freep) json_t *root = answer_json(a, err);
    if (root == NULL)
        return -(int)err->code;
    const char *type = answer_text(root, "token_type");
    if (type != NULL && strcasecmp(type, "Bearer") != 0)
        return CREDENTIAL_NONSENSE(err, "the answer's token is no bearer token");
    int r =
        credential_take(&ret->azure.value, "access_token", answer_text(root, "access_token"), err);
    ret->azure.how = AZURE_BEARER;
    return r == 0 ? take_end(c, root, ret, err) : r;
}

/* ---- Azure AD ---- */

static int field(struct buf *form, const char *name, const char *value, struct tm_err *err)
{
    int r = buf_printf(form, err, "%s%s=", form->len > 0 ? "&" : "", name);
    return r == 0 ? ask_encode(form, value, err) : r;
}

/* `proof_name`, `proof`: by what the client shows that it is itself. */
static int authority_ask(struct credential *c, const char *proof_name, const char *proof,
                         bool federated, struct grant *ret, struct tm_err *err)
{
    TM_CLEANUP(ask_release) struct ask a = ASK_INIT;
    int r = buf_reserve(&a.body, FORM_MAX, err); /* so that no copy is left */
    if (r == 0)
        r = buf_printf(&a.url, err, "%s/%s/oauth2/v2.0/token", c->url, c->subject);
    if (r == 0)
        r = field(&a.body, "grant_type", "client_credentials", err);
    if (r == 0)
        r = field(&a.body, "client_id", c->name, err);
    if (r == 0 && federated)
        r = field(&a.body, "client_assertion_type",
                  "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", err);
    if (r == 0)
        r = field(&a.body, proof_name, proof, err);
    if (r == 0)
        r = field(&a.body, "scope", SCOPE, err);
    if (r == 0)
        r = http_header(&a.x, err, "content-type", "application/x-www-form-urlencoded");
    if (r == 0)
        r = ask_run(c, &a, "POST", err);
    return r == 0 ? take_token(c, &a, ret, err) : r;
}

static int client_secret_fetch(struct credential *c, struct grant *ret, struct tm_err *err)
{
    return authority_ask(c, "client_secret", (const char *)c->given.data, false, ret, err);
}

static int federated_fetch(struct credential *c, struct grant *ret, struct tm_err *err)
{
    TM_CLEANUP(ask_wipe) struct buf token = BUF_INIT;
    int r = ask_token_file(c->file, &token, err);
    return r == 0 ? authority_ask(c, "client_assertion", (const char *)token.data, true, ret, err)
                  : r;
}

/* ---- managed identity ---- */

static int identity_ask(struct credential *c, struct ask *a, const char *version, struct grant *ret,
                        struct tm_err *err)
{
    int r = buf_printf(&a->url, err, "%s?api-version=%s&resource=", c->url, version);
    if (r == 0)
        r = ask_encode(&a->url, RESOURCE, err);
    if (r == 0 && c->name != NULL)
        r = buf_printf(&a->url, err, "&client_id=");
    if (r == 0 && c->name != NULL)
        r = ask_encode(&a->url, c->name, err);
    if (r == 0)
        r = ask_run(c, a, "GET", err);
    return r == 0 ? take_token(c, a, ret, err) : r;
}

static int imds_fetch(struct credential *c, struct grant *ret, struct tm_err *err)
{
    TM_CLEANUP(ask_release) struct ask a = ASK_INIT;
    int r = http_header(&a.x, err, "metadata", "true");
    return r == 0 ? identity_ask(c, &a, "2018-02-01", ret, err) : r;
}

static int app_service_fetch(struct credential *c, struct grant *ret, struct tm_err *err)
{
    TM_CLEANUP(ask_release) struct ask a = ASK_INIT;
    int r = http_header(&a.x, err, "x-identity-header", "%s", (const char *)c->given.data);
    return r == 0 ? identity_ask(c, &a, "2019-08-01", ret, err) : r;
}

/* ---- choosing ---- */

static const struct source given_source = {.fetch = NULL};
static const struct source client_secret_source = {.fetch = client_secret_fetch};
static const struct source federated_source = {.fetch = federated_fetch};
static const struct source imds_source = {.fetch = imds_fetch, .on_host = true};
static const struct source app_service_source = {.fetch = app_service_fetch, .on_host = true};

static int check_id(const char *name, const char *value, struct tm_err *err)
{
    size_t len = strnlen(value, 129);
    bool good = len > 0 && len <= 128;
    for (size_t at = 0; good && at < len; at++)
        good = isalnum((unsigned char)value[at]) || strchr("-._", value[at]) != NULL;
    return good ? 0 : tm_err_set(err, TM_E_INVALID, "%s: '%.128s' is no id or name", name, value);
}

static int decode_key(const struct secret *text, struct secret *ret, struct tm_err *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *key = (const char *)text->data;
    size_t padding = 0;
    while (padding < 2 && padding < text->len && key[text->len - 1 - padding] == '=')
        padding++;
    uint8_t bytes[SECRET_MAX_LEN];
    if (text->len == 0 || text->len % 4 != 0 || strspn(key, digits) != text->len - padding ||
        EVP_DecodeBlock(bytes, text->data, (int)text->len) < 0)
        return tm_err_set(err, TM_E_INVALID,
                          "'AZURE_STORAGE_KEY' of the secret is no account key (base64)");
    int r = secret_set(ret, bytes, text->len / 4 * 3 - padding, err);
    explicit_bzero(bytes, sizeof(bytes));
    return r;
}

static int take_given(struct credential *c, enum azure_auth how)
{
    c->grant.azure.how = how;
    c->grant.ends_us = c->grant.azure.ends_us = INT64_MAX;
    c->have = true;
    c->source = &given_source;
    (void)snprintf(c->describe, sizeof(c->describe), "secret");
    return 0;
}

static int choose_sas(struct credential *c, const struct secret *sas, struct tm_err *err)
{
    const char *text = (const char *)sas->data;
    size_t len = sas->len;
    if (len > 0 && text[0] == '?')
        text++, len--;
    if (!credential_is_token(text, len) || strstr(text, "sig=") == NULL ||
        strpbrk(text, "?#\"<>") != NULL)
        return tm_err_set(err, TM_E_INVALID,
                          "'AZURE_STORAGE_SAS_TOKEN' of the secret is no SAS (a query with sig=)");
    int r = secret_set(&c->grant.azure.value, text, len, err);
    return r == 0 ? take_given(c, AZURE_SAS) : r;
}

static int authority_url(struct credential *c, const struct credential_options *options,
                         struct tm_err *err)
{
    const char *url = options->authority_url != NULL ? options->authority_url
                                                     : credential_env("AZURE_AUTHORITY_HOST");
    return credential_url(&c->url, "AZURE_AUTHORITY_HOST", url != NULL ? url : AUTHORITY_URL, err);
}

static int set_client(struct credential *c, const char *tenant, const char *client,
                      const struct credential_options *options, struct tm_err *err)
{
    int r = check_id("AZURE_TENANT_ID", tenant, err);
    if (r == 0)
        r = check_id("AZURE_CLIENT_ID", client, err);
    if (r == 0)
        r = credential_copy(&c->subject, tenant, err);
    if (r == 0)
        r = credential_copy(&c->name, client, err);
    return r == 0 ? authority_url(c, options, err) : r;
}

static int choose_client_secret(struct credential *c, const struct secret_map *secret,
                                const struct credential_options *options, struct tm_err *err)
{
    static const char *const names[] = {"AZURE_TENANT_ID", "AZURE_CLIENT_ID",
                                        "AZURE_CLIENT_SECRET"};
    const struct secret *values[3];
    bool any = false;
    const char *missing = NULL;
    for (size_t n = 0; n < TM_ARRAY_LEN(names); n++) {
        values[n] = secret_map_get(secret, names[n]);
        bool there = values[n] != NULL && values[n]->len > 0;
        any = any || there;
        if (!there && missing == NULL)
            missing = names[n];
    }
    if (!any)
        return tm_err_set(err, TM_E_INVALID,
                          "the secret has none of the keys for Azure: AZURE_STORAGE_KEY, or "
                          "AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID with AZURE_CLIENT_ID and "
                          "AZURE_CLIENT_SECRET");
    if (missing != NULL)
        return tm_err_set(err, TM_E_INVALID,
                          "the secret has no key '%s': AZURE_TENANT_ID, AZURE_CLIENT_ID and "
                          "AZURE_CLIENT_SECRET belong together",
                          missing);
    c->source = &client_secret_source;
    (void)snprintf(c->describe, sizeof(c->describe), "client secret of '%.128s'",
                   (const char *)values[1]->data);
    int r = secret_set(&c->given, values[2]->data, values[2]->len, err);
    return r == 0 ? set_client(c, (const char *)values[0]->data, (const char *)values[1]->data,
                               options, err)
                  : r;
}

static int choose_given(struct credential *c, const struct secret_map *secret,
                        const struct credential_options *options, struct tm_err *err)
{
    const struct secret *key = secret_map_get(secret, "AZURE_STORAGE_KEY");
    const struct secret *sas = secret_map_get(secret, "AZURE_STORAGE_SAS_TOKEN");
    if (key != NULL) {
        int r = decode_key(key, &c->grant.azure.value, err);
        return r == 0 ? take_given(c, AZURE_SHARED_KEY) : r;
    }
    return sas != NULL ? choose_sas(c, sas, err) : choose_client_secret(c, secret, options, err);
}

static int choose_federated(struct credential *c, const char *file,
                            const struct credential_options *options, struct tm_err *err)
{
    const char *tenant = credential_env("AZURE_TENANT_ID");
    const char *client = credential_env("AZURE_CLIENT_ID");
    if (tenant == NULL || client == NULL)
        return tm_err_set(err, TM_E_INVALID, "AZURE_FEDERATED_TOKEN_FILE is set, and %s is missing",
                          tenant == NULL ? "AZURE_TENANT_ID" : "AZURE_CLIENT_ID");
    c->source = &federated_source;
    (void)snprintf(c->describe, sizeof(c->describe), "federated token file '%.300s'", file);
    int r = credential_copy(&c->file, file, err);
    return r == 0 ? set_client(c, tenant, client, options, err) : r;
}

static int choose_identity(struct credential *c, const struct credential_options *options,
                           struct tm_err *err)
{
    const char *endpoint = credential_env("IDENTITY_ENDPOINT");
    const char *header = credential_env("IDENTITY_HEADER");
    const char *client = credential_env("AZURE_CLIENT_ID");
    int r = client != NULL ? check_id("AZURE_CLIENT_ID", client, err) : 0;
    if (r == 0)
        r = credential_copy(&c->name, client, err);
    if (r < 0)
        return r;
    if (endpoint != NULL && header != NULL) {
        c->source = &app_service_source;
        (void)snprintf(c->describe, sizeof(c->describe), "managed identity (App Service)");
        r = secret_set(&c->given, header, strlen(header), err);
        return r == 0 ? credential_url(&c->url, "IDENTITY_ENDPOINT", endpoint, err) : r;
    }
    c->source = &imds_source;
    (void)snprintf(c->describe, sizeof(c->describe), "managed identity (IMDS)");
    char url[1100];
    (void)snprintf(url, sizeof(url), "%s/metadata/identity/oauth2/token",
                   options->imds_url != NULL ? options->imds_url : IMDS_URL);
    return credential_url(&c->url, "address of the metadata service", url, err);
}

static int set_account(struct credential *c, const struct secret_map *secret,
                       const struct credential_options *options, struct tm_err *err)
{
    const struct secret *named =
        secret != NULL ? secret_map_get(secret, "AZURE_STORAGE_ACCOUNT") : NULL;
    const char *account = options->account != NULL ? options->account
                          : named != NULL          ? (const char *)named->data
                                                   : "";
    size_t len = strspn(account, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (account[len] != '\0' || len >= sizeof(c->account))
        return tm_err_set(err, TM_E_INVALID, "'%.64s' is no name of a storage account", account);
    (void)snprintf(c->account, sizeof(c->account), "%s", account);
    return 0;
}

int azure_choose(struct credential *c, const struct secret_map *secret,
                 const struct credential_options *options, struct tm_err *err)
{
    int r = set_account(c, secret, options, err);
    if (r < 0)
        return r;
    if (secret != NULL)
        return choose_given(c, secret, options, err);
    const char *file = credential_env("AZURE_FEDERATED_TOKEN_FILE");
    return file != NULL ? choose_federated(c, file, options, err)
                        : choose_identity(c, options, err);
}
