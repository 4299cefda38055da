#ifndef TM_COORDINATOR_STATE_STATE_H
#define TM_COORDINATOR_STATE_STATE_H
/*
 * The coordinator's durable state: a small versioned key-value store.
 *
 * Every key carries the revision of the transaction that wrote it last; revisions grow by one with
 * each transaction applied. A transaction names what it compares (key and expected revision), what
 * it puts and what it deletes; it happens whole or not at all, and only while the term it carries
 * is the store's term. So a coordinator that has been replaced can promise nothing any more.
 *
 *     state_open_sqlite(dir, &options, &st, err)   or   state_open_ram(&st, err)
 *     state_take_term(st, &term, err)              durable when it returns; only then listen
 *     state_each(st, "resource/", load, arg, err)
 *     loop:  state_submit(st, &txn, done, arg, err)   copies, queues
 *            state_run(st)                            commits what is queued, calls each `done`
 *     state_free(st)                  what is still queued is dropped, without `done`
 *
 * Completion is asynchronous by contract: `done` is never called from state_submit, always from
 * state_run, in the order of submission. The loop calls state_run when state_pending says so, after
 * it has handled a batch of events; all queued transactions then share one commit to disk, while
 * each still succeeds or fails by itself. A promise to anybody leaves only from `done` with 0.
 *
 * Errors given to `done`: TM_E_CONFLICT (a compared revision differs, or another term was taken),
 * TM_E_NO_SPACE, TM_E_IO. After TM_E_IO or TM_E_NO_SPACE nothing of the batch has happened.
 *
 * Bounds: keys 1 to STATE_KEY_MAX bytes, values up to STATE_VALUE_MAX, STATE_TXN_OPS_MAX operations
 * and compares together, STATE_TXN_BYTES_MAX bytes of keys and values: beyond is TM_E_LIMIT at
 * submit.
 *
 * Threads: one thread (the loop's). Keys are byte strings, compared with memcmp.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define STATE_KEY_MAX       512
#define STATE_VALUE_MAX     ((size_t)512 * 1024)
#define STATE_TXN_OPS_MAX   128
#define STATE_TXN_BYTES_MAX ((size_t)1 << 20)
#define STATE_PENDING_MAX   1024 /* queued transactions; beyond is TM_E_LIMIT at submit */

struct state;

enum state_op_kind { STATE_PUT, STATE_DELETE };

struct state_op {
    enum state_op_kind kind;
    struct slice key;
    struct slice value; /* STATE_PUT */
};

struct state_compare {
    struct slice key;
    uint64_t revision; /* 0 = the key must not exist */
};

/* Everything is borrowed for the call of state_submit only. */
struct state_txn {
    uint64_t term;
    const struct state_compare *compares;
    size_t compare_count;
    const struct state_op *ops;
    size_t op_count;
};

/* result: 0 and the revision of the transaction, or negative and err filled. */
typedef void (*state_done_fn)(void *arg, int result, uint64_t revision, const struct tm_err *err);

struct state_options {
    /* Called after a commit that took longer than slow_us (0 = 50 ms). May be NULL. */
    void (*slow)(void *arg, int64_t took_us);
    void *slow_arg;
    int64_t slow_us;
};

/* Opens or creates <dir>/state.db; `dir` must exist and be writable, and the caller holds the lock
 * on it. A file that is not ours, damaged or of a newer format: TM_E_CORRUPT or TM_E_UNSUPPORTED,
 * naming the file and what to do. */
int state_open_sqlite(const char *dir, const struct state_options *options, struct state **ret,
                      struct tm_err *err) TM_WUR;
/* In memory, for tests and simulation. */
int state_open_ram(struct state **ret, struct tm_err *err) TM_WUR;
void state_free(struct state *st);
TM_DEFINE_FREEP(struct state, state_free)

/* Reads the term, adds one, makes it durable. Terms start at 1. At least `at_least` is taken: what
 * a rebuild has seen elsewhere; normally 0. */
int state_take_term(struct state *st, uint64_t at_least, uint64_t *ret_term,
                    struct tm_err *err) TM_WUR;

/* Of the last transaction applied; 0 = none ever was. After state_take_term nothing of an earlier term's
 * can make it grow any more. */
int state_revision(struct state *st, uint64_t *ret_revision, struct tm_err *err) TM_WUR;

/* Committed value of a key: TM_E_NOT_FOUND when absent. ret_revision may be NULL. */
int state_get(struct state *st, struct slice key, struct buf *ret_value, uint64_t *ret_revision,
              struct tm_err *err) TM_WUR;

/* Calls `each` for committed keys that start with `prefix` ("" = all), in ascending byte order; a
 * negative return stops and is passed on. `each` must not call the store. */
typedef int (*state_each_fn)(void *arg, struct slice key, struct slice value, uint64_t revision,
                             struct tm_err *err);
int state_each(struct state *st, const char *prefix, state_each_fn each, void *arg,
               struct tm_err *err) TM_WUR;

int state_submit(struct state *st, const struct state_txn *txn, state_done_fn done, void *arg,
                 struct tm_err *err) TM_WUR;
bool state_pending(const struct state *st);
void state_run(struct state *st);

/* Forgets what is queued, as a crash would; committed contents stay. For tests and simulation. */
void state_drop_pending(struct state *st);

#endif
