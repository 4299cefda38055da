#ifndef TM_TESTS_UNIT_AGENT_BACKUP_CHECKPOINT_H
#define TM_TESTS_UNIT_AGENT_BACKUP_CHECKPOINT_H
/*
 * A snapshot of a null database whose ranges are all stored, and checkpoints of it: for the tests of what
 * the next attempt finds.
 *
 *     begin(f, checksum); store(f, 0, 3); load(f); assert_got(f, 0, 3);
 */
#include "tests/unit/agent/backup/whole.h"

#include "common/hash.h"
#include "proto/format/stream.h"
#include "proto/repo/verify.h"

#define WORDS "files=40 bytes=20000 big=1000000 log=300000"
#define DIR   "backup/" WHOLE_ID "/"
/* checkpoint numbers of epochs {1, 7} and {1, 4000000000} */
#define FIRST  DIR "checkpoint/0000000000000001.00000007-"
#define SECOND DIR "checkpoint/0000000000000001.ee6b2800-"

static TM_UNUSED const struct epoch first = {1, 7};
static TM_UNUSED const struct epoch second = {1, 4000000000};

struct got {
    uint32_t calls;
    bool have[WHOLE_RANGES_MAX];
    struct epoch epochs[WHOLE_RANGES_MAX];
    struct buf blobs[WHOLE_RANGES_MAX];
    uint64_t raw_bytes;
    int answer; /* of the next call, negative */
};

struct fixture {
    struct ram_registry *registry;
    struct storage *st;
    struct whole w;
    struct backup_checkpoint ck;
    struct got got;
    struct backup_checkpoint_found found;
    uint32_t seq;
    struct backup *old; /* the log is still its */
};

static inline TM_UNUSED int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->registry = ram_registry_new();
    OK(ram_open(f->registry, "t", &f->st, &w_err));
    *state = f;
    return 0;
}

static inline TM_UNUSED void got_reset(struct got *got)
{
    for (size_t i = 0; i < WHOLE_RANGES_MAX; i++)
        buf_release(&got->blobs[i]);
    *got = (struct got){.calls = 0};
}

static inline TM_UNUSED int tear_down(void **state)
{
    struct fixture *f = *state;
    got_reset(&f->got);
    backup_checkpoint_found_release(&f->found);
    whole_end(&f->w);
    backup_free(f->old);
    storage_free(f->st);
    ram_registry_freep(&f->registry);
    free(f);
    return 0;
}

/* A snapshot whose ranges are all stored, and nobody knows yet. */
static inline TM_UNUSED void begin(struct fixture *f, bool checksum)
{
    whole_options(&f->w, f->st, &null_engine);
    f->w.options.checksum = checksum;
    whole_begin_options(&f->w, WORDS);
    whole_ranges(&f->w);
    assert_true(f->w.count > 4);
    f->ck = (struct backup_checkpoint){.epoch = first,
                                       .plan = {1, 1},
                                       .ranges = f->w.count,
                                       .begin = buf_slice(&f->w.begin),
                                       .replay_from = f->w.replay_from,
                                       .engine = "null",
                                       .lineage_label = "1",
                                       .node = "db-a",
                                       .started_us = 1234};
}

/* Results of ranges [from, to) into the next checkpoint. */
static inline TM_UNUSED int try_store(struct fixture *f, uint32_t from, uint32_t to)
{
    struct slice results[WHOLE_RANGES_MAX];
    for (uint32_t i = from; i < to; i++)
        results[i - from] = buf_slice(&f->w.ranges[i].result.blob);
    return backup_checkpoint_store(f->w.worker, &f->ck, results, to - from, &f->seq, &w_err);
}

static inline TM_UNUSED void store(struct fixture *f, uint32_t from, uint32_t to)
{
    OK(try_store(f, from, to));
}

/* Another attempt under another epoch, with another `begin`. */
static inline TM_UNUSED void next_writer(struct fixture *f, struct epoch epoch,
                                         const char *begin_text)
{
    f->ck.epoch = epoch;
    f->ck.begin = slice_str(begin_text);
    f->ck.node = "db-b";
    f->seq = 0;
}

