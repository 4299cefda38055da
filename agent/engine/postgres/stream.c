/*
 * The log, by physical replication.
 *
 * Happy path: a replication connection is opened, proven to be the right cluster, and told to
 * start; then each CopyData message is handed on as it came, one at a time, while status replies
 * keep the server from thinking that we are gone.
 *
 * Failure modes: no wal sender left, or no pg_hba.conf entry for replication (says which setting);
 * another cluster; the log was removed already; the connection breaks or falls silent (UNAVAILABLE,
 * retryable: the caller opens again where it stands); a gap or a malformed message (CORRUPT); the
 * timeline ends (an event, no error).
 *
 * Status replies claim a write position only. A wal sender whose flush position is invalid can
 * never be chosen as a synchronous standby, not even by synchronous_standby_names = '*': commits
 * never wait for a backup.
 */
#include "agent/engine/postgres/stream.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/wal.h"
#include "common/clock.h"

#define DATA_HEADER     25 /* 'w', start, end, time */
#define KEEPALIVE_BYTES 18 /* 'k', end, time, reply wanted */
#define STATUS_BYTES    34
#define STATUS_EVERY_US (10 * USEC_PER_SEC)
#define ASK_AFTER_US    (30 * USEC_PER_SEC) /* of silence: ask for a sign of life */
#define DEAD_AFTER_US   (60 * USEC_PER_SEC)

struct engine_log {
    struct pg_conn *conn;
    char *message; /* libpq's; what the last event's data points into */
    uint64_t at;   /* where the next byte must come from */
    uint64_t flushed;
    int64_t source_us;
    int64_t heard_us;  /* when the server last said anything */
    int64_t status_us; /* when we last did */
    bool ended;
};

TM_DEFINE_FREEP(struct engine_log, pg_log_close)

/* ---- opening ---- */

int pg_replication_open(const char *conninfo, struct pg_conn **ret,
                        struct pg_identity *ret_identity, struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r = pg_conn_open(conninfo, PG_CONN_REPLICATION, &conn, err);
    if (r < 0 && strstr(err->msg, "max_wal_senders"))
        return tm_err_prefix(err, "cannot stream the log: no wal sender is free, raise "
                                  "max_wal_senders");
    if (r < 0 && strstr(err->msg, "pg_hba.conf"))
        return tm_err_prefix(err, "cannot stream the log: pg_hba.conf needs a line for database "
                                  "'replication'");
    if (r == 0)
        r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, "IDENTIFY_SYSTEM", NULL, 0, &result, err);
    if (r < 0)
        return tm_err_prefix(err, "cannot stream the log");
    if (PQntuples(result) != 1 || PQnfields(result) < 3)
        return tm_err_set(err, TM_E_INTERNAL, "PostgreSQL does not identify its system");
    struct pg_identity identity = {
        .system_id = strtoull(PQgetvalue(result, 0, 0), NULL, 10),
        .timeline = (uint32_t)strtoul(PQgetvalue(result, 0, 1), NULL, 10),
    };
    r = pg_lsn_parse(PQgetvalue(result, 0, 2), &identity.flushed, err);
    if (r < 0)
        return r;
    *ret = TM_TAKE(conn);
    *ret_identity = identity;
    return 0;
}

static int start(struct engine_log *log, uint32_t timeline, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    char sql[96], lsn[PG_LSN_TEXT_MAX];
    snprintf(sql, sizeof(sql), "START_REPLICATION PHYSICAL %s TIMELINE %u",
             pg_lsn_format(log->at, lsn), timeline);
    int r = pg_conn_query(log->conn, PG_QUERY_TIMEOUT_MS, sql, NULL, 0, &result, err);
    if (r < 0)
        return tm_err_prefix(err, "cannot stream the log from %s", lsn);
    if (PQresultStatus(result) != PGRES_COPY_BOTH) /* nothing of that timeline is left to send */
        log->ended = true;
    return 0;
}

