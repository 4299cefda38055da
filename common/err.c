/* Error values: filled at the origin, prefixed on the way up. Nothing here can fail or allocate. */
#include "common/err.h"

#undef tm_err_set /* the analyzer's notes */
#undef tm_err_retry
#undef tm_err_errno
#undef tm_err_oom
#undef tm_err_prefix

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

static int fill(struct tm_err *err, enum tm_err_code code, bool retryable, const char *fmt,
                va_list ap) TM_PRINTF(4, 0);
static int fill(struct tm_err *err, enum tm_err_code code, bool retryable, const char *fmt,
                va_list ap)
{
    err->code = code;
    err->os_errno = 0;
    err->retryable = retryable;
    (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    utf8_clean(err->msg);
    return -(int)code;
}

int tm_err_set(struct tm_err *err, enum tm_err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = fill(err, code, false, fmt, ap);
    va_end(ap);
    return r;
}

int tm_err_retry(struct tm_err *err, enum tm_err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = fill(err, code, true, fmt, ap);
    va_end(ap);
    return r;
}

static enum tm_err_code code_from_errno(int os_errno, bool *ret_retryable)
{
    *ret_retryable = false;
    switch (os_errno) {
    case ENOENT:
    case ENOTDIR:
        return TM_E_NOT_FOUND;
    case EEXIST:
        return TM_E_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return TM_E_PERMISSION;
    case ENOSPC:
    case EDQUOT:
        return TM_E_NO_SPACE;
    case ENOMEM:
        return TM_E_NO_MEMORY;
    case ETIMEDOUT:
        *ret_retryable = true;
        return TM_E_TIMEOUT;
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EPIPE:
    case EAGAIN:
        *ret_retryable = true;
        return TM_E_UNAVAILABLE;
    case EINVAL:
    case ENAMETOOLONG:
        return TM_E_INVALID;
    case ENOTSUP:
    case ENOSYS:
        return TM_E_UNSUPPORTED;
    case ECANCELED:
        return TM_E_CANCELED;
    default:
        return TM_E_IO;
    }
}

int tm_err_errno(struct tm_err *err, int os_errno, const char *fmt, ...)
{
    bool retryable;
    enum tm_err_code code = code_from_errno(os_errno, &retryable);
    va_list ap;
    va_start(ap, fmt);
    (void)fill(err, code, retryable, fmt, ap);
    va_end(ap);
    err->os_errno = os_errno;

    size_t used = strlen(err->msg);
    char text[128];
    (void)snprintf(err->msg + used, sizeof(err->msg) - used, ": %s",
                   strerror_r(os_errno, text, sizeof(text)));
    utf8_clean(err->msg);
    return -(int)code;
}

int tm_err_oom(struct tm_err *err)
{
    return tm_err_retry(err, TM_E_NO_MEMORY, "out of memory");
}

int tm_err_prefix(struct tm_err *err, const char *fmt, ...)
{
    char prefix[TM_ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(prefix, sizeof(prefix), fmt, ap);
    va_end(ap);

    size_t room = sizeof(err->msg);
    size_t prefix_len = strnlen(prefix, room - 1);
    size_t msg_len = strlen(err->msg);
    if (prefix_len + 2 + msg_len >=
        room) /* the origin matters less than where it was: cut its tail */
        msg_len = prefix_len + 3 < room ? room - prefix_len - 3 : 0;
    if (prefix_len + 3 <= room) {
        memmove(err->msg + prefix_len + 2, err->msg, msg_len);
        memcpy(err->msg, prefix, prefix_len);
        memcpy(err->msg + prefix_len, ": ", 2);
        err->msg[prefix_len + 2 + msg_len] = '\0';
    }
    utf8_clean(err->msg);
    return -(int)err->code;
}

const char *tm_err_code_text(enum tm_err_code code)
{
    switch (code) {
    case TM_E_OK:
        return "ok";
#define TM_ERR_TEXT(name, number, text, status)                                                    \
    case TM_E_##name:                                                                              \
        return text;
        TM_ERR_MAP(TM_ERR_TEXT)
#undef TM_ERR_TEXT
    }
    return "unknown error";
}

int tm_err_exit_status(enum tm_err_code code)
{
    switch (code) {
    case TM_E_OK:
        return 0;
#define TM_ERR_STATUS(name, number, text, status)                                                  \
    case TM_E_##name:                                                                              \
        return status;
        TM_ERR_MAP(TM_ERR_STATUS)
#undef TM_ERR_STATUS
    }
    return 1;
}

enum tm_err_code tm_err_code_from_wire(unsigned number)
{
    switch (number) {
#define TM_ERR_WIRE(name, wire_number, text, status)                                               \
    case wire_number:                                                                              \
        return TM_E_##name;
        TM_ERR_MAP(TM_ERR_WIRE)
#undef TM_ERR_WIRE
    default:
        return TM_E_INTERNAL;
    }
}
