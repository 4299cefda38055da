/*
 * One call to the store: its URL, its headers and signature, and what its answer means.
 *
 * Happy path: URL from bucket, key and query → before each attempt: keys, date, headers, signature →
 * the answer is what was asked for. Failures: an error document, also inside a 200; a range or an
 * ETag that is not the one asked for; each becomes a code that passes (sent again) or does not.
 */
#include <ctype.h>
#include <openssl/evp.h>

#include "common/hash.h"
#include "common/parse.h"
#include "common/storage/s3/internal.h"
#include "common/storage/s3/sign.h"
#include "common/xml.h"

/* ---- making ---- */

void s3_call_init(struct s3_call *c, struct s3 *s3, const char *method, const char *key)
{
    *c = (struct s3_call){.s3 = s3, .url = BUF_INIT};
    store_call_init(&c->call, &s3->store, method, key);
    c->call.arg = c;
    c->call.x.answer_max = S3_ANSWER_MAX;
    (void)snprintf(c->sha256, sizeof(c->sha256), "%s", SIGN_EMPTY_SHA256);
    const struct s3_config *config = &s3->config;
    struct tm_err ignored; /* out of memory: s3_call_start finds the URL missing */
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

/* ---- what an answer says ---- */

/* Errors that will pass. `once`: perhaps, and not many attempts are spent on it. */
static const struct {
    const char *code;
    bool slow_down, once;
} passing[] = {
    {"SlowDown", true, false},
    {"SlowDownRead", true, false},
    {"SlowDownWrite", true, false},
    {"Throttling", true, false},
    {"ThrottlingException", true, false},
    {"TooManyRequests", true, false},
    {"RequestLimitExceeded", true, false},
    {"BandwidthLimitExceeded", true, false},
    {"QpsLimitExceeded", true, false},
    {"DownloadTrafficRateLimitExceeded", true, false},
    {"UploadTrafficRateLimitExceeded", true, false},
    {"ServiceUnavailable", true, false},
    {"Busy", true, false},
    {"InternalError", false, false},
    {"RequestTimeout", false, false},
    {"OperationAborted", false, false},
    {"ConditionalRequestConflict", false, false},
    {"IncompleteAnswer", false, false}, /* the last are ours: see answer_is_bad */
    {"IncompleteBody", false, true},
    {"BadDigest", false, true},
    {"XAmzContentSHA256Mismatch", false, true},
    {"WrongETag", false, true},
    {"ShortAnswer", false, true},
    {"ExpiredToken", false, true},
    {"TokenRefreshRequired", false, true},
    {"RequestTimeTooSkewed", false, true},
};

static size_t find_passing(const char *code)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(passing); n++)
        if (strcmp(passing[n].code, code) == 0)
            return n;
    return TM_ARRAY_LEN(passing);
}

struct error_reader {
    struct store_error *error;
    char region[64];
    char root[64];
    /* of a DeleteResult */
    char key[S3_KEY_MAX + 1];
    struct store_error one;
    bool fatal; /* `error` is one that does not pass */
};

static void take(char *dst, size_t size, const char *text)
{
    (void)snprintf(dst, size, "%s", text);
    for (char *at = dst; *at != '\0'; at++)
        if (iscntrl((unsigned char)*at))
            *at = ' ';
}

/* The first that does not pass is the answer; else one that does. */
static void take_deleted(struct error_reader *reader)
{
    struct store_error *one = &reader->one;
    bool fatal = find_passing(one->code) == TM_ARRAY_LEN(passing);
    if (strcmp(one->code, "NoSuchKey") != 0 && !reader->fatal &&
        (fatal || reader->error->code[0] == '\0')) {
        (void)snprintf(reader->error->code, sizeof(reader->error->code), "%s", one->code);
        (void)snprintf(reader->error->message, sizeof(reader->error->message), "'%.100s': %.50s",
                       reader->key, one->message);
        reader->fatal = fatal;
    }
    *one = (struct store_error){.code = ""};
    reader->key[0] = '\0';
}

static int on_error_end(const char *path, const char *text, void *arg, struct tm_err *err)
{
    struct error_reader *reader = arg;
    (void)err;
    struct store_error *e = reader->error;
    if (strcmp(path, "Error/Code") == 0)
        take(e->code, sizeof(e->code), text);
    else if (strcmp(path, "Error/Message") == 0)
        take(e->message, sizeof(e->message), text);
    else if (strcmp(path, "Error/RequestId") == 0)
        take(e->request_id, sizeof(e->request_id), text);
    else if (strcmp(path, "Error/Region") == 0)
        take(reader->region, sizeof(reader->region), text);
    else if (strcmp(path, "DeleteResult/Error/Key") == 0)
        take(reader->key, sizeof(reader->key), text);
    else if (strcmp(path, "DeleteResult/Error/Code") == 0)
        take(reader->one.code, sizeof(reader->one.code), text);
    else if (strcmp(path, "DeleteResult/Error/Message") == 0)
        take(reader->one.message, sizeof(reader->one.message), text);
    else if (strcmp(path, "DeleteResult/Error") == 0)
        take_deleted(reader);
    else if (strchr(path, '/') == NULL)
        take(reader->root, sizeof(reader->root), path);
    return 0;
}

