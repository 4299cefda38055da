/*
 * The lock on a state directory.
 */
#include "common/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>

#include "common/fs.h"

int lockfile_take(const char *dir, int *ret_fd, struct tm_err *err)
{
    char path[PATH_MAX];
    char pid[32] = "";
    ssize_t n;
    int r;

    if ((r = fs_mkdir_p(dir, 0700, err)) < 0 ||
        (r = fs_join(path, sizeof path, dir, "lock", err)) < 0)
        return r;
    TM_CLEANUP(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return tm_err_errno(err, errno, "cannot lock '%s'", path);
        n = pread(fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        for (char *p = pid; *p; p++)
            if (*p < '0' || *p > '9')
                *p = '\0';
        return tm_err_set(err, TM_E_CONFLICT, "'%s' is in use by another instance (process %s)",
                          dir, pid[0] ? pid : "unknown");
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)len, 0) != len)
        return tm_err_errno(err, errno, "cannot write '%s'", path);
    *ret_fd = TM_TAKE_FD(fd);
    return 0;
}
