/* The tables of the stored records, and records as root sections. */
#include "proto/format/records.h"

#include <stdio.h>

#include "common/utf8.h"

/* clang-format off */
CODEC_DEFINE(position, "position", POSITION_FIELDS);
CODEC_DEFINE(problem, "problem", PROBLEM_FIELDS);
CODEC_DEFINE(repository, "repository", REPOSITORY_FIELDS);
CODEC_DEFINE(identity, "identity", IDENTITY_FIELDS);
CODEC_DEFINE(data_root, "data", DATA_ROOT_FIELDS);
CODEC_DEFINE(log_chunk, "chunk", LOG_CHUNK_FIELDS);
CODEC_DEFINE(plan_range, "plan", PLAN_RANGE_FIELDS);
CODEC_DEFINE(segment_range, "segment", SEGMENT_RANGE_FIELDS);
CODEC_DEFINE(checkpoint, "checkpoint", CHECKPOINT_FIELDS);
CODEC_DEFINE(segment_ref, "segmentRef", SEGMENT_REF_FIELDS);
CODEC_DEFINE(log_ref, "logRef", LOG_REF_FIELDS);
CODEC_DEFINE(manifest, "manifest", MANIFEST_FIELDS);
CODEC_DEFINE(tombstone, "tombstone", TOMBSTONE_FIELDS);
CODEC_DEFINE(lineage, "lineage", LINEAGE_FIELDS);
CODEC_DEFINE(log_writer, "writer", LOG_WRITER_FIELDS);
CODEC_DEFINE(log_entry, "logEntry", LOG_ENTRY_FIELDS);
CODEC_DEFINE(log_index, "logIndex", LOG_INDEX_FIELDS);
CODEC_DEFINE(log_mark, "mark", LOG_MARK_FIELDS);
CODEC_DEFINE(truncation, "truncation", TRUNCATION_FIELDS);
CODEC_DEFINE(intent, "intent", INTENT_FIELDS);
/* clang-format on */

int record_put(struct object_scratch *scratch, struct storage *st, const char *name,
               enum object_kind kind, const uint8_t nonce[OBJECT_NONCE_BYTES],
               const struct codec_table *table, const void *record, struct object_info *ret,
               struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf root = BUF_INIT;
    int r = codec_encode(table, record, CODEC_MINOR_ALL, &root, err);
    if (r < 0)
        return r;
    return object_put_root(scratch, st, name, kind, nonce, buf_slice(&root), ret, err);
}

int record_get(struct object_scratch *scratch, struct storage *st, const char *name,
               enum object_kind kind, const struct codec_table *table, struct codec_arena *arena,
               void *record, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf root = BUF_INIT;
    int r = object_get_root(scratch, st, name, kind, &root, err);
    if (r < 0)
        return r;
    if (codec_decode(table, buf_slice(&root), arena, record, err) < 0) {
        if (err->code == TM_E_INVALID) /* its hash is right, so it was written so */
            err->code = TM_E_CORRUPT;
        return tm_err_prefix(err, "object '%s'", name);
    }
    return 0;
}

static struct object_ref ref_of(const char *object, uint64_t stored_bytes, uint64_t raw_bytes,
                                const uint8_t digest[OBJECT_DIGEST_BYTES])
{
    struct object_ref ref = {.stored_bytes = stored_bytes, .raw_bytes = raw_bytes};
    (void)snprintf(ref.name, sizeof(ref.name), "%s", object);
    memcpy(ref.digest, digest, OBJECT_DIGEST_BYTES);
    return ref;
}

struct object_ref object_ref_of(const char *rel, const struct object_info *info)
{
    return ref_of(rel, info->stored_bytes, info->raw_bytes, info->digest);
}

struct object_ref segment_range_object(const struct segment_range *range)
{
    return ref_of(range->object, range->stored_bytes, range->raw_bytes, range->digest);
}

struct object_ref segment_ref_object(const struct segment_ref *ref)
{
    return ref_of(ref->object, ref->stored_bytes, ref->raw_bytes, ref->digest);
}

struct object_ref log_ref_object(const struct log_ref *ref)
{
    return ref_of(ref->object, ref->stored_bytes, ref->raw_bytes, ref->digest);
}

/* Copies at most size - 1 bytes. Paths are any bytes; what is told of them is text. */
static void cut(char *dst, size_t size, const char *text)
{
    (void)snprintf(dst, size, "%s", text);
    utf8_clean(dst);
}

void problem_set(struct problem *p, const char *path, uint64_t block, const char *what)
{
    cut(p->path, sizeof(p->path), path);
    cut(p->what, sizeof(p->what), what);
    p->block = block;
}
