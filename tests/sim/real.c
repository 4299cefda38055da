/* See real.h. Everything is synchronous here; the simulation decides when it happens. */
#include "tests/sim/real.h"

#include "agent/backup/backup.h"
#include "agent/engine/null/mock.h"
#include "common/storage/ram.h"
#include "proto/repo/catalog.h"
#include "proto/repo/ranges.h"
#include "proto/repo/verify.h"

#include <inttypes.h>
#include <stdio.h>

#define CONNINFO    "keys=300 value=20 now=1790000000000000 identity=7000"
#define RANGE_BYTES 400 /* makes about 28 ranges */

static const struct engine_instance instance = {
    .tenant = "main", .data_dir = "/data", .conninfo = CONNINFO};

struct sim_real {
    struct storage *storage;
    struct backup *backup;
    struct backup_worker *worker;
    struct engine_reader *reader;
    uint32_t finals; /* tries at the final range */
    struct epoch epoch;
    struct epoch plan;
    struct epoch writer; /* of checkpoints */
    uint32_t checkpoints;
    bool checkpointed[SIM_RANGES_MAX];
};

static int random_bytes_of_world(void *arg, void *ret, size_t len, struct tm_err *err)
{
    (void)err;
    for (size_t at = 0; at < len; at++)
        ((uint8_t *)ret)[at] = (uint8_t)sim_random(arg);
    return 0;
}

void real_begin_blob(struct buf *ret)
{
    struct engine_session *session = NULL;
    struct engine_position position;
    struct tm_err err;
    if (mock_engine.session_open(&instance, "sim", &session, &err) < 0 ||
        mock_engine.snapshot_begin(session, NULL, true, ret, &position, &err) < 0)
        sim_die("session", &err);
    mock_engine.session_close(session);
}

void real_end_blob(struct buf *ret)
{
    struct engine_session *session = NULL;
    struct engine_position position;
    struct tm_err err;
    int64_t commit_us;
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    if (mock_engine.session_open(&instance, "sim", &session, &err) < 0 ||
        mock_engine.snapshot_begin(session, NULL, true, &begin, &position, &err) < 0 ||
        mock_engine.snapshot_end(session, ret, &position, &commit_us, &err) < 0)
        sim_die("session", &err);
    mock_engine.session_close(session);
}

void real_free(struct sim_real *real)
{
    if (real == NULL)
        return;
    if (real->reader != NULL)
        mock_engine.reader_close(real->reader);
    backup_worker_free(real->worker);
    backup_free(real->backup);
    storage_free(real->storage);
    free(real);
}

static struct repo_scope scope_of(void)
{
    struct repo_scope scope;
    struct tm_err err;
    if (names_scope_set(&scope, "c1", "main", "7000", &err) < 0)
        sim_die("scope", &err);
    return scope;
}

int real_open(struct world *w, struct sim_runner *r, bool sweep, struct tm_err *err)
{
    struct sim_real *real = calloc(1, sizeof(*real));
    if (real == NULL)
        sim_die("memory", NULL);
    struct backup_options options = {.scope = scope_of(),
                                     .engine = "mock",
                                     .epoch = {r->term, r->attempt * 1000 + r->generation},
                                     .lead = (r->roles & JOB_ROLE_LEAD) != 0,
                                     .sweep = sweep,
                                     .resumed = r->resume,
                                     .zstd_level = 1,
                                     .now_us = (int64_t)(SEC(1790000000) + w->now_us),
                                     .random = random_bytes_of_world,
                                     .random_arg = w};
    memcpy(options.backup_id, r->backup_id, sizeof(options.backup_id) - 1);
    int rc = ram_open(w->registry, "depot", &real->storage, err);
    options.storage = real->storage;
    real->epoch = options.epoch;
    real->writer = options.epoch;
    if (rc == 0)
        rc = backup_open(&options, &real->backup, err);
    if (rc == 0)
        rc = backup_worker_new(real->backup, &real->worker, err);
    if (rc < 0) {
        real_free(real);
        return rc;
    }
    real_free(r->real);
    r->real = real;
    return 0;
}

