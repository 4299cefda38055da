/*
 * File parts, from many threads at once.
 *
 * Happy path: the path is routed to the directory it lies below, opened there, created if it is the
 * first part. A missing parent is made on the way: ranges arrive in any order, so a file may come
 * before its directory's own entry. Nothing shared is touched but the set of seen paths and the
 * list of outside configuration files, under one lock. Those files are held in memory, so what a
 * backup may put there is bounded before a part is accepted; what is not wanted goes to /dev/null.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "agent/engine/postgres/restore_internal.h"
#include "common/fd.h"

static int path_check(const char *path, struct tm_err *err)
{
    const char *p = path;
    if (*p == '\0' || strlen(path) >= ENGINE_PATH_MAX)
        return tm_err_set(err, TM_E_CORRUPT, "the backup holds a file with an impossible name");
    for (;;) {
        size_t len = strcspn(p, "/");
        if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
            return tm_err_set(err, TM_E_REFUSED,
                              "the backup holds a file that would leave the target: '%.300s'",
                              path);
        if (p[len] == '\0')
            return 0;
        p += len + 1;
    }
}

/* "pg_tblspc/16384" or "pg_tblspc/16384/…": the tablespace, and what is behind it. */
static const struct restore_tablespace *tablespace_of(const struct engine_restore *r,
                                                      const char *path, const char **ret_below)
{
    static const char prefix[] = "pg_tblspc/";
    uint64_t oid = 0;
    if (strncmp(path, prefix, sizeof(prefix) - 1) != 0)
        return NULL;
    const char *p = path + sizeof(prefix) - 1;
    size_t digits = strspn(p, "0123456789");
    if (digits == 0 || digits > 10 || (p[digits] != '\0' && p[digits] != '/'))
        return NULL;
    for (size_t k = 0; k < digits; k++)
        oid = oid * 10 + (uint64_t)(p[k] - '0');
    for (size_t k = 0; k < r->tablespace_count; k++) {
        if (r->tablespaces[k].oid == oid) {
            *ret_below = p[digits] == '/' ? p + digits + 1 : p + digits;
            return &r->tablespaces[k];
        }
    }
    return NULL;
}

int target_route(const struct engine_restore *r, const char *path,
                 const struct restore_root **ret_root, const char **ret_below, struct tm_err *err)
{
    int rc = path_check(path, err);
    if (rc < 0)
        return rc;
    const struct restore_tablespace *t = tablespace_of(r, path, ret_below);
    if (t != NULL) {
        *ret_root = &t->root;
        return 0;
    }
    if (r->wal.path != NULL && strncmp(path, "pg_wal", 6) == 0 &&
        (path[6] == '\0' || path[6] == '/')) {
        *ret_root = &r->wal;
        *ret_below = path[6] == '/' ? path + 7 : path + 6;
        return 0;
    }
    *ret_root = &r->data;
    *ret_below = path;
    return 0;
}

bool target_is_ours(const char *path)
{
    static const char *const names[] = {
        "backup_label",   "tablespace_map", "backup_manifest", "recovery.signal",
        "standby.signal", "postmaster.pid", "postmaster.opts",
    };
    for (size_t k = 0; k < TM_ARRAY_LEN(names); k++) {
        if (strcmp(path, names[k]) == 0)
            return true;
    }
    return false;
}

/* ---- directories ---- */

/* One directory whose parent exists. */
static int make_dir(const struct engine_restore *r, int root_fd, const char *below, mode_t mode,
                    struct tm_err *err)
{
    char parent_path[ENGINE_PATH_MAX];
    TM_CLEANUP(closep) int parent = -1;
    TM_CLEANUP(closep) int made = -1;
    const char *slash = strrchr(below, '/');
    const char *name = slash != NULL ? slash + 1 : below;
    int dir = root_fd;
    if (slash != NULL) {
        (void)snprintf(parent_path, sizeof(parent_path), "%.*s", (int)(slash - below), below);
        int rc = fs_open_beneath(root_fd, parent_path, O_RDONLY | O_DIRECTORY, 0, &parent, err);
        if (rc < 0)
            return rc;
        dir = parent;
    }
    if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
        return tm_err_errno(err, errno, "cannot make directory '%s'", below);
    made = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made < 0)
        return tm_err_errno(err, errno, "cannot open directory '%s'", below);
    return place_give(r, made, mode, below, err);
}

