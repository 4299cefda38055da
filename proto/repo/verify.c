/*
 * Reading a backup again. Happy path: the chain of ranges proves manifest and segments; every data
 * object is read through its file index, so that stored hash, raw hash and the CRC taken when the
 * source was read are all compared; every log object is read through. Failure modes: a broken chain
 * ends at once, because nothing behind it can be trusted; a broken object is reported and the next
 * one taken, so that one run names all damage.
 */
#include "proto/repo/verify.h"

#include "common/hash.h"
#include "proto/format/chunk.h"
#include "proto/format/data.h"

struct verifier {
    struct object_scratch *scratch;
    struct storage *st;
    const struct repo_scope *scope;
    verify_fn fn;
    void *arg;
    struct verify_totals totals;
    struct tm_err first; /* of the first bad object */
};

static int root_check(const struct data_root *root, const struct segment_range *range,
                      struct tm_err *err)
{
    if (root->range != range->index || root->term != range->term ||
        root->counter != range->counter || !slice_eq(root->start, range->start) ||
        !slice_eq(root->end, range->end))
        return tm_err_set(err, TM_E_CORRUPT, "it holds another range than metadata says");
    return 0;
}

/* Bytes of one file part, against the CRC of when the source was read. */
static int file_verify(struct data_reader *dr, const struct data_file *file, struct tm_err *err)
{
    struct data_extent extent;
    uint32_t crc = CRC32C_INIT;
    int r;
    while ((r = data_reader_extent(dr, &extent, err)) > 0) {
        while (extent.length > 0) {
            struct slice piece = SLICE_EMPTY;
            r = object_reader_piece(dr->object, extent.raw_offset, extent.length, &piece, err);
            if (r < 0)
                return r;
            crc = crc32c(crc, piece.data, piece.len);
            extent.raw_offset += piece.len;
            extent.length -= piece.len;
        }
    }
    if (r == 0 && file->kind == DATA_REGULAR && crc != file->crc32c)
        return tm_err_set(err, TM_E_CORRUPT,
                          "file '%.200s': bytes do not match the CRC of the source", file->path);
    return r;
}

static int files_verify(struct object_reader *object, const struct segment_range *range,
                        uint64_t *ret_files, struct tm_err *err)
{
    struct data_reader dr;
    struct data_root root;
    struct data_file file;
    struct codec_arena arena = {0};
    uint64_t files = 0;
    int r = data_reader_init(&dr, object, &arena, &root, err);
    if (r == 0)
        r = root_check(&root, range, err);
    while (r >= 0 && (r = data_reader_file(&dr, &file, err)) > 0) {
        files++;
        r = file_verify(&dr, &file, err);
    }
    codec_arena_release(&arena);
    if (r == 0)
        *ret_files = files;
    return r;
}

int verify_range(struct object_scratch *scratch, struct storage *st, const struct repo_scope *scope,
                 const struct segment_range *range, uint64_t *ret_files, struct tm_err *err)
{
    TM_CLEANUP(object_reader_closep) struct object_reader *object = NULL;
    struct object_ref expect = segment_range_object(range);
    struct full_name name = names_full(scope, range->object);
    uint64_t files = 0;
    int r = object_reader_open(scratch, st, name.s, OBJECT_DATA, &expect, &object, err);
    if (r == 0)
        r = files_verify(object, range, &files, err);
    if (r < 0)
        return tm_err_prefix(err, "range %u: '%s'", range->index, range->object);
    *ret_files = files;
    return 0;
}

int verify_log(struct object_scratch *scratch, struct storage *st, const struct repo_scope *scope,
               const struct log_ref *ref, struct tm_err *err)
{
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct slice piece = SLICE_EMPTY;
    uint64_t at;
    int r = chunk_reader_open(&cr, scratch, st, names_full(scope, ref->object).s, ref, err);
    while (r >= 0 && (r = chunk_reader_next(&cr, &at, &piece, err)) > 0) {
    }
    chunk_reader_release(&cr);
    return r < 0 ? tm_err_prefix(err, "log: '%s'", ref->object) : 0;
}

/* Counts an object and tells; negative = stop. A store that does not answer is no verdict. */
static int judged(struct verifier *v, const struct object_ref *object, int result,
                  const struct tm_err *object_err, struct tm_err *err)
{
    if (result < 0 && object_err->code != TM_E_CORRUPT && object_err->code != TM_E_NOT_FOUND &&
        object_err->code != TM_E_UNSUPPORTED) {
        *err = *object_err;
        return result;
    }
    v->totals.objects++;
    v->totals.stored_bytes += object->stored_bytes;
    v->totals.raw_bytes += object->raw_bytes;
    if (result < 0 && v->totals.bad++ == 0)
        v->first = *object_err;
    int r = v->fn == NULL
                ? 0
                : v->fn(v->arg, object->name, object->stored_bytes, result < 0 ? object_err : NULL);
    return r == 0 ? 0 : tm_err_set(err, TM_E_CANCELED, "verification stopped");
}

static int verify_all(struct verifier *v, struct backup_ranges *br, struct tm_err *err)
{
    struct segment_range range;
    struct log_ref log;
    struct tm_err object_err;
    int r;
    while ((r = backup_ranges_next(br, &range, err)) > 0) {
        uint64_t files = 0;
        struct object_ref ref = segment_range_object(&range);
        int good = verify_range(v->scratch, v->st, v->scope, &range, &files, &object_err);
        v->totals.ranges++;
        v->totals.files += files;
        r = judged(v, &ref, good, &object_err, err);
        if (r < 0)
            return r;
    }
    while (r >= 0 && (r = backup_ranges_log(br, &log, err)) > 0) {
        struct object_ref ref = log_ref_object(&log);
        int good = verify_log(v->scratch, v->st, v->scope, &log, &object_err);
        r = judged(v, &ref, good, &object_err, err);
        if (r < 0)
            return r;
    }
    struct problem problem;
    while (r >= 0 && (r = backup_ranges_problem(br, &problem, err)) > 0) {
    }
    return r;
}

int verify_backup(struct object_scratch *scratches[3], struct storage *st,
                  const struct repo_scope *scope, const char *backup_id, verify_fn fn, void *arg,
                  struct verify_totals *ret, struct tm_err *err)
{
    struct verifier v = {.scratch = scratches[2], .st = st, .scope = scope, .fn = fn, .arg = arg};
    struct backup_ranges br = BACKUP_RANGES_INIT;
    int r = backup_ranges_open(&br, scratches[0], scratches[1], st, scope, backup_id, err);
    if (r == 0)
        r = verify_all(&v, &br, err);
    backup_ranges_release(&br);
    *ret = v.totals;
    if (r < 0 || v.totals.bad == 0)
        return r;
    return tm_err_set(err, TM_E_CORRUPT, "%llu of %llu objects are damaged, the first: %.400s",
                      (unsigned long long)v.totals.bad, (unsigned long long)v.totals.objects,
                      v.first.msg);
}
