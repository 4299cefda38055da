/*
 * Storage tests: every agent of a cluster is asked whether it gets into a storage, at once. The
 * coordinator never opens storage.
 *
 * Happy path: a command asks → the question is in the desired set of every agent of the cluster that is
 * there until its heartbeat brings the answer → when the last one has answered, the command is answered
 * with all of them.
 *
 * Failure modes: an agent that goes away, or has not answered at the deadline, is named as such; so are
 * nodes of the cluster that are known and not connected. Nothing of this is durable: a question dies
 * with the coordinator, as its connection does. Whoever asked may have gone: then the answer has no
 * reader.
 *
 * Nodes that are to share a mounted directory tell whose tokens they found in it. Of two that share
 * one, one at least saw the other; who is not joined to everybody that way stands apart.
 */
#include "coordinator/brain/internal.h"

#define GRACE_US       UINT64_C(3000000) /* an agent gives up by itself before that is over */
#define TIMEOUT_MS     30000
#define TIMEOUT_MS_MAX 600000

struct asked {
    char node[WIRE_NAME_MAX + 1];
    bool there; /* it was asked */
    bool away;  /* and is not there any more */
    bool answered;
    struct msg_probe_answer answer;
    struct codec_arena arena;
    size_t group; /* of nodes that share a directory; SIZE_MAX = not to be said */
};

struct probe_ask {
    uint64_t cmd;
    uint64_t until_us;
    char kind[32];
    char name[WIRE_NAME_MAX + 1];
    char cluster[WIRE_NAME_MAX + 1];
    char secret[WIRE_NAME_MAX + 1];
    char storage[WIRE_URL_MAX + 1];
    struct msg_probe want;
    struct asked *nodes; /* sorted by name */
    size_t count;
};

static void ask_free(struct probe_ask *ask)
{
    for (size_t at = 0; at < ask->count; at++)
        codec_arena_release(&ask->nodes[at].arena);
    free(ask->nodes);
    free(ask);
}

void probes_free(struct brain *b)
{
    for (size_t at = 0; at < b->probe_count; at++)
        ask_free(b->probes[at]);
    b->probe_count = 0;
}

/* ---- asking ---- */

/* A restore may leave where it is to the Backup that it names. */
static void complete(const struct brain *b, struct view_place *place)
{
    struct view_place from_place;
    if (place->backup_name[0] == '\0')
        return;
    const struct res *from = store_find(b, "Backup", place->namespace_, place->backup_name);
    if (from == NULL || from->spec == NULL)
        return;
    view_place_of(from->spec, &from_place);
    if (place->cluster[0] == '\0')
        place->cluster = from_place.cluster;
    if (place->storage[0] != '\0')
        return;
    place->storage = from_place.storage;
    place->secret = place->own_credentials ? "" : from_place.secret;
}

static int fill_nodes(struct brain *b, struct probe_ask *ask, struct tm_err *err)
{
    ask->nodes = calloc(b->node_count + 1, sizeof(*ask->nodes));
    if (ask->nodes == NULL)
        return tm_err_oom(err);
    for (size_t at = 0; at < b->node_count; at++) {
        struct node *node = b->nodes[at];
        if (strcmp(node->cluster, ask->cluster) != 0)
            continue;
        struct asked *one = &ask->nodes[ask->count++];
        COPY_TEXT(one->node, node->name);
        one->there = lead_usable(node);
        ask->want.nodes += one->there;
        if (one->there)
            desired_node_changed(b, node);
    }
    if (ask->want.nodes > WIRE_PROBE_NODES)
        ask->want.nodes = 0; /* they could not tell of each other: they do not look */
    return 0;
}

static int check(const struct brain *b, const struct view_place *place, struct tm_err *err)
{
    if (place->storage[0] == '\0')
        return tm_err_set(err, TM_E_INVALID, "%s/%s names no storage that could be tested",
                          place->kind_text, place->name);
    if (place->cluster[0] == '\0')
        return tm_err_set(err, TM_E_INVALID,
                          "%s/%s names no cluster whose nodes could test its storage: choose one "
                          "with --cluster",
                          place->kind_text, place->name);
    if (strlen(place->storage) > WIRE_URL_MAX || strlen(place->cluster) > WIRE_NAME_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%s/%s: its storage URL or cluster is too long",
                          place->kind_text, place->name);
    if (b->probe_count == BRAIN_PROBES_MAX)
        return tm_err_retry(err, TM_E_CONFLICT, "%d storage tests are under way, try again",
                            BRAIN_PROBES_MAX);
    return 0;
}

