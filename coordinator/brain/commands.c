/*
 * Commands from the control socket. Each is checked against what is true now, staged, and answered
 * when it is durable. While a change of the same resource is under way a command is refused as
 * TM_E_CONFLICT, retryable: the CLI asks again.
 *
 * A spec may change only while its resource waits (Scheduled): a job that runs, or has run, did so
 * by the spec it had. The words around it (labels), cleanPolicy and cleanGrace may change at any time. A
 * log backup lives by its spec: what it should do may change at any time, what it is never.
 */
#include "coordinator/brain/logs.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"

static int busy(const struct view *v, struct tm_err *err)
{
    return tm_err_retry(err, TM_E_CONFLICT, "%s/%s: another change is under way, try again",
                        v->kind_text, v->name);
}

size_t command_live_count(const struct brain *b)
{
    size_t count = 0;
    for (size_t at = 0; at < b->resource_count; at++)
        count +=
            !b->resources[at]->exists ||
            (b->resources[at]->live != NULL && !parts_is(b->resources[at]) &&
             !log_at_rest(b->resources[at]) && !removal_waits(b->resources[at], b->now.mono_us));
    return count;
}

static int stage_document(struct brain *b, struct res *res, struct slice document)
{
    return codec_arena_bytes(&res->next.arena, document, &res->next.rec.document, b->err);
}

static int create(struct brain *b, const struct view *v, const struct brain_event *event,
                  struct resource **spec, struct tm_err *err)
{
    if (b->resource_count >= BRAIN_RESOURCES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "there are %d resources already; delete some",
                          BRAIN_RESOURCES_MAX);
    if (command_live_count(b) >= BRAIN_JOBS_MAX)
        return tm_err_retry(err, TM_E_LIMIT, "%d jobs are under way already", BRAIN_JOBS_MAX);
    int r = v->kind == JOB_KIND_LOG ? log_conflict(b, v, NULL, err) : source_check(b, v, err);
    if (r < 0)
        return r;
    struct res *res = store_add(b, v->kind_text, v->namespace_, v->name, "");
    struct record *next = res != NULL ? persist_stage(b, res) : NULL;
    if (next == NULL)
        return tm_err_oom(err);
    (void)snprintf(next->uid, sizeof(next->uid), "%016" PRIx64, b->rng.next(b->rng.arg));
    next->generation = 1;
    next->created_us = b->now.real_us;
    next->phase = PHASE_SCHEDULED;
    next->attempt = 1;
    if (v->kind == JOB_KIND_LOG)
        log_created(b, res, next, v);
    brain_check(b, stage_document(b, res, v->document));
    res->next_spec = TM_TAKE(*spec);
    res->cmd = event->command.cmd;
    res->outcome = BRAIN_CREATED;
    persist_submit(b, res);
    return 0;
}

/* Whether two specs would do the same: everything of the view but the policy. */
static bool same_job(const struct view *a, const struct view *b)
{
    if (strcmp(a->cluster, b->cluster) != 0 || strcmp(a->tenant, b->tenant) != 0 ||
        strcmp(a->node, b->node) != 0 || strcmp(a->storage, b->storage) != 0 ||
        strcmp(a->backup_name, b->backup_name) != 0)
        return false;
    if (a->kind != b->kind ||
        (a->kind == JOB_KIND_RESTORE && strcmp(a->full_storage, b->full_storage) != 0))
        return false;
    return a->kind == JOB_KIND_BACKUP
               ? codec_equal(&msg_backup_params_codec, a->backup, b->backup)
               : codec_equal(&msg_restore_params_codec, a->restore, b->restore);
}

static int being_deleted(const struct record *rec, struct tm_err *err)
{
    char text[CLOCK_TEXT_MAX];
    if (rec->removal_us == 0)
        return tm_err_set(err, TM_E_REFUSED, "%s/%s is being deleted", rec->kind, rec->name);
    return tm_err_set(err, TM_E_REFUSED,
                      "%s/%s is being deleted: it keeps its name until its objects are removed at "
                      "%s, or at once by 'tidemark delete backup %s --grace 0'",
                      rec->kind, rec->name, clock_format(rec->removal_us, text), rec->name);
}

static int configure(struct brain *b, struct res *res, const struct view *v,
                     const struct brain_event *event, struct resource **spec, struct tm_err *err)
{
    if (!res->exists || res->staged)
        return busy(v, err);
    if (res->now.rec.deleting) /* also for the same document: it would go all the same */
        return being_deleted(&res->now.rec, err);
    if (slice_eq(res->now.rec.document, v->document)) {
        brain_answer(b, event->command.cmd, BRAIN_UNCHANGED, NULL);
        return 0;
    }
    if (log_is(res) && v->kind == JOB_KIND_LOG) {
        int r = log_may_configure(b, res, v, err);
        if (r == 0 && res->now.rec.phase == PHASE_SCHEDULED)
            r = log_conflict(b, v, res, err);
        if (r < 0)
            return r;
    } else if (v->kind != res->view.kind && (log_is(res) || v->kind == JOB_KIND_LOG)) {
        return tm_err_set(err, TM_E_REFUSED,
                          "%s/%s: a snapshot cannot become a log backup, nor the reverse; apply it "
                          "under another name",
                          v->kind_text, v->name);
    } else if (res->now.rec.phase != PHASE_SCHEDULED && !same_job(&res->view, v))
        return tm_err_set(err, TM_E_REFUSED,
                          "%s/%s was started already and its spec cannot change any more; apply it "
                          "under another name",
                          v->kind_text, v->name);
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return tm_err_oom(err);
    next->generation++;
    if (v->kind == JOB_KIND_LOG)
        log_configured(b, res, next, v);
    brain_check(b, stage_document(b, res, v->document));
    res->next_spec = TM_TAKE(*spec);
    res->cmd = event->command.cmd;
    res->outcome = BRAIN_CONFIGURED;
    persist_submit(b, res);
    return 0;
}

