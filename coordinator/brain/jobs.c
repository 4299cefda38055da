/*
 * A job from phase to phase.
 *
 *   Scheduled   nobody is chosen yet; live->waiting says why
 *   Prepare     lead: session, plan                           step PREPARE
 *   Running     workers: ranges; then the lead commits        step RUN, FINISH
 *               something failed: the lead sweeps             step ABORT
 *               or it may be gone on with: nothing is swept      (resume.c)
 *   Complete    the lead reported the manifest stored
 *   Failed      swept, or kept to be resumed, or nobody could sweep yet (leftovers): it is tried until
 *               somebody can, and no other attempt begins before      (resume.c)
 *
 * job_tick looks at every job after every event and stages the next change when its reason is there;
 * PERSISTED makes it true (job_durable). A job whose manifest turns out to be stored is Complete
 * whatever was thought before: storage has the last word.
 */
#include "coordinator/brain/logs.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/format/names.h"

#define ABORT_PATIENCE 10 /* times abort_ms, for a lead that is there but cannot finish its sweep */
#define SWEEP_TRIES    6  /* with the lead's growing pauses half a minute: the storage is gone */

bool job_is_lead(const struct res *res, const struct node *node)
{
    return strcmp(node->cluster, res->now.rec.cluster) == 0 &&
           strcmp(node->name, res->now.rec.node) == 0;
}

bool job_must_sweep(const struct res *res)
{
    const struct record *rec = &res->now.rec;
    if (res->view.kind != JOB_KIND_BACKUP || rec->backup_id[0] == '\0')
        return false;
    if (rec->phase == PHASE_COMPLETE)
        return res->view.policy == VIEW_DELETE;
    return rec->resumable; /* without its resource nobody could go on with it */
}

bool job_deleting(const struct res *res)
{
    const struct record *rec = &res->now.rec;
    bool waits = rec->phase == PHASE_SCHEDULED && rec->resumable;
    return rec->deleting && (store_terminal(res) || waits) && !rec->leftovers;
}

/* ---- life ---- */

/* Doubled with each attempt. */
static uint64_t retry_pause_us(const struct res *res)
{
    uint64_t pause_us = brain_ms(res->view.retry_pause_ms);
    for (uint32_t at = 2; at < res->now.rec.attempt && at < 16; at++)
        pause_us *= 2;
    return pause_us;
}

int job_live(struct brain *b, struct res *res, bool loaded)
{
    struct live *live = calloc(1, sizeof(*live));
    if (live == NULL)
        return tm_err_oom(b->err);
    live->loaded = loaded;
    live->since_us = b->now.mono_us;
    live->progress_us = b->now.mono_us;
    live->reported_us = b->now.mono_us;
    if (res->now.rec.deleting && res->now.rec.removal_us > b->now.real_us)
        live->removal_us = b->now.mono_us + (uint64_t)(res->now.rec.removal_us - b->now.real_us);
    if (res->now.rec.phase == PHASE_SCHEDULED && res->now.rec.error != NULL)
        live->not_before_us = b->now.mono_us + retry_pause_us(res);
    bool underway = res->now.rec.phase == PHASE_PREPARE || res->now.rec.phase == PHASE_RUNNING;
    if (loaded && underway && !brain_plant(b, BRAIN_PLANT_ADOPT_NOTHING))
        live->lease_from_us = b->now.mono_us + brain_ms(b->config.lease_ms);
    if (loaded && underway && res->now.rec.error != NULL) {
        live->has_failure = true; /* it was to be aborted: the reason is in the record */
        msg_error_to(res->now.rec.error, &live->failure);
        memcpy(live->failure_stage, res->now.rec.error->stage, sizeof(live->failure_stage));
        memcpy(live->failure_node, res->now.rec.error_node, sizeof(live->failure_node));
        live->failure_since_us = res->now.rec.error->since_us;
    }
    if (log_is(res) && log_live_new(b, live) < 0) {
        free(live);
        return -(int)TM_E_NO_MEMORY;
    }
    if (log_is(res)) {
        live->log_phase = (enum phase)res->now.rec.phase;
        live->log_phase_us = res->now.rec.log->phase_us;
        live->log_attempt = res->now.rec.attempt;
    }
    job_live_free(res->live);
    res->live = live;
    store_lists_old(b);
    return 0;
}

void job_live_free(struct live *live)
{
    if (live == NULL)
        return;
    table_release(&live->table);
    free(live->workers);
    free(live->shares);
    free(live->share_nodes);
    codec_arena_release(&live->totals_arena);
    log_live_free(live->log);
    free(live);
}

