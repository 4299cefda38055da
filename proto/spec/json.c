/*
 * A resource as scripts see it. The names of the fields are a contract: fields are added, never
 * renamed. What is not known is left out, but for phase, conditions and progress, which are always
 * there.
 *
 * Memory failures inside jansson leave NULLs that its setters refuse; one check at the end is
 * enough, because a value that could not be set makes the dump differ only by its absence, and a
 * failed object makes the whole NULL.
 */
#include <jansson.h>

#include "common/clock.h"
#include "common/size.h"
#include "proto/spec/status.h"

static void set_text(json_t *object, const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0')
        (void)json_object_set_new(object, key, json_string_nocheck(text));
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
    json_int_t bounded = value > INT64_MAX ? INT64_MAX : (json_int_t)value;
    (void)json_object_set_new(object, key, json_integer(bounded));
}

static void set_time(json_t *object, const char *key, int64_t us)
{
    char text[CLOCK_TEXT_MAX];
    if (us != 0)
        set_text(object, key, clock_format(us, text));
}

static json_t *conditions_json(const struct resource_status *st)
{
    json_t *list = json_array();
    for (size_t n = 0; n < st->condition_count; n++) {
        const struct status_condition *c = &st->conditions[n];
        json_t *item = json_object();
        set_text(item, "type", resource_phase_text(c->type));
        set_text(item, "status", c->status ? "True" : "False");
        set_time(item, "lastTransitionTime", c->last_transition_us);
        set_text(item, "reason", c->reason);
        set_text(item, "message", c->message);
        (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *problems_json(const struct resource_status *st)
{
    json_t *list = json_array();
    for (size_t n = 0; n < st->problem_count; n++) {
        const struct status_problem *p = &st->problems[n];
        json_t *item = json_object();
        set_text(item, "node", p->node);
        set_text(item, "file", p->file);
        if (p->has_block)
            set_number(item, "block", p->block);
        set_text(item, "message", p->message);
        (void)json_array_append_new(list, item);
    }
    return list;
}

static void set_progress(json_t *object, const struct resource_status *st)
{
    json_t *progress = json_object();
    set_number(progress, "rangesTotal", st->ranges_total);
    set_number(progress, "rangesDone", st->ranges_done);
    set_number(progress, "bytesTotal", st->bytes_total);
    set_number(progress, "bytesDone", st->bytes_done);
    if (st->ranges_resumed > 0) {
        set_number(progress, "rangesResumed", st->ranges_resumed);
        set_number(progress, "bytesResumed", st->bytes_resumed);
    }
    (void)json_object_set_new(object, "progress", progress);
    json_t *nodes = st->share_count > 0 ? json_array() : NULL;
    for (size_t n = 0; n < st->share_count; n++) {
        json_t *one = json_object();
        set_text(one, "node", st->shares[n].node);
        set_number(one, "ranges", st->shares[n].ranges);
        set_number(one, "bytes", st->shares[n].bytes);
        (void)json_array_append_new(nodes, one);
    }
    if (nodes != NULL)
        (void)json_object_set_new(object, "nodes", nodes);
}

static void set_error(json_t *object, const struct resource_status *st)
{
    if (!st->has_error)
        return;
    json_t *error = json_object();
    set_text(error, "node", st->error.node);
    set_text(error, "stage", st->error.stage);
    set_time(error, "since", st->error.since_us);
    (void)json_object_set_new(error, "message", json_string_nocheck(st->error.message));
    set_text(error, "code", tm_err_code_text(st->error.code));
    (void)json_object_set_new(object, "lastError", error);
}

static void set_result(json_t *object, const struct resource *r, const struct resource_status *st)
{
    bool backup = r->kind == RESOURCE_BACKUP;
    set_text(object, "tenant", st->tenant);
    set_text(object, "node", st->node);
    set_text(object, "backupId", st->backup_id);
    if (backup) /* a restore's place is its spec's */
        set_text(object, "backupPath", st->backup_path);
    if (st->backup_bytes > 0 || (backup && st->phase == RESOURCE_COMPLETE))
        set_number(object, "backupSize", st->backup_bytes);
    if (st->data_bytes > 0)
        set_number(object, "dataSize", st->data_bytes);
    if (st->log_bytes > 0)
        set_number(object, "logSize", st->log_bytes);
    if (st->file_count > 0)
        set_number(object, "files", st->file_count);
    set_time(object, "commitTs", st->commit_us);
    set_text(object, "position", st->position);
    set_text(object, "lineage", st->lineage);
    set_time(object, "timeStarted", st->started_us);
    set_time(object, "timeCompleted", st->completed_us);
    set_time(object, "timeRemoval", st->removal_us);
    if (st->started_us != 0 && st->completed_us > st->started_us) {
        char text[CLOCK_TEXT_MAX];
        set_text(object, "timeTaken",
                 duration_format_brief(st->completed_us - st->started_us, text));
    }
    if (st->attempt > 0)
        set_number(object, "attempt", st->attempt);
}

/* Seconds to the millisecond, as a number. */
static void set_seconds(json_t *object, const char *key, int64_t us)
{
    int64_t ms = us / 1000;
    (void)json_object_set_new(object, key, json_real((double)ms / 1000.0));
}

static json_t *recoverable_json(const struct status_log *log)
{
    json_t *list = json_array();
    for (size_t n = 0; n < log->recoverable_count; n++) {
        const struct status_interval *one = &log->recoverable[n];
        json_t *item = json_object();
        set_text(item, "tenant", one->tenant);
        set_text(item, "lineage", one->lineage);
        set_text(item, "label", one->label);
        set_text(item, "fromPosition", one->from_position);
        set_text(item, "toPosition", one->to_position);
        set_time(item, "from", one->from_us);
        set_time(item, "to", one->to_us);
        set_text(item, "backupId", one->backup_id);
        (void)json_object_set_new(item, "abandoned", json_boolean(one->abandoned));
        (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *holds_json(const struct status_log *log)
{
    json_t *list = json_array();
    for (size_t n = 0; n < log->hold_count; n++) {
        const struct status_hold *one = &log->holds[n];
        json_t *item = json_object();
        set_text(item, "node", one->node);
        set_text(item, "name", one->name);
        set_text(item, "at", one->at);
        set_number(item, "bytes", one->bytes);
        (void)json_object_set_new(item, "atRisk", json_boolean(one->at_risk));
        (void)json_object_set_new(item, "lost", json_boolean(one->lost));
        (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *storage_json(const struct resource_status *st)
{
    json_t *list = json_array();
    for (size_t n = 0; n < st->storage_count; n++) {
        const struct status_storage *one = &st->storage[n];
        json_t *item = json_object();
        set_text(item, "node", one->node);
        set_number(item, "requests", one->requests);
        set_number(item, "retries", one->retries);
        set_number(item, "slowDowns", one->slow_downs);
        set_number(item, "parallel", one->parallel);
        set_number(item, "parallelMax", one->parallel_max);
        (void)json_object_set_new(item, "clockSkewMs",
                                  json_integer((json_int_t)(one->skew_us / 1000)));
        (void)json_array_append_new(list, item);
    }
    return list;
}

static void set_log(json_t *object, const struct status_log *log)
{
    if (!log->is_log)
        return;
    set_time(object, "logCheckpointTs", log->checkpoint_us);
    set_text(object, "logCheckpointPosition", log->position);
    if (log->has_latency)
        set_seconds(object, "latencySeconds",
                    (int64_t)(log->latency_us > INT64_MAX ? INT64_MAX : log->latency_us));
    if (log->has_skew)
        set_seconds(object, "skewSeconds", log->skew_us);
    (void)json_object_set_new(object, "recoverable", recoverable_json(log));
    if (log->truncated_us != 0)
        set_time(object, "logSuccessTruncateUntil", log->truncated_us);
    else
        set_text(object, "logSuccessTruncateUntil", log->truncated_position);
    if (log->truncate_until[0] != '\0') {
        json_t *truncate = json_object();
        set_text(truncate, "until", log->truncate_until);
        (void)json_object_set_new(truncate, "pending", json_boolean(log->truncate_pending));
        set_text(truncate, "error", log->truncate_error);
        (void)json_object_set_new(truncate, "removing", json_boolean(log->removing));
        set_text(truncate, "removalError", log->removal_error);
        (void)json_object_set_new(object, "logTruncate", truncate);
    }
    if (log->hold_count > 0)
        (void)json_object_set_new(object, "holds", holds_json(log));
    if (log->needs_full)
        (void)json_object_set_new(object, "needsFullBackup", json_true());
}

static json_t *plan_json(const struct status_plan *plan)
{
    json_t *object = json_object();
    set_text(object, "backupId", plan->backup_id);
    set_time(object, "commitTs", plan->commit_us);
    set_text(object, "position", plan->position);
    if (plan->by_log) {
        set_text(object, "label", plan->label);
        set_number(object, "logBytes", plan->log_bytes);
    }
    set_number(object, "ranges", plan->ranges);
    set_number(object, "bytes", plan->bytes);
    set_seconds(object, "estimateSeconds",
                (int64_t)(plan->estimate_us > INT64_MAX ? INT64_MAX : plan->estimate_us));
    set_number(object, "threads", plan->threads);
    return object;
}

int status_plan_json(const struct status_plan *plan, struct buf *out, struct tm_err *err)
{
    json_t *object = plan_json(plan);
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(object);
    if (text == NULL)
        return tm_err_oom(err);
    int result = buf_append(out, text, strlen(text), err);
    free(text);
    return result < 0 ? result : buf_append(out, "\n", 1, err);
}

int status_plan_text(const struct status_plan *plan, const char *data_dir, struct buf *out,
                     struct tm_err *err)
{
    char commit[CLOCK_TEXT_MAX], estimate[CLOCK_TEXT_MAX], size[SIZE_TEXT_MAX], log[SIZE_TEXT_MAX];
    int64_t estimate_us = (int64_t)TM_MIN(plan->estimate_us, (uint64_t)INT64_MAX);
    int result =
        buf_printf(out, err, "would restore backup %s into %s\n", plan->backup_id, data_dir);
    if (result == 0 && plan->by_log)
        result =
            buf_printf(out, err, "  with %s of log to replay up to the record at %s, branch %s\n",
                       size_format(plan->log_bytes, log), plan->position, plan->label);
    return result < 0
               ? result
               : buf_printf(out, err,
                            "  as of %s, position %s\n"
                            "  %llu ranges, %s to be fetched, in about %s by %llu threads as the "
                            "storage answers now\n",
                            clock_format(plan->commit_us, commit), plan->position,
                            (unsigned long long)plan->ranges, size_format(plan->bytes, size),
                            duration_format_brief(TM_MAX(estimate_us, USEC_PER_SEC), estimate),
                            (unsigned long long)plan->threads);
}

static json_t *status_json(const struct resource *r, const struct resource_status *st);

/* Each tenant as a job of its own would be shown, and in brief why it is not further. */
static json_t *tenants_json(const struct resource *r, const struct resource_status *st)
{
    json_t *list = json_array();
    for (size_t n = 0; n < st->tenant_count; n++) {
        const struct resource_status *one = st->tenants[n];
        json_t *item = status_json(r, one);
        set_text(item, "message", one->waiting[0] != '\0' ? one->waiting : one->error.message);
        (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *status_json(const struct resource *r, const struct resource_status *st)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "phase", json_string_nocheck(resource_phase_text(st->phase)));
    (void)json_object_set_new(object, "conditions", conditions_json(st));
    set_text(object, "waiting", st->waiting);
    set_result(object, r, st);
    set_log(object, &st->log);
    if (st->plan.is_plan)
        (void)json_object_set_new(object, "plan", plan_json(&st->plan));
    set_progress(object, st);
    if (st->storage_count > 0)
        (void)json_object_set_new(object, "storage", storage_json(st));
    if (st->pages_checked > 0 || st->pages_corrupt > 0 || st->pages_unverified > 0) {
        json_t *pages = json_object();
        set_number(pages, "checked", st->pages_checked);
        set_number(pages, "unverified", st->pages_unverified);
        set_number(pages, "corrupt", st->pages_corrupt);
        (void)json_object_set_new(object, "pages", pages);
    }
    set_error(object, st);
    if (st->problem_count > 0)
        (void)json_object_set_new(object, "problems", problems_json(st));
    if (st->problems_dropped > 0)
        set_number(object, "problemsNotListed", st->problems_dropped);
    if (st->warning_count > 0) {
        json_t *warnings = json_array();
        for (size_t n = 0; n < st->warning_count; n++)
            (void)json_array_append_new(warnings, json_string_nocheck(st->warnings[n]));
        (void)json_object_set_new(object, "warnings", warnings);
    }
    if (st->tenant_count > 0)
        (void)json_object_set_new(object, "tenants", tenants_json(r, st));
    return object;
}

/* What tells most of a tenant goes; what there is of all stays with the whole. */
static void shorten(json_t *object)
{
    static const char *const lists[] = {"conditions", "warnings", "problems",
                                        "storage",    "nodes",    "recoverable"};
    const json_t *tenants = json_object_get(json_object_get(object, "status"), "tenants");
    for (size_t at = 0; at < json_array_size(tenants); at++)
        for (size_t n = 0; n < TM_ARRAY_LEN(lists); n++)
            (void)json_object_del(json_array_get(tenants, at), lists[n]);
}

int resource_json(const struct resource *r, const struct resource_status *status,
                  const struct resource_meta *meta, struct buf *out, struct tm_err *err)
{
    json_t *object = json_loadb(r->document, r->document_len, 0, NULL);
    if (object == NULL)
        return tm_err_set(err, TM_E_INTERNAL, "%s/%s has no readable document",
                          resource_kind_word(r->kind), r->name);
    json_t *metadata = json_object_get(object, "metadata");
    if (meta != NULL) {
        set_text(metadata, "uid", meta->uid);
        set_time(metadata, "creationTimestamp", meta->created_us);
        if (meta->generation > 0)
            set_number(metadata, "generation", meta->generation);
        if (meta->deleting)
            (void)json_object_set_new(metadata, "deleting", json_true());
    }
    if (status != NULL)
        (void)json_object_set_new(object, "status", status_json(r, status));
    char *text = json_dumps(object, JSON_REAL_PRECISION(15));
    if (text != NULL && strlen(text) > RESOURCE_JSON_LONG) {
        free(text);
        shorten(object);
        text = json_dumps(object, JSON_REAL_PRECISION(15));
    }
    json_decref(object);
    if (text == NULL)
        return tm_err_oom(err);
    int result = buf_append(out, text, strlen(text), err);
    free(text);
    return result;
}
