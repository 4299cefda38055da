/*
 * What is asked, and how it is answered.
 *
 * Happy path of apply: all documents are parsed and checked before the first is fed to the brain;
 * then one after the other is fed, each when the one before was answered. One that is refused does
 * not keep the others back: every document has its own result in the reply.
 * Failure modes: a document that does not parse (nothing was changed), a kind or name that does not
 * exist, a peer without the right, a client that has gone (the answer is dropped, the change stays).
 */
#include <inttypes.h>

#include "coordinator/control/internal.h"
#include "proto/spec/status.h"

/* Between the parts of a page's cursor: below every character of a name, so that the order of
 * cursors is the order of (kind, namespace, name). */
#define CURSOR_SEPARATOR "\x1f"

void request_release(struct request *r)
{
    resource_list_release(&r->list);
    codec_arena_release(&r->arena);
    *r = (struct request){0};
}

static const char *outcome_text(enum brain_outcome outcome)
{
    switch (outcome) {
    case BRAIN_CREATED:
        return "created";
    case BRAIN_CONFIGURED:
        return "configured";
    case BRAIN_UNCHANGED:
        return "unchanged";
    case BRAIN_DELETED:
        return "deleted";
    case BRAIN_DELETING:
        return "deleting";
    case BRAIN_DONE:
        return "retried";
    }
    return "done";
}

/* ---- changes ---- */

static void reply_results(struct connection *c)
{
    struct request *r = &c->request;
    const char *warnings[CONTROL_WARNINGS_MAX];
    size_t count = TM_MIN(r->list.warnings.count, (size_t)CONTROL_WARNINGS_MAX);
    for (size_t n = 0; n < count; n++)
        warnings[n] = r->list.warnings.items[n];
    struct control_reply reply = {
        .version = CONTROL_PROTOCOL,
        .warnings = warnings,
        .warnings_count = count,
        .results = r->results,
        .results_count = r->result_count,
    };
    connection_reply(c, &reply);
}

void request_feed(struct connection *c, struct brain_event *event, const char *word,
                  const char *name)
{
    struct request *r = &c->request;
    r->cmd = ++c->control->last_cmd;
    r->word = word;
    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    event->kind = BRAIN_EV_COMMAND;
    event->command.cmd = r->cmd;
    c->control->config.feed(c->control->config.arg, event);
}

static void feed_next(struct connection *c)
{
    struct request *r = &c->request;
    struct resource *one = TM_TAKE(r->list.items[r->next]);
    r->next++;
    char name[WIRE_NAME_MAX + 1];
    (void)snprintf(name, sizeof(name), "%s", one->name);
    struct brain_event event = {.command = {.what = BRAIN_CMD_APPLY,
                                            .resource = one,
                                            .yaml = slice_of(one->document, one->document_len)}};
    request_feed(c, &event, resource_kind_word(one->kind), name);
}

void request_answer(struct connection *c, enum brain_outcome outcome, const struct tm_err *err)
{
    struct request *r = &c->request;
    struct control_result *one = &r->results[r->result_count++];
    struct tm_err oom;
    r->cmd = 0;
    (void)snprintf(one->kind, sizeof(one->kind), "%s", r->word);
    (void)snprintf(one->name, sizeof(one->name), "%s", r->name);
    if (err == NULL) {
        (void)snprintf(one->outcome, sizeof(one->outcome), "%s", outcome_text(outcome));
    } else if ((one->error = codec_arena_alloc(&r->arena, sizeof(*one->error), &oom)) != NULL) {
        *one->error = msg_error_of(err, NULL);
        one->error->text = codec_arena_text(&r->arena, err->msg, &oom);
    }
    /* Never fed from here: the brain is in the middle of a step when it answers. */
    if (r->next < r->list.count)
        r->feed_due = true;
    else
        reply_results(c);
}

void request_go_on(struct connection *c)
{
    while (c->request.feed_due) { /* each may be answered before feeding returns */
        c->request.feed_due = false;
        if (c->request.message.command == CONTROL_PROBE)
            probe_go_on(c);
        else
            feed_next(c);
    }
}

