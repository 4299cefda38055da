#ifndef TM_COORDINATOR_BRAIN_VIEW_H
#define TM_COORDINATOR_BRAIN_VIEW_H
/*
 * What the brain needs to know of a resource: the one place where its words meet those of proto/spec.
 * Strings and sub-messages live in the arena given, or in the resource; both must outlive the view.
 */
#include "common/buf.h"
#include "proto/wire/messages.h"

struct resource;

enum view_policy { VIEW_RETAIN, VIEW_DELETE, VIEW_ON_FAILURE };

enum view_from { VIEW_FROM_PRIMARY, VIEW_FROM_STANDBY, VIEW_FROM_ANY };

struct view {
    enum job_kind kind; /* BACKUP, RESTORE or LOG */
    const char *kind_text;
    const char *namespace_;
    const char *name;
    struct slice document;    /* canonical form: what is stored */
    const char *cluster;      /* restore: "" = that of the Backup it names */
    const char *tenant;       /* "" = all of the cluster's; restore: the backup's */
    const char *node;         /* restore: "" = the only one of the cluster */
    const char *storage;      /* URL; "" for a restore from a named Backup */
    const char *full_storage; /* restore: where backups lie when not with the log; "" = there */
    const char *secret;      /* whose pairs agents are sent for storage; "" = they have their own */
    const char *full_secret; /* restore: the same for full_storage */
    bool own_credentials;    /* agents are sent nothing */
    bool to_point;           /* restore: log is replayed beyond the backup */
    const char *backup_name; /* restore: of a Backup resource, "" = storage or backup id given */
    enum view_policy policy;
    enum view_from from;
    uint32_t clean_grace_ms; /* BACKUP: from its deletion on to the removal of its objects */
    uint32_t retries_max;
    uint32_t retry_pause_ms;
    struct msg_backup_params *backup;
    struct msg_restore_params *restore;
    struct msg_log_params *log; /* LOG: as wished; what only the record knows is not set */
    enum job_step log_wish;     /* LOG: RUN, PAUSE or STOP */
    const char *truncate_until; /* LOG: "" = nothing; else RFC 3339 or a position */
    bool truncate_force;
};

int view_of(const struct resource *spec, struct codec_arena *arena, struct view *ret,
            struct tm_err *err) TM_WUR;

/* Where a spec stores, for a test of it: also of kinds and forms that are not carried out. */
struct view_place {
    const char *kind_text;
    const char *namespace_;
    const char *name;
    const char *cluster;     /* "" = not said */
    const char *storage;     /* "" = none */
    const char *secret;      /* "" = none is sent */
    const char *backup_name; /* restore: of whose storage it may be */
    bool own_credentials;
    bool
        stores_on; /* from now on, without anybody looking: a log backup that is to run, a schedule */
};
void view_place_of(const struct resource *spec, struct view_place *ret);

/* The stored document read again; it was accepted once, so a failure means a damaged store. */
int view_parse(struct slice document, struct resource **ret, struct tm_err *err) TM_WUR;
void view_free(struct resource *spec);
TM_DEFINE_FREEP(struct resource, view_free)

#endif
