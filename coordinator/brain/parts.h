#ifndef TM_COORDINATOR_BRAIN_PARTS_H
#define TM_COORDINATOR_BRAIN_PARTS_H
/* Inside the coordinator's brain: jobs of several tenants, and what is to be deleted. See internal.h. */
#include "coordinator/brain/internal.h"

/* Which tenants a cluster has; stored once it has two. */
#define CLUSTER_RECORD_FIELDS(X, T)                                                                \
    X(T, str, cluster, "cl", REQ, 0, WIRE_NAME_MAX)                                                \
    X(T, strs, tenants, "te", OPT, 0, WIRE_NAME_MAX, BRAIN_TENANTS_MAX)
CODEC_DECLARE(cluster_record, CLUSTER_RECORD_FIELDS);

struct cluster {
    char name[WIRE_NAME_MAX + 1];
    struct {
        char name[WIRE_NAME_MAX + 1];
        uint64_t seen_us;         /* mono: an agent last named it, or this life began */
    } tenants[BRAIN_TENANTS_MAX]; /* sorted */
    size_t tenant_count;
    bool more; /* and others */
    bool dirty;
    uint64_t txn; /* of the persist under way, 0 = none */
    uint64_t retry_us;
};

/* ---- tenants.c ---- */

void tenants_heard(struct brain *b, const struct node *node);
/* The cluster has it: one of its backups says so. */
void tenants_note(struct brain *b, const char *cluster, const char *tenant);
int tenants_load(struct brain *b, struct slice value, struct tm_err *err);
void tenants_free(struct brain *b);
void tenants_persisted(struct brain *b, uint64_t txn, bool ok);
void tenants_tick(struct brain *b);
const struct cluster *tenants_of(const struct brain *b, const char *cluster); /* never NULL */
/* The tenant of a job that is of one: that it names or began with, or the cluster's only one. */
const char *tenant_of(const struct brain *b, const struct res *res);
#define TENANTS_LEFT_OUT                                                                           \
    "the cluster has tenants that this backup began without: %.300s; they are not in it"
/* Tenants of its cluster, quoted, that a backup of all of it began without; false: none. */
bool tenants_left_out(const struct brain *b, const struct res *res, char ret[TM_ERR_MSG_MAX]);

/* ---- parts.c ---- */

/* It is done as parts, one for each tenant. */
bool parts_is(const struct res *res);
/* It is such a part. */
bool part_is(const struct res *res);
/* What it is a part of; NULL: it is none, or its whole is not there. */
struct res *part_whole(const struct brain *b, const struct res *res);
/* It is none, or the first of its whole: for bugs that are planted. */
bool part_is_first(const struct brain *b, const struct res *res);
/* A job that has not begun is to be done so. True: that is under way, or must wait. */
bool parts_begin(struct brain *b, struct res *res);
void parts_tick(struct brain *b, struct res *res);
void parts_durable(struct brain *b, struct res *res);
/* A part gets the whole's document. */
void parts_spec(struct brain *b, struct res *part, const struct res *whole);
/* The whole has another document. */
void parts_respec(struct brain *b, const struct res *res);
/* At start: parts get their documents. < 0: b->failed is set. */
int parts_loaded(struct brain *b);
/* Into the staged record of a whole that Failed: its parts that did go on. */
void parts_resume(struct record *next);
/* *res is a whole: its part of this tenant is meant; NULL or "" = its only one, which it has not. */
int part_chosen(const struct brain *b, struct res **res, const char *tenant,
                struct tm_err *err) TM_WUR;
/* A part that found nobody to begin with has waited long enough: it has failed, and says so. */
bool part_gives_up(struct brain *b, struct res *res);

/* ---- part_status.c ---- */

/* Fills the status of each part, too. */
void parts_fill(const struct brain *b, const struct res *res);
/* "tenant 'b' on node 'db-b': disk full; …", of those that Failed. Returns ret. */
const char *parts_why(struct res *const *parts, size_t count, char ret[TM_ERR_MSG_MAX]);

/* ---- removal.c ---- */

/* Begins the deletion of what is not being deleted: BRAIN_DELETED when it just goes, BRAIN_DELETING when
 * something is to be done first. A change is under way afterwards. */
enum brain_outcome removal_begin(struct brain *b, struct res *res, uint32_t grace_ms);
/* Staged: objects stay for another time than was said before. */
void removal_regrace(struct brain *b, struct res *res, uint32_t grace_ms);
void removal_tick(struct brain *b, struct res *res);
/* It has nothing to do until its grace is over. */
bool removal_waits(const struct res *res, uint64_t now_us);
/* The tombstone is there: nobody needs to have the job until its grace is over. */
void removal_marked(struct brain *b, struct res *res, uint64_t grace_left_ms);

#endif
