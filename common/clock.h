#ifndef TM_COMMON_CLOCK_H
#define TM_COMMON_CLOCK_H
/*
 * Clocks, and times and durations as text.
 *
 * Two kinds of time, both int64_t microseconds: `real_us` counts from 1970-01-01T00:00:00Z and may
 * jump; `mono_us` counts from an arbitrary start, never goes back, and is meaningful only inside
 * one process life (it includes suspended time). Pure code (brains) receives both as arguments and
 * never calls clock_*.
 *
 * Text is strict: what does not match the form exactly is refused with a message that says where.
 * All functions are thread safe.
 */
#include <stdint.h>
#include <time.h>

#include "common/err.h"

#define USEC_PER_MSEC INT64_C(1000)
#define USEC_PER_SEC  INT64_C(1000000)
#define USEC_PER_MIN  (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MIN)
#define USEC_PER_DAY  (24 * USEC_PER_HOUR)

#define CLOCK_TEXT_MAX    40 /* room for any formatted time or duration, with NUL */
#define CLOCK_REAL_MIN_US (-INT64_C(62135596800000000)) /* 0001-01-01T00:00:00Z */
#define CLOCK_REAL_MAX_US INT64_C(253402300799999999)   /* 9999-12-31T23:59:59.999999Z */

int64_t clock_real_us(void);
int64_t clock_mono_us(void);
/* `us` from now by that clock: the deadline of a timed wait. */
struct timespec clock_after(clockid_t clock, int64_t us);

/* "2026-11-21T09:54:01.000123Z", always with six digits of fraction. Outside year 1 to 9999 the
 * nearest bound is written. Returns `text`, which has CLOCK_TEXT_MAX bytes. */
char *clock_format(int64_t real_us, char *text);

/* RFC 3339: 2026-11-21T09:54:01[.digits](Z|±hh:mm); 't', 'z' and a space for 'T' are accepted;
 * digits beyond microseconds are cut. The offset is required. */
int clock_parse(const char *text, int64_t *ret_real_us, struct tm_err *err) TM_WUR;

/* "72h30m", "1.5h", "10m", "250ms", "7d", "1w", "0": decimal numbers with a unit each, added up.
 * Units: w d h m s ms us µs ns. Not negative; at most 10,000 days. */
int duration_parse(const char *text, int64_t *ret_us, struct tm_err *err) TM_WUR;

/* Shortest exact form that duration_parse reads back: "72h30m", "7d", "1.5s" → "1s500ms", "0s".
 * Returns `text`, which has CLOCK_TEXT_MAX bytes. */
char *duration_format(int64_t us, char *text);

/* For people, two steps of precision at most: "850ms", "6.9s", "3m12s", "2h05m", "3d04h". Returns
 * `text`, which has CLOCK_TEXT_MAX bytes. */
char *duration_format_brief(int64_t us, char *text);

#endif
