#ifndef TM_COMMON_STORAGE_S3_SIGN_H
#define TM_COMMON_STORAGE_S3_SIGN_H
/*
 * AWS Signature Version 4. Pure: what is to be signed, the time and the keys are arguments, the
 * value of the Authorization header comes out.
 *
 * Path and query are signed as they go over the wire: percent-encoded once, a query parameter
 * without value with its equals sign. Query parameters and headers are put in order here.
 */
#include <stdint.h>

#include "common/buf.h"

#define SIGN_HEADERS_MAX       32
#define SIGN_PARAMS_MAX        16
#define SIGN_AUTHORIZATION_MAX 1024
#define SIGN_DATE_MAX          17 /* "20130524T000000Z" */

#define SIGN_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGN_UNSIGNED     "UNSIGNED-PAYLOAD"

struct sign_header {
    const char *name; /* in lower case */
    const char *value;
};

struct sign_request {
    const char *method;
    const char *path;  /* "/bucket/key" */
    const char *query; /* "a=b&c=", "" = none */
    const struct sign_header *headers;
    size_t header_count;
    const char *payload_sha256; /* hex, or SIGN_UNSIGNED */
};

struct sign_scope {
    const char *date; /* as sign_date writes it */
    const char *region;
    const char *service;
};

/* Basic ISO 8601, whole seconds, as x-amz-date wants it. */
void sign_date(int64_t real_us, char ret_date[SIGN_DATE_MAX]);

/* The canonical request, and the names of the signed headers ("host;x-amz-date") behind *ret_names:
 * both are appended, without a NUL. For tests, too. */
int sign_canonical(const struct sign_request *request, struct buf *ret_canonical,
                   struct buf *ret_names, struct tm_err *err) TM_WUR;

int sign_v4(const struct sign_request *request, const struct sign_scope *scope,
            struct slice access_key, struct slice secret_key,
            char ret_authorization[SIGN_AUTHORIZATION_MAX], struct tm_err *err) TM_WUR;

#endif
