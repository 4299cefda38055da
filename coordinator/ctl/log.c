/*
 * tidemark log start | pause | resume | stop | status | search | truncate: log backups by the words operators
 * know. Each is the apply of a changed spec, which `get` shows and `apply` of a file does as well;
 * resume of a task that is Fail is a retry.
 * Failure modes: those of apply; a task that does not get there in time, or Fails, is status 1 and says
 * why; so is a truncation that is refused.
 */
#include "common/clock.h"
#include "common/parse.h"
#include "coordinator/ctl/command.h"
#include "proto/spec/spec.h"

#define KIND "Backup"
#define WORD "backup"

#define PHASE_WAIT_US    (60 * USEC_PER_SEC)
#define TRUNCATE_WAIT_US (600 * USEC_PER_SEC)
#define POLL_NS          200000000

enum log_option {
    LOG_CLUSTER,
    LOG_TENANT,
    LOG_STORAGE,
    LOG_SECRET,
    LOG_FLUSH,
    LOG_HOLD_LIMIT,
    LOG_ON_HOLD_LIMIT,
    LOG_GCTTL,
    LOG_SOURCE,
    LOG_COMPRESSION,
    LOG_UNTIL,
    LOG_FORCE,
    LOG_GRACE,
    LOG_DRY_RUN,
    LOG_FROM,
    LOG_TO,
    LOG_XID,
    LOG_NAME,
    LOG_POINTS,
    LOG_LIMIT,
    LOG_OUTPUT,
    LOG_NAMESPACE,
    LOG_TIMEOUT,
    LOG_NO_WAIT,
    LOG_SKIP_TEST,
    LOG_OPTIONS,
};

_Static_assert(LOG_OPTIONS <= COMMAND_OPTIONS_MAX, "a command has so many options at most");

static const struct option_row log_rows[LOG_OPTIONS] = {
    [LOG_CLUSTER] = {.name = "cluster", .value = "NAME", .help = "start: whose log"},
    [LOG_TENANT] = {.name = "tenant",
                    .value = "NAME",
                    .help = "one database of the cluster; start: default: all"},
    [LOG_STORAGE] = {.name = "storage",
                     .value = "URL",
                     .help = "start: where to: file:///PATH, s3://…"},
    [LOG_SECRET] = {.name = "secret", .value = "NAME", .help = "start: that gets into it"},
    [LOG_FLUSH] = {.name = "flush-interval",
                   .value = "TIME",
                   .help = "log is stored when it is so old; 100ms to 1h, default 5s"},
    [LOG_HOLD_LIMIT] = {.name = "hold-limit",
                        .value = "SIZE",
                        .help =
                            "log kept at the source while it cannot be stored; default: no limit"},
    [LOG_ON_HOLD_LIMIT] = {.name = "on-hold-limit",
                           .value = "WHAT",
                           .help = "alert, or release: give the log up, and mark the gap"},
    [LOG_GCTTL] = {.name = "gcttl",
                   .value = "TIME",
                   .help = "how long a paused task holds log; default 24h"},
    [LOG_SOURCE] = {.name = "source", .value = "ROLE", .help = "primary (default) or standby"},
    [LOG_COMPRESSION] = {.name = "compression",
                         .value = "HOW",
                         .help = "zstd, zstd:LEVEL or none; default zstd:3"},
    [LOG_UNTIL] = {.name = "until",
                   .value = "POINT",
                   .help = "truncate: remove log before this time, TSO or position"},
    [LOG_FORCE] = {.name = "force", .help = "truncate: also what a kept backup needs to go on"},
    [LOG_GRACE] = {.name = "grace",
                   .value = "TIME",
                   .help = "truncate: for restores that read it already log stays stored so "
                           "much longer; default 10m"},
    [LOG_DRY_RUN] = {.name = "dry-run", .help = "truncate: only say what would be removed"},
    [LOG_FROM] = {.name = "from",
                  .value = "TIME",
                  .help = "search: RFC 3339 or a TSO; events of this time or later"},
    [LOG_TO] = {.name = "to", .value = "TIME", .help = "search: events of this time or earlier"},
    [LOG_XID] = {.name = "xid", .value = "N", .help = "search: only this transaction (64 bits)"},
    [LOG_NAME] = {.name = "name", .value = "TEXT", .help = "search: only what has this name"},
    [LOG_POINTS] = {.name = "points", .help = "search: only named points"},
    [LOG_LIMIT] = {.name = "limit",
                   .value = "N",
                   .help = "search: stop after so many; default and most: 1000"},
    [LOG_OUTPUT] = {.name = "output",
                    .letter = 'o',
                    .value = "FORM",
                    .help = "status, search: json"},
    [LOG_NAMESPACE] = NAMESPACE_OPTION,
    [LOG_TIMEOUT] = {.name = "timeout",
                     .value = "TIME",
                     .help = "how long to wait; default 60s, truncate 10m"},
    [LOG_NO_WAIT] = {.name = "no-wait", .help = "do not wait until it is so"},
    [LOG_SKIP_TEST] = {.name = "skip-test", .help = "start: do not test the storage before"},
};

