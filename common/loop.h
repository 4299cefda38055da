#ifndef TM_COMMON_LOOP_H
#define TM_COMMON_LOOP_H
/*
 * The one loop of a daemon: a thin shell around sd-event.
 *
 *     loop_block_signals(err)       first thing in main: threads started later (nng's!) inherit it
 *     loop_new(&loop, err)
 *     loop_on_signals(…)            TERM and INT (stop), HUP (reload)
 *     loop_io / loop_timer_new / loop_child_new / mailbox_new …
 *     loop_notify_ready(…)
 *     loop_run(loop, err)           until loop_exit
 *     loop_free
 *
 * Everything here is called from the loop thread. Callbacks return nothing: an error that matters
 * is turned into state by the daemon. A source may free itself inside its own callback.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

struct loop;
struct loop_timer;
struct loop_io;
struct loop_child;

/* Blocks TERM, INT, HUP, CHLD, USR1 and USR2 in this thread, and ignores PIPE for the process. */
int loop_block_signals(struct tm_err *err) TM_WUR;

int loop_new(struct loop **ret_loop, struct tm_err *err) TM_WUR;
void loop_free(struct loop *loop);
TM_DEFINE_FREEP(struct loop, loop_free)

/* Runs until loop_exit; returns its code in *ret_code. */
int loop_run(struct loop *loop, int *ret_code, struct tm_err *err) TM_WUR;
/* One turn: waits up to timeout_us (0: only what is ready). For tests. */
int loop_turn(struct loop *loop, int64_t timeout_us, struct tm_err *err) TM_WUR;
void loop_exit(struct loop *loop, int code);

typedef void loop_signal_fn(int signo, void *ctx);
/* `signals` ends with 0; each must be blocked already. */
int loop_on_signals(struct loop *loop, const int *signals, loop_signal_fn *fn, void *ctx,
                    struct tm_err *err) TM_WUR;

/* ---- timers: mono_us as clock_mono_us; one shot, set again as often as wanted ---- */
typedef void loop_timer_fn(void *ctx);
int loop_timer_new(struct loop *loop, loop_timer_fn *fn, void *ctx, struct loop_timer **ret_timer,
                   struct tm_err *err) TM_WUR;
/* Fires at mono_us (at once when past). Replaces an earlier setting. Cannot fail. */
void loop_timer_set(struct loop_timer *timer, int64_t at_mono_us);
void loop_timer_clear(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);
TM_DEFINE_FREEP(struct loop_timer, loop_timer_free)

/* ---- descriptors: level-triggered; `events` are EPOLLIN | EPOLLOUT; the fd stays the caller's ---- */
typedef void loop_io_fn(int fd, uint32_t revents, void *ctx);
int loop_io_new(struct loop *loop, int fd, uint32_t events, loop_io_fn *fn, void *ctx,
                struct loop_io **ret_io, struct tm_err *err) TM_WUR;
int loop_io_set_events(struct loop_io *io, uint32_t events, struct tm_err *err) TM_WUR;
void loop_io_free(struct loop_io *io);
TM_DEFINE_FREEP(struct loop_io, loop_io_free)

/* ---- children: calls fn once when the process behind pidfd has ended, and reaps it ---- */
struct loop_child_end {
    pid_t pid;
    bool exited; /* else killed by a signal */
    int status;  /* exit status, or signal number */
};
typedef void loop_child_fn(const struct loop_child_end *end, void *ctx);
/* Borrows pidfd, which must stay open until fn was called or the source freed. */
int loop_child_new(struct loop *loop, pid_t pid, int pidfd, loop_child_fn *fn, void *ctx,
                   struct loop_child **ret_child, struct tm_err *err) TM_WUR;
/* Stops watching; does not kill. */
void loop_child_free(struct loop_child *child);
TM_DEFINE_FREEP(struct loop_child, loop_child_free)

/* The process ends with `code` after this many seconds, come what may, and writes `last_words` (a
 * constant) to stderr before. For the way out, when all that must be durable is: a library whose
 * threads hang may not keep a daemon from ending. */
void loop_exit_within(unsigned seconds, int code, const char *last_words);

/* ---- service manager: without $NOTIFY_SOCKET these do nothing and succeed ---- */
/* Sends the keep-alive by itself when WatchdogSec= is set for this process. */
int loop_watchdog(struct loop *loop, struct tm_err *err) TM_WUR;
void loop_notify_ready(const char *fmt, ...) TM_PRINTF(1, 2); /* READY=1 and a STATUS= line */
void loop_notify_status(const char *fmt, ...) TM_PRINTF(1, 2);
void loop_notify_stopping(void);
/* RELOADING=1 before, loop_notify_ready after a reload. */
void loop_notify_reloading(void);
/* Asks for this much more time to stop (or start). */
void loop_notify_extend(int64_t extra_us);

#endif
