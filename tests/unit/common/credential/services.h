#ifndef TM_TESTS_UNIT_COMMON_CREDENTIAL_SERVICES_H
#define TM_TESTS_UNIT_COMMON_CREDENTIAL_SERVICES_H
/*
 * What the tests of credentials share: a stub that answers from a list, an environment without any
 * of the names that credentials listen to, and a clock that only the test moves.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/credential/credential.h"
#include "common/fs.h"
#include "tests/lib/stub_http.h"
#include "tests/lib/text_of.h"

#define TEST_NOW_US INT64_C(1790000000000000) /* 2026-09-21T14:13:20Z */

static struct services {
    struct stub_http *stub;
    char url[64]; /* of the stub */
    char dir[64];
    struct stub_reply replies[16]; /* the n-th request gets the n-th, later ones the last */
    size_t reply_count;
    size_t seen;
    struct tm_err err;
} services;
static _Atomic int64_t services_now_us;

static void answer(const struct stub_request *request, struct stub_reply *reply, void *arg)
{
    (void)request, (void)arg;
    size_t n = TM_MIN(services.seen, services.reply_count - 1);
    services.seen++;
    *reply = services.replies[n];
}

static TM_UNUSED int services_set_up(void **state)
{
    (void)state;
    static const char *const names[] = {"AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_ROLE_ARN",
                                        "AWS_ROLE_SESSION_NAME",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_PROFILE",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                                        "AWS_EC2_METADATA_DISABLED",
                                        "AWS_ENDPOINT_URL_STS",
                                        "AZURE_TENANT_ID",
                                        "AZURE_CLIENT_ID",
                                        "AZURE_FEDERATED_TOKEN_FILE",
                                        "AZURE_AUTHORITY_HOST",
                                        "IDENTITY_ENDPOINT",
                                        "IDENTITY_HEADER",
                                        "http_proxy"};
    for (size_t n = 0; n < TM_ARRAY_LEN(names); n++)
        (void)unsetenv(names[n]);
    memset(&services, 0, sizeof(services));
    services_now_us = TEST_NOW_US;
    services.stub = stub_http_new(answer, NULL);
    (void)snprintf(services.url, sizeof(services.url), "http://127.0.0.1:%u",
                   stub_http_port(services.stub));
    (void)snprintf(services.dir, sizeof(services.dir), "/tmp/tidemark-credential.XXXXXX");
    (void)setenv("HOME", "/nonexistent", 1);
    return mkdtemp(services.dir) != NULL ? 0 : -1;
}

static TM_UNUSED int services_tear_down(void **state)
{
    (void)state;
    stub_http_free(services.stub);
    return fs_remove_tree(services.dir, true, &services.err);
}

static TM_UNUSED int64_t services_clock(void)
{
    return services_now_us;
}

/* Adds an answer; status 0 = 200. */
static TM_UNUSED void services_reply(unsigned status, const char *body)
{
    struct stub_reply *reply = &services.replies[services.reply_count++];
    *reply = (struct stub_reply){.status = status, .body = body};
}

/* The n-th request was exactly this; `header` NULL and `body` "" for none. */
static TM_UNUSED void services_assert_request(size_t n, const char *method, const char *target,
                                              const char *header, const char *value,
                                              const char *body)
{
    const struct stub_request *r = stub_http_request(services.stub, n);
    assert_non_null(r);
    assert_string_equal(r->method, method);
    assert_string_equal(r->target, target);
    char expected[1024];
    int len = snprintf(expected, sizeof(expected), "host: %s\n", services.url + strlen("http://"));
    if (header != NULL)
        len += snprintf(expected + len, sizeof(expected) - (size_t)len, "%s: %s\n", header, value);
    len += snprintf(expected + len, sizeof(expected) - (size_t)len, "user-agent: tidemark\n");
    if (strcmp(method, "GET") != 0)
        (void)snprintf(expected + len, sizeof(expected) - (size_t)len, "content-length: %zu\n",
                       strlen(body));
    assert_string_equal(r->headers, expected);
    assert_string_equal((char *)r->body, body);
}

/* Writes a file below dir; the path is valid until the next call. */
static TM_UNUSED const char *services_file(const char *name, const char *text, unsigned mode)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", services.dir, name);
    assert_int_equal(fs_write_atomic(path, slice_str(text), 0600, &services.err), 0);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static TM_UNUSED void services_secret(struct secret_map *map, const char *name, const char *value)
{
    assert_int_equal(secret_map_set(map, name, value, strlen(value), &services.err), 0);
}

#endif
