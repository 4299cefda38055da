/*
 * Happy path: the connection is made and used without ever blocking in libpq: each step says
 * whether it wants to read or write, and we poll for that, for the cancel descriptor, and for the
 * deadline.
 *
 * Failure modes: nobody listens, or the login is refused (the server's words, with the place, not
 * the conninfo); the connection breaks (UNAVAILABLE, retryable); the deadline passes or another
 * thread cancels: the server is then told to stop the statement, and the connection is not used
 * again.
 */
#include "agent/engine/postgres/conn.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "common/clock.h"

#define WHERE_MAX    256
#define SQLSTATE_MAX 6
#define PQ_ERROR_MAX 300

struct pg_conn {
    PGconn *pq;
    int cancel_fd;
    _Atomic bool canceled;
    bool broken; /* a statement was given up: nothing more may be sent */
    char where[WHERE_MAX];
    char sqlstate[SQLSTATE_MAX];
};

enum wait_end { WAIT_READY, WAIT_CANCELED, WAIT_TIMEOUT, WAIT_FAILED };

/* deadline_us 0 = none */
static enum wait_end wait_socket(const struct pg_conn *conn, short events, int64_t deadline_us)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = PQsocket(conn->pq), .events = events},
                                {.fd = conn->cancel_fd, .events = POLLIN}};
        int timeout_ms = -1;
        if (deadline_us > 0) {
            int64_t left_us = deadline_us - clock_mono_us();
            timeout_ms = left_us <= 0 ? 0 : (int)(left_us / USEC_PER_MSEC) + 1;
        }
        int n = poll(fds, 2, timeout_ms);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return WAIT_FAILED;
        if (fds[1].revents != 0)
            return WAIT_CANCELED;
        if (fds[0].revents != 0)
            return WAIT_READY;
        if (n == 0)
            return WAIT_TIMEOUT;
    }
}

static int64_t deadline_after(unsigned timeout_ms)
{
    return timeout_ms == 0 ? 0 : clock_mono_us() + (int64_t)timeout_ms * USEC_PER_MSEC;
}

/* libpq's words on one line, without its final newline. */
static char *flatten(const char *text, char out[PQ_ERROR_MAX])
{
    size_t len = 0;
    for (; *text && len + 1 < PQ_ERROR_MAX; text++)
        if (*text != '\n' && *text != '\t')
            out[len++] = *text;
        else if (text[1] && len > 0 && out[len - 1] != ' ')
            out[len++] = ' ';
    out[len] = '\0';
    return out;
}

static int canceled_error(struct tm_err *err)
{
    return tm_err_set(err, TM_E_CANCELED, "canceled while waiting for PostgreSQL");
}

/* ---- connecting ---- */

static int connect_error(struct pg_conn *conn, struct tm_err *err)
{
    char text[PQ_ERROR_MAX];
    flatten(PQerrorMessage(conn->pq), text);
    /* libpq keeps no SQLSTATE of a refused connection; its words are the server's own. "password
     * authentication failed" and "no pg_hba.conf entry" do not heal by trying again. */
    bool refused = strstr(text, "authentication failed") || strstr(text, "pg_hba.conf") ||
                   strstr(text, "does not exist") || strstr(text, "must be superuser") ||
                   strstr(text, "no password supplied") || strstr(text, "permission denied") ||
                   strstr(text, "not permitted to log in");
    if (refused)
        return tm_err_set(err, TM_E_PERMISSION, "PostgreSQL refused the connection: %s", text);
    return tm_err_retry(err, TM_E_UNAVAILABLE, "cannot connect to PostgreSQL: %s", text);
}

static int check_conninfo(const char *conninfo, struct tm_err *err)
{
    char text[PQ_ERROR_MAX];
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &message);
    if (options) {
        PQconninfoFree(options);
        return 0;
    }
    if (!message)
        return tm_err_oom(err);
    int r = tm_err_set(err, TM_E_INVALID, "cannot use the conninfo: %s", flatten(message, text));
    PQfreemem(message);
    return r;
}

