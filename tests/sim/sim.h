#ifndef TM_TESTS_SIM_SIM_H
#define TM_TESTS_SIM_SIM_H
/*
 * A whole cluster in one deterministic process: real brains of coordinator and agents, real
 * messages and frames (encoded and decoded at every hop), and models of what is around them:
 * network, state store, database sessions, runners, storage. Everything happens at simulated times
 * from one queue; all choices come from one seed. The same seed gives the same run.
 *
 *   world.c    time, queue, randomness
 *   coord.c    coordinator processes, their state store, the person at the CLI
 *   agents.c   agent processes, their sessions
 *   net.c      connections, requests, replies: lost, delayed, doubled, cut
 *   runners.c  the runner: plan and ranges against modelled storage
 *   checkpoints.c  what it stores on the way, and finds
 *   commits.c  commit and sweep
 *   errands.c  what is kept in storage of resources, and read back when the state was lost
 *   depot.c    what lies in storage, as a model
 *   source.c   the databases' log: it grows, branches when a standby is promoted
 *   streams.c  the runner of a log backup, as a model
 *   lineages.c what lies in storage of the log, and what must be true of it
 *   wholes.c   log backups of several tenants: each tenant's part, and what is shown of all
 *   real.c     the same with the real formats, in some of the runs
 *   oracle.c   what must always be true
 *   faults.c   what goes wrong, and when
 *   main.c     seeds, planted bugs
 */
#include "agent/brain/brain.h"
#include "coordinator/brain/brain.h"
#include "tests/sim/sim_log.h"

#define SIM_AGENTS_MAX  4
#define SIM_COORDS_MAX  2 /* the second is one that does not know it was replaced */
#define SIM_BACKUPS_MAX 64
#define SIM_RANGES_MAX  40
#define SIM_RUNNERS_MAX 48
#define SIM_KEYS        256 /* the mock engine's key space: one byte */
#define SIM_STORE_MAX   64
#define SIM_WORKERS     2
#define SIM_QUEUE_MAX   64
#define SIM_KEY_MAX     16

#define SIM_REAL_US SEC(1790000000) /* what the clocks on the wall say at simulated time 0 */

#define FAULTS_CALM_US SEC(26) /* after the faults: the last dead process is up again */

#define MS(n)  ((uint64_t)(n)*1000)
#define SEC(n) ((uint64_t)(n)*1000000)

struct world;
struct sim_real;
struct ram_registry;

/* Everything a queued event may need; bytes are owned. */
struct sim_arg {
    uint32_t who;  /* agent or coordinator */
    uint64_t life; /* of that process: a later life does not get it */
    uint64_t a;
    uint64_t b;
    uint64_t c;
    uint64_t d;
    uint64_t e;
    struct buf bytes;
};
typedef void (*sim_fn)(struct world *w, struct sim_arg *arg);

struct sim_event {
    uint64_t at_us;
    uint64_t seq;
    sim_fn fn;
    struct sim_arg arg;
};

/* ---- storage -------------------------------------------------------------------------------------- */

struct sim_object {
    uint32_t range;
    uint64_t term;
    uint64_t counter;
    int start; /* keys [start, end) */
    int end;
};

struct sim_lease {
    uint32_t range;
    uint64_t term;
    uint64_t counter;
    uint8_t start[SIM_KEY_MAX];
    uint8_t end[SIM_KEY_MAX];
    size_t start_len;
    size_t end_len;
};

struct sim_backup {
    char id[WIRE_ID_MAX + 1];
    bool checkpoint; /* plan and what follows are stored */
    struct sim_lease plan[SIM_RANGES_MAX];
    uint32_t plan_count;
    struct sim_object done[4 * SIM_RANGES_MAX];
    size_t done_count;
    struct sim_object *objects;
    size_t object_count;
    size_t object_cap;
    bool manifest;
    struct sim_object *entries; /* of the manifest */
    size_t entry_count;
    uint64_t marked_us; /* its tombstone is stored since then, 0 = there is none */
};

/* ---- processes -------------------------------------------------------------------------------------- */

