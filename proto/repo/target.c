/*
 * From a target to a plan. Happy path: the text is read; candidates are asked from the newest backup
 * on until one leads to the target; its pieces are listed and looked at. Failure modes: a target
 * that no candidate has is TM_E_NOT_FOUND and told with the moments that can be had; a chunk that a
 * roll-up tells of and that is not there is TM_E_CORRUPT.
 */
#include "proto/repo/target.h"

#include "common/clock.h"
#include "common/parse.h"
#include "proto/repo/target_internal.h"

/* ---- reading ---- */

/* A timestamp of a TiDB cluster: milliseconds since 1970 above 18 bits of counter. One of this
 * millennium is larger than any position that is written as a plain number. */
#define TSO_SHIFT 18
#define TSO_LEAST (UINT64_C(946684800000) << TSO_SHIFT)

static int time_parse(const char *text, int64_t *ret, struct tm_err *err)
{
    uint64_t tso;
    struct tm_err ignored;
    if (parse_u64(text, &tso, &ignored) < 0)
        return clock_parse(text, ret, err);
    if (tso < TSO_LEAST || tso > INT64_MAX)
        return tm_err_set(err, TM_E_INVALID, "'%s' is neither a time nor a TSO", text);
    *ret = (int64_t)(tso >> TSO_SHIFT) * 1000;
    return 0;
}

static int text_set(struct target *t, const char *text, size_t max, const char *what,
                    struct tm_err *err)
{
    size_t len = strlen(text);
    if (len == 0 || len > max)
        return tm_err_set(err, TM_E_INVALID, "a %s has 1 to %zu bytes", what, max);
    memcpy(t->text, text, len + 1);
    return 0;
}

/* "2026-11-26…": meant as a time, whatever is wrong with it. */
static bool is_date(const char *text)
{
    return strspn(text, "0123456789") == 4 && text[4] == '-';
}

/* Without a word before it. */
static int bare_parse(const char *text, struct target *t, struct tm_err *err)
{
    struct tm_err ignored;
    t->kind = TARGET_TIME;
    if (time_parse(text, &t->time_us, &ignored) == 0)
        return 0;
    if (strchr(text, ':') != NULL || is_date(text)) { /* a time: say what is wrong with it */
        int r = time_parse(text, &t->time_us, err);
        struct tm_err told = *err;
        return r == 0 ? 0
                      : tm_err_set(err, told.code,
                                   "%s; there are times, TSOs, positions, xid:N, name:TEXT, latest "
                                   "and immediate",
                                   told.msg);
    }
    t->kind = TARGET_POSITION;
    return text_set(t, text, FORMAT_POSITION_MAX - 1, "position", err);
}

int target_parse(const char *text, struct target *ret, struct tm_err *err)
{
    struct target t = {.kind = TARGET_IMMEDIATE};
    int r = 0;
    if (strcmp(text, "immediate") == 0) {
        t.kind = TARGET_IMMEDIATE;
    } else if (strcmp(text, "latest") == 0) {
        t.kind = TARGET_LATEST;
    } else if (strncmp(text, "time:", 5) == 0) {
        t.kind = TARGET_TIME;
        r = time_parse(text + 5, &t.time_us, err);
    } else if (strncmp(text, "position:", 9) == 0) {
        t.kind = TARGET_POSITION;
        r = text_set(&t, text + 9, FORMAT_POSITION_MAX - 1, "position", err);
    } else if (strncmp(text, "xid:", 4) == 0) {
        t.kind = TARGET_XID;
        r = parse_u64_in(text + 4, 1, UINT64_MAX, &t.xid, err);
    } else if (strncmp(text, "name:", 5) == 0) {
        t.kind = TARGET_NAME;
        r = text_set(&t, text + 5, EVENT_NAME_MAX - 1, "name", err);
    } else {
        r = bare_parse(text, &t, err);
    }
    if (r < 0)
        return tm_err_prefix(err, "target '%s'", text);
    *ret = t;
    return 0;
}

