/*
 * One exchange on one curl handle: its options, where its bytes come from and go to, and what
 * curl's result means in our words.
 *
 * Happy path: prepare → curl sends headers and body from memory → the status line and headers are
 * kept → the body goes to `into` or `answer` → finish. Failures: a 2xx body that is longer than its
 * place ends the transfer (TM_E_LIMIT); other bodies are for error messages, their rest is dropped.
 */
#include <ctype.h>

#include "common/http/internal.h"

#define BUFFER_BYTES 262144L

/* ---- headers ---- */

int http_headers_add(struct http_headers *h, struct slice name, struct slice value,
                     struct tm_err *err)
{
    if (h->count == HTTP_HEADERS_MAX ||
        h->text.len + name.len + value.len + 2 > HTTP_HEADERS_BYTES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d HTTP headers or %zu bytes of them",
                          HTTP_HEADERS_MAX, HTTP_HEADERS_BYTES_MAX);
    int r = buf_reserve(&h->text, name.len + value.len + 2, err);
    if (r < 0)
        return r;
    for (size_t at = 0; at < name.len; at++)
        h->text.data[h->text.len++] = (uint8_t)tolower(name.data[at]);
    h->text.data[h->text.len++] = 0;
    if (value.len > 0)
        memcpy(h->text.data + h->text.len, value.data, value.len);
    h->text.len += value.len;
    h->text.data[h->text.len++] = 0;
    h->count++;
    return 0;
}

/* session tokens are among them */
static void header_list_free(struct curl_slist *list)
{
    for (struct curl_slist *at = list; at != NULL; at = at->next)
        explicit_bzero(at->data, strlen(at->data));
    curl_slist_free_all(list);
}

static struct curl_slist *header_list(const struct http_headers *h)
{
    struct curl_slist *list = NULL;
    const char *at = (const char *)h->text.data;
    for (size_t n = 0; n < h->count; n++) {
        const char *value = at + strlen(at) + 1;
        char line[HTTP_HEADERS_BYTES_MAX];
        /* a header without value is written with a semicolon for curl to send it at all */
        (void)snprintf(line, sizeof(line), value[0] != '\0' ? "%s: %s" : "%s;", at, value);
        struct curl_slist *longer = curl_slist_append(list, line);
        explicit_bzero(line, strlen(line));
        if (longer == NULL)
            goto fail;
        list = longer;
        at = value + strlen(value) + 1;
    }
    /* what curl would add by itself */
    static const char *const unwanted[] = {"Expect:", "Accept:", "User-Agent: tidemark"};
    for (size_t n = 0; n < TM_ARRAY_LEN(unwanted); n++) {
        struct curl_slist *longer = curl_slist_append(list, unwanted[n]);
        if (longer == NULL)
            goto fail;
        list = longer;
    }
    return list;
fail:
    header_list_free(list);
    return NULL;
}

/* ---- bytes; called in the client's thread ---- */

static size_t send_body(char *dst, size_t size, size_t count, void *arg)
{
    struct http_exchange *x = arg;
    size_t n = TM_MIN(size * count, x->body.len - x->body_sent);
    if (n > 0)
        memcpy(dst, x->body.data + x->body_sent, n);
    x->body_sent += n;
    return n;
}

/* curl starts again on a kept connection that turned out to be dead */
static int rewind_body(void *arg, curl_off_t offset, int origin)
{
    struct http_exchange *x = arg;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > x->body.len)
        return CURL_SEEKFUNC_FAIL;
    x->body_sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static size_t take_header(char *line, size_t size, size_t count, void *arg)
{
    struct http_exchange *x = arg;
    size_t len = size * count;
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* a new answer: after 100 Continue, say */
        x->answer_headers.text.len = 0;
        x->answer_headers.count = 0;
        return len;
    }
    const char *colon = memchr(line, ':', len);
    if (colon == NULL)
        return len;
    struct slice name = slice_of(line, (size_t)(colon - line));
    struct slice value = slice_of(colon + 1, len - name.len - 1);
    while (value.len > 0 && isspace(value.data[0]))
        value = slice_of(value.data + 1, value.len - 1);
    while (value.len > 0 && isspace(value.data[value.len - 1]))
        value.len--;
    struct tm_err ignored; /* headers above the limit are not needed */
    if (memchr(value.data, 0, value.len) == NULL && memchr(name.data, 0, name.len) == NULL)
        (void)!http_headers_add(&x->answer_headers, name, value, &ignored);
    return len;
}

