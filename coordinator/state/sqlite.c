/*
 * The state store in one SQLite file: state.db in WAL mode with synchronous=FULL, so that a commit
 * that returned is on disk.
 *
 * Happy path of a batch: BEGIN IMMEDIATE; each transaction in its own savepoint (term, compares,
 * operations); COMMIT, one fsync for all. A transaction that loses is rolled back to its savepoint
 * and the batch goes on.
 *
 * Failure modes: another program's file (application_id differs), damage (quick_check at open), a
 * newer format (user_version) are refused at open with what to do. A full disk or I/O error while a
 * batch runs rolls the whole batch back; the store stays usable.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "coordinator/state/driver.h"

#define STATE_APPLICATION_ID 0x544d4b31 /* "TMK1" */
#define STATE_FORMAT         1
#define STATE_SLOW_US        (50 * USEC_PER_MSEC)
#define STATE_BUSY_MS        2000

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SAVEPOINT,
    SQL_RELEASE,
    SQL_ROLLBACK_TO,
    SQL_META,
    SQL_SET_REVISION,
    SQL_SET_TERM,
    SQL_GET,
    SQL_PUT,
    SQL_DELETE,
    SQL_EACH,
    SQL_COUNT,
};

static const char *const statement_text[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SAVEPOINT] = "SAVEPOINT one",
    [SQL_RELEASE] = "RELEASE one",
    [SQL_ROLLBACK_TO] = "ROLLBACK TO one",
    [SQL_META] = "SELECT term, revision FROM meta WHERE id = 1",
    [SQL_SET_REVISION] = "UPDATE meta SET revision = ?1 WHERE id = 1",
    [SQL_SET_TERM] = "UPDATE meta SET term = ?1 WHERE id = 1",
    [SQL_GET] = "SELECT value, revision FROM kv WHERE key = ?1",
    [SQL_PUT] = ("INSERT INTO kv (key, value, revision) VALUES (?1, ?2, ?3) "
                 "ON CONFLICT (key) DO UPDATE SET value = excluded.value, "
                 "revision = excluded.revision"),
    [SQL_DELETE] = "DELETE FROM kv WHERE key = ?1",
    [SQL_EACH] = "SELECT key, value, revision FROM kv WHERE key >= ?1 ORDER BY key",
};

static const char schema_text[] =
    "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), term INTEGER NOT NULL,"
    " revision INTEGER NOT NULL) STRICT;"
    "CREATE TABLE kv (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL,"
    " revision INTEGER NOT NULL) STRICT;"
    "INSERT INTO meta VALUES (1, 0, 0);";

struct state_sqlite {
    struct state base;
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    struct state_options options;
    char path[PATH_MAX];
    int64_t batch_started_us;
};

static struct state_sqlite *sqlite_of(struct state *st)
{
    return (struct state_sqlite *)st;
}

static enum tm_err_code code_of(int sqlite_code)
{
    switch (sqlite_code & 0xff) {
    case SQLITE_FULL:
        return TM_E_NO_SPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return TM_E_CORRUPT;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return TM_E_PERMISSION;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return TM_E_CONFLICT;
    case SQLITE_NOMEM:
        return TM_E_NO_MEMORY;
    default:
        return TM_E_IO;
    }
}

static int sql_error(struct state_sqlite *s, const char *what, struct tm_err *err)
{
    int code = s->db ? sqlite3_extended_errcode(s->db) : SQLITE_NOMEM;
    const char *text = s->db ? sqlite3_errmsg(s->db) : "out of memory";

    if (code_of(code) == TM_E_CORRUPT)
        return tm_err_set(
            err, TM_E_CORRUPT,
            "%s '%s': %s; restore the file from a copy, or move it away and start with "
            "an empty state",
            what, s->path, text);
    return tm_err_set(err, code_of(code), "%s '%s': %s", what, s->path, text);
}

static sqlite3_stmt *reset(struct state_sqlite *s, enum statement which)
{
    sqlite3_stmt *stmt = s->statements[which];

    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return stmt;
}

/* Runs a statement that returns no rows. */
static int finish(struct state_sqlite *s, sqlite3_stmt *stmt, const char *what, struct tm_err *err)
{
    int code = sqlite3_step(stmt);
    int r = code == SQLITE_DONE ? 0 : sql_error(s, what, err);

    sqlite3_reset(stmt);
    return r;
}

