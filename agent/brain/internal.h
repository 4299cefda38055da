#ifndef TM_AGENT_BRAIN_INTERNAL_H
#define TM_AGENT_BRAIN_INTERNAL_H
/*
 * Inside the agent's brain. brain.c steps; link.c talks to the coordinator; desired.c takes and
 * drops jobs; job.c advances one; runner.c starts and feeds runners; work.c keeps plan, leases and
 * results; hold.c keeps log at the source, hold_look.c sees what is kept there; checkpoint.c is
 * what of those is stored on the way; log.c is all of log jobs; probe.c is all of storage tests;
 * secret.c is credentials; report.c says what there is.
 *
 * Memory of one step (actions and all they point to) lies in `step`, released when the next step
 * begins. When it runs out, `failed` is set, the rest of the step does nothing, and the step fails.
 */
#include "agent/brain/brain.h"

enum session_state {
    SESSION_NONE,
    SESSION_BEGINNING,
    SESSION_HELD,
    SESSION_ENDING,
    SESSION_ENDED,
    SESSION_CLOSING, /* CLOSED is awaited */
    SESSION_CLOSED,
};

enum runner_state {
    RUNNER_NONE,
    RUNNER_WAITING,  /* to be spawned at respawn_at_us */
    RUNNER_STARTING, /* spawned; ready is awaited */
    RUNNER_READY,
    RUNNER_KILLED, /* EXITED is awaited */
};

enum result_state {
    RESULT_UNSENT,
    RESULT_SENT,     /* in the request job->done_serial */
    RESULT_ACCEPTED, /* kept for a coordinator with a new term */
    RESULT_GONE,     /* judged stale, or a failure that was heard */
};

struct result {
    struct msg_result msg; /* blob, counters and error point into `arena` */
    struct codec_arena arena;
    enum result_state state;
    bool early; /* accepted before, or of an earlier attempt: told before the plan */
    bool noted; /* its range is among those of job.noted because of it */
};

struct plan_entry {
    uint32_t key_offset; /* of its start in plan.keys */
    uint32_t key_len;
    uint64_t bytes;
    bool anywhere;
};

/* Ranges are adjacent, so the starts and one end say it all. */
struct plan {
    struct plan_entry *entries;
    size_t count;
    size_t cap;
    struct buf keys;
    uint8_t end[WIRE_KEY_MAX];
    size_t end_len;
    struct buf root;
    uint64_t bytes;
    uint32_t gen;
    bool complete;
};

struct held_lease {
    uint32_t range;
    uint64_t term;
    uint64_t counter;
};

/* What only a log job has. */
struct log_job {
    uint64_t term;        /* of the coordinator that last named it */
    uint64_t runner_term; /* of the runner that is, or was last */
    bool restored; /* from an earlier life of the agent: no coordinator has confirmed it yet */
    bool replace;  /* the runner was told another job than this: it goes first */
    bool stop_sent;
    uint64_t stop_by_us;
    uint64_t spawned_us;
    uint32_t crashes; /* all of them; job.crashes: since one lived for a while */
    enum job_step failed_step;

    bool told; /* to the runner that is: */
    enum job_step told_step;
    struct msg_log_params told_params;
    struct codec_arena told_arena;
    uint64_t told_us;

    bool has_status;
    struct msg_log_status status; /* the newest one */
    struct codec_arena status_arena;
    bool has_answer;
    struct msg_log_answer
        answer; /* to the query of `want`, or to one that is not wanted any more */
    struct codec_arena answer_arena;
    struct msg_error trouble; /* code 0 = none: why there is no newer one */
    char trouble_text[WIRE_TEXT_MAX + 1];
};

struct job {
    uint32_t handle;
    struct msg_assignment want; /* as last desired */
    struct codec_arena want_arena;
    size_t instance; /* SIZE_MAX: none of the config's */
    bool dropping;   /* not desired any more: goes when runner and session are gone */
    enum job_stage stage;
    struct tm_err error;
    char error_stage[32];
    int64_t error_since_us;
    const char *warnings[WIRE_WARNINGS_MAX]; /* in warning_arena */
    size_t warning_count;
    struct codec_arena warning_arena;

    enum session_state session;
    struct buf begin;
    struct buf end;
    uint8_t replay_from[WIRE_POSITION_MAX];
    size_t replay_from_len;
    char replay_from_text[WIRE_POSITION_MAX + 1];
    char lineage_label[64];
    char identity[64];
    char version[32];
    uint8_t consistent_at[WIRE_POSITION_MAX];
    size_t consistent_at_len;
    char consistent_at_text[WIRE_POSITION_MAX + 1];
    int64_t commit_us;

