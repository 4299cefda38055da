#ifndef TM_PROTO_FORMAT_CHUNK_H
#define TM_PROTO_FORMAT_CHUNK_H
/*
 * Chunks: one uploaded, self-describing piece of log, bytes [from, to) of a lineage's stream. The
 * frames are the raw log bytes; the footer carries the log_chunk record, running digests and time
 * marks. The same format serves a backup's own log and the log task's.
 *
 * The running digest D proves log bytes independent of how they were cut into chunks. It is taken
 * at segment boundaries B (multiples of segment_bytes):
 *
 *     D(B_first) = 32 zero bytes          B_first: the boundary the stream started at
 *     D(B + segment) = SHA-256( D(B) || log bytes [B, B + segment) )
 *
 * A writer keeps a struct log_digest across its chunks; each chunk stores the boundaries that fall
 * into (from, to].
 *
 *     chunk_writer_open → chunk_writer_data* (mark*) → chunk_writer_finish → chunk_writer_release
 *
 * The log task adds what was found in the bytes, before finish: events (chunk_writer_events) and
 * the engine's own sections (chunk_writer_section, ids from 256 on, not required).
 */
#include "proto/format/events.h"
#include "proto/format/object.h"
#include "proto/format/records.h"

#define CHUNK_BYTES     (16u << 20) /* raw bytes after which a writer should cut */
#define CHUNK_MARKS_MAX 65536u

#define CHUNK_SECTIONS_MAX 8 /* the engine's own, in one chunk */

struct hash_sha256;
struct log_digest {
    uint32_t segment_bytes;
    uint64_t position;   /* next byte to digest */
    uint32_t boundaries; /* passed so far */
    uint8_t at_boundary[32];
    struct hash_sha256 *hash;
};

/* `from` must be a multiple of segment_bytes; `seed` is D(from), NULL = zeros. segment_bytes 0: no
 * digests are taken. */
int log_digest_init(struct log_digest *d, uint32_t segment_bytes, uint64_t from,
                    const uint8_t seed[32], struct tm_err *err) TM_WUR;
void log_digest_release(struct log_digest *d);
/* Goes on with bytes at d->position. Each boundary passed is appended to *boundaries as [boundary,
 * digest] (msgpack) and counted in d->boundaries. Feeding every chunk's bytes in order recomputes
 * what the chunks claim. */
int log_digest_update(struct log_digest *d, struct slice bytes, struct buf *boundaries,
                      struct tm_err *err) TM_WUR;

struct chunk_writer {
    struct object_writer *object;
    struct log_digest *digest; /* borrowed, goes on through all chunks */
    struct log_chunk root;
    struct buf digests;
    struct buf marks;
    uint32_t digest_count;
    uint32_t mark_count;
    bool sealed;
    bool task;         /* events were given: the root tells of them, and of the newest mark */
    struct buf events; /* the encoded section */
    struct {
        uint16_t id;
        struct slice bytes;
    } sections[CHUNK_SECTIONS_MAX];
    size_t section_count;
};
#define CHUNK_WRITER_INIT ((struct chunk_writer){.object = NULL})

/* `name` full; root->from, lineage, epoch, segment_bytes, previous_end filled by the caller; `to`
 * grows with data. digest->position must be root->from. digest NULL: whoever cut the chunk took the
 * digests already and gives them with chunk_writer_digests. */
int chunk_writer_open(struct chunk_writer *cw, struct object_scratch *scratch, struct storage *st,
                      const char *name, const struct log_chunk *root, int zstd_level,
                      const uint8_t nonce[OBJECT_NONCE_BYTES], struct log_digest *digest,
                      struct tm_err *err) TM_WUR;
int chunk_writer_data(struct chunk_writer *cw, struct slice bytes, struct tm_err *err) TM_WUR;
/* At stream byte `at` the source's clock read time_us. */
int chunk_writer_mark(struct chunk_writer *cw, uint64_t at, int64_t time_us,
                      struct tm_err *err) TM_WUR;
/* `count` boundaries as log_digest_update appended them; copied. Only without a digest of its own. */
int chunk_writer_digests(struct chunk_writer *cw, uint32_t count, struct slice boundaries,
                         struct tm_err *err) TM_WUR;
/* Once each: the events of this chunk, with the root's events, min_us, max_us and last_record; a
 * section of the engine's. `bytes` must live until finish. */
int chunk_writer_events(struct chunk_writer *cw, const struct events_writer *events,
                        uint64_t last_record, struct tm_err *err) TM_WUR;
int chunk_writer_section(struct chunk_writer *cw, uint16_t id, struct slice bytes,
                         struct tm_err *err) TM_WUR;
/* Optional: all that finish does but for the commit. Nothing is added afterwards. */
int chunk_writer_seal(struct chunk_writer *cw, struct tm_err *err) TM_WUR;
/* Commits; *ret_ref gets digest and bounds, its name is `rel`. */
int chunk_writer_finish(struct chunk_writer *cw, const char *rel, struct log_ref *ret_ref,
                        struct object_info *ret_info, struct tm_err *err) TM_WUR;
/* Raw bytes in this chunk so far. */
uint64_t chunk_writer_bytes(const struct chunk_writer *cw);
void chunk_writer_release(struct chunk_writer *cw);

struct chunk_reader {
    struct object_reader *object;
    struct log_chunk root;
    uint64_t next; /* stream byte of what comes next */
};
#define CHUNK_READER_INIT ((struct chunk_reader){.object = NULL})

/* `name` full. The record must agree with what metadata says (ref may be NULL). */
int chunk_reader_open(struct chunk_reader *cr, struct object_scratch *scratch, struct storage *st,
                      const char *name, const struct log_ref *ref, struct tm_err *err) TM_WUR;
/* 1 = the next verified bytes, at stream byte *ret_at, valid until the next call; 0 = end. */
int chunk_reader_next(struct chunk_reader *cr, uint64_t *ret_at, struct slice *ret,
                      struct tm_err *err) TM_WUR;
/* 1 = the section's raw bytes, valid until release; 0 = the chunk has none. */
int chunk_reader_section(struct chunk_reader *cr, uint16_t id, struct slice *ret,
                         struct tm_err *err) TM_WUR;
/* All bytes are in storage as they were written, without unpacking them. */
int chunk_reader_verify_stored(struct chunk_reader *cr, struct tm_err *err) TM_WUR;
void chunk_reader_release(struct chunk_reader *cr);

/* What lists and indexes keep of a stored chunk. */
void log_entry_of(const struct log_chunk *root, const struct object_info *info,
                  struct log_entry *ret);

#endif