void job_fail(struct brain *b, struct res *res, const struct tm_err *err, const char *stage,
              const char *node, int64_t since_us)
{
    struct live *live = res->live;
    if (live == NULL || live->has_failure)
        return; /* the first reason is the one to tell */
    live->has_failure = true;
    live->failure = *err;
    (void)snprintf(live->failure_stage, sizeof(live->failure_stage), "%s", stage);
    (void)snprintf(live->failure_node, sizeof(live->failure_node), "%s", node != NULL ? node : "");
    live->failure_since_us = since_us != 0 ? since_us : b->now.real_us;
    status_changed(b, res);
}

void job_progress(struct brain *b, struct res *res)
{
    struct live *live = res->live;
    const uint64_t marks[] = {live->bytes_done,  live->log_bytes,  live->table.done_count,
                              live->table.count, live->lead_stage, live->table.complete};
    uint64_t mark = 0;
    for (size_t at = 0; at < TM_ARRAY_LEN(marks); at++)
        mark = mark * UINT64_C(1099511628211) + marks[at];
    if (mark == live->progress_mark)
        return;
    live->progress_mark = mark;
    live->progress_us = b->now.mono_us;
    status_changed(b, res);
}

/* ---- steps ---- */

static void stage_error(struct brain *b, struct res *res, struct record *next)
{
    const struct live *live = res->live;
    struct msg_error error = msg_error_of(&live->failure, live->failure_stage);
    error.since_us = live->failure_since_us;
    next->error = codec_arena_alloc(&res->next.arena, sizeof(*next->error), b->err);
    if (next->error == NULL) {
        b->failed = true;
        return;
    }
    *next->error = error;
    persist_text(b, res, &next->error->text, live->failure.msg);
    memcpy(next->error_node, live->failure_node, sizeof(next->error_node));
}

/* How far a job came that ends without success: what is live is gone afterwards. */
static void keep_progress(const struct res *res, struct record *next)
{
    const struct live *live = res->live;
    const struct table *t = &live->table;
    next->ranges_done = TM_MAX(next->ranges_done, (uint32_t)t->done_count);
    next->bytes_done = TM_MAX(next->bytes_done, TM_MAX(t->done.bytes, live->bytes_done));
    if (res->view.kind == JOB_KIND_RESTORE)
        next->bytes_total = TM_MAX(next->bytes_total, live->bytes_total);
    if (next->bytes_total > 0)
        next->bytes_done = TM_MIN(next->bytes_done, next->bytes_total);
}

static void to_step(struct brain *b, struct res *res, enum job_step step)
{
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    next->step = step;
    next->phase = PHASE_RUNNING;
    if (res->live->table.complete) {
        next->ranges_total = (uint32_t)res->live->table.count;
        next->bytes_total = res->live->table.bytes_total;
        next->ranges_resumed = (uint32_t)res->live->table.stored_count;
        next->bytes_resumed = res->live->table.stored_bytes;
        share_keep(b, res, next);
    }
    if (step == JOB_STEP_ABORT) {
        keep_progress(res, next);
        stage_error(b, res, next);
    }
    persist_submit(b, res);
}

/* Warnings stay with the job when it is over, however it ended. */
static void stage_warnings(struct brain *b, struct res *res, struct record *next)
{
    const struct live *live = res->live;
    size_t count = live->warning_count;
    char names[TM_ERR_MSG_MAX];
    char text[WIRE_TEXT_MAX + 1];
    next->warnings_count = 0;
    next->warnings =
        codec_arena_array(&res->next.arena, count + 1, sizeof(*next->warnings), b->err);
    if (next->warnings == NULL) {
        b->failed = true;
        return;
    }
    for (size_t at = 0; at < count; at++)
        persist_text(b, res, &next->warnings[next->warnings_count++], live->warnings[at]);
    if (count < WIRE_WARNINGS_MAX && tenants_left_out(b, res, names)) {
        (void)snprintf(text, sizeof(text), TENANTS_LEFT_OUT, names);
        persist_text(b, res, &next->warnings[next->warnings_count++], text);
    }
}

void job_complete(struct brain *b, struct res *res)
{
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    next->phase = PHASE_COMPLETE;
    next->step = 0;
    next->completed_us = b->now.real_us;
    if (res->live->totals.completed_us != 0) /* as storage says it, to everybody, later, too */
        next->completed_us = TM_MAX(res->live->totals.completed_us, next->started_us);
    next->error = NULL;
    next->error_node[0] = '\0';
    next->leftovers = false;
    next->resumable = false;
    next->totals = codec_arena_alloc(&res->next.arena, sizeof(*next->totals), b->err);
    if (next->totals == NULL || codec_copy(&msg_totals_codec, &res->live->totals, &res->next.arena,
                                           next->totals, b->err) < 0) {
        b->failed = true;
        return;
    }
    stage_warnings(b, res, next);
    persist_submit(b, res);
}

