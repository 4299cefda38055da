/* Endpoint URLs, and nng's errors in our words. */
#include "common/endpoint.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <nng/nng.h>

static void expect(const char *url, bool tls, bool loopback, const char *host, unsigned port)
{
    struct endpoint e;
    struct tm_err err = {0};

    if (endpoint_parse(url, &e, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(e.tls, tls);
    assert_int_equal(e.loopback, loopback);
    assert_string_equal(e.host, host);
    assert_int_equal(e.port, port);
}

static void refuse(const char *url, const char *message)
{
    struct endpoint e;
    struct tm_err err = {0};

    assert_int_equal(endpoint_parse(url, &e, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, message);
}

static void parses(void **state)
{
    (void)state;
    expect("tcp://127.0.0.1:7711", false, true, "127.0.0.1", 7711);
    expect("tcp://127.9.9.9:1", false, true, "127.9.9.9", 1);
    expect("tcp://LocalHost:0", false, true, "LocalHost", 0);
    expect("tcp://[::1]:7711", false, true, "::1", 7711);
    expect("tls+tcp://[2001:db8::1]:65535", true, false, "2001:db8::1", 65535);
    expect("tls+tcp://db-1.example.org:7711", true, false, "db-1.example.org", 7711);
    expect("tcp://0.0.0.0:7711", false, false, "0.0.0.0", 7711);
    expect("tcp://128.0.0.1:7711", false, false, "128.0.0.1", 7711);
    expect("tcp://127.0.0.1.example.org:7711", false, false, "127.0.0.1.example.org", 7711);
}

static void refuses(void **state)
{
    (void)state;
    refuse("", "'' is neither tcp://host:port nor tls+tcp://host:port");
    refuse("ipc:///tmp/x", "'ipc:///tmp/x' is neither tcp://host:port nor tls+tcp://host:port");
    refuse("tcp://host", "'tcp://host' has no port: write tcp://host:port");
    refuse("tls+tcp://[::1]", "'tls+tcp://[::1]' has no port: write tls+tcp://host:port");
    refuse("tcp://:1", "'tcp://:1' has no valid host");
    refuse("tcp://a/b:1", "'tcp://a/b:1' has no valid host");
    refuse("tcp://user@h:1", "'tcp://user@h:1' has no valid host");
    refuse("tcp://h:", "'tcp://h:' has no valid port: write host:1 to host:65535");
    refuse("tcp://h:0", "'tcp://h:0' has no valid port: write host:1 to host:65535");
    refuse("tcp://h:65536", "'tcp://h:65536' has no valid port: write host:1 to host:65535");
    refuse("tcp://h:1x", "'tcp://h:1x' has no valid port: write host:1 to host:65535");
    refuse("tcp://h:99999999999999999999",
           "'tcp://h:99999999999999999999' has no valid port: write host:1 to host:65535");
    refuse("tcp://h:1/path", "'tcp://h:1/path' has no valid port: write host:1 to host:65535");
}

static void translates(void **state)
{
    struct tm_err err = {0};

    (void)state;
    assert_int_equal(endpoint_nng_error(&err, NNG_ETIMEDOUT, "no answer from '%s'", "x"),
                     -TM_E_TIMEOUT);
    assert_string_equal(err.msg, "no answer from 'x': Timed out");
    assert_true(err.retryable);
    assert_int_equal(endpoint_nng_error(&err, NNG_EADDRINUSE, "cannot listen"), -TM_E_EXISTS);
    assert_string_equal(err.msg, "cannot listen: Address in use");
    assert_false(err.retryable);
    assert_int_equal(endpoint_nng_error(&err, NNG_ECONNREFUSED, "cannot connect"),
                     -TM_E_UNAVAILABLE);
    assert_true(err.retryable);
    assert_int_equal(endpoint_nng_error(&err, NNG_ESYSERR | EACCES, "cannot connect"),
                     -TM_E_PERMISSION);
    assert_string_equal(err.msg, "cannot connect: Permission denied");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(translates),
    };
    return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
