/*
 * Happy path: after pg_backup_start, the numbers come from pg_control, tablespaces and
 * configuration files from the server, the timeline's history from pg_wal.
 *
 * Failure modes: more tablespaces or configuration files than the limits; a history file that is
 * missing although the timeline is not the first; a server that forbids reading the list of
 * included configuration files (they are then left out: they are no part of the database); a start
 * whose checkpoint cannot be found: the snapshot is whole, but cannot be resumed.
 */
#include "agent/engine/postgres/session.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "agent/engine/postgres/checkpoint.h"
#include "agent/engine/postgres/files.h"
#include "agent/engine/postgres/wal.h"

static int take_control(const struct engine_instance *instance, struct pg_begin *begin,
                        struct control_file *ret, struct tm_err *err)
{
    struct control_file control;
    TM_CLEANUP(closep) int fd = open(instance->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open data_dir '%s'", instance->data_dir);
    int r = control_file_read(fd, &control, NULL, err);
    if (r < 0)
        return tm_err_prefix(err, "data_dir '%s'", instance->data_dir);
    begin->system_id = control.system_id;
    begin->timeline = control.timeline;
    begin->catalog_version = control.catalog_version;
    begin->control_version = control.control_version;
    begin->block_bytes = control.block_bytes;
    begin->relation_segment_blocks = control.relation_segment_blocks;
    begin->wal_segment_bytes = control.wal_segment_bytes;
    begin->checksum_version = control.checksum_version;
    begin->replay_from = pg_wal_segment_start(begin->start_lsn, control.wal_segment_bytes);
    begin->settings = control.settings;
    *ret = control;
    return 0;
}

static void take_checkpoint(const struct engine_instance *instance,
                            const struct control_file *control, struct pg_begin *begin)
{
    struct tm_err ignored = {0};
    begin->next_xid = control->next_xid;
    if (control->redo == begin->start_lsn)
        begin->checkpoint_lsn = control->checkpoint;
    else if (pg_checkpoint_find(instance->data_dir, begin, &begin->checkpoint_lsn, &begin->next_xid,
                                &ignored) < 0)
        begin->checkpoint_lsn = 0; /* and what a later checkpoint has next began after it, too */
}

/* ---- history ---- */

static int take_history(const struct engine_instance *instance, struct pg_begin *begin,
                        struct tm_err *err)
{
    char name[PG_WAL_NAME_MAX], path[ENGINE_PATH_MAX];
    if (begin->timeline == 1)
        return 0;
    pg_wal_history_name(begin->timeline, name);
    snprintf(path, sizeof(path), "%s/pg_wal/%s", instance->data_dir, name);
    TM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open the history of timeline %u, '%s'",
                            begin->timeline, path);
    for (;;) {
        int r = buf_reserve(&begin->history, 4096, err);
        if (r < 0)
            return r;
        ssize_t n = read(fd, begin->history.data + begin->history.len, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot read '%s'", path);
        if (n == 0)
            return 0;
        begin->history.len += (size_t)n;
        if (begin->history.len > PG_HISTORY_MAX)
            return tm_err_set(err, TM_E_LIMIT, "'%s' is longer than %d bytes", path,
                              PG_HISTORY_MAX);
    }
}

/* ---- tablespaces ---- */

static int take_tablespaces(struct pg_conn *conn, struct pg_begin *begin, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    /* those made in place (a relative location) are directories like any other */
    int r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                          "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace "
                          "WHERE pg_tablespace_location(oid) LIKE '/%' ORDER BY oid",
                          NULL, 0, &result, err);
    if (r < 0)
        return r;
    size_t count = (size_t)PQntuples(result);
    if (count > PG_TABLESPACES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%zu tablespaces are more than %d", count,
                          PG_TABLESPACES_MAX);
    begin->tablespaces = calloc(count + 1, sizeof(*begin->tablespaces));
    if (!begin->tablespaces)
        return tm_err_oom(err);
    for (size_t n = 0; n < count; n++) {
        struct pg_tablespace *tablespace = &begin->tablespaces[begin->tablespace_count++];
        tablespace->oid = (uint32_t)strtoul(PQgetvalue(result, (int)n, 0), NULL, 10);
        tablespace->path = strdup(PQgetvalue(result, (int)n, 1));
        if (!tablespace->path)
            return tm_err_oom(err);
    }
    return 0;
}

/* ---- configuration outside the data directory ---- */

/* Where `path` really is must not lie below `root`; a file that is gone is nobody's. */
static bool is_outside(const char *path, const char *root)
{
    TM_CLEANUP(freep) char *real = realpath(path, NULL);
    size_t len = strlen(root);
    if (path[0] != '/' || !real)
        return false;
    return strncmp(real, root, len) != 0 || (real[len] != '/' && real[len] != '\0');
}

