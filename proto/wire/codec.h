#ifndef TM_PROTO_WIRE_CODEC_H
#define TM_PROTO_WIRE_CODEC_H
/*
 * Field tables: one list of fields gives the struct, its encoder and its strict decoder.
 *
 * A record is a msgpack map with short string keys. Its table is an X-macro with one row a field:
 *
 *     #define LEASE_FIELDS(X, T)                      \
 *         X(T, u32, range, "r", REQ, 0, UINT32_MAX)   \
 *         X(T, str, node, "n", OPT, 0, 64)            \
 *         X(T, bin, blob, "b", OPT, 1, 4096)          \
 *         X(T, list, parts, "p", OPT, 0, part, 16)
 *
 *     CODEC_DECLARE(lease, LEASE_FIELDS);           in the header: struct lease, lease_codec
 *     CODEC_DEFINE(lease, "lease", LEASE_FIELDS);   in one .c file: the table; the text is for errors
 *
 * The struct of a `list` or `msg` row is declared before the one that holds it.
 * Row: X(T, kind, member, key, REQ|OPT, since, bounds…)
 *
 *     kind   C member                              bounds          on the wire
 *     u64    uint64_t                              max value       unsigned integer
 *     u32    uint32_t                              max value       unsigned integer
 *     i64    int64_t                               (none: write 0) integer
 *     flag   bool                                  (none: write 0) boolean
 *     str    char[max + 1], always terminated      max bytes       string
 *     txt    const char *, NULL when absent        max bytes       string
 *     bin    struct slice                          max bytes       binary
 *     raw    uint8_t[n]                            n, exactly      binary
 *     msg    struct SUB *, NULL when absent        SUB             map
 *     list   struct SUB *; size_t member_count     SUB, max items  array of maps
 *     strs   const char **; size_t member_count    max bytes each, max items   array of strings
 *
 * An OPT field has the default zero, empty or NULL; the encoder leaves out what has its default, so
 * a field that must say "0" differently from "nothing" is given another encoding, not a third
 * state. (An OPT raw is left out when all its bytes are zero.) `since` is the minor version that
 * introduced the field; the encoder leaves out fields newer than what the receiver knows. Only OPT
 * fields may have a since above 0.
 *
 * Decoding is strict: anything else is TM_E_INVALID with the path in front, as in
 * "heartbeat.jobs[2].uid: longer than 64 bytes". Refused: a missing REQ field, a key twice, a wrong
 * type, a value above its bound, NUL or malformed UTF-8 in text, bytes behind the map, maps or
 * arrays deeper than CODEC_DEPTH_MAX, counts that the remaining bytes cannot hold, ext types.
 * Unknown keys are skipped. All of the structure is checked before the first byte is allocated.
 *
 * Memory: txt, bin, msg, list and strs live in the arena given to the decoder, copied: the input
 * may go away. For encoding they may point anywhere. Threads: tables are const; everything else
 * belongs to its caller.
 */
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define CODEC_DEPTH_MAX  12
#define CODEC_FIELDS_MAX 64        /* rows in one table */
#define CODEC_MINOR_ALL  UINT8_MAX /* encode every field: stored records, local frames */

/* ---- arena ---- */

#define CODEC_ARENA_MAX ((size_t)16 << 20) /* what one decoded record may take */

/* Memory freed all at once. Zeroed = empty and ready. */
struct codec_arena {
    struct codec_chunk *chunks;
    size_t total_bytes;
    bool wipe; /* holds secrets: memory is zeroed before it is given back */
};

void codec_arena_release(struct codec_arena *arena);
/* Zeroed memory, aligned for anything; NULL with *err filled when there is none. */
void *codec_arena_alloc(struct codec_arena *arena, size_t size, struct tm_err *err) TM_WUR;
void *codec_arena_array(struct codec_arena *arena, size_t count, size_t size,
                        struct tm_err *err) TM_WUR;
/* Copies; the text is terminated. */
const char *codec_arena_text(struct codec_arena *arena, const char *text,
                             struct tm_err *err) TM_WUR;
int codec_arena_bytes(struct codec_arena *arena, struct slice in, struct slice *ret,
                      struct tm_err *err) TM_WUR;

/* ---- tables ---- */

enum codec_kind {
    CODEC_u64,
    CODEC_u32,
    CODEC_i64,
    CODEC_flag,
    CODEC_str,
    CODEC_txt,
    CODEC_bin,
    CODEC_raw,
    CODEC_msg,
    CODEC_list,
    CODEC_strs,
};

struct codec_table;

