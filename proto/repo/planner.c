/*
 * Choosing the backup of a restore. Happy path: all committed backups' roots are read (one small
 * object each), the newest consistent one at or before the target wins. Failure modes: no backup,
 * none early enough, a target that no stored log reaches; each says what could be restored instead.
 */
#include "proto/repo/planner.h"

#include "common/clock.h"

struct candidate {
    char backup_id[NAMES_BACKUP_ID_LEN + 1];
    int64_t commit_us;
    char position[FORMAT_POSITION_MAX];
};

static int candidate_read(struct object_scratch *scratch, struct storage *st,
                          const struct repo_scope *scope, const char *backup_id,
                          struct candidate *ret, struct tm_err *err)
{
    TM_CLEANUP(manifest_reader_release) struct manifest_reader mr = MANIFEST_READER_INIT;
    int r = manifest_reader_open(&mr, scratch, st, scope, backup_id, err);
    if (r < 0)
        return r;
    struct candidate c = {.commit_us = mr.root.commit_us};
    memcpy(c.backup_id, mr.root.backup_id, sizeof(c.backup_id));
    if (mr.root.consistent_at != NULL)
        memcpy(c.position, mr.root.consistent_at->text, sizeof(c.position));
    *ret = c;
    return 0;
}

static bool fits(const struct candidate *c, const struct restore_request *request)
{
    if (request->immediate)
        return true;
    if (request->target_position != NULL)
        return strcmp(c->position, request->target_position) == 0;
    return request->target_us == 0 || c->commit_us <= request->target_us;
}

static int none_fits(const struct repo_scope *scope, const struct restore_request *request,
                     const struct candidate *oldest, struct tm_err *err)
{
    char target[CLOCK_TEXT_MAX];
    char time[CLOCK_TEXT_MAX];
    if (oldest == NULL)
        return tm_err_set(err, TM_E_NOT_FOUND, "there is no finished backup of %s/%s",
                          scope->cluster, scope->tenant);
    if (request->target_position != NULL)
        return tm_err_set(
            err, TM_E_UNSUPPORTED,
            "no backup of %s/%s is consistent exactly at position %s, and there is no "
            "stored log to replay to it",
            scope->cluster, scope->tenant, request->target_position);
    return tm_err_set(
        err, TM_E_NOT_FOUND,
        "no backup of %s/%s is consistent at or before %s: the oldest, '%s', is at %s",
        scope->cluster, scope->tenant, clock_format(request->target_us, target), oldest->backup_id,
        clock_format(oldest->commit_us, time));
}

static int choose_newest(struct object_scratch *scratch, struct storage *st,
                         const struct repo_scope *scope, const struct restore_request *request,
                         struct candidate *ret, struct tm_err *err)
{
    struct backup_list backups = BACKUP_LIST_INIT;
    struct candidate best = {.commit_us = INT64_MIN};
    struct candidate oldest = {.commit_us = INT64_MAX};
    bool found = false;
    int r = catalog_backups(st, scope, &backups, err);
    for (size_t i = 0; r == 0 && i < backups.count; i++) {
        struct candidate c;
        if (backups.items[i].state != BACKUP_COMMITTED)
            continue;
        r = candidate_read(scratch, st, scope, backups.items[i].id, &c, err);
        if (r < 0)
            break;
        if (c.commit_us < oldest.commit_us)
            oldest = c;
        if (fits(&c, request) && (!found || c.commit_us >= best.commit_us)) {
            best = c;
            found = true;
        }
    }
    backup_list_release(&backups);
    if (r < 0)
        return r;
    if (!found)
        return none_fits(scope, request, oldest.commit_us == INT64_MAX ? NULL : &oldest, err);
    *ret = best;
    return 0;
}

static int named(struct object_scratch *scratch, struct storage *st, const struct repo_scope *scope,
                 const struct restore_request *request, struct candidate *ret, struct tm_err *err)
{
    enum backup_state state;
    int r = catalog_backup_state(st, scope, request->backup_id, &state, err);
    if (r < 0)
        return r;
    if (state != BACKUP_COMMITTED)
        return tm_err_set(err, TM_E_NOT_FOUND, "backup '%s' of %s/%s %s", request->backup_id,
                          scope->cluster, scope->tenant,
                          state == BACKUP_DELETED ? "is deleted"
                                                  : "does not exist or was never finished");
    r = candidate_read(scratch, st, scope, request->backup_id, ret, err);
    if (r < 0 || fits(ret, request))
        return r;
    char target[CLOCK_TEXT_MAX];
    char time[CLOCK_TEXT_MAX];
    if (request->target_position != NULL)
        return tm_err_set(err, TM_E_UNSUPPORTED,
                          "backup '%s' is consistent at position %s, not at %s, and there is no "
                          "stored log to replay",
                          ret->backup_id, ret->position, request->target_position);
    return tm_err_set(
        err, TM_E_INVALID,
        "backup '%s' is consistent only at %s, after the target %s: choose an older one",
        ret->backup_id, clock_format(ret->commit_us, time),
        clock_format(request->target_us, target));
}

int restore_choose(struct object_scratch *scratch, struct storage *st,
                   const struct repo_scope *scope, const struct restore_request *request,
                   struct restore_choice *ret, struct tm_err *err)
{
    struct candidate c;
    int r = request->backup_id != NULL ? named(scratch, st, scope, request, &c, err)
                                       : choose_newest(scratch, st, scope, request, &c, err);
    if (r < 0)
        return r;
    bool by_time =
        !request->immediate && request->target_position == NULL && request->target_us != 0;
    if (by_time && c.commit_us < request->target_us) {
        char target[CLOCK_TEXT_MAX];
        char time[CLOCK_TEXT_MAX];
        return tm_err_set(
            err, TM_E_UNSUPPORTED,
            "there is no stored log from backup '%s' (consistent at %s) to %s: restore "
            "to that backup's own time, or 'immediate'",
            c.backup_id, clock_format(c.commit_us, time), clock_format(request->target_us, target));
    }
    *ret = (struct restore_choice){.commit_us = c.commit_us, .exact = true};
    memcpy(ret->backup_id, c.backup_id, sizeof(c.backup_id));
    return 0;
}
