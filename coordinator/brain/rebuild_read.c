/*
 * Reading what a storage holds. The coordinator never opens it: an agent does, page by page.
 *
 * Happy path: a command asks → an agent reads the first page, then the next, … → a term above all that was
 * seen is taken, when ours is not → what was read is merged (rebuild_merge.c) → the command is answered
 * with what became of it.
 *
 * Failure modes: an agent cannot read the storage, or goes away: another one is asked for the same page;
 * when none is left the command is answered with the last one's words, and nothing was changed. One storage
 * is read at a time. Nothing of it is durable: a reading dies with the coordinator, and may be repeated.
 */
#include "coordinator/brain/rebuild_internal.h"

#include "common/array.h"

#define TIMEOUT_MS 120000              /* of one page */
#define TERM_MAX   (UINT64_C(1) << 62) /* one above must be possible, and stored */

void rebuild_run_free(struct rebuild_run *run)
{
    if (run == NULL)
        return;
    for (size_t at = 0; at < run->item_count; at++)
        codec_arena_release(&run->items[at].arena);
    view_free(run->pattern);
    free(run->items);
    free(run->names);
    free(run->wholes);
    free(run);
}

int rebuild_ask(struct brain *b, const struct brain_event *event, struct tm_err *err)
{
    TM_CLEANUP(view_freep) struct resource *pattern = event->command.resource;
    struct view_place place;
    if (pattern == NULL)
        return tm_err_set(err, TM_E_INVALID, "rebuild: no storage is named");
    view_place_of(pattern, &place);
    if (place.storage[0] == '\0' || strlen(place.storage) > WIRE_URL_MAX)
        return tm_err_set(err, TM_E_INVALID, "rebuild: no storage is named");
    if (b->rebuild.run != NULL)
        return tm_err_retry(err, TM_E_CONFLICT, "'%s' is being read, try again",
                            b->rebuild.run->storage);
    struct rebuild_run *run = calloc(1, sizeof(*run));
    if (run == NULL)
        return tm_err_oom(err);
    run->cmd = event->command.cmd;
    COPY_TEXT(run->storage, place.storage);
    COPY_TEXT(run->secret, place.secret);
    if (event->command.cluster != NULL)
        COPY_TEXT(run->cluster, event->command.cluster);
    run->since_us = b->now.real_us;
    run->moved = event->command.force;
    run->pattern = TM_TAKE(pattern);
    b->rebuild.run = run;
    return 0;
}

static void over(struct brain *b, const struct tm_err *err)
{
    struct rebuild_run *run = TM_TAKE(b->rebuild.run);
    errand_end(b, &run->errand);
    brain_answer(b, run->cmd, BRAIN_DONE, err);
    rebuild_run_free(run);
}

void rebuild_not_begun(struct brain *b, const struct tm_err *err)
{
    struct tm_err why = *err;
    if (b->rebuild.run == NULL || !b->rebuild.run->begun)
        return;
    (void)tm_err_prefix(&why, "nothing was taken from '%.200s'", b->rebuild.run->storage);
    over(b, &why);
}

/* ---- who reads ---- */

static bool tried(const struct rebuild_run *run, const struct node *node)
{
    for (size_t at = 0; at < run->tried_count; at++) {
        if (run->tried[at] == node->id)
            return true;
    }
    return false;
}

/* One of the cluster that was named before others: it gets into its storage. */
static struct node *pick(const struct brain *b, const struct rebuild_run *run)
{
    struct node *found = NULL;
    for (size_t at = 0; at < b->node_count; at++) {
        struct node *node = b->nodes[at];
        if (!lead_usable(node) || !node->heard || tried(run, node))
            continue;
        if (strcmp(node->cluster, run->cluster) == 0)
            return node;
        if (found == NULL)
            found = node;
    }
    return found;
}

static void node_failed(struct brain *b, struct rebuild_run *run, const struct tm_err *err)
{
    for (size_t at = 0; at < b->node_count; at++) {
        if (b->nodes[at]->id == run->errand.node)
            COPY_TEXT(run->err_node, b->nodes[at]->name);
    }
    run->err = *err;
    if (run->tried_count < TM_ARRAY_LEN(run->tried))
        run->tried[run->tried_count++] = run->errand.node;
    errand_end(b, &run->errand);
}

static void ask_next(struct brain *b, struct rebuild_run *run)
{
    struct tm_err err;
    struct node *node = run->tried_count < TM_ARRAY_LEN(run->tried) ? pick(b, run) : NULL;
    if (node != NULL) {
        errand_begin(b, &run->errand, node, TIMEOUT_MS);
        return;
    }
    if (run->tried_count > 0) {
        err = run->err;
        (void)tm_err_prefix(&err, "node '%s'", run->err_node);
    } else {
        (void)tm_err_retry(
            &err, TM_E_UNAVAILABLE,
            "no agent is connected that could read '%s': start one that gets into it",
            run->storage);
    }
    over(b, &err);
}

void rebuild_assign(struct brain *b, const struct node *node, struct msg_desired *to)
{
    struct rebuild_run *run = b->rebuild.run;
    if (run == NULL)
        return;
    struct msg_probe *out = errand_assign(b, &run->errand, node, run->storage, run->secret, to);
    if (out == NULL)
        return;
    out->read = brain_step_alloc(b, sizeof(*out->read));
    if (out->read == NULL)
        return;
    COPY_TEXT(out->read->cluster, run->cluster);
    COPY_TEXT(out->read->after, run->after);
}

/* ---- what it says ---- */

