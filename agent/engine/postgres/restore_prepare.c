/*
 * Making the target ready. The first thing that happens to an existing data directory is that its
 * pg_control goes, durably: from here until the end of finish no server starts on it, whatever is
 * killed in between. Then the directories every version expects, an empty log directory, and the
 * tablespaces with their links.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/engine/postgres/restore_internal.h"
#include "agent/engine/postgres/server.h"
#include "common/fd.h"

static const char *const standard_dirs[] = {
    "base",
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/snapshots",
    "pg_logical/mappings",
    "pg_multixact",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_wal/archive_status",
    "pg_xact",
};

/* Time has passed since open looked. */
static int look_again(struct engine_restore *r, struct tm_err *err)
{
    enum place_state state;
    uid_t uid = 0;
    int rc = place_look(r->data.path, "data directory", &state, &uid, err);
    if (rc < 0 || state != PLACE_FILLED)
        return rc;
    if (!r->delta)
        return tm_err_set(err, TM_E_REFUSED, "data directory '%s' is not empty any more",
                          r->data.path);
    bool alive = false;
    pid_t pid = 0;
    rc = server_alive(r->data.fd, r->data.path, &alive, &pid, err);
    if (rc >= 0 && alive)
        rc = tm_err_set(err, TM_E_REFUSED, "a PostgreSQL server (pid %d) was started on '%s'",
                        (int)pid, r->data.path);
    return rc;
}

/* Without pg_control no server starts. */
static int make_unstartable(struct engine_restore *r, struct tm_err *err)
{
    TM_CLEANUP(closep) int global = -1;
    struct tm_err absent = {0};
    int rc = fs_open_beneath(r->data.fd, "global", O_RDONLY | O_DIRECTORY, 0, &global, &absent);
    if (rc < 0) {
        if (absent.code == TM_E_NOT_FOUND)
            return 0;
        *err = absent;
        return rc;
    }
    if (unlinkat(global, "pg_control", 0) < 0 && errno != ENOENT)
        return tm_err_errno(err, errno, "cannot remove '%s/global/pg_control'", r->data.path);
    return fd_sync(global, "global", err);
}

static int link_dir(struct engine_restore *r, const char *name, const char *target,
                    struct tm_err *err)
{
    char now[ENGINE_PATH_MAX + 1];
    TM_CLEANUP(closep) int parent = -1;
    const char *base = strrchr(name, '/');
    int dir = r->data.fd;
    if (base != NULL) {
        int rc = fs_open_beneath(r->data.fd, "pg_tblspc", O_RDONLY | O_DIRECTORY, 0, &parent, err);
        if (rc < 0)
            return rc;
        dir = parent;
        base++;
    } else {
        base = name;
    }
    ssize_t n = readlinkat(dir, base, now, sizeof(now));
    if (n >= 0 && (size_t)n == strlen(target) && memcmp(now, target, (size_t)n) == 0)
        return target_remember(r, name, err);
    if (n >= 0 && unlinkat(dir, base, 0) < 0)
        return tm_err_errno(err, errno, "cannot remove link '%s/%s'", r->data.path, name);
    if (n < 0 && errno != ENOENT) {
        int rc = target_remove_dir(dir, base, err); /* delta: it was a plain directory */
        if (rc < 0)
            return rc;
    }
    if (symlinkat(target, dir, base) < 0)
        return tm_err_errno(err, errno, "cannot link '%s/%s' to '%s'", r->data.path, name, target);
    if (r->chown && fchownat(dir, base, r->uid, r->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return tm_err_errno(err, errno, "cannot give '%s/%s' away", r->data.path, name);
    return target_remember(r, name, err);
}

static int open_wal_dir(struct engine_restore *r, struct tm_err *err)
{
    int rc;
    if (r->wal.path != NULL) {
        rc = place_open(r, &r->wal, "log directory", err);
        if (rc >= 0)
            rc = link_dir(r, "pg_wal", r->wal.path, err);
    } else {
        rc = target_make_dirs(r, "pg_wal", 0700, err);
    }
    /* what log was there belongs to another history */
    return rc < 0 ? rc : target_empty_wal_dir(r, err);
}

static int make_standard_dirs(struct engine_restore *r, struct tm_err *err)
{
    int rc = 0;
    for (size_t k = 0; rc >= 0 && k < TM_ARRAY_LEN(standard_dirs); k++) {
        if (strcmp(standard_dirs[k], "pg_wal") == 0)
            continue;
        rc = target_make_dirs(r, standard_dirs[k], place_dir_mode(r), err);
    }
    if (rc >= 0 && r->version->has_summaries)
        rc = target_make_dirs(r, "pg_wal/summaries", place_dir_mode(r), err);
    return rc;
}

static int make_tablespaces(struct engine_restore *r, struct tm_err *err)
{
    for (size_t k = 0; k < r->tablespace_count; k++) {
        struct restore_tablespace *t = &r->tablespaces[k];
        char name[32];
        (void)snprintf(name, sizeof(name), "pg_tblspc/%" PRIu32, t->oid);
        int rc = place_open(r, &t->root, "tablespace", err);
        if (rc >= 0)
            rc = link_dir(r, name, t->root.path, err);
        if (rc < 0)
            return tm_err_prefix(err, "tablespace %" PRIu32, t->oid);
    }
    return 0;
}

int pg_restore_prepare(struct engine_restore *r, struct tm_err *err)
{
    if (r->prepared)
        return tm_err_set(err, TM_E_INTERNAL, "restore prepared twice");
    unlogged_sort(r);
    int rc = place_open(r, &r->data, "data directory", err);
    if (rc >= 0)
        rc = look_again(r, err);
    if (rc >= 0)
        rc = make_unstartable(r, err);
    if (rc >= 0 && r->delta)
        rc = path_set_new(&r->seen, err);
    if (rc >= 0)
        rc = open_wal_dir(r, err);
    if (rc >= 0)
        rc = make_standard_dirs(r, err);
    if (rc >= 0)
        rc = make_tablespaces(r, err);
    if (rc >= 0)
        r->prepared = true;
    return rc;
}
