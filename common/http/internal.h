#ifndef TM_COMMON_HTTP_INTERNAL_H
#define TM_COMMON_HTTP_INTERNAL_H
/*
 * Between http.c (threads, queue, pace) and transfer.c (one exchange and its curl handle).
 */
#include <curl/curl.h>

#include "common/http/http.h"

struct http_limits {
    char *ca_file, *proxy;
    bool insecure;
    unsigned connect_timeout_ms, stall_ms;
};

enum exchange_state { EXCHANGE_IDLE, EXCHANGE_QUEUED, EXCHANGE_UNDER_WAY, EXCHANGE_DONE };

/* What never changes between exchanges. NULL: out of memory. */
CURL *transfer_handle_new(const struct http_limits *limits);
/* Makes `easy` carry the exchange; on failure x is untouched but for its answer. */
int transfer_prepare(struct http_exchange *x, CURL *easy, struct tm_err *err) TM_WUR;
/* Reads the outcome into x: result, err, status, reached. */
void transfer_finish(struct http_exchange *x, CURLcode code);

int http_headers_add(struct http_headers *h, struct slice name, struct slice value,
                     struct tm_err *err) TM_WUR;

#endif
