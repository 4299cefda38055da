#ifndef TM_COMMON_FS_H
#define TM_COMMON_FS_H
/*
 * Files and directories, durable and contained.
 *
 * `dirfd` arguments take AT_FDCWD. Messages name the path. Thread safe (but the umask is the
 * process's: modes given here are subject to it).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/err.h"

#define FS_WALK_MAX_DEPTH 64

/* Creates missing directories of `path` with `mode`, and makes each durable in its parent. An
 * existing directory is fine, anything else in the way is an error. */
int fs_mkdir_p(const char *path, mode_t mode, struct tm_err *err) TM_WUR;
/* Makes entries of a directory (creations, renames) durable. */
int fs_sync_dir(const char *path, struct tm_err *err) TM_WUR;
/* The directory that holds `path`: "/a/b" → "/a", "b" → ".". */
int fs_sync_parent(const char *path, struct tm_err *err) TM_WUR;

/* Replaces `path` whole and durably: temporary name beside it → fsync → checked close → rename →
 * fsync of the directory. After a failure the old file is untouched and the temporary one gone. */
int fs_write_atomic(const char *path, struct slice data, mode_t mode, struct tm_err *err) TM_WUR;

/* Appends the whole file to `out`; larger than max_bytes is TM_E_LIMIT. Regular files only. */
int fs_read_file(const char *path, size_t max_bytes, struct buf *out, struct tm_err *err) TM_WUR;

/* Opens `path` below dirfd: relative, never leaving it, no symbolic link in any component, cloexec.
 * `flags`, `mode` as open(2). A path that would escape gives TM_E_REFUSED. */
int fs_open_beneath(int dirfd, const char *path, int flags, mode_t mode, int *ret_fd,
                    struct tm_err *err) TM_WUR;
/* What fs_open_beneath falls back to where openat2 is missing or filtered away (old containers,
 * systemd's RestrictSUIDSGID=): one component after the other, without following links. */
int fs_open_by_steps(int dirfd, const char *path, int flags, mode_t mode, int *ret_fd,
                     struct tm_err *err) TM_WUR;
/* Opens a directory (O_PATH not set: it can be listed and synced). */
int fs_open_dir(const char *path, int *ret_fd, struct tm_err *err) TM_WUR;

/* mkdir -p below dirfd, under the rules of fs_open_beneath. Does not sync. */
int fs_mkdir_p_beneath(int dirfd, const char *path, mode_t mode, struct tm_err *err) TM_WUR;

int fs_exists(const char *path, bool *ret_exists, struct tm_err *err) TM_WUR;
/* No entries but "." and ".."; an absent directory gives TM_E_NOT_FOUND. */
int fs_dir_empty(const char *path, bool *ret_empty, struct tm_err *err) TM_WUR;

struct fs_entry {
    const char *path; /* relative to the root, '/'-separated; valid during the call */
    const char *name; /* last component */
    struct stat st;   /* of the link itself, not of its target */
    unsigned depth;   /* 1 for entries of the root */
};

enum fs_walk_verdict {
    FS_WALK_CONTINUE = 0,
    FS_WALK_SKIP = 1, /* do not enter this directory */
    FS_WALK_STOP = 2, /* end, with success */
};

/* Returns a verdict, or negative with err filled, which ends the walk with that error. */
typedef int fs_walk_fn(const struct fs_entry *entry, void *arg, struct tm_err *err);

/* Visits everything below `root` (not root itself), each directory before its contents, entries of
 * a directory in order of name bytes. Links are reported, never followed. An entry that vanishes
 * meanwhile is left out. Memory: one directory's names per level. */
int fs_walk(const char *root, fs_walk_fn *visit, void *arg, struct tm_err *err) TM_WUR;

/* Removes everything below `root`, and root itself when `remove_root`. Never leaves the file tree
 * (links are unlinked, not followed). Absent root is success. */
int fs_remove_tree(const char *root, bool remove_root, struct tm_err *err) TM_WUR;

/* Joins with exactly one '/'. TM_E_INVALID when it does not fit. */
int fs_join(char *ret_path, size_t size, const char *dir, const char *name,
            struct tm_err *err) TM_WUR;

#endif
