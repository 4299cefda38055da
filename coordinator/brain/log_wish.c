/*
 * Log backups: what is applied and asked for, and what agents are told.
 *
 * The spec is the wish (run, pause, stop; truncate until), the record what is durably decided. Stop
 * goes before truncate before start: a stopped task still truncates, and never starts again.
 * A wish to truncate gets a number when it is applied; the lead answers with that number, done or not.
 * It is told of the other storages that kept backups lie in, of a few: wishes that might take from a backup
 * in yet another are refused here.
 */
#include "coordinator/brain/logs.h"
#include "proto/spec/spec.h"

const char *log_text(const char *text)
{
    return text != NULL ? text : "";
}

/* ---- backups in other storages ---- */

/* A kept backup of the same instance, in another storage than the log. */
static bool kept_elsewhere(const struct res *res, const struct res *other)
{
    const struct record *log = &res->now.rec;
    const struct record *rec = &other->now.rec;
    return other->spec != NULL && other->view.kind == JOB_KIND_BACKUP &&
           rec->phase == PHASE_COMPLETE && !rec->deleting && rec->storage != NULL &&
           log->storage != NULL && strcmp(rec->cluster, log->cluster) == 0 &&
           strcmp(rec->tenant, log->tenant) == 0 &&
           (log->identity[0] == '\0' || strcmp(rec->identity, log->identity) == 0) &&
           strcmp(rec->storage, log->storage) != 0;
}

/* The same of those that no resource tells of. */
static bool place_elsewhere(const struct res *res, const struct kept_place *place)
{
    const struct record *log = &res->now.rec;
    return log->storage != NULL && strcmp(place->cluster, log->cluster) == 0 &&
           strcmp(place->tenant, log->tenant) == 0 &&
           (log->identity[0] == '\0' || strcmp(place->identity, log->identity) == 0) &&
           strcmp(place->storage, log->storage) != 0;
}

/* Newest first; of the same time by name. */
static bool goes_before(const struct log_place *a, const struct log_place *b)
{
    return a->started_us != b->started_us ? a->started_us > b->started_us
                                          : strcmp(a->storage, b->storage) < 0;
}

/* The newest of each storage, in order. One that drops out and has newer ones comes in again by those. */
static void places_add(struct log_places *places, const struct log_place *one)
{
    size_t at = 0;
    while (at < places->count && strcmp(places->items[at].storage, one->storage) != 0)
        at++;
    bool there = at < places->count;
    if (there && !goes_before(one, &places->items[at]))
        return;
    if (!there && places->count == WIRE_PLACES_MAX) {
        places->more = true;
        if (!goes_before(one, &places->items[--at]))
            return;
    } else if (!there) {
        places->count++;
    }
    for (; at > 0 && goes_before(one, &places->items[at - 1]); at--)
        places->items[at] = places->items[at - 1];
    places->items[at] = *one;
}

void log_places(const struct brain *b, const struct res *res, struct log_places *ret)
{
    *ret = (struct log_places){.count = 0};
    for (size_t at = 0; at < b->resource_count; at++) {
        const struct res *other = b->resources[at];
        if (kept_elsewhere(res, other))
            places_add(ret, &(struct log_place){.storage = other->now.rec.storage,
                                                .secret = other->view.secret,
                                                .started_us = other->now.rec.started_us});
    }
    for (size_t at = 0; at < b->kept_count; at++) {
        const struct kept_place *place = &b->kept[at].place;
        if (place_elsewhere(res, place))
            places_add(ret, &(struct log_place){.storage = place->storage,
                                                .secret = place->secret,
                                                .started_us = place->newest_us});
    }
}

static void assign_places(struct brain *b, const struct res *res, struct msg_log_params *to)
{
    struct log_places places;
    log_places(b, res, &places);
    if (places.count == 0)
        return;
    to->places = brain_step_alloc(b, places.count * sizeof(*to->places));
    if (to->places == NULL)
        return;
    for (size_t at = 0; at < places.count; at++) {
        const struct log_place *one = &places.items[at];
        to->places[at].storage = one->storage;
        /* where the task's agents use their own, they do so everywhere */
        to->places[at].secret =
            desired_secret_named(b, res->view.own_credentials ? "" : one->secret);
    }
    to->places_count = places.count;
}