static int add_config_file(struct pg_begin *begin, const char *path, const char *role,
                           struct tm_err *err)
{
    for (size_t n = 0; n < begin->config_file_count; n++) {
        const char *known = begin->config_files[n].path;
        if (known && strcmp(known, path) == 0)
            return 0;
    }
    if (strlen(path) >= ENGINE_PATH_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the path of configuration file '%.200s' is too long",
                          path);
    if (begin->config_file_count == PG_CONFIG_FILES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d configuration files outside '%s'",
                          PG_CONFIG_FILES_MAX, begin->data_dir);
    TM_CLEANUP(freep) char *path_copy = strdup(path);
    TM_CLEANUP(freep) char *role_copy = strdup(role);
    if (!path_copy || !role_copy)
        return tm_err_oom(err);
    begin->config_files[begin->config_file_count++] =
        (struct pg_config_file){TM_TAKE(path_copy), TM_TAKE(role_copy)};
    return 0;
}

static int add_config_rows(struct pg_begin *begin, const PGresult *result, const char *root,
                           struct tm_err *err)
{
    int r = 0;
    for (int n = 0; r == 0 && n < PQntuples(result); n++) {
        const char *path = PQgetvalue(result, n, 0);
        if (is_outside(path, root))
            r = add_config_file(begin, path, PQgetvalue(result, n, 1), err);
    }
    return r;
}

static int compare_config_files(const void *a, const void *b)
{
    const struct pg_config_file *file_a = a, *file_b = b;
    uint8_t key_a[ENGINE_KEY_MAX], key_b[ENGINE_KEY_MAX];
    size_t len_a = 0, len_b = 0;
    struct tm_err err;
    /* the paths' lengths were checked: their keys can be made */
    if (files_key_path(FILES_CLASS_CONFIG, file_a->path, 0, key_a, &len_a, &err) < 0 ||
        files_key_path(FILES_CLASS_CONFIG, file_b->path, 0, key_b, &len_b, &err) < 0)
        return strcmp(file_a->path, file_b->path);
    return slice_cmp(slice_of(key_a, len_a), slice_of(key_b, len_b));
}

/* Files that are included need rights beyond pg_read_all_settings: take what can be seen. */
static int take_included(struct pg_conn *conn, uint32_t major, const char *root,
                         struct pg_begin *begin, struct tm_err *err)
{
    static const char settings_sql[] =
        "SELECT DISTINCT sourcefile, 'include' FROM pg_file_settings WHERE sourcefile IS NOT NULL";
    static const char rules_sql[] =
        "SELECT DISTINCT file_name, 'include' FROM pg_hba_file_rules WHERE file_name IS NOT NULL "
        "UNION SELECT DISTINCT file_name, 'include' FROM pg_ident_file_mappings "
        "WHERE file_name IS NOT NULL";
    const char *const statements[] = {settings_sql, major >= 16 ? rules_sql : NULL};
    for (size_t n = 0; n < TM_ARRAY_LEN(statements); n++) {
        TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
        if (!statements[n])
            continue;
        int r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, statements[n], NULL, 0, &result, err);
        if (r < 0 && err->code == TM_E_PERMISSION)
            continue;
        if (r == 0)
            r = add_config_rows(begin, result, root, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_config_files(struct pg_conn *conn, const struct pg_facts *facts,
                             struct pg_begin *begin, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    TM_CLEANUP(freep) char *root = realpath(facts->data_dir, NULL);
    if (!root)
        return tm_err_errno(err, errno, "cannot resolve '%s'", facts->data_dir);
    begin->config_files = calloc(PG_CONFIG_FILES_MAX, sizeof(*begin->config_files));
    if (!begin->config_files)
        return tm_err_oom(err);
    int r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                          "SELECT setting, name FROM pg_settings "
                          "WHERE name IN ('config_file', 'hba_file', 'ident_file') ORDER BY name",
                          NULL, 0, &result, err);
    if (r == 0)
        r = add_config_rows(begin, result, root, err);
    if (r == 0)
        r = take_included(conn, facts->version->major, root, begin, err);
    if (r == 0 && begin->config_file_count > 1)
        qsort(begin->config_files, begin->config_file_count, sizeof(*begin->config_files),
              compare_config_files);
    return r;
}

static int look(const struct engine_instance *instance, struct pg_conn *conn,
                struct pg_begin *begin, struct control_file *ret_control, struct tm_err *err)
{
    int r = take_control(instance, begin, ret_control, err);
    if (r == 0)
        r = take_history(instance, begin, err);
    if (r == 0)
        r = take_tablespaces(conn, begin, err);
    return r;
}

int pg_begin_look(const struct engine_instance *instance, struct pg_conn *conn,
                  struct pg_begin *begin, struct tm_err *err)
{
    struct control_file control;
    return look(instance, conn, begin, &control, err);
}

int pg_begin_collect(const struct engine_instance *instance, struct pg_conn *conn,
                     const struct pg_facts *facts, const char *label, struct pg_begin *begin,
                     struct tm_err *err)
{
    struct control_file control;
    int r = look(instance, conn, begin, &control, err);
    if (r < 0)
        return r;
    take_checkpoint(instance, &control, begin);
    begin->data_dir = strdup(facts->data_dir);
    begin->label = strdup(label);
    if (!begin->data_dir || !begin->label)
        return tm_err_oom(err);
    return take_config_files(conn, facts, begin, err);
}
