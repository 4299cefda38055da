#ifndef TM_COMMON_FD_H
#define TM_COMMON_FD_H
/*
 * File descriptors: whole reads and writes, checked close, socket pairs, memory files.
 *
 * Every descriptor made here is close-on-exec. EINTR is handled everywhere. `what` names the thing
 * in messages: "cannot read 'x/y': Input/output error". Thread safe.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/err.h"

/* Exactly `len` bytes, or an error: the end of the file before that is TM_E_CORRUPT. */
int fd_read_full(int fd, void *ret_data, size_t len, const char *what, struct tm_err *err) TM_WUR;
/* Up to `len` bytes: fewer only at the end of the file. */
int fd_read_some(int fd, void *ret_data, size_t len, size_t *ret_len, const char *what,
                 struct tm_err *err) TM_WUR;
int fd_write_full(int fd, const void *data, size_t len, const char *what,
                  struct tm_err *err) TM_WUR;
/* Exactly `len` bytes at `offset`; the file's end before that is TM_E_CORRUPT. */
int fd_pread_full(int fd, void *ret_data, size_t len, uint64_t offset, const char *what,
                  struct tm_err *err) TM_WUR;
/* Up to `len` bytes at `offset`: fewer only at the end of the file. */
int fd_pread_some(int fd, void *ret_data, size_t len, uint64_t offset, size_t *ret_len,
                  const char *what, struct tm_err *err) TM_WUR;
int fd_pwrite_full(int fd, const void *data, size_t len, uint64_t offset, const char *what,
                   struct tm_err *err) TM_WUR;
/* Appends everything up to the end to `out`; more than max_bytes is TM_E_LIMIT. */
int fd_read_all(int fd, struct buf *out, size_t max_bytes, const char *what,
                struct tm_err *err) TM_WUR;

int fd_sync(int fd, const char *what, struct tm_err *err) TM_WUR;
/* Closes a file that was written and reports what close says (NFS and quota errors come here).
 * *fd is -1 afterwards in any case; closing -1 does nothing. */
int fd_close(int *fd, const char *what, struct tm_err *err) TM_WUR;

int fd_set_nonblock(int fd, bool nonblock, struct tm_err *err) TM_WUR;

/* A connected pair of UNIX stream sockets; blocking unless `nonblock`. */
int fd_socketpair(bool nonblock, int ret_fds[2], struct tm_err *err) TM_WUR;

/* A memory file holding `data`, sealed against change, offset 0: how a secret reaches a child
 * without touching disk, argv or the environment. */
int fd_memfd(const char *name, struct slice data, int *ret_fd, struct tm_err *err) TM_WUR;

/* Lets this process have as many descriptors as it may ask for, and returns how many that is. For daemons that wait for
 * them by epoll alone: what lies above 1023 is nothing for select. */
uint64_t fd_limit_raise(void);

#endif
