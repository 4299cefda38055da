/* The agent's line over real nng on loopback, against a coordinator made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>

#include "agent/session/line.h"
#include "common/clock.h"
#include "common/fs.h"
#include "common/loop.h"
#include "proto/wire/hello.h"

#define KEY "0123456789abcdef0123456789abcdef"

struct fixture {
    struct loop *loop;
    struct line *line;
    nng_socket server;
    char url[64];
    const char *urls[2];
    char dir[64];
    char key_path[128];
    struct hello hello;
    struct slice server_key;
    bool mute;
    int connected, disconnected, replies, failures;
    uint64_t last_serial;
    char why[TM_ERR_MSG_MAX];
};

static void on_connected(void *arg, uint64_t term, uint64_t start)
{
    struct fixture *f = arg;

    f->connected++;
    assert_int_equal(term, 7);
    assert_int_equal(start, 99);
}

static void on_disconnected(void *arg, const struct tm_err *err)
{
    struct fixture *f = arg;

    f->disconnected++;
    (void)snprintf(f->why, sizeof f->why, "%s", err->msg);
}

static void on_reply(void *arg, const struct message *message)
{
    struct fixture *f = arg;

    f->replies++;
    f->last_serial = message->serial;
}

static void on_failed(void *arg, uint64_t serial, const struct tm_err *err)
{
    struct fixture *f = arg;

    f->failures++;
    f->last_serial = serial;
    (void)snprintf(f->why, sizeof f->why, "%s", err->msg);
}

static const struct line_handlers handlers = {on_connected, on_disconnected, on_reply, on_failed};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    nng_listener listener;
    struct tm_err err = {0};
    int port = 0;

    (void)snprintf(f->dir, sizeof f->dir, "/tmp/tidemark-link-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->key_path, sizeof f->key_path, "%s/node.key", f->dir);
    assert_int_equal(fs_write_atomic(f->key_path, slice_str(KEY "\n"), 0600, &err), 0);
    assert_int_equal(loop_new(&f->loop, &err), 0);
    assert_int_equal(nng_rep0_open(&f->server), 0);
    assert_int_equal(nng_listen(f->server, "tcp://127.0.0.1:0", &listener, 0), 0);
    assert_int_equal(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
    (void)snprintf(f->url, sizeof f->url, "tcp://127.0.0.1:%d", port);
    f->urls[0] = f->url;
    *state = f;
    return 0;
}

static void make_line(struct fixture *f, bool keyed)
{
    const struct line_config config = {.urls = f->urls,
                                       .url_count = 1,
                                       .key_file = keyed ? f->key_path : NULL,
                                       .cluster = "c",
                                       .node = "n",
                                       .boot = "b"};
    struct tm_err err = {0};

    assert_int_equal(line_new(f->loop, &config, &handlers, f, &f->line, &err), 0);
    f->server_key = keyed ? slice_str(KEY) : SLICE_EMPTY;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct tm_err err = {0};

    line_free(f->line);
    nng_close(f->server);
    loop_free(f->loop);
    hello_clear(&f->hello);
    assert_int_equal(fs_remove_tree(f->dir, true, &err), 0);
    free(f);
    return 0;
}

static void answer(struct fixture *f, const struct message *in)
{
    static const uint8_t nonce[HELLO_NONCE_LEN] = {9};
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct message out = {.type = MESSAGE_desired};
    uint8_t mac[HELLO_MAC_LEN];
    struct tm_err err = {0};
    int r = 0;

    if (in->type == MESSAGE_hello) {
        hello_clear(&f->hello);
        r = hello_server_hello(&f->hello, in, nonce, &out, &err);
    } else if (in->type == MESSAGE_proof) {
        r = hello_server_proof(&f->hello, f->server_key, in, &err);
        if (r == 0)
            r = hello_server_welcome(&f->hello, f->server_key, 7, 99, mac, &out, &err);
    }
    if (r < 0) {
        out = (struct message){.type = MESSAGE_error};
        out.error = msg_error_of(&err, NULL);
    }
    out.serial = in->serial;
    assert_int_equal(message_encode(&out, MESSAGE_MINOR, &bytes, &err), 0);
    assert_int_equal(nng_send(f->server, bytes.data, bytes.len, 0), 0);
}

/* Both sides until `*count` moves, for as long as it takes: check.sh ends a test that hangs. */
static void run_until(struct fixture *f, const int *count)
{
    int before = *count;
    struct tm_err err = {0};

    while (*count == before) {
        struct message in = {0};
        void *got = NULL;
        size_t len = 0;

        assert_int_equal(loop_turn(f->loop, 2000, &err), 0);
        if (f->mute || nng_recv(f->server, &got, &len, NNG_FLAG_ALLOC | NNG_FLAG_NONBLOCK) != 0)
            continue;
        assert_int_equal(message_decode(slice_of(got, len), &in, NULL, &err), 0);
        answer(f, &in);
        message_release(&in);
        nng_free(got, len);
    }
    assert_int_equal(*count, before + 1);
}

