/*
 * The log side of the PostgreSQL engine, by hand: describe, histories, holds, files. Run by
 * tests/integration/pg_log_source_test.sh; without arguments it has nothing to do and succeeds.
 *
 *   log_drive_test DATA_DIR CONNINFO COMMAND…
 *
 *   describe              role identity version timeline segment flushed parent fork history-bytes
 *   history LABEL         the file
 *   open NAME|open! NAME  made | found, and where it stands (!: may make)
 *   look NAME             role timeline lost|held from bytes, warning on a second line
 *   touch NAME LSN        where it stands then
 *   drop NAME             ok
 *   list PREFIX MAX       name from bytes [lost], a line each
 *   busy NAME             streams with that slot until it is ended
 *   lost NAME             looks, has its own connection ended, and goes on
 *   gone NAME             its slot is dropped by somebody; looks, touches, and opens it anew
 *   file LABEL FROM LEN   the bytes
 *   stream FROM LEN       the bytes, by log_open from facts
 *
 * Errors: "error: …" and 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/engine/engine.h"
#include "agent/engine/postgres/conn.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/stream.h"
#include "common/clock.h"

static int die(const struct tm_err *err)
{
    printf("error: %s (%s%s)\n", err->msg, tm_err_code_text(err->code),
           err->retryable ? ", may pass" : "");
    return 1;
}

static const char *role_text(enum engine_role role)
{
    return role == ENGINE_ROLE_PRIMARY ? "primary" : role == ENGINE_ROLE_STANDBY ? "standby" : "?";
}

static uint64_t lsn_of(const char *text)
{
    struct tm_err err;
    uint64_t lsn = 0;
    if (postgres_engine.position_parse(text, &lsn, &err) < 0)
        exit(die(&err));
    return lsn;
}

static const char *text_of(uint64_t lsn, char text[ENGINE_POSITION_MAX])
{
    postgres_engine.position_text(lsn, text);
    return text;
}

static int describe(const struct engine_instance *instance)
{
    struct engine_log_source source;
    struct tm_err err;
    char flushed[ENGINE_POSITION_MAX], fork[ENGINE_POSITION_MAX];
    if (postgres_engine.log_describe(instance, &source, &err) < 0)
        return die(&err);
    printf("%s %s %s %s %" PRIu64 " %s %s %s %zu\n", role_text(source.role), source.identity,
           source.version, source.lineage_label, source.segment_bytes,
           text_of(source.flushed, flushed), source.parent_label[0] ? source.parent_label : "-",
           text_of(source.fork, fork), source.history.len);
    buf_release(&source.facts);
    buf_release(&source.history);
    return 0;
}

static int history(const struct engine_instance *instance, const char *label)
{
    struct buf bytes = BUF_INIT;
    struct tm_err err;
    if (postgres_engine.log_history(instance, label, &bytes, &err) < 0)
        return die(&err);
    if (bytes.len > 0) /* the first timeline has none */
        fwrite(bytes.data, 1, bytes.len, stdout);
    buf_release(&bytes);
    return 0;
}

static int look(struct engine_hold *hold, struct engine_hold_state *ret)
{
    char from[ENGINE_POSITION_MAX], flushed[ENGINE_POSITION_MAX];
    struct tm_err err;
    int64_t before = clock_real_us();
    if (postgres_engine.hold_look(hold, ret, &err) < 0)
        return die(&err);
    int64_t after = clock_real_us();
    printf("%s %s %s %s %s %s %s\n%s\n", role_text(ret->role), ret->lineage_label,
           ret->lost ? "lost" : "held", text_of(ret->from, from), text_of(ret->flushed, flushed),
           ret->bytes == ret->flushed - ret->from ? "sum" : "no sum",
           /* the same clock: nothing can be proven against it */
           ret->skew_us == 0 && ret->source_us >= before && ret->source_us <= after ? "clock"
                                                                                    : "no clock",
           ret->warning);
    return 0;
}

/* The connection is ended by the server: one call fails, the next one works. */
static int lose(const struct engine_instance *instance, struct engine_hold *hold)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    struct engine_hold_state state;
    struct tm_err err;
    if (look(hold, &state) != 0)
        return 1;
    if (pg_conn_open(instance->conninfo, PG_CONN_SQL, &conn, &err) < 0 ||
        pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                      "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
                      "application_name = 'tidemark' AND pid <> pg_backend_pid()",
                      NULL, 0, &result, &err) < 0)
        return die(&err);
    if (postgres_engine.hold_look(hold, &state, &err) == 0)
        return printf("not lost\n"), 1;
    (void)die(&err);
    return look(hold, &state);
}

static int gone(const struct engine_instance *instance, struct engine_hold *hold, const char *name)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    struct engine_hold *again = NULL;
    struct engine_hold_state state;
    struct tm_err err;
    uint64_t from;
    bool made = false;
    if (pg_conn_open(instance->conninfo, PG_CONN_SQL, &conn, &err) < 0 ||
        pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, "SELECT pg_drop_replication_slot($1)",
                      (const char *const[]){name}, 1, &result, &err) < 0)
        return die(&err);
    if (postgres_engine.hold_look(hold, &state, &err) == 0)
        return printf("not gone\n"), 1;
    (void)die(&err);
    if (postgres_engine.hold_touch(hold, UINT64_MAX, &from, &err) == 0)
        return printf("not gone\n"), 1;
    (void)die(&err);
    if (postgres_engine.hold_open(instance, name, true, &again, &made, &err) < 0)
        return die(&err);
    printf("%s\n", made ? "made" : "found");
    postgres_engine.hold_close(again);
    return 0;
}

