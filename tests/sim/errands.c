/*
 * What agents do in storage on the coordinator's word: resources are kept there, and read back; and the
 * person at the CLI who has that done when the state was lost. As a model, or with the real formats.
 */
#include "tests/sim/real.h"

#include "agent/stored/stored.h"
#include "common/storage/ram.h"
#include "coordinator/brain/record.h"
#include "proto/spec/spec.h"
#include "proto/spec/status.h"

#include <stdio.h>

/* ---- kept ---- */

static void forget(struct world *w, size_t at)
{
    buf_release(&w->intents[at].resource);
    w->intents[at] = w->intents[--w->intent_count];
}

static bool above(const struct sim_intent *a, const struct msg_intent *b)
{
    return a->term != b->term ? a->term > b->term : a->counter > b->counter;
}

/* As proto/repo/intents.c does it: what is older goes, what is newer stays and counts. */
static int keep_model(struct world *w, const struct msg_intent *want, struct tm_err *ret_err)
{
    struct tm_err err;
    bool there = false;
    for (size_t at = w->intent_count; at > 0; at--) {
        struct sim_intent *one = &w->intents[at - 1];
        if (strcmp(one->uid, want->uid) != 0)
            continue;
        bool same = one->term == want->term && one->counter == want->counter;
        bool equal = slice_eq(buf_slice(&one->resource), want->resource);
        if (same && !want->remove && !equal && !w->rolled_back)
            sim_violate(w, "an intent of %s is stored twice with different contents", want->uid);
        if (same && !want->remove && !equal)
            return tm_err_set(ret_err, TM_E_CONFLICT, "that epoch of %s is another one's",
                              want->uid);
        there = there || same;
        if (want->remove || (!same && !above(one, want)))
            forget(w, at - 1);
    }
    if (want->remove || there)
        return 0;
    if (w->intent_count == SIM_INTENTS_MAX)
        sim_die("too many intents", NULL);
    struct sim_intent *one = &w->intents[w->intent_count++];
    *one = (struct sim_intent){.term = want->term, .counter = want->counter, .resource = BUF_INIT};
    (void)snprintf(one->uid, sizeof(one->uid), "%s", want->uid);
    memcpy(one->tenant, want->tenant, sizeof(one->tenant));
    if (buf_append_slice(&one->resource, want->resource, &err) < 0)
        sim_die("intent", &err);
    return 0;
}

static struct msg_stored stored_of(const char *tenant)
{
    struct msg_stored item = {.cluster = "c1", .incarnation = "7000"};
    (void)snprintf(item.tenant, sizeof(item.tenant), "%s", tenant);
    return item;
}

/* Whose backup it is, as somebody's words say. */
static const char *tenant_of(const struct world *w, const char *backup_id)
{
    for (size_t at = 0; at < w->intent_count; at++) {
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct record rec;
        struct tm_err err;
        if (codec_decode(&record_codec, buf_slice(&w->intents[at].resource), &arena, &rec, &err) ==
                0 &&
            strcmp(rec.backup_id, backup_id) == 0)
            return w->intents[at].tenant;
    }
    return "main";
}

/* All of it in one page. */
static void read_model(struct world *w, struct msg_page *page)
{
    static struct msg_stored items[SIM_INTENTS_MAX + SIM_BACKUPS_MAX];
    static struct msg_intent intents[SIM_INTENTS_MAX];
    page->items = items;
    page->items_count = 0;
    for (size_t at = 0; at < w->intent_count; at++) {
        const struct sim_intent *one = &w->intents[at];
        bool newest = true;
        for (size_t n = 0; n < w->intent_count; n++) {
            const struct msg_intent this = {.term = one->term, .counter = one->counter};
            newest = newest &&
                     (strcmp(w->intents[n].uid, one->uid) != 0 || !above(&w->intents[n], &this));
        }
        if (!newest)
            continue;
        intents[at] = (struct msg_intent){.cluster = "c1",
                                          .incarnation = "7000",
                                          .term = one->term,
                                          .counter = one->counter,
                                          .resource = buf_slice(&one->resource)};
        memcpy(intents[at].uid, one->uid, sizeof(intents[at].uid));
        items[page->items_count] = stored_of(one->tenant);
        memcpy(intents[at].tenant, items[page->items_count].tenant, sizeof(intents[at].tenant));
        items[page->items_count++].intent = &intents[at];
        page->term = TM_MAX(page->term, one->term);
    }
    for (size_t at = 0; at < w->backup_count; at++) {
        const struct sim_backup *backup = &w->backups[at];
        struct msg_stored item = stored_of(tenant_of(w, backup->id));
        bool left = backup->manifest || backup->checkpoint || backup->object_count > 0;
        if (!left)
            continue;
        item.state = backup->marked_us != 0 ? STORED_DELETED
                     : backup->manifest     ? STORED_COMMITTED
                     : backup->checkpoint   ? STORED_CHECKPOINT
                                            : STORED_LEFTOVER;
        item.started_us = item.completed_us = (int64_t)(SIM_REAL_US + w->now_us);
        memcpy(item.backup_id, backup->id, sizeof(item.backup_id));
        items[page->items_count++] = item;
    }
}

/* ---- the runner ---- */

