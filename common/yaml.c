/*
 * YAML → tree.
 *
 * Happy path: libyaml's events come one by one; a stack of open lists and maps says where each new
 * node belongs. Nodes and texts live in an arena that is freed as a whole.
 *
 * Failure modes: libyaml's own syntax errors (it counts lines from 0); too large, too deep, too
 * many; anchors, aliases and tags (an alias can repeat a document a billion times, and nothing here
 * needs one); keys that are not text, or come twice.
 */
#include "common/yaml.h"

#undef yaml_error /* the analyzer's notes */
#undef yaml_key_error

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define ARENA_BLOCK ((size_t)32 * 1024)

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t size;
    _Alignas(max_align_t) uint8_t bytes[];
};

struct yaml {
    struct arena_block *arena;
    const char *source;
    struct yaml_node *docs[YAML_MAX_DOCS];
    size_t doc_count;
    size_t node_count;
};

struct builder {
    struct yaml *y;
    yaml_parser_t parser;
    struct yaml_node *open[YAML_MAX_DEPTH]; /* the list or map being filled, per level */
    struct yaml_node *last[YAML_MAX_DEPTH]; /* its last child */
    size_t depth;
    /* the key read last, waiting for its value */
    const char *key;
    uint32_t key_line;
    uint32_t key_column;
    bool have_key;
};

static void *arena_alloc(struct yaml *y, size_t size)
{
    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    if (y->arena == NULL || y->arena->size - y->arena->used < size) {
        size_t block_size = TM_MAX(size, ARENA_BLOCK);
        struct arena_block *block = malloc(sizeof(*block) + block_size);
        if (block == NULL)
            return NULL;
        *block = (struct arena_block){.next = y->arena, .size = block_size};
        y->arena = block;
    }
    void *p = y->arena->bytes + y->arena->used;
    y->arena->used += size;
    return p;
}

static char *arena_text(struct yaml *y, const void *bytes, size_t len)
{
    char *text = arena_alloc(y, len + 1);
    if (text != NULL) {
        memcpy(text, bytes, len);
        text[len] = '\0';
    }
    return text;
}

static int error_at(const struct yaml *y, yaml_mark_t mark, enum tm_err_code code,
                    struct tm_err *err, const char *fmt, ...) TM_PRINTF(5, 6);

static int error_at(const struct yaml *y, yaml_mark_t mark, enum tm_err_code code,
                    struct tm_err *err, const char *fmt, ...)
{
    char msg[TM_ERR_MSG_MAX / 2];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    return tm_err_set(err, code, "%s:%zu:%zu: %s", y->source, mark.line + 1, mark.column + 1, msg);
}

