/*
 * The footer index of data objects. Happy path of writing: a file entry is put aside by
 * data_index_file, completed by data_index_file_end with its length and CRC, and gets one extent.
 * Sections, each a msgpack integer (the count) and that many arrays:
 *
 *     files     [kind, path, link, mode, modified µs, offset, length, last part, CRC32C]
 *     extents   [file, source, offset in the file, length, raw offset], by file
 *     problems  [path, block, what]
 *
 * Reading walks files and extents side by side. Failure modes: everything that would make a reader
 * write outside of a file part, read outside of the object, or leave the restore's directory is
 * TM_E_CORRUPT before it is handed out.
 */
#include "proto/format/data.h"

#include <assert.h>

#include "proto/format/pack.h"

void data_index_reset(struct data_index *index)
{
    buf_reset(&index->files);
    buf_reset(&index->extents);
    buf_reset(&index->problems);
    index->file_count = 0;
    index->extent_count = 0;
    index->problem_count = 0;
    index->open = false;
}

void data_index_release(struct data_index *index)
{
    buf_release(&index->files);
    buf_release(&index->extents);
    buf_release(&index->problems);
    *index = DATA_INDEX_INIT;
}

/* NULL when a stored path is harmless, else what is wrong with it. A leading '/' is allowed: files
 * outside the data directory are the engine's to place. */
static const char *path_problem(const char *path)
{
    if (path[0] == '\0')
        return "an empty path";
    for (const char *part = path; part != NULL;) {
        const char *slash = strchr(part, '/');
        size_t len = slash != NULL ? (size_t)(slash - part) : strlen(part);
        if ((len == 2 && part[0] == '.' && part[1] == '.') || (len == 1 && part[0] == '.'))
            return "'.' or '..' in a path";
        if (len == 0 && part != path)
            return "an empty part in a path";
        part = slash != NULL ? slash + 1 : NULL;
    }
    return NULL;
}

