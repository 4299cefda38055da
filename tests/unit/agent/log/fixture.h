#ifndef TM_TESTS_UNIT_AGENT_LOG_FIXTURE_H
#define TM_TESTS_UNIT_AGENT_LOG_FIXTURE_H
/*
 * A log task over the null engine, in a thread, with everything a test wants to change or see.
 *
 *     struct rig g;
 *     RIG_BEGIN(&g, "log=300000 rate=1000000");               a directory, a source, the storage
 *     rig_start(&g, generation);                              a task runs
 *     rig_want(&g, JOB_STEP_RUN);
 *     RIG_UNTIL(&g, g.status.durable > 1000);
 *     rig_source(&g, "…");                                    the source changes
 *     rig_stop(&g);                                           canceled and joined
 *     rig_end(&g);
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/engine/null/null.h"
#include "agent/log/internal.h"
#include "common/clock.h"
#include "common/fs.h"
#include "common/storage/ram.h"
#include "proto/format/chunk.h"
#include "proto/repo/logs.h"

static struct tm_err g_err;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) < 0)                                                                            \
            fail_msg("%s: %s", #expr, g_err.msg);                                                  \
    } while (0)

#define RIG_WAIT_US (20 * USEC_PER_SEC)

/* What the task told, without its pointers: they are copied. */
#define RIG_TOLD                                                                                   \
    unsigned calls;                                                                                \
    enum job_stage stage;                                                                          \
    struct msg_log_status status;                                                                  \
    struct msg_error error;                                                                        \
    char error_text[WIRE_TEXT_MAX + 1];                                                            \
    char truncate_text[WIRE_TEXT_MAX + 1];                                                         \
    char warning[WIRE_TEXT_MAX + 1];                                                               \
    int64_t truncate_since_us;                                                                     \
    char removal_text[WIRE_TEXT_MAX + 1];                                                          \
    bool has_error, has_truncate_error, has_removal_error;

struct rig_told {
    RIG_TOLD
};

struct rig {
    char dir[64];
    char state[128];
    char conninfo[512];
    struct storage *storage;
    struct log_task_options options;
    struct msg_log_params params;
    struct log_task *task;
    pthread_t thread;
    bool running;
    int result;
    struct tm_err result_err;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned inside; /* status calls at once */
    bool overlapped;
    struct rig_told now; /* under the lock */
    union {              /* as it was when RIG_UNTIL looked */
        struct rig_told seen;
        struct {
            RIG_TOLD
        };
    };
};

