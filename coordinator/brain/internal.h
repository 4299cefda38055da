#ifndef TM_COORDINATOR_BRAIN_INTERNAL_H
#define TM_COORDINATOR_BRAIN_INTERNAL_H
/*
 * Inside the coordinator's brain.
 *
 *   brain.c      the step, its memory, what the others emit with
 *   persist.c    records: staged, written, then true
 *   store.c      the resources there are, sorted; reading them back at start
 *   commands.c   apply, delete, retry
 *   nodes.c      agents: up, gone, heartbeats, instances
 *   desired.c    who should have what; parked polls
 *   jobs.c       a job from phase to phase
 *   job_report.c what agents say of it
 *   job_watch.c  when a job is given up that nothing is heard of
 *   shares.c     who may read which ranges
 *   resume.c     attempts that go on with what earlier ones stored
 *   logs.c       a log backup from phase to phase: it never ends by itself
 *   log_wish.c   log backups: what is applied, asked for and assigned
 *   log_leads.c  which agent streams, and when another one takes over
 *   log_holders.c  which nodes hold log for it
 *   kept.c       storages with backups that no resource tells of any more
 *   tenants.c    which tenants a cluster has
 *   parts.c      jobs of several tenants: a part for each, and what becomes of the whole
 *   part_status.c what people see of those
 *   removal.c    a job that is to be deleted
 *   log_report.c what agents say of a log backup
 *   log_attempts.c which attempt a log backup begins with
 *   log_status.c what people see of a log backup
 *   probes.c     storage tests, by all agents of a cluster
 *   errands.c    what one agent does in a storage
 *   intents.c    what is known of backups, kept in their storage
 *   rebuild.c    the state may lack something: since when, and until an operator confirms
 *   lives.c      whether the state is the one that agents have seen
 *   rebuild_read.c   what a storage holds, page by page
 *   rebuild_words.c  what was kept of one resource, checked
 *   rebuild_merge.c  what of it becomes a resource
 *   rebuild_parts.c  and of several tenants
 *   leads.c      which agent
 *   sources.c    restores: where the backup lies
 *   table.c      one job's ranges, their leases and results (knows no messages)
 *   requests.c   plan, ranges, verdicts, results
 *   status.c     what people see
 *   view.c       what a spec says
 *
 * A resource has a durable record (`rec`) and, while a change is under way, a staged one (`next`).
 * Only rec counts: for decisions, for agents, for people. One change is under way at a time; what
 * would lead to another one meanwhile is found again afterwards, because everything is level-triggered.
 *
 * Memory of a step lies in `step`; when memory runs out `failed` is set and the step fails.
 */
#include "common/idmap.h"
#include "coordinator/brain/brain.h"
#include "coordinator/brain/rebuild.h"
#include "coordinator/brain/record.h"
#include "coordinator/brain/table.h"
#include "coordinator/brain/view.h"

#include <stdio.h>

/* Into an array of characters: what was checked against the same bounds where it came from. */
#define COPY_TEXT(to, from) (void)snprintf(to, sizeof(to), "%s", from)

#define WORKERS_MAX        BRAIN_NODES_MAX
#define EXCLUDED_MAX       16
#define RANGE_FAILURES_MAX 4 /* retryable failures of one range before the job fails */
#define PERSIST_RETRY_US   1000000

/* What a node that only holds log says. */
struct log_hold {
    char node[WIRE_NAME_MAX + 1];
    bool stopped; /* it holds nothing any more */
    char name[64];
    char at[WIRE_POSITION_MAX + 1];
    uint64_t bytes;
    bool lost;
    bool at_risk;
    char error[WIRE_TEXT_MAX + 1];
};

