/*
 * Storage tests at the control socket: of the documents of a YAML text, one a request, or of a resource
 * that is there.
 *
 * Happy path: the documents are parsed and checked → the one whose turn it is goes to the brain → its
 * answer becomes one item, `after` tells the client that there are more. Those that need no test are
 * passed over.
 * Failure modes: what does not parse, or names neither storage nor cluster, is the reply's error.
 */
#include "coordinator/control/internal.h"

#include <jansson.h>

#include "common/parse.h"

static int take_turn(struct request *r, struct tm_err *err)
{
    uint64_t turn = 0;
    const char *source = r->message.source != NULL ? r->message.source : "<input>";
    int result = r->message.after[0] != '\0'
                     ? parse_u64_in(r->message.after, 0, CONTROL_RESULTS_MAX, &turn, err)
                     : 0;
    if (result == 0)
        result = resource_parse(source, r->message.yaml, &r->list, err);
    if (result == 0 && turn >= r->list.count)
        result = tm_err_set(err, TM_E_INVALID, "%s has %zu documents", source, r->list.count);
    r->next = (size_t)turn;
    return result;
}

static void feed_probe(struct connection *c, struct brain_event *event, const char *word,
                       const char *name)
{
    const struct control_request *m = &c->request.message;
    event->command.what = BRAIN_CMD_PROBE;
    event->command.probe.cluster = m->cluster;
    event->command.probe.timeout_ms = m->timeout_ms;
    event->command.probe.new_logs = m->new_logs;
    request_feed(c, event, word, name);
}

/* The document whose turn it is. */
void probe_go_on(struct connection *c)
{
    struct request *r = &c->request;
    struct resource *one = TM_TAKE(r->list.items[r->next]);
    r->next++;
    char name[WIRE_NAME_MAX + 1];
    (void)snprintf(name, sizeof(name), "%s", one->name);
    struct brain_event event = {.command = {.resource = one}};
    feed_probe(c, &event, resource_kind_word(one->kind), name);
}

static int begin_document(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    int result = take_turn(r, err);
    /* in the words of the apply that is to follow */
    for (size_t n = 0; result == 0 && r->message.new_logs && n < r->list.count; n++)
        if ((result = resource_check_apply(r->list.items[n], err)) == 0)
            result = secret_check_apply(c->control, r->list.items[n], err);
    if (result < 0)
        return result;
    r->feed_due = true;
    request_go_on(c);
    return 0;
}

int probe_begin(struct connection *c, struct tm_err *err)
{
    struct control_request *m = &c->request.message;
    enum resource_kind kind;
    if (m->yaml.len > 0)
        return begin_document(c, err);
    int result = resource_kind_parse(m->kind, &kind, err);
    if (result == 0 && m->name[0] == '\0')
        result = tm_err_set(err, TM_E_INVALID, "%s: a name is missing", m->kind);
    if (result < 0 || (result = request_namespace(c, kind, err)) < 0)
        return result;
    struct brain_event event = {.command = {.kind = resource_kind_text(kind),
                                            .namespace_ = m->namespace_,
                                            .name = m->name}};
    feed_probe(c, &event, resource_kind_word(kind), m->name);
    return 0;
}

void probe_answer(struct connection *c, const struct brain_probe *probe)
{
    struct request *r = &c->request;
    TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
    struct tm_err err;
    struct control_item item;
    struct control_reply reply = {.version = CONTROL_PROTOCOL, .items = &item};
    r->cmd = 0;
    if (probe->old && r->next < r->list.count) {
        r->feed_due = true; /* from the loop: the brain is in the middle of a step */
        return;
    }
    if (!probe->old) {
        if (render_probe(probe, &json, &err) < 0 || buf_append(&json, "", 1, &err) < 0) {
            connection_error(c, &err, false);
            return;
        }
        item.json = (const char *)json.data;
        reply.items_count = 1;
    }
    if (r->next < r->list.count)
        (void)snprintf(reply.after, sizeof(reply.after), "%zu", r->next);
    connection_reply(c, &reply);
}
