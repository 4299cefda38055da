#ifndef TM_PROTO_FORMAT_OBJECT_H
#define TM_PROTO_FORMAT_OBJECT_H
/*
 * The container of every stored object ("tidemark object"): header, frames, footer, trailer. Its
 * bytes are specified in proto/README.md, "Storage format".
 *
 *   header   128 bytes: magic, version, kind, feature bits, cipher suite, compression, writer nonce
 *   frames   at most frame_bytes of raw bytes each, every one an independent zstd frame (or stored
 *            as it is where zstd gains nothing)
 *   footer   object name, frame table (lengths, XXH3-128 of raw and of stored bytes), sections
 *   trailer  64 bytes: where the footer lies, and its digest
 *
 * The digest (SHA-256 over header and footer) is what metadata names: through the frame table it
 * proves every byte of the object.
 *
 * Writing:
 *
 *     object_writer_open → ( room → advance )* | record*  → section* → finish → close
 *
 * `room` hands out the inside of the frame buffer: the producer reads its source straight into it.
 * A frame is hashed, compressed and written when it is full. Nothing is visible before finish
 * returned 0. When finish meets an object of that name, it reads it: the same writer nonce and the
 * same digest mean that an earlier commit of ours took effect, which is success; else TM_E_EXISTS.
 *
 * Reading:
 *
 *     object_reader_open → ( frame | piece | record | section )* → close
 *
 * open verifies header, trailer, footer and, when given, what metadata expects. frame verifies the
 * stored bytes before and the raw bytes after decompression. Wrong bytes are TM_E_CORRUPT, an
 * unknown version, required feature or cipher suite TM_E_UNSUPPORTED; messages name object and
 * frame. Every length is checked before memory is taken for it.
 *
 * All memory of a writer or reader lies in a struct object_scratch, made once a thread and used for
 * one writer or reader at a time: nothing is allocated per object once it is warm. Without threads
 * of its own; not thread safe.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/storage/storage.h"

#define OBJECT_VERSION         1u
#define OBJECT_HEADER_BYTES    128u
#define OBJECT_TRAILER_BYTES   64u
#define OBJECT_FRAME_ENTRY     44u         /* bytes of one line of the frame table */
#define OBJECT_FRAME_BYTES     (2u << 20)  /* raw bytes of a frame unless asked otherwise */
#define OBJECT_FRAME_BYTES_MAX (4u << 20)  /* a reader refuses more */
#define OBJECT_FOOTER_MAX      (64u << 20) /* a reader refuses more */
#define OBJECT_SECTION_MAX     (32u << 20) /* raw bytes of one section */
#define OBJECT_SECTIONS_MAX    32u
#define OBJECT_BLOCK_MAX       65536u
#define OBJECT_DIGEST_BYTES    32
#define OBJECT_HASH_BYTES      16
#define OBJECT_NONCE_BYTES     16
#define OBJECT_RECORD_MAX      ((256u << 10) - 4) /* one record of a record stream */

/*    enum        number, text */
#define OBJECT_KIND_MAP(X)                                                                         \
    X(REPOSITORY, 1, "repository")                                                                 \
    X(IDENTITY, 2, "identity")                                                                     \
    X(DATA, 3, "data")                                                                             \
    X(CHUNK, 4, "chunk")                                                                           \
    X(PLAN, 5, "plan")                                                                             \
    X(SEGMENT, 6, "segment")                                                                       \
    X(MANIFEST, 7, "manifest")                                                                     \
    X(TOMBSTONE, 8, "tombstone")                                                                   \
    X(LINEAGE, 9, "lineage")                                                                       \
    X(WRITER, 10, "writer")                                                                        \
    X(CHECKPOINT, 11, "checkpoint")                                                                \
    X(MARK, 12, "mark")                                                                            \
    X(LOG_INDEX, 13, "log index")                                                                  \
    X(TRUNCATION, 14, "truncation")                                                                \
    X(INTENT, 15, "intent")

enum object_kind {
#define OBJECT_KIND_ENUM(name, number, text) OBJECT_##name = number,
    OBJECT_KIND_MAP(OBJECT_KIND_ENUM)
#undef OBJECT_KIND_ENUM
};

