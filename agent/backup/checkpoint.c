/*
 * Checkpoints: what an attempt has done, stored for the next one. checkpoint_load.c reads them.
 *
 * Happy path: each result is checked against backup and plan → at most SEGMENT_RANGES of them become
 * one object: its stream are the results as a commit would take them, its root says whose they are.
 * The data that a result names is durable before the result exists, so nothing here dangles.
 *
 * Failure: an object that could not be stored is stored again under the next number, with all its
 * results; a reader does not mind results that come twice. A name may be taken by an object of ours
 * whose answer was lost, and, as checkpoints and segments share their names, by a segment.
 */
#include "agent/backup/internal.h"

#include "common/hash.h"

/* A blob up to this size is in every checkpoint of a writer; a larger one in the first. */
#define BEGIN_WHOLE_MAX (32u << 10)
/* Names tried for one object: whoever finds more of them taken has met a store that is not well. */
#define NAMES_TRIED_MAX 1024u

int backup_checkpoint_check(const struct backup *b, const struct segment_range *range,
                            uint32_t ranges, uint64_t term, struct tm_err *err)
{
    struct epoch epoch = {range->term, range->counter};
    if (range->index >= ranges)
        return tm_err_set(err, TM_E_CORRUPT, "range %u: the plan has only %u", range->index,
                          ranges);
    struct rel_name rel = names_rel_data(b->options.backup_id, range->index, epoch);
    if (strcmp(range->object, rel.s) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "range %u: its object is '%s', not '%s'", range->index,
                          range->object, rel.s);
    if (range->term > term)
        return tm_err_set(err, TM_E_CORRUPT, "range %u: stored under a later term", range->index);
    if (range->end.len == 0 || slice_cmp(range->start, range->end) >= 0 ||
        (range->start.len == 0) != (range->index == 0))
        return tm_err_set(err, TM_E_CORRUPT, "range %u: its keys are not those of a planned range",
                          range->index);
    return 0;
}

/* The caller's own words must be right: what is wrong here is a mistake of ours. */
static int check_results(const struct backup *b, const struct backup_checkpoint *ck,
                         const struct slice *results, size_t count, struct tm_err *err)
{
    int r = 0;
    if (ck->ranges == 0 || ck->ranges >= BACKUP_RANGES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "a plan of %u ranges", ck->ranges);
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct codec_arena arena = {0};
        struct segment_range range;
        r = results[i].len > BACKUP_RESULT_MAX
                ? tm_err_set(err, TM_E_LIMIT, "a result of %zu bytes", results[i].len)
                : codec_decode(&segment_range_codec, results[i], &arena, &range, err);
        if (r == 0)
            r = backup_checkpoint_check(b, &range, ck->ranges, ck->epoch.term, err);
        codec_arena_release(&arena);
        if (r == -TM_E_CORRUPT || r == -TM_E_INVALID) {
            err->code = TM_E_INTERNAL;
            r = -TM_E_INTERNAL;
        }
    }
    return r;
}

static int fill_root(const struct backup *b, const struct backup_checkpoint *ck, bool with_begin,
                     struct checkpoint *root, struct tm_err *err)
{
    struct sha256 digest;
    int r = sha256_of(ck->begin.data, ck->begin.len, &digest, err);
    if (r < 0)
        return r;
    *root = (struct checkpoint){
        .term = ck->epoch.term,
        .counter = ck->epoch.counter,
        .plan_term = ck->plan.term,
        .plan_counter = ck->plan.counter,
        .plan_ranges = ck->ranges,
        .begin = with_begin ? ck->begin : SLICE_EMPTY,
        .started_us = ck->started_us,
        .written_us = backup_now_us(b),
    };
    memcpy(root->begin_digest, digest.bytes, sizeof(root->begin_digest));
#define SET(member, text)                                                                          \
    (void)snprintf(root->member, sizeof(root->member), "%s", (text) ? (text) : "")
    SET(backup_id, b->options.backup_id);
    SET(cluster, b->options.scope.cluster);
    SET(tenant, b->options.scope.tenant);
    SET(incarnation, b->options.scope.incarnation);
    SET(engine, ck->engine);
    SET(lineage_label, ck->lineage_label);
    SET(node, ck->node);
#undef SET
    return 0;
}