static int begin_apply(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    const char *source = r->message.source != NULL ? r->message.source : "<input>";
    int result = resource_parse(source, r->message.yaml, &r->list, err);
    if (result < 0)
        return result;
    if (r->list.count > CONTROL_RESULTS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%s: more than %d resources", source,
                          CONTROL_RESULTS_MAX);
    for (size_t n = 0; n < r->list.count; n++)
        if ((result = resource_check_apply(r->list.items[n], err)) < 0 ||
            (result = secret_check_apply(c->control, r->list.items[n], err)) < 0)
            return result;
    r->results = codec_arena_array(&r->arena, r->list.count, sizeof(*r->results), err);
    if (r->results == NULL)
        return -(int)err->code;
    if (r->message.dry_run)
        reply_results(c);
    else
        r->feed_due = true;
    request_go_on(c);
    return 0;
}

/*
 * The namespace meant: the one given; else "default" when the name is there; else the only one where
 * it is. Specs of the TiDB Operator bring namespaces along that nobody here wants to type.
 */
int request_namespace(struct connection *c, enum resource_kind kind, struct tm_err *err)
{
    struct control_request *message = &c->request.message;
    const struct brain *brain = c->control->config.brain(c->control->config.arg);
    const char *text = resource_kind_text(kind);
    struct brain_resource one;
    if (message->namespace_[0] != '\0')
        return 0;
    const char *found = RESOURCE_NAMESPACE;
    if (!brain_resource_find(brain, text, RESOURCE_NAMESPACE, message->name, &one)) {
        size_t count = 0;
        size_t cursor = 0;
        while (brain_resource_next(brain, &cursor, &one)) {
            if (one.spec->kind != kind || strcmp(one.spec->name, message->name) != 0)
                continue;
            found = one.spec->namespace_;
            count++;
        }
        if (count > 1)
            return tm_err_set(err, TM_E_INVALID,
                              "%s/%s is there in %zu namespaces; choose one with --namespace",
                              resource_kind_word(kind), message->name, count);
    }
    (void)snprintf(message->namespace_, sizeof(message->namespace_), "%s", found);
    return 0;
}

/* Agents are told a moment in its one form. */
static int check_query(struct request *r, struct tm_err *err)
{
    struct msg_log_query *query = r->message.query;
    struct moment moment;
    char text[MOMENT_TEXT_MAX];
    if (query == NULL)
        return tm_err_set(err, TM_E_INVALID, "query: what is asked is missing");
    if (query->kind != LOG_QUERY_SEARCH && query->kind != LOG_QUERY_TRUNCATE)
        return tm_err_set(err, TM_E_UNSUPPORTED, "query %u is not known to this coordinator",
                          query->kind);
    if (query->kind != LOG_QUERY_TRUNCATE)
        return 0;
    int result = moment_parse(query->until != NULL ? query->until : "", &moment, err);
    if (result < 0)
        return result;
    query->until = codec_arena_text(&r->arena, moment_text(&moment, text), err);
    return query->until != NULL ? 0 : -(int)err->code;
}

static int begin_change(struct connection *c, enum brain_command what, struct tm_err *err)
{
    struct request *r = &c->request;
    enum resource_kind kind;
    int result = resource_kind_parse(r->message.kind, &kind, err);
    if (result < 0)
        return result;
    if (r->message.name[0] == '\0')
        return tm_err_set(err, TM_E_INVALID, "%s: a name is missing", r->message.kind);
    if ((result = request_namespace(c, kind, err)) < 0)
        return result;
    r->results = codec_arena_array(&r->arena, 1, sizeof(*r->results), err);
    if (r->results == NULL)
        return -(int)err->code;
    struct brain_event event = {.command = {.what = what,
                                            .kind = resource_kind_text(kind),
                                            .namespace_ = r->message.namespace_,
                                            .name = r->message.name,
                                            .query = r->message.query,
                                            .tenant = r->message.tenant,
                                            .has_grace = r->message.has_grace,
                                            .grace_ms = r->message.grace_ms}};
    request_feed(c, &event, resource_kind_word(kind), r->message.name);
    return 0;
}

/* An agent answers, later: request_answer_log. */
static int begin_query(struct connection *c, struct tm_err *err)
{
    int result = check_query(&c->request, err);
    return result < 0 ? result : begin_change(c, BRAIN_CMD_QUERY, err);
}

