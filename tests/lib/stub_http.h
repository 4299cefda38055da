#ifndef TM_TESTS_LIB_STUB_HTTP_H
#define TM_TESTS_LIB_STUB_HTTP_H
/*
 * An HTTP/1.1 server on loopback, inside a test: a handler sees each request and says what to
 * answer, or how to fail.
 *
 *     struct stub_http *stub = stub_http_new(handler, arg);        dies on failure
 *     … stub_http_port(stub) …
 *     const struct stub_request *r = stub_http_request(stub, 0);   what came, in order
 *     stub_http_free(stub);
 *
 * The handler runs in the connection's thread, one at a time over all connections.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STUB_REQUESTS_MAX 512

struct stub_request {
    char method[16];
    char target[4096];  /* path and query, as sent */
    char headers[8192]; /* "name: value\n…", names in lower case, in the order sent */
    uint8_t *body;      /* NUL-terminated behind body_len */
    size_t body_len;
    unsigned connection; /* 1, 2, … in the order of their making */
};

enum stub_fault {
    STUB_NO_FAULT = 0,
    STUB_CLOSE,         /* close without an answer */
    STUB_CLOSE_IN_BODY, /* send half of the body, then close */
    STUB_HANG,          /* no answer until the stub is freed or the peer closes */
};

struct stub_reply {
    unsigned status;    /* 0 = 200 */
    char headers[1024]; /* "name: value\r\n…" on top of content-length */
    const void *body;   /* copied when the handler returns */
    size_t body_len;    /* 0 with a body: its strlen */
    unsigned delay_ms;  /* before the answer */
    bool no_length;     /* no content-length: to a HEAD */
    enum stub_fault fault;
};

typedef void stub_handler(const struct stub_request *request, struct stub_reply *reply, void *arg);

struct stub_http;
struct stub_http *stub_http_new(stub_handler *handler, void *arg);
void stub_http_free(struct stub_http *stub);
unsigned stub_http_port(const struct stub_http *stub);
size_t stub_http_count(struct stub_http *stub);
/* NULL when there were not so many. Valid until stub_http_free. */
const struct stub_request *stub_http_request(struct stub_http *stub, size_t index);
/* Value of a header, copied to `value`; NULL when absent. */
const char *stub_header(const struct stub_request *request, const char *name, char *value,
                        size_t size);

#endif