/* What an attempt that ends without success leaves in storage. */
enum left { LEFT_NOTHING, LEFT_OVERS, LEFT_CHECKPOINT };

static void fail_finally(struct brain *b, struct res *res, enum left left)
{
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    bool again = (res->live->failure.retryable && next->attempt <= res->view.retries_max) ||
                 resume_over(res);
    again = again && !next->deleting;
    next->phase = again ? PHASE_SCHEDULED : PHASE_FAILED;
    next->attempt += again;
    next->step = left == LEFT_OVERS ? JOB_STEP_ABORT : 0;
    next->completed_us = again ? 0 : b->now.real_us;
    next->leftovers = left == LEFT_OVERS;
    next->resumable = left == LEFT_CHECKPOINT;
    if (resume_over(res))
        resume_note(b, res, next);
    keep_progress(res, next);
    stage_error(b, res, next);
    stage_warnings(b, res, next);
    persist_submit(b, res);
}

/* ---- Scheduled → Prepare ---- */

static void start(struct brain *b, struct res *res)
{
    struct source source;
    const struct msg_instance *instance;
    const struct node *node = NULL;
    if (b->now.mono_us < res->live->not_before_us)
        return;
    if (res->live->waiting_facts != b->facts && source_resolve(b, res, &source)) {
        if (parts_begin(b, res))
            return;
        node = lead_pick(b, res, source.cluster, &instance);
    }
    if (node == NULL) {
        res->live->waiting_facts = b->facts;
        if (part_gives_up(b, res))
            fail_finally(b, res, res->now.rec.resumable ? LEFT_CHECKPOINT : LEFT_NOTHING);
        return;
    }
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    bool backup = res->view.kind == JOB_KIND_BACKUP;
    next->phase = backup ? PHASE_PREPARE : PHASE_RUNNING;
    next->step = backup ? JOB_STEP_PREPARE : JOB_STEP_RUN;
    COPY_TEXT(next->cluster, node->cluster);
    COPY_TEXT(next->node, node->name);
    COPY_TEXT(next->boot, node->boot);
    COPY_TEXT(next->tenant, backup ? instance->tenant : source.tenant);
    if (!next->resumable) /* what is stored lies under the identity it was read from */
        COPY_TEXT(next->identity, backup ? instance->identity : "");
    (void)snprintf(next->job, sizeof(next->job), "%016" PRIx64, b->rng.next(b->rng.arg));
    if (backup && !next->resumable)
        names_backup_id(b->now.real_us, (uint32_t)(b->rng.next(b->rng.arg) & UINT32_MAX),
                        next->backup_id);
    if (!backup)
        COPY_TEXT(next->source_backup_id, source.id);
    COPY_TEXT(next->source_cluster, source.cluster);
    next->share_log =
        backup && !next->resumable && log_is_shared(b, next->cluster, next->tenant, source.storage);
    if (!next->resumable)
        next->started_us = b->now.real_us;
    next->completed_us = 0;
    next->error = NULL;
    next->error_node[0] = '\0';
    next->totals = NULL;
    next->warnings = NULL;
    next->warnings_count = 0;
    next->leftovers = false;
    next->ranges_total = 0;
    next->bytes_total = 0;
    next->ranges_done = 0;
    next->ranges_resumed = 0;
    next->shares_count = 0;
    next->bytes_resumed = 0;
    next->bytes_done = 0;
    persist_text(b, res, &next->storage, source.storage);
    if (!backup) {
        persist_text(b, res, &next->full_storage, source.full_storage);
        COPY_TEXT(next->secret, source.secret);
        COPY_TEXT(next->full_secret, source.full_secret);
    }
    persist_submit(b, res);
}

/* ---- underway ---- */

static void abort_step(struct brain *b, struct res *res)
{
    struct live *live = res->live;
    if (live->swept) {
        fail_finally(b, res, LEFT_NOTHING);
        return;
    }
    const struct node *lead = lead_of(b, res);
    uint64_t silent_from_us = TM_MAX(live->since_us, lead != NULL ? lead->seen_us : 0);
    uint64_t limit_us = brain_ms(b->config.abort_ms);
    if (b->now.mono_us - silent_from_us > limit_us || live->sweep_tries > SWEEP_TRIES ||
        b->now.mono_us - live->since_us > ABORT_PATIENCE * limit_us)
        fail_finally(b, res, LEFT_OVERS);
}

