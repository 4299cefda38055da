/*
 * Clocks and time text. Civil dates are computed here (proleptic Gregorian calendar, no leap
 * seconds), so that parsing and formatting are exact, thread safe and free of the locale and TZ.
 */
#include "common/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts = {0};
    (void)clock_gettime(id, &ts); /* cannot fail for these clocks */
    return (int64_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

int64_t clock_real_us(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

struct timespec clock_after(clockid_t clock, int64_t us)
{
    int64_t at_us = read_clock(clock) + us;
    return (struct timespec){.tv_sec = at_us / USEC_PER_SEC,
                             .tv_nsec = at_us % USEC_PER_SEC * 1000};
}

/* Days since 1970-01-01 of a date; years are counted from March so that leap days come last. */
static int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_of_days(int64_t days, int64_t *ret_year, int64_t *ret_month, int64_t *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;
    *ret_day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    *ret_month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

char *clock_format(int64_t real_us, char *text)
{
    real_us = real_us < CLOCK_REAL_MIN_US ? CLOCK_REAL_MIN_US : real_us;
    real_us = real_us > CLOCK_REAL_MAX_US ? CLOCK_REAL_MAX_US : real_us;
    int64_t days = real_us / USEC_PER_DAY;
    int64_t rest = real_us % USEC_PER_DAY;
    if (rest < 0) {
        rest += USEC_PER_DAY;
        days--;
    }
    int64_t year;
    int64_t month;
    int64_t day;
    date_of_days(days, &year, &month, &day);
    (void)snprintf(text, CLOCK_TEXT_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ",
                   (unsigned)year % 10000, (unsigned)month % 100, (unsigned)day % 100,
                   (unsigned)(rest / USEC_PER_HOUR) % 100, (unsigned)(rest / USEC_PER_MIN % 60),
                   (unsigned)(rest / USEC_PER_SEC % 60), (unsigned)(rest % USEC_PER_SEC));
    return text;
}

#define TIME_FORM "write it as 2026-11-21T09:54:01Z"

/* Reads exactly `count` digits at *p and steps over them; -1 when they are not there. */
static int64_t fixed_digits(const char **p, size_t count)
{
    int64_t value = 0;
    for (size_t n = 0; n < count; n++, (*p)++) {
        if (**p < '0' || **p > '9')
            return -1;
        value = value * 10 + (**p - '0');
    }
    return value;
}

/* Reads digits followed by `separator` (any of its characters). */
static int64_t digits_then(const char **p, size_t count, const char *separator)
{
    int64_t value = fixed_digits(p, count);
    if (value < 0 || **p == '\0' || strchr(separator, **p) == NULL)
        return -1;
    (*p)++;
    return value;
}

static int days_in_month(int64_t year, int64_t month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* ".123456789" → microseconds; no point: 0. */
static bool parse_fraction(const char **p, int64_t *ret_us)
{
    *ret_us = 0;
    if (**p != '.')
        return true;
    (*p)++;
    if (**p < '0' || **p > '9')
        return false;
    int64_t scale = USEC_PER_SEC / 10;
    for (; **p >= '0' && **p <= '9'; (*p)++, scale /= 10)
        *ret_us += (**p - '0') * scale;
    return true;
}

static bool parse_offset(const char **p, int64_t *ret_us)
{
    *ret_us = 0;
    if (**p == 'Z' || **p == 'z') {
        (*p)++;
        return true;
    }
    if (**p != '+' && **p != '-')
        return false;
    int64_t sign = **p == '+' ? 1 : -1;
    (*p)++;
    int64_t hours = digits_then(p, 2, ":");
    int64_t minutes = hours < 0 ? -1 : fixed_digits(p, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return false;
    *ret_us = sign * (hours * USEC_PER_HOUR + minutes * USEC_PER_MIN);
    return true;
}

int clock_parse(const char *text, int64_t *ret_real_us, struct tm_err *err)
{
    const char *p = text;
    int64_t year = digits_then(&p, 4, "-");
    int64_t month = year < 0 ? -1 : digits_then(&p, 2, "-");
    int64_t day = month < 0 ? -1 : digits_then(&p, 2, "Tt ");
    if (day < 0)
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a time: " TIME_FORM, text);
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a time: there is no such day", text);

    int64_t hour = digits_then(&p, 2, ":");
    int64_t minute = hour < 0 ? -1 : digits_then(&p, 2, ":");
    int64_t second = minute < 0 ? -1 : fixed_digits(&p, 2);
    if (second < 0)
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a time: " TIME_FORM, text);
    if (hour > 23 || minute > 59 || second > 59)
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a time: there is no such time of day",
                          text);
    int64_t fraction;
    int64_t offset;
    if (!parse_fraction(&p, &fraction))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a time: digits are missing after '.'",
                          text);
    if (*p == '\0')
        return tm_err_set(err, TM_E_INVALID,
                          "'%s' is not a time: the offset is missing, add 'Z' or '+hh:mm'", text);
    if (!parse_offset(&p, &offset) || *p != '\0')
        return tm_err_set(err, TM_E_INVALID,
                          "'%s' is not a time: '%s' is not an offset, write 'Z' or '+hh:mm'", text,
                          p);
    *ret_real_us = days_of_date(year, month, day) * USEC_PER_DAY + hour * USEC_PER_HOUR +
                   minute * USEC_PER_MIN + second * USEC_PER_SEC + fraction - offset;
    return 0;
}

/* ---- durations ---- */

struct duration_unit {
    const char *name;
    int64_t ns;
};

/* Longer names first where one begins another. */
static const struct duration_unit duration_units[] = {
    {"ms", 1000000},
    {"us", 1000},
    {"\xc2\xb5s", 1000},
    {"\xce\xbcs", 1000},
    {"ns", 1},
    {"w", INT64_C(7) * USEC_PER_DAY * 1000},
    {"d", USEC_PER_DAY * 1000},
    {"h", USEC_PER_HOUR * 1000},
    {"m", USEC_PER_MIN * 1000},
    {"s", USEC_PER_SEC * 1000},
};

#define DURATION_MAX_NS ((__int128)10000 * (__int128)USEC_PER_DAY * 1000)

static const struct duration_unit *duration_unit_at(const char *p)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(duration_units); n++)
        if (strncmp(p, duration_units[n].name, strlen(duration_units[n].name)) == 0)
            return &duration_units[n];
    return NULL;
}

/* One "1.5h": adds to *total. Fractions finer than a nanosecond are cut. */
static int duration_part(const char **p, const char *text, __int128 *total, struct tm_err *err)
{
    int64_t whole = 0;
    __int128 fraction = 0;
    __int128 scale = 1;
    bool any = false;
    for (; **p >= '0' && **p <= '9'; (*p)++, any = true) {
        if (whole > INT64_MAX / 100)
            return tm_err_set(err, TM_E_INVALID, "'%s' is not a duration: too long", text);
        whole = whole * 10 + (**p - '0');
    }
    if (any && **p == '.') {
        (*p)++;
        any = false;
        for (; **p >= '0' && **p <= '9'; (*p)++, any = true)
            if (scale < 1000000000000) {
                fraction = fraction * 10 + (**p - '0');
                scale *= 10;
            }
    }
    if (!any)
        return tm_err_set(err, TM_E_INVALID,
                          "'%s' is not a duration: write numbers with units, as in 72h30m", text);
    const struct duration_unit *unit = duration_unit_at(*p);
    if (unit == NULL && **p == '\0')
        return tm_err_set(err, TM_E_INVALID,
                          "'%s' is not a duration: a unit is missing (w d h m s ms us ns)", text);
    if (unit == NULL)
        return tm_err_set(
            err, TM_E_INVALID,
            "'%s' is not a duration: unknown unit at '%s' (known: w d h m s ms us ns)", text, *p);
    *p += strlen(unit->name);
    *total += (__int128)whole * unit->ns + fraction * (__int128)unit->ns / scale;
    if (*total > DURATION_MAX_NS)
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a duration: more than 10000 days", text);
    return 0;
}

int duration_parse(const char *text, int64_t *ret_us, struct tm_err *err)
{
    if (strcmp(text, "0") == 0) {
        *ret_us = 0;
        return 0;
    }
    if (text[0] == '-')
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a duration: it is negative", text);
    const char *p = text;
    __int128 total_ns = 0;
    do {
        int r = duration_part(&p, text, &total_ns, err);
        if (r < 0)
            return r;
    } while (*p != '\0');
    *ret_us = (int64_t)(total_ns / 1000);
    return 0;
}

char *duration_format(int64_t us, char *text)
{
    static const struct {
        const char *name;
        int64_t us;
    } steps[] = {{"d", USEC_PER_DAY}, {"h", USEC_PER_HOUR},  {"m", USEC_PER_MIN},
                 {"s", USEC_PER_SEC}, {"ms", USEC_PER_MSEC}, {"us", 1}};

    if (us <= 0) {
        (void)snprintf(text, CLOCK_TEXT_MAX, "0s");
        return text;
    }
    size_t used = 0;
    /* whole days only when nothing smaller follows: 72h30m reads better than 3d30m */
    size_t first = us % USEC_PER_DAY == 0 ? 0 : 1;
    for (size_t n = first; n < TM_ARRAY_LEN(steps) && us > 0; n++) {
        int64_t count = us / steps[n].us;
        us %= steps[n].us;
        if (count > 0 && used < CLOCK_TEXT_MAX)
            used += (size_t)snprintf(text + used, CLOCK_TEXT_MAX - used, "%lld%s", (long long)count,
                                     steps[n].name);
    }
    return text;
}

char *duration_format_brief(int64_t us, char *text)
{
    long long ms = us <= 0 ? 0 : us / USEC_PER_MSEC;
    long long s = ms / 1000;
    if (ms < 1000)
        (void)snprintf(text, CLOCK_TEXT_MAX, "%lldms", ms);
    else if (s < 60)
        (void)snprintf(text, CLOCK_TEXT_MAX, "%lld.%llds", s, ms % 1000 / 100);
    else if (s < 3600)
        (void)snprintf(text, CLOCK_TEXT_MAX, "%lldm%02llds", s / 60, s % 60);
    else if (s < 86400)
        (void)snprintf(text, CLOCK_TEXT_MAX, "%lldh%02lldm", s / 3600, s / 60 % 60);
    else
        (void)snprintf(text, CLOCK_TEXT_MAX, "%lldd%02lldh", s / 86400, s / 3600 % 24);
    return text;
}