/* What is known of a log backup only in this life of the coordinator. */
struct log_live {
    enum job_stage stage; /* of the lead, under this attempt; 0 = nothing heard yet */
    bool has_status;
    struct msg_log_status status;
    struct codec_arena arena;           /* of status */
    char durable_of[WIRE_NAME_MAX + 1]; /* the node whose word status.durable is */
    uint64_t status_us;                 /* mono: status is of then */
    int64_t status_real_us;
    uint64_t heard_us; /* mono: the lead last reported, or was chosen */
    int64_t heard_real_us;
    uint64_t moved_us; /* mono: its checkpoint last moved */
    int64_t moved_real_us;
    uint64_t noted_us; /* mono: the record last took the progress in */
    bool quiet;        /* the change under way is nothing that agents are told */
    bool two_primaries;
    bool has_failure; /* stage FAILED, to be written down */
    struct tm_err failure;
    char failure_stage[32];
    int64_t failure_since_us;
    uint32_t failures;  /* in a row */
    uint64_t retry_us;  /* mono: phase FAIL ends then, when the error was retryable */
    uint64_t delete_us; /* mono: deletion was asked for, 0 = it was not */
    struct log_hold holds[LOG_HOLDERS_MAX];
    size_t hold_count;
    struct {
        uint64_t cmd; /* who waits for the answer; 0 = nothing is asked */
        uint64_t since_us;
        struct msg_log_query query;
        struct codec_arena arena;
    } asked;
};

/* How a node's requests to an object store go. */
struct storage_seen {
    char node[WIRE_NAME_MAX + 1];
    struct msg_storage_stats stats;
};
#define STORAGE_SEEN_MAX 65 /* of more nodes nobody is told */

/* What a node says is wrong with storage now, though its job goes on. */
struct trouble {
    char node[WIRE_NAME_MAX + 1]; /* "" = nothing is */
    char stage[32];
    char text[WIRE_TEXT_MAX + 1];
    int64_t since_us;
    uint64_t heard_us; /* mono: it was last said */
};

/* What is known of a job only in this life of the coordinator. */
struct live {
    bool loaded;            /* from the store: its lead is awaited */
    bool lead_seen;         /* it reported this job */
    uint64_t since_us;      /* mono: this step was reached, or this life began */
    uint64_t progress_us;   /* mono: something last moved */
    uint64_t progress_mark; /* what moved, condensed */
    uint64_t not_before_us; /* mono: a retry waits */
    uint64_t lease_from_us; /* mono: no lease is granted before (others may still hold them) */
    char waiting[256];      /* what is missing to go on; "" = nothing */
    uint64_t waiting_facts; /* brain.facts when nobody was found; 0 = to be looked at */
    uint64_t reported_us;   /* mono: the lead last listed this job */
    char sweeper[WIRE_NAME_MAX + 1]; /* deletion: the node that does it, "" = none yet */
    uint64_t removal_us;             /* deletion: mono, nothing is to be done before */
    enum job_stage lead_stage;
    bool sweeps_counted; /* step ABORT: the lead's runners before its sweep, and since */
    uint32_t sweep_first;
    uint32_t sweep_tries;
    uint64_t bytes_done; /* as the lead reports: restores */
    uint64_t bytes_total;
    uint64_t log_bytes;
    struct table table;
    bool has_failure; /* the job must end; told by failure, stage, node */
    struct tm_err failure;
    char failure_stage[32];
    char failure_node[WIRE_NAME_MAX + 1];
    int64_t failure_since_us;
    bool has_totals; /* COMMITTED or RESTORED was reported */
    struct msg_totals totals;
    struct codec_arena totals_arena;
    bool swept;
    bool queued;         /* waits only for a node that leads as many jobs as it may */
    uint32_t parts_said; /* a whole: the attempt whose begin was logged */
    char warnings[WIRE_WARNINGS_MAX][WIRE_TEXT_MAX + 1]; /* as the lead told */
    size_t warning_count;
    char problem[WIRE_TEXT_MAX + 1];                /* the first corrupt page, named */
    char excluded[EXCLUDED_MAX][WIRE_NAME_MAX + 1]; /* workers that failed */
    size_t excluded_count;
    char (*workers)[WIRE_NAME_MAX + 1]; /* that have the job: they keep it to its end; sorted */
    size_t worker_count;
    size_t worker_cap;
    uint64_t standby_us; /* mono: a node that is not the lead last took, or delivered, a range */
    struct node_share *shares;
    uint32_t *share_nodes; /* node.id of each, to find it */
    size_t share_count;
    size_t share_cap;
    struct storage_seen storage[STORAGE_SEEN_MAX];
    size_t storage_count;
    struct trouble trouble; /* of several nodes' the one that was told first */
    struct log_live *log;   /* log backups only, as the rest of these */
    enum phase log_phase;   /* what the newest durable record said, to see what a change changed */
    int64_t log_phase_us;
    uint32_t log_attempt;
};

