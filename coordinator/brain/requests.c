/*
 * What agents ask: plan in, leases out, verdicts, results to the lead.
 *
 * A verdict is given by epoch. A lease that is in the table wins. One that is not may still win when
 * it lapsed and the range was not granted again (the work is good all the same), or when it comes
 * from an earlier life of the coordinator and this one has not granted the range yet: what the
 * earlier one knew of shared and lapsed leases is lost, so to this one they are all equal.
 * Everything else is stale: somebody else has the range, or has done it.
 */
#include "coordinator/brain/internal.h"

#include <stdio.h>

#define RESULTS_BYTES_MAX ((size_t)512 * 1024) /* of blobs in one page */
#define SETTLE_US         2000000 /* after a restart: agents report their leases within two heartbeats */

/* ---- finding the job ------------------------------------------------------------------------------- */

struct asker {
    struct node *node;
    uint64_t ctx;
    uint64_t serial;
};

static void refuse(struct brain *b, const struct asker *who, const struct tm_err *err)
{
    brain_reply_error(b, who->node->conn, who->ctx, who->serial, err);
}

/* The live backup job this agent has one of `roles` in; otherwise the answer has been given. */
static struct res *job_for(struct brain *b, const struct asker *who, const char *uid,
                           uint32_t attempt, uint32_t roles)
{
    struct tm_err err;
    struct res *res = store_find_job(b, uid, attempt);
    if (res == NULL || res->live == NULL || res->view.kind != JOB_KIND_BACKUP ||
        (desired_roles(b, res, who->node) & roles) == 0) {
        (void)tm_err_set(&err, TM_E_NOT_FOUND, "job '%s' is not one of node '%s'", uid,
                         who->node->name);
        refuse(b, who, &err);
        return NULL;
    }
    brain_look_at(b, res);
    return res;
}

static struct message *reply(struct brain *b, const struct asker *who, enum message_type type)
{
    return brain_reply(b, who->node->conn, who->ctx, who->serial, type);
}

#define COPY_JOB(to, from)                                                                         \
    do {                                                                                           \
        memcpy((to)->uid, (from)->uid, sizeof((to)->uid));                                         \
        (to)->attempt = (from)->attempt;                                                           \
    } while (0)

/* ---- plan -------------------------------------------------------------------------------------------- */

static int plan_intake(struct brain *b, struct res *res, const struct msg_plan_ranges *plan,
                       struct tm_err *err)
{
    struct table *t = &res->live->table;
    if (t->complete || (t->gen_known && plan->gen < t->gen))
        return 0;
    if (!t->gen_known || plan->gen > t->gen)
        table_reset(t, plan->gen);
    int r = table_plan(t, plan->first, plan->ranges, plan->ranges_count, err);
    if (r < 0)
        return r;
    if (plan->first == 0 && plan->begin.len > 0) {
        buf_reset(&t->begin);
        r = buf_append_slice(&t->begin, plan->begin, err);
    }
    if (r == 0 && plan->last && plan->first + plan->ranges_count == t->count) {
        if (t->count == 0)
            return tm_err_set(err, TM_E_INVALID, "the plan is empty");
        t->complete = true;
        if (res->live->loaded)
            res->live->lease_from_us = TM_MAX(res->live->lease_from_us, b->now.mono_us + SETTLE_US);
        if (brain_plant(b, BRAIN_PLANT_ADOPT_NOTHING))
            res->live->lease_from_us = 0;
    }
    return r;
}

static void plan_ranges(struct brain *b, const struct asker *who,
                        const struct msg_plan_ranges *plan)
{
    struct res *res = job_for(b, who, plan->uid, plan->attempt, JOB_ROLE_LEAD);
    if (res == NULL)
        return;
    struct tm_err err;
    if (plan_intake(b, res, plan, &err) < 0) {
        job_fail(b, res, &err, "plan", who->node->name, 0);
        refuse(b, who, &err);
        return;
    }
    job_progress(b, res);
    struct message *m = reply(b, who, MESSAGE_plan_ack);
    if (m == NULL)
        return;
    COPY_JOB(&m->plan_ack, plan);
    m->plan_ack.gen = res->live->table.gen;
    m->plan_ack.next = (uint32_t)res->live->table.count;
    m->plan_ack.done = res->live->table.complete;
}

