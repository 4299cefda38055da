/*
 * Walking a storage tree in name order. A stack of directories, each read whole and sorted; the top
 * one gives the next name. Directories that cannot hold a wanted name (other prefix, or all of it
 * before start_after) are not entered. Failure modes: an unreadable directory ends the walk with an
 * error, because a listing that silently lacks objects would be taken for truth.
 */
#include "common/storage/posix.h"

#include "common/array.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

struct walk_dir {
    char **names; /* sorted; a directory's ends in '/' */
    size_t count;
    size_t next;
    size_t path_len; /* of the iterator's path up to and with this directory's '/' */
};

struct walk {
    struct storage_iter base;
    int root;
    enum posix_walk_what what;
    size_t depth;
    struct walk_dir stack[POSIX_WALK_DEPTH_MAX];
    char shown_root[STORAGE_URL_MAX];
    char prefix[STORAGE_NAME_MAX + 1];
    char start_after[STORAGE_NAME_MAX + 1];
    char path[STORAGE_NAME_MAX + 1];
};

static void dir_release(struct walk_dir *dir)
{
    for (size_t i = 0; i < dir->count; i++)
        free(dir->names[i]);
    free(dir->names);
    *dir = (struct walk_dir){NULL, 0, 0, 0};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int walk_error(struct walk *w, struct tm_err *err)
{
    return tm_err_errno(err, errno, STORAGE_ERROR_LIST ": '%s'", w->shown_root, w->path);
}

/* Appends name (with '/' for directories) to a directory's list. */
static int dir_add(struct walk_dir *dir, size_t *cap, const char *name, bool is_dir,
                   struct tm_err *err)
{
    if (dir->count == POSIX_WALK_ENTRIES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "a storage directory has more than %u entries",
                          POSIX_WALK_ENTRIES_MAX);
    if (ARRAY_ROOM(dir->names, dir->count, *cap, 64, err) < 0)
        return -(int)err->code;
    size_t len = strlen(name);
    char *copy = malloc(len + 2);
    if (copy == NULL)
        return tm_err_oom(err);
    memcpy(copy, name, len);
    copy[len] = is_dir ? '/' : '\0';
    copy[len + 1] = '\0';
    dir->names[dir->count++] = copy;
    return 0;
}

/* 1 = directory, 2 = regular file, 0 = neither or gone */
static int entry_type(int fd, const struct dirent *entry)
{
    if (entry->d_type == DT_DIR)
        return 1;
    if (entry->d_type == DT_REG)
        return 2;
    struct stat info;
    if (entry->d_type != DT_UNKNOWN || fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return S_ISDIR(info.st_mode) ? 1 : S_ISREG(info.st_mode) ? 2 : 0;
}

static bool entry_wanted(const struct walk *w, const char *name, int type)
{
    bool temporary = strncmp(name, ".tmp-", 5) == 0;
    if (type == 1)
        return name[0] != '.' && storage_name_valid(name);
    if (w->what == POSIX_WALK_TEMPORARY)
        return type == 2 && temporary;
    return type == 2 && storage_name_valid(name);
}

/* Whether a file need not be kept because the walk begins behind it: a directory may hold hundreds of
 * thousands of names of which only the last are wanted. */
static bool passed(const struct walk *w, size_t path_len, const char *name, int type)
{
    if (type != 2 || w->what != POSIX_WALK_OBJECTS ||
        strncmp(w->path, w->start_after, path_len) != 0)
        return false;
    return strcmp(name, w->start_after + path_len) <= 0;
}

/* Reads the directory at w->path (ending in '/', or "" for the root) onto the stack. */
static int push(struct walk *w, struct tm_err *err)
{
    if (w->depth == POSIX_WALK_DEPTH_MAX)
        return tm_err_set(err, TM_E_LIMIT, "storage tree is deeper than %d directories at '%s'",
                          POSIX_WALK_DEPTH_MAX, w->path);
    int fd = openat(w->root, w->path[0] == '\0' ? "." : w->path,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : walk_error(w, err);
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        int r = walk_error(w, err);
        (void)close(fd);
        return r;
    }
    struct walk_dir dir = {.path_len = strlen(w->path)};
    size_t cap = 0;
    int r = 0;
    while (r == 0) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            r = errno != 0 ? walk_error(w, err) : 0;
            break;
        }
        int type = entry_type(fd, entry);
        if (entry_wanted(w, entry->d_name, type) && !passed(w, dir.path_len, entry->d_name, type))
            r = dir_add(&dir, &cap, entry->d_name, type == 1, err);
    }
    (void)closedir(stream);
    if (r < 0) {
        dir_release(&dir);
        return r;
    }
    if (dir.count > 0)
        qsort(dir.names, dir.count, sizeof(dir.names[0]), by_name);
    w->stack[w->depth++] = dir;
    return 0;
}

