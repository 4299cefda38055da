/*
 * The log in storage: lineages with their writers and chunks, read as proto/repo/logs.h says: a
 * newer writer voids what older ones stored beyond its start; what adjoins counts.
 *
 * Once a second all of it is looked at, and what the coordinator shows beside it:
 *   - a lineage has the bytes of one branch, whoever wrote them, and of its tenant
 *   - the checkpoint shown is not beyond what is stored; of several tenants: of none (wholes.c)
 *   - a hold is not let go beyond what is stored (streams.c)
 *   - what was paused, stopped or deleted is not written any more
 */
#include "tests/sim/sim.h"

#include "coordinator/brain/internal.h"
#include "proto/spec/status.h"

#include <inttypes.h>
#include <stdio.h>

#define QUIET_US SEC(26) /* after a task stopped, when nobody is cut off any more */
#define HEARD_US                                                                                   \
    SEC(20) /* after the start of a coordinator that knows: runners may end what they do */

bool sim_epoch_above(struct sim_epoch a, struct sim_epoch b)
{
    return a.term != b.term ? a.term > b.term : a.counter > b.counter;
}

static bool fenced(const struct sim_lineage *l, const struct sim_chunk *chunk)
{
    for (size_t at = 0; at < l->writer_count; at++) {
        const struct sim_writer *writer = &l->writers[at];
        if (sim_epoch_above(writer->epoch, chunk->epoch) && chunk->to > writer->from)
            return true;
    }
    return false;
}

struct sim_epoch lineage_newest_epoch(const struct sim_lineage *l)
{
    struct sim_epoch newest = {0};
    for (size_t at = 0; at < l->writer_count; at++) {
        if (sim_epoch_above(l->writers[at].epoch, newest))
            newest = l->writers[at].epoch;
    }
    return newest;
}

/* The chunk that counts at `at`: of the highest epoch; NULL = none. */
static const struct sim_chunk *chunk_at(const struct sim_lineage *l, uint64_t at)
{
    const struct sim_chunk *best = NULL;
    for (size_t n = 0; n < l->chunk_count; n++) {
        const struct sim_chunk *chunk = &l->chunks[n];
        if (chunk->from == at && !fenced(l, chunk) &&
            (best == NULL || sim_epoch_above(chunk->epoch, best->epoch)))
            best = chunk;
    }
    return best;
}

uint64_t lineage_end(const struct sim_lineage *l)
{
    uint64_t end = l->from;
    for (const struct sim_chunk *chunk; (chunk = chunk_at(l, end)) != NULL;)
        end = chunk->to;
    return end;
}

static void *grow(void *items, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return items;
    *cap = *cap == 0 ? 64 : *cap * 2;
    items = realloc(items, *cap * size);
    if (items == NULL)
        sim_die("lineage", NULL);
    return items;
}

uint32_t lineage_new(struct world *w, const char *tenant, uint32_t branch, uint64_t from)
{
    if (w->lineage_count == SIM_LINEAGES_MAX)
        sim_die("too many lineages", NULL);
    struct sim_lineage *l = &w->lineages[w->lineage_count];
    *l = (struct sim_lineage){.branch = branch, .from = from};
    (void)snprintf(l->tenant, sizeof(l->tenant), "%s", tenant);
    sim_log(w, "lineage %zu of tenant '%s', branch %u begins at %" PRIu64, w->lineage_count, tenant,
            branch, from);
    return (uint32_t)w->lineage_count++;
}

void lineage_write(struct world *w, struct sim_lineage *l, struct sim_epoch epoch, uint64_t from,
                   const struct sim_runner *r)
{
    for (size_t at = 0; at < l->writer_count; at++) {
        const struct sim_epoch there = l->writers[at].epoch;
        if (there.term == epoch.term && there.counter == epoch.counter)
            sim_violate(w, "two writers of epoch %" PRIu64 ".%" PRIx64, epoch.term, epoch.counter);
    }
    l->writers = grow(l->writers, l->writer_count, &l->writer_cap, sizeof(*l->writers));
    l->writers[l->writer_count++] =
        (struct sim_writer){.epoch = epoch, .from = from, .runner = r->life};
    sim_log(w, "writer %" PRIu64 ".%" PRIx64 " of lineage %td from %" PRIu64 " on %s", epoch.term,
            epoch.counter, l - w->lineages, from, w->agents[r->agent].node);
}

