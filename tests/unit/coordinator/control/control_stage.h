#ifndef TM_TESTS_UNIT_COORDINATOR_CONTROL_CONTROL_STAGE_H
#define TM_TESTS_UNIT_COORDINATOR_CONTROL_CONTROL_STAGE_H
/*
 * The control socket over a real UNIX socket, with a real brain behind it, and a client. For the tests
 * beside it; each includes it once.
 */
#include "coordinator/control/control.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
void _fail(const char *file, int line) __attribute__((noreturn)); /* cmocka.h does not say so */

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/clock.h"
#include "proto/wire/control.h"

#define TXNS_MAX 64

struct fixture {
    struct loop *loop;
    struct brain *brain;
    struct control *control;
    bool stepping;
    bool hold; /* transactions wait for settle() */
    uint64_t txns[TXNS_MAX];
    size_t txn_count;
    struct message reply; /* the brain's newest to an agent */
    char dir[64];
    char path[96];
};

/* ---- a daemon in a few lines ---- */

static TM_UNUSED uint64_t next_random(void *arg)
{
    uint64_t *state = arg;
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state;
}

static TM_UNUSED void feed(void *arg, const struct brain_event *event)
{
    struct fixture *f = arg;
    struct brain_actions actions = {0};
    struct tm_err err = {0};
    const struct brain_now now = {.mono_us = (uint64_t)clock_mono_us(), .real_us = clock_real_us()};
    assert_false(f->stepping); /* nobody may feed from inside an answer */
    f->stepping = true;
    if (brain_step(f->brain, event, now, &actions, &err) < 0)
        fail_msg("%s", err.msg);
    for (size_t n = 0; n < actions.count; n++) {
        const struct brain_action *a = &actions.items[n];
        if (a->kind == BRAIN_ACT_PERSIST) {
            assert_true(f->txn_count < TXNS_MAX);
            f->txns[f->txn_count++] = a->persist.txn;
        } else if (a->kind == BRAIN_ACT_ANSWER) {
            if (a->answer.log != NULL)
                control_answer_log(f->control, a->answer.cmd, a->answer.log, a->answer.cluster,
                                   a->answer.tenant);
            else if (a->answer.probe != NULL)
                control_answer_probe(f->control, a->answer.cmd, a->answer.probe);
            else
                control_answer(f->control, a->answer.cmd, a->answer.outcome, a->answer.err);
        } else if (a->kind == BRAIN_ACT_REPLY) {
            message_release(&f->reply);
            assert_int_equal(message_copy(a->reply.message, &f->reply, &err), 0);
        }
    }
    f->stepping = false;
}

static TM_UNUSED void persist(struct fixture *f)
{
    while (f->txn_count > 0) {
        struct brain_event event = {.kind = BRAIN_EV_PERSISTED,
                                    .persisted = {.txn = f->txns[0], .ok = true}};
        f->txn_count--;
        memmove(f->txns, f->txns + 1, f->txn_count * sizeof(f->txns[0]));
        feed(f, &event);
    }
}

static const struct brain *look(void *arg)
{
    return ((struct fixture *)arg)->brain;
}

static TM_UNUSED void turn(struct fixture *f)
{
    struct tm_err err = {0};
    for (int n = 0; n < 8; n++) {
        if (loop_turn(f->loop, 0, &err) < 0)
            fail_msg("%s", err.msg);
        if (!f->hold)
            persist(f);
    }
}

static TM_UNUSED struct control_config config_of(struct fixture *f)
{
    return (struct control_config){
        .path = f->path, .version = "9.9", .brain = look, .feed = feed, .arg = f};
}

static TM_UNUSED int setup(void **state)
{
    static uint64_t seed = 1;
    struct fixture *f = calloc(1, sizeof(*f));
    struct tm_err err = {0};
    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/control_test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/control.sock", f->dir);
    const struct brain_config brain = {.term = 7, .start = 1};
    const struct brain_rng rng = {.next = next_random, .arg = &seed};
    const struct control_config config = config_of(f);
    if (loop_new(&f->loop, &err) < 0 || brain_new(&brain, rng, &f->brain, &err) < 0 ||
        control_new(f->loop, &config, &f->control, &err) < 0)
        fail_msg("%s", err.msg);
    feed(f, &(struct brain_event){.kind = BRAIN_EV_LOADED_END});
    *state = f;
    return 0;
}

