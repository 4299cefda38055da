#ifndef TM_AGENT_BRAIN_BRAIN_H
#define TM_AGENT_BRAIN_BRAIN_H
/*
 * What the agent decides: when to connect and what to say, which jobs to hold, when a session
 * begins and ends, when a runner is started, fed and killed, what is kept until it is acknowledged.
 *
 * Pure, like coordinator/brain: one event in, a list of actions out; no clock, randomness or I/O.
 *
 *     agent_brain_new(config)            then one TICK to get going
 *     agent_brain_step(event, now)       carry out all actions, in order, before the next step
 *
 * Happy path of a backup on the lead: desired holds a new job → SESSION_BEGIN, RUNNER_SPAWN,
 * RUNNER_SEND(job) → SESSION_BEGUN and frame ready → RUNNER_SEND(begin) → plan_batch frames are
 * kept and sent on → want_ranges ↔ ranges → RUNNER_SEND(ranges) → range_done frames are kept in the
 * outbox and sent on until the job goes → step FINISH → SESSION_END → RUNNER_SEND(finish) →
 * want_results relayed → committed → reported until the job is no longer desired → dropped.
 *
 * A log job (log.c) has a runner and nothing else, for ever: RUNNER_SPAWN, RUNNER_SEND(job) → frame
 * ready → RUNNER_SEND(log_want), again whenever what is wanted changes → the newest log_status is
 * reported in every heartbeat → not desired any more → RUNNER_SEND(stop). It outlives coordinators
 * and this agent: STORE_LOG_JOBS keeps what is wanted, config.log_jobs brings it back and is in force
 * until the first desired set comes.
 *
 * A storage test (probe.c) is a runner that is no job: RUNNER_SPAWN, RUNNER_SEND(job) → probed… →
 * RUNNER_SEND(stop); its answer is in every heartbeat until it is not desired any more. One that hangs
 * is killed at its deadline, and nothing waits for it.
 *
 * Failure: a dead runner, of a restore too, is spawned again (leases it had are reported as not
 * held), a bounded number of times with growing delay; a dead session fails the job; a coordinator that is gone
 * changes nothing but that work runs out; a job that is not desired any more is dropped at once.
 *
 * Jobs are named by a `job` handle (never reused in one life of the agent); runners by (job,
 * generation). Events about a handle or generation that is no more are ignored, so the daemon need
 * not track what is still wanted.
 *
 * Ownership: what an event points to is borrowed for the call; what an action points to is borrowed
 * until the next step or free.
 *
 * Writers of a log: a runner of a log job writes under epochs (term, counter) which must be above
 * those of every runner before it, in this life of the agent and in earlier ones, on this node and
 * on those that led before. Its generation, the first counter it may use, is therefore made of
 *
 *     attempt of the job | runners of this attempt on this node, under this term | 0
 *     AGENT_BRAIN_ATTEMPT_BITS   AGENT_BRAIN_RUNNER_BITS   FRAME_WRITER_BITS: the runner's own
 *
 * and the term is that of the coordinator that last named the job, not a newer one that was met
 * since: it may know nothing of the job, and give its attempt to another.
 * The coordinator gives a higher attempt when the lead moves. The number of runners is durable: the
 * daemon stores it before it starts the process (RUNNER_SPAWN's writers) and gives it back at the
 * next start (config.writers), so that it does not begin anew when the coordinator, and with it a
 * higher term, is away. A job with too many runners fails with an error that a new attempt ends.
 *
 * Limits: at most AGENT_BRAIN_IN_FLIGHT requests are outstanding; each is answered by exactly one
 * REPLY, FAILED, or by DISCONNECTED, which voids all.
 */
#include <stdint.h>

#include "agent/runner/frames.h"
#include "common/buf.h"
#include "common/err.h"
#include "proto/wire/messages.h"

#define AGENT_BRAIN_IN_FLIGHT      80
#define AGENT_BRAIN_WINDOW         16         /* leases held ahead of the workers' need, at most */
#define AGENT_BRAIN_OUTBOX_MAX     (1u << 20) /* results of one job */
#define AGENT_BRAIN_RESULTS_BYTES  ((size_t)256 << 20)
#define AGENT_BRAIN_PLAN_BYTES_MAX ((size_t)64 << 20)
#define AGENT_BRAIN_DROPPED_MAX    256 /* jobs remembered as not to be started again */
#define AGENT_BRAIN_PROBES_HUNG    4   /* storage tests that cannot be killed … */
#define AGENT_BRAIN_PROBES_MAX     (AGENT_BRAIN_PROBES_HUNG + WIRE_PROBES_MAX) /* … and all of them */
#define AGENT_BRAIN_RUNNER_BITS    10
#define AGENT_BRAIN_ATTEMPT_BITS   (32 - AGENT_BRAIN_RUNNER_BITS - FRAME_WRITER_BITS)
#define AGENT_BRAIN_RUNNERS_MAX    ((1u << AGENT_BRAIN_RUNNER_BITS) - 1)
#define AGENT_BRAIN_ATTEMPTS_MAX   ((1u << AGENT_BRAIN_ATTEMPT_BITS) - 1)
#define AGENT_BRAIN_HOLDS_MAX      64
#define AGENT_BRAIN_WRITERS_MAX    64 /* log jobs whose runners are remembered, gone ones included */

