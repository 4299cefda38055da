/* The HTTP client against a server inside the test: requests as sent, answers, kept connections,
 * many at once, lost and hanging servers, cancellation, bounds. */
#include "common/http/http.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>

#include "common/clock.h"
#include "tests/lib/stub_http.h"

static struct {
    struct stub_http *stub;
    struct http *http;
    char url[256];
    struct tm_err err;
    struct stub_reply reply; /* what `scripted` answers … */
    size_t fail_first;       /* … after this many requests closed without an answer */
    size_t seen;
} g;

static void scripted(const struct stub_request *request, struct stub_reply *reply, void *arg)
{
    (void)request, (void)arg;
    *reply = g.reply;
    if (g.seen++ < g.fail_first)
        reply->fault = STUB_CLOSE;
}

static int set_up(void **state)
{
    (void)state;
    memset(&g, 0, sizeof(g));
    g.stub = stub_http_new(scripted, NULL);
    (void)snprintf(g.url, sizeof(g.url), "http://127.0.0.1:%u/a/b?c=d", stub_http_port(g.stub));
    struct http_options options = {.proxy = "", .parallel = 4, .stall_ms = 1000};
    return http_new(&options, &g.http, &g.err);
}

static int tear_down(void **state)
{
    (void)state;
    http_free(g.http);
    stub_http_free(g.stub);
    return 0;
}

static void a_put_carries_headers_and_body(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    x.method = "PUT";
    x.url = g.url;
    x.body = slice_str("hello");
    assert_int_equal(http_header(&x, &g.err, "x-one", "%d", 1), 0);
    assert_int_equal(http_header(&x, &g.err, "x-empty", "%s", ""), 0);
    (void)snprintf(g.reply.headers, sizeof(g.reply.headers), "ETag: \"abc\"\r\nX-Blank:  \r\n");
    assert_int_equal(http_run(g.http, &x, &g.err), 0);
    assert_int_equal(x.status, 200);
    assert_true(x.reached);
    assert_string_equal(http_answer_header(&x, "etag"), "\"abc\"");
    assert_string_equal(http_answer_header(&x, "x-blank"), "");
    assert_null(http_answer_header(&x, "x-none"));
    const struct stub_request *r = stub_http_request(g.stub, 0);
    assert_string_equal(r->method, "PUT");
    assert_string_equal(r->target, "/a/b?c=d");
    char host[300];
    (void)snprintf(host, sizeof(host),
                   "host: 127.0.0.1:%u\nx-one: 1\nx-empty:\nuser-agent: tidemark\n"
                   "content-length: 5\n",
                   stub_http_port(g.stub));
    assert_string_equal(r->headers, host);
    assert_string_equal((char *)r->body, "hello");
    http_exchange_release(&x);
}

static void every_method_is_sent_as_it_is(void **state)
{
    (void)state;
    static const char *const methods[] = {"PUT", "GET", "HEAD", "DELETE", "POST", "GET", "PUT"};
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    x.url = g.url;
    g.reply.body = "body";
    for (size_t n = 0; n < TM_ARRAY_LEN(methods); n++) {
        x.method = methods[n];
        assert_int_equal(http_run(g.http, &x, &g.err), 0);
        const struct stub_request *r = stub_http_request(g.stub, n);
        assert_string_equal(r->method, methods[n]);
        char length[16];
        bool sends = strcmp(methods[n], "PUT") == 0 || strcmp(methods[n], "POST") == 0;
        const char *got = stub_header(r, "content-length", length, sizeof(length));
        if (sends)
            assert_string_equal(got, "0");
        else
            assert_null(got);
        assert_int_equal(x.answer.len, strcmp(methods[n], "HEAD") == 0 ? 0 : 4);
        assert_int_equal(r->connection, 1); /* kept */
        http_reset(&x);
    }
    http_exchange_release(&x);
    struct http_stats stats;
    http_stats(g.http, &stats);
    assert_int_equal(stats.exchanges, TM_ARRAY_LEN(methods));
    assert_int_equal(stats.connections, 1);
}

static void a_body_goes_to_its_place_or_is_too_long(void **state)
{
    (void)state;
    char place[8] = "........";
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    x.url = g.url;
    x.into = place;
    x.into_len = 6;
    g.reply.body = "sixsix";
    assert_int_equal(http_run(g.http, &x, &g.err), 0);
    assert_int_equal(x.into_got, 6);
    assert_memory_equal(place, "sixsix..", 8);
    g.reply.body = "seven77";
    http_reset(&x);
    assert_int_equal(http_run(g.http, &x, &g.err), -TM_E_LIMIT);
    assert_false(g.err.retryable);
    /* what is no 2xx is kept apart */
    g.reply.status = 404;
    http_reset(&x);
    assert_int_equal(http_run(g.http, &x, &g.err), 0);
    assert_int_equal(x.status, 404);
    assert_int_equal(x.into_got, 0);
    assert_int_equal(x.answer.len, 7);
    http_exchange_release(&x);
}

static void a_cut_body_is_no_answer(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    x.url = g.url;
    g.reply.body = "0123456789";
    g.reply.fault = STUB_CLOSE_IN_BODY;
    assert_int_equal(http_run(g.http, &x, &g.err), -TM_E_UNAVAILABLE);
    assert_true(g.err.retryable);
    assert_int_equal(x.status, 0);
    http_exchange_release(&x);
}