/* ---- who should be quiet ---- */

static bool is_quiet(const struct sim_quiet *quiet)
{
    return quiet->stopped || quiet->paused;
}

static struct sim_quiet *quiet_of(struct world *w, const char *uid)
{
    for (size_t at = 0; at < w->quiet_count; at++) {
        if (strcmp(w->quiet[at].uid, uid) == 0)
            return &w->quiet[at];
    }
    return NULL;
}

void lineages_phase(struct world *w, const char *key, const struct record *rec)
{
    struct sim_quiet *quiet = quiet_of(w, rec->job);
    bool stopped = rec->phase == PHASE_STOPPED;
    bool paused = rec->phase == PHASE_PAUSE && rec->step == JOB_STEP_PAUSE;
    if (quiet == NULL && w->quiet_count == TM_ARRAY_LEN(w->quiet))
        sim_die("too many log tasks", NULL);
    if (quiet == NULL) {
        quiet = &w->quiet[w->quiet_count++];
        (void)snprintf(quiet->uid, sizeof(quiet->uid), "%s", rec->job);
    }
    (void)snprintf(quiet->key, sizeof(quiet->key), "%s", key);
    if (quiet->stopped && !stopped && !w->rolled_back)
        sim_violate(w, "log task %s was Stopped and is not any more", rec->job);
    if (!is_quiet(quiet) && (stopped || paused))
        quiet->since_us = w->now_us;
    quiet->stopped = stopped;
    quiet->paused = paused;
}

void lineages_gone(struct world *w, const char *key)
{
    for (size_t at = 0; at < w->quiet_count; at++) {
        struct sim_quiet *quiet = &w->quiet[at];
        if (strcmp(quiet->key, key) != 0 || quiet->stopped)
            continue;
        quiet->stopped = true;
        quiet->since_us = w->now_us;
    }
}

void lineage_put(struct world *w, struct sim_lineage *l, const struct sim_chunk *chunk,
                 const struct sim_runner *r)
{
    const struct sim_quiet *quiet = quiet_of(w, r->uid);
    uint32_t which;
    const struct sim_coord *c = coord_newest(w, &which);
    uint64_t calm_us = TM_MAX(w->profile.faults_until_us, quiet != NULL ? quiet->since_us : 0);
    if (quiet != NULL && is_quiet(quiet) && c != NULL && w->now_us > calm_us + QUIET_US &&
        w->now_us > c->started_us + HEARD_US)
        sim_violate(w, "log task %s is paused, Stopped or gone, and still writes", r->uid);
    if (strcmp(w->branches[chunk->branch].tenant, l->tenant) != 0)
        sim_violate(w, "log of tenant '%s' is stored as that of tenant '%s'",
                    w->branches[chunk->branch].tenant, l->tenant);
    l->chunks = grow(l->chunks, l->chunk_count, &l->chunk_cap, sizeof(*l->chunks));
    l->chunks[l->chunk_count++] = *chunk;
}

/* ---- what must be true ---- */

static void check_bytes(struct world *w, uint32_t which)
{
    const struct sim_lineage *l = &w->lineages[which];
    uint64_t end = l->from;
    for (const struct sim_chunk *chunk; (chunk = chunk_at(l, end)) != NULL; end = chunk->to) {
        if (source_same_until(w, chunk->branch, l->branch) < chunk->to) {
            sim_violate(
                w, "lineage %u of branch %u has bytes of branch %u from %" PRIu64 " to %" PRIu64,
                which, l->branch, chunk->branch, chunk->from, chunk->to);
            return;
        }
    }
}