/* Makes every missing directory of `path`; the last one gets `mode`. */
int target_make_dirs(struct engine_restore *r, const char *path, mode_t mode, struct tm_err *err)
{
    const struct restore_root *root;
    const char *below;
    char part[ENGINE_PATH_MAX];
    int rc = target_route(r, path, &root, &below, err);
    if (rc < 0)
        return rc;
    rc = target_remember(r, path, err);
    if (rc < 0 || below[0] == '\0')
        return rc;
    rc = make_dir(r, root->fd, below, mode, err);
    if (rc >= 0 || err->code != TM_E_NOT_FOUND)
        return rc;
    for (const char *p = below; (p = strchr(p, '/')) != NULL; p++) {
        TM_CLEANUP(closep) int there = -1;
        (void)snprintf(part, sizeof(part), "%.*s", (int)(p - below), below);
        if (fs_open_beneath(root->fd, part, O_RDONLY | O_DIRECTORY, 0, &there, err) >= 0)
            continue;
        rc = err->code == TM_E_NOT_FOUND ? make_dir(r, root->fd, part, place_dir_mode(r), err)
                                         : -(int)err->code;
        if (rc < 0)
            return rc;
    }
    return make_dir(r, root->fd, below, mode, err);
}

static int make_parent(struct engine_restore *r, const char *path, struct tm_err *err)
{
    char parent[ENGINE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return 0;
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    return target_make_dirs(r, parent, place_dir_mode(r), err);
}

/* ---- files ---- */

/* delta: a file with a second name would change what that other name shows, so it is replaced. */
static int replace_shared(const struct restore_root *root, const char *below, mode_t mode, int *fd,
                          struct tm_err *err)
{
    struct stat st;
    if (fstat(*fd, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s'", below);
    if (!S_ISREG(st.st_mode))
        return tm_err_set(err, TM_E_REFUSED, "'%s/%s' is not a plain file", root->path, below);
    if (st.st_nlink < 2)
        return 0;
    TM_CLEANUP(closep) int parent = -1;
    char dir[ENGINE_PATH_MAX];
    const char *slash = strrchr(below, '/');
    (void)snprintf(dir, sizeof(dir), "%.*s", slash != NULL ? (int)(slash - below) : 1,
                   slash != NULL ? below : ".");
    parent = slash != NULL ? -1 : fcntl(root->fd, F_DUPFD_CLOEXEC, 0);
    int rc = 0;
    if (slash != NULL)
        rc = fs_open_beneath(root->fd, dir, O_RDONLY | O_DIRECTORY, 0, &parent, err);
    if (rc < 0)
        return rc;
    const char *name = slash != NULL ? slash + 1 : below;
    if (unlinkat(parent, name, 0) < 0)
        return tm_err_errno(err, errno, "cannot remove '%s/%s'", root->path, below);
    closep(fd);
    return fs_open_beneath(root->fd, below, O_RDWR | O_CREAT | O_EXCL, mode, fd, err);
}

/* What an existing file needs before it is written to. */
static int adopt(struct engine_restore *r, const struct restore_root *root, const char *below,
                 mode_t mode, int *fd, struct tm_err *err)
{
    if (!r->delta)
        return 0;
    int rc = replace_shared(root, below, mode, fd, err);
    return rc < 0 ? rc : place_give(r, *fd, mode, below, err);
}

int target_open_file(struct engine_restore *r, const char *path, mode_t mode, int extra_flags,
                     int *ret_fd, struct tm_err *err)
{
    const struct restore_root *root;
    const char *below;
    TM_CLEANUP(closep) int fd = -1;
    int rc = target_route(r, path, &root, &below, err);
    if (rc < 0)
        return rc;
    if (below[0] == '\0')
        return tm_err_set(err, TM_E_CORRUPT,
                          "the backup holds a file where a directory belongs: '%s'", path);
    const int create = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
    rc = fs_open_beneath(root->fd, below, create, mode, &fd, err);
    if (rc < 0 && err->code == TM_E_NOT_FOUND) {
        rc = make_parent(r, path, err);
        if (rc >= 0)
            rc = fs_open_beneath(root->fd, below, create, mode, &fd, err);
    }
    if (rc >= 0) {
        rc = place_give(r, fd, mode, below, err);
    } else if (err->code == TM_E_EXISTS) {
        /* another part of the same file, or delta */
        (void)pthread_mutex_lock(&r->lock);
        rc = fs_open_beneath(root->fd, below, O_RDWR | O_NOFOLLOW | extra_flags, 0, &fd, err);
        if (rc >= 0)
            rc = adopt(r, root, below, mode, &fd, err);
        (void)pthread_mutex_unlock(&r->lock);
    }
    if (rc < 0)
        return tm_err_prefix(err, "cannot restore '%s'", path);
    *ret_fd = TM_TAKE_FD(fd);
    return 0;
}

/* A descriptor whose contents nobody will see, and that takes no memory. */
static int open_discard(int *ret_fd, struct tm_err *err)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open '/dev/null'");
    *ret_fd = fd;
    return 0;
}

static int config_add(struct engine_restore *r, const struct file_entry *entry,
                      struct restore_config_file **ret, struct tm_err *err)
{
    if (r->config_count >= PG_CONFIG_FILES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the backup holds more than %d configuration files",
                          PG_CONFIG_FILES_MAX);
    struct restore_config_file *list =
        realloc(r->configs, (r->config_count + 1) * sizeof(*r->configs));
    if (list == NULL)
        return tm_err_oom(err);
    r->configs = list;
    struct restore_config_file c = {.path = strdup(entry->path), .mode = entry->mode, .fd = -1};
    if (c.path == NULL)
        return tm_err_oom(err);
    c.fd = memfd_create("configuration", MFD_CLOEXEC);
    if (c.fd < 0) {
        free(c.path);
        return tm_err_errno(err, errno, "cannot keep '%s' in memory", entry->path);
    }
    *ret = &r->configs[r->config_count];
    r->configs[r->config_count++] = c;
    return 0;
}

/* Whether this part of `c` (NULL = a new file) fits into memory. */
static int config_fits(const struct engine_restore *r, const struct restore_config_file *c,
                       const struct file_entry *entry, struct tm_err *err)
{
    if (entry->offset_bytes > RESTORE_CONFIG_MAX_BYTES ||
        entry->length_bytes > RESTORE_CONFIG_MAX_BYTES - entry->offset_bytes)
        return tm_err_set(err, TM_E_LIMIT,
                          "configuration file '%.300s' of the backup is larger than %zu bytes",
                          entry->path, RESTORE_CONFIG_MAX_BYTES);
    uint64_t end = entry->offset_bytes + entry->length_bytes;
    uint64_t now = c != NULL ? c->bytes : 0;
    if (end > now && end - now > RESTORE_CONFIGS_MAX_BYTES - r->config_bytes)
        return tm_err_set(err, TM_E_LIMIT,
                          "the configuration files of the backup, up to '%.300s', are larger than "
                          "%zu bytes together",
                          entry->path, RESTORE_CONFIGS_MAX_BYTES);
    return 0;
}

static int config_open(struct engine_restore *r, const struct file_entry *entry, int *ret_fd,
                       struct tm_err *err)
{
    struct restore_config_file *c = NULL;
    for (size_t k = 0; k < r->config_count && c == NULL; k++) {
        if (strcmp(r->configs[k].path, entry->path) == 0)
            c = &r->configs[k];
    }
    int rc = config_fits(r, c, entry, err);
    if (rc >= 0 && c == NULL)
        rc = config_add(r, entry, &c, err);
    if (rc < 0)
        return rc;
    int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot keep '%s' in memory", entry->path);
    uint64_t end = entry->offset_bytes + entry->length_bytes;
    if (end > c->bytes) {
        r->config_bytes += end - c->bytes;
        c->bytes = end;
    }
    *ret_fd = fd;
    return 0;
}

/* A configuration file from outside the data directory; its parts share one memory file. */
static int config_file(struct engine_restore *r, const struct file_entry *entry, int *ret_fd,
                       struct tm_err *err)
{
    (void)pthread_mutex_lock(&r->lock);
    int rc = config_open(r, entry, ret_fd, err);
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}

static mode_t file_mode(uint32_t mode)
{
    return (mode_t)(mode & 0750) | 0600;
}

static int restore_regular(struct engine_restore *r, const struct file_entry *entry, int *ret_fd,
                           struct tm_err *err)
{
    if (entry->path[0] == '/')
        return config_file(r, entry, ret_fd, err);
    if (target_is_ours(entry->path) || unlogged_has(r, entry->path))
        return open_discard(ret_fd, err);
    if (strcmp(entry->path, "PG_VERSION") == 0)
        r->group_access = (entry->mode & 0040) != 0;
    bool control = strcmp(entry->path, PATH_CONTROL) == 0;
    int fd = -1;
    int rc = target_open_file(r, control ? PATH_CONTROL_PENDING : entry->path,
                              file_mode(entry->mode), 0, &fd, err);
    if (rc >= 0)
        rc = target_remember(r, entry->path, err);
    if (rc >= 0 && control)
        rc = target_remember(r, PATH_CONTROL_PENDING, err);
    if (rc < 0) {
        closep(&fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int pg_restore_file(struct engine_restore *r, const struct file_entry *entry, int *ret_fd,
                    struct tm_err *err)
{
    const char *below;
    int rc = 0;
    if (!r->prepared || r->finished)
        return tm_err_set(err, TM_E_INTERNAL, "a file was restored before prepare or after finish");
    switch (entry->kind) {
    case FILE_REGULAR:
        return restore_regular(r, entry, ret_fd, err);
    case FILE_DIRECTORY:
        if (entry->path[0] != '\0' && entry->path[0] != '/')
            rc = target_make_dirs(r, entry->path, (mode_t)(entry->mode & 0050) | 0700, err);
        break;
    case FILE_LINK:
        /* made by prepare, to where it was mapped */
        if (tablespace_of(r, entry->path, &below) == NULL || below[0] != '\0')
            rc = tm_err_set(err, TM_E_CORRUPT, "the backup holds a link to nowhere known: '%.300s'",
                            entry->path);
        break;
    default:
        rc = tm_err_set(err, TM_E_CORRUPT, "'%.300s' is of an unknown kind", entry->path);
    }
    if (rc < 0)
        return rc;
    *ret_fd = -1;
    return 0;
}
