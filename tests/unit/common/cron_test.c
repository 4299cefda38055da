/* Cron: when next, around month ends, leap days and clock changes; and what does not parse. */
#include "common/cron.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <unistd.h>

#include "common/clock.h"

static void expect_next(const char *text, const char *zone, const char *after, const char *want)
{
    struct tm_err err = {0};
    struct cron cron;
    int64_t after_us = 0;
    int64_t next_us = 0;
    char got[CLOCK_TEXT_MAX];
    if (cron_parse(text, zone, &cron, &err) < 0 || clock_parse(after, &after_us, &err) < 0 ||
        cron_next(&cron, after_us, &next_us, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(clock_format(next_us, got), want);
}

static void expect_bad(const char *text, const char *zone, const char *message)
{
    struct tm_err err = {0};
    struct cron cron;
    assert_int_equal(cron_parse(text, zone, &cron, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, message);
}

static void in_utc(void **state)
{
    (void)state;
    expect_next("*/15 * * * *", NULL, "2026-11-21T09:54:01Z", "2026-11-21T10:00:00.000000Z");
    expect_next("*/15 * * * *", NULL, "2026-11-21T10:00:00Z", "2026-11-21T10:15:00.000000Z");
    expect_next("0 2 * * *", "UTC", "2026-11-21T02:00:00Z", "2026-11-22T02:00:00.000000Z");
    expect_next("0 2 * * *", "", "2026-12-31T23:59:59.999999Z", "2027-01-01T02:00:00.000000Z");
    expect_next("30 4 1,15 * 5", NULL, "2026-11-02T00:00:00Z", "2026-11-06T04:30:00.000000Z");
    expect_next("0 0 29 2 *", NULL, "2096-03-01T00:00:00Z", "2104-02-29T00:00:00.000000Z");
    expect_next("0 0 * * mon-fri", NULL, "2026-11-21T00:00:00Z", "2026-11-23T00:00:00.000000Z");
    expect_next("0 0 * * 7", NULL, "2026-11-21T00:00:00Z", "2026-11-22T00:00:00.000000Z");
    expect_next("0 0 1 jan ?", NULL, "2026-11-21T00:00:00Z", "2027-01-01T00:00:00.000000Z");
    expect_next("5/20 * * * *", NULL, "2026-11-21T00:26:00Z", "2026-11-21T00:45:00.000000Z");
    expect_next("@daily", NULL, "2026-11-21T09:00:00Z", "2026-11-22T00:00:00.000000Z");
    expect_next("@weekly", NULL, "2026-11-21T09:00:00Z", "2026-11-22T00:00:00.000000Z");
    expect_next("@every 90m", NULL, "2026-11-21T09:00:00.5Z", "2026-11-21T10:30:00.500000Z");
    expect_next("  0   2 *  * * ", NULL, "1969-12-31T00:00:00Z", "1969-12-31T02:00:00.000000Z");
}

static void in_zones(void **state)
{
    (void)state;
    if (access("/usr/share/zoneinfo/Europe/Berlin", R_OK) < 0)
        skip();
    expect_next("0 2 * * *", "Europe/Berlin", "2026-11-21T09:00:00Z",
                "2026-11-22T01:00:00.000000Z");
    expect_next("0 2 * * *", "Europe/Berlin", "2026-07-01T09:00:00Z",
                "2026-07-02T00:00:00.000000Z");
    expect_next("TZ=Asia/Kolkata 0 2 * * *", NULL, "2026-11-21T09:00:00Z",
                "2026-11-21T20:30:00.000000Z");
    expect_next("CRON_TZ=America/New_York @daily", NULL, "2026-11-21T09:00:00Z",
                "2026-11-22T05:00:00.000000Z");
    /* clocks go forward at 02:00 (01:00 UTC): 02:30 does not exist, fires at the change */
    expect_next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
                "2026-03-29T01:00:00.000000Z");
    expect_next("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z",
                "2026-03-30T00:30:00.000000Z");
    expect_next("30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z",
                "2026-03-29T01:30:00.000000Z");
    /* and back at 03:00 (01:00 UTC): 02:30 comes twice, fires the first time */
    expect_next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
                "2026-10-25T00:30:00.000000Z");
    expect_next("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00.000000Z");
    /* hours that are free follow real time: both half hours */
    expect_next("30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00.000000Z");
}

static void never(void **state)
{
    (void)state;
    struct tm_err err;
    struct cron cron;
    int64_t next = 42;
    assert_int_equal(cron_parse("0 0 31 2 *", NULL, &cron, &err), 0);
    assert_int_equal(cron_next(&cron, 0, &next, &err), -TM_E_NOT_FOUND);
    assert_string_equal(err.msg, "the schedule never comes within 8 years");
    assert_int_equal(next, 42);
}

static void refused(void **state)
{
    (void)state;
    expect_bad("61 * * * *", NULL,
               "cron '61 * * * *': minute: 61 is not in 0 to 59, at character 1");
    expect_bad("0 24 * * *", NULL, "cron '0 24 * * *': hour: 24 is not in 0 to 23, at character 3");
    expect_bad("0 0 0 * *", NULL,
               "cron '0 0 0 * *': day of month: 0 is not in 1 to 31, at character 5");
    expect_bad("0 0 * foo *", NULL,
               "cron '0 0 * foo *': month: unknown name 'foo', at character 7");
    expect_bad("0 0 * * 8", NULL,
               "cron '0 0 * * 8': day of week: 8 is not in 0 to 7, at character 9");
    expect_bad("5-1 * * * *", NULL,
               "cron '5-1 * * * *': minute: the range runs backwards, at character 1");
    expect_bad("*/0 * * * *", NULL, "cron '*/0 * * * *': minute: a step of 0, at character 3");
    expect_bad("*/ * * * *", NULL,
               "cron '*/ * * * *': minute: a step is missing after '/', at character 3");
    expect_bad("1,,2 * * * *", NULL,
               "cron '1,,2 * * * *': minute: a number is missing, at character 3");
    expect_bad("1x * * * *", NULL, "cron '1x * * * *': minute: unexpected 'x', at character 2");
    expect_bad(
        "* * * *", NULL,
        "cron '* * * *': 4 fields instead of 5 (minute, hour, day of month, month, day of week)");
    expect_bad("* * * * * *", NULL, "cron '* * * * * *': more than 5 fields, at character 11");
    expect_bad("", NULL,
               "cron '': 0 fields instead of 5 (minute, hour, day of month, month, day of week)");
    expect_bad("@dayly", NULL, "cron '@dayly': unknown word, did you mean '@daily'?");
    expect_bad("@never", NULL, "cron '@never': unknown word");
    expect_bad("@every 5", NULL,
               "cron '@every 5': '5' is not a duration: a unit is missing (w d h m s ms us ns)");
    expect_bad("@daily", "Mars/Olympus",
               "cron '@daily': time zone 'Mars/Olympus' is unknown here (names are as in "
               "Europe/Berlin; is package tzdata installed?)");
    expect_bad("@daily", "../../etc/passwd",
               "cron '@daily': '../../etc/passwd' is not the name of a time zone");
    expect_bad("TZ= 0 0 * * *", NULL, "cron 'TZ= 0 0 * * *': no time zone after '='");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_utc),
        cmocka_unit_test(in_zones),
        cmocka_unit_test(never),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("common/cron", tests, NULL, NULL);
}
