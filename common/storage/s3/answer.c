/*
 * What an answer of the store means.
 *
 * Happy path: the answer is what was asked for. Failures: an error document, also inside a 200; a
 * range or an ETag that is not the one asked for; a new object that was to be encrypted, and no word
 * of it; each becomes a code that passes (the request is sent again) or does not.
 */
#include <ctype.h>

#include "common/parse.h"
#include "common/storage/s3/internal.h"
#include "common/xml.h"

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
    {"IncompleteAnswer", false, false}, /* some are ours: see answer_is_bad */
    {"ShortAnswer", false, false},      /* as a connection that ends inside the answer */
    {"IncompleteBody", false, true},
    {"BadDigest", false, true},
    {"XAmzContentSHA256Mismatch", false, true},
    {"WrongETag", false, true},
    {"IncompleteList", false, true},
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
    if (one->code[0] == '\0')
        (void)snprintf(one->code, sizeof(one->code), "ErrorWithoutCode");
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

static const char *const encryption_headers[] = {
    "x-amz-server-side-encryption", "x-oss-server-side-encryption", "x-cos-server-side-encryption",
    "x-obs-server-side-encryption"};

/* Stores confirm an encryption that was asked for. Those that know none take the header and store
 * the bytes as they are. */
static bool is_not_encrypted(const struct s3_call *c, struct store_error *ret)
{
    if (!c->creates || c->s3->config.sse == NULL)
        return false;
    for (size_t n = 0; n < TM_ARRAY_LEN(encryption_headers); n++)
        if (http_answer_header(&c->call.x, encryption_headers[n]) != NULL)
            return false;
    (void)fail(ret, S3_CODE_NOT_ENCRYPTED, "");
    (void)snprintf(ret->message, sizeof(ret->message),
                   "the store does not confirm that it encrypts as sse=%s asks", c->s3->config.sse);
    return true;
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
    if (is_not_encrypted(c, ret))
        return true;
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
    case S3_ANSWER_LIST:
        if (strcmp(reader->root, "Error") == 0)
            return true;
        return !well_formed && fail(ret, "IncompleteList", "the list is not well formed XML");
    case S3_ANSWER_ANY:
    default:
        return false;
    }
}

const char *s3_request_id(const struct http_exchange *x)
{
    static const char *const headers[] = {"x-amz-request-id", "x-oss-request-id",
                                          "x-cos-request-id", "x-obs-request-id",
                                          "x-nos-request-id", "x-trans-id"};
    const char *id = NULL;
    for (size_t n = 0; id == NULL && n < TM_ARRAY_LEN(headers); n++)
        id = http_answer_header(x, headers[n]);
    return id;
}

/* In words, where an answer has them; a HEAD's has none, see s3_head. */
bool s3_says_absent(const struct store_call *call)
{
    const struct s3_call *c = call->arg;
    const char *method = call->x.method;
    if (c->asks_feature && s3_request_id(&call->x) != NULL)
        return true;
    return strncmp(call->error.code, "NoSuch", 6) == 0 || strcmp(method, "HEAD") == 0 ||
           (strcmp(method, "GET") != 0 && s3_request_id(&call->x) != NULL);
}

bool s3_read_error(const struct store_call *call, struct store_error *ret)
{
    struct s3_call *c = call->arg;
    const struct http_exchange *x = &call->x;
    *ret = (struct store_error){.code = ""};
    struct error_reader reader = {.error = ret};
    bool good = x->status >= 200 && x->status < 300;
    bool well_formed = false;
    if (x->answer.len > 0 && (!good || c->answer == S3_ANSWER_COMPLETE ||
                              c->answer == S3_ANSWER_DELETE || c->answer == S3_ANSWER_LIST)) {
        struct tm_err ignored; /* an answer of a proxy's, say: there is its status still */
        well_formed = xml_read(buf_slice(&x->answer), on_error_end, &reader, &ignored) == 0;
    }
    const char *id = s3_request_id(x);
    if (ret->request_id[0] == '\0' && id != NULL)
        take(ret->request_id, sizeof(ret->request_id), id);
    const char *region = http_answer_header(x, "x-amz-bucket-region");
    take(c->right_region, sizeof(c->right_region),
         reader.region[0] != '\0' ? reader.region
         : region != NULL         ? region
                                  : "");
    return good && answer_is_bad(c, &reader, well_formed, ret);
}

/* Keys and clock: what does not pass at once does not pass. What damages bodies on their way does. */
static bool is_about_us(const char *code)
{
    return strcmp(code, "ExpiredToken") == 0 || strcmp(code, "TokenRefreshRequired") == 0 ||
           strcmp(code, "RequestTimeTooSkewed") == 0;
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
    if (c->second_chances == S3_SECOND_CHANCES) {
        call->spent = !is_about_us(code);
        return call->spent;
    }
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
    for (size_t n = 0; n < TM_ARRAY_LEN(encryption_headers); n++) {
        const char *how = http_answer_header(x, encryption_headers[n]);
        if (how != NULL && strcmp(how, "AES256") != 0)
            return false;
    }
    if (http_answer_header(x, "x-amz-server-side-encryption-customer-algorithm") != NULL)
        return false;
    size_t len = strspn(etag, "0123456789abcdefABCDEF");
    return len == 32 && etag[len] == '\0';
}

/* ---- words for people ---- */

/* Who we are, not what we asked for: a 400 of these is mended by other credentials. */
static bool refuses_credentials(unsigned status, const char *code)
{
    return status == 401 || status == 403 || strcmp(code, "ExpiredToken") == 0 ||
           strcmp(code, "InvalidToken") == 0 || strcmp(code, "TokenRefreshRequired") == 0;
}

/* The store's words say what went wrong; these say what to do. */
int s3_explain(const struct s3_call *c, struct tm_err *err)
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
    /* Ceph's word for a session token that it cannot read, before it looks at anything else */
    bool token = c->temporary && !c->s3->bucket_seen && strcmp(e->code, "InvalidArgument") == 0;
    if (status >= 300 && (token || refuses_credentials(status, e->code)))
        return tm_err_set(err, TM_E_PERMISSION, "%s; keys from %s", said,
                          credential_source(c->s3->credential));
    if (strcmp(e->code, S3_CODE_NOT_ENCRYPTED) == 0)
        return tm_err_set(err, TM_E_UNSUPPORTED, "%s", said);
    if (status < 300 && find_passing(e->code) == TM_ARRAY_LEN(passing) && e->code[0] != '\0')
        return tm_err_set(err, strcmp(e->code, "AccessDenied") == 0 ? TM_E_PERMISSION : TM_E_IO,
                          "%s", said);
    return -(int)err->code;
}