/* ---- leases -------------------------------------------------------------------------------------------- */

/* Whether work under an epoch that is in no lease of ours counts: nobody else can have the range. */
static bool acceptable(const struct brain *b, const struct table_range *range, struct epoch epoch)
{
    if (!range->granted) /* in this life: the first result of earlier ones wins */
        return epoch.term < b->term;
    return range->state == RANGE_FREE && epoch_cmp(epoch, range->newest) == 0;
}

static void adopt(struct brain *b, struct res *res, const struct node *node,
                  const struct msg_lease *lease)
{
    struct table *t = &res->live->table;
    struct epoch epoch = {lease->term, (uint32_t)lease->counter};
    if (lease->range >= t->count || table_lease_find(t, lease->range, epoch) != NULL ||
        t->ranges[lease->range].state != RANGE_FREE ||
        !acceptable(b, &t->ranges[lease->range], epoch) ||
        brain_plant(b, BRAIN_PLANT_ADOPT_NOTHING))
        return;
    struct table_lease *adopted;
    struct tm_err err;
    if (table_grant(t, lease->range, node->id, epoch, 0, b->now.mono_us, &adopted, &err) < 0)
        return; /* out of memory: its result will be judged by its epoch all the same */
}

static bool listed(const struct msg_job *report, const struct table_lease *lease)
{
    for (size_t at = 0; at < report->leases_count; at++) {
        const struct msg_lease *held = &report->leases[at];
        if (held->range == lease->range && held->term == lease->epoch.term &&
            held->counter == lease->epoch.counter)
            return true;
    }
    return false;
}

void request_leases(struct brain *b, struct res *res, struct node *node,
                    const struct msg_job *report)
{
    struct table *t = &res->live->table;
    if (!t->complete)
        return;
    uint32_t cursor = table_leases_begin(t, node->id);
    struct table_lease *lease;
    while ((lease = table_leases_next(t, &cursor)) != NULL) {
        if (lease->want_serial <= report->want_serial && !listed(report, lease) &&
            !brain_plant(b, BRAIN_PLANT_NO_RELEASE))
            table_drop_lease(t, lease);
    }
    if (job_excluded(res->live, node) || report->stage >= JOB_STAGE_COMMITTED)
        return;
    for (size_t at = 0; at < report->leases_count; at++)
        adopt(b, res, node, &report->leases[at]);
}

static bool grant(struct brain *b, struct res *res, const struct asker *who, size_t range,
                  struct msg_lease *to)
{
    struct table *t = &res->live->table;
    if (range == SIZE_MAX || b->epoch == UINT32_MAX)
        return false;
    struct epoch epoch = {b->term, ++b->epoch};
    to->shared = t->ranges[range].state == RANGE_LEASED;
    struct table_lease *lease;
    struct tm_err err;
    if (table_grant(t, (uint32_t)range, who->node->id, epoch, who->serial, b->now.mono_us, &lease,
                    &err) < 0)
        return false;
    t->ranges[range].granted = true;
    share_granted(b, res, who->node);
    to->range = lease->range;
    to->term = epoch.term;
    to->counter = epoch.counter;
    to->start = table_start(t, range);
    to->end = table_end(t, range);
    to->bytes = t->ranges[range].bytes;
    return true;
}

