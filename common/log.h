#ifndef TM_COMMON_LOG_H
#define TM_COMMON_LOG_H
/*
 * Logging of the daemons. Libraries never log: they return errors, and the daemon says it once.
 *
 * log_init decides where lines go: the journal, with fields, when stderr is the journal's stream
 * ($JOURNAL_STREAM); else stderr, with `<N>` priorities when it is no terminal (systemd and syslog
 * pipes read them), with a time when it is one. There are no log files.
 *
 *     struct log lg;
 *     log_init(&lg, "tidemark-agent", LOG_INFO);
 *     struct log_ctx ctx = {.cluster = "demo1", .node = "db-a", .job = uid};
 *     log_info(&lg, &ctx, "backup %s started", name);
 *     log_event(&lg, &ctx, LOG_EVENT_JOB_FAILED, LOG_ERR, "backup %s failed: %s", name, err->msg);
 *
 * The context's pointers are borrowed for the call; NULL members and a NULL ctx are left out. On
 * stderr the context appears as "[demo1/main db-a job …] ". Messages never contain secrets. Line
 * breaks and control characters in a message are written as '?', so peer data cannot forge lines.
 *
 * Threads: log_* may be called from any thread once log_init is done.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG */

#include "common/cleanup.h"
#include "common/err.h"

#define LOG_LINE_MAX 2048 /* longer messages are cut */

/* What operators and alerts match on: the ids never change, new ones are added at the end. Of a job
 * the coordinator tells what became of all of it, an agent what became of its own part. */
#define LOG_EVENT_MAP(X)                                                                           \
    X(DAEMON_STARTED, "3cd068724ff84c09bc0879783ea9e8b4")                                          \
    X(DAEMON_STOPPING, "6262af5804b3409cbd92d0c33414ec1a")                                         \
    X(CONFIG_RELOADED, "3fe151abc9224f9cb37189b446eb45de")                                         \
    X(AGENT_CONNECTED, "1c0c96a5f2544a0981558a9146f01f9b")                                         \
    X(AGENT_LOST, "321d71d572d64797b70ac06597fb10de")                                              \
    X(AGENT_REFUSED, "9aae5f5a85b34943986472c988a9c563")                                           \
    X(INSTANCE_CHANGED, "fe3bc76825b346c6afe69a7ba3134879")                                        \
    X(JOB_STARTED, "6c94961ced3f4a3aacd655f4332b5d2d")                                             \
    X(JOB_COMPLETE, "cf88fc000dd7400191ffb53b28bf6679")                                            \
    X(JOB_FAILED, "c8c8e2d111cb4e098a64ef8e6c33a4b8")                                              \
    X(RANGE_RELEASED, "a81f31b813cb4fde9d28592fd07cd27b")                                          \
    X(RUNNER_DIED, "aee3cf11c0e5412ea9afa2ec35445d41")                                             \
    X(PAGE_CORRUPT, "630395c2ad874a0d9c9fc84616766162")                                            \
    X(SESSION_LOST, "56af95b9d20b4ef092a8f685bb2c2ee2")                                            \
    X(RESTORE_COMPLETE, "05ae6131dec74be1bdb391e14e4d71f7")                                        \
    X(STATE_LOST, "04a0f72d8dd14c62aa979bdd5c385013")

enum log_event {
    LOG_EVENT_NONE = 0,
#define LOG_EVENT_ENUM(name, id) LOG_EVENT_##name,
    LOG_EVENT_MAP(LOG_EVENT_ENUM)
#undef LOG_EVENT_ENUM
};

enum log_target {
    LOG_TARGET_JOURNAL,
    LOG_TARGET_PREFIXED, /* stderr with <N> */
    LOG_TARGET_TERMINAL,
};

struct log {
    enum log_target target;
    int fd;           /* stderr, unless a test sets another */
    int max_priority; /* lines above (less urgent) are left out */
    char program[64];
};

struct log_ctx {
    const char *cluster;
    const char *tenant;
    const char *node;
    const char *job;
};

void log_init(struct log *lg, const char *program, int max_priority);

/* `event` may be LOG_EVENT_NONE. */
void log_write(const struct log *lg, const struct log_ctx *ctx, enum log_event event, int priority,
               const char *fmt, ...) TM_PRINTF(5, 6);
void log_writev(const struct log *lg, const struct log_ctx *ctx, enum log_event event, int priority,
                const char *fmt, va_list ap) TM_PRINTF(5, 0);

#define log_event(lg, ctx, event, priority, ...) log_write(lg, ctx, event, priority, __VA_ARGS__)
#define log_error(lg, ctx, ...)                  log_write(lg, ctx, LOG_EVENT_NONE, LOG_ERR, __VA_ARGS__)
#define log_warning(lg, ctx, ...)                log_write(lg, ctx, LOG_EVENT_NONE, LOG_WARNING, __VA_ARGS__)
#define log_notice(lg, ctx, ...)                 log_write(lg, ctx, LOG_EVENT_NONE, LOG_NOTICE, __VA_ARGS__)
#define log_info(lg, ctx, ...)                   log_write(lg, ctx, LOG_EVENT_NONE, LOG_INFO, __VA_ARGS__)
#define log_debug(lg, ctx, ...)                  log_write(lg, ctx, LOG_EVENT_NONE, LOG_DEBUG, __VA_ARGS__)

/* "error", "warn", "info", "debug" (and syslog's other words) → LOG_…. */
int log_priority_parse(const char *text, int *ret_priority, struct tm_err *err) TM_WUR;

#endif
