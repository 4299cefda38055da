/*
 * The checkpoint thread of a lead: every few seconds it asks for the results that were accepted since, and
 * stores them.
 *
 * Happy path: the plan is stored → a checkpoint with plan and begin alone → every CHECKPOINT_US, or
 * when a page is not the last one at once: `want_accepted` → `accepted` → what no checkpoint has yet is
 * stored as one more object.
 * Failure modes: it cannot be stored: told once as a warning, tried again each time; the backup goes on, it
 * could only not be resumed from there. The coordinator was restarted: all results come once more, and
 * those that are stored are passed over, and it goes on under the new term.
 */
#include "agent/runner/internal.h"

#include "common/clock.h"
#include "common/utf8.h"

#define CHECKPOINT_US (5 * USEC_PER_SEC)

struct checkpoints {
    struct backup_worker *worker;
    struct backup_checkpoint what;
    uint32_t seq;
    uint32_t count; /* results that are stored */
    bool begun;     /* plan and begin are */
    bool told;      /* that it does not work */
};

void checkpoints_note(struct runner *r, uint32_t range)
{
    if (range / 8 < sizeof(r->checkpointed))
        r->checkpointed[range / 8] |= (uint8_t)(1u << range % 8);
}

static bool is_noted(const struct runner *r, uint32_t range)
{
    return range / 8 < sizeof(r->checkpointed) &&
           (r->checkpointed[range / 8] & (1u << range % 8)) != 0;
}

static void tell_trouble(struct runner *r, struct checkpoints *c, const struct tm_err *why)
{
    char text[WIRE_TEXT_MAX + 1];
    if (c->told || runner_stopping(r))
        return;
    c->told = true;
    (void)snprintf(text, sizeof(text),
                   "a checkpoint cannot be stored, an interruption would cost more: %.400s",
                   why->msg);
    utf8_clean(text);
    struct frame f = {.type = FRAME_warning, .warning = {.text = text}};
    runner_tell(r, &f);
}

/* A coordinator that was restarted leases under a later term than this runner was started with: nobody takes
 * such a result from a writer of an earlier one. */
static void keep_up(struct checkpoints *c, uint64_t term)
{
    if (term <= c->what.epoch.term)
        return;
    c->what.epoch.term = term;
    c->seq = 0;
}

/* False: to be tried again with the same results. */
static bool store(struct runner *r, struct checkpoints *c, const struct frame_accepted *accepted)
{
    struct slice blobs[WIRE_RESULTS_MAX];
    size_t count = 0;
    struct tm_err err;
    for (size_t i = 0; accepted && i < accepted->results_count; i++) {
        if (is_noted(r, accepted->results[i].range))
            continue;
        blobs[count++] = accepted->results[i].blob;
        keep_up(c, accepted->results[i].term);
    }
    if (count == 0 && c->begun)
        return true;
    if (backup_checkpoint_store(c->worker, &c->what, blobs, count, &c->seq, &err) < 0) {
        tell_trouble(r, c, &err);
        return false;
    }
    c->begun = true;
    c->count += (uint32_t)count;
    for (size_t i = 0; accepted && i < accepted->results_count; i++)
        checkpoints_note(r, accepted->results[i].range);
    return true;
}

/* The next page; false when the runner ends. */
static bool next_page(struct runner *r, struct checkpoints *c, struct frame *ret)
{
    struct frame ask = {.type = FRAME_want_accepted, .want_accepted = {.stored = c->count}};
    runner_tell(r, &ask);
    return runner_next_frame(r, &r->accepted, ret);
}

static void *checkpoint_main(void *arg)
{
    struct runner *r = arg;
    struct checkpoints *c = r->checkpoints;
    struct frame page;
    while (!runner_stopping(r) && !store(r, c, NULL))
        runner_pause(r, CHECKPOINT_US);
    while (!runner_stopping(r) && next_page(r, c, &page)) {
        bool last = page.accepted.last;
        while (!store(r, c, &page.accepted) && !runner_stopping(r))
            runner_pause(r, CHECKPOINT_US);
        frame_release(&page);
        if (last)
            runner_pause(r, CHECKPOINT_US);
    }
    return NULL;
}

static int prepare(struct runner *r, struct checkpoints *c, struct epoch plan, uint32_t ranges,
                   struct tm_err *err)
{
    const struct frame_begin *begin = r->begin;
    c->what = (struct backup_checkpoint){.epoch = r->epoch,
                                         .plan = plan,
                                         .ranges = ranges,
                                         .begin = begin->begin,
                                         .engine = r->job->engine,
                                         .lineage_label = begin->lineage_label,
                                         .node = r->job->node,
                                         .started_us = r->started_us};
    struct engine_position *from = &c->what.replay_from;
    if (begin->replay_from.len > sizeof(from->bytes))
        return tm_err_set(err, TM_E_INVALID, "begin: the position is too long");
    from->len = (uint8_t)begin->replay_from.len;
    if (from->len)
        memcpy(from->bytes, begin->replay_from.data, from->len);
    (void)snprintf(from->text, sizeof(from->text), "%.*s", (int)sizeof(from->text) - 1,
                   begin->replay_from_text);
    return backup_worker_new(r->backup, &c->worker, err);
}

int checkpoints_start(struct runner *r, struct epoch plan, uint32_t ranges, struct tm_err *err)
{
    if (!r->job->backup->checkpoint)
        return 0;
    struct checkpoints *c = calloc(1, sizeof(*c));
    if (!c)
        return tm_err_oom(err);
    r->checkpoints = c;
    int rc = prepare(r, c, plan, ranges, err);
    if (rc == 0)
        rc = runner_thread(&r->checkpoint_thread, checkpoint_main, r, err);
    r->checkpoint_started = rc == 0;
    return rc;
}

void checkpoints_end(struct runner *r)
{
    if (r->checkpoint_started)
        pthread_join(r->checkpoint_thread, NULL);
    if (r->checkpoints)
        backup_worker_free(r->checkpoints->worker);
    free(r->checkpoints);
}