#define BIT(option) (1u << (option))
#define TUNING                                                                                     \
    (BIT(LOG_FLUSH) | BIT(LOG_HOLD_LIMIT) | BIT(LOG_ON_HOLD_LIMIT) | BIT(LOG_GCTTL) |              \
     BIT(LOG_COMPRESSION))
#define WAITING (BIT(LOG_NAMESPACE) | BIT(LOG_TIMEOUT) | BIT(LOG_NO_WAIT))

struct call {
    struct ctl *c;
    const struct command *self;
    const struct option_value *values;
    const char *name; /* NULL only for status */
};

static bool wants_json(const struct call *call)
{
    return call->values[LOG_OUTPUT].given;
}

static int check_output(const struct call *call)
{
    const struct option_value *form = &call->values[LOG_OUTPUT];
    return !form->given || strcmp(form->text, "json") == 0
               ? 0
               : ctl_usage(call->c, call->self->name, "output '%s' is not known; there is json",
                           form->text);
}

static const char *namespace_of(const struct call *call)
{
    return call->values[LOG_NAMESPACE].text;
}

static int tell(const struct call *call, const struct tm_err *err)
{
    int status = ctl_fail(call->c, err);
    return err->code == TM_E_REFUSED || err->code == TM_E_TIMEOUT ? 1 : status;
}

/* ---- start, pause, resume, stop ---- */

static json_t *object_under(json_t *object, const char *key)
{
    json_t *inner = json_object_get(object, key);
    if (inner == NULL && json_object_set_new(object, key, json_object()) == 0)
        inner = json_object_get(object, key);
    return inner;
}

static int tune(json_t *spec, const struct option_value *values, struct tm_err *err)
{
    int result;
    if ((result = spec_text(spec, "flushInterval", &values[LOG_FLUSH], err)) < 0 ||
        (result = spec_text(spec, "holdLimit", &values[LOG_HOLD_LIMIT], err)) < 0 ||
        (result = spec_text(spec, "onHoldLimit", &values[LOG_ON_HOLD_LIMIT], err)) < 0 ||
        (result = spec_text(spec, "compression", &values[LOG_COMPRESSION], err)) < 0)
        return result;
    json_t *br = object_under(spec, "br");
    return br == NULL ? tm_err_oom(err) : spec_text(br, "gcttl", &values[LOG_GCTTL], err);
}

static int wait_phase(const struct call *call, const char *phase, struct tm_err *err)
{
    int64_t timeout_us = PHASE_WAIT_US;
    if (call->values[LOG_NO_WAIT].given)
        return 0;
    if (call->values[LOG_TIMEOUT].given &&
        duration_parse(call->values[LOG_TIMEOUT].text, &timeout_us, err) < 0)
        return -(int)err->code;
    const struct follow_what what = {.kind = KIND,
                                     .word = WORD,
                                     .name = call->name,
                                     .namespace_ = namespace_of(call),
                                     .phase = phase,
                                     .fail_ends = true};
    return follow(call->c, &what, timeout_us, true, err);
}

