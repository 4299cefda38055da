/*
 * What earlier attempts left, found again.
 *
 * Happy path: no manifest, no tombstone → every checkpoint is read (checkpoint_read.c); of each result
 * one line is kept, not its text → lines in order of range and epoch → the plan is streamed past them:
 * keys must agree → data/ is listed past them: the object must be there with its size → of each range
 * the highest epoch's line that is left is wanted → the checkpoints that have one are read again, and
 * the results are told.
 *
 * Failure modes: what is damaged, missing, or of another plan is set aside and counted, with the first
 * reason; where it was found only at the last moment (checksums), the range's next line is wanted, and
 * the last two steps are done once more. What the store could not say now ends the load.
 *
 * Memory: 48 bytes a result, 24 a checkpoint (twice that while the arrays grow), one `begin`, and what
 * object readers take.
 */
#include "agent/backup/checkpoint_internal.h"

#include <stdlib.h>

static void loader_release(struct checkpoint_loader *l)
{
    free(l->objects);
    free(l->lines);
    object_scratch_free(l->scratch);
    backup_checkpoint_found_release(&l->found);
}

void backup_checkpoint_found_release(struct backup_checkpoint_found *found)
{
    buf_release(&found->begin);
    *found = (struct backup_checkpoint_found){.found = false};
}

/* ---- setting aside ---- */

static void line_aside(struct checkpoint_loader *l, struct checkpoint_line *line, const char *what)
{
    struct tm_err err;
    (void)tm_err_set(&err, TM_E_CORRUPT, "range %u of epoch %016llx.%08x: %s", line->index,
                     (unsigned long long)line->term, line->counter, what);
    checkpoint_why(l, &err);
    line->state = LINE_ASIDE;
    l->found.aside_results++;
}

/* ---- the lines, against plan and data ---- */

static int cmp_place(const struct checkpoint_line *a, uint32_t index, uint64_t term,
                     uint32_t counter)
{
    if (a->index != index)
        return a->index < index ? -1 : 1;
    return epoch_cmp((struct epoch){a->term, a->counter}, (struct epoch){term, counter});
}

/* Of equal ones the later checkpoint's comes last. */
static int cmp_lines(const void *a_, const void *b_)
{
    const struct checkpoint_line *a = a_;
    const struct checkpoint_line *b = b_;
    int r = cmp_place(a, b->index, b->term, b->counter);
    return r != 0 ? r : a->object < b->object ? -1 : a->object > b->object;
}

static bool same_place(const struct checkpoint_line *a, const struct checkpoint_line *b)
{
    return cmp_place(a, b->index, b->term, b->counter) == 0;
}

static bool same_result(const struct checkpoint_line *a, const struct checkpoint_line *b)
{
    return a->keys == b->keys && a->digest == b->digest && a->stored_bytes == b->stored_bytes;
}

/* One epoch stores a range once: two results of it are one that was told twice, or both are wrong. */
static void drop_twice(struct checkpoint_loader *l)
{
    for (size_t first = 0, next; first < l->count; first = next) {
        bool same = true;
        for (next = first + 1; next < l->count && same_place(&l->lines[first], &l->lines[next]);
             next++)
            same = same && same_result(&l->lines[first], &l->lines[next]);
        for (size_t i = first; i < next; i++) {
            if (!same)
                line_aside(l, &l->lines[i], "two results of it differ");
            else if (i + 1 < next)
                l->lines[i].state = LINE_TWICE;
        }
    }
}

static int match_planned(void *arg, uint32_t index, struct engine_key_range range, uint64_t bytes,
                         struct tm_err *err)
{
    struct checkpoint_loader *l = arg;
    uint64_t keys = checkpoint_hash_keys(range.start, range.end);
    (void)bytes;
    (void)err;
    for (; l->at < l->count && l->lines[l->at].index == index; l->at++) {
        struct checkpoint_line *line = &l->lines[l->at];
        if (line->state != LINE_READ)
            continue;
        if (line->keys == keys)
            line->state = LINE_PLANNED;
        else
            line_aside(l, line, "its keys are not the plan's");
    }
    return 0;
}

