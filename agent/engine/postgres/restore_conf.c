/*
 * The configuration of the restored server.
 *
 * A server must be able to start from its data directory alone. Where the source kept its
 * configuration elsewhere (Debian: /etc/postgresql), the stored files are put into the data
 * directory, and lines that lead out of it are commented out or pointed at the copies. All else in
 * those files stays as the user wrote it.
 *
 * What recovery needs goes into one marked block at the end of postgresql.auto.conf. Its last
 * setting, recovery_end_command, removes the block again: a forgotten recovery_target would bite
 * whoever makes a standby of this server next year. restore_command is `false` when all log lies in
 * pg_wal: status 1 tells PostgreSQL "not in the archive", and it looks in pg_wal.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/recovery_conf.h"
#include "agent/engine/postgres/restore_internal.h"
#include "agent/engine/postgres/wal.h"
#include "common/fd.h"

#define COPIES_DIR "restored_conf" /* for files that were not beside postgresql.conf */
#define PATH_ROOM  ((size_t)ENGINE_PATH_MAX * 2)

const char *target_option(const struct engine_restore *r, const char *name)
{
    for (char **p = r->server_options; p != NULL && *p != NULL; p += 2) {
        if (strcmp(p[0], name) == 0)
            return p[1];
    }
    return NULL;
}

int target_read(const struct engine_restore *r, const char *path, struct buf *out, bool *ret_exists,
                struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = -1;
    int rc = fs_open_beneath(r->data.fd, path, O_RDONLY | O_NOFOLLOW, 0, &fd, err);
    if (rc < 0 && err->code == TM_E_NOT_FOUND) {
        *ret_exists = false;
        return 0;
    }
    if (rc >= 0)
        rc = fd_read_all(fd, out, RESTORE_CONFIG_MAX_BYTES, path, err);
    if (rc >= 0)
        *ret_exists = true;
    return rc;
}

static int read_stored(const struct restore_config_file *file, struct buf *out, struct tm_err *err)
{
    if (lseek(file->fd, 0, SEEK_SET) < 0)
        return tm_err_errno(err, errno, "cannot read '%s'", file->path);
    return fd_read_all(file->fd, out, RESTORE_CONFIG_MAX_BYTES, file->path, err);
}

static const struct restore_config_file *stored_find(const struct engine_restore *r,
                                                     const char *path)
{
    for (size_t k = 0; k < r->config_count; k++) {
        if (strcmp(r->configs[k].path, path) == 0)
            return &r->configs[k];
    }
    return NULL;
}

/* The stored file that played this role at the source. */
static const struct restore_config_file *stored_role(const struct engine_restore *r,
                                                     const char *role)
{
    for (size_t k = 0; k < r->begin.config_file_count; k++) {
        if (strcmp(r->begin.config_files[k].role, role) == 0)
            return stored_find(r, r->begin.config_files[k].path);
    }
    return NULL;
}

/* ---- copying postgresql.conf and what it includes ---- */

struct rewrite {
    const struct engine_restore *r;
    char base[ENGINE_PATH_MAX]; /* directory of the file being copied, at the source */
    char home[ENGINE_PATH_MAX]; /* directory of postgresql.conf, at the source */
    struct buf *out;
    bool changed;
};

/* Absolute path at the source of a name in a file in `base`. */
static void source_path(const char *base, const char *name, char path[PATH_ROOM])
{
    if (name[0] == '/')
        (void)snprintf(path, PATH_ROOM, "%.1000s", name);
    else
        (void)snprintf(path, PATH_ROOM, "%.1000s/%.1000s", base, name);
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
}

/* Where the copy of a stored file goes: beside postgresql.conf as it was, else in a directory of
 * its own under its whole name. */
static void copy_path(const char *home, const char *path, char out[PATH_ROOM])
{
    size_t len = strlen(home);
    if (strncmp(path, home, len) == 0 && path[len] == '/')
        (void)snprintf(out, PATH_ROOM, "%s", path + len + 1);
    else
        (void)snprintf(out, PATH_ROOM, COPIES_DIR "%s", path);
}

static bool any_stored_in(const struct engine_restore *r, const char *dir)
{
    size_t len = strlen(dir);
    for (size_t k = 0; k < r->config_count; k++) {
        const char *p = r->configs[k].path;
        if (strncmp(p, dir, len) == 0 && p[len] == '/' && strchr(p + len + 1, '/') == NULL)
            return true;
    }
    return false;
}

