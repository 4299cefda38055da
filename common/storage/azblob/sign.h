#ifndef TM_COMMON_STORAGE_AZBLOB_SIGN_H
#define TM_COMMON_STORAGE_AZBLOB_SIGN_H
/*
 * Shared key signatures of Azure Blob Storage: what is signed of a request, in the canonical form
 * of the service's 2015-02-21 version and later, and the Authorization header made of it.
 * Pure, thread safe.
 */
#include "common/http/http.h"

#define AZBLOB_AUTHORIZATION_MAX 160
#define AZBLOB_DATE_MAX          32
#define AZBLOB_BASE64_MD5_MAX    25

struct azblob_request {
    const char *method;
    const char *account;
    const char *path;  /* as in the request line, without the query: "/container/a%20b" */
    const char *query; /* encoded, without '?'; "" = none */
    const struct http_headers *headers;
    size_t content_length;
};

int azblob_string_to_sign(const struct azblob_request *request, struct buf *ret,
                          struct tm_err *err) TM_WUR;
/* "SharedKey account:signature"; `key` is the decoded one. ret has AZBLOB_AUTHORIZATION_MAX bytes. */
int azblob_authorization(const struct azblob_request *request, struct slice key, char *ret,
                         struct tm_err *err) TM_WUR;

/* "Fri, 26 Jun 2015 23:39:12 GMT", in English whatever the locale. Returns `text`, which has
 * AZBLOB_DATE_MAX bytes. */
char *azblob_date(int64_t real_us, char *text);
/* Base64 of the bytes' MD5. ret has AZBLOB_BASE64_MD5_MAX bytes. */
int azblob_md5(struct slice bytes, char *ret, struct tm_err *err) TM_WUR;

#endif
