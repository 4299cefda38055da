/*
 * Restoring for the null and mock engines.
 *
 * prepare makes the directory and takes STARTABLE away, finish syncs the file system and puts it
 * there: whatever happens between them leaves something that does not start.
 */
#include "agent/engine/null/restore.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "agent/engine/null/null.h"
#include "common/fd.h"
#include "common/fs.h"

struct engine_restore {
    struct null_config config;
    char data_dir[ENGINE_PATH_MAX];
    bool delta;
    int dirfd;
    int log_fd;
    int manifest_fd;
};

static bool below(const char *root, const char *path)
{
    size_t len = strlen(root);
    while (len > 1 && root[len - 1] == '/')
        len--;
    return strncmp(root, path, len) == 0 && (path[len] == '/' || path[len] == '\0' || len == 1);
}

static int check_roots(const struct engine_restore_spec *spec, struct tm_err *err)
{
    if (!spec->restore_roots)
        return 0;
    for (const char *const *root = spec->restore_roots; *root; root++) {
        if (below(*root, spec->data_dir))
            return 0;
    }
    return tm_err_set(err, TM_E_REFUSED, "'%s' is not below any of restore_roots", spec->data_dir);
}

int null_restore_open(const struct engine_restore_spec *spec, struct engine_restore **ret,
                      struct tm_err *err)
{
    struct null_config c = {0};
    /* the mock engine's blob is another one: its config does not matter here */
    if (spec->begin.len > 0 && spec->begin.data[0] == 'n') {
        int r = null_begin_config(spec->begin, &c, err);
        if (r < 0)
            return r;
    }
    if (strlen(spec->data_dir) >= ENGINE_PATH_MAX || spec->data_dir[0] != '/')
        return tm_err_set(err, TM_E_INVALID, "'%s' is not an absolute path", spec->data_dir);
    int r = check_roots(spec, err);
    if (r < 0)
        return r;
    bool empty = true;
    struct tm_err ignored;
    r = fs_dir_empty(spec->data_dir, &empty, &ignored);
    if (r < 0 && r != -TM_E_NOT_FOUND) {
        *err = ignored;
        return r;
    }
    if (r == 0 && !empty && !spec->delta && !spec->resume)
        return tm_err_set(err, TM_E_REFUSED,
                          "'%s' is not empty: choose another directory, or ask for delta",
                          spec->data_dir);
    struct engine_restore *restore = calloc(1, sizeof(*restore));
    if (!restore)
        return tm_err_oom(err);
    restore->config = c;
    restore->delta = spec->delta || spec->resume;
    restore->dirfd = restore->log_fd = restore->manifest_fd = -1;
    (void)snprintf(restore->data_dir, sizeof(restore->data_dir), "%s", spec->data_dir);
    *ret = restore;
    return 0;
}

static int open_own(struct engine_restore *restore, const char *name, int *fd, struct tm_err *err)
{
    if (*fd >= 0)
        return 0;
    return fs_open_beneath(restore->dirfd, name, O_RDWR | O_CREAT | O_TRUNC, 0600, fd, err);
}

