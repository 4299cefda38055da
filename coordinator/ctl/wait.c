/*
 * tidemark wait, and following a job: the coordinator is asked a few times a second until the phase
 * is there. A coordinator that restarts meanwhile is waited for; the deadline stays.
 * Failure modes: time out, a terminal phase that makes the wanted one impossible (with lastError), a
 * resource that is deleted.
 */
#include "common/clock.h"
#include "common/size.h"
#include "coordinator/ctl/command.h"
#include "coordinator/ctl/progress.h"
#include "proto/spec/status.h"

#define POLL_FAST_US  (50 * USEC_PER_MSEC) /* while the wait is young */
#define POLL_SLOW_US  (250 * USEC_PER_MSEC)
#define LINE_EVERY_US (2 * USEC_PER_SEC)

struct follower {
    struct ctl *c;
    const char *kind, *word, *name, *namespace_, *phase;
    bool fail_ends;
    bool show;
    struct progress progress;
    char shown[PROGRESS_LINE_MAX];
    char last_phase[32];
    int64_t shown_us;
    bool bar_open; /* the terminal's line holds a bar */
};

static void close_bar(struct follower *f)
{
    if (f->bar_open)
        (void)fputc('\n', f->c->out);
    f->bar_open = false;
}

static void draw_bar(struct follower *f)
{
    char text[PROGRESS_LINE_MAX];
    (void)fprintf(f->c->out, "\r\033[K%s", progress_bar(&f->progress, text));
    (void)fflush(f->c->out);
    f->bar_open = true;
}

static void show_phase(struct follower *f, const json_t *status, const char *phase)
{
    const char *waiting = json_text_at(status, "waiting");
    if (f->bar_open) /* its last state stays above */
        draw_bar(f);
    close_bar(f);
    (void)snprintf(f->last_phase, sizeof(f->last_phase), "%s", phase);
    (void)fprintf(f->c->out, "%s/%s %s%s%s\n", f->word, f->name, phase,
                  waiting[0] != '\0' ? ": " : "", waiting);
    (void)fflush(f->c->out);
}

static void show_progress(struct follower *f, const json_t *resource, int64_t now_us)
{
    const json_t *status = json_at(resource, "status");
    const char *phase = json_text_at(status, "phase");
    progress_feed(&f->progress, json_u64_at(status, "progress.rangesDone"),
                  json_u64_at(status, "progress.rangesTotal"),
                  json_u64_at(status, "progress.bytesDone"),
                  json_u64_at(status, "progress.bytesTotal"), now_us);
    if (strcmp(phase, f->last_phase) != 0)
        show_phase(f, status, phase);
    if (f->progress.bytes_total == 0 || strcmp(phase, "Running") != 0)
        return;
    char text[PROGRESS_LINE_MAX];
    if (f->c->terminal) {
        draw_bar(f);
    } else if (now_us - f->shown_us >= LINE_EVERY_US &&
               strcmp(progress_line(&f->progress, text), f->shown) != 0) {
        (void)fprintf(f->c->out, "  %s\n", text);
        (void)fflush(f->c->out);
        memcpy(f->shown, text, sizeof(f->shown));
        f->shown_us = now_us;
    }
}

/* "db-a: the disk is full", when that is why it is in this phase or does not leave it */
static void reason_of(const json_t *resource, char *text, size_t size)
{
    const char *why = json_text_at(resource, "status.lastError.message");
    const char *node = json_text_at(resource, "status.lastError.node");
    (void)snprintf(text, size, "%s%s%s", why[0] != '\0' ? node : "",
                   why[0] != '\0' && node[0] != '\0' ? ": " : "", why);
}

/* A log backup never ends by itself, a snapshot is never paused. */
static int judge_mode(const struct follower *f, const json_t *resource, enum resource_phase wanted,
                      struct tm_err *err)
{
    bool is_log = json_is_log(resource);
    bool of_jobs = wanted == RESOURCE_COMPLETE || wanted == RESOURCE_FAILED;
    bool of_logs =
        wanted == RESOURCE_PAUSE || wanted == RESOURCE_STOPPED || wanted == RESOURCE_FAIL;
    if (is_log ? !of_jobs : !of_logs)
        return 0;
    return tm_err_set(err, TM_E_REFUSED, "%s/%s is %s log backup and cannot become %s", f->word,
                      f->name, is_log ? "a" : "no", f->phase);
}

/* 1 = reached, 0 = not yet, negative = never */
static int judge(const struct follower *f, const json_t *resource, struct tm_err *err)
{
    const char *now = json_text_at(resource, "status.phase");
    if (strcasecmp(now, f->phase) == 0)
        return 1;
    enum resource_phase is;
    enum resource_phase wanted;
    struct tm_err ignored;
    if (resource_phase_parse(now, &is, &ignored) < 0 ||
        resource_phase_parse(f->phase, &wanted, &ignored) < 0)
        return 0;
    if (!(resource_phase_is_past(is, wanted) || (f->fail_ends && is == RESOURCE_FAIL)))
        return judge_mode(f, resource, wanted, err);
    char why[TM_ERR_MSG_MAX] = "";
    if (is == RESOURCE_FAILED || is == RESOURCE_FAIL)
        reason_of(resource, why, sizeof(why));
    return tm_err_set(err, TM_E_REFUSED, "%s/%s is %s and cannot become %s%s%s", f->word, f->name,
                      now, f->phase, why[0] != '\0' ? ": " : "", why);
}

static int ask(struct follower *f, json_t **ret, struct tm_err *err)
{
    int result = ctl_connect(f->c, err);
    if (result == 0)
        result = client_get(f->c->client, CONTROL_GET, f->kind, f->namespace_, f->name, ret, err);
    if (result == -TM_E_UNAVAILABLE) {
        client_free(f->c->client);
        f->c->client = NULL;
    }
    return result;
}

