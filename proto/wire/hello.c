/* Hello: who proves what to whom is told in hello.h. Here are the bytes under the MACs. */
#include "proto/wire/hello.h"

#include "common/hash.h"

/* role, nonce A, nonce C, cluster, node, boot, two numbers: each with its length in front. */
#define PARTS 8

static int proof_mac(const struct hello *h, struct slice key, const char *role, uint64_t first,
                     uint64_t second, uint8_t ret_mac[HELLO_MAC_LEN], struct tm_err *err)
{
    uint8_t numbers[2][8];
    be64_put(numbers[0], first);
    be64_put(numbers[1], second);
    const struct slice parts[PARTS] = {
        slice_str(role),
        slice_of(h->claim.nonce, HELLO_NONCE_LEN),
        slice_of(h->challenge, HELLO_NONCE_LEN),
        slice_str(h->claim.cluster),
        slice_str(h->claim.node),
        slice_str(h->claim.boot),
        slice_of(numbers[0], 8),
        slice_of(numbers[1], 8),
    };
    uint8_t lengths[PARTS][4];
    struct slice all[2 * PARTS];
    for (size_t at = 0; at < PARTS; at++) {
        be32_put(lengths[at], (uint32_t)parts[at].len);
        all[2 * at] = slice_of(lengths[at], 4);
        all[2 * at + 1] = parts[at];
    }
    struct sha256 mac;
    int r = hmac_sha256(key, all, TM_ARRAY_LEN(all), &mac, err);
    if (r == 0)
        memcpy(ret_mac, mac.bytes, HELLO_MAC_LEN);
    return r;
}

static int agent_mac(const struct hello *h, struct slice key, uint8_t ret_mac[HELLO_MAC_LEN],
                     struct tm_err *err)
{
    return proof_mac(h, key, "tidemark agent 1", h->claim.seen_term, h->claim.seen_start, ret_mac,
                     err);
}

static int coordinator_mac(const struct hello *h, struct slice key, uint64_t term, uint64_t start,
                           uint8_t ret_mac[HELLO_MAC_LEN], struct tm_err *err)
{
    return proof_mac(h, key, "tidemark coordinator 1", term, start, ret_mac, err);
}

/* With a key the MAC must be there and right; without one it must not be there. */
static int mac_check(struct slice key, struct slice got, const uint8_t want[HELLO_MAC_LEN],
                     const char *who, const char *node, struct tm_err *err)
{
    if (key.len == 0) {
        if (got.len == 0)
            return 0;
        return tm_err_set(err, TM_E_PERMISSION,
                          "%s of node '%s' proves itself with a key, and there is none here", who,
                          node);
    }
    if (got.len == 0)
        return tm_err_set(err, TM_E_PERMISSION, "%s of node '%s' has no key, and one is needed",
                          who, node);
    if (got.len != HELLO_MAC_LEN || !hash_equal_const_time(got.data, want, HELLO_MAC_LEN))
        return tm_err_set(err, TM_E_PERMISSION, "%s of node '%s' has another key", who, node);
    return 0;
}

bool hello_name_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > WIRE_NAME_MAX)
        return false;
    for (size_t at = 0; at < len; at++) {
        char c = name[at];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        bool inner = c == '.' || c == '-' || c == '_';
        if (!alnum && !(inner && at > 0 && at + 1 < len))
            return false;
    }
    return true;
}

void hello_clear(struct hello *h)
{
    explicit_bzero(h, sizeof(*h));
}

static int out_of_order(struct hello *h, const struct message *m, const char *wanted,
                        struct tm_err *err)
{
    hello_clear(h);
    return tm_err_set(err, TM_E_PERMISSION, "'%s' came where '%s' is due", message_name(m->type),
                      wanted);
}

/* ---- agent ---- */

void hello_client_start(struct hello *h, const struct msg_hello *claim, struct message *ret)
{
    *h = (struct hello){.state = HELLO_CHALLENGE, .claim = *claim};
    h->claim.major = HELLO_MAJOR;
    *ret = (struct message){.type = MESSAGE_hello, .term = claim->seen_term, .hello = h->claim};
}

/* An error instead of what was due: passed on as the coordinator worded it. */
static int refused(struct hello *h, const struct message *m, const char *wanted, struct tm_err *err)
{
    if (m->type != MESSAGE_error)
        return out_of_order(h, m, wanted, err);
    hello_clear(h);
    msg_error_to(&m->error, err);
    return tm_err_prefix(err, "the coordinator refuses this agent");
}