/* The directory is ours alone until dirfd is closed; only now is it certain that it is empty. */
static int take_place(struct engine_restore *restore, struct tm_err *err)
{
    if (flock(restore->dirfd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? tm_err_set(err, TM_E_CONFLICT,
                                "another restore is writing to data directory '%s'",
                                restore->data_dir)
                   : tm_err_errno(err, errno, "cannot lock '%s'", restore->data_dir);
    bool empty = false;
    int r = fs_dir_empty(restore->data_dir, &empty, err);
    if (r < 0 || empty || restore->delta)
        return r;
    return tm_err_set(err, TM_E_REFUSED, "'%s' is not empty any more", restore->data_dir);
}

int null_restore_prepare(struct engine_restore *restore, struct tm_err *err)
{
    int r = null_config_fail(&restore->config, "prepare", err);
    if (r < 0 || (r = fs_mkdir_p(restore->data_dir, 0700, err)) < 0 ||
        (r = fs_open_dir(restore->data_dir, &restore->dirfd, err)) < 0 ||
        (r = take_place(restore, err)) < 0)
        return r;
    if (unlinkat(restore->dirfd, NULL_STARTABLE, 0) < 0 && errno != ENOENT)
        return tm_err_errno(err, errno, "cannot remove '%s/" NULL_STARTABLE "'", restore->data_dir);
    r = fs_sync_dir(restore->data_dir, err);
    return r < 0 ? r : open_own(restore, "manifest", &restore->manifest_fd, err);
}

int null_restore_file(struct engine_restore *restore, const struct file_entry *entry, int *ret_fd,
                      struct tm_err *err)
{
    if (entry->kind == FILE_DIRECTORY) {
        int r = fs_mkdir_p_beneath(restore->dirfd, entry->path, 0700, err);
        if (r == 0)
            *ret_fd = -1;
        return r;
    }
    if (entry->kind != FILE_REGULAR)
        return tm_err_set(err, TM_E_CORRUPT, "'%s' is neither file nor directory", entry->path);
    char parent[ENGINE_PATH_MAX];
    (void)snprintf(parent, sizeof(parent), "%s", entry->path);
    char *slash = strrchr(parent, '/');
    if (slash) {
        *slash = '\0';
        int r = fs_mkdir_p_beneath(restore->dirfd, parent, 0700, err);
        if (r < 0)
            return r;
    }
    return fs_open_beneath(restore->dirfd, entry->path, O_RDWR | O_CREAT, 0600, ret_fd, err);
}

int null_restore_log(struct engine_restore *restore, const char *lineage_label, uint64_t from,
                     struct slice data, struct tm_err *err)
{
    (void)lineage_label;
    int r = open_own(restore, "log", &restore->log_fd, err);
    if (r < 0)
        return r;
    if (from < NULL_LOG_START)
        return tm_err_set(err, TM_E_CORRUPT, "log before its start: %llu",
                          (unsigned long long)from);
    return fd_pwrite_full(restore->log_fd, data.data, data.len, from - NULL_LOG_START, "log", err);
}

int null_restore_manifest_file(struct engine_restore *restore, const char *path, uint64_t size,
                               int64_t modified_us, uint32_t crc32c, struct tm_err *err)
{
    (void)modified_us;
    char line[ENGINE_PATH_MAX + 64];
    int len =
        snprintf(line, sizeof(line), "%s %llu %08x\n", path, (unsigned long long)size, crc32c);
    return fd_write_full(restore->manifest_fd, line, (size_t)len, "manifest", err);
}

int null_restore_finish(struct engine_restore *restore, struct tm_err *err)
{
    int r = null_config_fail(&restore->config, "finish", err);
    if (r < 0)
        return r;
    if (syncfs(restore->dirfd) < 0)
        return tm_err_errno(err, errno, "cannot sync '%s' to disk", restore->data_dir);
    TM_CLEANUP(closep) int fd = -1;
    r = open_own(restore, NULL_STARTABLE, &fd, err);
    if (r < 0 || (r = fd_sync(fd, NULL_STARTABLE, err)) < 0)
        return r;
    return fs_sync_dir(restore->data_dir, err);
}

int null_restore_start(struct engine_restore *restore, unsigned timeout_ms, struct tm_err *err)
{
    (void)timeout_ms;
    if (faccessat(restore->dirfd, NULL_STARTABLE, F_OK, 0) < 0)
        return tm_err_errno(err, errno, "'%s' cannot be started", restore->data_dir);
    return 0;
}

void null_restore_close(struct engine_restore *restore)
{
    if (!restore)
        return;
    closep(&restore->dirfd);
    closep(&restore->log_fd);
    closep(&restore->manifest_fd);
    free(restore);
}