static bool fail(struct store_error *ret, const char *code, const char *message)
{
    (void)snprintf(ret->code, sizeof(ret->code), "%s", code);
    (void)snprintf(ret->message, sizeof(ret->message), "%s", message);
    return true;
}

/* "bytes 0-9/443" */
static bool read_range(const char *text, uint64_t *ret_start, uint64_t *ret_total)
{
    char start[24], total[24];
    struct tm_err ignored;
    return text != NULL && sscanf(text, "bytes %20[0-9]-%*[0-9]/%20[0-9]", start, total) == 2 &&
           parse_u64(start, ret_start, &ignored) == 0 && parse_u64(total, ret_total, &ignored) == 0;
}

static bool range_is_bad(struct s3_call *c, struct store_error *ret)
{
    const struct http_exchange *x = &c->call.x;
    uint64_t start = 0;
    c->total = x->into_got; /* a 200 is the whole object */
    if (x->status == 206 &&
        !read_range(http_answer_header(x, "content-range"), &start, &c->total)) {
        start = c->offset;
        c->total = UINT64_MAX;
    }
    if (start != c->offset)
        return fail(ret, "WrongRange", "the answer holds other bytes than asked for");
    if (x->into_got < x->into_len && c->total >= c->offset + x->into_len)
        return fail(ret, "ShortAnswer", "the answer has fewer bytes than asked for");
    return false;
}

/* The ETag of what was sent in one piece is its MD5, but not when a key of the store's encrypts it. */
static bool etag_is_bad(const struct s3_call *c, struct store_error *ret)
{
    char etag[80];
    const struct http_exchange *x = &c->call.x;
    if (!s3_etag(x, etag, sizeof(etag)))
        return !c->creates && fail(ret, "WrongETag", "the answer has no ETag");
    if (s3_etag_is_md5(x, etag) && strcasecmp(etag, c->md5) != 0)
        return fail(ret, "WrongETag", "the store's checksum is not that of what was sent");
    return false;
}

static bool answer_is_bad(struct s3_call *c, const struct error_reader *reader, bool well_formed,
                          struct store_error *ret)
{
    switch (c->answer) {
    case S3_ANSWER_RANGE:
        return range_is_bad(c, ret);
    case S3_ANSWER_ETAG:
        return etag_is_bad(c, ret);
    case S3_ANSWER_COMPLETE:
        if (strcmp(reader->root, "CompleteMultipartUploadResult") == 0)
            return false;
        return strcmp(reader->root, "Error") == 0 ||
               fail(ret, "IncompleteAnswer", "the answer ends too early");
    case S3_ANSWER_DELETE:
        if (ret->code[0] != '\0')
            return true;
        /* some stores have nothing to say when all is well */
        return c->call.x.answer.len > 0 &&
               !(well_formed && strcmp(reader->root, "DeleteResult") == 0) &&
               fail(ret, "IncompleteAnswer", "the answer ends too early");
    case S3_ANSWER_ANY:
    default:
        return false;
    }
}

bool s3_read_error(const struct store_call *call, struct store_error *ret)
{
    struct s3_call *c = call->arg;
    const struct http_exchange *x = &call->x;
    *ret = (struct store_error){.code = ""};
    struct error_reader reader = {.error = ret};
    bool good = x->status >= 200 && x->status < 300;
    bool well_formed = false;
    if (x->answer.len > 0 &&
        (!good || c->answer == S3_ANSWER_COMPLETE || c->answer == S3_ANSWER_DELETE)) {
        struct tm_err ignored; /* an answer of a proxy's, say: there is its status still */
        well_formed = xml_read(buf_slice(&x->answer), on_error_end, &reader, &ignored) == 0;
    }
    static const char *const id_headers[] = {"x-amz-request-id", "x-oss-request-id",
                                             "x-cos-request-id"};
    for (size_t n = 0; n < TM_ARRAY_LEN(id_headers); n++) {
        const char *id = http_answer_header(x, id_headers[n]);
        if (ret->request_id[0] == '\0' && id != NULL)
            take(ret->request_id, sizeof(ret->request_id), id);
    }
    const char *region = http_answer_header(x, "x-amz-bucket-region");
    take(c->right_region, sizeof(c->right_region),
         reader.region[0] != '\0' ? reader.region
         : region != NULL         ? region
                                  : "");
    return good && answer_is_bad(c, &reader, well_formed, ret);
}