static int run(struct state_sqlite *s, enum statement which, struct tm_err *err)
{
    return finish(s, reset(s, which), "cannot write state", err);
}

/* An empty slice has no pointer; SQLite would take that for NULL. */
static void bind_slice(sqlite3_stmt *stmt, int index, struct slice s)
{
    (void)sqlite3_bind_blob64(stmt, index, s.len ? (const void *)s.data : "", s.len, SQLITE_STATIC);
}

static int read_meta(struct state_sqlite *s, uint64_t *ret_term, uint64_t *ret_revision,
                     struct tm_err *err)
{
    sqlite3_stmt *stmt = reset(s, SQL_META);
    int r = 0;

    if (sqlite3_step(stmt) == SQLITE_ROW) {
        *ret_term = (uint64_t)sqlite3_column_int64(stmt, 0);
        *ret_revision = (uint64_t)sqlite3_column_int64(stmt, 1);
    } else {
        r = sql_error(s, "cannot read state", err);
    }
    sqlite3_reset(stmt);
    return r;
}

/* ---- transactions ---- */

static int sqlite_batch_begin(struct state *st, struct tm_err *err)
{
    struct state_sqlite *s = sqlite_of(st);

    s->batch_started_us = clock_mono_us();
    return run(s, SQL_BEGIN, err);
}

static int sqlite_batch_end(struct state *st, struct tm_err *err)
{
    struct state_sqlite *s = sqlite_of(st);
    int r;

    /* a full disk or I/O error may have ended the transaction already: nothing of it happened */
    if (sqlite3_get_autocommit(s->db))
        return tm_err_retry(err, TM_E_IO, "state '%s' rolled the transaction back", s->path);
    r = run(s, SQL_COMMIT, err);
    if (r < 0 && !sqlite3_get_autocommit(s->db)) {
        struct tm_err ignored = {0};
        (void)run(s, SQL_ROLLBACK, &ignored);
    }
    int64_t took_us = clock_mono_us() - s->batch_started_us;
    if (s->options.slow && took_us > (s->options.slow_us ? s->options.slow_us : STATE_SLOW_US))
        s->options.slow(s->options.slow_arg, took_us);
    return r;
}

static int compare(struct state_sqlite *s, const struct state_compare *c, struct tm_err *err)
{
    sqlite3_stmt *stmt = reset(s, SQL_GET);
    uint64_t have = 0;
    int code;

    bind_slice(stmt, 1, c->key);
    code = sqlite3_step(stmt);
    if (code == SQLITE_ROW)
        have = (uint64_t)sqlite3_column_int64(stmt, 1);
    else if (code != SQLITE_DONE)
        return sql_error(s, "cannot read state", err);
    sqlite3_reset(stmt);
    return have == c->revision ? 0 : state_conflict_revision(c->key, have, c->revision, err);
}

static int operate(struct state_sqlite *s, const struct state_op *op, uint64_t revision,
                   struct tm_err *err)
{
    sqlite3_stmt *stmt = reset(s, op->kind == STATE_PUT ? SQL_PUT : SQL_DELETE);

    bind_slice(stmt, 1, op->key);
    if (op->kind == STATE_PUT) {
        bind_slice(stmt, 2, op->value);
        (void)sqlite3_bind_int64(stmt, 3, (sqlite3_int64)revision);
    }
    return finish(s, stmt, "cannot write state", err);
}

static int apply_inside(struct state_sqlite *s, const struct state_txn *txn, uint64_t *ret_revision,
                        struct tm_err *err)
{
    uint64_t term, revision;
    int r;

    if ((r = read_meta(s, &term, &revision, err)) < 0)
        return r;
    if (term != txn->term)
        return state_conflict_term(term, txn->term, err);
    for (size_t i = 0; i < txn->compare_count; i++)
        if ((r = compare(s, &txn->compares[i], err)) < 0)
            return r;
    revision++;
    for (size_t i = 0; i < txn->op_count; i++)
        if ((r = operate(s, &txn->ops[i], revision, err)) < 0)
            return r;
    sqlite3_stmt *stmt = reset(s, SQL_SET_REVISION);
    (void)sqlite3_bind_int64(stmt, 1, (sqlite3_int64)revision);
    if ((r = finish(s, stmt, "cannot write state", err)) < 0)
        return r;
    *ret_revision = revision;
    return 0;
}