struct agent_brain;

struct agent_now {
    uint64_t mono_us;
    int64_t real_us;
};

struct agent_rng {
    uint64_t (*next)(void *arg);
    void *arg;
};

/* Wrong on purpose, for the simulation's own test. Never set outside tests. */
enum agent_plant {
    AGENT_PLANT_NONE,
    AGENT_PLANT_DROP_RESULTS, /* forgets done results when the term changes */
    AGENT_PLANT_OLD_WRITER,   /* a later life counts its runners from one again */
    AGENT_PLANT_TWO_RUNNERS,  /* a log runner of an earlier attempt is not waited for */
    AGENT_PLANT_FORGET_JOBS,  /* a later life does not take up the log jobs of an earlier one */
    AGENT_PLANT_NO_RECORD,    /* a hold is made that is not durable */
    AGENT_PLANT_DROP_FAILED,  /* a job that fails drops its hold */
    AGENT_PLANT_PLAN_EARLY,   /* the plan is complete before what is stored of it is told */
    AGENT_PLANT_OTHER_HOLD,   /* each attempt takes a hold of its own */
    AGENT_PLANT_DEAF,         /* a change of step is not told to a log runner */
    AGENT_PLANT_BLIND,        /* holds without a record are not seen */
    AGENT_PLANT_OWN_ONLY,     /* a lead knows nothing of what others read */
};

struct agent_instance {
    const char *tenant;
    const char *engine;
    uint32_t caps; /* enum engine_cap */
    const char *data_dir;
    const char *conninfo;
};

/* How many runners a log job has had here, under this term and attempt. */
#define AGENT_WRITER_FIELDS(X, T)                                                                  \
    X(T, str, uid, "u", REQ, 0, WIRE_UID_MAX)                                                      \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, u32, attempt, "a", REQ, 0, AGENT_BRAIN_ATTEMPTS_MAX)                                      \
    X(T, u32, runners, "n", REQ, 0, AGENT_BRAIN_RUNNERS_MAX)
CODEC_DECLARE(agent_writer, AGENT_WRITER_FIELDS);

/* Log that a source keeps for a snapshot, whatever becomes of the session that began it. It is given up
 * when nobody has renewed it for so long. */
#define AGENT_HOLD_FIELDS(X, T)                                                                    \
    X(T, str, name, "n", REQ, 0, 63)                                                               \
    X(T, str, tenant, "t", REQ, 0, WIRE_NAME_MAX)                                                  \
    X(T, str, backup_id, "b", REQ, 0, WIRE_ID_MAX) /* empty: it was found, with no record of it */ \
    X(T, i64, since_us, "s", OPT, 0, 0)                                                            \
    X(T, i64, renewed_us, "r", OPT, 0, 0)                                                          \
    X(T, u32, ttl_s, "l", OPT, 0, UINT32_MAX)
CODEC_DECLARE(agent_hold, AGENT_HOLD_FIELDS);
#define AGENT_HOLD_TTL_S 3600 /* when nobody says otherwise */

/* A hold as it was found at its source, whoever made it. */
struct agent_hold_found {
    char name[64];
    uint64_t from; /* log is kept from here on */
    uint64_t bytes;
    bool lost; /* the source gave it up */
};

