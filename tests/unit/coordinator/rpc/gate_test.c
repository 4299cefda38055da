/* The gate over real nng on loopback: who gets in, who does not, and with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "common/loop.h"
#include "coordinator/rpc/gate.h"

#define KEY "0123456789abcdef0123456789abcdef"

struct fixture {
    struct loop *loop;
    struct gate *gate;
    char dir[64];
    char url[64];
    int ups;
    int gones;
    int requests;
    uint64_t conn;
    char notes[2048];
    uint64_t parked_conn;
    uint64_t parked;
};

static void on_up(void *arg, uint64_t conn, uint64_t ctx, const struct msg_hello *claim)
{
    struct fixture *f = arg;
    struct tm_err err = {0};

    f->ups++;
    f->conn = conn;
    if (strcmp(claim->node, "unwanted") == 0) {
        (void)tm_err_set(&err, TM_E_REFUSED, "no room");
        gate_refuse(f->gate, conn, ctx, &err);
    } else {
        assert_true(gate_is_private(f->gate, conn));      /* loopback */
        assert_false(gate_is_private(f->gate, conn + 1)); /* nobody's */
        gate_welcome(f->gate, conn, ctx, 7, 99);
    }
}

static void on_request(void *arg, uint64_t conn, uint64_t ctx, const struct message *message)
{
    struct fixture *f = arg;
    struct message reply = {.type = MESSAGE_desired, .serial = message->serial, .term = 7};

    f->requests++;
    assert_int_equal(conn, f->conn);
    if (message->type == MESSAGE_poll) {
        f->parked_conn = conn;
        f->parked = ctx;
        return;
    }
    reply.desired.revision = message->heartbeat.revision + 1;
    gate_reply(f->gate, conn, ctx, &reply);
}

static void on_gone(void *arg, uint64_t conn)
{
    struct fixture *f = arg;

    (void)conn;
    f->gones++;
}

static void on_note(void *arg, enum gate_event event, const char *text)
{
    struct fixture *f = arg;
    size_t len = strlen(f->notes);

    (void)event;
    /* without the address, whose port is another each time */
    const char *rest = strstr(text, ": ");
    (void)snprintf(f->notes + len, sizeof f->notes - len, "%s\n", rest ? rest + 2 : text);
}

static const struct gate_handlers handlers = {on_up, on_request, on_gone, on_note};

