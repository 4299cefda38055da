/*
 * Record streams: plan shards, segments, checkpoints, manifests. Happy path: each record is encoded into a small
 * buffer and put whole into a frame; a reader decodes one at a time into an arena that is emptied
 * before the next. Failure modes: a record that does not decode, or an item out of its order, is
 * TM_E_CORRUPT and names the object and the field.
 */
#include "proto/format/stream.h"

#include "common/hash.h"

/* A record whose hash is right but whose contents are not was written so: corrupt, not bad input.
 */
static int decode(const struct codec_table *table, struct slice bytes, struct codec_arena *arena,
                  void *record, struct tm_err *err)
{
    int r = codec_decode(table, bytes, arena, record, err);
    if (r < 0 && err->code == TM_E_INVALID) {
        err->code = TM_E_CORRUPT;
        r = -TM_E_CORRUPT;
    }
    return r;
}

int stream_put(struct object_writer *w, struct buf *scratch, const struct codec_table *table,
               const void *record, struct tm_err *err)
{
    buf_reset(scratch);
    int r = codec_encode(table, record, CODEC_MINOR_ALL, scratch, err);
    return r < 0 ? r : object_writer_record(w, buf_slice(scratch), err);
}

int stream_open(struct stream_reader *sr, struct object_scratch *scratch, struct storage *st,
                const char *name, enum object_kind kind, const struct object_ref *expect,
                struct tm_err *err)
{
    *sr = STREAM_READER_INIT;
    int r = object_reader_open(scratch, st, name, kind, expect, &sr->object, err);
    return r < 0 ? r : object_reader_require_known(sr->object, NULL, 0, err);
}

int stream_next_bytes(struct stream_reader *sr, const struct codec_table *table, void *record,
                      struct slice *ret_bytes, struct tm_err *err)
{
    struct slice bytes = SLICE_EMPTY;
    int r = object_reader_record(sr->object, &bytes, err);
    if (r <= 0)
        return r;
    codec_arena_release(&sr->arena);
    r = decode(table, bytes, &sr->arena, record, err);
    if (r < 0)
        return r;
    *ret_bytes = bytes;
    return 1;
}

int stream_next(struct stream_reader *sr, const struct codec_table *table, void *record,
                struct tm_err *err)
{
    struct slice bytes;
    return stream_next_bytes(sr, table, record, &bytes, err);
}

void stream_release(struct stream_reader *sr)
{
    object_reader_close(sr->object);
    codec_arena_release(&sr->arena);
    *sr = STREAM_READER_INIT;
}

/* ---- checkpoint ---- */

static int root_decode(struct object_reader *object, const struct codec_table *table,
                       struct codec_arena *arena, void *record, struct tm_err *err)
{
    struct slice bytes = SLICE_EMPTY;
    int r = object_reader_root(object, &bytes, err);
    return r < 0 ? r : decode(table, bytes, arena, record, err);
}

static int checkpoint_check(const struct checkpoint *c, const struct repo_scope *scope,
                            const char *rel, struct tm_err *err)
{
    struct name_parts parts = names_parse_rel(rel);
    struct epoch epoch = {c->term, c->counter};
    struct sha256 digest;
    if (parts.kind != NAME_CHECKPOINT || strcmp(c->backup_id, parts.backup_id) != 0 ||
        strcmp(c->cluster, scope->cluster) != 0 || strcmp(c->tenant, scope->tenant) != 0 ||
        strcmp(c->incarnation, scope->incarnation) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "it is a checkpoint of backup '%s' of %s/%s/%s",
                          c->backup_id, c->cluster, c->tenant, c->incarnation);
    if (epoch_cmp(epoch, parts.epoch) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "it was written under another epoch than its name's");
    if (c->begin.len == 0)
        return 0;
    int r = sha256_of(c->begin.data, c->begin.len, &digest, err);
    if (r == 0 && memcmp(digest.bytes, c->begin_digest, sizeof(digest.bytes)) != 0)
        r = tm_err_set(err, TM_E_CORRUPT, "its 'begin' does not match its digest");
    return r;
}

