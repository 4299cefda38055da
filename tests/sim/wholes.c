/*
 * Log backups of several tenants, judged from outside: each tenant's log is checked as if it were alone
 * (lineages.c), and what is shown of all of them beside it.
 *
 *   - the checkpoint of the whole is not beyond what is stored of any of its tenants, and there is none
 *     as long as one of them has none
 *   - the whole is Stopped when all of its parts are, and not before
 *   - nothing is shown as truncated that is not, of any of its tenants
 *   - when all is well again every tenant of the cluster has its part, which does what is wished; of one
 *     whose log cannot be read the whole says so, and the others do not mind
 */
#include "tests/sim/sim.h"

#include "coordinator/brain/internal.h"
#include "proto/spec/status.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- shown ---- */

static const struct resource_status *tenant_in(const struct resource_status *s, const char *tenant)
{
    for (size_t at = 0; at < s->tenant_count; at++) {
        if (strcmp(s->tenants[at]->tenant, tenant) == 0)
            return s->tenants[at];
    }
    return NULL;
}

/* What was flushed at that moment is stored of this tenant, in the lineage that is shown of it. */
static void check_tenant(struct world *w, const struct resource_status *one, int64_t checkpoint_us)
{
    uint32_t which;
    if (sscanf(one->lineage, "%u", &which) != 1 || which >= w->lineage_count) {
        sim_violate(w, "a checkpoint of all tenants is shown, and no lineage of tenant '%s'",
                    one->tenant);
        return;
    }
    const struct sim_lineage *l = &w->lineages[which];
    uint64_t flushed = source_flushed(w, l->branch, (uint64_t)checkpoint_us - SIM_REAL_US);
    if (flushed > lineage_end(l))
        sim_violate(w,
                    "checkpoint %" PRId64 " us of all tenants is shown: tenant '%s' had flushed "
                    "%" PRIu64 " then, its lineage %u ends at %" PRIu64,
                    checkpoint_us - (int64_t)SIM_REAL_US, one->tenant, flushed, which,
                    lineage_end(l));
}

void whole_check_shown(struct world *w, const struct resource_status *s)
{
    for (size_t at = 0; at < s->tenant_count; at++) {
        const char *tenant = s->tenants[at]->tenant;
        lineages_check_shown(w, s->tenants[at]);
        if (s->log.truncated_us > *source_truncated(w, tenant))
            sim_violate(w, "log is shown as truncated of all tenants, that of '%s' is not", tenant);
        if (s->log.checkpoint_us != 0)
            check_tenant(w, s->tenants[at], s->log.checkpoint_us);
    }
}

/* ---- durable ---- */

void whole_check_stored(struct world *w, const struct record *whole)
{
    if (whole->phase != PHASE_STOPPED || w->rolled_back) /* then parts may be to come yet */
        return;
    for (size_t at = 0; at < whole->parts_count; at++) {
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct record part;
        char key[160];
        oracle_part_key(key, whole->name, whole->parts[at]);
        if (!oracle_record(w, key, &part, &arena) || part.phase != PHASE_STOPPED)
            sim_violate(w, "log backup '%s' is Stopped, and tenant '%s' of it is not", whole->name,
                        whole->parts[at]);
    }
}

/* ---- the end ---- */

static bool is_wish(const char *wish, const char *subcommand)
{
    return strcmp(wish, subcommand) == 0;
}

static const struct sim_want *want_of(const struct world *w, const char *name)
{
    static const struct sim_want forgotten = {.subcommand = "log-start"};
    for (size_t at = 0; at < w->want_count; at++) {
        if (strcmp(w->wants[at].name, name) == 0)
            return &w->wants[at];
    }
    return &forgotten;
}

/* Of one that never began, or gave up, nobody can. */
static bool is_truncated(const struct record *rec, const struct sim_want *want)
{
    bool idle = rec->phase == PHASE_SCHEDULED || rec->phase == PHASE_FAIL;
    int64_t until_us = (int64_t)(SIM_REAL_US + SEC(want->truncate_s));
    return want->truncate_s == 0 || idle ||
           (rec->log->truncated_gen == rec->log->truncate_gen &&
            rec->log->truncated_us >= until_us);
}

