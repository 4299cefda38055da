/*
 * The end of a restore, in this order, so that a crash at any point leaves a directory that either
 * cannot start or is complete:
 *
 *   log closed → configuration → backup_label, recovery.signal → foreign files removed (delta) →
 *   backup_manifest → everything on disk → pg_control renamed into place → its directory on disk
 *
 * "Everything on disk": on the file systems where syncfs(2) is known to wait and to report write
 * errors (Linux 5.8 and later), one call for each; elsewhere every file and directory is synced.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/restore_internal.h"
#include "agent/engine/postgres/wal.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/hash.h"

#define SYNC_DEPTH_MAX 32
#define XFS_MAGIC      0x58465342

/* ---- files of our own ---- */

struct restore_own_file *target_own_find(struct engine_restore *r, const char *path)
{
    for (size_t k = 0; k < r->own_count; k++) {
        if (strcmp(r->own[k].path, path) == 0)
            return &r->own[k];
    }
    return NULL;
}

static int own_note(struct engine_restore *r, const struct restore_own_file *file,
                    struct tm_err *err)
{
    struct restore_own_file *known = target_own_find(r, file->path);
    if (known == NULL) {
        if (r->own_count >= RESTORE_OWN_FILES_MAX)
            return tm_err_set(err, TM_E_LIMIT, "more than %d files of the restore's own",
                              RESTORE_OWN_FILES_MAX);
        struct restore_own_file *list = realloc(r->own, (r->own_count + 1) * sizeof(*list));
        if (list == NULL)
            return tm_err_oom(err);
        r->own = list;
        char *path = strdup(file->path);
        if (path == NULL)
            return tm_err_oom(err);
        known = &r->own[r->own_count++];
        known->path = path;
    }
    known->size = file->size;
    known->modified_us = file->modified_us;
    known->crc = file->crc;
    known->written = file->written;
    return 0;
}

int target_write(struct engine_restore *r, const char *path, struct slice text, mode_t mode,
                 struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = -1;
    int rc = target_open_file(r, path, mode, O_TRUNC, &fd, err);
    if (rc >= 0)
        rc = fd_write_full(fd, text.data, text.len, path, err);
    if (rc >= 0)
        rc = fd_sync(fd, path, err);
    if (rc >= 0)
        rc = fd_close(&fd, path, err);
    if (rc >= 0)
        rc = target_remember(r, path, err);
    if (rc < 0)
        return rc;
    char name[ENGINE_PATH_MAX * 2];
    (void)snprintf(name, sizeof(name), "%s", path);
    const struct restore_own_file file = {
        .path = name,
        .size = text.len,
        .modified_us = clock_real_us(),
        .crc = crc32c(CRC32C_INIT, text.data, text.len),
        .written = true,
    };
    return own_note(r, &file, err);
}

/* ---- backup_manifest ---- */

static int manifest_write(void *arg, struct slice bytes, struct tm_err *err)
{
    struct engine_restore *r = arg;
    int rc = fd_pwrite_full(r->manifest_fd, bytes.data, bytes.len, r->manifest_bytes, PATH_MANIFEST,
                            err);
    if (rc >= 0)
        r->manifest_bytes += bytes.len;
    return rc;
}

static int manifest_start(struct engine_restore *r, struct tm_err *err)
{
    if (r->manifest != NULL)
        return 0;
    int rc = target_open_file(r, PATH_MANIFEST, place_file_mode(r), O_TRUNC, &r->manifest_fd, err);
    if (rc >= 0)
        rc = target_remember(r, PATH_MANIFEST, err);
    return rc < 0 ? rc
                  : pg_manifest_new(r->version->major, r->begin.system_id, manifest_write, r,
                                    &r->manifest, err);
}

/* Files that finish may still change: their entry waits. */
static bool is_held_back(const char *path)
{
    return strcmp(path, "postgresql.conf") == 0 || strcmp(path, "pg_hba.conf") == 0 ||
           strcmp(path, "pg_ident.conf") == 0 || strcmp(path, PATH_AUTO_CONF) == 0;
}

