/*
 * The look at the repository before a backup: everything that would make it fail after hours is
 * tried in the first second.
 *
 * Happy path: room enough → (lead) one object is begun and dropped again → repository object →
 * no other database under this cluster and tenant → identity.
 * Failure: each step says what is wrong with the storage in the operator's words; nothing is left.
 */
#include "agent/backup/internal.h"

#include "common/clock.h"
#include "common/hash.h"
#include "proto/repo/catalog.h"

int backup_nonce(struct backup *b, uint8_t ret[OBJECT_NONCE_BYTES], struct tm_err *err)
{
    if (b->options.random)
        return b->options.random(b->options.random_arg, ret, OBJECT_NONCE_BYTES, err);
    return random_bytes(ret, OBJECT_NONCE_BYTES, err);
}

int64_t backup_now_us(const struct backup *b)
{
    return b->options.now_us ? b->options.now_us : clock_real_us();
}

int backup_canceled(const struct backup *b, struct tm_err *err)
{
    if (b->options.cancel && atomic_load_explicit(b->options.cancel, memory_order_relaxed))
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    return 0;
}

static int check_room(struct storage *st, struct tm_err *err)
{
    uint64_t room;
    if (!(st->features & STORAGE_SHARED_PATH))
        return 0;
    int r = storage_free_space(st, &room, err);
    if (r < 0)
        return r;
    if (room < BACKUP_FREE_MIN_BYTES)
        return tm_err_set(err, TM_E_NO_SPACE,
                          "storage '%s' is full: only %llu MiB are free, make room or choose "
                          "another place",
                          st->display, (unsigned long long)(room >> 20));
    return 0;
}

/* An object that is begun, written to and dropped: read-only paths and missing rights show here. */
static int check_writable(struct backup *b, struct tm_err *err)
{
    char rel[OBJECT_REF_NAME_MAX + 1];
    (void)snprintf(rel, sizeof(rel), "backup/%s/probe", b->options.backup_id);
    struct full_name name = names_full(&b->options.scope, rel);
    TM_CLEANUP(storage_writer_freep) struct storage_writer *w = NULL;
    int r = storage_create(b->options.storage, name.s, &w, err);
    if (r == 0)
        r = storage_writer_write(w, "probe", 5, err);
    return r < 0 ? tm_err_prefix(err, "storage '%s' cannot be written", b->options.storage->display)
                 : 0;
}

/* Its identity is there where something was backed up; what is kept of resources alone is nothing. */
static int check_incarnations(struct backup *b, struct tm_err *err)
{
    const struct repo_scope *scope = &b->options.scope;
    char prefix[NAMES_CLUSTER_MAX + NAMES_TENANT_MAX + 3];
    (void)snprintf(prefix, sizeof(prefix), "%s/%s/", scope->cluster, scope->tenant);
    TM_CLEANUP(name_list_release) struct name_list list = NAME_LIST_INIT;
    bool there = false;
    int r = catalog_there(b->options.storage, names_identity(scope).s, &there, err);
    if (r < 0 || there || b->options.accept_incarnation)
        return r;
    r = catalog_children(b->options.storage, prefix, &list, err);
    for (size_t i = 0; r == 0 && i < list.count && !there; i++) {
        struct repo_scope other;
        if (names_scope_set(&other, scope->cluster, scope->tenant, list.items[i], err) < 0)
            continue; /* nobody's incarnation */
        r = catalog_there(b->options.storage, names_identity(&other).s, &there, err);
        if (r == 0 && there)
            r = tm_err_set(
                err, TM_E_REFUSED,
                "storage '%s' holds backups of another database under cluster '%s', "
                "tenant '%s' (identity %s, this one is %s): use another prefix or "
                "cluster name, or say acceptIncarnation: true after pg_upgrade or initdb",
                b->options.storage->display, scope->cluster, scope->tenant, other.incarnation,
                scope->incarnation);
    }
    return r;
}

static int fill_identity(const struct backup *b, struct identity *ret, struct tm_err *err)
{
    const struct repo_scope *scope = &b->options.scope;
    *ret = (struct identity){.created_us = backup_now_us(b)};
    (void)snprintf(ret->cluster, sizeof(ret->cluster), "%s", scope->cluster);
    (void)snprintf(ret->tenant, sizeof(ret->tenant), "%s", scope->tenant);
    (void)snprintf(ret->incarnation, sizeof(ret->incarnation), "%s", scope->incarnation);
    if (!b->options.engine || strlen(b->options.engine) >= sizeof(ret->engine))
        return tm_err_set(err, TM_E_INVALID, "no engine named");
    (void)snprintf(ret->engine, sizeof(ret->engine), "%s", b->options.engine);
    return 0;
}

