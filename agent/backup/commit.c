/*
 * The commit: results → segments → manifest.
 *
 * Happy path: state is looked at → every result is decoded, checked against its neighbour, and
 * appended to the open segment → full segments are committed → the manifest names segments, log and
 * problems, and is committed last.
 * Failure: what was written under checkpoint/ is named by nothing and will be swept. After a crash
 * the whole is done again under other names; when the manifest is there already, that was the
 * commit. Memory: one frame each of segment and manifest, the segment list, at most
 * MANIFEST_PROBLEMS_MAX problems.
 */
#include "agent/backup/internal.h"

#include "proto/repo/catalog.h"

#define SEGMENTS_MAX (BACKUP_RANGES_MAX / SEGMENT_RANGES)

struct committer {
    struct backup_worker *worker;
    const struct backup_commit *commit;
    struct object_writer *segment;
    struct segment_ref ref; /* of the open segment; keys point into start and end */
    uint8_t start[FORMAT_KEY_MAX];
    uint8_t end[FORMAT_KEY_MAX]; /* of the last range taken: where the next one must start */
    size_t end_len;
    uint32_t next; /* index due */
    uint32_t seq;
    uint32_t max_counter; /* among ranges of the commit's own term */
    struct segment_ref *segments;
    uint32_t segment_count;
    struct problem *problems;
    uint32_t problem_count;
    struct backup_totals totals;
};

static void committer_release(struct committer *c)
{
    object_writer_close(c->segment);
    for (uint32_t i = 0; i < c->segment_count; i++) {
        free((void *)(uintptr_t)c->segments[i].start.data);
        free((void *)(uintptr_t)c->segments[i].end.data);
    }
    free(c->segments);
    free(c->problems);
}

/* ---- checks ---- */

static int check_range(const struct committer *c, const struct segment_range *range,
                       struct tm_err *err)
{
    const struct backup *b = c->worker->backup;
    struct epoch epoch = {range->term, range->counter};
    struct rel_name rel = names_rel_data(b->options.backup_id, c->next, epoch);
    bool last = c->next + 1 == c->commit->ranges;
    if (range->index != c->next)
        return tm_err_set(err, TM_E_INTERNAL, "result %u came where %u was due", range->index,
                          c->next);
    if (strcmp(range->object, rel.s) != 0)
        return tm_err_set(err, TM_E_INTERNAL, "range %u: its object is '%s', not '%s'", c->next,
                          range->object, rel.s);
    if (range->term > c->commit->epoch.term)
        return tm_err_set(err, TM_E_CONFLICT, "range %u: stored under a later term", c->next);
    if (!slice_eq(range->start, slice_of(c->end, c->end_len)))
        return tm_err_set(err, TM_E_INTERNAL, "range %u does not start where range %u ends",
                          c->next, c->next - 1);
    if ((range->end.len == 0) != last ||
        (range->end.len > 0 && slice_cmp(range->start, range->end) >= 0))
        return tm_err_set(err, TM_E_INTERNAL, "range %u has no valid end", c->next);
    return 0;
}

/* ---- segments ---- */

/* A segment of an earlier, unfinished try may have the name: the next number is taken then. */
static int segment_open(struct committer *c, struct tm_err *err)
{
    struct backup *b = c->worker->backup;
    struct object_options options = {.kind = OBJECT_SEGMENT, .zstd_level = b->options.zstd_level};
    struct storage_object found;
    for (;;) {
        struct rel_name rel = names_rel_checkpoint(b->options.backup_id, c->commit->epoch, c->seq);
        struct full_name name = names_full(&b->options.scope, rel.s);
        struct tm_err ignored;
        int r = storage_stat(b->options.storage, name.s, &found, &ignored);
        if (r == 0) {
            c->seq++;
            continue;
        }
        (void)snprintf(c->ref.object, sizeof(c->ref.object), "%s", rel.s);
        r = backup_nonce(b, options.nonce, err);
        return r < 0 ? r
                     : object_writer_open(c->worker->scratch, b->options.storage, name.s, &options,
                                          &c->segment, err);
    }
}

