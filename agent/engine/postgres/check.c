/*
 * Looking at an instance without holding anything.
 *
 * Happy path of check: connect, read the facts, judge them, prove that server and directory belong
 * together, look whether the files can be read, open a replication connection. The first thing that
 * stands in the way is the answer.
 *
 * Happy path of describe: one query; a database that is being dropped, or a size that would take
 * long to find out, costs only the estimate.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/engine/postgres/facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/stream.h"
#include "agent/engine/postgres/wal.h"

#define SIZE_TIMEOUT_SQL "SET statement_timeout = '100ms'"

/* ---- check ---- */

static int check_readable_dir(int root_fd, const char *path, const char *shown, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = openat(root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        return 0;
    return tm_err_errno(err, errno,
                        "cannot read '%s' as user %u: run the agent as the user that owns the data "
                        "directory",
                        shown, (unsigned)geteuid());
}

static int check_files(const struct engine_instance *instance, struct pg_conn *conn,
                       struct tm_err *err)
{
    static const char *const dirs[] = {"global", "base", "pg_wal", "pg_tblspc", "pg_xact"};
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    TM_CLEANUP(closep) int fd = open(instance->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open data_dir '%s'", instance->data_dir);
    int r = 0;
    for (size_t n = 0; r == 0 && n < TM_ARRAY_LEN(dirs); n++)
        r = check_readable_dir(fd, dirs[n], dirs[n], err);
    if (r < 0)
        return tm_err_prefix(err, "data_dir '%s'", instance->data_dir);
    r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                      "SELECT spcname, pg_tablespace_location(oid) FROM pg_tablespace "
                      "WHERE pg_tablespace_location(oid) LIKE '/%'",
                      NULL, 0, &result, err);
    for (int n = 0; r == 0 && n < PQntuples(result); n++) {
        const char *path = PQgetvalue(result, n, 1);
        r = check_readable_dir(AT_FDCWD, path, path, err);
        if (r < 0)
            r = tm_err_prefix(err, "tablespace '%s'", PQgetvalue(result, n, 0));
    }
    return r;
}

static int check_replication(const struct engine_instance *instance, const struct pg_facts *facts,
                             struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    struct pg_identity identity;
    int r = pg_replication_open(instance->conninfo, &conn, &identity, err);
    if (r < 0)
        return r;
    if (identity.system_id != facts->system_id)
        return tm_err_set(err, TM_E_INVALID,
                          "the replication connection reached another server (system identifier "
                          "%llu, not %llu)",
                          (unsigned long long)identity.system_id,
                          (unsigned long long)facts->system_id);
    return 0;
}

int pg_check(const struct engine_instance *instance, struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    struct pg_facts facts;
    struct control_file control;
    int r = pg_conn_open(instance->conninfo, PG_CONN_SQL, &conn, err);
    if (r == 0)
        r = pg_facts_read(conn, &facts, err);
    if (r == 0)
        r = pg_facts_judge(&facts, err);
    if (r == 0)
        r = pg_facts_prove(&facts, instance, conn, &control, err);
    if (r == 0)
        r = check_files(instance, conn, err);
    if (r == 0)
        r = check_replication(instance, &facts, err);
    return r < 0 ? tm_err_prefix(err, "instance '%s'", instance->tenant) : 0;
}

/* ---- describe ---- */

/* A primary's timeline comes from its log position: after a promotion pg_control still shows the
 * old one until the next checkpoint. */
#define DESCRIBE_SQL                                                                               \
    "SELECT rec, (SELECT system_identifier FROM pg_control_system()), "                            \
    "CASE WHEN rec THEN coalesce(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn(), '0/0') "     \
    "ELSE pg_current_wal_flush_lsn() END::text, "                                                  \
    "CASE WHEN rec THEN NULL ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END, "            \
    "(SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) "                                \
    "FROM pg_control_checkpoint() c, pg_control_recovery() r), "                                   \
    "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint, "                                  \
    "(SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size') " /* MiB */           \
    "FROM pg_is_in_recovery() AS rec"

/* Without a bound the slot that holds the log for a backup keeps it until the disk is full. */
#define UNBOUNDED_HOLD                                                                             \
    "max_slot_wal_keep_size is -1: while storage is slow or away, the log held for the backup "    \
    "can "                                                                                         \
    "fill the server's disk; set it to what the disk can spare"

static uint64_t estimate_bytes(struct pg_conn *conn)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    TM_CLEANUP(pg_result_freep) PGresult *set = NULL;
    struct tm_err err = {0};
    if (pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, SIZE_TIMEOUT_SQL, NULL, 0, &set, &err) < 0 ||
        pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                      "SELECT sum(pg_database_size(oid))::bigint FROM pg_database "
                      "WHERE has_database_privilege(oid, 'CONNECT')",
                      NULL, 0, &result, &err) < 0)
        return 0;
    return strtoull(PQgetvalue(result, 0, 0), NULL, 10);
}

static int describe(struct pg_conn *conn, struct engine_description *ret, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    struct engine_description made = {0};
    uint64_t lsn = 0, timeline;
    int r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, DESCRIBE_SQL, NULL, 0, &result, err);
    if (r == 0)
        r = pg_lsn_parse(PQgetvalue(result, 0, 2), &lsn, err);
    if (r < 0)
        return r;
    bool in_recovery = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    made.role = in_recovery ? ENGINE_ROLE_STANDBY : ENGINE_ROLE_PRIMARY;
    /* printed as a signed number, kept as the unsigned one it is */
    snprintf(made.identity, sizeof(made.identity), "%llu",
             (unsigned long long)strtoll(PQgetvalue(result, 0, 1), NULL, 10));
    pg_version_format(pg_conn_version(conn), made.version);
    pg_position_set(&made.position, lsn);
    timeline = PQgetisnull(result, 0, 3) ? strtoull(PQgetvalue(result, 0, 4), NULL, 10)
                                         : strtoull(PQgetvalue(result, 0, 3), NULL, 16);
    snprintf(made.lineage_label, sizeof(made.lineage_label), "%llu", (unsigned long long)timeline);
    made.now_us = strtoll(PQgetvalue(result, 0, 5), NULL, 10);
    int64_t keep_mib = strtoll(PQgetvalue(result, 0, 6), NULL, 10);
    if (keep_mib >= 0)
        made.hold_max_bytes = TM_MAX((uint64_t)keep_mib << 20, UINT64_C(1));
    else
        snprintf(made.warning, sizeof(made.warning), "%s", UNBOUNDED_HOLD);
    made.data_bytes_estimate = estimate_bytes(conn);
    *ret = made;
    return 0;
}

int pg_describe(const struct engine_instance *instance, struct engine_description *ret,
                struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    int r = pg_conn_open(instance->conninfo, PG_CONN_SQL, &conn, err);
    if (r == 0)
        r = describe(conn, ret, err);
    return r < 0 ? tm_err_prefix(err, "instance '%s'", instance->tenant) : 0;
}
