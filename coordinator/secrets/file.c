/* Secrets as files. Every buffer that holds one is zeroed before it is given back. */
#include "coordinator/secrets/file.h"

#include "common/hash.h"
#include "coordinator/secrets/seal.h"
#include "proto/wire/secret.h"

#define PLAIN  "tidemark secret 1 plain\n"
#define SEALED "tidemark secret 1 systemd-creds\n"

#define SECRET_RECORD_FIELDS(X, T) X(T, list, pairs, "p", REQ, 0, msg_pair, WIRE_PAIRS_MAX)
_Static_assert(WIRE_PAIRS_MAX == SECRET_MAP_MAX, "a secret fits into an assignment");
CODEC_DECLARE(secret_record, SECRET_RECORD_FIELDS);
CODEC_DEFINE(secret_record, "secret", SECRET_RECORD_FIELDS);

static void seal_name(const char *name, char *text, size_t size)
{
    (void)snprintf(text, size, "tidemark-secret-%s", name);
}

/* Checksum and record. */
static int encode_body(const char *name, const struct secret_map *map, struct buf *out,
                       struct tm_err *err)
{
    struct msg_pair pairs[WIRE_PAIRS_MAX];
    struct msg_secret secret;
    TM_CLEANUP(buf_release) struct buf body = BUF_SECRET_INIT;
    msg_secret_of(name, map, pairs, &secret);
    const struct secret_record record = {.pairs = pairs, .pairs_count = secret.pairs_count};
    int r = codec_encode(&secret_record_codec, &record, CODEC_MINOR_ALL, &body, err);
    if (r < 0)
        return r;
    struct xxh3_128 sum = xxh3_128_of(body.data, body.len);
    r = buf_append(out, sum.bytes, sizeof(sum.bytes), err);
    return r < 0 ? r : buf_append_slice(out, buf_slice(&body), err);
}

int secret_file_encode(const char *name, const struct secret_map *map, const char *program,
                       struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf body = BUF_SECRET_INIT;
    TM_CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    char as[128];
    const char *head = program != NULL ? SEALED : PLAIN;
    int r = encode_body(name, map, &body, err);
    if (r < 0 || (r = buf_append(out, head, strlen(head), err)) < 0)
        return r;
    if (program == NULL)
        return buf_append_slice(out, buf_slice(&body), err);
    seal_name(name, as, sizeof(as));
    r = seal_close(program, as, buf_slice(&body), &sealed, err);
    return r < 0 ? r : buf_append_slice(out, buf_slice(&sealed), err);
}

static int decode_body(const char *name, struct slice in, struct secret_map *ret,
                       struct tm_err *err)
{
    struct xxh3_128 sum;
    struct xxh3_128 stored;
    struct secret_record record;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {.wipe = true};
    if (in.len < sizeof(stored.bytes))
        return tm_err_set(err, TM_E_CORRUPT, "it is too short");
    memcpy(stored.bytes, in.data, sizeof(stored.bytes));
    in = slice_of(in.data + sizeof(stored.bytes), in.len - sizeof(stored.bytes));
    sum = xxh3_128_of(in.data, in.len);
    if (!xxh3_128_eq(&sum, &stored))
        return tm_err_set(err, TM_E_CORRUPT, "its checksum is not that of its contents");
    int r = codec_decode(&secret_record_codec, in, &arena, &record, err);
    if (r < 0)
        return r;
    struct msg_secret secret = {.pairs = record.pairs, .pairs_count = record.pairs_count};
    (void)snprintf(secret.name, sizeof(secret.name), "%s", name);
    return msg_secret_to(&secret, ret, err);
}

static bool take_head(struct slice *in, const char *head)
{
    size_t len = strlen(head);
    if (in->len < len || memcmp(in->data, head, len) != 0)
        return false;
    *in = slice_of(in->data + len, in->len - len);
    return true;
}

int secret_file_decode(const char *name, struct slice in, const char *program, bool *ret_encrypted,
                       struct secret_map *ret, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf body = BUF_SECRET_INIT;
    char as[128];
    *ret_encrypted = false;
    if (take_head(&in, PLAIN))
        return decode_body(name, in, ret, err);
    if (!take_head(&in, SEALED))
        return tm_err_set(err, TM_E_CORRUPT, "it is no secret of this version");
    *ret_encrypted = true;
    if (program == NULL)
        return tm_err_set(err, TM_E_UNSUPPORTED, "it is encrypted, and there is no systemd-creds");
    seal_name(name, as, sizeof(as));
    int r = seal_open(program, as, in, &body, err);
    return r < 0 ? r : decode_body(name, buf_slice(&body), ret, err);
}
