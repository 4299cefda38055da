/*
 * Durable small files, contained opening, directory walks.
 *
 * The walk keeps one open directory per level (at most FS_WALK_MAX_DEPTH) and opens each by name
 * with O_NOFOLLOW from its parent, so a directory that is swapped for a link meanwhile is not
 * followed.
 */
#include "common/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/array.h"
#include "common/fd.h"
#include "common/hash.h"

int fs_join(char *ret_path, size_t size, const char *dir, const char *name, struct tm_err *err)
{
    size_t dir_len = strlen(dir);
    while (dir_len > 1 && dir[dir_len - 1] == '/')
        dir_len--;
    bool slash = dir_len > 0 && !(dir_len == 1 && dir[0] == '/');
    while (*name == '/')
        name++;
    if (dir_len + slash + strlen(name) + 1 > size)
        return tm_err_set(err, TM_E_INVALID, "path '%s/%s' is too long", dir, name);
    (void)snprintf(ret_path, size, "%.*s%s%s", (int)dir_len, dir, slash ? "/" : "", name);
    return 0;
}

int fs_open_dir(const char *path, int *ret_fd, struct tm_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open directory '%s'", path);
    *ret_fd = fd;
    return 0;
}

int fs_sync_dir(const char *path, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = -1;
    int r = fs_open_dir(path, &fd, err);
    if (r < 0)
        return r;
    return fd_sync(fd, path, err);
}

static int parent_of(const char *path, char *ret_parent, struct tm_err *err)
{
    size_t len = strlen(path);
    if (len >= PATH_MAX)
        return tm_err_set(err, TM_E_INVALID, "path '%.64s…' is too long", path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0) {
        memcpy(ret_parent, ".", 2);
        return 0;
    }
    memcpy(ret_parent, path, len);
    ret_parent[len] = '\0';
    return 0;
}

int fs_sync_parent(const char *path, struct tm_err *err)
{
    char parent[PATH_MAX];
    int r = parent_of(path, parent, err);
    if (r < 0)
        return r;
    return fs_sync_dir(parent, err);
}

