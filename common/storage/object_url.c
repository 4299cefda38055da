/*
 * Happy path: each word is known, each part is of the form the store takes. Failures: a secret in the
 * URL, a misspelt parameter, a component or an endpoint the store could not be asked for.
 */
#include "common/storage/object_url.h"

#include <ctype.h>

#include "common/parse.h"
#include "common/suggest.h"

int object_url_check(const struct storage_url *url, struct object_url_words known,
                     struct object_url_words secrets, struct tm_err *err)
{
    for (size_t n = 0; n < url->param_count; n++) {
        const char *key = url->params[n].key;
        bool good = false;
        for (size_t k = 0; k < secrets.count; k++)
            if (strcasecmp(key, secrets.words[k]) == 0)
                return tm_err_set(err, TM_E_INVALID,
                                  "storage URL: parameter '%s' is a secret and must not be in a "
                                  "URL: put it into a secret",
                                  key);
        for (size_t k = 0; k < known.count; k++)
            good = good || strcmp(key, known.words[k]) == 0;
        if (good)
            continue;
        const char *meant = suggest_from(key, known.words, known.count);
        return tm_err_set(err, TM_E_INVALID, "storage URL: %s:// knows no parameter '%s'%s%s%s",
                          url->scheme, key, meant != NULL ? "; did you mean '" : "",
                          meant != NULL ? meant : "", meant != NULL ? "'?" : "");
    }
    return 0;
}

const char *object_url_text(const struct storage_url *url, const char *key)
{
    const char *value = storage_url_param(url, key);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

int object_url_bool(const struct storage_url *url, const char *key, bool *ret, struct tm_err *err)
{
    const char *value = object_url_text(url, key);
    if (value != NULL && parse_bool(value, ret, err) < 0)
        return tm_err_prefix(err, "storage URL: parameter '%s'", key);
    return 0;
}

int object_url_proxy(const struct storage_url *url, const char **ret, struct tm_err *err)
{
    const char *proxy = object_url_text(url, "proxy");
    if (proxy != NULL && strchr(proxy, '@') != NULL)
        return storage_url_has_user("proxy", err);
    *ret = proxy;
    return 0;
}

int object_url_prefix(const struct storage_url *url,
                      bool (*component_is_bad)(const char *text, size_t len), size_t key_max,
                      char *ret, struct tm_err *err)
{
    char prefix[STORAGE_URL_MAX + 1]; /* one '/' more than the path has */
    size_t used = 0;
    for (const char *at = url->path; *at != '\0';) {
        size_t len = strcspn(at, "/");
        if (component_is_bad(at, len))
            return tm_err_set(err, TM_E_INVALID,
                              "storage URL: the prefix must not contain '%.*s' as a component",
                              (int)len, at);
        if (used + len + 1 + STORAGE_NAME_MAX > key_max)
            return tm_err_set(err, TM_E_INVALID, "storage URL: the prefix is longer than %zu bytes",
                              key_max - STORAGE_NAME_MAX - 1);
        if (len > 0) {
            memcpy(prefix + used, at, len);
            used += len;
            prefix[used++] = '/';
        }
        at += len;
        at += *at == '/';
    }
    memcpy(ret, prefix, used);
    ret[used] = '\0';
    return 0;
}

/* Whether every character is a letter, a digit or one of `others`. */
static bool is_made_of(const char *text, size_t len, const char *others)
{
    bool good = true;
    for (size_t at = 0; good && at < len; at++)
        good = isalnum((unsigned char)text[at]) || strchr(others, text[at]) != NULL;
    return good;
}

int object_url_endpoint(const char *text, size_t path_max, const char *form,
                        struct object_endpoint *ret, struct tm_err *err)
{
    const char *host = strstr(text, "://");
    size_t scheme_len = host != NULL ? (size_t)(host - text) : 0;
    host = host != NULL ? host + 3 : text;
    bool http = scheme_len == 4 && strncasecmp(text, "http", 4) == 0;
    bool https = host == text || (scheme_len == 5 && strncasecmp(text, "https", 5) == 0);
    size_t len = strcspn(host, "/");
    const char *path = host + len + strspn(host + len, "/");
    size_t path_len = strcspn(path, "/");
    bool good = (http || https) && len > 0 && len < sizeof(ret->host) && path_len <= path_max &&
                path_len < sizeof(ret->path) &&
                path[path_len + strspn(path + path_len, "/")] == '\0' &&
                is_made_of(host, len, "-._:[]") && is_made_of(path, path_len, "-");
    if (strchr(text, '@') != NULL)
        return storage_url_has_user("endpoint", err);
    if (!good)
        return tm_err_set(err, TM_E_INVALID, "storage URL: endpoint '%s' is not of the form %s",
                          text, form);
    (void)snprintf(ret->scheme, sizeof(ret->scheme), "%s", http ? "http" : "https");
    for (size_t at = 0; at < len; at++)
        ret->host[at] = (char)tolower((unsigned char)host[at]);
    ret->host[len] = '\0';
    (void)snprintf(ret->path, sizeof(ret->path), "%.*s", (int)path_len, path);
    return 0;
}