static int sqlite_apply(struct state *st, const struct state_txn *txn, uint64_t *ret_revision,
                        struct tm_err *err)
{
    struct state_sqlite *s = sqlite_of(st);
    struct tm_err ignored = {0};
    int r = run(s, SQL_SAVEPOINT, err);

    if (r < 0)
        return r;
    r = apply_inside(s, txn, ret_revision, err);
    if (r < 0 && !sqlite3_get_autocommit(s->db))
        (void)run(s, SQL_ROLLBACK_TO, &ignored);
    if (!sqlite3_get_autocommit(s->db))
        (void)run(s, SQL_RELEASE, &ignored);
    return r;
}

static int sqlite_take_term(struct state *st, uint64_t at_least, uint64_t *ret_term,
                            struct tm_err *err)
{
    struct state_sqlite *s = sqlite_of(st);
    struct tm_err ignored = {0};
    uint64_t term, revision;
    int r;

    if ((r = run(s, SQL_BEGIN, err)) < 0)
        return r;
    if ((r = read_meta(s, &term, &revision, err)) == 0) {
        term = term + 1 < at_least ? at_least : term + 1;
        sqlite3_stmt *stmt = reset(s, SQL_SET_TERM);
        (void)sqlite3_bind_int64(stmt, 1, (sqlite3_int64)term);
        r = finish(s, stmt, "cannot write state", err);
    }
    if (r == 0)
        r = run(s, SQL_COMMIT, err);
    if (r < 0) {
        (void)run(s, SQL_ROLLBACK, &ignored);
        return r;
    }
    *ret_term = term;
    return 0;
}

/* ---- reading ---- */

static int sqlite_revision(struct state *st, uint64_t *ret_revision, struct tm_err *err)
{
    uint64_t term;

    return read_meta(sqlite_of(st), &term, ret_revision, err);
}

static struct slice column_slice(sqlite3_stmt *stmt, int column)
{
    const void *data = sqlite3_column_blob(stmt, column);

    return slice_of(data, (size_t)sqlite3_column_bytes(stmt, column));
}

static int sqlite_get(struct state *st, struct slice key, struct buf *ret_value,
                      uint64_t *ret_revision, struct tm_err *err)
{
    struct state_sqlite *s = sqlite_of(st);
    sqlite3_stmt *stmt = reset(s, SQL_GET);
    int code, r;

    bind_slice(stmt, 1, key);
    code = sqlite3_step(stmt);
    if (code == SQLITE_DONE) {
        r = tm_err_set(err, TM_E_NOT_FOUND, "state key '%.*s' does not exist", (int)key.len,
                       (const char *)key.data);
    } else if (code != SQLITE_ROW) {
        r = sql_error(s, "cannot read state", err);
    } else {
        buf_reset(ret_value);
        r = buf_append_slice(ret_value, column_slice(stmt, 0), err);
        if (r == 0 && ret_revision)
            *ret_revision = (uint64_t)sqlite3_column_int64(stmt, 1);
    }
    sqlite3_reset(stmt);
    return r;
}

static int sqlite_each(struct state *st, struct slice prefix, state_each_fn each, void *arg,
                       struct tm_err *err)
{
    struct state_sqlite *s = sqlite_of(st);
    sqlite3_stmt *stmt = reset(s, SQL_EACH);
    int code, r = 0;

    bind_slice(stmt, 1, prefix);
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct slice key = column_slice(stmt, 0);
        if (key.len < prefix.len || (prefix.len && memcmp(key.data, prefix.data, prefix.len) != 0))
            break;
        r = each(arg, key, column_slice(stmt, 1), (uint64_t)sqlite3_column_int64(stmt, 2), err);
        if (r < 0)
            break;
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        r = sql_error(s, "cannot read state", err);
    sqlite3_reset(stmt);
    return r;
}

/* ---- opening ---- */

static void sqlite_free(struct state *st)
{
    struct state_sqlite *s = sqlite_of(st);

    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    free(s);
}

static const struct state_ops sqlite_ops = {
    .batch_begin = sqlite_batch_begin,
    .apply = sqlite_apply,
    .batch_end = sqlite_batch_end,
    .take_term = sqlite_take_term,
    .revision = sqlite_revision,
    .get = sqlite_get,
    .each = sqlite_each,
    .free = sqlite_free,
};

