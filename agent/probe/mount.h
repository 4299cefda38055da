#ifndef TM_AGENT_PROBE_MOUNT_H
#define TM_AGENT_PROBE_MOUNT_H
/*
 * Which file system a path lies on, as /proc/self/mountinfo tells: without touching the path, which may
 * hang. Symbolic links are not followed for that reason; give a resolved path where it is known.
 */
#include <limits.h>
#include <stdbool.h>

#include "common/buf.h"
#include "common/err.h"

#define MOUNT_FILE_MAX ((size_t)4 << 20)

struct mount {
    char point[PATH_MAX];  /* where it is mounted: "/mnt/backup" */
    char type[64];         /* "nfs4" */
    char source[PATH_MAX]; /* "server:/export", "/dev/sda1" */
    bool network;          /* a type that other hosts may share */
};

/* The mount that an absolute path lies on, in the text of a mountinfo file. TM_E_NOT_FOUND when the
 * text names none. */
int mount_find(struct slice mountinfo, const char *path, struct mount *ret,
               struct tm_err *err) TM_WUR;
/* The same of this process. */
int mount_of(const char *path, struct mount *ret, struct tm_err *err) TM_WUR;

#endif
