#ifndef TM_PROTO_FORMAT_OBJECT_INTERNAL_H
#define TM_PROTO_FORMAT_OBJECT_INTERNAL_H
/*
 * What object_write.c and object_read.c share: the fixed parts of an object and the scratch. For
 * these files only.
 */
#include <zstd.h>

#include "proto/format/object.h"

#define OBJECT_MAGIC     UINT64_C(0x8954444d4b0d0a1a) /* "\x89TDMK\r\n\x1a" */
#define OBJECT_MAGIC_END UINT64_C(0x1a4b4d44540d0a89) /* "\x1aKMDT\r\n\x89" */

#define OBJECT_FRAME_ZSTD   1u /* frame flag */
#define OBJECT_SECTION_ZSTD 2u /* section flag, beside OBJECT_SECTION_REQUIRED */

#define OBJECT_FOOTER_FIXED   18u /* frame count, section count, raw bytes, name length */
#define OBJECT_SECTION_HEADER 12u

struct object_header {
    uint32_t kind;
    bool compressed;
    uint32_t frame_bytes;
    uint32_t block_bytes;
    uint8_t nonce[OBJECT_NONCE_BYTES];
};

struct object_trailer {
    uint64_t footer_offset;
    uint32_t footer_bytes;
    uint8_t digest[OBJECT_DIGEST_BYTES];
};

void object_header_encode(const struct object_header *h, uint8_t out[OBJECT_HEADER_BYTES]);
int object_header_decode(const uint8_t in[OBJECT_HEADER_BYTES], struct object_header *ret,
                         struct tm_err *err) TM_WUR;
void object_trailer_encode(const struct object_trailer *t, uint8_t out[OBJECT_TRAILER_BYTES]);
int object_trailer_decode(const uint8_t in[OBJECT_TRAILER_BYTES], struct object_trailer *ret,
                          struct tm_err *err) TM_WUR;

void object_hash(const void *data, size_t len, uint8_t ret[OBJECT_HASH_BYTES]);
/* SHA-256 over header and footer. */
int object_digest(const uint8_t header[OBJECT_HEADER_BYTES], struct slice footer,
                  uint8_t ret[OBJECT_DIGEST_BYTES], struct tm_err *err) TM_WUR;

/* A stretch of an object that is here (fetch NULL) or on its way. */
#define OBJECT_WINDOW_BYTES ((size_t)4 << 20) /* of the frames that are fetched at once */
struct object_window {
    struct buf data;
    uint64_t offset;
    size_t len; /* 0 = empty */
    struct storage_fetch *fetch;
    uint64_t object_bytes; /* the object's size, as a fetch's answer said; else UINT64_MAX */
};

/* Begins to fill a window, or fills it where the store is near; what was on its way is given up. */
int object_window_begin(struct object_window *w, struct storage *st, const char *name,
                        uint64_t offset, size_t len, struct tm_err *err) TM_WUR;
int object_window_wait(struct object_window *w, struct tm_err *err) TM_WUR;
void object_window_drop(struct object_window *w);

struct object_hasher; /* XXH3-128 in pieces */

struct object_writer {
    struct object_scratch *scratch;
    struct storage_writer *out;
    struct storage *st;
    struct object_options options;
    bool records; /* this object is a record stream */
    bool header_sent;
    bool complete;      /* footer and trailer are written */
    size_t used;        /* of the frame buffer */
    uint64_t raw_bytes; /* of finished frames */
    uint64_t stored_bytes;
    uint32_t frame_count;
    uint32_t section_count;
    uint16_t last_section;
    uint8_t header[OBJECT_HEADER_BYTES];
    struct object_trailer trailer; /* once complete */
    char name[STORAGE_NAME_MAX + 1];
};

struct object_section_entry {
    uint16_t id;
    uint16_t flags;
    uint32_t raw_bytes;
    struct slice stored; /* in the footer */
    bool loaded;
};

struct object_reader {
    struct object_scratch *scratch;
    struct storage *st;
    struct object_header header;
    struct object_info info;
    const uint8_t *table; /* frame table in the footer */
    uint32_t section_count;
    struct object_section_entry sections[OBJECT_SECTIONS_MAX];
    bool have_frame;
    uint32_t frame;           /* index of the one in the buffer */
    uint64_t frame_raw_start; /* raw offset of that frame */
    uint64_t frame_offset;    /* where it is stored */
    struct slice frame_raw;   /* its bytes, once have_frame */
    size_t record_at;         /* next record in that frame */
    uint32_t next_frame;      /* the one behind the last that was read */
    uint32_t asked;           /* frames before it are in a window, or were; */
    uint64_t asked_offset;    /* … where it is stored */
    char name[STORAGE_NAME_MAX + 1];
};

struct object_scratch {
    ZSTD_CCtx *cctx;
    ZSTD_DCtx *dctx;
    int level;         /* cctx is set up for this; 0 = not yet */
    bool for_log;      /* … and for log rather than for pages */
    struct buf frame;  /* raw bytes of one frame: room is handed out inside */
    struct buf packed; /* stored bytes; the header may lie in front of the first frame */
    struct buf table;
    struct buf sections;
    struct buf footer;
    struct buf section_raw[OBJECT_SECTIONS_MAX];
    struct object_window windows[2]; /* a reader's, or of a writer that looks at what it wrote */
    struct object_hasher *hasher;
    bool busy;
    struct object_writer writer;
    struct object_reader reader;
};

/* The frame at the reader's position, as stored: valid until the next call. */
int object_window_frame(struct object_reader *r, size_t len, uint8_t **ret,
                        struct tm_err *err) TM_WUR;

void object_hasher_reset(struct object_scratch *s);
void object_hasher_update(struct object_scratch *s, const void *data, size_t len);
void object_hasher_final(struct object_scratch *s, uint8_t ret[OBJECT_HASH_BYTES]);
int object_scratch_cctx(struct object_scratch *s, int level, bool for_log,
                        struct tm_err *err) TM_WUR;
int object_scratch_dctx(struct object_scratch *s, struct tm_err *err) TM_WUR;

static inline TM_UNUSED uint64_t object_entry_raw(const uint8_t *entry)
{
    return be32_get(entry);
}
static inline TM_UNUSED uint64_t object_entry_stored(const uint8_t *entry)
{
    return be32_get(entry + 4);
}

#endif
