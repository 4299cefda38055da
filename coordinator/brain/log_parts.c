/*
 * Log backups of several tenants: the whole has what is wished, the parts do it.
 *
 * Happy path: a log backup that names no tenant begins in a cluster of several → a part for each (parts.c),
 * each with a lead, a checkpoint and holds of its own → what is applied to the whole (pause, stop, truncate)
 * every part finds in the document they share.
 *
 * A tenant that appears later joins: a database whose log nobody stores is the worse surprise. When the backup
 * was of one tenant until then, that one becomes a part, with the job it has: its agents notice nothing.
 * Both records are stored in one transaction. One that has a log backup of its own, by its name, does not join
 * as long as that is not Stopped.
 *
 * Failure modes: a part is Fail → so is the whole, for as long, and the others go on. The whole is Stopped when
 * all parts are; then nobody joins any more.
 */
#include "coordinator/brain/logs.h"

/* ---- joining ---- */

static bool has_part(const struct record *rec, const char *tenant)
{
    for (size_t at = 0; at < rec->parts_count; at++) {
        if (strcmp(rec->parts[at], tenant) == 0)
            return true;
    }
    return rec->parts_count == 0 && strcmp(rec->tenant, tenant) == 0;
}

/* Somebody gave this tenant a log backup of its own: joining would store its log twice. */
static bool has_own(const struct brain *b, const struct res *res, const char *tenant)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        const struct res *other = b->resources[at];
        if (log_is(other) && !part_is(other) && other != res &&
            other->now.rec.phase != PHASE_STOPPED && strcmp(other->view.tenant, tenant) == 0 &&
            strcmp(other->view.cluster, res->view.cluster) == 0)
            return true;
    }
    return false;
}

/* A tenant of the cluster that is to join. */
static bool is_lacking(const struct brain *b, const struct res *res, const char *tenant)
{
    return !has_part(&res->now.rec, tenant) && !has_own(b, res, tenant);
}

static bool goes_on(const struct res *res)
{
    const struct record *rec = &res->now.rec;
    return !rec->deleting && rec->phase != PHASE_SCHEDULED && rec->phase != PHASE_STOPPED &&
           rec->step != JOB_STEP_STOP && res->view.log_wish != JOB_STEP_STOP;
}

/* The cluster has the tenants whose log it is, also when their agents are away since this life began: only so
 * are they stored with the new one, and the next life knows of all. */
static void note_own(struct brain *b, const struct res *res)
{
    const struct record *rec = &res->now.rec;
    if (rec->parts_count == 0)
        tenants_note(b, res->view.cluster, rec->tenant);
    for (size_t at = 0; at < rec->parts_count; at++)
        tenants_note(b, res->view.cluster, rec->parts[at]);
}

/* Into the staged record: those it has, and those of the cluster that it has not. */
static void stage_parts(struct brain *b, struct res *res, struct record *next)
{
    const struct record *rec = &res->now.rec;
    note_own(b, res);
    const struct cluster *c = tenants_of(b, res->view.cluster);
    size_t count = 0;
    const char **names = codec_arena_array(&res->next.arena, PARTS_MAX, sizeof(*names), b->err);
    if (names == NULL) {
        b->failed = true;
        return;
    }
    for (size_t at = 0; at < rec->parts_count; at++)
        persist_text(b, res, &names[count++], rec->parts[at]);
    if (rec->parts_count == 0)
        persist_text(b, res, &names[count++], rec->tenant);
    for (size_t at = 0; at < c->tenant_count && count < PARTS_MAX; at++) {
        if (!is_lacking(b, res, c->tenants[at].name))
            continue;
        brain_log(b, res, NULL, 4, BRAIN_LOG_PLAIN,
                  "%s/%s: cluster '%s' has a tenant '%s' now, its log is backed up, too", rec->kind,
                  rec->name, res->view.cluster, c->tenants[at].name);
        persist_text(b, res, &names[count++], c->tenants[at].name);
    }
    next->parts = names;
    next->parts_count = count;
}

static bool lacks_one(const struct brain *b, const struct res *res)
{
    const struct cluster *c = tenants_of(b, res->view.cluster);
    if (rebuild_holds_back(b) || /* that may be what this state lacks */
        brain_plant(b, BRAIN_PLANT_NO_JOIN))
        return false;
    for (size_t at = 0; at < c->tenant_count && res->now.rec.parts_count < PARTS_MAX; at++) {
        if (is_lacking(b, res, c->tenants[at].name))
            return true;
    }
    return false;
}

