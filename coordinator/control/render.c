/* Nodes, and answers about stored log, as JSON. Can fail only for lack of memory. */
#include <jansson.h>

#include "common/clock.h"
#include "coordinator/control/internal.h"
#include "proto/format/events.h"

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

/* Of its bytes nothing is said when its source could not be asked. */
static json_t *render_hold(const struct msg_hold *hold)
{
    static const char *const states[] = {
        [HOLD_IN_USE] = "inUse", [HOLD_WAITING] = "waiting", [HOLD_DROPPING] = "dropping"};
    char since[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX];
    const char *state = hold->state < TM_ARRAY_LEN(states) ? states[hold->state] : NULL;
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "tenant", hold->tenant, "name", hold->name,
                  "backupId", hold->backup_id, "state", state != NULL ? state : "unknown", "since",
                  clock_format(hold->since_us, since));
    if (json != NULL && hold->until_us != 0)
        (void)json_object_set_new(json, "until", json_string(clock_format(hold->until_us, until)));
    if (json != NULL && hold->seen) {
        (void)json_object_set_new(json, "bytes", json_integer((json_int_t)hold->bytes));
        (void)json_object_set_new(json, "lost", json_boolean(hold->lost));
    }
    return json;
}

/* Takes json over. */
static int put_json(json_t *json, struct buf *out, struct tm_err *err)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    int result = text == NULL ? tm_err_oom(err) : buf_append(out, text, strlen(text), err);
    free(text);
    return result;
}

int render_node(const struct brain_node *node, struct buf *out, struct tm_err *err)
{
    json_t *instances = json_array();
    json_t *holds = json_array();
    int bad = 0;
    for (size_t n = 0; n < node->instance_count; n++)
        bad |= json_array_append_new(instances, render_instance(&node->instances[n]));
    for (size_t n = 0; n < node->hold_count; n++)
        bad |= json_array_append_new(holds, render_hold(&node->holds[n]));
    if (bad != 0 || instances == NULL || holds == NULL) {
        json_decref(instances);
        json_decref(holds);
        return tm_err_oom(err);
    }
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:o, s:o}", "cluster", node->cluster, "node",
        node->node, "boot", text_or_empty(node->boot), "version", text_or_empty(node->version),
        "connected", (int)node->connected, "silentMs", (json_int_t)(node->silent_us / 1000), "jobs",
        (json_int_t)node->job_count, "instances", instances, "holds", holds);
    return put_json(json, out, err);
}

int render_version(const char *version, const struct brain *brain, struct buf *out,
                   struct tm_err *err)
{
    char since[CLOCK_TEXT_MAX];
    struct brain_doubt doubt;
    json_t *json =
        json_pack("{s:s, s:I}", "version", version, "term", (json_int_t)brain_term(brain));
    if (json != NULL && brain_in_doubt(brain, &doubt)) {
        json_t *rebuild = json_pack("{s:s, s:b}", "since", clock_format(doubt.since_us, since),
                                    "noticed", (int)doubt.noticed);
        if (rebuild != NULL && doubt.noticed) {
            (void)json_object_set_new(rebuild, "hadTerm", json_integer((json_int_t)doubt.had_term));
            (void)json_object_set_new(rebuild, "seenTerm",
                                      json_integer((json_int_t)doubt.seen_term));
        }
        if (json_object_set_new(json, "rebuild", rebuild) < 0) {
            json_decref(json);
            json = NULL;
        }
    }
    return put_json(json, out, err);
}

int render_rebuilt(const struct brain_rebuilt *rebuilt, struct buf *out, struct tm_err *err)
{
    const struct {
        const char *name;
        uint64_t count;
        const char *first;
    } counts[] = {{"complete", rebuilt->complete, NULL},
                  {"logs", rebuilt->logs, NULL},
                  {"failed", rebuilt->failed, NULL},
                  {"running", rebuilt->running, NULL},
                  {"deleting", rebuilt->deleting, NULL},
                  {"known", rebuilt->known, NULL},
                  {"retained", rebuilt->retained, NULL},
                  {"missing", rebuilt->missing, NULL},
                  {"leftovers", rebuilt->leftovers, rebuilt->first_leftover},
                  {"damaged", rebuilt->damaged, rebuilt->first_damaged},
                  {"conflicts", rebuilt->conflicts, rebuilt->first_conflict},
                  {"otherClusters", rebuilt->others, rebuilt->first_other},
                  {"absent", rebuilt->absent, rebuilt->first_absent},
                  {"unreadable", rebuilt->unread, rebuilt->first_unread},
                  {"elsewhere", rebuilt->elsewhere, rebuilt->first_elsewhere}};
    json_t *names = json_array();
    json_t *firsts = json_object();
    for (size_t n = 0; n < rebuilt->name_count; n++)
        (void)json_array_append_new(names, json_string(rebuilt->names[n]));
    json_t *json = json_pack("{s:s, s:o, s:o}", "storage", rebuilt->storage, "restored", names,
                             "firsts", firsts);
    for (size_t n = 0; json != NULL && n < TM_ARRAY_LEN(counts); n++) {
        (void)json_object_set_new(json, counts[n].name, json_integer((json_int_t)counts[n].count));
        if (counts[n].count > 0 && counts[n].first != NULL)
            (void)json_object_set_new(firsts, counts[n].name, json_string(counts[n].first));
    }
    return put_json(json, out, err);
}

/* ---- answers ---- */

/* The same members as `tidemark-agent search -o json` prints. */
static json_t *render_event(const struct msg_log_event *e, const char *cluster, const char *tenant)
{
    char time[CLOCK_TEXT_MAX], xid[24];
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "cluster", cluster, "tenant", tenant,
                  "kind", event_kind_text(e->kind), "time", clock_format(e->time_us, time),
                  "position", e->position, "lineage", e->lineage, "lineageLabel", e->label);
    if (o != NULL && e->xid != 0) {
        /* a string: programs keep numbers of 64 bits badly */
        (void)snprintf(xid, sizeof(xid), "%llu", (unsigned long long)e->xid);
        (void)json_object_set_new(o, "xid", json_string(xid));
    }
    if (o != NULL && e->name != NULL && e->name[0] != '\0')
        (void)json_object_set_new(o, "name", json_string(e->name));
    return o;
}

int render_log_answer(const struct msg_log_answer *answer, const char *cluster, const char *tenant,
                      struct buf *out, struct tm_err *err)
{
    char time[CLOCK_TEXT_MAX];
    json_t *events = json_array();
    for (size_t n = 0; events != NULL && n < answer->events_count; n++)
        if (json_array_append_new(events, render_event(&answer->events[n], cluster, tenant)) < 0) {
            json_decref(events);
            return tm_err_oom(err);
        }
    json_t *json = json_pack(
        "{s:o, s:b, s:{s:I, s:I, s:s, s:s}}", "events", events, "more", (int)answer->more,
        "truncate", "chunks", (json_int_t)answer->chunks, "bytes", (json_int_t)answer->bytes,
        "until", answer->truncated_us != 0 ? clock_format(answer->truncated_us, time) : "",
        "position", answer->truncated_position);
    if (json != NULL && answer->warning != NULL && answer->warning[0] != '\0')
        (void)json_object_set_new(json, "warning", json_string(answer->warning));
    return put_json(json, out, err);
}
