/*
 * The beginning of a session.
 *
 * Happy path: the source is described → the repository is checked, once → among the stored lineages
 * of the source's branch, newest first, the first is taken that was not proven to be another; it is
 * continued where its unbroken run ends.
 * A new branch: the newest lineage of the branch it came from is finished first, up to the fork; then
 * a child is minted. Branches between that nobody stored get their lineages on the way, each up to the
 * next fork. Nothing that fits: a lineage without a parent.
 *
 * Nothing is written before the proof (receive.c) but the record of a minted lineage. Then
 * writer/<epoch> says from where on older writers' chunks count no more.
 *
 * An older writer may still be at work. So claim/<epoch> comes first: readers do not know it, but every
 * older writer that sees it ends (keep.c), and what such a one publishes it has looked for claims after
 * storing it. Then the head is read once more: if the log has grown since it was proven, the session is
 * opened again.
 */
#include "agent/log/internal.h"

#include <assert.h>

#include "agent/backup/backup.h"
#include "common/clock.h"

struct opening {
    struct engine_log_source source;
    struct log_lineages lineages;
};

static void source_release(struct engine_log_source *source)
{
    buf_release(&source->facts);
    buf_release(&source->history);
}

static void opening_release(struct opening *o)
{
    source_release(&o->source);
    log_lineages_release(&o->lineages);
}

static uint64_t segment_start(const struct log_session *s, uint64_t byte)
{
    return byte - byte % s->segment_bytes;
}

/* ---- the source ---- */

static int describe(struct log_task *t, struct engine_log_source *ret, struct tm_err *err)
{
    const char *tenant = t->options.instance.tenant;
    int r = t->options.engine->log_describe(&t->options.instance, ret, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->lock);
    bool standby_wanted = t->params.from_standby;
    t->flushed = ret->flushed; /* less than before, when the source was replaced */
    pthread_mutex_unlock(&t->lock);
    if (strcmp(ret->identity, t->options.scope.incarnation) != 0)
        return tm_err_set(err, TM_E_CONFLICT,
                          "instance '%s': the source is %s now, its log is stored as %s", tenant,
                          ret->identity, t->options.scope.incarnation);
    if (ret->role == ENGINE_ROLE_STANDBY && !standby_wanted)
        return tm_err_retry(err, TM_E_UNAVAILABLE,
                            "instance '%s' is a standby: its log is not backed up here", tenant);
    if (ret->segment_bytes == 0 || ret->segment_bytes > UINT32_MAX)
        return tm_err_set(err, TM_E_INTERNAL, "the engine's log has segments of %llu bytes",
                          (unsigned long long)ret->segment_bytes);
    return 0;
}

/* What was stored in is not made anew: it is not mounted now, and log would go to another disk. */
static int check_mounted(struct log_task *t, struct tm_err *err)
{
    struct repository repo;
    pthread_mutex_lock(&t->lock);
    uint64_t stored = t->params.checkpoint;
    pthread_mutex_unlock(&t->lock);
    if (stored == 0)
        return 0;
    int r = repository_read(t->scratches[0], t->options.storage, &repo, err);
    if (r != -TM_E_NOT_FOUND)
        return r < 0 ? log_storage_error(t, err) : 0;
    char at[ENGINE_POSITION_MAX];
    t->options.engine->position_text(stored, at);
    return tm_err_retry(err, TM_E_UNAVAILABLE,
                        "storage '%s' is empty, though log up to %s was stored there: is it "
                        "mounted? To begin anew, stop this log backup and start another",
                        t->options.storage->display, at);
}

