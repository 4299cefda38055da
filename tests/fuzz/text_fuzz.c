/* Arbitrary text as time, duration, size, number and schedule: refused with a message, or it reads back. */
#include <stdlib.h>

#include "common/clock.h"
#include "common/cron.h"
#include "common/parse.h"
#include "common/size.h"

#define TEXT_MAX 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_time(const char *text)
{
    struct tm_err err = {0};
    char form[CLOCK_TEXT_MAX];
    int64_t time = 0;
    int64_t again = 0;
    if (clock_parse(text, &time, &err) < 0)
        return;
    if (time < CLOCK_REAL_MIN_US || time > CLOCK_REAL_MAX_US)
        return; /* an offset may reach beyond year 1 or 9999 */
    if (clock_parse(clock_format(time, form), &again, &err) < 0 || again != time)
        abort();
}

static void check_duration(const char *text)
{
    struct tm_err err = {0};
    char form[CLOCK_TEXT_MAX];
    int64_t us = 0;
    int64_t again = 0;
    if (duration_parse(text, &us, &err) < 0)
        return;
    if (us < 0 || duration_parse(duration_format(us, form), &again, &err) < 0 || again != us)
        abort();
}

static void check_size(const char *text)
{
    struct tm_err err = {0};
    char form[SIZE_TEXT_MAX];
    uint64_t bytes = 0;
    uint64_t again = 0;
    if (size_parse(text, &bytes, &err) < 0)
        return;
    if (size_parse(size_format_exact(bytes, form), &again, &err) < 0 || again != bytes)
        abort();
    (void)size_format(bytes, form);
}

static void check_cron(const char *text)
{
    struct tm_err err = {0};
    struct cron cron;
    int64_t after = INT64_C(1790000000000000);
    int64_t next = 0;
    /* in UTC only: zones go through the C library's database, which is slow and not ours */
    if (cron_parse(text, "UTC", &cron, &err) < 0 || cron.zone[0] != '\0')
        return;
    if (cron_next(&cron, after, &next, &err) == 0 && next <= after)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tm_err err = {0};
    char text[TEXT_MAX + 1];
    uint64_t u = 0;
    int64_t i = 0;
    bool b = false;
    if (size > TEXT_MAX)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_time(text);
    check_duration(text);
    check_size(text);
    check_cron(text);
    if (parse_u64(text, &u, &err) < 0 && err.msg[0] == '\0')
        abort();
    if (parse_i64(text, &i, &err) < 0 && err.msg[0] == '\0')
        abort();
    (void)!parse_bool(text, &b, &err);
    return 0;
}
