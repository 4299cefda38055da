/*
 * Points in time and log as operators write them, and as agents are told.
 *
 * A TSO is TiDB's timestamp: milliseconds since 1970 shifted left by 18 bits. It is told from a time
 * by being digits alone, a position by its slash. One from before 2000 is none: somebody wrote a year
 * or a date without separators.
 */
#include "common/clock.h"
#include "common/parse.h"
#include "proto/spec/spec.h"

#define TSO_LOGICAL_BITS 18
#define TSO_MIN          (UINT64_C(946684800000) << TSO_LOGICAL_BITS)

/* PostgreSQL's form, the only one there is: two halves of a 64-bit number. */
static bool is_position(const char *text)
{
    size_t high = strspn(text, "0123456789abcdefABCDEF");
    if (high < 1 || high > 8 || text[high] != '/')
        return false;
    size_t low = strspn(text + high + 1, "0123456789abcdefABCDEF");
    return low >= 1 && low <= 8 && text[high + 1 + low] == '\0';
}

/* "2018-05-11 01:42:23" is UTC, "2018-05-11 01:42:23+0800" lacks the colon that RFC 3339 wants. */
static int parse_tidb(const char *text, int64_t *ret_us, struct tm_err *err)
{
    char whole[MOMENT_TEXT_MAX];
    size_t len = strlen(text);
    bool zoned = len > 5 && (text[len - 5] == '+' || text[len - 5] == '-') &&
                 strspn(text + len - 4, "0123456789") == 4 && strchr(text, ':') != NULL;
    if (len >= sizeof(whole) - 1)
        return tm_err_set(err, TM_E_INVALID, "'%s' is too long for a time", text);
    if (zoned)
        (void)snprintf(whole, sizeof(whole), "%.*s:%s", (int)(len - 2), text, text + len - 2);
    else
        (void)snprintf(whole, sizeof(whole), "%sZ", text);
    return clock_parse(whole, ret_us, err);
}

int moment_parse(const char *text, struct moment *ret, struct tm_err *err)
{
    struct moment moment = {0};
    uint64_t tso;
    struct tm_err why;
    if (is_position(text)) {
        moment.is_position = true;
        (void)snprintf(moment.position, sizeof(moment.position), "%s", text);
    } else if (parse_u64(text, &tso, &why) == 0 && tso >= TSO_MIN) {
        moment.time_us = (int64_t)(tso >> TSO_LOGICAL_BITS) * USEC_PER_MSEC;
    } else if (clock_parse(text, &moment.time_us, &why) < 0 &&
               parse_tidb(text, &moment.time_us, &why) < 0) {
        return tm_err_set(err, TM_E_INVALID,
                          "'%s' is no time (2026-11-21T10:00:00Z), position (0/3000148) or TSO",
                          text);
    }
    *ret = moment;
    return 0;
}

char *moment_text(const struct moment *moment, char *text)
{
    if (moment->is_position)
        (void)snprintf(text, MOMENT_TEXT_MAX, "%s", moment->position);
    else
        (void)clock_format(moment->time_us, text);
    return text;
}

/* What does not parse was never accepted; it is handed on for the agent to refuse. */
static char *moment_target(const char *given, char *text, size_t size)
{
    struct moment moment;
    struct tm_err ignored;
    char one[MOMENT_TEXT_MAX];
    if (moment_parse(given, &moment, &ignored) < 0)
        (void)snprintf(text, size, "%s", given);
    else
        (void)snprintf(text, size, "%s:%s", moment.is_position ? "position" : "time",
                       moment_text(&moment, one));
    return text;
}

char *restore_target_text(const struct restore_spec *restore, char *text, size_t size)
{
    const struct restore_target *target = &restore->target;
    if (target->time != NULL)
        return moment_target(target->time, text, size);
    if (target->position != NULL)
        return moment_target(target->position, text, size);
    if (target->xid != NULL)
        (void)snprintf(text, size, "xid:%s", target->xid);
    else if (target->name != NULL)
        (void)snprintf(text, size, "name:%s", target->name);
    else if (restore->pitr_restored_ts != NULL)
        return moment_target(restore->pitr_restored_ts, text, size);
    else if (restore->mode == RESTORE_MODE_PITR && !target->immediate)
        (void)snprintf(text, size, "latest");
    else
        (void)snprintf(text, size, "immediate");
    return text;
}
