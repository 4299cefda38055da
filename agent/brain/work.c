/*
 * Plan, leases, results: what flows between runner and coordinator. One request of each sort is in
 * flight for a job; each is built from what is true when it is sent, so a lost one is just built
 * again.
 *
 * Results are kept until the job goes. What the present coordinator accepted is sent again when the
 * term changes: it is the memory of the coordinator that is gone.
 */
#include "agent/brain/internal.h"

#include "common/array.h"

#define LATER_PAUSE_US  500000
#define FAILED_PAUSE_US 500000
#define DONE_BYTES_MAX  ((size_t)512 * 1024) /* of blobs in one ranges_done */

/* ---- plan ---- */

void agent_work_plan_reset(struct job *job)
{
    struct plan *plan = &job->plan;
    plan->count = 0;
    plan->end_len = 0;
    plan->bytes = 0;
    plan->complete = false;
    plan->gen++;
    buf_reset(&plan->keys);
    buf_reset(&plan->root);
    job->plan_next = 0;
    job->plan_told = false;
}

static int plan_add(struct plan *plan, const struct msg_plan_range *range, struct tm_err *err)
{
    if (ARRAY_ROOM(plan->entries, plan->count, plan->cap, 256, err) < 0)
        return -(int)err->code;
    struct plan_entry entry = {.key_offset = (uint32_t)plan->keys.len,
                               .key_len = (uint32_t)range->start.len,
                               .bytes = range->bytes,
                               .anywhere = range->anywhere};
    int r = buf_append_slice(&plan->keys, range->start, err);
    if (r < 0)
        return r;
    plan->entries[plan->count++] = entry;
    plan->bytes += range->bytes;
    if (range->end.len > 0)
        memcpy(plan->end, range->end.data, range->end.len);
    plan->end_len = range->end.len;
    return 0;
}

/* Ranges must be adjacent: only then do the starts tell the ends. */
static bool adjoins(const struct plan *plan, const struct msg_plan_range *range)
{
    return plan->count == 0 || slice_eq(range->start, slice_of(plan->end, plan->end_len));
}

void agent_work_plan_batch(struct agent_brain *b, struct job *job,
                           const struct frame_plan_batch *batch)
{
    struct plan *plan = &job->plan;
    if (plan->complete || batch->first != plan->count || job->stage != JOB_STAGE_PLANNING)
        return;
    for (size_t at = 0; at < batch->ranges_count; at++) {
        const struct msg_plan_range *range = &batch->ranges[at];
        struct tm_err err;
        int r = 0;
        if (!adjoins(plan, range))
            r = tm_err_set(&err, TM_E_INTERNAL,
                           "range %zu of the plan does not adjoin the one before", plan->count);
        else if (plan->keys.len + range->start.len > AGENT_BRAIN_PLAN_BYTES_MAX)
            r = tm_err_set(&err, TM_E_LIMIT, "the plan's keys take more than %zu bytes",
                           AGENT_BRAIN_PLAN_BYTES_MAX);
        else
            r = plan_add(plan, range, &err);
        if (r < 0) {
            agent_job_fail(b, job, &err, "plan");
            return;
        }
    }
    if (batch->last) {
        agent_check(b, buf_append_slice(&plan->root, batch->root, b->err));
        plan->complete = true;
        job->bytes_total = plan->bytes;
    }
}

static struct slice plan_start(const struct plan *plan, size_t at)
{
    return slice_of(plan->keys.data + plan->entries[at].key_offset, plan->entries[at].key_len);
}

static void send_plan(struct agent_brain *b, struct job *job)
{
    struct plan *plan = &job->plan;
    const struct msg_assignment *want = &job->want;
    if (job->plan_serial != 0 || b->now.mono_us < job->plan_again_us || want->plan_done ||
        job->session < SESSION_HELD)
        return;
    if (job->plan_told)
        return;
    size_t ready = plan->count - job->plan_next;
    /* no lease is granted before the plan is complete: what was done before is known by then */
    bool known = job->early_open == 0 || b->config.plant == AGENT_PLANT_PLAN_EARLY;
    bool last = plan->complete && ready <= WIRE_PLAN_MAX && known;
    if (ready == 0 && !last)
        return;
    size_t count = TM_MIN(ready, (size_t)WIRE_PLAN_MAX);
    struct message *m = agent_step_alloc(b, sizeof(*m));
    struct msg_plan_range *ranges = agent_step_alloc(b, count * sizeof(*ranges));
    if (m == NULL || ranges == NULL)
        return;
    for (size_t at = 0; at < count; at++) {
        size_t index = job->plan_next + at;
        ranges[at].start = plan_start(plan, index);
        ranges[at].end = index + 1 < plan->count ? plan_start(plan, index + 1)
                                                 : slice_of(plan->end, plan->end_len);
        ranges[at].bytes = plan->entries[index].bytes;
        ranges[at].anywhere = plan->entries[index].anywhere;
    }
    m->type = MESSAGE_plan_ranges;
    memcpy(m->plan_ranges.uid, want->uid, sizeof(m->plan_ranges.uid));
    m->plan_ranges.attempt = want->attempt;
    m->plan_ranges.gen = plan->gen;
    m->plan_ranges.first = job->plan_next;
    m->plan_ranges.ranges = ranges;
    m->plan_ranges.ranges_count = count;
    m->plan_ranges.last = last;
    if (job->plan_next == 0)
        m->plan_ranges.begin = buf_slice(&job->begin);
    job->plan_serial = agent_link_send(b, m, REQ_PLAN, job->handle, b->config.request_ms);
}

