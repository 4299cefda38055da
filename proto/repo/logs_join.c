/*
 * Which log goes on where a backup is consistent. Either the backup's manifest names the log
 * task's chunks, or its own log is compared with what a lineage of the same label stores for the
 * same bytes: the last 16 MiB of what both have, byte by byte. Two branches of one label share a
 * beginning and then differ for good, so equal bytes at the end prove equal bytes before.
 *
 * Failure modes: log that cannot be compared because a chunk of it is gone or damaged joins
 * nothing; a storage that does not answer is an error.
 */
#include "proto/format/stream.h"

#include "common/array.h"
#include "proto/repo/logs_internal.h"

#define JOIN_REFS_MAX 100000u

/* The end of the backup's own log. */
struct tail {
    struct log_ref *items; /* adjacent, at least LOGS_JOIN_BYTES or all */
    size_t count;
    size_t cap;
    uint64_t from; /* of all that is adjacent */
};

static void tail_release(struct tail *t)
{
    free(t->items);
}

static int tail_add(struct tail *t, const struct log_ref *ref, struct tm_err *err)
{
    const struct log_ref *last = t->count > 0 ? &t->items[t->count - 1] : NULL;
    if (last == NULL || last->task || last->to != ref->from ||
        strcmp(last->label, ref->label) != 0 ||
        memcmp(last->lineage, ref->lineage, sizeof(ref->lineage)) != 0) {
        t->count = 0;
        t->from = ref->from;
    }
    size_t drop = 0;
    while (drop + 1 < t->count && ref->to - t->items[drop + 1].from >= LOGS_JOIN_BYTES)
        drop++;
    if (drop > 0) {
        t->count -= drop;
        memmove(t->items, t->items + drop, t->count * sizeof(t->items[0]));
    }
    if (t->count == JOIN_REFS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u log objects in 16 MiB", JOIN_REFS_MAX);
    if (ARRAY_ROOM(t->items, t->count, t->cap, 8, err) < 0)
        return -(int)err->code;
    t->items[t->count++] = *ref;
    return 0;
}

/* ---- what is known ---- */

enum verdict {
    VERDICT_OPEN, /* could not be compared, or not yet */
    VERDICT_EQUAL,
    VERDICT_DIFFERENT,
};

/* Objects are never changed: a verdict stands for ever. */
struct log_join_known {
    char backup_id[NAMES_BACKUP_ID_LEN + 1];
    uint8_t lineage[16];
    enum verdict verdict;
};

/* A backup, and what its manifest says of its log. */
struct log_backup_known {
    struct log_backup backup; /* that no branch goes on from */
    bool has_log;
    bool task; /* the log task's chunks, of `lineage`; else its own, of `label` */
    uint8_t lineage[16];
    char label[FORMAT_LABEL_MAX];
    bool seen; /* since log_joins_begin */
};

void log_joins_release(struct log_joins *joins)
{
    free(joins->items);
    free(joins->backups);
    *joins = LOG_JOINS_INIT;
}

void log_joins_begin(struct log_joins *joins)
{
    for (size_t i = 0; joins != NULL && i < joins->backup_count; i++)
        joins->backups[i].seen = false;
}

void log_joins_end(struct log_joins *joins)
{
    size_t kept = 0;
    for (size_t i = 0; joins != NULL && i < joins->backup_count; i++) {
        if (joins->backups[i].seen)
            joins->backups[kept++] = joins->backups[i];
    }
    if (joins != NULL)
        joins->backup_count = kept;
}

static int backup_note(struct log_joins *joins, const struct log_backup_known *known,
                       struct tm_err *err)
{
    for (size_t i = 0; joins != NULL && i < joins->backup_count; i++) {
        if (strcmp(joins->backups[i].backup.point.backup_id, known->backup.point.backup_id) != 0)
            continue;
        joins->backups[i].seen = true;
        return 0;
    }
    if (joins == NULL || joins->backup_count == LOG_JOINS_MAX)
        return 0;
    if (ARRAY_ROOM(joins->backups, joins->backup_count, joins->backup_cap, 16, err) < 0)
        return -(int)err->code;
    joins->backups[joins->backup_count] = *known;
    joins->backups[joins->backup_count++].seen = true;
    return 0;
}

static enum verdict known_find(const struct log_joins *joins, const char *backup_id,
                               const uint8_t lineage[16])
{
    for (size_t i = 0; joins != NULL && i < joins->count; i++) {
        if (memcmp(joins->items[i].lineage, lineage, 16) == 0 &&
            strcmp(joins->items[i].backup_id, backup_id) == 0)
            return joins->items[i].verdict;
    }
    return VERDICT_OPEN;
}

static int known_add(struct log_joins *joins, const char *backup_id, const uint8_t lineage[16],
                     enum verdict verdict, struct tm_err *err)
{
    if (joins == NULL || verdict == VERDICT_OPEN || joins->count == LOG_JOINS_MAX)
        return 0;
    if (ARRAY_ROOM(joins->items, joins->count, joins->cap, 16, err) < 0)
        return -(int)err->code;
    struct log_join_known *known = &joins->items[joins->count++];
    *known = (struct log_join_known){.verdict = verdict};
    (void)snprintf(known->backup_id, sizeof(known->backup_id), "%.*s", NAMES_BACKUP_ID_LEN,
                   backup_id);
    memcpy(known->lineage, lineage, sizeof(known->lineage));
    return 0;
}

/* ---- comparing ---- */

static int sides_compare(struct log_bytes *a, struct log_bytes *b, uint64_t from, uint64_t to,
                         enum verdict *ret, struct tm_err *err)
{
    while (from < to) {
        int r = log_bytes_fill(a, from, err);
        if (r > 0)
            r = log_bytes_fill(b, from, err);
        if (r < 0)
            return r;
        if (r == 0)
            return 0; /* not there: nothing is said */
        uint64_t len = TM_MIN((uint64_t)TM_MIN(a->piece.len, b->piece.len), to - from);
        if (memcmp(a->piece.data, b->piece.data, (size_t)len) != 0) {
            *ret = VERDICT_DIFFERENT;
            return 0;
        }
        log_bytes_take(a, (size_t)len);
        log_bytes_take(b, (size_t)len);
        from += len;
    }
    *ret = VERDICT_EQUAL;
    return 0;
}

/* ---- joining ---- */

struct joiner {
    struct object_scratch **scratches;
    struct storage *log_st;
    struct storage *backup_st; /* NULL: only what is known counts */
    const struct repo_scope *scope;
    struct log_joins *joins;
    struct log_world *w;
    struct tail tail;
    bool log_failed; /* log_st, not backup_st */
};

static int compare_run(struct joiner *j, const struct log_branch *b, const struct log_run *run,
                       enum verdict *ret, struct tm_err *err)
{
    TM_CLEANUP(log_chain_freep) struct log_chain *chain = NULL;
    const struct tail *t = &j->tail;
    if (t->count == 0)
        return 0;
    uint64_t own_to = t->items[t->count - 1].to;
    uint64_t to = TM_MIN(own_to, run->to);
    uint64_t from = TM_MAX(t->from, run->from);
    if (from >= to)
        return 0;
    from = TM_MAX(from, to - TM_MIN(to, LOGS_JOIN_BYTES));
    from = TM_MAX(from, t->items[0].from); /* less only when the run ends inside our log */
    if (from >= to)
        return 0;
    int r = log_chain_open(j->scratches, j->log_st, j->scope, b->lineage, from, &chain, err);
    j->log_failed = r < 0;
    if (r < 0)
        return r;
    struct log_bytes own = {.scratch = j->scratches[2],
                            .st = j->backup_st,
                            .scope = j->scope,
                            .refs = t->items,
                            .count = t->count};
    struct log_bytes task = {.scratch =
                                 j->scratches[1], /* the chain uses it only inside its calls */
                             .st = j->log_st,
                             .scope = j->scope,
                             .chain = chain,
                             .lineage = &b->lineage->record};
    struct tm_err bad;
    r = sides_compare(&own, &task, from, to, ret, &bad);
    log_bytes_release(&own);
    log_bytes_release(&task);
    if (r < 0 && bad.code != TM_E_CORRUPT && bad.code != TM_E_NOT_FOUND) {
        j->log_failed = task.failed;
        *err = bad;
        return r;
    }
    return 0;
}

/* Every branch of the label whose run covers where the backup is consistent. */
static int join_own(struct joiner *j, const char *label, struct log_backup *backup,
                    bool *ret_joined, struct tm_err *err)
{
    for (size_t i = 0; i < j->w->lineages.count; i++) {
        struct log_branch *b = &j->w->branches[i];
        size_t run = log_branch_run(b, backup->at);
        const uint8_t *id = b->lineage->record.id;
        if (run == SIZE_MAX || strcmp(b->lineage->record.label, label) != 0)
            continue;
        enum verdict verdict = known_find(j->joins, backup->point.backup_id, id);
        int r = 0;
        if (verdict == VERDICT_OPEN && j->backup_st != NULL) {
            r = compare_run(j, b, &b->runs[run], &verdict, err);
            if (r == 0)
                r = known_add(j->joins, backup->point.backup_id, id, verdict, err);
        }
        if (r < 0)
            return r;
        if (verdict != VERDICT_EQUAL)
            continue;
        backup->branch = i;
        backup->run = run;
        *ret_joined = true;
        r = log_world_add(j->w, backup, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int join(struct joiner *j, const struct log_backup_known *known, struct tm_err *err)
{
    struct log_backup backup = known->backup;
    bool joined = false;
    int r = 0;
    if (known->has_log && known->task) {
        const struct log_lineage *l = log_lineages_find(&j->w->lineages, known->lineage);
        size_t at = l != NULL ? (size_t)(l - j->w->lineages.items) : SIZE_MAX;
        size_t run = l != NULL ? log_branch_run(&j->w->branches[at], backup.at) : SIZE_MAX;
        if (run != SIZE_MAX) {
            backup.branch = at;
            backup.run = run;
        }
    } else if (known->has_log) {
        r = join_own(j, known->label, &backup, &joined, err);
    }
    return r < 0 || joined ? r : log_world_add(j->w, &backup, err);
}

int log_join_known(struct log_joins *joins, struct log_world *w, struct tm_err *err)
{
    struct joiner j = {.joins = joins, .w = w};
    int r = 0;
    for (size_t i = 0; r == 0 && i < joins->backup_count; i++)
        r = join(&j, &joins->backups[i], err);
    return r;
}

int log_join(struct object_scratch *scratches[3], struct storage *log_st, struct storage *backup_st,
             const struct repo_scope *scope, const char *backup_id, struct log_joins *joins,
             struct log_world *w, bool *ret_log_failed, struct tm_err *err)
{
    struct joiner j = {.scratches = scratches,
                       .log_st = log_st,
                       .backup_st = backup_st,
                       .scope = scope,
                       .joins = joins,
                       .w = w};
    struct manifest_reader mr = MANIFEST_READER_INIT;
    struct manifest_item item;
    struct log_backup_known known = {.backup.branch = SIZE_MAX};
    struct log_backup *backup = &known.backup;
    struct tm_err bad;
    int r = manifest_reader_open(&mr, scratches[0], backup_st, scope, backup_id, &bad);
    if (r == 0) {
        recoverable_of(&mr.root, &backup->point);
        backup->settled_us = TM_MAX(mr.root.settled_us, mr.root.commit_us);
        backup->at = mr.root.log_to;
        backup->log_from = mr.root.log_from;
    }
    while (r >= 0 && (r = manifest_reader_next(&mr, &item, &bad)) > 0) {
        if (item.kind == MANIFEST_LOG)
            r = tail_add(&j.tail, &item.log, &bad);
    }
    manifest_reader_release(&mr);
    if (r == 0 && j.tail.count > 0) {
        const struct log_ref *last = &j.tail.items[j.tail.count - 1];
        known.has_log = true;
        known.task = last->task;
        memcpy(known.lineage, last->lineage, sizeof(known.lineage));
        memcpy(known.label, last->label, sizeof(known.label));
    }
    if (r == 0)
        r = join(&j, &known, &bad);
    if (r == 0)
        r = backup_note(joins, &known, &bad);
    if (r < 0 && (bad.code == TM_E_CORRUPT || bad.code == TM_E_NOT_FOUND))
        r = 0; /* `verify` says what is wrong with it */
    tail_release(&j.tail);
    *ret_log_failed = j.log_failed;
    if (r < 0)
        *err = bad;
    return r;
}