struct sim_store_entry {
    char key[160];
    struct buf value;
};

struct sim_store {
    struct sim_store_entry entries[SIM_STORE_MAX];
    size_t count;
    uint64_t term;
    uint64_t revision;
};

struct sim_coord {
    bool alive;
    bool zombie; /* replaced, and does not know */
    uint64_t life;
    uint64_t started_us;
    uint64_t term;
    uint64_t wake_us;
    uint64_t wake_seq;
    struct brain *brain;
};

struct sim_session {
    bool open;
    uint32_t job;
    bool resume;
    char hold[SIM_SLOT_LEN];
};

#define SIM_TARGETS_MAX 64

struct sim_agent {
    bool alive;
    uint64_t life;
    uint64_t started_us;
    struct agent_brain *brain;
    char node[16];
    char boot[32];
    uint64_t seen_term; /* its disk */
    uint64_t seen_start;
    uint64_t wake_us;
    uint64_t wake_seq;
    uint64_t conn; /* 0 = none */
    uint32_t conn_coord;
    uint64_t conn_coord_life;
    bool welcomed;
    bool misses; /* it was told of what the state that was put back lacks */
    uint64_t partition_until_us;
    unsigned slow; /* factor */
    const char *tenant;
    struct sim_db db;
    struct agent_writer writers[AGENT_BRAIN_WRITERS_MAX]; /* its disk, as the next two */
    size_t writer_count;
    struct msg_assignment log_jobs[WIRE_JOBS_MAX];
    size_t log_job_count;
    uint64_t log_jobs_term;
    struct codec_arena log_jobs_arena;
    struct agent_hold holds[AGENT_BRAIN_HOLDS_MAX]; /* its disk */
    size_t hold_count;
    struct sim_session sessions[16];
    char filled[SIM_TARGETS_MAX][WIRE_UID_MAX + 1]; /* its disk: restores that began to write */
    size_t filled_count;
};

struct sim_runner {
    bool alive;
    uint64_t life;
    uint32_t agent;
    uint64_t agent_life;
    uint32_t job;
    uint32_t generation;
    uint32_t kind;
    uint32_t roles;
    char uid[WIRE_UID_MAX + 1];
    char tenant[WIRE_NAME_MAX + 1];
    char backup_id[WIRE_ID_MAX + 1];
    struct buf to_agent; /* frames are cut from streams on both sides */
    struct buf from_agent;
    uint32_t attempt;
    bool checkpoints;
    bool resume;
    bool known; /* plan, and done ranges, of earlier attempts */
    uint32_t known_told;
    bool begun;
    bool finishing;
    struct sim_lease queue[SIM_QUEUE_MAX];
    size_t queue_count;
    unsigned busy;
    uint32_t plan_next;
    struct sim_lease plan[SIM_RANGES_MAX];
    uint32_t plan_count;
    uint32_t results_next;
    struct sim_object entries[2 * SIM_RANGES_MAX];
    size_t entry_count;
    struct buf blobs[SIM_RANGES_MAX];
    uint64_t bytes;
    uint64_t term;
    uint64_t finish_term;
    uint32_t finish_ranges;
    bool sweeping;
    struct sim_real *real;                        /* NULL: the model */
    struct sim_object known_done[SIM_RANGES_MAX]; /* real: what a checkpoint has … */
    struct buf known_blobs[SIM_RANGES_MAX];       /* … and the entries of that */
    size_t known_count;
    struct sim_stream stream;
};

/* ---- what is watched ---------------------------------------------------------------------------------- */

#define ORACLE_ACCEPTED_MAX 8

/*
 * A lease that is not shared voids all older ones of its range, as long as the coordinator that
 * granted it lives. The next one knows only what agents report: to it all leases of earlier terms
 * are equal, and the first result to arrive wins.
 */
struct oracle_range {
    bool stored; /* and the lead knows it: from an earlier attempt, or accepted in this one */
    uint64_t fresh_term;
    uint64_t fresh_counter;
    uint64_t fresh_life; /* of the coordinator that granted it */
    uint64_t accepted_term[ORACLE_ACCEPTED_MAX];
    uint64_t accepted_counter[ORACLE_ACCEPTED_MAX];
    size_t accepted_count;
};

