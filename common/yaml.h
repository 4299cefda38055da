#ifndef TM_COMMON_YAML_H
#define TM_COMMON_YAML_H
/*
 * YAML bytes → a read-only tree of nodes that know their line and column.
 *
 * Strict and bounded: at most YAML_MAX_BYTES, YAML_MAX_DEPTH levels, YAML_MAX_NODES nodes and
 * YAML_MAX_DOCS documents; anchors, aliases, tags, duplicate keys and keys that are not plain text
 * are refused. A file may hold several documents; empty ones are left out.
 *
 *     TM_CLEANUP(yaml_freep) struct yaml *y = NULL;
 *     if (yaml_parse("backup.yaml", text, &y, err) < 0) return …;
 *     for (size_t i = 0; i < yaml_doc_count(y); i++)
 *         load(yaml_doc(y, i));
 *
 * Every error reads `source:line:column: message` with code TM_E_INVALID (TM_E_LIMIT for limits).
 * Nodes belong to the struct yaml and live as long as it. Not thread safe.
 * Mostly used through common/schema.h.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define YAML_MAX_BYTES ((size_t)1 << 20)
#define YAML_MAX_DEPTH 32
#define YAML_MAX_NODES 20000
#define YAML_MAX_KEYS  2000 /* in one map */
#define YAML_MAX_DOCS  256

enum yaml_kind {
    YAML_KIND_NULL, /* nothing written, `~` or `null`; text is "" */
    YAML_KIND_SCALAR,
    YAML_KIND_LIST,
    YAML_KIND_MAP,
};

struct yaml_node {
    enum yaml_kind kind;
    bool quoted;        /* a scalar in quotes or a block: always a string */
    uint32_t line;      /* from 1, where the value starts */
    uint32_t column;    /* from 1 */
    const char *source; /* file name for messages */
    const char *text;   /* scalar's text, NUL-terminated, without inner NUL; "" otherwise */
    const char *key;    /* this node's key when its parent is a map, else NULL */
    uint32_t key_line;
    uint32_t key_column;
    uint32_t count;          /* children of a list or map */
    struct yaml_node *first; /* first child */
    struct yaml_node *next;  /* next sibling, in the order of the file */
};

struct yaml;

/* `source` is copied; it names the file in messages ("<stdin>" and the like are fine). */
int yaml_parse(const char *source, struct slice text, struct yaml **ret_yaml,
               struct tm_err *err) TM_WUR;
/* Not yaml_free: libyaml exports a function of that name, and would call ours. */
void yaml_tree_free(struct yaml *y);
static inline TM_UNUSED void yaml_freep(struct yaml **y)
{
    yaml_tree_free(*y);
    *y = NULL;
}

size_t yaml_doc_count(const struct yaml *y);
/* Root of document `index` (from 0). */
const struct yaml_node *yaml_doc(const struct yaml *y, size_t index);

/* Child of a map by key; NULL when absent or `map` is NULL or no map. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/* As yaml_get along a dotted path: yaml_find(root, "spec.br.cluster"). */
const struct yaml_node *yaml_find(const struct yaml_node *root, const char *path);
/* Text of a scalar child, or NULL. */
const char *yaml_get_text(const struct yaml_node *map, const char *key);

/* "a map", "a list", "text", "nothing": for messages. */
const char *yaml_kind_text(enum yaml_kind kind);

/* Fills err with "source:line:column: message" at the node's value; returns -TM_E_INVALID. */
int yaml_error(const struct yaml_node *node, struct tm_err *err, const char *fmt, ...)
    TM_PRINTF(3, 4);
/* The same, at the node's key when it has one. */
int yaml_key_error(const struct yaml_node *node, struct tm_err *err, const char *fmt, ...)
    TM_PRINTF(3, 4);

#ifdef __clang_analyzer__ /* as in common/err.h: neither returns 0 */
#define yaml_error(...)     ((void)yaml_error(__VA_ARGS__), -1)
#define yaml_key_error(...) ((void)yaml_key_error(__VA_ARGS__), -1)
#endif

#endif