static void write_key(struct fixture *f, const char *node, const char *key, mode_t mode)
{
    char path[160];
    struct tm_err err = {0};

    (void)snprintf(path, sizeof path, "%s/c/%s.key", f->dir, node);
    assert_int_equal(fs_write_atomic(path, slice_str(key), mode, &err), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct gate_config config = {.server = {.url = "tcp://127.0.0.1:0"}, .max_agents = 4};
    struct tm_err err = {0};
    char keys[160];

    (void)snprintf(f->dir, sizeof f->dir, "/tmp/tidemark-gate-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(keys, sizeof keys, "%s/c", f->dir);
    assert_int_equal(mkdir(keys, 0700), 0);
    write_key(f, "keyed", KEY, 0600);
    write_key(f, "open", KEY, 0644);
    write_key(f, "short", "abc", 0600);
    config.keys_dir = f->dir;
    assert_int_equal(loop_new(&f->loop, &err), 0);
    assert_int_equal(gate_new(f->loop, &config, &handlers, f, &f->gate, &err), 0);
    assert_int_equal(gate_start(f->gate, &err), 0);
    (void)snprintf(f->url, sizeof f->url, "tcp://127.0.0.1:%u", gate_port(f->gate));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct tm_err err = {0};

    gate_stop(f->gate);
    gate_free(f->gate);
    loop_free(f->loop);
    assert_int_equal(fs_remove_tree(f->dir, true, &err), 0);
    free(f);
    return 0;
}

/* ---- a client by hand ---- */

static nng_socket dial(struct fixture *f)
{
    nng_socket s;

    assert_int_equal(nng_req0_open(&s), 0);
    assert_int_equal(nng_socket_set_ms(s, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE), 0);
    /* a connection that the gate closed stays closed, so that it can be counted */
    assert_int_equal(nng_socket_set_ms(s, NNG_OPT_RECONNMINT, 3600000), 0);
    assert_int_equal(nng_dial(s, f->url, NULL, 0), 0);
    return s;
}

/* What is awaited is awaited for as long as it takes: check.sh ends a test that hangs. */
static void turn(struct fixture *f)
{
    struct tm_err err = {0};

    assert_int_equal(loop_turn(f->loop, 2000, &err), 0);
}

static void exchange_bytes(struct fixture *f, nng_socket s, const void *data, size_t len,
                           struct message *ret)
{
    struct tm_err err = {0};
    void *got = NULL;
    size_t got_len = 0;
    int rv = NNG_EAGAIN;

    assert_int_equal(nng_send(s, (void *)(uintptr_t)data, len, 0), 0);
    while (rv == NNG_EAGAIN) {
        turn(f);
        rv = nng_recv(s, &got, &got_len, NNG_FLAG_ALLOC | NNG_FLAG_NONBLOCK);
    }
    assert_int_equal(rv, 0);
    assert_int_equal(message_decode(slice_of(got, got_len), ret, NULL, &err), 0);
    nng_free(got, got_len);
}

static void exchange(struct fixture *f, nng_socket s, const struct message *m, struct message *ret)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct tm_err err = {0};

    assert_int_equal(message_encode(m, MESSAGE_MINOR, &out, &err), 0);
    exchange_bytes(f, s, out.data, out.len, ret);
}

static struct msg_hello claim_of(const char *node)
{
    struct msg_hello claim = {.cluster = "c", .boot = "b1"};

    (void)snprintf(claim.node, sizeof claim.node, "%s", node);
    memset(claim.nonce, 5, sizeof claim.nonce);
    return claim;
}

/* Goes through hello; what came instead of welcome, or "". */
static void greet(struct fixture *f, nng_socket s, const char *node, const char *key,
                  char text[512])
{
    struct hello h = {0};
    struct msg_hello claim = claim_of(node);
    struct message out = {0}, in = {0};
    uint8_t mac[HELLO_MAC_LEN];
    struct tm_err err = {0};

    text[0] = '\0';
    hello_client_start(&h, &claim, &out);
    out.serial = 1;
    exchange(f, s, &out, &in);
    assert_int_equal(in.serial, 1);
    if (hello_client_challenge(&h, slice_str(key), &in, mac, &out, &err) == 0) {
        message_release(&in);
        out.serial = 2;
        exchange(f, s, &out, &in);
        assert_int_equal(in.serial, 2);
        if (hello_client_welcome(&h, slice_str(key), &in, &err) == 0) {
            assert_int_equal(in.welcome.term, 7);
            assert_int_equal(in.welcome.start, 99);
        }
    }
    if (err.code)
        (void)snprintf(text, 512, "%s", in.type == MESSAGE_error ? in.error.text : err.msg);
    message_release(&in);
}

static void heartbeat(struct fixture *f, nng_socket s, struct message *ret)
{
    struct message m = {.type = MESSAGE_heartbeat, .serial = 41};

    m.heartbeat.revision = 10;
    exchange(f, s, &m, ret);
}

/* ---- tests ---- */

static void test_good_key(void **state)
{
    struct fixture *f = *state;
    nng_socket s = dial(f);
    struct message in = {0};
    char text[512];

    greet(f, s, "keyed", KEY, text);
    assert_string_equal(text, "");
    assert_int_equal(f->ups, 1);
    heartbeat(f, s, &in);
    assert_int_equal(in.type, MESSAGE_desired);
    assert_int_equal(in.serial, 41);
    assert_int_equal(in.desired.revision, 11);
    message_release(&in);
    nng_close(s);
    while (f->gones == 0)
        turn(f);
    assert_int_equal(f->gones, 1);
    assert_int_equal(gate_connection_count(f->gate), 0);
}

static void test_bad_key(void **state)
{
    struct fixture *f = *state;
    nng_socket s = dial(f);
    struct message in = {0};
    char text[512];

    greet(f, s, "keyed", "another key of the right length!", text);
    assert_string_not_equal(text, "");
    assert_int_equal(f->ups, 0);
    heartbeat(f, s, &in);
    assert_int_equal(in.type, MESSAGE_error);
    assert_string_equal(in.error.text, "heartbeat before hello");
    message_release(&in);
    /* the connection is kept and may do better */
    greet(f, s, "keyed", KEY, text);
    assert_string_equal(text, "");
    assert_int_equal(f->ups, 1);
    nng_close(s);
}

static void test_no_key(void **state)
{
    struct fixture *f = *state;
    nng_socket s = dial(f);
    char text[512];

    greet(f, s, "keyed", "", text); /* the node has a key: loopback does not help */
    assert_string_not_equal(text, "");
    assert_int_equal(f->ups, 0);
    greet(f, s, "free", "", text); /* no key file, loopback */
    assert_string_equal(text, "");
    assert_int_equal(f->ups, 1);
    nng_close(s);
}

static void test_unusable_key_files(void **state)
{
    struct fixture *f = *state;
    nng_socket s = dial(f);
    char text[512];

    greet(f, s, "open", KEY, text);
    assert_non_null(strstr(text, "the coordinator cannot use the key of node 'open': "));
    greet(f, s, "short", "abc", text);
    assert_string_equal(text, "the coordinator's key of node 'short' must have 16 to 1024 bytes");
    assert_int_equal(f->ups, 0);
    nng_close(s);
}

static void test_refused_by_brain(void **state)
{
    struct fixture *f = *state;
    nng_socket s = dial(f);
    char text[512];

    greet(f, s, "unwanted", "", text);
    assert_string_equal(text, "no room");
    gate_tick(f->gate, clock_mono_us() + GATE_REFUSE_US + 1);
    while (f->gones == 0)
        turn(f);
    assert_int_equal(f->gones, 1);
    nng_close(s);
}

static void test_silent_connection(void **state)
{
    struct fixture *f = *state;
    nng_socket s = dial(f);

    while (gate_connection_count(f->gate) == 0)
        turn(f);
    gate_tick(f->gate, clock_mono_us() + GATE_HELLO_US / 2);
    assert_int_equal(gate_connection_count(f->gate), 1);
    /* a dialer that is still at it when its connection ends may come again at once, and be silent again */
    while (gate_connection_count(f->gate) > 0) {
        gate_tick(f->gate, clock_mono_us() + GATE_HELLO_US + 1);
        turn(f);
    }
    nng_close(s);
}

static void test_junk(void **state)
{
    struct fixture *f = *state;
    nng_socket s = dial(f);
    struct message in = {0};
    unsigned seed = 1;
    char text[512];
    uint8_t junk[300];

    for (int round = 0; round < 300; round++) {
        size_t len = (size_t)(rand_r(&seed) % (int)sizeof junk);
        for (size_t i = 0; i < len; i++)
            junk[i] = (uint8_t)rand_r(&seed);
        exchange_bytes(f, s, junk, len, &in);
        assert_int_equal(in.type, MESSAGE_error);
        message_release(&in);
    }
    greet(f, s, "free", "", text); /* the connection was kept */
    assert_string_equal(text, "");
    nng_close(s);
}

static void test_not_a_request(void **state)
{
    struct fixture *f = *state;
    nng_socket s = dial(f);
    struct message m = {.type = MESSAGE_desired, .serial = 3};
    struct message in = {0};
    char text[512];

    greet(f, s, "free", "", text);
    exchange(f, s, &m, &in);
    assert_int_equal(in.type, MESSAGE_error);
    assert_int_equal(in.serial, 3);
    assert_string_equal(in.error.text, "desired is not a request");
    message_release(&in);
    nng_close(s);
}

static void test_parked_poll(void **state)
{
    struct fixture *f = *state;
    nng_socket s = dial(f);
    nng_ctx ctx;
    nng_aio *aio;
    nng_msg *msg;
    struct message poll = {.type = MESSAGE_poll, .serial = 50};
    struct message answer = {.type = MESSAGE_desired, .serial = 50, .term = 7};
    struct message in = {0};
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct tm_err err = {0};
    char text[512];

    greet(f, s, "free", "", text);
    assert_int_equal(nng_ctx_open(&ctx, s), 0);
    assert_int_equal(nng_aio_alloc(&aio, NULL, NULL), 0);
    nng_aio_set_timeout(aio, NNG_DURATION_INFINITE);
    assert_int_equal(message_encode(&poll, MESSAGE_MINOR, &out, &err), 0);
    assert_int_equal(nng_msg_alloc(&msg, 0), 0);
    assert_int_equal(nng_msg_append(msg, out.data, out.len), 0);
    nng_aio_set_msg(aio, msg);
    nng_ctx_send(ctx, aio);
    nng_aio_wait(aio);
    assert_int_equal(nng_aio_result(aio), 0);
    nng_ctx_recv(ctx, aio);
    /* heartbeats flow beside it */
    for (int i = 0; i < 20; i++) {
        heartbeat(f, s, &in);
        assert_int_equal(in.type, MESSAGE_desired);
        message_release(&in);
    }
    while (f->parked == 0)
        turn(f);
    answer.desired.revision = 77;
    gate_reply(f->gate, f->parked_conn, f->parked, &answer);
    nng_aio_wait(aio);
    assert_int_equal(nng_aio_result(aio), 0);
    msg = nng_aio_get_msg(aio);
    assert_int_equal(message_decode(slice_of(nng_msg_body(msg), nng_msg_len(msg)), &in, NULL, &err),
                     0);
    assert_int_equal(in.desired.revision, 77);
    message_release(&in);
    nng_msg_free(msg);
    /* a second answer to the same request does nothing */
    gate_reply(f->gate, f->parked_conn, f->parked, &answer);
    nng_aio_free(aio);
    nng_close(s);
}

static void test_listen_rules(void **state)
{
    struct rpc_server_config c = {.url = "tcp://10.1.2.3:7711"};
    struct tm_err err = {0};

    (void)state;
    assert_int_equal(rpc_server_check(&c, &err), -TM_E_REFUSED);
    assert_string_equal(err.msg,
                        "plain 'tcp://10.1.2.3:7711' is not loopback: use tls+tcp://, or say "
                        "insecure: true");
    c.insecure = true;
    assert_int_equal(rpc_server_check(&c, &err), 0);
    c.url = "tls+tcp://10.1.2.3:7711";
    assert_int_equal(rpc_server_check(&c, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "'tls+tcp://10.1.2.3:7711' needs tls.ca and tls.cert");
    c.url = "http://x";
    assert_int_equal(rpc_server_check(&c, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "'http://x' is neither tcp://host:port nor tls+tcp://host:port");
}

#define GATE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATE(test_good_key),
        GATE(test_bad_key),
        GATE(test_no_key),
        GATE(test_unusable_key_files),
        GATE(test_refused_by_brain),
        GATE(test_silent_connection),
        GATE(test_junk),
        GATE(test_not_a_request),
        GATE(test_parked_poll),
        cmocka_unit_test(test_listen_rules),
    };
    int r = cmocka_run_group_tests_name("gate", tests, NULL, NULL);

    nng_fini();
    return r;
}
