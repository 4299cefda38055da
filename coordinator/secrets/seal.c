/*
 * systemd-creds as a child process.
 *
 * Happy path: a pipe is filled with the input and closed, the program runs with it as stdin, its
 * output is read until it ends, its status is 0. The input fits into the pipe, so that nothing waits
 * for a program that does not read.
 * Failure modes: no such program, a status other than 0 (no key, a key that cannot be read by this
 * user, what was sealed is not this host's), an output without end, a program that hangs, also one that
 * has closed its output before: killed, with what it started. One that cannot even be killed is left
 * behind.
 */
#include "coordinator/secrets/seal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/utf8.h"

#define STDERR_MAX ((size_t)512)
#define READ_BYTES ((size_t)16384)
#define REAP_MS    1000 /* for the end of what was killed */

struct pipe_ends {
    int read;
    int write;
};

static void pipe_close(struct pipe_ends *p)
{
    closep(&p->read);
    closep(&p->write);
}

static int pipe_open(struct pipe_ends *ret, struct tm_err *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return tm_err_errno(err, errno, "cannot make a pipe");
    *ret = (struct pipe_ends){fds[0], fds[1]};
    return 0;
}

/* All of it, without waiting: the pipe is made large enough. */
static int fill(struct pipe_ends *p, struct slice in, struct tm_err *err)
{
    if (in.len > SEAL_IN_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%zu bytes are too many to be encrypted", in.len);
    (void)fcntl(p->write, F_SETPIPE_SZ, (int)(64 * 1024)); /* its size unless pages are short */
    if (fcntl(p->write, F_SETFL, O_NONBLOCK) < 0)
        return tm_err_errno(err, errno, "cannot use a pipe");
    for (size_t done = 0; done < in.len;) {
        ssize_t n = write(p->write, in.data + done, in.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot fill a pipe");
        done += (size_t)n;
    }
    closep(&p->write);
    return 0;
}

static int start(const char *program, const char *verb, const char *name, int in, int out, int why,
                 pid_t *ret, struct tm_err *err)
{
    char option[128];
    (void)snprintf(option, sizeof(option), "--name=%s", name);
    char *argv[] = {(char *)(uintptr_t)program,
                    (char *)(uintptr_t)verb,
                    option,
                    (char[]){"-"},
                    (char[]){"-"},
                    NULL};
    char *env[] = {(char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, (char[]){"LC_ALL=C.UTF-8"},
                   NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int r = posix_spawn_file_actions_init(&actions);
    if (r == 0 && (r = posix_spawnattr_init(&attr)) != 0)
        (void)posix_spawn_file_actions_destroy(&actions);
    if (r != 0)
        return tm_err_errno(err, r, "cannot start '%s'", program);
    if ((r = posix_spawn_file_actions_adddup2(&actions, in, 0)) == 0 &&
        (r = posix_spawn_file_actions_adddup2(&actions, out, 1)) == 0 &&
        (r = posix_spawn_file_actions_adddup2(&actions, why, 2)) == 0 &&
        (r = posix_spawnattr_setsigmask(&attr, &none)) == 0 &&
        (r = posix_spawnattr_setsigdefault(&attr, &all)) == 0 &&
        (r = posix_spawnattr_setpgroup(&attr, 0)) == 0 && /* to be killed with what it started */
        (r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                 POSIX_SPAWN_SETPGROUP)) == 0)
        r = posix_spawn(ret, program, &actions, &attr, argv, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attr);
    return r == 0 ? 0 : tm_err_errno(err, r, "cannot start '%s'", program);
}

/* 1 = more may come, 0 = its end, negative = error. Beyond `max` what comes is an error, or dropped. */
static int take(int fd, struct buf *out, size_t max, bool drop, struct tm_err *err)
{
    int r = buf_reserve(out, READ_BYTES, err);
    if (r < 0)
        return r;
    ssize_t n = read(fd, out->data + out->len, READ_BYTES);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 1 : tm_err_errno(err, errno, "cannot read");
    if (n == 0)
        return 0;
    if (out->len + (size_t)n > max && !drop)
        return tm_err_set(err, TM_E_LIMIT, "more than %zu bytes came", max);
    out->len = TM_MIN(out->len + (size_t)n, max);
    return 1;
}

static int left_ms(int64_t until_us)
{
    int64_t left = (until_us - clock_mono_us() + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
    return (int)TM_MIN(TM_MAX(left, 0), INT32_MAX);
}

/* Reads both to their ends, or until time is over. */
static int drain(int out_fd, int why_fd, int64_t until_us, struct buf *out, struct buf *why,
                 struct tm_err *err)
{
    struct pollfd fds[] = {{.fd = out_fd, .events = POLLIN}, {.fd = why_fd, .events = POLLIN}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int left = left_ms(until_us);
        if (left == 0)
            return tm_err_retry(err, TM_E_TIMEOUT, "it did not end in time and was killed");
        int n = poll(fds, TM_ARRAY_LEN(fds), left);
        if (n < 0 && errno != EINTR)
            return tm_err_errno(err, errno, "cannot wait for it");
        int r = 1;
        if (n > 0 && fds[0].revents != 0) {
            if ((r = take(out_fd, out, SEAL_OUT_MAX, false, err)) < 0)
                return r;
            fds[0].fd = r == 0 ? -1 : fds[0].fd;
        }
        if (n > 0 && fds[1].revents != 0) {
            if ((r = take(why_fd, why, STDERR_MAX, true, err)) < 0)
                return r;
            fds[1].fd = r == 0 ? -1 : fds[1].fd;
        }
    }
    return 0;
}

/* The last line of stderr says why; notes come before it. */
static void last_line(struct buf *why, char *text, size_t size)
{
    const char *all = "";
    struct tm_err ignored;
    while (why->len > 0 && (why->data[why->len - 1] == '\n' || why->data[why->len - 1] == '\r'))
        why->len--;
    if (buf_cstr(why, &all, &ignored) < 0)
        all = "";
    const char *line = strrchr(all, '\n');
    (void)snprintf(text, size, "%s", line != NULL ? line + 1 : all);
    utf8_clean(text);
}

/* False = still running when time is over. Without pidfd (an old kernel) it waits for long. */
static bool wait_end(pid_t pid, int64_t until_us)
{
    TM_CLEANUP(closep) int fd = (int)syscall(SYS_pidfd_open, pid, 0U);
    struct pollfd end = {.fd = fd, .events = POLLIN};
    while (fd >= 0) {
        int left = left_ms(until_us);
        int n = poll(&end, 1, left);
        if (n > 0 || (n < 0 && errno != EINTR))
            return true;
        if (n == 0 && left == 0)
            return false;
    }
    return true;
}

/* `r` is what reading came to: negative, it is killed at once. */
static int reap(pid_t pid, int r, int64_t until_us, struct buf *why, struct tm_err *err)
{
    char text[200];
    int status = 0;
    if (r == 0 && !wait_end(pid, until_us))
        r = tm_err_retry(err, TM_E_TIMEOUT, "it did not end in time and was killed");
    if (r < 0) {
        (void)kill(-pid, SIGKILL);
        if (!wait_end(pid, clock_mono_us() + (int64_t)REAP_MS * USEC_PER_MSEC))
            return r;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return r < 0 ? r : tm_err_errno(err, errno, "cannot wait for its end");
    if (r < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return r;
    last_line(why, text, sizeof(text));
    if (WIFSIGNALED(status))
        return tm_err_set(err, TM_E_IO, "it was killed by signal %d", WTERMSIG(status));
    return tm_err_set(err, TM_E_IO, "%s",
                      text[0] != '\0' ? text : "it failed and does not say why");
}

static int run(const char *program, const char *verb, const char *name, struct slice in,
               int64_t until_us, struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(pipe_close) struct pipe_ends input = {-1, -1};
    TM_CLEANUP(pipe_close) struct pipe_ends output = {-1, -1};
    TM_CLEANUP(pipe_close) struct pipe_ends errors = {-1, -1};
    TM_CLEANUP(buf_release) struct buf why = BUF_INIT;
    pid_t pid = 0;
    if (left_ms(until_us) == 0)
        return tm_err_retry(err, TM_E_TIMEOUT, "%s %s: not tried, no time is left for it", program,
                            verb);
    int r = pipe_open(&input, err);
    if (r < 0 || (r = pipe_open(&output, err)) < 0 || (r = pipe_open(&errors, err)) < 0 ||
        (r = fill(&input, in, err)) < 0 ||
        (r = start(program, verb, name, input.read, output.write, errors.write, &pid, err)) < 0)
        return r;
    closep(&input.read);
    closep(&output.write);
    closep(&errors.write);
    r = drain(output.read, errors.read, until_us, out, &why, err);
    r = reap(pid, r, until_us, &why, err);
    return r < 0 ? tm_err_prefix(err, "%s %s", program, verb) : 0;
}

int seal_close(const char *program, const char *name, struct slice in, int64_t until_us,
               struct buf *out, struct tm_err *err)
{
    return run(program, "encrypt", name, in, until_us, out, err);
}

int seal_open(const char *program, const char *name, struct slice in, int64_t until_us,
              struct buf *out, struct tm_err *err)
{
    return run(program, "decrypt", name, in, until_us, out, err);
}

int seal_check(const char *program, int64_t until_us, struct tm_err *err)
{
    static const char name[] = "tidemark-secret-check";
    TM_CLEANUP(buf_release) struct buf closed = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf opened = BUF_INIT;
    int r = seal_close(program, name, slice_str("tidemark"), until_us, &closed, err);
    if (r == 0)
        r = seal_open(program, name, buf_slice(&closed), until_us, &opened, err);
    if (r == 0 && !slice_eq(buf_slice(&opened), slice_str("tidemark")))
        r = tm_err_set(err, TM_E_CORRUPT, "%s: what was encrypted does not come back", program);
    if (r == 0 && slice_eq(buf_slice(&closed), slice_str("tidemark")))
        r = tm_err_set(err, TM_E_CORRUPT, "%s: what should be encrypted is not", program);
    return r;
}