static int verify_object(struct backup_worker *w, const char *name, const struct object_info *info,
                         struct tm_err *err)
{
    struct object_ref expect = object_ref_of("", info);
    TM_CLEANUP(object_reader_closep) struct object_reader *r = NULL;
    int rc = object_reader_open(w->scratch, w->backup->options.storage, name, OBJECT_CHECKPOINT,
                                &expect, &r, err);
    if (rc == 0)
        rc = object_reader_verify(r, err);
    return rc < 0 ? tm_err_prefix(err, "read back after storing") : 0;
}

/* One object of this name. TM_E_EXISTS when it is another's. */
static int put(struct backup_worker *w, const char *name, struct slice root,
               const struct slice *results, size_t count, struct tm_err *err)
{
    struct backup *b = w->backup;
    struct object_options options = {.kind = OBJECT_CHECKPOINT,
                                     .zstd_level = b->options.zstd_level,
                                     .frame_bytes = STREAM_FRAME_BYTES};
    struct object_info info;
    TM_CLEANUP(object_writer_closep) struct object_writer *object = NULL;
    int r = backup_nonce(b, options.nonce, err);
    if (r == 0)
        r = object_writer_open(w->scratch, b->options.storage, name, &options, &object, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = object_writer_record(object, results[i], err);
    if (r == 0)
        r = object_writer_section(object, OBJECT_SECTION_ROOT, OBJECT_SECTION_REQUIRED, root, err);
    if (r == 0)
        r = object_writer_finish(object, &info, err);
    if (r < 0)
        return r;
    object_writer_closep(&object);
    atomic_fetch_add(&b->counters.bytes_stored, info.stored_bytes);
    return b->options.checksum ? verify_object(w, name, &info, err) : 0;
}

/* As a commit's segments: what has a name already keeps it, and the next number is taken. */
static int put_next(struct backup_worker *w, struct epoch epoch, struct slice root,
                    const struct slice *results, size_t count, uint32_t *seq, struct tm_err *err)
{
    struct backup *b = w->backup;
    for (uint32_t tried = 0; tried < NAMES_TRIED_MAX; tried++) {
        struct rel_name rel = names_rel_checkpoint(b->options.backup_id, epoch, *seq);
        struct full_name name = names_full(&b->options.scope, rel.s);
        struct storage_object found;
        struct tm_err ignored;
        int r = backup_canceled(b, err);
        if (r < 0)
            return r;
        bool taken = storage_stat(b->options.storage, name.s, &found, &ignored) == 0;
        r = taken ? -TM_E_EXISTS : put(w, name.s, root, results, count, err);
        if (r < 0 && r != -TM_E_EXISTS)
            return r;
        *seq += 1;
        if (r == 0)
            return 0;
    }
    return tm_err_retry(err, TM_E_EXISTS, "no name is free for epoch %016llx.%08x",
                        (unsigned long long)epoch.term, epoch.counter);
}

static int store_one(struct backup_worker *w, const struct backup_checkpoint *ck,
                     const struct slice *results, size_t count, uint32_t *seq, struct tm_err *err)
{
    struct checkpoint root;
    bool with_begin = *seq == 0 || ck->begin.len <= BEGIN_WHOLE_MAX;
    struct position from = {.bytes = slice_of(ck->replay_from.bytes, ck->replay_from.len)};
    (void)snprintf(from.text, sizeof(from.text), "%.*s", (int)sizeof(from.text) - 1,
                   ck->replay_from.text);
    int r = fill_root(w->backup, ck, with_begin, &root, err);
    if (r < 0)
        return r;
    root.results = (uint32_t)count;
    root.replay_from = &from;
    buf_reset(&w->buf);
    r = codec_encode(&checkpoint_codec, &root, CODEC_MINOR_ALL, &w->buf, err);
    return r < 0 ? r : put_next(w, ck->epoch, buf_slice(&w->buf), results, count, seq, err);
}

int backup_checkpoint_store(struct backup_worker *w, const struct backup_checkpoint *ck,
                            const struct slice *results, size_t count, uint32_t *seq,
                            struct tm_err *err)
{
    uint32_t next = *seq;
    size_t done = 0;
    int r = check_results(w->backup, ck, results, count, err);
    while (r == 0) {
        size_t n = TM_MIN(count - done, (size_t)SEGMENT_RANGES);
        r = store_one(w, ck, results + done, n, &next, err);
        done += n;
        if (done == count)
            break;
    }
    if (r < 0)
        return tm_err_prefix(err, "checkpoint");
    *seq = next;
    return 0;
}