    enum runner_state runner;
    uint32_t generation;
    uint32_t crashes;
    uint64_t respawn_at_us;
    bool begin_sent;
    bool ever_begun; /* some runner got begin: something may lie in storage */
    bool unstored;   /* failed before that: there is nothing to sweep */
    bool writing;    /* restore: some runner began to write into the target */
    bool finish_sent;
    bool sweep_sent;
    uint32_t sweep_grace_ms;  /* …with this grace */
    uint64_t marked_until_us; /* stage MARKED: mono, the grace is over */
    uint32_t need;            /* leases the runner would take */
    uint64_t log_durable;
    uint64_t bytes_done;
    uint64_t bytes_before; /* moved by runners that are no more */
    uint64_t bytes_total;
    uint64_t log_bytes;
    struct msg_storage_stats storage; /* of the runner that is, or was last */
    bool has_storage;
    char trouble[WIRE_TEXT_MAX + 1]; /* with storage, as the runner says now; "" = none */
    char trouble_stage[32];
    int64_t trouble_since_us;

    struct plan plan;
    uint32_t plan_next;    /* first range the coordinator does not know of */
    bool plan_told;        /* it has all of it */
    bool begin_known;      /* worker only: the begin blob came with leases */
    uint32_t results_from; /* page the runner waits for; UINT32_MAX = none */

    /* lead, checkpoints */
    bool found_known; /* what earlier attempts left was told, and taken */
    bool found;       /* … and can be used: `first` is the begin blob of the first start */
    struct buf first;
    uint64_t first_log;   /* the first byte of log that they did not store */
    bool accepted_wanted; /* the runner waits for the next page */
    uint32_t accepted_from;
    uint64_t accepted_term;
    uint64_t accepted_serial;
    uint64_t accepted_again_us;
    uint32_t checkpointed; /* results in stored checkpoints */
    size_t early_open;     /* results that come before the plan, and are not accepted yet */
    uint64_t results_again_us;

    struct held_lease held[WIRE_LEASES_MAX];
    size_t held_count;
    struct result *results;
    size_t result_count;
    size_t result_cap;
    size_t result_open; /* results before this one need nothing any more */
    size_t result_bytes;
    /* a lead's: ranges of which `results` have what was accepted, a bit each of
     * AGENT_BRAIN_OUTBOX_MAX; NULL = none */
    uint8_t *noted;

    uint64_t want_serial; /* request in flight, 0 = none; and so on */
    uint64_t done_serial;
    uint64_t plan_serial;
    uint64_t results_serial;
    uint64_t want_settled; /* newest want_ranges answered or given up */
    uint64_t want_again_us;
    uint64_t done_again_us;
    uint64_t plan_again_us;

    struct msg_totals totals;
    struct codec_arena totals_arena;
    bool has_totals;

    struct log_job log;
};

/* A storage test: a runner, and no job. */
struct probe {
    uint32_t handle;       /* among those of jobs */
    struct msg_probe want; /* into want_arena */
    struct codec_arena want_arena;
    uint64_t deadline_us;
    uint64_t stop_by_us; /* done: the runner is gone by then */
    bool running;        /* EXITED is awaited */
    bool killed;
    bool dropped; /* not desired any more: goes when the runner is gone */
    bool done;    /* `answer` is final; else what is known so far */
    struct msg_probe_answer answer;
    struct codec_arena answer_arena;
    struct tm_err err;
    struct msg_error error; /* of answer, text in err */
};

/* A hold of a snapshot's log, durable before it is made at the source. */
struct hold {
    struct agent_hold rec;
    bool dropping;    /* nothing needs it any more */
    bool drop_out;    /* HOLD_DROPPED is awaited */
    uint64_t next_us; /* dropping: the next try; else: when its renewal is due */
    bool seen;        /* at the source, a moment ago, where … */
    uint64_t from;    /* … it keeps log from here on */
    uint64_t bytes;
    bool lost;
};

/* Looking for holds at one instance. */
struct hold_look {
    bool out;         /* HOLDS_LISTED is awaited … */
    bool stale;       /* … and tells of one, maybe, that has been dropped since */
    uint64_t next_us; /* out: nothing said before counts any more; else: the next look */
};

enum request_kind {
    REQ_HEARTBEAT,
    REQ_POLL,
    REQ_PLAN,
    REQ_WANT,
    REQ_DONE,
    REQ_RESULTS,
    REQ_ACCEPTED
};

