#ifndef TM_PROTO_WIRE_HELLO_H
#define TM_PROTO_WIRE_HELLO_H
/*
 * Who is speaking: two exchanges at the start of every connection, before anything else is said.
 *
 *     A -> C  hello      {cluster, node, boot, nonce A, newest term seen}
 *     C -> A  challenge  {nonce C}
 *     A -> C  proof      {HMAC(key, "agent" …)}
 *     C -> A  welcome    {term, start, HMAC(key, "coordinator" …)}
 *
 * Both MACs are HMAC-SHA256 under the node's key over a role word, both nonces and everything that
 * was claimed, each part with its length in front, so neither side's proof can be reflected and no
 * field can slide into its neighbour. A side that has a key accepts nothing without a valid MAC;
 * when neither has one (loopback), both MACs are empty. Comparison takes constant time.
 *
 * The state belongs to the connection (the pipe): a message other than the expected one is refused,
 * and a dead pipe takes its identity with it. After welcome the connection speaks for exactly one
 * (cluster, node, boot).
 *
 * Pure: nonces are handed in (from the system's random source in the daemons). Keys are borrowed
 * for the duration of the call. hello_*_clear wipes what is secret.
 */
#include "proto/wire/messages.h"

#define HELLO_KEY_MIN 16 /* bytes; shorter keys are refused where they are read */
#define HELLO_KEY_MAX 1024
#define HELLO_MAJOR   1

enum hello_state {
    HELLO_START,     /* agent: send hello. coordinator: expect hello */
    HELLO_CHALLENGE, /* agent: expect challenge. coordinator: expect proof */
    HELLO_PROOF,     /* agent: expect welcome. coordinator: proof was right, send welcome */
    HELLO_DONE,
};

struct hello {
    enum hello_state state;
    struct msg_hello claim;
    uint8_t challenge[HELLO_NONCE_LEN];
};

/* ---- agent: client_start → client_challenge → client_welcome ---- */

/* `claim` says everything but `major`. Fills the hello to send. */
void hello_client_start(struct hello *h, const struct msg_hello *claim, struct message *ret);
/* From the challenge, the proof to send. ret->proof.mac points into ret_mac. */
int hello_client_challenge(struct hello *h, struct slice key, const struct message *challenge,
                           uint8_t ret_mac[HELLO_MAC_LEN], struct message *ret,
                           struct tm_err *err) TM_WUR;
/* TM_E_PERMISSION when the coordinator does not know the key; TM_E_REFUSED carries an error's text.
 */
int hello_client_welcome(struct hello *h, struct slice key, const struct message *welcome,
                         struct tm_err *err) TM_WUR;

/* ---- coordinator: server_hello → server_proof → server_welcome ---- */

/* Checks the claim (version, names), remembers it, fills the challenge. The caller then looks up
 * the key of (claim.cluster, claim.node). */
int hello_server_hello(struct hello *h, const struct message *hello,
                       const uint8_t nonce[HELLO_NONCE_LEN], struct message *ret,
                       struct tm_err *err) TM_WUR;
/* TM_E_PERMISSION for a wrong proof. On any failure the connection starts over at hello. */
int hello_server_proof(struct hello *h, struct slice key, const struct message *proof,
                       struct tm_err *err) TM_WUR;
/* When the term to announce is settled. ret->welcome.mac points into ret_mac. */
int hello_server_welcome(struct hello *h, struct slice key, uint64_t term, uint64_t start,
                         uint8_t ret_mac[HELLO_MAC_LEN], struct message *ret,
                         struct tm_err *err) TM_WUR;

/* Back to HELLO_START; wipes nonces. */
void hello_clear(struct hello *h);

/* [a-z0-9]([a-z0-9.-]*[a-z0-9])?, at most WIRE_NAME_MAX: cluster, node and tenant names. Upper case
 * and '_' are allowed too, as host names have them. */
bool hello_name_valid(const char *name);

#endif
