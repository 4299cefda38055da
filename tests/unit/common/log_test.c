/* What a line looks like, and that peer data cannot forge one. */
#include "common/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/fd.h"

static struct log lg;
static int reader = -1;

static int setup(void **state)
{
    (void)state;
    struct tm_err err;
    int pair[2];
    if (fd_socketpair(true, pair, &err) < 0)
        return -1;
    log_init(&lg, "tidemark-agent", LOG_INFO);
    lg.target = LOG_TARGET_PREFIXED;
    lg.fd = pair[0];
    reader = pair[1];
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    closep(&lg.fd);
    closep(&reader);
    return 0;
}

static void expect_line(const char *want)
{
    char got[LOG_LINE_MAX + 256] = "";
    ssize_t n = read(reader, got, sizeof(got) - 1);
    assert_true(n >= 0 || want[0] == '\0');
    assert_string_equal(got, want);
}

static void lines(void **state)
{
    (void)state;
    log_info(&lg, NULL, "hello %d", 5);
    expect_line("<6>tidemark-agent: hello 5\n");
    struct log_ctx ctx = {.cluster = "demo1", .tenant = "main", .node = "db-a", .job = "j1"};
    log_error(&lg, &ctx, "it broke");
    expect_line("<3>tidemark-agent: [demo1/main db-a job j1] it broke\n");
    struct log_ctx node = {.node = "db-a"};
    log_event(&lg, &node, LOG_EVENT_RUNNER_DIED, LOG_WARNING, "x");
    expect_line("<4>tidemark-agent: [db-a] x\n");
    struct log_ctx job = {.job = "j1", .cluster = ""};
    log_notice(&lg, &job, "x");
    expect_line("<5>tidemark-agent: [job j1] x\n");
    log_debug(&lg, NULL, "not shown");
    expect_line("");
}

static void lines_cannot_be_forged(void **state)
{
    (void)state;
    log_info(&lg, NULL, "%s", "a\n<0>root: b\x1b[31m\x7f");
    expect_line("<6>tidemark-agent: a?<0>root: b?[31m?\n");
    char big[LOG_LINE_MAX * 2];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    log_info(&lg, NULL, "%s", big);
    char got[LOG_LINE_MAX + 256] = "";
    assert_int_equal(read(reader, got, sizeof(got)), LOG_LINE_MAX - 1 + 19 + 1);
}

static void priorities(void **state)
{
    (void)state;
    struct tm_err err;
    int priority = -1;
    assert_int_equal(log_priority_parse("Warn", &priority, &err), 0);
    assert_int_equal(priority, LOG_WARNING);
    assert_int_equal(log_priority_parse("loud", &priority, &err), -TM_E_INVALID);
    assert_string_equal(err.msg,
                        "unknown log level 'loud' (known: error, warning, notice, info, debug)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_cannot_be_forged, setup, teardown),
        cmocka_unit_test(priorities),
    };
    return cmocka_run_group_tests_name("common/log", tests, NULL, NULL);
}