static int copy_key(struct slice in, struct slice *ret, struct tm_err *err)
{
    uint8_t *copy = malloc(in.len ? in.len : 1);
    if (!copy)
        return tm_err_oom(err);
    if (in.len)
        memcpy(copy, in.data, in.len);
    *ret = slice_of(copy, in.len);
    return 0;
}

static int verify_segment(struct committer *c, struct tm_err *err)
{
    struct backup *b = c->worker->backup;
    struct object_ref expect = segment_ref_object(&c->ref);
    struct full_name name = names_full(&b->options.scope, c->ref.object);
    TM_CLEANUP(object_reader_closep) struct object_reader *r = NULL;
    int rc = object_reader_open(c->worker->scratch, b->options.storage, name.s, OBJECT_SEGMENT,
                                &expect, &r, err);
    if (rc == 0)
        rc = object_reader_verify(r, err);
    return rc < 0 ? tm_err_prefix(err, "read back after storing") : 0;
}

static int segment_close(struct committer *c, struct tm_err *err)
{
    struct object_info info;
    if (!c->segment)
        return 0;
    int r = object_writer_finish(c->segment, &info, err);
    object_writer_closep(&c->segment);
    if (r < 0)
        return r;
    c->ref.stored_bytes = info.stored_bytes;
    c->ref.raw_bytes = info.raw_bytes;
    memcpy(c->ref.digest, info.digest, sizeof(c->ref.digest));
    if (c->worker->backup->options.checksum && (r = verify_segment(c, err)) < 0)
        return r;
    struct segment_ref kept = c->ref;
    r = copy_key(slice_of(c->start, c->ref.start.len), &kept.start, err);
    if (r < 0)
        return r;
    r = copy_key(slice_of(c->end, c->end_len), &kept.end, err);
    if (r < 0) {
        free((void *)(uintptr_t)kept.start.data);
        return r;
    }
    c->segments[c->segment_count++] = kept;
    c->totals.stored_bytes += info.stored_bytes;
    c->ref = (struct segment_ref){.ranges = 0};
    c->seq++;
    return 0;
}

static int keep_problems(struct committer *c, const struct segment_range *range, struct tm_err *err)
{
    for (size_t i = 0; i < range->problems_count; i++) {
        backup_totals_problem(&c->totals, &range->problems[i]);
        if (c->problem_count >= MANIFEST_PROBLEMS_MAX)
            return 0;
        if (c->problem_count % 64 == 0) {
            struct problem *grown = realloc(c->problems, (c->problem_count + 64) * sizeof(*grown));
            if (!grown)
                return tm_err_oom(err);
            c->problems = grown;
        }
        c->problems[c->problem_count++] = range->problems[i];
    }
    return 0;
}

static void add_totals(struct committer *c, const struct segment_range *range)
{
    struct backup_totals *t = &c->totals;
    t->ranges++;
    t->files += range->files;
    t->raw_bytes += range->raw_bytes;
    t->stored_bytes += range->stored_bytes;
    t->pages_checked += range->pages_checked;
    t->pages_unverified += range->pages_unverified;
    t->pages_corrupt += range->pages_corrupt;
    if (range->term == c->commit->epoch.term)
        c->max_counter = TM_MAX(c->max_counter, range->counter);
}

static int take_result(struct committer *c, struct slice blob, struct tm_err *err)
{
    struct codec_arena arena = {0};
    struct segment_range range;
    int r = codec_decode(&segment_range_codec, blob, &arena, &range, err);
    if (r == 0)
        r = check_range(c, &range, err);
    if (r == 0 && !c->segment) {
        r = segment_open(c, err);
        if (r == 0 && range.start.len > 0)
            memcpy(c->start, range.start.data, range.start.len);
        c->ref.start.len = range.start.len;
    }
    if (r == 0)
        r = object_writer_record(c->segment, blob, err);
    if (r == 0)
        r = keep_problems(c, &range, err);
    if (r == 0) {
        add_totals(c, &range);
        if (range.end.len > 0)
            memcpy(c->end, range.end.data, range.end.len);
        c->end_len = range.end.len;
        c->next++;
        if (++c->ref.ranges >= SEGMENT_RANGES)
            r = segment_close(c, err);
    }
    codec_arena_release(&arena);
    return r;
}

