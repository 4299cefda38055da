#ifndef TM_PROTO_SPEC_STATUS_H
#define TM_PROTO_SPEC_STATUS_H
/*
 * Status of a resource, and a resource as people see it: JSON and YAML.
 *
 *     struct resource_status *st = resource_status_new();       zeroed, phase NONE
 *     resource_status_set_phase(st, RESOURCE_RUNNING, now_us, "", "");   keeps conditions[]
 *     st->ranges_done = …
 *     resource_json(resource, st, &meta, &json, err)
 *
 * Times are µs since 1970, 0 = not yet; on output RFC 3339 UTC with microseconds. Strings are
 * inside the struct, "" = not known. Not thread safe.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "proto/spec/spec.h"

/*      enum        text;   the first is where every resource starts */
#define RESOURCE_PHASE_MAP(X)                                                                      \
    X(SCHEDULED, "Scheduled")                                                                      \
    X(PREPARE, "Prepare")                                                                          \
    X(RUNNING, "Running")                                                                          \
    X(COMPLETE, "Complete") /* terminal */                                                         \
    X(FAILED, "Failed")     /* terminal until retried */                                           \
    X(PAUSE, "Pause")       /* logs */                                                             \
    X(STOPPED, "Stopped")   /* logs, terminal */                                                   \
    X(FAIL, "Fail")         /* logs */                                                             \
    X(DELETING, "Deleting") /* data is being removed, then the resource goes */

enum resource_phase {
    RESOURCE_PHASE_NONE = 0,
#define RESOURCE_PHASE_ENUM(name, text) RESOURCE_##name,
    RESOURCE_PHASE_MAP(RESOURCE_PHASE_ENUM)
#undef RESOURCE_PHASE_ENUM
};

/* "Running"; "" for NONE. */
const char *resource_phase_text(enum resource_phase phase);
/* Any case; unknown words: TM_E_INVALID with a suggestion. */
int resource_phase_parse(const char *text, enum resource_phase *ret_phase,
                         struct tm_err *err) TM_WUR;
/* Whether `wanted` can no longer come once `now` is reached, without a retry or a new spec. */
bool resource_phase_is_past(enum resource_phase now, enum resource_phase wanted);

#define STATUS_CONDITIONS_MAX 16
#define STATUS_PROBLEMS_MAX   64 /* further ones are counted only */
#define STATUS_WARNINGS_MAX   32
#define STATUS_INTERVALS_MAX  64
#define STATUS_SHARES_MAX     4096 /* nodes of one cluster */
#define STATUS_STORAGE_MAX    65   /* the lead and its workers */
#define STATUS_HOLDS_MAX      65   /* the lead's and its standbys' */
#define STATUS_TENANTS_MAX    64   /* of one cluster */

struct status_condition {
    enum resource_phase type;
    bool status; /* whether it holds now */
    int64_t last_transition_us;
    char reason[64]; /* one word, "" = none */
    char message[TM_ERR_MSG_MAX];
};

/* A page or file that is not as it should be: named, the backup goes on. */
struct status_problem {
    char node[RESOURCE_NAME_MAX + 1];
    char file[256]; /* "" = see message */
    bool has_block;
    uint64_t block;
    char message[512];
};

#define STATUS_MESSAGE_MAX 512

struct status_error {
    char node[RESOURCE_NAME_MAX + 1];
    char stage[32]; /* "plan", "range", "commit", … */
    int64_t since_us;
    enum tm_err_code code;
    char message[STATUS_MESSAGE_MAX];
};

/* A stretch of time that storage can restore; or, abandoned, a tail that no primary has any more. */
struct status_interval {
    char tenant[RESOURCE_NAME_MAX + 1]; /* of a log backup of several; else "" */
    char lineage[33];
    char label[64];
    char from_position[65];
    char to_position[65];
    int64_t from_us;
    int64_t to_us;
    char backup_id[33]; /* it starts from */
    bool abandoned;
};

/* What a dry run says that a restore would do. */
struct status_plan {
    bool is_plan;
    char backup_id[33];
    bool by_log; /* log behind the backup is replayed, … */
    char label[64];
    uint64_t log_bytes;
    int64_t commit_us; /* … up to this moment */
    char position[65];
    uint64_t ranges;
    uint64_t bytes; /* to be fetched, unpacked */
    uint64_t estimate_us;
    uint64_t threads;
};

/* Log kept at a source for a log backup. */
struct status_hold {
    char node[RESOURCE_NAME_MAX + 1];
    char name[64]; /* at the source; "" = its agent does not say */
    char at[65];   /* from this position on */
    uint64_t bytes;
    bool at_risk; /* less than a failover to this node would need */
    bool lost;
};

/* A log backup, beyond what every resource has. */
struct status_log {
    bool is_log;
    int64_t checkpoint_us; /* everything acknowledged before is stored */
    char position[65];
    bool has_latency;
    uint64_t latency_us;
    bool has_skew;
    int64_t skew_us; /* the source's clock minus its agent's */
    bool needs_full;
    int64_t truncated_us;
    char truncated_position[65];
    char truncate_until[64];             /* the newest wish, "" = none… */
    bool truncate_pending;               /* …not answered yet… */
    char truncate_error[TM_ERR_MSG_MAX]; /* …or refused; pending: why it is tried again */
    bool removing; /* what was truncated is still stored, until its grace is over… */
    char removal_error[TM_ERR_MSG_MAX];  /* …or until this is: it is tried again */
    struct status_interval *recoverable; /* malloc'ed by resource_status_add_interval */
    size_t recoverable_count;
    struct status_hold *holds; /* malloc'ed by resource_status_add_hold */
    size_t hold_count;
};

