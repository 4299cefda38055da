/*
 * Happy path: the name is a transaction's number, 8 hexadecimal digits before 17 and 16 since; it is
 * compared with the one that was next at the first start. The file ends with the CRC of what is before.
 *
 * Failure modes: another name in that directory (no state file: the server does not read it either);
 * a file that is just being written (its CRC is wrong: looked at again, 10 times 10 ms apart), or
 * damaged (told by the caller); one that was removed meanwhile can still be read.
 */
#include "agent/engine/postgres/twophase.h"

#include <sys/stat.h>
#include <time.h>

#include "agent/engine/postgres/version.h"
#include "common/hash.h"

#define TWOPHASE_DIR "pg_twophase/"
#define RETRIES      10
#define RETRY_NS     10000000L
#define PIECE_BYTES  16384
#define CRC_BYTES    4

/* The digits of a state file's name, or NULL. */
static const char *name_of(const char *path, unsigned digits)
{
    const size_t dir = strlen(TWOPHASE_DIR);
    if (strncmp(path, TWOPHASE_DIR, dir) != 0)
        return NULL;
    const char *name = path + dir;
    return strlen(name) == digits && strspn(name, "0123456789ABCDEF") == digits ? name : NULL;
}

static unsigned digits_of(const struct pg_begin *begin)
{
    const struct pg_version *version = pg_version_find(begin->version_num / 10000);
    return version ? version->twophase_digits : 0;
}

bool twophase_is_state_file(const struct pg_begin *begin, const char *path)
{
    return name_of(path, digits_of(begin)) != NULL;
}

bool twophase_is_later(const struct pg_begin *begin, const char *path)
{
    const unsigned digits = digits_of(begin);
    const char *name = name_of(path, digits);
    if (!name || begin->next_xid == 0)
        return false;
    const uint64_t xid = strtoull(name, NULL, 16);
    if (digits == 16)
        return xid >= begin->next_xid;
    /* which round of 32 bits it is of is not said, but it is less than half a round away */
    return (int32_t)((uint32_t)xid - (uint32_t)begin->next_xid) >= 0;
}

/* One look. *ret_whole as it is now. */
static int is_whole(int fd, const char *path, bool *ret_whole, struct tm_err *err)
{
    uint8_t piece[PIECE_BYTES], stored[CRC_BYTES];
    uint32_t crc = CRC32C_INIT;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s'", path);
    *ret_whole = false;
    if (st.st_size < 2 * CRC_BYTES)
        return 0;
    const uint64_t body = (uint64_t)st.st_size - CRC_BYTES;
    for (uint64_t at = 0; at < body;) {
        ssize_t n = pread(fd, piece, (size_t)TM_MIN(body - at, (uint64_t)PIECE_BYTES), (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot read '%s' at byte %llu", path,
                                (unsigned long long)at);
        if (n == 0)
            return 0;
        crc = crc32c(crc, piece, (size_t)n);
        at += (uint64_t)n;
    }
    const ssize_t n = pread(fd, stored, CRC_BYTES, (off_t)body);
    if (n < 0)
        return tm_err_errno(err, errno, "cannot read '%s' at byte %llu", path,
                            (unsigned long long)body);
    *ret_whole = n == CRC_BYTES && memcmp(stored, &crc, CRC_BYTES) == 0;
    return 0;
}

int twophase_await_whole(int fd, const char *path, bool *ret_whole, struct tm_err *err)
{
    bool whole = false;
    for (unsigned attempt = 0; !whole && attempt <= RETRIES; attempt++) {
        if (attempt > 0)
            (void)nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
        int r = is_whole(fd, path, &whole, err);
        if (r < 0)
            return r;
    }
    *ret_whole = whole;
    return 0;
}