static void plan_reply(struct agent_brain *b, struct job *job, const struct message *m)
{
    if (m == NULL) {
        job->plan_again_us = b->now.mono_us + FAILED_PAUSE_US;
        return;
    }
    const struct msg_plan_ack *ack = &m->plan_ack;
    if (ack->gen != job->plan.gen || ack->next > job->plan.count ||
        (ack->next <= job->plan_next && !ack->done)) {
        job->plan_again_us = b->now.mono_us + FAILED_PAUSE_US; /* not what was hoped for */
        if (ack->gen == job->plan.gen && ack->next <= job->plan.count)
            job->plan_next = ack->next;
        return;
    }
    job->plan_next = ack->next;
    job->plan_told = ack->done && job->plan.complete;
}

/* ---- leases ---- */

static void send_want(struct agent_brain *b, struct job *job)
{
    const struct msg_assignment *want = &job->want;
    bool need_begin = !agent_job_is_lead(job) && !job->begin_known;
    size_t room = WIRE_LEASES_MAX - job->held_count;
    size_t count = TM_MIN(TM_MIN((size_t)job->need, room), (size_t)AGENT_BRAIN_WINDOW);
    if (job->want_serial != 0 || b->now.mono_us < job->want_again_us ||
        want->step != JOB_STEP_RUN || (!need_begin && (count == 0 || !job->begin_sent)))
        return;
    struct message *m = agent_step_alloc(b, sizeof(*m));
    if (m == NULL)
        return;
    m->type = MESSAGE_want_ranges;
    memcpy(m->want_ranges.uid, want->uid, sizeof(m->want_ranges.uid));
    m->want_ranges.attempt = want->attempt;
    m->want_ranges.count = need_begin ? 0 : (uint32_t)count;
    m->want_ranges.want_begin = need_begin;
    job->want_serial = agent_link_send(b, m, REQ_WANT, job->handle, b->config.request_ms);
}

static void want_reply(struct agent_brain *b, struct job *job, uint64_t serial,
                       const struct message *m)
{
    job->want_settled = TM_MAX(job->want_settled, serial);
    if (m == NULL) {
        job->want_again_us = b->now.mono_us + FAILED_PAUSE_US;
        return;
    }
    const struct msg_ranges *ranges = &m->ranges;
    if (!agent_job_is_lead(job) && !job->begin_known && ranges->begin.len > 0) {
        buf_reset(&job->begin);
        agent_check(b, buf_append_slice(&job->begin, ranges->begin, b->err));
        job->begin_known = true;
    }
    if (ranges->leases_count == 0) {
        job->want_again_us = b->now.mono_us + (uint64_t)b->config.want_retry_ms * 1000;
        return;
    }
    if (job->runner != RUNNER_READY || !job->begin_sent ||
        ranges->leases_count > WIRE_LEASES_MAX - job->held_count) {
        b->heartbeat_urgent = true; /* not taken: the next report does not list them */
        return;
    }
    struct frame *f = agent_runner_send(b, job, FRAME_ranges);
    struct msg_lease *leases = agent_step_alloc(b, ranges->leases_count * sizeof(*leases));
    if (f == NULL || leases == NULL)
        return;
    f->ranges.leases = leases;
    f->ranges.leases_count = ranges->leases_count;
    for (size_t at = 0; at < ranges->leases_count; at++) {
        const struct msg_lease *lease = &ranges->leases[at];
        leases[at] = *lease;
        leases[at].start = agent_step_bytes(b, lease->start);
        leases[at].end = agent_step_bytes(b, lease->end);
        job->held[job->held_count++] = (struct held_lease){
            .range = lease->range, .term = lease->term, .counter = lease->counter};
    }
    job->need -= TM_MIN(job->need, (uint32_t)ranges->leases_count);
}

