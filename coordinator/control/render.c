/* A node as the JSON of `tidemark nodes`. Can fail only for lack of memory. */
#include <jansson.h>

#include "coordinator/control/internal.h"

/* The numbers of the wire (msg_instance.role); the agents' engines use the same. */
static const char *const role_texts[] = {"unknown", "primary", "standby", "member"};

static const char *text_or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static json_t *render_instance(const struct msg_instance *instance)
{
    const char *role =
        instance->role < TM_ARRAY_LEN(role_texts) ? role_texts[instance->role] : role_texts[0];
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "tenant", instance->tenant, "engine",
                  instance->engine, "role", role, "version", instance->version, "identity",
                  instance->identity, "lineageLabel", instance->lineage_label, "position",
                  instance->position, "dataBytes", (json_int_t)instance->data_bytes);
    if (json != NULL && instance->error != NULL)
        (void)json_object_set_new(json, "error", json_string(text_or_empty(instance->error->text)));
    return json;
}

int render_node(const struct brain_node *node, struct buf *out, struct tm_err *err)
{
    json_t *instances = json_array();
    for (size_t n = 0; instances != NULL && n < node->instance_count; n++)
        if (json_array_append_new(instances, render_instance(&node->instances[n])) < 0) {
            json_decref(instances);
            return tm_err_oom(err);
        }
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:o}", "cluster", node->cluster,
                             "node", node->node, "boot", text_or_empty(node->boot), "version",
                             text_or_empty(node->version), "connected", (int)node->connected,
                             "silentMs", (json_int_t)(node->silent_us / 1000), "jobs",
                             (json_int_t)node->job_count, "instances", instances);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    int result = text == NULL ? tm_err_oom(err) : buf_append(out, text, strlen(text), err);
    free(text);
    return result;
}
