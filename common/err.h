#ifndef TM_COMMON_ERR_H
#define TM_COMMON_ERR_H
/*
 * Errors.
 *
 * A function that can fail returns int: 0, or a negative `-TM_E_…`, and fills `struct tm_err` where
 * the failure happens. Callers return the value upward and may put context in front:
 *
 *     if (storage_stat(st, name, &info, err) < 0)
 *         return tm_err_prefix(err, "range %u", range);
 *
 * The result reads from the outside in: "range 7: cannot stat 'x/y': Permission denied".
 * Messages are lower case, without a full stop, with subjects in single quotes. Whether an attempt
 * may be repeated (`retryable`) is known only where the failure happens, and decided there.
 *
 * `err` is never NULL. It is written only on failure. Library code never logs and never exits.
 * Thread safety: a struct tm_err belongs to its caller.
 */
#include <stdbool.h>
#include "common/cleanup.h"

/*      enum           number on the wire, text,               CLI exit status */
#define TM_ERR_MAP(X)                                                                              \
    X(INVALID, 1, "invalid input", 2) /* what the user or peer gave makes no sense */              \
    X(NOT_FOUND, 2, "not found", 3)                                                                \
    X(EXISTS, 3, "already exists", 1)                                                              \
    X(CONFLICT, 4, "conflict", 1) /* somebody else won: stale epoch, revision */                   \
    X(PERMISSION, 5, "permission denied", 5)                                                       \
    X(UNAVAILABLE, 6, "unavailable", 4) /* a peer or server cannot be reached now */               \
    X(TIMEOUT, 7, "timed out", 1)                                                                  \
    X(NO_SPACE, 8, "no space", 1)                                                                  \
    X(CORRUPT, 9, "corrupt data", 1) /* bytes do not match their digest or format */               \
    X(UNSUPPORTED, 10, "not supported", 1)                                                         \
    X(IO, 11, "input/output error", 1)                                                             \
    X(NO_MEMORY, 12, "out of memory", 1)                                                           \
    X(LIMIT, 13, "limit exceeded", 1)                                                              \
    X(CANCELED, 14, "canceled", 1)                                                                 \
    X(REFUSED, 15, "refused", 1) /* understood, and not done on purpose */                         \
    X(INTERNAL, 16, "internal error", 1)

enum tm_err_code {
    TM_E_OK = 0,
#define TM_ERR_ENUM(name, number, text, status) TM_E_##name = number,
    TM_ERR_MAP(TM_ERR_ENUM)
#undef TM_ERR_ENUM
};

#define TM_ERR_MSG_MAX 512 /* longer messages are cut, never overrun */

struct tm_err {
    enum tm_err_code code;
    int os_errno;             /* 0 when no system call was involved */
    bool retryable;           /* the same attempt may succeed later */
    char msg[TM_ERR_MSG_MAX]; /* one line of UTF-8, whatever names it quotes */
};

/* Each fills *err and returns -code, so that `return tm_err_set(…)` reads naturally. */
int tm_err_set(struct tm_err *err, enum tm_err_code code, const char *fmt, ...) TM_PRINTF(3, 4);
/* As tm_err_set, marked retryable. */
int tm_err_retry(struct tm_err *err, enum tm_err_code code, const char *fmt, ...) TM_PRINTF(3, 4);
/* Code chosen from os_errno; ": <strerror>" is appended. */
int tm_err_errno(struct tm_err *err, int os_errno, const char *fmt, ...) TM_PRINTF(3, 4);
/* Out of memory, without allocating. */
int tm_err_oom(struct tm_err *err);
/* Puts "<fmt>: " before the message; returns -err->code again. */
int tm_err_prefix(struct tm_err *err, const char *fmt, ...) TM_PRINTF(2, 3);

#ifdef __clang_analyzer__ /* tells it what it cannot see from here: none of these returns 0 */
#define tm_err_set(...)    ((void)tm_err_set(__VA_ARGS__), -1)
#define tm_err_retry(...)  ((void)tm_err_retry(__VA_ARGS__), -1)
#define tm_err_errno(...)  ((void)tm_err_errno(__VA_ARGS__), -1)
#define tm_err_oom(...)    ((void)tm_err_oom(__VA_ARGS__), -1)
#define tm_err_prefix(...) ((void)tm_err_prefix(__VA_ARGS__), -1)
#endif

const char *tm_err_code_text(enum tm_err_code code);
int tm_err_exit_status(enum tm_err_code code);
/* A number from a peer; unknown ones become TM_E_INTERNAL. */
enum tm_err_code tm_err_code_from_wire(unsigned number);

#endif
