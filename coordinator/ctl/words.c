/*
 * Specs made from options. A spec is written as JSON, which is YAML: nothing needs quoting rules of our
 * own. The coordinator judges what is written; here only what JSON cannot hold is refused.
 */
#include "common/parse.h"
#include "common/storage/url.h"
#include "coordinator/ctl/command.h"

/* file:///path → the spec's local block; the coordinator judges the rest. */
int spec_storage(const char *url, json_t *spec, struct tm_err *err)
{
    struct storage_url parsed;
    int result = storage_url_parse(url, &parsed, err);
    if (result < 0)
        return result;
    bool here = parsed.host[0] == '\0' || strcmp(parsed.host, "localhost") == 0;
    if (strcmp(parsed.scheme, "file") != 0 || parsed.path[0] != '/' || !here ||
        parsed.param_count > 0)
        return tm_err_set(err, TM_E_INVALID,
                          "storage '%s' is not file:///PATH, the only storage of this version",
                          url);
    json_t *block = json_pack("{s:s}", "path", parsed.path);
    return json_object_set_new(spec, "local", block) < 0 ? tm_err_oom(err) : 0;
}

int spec_text(json_t *object, const char *key, const struct option_value *value, struct tm_err *err)
{
    if (!value->given)
        return 0;
    if (json_object_set_new(object, key, json_string(value->text)) < 0)
        return tm_err_set(err, TM_E_INVALID, "%s '%s' is not UTF-8 text", key, value->text);
    return 0;
}

int spec_number(json_t *object, const char *key, const struct option_value *value,
                struct tm_err *err)
{
    if (!value->given)
        return 0;
    int64_t number;
    int result = parse_i64(value->text, &number, err);
    if (result < 0)
        return tm_err_prefix(err, "%s", key);
    return json_object_set_new(object, key, json_integer(number)) < 0 ? tm_err_oom(err) : 0;
}

int spec_flag(json_t *object, const char *key, const struct option_value *value, struct tm_err *err)
{
    if (value->given && json_object_set_new(object, key, json_true()) < 0)
        return tm_err_oom(err);
    return 0;
}

/* KEY=VALUE words → a map */
int spec_pairs(json_t *object, const char *key, const struct option_value *value,
               struct tm_err *err)
{
    if (!value->given)
        return 0;
    json_t *map = json_object();
    for (size_t n = 0; n < value->count; n++) {
        const char *equals = strchr(value->all[n], '=');
        char name[1024];
        if (equals == NULL || (size_t)(equals - value->all[n]) >= sizeof(name)) {
            json_decref(map);
            return tm_err_set(err, TM_E_INVALID, "'%s' is not NAME=VALUE", value->all[n]);
        }
        (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - value->all[n]), value->all[n]);
        if (json_object_set_new(map, name, json_string(equals + 1)) < 0) {
            json_decref(map);
            return tm_err_set(err, TM_E_INVALID, "'%s' is not UTF-8 text", value->all[n]);
        }
    }
    return json_object_set_new(object, key, map) < 0 ? tm_err_oom(err) : 0;
}

int spec_resource(const char *kind, const char *name, const char *namespace_, json_t *spec,
                  char **ret, struct tm_err *err)
{
    json_t *resource = json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "tidemark/v1", "kind",
                                 kind, "metadata", "name", name, "spec", spec);
    if (resource != NULL && namespace_ != NULL)
        (void)json_object_set_new(json_object_get(resource, "metadata"), "namespace",
                                  json_string(namespace_));
    char *text = resource != NULL ? json_dumps(resource, JSON_INDENT(1)) : NULL;
    json_decref(resource);
    if (text == NULL)
        return tm_err_set(err, TM_E_INVALID, "%s '%s' is not UTF-8 text", kind, name);
    *ret = text;
    return 0;
}

int spec_apply(struct ctl *c, const char *kind, const char *word, const char *name,
               const char *namespace_, json_t *spec, bool test, struct tm_err *err)
{
    TM_CLEANUP(freep) char *text = NULL;
    int result = spec_resource(kind, name, namespace_, spec, &text, err);
    return result < 0 ? result : apply_tested(c, word, slice_str(text), test, err);
}
