/*
 * The runner of a restore as a model: after a while it fills its target, and is done some seconds later.
 * What it must be told is whether an earlier runner of its job has begun to fill that target.
 */
#include "tests/sim/sim.h"

static bool has_filled(const struct sim_agent *a, const char *uid)
{
    for (size_t at = 0; at < a->filled_count; at++) {
        if (strcmp(a->filled[at], uid) == 0)
            return true;
    }
    return false;
}

/* From here on the target is filled: the next runner of this job must know that, and no other. */
static void on_writing(struct world *w, struct sim_arg *arg)
{
    if (!runner_is(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    struct sim_agent *a = &w->agents[r->agent];
    struct frame f = {.type = FRAME_progress};
    f.progress.writing = true;
    runner_tell(w, r, &f);
    if (a->filled_count == SIM_TARGETS_MAX)
        sim_die("too many restores", NULL);
    if (!has_filled(a, r->uid))
        memcpy(a->filled[a->filled_count++], r->uid, sizeof(r->uid));
}

static void on_restored(struct world *w, struct sim_arg *arg)
{
    if (!runner_is(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    struct msg_totals totals = {.commit_us = 1};
    struct frame f = {.type = FRAME_restored};
    f.restored.totals = &totals;
    runner_tell(w, r, &f);
}

void restore_job(struct world *w, struct sim_runner *r, bool resume)
{
    bool own = has_filled(&w->agents[r->agent], r->uid);
    if (resume != own)
        sim_violate(w, "a restore is %stold that its target is its own", own ? "not " : "");
    runner_later(w, r, MS(300) + sim_below(w, SEC(1)), on_writing);
    runner_later(w, r, SEC(2) + sim_below(w, SEC(6)), on_restored);
}