struct in_flight {
    uint64_t serial; /* 0 = free */
    enum request_kind kind;
    uint32_t job;
};

struct dropped {
    char uid[WIRE_UID_MAX + 1];
    uint32_t attempt;
};

struct instance {
    struct agent_instance config;
    struct msg_instance seen;
    struct codec_arena arena;
    struct hold_look look;
};

struct agent_brain {
    struct agent_brain_config config;
    struct agent_rng rng;
    struct codec_arena config_arena;
    struct instance instances[WIRE_INSTANCES_MAX];

    struct agent_now now;
    bool failed; /* out of memory in this step */
    struct tm_err *err;
    struct codec_arena step;
    struct agent_action *actions;
    size_t action_count;
    size_t action_cap;

    bool connecting;
    bool connected;
    uint64_t connect_at_us;
    uint32_t connect_failures;
    uint64_t term; /* newest accepted, and of which start */
    uint64_t start;
    uint64_t revision;      /* of the desired set applied, in this term */
    uint64_t told_revision; /* the newest that this coordinator told of its state */
    bool desired_known;
    uint64_t serial;
    struct in_flight in_flight[AGENT_BRAIN_IN_FLIGHT];
    bool heartbeat_out;
    bool heartbeat_urgent;
    uint64_t heartbeat_at_us;
    unsigned heartbeat_failures;
    bool poll_out;
    uint64_t poll_at_us;
    uint64_t poll_sent_us;

    struct job *jobs[WIRE_JOBS_MAX];
    size_t job_count;
    uint32_t next_handle;
    struct probe *probes[AGENT_BRAIN_PROBES_MAX];
    size_t probe_count;
    struct agent_writer writers[AGENT_BRAIN_WRITERS_MAX]; /* longest unused first */
    size_t writer_count;
    bool resumed;                                  /* config.log_jobs were taken */
    struct msg_assignment log_kept[WIRE_JOBS_MAX]; /* what STORE_LOG_JOBS said last */
    size_t log_kept_count;
    uint64_t log_kept_term;
    struct codec_arena log_kept_arena;
    struct hold holds[AGENT_BRAIN_HOLDS_MAX];
    size_t hold_count;
    struct dropped dropped[AGENT_BRAIN_DROPPED_MAX];
    size_t dropped_count; /* ever; the ring's place is this modulo its size */

    bool stopping;
    bool done;
};

/* ---- brain.c: emitting ---- */

void *agent_step_alloc(struct agent_brain *b, size_t size); /* zeroed; NULL sets failed */
const char *agent_step_text(struct agent_brain *b, const char *text);
struct slice agent_step_bytes(struct agent_brain *b, struct slice bytes);
/* A fresh action at the end of the list; never NULL (a scratch one after a failure). */
struct agent_action *agent_emit(struct agent_brain *b, enum agent_action_kind kind);
void agent_log(struct agent_brain *b, const struct job *job, int priority,
               enum agent_log_event event, const char *fmt, ...) TM_PRINTF(5, 6);
void agent_check(struct agent_brain *b, int result); /* a negative result fails the step */
struct job *agent_job_find(struct agent_brain *b, uint32_t handle);

/* ---- link.c ---- */

void agent_link_tick(struct agent_brain *b);
void agent_link_connected(struct agent_brain *b, uint64_t term, uint64_t start);
void agent_link_disconnected(struct agent_brain *b, const struct tm_err *err);
void agent_link_reply(struct agent_brain *b, const struct message *m);
void agent_link_request_failed(struct agent_brain *b, uint64_t serial, const struct tm_err *err);
/* Sends; the body is shallow and points into the step's memory. The serial, 0 when there is no
 * room. */
uint64_t agent_link_send(struct agent_brain *b, struct message *m, enum request_kind kind,
                         uint32_t job, uint32_t timeout_ms);
/* When something is due by itself. */
uint64_t agent_link_next_us(const struct agent_brain *b);

/* ---- desired.c ---- */

void agent_desired_apply(struct agent_brain *b, const struct message *m);
/* Once: the jobs that an earlier life of the agent kept. */
void agent_desired_resume(struct agent_brain *b);
void agent_desired_free_job(struct job *job);

/* ---- job.c ---- */

/* Brings a job as far as it can go now; to be called after anything about it changed. */
void agent_job_advance(struct agent_brain *b, struct job *job);
void agent_job_fail(struct agent_brain *b, struct job *job, const struct tm_err *err,
                    const char *stage);
