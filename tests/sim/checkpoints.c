/* Checkpoints of the modelled runner: what it stores on the way, and finds in a later attempt. */
#include "tests/sim/real.h"

#define arg_alive    runner_is
#define later        runner_later
#define storage_down runner_storage_down
#define tell         runner_tell
#define tell_failed  runner_tell_failed
#define again        runner_again

#define CHECKPOINT_US MS(1500)

/* False: it is not known. */
static bool find_earlier(struct world *w, struct sim_runner *r, bool *ret_committed)
{
    const struct sim_backup *backup = depot_find(w, r->backup_id, false);
    struct tm_err err;
    if (w->profile.real) {
        if (real_find(r, &r->known, ret_committed, &err) == 0)
            return true;
        if (again(w, r, &err, "resume"))
            later(w, r, MS(300), runner_on_ready);
        return false;
    }
    *ret_committed = backup != NULL && backup->manifest;
    r->known = backup != NULL && backup->checkpoint && !*ret_committed;
    if (r->known) {
        memcpy(r->plan, backup->plan, sizeof(r->plan));
        r->plan_count = backup->plan_count;
        for (size_t at = 0; at < backup->done_count && r->known_count < SIM_RANGES_MAX; at++)
            r->known_done[r->known_count++] = backup->done[at];
    }
    return true;
}

/* False: there is a manifest, and nothing is left to be done; or it is to be looked once more. */
bool checkpoint_look(struct world *w, struct sim_runner *r)
{
    bool committed = false;
    if (!find_earlier(w, r, &committed))
        return false;
    struct msg_totals totals = {.commit_us = 1, .position = "0/2"};
    struct frame f = {.type = FRAME_found};
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    if (committed) {
        f.found.committed = true;
        f.found.totals = &totals;
    } else if (r->known) {
        real_begin_blob(&begin);
        f.found.begin = buf_slice(&begin);
        f.found.log_from = 1;
    }
    tell(w, r, &f);
    return !committed;
}

static void on_checkpoint(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    const struct sim_runner *r = &w->runners[arg->who];
    struct frame f = {.type = FRAME_want_accepted};
    if (!r->finishing)
        tell(w, r, &f);
}

/* One that cannot be stored is left out: it costs more, and no more than that. */
static void checkpoint_real(struct world *w, struct sim_runner *r, const struct msg_result *results,
                            size_t count)
{
    struct tm_err err;
    if (real_checkpoint(r, results, count, &err) == 0)
        depot_find(w, r->backup_id, true)->checkpoint = true;
    else if (!err.retryable && err.code != TM_E_CANCELED)
        sim_violate(w, "a checkpoint cannot be stored: %s", err.msg);
}

void checkpoint_accepted(struct world *w, struct sim_runner *r,
                         const struct frame_accepted *accepted)
{
    struct sim_backup *backup = depot_find(w, r->backup_id, true);
    bool stored = !storage_down(w) && backup->marked_us == 0;
    if (stored && w->profile.real)
        checkpoint_real(w, r, accepted->results, accepted->results_count);
    for (size_t at = 0; at < accepted->results_count; at++)
        oracle_known(w, r, accepted->results[at].range); /* its agent has it, too */
    for (size_t at = 0; stored && at < accepted->results_count; at++) {
        const struct msg_result *result = &accepted->results[at];
        depot_done(backup, &(struct sim_object){.range = result->range,
                                                .term = result->term,
                                                .counter = result->counter});
    }
    later(w, r, accepted->last ? CHECKPOINT_US : MS(1), on_checkpoint);
}

void checkpoint_tell_known(struct world *w, struct sim_runner *r)
{
    struct msg_result results[WIRE_RESULTS_MAX];
    struct msg_counters counters = {.bytes = 100, .stored_bytes = 50, .files = 1};
    struct frame f = {.type = FRAME_stored};
    size_t count = 0;
    for (; r->known_told < r->known_count && count < 3; r->known_told++) {
        const struct sim_object *done = &r->known_done[r->known_told];
        if (done->range >= r->plan_count)
            continue;
        oracle_known(w, r, done->range);
        results[count++] = (struct msg_result){.range = done->range,
                                               .term = done->term,
                                               .counter = done->counter,
                                               .blob = buf_slice(&r->known_blobs[r->known_told]),
                                               .counters = &counters};
    }
    f.stored.results = results;
    f.stored.results_count = count;
    if (count > 0)
        tell(w, r, &f);
}

/* The plan is stored: from here on there is something to go on with. */
void checkpoint_begin(struct world *w, struct sim_runner *r, bool planned)
{
    struct sim_backup *backup = depot_find(w, r->backup_id, true);
    if (!r->checkpoints || (r->roles & JOB_ROLE_LEAD) == 0)
        return;
    if (planned && w->profile.real) {
        checkpoint_real(w, r, NULL, 0);
    } else if (planned && !backup->checkpoint && backup->marked_us == 0) {
        backup->checkpoint = true;
        memcpy(backup->plan, r->plan, sizeof(r->plan));
        backup->plan_count = r->plan_count;
    }
    later(w, r, CHECKPOINT_US, on_checkpoint);
}