/* ---- candidates ---- */

int target_lineage(const struct planner *p, size_t *ret, struct tm_err *err)
{
    const struct log_lineage *l = log_lineages_find(&p->world.lineages, p->target->lineage);
    char text[33];
    names_lineage_text(p->target->lineage, text);
    if (l == NULL)
        return tm_err_set(err, TM_E_NOT_FOUND, "'%s' holds no lineage %s of %s/%s",
                          p->log_st != NULL ? p->log_st->display : p->backup_st->display, text,
                          p->scope->cluster, p->scope->tenant);
    *ret = (size_t)(l - p->world.lineages.items);
    return 0;
}

int target_candidate(struct planner *p, const struct log_backup *b, bool named, struct tm_err *err)
{
    size_t branch = log_world_current(&p->world);
    int r = p->target->has_lineage ? target_lineage(p, &branch, err) : 0;
    log_path_release(&p->path);
    if (r < 0)
        return r;
    p->backup = b;
    if (b->branch == SIZE_MAX) /* it leads to its own consistent_at */
        return !p->target->has_lineage || memcmp(b->point.lineage, p->target->lineage, 16) == 0;
    r = log_path_find(&p->world, b, branch, &p->path, err);
    if (r == 0 && p->path.count == 0 && named && !p->target->has_lineage) {
        log_path_release(&p->path);
        r = log_path_find(&p->world, b, b->branch, &p->path, err);
    }
    return r < 0 ? r : p->path.count > 0;
}

/* The backup that leads furthest; of several the newest. */
static int choose_latest(struct planner *p, const char *backup_id, size_t *ret, bool *ret_found,
                         struct tm_err *err)
{
    int64_t best_us = INT64_MIN;
    *ret_found = false;
    for (size_t i = 0; i < p->world.backup_count; i++) {
        const struct log_backup *b = &p->world.backups[i];
        if (backup_id != NULL && strcmp(backup_id, b->point.backup_id) != 0)
            continue;
        int r = target_candidate(p, b, backup_id != NULL, err);
        if (r < 0)
            return r;
        if (r > 0 && target_end_us(p) >= best_us) {
            best_us = target_end_us(p);
            *ret = i;
            *ret_found = true;
        }
    }
    return 0;
}

/* The newest candidate that has the target: 1. `own`: as its own moment. */
static int choose_newest(struct planner *p, const char *backup_id, bool own, struct tm_err *err)
{
    for (size_t i = p->world.backup_count; i-- > 0;) {
        const struct log_backup *b = &p->world.backups[i];
        if (backup_id != NULL && strcmp(backup_id, b->point.backup_id) != 0)
            continue;
        int r = target_candidate(p, b, backup_id != NULL, err);
        if (r > 0)
            r = own ? target_own_moment(p) : target_resolve(p, err);
        if (r != 0)
            return r;
    }
    return 0;
}

/* 1 = a candidate has the target. */
static int choose(struct planner *p, const char *backup_id, struct tm_err *err)
{
    bool named = backup_id != NULL;
    if (p->target->kind == TARGET_XID || p->target->kind == TARGET_NAME)
        return target_resolve_event(p, backup_id, err);
    if (p->target->kind == TARGET_LATEST) {
        size_t at = 0;
        bool found = false;
        int r = choose_latest(p, backup_id, &at, &found, err);
        if (r == 0 && found)
            r = target_candidate(p, &p->world.backups[at], named, err);
        if (r > 0 && !named) /* who names a backup gets what it leads to */
            r = target_newest(p, err);
        return r <= 0 ? r : target_resolve(p, err);
    }
    int r = choose_newest(p, backup_id, false, err);
    if (r == 0 && p->target->kind == TARGET_TIME)
        r = choose_newest(p, backup_id, true, err);
    return r;
}