int checkpoint_open(struct stream_reader *sr, struct object_scratch *scratch, struct storage *st,
                    const struct repo_scope *scope, const char *rel, struct codec_arena *arena,
                    struct checkpoint *root, struct tm_err *err)
{
    *sr = STREAM_READER_INIT;
    struct full_name name = names_full(scope, rel);
    int r = object_reader_open(scratch, st, name.s, OBJECT_CHECKPOINT, NULL, &sr->object, err);
    if (r < 0)
        return r;
    r = root_decode(sr->object, &checkpoint_codec, arena, root, err);
    if (r == 0)
        r = checkpoint_check(root, scope, rel, err);
    return r < 0 ? tm_err_prefix(err, "checkpoint '%s'", name.s) : 0;
}

/* ---- manifest: writing ---- */

int manifest_writer_open(struct manifest_writer *mw, struct object_scratch *scratch,
                         struct storage *st, const struct repo_scope *scope, const char *backup_id,
                         const uint8_t nonce[OBJECT_NONCE_BYTES], struct tm_err *err)
{
    struct object_options options = {
        .kind = OBJECT_MANIFEST, .zstd_level = 3, .frame_bytes = STREAM_FRAME_BYTES};
    memcpy(options.nonce, nonce, OBJECT_NONCE_BYTES);
    *mw = MANIFEST_WRITER_INIT;
    struct rel_name rel = names_rel_manifest(backup_id);
    return object_writer_open(scratch, st, names_full(scope, rel.s).s, &options, &mw->object, err);
}

static int put_item(struct manifest_writer *mw, enum manifest_item_kind kind,
                    const struct codec_table *table, const void *record, struct tm_err *err)
{
    if (kind < mw->last)
        return tm_err_set(err, TM_E_INTERNAL, "manifest items out of order");
    mw->last = kind;
    uint8_t type = (uint8_t)kind;
    buf_reset(&mw->buf);
    int r = buf_append(&mw->buf, &type, 1, err);
    if (r == 0)
        r = codec_encode(table, record, CODEC_MINOR_ALL, &mw->buf, err);
    return r < 0 ? r : object_writer_record(mw->object, buf_slice(&mw->buf), err);
}

int manifest_writer_segment(struct manifest_writer *mw, const struct segment_ref *ref,
                            struct tm_err *err)
{
    int r = put_item(mw, MANIFEST_SEGMENT, &segment_ref_codec, ref, err);
    if (r == 0) {
        mw->segments++;
        mw->ranges += ref->ranges;
    }
    return r;
}

int manifest_writer_log(struct manifest_writer *mw, const struct log_ref *ref, struct tm_err *err)
{
    int r = put_item(mw, MANIFEST_LOG, &log_ref_codec, ref, err);
    if (r == 0)
        mw->log_objects++;
    return r;
}

int manifest_writer_problem(struct manifest_writer *mw, const struct problem *problem,
                            struct tm_err *err)
{
    if (mw->problems == MANIFEST_PROBLEMS_MAX)
        return 0;
    int r = put_item(mw, MANIFEST_PROBLEM, &problem_codec, problem, err);
    if (r == 0)
        mw->problems++;
    return r;
}

int manifest_writer_commit(struct manifest_writer *mw, struct manifest *root,
                           struct object_info *ret, struct tm_err *err)
{
    if (mw->ranges > UINT32_MAX)
        return tm_err_set(err, TM_E_LIMIT, "a backup has at most %u ranges", UINT32_MAX);
    root->segments = mw->segments;
    root->ranges = (uint32_t)mw->ranges;
    root->log_objects = mw->log_objects;
    root->problems = mw->problems;
    buf_reset(&mw->buf);
    int r = codec_encode(&manifest_codec, root, CODEC_MINOR_ALL, &mw->buf, err);
    if (r == 0)
        r = object_writer_section(mw->object, OBJECT_SECTION_ROOT, OBJECT_SECTION_REQUIRED,
                                  buf_slice(&mw->buf), err);
    return r < 0 ? r : object_writer_finish(mw->object, ret, err);
}

void manifest_writer_release(struct manifest_writer *mw)
{
    object_writer_close(mw->object);
    buf_release(&mw->buf);
    *mw = MANIFEST_WRITER_INIT;
}

