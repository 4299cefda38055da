/*
 * Strict scalars. Digits are read one by one, so overflow is found where it happens and nothing
 * depends on the locale.
 */
#include "common/parse.h"

#include <ctype.h>

static int not_a_number(const char *text, struct tm_err *err)
{
    if (text[0] == '\0')
        return tm_err_set(err, TM_E_INVALID, "a whole number is missing");
    return tm_err_set(err, TM_E_INVALID, "'%s' is not a whole number", text);
}

static int digits_u64(const char *digits, const char *whole, uint64_t *ret_value,
                      struct tm_err *err)
{
    uint64_t value = 0;
    if (digits[0] == '\0')
        return not_a_number(whole, err);
    for (const char *p = digits; *p != '\0'; p++) {
        if (*p < '0' || *p > '9')
            return not_a_number(whole, err);
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return tm_err_set(err, TM_E_INVALID, "'%s' is too large", whole);
    }
    *ret_value = value;
    return 0;
}

int parse_u64(const char *text, uint64_t *ret_value, struct tm_err *err)
{
    return digits_u64(text, text, ret_value, err);
}

int parse_i64(const char *text, int64_t *ret_value, struct tm_err *err)
{
    bool negative = text[0] == '-';
    uint64_t magnitude;
    int r = digits_u64(text + (negative ? 1 : 0), text, &magnitude, err);
    if (r < 0)
        return r;
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (magnitude > limit)
        return tm_err_set(err, TM_E_INVALID, "'%s' is too %s", text, negative ? "small" : "large");
    *ret_value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return 0;
}

int parse_u64_in(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value,
                 struct tm_err *err)
{
    uint64_t value;
    int r = parse_u64(text, &value, err);
    if (r < 0)
        return r;
    if (value < min || value > max)
        return tm_err_set(err, TM_E_INVALID, "%llu is not in %llu to %llu",
                          (unsigned long long)value, (unsigned long long)min,
                          (unsigned long long)max);
    *ret_value = value;
    return 0;
}

int parse_bool(const char *text, bool *ret_value, struct tm_err *err)
{
    static const struct {
        const char *text;
        bool value;
    } hints[] = {{"yes", true},  {"on", true}, {"1", true},    {"no", false},
                 {"off", false}, {"0", false}, {"true", true}, {"false", false}};

    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        *ret_value = text[0] == 't';
        return 0;
    }
    for (size_t n = 0; n < TM_ARRAY_LEN(hints); n++)
        if (strcasecmp(text, hints[n].text) == 0)
            return tm_err_set(err, TM_E_INVALID, "'%s' is not true or false, write %s", text,
                              hints[n].value ? "true" : "false");
    return tm_err_set(err, TM_E_INVALID, "'%s' is not true or false", text);
}
