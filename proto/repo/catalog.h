#ifndef TM_PROTO_REPO_CATALOG_H
#define TM_PROTO_REPO_CATALOG_H
/*
 * What lies in a repository: clusters, tenants, incarnations, backups and their state. Reads
 * storage only; trusts only committed metadata.
 *
 * A backup is
 *     committed    manifest.mpk, and no deleted.mpk
 *     deleted      deleted.mpk, whatever else is left: readers treat it as absent
 *     unfinished   neither: running, or given up
 */
#include "proto/format/records.h"
#include "proto/format/stream.h"

#define CATALOG_PARTS_MAX   10000u /* clusters, tenants or incarnations in one list */
#define CATALOG_BACKUPS_MAX 100000u

/* ---- repository and identity objects ---- */

/* Makes tidemark.mpk when it is missing, else reads it. `id` and `now_us` are used for a new one.
 * A repository of a newer format version is TM_E_UNSUPPORTED. */
int repository_open(struct object_scratch *scratch, struct storage *st, const uint8_t id[16],
                    int64_t now_us, struct repository *ret, struct tm_err *err) TM_WUR;
/* Reads only: TM_E_NOT_FOUND "'file:///x' is not a Tidemark repository: …". */
int repository_read(struct object_scratch *scratch, struct storage *st, struct repository *ret,
                    struct tm_err *err) TM_WUR;
/* Makes or checks the scope's identity.mpk: another engine or identity under this name is
 * TM_E_REFUSED and says whose data it is. `nonce` says who wrote it. */
int identity_ensure(struct object_scratch *scratch, struct storage *st, const struct identity *mine,
                    const uint8_t nonce[OBJECT_NONCE_BYTES], struct tm_err *err) TM_WUR;
int identity_read(struct object_scratch *scratch, struct storage *st,
                  const struct repo_scope *scope, struct identity *ret, struct tm_err *err) TM_WUR;

/* ---- listing ---- */

struct name_list {
    char (*items)[NAMES_INCARNATION_MAX + 1];
    size_t count;
};
#define NAME_LIST_INIT ((struct name_list){NULL, 0})
void name_list_release(struct name_list *list);

/* Whether there is an object of this whole name. */
int catalog_there(struct storage *st, const char *name, bool *ret, struct tm_err *err) TM_WUR;
/* The distinct next segments below `prefix` ("", "c/", "c/t/"), ascending, skipping from one to the
 * next without listing what lies in between. Plain objects at that level are not listed. */
int catalog_children(struct storage *st, const char *prefix, struct name_list *ret,
                     struct tm_err *err) TM_WUR;

enum backup_state { BACKUP_UNFINISHED, BACKUP_COMMITTED, BACKUP_DELETED };
const char *backup_state_text(enum backup_state state);

struct backup_entry {
    char id[NAMES_BACKUP_ID_LEN + 1];
    enum backup_state state;
};
struct backup_list {
    struct backup_entry *items; /* ascending by id: oldest first */
    size_t count;
};
#define BACKUP_LIST_INIT ((struct backup_list){NULL, 0})
void backup_list_release(struct backup_list *list);
int catalog_backups(struct storage *st, const struct repo_scope *scope, struct backup_list *ret,
                    struct tm_err *err) TM_WUR;
int catalog_backup_state(struct storage *st, const struct repo_scope *scope, const char *backup_id,
                         enum backup_state *ret, struct tm_err *err) TM_WUR;

/* Behind "no finished backup": what an operator may have left out. */
#define CATALOG_ELSEWHERE                                                                          \
    "; name the storage where backups lie when it is another one (--full-backup-storage, "         \
    "pitrFullBackupStorageProvider)"

/* Finds the one scope that --cluster C [--tenant T] means: tenant NULL = "main" or the only one;
 * incarnation NULL = the newest (by its identity's time) that has a committed backup. */
int catalog_resolve(struct object_scratch *scratch, struct storage *st, const char *cluster,
                    const char *tenant, const char *incarnation, struct repo_scope *ret,
                    struct tm_err *err) TM_WUR;
/* The error of a search that found no such cluster (NULL = any) or tenant: it says what there is. */
int catalog_unknown(struct storage *st, const char *cluster, const char *tenant,
                    struct tm_err *err) TM_WUR;

/* ---- recoverable intervals ---- */

/* From one place of a lineage to another, proven by unbroken chains in storage. A backup without
 * further log is a point: both ends are its consistent_at. */
struct recoverable {
    char backup_id[NAMES_BACKUP_ID_LEN + 1]; /* the backup it starts from */
    uint8_t lineage[16];
    char lineage_label[FORMAT_LABEL_MAX];
    char from_position[FORMAT_POSITION_MAX];
    char to_position[FORMAT_POSITION_MAX];
    int64_t from_us;
    int64_t to_us;
    int64_t
        settled_us; /* log that proves this moment, or a later one, tells every moment from it on */
    bool abandoned; /* a lineage that the tenant left */
};
void recoverable_of(const struct manifest *manifest, struct recoverable *ret);

#endif
