/* hello: the happy path with and without a key, and everything a hostile peer may try. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/wire/hello.h"

#define KEY   slice_str("0123456789abcdef0123456789abcdef")
#define OTHER slice_str("fedcba9876543210fedcba9876543210")

struct talk {
    struct hello agent;
    struct hello coordinator;
    struct message hello;
    struct message challenge;
    struct message proof;
    struct message welcome;
    uint8_t agent_mac[HELLO_MAC_LEN];
    uint8_t coordinator_mac[HELLO_MAC_LEN];
    struct tm_err err;
};

static struct msg_hello claim_of(const char *node)
{
    struct msg_hello claim = {
        .cluster = "demo1", .boot = "b0c1d2", .nonce = {1, 2, 3}, .seen_term = 7, .seen_start = 9};
    (void)snprintf(claim.node, sizeof(claim.node), "%s", node);
    return claim;
}

/* Up to the proof being made. */
static void begin(struct talk *t, struct slice agent_key)
{
    static const uint8_t nonce[HELLO_NONCE_LEN] = {9, 8, 7};
    struct msg_hello claim = claim_of("db-a");
    *t = (struct talk){.err = {0}};
    hello_client_start(&t->agent, &claim, &t->hello);
    assert_int_equal(hello_server_hello(&t->coordinator, &t->hello, nonce, &t->challenge, &t->err),
                     0);
    assert_int_equal(hello_client_challenge(&t->agent, agent_key, &t->challenge, t->agent_mac,
                                            &t->proof, &t->err),
                     0);
}

static int finish(struct talk *t, struct slice key)
{
    int r = hello_server_proof(&t->coordinator, key, &t->proof, &t->err);
    if (r == 0)
        r = hello_server_welcome(&t->coordinator, key, 12, 34, t->coordinator_mac, &t->welcome,
                                 &t->err);
    return r;
}

static void with_a_key(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, KEY);
    assert_int_equal(t.proof.proof.mac.len, HELLO_MAC_LEN);
    assert_int_equal(finish(&t, KEY), 0);
    assert_int_equal(t.welcome.welcome.term, 12);
    assert_int_equal(hello_client_welcome(&t.agent, KEY, &t.welcome, &t.err), 0);
    assert_int_equal(t.agent.state, HELLO_DONE);
    assert_int_equal(t.coordinator.state, HELLO_DONE);
    assert_string_equal(t.coordinator.claim.node, "db-a");
    assert_int_equal(t.coordinator.claim.seen_term, 7);
}

static void without_a_key(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, SLICE_EMPTY);
    assert_int_equal(t.proof.proof.mac.len, 0);
    assert_int_equal(finish(&t, SLICE_EMPTY), 0);
    assert_int_equal(hello_client_welcome(&t.agent, SLICE_EMPTY, &t.welcome, &t.err), 0);
}

static void wrong_keys(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, OTHER);
    assert_int_equal(finish(&t, KEY), -TM_E_PERMISSION);
    assert_string_equal(t.err.msg, "the agent of node 'db-a' has another key");
    assert_int_equal(t.coordinator.state, HELLO_START);

    begin(&t, SLICE_EMPTY);
    assert_int_equal(finish(&t, KEY), -TM_E_PERMISSION);
    assert_string_equal(t.err.msg, "the agent of node 'db-a' has no key, and one is needed");

    begin(&t, KEY);
    assert_int_equal(finish(&t, SLICE_EMPTY), -TM_E_PERMISSION);
    assert_string_equal(
        t.err.msg, "the agent of node 'db-a' proves itself with a key, and there is none here");

    begin(&t, KEY);
    assert_int_equal(finish(&t, KEY), 0);
    assert_int_equal(hello_client_welcome(&t.agent, OTHER, &t.welcome, &t.err), -TM_E_PERMISSION);
    assert_string_equal(t.err.msg, "the coordinator of node 'db-a' has another key");
}

