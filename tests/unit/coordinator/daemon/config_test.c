/* coordinator.yaml: what it becomes, and what is said about mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "coordinator/daemon/config.h"

static void expect_error(const char *text, const char *message)
{
    struct config c = {0};
    struct tm_err err = {0};

    assert_true(config_parse("c.yaml", slice_str(text), &c, NULL, &err) < 0);
    assert_string_equal(err.msg, message);
}

static void test_defaults(void **state)
{
    struct config c = {0};
    struct tm_err err = {0};

    (void)state;
    assert_int_equal(
        config_parse("c.yaml", slice_str("listen: tcp://127.0.0.1:7711\n"), &c, NULL, &err), 0);
    assert_string_equal(c.listen, "tcp://127.0.0.1:7711");
    assert_string_equal(c.control_socket, "/run/tidemark/control.sock");
    assert_string_equal(c.state_dir, "/var/lib/tidemark/coordinator");
    assert_null(c.tls);
    assert_null(c.keys_dir);
    assert_int_equal(c.max_agents, 256);
    assert_int_equal(c.log_priority, LOG_INFO);
    config_release(&c);
}

static void test_full(void **state)
{
    static const char text[] = "listen: tls+tcp://0.0.0.0:7711\n"
                               "tls:\n"
                               "  ca: /etc/tidemark/ca.pem\n"
                               "  cert: /etc/tidemark/coordinator.pem\n"
                               "keys_dir: /etc/tidemark/keys\n"
                               "control_socket: /run/x.sock\n"
                               "state_dir: /srv/state\n"
                               "http: 127.0.0.1:7712\n"
                               "max_agents: 12\n"
                               "log_level: debug\n";
    struct schema_warnings warnings = SCHEMA_WARNINGS_INIT;
    struct config c = {0};
    struct tm_err err = {0};

    (void)state;
    assert_int_equal(config_parse("c.yaml", slice_str(text), &c, &warnings, &err), 0);
    assert_string_equal(c.tls->ca, "/etc/tidemark/ca.pem");
    assert_string_equal(c.tls->cert, "/etc/tidemark/coordinator.pem");
    assert_string_equal(c.keys_dir, "/etc/tidemark/keys");
    assert_int_equal(c.max_agents, 12);
    assert_int_equal(c.log_priority, LOG_DEBUG);
    assert_int_equal(warnings.count, 1);
    assert_string_equal(warnings.items[0],
                        "c.yaml:8:1: field 'http' is not served by this version");
    schema_warnings_release(&warnings);
    config_release(&c);
}

static void test_mistakes(void **state)
{
    (void)state;
    expect_error("state_dri: /x\n", "c.yaml:1:1: unknown field 'state_dri' in the coordinator's "
                                    "configuration, did you mean 'state_dir'?");
    expect_error(
        "listen: tcp://0.0.0.0:7711\n",
        "c.yaml:1:9: listen: plain 'tcp://0.0.0.0:7711' is not loopback: use tls+tcp://, or "
        "say insecure: true");
    expect_error("listen: 127.0.0.1:7711\n",
                 "c.yaml:1:9: listen: '127.0.0.1:7711' is neither tcp://host:port nor "
                 "tls+tcp://host:port");
    expect_error("listen: tls+tcp://0.0.0.0:7711\n",
                 "c.yaml:1:9: listen: 'tls+tcp://0.0.0.0:7711' needs tls.ca and tls.cert");
    expect_error("listen: tcp://127.0.0.1:99999\n",
                 "c.yaml:1:9: listen: 'tcp://127.0.0.1:99999' has no valid port: write host:1 to "
                 "host:65535");
    expect_error("state_dir: var/lib\n",
                 "c.yaml:1:12: state_dir 'var/lib' is not an absolute path");
    expect_error("control_socket: x.sock\n",
                 "c.yaml:1:17: control_socket 'x.sock' is not an absolute path");
}

static void test_types(void **state)
{
    struct config c = {0};
    struct tm_err err = {0};
    static const char *const wrong[] = {
        "max_agents: many\n", "max_agents: 0\n",     "insecure: yes\n",    "tls: on\n",
        "tls: {ca: /x}\n",    "log_level: louder\n", "- a\n- list\n",      "listen: [a]\n",
        "a: b\n---\nc: d\n",  "listen: \x80\n",      "max_agents: 4097\n",
    };

    (void)state;
    for (size_t i = 0; i < TM_ARRAY_LEN(wrong); i++) {
        err.msg[0] = '\0';
        if (config_parse("c.yaml", slice_str(wrong[i]), &c, NULL, &err) == 0)
            fail_msg("accepted: %s", wrong[i]);
        if (strncmp(err.msg, "c.yaml:", 7) != 0)
            fail_msg("no position in '%s'", err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