static int new_task(const struct call *call, struct tm_err *err)
{
    const struct option_value *values = call->values;
    json_t *spec =
        json_pack("{s:s, s:s, s:{}}", "backupMode", "log", "logSubcommand", "log-start", "br");
    if (spec == NULL)
        return tm_err_oom(err);
    json_t *br = json_object_get(spec, "br");
    int result;
    if ((result = spec_text(br, "cluster", &values[LOG_CLUSTER], err)) < 0 ||
        (result = spec_text(br, "tenant", &values[LOG_TENANT], err)) < 0 ||
        (result = spec_text(spec, "logSource", &values[LOG_SOURCE], err)) < 0 ||
        (result = tune(spec, values, err)) < 0 ||
        (result = spec_storage(values[LOG_STORAGE].text, values[LOG_SECRET].text, spec, err)) < 0) {
        json_decref(spec);
        return result;
    }
    return spec_apply(call->c, KIND, WORD, call->name, namespace_of(call), spec,
                      values[LOG_SKIP_TEST].given ? APPLY_PLAIN : APPLY_TESTED, err);
}

/* The task as it is, for a change of its spec. */
static int fetch_task(const struct call *call, json_t **ret, struct tm_err *err)
{
    json_t *task;
    int result = resource_fetch(call->c, KIND, namespace_of(call), call->name, &task, err);
    if (result < 0)
        return result;
    if (!json_is_log(task)) {
        json_decref(task);
        return tm_err_set(err, TM_E_INVALID, WORD "/%s is no log backup", call->name);
    }
    *ret = task;
    return 0;
}

/* Takes the task over. */
static int apply_task(const struct call *call, json_t *task, struct tm_err *err)
{
    resource_strip(task);
    char *text = json_dumps(task, JSON_INDENT(1));
    json_decref(task);
    if (text == NULL)
        return tm_err_oom(err);
    int result = apply_yaml(call->c, "log", slice_str(text), false, err);
    free(text);
    return result;
}

static int subcommand(const struct call *call, const char *word, struct tm_err *err)
{
    json_t *task;
    int result = fetch_task(call, &task, err);
    if (result < 0)
        return result;
    bool failed = strcmp(json_text_at(task, "status.phase"), "Fail") == 0;
    json_t *spec = json_object_get(task, "spec");
    (void)json_object_del(spec, "logStop"); /* the older form of the same */
    if (json_object_set_new(spec, "logSubcommand", json_string(word)) < 0)
        result = tm_err_oom(err);
    if (result == 0)
        result = tune(spec, call->values, err);
    if (result < 0) {
        json_decref(task);
        return result;
    }
    result = apply_task(call, task, err);
    if (result < 0 || !failed || strcmp(word, "log-start") != 0)
        return result;
    result =
        resource_change(call->c, CONTROL_RETRY, KIND, namespace_of(call), call->name, true, err);
    return result == -TM_E_REFUSED ? 0 : result; /* the new spec has brought it out of Fail */
}

static int run_subcommand(const struct call *call, const char *word, const char *phase)
{
    struct tm_err err;
    if (subcommand(call, word, &err) < 0 || wait_phase(call, phase, &err) < 0)
        return tell(call, &err);
    return 0;
}

static int run_resume(const struct call *call)
{
    return run_subcommand(call, "log-start", "Running");
}

static int run_pause(const struct call *call)
{
    return run_subcommand(call, "log-pause", "Pause");
}

static int run_stop(const struct call *call)
{
    return run_subcommand(call, "log-stop", "Stopped");
}

static int run_start(const struct call *call)
{
    const struct option_value *values = call->values;
    struct tm_err err;
    bool is_new = values[LOG_CLUSTER].given || values[LOG_STORAGE].given ||
                  values[LOG_TENANT].given || values[LOG_SOURCE].given || values[LOG_SECRET].given;
    if (!is_new)
        return run_resume(call);
    if (!values[LOG_CLUSTER].given || !values[LOG_STORAGE].given)
        return ctl_usage(call->c, call->self->name,
                         "start: --cluster and --storage are wanted for a new task");
    if (new_task(call, &err) < 0 || wait_phase(call, "Running", &err) < 0)
        return tell(call, &err);
    return 0;
}

