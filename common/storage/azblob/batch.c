/*
 * Deleting up to AZBLOB_REMOVE_BATCH objects with one request: a multipart document whose parts are
 * DELETE requests, each with its own authorization, answered by one whose parts are answers.
 *
 * Happy path: 202 with a part of status 202 for each. A part that says anything else, or is missing,
 * leaves its object to the one who asked: he deletes it by itself and hears the reason. The service
 * may have no batches (emulators, other clouds), and a SAS may not allow them: both are remembered.
 */
#include <ctype.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/storage/azblob/internal.h"

#define BOUNDARY_BYTES 12

/* ---- asking ---- */

static int append_path(const struct azblob *az, const char *name, struct buf *out,
                       struct tm_err *err)
{
    char key[AZBLOB_KEY_MAX + 1];
    azblob_key(az, name, key);
    int r = buf_printf(out, err, "%s/%s/", az->config.base, az->config.container);
    return r == 0 ? store_append_path(out, key, err) : r;
}

static int append_headers(const struct http_exchange *x, struct buf *out, struct tm_err *err)
{
    const char *at = (const char *)x->headers.text.data;
    int r = 0;
    for (size_t n = 0; r == 0 && n < x->headers.count; n++) {
        const char *value = at + strlen(at) + 1;
        r = buf_printf(out, err, "%s: %s\r\n", at, value);
        at = value + strlen(value) + 1;
    }
    return r;
}

static int append_request(struct azblob *az, const struct azure_token *token, const char *date,
                          const char *name, struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf path = BUF_INIT;
    TM_CLEANUP(http_exchange_release) struct http_exchange x = HTTP_EXCHANGE_INIT;
    const char *text = "";
    x.method = "DELETE";
    int r = append_path(az, name, &path, err);
    if (r == 0)
        r = buf_cstr(&path, &text, err);
    if (r == 0)
        r = http_header(&x, err, "x-ms-date", "%s", date);
    if (r == 0)
        r = http_header(&x, err, "x-ms-delete-snapshots", "include");
    if (r == 0)
        r = azblob_authorize(az, token, &x, text, "", err);
    bool sas = token->how == AZURE_SAS;
    if (r == 0)
        r = buf_printf(out, err, "DELETE %s%s%.*s HTTP/1.1\r\n", text, sas ? "?" : "",
                       sas ? (int)token->value.len : 0, (const char *)token->value.data);
    if (r == 0)
        r = append_headers(&x, out, err);
    return r == 0 ? buf_printf(out, err, "content-length: 0\r\n\r\n") : r;
}

static int append_all(struct azblob *az, const char *const *names, size_t count,
                      const char *boundary, struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(azure_token_release) struct azure_token token = AZURE_TOKEN_INIT;
    char date[AZBLOB_DATE_MAX];
    azblob_date(store_now_us(&az->store), date);
    int r = credential_azure_get(az->credential, &token, err);
    /* at once, so that no copy of tokens is left behind by growing */
    if (r == 0)
        r = buf_reserve(out, count * (3 * AZBLOB_KEY_MAX / 2 + token.value.len + 768), err);
    for (size_t n = 0; r == 0 && n < count; n++) {
        r = buf_printf(out, err,
                       "--%s\r\ncontent-type: application/http\r\n"
                       "content-transfer-encoding: binary\r\ncontent-id: %zu\r\n\r\n",
                       boundary, n);
        if (r == 0)
            r = append_request(az, &token, date, names[n], out, err);
    }
    return r == 0 ? buf_printf(out, err, "--%s--\r\n", boundary) : r;
}

