/*
 * The thread that answers queries: what is found in the stored log, and what a truncation would take.
 * Nothing is changed by it, and nothing waits for it. Happy path: a query is wanted → storage is read →
 * the answer is told once.
 *
 * Failure modes: whatever goes wrong is the answer. A search that finds no end is given up after
 * ASK_MAX_US, with the advice to name a time; one that finds more than an answer may hold says that
 * there is more.
 */
#include "agent/log/internal.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/utf8.h"

#define ASK_MAX_US  (20 * USEC_PER_SEC)
#define EVENT_BYTES 48 /* of an encoded event beside its texts */

struct asker {
    struct log_task *task;
    struct object_scratch *scratches[3];
    struct log_elsewhere *elsewhere; /* kept between questions */
    struct msg_log_query query;
    char name[64], until[64];
    int64_t deadline_us; /* mono */
    struct msg_log_event *events;
    char (*names)[EVENT_NAME_MAX];
    size_t count;
    size_t bytes;
    bool full;
    struct log_damages damages;
    char warning[WIRE_TEXT_MAX + 1]; /* what the answer leaves out; "" = nothing */
};

static void asker_release(struct asker *a)
{
    for (size_t i = 0; i < TM_ARRAY_LEN(a->scratches); i++)
        object_scratch_free(a->scratches[i]);
    log_damages_release(&a->damages);
    free(a->events);
    free(a->names);
}

/* ---- searching ---- */

static int go_on(void *arg, struct tm_err *err)
{
    const struct asker *a = arg;
    if (atomic_load(&a->task->cancel))
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    if (clock_mono_us() > a->deadline_us)
        return tm_err_set(err, TM_E_TIMEOUT,
                          "nothing was found in %d s: a time from which and up to which to search "
                          "makes it shorter",
                          (int)(ASK_MAX_US / USEC_PER_SEC));
    return 0;
}

static int take_event(void *arg, const struct lineage *lineage, const struct log_point *point,
                      struct tm_err *err)
{
    struct asker *a = arg;
    struct msg_log_event *e = &a->events[a->count];
    char *name = a->names[a->count];
    memcpy(name, point->name, EVENT_NAME_MAX);
    name[EVENT_NAME_MAX - 1] = '\0';
    utf8_clean(name);
    *e = (struct msg_log_event){.kind = (uint32_t)point->kind,
                                .time_us = point->time_us,
                                .xid = point->xid,
                                .name = name[0] ? name : NULL};
    a->task->options.engine->position_text(point->at, e->position);
    names_lineage_text(lineage->id, e->lineage);
    (void)snprintf(e->label, sizeof(e->label), "%s", lineage->label);
    a->bytes +=
        EVENT_BYTES + strlen(e->position) + strlen(e->lineage) + strlen(e->label) + strlen(name);
    a->full = a->bytes > WIRE_EVENTS_BYTES;
    if (a->full)
        return tm_err_set(err, TM_E_LIMIT, "the answer is full");
    a->count++;
    return 0;
}

static void warn_of_damage(struct asker *a)
{
    char lineage[33], more[48] = "";
    if (a->damages.count == 0)
        return;
    names_lineage_text(a->damages.items[0].lineage, lineage);
    if (a->damages.count > 1)
        (void)snprintf(more, sizeof(more), "; and %zu more lineages", a->damages.count - 1);
    (void)snprintf(a->warning, sizeof(a->warning), "lineage %s is damaged: %s%s", lineage,
                   a->damages.items[0].text, more);
    utf8_clean(a->warning);
}

static int search(struct asker *a, struct msg_log_answer *ret, struct tm_err *err)
{
    uint32_t limit = a->query.limit > 0 ? a->query.limit : WIRE_EVENTS_MAX;
    const struct log_search wish = {.from_us = a->query.from_us,
                                    .to_us = a->query.to_us,
                                    .xid = a->query.xid,
                                    .name = a->name[0] ? a->name : NULL,
                                    .points_only = a->query.points,
                                    .limit = TM_MIN(limit, (uint32_t)WIRE_EVENTS_MAX),
                                    .damages = &a->damages,
                                    .go_on = go_on,
                                    .go_on_arg = a};
    a->events = calloc(wish.limit, sizeof(*a->events));
    a->names = calloc(wish.limit, sizeof(*a->names));
    if (!a->events || !a->names)
        return tm_err_oom(err);
    int r = log_search_run(a->scratches, a->task->options.storage, &a->task->options.scope, &wish,
                           take_event, a, err);
    if (r < 0 && !a->full)
        return r;
    warn_of_damage(a);
    ret->more = r > 0 || a->full;
    ret->events = a->events;
    ret->events_count = a->count;
    return 0;
}

