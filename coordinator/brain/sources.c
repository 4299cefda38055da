/*
 * Restores: where the backup lies that is to be restored. A name may be that of a Backup resource, which
 * knows cluster, tenant, storage and id, or of a log backup, or the id of a backup in the storage given. Of a
 * backup of several tenants one must be named: its part is what is restored.
 */
#include "coordinator/brain/logs.h"

#include "proto/spec/spec.h"

/* What gets agents into the storage of the Backup it names, unless they are to use their own. */
static const char *secret_from(const struct view *v, const struct res *from)
{
    return v->own_credentials ? "" : from->view.secret;
}

/* Restore from a log backup by its name: any backup beside its log will do. */
static bool resolve_log(struct brain *b, struct res *res, const struct res *from,
                        struct source *ret)
{
    const struct view *v = &res->view;
    if (!v->to_point) {
        lead_waiting(b, res, "backup '%s' is a log backup: it restores to a target alone",
                     v->backup_name);
        return false;
    }
    ret->id = "";
    if (v->cluster[0] == '\0')
        ret->cluster = from->view.cluster;
    if (v->tenant[0] == '\0')
        ret->tenant = tenant_of(b, from);
    if (v->storage[0] == '\0') {
        ret->storage = from->view.storage;
        ret->secret = secret_from(v, from);
    }
    return true;
}

int source_check(const struct brain *b, const struct view *v, struct tm_err *err)
{
    if (v->kind != JOB_KIND_RESTORE || v->backup_name[0] == '\0')
        return 0;
    struct res *from = store_find(b, "Backup", v->namespace_, v->backup_name);
    int r = from != NULL ? part_chosen(b, &from, v->tenant, err) : 0;
    return r < 0 ? tm_err_prefix(err, "%s/%s", v->kind_text, v->name) : 0;
}

/* The Backup that is meant: NULL, and the restore waits, saying why; or there is none of that name. */
static const struct res *find_backup(struct brain *b, struct res *res, bool *ret_none)
{
    const struct view *v = &res->view;
    struct tm_err err;
    struct res *from = store_find(b, "Backup", v->namespace_, v->backup_name);
    *ret_none = from == NULL && v->storage[0] != '\0'; /* the id of a backup in that storage */
    if (*ret_none)
        return NULL;
    if (from == NULL || !from->exists) {
        lead_waiting(b, res, "waiting for backup '%s', which does not exist", v->backup_name);
        return NULL;
    }
    if (part_chosen(b, &from, v->tenant, &err) < 0) {
        lead_waiting(b, res, "%s", err.msg);
        return NULL;
    }
    return from;
}

bool source_resolve(struct brain *b, struct res *res, struct source *ret)
{
    const struct view *v = &res->view;
    bool none = true;
    *ret = (struct source){.cluster = v->cluster,
                           .tenant = v->tenant[0] != '\0' ? v->tenant : RESOURCE_TENANT,
                           .storage = v->storage,
                           .full_storage = v->full_storage,
                           .secret = v->secret,
                           .full_secret = v->full_secret,
                           .id = v->backup_name};
    if (v->backup_name[0] == '\0')
        return true;
    const struct res *from = find_backup(b, res, &none);
    if (from == NULL)
        return none;
    if (log_is(from))
        return resolve_log(b, res, from, ret);
    if (from->now.rec.phase != PHASE_COMPLETE || from->now.rec.deleting) {
        lead_waiting(b, res, "waiting for backup '%s'%s%s to be Complete", v->backup_name,
                     part_is(from) ? ", tenant " : "", from->now.rec.part);
        return false;
    }
    ret->id = from->now.rec.backup_id;
    if (v->cluster[0] == '\0')
        ret->cluster = from->now.rec.cluster;
    if (v->tenant[0] == '\0')
        ret->tenant = from->now.rec.tenant;
    const char *storage = from->now.rec.storage != NULL ? from->now.rec.storage : "";
    if (v->storage[0] == '\0') {
        ret->storage = storage;
        ret->secret = secret_from(v, from);
    } else if (v->to_point && v->full_storage[0] == '\0' && strcmp(storage, v->storage) != 0) {
        ret->full_storage = storage; /* the storage given is the log's */
        ret->full_secret = secret_from(v, from);
    }
    return true;
}
