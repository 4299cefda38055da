#ifndef TM_COORDINATOR_BRAIN_BRAIN_H
#define TM_COORDINATOR_BRAIN_BRAIN_H
/*
 * What the coordinator decides: resources, jobs, leads, ranges, leases, who should have what.
 *
 * Pure: one event in, a list of actions out. No clock, no randomness, no I/O inside; the same events
 * give the same actions, byte for byte. The daemon (and tests/sim) feeds it:
 *
 *     brain_new(config)                                 the term in it is durable already
 *     brain_step(LOADED …) for each stored record, then brain_step(LOADED_END)
 *     then any order of AGENT_UP, AGENT_GONE, REQUEST, COMMAND, PERSISTED, TERM, TICK
 *
 * and carries out every action of a step, in order, before the next step.
 *
 * Durability. Everything that binds (a command's answer, a job given to an agent, a phase that
 * anybody can see) happens in two halves: PERSIST{txn} goes out, and only the event PERSISTED{txn, ok}
 * makes it true inside the brain and lets the promise leave. Transactions are to be applied in the
 * order given and answered in that order. After ok = false the brain tries again by itself later
 * (or, for a command, answers with the error).
 *
 * Requests. Every REQUEST (a decoded message of an agent that passed hello) gets exactly one REPLY
 * with its ctx, at once or, for poll, later. When its connection goes (AGENT_GONE), parked ctxs of
 * that connection are forgotten without a reply: the daemon drops them too. Every COMMAND gets
 * exactly one ANSWER. hello, challenge and proof are the daemon's: the brain hears of an agent when
 * its proof was right (AGENT_UP) and answers with WELCOME or REFUSE.
 *
 * Secrets. The brain knows their names only. An assignment that needs one has it by name, without
 * pairs; whoever sends the message puts in what it holds, or why that cannot be sent.
 *
 * Ownership. What an event points to is borrowed for the call, except command.resource, which is
 * handed over whatever happens. What an action points to is borrowed until the next brain_step or
 * brain_free. Resources and nodes seen through the read functions are valid until the next step.
 *
 * Time: mono_us never goes back, any origin; real_us is UTC since 1970 and may jump. WAKE says when
 * the next TICK is wanted at the latest; earlier or additional ticks are harmless.
 *
 * Threads: none; everything is called from the loop.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "proto/wire/messages.h"

struct resource;        /* proto/spec/spec.h */
struct resource_status; /* proto/spec/status.h */
struct brain;

#define BRAIN_RESOURCES_MAX     4096
#define BRAIN_PROBES_MAX        WIRE_PROBES_MAX /* storage tests at once */
#define BRAIN_NODES_MAX         4096       /* silent ones that are not forgotten yet included */
#define BRAIN_JOBS_MAX          64         /* live at once */
#define BRAIN_RANGES_MAX        (1u << 20) /* in one plan */
#define BRAIN_PLAN_BYTES_MAX    ((size_t)256 << 20) /* keys of one plan */
#define BRAIN_RESULTS_BYTES_MAX ((size_t)512 << 20) /* result blobs of one job */
#define BRAIN_KEY_MAX           512
#define BRAIN_KEY_PREFIX        "resource/"
#define BRAIN_KEPT_PREFIX       "kept/"    /* storages with backups that no resource tells of */
#define BRAIN_PART_PREFIX       "part/"    /* one tenant's part of a resource of several */
#define BRAIN_CLUSTER_PREFIX    "cluster/" /* which tenants a cluster has, when it has several */
#define BRAIN_INTENT_PREFIX     "intent/"  /* what is still to be kept in storage */
#define BRAIN_REBUILD_KEY       "rebuild" /* the state may lack something, until that is confirmed */
#define BRAIN_LIVES_KEY         "lives"   /* of this state, see lives.c */
#define BRAIN_TENANTS_MAX       64        /* of one cluster */

