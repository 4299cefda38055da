#ifndef TM_PROTO_FORMAT_PACK_H
#define TM_PROTO_FORMAT_PACK_H
/*
 * msgpack for compact arrays: what lies in the sections of data objects and chunks, many times and
 * in a fixed order, where the maps of proto/wire/codec.h would be too wide. Values are written in
 * their shortest form; a reader takes any valid form of the right type, and nothing else.
 *
 * Writers append to a buf. Readers take from the front of a slice and never allocate: text and
 * bytes are views into it. All return 0 or a negative error; a value that is cut off, of another
 * type or out of bounds is TM_E_CORRUPT "<what>: …".
 */
#include "common/buf.h"
#include "common/err.h"

int pack_array(struct buf *out, uint32_t count, struct tm_err *err) TM_WUR;
int pack_uint(struct buf *out, uint64_t value, struct tm_err *err) TM_WUR;
int pack_int(struct buf *out, int64_t value, struct tm_err *err) TM_WUR;
int pack_bool(struct buf *out, bool value, struct tm_err *err) TM_WUR;
int pack_str(struct buf *out, const char *text, struct tm_err *err) TM_WUR;
int pack_bin(struct buf *out, struct slice bytes, struct tm_err *err) TM_WUR;

int unpack_array(struct slice *in, const char *what, uint32_t *ret, struct tm_err *err) TM_WUR;
int unpack_uint(struct slice *in, const char *what, uint64_t max, uint64_t *ret,
                struct tm_err *err) TM_WUR;
int unpack_int(struct slice *in, const char *what, int64_t *ret, struct tm_err *err) TM_WUR;
int unpack_bool(struct slice *in, const char *what, bool *ret, struct tm_err *err) TM_WUR;
/* Into a terminated array of `size`; NUL inside is refused. */
int unpack_str(struct slice *in, const char *what, char *ret, size_t size,
               struct tm_err *err) TM_WUR;
int unpack_bin(struct slice *in, const char *what, size_t max, struct slice *ret,
               struct tm_err *err) TM_WUR;

#endif
