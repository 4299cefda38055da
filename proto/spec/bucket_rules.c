/*
 * What the parameters of object stores may be: one rule each, and the table of them all. A rule says
 * what is wrong, without naming the field; who calls knows it.
 */
#include <ctype.h>

#include "common/parse.h"
#include "common/suggest.h"
#include "proto/spec/storage_block.h"

/* One of the words, with the one that was meant when it is none. */
static int check_word(const char *text, const char *const *words, size_t count, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf list = BUF_INIT;
    const char *all = "";
    for (size_t n = 0; n < count; n++)
        if (strcmp(words[n], text) == 0)
            return 0;
    const char *meant = suggest_from(text, words, count); /* also of another case */
    if (meant != NULL)
        return tm_err_set(err, TM_E_INVALID, "'%.64s' is not known, did you mean '%s'?", text,
                          meant);
    int r = 0;
    for (size_t n = 0; r == 0 && n < count; n++)
        r = buf_printf(&list, err, "%s%s", n > 0 ? ", " : "", words[n]);
    if (r < 0 || (r = buf_cstr(&list, &all, err)) < 0)
        return r;
    return tm_err_set(err, TM_E_INVALID, "'%.64s' is not known (known: %s)", text, all);
}

#define WORDS(...)                                                                                 \
    static const char *const words[] = {__VA_ARGS__};                                              \
    return check_word(text, words, TM_ARRAY_LEN(words), err)

static int check_provider(const char *text, struct tm_err *err)
{
    /* those that the S3 driver has presets for, and their short names */
    WORDS("aws", "alibaba", "oss", "ceph", "cos", "digitalocean", "dreamhost", "gcs", "google",
          "huawei", "obs", "ibmcos", "minio", "netease", "seaweedfs", "stackpath", "swift",
          "tencent", "tencentcos", "wasabi", "other");
}

static int check_acl(const char *text, struct tm_err *err)
{
    WORDS("private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read",
          "bucket-owner-read", "bucket-owner-full-control");
}

static int check_sse(const char *text, struct tm_err *err)
{
    WORDS("AES256", "aws:kms");
}

static int check_tier(const char *text, struct tm_err *err)
{
    if (strcasecmp(text, "Archive") == 0)
        return tm_err_set(err, TM_E_INVALID,
                          "'%s' cannot be read without being brought back first, so nothing could "
                          "be restored; use Hot, Cool or Cold",
                          text);
    WORDS("Hot", "Cool", "Cold");
}

static int check_class(const char *text, struct tm_err *err)
{
    if (strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == strlen(text))
        return 0;
    return tm_err_set(err, TM_E_INVALID,
                      "'%.64s' is no storage class: they are written like STANDARD_IA", text);
}

int spec_check_region(const char *text, struct tm_err *err)
{
    for (const char *at = text; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && strchr("-_.", *at) == NULL)
            return tm_err_set(err, TM_E_INVALID, "'%.64s' is no region", text);
    return 0;
}

static int check_account(const char *text, struct tm_err *err)
{
    size_t len = strlen(text);
    if (len >= 3 && len <= 24 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789") == len)
        return 0;
    return tm_err_set(err, TM_E_INVALID,
                      "'%.64s' is no storage account: 3 to 24 lower-case letters and digits", text);
}

static int check_path(const char *text, struct tm_err *err)
{
    return text[0] == '/' ? 0
                          : tm_err_set(err, TM_E_INVALID, "'%.200s' is not an absolute path", text);
}

static int check_switch(const char *text, struct tm_err *err)
{
    bool ignored;
    return parse_bool(text, &ignored, err);
}

/* http(s)://host[:port], and below it one path when `path_too` (Azure's emulators). */
static int check_http(const char *text, bool path_too, struct tm_err *err)
{
    const char *host = strncmp(text, "http://", 7) == 0    ? text + 7
                       : strncmp(text, "https://", 8) == 0 ? text + 8
                                                           : NULL;
    if (strchr(text, '@') != NULL) /* never quoted: a password may stand there */
        return tm_err_set(err, TM_E_INVALID,
                          "an endpoint must not carry a user or password; put them into the "
                          "secret that 'secretName' names");
    size_t len = host == NULL ? 0 : strcspn(host, "/");
    const char *port = host == NULL ? NULL : memrchr(host, ':', len);
    size_t port_len = 0;
    if (port != NULL && memchr(port, ']', len - (size_t)(port - host)) != NULL)
        port = NULL; /* inside of an IPv6 address */
    bool good = len > 0 && (host[len] == '\0' || path_too) &&
                strpbrk(host, " ?#%\\\"'<>") == NULL && strpbrk(host, "\t\n") == NULL;
    if (good && port != NULL) {
        port_len = len - (size_t)(port - host) - 1;
        uint64_t number;
        char digits[8] = "";
        struct tm_err ignored;
        good = port > host && port_len > 0 && port_len < sizeof(digits);
        if (good)
            memcpy(digits, port + 1, port_len);
        good = good && parse_u64_in(digits, 1, 65535, &number, &ignored) == 0;
    }
    if (good)
        return 0;
    return tm_err_set(err, TM_E_INVALID,
                      "'%.200s' is not http://host[:port] or https://host[:port]", text);
}

int spec_check_endpoint(const char *text, struct tm_err *err)
{
    return check_http(text, false, err);
}

static int check_any_endpoint(const char *text, struct tm_err *err)
{
    return check_http(text, true, err);
}

static int check_any(const char *text, struct tm_err *err)
{
    (void)text, (void)err;
    return 0;
}

/* In the order in which URLs are written. */
const struct spec_param spec_params[] = {
#define PARAM(family_, key_, field_, member_, check_)                                              \
    {                                                                                              \
        family_, key_, field_, offsetof(struct spec_block, member_), check_                        \
    }
    PARAM("s3", "provider", "provider", provider, check_provider),
    PARAM("s3", "region", "region", region, spec_check_region),
    PARAM("s3", "endpoint", "endpoint", endpoint, spec_check_endpoint),
    PARAM("s3", "force-path-style", "forcePathStyle", path_style, check_switch),
    PARAM("s3", "storage-class", "storageClass", storage_class, check_class),
    PARAM("s3", "acl", "acl", acl, check_acl),
    PARAM("s3", "sse", "sse", sse, check_sse),
    PARAM("s3", "sse-kms-key-id", "sseKmsKeyId", sse_key, check_any),
    PARAM("azblob", "account-name", "storageAccount", account, check_account),
    PARAM("azblob", "endpoint", "endpoint", endpoint, check_any_endpoint),
    PARAM("azblob", "access-tier", "accessTier", access_tier, check_tier),
    PARAM("", "ca-file", "caFile", ca_file, check_path),
    PARAM("", "proxy", "proxy", proxy, spec_check_endpoint),
    PARAM("", "insecure", "insecure", insecure, check_switch),
};
const size_t spec_param_count = TM_ARRAY_LEN(spec_params);
