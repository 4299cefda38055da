/*
 * Mailbox. Happy path: the first post into an empty box makes the eventfd readable; the loop calls
 * drain, which takes a batch out under the lock and handles it outside. The eventfd is cleared only
 * when the box is empty, so a batch that leaves mail behind is followed by another turn.
 */
#include "common/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "common/loop.h"

struct mailbox {
    pthread_mutex_t lock;
    struct list waiting; /* guarded by lock */
    int fd;
    struct loop_io *io;
    mailbox_fn *handle;
    void *ctx;
};

static void on_readable(int fd, uint32_t revents, void *ctx)
{
    (void)fd;
    (void)revents;
    (void)mailbox_drain(ctx);
}

int mailbox_new(struct loop *loop, mailbox_fn *handle, void *ctx, struct mailbox **ret_box,
                struct tm_err *err)
{
    struct mailbox *box = calloc(1, sizeof(*box));
    if (box == NULL)
        return tm_err_oom(err);
    (void)pthread_mutex_init(&box->lock, NULL); /* cannot fail with default attributes */
    list_init(&box->waiting);
    box->handle = handle;
    box->ctx = ctx;
    box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = 0;
    if (box->fd < 0)
        r = tm_err_errno(err, errno, "cannot create an eventfd");
    else if (loop != NULL)
        r = loop_io_new(loop, box->fd, EPOLLIN, on_readable, box, &box->io, err);
    if (r < 0) {
        mailbox_free(box);
        return r;
    }
    *ret_box = box;
    return 0;
}

void mailbox_free(struct mailbox *box)
{
    if (box == NULL)
        return;
    loop_io_free(box->io);
    struct list_link *link;
    while ((link = list_pop_front(&box->waiting)) != NULL) {
        struct mail *m = LIST_ENTRY(link, struct mail, link);
        if (m->discard != NULL)
            m->discard(m);
    }
    closep(&box->fd);
    (void)pthread_mutex_destroy(&box->lock);
    free(box);
}

void mailbox_post(struct mailbox *box, struct mail *m)
{
    (void)pthread_mutex_lock(&box->lock);
    bool first = list_empty(&box->waiting);
    list_push_back(&box->waiting, &m->link);
    /* inside the lock: the box may be freed by its owner as soon as the last mail was handled */
    if (first)
        (void)eventfd_write(box->fd, 1); /* fails only at 2^64 - 2 */
    (void)pthread_mutex_unlock(&box->lock);
}

size_t mailbox_drain(struct mailbox *box)
{
    struct list batch;
    list_init(&batch);
    (void)pthread_mutex_lock(&box->lock);
    while (batch.count < MAILBOX_BATCH && !list_empty(&box->waiting))
        list_push_back(&batch, list_pop_front(&box->waiting));
    if (list_empty(&box->waiting)) {
        eventfd_t ignored;
        (void)eventfd_read(box->fd, &ignored);
    }
    (void)pthread_mutex_unlock(&box->lock);

    size_t handled = 0;
    struct list_link *link;
    while ((link = list_pop_front(&batch)) != NULL) {
        box->handle(LIST_ENTRY(link, struct mail, link), box->ctx);
        handled++;
    }
    return handled;
}