static size_t grant_some(struct brain *b, struct res *res, const struct asker *who, size_t want,
                         struct msg_lease *leases)
{
    struct table *t = &res->live->table;
    size_t held = table_leases_of(t, who->node->id);
    size_t room = held < WIRE_LEASES_MAX ? WIRE_LEASES_MAX - held : 0;
    size_t count = 0;
    size_t again = 0;
    enum table_which which = share_which(b, res, who->node);
    want = TM_MIN(want, room);
    while (count < want) {
        size_t range = table_next_free(t, which);
        bool granted = range != SIZE_MAX && t->ranges[range].granted;
        if (!grant(b, res, who, range, &leases[count]))
            break;
        again += granted;
        count++;
    }
    if (again > 0)
        brain_log(b, res, who->node->name, 5, BRAIN_LOG_RANGE_RELEASED,
                  "ranges leased anew to node '%s', as earlier leases ended without a result: %zu",
                  who->node->name, again);
    if (count > 0 || want == 0 || held > 0 || b->now.mono_us < brain_ms(b->config.lease_ms))
        return count;
    /* nothing is free and this node idles: it tries what another one is slow with */
    uint64_t before_us = b->now.mono_us - brain_ms(b->config.lease_ms);
    which = job_is_lead(res, who->node) ? TABLE_BOTH : which;
    if (grant(b, res, who, table_next_steal(t, who->node->id, before_us, which), &leases[0]))
        count = 1;
    return count;
}

static void want_ranges(struct brain *b, const struct asker *who,
                        const struct msg_want_ranges *want)
{
    struct res *res = job_for(b, who, want->uid, want->attempt, JOB_ROLE_WORKER);
    if (res == NULL)
        return;
    struct msg_lease *leases = brain_step_alloc(b, WIRE_LEASES_MAX * sizeof(*leases));
    struct message *m = reply(b, who, MESSAGE_ranges);
    if (m == NULL || leases == NULL)
        return;
    COPY_JOB(&m->ranges, want);
    struct table *t = &res->live->table;
    if (want->want_begin)
        m->ranges.begin = buf_slice(&t->begin);
    if (res->now.rec.step != JOB_STEP_RUN || !t->complete || res->live->has_failure)
        return;
    for (size_t at = 0; at < want->held_count; at++)
        adopt(b, res, who->node, &want->held[at]);
    if (b->now.mono_us < res->live->lease_from_us)
        return;
    m->ranges.leases = leases;
    m->ranges.leases_count = grant_some(b, res, who, want->count, leases);
}

/* ---- verdicts -------------------------------------------------------------------------------------------- */

static void note_problem(struct brain *b, struct res *res, const struct node *node,
                         const struct msg_result *result)
{
    struct live *live = res->live;
    if (result->counters == NULL || result->counters->problem == NULL || live->problem[0] != '\0')
        return;
    (void)snprintf(live->problem, sizeof(live->problem), "%s", result->counters->problem);
    brain_log(b, res, node->name, 3,
              result->counters->pages_corrupt > 0 ? BRAIN_LOG_PAGE_CORRUPT : BRAIN_LOG_PLAIN, "%s",
              result->counters->problem);
}

static enum verdict judge_failure(struct brain *b, struct res *res, const struct node *node,
                                  const struct msg_result *result)
{
    struct table *t = &res->live->table;
    struct epoch epoch = {result->term, (uint32_t)result->counter};
    struct table_lease *lease = table_lease_find(t, result->range, epoch);
    if (lease == NULL)
        return VERDICT_STALE;
    table_drop_lease(t, lease);
    struct table_range *range = &t->ranges[result->range];
    range->failures++;
    struct tm_err err;
    msg_error_to(result->error, &err);
    if (strncmp(err.msg, "range ", 6) != 0) /* the agent usually says which */
        (void)tm_err_prefix(&err, "range %u", result->range);
    brain_log(b, res, node->name, 4, BRAIN_LOG_PLAIN, "%s", err.msg);
    if (!result->error->retryable || range->failures >= RANGE_FAILURES_MAX) {
        job_fail(b, res, &err, "range", node->name, result->error->since_us);
    }
    return VERDICT_ACCEPTED;
}

