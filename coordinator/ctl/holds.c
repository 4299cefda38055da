/*
 * tidemark nodes --holds: all log that sources keep for us, for snapshots and for log backups.
 *
 * Happy path: the nodes tell the holds of their snapshots, resources those of log backups and whose the
 * others are → one list, ordered by cluster and node.
 * Failure modes: only that the coordinator cannot be asked. What a node could not find out (its database is
 * away) is left out, and reads "-".
 */
#include "common/clock.h"
#include "common/size.h"
#include "coordinator/ctl/command.h"
#include "coordinator/ctl/table.h"

#define STATE_MAX 256

/* The resource that the hold of this snapshot is for; NULL: it is gone, or was never known. */
static const json_t *owner_of(const json_t *resources, const char *cluster, const json_t *hold)
{
    const char *id = json_text_at(hold, "backupId");
    size_t at;
    const json_t *one;
    json_array_foreach(resources, at, one)
    {
        if (id[0] != '\0' && strcmp(json_text_at(one, "status.backupId"), id) == 0 &&
            strcmp(json_text_at(one, "spec.br.cluster"), cluster) == 0 &&
            strcmp(json_text_at(one, "status.tenant"), json_text_at(hold, "tenant")) == 0)
            return one;
    }
    return NULL;
}

static void set_resource(json_t *item, const json_t *resource)
{
    if (resource != NULL)
        (void)json_object_set_new(
            item, "resource", json_sprintf("backup/%s", json_text_at(resource, "metadata.name")));
}

/* Takes item over. */
static int add(json_t *list, json_t *item, struct tm_err *err)
{
    return item == NULL || json_array_append_new(list, item) < 0 ? tm_err_oom(err) : 0;
}

static int add_snapshots(json_t *list, const json_t *node, const json_t *resources,
                         struct tm_err *err)
{
    const char *cluster = json_text_at(node, "cluster");
    size_t at;
    const json_t *hold;
    json_array_foreach(json_at(node, "holds"), at, hold)
    {
        json_t *item = json_pack("{s:s, s:s, s:s, s:b}", "kind", "snapshot", "cluster", cluster,
                                 "node", json_text_at(node, "node"), "connected",
                                 (int)json_is_true(json_at(node, "connected")));
        if (item != NULL && json_object_update(item, (json_t *)(uintptr_t)hold) < 0) {
            json_decref(item);
            item = NULL;
        }
        if (item != NULL)
            set_resource(item, owner_of(resources, cluster, hold));
        int result = add(list, item, err);
        if (result < 0)
            return result;
    }
    return 0;
}

static const json_t *node_of(const json_t *nodes, const char *cluster, const char *name)
{
    size_t at;
    const json_t *node;
    json_array_foreach(nodes, at, node)
    {
        if (strcmp(json_text_at(node, "cluster"), cluster) == 0 &&
            strcmp(json_text_at(node, "node"), name) == 0)
            return node;
    }
    return NULL;
}

static json_t *log_item(const json_t *resource, const json_t *hold, bool connected)
{
    bool paused = strcmp(json_text_at(resource, "status.phase"), "Pause") == 0;
    json_t *item = json_pack(
        "{s:s, s:s, s:s, s:b, s:s, s:s, s:s, s:I, s:b, s:b}", "kind", "log", "cluster",
        json_text_at(resource, "spec.br.cluster"), "node", json_text_at(hold, "node"), "connected",
        (int)connected, "tenant", json_text_at(resource, "status.tenant"), "name",
        json_text_at(hold, "name"), "state", paused ? "paused" : "inUse", "bytes",
        (json_int_t)json_u64_at(hold, "bytes"), "lost", (int)json_is_true(json_at(hold, "lost")),
        "atRisk", (int)json_is_true(json_at(hold, "atRisk")));
    if (item != NULL)
        set_resource(item, resource);
    return item;
}

/* Those on this node; NULL: on all that nobody knows any more. */
static int add_logs(json_t *list, const json_t *nodes, const json_t *node, const json_t *resources,
                    struct tm_err *err)
{
    size_t at;
    const json_t *one;
    int result = 0;
    json_array_foreach(resources, at, one)
    {
        size_t inner;
        const json_t *hold;
        const char *cluster = json_text_at(one, "spec.br.cluster");
        if (!json_is_log(one))
            continue;
        json_array_foreach(json_at(one, "status.holds"), inner, hold)
        {
            if (result == 0 && node_of(nodes, cluster, json_text_at(hold, "node")) == node)
                result =
                    add(list, log_item(one, hold, json_is_true(json_at(node, "connected"))), err);
        }
    }
    return result;
}

