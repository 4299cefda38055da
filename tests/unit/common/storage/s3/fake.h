#ifndef TM_TESTS_UNIT_COMMON_STORAGE_S3_FAKE_H
#define TM_TESTS_UNIT_COMMON_STORAGE_S3_FAKE_H
/*
 * A store that answers by rules, for the tests of the S3 driver.
 *
 * Each request takes the first rule whose method and part of the target fit and that has not been
 * used up; a request without a rule is answered 418, which no test expects. fake_close checks that
 * every request was signed as it came over the wire.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <openssl/evp.h>

#include "common/hash.h"
#include "common/secret_map.h"
#include "common/storage/s3/sign.h"
#include "common/storage/storage.h"
#include "tests/lib/stub_http.h"

/* The store: AWS as seen through a proxy, which is the stub. In what tests expect, its address is not
 * there in requests, and "STORE" in errors. */
#define FAKE_HOST "s3.us-east-1.amazonaws.com"
#define FAKE_AWS                                                                                   \
    "s3://tank/pre?endpoint=http://" FAKE_HOST "&force-path-style=true&proxy=http://127.0.0.1:%u"
#define FAKE_KEY    "AKIDEXAMPLE"
#define FAKE_SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

struct rule {
    const char *method;
    const char *target; /* is in it; NULL = any */
    unsigned times;     /* 0 = always */
    unsigned status;
    const char *headers; /* "name: value\r\n" */
    const char *body;
    enum stub_fault fault;
    bool etag;  /* the MD5 of what came */
    bool nonce; /* that of the last PUT or POST that had one */
    bool no_length;
    bool bare; /* a 404 without a request's id, as of a proxy */
    size_t body_len;
};

/* The answer of a bucket without object lock, which is asked before the first removal. */
#define FAKE_NO_LOCK                                                                               \
    {                                                                                              \
        .method = "GET", .target = "?object-lock=", .status = 404, .headers = "server: s\r\n",     \
        .body = "<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"                 \
    }
#define FAKE_ASKS_LOCK "GET /tank?object-lock=\n"

struct fake {
    const struct rule *rules;
    size_t count;
    unsigned used[32];
    char nonce[64];
    struct stub_http *stub;
    struct storage *st;
    struct tm_err err;
};

static inline void fake_md5(const void *data, size_t len, char hex[33])
{
    uint8_t md5[EVP_MAX_MD_SIZE];
    if (EVP_Digest(data, len, md5, NULL, EVP_md5(), NULL) != 1)
        abort();
    (void)hex_encode(md5, 16, hex);
}

static inline void fake_handler(const struct stub_request *request, struct stub_reply *reply,
                                void *arg)
{
    struct fake *f = arg;
    (void)stub_header(request, "x-amz-meta-tidemark-writer", f->nonce, sizeof(f->nonce));
    for (size_t n = 0; n < f->count; n++) {
        const struct rule *rule = &f->rules[n];
        if (strcmp(rule->method, request->method) != 0 ||
            (rule->target != NULL && strstr(request->target, rule->target) == NULL) ||
            (rule->times != 0 && f->used[n] == rule->times))
            continue;
        f->used[n]++;
        reply->status = rule->status;
        reply->body = rule->body;
        reply->body_len = rule->body_len;
        reply->fault = rule->fault;
        reply->no_length = rule->no_length;
        char md5[33] = "";
        if (rule->etag)
            fake_md5(request->body, request->body_len, md5);
        (void)snprintf(reply->headers, sizeof(reply->headers), "%s%s%s%s%s%s%s%s",
                       rule->headers != NULL ? rule->headers : "", rule->etag ? "etag: \"" : "",
                       md5, rule->etag ? "\"\r\n" : "",
                       rule->nonce ? "x-amz-meta-tidemark-writer: " : "",
                       rule->nonce ? f->nonce : "", rule->nonce ? "\r\n" : "",
                       rule->status == 404 && !rule->bare ? "x-amz-request-id: R1\r\n" : "");
        return;
    }
    reply->status = 418;
}

static unsigned fake_timeout_ms = 20000; /* what a call may last */
static storage_trouble_fn fake_trouble;  /* told of attempts that failed; NULL = nobody is */

/* `url` has one %u, for the port. */
static inline void fake_open(struct fake *f, const struct rule *rules, size_t count,
                             const char *url, const char *session_token)
{
    *f = (struct fake){.rules = rules, .count = count};
    f->stub = stub_http_new(fake_handler, f);
    char text[STORAGE_URL_MAX];
    const char *mark = strstr(url, "%u");
    (void)snprintf(text, sizeof(text), "%.*s%u%s", (int)(mark - url), url, stub_http_port(f->stub),
                   mark + 2);
    struct secret_map secret = SECRET_MAP_INIT;
    assert_int_equal(secret_map_set(&secret, "access_key", FAKE_KEY, strlen(FAKE_KEY), &f->err), 0);
    assert_int_equal(
        secret_map_set(&secret, "secret_key", FAKE_SECRET, strlen(FAKE_SECRET), &f->err), 0);
    if (session_token != NULL)
        assert_int_equal(
            secret_map_set(&secret, "session_token", session_token, strlen(session_token), &f->err),
            0);
    int r = storage_open(text,
                         &(struct storage_options){.secret = &secret,
                                                   .io_timeout_ms = fake_timeout_ms,
                                                   .trouble = fake_trouble,
                                                   .trouble_arg = f},
                         &f->st, &f->err);
    if (r < 0)
        print_error("%s\n", f->err.msg);
    assert_int_equal(r, 0);
    secret_map_release(&secret);
}
#define FAKE_OPEN(f, rules, url) fake_open(f, rules, TM_ARRAY_LEN(rules), url, NULL)

