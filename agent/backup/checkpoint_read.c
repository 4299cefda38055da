/*
 * Reading checkpoints: one after the other in order of their names, oldest first.
 *
 * Happy path: opened → its root fits what came before → a line is kept of each result → it counts.
 * Failure modes: an object that is damaged or lacks its `begin` is set aside with all its lines. One of
 * another plan or start is of an attempt that began anew: what came before does not count any more. A
 * name may also be that of a segment, of a commit that did not come to its end: it is passed over.
 */
#include "agent/backup/checkpoint_internal.h"

#include <assert.h>

#include "common/array.h"

#define LINES_MAX   (2u * BACKUP_RANGES_MAX)
#define OBJECTS_MAX (1u << 20)

/* ---- setting aside ---- */

void checkpoint_why(struct checkpoint_loader *l, const struct tm_err *err)
{
    if (l->found.aside[0] == '\0')
        (void)snprintf(l->found.aside, sizeof(l->found.aside), "%s", err->msg);
}

/* Whether it is the object's own fault: then it is as if it were not there. */
bool checkpoint_is_damage(const struct tm_err *err)
{
    return err->code == TM_E_CORRUPT || err->code == TM_E_UNSUPPORTED ||
           err->code == TM_E_NOT_FOUND;
}

/* ---- reading checkpoints ---- */

static int list_objects(struct checkpoint_loader *l, struct tm_err *err)
{
    struct backup *b = l->worker->backup;
    struct full_name prefix =
        names_backup_below(&b->options.scope, b->options.backup_id, "checkpoint/");
    size_t scope_len = strlen(names_full(&b->options.scope, "").s);
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    int r = storage_list(b->options.storage, prefix.s, NULL, &it, err);
    if (r < 0)
        return r;
    while ((r = storage_iter_next(it, &object, err)) == 1) {
        struct name_parts parts = names_parse_rel(object.name + scope_len);
        if (parts.kind != NAME_CHECKPOINT)
            continue;
        if (l->object_count == OBJECTS_MAX)
            return tm_err_set(err, TM_E_LIMIT, "more than %u checkpoints", OBJECTS_MAX);
        if (ARRAY_ROOM(l->objects, l->object_count, l->object_cap, 64, err) < 0)
            return -(int)err->code;
        l->objects[l->object_count++] =
            (struct checkpoint_object){.epoch = parts.epoch, .seq = parts.number};
    }
    return r;
}

static struct rel_name object_name(const struct checkpoint_loader *l, size_t object)
{
    const struct checkpoint_object *o = &l->objects[object];
    return names_rel_checkpoint(l->worker->backup->options.backup_id, o->epoch, o->seq);
}

int checkpoint_open_object(struct checkpoint_loader *l, size_t object, struct stream_reader *sr,
                           struct codec_arena *arena, struct checkpoint *root, struct tm_err *err)
{
    struct backup *b = l->worker->backup;
    int r = backup_canceled(b, err);
    return r < 0 ? r
                 : checkpoint_open(sr, l->worker->scratch, b->options.storage, &b->options.scope,
                                   object_name(l, object).s, arena, root, err);
}

uint64_t checkpoint_hash_keys(struct slice start, struct slice end)
{
    uint8_t both[4 + 2 * FORMAT_KEY_MAX];
    assert(start.len <= FORMAT_KEY_MAX && end.len <= FORMAT_KEY_MAX);
    be32_put(both, (uint32_t)start.len);
    if (start.len)
        memcpy(both + 4, start.data, start.len);
    if (end.len)
        memcpy(both + 4 + start.len, end.data, end.len);
    struct xxh3_128 hash = xxh3_128_of(both, 4 + start.len + end.len);
    return be64_get(hash.bytes);
}

struct checkpoint_line checkpoint_line_of(const struct segment_range *range, size_t object)
{
    return (struct checkpoint_line){.term = range->term,
                                    .stored_bytes = range->stored_bytes,
                                    .keys = checkpoint_hash_keys(range->start, range->end),
                                    .digest = be64_get(range->digest),
                                    .index = range->index,
                                    .counter = range->counter,
                                    .object = (uint32_t)object};
}