static void rig_status(void *arg, enum job_stage stage, const struct msg_log_status *status)
{
    struct rig *g = arg;
    pthread_mutex_lock(&g->lock);
    struct rig_told *now = &g->now;
    g->overlapped = g->overlapped || g->inside > 0;
    g->inside++;
    now->calls++;
    now->stage = stage;
    now->status = *status;
    now->has_error = status->error != NULL;
    if (status->error) {
        now->error = *status->error;
        (void)snprintf(now->error_text, sizeof(now->error_text), "%s", status->error->text);
    }
    now->has_removal_error = status->removal_error != NULL;
    if (status->removal_error)
        (void)snprintf(now->removal_text, sizeof(now->removal_text), "%s",
                       status->removal_error->text);
    (void)snprintf(now->warning, sizeof(now->warning), "%s",
                   status->warning ? status->warning : "");
    now->has_truncate_error = status->truncate_error != NULL;
    if (status->truncate_error) {
        (void)snprintf(now->truncate_text, sizeof(now->truncate_text), "%s",
                       status->truncate_error->text);
        now->truncate_since_us = status->truncate_error->since_us;
    }
    g->inside--;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

/* The words of the source's state from now on. */
static void rig_source(struct rig *g, const char *words)
{
    OK(fs_write_atomic(g->state, slice_str(words), 0600, &g_err));
}

static void rig_begin_options(struct rig *g, const char *url, const char *words)
{
    *g = (struct rig){.running = false};
    (void)snprintf(g->dir, sizeof(g->dir), "/tmp/tm_log_XXXXXX");
    assert_non_null(mkdtemp(g->dir));
    (void)snprintf(g->state, sizeof(g->state), "%s/source", g->dir);
    (void)snprintf(g->conninfo, sizeof(g->conninfo), "state=%s", g->state);
    rig_source(g, words);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
    OK(storage_open(url, &(struct storage_options){.create_root = true}, &g->storage, &g_err));
    g->options = (struct log_task_options){
        .storage = g->storage,
        .engine = &null_engine,
        .engine_name = "null",
        .instance = {.tenant = "main", .data_dir = "/", .conninfo = g->conninfo},
        .node = "n1",
        .name = "task1",
        .zstd_level = 1,
        .status = rig_status,
        .arg = g,
    };
    OK(names_scope_set(&g->options.scope, "demo1", "main", "null1", &g_err));
    g->params = (struct msg_log_params){.flush_ms = 100};
}

/* Storage in memory, of this test. */
#define RIG_BEGIN(g, words) rig_begin_options(g, rig_url(__func__), words)

static inline TM_UNUSED const char *rig_url(const char *test)
{
    static char url[128];
    (void)snprintf(url, sizeof(url), "ram://%s", test);
    return url;
}

static void *rig_main(void *arg)
{
    struct rig *g = arg;
    int r = log_task_run(g->task, &g->result_err);
    pthread_mutex_lock(&g->lock);
    g->result = r;
    g->running = false;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static inline TM_UNUSED void rig_start(struct rig *g, uint32_t generation)
{
    g->options.epoch = (struct epoch){7, generation << 16};
    OK(log_task_new(&g->options, &g->task, &g_err));
    g->running = true;
    g->result = 0;
    g->now = g->seen = (struct rig_told){.calls = 0};
    assert_int_equal(pthread_create(&g->thread, NULL, rig_main, g), 0);
}

static inline TM_UNUSED void rig_want(struct rig *g, enum job_step step)
{
    OK(log_task_want(g->task, step, &g->params, &g_err));
}

/* Waits until the condition holds of what was told last; fails after half a minute. */
#define RIG_UNTIL(g, condition)                                                                    \
    do {                                                                                           \
        int64_t rig_until_us = clock_mono_us() + RIG_WAIT_US;                                      \
        pthread_mutex_lock(&(g)->lock);                                                            \
        while ((g)->seen = (g)->now, !(condition) && clock_mono_us() < rig_until_us) {             \
            struct timespec rig_at = clock_after(CLOCK_REALTIME, 100000);                          \
            (void)pthread_cond_timedwait(&(g)->changed, &(g)->lock, &rig_at);                      \
        }                                                                                          \
        bool rig_held = (condition);                                                               \
        char rig_text[700];                                                                        \
        (void)snprintf(rig_text, sizeof(rig_text), "durable %llu, stage %d, error '%s'",           \
                       (unsigned long long)(g)->status.durable, (int)(g)->stage,                   \
                       (g)->has_error ? (g)->error_text                                            \
                       : (g)->running ? ""                                                         \
                                      : (g)->result_err.msg);                                      \
        pthread_mutex_unlock(&(g)->lock);                                                          \
        if (!rig_held)                                                                             \
            fail_msg("never: %s; %s", #condition, rig_text);                                       \
    } while (0)

static inline TM_UNUSED void rig_pause(struct rig *g)
{
    rig_want(g, JOB_STEP_PAUSE);
    RIG_UNTIL(g, g->stage == JOB_STAGE_PAUSED);
}

/* The run ended by itself. */
static inline TM_UNUSED void rig_join(struct rig *g)
{
    pthread_join(g->thread, NULL);
    log_task_free(g->task);
    g->task = NULL;
    assert_false(g->overlapped);
}

static inline TM_UNUSED void rig_stop(struct rig *g)
{
    if (!g->task)
        return;
    log_task_cancel(g->task);
    rig_join(g);
    assert_int_equal(g->result, -TM_E_CANCELED);
}

static inline TM_UNUSED void rig_end(struct rig *g)
{
    if (g->task) {
        log_task_cancel(g->task);
        rig_join(g);
    }
    storage_free(g->storage);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    OK(fs_remove_tree(g->dir, true, &g_err));
    ram_process_registry_free();
}

/* ---- what is stored ---- */

struct stored {
    uint64_t from, to; /* of the last unbroken run */
    unsigned runs;
    unsigned chunks;
    uint64_t next_event;
    uint64_t checked_events;
    unsigned marks;
};

static inline TM_UNUSED struct log_lineages rig_lineages(struct rig *g)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct log_lineages list = LOG_LINEAGES_INIT;
    OK(object_scratch_new(&scratch, &g_err));
    OK(log_lineages_read(scratch, g->storage, &g->options.scope, &list, &g_err));
    return list;
}

/* Each commit of the bytes is told once, in the chunk where its record ends. */
static void check_events(struct chunk_reader *cr, struct stored *ret)
{
    struct slice section = SLICE_EMPTY;
    struct events_reader reader;
    struct log_point point;
    uint64_t each = 16 * (uint64_t)NULL_LOG_RECORD;
    uint64_t expect = 0;
    /* records that end in (from, to] */
    uint64_t first = (cr->root.from / NULL_LOG_RECORD + 15) / 16 * each;
    for (uint64_t at = first; at + NULL_LOG_RECORD <= cr->root.to; at += each)
        expect++;
    assert_int_equal(cr->root.events, expect);
    if (expect == 0)
        return;
    assert_int_equal(chunk_reader_section(cr, OBJECT_SECTION_EVENTS, &section, &g_err), 1);
    OK(events_reader_init(&reader, section, &g_err));
    for (uint64_t at = first; expect > 0; at += each, expect--) {
        assert_int_equal(events_reader_next(&reader, &point, &g_err), 1);
        assert_int_equal(point.at, at);
        assert_int_equal(point.time_us, NULL_LOG_TIME_US + (int64_t)at);
        ret->checked_events++;
    }
    assert_int_equal(events_reader_next(&reader, &point, &g_err), 0);
}

/* The bytes of one chunk are the source's, and so are the digests that the chain claims. */
static void check_chunk(struct rig *g, const struct log_lineage *l, const struct log_entry *e,
                        const char *conninfo, struct log_digest *digest, struct buf *taken,
                        struct stored *ret)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct chunk_reader cr;
    struct log_ref ref;
    struct slice piece;
    uint64_t at;
    int r;
    OK(object_scratch_new(&scratch, &g_err));
    log_entry_ref(&l->record, e, &ref);
    struct full_name name = names_full(&g->options.scope, ref.object);
    OK(chunk_reader_open(&cr, scratch, g->storage, name.s, &ref, &g_err));
    uint8_t *want = malloc(OBJECT_FRAME_BYTES_MAX);
    assert_non_null(want);
    buf_reset(taken);
    while ((r = chunk_reader_next(&cr, &at, &piece, &g_err)) == 1) {
        OK(null_log_fill(conninfo, at, want, piece.len, &g_err));
        assert_memory_equal(want, piece.data, piece.len);
        if (digest->hash)
            OK(log_digest_update(digest, piece, taken, &g_err));
    }
    OK(r);
    free(want);
    check_events(&cr, ret);
    struct slice section = SLICE_EMPTY;
    if (taken->len > 0) { /* the count comes first: one byte below 128, three above 255 */
        assert_int_equal(chunk_reader_section(&cr, OBJECT_SECTION_DIGESTS, &section, &g_err), 1);
        assert_true(section.len > taken->len && section.len <= taken->len + 3);
        assert_memory_equal(section.data + (section.len - taken->len), taken->data, taken->len);
    }
    chunk_reader_release(&cr);
}

/* Reads the whole lineage and compares it with the source. */
static inline TM_UNUSED struct stored rig_check(struct rig *g, const struct log_lineage *l,
                                                const char *conninfo)
{
    struct object_scratch *scratches[2] = {NULL, NULL};
    struct log_chain *chain = NULL;
    struct log_entry entry;
    struct stored out = {.from = l->record.from, .to = l->record.from};
    struct log_digest digest = {.segment_bytes = 0};
    TM_CLEANUP(buf_release) struct buf taken = BUF_INIT;
    int r;
    OK(object_scratch_new(&scratches[0], &g_err));
    OK(object_scratch_new(&scratches[1], &g_err));
    OK(log_chain_open(scratches, g->storage, &g->options.scope, l, 0, &chain, &g_err));
    while ((r = log_chain_next(chain, &entry, &g_err)) == 1) {
        if (out.chunks == 0 || entry.from != out.to) {
            out.from = entry.from;
            out.runs++;
            log_digest_release(&digest);
            OK(log_digest_init(&digest, NULL_LOG_SEGMENT, entry.from, NULL, &g_err));
        }
        assert_true(entry.from >= out.to && entry.to > entry.from);
        if (entry.mark_us != 0) {
            assert_true(entry.mark_at <= entry.to);
            out.marks++;
        }
        check_chunk(g, l, &entry, conninfo, &digest, &taken, &out);
        out.to = entry.to;
        out.chunks++;
    }
    OK(r);
    log_chain_free(chain);
    log_digest_release(&digest);
    object_scratch_free(scratches[0]);
    object_scratch_free(scratches[1]);
    return out;
}

/* Unbroken runs of the first lineage. */
static inline TM_UNUSED unsigned rig_runs(struct rig *g)
{
    struct log_lineages list = rig_lineages(g);
    unsigned runs = rig_check(g, &list.items[0], g->conninfo).runs;
    log_lineages_release(&list);
    return runs;
}

/* ---- small things ---- */

#define S NULL_LOG_START

/* Objects of one room of a lineage. */
static inline TM_UNUSED unsigned count_room(struct rig *g, const uint8_t lineage[16],
                                            const char *room)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct full_name prefix = names_log_prefix(&g->options.scope, lineage, room);
    struct storage_object object;
    unsigned n = 0;
    OK(storage_list(g->storage, prefix.s, NULL, &it, &g_err));
    while (storage_iter_next(it, &object, &g_err) == 1)
        n++;
    return n;
}

static inline TM_UNUSED bool hold_file(const struct rig *g)
{
    char name[LOG_HOLD_NAME_MAX + 1], path[256];
    bool there = false;
    log_hold_name(&g->options.scope, "task1", name);
    (void)snprintf(path, sizeof(path), "%s.hold.%s", g->state, name);
    OK(fs_exists(path, &there, &g_err));
    return there;
}

static inline TM_UNUSED void run_to(struct rig *g, uint32_t generation, uint64_t durable)
{
    rig_start(g, generation);
    rig_want(g, JOB_STEP_RUN);
    RIG_UNTIL(g, g->stage == JOB_STAGE_WORKING && g->status.durable == durable);
}

#endif
