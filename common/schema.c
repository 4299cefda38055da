/*
 * The table walker: one map at a time, in three passes: fields that nobody knows or that are given
 * → loaded; fields absent → default or "missing"; then the schema's own check. Release walks the
 * same table.
 *
 * Failure modes: each error names file, line and column; whatever was loaded before it is released.
 */
#include "common/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/parse.h"
#include "common/size.h"
#include "common/suggest.h"

static int load_value(const struct schema_field *field, const char *label,
                      const struct yaml_node *node, void *member, struct schema_warnings *warnings,
                      struct tm_err *err);
static void release_value(const struct schema_field *field, void *member);

/* ---- warnings ---- */

void schema_warnings_release(struct schema_warnings *w)
{
    for (size_t n = 0; n < w->count; n++)
        free(w->items[n]);
    *w = SCHEMA_WARNINGS_INIT;
}

void schema_warnings_print(const struct schema_warnings *w, const char *program, FILE *out)
{
    for (size_t n = 0; n < w->count; n++)
        (void)fprintf(out, "%s: warning: %s\n", program, w->items[n]);
    if (w->dropped > 0)
        (void)fprintf(out, "%s: warning: %zu more warnings\n", program, w->dropped);
}

void schema_warn(struct schema_warnings *w, const struct yaml_node *node, const char *fmt, ...)
{
    if (w == NULL)
        return;
    bool keyed = node != NULL && node->key != NULL;
    char text[TM_ERR_MSG_MAX];
    int used = 0;
    if (node != NULL)
        used =
            snprintf(text, sizeof(text), "%s:%u:%u: ", node->source,
                     keyed ? node->key_line : node->line, keyed ? node->key_column : node->column);
    if (used >= 0 && (size_t)used < sizeof(text)) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(text + used, sizeof(text) - (size_t)used, fmt, ap);
        va_end(ap);
    }
    char *copy = w->count < SCHEMA_WARNINGS_MAX ? strdup(text) : NULL;
    if (copy != NULL)
        w->items[w->count++] = copy;
    else
        w->dropped++;
}

/* ---- scalars ---- */

/* Puts "label: " before the reason of a scalar parser, at the node. */
static int bad_value(const struct yaml_node *node, const char *label, struct tm_err *err)
{
    struct tm_err reason = *err;
    return yaml_error(node, err, "%s: %s", label, reason.msg);
}

static int load_string(const struct schema_field *field, const char *label,
                       const struct yaml_node *node, const char *text, char **member,
                       struct tm_err *err)
{
    size_t len = strlen(text);
    size_t max = field->max > 0 ? (size_t)field->max : SCHEMA_STRING_MAX;
    if (len == 0 && (field->flags & SCHEMA_NON_EMPTY))
        return yaml_error(node, err, "%s must not be empty", label);
    if (len > max)
        return yaml_error(node, err, "%s is longer than %zu bytes", label, max);
    if (field->min > 0 && len < (size_t)field->min)
        return yaml_error(node, err, "%s is shorter than %lld bytes", label, (long long)field->min);
    char *copy = strdup(text);
    if (copy == NULL)
        return tm_err_oom(err);
    *member = copy;
    return 0;
}

static int load_int(const struct schema_field *field, const char *label,
                    const struct yaml_node *node, const char *text, int64_t *member,
                    struct tm_err *err)
{
    int64_t value;
    if (parse_i64(text, &value, err) < 0)
        return bad_value(node, label, err);
    if (field->min < field->max && (value < field->min || value > field->max))
        return yaml_error(node, err, "%s: %lld is not in %lld to %lld", label, (long long)value,
                          (long long)field->min, (long long)field->max);
    *member = value;
    return 0;
}

static int load_size(const struct schema_field *field, const char *label,
                     const struct yaml_node *node, const char *text, uint64_t *member,
                     struct tm_err *err)
{
    uint64_t value;
    if (size_parse(text, &value, err) < 0)
        return bad_value(node, label, err);
    if (field->min < field->max && (value < (uint64_t)field->min || value > (uint64_t)field->max)) {
        char low[SIZE_TEXT_MAX];
        char high[SIZE_TEXT_MAX];
        return yaml_error(node, err, "%s: %s is not in %s to %s", label, text,
                          size_format_exact((uint64_t)field->min, low),
                          size_format_exact((uint64_t)field->max, high));
    }
    *member = value;
    return 0;
}