static int comment_out(struct rewrite *w, const struct conf_line *line, const char *why,
                       struct tm_err *err)
{
    w->changed = true;
    int rc = buf_printf(w->out, err, "# tidemark restore, %s: ", why);
    if (rc >= 0)
        rc = buf_append_slice(w->out, line->text, err);
    if (rc >= 0 && (line->text.len == 0 || line->text.data[line->text.len - 1] != '\n'))
        rc = buf_append(w->out, "\n", 1, err);
    return rc;
}

static int rewrite_include(struct rewrite *w, const struct conf_line *line, struct tm_err *err)
{
    char path[PATH_ROOM];
    char copy[PATH_ROOM];
    char target[2 * PATH_ROOM];
    source_path(w->base, line->value, path);
    const char *inside = w->r->begin.data_dir;
    if (inside != NULL && inside[0] == '/' && place_below(path, inside) &&
        strcmp(path, inside) != 0) {
        /* in the data directory, so in the backup like any other file */
        if (line->value[0] != '/' && strcmp(w->base, inside) == 0)
            return buf_append_slice(w->out, line->text, err);
        w->changed = true;
        (void)snprintf(target, sizeof(target), "%s%s", w->r->data.path, path + strlen(inside));
        return conf_append(w->out, line->name, target, err);
    }
    bool is_dir = strcmp(line->name, "include_dir") == 0;
    if (is_dir ? !any_stored_in(w->r, path) : stored_find(w->r, path) == NULL)
        return comment_out(w, line, "not in the backup", err);
    copy_path(w->home, path, copy);
    w->changed = true;
    if (strcmp(w->base, w->home) == 0)
        (void)snprintf(target, sizeof(target), "%s", copy);
    else
        (void)snprintf(target, sizeof(target), "%s/%s", w->r->data.path, copy);
    /* the same word again, now with the place of the copy */
    return conf_append(w->out, line->name, target, err);
}

static int rewrite_line(void *arg, const struct conf_line *line, struct tm_err *err)
{
    static const char *const out_of_here[] = {
        "data_directory", "config_file",       "hba_file",
        "ident_file",     "external_pid_file", "stats_temp_directory",
    };
    struct rewrite *w = arg;
    for (size_t k = 0; k < TM_ARRAY_LEN(out_of_here); k++) {
        if (strcmp(line->name, out_of_here[k]) == 0)
            return comment_out(w, line, "belongs to the source", err);
    }
    if (strcmp(line->name, "include") == 0 || strcmp(line->name, "include_if_exists") == 0 ||
        strcmp(line->name, "include_dir") == 0)
        return rewrite_include(w, line, err);
    return buf_append_slice(w->out, line->text, err);
}

