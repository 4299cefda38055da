/*
 * XXH3, SHA-256, HMAC, hex, random bytes: thin wrappers over libxxhash, libcrypto and the kernel.
 */
#include "common/hash.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/core_names.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

struct xxh3_128 xxh3_128_of(const void *data, size_t len)
{
    XXH128_hash_t hash = XXH3_128bits(len > 0 ? data : "", len);
    struct xxh3_128 out;
    be64_put(out.bytes, hash.high64);
    be64_put(out.bytes + 8, hash.low64);
    return out;
}

/* ---- SHA-256 ---- */

static int crypto_failed(struct tm_err *err, const char *what)
{
    return tm_err_set(err, TM_E_INTERNAL, "libcrypto: %s failed", what);
}

int sha256_of(const void *data, size_t len, struct sha256 *ret_digest, struct tm_err *err)
{
    struct sha256 digest;
    if (EVP_Digest(len > 0 ? data : "", len, digest.bytes, NULL, EVP_sha256(), NULL) != 1)
        return crypto_failed(err, "SHA-256");
    *ret_digest = digest;
    return 0;
}

struct hash_sha256 {
    EVP_MD_CTX *ctx;
};

int hash_sha256_new(struct hash_sha256 **ret_hash, struct tm_err *err)
{
    TM_CLEANUP(hash_sha256_freep) struct hash_sha256 *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return tm_err_oom(err);
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx == NULL)
        return tm_err_oom(err);
    int r = hash_sha256_reset(h, err);
    if (r < 0)
        return r;
    *ret_hash = TM_TAKE(h);
    return 0;
}

void hash_sha256_free(struct hash_sha256 *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

int hash_sha256_reset(struct hash_sha256 *h, struct tm_err *err)
{
    return EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1 ? 0 : crypto_failed(err, "SHA-256");
}

int hash_sha256_update(struct hash_sha256 *h, const void *data, size_t len, struct tm_err *err)
{
    if (len == 0)
        return 0;
    return EVP_DigestUpdate(h->ctx, data, len) == 1 ? 0 : crypto_failed(err, "SHA-256");
}

int hash_sha256_final(struct hash_sha256 *h, struct sha256 *ret_digest, struct tm_err *err)
{
    struct sha256 digest;
    if (EVP_DigestFinal_ex(h->ctx, digest.bytes, NULL) != 1)
        return crypto_failed(err, "SHA-256");
    *ret_digest = digest;
    return 0;
}

/* ---- HMAC ---- */

static int hmac_run(EVP_MAC_CTX *ctx, struct slice key, const struct slice *parts,
                    size_t part_count, struct sha256 *ret_mac)
{
    char digest_name[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest_name, 0),
        OSSL_PARAM_construct_end(),
    };
    if (EVP_MAC_init(ctx, key.len > 0 ? key.data : (const uint8_t *)"", key.len, params) != 1)
        return -1;
    for (size_t n = 0; n < part_count; n++)
        if (parts[n].len > 0 && EVP_MAC_update(ctx, parts[n].data, parts[n].len) != 1)
            return -1;
    size_t len = 0;
    if (EVP_MAC_final(ctx, ret_mac->bytes, &len, SHA256_LEN) != 1 || len != SHA256_LEN)
        return -1;
    return 0;
}

int hmac_sha256(struct slice key, const struct slice *parts, size_t part_count,
                struct sha256 *ret_mac, struct tm_err *err)
{
    struct sha256 mac;
    EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = algorithm != NULL ? EVP_MAC_CTX_new(algorithm) : NULL;
    int r = ctx != NULL ? hmac_run(ctx, key, parts, part_count, &mac) : -1;
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(algorithm);
    if (r < 0)
        return crypto_failed(err, "HMAC");
    *ret_mac = mac;
    return 0;
}

bool hash_equal_const_time(const void *a, const void *b, size_t len)
{
    return len == 0 || CRYPTO_memcmp(a, b, len) == 0;
}

/* ---- hex, random ---- */

char *hex_encode(const void *data, size_t len, char *text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = data;
    for (size_t n = 0; n < len; n++) {
        text[2 * n] = digits[bytes[n] >> 4];
        text[2 * n + 1] = digits[bytes[n] & 15];
    }
    text[2 * len] = '\0';
    return text;
}

int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

int random_bytes(void *ret_data, size_t len, struct tm_err *err)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = getrandom((uint8_t *)ret_data + done, len - done, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot get random bytes");
        done += (size_t)n;
    }
    return 0;
}