static int exec(struct state_sqlite *s, const char *sql, struct tm_err *err)
{
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return sql_error(s, "cannot open state", err);
    return 0;
}

/* First column of the first row as a number. */
static int query_int(struct state_sqlite *s, const char *sql, int64_t *ret, struct tm_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int r = 0;

    if (sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW)
        r = sql_error(s, "cannot open state", err);
    else
        *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return r;
}

static int quick_check(struct state_sqlite *s, struct tm_err *err)
{
    sqlite3_stmt *stmt = NULL;
    const char *text = NULL;
    int r = 0;

    if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW)
        r = sql_error(s, "cannot check state", err);
    else if ((text = (const char *)sqlite3_column_text(stmt, 0)) == NULL || strcmp(text, "ok") != 0)
        r = tm_err_set(
            err, TM_E_CORRUPT,
            "state '%s' is damaged: %s; restore the file from a copy, or move it away and "
            "start with an empty state",
            s->path, text ? text : "check failed");
    sqlite3_finalize(stmt);
    return r;
}

static int open_schema(struct state_sqlite *s, struct tm_err *err)
{
    int64_t application_id, format, tables;
    char sql[128];
    int r;

    if ((r = query_int(s, "PRAGMA application_id", &application_id, err)) < 0 ||
        (r = query_int(s, "PRAGMA user_version", &format, err)) < 0 ||
        (r = query_int(s, "SELECT count(*) FROM sqlite_master", &tables, err)) < 0)
        return r;
    if (application_id == 0 && tables == 0) {
        (void)snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
                       STATE_APPLICATION_ID, STATE_FORMAT);
        if ((r = exec(s, "BEGIN IMMEDIATE", err)) < 0 || (r = exec(s, schema_text, err)) < 0 ||
            (r = exec(s, sql, err)) < 0)
            return r;
        return exec(s, "COMMIT", err);
    }
    if (application_id != STATE_APPLICATION_ID)
        return tm_err_set(err, TM_E_CORRUPT,
                          "'%s' is a database of another program; set another state_dir", s->path);
    if (format != STATE_FORMAT)
        return tm_err_set(
            err, TM_E_UNSUPPORTED,
            "state '%s' has format %lld, this version reads %d; install the version that "
            "wrote it",
            s->path, (long long)format, STATE_FORMAT);
    return quick_check(s, err);
}

/* Made by us first, so that the mode is 0600 from birth and a directory without rights is named. */
static int create_file(const char *dir, const char *path, struct tm_err *err)
{
    TM_CLEANUP(closep) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return tm_err_errno(err, errno, "cannot open state directory '%s'", dir);
    TM_CLEANUP(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open state '%s'", path);
    if (fsync(dir_fd) < 0)
        return tm_err_errno(err, errno, "cannot sync state directory '%s'", dir);
    return 0;
}

int state_open_sqlite(const char *dir, const struct state_options *options, struct state **ret,
                      struct tm_err *err)
{
    struct state_sqlite *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return tm_err_oom(err);
    state_init(&s->base, &sqlite_ops);
    if (options)
        s->options = *options;
    if (snprintf(s->path, sizeof s->path, "%s/state.db", dir) >= (int)sizeof s->path) {
        free(s);
        return tm_err_set(err, TM_E_INVALID, "state_dir is too long");
    }
    if ((r = create_file(dir, s->path, err)) < 0)
        goto fail;
    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK) {
        r = sql_error(s, "cannot open state", err);
        goto fail;
    }
    (void)sqlite3_extended_result_codes(s->db, 1);
    (void)sqlite3_busy_timeout(s->db, STATE_BUSY_MS);
    if ((r = exec(s,
                  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
                  err)) < 0 ||
        (r = open_schema(s, err)) < 0)
        goto fail;
    for (int i = 0; i < SQL_COUNT; i++) {
        if (sqlite3_prepare_v3(s->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &s->statements[i], NULL) != SQLITE_OK) {
            r = sql_error(s, "cannot open state", err);
            goto fail;
        }
    }
    *ret = &s->base;
    return 0;
fail:
    sqlite_free(&s->base);
    return r;
}