int pg_log_open(const struct engine_instance *instance, struct slice blob, uint64_t from,
                struct engine_log **ret, struct tm_err *err)
{
    struct pg_log_facts facts;
    TM_CLEANUP(pg_log_closep) struct engine_log *log = calloc(1, sizeof(*log));
    struct pg_identity identity = {0};
    if (!log)
        return tm_err_oom(err);
    int r = pg_log_facts_decode(blob, &facts, err);
    if (r == 0)
        r = pg_replication_open(instance->conninfo, &log->conn, &identity, err);
    if (r < 0)
        return tm_err_prefix(err, "instance '%s'", instance->tenant);
    if (identity.system_id != facts.system_id)
        return tm_err_set(
            err, TM_E_CONFLICT,
            "instance '%s': the server has system identifier %llu, the log is that of "
            "%llu",
            instance->tenant, (unsigned long long)identity.system_id,
            (unsigned long long)facts.system_id);
    log->at = from;
    log->flushed = identity.flushed;
    log->heard_us = log->status_us = clock_mono_us();
    r = start(log, facts.timeline, err);
    if (r < 0)
        return tm_err_prefix(err, "instance '%s'", instance->tenant);
    *ret = TM_TAKE(log);
    return 0;
}

void pg_log_close(struct engine_log *log)
{
    if (!log)
        return;
    PQfreemem(log->message);
    pg_conn_close(log->conn);
    free(log);
}

int pg_log_position(const struct engine_position *position, uint64_t *ret_byte)
{
    return pg_position_get(position, ret_byte);
}

/* ---- messages ---- */

static int lost(struct engine_log *log, struct tm_err *err)
{
    char text[200];
    snprintf(text, sizeof(text), "%s", PQerrorMessage(pg_conn_raw(log->conn)));
    text[strcspn(text, "\n")] = '\0';
    return tm_err_retry(err, TM_E_UNAVAILABLE, "lost the log stream: %s",
                        text[0] ? text : "the server closed it");
}

static int send_status(struct engine_log *log, bool want_reply, struct tm_err *err)
{
    PGconn *pq = pg_conn_raw(log->conn);
    uint8_t status[STATUS_BYTES] = {'r'};
    be64_put(status + 1, log->at); /* written; flushed and applied stay 0: see above */
    be64_put(status + 25, (uint64_t)(clock_real_us() - PG_EPOCH_US));
    status[33] = want_reply;
    /* a reply that does not fit the socket's buffer now is flushed by the next call */
    if (PQputCopyData(pq, (const char *)status, sizeof(status)) <= 0 || PQflush(pq) < 0)
        return lost(log, err);
    log->status_us = clock_mono_us();
    return 0;
}

static int take_data(struct engine_log *log, const uint8_t *message, size_t len,
                     struct engine_log_event *ret, struct tm_err *err)
{
    if (len <= DATA_HEADER)
        return tm_err_set(err, TM_E_CORRUPT, "the log stream sent a message of %zu bytes", len);
    uint64_t from = be64_get(message + 1);
    if (from != log->at) {
        char have[PG_LSN_TEXT_MAX], want[PG_LSN_TEXT_MAX];
        return tm_err_set(err, TM_E_CORRUPT, "the log stream jumped to %s, not %s",
                          pg_lsn_format(from, have), pg_lsn_format(log->at, want));
    }
    struct slice data = slice_of(message + DATA_HEADER, len - DATA_HEADER);
    log->at += data.len;
    log->flushed = TM_MAX(log->flushed, TM_MAX(log->at, be64_get(message + 9)));
    log->source_us = (int64_t)be64_get(message + 17) + PG_EPOCH_US;
    *ret = (struct engine_log_event){.kind = ENGINE_LOG_DATA,
                                     .from = from,
                                     .data = data,
                                     .flushed = log->flushed,
                                     .source_us = log->source_us};
    return 0;
}

static int take_keepalive(struct engine_log *log, const uint8_t *message, size_t len,
                          struct engine_log_event *ret, struct tm_err *err)
{
    if (len < KEEPALIVE_BYTES)
        return tm_err_set(err, TM_E_CORRUPT, "the log stream sent a keepalive of %zu bytes", len);
    log->flushed = TM_MAX(log->flushed, be64_get(message + 1));
    log->source_us = (int64_t)be64_get(message + 9) + PG_EPOCH_US;
    *ret = (struct engine_log_event){
        .kind = ENGINE_LOG_IDLE, .flushed = log->flushed, .source_us = log->source_us};
    return message[17] != 0 ? send_status(log, false, err) : 0;
}

/* Errors of START_REPLICATION itself come this late, too: it answers first and looks then. */
static int refused(struct engine_log *log, const PGresult *result, struct tm_err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char lsn[PG_LSN_TEXT_MAX];
    if (state && strcmp(state, "58P01") == 0) /* no such file: trying again cannot help */
        return tm_err_set(err, TM_E_NOT_FOUND, "the log at %s is gone from the server: %s",
                          pg_lsn_format(log->at, lsn), message ? message : "removed");
    return message ? tm_err_retry(err, TM_E_UNAVAILABLE, "lost the log stream: %s", message)
                   : lost(log, err);
}