static int need_reader(struct sim_real *real, struct tm_err *err)
{
    if (real->reader != NULL)
        return 0;
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    real_begin_blob(&begin);
    return mock_engine.reader_open(&instance, buf_slice(&begin), &real->reader, err);
}

static int plan_one(void *arg, uint32_t index, struct engine_key_range range, uint64_t bytes,
                    struct tm_err *err)
{
    struct sim_runner *r = arg;
    (void)bytes;
    if (index >= SIM_RANGES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "too many ranges for the simulation");
    struct sim_lease *to = &r->plan[index];
    *to = (struct sim_lease){.range = index};
    sim_key_set(to->start, &to->start_len, range.start);
    sim_key_set(to->end, &to->end_len, range.end);
    return 0;
}

int real_plan(struct world *w, struct sim_runner *r, struct tm_err *err)
{
    struct backup_plan_totals totals;
    struct engine_plan_options options = {.range_bytes = RANGE_BYTES + sim_below(w, 400)};
    int rc = need_reader(r->real, err);
    if (rc == 0)
        rc = backup_store_plan(r->real->worker, &mock_engine, r->real->reader, &options, plan_one,
                               r, &totals, err);
    if (rc == 0) {
        r->plan_count = totals.ranges;
        r->real->plan = r->real->epoch;
    }
    return rc;
}

/* ---- checkpoints ---- */

static int keep_known(void *arg, const struct backup_checkpoint_result *result, struct tm_err *err)
{
    struct sim_runner *r = arg;
    if (r->known_count == SIM_RANGES_MAX || result->index >= SIM_RANGES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "too many ranges for the simulation");
    size_t at = r->known_count++;
    r->real->checkpointed[result->index] = true;
    r->known_done[at] = (struct sim_object){
        .range = result->index, .term = result->epoch.term, .counter = result->epoch.counter};
    buf_reset(&r->known_blobs[at]);
    return buf_append_slice(&r->known_blobs[at], result->blob, err);
}

int real_find(struct sim_runner *r, bool *ret_found, bool *ret_committed, struct tm_err *err)
{
    struct sim_real *real = r->real;
    struct backup_plan_totals totals = {.ranges = 0};
    TM_CLEANUP(backup_checkpoint_found_release)
    struct backup_checkpoint_found found = {.found = false};
    r->known_count = 0;
    int rc = backup_checkpoint_load(real->worker, keep_known, r, &found, err);
    if (rc == 0 && found.found)
        rc = backup_plan_load(real->worker, found.plan, found.ranges, plan_one, r, &totals, err);
    if (rc < 0)
        return rc;
    r->plan_count = totals.ranges;
    real->plan = found.plan;
    *ret_found = found.found;
    *ret_committed = found.committed;
    return 0;
}

/* A result of a later term than the writer's needs a writer of that one, as the runner does it. */
static size_t choose(struct sim_real *real, const struct msg_result *results, size_t count,
                     struct slice *ret)
{
    size_t chosen = 0;
    for (size_t at = 0; at < count; at++) {
        if (results[at].range >= SIM_RANGES_MAX || real->checkpointed[results[at].range])
            continue;
        ret[chosen++] = results[at].blob;
        if (results[at].term <= real->writer.term)
            continue;
        real->writer.term = results[at].term;
        real->checkpoints = 0;
    }
    return chosen;
}

int real_checkpoint(struct sim_runner *r, const struct msg_result *results, size_t count,
                    struct tm_err *err)
{
    struct sim_real *real = r->real;
    struct slice blobs[WIRE_RESULTS_MAX];
    struct engine_session *session = NULL;
    struct engine_position position;
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    size_t chosen = choose(real, results, count, blobs);
    if (chosen == 0 && count > 0)
        return 0;
    if (mock_engine.session_open(&instance, "sim", &session, err) < 0 ||
        mock_engine.snapshot_begin(session, NULL, true, &begin, &position, err) < 0)
        sim_die("session", err);
    mock_engine.session_close(session);
    struct backup_checkpoint what = {.epoch = real->writer,
                                     .plan = real->plan,
                                     .ranges = r->plan_count,
                                     .begin = buf_slice(&begin),
                                     .replay_from = position,
                                     .engine = "mock",
                                     .lineage_label = "1",
                                     .node = "sim",
                                     .started_us = 1};
    int rc = backup_checkpoint_store(real->worker, &what, blobs, chosen, &real->checkpoints, err);
    for (size_t at = 0; rc == 0 && at < count; at++) {
        if (results[at].range < SIM_RANGES_MAX)
            real->checkpointed[results[at].range] = true;
    }
    return rc;
}