static int make_one_dir(const char *path, mode_t mode, struct tm_err *err)
{
    if (mkdir(path, mode) == 0)
        return fs_sync_parent(path, err);
    int saved = errno;
    struct stat st;
    if (saved == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    if (saved == EEXIST)
        saved = ENOTDIR;
    return tm_err_errno(err, saved, "cannot create directory '%s'", path);
}

int fs_mkdir_p(const char *path, mode_t mode, struct tm_err *err)
{
    char prefix[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(prefix))
        return tm_err_set(err, TM_E_INVALID, "'%.64s' is not a usable path", path);
    for (size_t end = 1; end <= len; end++) {
        if (path[end] != '/' && path[end] != '\0')
            continue;
        memcpy(prefix, path, end);
        prefix[end] = '\0';
        struct stat st;
        if (stat(prefix, &st) == 0 && S_ISDIR(st.st_mode))
            continue; /* also where mkdir would say "read-only" or "permission denied" */
        int r = make_one_dir(prefix, mode, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- whole files ---- */

static int write_and_rename(const char *tmp, const char *path, struct slice data, mode_t mode,
                            struct tm_err *err)
{
    TM_CLEANUP(closep)
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot create '%s'", tmp);
    int r = fd_write_full(fd, data.data, data.len, tmp, err);
    if (r == 0)
        r = fd_sync(fd, tmp, err);
    if (r == 0)
        r = fd_close(&fd, tmp, err);
    if (r == 0 && rename(tmp, path) < 0)
        r = tm_err_errno(err, errno, "cannot rename '%s' to '%s'", tmp, path);
    if (r < 0)
        (void)unlink(tmp);
    return r;
}

int fs_write_atomic(const char *path, struct slice data, mode_t mode, struct tm_err *err)
{
    uint8_t random[8];
    char suffix[2 * sizeof(random) + 1];
    char tmp[PATH_MAX];
    int r = random_bytes(random, sizeof(random), err);
    if (r < 0)
        return r;
    (void)hex_encode(random, sizeof(random), suffix);
    if ((size_t)snprintf(tmp, sizeof(tmp), "%s.tmp-%s", path, suffix) >= sizeof(tmp))
        return tm_err_set(err, TM_E_INVALID, "path '%.64s…' is too long", path);
    r = write_and_rename(tmp, path, data, mode, err);
    if (r < 0)
        return r;
    return fs_sync_parent(path, err);
}

int fs_read_file(const char *path, size_t max_bytes, struct buf *out, struct tm_err *err)
{
    /* O_NONBLOCK: opening a FIFO must not hang before we find out that it is one */
    TM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open '%s'", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s'", path);
    if (S_ISDIR(st.st_mode))
        return tm_err_set(err, TM_E_INVALID, "'%s' is a directory", path);
    if (!S_ISREG(st.st_mode))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a regular file", path);
    return fd_read_all(fd, out, max_bytes, path, err);
}

int fs_exists(const char *path, bool *ret_exists, struct tm_err *err)
{
    struct stat st;
    if (lstat(path, &st) == 0) {
        *ret_exists = true;
        return 0;
    }
    if (errno != ENOENT && errno != ENOTDIR)
        return tm_err_errno(err, errno, "cannot stat '%s'", path);
    *ret_exists = false;
    return 0;
}

/* ---- contained opening ---- */

static int refuse_escape(const char *path, struct tm_err *err)
{
    return tm_err_set(err, TM_E_REFUSED, "refused to open '%s': it leaves the directory", path);
}

static int refuse_link(const char *path, struct tm_err *err)
{
    return tm_err_set(err, TM_E_REFUSED, "refused to open '%s': a symbolic link is in the way",
                      path);
}

/* One component: O_NOFOLLOW makes the kernel refuse a link, but with O_DIRECTORY it says ENOTDIR. */
static int open_step(int at, const char *name, const char *path, int flags, mode_t mode,
                     int *ret_fd, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = openat(at, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    int saved = errno;
    struct stat st;
    if (fd < 0 && (saved == ELOOP || saved == ENOTDIR) &&
        fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
        return refuse_link(path, err);
    if (fd < 0)
        return tm_err_errno(err, saved, "cannot open '%s'", path);
    if ((flags & O_PATH) != 0 && (fstat(fd, &st) < 0 || S_ISLNK(st.st_mode)))
        return refuse_link(path, err);
    *ret_fd = TM_TAKE_FD(fd);
    return 0;
}

int fs_open_by_steps(int dirfd, const char *path, int flags, mode_t mode, int *ret_fd,
                     struct tm_err *err)
{
    if (path[0] == '\0')
        return tm_err_errno(err, ENOENT, "cannot open ''");
    if (path[0] == '/')
        return refuse_escape(path, err);
    TM_CLEANUP(closep) int owned = -1;
    int at = dirfd;
    const char *rest = path;
    for (;;) {
        char name[NAME_MAX + 1];
        size_t len = strcspn(rest, "/");
        if (len > NAME_MAX)
            return tm_err_errno(err, ENAMETOOLONG, "cannot open '%.64s…'", path);
        memcpy(name, rest, len);
        name[len] = '\0';
        rest += len;
        rest += strspn(rest, "/");
        bool last = *rest == '\0';
        if (strcmp(name, "..") == 0)
            return refuse_escape(path, err);
        int next = -1;
        int r = open_step(at, name, path, last ? flags : O_PATH | O_DIRECTORY, last ? mode : 0,
                          &next, err);
        if (r < 0)
            return r;
        if (last) {
            *ret_fd = next;
            return 0;
        }
        closep(&owned);
        owned = next;
        at = next;
    }
}

static int open_resolved(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve,
                         int *ret_fd, struct tm_err *err)
{
    bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .mode = creates ? mode & 07777 : 0,
        .resolve = resolve,
    };
    long fd;
    do /* EAGAIN: a rename somewhere on the path at that moment; the kernel asks to try again */
        fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    if (fd < 0 && errno == ENOSYS)
        return fs_open_by_steps(dirfd, path, flags, mode, ret_fd, err);
    if (fd < 0 && errno == EXDEV)
        return refuse_escape(path, err);
    if (fd < 0 && errno == ELOOP)
        return refuse_link(path, err);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open '%s'", path);
    *ret_fd = (int)fd;
    return 0;
}

int fs_open_beneath(int dirfd, const char *path, int flags, mode_t mode, int *ret_fd,
                    struct tm_err *err)
{
    return open_resolved(dirfd, path, flags, mode,
                         RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS, ret_fd,
                         err);
}

int fs_mkdir_p_beneath(int dirfd, const char *path, mode_t mode, struct tm_err *err)
{
    TM_CLEANUP(closep) int at = -1;
    int r = fs_open_beneath(dirfd, ".", O_RDONLY | O_DIRECTORY, 0, &at, err);
    while (r == 0 && *path != '\0') {
        char name[NAME_MAX + 1];
        size_t len = strcspn(path, "/");
        if (len > NAME_MAX)
            return tm_err_set(err, TM_E_INVALID, "path '%.64s…' is too long", path);
        memcpy(name, path, len);
        name[len] = '\0';
        path += len;
        path += *path == '/';
        if (len == 0 || strcmp(name, ".") == 0)
            continue;
        if (strcmp(name, "..") != 0 && mkdirat(at, name, mode) < 0 && errno != EEXIST)
            return tm_err_errno(err, errno, "cannot create directory '%s'", name);
        int next = -1;
        r = fs_open_beneath(at, name, O_RDONLY | O_DIRECTORY, 0, &next, err);
        if (r == 0) {
            closep(&at);
            at = next;
        }
    }
    return r;
}

/* ---- directories ---- */

struct names {
    char **items;
    size_t count;
    size_t cap;
};

static void names_release(struct names *names)
{
    for (size_t n = 0; n < names->count; n++)
        free(names->items[n]);
    free(names->items);
    *names = (struct names){0};
}

static int names_add(struct names *names, const char *name, struct tm_err *err)
{
    if (ARRAY_ROOM(names->items, names->count, names->cap, 32, err) < 0)
        return -(int)err->code;
    char *copy = strdup(name);
    if (copy == NULL)
        return tm_err_oom(err);
    names->items[names->count++] = copy;
    return 0;
}

static int order_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void closedirp(DIR **dir)
{
    if (*dir != NULL)
        (void)closedir(*dir);
    *dir = NULL;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Reads all names of the directory behind fd (which stays the caller's), sorted; at most `max`, 0:
 * all. */
static int read_names(int fd, const char *path, size_t max, struct names *names, struct tm_err *err)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    TM_CLEANUP(closedirp) DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    if (dir == NULL) {
        int saved = errno;
        closep(&copy);
        return tm_err_errno(err, saved, "cannot open directory '%s'", path);
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL && errno != 0)
            return tm_err_errno(err, errno, "cannot list directory '%s'", path);
        if (entry == NULL || (max > 0 && names->count == max))
            break;
        if (is_dots(entry->d_name))
            continue;
        int r = names_add(names, entry->d_name, err);
        if (r < 0)
            return r;
    }
    if (names->count > 1)
        qsort(names->items, names->count, sizeof(*names->items), order_names);
    return 0;
}

int fs_dir_empty(const char *path, bool *ret_empty, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = -1;
    TM_CLEANUP(names_release) struct names names = {0};
    int r = fs_open_dir(path, &fd, err);
    if (r == 0)
        r = read_names(fd, path, 1, &names, err);
    if (r < 0)
        return r;
    *ret_empty = names.count == 0;
    return 0;
}

/* ---- walk ---- */

struct walk {
    fs_walk_fn *visit;
    void *arg;
    char path[PATH_MAX]; /* of the entry being visited, relative to the root */
};

static int walk_dir(struct walk *w, int fd, size_t path_len, unsigned depth, struct tm_err *err);

/* Puts "/name" behind path_len; returns the new length, or 0 when it does not fit. */
static size_t push_name(struct walk *w, size_t path_len, const char *name)
{
    size_t name_len = strlen(name);
    size_t start = path_len > 0 ? path_len + 1 : 0;
    if (start + name_len + 1 > sizeof(w->path))
        return 0;
    if (path_len > 0)
        w->path[path_len] = '/';
    memcpy(w->path + start, name, name_len + 1);
    return start + name_len;
}

static int walk_into(struct walk *w, int parent, const char *name, size_t path_len, unsigned depth,
                     struct tm_err *err)
{
    if (depth >= FS_WALK_MAX_DEPTH)
        return tm_err_set(err, TM_E_LIMIT, "'%s' is more than %d directories deep", w->path,
                          FS_WALK_MAX_DEPTH);
    TM_CLEANUP(closep)
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return 0; /* vanished, or was replaced by something else */
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open directory '%s'", w->path);
    return walk_dir(w, fd, path_len, depth, err);
}

/* FS_WALK_CONTINUE or FS_WALK_STOP, or an error. */
static int walk_entry(struct walk *w, int fd, const char *name, size_t path_len, unsigned depth,
                      struct tm_err *err)
{
    size_t len = push_name(w, path_len, name);
    if (len == 0)
        return tm_err_set(err, TM_E_INVALID, "path '%.64s…' is too long", w->path);
    struct fs_entry entry = {.path = w->path, .name = w->path + len - strlen(name), .depth = depth};
    if (fstatat(fd, name, &entry.st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT)
            return FS_WALK_CONTINUE;
        return tm_err_errno(err, errno, "cannot stat '%s'", w->path);
    }
    int verdict = w->visit(&entry, w->arg, err);
    if (verdict == FS_WALK_SKIP)
        return FS_WALK_CONTINUE;
    if (verdict != FS_WALK_CONTINUE || !S_ISDIR(entry.st.st_mode))
        return verdict;
    return walk_into(w, fd, name, len, depth, err);
}

static int walk_dir(struct walk *w, int fd, size_t path_len, unsigned depth, struct tm_err *err)
{
    TM_CLEANUP(names_release) struct names names = {0};
    int r = read_names(fd, path_len > 0 ? w->path : ".", 0, &names, err);
    for (size_t n = 0; n < names.count && r == FS_WALK_CONTINUE; n++)
        r = walk_entry(w, fd, names.items[n], path_len, depth + 1, err);
    return r;
}

int fs_walk(const char *root, fs_walk_fn *visit, void *arg, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = -1;
    int r = fs_open_dir(root, &fd, err);
    if (r < 0)
        return r;
    TM_CLEANUP(freep) struct walk *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return tm_err_oom(err);
    w->visit = visit;
    w->arg = arg;
    r = walk_dir(w, fd, 0, 0, err);
    return r < 0 ? r : 0;
}

/* ---- removal ---- */

static int remove_below(int fd, const char *shown, unsigned depth, struct tm_err *err);

static int remove_entry(int fd, const char *name, unsigned depth, struct tm_err *err)
{
    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return tm_err_errno(err, errno, "cannot remove '%s'", name);
    int saved = errno;
    TM_CLEANUP(closep) int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub < 0)
        return tm_err_errno(err, saved == EPERM ? saved : errno, "cannot remove '%s'", name);
    int r = remove_below(sub, name, depth + 1, err);
    if (r < 0)
        return r;
    if (unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return tm_err_errno(err, errno, "cannot remove directory '%s'", name);
    return 0;
}

static int remove_below(int fd, const char *shown, unsigned depth, struct tm_err *err)
{
    if (depth > FS_WALK_MAX_DEPTH)
        return tm_err_set(err, TM_E_LIMIT, "'%s' is more than %d directories deep", shown,
                          FS_WALK_MAX_DEPTH);
    TM_CLEANUP(names_release) struct names names = {0};
    int r = read_names(fd, shown, 0, &names, err);
    for (size_t n = 0; n < names.count && r == 0; n++)
        r = remove_entry(fd, names.items[n], depth, err);
    return r;
}

int fs_remove_tree(const char *root, bool remove_root, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open directory '%s'", root);
    int r = remove_below(fd, root, 0, err);
    if (r == 0 && remove_root && rmdir(root) < 0 && errno != ENOENT)
        r = tm_err_errno(err, errno, "cannot remove directory '%s'", root);
    return r;
}
