#ifndef TM_COORDINATOR_SECRETS_KEY_H
#define TM_COORDINATOR_SECRETS_KEY_H
/*
 * The coordinator's own key for secrets: 32 random bytes that systemd keeps sealed with the host's key
 * and hands over at the start, as the credential SECRETS_KEY_NAME in $CREDENTIALS_DIRECTORY
 * (systemd/tidemark-secrets-key.service makes it).
 *
 *     secrets_key_load(dir, &key, err)          TM_E_NOT_FOUND: it was not handed over
 *     secrets_key_close(&key, label, in, &out, err)   AES-256-GCM; nonce, ciphertext, tag
 *     secrets_key_open(&key, label, in, &out, err)    and back; `out` should be BUF_SECRET_INIT
 *     secrets_key_release(&key)                 zeroed
 *
 * The nonce is 12 random bytes: good for 2^32 files, SECRETS_MAX of which can be there at once. The
 * label is authenticated, not stored: what was closed under one is refused under another. The id tells
 * keys apart and tells nothing of them. Any thread, a key that is not written meanwhile.
 */
#include "common/buf.h"
#include "common/err.h"

#define SECRETS_KEY_NAME "tidemark.secrets-key"
#define SECRETS_KEY_LEN  32
#define SECRETS_KEY_ID   16 /* hex digits */

struct secrets_key {
    uint8_t bytes[SECRETS_KEY_LEN];
    char id[SECRETS_KEY_ID + 1]; /* "" = no key */
};

int secrets_key_load(const char *dir, struct secrets_key *ret, struct tm_err *err) TM_WUR;
void secrets_key_release(struct secrets_key *key);

int secrets_key_close(const struct secrets_key *key, struct slice label, struct slice in,
                      struct buf *out, struct tm_err *err) TM_WUR;
int secrets_key_open(const struct secrets_key *key, struct slice label, struct slice in,
                     struct buf *out, struct tm_err *err) TM_WUR;

#endif
