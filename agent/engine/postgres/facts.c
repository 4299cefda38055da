/*
 * Happy path: one query brings all; the judgement finds nothing; the proof succeeds.
 *
 * Failure modes: each finding names the setting with its value, or the very statement a superuser
 * has to run.
 */
#include "agent/engine/postgres/facts.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_TOLERANCE_S 2

/* ---- asking ---- */

/* pg_settings leaves out rows that the role may not see, where current_setting would fail. */
#define FACTS_SQL                                                                                  \
    "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()), "            \
    "quote_ident(current_user), r.rolsuper, r.rolreplication, "                                    \
    "has_function_privilege($1, 'EXECUTE'), has_function_privilege($2, 'EXECUTE'), "               \
    "(SELECT setting FROM pg_settings WHERE name = 'data_directory'), "                            \
    "current_setting('wal_level'), current_setting('max_wal_senders'), "                           \
    "current_setting('max_replication_slots'), (SELECT count(*) FROM pg_replication_slots), "      \
    "pg_backend_pid(), extract(epoch FROM pg_postmaster_start_time())::bigint, "                   \
    "(SELECT count(*) FROM pg_replication_slots WHERE NOT temporary "                              \
    "AND left(slot_name, 9) = 'tidemark_') "                                                       \
    "FROM pg_roles r WHERE r.rolname = current_user"

static bool is_true(const PGresult *result, int column)
{
    return strcmp(PQgetvalue(result, 0, column), "t") == 0;
}

/* The server's own numbers: no need to doubt their form. */
static int64_t number(const PGresult *result, int column)
{
    return strtoll(PQgetvalue(result, 0, column), NULL, 10);
}

static void copy_text(char *to, size_t size, const PGresult *result, int column)
{
    snprintf(to, size, "%s", PQgetvalue(result, 0, column));
}

int pg_facts_read(struct pg_conn *conn, struct pg_facts *ret, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    struct pg_facts facts = {.version_num = pg_conn_version(conn)};
    int r = pg_version_require(facts.version_num, &facts.version, err);
    if (r < 0)
        return r;
    const char *const params[] = {facts.version->start_function, facts.version->stop_function};
    r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, FACTS_SQL, params, 2, &result, err);
    if (r < 0)
        return r;
    if (PQntuples(result) != 1)
        return tm_err_set(err, TM_E_INTERNAL, "PostgreSQL does not know its own %s",
                          pg_conn_where(conn));
    facts.in_recovery = is_true(result, 0);
    /* printed as a signed number */
    facts.system_id = (uint64_t)number(result, 1);
    copy_text(facts.role, sizeof(facts.role), result, 2);
    facts.superuser = is_true(result, 3);
    facts.replication = is_true(result, 4);
    facts.may_start = is_true(result, 5);
    facts.may_stop = is_true(result, 6);
    facts.may_see_settings = !PQgetisnull(result, 0, 7);
    copy_text(facts.data_dir, sizeof(facts.data_dir), result, 7);
    copy_text(facts.wal_level, sizeof(facts.wal_level), result, 8);
    facts.max_wal_senders = number(result, 9);
    facts.max_replication_slots = number(result, 10);
    facts.used_replication_slots = number(result, 11);
    facts.backend_pid = number(result, 12);
    facts.started_s = number(result, 13);
    facts.own_replication_slots = number(result, 14);
    *ret = facts;
    return 0;
}

/* ---- judging ---- */

static int judge_rights(const struct pg_facts *facts, bool log_only, struct tm_err *err)
{
    char missing[400] = "";
    size_t len = 0;
    if (!log_only && !facts->may_start)
        len += (size_t)snprintf(missing + len, sizeof(missing) - len,
                                " GRANT EXECUTE ON FUNCTION %s TO %s;",
                                facts->version->start_function, facts->role);
    if (!log_only && !facts->may_stop && len < sizeof(missing))
        len += (size_t)snprintf(missing + len, sizeof(missing) - len,
                                " GRANT EXECUTE ON FUNCTION %s TO %s;",
                                facts->version->stop_function, facts->role);
    if (!facts->may_see_settings && len < sizeof(missing))
        len += (size_t)snprintf(missing + len, sizeof(missing) - len,
                                " GRANT pg_read_all_settings TO %s;", facts->role);
    if (!facts->superuser && !facts->replication && len < sizeof(missing))
        len += (size_t)snprintf(missing + len, sizeof(missing) - len, " ALTER ROLE %s REPLICATION;",
                                facts->role);
    if (len == 0)
        return 0;
    return tm_err_set(err, TM_E_PERMISSION,
                      "role %s lacks rights for a %sbackup; run as a superuser:%s", facts->role,
                      log_only ? "log " : "", missing);
}

static int judge_settings(const struct pg_facts *facts, struct tm_err *err)
{
    if (strcmp(facts->wal_level, "minimal") == 0)
        return tm_err_set(err, TM_E_REFUSED,
                          "wal_level is minimal, a backup needs replica or logical: change it in "
                          "postgresql.conf and restart the server");
    if (facts->max_wal_senders == 0)
        return tm_err_set(err, TM_E_REFUSED,
                          "max_wal_senders is 0, a backup streams the log and needs one: raise it "
                          "in postgresql.conf and restart the server");
    if (facts->max_replication_slots == 0)
        return tm_err_set(
            err, TM_E_REFUSED,
            "max_replication_slots is 0, a backup needs one to hold the log: raise it "
            "in postgresql.conf and restart the server");
    return 0;
}

