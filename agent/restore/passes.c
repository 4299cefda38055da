/*
 * The pass that goes over all file entries of a backup in order, in one thread: the footers of all
 * data objects in key order; parts of a file are adjacent there, and their checksums add up to the
 * file's without its bytes being read again.
 *
 * A part may be missing: the file was removed after others of its parts were read, perhaps in an earlier
 * attempt of the backup. Replay removes it, too. Until then the place is a hole, which reads as zeros.
 */
#include "agent/restore/internal.h"

#include <sys/stat.h>

#include "common/fd.h"
#include "common/hash.h"

#define ZEROS_BYTES ((size_t)65536)

/* The file whose parts are being added up. */
struct whole {
    bool open;
    char path[FORMAT_PATH_MAX + 1];
    uint64_t size;
    int64_t modified_us;
    uint32_t crc;
};

static int whole_end(struct restore *r, struct whole *w, struct tm_err *err)
{
    if (!w->open)
        return 0;
    w->open = false;
    return r->engine->restore_manifest_file(r->target, w->path, w->size, w->modified_us, w->crc,
                                            err);
}

/* The checksum of so many zeros, by doubling. */
static uint32_t crc_of_zeros(uint64_t len)
{
    uint32_t crc = CRC32C_INIT, piece = crc32c(CRC32C_INIT, "", 1);
    for (uint64_t piece_len = 1; len >= piece_len && piece_len != 0; piece_len *= 2) {
        if (len & piece_len)
            crc = crc32c_combine(crc, piece, piece_len);
        piece = crc32c_combine(piece, piece, piece_len);
    }
    return crc;
}

/* Delta: what the file held there before this restore must not stay. */
static int clear_hole(struct restore *r, const struct data_file *file, uint64_t from,
                      struct tm_err *err)
{
    static const uint8_t zeros[ZEROS_BYTES];
    TM_CLEANUP(closep) int fd = -1;
    struct stat st;
    struct file_entry entry = {.kind = FILE_REGULAR,
                               .mode = file->mode,
                               .modified_us = file->modified_us,
                               .offset_bytes = from,
                               .length_bytes = file->offset_bytes - from};
    if (!r->job->delta)
        return 0;
    const size_t path_len = strlen(file->path);
    if (path_len >= sizeof(entry.path))
        return tm_err_set(err, TM_E_CORRUPT, "a path is longer than %zu bytes",
                          sizeof(entry.path) - 1);
    memcpy(entry.path, file->path, path_len + 1);
    int rc = r->engine->restore_file(r->target, &entry, &fd, err);
    if (rc == 0 && fstat(fd, &st) < 0)
        rc = tm_err_errno(err, errno, "cannot stat '%s'", file->path);
    if (rc != 0 || !S_ISREG(st.st_mode))
        return rc;
    for (uint64_t at = from; rc == 0 && at < file->offset_bytes; at += ZEROS_BYTES) {
        const size_t n = (size_t)TM_MIN((uint64_t)ZEROS_BYTES, file->offset_bytes - at);
        rc = fd_pwrite_full(fd, zeros, n, at, file->path, err);
    }
    return rc == 0 ? fd_close(&fd, file->path, err) : rc;
}

static int whole_add(struct restore *r, struct whole *w, const struct data_file *file,
                     struct tm_err *err)
{
    if (file->kind != DATA_REGULAR)
        return 0;
    if (w->open && strcmp(w->path, file->path) != 0) {
        /* its last part vanished while the backup ran: it ends where it ends */
        int rc = whole_end(r, w, err);
        if (rc < 0)
            return rc;
    }
    if (!w->open) {
        *w = (struct whole){.open = true, .crc = CRC32C_INIT};
        (void)snprintf(w->path, sizeof(w->path), "%s", file->path);
    }
    if (file->offset_bytes > w->size) {
        const uint64_t hole = file->offset_bytes - w->size;
        int rc = clear_hole(r, file, w->size, err);
        if (rc < 0)
            return rc;
        w->crc = crc32c_combine(w->crc, crc_of_zeros(hole), hole);
        w->size = file->offset_bytes;
    }
    if (file->offset_bytes < w->size)
        return tm_err_set(err, TM_E_CORRUPT, "'%s': a part at %llu came where %llu was due",
                          file->path, (unsigned long long)file->offset_bytes,
                          (unsigned long long)w->size);
    w->crc = crc32c_combine(w->crc, file->crc32c, file->length_bytes);
    w->size += file->length_bytes;
    w->modified_us = TM_MAX(w->modified_us, file->modified_us);
    return file->last_part ? whole_end(r, w, err) : 0;
}

static int one_footer(struct restore *r, struct whole *w, const struct segment_range *range,
                      struct data_file *file, struct tm_err *err)
{
    struct object_ref ref = segment_range_object(range);
    struct full_name name = names_full(&r->scope, ref.name);
    struct codec_arena arena = {0};
    struct data_root root;
    struct data_reader dr;
    TM_CLEANUP(object_reader_closep) struct object_reader *object = NULL;
    int rc = restore_canceled(r, err);
    if (rc == 0)
        rc = object_reader_open(r->object_scratch, r->st, name.s, OBJECT_DATA, &ref, &object, err);
    if (rc == 0)
        rc = data_reader_init(&dr, object, &arena, &root, err);
    codec_arena_release(&arena);
    while (rc == 0 && (rc = data_reader_file(&dr, file, err)) == 1) {
        struct data_extent extent;
        while ((rc = data_reader_extent(&dr, &extent, err)) == 1)
            ;
        if (rc == 0)
            rc = whole_add(r, w, file, err);
    }
    return rc;
}

int restore_manifest(struct restore *r, struct tm_err *err)
{
    TM_CLEANUP(freep) struct whole *w = calloc(1, sizeof(*w));
    TM_CLEANUP(freep) struct data_file *file = malloc(sizeof(*file));
    struct backup_ranges ranges = BACKUP_RANGES_INIT;
    struct segment_range range;
    if (!w || !file)
        return tm_err_oom(err);
    int rc = backup_ranges_reopen(&ranges, r->manifest_scratch, r->segment_scratch, r->st,
                                  &r->scope, r->outcome.backup_id, err);
    while (rc == 0 && (rc = backup_ranges_next(&ranges, &range, err)) == 1)
        rc = one_footer(r, w, &range, file, err);
    if (rc == 0)
        rc = whole_end(r, w, err);
    backup_ranges_release(&ranges);
    return rc;
}
