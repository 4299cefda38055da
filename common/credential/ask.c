/*
 * Asking a service for keys: a bounded answer in memory that is wiped, a few attempts, and what may
 * be said about it afterwards.
 *
 * Happy path: URL, headers, body → 2xx → bytes. Failures: nobody there, or 408, 429 and 5xx, are
 * tried ATTEMPTS_MAX times within DEADLINE_US; any other status is the caller's to put in words.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <jansson.h>

#include "common/clock.h"
#include "common/credential/internal.h"
#include "common/fs.h"
#include "common/hash.h"
#include "common/http/retry.h"

#define ATTEMPTS_MAX       3
#define DEADLINE_US        (20 * USEC_PER_SEC)
#define TIMEOUT_MS         10000
#define HOST_TIMEOUT_MS    3000 /* a service on this very host */
#define CONNECT_MS         5000
#define HOST_CONNECT_MS    1000
#define HEADERS_SECRET_MIN 8 /* shorter ones are no secret: "true" */

/* ---- what we are told by the environment ---- */

const char *credential_env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool host_is_here(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        uint32_t address = ntohl(v4.s_addr);
        return address >> 24 == 127 || address >> 16 == (169u << 8 | 254u);
    }
    char inner[INET6_ADDRSTRLEN];
    size_t len = strlen(host);
    if (len < 3 || host[0] != '[' || host[len - 1] != ']' || len - 2 >= sizeof(inner))
        return false;
    (void)snprintf(inner, sizeof(inner), "%.*s", (int)(len - 2), host + 1);
    static const uint8_t cloud[] = {0xfd, 0x00, 0x0e, 0xc2}; /* the metadata network fd00:ec2:: */
    return inet_pton(AF_INET6, inner, &v6) == 1 &&
           (IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_LINKLOCAL(&v6) ||
            memcmp(v6.s6_addr, cloud, sizeof(cloud)) == 0);
}

static bool url_is_safe(CURLU *url)
{
    char *user = NULL, *scheme = NULL, *host = NULL; /* curl's memory */
    bool named = curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK;
    bool safe =
        !named && curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        (strcmp(scheme, "https") == 0 || (strcmp(scheme, "http") == 0 && host_is_here(host)));
    curl_free(user);
    curl_free(scheme);
    curl_free(host);
    return safe;
}

int credential_url(char **place, const char *what, const char *url, struct tm_err *err)
{
    CURLU *parsed = curl_url();
    if (parsed == NULL)
        return tm_err_oom(err);
    bool safe = curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK && url_is_safe(parsed);
    curl_url_cleanup(parsed);
    if (!safe && strchr(url, '@') != NULL)
        return tm_err_set(err, TM_E_INVALID,
                          "%s: what is given (not shown, as its '@' may follow a password) is no "
                          "https:// address, nor http:// of this host (loopback or link-local), "
                          "without user name",
                          what);
    if (!safe || strlen(url) > 1024)
        return tm_err_set(err, TM_E_INVALID,
                          "%s: '%.100s' is no https:// address, nor http:// of this host "
                          "(loopback or link-local)",
                          what, url);
    int r = credential_copy(place, url, err);
    size_t len = r == 0 ? strlen(*place) : 0;
    if (len > 0 && (*place)[len - 1] == '/')
        (*place)[len - 1] = '\0';
    return r;
}

/* ---- texts ---- */

bool credential_is_token(const char *text, size_t len)
{
    for (size_t at = 0; at < len; at++)
        if (text[at] < 0x21 || text[at] > 0x7e)
            return false;
    return len > 0;
}

int credential_take(struct secret *to, const char *name, const char *value, struct tm_err *err)
{
    if (value == NULL || value[0] == '\0')
        return CREDENTIAL_NONSENSE(err, "the answer has no '%s'", name);
    size_t len = strlen(value);
    if (!credential_is_token(value, len))
        return CREDENTIAL_NONSENSE(err, "'%s' in the answer has characters that cannot be in it",
                                   name);
    int r = secret_set(to, value, len, err);
    return r < 0 ? tm_err_prefix(err, "'%s' in the answer", name) : 0;
}

int ask_encode(struct buf *out, const char *text, struct tm_err *err)
{
    int r = 0;
    for (const char *at = text; r == 0 && *at != '\0'; at++) {
        bool plain = isalnum((unsigned char)*at) || strchr("-_.~", *at) != NULL;
        r = plain ? buf_append(out, at, 1, err)
                  : buf_printf(out, err, "%%%02X", (unsigned)(unsigned char)*at);
    }
    return r;
}

void ask_wipe(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->cap);
    buf_release(b);
}

int ask_token_file(const char *path, struct buf *ret, struct tm_err *err)
{
    ret->len = 0;
    int r = buf_reserve(ret, 2 * CREDENTIAL_FILE_MAX, err);
    if (r == 0)
        r = fs_read_file(path, CREDENTIAL_FILE_MAX, ret, err);
    if (r < 0)
        return r;
    while (ret->len > 0 && isspace(ret->data[ret->len - 1]))
        ret->len--;
    if (!credential_is_token((const char *)ret->data, ret->len))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not one line with a token", path);
    const char *ignored;
    return buf_cstr(ret, &ignored, err);
}

/* ---- the exchange ---- */

void ask_release(struct ask *a)
{
    ask_wipe(&a->x.answer);
    http_exchange_release(&a->x);
    ask_wipe(&a->url);
    ask_wipe(&a->body);
    if (a->bytes != NULL)
        explicit_bzero(a->bytes, CREDENTIAL_ANSWER_MAX);
    free(a->bytes);
    *a = ASK_INIT;
}

