#ifndef TM_PROTO_WIRE_CODEC_INTERNAL_H
#define TM_PROTO_WIRE_CODEC_INTERNAL_H
/* Shared by encoder and decoder: where in a record we are, for errors, and access to members. */
#include "proto/wire/codec.h"

#define CODEC_PATH_MAX 128

struct codec_path {
    char text[CODEC_PATH_MAX];
    size_t len;
};

/* Appends ".key", or "key" at the root, or "[index]"; the value to go back to is returned. */
size_t codec_path_key(struct codec_path *path, const char *key);
size_t codec_path_field(struct codec_path *path, const struct codec_field *field);
size_t codec_path_index(struct codec_path *path, size_t index);
void codec_path_back(struct codec_path *path, size_t to);

/* TM_E_INVALID "<path>: <what>" */
int codec_fail(const struct codec_path *path, struct tm_err *err, const char *fmt, ...)
    TM_PRINTF(3, 4);

/* NULL when the text may travel, else what is wrong with it. */
const char *codec_text_problem(struct slice text);

#define CODEC_AT(record, offset, type) ((type *)(void *)((char *)(record) + (offset)))
#define CODEC_AT_CONST(record, offset, type)                                                       \
    ((type const *)(const void *)((const char *)(record) + (offset)))

/* Pointer members have many types; they are moved as bytes. */
static inline const void *codec_pointer(const void *record, size_t offset)
{
    const void *pointer;
    memcpy(&pointer, (const char *)record + offset, sizeof(pointer));
    return pointer;
}

static inline void codec_pointer_set(void *record, size_t offset, const void *pointer)
{
    memcpy((char *)record + offset, &pointer, sizeof(pointer));
}

#endif