static int write_segments(struct committer *c, backup_result_fn next, void *arg, struct tm_err *err)
{
    c->segments = calloc(c->commit->ranges / SEGMENT_RANGES + 1, sizeof(*c->segments));
    if (!c->segments)
        return tm_err_oom(err);
    while (c->next < c->commit->ranges) {
        struct slice blob;
        int r = backup_canceled(c->worker->backup, err);
        if (r < 0 || (r = next(arg, c->next, &blob, err)) < 0)
            return r;
        if (r == 0)
            return tm_err_set(err, TM_E_INTERNAL, "range %u has no result", c->next);
        r = take_result(c, blob, err);
        if (r < 0)
            return r;
    }
    return segment_close(c, err);
}

/* ---- manifest ---- */

static int check_log(const struct backup_commit *commit, struct tm_err *err)
{
    if (!commit->log)
        return 0;
    if (commit->log->writing || commit->log->durable < commit->log_to ||
        commit->log->from != commit->log_from)
        return tm_err_set(err, TM_E_INTERNAL, "log: stored %llu to %llu, needed %llu to %llu",
                          (unsigned long long)commit->log->from,
                          (unsigned long long)commit->log->durable,
                          (unsigned long long)commit->log_from, (unsigned long long)commit->log_to);
    return 0;
}

static void fill_position(struct position *ret, const struct engine_position *from,
                          const struct backup_log *log)
{
    *ret = (struct position){.bytes = slice_of(from->bytes, from->len)};
    (void)snprintf(ret->text, sizeof(ret->text), "%.*s", (int)sizeof(ret->text) - 1, from->text);
    if (log)
        memcpy(ret->lineage, log->lineage, sizeof(ret->lineage));
}

static void fill_manifest(const struct committer *c, struct manifest *m)
{
    const struct backup *b = c->worker->backup;
    const struct backup_commit *commit = c->commit;
    *m = (struct manifest){
        .kind = BACKUP_FULL,
        .log_from = commit->log_from,
        .log_to = commit->log_to,
        .commit_us = commit->commit_us,
        .settled_us = TM_MAX(commit->settled_us, commit->commit_us),
        .started_us = commit->started_us,
        .completed_us = backup_now_us(b),
        .term = commit->epoch.term,
        .counter = TM_MAX(commit->epoch.counter, c->max_counter),
        .begin = commit->begin,
        .end = commit->end,
        .raw_bytes = c->totals.raw_bytes,
        .stored_bytes = c->totals.stored_bytes,
        .log_bytes = c->totals.log_bytes,
        .files = c->totals.files,
        .pages_checked = c->totals.pages_checked,
        .pages_unverified = c->totals.pages_unverified,
        .pages_corrupt = c->totals.pages_corrupt,
    };
#define SET(member, text) (void)snprintf(m->member, sizeof(m->member), "%s", (text) ? (text) : "")
    SET(backup_id, b->options.backup_id);
    SET(cluster, b->options.scope.cluster);
    SET(tenant, b->options.scope.tenant);
    SET(incarnation, b->options.scope.incarnation);
    SET(engine, commit->engine);
    SET(engine_version, commit->engine_version);
    SET(lineage_label, commit->lineage_label);
    SET(node, commit->node);
    SET(job, commit->name);
#undef SET
    if (commit->log)
        memcpy(m->lineage, commit->log->lineage, sizeof(m->lineage));
}

/* A shared chunk is the log task's: it costs this backup nothing, and may begin before it. */
static void count_log(struct committer *c, const struct log_ref *ref)
{
    if (ref->task) {
        c->totals.log_bytes +=
            TM_MIN(ref->to, c->commit->log_to) - TM_MAX(ref->from, c->commit->log_from);
        return;
    }
    c->totals.log_bytes += ref->raw_bytes;
    c->totals.stored_bytes += ref->stored_bytes;
}

