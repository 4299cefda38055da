#ifndef TM_AGENT_ENGINE_POSTGRES_BENEATH_H
#define TM_AGENT_ENGINE_POSTGRES_BENEATH_H
/*
 * Opening and making things strictly below a directory descriptor.
 *
 * Paths come from stored metadata and are not trusted: a path is relative, has no empty, "." or
 * ".." component, and no component of it (nor the last) may be a symbolic link. openat2 with
 * RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS does it; where the kernel lacks that, the path is walked one
 * component at a time with O_NOFOLLOW.
 *
 * Thread safe.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/err.h"

/* Is `path` one that may be used below a directory? */
int beneath_path_check(const char *path, struct tm_err *err) TM_WUR;

/* open(2) flags; O_CLOEXEC is added. Returns -1 with errno on failure, so that callers can act on
 * ENOENT; errno is ELOOP when a symbolic link is in the way. */
int beneath_open(int dir_fd, const char *path, int flags, mode_t mode);
/* Makes the directory and its missing parents with `mode`; an existing directory is fine. -1/errno.
 */
int beneath_mkdirs(int dir_fd, const char *path, mode_t mode);
/* The descriptor of the parent directory of `path`; *ret_name points into path. -1/errno. */
int beneath_parent(int dir_fd, const char *path, const char **ret_name);

#endif
