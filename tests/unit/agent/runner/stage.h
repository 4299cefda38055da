#ifndef TM_TESTS_UNIT_AGENT_RUNNER_STAGE_H
#define TM_TESTS_UNIT_AGENT_RUNNER_STAGE_H
/*
 * A job through the runner's socket, with the test as the agent: all that a whole backup takes. For the
 * tests beside it; each includes it once.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/engine/null/null.h"
#include "agent/runner/frames.h"
#include "agent/runner/runner.h"
#include "common/fd.h"
#include "common/fs.h"
#include "common/storage/ram.h"
#include "proto/repo/verify.h"

#define ID       "20261121T100000Z-0000abcd"
#define CONNINFO "files=60 bytes=20000 big=2000000 log=20000000 corrupt=1"
#define RANGES   64

static struct tm_err err;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) < 0)                                                                            \
            fail_msg("%s: %s", #expr, err.msg);                                                    \
    } while (0)

/* What an agent keeps of a job. */
struct agent {
    int fd;
    pthread_t thread;
    struct buf in;
    struct frame_job job;
    struct msg_backup_params params;
    struct msg_log_params log_params; /* of a log job, which a test makes of this one */
    struct engine_session *session;
    struct buf begin, end;
    struct engine_position from, at;
    int64_t commit_us;
    struct frame planned[8]; /* batches, kept for their keys */
    size_t batches;
    const struct msg_plan_range *ranges[RANGES];
    uint32_t range_count;
    bool keeps_rest;   /* a runner that needs ranges gets no more by itself */
    struct slice root; /* of the last batch */
    struct buf blobs[RANGES];
    uint32_t done;
    uint32_t handed;
    uint64_t durable;
    char warning[256];
    struct frame_progress progress;
    char failed[256];
    struct runner_args {
        int fd;
        int result;
    } args;
};

static TM_UNUSED void *serve(void *arg)
{
    struct runner_args *args = arg;
    struct tm_err ignored;
    args->result = runner_serve(args->fd, &ignored);
    return NULL;
}

static TM_UNUSED void agent_start(struct agent *a)
{
    int pair[2];
    OK(fd_socketpair(false, pair, &err));
    a->fd = pair[0];
    a->args.fd = pair[1];
    assert_int_equal(pthread_create(&a->thread, NULL, serve, &a->args), 0);
}

static TM_UNUSED void agent_stop(struct agent *a)
{
    struct frame f = {.type = FRAME_stop};
    struct tm_err ignored;
    if (a->fd >= 0 && frame_send(a->fd, &f, &ignored) < 0)
        ignored.code = TM_E_OK; /* it ended by itself */
    pthread_join(a->thread, NULL);
    closep(&a->fd);
    buf_release(&a->in);
    a->in = BUF_INIT;
}

static TM_UNUSED void agent_release(struct agent *a)
{
    for (size_t i = 0; i < a->batches; i++)
        frame_release(&a->planned[i]);
    for (uint32_t i = 0; i < RANGES; i++)
        buf_release(&a->blobs[i]);
    if (a->session)
        null_engine.session_close(a->session);
    buf_release(&a->begin);
    buf_release(&a->end);
}

static TM_UNUSED void agent_init(struct agent *a, const char *storage)
{
    *a = (struct agent){.fd = -1,
                        .params = {.backup_id = ID,
                                   .compression = "zstd:1",
                                   .concurrency = 3,
                                   .range_bytes = 200000},
                        .job = {.kind = JOB_KIND_BACKUP,
                                .uid = "job1",
                                .attempt = 1,
                                .roles = JOB_ROLE_LEAD | JOB_ROLE_WORKER,
                                .generation = 1,
                                .term = 7,
                                .cluster = "demo1",
                                .node = "n1",
                                .tenant = "main",
                                .engine = "null",
                                .identity = "null1",
                                .version = "1",
                                .data_dir = "/",
                                .conninfo = CONNINFO,
                                .storage = storage}};
    a->job.backup = &a->params;
}

static TM_UNUSED void tell(struct agent *a, const struct frame *f)
{
    OK(frame_send(a->fd, f, &err));
}

static TM_UNUSED void tell_job(struct agent *a)
{
    struct frame f = {.type = FRAME_job, .job = a->job};
    tell(a, &f);
}

