#ifndef TM_COMMON_WORKERS_H
#define TM_COMMON_WORKERS_H
/*
 * A small bounded pool of threads for blocking calls.
 *
 *     struct lookup { struct work work; … };
 *     lookup->work = (struct work){.run = do_lookup, .done = lookup_done};
 *     workers_submit(pool, &lookup->work, err);     TM_E_LIMIT when the queue is full
 *     run(work)        in a worker thread; touches only its own struct
 *     done(work, ctx)  in the loop thread, by the mailbox; owns the work again
 *
 * Without a loop (NULL) `done` runs in the worker thread, right after `run`. workers_free waits for
 * running work, and calls `discard` (may be NULL) for work that never ran or whose `done` was never
 * called. Submit from any thread.
 */
#include <stddef.h>

#include "common/err.h"
#include "common/mailbox.h"

#define WORKERS_MAX_THREADS 64
#define WORKERS_MAX_QUEUE   65536

struct work {
    struct mail mail; /* internal; zero it */
    struct list_link link;
    void (*run)(struct work *w);
    void (*done)(struct work *w, void *ctx);
    void (*discard)(struct work *w);
    struct workers *pool; /* internal */
};

struct workers;

/* `threads` 1 to WORKERS_MAX_THREADS, `queue_max` the works that may wait. `name` (≤ 15 bytes) is
 * what ps shows for the threads. Signals are blocked in them. */
int workers_new(struct loop *loop, const char *name, unsigned threads, size_t queue_max,
                void *done_ctx, struct workers **ret_pool, struct tm_err *err) TM_WUR;
void workers_free(struct workers *pool);
TM_DEFINE_FREEP(struct workers, workers_free)

int workers_submit(struct workers *pool, struct work *w, struct tm_err *err) TM_WUR;
/* Waiting + running now. */
size_t workers_pending(struct workers *pool);

#endif
