/*
 * Opening a restore: everything that can be refused is refused here, before a byte is written.
 *
 * Happy path: blobs decode → the label fits the snapshot → the target is absent or empty (or, with
 * delta, an unused data directory of the same cluster) → every tablespace has a place of its own
 * that is absent or empty. Each refusal is one sentence that says what to do.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/recovery_conf.h"
#include "agent/engine/postgres/restore_internal.h"
#include "agent/engine/postgres/server.h"

static void strings_free(char **list)
{
    for (char **p = list; p != NULL && *p != NULL; p++)
        free(*p);
    free(list);
}

/* Copies a NULL-terminated list; NULL stays NULL. */
static int strings_copy(const char *const *list, char ***ret_copy, struct tm_err *err)
{
    size_t n = 0;
    if (list == NULL)
        return 0;
    while (list[n] != NULL)
        n++;
    if (n > RESTORE_STRINGS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d entries in a list of the restore",
                          RESTORE_STRINGS_MAX);
    char **copy = calloc(n + 1, sizeof(*copy));
    if (copy == NULL)
        return tm_err_oom(err);
    for (size_t k = 0; k < n; k++) {
        copy[k] = strdup(list[k]);
        if (copy[k] == NULL) {
            strings_free(copy);
            return tm_err_oom(err);
        }
    }
    *ret_copy = copy;
    return 0;
}

static int strings_real(char **list, const char *what, struct tm_err *err)
{
    for (char **p = list; p != NULL && *p != NULL; p++) {
        char *real = NULL;
        int rc = place_real(*p, what, &real, err);
        if (rc < 0)
            return rc;
        free(*p);
        *p = real;
    }
    return 0;
}

static int pairs_check(char **list, const char *what, struct tm_err *err)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n % 2 == 0 ? 0 : tm_err_set(err, TM_E_INVALID, "%s: an entry has no value", what);
}

/* Names and values that cannot be written are refused now, not at the end. */
static int options_check(const struct engine_restore *r, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
    int rc = pairs_check(r->server_options, "serverOptions", err);
    for (char **p = r->server_options; rc >= 0 && p != NULL && *p != NULL; p += 2) {
        rc = conf_append(&scratch, p[0], p[1], err);
        if (rc >= 0 && strncmp(p[0], "tidemark.", 9) == 0 && strcmp(p[0], OPTION_OWNER) != 0 &&
            strcmp(p[0], OPTION_BINDIR) != 0)
            rc = tm_err_set(err, TM_E_INVALID,
                            "server option '%.64s' is not known: there are " OPTION_OWNER
                            " and " OPTION_BINDIR,
                            p[0]);
    }
    return rc;
}

static int spec_copy(struct engine_restore *r, const struct engine_restore_spec *spec,
                     struct tm_err *err)
{
    int rc = strings_copy(spec->tablespace_map, &r->tablespace_map, err);
    if (rc >= 0)
        rc = strings_copy(spec->restore_roots, &r->roots, err);
    if (rc >= 0)
        rc = strings_copy(spec->server_options, &r->server_options, err);
    if (rc >= 0)
        rc = strings_copy(spec->live_data_dirs, &r->live_data_dirs, err);
    if (rc >= 0)
        rc = pairs_check(r->tablespace_map, "tablespaceMap", err);
    if (rc >= 0)
        rc = options_check(r, err);
    if (rc >= 0)
        rc = strings_real(r->roots, "restore root", err);
    if (rc >= 0)
        rc = strings_real(r->live_data_dirs, "data directory", err);
    if (rc < 0)
        return rc;
    if (spec->wal_get != NULL && (r->wal_get = strdup(spec->wal_get)) == NULL)
        return tm_err_oom(err);
    r->port = spec->port;
    r->resume = spec->resume;
    r->delta = spec->delta || spec->resume;
    return target_stop_set(r, spec, err);
}

/* ---- what the backup says ---- */