struct oracle_job {
    char uid[WIRE_UID_MAX + 1];
    uint32_t attempt;
    struct oracle_range ranges[SIM_RANGES_MAX];
};

struct sim_intent { /* a resource's words in storage */
    char tenant[WIRE_NAME_MAX + 1];
    char uid[WIRE_UID_MAX + 1];
    uint64_t term;
    uint32_t counter;
    struct buf resource;
};
#define SIM_INTENTS_MAX 64

struct sim_want { /* a resource the person at the CLI wants */
    char name[16];
    bool restore;
    bool log;
    const char *subcommand; /* log: the newest wish */
    bool deleted;
    bool sent;
    bool answered;
    uint64_t cmd;
    bool delete_sent;
    bool delete_answered;
    uint64_t delete_cmd;
    bool last; /* wanted after the faults: must be Complete */
    bool policy_delete;
    unsigned truncate_s; /* log: to be truncated until that second, 0 = not */
    bool all_tenants;    /* names none */
    const char *tenant;  /* log: the one it names, "" = none */
    bool checkpoint;
    bool short_ttl;
    unsigned from; /* backupFrom */
    unsigned retries;
};

struct sim_profile {
    bool benign; /* nothing happens that may fail a job */
    unsigned agents;
    bool members;  /* every agent may read any range */
    bool real;     /* storage and formats as they are, not as a model */
    uint32_t loss; /* of a thousand messages */
    uint32_t dup;
    uint64_t delay_max_us;
    uint64_t faults_until_us;
    bool logs;          /* a log backup, and standbys that are promoted */
    bool tenants;       /* two of them, on every other agent each */
    uint64_t late_us;   /* the second tenant's agents are first started then */
    const char *broken; /* the tenant whose log cannot be read any more … */
    uint64_t broken_us; /* … from then on … */
    uint64_t healed_us; /* … until then; 0 = for ever … */
    bool broken_fails;  /* … which its runner ends for, and does not only say */
};

struct sim_counts {
    uint64_t steps;
    uint64_t messages;
    uint64_t completed;
    uint64_t failed;
    uint64_t faults;
};

/* Wrong on purpose in what stands for the log task. */
enum sim_plant {
    SIM_PLANT_NONE,
    SIM_PLANT_EARLY_CHECKPOINT, /* told before it is stored */
    SIM_PLANT_NO_PROOF,         /* a lineage is continued whatever its bytes are */
};

struct world {
    uint64_t seed;
    bool verbose;
    bool always_real;
    enum brain_plant coord_plant;
    enum agent_plant agent_plant;
    enum sim_plant sim_plant;
    uint64_t rng[2];
    uint64_t now_us;
    uint64_t seq;
    struct sim_event *queue;
    size_t queue_count;
    size_t queue_cap;
    struct sim_profile profile;
    struct sim_coord coords[SIM_COORDS_MAX];
    struct sim_store store;
    struct sim_store old_store; /* what a rollback goes back to */
    bool store_fails;
    bool rolled_back; /* what records say of finished backups may be older than storage */
    struct sim_agent agents[SIM_AGENTS_MAX];
    struct sim_runner runners[SIM_RUNNERS_MAX];
    struct sim_backup backups[SIM_BACKUPS_MAX];
    size_t backup_count;
    struct ram_registry *registry;
    uint64_t storage_down_until_us;
    struct sim_branch branches[SIM_BRANCHES_MAX];
    size_t branch_count;
    struct sim_lineage lineages[SIM_LINEAGES_MAX];
    size_t lineage_count;
    int64_t truncated_us[SIM_TENANTS_MAX];
    struct sim_quiet { /* log tasks, of one tenant each */
        char uid[WIRE_UID_MAX + 1];
        char key[160]; /* of its record */
        bool stopped;  /* or gone */
        bool paused;
        uint64_t since_us;
    } quiet[32];
    size_t quiet_count;
    struct sim_want wants[8];
    size_t want_count;
    struct sim_intent intents[SIM_INTENTS_MAX];
    size_t intent_count;
    uint64_t rebuild_cmd; /* asked, not answered */
    bool rebuilt;         /* what storage holds was read: to be confirmed… */
    bool refused;         /* …though agents are at work on what nobody knows */
    uint64_t start;       /* of the newest coordinator */
    struct { /* a state that was put back, until that is confirmed: what its agents saw… */
        uint64_t term; /* 0 = there is none */
        uint64_t start;
        uint64_t revision; /* …and what of it is left */
    } put_back;
    uint64_t next_cmd;
    uint64_t next_conn;
    uint64_t next_life;
    struct oracle_job jobs[128];
    size_t job_count;
    struct sim_counts counts;
    bool violated;
    char violation[512];
};