static int begin(struct brain *b, struct view_place *place, const struct brain_event *event,
                 struct tm_err *err)
{
    uint32_t timeout_ms = event->command.probe.timeout_ms;
    complete(b, place);
    if (event->command.probe.cluster != NULL && event->command.probe.cluster[0] != '\0')
        place->cluster = event->command.probe.cluster;
    int r = check(b, place, err);
    if (r < 0)
        return r;
    struct probe_ask *ask = calloc(1, sizeof(*ask));
    if (ask == NULL)
        return tm_err_oom(err);
    timeout_ms = timeout_ms == 0 ? TIMEOUT_MS : TM_MIN(timeout_ms, (uint32_t)TIMEOUT_MS_MAX);
    ask->cmd = event->command.cmd;
    ask->until_us = b->now.mono_us + brain_ms(timeout_ms) + GRACE_US;
    COPY_TEXT(ask->kind, place->kind_text);
    COPY_TEXT(ask->name, place->name);
    COPY_TEXT(ask->cluster, place->cluster);
    COPY_TEXT(ask->secret, place->secret);
    COPY_TEXT(ask->storage, place->storage);
    ask->want.storage = ask->storage;
    ask->want.timeout_ms = timeout_ms;
    do
        ask->want.id = b->rng.next(b->rng.arg);
    while (ask->want.id == 0);
    if ((r = fill_nodes(b, ask, err)) < 0) {
        ask_free(ask);
        return r;
    }
    b->probes[b->probe_count++] = ask; /* without anybody to ask it is answered in this step */
    return 0;
}

static void answer_old(struct brain *b, const struct brain_event *event)
{
    struct brain_probe *none = brain_step_alloc(b, sizeof(*none));
    struct brain_action *action = brain_emit(b, BRAIN_ACT_ANSWER);
    action->answer.cmd = event->command.cmd;
    action->answer.outcome = BRAIN_DONE;
    action->answer.probe = none;
    if (none != NULL)
        none->old = true;
}

int probe_ask(struct brain *b, const struct brain_event *event, struct tm_err *err)
{
    TM_CLEANUP(view_freep) struct resource *spec = event->command.resource;
    struct view_place place;
    const char *namespace_ = event->command.namespace_;
    if (spec != NULL) {
        view_place_of(spec, &place);
        bool is_new =
            store_find(b, place.kind_text, place.namespace_, place.name) == NULL && place.stores_on;
        if (is_new || !event->command.probe.new_logs)
            return begin(b, &place, event, err);
        answer_old(b, event);
        return 0;
    }
    if (namespace_ == NULL || namespace_[0] == '\0')
        namespace_ = "default";
    const struct res *res = store_find(b, event->command.kind, namespace_, event->command.name);
    if (res == NULL || res->spec == NULL)
        return tm_err_set(err, TM_E_NOT_FOUND, "%s/%s: not found", event->command.kind,
                          event->command.name);
    view_place_of(res->spec, &place);
    return begin(b, &place, event, err);
}

static struct asked *find(struct probe_ask *ask, const struct node *node)
{
    for (size_t at = 0; at < ask->count; at++) {
        if (strcmp(ask->nodes[at].node, node->name) == 0)
            return strcmp(ask->cluster, node->cluster) == 0 ? &ask->nodes[at] : NULL;
    }
    return NULL;
}

void probes_assign(struct brain *b, const struct node *node, struct msg_desired *to)
{
    struct msg_probe *probes = brain_step_alloc(b, BRAIN_PROBES_MAX * sizeof(*probes));
    if (probes == NULL)
        return;
    for (size_t at = 0; at < b->probe_count; at++) {
        const struct asked *one = find(b->probes[at], node);
        if (one == NULL || !one->there || one->answered || one->away)
            continue;
        struct msg_probe *out = &probes[to->probes_count++];
        *out = b->probes[at]->want;
        out->secret = desired_secret_named(b, b->probes[at]->secret);
    }
    to->probes = probes;
}

/* ---- answering ---- */

void probes_heard(struct brain *b, struct node *node, const struct msg_heartbeat *heartbeat)
{
    for (size_t n = 0; n < heartbeat->probes_count; n++) {
        const struct msg_probe_answer *answer = &heartbeat->probes[n];
        for (size_t at = 0; at < b->probe_count; at++) {
            struct asked *one =
                b->probes[at]->want.id == answer->id ? find(b->probes[at], node) : NULL;
            if (one == NULL || !one->there || one->answered)
                continue;
            brain_check(
                b, codec_copy(&msg_probe_answer_codec, answer, &one->arena, &one->answer, b->err));
            one->answered = !b->failed;
            desired_node_changed(b, node);
        }
    }
}

static bool step_failed(const struct msg_probe_answer *answer, struct brain_probe_node *to)
{
    for (size_t at = 0; at < answer->steps_count; at++) {
        const struct msg_probe_step *one = &answer->steps[at];
        if (one->outcome == PROBE_FAILED) {
            to->error = one->error;
            return true;
        }
    }
    return false;
}

/* It has written into a mounted directory, and so would have been seen there. */
static bool left_token(const struct asked *one)
{
    if (!one->answered || one->answer.mount == NULL || one->answer.error != NULL)
        return false;
    for (size_t at = 0; at < one->answer.steps_count; at++) {
        if (one->answer.steps[at].step == PROBE_PUT)
            return one->answer.steps[at].outcome == PROBE_OK;
    }
    return false;
}