static int timed_out(const struct follower *f, const char *last, const char *waiting,
                     struct tm_err *err)
{
    return tm_err_set(err, TM_E_TIMEOUT, "%s/%s: timed out waiting for %s; it is %s%s%s", f->word,
                      f->name, f->phase, last[0] != '\0' ? last : "not reachable",
                      waiting[0] != '\0' ? ", " : "", waiting);
}

/* What a finished job came to, behind its phase. */
static void show_result(const struct follower *f, const json_t *resource)
{
    char size[SIZE_TEXT_MAX] = "";
    uint64_t bytes = json_u64_at(resource, "status.backupSize");
    const char *path = json_text_at(resource, "status.backupPath");
    if (path[0] == '\0')
        path = json_text_at(resource, "spec.dataDir");
    const char *taken = json_text_at(resource, "status.timeTaken");
    if (strcasecmp(json_text_at(resource, "status.phase"), "Complete") != 0 || path[0] == '\0')
        return;
    if (bytes > 0)
        (void)size_format(bytes, size);
    (void)fprintf(f->c->out, "  %s%s%s%s%s%s\n", size, size[0] != '\0' ? " " : "",
                  taken[0] != '\0' ? "in " : "", taken, taken[0] != '\0' ? ", " : "", path);
    size_t corrupt = json_u64_at(resource, "status.pages.corrupt");
    if (corrupt > 0)
        (void)fprintf(f->c->err,
                      "tidemark: warning: %s/%s: %zu corrupt pages in the source; "
                      "'tidemark describe %s %s' names them\n",
                      f->word, f->name, corrupt, f->word, f->name);
}

int follow(struct ctl *c, const struct follow_what *what, int64_t timeout_us, bool show,
           struct tm_err *err)
{
    struct follower f = {.c = c,
                         .kind = what->kind,
                         .word = what->word,
                         .name = what->name,
                         .namespace_ = what->namespace_,
                         .phase = what->phase,
                         .fail_ends = what->fail_ends,
                         .show = show};
    progress_init(&f.progress);
    int64_t start_us = clock_mono_us();
    bool seen = false;
    char last[32] = "";
    char waiting[TM_ERR_MSG_MAX] = "";
    for (;;) {
        json_t *resource;
        int result = ask(&f, &resource, err);
        int64_t now_us = clock_mono_us();
        /* a daemon that was there may be restarting; one that never was is an error at once */
        if (result < 0 && !(seen && result == -TM_E_UNAVAILABLE)) {
            close_bar(&f);
            return result;
        }
        if (result == 0) {
            seen = true;
            if (show)
                show_progress(&f, resource, now_us);
            (void)snprintf(last, sizeof(last), "%s", json_text_at(resource, "status.phase"));
            (void)snprintf(waiting, sizeof(waiting), "%s",
                           json_text_at(resource, "status.waiting"));
            if (waiting[0] == '\0')
                reason_of(resource, waiting, sizeof(waiting));
            if ((result = judge(&f, resource, err)) == 1 && show) {
                close_bar(&f);
                show_result(&f, resource);
            }
            json_decref(resource);
            if (result != 0) {
                close_bar(&f);
                return result < 0 ? result : 0;
            }
        }
        if (timeout_us >= 0 && now_us - start_us >= timeout_us) {
            close_bar(&f);
            return timed_out(&f, last, waiting, err);
        }
        int64_t pause_us = now_us - start_us < 5 * USEC_PER_SEC ? POLL_FAST_US : POLL_SLOW_US;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = pause_us * 1000},
                              NULL);
    }
}

static int run_wait(struct ctl *c, const struct command *self, const struct option_value *values,
                    const struct option_words *words)
{
    struct tm_err err;
    struct named named;
    enum resource_phase phase;
    int64_t timeout_us = 60 * USEC_PER_SEC;
    if (named_of(c, self->name, words, &named) < 0)
        return CTL_STATUS_USAGE;
    if (!values[0].given)
        return ctl_usage(c, self->name, "--for=PHASE is missing");
    if (resource_phase_parse(values[0].text, &phase, &err) < 0 ||
        (values[1].given && duration_parse(values[1].text, &timeout_us, &err) < 0))
        return ctl_usage(c, self->name, "%s", err.msg);
    const struct follow_what what = {.kind = named.kind,
                                     .word = named.word,
                                     .name = named.name,
                                     .namespace_ = values[2].text,
                                     .phase = resource_phase_text(phase)};
    if (follow(c, &what, timeout_us, false, &err) < 0) {
        int status = ctl_fail(c, &err);
        /* the contract: time out and "impossible" are both 1 */
        return err.code == TM_E_TIMEOUT || err.code == TM_E_REFUSED ? 1 : status;
    }
    return 0;
}

const struct command command_wait = {
    .name = "wait",
    .words = "KIND NAME --for=PHASE",
    .summary = "wait until a resource reaches a phase",
    .detail = "Ends with 0 when the phase is reached, with 1 on time out or when a terminal phase\n"
              "makes it impossible, saying why.\n\n"
              "  tidemark wait backup nightly-3 --for=Complete --timeout=2h\n"
              "  tidemark wait backup wal --for=Running",
    .options =
        (const struct option_row[]){
            {.name = "for",
             .value = "PHASE",
             .help = "Running, Complete, Failed, Pause, Stopped, …"},
            {.name = "timeout", .value = "TIME", .help = "30s, 10m, 2h; default 60s"},
            NAMESPACE_OPTION},
    .option_count = 3,
    .run = run_wait,
};
