/*
 * Secrets as files. Every buffer that holds one is zeroed before it is given back.
 *
 * Happy path: the record and its checksum are made, closed in the form that is wanted, and put behind
 * the line that names the form → the line says how to open what follows, the checksum is right, the
 * record is read.
 * Failure modes: no such form, damage, another key than the file's or none: told apart by the line.
 */
#include "coordinator/secrets/file.h"

#include "common/hash.h"
#include "coordinator/secrets/seal.h"
#include "proto/wire/secret.h"

#define PLAIN  "tidemark secret 1 plain\n"
#define SEALED "tidemark secret 1 systemd-creds\n"
#define KEYED  "tidemark secret 2 aes-256-gcm " /* the key's id and a line break follow */

#define KEYED_LEN (sizeof(KEYED) - 1 + SECRETS_KEY_ID + 1)

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

/* What the key is to vouch for beside the contents: the first line, whose last byte no name has, and
 * the name. */
static int keyed_label(const char *head, const char *name, struct buf *out, struct tm_err *err)
{
    int r = buf_append(out, head, KEYED_LEN, err);
    return r < 0 ? r : buf_append(out, name, strlen(name), err);
}

static int encode_keyed(const char *name, const struct secrets_key *key, struct slice body,
                        struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf label = BUF_INIT;
    char head[KEYED_LEN + 1];
    (void)snprintf(head, sizeof(head), KEYED "%s\n", key->id);
    int r = keyed_label(head, name, &label, err);
    if (r < 0 || (r = buf_append(out, head, KEYED_LEN, err)) < 0)
        return r;
    return secrets_key_close(key, buf_slice(&label), body, out, err);
}

static int encode_sealed(const char *name, const struct secret_means *means, struct slice body,
                         struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    char as[128];
    seal_name(name, as, sizeof(as));
    int r = seal_close(means->program, as, body, means->until_us, &sealed, err);
    if (r < 0 || (r = buf_append(out, SEALED, strlen(SEALED), err)) < 0)
        return r;
    return buf_append_slice(out, buf_slice(&sealed), err);
}

int secret_file_encode(const char *name, const struct secret_map *map, enum secret_form form,
                       const struct secret_means *means, struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf body = BUF_SECRET_INIT;
    int r = encode_body(name, map, &body, err);
    if (r < 0)
        return r;
    if (form == SECRET_FORM_KEY)
        return encode_keyed(name, means->key, buf_slice(&body), out, err);
    if (form == SECRET_FORM_CREDS)
        return encode_sealed(name, means, buf_slice(&body), out, err);
    r = buf_append(out, PLAIN, strlen(PLAIN), err);
    return r < 0 ? r : buf_append_slice(out, buf_slice(&body), err);
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

static int decode_keyed(const char *name, struct slice file, const struct secrets_key *key,
                        struct buf *body, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf label = BUF_INIT;
    char id[SECRETS_KEY_ID + 1];
    if (file.len < KEYED_LEN)
        return tm_err_set(err, TM_E_CORRUPT, "it is too short");
    memcpy(id, file.data + sizeof(KEYED) - 1, SECRETS_KEY_ID);
    id[SECRETS_KEY_ID] = '\0';
    for (size_t n = 0; n < SECRETS_KEY_ID; n++)
        if (hex_value(id[n]) < 0)
            return tm_err_set(err, TM_E_CORRUPT, "its first line names no key");
    if (key == NULL)
        return tm_err_set(err, TM_E_UNSUPPORTED,
                          "it is encrypted with key %s of credential '" SECRETS_KEY_NAME
                          "', and there is no such key here",
                          id);
    if (strcmp(id, key->id) != 0)
        return tm_err_set(err, TM_E_UNSUPPORTED,
                          "it is encrypted with key %s of credential '" SECRETS_KEY_NAME
                          "', and the key here is %s",
                          id, key->id);
    int r = keyed_label((const char *)file.data, name, &label, err);
    if (r < 0)
        return r;
    return secrets_key_open(key, buf_slice(&label),
                            slice_of(file.data + KEYED_LEN, file.len - KEYED_LEN), body, err);
}

int secret_file_decode(const char *name, struct slice in, const struct secret_means *means,
                       enum secret_form *ret_form, struct secret_map *ret, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf body = BUF_SECRET_INIT;
    const struct slice file = in;
    char as[128];
    int r;
    *ret_form = SECRET_FORM_PLAIN;
    if (take_head(&in, PLAIN))
        return decode_body(name, in, ret, err);
    if (take_head(&in, KEYED)) {
        *ret_form = SECRET_FORM_KEY;
        r = decode_keyed(name, file, means->key, &body, err);
        return r < 0 ? r : decode_body(name, buf_slice(&body), ret, err);
    }
    if (!take_head(&in, SEALED))
        return tm_err_set(err, TM_E_CORRUPT, "it is no secret of this version");
    *ret_form = SECRET_FORM_CREDS;
    if (means->program == NULL)
        return tm_err_set(err, TM_E_UNSUPPORTED, "it is encrypted, and there is no systemd-creds");
    seal_name(name, as, sizeof(as));
    r = seal_open(means->program, as, in, means->until_us, &body, err);
    return r < 0 ? r : decode_body(name, buf_slice(&body), ret, err);
}
