/*
 * Where a restore may write.
 *
 * Every place is turned into its real path first, and compared as such: with the roots, with live
 * data directories, with each other. When a directory is opened for writing, the kernel is asked
 * where it lies, so that a link put in its way between check and use is found.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "agent/engine/postgres/restore_internal.h"

#define PASSWD_BUF_BYTES 16384

/* Absolute, without ".", ".." or empty parts; a trailing '/' is allowed. */
static bool is_plain_absolute(const char *path)
{
    if (path[0] != '/')
        return false;
    while (*path != '\0') {
        while (*path == '/')
            path++;
        size_t len = strcspn(path, "/");
        if ((len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        path += len;
    }
    return true;
}

int place_real(const char *path, const char *what, char **ret_real, struct tm_err *err)
{
    char head[PATH_MAX];
    char real[PATH_MAX];
    char joined[2 * PATH_MAX];
    size_t len = strlen(path);
    if (!is_plain_absolute(path))
        return tm_err_set(err, TM_E_INVALID,
                          "%s '%.300s' must be an absolute path without '.' or '..'", what, path);
    if (len >= sizeof(head) || len > ENGINE_PATH_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%s is longer than %d bytes", what, ENGINE_PATH_MAX);
    memcpy(head, path, len + 1);
    while (realpath(head, real) == NULL) {
        char *slash;
        if (errno != ENOENT)
            return tm_err_errno(err, errno, "cannot resolve %s '%s'", what, path);
        struct stat st;
        if (lstat(head, &st) == 0)
            return tm_err_set(err, TM_E_REFUSED, "%s '%s' goes through the dangling link '%s'",
                              what, path, head);
        slash = strrchr(head, '/');
        *(slash == head ? slash + 1 : slash) = '\0';
    }
    const char *rest = path + strlen(head);
    while (*rest == '/')
        rest++;
    int n = *rest == '\0' ? snprintf(joined, sizeof(joined), "%s", real)
                          : snprintf(joined, sizeof(joined), "%s/%s",
                                     strcmp(real, "/") == 0 ? "" : real, rest);
    if (n < 0 || (size_t)n >= PATH_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%s '%.300s' is too long once links are resolved", what,
                          path);
    while (n > 1 && joined[n - 1] == '/')
        joined[--n] = '\0';
    char *out = strdup(joined);
    if (out == NULL)
        return tm_err_oom(err);
    *ret_real = out;
    return 0;
}

bool place_below(const char *path, const char *root)
{
    size_t len = strlen(root);
    if (strcmp(root, "/") == 0)
        return true;
    return strncmp(path, root, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static int roots_check(const struct engine_restore *r, const char *path, const char *what,
                       struct tm_err *err)
{
    if (r->roots == NULL)
        return 0;
    for (char **root = r->roots; *root != NULL; root++) {
        if (place_below(path, *root))
            return 0;
    }
    return tm_err_set(err, TM_E_REFUSED,
                      "%s '%s' is not below one of the agent's restore_roots%s%s%s: choose a place "
                      "there or add a root",
                      what, path, r->roots[0] != NULL ? " ('" : "",
                      r->roots[0] != NULL ? r->roots[0] : "", r->roots[0] != NULL ? "' …)" : "");
}

int place_check(const struct engine_restore *r, const char *path, const char *what,
                struct tm_err *err)
{
    if (strcmp(path, "/") == 0 || strchr(path + 1, '/') == NULL)
        return tm_err_set(err, TM_E_REFUSED, "%s '%s' is a top-level directory: name one below it",
                          what, path);
    for (char **live = r->live_data_dirs; live != NULL && *live != NULL; live++) {
        /* the very place may be restored to: when it is empty, or with delta and no server on it */
        bool same = strcmp(path, *live) == 0 && path == r->data.path;
        if (!same && (place_below(path, *live) || place_below(*live, path)))
            return tm_err_set(err, TM_E_REFUSED,
                              "%s '%s' overlaps '%s', a data directory this agent backs up", what,
                              path, *live);
    }
    return roots_check(r, path, what, err);
}

int place_look(const char *path, const char *what, enum place_state *ret_state, uid_t *ret_uid,
               struct tm_err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0) {
        if (errno != ENOENT)
            return tm_err_errno(err, errno, "cannot look at %s '%s'", what, path);
        *ret_state = PLACE_ABSENT;
        return 0;
    }
    if (!S_ISDIR(st.st_mode))
        return tm_err_set(err, TM_E_REFUSED, "%s '%s' exists and is not a directory", what, path);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return tm_err_errno(err, errno, "cannot list %s '%s'", what, path);
    enum place_state state = PLACE_EMPTY;
    struct dirent *d;
    while (state == PLACE_EMPTY && (d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            state = PLACE_FILLED;
    }
    (void)closedir(dir);
    *ret_state = state;
    *ret_uid = st.st_uid;
    return 0;
}

/* ---- owner ---- */

static int user_find(const char *name, uid_t *ret_uid, gid_t *ret_gid, struct tm_err *err)
{
    struct passwd pw;
    struct passwd *found = NULL;
    char text[PASSWD_BUF_BYTES];
    int e = getpwnam_r(name, &pw, text, sizeof(text), &found);
    if (found == NULL)
        return tm_err_set(err, TM_E_INVALID, "there is no user '%.64s' on this host%s%s", name,
                          e != 0 ? ": " : "", e != 0 ? strerrordesc_np(e) : "");
    *ret_uid = pw.pw_uid;
    *ret_gid = pw.pw_gid;
    return 0;
}

/* The nearest existing directory, target or parent, that does not belong to root. */
static bool owner_nearby(const char *data_dir, uid_t *ret_uid, gid_t *ret_gid)
{
    char path[PATH_MAX];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s", data_dir);
    bool exists = stat(path, &st) == 0;
    if (!exists || st.st_uid == 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL || slash == path)
            return false;
        *slash = '\0';
        if (stat(path, &st) < 0 || st.st_uid == 0)
            return false;
    }
    *ret_uid = st.st_uid;
    *ret_gid = st.st_gid;
    return true;
}

int place_owner(struct engine_restore *r, const char *data_dir, const char *user,
                struct tm_err *err)
{
    r->uid = geteuid();
    r->gid = getegid();
    r->chown = r->uid == 0;
    if (!r->chown) {
        uid_t uid;
        gid_t gid;
        if (user == NULL)
            return 0;
        int rc = user_find(user, &uid, &gid, err);
        if (rc >= 0 && uid != r->uid)
            rc = tm_err_set(err, TM_E_PERMISSION,
                            "only root can restore for another user ('%.64s')", user);
        return rc;
    }
    if (user == NULL && owner_nearby(data_dir, &r->uid, &r->gid))
        return 0;
    int rc = user_find(user != NULL ? user : "postgres", &r->uid, &r->gid, err);
    if (rc < 0)
        return user != NULL ? rc
                            : tm_err_prefix(err,
                                            "running as root, and nothing says who shall own '%s' "
                                            "(server option " OPTION_OWNER ")",
                                            data_dir);
    if (r->uid == 0)
        return tm_err_set(err, TM_E_INVALID, "PostgreSQL does not run as root: name another owner");
    return 0;
}

mode_t place_dir_mode(const struct engine_restore *r)
{
    return r->group_access ? 0750 : 0700;
}

mode_t place_file_mode(const struct engine_restore *r)
{
    return r->group_access ? 0640 : 0600;
}

int place_give(const struct engine_restore *r, int fd, mode_t mode, const char *path,
               struct tm_err *err)
{
    if (r->chown && fchown(fd, r->uid, r->gid) < 0)
        return tm_err_errno(err, errno, "cannot give '%s' to user %u", path, (unsigned)r->uid);
    if (fchmod(fd, mode) < 0)
        return tm_err_errno(err, errno, "cannot set the mode of '%s'", path);
    return 0;
}

/* ---- opening ---- */

static int prove_place(int fd, const char *path, const char *what, struct tm_err *err)
{
    char link[64];
    char real[PATH_MAX];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, real, sizeof(real) - 1);
    if (n < 0)
        return tm_err_errno(err, errno, "cannot tell where %s '%s' lies", what, path);
    real[n] = '\0';
    if (strcmp(real, path) != 0)
        return tm_err_set(err, TM_E_REFUSED,
                          "%s '%s' became a link to '%.300s' while the restore began", what, path,
                          real);
    return 0;
}

static int make_parents(const char *path, struct tm_err *err)
{
    char parent[PATH_MAX];
    (void)snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL || slash == parent)
        return 0;
    *slash = '\0';
    return fs_mkdir_p(parent, 0755, err);
}

int place_open(struct engine_restore *r, struct restore_root *root, const char *what,
               struct tm_err *err)
{
    int rc = make_parents(root->path, err);
    if (rc < 0)
        return rc;
    if (mkdir(root->path, 0700) < 0 && errno != EEXIST)
        return tm_err_errno(err, errno, "cannot make %s '%s'", what, root->path);
    TM_CLEANUP(closep)
    int fd = open(root->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open %s '%s'", what, root->path);
    rc = prove_place(fd, root->path, what, err);
    if (rc < 0)
        return rc;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? tm_err_set(err, TM_E_CONFLICT, "another restore is writing to %s '%s'", what,
                                root->path)
                   : tm_err_errno(err, errno, "cannot lock %s '%s'", what, root->path);
    rc = place_give(r, fd, place_dir_mode(r), root->path, err);
    if (rc < 0)
        return rc;
    root->fd = TM_TAKE_FD(fd);
    return 0;
}
