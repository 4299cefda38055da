/*
 * AES-256-GCM by libcrypto.
 *
 * Happy path: the credential's file is read, its length is right, its id is computed → close: a new
 * nonce, one pass, the tag → open: one pass, the tag is right.
 * Failure modes: no such credential; one of another length; too short an input; a tag that is wrong:
 * other bytes, another label or another key, which cannot be told apart here. `out` is as it was then.
 */
#include "coordinator/secrets/key.h"

#include <limits.h>
#include <openssl/evp.h>

#include "common/fs.h"
#include "common/hash.h"

#define NONCE_LEN 12
#define TAG_LEN   16
#define IN_MAX    ((size_t)1 << 24)

typedef EVP_CIPHER_CTX cipher;

static void cipher_freep(cipher **c)
{
    EVP_CIPHER_CTX_free(*c); /* zeroes the key in it */
}

void secrets_key_release(struct secrets_key *key)
{
    explicit_bzero(key, sizeof(*key));
}

int secrets_key_load(const char *dir, struct secrets_key *ret, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_SECRET_INIT;
    char path[PATH_MAX];
    struct sha256 mac;
    const struct slice what = slice_str(SECRETS_KEY_NAME);
    int r = fs_join(path, sizeof(path), dir, SECRETS_KEY_NAME, err);
    if (r < 0 || (r = fs_read_file(path, 4096, &bytes, err)) < 0)
        return r;
    if (bytes.len != SECRETS_KEY_LEN)
        return tm_err_set(err, TM_E_INVALID, "'%s' is no key: it has %zu bytes, %d are wanted",
                          path, bytes.len, SECRETS_KEY_LEN);
    if ((r = hmac_sha256(buf_slice(&bytes), &what, 1, &mac, err)) < 0)
        return r;
    memcpy(ret->bytes, bytes.data, SECRETS_KEY_LEN);
    (void)hex_encode(mac.bytes, SECRETS_KEY_ID / 2, ret->id);
    return 0;
}

/* Ready for the data: key, nonce and label are in. */
static cipher *begin(const struct secrets_key *key, bool encrypt, const uint8_t *nonce,
                     struct slice label)
{
    TM_CLEANUP(cipher_freep) cipher *c = EVP_CIPHER_CTX_new();
    int len;
    if (c == NULL ||
        EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key->bytes, nonce, encrypt ? 1 : 0) != 1 ||
        EVP_CipherUpdate(c, NULL, &len, label.data, (int)label.len) != 1)
        return NULL;
    return TM_TAKE(c);
}

static int check_len(struct slice label, struct slice in, struct tm_err *err)
{
    return label.len <= IN_MAX && in.len <= IN_MAX
               ? 0
               : tm_err_set(err, TM_E_LIMIT, "%zu bytes are too many to be encrypted", in.len);
}

int secrets_key_close(const struct secrets_key *key, struct slice label, struct slice in,
                      struct buf *out, struct tm_err *err)
{
    uint8_t nonce[NONCE_LEN];
    int len = 0;
    int rest = 0;
    int r = check_len(label, in, err);
    if (r < 0 || (r = random_bytes(nonce, sizeof(nonce), err)) < 0 ||
        (r = buf_reserve(out, NONCE_LEN + in.len + TAG_LEN, err)) < 0)
        return r;
    TM_CLEANUP(cipher_freep) cipher *c = begin(key, true, nonce, label);
    uint8_t *to = out->data + out->len;
    memcpy(to, nonce, NONCE_LEN);
    if (c == NULL || EVP_CipherUpdate(c, to + NONCE_LEN, &len, in.data, (int)in.len) != 1 ||
        EVP_CipherFinal_ex(c, to + NONCE_LEN + len, &rest) != 1 ||
        (size_t)len + (size_t)rest != in.len ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, to + NONCE_LEN + in.len) != 1)
        return tm_err_set(err, TM_E_INTERNAL, "libcrypto cannot encrypt with AES-256-GCM");
    out->len += NONCE_LEN + in.len + TAG_LEN;
    return 0;
}

int secrets_key_open(const struct secrets_key *key, struct slice label, struct slice in,
                     struct buf *out, struct tm_err *err)
{
    uint8_t tag[TAG_LEN];
    int len = 0;
    int rest = 0;
    int r = check_len(label, in, err);
    if (r < 0)
        return r;
    if (in.len < NONCE_LEN + TAG_LEN)
        return tm_err_set(err, TM_E_CORRUPT, "it is too short");
    size_t plain = in.len - NONCE_LEN - TAG_LEN;
    if ((r = buf_reserve(out, plain + 1, err)) < 0) /* never NULL, which would mean a label */
        return r;
    memcpy(tag, in.data + in.len - TAG_LEN, TAG_LEN);
    TM_CLEANUP(cipher_freep) cipher *c = begin(key, false, in.data, label);
    uint8_t *to = out->data + out->len;
    if (c == NULL || EVP_CipherUpdate(c, to, &len, in.data + NONCE_LEN, (int)plain) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) != 1)
        return tm_err_set(err, TM_E_INTERNAL, "libcrypto cannot decrypt with AES-256-GCM");
    if (EVP_CipherFinal_ex(c, to + len, &rest) != 1 || (size_t)len + (size_t)rest != plain) {
        explicit_bzero(to, plain); /* not proven to be what was stored */
        return tm_err_set(err, TM_E_CORRUPT,
                          "it was changed, or belongs to a secret of another name");
    }
    out->len += plain;
    return 0;
}
