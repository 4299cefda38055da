/*
 * Storage URLs. Happy path: scheme, then "://", an optional host up to the first '/', a path, and
 * parameters behind '?'. Everything is bounded; percent escapes are decoded once; a decoded NUL or
 * a user part is refused, because either could say one thing to a reader and another to us.
 */
#include "common/storage/url.h"

#include <ctype.h>
#include <string.h>

#include "common/hash.h"

/* Decodes text[0 … len) into dst of `size` bytes, with the terminator. */
static int decode(const char *what, const char *text, size_t len, char *dst, size_t size,
                  struct tm_err *err)
{
    size_t used = 0;
    for (size_t at = 0; at < len; at++) {
        unsigned char c = (unsigned char)text[at];
        if (c == '%') {
            int high = len - at > 2 ? hex_value(text[at + 1]) : -1;
            int low = len - at > 2 ? hex_value(text[at + 2]) : -1;
            if (high < 0 || low < 0)
                return tm_err_set(err, TM_E_INVALID, "storage URL: bad %%-escape in the %s", what);
            c = (unsigned char)(high * 16 + low);
            at += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return tm_err_set(err, TM_E_INVALID, "storage URL: control character in the %s", what);
        if (used + 1 >= size)
            return tm_err_set(err, TM_E_INVALID, "storage URL: the %s is longer than %zu bytes",
                              what, size - 1);
        dst[used++] = (char)c;
    }
    dst[used] = '\0';
    return 0;
}

static int parse_params(const char *text, struct storage_url *url, struct tm_err *err)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "&");
        const char *equals = memchr(text, '=', len);
        if (equals == NULL || equals == text)
            return tm_err_set(err, TM_E_INVALID, "storage URL: parameter '%.*s' is not key=value",
                              (int)TM_MIN(len, (size_t)64), text);
        if (url->param_count == STORAGE_URL_PARAMS_MAX)
            return tm_err_set(err, TM_E_INVALID, "storage URL: more than %d parameters",
                              STORAGE_URL_PARAMS_MAX);
        size_t key_len = (size_t)(equals - text);
        int r = decode("parameter name", text, key_len, url->params[url->param_count].key,
                       sizeof(url->params[0].key), err);
        if (r == 0)
            r = decode("parameter value", equals + 1, len - key_len - 1,
                       url->params[url->param_count].value, sizeof(url->params[0].value), err);
        if (r < 0)
            return r;
        if (storage_url_param(url, url->params[url->param_count].key) != NULL)
            return tm_err_set(err, TM_E_INVALID, "storage URL: parameter '%s' is given twice",
                              url->params[url->param_count].key);
        url->param_count++;
        text += len;
        if (*text == '&')
            text++;
    }
    return 0;
}

static int parse_scheme(const char *text, struct storage_url *url, const char **ret_rest,
                        struct tm_err *err)
{
    const char *colon = strstr(text, "://");
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    if (len == 0 || len >= sizeof(url->scheme))
        return tm_err_set(
            err, TM_E_INVALID,
            "storage URL '%.200s' has no scheme: write file:///path or s3://bucket/prefix", text);
    for (size_t at = 0; at < len; at++) {
        if (!isalnum((unsigned char)text[at]))
            return tm_err_set(err, TM_E_INVALID, "storage URL: bad character in the scheme");
        url->scheme[at] = (char)tolower((unsigned char)text[at]);
    }
    *ret_rest = colon + 3;
    return 0;
}

int storage_url_parse(const char *text, struct storage_url *ret, struct tm_err *err)
{
    struct storage_url url = {0};
    if (strnlen(text, STORAGE_URL_MAX) == STORAGE_URL_MAX)
        return tm_err_set(err, TM_E_INVALID, "storage URL is longer than %d bytes",
                          STORAGE_URL_MAX - 1);
    const char *rest = text;
    int r = parse_scheme(text, &url, &rest, err);
    if (r < 0)
        return r;
    size_t host_len = strcspn(rest, "/?#");
    if (memchr(rest, '@', host_len) != NULL)
        return tm_err_set(
            err, TM_E_INVALID,
            "storage URL carries a user name or password: put credentials in a secret");
    const char *path = rest + host_len;
    size_t path_len = strcspn(path, "?#");
    if (path[path_len] == '#')
        return tm_err_set(err, TM_E_INVALID, "storage URL: '#' has no meaning here");
    r = decode("host", rest, host_len, url.host, sizeof(url.host), err);
    if (r == 0)
        r = decode("path", path, path_len, url.path, sizeof(url.path), err);
    if (r == 0 && path[path_len] == '?')
        r = parse_params(path + path_len + 1, &url, err);
    if (r < 0)
        return r;
    *ret = url;
    return 0;
}

const char *storage_url_param(const struct storage_url *url, const char *key)
{
    for (size_t i = 0; i < url->param_count; i++) {
        if (strcmp(url->params[i].key, key) == 0)
            return url->params[i].value;
    }
    return NULL;
}

int storage_url_has_user(const char *key, struct tm_err *err)
{
    return tm_err_set(err, TM_E_INVALID,
                      "storage URL: parameter '%s' carries a user name or password, which must not "
                      "be in a URL",
                      key);
}