static int backup_there(struct planner *p, const char *backup_id, struct tm_err *err)
{
    for (size_t i = 0; i < p->world.backup_count; i++) {
        if (backup_id == NULL || strcmp(backup_id, p->world.backups[i].point.backup_id) == 0)
            return 0;
    }
    if (backup_id == NULL)
        return tm_err_set(err, TM_E_NOT_FOUND, "'%s' holds no finished backup of %s/%s%s",
                          p->backup_st->display, p->scope->cluster, p->scope->tenant,
                          p->log_st == p->backup_st ? CATALOG_ELSEWHERE : "");
    enum backup_state state = BACKUP_UNFINISHED;
    int r = catalog_backup_state(p->backup_st, p->scope, backup_id, &state, err);
    if (r < 0)
        return r;
    if (state == BACKUP_COMMITTED)
        return tm_err_set(err, TM_E_CORRUPT, "backup '%s': its manifest is damaged", backup_id);
    return tm_err_set(err, TM_E_NOT_FOUND, "backup '%s' of %s/%s %s", backup_id, p->scope->cluster,
                      p->scope->tenant,
                      state == BACKUP_DELETED ? "is deleted"
                                              : "has no manifest: it does not exist or was never "
                                                "finished");
}

/* ---- the plan ---- */

void target_plan_release(struct target_plan *plan)
{
    free(plan->pieces);
    free(plan->labels);
    free(plan->histories);
    free(plan->lineages);
    codec_arena_release(&plan->arena);
    *plan = TARGET_PLAN_INIT;
}

void target_plan_piece(const struct target_plan *plan, size_t index, struct log_ref *ret)
{
    const struct target_piece *piece = &plan->pieces[index];
    struct lineage lineage = {.fork = 0};
    struct log_entry entry = {.from = piece->from,
                              .to = piece->to,
                              .term = piece->term,
                              .counter = piece->counter,
                              .stored_bytes = piece->stored_bytes,
                              .raw_bytes = piece->to - piece->from};
    memcpy(entry.digest, piece->digest, sizeof(entry.digest));
    memcpy(lineage.id, plan->lineages[piece->branch], sizeof(lineage.id));
    memcpy(lineage.label, plan->labels[piece->branch], sizeof(lineage.label));
    log_entry_ref(&lineage, &entry, ret);
}

static int plan_fill(struct planner *p, struct target_plan *plan, struct tm_err *err)
{
    int r = target_stop_time(p, err);
    if (r < 0)
        return r;
    plan->immediate = p->immediate;
    plan->stop_record = p->stop_record;
    plan->log_to = p->log_to;
    plan->stop_us = p->stop_us;
    memcpy(plan->backup_id, p->backup->point.backup_id, sizeof(plan->backup_id));
    if (p->immediate) {
        memcpy(plan->lineage, p->backup->point.lineage, sizeof(plan->lineage));
        memcpy(plan->stop_label, p->backup->point.lineage_label, sizeof(plan->stop_label));
        memcpy(plan->stop_position, p->backup->point.from_position, sizeof(plan->stop_position));
        return 0;
    }
    const struct lineage *l = &p->world.branches[p->path.legs[p->stop_leg].branch].lineage->record;
    memcpy(plan->lineage, l->id, sizeof(plan->lineage));
    memcpy(plan->stop_label, l->label, sizeof(plan->stop_label));
    p->engine->positions.text(p->stop_record, plan->stop_position);
    return target_pieces(p, plan, err);
}

/* ---- damaged lineages ---- */

/* Damage in a lineage that was written later than the one that was taken, or beside it: what is asked for
 * may lie there. */
static const struct log_damage *damage_ahead(const struct planner *p)
{
    const struct log_damage *found = NULL;
    size_t current = log_world_current(&p->world);
    bool known = current != SIZE_MAX && !p->world.branches[current].damaged;
    for (size_t i = 0; i < p->world.damages.count; i++) {
        const struct log_damage *d = &p->world.damages.items[i];
        if (known && epoch_cmp(d->writer, p->world.branches[current].writer) < 0)
            continue;
        if (found == NULL || epoch_cmp(d->writer, found->writer) > 0)
            found = d;
    }
    return found;
}