/* Who looks at this sees what is wrong, and whose log it is. */
static bool says_broken(const struct world *w, const struct resource_status *s)
{
    char named[64];
    const char *message = "";
    for (size_t at = 0; at < s->condition_count; at++) {
        if (s->conditions[at].type == s->phase)
            message = s->conditions[at].message;
    }
    (void)snprintf(named, sizeof(named), "tenant '%s': ", w->profile.broken);
    const char *error = s->has_error ? s->error.message : "";
    bool whose = s->tenant_count == 0 || strstr(error, named) == error;
    bool fail = !w->profile.broken_fails ||
                (s->phase == RESOURCE_FAIL && strstr(message, "its log cannot be read") != NULL);
    return whose && fail && strstr(error, "its log cannot be read") != NULL;
}

/* One tenant's log. */
static bool one_settled(const struct world *w, const struct record *rec,
                        const struct resource_status *s, const struct sim_want *want)
{
    const char *wish = want->subcommand;
    if (!is_truncated(rec, want))
        return false;
    if (is_wish(wish, "log-stop"))
        return rec->phase == PHASE_STOPPED && rec->log->holders_count == 0;
    bool paused = rec->phase == PHASE_PAUSE || rec->phase == PHASE_SCHEDULED;
    if (is_wish(wish, "log-pause") && paused)
        return true;
    if (source_broken(w, s->tenant)) /* also when it broke before it was paused */
        return says_broken(w, s);
    if (is_wish(wish, "log-pause"))
        return false;
    uint64_t well_us = SIM_REAL_US + w->profile.faults_until_us + FAULTS_CALM_US;
    return rec->phase == PHASE_RUNNING && rec->step == JOB_STEP_RUN &&
           (uint64_t)s->log.checkpoint_us >= well_us;
}

/* What is shown of the whole, when each of its parts is as it should be. */
static bool shown_settled(const struct world *w, const struct record *whole,
                          const struct resource_status *s, const char *wish)
{
    uint64_t well_us = SIM_REAL_US + w->profile.faults_until_us + FAULTS_CALM_US;
    if (is_wish(wish, "log-stop"))
        return whole->phase == PHASE_STOPPED && s->phase == RESOURCE_STOPPED;
    if (s->tenant_count != source_tenant_count(w) || whole->phase != PHASE_RUNNING)
        return false;
    /* Prepare: one is to begin when the log goes on */
    bool paused = s->phase == RESOURCE_PAUSE || s->phase == RESOURCE_PREPARE;
    if (is_wish(wish, "log-pause") && paused)
        return true;
    if (w->profile.broken != NULL && source_broken(w, w->profile.broken))
        return says_broken(w, s);
    return is_wish(wish, "log-start") && s->phase == RESOURCE_RUNNING &&
           (uint64_t)s->log.checkpoint_us >= well_us;
}

static bool whole_settled(struct world *w, const struct record *whole,
                          const struct resource_status *s, const struct sim_want *want)
{
    for (size_t at = 0; at < whole->parts_count; at++) {
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct record part;
        char key[160];
        oracle_part_key(key, whole->name, whole->parts[at]);
        const struct resource_status *one = tenant_in(s, whole->parts[at]);
        if (one == NULL || !oracle_record(w, key, &part, &arena) || part.log == NULL ||
            !one_settled(w, &part, one, want))
            return false;
    }
    return shown_settled(w, whole, s, want->subcommand);
}

bool log_settled(struct world *w, const struct brain_resource *resource)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct record rec;
    char key[160];
    const char *name = resource->spec->name;
    (void)snprintf(key, sizeof(key), BRAIN_KEY_PREFIX "Backup/default/%s", name);
    if (!oracle_record(w, key, &rec, &arena) || rec.log == NULL)
        return false;
    const struct sim_want *want = want_of(w, name);
    if (rec.parts_count > 0)
        return whole_settled(w, &rec, resource->status, want);
    bool lacks = resource->spec->backup.br.tenant == NULL && source_tenant_count(w) > 1;
    if (lacks && !is_wish(want->subcommand, "log-stop") && rec.phase != PHASE_SCHEDULED)
        return false; /* it is to be of several */
    return one_settled(w, &rec, resource->status, want);
}
