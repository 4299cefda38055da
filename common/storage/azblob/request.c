/*
 * One call to the service: its URL, its headers and signature, and what its answer means.
 *
 * Happy path: URL from account, container, key and query → before each attempt: token, date, headers,
 * signature (or the SAS behind the URL) → the answer is what was asked for. Failures: an error code
 * in header or document; a range or an MD5 that is not the one expected; each passes (and is sent
 * again) or does not. A token that has ended, or a clock that was wrong, gets one more attempt.
 */
#include "common/clock.h"
#include "common/parse.h"
#include "common/storage/azblob/internal.h"
#include "common/xml.h"

#define SKEW_NOTICED_US (240 * USEC_PER_SEC) /* the service bears 15 minutes */

/* ---- making ---- */

void azblob_call_init(struct azblob_call *c, struct azblob *az, const char *method, const char *key)
{
    *c = (struct azblob_call){.az = az};
    store_call_init(&c->call, &az->store, method, key);
    c->call.arg = c;
    c->call.x.answer_max = XML_BYTES_MAX;
    const struct azblob_config *config = &az->config;
    struct tm_err ignored; /* out of memory: azblob_prepare finds the URL missing */
    int r = buf_printf(&c->url, &ignored, "%s://%s", config->scheme, config->host);
    c->path_at = c->url.len;
    if (r == 0)
        r = buf_printf(&c->url, &ignored, "%s/%s%s", config->base, config->container,
                       key[0] != '\0' ? "/" : "");
    if (r == 0)
        r = store_append_path(&c->url, key, &ignored);
    c->query_at = c->url.len;
    if (r < 0)
        buf_release(&c->url);
}

static void wipe(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->cap);
    buf_release(b);
}

void azblob_call_release(struct azblob_call *c)
{
    store_call_release(&c->call);
    buf_release(&c->url);
    wipe(&c->full);
}

int azblob_call_query(struct azblob_call *c, const char *key, const char *value, struct tm_err *err)
{
    int r = buf_printf(&c->url, err, "%c%s=", c->url.len == c->query_at ? '?' : '&', key);
    return r == 0 ? store_append_query(&c->url, value, err) : r;
}

int azblob_call_body(struct azblob_call *c, struct slice body, const char *content_type,
                     struct tm_err *err)
{
    c->call.x.body = body;
    c->content_type = content_type;
    c->answer = AZBLOB_ANSWER_MD5;
    return azblob_md5(body, c->md5, err);
}

void azblob_key(const struct azblob *az, const char *name, char *ret_key)
{
    (void)snprintf(ret_key, AZBLOB_KEY_MAX + 1, "%s%s", az->config.prefix, name);
}

/* ---- signing ---- */

static int add_new_object_headers(struct azblob_call *c, struct tm_err *err)
{
    struct http_exchange *x = &c->call.x;
    int r = http_header(x, err, "if-none-match", "*");
    if (r == 0)
        r = http_header(x, err, AZBLOB_META, "%s", c->nonce);
    if (r == 0 && c->whole)
        r = http_header(x, err, "x-ms-blob-type", "BlockBlob");
    if (r == 0 && c->az->config.tier != NULL)
        r = http_header(x, err, "x-ms-access-tier", "%s", c->az->config.tier);
    return r;
}

static int add_headers(struct azblob_call *c, int64_t now_us, struct tm_err *err)
{
    char date[AZBLOB_DATE_MAX];
    struct http_exchange *x = &c->call.x;
    int r = http_header(x, err, "x-ms-date", "%s", azblob_date(now_us, date));
    if (r == 0)
        r = http_header(x, err, "x-ms-version", AZBLOB_VERSION);
    if (r == 0 && c->content_type != NULL)
        r = http_header(x, err, "content-type", "%s", c->content_type);
    if (r == 0 && c->md5[0] != '\0')
        r = http_header(x, err, "content-md5", "%s", c->md5);
    if (r == 0 && c->answer == AZBLOB_ANSWER_RANGE)
        r = http_header(x, err, "range", "bytes=%llu-%llu", (unsigned long long)c->offset,
                        (unsigned long long)(c->offset + x->into_len - 1));
    if (r == 0 && c->removes)
        r = http_header(x, err, "x-ms-delete-snapshots", "include");
    return r == 0 && c->nonce != NULL ? add_new_object_headers(c, err) : r;
}