/* All that was flushed when the checkpoint says so must be stored. */
void lineages_check_shown(struct world *w, const struct resource_status *s)
{
    uint32_t which;
    uint64_t durable;
    if (s->log.checkpoint_us == 0 || sscanf(s->lineage, "%u", &which) != 1 ||
        sscanf(s->log.position, "%" SCNu64, &durable) != 1 || which >= w->lineage_count)
        return;
    const struct sim_lineage *l = &w->lineages[which];
    uint64_t end = lineage_end(l);
    uint64_t at_us = (uint64_t)s->log.checkpoint_us - SIM_REAL_US;
    if (strcmp(l->tenant, s->tenant) != 0)
        sim_violate(w, "lineage %u is shown of tenant '%s', it is of tenant '%s'", which, s->tenant,
                    l->tenant);
    if (durable > end)
        sim_violate(w, "position %" PRIu64 " is shown, lineage %u ends at %" PRIu64, durable, which,
                    end);
    else if (source_flushed(w, l->branch, at_us) > end)
        sim_violate(w,
                    "checkpoint %" PRIu64 " us is shown: %" PRIu64 " was flushed then, lineage %u "
                    "ends at %" PRIu64,
                    at_us, source_flushed(w, l->branch, at_us), which, end);
}

void lineages_watch(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    sim_at(w, SEC(1), lineages_watch);
    for (uint32_t at = 0; at < w->lineage_count; at++)
        check_bytes(w, at);
    const struct sim_coord *c = coord_newest(w, NULL);
    size_t cursor = 0;
    struct brain_resource resource;
    while (c != NULL && brain_resource_next(c->brain, &cursor, &resource)) {
        if (!resource.status->log.is_log)
            continue;
        if (resource.status->tenant_count > 0)
            whole_check_shown(w, resource.status);
        else
            lineages_check_shown(w, resource.status);
    }
}

/* Of what agents were told of this tenant, nothing is newer than this of this one. */
static bool is_newest(const struct world *w, const struct sim_agent *a,
                      const struct msg_assignment *job)
{
    for (uint32_t agent = 0; agent < w->profile.agents; agent++) {
        const struct sim_agent *other = &w->agents[agent];
        for (size_t at = 0; at < other->log_job_count; at++) {
            struct sim_epoch theirs = {other->log_jobs_term, other->log_jobs[at].attempt};
            struct sim_epoch mine = {a->log_jobs_term, job->attempt};
            bool same = strcmp(other->log_jobs[at].tenant, job->tenant) == 0;
            if (other != a && same && sim_epoch_above(theirs, mine))
                return false;
        }
    }
    return true;
}

static bool told_to_stream(const struct world *w, const struct sim_agent *a)
{
    for (size_t at = 0; at < a->log_job_count; at++) {
        const struct msg_assignment *job = &a->log_jobs[at];
        if ((job->roles & JOB_ROLE_LEAD) && job->step == JOB_STEP_RUN && is_newest(w, a, job))
            return true;
    }
    return false;
}

void lineages_alone(struct world *w, struct sim_arg *arg)
{
    for (uint32_t agent = 0; agent < w->profile.agents; agent++) {
        const struct sim_agent *a = &w->agents[agent];
        if (!a->alive || a->started_us > arg->a || !a->db.primary ||
            source_was_broken(w, a->tenant) || !told_to_stream(w, a))
            continue;
        uint64_t end = 0;
        for (size_t at = 0; at < w->lineage_count; at++) {
            if (w->lineages[at].branch == a->db.branch)
                end = TM_MAX(end, lineage_end(&w->lineages[at]));
        }
        uint64_t flushed = source_flushed(w, a->db.branch, arg->a);
        sim_log(w, "agent %s alone: %" PRIu64 " of %" PRIu64, a->node, end, flushed);
        if (end < flushed)
            sim_violate(w, "without a coordinator %s has stored %" PRIu64 " of %" PRIu64, a->node,
                        end, flushed);
    }
}

void lineages_release(struct world *w)
{
    for (size_t at = 0; at < w->lineage_count; at++) {
        free(w->lineages[at].writers);
        free(w->lineages[at].chunks);
    }
    for (size_t at = 0; at < SIM_AGENTS_MAX; at++)
        codec_arena_release(&w->agents[at].log_jobs_arena);
}
