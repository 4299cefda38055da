#ifndef TM_TESTS_UNIT_COMMON_STORAGE_AZBLOB_STUB_H
#define TM_TESTS_UNIT_COMMON_STORAGE_AZBLOB_STUB_H
/*
 * What the tests of the Azure driver share: a stub that answers from a list, a storage opened on it
 * as container "cont", prefix "pre", and requests as text.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/secret_map.h"
#include "common/storage/storage.h"
#include "tests/lib/stub_http.h"
#include "tests/lib/text_of.h"

static struct azblob_fixture {
    struct stub_http *stub;
    stub_handler *handler;         /* NULL: from the list */
    struct stub_reply replies[24]; /* the n-th request gets the n-th, later ones the last */
    size_t reply_count;
    size_t seen;
    struct secret_map secret;
    unsigned timeout_ms; /* what a call may last, 0 = as usual */
    struct storage *st;
    struct tm_err err;
} g;

static void answer(const struct stub_request *request, struct stub_reply *out, void *arg)
{
    size_t n = TM_MIN(g.seen, g.reply_count - 1);
    g.seen++;
    if (g.handler != NULL)
        g.handler(request, out, arg);
    else
        *out = g.replies[n];
}

static TM_UNUSED void reply(unsigned status, const char *headers, const char *body)
{
    struct stub_reply *r = &g.replies[g.reply_count++];
    *r = (struct stub_reply){.status = status, .body = body};
    (void)snprintf(r->headers, sizeof(r->headers), "%s", headers);
}

static TM_UNUSED const char *place(void)
{
    return text_of("http://127.0.0.1:%u/acc/cont", stub_http_port(g.stub));
}

static TM_UNUSED void open_with(const char *params, const char *name, const char *value)
{
    storage_free(g.st);
    g.st = NULL;
    secret_map_release(&g.secret);
    assert_int_equal(secret_map_set(&g.secret, name, value, strlen(value), &g.err), 0);
    struct storage_options options = {.secret = &g.secret, .io_timeout_ms = g.timeout_ms};
    const char *url = text_of("azblob://cont/pre?account-name=acc&proxy=&endpoint=http://"
                              "127.0.0.1:%u%s",
                              stub_http_port(g.stub), params);
    if (storage_open(url, &options, &g.st, &g.err) < 0)
        fail_msg("%s", g.err.msg);
}

static int set_up(void **state)
{
    (void)state;
    (void)unsetenv("http_proxy");
    memset(&g, 0, sizeof(g));
    g.stub = stub_http_new(answer, NULL);
    open_with("", "AZURE_STORAGE_KEY", "a2V5IG9mIGFuIGFjY291bnQ=");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    storage_free(g.st);
    stub_http_free(g.stub);
    secret_map_release(&g.secret);
    return 0;
}

/* A header of the n-th request; "" when it has none. */
static TM_UNUSED const char *sent(size_t n, const char *name)
{
    static char value[4096];
    const struct stub_request *r = stub_http_request(g.stub, n);
    assert_non_null(r);
    return stub_header(r, name, value, sizeof(value)) != NULL ? value : "";
}

/* "METHOD target\nheaders", without host and user agent, and with "*" for what differs each time. */
static TM_UNUSED const char *request_text(size_t n)
{
    static const char *const random[] = {"x-ms-date", "authorization", "x-ms-meta-tidemarkwriter"};
    static char out[16384];
    const struct stub_request *r = stub_http_request(g.stub, n);
    assert_non_null(r);
    size_t len = (size_t)snprintf(out, sizeof(out), "%s %s\n", r->method, r->target);
    for (const char *at = r->headers; *at != '\0'; at = strchr(at, '\n') + 1) {
        size_t name_len = strcspn(at, ":");
        bool hide = false;
        for (size_t k = 0; k < TM_ARRAY_LEN(random); k++)
            hide = hide || strncmp(at, random[k], name_len) == 0;
        if (strncmp(at, "host:", 5) == 0 || strncmp(at, "user-agent:", 11) == 0)
            continue;
        len += (size_t)snprintf(out + len, sizeof(out) - len, "%.*s\n",
                                (int)(hide ? name_len : strcspn(at, "\n")), at);
    }
    return out;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
