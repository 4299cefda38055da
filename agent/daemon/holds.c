/*
 * The holds this agent answers for: kept in state_dir/holds, dropped at their sources.
 *
 * The file is stored before a hold is made, so that none can be there of which nobody knows; one that
 * cannot be used keeps the agent from starting: somebody may want to go on with its backups later than
 * what is found without a record is kept. A drop, and a look at what holds there are, is a connection of
 * its own, in a worker: the database may be away.
 */
#include "agent/daemon/internal.h"

#include <limits.h>
#include <stdlib.h>

#include "common/fs.h"

CODEC_DEFINE(kept_holds, "holds", KEPT_HOLDS_FIELDS);

struct hold_drop {
    struct work work;
    const struct engine_ops *ops;
    struct engine_instance instance; /* strings are the config's */
    char name[64];
    int result;
    struct tm_err err;
};

int agent_holds_load(struct agent *a, struct tm_err *err)
{
    char path[PATH_MAX];
    int r = fs_join(path, sizeof path, a->config.state_dir, "holds", err);

    if (r == 0)
        r = agent_kept_load(path, &kept_holds_codec, &a->kept.holds_arena, &a->kept.holds, err);
    return r < 0 ? tm_err_prefix(
                       err,
                       "'%s' cannot be used; remove it: the holds that it told of are found, "
                       "and dropped after an hour",
                       path)
                 : 0;
}

int agent_holds_store(struct agent *a, const struct agent_hold *holds, size_t count,
                      struct tm_err *err)
{
    struct agent_hold copies[AGENT_BRAIN_HOLDS_MAX];
    const struct kept_holds record = {.holds = copies,
                                      .holds_count = TM_MIN(count, (size_t)AGENT_BRAIN_HOLDS_MAX)};

    for (size_t i = 0; i < record.holds_count; i++)
        copies[i] = holds[i];
    return agent_kept_store(a, "holds", &kept_holds_codec, &record, err);
}

/* ---- dropping ---- */

static void run_drop(struct work *w)
{
    struct hold_drop *d = LIST_ENTRY(w, struct hold_drop, work);
    struct engine_hold *hold = NULL;
    bool made;

    d->result = d->ops->hold_open(&d->instance, d->name, false, &hold, &made, &d->err);
    if (d->result == 0) {
        d->result = d->ops->hold_drop(hold, &d->err);
        d->ops->hold_close(hold);
    }
    if (d->result == -TM_E_NOT_FOUND)
        d->result = 0; /* somebody dropped it, or it was never made */
}

static void drop_done(struct work *w, void *ctx)
{
    struct hold_drop *d = LIST_ENTRY(w, struct hold_drop, work);
    struct agent_event event = {
        .kind = AGENT_EV_HOLD_DROPPED,
        .hold_dropped = {.name = d->name, .err = d->result < 0 ? &d->err : NULL}};

    agent_feed(ctx, &event);
    free(d);
}

static void drop_discard(struct work *w)
{
    free(LIST_ENTRY(w, struct hold_drop, work));
}

void agent_hold_drop(struct agent *a, const struct agent_action *action)
{
    const struct watch *watch = &a->watches[action->hold_drop.instance];
    struct hold_drop *d = calloc(1, sizeof *d);
    struct tm_err err = {0};

    if (!d) {
        a->failed = true;
        (void)tm_err_oom(&a->err);
        loop_exit(a->loop, 1);
        return;
    }
    d->work = (struct work){.run = run_drop, .done = drop_done, .discard = drop_discard};
    d->ops = watch->ops;
    d->instance = watch->instance;
    (void)snprintf(d->name, sizeof d->name, "%s", action->hold_drop.name);
    if (workers_submit(a->droppers, &d->work, &err) == 0)
        return;
    struct agent_event event = {.kind = AGENT_EV_HOLD_DROPPED};
    event.hold_dropped.name = action->hold_drop.name;
    agent_defer(a, &event, &err);
    free(d);
}

/* ---- looking ---- */

struct hold_look {
    struct work work;
    const struct engine_ops *ops;
    struct engine_instance instance; /* strings are the config's */
    size_t index;
    char prefix[64];
    struct engine_hold_found found[AGENT_BRAIN_HOLDS_MAX];
    size_t count;
    int result;
    struct tm_err err;
};

static void run_look(struct work *w)
{
    struct hold_look *l = LIST_ENTRY(w, struct hold_look, work);

    l->result = l->ops->hold_list(&l->instance, l->prefix, l->found, TM_ARRAY_LEN(l->found),
                                  &l->count, &l->err);
}

static void look_done(struct work *w, void *ctx)
{
    struct hold_look *l = LIST_ENTRY(w, struct hold_look, work);
    struct agent_hold_found holds[AGENT_BRAIN_HOLDS_MAX] = {0};
    size_t count = l->result < 0 ? 0 : l->count;
    struct agent_event event = {.kind = AGENT_EV_HOLDS_LISTED,
                                .holds_listed = {.instance = l->index,
                                                 .err = l->result < 0 ? &l->err : NULL,
                                                 .holds = holds,
                                                 .count = count,
                                                 .more = count == TM_ARRAY_LEN(l->found)}};

    for (size_t i = 0; i < count; i++) {
        const struct engine_hold_found *found = &l->found[i];
        holds[i].from = found->from;
        holds[i].bytes = found->bytes;
        holds[i].lost = found->lost;
        (void)snprintf(holds[i].name, sizeof holds[i].name, "%s", found->name);
    }
    agent_feed(ctx, &event);
    free(l);
}

static void look_discard(struct work *w)
{
    free(LIST_ENTRY(w, struct hold_look, work));
}

void agent_holds_look(struct agent *a, const struct agent_action *action)
{
    const struct watch *watch = &a->watches[action->hold_list.instance];
    struct agent_event event = {.kind = AGENT_EV_HOLDS_LISTED};
    struct hold_look *l = calloc(1, sizeof *l);
    struct tm_err err = {0};

    if (l) {
        l->work = (struct work){.run = run_look, .done = look_done, .discard = look_discard};
        l->ops = watch->ops;
        l->instance = watch->instance;
        l->index = action->hold_list.instance;
        (void)snprintf(l->prefix, sizeof l->prefix, "%s", action->hold_list.prefix);
        if (workers_submit(a->lookers, &l->work, &err) == 0)
            return;
        free(l);
    } else {
        (void)tm_err_oom(&err);
    }
    event.holds_listed.instance = action->hold_list.instance;
    agent_defer(a, &event, &err);
}