/* A result that this backup cannot have stored is left out; its checkpoint is good all the same. */
static int take_result(struct checkpoint_loader *l, size_t object, const struct checkpoint *root,
                       const struct segment_range *range, struct tm_err *err)
{
    const struct backup *b = l->worker->backup;
    uint64_t term = TM_MIN(root->term, b->options.epoch.term);
    struct tm_err bad;
    if (backup_checkpoint_check(b, range, root->plan_ranges, term, &bad) < 0) {
        checkpoint_why(l, &bad);
        l->found.aside_results++;
        return 0;
    }
    if (l->count == LINES_MAX)
        return tm_err_set(err, TM_E_CORRUPT, "there are more than %u results", LINES_MAX);
    if (ARRAY_ROOM(l->lines, l->count, l->cap, 1024, err) < 0)
        return -(int)err->code;
    l->lines[l->count++] = checkpoint_line_of(range, object);
    return 0;
}

static int take_results(struct checkpoint_loader *l, size_t object, const struct checkpoint *root,
                        struct stream_reader *sr, struct tm_err *err)
{
    struct segment_range range;
    uint32_t seen = 0;
    int r;
    while ((r = stream_next(sr, &segment_range_codec, &range, err)) == 1) {
        seen++;
        r = take_result(l, object, root, &range, err);
        if (r < 0)
            return r;
    }
    if (r == 0 && seen != root->results)
        r = tm_err_set(err, TM_E_CORRUPT, "%u results, its root says %u", seen, root->results);
    return r;
}

/* ---- which of them count ---- */

static struct slice replay_from_of(const struct checkpoint *root)
{
    return root->replay_from ? root->replay_from->bytes : SLICE_EMPTY;
}

static bool same_start(const struct checkpoint_loader *l, const struct checkpoint *root)
{
    const struct backup_checkpoint_found *f = &l->found;
    return f->plan.term == root->plan_term && f->plan.counter == root->plan_counter &&
           f->ranges == root->plan_ranges && strcmp(f->engine, root->engine) == 0 &&
           slice_eq(slice_of(f->replay_from.bytes, f->replay_from.len), replay_from_of(root));
}

static int check_root(const struct checkpoint_loader *l, const struct checkpoint *root,
                      struct tm_err *err)
{
    if (root->plan_ranges == 0 || root->plan_ranges >= BACKUP_RANGES_MAX)
        return tm_err_set(err, TM_E_CORRUPT, "a plan of %u ranges", root->plan_ranges);
    if (root->begin.len > 0)
        return 0;
    struct sha256 none;
    int r = sha256_of(NULL, 0, &none, err);
    if (r < 0 || memcmp(root->begin_digest, none.bytes, sizeof(none.bytes)) == 0)
        return r;
    if (!l->found.found || !same_start(l, root) ||
        memcmp(root->begin_digest, l->begin_digest, sizeof(l->begin_digest)) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "the checkpoint that has its 'begin' is lost");
    return 0;
}

/* All that was found before is of a plan or a start that was given up later. Its lines are the first
 * `lines`. */
static void forget_older(struct checkpoint_loader *l, size_t lines)
{
    struct tm_err err;
    (void)tm_err_set(&err, TM_E_CONFLICT,
                     "checkpoints of epoch %016llx.%08x and before: a later attempt began anew",
                     (unsigned long long)l->found.epoch.term, l->found.epoch.counter);
    checkpoint_why(l, &err);
    l->found.aside_objects += (uint32_t)l->counting;
    l->found.aside_results += (uint32_t)lines;
    l->counting = 0;
    l->count -= lines;
    if (l->count > 0)
        memmove(l->lines, l->lines + lines, l->count * sizeof(*l->lines));
}

