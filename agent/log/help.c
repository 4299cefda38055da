/*
 * The thread for what takes long and must hold nothing up: truncating, removing what was truncated when
 * its grace is over, rolling up, removing what deletions of backups left that nobody ended, and counting
 * what storage can restore. One thing at a time, in this order.
 *
 * A wish to truncate that fails for good is carried out, with its error; one that may pass is tried
 * again. What an earlier run was to remove is looked for when this one begins; it is tried until it is
 * done. A roll-up that fails is tried again with the next chunks: chunks count without it.
 */
#include "agent/log/internal.h"

#include "common/clock.h"
#include "proto/repo/sweep.h"
#include "common/utf8.h"

#define DELETED_LOOK_US  USEC_PER_HOUR
#define DELETED_LATER_US USEC_PER_MIN

struct helper {
    struct log_task *task;
    struct object_scratch *scratches[3];
    struct log_joins joins; /* what was compared already */
    struct log_elsewhere elsewhere;
    int64_t recover_us;  /* mono: when to count next */
    int64_t truncate_us; /* mono: not before */
    int64_t truncate_pause_us;
    int64_t sweep_us; /* mono: when to remove next; INT64_MAX = there is nothing */
    int64_t sweep_pause_us;
    int64_t grace_us;   /* that sweep_us was made with */
    int64_t deleted_us; /* mono: when to look next for what deletions left */
    /* the run that begins behind no gap: so the writers' records say */
    uint64_t gapless_to;
    uint8_t gapless_lineage[NAMES_LINEAGE_BYTES];
};

struct log_positions log_positions_of(const struct log_task *t)
{
    return (struct log_positions){.text = t->options.engine->position_text,
                                  .parse = t->options.engine->position_parse};
}

/* ---- removing ---- */

/* With the lock. */
static int64_t grace_us(const struct log_task *t)
{
    return (int64_t)(t->params.grace_ms ? t->params.grace_ms : LOG_GRACE_MS) * USEC_PER_MSEC;
}

/* With the lock. `next_us`: by the clock that stamps records; 0 = nothing is left. */
static void removal_told(struct helper *h, int64_t next_us)
{
    struct log_task *t = h->task;
    enum log_removal removal = next_us != 0 ? LOG_REMOVAL_WAITS : LOG_REMOVAL_DONE;
    if (t->removal != removal || t->removal_failed)
        t->status_serial++;
    t->removal = removal;
    t->removal_failed = false;
    h->sweep_pause_us = 0;
    h->sweep_us = INT64_MAX;
    if (next_us != 0)
        h->sweep_us = clock_mono_us() + TM_MAX(next_us - clock_real_us(), INT64_C(0));
    pthread_cond_broadcast(&t->changed);
}

/* An empty place is one that is not mounted, or that nothing was stored in yet. */
static int sweep_now(struct helper *h, int64_t *ret_next_us, struct tm_err *err)
{
    const struct log_task *t = h->task;
    struct identity identity;
    int r = identity_read(h->scratches[0], t->options.storage, &t->options.scope, &identity, err);
    if (r == 0)
        r = log_truncate_sweep(h->scratches, t->options.storage, t->options.storage,
                               &t->options.scope, clock_real_us(), h->grace_us, ret_next_us, err);
    return r;
}

static void sweep(struct helper *h)
{
    struct log_task *t = h->task;
    struct tm_err err;
    int64_t next_us = 0;
    int r = sweep_now(h, &next_us, &err);
    if (r < 0)
        (void)log_storage_error(t, &err);
    pthread_mutex_lock(&t->lock);
    if (r == 0) {
        removal_told(h, next_us);
    } else {
        if (!t->removal_failed)
            t->removal_failed_us = clock_real_us();
        t->removal_failed = true;
        t->removal_err = err;
        t->status_serial++;
        h->sweep_pause_us = log_backoff(h->sweep_pause_us);
        h->sweep_us = clock_mono_us() + h->sweep_pause_us;
    }
    pthread_mutex_unlock(&t->lock);
}

/* A deletion's own job removes it; one whose coordinator is lost has none. Nobody waits for it, and what
 * fails is tried again with the next look. */
