/*
 * tidemark get: resources as table, JSON or YAML.
 * Failure modes: a name that is not there (status 3), an unknown kind or output form (status 2).
 */
#include "common/clock.h"
#include "common/size.h"
#include "coordinator/ctl/command.h"
#include "coordinator/ctl/table.h"
#include "proto/spec/status.h"

/* "full/snapshot": what operators know as TYPE and MODE */
static const char *type_of(const json_t *resource)
{
    const char *type = json_text_at(resource, "spec.backupType");
    return type[0] != '\0' ? type : "full";
}

static const char *mode_of(const json_t *resource)
{
    const char *mode = json_text_at(resource, "spec.backupMode");
    return mode[0] != '\0' ? mode : "snapshot";
}

bool json_is_log(const json_t *resource)
{
    return strcmp(json_text_at(resource, "spec.backupMode"), "log") == 0;
}

/* How far it is safe: of a snapshot the moment it is of, of a log backup its checkpoint. */
static const char *commit_of(const json_t *resource)
{
    return json_text_at(resource,
                        json_is_log(resource) ? "status.logCheckpointTs" : "status.commitTs");
}

static const char *position_of(const json_t *resource)
{
    return json_text_at(resource,
                        json_is_log(resource) ? "status.logCheckpointPosition" : "status.position");
}

/* What the end of a wide row tells of every kind. */
static int end_cells(struct text_table *t, const json_t *one, struct tm_err *err)
{
    static const char *const paths[] = {"status.timeStarted", "status.timeCompleted",
                                        "status.lastError.message"};
    int result = 0;
    for (size_t n = 0; result == 0 && n < TM_ARRAY_LEN(paths); n++)
        result = text_table_cell(t, err, "%s", json_text_at(one, paths[n]));
    return result;
}

static int backup_rows(const json_t *items, bool wide, struct text_table *t, struct tm_err *err)
{
    size_t at;
    const json_t *one;
    int result = 0;
    json_array_foreach(items, at, one)
    {
        char size[SIZE_TEXT_MAX] = "";
        const char *part = json_text_at(one, "part"); /* of a tenant, behind the whole */
        uint64_t bytes = json_u64_at(one, "status.backupSize");
        if (bytes > 0)
            (void)size_format(bytes, size);
        if ((result = text_table_cell(t, err, "%s%s%s", json_text_at(one, "metadata.name"),
                                      part[0] != '\0' ? "@" : "", part)) < 0 ||
            (result = text_table_cell(t, err, "%s", type_of(one))) < 0 ||
            (result = text_table_cell(t, err, "%s", mode_of(one))) < 0 ||
            (result = text_table_cell(t, err, "%s", json_text_at(one, "status.phase"))) < 0 ||
            (result = text_table_cell(t, err, "%s", json_text_at(one, "status.backupPath"))) < 0 ||
            (result = text_table_cell(t, err, "%s", commit_of(one))) < 0 ||
            (result = text_table_cell(t, err, "%s",
                                      json_text_at(one, "status.logSuccessTruncateUntil"))) < 0)
            return result;
        if (!wide)
            continue;
        if ((result = text_table_cell(t, err, "%s", size)) < 0 ||
            (result = text_table_cell(t, err, "%s", position_of(one))) < 0 ||
            (result = end_cells(t, one, err)) < 0)
            return result;
    }
    return 0;
}

static int restore_rows(const json_t *items, bool wide, struct text_table *t, struct tm_err *err)
{
    size_t at;
    const json_t *one;
    int result = 0;
    json_array_foreach(items, at, one)
    {
        if ((result = text_table_cell(t, err, "%s", json_text_at(one, "metadata.name"))) < 0 ||
            (result = text_table_cell(t, err, "%s", json_text_at(one, "status.phase"))) < 0 ||
            (result = text_table_cell(t, err, "%s", json_text_at(one, "spec.backup"))) < 0 ||
            (result = text_table_cell(t, err, "%s", json_text_at(one, "spec.dataDir"))) < 0 ||
            (result = text_table_cell(t, err, "%s", json_text_at(one, "status.commitTs"))) < 0)
            return result;
        if (wide && (result = end_cells(t, one, err)) < 0)
            return result;
    }
    return 0;
}

static int print_table(struct ctl *c, const char *kind, const json_t *items, bool wide,
                       struct tm_err *err)
{
    static const char *const backup_heads[] = {
        "NAME", "TYPE",     "MODE",    "STATUS",    "BACKUPPATH", "COMMITTS", "LOGTRUNCATEUNTIL",
        "SIZE", "POSITION", "STARTED", "COMPLETED", "LASTERROR"};
    static const char *const restore_heads[] = {"NAME",     "STATUS",  "BACKUP",    "DATADIR",
                                                "COMMITTS", "STARTED", "COMPLETED", "LASTERROR"};
    if (json_array_size(items) == 0) {
        (void)fprintf(c->err, "no resources of kind %s\n", kind);
        return 0;
    }
    bool restores = strcmp(kind, "Restore") == 0;
    json_t *split = NULL;
    struct text_table t;
    if (wide && tenants_split(items, true, &split, err) < 0)
        return -(int)err->code;
    items = wide ? split : items;
    text_table_init(&t, restores ? restore_heads : backup_heads,
                    restores ? (wide ? 8 : 5) : (wide ? 12 : 7));
    int result = restores ? restore_rows(items, wide, &t, err) : backup_rows(items, wide, &t, err);
    if (result == 0)
        text_table_print(&t, c->out);
    text_table_release(&t);
    json_decref(split);
    return result;
}

