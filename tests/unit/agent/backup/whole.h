#ifndef TM_TESTS_UNIT_AGENT_BACKUP_WHOLE_H
#define TM_TESTS_UNIT_AGENT_BACKUP_WHOLE_H
/*
 * A whole backup of a null or mock database, in one thread, for the tests of backup and restore.
 *
 *     struct whole w;
 *     whole_begin(&w, st, &null_engine, "files=20");   session, repository, reader, plan
 *     whole_ranges(&w);                                 every planned range
 *     whole_log(&w); whole_final(&w); whole_commit(&w); or all of it: whole_run
 *     whole_end(&w);
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/backup/backup.h"
#include "agent/engine/null/mock.h"
#include "agent/engine/null/null.h"
#include "common/storage/ram.h"
#include "common/storage/storage.h"

#define WHOLE_RANGES_MAX 256
#define WHOLE_ID         "20261121T100000Z-0000abcd"

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) < 0)                                                                            \
            fail_msg("%s: %s", #expr, w_err.msg);                                                  \
    } while (0)

struct whole_range {
    uint8_t start[ENGINE_KEY_MAX], end[ENGINE_KEY_MAX];
    size_t start_len, end_len;
    struct backup_result result;
};

struct whole {
    const struct engine_ops *engine;
    struct engine_instance instance;
    struct engine_session *session;
    struct engine_reader *reader;
    struct backup *backup;
    struct backup_worker *worker;
    struct backup_log *log;
    struct buf begin, end;
    struct engine_position replay_from, consistent_at;
    int64_t commit_us;
    uint64_t log_from, log_to;
    struct backup_options options;
    struct whole_range *ranges;
    uint32_t count;
    struct backup_result final;
    struct backup_totals totals;
};

static struct tm_err w_err;

static int whole_take(void *arg, uint32_t index, struct engine_key_range range, uint64_t bytes,
                      struct tm_err *err)
{
    struct whole *w = arg;
    (void)bytes;
    (void)err;
    assert_int_equal(index, w->count);
    assert_true(w->count < WHOLE_RANGES_MAX);
    struct whole_range *r = &w->ranges[w->count++];
    if (range.start.len)
        memcpy(r->start, range.start.data, range.start.len);
    if (range.end.len)
        memcpy(r->end, range.end.data, range.end.len);
    r->start_len = range.start.len;
    r->end_len = range.end.len;
    return 0;
}

static void whole_options(struct whole *w, struct storage *st, const struct engine_ops *engine)
{
    *w = (struct whole){.engine = engine};
    w->options = (struct backup_options){.storage = st,
                                         .engine = engine->name,
                                         .backup_id = WHOLE_ID,
                                         .epoch = {1, 1},
                                         .lead = true,
                                         .zstd_level = 3};
    OK(names_scope_set(&w->options.scope, "demo1", "main", "null1", &w_err));
}

static void whole_begin_options(struct whole *w, const char *conninfo)
{
    w->ranges = calloc(WHOLE_RANGES_MAX, sizeof(*w->ranges));
    assert_non_null(w->ranges);
    w->instance = (struct engine_instance){.tenant = "main", .data_dir = "/", .conninfo = conninfo};
    OK(w->engine->session_open(&w->instance, "test", &w->session, &w_err));
    OK(w->engine->snapshot_begin(w->session, NULL, true, &w->begin, &w->replay_from, &w_err));
    OK(backup_open(&w->options, &w->backup, &w_err));
    OK(backup_worker_new(w->backup, &w->worker, &w_err));
    OK(w->engine->reader_open(&w->instance, buf_slice(&w->begin), &w->reader, &w_err));
    struct engine_plan_options plan = {.range_bytes = 256 * 1024};
    struct backup_plan_totals totals;
    OK(backup_store_plan(w->worker, w->engine, w->reader, &plan, whole_take, w, &totals, &w_err));
    assert_int_equal(totals.ranges, w->count);
}

static inline TM_UNUSED void whole_begin(struct whole *w, struct storage *st,
                                         const struct engine_ops *engine, const char *conninfo)
{
    whole_options(w, st, engine);
    whole_begin_options(w, conninfo);
}

static struct backup_lease whole_lease(struct whole *w, uint32_t i, struct epoch epoch)
{
    struct whole_range *r = &w->ranges[i];
    return (struct backup_lease){
        .index = i,
        .epoch = epoch,
        .range = {slice_of(r->start, r->start_len), slice_of(r->end, r->end_len)}};
}

static void whole_ranges(struct whole *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        struct backup_lease lease = whole_lease(w, i, (struct epoch){1, i + 1});
        OK(backup_store_range(w->worker, w->engine, w->reader, &lease, &w->ranges[i].result,
                              &w_err));
    }
}

static void whole_stop(struct whole *w)
{
    OK(w->engine->snapshot_end(w->session, &w->end, &w->consistent_at, &w->commit_us, &w_err));
    if (w->engine->caps & ENGINE_CAP_LOG) {
        assert_int_equal(w->engine->log_position(&w->replay_from, &w->log_from), 0);
        assert_int_equal(w->engine->log_position(&w->consistent_at, &w->log_to), 0);
    }
}

static void whole_log(struct whole *w)
{
    if (!(w->engine->caps & ENGINE_CAP_LOG))
        return;
    struct backup_log_options options = {
        .lineage_label = "1", .from = w->log_from, .epoch = {1, 1}};
    struct engine_log *elog = NULL;
    uint64_t next, flushed;
    int r;
    OK(backup_log_open(w->backup, &options, &w->log, &next, &w_err));
    OK(w->engine->log_open(&w->instance, buf_slice(&w->begin), next, &elog, &w_err));
    while ((r = backup_log_pump(w->log, w->engine, elog, w->log_to, 0, &flushed, &w_err)) == 1)
        ;
    OK(r);
    w->engine->log_close(elog);
    OK(backup_log_finish(w->log, &w_err));
    assert_int_equal(backup_log_durable(w->log), w->log_to);
}

static void whole_final(struct whole *w)
{
    uint8_t key[ENGINE_KEY_MAX];
    size_t len;
    assert_int_equal(w->engine->final_key(w->reader, key, &len), 0);
    struct backup_lease lease = {
        .index = w->count, .epoch = {1, 1000}, .range = {slice_of(key, len), SLICE_EMPTY}};
    OK(backup_store_final(w->worker, w->engine, w->reader, buf_slice(&w->end), &lease, &w->final,
                          &w_err));
}

static int whole_next(void *arg, uint32_t index, struct slice *ret, struct tm_err *err)
{
    struct whole *w = arg;
    (void)err;
    if (index > w->count)
        return 0;
    *ret = buf_slice(index == w->count ? &w->final.blob : &w->ranges[index].result.blob);
    return ret->len > 0;
}

static int whole_try_commit(struct whole *w)
{
    struct backup_commit commit = {.epoch = {1, 2000},
                                   .begin = buf_slice(&w->begin),
                                   .end = buf_slice(&w->end),
                                   .replay_from = w->replay_from,
                                   .consistent_at = w->consistent_at,
                                   .log_from = w->log_from,
                                   .log_to = w->log_to,
                                   .log = w->log,
                                   .started_us = 1000000,
                                   .commit_us = w->commit_us,
                                   .engine = w->engine->name,
                                   .engine_version = "1",
                                   .lineage_label = "1",
                                   .node = "n1",
                                   .name = "job1",
                                   .ranges = w->count + 1};
    return backup_commit(w->worker, &commit, whole_next, w, &w->totals, &w_err);
}

static inline TM_UNUSED void whole_run(struct whole *w)
{
    whole_ranges(w);
    whole_stop(w);
    whole_log(w);
    whole_final(w);
    OK(whole_try_commit(w));
}

static inline TM_UNUSED void whole_end(struct whole *w)
{
    backup_log_free(w->log);
    for (uint32_t i = 0; w->ranges && i < w->count; i++)
        backup_result_release(&w->ranges[i].result);
    free(w->ranges);
    backup_result_release(&w->final);
    if (w->reader)
        w->engine->reader_close(w->reader);
    if (w->session)
        w->engine->session_close(w->session);
    backup_worker_free(w->worker);
    backup_free(w->backup);
    buf_release(&w->begin);
    buf_release(&w->end);
}

#endif
