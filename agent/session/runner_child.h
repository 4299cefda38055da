#ifndef TM_AGENT_SESSION_RUNNER_CHILD_H
#define TM_AGENT_SESSION_RUNNER_CHILD_H
/*
 * One runner process, seen from the agent: started, fed with frames, listened to, reaped.
 *
 *     runner_child_spawn(loop, &handlers, arg, &child, err)
 *     runner_child_send(child, &frame)       queues; never blocks
 *     runner_child_kill(child)               SIGKILL
 *         → handlers.frame* → handlers.exited, once and last
 *     runner_child_free(child)               also before it exited: kills and reaps first
 *
 * Everything a runner wrote before it ended is delivered before `exited`. A runner that writes what
 * is no frame, or does not read while RUNNER_CHILD_QUEUE_MAX bytes wait for it, is killed; `why` of
 * `exited` then says so. Handlers are called from the loop, never from inside a runner_child_*
 * call; `exited` may free the child. Threads: the loop's.
 */
#include <sys/types.h>

#include "agent/runner/frames.h"
#include "common/err.h"

#define RUNNER_CHILD_QUEUE_MAX ((size_t)64 << 20)
#define RUNNER_CHILD_READ_MAX  ((size_t)256 * 1024) /* in one turn of the loop */

struct loop;
struct runner_child;

struct runner_child_handlers {
    void (*frame)(void *arg, const struct frame *frame);
    /* signal 0 = ended by itself with `status`; why is NULL or what the agent held against it */
    void (*exited)(void *arg, int signal, int status, const char *why);
};

int runner_child_spawn(struct loop *loop, const struct runner_child_handlers *handlers, void *arg,
                       struct runner_child **ret, struct tm_err *err) TM_WUR;
void runner_child_send(struct runner_child *child, const struct frame *frame);
void runner_child_kill(struct runner_child *child);
pid_t runner_child_pid(const struct runner_child *child);
void runner_child_free(struct runner_child *child);
TM_DEFINE_FREEP(struct runner_child, runner_child_free)

#endif