static TM_UNUSED int teardown(void **state)
{
    struct fixture *f = *state;
    control_free(f->control);
    brain_free(f->brain);
    message_release(&f->reply);
    loop_free(f->loop);
    assert_int_equal(access(f->path, F_OK), -1); /* the socket goes with the daemon */
    (void)rmdir(f->dir);
    free(f);
    return 0;
}

/* ---- a client ---- */

struct answer {
    struct control_reply reply;
    struct codec_arena arena;
};

static TM_UNUSED void answer_release(struct answer *a)
{
    codec_arena_release(&a->arena);
}

static TM_UNUSED int dial(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, f->path, strlen(f->path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    turn(f);
    return fd;
}

static TM_UNUSED void put(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

/* True when the server has hung up and nothing is left to read. */
static TM_UNUSED bool is_over(struct fixture *f, int fd)
{
    uint8_t byte;
    turn(f);
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static TM_UNUSED bool take(struct fixture *f, int fd, struct answer *ret)
{
    TM_CLEANUP(buf_release) struct buf in = BUF_INIT;
    struct tm_err err = {0};
    memset(ret, 0, sizeof(*ret));
    for (int tries = 0; tries < 200; tries++) {
        turn(f);
        if (buf_reserve(&in, 65536, &err) < 0)
            fail_msg("%s", err.msg);
        ssize_t got = recv(fd, in.data + in.len, 65536, MSG_DONTWAIT);
        if (got == 0)
            return false;
        if (got > 0)
            in.len += (size_t)got;
        if (in.len < 4 || in.len < 4 + (size_t)be32_get(in.data))
            continue;
        assert_int_equal(in.len, 4 + (size_t)be32_get(in.data));
        if (codec_decode(&control_reply_codec, slice_of(in.data + 4, in.len - 4), &ret->arena,
                         &ret->reply, &err) < 0)
            fail_msg("%s", err.msg);
        return true;
    }
    return false;
}

static TM_UNUSED void ask_raw(int fd, const struct control_request *request)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct tm_err err = {0};
    if (control_request_encode(request, &out, &err) < 0)
        fail_msg("%s", err.msg);
    put(fd, out.data, out.len);
}

static TM_UNUSED void ask(struct fixture *f, int fd, struct control_request *request,
                          struct answer *ret)
{
    request->version = CONTROL_PROTOCOL;
    ask_raw(fd, request);
    if (!take(f, fd, ret))
        fail_msg("no answer");
}

static TM_UNUSED struct control_request apply_of(const char *yaml)
{
    return (struct control_request){
        .command = CONTROL_APPLY, .source = "s.yaml", .yaml = slice_str(yaml)};
}

#define DOC(name)                                                                                  \
    "---\napiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: " name "}\n"                     \
    "spec: {br: {cluster: c, logLevel: x}, local: {path: /x}}\n"

static TM_UNUSED void expect_error(struct fixture *f, int fd, struct control_request *request,
                                   enum tm_err_code code, const char *text)
{
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, fd, request, &a);
    assert_non_null(a.reply.error);
    assert_string_equal(a.reply.error->text, text);
    assert_int_equal(a.reply.error->code, code);
}

static TM_UNUSED void expect_outcome(struct fixture *f, int fd, struct control_request *request,
                                     const char *outcome)
{
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, fd, request, &a);
    assert_null(a.reply.error);
    assert_int_equal(a.reply.results_count, 1);
    assert_non_null(a.reply.results);
    if (a.reply.results[0].error != NULL)
        fail_msg("%s", a.reply.results[0].error->text);
    assert_string_equal(a.reply.results[0].outcome, outcome);
}

#endif
