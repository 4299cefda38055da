/*
 * tidemark describe: one resource in words. What is not known is not said.
 * Failure modes: a name that is not there (status 3), an unknown kind (status 2).
 */
#include "common/size.h"
#include "coordinator/ctl/command.h"

static void line(struct ctl *c, const char *label, const char *text)
{
    if (text[0] != '\0')
        (void)fprintf(c->out, "%-18s %s\n", label, text);
}

static void size_line(struct ctl *c, const char *label, uint64_t bytes)
{
    char text[SIZE_TEXT_MAX];
    if (bytes > 0)
        line(c, label, size_format(bytes, text));
}

static void describe_error(struct ctl *c, const json_t *status)
{
    if (json_at(status, "lastError") == NULL)
        return;
    (void)fprintf(c->out, "Last error:        %s\n", json_text_at(status, "lastError.message"));
    (void)fprintf(c->out, "                   node %s, stage %s, since %s\n",
                  json_text_at(status, "lastError.node"), json_text_at(status, "lastError.stage"),
                  json_text_at(status, "lastError.since"));
}

/* "Title:" and what `print` says of each member of a list; nothing of an empty one. */
static void describe_each(struct ctl *c, const json_t *status, const char *list, const char *title,
                          void (*print)(struct ctl *c, const json_t *one))
{
    const json_t *all = json_at(status, list);
    size_t at;
    const json_t *one;
    if (json_array_size(all) > 0)
        (void)fprintf(c->out, "%s\n", title);
    json_array_foreach(all, at, one)
    {
        print(c, one);
    }
}

static void describe_condition(struct ctl *c, const json_t *one)
{
    const char *reason = json_text_at(one, "reason");
    const char *message = json_text_at(one, "message");
    (void)fprintf(c->out, "  %-10s %-5s  %s%s%s%s%s\n", json_text_at(one, "type"),
                  json_text_at(one, "status"), json_text_at(one, "lastTransitionTime"),
                  reason[0] != '\0' ? "  " : "", reason, message[0] != '\0' ? "  " : "", message);
}

/* "db-a: base/5/16384 block 7: wrong checksum" */
static void describe_problem(struct ctl *c, const json_t *problem)
{
    const char *node = json_text_at(problem, "node");
    const char *file = json_text_at(problem, "file");
    (void)fprintf(c->out, "  %s%s%s", node, node[0] != '\0' ? ": " : "", file);
    if (json_at(problem, "block") != NULL)
        (void)fprintf(c->out, " block %llu", (unsigned long long)json_u64_at(problem, "block"));
    (void)fprintf(c->out, "%s%s\n", file[0] != '\0' ? ": " : "", json_text_at(problem, "message"));
}

static void describe_warning(struct ctl *c, const json_t *warning)
{
    (void)fprintf(c->out, "  %s\n", json_string_value(warning));
}

static void seconds_line(struct ctl *c, const char *label, const json_t *value)
{
    if (value != NULL)
        (void)fprintf(c->out, "%-18s %.3f s\n", label, json_number_value(value));
}

static void describe_log(struct ctl *c, const json_t *status)
{
    line(c, "Safe until:", json_text_at(status, "logCheckpointTs"));
    line(c, "Log position:", json_text_at(status, "logCheckpointPosition"));
    line(c, "Lineage:", json_text_at(status, "lineage"));
    seconds_line(c, "Behind:", json_at(status, "latencySeconds"));
    seconds_line(c, "Clock skew:", json_at(status, "skewSeconds"));
    line(c, "Truncated until:", json_text_at(status, "logSuccessTruncateUntil"));
    if (json_at(status, "logTruncate") != NULL) {
        const char *error = json_text_at(status, "logTruncate.error");
        const char *removal_error = json_text_at(status, "logTruncate.removalError");
        bool pending = json_is_true(json_at(status, "logTruncate.pending"));
        bool removing = json_is_true(json_at(status, "logTruncate.removing"));
        (void)fprintf(c->out, "%-18s until %s: %s\n",
                      "Truncation:", json_text_at(status, "logTruncate.until"),
                      error[0] != '\0' ? error
                      : pending        ? "under way"
                      : removing       ? "done; it is removed after logTruncateGrace"
                                       : "done");
        line(c, "Removal:", removal_error);
    }
}

static void describe_interval(struct ctl *c, const json_t *one)
{
    const char *from = json_text_at(one, "from");
    const char *to = json_text_at(one, "to");
    const char *tenant = json_text_at(one, "tenant");
    (void)fprintf(c->out, "  %s%s%s to %s  (%s to %s, lineage %s)%s\n", tenant,
                  tenant[0] != '\0' ? ": " : "", from[0] != '\0' ? from : "-",
                  to[0] != '\0' ? to : "-", json_text_at(one, "fromPosition"),
                  json_text_at(one, "toPosition"), json_text_at(one, "lineage"),
                  json_is_true(json_at(one, "abandoned")) ? "  abandoned" : "");
}

