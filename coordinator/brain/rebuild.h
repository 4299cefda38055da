#ifndef TM_COORDINATOR_BRAIN_REBUILD_H
#define TM_COORDINATOR_BRAIN_REBUILD_H
/*
 * Inside the coordinator's brain: what is kept in storage of what the coordinator knows, and a state that
 * was lost or put back. Included by internal.h, which tells what each file is for.
 */
#include "coordinator/brain/brain.h"
#include "proto/wire/messages.h"

struct node;
struct rebuild_run;
struct res;

/* What one agent is asked to do in a storage. Zeroed = nothing. */
struct errand {
    uint64_t id;   /* 0 = none is under way */
    uint32_t node; /* its id */
    uint32_t timeout_ms;
    uint64_t until_us; /* mono: lost then */
};

#define OUTGOING_MAX (2u * BRAIN_RESOURCES_MAX)

/* What is to be stored of a resource, by whom preferably, and where. */
#define INTENT_OUT_FIELDS(X, T)                                                                    \
    X(T, msg, want, "w", REQ, 0, msg_intent)                                                       \
    X(T, txt, storage, "st", REQ, 0, WIRE_URL_MAX)                                                 \
    X(T, str, secret, "se", OPT, 0, WIRE_NAME_MAX)                                                 \
    X(T, str, node, "no", OPT, 0, WIRE_NAME_MAX)
CODEC_DECLARE(intent_out, INTENT_OUT_FIELDS);

struct outgoing {
    struct intent_out out;
    struct msg_intent want; /* out.want of one that was made in this life */
    struct codec_arena arena;
    char key[sizeof(BRAIN_INTENT_PREFIX) + 26];
    uint64_t txn; /* 0 = durable */
    struct errand errand;
    uint64_t not_before_us; /* mono */
    unsigned failures;      /* in a row */
};

enum rebuild_why { REBUILD_ASKED = 1, REBUILD_NOTICED = 2 };

/* Durable while it is so: the state may lack what storage and agents know. */
#define REBUILD_FIELDS(X, T)                                                                       \
    X(T, i64, since_us, "s", REQ, 0, 0)                                                            \
    X(T, u32, why, "w", REQ, 0, 31)                                                                \
    X(T, u64, had_term, "h", OPT, 0, UINT64_MAX)                                                   \
    X(T, u64, seen_term, "t", OPT, 0, UINT64_MAX)
CODEC_DECLARE(rebuild_mark, REBUILD_FIELDS);

struct rebuild {
    bool pending; /* mark is durable */
    struct rebuild_mark mark;
    struct rebuild_mark staged;
    uint64_t txn; /* the mark is coming, or going; 0 = nothing is under way */
    bool going;
    bool quiet;              /* going: it was never said, and nobody confirmed it */
    uint64_t cmd;            /* confirm: to be answered */
    uint64_t retry_us;       /* mono: not staged again before */
    struct rebuild_run *run; /* a storage is being read; NULL = none is */
};

#define LIVES_MAX 64 /* an agent that saw an older one is believed */

/* One life of this coordinator, or of one before it; a term that was raised begins another one. */
#define LIFE_FIELDS(X, T)                                                                          \
    X(T, u64, term, "t", REQ, 0, UINT64_MAX)                                                       \
    X(T, u64, start, "s", REQ, 0, UINT64_MAX)                                                      \
    X(T, u64, revision, "r", REQ, 0, UINT64_MAX) /* of the state when it began */
CODEC_DECLARE(life, LIFE_FIELDS);

#define LIVES_FIELDS(X, T)                                                                         \
    X(T, list, lives, "l", OPT, 0, life, LIVES_MAX)                                                \
    X(T, flag, all, "a", OPT, 0, 0) /* of this state there was none before */
CODEC_DECLARE(lives_record, LIVES_FIELDS);

struct lives {
    struct life items[LIVES_MAX]; /* ascending; the last is this one */
    size_t count;
    bool all; /* there was none before the first */
    bool dirty;
    uint64_t txn; /* of the persist under way, 0 = none */
    uint64_t retry_us;
};

