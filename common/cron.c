/*
 * Cron. Parsing turns each field into bits. The search walks local calendar days: for each day that
 * matches, every matching minute is turned into a moment, and the smallest one after `after` wins.
 * Clock changes are handled where a local time becomes a moment: there may be none or two.
 *
 * Failure modes of cron_parse: number of fields, a value outside its field, a step of 0, a range
 * that runs backwards, an unknown name, zone or @word. cron_next fails only for days that never
 * come.
 */
#include "common/cron.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/suggest.h"

#define FIELD_COUNT     5
#define SEARCH_MAX_DAYS (8 * 366 + 2) /* 29 February may be 8 years away (2096 to 2104) */
#define MINUTES_PER_DAY 1440
#define ZONEINFO_DIR    "/usr/share/zoneinfo/"

struct field_def {
    const char *title;
    unsigned min;
    unsigned max;
    const char *const *names; /* names[n] stands for min + n */
    size_t name_count;
};

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                          "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static const struct field_def defs[FIELD_COUNT] = {
    {"minute", 0, 59, NULL, 0},
    {"hour", 0, 23, NULL, 0},
    {"day of month", 1, 31, NULL, 0},
    {"month", 1, 12, month_names, TM_ARRAY_LEN(month_names)},
    {"day of week", 0, 7, day_names, TM_ARRAY_LEN(day_names)},
};

