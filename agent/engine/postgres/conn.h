#ifndef TM_AGENT_ENGINE_POSTGRES_CONN_H
#define TM_AGENT_ENGINE_POSTGRES_CONN_H
/*
 * One connection to a PostgreSQL server that never blocks for ever: every call waits on the socket
 * and on a cancel descriptor.
 *
 *     pg_conn_open → pg_conn_query* → pg_conn_close
 *
 * pg_conn_cancel may be called from any thread, at any time between open and close: the call in
 * progress (and every later one) returns TM_E_CANCELED soon. All else belongs to one thread.
 *
 * Errors: TM_E_UNAVAILABLE (retryable) when the server cannot be reached or the connection broke;
 * TM_E_PERMISSION for SQLSTATE 42501 and refused logins; else TM_E_INTERNAL with the server's
 * words. Messages never hold the conninfo, which may carry a password.
 */
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define PG_APPLICATION_NAME   "tidemark"
#define PG_CONNECT_TIMEOUT_MS 10000u
#define PG_QUERY_TIMEOUT_MS   30000u

enum pg_conn_kind { PG_CONN_SQL, PG_CONN_REPLICATION };

struct pg_conn;

int pg_conn_open(const char *conninfo, enum pg_conn_kind kind, struct pg_conn **ret,
                 struct tm_err *err) TM_WUR;
void pg_conn_close(struct pg_conn *conn);
TM_DEFINE_FREEP(struct pg_conn, pg_conn_close)
static inline TM_UNUSED void pg_result_freep(PGresult **result)
{
    PQclear(*result);
    *result = NULL;
}

void pg_conn_cancel(struct pg_conn *conn);

/* Runs one statement; `params` (text, may be NULL when count is 0). timeout_ms 0 = no limit.
 * Rows or not, success is returned; an error of the server is an error here, and its SQLSTATE can
 * be asked for until the next call. */
int pg_conn_query(struct pg_conn *conn, unsigned timeout_ms, const char *sql,
                  const char *const *params, int count, PGresult **ret, struct tm_err *err) TM_WUR;
const char *pg_conn_sqlstate(const struct pg_conn *conn); /* "" when there was none */

/* Whether another statement may work: false once it broke, or a statement was given up. */
bool pg_conn_usable(const struct pg_conn *conn);

/* The bare connection, for COPY; and its number as in "150018". */
PGconn *pg_conn_raw(struct pg_conn *conn);
uint32_t pg_conn_version(const struct pg_conn *conn);
/* "user 'x' at '/run/postgresql:5432'": for messages. Valid until close. */
const char *pg_conn_where(const struct pg_conn *conn);

#endif
