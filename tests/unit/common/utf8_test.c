/* common/utf8 and what stands on it: an error is one line of UTF-8, whatever names it quotes. */
#include "common/err.h"
#include "common/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

static void expect_clean(const char *text, const char *want)
{
    char copy[64];
    assert_true(strlen(text) < sizeof(copy));
    memcpy(copy, text, strlen(text) + 1);
    utf8_clean(copy);
    assert_string_equal(copy, want);
}

static void cleaned(void **state)
{
    (void)state;
    expect_clean("", "");
    expect_clean("plain", "plain");
    expect_clean("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\x8a",
                 "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\x8a");
    expect_clean("a\nb\tc\x7f\x1b[31m", "a?b?c??[31m");
    expect_clean("\xc2\x9b"
                 "31m",
                 "??31m"); /* a control sequence in one character */
    expect_clean("bad\xff\xfe.", "bad??.");
    expect_clean("\xc3(", "?(");
    expect_clean("\xed\xa0\x80.", "???."); /* half of a surrogate pair */
    expect_clean("cut\xe2\x82", "cut");
    expect_clean("cut\xf0", "cut");
    expect_clean("not cut\x80", "not cut?");
}

static void errors(void **state)
{
    (void)state;
    struct tm_err err;
    char euros[TM_ERR_MSG_MAX + 8] = "";
    (void)tm_err_set(&err, TM_E_IO, "'%s' is odd", "a\xff\nb");
    assert_string_equal(err.msg, "'a??b' is odd");
    (void)tm_err_prefix(&err, "in '%s'", "\x1b");
    assert_string_equal(err.msg, "in '?': 'a??b' is odd");
    (void)tm_err_errno(&err, EACCES, "cannot open '%s'", "x\n");
    assert_string_equal(err.msg, "cannot open 'x?': Permission denied");
    while (strlen(euros) < TM_ERR_MSG_MAX)
        memcpy(euros + strlen(euros), "\xe2\x82\xac", 4);
    (void)tm_err_set(&err, TM_E_IO, "%s", euros); /* cut inside the last one: it goes */
    assert_int_equal(strlen(err.msg), (TM_ERR_MSG_MAX - 1) / 3 * 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cleaned), cmocka_unit_test(errors)};
    return cmocka_run_group_tests_name("common/utf8", tests, NULL, NULL);
}