/* Nobody gets less than what was asked for without a word: the newest lineage is not passed over. */
static int damage_check(const struct planner *p, struct tm_err *err)
{
    const struct log_damage *d = p->target->has_lineage ? NULL : damage_ahead(p);
    bool latest = p->target->kind == TARGET_LATEST;
    char text[33];
    if (d == NULL || (!latest && (p->immediate || p->log_to <= d->from)))
        return 1;
    names_lineage_text(d->lineage, text);
    if (d->lost_to != 0)
        return !latest ? 1
                       : tm_err_set(err, TM_E_CORRUPT,
                                    "lineage %s has lost its end: %s: give a time or position, "
                                    "'immediate', or name the lineage",
                                    text, d->text);
    if (!latest)
        return tm_err_set(
            err, TM_E_CORRUPT,
            "lineage %s, which may have left here what was asked for, is damaged: %s: "
            "name the lineage that is meant",
            text, d->text);
    return tm_err_set(err, TM_E_CORRUPT,
                      "log of lineage %s lies here %s: give a time or position, 'immediate', or "
                      "another lineage: %s",
                      text, d->no_record ? "without its record" : "and is damaged", d->text);
}

/* What was not found may lie where nobody can look. */
static void damage_mention(const struct planner *p, struct tm_err *err)
{
    const struct log_damage *d = p->world.damages.count > 0 ? &p->world.damages.items[0] : NULL;
    char text[33];
    struct tm_err told = *err;
    if (d == NULL || err->code != TM_E_NOT_FOUND ||
        err->retryable) /* it may still come elsewhere */
        return;
    names_lineage_text(d->lineage, text);
    (void)tm_err_set(err, TM_E_CORRUPT, "%.180s; not counted is lineage %s, which is damaged: %s",
                     told.msg, text, d->text);
}

/* A backup's own moment needs nothing of the log task: damage there does not stand in its way. */
static int world_read(struct planner *p, struct tm_err *err)
{
    int r = log_world_read(p->scratches, p->log_st, p->backup_st, p->scope, NULL, &p->world, err);
    if (r < 0 && err->code == TM_E_CORRUPT && p->target->kind == TARGET_IMMEDIATE &&
        !p->target->has_lineage)
        r = log_world_read(p->scratches, NULL, p->backup_st, p->scope, NULL, &p->world, err);
    if (r == 0)
        log_damages_say(&p->world.damages, &p->engine->positions);
    return r;
}

int target_plan_make(struct object_scratch *scratches[3], struct storage *log_st,
                     struct storage *backup_st, const struct repo_scope *scope,
                     const char *backup_id, const struct target *target,
                     const struct target_engine *engine, struct target_plan *ret,
                     struct tm_err *err)
{
    struct planner p = {.scratches = scratches,
                        .log_st = log_st,
                        .backup_st = backup_st,
                        .scope = scope,
                        .target = target,
                        .engine = engine,
                        .world = LOG_WORLD_INIT};
    struct target_plan plan = TARGET_PLAN_INIT;
    int r = world_read(&p, err);
    if (r == 0)
        r = backup_there(&p, backup_id, err);
    if (r == 0)
        r = choose(&p, backup_id, err);
    if (r == 0)
        r = target_missing(&p, backup_id, err);
    if (r > 0)
        r = damage_check(&p, err);
    else
        damage_mention(&p, err);
    if (r > 0)
        r = plan_fill(&p, &plan, err);
    if (r < 0 && p.lost)
        r = target_before_lost(&p, err);
    log_path_release(&p.path);
    log_world_release(&p.world);
    if (r < 0) {
        target_plan_release(&plan);
        return r;
    }
    *ret = plan;
    return 0;
}