/* "data", or "unknown" */
const char *object_kind_text(enum object_kind kind);

/* Section ids. Ids from 256 on are free for engines. */
enum object_section {
    OBJECT_SECTION_ROOT = 1,     /* one msgpack map: the record of the object's kind */
    OBJECT_SECTION_FILES = 2,    /* data: file entries */
    OBJECT_SECTION_EXTENTS = 3,  /* data: where their bytes lie */
    OBJECT_SECTION_PROBLEMS = 4, /* data: what the operator must hear of */
    OBJECT_SECTION_DIGESTS = 5,  /* chunk: running digests at segment boundaries */
    OBJECT_SECTION_MARKS = 6,    /* chunk: time marks */
    OBJECT_SECTION_EVENTS = 7,   /* chunk: transactions and named points (format/events.h) */
};

#define OBJECT_SECTION_REQUIRED 1u /* a reader that does not know the id must refuse the object */

/* What a writer learned about the object it stored, and what metadata keeps of it. */
struct object_info {
    uint64_t stored_bytes; /* the whole object, header to trailer */
    uint64_t raw_bytes;    /* of all frames together */
    uint64_t footer_offset;
    uint32_t frame_count;
    uint8_t digest[OBJECT_DIGEST_BYTES]; /* SHA-256 over header and footer */
    uint8_t hash[OBJECT_HASH_BYTES];     /* XXH3-128 over the whole object */
};

/* How metadata names an object. `name` is relative to the incarnation ("backup/…/data/…"). */
#define OBJECT_REF_NAME_MAX 191
struct object_ref {
    char name[OBJECT_REF_NAME_MAX + 1];
    uint64_t stored_bytes;
    uint64_t raw_bytes;
    uint8_t digest[OBJECT_DIGEST_BYTES];
};

/* ---- scratch ---- */

struct object_scratch;
/* About 2 × OBJECT_FRAME_BYTES and a zstd context once used; 8 MiB more for a reader that goes through
 * a large object of a store that is far away, which reads ahead. */
int object_scratch_new(struct object_scratch **ret, struct tm_err *err) TM_WUR;
void object_scratch_free(struct object_scratch *scratch);
TM_DEFINE_FREEP(struct object_scratch, object_scratch_free)

/* ---- writing ---- */

struct object_options {
    enum object_kind kind;
    int zstd_level;                    /* 1 … 19; 0 = not compressed */
    uint32_t frame_bytes;              /* 0 = OBJECT_FRAME_BYTES; a multiple of block_bytes */
    uint32_t block_bytes;              /* room is given in whole blocks of this; 0 = 1 */
    uint8_t nonce[OBJECT_NONCE_BYTES]; /* random, from the caller: says who wrote this object */
};

struct object_writer;
/* `name` is the full storage name. The writer lives in the scratch until object_writer_close. */
int object_writer_open(struct object_scratch *scratch, struct storage *st, const char *name,
                       const struct object_options *options, struct object_writer **ret,
                       struct tm_err *err) TM_WUR;
/* At least one block of room, at most the rest of the frame; a block is never split between frames.
 * Valid until the next call with this writer. */
int object_writer_room(struct object_writer *w, uint8_t **ret, size_t *ret_bytes,
                       struct tm_err *err) TM_WUR;
/* `bytes` of the room are filled (0 is allowed). */
int object_writer_advance(struct object_writer *w, size_t bytes, struct tm_err *err) TM_WUR;
/* Raw bytes so far: the raw offset of what comes next. */
uint64_t object_writer_raw_bytes(const struct object_writer *w);
/* Stored bytes so far, without what still waits in the frame buffer. */
uint64_t object_writer_stored_bytes(const struct object_writer *w);
/* For producers that own their buffer: whole frames are packed out of it, the rest is copied. */
int object_writer_append(struct object_writer *w, struct slice bytes, struct tm_err *err) TM_WUR;
/* Record streams (plan, segment, manifest): u32 length and bytes, never split between frames.
 * Not to be mixed with room/append in one object. At most OBJECT_RECORD_MAX bytes. */
int object_writer_record(struct object_writer *w, struct slice record, struct tm_err *err) TM_WUR;
/* Sections go to the footer, in the order given; ids ascend. The bytes are copied (compressed). */
int object_writer_section(struct object_writer *w, uint16_t id, uint16_t flags, struct slice bytes,
                          struct tm_err *err) TM_WUR;