/* Handed over. */
static int collect(const json_t *nodes, const json_t *resources, json_t **ret, struct tm_err *err)
{
    json_t *list = json_array();
    size_t at;
    const json_t *node;
    int result = list != NULL ? 0 : tm_err_oom(err);
    json_array_foreach(nodes, at, node)
    {
        if (result == 0)
            result = add_snapshots(list, node, resources, err);
        if (result == 0)
            result = add_logs(list, nodes, node, resources, err);
    }
    if (result == 0)
        result = add_logs(list, nodes, NULL, resources, err);
    if (result < 0) {
        json_decref(list);
        return result;
    }
    *ret = list;
    return 0;
}

/* ---- printed ---- */

static const char *age_of(const json_t *hold, char text[CLOCK_TEXT_MAX])
{
    struct tm_err ignored;
    int64_t since_us;
    const char *since = json_text_at(hold, "since");
    if (since[0] == '\0' || clock_parse(since, &since_us, &ignored) < 0)
        return "";
    int64_t age_us = clock_real_us() - since_us;
    return duration_format_brief(age_us > 0 ? age_us : 0, text);
}

static const char *bytes_of(const json_t *hold, char text[SIZE_TEXT_MAX])
{
    return json_at(hold, "bytes") != NULL ? size_format(json_u64_at(hold, "bytes"), text) : "";
}

/* Of a snapshot the backup, of a log the task: who drops it. */
static const char *owner_text(const json_t *hold)
{
    return strcmp(json_text_at(hold, "kind"), "log") == 0 ? json_text_at(hold, "resource")
                                                          : json_text_at(hold, "backupId");
}

static const char *state_of(const json_t *hold, char text[STATE_MAX])
{
    const char *state = json_text_at(hold, "state");
    const char *resource = json_text_at(hold, "resource");
    const char *words = state, *rest = "";
    char until[24];
    if (strcmp(state, "inUse") == 0) {
        words = resource[0] != '\0' ? "in use by " : "in use";
        rest = resource;
    } else if (strcmp(state, "waiting") == 0) {
        words = json_text_at(hold, "backupId")[0] != '\0' ? "waits until "
                                                          : "no record of it, waits until ";
        (void)snprintf(until, sizeof(until), "%.19sZ",
                       json_text_at(hold, "until")); /* to the second */
        rest = until;
    } else if (strcmp(state, "dropping") == 0) {
        words = "being dropped";
    }
    (void)snprintf(text, STATE_MAX, "%s%s%s%s%s", words, rest,
                   json_is_true(json_at(hold, "atRisk")) ? ", failover at risk" : "",
                   json_is_true(json_at(hold, "lost")) ? ", lost" : "",
                   json_is_true(json_at(hold, "connected")) ? "" : ", node is lost");
    return text;
}

static int hold_row(struct text_table *t, const json_t *hold, struct tm_err *err)
{
    char age[CLOCK_TEXT_MAX], bytes[SIZE_TEXT_MAX], state[STATE_MAX];
    const char *const cells[] = {json_text_at(hold, "node"), json_text_at(hold, "tenant"),
                                 json_text_at(hold, "name"), owner_text(hold),
                                 age_of(hold, age),          bytes_of(hold, bytes),
                                 state_of(hold, state)};
    int result = 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(cells) && result == 0; n++)
        result = text_table_cell(t, err, "%s", cells[n]);
    return result;
}

static int print(struct ctl *c, const json_t *holds, struct tm_err *err)
{
    static const char *const heads[] = {"NODE", "TENANT", "NAME", "OWNER", "AGE", "BYTES", "STATE"};
    if (json_array_size(holds) == 0) {
        (void)fprintf(c->out, "no log is held anywhere\n");
        return 0;
    }
    struct text_table t;
    text_table_init(&t, heads, TM_ARRAY_LEN(heads));
    int result = 0;
    size_t at;
    const json_t *hold;
    json_array_foreach(holds, at, hold)
    {
        if (result == 0)
            result = hold_row(&t, hold, err);
    }
    if (result == 0)
        text_table_print(&t, c->out);
    text_table_release(&t);
    return result;
}

int holds_print(struct ctl *c, const json_t *nodes, bool json, struct tm_err *err)
{
    json_t *resources = NULL, *split = NULL, *holds = NULL;
    int result = client_list(c->client, CONTROL_LIST, "Backup", &resources, err);
    if (result == 0)
        result = tenants_split(resources, false, &split, err);
    if (result == 0)
        result = collect(nodes, split, &holds, err);
    if (result == 0 && json)
        result = items_print(c, holds, err);
    else if (result == 0)
        result = print(c, holds, err);
    json_decref(resources);
    json_decref(split);
    json_decref(holds);
    return result;
}