static int backup_read(struct engine_restore *r, const struct engine_restore_spec *spec,
                       struct tm_err *err)
{
    int rc = pg_begin_decode(spec->begin, &r->begin, err);
    if (rc >= 0)
        rc = pg_end_decode(spec->end, &r->end, err);
    if (rc >= 0)
        rc = pg_version_require(r->begin.version_num, &r->version, err);
    if (rc >= 0)
        rc = label_parse(buf_slice(&r->end.backup_label), &r->label, err);
    if (rc < 0)
        return tm_err_prefix(err, "the backup cannot be restored");
    if (r->label.start_lsn != r->begin.start_lsn || r->label.incremental ||
        (r->label.start_timeline != 0 && r->label.start_timeline != r->begin.timeline))
        return tm_err_set(err, TM_E_CORRUPT,
                          "the backup cannot be restored: its backup_label is of another backup");
    if (r->stop_record != 0 && r->stop_timeline == r->end.timeline &&
        r->stop_record < r->begin.start_lsn)
        return tm_err_set(err, TM_E_INVALID,
                          "the backup cannot be restored to a record before its own begin");
    if (r->end.stop_lsn < r->begin.start_lsn || r->begin.tablespace_count > PG_TABLESPACES_MAX)
        return tm_err_set(err, TM_E_CORRUPT,
                          "the backup cannot be restored: it ends before it begins");
    (void)pg_version_tablespace_dir(r->version->major, r->begin.catalog_version, r->version_dir);
    return 0;
}

/* ---- the data directory ---- */

static int owner_check(const struct engine_restore *r, const char *path, const char *what,
                       enum place_state state, uid_t uid, struct tm_err *err)
{
    if (state == PLACE_ABSENT || uid == r->uid || (r->chown && state == PLACE_EMPTY))
        return 0;
    return tm_err_set(err, TM_E_REFUSED,
                      "%s '%s' belongs to user %u, not to user %u who would own the restored files",
                      what, path, (unsigned)uid, (unsigned)r->uid);
}

