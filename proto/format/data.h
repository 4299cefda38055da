#ifndef TM_PROTO_FORMAT_DATA_H
#define TM_PROTO_FORMAT_DATA_H
/*
 * The footer index of a data object: which files (or parts of files) a range carries, and where
 * their bytes lie in the object.
 *
 * Building, one file at a time, in the order of the reader:
 *
 *     data_index_file (offset, length and crc still open) → object_writer_room/advance …
 *     → data_index_file_end(length, crc) → …
 *     → data_index_store (three sections) → object_writer_finish
 *
 * Each file part whose bytes come from this object has one extent, made by data_index_file_end. The
 * format allows more (incrementals: extents of parents' objects), so readers loop over extents.
 *
 * Reading: data_reader_init on an open object_reader, then for every file
 *
 *     data_reader_file → data_reader_extent until 0
 *
 * A struct data_index keeps its memory between ranges (data_index_reset). Not thread safe.
 */
#include "proto/format/object.h"
#include "proto/format/records.h"

enum data_file_kind { DATA_REGULAR = 1, DATA_DIRECTORY = 2, DATA_LINK = 3 };

#define DATA_SOURCE_SELF 0u       /* extents of this object; others are reserved for incrementals */
#define DATA_FILES_MAX   1000000u /* in one object */

struct data_file {
    enum data_file_kind kind;
    char path[FORMAT_PATH_MAX + 1]; /* relative, or absolute for files outside the data directory */
    char link[FORMAT_PATH_MAX + 1]; /* DATA_LINK: target */
    uint32_t mode;
    int64_t modified_us;
    uint64_t offset_bytes; /* where this part starts in the file */
    uint64_t length_bytes; /* of this part */
    bool last_part;
    uint32_t crc32c; /* of this part as it was read from the source */
};

struct data_extent {
    uint32_t file;        /* index of its file in this object */
    uint32_t source;      /* DATA_SOURCE_SELF */
    uint64_t file_offset; /* in the file, absolute */
    uint64_t length;
    uint64_t raw_offset; /* in the source object's raw bytes */
};

struct data_index {
    struct buf files;
    struct buf extents;
    struct buf problems;
    uint32_t file_count;
    uint32_t extent_count;
    uint32_t problem_count;
    bool open; /* between file and file_end */
    struct data_file current;
    uint64_t raw_start;
};
#define DATA_INDEX_INIT ((struct data_index){.files = {NULL, 0, 0}})

void data_index_reset(struct data_index *index); /* empty, memory kept */
void data_index_release(struct data_index *index);
/* `raw_offset`: object_writer_raw_bytes now. length_bytes and crc32c of *file are not looked at. */
int data_index_file(struct data_index *index, const struct data_file *file, uint64_t raw_offset,
                    struct tm_err *err) TM_WUR;
/* `raw_offset`: object_writer_raw_bytes now; the part's length is what was advanced meanwhile. */
int data_index_file_end(struct data_index *index, uint64_t raw_offset, uint32_t crc32c,
                        struct tm_err *err) TM_WUR;
int data_index_problem(struct data_index *index, const struct problem *problem,
                       struct tm_err *err) TM_WUR;
/* Root, files, extents and problems into the footer. */
int data_index_store(const struct data_index *index, const struct data_root *root,
                     struct object_writer *w, struct tm_err *err) TM_WUR;

struct data_reader {
    struct object_reader *object;
    struct slice files; /* what is not yet read */
    struct slice extents;
    uint32_t file_count;
    uint32_t files_read;
    uint32_t extent_count;
    uint32_t extents_read;
    uint64_t part_offset; /* up to here the extents of the file read last cover it */
    uint64_t part_end;
    bool have_pending;
    struct data_extent pending; /* read ahead: belongs to a later file */
};

/* Reads and checks the sections. Slices in *ret_root live in the arena; root may be NULL. */
int data_reader_init(struct data_reader *dr, struct object_reader *object,
                     struct codec_arena *arena, struct data_root *ret_root,
                     struct tm_err *err) TM_WUR;
/* 1 = the next file, 0 = end. Paths are checked: no NUL, no "..", not empty. */
int data_reader_file(struct data_reader *dr, struct data_file *ret, struct tm_err *err) TM_WUR;
/* 1 = the next extent of the file read last, 0 = no more. Extents lie inside their file part and
 * inside the object's raw bytes, adjacent and without gap: a part is covered whole. */
int data_reader_extent(struct data_reader *dr, struct data_extent *ret, struct tm_err *err) TM_WUR;

#endif
