/*
 * Where S3 keys come from. Each source is one function that fetches; which one it is, is decided
 * once, from the secret, the environment and whether there is a file.
 *
 * Happy paths: token file → STS → keys; file → keys; container endpoint → keys; IMDSv2: PUT token →
 * GET role → GET keys. Failures name what was asked and the status; an answer without one of the
 * keys names it.
 */
#include <jansson.h>

#include "common/clock.h"
#include "common/credential/internal.h"
#include "common/fs.h"
#include "common/xml.h"

#define IMDS_URL           "http://169.254.169.254"
#define CONTAINER_URL      "http://169.254.170.2"
#define TOKEN_LIFE_SECONDS 21600
#define ROLE_MAX           64
#define REGION_DEFAULT     "us-east-1"

/* ---- answers ---- */

static int take_end(const char *name, const char *text, struct grant *ret, struct tm_err *err)
{
    struct tm_err ignored;
    if (text == NULL || clock_parse(text, &ret->ends_us, &ignored) < 0)
        return CREDENTIAL_NONSENSE(err, "the answer has no '%s', or one that is no time", name);
    ret->s3.ends_us = ret->ends_us;
    return 0;
}

/* {"AccessKeyId": …, "SecretAccessKey": …, "Token": …, "Expiration": …} */
static int take_json(const struct ask *a, struct grant *ret, struct tm_err *err)
{
    TM_CLEANUP(answer_json_freep) json_t *root = answer_json(a, err);
    if (root == NULL)
        return -(int)err->code;
    const char *code = answer_text(root, "Code");
    if (code != NULL && strcmp(code, "Success") != 0)
        return ask_refused(a, code, "", err);
    int r =
        credential_take(&ret->s3.access_key, "AccessKeyId", answer_text(root, "AccessKeyId"), err);
    if (r == 0)
        r = credential_take(&ret->s3.secret_key, "SecretAccessKey",
                            answer_text(root, "SecretAccessKey"), err);
    if (r == 0)
        r = credential_take(&ret->s3.session_token, "Token", answer_text(root, "Token"), err);
    return r == 0 ? take_end("Expiration", answer_text(root, "Expiration"), ret, err) : r;
}

/* ---- the host's role ---- */

static int imds_ask(struct credential *c, struct ask *a, const char *path, const char *token,
                    struct tm_err *err)
{
    int r = buf_printf(&a->url, err, "%s%s", c->url, path);
    if (r == 0)
        r = http_header(&a->x, err, "x-aws-ec2-metadata-token", "%s", token);
    if (r == 0)
        r = ask_run(c, a, "GET", err);
    if (r < 0)
        return r;
    if (a->x.status == 404)
        return tm_err_set(err, TM_E_PERMISSION, "HTTP 404: this host has no role");
    return a->x.status == 200 ? 0 : ask_refused(a, "", "", err);
}

/* *ret_text: one line of the answer, or an error that calls it `what`. */
static int first_line(const struct ask *a, const char *what, char *text, size_t size,
                      struct tm_err *err)
{
    struct slice answer = ask_answer(a);
    size_t len = 0;
    while (len < answer.len && answer.data[len] != '\n' && answer.data[len] != '\r')
        len++;
    if (len >= size || !credential_is_token((const char *)answer.data, len))
        return CREDENTIAL_NONSENSE(err, "the answer is no %s", what);
    (void)snprintf(text, size, "%.*s", (int)len, (const char *)answer.data);
    return 0;
}

static int imds_token(struct credential *c, char *token, size_t size, struct tm_err *err)
{
    TM_CLEANUP(ask_release) struct ask a = ASK_INIT;
    int r = buf_printf(&a.url, err, "%s/latest/api/token", c->url);
    if (r == 0)
        r = http_header(&a.x, err, "x-aws-ec2-metadata-token-ttl-seconds", "%d",
                        TOKEN_LIFE_SECONDS);
    if (r == 0)
        r = ask_run(c, &a, "PUT", err);
    if (r == 0 && a.x.status != 200)
        r = ask_refused(&a, "", "", err);
    if (r == 0)
        r = first_line(&a, "session token", token, size, err);
    return r < 0 ? tm_err_prefix(err, "session token") : 0;
}