static void nobody_listening_is_told(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    x.url = "http://127.0.0.1:1/secret-path?sig=SECRET";
    assert_int_equal(http_run(g.http, &x, &g.err), -TM_E_UNAVAILABLE);
    assert_true(g.err.retryable);
    assert_false(x.reached);
    assert_string_equal(g.err.msg, "127.0.0.1:1: cannot connect");
    http_exchange_release(&x);
}

static void a_lost_answer_may_have_been_reached(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    x.method = "PUT";
    x.url = g.url;
    x.body = slice_str("x");
    g.fail_first = 5; /* also when curl tries again by itself */
    assert_int_equal(http_run(g.http, &x, &g.err), -TM_E_UNAVAILABLE);
    assert_true(x.reached);
    http_exchange_release(&x);
}

static void a_hanging_server_is_given_up(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    x.url = g.url;
    x.timeout_ms = 300;
    g.reply.fault = STUB_HANG;
    int64_t begin = clock_mono_us();
    assert_int_equal(http_run(g.http, &x, &g.err), -TM_E_TIMEOUT);
    assert_true(g.err.retryable);
    assert_true(clock_mono_us() - begin < 5 * USEC_PER_SEC);
    assert_non_null(strstr(g.err.msg, ": no answer in time"));
    x.timeout_ms = 60000; /* it has more, and moves no byte */
    assert_int_equal(http_run(g.http, &x, &g.err), -TM_E_TIMEOUT);
    assert_true(g.err.retryable);
    assert_true(x.reached);
    assert_non_null(strstr(g.err.msg, ": no answer for 1 s"));
    http_exchange_release(&x);
}

static void canceling_frees_the_exchange(void **state)
{
    (void)state;
    g.reply.fault = STUB_HANG;
    struct http_exchange x[6];
    for (size_t n = 0; n < 6; n++) { /* 4 under way, 2 waiting */
        x[n] = HTTP_EXCHANGE_INIT;
        x[n].url = g.url;
        http_start(g.http, &x[n]);
    }
    while (stub_http_count(g.stub) < 4)
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    struct http_stats stats;
    http_stats(g.http, &stats);
    assert_int_equal(stats.in_flight, 4);
    assert_int_equal(stats.waiting, 2);
    for (size_t n = 6; n-- > 0;) {
        assert_false(http_is_done(g.http, &x[n]));
        http_cancel(g.http, &x[n]);
        assert_int_equal(http_wait(g.http, &x[n], &g.err), -TM_E_CANCELED);
        http_exchange_release(&x[n]);
    }
}

static void a_turn_that_never_comes_is_given_up(void **state)
{
    (void)state;
    g.reply.fault = STUB_HANG;
    struct http_exchange x[5];
    for (size_t n = 0; n < 5; n++) { /* 4 under way, 1 waiting */
        x[n] = HTTP_EXCHANGE_INIT;
        x[n].url = g.url;
        x[n].start_by_us = n == 4 ? clock_mono_us() + 200000 : 0;
        http_start(g.http, &x[n]);
    }
    assert_int_equal(http_wait(g.http, &x[4], &g.err), -TM_E_TIMEOUT);
    assert_true(g.err.retryable);
    assert_false(x[4].reached);
    assert_string_equal(g.err.msg, "other requests to the store left no room for this one in time");
    for (size_t n = 0; n < 5; n++) {
        http_cancel(g.http, &x[n]);
        http_exchange_release(&x[n]);
    }
}

static void slow_down_halves_what_is_under_way(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    x.url = g.url;
    g.reply.status = 503;
    assert_int_equal(http_run(g.http, &x, &g.err), 0);
    http_exchange_release(&x);
    struct http_stats stats;
    http_stats(g.http, &stats);
    assert_int_equal(stats.limit, 2);
    assert_int_equal(stats.limit_max, 4);
    assert_int_equal(stats.slow_downs, 1);
}

static void headers_are_bounded(void **state)
{
    (void)state;
    struct http_exchange x = HTTP_EXCHANGE_INIT;
    assert_int_equal(http_header(&x, &g.err, "a", "%s", "b\r\nc: d"), -TM_E_INVALID);
    assert_string_equal(g.err.msg, "HTTP header 'a' has a control character");
    for (size_t n = 0; n < HTTP_HEADERS_MAX; n++)
        assert_int_equal(http_header(&x, &g.err, "a", "b"), 0);
    assert_int_equal(http_header(&x, &g.err, "a", "b"), -TM_E_LIMIT);
    http_exchange_release(&x);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_put_carries_headers_and_body),
        TEST(every_method_is_sent_as_it_is),
        TEST(a_body_goes_to_its_place_or_is_too_long),
        TEST(a_cut_body_is_no_answer),
        TEST(nobody_listening_is_told),
        TEST(a_lost_answer_may_have_been_reached),
        TEST(a_hanging_server_is_given_up),
        TEST(canceling_frees_the_exchange),
        TEST(a_turn_that_never_comes_is_given_up),
        TEST(slow_down_halves_what_is_under_way),
        TEST(headers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