struct codec_field {
    const char *key;
    const char *name; /* of the member, for messages; "" = not told, NULL = the key */
    enum codec_kind kind;
    bool required;
    uint8_t since;
    uint64_t max;       /* value, bytes, or bytes of each string */
    uint32_t max_items; /* list, strs */
    size_t offset;
    size_t count_offset; /* list, strs */
    const struct codec_table *sub;
};

struct codec_table {
    const char *name; /* for messages: "heartbeat" */
    size_t size;      /* of the struct */
    const struct codec_field *fields;
    size_t field_count;
};

/* Appends the record. A value that breaks its own bound is TM_E_INVALID with the same text as the
 * decoder's; *out is then as it was. */
int codec_encode(const struct codec_table *table, const void *record, uint8_t minor,
                 struct buf *out, struct tm_err *err) TM_WUR;
/* Exactly one record in `in`. *record is written whole, on success only (the arena may have grown).
 */
int codec_decode(const struct codec_table *table, struct slice in, struct codec_arena *arena,
                 void *record, struct tm_err *err) TM_WUR;
/* Copies a record with everything it points to. */
int codec_copy(const struct codec_table *table, const void *record, struct codec_arena *arena,
               void *copy, struct tm_err *err) TM_WUR;
/* Whether both would encode alike; out of memory counts as different. */
bool codec_equal(const struct codec_table *table, const void *a, const void *b);

/* ---- what the macros expand to ---- */

#define CODEC_DECLARE(name, FIELDS)                                                                \
    struct name {                                                                                  \
        FIELDS(CODEC_MEMBER_, name)                                                                \
    };                                                                                             \
    extern const struct codec_table name##_codec

/* clang-format off */
#define CODEC_MEMBER_(T, kind, member, key, need, since, ...) CODEC_MEMBER_##kind(member, __VA_ARGS__)
#define CODEC_MEMBER_u64(member, max)             uint64_t member;
#define CODEC_MEMBER_u32(member, max)             uint32_t member;
#define CODEC_MEMBER_i64(member, unused)          int64_t member;
#define CODEC_MEMBER_flag(member, unused)         bool member;
#define CODEC_MEMBER_str(member, max)             char member[(max) + 1];
#define CODEC_MEMBER_txt(member, max)             const char *member;
#define CODEC_MEMBER_bin(member, max)             struct slice member;
#define CODEC_MEMBER_raw(member, n)               uint8_t member[n];
#define CODEC_MEMBER_msg(member, sub)             struct sub *member;
#define CODEC_MEMBER_list(member, sub, max_items) struct sub *member; size_t member##_count;
#define CODEC_MEMBER_strs(member, max, max_items) const char **member; size_t member##_count;

#define CODEC_DEFINE(name_, text_, FIELDS)                                                         \
    static const struct codec_field name_##_codec_fields[] = {FIELDS(CODEC_ROW_, name_)};          \
    _Static_assert(TM_ARRAY_LEN(name_##_codec_fields) <= CODEC_FIELDS_MAX, "too many fields");     \
    const struct codec_table name_##_codec = {                                                     \
        .name = text_,                                                                             \
        .size = sizeof(struct name_),                                                              \
        .fields = name_##_codec_fields,                                                            \
        .field_count = TM_ARRAY_LEN(name_##_codec_fields),                                         \
    }

#define CODEC_NEED_REQ true
#define CODEC_NEED_OPT false
#define CODEC_ROW_(T, kind_, member, key_, need, since_, ...)                                      \
    {.key = key_, .name = #member, .kind = CODEC_##kind_, .required = CODEC_NEED_##need, .since = since_,           \
     .offset = offsetof(struct T, member), CODEC_ROW_##kind_(T, member, __VA_ARGS__)},
#define CODEC_ROW_u64(T, member, max_)              .max = (max_)
#define CODEC_ROW_u32(T, member, max_)              .max = (max_)
#define CODEC_ROW_i64(T, member, unused)            .max = 0
#define CODEC_ROW_flag(T, member, unused)           .max = 0
#define CODEC_ROW_str(T, member, max_)              .max = (max_)
#define CODEC_ROW_txt(T, member, max_)              .max = (max_)
#define CODEC_ROW_bin(T, member, max_)              .max = (max_)
#define CODEC_ROW_raw(T, member, n)                 .max = (n)
#define CODEC_ROW_msg(T, member, sub_)              .sub = &sub_##_codec
#define CODEC_ROW_list(T, member, sub_, max_items_)                                                \
    .sub = &sub_##_codec, .max_items = (max_items_), .count_offset = offsetof(struct T, member##_count)
#define CODEC_ROW_strs(T, member, max_, max_items_)                                                \
    .max = (max_), .max_items = (max_items_), .count_offset = offsetof(struct T, member##_count)
/* clang-format on */

#endif