static int apply(struct brain *b, const struct brain_event *event, struct tm_err *err)
{
    TM_CLEANUP(view_freep) struct resource *spec = event->command.resource;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct view view;
    int r = view_of(spec, &arena, &view, err);
    if (r < 0)
        return r;
    if (view.document.len > RECORD_DOCUMENT_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%s/%s: a document may have %d bytes", view.kind_text,
                          view.name, RECORD_DOCUMENT_MAX);
    struct res *res = store_find(b, view.kind_text, view.namespace_, view.name);
    return res == NULL ? create(b, &view, event, &spec, err)
                       : configure(b, res, &view, event, &spec, err);
}

static int find(struct brain *b, const struct brain_event *event, struct res **ret,
                struct tm_err *err)
{
    const char *namespace_ = event->command.namespace_;
    if (namespace_ == NULL || namespace_[0] == '\0')
        namespace_ = "default";
    struct res *res = store_find(b, event->command.kind, namespace_, event->command.name);
    bool made = res != NULL && !res->exists && res->staged; /* at this moment */
    if (made)
        return tm_err_retry(err, TM_E_CONFLICT, "%s/%s: another change is under way, try again",
                            event->command.kind, event->command.name);
    if (res == NULL || !res->exists)
        return tm_err_set(err, TM_E_NOT_FOUND, "%s/%s: not found", event->command.kind,
                          event->command.name);
    if (res->staged)
        return busy(&res->view, err);
    *ret = res;
    return 0;
}

/* It is under way: all that may be new is its grace. Storage knows since when it counts. */
static void delete_again(struct brain *b, struct res *res, const struct brain_event *event)
{
    if (!event->command.has_grace || event->command.grace_ms == res->now.rec.grace_ms) {
        brain_answer(b, event->command.cmd, BRAIN_DELETING, NULL);
        return;
    }
    res->cmd = event->command.cmd;
    res->outcome = BRAIN_DELETING;
    removal_regrace(b, res, event->command.grace_ms);
}

static int delete_resource(struct brain *b, const struct brain_event *event, struct tm_err *err)
{
    struct res *res = NULL;
    int r = find(b, event, &res, err);
    if (r < 0)
        return r;
    if (res->now.rec.deleting) {
        delete_again(b, res, event);
        return 0;
    }
    res->cmd = event->command.cmd;
    res->outcome = removal_begin(
        b, res, event->command.has_grace ? event->command.grace_ms : res->view.clean_grace_ms);
    return 0;
}

static int retry(struct brain *b, const struct brain_event *event, struct tm_err *err)
{
    struct res *res = NULL;
    int r = find(b, event, &res, err);
    if (r < 0)
        return r;
    if (log_is(res) && !res->now.rec.deleting)
        return log_retry(b, res, event->command.cmd, err);
    if (res->now.rec.phase != PHASE_FAILED || res->now.rec.deleting)
        return tm_err_set(err, TM_E_REFUSED, "%s/%s did not fail", event->command.kind,
                          event->command.name);
    if (resume_sweeping(res) && res->now.rec.resumable)
        return tm_err_retry(err, TM_E_REFUSED,
                            "%s/%s was not resumed in time: what was stored of it is being removed",
                            event->command.kind, event->command.name);
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return tm_err_oom(err);
    if (parts_is(res))
        parts_resume(next);
    else
        resume_again(next);
    res->cmd = event->command.cmd;
    res->outcome = BRAIN_DONE;
    persist_submit(b, res);
    return 0;
}

static int query(struct brain *b, const struct brain_event *event, struct tm_err *err)
{
    struct res *res = NULL;
    int r = find(b, event, &res, err);
    if (r == 0)
        r = part_chosen(b, &res, event->command.tenant, err);
    return r < 0 ? r : log_ask(b, res, event->command.cmd, event->command.query, err);
}

void command_run(struct brain *b, const struct brain_event *event)
{
    struct tm_err err = {0};
    int r = 0;
    switch (event->command.what) {
    case BRAIN_CMD_APPLY:
        r = apply(b, event, &err);
        break;
    case BRAIN_CMD_DELETE:
        r = delete_resource(b, event, &err);
        break;
    case BRAIN_CMD_RETRY:
        r = retry(b, event, &err);
        break;
    case BRAIN_CMD_QUERY:
        r = query(b, event, &err);
        break;
    case BRAIN_CMD_PROBE:
        r = probe_ask(b, event, &err);
        break;
    case BRAIN_CMD_REBUILD:
        r = rebuild_ask(b, event, &err);
        break;
    case BRAIN_CMD_CONFIRM:
        r = rebuild_confirm(b, event, &err);
        break;
    }
    if (r < 0)
        brain_answer(b, event->command.cmd, BRAIN_DONE, &err);
}