/* ---- truncating, only tried ---- */

static int would_truncate(struct asker *a, struct msg_log_answer *ret, struct tm_err *err)
{
    struct log_task *t = a->task;
    struct log_positions positions = log_positions_of(t);
    log_elsewhere_open(t, a->scratches[0], a->elsewhere);
    struct log_truncate wish = {.force = a->query.force,
                                .dry_run = true,
                                .others = a->elsewhere->items,
                                .other_count = a->elsewhere->count,
                                .epoch = t->options.epoch,
                                .node = t->node,
                                .now_us = clock_real_us()};
    static const uint8_t nonce[OBJECT_NONCE_BYTES]; /* nothing is stored */
    struct log_truncate_result result = {0};
    struct target target;
    int r = log_truncate_wish(a->until, &wish, &target, err);
    if (r == 0)
        r = log_truncate_run(a->scratches, t->options.storage, t->options.storage,
                             &t->options.scope, &positions, &wish, nonce, &result, err);
    log_elsewhere_close(a->elsewhere);
    if (r < 0)
        return r;
    (void)snprintf(a->warning, sizeof(a->warning), "%s", result.damage);
    ret->chunks = result.chunks;
    ret->bytes = result.bytes;
    ret->truncated_us = result.truncated_us;
    (void)snprintf(ret->truncated_position, sizeof(ret->truncated_position), "%s",
                   result.truncated_position);
    return 0;
}

/* ---- the thread ---- */

static int answer(struct asker *a, struct msg_log_answer *ret, struct tm_err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < TM_ARRAY_LEN(a->scratches); i++)
        r = object_scratch_new(&a->scratches[i], err);
    if (r < 0)
        return r;
    /* an empty place is one that is not mounted: nothing can be said of what it holds */
    struct identity identity;
    r = identity_read(a->scratches[0], a->task->options.storage, &a->task->options.scope, &identity,
                      err);
    if (r < 0)
        return r;
    switch (a->query.kind) {
    case LOG_QUERY_SEARCH:
        return search(a, ret, err);
    case LOG_QUERY_TRUNCATE:
        return would_truncate(a, ret, err);
    default:
        return tm_err_set(err, TM_E_UNSUPPORTED, "query %u is not known to this agent",
                          a->query.kind);
    }
}

static void answer_one(struct asker *a)
{
    struct log_task *t = a->task;
    struct msg_log_answer told = {.id = a->query.id};
    struct msg_error error;
    struct tm_err err;
    a->deadline_us = clock_mono_us() + ASK_MAX_US;
    if (answer(a, &told, &err) < 0) {
        error = msg_error_of(&err, "query");
        told.error = &error;
    } else if (a->warning[0] != '\0') {
        told.warning = a->warning;
    }
    if (t->options.answer && !atomic_load(&t->cancel))
        t->options.answer(t->options.arg, &told);
}

void *log_ask_main(void *arg)
{
    struct log_task *t = arg;
    struct log_elsewhere elsewhere = {.count = 0};
    pthread_mutex_lock(&t->lock);
    while (!log_over(t)) {
        if (t->query.id == 0 || t->query.id == t->query_done) {
            log_wait(t, USEC_PER_SEC);
            continue;
        }
        struct asker a = {.task = t, .elsewhere = &elsewhere, .query = t->query};
        memcpy(a.name, t->query_name, sizeof(a.name));
        memcpy(a.until, t->query_until, sizeof(a.until));
        pthread_mutex_unlock(&t->lock);
        answer_one(&a);
        asker_release(&a);
        pthread_mutex_lock(&t->lock);
        t->query_done = a.query.id;
    }
    pthread_mutex_unlock(&t->lock);
    log_elsewhere_release(&elsewhere);
    return NULL;
}
