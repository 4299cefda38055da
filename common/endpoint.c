/*
 * Endpoint URLs, and nng's errors in our words.
 */
#include "common/endpoint.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <stdarg.h>
#include <string.h>

static bool host_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return false;
}

static bool host_chars_valid(const char *host, bool bracketed)
{
    const char *extra = bracketed ? ".:%" : ".-_";

    for (const char *p = host; *p; p++) {
        bool alnum =
            (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (!alnum && !strchr(extra, *p))
            return false;
    }
    return *host != '\0';
}

static int parse_port(const char *url, const char *text, bool allow_zero, uint16_t *ret,
                      struct tm_err *err)
{
    unsigned port = 0;
    size_t len = strlen(text);

    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            len = 0;
        else if (port < 100000)
            port = port * 10 + (unsigned)(*p - '0');
    }
    if (len == 0 || port > 65535 || (port == 0 && !allow_zero))
        return tm_err_set(err, TM_E_INVALID, "'%s' has no valid port: write host:1 to host:65535",
                          url);
    *ret = (uint16_t)port;
    return 0;
}

int endpoint_parse(const char *url, struct endpoint *ret, struct tm_err *err)
{
    struct endpoint e = {0};
    const char *rest, *colon, *host_end;
    bool bracketed;
    int r;

    if (strncmp(url, "tcp://", 6) == 0) {
        rest = url + 6;
    } else if (strncmp(url, "tls+tcp://", 10) == 0) {
        rest = url + 10;
        e.tls = true;
    } else {
        return tm_err_set(err, TM_E_INVALID,
                          "'%s' is neither tcp://host:port nor tls+tcp://host:port", url);
    }
    bracketed = *rest == '[';
    if (bracketed) {
        rest++;
        host_end = strchr(rest, ']');
        colon = host_end ? host_end + 1 : NULL;
    } else {
        host_end = strchr(rest, ':');
        colon = host_end;
    }
    if (!host_end || *colon != ':')
        return tm_err_set(err, TM_E_INVALID, "'%s' has no port: write %shost:port", url,
                          e.tls ? "tls+tcp://" : "tcp://");
    if ((size_t)(host_end - rest) > ENDPOINT_HOST_MAX)
        return tm_err_set(err, TM_E_INVALID, "the host in '%.40s…' is longer than %d bytes", url,
                          ENDPOINT_HOST_MAX);
    memcpy(e.host, rest, (size_t)(host_end - rest));
    if (!host_chars_valid(e.host, bracketed))
        return tm_err_set(err, TM_E_INVALID, "'%s' has no valid host", url);
    e.loopback = host_is_loopback(e.host);
    /* port 0 = any: only tests can use it, and only on loopback */
    if ((r = parse_port(url, colon + 1, e.loopback, &e.port, err)) < 0)
        return r;
    *ret = e;
    return 0;
}

int endpoint_nng_error(struct tm_err *err, int nng_code, const char *fmt, ...)
{
    char what[TM_ERR_MSG_MAX];
    enum tm_err_code code = TM_E_UNAVAILABLE;
    bool retryable = true;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (nng_code & NNG_ESYSERR)
        return tm_err_errno(err, nng_code & ~NNG_ESYSERR, "%s", what);
    switch (nng_code) {
    case NNG_ETIMEDOUT:
        code = TM_E_TIMEOUT;
        break;
    case NNG_ENOMEM:
        code = TM_E_NO_MEMORY;
        break;
    case NNG_ECANCELED:
    case NNG_ECLOSED:
        code = TM_E_CANCELED;
        break;
    case NNG_EADDRINUSE:
        code = TM_E_EXISTS;
        retryable = false;
        break;
    case NNG_EPERM:
        code = TM_E_PERMISSION;
        retryable = false;
        break;
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
    case NNG_ECRYPTO:
    case NNG_EPEERAUTH:
    case NNG_ENOENT:
        code = TM_E_INVALID;
        retryable = false;
        break;
    default:
        break;
    }
    return retryable ? tm_err_retry(err, code, "%s: %s", what, nng_strerror(nng_code))
                     : tm_err_set(err, code, "%s: %s", what, nng_strerror(nng_code));
}
