#ifndef TM_AGENT_ENGINE_POSTGRES_BLOB_H
#define TM_AGENT_ENGINE_POSTGRES_BLOB_H
/*
 * How this engine's blobs are encoded: "TMPG", a letter that says what it is, u8 version 1, then
 * fields: u16 tag, u32 length, value; all integers big-endian.
 *
 *     pg_blob_put_header → pg_blob_put_*                 pg_blob_read → take* → pg_blob_get_*
 *
 * `what` is the blob's name in messages: "snapshot's begin". Everything malformed is TM_E_CORRUPT
 * and names the field by its tag; another version is TM_E_UNSUPPORTED.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

int pg_blob_put_header(struct buf *out, char letter, struct tm_err *err) TM_WUR;
int pg_blob_put_field(struct buf *out, unsigned tag, const void *data, size_t len,
                      struct tm_err *err) TM_WUR;
int pg_blob_put_u32(struct buf *out, unsigned tag, uint32_t value, struct tm_err *err) TM_WUR;
int pg_blob_put_u64(struct buf *out, unsigned tag, uint64_t value, struct tm_err *err) TM_WUR;
int pg_blob_put_text(struct buf *out, unsigned tag, const char *text, struct tm_err *err) TM_WUR;

struct pg_blob_field {
    unsigned tag;
    struct slice value;
};

/* The letter of a blob of this engine, or 0. */
char pg_blob_letter(struct slice blob);
/* Gets each field, in the blob's order; unknown tags too. */
typedef int (*pg_blob_take_fn)(struct pg_blob_field field, void *arg, struct tm_err *err);
/* All fields of a blob with this letter. The tags 1 … last_required must be there. */
int pg_blob_read(const char *what, char letter, struct slice blob, unsigned last_required,
                 pg_blob_take_fn take, void *arg, struct tm_err *err) TM_WUR;
int pg_blob_bad(const char *what, unsigned tag, const char *why, struct tm_err *err);

int pg_blob_get_u32(const char *what, struct pg_blob_field field, uint32_t *ret,
                    struct tm_err *err) TM_WUR;
int pg_blob_get_u64(const char *what, struct pg_blob_field field, uint64_t *ret,
                    struct tm_err *err) TM_WUR;
/* `text` is the field's value or a part of it; *ret is freed first. */
int pg_blob_get_text(const char *what, struct pg_blob_field field, struct slice text, size_t max,
                     char **ret, struct tm_err *err) TM_WUR;
int pg_blob_get_bytes(const char *what, struct pg_blob_field field, size_t max, struct buf *ret,
                      struct tm_err *err) TM_WUR;

#endif
