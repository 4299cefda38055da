/* agent.yaml: what it becomes, and what is said about mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/daemon/config.h"
#include "common/log.h"

#define BASE                                                                                       \
    "coordinators: [tcp://127.0.0.1:7711]\n"                                                       \
    "cluster: demo1\n"                                                                             \
    "node: db-a\n"

static void expect_error(const char *text, const char *message)
{
    struct agent_config c = {0};
    struct tm_err err = {0};

    assert_true(agent_config_parse("a.yaml", slice_str(text), &c, NULL, &err) < 0);
    assert_string_equal(err.msg, message);
}

static void test_full(void **state)
{
    static const char text[] = BASE "key_file: /etc/tidemark/node.key\n"
                                    "state_dir: /var/lib/tidemark/agent\n"
                                    "instances:\n"
                                    "  - tenant: main\n"
                                    "    engine: postgres\n"
                                    "    data_dir: /var/lib/postgresql/15/main\n"
                                    "    conninfo: \"host=/var/run/postgresql user=postgres\"\n"
                                    "  - {tenant: other, engine: \"null\", data_dir: /n}\n"
                                    "restore_roots: [/srv/restore, /mnt]\n"
                                    "rate_limit: 5MB\n";
    struct agent_config c = {0};
    struct tm_err err = {0};

    (void)state;
    assert_int_equal(agent_config_parse("a.yaml", slice_str(text), &c, NULL, &err), 0);
    assert_int_equal(c.coordinators.count, 1);
    assert_string_equal(((char **)c.coordinators.items)[0], "tcp://127.0.0.1:7711");
    assert_string_equal(c.cluster, "demo1");
    assert_string_equal(c.node, "db-a");
    assert_string_equal(c.key_file, "/etc/tidemark/node.key");
    assert_int_equal(c.instances.count, 2);
    const struct agent_config_instance *items = c.instances.items;
    assert_string_equal(items[0].engine, "postgres");
    assert_string_equal(items[0].conninfo, "host=/var/run/postgresql user=postgres");
    assert_string_equal(items[1].tenant, "other");
    assert_string_equal(items[1].conninfo, "");
    assert_int_equal(c.restore_roots.count, 2);
    assert_string_equal(((char **)c.restore_roots.items)[1], "/mnt");
    assert_int_equal(c.rate_limit_bytes_s, 5000000);
    assert_int_equal(c.log_priority, LOG_INFO);
    agent_config_release(&c);
}

static void test_mistakes(void **state)
{
    (void)state;
    expect_error("cluster: a\n",
                 "a.yaml:1:1: field 'coordinators' of the agent's configuration is missing");
    expect_error(
        BASE "coordinator: x\n",
        "a.yaml:4:1: unknown field 'coordinator' in the agent's configuration, did you mean "
        "'coordinators'?");
    expect_error(BASE "instances:\n  - engine: postgrse\n    data_dir: /x\n",
                 "a.yaml:5:13: there is no engine 'postgrse', only postgres");
    expect_error(BASE "instances:\n  - engine: postgres\n    datadir: /x\n",
                 "a.yaml:6:5: unknown field 'datadir' in an instance, did you mean 'data_dir'?");
    expect_error(BASE "instances:\n  - engine: postgres\n    data_dir: x\n",
                 "a.yaml:6:15: data_dir 'x' is not an absolute path");
    expect_error(
        BASE "instances:\n  - {engine: postgres, data_dir: /x}\n"
             "  - {engine: postgres, data_dir: /y}\n",
        "a.yaml:6:5: tenant 'main' has an instance already; give each its own tenant name");
    expect_error(BASE "restore_roots: [/]\n",
                 "a.yaml:4:17: restore_roots: '/' would allow a restore to go anywhere");
    expect_error(BASE "restore_roots: [srv]\n",
                 "a.yaml:4:17: restore_roots: 'srv' is not an absolute path");
    expect_error(BASE "rate_limit: 5\n",
                 "a.yaml:4:13: rate_limit: 5 bytes a second are less than 64KiB: write a unit, as "
                 "in 50MB, or 0 for no limit");
    expect_error("coordinators: [tcp://10.0.0.1:7711]\ncluster: a\n",
                 "a.yaml:1:16: coordinators: plain 'tcp://10.0.0.1:7711' is not loopback: use "
                 "tls+tcp://, or say insecure: true");
    expect_error("coordinators: [tls+tcp://c1:7711]\ncluster: a\n",
                 "a.yaml:1:16: coordinators: 'tls+tcp://c1:7711' needs tls.ca and tls.cert");
    expect_error("coordinators: [tcp://10.0.0.1:7711]\ncluster: a\ninsecure: true\n",
                 "a.yaml:1:16: coordinators: 'tcp://10.0.0.1:7711' is not loopback, so this node "
                 "needs a key_file");
    expect_error("coordinators: [tcp://127.0.0.1:7711]\ncluster: a/b\n",
                 "a.yaml:2:10: cluster 'a/b' is no name: use letters, digits, '-', '_' and '.'");
}

static void test_node_defaults_to_host(void **state)
{
    struct agent_config c = {0};
    struct tm_err err = {0};

    (void)state;
    assert_int_equal(
        agent_config_parse("a.yaml", slice_str("coordinators: [tcp://localhost:1]\ncluster: a\n"),
                           &c, NULL, &err),
        0);
    assert_true(c.node && c.node[0]);
    assert_int_equal(c.rate_limit_bytes_s, 0);
    assert_null(strchr(c.node, '.'));
    agent_config_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_node_defaults_to_host),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