/* ---- reads ---- */

struct page {
    struct codec_arena *arena;
    struct control_item items[CONTROL_PAGE_ITEMS];
    size_t count;
    size_t bytes;
    char after[CONTROL_AFTER_MAX + 1]; /* cursor of the last item, when there is more */
};

static int page_add(struct page *p, const struct buf *json, struct tm_err *err)
{
    char *text = codec_arena_alloc(p->arena, json->len + 1, err);
    if (text == NULL)
        return -(int)err->code;
    memcpy(text, json->data, json->len);
    p->items[p->count++].json = text;
    p->bytes += json->len;
    return 0;
}

static bool page_full(const struct page *p)
{
    return p->count == CONTROL_PAGE_ITEMS || p->bytes >= CONTROL_PAGE_BYTES;
}

static void page_reply(struct connection *c, struct page *p)
{
    struct control_reply reply = {
        .version = CONTROL_PROTOCOL, .items = p->items, .items_count = p->count};
    memcpy(reply.after, p->after, sizeof(reply.after));
    connection_reply(c, &reply);
}

static int add_resource(struct page *p, const struct brain_resource *one, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
    struct resource_meta meta = {.uid = one->uid,
                                 .created_us = one->created_us,
                                 .generation = one->generation,
                                 .deleting = one->deleting};
    int result = resource_json(one->spec, one->status, &meta, &json, err);
    return result < 0 ? result : page_add(p, &json, err);
}

static void cursor_of(const struct brain_resource *one, char text[CONTROL_AFTER_MAX + 1])
{
    (void)snprintf(text, CONTROL_AFTER_MAX + 1, "%s" CURSOR_SEPARATOR "%s" CURSOR_SEPARATOR "%s",
                   resource_kind_text(one->spec->kind), one->spec->namespace_, one->spec->name);
}

/* Behind the last item of the page before, so that none is made out that is not shown; or at the kind's first. */
static size_t list_begin(const struct brain *brain, const char *after, enum resource_kind kind)
{
    char text[CONTROL_AFTER_MAX + 1];
    char *rest = text;
    (void)snprintf(text, sizeof(text), "%s", after);
    if (after[0] == '\0')
        return kind == RESOURCE_NONE
                   ? 0
                   : brain_resource_after(brain, resource_kind_text(kind), "", "");
    const char *kind_text = strsep(&rest, CURSOR_SEPARATOR);
    const char *namespace_ = rest != NULL ? strsep(&rest, CURSOR_SEPARATOR) : "";
    return brain_resource_after(brain, kind_text, namespace_, rest != NULL ? rest : "");
}

static int begin_list(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    const struct brain *brain = c->control->config.brain(c->control->config.arg);
    enum resource_kind kind = RESOURCE_NONE;
    int result = 0;
    if (r->message.kind[0] != '\0' &&
        (result = resource_kind_parse(r->message.kind, &kind, err)) < 0)
        return result;
    struct page p = {.arena = &r->arena};
    size_t cursor = list_begin(brain, r->message.after, kind);
    struct brain_resource one;
    char last[CONTROL_AFTER_MAX + 1] = "";
    while (brain_resource_next(brain, &cursor, &one)) {
        if (kind != RESOURCE_NONE && one.spec->kind != kind)
            break; /* they come kind by kind */
        if (page_full(&p)) {
            memcpy(p.after, last, sizeof(p.after));
            break;
        }
        if ((result = add_resource(&p, &one, err)) < 0)
            return result;
        cursor_of(&one, last);
    }
    page_reply(c, &p);
    return 0;
}

static int begin_get(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    const struct brain *brain = c->control->config.brain(c->control->config.arg);
    enum resource_kind kind;
    int result = resource_kind_parse(r->message.kind, &kind, err);
    if (result < 0)
        return result;
    if ((result = request_namespace(c, kind, err)) < 0)
        return result;
    struct brain_resource one;
    if (!brain_resource_find(brain, resource_kind_text(kind), r->message.namespace_,
                             r->message.name, &one))
        return tm_err_set(err, TM_E_NOT_FOUND, "%s/%s: not found", resource_kind_word(kind),
                          r->message.name);
    struct page p = {.arena = &r->arena};
    if ((result = add_resource(&p, &one, err)) < 0)
        return result;
    page_reply(c, &p);
    return 0;
}