static int finish_connecting(struct pg_conn *conn, struct tm_err *err)
{
    int64_t deadline = deadline_after(PG_CONNECT_TIMEOUT_MS);
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        if (status == PGRES_POLLING_FAILED)
            return connect_error(conn, err);
        switch (wait_socket(conn, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline)) {
        case WAIT_READY:
            break;
        case WAIT_CANCELED:
            return canceled_error(err);
        case WAIT_TIMEOUT:
            return tm_err_retry(err, TM_E_UNAVAILABLE,
                                "cannot connect to PostgreSQL: no answer within %u s",
                                PG_CONNECT_TIMEOUT_MS / 1000);
        case WAIT_FAILED:
            return tm_err_errno(err, errno, "cannot wait for PostgreSQL");
        }
        status = PQconnectPoll(conn->pq);
    }
    return 0;
}

static const char *or_default(const char *text, const char *fallback)
{
    return text && *text ? text : fallback;
}

static void remember_where(struct pg_conn *conn)
{
    snprintf(conn->where, sizeof(conn->where), "user '%s' at '%s:%s'",
             or_default(PQuser(conn->pq), "?"), or_default(PQhost(conn->pq), "localhost"),
             or_default(PQport(conn->pq), "5432"));
}

static void ignore_notice(void *arg, const PGresult *result)
{
    /* libpq would print them */
    (void)arg;
    (void)result;
}

/* search_path: nobody's functions may stand before the server's own. No limit of the role or of the
 * database may end what runs for hours. */
static int prepare_sql(struct pg_conn *conn, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    return pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                         "SET search_path = pg_catalog; SET statement_timeout = 0; "
                         "SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
                         "SET datestyle = 'ISO'; SET timezone = 'UTC'",
                         NULL, 0, &result, err);
}

int pg_conn_open(const char *conninfo, enum pg_conn_kind kind, struct pg_conn **ret,
                 struct tm_err *err)
{
    /* words behind dbname win over those in it; the fallback name yields to the conninfo's */
    const bool replication = kind == PG_CONN_REPLICATION;
    const char *const keywords[] = {"fallback_application_name", "dbname",
                                    replication ? "replication" : NULL, NULL};
    const char *const values[] = {PG_APPLICATION_NAME, conninfo, replication ? "true" : NULL, NULL};
    int r = check_conninfo(conninfo, err);
    if (r < 0)
        return r;
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = calloc(1, sizeof(*conn));
    if (!conn)
        return tm_err_oom(err);
    conn->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (conn->cancel_fd < 0)
        return tm_err_errno(err, errno, "cannot create an eventfd");
    conn->pq = PQconnectStartParams(keywords, values, 1);
    if (!conn->pq)
        return tm_err_oom(err);
    if (PQstatus(conn->pq) == CONNECTION_BAD)
        return connect_error(conn, err);
    PQsetNoticeReceiver(conn->pq, ignore_notice, NULL);
    r = finish_connecting(conn, err);
    if (r < 0)
        return r;
    remember_where(conn);
    if (!replication)
        r = prepare_sql(conn, err);
    if (r < 0)
        return r;
    *ret = TM_TAKE(conn);
    return 0;
}

void pg_conn_close(struct pg_conn *conn)
{
    if (!conn)
        return;
    PQfinish(conn->pq);
    closep(&conn->cancel_fd);
    free(conn);
}