int azblob_authorize(struct azblob *az, const struct azure_token *token, struct http_exchange *x,
                     const char *path, const char *query, struct tm_err *err)
{
    if (token->how == AZURE_SAS)
        return 0;
    if (token->how == AZURE_BEARER)
        return http_header(x, err, "authorization", "Bearer %.*s", (int)token->value.len,
                           (const char *)token->value.data);
    struct azblob_request request = {.method = x->method,
                                     .account = az->config.account,
                                     .path = path,
                                     .query = query,
                                     .headers = &x->headers,
                                     .content_length = x->body.len};
    char authorization[AZBLOB_AUTHORIZATION_MAX];
    int r = azblob_authorization(&request, secret_slice(&token->value), authorization, err);
    return r == 0 ? http_header(x, err, "authorization", "%s", authorization) : r;
}

/* The URL as it is sent. */
static int set_url(struct azblob_call *c, const struct azure_token *token, struct tm_err *err)
{
    bool sas = token->how == AZURE_SAS;
    c->full.len = 0;
    int r = buf_reserve(&c->full, c->url.len + token->value.len + 2, err); /* leaves no copy */
    if (r == 0)
        r = buf_append_slice(&c->full, buf_slice(&c->url), err);
    if (r == 0 && sas)
        r = buf_append(&c->full, c->url.len == c->query_at ? "?" : "&", 1, err);
    if (r == 0 && sas)
        r = buf_append_slice(&c->full, secret_slice(&token->value), err);
    if (r == 0)
        r = buf_cstr(&c->full, &c->call.x.url, err);
    if (r == 0 && c->full.len >= HTTP_URL_MAX)
        r = tm_err_set(err, TM_E_LIMIT, "the request's URL is too long");
    return r;
}

static int sign_with(struct azblob_call *c, const struct azure_token *token, int64_t now_us,
                     struct tm_err *err)
{
    const char *url = "";
    int r = add_headers(c, now_us, err);
    if (r == 0)
        r = buf_cstr(&c->url, &url, err);
    if (r < 0)
        return r;
    TM_CLEANUP(freep) char *path = strndup(url + c->path_at, c->query_at - c->path_at);
    if (path == NULL)
        return tm_err_oom(err);
    const char *query = url[c->query_at] == '?' ? url + c->query_at + 1 : "";
    r = azblob_authorize(c->az, token, &c->call.x, path, query, err);
    return r == 0 ? set_url(c, token, err) : r;
}

int azblob_sign(struct store_call *call, int64_t now_real_us, struct tm_err *err)
{
    struct azblob_call *c = call->arg;
    TM_CLEANUP(azure_token_release) struct azure_token token = AZURE_TOKEN_INIT;
    c->signed_us = now_real_us;
    int r = credential_azure_get(c->az->credential, &token, err);
    c->how = token.how;
    if (r == 0)
        r = sign_with(c, &token, now_real_us, err);
    return r < 0 ? tm_err_prefix(err, "%s", c->az->store.place) : 0;
}

/* ---- what an answer says ---- */

#define OWN_INCOMPLETE "IncompleteAnswer"
#define OWN_WRONG_MD5  "WrongMd5"

static void own_error(struct store_error *e, const char *code, const char *message)
{
    (void)snprintf(e->code, sizeof(e->code), "%s", code);
    (void)snprintf(e->message, sizeof(e->message), "%s", message);
}

/* "bytes 0-9/100"; of nothing, some say "bytes 10-9/10" */
static bool read_range(const char *text, uint64_t *ret_from, uint64_t *ret_total)
{
    unsigned long long from, to, total;
    int used = 0;
    if (text == NULL || sscanf(text, "bytes %llu-%llu/%llu%n", &from, &to, &total, &used) != 3 ||
        text[used] != '\0')
        return false;
    *ret_from = from;
    *ret_total = total;
    return true;
}