static void nothing_can_be_changed(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, KEY);
    assert_int_equal(finish(&t, KEY), 0);
    t.welcome.welcome.term = 13; /* the term is under the MAC */
    assert_int_equal(hello_client_welcome(&t.agent, KEY, &t.welcome, &t.err), -TM_E_PERMISSION);

    begin(&t, KEY); /* so is what was claimed */
    (void)snprintf(t.coordinator.claim.node, sizeof(t.coordinator.claim.node), "db-b");
    assert_int_equal(finish(&t, KEY), -TM_E_PERMISSION);

    begin(&t, KEY); /* the agent's own proof is not a coordinator's */
    t.welcome = (struct message){.type = MESSAGE_welcome};
    t.welcome.welcome.term = 12;
    t.welcome.welcome.mac = t.proof.proof.mac;
    assert_int_equal(hello_client_welcome(&t.agent, KEY, &t.welcome, &t.err), -TM_E_PERMISSION);

    begin(&t, KEY); /* an old proof does not fit a new challenge */
    struct talk again;
    begin(&again, KEY);
    again.coordinator.challenge[0] ^= 1;
    assert_int_equal(finish(&again, KEY), -TM_E_PERMISSION);
}

static void order(void **state)
{
    (void)state;
    struct talk t;
    static const uint8_t nonce[HELLO_NONCE_LEN] = {9};
    begin(&t, KEY);
    struct hello fresh = {0};
    assert_int_equal(hello_server_proof(&fresh, KEY, &t.proof, &t.err), -TM_E_PERMISSION);
    assert_string_equal(t.err.msg, "'proof' came where 'hello' is due");
    assert_int_equal(hello_server_hello(&fresh, &t.proof, nonce, &t.challenge, &t.err),
                     -TM_E_PERMISSION);
    assert_string_equal(t.err.msg, "'proof' came where 'hello' is due");
    assert_int_equal(hello_server_proof(&t.coordinator, KEY, &t.hello, &t.err), -TM_E_PERMISSION);
    assert_string_equal(t.err.msg, "'hello' came where 'proof' is due");
    assert_int_equal(hello_server_welcome(&fresh, KEY, 1, 1, t.coordinator_mac, &t.welcome, &t.err),
                     -TM_E_PERMISSION);
    assert_string_equal(t.err.msg, "welcome without a proof");

    begin(&t, KEY);
    struct message error = {.type = MESSAGE_error};
    error.error = (struct msg_error){.code = TM_E_PERMISSION, .text = "no such node"};
    assert_int_equal(hello_client_welcome(&t.agent, KEY, &error, &t.err), -TM_E_PERMISSION);
    assert_string_equal(t.err.msg, "the coordinator refuses this agent: no such node");
}

static void bad_claims(void **state)
{
    (void)state;
    static const uint8_t nonce[HELLO_NONCE_LEN] = {9};
    struct hello h = {0};
    struct message hello;
    struct message challenge;
    struct tm_err err;
    struct msg_hello claim = claim_of("../x");
    struct hello agent;
    hello_client_start(&agent, &claim, &hello);
    assert_int_equal(hello_server_hello(&h, &hello, nonce, &challenge, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "hello: node name is not valid");
    claim = claim_of("db-a");
    hello_client_start(&agent, &claim, &hello);
    hello.hello.major = 2;
    assert_int_equal(hello_server_hello(&h, &hello, nonce, &challenge, &err), -TM_E_UNSUPPORTED);
    assert_string_equal(err.msg, "hello: protocol version 2 is not 1");
    hello.hello.major = HELLO_MAJOR;
    hello.hello.cluster[0] = '\0';
    assert_int_equal(hello_server_hello(&h, &hello, nonce, &challenge, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "hello: cluster name is not valid");
}

static void names(void **state)
{
    (void)state;
    assert_true(hello_name_valid("a"));
    assert_true(hello_name_valid("db-a.example_1"));
    assert_false(hello_name_valid(""));
    assert_false(hello_name_valid("-a"));
    assert_false(hello_name_valid("a."));
    assert_false(hello_name_valid("a/b"));
    assert_false(hello_name_valid("a b"));
    assert_false(
        hello_name_valid("a234567890123456789012345678901234567890123456789012345678901234"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_key), cmocka_unit_test(without_a_key),
        cmocka_unit_test(wrong_keys), cmocka_unit_test(nothing_can_be_changed),
        cmocka_unit_test(order),      cmocka_unit_test(bad_claims),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
