#ifndef TM_COMMON_CRON_H
#define TM_COMMON_CRON_H
/*
 * Cron schedules: when next?
 *
 * Five fields "minute hour day-of-month month day-of-week" with lists, ranges, steps and names
 * ("0 2 * * mon-fri", "0/15 * * * *"; 7 is Sunday too; '?' is '*'), or @yearly @annually @monthly
 * @weekly @daily @midnight @hourly, or "@every 6h" (counted from `after`). When day of month and
 * day of week are both restricted either one matches, as cron does. A prefix "CRON_TZ=Zone " or
 * "TZ=Zone " is accepted in place of `zone`.
 *
 * Zones are IANA names ("Europe/Berlin") from the system's database; NULL, "" and "UTC" need none.
 * When clocks go forward, a time that is skipped fires at the moment of the change; when they go
 * back, a time that comes twice fires the first time only. Schedules with '*' hours follow
 * real time through both.
 *
 * Threads: pure for UTC. With another zone, cron_parse and cron_next switch the process's TZ for a
 * moment under a lock of their own; nothing else in the process uses local time or may change the
 * environment, and such calls belong to the loop thread.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define CRON_TEXT_MAX 256
#define CRON_ZONE_MAX 64

struct cron {
    uint64_t minutes; /* bit n: minute n */
    uint32_t hours;
    uint32_t days;    /* bits 1 to 31 */
    uint16_t months;  /* bits 1 to 12 */
    uint8_t weekdays; /* bits 0 (Sunday) to 6 */
    bool any_day;     /* day of month is '*' */
    bool any_weekday;
    bool any_hour;            /* hour is '*' or '*' with a step */
    int64_t every_us;         /* "@every": the other fields are unused; else 0 */
    char zone[CRON_ZONE_MAX]; /* "" is UTC */
};

/* Errors name field and position: "cron '61 * * * *': minute: 61 is not in 0 to 59, at character
 * 1". */
int cron_parse(const char *text, const char *zone, struct cron *ret_cron,
               struct tm_err *err) TM_WUR;

/* The first moment strictly after `after_us`. TM_E_NOT_FOUND when none comes within 8 years
 * ("0 0 31 2 *"). */
int cron_next(const struct cron *cron, int64_t after_us, int64_t *ret_real_us,
              struct tm_err *err) TM_WUR;

#endif