static bool range_is_bad(struct azblob_call *c, struct store_error *ret)
{
    const struct http_exchange *x = &c->call.x;
    uint64_t from = 0;
    c->total = x->into_got;
    if (x->status == 206 && !read_range(http_answer_header(x, "content-range"), &from, &c->total)) {
        own_error(ret, OWN_INCOMPLETE, "no content-range");
        return true;
    }
    uint64_t there = c->total > c->offset ? c->total - c->offset : 0;
    if (from == (x->status == 206 ? c->offset : 0) && (x->status == 206 || c->offset == 0) &&
        x->into_got == TM_MIN(there, (uint64_t)x->into_len))
        return false;
    own_error(ret, OWN_INCOMPLETE, "not the range that was asked for");
    return true;
}

static bool md5_is_wrong(const struct azblob_call *c, struct store_error *ret)
{
    const char *answered = http_answer_header(&c->call.x, "content-md5");
    if (answered == NULL || strcmp(answered, c->md5) == 0)
        return false;
    own_error(ret, OWN_WRONG_MD5, "the service got other bytes than were sent");
    return true;
}

/* The first line, and nothing that looks like a signature: the service's words are passed on. */
static void clean_message(char *message)
{
    message[strcspn(message, "\r\n")] = '\0';
    if (strstr(message, "sig=") != NULL || strstr(message, "Bearer ") != NULL)
        message[0] = '\0';
}

bool azblob_read_error(const struct store_call *call, struct store_error *ret)
{
    struct azblob_call *c = call->arg;
    const struct http_exchange *x = &call->x;
    const char *id = http_answer_header(x, "x-ms-request-id");
    (void)snprintf(ret->request_id, sizeof(ret->request_id), "%s", id != NULL ? id : "");
    if (x->status >= 200 && x->status < 300)
        return c->answer == AZBLOB_ANSWER_RANGE ? range_is_bad(c, ret)
               : c->answer == AZBLOB_ANSWER_MD5 ? md5_is_wrong(c, ret)
                                                : false;
    const char *code = http_answer_header(x, "x-ms-error-code");
    if (code != NULL)
        (void)snprintf(ret->code, sizeof(ret->code), "%s", code);
    else
        (void)xml_text(buf_slice(&x->answer), "Error/Code", ret->code, sizeof(ret->code));
    (void)xml_text(buf_slice(&x->answer), "Error/Message", ret->message, sizeof(ret->message));
    clean_message(ret->message);
    return false;
}

static bool gets_second_chance(struct azblob_call *c)
{
    bool refused = c->call.x.status == 401 || c->call.x.status == 403;
    int64_t moved_us = store_now_us(&c->az->store) - c->signed_us;
    bool other_time = moved_us > SKEW_NOTICED_US || moved_us < -SKEW_NOTICED_US;
    if (c->second_chance || !refused)
        return false;
    if (c->how == AZURE_BEARER && strncmp(c->call.error.code, "Authorization", 13) != 0)
        credential_reject(c->az->credential);
    else if (c->how != AZURE_SHARED_KEY || !other_time)
        return false;
    c->second_chance = true;
    return true;
}

bool azblob_passes(struct store_call *call, const struct store_error *e)
{
    static const char *const passing[] = {"ServerBusy",  "OperationTimedOut", "InternalError",
                                          "Md5Mismatch", OWN_INCOMPLETE,      OWN_WRONG_MD5};
    for (size_t n = 0; n < TM_ARRAY_LEN(passing); n++)
        if (strcmp(e->code, passing[n]) == 0)
            return true;
    return gets_second_chance(call->arg);
}

/* Other codes speak of accounts and rights. A HEAD has no body, and by the service's gateways no code
 * at times; the id is of the service's making. */
