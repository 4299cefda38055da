/*
 * What a storage holds, at the control socket: the one document of a YAML text is a Backup in that storage,
 * which says how it is reached; and the confirmation that the list is complete.
 * Failure modes: what does not parse, or is no Backup, is the reply's error; so is what the brain says.
 */
#include "coordinator/control/internal.h"

int rebuild_begin(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    const char *source = r->message.source != NULL ? r->message.source : "<input>";
    int result = resource_parse(source, r->message.yaml, &r->list, err);
    if (result < 0)
        return result;
    if (r->list.count != 1 || r->list.items[0]->kind != RESOURCE_BACKUP)
        return tm_err_set(err, TM_E_INVALID, "%s: one Backup is wanted, as a pattern", source);
    if ((result = secret_check_apply(c->control, r->list.items[0], err)) < 0)
        return result;
    r->next = 1;
    struct brain_event event = {.command = {.what = BRAIN_CMD_REBUILD,
                                            .resource = TM_TAKE(r->list.items[0]),
                                            .cluster = r->message.cluster,
                                            .force = r->message.force}};
    request_feed(c, &event, "rebuild", "");
    return 0;
}

int rebuild_confirm_begin(struct connection *c, struct tm_err *err)
{
    struct brain_event event = {
        .command = {.what = BRAIN_CMD_CONFIRM, .force = c->request.message.force}};
    (void)err;
    request_feed(c, &event, "rebuild", "");
    return 0;
}

void rebuild_answer(struct connection *c, const struct brain_rebuilt *rebuilt)
{
    TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
    struct tm_err err;
    struct control_item item;
    struct control_reply reply = {.version = CONTROL_PROTOCOL, .items = &item, .items_count = 1};
    c->request.cmd = 0;
    if (render_rebuilt(rebuilt, &json, &err) < 0 || buf_append(&json, "", 1, &err) < 0) {
        connection_error(c, &err, false);
        return;
    }
    item.json = (const char *)json.data;
    connection_reply(c, &reply);
}

void rebuild_confirmed(struct connection *c)
{
    const struct control_reply reply = {.version = CONTROL_PROTOCOL};
    c->request.cmd = 0;
    connection_reply(c, &reply);
}
