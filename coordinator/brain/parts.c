/*
 * Jobs of several tenants. What is applied (the whole) becomes one part for each tenant of its cluster: jobs
 * like any other, with leases, attempts, checkpoints and tombstones of their own, that nobody but the whole
 * can name.
 *
 * Happy path: a backup that names no tenant begins, and its cluster has several → which they are is durable
 * in the whole's record → the parts are made, begin and end by themselves, at once and side by side → all are
 * Complete, and so is the whole.
 *
 * Failure modes: a part fails → the others go on; when none works any more the whole is Failed, and what is
 * Complete stays. Resumed, the whole has a higher attempt, and a failed part of an older one goes on. A tenant
 * that nobody can begin with fails after part_wait_ms. The coordinator stops between any two changes: each is
 * found again from the records, as what is missing, too old, or to be deleted still.
 *
 * The whole's record has neither node, storage nor job: nothing that looks for work of an agent finds it.
 */
#include "coordinator/brain/logs.h"

#include <inttypes.h>
#include <stdio.h>

bool parts_is(const struct res *res)
{
    return res->now.rec.parts_count > 0;
}

bool part_is(const struct res *res)
{
    return res->now.rec.part[0] != '\0';
}

struct res *part_whole(const struct brain *b, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    return part_is(res) ? store_find(b, rec->kind, rec->namespace_, rec->name) : NULL;
}

bool part_is_first(const struct brain *b, const struct res *res)
{
    const struct res *whole = part_whole(b, res);
    return whole == NULL || strcmp(whole->now.rec.parts[0], res->now.rec.part) == 0;
}

int part_chosen(const struct brain *b, struct res **res, const char *tenant, struct tm_err *err)
{
    struct res *const *parts;
    const struct record *rec = &(*res)->now.rec;
    char names[300] = "";
    size_t used = 0;
    if (!parts_is(*res))
        return 0;
    size_t count = store_parts(b, *res, &parts);
    for (size_t at = 0; tenant != NULL && at < count; at++) {
        if (strcmp(parts[at]->now.rec.part, tenant) == 0 && parts[at]->exists) {
            *res = parts[at];
            return 0;
        }
    }
    for (size_t at = 0; at < rec->parts_count && used < sizeof(names); at++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", at > 0 ? ", " : "",
                                 rec->parts[at]);
    if (tenant != NULL && tenant[0] != '\0')
        return tm_err_set(err, TM_E_INVALID, "backup '%s' has no tenant '%s': there are %s",
                          rec->name, tenant, names);
    return tm_err_set(err, TM_E_INVALID,
                      "backup '%s' is of several tenants: name one of them in br.tenant "
                      "(--tenant): %s",
                      rec->name, names);
}

/* ---- documents ---- */

void parts_spec(struct brain *b, struct res *part, const struct res *whole)
{
    struct resource *spec = NULL;
    int r = view_parse(whole->now.rec.document, &spec, b->err);
    brain_check(b, r < 0 ? r : store_set_spec(part, spec, b->err));
}

void parts_respec(struct brain *b, const struct res *res)
{
    struct res *const *parts;
    size_t count = store_parts(b, res, &parts);
    for (size_t at = 0; at < count && !b->failed; at++) {
        parts_spec(b, parts[at], res);
        desired_changed(b, parts[at]);
    }
}

int parts_loaded(struct brain *b)
{
    for (size_t at = 0; at < b->resource_count && !b->failed; at++) {
        struct res *res = b->resources[at];
        const struct res *whole = part_whole(b, res);
        if (whole != NULL) {
            parts_spec(b, res, whole);
            if (!b->failed && log_is(res) && res->now.rec.log == NULL)
                brain_check(b, tm_err_set(b->err, TM_E_CORRUPT,
                                          "stored record of tenant '%s' of %s/%s: what a log "
                                          "backup has is missing",
                                          res->now.rec.part, whole->now.rec.kind,
                                          whole->now.rec.name));
        } else if (part_is(res))
            brain_check(b,
                        tm_err_set(b->err, TM_E_CORRUPT,
                                   "stored records: there is tenant '%s' of %s/%s in namespace "
                                   "'%s', and not %s/%s itself",
                                   res->now.rec.part, res->now.rec.kind, res->now.rec.name,
                                   res->now.rec.namespace_, res->now.rec.kind, res->now.rec.name));
    }
    return b->failed ? -1 : 0;
}

