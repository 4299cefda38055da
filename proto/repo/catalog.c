/*
 * The catalog. Lists skip from one child to the next, so that a repository with a million objects
 * is listed by its directories. Failure modes: what cannot be read is an error, never an empty
 * list; a backup whose state changes while we look is reported as one of the two.
 */
#include "proto/repo/catalog.h"

#include "common/array.h"

/* ---- repository and identity ---- */

static int repository_get(struct object_scratch *scratch, struct storage *st,
                          struct repository *ret, struct tm_err *err)
{
    struct codec_arena arena = {0}; /* stays empty: the record has fixed fields only */
    struct repository repo;
    int r = record_get(scratch, st, NAMES_REPOSITORY, OBJECT_REPOSITORY, &repository_codec, &arena,
                       &repo, err);
    codec_arena_release(&arena);
    if (r < 0)
        return r;
    if (repo.version != FORMAT_VERSION)
        return tm_err_set(err, TM_E_UNSUPPORTED,
                          "repository '%s' has format version %u, this Tidemark knows %d",
                          st->display, repo.version, FORMAT_VERSION);
    *ret = repo;
    return 0;
}

int repository_read(struct object_scratch *scratch, struct storage *st, struct repository *ret,
                    struct tm_err *err)
{
    int r = repository_get(scratch, st, ret, err);
    if (r < 0 && err->code == TM_E_NOT_FOUND)
        return tm_err_set(err, TM_E_NOT_FOUND, "'%s' is not a Tidemark repository: it has no '%s'",
                          st->display, NAMES_REPOSITORY);
    return r;
}

int repository_open(struct object_scratch *scratch, struct storage *st, const uint8_t id[16],
                    int64_t now_us, struct repository *ret, struct tm_err *err)
{
    int r = repository_get(scratch, st, ret, err);
    if (r == 0 || err->code != TM_E_NOT_FOUND)
        return r;
    struct repository repo = {.version = FORMAT_VERSION, .created_us = now_us};
    memcpy(repo.id, id, sizeof(repo.id));
    struct object_info info;
    r = record_put(scratch, st, NAMES_REPOSITORY, OBJECT_REPOSITORY, id, &repository_codec, &repo,
                   &info, err);
    if (r < 0 && err->code == TM_E_EXISTS) /* another agent was faster */
        return repository_get(scratch, st, ret, err);
    if (r == 0)
        *ret = repo;
    return r;
}

int identity_read(struct object_scratch *scratch, struct storage *st,
                  const struct repo_scope *scope, struct identity *ret, struct tm_err *err)
{
    struct codec_arena arena = {0};
    struct identity identity;
    int r = record_get(scratch, st, names_identity(scope).s, OBJECT_IDENTITY, &identity_codec,
                       &arena, &identity, err);
    codec_arena_release(&arena);
    if (r == 0)
        *ret = identity;
    return r;
}

static int identity_compare(struct storage *st, const struct identity *mine,
                            const struct identity *theirs, struct tm_err *err)
{
    if (strcmp(mine->cluster, theirs->cluster) == 0 && strcmp(mine->tenant, theirs->tenant) == 0 &&
        strcmp(mine->incarnation, theirs->incarnation) == 0 &&
        strcmp(mine->engine, theirs->engine) == 0)
        return 0;
    return tm_err_set(err, TM_E_REFUSED,
                      "'%s' holds data of %s cluster %s/%s with identity %s under the name of %s "
                      "cluster %s/%s with identity %s: use another prefix",
                      st->display, theirs->engine, theirs->cluster, theirs->tenant,
                      theirs->incarnation, mine->engine, mine->cluster, mine->tenant,
                      mine->incarnation);
}

int identity_ensure(struct object_scratch *scratch, struct storage *st, const struct identity *mine,
                    const uint8_t nonce[OBJECT_NONCE_BYTES], struct tm_err *err)
{
    struct repo_scope scope;
    struct identity theirs;
    int r = names_scope_set(&scope, mine->cluster, mine->tenant, mine->incarnation, err);
    if (r < 0)
        return r;
    r = identity_read(scratch, st, &scope, &theirs, err);
    if (r < 0 && err->code == TM_E_NOT_FOUND) {
        struct object_info info;
        r = record_put(scratch, st, names_identity(&scope).s, OBJECT_IDENTITY, nonce,
                       &identity_codec, mine, &info, err);
        if (r == 0 || err->code != TM_E_EXISTS)
            return r;
        r = identity_read(scratch, st, &scope, &theirs, err);
    }
    return r < 0 ? r : identity_compare(st, mine, &theirs, err);
}

/* ---- listing ---- */

void name_list_release(struct name_list *list)
{
    free(list->items);
    *list = NAME_LIST_INIT;
}

