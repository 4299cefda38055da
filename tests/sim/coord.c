/* Coordinator processes, the state store they share, and the person who applies and deletes. */
#include "tests/sim/sim.h"

#include "proto/spec/spec.h"

#include <inttypes.h>
#include <stdio.h>

#define LEASE_MS 5000

/* ---- state store ---- */

void store_release(struct sim_store *s)
{
    for (size_t at = 0; at < s->count; at++)
        buf_release(&s->entries[at].value);
    s->count = 0;
}

static void store_set(struct sim_store *s, const char *key, struct slice value)
{
    struct tm_err err;
    size_t at = 0;
    while (at < s->count && strcmp(s->entries[at].key, key) != 0)
        at++;
    if (value.len == 0) {
        if (at == s->count)
            return;
        buf_release(&s->entries[at].value);
        s->entries[at] = s->entries[--s->count];
        return;
    }
    if (at == SIM_STORE_MAX)
        sim_die("state store is full", NULL);
    if (at == s->count) {
        s->entries[at] = (struct sim_store_entry){.value = BUF_INIT};
        (void)snprintf(s->entries[at].key, sizeof(s->entries[at].key), "%s", key);
        s->count++;
    }
    buf_reset(&s->entries[at].value);
    if (buf_append_slice(&s->entries[at].value, value, &err) < 0)
        sim_die("state store", &err);
}

void store_copy(struct sim_store *to, const struct sim_store *from)
{
    store_release(to);
    for (size_t at = 0; at < from->count; at++)
        store_set(to, from->entries[at].key, buf_slice(&from->entries[at].value));
    to->term = from->term;
    to->revision = from->revision;
}

/* ---- actions ---- */

static bool arg_alive(const struct world *w, const struct sim_arg *arg)
{
    const struct sim_coord *c = &w->coords[arg->who];
    return c->alive && c->life == arg->life;
}

static struct sim_arg *later(struct world *w, uint32_t which, uint64_t delay_us, sim_fn fn)
{
    struct sim_arg *arg = sim_at(w, delay_us, fn);
    arg->who = which;
    arg->life = w->coords[which].life;
    return arg;
}

static void on_wake(struct world *w, struct sim_arg *arg)
{
    if (!arg_alive(w, arg) || w->coords[arg->who].wake_seq != arg->a)
        return;
    struct brain_event event = {.kind = BRAIN_EV_TICK};
    coord_feed(w, arg->who, &event);
}

/* a: txn, bytes: key NUL value. Applied also when the process died while the commit was under way. */
/* Of each put: key, zero, length of the value, value. */
static void store_all(struct world *w, struct slice puts)
{
    while (puts.len > 0) {
        const char *key = (const char *)puts.data;
        const uint8_t *value = puts.data + strlen(key) + 1;
        uint64_t len = be64_get(value);
        struct slice bytes = slice_of(value + 8, (size_t)len);
        store_set(&w->store, key, bytes);
        if (strncmp(key, BRAIN_KEY_PREFIX, strlen(BRAIN_KEY_PREFIX)) == 0 ||
            strncmp(key, BRAIN_PART_PREFIX, strlen(BRAIN_PART_PREFIX)) == 0)
            oracle_stored(w, key, bytes);
        size_t used = (size_t)(bytes.data + bytes.len - puts.data);
        puts = slice_of(puts.data + used, puts.len - used);
    }
}

static void on_persisted(struct world *w, struct sim_arg *arg)
{
    struct tm_err err = {0};
    const struct sim_coord *c = &w->coords[arg->who];
    bool alive = arg_alive(w, arg);
    bool ok = arg->b == w->store.term && !w->store_fails; /* the term guards every transaction */
    if (!alive && sim_chance(w, 500))
        return;
    if (ok) {
        store_all(w, buf_slice(&arg->bytes));
        w->store.revision++;
    } else {
        (void)tm_err_set(&err, w->store_fails ? TM_E_NO_SPACE : TM_E_CONFLICT, "%s",
                         w->store_fails ? "disk full" : "another term was taken");
    }
    if (!alive || !c->alive)
        return;
    struct brain_event event = {.kind = BRAIN_EV_PERSISTED};
    event.persisted.txn = arg->a;
    event.persisted.ok = ok;
    event.persisted.revision = ok ? w->store.revision : 0;
    event.persisted.err = ok ? NULL : &err;
    coord_feed(w, arg->who, &event);
}