struct res {
    bool exists; /* a record of it is durable */
    struct stored now;
    struct stored next;
    bool staged;
    bool removing; /* what is staged is its removal */
    uint64_t txn;  /* of the persist under way; 0 = to be sent (again) at retry_us */
    uint64_t retry_us;
    uint64_t cmd; /* to answer when it is durable, 0 = none */
    enum brain_outcome outcome;
    bool answered; /* plant only */

    bool adopted;    /* made from what storage holds: agents are awaited as after a restart */
    bool tell_again; /* a whole: see intents_durable */

    struct resource *spec;
    struct resource *next_spec; /* staged with a new document */
    struct codec_arena view_arena;
    struct view view;  /* of spec */
    struct live *live; /* NULL: nothing to do for it */

    struct resource_status *status;
    uint64_t version;
};

struct node {
    char cluster[WIRE_NAME_MAX + 1];
    char name[WIRE_NAME_MAX + 1];
    char boot[WIRE_UID_MAX + 1];
    uint32_t id;      /* small number for tables; never reused */
    uint64_t conn;    /* 0 = none */
    uint64_t seen_us; /* mono, last word */
    bool heard;       /* a heartbeat came since it connected */
    bool fresh;       /* not silent */
    uint64_t heartbeat_serial;
    char version[32];
    struct codec_arena arena;
    struct msg_instance *instances;
    size_t instance_count;
    struct msg_job *jobs;
    size_t job_count;
    struct msg_hold *holds;
    size_t hold_count;
    uint64_t revision; /* of its desired set */
    bool parked;
    uint64_t parked_ctx;
    uint64_t parked_serial;
    uint64_t parked_revision;
    uint64_t parked_until_us;
};

#define LOG_ATTEMPTS_MAX 256

/* The highest attempt of any log backup of this tenant, in this life. */
struct log_attempt {
    char cluster[WIRE_NAME_MAX + 1];
    char tenant[WIRE_NAME_MAX + 1];
    uint32_t newest;
};

#define KEPT_MAX        10000u
#define KEPT_SETTLES_US (600 * INT64_C(1000000))

/* A storage with backups of an instance whose resources are gone. */
#define KEPT_PLACE_FIELDS(X, T)                                                                    \
    X(T, str, cluster, "cl", REQ, 0, WIRE_NAME_MAX)                                                \
    X(T, str, tenant, "te", REQ, 0, WIRE_NAME_MAX)                                                 \
    X(T, str, identity, "id", REQ, 0, 63)                                                          \
    X(T, txt, storage, "st", REQ, 0, WIRE_URL_MAX)                                                 \
    X(T, str, secret, "se", OPT, 0, WIRE_NAME_MAX) /* of the newest; "" = none is sent */          \
    X(T, i64, oldest_us, "o", REQ, 0, 0)           /* started */                                   \
    X(T, i64, newest_us, "n", REQ, 0, 0)                                                           \
    X(T, i64, changed_us, "c", REQ, 0, 0) /* when one was added last */
CODEC_DECLARE(kept_place, KEPT_PLACE_FIELDS);

