/*
 * Delta: what was there before and is not in the backup must go, or the server would find it.
 *
 * Which paths belong is remembered as 64-bit hashes: 16 bytes a file at most. Should two paths ever
 * share a hash, a foreign file stays behind; nothing that belongs is ever removed.
 *
 * Removing goes by directory descriptors and never follows a link.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/engine/postgres/restore_internal.h"
#include "common/hash.h"

#define PATH_SET_START ((size_t)1 << 12)
#define PATH_SET_MAX   ((size_t)1 << 24) /* paths; 256 MiB */
#define WALK_DEPTH_MAX 32

struct path_set {
    uint64_t *slots; /* 0 = free */
    size_t size;     /* a power of two */
    size_t count;
};

static uint64_t path_hash(const char *path)
{
    struct xxh3_128 h = xxh3_128_of(path, strlen(path));
    uint64_t v = be64_get(h.bytes);
    return v != 0 ? v : 1;
}

int path_set_new(struct path_set **ret_set, struct tm_err *err)
{
    struct path_set *set = calloc(1, sizeof(*set));
    if (set == NULL)
        return tm_err_oom(err);
    set->size = PATH_SET_START;
    set->slots = calloc(set->size, sizeof(*set->slots));
    if (set->slots == NULL) {
        free(set);
        return tm_err_oom(err);
    }
    *ret_set = set;
    return 0;
}

void path_set_free(struct path_set *set)
{
    if (set == NULL)
        return;
    free(set->slots);
    free(set);
}

static uint64_t *slot_of(uint64_t *slots, size_t size, uint64_t hash)
{
    size_t at = (size_t)hash & (size - 1);
    while (slots[at] != 0 && slots[at] != hash)
        at = (at + 1) & (size - 1);
    return &slots[at];
}

static int grow(struct path_set *set, struct tm_err *err)
{
    size_t size = set->size * 2;
    uint64_t *slots = calloc(size, sizeof(*slots));
    if (slots == NULL)
        return tm_err_oom(err);
    for (size_t k = 0; k < set->size; k++) {
        if (set->slots[k] != 0)
            *slot_of(slots, size, set->slots[k]) = set->slots[k];
    }
    free(set->slots);
    set->slots = slots;
    set->size = size;
    return 0;
}

int path_set_add(struct path_set *set, const char *path, struct tm_err *err)
{
    uint64_t hash = path_hash(path);
    uint64_t *slot = slot_of(set->slots, set->size, hash);
    if (*slot == hash)
        return 0;
    if (set->count >= PATH_SET_MAX)
        return tm_err_set(err, TM_E_LIMIT,
                          "more than %zu files: restore into an empty directory instead of delta",
                          PATH_SET_MAX);
    *slot = hash;
    set->count++;
    return set->count * 2 > set->size ? grow(set, err) : 0;
}

bool path_set_has(const struct path_set *set, const char *path)
{
    return *slot_of(set->slots, set->size, path_hash(path)) != 0;
}

int target_remember(struct engine_restore *r, const char *path, struct tm_err *err)
{
    if (r->seen == NULL)
        return 0;
    (void)pthread_mutex_lock(&r->lock);
    int rc = path_set_add(r->seen, path, err);
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}

/* ---- removing ---- */

struct sweep {
    const struct path_set *keep; /* NULL: nothing is kept */
    char path[PATH_MAX];         /* of the entry, as in the backup */
};

static int sweep_dir(struct sweep *s, int dir_fd, size_t len, unsigned depth, struct tm_err *err);

static int sweep_child_dir(struct sweep *s, int dir_fd, const char *name, size_t len,
                           unsigned depth, struct tm_err *err)
{
    TM_CLEANUP(closep)
    int child = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0)
        return tm_err_errno(err, errno, "cannot open directory '%s'", s->path);
    int rc = sweep_dir(s, child, len, depth + 1, err);
    s->path[len] = '\0';
    if (rc < 0)
        return rc;
    if (s->keep != NULL && path_set_has(s->keep, s->path))
        return 0;
    /* one that still holds something that belongs stays */
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST)
        return tm_err_errno(err, errno, "cannot remove directory '%s'", s->path);
    return 0;
}

