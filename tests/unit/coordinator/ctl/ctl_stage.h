#ifndef TM_TESTS_UNIT_COORDINATOR_CTL_CTL_STAGE_H
#define TM_TESTS_UNIT_COORDINATOR_CTL_CTL_STAGE_H
/* The command line on a stage: a real control socket with a real brain in another thread, and what a
 * command says and ends with. For the tests beside it; each includes it once. */
#include "coordinator/ctl/ctl.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "common/clock.h"
#include "coordinator/control/control.h"

/* ---- a coordinator in a thread ---- */

#define TXNS_MAX 64

static struct server {
    pthread_t thread;
    atomic_bool stop;
    struct loop *loop;
    struct brain *brain;
    struct control *control;
    uint64_t txns[TXNS_MAX];
    size_t txn_count;
    /* by the server's thread, after a step in which an agent was told something */
    void (*told)(struct server *s, const struct message *desired);
    struct message reply;
    uint64_t seed;
    char dir[64];
    char path[192];
} server;

static TM_UNUSED uint64_t next_random(void *arg)
{
    uint64_t *state = arg;
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state;
}

static TM_UNUSED void feed(void *arg, const struct brain_event *event)
{
    struct server *s = arg;
    struct brain_actions actions = {0};
    struct tm_err err = {0};
    const struct brain_now now = {.mono_us = (uint64_t)clock_mono_us(), .real_us = clock_real_us()};
    if (brain_step(s->brain, event, now, &actions, &err) < 0)
        abort();
    for (size_t n = 0; n < actions.count; n++) {
        const struct brain_action *a = &actions.items[n];
        if (a->kind == BRAIN_ACT_PERSIST && s->txn_count < TXNS_MAX)
            s->txns[s->txn_count++] = a->persist.txn;
        else if (a->kind == BRAIN_ACT_ANSWER && a->answer.probe != NULL)
            control_answer_probe(s->control, a->answer.cmd, a->answer.probe);
        else if (a->kind == BRAIN_ACT_ANSWER)
            control_answer(s->control, a->answer.cmd, a->answer.outcome, a->answer.err);
        else if (a->kind == BRAIN_ACT_REPLY && a->reply.message->type == MESSAGE_desired &&
                 s->told != NULL && message_copy(a->reply.message, &s->reply, &err) < 0)
            abort();
    }
    if (s->reply.type == 0 || s->told == NULL)
        return;
    struct message reply = s->reply;
    s->reply = (struct message){.type = 0};
    s->told(s, &reply);
    message_release(&reply);
}

static TM_UNUSED const struct brain *look(void *arg)
{
    return ((struct server *)arg)->brain;
}

static TM_UNUSED void persist(struct server *s)
{
    while (s->txn_count > 0) {
        struct brain_event event = {.kind = BRAIN_EV_PERSISTED,
                                    .persisted = {.txn = s->txns[0], .ok = true}};
        s->txn_count--;
        memmove(s->txns, s->txns + 1, s->txn_count * sizeof(s->txns[0]));
        feed(s, &event);
    }
}

static TM_UNUSED void *serve(void *arg)
{
    struct server *s = arg;
    struct tm_err err = {0};
    while (!atomic_load(&s->stop)) {
        if (loop_turn(s->loop, 2000, &err) < 0)
            abort();
        persist(s);
    }
    return NULL;
}

/* All of it but its thread. */
static TM_UNUSED void prepare_server(void)
{
    struct server *s = &server;
    struct tm_err err = {0};
    memset(s, 0, sizeof(*s));
    (void)snprintf(s->dir, sizeof(s->dir), "/tmp/ctl_test.XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    (void)snprintf(s->path, sizeof(s->path), "%.60s/control.sock", s->dir);
    const struct brain_config brain = {.term = 7, .start = 1};
    const struct control_config config = {
        .path = s->path, .version = "9.9", .brain = look, .feed = feed, .arg = s};
    if (loop_new(&s->loop, &err) < 0 ||
        brain_new(&brain, (struct brain_rng){.next = next_random, .arg = &s->seed}, &s->brain,
                  &err) < 0 ||
        control_new(s->loop, &config, &s->control, &err) < 0)
        fail_msg("%s", err.msg);
    feed(s, &(struct brain_event){.kind = BRAIN_EV_LOADED_END});
    persist(s);
}

static TM_UNUSED int start_server(void **state)
{
    struct server *s = &server;
    (void)state;
    prepare_server();
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    return 0;
}

static TM_UNUSED int stop_server(void **state)
{
    (void)state;
    atomic_store(&server.stop, true);
    assert_int_equal(pthread_join(server.thread, NULL), 0);
    control_free(server.control);
    brain_free(server.brain);
    loop_free(server.loop);
    char spec[128];
    (void)snprintf(spec, sizeof(spec), "%.60s/spec.yaml", server.dir);
    (void)unlink(spec);
    (void)rmdir(server.dir);
    return 0;
}

/* ---- running a command ---- */

struct ran {
    int status;
    char *out;
    char *err;
};

static TM_UNUSED void ran_release(struct ran *r)
{
    free(r->out);
    free(r->err);
}

/* Words end with NULL. */
static TM_UNUSED struct ran run(const char *first, ...)
{
    struct ran r = {0};
    size_t out_len;
    size_t err_len;
    char *argv[32] = {(char *)(uintptr_t) "tidemark"};
    int argc = 1;
    va_list ap;
    va_start(ap, first);
    for (const char *word = first; word != NULL; word = va_arg(ap, const char *))
        argv[argc++] = (char *)(uintptr_t)word;
    va_end(ap);
    struct ctl c = {.out = open_memstream(&r.out, &out_len),
                    .err = open_memstream(&r.err, &err_len),
                    .socket_path = server.path[0] != '\0' ? server.path : "/nonexistent/x.sock"};
    assert_non_null(c.out);
    assert_non_null(c.err);
    r.status = ctl_run(&c, argc, argv);
    (void)fclose(c.out);
    (void)fclose(c.err);
    return r;
}

static TM_UNUSED void expect(struct ran r, int status, const char *out, const char *err)
{
    assert_string_equal(r.err, err);
    assert_string_equal(r.out, out);
    assert_int_equal(r.status, status);
    ran_release(&r);
}

#define RUN(...) TM_CLEANUP(ran_release) struct ran r = run(__VA_ARGS__, (char *)NULL)
#define EXPECT(status_, out_, err_, ...)                                                           \
    expect(run(__VA_ARGS__, (char *)NULL), (status_), (out_), (err_))

static TM_UNUSED const char *yaml_file(const char *text)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%.60s/spec.yaml", server.dir);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

#endif