/* Strings are copied by agent_brain_new. 0 = the default in the comment. */
struct agent_brain_config {
    const char *cluster;
    const char *node;
    const char *boot; /* random, one a start */
    const char *version;
    const struct agent_instance *instances;
    size_t instance_count;            /* at most WIRE_INSTANCES_MAX */
    const char *const *restore_roots; /* may be NULL */
    size_t restore_root_count;
    uint64_t
        rate_limit_bytes_s; /* that a backup may read here; 0 = none. A job's own may be lower */
    uint64_t seen_term;     /* as stored by STORE_TERM; 0 = none */
    uint64_t seen_start;
    const struct agent_writer *writers;    /* as stored by RUNNER_SPAWN */
    size_t writer_count;                   /* at most AGENT_BRAIN_WRITERS_MAX */
    const struct msg_assignment *log_jobs; /* as stored by STORE_LOG_JOBS */
    uint64_t log_jobs_term;
    size_t log_job_count;           /* at most WIRE_JOBS_MAX */
    const struct agent_hold *holds; /* as stored by STORE_HOLDS */
    size_t hold_count;              /* at most AGENT_BRAIN_HOLDS_MAX */
    bool own_credentials;   /* the host has some for object stores: a kept log job goes on with them
                                  until the coordinator sends its secret */
    uint32_t heartbeat_ms;  /* 1000 */
    uint32_t request_ms;    /* 10000: deadline of a request */
    uint32_t poll_ms;       /* 45000: deadline of a poll; above the coordinator's parking time */
    uint32_t want_retry_ms; /* 500: pause after a reply that had no ranges */
    uint32_t reconnect_min_ms;   /* 200 */
    uint32_t reconnect_max_ms;   /* 10000 */
    uint32_t respawn_min_ms;     /* 500 */
    uint32_t respawn_max_ms;     /* 30000 */
    uint32_t runner_crashes_max; /* 5 in one job, then the job fails; log jobs never do */
    uint32_t log_stop_ms;        /* 10000: a log runner that was told to stop is killed after it */
    uint32_t found_ttl_s;        /* 3600: a hold without a record is dropped after it */
    enum agent_plant plant;
};

/* ---- events ---- */

enum agent_event_kind {
    AGENT_EV_CONNECTED,      /* welcome was checked */
    AGENT_EV_DISCONNECTED,   /* or could not be connected, or hello was refused */
    AGENT_EV_REPLY,          /* to a request; its serial is message->serial */
    AGENT_EV_REQUEST_FAILED, /* timed out, or could not be sent */
    AGENT_EV_INSTANCE,       /* a fresh look at an instance (about once a second each) */
    AGENT_EV_SESSION_BEGUN,
    AGENT_EV_SESSION_ENDED,
    AGENT_EV_SESSION_FAILED, /* at any moment; the session is to be taken as lost */
    AGENT_EV_SESSION_CLOSED, /* after SESSION_CLOSE: nothing is left of it */
    AGENT_EV_HOLD_DROPPED,   /* or could not be */
    AGENT_EV_HOLDS_LISTED,   /* or could not be */
    AGENT_EV_RUNNER_FRAME,
    AGENT_EV_RUNNER_EXITED, /* also when it could not be started: signal 0, status 127 */
    AGENT_EV_TICK,
    AGENT_EV_STOP, /* SIGTERM: close everything, then DONE */
};

struct agent_event {
    enum agent_event_kind kind;
    union {
        struct {
            uint64_t term;
            uint64_t start;
        } connected;
        struct {
            const struct tm_err *err; /* why; may be NULL */
        } disconnected;
        struct {
            const struct message *message; /* may be of type error */
        } reply;
        struct {
            uint64_t serial;
            const struct tm_err *err;
        } request_failed;
        struct {
            size_t index;                        /* into config.instances */
            const struct msg_instance *instance; /* tenant, engine and caps may be left out */
        } instance;
        struct {
            uint32_t job;
            struct slice begin;       /* SESSION_BEGUN */
            struct slice replay_from; /* position bytes */
            const char *replay_from_text;
            const char *lineage_label;
            const char *identity; /* of the instance now */
            const char *version;
            const char *warning; /* NULL or "" = none */
        } begun;
        struct {
            uint32_t job;
            struct slice end;
            struct slice consistent_at;
            const char *consistent_at_text;
            int64_t commit_us;
        } ended;
        struct {
            uint32_t job;
            const struct tm_err *err;
            const char *stage; /* "check", "connect", "begin", "session", "end" */
        } session_failed;
        struct {
            uint32_t job;
        } session_closed;
        struct {
            const char *name;
            const struct tm_err *err; /* NULL: it is there no more */
        } hold_dropped;
        struct {
            size_t instance;
            const struct tm_err *err; /* NULL: these are there */
            const struct agent_hold_found *holds;
            size_t count;
            bool more; /* these, and others */
        } holds_listed;
        struct {
            uint32_t job;
            uint32_t generation;
            const struct frame *frame;
        } frame;
        struct {
            uint32_t job;
            uint32_t generation;
            int signal; /* 0 = exited by itself */
            int status;
        } exited;
    };
};

/* ---- actions ---- */