/* Takes a lease out of those held; false when it was not there. */
static bool release_lease(struct job *job, uint32_t range, uint64_t term, uint64_t counter)
{
    for (size_t at = 0; at < job->held_count; at++) {
        struct held_lease *held = &job->held[at];
        if (held->range != range || held->term != term || held->counter != counter)
            continue;
        memmove(held, held + 1, (job->held_count - at - 1) * sizeof(*held));
        job->held_count--;
        return true;
    }
    return false;
}

void agent_work_lost_runner(struct job *job)
{
    job->held_count = 0;
    job->results_from = UINT32_MAX;
    job->accepted_wanted = false;
    job->accepted_from = 0; /* the next one looks at all of them */
    if (!job->plan.complete && agent_job_is_lead(job))
        agent_work_plan_reset(job);
}

/* ---- results ---- */

static bool is_noted(const struct job *job, uint32_t range)
{
    return job->noted != NULL && range < AGENT_BRAIN_OUTBOX_MAX &&
           (job->noted[range / 8] & (1u << range % 8)) != 0;
}

/* It was accepted. Only a lead is asked for what it has of others. */
static void note(struct agent_brain *b, struct job *job, struct result *result)
{
    uint32_t range = result->msg.range;
    if (range >= AGENT_BRAIN_OUTBOX_MAX || !agent_job_is_lead(job) || is_noted(job, range))
        return;
    if (job->noted == NULL)
        job->noted = calloc(AGENT_BRAIN_OUTBOX_MAX / 8, 1);
    if (job->noted == NULL) {
        agent_check(b, tm_err_oom(b->err));
        return;
    }
    job->noted[range / 8] = (uint8_t)(job->noted[range / 8] | 1u << range % 8);
    result->noted = true;
}

static bool outbox_full(const struct job *job, const struct msg_result *result)
{
    return job->result_count == AGENT_BRAIN_OUTBOX_MAX ||
           job->result_bytes + result->blob.len > AGENT_BRAIN_RESULTS_BYTES;
}

static void keep(struct agent_brain *b, struct job *job, const struct msg_result *result,
                 enum result_state state)
{
    if (ARRAY_ROOM(job->results, job->result_count, job->result_cap, 64, b->err) < 0) {
        agent_check(b, -1);
        return;
    }
    struct result *kept = &job->results[job->result_count];
    *kept = (struct result){.state = state};
    if (codec_copy(&msg_result_codec, result, &kept->arena, &kept->msg, b->err) < 0) {
        codec_arena_release(&kept->arena);
        b->failed = true;
        return;
    }
    job->result_bytes += result->blob.len;
    job->result_count++;
    if (state == RESULT_ACCEPTED)
        note(b, job, kept);
}

void agent_work_keep_result(struct agent_brain *b, struct job *job, const struct msg_result *result)
{
    struct tm_err err;
    if (outbox_full(job, result)) {
        (void)tm_err_set(&err, TM_E_LIMIT, "more results than this agent can keep");
        agent_job_fail(b, job, &err, "range");
        return;
    }
    keep(b, job, result, RESULT_UNSENT);
}

static void accepted(struct agent_brain *b, struct job *job, struct result *result)
{
    job->early_open -= result->early;
    result->early = false;
    result->state = RESULT_ACCEPTED;
    note(b, job, result);
}

/* False: it is none of those whose verdict is not here yet. */
static bool heard(struct agent_brain *b, struct job *job, const struct msg_result *told)
{
    for (size_t at = job->result_open; at < job->result_count; at++) {
        struct result *one = &job->results[at];
        if (one->state <= RESULT_SENT && one->msg.range == told->range &&
            one->msg.term == told->term && one->msg.counter == told->counter) {
            accepted(b, job, one);
            return true;
        }
    }
    return false;
}

void agent_work_keep_accepted(struct agent_brain *b, struct job *job, const struct msg_result *told)
{
    struct msg_result result = *told;
    if (is_noted(job, result.range) || heard(b, job, &result) || outbox_full(job, &result) ||
        b->config.plant == AGENT_PLANT_OWN_ONLY)
        return;
    result.stored = true;
    keep(b, job, &result, RESULT_ACCEPTED);
}

