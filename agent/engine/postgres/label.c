/*
 * Line by line, strictly: a label that does not say where to start, or says it twice, is refused,
 * because a server started with a wrong label corrupts data silently. Unknown lines are skipped:
 * newer versions add some.
 */
#include "agent/engine/postgres/label.h"

#include <stdio.h>
#include <time.h>

#include "agent/engine/postgres/wal.h"

/* ---- backup_label ---- */

struct line {
    char text[LABEL_TEXT_MAX + 64];
};

/* The next line without its end; false at the end of the text. Longer lines are cut. */
static bool line_next(struct slice *rest, struct line *ret)
{
    if (rest->len == 0)
        return false;
    const uint8_t *nl = memchr(rest->data, '\n', rest->len);
    size_t len = nl != NULL ? (size_t)(nl - rest->data) : rest->len;
    size_t copy = TM_MIN(len, sizeof(ret->text) - 1);
    memcpy(ret->text, rest->data, copy);
    ret->text[copy] = '\0';
    size_t used = nl != NULL ? len + 1 : len;
    rest->data += used;
    rest->len -= used;
    return true;
}

static const char *value_of(const char *line, const char *key)
{
    size_t len = strlen(key);
    return strncmp(line, key, len) == 0 ? line + len : NULL;
}

/* "0/2000028 (file 000000010000000000000002)" */
static bool start_location(const char *value, struct label *out)
{
    size_t len = out->start_lsn == 0 ? pg_lsn_prefix(value, &out->start_lsn) : 0;
    if (len == 0 || out->start_lsn == 0)
        return false;
    const char *file = value_of(value + len, " (file ");
    if (file == NULL || strlen(file) != LABEL_SEGMENT_MAX || file[24] != ')' ||
        strspn(file, "0123456789ABCDEF") != 24)
        return false;
    memcpy(out->start_segment, file, 24);
    out->start_segment[24] = '\0';
    return true;
}

static bool checkpoint_location(const char *value, struct label *out)
{
    size_t len = out->checkpoint_lsn == 0 ? pg_lsn_prefix(value, &out->checkpoint_lsn) : 0;
    return len > 0 && value[len] == '\0';
}

static bool start_timeline(const char *value, struct label *out)
{
    uint64_t number = 0;
    size_t n = strspn(value, "0123456789");
    if (n == 0 || n > 10 || value[n] != '\0')
        return false;
    for (size_t k = 0; k < n; k++)
        number = number * 10 + (uint64_t)(value[k] - '0');
    if (number == 0 || number > UINT32_MAX)
        return false;
    out->start_timeline = (uint32_t)number;
    return true;
}

static bool label_line(const char *line, struct label *out)
{
    const char *value;
    if ((value = value_of(line, "START WAL LOCATION: ")) != NULL)
        return start_location(value, out);
    if ((value = value_of(line, "CHECKPOINT LOCATION: ")) != NULL)
        return checkpoint_location(value, out);
    if ((value = value_of(line, "START TIMELINE: ")) != NULL)
        return start_timeline(value, out);
    if ((value = value_of(line, "BACKUP METHOD: ")) != NULL)
        out->streamed = strcmp(value, "streamed") == 0;
    else if ((value = value_of(line, "BACKUP FROM: ")) != NULL)
        out->from_standby = strcmp(value, "standby") == 0;
    else if ((value = value_of(line, "LABEL: ")) != NULL)
        (void)snprintf(out->text, sizeof(out->text), "%.*s", LABEL_TEXT_MAX - 1, value);
    else if (value_of(line, "INCREMENTAL FROM ") != NULL)
        out->incremental = true;
    return true;
}

int label_parse(struct slice text, struct label *ret_label, struct tm_err *err)
{
    struct label out = {0};
    struct line line;
    while (line_next(&text, &line)) {
        if (!label_line(line.text, &out))
            return tm_err_set(err, TM_E_CORRUPT,
                              "backup_label has a line that makes no sense: '%.80s'", line.text);
    }
    if (out.start_lsn == 0 || out.checkpoint_lsn == 0)
        return tm_err_set(err, TM_E_CORRUPT, "backup_label does not say where the log starts");
    if (out.checkpoint_lsn < out.start_lsn)
        return tm_err_set(err, TM_E_CORRUPT, "backup_label has its checkpoint before its start");
    *ret_label = out;
    return 0;
}

int label_write(const struct label *label, uint32_t wal_segment_bytes, int64_t start_us,
                const char *text, struct buf *out, struct tm_err *err)
{
    char start[PG_LSN_TEXT_MAX], checkpoint[PG_LSN_TEXT_MAX], segment[PG_WAL_NAME_MAX], when[64];
    const time_t start_s = (time_t)(start_us / 1000000);
    struct tm utc;
    if (!gmtime_r(&start_s, &utc) || strftime(when, sizeof(when), "%F %T UTC", &utc) == 0)
        return tm_err_set(err, TM_E_INVALID, "backup_label: impossible start time");
    /* the server scans it line by line, in this order */
    return buf_printf(
        out, err,
        "START WAL LOCATION: %s (file %s)\n"
        "CHECKPOINT LOCATION: %s\n"
        "BACKUP METHOD: pg_rewind\n"
        "BACKUP FROM: standby\n"
        "START TIME: %s\n"
        "LABEL: %.*s\n"
        "START TIMELINE: %u\n",
        pg_lsn_format(label->start_lsn, start),
        pg_wal_segment_name(label->start_timeline, label->start_lsn, wal_segment_bytes, segment),
        pg_lsn_format(label->checkpoint_lsn, checkpoint), when, (int)strcspn(text, "\n"), text,
        label->start_timeline);
}

/* ---- tablespace_map ---- */

/* One entry: "16384 /path\n", where \\ and \n in the path are escaped with a backslash. */
static bool map_entry(struct slice *rest, struct tablespace_link *out)
{
    uint64_t oid = 0;
    size_t at = 0;
    while (at < rest->len && at < 10 && rest->data[at] >= '0' && rest->data[at] <= '9')
        oid = oid * 10 + (uint64_t)(rest->data[at++] - '0');
    if (at == 0 || oid == 0 || oid > UINT32_MAX || at >= rest->len || rest->data[at] != ' ')
        return false;
    at++;
    size_t len = 0;
    for (; at < rest->len && rest->data[at] != '\n'; at++) {
        uint8_t c = rest->data[at];
        if (c == '\\') {
            if (++at >= rest->len)
                return false;
            c = rest->data[at];
        }
        if (c == '\0' || len + 1 >= sizeof(out->path))
            return false;
        out->path[len++] = (char)c;
    }
    out->path[len] = '\0';
    out->oid = (uint32_t)oid;
    if (at < rest->len)
        at++;
    rest->data += at;
    rest->len -= at;
    return len > 0;
}

int tablespace_map_parse(struct slice text, tablespace_link_fn fn, void *arg, struct tm_err *err)
{
    struct tablespace_link link;
    unsigned count = 0;
    while (text.len > 0) {
        if (text.data[0] == '\n') {
            text.data++;
            text.len--;
            continue;
        }
        if (!map_entry(&text, &link))
            return tm_err_set(err, TM_E_CORRUPT, "tablespace_map: entry %u makes no sense",
                              count + 1);
        if (link.path[0] != '/')
            return tm_err_set(err, TM_E_CORRUPT, "tablespace_map: '%.200s' is not an absolute path",
                              link.path);
        if (++count > TABLESPACES_MAX)
            return tm_err_set(err, TM_E_LIMIT, "tablespace_map has more than %d entries",
                              TABLESPACES_MAX);
        int rc = fn(arg, &link, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}
