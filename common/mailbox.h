#ifndef TM_COMMON_MAILBOX_H
#define TM_COMMON_MAILBOX_H
/*
 * From any thread to the loop thread: a list behind a mutex, and an eventfd that wakes the loop.
 *
 * This is the only lock between threads and daemon state: nng callbacks, workers and engine threads
 * post and do nothing else. A message is a struct that embeds struct mail; posting hands it over,
 * the handler owns it.
 *
 *     struct reply { struct mail mail; … };
 *     mailbox_new(loop, on_mail, ctx, &box, err);                  loop thread
 *     mailbox_post(box, &reply->mail);                             any thread, never blocks or fails
 *     void on_mail(struct mail *m, void *ctx) { … free … }         loop thread, in order of posting
 *
 * Without a loop (loop NULL; tests, the simulation) call mailbox_drain by hand. mailbox_free calls
 * `discard` for what is left; nobody may post any more then, and a handler must not free its own
 * box.
 */
#include <stddef.h>

#include "common/err.h"
#include "common/list.h"

#define MAILBOX_BATCH 256 /* mails handled in one turn of the loop before others get theirs */

struct mail {
    struct list_link link;
    void (*discard)(
        struct mail *m); /* frees the message when it will never be handled; may be NULL */
};

typedef void mailbox_fn(struct mail *m, void *ctx);

struct mailbox;
struct loop;

int mailbox_new(struct loop *loop, mailbox_fn *handle, void *ctx, struct mailbox **ret_box,
                struct tm_err *err) TM_WUR;
void mailbox_free(struct mailbox *box);
TM_DEFINE_FREEP(struct mailbox, mailbox_free)

void mailbox_post(struct mailbox *box, struct mail *m);
/* Handles up to MAILBOX_BATCH mails now; returns how many. Loop thread. */
size_t mailbox_drain(struct mailbox *box);

#endif
