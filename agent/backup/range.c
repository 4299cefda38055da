/*
 * One range into one data object.
 *
 * Happy path: the engine asks the sink for room, gets the inside of the object's frame buffer, and
 * reads its file straight into it; full frames are hashed, compressed and written while they are
 * still in the cache. At the end the index of files goes to the footer and the object is committed.
 * Failure at any point: the object writer is closed without finish, and nothing is visible.
 */
#include "agent/backup/internal.h"

#define BLOCK_BYTES 8192u /* frames hold whole blocks of this; every engine's blocks divide it */

struct sink {
    struct range_sink base;
    struct backup_worker *worker;
    struct object_writer *object;
    struct backup_result *result;
    uint64_t stored; /* already in the counters */
};

static void count_stored(struct sink *s, uint64_t now)
{
    atomic_fetch_add(&s->worker->backup->counters.bytes_stored, now - s->stored);
    s->stored = now;
}

static int sink_file_begin(struct range_sink *base, const struct file_entry *entry,
                           struct tm_err *err)
{
    struct sink *s = (struct sink *)base;
    struct data_file file = {.kind = (enum data_file_kind)entry->kind,
                             .mode = entry->mode,
                             .modified_us = entry->modified_us,
                             .offset_bytes = entry->offset_bytes,
                             .last_part = entry->last_part};
    (void)snprintf(file.path, sizeof(file.path), "%s", entry->path);
    (void)snprintf(file.link, sizeof(file.link), "%s", entry->link);
    int r = backup_canceled(s->worker->backup, err);
    if (r < 0)
        return r;
    return data_index_file(&s->worker->index, &file, object_writer_raw_bytes(s->object), err);
}

static int sink_room(struct range_sink *base, size_t want_bytes, uint8_t **ret, size_t *ret_bytes,
                     struct tm_err *err)
{
    struct sink *s = (struct sink *)base;
    (void)want_bytes; /* the rest of the frame is never too much */
    int r = backup_canceled(s->worker->backup, err);
    return r < 0 ? r : object_writer_room(s->object, ret, ret_bytes, err);
}

static int sink_advance(struct range_sink *base, size_t bytes, struct tm_err *err)
{
    struct sink *s = (struct sink *)base;
    struct backup *b = s->worker->backup;
    int r = object_writer_advance(s->object, bytes, err);
    if (r < 0)
        return r;
    atomic_fetch_add(&b->counters.bytes_read, bytes);
    count_stored(s, object_writer_stored_bytes(s->object));
    return b->throttled ? throttle_wait(&b->throttle, bytes, err) : 0;
}

static int sink_file_end(struct range_sink *base, uint32_t crc32c, struct tm_err *err)
{
    struct sink *s = (struct sink *)base;
    atomic_fetch_add(&s->worker->backup->counters.files, 1);
    return data_index_file_end(&s->worker->index, object_writer_raw_bytes(s->object), crc32c, err);
}

static int sink_problem(struct range_sink *base, const char *path, uint64_t block, const char *what,
                        struct tm_err *err)
{
    struct sink *s = (struct sink *)base;
    struct backup_result *result = s->result;
    struct problem problem;
    problem_set(&problem, path, block, what);
    result->problems_total++;
    if (result->problem_count < BACKUP_PROBLEMS_MAX) {
        struct backup_problem *p = &result->problems[result->problem_count++];
        size_t len = strlen(path);
        size_t skip = len < sizeof(p->path) ? 0 : len - sizeof(p->path) + 1;
        p->block = block;
        (void)snprintf(p->path, sizeof(p->path), "%s", path + skip);
        (void)snprintf(p->what, sizeof(p->what), "%s", what);
    }
    return data_index_problem(&s->worker->index, &problem, err);
}

static const struct range_sink_ops sink_ops = {
    .file_begin = sink_file_begin,
    .room = sink_room,
    .advance = sink_advance,
    .file_end = sink_file_end,
    .problem = sink_problem,
};

static void count_pages(struct backup *b, const struct engine_range_stats *stats)
{
    atomic_fetch_add(&b->counters.pages_checked, stats->pages_checked);
    atomic_fetch_add(&b->counters.pages_unverified, stats->pages_unverified);
    atomic_fetch_add(&b->counters.pages_corrupt, stats->pages_corrupt);
}

/* Index and footer; the object is durable when this returns 0. */
static int finish_object(struct sink *s, const struct backup_lease *lease, struct object_info *ret,
                         struct tm_err *err)
{
    struct data_root root = {.range = lease->index,
                             .term = lease->epoch.term,
                             .counter = lease->epoch.counter,
                             .start = lease->range.start,
                             .end = lease->range.end};
    memcpy(root.backup_id, s->worker->backup->options.backup_id, sizeof(root.backup_id));
    int r = data_index_store(&s->worker->index, &root, s->object, err);
    if (r < 0 || (r = object_writer_finish(s->object, ret, err)) < 0) {
        /* an earlier attempt under this epoch got as far as here: another epoch will do it */
        if (r == -TM_E_EXISTS)
            err->retryable = true;
        return r;
    }
    count_stored(s, ret->stored_bytes);
    return 0;
}