int data_index_file(struct data_index *index, const struct data_file *file, uint64_t raw_offset,
                    struct tm_err *err)
{
    assert(!index->open);
    const char *problem = path_problem(file->path);
    if (problem != NULL)
        return tm_err_set(err, TM_E_INVALID, "file '%s': %s", file->path, problem);
    if (index->file_count == DATA_FILES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u files in one range", DATA_FILES_MAX);
    index->current = *file;
    index->raw_start = raw_offset;
    index->open = true;
    return 0;
}

static int pack_file(struct buf *out, const struct data_file *f, struct tm_err *err)
{
    int r = pack_array(out, 9, err);
    if (r == 0)
        r = pack_uint(out, (uint64_t)f->kind, err);
    if (r == 0)
        r = pack_str(out, f->path, err);
    if (r == 0)
        r = pack_str(out, f->kind == DATA_LINK ? f->link : "", err);
    if (r == 0)
        r = pack_uint(out, f->mode, err);
    if (r == 0)
        r = pack_int(out, f->modified_us, err);
    if (r == 0)
        r = pack_uint(out, f->offset_bytes, err);
    if (r == 0)
        r = pack_uint(out, f->length_bytes, err);
    if (r == 0)
        r = pack_bool(out, f->last_part, err);
    return r < 0 ? r : pack_uint(out, f->crc32c, err);
}

static int pack_extent(struct buf *out, const struct data_extent *e, struct tm_err *err)
{
    int r = pack_array(out, 5, err);
    if (r == 0)
        r = pack_uint(out, e->file, err);
    if (r == 0)
        r = pack_uint(out, e->source, err);
    if (r == 0)
        r = pack_uint(out, e->file_offset, err);
    if (r == 0)
        r = pack_uint(out, e->length, err);
    return r < 0 ? r : pack_uint(out, e->raw_offset, err);
}

int data_index_file_end(struct data_index *index, uint64_t raw_offset, uint32_t crc32c,
                        struct tm_err *err)
{
    assert(index->open && raw_offset >= index->raw_start);
    struct data_file *f = &index->current;
    f->length_bytes = raw_offset - index->raw_start;
    f->crc32c = crc32c;
    int r = pack_file(&index->files, f, err);
    if (r == 0 && f->length_bytes > 0) {
        struct data_extent extent = {.file = index->file_count,
                                     .source = DATA_SOURCE_SELF,
                                     .file_offset = f->offset_bytes,
                                     .length = f->length_bytes,
                                     .raw_offset = index->raw_start};
        r = pack_extent(&index->extents, &extent, err);
        index->extent_count++;
    }
    if (r < 0)
        return r;
    index->file_count++;
    index->open = false;
    return 0;
}

int data_index_problem(struct data_index *index, const struct problem *problem, struct tm_err *err)
{
    if (index->problem_count == MANIFEST_PROBLEMS_MAX)
        return 0;
    struct buf *out = &index->problems;
    int r = pack_array(out, 3, err);
    if (r == 0)
        r = pack_str(out, problem->path, err);
    if (r == 0)
        r = pack_uint(out, problem->block, err);
    if (r == 0)
        r = pack_str(out, problem->what, err);
    if (r == 0)
        index->problem_count++;
    return r;
}

/* The count, then the items. */
static int store_section(struct object_writer *w, struct buf *out, uint16_t id, uint16_t flags,
                         uint32_t count, const struct buf *items, struct tm_err *err)
{
    buf_reset(out);
    int r = pack_uint(out, count, err);
    if (r == 0)
        r = buf_append_slice(out, buf_slice(items), err);
    return r < 0 ? r : object_writer_section(w, id, flags, buf_slice(out), err);
}

int data_index_store(const struct data_index *index, const struct data_root *root,
                     struct object_writer *w, struct tm_err *err)
{
    assert(!index->open);
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    int r = codec_encode(&data_root_codec, root, CODEC_MINOR_ALL, &out, err);
    if (r == 0)
        r = object_writer_section(w, OBJECT_SECTION_ROOT, OBJECT_SECTION_REQUIRED, buf_slice(&out),
                                  err);
    if (r == 0)
        r = store_section(w, &out, OBJECT_SECTION_FILES, OBJECT_SECTION_REQUIRED, index->file_count,
                          &index->files, err);
    if (r == 0)
        r = store_section(w, &out, OBJECT_SECTION_EXTENTS, OBJECT_SECTION_REQUIRED,
                          index->extent_count, &index->extents, err);
    if (r == 0 && index->problem_count > 0)
        r = store_section(w, &out, OBJECT_SECTION_PROBLEMS, 0, index->problem_count,
                          &index->problems, err);
    return r;
}

/* ---- reading ---- */

static int read_root(struct data_reader *dr, struct codec_arena *arena, struct data_root *ret_root,
                     struct tm_err *err)
{
    struct slice bytes = SLICE_EMPTY;
    int r = object_reader_section(dr->object, OBJECT_SECTION_ROOT, &bytes, err);
    if (r == 0)
        return tm_err_set(err, TM_E_CORRUPT, "no root section");
    if (r < 0)
        return r;
    struct data_root root;
    r = codec_decode(&data_root_codec, bytes, arena, &root, err);
    if (r < 0 && err->code == TM_E_INVALID) {
        err->code = TM_E_CORRUPT;
        r = -TM_E_CORRUPT;
    }
    if (r == 0 && ret_root != NULL)
        *ret_root = root;
    return r;
}

static int open_section(struct data_reader *dr, uint16_t id, const char *what, struct slice *ret,
                        uint32_t *ret_count, struct tm_err *err)
{
    struct slice bytes = SLICE_EMPTY;
    uint64_t count = 0;
    int r = object_reader_section(dr->object, id, &bytes, err);
    if (r == 0)
        return tm_err_set(err, TM_E_CORRUPT, "no section of %s", what);
    if (r > 0)
        r = unpack_uint(&bytes, what, DATA_FILES_MAX, &count, err);
    if (r < 0)
        return r;
    if (count > bytes.len)
        return tm_err_set(err, TM_E_CORRUPT, "%s: more items than bytes", what);
    *ret = bytes;
    *ret_count = (uint32_t)count;
    return 0;
}

int data_reader_init(struct data_reader *dr, struct object_reader *object,
                     struct codec_arena *arena, struct data_root *ret_root, struct tm_err *err)
{
    static const uint16_t known[] = {OBJECT_SECTION_ROOT, OBJECT_SECTION_FILES,
                                     OBJECT_SECTION_EXTENTS, OBJECT_SECTION_PROBLEMS};
    *dr = (struct data_reader){.object = object};
    int r = object_reader_require_known(object, known, TM_ARRAY_LEN(known), err);
    if (r == 0)
        r = read_root(dr, arena, ret_root, err);
    if (r == 0)
        r = open_section(dr, OBJECT_SECTION_FILES, "files", &dr->files, &dr->file_count, err);
    if (r == 0)
        r = open_section(dr, OBJECT_SECTION_EXTENTS, "extents", &dr->extents, &dr->extent_count,
                         err);
    return r;
}

/* An array of exactly `count` items. */
static int array_of(struct slice *in, const char *what, uint32_t count, struct tm_err *err)
{
    uint32_t items = 0;
    int r = unpack_array(in, what, &items, err);
    if (r == 0 && items != count)
        r = tm_err_set(err, TM_E_CORRUPT, "%s: %u items instead of %u", what, items, count);
    return r;
}

static int unpack_file(struct slice *in, struct data_file *f, struct tm_err *err)
{
    uint64_t kind = 0;
    uint64_t mode = 0;
    uint64_t crc = 0;
    int r = array_of(in, "file", 9, err);
    if (r == 0)
        r = unpack_uint(in, "file kind", DATA_LINK, &kind, err);
    if (r == 0)
        r = unpack_str(in, "file path", f->path, sizeof(f->path), err);
    if (r == 0)
        r = unpack_str(in, "link target", f->link, sizeof(f->link), err);
    if (r == 0)
        r = unpack_uint(in, "file mode", 07777, &mode, err);
    if (r == 0)
        r = unpack_int(in, "file time", &f->modified_us, err);
    if (r == 0)
        r = unpack_uint(in, "file offset", INT64_MAX, &f->offset_bytes, err);
    if (r == 0)
        r = unpack_uint(in, "file length", INT64_MAX, &f->length_bytes, err);
    if (r == 0)
        r = unpack_bool(in, "last part", &f->last_part, err);
    if (r == 0)
        r = unpack_uint(in, "file CRC", UINT32_MAX, &crc, err);
    f->kind = (enum data_file_kind)kind;
    f->mode = (uint32_t)mode;
    f->crc32c = (uint32_t)crc;
    return r;
}

static int file_check(const struct data_file *f, struct tm_err *err)
{
    const char *problem = path_problem(f->path);
    if (problem == NULL && f->kind < DATA_REGULAR)
        problem = "no kind";
    if (problem == NULL && f->kind != DATA_REGULAR && (f->length_bytes | f->offset_bytes) != 0)
        problem = "bytes in what is not a file";
    if (problem == NULL && f->kind == DATA_LINK && f->link[0] == '\0')
        problem = "a link to nowhere";
    if (problem == NULL && f->length_bytes > INT64_MAX - f->offset_bytes)
        problem = "an impossible length";
    if (problem != NULL)
        return tm_err_set(err, TM_E_CORRUPT, "file '%.200s': %s", f->path, problem);
    return 0;
}

static int pending_load(struct data_reader *dr, struct tm_err *err)
{
    if (dr->have_pending || dr->extents_read == dr->extent_count)
        return 0;
    struct data_extent e = {0};
    uint64_t file = 0;
    uint64_t source = 0;
    struct slice *in = &dr->extents;
    int r = array_of(in, "extent", 5, err);
    if (r == 0)
        r = unpack_uint(in, "extent file", UINT32_MAX, &file, err);
    if (r == 0)
        r = unpack_uint(in, "extent source", UINT32_MAX, &source, err);
    if (r == 0)
        r = unpack_uint(in, "extent offset", INT64_MAX, &e.file_offset, err);
    if (r == 0)
        r = unpack_uint(in, "extent length", INT64_MAX, &e.length, err);
    if (r == 0)
        r = unpack_uint(in, "extent place", INT64_MAX, &e.raw_offset, err);
    if (r < 0)
        return r;
    e.file = (uint32_t)file;
    e.source = (uint32_t)source;
    if (e.file < dr->pending.file || e.file >= dr->file_count)
        return tm_err_set(err, TM_E_CORRUPT, "extents out of order");
    dr->extents_read++;
    dr->pending = e;
    dr->have_pending = true;
    return 0;
}

int data_reader_file(struct data_reader *dr, struct data_file *ret, struct tm_err *err)
{
    int r = pending_load(dr, err);
    if (r < 0)
        return r;
    if (dr->have_pending && dr->pending.file < dr->files_read)
        return tm_err_set(err, TM_E_CORRUPT, "extents were skipped");
    if (dr->files_read == dr->file_count) {
        if (dr->files.len > 0 || dr->extents.len > 0)
            return tm_err_set(err, TM_E_CORRUPT, "bytes behind the last file or extent");
        return 0;
    }
    r = unpack_file(&dr->files, ret, err);
    if (r == 0)
        r = file_check(ret, err);
    if (r < 0)
        return tm_err_prefix(err, "file entry %u", dr->files_read);
    dr->files_read++;
    dr->part_offset = ret->offset_bytes;
    dr->part_end = ret->offset_bytes + ret->length_bytes;
    return 1;
}

int data_reader_extent(struct data_reader *dr, struct data_extent *ret, struct tm_err *err)
{
    int r = pending_load(dr, err);
    if (r < 0)
        return r;
    const struct data_extent *e = &dr->pending;
    if (!dr->have_pending || e->file + 1 != dr->files_read) {
        if (dr->part_offset != dr->part_end)
            return tm_err_set(err, TM_E_CORRUPT, "file entry %u: its extents do not cover it",
                              dr->files_read - 1);
        return 0;
    }
    uint64_t raw_bytes = object_reader_info(dr->object)->raw_bytes;
    if (e->source != DATA_SOURCE_SELF)
        return tm_err_set(err, TM_E_UNSUPPORTED, "extent source %u is not known", e->source);
    if (e->length == 0 || e->file_offset != dr->part_offset ||
        e->length > dr->part_end - dr->part_offset || e->raw_offset > raw_bytes ||
        e->length > raw_bytes - e->raw_offset)
        return tm_err_set(err, TM_E_CORRUPT,
                          "file entry %u: an extent lies outside of it or of "
                          "the object",
                          dr->files_read - 1);
    dr->part_offset += e->length;
    dr->have_pending = false;
    *ret = *e;
    return 1;
}
