/*
 * Secrets: loaded from files only their owner can read, zeroed when released.
 *
 * Failure modes of secret_load: missing, not a regular file, readable by others, owned by a third
 * user, empty, too long. The bytes never pass through a buffer that is not wiped.
 */
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fd.h"

void secret_release(struct secret *s)
{
    if (s->data != NULL)
        explicit_bzero(s->data, s->len);
    free(s->data);
    *s = SECRET_INIT;
}

static int copy(struct secret *s, const void *data, size_t len, struct tm_err *err)
{
    uint8_t *bytes = malloc(len + 1);
    if (bytes == NULL)
        return tm_err_oom(err);
    if (len > 0)
        memcpy(bytes, data, len);
    bytes[len] = '\0';
    secret_release(s);
    s->data = bytes;
    s->len = len;
    return 0;
}

int secret_set(struct secret *s, const void *data, size_t len, struct tm_err *err)
{
    if (len > SECRET_MAX_LEN)
        return tm_err_set(err, TM_E_LIMIT, "secret is longer than %d bytes", SECRET_MAX_LEN);
    return copy(s, data, len, err);
}

static int check_file(int fd, const char *path, struct tm_err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s'", path);
    if (!S_ISREG(st.st_mode))
        return tm_err_set(err, TM_E_INVALID, "secret file '%s' is not a regular file", path);
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return tm_err_set(err, TM_E_PERMISSION,
                          "secret file '%s' is open to others (mode %04o), run: chmod 600 '%s'",
                          path, (unsigned)st.st_mode & 07777u, path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return tm_err_set(err, TM_E_PERMISSION, "secret file '%s' belongs to user id %u", path,
                          (unsigned)st.st_uid);
    return 0;
}

int secret_load_max(const char *path, size_t max_len, struct secret *ret_secret, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open secret file '%s'", path);
    int r = check_file(fd, path, err);
    if (r < 0)
        return r;

    size_t size = max_len + 3; /* room to see one byte too many behind a line break */
    uint8_t *bytes = malloc(size);
    if (bytes == NULL)
        return tm_err_oom(err);
    size_t len = 0;
    r = fd_read_some(fd, bytes, size, &len, path, err);
    if (r == 0) {
        if (len > 0 && bytes[len - 1] == '\n')
            len--;
        if (len > 0 && bytes[len - 1] == '\r')
            len--;
        if (len == 0)
            r = tm_err_set(err, TM_E_INVALID, "secret file '%s' is empty", path);
        else if (len > max_len)
            r = tm_err_set(err, TM_E_LIMIT, "secret file '%s' is longer than %zu bytes", path,
                           max_len);
        else
            r = copy(ret_secret, bytes, len, err);
    }
    explicit_bzero(bytes, size);
    free(bytes);
    return r;
}

int secret_load(const char *path, struct secret *ret_secret, struct tm_err *err)
{
    return secret_load_max(path, SECRET_MAX_LEN, ret_secret, err);
}
