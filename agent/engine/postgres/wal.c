/* Arithmetic on log positions. Nothing here fails but parsing, which is strict. */
#include "agent/engine/postgres/wal.h"

#include <stdio.h>

char *pg_lsn_format(uint64_t lsn, char *text)
{
    snprintf(text, PG_LSN_TEXT_MAX, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    return text;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* 1 to 8 hex digits; returns how many, 0 when there is none or there are more. */
static size_t parse_half(const char *text, uint32_t *ret)
{
    uint32_t value = 0;
    size_t len = 0;
    for (; hex_digit(text[len]) >= 0; len++) {
        if (len == 8)
            return 0;
        value = value << 4 | (uint32_t)hex_digit(text[len]);
    }
    *ret = value;
    return len;
}

int pg_lsn_parse(const char *text, uint64_t *ret_lsn, struct tm_err *err)
{
    uint32_t high, low;
    size_t len = parse_half(text, &high);
    if (len == 0 || text[len] != '/')
        return tm_err_set(err, TM_E_INVALID, "'%.40s' is not a log position such as 0/3000148",
                          text);
    const char *rest = text + len + 1;
    len = parse_half(rest, &low);
    if (len == 0 || rest[len] != '\0')
        return tm_err_set(err, TM_E_INVALID, "'%.40s' is not a log position such as 0/3000148",
                          text);
    *ret_lsn = (uint64_t)high << 32 | low;
    return 0;
}

void pg_position_set(struct engine_position *position, uint64_t lsn)
{
    *position = (struct engine_position){.len = 8};
    be64_put(position->bytes, lsn);
    (void)pg_lsn_format(lsn, position->text);
}

int pg_position_get(const struct engine_position *position, uint64_t *ret_lsn)
{
    if (position->len != 8)
        return -TM_E_INVALID;
    *ret_lsn = be64_get(position->bytes);
    return 0;
}

bool pg_wal_segment_bytes_valid(uint32_t segment_bytes)
{
    return segment_bytes >= PG_WAL_SEGMENT_MIN && segment_bytes <= PG_WAL_SEGMENT_MAX &&
           (segment_bytes & (segment_bytes - 1)) == 0;
}

char *pg_wal_segment_name(uint32_t timeline, uint64_t lsn, uint32_t segment_bytes, char *name)
{
    uint64_t segment = lsn / segment_bytes;
    uint64_t per_id = (UINT64_C(1) << 32) / segment_bytes;
    snprintf(name, PG_WAL_NAME_MAX, "%08X%08X%08X", timeline, (unsigned)(segment / per_id),
             (unsigned)(segment % per_id));
    return name;
}

bool pg_wal_segment_parse(const char *name, uint32_t segment_bytes, uint32_t *ret_timeline,
                          uint64_t *ret_start_lsn)
{
    uint32_t part[3];
    for (size_t n = 0; n < 24; n++) {
        int digit = hex_digit(name[n]);
        if (digit < 0 || (name[n] >= 'a' && name[n] <= 'f'))
            return false;
        part[n / 8] = (n % 8 ? part[n / 8] << 4 : 0) | (uint32_t)digit;
    }
    uint64_t per_id = (UINT64_C(1) << 32) / segment_bytes;
    if (name[24] != '\0' || part[0] == 0 || part[2] >= per_id)
        return false;
    *ret_timeline = part[0];
    *ret_start_lsn = ((uint64_t)part[1] * per_id + part[2]) * segment_bytes;
    return true;
}

char *pg_wal_history_name(uint32_t timeline, char *name)
{
    snprintf(name, PG_WAL_NAME_MAX, "%08X.history", timeline);
    return name;
}