static void join(struct probe_ask *ask, struct asked *one, const char *name)
{
    for (size_t at = 0; at < ask->count; at++) {
        struct asked *other = &ask->nodes[at];
        if (other->group == SIZE_MAX || other->group == one->group ||
            strcmp(other->node, name) != 0)
            continue;
        size_t from = TM_MAX(other->group, one->group);
        size_t to = TM_MIN(other->group, one->group);
        for (size_t n = 0; n < ask->count; n++) {
            if (ask->nodes[n].group == from)
                ask->nodes[n].group = to;
        }
    }
}

static void group(struct probe_ask *ask)
{
    for (size_t at = 0; at < ask->count; at++)
        ask->nodes[at].group = left_token(&ask->nodes[at]) ? at : SIZE_MAX;
    for (size_t at = 0; at < ask->count; at++) {
        struct asked *one = &ask->nodes[at];
        for (size_t n = 0; one->group != SIZE_MAX && n < one->answer.seen_count; n++)
            join(ask, one, one->answer.seen[n]);
    }
}

/* The first node that shares no directory with this one; NULL = none. */
static const char *stranger(const struct probe_ask *ask, const struct asked *one)
{
    for (size_t at = 0; at < ask->count; at++) {
        const struct asked *other = &ask->nodes[at];
        if (one->group != SIZE_MAX && other->group != SIZE_MAX && other->group != one->group)
            return other->node;
    }
    return NULL;
}

static void judge(struct brain *b, const struct probe_ask *ask, const struct asked *one,
                  struct brain_probe_node *to)
{
    const char *other = ask->want.nodes > 1 ? stranger(ask, one) : NULL;
    to->node = brain_step_text(b, one->node);
    if (!one->there) {
        to->verdict = BRAIN_PROBE_AWAY;
        return;
    }
    if (!one->answered) {
        to->verdict = one->away ? BRAIN_PROBE_LOST : BRAIN_PROBE_SILENT;
        return;
    }
    struct msg_probe_answer *copy = brain_step_alloc(b, sizeof(*copy));
    if (copy == NULL)
        return;
    brain_check(b, codec_copy(&msg_probe_answer_codec, &one->answer, &b->step, copy, b->err));
    if (b->failed)
        return;
    to->answer = copy;
    to->error = copy->error;
    if (copy->error != NULL || step_failed(copy, to)) {
        to->verdict = BRAIN_PROBE_FAILED;
    } else if (other != NULL) {
        to->verdict = BRAIN_PROBE_APART;
        to->apart_from = brain_step_text(b, other);
    }
}

static void answer(struct brain *b, struct probe_ask *ask)
{
    struct brain_probe *result = brain_step_alloc(b, sizeof(*result));
    struct brain_probe_node *nodes = brain_step_alloc(b, (ask->count + 1) * sizeof(*nodes));
    if (result == NULL || nodes == NULL)
        return;
    group(ask);
    result->kind = brain_step_text(b, ask->kind);
    result->name = brain_step_text(b, ask->name);
    result->cluster = brain_step_text(b, ask->cluster);
    result->storage = brain_step_text(b, ask->storage);
    result->timeout_ms = ask->want.timeout_ms;
    result->nodes = nodes;
    result->node_count = ask->count;
    for (size_t at = 0; at < ask->count && !b->failed; at++)
        judge(b, ask, &ask->nodes[at], &nodes[at]);
    struct brain_action *action = brain_emit(b, BRAIN_ACT_ANSWER);
    action->answer.cmd = ask->cmd;
    action->answer.outcome = BRAIN_DONE;
    action->answer.probe = result;
}

static bool over(struct brain *b, struct probe_ask *ask)
{
    bool waits = false;
    for (size_t at = 0; at < ask->count; at++) {
        struct asked *one = &ask->nodes[at];
        if (!one->there || one->answered)
            continue;
        const struct node *node = node_find(b, ask->cluster, one->node);
        one->away = node == NULL || node->conn == 0 || !node->fresh;
        waits = waits || !one->away;
    }
    return !waits || b->now.mono_us >= ask->until_us;
}

void probes_tick(struct brain *b)
{
    size_t kept = 0;
    for (size_t at = 0; at < b->probe_count; at++) {
        struct probe_ask *ask = b->probes[at];
        if (!over(b, ask)) {
            b->probes[kept++] = ask;
            continue;
        }
        answer(b, ask);
        for (size_t n = 0; n < ask->count; n++) {
            struct node *node = node_find(b, ask->cluster, ask->nodes[n].node);
            if (node != NULL && ask->nodes[n].there && !ask->nodes[n].answered)
                desired_node_changed(b, node);
        }
        ask_free(ask);
    }
    b->probe_count = kept;
}