/* A listed data object: names ascend as the lines do. */
static void match_data(struct checkpoint_loader *l, const struct name_parts *parts,
                       uint64_t size_bytes)
{
    for (; l->at < l->count; l->at++) {
        struct checkpoint_line *line = &l->lines[l->at];
        int r = cmp_place(line, parts->number, parts->epoch.term, parts->epoch.counter);
        if (r > 0)
            return;
        if (line->state != LINE_PLANNED)
            continue;
        if (r < 0)
            line_aside(l, line, "its data object is missing");
        else if (line->stored_bytes == size_bytes)
            line->state = LINE_THERE;
        else
            line_aside(l, line, "its data object has another size");
    }
}

static int list_data(struct checkpoint_loader *l, struct tm_err *err)
{
    struct backup *b = l->worker->backup;
    struct full_name prefix = names_backup_below(&b->options.scope, b->options.backup_id, "data/");
    size_t scope_len = strlen(names_full(&b->options.scope, "").s);
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    l->at = 0;
    int r = storage_list(b->options.storage, prefix.s, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) == 1) {
        struct name_parts parts = names_parse_rel(object.name + scope_len);
        r = backup_canceled(b, err);
        if (r == 0 && parts.kind == NAME_DATA)
            match_data(l, &parts, object.size_bytes);
    }
    /* what stands behind the last name */
    struct name_parts top = {.number = UINT32_MAX};
    if (r == 0)
        match_data(l, &top, 0);
    return r;
}

/* ---- telling ---- */

/* The best line that is left of every range that was not told yet. How many there are. */
static size_t want_best(struct checkpoint_loader *l)
{
    size_t wanted = 0;
    for (size_t i = 0; i < l->object_count; i++)
        l->objects[i].wanted = 0;
    for (size_t first = 0, next; first < l->count; first = next) {
        struct checkpoint_line *best = NULL;
        bool told = false;
        for (next = first; next < l->count && l->lines[next].index == l->lines[first].index;
             next++) {
            told = told || l->lines[next].state == LINE_TOLD;
            if (l->lines[next].state == LINE_THERE)
                best = &l->lines[next];
        }
        if (!best || told)
            continue;
        best->state = LINE_WANTED;
        l->objects[best->object].wanted++;
        wanted++;
    }
    return wanted;
}

/* The wanted line that this record is of, if it is what it was when it was read the first time. */
static struct checkpoint_line *find_wanted(const struct checkpoint_loader *l, size_t object,
                                           const struct segment_range *range)
{
    struct checkpoint_line key = checkpoint_line_of(range, object);
    struct checkpoint_line *line = bsearch(&key, l->lines, l->count, sizeof(key), cmp_lines);
    struct checkpoint_line *end = l->lines + l->count;
    while (line && line > l->lines && cmp_lines(line - 1, &key) == 0)
        line--; /* one checkpoint may have it twice */
    for (; line && line < end && cmp_lines(line, &key) == 0; line++)
        if (line->state == LINE_WANTED && same_result(line, &key))
            return line;
    return NULL;
}

/* With checksums: every stored byte is what it was when it was written. */
static int check_data(struct checkpoint_loader *l, const struct segment_range *range,
                      struct tm_err *err)
{
    struct backup *b = l->worker->backup;
    struct object_ref expect = segment_range_object(range);
    struct full_name name = names_full(&b->options.scope, range->object);
    TM_CLEANUP(object_reader_closep) struct object_reader *reader = NULL;
    int r = l->scratch ? 0 : object_scratch_new(&l->scratch, err);
    if (r == 0)
        r = object_reader_open(l->scratch, b->options.storage, name.s, OBJECT_DATA, &expect,
                               &reader, err);
    return r < 0 ? r : object_reader_verify_stored(reader, err);
}

static int tell(struct checkpoint_loader *l, struct checkpoint_line *line,
                const struct segment_range *range, struct slice blob, struct tm_err *err)
{
    struct backup *b = l->worker->backup;
    struct backup_checkpoint_result result = {
        .index = range->index,
        .epoch = {range->term, range->counter},
        .blob = blob,
        .raw_bytes = range->raw_bytes,
        .stored_bytes = range->stored_bytes,
        .stats = {.files = range->files,
                  .bytes = range->raw_bytes,
                  .pages_checked = range->pages_checked,
                  .pages_unverified = range->pages_unverified,
                  .pages_corrupt = range->pages_corrupt},
    };
    int r = backup_canceled(b, err);
    if (r == 0 && b->options.checksum)
        r = check_data(l, range, err);
    if (r < 0 && checkpoint_is_damage(err)) {
        line_aside(l, line, err->msg);
        return 0;
    }
    if (r == 0)
        r = l->fn(l->arg, &result, err);
    if (r < 0)
        return r;
    line->state = LINE_TOLD;
    l->found.results++;
    l->found.raw_bytes += range->raw_bytes;
    l->found.stored_bytes += range->stored_bytes;
    return 0;
}