int hello_client_challenge(struct hello *h, struct slice key, const struct message *challenge,
                           uint8_t ret_mac[HELLO_MAC_LEN], struct message *ret, struct tm_err *err)
{
    if (h->state != HELLO_CHALLENGE || challenge->type != MESSAGE_challenge)
        return refused(h, challenge, "challenge", err);
    memcpy(h->challenge, challenge->challenge.nonce, HELLO_NONCE_LEN);
    if (memcmp(h->challenge, h->claim.nonce, HELLO_NONCE_LEN) == 0) {
        hello_clear(h);
        return tm_err_set(err, TM_E_PERMISSION, "the challenge repeats our own nonce");
    }
    *ret = (struct message){.type = MESSAGE_proof, .term = h->claim.seen_term};
    if (key.len > 0) {
        int r = agent_mac(h, key, ret_mac, err);
        if (r < 0)
            return r;
        ret->proof.mac = slice_of(ret_mac, HELLO_MAC_LEN);
    }
    h->state = HELLO_PROOF;
    return 0;
}

int hello_client_welcome(struct hello *h, struct slice key, const struct message *welcome,
                         struct tm_err *err)
{
    if (h->state != HELLO_PROOF || welcome->type != MESSAGE_welcome)
        return refused(h, welcome, "welcome", err);
    uint8_t want[HELLO_MAC_LEN];
    int r = coordinator_mac(h, key, welcome->welcome.term, welcome->welcome.start, want, err);
    if (r == 0)
        r = mac_check(key, welcome->welcome.mac, want, "the coordinator", h->claim.node, err);
    explicit_bzero(want, sizeof(want));
    if (r < 0)
        hello_clear(h);
    else
        h->state = HELLO_DONE;
    return r;
}

/* ---- coordinator ---- */

int hello_server_hello(struct hello *h, const struct message *hello,
                       const uint8_t nonce[HELLO_NONCE_LEN], struct message *ret,
                       struct tm_err *err)
{
    if (hello->type != MESSAGE_hello)
        return out_of_order(h, hello, "hello", err);
    const struct msg_hello *claim = &hello->hello;
    hello_clear(h);
    if (claim->major != HELLO_MAJOR)
        return tm_err_set(err, TM_E_UNSUPPORTED, "hello: protocol version %u is not %d",
                          claim->major, HELLO_MAJOR);
    if (!hello_name_valid(claim->cluster))
        return tm_err_set(err, TM_E_INVALID, "hello: cluster name is not valid");
    if (!hello_name_valid(claim->node))
        return tm_err_set(err, TM_E_INVALID, "hello: node name is not valid");
    if (!hello_name_valid(claim->boot))
        return tm_err_set(err, TM_E_INVALID, "hello: boot id is not valid");
    h->claim = *claim;
    memcpy(h->challenge, nonce, HELLO_NONCE_LEN);
    h->state = HELLO_CHALLENGE;
    *ret = (struct message){.type = MESSAGE_challenge, .serial = hello->serial};
    memcpy(ret->challenge.nonce, nonce, HELLO_NONCE_LEN);
    return 0;
}

int hello_server_proof(struct hello *h, struct slice key, const struct message *proof,
                       struct tm_err *err)
{
    if (h->state != HELLO_CHALLENGE || proof->type != MESSAGE_proof)
        return out_of_order(h, proof, h->state == HELLO_CHALLENGE ? "proof" : "hello", err);
    uint8_t want[HELLO_MAC_LEN];
    int r = agent_mac(h, key, want, err);
    if (r == 0)
        r = mac_check(key, proof->proof.mac, want, "the agent", h->claim.node, err);
    explicit_bzero(want, sizeof(want));
    if (r < 0)
        hello_clear(h);
    else
        h->state = HELLO_PROOF;
    return r;
}

int hello_server_welcome(struct hello *h, struct slice key, uint64_t term, uint64_t start,
                         uint8_t ret_mac[HELLO_MAC_LEN], struct message *ret, struct tm_err *err)
{
    if (h->state != HELLO_PROOF)
        return tm_err_set(err, TM_E_PERMISSION, "welcome without a proof");
    *ret = (struct message){.type = MESSAGE_welcome, .term = term};
    ret->welcome.term = term;
    ret->welcome.start = start;
    if (key.len > 0) {
        int r = coordinator_mac(h, key, term, start, ret_mac, err);
        if (r < 0)
            return r;
        ret->welcome.mac = slice_of(ret_mac, HELLO_MAC_LEN);
    }
    h->state = HELLO_DONE;
    return 0;
}
