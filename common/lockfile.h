#ifndef TM_COMMON_LOCKFILE_H
#define TM_COMMON_LOCKFILE_H
/*
 * One process a directory: <dir>/lock, held with flock for the life of the process, its holder's
 * pid inside for people. The kernel releases it however the process ends. Thread safe.
 */
#include "common/err.h"

/* Makes `dir` (mode 0700) when it is missing. TM_E_CONFLICT, naming the other's pid, when it is
 * held. The lock lasts until *ret_fd is closed; children do not inherit it. */
int lockfile_take(const char *dir, int *ret_fd, struct tm_err *err) TM_WUR;

#endif