struct slice ask_answer(const struct ask *a)
{
    bool good = a->x.status >= 200 && a->x.status < 300;
    return good ? slice_of(a->bytes, a->x.into_got) : buf_slice(&a->x.answer);
}

static int client(struct credential *c, struct tm_err *err)
{
    if (c->http != NULL)
        return 0;
    bool on_host = c->source->on_host;
    struct http_options options = {.ca_file = c->ca_file,
                                   .proxy = on_host ? "" : c->proxy,
                                   .connect_timeout_ms = on_host ? HOST_CONNECT_MS : CONNECT_MS,
                                   .parallel = 1};
    return http_new(&options, &c->http, err);
}

static int prepare(struct credential *c, struct ask *a, const char *method, struct tm_err *err)
{
    int r = client(c, err);
    if (r < 0)
        return r;
    a->bytes = malloc(CREDENTIAL_ANSWER_MAX + 1);
    if (a->bytes == NULL)
        return tm_err_oom(err);
    a->x.method = method;
    a->x.into = a->bytes;
    a->x.into_len = CREDENTIAL_ANSWER_MAX;
    a->x.timeout_ms = c->source->on_host ? HOST_TIMEOUT_MS : TIMEOUT_MS;
    a->x.body = buf_slice(&a->body);
    r = buf_cstr(&a->url, &a->x.url, err);
    return r == 0 ? buf_reserve(&a->x.answer, HTTP_ANSWER_MAX, err) : r;
}

int ask_run(struct credential *c, struct ask *a, const char *method, struct tm_err *err)
{
    int r = prepare(c, a, method, err);
    if (r < 0)
        return r;
    struct retry retry = {.attempts_max = ATTEMPTS_MAX,
                          .deadline_us = clock_mono_us() + DEADLINE_US};
    for (;;) {
        r = http_run(c->http, &a->x, err);
        retry.attempts++;
        if (r < 0 ? !err->retryable : !retry_status(a->x.status))
            break;
        uint64_t random = 0;
        struct tm_err ignored;
        (void)!random_bytes(&random, sizeof(random), &ignored);
        int64_t wait_us = retry_wait(&retry, 0, random, clock_mono_us());
        if (wait_us < 0)
            break;
        struct timespec until = clock_after(CLOCK_MONOTONIC, wait_us);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
            continue;
    }
    if (r == 0)
        a->bytes[a->x.into_got] = '\0';
    return r;
}

/* ---- refusals ---- */

/* Whether the words hold one of the values we sent: a header, or of the form's fields. */
static bool repeats(const struct ask *a, const char *words)
{
    const char *at = (const char *)a->x.headers.text.data;
    for (size_t n = 0; n < a->x.headers.count; n++) {
        const char *value = at + strlen(at) + 1;
        if (strlen(value) >= HEADERS_SECRET_MIN && strstr(words, value) != NULL)
            return true;
        at = value + strlen(value) + 1;
    }
    if (a->body.len == 0)
        return false;
    TM_CLEANUP(freep) char *form = strndup((const char *)a->body.data, a->body.len);
    bool found = form == NULL; /* who knows */
    char *rest = form;
    for (char *field = form; !found && field != NULL && field[0] != '\0'; field = rest) {
        rest = strchr(field, '&');
        if (rest != NULL)
            *rest++ = '\0';
        const char *value = strchr(field, '=');
        int len = 0;
        char *plain = value != NULL ? curl_easy_unescape(NULL, value + 1, 0, &len) : NULL;
        found = len >= HEADERS_SECRET_MIN && strstr(words, plain) != NULL;
        if (plain != NULL)
            explicit_bzero(plain, (size_t)len);
        curl_free(plain);
    }
    if (form != NULL)
        explicit_bzero(form, a->body.len);
    return found;
}

static size_t code_len(const char *code)
{
    size_t len = 0;
    while (len < 64 && (isalnum((unsigned char)code[len]) || strchr("._-:", code[len]) != NULL) &&
           code[len] != '\0')
        len++;
    return len;
}

int ask_refused(const struct ask *a, const char *code, const char *words, struct tm_err *err)
{
    char plain[161];
    (void)snprintf(plain, sizeof(plain), "%s", words);
    for (char *at = plain; *at != '\0'; at++)
        if (iscntrl((unsigned char)*at))
            *at = ' ';
    if (repeats(a, words) || repeats(a, code))
        plain[0] = '\0', code = "";
    bool later = retry_status(a->x.status);
    const char *colon = plain[0] != '\0' ? ": " : "";
    size_t len = code_len(code);
    (void)tm_err_set(err, later ? TM_E_UNAVAILABLE : TM_E_PERMISSION, "HTTP %u%s%.*s%s%s",
                     a->x.status, len > 0 ? " " : "", (int)len, code, colon, plain);
    err->retryable = later;
    return -(int)err->code;
}

/* ---- JSON ---- */

json_t *answer_json(const struct ask *a, struct tm_err *err)
{
    struct slice bytes = ask_answer(a);
    json_t *root = json_loadb((const char *)bytes.data, bytes.len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(root))
        return root;
    answer_json_free(root);
    (void)CREDENTIAL_NONSENSE(err, "the answer is no JSON object");
    return NULL;
}

const char *answer_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

void answer_json_free(json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (json_is_string(value))
            explicit_bzero((void *)(uintptr_t)json_string_value(value), json_string_length(value));
    }
    json_decref(object);
}
