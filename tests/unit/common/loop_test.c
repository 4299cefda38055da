/* The loop and what posts into it: timers, mailbox from threads, workers, children that die with
 * us. */
#include "common/loop.h"
#include "common/mailbox.h"
#include "common/spawn.h"
#include "common/workers.h"

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/clock.h"
#include "common/fd.h"

#define THREADS 4
#define POSTS   500

static const char *program; /* argv[0]: children are this test again */

static struct loop *new_loop(void)
{
    struct tm_err err;
    struct loop *loop = NULL;
    if (loop_new(&loop, &err) < 0)
        fail_msg("%s", err.msg);
    return loop;
}

static int run(struct loop *loop)
{
    struct tm_err err;
    int code = -1;
    if (loop_run(loop, &code, &err) < 0)
        fail_msg("%s", err.msg);
    return code;
}

/* ---- timers ---- */

struct ticker {
    struct loop *loop;
    struct loop_timer *timer;
    int count;
};

static void tick(void *ctx)
{
    struct ticker *t = ctx;
    if (++t->count == 3) {
        loop_timer_free(t->timer); /* inside its own callback */
        t->timer = NULL;
        loop_exit(t->loop, 7);
        return;
    }
    loop_timer_set(t->timer, clock_mono_us() + 1000);
}

static void timers_fire_again_when_set_again(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(loop_freep) struct loop *loop = new_loop();
    struct ticker t = {.loop = loop};
    struct loop_timer *never = NULL;
    assert_int_equal(loop_timer_new(loop, tick, &t, &t.timer, &err), 0);
    assert_int_equal(loop_timer_new(loop, tick, &t, &never, &err), 0);
    loop_timer_set(never, clock_mono_us());
    loop_timer_clear(never);
    loop_timer_set(t.timer, 0);
    assert_int_equal(run(loop), 7);
    assert_int_equal(t.count, 3);
    loop_timer_free(never);
}

/* ---- mailbox ---- */

struct letter {
    struct mail mail;
    int sender;
    int number;
};

struct reader {
    struct loop *loop;
    int next[THREADS];
    int got;
};

static void read_letter(struct mail *m, void *ctx)
{
    struct reader *r = ctx;
    struct letter *letter = LIST_ENTRY(m, struct letter, mail);
    assert_int_equal(letter->number, r->next[letter->sender]);
    r->next[letter->sender]++;
    free(letter);
    if (++r->got == THREADS * POSTS && r->loop != NULL)
        loop_exit(r->loop, 0);
}

static void free_letter(struct mail *m)
{
    free(LIST_ENTRY(m, struct letter, mail));
}

struct sender {
    struct mailbox *box;
    int id;
};

static void *send_letters(void *arg)
{
    const struct sender *s = arg;
    for (int n = 0; n < POSTS; n++) {
        struct letter *letter = calloc(1, sizeof(*letter));
        if (letter == NULL)
            abort();
        *letter = (struct letter){.mail.discard = free_letter, .sender = s->id, .number = n};
        mailbox_post(s->box, &letter->mail);
    }
    return NULL;
}

static void mail_of_each_thread_arrives_in_order(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(loop_freep) struct loop *loop = new_loop();
    struct reader r = {.loop = loop};
    TM_CLEANUP(mailbox_freep) struct mailbox *box = NULL;
    assert_int_equal(mailbox_new(loop, read_letter, &r, &box, &err), 0);
    pthread_t threads[THREADS];
    struct sender senders[THREADS];
    for (int n = 0; n < THREADS; n++) {
        senders[n] = (struct sender){box, n};
        assert_int_equal(pthread_create(&threads[n], NULL, send_letters, &senders[n]), 0);
    }
    assert_int_equal(run(loop), 0);
    for (int n = 0; n < THREADS; n++)
        (void)pthread_join(threads[n], NULL);
    assert_int_equal(r.got, THREADS * POSTS);
}

static void unread_mail_is_discarded(void **state)
{
    (void)state;
    struct tm_err err;
    struct reader r = {.loop = NULL};
    struct mailbox *box = NULL;
    assert_int_equal(mailbox_new(NULL, read_letter, &r, &box, &err), 0);
    struct sender s = {box, 0};
    (void)send_letters(&s);
    assert_int_equal(mailbox_drain(box), MAILBOX_BATCH);
    assert_int_equal(r.got, MAILBOX_BATCH);
    mailbox_free(box);
}

/* ---- workers ---- */

struct sum {
    struct work work;
    int input;
    int output;
};

struct sums {
    struct loop *loop;
    int total;
    int done;
    int discarded;
};

static void do_sum(struct work *w)
{
    struct sum *s = LIST_ENTRY(w, struct sum, work);
    s->output = s->input * 2;
}

static void sum_done(struct work *w, void *ctx)
{
    struct sums *sums = ctx;
    struct sum *s = LIST_ENTRY(w, struct sum, work);
    sums->total += s->output;
    free(s);
    if (++sums->done == 100)
        loop_exit(sums->loop, 0);
}

