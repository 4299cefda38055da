#ifndef TM_COMMON_SECRET_H
#define TM_COMMON_SECRET_H
/*
 * A secret in memory: zeroed when released, never formatted into messages, argv or the environment.
 * Not thread safe.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define SECRET_MAX_LEN 4096

struct secret {
    uint8_t *data; /* NUL-terminated behind len, so that text secrets can be passed to C APIs */
    size_t len;
};
#define SECRET_INIT ((struct secret){NULL, 0})

void secret_release(struct secret *s);
/* Copies; the source stays the caller's to wipe. */
int secret_set(struct secret *s, const void *data, size_t len, struct tm_err *err) TM_WUR;
static inline struct slice secret_slice(const struct secret *s)
{
    return (struct slice){s->data, s->len};
}

/* Reads a file that only its owner may read or write (group or other access is TM_E_PERMISSION,
 * saying which chmod helps) and that belongs to this user or root; one trailing line break is
 * stripped; an empty file is an error. */
int secret_load(const char *path, struct secret *ret_secret, struct tm_err *err) TM_WUR;
/* The same for a file of up to max_len bytes that has secrets among other things. */
int secret_load_max(const char *path, size_t max_len, struct secret *ret_secret,
                    struct tm_err *err) TM_WUR;

#endif