static void sweep_deleted(struct helper *h)
{
    struct log_task *t = h->task;
    struct sweep_totals totals;
    struct tm_err err;
    int64_t next_us = 0;
    int64_t wait_us = DELETED_LOOK_US;
    if (backup_deleted_sweep(h->scratches[0], t->options.storage, &t->options.scope,
                             clock_real_us(), &next_us, &totals, &err) < 0)
        (void)log_storage_error(t, &err);
    else if (next_us != 0) /* a moment later: its own job comes first */
        wait_us = TM_MIN(wait_us, next_us - clock_real_us() + DELETED_LATER_US);
    h->deleted_us = clock_mono_us() + TM_MAX(wait_us, DELETED_LATER_US);
}

/* ---- truncating ---- */

int log_truncate_wish(const char *until, struct log_truncate *wish, struct target *target,
                      struct tm_err *err)
{
    int r = target_parse(until, target, err);
    if (r < 0)
        return r;
    if (target->kind == TARGET_TIME) {
        wish->until_us = target->time_us;
        return 0;
    }
    if (target->kind != TARGET_POSITION)
        return tm_err_set(err, TM_E_INVALID, "'%s' is neither a time nor a position", until);
    wish->until_position = target->text;
    return 0;
}

/* A place that is not mounted holds no log and no backup: there is nothing to truncate, nor to refuse. */
static int truncate_now(struct helper *h, const char *until, bool force, bool blind,
                        struct log_truncate_result *ret, struct tm_err *err)
{
    struct log_task *t = h->task;
    struct target target;
    struct log_truncate wish = {.force = force,
                                .node = t->node,
                                .now_us = clock_real_us(),
                                .clock_us = clock_real_us,
                                .grace_us = h->grace_us,
                                .others = h->elsewhere.items};
    struct log_positions positions = log_positions_of(t);
    uint8_t nonce[OBJECT_NONCE_BYTES];
    struct identity identity;
    int r = log_truncate_wish(until, &wish, &target, err);
    if (r == 0 && blind && !force)
        r = tm_err_set(err, TM_E_REFUSED,
                       "backups lie in more than %u other storages, and one that is not looked at "
                       "may need the log: delete it first, or force",
                       WIRE_PLACES_MAX);
    if (r < 0)
        return r;
    r = identity_read(h->scratches[0], t->options.storage, &t->options.scope, &identity, err);
    if (r < 0)
        return log_storage_error(t, err);
    r = log_random(t, nonce, sizeof(nonce), err);
    if (r == 0)
        r = log_epoch_take(t, &wish.epoch, err);
    if (r < 0)
        return r;
    log_elsewhere_open(t, h->scratches[0], &h->elsewhere);
    wish.other_count = h->elsewhere.count;
    r = log_truncate_run(h->scratches, t->options.storage, t->options.storage, &t->options.scope,
                         &positions, &wish, nonce, ret, err);
    log_elsewhere_close(&h->elsewhere);
    return r < 0 ? log_storage_error(t, err) : 0;
}

static void truncate_wish(struct helper *h)
{
    struct log_task *t = h->task;
    struct log_truncate_result result = {0};
    struct tm_err err;
    char until[sizeof(t->truncate_until)];
    pthread_mutex_lock(&t->lock);
    uint32_t gen = t->params.truncate_gen;
    bool force = t->params.truncate_force;
    bool blind = t->params.truncate_blind;
    memcpy(until, t->truncate_until, sizeof(until));
    pthread_mutex_unlock(&t->lock);
    int r = truncate_now(h, until, force, blind, &result, &err);
    pthread_mutex_lock(&t->lock);
    if (r < 0 && !t->truncate_failed)
        t->truncate_failed_us = clock_real_us();
    t->truncate_failed = r < 0;
    if (r < 0)
        t->truncate_err = err;
    if (r < 0 && err.code == TM_E_REFUSED)
        t->recover_now = true; /* the operator looks now: what was refused for is told with it */
    if (r == 0 || !err.retryable)
        t->truncate_done = gen;
    if (r == 0) {
        t->truncated_us = result.truncated_us;
        (void)snprintf(t->truncated_position, sizeof(t->truncated_position), "%s",
                       result.truncated_position);
        t->recover_now = true;
        removal_told(h, result.next_us);
    }
    t->status_serial++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    h->truncate_pause_us = r < 0 ? log_backoff(h->truncate_pause_us) : 0;
    h->truncate_us = clock_mono_us() + h->truncate_pause_us;
}

/* ---- rolling up ---- */

