/*
 * Happy path: line by line; empty lines and those that begin with '#' say nothing.
 *
 * Failure modes: no number, no position, a timeline that does not grow.
 */
#include "agent/engine/postgres/history.h"

#include "agent/engine/postgres/wal.h"

#define LINE_MAX_BYTES 256 /* what is looked at of one: the reason may be longer */

struct entry {
    uint32_t timeline;
    uint64_t end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* A number, blanks, a position. */
static bool parse_entry(const char *p, struct entry *ret)
{
    uint64_t value = 0;
    size_t digits = 0;
    for (; p[digits] >= '0' && p[digits] <= '9' && digits < 11; digits++)
        value = value * 10 + (uint64_t)(p[digits] - '0');
    if (digits == 0 || value == 0 || value > UINT32_MAX || !is_blank(p[digits]))
        return false;
    p += digits;
    while (is_blank(*p))
        p++;
    ret->timeline = (uint32_t)value;
    return pg_lsn_prefix(p, &ret->end) > 0;
}

/* 1 = the next entry; *line counts lines. */
static int next_entry(struct slice *rest, unsigned *line, struct entry *ret, struct tm_err *err)
{
    while (rest->len > 0) {
        char text[LINE_MAX_BYTES];
        const uint8_t *end = memchr(rest->data, '\n', rest->len);
        size_t len = end ? (size_t)(end - rest->data) : rest->len;
        size_t kept = TM_MIN(len, sizeof(text) - 1);
        memcpy(text, rest->data, kept);
        text[kept] = '\0';
        size_t used = end ? len + 1 : len;
        *rest = slice_of(rest->data + used, rest->len - used);
        ++*line;
        const char *p = text;
        while (is_blank(*p))
            p++;
        if (*p == '\0' || *p == '#')
            continue;
        if (!parse_entry(p, ret))
            return tm_err_set(err, TM_E_CORRUPT, "the timeline history's line %u is malformed",
                              *line);
        return 1;
    }
    return 0;
}

/* The entry of `timeline`, or the last one when that is 0. */
static int find(struct slice history, uint32_t timeline, struct entry *ret, struct tm_err *err)
{
    struct entry entry = {0}, found = {0};
    unsigned line = 0;
    for (;;) {
        uint32_t before = entry.timeline;
        int r = next_entry(&history, &line, &entry, err);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        if (entry.timeline <= before)
            return tm_err_set(err, TM_E_CORRUPT,
                              "the timeline history's line %u: timeline %u follows %u", line,
                              entry.timeline, before);
        if (timeline == 0 || entry.timeline == timeline)
            found = entry;
    }
    if (found.timeline == 0)
        return 0;
    *ret = found;
    return 1;
}

int pg_history_parent(struct slice history, uint32_t *ret_timeline, uint64_t *ret_fork,
                      struct tm_err *err)
{
    struct entry entry;
    int r = find(history, 0, &entry, err);
    if (r == 1) {
        *ret_timeline = entry.timeline;
        *ret_fork = entry.end;
    }
    return r;
}

int pg_history_end_of(struct slice history, uint32_t timeline, uint64_t *ret_end,
                      struct tm_err *err)
{
    struct entry entry;
    int r = timeline == 0 ? 0 : find(history, timeline, &entry, err);
    if (r == 1)
        *ret_end = entry.end;
    return r;
}

int pg_history_ancestor(struct slice history, size_t index, uint32_t *ret_timeline,
                        struct slice *ret_own, struct tm_err *err)
{
    struct slice rest = history;
    struct entry entry = {0};
    unsigned line = 0;
    size_t before = 0;
    int r = 1;
    for (size_t n = 0; r == 1 && n <= index; n++) {
        before = history.len - rest.len;
        r = next_entry(&rest, &line, &entry, err);
    }
    if (r == 1) {
        *ret_timeline = entry.timeline;
        *ret_own = slice_of(history.data, before);
    }
    return r;
}
