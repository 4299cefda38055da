#ifndef TM_COMMON_STORAGE_OBJECT_URL_H
#define TM_COMMON_STORAGE_OBJECT_URL_H
/*
 * What the URLs of all object stores have in common: parameters that are known or not, the prefix of
 * keys, an endpoint, a proxy. For the drivers of object stores only (s3/, azblob/). Every failure is
 * TM_E_INVALID and begins with "storage URL: ".
 */
#include "common/storage/url.h"

struct object_url_words {
    const char *const *words;
    size_t count;
};

/* Refuses parameters that are secrets (in any case of letters), and those that are not known. */
int object_url_check(const struct storage_url *url, struct object_url_words known,
                     struct object_url_words secrets, struct tm_err *err) TM_WUR;

/* NULL when it is not given, or empty. Valid as long as `url`. */
const char *object_url_text(const struct storage_url *url, const char *key);
/* What is not given leaves *ret as it is. */
int object_url_bool(const struct storage_url *url, const char *key, bool *ret,
                    struct tm_err *err) TM_WUR;
/* NULL when it is not given; one with a user or password is refused. */
int object_url_proxy(const struct storage_url *url, const char **ret, struct tm_err *err) TM_WUR;

/* The URL's path as what keys begin with: "" or with a '/' at the end. It leaves room for a name of
 * STORAGE_NAME_MAX in a key of `key_max`; `ret` has key_max bytes. */
int object_url_prefix(const struct storage_url *url,
                      bool (*component_is_bad)(const char *text, size_t len), size_t key_max,
                      char *ret, struct tm_err *err) TM_WUR;

struct object_endpoint {
    char scheme[8]; /* "http" or "https" */
    char host[256]; /* lower-case, with the port it was given */
    char path[80];  /* without slashes, "" = none */
};
/* "scheme://host:port", also without scheme, also with a '/' at the end, and where path_max is not 0
 * with one component of at most path_max letters, digits and hyphens behind it. `form` says in the
 * error what was expected. */
int object_url_endpoint(const char *text, size_t path_max, const char *form,
                        struct object_endpoint *ret, struct tm_err *err) TM_WUR;

#endif