/* ---- applied ---- */

bool log_wishes_anew(const struct log_record *log, const struct view *v)
{
    return strcmp(log_text(log->truncate_until), v->truncate_until) != 0 ||
           log->truncate_force != v->truncate_force;
}

static void wish_truncate(struct brain *b, struct res *res, struct log_record *log,
                          const struct view *v)
{
    if (!log_wishes_anew(log, v))
        return;
    persist_text(b, res, &log->truncate_until, v->truncate_until);
    log->truncate_force = v->truncate_force;
    log->truncate_error = NULL;
    log->truncate_gen++;
    if (v->truncate_until[0] == '\0') /* taken back: nothing to wait for */
        log->truncated_gen = log->truncate_gen;
}

void log_created(struct brain *b, struct res *res, struct record *next, const struct view *v)
{
    next->log = codec_arena_alloc(&res->next.arena, sizeof(*next->log), b->err);
    if (next->log == NULL) {
        b->failed = true;
        return;
    }
    next->log->phase_us = b->now.real_us;
    wish_truncate(b, res, next->log, v);
}

/* A backup that `until` is behind goes on by log that lies before it. */
static bool begins_before(int64_t started_us, const struct moment *until)
{
    return until->is_position || started_us < until->time_us;
}

static bool looked_at(const struct log_places *places, const char *storage)
{
    for (size_t at = 0; at < places->count; at++) {
        if (strcmp(places->items[at].storage, storage) == 0)
            return true;
    }
    return false;
}

int log_may_truncate(const struct brain *b, const struct res *res, const char *until, bool force,
                     struct tm_err *err)
{
    const struct record *log = &res->now.rec;
    struct log_places places;
    struct moment moment;
    if (force || log_text(until)[0] == '\0')
        return 0;
    int r = moment_parse(until, &moment, err);
    log_places(b, res, &places);
    for (size_t at = 0; r == 0 && places.more && at < b->resource_count; at++) {
        const struct res *other = b->resources[at];
        const struct record *rec = &other->now.rec;
        if (!kept_elsewhere(res, other) || looked_at(&places, rec->storage) ||
            !begins_before(rec->started_us, &moment))
            continue;
        r = tm_err_set(
            err, TM_E_REFUSED,
            "%s/%s is not truncated: %s/%s lies in '%s', which is not looked at as backups "
            "lie in more than %u other storages, and may need the log from its start "
            "on: delete it first, or force",
            log->kind, log->name, rec->kind, rec->name, rec->storage, WIRE_PLACES_MAX);
    }
    for (size_t at = 0; r == 0 && places.more && at < b->kept_count; at++) {
        const struct kept_place *place = &b->kept[at].place;
        if (place_elsewhere(res, place) && !looked_at(&places, place->storage) &&
            begins_before(place->oldest_us, &moment))
            r = tm_err_set(
                err, TM_E_REFUSED,
                "%s/%s is not truncated: backups that were retained lie in '%s', which is not "
                "looked at as backups lie in more than %u other storages, and may need the log "
                "from their start on: force",
                log->kind, log->name, place->storage, WIRE_PLACES_MAX);
    }
    return r;
}

