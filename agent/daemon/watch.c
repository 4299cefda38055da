/*
 * Looking at the instances: one describe at a time each, in a worker thread.
 *
 * A look that does not come back keeps its worker but not the heartbeat: after AGENT_LOOK_MAX_S the
 * instance is reported as not answering, until the look returns.
 */
#include "agent/daemon/internal.h"

#include "agent/daemon/daemon.h"
#include "common/clock.h"

static void run_look(struct work *w)
{
    struct watch *watch = LIST_ENTRY(w, struct watch, work);

    watch->err = (struct tm_err){0};
    watch->result = watch->ops->describe(&watch->instance, &watch->description, &watch->err);
}

static void report_error(struct watch *watch, const struct tm_err *err)
{
    struct msg_error error = msg_error_of(err, "describe");
    struct msg_instance instance = {.error = &error};
    struct agent_event event = {.kind = AGENT_EV_INSTANCE,
                                .instance = {.index = watch->index, .instance = &instance}};

    (void)snprintf(instance.tenant, sizeof instance.tenant, "%s", watch->instance.tenant);
    (void)snprintf(instance.engine, sizeof instance.engine, "%s", watch->ops->name);
    instance.caps = watch->ops->caps;
    agent_feed(watch->agent, &event);
}

static void report(struct watch *watch)
{
    const struct engine_description *d = &watch->description;
    struct msg_instance instance = {
        .caps = watch->ops->caps, .role = (uint32_t)d->role, .data_bytes = d->data_bytes_estimate};
    struct agent_event event = {.kind = AGENT_EV_INSTANCE,
                                .instance = {.index = watch->index, .instance = &instance}};

    if (watch->result < 0) {
        report_error(watch, &watch->err);
        return;
    }
    (void)snprintf(instance.tenant, sizeof instance.tenant, "%s", watch->instance.tenant);
    (void)snprintf(instance.engine, sizeof instance.engine, "%s", watch->ops->name);
    (void)snprintf(instance.identity, sizeof instance.identity, "%s", d->identity);
    (void)snprintf(instance.version, sizeof instance.version, "%s", d->version);
    (void)snprintf(instance.lineage_label, sizeof instance.lineage_label, "%s", d->lineage_label);
    (void)snprintf(instance.position, sizeof instance.position, "%s", d->position.text);
    agent_feed(watch->agent, &event);
}

static void look_done(struct work *w, void *ctx)
{
    struct watch *watch = LIST_ENTRY(w, struct watch, work);

    (void)ctx;
    watch->busy = false;
    watch->overdue_said = false;
    watch->since_us = clock_mono_us();
    report(watch);
}

static void look(struct watch *watch, int64_t now_us)
{
    struct tm_err err = {0};

    watch->work = (struct work){.run = run_look, .done = look_done};
    if (workers_submit(watch->agent->lookers, &watch->work, &err) < 0)
        return; /* the next tick tries again */
    watch->busy = true;
    watch->since_us = now_us;
}

void agent_watch_tick(struct agent *a, int64_t now_us)
{
    for (size_t i = 0; i < a->watch_count; i++) {
        struct watch *watch = &a->watches[i];
        int64_t age_us = now_us - watch->since_us;

        if (!watch->busy) {
            if (age_us >= AGENT_LOOK_MS * USEC_PER_MSEC)
                look(watch, now_us);
        } else if (age_us > AGENT_LOOK_MAX_S * USEC_PER_SEC && !watch->overdue_said) {
            struct tm_err err = {0};
            (void)tm_err_retry(&err, TM_E_TIMEOUT, "the database has not answered for %lld s",
                               (long long)(age_us / USEC_PER_SEC));
            watch->overdue_said = true;
            report_error(watch, &err);
        }
    }
}

int agent_watch_start(struct agent *a, struct tm_err *err)
{
    const struct agent_config_instance *items = a->config.instances.items;
    size_t count = a->config.instances.count;
    int r;

    if (count == 0)
        return 0;
    a->watches = calloc(count, sizeof *a->watches);
    if (!a->watches)
        return tm_err_oom(err);
    /* two threads each, the other for its holds: one database that hangs must not hide the others */
    if ((r = workers_new(a->loop, "tidemark-look", 2 * (unsigned)count, 2 * count, a, &a->lookers,
                         err)) < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        a->watches[i] = (struct watch){.agent = a,
                                       .index = i,
                                       .ops = engine_find(items[i].engine),
                                       .instance = {.tenant = items[i].tenant,
                                                    .data_dir = items[i].data_dir,
                                                    .conninfo = items[i].conninfo}};
        a->watch_count++;
        look(&a->watches[i], clock_mono_us());
    }
    return 0;
}
