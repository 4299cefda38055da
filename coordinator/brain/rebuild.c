/*
 * The state may lack something that storage and agents know: it was lost, or put back to an older copy.
 *
 * Happy path: an agent has seen a newer term than this state has (or the coordinator was started to
 * rebuild its catalog, or somebody has it read a storage that holds what it does not know) → that
 * is written down before any agent is welcomed → from then on, in every life, agents keep jobs that
 * they are not told of, truncation and what expires waits, and people are told → somebody has
 * agents look into the storages (rebuild_read.c), looks at the list, and confirms → all goes on as
 * ever.
 *
 * Failure modes: the mark cannot be stored: agents wait, it is tried again. Nobody does anything: log
 * backups go on for ever, as nothing is worse than a log that stops; other jobs are kept for KEEP_ALL_US, so
 * that a session at a database is not held open for ever, and then interrupted: what they had checkpointed
 * can be resumed.
 */
#include "coordinator/brain/internal.h"

#define KEEP_ALL_US (INT64_C(3600) * 1000000)

CODEC_DEFINE(rebuild_mark, "rebuild", REBUILD_FIELDS);

int rebuild_load(struct brain *b, struct slice value, struct tm_err *err)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    int r = codec_decode(&rebuild_mark_codec, value, &arena, &b->rebuild.mark, err);
    if (r < 0)
        return tm_err_prefix(err, "stored record '%s'", BRAIN_REBUILD_KEY);
    b->rebuild.pending = true;
    return 0;
}

void rebuild_free(struct brain *b)
{
    rebuild_run_free(b->rebuild.run);
    b->rebuild.run = NULL;
}

/* ---- the mark ---- */

static void submit(struct brain *b, const struct rebuild_mark *mark)
{
    uint64_t txn = persist_one(b, BRAIN_REBUILD_KEY, &rebuild_mark_codec, mark);
    if (txn == 0)
        return;
    b->rebuild.going = mark == NULL;
    b->rebuild.quiet = false;
    b->rebuild.txn = txn;
}

void rebuild_loaded(struct brain *b)
{
    struct rebuild *r = &b->rebuild;
    if (!b->config.rebuild || r->pending)
        return;
    r->staged = (struct rebuild_mark){.since_us = b->now.real_us, .why = REBUILD_ASKED};
    r->pending =
        true; /* from the first answer on; a life that ends before it is stored said nothing */
    r->mark = r->staged;
    submit(b, &r->staged);
}

bool rebuild_noticed(struct brain *b, uint64_t seen_term)
{
    struct rebuild *r = &b->rebuild;
    if (r->pending)
        return true;
    if (r->txn != 0 || b->now.mono_us < r->retry_us)
        return false;
    r->staged = (struct rebuild_mark){.since_us = b->now.real_us,
                                      .why = REBUILD_NOTICED,
                                      .had_term = b->term,
                                      .seen_term = seen_term};
    submit(b, &r->staged);
    return false;
}

bool rebuild_doubt(struct brain *b, bool *ret_begun)
{
    struct rebuild *r = &b->rebuild;
    if (r->pending || r->txn != 0 || b->now.mono_us < r->retry_us)
        return r->pending && r->txn == 0;
    r->staged = (struct rebuild_mark){.since_us = b->now.real_us, .why = REBUILD_ASKED};
    *ret_begun = true;
    submit(b, &r->staged);
    return false;
}

void rebuild_nothing_new(struct brain *b)
{
    if (!b->rebuild.pending || b->rebuild.txn != 0)
        return;
    submit(b, NULL);
    b->rebuild.quiet = true;
}

static void now_pending(struct brain *b)
{
    struct rebuild *r = &b->rebuild;
    r->pending = true;
    r->mark = r->staged;
    if (r->mark.why == REBUILD_ASKED)
        return; /* whoever asked is told */
    brain_log(
        b, NULL, NULL, 3, BRAIN_LOG_STATE_LOST,
        "this coordinator's state is older than the world, or new: %zu resources are known, and "
        "there may be others. Agents keep their jobs; truncation and what expires waits. Read what "
        "storage holds with 'tidemark rebuild --storage URL', then 'tidemark rebuild confirm'",
        b->resource_count);
}

