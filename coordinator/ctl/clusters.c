/*
 * How far clusters are safe, and their log backups. A tenant may have several log backups, in
 * several places: the furthest counts. A cluster is as safe as its worst tenant; a tenant without a
 * checkpoint makes it unknown. Checkpoints compare as text: all have one form, in UTC.
 */
#include "common/clock.h"
#include "coordinator/ctl/command.h"
#include "coordinator/ctl/table.h"

static bool counts(const json_t *resource)
{
    const char *phase = json_text_at(resource, "status.phase");
    return json_is_log(resource) && strcmp(phase, "Stopped") != 0 && strcmp(phase, "Deleting") != 0;
}

static bool same_tenant(const json_t *a, const json_t *b)
{
    return strcmp(json_text_at(a, "spec.br.cluster"), json_text_at(b, "spec.br.cluster")) == 0 &&
           strcmp(json_text_at(a, "status.tenant"), json_text_at(b, "status.tenant")) == 0;
}

static const char *checkpoint_of(const json_t *resource)
{
    return json_text_at(resource, "status.logCheckpointTs");
}

/* Another task of the same tenant is further, or as far and comes first. */
static bool is_outdone(const json_t *resources, size_t which)
{
    const json_t *own = json_array_get(resources, which);
    size_t at;
    const json_t *other;
    json_array_foreach(resources, at, other)
    {
        if (at == which || !counts(other) || !same_tenant(own, other))
            continue;
        int order = strcmp(checkpoint_of(other), checkpoint_of(own));
        if (order > 0 || (order == 0 && at < which))
            return true;
    }
    return false;
}

static json_t *entry_of(json_t *clusters, const char *cluster)
{
    size_t at;
    json_t *one;
    json_array_foreach(clusters, at, one)
    {
        if (strcmp(json_text_at(one, "cluster"), cluster) == 0)
            return one;
    }
    one = json_pack("{s:s, s:i}", "cluster", cluster, "tenants", 0);
    return one != NULL && json_array_append_new(clusters, one) == 0 ? one : NULL;
}

/* One more tenant of the cluster. */
static int merge(json_t *entry, const json_t *resource)
{
    json_int_t tenants = json_integer_value(json_object_get(entry, "tenants"));
    const char *own = checkpoint_of(resource);
    const char *least = json_text_at(entry, "logCheckpointTs");
    json_t *latency = json_object_get(json_object_get(resource, "status"), "latencySeconds");
    int result = json_object_set_new(entry, "tenants", json_integer(tenants + 1));
    if (own[0] == '\0' || (tenants > 0 && (least[0] == '\0' || strcmp(least, own) <= 0))) {
        if (own[0] == '\0') {
            (void)json_object_del(entry, "logCheckpointTs");
            (void)json_object_del(entry, "latencySeconds");
        }
        return result;
    }
    if (result == 0)
        result = json_object_set_new(entry, "logCheckpointTs", json_string(own));
    (void)json_object_del(entry, "latencySeconds");
    if (result == 0 && latency != NULL)
        result = json_object_set(entry, "latencySeconds", latency);
    return result;
}

json_t *log_clusters(const json_t *resources)
{
    json_t *clusters = json_array();
    size_t at;
    const json_t *one;
    json_array_foreach(resources, at, one)
    {
        if (clusters == NULL || !counts(one) || is_outdone(resources, at))
            continue;
        json_t *entry = entry_of(clusters, json_text_at(one, "spec.br.cluster"));
        if (entry == NULL || merge(entry, one) < 0) {
            json_decref(clusters);
            return NULL;
        }
    }
    return clusters;
}

void log_clusters_print(struct ctl *c, const json_t *clusters)
{
    size_t at;
    const json_t *one;
    json_array_foreach(clusters, at, one)
    {
        const char *checkpoint = json_text_at(one, "logCheckpointTs");
        const json_t *latency = json_at(one, "latencySeconds");
        (void)fprintf(c->out, "%scluster %s: %s%s", at == 0 ? "\n" : "",
                      json_text_at(one, "cluster"), checkpoint[0] != '\0' ? "safe until " : "",
                      checkpoint[0] != '\0' ? checkpoint : "not known how far it is safe");
        if (latency != NULL)
            (void)fprintf(c->out, ", %.1f s behind", json_number_value(latency));
        if (json_u64_at(one, "tenants") > 1)
            (void)fprintf(c->out, " (the least of %llu tenants)",
                          (unsigned long long)json_u64_at(one, "tenants"));
        (void)fprintf(c->out, "\n");
    }
}

static int log_row(struct text_table *t, const json_t *one, struct tm_err *err)
{
    const json_t *behind = json_at(one, "status.latencySeconds");
    char latency[CLOCK_TEXT_MAX] = "";
    if (behind != NULL)
        (void)duration_format_brief((int64_t)(json_number_value(behind) * 1e6), latency);
    const char *const cells[] = {
        json_text_at(one, "metadata.name"),
        json_text_at(one, "spec.br.cluster"),
        json_text_at(one, "status.tenant"),
        json_text_at(one, "status.phase"),
        json_text_at(one, "status.node"),
        json_text_at(one, "status.logCheckpointTs"),
        json_text_at(one, "status.logCheckpointPosition"),
        latency,
        json_text_at(one, "status.logSuccessTruncateUntil"),
        json_text_at(one, "status.lastError.message"),
    };
    int result = 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(cells) && result == 0; n++)
        result = text_table_cell(t, err, "%s", cells[n]);
    return result;
}

int log_table_print(struct ctl *c, const json_t *logs, struct tm_err *err)
{
    static const char *const heads[] = {"NAME",           "CLUSTER",    "TENANT",   "STATUS",
                                        "NODE",           "CHECKPOINT", "POSITION", "BEHIND",
                                        "TRUNCATEDUNTIL", "LASTERROR"};
    struct text_table t;
    text_table_init(&t, heads, TM_ARRAY_LEN(heads));
    int result = 0;
    size_t at;
    const json_t *one;
    json_array_foreach(logs, at, one)
    {
        if (result == 0)
            result = log_row(&t, one, err);
    }
    if (result == 0)
        text_table_print(&t, c->out);
    text_table_release(&t);
    return result;
}
