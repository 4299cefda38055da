/*
 * What must always be true, judged from outside: from messages, from what became durable, from what
 * lies in storage.
 */
#include "tests/sim/sim.h"

#include "coordinator/brain/internal.h"
#include "proto/spec/status.h"

#include <inttypes.h>
#include <stdio.h>

#define LEASE_US SEC(5)

static struct oracle_job *job_find(struct world *w, const char *uid, uint32_t attempt)
{
    for (size_t at = 0; at < w->job_count; at++) {
        if (w->jobs[at].attempt == attempt && strcmp(w->jobs[at].uid, uid) == 0)
            return &w->jobs[at];
    }
    if (w->job_count == TM_ARRAY_LEN(w->jobs))
        sim_die("too many jobs", NULL);
    struct oracle_job *job = &w->jobs[w->job_count++];
    (void)snprintf(job->uid, sizeof(job->uid), "%s", uid);
    job->attempt = attempt;
    return job;
}

static bool older(uint64_t term, uint64_t counter, uint64_t than_term, uint64_t than_counter)
{
    return term < than_term || (term == than_term && counter < than_counter);
}

/* ---- leases and verdicts ----------------------------------------------------------------------------- */

static void saw_leases(struct world *w, uint32_t coord, const struct msg_ranges *ranges)
{
    const struct sim_coord *c = &w->coords[coord];
    struct oracle_job *job = job_find(w, ranges->uid, ranges->attempt);
    for (size_t at = 0; at < ranges->leases_count; at++) {
        const struct msg_lease *lease = &ranges->leases[at];
        if (lease->range >= SIM_RANGES_MAX) {
            sim_violate(w, "lease of range %u, which does not exist", lease->range);
            return;
        }
        struct oracle_range *range = &job->ranges[lease->range];
        sim_log(w, "lease %s range %u epoch %" PRIu64 ".%" PRIu64 "%s", job->uid, lease->range,
                lease->term, lease->counter, lease->shared ? " shared" : "");
        /* with that bug planted it is another one that is to be found: what is accepted then */
        if (range->stored && !c->zombie && w->coord_plant != BRAIN_PLANT_STORED_LATE)
            sim_violate(w, "range %u is leased, and the lead knew that it is stored", lease->range);
        bool worked_before = range->fresh_life != 0 && range->fresh_life != c->life;
        if (worked_before && w->now_us < c->started_us + LEASE_US)
            sim_violate(w, "range %u leased anew %" PRIu64 " ms after the coordinator's start",
                        lease->range, (w->now_us - c->started_us) / 1000);
        if (!lease->shared) {
            range->fresh_term = lease->term;
            range->fresh_counter = lease->counter;
            range->fresh_life = c->life;
        }
    }
}

void oracle_known(struct world *w, const struct sim_runner *r, uint32_t range)
{
    if (range < SIM_RANGES_MAX)
        job_find(w, r->uid, r->attempt)->ranges[range].stored = true;
}

static bool was_accepted(const struct oracle_range *range, uint64_t term, uint64_t counter)
{
    for (size_t at = 0; at < range->accepted_count; at++) {
        if (range->accepted_term[at] == term && range->accepted_counter[at] == counter)
            return true;
    }
    return false;
}

static void accept(struct world *w, uint64_t coord_life, struct oracle_range *range,
                   const struct msg_verdict *v)
{
    if (was_accepted(range, v->term, v->counter))
        return;
    if (range->fresh_life == coord_life &&
        older(v->term, v->counter, range->fresh_term, range->fresh_counter))
        sim_violate(w,
                    "stale epoch %" PRIu64 ".%" PRIu64 " of range %u accepted; %" PRIu64 ".%" PRIu64
                    " was granted",
                    v->term, v->counter, v->range, range->fresh_term, range->fresh_counter);
    if (range->accepted_count == ORACLE_ACCEPTED_MAX)
        return;
    range->accepted_term[range->accepted_count] = v->term;
    range->accepted_counter[range->accepted_count++] = v->counter;
}

static void saw_verdicts(struct world *w, uint64_t coord_life, const struct msg_verdicts *verdicts)
{
    struct oracle_job *job = job_find(w, verdicts->uid, verdicts->attempt);
    for (size_t at = 0; at < verdicts->verdicts_count; at++) {
        const struct msg_verdict *v = &verdicts->verdicts[at];
        if (v->range >= SIM_RANGES_MAX)
            continue;
        struct oracle_range *range = &job->ranges[v->range];
        sim_log(w, "verdict %s range %u epoch %" PRIu64 ".%" PRIu64 ": %s", job->uid, v->range,
                v->term, v->counter,
                v->verdict == VERDICT_ACCEPTED ? "accepted"
                : v->verdict == VERDICT_STALE  ? "stale"
                                               : "later");
        if (v->verdict == VERDICT_ACCEPTED)
            accept(w, coord_life, range, v);
    }
}