static enum verdict judge(struct brain *b, struct res *res, const struct node *node,
                          const struct msg_result *result)
{
    struct table *t = &res->live->table;
    /* what earlier attempts did comes before the plan is complete, and may come again later */
    if (!t->complete && (!result->stored || result->range >= t->count))
        return VERDICT_LATER;
    if (result->range >= t->count || res->now.rec.step == JOB_STEP_ABORT)
        return VERDICT_STALE;
    struct table_range *range = &t->ranges[result->range];
    struct epoch epoch = {result->term, (uint32_t)result->counter};
    if (range->state == RANGE_DONE) {
        if (brain_plant(b, BRAIN_PLANT_DOUBLE_COUNT))
            table_count_again(t, result->range);
        if (epoch_cmp(range->newest, epoch) != 0 || result->error != NULL)
            return VERDICT_STALE;
        if (range->stored && !result->stored) {
            /* the lead told it first, after this coordinator was started */
            table_heard(t, result->range);
            share_note(b, res, node, range->result->bytes);
        }
        return VERDICT_ACCEPTED;
    }
    if (result->error != NULL)
        return judge_failure(b, res, node, result);
    const struct table_lease *lease = table_lease_find(t, result->range, epoch);
    bool good = lease != NULL ? lease->node == node->id : acceptable(b, range, epoch);
    if (result->stored)
        good = (job_is_lead(res, node) && range->state == RANGE_FREE && !range->granted) ||
               brain_plant(b, BRAIN_PLANT_STORED_LATE);
    if (brain_plant(b, BRAIN_PLANT_ACCEPT_STALE))
        good = true;
    if (brain_plant(b, BRAIN_PLANT_NO_FENCE) && epoch.term < b->term)
        good = true;
    if (!good)
        return VERDICT_STALE;
    struct tm_err err;
    if (table_done(t, result, &err) < 0) {
        job_fail(b, res, &err, "range", node->name, 0);
        return VERDICT_LATER;
    }
    if (!result->stored)
        share_note(b, res, node, result->counters != NULL ? result->counters->bytes : 0);
    note_problem(b, res, node, result);
    return VERDICT_ACCEPTED;
}

static void ranges_done(struct brain *b, const struct asker *who,
                        const struct msg_ranges_done *done)
{
    struct res *res = job_for(b, who, done->uid, done->attempt, JOB_ROLE_WORKER | JOB_ROLE_LEAD);
    if (res == NULL)
        return;
    struct msg_verdict *verdicts = brain_step_alloc(b, done->results_count * sizeof(*verdicts));
    struct message *m = reply(b, who, MESSAGE_verdicts);
    if (verdicts == NULL || m == NULL)
        return;
    COPY_JOB(&m->verdicts, done);
    for (size_t at = 0; at < done->results_count; at++) {
        const struct msg_result *result = &done->results[at];
        verdicts[at] = (struct msg_verdict){.range = result->range,
                                            .term = result->term,
                                            .counter = result->counter,
                                            .verdict = judge(b, res, who->node, result)};
    }
    m->verdicts.verdicts = verdicts;
    m->verdicts.verdicts_count = done->results_count;
    job_progress(b, res);
}

/* ---- results ---------------------------------------------------------------------------------------------- */

static struct msg_result result_of(const struct table *t, size_t at)
{
    const struct table_range *range = &t->ranges[at];
    return (struct msg_result){.range = (uint32_t)at,
                               .term = range->newest.term,
                               .counter = range->newest.counter,
                               .blob = slice_of(range->result->blob, range->result->blob_len)};
}

