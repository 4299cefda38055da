/*
 * s3:// URL → struct s3_config.
 *
 * Happy path: every parameter is known, the provider is named or told by the endpoint, endpoint,
 * region and addressing style follow from both. Failures: a secret in the URL, a misspelt parameter
 * or provider, an endpoint that is no URL, values that contradict each other; all TM_E_INVALID.
 */
#include <arpa/inet.h>
#include <ctype.h>

#include "common/storage/object_url.h"
#include "common/storage/s3/internal.h"

static const char *const known[] = {"provider",      "region", "endpoint", "force-path-style",
                                    "storage-class", "acl",    "sse",      "sse-kms-key-id",
                                    "ca-file",       "proxy",  "insecure"};

static const char *const secrets[] = {
    "access-key",    "access_key",    "access-key-id", "secret-access-key", "secret_access_key",
    "secret-key",    "secret_key",    "session-token", "session_token",     "account-key",
    "account_key",   "sas-token",     "sas_token",     "credentials",       "credentials-file",
    "client-secret", "encryption-key"};

/* ---- bucket and prefix ---- */

static int read_bucket(const struct storage_url *url, struct s3_config *c, struct tm_err *err)
{
    size_t len = strlen(url->host);
    bool good = len >= 3 && len <= 63 && isalnum((unsigned char)url->host[0]) &&
                strstr(url->host, "..") == NULL;
    for (size_t at = 0; good && at < len; at++)
        good = isalnum((unsigned char)url->host[at]) || strchr("-._", url->host[at]) != NULL;
    if (!good)
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: '%s' is not the name of a bucket (3 to 63 letters, digits, "
                          "dots and hyphens)",
                          url->host);
    (void)snprintf(c->bucket, sizeof(c->bucket), "%s", url->host);
    return 0;
}

static bool component_is_bad(const char *text, size_t len)
{
    return (len == 1 && text[0] == '.') || (len == 2 && memcmp(text, "..", 2) == 0);
}

/* ---- endpoint ---- */

static int read_endpoint(const char *text, struct s3_config *c, struct tm_err *err)
{
    struct object_endpoint endpoint;
    int r = object_url_endpoint(text, 0, "https://host:port", &endpoint, err);
    if (r < 0)
        return r;
    const char *default_port = strcmp(endpoint.scheme, "http") == 0 ? ":80" : ":443";
    size_t len = strlen(endpoint.host);
    size_t port_len = strlen(default_port);
    /* as it will be in the Host header, which is signed */
    if (len > port_len && strcmp(endpoint.host + len - port_len, default_port) == 0)
        endpoint.host[len - port_len] = '\0';
    (void)snprintf(c->scheme, sizeof(c->scheme), "%s", endpoint.scheme);
    (void)snprintf(c->host, sizeof(c->host), "%s", endpoint.host);
    c->endpoint_given = true;
    return 0;
}

/* A bucket cannot be put before it: an IPv4 or IPv6 address, or a name without dots. */
static bool is_address(const char *host)
{
    char name[256];
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(host, ":"), host);
    struct in_addr address;
    return host[0] == '[' || inet_pton(AF_INET, name, &address) == 1;
}

static bool is_amazon(const char *host)
{
    static const char *const ends[] = {".amazonaws.com", ".amazonaws.com.cn"};
    size_t len = strcspn(host, ":");
    for (size_t n = 0; n < TM_ARRAY_LEN(ends); n++) {
        size_t end = strlen(ends[n]);
        if (len > end && strncmp(host + len - end, ends[n], end) == 0)
            return true;
    }
    return false;
}

static int choose_provider(const struct storage_url *url, struct s3_config *c, struct tm_err *err)
{
    const char *name = object_url_text(url, "provider");
    if (name != NULL) {
        c->provider = s3_provider_find(name);
        /* specs say "aws" of any store that speaks S3: it cannot be relied on to be as AWS is */
        if (c->provider != NULL && strcmp(c->provider->name, "aws") == 0 && c->endpoint_given &&
            !is_amazon(c->host))
            c->provider = s3_provider_find("other");
        if (c->provider != NULL)
            return 0;
        const char *meant = s3_provider_suggest(name);
        return tm_err_set(err, TM_E_INVALID, "storage URL: unknown provider '%s'%s%s%s", name,
                          meant != NULL ? "; did you mean '" : "", meant != NULL ? meant : "",
                          meant != NULL ? "'?" : "; write 'other' for any store that speaks S3");
    }
    if (!c->endpoint_given)
        c->provider = s3_provider_find("aws");
    else if ((c->provider = s3_provider_of_host(c->host)) == NULL)
        c->provider = s3_provider_find("other");
    return 0;
}