void agent_work_range_done(struct agent_brain *b, struct job *job,
                           const struct frame_range_done *done)
{
    if (!release_lease(job, done->range, done->term, done->counter))
        return;
    if (done->counters != NULL && done->counters->problem != NULL) {
        bool corrupt = done->counters->pages_corrupt > 0;
        agent_log(b, job, corrupt ? 3 : 4, corrupt ? AGENT_LOG_PAGE_CORRUPT : AGENT_LOG_PLAIN,
                  "range %u of job '%s': %s", done->range, job->want.name, done->counters->problem);
    }
    struct msg_result result = {.range = done->range,
                                .term = done->term,
                                .counter = done->counter,
                                .blob = done->blob,
                                .counters = done->counters};
    agent_work_keep_result(b, job, &result);
}

void agent_work_range_failed(struct agent_brain *b, struct job *job,
                             const struct frame_range_failed *failed)
{
    if (!release_lease(job, failed->range, failed->term, failed->counter))
        return;
    struct msg_result result = {.range = failed->range,
                                .term = failed->term,
                                .counter = failed->counter,
                                .error = failed->error};
    agent_work_keep_result(b, job, &result);
}

/* What was done before comes before the plan is complete, but not before the coordinator knows the range:
 * a plan that is told once more, by the next runner, makes it forget what it has of the one before. A
 * lead's other results come after it: one that nobody accepted might take the place of one that was. */
static bool too_early(const struct job *job, const struct result *result)
{
    if (job->want.plan_done || job->plan_told)
        return false;
    return result->early ? result->msg.range >= job->plan_next : agent_job_is_lead(job);
}

static void send_done(struct agent_brain *b, struct job *job)
{
    if (job->done_serial != 0 || b->now.mono_us < job->done_again_us)
        return;
    while (job->result_open < job->result_count &&
           job->results[job->result_open].state >= RESULT_ACCEPTED)
        job->result_open++;
    if (job->result_open == job->result_count)
        return;
    struct message *m = agent_step_alloc(b, sizeof(*m));
    struct msg_result *results = agent_step_alloc(b, WIRE_RESULTS_MAX * sizeof(*results));
    if (m == NULL || results == NULL)
        return;
    size_t count = 0;
    size_t bytes = 0;
    for (size_t at = job->result_open; at < job->result_count && count < WIRE_RESULTS_MAX; at++) {
        struct result *result = &job->results[at];
        if (result->state != RESULT_UNSENT || too_early(job, result))
            continue;
        bytes += result->msg.blob.len;
        if (count > 0 && bytes > DONE_BYTES_MAX)
            break;
        results[count++] = result->msg; /* kept results do not go before the job does */
        result->state = RESULT_SENT;
    }
    if (count == 0)
        return;
    m->type = MESSAGE_ranges_done;
    memcpy(m->ranges_done.uid, job->want.uid, sizeof(m->ranges_done.uid));
    m->ranges_done.attempt = job->want.attempt;
    m->ranges_done.results = results;
    m->ranges_done.results_count = count;
    job->done_serial = agent_link_send(b, m, REQ_DONE, job->handle, b->config.request_ms);
    if (job->done_serial == 0)
        agent_work_reply(b, job, REQ_DONE, 0, NULL);
}

static struct result *result_find(struct job *job, const struct msg_verdict *verdict)
{
    for (size_t at = job->result_open; at < job->result_count; at++) {
        struct result *result = &job->results[at];
        if (result->msg.range == verdict->range && result->msg.term == verdict->term &&
            result->msg.counter == verdict->counter && result->state == RESULT_SENT)
            return result;
    }
    return NULL;
}

static void result_forget(struct job *job, struct result *result)
{
    if (result->noted) {
        uint8_t *bits = &job->noted[result->msg.range / 8];
        *bits = (uint8_t)(*bits & ~(1u << result->msg.range % 8));
    }
    job->early_open -= result->early;
    result->early = result->noted = false;
    job->result_bytes -= result->msg.blob.len;
    codec_arena_release(&result->arena);
    result->msg = (struct msg_result){0};
    result->state = RESULT_GONE;
}

static void done_reply(struct agent_brain *b, struct job *job, const struct message *m)
{
    bool later = m == NULL;
    for (size_t at = 0; m != NULL && at < m->verdicts.verdicts_count; at++) {
        const struct msg_verdict *verdict = &m->verdicts.verdicts[at];
        struct result *result = result_find(job, verdict);
        if (result == NULL)
            continue;
        if (verdict->verdict == VERDICT_ACCEPTED && result->msg.error == NULL)
            accepted(b, job, result);
        else if (verdict->verdict == VERDICT_ACCEPTED || verdict->verdict == VERDICT_STALE)
            result_forget(job, result);
        else
            later = true;
    }
    for (size_t at = job->result_open; at < job->result_count; at++) {
        if (job->results[at].state != RESULT_SENT)
            continue;
        job->results[at].state = RESULT_UNSENT; /* no verdict: send it again */
        later = true;
    }
    if (later)
        job->done_again_us = b->now.mono_us + LATER_PAUSE_US;
}

