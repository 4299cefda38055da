/*
 * Storage below a directory, local or mounted (NFS).
 *
 * Happy path of an object: a hidden temporary name beside its final one → big writes, each started
 * towards the disk at once so that the final fsync finds little left → fsync → checked close →
 * link(2) to the final name → unlink of the temporary one → fsync of the directory. Only then is
 * the object promised to anybody.
 *
 * Failure modes: a crash leaves the temporary name (swept later); link(2) refuses an existing
 * object; where the file system has no hard links, renameat2(RENAME_NOREPLACE) does the same, and
 * where that is missing too a look before the rename is the best effort. NFS may report EEXIST for
 * a link that it made itself: the caller reads the object and compares who wrote it.
 *
 * The directory is kept open, and stays usable when it is moved away, or when something is mounted over
 * its path: what is stored in it then is nothing that a reader of the path will ever see. So who
 * creates, commits, lists, or finds nothing looks whether path and directory still belong together. A
 * path that leads elsewhere is a CONFLICT: only opening the storage anew can help. So is a directory
 * whose handle is stale, as its NFS export was made anew: it stays so, also when the path is mounted again.
 *
 * Directories are made on demand, each made durable in its parent, and removed again when the last
 * object below them goes; a directory that vanishes under a creation is simply made again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/storage/driver.h"
#include "common/storage/posix.h"

#define TEMP_PREFIX     ".tmp-"
#define WRITEBACK_BYTES (4u << 20)   /* start writing to disk after this much */
#define PREFETCH_FROM   (256u << 10) /* reads of this size come in rows: prefetch what follows */
#define PREFETCH_FRAMES 4
#define CREATE_TRIES    5 /* a directory may be pruned while we create in it */

struct posix_storage {
    struct storage base;
    int root;
    char path[STORAGE_URL_MAX];
};

struct posix_writer {
    struct storage_writer base;
    struct posix_storage *st;
    int fd;
    uint64_t written;
    uint64_t started; /* up to here writeback was asked for */
    bool synced;      /* all of it is on disk, and fd closed */
    char name[STORAGE_NAME_MAX + 1];
    char temp[STORAGE_NAME_MAX + 32]; /* "" = nothing to unlink */
};

/* ---- small pieces ---- */

/* "/root/name" for messages. */
struct shown {
    char s[STORAGE_URL_MAX + STORAGE_NAME_MAX + 2];
};
static struct shown shown(const struct posix_storage *st, const char *name)
{
    struct shown text;
    (void)snprintf(text.s, sizeof(text.s), "%s%s%s", st->path,
                   strcmp(st->path, "/") == 0 || *name == '\0' ? "" : "/", name);
    return text;
}

/* The directory part of a name, without trailing slash; "." for the root. */
static void dir_of(const char *name, char ret[STORAGE_NAME_MAX + 1])
{
    const char *slash = strrchr(name, '/');
    size_t len = slash != NULL ? (size_t)(slash - name) : 1;
    memcpy(ret, slash != NULL ? name : ".", len);
    ret[len] = '\0';
}

static int sync_dir(struct posix_storage *st, const char *dir, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = openat(st->root, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return tm_err_errno(err, errno, STORAGE_ERROR_SYNC, shown(st, dir).s);
    return 0;
}

static int make_dirs(struct posix_storage *st, const char *dir, struct tm_err *err)
{
    char part[STORAGE_NAME_MAX + 1];
    size_t len = strlen(dir);
    for (size_t at = 1; at <= len; at++) {
        if (dir[at] != '/' && dir[at] != '\0')
            continue;
        memcpy(part, dir, at);
        part[at] = '\0';
        if (mkdirat(st->root, part, 0750) == 0) {
            char parent[STORAGE_NAME_MAX + 1];
            dir_of(part, parent);
            int r = sync_dir(st, parent, err);
            if (r < 0)
                return r;
        } else if (errno != EEXIST) {
            return tm_err_errno(err, errno, STORAGE_ERROR_CREATE, shown(st, part).s);
        }
    }
    return 0;
}

static int temp_name(const char *name, char *ret, size_t size, struct tm_err *err)
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return tm_err_errno(err, errno, "cannot get random bytes");
    const char *slash = strrchr(name, '/');
    int dir_len = slash != NULL ? (int)(slash - name + 1) : 0;
    (void)snprintf(ret, size, "%.*s" TEMP_PREFIX "%016llx", dir_len, name,
                   (unsigned long long)random);
    return 0;
}

