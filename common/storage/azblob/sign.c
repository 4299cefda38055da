/*
 * The string to sign: method, the values of eleven standard headers (empty when absent), all x-ms-
 * headers in order of names, the account with the path, and the query's parameters in order of
 * names, decoded. Failures: more headers or parameters than any request of ours has.
 */
#include "common/storage/azblob/sign.h"

#include <openssl/evp.h>

#include "common/clock.h"
#include "common/hash.h"

#define PARTS_MAX 32

struct part {
    const char *name, *value;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct part *)a)->name, ((const struct part *)b)->name);
}

static const char *header(const struct http_headers *headers, const char *name)
{
    const char *at = (const char *)headers->text.data;
    for (size_t n = 0; n < headers->count; n++) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return "";
}

/* ---- the pieces ---- */

static int append_standard(const struct azblob_request *request, struct buf *out,
                           struct tm_err *err)
{
    static const char *const names[] = {"content-encoding",
                                        "content-language",
                                        "content-length",
                                        "content-md5",
                                        "content-type",
                                        "date",
                                        "if-modified-since",
                                        "if-match",
                                        "if-none-match",
                                        "if-unmodified-since",
                                        "range"};
    int r = buf_printf(out, err, "%s\n", request->method);
    for (size_t n = 0; r == 0 && n < TM_ARRAY_LEN(names); n++) {
        if (strcmp(names[n], "content-length") == 0 && request->content_length > 0)
            r = buf_printf(out, err, "%zu\n", request->content_length);
        else
            r = buf_printf(out, err, "%s\n", header(request->headers, names[n]));
    }
    return r;
}

static int append_own(const struct http_headers *headers, struct buf *out, struct tm_err *err)
{
    struct part parts[PARTS_MAX];
    size_t count = 0;
    const char *at = (const char *)headers->text.data;
    for (size_t n = 0; n < headers->count; n++) {
        const char *value = at + strlen(at) + 1;
        if (strncmp(at, "x-ms-", 5) == 0) {
            if (count == PARTS_MAX)
                return tm_err_set(err, TM_E_LIMIT, "more than %d headers to sign", PARTS_MAX);
            parts[count++] = (struct part){at, value};
        }
        at = value + strlen(value) + 1;
    }
    qsort(parts, count, sizeof(parts[0]), by_name);
    int r = 0;
    for (size_t n = 0; r == 0 && n < count; n++)
        r = buf_printf(out, err, "%s:%s\n", parts[n].name, parts[n].value);
    return r;
}

/* In place. What is not an escape stays as it is. */
static void decode(char *text)
{
    char *to = text;
    for (const char *at = text; *at != '\0'; at++) {
        int high = at[0] == '%' ? hex_value(at[1]) : -1;
        int low = high >= 0 ? hex_value(at[2]) : -1;
        *to++ = low >= 0 ? (char)(high * 16 + low) : *at;
        at += low >= 0 ? 2 : 0;
    }
    *to = '\0';
}

static int append_query(const char *query, struct buf *out, struct tm_err *err)
{
    struct part parts[PARTS_MAX];
    size_t count = 0;
    TM_CLEANUP(freep) char *copy = strdup(query);
    if (copy == NULL)
        return tm_err_oom(err);
    for (char *at = copy, *next; *at != '\0'; at = next) {
        next = at + strcspn(at, "&");
        if (*next != '\0')
            *next++ = '\0';
        char *value = at + strcspn(at, "=");
        if (*value != '\0')
            *value++ = '\0';
        if (count == PARTS_MAX)
            return tm_err_set(err, TM_E_LIMIT, "more than %d parameters to sign", PARTS_MAX);
        decode(value);
        parts[count++] = (struct part){at, value};
    }
    qsort(parts, count, sizeof(parts[0]), by_name);
    int r = 0;
    for (size_t n = 0; r == 0 && n < count; n++)
        r = buf_printf(out, err, "\n%s:%s", parts[n].name, parts[n].value);
    return r;
}

int azblob_string_to_sign(const struct azblob_request *request, struct buf *ret, struct tm_err *err)
{
    int r = append_standard(request, ret, err);
    if (r == 0)
        r = append_own(request->headers, ret, err);
    if (r == 0)
        r = buf_printf(ret, err, "/%s%s", request->account, request->path);
    return r == 0 ? append_query(request->query, ret, err) : r;
}

int azblob_authorization(const struct azblob_request *request, struct slice key, char *ret,
                         struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    struct sha256 mac;
    int r = azblob_string_to_sign(request, &text, err);
    struct slice part = buf_slice(&text);
    if (r == 0)
        r = hmac_sha256(key, &part, 1, &mac, err);
    if (r < 0)
        return r;
    char signature[4 * SHA256_LEN / 3 + 4];
    (void)EVP_EncodeBlock((unsigned char *)signature, mac.bytes, SHA256_LEN);
    (void)snprintf(ret, AZBLOB_AUTHORIZATION_MAX, "SharedKey %.64s:%s", request->account,
                   signature);
    return 0;
}

/* ---- date and MD5 ---- */

char *azblob_date(int64_t real_us, char *text)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(real_us / USEC_PER_SEC);
    struct tm tm = {.tm_mday = 1};
    (void)gmtime_r(&seconds, &tm);
    (void)snprintf(text, AZBLOB_DATE_MAX, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
                   days + 3 * tm.tm_wday, (unsigned)tm.tm_mday % 100, months + 3 * tm.tm_mon,
                   (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
                   (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
    return text;
}

int azblob_md5(struct slice bytes, char *ret, struct tm_err *err)
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(bytes.data, bytes.len, md5, &len, EVP_md5(), NULL) != 1 || len != 16)
        return tm_err_set(err, TM_E_INTERNAL, "cannot compute an MD5");
    (void)EVP_EncodeBlock((unsigned char *)ret, md5, (int)len);
    return 0;
}