struct kept {
    struct kept_place place;
    struct codec_arena arena;
    char key[sizeof(BRAIN_KEPT_PREFIX) + 16];
};

struct brain {
    struct brain_config config;
    struct brain_rng rng;
    uint64_t term;
    uint64_t start;
    uint64_t state_revision; /* durable */
    uint32_t epoch;          /* counter part of the newest lease */
    uint32_t intent;         /* and of what was last to be kept in storage */
    uint64_t started_us;
    bool loaded;
    uint64_t raising_to; /* RAISE_TERM is out, 0 = no */

    struct brain_now now;
    bool failed;
    struct tm_err *err;
    struct codec_arena step;
    struct brain_action *actions;
    size_t action_count;
    size_t action_cap;

    struct res **resources; /* sorted by kind, namespace, name */
    size_t resource_count;
    size_t resource_cap;
    struct store_lists { /* parts of them, in the same order, as store_list made them */
        bool old;
        struct res **busy; /* with something to do, or under way */
        size_t busy_count;
        struct res **given; /* that agents may have: all others are nobody's job */
        size_t given_count;
        struct res **jobs; /* by what agents call them */
        size_t job_count;
        size_t cap; /* of each */
    } lists;
    struct node **nodes; /* sorted by cluster, name */
    size_t node_count;
    size_t node_cap;
    struct idmap conns; /* those that are connected */
    uint32_t next_node_id;
    uint64_t next_txn;
    uint64_t revision;
    uint64_t version;
    uint64_t facts; /* grows with everything but time that a job may wait for */

    /* what this step looks at when dispatch is over, see brain_look_all */
    bool look_all;
    bool news; /* some node's desired set is another one */
    struct res *touched[WIRE_JOBS_MAX];
    size_t touched_count;
    uint64_t wake_us; /* all is looked at then, at the latest */

    struct
        waiting_up { /* hellos that wait for a higher term, or to see whether another agent lives */
        uint64_t conn;
        uint64_t ctx;
        uint64_t arrived_us; /* mono */
        uint64_t seen_term;
        uint64_t seen_start;
        uint64_t seen_revision;
        char cluster[WIRE_NAME_MAX + 1];
        char node[WIRE_NAME_MAX + 1];
        char boot[WIRE_UID_MAX + 1];
    } * waiting;
    size_t waiting_count;

    struct kept *kept;
    size_t kept_count;
    size_t kept_cap;

    struct cluster *clusters;
    size_t cluster_count;
    size_t cluster_cap;

    struct probe_ask *probes[BRAIN_PROBES_MAX]; /* asked and not answered */
    size_t probe_count;

    struct outgoing **outgoing; /* oldest first, as they were made */
    size_t outgoing_count;
    size_t outgoing_cap;
    struct rebuild rebuild;
    struct lives lives;

    struct log_attempt log_attempts[LOG_ATTEMPTS_MAX];
    size_t log_attempt_count; /* ever; the ring's place is this modulo its size */
};

/* ---- brain.c ---- */

/*
 * After an event everything is brought as far as it can go: all nodes, all jobs. What agents say all the time
 * (heartbeats that tell nothing new, ranges) concerns one job, or a few: then only those are looked at, and the rest
 * when the next WAKE is due. What may concern others calls brain_look_all.
 */
void brain_look_all(struct brain *b);
void brain_look_at(struct brain *b, struct res *res);
void *brain_step_alloc(struct brain *b, size_t size);
const char *brain_step_text(struct brain *b, const char *text);
struct brain_action *brain_emit(struct brain *b, enum brain_action_kind kind);
void brain_check(struct brain *b, int result);
void brain_log(struct brain *b, const struct res *res, const char *node, int priority,
               enum brain_log_event event, const char *fmt, ...) TM_PRINTF(6, 7);