void real_root(const struct sim_runner *r, uint8_t ret[static REAL_ROOT_LEN])
{
    be64_put(ret, r->real->plan.term);
    be32_put(ret + 8, r->real->plan.counter);
}

void real_take_root(struct sim_runner *r, struct slice root, uint32_t ranges)
{
    if (root.len != REAL_ROOT_LEN)
        sim_die("a plan's root", NULL);
    r->real->plan = (struct epoch){be64_get(root.data), be32_get(root.data + 8)};
    r->plan_count = ranges;
}

int real_range(struct sim_runner *r, const struct sim_lease *lease, struct buf *ret_blob,
               struct tm_err *err)
{
    TM_CLEANUP(backup_result_release) struct backup_result result = {.raw_bytes = 0};
    struct backup_lease what = {
        .index = lease->range,
        .epoch = {lease->term, (uint32_t)lease->counter},
        .range = {slice_of(lease->start, lease->start_len), slice_of(lease->end, lease->end_len)}};
    int rc = need_reader(r->real, err);
    if (rc == 0)
        rc =
            backup_store_range(r->real->worker, &mock_engine, r->real->reader, &what, &result, err);
    return rc < 0 ? rc : buf_append_slice(ret_blob, buf_slice(&result.blob), err);
}

/* ---- commit -------------------------------------------------------------------------------------- */

struct results {
    const struct sim_runner *runner;
    const struct backup_result *final;
};

static int next_result(void *arg, uint32_t index, struct slice *ret, struct tm_err *err)
{
    const struct results *results = arg;
    if (index == results->runner->finish_ranges) {
        *ret = buf_slice(&results->final->blob);
        return 1;
    }
    if (index >= results->runner->entry_count)
        return tm_err_set(err, TM_E_INTERNAL, "result %u is missing", index);
    *ret = buf_slice(&results->runner->blobs[index]);
    return 1;
}

int real_commit(struct world *w, struct sim_runner *r, struct tm_err *err)
{
    struct sim_real *real = r->real;
    TM_CLEANUP(backup_result_release) struct backup_result final = {.raw_bytes = 0};
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf end = BUF_INIT;
    uint8_t key[ENGINE_KEY_MAX];
    size_t key_len = 0;
    int rc = need_reader(real, err);
    if (rc == 0)
        rc = mock_engine.final_key(real->reader, key, &key_len);
    if (rc < 0)
        return rc;
    real_begin_blob(&begin);
    real_end_blob(&end);
    /* like a runner's: below the commit's, never twice */
    struct epoch epoch = {r->finish_term,
                          (r->attempt * 1000 + r->generation) * 1000 + real->finals++};
    struct backup_lease lease = {
        .index = r->finish_ranges, .epoch = epoch, .range = {slice_of(key, key_len), SLICE_EMPTY}};
    rc = backup_store_final(real->worker, &mock_engine, real->reader, buf_slice(&end), &lease,
                            &final, err);
    if (rc < 0)
        return rc;
    struct backup_commit commit = {
        .epoch = {r->finish_term, (r->attempt * 1000 + r->generation) * 1000 + 999},
        .begin = buf_slice(&begin),
        .end = buf_slice(&end),
        .started_us = 1,
        .commit_us = 2,
        .engine = "mock",
        .engine_version = "1",
        .lineage_label = "1",
        .node = w->agents[r->agent].node,
        .name = "sim",
        .ranges = r->finish_ranges + 1};
    struct results results = {.runner = r, .final = &final};
    struct backup_totals totals;
    rc = backup_commit(real->worker, &commit, next_result, &results, &totals, err);
    return rc;
}

