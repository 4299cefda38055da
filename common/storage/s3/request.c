/*
 * One call to the store: its URL, its body's digests, its headers and signature.
 *
 * Happy path: URL from bucket, key and query → before each attempt: keys, date, headers, signature →
 * sent. Failures: no credentials; a URL that is too long; and all that the answer says (answer.c).
 */
#include <openssl/evp.h>

#include "common/hash.h"
#include "common/storage/s3/internal.h"
#include "common/storage/s3/sign.h"

/* ---- making ---- */

void s3_call_init(struct s3_call *c, struct s3 *s3, const char *method, const char *key)
{
    *c = (struct s3_call){.s3 = s3, .url = BUF_INIT};
    store_call_init(&c->call, &s3->store, method, key);
    c->call.arg = c;
    c->call.x.answer_max = S3_ANSWER_MAX;
    (void)snprintf(c->sha256, sizeof(c->sha256), "%s", SIGN_EMPTY_SHA256);
    const struct s3_config *config = &s3->config;
    struct tm_err ignored; /* out of memory: s3_prepare finds the URL missing */
    int r = buf_printf(&c->url, &ignored, "%s://%s%s%s", config->scheme,
                       config->path_style ? "" : config->bucket, config->path_style ? "" : ".",
                       config->host);
    c->path_at = c->url.len;
    if (r == 0)
        r = buf_printf(&c->url, &ignored, "/%s", config->path_style ? config->bucket : "");
    if (r == 0 && config->path_style && key[0] != '\0')
        r = buf_append(&c->url, "/", 1, &ignored);
    if (r == 0)
        r = store_append_path(&c->url, key, &ignored);
    c->query_at = c->url.len;
    if (r < 0)
        buf_release(&c->url);
}

void s3_call_release(struct s3_call *c)
{
    store_call_release(&c->call);
    buf_release(&c->url);
}

int s3_call_query(struct s3_call *c, const char *key, const char *value, struct tm_err *err)
{
    int r = buf_printf(&c->url, err, "%c%s=", c->url.len == c->query_at ? '?' : '&', key);
    return r == 0 ? store_append_query(&c->url, value, err) : r;
}

int s3_call_body(struct s3_call *c, struct slice body, bool bulk, struct tm_err *err)
{
    uint8_t md5[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(body.data, body.len, md5, &len, EVP_md5(), NULL) != 1 || len != 16)
        return tm_err_set(err, TM_E_INTERNAL, "cannot compute an MD5");
    c->call.x.body = body;
    (void)hex_encode(md5, len, c->md5);
    (void)EVP_EncodeBlock((unsigned char *)c->md5_base64, md5, (int)len);
    if (bulk && c->s3->tls) {
        (void)snprintf(c->sha256, sizeof(c->sha256), "%s", SIGN_UNSIGNED);
        return 0;
    }
    struct sha256 digest;
    int r = sha256_of(body.data, body.len, &digest, err);
    if (r == 0)
        (void)hex_encode(digest.bytes, SHA256_LEN, c->sha256);
    return r;
}

int s3_escape(struct buf *out, const char *text, struct tm_err *err)
{
    int r = 0;
    for (const char *at = text; r == 0 && *at != '\0';) {
        size_t plain = strcspn(at, "&<>\"'");
        r = buf_append(out, at, plain, err);
        at += plain;
        if (r == 0 && *at != '\0')
            r = buf_printf(out, err, "&#%d;", *at++);
    }
    return r;
}

/* ---- signing ---- */

static int add_new_object_headers(const struct s3_call *c, struct http_exchange *x,
                                  struct tm_err *err)
{
    const struct s3_config *config = &c->s3->config;
    const struct {
        const char *name, *value;
    } headers[] = {{S3_NONCE_HEADER, c->nonce},
                   {"x-amz-storage-class", config->storage_class},
                   {"x-amz-acl", config->acl},
                   {"x-amz-server-side-encryption", config->sse},
                   {"x-amz-server-side-encryption-aws-kms-key-id", config->sse_key}};
    int r = 0;
    for (size_t n = 0; r == 0 && n < TM_ARRAY_LEN(headers); n++)
        if (headers[n].value != NULL)
            r = http_header(x, err, headers[n].name, "%s", headers[n].value);
    return r;
}