static void describe_hold(struct ctl *c, const json_t *one)
{
    char text[SIZE_TEXT_MAX];
    (void)fprintf(c->out, "  %s: %s%s%s\n", json_text_at(one, "node"),
                  size_format(json_u64_at(one, "bytes"), text),
                  json_is_true(json_at(one, "atRisk")) ? ", failover at risk" : "",
                  json_is_true(json_at(one, "lost")) ? ", lost" : "");
}

static void describe_share(struct ctl *c, const json_t *one)
{
    (void)fprintf(c->out, "  %s: %llu ranges, %llu bytes\n", json_text_at(one, "node"),
                  (unsigned long long)json_u64_at(one, "ranges"),
                  (unsigned long long)json_u64_at(one, "bytes"));
}

/* "main: Complete, as of …, 12 MiB in file:///…", or why it is not further. */
static void describe_tenant(struct ctl *c, const json_t *one)
{
    char size[SIZE_TEXT_MAX];
    const char *commit = json_text_at(one, "commitTs");
    const char *checkpoint = json_text_at(one, "logCheckpointTs");
    const char *path = json_text_at(one, "backupPath");
    const char *message = json_text_at(one, "message");
    uint64_t bytes = json_u64_at(one, "backupSize");
    (void)fprintf(c->out, "  %s: %s", json_text_at(one, "tenant"), json_text_at(one, "phase"));
    if (commit[0] != '\0')
        (void)fprintf(c->out, ", as of %s", commit);
    if (checkpoint[0] != '\0')
        (void)fprintf(c->out, ", safe until %s", checkpoint);
    if (bytes > 0)
        (void)fprintf(c->out, ", %s", size_format(bytes, size));
    if (path[0] != '\0')
        (void)fprintf(c->out, " in %s", path);
    (void)fprintf(c->out, "\n");
    if (message[0] != '\0')
        (void)fprintf(c->out, "    %s%s%s\n", json_text_at(one, "node"),
                      json_text_at(one, "node")[0] != '\0' ? ": " : "", message);
}

static void describe_store(struct ctl *c, const json_t *one)
{
    (void)fprintf(c->out,
                  "  %s: %llu requests, %llu sent again, %llu slow-downs, %llu of %llu at once, "
                  "clock %+lld ms\n",
                  json_text_at(one, "node"), (unsigned long long)json_u64_at(one, "requests"),
                  (unsigned long long)json_u64_at(one, "retries"),
                  (unsigned long long)json_u64_at(one, "slowDowns"),
                  (unsigned long long)json_u64_at(one, "parallel"),
                  (unsigned long long)json_u64_at(one, "parallelMax"),
                  (long long)json_integer_value(json_at(one, "clockSkewMs")));
}

static void describe_waiting(struct ctl *c, const char *text)
{
    static const char word[] = "waiting ";
    bool repeats = strncmp(text, word, sizeof(word) - 1) == 0;
    line(c, "Waiting:", text + (repeats ? sizeof(word) - 1 : 0));
}

/* The point a restore was asked for. */
static void describe_target(struct ctl *c, const json_t *spec)
{
    static const char *const points[] = {"time", "position", "xid", "name"};
    const json_t *target = json_at(spec, "target");
    const char *before = json_is_false(json_at(target, "inclusive")) ? "before " : "";
    const char *restored = json_text_at(spec, "pitrRestoredTs");
    bool named = json_is_true(json_at(target, "immediate"));
    for (size_t n = 0; n < TM_ARRAY_LEN(points); n++) {
        const json_t *value = json_at(target, points[n]);
        named = named || value != NULL;
        if (json_is_integer(value))
            (void)fprintf(c->out, "%-18s %s%s %lld\n", "Target:", before, points[n],
                          (long long)json_integer_value(value));
        else if (json_text_at(target, points[n])[0] != '\0')
            (void)fprintf(c->out, "%-18s %s%s %s\n", "Target:", before, points[n],
                          json_text_at(target, points[n]));
    }
    if (json_is_true(json_at(target, "immediate")))
        line(c, "Target:", "immediate");
    else if (!named && strcmp(json_text_at(spec, "restoreMode"), "pitr") == 0)
        line(c, "Target:", restored[0] != '\0' ? restored : "latest");
}