struct brain_now {
    uint64_t mono_us;
    int64_t real_us;
};

/* The only source of randomness: 64 fresh bits. */
struct brain_rng {
    uint64_t (*next)(void *arg);
    void *arg;
};

/* Wrong on purpose, to see that the simulation notices. Never set outside tests. */
enum brain_plant {
    BRAIN_PLANT_NONE,
    BRAIN_PLANT_ACCEPT_STALE,   /* any epoch of a range is accepted */
    BRAIN_PLANT_NO_FENCE,       /* leases of an older life stay good after a re-lease */
    BRAIN_PLANT_ANSWER_EARLY,   /* answers before PERSISTED */
    BRAIN_PLANT_DOUBLE_COUNT,   /* a repeated result counts again */
    BRAIN_PLANT_NO_RELEASE,     /* leases of a lost agent are never given to another */
    BRAIN_PLANT_FORGET_RESTART, /* loaded jobs are not taken up again */
    BRAIN_PLANT_ADOPT_NOTHING,  /* a started coordinator leases at once, ignoring reported leases */
    BRAIN_PLANT_IGNORE_SEEN,    /* a newer term that an agent has seen is not heeded */
    BRAIN_PLANT_COMPLETE_EARLY, /* Complete when the lead starts committing */
    BRAIN_PLANT_STORED_LATE, /* an earlier attempt's result is accepted whatever was granted since */
    BRAIN_PLANT_EXPIRE_COMMITTED, /* what expires is given up though its manifest is found */
    BRAIN_PLANT_SAME_ATTEMPT,     /* a log backup's next lead has the attempt of the one before */
    BRAIN_PLANT_WHOLE_EARLY,      /* a backup of several tenants is Complete when the first is */
    BRAIN_PLANT_LEAVE_PART,       /* deleted: the whole goes before its parts */
    BRAIN_PLANT_FAR_PART, /* a log backup of several tenants is as safe as the one that is safest */
    BRAIN_PLANT_STOP_FIRST,     /* … stop reaches its first part alone */
    BRAIN_PLANT_STOPPED_EARLY,  /* … is Stopped when the first of its parts is */
    BRAIN_PLANT_TRUNCATE_FIRST, /* … is truncated of its first part alone */
    BRAIN_PLANT_NO_JOIN,        /* … and a tenant that appears later gets no part */
};

/* 0 means the default in the comment. */
struct brain_config {
    uint64_t term;           /* durable, higher than any before */
    uint64_t start;          /* random, names this start of the coordinator */
    uint64_t state_revision; /* of the state when that term was taken: it grows with each PERSIST */
    uint32_t lease_ms;       /* 10000: silence after which an agent's leases lapse */
    uint32_t poll_ms;        /* 30000: a parked poll is answered then, changed or not */
    uint32_t lead_grace_ms;  /* 30000: silence of a lead after which its job fails */
    uint32_t restart_grace_ms; /* 60000: the same, counted from the coordinator's start */
    uint32_t stall_ms;         /* 3600000: without any progress a job fails */
    uint32_t abort_ms;       /* 60000: a sweep whose lead is silent is given up then, and said so */
    uint32_t node_forget_ms; /* 3600000: a silent node is no longer listed */
    uint32_t part_wait_ms; /* 600000: a tenant of a cluster's backup that cannot begin fails then */
    bool
        rebuild; /* the state is new and is to be made from what storage holds: as if it was lost */
    enum brain_plant plant;
};

/* ---- events ---- */

enum brain_event_kind {
    BRAIN_EV_LOADED,     /* one record of the state store */
    BRAIN_EV_LOADED_END, /* that was all */
    BRAIN_EV_AGENT_UP,   /* hello was proven on this connection */
    BRAIN_EV_AGENT_GONE, /* the connection is closed */
    BRAIN_EV_REQUEST,    /* a message on a welcomed connection */
    BRAIN_EV_COMMAND,    /* from the control socket */
    BRAIN_EV_PERSISTED,  /* outcome of a PERSIST */
    BRAIN_EV_TERM,       /* outcome of a RAISE_TERM: this higher term is durable */
    BRAIN_EV_TICK,       /* time passed */
    BRAIN_EV_SECRET,     /* this secret is there, gone, or holds something else */
};