const struct tm_err *brain_step_err(struct brain *b, const struct tm_err *err);
/* A reply with serial and term set; NULL when memory is out. */
struct message *brain_reply(struct brain *b, uint64_t conn, uint64_t ctx, uint64_t serial,
                            enum message_type type);
void brain_reply_error(struct brain *b, uint64_t conn, uint64_t ctx, uint64_t serial,
                       const struct tm_err *err);
void brain_answer(struct brain *b, uint64_t cmd, enum brain_outcome outcome,
                  const struct tm_err *err);
/* To a QUERY; copied. */
void brain_answer_log(struct brain *b, uint64_t cmd, const struct res *res,
                      const struct msg_log_answer *answer);
uint64_t brain_ms(uint32_t ms);
bool brain_plant(const struct brain *b, enum brain_plant plant);

/* ---- store.c ---- */

struct res *store_find(const struct brain *b, const char *kind, const char *namespace_,
                       const char *name);
/* One of its parts; "" = the resource itself. */
struct res *store_find_part(const struct brain *b, const char *kind, const char *namespace_,
                            const char *name, const char *part);
struct res *store_find_job(const struct brain *b, const char *uid, uint32_t attempt);
/* A new, empty one in its place; part "" = a resource of its own. NULL when memory is out. */
struct res *store_add(struct brain *b, const char *kind, const char *namespace_, const char *name,
                      const char *part);
/* The parts of a resource, in order of their tenants: they follow it in b->resources. */
size_t store_parts(const struct brain *b, const struct res *res, struct res *const **ret);
void store_remove(struct brain *b, struct res *res);
/* What is in which list may have changed. */
void store_lists_old(struct brain *b);
/* Makes the lists anew when they are old: at the beginning of a step, and when its event was
 * dispatched. Between them no list changes, so each may be walked whatever is staged meanwhile. */
void store_list(struct brain *b);
void store_res_free(struct res *res);
int store_load(struct brain *b, struct slice key, struct slice value, struct tm_err *err);
void store_loaded(struct brain *b);
/* Takes the spec over and reads the view; on failure the spec is freed. */
int store_set_spec(struct res *res, struct resource *spec, struct tm_err *err);
bool store_terminal(const struct res *res);

/* ---- persist.c ---- */

/* Begins a change: a deep copy of the record to be edited, or NULL when one is under way already or
 * memory is out. Follow with persist_submit. */
struct record *persist_stage(struct brain *b, struct res *res);
void persist_submit(struct brain *b, struct res *res);
void persist_remove(struct brain *b, struct res *res);
/* A record with its key, as it is stored. */
void persist_put(struct brain *b, const struct record *rec, struct brain_put *ret);
/* A record that is no resource's; without a value it goes. The txn, or 0: memory is out, and the step fails. */
uint64_t persist_one(struct brain *b, const char *key, const struct codec_table *codec,
                     const void *value);
void persist_done(struct brain *b, uint64_t txn, bool ok, const struct tm_err *err);
void persist_tick(struct brain *b);
void persist_text(struct brain *b, struct res *res, const char **member, const char *text);

/* ---- kept.c ---- */

int kept_load(struct brain *b, struct slice key, struct slice value, struct tm_err *err);
void kept_free(struct brain *b);
/* Whether a backup stays in its storage when the resource goes now. */
bool kept_is(const struct res *res);
/* What is to be stored with such a record's removal; false = nothing. */
bool kept_put(struct brain *b, const struct record *rec, const char *secret, struct brain_put *ret);
/* Of one that was removed before this life: its place, when it is not known. */
void kept_remember(struct brain *b, const struct record *rec, const char *secret);
/* The lead of a log has read these storages, and found no backup in them. */
void kept_emptied(struct brain *b, const struct res *log, const char *const *storages,
                  size_t count);
/* Agents that look into places by this secret are told anew. */
void kept_secret(struct brain *b, const char *name);

/* ---- commands.c ---- */

/* Jobs that count: something is done for them. */
size_t command_live_count(const struct brain *b);
void command_run(struct brain *b, const struct brain_event *event);