static int roll_up(struct helper *h, struct tm_err *err)
{
    struct log_task *t = h->task;
    struct log_lineage lineage = {.truncated = 0};
    uint8_t nonce[OBJECT_NONCE_BYTES];
    uint32_t rolled = 0;
    pthread_mutex_lock(&t->lock);
    struct epoch epoch = t->branch.epoch;
    memcpy(lineage.record.id, t->branch.lineage, sizeof(lineage.record.id));
    pthread_mutex_unlock(&t->lock);
    TM_CLEANUP(log_lineages_release) struct log_lineages all = LOG_LINEAGES_INIT;
    int r = log_lineages_read(h->scratches[0], t->options.storage, &t->options.scope, &all, err);
    if (r == 0)
        r = log_random(t, nonce, sizeof(nonce), err);
    if (r < 0)
        return r;
    const struct log_lineage *own = log_lineages_find(&all, lineage.record.id);
    if (own)
        r = log_index_roll(h->scratches, t->options.storage, &t->options.scope, own, epoch, nonce,
                           t->roll_after, &rolled, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->lock);
    t->unrolled = t->unrolled > rolled && rolled > 0 ? t->unrolled - rolled : 0;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

/* ---- what can be restored ---- */

static void put_interval(const struct recoverable *in, struct msg_interval *ret)
{
    *ret = (struct msg_interval){
        .from_us = in->from_us, .to_us = in->to_us, .abandoned = in->abandoned};
    names_lineage_text(in->lineage, ret->lineage);
    (void)snprintf(ret->label, sizeof(ret->label), "%s", in->lineage_label);
    (void)snprintf(ret->from_position, sizeof(ret->from_position), "%s", in->from_position);
    (void)snprintf(ret->to_position, sizeof(ret->to_position), "%s", in->to_position);
    (void)snprintf(ret->backup_id, sizeof(ret->backup_id), "%s", in->backup_id);
}

/* Which interval leads farthest on this lineage, and up to where; SIZE_MAX = none does. */
static size_t connected(const struct log_task *t, const struct recoverable_list *list,
                        const uint8_t lineage[16], uint64_t *ret_to)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < list->count; i++) {
        uint64_t byte;
        struct tm_err ignored;
        const struct recoverable *r = &list->items[i];
        if (r->abandoned || memcmp(r->lineage, lineage, 16) != 0 ||
            t->options.engine->position_parse(r->to_position, &byte, &ignored) < 0 ||
            (found != SIZE_MAX && byte <= *ret_to))
            continue;
        *ret_to = byte;
        found = i;
    }
    return found;
}

/* With the lock. */
static void put_intervals(struct log_task *t, const struct recoverable_list *list, size_t leading,
                          uint64_t to)
{
    /* the newest ones, when there are more than can be told */
    size_t skip = list->count > WIRE_INTERVALS_MAX ? list->count - WIRE_INTERVALS_MAX : 0;
    t->interval_count = list->count - skip;
    for (size_t i = skip; i < list->count; i++)
        put_interval(&list->items[i], &t->intervals[i - skip]);
    t->growing = (struct log_growing){.is = false};
    if (leading == SIZE_MAX || leading < skip || !t->wrote || to < t->branch.from)
        return;
    t->growing = (struct log_growing){.is = true,
                                      .at = leading - skip,
                                      .settled_us = list->items[leading].settled_us,
                                      .from = t->branch.from,
                                      .to = to};
    memcpy(t->growing.lineage, list->items[leading].lineage, sizeof(t->growing.lineage));
}

/* With the lock. */
static void put_away(struct log_task *t, const struct log_elsewhere *elsewhere)
{
    const struct log_source *first = NULL;
    size_t away = 0;
    t->emptied_count = 0;
    for (size_t i = 0; i < elsewhere->count; i++) {
        const struct log_source *source = &elsewhere->items[i];
        if (!source->away && source->was_read && source->empty)
            memcpy(t->emptied[t->emptied_count++], elsewhere->urls[i], sizeof(t->emptied[0]));
        if (!elsewhere->items[i].away)
            continue;
        first = first != NULL ? first : &elsewhere->items[i];
        away++;
    }
    char more[48] = "";
    if (away > 1)
        (void)snprintf(more, sizeof(more), " and %zu more storages", away - 1);
    t->away[0] = '\0';
    if (first != NULL)
        (void)snprintf(
            t->away, sizeof(t->away),
            "backups in '%.100s'%s cannot be read now, what was known of them counts: %.260s",
            first->name, more, first->why.msg);
    utf8_clean(t->away);
}