enum brain_command {
    BRAIN_CMD_APPLY = 1, /* create, configure, or nothing to do */
    BRAIN_CMD_DELETE,    /* by kind, namespace, name; honours cleanPolicy and cleanGrace */
    BRAIN_CMD_RETRY,     /* a Failed resource starts over with a new attempt */
    BRAIN_CMD_QUERY,     /* a question about a log backup's stored log, for an agent to answer */
    BRAIN_CMD_PROBE,     /* every agent of a cluster tests the storage of a spec */
    BRAIN_CMD_REBUILD,   /* what a storage holds and no resource tells of becomes resources */
    BRAIN_CMD_CONFIRM,   /* the state is complete: what waited for that goes on */
};

struct brain_event {
    enum brain_event_kind kind;
    union {
        struct {
            struct slice key;
            struct slice value;
        } loaded;
        struct {
            uint64_t conn; /* never used again for another connection */
            uint64_t ctx;  /* to answer with WELCOME or REFUSE */
            const char *cluster;
            const char *node;
            const char *boot;
            uint64_t seen_term;
            uint64_t seen_start;
            uint64_t seen_revision; /* of its state, told by that start; 0 = it told none */
        } up;
        struct {
            uint64_t conn;
        } gone;
        struct {
            uint64_t conn;
            uint64_t ctx;
            const struct message *message;
        } request;
        struct {
            uint64_t cmd; /* token for the answer */
            enum brain_command what;
            /* APPLY: taken over, also on failure; PROBE: the same, or NULL: of a resource by name */
            /* REBUILD: a Backup, the pattern of those that have no words of their own in storage */
            struct resource *resource;
            struct slice yaml;      /* APPLY: as it came; not needed, resource->document is kept */
            const char *kind;       /* DELETE, RETRY, QUERY, PROBE: "Backup", "Restore" */
            const char *namespace_; /* "" or NULL = "default" */
            const char *name;
            const struct msg_log_query *query; /* QUERY */
            const char *tenant; /* QUERY: whose log; NULL or "" = there is only one */
            bool has_grace;     /* DELETE: instead of the spec's cleanGrace */
            uint32_t grace_ms;
            struct {
                const char
                    *cluster; /* whose nodes, instead of the spec's; NULL or "" = the spec's */
                uint32_t timeout_ms; /* 0 = 30 s */
                bool new_logs;       /* only when it is a log backup that is not there yet */
            } probe;                 /* PROBE */
            const char *cluster; /* REBUILD: this one alone; NULL or "" = all that have agents */
            /* CONFIRM: though agents are at work on what no resource tells of. REBUILD: the storage was moved
             * to where it is read now, and backups whose words name another place are taken without these */
            bool force;
        } command;
        struct {
            uint64_t txn;
            bool ok;
            uint64_t revision;        /* the state's, when ok */
            const struct tm_err *err; /* when not ok */
        } persisted;
        struct {
            uint64_t term;
        } term;
        struct {
            const char *name;
        } secret;
    };
};

/* ---- actions ---- */

enum brain_action_kind {
    BRAIN_ACT_REPLY,      /* answer this ctx; message->serial and ->term are set */
    BRAIN_ACT_WELCOME,    /* hello_server_welcome(term, start) for this ctx */
    BRAIN_ACT_REFUSE,     /* answer hello's ctx with this error, then close the connection */
    BRAIN_ACT_CLOSE,      /* close this connection (a newer one of the same node took over) */
    BRAIN_ACT_PERSIST,    /* one transaction, guarded by the term */
    BRAIN_ACT_RAISE_TERM, /* make a term >= at_least durable, then feed BRAIN_EV_TERM */
    BRAIN_ACT_ANSWER,     /* to a command */
    BRAIN_ACT_LOG,
    BRAIN_ACT_WAKE, /* want a TICK at this mono time; each replaces the one before */
};