static void dir_of(const char *path, char out[ENGINE_PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    (void)snprintf(out, ENGINE_PATH_MAX, "%.*s", slash != NULL ? (int)(slash - path) : 0, path);
}

/* Copies one file of postgresql.conf's syntax. */
static int copy_conf(struct engine_restore *r, const char *home, const char *source,
                     struct slice text, const char *target, bool always, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct rewrite w = {.r = r, .out = &out};
    dir_of(source, w.base);
    (void)snprintf(w.home, sizeof(w.home), "%s", home);
    int rc = conf_scan(text, rewrite_line, &w, err);
    if (rc >= 0 && (w.changed || always))
        rc = target_write(r, target, buf_slice(&out), place_file_mode(r), err);
    return rc;
}

static int copy_includes(struct engine_restore *r, const char *home, struct tm_err *err)
{
    int rc = 0;
    for (size_t k = 0; rc >= 0 && k < r->begin.config_file_count; k++) {
        const struct pg_config_file *file = &r->begin.config_files[k];
        const struct restore_config_file *stored = stored_find(r, file->path);
        char copy[PATH_ROOM];
        TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
        if (stored == NULL || strcmp(file->role, "include") != 0)
            continue;
        copy_path(home, file->path, copy);
        rc = read_stored(stored, &text, err);
        if (rc >= 0)
            rc = copy_conf(r, home, file->path, buf_slice(&text), copy, true, err);
    }
    return rc;
}

static int install_main_conf(struct engine_restore *r, struct tm_err *err)
{
    static const char nothing[] = "# tidemark restore: the backup holds no postgresql.conf\n";
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    const struct restore_config_file *stored = stored_role(r, "config_file");
    char source[PATH_ROOM];
    char home[ENGINE_PATH_MAX];
    bool exists = false;
    int rc = target_read(r, "postgresql.conf", &text, &exists, err);
    if (rc < 0)
        return rc;
    if (stored != NULL) {
        /* what the source ran with; one that lay in the data directory was not in use */
        buf_reset(&text);
        rc = read_stored(stored, &text, err);
        (void)snprintf(source, sizeof(source), "%.1000s", stored->path);
    } else {
        (void)snprintf(source, sizeof(source), "%.1000s/postgresql.conf",
                       r->begin.data_dir != NULL ? r->begin.data_dir : "");
    }
    if (rc >= 0 && stored == NULL && !exists)
        rc = buf_append(&text, nothing, sizeof(nothing) - 1, err);
    dir_of(source, home);
    if (rc >= 0)
        rc = copy_conf(r, home, source, buf_slice(&text), "postgresql.conf",
                       stored != NULL || !exists, err);
    return rc < 0 ? rc : copy_includes(r, home, err);
}

/* pg_hba.conf and pg_ident.conf: as they are, under their usual names. */
static int install_plain(struct engine_restore *r, const char *role, const char *name,
                         const char *otherwise, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    const struct restore_config_file *stored = stored_role(r, role);
    bool exists = false;
    int rc;
    if (stored != NULL) {
        rc = read_stored(stored, &text, err);
        return rc < 0 ? rc : target_write(r, name, buf_slice(&text), place_file_mode(r), err);
    }
    rc = target_read(r, name, &text, &exists, err);
    if (rc < 0 || exists || otherwise == NULL)
        return rc;
    return target_write(r, name, slice_str(otherwise), place_file_mode(r), err);
}

/* ---- postgresql.auto.conf ---- */

/* The value in force: the last one in postgresql.auto.conf, else in postgresql.conf. */
static bool setting_of(const struct engine_restore *r, struct slice automatic, const char *name,
                       char *value, size_t size)
{
    struct tm_err ignored = {0};
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    bool exists = false;
    if (conf_find(automatic, name, value, size))
        return true;
    return target_read(r, "postgresql.conf", &text, &exists, &ignored) == 0 && exists &&
           conf_find(buf_slice(&text), name, value, size);
}

static long setting_number(const struct engine_restore *r, struct slice automatic, const char *name,
                           long otherwise)
{
    char value[CONF_VALUE_MAX];
    char *end;
    if (!setting_of(r, automatic, name, value, sizeof(value)))
        return otherwise;
    errno = 0;
    long number = strtol(value, &end, 10);
    return errno == 0 && end != value && *end == '\0' ? number : otherwise;
}

/* Replay needs at least the source's limits. */
static int append_minimums(struct engine_restore *r, struct slice automatic,
                           const struct control_file *c, struct buf *out, struct tm_err *err)
{
    const struct {
        const char *name;
        long needed;
        long usual;
    } limits[] = {
        {"max_connections", TM_MAX(c->settings.max_connections, r->raised.max_connections), 100},
        {"max_worker_processes",
         TM_MAX(c->settings.max_worker_processes, r->raised.max_worker_processes), 8},
        {"max_wal_senders", TM_MAX(c->settings.max_wal_senders, r->raised.max_wal_senders), 10},
        {"max_prepared_transactions",
         TM_MAX(c->settings.max_prepared_transactions, r->raised.max_prepared_xacts), 0},
        {"max_locks_per_transaction",
         TM_MAX(c->settings.max_locks_per_transaction, r->raised.max_locks_per_xact), 64},
    };
    int rc = 0;
    for (size_t k = 0; rc >= 0 && k < TM_ARRAY_LEN(limits); k++) {
        const char *asked = target_option(r, limits[k].name);
        long now = asked != NULL ? strtol(asked, NULL, 10)
                                 : setting_number(r, automatic, limits[k].name, limits[k].usual);
        if (now < limits[k].needed)
            rc = buf_printf(out, err, "%s = %ld\n", limits[k].name, limits[k].needed);
    }
    return rc;
}

static int append_recovery(struct engine_restore *r, struct buf *out, struct tm_err *err)
{
    static const char *const emptied[] = {
        /* a second target, or a command of the source, must not join in */
        "recovery_target",     "recovery_target_name", "recovery_target_time",
        "recovery_target_xid", "recovery_target_lsn",  "archive_cleanup_command",
        "primary_conninfo",    "primary_slot_name",
    };
    TM_CLEANUP(buf_release) struct buf command = BUF_INIT;
    const char *text = NULL;
    char timeline[16], lsn[PG_LSN_TEXT_MAX];
    bool by_record = r->stop_record != 0;
    uint64_t last = by_record ? r->stop_record : r->last_record;
    int rc = 0;
    for (size_t k = 0; rc >= 0 && k < TM_ARRAY_LEN(emptied); k++)
        rc = conf_append(out, emptied[k], "", err);
    (void)snprintf(timeline, sizeof(timeline), "%" PRIu32,
                   by_record ? r->stop_timeline : r->end.timeline);
    if (rc >= 0)
        rc = conf_append(out, "restore_command", r->wal_get != NULL ? r->wal_get : "false", err);
    /* 'immediate' is noticed only when a record beyond the end is read, and the stored log may end
     * there: the last wanted record is named instead */
    if (rc >= 0 && last > 0) {
        rc = conf_append(out, "recovery_target_lsn", pg_lsn_format(last, lsn), err);
        if (rc >= 0)
            rc = conf_append(out, "recovery_target_inclusive", "on", err);
    } else if (rc >= 0) {
        rc = conf_append(out, "recovery_target", "immediate", err);
    }
    if (rc >= 0)
        rc = conf_append(out, "recovery_target_timeline", timeline, err);
    if (rc >= 0)
        rc = conf_append(out, "recovery_target_action", "promote", err);
    if (rc >= 0)
        rc = conf_append(out, "recovery_min_apply_delay", "0", err);
    if (rc >= 0)
        rc = conf_block_remove_command(&command, CONF_TAG_RECOVERY, err);
    if (rc >= 0)
        rc = buf_cstr(&command, &text, err);
    return rc < 0 ? rc : conf_append(out, "recovery_end_command", text, err);
}

static int append_options(const struct engine_restore *r, struct buf *out, struct tm_err *err)
{
    int rc =
        conf_block_begin(out, CONF_TAG_OPTIONS, "given with the restore; yours to change", err);
    for (char **p = r->server_options; rc >= 0 && p != NULL && *p != NULL; p += 2) {
        if (strncmp(p[0], "tidemark.", 9) != 0)
            rc = conf_append(out, p[0], p[1], err);
    }
    return rc < 0 ? rc : conf_block_end(out, CONF_TAG_OPTIONS, err);
}

/* The file without our blocks; a last line without end gets one. */
static int auto_conf_read(struct engine_restore *r, struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    static const char *const tags[] = {CONF_TAG_RECOVERY, CONF_TAG_CLONE, CONF_TAG_OPTIONS};
    bool exists = false;
    int rc = target_read(r, PATH_AUTO_CONF, &text, &exists, err);
    for (size_t k = 0; rc >= 0 && k < TM_ARRAY_LEN(tags); k++) {
        buf_reset(out);
        rc = conf_block_remove(buf_slice(&text), tags[k], out, err);
        buf_reset(&text);
        if (rc >= 0)
            rc = buf_append_slice(&text, buf_slice(out), err);
    }
    if (rc >= 0 && out->len > 0 && out->data[out->len - 1] != '\n')
        rc = buf_append(out, "\n", 1, err);
    return rc;
}

/* Socket directories: the data directory, and the configured ones that this host has. */
static int append_sockets(struct engine_restore *r, struct slice automatic, struct buf *out,
                          struct tm_err *err)
{
    char configured[CONF_VALUE_MAX];
    char list[CONF_VALUE_MAX];
    char *rest = configured;
    char *word;
    size_t len = 0;
    /* a socket's whole path has at most 107 bytes */
    if (strlen(r->data.path) + strlen("/.s.PGSQL.65535") <= 107 &&
        strpbrk(r->data.path, ", '\"") == NULL)
        len = (size_t)snprintf(list, sizeof(list), "%s", r->data.path);
    if (!setting_of(r, automatic, "unix_socket_directories", configured, sizeof(configured)))
        (void)snprintf(configured, sizeof(configured), "/var/run/postgresql,/tmp");
    while ((word = strsep(&rest, ",")) != NULL) {
        struct stat st;
        word += strspn(word, " \t\"");
        word[strcspn(word, " \t\"")] = '\0';
        bool writable = word[0] == '/' && stat(word, &st) == 0 && S_ISDIR(st.st_mode) &&
                        (st.st_uid == r->uid || (st.st_mode & S_IWOTH) != 0 ||
                         (st.st_gid == r->gid && (st.st_mode & S_IWGRP) != 0));
        if (writable && len + strlen(word) + 2 < sizeof(list))
            len +=
                (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len > 0 ? "," : "", word);
    }
    return len > 0 ? conf_append(out, "unix_socket_directories", list, err) : 0;
}

/* TLS files of the source that are not on this host would keep the server from starting. */
static int append_tls(struct engine_restore *r, struct slice automatic, struct buf *out,
                      struct tm_err *err)
{
    static const char *const names[] = {"ssl_cert_file", "ssl_key_file"};
    char value[CONF_VALUE_MAX];
    for (size_t k = 0; k < TM_ARRAY_LEN(names); k++) {
        if (setting_of(r, automatic, names[k], value, sizeof(value)) && value[0] == '/' &&
            access(value, F_OK) < 0)
            return conf_append(out, "ssl", "off", err);
    }
    return 0;
}

static int append_clone(struct engine_restore *r, struct slice automatic, struct buf *out,
                        struct tm_err *err)
{
    char port[8];
    int rc = conf_block_begin(out, CONF_TAG_CLONE,
                              "a restored copy must not act as its source; yours to change", err);
    if (rc >= 0)
        rc = conf_append(out, "archive_mode", "off", err);
    if (rc >= 0)
        rc = conf_append(out, "primary_conninfo", "", err);
    if (rc >= 0)
        rc = conf_append(out, "primary_slot_name", "", err);
    if (rc >= 0)
        rc = conf_append(out, "synchronous_standby_names", "", err);
    if (rc >= 0)
        rc = conf_append(out, "logging_collector", "off", err);
    if (rc >= 0)
        rc = append_sockets(r, automatic, out, err);
    if (rc >= 0)
        rc = append_tls(r, automatic, out, err);
    (void)snprintf(port, sizeof(port), "%u", (unsigned)r->port);
    if (rc >= 0 && r->port != 0)
        rc = conf_append(out, "port", port, err);
    return rc < 0 ? rc : conf_block_end(out, CONF_TAG_CLONE, err);
}

static int control_of(struct engine_restore *r, struct control_file *ret, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    bool exists = false;
    int rc =
        target_read(r, r->finished ? PATH_CONTROL : PATH_CONTROL_PENDING, &bytes, &exists, err);
    if (rc >= 0 && !exists)
        rc = tm_err_set(err, TM_E_CORRUPT, "the backup has no pg_control");
    return rc < 0 ? rc : control_file_parse(buf_slice(&bytes), ret, err);
}

static int write_auto_conf(struct engine_restore *r, bool clone, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf user = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct control_file control;
    int rc = control_of(r, &control, err);
    if (rc >= 0)
        rc = auto_conf_read(r, &user, err);
    if (rc >= 0)
        rc = buf_append_slice(&out, buf_slice(&user), err);
    if (rc >= 0 && clone)
        rc = append_clone(r, buf_slice(&user), &out, err);
    if (rc >= 0 && r->server_options != NULL && r->server_options[0] != NULL)
        rc = append_options(r, &out, err);
    if (rc >= 0)
        rc = conf_block_begin(&out, CONF_TAG_RECOVERY, "removed by itself when recovery ends", err);
    if (rc >= 0)
        rc = append_minimums(r, buf_slice(&user), &control, &out, err);
    if (rc >= 0)
        rc = append_recovery(r, &out, err);
    if (rc >= 0)
        rc = conf_block_end(&out, CONF_TAG_RECOVERY, err);
    return rc < 0 ? rc : target_write(r, PATH_AUTO_CONF, buf_slice(&out), place_file_mode(r), err);
}

int target_conf_install(struct engine_restore *r, struct tm_err *err)
{
    static const char local_only[] = "# tidemark restore: the backup holds no pg_hba.conf; only "
                                     "local users under their own name\n"
                                     "local all all peer\n";
    int rc = install_main_conf(r, err);
    if (rc >= 0)
        rc = install_plain(r, "hba_file", "pg_hba.conf", local_only, err);
    if (rc >= 0)
        rc = install_plain(r, "ident_file", "pg_ident.conf", NULL, err);
    if (rc >= 0)
        rc = write_auto_conf(r, r->port != 0, err);
    return rc < 0 ? tm_err_prefix(err, "configuration of the restored server") : 0;
}

int target_conf_clone(struct engine_restore *r, struct tm_err *err)
{
    int rc = write_auto_conf(r, true, err);
    return rc < 0 ? tm_err_prefix(err, "configuration of the restored server") : 0;
}