/* All in use is no obstacle when one of them is, perhaps, the very hold that is wanted: opening that
 * says more. */
static int judge_slots(const struct pg_facts *facts, struct tm_err *err)
{
    if (facts->own_replication_slots == 0 &&
        facts->used_replication_slots >= facts->max_replication_slots)
        return tm_err_retry(
            err, TM_E_UNAVAILABLE,
            "all replication slots are in use (%lld of max_replication_slots %lld): "
            "drop one that nobody needs, or raise the setting",
            (long long)facts->used_replication_slots, (long long)facts->max_replication_slots);
    return 0;
}

int pg_facts_judge(const struct pg_facts *facts, struct tm_err *err)
{
    if (facts->in_recovery)
        return tm_err_set(err, TM_E_REFUSED,
                          "the server is a standby; a backup is taken from the primary");
    int r = judge_rights(facts, false, err);
    if (r == 0)
        r = judge_settings(facts, err);
    return r < 0 ? r : judge_slots(facts, err);
}

int pg_facts_judge_log(const struct pg_facts *facts, struct tm_err *err)
{
    int r = judge_rights(facts, true, err);
    if (r == 0 && (r = judge_settings(facts, err)) < 0)
        err->retryable = true; /* a log backup goes on once the setting is mended */
    return r < 0 ? r : judge_slots(facts, err);
}

/* ---- proving ---- */

static int read_text(int dir_fd, const char *path, char *text, size_t size)
{
    TM_CLEANUP(closep) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t len = read(fd, text, size - 1);
    if (len < 0)
        return -1;
    text[len] = '\0';
    return 0;
}

/* The parent of a process, or 0. Its name may hold anything: the fields start behind the last ')'.
 */
static int64_t parent_of(int64_t pid)
{
    char path[40], text[512];
    snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)pid);
    if (read_text(AT_FDCWD, path, text, sizeof(text)) < 0)
        return 0;
    const char *end = strrchr(text, ')');
    if (!end || strlen(end) < 5)
        return 0;
    return strtoll(end + 4, NULL, 10); /* ") S ppid" */
}

static int prove_process(const struct pg_facts *facts, const struct engine_instance *instance,
                         int data_fd, struct pg_conn *conn, struct tm_err *err)
{
    char text[1024];
    if (read_text(data_fd, "postmaster.pid", text, sizeof(text)) < 0)
        return tm_err_set(err, TM_E_INVALID,
                          "no server runs on '%s' (it has no postmaster.pid), but one answers %s: "
                          "conninfo and data_dir belong to different servers",
                          instance->data_dir, pg_conn_where(conn));
    /* line 1 the process, line 2 the directory, line 3 when it started */
    int64_t pid = strtoll(text, NULL, 10), started = 0;
    const char *line = strchr(text, '\n');
    line = line ? strchr(line + 1, '\n') : NULL;
    if (line)
        started = strtoll(line + 1, NULL, 10);
    if (pid > 0 && parent_of(facts->backend_pid) == pid)
        return 0;
    if (started > 0 && llabs(started - facts->started_s) <= START_TOLERANCE_S)
        return 0; /* its processes are hidden from us, in a container perhaps */
    return tm_err_set(err, TM_E_INVALID,
                      "the server that answers %s is not the one that runs on '%s' (process %lld): "
                      "conninfo and data_dir belong to different servers",
                      pg_conn_where(conn), instance->data_dir, (long long)pid);
}

int pg_facts_prove(const struct pg_facts *facts, const struct engine_instance *instance,
                   struct pg_conn *conn, struct control_file *ret_control, struct tm_err *err)
{
    struct control_file control;
    TM_CLEANUP(closep) int fd = open(instance->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open data_dir '%s'", instance->data_dir);
    TM_CLEANUP(freep) char *ours = realpath(instance->data_dir, NULL);
    TM_CLEANUP(freep) char *theirs = realpath(facts->data_dir, NULL);
    if (!ours)
        return tm_err_errno(err, errno, "cannot resolve data_dir '%s'", instance->data_dir);
    if (!theirs || strcmp(ours, theirs) != 0)
        return tm_err_set(err, TM_E_INVALID,
                          "data_dir is '%s', but the server that answers %s runs on '%s'",
                          instance->data_dir, pg_conn_where(conn), facts->data_dir);
    int r = control_file_read(fd, &control, NULL, err);
    if (r < 0)
        return tm_err_prefix(err, "data_dir '%s'", instance->data_dir);
    if (control.system_id != facts->system_id)
        return tm_err_set(err, TM_E_INVALID,
                          "data_dir '%s' holds system identifier %llu, the server that answers %s "
                          "has %llu",
                          instance->data_dir, (unsigned long long)control.system_id,
                          pg_conn_where(conn), (unsigned long long)facts->system_id);
    r = prove_process(facts, instance, fd, conn, err);
    if (r == 0)
        *ret_control = control;
    return r;
}