/* ---- world.c -------------------------------------------------------------------------------------------- */

uint64_t sim_random(struct world *w);
uint64_t sim_below(struct world *w, uint64_t bound);
bool sim_chance(struct world *w, uint32_t of_thousand);
uint64_t sim_rng_next(void *world);
/* A zeroed argument to fill before the event is due; valid until the next sim_at. */
struct sim_arg *sim_at(struct world *w, uint64_t delay_us, sim_fn fn);
bool sim_step(struct world *w); /* false: nothing is left to happen */
void sim_log(struct world *w, const char *fmt, ...) TM_PRINTF(2, 3);
void sim_violate(struct world *w, const char *fmt, ...) TM_PRINTF(2, 3);
void sim_die(const char *what, const struct tm_err *err) __attribute__((noreturn));
void world_release(struct world *w);

/* ---- coord.c --------------------------------------------------------------------------------------------- */

void coord_start(struct world *w, uint32_t which);
void coord_crash(struct world *w, uint32_t which);
void coord_feed(struct world *w, uint32_t which, const struct brain_event *event);
void coord_want(struct world *w, bool restore, bool policy_delete, bool last);
void coord_delete(struct world *w, size_t want);
/* Asks that a job which failed goes on; of a log backup, that those of its tenants do that failed. */
void coord_resume(struct world *w, size_t want);
/* Of this tenant; "" = of all. */
void coord_want_log(struct world *w, const char *tenant);
/* Applies the log backup's spec once more, with this subcommand. */
void coord_wish_log(struct world *w, size_t want, const char *subcommand);
void coord_truncate_log(struct world *w, size_t want, unsigned until_s);
void store_copy(struct sim_store *to, const struct sim_store *from);
void store_release(struct sim_store *s);
struct sim_coord *coord_newest(struct world *w, uint32_t *ret_which);

/* ---- agents.c ---------------------------------------------------------------------------------------------- */

void agent_start(struct world *w, uint32_t which);
void agent_crash(struct world *w, uint32_t which);
void agent_feed(struct world *w, uint32_t which, const struct agent_event *event);
void agent_lose_session(struct world *w, uint32_t which);
/* Holds that nobody would ever drop. */
void agent_check_holds(struct world *w);
/* Its state_dir is gone: the next life begins without. */
void agent_lose_state(struct world *w, uint32_t which);
/* No hold is left whose time has come, or comes soon; when all is calm. */
bool agent_holds_settled(struct world *w);

/* ---- net.c --------------------------------------------------------------------------------------------------- */

void net_connect(struct world *w, uint32_t agent, uint64_t seen_term, uint64_t seen_start,
                 uint64_t seen_revision);
void net_disconnect(struct world *w, uint32_t agent);
void net_request(struct world *w, uint32_t agent, const struct message *m, uint32_t timeout_ms);
void net_reply(struct world *w, uint32_t coord, uint64_t conn, const struct message *m);
void net_welcome(struct world *w, uint32_t coord, uint64_t conn, uint64_t term, uint64_t start);
void net_close(struct world *w, uint32_t coord, uint64_t conn);
void net_coord_died(struct world *w, uint32_t coord);

/* ---- runners.c ------------------------------------------------------------------------------------------------ */

