/*
 * Children that are this program again.
 *
 * Happy path: socket pair → file actions that put the child's end at fd 3 and the extra descriptors
 * behind it → posix_spawn of /proc/self/exe → pidfd. Every descriptor is first duplicated to a
 * number above the targets, because a target number may be in use by another source.
 *
 * Failure modes: out of descriptors or processes; the binary cannot be executed. Nothing stays open
 * then.
 */
#include "common/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"

#define IOPRIO_CLASS_IDLE  3
#define IOPRIO_CLASS_SHIFT 13
#define IOPRIO_WHO_PROCESS 1

#define FIRST_SAFE_FD (SPAWN_SOCKET_FD + 1 + SPAWN_MAX_EXTRA)

struct moved_fds {
    int fds[SPAWN_MAX_EXTRA + 1];
    size_t count;
};

static void moved_fds_release(struct moved_fds *moved)
{
    for (size_t n = 0; n < moved->count; n++)
        closep(&moved->fds[n]);
}

static int move_fd(struct moved_fds *moved, int fd, struct tm_err *err)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
    if (copy < 0)
        return tm_err_errno(err, errno, "cannot duplicate a descriptor for a child");
    moved->fds[moved->count++] = copy;
    return 0;
}

static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int r = posix_spawnattr_setsigmask(attr, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(attr, &all);
    if (r == 0)
        r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return r;
}

static int set_actions(posix_spawn_file_actions_t *actions, const struct moved_fds *moved)
{
    int r = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    for (size_t n = 0; n < moved->count && r == 0; n++)
        r = posix_spawn_file_actions_adddup2(actions, moved->fds[n], SPAWN_SOCKET_FD + (int)n);
    /* close-on-exec is the rule of the house, this is for libraries that forget it */
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(actions, SPAWN_SOCKET_FD + (int)moved->count);
    return r;
}

static int run_spawn(const struct spawn_options *options, const struct moved_fds *moved,
                     pid_t *ret_pid)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t actions;
    int r = posix_spawnattr_init(&attr);
    if (r != 0)
        return r;
    r = posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        r = set_attributes(&attr);
        if (r == 0)
            r = set_actions(&actions, moved);
        if (r == 0) /* execve's prototype predates const; it does not write */
            r = posix_spawn(ret_pid, "/proc/self/exe", &actions, &attr,
                            (char *const *)(uintptr_t)options->argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    (void)posix_spawnattr_destroy(&attr);
    return r;
}

int spawn_self(const struct spawn_options *options, struct spawned *ret_child, struct tm_err *err)
{
    if (options->extra_fd_count > SPAWN_MAX_EXTRA)
        return tm_err_set(err, TM_E_LIMIT, "more than %d descriptors for a child", SPAWN_MAX_EXTRA);
    int pair[2];
    int r = fd_socketpair(false, pair, err);
    if (r < 0)
        return r;
    TM_CLEANUP(closep) int ours = pair[0];
    TM_CLEANUP(closep) int theirs = pair[1];
    TM_CLEANUP(moved_fds_release) struct moved_fds moved = {.count = 0};
    r = move_fd(&moved, theirs, err);
    for (size_t n = 0; n < options->extra_fd_count && r == 0; n++)
        r = move_fd(&moved, options->extra_fds[n], err);
    if (r == 0)
        r = fd_set_nonblock(ours, options->nonblock, err);
    if (r < 0)
        return r;

    pid_t pid = 0;
    r = run_spawn(options, &moved, &pid);
    if (r != 0)
        return tm_err_errno(err, r, "cannot start a child process");
    /* the child cannot be reaped before we do it, so its pid is still its own */
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        int saved = errno;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return tm_err_errno(err, saved, "cannot watch a child process");
    }
    *ret_child = (struct spawned){.pid = pid, .pidfd = pidfd, .socket = TM_TAKE_FD(ours)};
    return 0;
}

void spawned_release(struct spawned *child)
{
    closep(&child->pidfd);
    closep(&child->socket);
}

int spawn_kill(int pidfd, int signo, struct tm_err *err)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) < 0 && errno != ESRCH)
        return tm_err_errno(err, errno, "cannot signal a child process");
    return 0;
}

int spawn_wait(pid_t pid, int *ret_status, struct tm_err *err)
{
    pid_t got;
    int status = 0;
    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return tm_err_errno(err, errno, "cannot wait for process %ld", (long)pid);
    *ret_status = status;
    return 0;
}

int spawn_child_setup(pid_t parent_pid, struct tm_err *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return tm_err_errno(err, errno, "cannot tie this process to its parent");
    /* it may have died before prctl: then we were given to another parent already */
    pid_t now = getppid();
    if (parent_pid != 0 ? now != parent_pid : now <= 1)
        return tm_err_set(err, TM_E_CANCELED, "the parent process is gone");
    return 0;
}

int spawn_set_nice(int nice_value, struct tm_err *err)
{
    if (setpriority(PRIO_PROCESS, 0, nice_value) < 0)
        return tm_err_errno(err, errno, "cannot set nice value %d", nice_value);
    return 0;
}

int spawn_set_idle_io(struct tm_err *err)
{
    int priority = IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT;
    if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) < 0 && errno != ENOSYS)
        return tm_err_errno(err, errno, "cannot set idle I/O priority");
    return 0;
}
