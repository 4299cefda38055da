/*
 * A runner process from outside.
 *
 * Happy path: spawn → frames both ways, non-blocking → `stop` → the runner exits → what it wrote is
 * drained → `exited`.
 *
 * Failure modes: killed from outside (OOM, an operator): the same path without `stop`. Broken
 * frames, a full queue, a failed write: SIGKILL, reason kept for `exited`. The agent ends first:
 * the runner dies by its parent-death signal and by the end of file on its socket.
 */
#include "agent/session/runner_child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/loop.h"
#include "common/spawn.h"

#define RUNNER_CHILD_CHUNK ((size_t)64 * 1024)

struct runner_child {
    struct runner_child_handlers handlers;
    void *arg;
    struct spawned process;
    struct loop_io *io;
    struct loop_child *watch;
    struct buf in;
    struct buf out;
    size_t out_sent; /* of out */
    bool reaped;
    bool deaf; /* its socket ended or is broken: nothing more to read or write */
    char why[TM_ERR_MSG_MAX];
};

/* Fails only for a process that is gone already. */
static void kill_process(struct runner_child *c)
{
    struct tm_err ignored = {0};

    if (!c->reaped && spawn_kill(c->process.pidfd, SIGKILL, &ignored) < 0)
        c->deaf = true;
}

static void blame(struct runner_child *c, const char *why)
{
    if (c->why[0] == '\0')
        (void)snprintf(c->why, sizeof c->why, "%s", why);
    c->deaf = true;
    loop_io_free(TM_TAKE(c->io));
    kill_process(c);
}

/* ---- writing ---- */

static void want_write(struct runner_child *c, bool want)
{
    struct tm_err err = {0};

    if (c->io && loop_io_set_events(c->io, EPOLLIN | (want ? EPOLLOUT : 0u), &err) < 0)
        blame(c, err.msg);
}

static void flush(struct runner_child *c)
{
    while (!c->deaf && c->out_sent < c->out.len) {
        ssize_t n = send(c->process.socket, c->out.data + c->out_sent, c->out.len - c->out_sent,
                         MSG_NOSIGNAL);
        if (n >= 0) {
            c->out_sent += (size_t)n;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            /* the runner is going; what it wrote before can still be read */
            c->out_sent = c->out.len;
        }
    }
    if (c->out_sent == c->out.len) {
        c->out_sent = 0;
        buf_reset(&c->out);
    }
    want_write(c, c->out.len > 0);
}

/* Moves what is unsent to the front once most of the buffer is behind us. */
static void compact(struct runner_child *c)
{
    if (c->out_sent < RUNNER_CHILD_CHUNK || c->out_sent * 2 < c->out.len)
        return;
    memmove(c->out.data, c->out.data + c->out_sent, c->out.len - c->out_sent);
    c->out.len -= c->out_sent;
    c->out_sent = 0;
}

void runner_child_send(struct runner_child *child, const struct frame *frame)
{
    struct tm_err err = {0};

    if (child->deaf)
        return;
    compact(child);
    if (child->out.len - child->out_sent > RUNNER_CHILD_QUEUE_MAX) {
        blame(child, "the runner does not read what it is sent");
        return;
    }
    if (frame_encode(frame, &child->out, &err) < 0) {
        (void)tm_err_prefix(&err, "cannot send %s to the runner", frame_name(frame->type));
        blame(child, err.msg);
        return;
    }
    flush(child);
}

/* ---- reading ---- */

/* Reads what is there, up to `max`; false when the end was reached. */
static bool read_some(struct runner_child *c, size_t max)
{
    struct tm_err err = {0};

    for (size_t got = 0; got < max;) {
        if (buf_reserve(&c->in, RUNNER_CHILD_CHUNK, &err) < 0) {
            blame(c, err.msg);
            return false;
        }
        ssize_t n =
            recv(c->process.socket, c->in.data + c->in.len, RUNNER_CHILD_CHUNK, MSG_DONTWAIT);
        if (n > 0) {
            c->in.len += (size_t)n;
            got += (size_t)n;
        } else if (n == 0) {
            return false;
        } else if (errno == EAGAIN) {
            return true;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

static void deliver(struct runner_child *c)
{
    for (;;) {
        struct frame f = {0};
        struct tm_err err = {0};
        int r = frame_next(&c->in, &f, &err);

        if (r == 0)
            return;
        if (r < 0) {
            (void)tm_err_prefix(&err, "the runner wrote what is no frame");
            blame(c, err.msg);
            return;
        }
        c->handlers.frame(c->arg, &f);
        frame_release(&f);
    }
}

static void on_io(int fd, uint32_t revents, void *arg)
{
    struct runner_child *c = arg;

    (void)fd;
    if (revents & EPOLLOUT)
        flush(c);
    if (c->deaf || !(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    bool more = read_some(c, RUNNER_CHILD_READ_MAX);
    deliver(c);
    if (!more && !c->deaf) {
        /* its end is closed: the process is ending, the pidfd will say */
        c->deaf = true;
        loop_io_free(TM_TAKE(c->io));
    }
}

static void on_exit_(const struct loop_child_end *end, void *arg)
{
    struct runner_child *c = arg;

    c->reaped = true;
    while (!c->deaf) {
        size_t before = c->in.len;
        bool more = read_some(c, RUNNER_CHILD_READ_MAX);
        bool progress = c->in.len > before;
        deliver(c);
        if (!more || !progress)
            break;
    }
    c->deaf = true;
    loop_io_free(TM_TAKE(c->io));
    c->handlers.exited(c->arg, end->exited ? 0 : end->status, end->exited ? end->status : 0,
                       c->why[0] ? c->why : NULL);
}

/* ---- life ---- */

int runner_child_spawn(struct loop *loop, const struct runner_child_handlers *handlers, void *arg,
                       struct runner_child **ret, struct tm_err *err)
{
    static const char *const argv[] = {"tidemark-agent", "--runner", NULL};
    const struct spawn_options options = {.argv = argv, .nonblock = true};
    TM_CLEANUP(runner_child_freep) struct runner_child *c = calloc(1, sizeof *c);
    int r;

    if (!c)
        return tm_err_oom(err);
    c->handlers = *handlers;
    c->arg = arg;
    c->process = SPAWNED_INIT;
    c->out = BUF_SECRET_INIT; /* a job may bring credentials */
    if ((r = spawn_self(&options, &c->process, err)) < 0 ||
        (r = loop_io_new(loop, c->process.socket, EPOLLIN, on_io, c, &c->io, err)) < 0 ||
        (r = loop_child_new(loop, c->process.pid, c->process.pidfd, on_exit_, c, &c->watch, err)) <
            0)
        return tm_err_prefix(err, "cannot start a runner");
    *ret = TM_TAKE(c);
    return 0;
}

void runner_child_kill(struct runner_child *child)
{
    kill_process(child);
}

pid_t runner_child_pid(const struct runner_child *child)
{
    return child->process.pid;
}

void runner_child_free(struct runner_child *child)
{
    struct tm_err ignored = {0};
    int status;

    if (!child)
        return;
    loop_io_free(child->io);
    loop_child_free(child->watch);
    if (child->process.pid > 0 && !child->reaped) {
        kill_process(child);
        if (spawn_wait(child->process.pid, &status, &ignored) == 0)
            child->reaped = true;
    }
    spawned_release(&child->process);
    buf_release(&child->in);
    buf_release(&child->out);
    free(child);
}