static void now_certain(struct brain *b)
{
    bool quiet = b->rebuild.quiet;
    b->rebuild.pending = b->rebuild.quiet = false;
    if (quiet)
        return; /* nobody was told of it, nothing waited */
    lives_confirmed(b);
    for (size_t at = 0; at < b->node_count; at++)
        desired_node_changed(b, b->nodes[at]);
    for (size_t at = 0; at < b->resource_count; at++)
        b->resources[at]->version = ++b->version;
    brain_log(b, NULL, NULL, 5, BRAIN_LOG_PLAIN,
              "the list of resources was confirmed: truncation and what expires goes on");
}

void rebuild_persisted(struct brain *b, uint64_t txn, bool ok, const struct tm_err *err)
{
    struct rebuild *r = &b->rebuild;
    if (r->txn == 0 || r->txn != txn)
        return;
    r->txn = 0;
    if (!ok)
        r->retry_us = b->now.mono_us + PERSIST_RETRY_US;
    else if (r->going)
        now_certain(b);
    else
        now_pending(b);
    if (!ok && !r->going)
        rebuild_not_begun(b, err);
    if (r->cmd != 0)
        brain_answer(b, r->cmd, BRAIN_DONE, ok ? NULL : err);
    r->cmd = 0;
}

static bool is_known(const struct brain *b, const char *uid)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        const struct res *res = b->resources[at];
        if (strcmp(res->exists ? res->now.rec.job : res->next.rec.job, uid) == 0)
            return true;
    }
    return false;
}

static const char *kind_name(uint32_t kind)
{
    return kind == JOB_KIND_LOG ? "log backup" : kind == JOB_KIND_RESTORE ? "restore" : "backup";
}

/* What a confirmation would end: a log that stops is a hole that nobody can fill later. */
static int check_at_work(const struct brain *b, struct tm_err *err)
{
    for (size_t at = 0; at < b->node_count; at++) {
        const struct node *node = b->nodes[at];
        for (size_t n = 0; node->conn != 0 && node->heard && n < node->job_count; n++) {
            if (is_known(b, node->jobs[n].uid))
                continue;
            return tm_err_set(
                err, TM_E_REFUSED,
                "node '%s' of cluster '%s' is at work on a %s that no resource tells of, and that "
                "would end: read its storage first ('tidemark rebuild --storage URL'), or end it "
                "with --force",
                node->name, node->cluster, kind_name(node->jobs[n].kind));
        }
    }
    return 0;
}

int rebuild_confirm(struct brain *b, const struct brain_event *event, struct tm_err *err)
{
    struct rebuild *r = &b->rebuild;
    if (!r->pending)
        return tm_err_set(err, TM_E_REFUSED,
                          "nothing waits for a confirmation: this coordinator's state is complete");
    if (r->txn != 0 || r->run != NULL)
        return tm_err_retry(err, TM_E_CONFLICT, "a storage is being read, try again");
    if (!event->command.force && check_at_work(b, err) < 0)
        return -(int)err->code;
    r->cmd = event->command.cmd;
    submit(b, NULL);
    return 0;
}

/* ---- what follows from it ---- */

bool rebuild_holds_back(const struct brain *b)
{
    return b->rebuild.pending;
}

uint32_t rebuild_keep(const struct brain *b)
{
    if (!b->rebuild.pending)
        return 0;
    int64_t age_us = b->now.real_us - b->rebuild.mark.since_us;
    return age_us < KEEP_ALL_US ? DESIRED_KEEP_ALL : DESIRED_KEEP_LOGS;
}

bool brain_in_doubt(const struct brain *b, struct brain_doubt *ret)
{
    const struct rebuild_mark *mark = &b->rebuild.mark;
    if (!b->rebuild.pending)
        return false;
    *ret = (struct brain_doubt){.since_us = mark->since_us,
                                .noticed = mark->why == REBUILD_NOTICED,
                                .had_term = mark->had_term,
                                .seen_term = mark->seen_term};
    return true;
}
