/*
 * Resources: YAML documents → struct resource.
 *
 * Happy path of a document: the envelope (apiVersion, kind, metadata) by its table, the spec by the
 * table of its kind, then what tables cannot say (finish.c), then the canonical form (document.c).
 * Any mistake ends the whole file with its first error; nothing is kept.
 */
#include "proto/spec/spec.h"

#include "common/suggest.h"
#include "proto/spec/internal.h"

/* ---- kinds and names ---- */

static const struct kind_row {
    const char *text;
    const char *word;
} kind_rows[] = {{"", ""},
#define RESOURCE_KIND_ROW(name, kind, word) {kind, word},
                 RESOURCE_KIND_MAP(RESOURCE_KIND_ROW)
#undef RESOURCE_KIND_ROW
};

static const struct {
    const char *word;
    enum resource_kind kind;
} kind_words[] = {
    {"backup", RESOURCE_BACKUP},
    {"backups", RESOURCE_BACKUP},
    {"bk", RESOURCE_BACKUP},
    {"restore", RESOURCE_RESTORE},
    {"restores", RESOURCE_RESTORE},
    {"rt", RESOURCE_RESTORE},
    {"backupschedule", RESOURCE_BACKUP_SCHEDULE},
    {"backupschedules", RESOURCE_BACKUP_SCHEDULE},
    {"bks", RESOURCE_BACKUP_SCHEDULE},
    {"compactbackup", RESOURCE_COMPACT_BACKUP},
    {"compactbackups", RESOURCE_COMPACT_BACKUP},
    {"cpbk", RESOURCE_COMPACT_BACKUP},
};

const char *resource_kind_text(enum resource_kind kind)
{
    return (size_t)kind < TM_ARRAY_LEN(kind_rows) ? kind_rows[kind].text : "";
}

const char *resource_kind_word(enum resource_kind kind)
{
    return (size_t)kind < TM_ARRAY_LEN(kind_rows) ? kind_rows[kind].word : "";
}

int resource_kind_parse(const char *word, enum resource_kind *ret_kind, struct tm_err *err)
{
    struct suggest s;
    suggest_init(&s, word);
    for (size_t n = 0; n < TM_ARRAY_LEN(kind_words); n++) {
        if (strcasecmp(kind_words[n].word, word) == 0) {
            *ret_kind = kind_words[n].kind;
            return 0;
        }
        suggest_offer(&s, kind_words[n].word);
    }
    if (suggest_best(&s) != NULL)
        return tm_err_set(err, TM_E_INVALID, "unknown kind '%s', did you mean '%s'?", word,
                          suggest_best(&s));
    return tm_err_set(err, TM_E_INVALID,
                      "unknown kind '%s' (known: backup, restore, backupschedule, compactbackup)",
                      word);
}