enum agent_action_kind {
    AGENT_ACT_CONNECT,        /* dial and go through hello with this seen term */
    AGENT_ACT_DISCONNECT,     /* close the connection; no event is expected for it */
    AGENT_ACT_SEND,           /* a request; message->serial and ->term are set */
    AGENT_ACT_STORE_TERM,     /* remember durably, best effort */
    AGENT_ACT_STORE_LOG_JOBS, /* the same, with what was there before replaced */
    AGENT_ACT_STORE_HOLDS, /* remember durably, with what was there before replaced; best effort */
    AGENT_ACT_HOLD_DROP,   /* → HOLD_DROPPED; one that is not there is dropped */
    AGENT_ACT_HOLD_LIST,   /* what the source has under names of this prefix → HOLDS_LISTED */
    /* holds are durable before anything else, or it FAILED; check, session_open, snapshot_begin or
     * snapshot_resume → BEGUN | FAILED */
    AGENT_ACT_SESSION_BEGIN,
    AGENT_ACT_SESSION_HOLD,  /* hold_advance, best effort */
    AGENT_ACT_SESSION_END,   /* snapshot_end → ENDED | FAILED */
    AGENT_ACT_SESSION_CLOSE, /* cancel what blocks, close → CLOSED; also for one that failed */
    AGENT_ACT_RUNNER_SPAWN, /* start the process; its writers are durable before, or it is not started */
    AGENT_ACT_RUNNER_SEND, /* queue a frame to it */
    AGENT_ACT_RUNNER_KILL, /* SIGKILL; → EXITED when reaped */
    AGENT_ACT_LOG,
    AGENT_ACT_WAKE,
    AGENT_ACT_DONE, /* after STOP: everything is closed, the daemon may leave */
};

/* What a log line is about; the daemon maps these to journal MESSAGE_IDs. */
enum agent_log_event {
    AGENT_LOG_PLAIN,
    AGENT_LOG_INSTANCE_CHANGED,
    AGENT_LOG_JOB_START,
    AGENT_LOG_JOB_COMPLETE,
    AGENT_LOG_JOB_FAILED,
    AGENT_LOG_RUNNER_DIED,
    AGENT_LOG_PAGE_CORRUPT,
    AGENT_LOG_SESSION_LOST,
    AGENT_LOG_RESTORE_COMPLETE,
};

struct agent_action {
    enum agent_action_kind kind;
    union {
        struct {
            uint64_t seen_term;
            uint64_t seen_start;
            uint64_t seen_revision; /* what that one told of its state, in this life of the agent */
        } connect;
        struct {
            const struct message *message;
            uint32_t timeout_ms;
        } send;
        struct {
            uint64_t term;
            uint64_t start;
        } store_term;
        struct {
            const struct msg_assignment *jobs;
            size_t count;
            uint64_t term; /* of the coordinator that wants them */
        } store_log_jobs;
        struct {
            uint32_t job;
            size_t instance;   /* BEGIN: index into config.instances */
            bool fast;         /* BEGIN */
            const char *label; /* BEGIN: for the engine, "tidemark <backup id>" */
            const char *hold;  /* BEGIN: name of a lasting hold; NULL = it ends with the session */
            const struct agent_hold *holds; /* BEGIN: to be stored, when hold is set */
            size_t hold_count;
            bool resume;        /* BEGIN: go on with … */
            struct slice first; /* … this snapshot, whose log is stored up to … */
            uint64_t log_from;  /* … this byte */
            uint64_t durable;   /* HOLD: stream byte */
        } session;
        struct {
            const struct agent_hold *holds;
            size_t count;
        } store_holds;
        struct {
            size_t instance;
            const char *name;
        } hold_drop;
        struct {
            size_t instance;
            const char *prefix;
        } hold_list;
        struct {
            uint32_t job;
            uint32_t generation;
            const struct frame *frame;          /* SEND */
            const char *uid;                    /* SPAWN: for logs */
            const struct agent_writer *writers; /* SPAWN: to be stored; NULL = nothing */
            size_t writer_count;
        } runner;
        struct {
            int priority;
            enum agent_log_event event;
            const char *text;
            const char *tenant; /* NULL when they do not apply */
            const char *job;    /* uid */
        } log;
        struct {
            uint64_t at_us;
        } wake;
    };
};

struct agent_actions {
    const struct agent_action *items;
    size_t count;
};

int agent_brain_new(const struct agent_brain_config *config, struct agent_rng rng,
                    struct agent_brain **ret, struct tm_err *err) TM_WUR;
void agent_brain_free(struct agent_brain *b);
TM_DEFINE_FREEP(struct agent_brain, agent_brain_free)

/* Fails only when memory is out. */
int agent_brain_step(struct agent_brain *b, const struct agent_event *event, struct agent_now now,
                     struct agent_actions *ret, struct tm_err *err) TM_WUR;

/* For STATUS= and tests. */
bool agent_brain_connected(const struct agent_brain *b);
size_t agent_brain_job_count(const struct agent_brain *b);

#endif