static int verify_object(struct backup_worker *w, const char *name, const struct object_info *info,
                         struct tm_err *err)
{
    struct object_ref expect = object_ref_of("", info);
    TM_CLEANUP(object_reader_closep) struct object_reader *r = NULL;
    int rc = object_reader_open(w->scratch, w->backup->options.storage, name, OBJECT_DATA, &expect,
                                &r, err);
    if (rc == 0)
        rc = object_reader_verify(r, err);
    return rc < 0 ? tm_err_prefix(err, "read back after storing") : 0;
}

/* The manifest names the first ones of each range; the last of them says that there are more. */
static uint32_t name_problems(const struct backup_result *result,
                              struct problem problems[SEGMENT_PROBLEMS_MAX])
{
    uint32_t named = TM_MIN(result->problem_count, SEGMENT_PROBLEMS_MAX);
    for (uint32_t n = 0; n < named; n++) {
        const struct backup_problem *p = &result->problems[n];
        char what[sizeof(p->what) + 64];
        uint64_t more = n + 1 == named ? result->problems_total - named : 0;
        if (more > 0)
            (void)snprintf(what, sizeof(what), "%s (and %llu more in this range)", p->what,
                           (unsigned long long)more);
        problem_set(&problems[n], p->path, p->block, more > 0 ? what : p->what);
    }
    return named;
}

static int encode_result(const struct backup_lease *lease, const char *rel,
                         const struct object_info *info, struct backup_result *result,
                         struct tm_err *err)
{
    struct problem problems[SEGMENT_PROBLEMS_MAX];
    struct segment_range range = {
        .index = lease->index,
        .start = lease->range.start,
        .end = lease->range.end,
        .term = lease->epoch.term,
        .counter = lease->epoch.counter,
        .stored_bytes = info->stored_bytes,
        .raw_bytes = info->raw_bytes,
        .files = result->stats.files,
        .pages_checked = result->stats.pages_checked,
        .pages_unverified = result->stats.pages_unverified,
        .pages_corrupt = result->stats.pages_corrupt,
        .problems = problems,
        .problems_count = name_problems(result, problems),
    };
    (void)snprintf(range.object, sizeof(range.object), "%s", rel);
    memcpy(range.digest, info->digest, sizeof(range.digest));
    buf_reset(&result->blob);
    int r = codec_encode(&segment_range_codec, &range, CODEC_MINOR_ALL, &result->blob, err);
    if (r == 0 && result->blob.len > BACKUP_RESULT_MAX)
        r = tm_err_set(err, TM_E_LIMIT, "result of range %u is longer than %u bytes", lease->index,
                       BACKUP_RESULT_MAX);
    return r;
}

/* `end` NULL: an ordinary range; else the final one. */
static int store(struct backup_worker *w, const struct engine_ops *engine,
                 struct engine_reader *reader, const struct slice *end,
                 const struct backup_lease *lease, struct backup_result *ret, struct tm_err *err)
{
    struct backup *b = w->backup;
    struct rel_name rel = names_rel_data(b->options.backup_id, lease->index, lease->epoch);
    struct full_name name = names_full(&b->options.scope, rel.s);
    struct object_options options = {
        .kind = OBJECT_DATA, .zstd_level = b->options.zstd_level, .block_bytes = BLOCK_BYTES};
    struct object_info info;
    TM_CLEANUP(object_writer_closep) struct object_writer *object = NULL;
    ret->problem_count = 0;
    ret->problems_total = 0;
    data_index_reset(&w->index);
    int r = backup_nonce(b, options.nonce, err);
    if (r < 0 || (r = object_writer_open(w->scratch, b->options.storage, name.s, &options, &object,
                                         err)) < 0)
        return r;
    struct sink sink = {.base = {&sink_ops}, .worker = w, .object = object, .result = ret};
    r = end ? engine->read_final(reader, *end, &sink.base, &ret->stats, err)
            : engine->read_range(reader, lease->range, &sink.base, &ret->stats, err);
    if (r < 0 || (r = finish_object(&sink, lease, &info, err)) < 0)
        return r;
    object_writer_closep(&object);
    if (b->options.checksum && (r = verify_object(w, name.s, &info, err)) < 0)
        return r;
    count_pages(b, &ret->stats);
    ret->raw_bytes = info.raw_bytes;
    ret->stored_bytes = info.stored_bytes;
    return encode_result(lease, rel.s, &info, ret, err);
}

int backup_store_range(struct backup_worker *w, const struct engine_ops *engine,
                       struct engine_reader *reader, const struct backup_lease *lease,
                       struct backup_result *ret, struct tm_err *err)
{
    int r = store(w, engine, reader, NULL, lease, ret, err);
    return r < 0 ? tm_err_prefix(err, "range %u", lease->index) : 0;
}

int backup_store_final(struct backup_worker *w, const struct engine_ops *engine,
                       struct engine_reader *reader, struct slice end,
                       const struct backup_lease *lease, struct backup_result *ret,
                       struct tm_err *err)
{
    int r = store(w, engine, reader, &end, lease, ret, err);
    return r < 0 ? tm_err_prefix(err, "final range") : 0;
}

void backup_result_release(struct backup_result *r)
{
    buf_release(&r->blob);
    *r = (struct backup_result){.raw_bytes = 0};
}