static int ensure_place(struct backup *b, struct object_scratch *scratch, struct tm_err *err)
{
    struct storage *st = b->options.storage;
    struct repository repo;
    struct identity mine;
    uint8_t id[OBJECT_NONCE_BYTES], nonce[OBJECT_NONCE_BYTES];
    int r;
    if ((r = backup_nonce(b, id, err)) < 0 || (r = backup_nonce(b, nonce, err)) < 0 ||
        (r = repository_open(scratch, st, id, backup_now_us(b), &repo, err)) < 0 ||
        (r = check_incarnations(b, err)) < 0 || (r = fill_identity(b, &mine, err)) < 0)
        return r;
    return identity_ensure(scratch, st, &mine, nonce, err);
}

int backup_place_ensure(const struct backup_options *options, struct object_scratch *scratch,
                        struct tm_err *err)
{
    struct backup b = {.options = *options};
    int r = check_room(options->storage, err);
    return r < 0 ? r : ensure_place(&b, scratch, err);
}

static int open_as_lead(struct backup *b, struct object_scratch *scratch, struct tm_err *err)
{
    int r = check_writable(b, err);
    return r < 0 ? r : ensure_place(b, scratch, err);
}

static int open_as_worker(struct backup *b, struct object_scratch *scratch, struct tm_err *err)
{
    struct storage *st = b->options.storage;
    struct repository repo;
    struct identity found;
    int r = repository_read(scratch, st, &repo, err);
    if (r == 0)
        r = identity_read(scratch, st, &b->options.scope, &found, err);
    if (r == -TM_E_NOT_FOUND)
        return tm_err_set(err, TM_E_NOT_FOUND,
                          "storage '%s' does not hold what the lead wrote there: is the path "
                          "mounted on this node?",
                          st->display);
    if (r < 0)
        return r;
    if (b->options.engine && strcmp(found.engine, b->options.engine) != 0)
        return tm_err_set(err, TM_E_REFUSED, "storage '%s' holds backups of engine '%s', not '%s'",
                          st->display, found.engine, b->options.engine);
    return 0;
}

int backup_open(const struct backup_options *options, struct backup **ret, struct tm_err *err)
{
    if (!names_backup_id_valid(options->backup_id))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a backup id", options->backup_id);
    TM_CLEANUP(backup_freep) struct backup *b = calloc(1, sizeof(*b));
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    if (!b)
        return tm_err_oom(err);
    b->options = *options;
    int r = object_scratch_new(&scratch, err);
    if (r == 0 && !options->sweep)
        r = check_room(options->storage, err);
    if (r == 0 && !options->sweep)
        r = options->lead ? open_as_lead(b, scratch, err) : open_as_worker(b, scratch, err);
    if (r < 0)
        return r;
    if (options->rate_limit_bytes_s > 0) {
        r = throttle_init(&b->throttle, options->rate_limit_bytes_s, clock_mono_us(), err);
        if (r < 0)
            return r;
        b->throttled = true;
    }
    b->options.engine = NULL; /* borrowed for this call only */
    *ret = TM_TAKE(b);
    return 0;
}

void backup_free(struct backup *b)
{
    if (!b)
        return;
    if (b->throttled)
        throttle_release(&b->throttle);
    free(b);
}

const struct backup_counters *backup_counters(const struct backup *b)
{
    return &b->counters;
}

int backup_worker_new(struct backup *b, struct backup_worker **ret, struct tm_err *err)
{
    TM_CLEANUP(backup_worker_freep) struct backup_worker *w = calloc(1, sizeof(*w));
    if (!w)
        return tm_err_oom(err);
    w->backup = b;
    w->index = DATA_INDEX_INIT;
    int r = object_scratch_new(&w->scratch, err);
    if (r < 0)
        return r;
    *ret = TM_TAKE(w);
    return 0;
}

void backup_worker_free(struct backup_worker *w)
{
    if (!w)
        return;
    data_index_release(&w->index);
    object_scratch_free(w->scratch);
    buf_release(&w->buf);
    free(w);
}
