/*
 * Specs made from options. A spec is written as JSON, which is YAML: nothing needs quoting rules of our
 * own. The coordinator judges what is written; here only what JSON cannot hold is refused.
 */
#include "common/parse.h"
#include "common/storage/url.h"
#include "common/suggest.h"
#include "coordinator/ctl/command.h"

/* Parameters of storage URLs, and what they are called in a block. */
static const struct {
    const char *scheme; /* "" = all */
    const char *key;
    const char *field;
    bool is_switch;
} params[] = {
    {"s3", "provider", "provider", false},
    {"s3", "region", "region", false},
    {"s3", "endpoint", "endpoint", false},
    {"s3", "force-path-style", "forcePathStyle", true},
    {"s3", "storage-class", "storageClass", false},
    {"s3", "acl", "acl", false},
    {"s3", "sse", "sse", false},
    {"s3", "sse-kms-key-id", "sseKmsKeyId", false},
    {"azblob", "account-name", "storageAccount", false},
    {"azblob", "endpoint", "endpoint", false},
    {"azblob", "access-tier", "accessTier", false},
    {"", "ca-file", "caFile", false},
    {"", "proxy", "proxy", false},
    {"", "insecure", "insecure", true},
};

static int set_param(const struct storage_url *url, size_t at, json_t *block, struct tm_err *err)
{
    const char *key = url->params[at].key;
    const char *value = url->params[at].value;
    const char *known[TM_ARRAY_LEN(params)];
    size_t count = 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(params); n++) {
        bool on;
        if (params[n].scheme[0] != '\0' && strcmp(params[n].scheme, url->scheme) != 0)
            continue;
        known[count++] = params[n].key;
        if (strcmp(params[n].key, key) != 0)
            continue;
        int r = params[n].is_switch ? parse_bool(value, &on, err) : 0;
        if (r < 0)
            return tm_err_prefix(err, "storage parameter '%s'", key);
        json_t *json = params[n].is_switch ? json_boolean(on) : json_string(value);
        return json_object_set_new(block, params[n].field, json) < 0 ? tm_err_oom(err) : 0;
    }
    const char *meant = suggest_from(key, known, count);
    return meant != NULL
               ? tm_err_set(err, TM_E_INVALID,
                            "storage parameter '%s' is not known, did you mean '%s'?", key, meant)
               : tm_err_set(err, TM_E_INVALID, "storage parameter '%s' is not known to %s://", key,
                            url->scheme);
}

/* s3://bucket/prefix?… → the s3 block, and the like; a secret in it is named, its value is not. */
static int set_bucket(const struct storage_url *url, const char *secret, json_t *spec,
                      struct tm_err *err)
{
    bool azblob = strcmp(url->scheme, "azblob") == 0;
    json_t *block = json_pack("{s:s}", azblob ? "container" : "bucket", url->host);
    if (block == NULL || json_object_set_new(spec, url->scheme, block) < 0)
        return tm_err_oom(err);
    const char *prefix = url->path + strspn(url->path, "/");
    if ((prefix[0] != '\0' && json_object_set_new(block, "prefix", json_string(prefix)) < 0) ||
        (secret != NULL && json_object_set_new(block, "secretName", json_string(secret)) < 0))
        return tm_err_oom(err);
    int r = 0;
    for (size_t at = 0; r == 0 && at < url->param_count; at++)
        r = set_param(url, at, block, err);
    return r;
}

/* A storage URL → the spec's block; the coordinator judges the rest. */
int spec_storage(const char *url, const char *secret, json_t *spec, struct tm_err *err)
{
    struct storage_url parsed;
    int result = storage_url_parse(url, &parsed, err);
    if (result < 0)
        return result;
    if (strcmp(parsed.scheme, "s3") == 0 || strcmp(parsed.scheme, "azblob") == 0)
        return set_bucket(&parsed, secret, spec, err);
    bool here = parsed.host[0] == '\0' || strcmp(parsed.host, "localhost") == 0;
    if (strcmp(parsed.scheme, "file") != 0 || parsed.path[0] != '/' || !here ||
        parsed.param_count > 0)
        return tm_err_set(err, TM_E_INVALID,
                          "storage '%s' is not file:///PATH, s3://BUCKET/PREFIX or "
                          "azblob://CONTAINER/PREFIX",
                          url);
    if (secret != NULL)
        return tm_err_set(err, TM_E_INVALID, "a directory needs no secret");
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
               const char *namespace_, json_t *spec, enum apply_how how, struct tm_err *err)
{
    TM_CLEANUP(freep) char *text = NULL;
    int result = spec_resource(kind, name, namespace_, spec, &text, err);
    if (result < 0)
        return result;
    return how == APPLY_TESTED ? apply_tested(c, word, slice_str(text), true, err)
                               : apply_yaml(c, word, slice_str(text), how == APPLY_QUIET, err);
}