/* With the lock. What storage lost of the log that is written, from `to` up to `stored`, if anything; else the
 * first lineage that is damaged. */
static void put_damage(struct log_task *t, const struct recoverable_list *list, uint64_t to,
                       uint64_t stored)
{
    const struct log_damage *first = list->damages.count > 0 ? &list->damages.items[0] : NULL;
    char from[ENGINE_POSITION_MAX], end[ENGINE_POSITION_MAX], more[48] = "", lineage[33];
    t->damaged[0] = '\0';
    if (to < stored) {
        t->options.engine->position_text(to, from);
        t->options.engine->position_text(stored, end);
        (void)snprintf(
            t->damaged, sizeof(t->damaged),
            "log from %s to %s, which was stored, has a part that is missing or damaged: "
            "nothing behind %s can be restored, take a new full backup",
            from, end, from);
    } else if (first != NULL) {
        if (list->damages.count > 1)
            (void)snprintf(more, sizeof(more), ", and so are %zu more", list->damages.count - 1);
        names_lineage_text(first->lineage, lineage);
        (void)snprintf(t->damaged, sizeof(t->damaged), "lineage %s is damaged%s: %.320s", lineage,
                       more, first->text);
    }
    utf8_clean(t->damaged);
}

/* Whether nothing is known of some place. */
static bool some_unread(const struct log_elsewhere *elsewhere)
{
    bool unread = false;
    for (size_t i = 0; i < elsewhere->count; i++)
        unread = unread || !elsewhere->items[i].was_read;
    return unread;
}

/* The first place above `stored` where a backup begins: what is stored up to there leads on from it. */
static uint64_t ahead(const struct log_task *t, const struct recoverable_list *list,
                      uint64_t stored)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < list->count; i++) {
        uint64_t byte;
        struct tm_err ignored;
        if (t->options.engine->position_parse(list->items[i].from_position, &byte, &ignored) == 0 &&
            byte > stored)
            first = TM_MIN(first, byte);
    }
    return first;
}

/* The gap that an earlier life of the task met: told until a backup leads on, also while there is a place
 * that nothing is known of. Looked up once for each run. */