/* What the operator should hear of though the job goes on: logged and reported, each text once. */
void agent_job_warn(struct agent_brain *b, struct job *job, const char *text);
void agent_job_session_event(struct agent_brain *b, const struct agent_event *event);
bool agent_job_is_lead(const struct job *job);
bool agent_job_is_worker(const struct job *job);
uint64_t agent_job_next_us(const struct agent_brain *b, const struct job *job);

/* ---- runner.c ---- */

void agent_runner_want(struct agent_brain *b,
                       struct job *job); /* have one, now or after the pause */
void agent_runner_kill(struct agent_brain *b, struct job *job);
bool agent_runner_gone(const struct job *job);
/* COMMITTED, SWEPT or RESTORED. */
void agent_runner_reached(struct agent_brain *b, struct job *job, enum job_stage stage,
                          const struct msg_totals *totals);
void agent_runner_frame(struct agent_brain *b, struct job *job, const struct frame *f);
void agent_runner_exited(struct agent_brain *b, struct job *job, int signal, int status);
void agent_runner_send_begin(struct agent_brain *b, struct job *job);
void agent_runner_send_finish(struct agent_brain *b, struct job *job);
void agent_runner_send_sweep(struct agent_brain *b, struct job *job);
struct frame *agent_runner_send(struct agent_brain *b, struct job *job, enum frame_type type);

/* "was killed by signal 9 (out of memory?)" */
void agent_runner_describe_death(int signal, int status, char *text, size_t size);

/* ---- log.c ---- */

bool agent_logjob_is(const struct job *job);
void agent_logjob_advance(struct agent_brain *b, struct job *job);
void agent_logjob_frame(struct agent_brain *b, struct job *job, const struct frame *f);
void agent_logjob_exited(struct agent_brain *b, struct job *job, int signal, int status);
/* The assignment is about to become `want`. */
void agent_logjob_rewanted(struct job *job, const struct msg_assignment *want);
/* It gave way to a newer writer for a coordinator before the present one, which may know nothing of that and
 * want it all the same: nothing is said of it before that is known. */
bool agent_logjob_outdated(const struct agent_brain *b, const struct job *job);
/* The present coordinator wants it: it has that one's term, and begins again when it is outdated. */
void agent_logjob_termed(struct agent_brain *b, struct job *job);
/* Counts the runner that is being spawned. False: the job failed, there is none. */
bool agent_logjob_take_writer(struct agent_brain *b, struct job *job, struct agent_writer *ret);
/* The generation of such a runner. */
uint32_t agent_logjob_generation(const struct agent_writer *writer);
void agent_logjob_report(struct agent_brain *b, struct job *job, struct msg_job *to);
uint64_t agent_logjob_next_us(const struct agent_brain *b, const struct job *job);
void agent_logjob_release(struct job *job);
/* Emits STORE_LOG_JOBS when the log jobs among these are not those that are kept. */
void agent_logjob_keep(struct agent_brain *b, const struct msg_assignment *jobs, size_t count);

/* ---- probe.c ---- */

void agent_probes_apply(struct agent_brain *b, const struct msg_desired *desired);
struct probe *agent_probe_find(const struct agent_brain *b, uint32_t handle);
void agent_probe_frame(struct agent_brain *b, struct probe *p, const struct frame *f);
void agent_probe_exited(struct agent_brain *b, struct probe *p, int signal, int status);
void agent_probes_tick(struct agent_brain *b);
uint64_t agent_probes_next_us(const struct agent_brain *b);
void agent_probes_report(struct agent_brain *b, struct msg_heartbeat *to);
/* Kills all; nobody waits for them. */
void agent_probes_stop(struct agent_brain *b);
void agent_probes_free(struct agent_brain *b);

/* ---- secret.c ---- */

/* Credentials were meant to come along, and are not there; *ret says why. */
bool agent_secret_lacks(const struct agent_brain *b, const struct msg_secret *secret,
                        struct tm_err *ret);

/* What keeps the job's runner from getting into its stores. False: nothing. */
bool agent_secret_missing(const struct agent_brain *b, const struct job *job, struct tm_err *ret);
/* `secret` of the assignment, when the runner needs any. */
const struct msg_secret *agent_secret_for(const struct job *job, const struct msg_secret *secret);
/* A runner with what was sent would not get in, or not as it should, any more. */
bool agent_secret_changed(const struct msg_assignment *is, const struct msg_assignment *want);
/* Names alone, here and in *shallow->log, which must be a copy, too; what both point to further is left as it is. */
void agent_secret_strip(struct agent_brain *b, struct msg_assignment *shallow);
/* As the runner is to be told: names that nothing came for become the reason, or nothing where the host has
 * credentials of its own. What `shallow` points to is left as it is. */