static bool is_null_text(const char *text)
{
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

/* Makes a node and hangs it where the builder stands. NULL with err filled on failure. */
static struct yaml_node *add_node(struct builder *b, enum yaml_kind kind, yaml_mark_t mark,
                                  struct tm_err *err)
{
    struct yaml *y = b->y;
    if (y->node_count >= YAML_MAX_NODES) {
        (void)error_at(y, mark, TM_E_LIMIT, err, "more than %d values", YAML_MAX_NODES);
        return NULL;
    }
    struct yaml_node *node = arena_alloc(y, sizeof(*node));
    if (node == NULL) {
        (void)tm_err_oom(err);
        return NULL;
    }
    y->node_count++;
    *node = (struct yaml_node){
        .kind = kind,
        .line = (uint32_t)mark.line + 1,
        .column = (uint32_t)mark.column + 1,
        .source = y->source,
        .text = "",
    };
    if (b->depth == 0) {
        y->docs[y->doc_count++] = node; /* room was checked at the document's start */
    } else {
        struct yaml_node *parent = b->open[b->depth - 1];
        struct yaml_node **last = &b->last[b->depth - 1];
        if (parent->kind == YAML_KIND_MAP) {
            node->key = b->key;
            node->key_line = b->key_line;
            node->key_column = b->key_column;
            b->have_key = false;
        }
        if (*last == NULL)
            parent->first = node;
        else
            (*last)->next = node;
        *last = node;
        parent->count++;
    }
    return node;
}

static bool key_expected(const struct builder *b)
{
    return b->depth > 0 && b->open[b->depth - 1]->kind == YAML_KIND_MAP && !b->have_key;
}

static int take_key(struct builder *b, const char *text, yaml_mark_t mark, struct tm_err *err)
{
    const struct yaml_node *map = b->open[b->depth - 1];
    if (map->count >= YAML_MAX_KEYS) /* also bounds the search for duplicates below */
        return error_at(b->y, mark, TM_E_LIMIT, err, "more than %d keys in one map", YAML_MAX_KEYS);
    for (const struct yaml_node *child = map->first; child != NULL; child = child->next)
        if (strcmp(child->key, text) == 0)
            return error_at(b->y, mark, TM_E_INVALID, err, "'%s' is given twice, first on line %u",
                            text, child->key_line);
    b->key = text;
    b->key_line = (uint32_t)mark.line + 1;
    b->key_column = (uint32_t)mark.column + 1;
    b->have_key = true;
    return 0;
}

static int on_scalar(struct builder *b, const yaml_event_t *event, struct tm_err *err)
{
    yaml_mark_t mark = event->start_mark;
    size_t len = event->data.scalar.length;
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL)
        return error_at(b->y, mark, TM_E_INVALID, err,
                        "anchors, aliases and tags are not accepted");
    if (memchr(event->data.scalar.value, '\0', len) != NULL)
        return error_at(b->y, mark, TM_E_INVALID, err, "text contains a NUL character");
    const char *text = arena_text(b->y, event->data.scalar.value, len);
    if (text == NULL)
        return tm_err_oom(err);
    if (key_expected(b))
        return take_key(b, text, mark, err);

    bool quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    bool null = !quoted && is_null_text(text);
    struct yaml_node *node = add_node(b, null ? YAML_KIND_NULL : YAML_KIND_SCALAR, mark, err);
    if (node == NULL)
        return -(int)err->code;
    node->text = null ? "" : text;
    node->quoted = quoted;
    return 0;
}

static int on_open(struct builder *b, enum yaml_kind kind, const yaml_event_t *event,
                   struct tm_err *err)
{
    yaml_mark_t mark = event->start_mark;
    bool list = kind == YAML_KIND_LIST;
    const void *anchor =
        list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor;
    const void *tag = list ? event->data.sequence_start.tag : event->data.mapping_start.tag;
    if (anchor != NULL || tag != NULL)
        return error_at(b->y, mark, TM_E_INVALID, err,
                        "anchors, aliases and tags are not accepted");
    if (key_expected(b))
        return error_at(b->y, mark, TM_E_INVALID, err, "a key must be plain text");
    if (b->depth >= YAML_MAX_DEPTH)
        return error_at(b->y, mark, TM_E_LIMIT, err, "more than %d levels deep", YAML_MAX_DEPTH);
    struct yaml_node *node = add_node(b, kind, mark, err);
    if (node == NULL)
        return -(int)err->code;
    b->open[b->depth] = node;
    b->last[b->depth] = NULL;
    b->depth++;
    return 0;
}

static void drop_empty_doc(struct yaml *y)
{
    if (y->doc_count > 0 && y->docs[y->doc_count - 1]->kind == YAML_KIND_NULL)
        y->doc_count--;
}

static int on_event(struct builder *b, const yaml_event_t *event, struct tm_err *err)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->y->doc_count >= YAML_MAX_DOCS)
            return error_at(b->y, event->start_mark, TM_E_LIMIT, err, "more than %d documents",
                            YAML_MAX_DOCS);
        return 0;
    case YAML_DOCUMENT_END_EVENT:
        drop_empty_doc(b->y);
        return 0;
    case YAML_ALIAS_EVENT:
        return error_at(b->y, event->start_mark, TM_E_INVALID, err,
                        "anchors, aliases and tags are not accepted");
    case YAML_SCALAR_EVENT:
        return on_scalar(b, event, err);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, YAML_KIND_LIST, event, err);
    case YAML_MAPPING_START_EVENT:
        return on_open(b, YAML_KIND_MAP, event, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return 0;
    default:
        return 0;
    }
}

