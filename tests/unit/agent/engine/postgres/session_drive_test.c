/*
 * The session and the log stream against a real server: the hold, canceling, losing the connection,
 * the end of a timeline. Run by tests/integration/pg_engine_test.sh; without arguments it has nothing
 * to do and succeeds.
 *
 *   session_drive_test DATA_DIR CONNINFO [STANDBY_CONNINFO PROMOTE_COMMAND]
 *
 * Prints "ok", or "error: …" and ends with 1.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/engine/engine.h"
#include "agent/engine/postgres/conn.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/wal.h"
#include "common/clock.h"

static void die(const char *what, const struct tm_err *err)
{
    printf("error: %s: %s\n", what, err->msg);
    exit(1);
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("error: line %d: %s is not true\n", __LINE__, #condition);                      \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* One value, as text. */
static void ask(struct pg_conn *conn, const char *sql, char *out, size_t size)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    struct tm_err err = {0};
    if (pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, sql, NULL, 0, &result, &err) < 0)
        die(sql, &err);
    snprintf(out, size, "%s", PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "");
}

static uint64_t ask_lsn(struct pg_conn *conn, const char *sql)
{
    char text[64];
    uint64_t lsn = 0;
    struct tm_err err = {0};
    ask(conn, sql, text, sizeof(text));
    if (pg_lsn_parse(text, &lsn, &err) < 0)
        die(sql, &err);
    return lsn;
}

#define RESTART_SQL "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name LIKE 'tidemark%'"

/* The hold follows what is durable, by whole segments, and is gone with the session. */
static void test_hold(const struct engine_instance *instance, struct pg_conn *conn)
{
    struct engine_session *session = NULL;
    struct engine_position from, consistent;
    struct buf begin = BUF_INIT, end = BUF_INIT;
    struct pg_begin decoded;
    struct tm_err err = {0};
    int64_t commit_us;
    char text[64];
    if (pg_session_open(instance, "it's a test", &session, &err) < 0)
        die("open", &err);
    CHECK(pg_snapshot_end(session, &end, &consistent, &commit_us, &err) == -TM_E_REFUSED);
    CHECK(pg_hold_advance(session, UINT64_MAX, &err) == 0); /* nothing is held yet */
    if (pg_session_ping(session, &err) < 0 ||
        pg_snapshot_begin(session, NULL, true, &begin, &from, &err) < 0 ||
        pg_begin_decode(buf_slice(&begin), &decoded, &err) < 0)
        die("begin", &err);
    CHECK(pg_snapshot_begin(session, NULL, true, &begin, &from, &err) == -TM_E_REFUSED);
    CHECK(ask_lsn(conn, RESTART_SQL) <= decoded.replay_from);
    for (unsigned n = 0; n < 3; n++) {
        ask(conn, "SELECT pg_logical_emit_message(false, 'x', 'y')", text, sizeof(text));
        ask(conn, "SELECT pg_switch_wal()", text, sizeof(text));
    }
    uint64_t flushed = ask_lsn(conn, "SELECT pg_current_wal_flush_lsn()");
    uint64_t segment = pg_wal_segment_start(flushed, decoded.wal_segment_bytes);
    CHECK(segment > decoded.start_lsn);
    if (pg_hold_advance(session, segment + 5, &err) < 0)
        die("advance", &err);
    CHECK(ask_lsn(conn, RESTART_SQL) == segment);
    CHECK(pg_hold_advance(session, decoded.start_lsn, &err) == 0); /* never backwards */
    CHECK(ask_lsn(conn, RESTART_SQL) == segment);
    int64_t before = clock_real_us();
    if (pg_session_ping(session, &err) < 0 ||
        pg_snapshot_end(session, &end, &consistent, &commit_us, &err) < 0)
        die("end", &err);
    CHECK(commit_us >= before && commit_us <= clock_real_us());
    int64_t settled_us = 0; /* behind the stop, which takes longer than a clock's step */
    CHECK(pg_snapshot_settled(buf_slice(&end), &settled_us, &err) == 0);
    CHECK(settled_us > commit_us && settled_us <= clock_real_us());
    uint64_t stop = 0;
    CHECK(pg_log_position(&consistent, &stop) == 0 && stop > decoded.start_lsn);
    CHECK(memmem(end.data, end.len, "LABEL: it's a test\n", 19));
    ask(conn, "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'tidemark%'", text,
        sizeof(text));
    CHECK(strcmp(text, "1") == 0); /* held until close: the log may still be on its way */
    pg_session_close(session);
    for (unsigned n = 0; n < 3000; n++) {
        ask(conn, "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'tidemark%'",
            text, sizeof(text));
        if (strcmp(text, "0") == 0)
            break;
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    CHECK(strcmp(text, "0") == 0);
    pg_begin_release(&decoded);
    buf_release(&begin);
    buf_release(&end);
}

static void *cancel_later(void *arg)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    pg_session_cancel(arg);
    return NULL;
}

/* A spread checkpoint takes minutes; canceling ends the wait long before, and all later calls. */
static void test_cancel(const struct engine_instance *instance, struct pg_conn *conn)
{
    struct engine_session *session = NULL;
    struct engine_position from;
    struct buf begin = BUF_INIT;
    struct tm_err err = {0};
    pthread_t thread;
    char text[64];
    /* something for the checkpoint to write */
    ask(conn,
        "CREATE TABLE public.dirty AS SELECT n, repeat('x', 500) FROM generate_series(1, 40000) n",
        text, sizeof(text));
    if (pg_session_open(instance, "cancel", &session, &err) < 0)
        die("open", &err);
    CHECK(pthread_create(&thread, NULL, cancel_later, session) == 0);
    int64_t start = clock_mono_us();
    int r = pg_snapshot_begin(session, NULL, false, &begin, &from, &err);
    if (r != -TM_E_CANCELED)
        die("cancel", &err);
    CHECK(clock_mono_us() - start < 60 * USEC_PER_SEC);
    pthread_join(thread, NULL);
    CHECK(pg_session_ping(session, &err) == -TM_E_CANCELED);
    pg_session_close(session);
    ask(conn, "DROP TABLE public.dirty", text, sizeof(text));
}

