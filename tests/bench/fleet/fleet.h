#ifndef TM_TESTS_BENCH_FLEET_H
#define TM_TESTS_BENCH_FLEET_H
/*
 * Many agents in one process, each on a line of its own to a real coordinator. Some dozens a
 * process: with a thousand the loop that they share spends its time looking which line has news,
 * and what is measured is that.
 *
 *   main.c     options, life, what is printed at the end
 *   member.c   one agent: the real brain and the real line, with sessions and runners that are played
 *   player.c   the played runner: plans, works leases at a pace, asks for results, commits
 *   check.c    what became of each range of a job, as seen by all members together
 *   figures.c  how long requests took
 *
 * Everything a coordinator can see is what tidemark-agent would send. What is played is what it cannot see:
 * the database, the storage, the time that work takes. One loop, one thread beside nng's and those that dial.
 */
#include "agent/brain/brain.h"
#include "agent/session/line.h"
#include "common/list.h"
#include "common/loop.h"

#define FLEET_MEMBERS_MAX 4096
#define FLEET_CHECKS_MAX  256 /* jobs of which ranges are counted at once */
#define FLEET_SORTS       5
#define PLAYER_WINDOW     4 /* leases that wait, as a runner with two workers wants */

enum figure_sort {
    FIGURE_HEARTBEAT,
    FIGURE_WANT,
    FIGURE_DONE,
    FIGURE_PLAN,
    FIGURE_RESULTS,
};

struct figures {
    uint32_t *us[FLEET_SORTS];
    size_t count[FLEET_SORTS];
    size_t cap[FLEET_SORTS];
    uint64_t failed; /* requests without an answer */
    uint64_t lost;   /* connections */
};

struct fleet_options {
    const char *url;
    const char *cluster;
    const char *keys_dir; /* <keys_dir>/<cluster>/<node>.key; NULL = none */
    const char *samples;  /* a file that gets the time of each heartbeat, in us; NULL = none */
    uint32_t members;
    uint32_t first;      /* number of the first one */
    uint32_t all;        /* members of all fleets of this cluster, for the pace */
    uint32_t ranges;     /* of each job's plan */
    uint32_t rate;       /* ranges a second, of all members together; 0 = as fast as it goes */
    uint32_t blob_bytes; /* of each result */
};

/* What all members together know of one job's ranges. */
struct check {
    char uid[WIRE_UID_MAX + 1]; /* "" = free */
    uint32_t ranges;
    uint64_t *accepted;  /* by range: counter of the epoch that a verdict accepted, 0 = none yet */
    uint32_t listed;     /* results that came back, in order of their ranges */
    uint32_t checkpoint; /* results for checkpoints */
};

struct fleet {
    struct fleet_options options;
    struct loop *loop;
    struct member **members;
    struct check checks[FLEET_CHECKS_MAX];
    struct figures figures;
    uint64_t rng;
    uint64_t stored;     /* ranges worked by members */
    uint64_t accepted;   /* ranges, by verdicts */
    uint64_t committed;  /* jobs */
    uint64_t violations; /* something is not as it must be … */
    char violation[256]; /* … the first of them */
    const char *urls[1];
};

/* What is fed when the step is over. */
enum due {
    DUE_BEGUN,
    DUE_ENDED,
    DUE_CLOSED,
    DUE_READY,
    DUE_EXITED,
    DUE_WANT_RESULTS,
    DUE_COMMITTED,
    DUE_KEPT,
    DUE_NEED,
    DUE_HOLD_DROPPED,
    DUE_HOLDS_LISTED,
};

struct due_event {
    enum due what;
    uint32_t job;
    uint32_t generation;
    uint32_t value; /* EXITED: signal, WANT_RESULTS: from, NEED: how many, HOLDS_LISTED: instance */
    char name[64];  /* HOLD_DROPPED */
};

struct member {
    struct fleet *fleet;
    uint32_t index;
    char node[32];
    char boot[33];
    char key_file[512];
    struct line *line;
    struct agent_brain *brain;
    struct loop_timer *wake;
    struct loop_timer *look; /* at its instance, once a second */
    bool feeding;            /* due events are being taken */
    struct due_event *due;
    size_t due_count;
    size_t due_cap;
    struct list players;
    struct { /* requests in flight that are timed */
        uint64_t serial;
        int64_t sent_us;
        enum figure_sort sort;
    } timed[AGENT_BRAIN_IN_FLIGHT];
    size_t timed_count;
};

struct player {
    struct list_link link;
    struct member *member;
    uint32_t job;
    uint32_t generation;
    uint32_t roles;
    char uid[WIRE_UID_MAX + 1];
    bool checkpoints;
    bool planning;
    bool finishing;
    uint32_t plan_next;
    uint64_t errand;           /* of a resource that is to be kept in storage: its id */
    struct loop_timer *pace;   /* the range that is being read is stored then */
    struct loop_timer *beside; /* the next batch of the plan; then the next checkpoint */
    struct {
        uint32_t range;
        uint64_t term;
        uint64_t counter;
    } queue[WIRE_LEASES_MAX];
    size_t queue_count;
};

/* ---- member.c ---- */

int member_new(struct fleet *fleet, uint32_t index, struct member **ret, struct tm_err *err) TM_WUR;
void member_feed(struct member *m, const struct agent_event *event);
/* To be fed when the step that comes or is on is over. */
void member_due(struct member *m, const struct due_event *event);
uint64_t fleet_random(void *fleet);
/* Out of memory and the like: says why, and ends the process. */
void fleet_die(const char *what, const struct tm_err *err) __attribute__((noreturn));

/* ---- player.c ---- */

void player_new(struct member *m, uint32_t job, uint32_t generation);
struct player *player_find(const struct member *m, uint32_t job, uint32_t generation);
void player_free(struct player *p);
void player_take(struct player *p, const struct frame *f);
void player_tell(const struct player *p, const struct frame *f);

/* ---- check.c ---- */

/* The job's, made when it is not there; NULL when it is over. */
#define CHECK_BLOB_MIN 20 /* range, term, counter */
struct check *check_of(struct fleet *fleet, const char *uid);
void check_blob(uint8_t *blob, uint32_t len, uint32_t range, uint64_t term, uint64_t counter);
void check_verdicts(struct fleet *fleet, const struct msg_verdicts *verdicts);
/* A page of results for the manifest; whether it is as it must be. */
void check_page(struct fleet *fleet, const char *uid, const struct frame_results *page);
void check_accepted(struct fleet *fleet, const char *uid, const struct frame_accepted *page);
/* The manifest is stored: all ranges must have come. */
void check_commit(struct fleet *fleet, const char *uid);
void fleet_violate(struct fleet *fleet, const char *fmt, ...) TM_PRINTF(2, 3);

/* ---- figures.c ---- */

void figures_add(struct figures *f, enum figure_sort sort, int64_t us);
void figures_forget(struct figures *f);
void figures_samples(const struct fleet *fleet); /* into their file */
/* One line of JSON. */
void figures_print(const struct fleet *fleet);

#endif