/* *ret_callers: the error is not the object's. */
static int tell_records(struct checkpoint_loader *l, size_t object, struct stream_reader *sr,
                        bool *ret_callers, struct tm_err *err)
{
    struct segment_range range;
    struct slice blob;
    int r;
    while ((r = stream_next_bytes(sr, &segment_range_codec, &range, &blob, err)) == 1) {
        struct checkpoint_line *line = find_wanted(l, object, &range);
        r = line ? tell(l, line, &range, blob, err) : 0;
        *ret_callers = r < 0;
        if (r < 0)
            return r;
    }
    return r;
}

static int tell_object(struct checkpoint_loader *l, size_t object, struct tm_err *err)
{
    struct stream_reader sr = STREAM_READER_INIT;
    struct codec_arena arena = {0};
    struct checkpoint root;
    bool callers = false;
    int r = checkpoint_open_object(l, object, &sr, &arena, &root, err);
    if (r == 0)
        r = tell_records(l, object, &sr, &callers, err);
    stream_release(&sr);
    codec_arena_release(&arena);
    if (r < 0 && !callers && checkpoint_is_damage(err)) { /* since it was read the first time */
        checkpoint_why(l, err);
        r = 0;
    }
    return r;
}

static int tell_all(struct checkpoint_loader *l, struct tm_err *err)
{
    while (want_best(l) > 0) {
        for (size_t i = 0; i < l->object_count; i++) {
            int r = l->objects[i].wanted > 0 ? tell_object(l, i, err) : 0;
            if (r < 0)
                return r;
        }
        for (size_t i = 0; i < l->count; i++) {
            if (l->lines[i].state == LINE_WANTED)
                line_aside(l, &l->lines[i], "its checkpoint cannot be read any more");
        }
    }
    return 0;
}

/* ---- all of it ---- */

/* A plan that is gone takes everything with it: nothing is found. */
static int match_plan(struct checkpoint_loader *l, struct tm_err *err)
{
    struct backup_checkpoint_found *f = &l->found;
    struct backup_plan_totals totals;
    l->at = 0;
    int r = backup_plan_load(l->worker, f->plan, f->ranges, match_planned, l, &totals, err);
    if (r == 0 || !checkpoint_is_damage(err))
        return r;
    f->aside[0] = '\0'; /* this is what matters */
    checkpoint_why(l, err);
    f->aside_objects += (uint32_t)l->counting;
    f->found = false;
    for (size_t i = 0; i < l->count; i++)
        f->aside_results += l->lines[i].state == LINE_READ || l->lines[i].state == LINE_PLANNED;
    buf_release(&f->begin);
    return 0;
}

static int load(struct checkpoint_loader *l, struct tm_err *err)
{
    int r = checkpoint_read_all(l, err);
    if (r < 0 || !l->found.found)
        return r;
    if (l->count > 0)
        qsort(l->lines, l->count, sizeof(*l->lines), cmp_lines);
    drop_twice(l);
    r = match_plan(l, err);
    if (r < 0 || !l->found.found)
        return r;
    r = list_data(l, err);
    return r < 0 || !l->fn ? r : tell_all(l, err);
}

int backup_checkpoint_load(struct backup_worker *w, backup_checkpoint_fn fn, void *arg,
                           struct backup_checkpoint_found *ret, struct tm_err *err)
{
    struct checkpoint_loader l = {.worker = w, .fn = fn, .arg = arg};
    int r = backup_find_commit(w, NULL, &l.found.totals, err);
    if (r == 1)
        l.found.committed = true;
    else if (r == 0)
        r = load(&l, err);
    if (r >= 0) {
        *ret = l.found;
        l.found = (struct backup_checkpoint_found){.found = false};
    } else {
        (void)tm_err_prefix(err, "checkpoints");
    }
    loader_release(&l);
    return r < 0 ? r : 0;
}