static int take_item(struct brain *b, struct rebuild_run *run, const struct msg_stored *stored)
{
    struct rebuild_item item = {.settled = false};
    if (run->item_count == REBUILD_ITEMS_MAX || run->bytes > REBUILD_BYTES_MAX)
        return tm_err_set(b->err, TM_E_LIMIT,
                          "'%s' holds more than %u backups; read it cluster by cluster (--cluster)",
                          run->storage, REBUILD_ITEMS_MAX);
    if (ARRAY_ROOM(run->items, run->item_count, run->item_cap, 64, b->err) < 0 ||
        codec_copy(&msg_stored_codec, stored, &item.arena, &item.stored, b->err) < 0) {
        codec_arena_release(&item.arena);
        return -(int)b->err->code;
    }
    run->bytes += item.arena.total_bytes;
    run->items[run->item_count++] = item;
    return 0;
}

static void take_page(struct brain *b, struct rebuild_run *run, const struct msg_page *page)
{
    struct tm_err err;
    if (page->term > TERM_MAX) {
        (void)tm_err_set(&err, TM_E_CORRUPT,
                         "'%.200s' has a term that no coordinator ever had: %llu", run->storage,
                         (unsigned long long)page->term);
        over(b, &err);
        return;
    }
    run->term = TM_MAX(run->term, page->term);
    for (size_t at = 0; at < page->items_count; at++) {
        if (take_item(b, run, &page->items[at]) == 0)
            continue;
        err = *b->err;
        brain_check(b, err.code == TM_E_NO_MEMORY ? -1 : 0);
        over(b, &err);
        return;
    }
    bool moves = strcmp(page->after, run->after) > 0 || page->after[0] == '\0';
    if (!moves) { /* whoever says so would be asked for ever */
        (void)tm_err_set(&err, TM_E_CORRUPT, "the agent's page of '%s' does not go on",
                         run->storage);
        node_failed(b, run, &err);
        return;
    }
    COPY_TEXT(run->after, page->after);
    run->read = page->after[0] == '\0';
    run->tried_count = 0;
    errand_end(b, &run->errand);
}

void rebuild_heard(struct brain *b, const struct node *node, const struct msg_heartbeat *heartbeat)
{
    struct rebuild_run *run = b->rebuild.run;
    struct tm_err err;
    const struct msg_probe_answer *answer =
        run != NULL ? errand_answer(&run->errand, node, heartbeat) : NULL;
    if (answer == NULL)
        return;
    brain_look_all(b); /* the next page is to be asked for, or all is to be merged */
    if (answer->error == NULL && answer->page != NULL) {
        take_page(b, run, answer->page);
        return;
    }
    if (answer->error != NULL)
        msg_error_to(answer->error, &err);
    else
        (void)tm_err_set(&err, TM_E_UNSUPPORTED, "its agent is of an older version: update it");
    node_failed(b, run, &err);
}

/* ---- from step to step ---- */

static void answer(struct brain *b, struct rebuild_run *run)
{
    struct brain_rebuilt *result = brain_step_alloc(b, sizeof(*result));
    const char **names = brain_step_alloc(b, (run->name_count + 1) * sizeof(*names));
    if (result == NULL || names == NULL)
        return;
    *result = run->result;
    result->storage = brain_step_text(b, run->storage);
    result->names = names;
    for (size_t at = 0; at < run->name_count; at++) {
        if (run->names[at].part[0] == '\0')
            names[result->name_count++] = brain_step_text(b, run->names[at].name);
    }
    result->first_leftover = brain_step_text(b, run->first[FIRST_LEFTOVER]);
    result->first_damaged = brain_step_text(b, run->first[FIRST_DAMAGED]);
    result->first_conflict = brain_step_text(b, run->first[FIRST_CONFLICT]);
    result->first_other = brain_step_text(b, run->first[FIRST_OTHER]);
    result->first_absent = brain_step_text(b, run->first[FIRST_ABSENT]);
    result->first_unread = brain_step_text(b, run->first[FIRST_UNREAD]);
    result->first_elsewhere = brain_step_text(b, run->first[FIRST_ELSEWHERE]);
    struct brain_action *action = brain_emit(b, BRAIN_ACT_ANSWER);
    action->answer.cmd = run->cmd;
    action->answer.outcome = BRAIN_DONE;
    action->answer.rebuilt = result;
    brain_log(b, NULL, NULL, 5, BRAIN_LOG_PLAIN,
              "'%.300s' was read: %zu resources were rebuilt, %llu were known", run->storage,
              result->name_count, (unsigned long long)run->result.known);
    rebuild_run_free(TM_TAKE(b->rebuild.run));
}

void rebuild_tick(struct brain *b)
{
    struct rebuild_run *run = b->rebuild.run;
    struct tm_err err;
    if (run == NULL)
        return;
    if (run->errand.id != 0 && errand_is_lost(b, &run->errand)) {
        (void)tm_err_retry(&err, TM_E_TIMEOUT, "its agent did not answer in time, or went away");
        node_failed(b, run, &err);
    }
    if (!run->read && run->errand.id == 0) {
        ask_next(b, run);
        return;
    }
    if (!run->read)
        return;
    if (run->term >= b->term) { /* nothing that is written from now on may be below what is there */
        if (b->raising_to <= run->term) {
            b->raising_to = run->term + 1;
            brain_emit(b, BRAIN_ACT_RAISE_TERM)->raise_term.at_least = run->term + 1;
        }
        return;
    }
    if (!rebuild_doubt(b, &run->begun) || !rebuild_merge(b, run) || b->failed)
        return;
    if (run->begun && run->name_count == 0)
        rebuild_nothing_new(b);
    if (run->refused == 0) {
        answer(b, run);
        return;
    }
    (void)tm_err_retry(
        &err, TM_E_IO,
        "%zu of %zu resources could not be stored in this coordinator's state: its log "
        "says why; then read '%.200s' again",
        run->refused, run->name_count, run->storage);
    over(b, &err);
}