static bool is_name_end(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

int resource_name_check(const char *what, const char *name, struct tm_err *err)
{
    size_t len = strlen(name);
    if (len == 0)
        return tm_err_set(err, TM_E_INVALID, "%s must not be empty", what);
    if (len > RESOURCE_NAME_MAX)
        return tm_err_set(err, TM_E_INVALID, "%s '%.20s…' is longer than %d characters", what, name,
                          RESOURCE_NAME_MAX);
    bool good = is_name_end(name[0]) && is_name_end(name[len - 1]);
    for (size_t at = 0; at < len; at++)
        good = good && (is_name_end(name[at]) || name[at] == '-' || name[at] == '.');
    if (!good)
        return tm_err_set(
            err, TM_E_INVALID,
            "%s '%s' may hold only a-z, 0-9, '-' and '.', and must begin and end with "
            "a letter or digit",
            what, name);
    return 0;
}

/* ---- envelope ---- */

struct metadata {
    char *name;
    char *namespace_;
    struct schema_map labels;
};

struct envelope {
    char *api_version;
    char *kind;
    struct metadata metadata;
};

/* What `get -o yaml` adds, and what belongs to other tables: no warning. */
static int accept_silently(const struct schema_field *field, const struct yaml_node *node,
                           void *member, struct schema_warnings *warnings, struct tm_err *err)
{
    (void)field, (void)node, (void)member, (void)warnings, (void)err;
    return 0;
}

#define SILENT(name_)                                                                              \
    {                                                                                              \
        .name = (name_), .type = SCHEMA_CUSTOM, .parse = accept_silently                           \
    }

static const struct schema_field metadata_fields[] = {
    SCHEMA_FIELD(struct metadata, name, "name", SCHEMA_STRING, .flags = SCHEMA_REQUIRED),
    SCHEMA_FIELD(struct metadata, namespace_, "namespace", SCHEMA_STRING,
                 .def = RESOURCE_NAMESPACE),
    SCHEMA_FIELD(struct metadata, labels, "labels", SCHEMA_MAP, .max = 64),
    SILENT("uid"),
    SILENT("creationTimestamp"),
    SILENT("deletionTimestamp"),
    SILENT("generation"),
    SILENT("resourceVersion"),
    SILENT("selfLink"),
    SILENT("deleting"),
    SILENT("managedFields"),
    SCHEMA_SKIP("annotations", SPEC_NOWHERE),
    SCHEMA_SKIP("finalizers", SPEC_NOWHERE),
    SCHEMA_SKIP("ownerReferences", SPEC_NOWHERE),
    SCHEMA_SKIP("generateName", SPEC_NOWHERE),
};
static const struct schema metadata_schema = SCHEMA("metadata", struct metadata, metadata_fields);

static const struct schema_field envelope_fields[] = {
    SCHEMA_FIELD(struct envelope, api_version, "apiVersion", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED),
    SCHEMA_FIELD(struct envelope, kind, "kind", SCHEMA_STRING, .flags = SCHEMA_REQUIRED),
    SCHEMA_FIELD(struct envelope, metadata, "metadata", SCHEMA_STRUCT, .flags = SCHEMA_REQUIRED,
                 .sub = &metadata_schema),
    SILENT("spec"),
    SILENT("status"),
};
static const struct schema envelope_schema = SCHEMA("resource", struct envelope, envelope_fields);

static int check_api_version(const struct yaml_node *doc, const char *text, struct tm_err *err)
{
    static const char *const known[] = {"tidemark/v1", "pingcap.com/v1alpha1",
                                        "br.pingcap.com/v1alpha1"};
    for (size_t n = 0; n < TM_ARRAY_LEN(known); n++)
        if (strcmp(known[n], text) == 0)
            return 0;
    return yaml_error(yaml_get(doc, "apiVersion"), err,
                      "unknown apiVersion '%s' (known: tidemark/v1, pingcap.com/v1alpha1, "
                      "br.pingcap.com/v1alpha1)",
                      text);
}

/* Exactly as written there: kinds in a spec are words with capitals. */
static int check_kind(const struct yaml_node *doc, const char *text, enum resource_kind *ret,
                      struct tm_err *err)
{
    struct suggest s;
    suggest_init(&s, text);
    for (size_t n = 1; n < TM_ARRAY_LEN(kind_rows); n++) {
        if (strcmp(kind_rows[n].text, text) == 0) {
            *ret = (enum resource_kind)n;
            return 0;
        }
        suggest_offer(&s, kind_rows[n].text);
    }
    const struct yaml_node *node = yaml_get(doc, "kind");
    if (suggest_best(&s) != NULL)
        return yaml_error(node, err, "unknown kind '%s', did you mean '%s'?", text,
                          suggest_best(&s));
    return yaml_error(node, err,
                      "unknown kind '%s' (known: Backup, Restore, BackupSchedule, CompactBackup)",
                      text);
}

/* ---- one document ---- */

static const struct schema *schema_of(enum resource_kind kind)
{
    switch (kind) {
    case RESOURCE_BACKUP:
        return &spec_backup_schema;
    case RESOURCE_RESTORE:
        return &spec_restore_schema;
    case RESOURCE_BACKUP_SCHEDULE:
        return &spec_schedule_schema;
    case RESOURCE_COMPACT_BACKUP:
        return &spec_compact_schema;
    case RESOURCE_NONE:
        break;
    }
    return NULL;
}

static int finish_spec(struct resource *r, const struct yaml_node *spec,
                       struct schema_warnings *warnings, struct tm_err *err)
{
    switch (r->kind) {
    case RESOURCE_BACKUP:
        return spec_backup_finish(&r->backup, spec, warnings, &r->refusal, err);
    case RESOURCE_RESTORE:
        return spec_restore_finish(&r->restore, spec, warnings, &r->refusal, err);
    case RESOURCE_BACKUP_SCHEDULE:
        return spec_schedule_finish(&r->schedule, spec, warnings, &r->refusal, err);
    case RESOURCE_COMPACT_BACKUP:
        return spec_compact_finish(&r->compact, spec, warnings, &r->refusal, err);
    case RESOURCE_NONE:
        break;
    }
    return tm_err_set(err, TM_E_INTERNAL, "a kind without a table");
}

static int load_spec(struct resource *r, const struct yaml_node *doc,
                     struct schema_warnings *warnings, struct tm_err *err)
{
    const struct yaml_node *spec = yaml_get(doc, "spec");
    if (spec == NULL || spec->kind == YAML_KIND_NULL)
        return yaml_error(doc, err, "field 'spec' of %s is missing", resource_kind_text(r->kind));
    /* all members of the union begin at the same place */
    int result = schema_load(schema_of(r->kind), spec, &r->backup, warnings, err);
    if (result == 0)
        result = finish_spec(r, spec, warnings, err);
    if (result == 0)
        result = spec_document(r, spec, &r->document, &r->document_len, err);
    return result;
}

static int load_envelope(struct resource *r, const struct yaml_node *doc,
                         struct schema_warnings *warnings, struct tm_err *err)
{
    struct envelope e;
    int result = schema_load(&envelope_schema, doc, &e, warnings, err);
    if (result < 0)
        return result;
    result = check_api_version(doc, e.api_version, err);
    if (result == 0)
        result = check_kind(doc, e.kind, &r->kind, err);
    if (result == 0)
        result = spec_check_name(doc, "metadata.name", e.metadata.name, err);
    if (result == 0)
        result = spec_check_name(doc, "metadata.namespace", e.metadata.namespace_, err);
    r->api_version = TM_TAKE(e.api_version);
    r->name = TM_TAKE(e.metadata.name);
    r->namespace_ = TM_TAKE(e.metadata.namespace_);
    r->labels = e.metadata.labels;
    e.metadata.labels = (struct schema_map){.count = 0};
    schema_release(&envelope_schema, &e);
    return result;
}

static int parse_document(const struct yaml_node *doc, struct schema_warnings *warnings,
                          struct resource **ret, struct tm_err *err)
{
    if (doc->kind != YAML_KIND_MAP)
        return yaml_error(doc, err,
                          "a resource must be a map with apiVersion, kind, metadata and "
                          "spec, not %s",
                          yaml_kind_text(doc->kind));
    TM_CLEANUP(resource_freep) struct resource *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return tm_err_oom(err);
    int result = load_envelope(r, doc, warnings, err);
    if (result == 0)
        result = load_spec(r, doc, warnings, err);
    if (result < 0)
        return result;
    *ret = TM_TAKE(r);
    return 0;
}

void resource_free(struct resource *r)
{
    if (r == NULL)
        return;
    if (r->kind != RESOURCE_NONE)
        schema_release(schema_of(r->kind), &r->backup);
    for (size_t n = 0; n < r->labels.count; n++) {
        free(r->labels.entries[n].key);
        free(r->labels.entries[n].value);
    }
    free(r->labels.entries);
    free(r->api_version);
    free(r->name);
    free(r->namespace_);
    free(r->document);
    free(r);
}

/* ---- files ---- */

void resource_list_release(struct resource_list *list)
{
    for (size_t n = 0; n < list->count; n++)
        resource_free(list->items[n]);
    free(list->items);
    schema_warnings_release(&list->warnings);
    *list = RESOURCE_LIST_INIT;
}

static int refuse_twice(const struct resource_list *list, const struct resource *r,
                        const struct yaml_node *doc, struct tm_err *err)
{
    for (size_t n = 0; n < list->count; n++)
        if (list->items[n]->kind == r->kind && strcmp(list->items[n]->name, r->name) == 0 &&
            strcmp(list->items[n]->namespace_, r->namespace_) == 0)
            return yaml_error(doc, err, "%s/%s is there twice", resource_kind_word(r->kind),
                              r->name);
    return 0;
}

/* A document may be a list, as `get -o yaml` prints several: {items: […]}, perhaps with the words that
 * Kubernetes puts around it. Its resources in *ret_first, else the document itself. */
static int open_list(const struct yaml_node *doc, const struct yaml_node **ret_first,
                     uint32_t *ret_count, struct tm_err *err)
{
    static const char *const around[] = {"apiVersion", "kind", "metadata", "items"};
    const struct yaml_node *items = yaml_get(doc, "items");
    const char *kind = yaml_get_text(doc, "kind");
    *ret_first = doc;
    *ret_count = 1;
    if (items == NULL || items->kind != YAML_KIND_LIST ||
        (kind != NULL && strcmp(kind, "List") != 0))
        return 0;
    for (const struct yaml_node *field = doc->first; field != NULL; field = field->next) {
        bool known = false;
        for (size_t n = 0; n < TM_ARRAY_LEN(around); n++)
            known = known || strcmp(field->key, around[n]) == 0;
        if (!known)
            return yaml_key_error(field, err, "unknown field '%s' in a list of resources",
                                  field->key);
    }
    *ret_first = items->first;
    *ret_count = items->count;
    return 0;
}

static int add_resource(struct resource_list *list, const struct yaml_node *node,
                        struct tm_err *err)
{
    TM_CLEANUP(resource_freep) struct resource *r = NULL;
    int result = parse_document(node, &list->warnings, &r, err);
    if (result == 0)
        result = refuse_twice(list, r, node, err);
    if (result == 0)
        list->items[list->count++] = TM_TAKE(r);
    return result;
}

static int add_document(struct resource_list *list, const struct yaml_node *doc, struct tm_err *err)
{
    const struct yaml_node *node;
    uint32_t count;
    int result = open_list(doc, &node, &count, err);
    if (result < 0 || count == 0)
        return result;
    struct resource **more = realloc(list->items, (list->count + count) * sizeof(*more));
    if (more == NULL)
        return tm_err_oom(err);
    list->items = more;
    for (; result == 0 && count > 0; node = node->next, count--)
        result = add_resource(list, node, err);
    return result;
}

int resource_parse(const char *source, struct slice yaml, struct resource_list *ret_list,
                   struct tm_err *err)
{
    TM_CLEANUP(yaml_freep) struct yaml *y = NULL;
    int result = yaml_parse(source, yaml, &y, err);
    if (result < 0)
        return result;
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    for (size_t n = 0; n < yaml_doc_count(y) && result == 0; n++)
        result = add_document(&list, yaml_doc(y, n), err);
    if (result < 0)
        return result;
    if (list.count == 0)
        return tm_err_set(err, TM_E_INVALID, "%s: there is no resource in it", source);
    *ret_list = list;
    list = RESOURCE_LIST_INIT;
    return 0;
}

int resource_parse_document(const char *source, struct slice document, struct resource **ret,
                            struct tm_err *err)
{
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    int result = resource_parse(source, document, &list, err);
    if (result < 0)
        return result;
    if (list.count != 1)
        return tm_err_set(err, TM_E_INVALID, "%s: %zu resources where one is wanted", source,
                          list.count);
    *ret = TM_TAKE(list.items[0]);
    return 0;
}

int resource_check_apply(const struct resource *r, struct tm_err *err)
{
    if (r->refusal.code == TM_E_OK)
        return 0;
    *err = r->refusal;
    return -(int)err->code;
}

bool resource_equal(const struct resource *a, const struct resource *b)
{
    if (a->document_len == b->document_len &&
        memcmp(a->document, b->document, a->document_len) == 0)
        return true;
    json_t *left = json_loadb(a->document, a->document_len, 0, NULL);
    json_t *right = json_loadb(b->document, b->document_len, 0, NULL);
    bool equal = left != NULL && right != NULL && json_equal(left, right);
    json_decref(left);
    json_decref(right);
    return equal;
}
