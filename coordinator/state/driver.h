#ifndef TM_COORDINATOR_STATE_DRIVER_H
#define TM_COORDINATOR_STATE_DRIVER_H
/*
 * What a store behind state.h must do. For coordinator/state only.
 *
 * state.c checks bounds, copies and queues transactions and calls completions; a driver applies
 * them:
 *
 *     batch_begin → apply* → batch_end
 *
 * apply either does the whole transaction or nothing of it, and in the second case the batch goes
 * on. When batch_end fails, nothing of the batch has happened.
 */
#include "coordinator/state/state.h"

struct state_ops {
    int (*batch_begin)(struct state *, struct tm_err *);
    int (*apply)(struct state *, const struct state_txn *, uint64_t *ret_revision, struct tm_err *);
    int (*batch_end)(struct state *, struct tm_err *);
    int (*take_term)(struct state *, uint64_t at_least, uint64_t *ret_term, struct tm_err *);
    int (*revision)(struct state *, uint64_t *ret_revision, struct tm_err *);
    int (*get)(struct state *, struct slice key, struct buf *ret_value, uint64_t *ret_revision,
               struct tm_err *);
    int (*each)(struct state *, struct slice prefix, state_each_fn each, void *arg,
                struct tm_err *);
    void (*free)(struct state *);
};

struct state_queued; /* a copied transaction waiting for state_run */

/* First member of a driver's own struct. */
struct state {
    const struct state_ops *ops;
    struct state_queued *head;
    struct state_queued **tail;
    size_t pending;
};

void state_init(struct state *st, const struct state_ops *ops);

/* The words for a transaction that lost; the same from every driver. */
int state_conflict_term(uint64_t have, uint64_t want, struct tm_err *err);
int state_conflict_revision(struct slice key, uint64_t have, uint64_t want, struct tm_err *err);

#endif