/* The server ended the copy: the timeline is over, or the server is going down. */
static int take_end(struct engine_log *log, struct engine_log_event *ret, struct tm_err *err)
{
    PGconn *pq = pg_conn_raw(log->conn);
    TM_CLEANUP(pg_result_freep) PGresult *result = PQgetResult(pq);
    if (result && PQresultStatus(result) == PGRES_COPY_IN) {
        (void)PQputCopyEnd(pq, NULL);
        (void)PQflush(pq);
        PQclear(result);
        result = PQgetResult(pq);
    }
    if (result && PQresultStatus(result) == PGRES_FATAL_ERROR)
        return refused(log, result, err);
    /* next timeline and where it begins; without that row the server just stopped sending */
    if (!result || PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
        return lost(log, err);
    log->ended = true;
    *ret = (struct engine_log_event){
        .kind = ENGINE_LOG_END, .flushed = log->at, .source_us = log->source_us};
    return 0;
}

/* ---- waiting ---- */

/* Says what is due by now: our status, and a question when the server has long been silent. */
static int keep_alive(struct engine_log *log, struct tm_err *err)
{
    int64_t now = clock_mono_us();
    int64_t silence = now - log->heard_us;
    if (silence > DEAD_AFTER_US)
        return tm_err_retry(err, TM_E_UNAVAILABLE, "lost the log stream: no sign of life for %d s",
                            (int)(silence / USEC_PER_SEC));
    if (now - log->status_us >= STATUS_EVERY_US)
        return send_status(log, silence > ASK_AFTER_US, err);
    return 0;
}

/* 1 = something can be read, 0 = the time is over */
static int wait_readable(struct engine_log *log, int64_t deadline_us, struct tm_err *err)
{
    PGconn *pq = pg_conn_raw(log->conn);
    int64_t left_us = TM_MIN(deadline_us - clock_mono_us(), STATUS_EVERY_US);
    short want = POLLIN;
    int unsent = PQflush(pq);
    if (unsent < 0)
        return lost(log, err);
    if (unsent > 0)
        want |= POLLOUT;
    struct pollfd fd = {.fd = PQsocket(pq), .events = want};
    int n = poll(&fd, 1, left_us <= 0 ? 0 : (int)(left_us / USEC_PER_MSEC) + 1);
    if (n < 0 && errno != EINTR)
        return tm_err_errno(err, errno, "cannot wait for the log stream");
    if (n <= 0)
        return 0;
    if (!PQconsumeInput(pq))
        return lost(log, err);
    return 1;
}

static int take_message(struct engine_log *log, int len, struct engine_log_event *ret,
                        struct tm_err *err)
{
    const uint8_t *message = (const uint8_t *)log->message;
    log->heard_us = clock_mono_us();
    if (message[0] == 'w')
        return take_data(log, message, (size_t)len, ret, err);
    if (message[0] == 'k')
        return take_keepalive(log, message, (size_t)len, ret, err);
    return tm_err_set(err, TM_E_CORRUPT, "the log stream sent a message of unknown kind 0x%02x",
                      message[0]);
}

int pg_log_next(struct engine_log *log, unsigned timeout_ms, struct engine_log_event *ret,
                struct tm_err *err)
{
    int64_t deadline_us = clock_mono_us() + (int64_t)timeout_ms * USEC_PER_MSEC;
    PQfreemem(log->message);
    log->message = NULL;
    if (log->ended) {
        *ret = (struct engine_log_event){
            .kind = ENGINE_LOG_END, .flushed = log->at, .source_us = log->source_us};
        return 0;
    }
    for (;;) {
        int r = keep_alive(log, err);
        if (r < 0)
            return r;
        int len = PQgetCopyData(pg_conn_raw(log->conn), &log->message, 1);
        if (len > 0)
            return take_message(log, len, ret, err);
        if (len == -1)
            return take_end(log, ret, err);
        if (len < -1)
            return lost(log, err);
        r = wait_readable(log, deadline_us, err);
        if (r < 0)
            return r;
        if (r == 0 && clock_mono_us() >= deadline_us)
            break;
    }
    *ret = (struct engine_log_event){
        .kind = ENGINE_LOG_IDLE, .flushed = log->flushed, .source_us = log->source_us};
    return 0;
}