static void persist(struct world *w, uint32_t which, const struct brain_action *action)
{
    struct tm_err err;
    struct sim_coord *c = &w->coords[which];
    /* the store answers in order: a fixed time, with what the brain sends at once staying in order */
    struct sim_arg *arg = later(w, which, MS(8), on_persisted);
    arg->a = action->persist.txn;
    arg->b = c->term;
    for (size_t i = 0; i < action->persist.put_count; i++) {
        const struct brain_put *put = &action->persist.puts[i];
        uint8_t len[8];
        be64_put(len, put->value.len);
        if (buf_append_slice(&arg->bytes, put->key, &err) < 0 ||
            buf_append(&arg->bytes, "", 1, &err) < 0 ||
            buf_append(&arg->bytes, len, sizeof(len), &err) < 0 ||
            buf_append_slice(&arg->bytes, put->value, &err) < 0)
            sim_die("persist", &err);
    }
}

static void on_raised(struct world *w, struct sim_arg *arg)
{
    struct sim_coord *c = &w->coords[arg->who];
    if (!arg_alive(w, arg))
        return;
    if (c->term != w->store.term) {
        coord_crash(w, arg->who); /* somebody else took over: a real daemon would leave, too */
        return;
    }
    w->store.term = TM_MAX(w->store.term + 1, arg->a);
    c->term = w->store.term;
    struct brain_event event = {.kind = BRAIN_EV_TERM};
    event.term.term = c->term;
    coord_feed(w, arg->who, &event);
}

static void act(struct world *w, uint32_t which, const struct brain_action *action)
{
    struct sim_coord *c = &w->coords[which];
    switch (action->kind) {
    case BRAIN_ACT_REPLY:
        oracle_reply(w, which, action->reply.message);
        net_reply(w, which, action->reply.conn, action->reply.message);
        break;
    case BRAIN_ACT_WELCOME:
        net_welcome(w, which, action->welcome.conn, action->welcome.term, action->welcome.start);
        break;
    case BRAIN_ACT_REFUSE:
        net_close(w, which, action->refuse.conn);
        break;
    case BRAIN_ACT_CLOSE:
        net_close(w, which, action->close.conn);
        break;
    case BRAIN_ACT_PERSIST:
        persist(w, which, action);
        break;
    case BRAIN_ACT_RAISE_TERM:
        later(w, which, MS(5), on_raised)->a = action->raise_term.at_least;
        break;
    case BRAIN_ACT_ANSWER:
        oracle_answer(w, action->answer.cmd, action->answer.outcome, action->answer.err);
        errand_answered(w, which, action);
        break;
    case BRAIN_ACT_LOG:
        sim_log(w, "coordinator%u <%d> %s", which, action->log.priority, action->log.text);
        break;
    case BRAIN_ACT_WAKE: {
        uint64_t at_us = TM_MAX(action->wake.at_us, w->now_us + 1);
        if (c->wake_us == at_us)
            break;
        c->wake_us = at_us;
        later(w, which, at_us - w->now_us, on_wake)->a = ++c->wake_seq;
        break;
    }
    }
}

void coord_feed(struct world *w, uint32_t which, const struct brain_event *event)
{
    struct sim_coord *c = &w->coords[which];
    struct tm_err err = {0};
    struct brain_actions actions;
    struct brain_now now = {.mono_us = w->now_us,
                            .real_us = (int64_t)(SEC(1790000000) + w->now_us)};
    if (event->kind == BRAIN_EV_TICK)
        c->wake_us = 0;
    if (brain_step(c->brain, event, now, &actions, &err) < 0)
        sim_die("coordinator", &err);
    uint64_t life = c->life;
    for (size_t at = 0; at < actions.count && c->alive && c->life == life; at++)
        act(w, which, &actions.items[at]);
}