void agent_secret_places(struct agent_brain *b, struct msg_log_params *shallow);

/* ---- work.c ---- */

void agent_work_plan_batch(struct agent_brain *b, struct job *job,
                           const struct frame_plan_batch *batch);
void agent_work_plan_reset(struct job *job);
void agent_work_range_done(struct agent_brain *b, struct job *job,
                           const struct frame_range_done *done);
void agent_work_range_failed(struct agent_brain *b, struct job *job,
                             const struct frame_range_failed *failed);
/* Sends what is due: plan, results, requests for leases and pages. */
void agent_work_send(struct agent_brain *b, struct job *job);
void agent_work_reply(struct agent_brain *b, struct job *job, enum request_kind kind,
                      uint64_t serial, const struct message *m); /* m NULL: failed */
void agent_work_new_term(struct agent_brain *b, struct job *job);
void agent_work_lost_runner(struct job *job);
void agent_work_void_requests(struct job *job);

/* Keeps what is known of a range until the job goes. */
void agent_work_keep_result(struct agent_brain *b, struct job *job,
                            const struct msg_result *result);

/* Of whoever read it, as the present coordinator tells a lead: should that one and the coordinator go, the next
 * coordinator hears of it from here. What is known already, or would be too much, is passed over. */
void agent_work_keep_accepted(struct agent_brain *b, struct job *job,
                              const struct msg_result *told);

/* Asks the coordinator for a page of results: those of the job, or those accepted so far. The request's
 * serial; 0 = no memory. */
uint64_t agent_work_ask_results(struct agent_brain *b, const struct job *job, uint32_t from,
                                bool accepted);

/* ---- checkpoint.c ---- */

/* What lead and runner say of checkpoints. */
void agent_checkpoint_found(struct agent_brain *b, struct job *job,
                            const struct frame_found *found);
void agent_checkpoint_stored(struct agent_brain *b, struct job *job,
                             const struct frame_stored *stored);
void agent_checkpoint_wanted(struct job *job, const struct frame_want_accepted *want);
/* The session may begin: nothing is to be resumed, or what there is to resume is known. */
bool agent_checkpoint_ready(const struct job *job);
void agent_checkpoint_send(struct agent_brain *b, struct job *job);
void agent_checkpoint_reply(struct agent_brain *b, struct job *job, const struct message *m);

/* ---- hold.c ---- */

/* The job's own, kept from now on; NULL: the engine has none, or there is no room (the job fails). */
const struct agent_hold *agent_hold_take(struct agent_brain *b, struct job *job);
/* It is being dropped at the source: whoever began a session now could lose it under that. */
bool agent_hold_is_leaving(struct agent_brain *b, const struct job *job);
/* The job needs it no more. */
void agent_hold_release(struct agent_brain *b, const struct job *job);
void agent_hold_dropped(struct agent_brain *b, const struct agent_event *event);
void agent_holds_tick(struct agent_brain *b);
uint64_t agent_holds_next_us(const struct agent_brain *b);
/* All that are kept, for the step's actions. */
const struct agent_hold *agent_holds_list(struct agent_brain *b, size_t *ret_count);
/* Emits STORE_HOLDS. */
void agent_holds_keep(struct agent_brain *b);
struct hold *agent_hold_find(struct agent_brain *b, const char *name);
/* A job works under it here. */
bool agent_hold_in_use(const struct agent_brain *b, const struct hold *hold);
void agent_hold_forget(struct agent_brain *b, struct hold *hold);
#define HOLD_PREFIX_LEN 20 /* what the names of all holds of one cluster and tenant begin with */
void agent_hold_prefix(const char *cluster, const char *tenant,
                       char ret[static HOLD_PREFIX_LEN + 1]);

/* ---- hold_look.c ---- */

void agent_holds_listed(struct agent_brain *b, const struct agent_event *event);
/* A hold of this tenant is new, or was dropped. */
void agent_hold_look_soon(struct agent_brain *b, const char *tenant);
void agent_hold_look_stale(struct agent_brain *b, const char *tenant);
void agent_hold_looks_tick(struct agent_brain *b);
uint64_t agent_hold_looks_next_us(const struct agent_brain *b);
void agent_holds_report(struct agent_brain *b, struct msg_heartbeat *to);

/* ---- report.c ---- */

void agent_report_heartbeat(struct agent_brain *b, struct msg_heartbeat *ret);

#endif
