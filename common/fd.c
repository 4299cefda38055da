/*
 * Descriptors. Every loop here ends because each turn moves at least one byte, meets the end of the
 * file, or fails.
 */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* One system call moves at most this much (Linux stops a little below 2 GiB by itself). */
#define IO_MAX    ((size_t)1 << 30)
#define READ_STEP ((size_t)64 * 1024)

#define WHERE_IT_STANDS (-1) /* in place of an offset: the descriptor's own, which moves on */

static int read_some(int fd, void *ret_data, size_t len, int64_t offset, size_t *ret_len,
                     const char *what, struct tm_err *err)
{
    size_t done = 0;
    while (done < len) {
        uint8_t *to = (uint8_t *)ret_data + done;
        size_t step = TM_MIN(len - done, IO_MAX);
        ssize_t n = offset == WHERE_IT_STANDS
                        ? read(fd, to, step)
                        : pread(fd, to, step, (off_t)(offset + (int64_t)done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot read '%s'", what);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *ret_len = done;
    return 0;
}

static int write_all(int fd, const void *data, size_t len, int64_t offset, const char *what,
                     struct tm_err *err)
{
    size_t done = 0;
    while (done < len) {
        const uint8_t *from = (const uint8_t *)data + done;
        size_t step = TM_MIN(len - done, IO_MAX);
        ssize_t n = offset == WHERE_IT_STANDS
                        ? write(fd, from, step)
                        : pwrite(fd, from, step, (off_t)(offset + (int64_t)done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot write '%s'", what);
        done += (size_t)n;
    }
    return 0;
}

int fd_read_some(int fd, void *ret_data, size_t len, size_t *ret_len, const char *what,
                 struct tm_err *err)
{
    return read_some(fd, ret_data, len, WHERE_IT_STANDS, ret_len, what, err);
}

static int short_read(struct tm_err *err, const char *what, size_t wanted, size_t got)
{
    return tm_err_set(err, TM_E_CORRUPT, "cannot read '%s': ends after %zu of %zu bytes", what, got,
                      wanted);
}

int fd_read_full(int fd, void *ret_data, size_t len, const char *what, struct tm_err *err)
{
    size_t got = 0;
    int r = fd_read_some(fd, ret_data, len, &got, what, err);
    if (r == 0 && got < len)
        r = short_read(err, what, len, got);
    return r;
}

int fd_write_full(int fd, const void *data, size_t len, const char *what, struct tm_err *err)
{
    return write_all(fd, data, len, WHERE_IT_STANDS, what, err);
}

int fd_pread_some(int fd, void *ret_data, size_t len, uint64_t offset, size_t *ret_len,
                  const char *what, struct tm_err *err)
{
    if (offset > INT64_MAX - len)
        return tm_err_set(err, TM_E_INVALID, "cannot read '%s': offset too large", what);
    return read_some(fd, ret_data, len, (int64_t)offset, ret_len, what, err);
}

int fd_pread_full(int fd, void *ret_data, size_t len, uint64_t offset, const char *what,
                  struct tm_err *err)
{
    size_t got = 0;
    int r = fd_pread_some(fd, ret_data, len, offset, &got, what, err);
    if (r == 0 && got < len)
        r = short_read(err, what, len, got);
    return r;
}

int fd_pwrite_full(int fd, const void *data, size_t len, uint64_t offset, const char *what,
                   struct tm_err *err)
{
    if (offset > INT64_MAX - len)
        return tm_err_set(err, TM_E_INVALID, "cannot write '%s': offset too large", what);
    return write_all(fd, data, len, (int64_t)offset, what, err);
}

int fd_read_all(int fd, struct buf *out, size_t max_bytes, const char *what, struct tm_err *err)
{
    size_t start = out->len;
    for (;;) {
        int r = buf_reserve(out, READ_STEP, err);
        if (r < 0)
            return r;
        size_t got = 0;
        r = fd_read_some(fd, out->data + out->len, READ_STEP, &got, what, err);
        if (r < 0)
            return r;
        out->len += got;
        if (out->len - start > max_bytes) {
            out->len = start;
            return tm_err_set(err, TM_E_LIMIT, "cannot read '%s': larger than %zu bytes", what,
                              max_bytes);
        }
        if (got < READ_STEP)
            return 0;
    }
}

int fd_sync(int fd, const char *what, struct tm_err *err)
{
    if (fsync(fd) < 0)
        return tm_err_errno(err, errno, "cannot sync '%s' to disk", what);
    return 0;
}

int fd_close(int *fd, const char *what, struct tm_err *err)
{
    if (*fd < 0)
        return 0;
    int r = close(*fd);
    *fd = -1;
    /* EINTR: Linux has closed it all the same, and an error of the file system would be another */
    if (r < 0 && errno != EINTR)
        return tm_err_errno(err, errno, "cannot close '%s'", what);
    return 0;
}

int fd_set_nonblock(int fd, bool nonblock, struct tm_err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return tm_err_errno(err, errno, "cannot read flags of descriptor %d", fd);
    int wanted = nonblock ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (wanted != flags && fcntl(fd, F_SETFL, wanted) < 0)
        return tm_err_errno(err, errno, "cannot set flags of descriptor %d", fd);
    return 0;
}

int fd_socketpair(bool nonblock, int ret_fds[2], struct tm_err *err)
{
    int fds[2];
    int type = SOCK_STREAM | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0);
    if (socketpair(AF_UNIX, type, 0, fds) < 0)
        return tm_err_errno(err, errno, "cannot create a socket pair");
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

int fd_memfd(const char *name, struct slice data, int *ret_fd, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot create memory file '%s'", name);
    int r = fd_pwrite_full(fd, data.data, data.len, 0, name, err);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return tm_err_errno(err, errno, "cannot seal memory file '%s'", name);
    *ret_fd = TM_TAKE_FD(fd);
    return 0;
}

uint64_t fd_limit_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0; /* never: both arguments are right */
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}