int log_may_configure(const struct brain *b, const struct res *res, const struct view *v,
                      struct tm_err *err)
{
    const struct record *rec = &res->now.rec;
    const struct view *old = &res->view;
    bool stopped = rec->phase == PHASE_STOPPED || rec->step == JOB_STEP_STOP;
    if (stopped && v->log_wish != JOB_STEP_STOP) /* its hold is gone, or may be */
        return tm_err_set(
            err, TM_E_REFUSED,
            "%s/%s is %s for good; a new task is needed: apply one under another name",
            v->kind_text, v->name, rec->phase == PHASE_STOPPED ? "Stopped" : "being stopped");
    if (rec->phase == PHASE_SCHEDULED)
        return 0;
    if (strcmp(old->cluster, v->cluster) != 0 || strcmp(old->tenant, v->tenant) != 0 ||
        strcmp(old->storage, v->storage) != 0 || old->log->from_standby != v->log->from_standby)
        return tm_err_set(
            err, TM_E_REFUSED,
            "%s/%s was started already: cluster, tenant, storage and logSource cannot "
            "change any more; apply it under another name",
            v->kind_text, v->name);
    if (!log_wishes_anew(rec->log, v))
        return 0;
    return parts_is(res) ? log_parts_may_truncate(b, res, v->truncate_until, v->truncate_force, err)
                         : log_may_truncate(b, res, v->truncate_until, v->truncate_force, err);
}

void log_configured(struct brain *b, struct res *res, struct record *next, const struct view *v)
{
    wish_truncate(b, res, next->log, v);
}

/* One that names no tenant is of all. */
static bool share_tenant(const struct view *one, const struct view *other)
{
    return strcmp(one->cluster, other->cluster) == 0 &&
           (one->tenant[0] == '\0' || other->tenant[0] == '\0' ||
            strcmp(one->tenant, other->tenant) == 0);
}

bool log_same_place(const struct res *other, const struct view *v)
{
    return log_is(other) && other->now.rec.phase != PHASE_STOPPED &&
           share_tenant(&other->view, v) && storage_place_equal(other->view.storage, v->storage);
}

/* Holds are named after tenant and task: a task of that name in another namespace would share it. */
static bool same_hold(const struct res *other, const struct view *v)
{
    return log_is(other) && !log_at_rest(other) && strcmp(other->view.name, v->name) == 0 &&
           share_tenant(&other->view, v);
}

int log_conflict(const struct brain *b, const struct view *v, const struct res *skip,
                 struct tm_err *err)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        const struct res *other = b->resources[at];
        if (other == skip)
            continue;
        if (log_same_place(other, v))
            return tm_err_set(err, TM_E_REFUSED,
                              "%s/%s: %s/%s stores the log of tenant '%s' of cluster '%s' there "
                              "already; stop it first, or choose another storage",
                              v->kind_text, v->name, other->now.rec.kind, other->now.rec.name,
                              v->tenant[0] != '\0' ? v->tenant : tenant_of(b, other), v->cluster);
        if (same_hold(other, v))
            return tm_err_set(err, TM_E_REFUSED,
                              "%s/%s: namespace '%s' has a log backup of this name and tenant; "
                              "choose another name",
                              v->kind_text, v->name, other->view.namespace_);
    }
    return 0;
}

bool log_is_shared(const struct brain *b, const char *cluster, const char *tenant,
                   const char *storage)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        const struct res *res = b->resources[at];
        const struct record *rec = &res->now.rec;
        if (log_is(res) && rec->phase == PHASE_RUNNING && rec->step == JOB_STEP_RUN &&
            !rec->deleting && strcmp(rec->cluster, cluster) == 0 &&
            strcmp(rec->tenant, tenant) == 0 &&
            storage_place_equal(log_text(rec->storage), storage))
            return true;
    }
    return false;
}

bool log_failed(const struct res *res)
{
    const struct record *rec = &res->now.rec;
    return rec->phase == PHASE_FAIL || (rec->log != NULL && rec->log->truncate_error != NULL);
}

void log_again(struct brain *b, struct res *res, struct record *next)
{
    if (next->phase == PHASE_FAIL)
        log_restart(b, res, next);
    if (next->log->truncate_error == NULL)
        return;
    next->log->truncate_error = NULL;
    next->log->truncate_gen++;
}