static size_t take_body(char *data, size_t size, size_t count, void *arg)
{
    struct http_exchange *x = arg;
    size_t len = size * count;
    long status = 0;
    (void)curl_easy_getinfo((CURL *)x->easy, CURLINFO_RESPONSE_CODE, &status);
    bool good = status >= 200 && status < 300;
    if (good && x->into != NULL) {
        if (len > x->into_len - x->into_got) {
            x->too_long = true;
            return 0;
        }
        memcpy((uint8_t *)x->into + x->into_got, data, len);
        x->into_got += len;
        return len;
    }
    size_t max = good && x->answer_max != 0 ? x->answer_max : HTTP_ANSWER_MAX;
    size_t keep = TM_MIN(len, max - x->answer.len);
    if (keep < len && good) {
        x->too_long = true;
        return 0;
    }
    return buf_append(&x->answer, data, keep, &x->err) < 0 ? 0 : len;
}

/* ---- options ---- */

CURL *transfer_handle_new(const struct http_limits *limits)
{
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        return NULL;
    CURLcode c = CURLE_OK;
#define SET(option, value)                                                                         \
    do {                                                                                           \
        if (c == CURLE_OK)                                                                         \
            c = curl_easy_setopt(easy, option, value);                                             \
    } while (0)
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)limits->connect_timeout_ms);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, (long)TM_MAX(limits->stall_ms / 1000, 1u));
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    SET(CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_BYTES);
    SET(CURLOPT_READFUNCTION, send_body);
    SET(CURLOPT_SEEKFUNCTION, rewind_body);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    if (limits->ca_file != NULL) {
        SET(CURLOPT_CAINFO, limits->ca_file);
        /* the system's folder would be asked besides; refused where there is none to ask */
        (void)curl_easy_setopt(easy, CURLOPT_CAPATH, (char *)NULL);
        (void)curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, (char *)NULL);
    }
    if (limits->proxy != NULL)
        SET(CURLOPT_PROXY, limits->proxy);
    if (limits->insecure) {
        SET(CURLOPT_SSL_VERIFYPEER, 0L);
        SET(CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (c != CURLE_OK) {
        curl_easy_cleanup(easy);
        return NULL;
    }
    return easy;
}

static CURLcode set_method(struct http_exchange *x, CURL *easy)
{
    bool upload = strcmp(x->method, "PUT") == 0 || strcmp(x->method, "POST") == 0;
    CURLcode c = curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L); /* undoes the method before */
    SET(CURLOPT_UPLOAD, upload ? 1L : 0L);
    SET(CURLOPT_NOBODY, strcmp(x->method, "HEAD") == 0 ? 1L : 0L);
    SET(CURLOPT_INFILESIZE_LARGE, upload ? (curl_off_t)x->body.len : (curl_off_t)-1);
    SET(CURLOPT_CUSTOMREQUEST, strcmp(x->method, "HEAD") == 0 ? NULL : x->method);
    return c;
}

int transfer_prepare(struct http_exchange *x, CURL *easy, struct tm_err *err)
{
    x->status = 0;
    x->into_got = 0;
    x->body_sent = 0;
    x->too_long = false;
    x->reached = false;
    x->answer.len = 0;
    x->answer_headers.text.len = 0;
    x->answer_headers.count = 0;
    struct curl_slist *list = header_list(&x->headers);
    if (list == NULL)
        return tm_err_oom(err);
    CURLcode c = set_method(x, easy);
    SET(CURLOPT_URL, x->url);
    SET(CURLOPT_HTTPHEADER, list);
    SET(CURLOPT_TIMEOUT_MS, (long)(x->timeout_ms != 0 ? x->timeout_ms : HTTP_TIMEOUT_MS));
    SET(CURLOPT_READDATA, x);
    SET(CURLOPT_SEEKDATA, x);
    SET(CURLOPT_HEADERDATA, x);
    SET(CURLOPT_WRITEDATA, x);
    SET(CURLOPT_PRIVATE, x);
    if (c != CURLE_OK) {
        header_list_free(list);
        return c == CURLE_OUT_OF_MEMORY
                   ? tm_err_oom(err)
                   : tm_err_set(err, TM_E_INVALID, "HTTP request: %s", curl_easy_strerror(c));
    }
    x->easy = easy;
    x->header_list = list;
    return 0;
}
#undef SET

