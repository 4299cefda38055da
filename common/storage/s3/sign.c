/*
 * Signature V4: canonical request → string to sign → a chain of HMACs over date, region, service →
 * signature. Failures: more headers or parameters than there is room for, and libcrypto's.
 */
#include "common/storage/s3/sign.h"

#include <ctype.h>

#include "common/hash.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

void sign_date(int64_t real_us, char ret_date[SIGN_DATE_MAX])
{
    time_t seconds = (time_t)(real_us / 1000000);
    struct tm tm = {0};
    (void)gmtime_r(&seconds, &tm);
    (void)strftime(ret_date, SIGN_DATE_MAX, "%Y%m%dT%H%M%SZ", &tm);
}

/* ---- canonical form ---- */

static int append_text(struct buf *out, const char *text, struct tm_err *err)
{
    return buf_append(out, text, strlen(text), err);
}

/* By name, then by value: what "a=1" < "a=2" and "a=1" < "a-b=1" ask for. */
static int param_cmp(const void *a, const void *b)
{
    const struct slice *left = a;
    const struct slice *right = b;
    const uint8_t *left_equals = memchr(left->data, '=', left->len);
    const uint8_t *right_equals = memchr(right->data, '=', right->len);
    struct slice left_name =
        slice_of(left->data, left_equals ? (size_t)(left_equals - left->data) : left->len);
    struct slice right_name =
        slice_of(right->data, right_equals ? (size_t)(right_equals - right->data) : right->len);
    int c = slice_cmp(left_name, right_name);
    return c != 0 ? c : slice_cmp(*left, *right);
}

static int append_query(struct buf *out, const char *query, struct tm_err *err)
{
    struct slice params[SIGN_PARAMS_MAX];
    size_t count = 0;
    for (const char *at = query; *at != '\0';) {
        size_t len = strcspn(at, "&");
        if (count == SIGN_PARAMS_MAX)
            return tm_err_set(err, TM_E_LIMIT, "more than %d query parameters to sign",
                              SIGN_PARAMS_MAX);
        params[count++] = slice_of(at, len);
        at += len;
        at += *at == '&';
    }
    qsort(params, count, sizeof(params[0]), param_cmp);
    int r = 0;
    for (size_t n = 0; r == 0 && n < count; n++) {
        r = buf_append(out, "&", n > 0, err);
        if (r == 0)
            r = buf_append_slice(out, params[n], err);
        if (r == 0 && memchr(params[n].data, '=', params[n].len) == NULL)
            r = buf_append(out, "=", 1, err);
    }
    return r;
}

/* Outer spaces go, inner runs of them become one. */
static int append_value(struct buf *out, const char *value, struct tm_err *err)
{
    int r = 0;
    bool first = true;
    for (const char *at = value; r == 0;) {
        at += strspn(at, " \t");
        size_t len = strcspn(at, " \t");
        if (len == 0)
            break;
        r = buf_append(out, " ", !first, err);
        if (r == 0)
            r = buf_append(out, at, len, err);
        at += len;
        first = false;
    }
    return r;
}

/* Same names stay in the order given: their values are joined. */
static int header_cmp(const void *a, const void *b)
{
    const struct sign_header *left = *(const struct sign_header *const *)a;
    const struct sign_header *right = *(const struct sign_header *const *)b;
    int c = strcmp(left->name, right->name);
    return c != 0 ? c : (left > right) - (left < right);
}

