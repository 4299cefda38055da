/*
 * One range: an object's frames into files.
 *
 * Happy path: object and index are opened and checked against what the manifest says → for each
 * file part the engine gives a descriptor → pieces of verified frames are written to their place →
 * the kernel is asked to start writing them to disk while the next ones are fetched.
 * Delta: what is on disk already is not written again. A frame that lies within one file is
 * compared by its hash in the index before it is fetched; other pieces are compared byte by byte.
 * Failure: names range, object and frame; files written so far belong to something unstartable.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "agent/restore/internal.h"
#include "common/fd.h"
#include "common/hash.h"

#define PIECE_MAX  (1u << 20)
#define SYNC_BYTES (4u << 20) /* this much written: start writing to disk */
#define ZERO_MIN   65536u

struct restore_worker {
    struct restore *restore;
    struct object_scratch *scratch;
    uint8_t *existing; /* PIECE_MAX bytes, delta only */
    struct codec_arena arena;
    uint64_t unsynced;
};

int restore_worker_new(struct restore *r, struct restore_worker **ret, struct tm_err *err)
{
    TM_CLEANUP(restore_worker_freep) struct restore_worker *w = calloc(1, sizeof(*w));
    if (!w)
        return tm_err_oom(err);
    w->restore = r;
    if (r->job->delta && !(w->existing = malloc(OBJECT_FRAME_BYTES_MAX)))
        return tm_err_oom(err);
    int rc = object_scratch_new(&w->scratch, err);
    if (rc < 0)
        return rc;
    *ret = TM_TAKE(w);
    return 0;
}

void restore_worker_free(struct restore_worker *w)
{
    if (!w)
        return;
    object_scratch_free(w->scratch);
    codec_arena_release(&w->arena);
    free(w->existing);
    free(w);
}

void restore_item_set(struct restore_item *item, const struct segment_range *range)
{
    item->index = range->index;
    item->object = segment_range_object(range);
    item->start_len = (uint32_t)range->start.len;
    item->end_len = (uint32_t)range->end.len;
    if (range->start.len)
        memcpy(item->start, range->start.data, range->start.len);
    if (range->end.len)
        memcpy(item->end, range->end.data, range->end.len);
}

/* ---- bytes ---- */

static bool all_zero(struct slice s)
{
    return s.len >= 16 && s.data[0] == 0 && memcmp(s.data, s.data + 1, s.len - 1) == 0;
}

/* Whether the file holds just these bytes there. */
static bool same_on_disk(struct restore_worker *w, int fd, uint64_t at, struct slice piece)
{
    size_t got = 0;
    struct tm_err ignored;
    if (!w->existing || piece.len > OBJECT_FRAME_BYTES_MAX)
        return false;
    return fd_pread_some(fd, w->existing, piece.len, at, &got, "file", &ignored) == 0 &&
           got == piece.len && memcmp(w->existing, piece.data, piece.len) == 0;
}

