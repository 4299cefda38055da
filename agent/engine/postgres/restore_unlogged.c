/*
 * Unlogged relations that the log makes.
 *
 * An unlogged relation is known by its _init fork, and only that one is in a backup. But the server makes
 * it last: an index of an unlogged table is first built, which may take hours, and a backup that reads
 * meanwhile holds the main fork of what looks like any relation. Replay then makes the _init fork, and at
 * the end of recovery the server makes the main fork from it; it does not overwrite the file that is there
 * already, and does not start.
 *
 * Happy path: what the log says of _init forks is noted before a file is written (check pass), sorted
 * once, and files of those relations are left out.
 *
 * A relation that is noted because of a record that replay does not reach never was in that history: its
 * files belong to nothing, and nothing misses them.
 *
 * Failure modes: more of them than the limit.
 */
#include <stdlib.h>

#include "agent/engine/postgres/files.h"
#include "agent/engine/postgres/restore_internal.h"
#include "common/array.h"

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct restore_unlogged));
}

int unlogged_note(struct engine_restore *r, const struct wal_fork *fork, struct tm_err *err)
{
    if (fork->fork != FORK_INIT)
        return 0;
    if (r->unlogged_count == RESTORE_UNLOGGED_MAX)
        return tm_err_set(err, TM_E_LIMIT,
                          "the log makes more than %u unlogged relations: restore to an earlier "
                          "moment, or from a later backup",
                          RESTORE_UNLOGGED_MAX);
    if (ARRAY_ROOM(r->unlogged, r->unlogged_count, r->unlogged_cap, 64, err) < 0)
        return -(int)err->code;
    r->unlogged[r->unlogged_count++] =
        (struct restore_unlogged){fork->tablespace, fork->database, fork->relation};
    return 0;
}

void unlogged_sort(struct engine_restore *r)
{
    if (r->unlogged_count > 1)
        qsort(r->unlogged, r->unlogged_count, sizeof(*r->unlogged), compare);
}

/* "base/5" or "pg_tblspc/16400/PG_15_202209061/5": where that is. */
static bool parse_dir(const struct engine_restore *r, const char *dir, struct restore_unlogged *ret)
{
    if (files_place_of(dir, r->version_dir) != FILES_PLACE_DATABASE)
        return false;
    /* a place of that kind has numbers there */
    const char *database = strrchr(dir, '/') + 1;
    ret->tablespace = FILES_TABLESPACE_DEFAULT;
    if (strncmp(dir, "base/", 5) != 0)
        ret->tablespace = (uint32_t)strtoul(dir + strlen("pg_tblspc/"), NULL, 10);
    ret->database = (uint32_t)strtoul(database, NULL, 10);
    return true;
}

bool unlogged_has(const struct engine_restore *r, const char *path)
{
    struct files_relation relation;
    struct restore_unlogged key;
    char dir[ENGINE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (r->unlogged_count == 0 || !slash || (size_t)(slash - path) >= sizeof(dir) ||
        !files_relation_parse(slash + 1, &relation) || relation.fork == FORK_INIT)
        return false;
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = '\0';
    if (!parse_dir(r, dir, &key))
        return false;
    key.relation = relation.relfilenode;
    return bsearch(&key, r->unlogged, r->unlogged_count, sizeof(key), compare) != NULL;
}