/* Optional, before finish: all that finish does but for the commit, which alone has to be waited for
 * then. Nothing is added afterwards. */
int object_writer_seal(struct object_writer *w, struct tm_err *err) TM_WUR;
/* Writes footer and trailer and commits. TM_E_EXISTS as told above. */
int object_writer_finish(struct object_writer *w, struct object_info *ret,
                         struct tm_err *err) TM_WUR;
/* After finish, or instead of it: then nothing stays visible. NULL is allowed. */
void object_writer_close(struct object_writer *w);
TM_DEFINE_FREEP(struct object_writer, object_writer_close)

/* An object that is only a root section (repository, identity, tombstone, …). */
int object_put_root(struct object_scratch *scratch, struct storage *st, const char *name,
                    enum object_kind kind, const uint8_t nonce[OBJECT_NONCE_BYTES],
                    struct slice root, struct object_info *ret, struct tm_err *err) TM_WUR;

/* ---- reading ---- */

struct object_reader;
/* `name` is the full storage name; `expect` (NULL = nothing known) gives size and digest, its name
 * is not looked at. An object of another kind, or one that was stored under another name, is
 * refused. */
int object_reader_open(struct object_scratch *scratch, struct storage *st, const char *name,
                       enum object_kind kind, const struct object_ref *expect,
                       struct object_reader **ret, struct tm_err *err) TM_WUR;
void object_reader_close(struct object_reader *r);
TM_DEFINE_FREEP(struct object_reader, object_reader_close)

const struct object_info *object_reader_info(const struct object_reader *r); /* hash is zero */
const uint8_t *object_reader_nonce(const struct object_reader *r);
/* The verified raw bytes of frame `index`, valid until the next call of frame, piece or record. */
int object_reader_frame(struct object_reader *r, uint32_t index, struct slice *ret,
                        struct tm_err *err) TM_WUR;
/* The verified bytes at raw_offset, as many as lie in one frame, at most max_bytes, at least 1.
 * Calls with rising offsets read every frame once. */
int object_reader_piece(struct object_reader *r, uint64_t raw_offset, uint64_t max_bytes,
                        struct slice *ret, struct tm_err *err) TM_WUR;
/* Whether a frame starts at raw_offset; if so its raw length and hash, without fetching it. */
bool object_reader_frame_hash(struct object_reader *r, uint64_t raw_offset, uint64_t *ret_bytes,
                              uint8_t ret_hash[OBJECT_HASH_BYTES]);
/* Next record of a record stream: 1 = *ret valid until the next call, 0 = end. */
int object_reader_record(struct object_reader *r, struct slice *ret, struct tm_err *err) TM_WUR;
/* 1 = *ret is the section's raw bytes, valid until close; 0 = there is none. */
int object_reader_section(struct object_reader *r, uint16_t id, struct slice *ret,
                          struct tm_err *err) TM_WUR;
/* Refuses the object when a required section has an id not in known[0 … count). */
int object_reader_require_known(struct object_reader *r, const uint16_t *known, size_t count,
                                struct tm_err *err) TM_WUR;
/* The root section, which is the only one that must be known: whoever calls this skips all others. */
int object_reader_root(struct object_reader *r, struct slice *ret, struct tm_err *err) TM_WUR;
/* All frames as they are stored match the hashes of the footer (which object_reader_open has proven):
 * nothing is unpacked, so this is ten times as fast as reading them. */
int object_reader_verify_stored(struct object_reader *r, struct tm_err *err) TM_WUR;
/* Reads everything: every frame, every section. */
int object_reader_verify(struct object_reader *r, struct tm_err *err) TM_WUR;

/* Sets a header's hash right after a test or a tool changed its bytes. */
void object_header_rehash(uint8_t header[OBJECT_HEADER_BYTES]);

/* Reads the root section of an object into *ret (appended). TM_E_NOT_FOUND when it is not there. */
int object_get_root(struct object_scratch *scratch, struct storage *st, const char *name,
                    enum object_kind kind, struct buf *ret, struct tm_err *err) TM_WUR;

#endif