/* ---- truncate ---- */

/* Until the newest wish is answered: done (0), or refused. */
static int wait_truncated(const struct call *call, struct tm_err *err)
{
    int64_t timeout_us = TRUNCATE_WAIT_US;
    if (call->values[LOG_NO_WAIT].given)
        return 0;
    if (call->values[LOG_TIMEOUT].given &&
        duration_parse(call->values[LOG_TIMEOUT].text, &timeout_us, err) < 0)
        return -(int)err->code;
    for (int64_t start_us = clock_mono_us();;) {
        json_t *task;
        int result = fetch_task(call, &task, err);
        if (result < 0)
            return result;
        bool pending = json_is_true(json_at(task, "status.logTruncate.pending"));
        const char *error = json_text_at(task, "status.logTruncate.error");
        const char *why = error[0] != '\0' ? error : json_text_at(task, "status.waiting");
        if (!pending && error[0] != '\0')
            result = tm_err_set(err, TM_E_REFUSED, WORD "/%s: log is not truncated: %s", call->name,
                                error);
        else if (!pending)
            (void)fprintf(call->c->out, WORD "/%s truncated until %s%s\n", call->name,
                          json_text_at(task, "status.logSuccessTruncateUntil"),
                          json_is_true(json_at(task, "status.logTruncate.removing"))
                              ? "; what that takes away is removed after logTruncateGrace"
                              : "");
        else if (clock_mono_us() - start_us >= timeout_us)
            result = tm_err_set(err, TM_E_TIMEOUT,
                                WORD "/%s: timed out waiting for log to be truncated; it is %s%s%s",
                                call->name, json_text_at(task, "status.phase"),
                                why[0] != '\0' ? ", " : "", why);
        json_decref(task);
        if (!pending || result < 0)
            return result;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = POLL_NS}, NULL);
    }
}

static int truncate_spec(const struct call *call, bool *ret_again, struct tm_err *err)
{
    json_t *task;
    const char *until = call->values[LOG_UNTIL].text;
    bool force = call->values[LOG_FORCE].given;
    int result = fetch_task(call, &task, err);
    if (result < 0)
        return result;
    json_t *spec = json_object_get(task, "spec");
    /* the same wish again means to try again what was refused */
    bool again = strcmp(json_text_at(spec, "logTruncateUntil"), until) == 0 &&
                 json_is_true(json_object_get(spec, "logTruncateForce")) == force &&
                 !json_is_true(json_at(task, "status.logTruncate.pending")) &&
                 json_text_at(task, "status.logTruncate.error")[0] != '\0';
    (void)json_object_del(spec, "logTruncateForce");
    if (json_object_set_new(spec, "logTruncateUntil", json_string(until)) < 0)
        result = tm_err_set(err, TM_E_INVALID, "until '%s' is not UTF-8 text", until);
    if (result == 0 && force && json_object_set_new(spec, "logTruncateForce", json_true()) < 0)
        result = tm_err_oom(err);
    if (result == 0)
        result = spec_text(spec, "logTruncateGrace", &call->values[LOG_GRACE], err);
    if (result < 0) {
        json_decref(task);
        return result;
    }
    *ret_again = again;
    return apply_task(call, task, err);
}

static struct log_task task_of(const struct call *call)
{
    return (struct log_task){.namespace_ = namespace_of(call),
                             .name = call->name,
                             .tenant = call->values[LOG_TENANT].text};
}