static int syntax_error(const struct builder *b, struct tm_err *err)
{
    const yaml_parser_t *p = &b->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return tm_err_oom(err);
    const char *problem = p->problem != NULL ? p->problem : "cannot be read";
    if (p->error == YAML_READER_ERROR)
        return tm_err_set(err, TM_E_INVALID, "%s: at byte %zu: %s", b->y->source, p->problem_offset,
                          problem);
    if (p->context != NULL)
        return error_at(b->y, p->problem_mark, TM_E_INVALID, err, "%s %s", p->context, problem);
    return error_at(b->y, p->problem_mark, TM_E_INVALID, err, "%s", problem);
}

static int run_events(struct builder *b, struct tm_err *err)
{
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&b->parser, &event))
            return syntax_error(b, err);
        bool end = event.type == YAML_STREAM_END_EVENT;
        int r = on_event(b, &event, err);
        yaml_event_delete(&event);
        if (r < 0 || end)
            return r;
    }
}

int yaml_parse(const char *source, struct slice text, struct yaml **ret_yaml, struct tm_err *err)
{
    if (text.len > YAML_MAX_BYTES)
        return tm_err_set(err, TM_E_LIMIT, "%s: larger than %zu bytes", source, YAML_MAX_BYTES);
    TM_CLEANUP(yaml_freep) struct yaml *y = calloc(1, sizeof(*y));
    if (y == NULL)
        return tm_err_oom(err);
    y->source = arena_text(y, source, strlen(source));
    if (y->source == NULL)
        return tm_err_oom(err);

    struct builder b = {.y = y};
    if (!yaml_parser_initialize(&b.parser))
        return tm_err_oom(err);
    const uint8_t *bytes = text.len > 0 ? text.data : (const uint8_t *)"";
    yaml_parser_set_input_string(&b.parser, bytes, text.len);
    int r = run_events(&b, err);
    yaml_parser_delete(&b.parser);
    if (r < 0)
        return r;
    *ret_yaml = TM_TAKE(y);
    return 0;
}

void yaml_tree_free(struct yaml *y)
{
    if (y == NULL)
        return;
    while (y->arena != NULL) {
        struct arena_block *block = y->arena;
        y->arena = block->next;
        free(block);
    }
    free(y);
}

size_t yaml_doc_count(const struct yaml *y)
{
    return y->doc_count;
}

const struct yaml_node *yaml_doc(const struct yaml *y, size_t index)
{
    return index < y->doc_count ? y->docs[index] : NULL;
}

static const struct yaml_node *get_n(const struct yaml_node *map, const char *key, size_t len)
{
    if (map == NULL || map->kind != YAML_KIND_MAP)
        return NULL;
    for (const struct yaml_node *child = map->first; child != NULL; child = child->next)
        if (strlen(child->key) == len && memcmp(child->key, key, len) == 0)
            return child;
    return NULL;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    return get_n(map, key, strlen(key));
}

const struct yaml_node *yaml_find(const struct yaml_node *root, const char *path)
{
    const struct yaml_node *node = root;
    while (node != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        node = get_n(node, path, len);
        path += len;
        path += *path == '.';
    }
    return node;
}

const char *yaml_get_text(const struct yaml_node *map, const char *key)
{
    const struct yaml_node *node = yaml_get(map, key);
    return node != NULL && node->kind == YAML_KIND_SCALAR ? node->text : NULL;
}

const char *yaml_kind_text(enum yaml_kind kind)
{
    static const char *const texts[] = {"nothing", "text", "a list", "a map"};
    return texts[kind];
}

static int node_error(const char *source, uint32_t line, uint32_t column, struct tm_err *err,
                      const char *fmt, va_list ap) TM_PRINTF(5, 0);

static int node_error(const char *source, uint32_t line, uint32_t column, struct tm_err *err,
                      const char *fmt, va_list ap)
{
    char msg[TM_ERR_MSG_MAX];
    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    return tm_err_set(err, TM_E_INVALID, "%s:%u:%u: %s", source, line, column, msg);
}

int yaml_error(const struct yaml_node *node, struct tm_err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = node_error(node->source, node->line, node->column, err, fmt, ap);
    va_end(ap);
    return r;
}

int yaml_key_error(const struct yaml_node *node, struct tm_err *err, const char *fmt, ...)
{
    bool keyed = node->key != NULL;
    va_list ap;
    va_start(ap, fmt);
    int r = node_error(node->source, keyed ? node->key_line : node->line,
                       keyed ? node->key_column : node->column, err, fmt, ap);
    va_end(ap);
    return r;
}
