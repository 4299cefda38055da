/*
 * azblob:// URL → struct azblob_config.
 *
 * Happy path: every parameter is known, container and prefix are good, the endpoint follows from the
 * account or the account from the endpoint. Failures: a secret in the URL, a misspelt parameter, an
 * endpoint that is no URL, an account that nothing names; all TM_E_INVALID.
 */
#include <arpa/inet.h>
#include <ctype.h>

#include "common/parse.h"
#include "common/storage/azblob/internal.h"
#include "common/suggest.h"

#define SUFFIX ".blob.core.windows.net"

static const char *const known[] = {"account-name", "endpoint", "access-tier",
                                    "ca-file",      "proxy",    "insecure"};

static const char *const secrets[] = {
    "account-key", "account_key",   "sas-token",     "sas_token",      "sas",
    "sig",         "client-secret", "client_secret", "access-key",     "access_key",
    "secret-key",  "secret_key",    "session-token", "encryption-key", "secret-access-key",
    "credentials"};

static int check_params(const struct storage_url *url, struct tm_err *err)
{
    for (size_t n = 0; n < url->param_count; n++) {
        const char *key = url->params[n].key;
        bool good = false;
        for (size_t k = 0; k < TM_ARRAY_LEN(secrets); k++)
            if (strcasecmp(key, secrets[k]) == 0)
                return tm_err_set(err, TM_E_INVALID,
                                  "storage URL: parameter '%s' is a secret and must not be in a "
                                  "URL: put it into a secret",
                                  key);
        for (size_t k = 0; k < TM_ARRAY_LEN(known); k++)
            good = good || strcmp(key, known[k]) == 0;
        if (good)
            continue;
        const char *meant = suggest_from(key, known, TM_ARRAY_LEN(known));
        return tm_err_set(err, TM_E_INVALID, "storage URL: azblob:// knows no parameter '%s'%s%s%s",
                          key, meant != NULL ? "; did you mean '" : "", meant != NULL ? meant : "",
                          meant != NULL ? "'?" : "");
    }
    return 0;
}