static TM_UNUSED void take_plan(struct agent *a, struct frame *f)
{
    assert_true(a->batches < TM_ARRAY_LEN(a->planned));
    assert_int_equal(f->plan_batch.first, a->range_count);
    a->planned[a->batches] = *f;
    f->arena = (struct codec_arena){0};
    const struct frame_plan_batch *batch = &a->planned[a->batches++].plan_batch;
    a->root = batch->root;
    for (size_t i = 0; i < batch->ranges_count; i++) {
        assert_true(a->range_count < RANGES);
        a->ranges[a->range_count++] = &batch->ranges[i];
    }
}

static TM_UNUSED void hand_out(struct agent *a, uint32_t count)
{
    struct msg_lease leases[8];
    struct frame f = {.type = FRAME_ranges, .ranges = {.leases = leases}};
    while (count-- > 0 && a->handed < a->range_count && f.ranges.leases_count < 8) {
        const struct msg_plan_range *range = a->ranges[a->handed];
        leases[f.ranges.leases_count++] = (struct msg_lease){.range = a->handed,
                                                             .term = a->job.term,
                                                             .counter = a->handed + 1,
                                                             .start = range->start,
                                                             .end = range->end};
        a->handed++;
    }
    if (f.ranges.leases_count > 0)
        tell(a, &f);
}

static TM_UNUSED void answer_results(struct agent *a, uint32_t from)
{
    struct msg_result results[5]; /* small pages: several are needed */
    struct frame f = {.type = FRAME_results, .results = {.from = from, .results = results}};
    while (from + f.results.results_count < a->range_count && f.results.results_count < 5) {
        uint32_t i = from + (uint32_t)f.results.results_count++;
        results[i - from] = (struct msg_result){
            .range = i, .term = a->job.term, .counter = i + 1, .blob = buf_slice(&a->blobs[i])};
    }
    tell(a, &f);
}

static TM_UNUSED void take_done(struct agent *a, const struct frame_range_done *done)
{
    assert_true(done->range < RANGES);
    assert_int_equal(a->blobs[done->range].len, 0);
    OK(buf_append_slice(&a->blobs[done->range], done->blob, &err));
    if (done->counters->problem)
        assert_string_equal(done->counters->problem,
                            "d00000/f00000000, block 0: page checksum does not match");
    a->done++;
}

/* Reads frames until one of this type came; deals with all others as an agent would. */
static TM_UNUSED void until(struct agent *a, enum frame_type type, struct frame *ret)
{
    for (;;) {
        struct frame f;
        int r = frame_recv(a->fd, &a->in, &f, &err);
        if (r <= 0)
            fail_msg("no %s: %s", frame_name(type), r < 0 ? err.msg : "end of file");
        if (f.type == FRAME_plan_batch)
            take_plan(a, &f);
        else if (f.type == FRAME_range_done)
            take_done(a, &f.range_done);
        else if (f.type == FRAME_log_durable)
            a->durable = f.log_durable.byte;
        else if (f.type == FRAME_warning)
            (void)snprintf(a->warning, sizeof(a->warning), "%s", f.warning.text);
        else if (f.type == FRAME_progress)
            a->progress = f.progress;
        else if (f.type == FRAME_want_results)
            answer_results(a, f.want_results.from);
        else if (f.type == FRAME_failed && type != FRAME_failed)
            fail_msg("failed at %s: %s", f.failed.error->stage, f.failed.error->text);
        if (f.type == FRAME_need && a->range_count > 0 && !a->keeps_rest)
            hand_out(a, f.need.count);
        if (f.type == type) {
            *ret = f;
            return;
        }
        frame_release(&f);
    }
}

static TM_UNUSED void wait_for(struct agent *a, enum frame_type type)
{
    struct frame f;
    until(a, type, &f);
    frame_release(&f);
}

static TM_UNUSED void tell_begin(struct agent *a, bool plan_known)
{
    struct engine_instance instance = {
        .tenant = "main", .data_dir = "/", .conninfo = a->job.conninfo};
    if (!a->session) {
        OK(null_engine.session_open(&instance, "t", &a->session, &err));
        OK(null_engine.snapshot_begin(a->session, NULL, true, &a->begin, &a->from, &err));
    }
    struct frame f = {.type = FRAME_begin,
                      .begin = {.begin = buf_slice(&a->begin),
                                .replay_from = slice_of(a->from.bytes, a->from.len),
                                .lineage_label = "1",
                                .plan_known = plan_known,
                                .plan_root = plan_known ? a->root : SLICE_EMPTY,
                                .plan_ranges = plan_known ? a->range_count : 0}};
    tell(a, &f);
}