static int run_truncate(const struct call *call)
{
    struct tm_err err;
    bool again = false;
    if (!call->values[LOG_UNTIL].given)
        return ctl_usage(call->c, call->self->name, "truncate: --until is wanted");
    struct moment moment;
    if (moment_parse(call->values[LOG_UNTIL].text, &moment, &err) < 0)
        return ctl_usage(call->c, call->self->name, "truncate: %s", err.msg);
    const struct log_task task = task_of(call);
    if (call->values[LOG_DRY_RUN].given)
        return log_truncate_try(call->c, &task, call->values[LOG_UNTIL].text,
                                call->values[LOG_FORCE].given, &err) < 0
                   ? tell(call, &err)
                   : 0;
    if (task.tenant != NULL)
        return ctl_usage(call->c, call->self->name,
                         "truncate: --tenant is for --dry-run; a truncation is of all tenants");
    if (truncate_spec(call, &again, &err) < 0 ||
        (again && resource_change(call->c, CONTROL_RETRY, KIND, namespace_of(call), call->name,
                                  true, &err) < 0) ||
        wait_truncated(call, &err) < 0)
        return tell(call, &err);
    return 0;
}

/* ---- status ---- */

static int list_logs(const struct call *call, json_t **ret, struct tm_err *err)
{
    int result = resource_list(call->c, KIND, namespace_of(call), ret, err);
    for (size_t at = result < 0 ? 0 : json_array_size(*ret); at-- > 0;)
        if (!json_is_log(json_array_get(*ret, at)))
            (void)json_array_remove(*ret, at);
    return result;
}

static int show_all(const struct call *call, bool json, struct tm_err *err)
{
    json_t *logs = NULL, *split = NULL;
    int result = list_logs(call, &logs, err);
    if (result < 0)
        return result;
    json_t *clusters = NULL;
    if (tenants_split(logs, false, &split, err) == 0)
        clusters = log_clusters(split);
    if (clusters == NULL) {
        json_decref(split);
        json_decref(logs);
        return tm_err_oom(err);
    }
    if (json) {
        json_t *all = json_pack("{s:O, s:O}", "items", logs, "clusters", clusters);
        result = all == NULL ? tm_err_oom(err) : json_print(call->c, all, err);
        json_decref(all);
    } else if (json_array_size(logs) == 0) {
        (void)fprintf(call->c->err, "no log backups\n");
    } else if ((result = log_table_print(call->c, split, err)) == 0) {
        log_clusters_print(call->c, clusters);
    }
    json_decref(clusters);
    json_decref(split);
    json_decref(logs);
    return result;
}

static int run_status(const struct call *call)
{
    struct tm_err err;
    json_t *task = NULL;
    int result = check_output(call);
    if (result != 0)
        return result;
    if (call->name == NULL)
        return show_all(call, wants_json(call), &err) < 0 ? tell(call, &err) : 0;
    result = fetch_task(call, &task, &err);
    if (result == 0 && wants_json(call))
        result = json_print(call->c, task, &err);
    else if (result == 0)
        describe_resource(call->c, task);
    json_decref(task);
    return result < 0 ? tell(call, &err) : 0;
}

/* ---- search ---- */

static int fill_query(const struct call *call, struct msg_log_query *ret, struct tm_err *err)
{
    const struct option_value *values = call->values;
    uint64_t limit = 0;
    *ret = (struct msg_log_query){.kind = LOG_QUERY_SEARCH,
                                  .name = values[LOG_NAME].text,
                                  .points = values[LOG_POINTS].given};
    int result = log_time(&values[LOG_FROM], &ret->from_us, err);
    if (result == 0)
        result = log_time(&values[LOG_TO], &ret->to_us, err);
    if (result == 0 && ret->to_us != 0 && ret->from_us > ret->to_us)
        result = tm_err_set(err, TM_E_INVALID, "--from is later than --to");
    if (result == 0 && values[LOG_XID].given)
        result = parse_u64_in(values[LOG_XID].text, 1, UINT64_MAX, &ret->xid, err);
    if (result == 0 && values[LOG_LIMIT].given)
        result = parse_u64_in(values[LOG_LIMIT].text, 1, WIRE_EVENTS_MAX, &limit, err);
    if (result == 0 && ret->name != NULL && strlen(ret->name) > 63)
        result = tm_err_set(err, TM_E_INVALID, "name '%.40s…' is longer than 63 bytes", ret->name);
    ret->limit = (uint32_t)limit;
    return result;
}