static void tell_answer(struct world *w, const struct sim_runner *r, const struct msg_probe *want,
                        struct msg_page *page)
{
    struct msg_probe_answer answer = {
        .id = want->id, .kept = want->keep != NULL, .page = want->read != NULL ? page : NULL};
    struct frame f = {.type = FRAME_probed, .probed = {.done = true, .answer = &answer}};
    runner_tell(w, r, &f);
}

static void do_errand(struct world *w, const struct sim_runner *r, const struct msg_probe *want)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    struct msg_page page = {.term = 0};
    struct tm_err err;
    int rc = 0;
    if (!w->profile.real && want->keep != NULL)
        rc = keep_model(w, want->keep, &err);
    else if (!w->profile.real)
        read_model(w, &page);
    else if (ram_open(w->registry, "depot", &st, &err) < 0 ||
             (want->keep != NULL ? stored_keep(st, want->keep, &err)
                                 : stored_page(st, want->read, &arena, &page, &err)) < 0)
        rc = -(int)err.code;
    if (rc < 0) {
        runner_tell_failed(w, r, &err, "storage");
        return;
    }
    tell_answer(w, r, want, &page);
}

static void on_errand(struct world *w, struct sim_arg *arg)
{
    struct tm_err err;
    struct frame f;
    if (!runner_is(w, arg))
        return;
    if (frame_next(&arg->bytes, &f, &err) != 1)
        sim_die("an errand does not decode", &err);
    const struct sim_runner *r = &w->runners[arg->who];
    if (runner_storage_down(w)) {
        (void)tm_err_retry(&err, TM_E_IO, "storage is away");
        runner_tell_failed(w, r, &err, "storage");
    } else {
        do_errand(w, r, f.job.probe);
    }
    frame_release(&f);
}

void errand_job(struct world *w, struct sim_runner *r, const struct frame_job *job)
{
    struct frame f = {.type = FRAME_job, .job = *job};
    struct tm_err err;
    struct sim_arg *arg = runner_later(w, r, MS(20) + sim_below(w, MS(300)), on_errand);
    if (frame_encode(&f, &arg->bytes, &err) < 0)
        sim_die("an errand does not encode", &err);
}

/* ---- the person at the CLI ---- */

static void send(struct world *w, uint32_t which, enum brain_command what)
{
    static const char text[] = "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: pattern\n"
                               "spec:\n  br:\n    cluster: c1\n  local:\n    path: /backup\n";
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    struct tm_err err;
    w->rebuild_cmd = ++w->next_cmd;
    event.command.cmd = w->rebuild_cmd;
    event.command.what = what;
    event.command.force = w->refused; /* what it names is not in storage */
    if (what == BRAIN_CMD_REBUILD) {
        if (resource_parse("sim", slice_str(text), &list, &err) < 0)
            sim_die("pattern", &err);
        event.command.resource = TM_TAKE(list.items[0]);
    }
    coord_feed(w, which, &event);
}

/* Another one took its place meanwhile: two would store the same log there. */
static bool has_log(const struct brain *brain)
{
    struct brain_resource one;
    size_t cursor = 0;
    while (brain_resource_next(brain, &cursor, &one)) {
        if (one.status->log.is_log)
            return true;
    }
    return false;
}

/* Every resource of which something was kept in storage is there again. */
static void check_list(struct world *w, const struct brain *brain)
{
    for (size_t at = 0; at < w->intent_count && !w->profile.real; at++) {
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct record rec;
        struct tm_err err;
        struct brain_resource found;
        if (codec_decode(&record_codec, buf_slice(&w->intents[at].resource), &arena, &rec, &err) <
            0)
            sim_die("an intent does not decode", &err);
        const struct sim_backup *backup = depot_find(w, rec.backup_id, false);
        bool there = rec.log != NULL
                         ? !has_log(brain)
                         : (backup != NULL && backup->manifest && backup->marked_us == 0);
        if (!rec.gone && there &&
            !brain_resource_find(brain, rec.kind, rec.namespace_, rec.name, &found))
            sim_violate(w, "storage knows '%s', and the rebuilt list does not", rec.name);
    }
}

void errand_answered(struct world *w, uint32_t which, const struct brain_action *action)
{
    if (w->rebuild_cmd == 0 || action->answer.cmd != w->rebuild_cmd)
        return;
    w->rebuild_cmd = 0;
    if (action->answer.rebuilt != NULL) {
        sim_log(w, "rebuilt: %zu resources", action->answer.rebuilt->name_count);
        w->rebuilt = true;
        check_list(w, w->coords[which].brain);
        sim_at(w, MS(1), on_remind); /* of what was deleted meanwhile by a name that nobody knew */
    } else if (action->answer.err != NULL) {
        sim_log(w, "rebuild: %s", action->answer.err->msg);
        w->refused = w->rebuilt && action->answer.err->code == TM_E_REFUSED;
    } else {
        w->put_back.term = 0;
        w->refused = false;
    }
}

void on_rebuild(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    uint32_t which;
    struct brain_doubt doubt;
    struct sim_coord *c = coord_newest(w, &which);
    sim_at(w, SEC(2), on_rebuild);
    if (c == NULL || !brain_in_doubt(c->brain, &doubt)) {
        w->rebuilt = false;
        return;
    }
    if (!w->rolled_back)
        sim_violate(w, "a coordinator doubts its state, which nobody lost or put back");
    send(w, which, w->rebuilt ? BRAIN_CMD_CONFIRM : BRAIN_CMD_REBUILD);
}