static TM_UNUSED void tell_finish(struct agent *a)
{
    if (a->end.len == 0)
        OK(null_engine.snapshot_end(a->session, &a->end, &a->at, &a->commit_us, &err));
    struct frame f = {.type = FRAME_finish,
                      .finish = {.end = buf_slice(&a->end),
                                 .consistent_at = slice_of(a->at.bytes, a->at.len),
                                 .consistent_at_text = "end",
                                 .commit_us = a->commit_us,
                                 .plan_ranges = a->range_count,
                                 .term = a->job.term}};
    tell(a, &f);
}

static TM_UNUSED void verify(const char *url)
{
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    struct object_scratch *scratches[3];
    struct repo_scope scope;
    struct verify_totals totals;
    OK(storage_open(url, &(struct storage_options){.io_timeout_ms = 0}, &st, &err));
    OK(names_scope_set(&scope, "demo1", "main", "null1", &err));
    for (size_t i = 0; i < 3; i++)
        OK(object_scratch_new(&scratches[i], &err));
    OK(verify_backup(scratches, st, &scope, ID, NULL, NULL, &totals, &err));
    for (size_t i = 0; i < 3; i++)
        object_scratch_free(scratches[i]);
}

static TM_UNUSED void work_all(struct agent *a)
{
    while (a->range_count == 0)
        wait_for(a, FRAME_plan_batch);
    while (a->done < a->range_count) {
        hand_out(a, 2);
        wait_for(a, FRAME_range_done);
    }
}

/* ---- checkpoints ---- */

/* A page of accepted results: ranges [from, from + count), done under this term. */
static TM_UNUSED void tell_accepted(struct agent *a, uint32_t from, uint32_t count, uint64_t term,
                                    bool last)
{
    struct msg_result results[8];
    struct frame f = {.type = FRAME_accepted,
                      .accepted = {.last = last, .results = results, .results_count = count}};
    for (uint32_t i = 0; i < count; i++)
        results[i] = (struct msg_result){.range = from + i,
                                         .term = term,
                                         .counter = from + i + 1,
                                         .blob = buf_slice(&a->blobs[from + i])};
    tell(a, &f);
}

/* Leases ranges until the first `count` are done, and perhaps some more. */
static TM_UNUSED void work_first(struct agent *a, uint32_t count)
{
    while (a->range_count < count)
        wait_for(a, FRAME_plan_batch);
    while (a->handed < count)
        hand_out(a, count - a->handed);
    for (uint32_t i = 0; i < count; i++) {
        while (a->blobs[i].len == 0)
            wait_for(a, FRAME_range_done);
    }
}

/* An attempt that stores a checkpoint with its first `done` ranges, and is interrupted. */
static TM_UNUSED void interrupted(struct agent *a, const char *storage, const char *conninfo,
                                  uint32_t done)
{
    struct frame f;
    agent_init(a, storage);
    a->job.conninfo = conninfo;
    a->params.checkpoint = true;
    agent_start(a);
    tell_job(a);
    wait_for(a, FRAME_ready);
    tell_begin(a, false);
    until(a, FRAME_want_accepted, &f);
    assert_int_equal(f.want_accepted.stored, 0);
    frame_release(&f);
    work_first(a, done);
    tell_accepted(a, 0, done, a->job.term, false);
    until(a, FRAME_want_accepted, &f);
    assert_int_equal(f.want_accepted.stored, done);
    frame_release(&f);
    agent_stop(a);
}

static TM_UNUSED bool checksums; /* the next attempt checks the bytes of what it finds */

/* The next attempt, up to what its runner found. */
static TM_UNUSED void next_attempt(struct agent *a, const char *storage, struct frame *ret_found)
{
    agent_init(a, storage);
    a->job.uid[3]++;
    a->job.attempt = 2;
    a->job.term = 8; /* no lease is like one of the first attempt */
    a->params.checkpoint = true;
    a->params.resume = true;
    a->params.checksum = checksums;
    agent_start(a);
    tell_job(a);
    until(a, FRAME_found, ret_found);
}

/* Its session, which goes on with what was found. */
static TM_UNUSED void session_resume(struct agent *a, const struct frame_found *found)
{
    struct engine_instance instance = {
        .tenant = "main", .data_dir = "/", .conninfo = a->job.conninfo};
    OK(null_engine.session_open(&instance, "t", &a->session, &err));
    OK(null_engine.snapshot_resume(a->session, NULL, true, found->begin, found->log_from, &a->begin,
                                   &a->from, &err));
}

#endif