/* The path still leads to the directory that was opened. */
static int check_root(const struct posix_storage *st, struct tm_err *err)
{
    struct stat opened, now;
    int opened_is = fstat(st->root, &opened);
    if (opened_is < 0 && errno == ESTALE)
        return tm_err_retry(err, TM_E_CONFLICT, "storage path '%s' is away: %s", st->path,
                            strerrordesc_np(ESTALE));
    if (opened_is < 0 || stat(st->path, &now) < 0)
        return tm_err_errno(err, errno, "storage path '%s' is away", st->path);
    if (opened.st_dev != now.st_dev || opened.st_ino != now.st_ino)
        return tm_err_retry(err, TM_E_CONFLICT,
                            "storage path '%s' is another directory now than the one that was "
                            "opened",
                            st->path);
    return 0;
}

/* ---- writing ---- */

static int open_temp(struct posix_storage *st, const char *name, char *temp, size_t size,
                     int *ret_fd, struct tm_err *err)
{
    for (int attempt = 0;; attempt++) {
        int r = temp_name(name, temp, size, err);
        if (r < 0)
            return r;
        int fd = openat(st->root, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (fd >= 0) {
            *ret_fd = fd;
            return 0;
        }
        if ((errno != ENOENT && errno != EEXIST) || attempt == CREATE_TRIES)
            return tm_err_errno(err, errno, STORAGE_ERROR_CREATE, shown(st, name).s);
        char dir[STORAGE_NAME_MAX + 1];
        dir_of(name, dir);
        if (errno == ENOENT && strcmp(dir, ".") != 0)
            r = make_dirs(st, dir, err);
        if (r < 0)
            return r;
    }
}

static int posix_write(struct storage_writer *base, const void *data, size_t len,
                       struct tm_err *err)
{
    struct posix_writer *w = (struct posix_writer *)base;
    const uint8_t *bytes = data;
    for (size_t done = 0; done < len;) {
        ssize_t n = write(w->fd, bytes + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, STORAGE_ERROR_WRITE, shown(w->st, w->name).s);
        done += (size_t)n;
    }
    w->written += len;
    if (w->written - w->started >= WRITEBACK_BYTES) {
        /* a hint only: what is on its way already need not be waited for in fsync */
        (void)sync_file_range(w->fd, (off64_t)w->started, (off64_t)(w->written - w->started),
                              SYNC_FILE_RANGE_WRITE);
        w->started = w->written;
    }
    return 0;
}

static int rename_into_place(struct posix_writer *w)
{
    int root = w->st->root;
    if (renameat2(root, w->temp, root, w->name, RENAME_NOREPLACE) == 0) {
        w->temp[0] = '\0';
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    struct stat st;
    if (fstatat(root, w->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    if (renameat(root, w->temp, root, w->name) < 0)
        return -1;
    w->temp[0] = '\0';
    return 0;
}

static int put_in_place(struct posix_writer *w)
{
    if (linkat(w->st->root, w->temp, w->st->root, w->name, 0) == 0)
        return 0;
    bool no_links = errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK;
    return no_links ? rename_into_place(w) : -1;
}

static int posix_seal(struct storage_writer *base, struct tm_err *err)
{
    struct posix_writer *w = (struct posix_writer *)base;
    if (fsync(w->fd) < 0)
        return tm_err_errno(err, errno, STORAGE_ERROR_SYNC, shown(w->st, w->name).s);
    int fd = TM_TAKE_FD(w->fd);
    if (close(fd) < 0 && errno != EINTR)
        return tm_err_errno(err, errno, STORAGE_ERROR_WRITE, shown(w->st, w->name).s);
    w->synced = true;
    return 0;
}

static int posix_commit(struct storage_writer *base, struct tm_err *err)
{
    struct posix_writer *w = (struct posix_writer *)base;
    int r = w->synced ? 0 : posix_seal(base, err);
    if (r < 0)
        return r;
    if (put_in_place(w) < 0) {
        if (errno == EEXIST)
            return tm_err_set(err, TM_E_EXISTS, STORAGE_ERROR_COMMIT ": it already exists",
                              shown(w->st, w->name).s);
        return tm_err_errno(err, errno, STORAGE_ERROR_COMMIT, shown(w->st, w->name).s);
    }
    if (w->temp[0] != '\0' && unlinkat(w->st->root, w->temp, 0) == 0)
        w->temp[0] = '\0';
    char dir[STORAGE_NAME_MAX + 1];
    dir_of(w->name, dir);
    r = sync_dir(w->st, dir, err);
    return r < 0 ? r : check_root(w->st, err);
}

static void posix_writer_free(struct storage_writer *base)
{
    struct posix_writer *w = (struct posix_writer *)base;
    closep(&w->fd);
    if (w->temp[0] != '\0')
        (void)unlinkat(w->st->root, w->temp, 0);
    free(w);
}

static const struct storage_writer_ops posix_writer_ops = {
    .write = posix_write,
    .commit = posix_commit,
    .seal = posix_seal,
    .free = posix_writer_free,
};

static int posix_create(struct storage *base, const char *name, struct storage_writer **ret,
                        struct tm_err *err)
{
    struct posix_storage *st = (struct posix_storage *)base;
    TM_CLEANUP(freep) struct posix_writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return tm_err_oom(err);
    w->base.ops = &posix_writer_ops;
    w->st = st;
    (void)snprintf(w->name, sizeof(w->name), "%s", name);
    int r = check_root(st, err);
    if (r == 0)
        r = open_temp(st, name, w->temp, sizeof(w->temp), &w->fd, err);
    if (r < 0)
        return r;
    *ret = &w->base;
    w = NULL;
    return 0;
}

/* ---- reading ---- */

/* Nothing is called absent that may be elsewhere: 0 = errno says what is wrong. */
static int check_absent(const struct posix_storage *st, struct tm_err *err)
{
    int saved = errno;
    int r = saved == ENOENT ? check_root(st, err) : 0;
    errno = saved;
    return r;
}

static int posix_read(struct storage *base, const char *name, uint64_t offset, void *dst,
                      size_t len, struct tm_err *err)
{
    struct posix_storage *st = (struct posix_storage *)base;
    TM_CLEANUP(closep) int fd = openat(st->root, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return check_absent(st, err) < 0
                   ? -(int)err->code
                   : tm_err_errno(err, errno, STORAGE_ERROR_READ, shown(st, name).s);
    if (offset > INT64_MAX - len)
        return tm_err_set(err, TM_E_CORRUPT, STORAGE_ERROR_SHORT, shown(st, name).s, len,
                          (unsigned long long)offset);
    if (len >= PREFETCH_FROM) /* every call opens anew, so the kernel sees no row of reads itself */
        (void)posix_fadvise(fd, (off_t)offset, (off_t)len * PREFETCH_FRAMES, POSIX_FADV_WILLNEED);
    uint8_t *bytes = dst;
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, bytes + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, STORAGE_ERROR_READ, shown(st, name).s);
        if (n == 0)
            return tm_err_set(err, TM_E_CORRUPT, STORAGE_ERROR_SHORT, shown(st, name).s, len,
                              (unsigned long long)offset);
        done += (size_t)n;
    }
    return 0;
}

static int64_t mtime_us(const struct stat *info)
{
    return (int64_t)info->st_mtim.tv_sec * 1000000 + info->st_mtim.tv_nsec / 1000;
}

static int posix_stat(struct storage *base, const char *name, struct storage_object *ret,
                      struct tm_err *err)
{
    struct posix_storage *st = (struct posix_storage *)base;
    struct stat info;
    if (fstatat(st->root, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
        return check_absent(st, err) < 0
                   ? -(int)err->code
                   : tm_err_errno(err, errno, STORAGE_ERROR_STAT, shown(st, name).s);
    if (!S_ISREG(info.st_mode))
        return tm_err_errno(err, ENOENT, STORAGE_ERROR_STAT, shown(st, name).s);
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name);
    ret->size_bytes = (uint64_t)info.st_size;
    ret->modified_us = mtime_us(&info);
    return 0;
}

static int posix_list(struct storage *base, const char *prefix, const char *start_after,
                      struct storage_iter **ret, struct tm_err *err)
{
    struct posix_storage *st = (struct posix_storage *)base;
    int r = check_root(st, err);
    if (r < 0)
        return r;
    return posix_walk_open(st->root, st->path, prefix, start_after, POSIX_WALK_OBJECTS, ret, err);
}

/* ---- removing ---- */

/* Removes directories that became empty, upwards; a directory in use stays. */
static void prune(struct posix_storage *st, char *dir)
{
    while (strcmp(dir, ".") != 0 && unlinkat(st->root, dir, AT_REMOVEDIR) == 0) {
        char *slash = strrchr(dir, '/');
        if (slash == NULL)
            break;
        *slash = '\0';
    }
}

static int settle(struct posix_storage *st, char *dir, struct tm_err *err)
{
    if (dir[0] == '\0')
        return 0;
    struct tm_err sync_err;
    int r = sync_dir(st, dir, &sync_err);
    if (r < 0 && sync_err.code != TM_E_NOT_FOUND) {
        *err = sync_err;
        return r;
    }
    prune(st, dir);
    return 0;
}

static int posix_remove(struct storage *base, const char *const *names, size_t count,
                        struct tm_err *err)
{
    struct posix_storage *st = (struct posix_storage *)base;
    char touched[STORAGE_NAME_MAX + 1] = "";
    for (size_t i = 0; i < count; i++) {
        char dir[STORAGE_NAME_MAX + 1];
        dir_of(names[i], dir);
        if (strcmp(dir, touched) != 0) {
            int r = settle(st, touched, err);
            if (r < 0)
                return r;
            memcpy(touched, dir, sizeof(dir));
        }
        if (unlinkat(st->root, names[i], 0) < 0 && errno != ENOENT && errno != ENOTDIR)
            return tm_err_errno(err, errno, STORAGE_ERROR_REMOVE, shown(st, names[i]).s);
    }
    return settle(st, touched, err);
}

static int posix_sweep_leftovers(struct storage *base, const char *prefix, int64_t older_than_us,
                                 uint64_t *ret_count, struct tm_err *err)
{
    struct posix_storage *st = (struct posix_storage *)base;
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    int r = posix_walk_open(st->root, st->path, prefix, "", POSIX_WALK_TEMPORARY, &it, err);
    if (r < 0)
        return r;
    uint64_t count = 0;
    struct storage_object object;
    while ((r = storage_iter_next(it, &object, err)) > 0) {
        if (object.modified_us >= older_than_us)
            continue;
        if (unlinkat(st->root, object.name, 0) == 0)
            count++;
        else if (errno != ENOENT)
            return tm_err_errno(err, errno, STORAGE_ERROR_REMOVE, shown(st, object.name).s);
        char dir[STORAGE_NAME_MAX + 1];
        dir_of(object.name, dir);
        prune(st, dir);
    }
    if (r < 0)
        return r;
    size_t len = strlen(prefix);
    if (len > 0 && prefix[len - 1] == '/') { /* writers that gave up leave directories behind */
        char dir[STORAGE_NAME_MAX + 1];
        (void)snprintf(dir, sizeof(dir), "%.*s", (int)len - 1, prefix);
        posix_prune_tree(st->root, dir);
    }
    *ret_count = count;
    return 0;
}

/* ---- the store itself ---- */

/* The clock that stamps files: on NFS the server's, so a file is asked. */
static int posix_now(struct storage *base, int64_t *ret_us, struct tm_err *err)
{
    struct posix_storage *st = (struct posix_storage *)base;
    char temp[STORAGE_NAME_MAX + 1];
    TM_CLEANUP(closep) int fd = -1;
    int r = open_temp(st, "clock", temp, sizeof(temp), &fd, err);
    if (r < 0)
        return r;
    struct stat info;
    int failed = fstat(fd, &info);
    int saved = errno;
    (void)unlinkat(st->root, temp, 0);
    if (failed < 0)
        return tm_err_errno(err, saved, STORAGE_ERROR_STAT, shown(st, temp).s);
    *ret_us = mtime_us(&info);
    return 0;
}

static int posix_free_space(struct storage *base, uint64_t *ret_bytes, struct tm_err *err)
{
    struct posix_storage *st = (struct posix_storage *)base;
    struct statvfs info;
    if (fstatvfs(st->root, &info) < 0)
        return tm_err_errno(err, errno, STORAGE_ERROR_STAT, st->path);
    *ret_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return 0;
}

static void posix_free(struct storage *base)
{
    struct posix_storage *st = (struct posix_storage *)base;
    closep(&st->root);
    free(st);
}

static const struct storage_ops posix_ops = {
    .scheme = "file",
    .create = posix_create,
    .read = posix_read,
    .stat = posix_stat,
    .list = posix_list,
    .remove = posix_remove,
    .now = posix_now,
    .sweep_leftovers = posix_sweep_leftovers,
    .free_space = posix_free_space,
    .free = posix_free,
};

static int make_root(const char *path, struct tm_err *err)
{
    if (mkdir(path, 0750) < 0 && errno != EEXIST)
        return tm_err_errno(err, errno, "cannot create storage path '%s'", path);
    char parent[STORAGE_URL_MAX];
    (void)snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    slash[slash == parent ? 1 : 0] = '\0';
    TM_CLEANUP(closep) int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return tm_err_errno(err, errno, STORAGE_ERROR_SYNC, parent);
    return 0;
}

static int open_root(const char *path, const struct storage_options *options, int *ret,
                     struct tm_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && options->create_root) {
        int r = make_root(path, err);
        if (r < 0)
            return r;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd < 0 && errno == ENOENT)
        return tm_err_set(err, TM_E_NOT_FOUND,
                          "storage path '%s' does not exist: create or mount it", path);
    if (fd < 0 && errno == ENOTDIR)
        return tm_err_set(err, TM_E_INVALID, "storage path '%s' is not a directory", path);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open storage path '%s'", path);
    *ret = fd;
    return 0;
}

int posix_open(const struct storage_url *url, const struct storage_options *options,
               struct storage **ret, struct tm_err *err)
{
    if (url->host[0] != '\0' && strcmp(url->host, "localhost") != 0)
        return tm_err_set(err, TM_E_INVALID,
                          "storage URL names host '%s': write file:///path with three slashes",
                          url->host);
    if (url->path[0] != '/')
        return tm_err_set(err, TM_E_INVALID, "storage URL has no path: write file:///path");
    if (url->param_count > 0)
        return tm_err_set(err, TM_E_INVALID, "storage URL: file:// knows no parameter '%s'",
                          url->params[0].key);
    TM_CLEANUP(freep) struct posix_storage *st = calloc(1, sizeof(*st));
    if (st == NULL)
        return tm_err_oom(err);
    size_t len = strlen(url->path);
    while (len > 1 && url->path[len - 1] == '/')
        len--;
    memcpy(st->path, url->path, len);
    int r = open_root(st->path, options, &st->root, err);
    if (r < 0)
        return r;
    st->base.ops = &posix_ops;
    st->base.features = STORAGE_CONDITIONAL_CREATE | STORAGE_SHARED_PATH;
    (void)snprintf(st->base.display, sizeof(st->base.display), "file://%.1000s", st->path);
    *ret = &st->base;
    st = NULL;
    return 0;
}
