/*
 * The fixed parts of an object, header and trailer, and the memory of writers and readers. Both
 * parts carry a hash of themselves, so that a damaged length is seen before it is used. A reader
 * refuses what it does not know in this order: magic, damage, version, required features, cipher.
 */
#include "proto/format/object.h"

#include <openssl/evp.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "proto/format/object_internal.h"

struct object_hasher {
    XXH3_state_t *state;
};

const char *object_kind_text(enum object_kind kind)
{
    switch (kind) {
#define OBJECT_KIND_TEXT(name, number, text)                                                       \
    case OBJECT_##name:                                                                            \
        return text;
        OBJECT_KIND_MAP(OBJECT_KIND_TEXT)
#undef OBJECT_KIND_TEXT
    }
    return "unknown";
}

/* ---- hashes ---- */

/* The library's variant for the widest registers this processor has; absent in some builds of it. */
extern XXH128_hash_t XXH3_128bits_dispatch(const void *data, size_t len) __attribute__((weak));

void object_hash(const void *data, size_t len, uint8_t ret[OBJECT_HASH_BYTES])
{
    XXH128_canonical_t canonical;
    bool wide = XXH3_128bits_dispatch != NULL && len > 4096;
    XXH128_canonicalFromHash(&canonical,
                             wide ? XXH3_128bits_dispatch(data, len) : XXH3_128bits(data, len));
    memcpy(ret, canonical.digest, OBJECT_HASH_BYTES);
}

void object_hasher_reset(struct object_scratch *s)
{
    (void)XXH3_128bits_reset(s->hasher->state);
}

void object_hasher_update(struct object_scratch *s, const void *data, size_t len)
{
    (void)XXH3_128bits_update(s->hasher->state, data, len);
}

void object_hasher_final(struct object_scratch *s, uint8_t ret[OBJECT_HASH_BYTES])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(s->hasher->state));
    memcpy(ret, canonical.digest, OBJECT_HASH_BYTES);
}

static void md_ctx_freep(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}

int object_digest(const uint8_t header[OBJECT_HEADER_BYTES], struct slice footer,
                  uint8_t ret[OBJECT_DIGEST_BYTES], struct tm_err *err)
{
    TM_CLEANUP(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx == NULL)
        return tm_err_oom(err);
    if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(ctx, header, OBJECT_HEADER_BYTES) != 1 ||
        EVP_DigestUpdate(ctx, footer.data, footer.len) != 1 ||
        EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
        return tm_err_set(err, TM_E_INTERNAL, "SHA-256 failed");
    return 0;
}

/* ---- header and trailer ---- */

/*  0 magic   8 version  10 kind  12 required  16 optional  20 cipher suite  22 compression
 * 24 frame bytes  28 block bytes  32 key id  48 salt  80 nonce  96 reserved  112 XXH3-128 of 0…111
 */
void object_header_encode(const struct object_header *h, uint8_t out[OBJECT_HEADER_BYTES])
{
    memset(out, 0, OBJECT_HEADER_BYTES);
    be64_put(out, OBJECT_MAGIC);
    be16_put(out + 8, OBJECT_VERSION);
    be16_put(out + 10, (uint16_t)h->kind);
    be16_put(out + 22, h->compressed ? 1 : 0);
    be32_put(out + 24, h->frame_bytes);
    be32_put(out + 28, h->block_bytes);
    memcpy(out + 80, h->nonce, OBJECT_NONCE_BYTES);
    object_header_rehash(out);
}

void object_header_rehash(uint8_t header[OBJECT_HEADER_BYTES])
{
    object_hash(header, 112, header + 112);
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++)
        any |= bytes[i];
    return any == 0;
}

static int header_check_known(const uint8_t *in, struct tm_err *err)
{
    if (be16_get(in + 8) != OBJECT_VERSION)
        return tm_err_set(
            err, TM_E_UNSUPPORTED,
            "object format version %u is not known (only %u): a newer Tidemark wrote it",
            be16_get(in + 8), OBJECT_VERSION);
    if (be32_get(in + 12) != 0)
        return tm_err_set(err, TM_E_UNSUPPORTED,
                          "required features 0x%x are not known: a newer Tidemark wrote it",
                          be32_get(in + 12));
    if (be16_get(in + 20) != 0)
        return tm_err_set(err, TM_E_UNSUPPORTED, "cipher suite %u is not known", be16_get(in + 20));
    if (be16_get(in + 22) > 1)
        return tm_err_set(err, TM_E_UNSUPPORTED, "compression %u is not known", be16_get(in + 22));
    return 0;
}

int object_header_decode(const uint8_t in[OBJECT_HEADER_BYTES], struct object_header *ret,
                         struct tm_err *err)
{
    uint8_t hash[OBJECT_HASH_BYTES];
    if (be64_get(in) != OBJECT_MAGIC)
        return tm_err_set(err, TM_E_CORRUPT, "not a Tidemark object");
    object_hash(in, 112, hash);
    if (memcmp(hash, in + 112, OBJECT_HASH_BYTES) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "header does not match its hash");
    int r = header_check_known(in, err);
    if (r < 0)
        return r;
    struct object_header h = {
        .kind = be16_get(in + 10),
        .compressed = be16_get(in + 22) == 1,
        .frame_bytes = be32_get(in + 24),
        .block_bytes = be32_get(in + 28),
    };
    if (h.frame_bytes == 0 || h.frame_bytes > OBJECT_FRAME_BYTES_MAX || h.block_bytes == 0 ||
        h.block_bytes > OBJECT_BLOCK_MAX || h.frame_bytes % h.block_bytes != 0)
        return tm_err_set(err, TM_E_CORRUPT, "header: impossible frame or block size");
    if (!all_zero(in + 32, 48) || !all_zero(in + 96, 16))
        return tm_err_set(err, TM_E_CORRUPT, "header: bytes that must be zero are not");
    memcpy(h.nonce, in + 80, OBJECT_NONCE_BYTES);
    *ret = h;
    return 0;
}