/* ---- durability ------------------------------------------------------------------------------------------ */

bool oracle_record(struct world *w, const char *key, struct record *ret, struct codec_arena *arena)
{
    struct tm_err err;
    for (size_t at = 0; at < w->store.count; at++) {
        if (strcmp(w->store.entries[at].key, key) == 0)
            return codec_decode(&record_codec, buf_slice(&w->store.entries[at].value), arena, ret,
                                &err) == 0;
    }
    return false;
}

void oracle_part_key(char key[160], const char *name, const char *tenant)
{
    (void)snprintf(key, 160, BRAIN_PART_PREFIX "Backup/default/%s/%s", name, tenant);
}

/* Of a backup of several tenants: it is Complete with the last of them, and goes behind the last of them;
 * there are no others than it says. */
static void check_whole(struct world *w, const char *key, const struct record *whole)
{
    for (size_t at = 0; whole != NULL && at < whole->parts_count; at++) {
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct record part;
        char named[160];
        oracle_part_key(named, whole->name, whole->parts[at]);
        bool there = oracle_record(w, named, &part, &arena);
        if (whole->phase == PHASE_COMPLETE && !whole->deleting &&
            (!there || part.phase != PHASE_COMPLETE))
            sim_violate(w, "'%s' is Complete and tenant '%s' of it is not", whole->name,
                        whole->parts[at]);
    }
    char prefix[160];
    const char *name = key + strlen(BRAIN_KEY_PREFIX "Backup/default/");
    oracle_part_key(prefix, name, "");
    for (size_t at = 0; at < w->store.count; at++) {
        const char *other = w->store.entries[at].key;
        size_t len = strlen(prefix);
        if (strncmp(other, prefix, len) != 0)
            continue;
        bool its = false;
        for (size_t n = 0; whole != NULL && n < whole->parts_count; n++)
            its = its || strcmp(whole->parts[n], other + len) == 0;
        if (!its)
            sim_violate(w, "'%s' is %s, and there is a record of its tenant '%s'", name,
                        whole == NULL ? "gone" : "not of that tenant", other + len);
    }
}

/* What agents are told to do must be durable: the next coordinator must know it. */
static void saw_desired(struct world *w, uint32_t coord, const struct msg_desired *desired)
{
    if (w->coords[coord].zombie)
        return; /* its record may be gone; the agents find out by its term */
    for (size_t at = 0; at < desired->jobs_count; at++) {
        const struct msg_assignment *job = &desired->jobs[at];
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct record rec;
        char key[160];
        const char *kind = job->kind == JOB_KIND_RESTORE ? "Restore" : "Backup";
        (void)snprintf(key, sizeof(key), BRAIN_KEY_PREFIX "%s/default/%s", kind, job->name);
        bool there = oracle_record(w, key, &rec, &arena);
        if (there && rec.parts_count > 0) { /* its tenant's part is the job */
            oracle_part_key(key, job->name, job->tenant);
            there = oracle_record(w, key, &rec, &arena);
        }
        if (!there)
            sim_violate(w, "job '%s' is desired and not durable", job->name);
        else if (rec.attempt != job->attempt ||
                 (job->kind != JOB_KIND_DELETE && rec.step != job->step))
            sim_violate(w, "job '%s': step %u is desired, %u is durable", job->name, job->step,
                        rec.step);
    }
}

void oracle_reply(struct world *w, uint32_t coord, const struct message *m)
{
    if (m->term != w->coords[coord].term)
        sim_violate(w, "a reply carries term %" PRIu64 ", its coordinator has %" PRIu64, m->term,
                    w->coords[coord].term);
    if (m->type == MESSAGE_ranges)
        saw_leases(w, coord, &m->ranges);
    else if (m->type == MESSAGE_verdicts)
        saw_verdicts(w, w->coords[coord].life, &m->verdicts);
    else if (m->type == MESSAGE_desired)
        saw_desired(w, coord, &m->desired);
}

void oracle_answer(struct world *w, uint64_t cmd, enum brain_outcome outcome,
                   const struct tm_err *err)
{
    for (size_t at = 0; at < w->want_count; at++) {
        struct sim_want *want = &w->wants[at];
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct record rec;
        char key[160];
        (void)snprintf(key, sizeof(key), BRAIN_KEY_PREFIX "%s/default/%s",
                       want->restore ? "Restore" : "Backup", want->name);
        bool durable = oracle_record(w, key, &rec, &arena);
        if (want->cmd == cmd) {
            sim_log(w, "apply %s: %s", want->name, err != NULL ? err->msg : "done");
            if (err == NULL && !durable && !want->delete_answered)
                sim_violate(w, "'%s created' was answered and is not durable", want->name);
            want->answered = want->answered || err == NULL;
        }
        if (want->delete_cmd == cmd) {
            sim_log(w, "delete %s: %s", want->name, err != NULL ? err->msg : "done");
            bool gone = err != NULL && err->code == TM_E_NOT_FOUND;
            if (err == NULL && durable && !(outcome == BRAIN_DELETING && rec.deleting))
                sim_violate(w, "'%s deleted' was answered and is not durable", want->name);
            want->delete_answered = want->delete_answered || err == NULL || gone;
        }
    }
}