static void send_heartbeat(struct fixture *f, uint64_t serial, uint32_t timeout_ms)
{
    struct message m = {.type = MESSAGE_heartbeat, .serial = serial};

    line_send(f->line, &m, timeout_ms);
}

static void test_keyed(void **state)
{
    struct fixture *f = *state;

    make_line(f, true);
    line_connect(f->line, 0, 0, 0);
    assert_int_equal(f->connected, 0); /* never from inside */
    run_until(f, &f->connected);
    send_heartbeat(f, 11, 120000);
    run_until(f, &f->replies);
    assert_int_equal(f->last_serial, 11);
    line_disconnect(f->line);
    line_connect(f->line, 7, 99, 12);
    run_until(f, &f->connected);
    assert_int_equal(f->disconnected, 0);
}

static void test_wrong_key(void **state)
{
    struct fixture *f = *state;

    make_line(f, true);
    f->server_key = slice_str("fedcba9876543210fedcba9876543210");
    line_connect(f->line, 0, 0, 0);
    run_until(f, &f->disconnected);
    assert_int_equal(f->connected, 0);
    assert_true(strncmp(f->why, "hello to 'tcp://127.0.0.1:", 26) == 0);
}

/* A coordinator that knows no key cannot pass for the one that does. */
static void test_coordinator_without_key(void **state)
{
    struct fixture *f = *state;

    make_line(f, true);
    f->server_key = SLICE_EMPTY;
    line_connect(f->line, 0, 0, 0);
    run_until(f, &f->disconnected);
    assert_int_equal(f->connected, 0);
}

static void test_refused(void **state)
{
    struct fixture *f = *state;

    make_line(f, false);
    f->urls[0] = "tcp://127.0.0.1:1";
    line_connect(f->line, 0, 0, 0);
    run_until(f, &f->disconnected);
    assert_string_equal(f->why, "cannot connect to 'tcp://127.0.0.1:1': Connection refused");
}

static void test_key_file_missing(void **state)
{
    struct fixture *f = *state;
    struct tm_err err = {0};

    make_line(f, true);
    assert_int_equal(fs_remove_tree(f->dir, false, &err), 0);
    line_connect(f->line, 0, 0, 0);
    assert_int_equal(f->disconnected, 0);
    run_until(f, &f->disconnected);
    assert_true(strncmp(f->why, "key_file: ", 10) == 0);
}

static void test_timeout(void **state)
{
    struct fixture *f = *state;

    make_line(f, false);
    line_connect(f->line, 0, 0, 0);
    run_until(f, &f->connected);
    f->mute = true;
    send_heartbeat(f, 5, 100);
    run_until(f, &f->failures);
    assert_int_equal(f->last_serial, 5);
    assert_non_null(strstr(f->why, "no answer from 'tcp://127.0.0.1:"));
    assert_int_equal(f->disconnected, 0);
}

static void test_connection_lost(void **state)
{
    struct fixture *f = *state;

    make_line(f, false);
    line_connect(f->line, 0, 0, 0);
    run_until(f, &f->connected);
    f->mute = true;
    nng_close(f->server);
    run_until(f, &f->disconnected);
    assert_non_null(strstr(f->why, "was closed"));
    assert_int_equal(nng_rep0_open(&f->server), 0);
}

static void test_disconnect_while_dialing(void **state)
{
    struct fixture *f = *state;
    struct tm_err err = {0};

    make_line(f, false);
    for (int i = 0; i < 20; i++) {
        line_connect(f->line, 0, 0, 0);
        if (i % 3)
            assert_int_equal(loop_turn(f->loop, 500, &err), 0);
    }
    line_disconnect(f->line);
    for (int i = 0; i < 50; i++)
        assert_int_equal(loop_turn(f->loop, 1000, &err), 0);
    assert_int_equal(f->connected, 0);
    assert_int_equal(f->disconnected, 0);
}

#define LINE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINE(test_keyed),
        LINE(test_wrong_key),
        LINE(test_coordinator_without_key),
        LINE(test_refused),
        LINE(test_key_file_missing),
        LINE(test_timeout),
        LINE(test_connection_lost),
        LINE(test_disconnect_while_dialing),
    };
    int r = cmocka_run_group_tests_name("line", tests, NULL, NULL);

    nng_fini();
    return r;
}