static int choose_region(const struct storage_url *url, struct s3_config *c, struct tm_err *err)
{
    const char *region = object_url_text(url, "region");
    char told[64];
    if (region == NULL && c->endpoint_given &&
        s3_provider_region(c->provider, c->host, told, sizeof(told)))
        region = told;
    if (region == NULL)
        region = c->provider->default_region;
    if (region == NULL && c->endpoint_given)
        region = "us-east-1";
    if (region == NULL)
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: provider '%s' needs a region or an endpoint",
                          c->provider->name);
    bool good = strlen(region) < sizeof(c->region);
    for (const char *at = region; good && *at != '\0'; at++)
        good = isalnum((unsigned char)*at) || *at == '-' || *at == '_';
    if (!good)
        return tm_err_set(err, TM_E_INVALID, "storage URL: '%s' is not a region", region);
    (void)snprintf(c->region, sizeof(c->region), "%s", region);
    return 0;
}

static int choose_host(struct s3_config *c, struct tm_err *err)
{
    if (c->endpoint_given)
        return 0;
    (void)snprintf(c->scheme, sizeof(c->scheme), "https");
    if (!s3_provider_host(c->provider, c->region, c->host, sizeof(c->host)))
        return tm_err_set(err, TM_E_INVALID, "storage URL: provider '%s' needs an endpoint",
                          c->provider->name);
    return 0;
}

static int choose_style(const struct storage_url *url, struct s3_config *c, struct tm_err *err)
{
    bool path_style = c->provider->path_style;
    int r = object_url_bool(url, "force-path-style", &path_style, err);
    if (r < 0)
        return r;
    if (c->provider->never_path_style)
        path_style = false;
    bool dots_in_tls = strcmp(c->scheme, "https") == 0 && strchr(c->bucket, '.') != NULL;
    c->path_style = path_style || dots_in_tls || is_address(c->host);
    return 0;
}

/* ---- the rest ---- */

static int read_encryption(struct s3_config *c, struct tm_err *err)
{
    if (c->sse != NULL && strcmp(c->sse, "AES256") != 0 && strcmp(c->sse, "aws:kms") != 0)
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: sse '%s' is neither 'AES256' nor 'aws:kms'", c->sse);
    if (c->sse_key != NULL && (c->sse == NULL || strcmp(c->sse, "aws:kms") != 0))
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: sse-kms-key-id has a meaning with sse=aws:kms only");
    return 0;
}

int s3_config_read(const struct storage_url *url, struct s3_config *ret, struct tm_err *err)
{
    struct s3_config *c = ret;
    *c = (struct s3_config){.url = *url};
    url = &c->url;
    int r = object_url_check(url, (struct object_url_words){known, TM_ARRAY_LEN(known)},
                             (struct object_url_words){secrets, TM_ARRAY_LEN(secrets)}, err);
    if (r == 0)
        r = read_bucket(url, c, err);
    if (r == 0)
        r = object_url_prefix(url, component_is_bad, S3_KEY_MAX, c->prefix, err);
    const char *endpoint = object_url_text(url, "endpoint");
    if (r == 0 && endpoint != NULL)
        r = read_endpoint(endpoint, c, err);
    if (r == 0)
        r = choose_provider(url, c, err);
    if (r == 0)
        r = choose_region(url, c, err);
    if (r == 0)
        r = choose_host(c, err);
    if (r == 0)
        r = choose_style(url, c, err);
    if (r == 0)
        r = object_url_bool(url, "insecure", &c->insecure, err);
    c->storage_class = object_url_text(url, "storage-class");
    c->acl = object_url_text(url, "acl");
    c->sse = object_url_text(url, "sse");
    c->sse_key = object_url_text(url, "sse-kms-key-id");
    c->ca_file = object_url_text(url, "ca-file");
    if (r == 0)
        r = object_url_proxy(url, &c->proxy, err);
    return r == 0 ? read_encryption(c, err) : r;
}