/* ---- storage ------------------------------------------------------------------------------------------------ */

static void check_end(struct world *w, const struct record *rec)
{
    struct sim_backup *backup = depot_find(w, rec->backup_id, false);
    bool manifest = backup != NULL && backup->manifest;
    if (rec->backup_id[0] == '\0')
        return;
    if (rec->phase == PHASE_COMPLETE && !manifest && !rec->deleting && !w->rolled_back)
        sim_violate(w, "'%s' is Complete and has no manifest", rec->name);
    if (rec->phase == PHASE_FAILED && manifest && !rec->leftovers && !rec->resumable)
        sim_violate(w, "'%s' Failed and its manifest is stored", rec->name);
}

/* What is aborted is not gone on with in this attempt: its lead is told to forget what it knew, though the word of
 * that may be lost with the state. */
static void forget_known(struct world *w, const struct record *rec)
{
    struct oracle_job *job = job_find(w, rec->job, rec->attempt);
    for (size_t at = 0; at < TM_ARRAY_LEN(job->ranges); at++)
        job->ranges[at].stored = false;
}

void oracle_stored(struct world *w, const char *key, struct slice value)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct record rec;
    struct tm_err err;
    bool backup = strncmp(key, BRAIN_KEY_PREFIX "Backup/", strlen(BRAIN_KEY_PREFIX "Backup/")) == 0;
    if (value.len == 0) {
        sim_log(w, "durable: %s removed", key);
        if (backup)
            check_whole(w, key, NULL);
        lineages_gone(w, key);
        return;
    }
    if (codec_decode(&record_codec, value, &arena, &rec, &err) < 0)
        sim_die("a stored record does not decode", &err);
    sim_log(w, "durable: %s phase %u step %u attempt %u%s%s%s", key, rec.phase, rec.step,
            rec.attempt, rec.deleting ? " deleting" : "", rec.error != NULL ? ": " : "",
            rec.error != NULL ? rec.error->text : "");
    if (backup && rec.step == JOB_STEP_ABORT && rec.job[0] != '\0')
        forget_known(w, &rec);
    check_end(w, &rec);
    if (backup)
        check_whole(w, key, &rec);
    if (rec.log != NULL && rec.job[0] != '\0')
        lineages_phase(w, key, &rec);
    if (rec.log != NULL && rec.parts_count > 0)
        whole_check_stored(w, &rec);
    if (rec.phase == PHASE_FAIL && !source_was_broken(w, rec.tenant))
        sim_violate(w, "log task '%s' is Fail: %s", rec.name,
                    rec.error != NULL ? rec.error->text : "");
    w->counts.completed += rec.phase == PHASE_COMPLETE && !rec.deleting;
    bool last = false;
    for (size_t at = 0; at < w->want_count; at++)
        last = last || (w->wants[at].last && strcmp(w->wants[at].name, rec.name) == 0);
    if (last && backup && w->profile.tenants && rec.phase == PHASE_COMPLETE && rec.parts_count != 2)
        sim_violate(w, "'%s' is Complete with %zu of two tenants", rec.name, rec.parts_count);
    if (last && rec.phase == PHASE_FAILED)
        sim_violate(w, "'%s' Failed though the faults were over: %s", rec.name,
                    rec.error != NULL ? rec.error->text : "");
    w->counts.failed += rec.phase == PHASE_FAILED && !rec.deleting;
    if (rec.phase == PHASE_FAILED && w->profile.benign && !rec.deleting)
        sim_violate(w, "'%s' Failed though nothing happened that may fail it: %s", rec.name,
                    rec.error != NULL ? rec.error->text : "");
}

/* Of the model: the object is there, and begins where the one before ended. */
static bool check_object(struct world *w, const struct sim_backup *backup,
                         const struct sim_object *entry, int *key)
{
    const struct sim_object *object =
        depot_object(backup, entry->range, entry->term, entry->counter);
    if (object == NULL) {
        sim_violate(w,
                    "manifest names range %u, epoch %" PRIu64 ".%" PRIu64 ", which is not stored",
                    entry->range, entry->term, entry->counter);
        return false;
    }
    if (object->start != *key) {
        sim_violate(w, "manifest: key %d is covered %s", *key,
                    object->start > *key ? "by nothing" : "twice");
        return false;
    }
    *key = object->end;
    return true;
}

