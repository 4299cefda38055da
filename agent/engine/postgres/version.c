/*
 * Happy path: the server says 150018, the table has a row for 15. Anything outside 13 … 18 is
 * refused with the list of what is supported; a version that does not exist yet may keep its data
 * differently, so there is no guessing.
 */
#include "agent/engine/postgres/version.h"

#include <stddef.h>

#define START_13 "SELECT pg_start_backup($1, $2::boolean, false)::text"
#define STOP_13                                                                                    \
    "SELECT lsn::text, labelfile, spcmapfile FROM pg_stop_backup(false, wait_for_archive => "      \
    "false)"
#define START_15 "SELECT pg_backup_start($1, $2::boolean)::text"
#define STOP_15                                                                                    \
    "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(wait_for_archive => false)"
#define START_FN_13 "pg_start_backup(text, boolean, boolean)"
#define STOP_FN_13  "pg_stop_backup(boolean, boolean)"
#define START_FN_15 "pg_backup_start(text, boolean)"
#define STOP_FN_15  "pg_backup_stop(boolean)"

static const struct pg_version versions[] = {
    {13, 1300, 202007201, 0xD106, 288, false, 8, true, START_13, STOP_13, START_FN_13, STOP_FN_13},
    {14, 1300, 202107181, 0xD10D, 288, false, 8, true, START_13, STOP_13, START_FN_13, STOP_FN_13},
    {15, 1300, 202209061, 0xD110, 288, false, 8, true, START_15, STOP_15, START_FN_15, STOP_FN_15},
    {16, 1300, 202307071, 0xD113, 288, false, 8, true, START_15, STOP_15, START_FN_15, STOP_FN_15},
    {17, 1700, 202406281, 0xD116, 288, true, 16, true, START_15, STOP_15, START_FN_15, STOP_FN_15},
    {18, 1800, 202506291, 0xD118, 292, true, 16, true, START_15, STOP_15, START_FN_15, STOP_FN_15},
};

const struct pg_version *pg_version_find(uint32_t major)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(versions); n++)
        if (versions[n].major == major)
            return &versions[n];
    return NULL;
}

int pg_version_require(uint32_t version_num, const struct pg_version **ret, struct tm_err *err)
{
    const struct pg_version *version = pg_version_find(version_num / 10000);
    char text[PG_VERSION_TEXT_MAX];
    if (!version)
        return tm_err_set(err, TM_E_UNSUPPORTED,
                          "PostgreSQL %s is not supported, only versions %d to %d",
                          pg_version_format(version_num, text), PG_MAJOR_MIN, PG_MAJOR_MAX);
    *ret = version;
    return 0;
}

char *pg_version_format(uint32_t version_num, char *text)
{
    /* before 10 the second number was part of the major version; nothing of that age is met */
    snprintf(text, PG_VERSION_TEXT_MAX, "%u.%u", version_num / 10000, version_num % 10000);
    return text;
}

char *pg_version_tablespace_dir(uint32_t major, uint32_t catalog_version, char *text)
{
    snprintf(text, PG_VERSION_TEXT_MAX, "PG_%u_%u", major, catalog_version);
    return text;
}