static int open_place(struct log_task *t, struct tm_err *err)
{
    if (t->place_ready) /* changed by this thread only */
        return 0;
    int r = check_mounted(t, err);
    if (r < 0)
        return r;
    const struct backup_options options = {.storage = t->options.storage,
                                           .scope = t->options.scope,
                                           .engine = t->options.engine_name,
                                           .accept_incarnation = t->options.accept_incarnation,
                                           .random = t->options.random,
                                           .random_arg = t->options.random_arg};
    r = backup_place_ensure(&options, t->scratches[0], err);
    if (r < 0)
        return log_storage_error(t, err);
    pthread_mutex_lock(&t->lock);
    t->place_ready = true;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

/* ---- the choice ---- */

int log_refute(struct log_task *t, const uint8_t id[16], struct tm_err *err)
{
    if (t->refuted_count == LOG_REFUTED_MAX)
        return tm_err_set(err, TM_E_LIMIT,
                          "more than %u stored lineages are of other branches with the same label",
                          LOG_REFUTED_MAX);
    memcpy(t->refuted[t->refuted_count++], id, NAMES_LINEAGE_BYTES);
    return 0;
}

static bool refuted(const struct log_task *t, const uint8_t id[16])
{
    for (size_t i = 0; i < t->refuted_count; i++) {
        if (memcmp(t->refuted[i], id, 16) == 0)
            return true;
    }
    return false;
}

/* The newest lineage of this branch that can be written to; history NULL = any. */
static const struct log_lineage *newest_of(const struct log_task *t, const struct opening *o,
                                           const char *label, const struct buf *history)
{
    for (size_t i = o->lineages.count; i-- > 0;) {
        const struct log_lineage *l = &o->lineages.items[i];
        if (strcmp(l->record.label, label) == 0 && !refuted(t, l->record.id) &&
            l->truncated != LOG_TRUNCATED_ALL &&
            (!history || slice_eq(l->record.history, buf_slice(history))))
            return l;
    }
    return NULL;
}

static int set_facts(struct log_session *s, struct slice facts, struct tm_err *err)
{
    buf_reset(&s->facts);
    return buf_append_slice(&s->facts, facts, err);
}

/* ---- epochs ---- */

/* Ours must be above all that is stored but our own: else we were replaced. */
static int check_epoch(struct log_task *t, const struct log_lineage *lineage,
                       const struct log_head *head, struct tm_err *err)
{
    int r = 0;
    pthread_mutex_lock(&t->lock);
    bool own = t->wrote && memcmp(t->branch.lineage, lineage->record.id, 16) == 0 &&
               epoch_cmp(head->epoch, t->branch.epoch) == 0;
    if (!own && epoch_cmp(head->epoch, t->epoch) >= 0)
        r = tm_err_set(err, TM_E_CONFLICT,
                       "a newer writer (%llu.%u) has taken over the log, this one is %llu.%u",
                       (unsigned long long)head->epoch.term, head->epoch.counter,
                       (unsigned long long)t->epoch.term, t->epoch.counter);
    pthread_mutex_unlock(&t->lock);
    return r;
}

/* ---- continuing ---- */

/* Where the digest goes on: at the newest boundary that is stored. */
static void digest_place(struct log_session *s, const struct log_head *head)
{
    uint32_t step = (uint32_t)TM_MIN(s->segment_bytes, (uint64_t)LOG_DIGEST_BYTES);
    s->digest_step = head->digest_bytes ? head->digest_bytes : step;
    s->digest_from = head->boundary
                         ? head->boundary
                         : (head->from + s->digest_step - 1) / s->digest_step * s->digest_step;
    if (head->boundary)
        memcpy(s->digest_seed, head->at_boundary, sizeof(s->digest_seed));
    s->next = TM_MIN(s->next, segment_start(s, s->digest_from));
}

static int read_head(struct log_task *t, const struct log_lineage *lineage, struct log_head *ret,
                     struct tm_err *err)
{
    int r = log_head_read(t->scratches, t->options.storage, &t->options.scope, lineage, ret, err);
    return r < 0 ? log_storage_error(t, err) : check_epoch(t, lineage, ret, err);
}

/* What is written to a lineage that was truncated as a whole is never read. */
static int check_there(const struct log_lineage *lineage, struct tm_err *err)
{
    if (lineage->truncated != LOG_TRUNCATED_ALL)
        return 0;
    return tm_err_retry(err, TM_E_UNAVAILABLE,
                        "the lineage that was to be continued was truncated as a whole");
}

/* until 0 = this is the branch that the source writes. */
static int continue_lineage(struct log_task *t, struct log_session *s,
                            const struct log_lineage *lineage, uint64_t until, struct tm_err *err)
{
    struct log_head head;
    int r = check_there(lineage, err);
    if (r == 0)
        r = read_head(t, lineage, &head, err);
    if (r < 0)
        return r;
    uint64_t limit = until > 0 ? TM_MIN(head.to, until) : head.to;
    memcpy(s->lineage, lineage->record.id, sizeof(s->lineage));
    (void)snprintf(s->label, sizeof(s->label), "%s", lineage->record.label);
    s->run_from = head.from;
    s->previous_end = head.to > head.from ? limit : 0;
    s->unrolled = head.chunks;
    s->until = until;
    s->fresh = s->next = limit;
    s->compare_from = head.from;
    s->empty = until > 0 && head.from >= until;
    if (s->empty) {
        s->next = s->fresh = until;
        return 0;
    }
    if (limit > head.from)
        s->next = segment_start(s, limit - 1);
    if (until == 0 || head.to < until) { /* else nothing is written, only proven */
        digest_place(s, &head);
        r = log_prime(t, s, lineage, &head, err);
    }
    if (r < 0 || s->next == s->fresh)
        return r;
    return log_proof_open(t, lineage, TM_MAX(s->next, s->compare_from), &s->proof, err);
}

/* ---- minting ---- */

static uint64_t mint_from(struct log_task *t, const struct log_session *s,
                          const struct engine_log_source *source)
{
    pthread_mutex_lock(&t->lock);
    uint64_t from = t->hold_state.from ? t->hold_state.from : source->flushed;
    pthread_mutex_unlock(&t->lock);
    return segment_start(s, TM_MIN(from, source->flushed));
}

static int store_lineage(struct log_task *t, const struct lineage *record, struct tm_err *err)
{
    uint8_t nonce[OBJECT_NONCE_BYTES];
    struct object_info info;
    struct rel_name rel = names_rel_lineage(record->id);
    struct full_name name = names_full(&t->options.scope, rel.s);
    int r = log_random(t, nonce, sizeof(nonce), err);
    if (r < 0)
        return r;
    r = record_put(t->scratches[0], t->options.storage, name.s, OBJECT_LINEAGE, nonce,
                   &lineage_codec, record, &info, err);
    return r < 0 ? log_storage_error(t, err) : 0;
}

/* Above all others': the newest lineage is the one that was minted last, whatever the clocks say. */
static int64_t created_now(const struct log_lineages *all)
{
    int64_t us = clock_real_us();
    for (size_t i = 0; i < all->count; i++)
        us = TM_MAX(us, all->items[i].record.created_us + 1);
    return us;
}

/* parent NULL = none: then what is stored of others does not lead here. */
static int mint(struct log_task *t, struct log_session *s, const struct log_lineages *all,
                const struct engine_log_source *source, const uint8_t *parent, struct tm_err *err)
{
    struct lineage record = {.history = buf_slice(&source->history),
                             .facts = buf_slice(&source->facts),
                             .segment_bytes = source->segment_bytes,
                             .created_us = created_now(all)};
    int r = log_random(t, record.id, sizeof(record.id), err);
    if (r < 0)
        return r;
    record.from = source->parent_label[0] && source->fork > 0 ? segment_start(s, source->fork)
                                                              : mint_from(t, s, source);
    if (parent) {
        memcpy(record.parent, parent, sizeof(record.parent));
        record.fork = source->fork;
    }
    (void)snprintf(record.label, sizeof(record.label), "%s", source->lineage_label);
    (void)snprintf(record.node, sizeof(record.node), "%s", t->node);
    r = store_lineage(t, &record, err);
    if (r < 0)
        return r;
    memcpy(s->lineage, record.id, sizeof(s->lineage));
    (void)snprintf(s->label, sizeof(s->label), "%s", record.label);
    s->run_from = s->next = s->fresh = record.from;
    struct log_head nothing = {.from = record.from, .to = record.from};
    digest_place(s, &nothing);
    return 0;
}

/* From the source's branch up to the first one whose parent is stored: nobody may have streamed those
 * between, when one failover followed another. 1 = *branch, which is replaced on the way, is that one;
 * it was left at *ret_until, 0 when it is the source's own. 0 = no ancestor is stored. */
static int branch_to_open(struct log_task *t, const struct opening *o,
                          struct engine_log_source *branch, uint64_t *ret_until,
                          const struct log_lineage **ret_parent, struct tm_err *err)
{
    *ret_until = 0;
    while (branch->parent_label[0]) {
        *ret_parent = newest_of(t, o, branch->parent_label, NULL);
        if (*ret_parent)
            return 1;
        struct engine_log_source up;
        int r = t->options.engine->log_parent ? t->options.engine->log_parent(branch, &up, err) : 0;
        if (r < 0 || !t->options.engine->log_parent)
            return r;
        *ret_until = branch->fork;
        source_release(branch);
        *branch = up;
    }
    return 0;
}

static int source_copy(const struct engine_log_source *source, struct engine_log_source *ret,
                       struct tm_err *err)
{
    *ret = *source;
    ret->facts = BUF_INIT;
    ret->history = BUF_INIT;
    int r = buf_append_slice(&ret->facts, buf_slice(&source->facts), err);
    return r < 0 ? r : buf_append_slice(&ret->history, buf_slice(&source->history), err);
}

/* The source writes a branch that no stored lineage is. */
static int open_branch(struct log_task *t, struct log_session *s, const struct opening *o,
                       struct tm_err *err)
{
    TM_CLEANUP(source_release) struct engine_log_source branch = {.fork = 0};
    const struct log_lineage *parent = NULL;
    uint64_t until = 0;
    int r = source_copy(&o->source, &branch, err);
    if (r < 0 || (r = branch_to_open(t, o, &branch, &until, &parent, err)) < 0)
        return r;
    if (r == 0)
        return mint(t, s, &o->lineages, &o->source, NULL, err);
    if (!t->finished || memcmp(t->finished_id, parent->record.id, 16) != 0) {
        r = set_facts(s, parent->record.facts, err);
        return r < 0 ? r : continue_lineage(t, s, parent, branch.fork, err);
    }
    r = set_facts(s, buf_slice(&branch.facts), err);
    if (r == 0)
        r = mint(t, s, &o->lineages, &branch, t->finished_proven ? parent->record.id : NULL, err);
    s->until = until;
    return r;
}

/* A primary that has less than what is stored of the lineage did not write that: it is a clone, or
 * was set back. It is asked again, for what it wrote since it was described may be stored by another
 * of its agents. A standby may be late. */
static int behind(struct log_task *t, struct opening *o, const struct log_lineage *own, bool *ret,
                  struct tm_err *err)
{
    struct log_head head;
    *ret = false;
    if (o->source.role == ENGINE_ROLE_STANDBY)
        return 0;
    int r = read_head(t, own, &head, err);
    if (r < 0 || o->source.flushed >= head.to)
        return r;
    struct engine_log_source again = {.role = ENGINE_ROLE_UNKNOWN};
    r = describe(t, &again, err);
    if (r < 0)
        return r;
    *ret = again.role != ENGINE_ROLE_STANDBY && again.flushed < head.to;
    source_release(&o->source);
    o->source = again;
    return 0;
}

/* The newest lineage that can be the one that the source writes; NULL = none. */
static int own_of(struct log_task *t, struct opening *o, const struct log_lineage **ret,
                  struct tm_err *err)
{
    for (;;) {
        bool other = false;
        const struct log_lineage *own =
            newest_of(t, o, o->source.lineage_label, &o->source.history);
        int r = own ? behind(t, o, own, &other, err) : 0;
        if (r == 0 && other)
            r = log_refute(t, own->record.id, err);
        if (r < 0)
            return r;
        if (!other) {
            *ret = own;
            return 0;
        }
    }
}

static int choose(struct log_task *t, struct log_session *s, struct opening *o, struct tm_err *err)
{
    const struct log_lineage *own = NULL;
    int r = own_of(t, o, &own, err);
    if (r < 0)
        return r;
    s->segment_bytes = o->source.segment_bytes;
    r = set_facts(s, buf_slice(&o->source.facts), err);
    if (r < 0)
        return r;
    return own ? continue_lineage(t, s, own, 0, err) : open_branch(t, s, o, err);
}

/* Digest and index at s->next, unless the index was primed. */
static int start_reading(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    int r = log_digest_init(&s->digest, s->digest_step, s->digest_from, s->digest_seed, err);
    if (r == 0 && !s->index)
        r = t->options.engine->index_open(buf_slice(&s->facts), s->next, &s->index, err);
    return r;
}

int log_session_open(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    TM_CLEANUP(opening_release) struct opening o = {.lineages = LOG_LINEAGES_INIT};
    *s = LOG_SESSION_INIT;
    int r = describe(t, &o.source, err);
    if (r < 0 || (r = open_place(t, err)) < 0)
        return r;
    r = log_lineages_read(t->scratches[0], t->options.storage, &t->options.scope, &o.lineages, err);
    if (r < 0)
        return log_storage_error(t, err);
    r = choose(t, s, &o, err);
    return r < 0 || s->empty ? r : start_reading(t, s, err);
}

void log_session_release(struct log_task *t, struct log_session *s)
{
    if (s->stream)
        t->options.engine->log_close(s->stream);
    if (s->index)
        t->options.engine->index_close(s->index);
    log_proof_free(s->proof);
    log_digest_release(&s->digest);
    buf_release(&s->passed);
    buf_release(&s->facts);
    *s = LOG_SESSION_INIT;
}

/* ---- the writer object ---- */

/* As claim/… or as writer/…. */
static int store_writer(struct log_task *t, const struct log_session *s, struct epoch epoch,
                        struct rel_name rel, struct tm_err *err)
{
    struct log_writer record = {.term = epoch.term,
                                .counter = epoch.counter,
                                .from = s->fresh,
                                .created_us = clock_real_us(),
                                .gap = s->gap,
                                .gap_from = s->gap_from};
    uint8_t nonce[OBJECT_NONCE_BYTES];
    struct object_info info;
    memcpy(record.lineage, s->lineage, sizeof(record.lineage));
    memcpy(record.digest, s->digest.at_boundary, sizeof(record.digest));
    (void)snprintf(record.node, sizeof(record.node), "%s", t->node);
    (void)snprintf(record.gap_reason, sizeof(record.gap_reason), "%s", s->gap_reason);
    struct full_name name = names_full(&t->options.scope, rel.s);
    int r = log_random(t, nonce, sizeof(nonce), err);
    if (r < 0)
        return r;
    r = record_put(t->scratches[0], t->options.storage, name.s, OBJECT_WRITER, nonce,
                   &log_writer_codec, &record, &info, err);
    if (r == -TM_E_EXISTS)
        err->code = TM_E_CONFLICT;
    return r < 0 ? log_storage_error(t, err) : 0;
}

/* Whether the log still ends where the session goes on from. */
static int check_head(struct log_task *t, const struct log_session *s, struct tm_err *err)
{
    TM_CLEANUP(log_lineages_release) struct log_lineages all = LOG_LINEAGES_INIT;
    struct log_head head = {.from = 0};
    int r = log_lineages_read(t->scratches[0], t->options.storage, &t->options.scope, &all, err);
    const struct log_lineage *lineage = r == 0 ? log_lineages_find(&all, s->lineage) : NULL;
    if (r == 0 && !lineage)
        r = tm_err_set(err, TM_E_NOT_FOUND, "the lineage that was to be continued is gone");
    if (r == 0 && lineage)
        r = check_there(lineage, err);
    if (r == 0)
        r = log_head_read(t->scratches, t->options.storage, &t->options.scope, lineage, &head, err);
    if (r < 0)
        return log_storage_error(t, err);
    uint64_t to = s->until > 0 ? TM_MIN(head.to, s->until) : head.to;
    if (to <= s->fresh) /* behind a gap, the session goes on above the head */
        return 0;
    return tm_err_retry(err, TM_E_UNAVAILABLE,
                        "an older writer stored log up to %llu while this one began at %llu",
                        (unsigned long long)to, (unsigned long long)s->fresh);
}

static int claim(struct log_task *t, const struct log_session *s, struct tm_err *err)
{
    struct epoch epoch;
    int r = log_epoch_take(t, &epoch, err);
    if (r == 0)
        r = store_writer(t, s, epoch, names_rel_claim(s->lineage, epoch), err);
    return r < 0 ? r : check_head(t, s, err);
}

int log_session_write(struct log_task *t, struct log_session *s, struct tm_err *err)
{
    struct epoch epoch;
    struct buf facts = BUF_INIT;
    int r = buf_append_slice(&facts, buf_slice(&s->facts), err);
    if (r == 0)
        r = claim(t, s, err);
    if (r == 0)
        r = log_epoch_take(t, &epoch, err);
    if (r == 0)
        r = store_writer(t, s, epoch, names_rel_writer(s->lineage, epoch), err);
    if (r < 0) {
        buf_release(&facts);
        return r;
    }
    pthread_mutex_lock(&t->lock);
    buf_release(&t->branch.facts);
    t->branch.facts = facts;
    if (memcmp(t->branch.lineage, s->lineage, sizeof(t->branch.lineage)) != 0)
        t->gap_from = t->gap_to = 0; /* another's */
    memcpy(t->branch.lineage, s->lineage, sizeof(t->branch.lineage));
    (void)snprintf(t->branch.label, sizeof(t->branch.label), "%s", s->label);
    t->branch.epoch = epoch;
    t->branch.from = s->run_from;
    t->received = t->durable = t->fenced = s->fresh;
    t->unrolled = s->unrolled;
    t->wrote = t->writing = true;
    t->stage = JOB_STAGE_WORKING;
    t->proven = true;
    t->look_count = 0;
    t->checkpoint =
        (struct log_look){.flushed = 0}; /* was another lineage's, or is stored already */
    t->stored_mark = (struct log_look){.mono_us = clock_mono_us()};
    t->recover_now = true;
    t->status_serial++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

/* ---- gaps ---- */

int log_session_gap(struct log_task *t, struct log_session *s, const struct tm_err *why,
                    struct tm_err *err)
{
    TM_CLEANUP(opening_release) struct opening o = {.lineages = LOG_LINEAGES_INIT};
    uint64_t had = TM_MAX(s->next, s->fresh);
    char at[ENGINE_POSITION_MAX];
    int r = describe(t, &o.source, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->lock);
    uint64_t held = t->hold_state.lost ? 0 : segment_start(s, t->hold_state.from);
    pthread_mutex_unlock(&t->lock);
    uint64_t from = held > had ? held : segment_start(s, o.source.flushed);
    t->options.engine->position_text(had, at);
    if (strcmp(o.source.lineage_label, s->label) != 0 || from <= had)
        return tm_err_retry(err, TM_E_UNAVAILABLE, "log at %s is not there: %s", at, why->msg);
    s->gap = true;
    s->gap_from = had;
    (void)snprintf(s->gap_reason, sizeof(s->gap_reason), "%.*s", (int)sizeof(s->gap_reason) - 1,
                   why->msg);
    s->previous_end = had;
    s->run_from = s->next = s->fresh = from;
    struct log_head nothing = {.from = from, .to = from, .digest_bytes = s->digest_step};
    memset(s->digest_seed, 0, sizeof(s->digest_seed));
    digest_place(s, &nothing);
    log_proof_free(s->proof);
    s->proof = NULL;
    t->options.engine->index_close(s->index);
    s->index = NULL;
    log_digest_release(&s->digest);
    r = start_reading(t, s, err);
    if (r == 0)
        r = log_session_write(t, s, err);
    if (r < 0)
        return r;
    s->gap = false;
    pthread_mutex_lock(&t->lock);
    t->needs_full = true;
    t->gap_from = had;
    t->gap_to = from;
    pthread_mutex_unlock(&t->lock);
    return 0;
}