static int write_lists(struct committer *c, struct manifest_writer *mw, struct tm_err *err)
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < c->segment_count; i++)
        r = manifest_writer_segment(mw, &c->segments[i], err);
    for (size_t i = 0; r == 0 && c->commit->log && i < c->commit->log->count; i++) {
        struct log_ref ref;
        backup_log_ref(c->commit->log, i, &ref);
        if (ref.from >= c->commit->log_to)
            break; /* streamed on while the end was being told */
        r = manifest_writer_log(mw, &ref, err);
        count_log(c, &ref);
    }
    for (uint32_t i = 0; r == 0 && i < c->problem_count; i++)
        r = manifest_writer_problem(mw, &c->problems[i], err);
    return r;
}

static int write_manifest(struct committer *c, struct tm_err *err)
{
    struct backup *b = c->worker->backup;
    struct manifest_writer mw = MANIFEST_WRITER_INIT;
    struct manifest root;
    struct position replay_from, consistent_at;
    struct object_info info;
    uint8_t nonce[OBJECT_NONCE_BYTES];
    int r = backup_nonce(b, nonce, err);
    if (r == 0)
        r = manifest_writer_open(&mw, c->worker->scratch, b->options.storage, &b->options.scope,
                                 b->options.backup_id, nonce, err);
    if (r == 0)
        r = write_lists(c, &mw, err);
    if (r == 0) {
        fill_manifest(c, &root);
        fill_position(&replay_from, &c->commit->replay_from, c->commit->log);
        fill_position(&consistent_at, &c->commit->consistent_at, c->commit->log);
        root.replay_from = &replay_from;
        root.consistent_at = &consistent_at;
        backup_totals_manifest(&root, &c->totals);
        r = manifest_writer_commit(&mw, &root, &info, err);
    }
    manifest_writer_release(&mw);
    return r;
}

/* ---- state ---- */

static bool same_commit(const struct manifest *m, const struct backup_commit *commit)
{
    return m->commit_us == commit->commit_us && m->ranges == commit->ranges &&
           m->log_to == commit->log_to && slice_eq(m->end, commit->end);
}

int backup_find_commit(struct backup_worker *w, const struct backup_commit *commit,
                       struct backup_totals *ret, struct tm_err *err)
{
    struct backup *b = w->backup;
    struct manifest_reader mr = MANIFEST_READER_INIT;
    enum backup_state state;
    int r = catalog_backup_state(b->options.storage, &b->options.scope, b->options.backup_id,
                                 &state, err);
    if (r < 0)
        return r;
    if (state == BACKUP_DELETED)
        return tm_err_set(err, TM_E_CANCELED, "backup '%s' was deleted meanwhile",
                          b->options.backup_id);
    if (state != BACKUP_COMMITTED)
        return 0;
    r = manifest_reader_open(&mr, w->scratch, b->options.storage, &b->options.scope,
                             b->options.backup_id, err);
    if (r == 0) {
        const struct manifest *m = &mr.root;
        bool same = commit && same_commit(m, commit);
        if (!same && commit && (!b->options.resumed || m->term > commit->epoch.term))
            r = tm_err_set(err, TM_E_CONFLICT, "backup '%s' was committed by somebody else",
                           b->options.backup_id);
        else
            r = backup_totals_read(&mr, ret, err);
        if (r == 0)
            ret->earlier = !same;
    }
    manifest_reader_release(&mr);
    return r < 0 ? r : 1;
}

int backup_commit(struct backup_worker *w, const struct backup_commit *commit,
                  backup_result_fn next, void *arg, struct backup_totals *ret, struct tm_err *err)
{
    if (commit->ranges == 0 || commit->ranges > BACKUP_RANGES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "commit: %u ranges", commit->ranges);
    struct committer c = {.worker = w, .commit = commit};
    int r = backup_find_commit(w, commit, &c.totals, err);
    if (r == 0) {
        r = check_log(commit, err);
        if (r == 0)
            r = write_segments(&c, next, arg, err);
        if (r == 0)
            r = write_manifest(&c, err);
        /* the reply of our own commit may have been lost: then it is there, and is ours */
        if (r == -TM_E_EXISTS) {
            int found = backup_find_commit(w, commit, &c.totals, err);
            r = found == 1 ? 0 : found < 0 ? found : r;
        }
    }
    if (r >= 0)
        *ret = c.totals;
    else
        (void)tm_err_prefix(err, "commit");
    committer_release(&c);
    return r < 0 ? r : 0;
}
