#ifndef TM_COMMON_SCHEMA_H
#define TM_COMMON_SCHEMA_H
/*
 * YAML maps → C structs, by tables.
 *
 *     struct s3 { char *bucket; uint64_t part_bytes; };
 *     static const struct schema_field s3_fields[] = {
 *         SCHEMA_FIELD(struct s3, bucket, "bucket", SCHEMA_STRING, .flags = SCHEMA_REQUIRED),
 *         SCHEMA_FIELD(struct s3, part_bytes, "partSize", SCHEMA_SIZE, .def = "16MiB"),
 *         SCHEMA_SKIP("kmsKey", "has no meaning outside Kubernetes; ignored"),
 *     };
 *     static const struct schema s3_schema = SCHEMA("s3 storage", struct s3, s3_fields);
 *
 *     struct s3 s3;
 *     if (schema_load(&s3_schema, node, &s3, &warnings, err) < 0) return …;
 *     …
 *     schema_release(&s3_schema, &s3);
 *
 * schema_load zeroes the struct, sets defaults, loads every field, then calls the schema's own
 * check. On failure nothing is held. The first error is reported as
 * `file:line:column: message`, e.g. "b.yaml:4:3: unknown field 'buckt' in s3 storage, did you mean
 * 'bucket'?". A field whose value is written as nothing (`key:`) counts as absent.
 *
 * What the member at `offset` must be, per type:
 *   SCHEMA_STRING    char *     malloc'ed; bounds min/max = length in bytes (max 0: SCHEMA_STRING_MAX)
 *   SCHEMA_BOOL      bool       true|false (yes/no/on/off refused with a hint)
 *   SCHEMA_INT       int64_t    bounds apply when min < max
 *   SCHEMA_SIZE      uint64_t   bytes, "128MiB"; bounds in bytes
 *   SCHEMA_DURATION  int64_t    µs, "72h30m"; bounds in µs
 *   SCHEMA_TIME      int64_t    µs since 1970, RFC 3339
 *   SCHEMA_ENUM      int        one of `values`; text must match exactly
 *   SCHEMA_STRUCT    struct …   embedded; `sub` describes it; defaults set even when absent
 *   SCHEMA_POINTER   struct … * allocated when present, else NULL; `sub` describes it
 *   SCHEMA_LIST      struct schema_list   elements as `item` says, each item_size bytes; max = count
 *   SCHEMA_MAP       struct schema_map    text → text, sorted by key
 *   SCHEMA_CUSTOM    anything   `parse` fills it, `clear` (may be NULL) releases it
 *   SCHEMA_IGNORED   nothing    accepted with `warning`
 *
 * Tables are const; loading is thread safe for different objects.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"
#include "common/yaml.h"

#define SCHEMA_STRING_MAX   4096
#define SCHEMA_LIST_MAX     1024
#define SCHEMA_MAP_MAX      256
#define SCHEMA_WARNINGS_MAX 64 /* further warnings are counted only */

enum schema_type {
    SCHEMA_STRING,
    SCHEMA_BOOL,
    SCHEMA_INT,
    SCHEMA_SIZE,
    SCHEMA_DURATION,
    SCHEMA_TIME,
    SCHEMA_ENUM,
    SCHEMA_STRUCT,
    SCHEMA_POINTER,
    SCHEMA_LIST,
    SCHEMA_MAP,
    SCHEMA_CUSTOM,
    SCHEMA_IGNORED,
};

enum schema_flag {
    SCHEMA_REQUIRED = 1u << 0,
    SCHEMA_NON_EMPTY = 1u << 1, /* "" or an empty list or map is an error */
    SCHEMA_PRESENT = 1u << 2, /* the bool at present_offset becomes true when the field was given */
    SCHEMA_WARN = 1u << 3,    /* loaded, and `warning` is noted too */
};

struct schema_enum {
    const char *name; /* NULL ends the table */
    int value;
};

struct schema_list {
    void *items;
    size_t count;
};

struct schema_map_entry {
    char *key;
    char *value;
};

struct schema_map {
    struct schema_map_entry *entries; /* sorted by key */
    size_t count;
};

struct schema;
struct schema_warnings;

struct schema_field {
    const char *name;
    enum schema_type type;
    uint32_t flags;
    size_t offset;
    size_t present_offset;
    const char *def; /* default, written as in YAML; for scalar types only */
    int64_t min;
    int64_t max;
    const struct schema_enum *values;
    const struct schema *sub;
    const struct schema_field *item; /* SCHEMA_LIST: what an element is (name NULL, offset 0) */
    size_t item_size;
    const char *warning; /* follows "field 'x' "; for SCHEMA_IGNORED and SCHEMA_WARN */
    int (*parse)(const struct schema_field *field, const struct yaml_node *node, void *member,
                 struct schema_warnings *warnings, struct tm_err *err);
    void (*clear)(void *member);
};

struct schema {
    const char *title; /* "s3 storage": what messages call this map */
    size_t size;
    const struct schema_field *fields;
    size_t field_count;
    /* After all fields: what a table cannot say. May be NULL. Use yaml_error for messages. */
    int (*check)(const void *object, const struct yaml_node *node, struct schema_warnings *warnings,
                 struct tm_err *err);
};

#define SCHEMA(title_, type_, fields_)                                                             \
    {                                                                                              \
        .title = (title_), .size = sizeof(type_), .fields = (fields_),                             \
        .field_count = TM_ARRAY_LEN(fields_)                                                       \
    }
#define SCHEMA_CHECKED(title_, type_, fields_, check_)                                             \
    {                                                                                              \
        .title = (title_), .size = sizeof(type_), .fields = (fields_),                             \
        .field_count = TM_ARRAY_LEN(fields_), .check = (check_)                                    \
    }
#define SCHEMA_FIELD(type_, member_, name_, kind_, ...)                                            \
    {                                                                                              \
        .name = (name_), .type = (kind_), .offset = offsetof(type_, member_), __VA_ARGS__          \
    }
#define SCHEMA_SKIP(name_, warning_)                                                               \
    {                                                                                              \
        .name = (name_), .type = SCHEMA_IGNORED, .warning = (warning_)                             \
    }

/* Warnings, each "file:line:column: message", in the order of the file. */
struct schema_warnings {
    char *items[SCHEMA_WARNINGS_MAX];
    size_t count;
    size_t dropped;
};
#define SCHEMA_WARNINGS_INIT ((struct schema_warnings){.count = 0})

void schema_warnings_release(struct schema_warnings *w);
/* One line each: "PROGRAM: warning: …". */
void schema_warnings_print(const struct schema_warnings *w, const char *program, FILE *out);
/* Notes a warning at the node's key (or value when it has no key); node NULL = it is about no place
 * in the text. Never fails; w may be NULL. */
void schema_warn(struct schema_warnings *w, const struct yaml_node *node, const char *fmt, ...)
    TM_PRINTF(3, 4);

/* `node` may be NULL (an absent block: defaults, and required fields are missing). */
int schema_load(const struct schema *schema, const struct yaml_node *node, void *ret_object,
                struct schema_warnings *warnings, struct tm_err *err) TM_WUR;
/* A configuration file: one YAML document, or none. `source` names it in errors. */
int schema_parse(const struct schema *schema, const char *source, struct slice text,
                 void *ret_object, struct schema_warnings *warnings, struct tm_err *err) TM_WUR;
/* Frees what schema_load allocated and zeroes the object. Harmless on a zeroed object. */
void schema_release(const struct schema *schema, void *object);

/* Value of a key, or NULL. */
const char *schema_map_get(const struct schema_map *map, const char *key);

#endif