/* ---- pages of results for the lead's runner ---- */

uint64_t agent_work_ask_results(struct agent_brain *b, const struct job *job, uint32_t from,
                                bool accepted)
{
    struct message *m = agent_step_alloc(b, sizeof(*m));
    if (m == NULL)
        return 0;
    m->type = MESSAGE_want_results;
    memcpy(m->want_results.uid, job->want.uid, sizeof(m->want_results.uid));
    m->want_results.attempt = job->want.attempt;
    m->want_results.from = from;
    m->want_results.accepted = accepted;
    return agent_link_send(b, m, accepted ? REQ_ACCEPTED : REQ_RESULTS, job->handle,
                           b->config.request_ms);
}

static void send_want_results(struct agent_brain *b, struct job *job)
{
    if (job->results_from == UINT32_MAX || job->results_serial != 0 ||
        b->now.mono_us < job->results_again_us || job->runner != RUNNER_READY)
        return;
    job->results_serial = agent_work_ask_results(b, job, job->results_from, false);
}

static void results_reply(struct agent_brain *b, struct job *job, const struct message *m)
{
    if (m == NULL || m->results.not_ready) {
        job->results_again_us = b->now.mono_us + LATER_PAUSE_US;
        return;
    }
    if (job->runner != RUNNER_READY || m->results.from != job->results_from)
        return;
    struct frame *f = agent_runner_send(b, job, FRAME_results);
    if (f == NULL)
        return;
    /* the message is borrowed for this step's input only: the frame gets its own copy */
    struct frame_results view = {.from = m->results.from,
                                 .last = m->results.last,
                                 .results = m->results.results,
                                 .results_count = m->results.results_count};
    agent_check(b, codec_copy(&frame_results_codec, &view, &b->step, &f->results, b->err));
    job->results_from = UINT32_MAX;
}

/* ---- together ---- */

void agent_work_send(struct agent_brain *b, struct job *job)
{
    if (!b->connected || b->stopping || job->want.kind != JOB_KIND_BACKUP ||
        job->stage >= JOB_STAGE_COMMITTED)
        return;
    if (agent_job_is_lead(job))
        send_plan(b, job);
    if (agent_job_is_worker(job))
        send_want(b, job);
    send_done(b, job);
    if (agent_job_is_lead(job)) {
        send_want_results(b, job);
        agent_checkpoint_send(b, job);
    }
}

void agent_work_reply(struct agent_brain *b, struct job *job, enum request_kind kind,
                      uint64_t serial, const struct message *m)
{
    switch (kind) {
    case REQ_PLAN:
        job->plan_serial = 0;
        plan_reply(b, job, m);
        break;
    case REQ_WANT:
        job->want_serial = 0;
        want_reply(b, job, serial, m);
        break;
    case REQ_DONE:
        job->done_serial = 0;
        done_reply(b, job, m);
        break;
    case REQ_RESULTS:
        job->results_serial = 0;
        results_reply(b, job, m);
        break;
    case REQ_ACCEPTED:
        job->accepted_serial = 0;
        agent_checkpoint_reply(b, job, m);
        break;
    case REQ_HEARTBEAT:
    case REQ_POLL:
        break;
    }
}

void agent_work_void_requests(struct job *job)
{
    job->want_settled = TM_MAX(job->want_settled, job->want_serial);
    job->want_serial = 0;
    job->plan_serial = 0;
    job->results_serial = 0;
    job->done_serial = 0;
    job->accepted_serial = 0;
    for (size_t at = job->result_open; at < job->result_count; at++) {
        if (job->results[at].state == RESULT_SENT)
            job->results[at].state = RESULT_UNSENT;
    }
}

void agent_work_new_term(struct agent_brain *b, struct job *job)
{
    job->plan_next = 0;
    job->plan_told = false;
    job->want.plan_done = false; /* said by the coordinator that is gone */
    job->result_open = 0;
    for (size_t at = 0; at < job->result_count; at++) {
        struct result *result = &job->results[at];
        if (result->state != RESULT_ACCEPTED)
            continue;
        if (b->config.plant == AGENT_PLANT_DROP_RESULTS)
            result_forget(job, result);
        else
            result->state = RESULT_UNSENT;
        if (result->state == RESULT_UNSENT && agent_job_is_lead(job)) {
            result->early = true;
            job->early_open++;
        }
    }
}
