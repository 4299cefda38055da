#ifndef TM_COMMON_ENDPOINT_H
#define TM_COMMON_ENDPOINT_H
/*
 * Where daemons meet: tcp://host:port and tls+tcp://host:port.
 *
 * The host is a name, an IPv4 address or an IPv6 address in brackets. Loopback means 127.0.0.0/8,
 * ::1 or the word localhost; other names are never resolved to find out. Pure, thread safe.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define ENDPOINT_HOST_MAX 253
#define ENDPOINT_URL_MAX  300

struct endpoint {
    bool tls;
    bool loopback;
    uint16_t port;
    char host[ENDPOINT_HOST_MAX + 1]; /* without brackets */
};

int endpoint_parse(const char *url, struct endpoint *ret, struct tm_err *err) TM_WUR;

/* nng's number as an error: "<fmt>: <what nng says>", with a code and retryable chosen from it. */
int endpoint_nng_error(struct tm_err *err, int nng_code, const char *fmt, ...) TM_PRINTF(3, 4);

#endif
