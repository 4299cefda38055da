/* The ends of the modelled runner: commit and sweep. */
#include "tests/sim/real.h"

#define arg_alive    runner_is
#define later        runner_later
#define storage_down runner_storage_down
#define tell         runner_tell
#define tell_failed  runner_tell_failed
#define again        runner_again

/* ---- commit -------------------------------------------------------------------------------------- */

static void tell_committed(struct world *w, const struct sim_runner *r)
{
    struct msg_totals totals = {.commit_us = 1, .position = "0/2"};
    struct frame f = {.type = FRAME_committed};
    f.committed.totals = &totals;
    tell(w, r, &f);
}

static void commit_model(struct world *w, const struct sim_runner *r, struct sim_backup *backup)
{
    if (backup->manifest) /* perhaps of an earlier attempt, whose answer was lost */
        return;
    backup->manifest = true;
    free(backup->entries);
    backup->entries = malloc(sizeof(r->entries));
    if (backup->entries == NULL)
        sim_die("manifest", NULL);
    memcpy(backup->entries, r->entries, sizeof(r->entries));
    backup->entry_count = r->entry_count;
    sim_log(w, "manifest of %s committed, %zu ranges", backup->id, backup->entry_count);
    oracle_manifest(w, r->uid, backup);
}

/* False: to be tried again, or given up and told. */
static bool commit_real(struct world *w, struct sim_runner *r, struct sim_backup *backup,
                        bool *ret_again)
{
    struct tm_err err;
    bool before = backup->manifest;
    int rc = real_commit(w, r, &err);
    real_look(w, r->backup_id); /* sets backup->manifest */
    /* cppcheck-suppress incorrectLogicOperator */
    if (backup->manifest && !before) {
        sim_log(w, "manifest of %s committed, %zu ranges", backup->id, backup->entry_count);
        oracle_manifest(w, r->uid, backup);
    }
    *ret_again = rc < 0 && again(w, r, &err, "commit");
    return rc == 0;
}

static void on_commit(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    bool once_more = storage_down(w);
    struct sim_backup *backup = depot_find(w, r->backup_id, true);
    if (!once_more && !w->profile.real && backup->marked_us != 0) {
        struct tm_err err;
        (void)tm_err_set(&err, TM_E_CANCELED, "the backup was deleted meanwhile");
        tell_failed(w, r, &err, "commit");
        return;
    }
    if (!once_more && w->profile.real) {
        if (!commit_real(w, r, backup, &once_more) && !once_more)
            return;
    } else if (!once_more) {
        commit_model(w, r, backup);
        once_more = sim_chance(w, 50); /* the reply is dropped */
    }
    if (backup->manifest && !w->profile.benign && w->now_us < w->profile.faults_until_us &&
        sim_chance(w, 30)) {
        faults_kill_agent(w, r->agent); /* it cannot tell any more */
        return;
    }
    if (once_more)
        later(w, r, MS(400), on_commit);
    else
        tell_committed(w, r);
}

void commit_want_results(struct world *w, const struct sim_runner *r)
{
    struct frame f = {.type = FRAME_want_results};
    f.want_results.from = r->results_next;
    tell(w, r, &f);
}

static void keep_blob(struct sim_runner *r, size_t at, struct slice blob)
{
    struct tm_err err;
    if (at >= SIM_RANGES_MAX)
        return;
    buf_reset(&r->blobs[at]);
    if (buf_append_slice(&r->blobs[at], blob, &err) < 0)
        sim_die("memory", &err);
}

void commit_results(struct world *w, struct sim_runner *r, const struct frame_results *page)
{
    if (!r->finishing || page->from != r->results_next)
        return;
    for (size_t at = 0; at < page->results_count && r->entry_count < TM_ARRAY_LEN(r->entries);
         at++) {
        const struct msg_result *result = &page->results[at];
        keep_blob(r, r->entry_count, result->blob);
        r->entries[r->entry_count++] = (struct sim_object){
            .range = result->range, .term = result->term, .counter = result->counter};
    }
    r->results_next += (uint32_t)page->results_count;
    if (page->last)
        later(w, r, MS(50) + sim_below(w, MS(300)), on_commit);
    else
        commit_want_results(w, r);
}

/* ---- sweep ---- */

/* How long the grace of a deletion lasts yet; the tombstone is stored by this. */
static uint64_t mark(const struct world *w, struct sim_backup *backup, uint64_t grace_us)
{
    if (backup->marked_us == 0)
        backup->marked_us = w->now_us;
    uint64_t end_us = backup->marked_us + grace_us;
    return backup->manifest && end_us > w->now_us ? end_us - w->now_us : 0;
}

static void on_sweep(struct world *w, struct sim_arg *arg);

void sweep_later(struct world *w, struct sim_runner *r, uint64_t delay_us, uint64_t remove,
                 uint64_t grace_ms)
{
    struct sim_arg *arg = later(w, r, delay_us, on_sweep);
    arg->a = remove;
    arg->b = grace_ms;
}

/* a: remove also what is committed; b: with this grace, ms */
static void on_sweep(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg))
        return;
    struct sim_runner *r = &w->runners[arg->who];
    uint64_t remove = arg->a;
    uint64_t grace_ms = arg->b;
    if (storage_down(w)) {
        sweep_later(w, r, MS(300), remove, grace_ms);
        return;
    }
    struct sim_backup *backup = depot_find(w, r->backup_id, remove == 0);
    struct frame f = {.type = FRAME_swept};
    uint64_t left_us = 0;
    struct msg_totals totals = {.commit_us = 1};
    struct tm_err err;
    if (w->profile.real) {
        bool committed = false;
        if (real_sweep(w, r, remove != 0, (int64_t)MS(grace_ms), &committed, &left_us, &err) < 0) {
            if (again(w, r, &err, "sweep"))
                sweep_later(w, r, MS(300), remove, grace_ms);
            return;
        }
        real_look(w, r->backup_id);
        f.swept.committed = committed;
        f.swept.totals = committed ? &totals : NULL;
        backup = depot_find(w, r->backup_id, true);
        if (!committed && backup->marked_us == 0)
            backup->marked_us = w->now_us;
        if (!committed && left_us == 0)
            depot_sweep(backup);
    } else if (backup != NULL && backup->manifest && remove == 0) {
        f.swept.committed = true;
        f.swept.totals = &totals;
    } else if (backup != NULL) {
        left_us = mark(w, backup, MS(grace_ms));
        if (left_us == 0)
            depot_sweep(backup);
    }
    f.swept.grace_left_ms = (left_us + 999) / 1000;
    tell(w, r, &f);
}