int real_sweep(struct world *w, struct sim_runner *r, bool remove, int64_t grace_us,
               bool *ret_committed, uint64_t *ret_left_us, struct tm_err *err)
{
    struct backup_sweep_result swept = {.objects = 0};
    int64_t now_us = (int64_t)(SEC(1790000000) + w->now_us);
    int rc = backup_sweep(r->real->backup, remove ? BACKUP_SWEEP_DELETE : BACKUP_SWEEP_ABORT, "sim",
                          grace_us, &swept, err);
    *ret_committed = rc == -TM_E_REFUSED && !remove;
    *ret_left_us = swept.next_us > now_us ? (uint64_t)(swept.next_us - now_us) : swept.next_us != 0;
    return *ret_committed ? 0 : rc;
}

/* ---- judging ---------------------------------------------------------------------------------------- */

static void keep_entry(struct sim_backup *backup, const struct segment_range *range)
{
    if (backup->entries == NULL)
        backup->entries = calloc(2 * (size_t)SIM_RANGES_MAX, sizeof(*backup->entries));
    if (backup->entries == NULL)
        sim_die("memory", NULL);
    if (backup->entry_count < 2 * (size_t)SIM_RANGES_MAX)
        backup->entries[backup->entry_count++] = (struct sim_object){
            .range = range->index, .term = range->term, .counter = range->counter};
}

static int read_back(struct storage *st, struct sim_backup *backup, struct tm_err *err)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *first = NULL;
    TM_CLEANUP(object_scratch_freep) struct object_scratch *second = NULL;
    TM_CLEANUP(object_scratch_freep) struct object_scratch *third = NULL;
    struct repo_scope scope = scope_of();
    struct verify_totals totals;
    int rc = object_scratch_new(&first, err);
    if (rc == 0)
        rc = object_scratch_new(&second, err);
    if (rc == 0)
        rc = object_scratch_new(&third, err);
    struct object_scratch *scratches[3] = {first, second, third};
    if (rc == 0)
        rc = verify_backup(scratches, st, &scope, backup->id, NULL, NULL, &totals, err);
    struct backup_ranges ranges;
    if (rc < 0 ||
        (rc = backup_ranges_open(&ranges, first, second, st, &scope, backup->id, err)) < 0)
        return rc;
    struct segment_range range;
    backup->entry_count = 0;
    while ((rc = backup_ranges_next(&ranges, &range, err)) == 1)
        keep_entry(backup, &range);
    backup_ranges_release(&ranges);
    if (rc == 0 && backup->entry_count > 0)
        backup->entry_count--; /* the final range has no lease */
    return rc;
}

void real_look(struct world *w, const char *backup_id)
{
    struct sim_backup *backup = depot_find(w, backup_id, true);
    struct storage *st = NULL;
    struct repo_scope scope = scope_of();
    enum backup_state state = BACKUP_UNFINISHED;
    struct ram_faults none = {0};
    struct tm_err err;
    if (ram_open(w->registry, "depot", &st, &err) < 0)
        sim_die("storage", &err);
    ram_set_faults(st, &none);
    int rc = catalog_backup_state(st, &scope, backup_id, &state, &err);
    bool before = backup->manifest;
    backup->manifest = rc == 0 && state == BACKUP_COMMITTED;
    if (rc == 0 && backup->manifest && !before)
        rc = read_back(st, backup, &err);
    if (rc < 0)
        sim_violate(w, "committed backup %s cannot be read: %s", backup_id, err.msg);
    real_set_faults(w, st);
    storage_free(st);
}

void real_set_faults(struct world *w, struct storage *st)
{
    struct ram_faults faults = {.seed = sim_random(w),
                                .fail_per_mille = w->now_us < w->profile.faults_until_us ? 2 : 0,
                                .drop_reply_per_mille = 10,
                                .no_conditional_create = w->profile.loss % 2 != 0};
    ram_set_faults(st, &faults);
}