void runner_spawn(struct world *w, uint32_t agent, uint32_t job, uint32_t generation);
void runner_input(struct world *w, uint32_t agent, uint32_t job, uint32_t generation,
                  const struct frame *f);
void runner_end(struct world *w, struct sim_runner *r, int signal);
struct sim_runner *runner_find(struct world *w, uint32_t agent, uint32_t job, uint32_t generation);

void runner_release(struct sim_runner *r);
bool runner_is(const struct world *w, const struct sim_arg *arg);
struct sim_arg *runner_later(struct world *w, const struct sim_runner *r, uint64_t delay_us,
                             sim_fn fn);
void runner_tell(struct world *w, const struct sim_runner *r, const struct frame *f);
void runner_tell_failed(struct world *w, const struct sim_runner *r, const struct tm_err *err,
                        const char *stage);
bool runner_storage_down(const struct world *w);
/* A real operation failed: true when it is to be tried again. */
bool runner_again(struct world *w, const struct sim_runner *r, const struct tm_err *err,
                  const char *stage);
void runner_on_ready(struct world *w, struct sim_arg *arg);

/* ---- checkpoints.c ---- */

/* False: there is nothing to be done, or later. */
bool checkpoint_look(struct world *w, struct sim_runner *r);
void checkpoint_accepted(struct world *w, struct sim_runner *r,
                         const struct frame_accepted *accepted);
void checkpoint_tell_known(struct world *w, struct sim_runner *r);
void checkpoint_begin(struct world *w, struct sim_runner *r, bool planned);

/* ---- commits.c ---- */

void commit_want_results(struct world *w, const struct sim_runner *r);
void commit_results(struct world *w, struct sim_runner *r, const struct frame_results *page);
void sweep_later(struct world *w, struct sim_runner *r, uint64_t delay_us, uint64_t remove,
                 uint64_t grace_ms);
void sim_key_set(uint8_t to[SIM_KEY_MAX], size_t *ret_len, struct slice key);

/* ---- depot.c --------------------------------------------------------------------------------------------------- */

struct sim_backup *depot_find(struct world *w, const char *id, bool make);
void depot_put(struct world *w, struct sim_backup *backup, const struct sim_object *object);
const struct sim_object *depot_object(const struct sim_backup *backup, uint32_t range,
                                      uint64_t term, uint64_t counter);
void depot_sweep(struct sim_backup *backup);
void depot_done(struct sim_backup *backup, const struct sim_object *object);

/* ---- restores.c ---- */

void restore_job(struct world *w, struct sim_runner *r, bool resume);

/* ---- errands.c ---- */

void errand_job(struct world *w, struct sim_runner *r, const struct frame_job *job);
void errand_answered(struct world *w, uint32_t which, const struct brain_action *action);
/* Again and again: what storage holds is read, and confirmed, when the state may lack something. */
void on_rebuild(struct world *w, struct sim_arg *arg);

/* ---- oracle.c --------------------------------------------------------------------------------------------------- */

void oracle_reply(struct world *w, uint32_t coord, const struct message *m);
void oracle_answer(struct world *w, uint64_t cmd, enum brain_outcome outcome,
                   const struct tm_err *err);
void oracle_stored(struct world *w, const char *key, struct slice value);
/* An attempt's runner tells that this range is in a checkpoint. */
void oracle_known(struct world *w, const struct sim_runner *r, uint32_t range);
bool oracle_record(struct world *w, const char *key, struct record *ret, struct codec_arena *arena);
void oracle_part_key(char key[160], const char *name, const char *tenant);
void oracle_manifest(struct world *w, const char *uid, const struct sim_backup *backup);
bool oracle_settled(struct world *w); /* all jobs are at their end */
void oracle_end(struct world *w);

/* ---- faults.c ---- */

/* Now, and for some seconds. */
void faults_kill_agent(struct world *w, uint32_t which);
/* Log backups are once more wished as they were wished last. */
void on_remind(struct world *w, struct sim_arg *arg);
/* a: an agent that is to be up */
void on_agent_back(struct world *w, struct sim_arg *arg);
void faults_plan(struct world *w);

#endif