static int add_headers(struct s3_call *c, const char *date, const struct s3_keys *keys,
                       struct tm_err *err)
{
    struct http_exchange *x = &c->call.x;
    int r = http_header(x, err, "x-amz-date", "%s", date);
    if (r == 0)
        r = http_header(x, err, "x-amz-content-sha256", "%s", c->sha256);
    if (r == 0 && keys->session_token.len > 0)
        r = http_header(x, err, "x-amz-security-token", "%.*s", (int)keys->session_token.len,
                        (const char *)keys->session_token.data);
    if (r == 0 && c->md5[0] != '\0')
        r = http_header(x, err, "content-md5", "%s", c->md5_base64);
    if (r == 0 && x->body.len > 0 && strcmp(x->method, "POST") == 0)
        r = http_header(x, err, "content-type", "application/xml");
    if (r == 0 && c->answer == S3_ANSWER_RANGE)
        r = http_header(x, err, "range", "bytes=%llu-%llu", (unsigned long long)c->offset,
                        (unsigned long long)(c->offset + x->into_len - 1));
    if (r == 0 && c->creates)
        r = add_new_object_headers(c, x, err);
    const char *forbid = c->s3->config.provider->forbid_overwrite;
    if (r == 0 && c->only_new && c->s3->bucket->put != S3_CONDITIONAL_NO)
        r = http_header(x, err, "if-none-match", "*");
    if (r == 0 && c->only_new && forbid != NULL)
        r = http_header(x, err, forbid, "true");
    return r;
}

/* Everything that is sent is signed, and the host that curl will put in front of it. */
static int add_signature(struct s3_call *c, const char *date, const struct s3_keys *keys,
                         struct tm_err *err)
{
    char *url = (char *)c->url.data;
    const char *authority = strstr(url, "://") + 3;
    char host[600];
    (void)snprintf(host, sizeof(host), "%.*s", (int)(url + c->path_at - authority), authority);
    struct sign_header headers[SIGN_HEADERS_MAX] = {{"host", host}};
    size_t count = 1;
    const char *at = (const char *)c->call.x.headers.text.data;
    for (size_t n = 0; n < c->call.x.headers.count && count < SIGN_HEADERS_MAX; n++) {
        headers[count].name = at;
        headers[count].value = at + strlen(at) + 1;
        at = headers[count].value + strlen(headers[count].value) + 1;
        count++;
    }
    TM_CLEANUP(freep) char *path = strndup(url + c->path_at, c->query_at - c->path_at);
    if (path == NULL)
        return tm_err_oom(err);
    struct sign_request request = {.method = c->call.x.method,
                                   .path = path,
                                   .query = url[c->query_at] == '?' ? url + c->query_at + 1 : "",
                                   .headers = headers,
                                   .header_count = count,
                                   .payload_sha256 = c->sha256};
    struct sign_scope scope = {date, c->s3->config.region, "s3"};
    char authorization[SIGN_AUTHORIZATION_MAX];
    int r = sign_v4(&request, &scope, secret_slice(&keys->access_key),
                    secret_slice(&keys->secret_key), authorization, err);
    return r == 0 ? http_header(&c->call.x, err, "authorization", "%s", authorization) : r;
}

int s3_sign(struct store_call *call, int64_t now_real_us, struct tm_err *err)
{
    struct s3_call *c = call->arg;
    struct s3_keys keys = S3_KEYS_INIT;
    int r = credential_s3_get(c->s3->credential, &keys, err);
    if (r < 0)
        return tm_err_prefix(err, "%s", c->s3->store.place);
    char date[SIGN_DATE_MAX];
    sign_date(now_real_us, date);
    c->signed_us = now_real_us;
    c->temporary = keys.session_token.len > 0;
    c->right_region[0] = '\0';
    r = add_headers(c, date, &keys, err);
    if (r == 0)
        r = add_signature(c, date, &keys, err);
    s3_keys_release(&keys);
    return r;
}

/* ---- sending ---- */

int s3_prepare(struct store_call *call, struct tm_err *err)
{
    struct s3_call *c = call->arg;
    const char *url;
    if (c->url.data == NULL)
        return tm_err_oom(err);
    int r = buf_cstr(&c->url, &url, err);
    if (r < 0)
        return r;
    if (c->url.len >= HTTP_URL_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%s/%s: the request's URL is too long",
                          c->s3->store.place, call->name);
    call->x.url = url;
    c->second_chances = 0;
    return 0;
}

int s3_result(struct store_call *call, int result, struct tm_err *err)
{
    struct s3_call *c = call->arg;
    if (result < 0)
        return s3_explain(c, err);
    if (strcmp(call->error.code, "NoSuchBucket") == 0) { /* never what a 404 was wanted for */
        (void)store_call_error(call, err);
        return s3_explain(c, err);
    }
    if (call->x.status < 300)
        c->s3->bucket_seen = true;
    return 0;
}