static int run_search(const struct call *call)
{
    struct tm_err err;
    struct msg_log_query query;
    int result = check_output(call);
    if (result != 0)
        return result;
    if (fill_query(call, &query, &err) < 0)
        return ctl_usage(call->c, call->self->name, "search: %s", err.msg);
    const struct log_task task = task_of(call);
    return log_search(call->c, &task, &query, wants_json(call), &err) < 0 ? tell(call, &err) : 0;
}

/* ---- together ---- */

static const struct verb {
    const char *word;
    unsigned options;
    int (*run)(const struct call *call);
} verbs[] = {
    {"start",
     BIT(LOG_CLUSTER) | BIT(LOG_TENANT) | BIT(LOG_STORAGE) | BIT(LOG_SECRET) | BIT(LOG_SOURCE) |
         BIT(LOG_SKIP_TEST) | TUNING | WAITING,
     run_start},
    {"pause", TUNING | WAITING, run_pause},
    {"resume", TUNING | WAITING, run_resume},
    {"stop", WAITING, run_stop},
    {"status", BIT(LOG_OUTPUT) | BIT(LOG_NAMESPACE), run_status},
    {"search",
     BIT(LOG_FROM) | BIT(LOG_TO) | BIT(LOG_XID) | BIT(LOG_NAME) | BIT(LOG_POINTS) | BIT(LOG_LIMIT) |
         BIT(LOG_OUTPUT) | BIT(LOG_NAMESPACE) | BIT(LOG_TENANT),
     run_search},
    {"truncate",
     BIT(LOG_TENANT) | BIT(LOG_UNTIL) | BIT(LOG_FORCE) | BIT(LOG_GRACE) | BIT(LOG_DRY_RUN) |
         WAITING,
     run_truncate},
};

static const struct verb *verb_of(const char *word)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(verbs); n++)
        if (strcmp(verbs[n].word, word) == 0)
            return &verbs[n];
    return NULL;
}

static int run_log(struct ctl *c, const struct command *self, const struct option_value *values,
                   const struct option_words *words)
{
    const struct verb *verb = words->count > 0 ? verb_of(words->words[0]) : NULL;
    if (verb == NULL)
        return ctl_usage(
            c, self->name,
            "one of start, pause, resume, stop, status, search and truncate is wanted");
    bool named = words->count == 2;
    if (words->count > 2 || (!named && verb->run != run_status))
        return ctl_usage(c, self->name, "%s: one NAME is wanted", verb->word);
    for (unsigned n = 0; n < LOG_OPTIONS; n++)
        if (values[n].given && (verb->options & BIT(n)) == 0)
            return ctl_usage(c, self->name, "%s: option '--%s' does not belong to it", verb->word,
                             log_rows[n].name);
    const struct call call = {
        .c = c, .self = self, .values = values, .name = named ? words->words[1] : NULL};
    return verb->run(&call);
}

const struct command command_log = {
    .name = "log",
    .words = "start|pause|resume|stop|status|search|truncate [NAME]",
    .summary = "log backups: how far the data is safe, and what they should do",
    .detail =
        "start makes a log backup that goes on until it is stopped, or resumes one; a new one is\n"
        "made only when the nodes of its cluster get into its storage (storage test); pause holds\n"
        "log at the source, for gcttl at most; stop ends it for good. status shows to what moment\n"
        "every cluster is safe, or all that is known of one task; search lists transactions and\n"
        "named points of the stored log, POSITION being where the record begins: a target that\n"
        "includes it (an agent looks; tidemark-agent search needs none); truncate removes stored\n"
        "log that no wanted moment needs.\n\n"
        "  tidemark log start wal --cluster demo1 --storage file:///srv/backup\n"
        "  tidemark log pause wal\n"
        "  tidemark log status -o json\n"
        "  tidemark log search wal --from 2026-11-21T10:00:00Z --to 2026-11-21T10:05:00Z\n"
        "  tidemark log truncate wal --until 2026-11-01T00:00:00Z --dry-run",
    .options = log_rows,
    .option_count = TM_ARRAY_LEN(log_rows),
    .run = run_log,
};