static int begin_nodes(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    const struct brain *brain = c->control->config.brain(c->control->config.arg);
    struct page p = {.arena = &r->arena};
    size_t cursor = 0;
    struct brain_node one;
    char last[CONTROL_AFTER_MAX + 1] = "";
    while (brain_node_next(brain, &cursor, &one)) {
        char here[CONTROL_AFTER_MAX + 1];
        (void)snprintf(here, sizeof(here), "%s" CURSOR_SEPARATOR "%s", one.cluster, one.node);
        if (strcmp(here, r->message.after) <= 0)
            continue;
        if (page_full(&p)) {
            memcpy(p.after, last, sizeof(p.after));
            break;
        }
        TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
        int result = render_node(&one, &json, err);
        if (result < 0 || (result = page_add(&p, &json, err)) < 0)
            return result;
        memcpy(last, here, sizeof(last));
    }
    page_reply(c, &p);
    return 0;
}

void request_answer_log(struct connection *c, const struct msg_log_answer *answer,
                        const char *cluster, const char *tenant)
{
    struct page p = {.arena = &c->request.arena};
    TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
    struct tm_err err;
    c->request.cmd = 0;
    if (render_log_answer(answer, cluster, tenant, &json, &err) < 0 ||
        page_add(&p, &json, &err) < 0)
        connection_error(c, &err, false);
    else
        page_reply(c, &p);
}

static int begin_version(struct connection *c, struct tm_err *err)
{
    const struct control *control = c->control;
    struct page p = {.arena = &c->request.arena};
    TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
    int result = render_version(control->config.version, control->config.brain(control->config.arg),
                                &json, err);
    if (result < 0 || (result = page_add(&p, &json, err)) < 0)
        return result;
    page_reply(c, &p);
    return 0;
}

/* ---- all ---- */

static int begin(struct connection *c, struct tm_err *err)
{
    switch ((enum control_command)c->request.message.command) {
    case CONTROL_APPLY:
        return begin_apply(c, err);
    case CONTROL_LIST:
        return begin_list(c, err);
    case CONTROL_GET:
        return begin_get(c, err);
    case CONTROL_DELETE:
        return begin_change(c, BRAIN_CMD_DELETE, err);
    case CONTROL_RETRY:
        return begin_change(c, BRAIN_CMD_RETRY, err);
    case CONTROL_NODES:
        return begin_nodes(c, err);
    case CONTROL_QUERY:
        return begin_query(c, err);
    case CONTROL_VERSION:
        return begin_version(c, err);
    case CONTROL_PROBE:
        return probe_begin(c, err);
    case CONTROL_REBUILD:
        return rebuild_begin(c, err);
    case CONTROL_CONFIRM:
        return rebuild_confirm_begin(c, err);
    case CONTROL_SECRET_PUT:
        return secret_begin_put(c, err);
    case CONTROL_SECRETS:
        return secret_begin_list(c, err);
    case CONTROL_SECRET_DELETE:
        return secret_begin_delete(c, err);
    }
    return tm_err_set(err, TM_E_UNSUPPORTED, "command %u is not known to this coordinator",
                      c->request.message.command);
}

void request_begin(struct connection *c, struct slice frame)
{
    struct request *r = &c->request;
    struct tm_err err;
    r->arena.wipe = true; /* it may bring a secret */
    if (codec_decode(&control_request_codec, frame, &r->arena, &r->message, &err) < 0) {
        connection_error(c, &err, true);
        return;
    }
    if (r->message.version != CONTROL_PROTOCOL) {
        (void)tm_err_set(&err, TM_E_UNSUPPORTED,
                         "this coordinator speaks version %d of the control protocol, not %u; use "
                         "the tidemark command of its release",
                         CONTROL_PROTOCOL, r->message.version);
        connection_error(c, &err, true);
        return;
    }
    if (control_authorise(&c->peer, r->message.command, c->control->own_uid, c->control->socket_gid,
                          &err) < 0 ||
        begin(c, &err) < 0)
        connection_error(c, &err, false);
}
