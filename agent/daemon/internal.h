#ifndef TM_AGENT_DAEMON_INTERNAL_H
#define TM_AGENT_DAEMON_INTERNAL_H
/*
 * The agent daemon's insides, shared by its own files only.
 *
 * agent_feed is the one way into the brain. Parts of the daemon never call it from inside an
 * action; what an action finds out on the spot (a process that cannot be started) goes through
 * agent_defer and is fed when the step is over.
 */
#include "agent/brain/brain.h"
#include "agent/daemon/config.h"
#include "agent/engine/engine.h"
#include "agent/session/engine_session.h"
#include "agent/session/line.h"
#include "agent/session/runner_child.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/workers.h"

struct agent;

/* A look at one instance: describe in a worker, its outcome into the brain. */
struct watch {
    struct agent *agent;
    size_t index;
    const struct engine_ops *ops;
    struct engine_instance instance;
    struct work work;
    bool busy;
    bool overdue_said;
    int64_t since_us; /* busy: start of this look; else end of the last one */
    int result;
    struct tm_err err;
    struct engine_description description;
};

struct agent_db { /* a database session of a job */
    struct list_link link;
    struct agent *agent;
    uint32_t job;
    struct engine_session_thread *thread;
};

struct agent_runner {
    struct list_link link;
    struct agent *agent;
    uint32_t job;
    uint32_t generation;
    struct runner_child *child;
};

struct agent_deferred {
    struct list_link link;
    struct agent_event event;
    struct tm_err err;
    char name[64]; /* of event.hold_dropped */
};

/* term: of the coordinator that wanted them */
#define KEPT_JOBS_FIELDS(X, T)                                                                     \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, list, jobs, "j", OPT, 0, msg_assignment, WIRE_JOBS_MAX)
CODEC_DECLARE(kept_jobs, KEPT_JOBS_FIELDS);
#define KEPT_WRITERS_FIELDS(X, T)                                                                  \
    X(T, list, writers, "w", OPT, 0, agent_writer, AGENT_BRAIN_WRITERS_MAX)
CODEC_DECLARE(kept_writers, KEPT_WRITERS_FIELDS);
#define KEPT_HOLDS_FIELDS(X, T) X(T, list, holds, "h", OPT, 0, agent_hold, AGENT_BRAIN_HOLDS_MAX)
CODEC_DECLARE(kept_holds, KEPT_HOLDS_FIELDS);

struct agent_kept { /* as found at the start */
    struct kept_jobs jobs;
    struct codec_arena arena; /* of jobs */
    struct kept_writers writers;
    struct codec_arena writers_arena;
    struct kept_holds holds;
    struct codec_arena holds_arena;
};

struct agent {
    struct agent_config config;
    const char *config_path;
    struct log lg;
    struct loop *loop;
    struct line *wire;
    struct agent_brain *brain;
    struct workers *lookers;
    struct workers *droppers; /* of holds */
    struct loop_timer *wake;
    struct loop_timer *second;
    struct loop_timer *drain;
    struct watch *watches; /* one an instance */
    size_t watch_count;
    struct list sessions;
    struct list runners;
    struct list deferred;
    bool stepping;
    bool stopping;
    bool failed; /* the brain gave up: err says why */
    struct tm_err err;
    char boot[33];
    uint64_t seen_term;
    uint64_t seen_start;
    struct agent_kept kept;
    int lock_fd;
};

void agent_feed(struct agent *a, const struct agent_event *event);
void agent_defer(struct agent *a, const struct agent_event *event, const struct tm_err *err);
/* act.c */
void agent_act(struct agent *a, const struct agent_action *action);
void agent_jobs_release(struct agent *a);
/* watch.c */
int agent_watch_start(struct agent *a, struct tm_err *err) TM_WUR;
void agent_watch_tick(struct agent *a, int64_t now_us);
/* term.c */
int agent_term_load(struct agent *a, struct tm_err *err) TM_WUR;
void agent_term_store(struct agent *a, uint64_t term, uint64_t start);
/* kept.c */
void agent_kept_load_jobs(struct agent *a);
void agent_kept_store_jobs(struct agent *a, const struct msg_assignment *jobs, size_t count,
                           uint64_t term);
int agent_kept_load_writers(struct agent *a, struct tm_err *err) TM_WUR;
int agent_kept_store_writers(struct agent *a, const struct agent_writer *writers, size_t count,
                             struct tm_err *err) TM_WUR;
void agent_kept_release(struct agent_kept *kept);
/* The record of a file that is not there is left as it is. */
int agent_kept_load(const char *path, const struct codec_table *table, struct codec_arena *arena,
                    void *record, struct tm_err *err) TM_WUR;
int agent_kept_store(const struct agent *a, const char *name, const struct codec_table *table,
                     const void *record, struct tm_err *err) TM_WUR;
/* holds.c */
int agent_holds_load(struct agent *a, struct tm_err *err) TM_WUR;
int agent_holds_store(struct agent *a, const struct agent_hold *holds, size_t count,
                      struct tm_err *err) TM_WUR;
void agent_hold_drop(struct agent *a, const struct agent_action *action);
void agent_holds_look(struct agent *a, const struct agent_action *action);
int agent_kept_encode(const struct codec_table *table, const void *record, struct buf *out,
                      struct tm_err *err) TM_WUR;
int agent_kept_decode(const struct codec_table *table, struct slice in, struct codec_arena *arena,
                      void *record, struct tm_err *err) TM_WUR;

#endif