static inline TM_UNUSED int take(void *arg, const struct backup_checkpoint_result *result,
                                 struct tm_err *err)
{
    struct got *got = arg;
    if (got->answer < 0)
        return tm_err_set(err, (enum tm_err_code) - got->answer, "asked to fail");
    assert_true(result->index < WHOLE_RANGES_MAX);
    assert_false(got->have[result->index]);
    assert_int_equal(result->stats.bytes, result->raw_bytes);
    got->have[result->index] = true;
    got->epochs[result->index] = result->epoch;
    OK(buf_append_slice(&got->blobs[result->index], result->blob, err));
    got->raw_bytes += result->raw_bytes;
    got->calls++;
    return 0;
}

static inline TM_UNUSED int try_load(struct fixture *f)
{
    got_reset(&f->got);
    backup_checkpoint_found_release(&f->found);
    return backup_checkpoint_load(f->w.worker, take, &f->got, &f->found, &w_err);
}

static inline TM_UNUSED void load(struct fixture *f)
{
    OK(try_load(f));
    assert_int_equal(f->got.calls, f->found.results);
    assert_int_equal(f->got.raw_bytes, f->found.raw_bytes);
}

/* Exactly the ranges [from, to) were told, as they were stored. */
static inline TM_UNUSED void assert_got(const struct fixture *f, uint32_t from, uint32_t to)
{
    assert_int_equal(f->got.calls, to - from);
    for (uint32_t i = from; i < to; i++) {
        assert_true(f->got.have[i]);
        assert_true(slice_eq(buf_slice(&f->got.blobs[i]), buf_slice(&f->w.ranges[i].result.blob)));
    }
}

static inline TM_UNUSED void assert_aside(const struct fixture *f, uint32_t objects,
                                          uint32_t results, const char *text)
{
    assert_string_equal(f->found.aside, text);
    assert_int_equal(f->found.aside_objects, objects);
    assert_int_equal(f->found.aside_results, results);
}

static inline TM_UNUSED struct full_name full(const struct fixture *f, const char *rel)
{
    return names_full(&f->w.options.scope, rel);
}

static inline TM_UNUSED void remove_object(struct fixture *f, const char *rel)
{
    struct full_name name = full(f, rel);
    const char *names[] = {name.s};
    size_t len;
    assert_non_null(ram_bytes(f->st, name.s, &len));
    OK(storage_remove(f->st, names, 1, &w_err));
}

static inline TM_UNUSED bool is_there(struct fixture *f, const char *rel)
{
    struct storage_object found;
    int r = storage_stat(f->st, full(f, rel).s, &found, &w_err);
    assert_true(r == 0 || r == -TM_E_NOT_FOUND);
    return r == 0;
}

static inline TM_UNUSED void flip(struct fixture *f, const char *rel, unsigned percent)
{
    size_t len;
    uint8_t *bytes = ram_bytes(f->st, full(f, rel).s, &len);
    assert_non_null(bytes);
    bytes[TM_MIN(len * percent / 100, len - 1)] ^= 1;
}

static inline TM_UNUSED struct rel_name data_name(uint32_t range, struct epoch epoch)
{
    return names_rel_data(WHOLE_ID, range, epoch);
}

/* A result as some other writer might have made it. */
static inline TM_UNUSED void change_result(struct fixture *f, uint32_t i,
                                           void (*change)(struct segment_range *range))
{
    struct codec_arena arena = {0};
    struct segment_range range;
    struct buf *blob = &f->w.ranges[i].result.blob;
    OK(codec_decode(&segment_range_codec, buf_slice(blob), &arena, &range, &w_err));
    change(&range);
    buf_reset(blob);
    OK(codec_encode(&segment_range_codec, &range, CODEC_MINOR_ALL, blob, &w_err));
    codec_arena_release(&arena);
}

/* Another attempt, in another process. */
static inline TM_UNUSED void reopen(struct fixture *f, bool resumed)
{
    backup_worker_free(f->w.worker);
    if (f->old)
        backup_free(f->w.backup);
    else
        f->old = f->w.backup;
    f->w.worker = NULL;
    f->w.backup = NULL;
    f->w.options.resumed = resumed;
    OK(backup_open(&f->w.options, &f->w.backup, &w_err));
    OK(backup_worker_new(f->w.backup, &f->w.worker, &w_err));
}

static inline TM_UNUSED void later_term(struct segment_range *range)
{
    struct rel_name rel = data_name(range->index, (struct epoch){2, range->counter});
    range->term = 2;
    memcpy(range->object, rel.s, sizeof(range->object));
}

#endif