static int load_duration(const struct schema_field *field, const char *label,
                         const struct yaml_node *node, const char *text, int64_t *member,
                         struct tm_err *err)
{
    int64_t value;
    if (duration_parse(text, &value, err) < 0)
        return bad_value(node, label, err);
    if (field->min < field->max && (value < field->min || value > field->max)) {
        char low[CLOCK_TEXT_MAX];
        char high[CLOCK_TEXT_MAX];
        return yaml_error(node, err, "%s: %s is not in %s to %s", label, text,
                          duration_format(field->min, low), duration_format(field->max, high));
    }
    *member = value;
    return 0;
}

static int load_enum(const struct schema_field *field, const char *label,
                     const struct yaml_node *node, const char *text, int *member,
                     struct tm_err *err)
{
    struct suggest s;
    suggest_init(&s, text);
    char known[160] = "";
    size_t used = 0;
    for (const struct schema_enum *value = field->values; value->name != NULL; value++) {
        if (strcmp(value->name, text) == 0) {
            *member = value->value;
            return 0;
        }
        suggest_offer(&s, value->name);
        if (used < sizeof(known))
            used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s",
                                     used > 0 ? ", " : "", value->name);
    }
    if (suggest_best(&s) != NULL)
        return yaml_error(node, err, "%s: unknown value '%s', did you mean '%s'?", label, text,
                          suggest_best(&s));
    return yaml_error(node, err, "%s: unknown value '%s' (known: %s)", label, text, known);
}

static int load_scalar(const struct schema_field *field, const char *label,
                       const struct yaml_node *node, const char *text, void *member,
                       struct tm_err *err)
{
    switch (field->type) {
    case SCHEMA_STRING:
        return load_string(field, label, node, text, member, err);
    case SCHEMA_BOOL:
        return parse_bool(text, member, err) < 0 ? bad_value(node, label, err) : 0;
    case SCHEMA_INT:
        return load_int(field, label, node, text, member, err);
    case SCHEMA_SIZE:
        return load_size(field, label, node, text, member, err);
    case SCHEMA_DURATION:
        return load_duration(field, label, node, text, member, err);
    case SCHEMA_TIME:
        return clock_parse(text, member, err) < 0 ? bad_value(node, label, err) : 0;
    case SCHEMA_ENUM:
        return load_enum(field, label, node, text, member, err);
    default:
        return tm_err_set(err, TM_E_INTERNAL, "schema: %s is no scalar", label);
    }
}

/* ---- lists and maps ---- */