/* ---- beginning ---- */

static bool is_whole_to_be(const struct brain *b, const struct res *res)
{
    return res->view.kind != JOB_KIND_RESTORE && res->view.tenant[0] == '\0' &&
           res->now.rec.tenant[0] == '\0' && tenants_of(b, res->view.cluster)->tenant_count > 1;
}

bool parts_begin(struct brain *b, struct res *res)
{
    if (!is_whole_to_be(b, res))
        return false;
    const struct cluster *c = tenants_of(b, res->view.cluster);
    if (c->more) {
        lead_waiting(b, res, "cluster '%s' has more than %d tenants: name one in br.tenant",
                     res->view.cluster, BRAIN_TENANTS_MAX);
        return true;
    }
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    const char **names =
        codec_arena_array(&res->next.arena, c->tenant_count, sizeof(*names), b->err);
    for (size_t at = 0; names != NULL && at < c->tenant_count; at++)
        persist_text(b, res, &names[at], c->tenants[at].name);
    b->failed = b->failed || names == NULL;
    next->parts = names;
    next->parts_count = names != NULL ? c->tenant_count : 0;
    next->phase = PHASE_RUNNING;
    next->step = log_is(res) ? res->view.log_wish : 0;
    next->started_us = b->now.real_us;
    persist_submit(b, res);
    return true;
}

static const struct res *part_find(struct res *const *parts, size_t count, const char *tenant)
{
    for (size_t at = 0; at < count; at++) {
        if (strcmp(parts[at]->now.rec.part, tenant) == 0)
            return parts[at];
    }
    return NULL;
}

static void make(struct brain *b, const struct res *whole, const char *tenant)
{
    const struct record *rec = &whole->now.rec;
    struct resource *spec = NULL;
    struct res *part = store_add(b, rec->kind, rec->namespace_, rec->name, tenant);
    struct record *next = part != NULL ? persist_stage(b, part) : NULL;
    if (next == NULL)
        return;
    int r = view_parse(rec->document, &spec, b->err);
    brain_check(b, r);
    part->next_spec = r == 0 ? spec : NULL;
    (void)snprintf(next->uid, sizeof(next->uid), "%016" PRIx64, b->rng.next(b->rng.arg));
    next->generation = 1;
    next->created_us = b->now.real_us;
    next->phase = PHASE_SCHEDULED;
    next->attempt = 1;
    next->round = rec->attempt;
    if (log_is(whole)) {
        static const struct log_record none;
        next->log = codec_arena_alloc(&part->next.arena, sizeof(*next->log), b->err);
        if (next->log == NULL) {
            b->failed = true;
            return;
        }
        *next->log = none;
        next->log->phase_us = b->now.real_us;
    }
    persist_submit(b, part);
}