static int recall_gap(struct helper *h, const uint8_t lineage[16], uint64_t to, struct tm_err *err)
{
    struct log_task *t = h->task;
    uint64_t from = 0;
    if (h->gapless_to == to && memcmp(h->gapless_lineage, lineage, 16) == 0)
        return 0;
    int r = log_gap_read(h->scratches[0], t->options.storage, &t->options.scope, lineage, to, &from,
                         err);
    if (r < 0)
        return r;
    if (r == 0) {
        h->gapless_to = to;
        memcpy(h->gapless_lineage, lineage, sizeof(h->gapless_lineage));
        return 0;
    }
    pthread_mutex_lock(&t->lock);
    if (t->branch.from == to && memcmp(t->branch.lineage, lineage, 16) == 0) {
        t->needs_full = true;
        t->gap_from = from;
        t->gap_to = to;
        t->status_serial++;
    }
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static int recover(struct helper *h, struct tm_err *err)
{
    struct log_task *t = h->task;
    struct log_positions positions = log_positions_of(t);
    TM_CLEANUP(recoverable_list_release) struct recoverable_list list = RECOVERABLE_LIST_INIT;
    uint8_t lineage[16];
    pthread_mutex_lock(&t->lock);
    memcpy(lineage, t->branch.lineage, sizeof(lineage));
    struct epoch epoch = t->branch.epoch;
    uint64_t from = t->branch.from;
    uint64_t fenced = t->fenced;
    bool stored = fenced > from; /* else there is nothing yet that could be led to */
    pthread_mutex_unlock(&t->lock);
    log_elsewhere_open(t, h->scratches[0], &h->elsewhere);
    int r = log_recoverable_known(h->scratches, t->options.storage, t->options.storage,
                                  &t->options.scope, &positions, &h->joins, h->elsewhere.items,
                                  h->elsewhere.count, &list, err);
    log_elsewhere_close(&h->elsewhere);
    if (r < 0)
        return r;
    uint64_t to = 0;
    size_t leading = connected(t, &list, lineage, &to);
    pthread_mutex_lock(&t->lock);
    bool same = epoch_cmp(epoch, t->branch.epoch) == 0;
    /* it leads into what is written, and storage shows less of that than was there before it was asked */
    bool lost = same && leading != SIZE_MAX && to >= from && to < fenced;
    put_intervals(t, &list, same && !lost ? leading : SIZE_MAX, to);
    put_away(t, &h->elsewhere);
    put_damage(t, &list, lost ? to : fenced, fenced);
    t->recover_at = ahead(t, &list, fenced);
    t->recover_now = t->recover_now || t->fenced >= t->recover_at; /* in the meantime */
    bool needs = to < t->branch.from || to == 0;
    bool tells = stored && t->writing && same && !t->hold_lost;
    bool open = needs && some_unread(&h->elsewhere); /* the backup may lie there; but for a gap */
    if (tells && (!open || (t->gap_to != 0 && t->gap_to == from)))
        t->needs_full = needs;
    bool lacks = (t->needs_full || (tells && open)) && t->wrote && t->branch.from == from &&
                 t->gap_to != from;
    t->status_serial++;
    pthread_mutex_unlock(&t->lock);
    return lacks ? recall_gap(h, lineage, from, err) : 0;
}

/* ---- the thread ---- */

/* With the lock. */
static bool truncate_due(const struct helper *h)
{
    const struct log_task *t = h->task;
    return t->wanted && t->params.truncate_gen > t->truncate_done && t->truncate_until[0] &&
           clock_mono_us() >= h->truncate_us;
}

/* With the lock. Another grace makes another time of it. */
static bool sweep_due(struct helper *h)
{
    const struct log_task *t = h->task;
    if (t->wanted && h->grace_us != grace_us(t)) {
        h->grace_us = grace_us(t);
        h->sweep_us = 0;
    }
    return t->wanted && clock_mono_us() >= h->sweep_us;
}

static bool waits_for_backups(struct log_task *t)
{
    pthread_mutex_lock(&t->lock);
    bool needs =
        (t->needs_full && t->step == JOB_STEP_RUN) || t->away[0] != '\0' || t->damaged[0] != '\0';
    pthread_mutex_unlock(&t->lock);
    return needs;
}

static void help_once(struct helper *h)
{
    struct log_task *t = h->task;
    struct tm_err ignored;
    pthread_mutex_lock(&t->lock);
    bool sweeps = sweep_due(h);
    bool truncates = truncate_due(h);
    bool rolls = t->writing && t->unrolled >= t->roll_after;
    bool deletes = t->wanted && t->place_ready && clock_mono_us() >= h->deleted_us;
    bool recovers =
        t->wanted && t->place_ready && (t->recover_now || clock_mono_us() >= h->recover_us);
    if (!truncates)
        t->recover_now = false;
    pthread_mutex_unlock(&t->lock);
    if (truncates)
        truncate_wish(h);
    else if (sweeps)
        sweep(h);
    else if (rolls && roll_up(h, &ignored) < 0) {
        pthread_mutex_lock(&t->lock);
        t->unrolled = t->roll_after / 2; /* tried again after some more */
        pthread_mutex_unlock(&t->lock);
    } else if (deletes)
        sweep_deleted(h);
    if (recovers) {
        /* what was told before stays when it cannot be read now; a backup is waited for */
        bool soon = recover(h, &ignored) < 0 || waits_for_backups(t);
        h->recover_us =
            clock_mono_us() + (soon ? LOG_RETRY_MAX_MS : LOG_RECOVER_MS) * USEC_PER_MSEC;
    }
}

void *log_help_main(void *arg)
{
    struct log_task *t = arg;
    struct helper h = {.task = t};
    struct tm_err err;
    int r = 0;
    for (size_t i = 0; r == 0 && i < TM_ARRAY_LEN(h.scratches); i++)
        r = object_scratch_new(&h.scratches[i], &err);
    if (r < 0)
        log_fail(t, &err);
    pthread_mutex_lock(&t->lock);
    while (!log_over(t)) {
        pthread_mutex_unlock(&t->lock);
        help_once(&h);
        pthread_mutex_lock(&t->lock);
        if (!log_over(t) && !truncate_due(&h) && !t->recover_now)
            log_wait(t, USEC_PER_SEC);
    }
    pthread_mutex_unlock(&t->lock);
    for (size_t i = 0; i < TM_ARRAY_LEN(h.scratches); i++)
        object_scratch_free(h.scratches[i]);
    log_joins_release(&h.joins);
    log_elsewhere_release(&h.elsewhere);
    return NULL;
}