static int load_list(const struct schema_field *field, const char *label,
                     const struct yaml_node *node, struct schema_list *list,
                     struct schema_warnings *warnings, struct tm_err *err)
{
    size_t max = field->max > 0 ? (size_t)field->max : SCHEMA_LIST_MAX;
    if (node->count > max)
        return yaml_error(node, err, "%s has more than %zu entries", label, max);
    if (node->count == 0 && (field->flags & SCHEMA_NON_EMPTY))
        return yaml_error(node, err, "%s must not be empty", label);
    if (node->count == 0)
        return 0;
    list->items = calloc(node->count, field->item_size);
    if (list->items == NULL)
        return tm_err_oom(err);
    for (const struct yaml_node *child = node->first; child != NULL; child = child->next) {
        if (child->kind == YAML_KIND_NULL)
            return yaml_error(child, err, "%s has an empty entry", label);
        uint8_t *item = (uint8_t *)list->items + list->count * field->item_size;
        list->count++; /* counted first: a half-loaded item is released with the rest */
        int r = load_value(field->item, label, child, item, warnings, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int order_entries(const void *a, const void *b)
{
    const struct schema_map_entry *left = a;
    const struct schema_map_entry *right = b;
    return strcmp(left->key, right->key);
}

static int load_map(const struct schema_field *field, const char *label,
                    const struct yaml_node *node, struct schema_map *map, struct tm_err *err)
{
    size_t max = field->max > 0 ? (size_t)field->max : SCHEMA_MAP_MAX;
    if (node->count > max)
        return yaml_error(node, err, "%s has more than %zu entries", label, max);
    if (node->count == 0 && (field->flags & SCHEMA_NON_EMPTY))
        return yaml_error(node, err, "%s must not be empty", label);
    if (node->count == 0)
        return 0;
    map->entries = calloc(node->count, sizeof(*map->entries));
    if (map->entries == NULL)
        return tm_err_oom(err);
    for (const struct yaml_node *child = node->first; child != NULL; child = child->next) {
        if (child->kind == YAML_KIND_LIST || child->kind == YAML_KIND_MAP)
            return yaml_error(child, err, "%s: '%s' must be text, not %s", label, child->key,
                              yaml_kind_text(child->kind));
        struct schema_map_entry *entry = &map->entries[map->count++];
        entry->key = strdup(child->key);
        entry->value = strdup(child->text);
        if (entry->key == NULL || entry->value == NULL)
            return tm_err_oom(err);
    }
    qsort(map->entries, map->count, sizeof(*map->entries), order_entries);
    return 0;
}

static int load_pointer(const struct schema_field *field, const struct yaml_node *node,
                        void **member, struct schema_warnings *warnings, struct tm_err *err)
{
    void *object = calloc(1, field->sub->size);
    if (object == NULL)
        return tm_err_oom(err);
    int r = schema_load(field->sub, node, object, warnings, err);
    if (r < 0) {
        free(object);
        return r;
    }
    *member = object;
    return 0;
}

/* ---- one value, one map ---- */

static enum yaml_kind kind_wanted(enum schema_type type)
{
    switch (type) {
    case SCHEMA_STRUCT:
    case SCHEMA_POINTER:
    case SCHEMA_MAP:
        return YAML_KIND_MAP;
    case SCHEMA_LIST:
        return YAML_KIND_LIST;
    default:
        return YAML_KIND_SCALAR;
    }
}

static int load_value(const struct schema_field *field, const char *label,
                      const struct yaml_node *node, void *member, struct schema_warnings *warnings,
                      struct tm_err *err)
{
    if (field->type == SCHEMA_CUSTOM)
        return field->parse(field, node, member, warnings, err);
    enum yaml_kind wanted = kind_wanted(field->type);
    if (node->kind != wanted)
        return yaml_error(node, err, "%s must be %s, not %s", label, yaml_kind_text(wanted),
                          yaml_kind_text(node->kind));
    switch (field->type) {
    case SCHEMA_STRUCT:
        return schema_load(field->sub, node, member, warnings, err);
    case SCHEMA_POINTER:
        return load_pointer(field, node, member, warnings, err);
    case SCHEMA_LIST:
        return load_list(field, label, node, member, warnings, err);
    case SCHEMA_MAP:
        return load_map(field, label, node, member, err);
    default:
        return load_scalar(field, label, node, node->text, member, err);
    }
}

static const struct schema_field *find_field(const struct schema *schema, const char *name)
{
    for (size_t n = 0; n < schema->field_count; n++)
        if (strcmp(schema->fields[n].name, name) == 0)
            return &schema->fields[n];
    return NULL;
}

static int unknown_field(const struct schema *schema, const struct yaml_node *node,
                         struct tm_err *err)
{
    struct suggest s;
    suggest_init(&s, node->key);
    for (size_t n = 0; n < schema->field_count; n++)
        suggest_offer(&s, schema->fields[n].name);
    if (suggest_best(&s) != NULL)
        return yaml_key_error(node, err, "unknown field '%s' in %s, did you mean '%s'?", node->key,
                              schema->title, suggest_best(&s));
    return yaml_key_error(node, err, "unknown field '%s' in %s", node->key, schema->title);
}

static int load_given(const struct schema *schema, const struct yaml_node *node, uint8_t *object,
                      struct schema_warnings *warnings, struct tm_err *err)
{
    const struct schema_field *field = find_field(schema, node->key);
    if (field == NULL)
        return unknown_field(schema, node, err);
    if (field->type == SCHEMA_IGNORED || (field->flags & SCHEMA_WARN))
        schema_warn(warnings, node, "field '%s' %s", field->name, field->warning);
    if (field->type == SCHEMA_IGNORED || node->kind == YAML_KIND_NULL)
        return 0;
    if (field->flags & SCHEMA_PRESENT)
        memcpy(object + field->present_offset, &(bool){true}, sizeof(bool));
    char label[128];
    (void)snprintf(label, sizeof(label), "'%s'", field->name);
    return load_value(field, label, node, object + field->offset, warnings, err);
}

static int load_absent(const struct schema *schema, const struct schema_field *field,
                       const struct yaml_node *node, uint8_t *object,
                       struct schema_warnings *warnings, struct tm_err *err)
{
    static const struct yaml_node nowhere = {.source = "(default)", .text = ""};
    const struct yaml_node *at = node != NULL ? node : &nowhere;
    if (field->flags & SCHEMA_REQUIRED) {
        const struct yaml_node *empty = yaml_get(node, field->name);
        if (empty != NULL)
            return yaml_key_error(empty, err, "field '%s' of %s has no value", field->name,
                                  schema->title);
        if (node == NULL)
            return tm_err_set(err, TM_E_INVALID, "field '%s' of %s is missing", field->name,
                              schema->title);
        return yaml_error(node, err, "field '%s' of %s is missing", field->name, schema->title);
    }
    if (field->type == SCHEMA_STRUCT)
        return schema_load(field->sub, NULL, object + field->offset, warnings, err);
    if (field->def == NULL)
        return 0;
    return load_scalar(field, field->name, at, field->def, object + field->offset, err);
}

static int load_fields(const struct schema *schema, const struct yaml_node *node, uint8_t *object,
                       struct schema_warnings *warnings, struct tm_err *err)
{
    const struct yaml_node *child = node != NULL ? node->first : NULL;
    for (; child != NULL; child = child->next) {
        int r = load_given(schema, child, object, warnings, err);
        if (r < 0)
            return r;
    }
    for (size_t n = 0; n < schema->field_count; n++) {
        const struct schema_field *field = &schema->fields[n];
        const struct yaml_node *given = yaml_get(node, field->name);
        if (given != NULL && given->kind != YAML_KIND_NULL)
            continue;
        int r = load_absent(schema, field, node, object, warnings, err);
        if (r < 0)
            return r;
    }
    if (schema->check != NULL && node != NULL)
        return schema->check(object, node, warnings, err);
    return 0;
}

int schema_load(const struct schema *schema, const struct yaml_node *node, void *ret_object,
                struct schema_warnings *warnings, struct tm_err *err)
{
    memset(ret_object, 0, schema->size);
    if (node != NULL && node->kind == YAML_KIND_NULL && node->key == NULL)
        return yaml_error(node, err, "%s is empty", schema->title);
    if (node != NULL && node->kind != YAML_KIND_MAP && node->kind != YAML_KIND_NULL)
        return yaml_error(node, err, "%s must be a map, not %s", schema->title,
                          yaml_kind_text(node->kind));
    int r = load_fields(schema, node, ret_object, warnings, err);
    if (r < 0)
        schema_release(schema, ret_object);
    return r;
}

/* ---- release ---- */

static void release_list(const struct schema_field *field, struct schema_list *list)
{
    for (size_t n = 0; n < list->count; n++)
        release_value(field->item, (uint8_t *)list->items + n * field->item_size);
    free(list->items);
    *list = (struct schema_list){0};
}

static void release_map(struct schema_map *map)
{
    for (size_t n = 0; n < map->count; n++) {
        free(map->entries[n].key);
        free(map->entries[n].value);
    }
    free(map->entries);
    *map = (struct schema_map){0};
}

static void release_value(const struct schema_field *field, void *member)
{
    void **pointer = member;
    switch (field->type) {
    case SCHEMA_STRING:
        free(*pointer);
        *pointer = NULL;
        break;
    case SCHEMA_STRUCT:
        schema_release(field->sub, member);
        break;
    case SCHEMA_POINTER:
        if (*pointer != NULL)
            schema_release(field->sub, *pointer);
        free(*pointer);
        *pointer = NULL;
        break;
    case SCHEMA_LIST:
        release_list(field, member);
        break;
    case SCHEMA_MAP:
        release_map(member);
        break;
    case SCHEMA_CUSTOM:
        if (field->clear != NULL)
            field->clear(member);
        break;
    default:
        break;
    }
}

int schema_parse(const struct schema *schema, const char *source, struct slice text,
                 void *ret_object, struct schema_warnings *warnings, struct tm_err *err)
{
    TM_CLEANUP(yaml_freep) struct yaml *yaml = NULL;
    int r = yaml_parse(source, text, &yaml, err);
    if (r < 0)
        return r;
    if (yaml_doc_count(yaml) > 1)
        return yaml_error(yaml_doc(yaml, 1), err, "a configuration is one document");
    const struct yaml_node *node = yaml_doc_count(yaml) > 0 ? yaml_doc(yaml, 0) : NULL;
    return schema_load(schema, node, ret_object, warnings, err);
}

void schema_release(const struct schema *schema, void *object)
{
    for (size_t n = 0; n < schema->field_count; n++)
        release_value(&schema->fields[n], (uint8_t *)object + schema->fields[n].offset);
    memset(object, 0, schema->size);
}

const char *schema_map_get(const struct schema_map *map, const char *key)
{
    for (size_t n = 0; n < map->count; n++)
        if (strcmp(map->entries[n].key, key) == 0)
            return map->entries[n].value;
    return NULL;
}
