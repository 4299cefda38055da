/*
 * The pass that goes over all file entries of a backup in order, in one thread: the footers of all
 * data objects in key order; parts of a file are adjacent there, and their checksums add up to the
 * file's without its bytes being read again.
 */
#include "agent/restore/internal.h"

#include "common/hash.h"

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
    if (file->offset_bytes != w->size)
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