struct brain_put {
    struct slice key;
    struct slice value; /* empty = delete the key */
};

enum brain_outcome {
    BRAIN_CREATED = 1,
    BRAIN_CONFIGURED,
    BRAIN_UNCHANGED,
    BRAIN_DELETED,  /* forgotten */
    BRAIN_DELETING, /* marked; storage is swept first, then the resource goes */
    BRAIN_DONE,
};

enum brain_probe_verdict {
    BRAIN_PROBE_WELL,
    BRAIN_PROBE_FAILED, /* error says why */
    BRAIN_PROBE_APART,  /* well, but in another directory than other nodes */
    BRAIN_PROBE_SILENT, /* asked, and no answer came in time */
    BRAIN_PROBE_LOST,   /* it went away while it was asked */
    BRAIN_PROBE_AWAY,   /* known, not connected: not asked */
};

struct brain_probe_node {
    const char *node;
    enum brain_probe_verdict verdict;
    const struct msg_probe_answer *answer; /* WELL, FAILED, APART */
    const struct msg_error *error;         /* FAILED: the first one */
    const char *apart_from;                /* APART: a node there */
};

/* How a storage test came out. */
struct brain_probe {
    bool old; /* new_logs: there was nothing to be tested; no more is set */
    const char *kind;
    const char *name;
    const char *cluster;
    const char *storage;
    uint32_t timeout_ms;
    const struct brain_probe_node *nodes; /* in order of their names */
    size_t node_count;
};

/* What became of what a storage holds. */
struct brain_rebuilt {
    const char *storage;
    const char *const *names; /* of what is a resource now, and was none before … */
    size_t name_count;
    uint64_t complete; /* … of these … */
    uint64_t logs;
    uint64_t failed;  /* may go on, or did fail */
    uint64_t running; /* awaited: agents may still be at work on them */
    uint64_t deleting;
    uint64_t known;     /* was a resource before */
    uint64_t retained;  /* stays without a resource, as it was */
    uint64_t leftovers; /* unfinished, nobody's, and cannot be gone on with */
    uint64_t damaged;   /* backups that cannot be read */
    uint64_t unread;    /* words that cannot be: their backups are like those without words */
    uint64_t missing;   /* words in storage of a backup that is not there */
    uint64_t absent;    /* known as Complete, and not there as such */
    uint64_t conflicts; /* another resource has its name or place */
    uint64_t others;    /* of clusters without agents here */
    uint64_t elsewhere; /* their words say that they lie in another storage */
    const char *first_leftover; /* "" = there is none; the same of the next three */
    const char *first_damaged;
    const char *first_conflict;
    const char *first_other;     /* a cluster */
    const char *first_elsewhere; /* that storage */
    const char *first_unread;    /* that object */
    const char *first_absent;
};

/* What a log line is about; the daemon maps these to journal MESSAGE_IDs. */
enum brain_log_event {
    BRAIN_LOG_PLAIN,
    BRAIN_LOG_NODE_UP,
    BRAIN_LOG_NODE_LOST,
    BRAIN_LOG_JOB_START,
    BRAIN_LOG_JOB_COMPLETE,
    BRAIN_LOG_JOB_FAILED,
    BRAIN_LOG_RANGE_RELEASED, /* ranges whose leases ended without a result, leased anew */
    BRAIN_LOG_PAGE_CORRUPT,
    BRAIN_LOG_STATE_LOST,
};