int log_retry(struct brain *b, struct res *res, uint64_t cmd, struct tm_err *err)
{
    const struct record *rec = &res->now.rec;
    struct res *const *parts = NULL;
    size_t count = parts_is(res) ? store_parts(b, res, &parts) : 0;
    if (parts_is(res) ? !log_parts_failed(parts, count) : !log_failed(res))
        return tm_err_set(err, TM_E_REFUSED, "%s/%s did not fail", rec->kind, rec->name);
    struct record *next = persist_stage(b, res);
    if (next == NULL)
        return tm_err_oom(err);
    if (parts_is(res))
        next->attempt++; /* its parts see that they are to go on */
    else
        log_again(b, res, next);
    res->cmd = cmd;
    res->outcome = BRAIN_DONE;
    persist_submit(b, res);
    return 0;
}

/* ---- assigned ---- */

static uint32_t holder_roles(const struct res *res, const struct node *node)
{
    const struct record *rec = &res->now.rec;
    if (!log_holds(res, node))
        return 0;
    if (rec->phase == PHASE_STOPPED || rec->step == JOB_STEP_STOP)
        return JOB_ROLE_HOLD; /* whatever it is now, its hold must go */
    const struct msg_instance *instance = node_instance(node, rec->tenant);
    bool primary = instance != NULL && instance->error == NULL &&
                   instance->role != INSTANCE_STANDBY && instance->role != INSTANCE_UNKNOWN;
    return primary ? 0 : JOB_ROLE_HOLD;
}

uint32_t log_roles(const struct res *res, const struct node *node)
{
    const struct record *rec = &res->now.rec;
    if (rec->phase == PHASE_SCHEDULED || strcmp(node->cluster, rec->cluster) != 0)
        return 0;
    if (!job_is_lead(res, node))
        return holder_roles(res, node);
    if (rec->phase == PHASE_STOPPED)
        return log_holds(res, node) || log_works_on(res) ? JOB_ROLE_LEAD : 0;
    return rec->phase == PHASE_FAIL ? 0 : JOB_ROLE_LEAD;
}

void log_assign(struct brain *b, const struct res *res, const struct node *node, uint32_t roles,
                struct msg_assignment *to)
{
    const struct record *rec = &res->now.rec;
    const struct log_live *live = res->live->log;
    struct tm_err ignored;
    to->log = brain_step_alloc(b, sizeof(*to->log));
    if (to->log == NULL)
        return;
    *to->log = *res->view.log;
    to->step = rec->phase == PHASE_STOPPED ? JOB_STEP_STOP : rec->step;
    to->log->paused_us = to->step == JOB_STEP_PAUSE ? rec->log->paused_us : 0;
    /* the node has said so, or never had one: by now another task may have one of that name */
    to->log->hold_gone = rec->phase == PHASE_STOPPED && !log_holds(res, node);
    /* a lead takes an empty place for one that is not mounted */
    if ((roles & JOB_ROLE_LEAD) != 0)
        to->log->checkpoint = live->has_status ? live->status.durable : rec->log->durable;
    /* a hold follows it; what an earlier lead stored may be more than what the new one goes on from,
     * and a hold never moves back: it waits for the new one's own word */
    else if ((roles & JOB_ROLE_HOLD) != 0 && live->has_status &&
             strcmp(live->durable_of, rec->node) == 0)
        to->log->checkpoint = live->status.durable;
    if ((roles & JOB_ROLE_LEAD) != 0)
        assign_places(b, res, to->log);
    if ((roles & JOB_ROLE_LEAD) != 0 && log_truncating(res) && !rebuild_holds_back(b)) {
        to->log->truncate_gen = rec->log->truncate_gen;
        to->log->truncate_until = rec->log->truncate_until;
        to->log->truncate_force = rec->log->truncate_force;
        /* the wish may be older than the backups, or than the storage that is known to be the log's */
        to->log->truncate_blind = log_may_truncate(b, res, rec->log->truncate_until,
                                                   rec->log->truncate_force, &ignored) < 0;
    }
    if ((roles & JOB_ROLE_LEAD) != 0 && log_asked(res))
        to->log->query = &res->live->log->asked.query;
}
