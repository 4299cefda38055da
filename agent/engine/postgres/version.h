#ifndef TM_AGENT_ENGINE_POSTGRES_VERSION_H
#define TM_AGENT_ENGINE_POSTGRES_VERSION_H
/*
 * What differs between the supported major versions of PostgreSQL, in one constant table. Nothing
 * else in this room compares version numbers.
 *
 * version_num is the server's own number: 150018 is 15.18.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define PG_MAJOR_MIN 13
#define PG_MAJOR_MAX 18

struct pg_version {
    uint32_t major;
    uint32_t control_version; /* pg_control_version */
    uint32_t catalog_version; /* catversion of the release: PG_<major>_<catalog_version> */
    uint16_t wal_page_magic;
    uint16_t control_crc_offset; /* where the CRC lies in pg_control */
    bool has_summaries;          /* pg_wal/summaries */
    unsigned twophase_digits;    /* of a name in pg_twophase */
    bool resume_proven;          /* tests show that a snapshot may go on in another session */
    const char *start_sql;       /* $1 label, $2 fast → lsn text */
    const char *stop_sql;        /* → lsn text, label, tablespace map */
    const char *start_function;  /* for a GRANT */
    const char *stop_function;
};

/* NULL when the major version is not supported. */
const struct pg_version *pg_version_find(uint32_t major);

/* As pg_version_find, with a sentence that says what is supported. */
int pg_version_require(uint32_t version_num, const struct pg_version **ret,
                       struct tm_err *err) TM_WUR;

#define PG_VERSION_TEXT_MAX 32
/* 150018 → "15.18"; returns `text`, which has PG_VERSION_TEXT_MAX bytes. */
char *pg_version_format(uint32_t version_num, char *text);

/* "PG_15_202209061": the directory of this version inside a tablespace. */
char *pg_version_tablespace_dir(uint32_t major, uint32_t catalog_version, char *text);

#endif
