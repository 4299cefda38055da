/*
 * sd-event in the project's clothes. Each source is a small struct with the callback; freeing it
 * detaches it from the event loop at once, also from inside its own callback (sd-event keeps the
 * source itself alive until the callback returned, and we touch nothing of ours after calling out).
 */
#include "common/loop.h"

#include <pthread.h>

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "common/clock.h"

#define LOOP_MAX_SIGNALS 8
#define TIMER_SLACK_US   1000

struct loop {
    sd_event *event;
    loop_signal_fn *on_signal;
    void *signal_ctx;
    sd_event_source *signals[LOOP_MAX_SIGNALS];
    size_t signal_count;
};

struct loop_timer {
    sd_event_source *source;
    loop_timer_fn *fn;
    void *ctx;
};

struct loop_io {
    sd_event_source *source;
    loop_io_fn *fn;
    void *ctx;
};

struct loop_child {
    sd_event_source *source;
    loop_child_fn *fn;
    void *ctx;
    pid_t pid;
    int pidfd;
};

static const int daemon_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2};

static void daemon_signal_set(sigset_t *set)
{
    (void)sigemptyset(set);
    for (size_t n = 0; n < TM_ARRAY_LEN(daemon_signals); n++)
        (void)sigaddset(set, daemon_signals[n]);
}

int loop_block_signals(struct tm_err *err)
{
    sigset_t set;
    daemon_signal_set(&set);
    int r = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (r != 0)
        return tm_err_errno(err, r, "cannot block signals");
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) < 0)
        return tm_err_errno(err, errno, "cannot ignore SIGPIPE");
    return 0;
}

int loop_new(struct loop **ret_loop, struct tm_err *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL)
        return tm_err_oom(err);
    int r = sd_event_new(&loop->event);
    if (r < 0) {
        free(loop);
        return tm_err_errno(err, -r, "cannot create the event loop");
    }
    *ret_loop = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    for (size_t n = 0; n < loop->signal_count; n++)
        sd_event_source_disable_unref(loop->signals[n]);
    sd_event_unref(loop->event);
    free(loop);
}

int loop_run(struct loop *loop, int *ret_code, struct tm_err *err)
{
    int r = sd_event_loop(loop->event);
    /* code of loop_exit (0 or more), or a negative errno of sd-event itself */
    if (r < 0)
        return tm_err_errno(err, -r, "event loop failed");
    *ret_code = r;
    return 0;
}

int loop_turn(struct loop *loop, int64_t timeout_us, struct tm_err *err)
{
    int r = sd_event_run(loop->event, timeout_us < 0 ? 0 : (uint64_t)timeout_us);
    if (r < 0)
        return tm_err_errno(err, -r, "event loop failed");
    return 0;
}

void loop_exit(struct loop *loop, int code)
{
    (void)sd_event_exit(loop->event, code); /* fails only in a finished loop */
}

/* ---- signals ---- */

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
    (void)source;
    struct loop *loop = ctx;
    loop->on_signal((int)info->ssi_signo, loop->signal_ctx);
    return 0;
}

int loop_on_signals(struct loop *loop, const int *signals, loop_signal_fn *fn, void *ctx,
                    struct tm_err *err)
{
    loop->on_signal = fn;
    loop->signal_ctx = ctx;
    for (; *signals != 0; signals++) {
        if (loop->signal_count == LOOP_MAX_SIGNALS)
            return tm_err_set(err, TM_E_LIMIT, "more than %d signals", LOOP_MAX_SIGNALS);
        sd_event_source **source = &loop->signals[loop->signal_count];
        int r = sd_event_add_signal(loop->event, source, *signals, on_signal, loop);
        if (r < 0)
            return tm_err_errno(err, -r, "cannot watch signal %d", *signals);
        loop->signal_count++;
    }
    return 0;
}

/* ---- timers ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *ctx)
{
    (void)source;
    (void)usec;
    struct loop_timer *timer = ctx;
    timer->fn(timer->ctx);
    return 0;
}

int loop_timer_new(struct loop *loop, loop_timer_fn *fn, void *ctx, struct loop_timer **ret_timer,
                   struct tm_err *err)
{
    struct loop_timer *timer = calloc(1, sizeof(*timer));
    if (timer == NULL)
        return tm_err_oom(err);
    timer->fn = fn;
    timer->ctx = ctx;
    int r = sd_event_add_time(loop->event, &timer->source, CLOCK_BOOTTIME, UINT64_MAX,
                              TIMER_SLACK_US, on_timer, timer);
    if (r >= 0)
        r = sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
    if (r < 0) {
        loop_timer_free(timer);
        return tm_err_errno(err, -r, "cannot create a timer");
    }
    *ret_timer = timer;
    return 0;
}

void loop_timer_set(struct loop_timer *timer, int64_t at_mono_us)
{
    /* both fail only for a source of another kind or a finished loop */
    (void)sd_event_source_set_time(timer->source, at_mono_us < 0 ? 0 : (uint64_t)at_mono_us);
    (void)sd_event_source_set_enabled(timer->source, SD_EVENT_ONESHOT);
}

void loop_timer_clear(struct loop_timer *timer)
{
    (void)sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
}

void loop_timer_free(struct loop_timer *timer)
{
    if (timer == NULL)
        return;
    sd_event_source_disable_unref(timer->source);
    free(timer);
}