/* ---- nodes.c ---- */

void node_up(struct brain *b, const struct brain_event *event);
void node_term(struct brain *b, uint64_t term);
void node_gone(struct brain *b, uint64_t conn);
void node_tick(struct brain *b);
struct node *node_of_conn(const struct brain *b, uint64_t conn);
struct node *node_find(const struct brain *b, const char *cluster, const char *name);
void node_heartbeat(struct brain *b, struct node *node, uint64_t serial,
                    const struct msg_heartbeat *heartbeat);
const struct msg_instance *node_instance(const struct node *node, const char *tenant);
void node_free(struct node *node);
/* Every word of an agent says that it lives. */
void node_spoke(struct brain *b, struct node *node);

/* ---- desired.c ---- */

/* Something that this job's agents should have is different now. */
void desired_changed(struct brain *b, const struct res *res);
void desired_node_changed(struct brain *b, struct node *node);
void desired_reply(struct brain *b, struct node *node, uint64_t ctx, uint64_t serial);
void desired_poll(struct brain *b, struct node *node, uint64_t ctx, uint64_t serial,
                  const struct msg_poll *poll);
void desired_tick(struct brain *b); /* answers the polls that are due */
/* Agents whose jobs need this secret are told anew. */
void desired_secret(struct brain *b, const char *name);
/* A secret by its name, for a message; NULL for "". */
struct msg_secret *desired_secret_named(struct brain *b, const char *name);
/* Roles of a node in a job now; 0 = none. */
uint32_t desired_roles(const struct brain *b, const struct res *res, const struct node *node);

/* ---- leads.c ---- */

/* NULL: nobody now, and live->waiting says what is missing. *ret_instance: the tenant's there; NULL
 * for a restore on a node without one. */
struct node *lead_pick(struct brain *b, struct res *res, const char *cluster,
                       const struct msg_instance **ret_instance);
/* Chooses who removes a backup's objects: live->sweeper, "" when nobody can now, which is said in
 * live->waiting. Whether that is another one than before. */
bool lead_appoint_sweeper(struct brain *b, struct res *res);
void lead_waiting(struct brain *b, struct res *res, const char *fmt, ...) TM_PRINTF(3, 4);
/* "; did you mean 'test'?" when no node of this cluster was ever heard of, and one of a name like it was;
 * else "". Returns ret. */
#define LEAD_NEAR_MAX (WIRE_NAME_MAX + 24)
const char *lead_near(const struct brain *b, const char *cluster, char ret[LEAD_NEAR_MAX]);
struct node *lead_of(const struct brain *b, const struct res *res);
bool lead_usable(const struct node *node);
/* Jobs that the node leads. */
size_t lead_count(const struct brain *b, const struct node *node);

/* ---- jobs.c ---- */

int job_live(struct brain *b, struct res *res, bool loaded); /* makes res->live */
void job_live_free(struct live *live);
void job_tick(struct brain *b); /* brings every job as far as it can go */
void job_fail(struct brain *b, struct res *res, const struct tm_err *err, const char *stage,
              const char *node, int64_t since_us);
void job_durable(struct brain *b, struct res *res); /* a staged change has become true */
void job_watch(struct brain *b, struct res *res);   /* fails one that is not heard of */
/* Something of it lies in storage that is to go with it. */
bool job_must_sweep(const struct res *res);
bool job_deleting(const struct res *res); /* at its end, and to be deleted */
bool job_is_lead(const struct res *res, const struct node *node);
void job_progress(struct brain *b, struct res *res);
/* Its manifest is stored: live->totals are its. */
void job_complete(struct brain *b, struct res *res);

/* ---- job_report.c ---- */

void job_report(struct brain *b, struct res *res, struct node *node, const struct msg_job *report);
/* It is, or was, one of the workers; it was, and failed. */
bool job_has_worker(const struct live *live, const struct node *node);
bool job_excluded(const struct live *live, const struct node *node);
void job_keep_totals(struct brain *b, struct live *live, const struct msg_totals *totals);