/* delta: what is there must be a data directory of this very cluster, and not in use. */
static int delta_check(const struct engine_restore *r, struct tm_err *err)
{
    TM_CLEANUP(closep)
    int fd = open(r->data.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open data directory '%s'", r->data.path);
    if (!r->resume && faccessat(fd, "PG_VERSION", F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
        faccessat(fd, "global", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return tm_err_set(err, TM_E_REFUSED,
                          "'%s' is not empty and is no PostgreSQL data directory: nothing in it "
                          "was touched",
                          r->data.path);
    struct control_file control;
    struct tm_err ignored = {0};
    if (control_file_read(fd, &control, NULL, &ignored) == 0 &&
        control.system_id != r->begin.system_id)
        return tm_err_set(err, TM_E_REFUSED,
                          "'%s' holds another database cluster (system identifier %" PRIu64
                          ", the backup has %" PRIu64 ")",
                          r->data.path, control.system_id, r->begin.system_id);
    struct stat st;
    if (r->wal.path == NULL && fstatat(fd, "pg_wal", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(st.st_mode))
        return tm_err_set(err, TM_E_REFUSED,
                          "'%s/pg_wal' is a link: name the directory it leads to as walDir",
                          r->data.path);
    return 0;
}

static int alive_check(const struct engine_restore *r, struct tm_err *err)
{
    TM_CLEANUP(closep)
    int fd = open(r->data.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open data directory '%s'", r->data.path);
    bool alive = false;
    pid_t pid = 0;
    int rc = server_alive(fd, r->data.path, &alive, &pid, err);
    if (rc < 0)
        return rc;
    if (alive)
        return tm_err_set(err, TM_E_REFUSED,
                          "a PostgreSQL server (pid %d) is running on '%s': stop it first",
                          (int)pid, r->data.path);
    return 0;
}

static int data_dir_check(struct engine_restore *r, const struct engine_restore_spec *spec,
                          struct tm_err *err)
{
    enum place_state state;
    uid_t uid = 0;
    if (spec->data_dir == NULL || spec->data_dir[0] == '\0')
        return tm_err_set(err, TM_E_INVALID, "no data directory given to restore to");
    int rc = place_real(spec->data_dir, "data directory", &r->data.path, err);
    if (rc >= 0)
        rc = place_check(r, r->data.path, "data directory", err);
    if (rc >= 0)
        rc = place_owner(r, r->data.path, target_option(r, OPTION_OWNER), err);
    if (rc >= 0)
        rc = place_look(r->data.path, "data directory", &state, &uid, err);
    if (rc < 0)
        return rc;
    if (state == PLACE_FILLED) {
        rc = alive_check(r, err);
        if (rc < 0)
            return rc;
        if (!r->delta)
            return tm_err_set(err, TM_E_REFUSED,
                              "data directory '%s' is not empty: empty it, choose another, or "
                              "restore with delta",
                              r->data.path);
    }
    rc = owner_check(r, r->data.path, "data directory", state, uid, err);
    if (rc >= 0 && state == PLACE_FILLED)
        rc = delta_check(r, err);
    return rc;
}

static int wal_dir_check(struct engine_restore *r, const struct engine_restore_spec *spec,
                         struct tm_err *err)
{
    enum place_state state;
    uid_t uid = 0;
    if (spec->wal_dir == NULL)
        return 0;
    int rc = place_real(spec->wal_dir, "log directory", &r->wal.path, err);
    if (rc >= 0)
        rc = place_check(r, r->wal.path, "log directory", err);
    if (rc >= 0)
        rc = place_look(r->wal.path, "log directory", &state, &uid, err);
    if (rc >= 0)
        rc = owner_check(r, r->wal.path, "log directory", state, uid, err);
    if (rc < 0)
        return rc;
    if (place_below(r->wal.path, r->data.path) || place_below(r->data.path, r->wal.path))
        return tm_err_set(err, TM_E_INVALID, "log directory '%s' and data directory '%s' overlap",
                          r->wal.path, r->data.path);
    if (state == PLACE_FILLED && !r->delta)
        return tm_err_set(err, TM_E_REFUSED, "log directory '%s' is not empty", r->wal.path);
    return 0;
}

/* ---- tablespaces ---- */

/* Where the map sends `source`, or NULL. */
static const char *mapped_to(const struct engine_restore *r, const char *source)
{
    for (char **p = r->tablespace_map; p != NULL && *p != NULL; p += 2) {
        if (strcmp(p[0], source) == 0)
            return p[1];
    }
    return NULL;
}

/* Every entry of the map must mean something, else it is a typing mistake. */
static int map_check(const struct engine_restore *r, struct tm_err *err)
{
    for (char **p = r->tablespace_map; p != NULL && *p != NULL; p += 2) {
        bool known = false;
        for (size_t k = 0; k < r->begin.tablespace_count && !known; k++)
            known = strcmp(r->begin.tablespaces[k].path, p[0]) == 0;
        if (!known)
            return tm_err_set(
                err, TM_E_INVALID,
                "tablespaceMap names '%.300s', but the backup has no tablespace there", p[0]);
    }
    return 0;
}

/* delta: is `path` what the target's own link pg_tblspc/<oid> leads to? */
static bool linked_now(const struct engine_restore *r, uint32_t oid, const char *path)
{
    char link[PATH_MAX + 32];
    char now[PATH_MAX];
    (void)snprintf(link, sizeof(link), "%s/pg_tblspc/%" PRIu32, r->data.path, oid);
    return realpath(link, now) != NULL && strcmp(now, path) == 0;
}

static int tablespace_apart(const struct engine_restore *r, const struct restore_tablespace *t,
                            struct tm_err *err)
{
    if (place_below(t->root.path, r->data.path) || place_below(r->data.path, t->root.path))
        return tm_err_set(err, TM_E_REFUSED,
                          "tablespace '%s' and the data directory '%s' overlap: map it elsewhere "
                          "with tablespaceMap",
                          t->root.path, r->data.path);
    if (r->wal.path != NULL &&
        (place_below(t->root.path, r->wal.path) || place_below(r->wal.path, t->root.path)))
        return tm_err_set(err, TM_E_REFUSED, "tablespace '%s' and the log directory '%s' overlap",
                          t->root.path, r->wal.path);
    for (size_t k = 0; k < r->tablespace_count; k++) {
        const char *other = r->tablespaces[k].root.path;
        if (place_below(t->root.path, other) || place_below(other, t->root.path))
            return tm_err_set(err, TM_E_REFUSED, "tablespaces '%s' and '%s' would overlap", other,
                              t->root.path);
    }
    return 0;
}

static int tablespace_check(struct engine_restore *r, const struct pg_tablespace *source,
                            struct restore_tablespace *t, struct tm_err *err)
{
    enum place_state state;
    uid_t uid = 0;
    char what[64];
    const char *target = mapped_to(r, source->path);
    (void)snprintf(what, sizeof(what), "tablespace %" PRIu32 " at", source->oid);
    int rc = place_real(target != NULL ? target : source->path, what, &t->root.path, err);
    if (rc >= 0)
        rc = place_look(t->root.path, what, &state, &uid, err);
    if (rc < 0)
        return rc;
    bool usable = state != PLACE_FILLED || (r->delta && linked_now(r, source->oid, t->root.path));
    if (!usable)
        return target != NULL
                   ? tm_err_set(err, TM_E_REFUSED, "%s '%s' is not empty: map '%s' elsewhere", what,
                                t->root.path, source->path)
                   : tm_err_set(err, TM_E_REFUSED,
                                "%s '%s' exists on this host and is not empty: it may be in use; "
                                "map it with tablespaceMap",
                                what, source->path);
    rc = place_check(r, t->root.path, what, err);
    if (rc < 0 && target == NULL)
        return tm_err_prefix(err, "tablespace '%s' needs an entry in tablespaceMap", source->path);
    if (rc >= 0)
        rc = owner_check(r, t->root.path, what, state, uid, err);
    return rc < 0 ? rc : tablespace_apart(r, t, err);
}

static int tablespaces_check(struct engine_restore *r, struct tm_err *err)
{
    int rc = map_check(r, err);
    if (rc < 0 || r->begin.tablespace_count == 0)
        return rc;
    r->tablespaces = calloc(r->begin.tablespace_count, sizeof(*r->tablespaces));
    if (r->tablespaces == NULL)
        return tm_err_oom(err);
    for (size_t k = 0; k < r->begin.tablespace_count; k++) {
        const struct pg_tablespace *source = &r->begin.tablespaces[k];
        if (source->path[0] != '/')
            continue; /* in place: a plain directory below pg_tblspc */
        struct restore_tablespace t = {.oid = source->oid, .root = RESTORE_ROOT_INIT};
        rc = tablespace_check(r, source, &t, err);
        if (rc >= 0 && (t.source = strdup(source->path)) == NULL)
            rc = tm_err_oom(err);
        if (rc < 0) {
            free(t.root.path);
            return rc;
        }
        r->tablespaces[r->tablespace_count++] = t;
    }
    return 0;
}

/* ---- open and close ---- */

int pg_restore_open(const struct engine_restore_spec *spec, struct engine_restore **ret_restore,
                    struct tm_err *err)
{
    TM_CLEANUP(pg_restore_closep) struct engine_restore *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return tm_err_oom(err);
    r->data = RESTORE_ROOT_INIT;
    r->wal = RESTORE_ROOT_INIT;
    r->log_fd = -1;
    r->manifest_fd = -1;
    if (pthread_mutex_init(&r->lock, NULL) != 0)
        return tm_err_oom(err);
    r->lock_ready = true;
    int rc = spec_copy(r, spec, err);
    if (rc >= 0)
        rc = backup_read(r, spec, err);
    if (rc >= 0)
        rc = data_dir_check(r, spec, err);
    if (rc >= 0)
        rc = wal_dir_check(r, spec, err);
    if (rc >= 0)
        rc = tablespaces_check(r, err);
    if (rc < 0)
        return rc;
    *ret_restore = TM_TAKE(r);
    return 0;
}

static void root_release(struct restore_root *root)
{
    free(root->path);
    closep(&root->fd);
}

void pg_restore_close(struct engine_restore *r)
{
    if (r == NULL)
        return;
    strings_free(r->tablespace_map);
    strings_free(r->roots);
    strings_free(r->server_options);
    strings_free(r->live_data_dirs);
    free(r->wal_get);
    pg_begin_release(&r->begin);
    pg_end_release(&r->end);
    root_release(&r->data);
    root_release(&r->wal);
    for (size_t k = 0; k < r->tablespace_count; k++) {
        free(r->tablespaces[k].source);
        root_release(&r->tablespaces[k].root);
    }
    free(r->tablespaces);
    for (size_t k = 0; k < r->config_count; k++) {
        free(r->configs[k].path);
        closep(&r->configs[k].fd);
    }
    free(r->configs);
    for (size_t k = 0; k < r->own_count; k++)
        free(r->own[k].path);
    free(r->own);
    path_set_free(r->seen);
    target_log_release(r);
    pg_manifest_free(r->manifest);
    closep(&r->manifest_fd);
    if (r->lock_ready)
        (void)pthread_mutex_destroy(&r->lock);
    free(r);
}