bool azblob_says_absent(const struct store_call *call)
{
    const struct store_error *e = &call->error;
    if (e->code[0] == '\0')
        return strcmp(call->x.method, "HEAD") == 0 && e->request_id[0] != '\0';
    return strcmp(e->code, "BlobNotFound") == 0 || strcmp(e->code, "ContainerNotFound") == 0;
}

/* ---- sending ---- */

/* The field of a SAS that says when it ends, decoded; "" = it has none. */
static void sas_end(struct slice sas, char *ret_end, size_t size)
{
    const char *at = (const char *)sas.data;
    const char *stop = at + sas.len;
    size_t used = 0;
    while (at < stop && (stop - at < 3 || memcmp(at, "se=", 3) != 0)) {
        const char *next = memchr(at, '&', (size_t)(stop - at));
        at = next != NULL ? next + 1 : stop;
    }
    for (at += at < stop ? 3 : 0; at < stop && *at != '&' && used < size - 1; at++) {
        bool colon = stop - at >= 3 && strncasecmp(at, "%3A", 3) == 0;
        ret_end[used++] = colon ? ':' : *at;
        at += colon ? 2 : 0;
    }
    ret_end[used] = '\0';
}

/* Whether a SAS was sent and has ended, which the service does not tell from a wrong one. */
static bool sas_has_ended(const struct azblob_call *c, char *ret_end, size_t size)
{
    TM_CLEANUP(azure_token_release) struct azure_token token = AZURE_TOKEN_INIT;
    struct tm_err ignored;
    int64_t end_us;
    if (c->how != AZURE_SAS || credential_azure_get(c->az->credential, &token, &ignored) < 0)
        return false;
    sas_end(secret_slice(&token.value), ret_end, size);
    return clock_parse(ret_end, &end_us, &ignored) == 0 && end_us <= store_now_us(&c->az->store);
}

/* The service's words say what went wrong; these say what it is to us. */
static int explain(const struct azblob_call *c, struct tm_err *err)
{
    const char *code = c->call.error.code;
    unsigned status = c->call.x.status;
    char said[TM_ERR_MSG_MAX];
    (void)snprintf(said, sizeof(said), "%s", err->msg);
    if (status == 0)
        return -(int)err->code; /* no answer */
    if (strcmp(code, "ContainerNotFound") == 0)
        return tm_err_set(err, TM_E_INVALID, "%s: there is no such container (%s)",
                          c->az->store.place, said);
    if (status >= 300 && status < 400)
        return tm_err_set(err, TM_E_INVALID, "%s; redirects are not followed: correct the endpoint",
                          said);
    char end[40];
    if ((status == 401 || status == 403) && sas_has_ended(c, end, sizeof(end)))
        return tm_err_set(err, TM_E_PERMISSION, "the SAS token from %s has ended at %s: %s",
                          credential_source(c->az->credential), end, said);
    if (status == 401 || status == 403)
        return tm_err_set(err, TM_E_PERMISSION, "%s; credentials from %s", said,
                          credential_source(c->az->credential));
    if (strncmp(code, "BlobImmutable", 13) == 0)
        return tm_err_set(err, TM_E_REFUSED,
                          "%s; an immutability policy or a legal hold of the container keeps it",
                          said);
    if (status == 409 || status == 412)
        return tm_err_set(err, TM_E_CONFLICT, "%s", said);
    return -(int)err->code;
}

int azblob_call_error(struct azblob_call *c, struct tm_err *err)
{
    (void)store_call_error(&c->call, err);
    return explain(c, err);
}

int azblob_prepare(struct store_call *call, struct tm_err *err)
{
    struct azblob_call *c = call->arg;
    if (c->url.data == NULL)
        return tm_err_oom(err);
    c->second_chance = false;
    return 0;
}

int azblob_result(struct store_call *call, int result, struct tm_err *err)
{
    struct azblob_call *c = call->arg;
    if (result < 0)
        return explain(c, err);
    if (strcmp(call->error.code, "ContainerNotFound") == 0) /* never what a 404 was wanted for */
        return azblob_call_error(c, err);
    return 0;
}
