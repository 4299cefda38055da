/*
 * Sizes as text. A decimal number is kept as digits and a power of ten, so "1.5GiB" is exact and
 * "0.3KiB" (307.2 bytes) is refused instead of rounded.
 */
#include "common/size.h"

struct unit {
    const char *name;
    uint64_t bytes;
};

static const struct unit units[] = {
    {"B", 1},
    {"KiB", KIB},
    {"Ki", KIB},
    {"MiB", MIB},
    {"Mi", MIB},
    {"GiB", GIB},
    {"Gi", GIB},
    {"TiB", TIB},
    {"Ti", TIB},
    {"PiB", TIB * 1024},
    {"Pi", TIB * 1024},
    {"kB", 1000},
    {"KB", 1000},
    {"MB", UINT64_C(1000000)},
    {"GB", UINT64_C(1000000000)},
    {"TB", UINT64_C(1000000000000)},
    {"PB", UINT64_C(1000000000000000)},
};

static const struct unit exact_units[] = {
    {"PiB", TIB * 1024}, {"TiB", TIB}, {"GiB", GIB}, {"MiB", MIB}, {"KiB", KIB}};

static int unit_find(const char *name, const char *text, uint64_t *ret_bytes, struct tm_err *err)
{
    if (name[0] == '\0') {
        *ret_bytes = 1;
        return 0;
    }
    for (size_t n = 0; n < TM_ARRAY_LEN(units); n++)
        if (strcmp(name, units[n].name) == 0) {
            *ret_bytes = units[n].bytes;
            return 0;
        }
    for (size_t n = 0; n < TM_ARRAY_LEN(units); n++)
        if (strcasecmp(name, units[n].name) == 0)
            return tm_err_set(err, TM_E_INVALID,
                              "'%s' is not a size: unknown unit '%s', write '%s'", text, name,
                              units[n].name);
    return tm_err_set(
        err, TM_E_INVALID,
        "'%s' is not a size: unknown unit '%s' (known: B KiB MiB GiB TiB PiB kB MB GB "
        "TB PB)",
        text, name);
}

int size_parse(const char *text, uint64_t *ret_bytes, struct tm_err *err)
{
    uint64_t digits = 0;
    uint64_t divisor = 1;
    bool point = false;
    bool any = false;
    const char *p = text;
    for (; (*p >= '0' && *p <= '9') || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        if (__builtin_mul_overflow(digits, 10, &digits) ||
            __builtin_add_overflow(digits, (uint64_t)(*p - '0'), &digits) ||
            (point && __builtin_mul_overflow(divisor, 10, &divisor)))
            return tm_err_set(err, TM_E_INVALID, "'%s' is not a size: too many digits", text);
    }
    if (!any || (point && p[-1] == '.'))
        return tm_err_set(err, TM_E_INVALID,
                          "'%s' is not a size: write a number and a unit, as in 128MiB", text);
    while (*p == ' ')
        p++;

    uint64_t unit = 0;
    int r = unit_find(p, text, &unit, err);
    if (r < 0)
        return r;
    __uint128_t bytes = (__uint128_t)digits * unit;
    if (bytes % divisor != 0)
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a whole number of bytes", text);
    bytes /= divisor;
    if (bytes > UINT64_MAX)
        return tm_err_set(err, TM_E_INVALID, "'%s' is too large", text);
    *ret_bytes = (uint64_t)bytes;
    return 0;
}

char *size_format(uint64_t bytes, char *text)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(exact_units); n++) {
        uint64_t unit = exact_units[n].bytes;
        if (bytes < unit)
            continue;
        uint64_t whole = bytes / unit;
        uint64_t tenth = (uint64_t)((__uint128_t)(bytes % unit) * 10 / unit);
        (void)snprintf(text, SIZE_TEXT_MAX, "%llu.%llu %s", (unsigned long long)whole,
                       (unsigned long long)tenth, exact_units[n].name);
        return text;
    }
    (void)snprintf(text, SIZE_TEXT_MAX, "%llu B", (unsigned long long)bytes);
    return text;
}

char *size_format_exact(uint64_t bytes, char *text)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(exact_units); n++)
        if (bytes != 0 && bytes % exact_units[n].bytes == 0) {
            (void)snprintf(text, SIZE_TEXT_MAX, "%llu%s",
                           (unsigned long long)(bytes / exact_units[n].bytes), exact_units[n].name);
            return text;
        }
    (void)snprintf(text, SIZE_TEXT_MAX, "%llu", (unsigned long long)bytes);
    return text;
}