/* delta: what was longer before ends where the backup's ends. */
static int fit_length(struct engine_restore *r, const char *path, uint64_t size, struct tm_err *err)
{
    const struct restore_root *root;
    const char *below;
    TM_CLEANUP(closep) int fd = -1;
    struct stat st;
    int rc = target_route(r, path, &root, &below, err);
    if (rc >= 0)
        rc = fs_open_beneath(root->fd, below, O_RDWR | O_NOFOLLOW, 0, &fd, err);
    if (rc < 0)
        return rc;
    if (fstat(fd, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s'", path);
    if ((uint64_t)st.st_size < size)
        return tm_err_set(err, TM_E_CORRUPT, "'%s' has %lld bytes, the backup says %llu", path,
                          (long long)st.st_size, (unsigned long long)size);
    if ((uint64_t)st.st_size > size && ftruncate(fd, (off_t)size) < 0)
        return tm_err_errno(err, errno, "cannot cut '%s'", path);
    return 0;
}

int pg_restore_manifest_file(struct engine_restore *r, const char *path, uint64_t size,
                             int64_t modified_us, uint32_t crc, struct tm_err *err)
{
    char name[ENGINE_PATH_MAX];
    if (!r->prepared || r->finished)
        return tm_err_set(err, TM_E_INTERNAL, "manifest before prepare or after finish");
    if (path[0] == '/' || target_is_ours(path) || unlogged_has(r, path) ||
        strncmp(path, "pg_wal/", 7) == 0)
        return 0;
    bool control = strcmp(path, PATH_CONTROL) == 0;
    int rc = r->delta ? fit_length(r, control ? PATH_CONTROL_PENDING : path, size, err) : 0;
    if (rc >= 0)
        rc = manifest_start(r, err);
    if (rc < 0)
        return rc;
    if (!is_held_back(path))
        return pg_manifest_file(r->manifest, path, size, modified_us, crc, err);
    (void)snprintf(name, sizeof(name), "%s", path);
    const struct restore_own_file file = {
        .path = name, .size = size, .modified_us = modified_us, .crc = crc};
    return own_note(r, &file, err);
}

static int manifest_end(struct engine_restore *r, struct tm_err *err)
{
    int rc = manifest_start(r, err);
    for (size_t k = 0; rc >= 0 && k < r->own_count; k++) {
        const struct restore_own_file *f = &r->own[k];
        /* pg_verifybackup ignores these, and they change as soon as the server runs */
        if (strcmp(f->path, PATH_AUTO_CONF) == 0 || strcmp(f->path, "recovery.signal") == 0)
            continue;
        rc = pg_manifest_file(r->manifest, f->path, f->size, f->modified_us, f->crc, err);
    }
    if (rc >= 0)
        rc = pg_manifest_wal_range(r->manifest, r->end.timeline, r->begin.start_lsn,
                                   r->end.stop_lsn, err);
    if (rc >= 0)
        rc = pg_manifest_finish(r->manifest, err);
    if (rc >= 0 && ftruncate(r->manifest_fd, (off_t)r->manifest_bytes) < 0)
        rc = tm_err_errno(err, errno, "cannot cut '%s'", PATH_MANIFEST);
    if (rc >= 0)
        rc = fd_sync(r->manifest_fd, PATH_MANIFEST, err);
    return rc < 0 ? rc : fd_close(&r->manifest_fd, PATH_MANIFEST, err);
}

/* ---- syncing ---- */

/* Since Linux 5.8 syncfs reports write errors that happened since the descriptor was opened. */
static bool kernel_reports(void)
{
    struct utsname u;
    unsigned long major;
    unsigned long minor;
    char *end;
    if (uname(&u) < 0)
        return false;
    major = strtoul(u.release, &end, 10);
    if (*end != '.')
        return false;
    minor = strtoul(end + 1, NULL, 10);
    return major > 5 || (major == 5 && minor >= 8);
}

static bool syncfs_trusted(int fd)
{
    struct statfs fs;
    if (!kernel_reports() || fstatfs(fd, &fs) < 0)
        return false;
    switch ((unsigned long)fs.f_type) {
    case EXT4_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
    case XFS_MAGIC:
        return true;
    default:
        return false;
    }
}

static int sync_tree(int dir_fd, const char *what, unsigned depth, struct tm_err *err);

static int sync_entry(int dir_fd, const char *name, const char *what, unsigned depth,
                      struct tm_err *err)
{
    TM_CLEANUP(closep)
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == ELOOP)
        return 0; /* a link lives in its directory */
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open '%s' in '%s'", name, what);
    if (fstat(fd, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s' in '%s'", name, what);
    if (S_ISDIR(st.st_mode))
        return sync_tree(fd, what, depth + 1, err);
    return fd_sync(fd, name, err);
}

static int sync_tree(int dir_fd, const char *what, unsigned depth, struct tm_err *err)
{
    if (depth > SYNC_DEPTH_MAX)
        return tm_err_set(err, TM_E_LIMIT, "'%s' is nested too deeply", what);
    int again = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again < 0 ? NULL : fdopendir(again);
    if (dir == NULL) {
        int e = errno;
        closep(&again);
        return tm_err_errno(err, e, "cannot list '%s'", what);
    }
    int rc = 0;
    struct dirent *d;
    while (rc >= 0 && (errno = 0, d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            rc = sync_entry(dir_fd, d->d_name, what, depth, err);
    }
    if (rc >= 0 && errno != 0)
        rc = tm_err_errno(err, errno, "cannot list '%s'", what);
    (void)closedir(dir);
    return rc < 0 ? rc : fd_sync(dir_fd, what, err);
}

static int sync_root(const struct restore_root *root, struct tm_err *err)
{
    if (root->fd < 0)
        return 0;
    int rc = 0;
    if (!syncfs_trusted(root->fd))
        rc = sync_tree(root->fd, root->path, 0, err);
    else if (syncfs(root->fd) < 0)
        rc = tm_err_errno(err, errno, "cannot write '%s' to disk", root->path);
    /* its own name, in its parent */
    return rc < 0 ? rc : fs_sync_parent(root->path, err);
}

static int sync_everything(struct engine_restore *r, struct tm_err *err)
{
    int rc = sync_root(&r->data, err);
    if (rc >= 0)
        rc = sync_root(&r->wal, err);
    for (size_t k = 0; rc >= 0 && k < r->tablespace_count; k++)
        rc = sync_root(&r->tablespaces[k].root, err);
    return rc;
}

/* ---- finish ---- */

/* The files' own statement of what they are must be the backup's. */
static int control_check(struct engine_restore *r, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct control_file control;
    bool exists = false;
    int rc = target_read(r, PATH_CONTROL_PENDING, &bytes, &exists, err);
    if (rc >= 0 && !exists)
        rc = tm_err_set(err, TM_E_CORRUPT, "the backup has no pg_control");
    if (rc >= 0)
        rc = control_file_parse(buf_slice(&bytes), &control, err);
    if (rc >= 0 && control.system_id != r->begin.system_id)
        rc = tm_err_set(err, TM_E_CORRUPT, "pg_control is of another database cluster");
    /* recovery waits for a backup's end in the log, or for the place that pg_control says */
    if (rc >= 0 && r->label.from_standby &&
        ((control.state != CONTROL_IN_ARCHIVE_RECOVERY &&
          control.state != CONTROL_SHUTDOWNED_IN_RECOVERY) ||
         control.min_recovery_point < r->end.stop_lsn))
        rc = tm_err_set(err, TM_E_CORRUPT,
                        "pg_control does not say up to where the log must be replayed");
    return rc;
}

static int write_start_files(struct engine_restore *r, struct tm_err *err)
{
    mode_t mode = place_file_mode(r);
    int rc = target_write(r, "backup_label", buf_slice(&r->end.backup_label), mode, err);
    if (rc >= 0)
        rc = target_write(r, "recovery.signal", SLICE_EMPTY, mode, err);
    return rc;
}

static int set_root_modes(struct engine_restore *r, struct tm_err *err)
{
    int rc = place_give(r, r->data.fd, place_dir_mode(r), r->data.path, err);
    if (rc >= 0 && r->wal.fd >= 0)
        rc = place_give(r, r->wal.fd, place_dir_mode(r), r->wal.path, err);
    for (size_t k = 0; rc >= 0 && k < r->tablespace_count; k++)
        rc = place_give(r, r->tablespaces[k].root.fd, place_dir_mode(r),
                        r->tablespaces[k].root.path, err);
    return rc;
}

/* The one step that makes the directory startable. */
static int place_control(struct engine_restore *r, struct tm_err *err)
{
    TM_CLEANUP(closep) int global = -1;
    int rc = fs_open_beneath(r->data.fd, "global", O_RDONLY | O_DIRECTORY, 0, &global, err);
    if (rc < 0)
        return rc;
    if (renameat(global, "pg_control.tidemark", global, "pg_control") < 0)
        return tm_err_errno(err, errno, "cannot rename pg_control into place");
    return fd_sync(global, "global", err);
}

int pg_restore_finish(struct engine_restore *r, struct tm_err *err)
{
    if (!r->prepared || r->finished)
        return tm_err_set(err, TM_E_INTERNAL, "restore finished before prepare, or twice");
    int rc = control_check(r, err);
    if (rc >= 0)
        rc = target_log_finish(r, err);
    if (rc >= 0)
        rc = target_conf_install(r, err);
    if (rc >= 0)
        rc = write_start_files(r, err);
    if (rc >= 0)
        rc = manifest_start(r, err);
    if (rc >= 0)
        rc = target_remove_foreign(r, err);
    if (rc >= 0)
        rc = manifest_end(r, err);
    if (rc >= 0)
        rc = set_root_modes(r, err);
    if (rc >= 0)
        rc = sync_everything(r, err);
    if (rc >= 0)
        rc = place_control(r, err);
    if (rc < 0)
        return tm_err_prefix(err, "restore of '%s'", r->data.path);
    r->finished = true;
    return 0;
}