/* Whether the tree below `dir` ("a/b/") may hold a wanted name. */
static bool may_hold(const struct walk *w, const char *dir)
{
    size_t len = strlen(dir);
    size_t prefix_len = strlen(w->prefix);
    if (strncmp(dir, w->prefix, TM_MIN(len, prefix_len)) != 0)
        return false;
    return strncmp(dir, w->start_after, len) >= 0;
}

static bool file_wanted(const struct walk *w)
{
    if (w->what == POSIX_WALK_OBJECTS && strcmp(w->path, w->start_after) <= 0)
        return false;
    size_t len = strlen(w->prefix);
    if (w->what == POSIX_WALK_TEMPORARY) { /* a temporary name says nothing: its directory counts */
        const char *slash = strrchr(w->prefix, '/');
        len = slash != NULL ? (size_t)(slash - w->prefix) + 1 : 0;
    }
    return strlen(w->path) >= len && memcmp(w->path, w->prefix, len) == 0;
}

static int walk_next(struct storage_iter *base, struct storage_object *ret, struct tm_err *err)
{
    struct walk *w = (struct walk *)base;
    while (w->depth > 0) {
        struct walk_dir *top = &w->stack[w->depth - 1];
        if (top->next == top->count) {
            dir_release(top);
            w->depth--;
            continue;
        }
        const char *name = top->names[top->next++];
        size_t len = strlen(name);
        if (top->path_len + len > STORAGE_NAME_MAX)
            continue; /* not one of ours */
        memcpy(w->path + top->path_len, name, len + 1);
        if (name[len - 1] == '/') {
            int r = may_hold(w, w->path) ? push(w, err) : 0;
            if (r < 0)
                return r;
            continue;
        }
        struct stat info;
        if (!file_wanted(w))
            continue;
        if (fstatat(w->root, w->path, &info, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno == ENOENT)
                continue;
            return walk_error(w, err);
        }
        (void)snprintf(ret->name, sizeof(ret->name), "%s", w->path);
        ret->size_bytes = (uint64_t)info.st_size;
        ret->modified_us = (int64_t)info.st_mtim.tv_sec * 1000000 + info.st_mtim.tv_nsec / 1000;
        return 1;
    }
    return 0;
}

/* Names up to `name` are passed over without a look at them; see may_hold and file_wanted. */
static int walk_skip(struct storage_iter *base, const char *name, struct tm_err *err)
{
    struct walk *w = (struct walk *)base;
    (void)err;
    if (strcmp(name, w->start_after) > 0)
        (void)snprintf(w->start_after, sizeof(w->start_after), "%s", name);
    return 0;
}

static void walk_free(struct storage_iter *base)
{
    struct walk *w = (struct walk *)base;
    while (w->depth > 0)
        dir_release(&w->stack[--w->depth]);
    free(w);
}

static const struct storage_iter_ops walk_ops = {
    .next = walk_next,
    .skip = walk_skip,
    .free = walk_free,
};

int posix_walk_open(int root, const char *shown_root, const char *prefix, const char *start_after,
                    enum posix_walk_what what, struct storage_iter **ret, struct tm_err *err)
{
    struct walk *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return tm_err_oom(err);
    w->base.ops = &walk_ops;
    w->root = root;
    w->what = what;
    (void)snprintf(w->shown_root, sizeof(w->shown_root), "%s", shown_root);
    (void)snprintf(w->prefix, sizeof(w->prefix), "%s", prefix);
    (void)snprintf(w->start_after, sizeof(w->start_after), "%s", start_after);
    /* straight to the deepest directory that the prefix names */
    (void)snprintf(w->path, sizeof(w->path), "%s", prefix);
    char *slash = strrchr(w->path, '/');
    if (slash != NULL)
        slash[1] = '\0';
    else
        w->path[0] = '\0';
    int r = push(w, err);
    if (r < 0) {
        walk_free(&w->base);
        return r;
    }
    *ret = &w->base;
    return 0;
}

/* ---- empty directories ---- */

static void prune_children(int dir_fd, unsigned depth)
{
    int again = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = again < 0 || depth == POSIX_WALK_DEPTH_MAX ? NULL : fdopendir(again);
    if (stream == NULL) {
        closep(&again);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        if (entry->d_name[0] == '.' || (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN))
            continue;
        TM_CLEANUP(closep)
        int child = openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (child < 0)
            continue;
        prune_children(child, depth + 1);
        (void)unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR);
    }
    (void)closedir(stream);
}

void posix_prune_tree(int root, const char *dir)
{
    TM_CLEANUP(closep)
    int fd = openat(root, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    prune_children(fd, 0);
    (void)unlinkat(root, dir, AT_REMOVEDIR);
}