/* ---- life ---- */

struct sim_coord *coord_newest(struct world *w, uint32_t *ret_which)
{
    struct sim_coord *newest = NULL;
    for (uint32_t at = 0; at < SIM_COORDS_MAX; at++) {
        struct sim_coord *c = &w->coords[at];
        if (c->alive && !c->zombie) {
            newest = c;
            if (ret_which != NULL)
                *ret_which = at;
        }
    }
    return newest;
}

void coord_crash(struct world *w, uint32_t which)
{
    struct sim_coord *c = &w->coords[which];
    if (!c->alive)
        return;
    sim_log(w, "coordinator%u dies", which);
    c->alive = false;
    net_coord_died(w, which);
    brain_free(c->brain);
    c->brain = NULL;
}

void coord_start(struct world *w, uint32_t which)
{
    struct sim_coord *c = &w->coords[which];
    struct tm_err err = {0};
    *c = (struct sim_coord){.alive = true, .life = ++w->next_life, .started_us = w->now_us};
    c->term = ++w->store.term;
    struct brain_config config = {.term = c->term,
                                  .start = w->start = sim_random(w),
                                  .state_revision = w->store.revision,
                                  .lease_ms = LEASE_MS,
                                  .poll_ms = 10000,
                                  .lead_grace_ms = 12000,
                                  .restart_grace_ms = 20000,
                                  .stall_ms = 600000,
                                  .abort_ms = 15000,
                                  .part_wait_ms = 20000,
                                  .plant = w->coord_plant};
    struct brain_rng rng = {.next = sim_rng_next, .arg = w};
    if (brain_new(&config, rng, &c->brain, &err) < 0)
        sim_die("coordinator", &err);
    sim_log(w, "coordinator%u starts, term %" PRIu64 ", %zu records", which, c->term,
            w->store.count);
    for (size_t at = 0; at < w->store.count; at++) {
        struct brain_event event = {.kind = BRAIN_EV_LOADED};
        event.loaded.key = slice_str(w->store.entries[at].key);
        event.loaded.value = buf_slice(&w->store.entries[at].value);
        coord_feed(w, which, &event);
    }
    struct brain_event event = {.kind = BRAIN_EV_LOADED_END};
    coord_feed(w, which, &event);
}

/* ---- the person at the CLI ---- */

static void on_apply(struct world *w, struct sim_arg *arg);
static void on_delete(struct world *w, struct sim_arg *arg);

static void apply(struct world *w, uint32_t which, struct sim_want *want)
{
    static const char *const sources[] = {"primary", "prefer-standby", "any"};
    struct tm_err err = {0};
    char text[600];
    char truncate[64] = "";
    if (want->truncate_s != 0) /* SIM_REAL_US is 14:13:20 */
        (void)snprintf(truncate, sizeof(truncate), "  logTruncateUntil: 2026-09-21T14:13:%02uZ\n",
                       20 + want->truncate_s);
    if (want->restore)
        (void)snprintf(text, sizeof(text),
                       "apiVersion: tidemark/v1\nkind: Restore\nmetadata:\n  name: %s\n"
                       "spec:\n  br:\n    cluster: c1\n    tenant: main\n  node: n0\n"
                       "  dataDir: /srv/restore/x\n  local:\n    path: /backup\n",
                       want->name);
    else if (want->log)
        (void)snprintf(text, sizeof(text),
                       "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: %s\n"
                       "spec:\n  backupMode: log\n  logSubcommand: %s\n%s"
                       "  br:\n    cluster: c1\n%s%s\n"
                       "  local:\n    path: /backup\n",
                       want->name, want->subcommand, truncate,
                       want->tenant[0] != '\0' ? "    tenant: " : "", want->tenant);
    else
        (void)snprintf(text, sizeof(text),
                       "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: %s\n"
                       "spec:\n  br:\n    cluster: c1\n%s    gcttl: %s\n%s"
                       "  backoffRetryPolicy: {minRetryDuration: 1s, maxRetryTimes: %u}\n"
                       "  cleanPolicy: %s\n  cleanGrace: %us\n  backupFrom: %s\n"
                       "  local:\n    path: /backup\n",
                       want->name, want->all_tenants ? "" : "    tenant: main\n",
                       want->short_ttl ? "12s" : "1h",
                       want->checkpoint ? "" : "    options: [--no-checkpoint]\n", want->retries,
                       want->policy_delete ? "Delete" : "Retain",
                       (unsigned)(want - w->wants) % 3 * 20, /* 0: at once */
                       sources[want->from]);
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    if (resource_parse("sim", slice_str(text), &list, &err) < 0)
        sim_die("spec", &err);
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    want->cmd = ++w->next_cmd;
    event.command.cmd = want->cmd;
    event.command.what = BRAIN_CMD_APPLY;
    event.command.resource = TM_TAKE(list.items[0]);
    coord_feed(w, which, &event);
}