static int append_headers(const struct sign_request *request, struct buf *lines, struct buf *names,
                          struct tm_err *err)
{
    const struct sign_header *sorted[SIGN_HEADERS_MAX];
    size_t count = request->header_count;
    if (count > SIGN_HEADERS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d headers to sign", SIGN_HEADERS_MAX);
    for (size_t n = 0; n < count; n++)
        sorted[n] = &request->headers[n];
    qsort(sorted, count, sizeof(sorted[0]), header_cmp);
    int r = 0;
    for (size_t n = 0; r == 0 && n < count; n++) {
        bool again = n > 0 && strcmp(sorted[n - 1]->name, sorted[n]->name) == 0;
        r = again ? append_text(lines, ",", err)
                  : buf_printf(lines, err, "%s%s:", n > 0 ? "\n" : "", sorted[n]->name);
        if (r == 0)
            r = append_value(lines, sorted[n]->value, err);
        if (r == 0 && !again)
            r = buf_printf(names, err, "%s%s", n > 0 ? ";" : "", sorted[n]->name);
    }
    return r;
}

int sign_canonical(const struct sign_request *request, struct buf *ret_canonical,
                   struct buf *ret_names, struct tm_err *err)
{
    struct buf *out = ret_canonical;
    int r = buf_printf(out, err, "%s\n%s\n", request->method, request->path);
    if (r == 0)
        r = append_query(out, request->query, err);
    if (r == 0)
        r = append_text(out, "\n", err);
    if (r == 0)
        r = append_headers(request, out, ret_names, err);
    if (r == 0)
        r = append_text(out, "\n\n", err);
    if (r == 0)
        r = buf_append_slice(out, buf_slice(ret_names), err);
    return r == 0 ? buf_printf(out, err, "\n%s", request->payload_sha256) : r;
}

/* ---- the signature ---- */

static int hmac(struct slice key, struct slice data, struct sha256 *ret, struct tm_err *err)
{
    return hmac_sha256(key, &data, 1, ret, err);
}

static int signing_key(const struct sign_scope *scope, struct slice secret_key, struct sha256 *ret,
                       struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf first = BUF_INIT;
    int r = buf_reserve(&first, 4 + secret_key.len, err); /* it must not move: no copy stays */
    if (r == 0)
        r = append_text(&first, "AWS4", err);
    if (r == 0)
        r = buf_append_slice(&first, secret_key, err);
    struct sha256 key;
    if (r == 0)
        r = hmac(buf_slice(&first), slice_of(scope->date, 8), &key, err);
    if (first.data != NULL)
        explicit_bzero(first.data, first.len);
    const char *const parts[] = {scope->region, scope->service, "aws4_request"};
    for (size_t n = 0; r == 0 && n < TM_ARRAY_LEN(parts); n++) {
        struct sha256 next;
        r = hmac(slice_of(key.bytes, SHA256_LEN), slice_str(parts[n]), &next, err);
        key = next;
    }
    if (r == 0)
        *ret = key;
    explicit_bzero(&key, sizeof(key));
    return r;
}

int sign_v4(const struct sign_request *request, const struct sign_scope *scope,
            struct slice access_key, struct slice secret_key,
            char ret_authorization[SIGN_AUTHORIZATION_MAX], struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf canonical = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf names = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf to_sign = BUF_INIT;
    int r = sign_canonical(request, &canonical, &names, err);
    struct sha256 digest;
    if (r == 0)
        r = sha256_of(canonical.data, canonical.len, &digest, err);
    if (r < 0)
        return r;
    char hex[2 * SHA256_LEN + 1];
    r = buf_printf(&to_sign, err, ALGORITHM "\n%s\n%.8s/%s/%s/aws4_request\n%s", scope->date,
                   scope->date, scope->region, scope->service,
                   hex_encode(digest.bytes, SHA256_LEN, hex));
    struct sha256 key;
    if (r == 0)
        r = signing_key(scope, secret_key, &key, err);
    if (r < 0)
        return r;
    r = hmac(slice_of(key.bytes, SHA256_LEN), buf_slice(&to_sign), &digest, err);
    explicit_bzero(&key, sizeof(key));
    if (r < 0)
        return r;
    int len = snprintf(ret_authorization, SIGN_AUTHORIZATION_MAX,
                       ALGORITHM " Credential=%.*s/%.8s/%s/%s/aws4_request, SignedHeaders=%.*s, "
                                 "Signature=%s",
                       (int)access_key.len, (const char *)access_key.data, scope->date,
                       scope->region, scope->service, (int)names.len, (const char *)names.data,
                       hex_encode(digest.bytes, SHA256_LEN, hex));
    if (len < 0 || len >= SIGN_AUTHORIZATION_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the access key is too long to sign with");
    return 0;
}