static void adopt_start(struct backup_checkpoint_found *f, const struct checkpoint *root)
{
    struct slice from = replay_from_of(root);
    f->plan = (struct epoch){root->plan_term, root->plan_counter};
    f->ranges = root->plan_ranges;
    f->started_us = root->started_us;
    f->replay_from = (struct engine_position){.len = (uint8_t)from.len};
    if (from.len)
        memcpy(f->replay_from.bytes, from.data, from.len);
    if (root->replay_from)
        (void)snprintf(f->replay_from.text, sizeof(f->replay_from.text), "%s",
                       root->replay_from->text);
    (void)snprintf(f->engine, sizeof(f->engine), "%s", root->engine);
}

/* The object was read to its end and counts; the lines from `before` on are its. */
static int adopt(struct checkpoint_loader *l, const struct checkpoint *root, size_t before,
                 struct tm_err *err)
{
    struct backup_checkpoint_found *f = &l->found;
    struct buf begin = BUF_INIT;
    bool other = !f->found || memcmp(root->begin_digest, l->begin_digest, SHA256_LEN) != 0;
    if (other && buf_append_slice(&begin, root->begin, err) < 0)
        return -(int)err->code;
    if (f->found && !same_start(l, root))
        forget_older(l, before);
    adopt_start(f, root);
    if (other) {
        buf_release(&f->begin);
        f->begin = begin;
    }
    memcpy(l->begin_digest, root->begin_digest, sizeof(l->begin_digest));
    f->found = true;
    f->epoch = (struct epoch){root->term, root->counter};
    (void)snprintf(f->lineage_label, sizeof(f->lineage_label), "%s", root->lineage_label);
    (void)snprintf(f->node, sizeof(f->node), "%s", root->node);
    l->counting++;
    return 0;
}

/* A name may be a commit's that did not come to its end: no checkpoint, and nothing is wrong with it. */
static int is_segment(struct checkpoint_loader *l, size_t object, struct tm_err *err)
{
    struct backup *b = l->worker->backup;
    struct full_name name = names_full(&b->options.scope, object_name(l, object).s);
    struct stream_reader sr = STREAM_READER_INIT;
    int r =
        stream_open(&sr, l->worker->scratch, b->options.storage, name.s, OBJECT_SEGMENT, NULL, err);
    stream_release(&sr);
    if (r < 0)
        return checkpoint_is_damage(err) ? 0 : r;
    return 1;
}

static int read_object(struct checkpoint_loader *l, size_t object, struct tm_err *err)
{
    struct stream_reader sr = STREAM_READER_INIT;
    struct codec_arena arena = {0};
    struct checkpoint root;
    struct backup_checkpoint_found *f = &l->found;
    size_t before = l->count;
    uint32_t aside_results = f->aside_results;
    bool first_aside = f->aside[0] == '\0';
    int r = checkpoint_open_object(l, object, &sr, &arena, &root, err);
    bool opened = r == 0;
    if (r == 0)
        r = check_root(l, &root, err);
    if (r == 0)
        r = take_results(l, object, &root, &sr, err);
    if (r < 0 && opened)
        (void)tm_err_prefix(err, "checkpoint '%s'", object_name(l, object).s);
    stream_release(&sr);
    if (r == 0)
        r = adopt(l, &root, before, err);
    codec_arena_release(&arena);
    if (r == 0 || !checkpoint_is_damage(err))
        return r;
    struct tm_err look;
    int segment = opened ? 0 : is_segment(l, object, &look);
    if (segment < 0) {
        *err = look;
        return segment;
    }
    l->count = before;
    f->aside_results = aside_results;
    if (first_aside)
        f->aside[0] = '\0';
    if (segment == 0) {
        f->aside_objects++;
        checkpoint_why(l, err);
    }
    return 0;
}

int checkpoint_read_all(struct checkpoint_loader *l, struct tm_err *err)
{
    int r = list_objects(l, err);
    for (size_t i = 0; r == 0 && i < l->object_count; i++)
        r = read_object(l, i, err);
    return r;
}
