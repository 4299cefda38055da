/*
 * Restores: where the backup lies that is to be restored. A name may be that of a Backup resource, which
 * knows cluster, storage and id, or of a log backup, or the id of a backup in the storage given.
 */
#include "coordinator/brain/logs.h"

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
    if (v->storage[0] == '\0') {
        ret->storage = from->view.storage;
        ret->secret = secret_from(v, from);
    }
    return true;
}

bool source_resolve(struct brain *b, struct res *res, struct source *ret)
{
    const struct view *v = &res->view;
    *ret = (struct source){.cluster = v->cluster,
                           .storage = v->storage,
                           .full_storage = v->full_storage,
                           .secret = v->secret,
                           .full_secret = v->full_secret,
                           .id = v->backup_name};
    if (v->backup_name[0] == '\0')
        return true;
    const struct res *from = store_find(b, "Backup", v->namespace_, v->backup_name);
    if (from == NULL && v->storage[0] != '\0')
        return true; /* the id of a backup in that storage */
    if (from == NULL || !from->exists) {
        lead_waiting(b, res, "waiting for backup '%s', which does not exist", v->backup_name);
        return false;
    }
    if (log_is(from))
        return resolve_log(b, res, from, ret);
    if (from->now.rec.phase != PHASE_COMPLETE || from->now.rec.deleting) {
        lead_waiting(b, res, "waiting for backup '%s' to be Complete", v->backup_name);
        return false;
    }
    ret->id = from->now.rec.backup_id;
    if (v->cluster[0] == '\0')
        ret->cluster = from->now.rec.cluster;
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