/* Every key exactly once, by an object that exists, under an epoch that was accepted. */
void oracle_manifest(struct world *w, const char *uid, const struct sim_backup *backup)
{
    int key = 0;
    const struct oracle_job *job = NULL;
    for (size_t at = 0; at < w->job_count; at++) {
        if (strcmp(w->jobs[at].uid, uid) == 0)
            job = &w->jobs[at];
    }
    for (size_t at = 0; at < backup->entry_count; at++) {
        const struct sim_object *entry = &backup->entries[at];
        if (!w->profile.real && !check_object(w, backup, entry, &key))
            return;
        const struct oracle_range *range = job != NULL ? &job->ranges[entry->range] : NULL;
        if (range == NULL || !was_accepted(range, entry->term, entry->counter)) {
            sim_violate(w, "manifest: epoch %" PRIu64 ".%" PRIu64 " of range %u was never accepted",
                        entry->term, entry->counter, entry->range);
            return;
        }
    }
    if (!w->profile.real && key != SIM_KEYS)
        sim_violate(w, "manifest: keys from %d on are covered by nothing", key);
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static bool is_short(const struct world *w, const char *name)
{
    for (size_t at = 0; at < w->want_count; at++) {
        if (strcmp(w->wants[at].name, name) == 0)
            return w->wants[at].short_ttl;
    }
    return false;
}

/* Checkpoints go with their time, or with the backup; those whose job is forgotten nobody knows. */
static bool checkpoints_settled(struct world *w)
{
    for (size_t at = 0; at < w->backup_count; at++) {
        const struct sim_backup *backup = &w->backups[at];
        if ((!backup->checkpoint && backup->object_count == 0) || backup->manifest ||
            backup->marked_us != 0 || w->rolled_back)
            continue;
        const char *why = "no job has it";
        for (size_t n = 0; n < w->store.count && why != NULL; n++) {
            TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
            struct record rec;
            if (!oracle_record(w, w->store.entries[n].key, &rec, &arena) ||
                strcmp(rec.backup_id, backup->id) != 0)
                continue;
            why = "its job cannot go on";
            if (!rec.resumable)
                continue;
            if (is_short(w, rec.name))
                return false;
            why = NULL;
        }
        if (why != NULL)
            sim_violate(w, "a checkpoint of backup %s stays for ever: %s", backup->id, why);
    }
    return true;
}

/* What nobody could sweep is tried again, until somebody can. */
static bool leftovers_settled(struct world *w)
{
    for (size_t n = 0; n < w->store.count; n++) {
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct record rec;
        if (oracle_record(w, w->store.entries[n].key, &rec, &arena) && rec.leftovers)
            return false;
    }
    return true;
}

bool oracle_settled(struct world *w)
{
    uint32_t which;
    const struct sim_coord *c = coord_newest(w, &which);
    if (c == NULL)
        return false;
    for (size_t at = 0; at < w->want_count; at++) {
        const struct sim_want *want = &w->wants[at];
        if (want->deleted ? !want->delete_answered : !want->answered)
            return false;
    }
    size_t cursor = 0;
    struct brain_resource resource;
    while (brain_resource_next(c->brain, &cursor, &resource)) {
        if (!resource.deleting && resource.status->log.is_log) {
            if (!log_settled(w, &resource))
                return false;
            continue;
        }
        if (resource.deleting || (resource.status->phase != RESOURCE_COMPLETE &&
                                  resource.status->phase != RESOURCE_FAILED))
            return false;
    }
    return agent_holds_settled(w) && leftovers_settled(w) && checkpoints_settled(w);
}

void oracle_end(struct world *w)
{
    uint32_t which;
    const struct sim_coord *c = coord_newest(w, &which);
    if (w->violated)
        return;
    if (!oracle_settled(w)) {
        size_t cursor = 0;
        struct brain_resource resource;
        while (c != NULL && brain_resource_next(c->brain, &cursor, &resource)) {
            bool log_fine = resource.status->log.is_log && log_settled(w, &resource);
            if (!log_fine && resource.status->phase != RESOURCE_COMPLETE &&
                resource.status->phase != RESOURCE_FAILED)
                sim_violate(w, "job %s is %s for ever%s%s", resource.uid,
                            resource_phase_text(resource.status->phase),
                            resource.status->waiting[0] != '\0' ? ": " : "",
                            resource.status->waiting);
        }
        sim_violate(w, "the cluster does not settle");
        return;
    }
    agent_check_holds(w);
    for (size_t at = 0; at < w->store.count; at++) {
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct record rec;
        struct tm_err err;
        if (codec_decode(&record_codec, buf_slice(&w->store.entries[at].value), &arena, &rec,
                         &err) == 0)
            check_end(w, &rec);
    }
}
