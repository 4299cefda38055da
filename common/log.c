/*
 * Log lines: formatted once into a bounded line, cleaned of control characters, then sent whole
 * with one call, so lines of several threads never mix. Failures are ignored: there is nowhere left
 * to report them.
 */
#include "common/log.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "common/clock.h"
#include "common/fd.h"

#define FIELDS_MAX 8
#define FIELD_MAX  320

static const char *const event_ids[] = {[LOG_EVENT_NONE] = NULL,
#define LOG_EVENT_ID(name, id) [LOG_EVENT_##name] = (id),
                                        LOG_EVENT_MAP(LOG_EVENT_ID)
#undef LOG_EVENT_ID
};

/* $JOURNAL_STREAM is "device:inode" of the stream that the service manager connected. */
static bool stderr_is_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long device;
    unsigned long long inode;
    struct stat st;
    int end = 0;
    if (text == NULL || sscanf(text, "%llu:%llu%n", &device, &inode, &end) != 2 ||
        text[end] != '\0')
        return false;
    return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(struct log *lg, const char *program, int max_priority)
{
    *lg = (struct log){.fd = STDERR_FILENO, .max_priority = max_priority};
    (void)snprintf(lg->program, sizeof(lg->program), "%s", program);
    if (stderr_is_journal())
        lg->target = LOG_TARGET_JOURNAL;
    else
        lg->target = isatty(STDERR_FILENO) ? LOG_TARGET_TERMINAL : LOG_TARGET_PREFIXED;
}

static void clean(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
}

/* ---- journal ---- */

struct fields {
    struct iovec iov[FIELDS_MAX];
    char text[FIELDS_MAX][FIELD_MAX];
    int count;
};

static void add_field(struct fields *f, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0' || f->count == FIELDS_MAX)
        return;
    char *text = f->text[f->count];
    int len = snprintf(text, FIELD_MAX, "%s=%s", name, value);
    if (len < 0)
        return;
    f->iov[f->count++] =
        (struct iovec){.iov_base = text, .iov_len = TM_MIN((size_t)len, (size_t)FIELD_MAX - 1)};
}

static void to_journal(const struct log *lg, const struct log_ctx *ctx, enum log_event event,
                       int priority, const char *message)
{
    struct fields f = {.count = 0};
    char line[LOG_LINE_MAX + sizeof("MESSAGE=")];
    char digit[4];
    int len = snprintf(line, sizeof(line), "MESSAGE=%s", message);
    f.iov[f.count++] = (struct iovec){.iov_base = line,
                                      .iov_len = TM_MIN((size_t)TM_MAX(len, 0), sizeof(line) - 1)};
    (void)snprintf(digit, sizeof(digit), "%d", priority & 7);
    add_field(&f, "PRIORITY", digit);
    add_field(&f, "SYSLOG_IDENTIFIER", lg->program);
    add_field(&f, "MESSAGE_ID", event_ids[event]);
    if (ctx != NULL) {
        add_field(&f, "TIDEMARK_CLUSTER", ctx->cluster);
        add_field(&f, "TIDEMARK_TENANT", ctx->tenant);
        add_field(&f, "TIDEMARK_NODE", ctx->node);
        add_field(&f, "TIDEMARK_JOB", ctx->job);
    }
    (void)sd_journal_sendv(f.iov, f.count);
}

/* ---- stderr ---- */

/* "[demo1/main db-a job 01J…] " or "" */
static void format_ctx(const struct log_ctx *ctx, char *text, size_t size)
{
    text[0] = '\0';
    if (ctx == NULL)
        return;
    bool has_cluster = ctx->cluster != NULL && ctx->cluster[0] != '\0';
    bool has_tenant = ctx->tenant != NULL && ctx->tenant[0] != '\0';
    bool has_node = ctx->node != NULL && ctx->node[0] != '\0';
    bool has_job = ctx->job != NULL && ctx->job[0] != '\0';
    if (!has_cluster && !has_tenant && !has_node && !has_job)
        return;
    bool scope = has_cluster || has_tenant;
    (void)snprintf(text, size, "[%s%s%s%s%s%s%s] ", has_cluster ? ctx->cluster : "",
                   has_tenant ? "/" : "", has_tenant ? ctx->tenant : "",
                   scope && has_node ? " " : "", has_node ? ctx->node : "",
                   has_job ? (scope || has_node ? " job " : "job ") : "", has_job ? ctx->job : "");
}

static void to_stderr(const struct log *lg, const struct log_ctx *ctx, int priority,
                      const char *message)
{
    static const char *const names[] = {"emerg ", "alert ", "crit ", "error ",
                                        "warn ",  "",       "",      "debug "};
    char context[FIELD_MAX];
    char line[LOG_LINE_MAX + FIELD_MAX + 128];
    char when[CLOCK_TEXT_MAX];
    format_ctx(ctx, context, sizeof(context));
    clean(context);
    int len;
    if (lg->target == LOG_TARGET_TERMINAL)
        len = snprintf(line, sizeof(line), "%s %s: %s%s%s\n", clock_format(clock_real_us(), when),
                       lg->program, names[priority & 7], context, message);
    else
        len = snprintf(line, sizeof(line), "<%d>%s: %s%s\n", priority & 7, lg->program, context,
                       message);
    struct tm_err ignored;
    if (len > 0)
        (void)!fd_write_full(lg->fd, line, TM_MIN((size_t)len, sizeof(line) - 1), "stderr",
                             &ignored);
}

void log_writev(const struct log *lg, const struct log_ctx *ctx, enum log_event event, int priority,
                const char *fmt, va_list ap)
{
    if (priority > lg->max_priority)
        return;
    char message[LOG_LINE_MAX];
    (void)vsnprintf(message, sizeof(message), fmt, ap);
    clean(message);
    if (lg->target == LOG_TARGET_JOURNAL)
        to_journal(lg, ctx, event, priority, message);
    else
        to_stderr(lg, ctx, priority, message);
}

void log_write(const struct log *lg, const struct log_ctx *ctx, enum log_event event, int priority,
               const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_writev(lg, ctx, event, priority, fmt, ap);
    va_end(ap);
}

int log_priority_parse(const char *text, int *ret_priority, struct tm_err *err)
{
    static const struct {
        const char *name;
        int priority;
    } known[] = {{"error", LOG_ERR},    {"err", LOG_ERR},   {"warning", LOG_WARNING},
                 {"warn", LOG_WARNING}, {"info", LOG_INFO}, {"notice", LOG_NOTICE},
                 {"debug", LOG_DEBUG}};
    for (size_t n = 0; n < TM_ARRAY_LEN(known); n++)
        if (strcasecmp(text, known[n].name) == 0) {
            *ret_priority = known[n].priority;
            return 0;
        }
    return tm_err_set(err, TM_E_INVALID,
                      "unknown log level '%s' (known: error, warning, notice, info, debug)", text);
}