struct brain_action {
    enum brain_action_kind kind;
    union {
        struct {
            uint64_t conn;
            uint64_t ctx;
            const struct message *message;
        } reply;
        struct {
            uint64_t conn;
            uint64_t ctx;
            uint64_t term;
            uint64_t start;
        } welcome;
        struct {
            uint64_t conn;
            uint64_t ctx;
            const struct tm_err *err;
        } refuse;
        struct {
            uint64_t conn;
        } close;
        struct {
            uint64_t txn;
            const struct brain_put *puts;
            size_t put_count;
        } persist;
        struct {
            uint64_t at_least;
        } raise_term;
        struct {
            uint64_t cmd;
            enum brain_outcome outcome;       /* when err is NULL */
            const struct tm_err *err;         /* NULL = done */
            const struct msg_log_answer *log; /* QUERY, done: what was found … */
            const char *cluster;              /* … of whom */
            const char *tenant;
            const struct brain_probe *probe;     /* PROBE, done */
            const struct brain_rebuilt *rebuilt; /* REBUILD, done */
        } answer;
        struct {
            int priority; /* syslog's: 3 error, 4 warning, 5 notice, 6 info, 7 debug */
            enum brain_log_event event;
            const char *text;
            const char *cluster; /* these are NULL when they do not apply */
            const char *tenant;
            const char *node;
            const char *job; /* uid */
        } log;
        struct {
            uint64_t at_us;
        } wake;
    };
};

struct brain_actions {
    const struct brain_action *items;
    size_t count;
};

/* ---- the brain ---- */

int brain_new(const struct brain_config *config, struct brain_rng rng, struct brain **ret,
              struct tm_err *err) TM_WUR;
void brain_free(struct brain *b);
TM_DEFINE_FREEP(struct brain, brain_free)

/*
 * Fails only when memory is out or a stored record cannot be read (LOADED: TM_E_CORRUPT, naming the
 * key). Either means: stop the daemon, saying so. What peers and users get wrong ends in a reply.
 */
int brain_step(struct brain *b, const struct brain_event *event, struct brain_now now,
               struct brain_actions *ret, struct tm_err *err) TM_WUR;

uint64_t brain_term(const struct brain *b);

/* ---- looking, for the control socket ---- */

struct brain_resource {
    const struct resource *spec;
    const struct resource_status *status;
    struct slice yaml; /* canonical document, one line of JSON (which is YAML) */
    const char *uid;
    int64_t created_us;
    uint64_t generation; /* grows with every change of the spec */
    uint64_t version;    /* grows with every visible change, also of progress; for watchers */
    bool deleting;
};

/* In order of kind, namespace, name: start with *cursor = 0; false at the end. */
bool brain_resource_next(const struct brain *b, size_t *cursor, struct brain_resource *ret);
/* The cursor of the first one behind this place in that order, whether there is one at it or not. */
size_t brain_resource_after(const struct brain *b, const char *kind, const char *namespace_,
                            const char *name);
bool brain_resource_find(const struct brain *b, const char *kind, const char *namespace_,
                         const char *name, struct brain_resource *ret);

/* Whether the state may lack something, and truncation and what expires waits. */
struct brain_doubt {
    int64_t since_us;
    bool noticed;       /* by the term that an agent had seen; else it was asked for */
    uint64_t had_term;  /* noticed: this state's … */
    uint64_t seen_term; /* … and the agent's */
};
bool brain_in_doubt(const struct brain *b, struct brain_doubt *ret);

struct brain_node {
    const char *cluster;
    const char *node;
    const char *boot;
    const char *version; /* of the agent */
    bool connected;      /* and not silent */
    uint64_t silent_us;  /* since the last heartbeat, by the time of the last step */
    const struct msg_instance *instances;
    size_t instance_count;
    size_t job_count; /* as reported */
    const struct msg_hold *holds;
    size_t hold_count;
};

/* In order of cluster, node. */
bool brain_node_next(const struct brain *b, size_t *cursor, struct brain_node *ret);

#endif