bool s3_passes(struct store_call *call, const struct store_error *e)
{
    struct s3_call *c = call->arg;
    const char *code = e->code;
    unsigned status = call->x.status;
    bool head = strcmp(call->x.method, "HEAD") == 0;
    int64_t off_us = store_now_us(&c->s3->store) - c->signed_us;
    /* the answer to a HEAD has no words: what they would be is guessed from what we know */
    if (head && status == 403 && (off_us > S3_SKEW_NOTICED_US || off_us < -S3_SKEW_NOTICED_US))
        code = "RequestTimeTooSkewed";
    else if (head && (status == 400 || status == 403) && c->temporary)
        code = "ExpiredToken";
    size_t n = find_passing(code);
    if (n == TM_ARRAY_LEN(passing))
        return false;
    if (passing[n].slow_down && status != 429 && status != 503) /* those it has seen itself */
        http_slow_down(c->s3->store.http);
    if (!passing[n].once)
        return true;
    if (c->second_chances == S3_SECOND_CHANCES)
        return false;
    c->second_chances++;
    if (strcmp(code, "ExpiredToken") == 0 || strcmp(code, "TokenRefreshRequired") == 0)
        credential_reject(c->s3->credential);
    return true;
}

/* ---- ETags ---- */

bool s3_etag(const struct http_exchange *x, char *ret_etag, size_t size)
{
    const char *text = http_answer_header(x, "etag");
    if (text == NULL)
        return false;
    if (strncmp(text, "W/", 2) == 0)
        text += 2;
    text += *text == '"';
    size_t len = strcspn(text, "\"");
    if (len == 0 || len >= size)
        return false;
    (void)snprintf(ret_etag, size, "%.*s", (int)len, text);
    return true;
}

bool s3_etag_is_md5(const struct http_exchange *x, const char *etag)
{
    static const char *const headers[] = {"x-amz-server-side-encryption",
                                          "x-oss-server-side-encryption",
                                          "x-cos-server-side-encryption"};
    for (size_t n = 0; n < TM_ARRAY_LEN(headers); n++) {
        const char *how = http_answer_header(x, headers[n]);
        if (how != NULL && strcmp(how, "AES256") != 0)
            return false;
    }
    if (http_answer_header(x, "x-amz-server-side-encryption-customer-algorithm") != NULL)
        return false;
    size_t len = strspn(etag, "0123456789abcdefABCDEF");
    return len == 32 && etag[len] == '\0';
}

/* ---- sending ---- */

/* The store's words say what went wrong; these say what to do. */
static int explain(const struct s3_call *c, struct tm_err *err)
{
    const struct s3_config *config = &c->s3->config;
    const struct store_error *e = &c->call.error;
    unsigned status = c->call.x.status;
    char said[TM_ERR_MSG_MAX];
    if (status == 0)
        return -(int)err->code; /* no answer */
    (void)snprintf(said, sizeof(said), "%s", err->msg);
    if (status >= 300 && c->right_region[0] != '\0' && strcmp(c->right_region, config->region) != 0)
        return tm_err_set(err, TM_E_INVALID,
                          "%s: the bucket is in region '%s', not in '%s': write region=%s (%s)",
                          c->s3->store.place, c->right_region, config->region, c->right_region,
                          said);
    if (strcmp(e->code, "NoSuchBucket") == 0)
        return tm_err_set(err, TM_E_INVALID, "%s: there is no such bucket (%s)", c->s3->store.place,
                          said);
    if (status >= 300 && status < 400)
        return tm_err_set(err, TM_E_INVALID,
                          "%s; redirects are not followed: correct endpoint or region", said);
    if (status == 401 || status == 403)
        return tm_err_set(err, TM_E_PERMISSION, "%s; keys from %s", said,
                          credential_source(c->s3->credential));
    if (status < 300 && find_passing(e->code) == TM_ARRAY_LEN(passing) && e->code[0] != '\0')
        return tm_err_set(err, strcmp(e->code, "AccessDenied") == 0 ? TM_E_PERMISSION : TM_E_IO,
                          "%s", said);
    return -(int)err->code;
}

int s3_call_start(struct s3_call *c, struct tm_err *err)
{
    const char *url;
    if (c->url.data == NULL)
        return tm_err_oom(err);
    int r = buf_cstr(&c->url, &url, err);
    if (r < 0)
        return r;
    if (c->url.len >= HTTP_URL_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%s/%s: the request's URL is too long",
                          c->s3->store.place, c->call.name);
    c->call.x.url = url;
    c->second_chances = 0;
    c->call.bulk_ms = (unsigned)((c->call.x.body.len + c->call.x.into_len) / S3_SLOWEST_PER_MS);
    store_call_start(&c->call);
    return 0;
}

int s3_call_wait(struct s3_call *c, struct tm_err *err)
{
    int r = store_call_wait(&c->call, err);
    if (r < 0)
        return explain(c, err);
    if (strcmp(c->call.error.code, "NoSuchBucket") == 0) { /* never what a 404 was wanted for */
        (void)store_call_error(&c->call, err);
        return explain(c, err);
    }
    if (c->call.x.status < 300)
        c->s3->bucket_seen = true;
    return 0;
}

int s3_call_run(struct s3_call *c, struct tm_err *err)
{
    int r = s3_call_start(c, err);
    return r == 0 ? s3_call_wait(c, err) : r;
}