static const struct {
    const char *word;
    const char *fields;
} words[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
    {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
    {"@hourly", "0 * * * *"},
};

struct parser {
    const char *text; /* whole, for messages and positions */
    const char *p;
    const struct field_def *def;
    struct tm_err *err;
};

static int field_error(const struct parser *ps, const char *at, const char *what)
{
    return tm_err_set(ps->err, TM_E_INVALID, "cron '%s': %s: %s, at character %zu", ps->text,
                      ps->def->title, what, (size_t)(at - ps->text) + 1);
}

/* A number or a name; *ret within the field's bounds. */
static int parse_value(struct parser *ps, unsigned *ret_value)
{
    char what[96];
    const char *start = ps->p;
    if (isalpha((unsigned char)*ps->p)) {
        size_t len = 0;
        while (isalpha((unsigned char)ps->p[len]))
            len++;
        for (size_t n = 0; n < ps->def->name_count; n++)
            if (len == 3 && strncasecmp(ps->p, ps->def->names[n], 3) == 0) {
                ps->p += len;
                *ret_value = ps->def->min + (unsigned)n;
                return 0;
            }
        (void)snprintf(what, sizeof(what), "unknown name '%.*s'", (int)TM_MIN(len, (size_t)32),
                       start);
        return field_error(ps, start, what);
    }
    if (!isdigit((unsigned char)*ps->p))
        return field_error(ps, start, "a number is missing");
    unsigned value = 0;
    for (; isdigit((unsigned char)*ps->p); ps->p++)
        value = TM_MIN(value * 10 + (unsigned)(*ps->p - '0'), 100000u);
    if (value < ps->def->min || value > ps->def->max) {
        (void)snprintf(what, sizeof(what), "%.*s is not in %u to %u",
                       (int)TM_MIN((size_t)(ps->p - start), (size_t)10), start, ps->def->min,
                       ps->def->max);
        return field_error(ps, start, what);
    }
    *ret_value = value;
    return 0;
}

static int parse_step(struct parser *ps, unsigned *ret_step)
{
    const char *start = ++ps->p; /* behind '/' */
    unsigned step = 0;
    if (!isdigit((unsigned char)*ps->p))
        return field_error(ps, start, "a step is missing after '/'");
    for (; isdigit((unsigned char)*ps->p); ps->p++)
        step = TM_MIN(step * 10 + (unsigned)(*ps->p - '0'), 100000u);
    if (step == 0)
        return field_error(ps, start, "a step of 0");
    if (step > ps->def->max)
        return field_error(ps, start, "a step larger than the field");
    *ret_step = step;
    return 0;
}

/* One item of a list: "*", "5", "1-5", each with an optional "/step"; "5/15" runs from 5 to the
 * end. */
static int parse_item(struct parser *ps, uint64_t *bits, bool *ret_any)
{
    const char *start = ps->p;
    unsigned first = ps->def->min;
    unsigned last = ps->def->max;
    unsigned step = 1;
    bool star = *ps->p == '*' || *ps->p == '?';
    int r = 0;
    if (star) {
        ps->p++;
    } else {
        r = parse_value(ps, &first);
        last = first;
        if (r == 0 && *ps->p == '-') {
            ps->p++;
            r = parse_value(ps, &last);
        } else if (r == 0 && *ps->p == '/') {
            last = ps->def->max;
        }
    }
    if (r == 0 && *ps->p == '/')
        r = parse_step(ps, &step);
    if (r < 0)
        return r;
    if (last < first)
        return field_error(ps, start, "the range runs backwards");
    for (unsigned value = first; value <= last; value += step)
        *bits |= UINT64_C(1) << value;
    *ret_any = *ret_any || star;
    return 0;
}

static int parse_field(struct parser *ps, uint64_t *ret_bits, bool *ret_any)
{
    uint64_t bits = 0;
    bool any = false;
    for (;;) {
        int r = parse_item(ps, &bits, &any);
        if (r < 0)
            return r;
        if (*ps->p != ',')
            break;
        ps->p++;
    }
    if (*ps->p != ' ' && *ps->p != '\t' && *ps->p != '\0') {
        char what[32];
        (void)snprintf(what, sizeof(what), "unexpected '%c'", *ps->p);
        return field_error(ps, ps->p, what);
    }
    *ret_bits = bits;
    *ret_any = any;
    return 0;
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

static int parse_fields(const char *text, const char *fields, struct cron *cron, struct tm_err *err)
{
    uint64_t bits[FIELD_COUNT];
    bool any[FIELD_COUNT];
    struct parser ps = {.text = text, .p = skip_blanks(fields), .err = err};
    for (size_t n = 0; n < FIELD_COUNT; n++) {
        ps.def = &defs[n];
        if (*ps.p == '\0')
            return tm_err_set(
                err, TM_E_INVALID,
                "cron '%s': %zu fields instead of 5 (minute, hour, day of month, month, "
                "day of week)",
                text, n);
        int r = parse_field(&ps, &bits[n], &any[n]);
        if (r < 0)
            return r;
        ps.p = skip_blanks(ps.p);
    }
    if (*ps.p != '\0')
        return tm_err_set(err, TM_E_INVALID, "cron '%s': more than 5 fields, at character %zu",
                          text, (size_t)(ps.p - text) + 1);
    cron->minutes = bits[0];
    cron->hours = (uint32_t)bits[1];
    cron->days = (uint32_t)bits[2];
    cron->months = (uint16_t)bits[3];
    cron->weekdays = (uint8_t)((bits[4] | bits[4] >> 7) & 0x7f);
    cron->any_hour = any[1];
    cron->any_day = any[2];
    cron->any_weekday = any[4];
    return 0;
}

static int parse_every(const char *text, const char *duration, struct cron *cron,
                       struct tm_err *err)
{
    int r = duration_parse(skip_blanks(duration), &cron->every_us, err);
    if (r < 0)
        return tm_err_prefix(err, "cron '%s'", text);
    if (cron->every_us < USEC_PER_SEC)
        return tm_err_set(err, TM_E_INVALID, "cron '%s': less than a second", text);
    return 0;
}

static int parse_word(const char *text, const char *word, struct cron *cron, struct tm_err *err)
{
    struct suggest s;
    if (strncmp(word, "@every", 6) == 0 && (word[6] == ' ' || word[6] == '\t'))
        return parse_every(text, word + 6, cron, err);
    suggest_init(&s, word);
    for (size_t n = 0; n < TM_ARRAY_LEN(words); n++) {
        if (strcmp(word, words[n].word) == 0)
            return parse_fields(words[n].fields, words[n].fields, cron, err);
        suggest_offer(&s, words[n].word);
    }
    if (suggest_best(&s) != NULL)
        return tm_err_set(err, TM_E_INVALID, "cron '%s': unknown word, did you mean '%s'?", text,
                          suggest_best(&s));
    return tm_err_set(err, TM_E_INVALID, "cron '%s': unknown word", text);
}

/* ---- zones ---- */

static bool zone_name_ok(const char *zone)
{
    if (zone[0] == '\0' || zone[0] == '/' || strlen(zone) >= CRON_ZONE_MAX ||
        strstr(zone, "..") != NULL)
        return false;
    for (const char *p = zone; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr("/_+-", *p) == NULL)
            return false;
    return true;
}

static int set_zone(const char *text, const char *zone, struct cron *cron, struct tm_err *err)
{
    if (zone == NULL || zone[0] == '\0' || strcmp(zone, "UTC") == 0 || strcmp(zone, "Etc/UTC") == 0)
        return 0;
    char path[sizeof(ZONEINFO_DIR) + CRON_ZONE_MAX];
    if (!zone_name_ok(zone))
        return tm_err_set(err, TM_E_INVALID, "cron '%s': '%.64s' is not the name of a time zone",
                          text, zone);
    (void)snprintf(path, sizeof(path), ZONEINFO_DIR "%s", zone);
    if (access(path, R_OK) < 0)
        return tm_err_set(
            err, TM_E_INVALID,
            "cron '%s': time zone '%s' is unknown here (names are as in Europe/Berlin; "
            "is package tzdata installed?)",
            text, zone);
    (void)snprintf(cron->zone, sizeof(cron->zone), "%s", zone);
    return 0;
}

/* Takes a "TZ=Zone " prefix off *p. */
static int take_zone_prefix(const char **p, char *ret_zone, const char *text, struct tm_err *err)
{
    ret_zone[0] = '\0';
    size_t skip = strncmp(*p, "CRON_TZ=", 8) == 0 ? 8 : strncmp(*p, "TZ=", 3) == 0 ? 3 : 0;
    if (skip == 0)
        return 0;
    const char *name = *p + skip;
    size_t len = strcspn(name, " \t");
    if (len == 0 || len >= CRON_ZONE_MAX)
        return tm_err_set(err, TM_E_INVALID, "cron '%s': no time zone after '='", text);
    memcpy(ret_zone, name, len);
    ret_zone[len] = '\0';
    *p = skip_blanks(name + len);
    return 0;
}

int cron_parse(const char *text, const char *zone, struct cron *ret_cron, struct tm_err *err)
{
    struct cron cron = {0};
    char prefix_zone[CRON_ZONE_MAX];
    if (strlen(text) > CRON_TEXT_MAX)
        return tm_err_set(err, TM_E_INVALID, "cron text is longer than %d bytes", CRON_TEXT_MAX);
    const char *p = skip_blanks(text);
    int r = take_zone_prefix(&p, prefix_zone, text, err);
    if (r == 0)
        r = set_zone(text, prefix_zone[0] != '\0' ? prefix_zone : zone, &cron, err);
    if (r == 0)
        r = *p == '@' ? parse_word(text, p, &cron, err) : parse_fields(text, p, &cron, err);
    if (r < 0)
        return r;
    *ret_cron = cron;
    return 0;
}

/* ---- search. A local calendar date counts in days since 1970-01-01, as if it were UTC. ---- */

static bool day_matches(const struct cron *cron, const struct tm *date)
{
    bool day = (cron->days >> date->tm_mday & 1) != 0;
    bool weekday = (cron->weekdays >> date->tm_wday & 1) != 0;
    if ((cron->months >> (date->tm_mon + 1) & 1) == 0)
        return false;
    if (cron->any_day || cron->any_weekday)
        return day && weekday;
    return day || weekday;
}

/* The moment of a local time under an assumed DST flag; false when mktime had to shift it. */
static bool moment_of(const struct tm *date, int hour, int minute, int is_dst, time_t *ret_moment)
{
    struct tm local = *date;
    local.tm_hour = hour;
    local.tm_min = minute;
    local.tm_sec = 0;
    local.tm_isdst = is_dst;
    *ret_moment = mktime(&local);
    return local.tm_hour == hour && local.tm_min == minute && local.tm_mday == date->tm_mday;
}

struct search {
    const struct cron *cron;
    time_t after;
    bool found;
    time_t best;
};

static void offer(struct search *s, time_t moment)
{
    if (moment > s->after && (!s->found || moment < s->best)) {
        s->found = true;
        s->best = moment;
    }
}

static void offer_local(struct search *s, const struct tm *date, int hour, int minute)
{
    time_t standard;
    time_t summer;
    bool in_standard = moment_of(date, hour, minute, 0, &standard);
    bool in_summer = moment_of(date, hour, minute, 1, &summer);
    if (in_standard && in_summer) {
        offer(s, TM_MIN(standard, summer));
        if (s->cron->any_hour)
            offer(s, TM_MAX(standard, summer));
    } else if (in_standard) {
        offer(s, standard);
    } else if (in_summer) {
        offer(s, summer);
    } else if (!s->cron->any_hour) {
        /* A skipped time: fires when the clocks change. Under standard time it reads as that much
         * later, so step back to the first minute that shows the new time. */
        struct tm shown;
        (void)localtime_r(&standard, &shown);
        int past_change = (shown.tm_hour - hour) * 60 + shown.tm_min - minute;
        time_t moment = standard;
        for (int n = 0; n < TM_MAX(past_change, 0); n++) {
            time_t before = moment - 60;
            struct tm there;
            (void)localtime_r(&before, &there);
            if (there.tm_isdst != shown.tm_isdst)
                break;
            moment = before;
        }
        offer(s, moment);
    }
}

static void search_day(struct search *s, int64_t day, bool utc)
{
    time_t noon = (time_t)(day * 86400 + 43200);
    struct tm date;
    (void)gmtime_r(&noon, &date);
    if (!day_matches(s->cron, &date))
        return;
    for (int minute = 0; minute < MINUTES_PER_DAY; minute++) {
        if ((s->cron->hours >> (minute / 60) & 1) == 0 ||
            (s->cron->minutes >> (minute % 60) & 1) == 0)
            continue;
        if (utc)
            offer(s, (time_t)(day * 86400 + (int64_t)minute * 60));
        else
            offer_local(s, &date, minute / 60, minute % 60);
        if (utc && s->found)
            return;
    }
}

static int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

static bool search_days(struct search *s, bool utc)
{
    int64_t first = floor_div(s->after, 86400);
    if (!utc) {
        struct tm local;
        (void)localtime_r(&s->after, &local);
        first =
            floor_div((int64_t)timegm(&local), 86400) - 1; /* local date; a day early is harmless */
    }
    for (int64_t day = first; day < first + SEARCH_MAX_DAYS && !s->found; day++)
        search_day(s, day, utc);
    return s->found;
}

/* TZ is never unset again: unsetting moves the environment under readers of other variables. */
static void search_in_zone(struct search *s, const char *zone)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the process has one TZ */
    char before[CRON_ZONE_MAX + 16] = ":/etc/localtime";
    char wanted[CRON_ZONE_MAX + 2];
    (void)snprintf(wanted, sizeof(wanted), ":%s", zone);
    (void)pthread_mutex_lock(&lock);
    const char *now = getenv("TZ");
    if (now != NULL)
        (void)snprintf(before, sizeof(before), "%s", now);
    (void)setenv("TZ", wanted, 1);
    tzset();
    (void)search_days(s, false);
    (void)setenv("TZ", before, 1);
    tzset();
    (void)pthread_mutex_unlock(&lock);
}

int cron_next(const struct cron *cron, int64_t after_us, int64_t *ret_real_us, struct tm_err *err)
{
    if (cron->every_us > 0) {
        *ret_real_us = after_us + cron->every_us;
        return 0;
    }
    struct search s = {.cron = cron, .after = (time_t)floor_div(after_us, USEC_PER_SEC)};
    if (cron->zone[0] == '\0')
        (void)search_days(&s, true);
    else
        search_in_zone(&s, cron->zone);
    if (!s.found)
        return tm_err_set(err, TM_E_NOT_FOUND, "the schedule never comes within 8 years");
    *ret_real_us = (int64_t)s.best * USEC_PER_SEC;
    return 0;
}
