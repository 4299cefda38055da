/*
 * Worker pool: one queue behind one lock, threads waiting on a condition. Finished work travels to
 * the loop thread as a mail. Ends in order: stop → threads finish what runs → join → discard what
 * waits.
 */
#include "common/workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list queue; /* guarded by lock, like all below */
    size_t queue_max;
    size_t running;
    bool stop;
    pthread_t threads[WORKERS_MAX_THREADS];
    unsigned thread_count;
    struct mailbox *box; /* NULL without a loop */
    void *done_ctx;
    char name[16];
};

static void finish(struct work *w, void *ctx)
{
    if (w->done != NULL)
        w->done(w, ctx);
}

static void on_mail(struct mail *m, void *ctx)
{
    finish(LIST_ENTRY(m, struct work, mail), ctx);
}

static void discard_work(struct work *w)
{
    if (w->discard != NULL)
        w->discard(w);
}

static void discard_mail(struct mail *m)
{
    discard_work(LIST_ENTRY(m, struct work, mail));
}

static struct work *next_work(struct workers *pool)
{
    struct work *w = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    while (!pool->stop && list_empty(&pool->queue))
        (void)pthread_cond_wait(&pool->wake, &pool->lock);
    if (!pool->stop) {
        w = LIST_ENTRY(list_pop_front(&pool->queue), struct work, link);
        pool->running++;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return w;
}

static void *worker_main(void *arg)
{
    struct workers *pool = arg;
    (void)prctl(PR_SET_NAME, pool->name);
    struct work *w;
    while ((w = next_work(pool)) != NULL) {
        w->run(w);
        if (pool->box == NULL)
            finish(w, pool->done_ctx);
        (void)pthread_mutex_lock(&pool->lock);
        pool->running--; /* before the mail: who handles the last one sees an idle pool */
        (void)pthread_mutex_unlock(&pool->lock);
        if (pool->box != NULL) {
            w->mail = (struct mail){.discard = discard_mail};
            mailbox_post(pool->box, &w->mail);
        }
    }
    return NULL;
}

static int start_threads(struct workers *pool, unsigned threads, struct tm_err *err)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    int r = 0;
    while (pool->thread_count < threads && r == 0) {
        r = pthread_create(&pool->threads[pool->thread_count], NULL, worker_main, pool);
        if (r == 0)
            pool->thread_count++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r == 0 ? 0 : tm_err_errno(err, r, "cannot start a worker thread");
}

int workers_new(struct loop *loop, const char *name, unsigned threads, size_t queue_max,
                void *done_ctx, struct workers **ret_pool, struct tm_err *err)
{
    if (threads < 1 || threads > WORKERS_MAX_THREADS || queue_max > WORKERS_MAX_QUEUE)
        return tm_err_set(err, TM_E_INVALID, "a pool of %u threads and %zu waiting is not possible",
                          threads, queue_max);
    struct workers *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return tm_err_oom(err);
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->wake, NULL);
    list_init(&pool->queue);
    pool->queue_max = queue_max;
    pool->done_ctx = done_ctx;
    (void)snprintf(pool->name, sizeof(pool->name), "%s", name);
    int r = loop != NULL ? mailbox_new(loop, on_mail, done_ctx, &pool->box, err) : 0;
    if (r == 0)
        r = start_threads(pool, threads, err);
    if (r < 0) {
        workers_free(pool);
        return r;
    }
    *ret_pool = pool;
    return 0;
}

void workers_free(struct workers *pool)
{
    if (pool == NULL)
        return;
    (void)pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    (void)pthread_cond_broadcast(&pool->wake);
    (void)pthread_mutex_unlock(&pool->lock);
    for (unsigned n = 0; n < pool->thread_count; n++)
        (void)pthread_join(pool->threads[n], NULL);
    struct list_link *link;
    while ((link = list_pop_front(&pool->queue)) != NULL)
        discard_work(LIST_ENTRY(link, struct work, link));
    mailbox_free(pool->box);
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int workers_submit(struct workers *pool, struct work *w, struct tm_err *err)
{
    w->pool = pool;
    (void)pthread_mutex_lock(&pool->lock);
    bool full = pool->queue.count >= pool->queue_max;
    if (!full) {
        list_push_back(&pool->queue, &w->link);
        (void)pthread_cond_signal(&pool->wake);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (full)
        return tm_err_retry(err, TM_E_LIMIT, "%zu pieces of work are waiting already",
                            pool->queue_max);
    return 0;
}

size_t workers_pending(struct workers *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    size_t pending = pool->queue.count + pool->running;
    (void)pthread_mutex_unlock(&pool->lock);
    return pending;
}
