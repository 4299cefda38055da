/* Times and durations: exact forms both ways, exact refusals. */
#include "common/clock.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static void expect_time(const char *text, int64_t want)
{
    struct tm_err err = {0};
    int64_t got = -1;
    if (clock_parse(text, &got, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(got, want);
}

static void expect_no_time(const char *text, const char *message)
{
    struct tm_err err = {0};
    int64_t got = 42;
    assert_int_equal(clock_parse(text, &got, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, message);
    assert_int_equal(got, 42);
}

static void formats(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_MAX];
    assert_string_equal(clock_format(0, text), "1970-01-01T00:00:00.000000Z");
    assert_string_equal(clock_format(-1, text), "1969-12-31T23:59:59.999999Z");
    assert_string_equal(clock_format(INT64_C(951782400000123), text),
                        "2000-02-29T00:00:00.000123Z");
    assert_string_equal(clock_format(CLOCK_REAL_MAX_US, text), "9999-12-31T23:59:59.999999Z");
    assert_string_equal(clock_format(INT64_MAX, text), "9999-12-31T23:59:59.999999Z");
    assert_string_equal(clock_format(CLOCK_REAL_MIN_US, text), "0001-01-01T00:00:00.000000Z");
    assert_string_equal(clock_format(INT64_MIN, text), "0001-01-01T00:00:00.000000Z");
}

static void parses(void **state)
{
    (void)state;
    expect_time("1970-01-01T00:00:00Z", 0);
    expect_time("2000-02-29T00:00:00.000123Z", INT64_C(951782400000123));
    expect_time("2000-02-29 01:00:00.1234567+01:00", INT64_C(951782400123456));
    expect_time("2000-02-28t23:30:00z", INT64_C(951780600000000));
    expect_time("2000-02-28T18:30:00-05:30", INT64_C(951782400000000));
    expect_time("0001-01-01T00:00:00Z", CLOCK_REAL_MIN_US);
    expect_time("9999-12-31T23:59:59.999999Z", CLOCK_REAL_MAX_US);
}

static void refuses(void **state)
{
    (void)state;
    expect_no_time("", "'' is not a time: write it as 2026-11-21T09:54:01Z");
    expect_no_time("yesterday", "'yesterday' is not a time: write it as 2026-11-21T09:54:01Z");
    expect_no_time("2026-11-21", "'2026-11-21' is not a time: write it as 2026-11-21T09:54:01Z");
    expect_no_time("2026-02-29T00:00:00Z",
                   "'2026-02-29T00:00:00Z' is not a time: there is no such day");
    expect_no_time("1900-02-29T00:00:00Z",
                   "'1900-02-29T00:00:00Z' is not a time: there is no such day");
    expect_no_time("2026-13-01T00:00:00Z",
                   "'2026-13-01T00:00:00Z' is not a time: there is no such day");
    expect_no_time("2026-11-21T24:00:00Z",
                   "'2026-11-21T24:00:00Z' is not a time: there is no such time of day");
    expect_no_time(
        "2026-11-21T09:54:01",
        "'2026-11-21T09:54:01' is not a time: the offset is missing, add 'Z' or '+hh:mm'");
    expect_no_time("2026-11-21T09:54:01.Z",
                   "'2026-11-21T09:54:01.Z' is not a time: digits are missing after '.'");
    expect_no_time(
        "2026-11-21T09:54:01Zulu",
        "'2026-11-21T09:54:01Zulu' is not a time: 'ulu' is not an offset, write 'Z' or '+hh:mm'");
}

static void round_trip_of_many_days(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_MAX];
    for (int64_t t = CLOCK_REAL_MIN_US; t < CLOCK_REAL_MAX_US; t += 97 * USEC_PER_DAY + 123456789)
        expect_time(clock_format(t, text), t);
}

static void expect_duration(const char *text, int64_t want, const char *canonical)
{
    struct tm_err err = {0};
    char back[CLOCK_TEXT_MAX];
    int64_t got = -1;
    if (duration_parse(text, &got, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(got, want);
    assert_string_equal(duration_format(got, back), canonical);
}

static void expect_no_duration(const char *text, const char *message)
{
    struct tm_err err = {0};
    int64_t got = 42;
    assert_int_equal(duration_parse(text, &got, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, message);
    assert_int_equal(got, 42);
}

static void durations(void **state)
{
    (void)state;
    expect_duration("0", 0, "0s");
    expect_duration("5s", 5 * USEC_PER_SEC, "5s");
    expect_duration("10m", 10 * USEC_PER_MIN, "10m");
    expect_duration("24h", USEC_PER_DAY, "1d");
    expect_duration("72h30m", 72 * USEC_PER_HOUR + 30 * USEC_PER_MIN, "72h30m");
    expect_duration("7d", 7 * USEC_PER_DAY, "7d");
    expect_duration("1w", 7 * USEC_PER_DAY, "7d");
    expect_duration("1.5h", 90 * USEC_PER_MIN, "1h30m");
    expect_duration("1.5s", 1500 * USEC_PER_MSEC, "1s500ms");
    expect_duration("250ms3us", 250003, "250ms3us");
    expect_duration("7\xc2\xb5s", 7, "7us");
    expect_duration("1500ns", 1, "1us");
    expect_duration("10000d", 10000 * USEC_PER_DAY, "10000d");
}

static void durations_for_people(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_MAX];
    assert_string_equal(duration_format_brief(0, text), "0ms");
    assert_string_equal(duration_format_brief(850999, text), "850ms");
    assert_string_equal(duration_format_brief(6 * USEC_PER_SEC + 851720, text), "6.8s");
    assert_string_equal(duration_format_brief(59999999, text), "59.9s");
    assert_string_equal(duration_format_brief(192 * USEC_PER_SEC, text), "3m12s");
    assert_string_equal(duration_format_brief(125 * USEC_PER_MIN, text), "2h05m");
    assert_string_equal(duration_format_brief(76 * USEC_PER_HOUR, text), "3d04h");
}

static void durations_refused(void **state)
{
    (void)state;
    expect_no_duration("", "'' is not a duration: write numbers with units, as in 72h30m");
    expect_no_duration("h", "'h' is not a duration: write numbers with units, as in 72h30m");
    expect_no_duration("5", "'5' is not a duration: a unit is missing (w d h m s ms us ns)");
    expect_no_duration("-5s", "'-5s' is not a duration: it is negative");
    expect_no_duration("5.s", "'5.s' is not a duration: write numbers with units, as in 72h30m");
    expect_no_duration("5 s",
                       "'5 s' is not a duration: unknown unit at ' s' (known: w d h m s ms us ns)");
    expect_no_duration("3h5x",
                       "'3h5x' is not a duration: unknown unit at 'x' (known: w d h m s ms us ns)");
    expect_no_duration("10001d", "'10001d' is not a duration: more than 10000 days");
    expect_no_duration("99999999999999999999h",
                       "'99999999999999999999h' is not a duration: too long");
}

static void clocks_run(void **state)
{
    (void)state;
    int64_t first = clock_mono_us();
    assert_true(clock_mono_us() >= first);
    assert_true(clock_real_us() > INT64_C(1700000000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),           cmocka_unit_test(parses),
        cmocka_unit_test(refuses),           cmocka_unit_test(round_trip_of_many_days),
        cmocka_unit_test(durations),         cmocka_unit_test(durations_for_people),
        cmocka_unit_test(durations_refused), cmocka_unit_test(clocks_run),
    };
    return cmocka_run_group_tests_name("common/clock", tests, NULL, NULL);
}