void pg_conn_cancel(struct pg_conn *conn)
{
    atomic_store(&conn->canceled, true);
    uint64_t one = 1;
    while (write(conn->cancel_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* ---- statements ---- */

static int broken_error(struct pg_conn *conn, struct tm_err *err)
{
    char text[PQ_ERROR_MAX];
    conn->broken = true;
    return tm_err_retry(err, TM_E_UNAVAILABLE, "lost the connection to PostgreSQL: %s",
                        flatten(PQerrorMessage(conn->pq), text));
}

/* Asks the server to stop what it does for us. Blocks as long as a connect to it does. */
static void tell_server_to_stop(struct pg_conn *conn)
{
    char text[PQ_ERROR_MAX];
    PGcancel *cancel = PQgetCancel(conn->pq);
    if (cancel) {
        (void)PQcancel(cancel, text, (int)sizeof(text));
        PQfreeCancel(cancel);
    }
    conn->broken = true;
}

static int give_up(struct pg_conn *conn, enum wait_end why, unsigned timeout_ms, struct tm_err *err)
{
    if (why == WAIT_FAILED)
        return tm_err_errno(err, errno, "cannot wait for PostgreSQL");
    tell_server_to_stop(conn);
    if (why == WAIT_CANCELED)
        return canceled_error(err);
    return tm_err_retry(err, TM_E_UNAVAILABLE, "PostgreSQL did not answer within %u s",
                        timeout_ms / 1000);
}

static int flush_out(struct pg_conn *conn, unsigned timeout_ms, int64_t deadline,
                     struct tm_err *err)
{
    int left;
    while ((left = PQflush(conn->pq)) == 1) {
        enum wait_end end = wait_socket(conn, POLLIN | POLLOUT, deadline);
        if (end != WAIT_READY)
            return give_up(conn, end, timeout_ms, err);
        if (!PQconsumeInput(conn->pq))
            return broken_error(conn, err);
    }
    return left < 0 ? broken_error(conn, err) : 0;
}

/* All results of the statement are read; the last that is not NULL counts. */
static int collect(struct pg_conn *conn, unsigned timeout_ms, int64_t deadline, PGresult **ret,
                   struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *last = NULL;
    for (;;) {
        while (PQisBusy(conn->pq)) {
            enum wait_end end = wait_socket(conn, POLLIN, deadline);
            if (end != WAIT_READY)
                return give_up(conn, end, timeout_ms, err);
            if (!PQconsumeInput(conn->pq))
                return broken_error(conn, err);
        }
        PGresult *result = PQgetResult(conn->pq);
        if (!result)
            break;
        ExecStatusType status = PQresultStatus(result);
        PQclear(last);
        last = result;
        if (status == PGRES_COPY_BOTH || status == PGRES_COPY_OUT || status == PGRES_COPY_IN)
            break; /* the caller takes it from here */
    }
    if (!last)
        return broken_error(conn, err);
    *ret = TM_TAKE(last);
    return 0;
}

static int result_error(struct pg_conn *conn, const PGresult *result, struct tm_err *err)
{
    const char *state = or_default(PQresultErrorField(result, PG_DIAG_SQLSTATE), "");
    const char *message = or_default(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY),
                                     PQresultErrorMessage(result));
    char text[PQ_ERROR_MAX];
    snprintf(conn->sqlstate, sizeof(conn->sqlstate), "%s", state);
    flatten(message, text);
    if (PQstatus(conn->pq) == CONNECTION_BAD)
        return broken_error(conn, err);
    if (strcmp(state, "42501") == 0)
        return tm_err_set(err, TM_E_PERMISSION, "%s", text);
    /* 53: out of resources; 57: operator's intervention; 55: not now */
    if (strncmp(state, "53", 2) == 0 || strncmp(state, "57", 2) == 0 ||
        strncmp(state, "55", 2) == 0)
        return tm_err_retry(err, TM_E_UNAVAILABLE, "%s", text);
    return tm_err_set(err, TM_E_INTERNAL, "PostgreSQL says: %s", text);
}

int pg_conn_query(struct pg_conn *conn, unsigned timeout_ms, const char *sql,
                  const char *const *params, int count, PGresult **ret, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    conn->sqlstate[0] = '\0';
    if (atomic_load(&conn->canceled))
        return canceled_error(err);
    if (conn->broken)
        return tm_err_retry(err, TM_E_UNAVAILABLE, "the connection to PostgreSQL was given up");
    int64_t deadline = deadline_after(timeout_ms);
    int sent = count == 0 ? PQsendQuery(conn->pq, sql)
                          : PQsendQueryParams(conn->pq, sql, count, NULL, params, NULL, NULL, 0);
    if (!sent)
        return broken_error(conn, err);
    int r = flush_out(conn, timeout_ms, deadline, err);
    if (r == 0)
        r = collect(conn, timeout_ms, deadline, &result, err);
    if (r < 0)
        return r;
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_COPY_BOTH:
        *ret = TM_TAKE(result);
        return 0;
    default:
        return result_error(conn, result, err);
    }
}

const char *pg_conn_sqlstate(const struct pg_conn *conn)
{
    return conn->sqlstate;
}

bool pg_conn_usable(const struct pg_conn *conn)
{
    return !conn->broken && !atomic_load(&conn->canceled) && PQstatus(conn->pq) == CONNECTION_OK;
}

PGconn *pg_conn_raw(struct pg_conn *conn)
{
    return conn->pq;
}

uint32_t pg_conn_version(const struct pg_conn *conn)
{
    int version = PQserverVersion(conn->pq);
    return version < 0 ? 0 : (uint32_t)version;
}

const char *pg_conn_where(const struct pg_conn *conn)
{
    return conn->where;
}