/* As they were accepted, for a checkpoint, and for a coordinator after this one. */
static void accepted_results(const struct table *t, const struct msg_want_results *want,
                             struct msg_result *page, struct msg_counters *counters,
                             struct msg_results *to)
{
    size_t bytes = 0;
    size_t at = want->from;
    to->accepted = true;
    to->results = page;
    for (; at < t->done_count && to->results_count < WIRE_RESULTS_MAX; at++) {
        const struct table_range *range = &t->ranges[t->order[at]];
        bytes += range->result->blob_len;
        if (to->results_count > 0 && bytes > RESULTS_BYTES_MAX)
            break;
        struct msg_counters *c = &counters[to->results_count];
        *c = (struct msg_counters){.bytes = range->result->bytes,
                                   .stored_bytes = range->result->stored_bytes,
                                   .files = range->result->files};
        page[to->results_count] = result_of(t, t->order[at]);
        page[to->results_count++].counters = c;
    }
    to->last = at >= t->done_count;
}

static void want_results(struct brain *b, const struct asker *who,
                         const struct msg_want_results *want)
{
    struct res *res = job_for(b, who, want->uid, want->attempt, JOB_ROLE_LEAD);
    if (res == NULL)
        return;
    struct msg_result *page = brain_step_alloc(b, WIRE_RESULTS_MAX * sizeof(*page));
    struct msg_counters *counters = brain_step_alloc(b, WIRE_RESULTS_MAX * sizeof(*counters));
    struct message *m = reply(b, who, MESSAGE_results);
    if (page == NULL || counters == NULL || m == NULL)
        return;
    COPY_JOB(&m->results, want);
    m->results.from = want->from;
    const struct table *t = &res->live->table;
    if (want->accepted) {
        accepted_results(t, want, page, counters, &m->results);
        return;
    }
    if (res->now.rec.step != JOB_STEP_FINISH || !t->complete || t->done_count < t->count) {
        m->results.not_ready = true;
        return;
    }
    size_t count = 0;
    size_t bytes = 0;
    for (size_t at = want->from; at < t->count && count < WIRE_RESULTS_MAX; at++) {
        const struct table_range *range = &t->ranges[at];
        if (range->result == NULL)
            continue; /* never without a planted bug: the count says all are done */
        bytes += range->result->blob_len;
        if (count > 0 && bytes > RESULTS_BYTES_MAX)
            break;
        page[count++] = result_of(t, at);
    }
    m->results.results = page;
    m->results.results_count = count;
    m->results.last = want->from + count >= t->count;
}

/* ---- together ----------------------------------------------------------------------------------------------- */

void request_run(struct brain *b, uint64_t conn, uint64_t ctx, const struct message *m)
{
    struct tm_err err;
    struct node *node = node_of_conn(b, conn);
    if (node == NULL) {
        (void)tm_err_set(&err, TM_E_PERMISSION, "this connection has not said hello");
        brain_reply_error(b, conn, ctx, m->serial, &err);
        return;
    }
    struct asker who = {.node = node, .ctx = ctx, .serial = m->serial};
    if (m->term > b->term) {
        (void)tm_err_set(&err, TM_E_CONFLICT, "term %llu is newer than this coordinator's %llu",
                         (unsigned long long)m->term, (unsigned long long)b->term);
        refuse(b, &who, &err);
        return;
    }
    node_spoke(b, node);
    switch (m->type) {
    case MESSAGE_heartbeat:
        node_heartbeat(b, node, m->serial, &m->heartbeat);
        desired_reply(b, node, ctx, m->serial);
        break;
    case MESSAGE_poll:
        desired_poll(b, node, ctx, m->serial, &m->poll);
        break;
    case MESSAGE_plan_ranges:
        plan_ranges(b, &who, &m->plan_ranges);
        break;
    case MESSAGE_want_ranges:
        want_ranges(b, &who, &m->want_ranges);
        break;
    case MESSAGE_ranges_done:
        ranges_done(b, &who, &m->ranges_done);
        break;
    case MESSAGE_want_results:
        want_results(b, &who, &m->want_results);
        break;
    default:
        (void)tm_err_set(&err, TM_E_INVALID, "'%s' is not a question for a coordinator",
                         message_name(m->type));
        refuse(b, &who, &err);
        break;
    }
}