/* ---- outcome ---- */

/* "host:port" of the URL, without anything behind it. */
static void host_of(const char *url, char *text, size_t size)
{
    const char *start = strstr(url, "://");
    start = start != NULL ? start + 3 : url;
    (void)snprintf(text, size, "%.*s", (int)TM_MIN(strcspn(start, "/?"), size - 1), start);
}

/* The request is there and nothing comes back; or it was to be over by now, and may be on its way. */
static int timed_out(const struct http_exchange *x, const char *host, struct tm_err *err)
{
    curl_off_t took_us = 0;
    unsigned limit_ms = x->timeout_ms != 0 ? x->timeout_ms : HTTP_TIMEOUT_MS;
    (void)curl_easy_getinfo((CURL *)x->easy, CURLINFO_TOTAL_TIME_T, &took_us);
    if (x->reached && took_us / 1000 < (curl_off_t)limit_ms && took_us / 1000 + 500 > x->stall_ms)
        return tm_err_retry(err, TM_E_TIMEOUT, "%s: no answer for %u s", host, x->stall_ms / 1000);
    return tm_err_retry(err, TM_E_TIMEOUT, "%s: no answer in time", host);
}

static int failure(const struct http_exchange *x, CURLcode code, struct tm_err *err)
{
    char host[280];
    host_of(x->url, host, sizeof(host));
    const char *why = curl_easy_strerror(code);
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return tm_err_retry(err, TM_E_UNAVAILABLE, "%s: no address is known for this host", host);
    case CURLE_COULDNT_CONNECT:
        return tm_err_retry(err, TM_E_UNAVAILABLE, "%s: cannot connect", host);
    case CURLE_OPERATION_TIMEDOUT:
        return timed_out(x, host, err);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS: {
        long verify = 0;
        (void)curl_easy_getinfo((CURL *)x->easy, CURLINFO_SSL_VERIFYRESULT, &verify);
        return tm_err_set(err, TM_E_PERMISSION, "%s: TLS certificate refused: %s%s", host, why,
                          verify == 0 ? "" : " (no chain to a trusted authority)");
    }
    case CURLE_SSL_CONNECT_ERROR:
        return tm_err_retry(err, TM_E_UNAVAILABLE, "%s: no TLS connection: %s", host, why);
    case CURLE_OUT_OF_MEMORY:
        return tm_err_oom(err);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return tm_err_set(err, TM_E_INVALID, "%s: %s", host, why);
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    default:
        return tm_err_retry(err, TM_E_UNAVAILABLE, "%s: connection lost: %s", host, why);
    }
}

void transfer_finish(struct http_exchange *x, CURLcode code)
{
    CURL *easy = x->easy;
    long status = 0;
    long request_bytes = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request_bytes);
    x->reached = request_bytes > 0;
    if (code == CURLE_ABORTED_BY_CALLBACK) { /* the client's own word, not curl's */
        x->result = tm_err_set(&x->err, TM_E_CANCELED, "canceled");
    } else if (x->too_long) {
        char host[280];
        host_of(x->url, host, sizeof(host));
        x->result =
            tm_err_set(&x->err, TM_E_LIMIT, "%s: the answer is longer than it may be", host);
    } else if (code != CURLE_OK) {
        x->result = failure(x, code, &x->err);
    } else {
        x->status = (unsigned)status;
        x->result = 0;
    }
    header_list_free(x->header_list);
    x->header_list = NULL;
    x->easy = NULL;
}