static int imds_role(struct credential *c, const char *token, char *role, size_t size,
                     struct tm_err *err)
{
    TM_CLEANUP(ask_release) struct ask a = ASK_INIT;
    int r = imds_ask(c, &a, "/latest/meta-data/iam/security-credentials/", token, err);
    if (r == 0)
        r = first_line(&a, "name of a role", role, size, err);
    if (r == 0 && strpbrk(role, "/?#%&") != NULL)
        r = CREDENTIAL_NONSENSE(err, "the answer is no name of a role");
    return r < 0 ? tm_err_prefix(err, "role") : 0;
}

static int imds_fetch(struct credential *c, struct grant *ret, struct tm_err *err)
{
    char token[1024], role[ROLE_MAX + 1], path[ROLE_MAX + 64];
    int r = imds_token(c, token, sizeof(token), err);
    if (r == 0)
        r = imds_role(c, token, role, sizeof(role), err);
    if (r == 0) {
        TM_CLEANUP(ask_release) struct ask a = ASK_INIT;
        (void)snprintf(path, sizeof(path), "/latest/meta-data/iam/security-credentials/%s", role);
        r = imds_ask(c, &a, path, token, err);
        if (r == 0)
            r = take_json(&a, ret, err);
        if (r < 0)
            (void)tm_err_prefix(err, "keys of role '%s'", role);
    }
    explicit_bzero(token, sizeof(token));
    return r;
}

/* ---- the container's endpoint ---- */

static int container_fetch(struct credential *c, struct grant *ret, struct tm_err *err)
{
    TM_CLEANUP(ask_release) struct ask a = ASK_INIT;
    TM_CLEANUP(ask_wipe) struct buf token = BUF_INIT;
    int r = buf_printf(&a.url, err, "%s", c->url);
    if (r == 0 && c->file != NULL)
        r = ask_token_file(c->file, &token, err);
    if (r == 0 && c->file != NULL)
        r = http_header(&a.x, err, "authorization", "%s", (const char *)token.data);
    if (r == 0)
        r = ask_run(c, &a, "GET", err);
    if (r == 0 && a.x.status != 200)
        r = ask_refused(&a, "", "", err);
    return r == 0 ? take_json(&a, ret, err) : r;
}

/* ---- the shared credentials file ---- */

static int file_fetch(struct credential *c, struct grant *ret, struct tm_err *err)
{
    bool found = false;
    int r = s3_file_read(c->file, c->subject, &ret->s3, &found, err);
    if (r == 0 && !found)
        r = tm_err_set(err, TM_E_INVALID, "there is no profile '%s'", c->subject);
    ret->ends_us = INT64_MAX;
    return r;
}

/* ---- web identity ---- */

#define STS_KEYS "AssumeRoleWithWebIdentityResponse/AssumeRoleWithWebIdentityResult/Credentials/"

struct sts_texts {
    struct grant *grant;
    char end[CLOCK_TEXT_MAX];
};

static int sts_take(const char *path, const char *text, void *arg, struct tm_err *err)
{
    struct sts_texts *t = arg;
    if (strcmp(path, STS_KEYS "AccessKeyId") == 0)
        return credential_take(&t->grant->s3.access_key, "AccessKeyId", text, err);
    if (strcmp(path, STS_KEYS "SecretAccessKey") == 0)
        return credential_take(&t->grant->s3.secret_key, "SecretAccessKey", text, err);
    if (strcmp(path, STS_KEYS "SessionToken") == 0)
        return credential_take(&t->grant->s3.session_token, "SessionToken", text, err);
    if (strcmp(path, STS_KEYS "Expiration") == 0)
        (void)snprintf(t->end, sizeof(t->end), "%s", text);
    return 0;
}

static int sts_answer(const struct ask *a, struct grant *ret, struct tm_err *err)
{
    struct sts_texts texts = {.grant = ret};
    int r = xml_read(ask_answer(a), sts_take, &texts, err);
    if (r == -TM_E_CORRUPT)
        return CREDENTIAL_NONSENSE(err, "the answer is no XML of STS");
    const char *missing = ret->s3.access_key.len == 0      ? "AccessKeyId"
                          : ret->s3.secret_key.len == 0    ? "SecretAccessKey"
                          : ret->s3.session_token.len == 0 ? "SessionToken"
                                                           : NULL;
    if (r == 0 && missing != NULL)
        return CREDENTIAL_NONSENSE(err, "the answer has no '%s'", missing);
    return r == 0 ? take_end("Expiration", texts.end, ret, err) : r;
}