/* Those that are missing: none was made yet, or the store refused one. True: some are. */
static bool make_missing(struct brain *b, struct res *whole)
{
    struct res *const *parts;
    const struct record *rec = &whole->now.rec;
    size_t there = store_parts(b, whole, &parts);
    if (there == rec->parts_count) {
        bool durable = true;
        for (size_t at = 0; at < there; at++)
            durable = durable && parts[at]->exists;
        if (durable) { /* the next that joins need not wait */
            whole->live->not_before_us = 0;
            lead_waiting(b, whole, "%s", "");
        }
        return false;
    }
    if (rec->rebuilt && b->rebuild.run != NULL)
        return true; /* they may be to come */
    if (rec->rebuilt && rebuild_holds_back(b)) {
        lead_waiting(b, whole, "a tenant of which nothing was found in storage " REBUILD_WAITS);
        return true;
    }
    if (b->now.mono_us < whole->live->not_before_us)
        return true;
    whole->live->not_before_us = b->now.mono_us + PERSIST_RETRY_US;
    for (size_t at = 0; at < rec->parts_count && !b->failed; at++) {
        size_t count = store_parts(b, whole, &parts); /* each that is made moves them */
        if (part_find(parts, count, rec->parts[at]) != NULL)
            continue;
        if (command_live_count(b) >= BRAIN_JOBS_MAX || b->resource_count >= BRAIN_RESOURCES_MAX) {
            lead_waiting(b, whole,
                         "tenant '%s' waits until fewer than %d jobs are under way, and there are "
                         "fewer than %d resources",
                         rec->parts[at], BRAIN_JOBS_MAX, BRAIN_RESOURCES_MAX);
            return true;
        }
        make(b, whole, rec->parts[at]);
    }
    lead_waiting(b, whole, "%s", "");
    return true;
}

bool part_gives_up(struct brain *b, struct res *res)
{
    struct live *live = res->live;
    struct tm_err err;
    if (!part_is(res))
        return false;
    if (live->queued) /* its turn will come */
        live->since_us = b->now.mono_us;
    if (b->now.mono_us - live->since_us < brain_ms(b->config.part_wait_ms))
        return false;
    (void)tm_err_retry(&err, TM_E_UNAVAILABLE, "nothing could begin for %u s: %.400s",
                       b->config.part_wait_ms / 1000, live->waiting);
    job_fail(b, res, &err, "start", "", 0);
    return true;
}

/* ---- to its end ---- */

void parts_resume(struct record *next)
{
    next->phase = PHASE_RUNNING;
    next->attempt++;
    next->completed_us = 0;
}

/* A part that failed before the whole was resumed goes on. */
static void resume(struct brain *b, const struct res *whole, struct res *part)
{
    const struct record *rec = &part->now.rec;
    if (rec->phase != PHASE_FAILED || rec->round >= whole->now.rec.attempt || part->staged ||
        rec->deleting || resume_sweeping(part))
        return;
    struct record *next = persist_stage(b, part);
    if (next == NULL)
        return;
    resume_again(next);
    next->round = whole->now.rec.attempt;
    persist_submit(b, part);
}

/* What the whole has come to by its parts. */
static enum phase judge(const struct brain *b, const struct res *whole, struct res *const *parts,
                        size_t count)
{
    size_t complete = 0;
    size_t failed = 0;
    for (size_t at = 0; at < count; at++) {
        const struct record *rec = &parts[at]->now.rec;
        complete += parts[at]->exists && rec->phase == PHASE_COMPLETE;
        failed +=
            parts[at]->exists && rec->phase == PHASE_FAILED && rec->round >= whole->now.rec.attempt;
    }
    if (complete == whole->now.rec.parts_count ||
        (complete > 0 && brain_plant(b, BRAIN_PLANT_WHOLE_EARLY)))
        return PHASE_COMPLETE;
    return complete + failed == whole->now.rec.parts_count ? PHASE_FAILED : PHASE_RUNNING;
}

static void remove_all(struct brain *b, struct res *whole, struct res *const *parts, size_t count)
{
    for (size_t at = 0; at < count && !b->failed; at++) {
        struct res *part = parts[at];
        if (part->staged)
            continue;
        if (!part->now.rec.deleting)
            (void)removal_begin(b, part, whole->now.rec.grace_ms);
        else if (part->now.rec.grace_ms != whole->now.rec.grace_ms)
            removal_regrace(b, part, whole->now.rec.grace_ms);
    }
    if (count == 0 || brain_plant(b, BRAIN_PLANT_LEAVE_PART))
        persist_remove(b, whole);
}