static void on_apply(struct world *w, struct sim_arg *arg)
{
    struct sim_want *want = &w->wants[arg->a];
    uint32_t which;
    if (want->answered || (want->log && want->deleted))
        return;
    sim_at(w, SEC(2), on_apply)->a = arg->a; /* until an answer comes */
    if (coord_newest(w, &which) != NULL)
        apply(w, which, want);
}

void coord_want(struct world *w, bool restore, bool policy_delete, bool last)
{
    if (w->want_count == TM_ARRAY_LEN(w->wants))
        return;
    struct sim_want *want = &w->wants[w->want_count];
    (void)snprintf(want->name, sizeof(want->name), "b%zu", w->want_count);
    want->restore = restore;
    want->policy_delete = policy_delete;
    want->last = last;
    want->all_tenants = last || w->want_count % 3 != 0;
    want->checkpoint = !sim_chance(w, 150);
    want->short_ttl = sim_chance(w, 400);
    want->from = (unsigned)sim_below(w, 3);
    want->retries = (unsigned)sim_below(w, 4);
    sim_at(w, 0, on_apply)->a = w->want_count++;
}

void coord_want_log(struct world *w, const char *tenant)
{
    size_t at = w->want_count;
    coord_want(w, false, false, false);
    if (at == w->want_count)
        return;
    w->wants[at].log = true;
    w->wants[at].tenant = tenant;
    w->wants[at].subcommand = "log-start";
}

void coord_wish_log(struct world *w, size_t want, const char *subcommand)
{
    if (w->wants[want].deleted)
        return;
    sim_log(w, "wish: %s", subcommand);
    w->wants[want].subcommand = subcommand;
    w->wants[want].answered = false;
    sim_at(w, 0, on_apply)->a = want;
}

void coord_truncate_log(struct world *w, size_t want, unsigned until_s)
{
    if (w->wants[want].deleted)
        return;
    w->wants[want].truncate_s = until_s;
    coord_wish_log(w, want, w->wants[want].subcommand);
}

static void on_delete(struct world *w, struct sim_arg *arg)
{
    struct sim_want *want = &w->wants[arg->a];
    uint32_t which;
    if (want->delete_answered)
        return;
    sim_at(w, SEC(2), on_delete)->a = arg->a;
    if ((!want->answered && !want->log) || coord_newest(w, &which) == NULL)
        return;
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    want->delete_cmd = ++w->next_cmd;
    event.command.cmd = want->delete_cmd;
    event.command.what = BRAIN_CMD_DELETE;
    event.command.kind = want->restore ? "Restore" : "Backup";
    event.command.name = want->name;
    coord_feed(w, which, &event);
}

void coord_delete(struct world *w, size_t want)
{
    w->wants[want].deleted = true;
    sim_at(w, 0, on_delete)->a = want;
}

void coord_resume(struct world *w, size_t want)
{
    uint32_t which;
    if (w->wants[want].deleted || coord_newest(w, &which) == NULL)
        return;
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = ++w->next_cmd;
    event.command.what = BRAIN_CMD_RETRY;
    event.command.kind = w->wants[want].restore ? "Restore" : "Backup";
    event.command.name = w->wants[want].name;
    coord_feed(w, which, &event);
}