static int sts_refused(const struct ask *a, struct tm_err *err)
{
    char code[80], message[400];
    (void)xml_text(ask_answer(a), "ErrorResponse/Error/Code", code, sizeof(code));
    (void)xml_text(ask_answer(a), "ErrorResponse/Error/Message", message, sizeof(message));
    (void)ask_refused(a, code, message, err);
    if (strcmp(code, "IDPCommunicationError") == 0 || strcmp(code, "Throttling") == 0)
        err->retryable = true;
    return -(int)err->code;
}

static int sts_fetch(struct credential *c, struct grant *ret, struct tm_err *err)
{
    TM_CLEANUP(ask_release) struct ask a = ASK_INIT;
    TM_CLEANUP(ask_wipe) struct buf token = BUF_INIT;
    int r = ask_token_file(c->file, &token, err);
    if (r == 0)
        r = buf_reserve(&a.body, 4 * CREDENTIAL_FILE_MAX, err); /* so that no copy is left */
    if (r == 0)
        r = buf_printf(&a.url, err, "%s/", c->url);
    if (r == 0)
        r = buf_printf(&a.body, err,
                       "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
    if (r == 0)
        r = ask_encode(&a.body, c->subject, err);
    if (r == 0)
        r = buf_printf(&a.body, err, "&RoleSessionName=");
    if (r == 0)
        r = ask_encode(&a.body, c->name, err);
    if (r == 0)
        r = buf_printf(&a.body, err, "&WebIdentityToken=");
    if (r == 0)
        r = ask_encode(&a.body, (const char *)token.data, err);
    if (r == 0)
        r = http_header(&a.x, err, "content-type", "application/x-www-form-urlencoded");
    if (r == 0)
        r = ask_run(c, &a, "POST", err);
    if (r < 0)
        return r;
    return a.x.status == 200 ? sts_answer(&a, ret, err) : sts_refused(&a, err);
}

/* ---- choosing ---- */

static const struct source given_source = {.fetch = NULL};
static const struct source sts_source = {.fetch = sts_fetch};
static const struct source file_source = {.fetch = file_fetch};
static const struct source container_source = {.fetch = container_fetch, .on_host = true};
static const struct source imds_source = {.fetch = imds_fetch, .on_host = true};

static int choose_given(struct credential *c, const struct secret_map *secret, struct tm_err *err)
{
    static const char *const names[] = {"access_key", "secret_key", "session_token"};
    struct secret *to[] = {&c->grant.s3.access_key, &c->grant.s3.secret_key,
                           &c->grant.s3.session_token};
    for (size_t n = 0; n < TM_ARRAY_LEN(names); n++) {
        const struct secret *value = secret_map_get(secret, names[n]);
        bool required = to[n] != &c->grant.s3.session_token;
        if (value == NULL && !required)
            continue;
        if (value == NULL)
            return tm_err_set(err, TM_E_INVALID,
                              "the secret has no key '%s': S3 needs access_key and secret_key",
                              names[n]);
        if (!credential_is_token((const char *)value->data, value->len))
            return tm_err_set(err, TM_E_INVALID,
                              "'%s' of the secret is empty or has blanks or control characters",
                              names[n]);
        int r = secret_set(to[n], value->data, value->len, err);
        if (r < 0)
            return r;
    }
    c->grant.ends_us = c->grant.s3.ends_us = INT64_MAX;
    c->have = true;
    c->source = &given_source;
    (void)snprintf(c->describe, sizeof(c->describe), "secret");
    return 0;
}

static int sts_url(struct credential *c, const struct credential_options *options,
                   struct tm_err *err)
{
    const char *given =
        options->sts_url != NULL ? options->sts_url : credential_env("AWS_ENDPOINT_URL_STS");
    if (given != NULL)
        return credential_url(&c->url, "STS", given, err);
    const char *region = options->region != NULL ? options->region : REGION_DEFAULT;
    if (strlen(region) > 40 || region[strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-")])
        return tm_err_set(err, TM_E_INVALID, "'%.40s' is no region", region);
    char url[128];
    (void)snprintf(url, sizeof(url), "https://sts.%s.amazonaws.com%s", region,
                   strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    return credential_url(&c->url, "STS", url, err);
}

static int choose_sts(struct credential *c, const char *file,
                      const struct credential_options *options, struct tm_err *err)
{
    const char *role = credential_env("AWS_ROLE_ARN");
    if (role == NULL)
        return tm_err_set(err, TM_E_INVALID,
                          "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is missing");
    const char *session = credential_env("AWS_ROLE_SESSION_NAME");
    c->source = &sts_source;
    (void)snprintf(c->describe, sizeof(c->describe), "web identity token file '%.300s'", file);
    int r = credential_copy(&c->file, file, err);
    if (r == 0)
        r = credential_copy(&c->subject, role, err);
    if (r == 0)
        r = credential_copy(&c->name, session != NULL ? session : "tidemark", err);
    return r == 0 ? sts_url(c, options, err) : r;
}

/* *ret_applies: the file was asked for, or is there and has the profile. What is wrong with a file
 * that is there is told when keys are asked for. */
static int choose_file(struct credential *c, bool *ret_applies, struct tm_err *err)
{
    const char *named = credential_env("AWS_SHARED_CREDENTIALS_FILE");
    const char *profile = credential_env("AWS_PROFILE");
    const char *home = credential_env("HOME");
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/.aws/credentials", home != NULL ? home : "");
    *ret_applies = named != NULL;
    struct tm_err ignored;
    if (named == NULL && home != NULL && access(path, F_OK) == 0) {
        TM_CLEANUP(s3_keys_release) struct s3_keys keys = S3_KEYS_INIT;
        bool found = false;
        int r = s3_file_read(path, profile != NULL ? profile : "default", &keys, &found, &ignored);
        *ret_applies = r < 0 || found || profile != NULL;
    }
    if (!*ret_applies)
        return 0;
    c->source = &file_source;
    const char *file = named != NULL ? named : path;
    (void)snprintf(c->describe, sizeof(c->describe), "shared credentials file '%.300s'", file);
    int r = credential_copy(&c->file, file, err);
    return r == 0 ? credential_copy(&c->subject, profile != NULL ? profile : "default", err) : r;
}

static int choose_container(struct credential *c, const char *relative, const char *full,
                            struct tm_err *err)
{
    char url[1024];
    if (relative != NULL && relative[0] != '/')
        return tm_err_set(err, TM_E_INVALID,
                          "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '%.100s' does not begin with "
                          "'/'",
                          relative);
    (void)snprintf(url, sizeof(url), "%s%s", relative != NULL ? CONTAINER_URL : full,
                   relative != NULL ? relative : "");
    c->source = &container_source;
    (void)snprintf(c->describe, sizeof(c->describe), "container endpoint '%.*s'",
                   (int)TM_MIN(strcspn(url, "?#"), 300), url);
    int r = credential_url(&c->url, "AWS_CONTAINER_CREDENTIALS_FULL_URI", url, err);
    return r == 0 ? credential_copy(&c->file,
                                    credential_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), err)
                  : r;
}

static int choose_imds(struct credential *c, const struct credential_options *options,
                       struct tm_err *err)
{
    const char *disabled = credential_env("AWS_EC2_METADATA_DISABLED");
    if (disabled != NULL && strcasecmp(disabled, "true") == 0)
        return tm_err_set(err, TM_E_PERMISSION,
                          "no source of S3 credentials: no secret, no web identity token file, no "
                          "shared credentials file, no container endpoint, and "
                          "AWS_EC2_METADATA_DISABLED is set");
    const char *url = options->imds_url != NULL
                          ? options->imds_url
                          : credential_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    c->source = &imds_source;
    (void)snprintf(c->describe, sizeof(c->describe), "host's role (IMDSv2)");
    return credential_url(&c->url, "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                          url != NULL ? url : IMDS_URL, err);
}

int s3_choose(struct credential *c, const struct secret_map *secret,
              const struct credential_options *options, struct tm_err *err)
{
    if (secret != NULL)
        return choose_given(c, secret, err);
    const char *token_file = credential_env("AWS_WEB_IDENTITY_TOKEN_FILE");
    if (token_file != NULL)
        return choose_sts(c, token_file, options, err);
    bool applies = false;
    int r = choose_file(c, &applies, err);
    if (r < 0 || applies)
        return r;
    const char *relative = credential_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = credential_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (relative != NULL || full != NULL)
        return choose_container(c, relative, full, err);
    return choose_imds(c, options, err);
}
