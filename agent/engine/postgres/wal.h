#ifndef TM_AGENT_ENGINE_POSTGRES_WAL_H
#define TM_AGENT_ENGINE_POSTGRES_WAL_H
/*
 * Positions in the write-ahead log and the names of its files; pure arithmetic.
 *
 * An LSN is a byte position. As text it is "16/B374D848". An engine_position of this engine holds
 * the LSN as 8 big-endian bytes and as text. A segment's boundaries are computed here, never asked
 * of the server: pg_walfile_name changed its mind about them in version 17.
 */
#include <stdbool.h>
#include <stdint.h>

#include "agent/engine/engine.h"

#define PG_LSN_TEXT_MAX    18 /* "FFFFFFFF/FFFFFFFF" and NUL */
#define PG_WAL_NAME_MAX    32 /* 24 digits, ".history" or ".partial", NUL */
#define PG_WAL_SEGMENT_MIN (1u << 20)
#define PG_WAL_SEGMENT_MAX (1u << 30)
#define PG_EPOCH_US        INT64_C(946684800000000) /* 2000-01-01T00:00:00Z */

/* Returns `text`, which has PG_LSN_TEXT_MAX bytes. */
char *pg_lsn_format(uint64_t lsn, char *text);
/* "hex/hex", at most 8 digits each, at the start of `text`: its length, or 0. */
size_t pg_lsn_prefix(const char *text, uint64_t *ret_lsn);
/* Exactly "hex/hex", nothing behind it. */
int pg_lsn_parse(const char *text, uint64_t *ret_lsn, struct tm_err *err) TM_WUR;

/* LSN <-> engine position. */
void pg_position_set(struct engine_position *position, uint64_t lsn);
int pg_position_get(const struct engine_position *position, uint64_t *ret_lsn) TM_WUR; /* 0, -1 */

static inline uint64_t pg_wal_segment_start(uint64_t lsn, uint32_t segment_bytes)
{
    return lsn - lsn % segment_bytes;
}

/* A power of two between 1 MiB and 1 GiB. */
bool pg_wal_segment_bytes_valid(uint32_t segment_bytes);

/* "000000010000000000000003": the segment that holds the byte at `lsn`. Returns `name`, which has
 * PG_WAL_NAME_MAX bytes. */
char *pg_wal_segment_name(uint32_t timeline, uint64_t lsn, uint32_t segment_bytes, char *name);
/* "00000002.history" */
char *pg_wal_history_name(uint32_t timeline, char *name);

#endif