/* 0 footer offset  8 footer bytes  12 reserved  16 digest  48 XXH3-64 of 0…47  56 magic */
void object_trailer_encode(const struct object_trailer *t, uint8_t out[OBJECT_TRAILER_BYTES])
{
    memset(out, 0, OBJECT_TRAILER_BYTES);
    be64_put(out, t->footer_offset);
    be32_put(out + 8, t->footer_bytes);
    memcpy(out + 16, t->digest, OBJECT_DIGEST_BYTES);
    be64_put(out + 48, XXH3_64bits(out, 48));
    be64_put(out + 56, OBJECT_MAGIC_END);
}

int object_trailer_decode(const uint8_t in[OBJECT_TRAILER_BYTES], struct object_trailer *ret,
                          struct tm_err *err)
{
    if (be64_get(in + 56) != OBJECT_MAGIC_END)
        return tm_err_set(err, TM_E_CORRUPT, "no trailer at its end: it is cut off, or no object");
    if (be64_get(in + 48) != XXH3_64bits(in, 48) || be32_get(in + 12) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "trailer does not match its hash");
    ret->footer_offset = be64_get(in);
    ret->footer_bytes = be32_get(in + 8);
    memcpy(ret->digest, in + 16, OBJECT_DIGEST_BYTES);
    return 0;
}

/* ---- scratch ---- */

int object_scratch_new(struct object_scratch **ret, struct tm_err *err)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return tm_err_oom(err);
    s->hasher = calloc(1, sizeof(*s->hasher));
    if (s->hasher == NULL)
        return tm_err_oom(err);
    s->hasher->state = XXH3_createState();
    if (s->hasher->state == NULL)
        return tm_err_oom(err);
    *ret = TM_TAKE(s);
    return 0;
}

void object_scratch_free(struct object_scratch *scratch)
{
    if (scratch == NULL)
        return;
    (void)ZSTD_freeCCtx(scratch->cctx);
    (void)ZSTD_freeDCtx(scratch->dctx);
    if (scratch->hasher != NULL)
        (void)XXH3_freeState(scratch->hasher->state);
    free(scratch->hasher);
    buf_release(&scratch->frame);
    buf_release(&scratch->packed);
    buf_release(&scratch->table);
    buf_release(&scratch->sections);
    buf_release(&scratch->footer);
    for (size_t i = 0; i < OBJECT_SECTIONS_MAX; i++)
        buf_release(&scratch->section_raw[i]);
    for (size_t i = 0; i < TM_ARRAY_LEN(scratch->windows); i++) {
        object_window_drop(&scratch->windows[i]);
        buf_release(&scratch->windows[i].data);
    }
    free(scratch);
}

/*
 * Level 3, the default, with tables that stay in a core's nearest caches, since matches lie near:
 *
 *   database pages   half again as fast as zstd's own table sizes, and packs 3% better (on program
 *                    files: 15% faster, 2.5% worse)
 *   log              one table is enough: 1.5 to 1.8 times as fast as zstd's own level 3, and as small
 *                    to within 1% (page images, small records with random parts, text alike)
 *
 * Other levels are zstd's own.
 */
struct zstd_setting {
    ZSTD_cParameter parameter;
    int value;
};

static size_t tune_level_3(ZSTD_CCtx *cctx, bool for_log)
{
    static const struct zstd_setting pages[] = {
        {ZSTD_c_strategy, ZSTD_dfast},
        {ZSTD_c_minMatch, 5},
        {ZSTD_c_hashLog, 14},
        {ZSTD_c_chainLog, 13},
    };
    static const struct zstd_setting log[] = {
        {ZSTD_c_strategy, ZSTD_fast},
        {ZSTD_c_minMatch, 5},
        {ZSTD_c_hashLog, 13},
    };
    const struct zstd_setting *settings = for_log ? log : pages;
    size_t count = for_log ? TM_ARRAY_LEN(log) : TM_ARRAY_LEN(pages);
    size_t z = 0;
    for (size_t i = 0; i < count && !ZSTD_isError(z); i++)
        z = ZSTD_CCtx_setParameter(cctx, settings[i].parameter, settings[i].value);
    return z;
}

int object_scratch_cctx(struct object_scratch *s, int level, bool for_log, struct tm_err *err)
{
    if (s->cctx == NULL)
        s->cctx = ZSTD_createCCtx();
    if (s->cctx == NULL)
        return tm_err_oom(err);
    if (s->level == level && s->for_log == for_log)
        return 0;
    s->level = 0;
    size_t z = ZSTD_CCtx_reset(s->cctx, ZSTD_reset_session_and_parameters);
    if (!ZSTD_isError(z))
        z = ZSTD_CCtx_setParameter(s->cctx, ZSTD_c_compressionLevel, level);
    if (!ZSTD_isError(z) && level == 3)
        z = tune_level_3(s->cctx, for_log);
    if (ZSTD_isError(z))
        return tm_err_set(err, TM_E_INTERNAL, "zstd level %d: %s", level, ZSTD_getErrorName(z));
    s->level = level;
    s->for_log = for_log;
    return 0;
}

int object_scratch_dctx(struct object_scratch *s, struct tm_err *err)
{
    if (s->dctx == NULL)
        s->dctx = ZSTD_createDCtx();
    return s->dctx == NULL ? tm_err_oom(err) : 0;
}
