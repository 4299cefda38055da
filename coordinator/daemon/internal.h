#ifndef TM_COORDINATOR_DAEMON_INTERNAL_H
#define TM_COORDINATOR_DAEMON_INTERNAL_H
/*
 * The coordinator daemon's insides, shared by its own files only.
 *
 * coordinator_feed is the one way into the brain and is never called from inside an action. What an
 * action finds out on the spot (a transaction that cannot be queued, a term that was raised) is
 * kept and fed when the step is over.
 */
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "coordinator/brain/brain.h"
#include "coordinator/daemon/config.h"
#include "coordinator/rpc/gate.h"
#include "coordinator/secrets/secrets.h"
#include "coordinator/state/state.h"

struct control;

struct coordinator_refused { /* a transaction that could not even be queued */
    struct list_link link;
    uint64_t txn;
    struct tm_err err;
};

struct coordinator {
    struct config config;
    const char *config_path;
    struct log lg;
    struct loop *loop;
    struct state *state;
    struct brain *brain;
    struct gate *gate;
    struct control *control;
    struct secrets *secrets;
    struct loop_timer *wake;
    struct loop_timer *flush; /* commits what the last steps queued */
    struct loop_timer *second;
    struct list refused;
    uint64_t raise_to; /* RAISE_TERM asked for; 0 = not */
    uint64_t term;     /* of this process: every transaction carries it */
    uint64_t start;    /* random, names this start */
    bool stepping;
    bool stopping;
    bool failed; /* cannot go on: err says why */
    struct tm_err err;
    int lock_fd;
};

void coordinator_feed(struct coordinator *c, const struct brain_event *event);
/* The end: err is what the process says last. */
void coordinator_fail(struct coordinator *c, const struct tm_err *err);
/* act.c */
void coordinator_act(struct coordinator *c, const struct brain_action *action);
/* credentials.c */
int coordinator_secrets_start(struct coordinator *c, struct tm_err *err) TM_WUR;
/* A desired set with what its secrets hold, or why that is not sent; as gate_reply otherwise. */
void coordinator_reply_desired(struct coordinator *c, uint64_t conn, uint64_t ctx,
                               const struct message *message);
/* people.c */
int coordinator_control_start(struct coordinator *c, struct tm_err *err) TM_WUR;
void coordinator_control_answer(struct coordinator *c, const struct brain_action *action);
void coordinator_control_stop(struct coordinator *c);

#endif