int json_print(struct ctl *c, const json_t *value, struct tm_err *err)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    if (text == NULL)
        return tm_err_oom(err);
    (void)fprintf(c->out, "%s\n", text);
    free(text);
    return 0;
}

static int print_yaml(struct ctl *c, const json_t *value, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (text == NULL)
        return tm_err_oom(err);
    int result = json_to_yaml(slice_str(text), &out, err);
    if (result == 0)
        (void)fwrite(out.data, 1, out.len, c->out);
    free(text);
    return result;
}

int value_print(struct ctl *c, const json_t *value, bool yaml, struct tm_err *err)
{
    return yaml ? print_yaml(c, value, err) : json_print(c, value, err);
}

/* Keeps what has all labels "key=value". */
static int select_labels(json_t *items, const struct option_value *labels, struct tm_err *err)
{
    for (size_t n = 0; n < labels->count; n++) {
        const char *equals = strchr(labels->all[n], '=');
        if (equals == NULL || equals == labels->all[n])
            return tm_err_set(err, TM_E_INVALID, "label '%s' is not KEY=VALUE", labels->all[n]);
        char key[256];
        (void)snprintf(key, sizeof(key), "%.*s", (int)(equals - labels->all[n]), labels->all[n]);
        for (size_t at = json_array_size(items); at-- > 0;) {
            const json_t *all = json_at(json_array_get(items, at), "metadata.labels");
            const char *value = json_string_value(json_object_get(all, key));
            if (value == NULL || strcmp(value, equals + 1) != 0)
                (void)json_array_remove(items, at);
        }
    }
    return 0;
}

int resource_list(struct ctl *c, const char *kind, const char *namespace_, json_t **ret,
                  struct tm_err *err)
{
    int result = ctl_connect(c, err);
    if (result < 0 || (result = client_list(c->client, CONTROL_LIST, kind, ret, err)) < 0)
        return result;
    for (size_t at = json_array_size(*ret); at-- > 0;) {
        const json_t *one = json_array_get(*ret, at);
        if (namespace_ != NULL && strcmp(json_text_at(one, "metadata.namespace"), namespace_) != 0)
            (void)json_array_remove(*ret, at);
    }
    return 0;
}

static int fetch(struct ctl *c, const char *kind, const char *namespace_, const char *name,
                 json_t **ret_items, struct tm_err *err)
{
    if (name == NULL)
        return resource_list(c, kind, namespace_, ret_items, err);
    json_t *one;
    int result = ctl_connect(c, err);
    if (result < 0 ||
        (result = client_get(c->client, CONTROL_GET, kind, namespace_, name, &one, err)) < 0)
        return result;
    json_t *items = json_array();
    if (items == NULL || json_array_append_new(items, one) < 0) {
        json_decref(items);
        return tm_err_oom(err);
    }
    *ret_items = items;
    return 0;
}

static int show(struct ctl *c, const char *kind, bool single, json_t *items, const char *form,
                struct tm_err *err)
{
    bool yaml = strcmp(form, "yaml") == 0;
    if (!yaml && strcmp(form, "json") != 0)
        return print_table(c, kind, items, strcmp(form, "wide") == 0, err);
    if (single)
        return value_print(c, json_array_get(items, 0), yaml, err);
    json_t *list = json_pack("{s:O}", "items", items);
    int result = list == NULL ? tm_err_oom(err) : value_print(c, list, yaml, err);
    json_decref(list);
    return result;
}

static int run_get(struct ctl *c, const struct command *self, const struct option_value *values,
                   const struct option_words *words)
{
    struct tm_err err;
    const char *kind;
    const char *word;
    const char *form = values[0].given ? values[0].text : "";
    if (words->count < 1 || words->count > 2)
        return ctl_usage(c, self->name, "a KIND is wanted: backup, restore");
    bool secret = secret_word(words->words[0]);
    if (!secret && kind_of(words->words[0], &kind, &word, &err) < 0)
        return ctl_usage(c, self->name, "%s", err.msg);
    if (form[0] != '\0' && strcmp(form, "wide") != 0 && strcmp(form, "json") != 0 &&
        strcmp(form, "yaml") != 0)
        return ctl_usage(c, self->name, "output '%s' is not known; there are wide, json and yaml",
                         form);
    if (secret)
        return secret_get(c, words->count == 2 ? words->words[1] : NULL, form);
    const char *name = words->count == 2 ? words->words[1] : NULL;
    json_t *items;
    if (fetch(c, kind, values[2].given ? values[2].text : NULL, name, &items, &err) < 0)
        return ctl_fail(c, &err);
    int result = select_labels(items, &values[1], &err);
    if (result == 0)
        result = show(c, kind, name != NULL, items, form, &err);
    json_decref(items);
    return result < 0 ? ctl_fail(c, &err) : 0;
}

const struct command command_get = {
    .name = "get",
    .words = "KIND [NAME]",
    .summary = "list resources, or show one",
    .detail =
        "KIND is backup (bk), restore (rt), backupschedule (bks) or compactbackup (cpbk).\n"
        "One resource is an object, several are {\"items\": […]}. Of secrets, names and keys are\n"
        "shown, never what they hold.\n\n"
        "  tidemark get backup -o wide\n"
        "  tidemark get bk nightly-3 -o json",
    .options =
        (const struct option_row[]){
            {.name = "output", .letter = 'o', .value = "FORM", .help = "wide, json or yaml"},
            {.name = "selector",
             .letter = 'l',
             .value = "KEY=VALUE",
             .help = "only those with this label",
             .repeat = true},
            {.name = "namespace",
             .letter = 'n',
             .value = "NS",
             .help = "only this namespace; default: all"}},
    .option_count = 3,
    .run = run_get,
};
