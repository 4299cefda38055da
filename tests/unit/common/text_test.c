/* The small text readers: whole numbers, booleans, sizes, suggestions. */
#include "common/parse.h"
#include "common/size.h"
#include "common/suggest.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static void whole_numbers(void **state)
{
    (void)state;
    struct tm_err err;
    uint64_t u = 0;
    int64_t i = 0;
    assert_int_equal(parse_u64("18446744073709551615", &u, &err), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(parse_i64("-9223372036854775808", &i, &err), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(parse_i64("9223372036854775807", &i, &err), 0);
    assert_true(i == INT64_MAX);
}

static void expect_u64_error(const char *text, const char *message)
{
    struct tm_err err;
    uint64_t value = 42;
    assert_int_equal(parse_u64(text, &value, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, message);
    assert_int_equal(value, 42);
}

static void whole_numbers_refused(void **state)
{
    (void)state;
    struct tm_err err;
    uint64_t u = 0;
    int64_t i = 0;
    expect_u64_error("", "a whole number is missing");
    expect_u64_error("12x", "'12x' is not a whole number");
    expect_u64_error(" 1", "' 1' is not a whole number");
    expect_u64_error("+1", "'+1' is not a whole number");
    expect_u64_error("-1", "'-1' is not a whole number");
    expect_u64_error("18446744073709551616", "'18446744073709551616' is too large");
    assert_int_equal(parse_i64("-9223372036854775809", &i, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "'-9223372036854775809' is too small");
    assert_int_equal(parse_i64("-", &i, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "'-' is not a whole number");
    assert_int_equal(parse_u64_in("70000", 1, 65535, &u, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "70000 is not in 1 to 65535");
}

static void booleans(void **state)
{
    (void)state;
    struct tm_err err;
    bool value = false;
    assert_int_equal(parse_bool("true", &value, &err), 0);
    assert_true(value);
    assert_int_equal(parse_bool("false", &value, &err), 0);
    assert_false(value);
    assert_int_equal(parse_bool("Yes", &value, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "'Yes' is not true or false, write true");
    assert_int_equal(parse_bool("maybe", &value, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "'maybe' is not true or false");
}

static void expect_size(const char *text, uint64_t want)
{
    struct tm_err err;
    uint64_t got = 0;
    if (size_parse(text, &got, &err) < 0)
        fail_msg("%s", err.msg);
    assert_true(got == want);
}

static void expect_no_size(const char *text, const char *message)
{
    struct tm_err err;
    uint64_t got = 42;
    assert_int_equal(size_parse(text, &got, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, message);
    assert_int_equal(got, 42);
}

static void sizes(void **state)
{
    (void)state;
    expect_size("5", 5);
    expect_size("0", 0);
    expect_size("128MiB", 128 * MIB);
    expect_size("128 MiB", 128 * MIB);
    expect_size("10MB", 10000000);
    expect_size("1.5GiB", GIB + GIB / 2);
    expect_size("2Gi", 2 * GIB);
    expect_size("0.5KiB", 512);
    expect_size("18446744073709551615B", UINT64_MAX);
    expect_no_size("", "'' is not a size: write a number and a unit, as in 128MiB");
    expect_no_size("MiB", "'MiB' is not a size: write a number and a unit, as in 128MiB");
    expect_no_size("1.", "'1.' is not a size: write a number and a unit, as in 128MiB");
    expect_no_size("-1", "'-1' is not a size: write a number and a unit, as in 128MiB");
    expect_no_size("128mib", "'128mib' is not a size: unknown unit 'mib', write 'MiB'");
    expect_no_size("5 parsecs", "'5 parsecs' is not a size: unknown unit 'parsecs' (known: B KiB "
                                "MiB GiB TiB PiB kB MB GB TB PB)");
    expect_no_size("0.3KiB", "'0.3KiB' is not a whole number of bytes");
    expect_no_size("99999PiB", "'99999PiB' is too large");
    expect_no_size("99999999999999999999", "'99999999999999999999' is not a size: too many digits");
}

static void sizes_as_text(void **state)
{
    (void)state;
    char text[SIZE_TEXT_MAX];
    assert_string_equal(size_format(0, text), "0 B");
    assert_string_equal(size_format(1023, text), "1023 B");
    assert_string_equal(size_format(1024, text), "1.0 KiB");
    assert_string_equal(size_format(MIB + MIB / 2, text), "1.5 MiB");
    assert_string_equal(size_format(2 * GIB - 1, text), "1.9 GiB");
    assert_string_equal(size_format(UINT64_MAX, text), "16383.9 PiB");
    assert_string_equal(size_format_exact(128 * MIB, text), "128MiB");
    assert_string_equal(size_format_exact(1025, text), "1025");
    assert_string_equal(size_format_exact(0, text), "0");
}

static void suggestions(void **state)
{
    (void)state;
    static const char *const names[] = {"bucket", "prefix", "endpoint", "secretName",
                                        "concurrency"};
    assert_string_equal(suggest_from("bukcet", names, 5), "bucket");
    assert_string_equal(suggest_from("Bucket", names, 5), "bucket");
    assert_string_equal(suggest_from("secret_name", names, 5), "secretName");
    assert_string_equal(suggest_from("concurency", names, 5), "concurrency");
    assert_string_equal(suggest_from("conc", names, 5), "concurrency");
    assert_null(suggest_from("zzz", names, 5));
    assert_null(suggest_from("", names, 5));
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    assert_int_equal(suggest_distance("ab", "ba"), 1);
    assert_int_equal(suggest_distance("", "abc"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers), cmocka_unit_test(whole_numbers_refused),
        cmocka_unit_test(booleans),      cmocka_unit_test(sizes),
        cmocka_unit_test(sizes_as_text), cmocka_unit_test(suggestions),
    };
    return cmocka_run_group_tests_name("common/text", tests, NULL, NULL);
}