static void free_sum(struct work *w)
{
    free(LIST_ENTRY(w, struct sum, work));
}

static struct sum *new_sum(int input)
{
    struct sum *s = calloc(1, sizeof(*s));
    if (s == NULL)
        abort();
    s->input = input;
    s->work = (struct work){.run = do_sum, .done = sum_done, .discard = free_sum};
    return s;
}

static void workers_return_results_to_the_loop(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(loop_freep) struct loop *loop = new_loop();
    struct sums sums = {.loop = loop};
    TM_CLEANUP(workers_freep) struct workers *pool = NULL;
    assert_int_equal(workers_new(loop, "test", 3, 200, &sums, &pool, &err), 0);
    for (int n = 0; n < 100; n++)
        assert_int_equal(workers_submit(pool, &new_sum(n)->work, &err), 0);
    assert_int_equal(run(loop), 0);
    assert_int_equal(sums.total, 99 * 100);
    assert_int_equal(workers_pending(pool), 0);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(loop_freep) struct loop *loop = new_loop();
    struct sums sums = {.loop = loop};
    struct workers *pool = NULL;
    assert_int_equal(workers_new(loop, "test", 1, 0, &sums, &pool, &err), 0);
    struct sum *s = new_sum(1);
    assert_int_equal(workers_submit(pool, &s->work, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "0 pieces of work are waiting already");
    assert_true(err.retryable);
    free(s);
    workers_free(pool);
    assert_int_equal(workers_new(loop, "test", 0, 1, &sums, &pool, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "a pool of 0 threads and 1 waiting is not possible");
}

/* ---- children ---- */

struct ending {
    struct loop *loop;
    struct loop_child_end end;
    int calls;
};

static void child_ended(const struct loop_child_end *end, void *ctx)
{
    struct ending *e = ctx;
    e->end = *end;
    e->calls++;
    loop_exit(e->loop, 0);
}

static void spawn_child(const char *what, const int *extra, size_t extra_count,
                        struct spawned *ret_child)
{
    struct tm_err err;
    const char *const argv[] = {program, "--child", what, NULL};
    struct spawn_options options = {
        .argv = argv, .extra_fds = extra, .extra_fd_count = extra_count};
    if (spawn_self(&options, ret_child, &err) < 0)
        fail_msg("%s", err.msg);
}

static void children_talk_and_end(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(loop_freep) struct loop *loop = new_loop();
    TM_CLEANUP(closep) int secret = -1;
    assert_int_equal(fd_memfd("secret", slice_str("swordfish"), &secret, &err), 0);
    TM_CLEANUP(spawned_release) struct spawned child = SPAWNED_INIT;
    spawn_child("echo", &secret, 1, &child);
    struct ending e = {.loop = loop};
    TM_CLEANUP(loop_child_freep) struct loop_child *watch = NULL;
    assert_int_equal(loop_child_new(loop, child.pid, child.pidfd, child_ended, &e, &watch, &err),
                     0);
    char got[32] = "";
    assert_int_equal(fd_write_full(child.socket, "hello", 5, "child", &err), 0);
    assert_int_equal(fd_read_full(child.socket, got, 14, "child", &err), 0);
    assert_string_equal(got, "helloswordfish");
    assert_int_equal(run(loop), 0);
    assert_int_equal(e.calls, 1);
    assert_true(e.end.exited);
    assert_int_equal(e.end.status, 5);
    assert_int_equal(e.end.pid, child.pid);
    assert_int_equal(spawn_kill(child.pidfd, SIGKILL, &err), 0);
}

static void killed_children_are_told_apart(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(loop_freep) struct loop *loop = new_loop();
    TM_CLEANUP(spawned_release) struct spawned child = SPAWNED_INIT;
    spawn_child("sleep", NULL, 0, &child);
    struct ending e = {.loop = loop};
    TM_CLEANUP(loop_child_freep) struct loop_child *watch = NULL;
    assert_int_equal(loop_child_new(loop, child.pid, child.pidfd, child_ended, &e, &watch, &err),
                     0);
    assert_int_equal(spawn_kill(child.pidfd, SIGKILL, &err), 0);
    assert_int_equal(run(loop), 0);
    assert_false(e.end.exited);
    assert_int_equal(e.end.status, SIGKILL);
}

/* A child of a child: when the middle one is killed, the pipe that the last one holds closes. */
static void children_die_with_their_parent(void **state)
{
    (void)state;
    struct tm_err err;
    int held[2];
    assert_int_equal(fd_socketpair(false, held, &err), 0);
    TM_CLEANUP(closep) int ours = held[0];
    TM_CLEANUP(spawned_release) struct spawned middle = SPAWNED_INIT;
    spawn_child("parent", &held[1], 1, &middle);
    closep(&held[1]);
    char ready = 0;
    assert_int_equal(fd_read_full(ours, &ready, 1, "grandchild", &err), 0);
    assert_int_equal(spawn_kill(middle.pidfd, SIGKILL, &err), 0);
    int status = 0;
    assert_int_equal(spawn_wait(middle.pid, &status, &err), 0);
    size_t got = 1;
    assert_int_equal(fd_read_some(ours, &ready, 1, &got, "grandchild", &err), 0);
    assert_int_equal(got, 0);
}

/* The last resort of a daemon whose libraries hang. */
static void exit_within_ends_what_hangs(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(loop_freep) struct loop *loop = new_loop();
    TM_CLEANUP(spawned_release) struct spawned child = SPAWNED_INIT;
    spawn_child("hang", NULL, 0, &child);
    struct ending e = {.loop = loop};
    TM_CLEANUP(loop_child_freep) struct loop_child *watch = NULL;
    assert_int_equal(loop_child_new(loop, child.pid, child.pidfd, child_ended, &e, &watch, &err),
                     0);
    char got[16] = "";
    assert_int_equal(fd_read_full(child.socket, got, 5, "child", &err), 0);
    assert_string_equal(got, "late\n");
    assert_int_equal(run(loop), 0);
    assert_true(e.end.exited);
    assert_int_equal(e.end.status, 9);
}

static int child_main(const char *what)
{
    struct tm_err err;
    char bytes[16];
    if (spawn_child_setup(0, &err) < 0)
        return 90;
    if (strcmp(what, "echo") == 0) {
        if (fcntl(SPAWN_SOCKET_FD + 2, F_GETFD) >= 0)
            return 91; /* something leaked */
        if (fd_read_full(SPAWN_SOCKET_FD, bytes, 5, "parent", &err) < 0 ||
            fd_read_full(SPAWN_SOCKET_FD + 1, bytes + 5, 9, "memfd", &err) < 0 ||
            fd_write_full(SPAWN_SOCKET_FD, bytes, 14, "parent", &err) < 0)
            return 92;
        return 5;
    }
    if (strcmp(what, "hang") == 0) {
        if (dup2(SPAWN_SOCKET_FD, STDERR_FILENO) < 0)
            return 95;
        loop_exit_within(0, 9, "late\n");
    }
    if (strcmp(what, "parent") == 0) {
        const char *const argv[] = {program, "--child", "grandchild", NULL};
        int held = SPAWN_SOCKET_FD + 1;
        struct spawn_options options = {.argv = argv, .extra_fds = &held, .extra_fd_count = 1};
        struct spawned child;
        if (spawn_self(&options, &child, &err) < 0)
            return 93;
        (void)close(held); /* only the grandchild holds it now */
    }
    if (strcmp(what, "grandchild") == 0 &&
        fd_write_full(SPAWN_SOCKET_FD + 1, "r", 1, "test", &err) < 0)
        return 94;
    for (;;)
        (void)pause();
}

/* ---- service manager ---- */

static void notifications_reach_the_manager(void **state)
{
    (void)state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/tidemark-loop-test.XXXXXX";
    assert_non_null(mkdtemp(dir));
    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", dir);
    TM_CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", addr.sun_path, 1), 0);
    loop_notify_ready("serving %d\nSTATUS=forged", 3);
    loop_notify_stopping();
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    char text[256] = "";
    assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
    assert_string_equal(text, "READY=1\nSTATUS=serving 3 STATUS=forged");
    memset(text, 0, sizeof(text));
    assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
    assert_string_equal(text, "STOPPING=1\nSTATUS=stopping");
    (void)unlink(addr.sun_path);
    (void)rmdir(dir);
}

/* ---- signals ---- */

static void on_signal(int signo, void *ctx)
{
    struct loop *loop = ctx;
    loop_exit(loop, signo);
}

static void signals_arrive_in_the_loop(void **state)
{
    (void)state;
    struct tm_err err;
    static const int signals[] = {SIGTERM, SIGHUP, 0};
    TM_CLEANUP(loop_freep) struct loop *loop = new_loop();
    assert_int_equal(loop_on_signals(loop, signals, on_signal, loop, &err), 0);
    (void)kill(getpid(), SIGHUP);
    assert_int_equal(run(loop), SIGHUP);
}

int main(int argc, char **argv)
{
    struct tm_err err;
    program = argv[0];
    if (argc == 3 && strcmp(argv[1], "--child") == 0)
        return child_main(argv[2]);
    if (loop_block_signals(&err) < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_again_when_set_again),
        cmocka_unit_test(mail_of_each_thread_arrives_in_order),
        cmocka_unit_test(unread_mail_is_discarded),
        cmocka_unit_test(workers_return_results_to_the_loop),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(children_talk_and_end),
        cmocka_unit_test(killed_children_are_told_apart),
        cmocka_unit_test(children_die_with_their_parent),
        cmocka_unit_test(exit_within_ends_what_hangs),
        cmocka_unit_test(notifications_reach_the_manager),
        cmocka_unit_test(signals_arrive_in_the_loop),
    };
    return cmocka_run_group_tests_name("common/loop", tests, NULL, NULL);
}