static void start_writeback(struct restore_worker *w, int fd, size_t bytes)
{
    w->unsynced += bytes;
    if (w->unsynced < SYNC_BYTES)
        return;
    w->unsynced = 0;
    /* a hint: what cannot be started now is synced by the engine at the end anyway */
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int write_piece(struct restore_worker *w, int fd, uint64_t at, struct slice piece,
                       const char *path, struct tm_err *err)
{
    struct restore *r = w->restore;
    int rc = restore_canceled(r, err);
    if (rc < 0)
        return rc;
    if (r->job->delta && same_on_disk(w, fd, at, piece)) {
        atomic_fetch_add(&r->bytes_kept, piece.len);
    } else if (!r->job->delta && piece.len >= ZERO_MIN && all_zero(piece)) {
        /* a hole in a new file; its length is set at the end of the part */
    } else {
        rc = fd_pwrite_full(fd, piece.data, piece.len, at, path, err);
        if (rc < 0)
            return rc;
        start_writeback(w, fd, piece.len);
    }
    atomic_fetch_add(&r->bytes_done, piece.len);
    return r->throttled ? throttle_wait(&r->throttle, piece.len, err) : 0;
}

/* Delta: skips the whole frame at raw_offset when the disk has it already. 1 = skipped. */
static int skip_frame(struct restore_worker *w, struct object_reader *object, int fd,
                      const struct data_extent *extent, uint64_t done, uint64_t *ret_bytes)
{
    struct restore *r = w->restore;
    uint8_t hash[OBJECT_HASH_BYTES];
    uint64_t raw = extent->raw_offset + done, frame_bytes;
    size_t got = 0;
    struct tm_err ignored;
    if (!w->existing || !object_reader_frame_hash(object, raw, &frame_bytes, hash) ||
        frame_bytes > extent->length - done)
        return 0;
    if (fd_pread_some(fd, w->existing, (size_t)frame_bytes, extent->file_offset + done, &got,
                      "file", &ignored) < 0 ||
        got != frame_bytes)
        return 0;
    struct xxh3_128 have = xxh3_128_of(w->existing, (size_t)frame_bytes);
    if (memcmp(have.bytes, hash, sizeof(hash)) != 0)
        return 0;
    atomic_fetch_add(&r->bytes_kept, frame_bytes);
    atomic_fetch_add(&r->bytes_done, frame_bytes);
    *ret_bytes = frame_bytes;
    return 1;
}

static int write_extent(struct restore_worker *w, struct object_reader *object, int fd,
                        const struct data_extent *extent, const char *path, struct tm_err *err)
{
    uint64_t done = 0;
    while (done < extent->length) {
        uint64_t skipped;
        struct slice piece;
        if (skip_frame(w, object, fd, extent, done, &skipped) == 1) {
            done += skipped;
            continue;
        }
        int rc = object_reader_piece(object, extent->raw_offset + done, extent->length - done,
                                     &piece, err);
        if (rc == 0)
            rc = write_piece(w, fd, extent->file_offset + done, piece, path, err);
        if (rc < 0)
            return rc;
        done += piece.len;
    }
    return 0;
}

/* ---- files ---- */

static int end_part(struct restore_worker *w, int fd, const struct data_file *file,
                    struct tm_err *err)
{
    uint64_t end = file->offset_bytes + file->length_bytes;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s'", file->path);
    if (!S_ISREG(st.st_mode)) /* the engine throws the contents away */
        return 0;
    uint64_t size = (uint64_t)st.st_size;
    if (!file->last_part) {
        /* others may write behind us at this moment: a truncation could cut that off again. What is
         * not there of ours are zeros */
        return size >= end || file->length_bytes == 0
                   ? 0
                   : fd_pwrite_full(fd, (const uint8_t[]){0}, 1, end - 1, file->path, err);
    }
    bool too_long = w->restore->job->delta && size > end;
    if ((size < end || too_long) && ftruncate(fd, (off_t)end) < 0)
        return tm_err_errno(err, errno, "cannot set the length of '%s'", file->path);
    return 0;
}

static int restore_one(struct restore_worker *w, struct data_reader *dr,
                       const struct data_file *file, struct tm_err *err)
{
    struct restore *r = w->restore;
    TM_CLEANUP(closep) int fd = -1;
    struct file_entry entry = {.kind = (enum file_kind)file->kind,
                               .mode = file->mode,
                               .modified_us = file->modified_us,
                               .offset_bytes = file->offset_bytes,
                               .length_bytes = file->length_bytes,
                               .last_part = file->last_part};
    size_t path_len = strlen(file->path), link_len = strlen(file->link);
    if (path_len >= sizeof(entry.path) || link_len >= sizeof(entry.link))
        return tm_err_set(err, TM_E_CORRUPT, "a path is longer than %zu bytes",
                          sizeof(entry.path) - 1);
    memcpy(entry.path, file->path, path_len + 1);
    memcpy(entry.link, file->link, link_len + 1);
    int rc = r->engine->restore_file(r->target, &entry, &fd, err);
    if (rc < 0)
        return rc;
    struct data_extent extent;
    while ((rc = data_reader_extent(dr, &extent, err)) == 1) {
        if (fd < 0)
            return tm_err_set(err, TM_E_CORRUPT, "'%s' is no file but has contents", file->path);
        if (extent.source != DATA_SOURCE_SELF)
            return tm_err_set(err, TM_E_UNSUPPORTED, "'%s' has parts in another object",
                              file->path);
        rc = write_extent(w, dr->object, fd, &extent, file->path, err);
        if (rc < 0)
            return rc;
    }
    if (rc == 0 && fd >= 0)
        rc = end_part(w, fd, file, err);
    if (rc == 0 && fd >= 0)
        rc = fd_close(&fd, file->path, err);
    if (rc == 0 && file->last_part)
        atomic_fetch_add(&r->files, 1);
    return rc;
}

static int check_root(const struct restore_worker *w, const struct restore_item *item,
                      const struct data_root *root, struct tm_err *err)
{
    if (root->range != item->index || strcmp(root->backup_id, w->restore->outcome.backup_id) != 0 ||
        !slice_eq(root->start, slice_of(item->start, item->start_len)) ||
        !slice_eq(root->end, slice_of(item->end, item->end_len)))
        return tm_err_set(err, TM_E_CORRUPT, "'%s' holds another range than the manifest says",
                          item->object.name);
    return 0;
}

int restore_range(struct restore_worker *w, const struct restore_item *item, struct tm_err *err)
{
    struct restore *r = w->restore;
    struct full_name name = names_full(&r->scope, item->object.name);
    struct data_root root;
    struct data_reader dr;
    TM_CLEANUP(freep) struct data_file *file = malloc(sizeof(*file));
    TM_CLEANUP(object_reader_closep) struct object_reader *object = NULL;
    if (!file)
        return tm_err_oom(err);
    int rc =
        object_reader_open(w->scratch, r->st, name.s, OBJECT_DATA, &item->object, &object, err);
    if (rc == 0)
        rc = data_reader_init(&dr, object, &w->arena, &root, err);
    if (rc == 0)
        rc = check_root(w, item, &root, err);
    codec_arena_release(&w->arena);
    while (rc == 0 && (rc = data_reader_file(&dr, file, err)) == 1)
        rc = restore_one(w, &dr, file, err);
    return rc < 0 ? tm_err_prefix(err, "range %u", item->index) : 0;
}