static int sweep_entry(struct sweep *s, int dir_fd, const char *name, size_t len, unsigned depth,
                       struct tm_err *err)
{
    struct stat st;
    size_t name_len = strlen(name);
    if (len + 1 + name_len >= sizeof(s->path))
        return tm_err_set(err, TM_E_LIMIT, "'%.300s' has a path that is too long", s->path);
    size_t at = len;
    if (at > 0)
        s->path[at++] = '/';
    memcpy(s->path + at, name, name_len + 1);
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return tm_err_errno(err, errno, "cannot look at '%s'", s->path);
    if (S_ISDIR(st.st_mode)) {
        if (strcmp(s->path, "pg_wal") == 0)
            return 0; /* emptied by prepare, filled by restore_log */
        return sweep_child_dir(s, dir_fd, name, at + name_len, depth, err);
    }
    if (s->keep != NULL && path_set_has(s->keep, s->path))
        return 0;
    if (unlinkat(dir_fd, name, 0) < 0)
        return tm_err_errno(err, errno, "cannot remove '%s'", s->path);
    return 0;
}

/* s->path[0..len) is the directory's own path. */
static int sweep_dir(struct sweep *s, int dir_fd, size_t len, unsigned depth, struct tm_err *err)
{
    if (depth > WALK_DEPTH_MAX)
        return tm_err_set(err, TM_E_LIMIT, "'%.300s' is nested too deeply", s->path);
    int again = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again < 0 ? NULL : fdopendir(again);
    if (dir == NULL) {
        int e = errno;
        closep(&again);
        return tm_err_errno(err, e, "cannot list '%s'", s->path);
    }
    int rc = 0;
    struct dirent *d;
    while (rc >= 0 && (errno = 0, d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        rc = sweep_entry(s, dir_fd, d->d_name, len, depth, err);
        s->path[len] = '\0';
    }
    if (rc >= 0 && errno != 0)
        rc = tm_err_errno(err, errno, "cannot list '%s'", s->path);
    (void)closedir(dir);
    return rc;
}

int target_remove_dir(int dir_fd, const char *name, struct tm_err *err)
{
    struct sweep s = {.keep = NULL};
    (void)snprintf(s.path, sizeof(s.path), "%s", name);
    return sweep_child_dir(&s, dir_fd, name, strlen(s.path), 0, err);
}

int target_empty_wal_dir(struct engine_restore *r, struct tm_err *err)
{
    struct sweep s = {.keep = NULL};
    TM_CLEANUP(closep) int fd = -1;
    if (r->wal.path != NULL)
        return sweep_dir(&s, r->wal.fd, 0, 0, err);
    int rc = fs_open_beneath(r->data.fd, "pg_wal", O_RDONLY | O_DIRECTORY, 0, &fd, err);
    return rc < 0 ? rc : sweep_dir(&s, fd, 0, 0, err);
}

/* Only the version's own directory of a tablespace is ours. */
static int sweep_tablespace(struct engine_restore *r, const struct restore_tablespace *t,
                            struct tm_err *err)
{
    struct sweep s = {.keep = r->seen};
    TM_CLEANUP(closep) int fd = -1;
    int rc = fs_open_beneath(t->root.fd, r->version_dir, O_RDONLY | O_DIRECTORY, 0, &fd, err);
    if (rc < 0)
        return err->code == TM_E_NOT_FOUND ? 0 : rc;
    int n = snprintf(s.path, sizeof(s.path), "pg_tblspc/%" PRIu32 "/%s", t->oid, r->version_dir);
    return sweep_dir(&s, fd, (size_t)n, 1, err);
}

int target_remove_foreign(struct engine_restore *r, struct tm_err *err)
{
    if (r->seen == NULL)
        return 0;
    struct sweep s = {.keep = r->seen};
    int rc = sweep_dir(&s, r->data.fd, 0, 0, err);
    for (size_t k = 0; rc >= 0 && k < r->tablespace_count; k++)
        rc = sweep_tablespace(r, &r->tablespaces[k], err);
    return rc < 0 ? tm_err_prefix(err, "removing what is not in the backup") : 0;
}