void log_split_part(const struct res *res, struct record *ret)
{
    *ret = res->now.rec;
    COPY_TEXT(ret->part, res->now.rec.tenant);
    ret->document = SLICE_EMPTY;
    ret->round = 1;
}

bool log_splits(const struct res *res)
{
    return res->staged && !res->removing && res->exists && res->now.rec.parts_count == 0 &&
           res->now.rec.job[0] != '\0' && res->next.rec.parts_count > 0;
}

void log_split_put(struct brain *b, const struct res *res, struct brain_put *ret)
{
    struct record part;
    log_split_part(res, &part);
    persist_put(b, &part, ret);
}

void log_split_done(struct brain *b, struct res *res)
{
    struct record rec;
    struct stored now = {0};
    log_split_part(res, &rec);
    struct res *part = store_add(b, rec.kind, rec.namespace_, rec.name, rec.part);
    if (part == NULL)
        return;
    if (codec_copy(&record_codec, &rec, &now.arena, &now.rec, b->err) < 0) {
        codec_arena_release(&now.arena);
        b->failed = true;
        return;
    }
    part->now = now;
    part->exists = true;
    parts_spec(b, part, res);
    part->live = TM_TAKE(res->live);
}

bool log_split(struct brain *b, struct res *res)
{
    if (part_is(res) || res->view.tenant[0] != '\0' || res->now.rec.tenant[0] == '\0' ||
        !goes_on(res) || !lacks_one(b, res))
        return false;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    stage_parts(b, res, next);
    next->phase = PHASE_RUNNING;
    next->attempt = 1;
    next->error = NULL;
    next->job[0] = next->cluster[0] = next->node[0] = next->boot[0] = '\0';
    next->tenant[0] = next->identity[0] = next->source_cluster[0] = next->error_node[0] = '\0';
    next->storage = NULL;
    next->log->holders_count = 0;
    persist_submit(b, res);
    return true;
}

/* ---- what is wished ---- */

static bool all_stopped(const struct brain *b, const struct res *whole, struct res *const *parts,
                        size_t count)
{
    size_t stopped = 0;
    for (size_t at = 0; at < count; at++)
        stopped += parts[at]->exists && parts[at]->now.rec.phase == PHASE_STOPPED;
    return stopped == whole->now.rec.parts_count ||
           (stopped > 0 && brain_plant(b, BRAIN_PLANT_STOPPED_EARLY));
}

void log_parts_tick(struct brain *b, struct res *res, struct res *const *parts, size_t count)
{
    const struct record *rec = &res->now.rec;
    bool join = goes_on(res) && lacks_one(b, res);
    bool stopped = rec->phase == PHASE_RUNNING && all_stopped(b, res, parts, count);
    if (!join && !stopped && rec->step == res->view.log_wish)
        return;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return;
    next->step = res->view.log_wish;
    if (join)
        stage_parts(b, res, next);
    if (stopped && !join) {
        next->phase = PHASE_STOPPED;
        next->step = JOB_STEP_STOP;
        next->completed_us = b->now.real_us;
    }
    persist_submit(b, res);
}

bool log_part_follow(struct brain *b, struct res *res)
{
    const struct record *rec = &res->now.rec;
    const struct res *whole = part_whole(b, res);
    if (whole == NULL)
        return false;
    bool wish = log_wishes_anew(rec->log, &res->view) &&
                (!brain_plant(b, BRAIN_PLANT_TRUNCATE_FIRST) || part_is_first(b, res));
    bool again = rec->round < whole->now.rec.attempt;
    if (!wish && !again)
        return false;
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return true;
    if (wish)
        log_configured(b, res, next, &res->view);
    if (again)
        log_again(b, res, next);
    next->round = whole->now.rec.attempt;
    persist_submit(b, res);
    return true;
}

/* ---- asked ---- */

bool log_parts_failed(struct res *const *parts, size_t count)
{
    bool failed = false;
    for (size_t at = 0; at < count; at++)
        failed = failed || log_failed(parts[at]);
    return failed;
}

int log_parts_may_truncate(const struct brain *b, const struct res *res, const char *until,
                           bool force, struct tm_err *err)
{
    struct res *const *parts;
    size_t count = store_parts(b, res, &parts);
    int r = 0;
    for (size_t at = 0; at < count && r == 0; at++) {
        r = log_may_truncate(b, parts[at], until, force, err);
        if (r < 0)
            r = tm_err_prefix(err, "tenant '%s'", parts[at]->now.rec.part);
    }
    return r;
}