/* ---- errands.c ---- */

void errand_begin(struct brain *b, struct errand *e, struct node *node, uint32_t timeout_ms);
/* Nobody is asked any more. */
void errand_end(struct brain *b, struct errand *e);
bool errand_is_lost(const struct brain *b, const struct errand *e);
/* Into the desired set of the node that is asked, to be completed; NULL: it is not this one. */
struct msg_probe *errand_assign(struct brain *b, const struct errand *e, const struct node *node,
                                const char *storage, const char *secret, struct msg_desired *to);
const struct msg_probe_answer *errand_answer(const struct errand *e, const struct node *node,
                                             const struct msg_heartbeat *heartbeat);

/* ---- intents.c ---- */

int intents_load(struct brain *b, struct slice key, struct slice value, struct tm_err *err) TM_WUR;
void intents_free(struct brain *b);
/* What goes with the staged change into the same transaction; false = nothing. */
bool intent_put(struct brain *b, struct res *res, uint64_t txn, struct brain_put *ret);
/* A change of this whole is durable: parts that were told while it was under way had the older one. */
void intents_durable(struct brain *b, struct res *whole);
void intents_persisted(struct brain *b, uint64_t txn, bool ok);
void intents_tick(struct brain *b);
void intents_assign(struct brain *b, const struct node *node, struct msg_desired *to);
void intents_heard(struct brain *b, const struct node *node, const struct msg_heartbeat *heartbeat);

/* ---- lives.c ---- */

int lives_load(struct brain *b, struct slice value, struct tm_err *err) TM_WUR;
/* All was loaded, or a higher term was taken. */
void lives_begin(struct brain *b);
/* This life is written down: agents may see it. */
bool lives_durable(const struct brain *b);
/* What an agent has seen is not in this state's past: it was lost, or put back. */
bool lives_strange(const struct brain *b, uint64_t term, uint64_t start, uint64_t revision);
/* The state is complete: who saw another one before is believed from now on. */
void lives_confirmed(struct brain *b);
void lives_persisted(struct brain *b, uint64_t txn, bool ok);
void lives_tick(struct brain *b);

/* ---- rebuild.c ---- */

int rebuild_load(struct brain *b, struct slice value, struct tm_err *err) TM_WUR;
/* All records were loaded. */
void rebuild_loaded(struct brain *b);
void rebuild_free(struct brain *b);
/* Agents have seen a newer term than this state has; false: wait, it is being written down. */
bool rebuild_noticed(struct brain *b, uint64_t seen_term);
/* What a storage holds is about to be merged: until all storages are, the state lacks something, and a wish
 * to truncate may be among the first things that are read. False: wait, it is being written down; and by this
 * call when *ret_begun, else it is left as it was. */
bool rebuild_doubt(struct brain *b, bool *ret_begun);
/* It was begun for a storage in which nothing was that is not known. */
void rebuild_nothing_new(struct brain *b);
void rebuild_persisted(struct brain *b, uint64_t txn, bool ok, const struct tm_err *err);
/* What is taken away by nobody's explicit command waits. */
#define REBUILD_WAITS                                                                              \
    "waits for 'tidemark rebuild confirm': this coordinator's state was lost or put back"
bool rebuild_holds_back(const struct brain *b);
/* enum desired_keep */
uint32_t rebuild_keep(const struct brain *b);
int rebuild_confirm(struct brain *b, const struct brain_event *event, struct tm_err *err) TM_WUR;

/* ---- rebuild_read.c ---- */

/* The command is answered when all that the storage holds is merged. */
int rebuild_ask(struct brain *b, const struct brain_event *event, struct tm_err *err) TM_WUR;
void rebuild_tick(struct brain *b);
void rebuild_assign(struct brain *b, const struct node *node, struct msg_desired *to);
void rebuild_heard(struct brain *b, const struct node *node, const struct msg_heartbeat *heartbeat);
/* rebuild_doubt could not write it down. */
void rebuild_not_begun(struct brain *b, const struct tm_err *err);
void rebuild_run_free(struct rebuild_run *run);

#endif