static int busy(const struct engine_instance *instance, const char *name)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    struct pg_identity identity;
    struct tm_err err;
    char sql[160], at[ENGINE_POSITION_MAX];
    if (pg_replication_open(instance->conninfo, &conn, &identity, &err) < 0)
        return die(&err);
    snprintf(sql, sizeof(sql), "START_REPLICATION SLOT %s PHYSICAL %s", name,
             text_of(identity.flushed, at));
    if (pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, sql, NULL, 0, &result, &err) < 0)
        return die(&err);
    for (;;)
        (void)pause();
}

static int hold_command(const struct engine_instance *instance, int argc, char **argv)
{
    struct engine_hold *hold = NULL;
    struct engine_hold_state state;
    struct tm_err err;
    bool made;
    uint64_t from;
    char text[ENGINE_POSITION_MAX];
    int status = 0;
    if (postgres_engine.hold_open(instance, argv[1], strcmp(argv[0], "open!") == 0, &hold, &made,
                                  &err) < 0)
        return die(&err);
    if (strncmp(argv[0], "open", 4) == 0) {
        printf("%s\n", made ? "made" : "found");
    } else if (strcmp(argv[0], "look") == 0) {
        status = look(hold, &state);
    } else if (strcmp(argv[0], "proven") == 0) {
        if (postgres_engine.hold_look(hold, &state, &err) < 0)
            status = die(&err);
        else if (state.role == ENGINE_ROLE_PRIMARY && state.proven_us == state.source_us)
            printf("clock\n");
        else
            printf("%lld\n", (long long)state.proven_us);
    } else if (strcmp(argv[0], "lost") == 0) {
        status = lose(instance, hold);
    } else if (strcmp(argv[0], "gone") == 0) {
        status = gone(instance, hold, argv[1]);
    } else if (strcmp(argv[0], "drop") == 0) {
        int r = postgres_engine.hold_drop(hold, &err);
        if (r == 0) /* not there is success, too */
            r = postgres_engine.hold_drop(hold, &err);
        if (r < 0)
            status = die(&err);
        else
            printf("ok\n");
    } else if (strcmp(argv[0], "touch") == 0 && argc == 3) {
        if (postgres_engine.hold_touch(hold, lsn_of(argv[2]), &from, &err) < 0)
            status = die(&err);
        else
            printf("%s\n", text_of(from, text));
    } else {
        status = 2;
    }
    postgres_engine.hold_close(hold);
    return status;
}

static int stream(const struct engine_instance *instance, struct slice facts, uint64_t from,
                  size_t len)
{
    struct engine_log *log = NULL;
    struct engine_log_event event;
    struct tm_err err;
    if (postgres_engine.log_open(instance, facts, from, &log, &err) < 0)
        return die(&err);
    while (len > 0) {
        if (postgres_engine.log_next(log, 1000, &event, &err) < 0)
            return die(&err);
        if (event.kind == ENGINE_LOG_END)
            break;
        if (event.kind != ENGINE_LOG_DATA)
            continue;
        size_t n = TM_MIN(len, event.data.len);
        fwrite(event.data.data, 1, n, stdout);
        len -= n;
    }
    postgres_engine.log_close(log);
    return 0;
}

static int bytes_command(const struct engine_instance *instance, int argc, char **argv)
{
    struct engine_log_source source;
    struct tm_err err;
    size_t len = strtoul(argv[argc - 1], NULL, 10);
    uint64_t from = lsn_of(argv[argc - 2]);
    int status = 0;
    if (postgres_engine.log_describe(instance, &source, &err) < 0)
        return die(&err);
    if (argc == 3) {
        status = stream(instance, buf_slice(&source.facts), from, len);
    } else {
        uint8_t *bytes = malloc(len);
        if (postgres_engine.log_read_file(instance, buf_slice(&source.facts), argv[1], from, bytes,
                                          len, &err) < 0)
            status = die(&err);
        else
            fwrite(bytes, 1, len, stdout);
        free(bytes);
    }
    buf_release(&source.facts);
    buf_release(&source.history);
    return status;
}

static int list(const struct engine_instance *instance, const char *prefix, size_t max)
{
    struct engine_hold_found found[16];
    size_t count;
    struct tm_err err;
    if (postgres_engine.hold_list(instance, prefix, found, TM_MIN(max, TM_ARRAY_LEN(found)), &count,
                                  &err) < 0)
        return die(&err);
    for (size_t at = 0; at < count; at++) {
        char from[ENGINE_POSITION_MAX];
        postgres_engine.position_text(found[at].from, from);
        printf("%s %s %llu%s\n", found[at].name, from, (unsigned long long)found[at].bytes,
               found[at].lost ? " lost" : "");
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 0;
    const struct engine_instance instance = {"main", argv[1], argv[2]};
    const char *command = argv[3];
    if (strcmp(command, "describe") == 0)
        return describe(&instance);
    if (strcmp(command, "history") == 0 && argc == 5)
        return history(&instance, argv[4]);
    if (strcmp(command, "list") == 0 && argc == 6)
        return list(&instance, argv[4], strtoul(argv[5], NULL, 10));
    if (strcmp(command, "busy") == 0 && argc == 5)
        return busy(&instance, argv[4]);
    if ((strcmp(command, "file") == 0 && argc == 7) ||
        (strcmp(command, "stream") == 0 && argc == 6))
        return bytes_command(&instance, argc - 3, argv + 3);
    return argc >= 5 ? hold_command(&instance, argc - 3, argv + 3) : 2;
}
