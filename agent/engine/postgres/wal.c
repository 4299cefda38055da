/* Arithmetic on log positions. Nothing here fails but parsing, which is strict. */
#include "agent/engine/postgres/wal.h"

#include <stdio.h>

#include "common/hash.h"

char *pg_lsn_format(uint64_t lsn, char *text)
{
    snprintf(text, PG_LSN_TEXT_MAX, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    return text;
}

/* Up to 8 hex digits; returns how many. */
static size_t parse_half(const char *text, uint32_t *ret)
{
    uint32_t value = 0;
    size_t len = 0;
    for (; len < 8 && hex_value(text[len]) >= 0; len++)
        value = value << 4 | (uint32_t)hex_value(text[len]);
    *ret = value;
    return len;
}

size_t pg_lsn_prefix(const char *text, uint64_t *ret_lsn)
{
    uint32_t high, low;
    size_t len = parse_half(text, &high);
    if (len == 0 || text[len] != '/')
        return 0;
    size_t rest = parse_half(text + len + 1, &low);
    if (rest == 0)
        return 0;
    *ret_lsn = (uint64_t)high << 32 | low;
    return len + 1 + rest;
}

int pg_lsn_parse(const char *text, uint64_t *ret_lsn, struct tm_err *err)
{
    uint64_t lsn;
    size_t len = pg_lsn_prefix(text, &lsn);
    if (len == 0 || text[len] != '\0')
        return tm_err_set(err, TM_E_INVALID, "'%.40s' is not a log position such as 0/3000148",
                          text);
    *ret_lsn = lsn;
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

char *pg_wal_history_name(uint32_t timeline, char *name)
{
    snprintf(name, PG_WAL_NAME_MAX, "%08X.history", timeline);
    return name;
}
