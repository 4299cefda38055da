#ifndef TM_COMMON_SPAWN_H
#define TM_COMMON_SPAWN_H
/*
 * Child processes that are this very program again, connected by a socket.
 *
 * posix_spawn of /proc/self/exe (an upgrade of the binary on disk does not matter; nng does not
 * survive a bare fork). The child has: fd 0 /dev/null, 1 and 2 the parent's, SPAWN_SOCKET_FD its
 * end of a UNIX stream socket pair, further fds as asked, nothing else; default signal dispositions
 * and an empty mask. First thing in the child's main is spawn_child_setup, which makes it die with
 * its parent; the kernel means the *thread* that spawned, so spawn from the loop thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/err.h"

#define SPAWN_SOCKET_FD 3
#define SPAWN_MAX_ARGS  16
#define SPAWN_MAX_EXTRA 8

struct spawn_options {
    const char *const *argv; /* argv[0] included, NULL-terminated; never secrets */
    const int *extra_fds;    /* become SPAWN_SOCKET_FD + 1 … in the child; stay the caller's */
    size_t extra_fd_count;
    bool nonblock; /* the parent's end of the socket */
};

struct spawned {
    pid_t pid;
    int pidfd; /* the caller closes both */
    int socket;
};
#define SPAWNED_INIT ((struct spawned){.pid = 0, .pidfd = -1, .socket = -1})

int spawn_self(const struct spawn_options *options, struct spawned *ret_child,
               struct tm_err *err) TM_WUR;
/* Closes what is open. Neither kills nor reaps. */
void spawned_release(struct spawned *child);

/* Signals the process behind pidfd; one that is gone already is success. */
int spawn_kill(int pidfd, int signo, struct tm_err *err) TM_WUR;
/* Waits for the end; *ret_status as waitpid's. For code without a loop. */
int spawn_wait(pid_t pid, int *ret_status, struct tm_err *err) TM_WUR;

/* In the child: SIGKILL when the parent dies; fails when it is dead already (its pid must be
 * `parent_pid`, handed over in argv or the first frame; 0: whatever it is now, but not init or 1).
 */
int spawn_child_setup(pid_t parent_pid, struct tm_err *err) TM_WUR;

/* Lowers this process: nice value 0 to 19. */
int spawn_set_nice(int nice_value, struct tm_err *err) TM_WUR;
/* Idle I/O class for this thread and those it starts; silently does nothing where the kernel lacks
 * it. */
int spawn_set_idle_io(struct tm_err *err) TM_WUR;

#endif
