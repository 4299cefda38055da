/* A Backup after the pattern of another one: the same storage, under another name, of another tenant. */
#include <jansson.h>

#include "proto/spec/spec.h"

static int set_names(json_t *document, const char *name, const char *cluster, const char *tenant,
                     struct tm_err *err)
{
    json_t *spec = json_object_get(document, "spec");
    json_t *br = json_object_get(spec, "br");
    if (br == NULL) {
        br = json_object();
        (void)json_object_set_new(spec, "br", br);
    }
    if (json_object_set_new(json_object_get(document, "metadata"), "name", json_string(name)) < 0 ||
        json_object_set_new(br, "cluster", json_string(cluster)) < 0 ||
        json_object_set_new(br, "tenant", json_string(tenant)) < 0)
        return tm_err_set(err, TM_E_INVALID, "'%s' of %s/%s makes no resource", name, cluster,
                          tenant);
    return 0;
}

int resource_rename(const struct resource *pattern, const char *name, const char *cluster,
                    const char *tenant, struct resource **ret, struct tm_err *err)
{
    json_error_t why;
    json_t *document = json_loadb(pattern->document, pattern->document_len, 0, &why);
    if (document == NULL)
        return tm_err_set(err, TM_E_INVALID, "the pattern of a resource is no JSON: %s", why.text);
    int r = set_names(document, name, cluster, tenant, err);
    char *text = r == 0 ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (r == 0 && text == NULL)
        r = tm_err_oom(err);
    if (r == 0)
        r = resource_parse_document("rebuild", slice_str(text), ret, err);
    free(text);
    return r;
}