static void next_step(struct brain *b, struct res *res)
{
    const struct table *t = &res->live->table;
    if (res->view.kind != JOB_KIND_BACKUP || !t->complete)
        return;
    if (res->now.rec.step == JOB_STEP_PREPARE)
        to_step(b, res, JOB_STEP_RUN);
    else if (res->now.rec.step == JOB_STEP_RUN && t->done_count >= t->count)
        to_step(b, res, JOB_STEP_FINISH);
}

static void underway(struct brain *b, struct res *res)
{
    struct live *live = res->live;
    struct tm_err err;
    if (live->has_totals) {
        job_complete(b, res);
        return;
    }
    if (res->now.rec.step == JOB_STEP_ABORT) {
        abort_step(b, res);
        return;
    }
    if (res->now.rec.deleting) {
        (void)tm_err_set(&err, TM_E_CANCELED, "it was deleted while it ran");
        job_fail(b, res, &err, "delete", "", 0);
    }
    job_watch(b, res);
    if (!live->has_failure)
        next_step(b, res);
    else if (resume_may(res))
        fail_finally(b, res, LEFT_CHECKPOINT);
    else if (res->view.kind == JOB_KIND_BACKUP)
        to_step(b, res, JOB_STEP_ABORT);
    else /* a restore has nothing in storage; its target tells by itself */
        fail_finally(b, res, LEFT_NOTHING);
}

static void tick_one(struct brain *b, struct res *res)
{
    if (res->staged)
        return;
    if (parts_is(res)) {
        parts_tick(b, res);
    } else if (res->live == NULL) {
        if (resume_expired(b, res))
            resume_expire(b, res);
    } else if (log_is(res))
        log_tick(b, res);
    else if (job_deleting(res))
        removal_tick(b, res);
    else if (resume_sweeping(res))
        resume_sweep(b, res);
    else if (res->now.rec.phase != PHASE_SCHEDULED)
        underway(b, res);
    else if (res->now.rec.deleting)
        persist_remove(b, res);
    else
        start(b, res);
}

void job_tick(struct brain *b)
{
    struct res *const *all = b->look_all ? b->lists.busy : b->touched;
    size_t count = b->look_all ? b->lists.busy_count : b->touched_count;
    for (size_t at = 0; at < count && !b->failed; at++)
        tick_one(b, all[at]);
}

/* ---- durable ---- */

static void log_end(struct brain *b, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    if (rec->phase == PHASE_FAILED && res->live->sweeper[0] != '\0') {
        brain_log(b, res, rec->node, 5, BRAIN_LOG_PLAIN, "%s/%s: what was stored of it is removed",
                  rec->kind, rec->name);
        return;
    }
    if (rec->phase == PHASE_COMPLETE)
        brain_log(b, res, rec->node, 5, BRAIN_LOG_JOB_COMPLETE, "%s/%s is Complete", rec->kind,
                  rec->name);
    else
        brain_log(b, res, rec->error_node, 3, BRAIN_LOG_JOB_FAILED, "%s/%s Failed%s: %s", rec->kind,
                  rec->name, rec->leftovers ? " (what it stored is not removed yet)" : "",
                  rec->error != NULL ? rec->error->text : "unknown");
}

void job_durable(struct brain *b, struct res *res)
{
    if (parts_is(res)) {
        parts_durable(b, res);
        return;
    }
    if (log_is(res)) {
        log_durable(b, res);
        return;
    }
    const struct record *rec = &res->now.rec;
    struct live *live = res->live;
    bool was_underway = live != NULL && !store_terminal(res);
    if (resume_sweeping(res)) {
        if (live != NULL && live->has_failure && store_terminal(res))
            log_end(b, res);
        if (live == NULL || live->has_failure)
            brain_check(b, job_live(b, res, false));
    } else if (store_terminal(res) && live != NULL && !rec->deleting) {
        log_end(b, res);
        job_live_free(live);
        res->live = NULL;
        store_lists_old(b);
    } else if ((store_terminal(res) && rec->deleting) || rec->phase == PHASE_SCHEDULED ||
               live == NULL) {
        if (!store_terminal(res) || rec->deleting)
            brain_check(b, job_live(b, res, res->adopted));
    } else if (was_underway) {
        live->since_us = b->now.mono_us;
        live->progress_us = b->now.mono_us;
        live->waiting[0] = '\0';
        if (rec->phase == PHASE_PREPARE || res->view.kind == JOB_KIND_RESTORE) {
            live->reported_us = b->now.mono_us;
            brain_log(b, res, rec->node, 5, BRAIN_LOG_JOB_START, "%s/%s begins on node '%s'",
                      rec->kind, rec->name, rec->node);
        }
    }
    if (rec->phase != PHASE_SCHEDULED || rec->attempt > 1) /* nobody has a job that only waits */
        desired_changed(b, res);
    status_changed(b, res);
}