/* As its parts say it, so that it is the same when it is made again from what storage holds of them. */
static int64_t ended_us(const struct brain *b, struct res *const *parts, size_t count)
{
    int64_t last_us = 0;
    for (size_t at = 0; at < count; at++)
        last_us = TM_MAX(last_us, parts[at]->now.rec.completed_us);
    return last_us != 0 ? last_us : b->now.real_us;
}

/* Warnings stay with the job when it is over. */
static void stage_left_out(struct brain *b, struct res *whole, struct record *next)
{
    char names[TM_ERR_MSG_MAX];
    char text[WIRE_TEXT_MAX + 1];
    next->warnings_count = 0;
    if (!tenants_left_out(b, whole, names))
        return;
    (void)snprintf(text, sizeof(text), TENANTS_LEFT_OUT, names);
    next->warnings = codec_arena_alloc(&whole->next.arena, sizeof(*next->warnings), b->err);
    if (next->warnings == NULL) {
        b->failed = true;
        return;
    }
    persist_text(b, whole, &next->warnings[0], text);
    next->warnings_count = 1;
}

void parts_tick(struct brain *b, struct res *res)
{
    struct res *const *parts;
    const struct record *rec = &res->now.rec;
    size_t count = store_parts(b, res, &parts);
    if (rec->deleting) {
        if (!rec->rebuilt || b->rebuild.run == NULL) /* some may be to come */
            remove_all(b, res, parts, count);
        return;
    }
    if (rec->phase == PHASE_RUNNING && make_missing(b, res))
        return;
    if (log_is(res)) {
        log_parts_tick(b, res, parts, count);
        return;
    }
    for (size_t at = 0; at < count && !b->failed; at++)
        resume(b, res, parts[at]);
    enum phase phase = judge(b, res, parts, count);
    /* one that failed is Complete when its manifest is found after all; nothing else changes by itself */
    if (phase == rec->phase || (rec->phase != PHASE_RUNNING && phase != PHASE_COMPLETE))
        return;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    next->phase = phase;
    next->completed_us = ended_us(b, parts, count);
    if (!rec->rebuilt) /* then it was not this coordinator's tenants that it was of */
        stage_left_out(b, res, next);
    persist_submit(b, res);
}

/* ---- durable ---- */

static void say_begin(struct brain *b, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    char names[512] = "";
    size_t used = 0;
    for (size_t at = 0; at < rec->parts_count && used < sizeof(names); at++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s'%s'", at > 0 ? ", " : "",
                                 rec->parts[at]);
    brain_log(b, res, NULL, 5, BRAIN_LOG_PLAIN, "%s/%s %s, tenants %s", rec->kind, rec->name,
              rec->attempt > 1 ? "goes on" : "begins", names);
}

static void say_end(struct brain *b, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    struct res *const *parts;
    size_t count = store_parts(b, res, &parts);
    char why[TM_ERR_MSG_MAX];
    if (rec->phase == PHASE_COMPLETE)
        brain_log(b, res, NULL, 5, BRAIN_LOG_JOB_COMPLETE, "%s/%s is Complete, all %zu tenants",
                  rec->kind, rec->name, rec->parts_count);
    else
        brain_log(b, res, NULL, 3, BRAIN_LOG_JOB_FAILED, "%s/%s Failed: %s", rec->kind, rec->name,
                  parts_why(parts, count, why));
}

void parts_durable(struct brain *b, struct res *res)
{
    const struct record *rec = &res->now.rec;
    bool works = !store_terminal(res) || rec->deleting; /* a log backup always does */
    if (works && res->live == NULL) {
        brain_check(b, job_live(b, res, res->adopted));
        if (!b->failed && res->adopted)
            res->live->parts_said = rec->attempt;
    }
    if (b->failed)
        return;
    if (works && rec->phase == PHASE_RUNNING && !rec->deleting &&
        res->live->parts_said != rec->attempt) {
        res->live->parts_said = rec->attempt;
        say_begin(b, res);
    } else if (!works && res->live != NULL) {
        say_end(b, res);
        job_live_free(res->live);
        res->live = NULL;
    }
    status_changed(b, res);
}
