/*
 * azblob:// URL → struct azblob_config.
 *
 * Happy path: every parameter is known, container and prefix are good, the endpoint follows from the
 * account or the account from the endpoint. Failures: a secret in the URL, a misspelt parameter, an
 * endpoint that is no URL, an account that nothing names; all TM_E_INVALID.
 */
#include <arpa/inet.h>
#include <ctype.h>

#include "common/storage/azblob/internal.h"
#include "common/storage/object_url.h"

#define SUFFIX ".blob.core.windows.net"

static const char *const known[] = {"account-name", "endpoint", "access-tier",
                                    "ca-file",      "proxy",    "insecure"};

static const char *const secrets[] = {
    "account-key", "account_key",   "sas-token",     "sas_token",      "sas",
    "sig",         "client-secret", "client_secret", "access-key",     "access_key",
    "secret-key",  "secret_key",    "session-token", "encryption-key", "secret-access-key",
    "credentials"};

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

/* A dot at the end of a component is dropped by some of the service's clients. */
static bool component_is_bad(const char *text, size_t len)
{
    return len > 0 && (text[len - 1] == '.' || memchr(text, '\\', len) != NULL);
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
    struct object_endpoint endpoint;
    int r = object_url_endpoint(text, sizeof(c->base) - 2,
                                "https://host:port or http://address:port/account", &endpoint, err);
    if (r < 0)
        return r;
    (void)snprintf(c->scheme, sizeof(c->scheme), "%s", endpoint.scheme);
    (void)snprintf(c->host, sizeof(c->host), "%s", endpoint.host);
    if (endpoint.path[0] != '\0')
        (void)snprintf(c->base, sizeof(c->base), "/%.78s", endpoint.path);
    c->path_style = is_address(c->host);
    if (endpoint.path[0] != '\0' && !c->path_style)
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
    const char *account = object_url_text(&c->url, "account-name");
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
    c->tier = object_url_text(&c->url, "access-tier");
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
    int r = object_url_check(&c->url, (struct object_url_words){known, TM_ARRAY_LEN(known)},
                             (struct object_url_words){secrets, TM_ARRAY_LEN(secrets)}, err);
    if (r == 0)
        r = read_container(&c->url, c, err);
    if (r == 0)
        r = object_url_prefix(&c->url, component_is_bad, AZBLOB_KEY_MAX, c->prefix, err);
    const char *endpoint = object_url_text(&c->url, "endpoint");
    if (r == 0 && endpoint != NULL)
        r = read_endpoint(endpoint, c, err);
    if (r == 0)
        r = read_account(c, err);
    if (r == 0)
        r = read_tier(c, err);
    if (r == 0)
        r = object_url_bool(&c->url, "insecure", &c->insecure, err);
    if (r == 0)
        r = object_url_proxy(&c->url, &c->proxy, err);
    c->ca_file = object_url_text(&c->url, "ca-file");
    return r;
}