/* ---- shares.c ---- */

/* Whether the node may be asked to work on the snapshot. */
bool share_may_begin(const struct res *res, const struct node *node);
/* Which ranges it may be given now. */
enum table_which share_which(const struct brain *b, const struct res *res, const struct node *node);
void share_granted(const struct brain *b, struct res *res, const struct node *node);
/* A range that it read is in the backup. */
void share_note(struct brain *b, struct res *res, const struct node *node, uint64_t bytes);
void share_keep(struct brain *b, struct res *res, struct record *next);

/* ---- resume.c ---- */

/* What failed may be gone on with: it is not to be swept now. */
bool resume_may(const struct res *res);
/* Into a staged record of what failed: it begins once more, as it was asked to. */
void resume_again(struct record *next);
/* What failed says that ranges must start over. */
bool resume_over(const struct res *res);
/* Into a record: why. */
void resume_note(struct brain *b, struct res *res, struct record *next);
/* A checkpoint that nobody resumed for gcttl: it is swept, while the job stays Failed. */
bool resume_expired(const struct brain *b, const struct res *res);
void resume_expire(struct brain *b, struct res *res);
/* What earlier attempts stored is being removed, or will be as soon as somebody can. */
bool resume_sweeping(const struct res *res);
void resume_sweep(struct brain *b, struct res *res);
void resume_report(struct brain *b, struct res *res, const struct node *node,
                   const struct msg_job *report);

/* ---- probes.c ---- */

/* The command is answered when all agents have, or after a while. */
int probe_ask(struct brain *b, const struct brain_event *event, struct tm_err *err) TM_WUR;
void probes_assign(struct brain *b, const struct node *node, struct msg_desired *to);
void probes_heard(struct brain *b, struct node *node, const struct msg_heartbeat *heartbeat);
void probes_tick(struct brain *b);
void probes_free(struct brain *b);

/* ---- sources.c ---- */

struct source {
    const char *cluster;
    const char *tenant;
    const char *storage;
    const char *full_storage; /* of backups, when not with the log */
    const char *secret;       /* of storage, "" = none is sent */
    const char *full_secret;
    const char *id; /* "" = the newest that will do */
};
/* Whether a restore says whose backup it means, of what is there now. */
int source_check(const struct brain *b, const struct view *v, struct tm_err *err) TM_WUR;
/* False: the restore must wait, and says for what. */
bool source_resolve(struct brain *b, struct res *res, struct source *ret);

/* ---- requests.c ---- */

void request_run(struct brain *b, uint64_t conn, uint64_t ctx, const struct message *m);
/* Leases as reported in a heartbeat: renew, adopt, free. */
void request_leases(struct brain *b, struct res *res, struct node *node,
                    const struct msg_job *report);

/* ---- status.c ---- */

/* Phase Deleting; removal_us 0 = it is not known when objects go. */
void status_fill_deleting(struct resource_status *s, int64_t removal_us, int64_t completed_us);
void status_fill(const struct brain *b, const struct res *res);
/* What anybody could see of it has changed. */
void status_changed(struct brain *b, struct res *res);
void status_free(struct res *res);
void status_warn(struct resource_status *s, const char *fmt, ...) TM_PRINTF(2, 3);
int status_new(struct res *res, struct tm_err *err);
/* How a node's requests to an object store go: as it reports, and as it is shown. */
void status_note_storage(struct live *live, const struct node *node, const struct msg_job *report);
void status_note_trouble(struct brain *b, struct res *res, const struct node *node,
                         const struct msg_job *report);
/* What is wrong with storage now; NULL: nothing, or nobody has said it for long. */
const struct trouble *status_trouble(const struct brain *b, const struct res *res);
void status_fill_storage(struct resource_status *s, const struct live *live);

#endif