static int name_list_add(struct name_list *list, size_t *cap, const char *text, size_t len,
                         struct tm_err *err)
{
    if (list->count == CATALOG_PARTS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u names at one level", CATALOG_PARTS_MAX);
    if (ARRAY_ROOM(list->items, list->count, *cap, 16, err) < 0)
        return -(int)err->code;
    memcpy(list->items[list->count], text, len);
    list->items[list->count][len] = '\0';
    list->count++;
    return 0;
}

/* Called with the first object of every child; `child` is not terminated. */
typedef int (*child_fn)(void *arg, const char *child, size_t len, struct tm_err *err);

static int each_child(struct storage *st, const char *prefix, child_fn fn, void *arg,
                      struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    size_t prefix_len = strlen(prefix);
    int r = storage_list(st, prefix, NULL, &it, err);
    struct storage_object object;
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) > 0) {
        const char *child = object.name + prefix_len;
        char *slash = strchr(object.name + prefix_len, '/');
        if (slash == NULL)
            continue;
        r = fn(arg, child, (size_t)(slash - child), err);
        if (r < 0)
            break;
        slash[0] = '/' + 1; /* sorts behind everything below this child */
        slash[1] = '\0';
        r = storage_iter_skip(it, object.name, err);
    }
    return r < 0 ? r : 0;
}

struct part_collector {
    struct name_list list;
    size_t cap;
};

static int collect_part(void *arg, const char *child, size_t len, struct tm_err *err)
{
    struct part_collector *c = arg;
    char text[NAMES_INCARNATION_MAX + 1];
    if (len > NAMES_INCARNATION_MAX)
        return 0;
    memcpy(text, child, len);
    text[len] = '\0';
    if (!names_part_valid(text, NAMES_INCARNATION_MAX))
        return 0; /* not ours */
    return name_list_add(&c->list, &c->cap, child, len, err);
}

int catalog_children(struct storage *st, const char *prefix, struct name_list *ret,
                     struct tm_err *err)
{
    struct part_collector c = {.list = NAME_LIST_INIT};
    int r = each_child(st, prefix, collect_part, &c, err);
    if (r < 0)
        name_list_release(&c.list);
    else
        *ret = c.list;
    return r;
}

const char *backup_state_text(enum backup_state state)
{
    switch (state) {
    case BACKUP_UNFINISHED:
        return "unfinished";
    case BACKUP_COMMITTED:
        return "committed";
    case BACKUP_DELETED:
        return "deleted";
    }
    return "unknown";
}

int catalog_there(struct storage *st, const char *name, bool *ret, struct tm_err *err)
{
    struct storage_object object;
    struct tm_err stat_err;
    int r = storage_stat(st, name, &object, &stat_err);
    if (r < 0 && stat_err.code != TM_E_NOT_FOUND) {
        *err = stat_err;
        return r;
    }
    *ret = r == 0;
    return 0;
}

int catalog_backup_state(struct storage *st, const struct repo_scope *scope, const char *backup_id,
                         enum backup_state *ret, struct tm_err *err)
{
    bool deleted = false;
    bool committed = false;
    if (!names_backup_id_valid(backup_id))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a backup id", backup_id);
    struct rel_name rel = names_rel_deleted(backup_id);
    int r = catalog_there(st, names_full(scope, rel.s).s, &deleted, err);
    rel = names_rel_manifest(backup_id);
    if (r == 0 && !deleted)
        r = catalog_there(st, names_full(scope, rel.s).s, &committed, err);
    if (r == 0)
        *ret = deleted ? BACKUP_DELETED : committed ? BACKUP_COMMITTED : BACKUP_UNFINISHED;
    return r;
}

void backup_list_release(struct backup_list *list)
{
    free(list->items);
    *list = BACKUP_LIST_INIT;
}

struct backup_collector {
    struct storage *st;
    const struct repo_scope *scope;
    struct backup_list list;
    size_t cap;
};

static int collect_backup(void *arg, const char *child, size_t len, struct tm_err *err)
{
    struct backup_collector *c = arg;
    struct backup_entry entry = {.state = BACKUP_UNFINISHED};
    if (len != NAMES_BACKUP_ID_LEN)
        return 0;
    memcpy(entry.id, child, len);
    if (!names_backup_id_valid(entry.id))
        return 0; /* not ours */
    if (c->list.count == CATALOG_BACKUPS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u backups", CATALOG_BACKUPS_MAX);
    int r = catalog_backup_state(c->st, c->scope, entry.id, &entry.state, err);
    if (r < 0)
        return r;
    if (ARRAY_ROOM(c->list.items, c->list.count, c->cap, 16, err) < 0)
        return -(int)err->code;
    c->list.items[c->list.count++] = entry;
    return 0;
}

int catalog_backups(struct storage *st, const struct repo_scope *scope, struct backup_list *ret,
                    struct tm_err *err)
{
    struct backup_collector c = {.st = st, .scope = scope, .list = BACKUP_LIST_INIT};
    int r = each_child(st, names_backups_prefix(scope).s, collect_backup, &c, err);
    if (r < 0)
        backup_list_release(&c.list);
    else
        *ret = c.list;
    return r;
}

void recoverable_of(const struct manifest *manifest, struct recoverable *ret)
{
    struct recoverable point = {.from_us = manifest->commit_us, .to_us = manifest->commit_us};
    memcpy(point.backup_id, manifest->backup_id, sizeof(point.backup_id));
    memcpy(point.lineage, manifest->lineage, sizeof(point.lineage));
    memcpy(point.lineage_label, manifest->lineage_label, sizeof(manifest->lineage_label));
    if (manifest->consistent_at != NULL) {
        memcpy(point.from_position, manifest->consistent_at->text, sizeof(point.from_position));
        memcpy(point.to_position, manifest->consistent_at->text, sizeof(point.to_position));
    }
    *ret = point;
}
