/*
 * tidemark log search, and truncate --dry-run: questions that the coordinator has an agent answer. What is
 * printed is what `tidemark-agent search` prints.
 * Failure modes: those of the command; no agent there; none that answers in time.
 */
#include "common/size.h"
#include "coordinator/ctl/command.h"
#include "proto/spec/spec.h"

#define KIND "Backup"
#define WORD "backup"

int log_time(const struct option_value *value, int64_t *ret_us, struct tm_err *err)
{
    struct moment moment;
    if (!value->given)
        return 0;
    if (moment_parse(value->text, &moment, err) < 0)
        return -(int)err->code;
    if (moment.is_position)
        return tm_err_set(err, TM_E_INVALID, "'%s' is a position, not a time", value->text);
    *ret_us = moment.time_us;
    return 0;
}

static int ask(struct ctl *c, const struct log_task *task, struct msg_log_query *query,
               json_t **ret, struct tm_err *err)
{
    int result = ctl_connect(c, err);
    return result < 0 ? result
                      : client_query(c->client, KIND, task->namespace_, task->name, task->tenant,
                                     query, ret, err);
}

static const char *text_or_dash(const json_t *event, const char *key)
{
    const char *text = json_text_at(event, key);
    return text[0] != '\0' ? text : "-";
}

static void print_events(struct ctl *c, const json_t *events)
{
    size_t at;
    const json_t *e;
    if (json_array_size(events) == 0)
        (void)fprintf(c->out, "no events\n");
    json_array_foreach(events, at, e)
    {
        if (at == 0)
            (void)fprintf(c->out, "%-27s %-8s %-18s %-20s %-32s %s\n", "TIME", "KIND", "POSITION",
                          "XID", "LINEAGE", "NAME");
        (void)fprintf(c->out, "%-27s %-8s %-18s %-20s %-32s %s\n", json_text_at(e, "time"),
                      json_text_at(e, "kind"), json_text_at(e, "position"), text_or_dash(e, "xid"),
                      json_text_at(e, "lineage"), text_or_dash(e, "name"));
    }
}

int log_search(struct ctl *c, const struct log_task *task, struct msg_log_query *query, bool json,
               struct tm_err *err)
{
    json_t *found;
    int result = ask(c, task, query, &found, err);
    if (result < 0)
        return result;
    const json_t *events = json_at(found, "events");
    (void)json_object_del(found, "truncate");
    if (json)
        result = json_print(c, found, err);
    else
        print_events(c, events);
    if (!json && json_is_true(json_at(found, "more")))
        (void)fprintf(c->err, "tidemark: log: search: there are more than %zu, see --limit\n",
                      json_array_size(events));
    const char *warning = json_text_at(found, "warning");
    if (result == 0 && warning[0] != '\0') /* all is shown that could be read */
        result = tm_err_set(err, TM_E_CORRUPT, WORD "/%s: search: %s", task->name, warning);
    json_decref(found);
    return result;
}

int log_truncate_try(struct ctl *c, const struct log_task *task, const char *until, bool force,
                     struct tm_err *err)
{
    struct msg_log_query query = {.kind = LOG_QUERY_TRUNCATE, .until = until, .force = force};
    json_t *found;
    char size[SIZE_TEXT_MAX];
    int result = ask(c, task, &query, &found, err);
    if (result < 0)
        return result;
    uint64_t chunks = json_u64_at(found, "truncate.chunks");
    (void)fprintf(c->out, WORD "/%s: truncating would remove %llu chunk%s, %s", task->name,
                  (unsigned long long)chunks, chunks == 1 ? "" : "s",
                  size_format(json_u64_at(found, "truncate.bytes"), size));
    const char *time = json_text_at(found, "truncate.until");
    const char *position = json_text_at(found, "truncate.position");
    if (time[0] != '\0')
        (void)fprintf(c->out, "; until %s", time);
    if (position[0] != '\0')
        (void)fprintf(c->out, "; what begins at %s stays", position);
    const char *warning = json_text_at(found, "warning");
    if (warning[0] != '\0')
        (void)fprintf(c->out, "; %s", warning);
    (void)fprintf(c->out, "\n");
    json_decref(found);
    return 0;
}