static const char *text_param(const struct storage_url *url, const char *key)
{
    const char *value = storage_url_param(url, key);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* ---- container and prefix ---- */

static int read_container(const struct storage_url *url, struct azblob_config *c,
                          struct tm_err *err)
{
    size_t len = strlen(url->host);
    bool good = len >= 3 && len <= 63 && url->host[0] != '-' && url->host[len - 1] != '-' &&
                strstr(url->host, "--") == NULL &&
                strspn(url->host, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
    if (!good)
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: '%s' is not the name of a container (3 to 63 lower-case "
                          "letters, digits and single hyphens)",
                          url->host);
    (void)snprintf(c->container, sizeof(c->container), "%s", url->host);
    return 0;
}

static int read_prefix(const struct storage_url *url, struct azblob_config *c, struct tm_err *err)
{
    size_t used = 0;
    for (const char *at = url->path; *at != '\0';) {
        size_t len = strcspn(at, "/");
        /* a dot at the end of a component is dropped by some of the service's clients */
        if (len > 0 && (at[len - 1] == '.' || memchr(at, '\\', len) != NULL))
            return tm_err_set(err, TM_E_INVALID,
                              "storage URL: the prefix must not contain '%.*s' as a component",
                              (int)len, at);
        if (used + len + 1 + STORAGE_NAME_MAX > AZBLOB_KEY_MAX)
            return tm_err_set(err, TM_E_INVALID, "storage URL: the prefix is longer than %d bytes",
                              AZBLOB_KEY_MAX - STORAGE_NAME_MAX - 1);
        if (len > 0) {
            memcpy(c->prefix + used, at, len);
            used += len;
            c->prefix[used++] = '/';
        }
        at += len;
        at += *at == '/';
    }
    c->prefix[used] = '\0';
    return 0;
}

/* ---- endpoint and account ---- */

static bool account_is_good(const char *account)
{
    size_t len = strlen(account);
    return len > 0 && len < 64 && strspn(account, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

/* The host without its port and without the brackets of IPv6. */
static void bare_host(const char *host, char *ret, size_t size)
{
    if (host[0] == '[')
        (void)snprintf(ret, size, "%.*s", (int)strcspn(host + 1, "]"), host + 1);
    else
        (void)snprintf(ret, size, "%.*s", (int)strcspn(host, ":"), host);
}

static bool is_address(const char *host)
{
    char bare[256];
    struct in_addr address;
    bare_host(host, bare, sizeof(bare));
    return host[0] == '[' || inet_pton(AF_INET, bare, &address) == 1 || strchr(bare, '.') == NULL;
}

bool azblob_config_is_loopback(const struct azblob_config *c)
{
    char bare[256];
    struct in_addr v4;
    struct in6_addr v6;
    bare_host(c->host, bare, sizeof(bare));
    if (inet_pton(AF_INET, bare, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, bare, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcmp(bare, "localhost") == 0;
}

/* "https://host:port" or "http://address:port/account"; https when no scheme is said. */
static int read_endpoint(const char *text, struct azblob_config *c, struct tm_err *err)
{
    const char *host = strstr(text, "://");
    size_t scheme_len = host != NULL ? (size_t)(host - text) : 0;
    host = host != NULL ? host + 3 : text;
    bool http = scheme_len == 4 && strncasecmp(text, "http", 4) == 0;
    bool https = host == text || (scheme_len == 5 && strncasecmp(text, "https", 5) == 0);
    size_t len = strcspn(host, "/");
    const char *path = host + len + strspn(host + len, "/");
    size_t path_len = strcspn(path, "/");
    bool good = (http || https) && len > 0 && len < sizeof(c->host) &&
                path[path_len + strspn(path + path_len, "/")] == '\0' &&
                path_len + 1 < sizeof(c->base);
    for (size_t at = 0; good && at < len; at++)
        good = isalnum((unsigned char)host[at]) || strchr("-._:[]", host[at]) != NULL;
    for (size_t at = 0; good && at < path_len; at++)
        good = isalnum((unsigned char)path[at]) || path[at] == '-';
    if (strchr(text, '@') != NULL)
        return storage_url_has_user("endpoint", err);
    if (!good)
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: endpoint '%s' is not of the form https://host:port or "
                          "http://address:port/account",
                          text);
    (void)snprintf(c->scheme, sizeof(c->scheme), "%s", http ? "http" : "https");
    for (size_t at = 0; at < len; at++)
        c->host[at] = (char)tolower((unsigned char)host[at]);
    c->host[len] = '\0';
    if (path_len > 0)
        (void)snprintf(c->base, sizeof(c->base), "/%.*s", (int)path_len, path);
    c->path_style = is_address(c->host);
    if (path_len > 0 && !c->path_style)
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: endpoint '%s' has a path, as only an address has", text);
    c->endpoint_given = true;
    return 0;
}

/* What the endpoint says the account is; "" = nothing. */
static void account_of_endpoint(const struct azblob_config *c, char *account, size_t size)
{
    size_t label = strcspn(c->host, ".");
    account[0] = '\0';
    if (c->path_style)
        (void)snprintf(account, size, "%s", c->base[0] == '/' ? c->base + 1 : "");
    else if (strncmp(c->host + label, ".blob.", 6) == 0)
        (void)snprintf(account, size, "%.*s", (int)label, c->host);
}

int azblob_config_account(struct azblob_config *c, const char *account, struct tm_err *err)
{
    char told[80];
    account_of_endpoint(c, told, sizeof(told));
    if (account[0] == '\0')
        account = c->account[0] != '\0' ? c->account : told;
    if (account[0] == '\0')
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: the storage account is not named: write account-name=…, or "
                          "AZURE_STORAGE_ACCOUNT into the secret");
    if (!account_is_good(account))
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: '%.64s' is not the name of a storage account", account);
    if (told[0] != '\0' && strcmp(told, account) != 0)
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: the endpoint is of account '%s', not of '%s'", told,
                          account);
    char name[64];
    (void)snprintf(name, sizeof(name), "%s", account);
    (void)snprintf(c->account, sizeof(c->account), "%s", name);
    if (c->host[0] == '\0') {
        (void)snprintf(c->scheme, sizeof(c->scheme), "https");
        (void)snprintf(c->host, sizeof(c->host), "%s" SUFFIX, name);
    }
    if (c->path_style)
        (void)snprintf(c->base, sizeof(c->base), "/%s", name);
    return 0;
}

static int read_account(struct azblob_config *c, struct tm_err *err)
{
    const char *account = text_param(&c->url, "account-name");
    if (account == NULL)
        return 0;
    if (!account_is_good(account))
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL: '%.64s' is not the name of a storage account", account);
    (void)snprintf(c->account, sizeof(c->account), "%s", account);
    return 0;
}

static int read_tier(struct azblob_config *c, struct tm_err *err)
{
    static const char *const tiers[] = {"Hot", "Cool", "Cold"};
    c->tier = text_param(&c->url, "access-tier");
    bool good = c->tier == NULL;
    for (size_t n = 0; !good && n < TM_ARRAY_LEN(tiers); n++)
        good = strcmp(c->tier, tiers[n]) == 0;
    if (good)
        return 0;
    return tm_err_set(
        err, TM_E_INVALID, "storage URL: access-tier '%.40s' is not Hot, Cool or Cold%s", c->tier,
        strcasecmp(c->tier, "Archive") == 0 ? ", and what is archived cannot be read" : "");
}

int azblob_config_read(const struct storage_url *url, struct azblob_config *ret, struct tm_err *err)
{
    struct azblob_config *c = ret;
    *c = (struct azblob_config){.url = *url};
    int r = check_params(&c->url, err);
    if (r == 0)
        r = read_container(&c->url, c, err);
    if (r == 0)
        r = read_prefix(&c->url, c, err);
    const char *endpoint = text_param(&c->url, "endpoint");
    if (r == 0 && endpoint != NULL)
        r = read_endpoint(endpoint, c, err);
    if (r == 0)
        r = read_account(c, err);
    if (r == 0)
        r = read_tier(c, err);
    const char *insecure = text_param(&c->url, "insecure");
    if (r == 0 && insecure != NULL && parse_bool(insecure, &c->insecure, err) < 0)
        r = tm_err_prefix(err, "storage URL: parameter 'insecure'");
    c->ca_file = text_param(&c->url, "ca-file");
    c->proxy = text_param(&c->url, "proxy");
    if (r == 0 && c->proxy != NULL && strchr(c->proxy, '@') != NULL)
        r = storage_url_has_user("proxy", err);
    return r;
}