/* ---- manifest: reading ---- */

static int root_read(struct manifest_reader *mr, const struct repo_scope *scope,
                     const char *backup_id, struct tm_err *err)
{
    int r = root_decode(mr->object, &manifest_codec, &mr->root_arena, &mr->root, err);
    if (r < 0)
        return r;
    const struct manifest *m = &mr->root;
    if (strcmp(m->backup_id, backup_id) != 0 || strcmp(m->cluster, scope->cluster) != 0 ||
        strcmp(m->tenant, scope->tenant) != 0 || strcmp(m->incarnation, scope->incarnation) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "it is the manifest of backup '%s' of %s/%s/%s",
                          m->backup_id, m->cluster, m->tenant, m->incarnation);
    if (m->kind != BACKUP_FULL)
        return tm_err_set(err, TM_E_UNSUPPORTED, "backup kind %u is not known", m->kind);
    return 0;
}

int manifest_reader_open(struct manifest_reader *mr, struct object_scratch *scratch,
                         struct storage *st, const struct repo_scope *scope, const char *backup_id,
                         struct tm_err *err)
{
    *mr = MANIFEST_READER_INIT;
    struct rel_name rel = names_rel_manifest(backup_id);
    struct full_name name = names_full(scope, rel.s);
    int r = object_reader_open(scratch, st, name.s, OBJECT_MANIFEST, NULL, &mr->object, err);
    if (r < 0)
        return r;
    r = root_read(mr, scope, backup_id, err);
    return r < 0 ? tm_err_prefix(err, "manifest '%s'", name.s) : 0;
}

static int counts_check(const struct manifest_reader *mr, struct tm_err *err)
{
    const struct manifest *m = &mr->root;
    if (mr->segments == m->segments && mr->log_objects == m->log_objects &&
        mr->problems == m->problems)
        return 0;
    return tm_err_set(err, TM_E_CORRUPT,
                      "manifest of backup '%s' lists %u segments, %u log objects and %u problems, "
                      "its root says %u, %u and %u",
                      m->backup_id, mr->segments, mr->log_objects, mr->problems, m->segments,
                      m->log_objects, m->problems);
}

static int item_decode(struct manifest_reader *mr, enum manifest_item_kind kind, struct slice bytes,
                       struct manifest_item *ret, struct tm_err *err)
{
    codec_arena_release(&mr->item_arena);
    ret->kind = kind;
    switch (kind) {
    case MANIFEST_SEGMENT:
        mr->segments++;
        return decode(&segment_ref_codec, bytes, &mr->item_arena, &ret->segment, err);
    case MANIFEST_LOG:
        mr->log_objects++;
        return decode(&log_ref_codec, bytes, &mr->item_arena, &ret->log, err);
    case MANIFEST_PROBLEM:
        mr->problems++;
        return decode(&problem_codec, bytes, &mr->item_arena, &ret->problem, err);
    }
    return tm_err_set(err, TM_E_CORRUPT, "manifest of backup '%s': unknown item",
                      mr->root.backup_id);
}

int manifest_reader_next(struct manifest_reader *mr, struct manifest_item *ret, struct tm_err *err)
{
    struct slice bytes = SLICE_EMPTY;
    int r = object_reader_record(mr->object, &bytes, err);
    if (r < 0)
        return r;
    if (r == 0)
        return counts_check(mr, err);
    if (bytes.len == 0 || bytes.data[0] < MANIFEST_SEGMENT || bytes.data[0] > MANIFEST_PROBLEM ||
        bytes.data[0] < (uint8_t)mr->last)
        return tm_err_set(err, TM_E_CORRUPT, "manifest of backup '%s': items out of order",
                          mr->root.backup_id);
    mr->last = (enum manifest_item_kind)bytes.data[0];
    r = item_decode(mr, mr->last, slice_of(bytes.data + 1, bytes.len - 1), ret, err);
    return r < 0 ? r : 1;
}

void manifest_reader_release(struct manifest_reader *mr)
{
    object_reader_close(mr->object);
    codec_arena_release(&mr->root_arena);
    codec_arena_release(&mr->item_arena);
    *mr = MANIFEST_READER_INIT;
}
