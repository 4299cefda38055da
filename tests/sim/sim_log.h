#ifndef TM_TESTS_SIM_SIM_LOG_H
#define TM_TESTS_SIM_SIM_LOG_H
/* Inside the simulation: the databases' log, its runners, and what lies of it in storage. See sim.h. */
#include "agent/brain/brain.h"
#include "coordinator/brain/brain.h"

#define SIM_TENANTS_MAX  2
#define SIM_BRANCHES_MAX 8
#define SIM_LINEAGES_MAX 64

struct world;
struct sim_arg;
struct sim_agent;
struct sim_runner;
struct record; /* coordinator/brain/record.h */

/* ---- what is there ---- */

/* A timeline: the bytes before `fork` are its parent's. One byte is written each millisecond. */
struct sim_branch {
    const char *tenant;
    bool root; /* of a tenant: it has no parent, its first byte is `fork` */
    uint32_t parent;
    uint64_t fork;
    uint64_t since_us;
    uint64_t until_us; /* 0: still written */
};

#define SIM_SLOTS_MAX 16
#define SIM_SLOT_LEN  64

/* A node's database; it lives on when the agent does not. */
struct sim_db {
    char slots[SIM_SLOTS_MAX][SIM_SLOT_LEN]; /* "" = none */
    bool orphans[SIM_SLOTS_MAX];             /* their agent lost its record of them */
    uint32_t branch;
    bool primary;
    bool down;
};

struct sim_epoch {
    uint64_t term;
    uint64_t counter;
};

struct sim_writer {
    struct sim_epoch epoch;
    uint64_t from;
    uint64_t runner; /* its life */
};

struct sim_chunk {
    uint64_t from;
    uint64_t to;
    struct sim_epoch epoch;
    uint32_t branch; /* whose bytes they are */
};

struct sim_lineage {
    char tenant[WIRE_NAME_MAX + 1]; /* below whose name it lies */
    uint32_t branch;                /* whose bytes they should be */
    uint64_t from;
    struct sim_writer *writers;
    size_t writer_count;
    size_t writer_cap;
    struct sim_chunk *chunks;
    size_t chunk_count;
    size_t chunk_cap;
};

struct sim_stream { /* what a log runner knows */
    bool wanted;
    bool stopping;
    uint32_t step;
    bool open;
    uint32_t lineage;
    uint32_t branch;
    struct sim_epoch epoch;
    uint64_t durable;
    uint64_t unsure_to; /* this much was stored, and the answer got lost */
    bool unsure;
    uint64_t look_at;
    int64_t look_us;
    int64_t checkpoint_us;
    uint64_t checkpoint; /* HOLD: as told */
    uint64_t hold_at;
    int64_t truncate_us; /* the newest wish … */
    uint32_t truncate_gen;
    uint32_t truncated_gen; /* … and the newest that was done */
};

/* ---- source.c ---- */

void source_start(struct world *w);
/* How many tenants write log, and which; and whether that of this one cannot be read now, or could not once. */
size_t source_tenant_count(const struct world *w);
const char *source_tenant(size_t which);
bool source_broken(const struct world *w, const char *tenant);
bool source_was_broken(const struct world *w, const char *tenant);
/* Until when its stored log is truncated. */
int64_t *source_truncated(struct world *w, const char *tenant);
uint64_t source_flushed(const struct world *w, uint32_t branch, uint64_t at_us);
uint64_t source_node_flushed(const struct world *w, const struct sim_agent *a);
/* Up to where both have the same bytes. */
uint64_t source_same_until(const struct world *w, uint32_t a, uint32_t b);
void source_promote(struct world *w, struct sim_arg *arg);

/* ---- streams.c ---- */

void stream_job(struct world *w, struct sim_runner *r, const struct frame_job *job);
void stream_want(struct world *w, struct sim_runner *r, const struct frame_log_want *want);

/* ---- lineages.c ---- */

bool sim_epoch_above(struct sim_epoch a, struct sim_epoch b);
struct sim_epoch lineage_newest_epoch(const struct sim_lineage *l);
/* Where the log that counts ends. */
uint64_t lineage_end(const struct sim_lineage *l);
uint32_t lineage_new(struct world *w, const char *tenant, uint32_t branch, uint64_t from);
void lineage_write(struct world *w, struct sim_lineage *l, struct sim_epoch epoch, uint64_t from,
                   const struct sim_runner *r);
void lineage_put(struct world *w, struct sim_lineage *l, const struct sim_chunk *chunk,
                 const struct sim_runner *r);
void lineages_watch(struct world *w, struct sim_arg *arg);
/* a: what was flushed by then must be stored now, where an agent was told to see to it. */
void lineages_alone(struct world *w, struct sim_arg *arg);
/* What is durable of a log task; its record went. */
void lineages_phase(struct world *w, const char *key, const struct record *rec);
void lineages_gone(struct world *w, const char *key);
/* What is shown of one tenant's log is stored. */
void lineages_check_shown(struct world *w, const struct resource_status *s);
void lineages_release(struct world *w);

/* ---- wholes.c ---- */

/* What is shown of a log backup of several tenants. */
void whole_check_shown(struct world *w, const struct resource_status *s);
/* Its record is durable. */
void whole_check_stored(struct world *w, const struct record *whole);
/* A log backup does what is wished, and what was flushed when everything was well again is stored. */
bool log_settled(struct world *w, const struct brain_resource *resource);

#endif