int azblob_batch_start(struct azblob *az, struct azblob_batch *b, const char *const *names,
                       size_t count, struct tm_err *err)
{
    uint8_t random[BOUNDARY_BYTES];
    char hex[2 * BOUNDARY_BYTES + 1], boundary[sizeof(hex) + 8];
    *b = (struct azblob_batch){.count = count};
    int r = random_bytes(random, sizeof(random), err);
    if (r < 0)
        return r;
    (void)snprintf(boundary, sizeof(boundary), "batch_%s", hex_encode(random, sizeof(random), hex));
    (void)snprintf(b->content_type, sizeof(b->content_type), "multipart/mixed; boundary=%s",
                   boundary);
    azblob_call_init(&b->call, az, "POST", "");
    r = azblob_call_query(&b->call, "restype", "container", err);
    if (r == 0)
        r = azblob_call_query(&b->call, "comp", "batch", err);
    if (r == 0)
        r = append_all(az, names, count, boundary, &b->body, err);
    if (r == 0)
        r = azblob_call_body(&b->call, buf_slice(&b->body), b->content_type, err);
    b->call.answer = AZBLOB_ANSWER_ANY;
    b->call.call.wanted[0] = 400;
    b->call.call.wanted[1] = 403;
    b->call.call.wanted[2] = 500; /* waiting for its end is not worth while */
    if (r == 0)
        r = store_call_start(&b->call.call, err);
    b->started = r == 0;
    return r;
}

/* ---- the answer ---- */

struct part {
    size_t id; /* SIZE_MAX = not said */
    unsigned status;
    bool no_such;
};

static void end_part(const struct part *p, size_t count, bool *done)
{
    if (p->id < count &&
        ((p->status >= 200 && p->status < 300) || (p->status == 404 && p->no_such)))
        done[p->id] = true;
}

/* Behind "name:", in any case; NULL when the line has another name. */
static const char *value_of(const char *line, const char *name)
{
    size_t len = strlen(name);
    if (strncasecmp(line, name, len) != 0 || line[len] != ':')
        return NULL;
    return line + len + 1 + strspn(line + len + 1, " \t");
}

static void take_line(const char *line, struct part *p, size_t count, bool *done)
{
    static const struct part fresh = {.id = SIZE_MAX};
    const char *value;
    if (strncmp(line, "--batch", 7) == 0) {
        end_part(p, count, done);
        *p = fresh;
    } else if ((value = value_of(line, "content-id")) != NULL && p->id == SIZE_MAX) {
        p->id = isdigit((unsigned char)*value) ? strtoul(value, NULL, 10) : SIZE_MAX;
    } else if (strncmp(line, "HTTP/1.", 7) == 0 && p->status == 0 && strlen(line) > 9) {
        p->status = (unsigned)strtoul(line + 9, NULL, 10) % 1000;
    } else if ((value = value_of(line, "x-ms-error-code")) != NULL) {
        p->no_such = strcmp(value, "BlobNotFound") == 0;
    }
}

static int take_answer(struct http_exchange *x, size_t count, bool *done, struct tm_err *err)
{
    const char *text;
    int r = buf_cstr(&x->answer, &text, err);
    if (r < 0)
        return r;
    struct part part = {.id = SIZE_MAX};
    for (char *line = (char *)x->answer.data, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        take_line(line, &part, count, done);
    }
    return 0;
}

/* Another batch may fare better. A 500 without a word is how an emulator says that it has none. */
static bool fails_for_now(const struct azblob_call *c)
{
    unsigned status = c->call.x.status;
    const char *code = c->call.error.code;
    return status == 0 || status == 408 || status == 429 ||
           strcmp(code, "AuthenticationFailed") == 0 ||
           (status >= 500 && status != 501 && code[0] != '\0');
}

int azblob_batch_wait(struct azblob_batch *b, bool *done, struct tm_err *err)
{
    struct azblob_call *c = &b->call;
    b->started = false;
    int r = store_call_wait(&c->call, err);
    if (r == 0 && c->call.x.status < 300)
        return take_answer(&c->call.x, b->count, done, err);
    if (!fails_for_now(c))
        c->az->no_batch = true;
    return r;
}

void azblob_batch_release(struct azblob_batch *b)
{
    if (b->started)
        store_call_cancel(&b->call.call);
    b->started = false;
    azblob_call_release(&b->call);
    if (b->body.data != NULL)
        explicit_bzero(b->body.data, b->body.cap);
    buf_release(&b->body);
}