/* ---- descriptors ---- */

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
    (void)source;
    struct loop_io *io = ctx;
    io->fn(fd, revents, io->ctx);
    return 0;
}

int loop_io_new(struct loop *loop, int fd, uint32_t events, loop_io_fn *fn, void *ctx,
                struct loop_io **ret_io, struct tm_err *err)
{
    struct loop_io *io = calloc(1, sizeof(*io));
    if (io == NULL)
        return tm_err_oom(err);
    io->fn = fn;
    io->ctx = ctx;
    int r = sd_event_add_io(loop->event, &io->source, fd, events, on_io, io);
    if (r < 0) {
        free(io);
        return tm_err_errno(err, -r, "cannot watch descriptor %d", fd);
    }
    *ret_io = io;
    return 0;
}

int loop_io_set_events(struct loop_io *io, uint32_t events, struct tm_err *err)
{
    int r = sd_event_source_set_io_events(io->source, events);
    if (r < 0)
        return tm_err_errno(err, -r, "cannot watch a descriptor");
    return 0;
}

void loop_io_free(struct loop_io *io)
{
    if (io == NULL)
        return;
    sd_event_source_disable_unref(io->source);
    free(io);
}

/* ---- children: a pidfd becomes readable when its process ends ---- */

static int on_child(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
    (void)revents;
    struct loop_child *child = ctx;
    siginfo_t info = {0};
    int r;
    do
        r = waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG);
    while (r < 0 && errno == EINTR);
    if (r == 0 && info.si_pid == 0)
        return 0; /* not yet */

    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    struct loop_child_end end = {.pid = child->pid};
    if (r == 0) {
        end.exited = info.si_code == CLD_EXITED;
        end.status = info.si_status;
    } else { /* reaped by somebody else: that it ended is all we know */
        end.status = SIGKILL;
    }
    child->fn(&end, child->ctx);
    return 0;
}

int loop_child_new(struct loop *loop, pid_t pid, int pidfd, loop_child_fn *fn, void *ctx,
                   struct loop_child **ret_child, struct tm_err *err)
{
    struct loop_child *child = calloc(1, sizeof(*child));
    if (child == NULL)
        return tm_err_oom(err);
    *child = (struct loop_child){.fn = fn, .ctx = ctx, .pid = pid, .pidfd = pidfd};
    int r = sd_event_add_io(loop->event, &child->source, pidfd, EPOLLIN, on_child, child);
    if (r < 0) {
        free(child);
        return tm_err_errno(err, -r, "cannot watch process %ld", (long)pid);
    }
    *ret_child = child;
    return 0;
}

void loop_child_free(struct loop_child *child)
{
    if (child == NULL)
        return;
    sd_event_source_disable_unref(child->source);
    free(child);
}

/* ---- service manager. Failures are ignored: nobody but the manager cares, and it has timeouts. ---- */

int loop_watchdog(struct loop *loop, struct tm_err *err)
{
    int r = sd_event_set_watchdog(loop->event, 1);
    if (r < 0)
        return tm_err_errno(err, -r, "cannot arm the watchdog");
    return 0;
}

#define STATUS_MAX 256

/* A status is one line: a line break in it would start another assignment. */
static void format_status(char *text, const char *fmt, va_list ap) TM_PRINTF(2, 0);
static void format_status(char *text, const char *fmt, va_list ap)
{
    (void)vsnprintf(text, STATUS_MAX, fmt, ap);
    for (char *p = text; *p != '\0'; p++)
        if (*p == '\n')
            *p = ' ';
}

void loop_notify_ready(const char *fmt, ...)
{
    char status[STATUS_MAX];
    va_list ap;
    va_start(ap, fmt);
    format_status(status, fmt, ap);
    va_end(ap);
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void loop_notify_status(const char *fmt, ...)
{
    char status[STATUS_MAX];
    va_list ap;
    va_start(ap, fmt);
    format_status(status, fmt, ap);
    va_end(ap);
    (void)sd_notifyf(0, "STATUS=%s", status);
}

void loop_notify_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1\nSTATUS=stopping");
}

void loop_notify_reloading(void)
{
    (void)sd_notify(0, "RELOADING=1");
}

void loop_notify_extend(int64_t extra_us)
{
    (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%lld", (long long)extra_us);
}

/* ---- the last resort ---- */

struct exit_plan {
    unsigned seconds;
    int code;
    const char *last_words;
};

static void *exit_main(void *arg)
{
    struct exit_plan plan = *(struct exit_plan *)arg;
    free(arg);
    struct timespec left = {.tv_sec = plan.seconds};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
    /* whoever does not read our stderr may not keep us either */
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&room, 1, 0) == 1 && (room.revents & POLLOUT))
        (void)!write(STDERR_FILENO, plan.last_words, strlen(plan.last_words));
    _exit(plan.code);
}

void loop_exit_within(unsigned seconds, int code, const char *last_words)
{
    struct exit_plan *plan = malloc(sizeof(*plan));
    pthread_t thread;
    if (plan == NULL)
        return;
    *plan = (struct exit_plan){.seconds = seconds, .code = code, .last_words = last_words};
    if (pthread_create(&thread, NULL, exit_main, plan) == 0)
        (void)pthread_detach(thread);
    else
        free(plan);
}