/* A request through a proxy has the whole URL as its target. */
static inline const char *fake_path(const struct stub_request *request)
{
    const char *at = strstr(request->target, "://");
    return at != NULL ? strchr(at + 3, '/') : request->target;
}

/* Signs what came over the wire again: the same must come out. */
static inline void fake_check_signature(const struct stub_request *request)
{
    char authorization[2048], names[1024], date[64], payload[80], scope_text[256];
    struct tm_err err;
    assert_non_null(stub_header(request, "authorization", authorization, sizeof(authorization)));
    assert_non_null(stub_header(request, "x-amz-date", date, sizeof(date)));
    assert_non_null(stub_header(request, "x-amz-content-sha256", payload, sizeof(payload)));
    assert_int_equal(sscanf(authorization,
                            "AWS4-HMAC-SHA256 Credential=%255[^,], SignedHeaders=%1023[^,],",
                            scope_text, names),
                     2);
    char region[64];
    assert_int_equal(sscanf(scope_text, FAKE_KEY "/%*8[0-9]/%63[^/]/s3/aws4_request", region), 1);
    struct sha256 digest;
    assert_int_equal(sha256_of(request->body, request->body_len, &digest, &err), 0);
    char hex[2 * SHA256_LEN + 1];
    assert_string_equal(payload, hex_encode(digest.bytes, SHA256_LEN, hex));
    struct sign_header headers[SIGN_HEADERS_MAX];
    static char values[SIGN_HEADERS_MAX][512];
    size_t count = 0;
    for (char *save, *name = strtok_r(names, ";", &save); name != NULL;
         name = strtok_r(NULL, ";", &save)) {
        assert_non_null(stub_header(request, name, values[count], sizeof(values[0])));
        headers[count] = (struct sign_header){name, values[count]};
        count++;
    }
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s", fake_path(request));
    char *query = strchr(path, '?');
    if (query != NULL)
        *query++ = '\0';
    struct sign_request again = {.method = request->method,
                                 .path = path,
                                 .query = query != NULL ? query : "",
                                 .headers = headers,
                                 .header_count = count,
                                 .payload_sha256 = payload};
    struct sign_scope scope = {date, region, "s3"};
    char expected[SIGN_AUTHORIZATION_MAX];
    assert_int_equal(
        sign_v4(&again, &scope, slice_str(FAKE_KEY), slice_str(FAKE_SECRET), expected, &err), 0);
    assert_string_equal(authorization, expected);
}

static inline void fake_close(struct fake *f)
{
    storage_free(f->st);
    for (size_t n = 0; n < stub_http_count(f->stub); n++)
        fake_check_signature(stub_http_request(f->stub, n));
    stub_http_free(f->stub);
}

/* "METHOD target" of all requests so far, one a line. */
static inline void fake_expect(struct fake *f, const char *expected)
{
    static char text[65536];
    size_t used = 0;
    text[0] = '\0';
    for (size_t n = 0; n < stub_http_count(f->stub); n++) {
        const struct stub_request *request = stub_http_request(f->stub, n);
        static const char store[] = "http://" FAKE_HOST;
        bool aws = strncmp(request->target, store, strlen(store)) == 0;
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s %s\n", request->method,
                                 request->target + (aws ? strlen(store) : 0));
        assert_true(used < sizeof(text));
    }
    assert_string_equal(text, expected);
}

static inline void fake_expect_header(struct fake *f, size_t request, const char *name,
                                      const char *expected)
{
    char value[1024];
    const struct stub_request *r = stub_http_request(f->stub, request);
    assert_non_null(r);
    const char *got = stub_header(r, name, value, sizeof(value));
    if (expected == NULL) {
        assert_null(got);
        return;
    }
    assert_non_null(got);
    assert_string_equal(got, expected);
}

/* Exact, with the store's address replaced by "STORE". */
static inline void fake_expect_error(struct fake *f, const char *expected)
{
    char text[2 * TM_ERR_MSG_MAX], port[64];
    (void)snprintf(port, sizeof(port), "127.0.0.1:%u", stub_http_port(f->stub));
    size_t used = 0;
    for (const char *at = f->err.msg; *at != '\0';) {
        const char *const hosts[] = {port, FAKE_HOST};
        size_t host_len = 0;
        for (size_t n = 0; n < TM_ARRAY_LEN(hosts); n++)
            if (strncmp(at, hosts[n], strlen(hosts[n])) == 0)
                host_len = strlen(hosts[n]);
        if (host_len > 0) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "STORE");
            at += host_len;
        } else {
            text[used++] = *at++;
        }
    }
    text[used] = '\0';
    assert_string_equal(text, expected);
}

#endif
