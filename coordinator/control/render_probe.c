/* How a storage test came out, as JSON. Can fail only for lack of memory. */
#include <jansson.h>

#include "coordinator/control/internal.h"

static const char *verdict_text(enum brain_probe_verdict verdict)
{
    switch (verdict) {
    case BRAIN_PROBE_WELL:
        return "ok";
    case BRAIN_PROBE_FAILED:
        return "failed";
    case BRAIN_PROBE_APART:
        return "apart";
    case BRAIN_PROBE_SILENT:
        return "no answer";
    case BRAIN_PROBE_LOST:
        return "lost";
    case BRAIN_PROBE_AWAY:
        return "not connected";
    }
    return "unknown";
}

static const char *why(const struct brain_probe *probe, const struct brain_probe_node *node,
                       char *text, size_t size)
{
    switch (node->verdict) {
    case BRAIN_PROBE_WELL:
        return NULL;
    case BRAIN_PROBE_FAILED:
        return node->error != NULL && node->error->text != NULL ? node->error->text : "it failed";
    case BRAIN_PROBE_APART:
        (void)snprintf(text, size,
                       "it sees another directory than node '%s': is the same server and export "
                       "mounted on both?",
                       node->apart_from);
        return text;
    case BRAIN_PROBE_SILENT:
        (void)snprintf(text, size, "the agent did not answer within %u s",
                       (probe->timeout_ms + 999) / 1000);
        return text;
    case BRAIN_PROBE_LOST:
        return "the agent went away while it was asked";
    case BRAIN_PROBE_AWAY:
        return "the agent is not connected";
    }
    return NULL;
}

static json_t *strings(const char *const *texts, size_t count)
{
    json_t *array = json_array();
    for (size_t n = 0; array != NULL && n < count; n++)
        (void)json_array_append_new(array, json_string(texts[n]));
    return array;
}

static json_t *render_steps(const struct msg_probe_answer *answer)
{
    json_t *steps = json_array();
    for (size_t n = 0; steps != NULL && n < answer->steps_count; n++) {
        const struct msg_probe_step *one = &answer->steps[n];
        json_t *json =
            json_pack("{s:s, s:s, s:I}", "step", probe_step_text(one->step), "outcome",
                      probe_outcome_text(one->outcome), "microseconds", (json_int_t)one->took_us);
        if (json != NULL && one->error != NULL && one->error->text != NULL)
            (void)json_object_set_new(json, "error", json_string(one->error->text));
        (void)json_array_append_new(steps, json);
    }
    return steps;
}

static json_t *render_mount(const struct msg_probe_answer *answer)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:b}", "point", answer->mount, "source",
                             answer->mount_source != NULL ? answer->mount_source : "", "type",
                             answer->fs_type, "network", (int)answer->network);
    if (json != NULL && answer->has_free)
        (void)json_object_set_new(json, "freeBytes", json_integer((json_int_t)answer->free_bytes));
    return json;
}

/* Numbers that were not measured are left out. */
static void add_numbers(json_t *json, const struct msg_probe_answer *answer)
{
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"writeMicroseconds", answer->put_us},
        {"readMicroseconds", answer->get_us},
        {"writeBytesPerSecond", answer->upload_rate},
        {"readBytesPerSecond", answer->download_rate},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(numbers); n++)
        if (numbers[n].value != 0)
            (void)json_object_set_new(json, numbers[n].key,
                                      json_integer((json_int_t)numbers[n].value));
    if (answer->create != PROBE_CREATE_UNKNOWN)
        (void)json_object_set_new(json, "conditionalCreate",
                                  json_boolean(answer->create == PROBE_CREATE_FENCED));
    if (answer->has_skew)
        (void)json_object_set_new(json, "skewMicroseconds",
                                  json_integer((json_int_t)answer->skew_us));
}

static json_t *render_one(const struct brain_probe *probe, const struct brain_probe_node *node)
{
    char text[256];
    const struct msg_probe_answer *answer = node->answer;
    const char *message = why(probe, node, text, sizeof(text));
    json_t *json =
        json_pack("{s:s, s:s}", "node", node->node, "result", verdict_text(node->verdict));
    if (json == NULL)
        return NULL;
    if (message != NULL)
        (void)json_object_set_new(json, "error", json_string(message));
    if (answer == NULL)
        return json;
    (void)json_object_set_new(json, "steps", render_steps(answer));
    add_numbers(json, answer);
    if (answer->mount != NULL)
        (void)json_object_set_new(json, "mount", render_mount(answer));
    if (answer->seen_count > 0)
        (void)json_object_set_new(json, "sees", strings(answer->seen, answer->seen_count));
    if (answer->warnings_count > 0)
        (void)json_object_set_new(json, "warnings",
                                  strings(answer->warnings, answer->warnings_count));
    return json;
}

int render_probe(const struct brain_probe *probe, struct buf *out, struct tm_err *err)
{
    json_t *nodes = json_array();
    size_t well = 0;
    size_t away = 0;
    for (size_t n = 0; nodes != NULL && n < probe->node_count; n++) {
        well += probe->nodes[n].verdict == BRAIN_PROBE_WELL;
        away += probe->nodes[n].verdict == BRAIN_PROBE_AWAY;
        (void)json_array_append_new(nodes, render_one(probe, &probe->nodes[n]));
    }
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o}", "kind", probe->kind, "name",
                  probe->name, "cluster", probe->cluster, "storage", probe->storage, "nodesWell",
                  (json_int_t)well, "nodesNotConnected", (json_int_t)away, "nodesTotal",
                  (json_int_t)probe->node_count, "nodes", nodes);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    int result = text == NULL ? tm_err_oom(err) : buf_append(out, text, strlen(text), err);
    free(text);
    return result;
}