/* How a node's requests to an object store go; its runner's, since it was started. */
struct status_storage {
    char node[RESOURCE_NAME_MAX + 1];
    uint64_t requests;
    uint64_t retries;
    uint64_t slow_downs;   /* answers that asked for fewer requests */
    uint32_t parallel;     /* requests that may be under way at once now… */
    uint32_t parallel_max; /* …and when the store does not mind */
    int64_t skew_us;       /* the store's clock minus the node's */
};

struct resource_status {
    enum resource_phase phase;
    struct status_condition conditions[STATUS_CONDITIONS_MAX]; /* one a phase, oldest first */
    size_t condition_count;
    char waiting[256]; /* what the job waits for now; "" = nothing */

    char tenant[RESOURCE_NAME_MAX + 1];
    char node[RESOURCE_NAME_MAX + 1]; /* lead of a backup, target of a restore */
    char backup_id[33];
    char backup_path[1024]; /* full URL of what was stored (or is being restored) */
    uint64_t backup_bytes;  /* as stored: "backupSize" */
    uint64_t data_bytes;    /* as read: "dataSize" */
    uint64_t log_bytes;     /* of log it needs, own or shared */
    uint64_t file_count;
    int64_t commit_us; /* the moment the backup is consistent at */
    char position[65];
    char lineage[64];

    int64_t started_us;
    int64_t completed_us;
    int64_t removal_us; /* deleted: its objects are removed then, 0 = not known */
    uint32_t attempt;   /* from 1 */

    uint64_t ranges_total;
    uint64_t ranges_done;
    uint64_t bytes_total;
    uint64_t bytes_done;
    uint64_t ranges_resumed; /* of those done: by earlier attempts, not read again */
    uint64_t bytes_resumed;
    struct status_share {
        char node[64];
        uint64_t ranges;
        uint64_t bytes; /* read from the database */
    } * shares;         /* malloc'ed by resource_status_add_share */
    size_t share_count;

    uint64_t pages_checked;
    uint64_t pages_unverified; /* changed while they were read */
    uint64_t pages_corrupt;

    bool has_error; /* lastError: of the newest failure; kept while a retry runs */
    struct status_error error;

    struct status_problem *problems; /* malloc'ed by resource_status_add_problem */
    size_t problem_count;
    size_t problems_dropped;
    char **warnings; /* malloc'ed by resource_status_add_warning */
    size_t warning_count;
    struct status_log log;
    struct status_storage *storage; /* malloc'ed by resource_status_add_storage */
    size_t storage_count;
    struct status_plan plan;

    /* A job of several tenants: each by itself, in order of their names. Borrowed: whoever filled this keeps
     * them for as long. The list is malloc'ed by resource_status_add_tenant. */
    const struct resource_status **tenants;
    size_t tenant_count;
};

/* NULL when memory is out. */
struct resource_status *resource_status_new(void) TM_WUR;
void resource_status_free(struct resource_status *st);
TM_DEFINE_FREEP(struct resource_status, resource_status_free)
/* Everything as new, memory kept where it can be. */
void resource_status_clear(struct resource_status *st);

/* Sets phase, and the condition of that name: the others of the same chain no longer hold but stay
 * as history. Setting the phase it has already changes only reason and message. */
void resource_status_set_phase(struct resource_status *st, enum resource_phase phase,
                               int64_t now_us, const char *reason, const char *message);
/* Never fail: beyond the limits, or without memory, they are counted. block < 0 = no block. */
void resource_status_add_problem(struct resource_status *st, const char *node, const char *file,
                                 int64_t block, const char *message);
void resource_status_add_warning(struct resource_status *st, const char *text);
void resource_status_add_interval(struct resource_status *st, const struct status_interval *one);
void resource_status_add_hold(struct resource_status *st, const struct status_hold *one);
void resource_status_add_share(struct resource_status *st, const struct status_share *one);
void resource_status_add_storage(struct resource_status *st, const struct status_storage *one);
void resource_status_add_tenant(struct resource_status *st, const struct resource_status *one);

/* What the state store knows about a resource beside spec and status. */
struct resource_meta {
    const char *uid; /* may be NULL */
    int64_t created_us;
    uint64_t generation;
    bool deleting;
};

/*
 * Appends one line of JSON: {apiVersion, kind, metadata{name, namespace, labels, uid,
 * creationTimestamp, generation}, spec, status}. `status` and `meta` may be NULL. Of one that would be longer
 * than RESOURCE_JSON_LONG the lists in tenants[] are left out, but for what each holds.
 */
#define RESOURCE_JSON_LONG ((size_t)512 << 10)
int resource_json(const struct resource *r, const struct resource_status *status,
                  const struct resource_meta *meta, struct buf *out, struct tm_err *err) TM_WUR;

/* The same plan as a JSON text of its own, and in words, several lines; appended. */
int status_plan_json(const struct status_plan *plan, struct buf *out, struct tm_err *err) TM_WUR;
int status_plan_text(const struct status_plan *plan, const char *data_dir, struct buf *out,
                     struct tm_err *err) TM_WUR;

/* JSON text → YAML text that reads back as the same values; keys in the order of the JSON. */
int json_to_yaml(struct slice json, struct buf *out, struct tm_err *err) TM_WUR;

#endif
