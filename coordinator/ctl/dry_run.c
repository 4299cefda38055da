/*
 * tidemark restore --dry-run: what a restore would do, said by the agent that would do it.
 *
 * Happy path: a Restore with dryRun is made under a name of its own → the node's agent plans and checks,
 * and writes nothing → the plan is in its status → it is printed, and the resource is deleted again.
 *
 * Failure modes: what refuses the restore refuses the plan, with the same error; no agent there for
 * WAIT_MAX_US; an interruption, after which the resource is deleted, too. Only a program that is killed
 * leaves one behind: it stays in the list, with its dryRun.
 */
#include <signal.h>

#include "common/clock.h"
#include "coordinator/ctl/command.h"
#include "proto/spec/status.h"

#include <sys/random.h>

#define KIND        "Restore"
#define WORD        "restore"
#define WAIT_MAX_US (15 * USEC_PER_SEC) /* for somebody who could plan */
#define POLL_US     (100 * USEC_PER_MSEC)

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
    interrupted = signo;
}

/* "NAME-dry-run-1f2e3d4c": of its own, so that NAME stays free, and is not taken for this. */
static int make_name(const char *name, char ret[RESOURCE_NAME_MAX + 1], struct tm_err *err)
{
    static const char tail[] = "-dry-run-";
    uint32_t number;
    if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
        return tm_err_errno(err, errno, "cannot get random bytes");
    (void)snprintf(ret, RESOURCE_NAME_MAX + 1, "%.*s%s%08x",
                   (int)(RESOURCE_NAME_MAX - (sizeof(tail) - 1) - 8), name, tail, number);
    return 0;
}

/* The error that ended it, as the agent said it, behind the node's name. */
static int refusal(const json_t *status, struct tm_err *err)
{
    const char *code = json_text_at(status, "lastError.code");
    const char *node = json_text_at(status, "lastError.node");
    const char *message = json_text_at(status, "lastError.message");
    enum tm_err_code found = TM_E_INTERNAL;
    for (unsigned n = 1; n < 256; n++) {
        enum tm_err_code one = tm_err_code_from_wire(n);
        if (strcmp(tm_err_code_text(one), code) == 0)
            found = one;
    }
    /* the daemon was reached: what is away is something behind it */
    if (found == TM_E_UNAVAILABLE)
        found = TM_E_IO;
    return tm_err_set(err, found, "%s%s%s", node, node[0] != '\0' ? ": " : "", message);
}

/* 1 = *ret_status is that of a plan, handed over; 0 = not yet. */
static int look(struct ctl *c, const char *name, int64_t *waiting_since_us, json_t **ret_status,
                struct tm_err *err)
{
    json_t *resource;
    int r = client_get(c->client, CONTROL_GET, KIND, NULL, name, &resource, err);
    if (r < 0)
        return r;
    json_t *status = json_object_get(resource, "status");
    const char *phase = json_text_at(status, "phase");
    const char *waiting = json_text_at(status, "waiting");
    int64_t now_us = clock_mono_us();
    if (waiting[0] == '\0')
        *waiting_since_us = now_us;
    if (strcmp(phase, resource_phase_text(RESOURCE_FAILED)) == 0) {
        r = refusal(status, err);
    } else if (strcmp(phase, resource_phase_text(RESOURCE_COMPLETE)) == 0) {
        *ret_status = json_incref(status);
        r = 1;
    } else if (now_us - *waiting_since_us > WAIT_MAX_US) {
        r = tm_err_set(err, TM_E_REFUSED, "nobody plans this restore: %s", waiting);
    }
    json_decref(resource);
    return r;
}

static int await(struct ctl *c, const char *name, json_t **ret_status, struct tm_err *err)
{
    int64_t waiting_since_us = clock_mono_us();
    int r = 0;
    while (r == 0) {
        if (interrupted)
            return tm_err_set(err, TM_E_CANCELED, "interrupted");
        if ((r = look(c, name, &waiting_since_us, ret_status, err)) == 0)
            (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = POLL_US * 1000},
                                  NULL);
    }
    return r < 0 ? r : 0;
}

/* ---- telling ---- */

static void copy(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from);
}

static int read_plan(const json_t *status, struct status_plan *ret, struct tm_err *err)
{
    const json_t *plan = json_at(status, "plan");
    const char *commit = json_text_at(plan, "commitTs");
    struct status_plan p = {.is_plan = plan != NULL,
                            .by_log = json_at(plan, "logBytes") != NULL,
                            .log_bytes = json_u64_at(plan, "logBytes"),
                            .ranges = json_u64_at(plan, "ranges"),
                            .bytes = json_u64_at(plan, "bytes"),
                            .threads = json_u64_at(plan, "threads")};
    if (!p.is_plan) /* never from an agent that knows dryRun */
        return tm_err_set(err, TM_E_UNSUPPORTED, "node '%s': its agent told no plan",
                          json_text_at(status, "node"));
    if (commit[0] != '\0' && clock_parse(commit, &p.commit_us, err) < 0)
        return -(int)err->code;
    p.estimate_us = (uint64_t)(json_number_value(json_at(plan, "estimateSeconds")) * 1e6);
    copy(p.backup_id, sizeof(p.backup_id), json_text_at(plan, "backupId"));
    copy(p.label, sizeof(p.label), json_text_at(plan, "label"));
    copy(p.position, sizeof(p.position), json_text_at(plan, "position"));
    *ret = p;
    return 0;
}

static int print(struct ctl *c, const json_t *status, const char *data_dir, bool json,
                 struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    struct status_plan plan;
    int r = read_plan(status, &plan, err);
    if (r < 0)
        return r;
    r = json ? status_plan_json(&plan, &text, err) : status_plan_text(&plan, data_dir, &text, err);
    if (r == 0)
        (void)fwrite(text.data, 1, text.len, c->out);
    return r;
}

/* ---- all ---- */

static int plan(struct ctl *c, const char *name, json_t *spec, const char *data_dir, bool json,
                struct tm_err *err)
{
    char own[RESOURCE_NAME_MAX + 1];
    json_t *status = NULL;
    struct tm_err away;
    int r = make_name(name, own, err);
    if (r < 0 || json_object_set_new(spec, "dryRun", json_true()) < 0) {
        json_decref(spec);
        return r < 0 ? r : tm_err_oom(err);
    }
    if ((r = spec_apply(c, KIND, WORD, own, NULL, spec, APPLY_QUIET, err)) < 0)
        return r;
    r = await(c, own, &status, err);
    if (resource_change(c, CONTROL_DELETE, KIND, NULL, own, true, &away) < 0)
        (void)fprintf(c->err, "tidemark: " WORD "/%s could not be deleted: %s\n", own, away.msg);
    if (r == 0)
        r = print(c, status, data_dir, json, err);
    json_decref(status);
    return r;
}

int restore_dry_run(struct ctl *c, const char *name, json_t *spec, const char *data_dir, bool json,
                    struct tm_err *err)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction before[TM_ARRAY_LEN(signals)];
    struct sigaction ours = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    (void)sigemptyset(&ours.sa_mask);
    interrupted = 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(signals); n++)
        (void)sigaction(signals[n], &ours, &before[n]);
    int r = plan(c, name, spec, data_dir, json, err);
    for (size_t n = 0; n < TM_ARRAY_LEN(signals); n++)
        (void)sigaction(signals[n], &before[n], NULL);
    return r;
}