/* The server ends our backend: the session says so, and that trying again may help. */
static void test_lost(const struct engine_instance *instance, struct pg_conn *conn)
{
    struct engine_session *session = NULL;
    struct engine_position from, consistent;
    struct buf begin = BUF_INIT, end = BUF_INIT;
    struct tm_err err = {0};
    int64_t commit_us;
    char text[64];
    if (pg_session_open(instance, "lost", &session, &err) < 0 ||
        pg_snapshot_begin(session, NULL, true, &begin, &from, &err) < 0)
        die("begin", &err);
    ask(conn,
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
        "WHERE slot_name LIKE 'tidemark%'",
        text, sizeof(text));
    CHECK(strcmp(text, "t") == 0);
    CHECK(pg_session_ping(session, &err) == -TM_E_UNAVAILABLE && err.retryable);
    CHECK(pg_snapshot_end(session, &end, &consistent, &commit_us, &err) == -TM_E_UNAVAILABLE);
    pg_session_close(session);
    buf_release(&begin);
}

/* What lies in the future may come; what was removed will not. */
static void test_log_refusals(const struct engine_instance *instance)
{
    struct engine_session *session = NULL;
    struct engine_position from;
    struct engine_log *log = NULL;
    struct engine_log_event event;
    struct buf begin = BUF_INIT;
    struct tm_err err = {0};
    if (pg_session_open(instance, "log", &session, &err) < 0 ||
        pg_snapshot_begin(session, NULL, true, &begin, &from, &err) < 0 ||
        pg_log_open(instance, buf_slice(&begin), UINT64_C(0x7000000000), &log, &err) < 0)
        die("log", &err);
    CHECK(pg_log_next(log, 1000, &event, &err) == -TM_E_UNAVAILABLE && err.retryable);
    CHECK(strstr(err.msg, "lost the log stream: requested starting point 70/0 is ahead of"));
    pg_log_close(log);
    if (pg_log_open(instance, buf_slice(&begin), 0x1000000, &log, &err) < 0)
        die("log", &err);
    CHECK(pg_log_next(log, 1000, &event, &err) == -TM_E_NOT_FOUND && !err.retryable);
    CHECK(strcmp(err.msg, "the log at 0/1000000 is gone from the server: requested WAL segment "
                          "000000010000000000000001 has already been removed") == 0);
    pg_log_close(log);
    pg_session_close(session);
    buf_release(&begin);
}

/* A stream from a standby that is promoted ends with its timeline, and with every byte of it. */
static void test_timeline_end(const struct engine_instance *instance, const char *standby,
                              const char *promote)
{
    const struct engine_instance other = {"main", instance->data_dir, standby};
    struct engine_session *session = NULL;
    struct engine_position from;
    struct engine_log *log = NULL;
    struct engine_log_event event = {.kind = ENGINE_LOG_IDLE};
    struct buf begin = BUF_INIT;
    struct tm_err err = {0};
    uint64_t at;
    bool promoted = false;
    if (pg_session_open(instance, "end", &session, &err) < 0 ||
        pg_snapshot_begin(session, NULL, true, &begin, &from, &err) < 0)
        die("begin", &err);
    CHECK(pg_log_position(&from, &at) == 0);
    int64_t deadline = clock_mono_us() + 60 * USEC_PER_SEC;
    const uint64_t start = at;
    if (pg_log_open(&other, buf_slice(&begin), at, &log, &err) < 0)
        die("log", &err);
    while (event.kind != ENGINE_LOG_END && clock_mono_us() < deadline) {
        if (pg_log_next(log, 1000, &event, &err) < 0) {
            /* the standby may not have that much log yet */
            if (at != start || !err.retryable)
                die("log", &err);
            pg_log_close(log);
            (void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
            if (pg_log_open(&other, buf_slice(&begin), at, &log, &err) < 0)
                die("log", &err);
            continue;
        }
        if (event.kind == ENGINE_LOG_DATA) {
            CHECK(event.from == at);
            at += event.data.len;
        }
        if (!promoted && event.kind == ENGINE_LOG_IDLE) {
            CHECK(system(promote) == 0);
            promoted = true;
        }
    }
    CHECK(event.kind == ENGINE_LOG_END && event.flushed == at);
    CHECK(pg_log_next(log, 0, &event, &err) == 0 && event.kind == ENGINE_LOG_END);
    pg_log_close(log);
    pg_session_close(session);
    buf_release(&begin);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 0;
    const struct engine_instance instance = {"main", argv[1], argv[2]};
    struct pg_conn *conn = NULL;
    struct tm_err err = {0};
    if (pg_conn_open(argv[2], PG_CONN_SQL, &conn, &err) < 0)
        die("connect", &err);
    test_hold(&instance, conn);
    test_cancel(&instance, conn);
    test_lost(&instance, conn);
    test_log_refusals(&instance);
    if (argc >= 5)
        test_timeline_end(&instance, argv[3], argv[4]);
    pg_conn_close(conn);
    printf("ok\n");
    return 0;
}
