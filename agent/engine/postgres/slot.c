/*
 * Happy path: one statement each.
 *
 * Failure modes: see slot.h. Advancing is clamped silently by the server (to the flushed position,
 * on a standby to the replayed one): what it answers counts, not what was asked for.
 */
#include "agent/engine/postgres/slot.h"

#include <stdio.h>

#include "agent/engine/postgres/wal.h"

static int refused(struct pg_conn *conn, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    char state[8];
    snprintf(state, sizeof(state), "%s", pg_conn_sqlstate(conn));
    if (strcmp(state, "42710") == 0)
        return tm_err_set(err, TM_E_EXISTS, "there is a replication slot of that name");
    const bool slots = strcmp(state, "53400") == 0, rights = strcmp(state, "42501") == 0;
    const bool set_up = strcmp(state, "55000") == 0; /* the server is not, for slots at all */
    struct tm_err ignored;
    if ((!slots && !rights && !set_up) ||
        pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                      "SELECT current_setting('max_replication_slots'), "
                      "quote_ident(current_user), current_setting('wal_level')",
                      NULL, 0, &result, &ignored) < 0)
        return tm_err_prefix(err, "cannot hold the log with a replication slot");
    if (set_up)
        return tm_err_prefix(err, "cannot hold the log (wal_level is %s, max_replication_slots %s)",
                             PQgetvalue(result, 0, 2), PQgetvalue(result, 0, 0));
    if (slots)
        return tm_err_prefix(err, "cannot hold the log (max_replication_slots is %s)",
                             PQgetvalue(result, 0, 0));
    return tm_err_set(err, TM_E_PERMISSION,
                      "cannot hold the log: role %s may not make replication slots; run as a "
                      "superuser: ALTER ROLE %s REPLICATION;",
                      PQgetvalue(result, 0, 1), PQgetvalue(result, 0, 1));
}

int pg_slot_make(struct pg_conn *conn, const char *name, bool temporary, uint64_t *ret_from,
                 struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    const char *const params[] = {name, temporary ? "true" : "false"};
    /* immediately reserved: one that is not keeps nothing, and cannot be advanced */
    int r = pg_conn_query(
        conn, PG_QUERY_TIMEOUT_MS,
        "SELECT lsn::text FROM pg_create_physical_replication_slot($1, true, $2::boolean)", params,
        2, &result, err);
    return r < 0 ? refused(conn, err) : pg_lsn_parse(PQgetvalue(result, 0, 0), ret_from, err);
}

int pg_slot_advance(struct pg_conn *conn, const char *name, uint64_t to, uint64_t *ret_from,
                    struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    char lsn[PG_LSN_TEXT_MAX];
    const char *const params[] = {name, pg_lsn_format(to, lsn)};
    int r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                          "SELECT end_lsn::text FROM pg_replication_slot_advance($1, $2::pg_lsn)",
                          params, 2, &result, err);
    if (r < 0)
        return tm_err_prefix(err, "cannot let go of log before %s", lsn);
    return pg_lsn_parse(PQgetvalue(result, 0, 0), ret_from, err);
}

int pg_slot_look(struct pg_conn *conn, const char *name, struct pg_slot_state *ret,
                 struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    struct pg_slot_state state = {.found = false};
    const char *const params[] = {name};
    int r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                          "SELECT slot_type, temporary, coalesce(restart_lsn, '0/0')::text, "
                          "coalesce(wal_status, 'lost') = 'lost' "
                          "FROM pg_replication_slots WHERE slot_name = $1",
                          params, 1, &result, err);
    if (r < 0)
        return r;
    if (PQntuples(result) == 1) {
        state.found = true;
        state.physical = strcmp(PQgetvalue(result, 0, 0), "physical") == 0;
        state.temporary = PQgetvalue(result, 0, 1)[0] == 't';
        r = pg_lsn_parse(PQgetvalue(result, 0, 2), &state.from, err);
        state.lost = state.from == 0 || PQgetvalue(result, 0, 3)[0] == 't';
    }
    if (r == 0)
        *ret = state;
    return r;
}

int pg_slot_drop(struct pg_conn *conn, const char *name, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    const char *const params[] = {name};
    int r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, "SELECT pg_drop_replication_slot($1)", params,
                          1, &result, err);
    return r < 0 ? tm_err_prefix(err, "cannot drop replication slot '%s'", name) : 0;
}