static void describe_plan(struct ctl *c, const json_t *plan)
{
    if (plan == NULL)
        return;
    line(c, "Would restore:", json_text_at(plan, "backupId"));
    size_line(c, "Log to replay:", json_u64_at(plan, "logBytes"));
    size_line(c, "To be fetched:", json_u64_at(plan, "bytes"));
    seconds_line(c, "Estimate:", json_at(plan, "estimateSeconds"));
}

void describe_resource(struct ctl *c, const json_t *one)
{
    const json_t *status = json_at(one, "status");
    line(c, "Name:", json_text_at(one, "metadata.name"));
    line(c, "Namespace:", json_text_at(one, "metadata.namespace"));
    line(c, "Kind:", json_text_at(one, "kind"));
    line(c, "Cluster:", json_text_at(one, "spec.br.cluster"));
    line(c, "Tenant:", json_text_at(status, "tenant"));
    line(c, "Phase:", json_text_at(status, "phase"));
    describe_waiting(c, json_text_at(status, "waiting"));
    line(c, "Node:", json_text_at(status, "node"));
    line(c, "Data directory:", json_text_at(one, "spec.dataDir"));
    describe_target(c, json_at(one, "spec"));
    line(c, "Backup:", json_text_at(one, "spec.backup"));
    line(c, "Backup id:", json_text_at(status, "backupId"));
    line(c, "Path:", json_text_at(status, "backupPath"));
    size_line(c, "Stored:", json_u64_at(status, "backupSize"));
    size_line(c, "Read:", json_u64_at(status, "dataSize"));
    size_line(c, "Log:", json_u64_at(status, "logSize"));
    describe_log(c, status);
    describe_plan(c, json_at(status, "plan"));
    line(c, "Consistent at:", json_text_at(status, "commitTs"));
    line(c, "Position:", json_text_at(status, "position"));
    line(c, "Created:", json_text_at(one, "metadata.creationTimestamp"));
    line(c, "Started:", json_text_at(status, "timeStarted"));
    line(c, "Completed:", json_text_at(status, "timeCompleted"));
    line(c, "Time taken:", json_text_at(status, "timeTaken"));
    line(c, "Objects go at:", json_text_at(status, "timeRemoval"));
    if (json_u64_at(status, "progress.rangesTotal") > 0)
        (void)fprintf(c->out, "%-18s %llu of %llu\n",
                      "Ranges:", (unsigned long long)json_u64_at(status, "progress.rangesDone"),
                      (unsigned long long)json_u64_at(status, "progress.rangesTotal"));
    if (json_u64_at(status, "progress.rangesResumed") > 0)
        (void)fprintf(c->out, "%-18s %llu ranges, %llu bytes of earlier attempts\n",
                      "Resumed:", (unsigned long long)json_u64_at(status, "progress.rangesResumed"),
                      (unsigned long long)json_u64_at(status, "progress.bytesResumed"));
    if (json_at(status, "pages") != NULL)
        (void)fprintf(c->out, "%-18s %llu checked, %llu unverified, %llu corrupt\n",
                      "Pages:", (unsigned long long)json_u64_at(status, "pages.checked"),
                      (unsigned long long)json_u64_at(status, "pages.unverified"),
                      (unsigned long long)json_u64_at(status, "pages.corrupt"));
    describe_error(c, status);
    describe_each(c, status, "tenants", "Tenants:", describe_tenant);
    describe_each(c, status, "recoverable", "Recoverable:", describe_interval);
    describe_each(c, status, "holds", "Log held at:", describe_hold);
    describe_each(c, status, "nodes", "Read on:", describe_share);
    describe_each(c, status, "storage", "Object store:", describe_store);
    describe_each(c, status, "conditions", "Conditions:", describe_condition);
    describe_each(c, status, "problems", "Problems:", describe_problem);
    describe_each(c, status, "warnings", "Warnings:", describe_warning);
}

static int run_describe(struct ctl *c, const struct command *self,
                        const struct option_value *values, const struct option_words *words)
{
    struct tm_err err;
    struct named named;
    json_t *one;
    const char *secret = secret_named(words);
    if (secret != NULL)
        return secret_describe(c, secret);
    if (named_of(c, self->name, words, &named) < 0)
        return CTL_STATUS_USAGE;
    if (resource_fetch(c, named.kind, values[0].text, named.name, &one, &err) < 0)
        return ctl_fail(c, &err);
    describe_resource(c, one);
    json_decref(one);
    return 0;
}

const struct command command_describe = {
    .name = "describe",
    .words = "KIND NAME",
    .summary = "one resource in words: phase, progress, conditions, problems",
    .detail = "Tells all that is known of one resource.\n\n  tidemark describe backup nightly-3",
    .options = (const struct option_row[]){NAMESPACE_OPTION},
    .option_count = 1,
    .run = run_describe,
};
