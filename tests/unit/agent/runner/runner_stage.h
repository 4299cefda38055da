#ifndef TM_TESTS_UNIT_AGENT_RUNNER_RUNNER_STAGE_H
#define TM_TESTS_UNIT_AGENT_RUNNER_RUNNER_STAGE_H
/* A runner in a thread, and the agent's end of its socket. For the tests beside it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/engine/null/null.h"
#include "agent/runner/frames.h"
#include "agent/runner/runner.h"
#include "common/fd.h"
#include "common/fs.h"
#include "common/storage/ram.h"

static struct tm_err err;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) < 0)                                                                            \
            fail_msg("%s: %s", #expr, err.msg);                                                    \
    } while (0)

struct runner_thread {
    pthread_t thread;
    int fd;
    int result;
};

static void *serve(void *arg)
{
    struct runner_thread *runner = arg;
    struct tm_err ignored;
    runner->result = runner_serve(runner->fd, &ignored);
    return NULL;
}

/* Returns the agent's end. */
static int runner_thread_start(struct runner_thread *runner)
{
    int pair[2];
    OK(fd_socketpair(false, pair, &err));
    runner->fd = pair[1];
    assert_int_equal(pthread_create(&runner->thread, NULL, serve, runner), 0);
    return pair[0];
}

#endif
